"""Draws from a family of tasks at the door: right, or refused with what is missing."""

from inspect import signature

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.data import Episodes, TaskFamily
from orbitlens.errors import OrbitLensError, one_line

_ALIKE = 1e-3  # share of the largest number; other machines round otherwise
_ARGUMENTS = "(n_tasks, *, support, query, generator)"


def check_family(tasks: object) -> None:
    """Check that tasks can be drawn from an object, as `data.TaskFamily` says."""
    if isinstance(tasks, type) or not isinstance(tasks, TaskFamily):
        missing = [f"`{name}`" for name in ("identity", "draw") if not hasattr(tasks, name)]
        kind = f"the class {tasks.__name__}" if isinstance(tasks, type) else type(tasks).__name__
        raise OrbitLensError(
            "`tasks`",
            expected="an object TaskFamily",
            received=f"{kind} without {' and '.join(missing)}" if missing else kind,
            remedy=f"give data.HeldTasks, or an object with a text `identity` and "
            f"`draw{_ARGUMENTS}`",
        )
    try:
        signature(tasks.draw).bind(1, support=1, query=1, generator=torch.Generator())
    except (TypeError, ValueError) as error:
        raise OrbitLensError(
            f"`draw` of {type(tasks).__name__}",
            expected=f"a method with the arguments {_ARGUMENTS}",
            received=one_line(error),
            remedy="give it these arguments, by these names",
        ) from None


def drawn(
    tasks: TaskFamily, n_tasks: int, *, support: int, query: int, generator: torch.Generator
) -> Episodes:
    """Return episodes from a family, as many as were asked for, and finite.

    A family that augments the support may return more of it.
    """
    episodes = tasks.draw(n_tasks, support=support, query=query, generator=generator)
    subject = f"what `draw` of {type(tasks).__name__} returns"
    if not isinstance(episodes, Episodes):
        raise OrbitLensError(
            subject,
            expected="an object Episodes",
            received=type(episodes).__name__,
            remedy="return data.Episodes(support_x, support_y, query_x, query_y)",
        )
    found = (episodes.n_tasks, episodes.support_x.shape[1], episodes.query_x.shape[1])
    if (found[0], found[2]) != (n_tasks, query) or found[1] < support:
        raise OrbitLensError(
            subject,
            expected=f"{n_tasks} tasks, each with {support} examples of support (or more) and "
            f"{query} of query",
            received=f"{found[0]} tasks with {found[1]} of support and {found[2]} of query",
            remedy="return as many as `draw` is asked for, or ask for fewer",
        )
    if not all(bool(each.isfinite().all()) for each in episodes.parts):
        episodes.check()
    return episodes


def first_draw(tasks: TaskFamily, seed: int, **counts: int) -> tuple[Episodes, Tensor]:
    """Return the first episodes at a seed and their sketch, after all checks of a family."""
    pair = [drawn(tasks, **counts, generator=torch.Generator().manual_seed(seed)) for _ in range(2)]
    pair[0].check()
    sketches = [_sketch(each) for each in pair]
    if not alike(*sketches):
        raise OrbitLensError(
            f"`draw` of {type(tasks).__name__}",
            expected="the same tasks again from a generator with the same seed",
            received="other tasks",
            remedy="take every random number from `generator`",
        )
    return pair[0], sketches[0]


def alike(one: Float[Tensor, "part tasks"], other: Float[Tensor, "part tasks"]) -> bool:
    """Tell whether two sketches are of the same episodes, up to rounding."""
    return bool(((one - other).abs().amax(1) <= _ALIKE * one.abs().amax(1)).all())


def _sketch(episodes: Episodes) -> Float[Tensor, "part tasks"]:
    """Return a sum of the numbers of each task in each part, with weights that tell their order.

    Unlike a checksum of bits it is the same on machines that round otherwise.
    """
    sums = []
    for part in episodes.parts:
        rows = part.detach().flatten(1)
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
        sums.append((rows @ torch.arange(rows.shape[1]).cos().to(rows)).double().cpu())
    return torch.stack(sums)
