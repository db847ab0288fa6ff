"""Orbits whose elements lie in another order, brought into that of their group."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Float64, Int, Shaped
from torch import Tensor

from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.checks import as_count, as_tensor
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name
from orbitlens.groups import Group, as_group
from orbitlens.transport._law import keeps_generators, orders_by_law, rows_for_law

_LOWERED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_Order = Sequence[int | str] | Int[np.ndarray, " order"]


@overload
def reorder(
    orbits: ActivationStore,
    group: Group | str | None = None,
    order: _Order | None = None,
    *,
    out: Path | str | None = None,
) -> ActivationStore: ...
@overload
def reorder(
    orbits: Tensor, group: Group | str | None = None, order: _Order | None = None
) -> Tensor: ...
@overload
def reorder(
    orbits: Shaped[np.ndarray, "..."] | Sequence[Any],
    group: Group | str | None = None,
    order: _Order | None = None,
) -> Shaped[np.ndarray, "..."]: ...
def reorder(
    orbits: Any,
    group: Group | str | None = None,
    order: _Order | None = None,
    *,
    out: Path | str | None = None,
) -> Any:
    """Bring orbits whose elements lie in another order into the order of their group.

    reordered[:, order[j]] = orbits[:, j]   for every place j

    Without `order` it is found from the activations: M_j M_k psi(x) is nearest to psi_l(x), and
    these products must be those of the group. Activations tell the elements only up to an
    automorphism of the group: turns to the left and turns to the right obey the same law, and so
    does any element that is taken for e. So [:, 0] is taken for e and the generators of the group
    for those at their own places, such as [:, 1] for r; the law places all the others. If the
    generators lie elsewhere, nothing but `order` can say which element is which.

    Args:
        orbits: A store, which is read into memory, or an array [n, |G|, dim] or
            [n, |G|, positions, dim]; with `order` an array [n, |G|, ...] of any shape.
        group: The group, or its name; default None, for a store its own.
        order: The elements as they lie, by index or name: `order[j]` is the element at [:, j].
            Default None: it is found.
        out: Folder or URL of the new store; None (the default) keeps it in memory.

    Returns:
        The orbits in the order of the group: a new store, or a new array of the kind that was
        given.

    Raises:
        OrbitLensError: If the order does not name every element once; if the orbits are of another
            shape; if the store was harvested with moving positions, so that it has its order; or
            if there is no order and the activations show none, or more than one.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> clockwise = np.array([[[0], [3], [2], [1]]])  # x, and its turns to the right
        >>> reorder(clockwise, "C4", order=["e", "r^3", "r^2", "r"]).ravel().tolist()
        [0, 1, 2, 3]
    """
    if isinstance(orbits, ActivationStore):
        return _store(orbits, group, order, out)
    if out is not None:
        raise out_of_range("out", "None for an array", repr(out), "put it into a store first")
    if group is None:
        raise out_of_range("group", 'a group or its name, such as "C4"', None, "give it")
    group = as_group(group)
    array = orbits if isinstance(orbits, np.ndarray | Tensor) else _listed(orbits)
    if array.ndim < 2 or array.shape[1] != group.order:
        raise OrbitLensError(
            "`orbits`",
            expected=f"shape [n, {group.order}, ...] for {group}",
            received=f"shape {list(array.shape)}",
            remedy="put the moved samples on axis 1",
        )
    places = _places(group, order, array)
    return array[:, torch.from_numpy(places) if isinstance(array, Tensor) else places]


def _store(
    store: ActivationStore, group: Group | str | None, order: _Order | None, out: Path | str | None
) -> ActivationStore:
    if group is not None:
        store.require(group=as_group(group))
    if store.moves is not None:
        raise OrbitLensError(
            f"{store}",
            expected="a store of an array of your own",
            received=f"one harvested under {store.action}, whose places move with the group",
            remedy="its elements are in order already; for another group, harvest again",
        )
    rows = store.about(None).orbits().numpy()
    values = rows
    if store.array.ndim == 4:
        values = rows.reshape(store.n, store.positions, *rows.shape[1:]).swapaxes(1, 2)
    places = _places(store.group, order, values)
    made = store_from_array(
        values[:, places],
        group=store.group,
        out=out,
        labels=store.labels,
        class_names=store.class_names,
        files=store.files,
        model=store.model,
        layer=store.layer,
        action=store.action,
        digest=None if store.digest == _digest(values) else store.digest,
        dtype=store.dtype,
    )
    return made if store.mean is None else made.about(store.mean)


def _digest(values: Shaped[np.ndarray, "..."]) -> str:
    """Return the fingerprint that a store has by default: that of its numbers, not its inputs."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()[:16]


