"""The table of wrong input in wrong_input.txt, and the folder that its rows are given in.

Each row is a line with what is wrong, and below it the one line that answers. Their signs:

    $  a command that needs no data: its answer loads no torch
    %  a command on the files of `make_files`
    >  a call, with the names of `names_of_calls`
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_suffix(".txt")

_NETWORK = """
from torch import nn

def flat(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 6))
def weights(): return {"0.weight": 1}
"""


def rows_of(sign: str) -> list[tuple[str, str]]:
    """Return the rows with a sign: what is wrong, and the answer."""
    lines = [line for line in TABLE.read_text().splitlines() if line and line[0] != "#"]
    pairs = zip(lines[::2], lines[1::2], strict=True)
    return [(wrong[2:], answer) for wrong, answer in pairs if wrong[0] == sign]


def make_files(folder: Path) -> None:
    """Write the files that the rows name."""
    import numpy as np
    import torch
    from PIL import Image

    import orbitlens as ol

    numbers = np.random.default_rng(0)
    images = numbers.random((20, 1, 8, 8), dtype=np.float32)
    orbits = torch.randn(20, 4, 6, generator=torch.Generator().manual_seed(0))
    labels = np.arange(20) % 2
    store = ol.store_from_array(orbits, group="C4", labels=labels, out=folder / "acts")
    ol.store_from_array(orbits, group="C4", out=folder / "plain")
    ol.save(ol.sae.topk_sae(6, 8, 2), folder / "sae")
    ol.save(ol.fit_transport(store), folder / "rho")
    (folder / "empty").mkdir()
    (folder / "net.py").write_text(_NETWORK)
    for name in ("model.pt", "net.onnx", "table.csv"):
        (folder / name).write_text("x")
    Image.new("L", (8, 8)).save(folder / "one.png")
    arrays: dict[str, Any] = {
        "images": images,
        "bright": images * 255,
        "dark": images - 0.5,
        "nan": np.where(images > 0.99, np.nan, images),
        "oblong": images[..., :6],
        "last": np.moveaxis(np.repeat(images, 3, axis=1), 1, -1),
        "dna": np.eye(4, dtype=np.float32)[numbers.integers(0, 4, (20, 10))].swapaxes(1, 2),
        "sets": numbers.random((20, 9, 3), dtype=np.float32),
        "rows": images.reshape(20, 64)[:, :6],
        "number": np.float32(1),
        "words": np.array(["a", "b"]),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.savez(folder / "x.npz", x=images)
    np.savez(folder / "short.npz", inputs=images, labels=labels[:19])
    np.savez(folder / "named.npz", inputs=images, labels=labels, class_names=np.array(["a"]))


def names_of_calls(folder: Path) -> Mapping[str, Any]:
    """Return the names that the calls use."""
    import numpy as np
    import torch
    from torch import nn

    import orbitlens as ol

    store = ol.open_store(folder / "plain")
    return {
        "np": np,
        "torch": torch,
        "ol": ol,
        "folder": folder,
        "store": store,
        "orbits": store.orbits(),
        "sae": ol.load(folder / "sae"),
        "rho": ol.load(folder / "rho"),
        "exact": ol.fit_transport(store, "exact"),
        "net": nn.Sequential(nn.Flatten(), nn.Linear(64, 6)),
        "images": torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        "turns": ol.actions.images("C4"),
    }
