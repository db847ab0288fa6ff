"""Find which layers of a network feed which others, from the operations of one forward pass."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

from jaxtyping import Shaped
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from orbitlens.activations.harvest._hooks import visit_calls
from orbitlens.models import evaluating, get_layer

_Names = frozenset[str]
_INPUT: _Names = frozenset({""})  # no layer has this name: that of the network itself


def layer_dependence(
    model: nn.Module, layers: Iterable[str], inputs: Shaped[Tensor, "batch *axes"]
) -> dict[str, tuple[str, ...]] | None:
    """Find the layers that feed each layer, from one forward pass.

    A layer B depends on A if a number of A's output goes into B's, through any operations of torch,
    inside modules or between them. A feeds B if B depends on A, and on no layer between them. So
    two heads on one trunk are parallel, and a stream with skip connections is successive.

    A layer that hands on the memory of another, reshaped, feeds what its container calls later; the
    rest is fed by the other.

    Args:
        model: Any network; it runs in evaluation mode, and its mode is restored.
        layers: Dotted names of its submodules, each called once.
        inputs: A few inputs, ready for the network and on its device.

    Returns:
        For each layer, in the order of the calls, the layers that feed it, in that order too: none
        for a first layer. None if this cannot be found: the network fails under observation, or
        computes outside of torch.

    Example:
        >>> import torch
        >>> class TwoHeads(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.trunk, self.a, self.b = (nn.Linear(4, 4) for _ in range(3))
        ...
        ...     def forward(self, x):
        ...         x = x + self.trunk(x)
        ...         return self.a(x), self.b(x)
        >>> layer_dependence(TwoHeads(), ["trunk", "a", "b"], torch.rand(3, 4))
        {'trunk': (), 'a': ('trunk',), 'b': ('trunk',)}
    """
    modules = {name: get_layer(model, name) for name in layers}
    sources = _Sources(inputs)
    needs: dict[str, _Names] = {}
    views: dict[str, str] = {}

    def visit(name: str, output: Any) -> None:
        if name in needs:
            return
        needs[name] = sources.of(output)
        owner = sources.owner(output)
        if owner is None:
            sources.add(output, name)
        else:
            views[name] = owner

    try:
        with evaluating(model), sources:
            error = visit_calls(model, modules, inputs, visit)
    except Exception:
        return None
    if error is not None or len(needs) < len(modules):
        return None
    if any(not names & _INPUT for names in needs.values()):  # its numbers came from elsewhere
        return None
    return _through_views(_nearest(needs), views)


@final
class _Sources(TorchDispatchMode):
    """Keeps the names of the layers that the numbers in each piece of memory depend on.

    Every operation hands on the names of its arguments to its results, and to what it writes into.
    A layer owns the memory that it puts out until something is written there.
    """

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names: dict[StorageWeakRef, _Names] = {_memory(inputs): _INPUT}
        self._owners: dict[StorageWeakRef, str] = {}

    def of(self, value: Any) -> _Names:
        """Return the names for all tensors in a value."""
        return frozenset().union(
            *(self._names.get(_memory(each), frozenset()) for each in _tensors(value))
        )

    def owner(self, value: Any) -> str | None:
        """Return the layer that owns the memory of a value, if there is one."""
        owners = {self._owners.get(_memory(each)) for each in _tensors(value)}
        return owners.pop() if len(owners) == 1 else None

    def add(self, value: Any, name: str) -> None:
        """Add a name to the memory of all tensors in a value, which this layer owns from now on."""
        for each in _tensors(value):
            place = _memory(each)
            self._owners[place] = name
            self._names[place] = self._names.get(place, frozenset()) | {name}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        given = kwargs or {}
        found = self.of((args, given))
        read = {_memory(each) for each in _tensors((args, given))}
        written = {_memory(each) for each in _tensors(_written(func, args, given))}
        output = func(*args, **given)
        made = {_memory(each) for each in _tensors(output)} - read
        for place in made:
            self._names[place] = found
        for place in written:
            self._names[place] = self._names.get(place, frozenset()) | found
        for place in made | written:
            self._owners.pop(place, None)
        return output


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """Return the arguments that an operation writes into."""
    given = [
        args[place] if place < len(args) else kwargs.get(argument.name)
        for place, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return [each for each in given if each is not None]


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [leaf for leaf in tree_leaves(_opened(value)) if isinstance(leaf, Tensor)]


def _opened(value: Any) -> Any:
    """Open records that torch does not know as containers, such as the outputs of transformers."""
    return dict(value) if isinstance(value, Mapping) else value


def _memory(tensor: Tensor) -> StorageWeakRef:
    """Return a key of a tensor's memory; it is kept, and so no later memory has the same key."""
    return StorageWeakRef(tensor.untyped_storage())


def _nearest(needs: Mapping[str, _Names]) -> dict[str, tuple[str, ...]]:
    """Keep of the layers that each one depends on those that no other one of them depends on."""
    nearest = {}
    for name, names in needs.items():
        further = frozenset().union(*(needs[each] for each in names - _INPUT))
        nearest[name] = tuple(each for each in needs if each in names - further)
    return nearest


def _through_views(
    nearest: Mapping[str, tuple[str, ...]], views: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Put a view in the place of its owner, for layers that its container calls after it."""
    current: dict[str, list[str]] = {}
    found = {}
    for name, feeding in nearest.items():
        closest = (
            next((v for v in reversed(current.get(owner, ())) if _in_container(name, v)), owner)
            for owner in feeding
        )
        found[name] = tuple(dict.fromkeys(closest))
        if name in views:
            current.setdefault(views[name], []).append(name)
    return found


def _in_container(name: str, other: str) -> bool:
    container = other.rpartition(".")[0]
    return not container or name.startswith(f"{container}.")
