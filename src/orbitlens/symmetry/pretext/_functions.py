"""Functions on a group at the door: checked, in one type, moved and of norm 1."""

import torch
from jaxtyping import Float
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


def rows_for(
    name: str, x: object, group: Group, features: int, weights: Tensor
) -> Float[Tensor, "n dim"]:
    """Return functions on a group, as many as a network takes, in the type of its weights."""
    rows = as_floats(name, x)
    if rows.ndim != 2 or rows.shape[1] != features * group.order:
        raise OrbitLensError(
            f"`{name}`",
            expected=f"shape [n, {features * group.order}], {features} functions on {group.name}",
            received=list(rows.shape),
            remedy="give what an encoder with this group returns, or build the network for it",
        )
    return rows.to(weights.dtype)


def near_one(name: str, rows: Float[Tensor, "n *axes"]) -> Float[Tensor, "n *axes"]:
    """Return rows divided by powers of two: the largest magnitude of each is from 1 to 2.

    No bit of a direction changes, and no square over- or underflows.
    """
    largest = rows.detach().flatten(1).abs().amax(1)
    _check_directions(name, largest)
    wide = largest if largest.dtype == torch.float64 else largest.float()
    powers = (wide / (2 * wide.frexp().mantissa)).to(rows.dtype)
    return rows / powers.reshape(-1, *[1] * (rows.ndim - 1))


def _check_directions(name: str, largest: Float[Tensor, " n"]) -> None:
    """Refuse rows of zeros, and rows with NaN or infinity, by their largest magnitudes."""
    zero, broken = int((largest == 0).sum()), int((~largest.isfinite()).sum())
    if zero or broken:
        found = {"rows of zeros": zero, "rows with NaN or infinity": broken}
        raise OrbitLensError(
            f"`{name}`",
            expected="finite rows that are not zero everywhere: others have no cosine",
            received=" and ".join(f"{count} {kind}" for kind, count in found.items() if count),
            remedy="leave these out; if all rows are such, the network has died: train it again "
            "with a lower learning rate",
        )


def unit_functions(name: str, z: object, group: Group) -> Float[Tensor, "n f order"]:
    """Return functions on a group divided by their norms."""
    functions = near_one(name, functions_on(name, z, group))
    return functions / torch.linalg.vector_norm(functions, dim=(1, 2), keepdim=True)


def of_one_type(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return two tensors in the wider of their types, such as float32 of it and float16."""
    wider = torch.promote_types(first.dtype, second.dtype)
    return first.to(wider), second.to(wider)


def two_views(
    first: object, second: object, group: Group
) -> tuple[Float[Tensor, "n f order"], Float[Tensor, "n f order"]]:
    """Return two views of at least two inputs as functions on a group, of one type."""
    a, b = functions_on("first", first, group), functions_on("second", second, group)
    check_same_shape("second", b, a)
    if len(a) < 2:
        raise OrbitLensError(
            "`first` and `second`",
            expected="views of at least 2 inputs: a view is told from those of others",
            received=len(a),
            remedy="give a larger batch",
        )
    return of_one_type(a, b)


def check_same_shape(
    name: str, given: Float[Tensor, "n f order"], other: Float[Tensor, "m f2 order"]
) -> None:
    """Refuse views of other inputs, or with other functions, than the other views."""
    if given.shape != other.shape:
        raise OrbitLensError(
            f"`{name}`",
            expected=f"the shape of the other views, {list(other.flatten(1).shape)}",
            received=list(given.flatten(1).shape),
            remedy="give two views of each input, in the same order",
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
