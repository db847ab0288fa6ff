"""A plausible run, for the tests of the page."""

from typing import Any

import pytest
import torch

from orbitlens.report import FeatureCard

ELEMENTS = ["e", "r", "r^2", "r^3"]


def sae_record(error: float, transported: float | None) -> dict[str, Any]:
    return {
        "objective": "canonical",
        "d_sae": 128,
        "k": 8,
        "parameters": 98_688,
        "status": "completed",
        "mse": error,
        "normalised_mse": error,
        "explained_variance": 1 - error,
        "transported_mse": transported,
        "transported_normalised_mse": transported,
        "transported_explained_variance": None if transported is None else 1 - transported,
        "l0": 8.0,
        "dead_latents": 3,
        "code_invariance_error": 0.04,
        "output_invariance_error": 0.03,
        "equivariance_error": 0.02,
        "orientation_accuracy": None if transported is None else 0.9975,
        "spliced_mse": None,
        "probe": None,
    }


@pytest.fixture
def metrics() -> dict[str, Any]:
    record: dict[str, Any] = {
        "config": {"source": "shapes", "group": "C4", "layer": "encoder", "probe_latents": [4]},
        "group": {"name": "C4", "elements": list(ELEMENTS)},
        "action": {"name": "images", "exact": True, "error": 0.0},
        "data": {"name": "shapes", "n": 4096, "train": 3277, "held_out": 819, "skipped": []},
        "model": {"name": "shapes-mlp", "layer": "encoder", "dim": 256, "mse": 0.001},
        "transport": {
            "method": "least_squares",
            "r2": 0.991,
            "identity_r2": 0.35,
            "r2_per_element": [1, 0.99, 0.99, 0.99],
            "identity_r2_per_element": [1.0, 0.3, -0.9, 0.4],
            "relation_error": 0.87,
            "order_errors": {"r": 0.87},
        },
        "saes": {
            "vanilla": sae_record(0.123, None),
            "equivariant_canonical": sae_record(0.83, 0.0223),
            "equivariant_latent": sae_record(0.81, 0.0312),
        },
        "seconds": {"model": 60.1, "saes": 80.0, "probe": 200.0},
        "notes": [],
    }
    for name, sae in record["saes"].items():
        orientations = ("none",) if name == "vanilla" else ("oracle", "inferred")
        sae["probe"] = {
            "kind": "shapes",
            "latents": [4],
            "rows": [
                {"latents": 4, "task": task, "orientation": orientation, "f1": f1, "tasks": tasks}
                for task, tasks, f1 in (("S", 8, 0.8), ("SPO", 112, 0.9))
                for orientation in orientations
            ],
        }
    return record


@pytest.fixture
def histories() -> dict[str, dict[str, list[Any]]]:
    return {
        name: {
            "loss": [1.0, 0.3, 0.1],
            "l0": [8.0, 8.0, 8.0],
            "explained_variance": [0.1, 0.7, 0.9],
            "dead_latents": [9, 4, 0],
        }
        for name in ("vanilla", "equivariant_canonical", "equivariant_latent")
    }


@pytest.fixture
def cards() -> list[FeatureCard]:
    generator = torch.Generator().manual_seed(0)
    return [
        FeatureCard(
            sae=sae,
            latent=latent,
            firing_rates=torch.tensor([0.4, 0.4, 0.0, 0.1]),
            images=torch.rand(4, 2, 1, 16, 16, generator=generator),
            activations=torch.tensor([[3.25, 2.5], [3.0, 1.0], [0.0, 0.0], [2.0, 0.0]]),
        )
        for sae, latent in (("vanilla", 7), ("equivariant_canonical", 41))
    ]
