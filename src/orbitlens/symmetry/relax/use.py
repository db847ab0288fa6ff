"""How much each layer of a network uses of its symmetric and of its free parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from torch import nn

from orbitlens.checks import check_kind
from orbitlens.errors import OrbitLensError, unknown_name

_Kind = Literal["spread", "effective"]


@dataclass(frozen=True)
class SymmetryUse:
    """How much one layer uses of its parts.

    Args:
        kind: "spread" for max - min of the weights of a filter bank over the group, where 0 is
            symmetric; "effective" for the share of the parameters of a path that the data
            determine, gamma / P, between 0 and 1.
        parts: The value of each filter bank or path, by its name; NaN where the weights are.

    Raises:
        OrbitLensError: If the kind is another one, or a part has no name or no number.
    """

    kind: _Kind
    parts: Mapping[str, float]

    def __post_init__(self) -> None:
        if self.kind not in get_args(_Kind):
            raise unknown_name("`kind` of a use", self.kind, get_args(_Kind))
        check_kind("parts", self.parts, Mapping, "give the value of each part by its name")
        for name, value in self.parts.items():
            if not isinstance(name, str) or not _is_number(value):
                raise OrbitLensError(
                    "`parts` of a use",
                    expected="numbers by the names of the parts",
                    received=f"{type(value).__name__} for {name!r}",
                    remedy="give each part a name and a number; .item() makes one of a tensor",
                )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready record."""
        return {"kind": self.kind, "parts": {name: float(v) for name, v in self.parts.items()}}


@runtime_checkable
class KnowsUse(Protocol):
    """A layer that knows how much it uses of its parts."""

    def symmetry_use(self) -> SymmetryUse | None:
        """Return the use of each part, None where nothing has measured it yet."""
        ...


def symmetry_uses(network: nn.Module) -> dict[str, SymmetryUse]:
    """Return the use of every layer that knows its own, by the name of the layer.

    Args:
        network: Any network; layers of `orbitlens.symmetry.relax` know their use.

    Returns:
        From the name of the layer to its use, in the order of the network.

    Raises:
        OrbitLensError: If a layer returns something else than its use or None.

    Example:
        >>> from orbitlens.symmetry.relax.relaxed import RelaxedGroupLinear
        >>> symmetry_uses(nn.Sequential(RelaxedGroupLinear("C2", 1, 1, banks=1), nn.ReLU()))
        {'0': SymmetryUse(kind='spread', parts={'bank 1': 0.0})}
    """
    check_kind("network", network, nn.Module, "give the network that is trained")
    found = {
        name: module.symmetry_use()
        for name, module in network.named_modules()
        if isinstance(module, KnowsUse)
    }
    for name, use in found.items():
        if use is not None:
            check_kind(f"symmetry_use() of {name!r}", use, SymmetryUse, "return that or None")
    return {name: use for name, use in found.items() if use is not None}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
