"""The settings of a run: one frozen record, written next to the results as config.json.

This file imports nothing heavy, so that the command line shows its options at once. What checks the
values loads when a record is built.
"""

import numbers
import operator
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args

from orbitlens.checks import as_layout
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name
from orbitlens.pipeline._given_source import (
    IMAGES,
    SOURCES,
    check_kind_of_data,
    check_source,
    checked_source,
    is_array_source,
    settings_of_kept,
    usual_group,
    with_action,
)
from orbitlens.pipeline._names import KNOWN_NAMES
from orbitlens.pipeline._sae_settings import check_names_of_saes, check_sparsity

if TYPE_CHECKING:
    import torch

__all__ = [
    "AUTOENCODERS",
    "LATER",
    "OPEN",
    "PROBING",
    "QUICK",
    "TRAINING",
    "RunConfig",
    "with_current_names",
]

AUTOENCODERS = ("mlp", "cnn", "vit")
_MODELS = (
    *AUTOENCODERS,
    "hf:NAME",
    "timm:NAME",
    "torchvision:NAME",
    "onnx:FILE",
    "python:MODULE:FUNCTION",
    "recipe:NAME",
)
_TYPES: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple[int, ...]: "a list of whole numbers",
    tuple[str, ...]: "a list of names",
}
_LONGEST = 80
_RENAMED = {"workers": "probe_threads"}
_SIZE = 64
_FROM_ZERO = ("hidden", "seed", "seed_forward", "features", "weight")
_LARGEST = {
    **dict.fromkeys(("seed", "seed_forward"), 2**31 - 2),
    "image_size": 4096,
    "n_samples": 10**8,
    "white": 65535,
    **dict.fromkeys(("d_sae", "n_atoms"), 2**22),
}

# The settings of two verbs that run one stage alone.
TRAINING = (
    *("d_sae", "n_atoms", "k", "sparsity", "bias_groups", "htf", "ltf", "hidden"),
    *("weight", "orbit_weight"),
    *("epochs", "batch_size", "lr", "memory_gib", "precision", "seed", "device"),
)
PROBING = ("probe_latents", "probe_samples", "probe_every", "probe_threads", "seed")

OPEN = ("image_size", "channels")
"""Settings that may be left to the network."""

LATER = ("saes", "probe_latents", "probe_samples", "probe_every", "probe_threads", "features")
"""Settings that may be others when a run goes on: what is there is kept, and the rest is added."""

# Defaults that depend on the source. Shapes have 8 x 4 features once their orientation is known and
# 28 x 4 before: 64 latents are twice the former, and do not hold the latter. Networks of Shapes are
# so nearly equivariant that pooled codes are invariant without a weight.
_BY_SOURCE: dict[str, dict[str, Any]] = {
    "shapes": {"model": "mlp", "d_sae": 64, "orbit_weight": 0.0, "probe_latents": (4,)},
}
_SIZES = {"digits": 32, "photographs": 32, "cells": 32}

# Settings of a quick run: every stage still runs, on less data.
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


