"""The settings of a run: one frozen record, written next to the results as config.json."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from orbitlens import groups
from orbitlens.activations.harvest._positions import CHOICES
from orbitlens.activations.store._dtypes import ON_DISK
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name
from orbitlens.sae import BUILDERS
from orbitlens.training._precision import PRECISIONS
from orbitlens.transport import METHODS

DEVICES = ("auto", "cpu", "cuda")
AUTOENCODERS = ("mlp", "cnn", "vit")
MODELS = (
    *AUTOENCODERS,
    "hf:NAME",
    "timm:NAME",
    "torchvision:NAME",
    "python:MODULE:FUNCTION",
)
SOURCES = ("shapes", "digits", "photographs", "cells")
_RENAMED = {"workers": "probe_threads"}
_PRETRAINED = ("hf:", "timm:", "torchvision:")
_LARGEST = {
    "seed": 2**31 - 2,
    "image_size": 4096,
    "n_samples": 10**8,
    **dict.fromkeys(("d_sae", "n_atoms"), 2**22),
}

# The settings of two stages, for the verbs that run them alone.
TRAINING = (
    *("d_sae", "n_atoms", "k", "sparsity", "hidden", "weight", "orbit_weight"),
    *("epochs", "batch_size", "lr", "memory_gib", "precision", "seed", "device"),
)
PROBING = ("probe_latents", "probe_samples", "probe_every", "probe_threads", "seed")

# What depends on the source. Shapes have 8 x 4 features once their orientation is known, and 28 x 4
# before: 64 latents are twice the former, and do not hold the latter. Networks of Shapes are
# equivariant so nearly that pooled codes are invariant without a weight.
BY_SOURCE: dict[str, dict[str, Any]] = {
    "shapes": {"model": "mlp", "d_sae": 64, "orbit_weight": 0.0, "probe_latents": (4,)},
    "digits": {"image_size": 32},
    "photographs": {"image_size": 32},
    "cells": {"image_size": 32},
}

# What `quick` makes smaller: every stage still runs, on less.
QUICK: dict[str, Any] = {
    "n_samples": 1536,
    "model_samples": 4096,
    "model_epochs": 20,
    "epochs": 150,
    "batch_size": 64,
    "probe_samples": 1000,
    "probe_every": 6,
    "features": 4,
}


def with_current_names(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of settings with the fields that have been renamed under their new names."""
    return {_RENAMED.get(name, name): value for name, value in record.items()}


