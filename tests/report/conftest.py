"""A plausible run and a plausible network, and what a browser finds in their pages."""

import base64
import hashlib
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest
import torch

from orbitlens.report import FeatureCard

VOID = {"meta", "link", "img", "br", "hr", "input"}
ELEMENTS = ["e", "r", "r^2", "r^3"]


class Page(HTMLParser):
    """What a browser would find, with the mistakes that it would forgive."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.sections: dict[str, str] = {}
        self.section = ""
        self.texts: list[str] = []
        self.code: list[tuple[str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = dict(attrs)["id"] or ""
            self.sections[self.section] = ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)
        if tag == "section":
            self.section = ""

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] in ("script", "style"):
            self.code.append((self.open[-1], data))
        if self.section:
            self.sections[self.section] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags if name in attrs]

    def assert_runs_only_its_own(self, *scripts: str) -> None:
        """Check that a browser runs and loads nothing but `scripts` and one style sheet."""
        assert [text for kind, text in self.code if kind == "script"] == list(scripts)
        assert [kind for kind, _ in self.code].count("style") == 1
        names = {name for _, attrs in self.tags for name in attrs}
        assert not [name for name in names if name.startswith("on") or name == "style"]
        tags = {tag for tag, _ in self.tags}
        assert not tags & {"iframe", "object", "embed", "form", "base", "foreignobject", "animate"}
        assert all(source.startswith("data:image/") for source in self.attributes("src"))
        for address in self.attributes("href") + self.attributes("xlink:href"):
            assert address.startswith(("#", "https://arxiv.org/", "data:,"))
        (policy,) = (
            attrs["content"] or ""
            for tag, attrs in self.tags
            if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
        )
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none'; ")
        for kind, text in self.code:
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"{kind}-src 'sha256-{digest}'" in policy

    def assert_well_formed(self, sections: list[str]) -> None:
        assert not self.unbalanced
        assert not self.open
        assert list(self.sections) == sections
        repeated = [name for name, count in Counter(self.attributes("id")).items() if count > 1]
        assert not repeated


@pytest.fixture
def parse() -> type[Page]:
    return Page


@pytest.fixture
def hostile() -> str:
    return "</style></svg><script>alert(1)</script><img src=x onerror=alert(2)>\"'><b onclick=x>"


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


IRREPS = [
    {"name": "trivial", "dim": 1, "label": "unchanged"},
    {"name": "1d#1", "dim": 1, "label": "changes sign under r"},
    {"name": "2d#1", "dim": 2, "label": "turns by 90° under r"},
]


def layer_record(layer: str, invariant: float) -> dict[str, Any]:
    return {
        "layer": layer,
        "kind": "maps",
        "places": 16,
        "all_places": 256,
        "width": 32,
        "dim": 32,
        "kept_variance": 1.0,
        "rank": 32,
        "r2": 0.98,
        "r2_low": 0.97,
        "r2_high": 0.985,
        "free_r2": 0.981,
        "identity_r2": -0.5 + invariant,
        "control_r2": -0.9,
        "relation_error": 0.02,
        "condition_number": 12.0,
        "spectrum": [invariant, 0.6 * (1 - invariant), 0.4 * (1 - invariant)],
        "equivariance_score": 0.99,
        "invariance_score": 0.35,
        "lie_rotation": 0.03,
        "lie_translation": 0.11,
        "verdict": "nearly equivariant",
    }


@pytest.fixture
def network() -> dict[str, Any]:
    names = ["encoder.0", "encoder.1", "pool", "head"]
    return {
        "model": {"name": "digits-cnn", "trained_here": True},
        "inputs": {"name": "digits", "n": 1797, "held_out": 359, "image_size": 32},
        "group": {"name": "C4", "order": 4, "elements": list(ELEMENTS), "irreps": IRREPS},
        "action": {"exact": True, "error": 0.0},
        "layers": [layer_record(name, 0.03 + 0.3 * i) for i, name in enumerate(names)],
        "skipped": {"flatten": "it only reshapes"},
        "config": {"positions": 16},
        "seconds": {"capture": 12.0, "fit": 30.0},
    }
