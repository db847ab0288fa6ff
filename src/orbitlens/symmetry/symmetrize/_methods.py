"""What the three ways to symmetrize share: answers in several frames, moved back to the input."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from orbitlens.actions import Action, SampledAction
from orbitlens.errors import OrbitLensError, one_line
from orbitlens.reps import Representation

_MOST_ROWS = 16384  # that a network sees in one call, if there are several views of each input

Output = Representation | Action | SampledAction | None


class Answers(NamedTuple):
    """g f(g^-1 x) for several g of each input: `outputs` is [n, samples, ...]."""

    outputs: Shaped[Tensor, "n samples *axes"]
    penalty: Float[Tensor, " n"]
    tied: Bool[Tensor, " n"]


class Method(nn.Module, ABC):
    """Chooses group elements g for each input x, and asks a network for g f(g^-1 x)."""

    @abstractmethod
    def forward(
        self,
        network: nn.Module,
        inputs: Float[Tensor, "n *axes"],
        n_samples: int,
        generator: torch.Generator,
        mask: Bool[Tensor, "n points"] | None,
    ) -> Answers:
        """Return the answers; `n_samples` counts where elements are drawn."""


def in_full(inputs: Tensor) -> torch.autocast:
    """Return a context without autocast: half precision would choose other frames for moved inputs.

    The network itself stays under the autocast of its user.
    """
    return torch.autocast(inputs.device.type, enabled=False)


def views_per_call(inputs: Shaped[Tensor, "n *axes"]) -> int:
    """Return how many views of each input the network sees in one call; memory limits them."""
    return max(1, _MOST_ROWS // max(1, len(inputs)))


def asked(
    network: nn.Module, moved: Float[Tensor, "n *axes"], output: Output
) -> Float[Tensor, "n *out"]:
    """Return the outputs of a network on moved inputs, if the output action can move them."""
    outputs = answer_of(network, moved, "`network`")
    if not isinstance(outputs, Tensor) or outputs.ndim == 0 or len(outputs) != len(moved):
        raise OrbitLensError(
            "`network`",
            expected=f"one tensor with a row for each of {len(moved)} moved inputs",
            received=f"shape {list(outputs.shape)}"
            if isinstance(outputs, Tensor)
            else type(outputs).__name__,
            remedy="wrap it in a module that returns one tensor [n, ...]",
        )
    if not outputs.is_floating_point():
        raise OrbitLensError(
            "outputs of `network`",
            expected="floating point numbers, which can be averaged",
            received=outputs.dtype,
            remedy="return scores instead of classes, or convert flags with .float()",
        )
    if output is None:
        _check_invariant(outputs, moved)
    elif isinstance(output, Representation):
        if outputs.ndim < 2 or outputs.shape[-1] != output.dim:
            raise OrbitLensError(
                f"outputs under the representation {output.name}",
                expected=f"shape [n, ..., {output.dim}]",
                received=list(outputs.shape),
                remedy="give a representation of the width of the outputs",
            )
    else:
        output.check(outputs)
    return outputs


def answer_of(network: nn.Module, moved: Float[Tensor, "n *axes"], name: str) -> object:
    """Return what a network or a head says of inputs; if it fails, the error is one line."""
    try:
        answer: object = network(moved)
    except OrbitLensError:
        raise
    except Exception as error:
        raise OrbitLensError(
            f"{name} on {'moved ' if name == '`network`' else ''}inputs of shape "
            f"{list(moved.shape)} in {moved.dtype}",
            expected="outputs",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="give inputs of the shape and type that it is made for, or correct it",
        ) from error
    return answer


def one_moved(
    output: Representation | Action | None, outputs: Shaped[Tensor, "n *out"], element: int
) -> Shaped[Tensor, "n *out"]:
    """Return outputs moved by one element of a finite group."""
    if output is None:
        return outputs
    if isinstance(output, Representation):
        return outputs @ output.matrices[element].to(outputs).mT
    return output.moved(outputs, element)


def _check_invariant(outputs: Tensor, inputs: Tensor) -> None:
    """Refuse to average outputs with the axes of the inputs: each stands in another frame."""
    if outputs.ndim != inputs.ndim or outputs.ndim < 3:
        return
    if outputs.ndim > 3 or outputs.shape[1] == inputs.shape[1]:
        raise OrbitLensError(
            "`output`",
            expected=f"the action on outputs, which have the axes of the inputs: "
            f"{list(outputs.shape)} from {list(inputs.shape)}",
            received="None, for outputs that do not move",
            remedy="give output=action; if they do not move, end the network with nn.Flatten()",
        )