def _places(
    group: Group, order: _Order | None, array: Shaped[np.ndarray, "..."] | Tensor
) -> Int[np.ndarray, " order"]:
    """Return where each element lies."""
    return np.argsort(_found(group, array) if order is None else _given(group, order))


def _given(group: Group, order: _Order) -> list[int]:
    if isinstance(order, str) or not isinstance(order, Sequence | np.ndarray):
        raise out_of_range(
            "order", "a list of elements", type(order).__name__, "give indices or names"
        )
    elements = [_element(group, each) for each in order]
    if sorted(elements) != list(range(group.order)):
        missing = sorted(set(range(group.order)) - set(elements))
        raise OrbitLensError(
            "`order`",
            expected=f"each of the {group.order} elements of {group.name} once",
            received=f"{len(elements)} of them"
            + (f" without {group.element_names[missing[0]]}" if missing else ""),
            remedy="give the elements as they lie on axis 1",
        )
    return elements


def _element(group: Group, given: object) -> int:
    if isinstance(given, str):
        given = re.sub(r"[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", _power, given)  # as pages write r^2
        if given not in group.element_names:
            raise unknown_name("`order`", given, group.element_names)
        return group.element_names.index(given)
    return as_count("order", given, least=0, most=group.order - 1)


def _found(group: Group, array: Shaped[np.ndarray, "..."] | Tensor) -> list[int]:
    orders = orders_by_law(_rows(group, array), group)
    if keeps_generators(orders[0], group):
        return orders[0]
    names = ", ".join(f"{group.element_names[g]} at [:, {g}]" for g in group.generators)
    raise OrbitLensError(
        "`order`",
        expected=f"the generators of {group.name} at their places, {names}, where it is not given",
        received=f"orbits in which other elements lie there; {orders[0]} fits, and so do others",
        remedy="give the `order` that is yours: activations cannot tell which",
    )


def _rows(
    group: Group, array: Shaped[np.ndarray, "..."] | Tensor
) -> Float64[Tensor, "rows group dim"]:
    if array.ndim not in (3, 4):
        raise OrbitLensError(
            "`orbits`",
            expected="shape [n, |G|, dim] or [n, |G|, positions, dim] where `order` is not given",
            received=f"shape {list(array.shape)}",
            remedy="give `order`, the elements as they lie on axis 1",
        )
    most = rows_for_law(group.order, array.shape[-1])
    if most == 0:
        raise OrbitLensError(
            "`orbits`",
            expected="fewer directions where `order` is not given, for want of memory",
            received=f"dim = {array.shape[-1]} and {group.order} elements",
            remedy="give `order`, the elements as they lie on axis 1",
        )
    positions = array.shape[2] if array.ndim == 4 else 1
    some = as_tensor("orbits", array[: -(-most // positions)], dtype=torch.float64).detach().cpu()
    return some.transpose(1, 2).flatten(0, 1) if some.ndim == 4 else some


def _listed(orbits: Sequence[Any]) -> Shaped[np.ndarray, "..."]:
    found: Shaped[np.ndarray, "..."] = as_tensor("orbits", orbits, dtype=None).numpy()
    return found


def _power(raised: re.Match[str]) -> str:
    return "^" + raised[0].translate(_LOWERED)
