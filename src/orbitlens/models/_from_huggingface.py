"""Loader of "hf:NAME": vision models of transformers, from the Hub or a local folder."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from orbitlens.errors import OrbitLensError, missing_extra, one_line
from orbitlens.models._building import seeded_weights
from orbitlens.models._image_processor import default_preparation, image_processor, own_size
from orbitlens.models._layers import default_layer
from orbitlens.models._pretrained import check_channels, check_hub
from orbitlens.models.base import BaseModel

_DEFAULT_LAYERS = ("layernorm", "norm", "post_layernorm", "encoder")


def from_huggingface(
    name: str,
    *,
    layer: str | None,
    random_weights: bool,
    image_shape: tuple[int, int, int] | None,
    seed: int,
) -> BaseModel:
    """Return a vision model of transformers.

    `name` is a repository on the Hub, a local folder with `config.json`, or, with random weights, a
    bare architecture such as "vit" in its default size. The default layer is the final norm, or
    else the encoder.
    """
    try:
        import transformers
    except ImportError:
        raise missing_extra("transformers", extra="hf") from None
    name = os.path.expanduser(name)
    subject = f"hf:{name}"
    bare = random_weights and name in transformers.CONFIG_MAPPING and not Path(name).exists()
    config = (
        transformers.AutoConfig.for_model(name)
        if bare
        else _load(name, subject, transformers.AutoConfig.from_pretrained)
    )
    if not isinstance(getattr(config, "num_channels", None), int):
        raise OrbitLensError(
            subject,
            expected="a vision model, with num_channels in its settings",
            received=f"a model of type {config.model_type!r}",
            remedy="choose a vision model, such as hf:facebook/dinov2-small",
        )
    check_channels(subject, image_shape, config.num_channels)
    if bare:
        prepare = default_preparation(config, subject)
    else:
        with _quiet():
            prepare = image_processor(name, config, subject=subject, trained=not random_weights)
    with seeded_weights(seed):
        if random_weights:
            module = transformers.AutoModel.from_config(config)
            missing: list[str] = []
        else:
            module, missing = _load(name, subject, _pretrained(transformers.AutoModel))
    layer = layer or default_layer(module, _DEFAULT_LAYERS, subject)
    _check_weights(module, missing, layer, subject)
    return BaseModel(
        subject,
        module.float(),
        layer,
        prepare,
        image_size=prepare.image_size or max(own_size(config)),
        channels=config.num_channels,
    )


def _pretrained(auto: Any) -> Callable[..., tuple[nn.Module, list[str]]]:
    def load(name: str, **options: Any) -> tuple[nn.Module, list[str]]:
        module, report = auto.from_pretrained(name, output_loading_info=True, **options)
        return module, sorted(report["missing_keys"])

    return load


def _load(name: str, subject: str, load: Callable[..., Any]) -> Any:
    """Load from a folder or the cache, otherwise from the Hub."""
    try:
        with _quiet():
            return load(name, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        if Path(name).exists():
            raise _unusable(subject, error) from error
    check_hub(name, subject=subject)
    try:
        return load(name, trust_remote_code=False)
    except Exception as error:
        raise _unusable(subject, error) from error


def _unusable(subject: str, error: Exception) -> OrbitLensError:
    return OrbitLensError(
        subject,
        expected="a model that transformers can load",
        received=f"{type(error).__name__}: {one_line(error)}",
        remedy="give the name of a vision model or a folder with config.json and weights, or use "
        "random weights (--random-weights)",
    )


def _check_weights(module: nn.Module, missing: list[str], layer: str, subject: str) -> None:
    """Check that every weight before the layer was loaded; the pooler comes after other layers."""
    weights = {name for name, _ in module.named_parameters() if not name.endswith("mask_token")}
    unloaded = [
        key
        for key in missing
        if key in weights and (layer.startswith("pooler") or not key.startswith("pooler."))
    ]
    if unloaded:
        raise OrbitLensError(
            f"weights of {subject}",
            expected="every weight before the layer",
            received=f"none for {len(unloaded)} of them, such as {unloaded[0]!r}",
            remedy="choose another layer or another model, or random weights (--random-weights)",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the progress bars and warnings of transformers."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
