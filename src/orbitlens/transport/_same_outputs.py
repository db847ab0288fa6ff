"""A measurement goes on only with what gives the outputs that it began with."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from orbitlens.transport._kept import Kept, OtherMeasurementError

_Traces = dict[str, list[list[float]]]


def check_same_outputs(
    kept: Kept, outputs: Callable[[], Mapping[str, Tensor]], most: float
) -> None:
    """Check that network, action and preparation, whatever their names, give the same outputs.

    Args:
        kept: The measurement so far; it keeps traces of the outputs when it begins.
        outputs: Computes the outputs of layers for the same few inputs.
        most: Relative difference that is rounding.
    """
    now = _traces(outputs())
    before = kept.once("outputs", lambda: now)
    for layer, rows in now.items():
        trace = torch.tensor(rows)
        difference = (trace - torch.tensor(before[layer])).abs().amax(1)
        if bool((difference > most * trace[:, 0]).any()):
            raise OtherMeasurementError(
                "`resume`",
                expected="the network, action and `prepare` of the measurement that is there",
                received=f"other outputs of input 0 at layer {layer!r}",
                remedy="give the same ones, or another folder",
            )


def _traces(outputs: Mapping[str, Tensor]) -> _Traces:
    """Return two numbers for each row of each output: its size, and a sum with fixed weights."""
    traces = {}
    for layer, output in outputs.items():
        rows = output.flatten(1).double()
        weights = torch.arange(rows.shape[1]).double().cos()
        traces[layer] = torch.stack([rows.norm(dim=1), rows @ weights], 1).tolist()
    return traces
