"""Make one small file of each kind that OrbitLens writes, and the numbers that each must give.

    python benchmarks/house/files_of_the_version_before.py tests/before/files

Run it with the version whose files are to be kept; `tests/before/test_opens.py` opens them with the
version of today. `expected.json` names the commit of the version that made them.
"""

import argparse
import contextlib
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import orbitlens as ol
from orbitlens.activations import harvest_layers
from orbitlens.sae import (
    SAE,
    BatchTopK,
    archetypal_sae,
    crosscoder_sae,
    orbit_sae,
    topk_sae,
)

GROUP = ol.groups.cyclic(4)
DIM, LATENTS, ATOMS, K = 8, 12, 3, 2
NETWORK = '''"""A tiny network: eight fixed filters over a picture of 8 x 8 pixels."""

import torch
from torch import nn


def build() -> nn.Module:
    """Build the network."""
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network
'''
RUN = (
    *("run", "digits", "--model", "python:small_network:build", "--layer", "1", "--seed", "0"),
    *("--image-size", "8", "--n-samples", "60", "--d-sae", "8", "--k", "2", "--hidden", "8"),
    *("--epochs", "2", "--n-atoms", "4", "--probe-samples", "100", "--transport", "exact"),
)


class StoppedError(Exception):
    """Ends a training in its middle."""