def _setting(default: Any, help: str) -> Any:
    """Declare a field with the sentence that documents it on the command line and in the docs."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class RunConfig:
    """All settings that determine the result of `orbitlens run`; each field has a help text.

    Raises:
        OrbitLensError: If a value is of another type, out of range or an unknown name.

    Example:
        >>> RunConfig.for_source("shapes", group="D4").model
        'mlp'
    """

    source: str = _setting(
        "",
        "Shapes, digits, photographs, cells, a folder of images, a .npz or .npy file of inputs, or "
        "recipe:NAME, the inputs that a recipe has kept. Where both exist, builtin:cells or "
        "./cells. Empty where activations are given.",
    )
    action: str = _setting(
        IMAGES,
        "How the group moves the inputs: images, or for arrays of other data reverse_complement "
        "(DNA), points, volumes, set_permutation (or sets), graphs or cyclic_shift.",
    )
    group: str = _setting(
        "C4",
        "Group that acts on the inputs, e.g. C4, D4 or C8. For DNA: C2; for volumes and points in "
        "space: O; for sets and graphs of n: S_n.",
    )
    axis: str | None = _setting(
        None, "On points in space: the axis x, y or z about which C_n turns them."
    )
    centred: bool = _setting(
        False, "On points: turn each cloud about its own centre, not the origin."
    )
    interpolation: str | None = _setting(
        None, "Set to bilinear to allow groups that move pixels off the grid, such as C8."
    )
    model: str = _setting(
        "cnn",
        "mlp, cnn or vit (autoencoders trained here), hf:NAME, timm:NAME, torchvision:NAME, "
        "onnx:FILE, python:FILE.py:FUNCTION, which returns a network, or a network and the "
        "function that prepares images for it, or recipe:NAME, a network that a recipe has kept. "
        "For shapes: mlp.",
    )
    layer: str | None = _setting(
        None,
        "Dotted name of the layer. By default the code of an autoencoder, or a model's last layer.",
    )
    positions: str = _setting(
        "auto", "Tokens, or places of a map, that become activations: auto, cls, mean or all."
    )
    layout: str | None = _setting(
        None,
        "Axes of the layer's output, e.g. 'n h w c': n inputs, c channels, h w or l places, 1+l "
        "after a class token. By default they are found.",
    )
    random_weights: bool = _setting(
        False, "Use random weights instead of downloading trained ones, to try things out."
    )
    n_samples: int = _setting(4096, "Largest number of images. There are 4096 shapes.")
    image_size: int | None = _setting(
        None,
        "Side in pixels of the resized images. By default what the model is made for; where it "
        "does not say, 64, and 32 for digits, photographs and cells.",
    )
    channels: int | None = _setting(
        None,
        "Channels of the images, 1 or 3. By default those of the images, or what the model takes.",
    )
    normalise: str | None = _setting(
        None,
        "Normalisation of images in [0, 1]: imagenet, half (to [-1, 1]) or MEAN/STD, such as "
        "0.5/0.25. By default the model's own, if it has one.",
    )
    crop: str = _setting(
        "centre",
        "On oblong images: centre cuts them to squares, none squeezes them into squares, pad fills "
        "them up with black.",
    )
    dtype: str = _setting(
        "float32", "Number format of stored activations: float32, float16 or bfloat16."
    )
    unreadable: str = _setting("stop", "On images that cannot be read: stop, or skip them.")
    white: int | None = _setting(
        None,
        "Number that is white in the image files, e.g. 4095 for 12 bits. By default the largest of "
        "their type.",
    )
    model_samples: int = _setting(10_000, "Shapes drawn to train the autoencoder.")
    model_epochs: int = _setting(50, "Training epochs of the autoencoder.")
    transport: str = _setting(
        "least_squares",
        "identity, gradient (the paper's), least_squares, exact (a true representation), spatial "
        "(exact, for --positions all), low_rank (exact, for wide layers) or lie (any angle).",
    )
    saes: tuple[str, ...] | None = _setting(
        None,
        "SAEs to train: vanilla, equivariant_canonical, equivariant_latent, equivariant_output and "
        "orbit. By default all, or those that a run to resume has.",
    )
    d_sae: int = _setting(128, "Latents of each SAE. For shapes: 64.")
    n_atoms: int | None = _setting(
        None, "Atoms of the orbit SAE, each in every orientation. By default as many as --d-sae."
    )
    k: int = _setting(
        8, "Active latents per activation; for the orbit SAE, active pairs of element and atom."
    )
    sparsity: str = _setting(
        "topk",
        "Sparsity rule: topk, batchtopk, or bias-adaptation, which has target frequencies in "
        "place of --k.",
    )
    bias_groups: int = _setting(
        4, "Bias adaptation: groups of latents, or of the orbit SAE's atoms, one target for each."
    )
    htf: float = _setting(
        0.2, "Bias adaptation: highest target, the share of activations for which a latent fires."
    )
    ltf: float = _setting(0.01, "Bias adaptation: lowest target; those between are geometric.")
    hidden: int = _setting(
        128,
        "Width of the encoder's hidden layer; 0 makes the encoder linear. The orbit SAE's is "
        "always linear, and so is that of bias adaptation, the dictionary transposed.",
    )
    weight: float = _setting(1.0, "Weight lambda of the latent and output invariance objectives.")
    orbit_weight: float | None = _setting(
        None,
        "Weight lambda of the invariance of the orbit SAE's pooled codes; 0 trains on "
        "reconstruction alone. By default auto: SAEs with five weights are trained first, and the "
        "largest weight is taken whose error on held-out orbits is at most 1.5 times the lowest. "
        "For shapes: 0.",
    )
    epochs: int = _setting(200, "Training epochs of each SAE.")
    batch_size: int = _setting(128, "Orbits per step of SAE training.")
    lr: float = _setting(5e-4, "Learning rate of SAE training.")
    memory_gib: float = _setting(
        4.0, "GiB of memory for activations in training. A larger store is streamed from disk."
    )
    precision: str = _setting(
        "auto", "Number format of the search for the largest latents: auto, float32 or bfloat16."
    )
    seed: int = _setting(0, "Seed of all random numbers.")
    seed_forward: int | None = _setting(
        None,
        "Seed of a network that draws random numbers in every pass. Each input then passes alone "
        "and meets the same ones. By default such networks are refused.",
    )
    device: str = _setting("auto", "Device that runs models and trains SAEs: auto, cpu or cuda.")
    probe_latents: tuple[int, ...] = _setting(
        (2, 4, 8, 16, 32), "Numbers of latents that probes may use. For shapes: 4."
    )
    probe_samples: int = _setting(2000, "Largest number of training samples of each probe.")
    probe_every: int = _setting(1, "Probe every n-th of the 180 tasks of shapes.")
    probe_threads: int = _setting(2, "Threads that fit probes in parallel.")
    features: int = _setting(6, "Features shown per SAE.")

    def __post_init__(self) -> None:
        from orbitlens import groups

        for entry in fields(self):
            value = _of_type(entry.name, getattr(self, entry.name), entry.type)
            object.__setattr__(self, entry.name, value)
        groups.from_name(self.group)
        self._check_names()
        self._check_ranges()
        check_source(self.source)
        check_kind_of_data(vars(self), {entry.name: entry.default for entry in fields(self)})
        if self.device == "cuda":
            _check_cuda()

    def _check_names(self) -> None:
        for name, known in KNOWN_NAMES.items():
            value = getattr(self, name)
            for each in (value,) if isinstance(value, str) else value or ():
                if each not in known:
                    raise unknown_name(f"`{name}`", each, known)
        check_names_of_saes(self.saes)
        if self.model not in AUTOENCODERS:
            _check_model(self.model)
        if self.layout is not None:
            as_layout(self.layout)
        if self.normalise is not None:
            self._check_normalise(self.normalise)

    def _check_normalise(self, text: str) -> None:
        from orbitlens.models import normalisation

        normalisation(text)
        if self.model in AUTOENCODERS:
            raise OrbitLensError(
                "`normalise`",
                expected=f"none for {self.model}, which is trained here on images in [0, 1]",
                received=repr(text),
                remedy="leave it out",
            )

    def _check_ranges(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            at_least = 0 if entry.name in _FROM_ZERO else 1
            if entry.name == "n_samples":
                at_least = 2
            at_most = _LARGEST.get(entry.name, 10**9)
            if type(value) is int and not at_least <= value <= at_most:
                raise out_of_range(entry.name, f"{at_least} to {at_most}", value)
        if self.channels not in (None, 1, 3):
            raise out_of_range("channels", "1 or 3", self.channels)
        for name in ("lr", "memory_gib"):
            _check_real(name, getattr(self, name), above_zero=True)
        _check_real("weight", self.weight, above_zero=False)
        if self.orbit_weight is not None:
            _check_real("orbit_weight", self.orbit_weight, above_zero=False)
        if self.source == "shapes" and self.n_samples > 4096:
            raise out_of_range(
                "n_samples", "at most 4096, the number of distinct shapes", self.n_samples
            )
        check_sparsity(vars(self), {entry.name: entry.default for entry in fields(self)})
        if not self.probe_latents or min(self.probe_latents) < 1:
            raise out_of_range("probe_latents", "numbers from 1", self.probe_latents)

    @classmethod
    def for_source(cls, source: str, **settings: Any) -> "RunConfig":
        """Return the defaults of a source, overridden by the given settings.

        The path of a folder or file becomes absolute, so that config.json rebuilds the run from
        anywhere. A source may be written "builtin:cells", and must be if there is a folder of that
        name. For a file of arrays, the group follows the action. "recipe:NAME" stands for the
        inputs that a recipe has kept, which bring their action, their group and their network.

        Raises:
            OrbitLensError: If a value is wrong, the source is both a name and a folder, or a file
                of arrays needs an action or a group.
        """
        settings = settings_of_kept(source, settings)
        source = checked_source(_of_type("source", source, str))
        settings = with_action(_BY_SOURCE.get(source, {}) | settings)
        config = cls(source=source, **settings)  # what names alone can tell is told first
        if is_array_source(source) and ("group" not in settings or config.action == IMAGES):
            config = replace(config, group=usual_group(source, config.action) or config.group)
        return config.settled() if config.model in AUTOENCODERS else config

    def settled(self, *, image_size: int | None = None, channels: int | None = None) -> "RunConfig":
        """Return the settings with those of the images that were left to the network.

        Args:
            image_size: The side that the network is made for; None if it does not say.
            channels: The channels that it takes; None likewise.

        Example:
            >>> RunConfig("digits", model="hf:vit").settled(image_size=224).image_size
            224
        """
        size = self.image_size or image_size or _SIZES.get(self.source, _SIZE)
        return replace(
            self,
            image_size=None if is_array_source(self.source) else size,
            channels=self.channels or channels,
        )

    @property
    def atoms(self) -> int:
        """Atoms of the orbit SAE."""
        return self.d_sae if self.n_atoms is None else self.n_atoms

    @property
    def torch_device(self) -> "torch.device":
        """The device; "auto" is CUDA if the machine has it."""
        import torch

        cuda = self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
        return torch.device("cuda" if cuda else "cpu")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready record from which `from_dict` rebuilds the settings."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "RunConfig":
        """Rebuild settings from `to_dict`.

        Raises:
            OrbitLensError: If the record has an unknown field.

        Example:
            >>> RunConfig.from_dict({"source": "shapes", "workers": 1}).probe_threads
            1
        """
        known = {entry.name: entry for entry in fields(cls)}
        values = with_current_names(record)
        for name in values:
            if name not in known:
                raise unknown_name("config.json", name, known)
        for name, value in values.items():
            values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)


def _check_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        raise OrbitLensError(
            "`device`",
            expected="auto or cpu",
            received="'cuda', which this machine or this build of torch lacks",
            remedy="leave the device at auto",
        )


def _check_model(name: str) -> None:
    """Check the form of the name of a network; what it names is looked up later."""
    from orbitlens.models import check_model_name, kept_folder

    if ":" in name or Path(name).suffix or Path(name).is_absolute() or kept_folder(name):
        check_model_name(name)
    elif name in SOURCES:
        raise OrbitLensError(
            "`model`",
            expected=f"one of {', '.join(_MODELS)}",
            received=f"{name!r}, a source of images",
            remedy=f"name the network first: cnn {name}",
        )
    elif get_close_matches(name.lower(), AUTOENCODERS):
        raise unknown_name("`model`", name, _MODELS)
    else:
        raise OrbitLensError(
            "`model`",
            expected=f"one of {', '.join(_MODELS)}",
            received=repr(name),
            remedy=f"say where it comes from, for example torchvision:{name} or timm:{name}",
        )


def _of_type(name: str, value: Any, kind: Any) -> Any:
    """Return a value as the annotated type of its field, or raise if it has no such meaning."""
    if isinstance(kind, UnionType):
        if value is None:
            return None
        kind = get_args(kind)[0]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if kind in (str, bool) and isinstance(value, kind):
        return value
    with suppress(TypeError, OverflowError):
        if kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
        if kind is int and not isinstance(value, bool):
            return operator.index(value)
        if kind is float and isinstance(value, numbers.Real | int) and not isinstance(value, bool):
            real = float(value)
            return value if isinstance(value, int) else real
        if kind == tuple[str, ...] and not isinstance(value, str | bytes | Mapping):
            return tuple(_of_type(name, entry, str) for entry in value)
        if kind == tuple[int, ...] and not isinstance(value, str | bytes | Mapping):
            return tuple(_of_type(name, entry, int) for entry in value)
    received = " ".join(repr(value).split())
    raise out_of_range(
        name,
        _TYPES[kind],
        received if len(received) <= _LONGEST else f"one of type {type(value).__name__}",
        "give a value of this type",
    )


def _check_real(name: str, value: float, *, above_zero: bool) -> None:
    if not (value > 0 if above_zero else value >= 0) or value == float("inf"):
        raise out_of_range(name, "a positive number" if above_zero else "a number from 0", value)
