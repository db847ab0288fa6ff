"""Networks with a known representation: escnn's and our own, C4 and D4, regular and mixed fields.

    python benchmarks/transport/constructed.py --escnn-python .venv-escnn/bin/python

exits 1 if a target is missed: R^2 above 0.999999, relation error below 1e-6, the known
multiplicities. escnn excludes versions that OrbitLens needs, so it has its own environment. One of
its dependencies needs gfortran to compile:

    python -m venv .venv-escnn
    .venv-escnn/bin/pip install torch==2.13.0 'numpy<2' 'scipy<1.12' scikit-learn==1.1.3
    .venv-escnn/bin/pip install escnn==1.0.11
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

SIZE, SAMPLES, TURNS = 9, 200, 4


def escnn_orbits(name: str, fields: str, out: Path) -> None:
    """Write the orbits of the last map of a random escnn network, places aligned, and its irreps.

    Run in escnn's environment, which has no orbitlens.
    """
    from escnn import gspaces, nn

    flips = name.startswith("D")
    space = gspaces.flipRot2dOnR2(TURNS) if flips else gspaces.rot2dOnR2(TURNS)
    turn, sign = ((1, 1), (1, 0)) if flips else ((1,), (0,))
    kinds = {
        "regular": [space.regular_repr] * 3,
        "mixed": [
            *[space.trivial_repr] * 4,
            *[space.regular_repr] * 2,
            *[space.irrep(*turn)] * 3,
            *([space.irrep(*sign)] * 2 if flips else []),
        ],
    }[fields]
    torch.manual_seed(0)
    start = nn.FieldType(space, [space.trivial_repr])
    middle = nn.FieldType(space, [space.regular_repr] * 6)
    end = nn.FieldType(space, kinds)
    network = nn.SequentialModule(
        nn.R2Conv(start, middle, kernel_size=3, padding=1),
        nn.ReLU(middle),
        nn.R2Conv(middle, end, kernel_size=3, padding=1),
    ).eval()
    images = torch.randn(SAMPLES, 1, SIZE, SIZE)
    orbits = []
    with torch.no_grad():
        for g in range(2 * TURNS if flips else TURNS):
            flip, turns = divmod(g, TURNS)

            def move(maps: torch.Tensor, flip: int = flip, turns: int = turns) -> torch.Tensor:
                return torch.rot90(maps.flip(-2) if flip else maps, turns, (-2, -1))

            def back(maps: torch.Tensor, flip: int = flip, turns: int = turns) -> torch.Tensor:
                turned = torch.rot90(maps, -turns, (-2, -1))
                return turned.flip(-2) if flip else turned

            maps = network(nn.GeometricTensor(move(images).contiguous(), start)).tensor
            orbits.append(back(maps).flatten(2).mT)
    np.save(out, torch.stack(orbits, dim=1).numpy())
    irreps = [str(irrep) for kind in kinds for irrep in kind.irreps]
    print(json.dumps({irrep: irreps.count(irrep) for irrep in sorted(set(irreps))}))


def check(label: str, orbits: np.ndarray, name: str, known: list[int]) -> bool:
    """Fit the spatial transport to aligned orbits and print its figures beside the known ones."""
    import orbitlens as ol

    group = ol.groups.from_name(name)
    store = ol.store_from_array(orbits, group=group)
    rho = ol.fit_transport(store, "spatial")
    rep = ol.reps.Representation(group, rho.matrices.double(), label)
    found = list(ol.reps.multiplicities(rep))
    met = rho.r2 > 0.999999 and rho.relation_error < 1e-6 and found == known
    print(
        f"| {label} | {name} | {rho.dim} | {1 - rho.r2:.1e} | {rho.relation_error:.1e} | "
        f"{found} | {known} | {'yes' if met else 'NO'} |"
    )
    return met


def group_cnn(name: str) -> tuple[np.ndarray, list[int]]:
    """The orbits of our own group convolution, and the multiplicities of its regular fields."""
    import orbitlens as ol

    group, features = ol.groups.from_name(name), 4
    model = ol.models.GroupCNN(group, features=features)
    images = torch.randn(SAMPLES, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    store = ol.harvest(
        model,
        layer="conv1",
        inputs=images,
        action=ol.actions.images(group),
        positions="all",
    )
    aligned = store.orbits().unflatten(0, (SAMPLES, -1)).transpose(1, 2)
    regular = ol.reps.multiplicities(ol.reps.regular(group))
    return aligned.numpy(), [features * count for count in regular]


def in_our_order(counts: dict[str, int], name: str) -> list[int]:
    """Turn escnn's names of irreps into the order of ours: trivial, signs, the plane.

    escnn calls an irrep of D_4 by (whether flips change the sign, frequency of turns), one of C_4
    by its frequency.
    """
    flips = ["(0,0)", "(1,0)", "(0,2)", "(1,2)", "(1,1)"]
    names = flips if name.startswith("D") else ["(0,)", "(2,)", "(1,)"]
    tidy = {key.replace(" ", ""): count for key, count in counts.items()}
    return [tidy.get(key, 0) for key in names]


def main() -> None:
    """Check every network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--escnn-python", type=Path, help="the Python of escnn's environment")
    parser.add_argument("--escnn", nargs=3, metavar=("GROUP", "FIELDS", "OUT"))
    options = parser.parse_args()
    if options.escnn:
        name, fields, out = options.escnn
        escnn_orbits(name, fields, Path(out))
        return
    print("| network | group | channels | 1 - R² | relation error | found | known | met |")
    print("|---|---|---|---|---|---|---|---|")
    met = [check("GroupCNN", *_rearranged(name)) for name in ("C4", "D4")]
    for name in ("C4", "D4") if options.escnn_python else ():
        for fields in ("regular", "mixed"):
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "orbits.npy"
                words = [options.escnn_python, __file__, "--escnn", name, fields, out]
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                counts = json.loads(done.stdout.splitlines()[-1])
                known = in_our_order(counts, name)
                met.append(check(f"escnn, {fields} fields", np.load(out), name, known))
    sys.exit(0 if all(met) else 1)


def _rearranged(name: str) -> tuple[np.ndarray, str, list[int]]:
    orbits, known = group_cnn(name)
    return orbits, name, known


if __name__ == "__main__":
    main()
