"""Adam on weights in the order in which memory holds them."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import nn
from torch.optim.adam import adam

from orbitlens.typing import Tensor

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@final
class Adam:
    """One fused pass over weights, gradients and moments. Source: Kingma & Ba, arXiv 1412.6980.

    It calls the function of `torch.optim`. The class there loads some 90 MB of compilers at its
    first step, and copies weights that memory holds transposed, such as those of an encoder here.
    Frozen weights do not change.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = [weights for weights in parameters if weights.requires_grad]
        self._moments = {
            place: {
                "step": torch.zeros((), device=weights.device),
                "exp_avg": torch.zeros_like(_in_memory(weights.data)),
                "exp_avg_sq": torch.zeros_like(_in_memory(weights.data)),
            }
            for place, weights in enumerate(self._parameters)
        }

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update the weights that have a gradient, with learning rate `lr`."""
        used: dict[int, tuple[Tensor, Tensor]] = {}
        for place, weights in enumerate(self._parameters):
            if weights.grad is not None:
                transposed = not weights.is_contiguous()
                gradient = weights.grad.mT if transposed else weights.grad
                used[place] = _in_memory(weights.data), gradient.contiguous()
        step, first, second = ([self._moments[n][name] for n in used] for name in _MOMENTS)
        adam(
            [weights for weights, _ in used.values()],
            [gradient for _, gradient in used.values()],
            first,
            second,
            [],
            step,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=lr,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        """Return the moments."""
        return {f"{n}.{name}": t for n, own in self._moments.items() for name, t in own.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue with moments that `state` returned."""
        for place, own in self._moments.items():
            for name, tensor in own.items():
                tensor.copy_(state[f"{place}.{name}"])


def _in_memory(weights: Tensor) -> Tensor:
    """Return the weights as memory holds them, transposed if need be."""
    return weights if weights.is_contiguous() else weights.mT
