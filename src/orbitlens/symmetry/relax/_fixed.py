"""Fixed numbers of layers, such as the matrices of a group, which no cast wears away."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.errors import OrbitLensError


class KeepsNumbers(nn.Module, ABC):
    """A layer whose fixed numbers are kept in float64, and rounded anew by each cast.

    After `.bfloat16().float()` they are those of float32, where torch would leave bfloat16's.
    """

    kept: dict[str, Tensor]

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the layer computes."""

    def keep(self, name: str, numbers: Float[Tensor, "..."], *, persistent: bool = False) -> None:
        """Add fixed numbers as a buffer; `persistent` if they belong to the state."""
        own = numbers.detach().double().clone(memory_format=torch.contiguous_format)
        self.kept = {**self.__dict__.get("kept", {}), name: own}
        self.register_buffer(name, own.clone(), persistent=persistent)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        before = {name: self.get_buffer(name) for name in self.kept}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, old in before.items():
            new = self.get_buffer(name)
            if (old.dtype, old.device) != (new.dtype, new.device):
                self._buffers[name] = self.kept[name].to(new)
        return self

    def check_state(self, state: dict[str, Any], prefix: str) -> None:
        """Refuse the state of a layer with other fixed numbers; older states have none.

        Numbers that are the same up to rounding take the place of those of the state.
        """
        for name, own in self.kept.items():
            given = state.get(prefix + name)
            if given is not None and not _same(given, own):
                raise OrbitLensError(
                    f"`{prefix}{name}` of a state",
                    expected=f"{own.tolist()}, as this network was built with",
                    received=given.tolist(),
                    remedy="build it with the centre, scale and bounds of the network whose state "
                    "this is",
                )
            state[prefix + name] = own


def _same(given: Tensor, own: Tensor) -> bool:
    """Return whether numbers are equal up to the rounding of their type."""
    if given.shape != own.shape:
        return False
    precision = 4 * torch.finfo(given.dtype).eps
    return torch.allclose(own.to(given), given, rtol=precision, atol=0.0)
