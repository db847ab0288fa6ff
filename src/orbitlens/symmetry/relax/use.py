"""How much each layer of a network uses of its symmetric and of its free parts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from torch import nn

from orbitlens.checks import as_count, check_kind
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name

_Kind = Literal["spread", "effective"]


@dataclass(frozen=True, repr=False)
class SymmetryUse:
    """How much one layer uses of its parts.

    A path is dropped where the data determine less than one of its parameters, gamma < 1, or where
    its prior precision is at the upper bound. A small share alone does not drop a large path.

    Args:
        kind: "spread" for max - min of the weights of a filter bank over the group, where 0 is
            symmetric; "effective" for the share of the parameters of a path that the data
            determine, gamma / P, between 0 and 1.
        parts: The value of each filter bank or path, by its name; NaN where the weights are.
        sizes: Number of parameters P of each path; default none, where they are not known.
        switched_off: Names of the paths whose prior precision is at the upper bound, default none.

    Raises:
        OrbitLensError: If the kind is another one, a part has no name or no number, sizes are not
            those of the parts, or a path that is switched off is no part.
    """

    kind: _Kind
    parts: Mapping[str, float]
    sizes: Mapping[str, int] = field(default_factory=dict)
    switched_off: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(_Kind):
            raise unknown_name("`kind` of a use", self.kind, get_args(_Kind))
        check_kind("parts", self.parts, Mapping, "give the value of each part by its name")
        if not self.parts:
            remedy = "name the parts, or return None where the use is not known"
            raise out_of_range("parts", "at least one", 0, remedy)
        for name, value in self.parts.items():
            if not isinstance(name, str) or not _is_number(value):
                raise OrbitLensError(
                    "`parts` of a use",
                    expected="numbers by the names of the parts",
                    received=f"{type(value).__name__} for {name!r}",
                    remedy="give each part a name and a number; .item() makes one of a tensor",
                )

        check_kind("sizes", self.sizes, Mapping, "give the size of each part by its name")
        if self.sizes and self.sizes.keys() != self.parts.keys():
            raise OrbitLensError(
                "`sizes` of a use",
                expected=f"those of the parts {list(self.parts)}",
                received=f"those of {list(self.sizes)}",
                remedy="give the number of parameters of every part, or of none",
            )
        for name, size in self.sizes.items():
            as_count(f"sizes[{name!r}]", size)
        for name in self.switched_off:
            if name not in self.parts:
                raise unknown_name("`switched_off` of a use", name, tuple(self.parts))

    def __repr__(self) -> str:
        known: dict[str, object] = {"kind": self.kind, "parts": dict(self.parts)}
        if self.sizes:
            known["sizes"] = dict(self.sizes)
        if self.switched_off:
            known["switched_off"] = self.switched_off
        return f"SymmetryUse({', '.join(f'{name}={each!r}' for name, each in known.items())})"

    @property
    def determined(self) -> dict[str, float]:
        """How many parameters of each path the data determine, gamma; none where P is unknown."""
        return {name: float(self.parts[name]) * size for name, size in self.sizes.items()}

    @property
    def dropped(self) -> tuple[str, ...]:
        """Names of the paths that are dropped; none where nothing tells."""
        gammas = self.determined
        off = self.switched_off
        return tuple(n for n in self.parts if n in off or gammas.get(n, math.inf) < 1)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready record."""
        record = {"kind": self.kind, "parts": {name: float(v) for name, v in self.parts.items()}}
        if not self.sizes:
            return record
        more = {"determined": self.determined, "sizes": dict(self.sizes)}
        return {**record, **more, "dropped": list(self.dropped)}


@runtime_checkable
class KnowsUse(Protocol):
    """A layer that knows how much it uses of its parts."""

    def symmetry_use(self) -> SymmetryUse | None:
        """Return the use of each part, None where it is not known."""
        ...


@runtime_checkable
class GivesReason(Protocol):
    """A layer that says why it does not know its use."""

    def why_use_is_unknown(self) -> str | None:
        """Return the reason; None where the use is known."""
        ...


def symmetry_uses(network: nn.Module) -> dict[str, SymmetryUse]:
    """Return the use of every layer that knows its own, by the names of the layers.

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


def unknown_uses(network: nn.Module) -> dict[str, str]:
    """Return why layers do not know their use, by the names of the layers.

    Args:
        network: Any network; mixed blocks give a reason.

    Returns:
        From the name of the layer to the reason, in the order of the network.

    Raises:
        OrbitLensError: If it is no network.

    Example:
        >>> from orbitlens.symmetry.relax.mixed import MixedBlock
        >>> unknown_uses(nn.Sequential(MixedBlock(1, 2, side=4)))
        {'0': 'no precision was learned'}
    """
    check_kind("network", network, nn.Module, "give the network that is trained")
    found = {
        name: module.why_use_is_unknown()
        for name, module in network.named_modules()
        if isinstance(module, GivesReason)
    }
    return {name: reason for name, reason in found.items() if reason is not None}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
