"""Functions on a group at the door, moved and of norm 1."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from orbitlens.checks import as_floats, as_number
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.groups import Group


def functions_on(name: str, z: object, group: Group) -> Float[Tensor, "n f order"]:
    """Return rows as functions on a group, one value for each function and element."""
    rows = as_floats(name, z)
    if rows.ndim != 2 or rows.shape[1] % group.order or not rows.shape[1]:
        raise OrbitLensError(
            f"`{name}`",
            expected=f"shape [n, f * {group.order}], functions on {group.name}",
            received=list(rows.shape),
            remedy="flatten the axes of functions and elements, in this order; see GroupEncoder",
        )
    return rows.unflatten(1, (-1, group.order))


def check_nonzero(name: str, rows: Shaped[Tensor, "n dim"]) -> None:
    """Refuse rows of zeros, which have no direction."""
    zero = int((rows.detach() == 0).all(1).sum())
    if zero:
        raise OrbitLensError(
            f"`{name}`",
            expected="rows that are not zero everywhere: others have no cosine",
            received=f"{zero} rows of zeros",
            remedy="leave these out; if all rows are zero, the network has died: train it again "
            "with a lower learning rate",
        )


def unit_functions(name: str, z: object, group: Group) -> Float[Tensor, "n f order"]:
    """Return functions on a group divided by their norms."""
    functions = functions_on(name, z, group)
    check_nonzero(name, functions.flatten(1))
    return functions / torch.linalg.vector_norm(functions, dim=(1, 2), keepdim=True)


def check_same_shape(name: str, given: Tensor, other: Tensor) -> None:
    """Refuse views of other inputs, or with other functions, than the other views."""
    if given.shape != other.shape:
        raise OrbitLensError(
            f"`{name}`",
            expected=f"the shape of the other views, {list(other.shape)}",
            received=list(given.shape),
            remedy="give two views of each input, in the same order",
        )


def check_pairs(n: int) -> None:
    """Refuse the views of a single input, which are told from those of no other."""
    if n < 2:
        raise OrbitLensError(
            "`first` and `second`",
            expected="views of at least 2 inputs: a view is told from those of others",
            received=n,
            remedy="give a larger batch",
        )


def as_positive(name: str, given: float) -> float:
    """Return a number above 0, such as a temperature."""
    number = float(as_number(name, given, "a number above 0"))
    if number <= 0:
        raise out_of_range(name, "a number above 0", given)
    return number


def moved_by_all(b: Float[Tensor, "m f order"], group: Group) -> Float[Tensor, "order m dim"]:
    """Return gb for every element: (g b)[f, a] = b[f, g^-1 a]."""
    origins = torch.from_numpy(group.table[group.inverses]).to(b.device)
    return b[:, :, origins].movedim(2, 0).flatten(2)
