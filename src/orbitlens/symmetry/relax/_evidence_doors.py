"""Settings and data of `fit_with_evidence` at the door."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor, nn

from orbitlens.checks import (
    as_axes,
    as_count,
    as_floats,
    as_indices,
    as_number,
    as_seed,
    as_switch,
    bytes_of,
)
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name, warn
from orbitlens.symmetry.relax._answers import answers_of, check_same_each_time
from orbitlens.symmetry.relax._evidence_loop import Settings
from orbitlens.symmetry.relax._likelihoods import LIKELIHOODS
from orbitlens.symmetry.relax._rows import linear_layers
from orbitlens.symmetry.relax.kfac import kronecker_curvature

_FEW = 8  # inputs that the curvature is tried on
_REPEATED = 0.1  # a larger share of repeated inputs is warned of


def as_settings(**given: Any) -> Settings:
    """Check every setting."""
    if given["likelihood"] not in LIKELIHOODS:
        raise unknown_name("`likelihood`", str(given["likelihood"]), LIKELIHOODS)
    for name in ("epochs", "batch_size", "every", "curvature_batch"):
        given[name] = as_count(name, given[name])
    for name in ("burn_in", "hyper_steps"):
        given[name] = as_count(name, given[name], least=0)
    for name in ("lr", "hyper_lr"):
        if not as_number(name, given[name]) > 0:
            raise out_of_range(name, "a number above 0", given[name])
    if not 0 <= as_number("momentum", given["momentum"]) < 1:
        raise out_of_range("momentum", "0 to below 1", given["momentum"])
    if not as_number("temperature", given["temperature"]) > 0:
        raise out_of_range("temperature", "a number above 0", given["temperature"])
    given["sampled"], given["seed"] = as_switch("sampled", given["sampled"]), as_seed(given["seed"])
    return Settings(**given)  # type: ignore[typeddict-item]


def as_data(
    network: nn.Module, inputs: object, targets: object, settings: Settings
) -> tuple[Shaped[Tensor, "n *input"], Shaped[Tensor, "n *output"]]:
    """Return inputs and targets in the type and on the device of the weights."""
    x = as_floats("inputs", inputs)
    if x.ndim < 2 or not len(x) or not bool(x.isfinite().all()):
        raise OrbitLensError(
            "`inputs`",
            expected="finite numbers, shape [n, ...] with n at least 1",
            received=f"shape {list(x.shape)}" + (", NaN or infinite values" if len(x) else ""),
            remedy="give all training inputs, one in each row",
        )
    linear_layers(network)
    weights = next(network.parameters())
    x = _usual(x, weights)
    check_same_each_time(network, x)
    with torch.no_grad():
        answer = answers_of(network, x[:1])
    if not bool(answer.isfinite().all()):
        raise OrbitLensError(
            "`network`",
            expected="finite answers before it is trained",
            received="NaN or infinite values for the first input",
            remedy="give it other first weights, or scale the inputs to about 1",
        )
    # It is refused now what would else end the training when its curvature is first measured.
    few = x[:_FEW]
    kronecker_curvature(network, few, sampled=True, generator=torch.Generator())
    _check_repeats(x, settings["temperature"])
    if settings["likelihood"] == "gaussian":
        sizes = {"n": len(x), "outputs": answer.shape[1]}
        return x, _usual(as_axes("targets", targets, "n outputs", sizes=sizes), weights)
    y = _as_classes(targets, len(x), answer.shape[1]).to(weights.device)
    return x, y.clone() if y.is_inference() else y


def _usual(numbers: Tensor, weights: Tensor) -> Tensor:
    """Return numbers in the type and on the device of the weights, for gradients to be kept."""
    found = numbers.detach().to(weights)
    return found.clone() if found.is_inference() else found


def _as_classes(targets: object, n: int, classes: int) -> Int64[Tensor, " n"]:
    """Return the class of each input, and warn of classes without a sample."""
    if isinstance(targets, Tensor) and targets.dtype == torch.bool:
        targets = targets.long()
    y = as_indices("targets", targets, "n", most=classes - 1, size=n)
    missing = sorted(set(range(classes)) - set(y.tolist()))
    if missing:
        warn(
            "`targets`",
            found=f"no sample of the classes {_list(missing)}, so nothing is learned about them",
            remedy="number the classes without gaps, or build the network for fewer",
        )
    return y


def _list(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(each) for each in numbers[:5])
    return shown if len(numbers) <= 5 else f"{shown}, ... ({len(numbers)} in all)"


def _check_repeats(x: Tensor, temperature: float) -> None:
    """Warn of copies of inputs that count as new evidence."""
    repeated = len(x) - len({bytes_of(each).tobytes() for each in x})
    if repeated > _REPEATED * len(x) and temperature == 1:
        warn(
            "`inputs`",
            found=f"{repeated} of {len(x)} are copies of others, and count as new evidence",
            remedy="give each sample once and an `augment`, or a `temperature` of as many as the "
            "copies of a sample",
        )
