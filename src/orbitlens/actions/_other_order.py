"""What to do where inputs move by the group, but as a right action or in another order."""

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from orbitlens.actions.base import Action
from orbitlens.groups import Group, isomorphisms

_LARGEST_ORDER = 60  # of groups whose moves are all compared
_MOST_NUMBERS = 2**26  # that these moves touch
_MOST_GENERATORS = 3  # whose images are tried
_SAME = 1e-4  # of the size of the inputs


def remedy_of_order(action: Action, inputs: Shaped[Tensor, "n *axes"]) -> str | None:
    """Return the remedy for a right action, or for elements in another order; None for neither.

    The moves of the inputs tell the product table of `apply`. It is that of a right action if it is
    the transposed one of the group. It is that of another order if the group has an isomorphism
    onto it.
    """
    group = action.group
    moves = group.order**2 + group.order
    large = group.order > _LARGEST_ORDER or len(group.generators) > _MOST_GENERATORS
    if large or moves * inputs.numel() > _MOST_NUMBERS:
        return None
    table = _table(action, inputs)
    if table is None:
        return None
    if np.array_equal(table, group.table.T):
        return (
            "this is a right action, so move by the inverse: apply(x, int(group.inverses[g])) in "
            "place of apply(x, g)"
        )
    order = _order(group, table)
    if order is None:
        return None
    return (
        f"its elements lie in another order than those of {group.name}, so give "
        f"apply(x, order[g]) with order = {order} in place of apply(x, g)"
    )


def _table(
    action: Action, inputs: Shaped[Tensor, "n *axes"]
) -> Int[np.ndarray, "group group"] | None:
    """Return the product table that the moves obey; None if they obey none."""
    # Copies: a function that is wrong may also write into its inputs.
    orbit = [action.moved(inputs.clone(), g) for g in range(action.group.order)]
    keys = torch.stack([_key(moved) for moved in orbit])
    if not bool(keys.isfinite().all()):
        return None
    near = _SAME * float(keys[0].norm())
    if bool((torch.cdist(keys, keys).fill_diagonal_(torch.inf) <= near).any()):
        return None  # these inputs do not tell all elements apart
    products = torch.stack(
        [_key(action.moved(moved.clone(), g)) for g in range(len(orbit)) for moved in orbit]
    )
    distances, found = torch.cdist(products, keys).min(dim=1)
    if bool((distances > near).any()):
        return None
    return found.reshape(len(orbit), len(orbit)).numpy()


def _key(inputs: Shaped[Tensor, "n *axes"]) -> Float[Tensor, " numbers"]:
    """Return a few sums with random weights, which are the same for the same inputs."""
    flat = torch.view_as_real(inputs) if inputs.is_complex() else inputs
    flat = flat.detach().cpu().double().flatten()
    weights = torch.randn(len(flat), 4, generator=torch.Generator().manual_seed(0)).double()
    return flat @ weights


def _order(group: Group, table: Int[np.ndarray, "group group"]) -> list[int] | None:
    """Return the index in a table of each element of a group; None if the table is another one."""
    identities = np.flatnonzero((table == np.arange(group.order)).all(axis=1))
    if len(identities) != 1:
        return None
    # `isomorphisms` takes element 0 for the identity.
    places = np.arange(group.order)
    places[[0, identities[0]]] = identities[0], 0
    found = next(isomorphisms(group, places[table[np.ix_(places, places)]]), None)
    return None if found is None else list(map(int, places[found]))