def random(*shape: int, seed: int) -> torch.Tensor:
    """Draw standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def orbits() -> torch.Tensor:
    """Return orbits under a representation that is not orthogonal, shape [60, 4, 8]."""
    skewed = torch.tensor([[1.0, 0.3], [0.0, 0.8]])
    matrices = ol.reps.regular(GROUP).matrices.float()
    copies = torch.einsum("gij,ncj->ngci", matrices, random(60, 2, 4, seed=0))
    return torch.einsum("dc,ngci->ngdi", skewed, copies).flatten(2)


def turning() -> torch.Tensor:
    """Return orbits under eight turns, with no part that turns fast, shape [60, 8, 8]."""
    start = random(60, 8, seed=7)
    planes = torch.view_as_complex(start[:, 2:].unflatten(1, (3, 2)))
    angles = torch.arange(8) * (2 * math.pi / 8)
    turned = planes[:, None] * torch.polar(torch.ones(8), angles)[:, None]
    still = start[:, None, :2].expand(-1, 8, -1)
    return torch.cat([still, torch.view_as_real(turned).flatten(2)], dim=-1)


def saes(transport: ol.Transport) -> dict[str, SAE]:
    """Return an SAE of every dictionary, encoder and sparsity rule."""
    built = {}
    for width, hidden in (("linear", None), ("two_layers", 5)):
        plain = {
            "free": topk_sae(DIM, LATENTS, K, hidden=hidden),
            "archetypal": archetypal_sae(
                random(7, DIM, seed=1), LATENTS, K, hidden=hidden, delta=0.3
            ),
            "crosscoder": crosscoder_sae(DIM, LATENTS, K, GROUP.order, hidden=hidden),
        }
        for name, sae in plain.items():
            built[f"{name}-{width}-topk"] = sae
            other = SAE(sae.encoder, BatchTopK(K), sae.dictionary)
            built[f"{name}-{width}-batchtopk"] = other
        for rule in ("topk", "batchtopk"):
            for pose in (False, True):
                name = f"orbit-{width}-{rule}{'-one_pose' if pose else ''}"
                built[name] = orbit_sae(
                    *(DIM, ATOMS, K, transport),
                    hidden=hidden,
                    sparsity=rule,
                    one_pose=pose,
                    tolerance=0.01,
                )
    return built


def trained(sae: SAE, seed: int) -> SAE:
    """Move every weight, and let the sparsity rule learn its threshold."""
    with torch.no_grad():
        for number, parameter in enumerate(sae.parameters()):
            parameter += 0.1 * random(*parameter.shape, seed=100 * seed + number)
    sae.dictionary.project_()
    sae.dictionary.settle_()
    x = random(50, sae.d_in, seed=2)
    sae.sparsity.calibrate_([sae.train()(x).pre], len(x))
    return sae.eval()


def outputs(sae: SAE) -> dict[str, Any]:
    """Return codes and reconstructions of three inputs."""
    with torch.no_grad():
        found = sae(random(3, sae.d_in, seed=3))
    return {"codes": found.codes.tolist(), "x_hat": found.x_hat.tolist()}


def make_saes(out: Path, transport: ol.Transport) -> dict[str, Any]:
    """Save every SAE."""
    expected = {}
    for seed, (name, sae) in enumerate(saes(transport).items()):
        ol.save(trained(sae, seed), out / name, metadata={"layer": "array"})
        expected[name] = outputs(sae)
    return expected


def make_transports(out: Path, store: ol.ActivationStore) -> dict[str, Any]:
    """Save a transport of each method."""
    model = ol.models.GroupCNN(GROUP, features=2, seed=0)
    pictures = torch.rand(60, 1, 5, 5, generator=torch.Generator().manual_seed(4))
    maps = ol.harvest(
        model, layer="conv1", inputs=pictures, action=ol.actions.images(GROUP), positions="all"
    )
    fitted = {
        "least_squares": ol.fit_transport(store, "least_squares"),
        "exact": ol.fit_transport(store, "exact"),
        "low_rank": ol.fit_transport(store, "low_rank", rank=8),
        "lie": ol.fit_transport(ol.store_from_array(turning(), group=ol.groups.cyclic(8)), "lie"),
        "spatial": ol.fit_transport(maps, "spatial"),
    }
    expected = {}
    for name, transport in fitted.items():
        ol.save(transport, out / name)
        expected[name] = {
            "core": hashlib.sha256(transport.motion.core.numpy().tobytes()).hexdigest(),
            "size": transport.matrices.double().norm().item(),
            "moved": (transport.matrices @ random(transport.dim, seed=5)).tolist(),
            "r2": transport.r2,
            "relation_error": transport.relation_error,
            "source": transport.source,
            "moves": None if transport.motion.moves is None else transport.motion.moves.tolist(),
        }
    return expected


def make_stores(out: Path) -> dict[str, Any]:
    """Write stores of two types, and a harvest of many layers."""
    expected = {}
    for dtype, n in (("float32", 60), ("float16", 20)):
        store = ol.store_from_array(
            orbits()[:n], group=GROUP, out=out / f"{dtype}.zarr", dtype=dtype
        )
        expected[f"{dtype}.zarr"] = values(store)
    encoder = ol.models.CNNAutoencoder(size=16, dim=4, seed=0).encoder
    pictures = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(6))
    found = harvest_layers(
        encoder,
        layers=("0", "4"),
        inputs=pictures,
        action=ol.actions.images(GROUP),
        out=out / "layers",
        max_positions=4,
        name="small",
    )
    for layer, store in found.stores.items():
        expected[f"layers/{layer}.zarr"] = values(store)
    return expected


def values(store: ol.ActivationStore) -> dict[str, Any]:
    """Return the identity of a store, and a checksum of its activations."""
    read = store.orbits().contiguous()
    return {
        "shape": list(read.shape),
        "values": hashlib.sha256(read.numpy().tobytes()).hexdigest(),
        "group": store.group.name,
        "model": store.model,
        "layer": store.layer,
        "split": [part.tolist() for part in store.split()],
    }


def make_checkpoint(out: Path, store: ol.ActivationStore, rho: ol.Transport) -> dict[str, Any]:
    """Stop a training of three SAEs in its middle, and note the end of the whole one."""

    def build() -> list[SAE]:
        return [
            topk_sae(DIM, LATENTS, K, hidden=5, seed=0),
            ol.sae.batch_topk_sae(DIM, LATENTS, K, seed=1),
            orbit_sae(DIM, ATOMS, K, rho, seed=2),
        ]

    def stop(epoch: int, epochs: int, loss: float) -> None:
        del epochs, loss
        if epoch == 2:
            raise StoppedError

    settings: dict[str, Any] = {"epochs": 4, "batch_size": 16, "lr": 3e-3, "seed": [0, 1, 2]}
    whole = ol.fit(build(), store, **settings)
    with contextlib.suppress(StoppedError):
        ol.fit(
            build(),
            store,
            **settings,
            checkpoint=out,
            checkpoint_seconds=1e-9,
            progress=stop,
        )
    return {
        "settings": settings,
        "losses": [list(result.history.loss) for result in whole],
        "saes": [outputs(result.sae.eval()) for result in whole],
    }


def make_run(out: Path) -> dict[str, Any]:
    """Keep the JSON, the store, the transport and the SAEs of a run of the command line."""
    (out.parent / "small_network.py").write_text(NETWORK)
    program = "from orbitlens.cli import main; main()"
    subprocess.run(
        [sys.executable, "-c", program, *RUN, "--out", str(out)],
        env={**os.environ, "PYTHONPATH": str(out.parent)},
        check=True,
    )
    for leftover in ("report", "log.txt"):
        path = out / leftover
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return {"command": list(RUN), "metrics": json.loads((out / "metrics.json").read_text())["saes"]}


def main() -> None:
    """Write all files and `expected.json` into a new folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out.resolve()
    out.mkdir(parents=True)
    torch.set_num_threads(1)
    root = Path(ol.__file__).parent
    commit = subprocess.run(
        ["/usr/bin/env", "git", "rev-parse", "HEAD"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    store = ol.store_from_array(orbits(), group=GROUP)
    rho = ol.fit_transport(store, "exact")
    expected = {
        "commit": commit,
        "torch": torch.__version__,
        "saes": make_saes(out / "saes", rho),
        "transports": make_transports(out / "transports", store),
        "stores": make_stores(out / "stores"),
        "checkpoint": make_checkpoint(
            out / "checkpoint.safetensors", ol.open_store(out / "stores" / "float32.zarr"), rho
        ),
        "run": make_run(out / "run"),
    }
    (out / "expected.json").write_text(json.dumps(expected) + "\n")
    print(f"files of {commit} in {out.name}")


if __name__ == "__main__":
    main()
