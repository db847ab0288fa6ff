"""A network must be a function of its input: this is tried on a few inputs before a harvest.

A network that draws random numbers, keeps state between calls or mixes the inputs of a batch gives
one input several outputs, and rows of an orbit that differ by more than the group.
"""

import random
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from orbitlens.activations.harvest._inputs import relative_difference
from orbitlens.errors import OrbitLensError, warn

_PASSES, _PASSES_IF_DRAWN = 2, 8  # further passes of one input: some networks draw rarely
_Run = Callable[[Tensor], Mapping[str, Tensor]]
# Relative differences that are rounding, of the same batch again and of a batch of another size.
_AGAIN, _ALONE = 1e-5, 1e-3
_ACCELERATED_AGAIN, _ACCELERATED_ALONE = 1e-3, 1e-2  # atomic sums, TF32
_CONSTANT = 1e-6


def check_function(
    model: nn.Module,
    run: _Run,
    ready: Shaped[Tensor, "batch *axes"],
    *,
    seeded: bool = False,
    alone: bool = False,
) -> Mapping[str, Tensor]:
    """Refuse a network that is no function of its input; return the outputs.

    Args:
        model: The network, in evaluation mode.
        run: Returns the outputs of some layers for a batch.
        ready: A few inputs, ready for the network.
        seeded: Whether `run` seeds torch's random numbers for every input.
        alone: Whether inputs go through the network one by one in the harvest.
    """
    before = _random_state()
    first = _copied(run(ready))
    draws = _random_state() != before
    single = _copied(run(ready[:1]))
    again_most, alone_most = _rounding_again(model, ready), rounding(model, ready)

    def compare(other: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
        for layer, output in own.items():
            if (found := relative_difference(other[layer], output)) > again_most:
                raise _not_repeated(layer, found, draws, seeded)

    compare(run(ready), first)
    for _ in range(_PASSES_IF_DRAWN if draws and not seeded else _PASSES):
        compare(run(ready[:1]), single)
    if not alone and len(ready) > 1:
        for number, row in enumerate(ready.split(1)):
            outputs = single if number == 0 else run(row)
            for layer, output in first.items():
                found = relative_difference(outputs[layer], output[number : number + 1])
                if found > alone_most:
                    raise _not_alone(layer, found)
    if draws and not seeded:
        warn(
            "the network",
            found="it draws random numbers in evaluation mode, although a few passes agree",
            remedy="switch them off, or fix them with `seed_forward` (command line: "
            "--seed-forward)",
        )
    return first


def dtype_of(model: nn.Module) -> torch.dtype | None:
    """Return the floating type of a network's first such parameter or buffer; None without any."""
    weights = chain(model.parameters(), model.buffers())
    return next((each.dtype for each in weights if each.is_floating_point()), None)


def _copied(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # A network may hand out the same memory in every pass.
    return {layer: output.clone() for layer, output in outputs.items()}


def _random_state() -> tuple[object, ...]:
    """Return a key to the state of the random numbers of torch, NumPy and Python."""
    of_numpy: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    own = of_numpy["state"]["key"].tobytes(), of_numpy["state"]["pos"]
    return bytes(torch.get_rng_state().numpy()), *own, random.getstate()


def rounding(model: nn.Module, ready: Tensor) -> float:
    """Return the largest relative difference that batches of other sizes explain."""
    return max(_ALONE if ready.device.type == "cpu" else _ACCELERATED_ALONE, 16 * _eps(model))


def _rounding_again(model: nn.Module, ready: Tensor) -> float:
    """Return the largest relative difference of the same batch that is rounding."""
    return max(_AGAIN if ready.device.type == "cpu" else _ACCELERATED_AGAIN, 4 * _eps(model))


def _eps(model: nn.Module) -> float:
    return torch.finfo(dtype_of(model) or torch.float32).eps


def check_unchanged(
    model: nn.Module, run: _Run, ready: Shaped[Tensor, "batch *axes"], before: Mapping[str, Tensor]
) -> None:
    """Refuse a network that, after many passes, gives the same inputs other outputs than before."""
    most = _rounding_again(model, ready)
    for layer, output in run(ready).items():
        if (found := relative_difference(output, before[layer])) > most:
            raise _not_repeated(layer, found, draws=False, seeded=False)


def warn_of_constants(outputs: Mapping[str, Tensor], ready: Tensor) -> None:
    """Warn of layers whose outputs are the same for different inputs."""
    if len(ready) < 2 or bool((ready == ready[:1]).all()):
        return
    same = [
        layer
        for layer, output in outputs.items()
        if bool(output.isfinite().all())
        and relative_difference(output, output[:1].expand_as(output)) <= _CONSTANT
    ]
    if same:
        others = f" and {len(same) - 1} other layers" if len(same) > 1 else ""
        warn(
            f"layer {same[0]!r}{others}",
            found=f"the same output for {len(ready)} inputs, which differ",
            remedy="figures of a constant mean nothing; check the inputs and how they are made "
            "ready, or choose another layer",
        )


def _not_repeated(layer: str, found: float, draws: bool, seeded: bool) -> OrbitLensError:
    remedy = "let nothing that one pass leaves behind change the next one"
    if draws and not seeded:
        remedy = (
            "switch its random numbers off (dropout with training=self.training, mask_ratio=0, the "
            "mean of a posterior), or fix them with `seed_forward` (command line: --seed-forward)"
        )
    elif seeded:
        remedy = "seed_forward reaches no generators of the network's own; seed these in `forward`"
    return OrbitLensError(
        f"layer {layer!r}",
        expected="a function of the input, the same output for the same inputs",
        received=f"outputs that differ by {found:.2g} of their size from one pass to the next",
        remedy=remedy,
    )


def _not_alone(layer: str, found: float) -> OrbitLensError:
    return OrbitLensError(
        f"layer {layer!r}",
        expected="a function of the input, the same output alone and in a batch",
        received=f"outputs that differ by {found:.2g} of their size",
        remedy="let it use no statistics of the batch (running statistics in batch normalisation), "
        "or, if it draws random numbers for each place in the batch, pass inputs one by one: with "
        "`seed_forward` (command line: --seed-forward), or batch_size=1 of `harvest`",
    )