def setting(default: Any, help: str) -> Any:
    """Declare a field with the sentence that documents it on the command line and in the docs."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the result of `orbitlens run`; each field carries its meaning.

    Raises:
        OrbitLensError: If a value is out of range or an unknown name.

    Example:
        >>> RunConfig.for_source("shapes", group="D4").model
        'mlp'
    """

    source: str = setting(
        "",
        '"shapes", "digits", "photographs", "cells" or a folder of images; empty where activations '
        "are given",
    )
    group: str = setting("C4", "group that acts on the images: C4, D4, C8, ...")
    interpolation: str | None = setting(
        None, '"bilinear" lets groups act that move pixels off the grid'
    )
    model: str = setting(
        "cnn",
        '"mlp", "cnn" or "vit" (autoencoders trained here), hf:NAME, timm:NAME, torchvision:NAME '
        "or python:MODULE:FUNCTION; shapes: mlp",
    )
    layer: str | None = setting(
        None, "dotted name of the layer; default the autoencoder's code, or the model's last layer"
    )
    positions: str = setting(
        "auto", "auto, cls, mean or all: which tokens, or places of a map, become activations"
    )
    random_weights: bool = setting(False, "do not download weights; for trying out")
    n_samples: int = setting(
        4096, "samples at most whose orbits are harvested; shapes have no more"
    )
    image_size: int = setting(
        64,
        "side in pixels that images are brought to; digits, photographs and cells: 32, pretrained "
        "models: 224",
    )
    dtype: str = setting("float32", "how activations are stored: float32, float16 or bfloat16")
    unreadable: str = setting("stop", '"stop" at or "skip" images that cannot be read')
    model_samples: int = setting(10_000, "shapes drawn to train the autoencoder")
    model_epochs: int = setting(50, "epochs of the autoencoder")
    transport: str = setting(
        "least_squares",
        "identity, gradient (the paper's), least_squares, exact (a true representation), spatial "
        "(exact, for positions all), low_rank (exact, for wide layers) or lie (any angle)",
    )
    d_sae: int = setting(128, "latents of each SAE; shapes: 64")
    n_atoms: int | None = setting(
        None, "atoms of the orbit SAE, each in every orientation; default d_sae"
    )
    k: int = setting(8, "latents active per activation; of the orbit SAE pairs (element, atom)")
    sparsity: str = setting("topk", "topk or batchtopk")
    hidden: int = setting(
        128, "width of the encoder's hidden layer; 0 for a linear encoder, as the orbit SAE has"
    )
    weight: float = setting(1.0, "lambda of the latent and output invariance objectives")
    orbit_weight: float = setting(
        3.0,
        "lambda of the orbit SAE's invariance of pooled codes, 0 for reconstruction alone; shapes: "
        "0",
    )
    epochs: int = setting(200, "epochs of each SAE")
    batch_size: int = setting(128, "orbits per step of SAE training")
    lr: float = setting(5e-4, "learning rate of SAE training")
    memory_gib: float = setting(
        4.0, "memory for activations in training; a store that is larger is streamed from disk"
    )
    precision: str = setting(
        "auto", "in what the largest latents are searched: auto, float32 or bfloat16"
    )
    seed: int = setting(0, "seed of everything random")
    device: str = setting("auto", "auto, cpu or cuda: where models run and SAEs are trained")
    probe_latents: tuple[int, ...] = setting(
        (2, 4, 8, 16, 32), "numbers of latents that probes may look at; shapes: 4"
    )
    probe_samples: int = setting(2000, "training samples of each probe, at most")
    probe_every: int = setting(1, "probe every n-th of the 180 tasks of shapes")
    probe_threads: int = setting(2, "threads that probe in parallel")
    features: int = setting(6, "features shown per SAE")

    def __post_init__(self) -> None:
        groups.from_name(self.group)
        for name, known in (
            ("device", DEVICES),
            ("dtype", tuple(ON_DISK)),
            ("positions", CHOICES),
            ("precision", PRECISIONS),
            ("sparsity", tuple(BUILDERS)),
            ("transport", tuple(METHODS)),
            ("unreadable", ("stop", "skip")),
        ):
            if getattr(self, name) not in known:
                raise unknown_name(f"`{name}`", getattr(self, name), known)
        if self.model not in MODELS and ":" not in self.model:
            raise unknown_name("`model`", self.model, MODELS)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise OrbitLensError(
                "`device`",
                expected="auto or cpu",
                received="'cuda', which this machine or this build of torch lacks",
                remedy="leave the device at auto",
            )
        self._check_ranges()
        self._check_source()

    def _check_ranges(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            at_least = 0 if entry.name in ("hidden", "seed", "features", "weight") else 1
            if entry.name == "n_samples":
                at_least = 2
            at_most = _LARGEST.get(entry.name, 10**9)
            if type(value) is int and not at_least <= value <= at_most:
                raise out_of_range(entry.name, f"{at_least} to {at_most}", value)
        for name in ("lr", "memory_gib"):
            _check_real(name, getattr(self, name), above_zero=True)
        for name in ("weight", "orbit_weight"):
            _check_real(name, getattr(self, name), above_zero=False)
        if self.source == "shapes" and self.n_samples > 4096:
            raise out_of_range(
                "n_samples", "at most 4096, the number of distinct shapes", self.n_samples
            )
        if self.k > self.d_sae:
            raise OrbitLensError(
                "`k`",
                expected=f"at most d_sae = {self.d_sae}",
                received=self.k,
                remedy="lower k or raise d_sae",
            )
        if not self.probe_latents or min(self.probe_latents) < 1:
            raise out_of_range("probe_latents", "numbers from 1", self.probe_latents)

    def _check_source(self) -> None:
        if self.source in ("", *SOURCES) or Path(self.source).is_dir():
            return
        if Path(self.source).exists():
            raise OrbitLensError(
                "`source`",
                expected="a folder of images",
                received=f"the file {self.source}",
                remedy="give the folder that holds it",
            )
        raise unknown_name("`source`", self.source, [*SOURCES, "or an existing folder of images"])

    @classmethod
    def for_source(cls, source: str, **settings: Any) -> "RunConfig":
        """Return the settings for a source: its own defaults, and what is given over them.

        A pretrained model gets images of 224 pixels unless another size is asked for. The path of
        a folder is made absolute, so that config.json rebuilds the run from anywhere.
        """
        defaults = dict(BY_SOURCE.get(source, {}))
        if settings.get("model", "").startswith(_PRETRAINED):
            defaults["image_size"] = 224
        if source not in ("", *SOURCES) and Path(source).is_dir():
            source = str(Path(source).resolve())
        return cls(source=source, **{**defaults, **settings})

    @property
    def atoms(self) -> int:
        """Atoms of the orbit SAE."""
        return self.d_sae if self.n_atoms is None else self.n_atoms

    @property
    def torch_device(self) -> torch.device:
        """The device, with "auto" decided by what there is."""
        cuda = self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
        return torch.device("cuda" if cuda else "cpu")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready record from which `from_dict` rebuilds the settings."""
        return {**asdict(self), "probe_latents": list(self.probe_latents)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "RunConfig":
        """Rebuild settings from `to_dict`.

        Raises:
            OrbitLensError: If the record has an unknown field.
        """
        known = {entry.name: entry for entry in fields(cls)}
        values = with_current_names(record)
        for name in values:
            if name not in known:
                raise unknown_name("config.json", name, known)
        if "probe_latents" in values:
            values["probe_latents"] = tuple(values["probe_latents"])
        return cls(**values)


def _check_real(name: str, value: float, *, above_zero: bool) -> None:
    if not (value > 0 if above_zero else value >= 0) or value == float("inf"):
        raise out_of_range(name, "a positive number" if above_zero else "a number from 0", value)
