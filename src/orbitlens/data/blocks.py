"""A world of blocks on a square grid, and an oblique view of it: turning the grid turns no picture.

Source of the world and of the view from an angle: Park et al. 2022, arXiv 2204.11371, *Learning
Symmetric Embeddings for Equivariant World Models*, "3D Blocks". The drawings are our own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import one_hot

from orbitlens.actions import images, places_moved
from orbitlens.checks import as_axes, as_count, as_indices, as_seed, check_memory
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.groups import Group

_STEPS = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}
BLOCK_MOVES = tuple(_STEPS)
"""The moves of a block, in the order of their numbers."""

_COLOURS = (
    *((0.90, 0.20, 0.20), (0.15, 0.45, 0.90), (0.20, 0.70, 0.25)),
    *((0.95, 0.70, 0.10), (0.60, 0.25, 0.75), (0.10, 0.70, 0.75)),
)
# Brightness of a block's pixels, 0 around it: the top, then the front with the right edge.
_SHADES = (
    (0.0, 0.7, 0.7, 0.7),
    (0.0, 0.7, 0.7, 0.7),
    (1.0, 1.0, 1.0, 0.45),
    (1.0, 1.0, 1.0, 0.45),
    (1.0, 1.0, 1.0, 0.0),
)
_TOP = 2  # rows of the top


@dataclass(frozen=True, eq=False)
class BlockEpisodes:
    """Episodes of a world of blocks.

    Args:
        grids: Where each block stands, one-hot, before the first action and after each, float32 of
            shape [n, steps + 1, blocks, side, side].
        actions: Number of each action, shape [n, steps]: 4 k + m moves block k by move m of
            `BLOCK_MOVES`.
    """

    grids: Float[Tensor, "n times blocks side side"]
    actions: Int[Tensor, "n steps"]


def block_episodes(
    n: int,
    *,
    side: int = 5,
    blocks: int = 2,
    steps: int = 1,
    moves: Sequence[str] = BLOCK_MOVES,
    seed: int,
) -> BlockEpisodes:
    """Put blocks on random cells, and move random ones by random moves.

    All placements of the blocks on different cells are as likely, and so are all blocks and the
    `moves`. See `step_blocks` for what a move does, and `render_blocks` for the pictures.

    Source: Park et al. 2022, arXiv 2204.11371. Where some moves are left out, long episodes would
    end with all blocks at one wall, so training takes `steps=1`.

    Args:
        n: Number of episodes.
        side: Cells along each side of the grid, default 5.
        blocks: Number of blocks, default 2, at most 6.
        steps: Actions in each episode, default 1.
        moves: Names of the moves to draw from, default all of `BLOCK_MOVES`.
        seed: The same seed gives the same episodes.

    Returns:
        Grids and actions.

    Raises:
        OrbitLensError: If a number is out of range, the blocks do not fit, or a move is unknown.

    Example:
        >>> data = block_episodes(3, steps=5, moves=["up", "right"], seed=0)
        >>> data.grids.shape, data.actions.shape
        (torch.Size([3, 6, 2, 5, 5]), torch.Size([3, 5]))
    """
    n, side, steps = as_count("n", n), as_count("side", side, least=2), as_count("steps", steps)
    blocks = as_count("blocks", blocks, most=min(len(_COLOURS), side**2))
    chosen = [_move_number(name) for name in _names(moves)]
    check_memory(f"{n} episodes", 4 * n * (steps + 1) * blocks * side**2, "choose fewer")
    random = np.random.default_rng(as_seed(seed))
    # The first of a random order of all cells.
    cells = random.random((n, side**2)).argsort(1)[:, :blocks]
    mover, move = (
        random.integers(0, blocks, (n, steps)),
        random.integers(0, len(chosen), (n, steps)),
    )
    actions = torch.from_numpy(len(_STEPS) * mover + np.array(chosen)[move])
    grids = [one_hot(torch.from_numpy(cells), side**2).unflatten(-1, (side, side)).float()]
    for step in actions.T:
        grids.append(_stepped(grids[-1], step))
    return BlockEpisodes(torch.stack(grids, 1), actions)


def step_blocks(
    grids: Shaped[Tensor, "n blocks side side"], actions: Int[Tensor, " n"]
) -> Shaped[Tensor, "n blocks side side"]:
    """Return where the blocks stand after one action each.

    A move into a wall or onto a cell that is taken does nothing.

    Args:
        grids: Where each block stands, one-hot.
        actions: 4 k + m moves block k by move m of `BLOCK_MOVES`.

    Returns:
        Grids of the same shape; of the type of the given ones, or floats if these are no tensor.

    Raises:
        OrbitLensError: If the grids are not one-hot, or an action does not exist.

    Example:
        >>> grid = torch.tensor([[[[0, 0], [1, 0]]]])
        >>> step_blocks(grid, torch.tensor([0])).tolist()                  # up
        [[[[1, 0], [0, 0]]]]
        >>> step_blocks(grid, torch.tensor([3])).tolist()                  # left, into the wall
        [[[[0, 0], [1, 0]]]]
    """
    states = _as_states(grids)
    most = len(_STEPS) * states.shape[1] - 1
    actions = as_indices("actions", actions, "n", most=most, size=len(states))
    after = _stepped(states, actions.to(states.device))
    return after.to(grids.dtype) if isinstance(grids, Tensor) else after


def render_blocks(
    grids: Shaped[Tensor, "n blocks side side"],
) -> Float[Tensor, "n 3 size size"]:
    """Draw the blocks as seen from above and from one side, on white.

    The front of the block at row r and column c begins in pixel

        y = floor(4 + 2.2 r + 0.6 c)        x = floor(1 + 2.6 c + 1.1 (side - 1 - r))

    It has 3 x 3 pixels, a darker top and a dark right edge; blocks in front hide those behind. So
    a turn of the grid is no turn of the picture. Block k has the k-th colour. A value v between 0
    and 1 draws a block of opacity v, so that grids between two states have a picture too.

    It draws what it gets: give it to a network as its preparation (`BaseModel.prepare`), and
    `actions.images` on grids moves states, whose pictures are then drawn and not turned.

    Args:
        grids: Where each block stands, one-hot, of any type.

    Returns:
        Pictures in [0, 1], float32, 20 x 20 pixels for a side of 5.

    Raises:
        OrbitLensError: If these are no square maps of values in [0, 1], or more than 6 blocks.

    Example:
        >>> render_blocks(block_episodes(4, seed=0).grids[:, 0]).shape
        torch.Size([4, 3, 20, 20])
    """
    grids = _as_maps(grids).float()
    n, blocks, side, _ = grids.shape
    shade = torch.tensor(_SHADES, device=grids.device)
    opaque, colours = (shade > 0).float(), torch.tensor(_COLOURS, device=grids.device)
    size = max(edge for cell in range(side**2) for edge in _corner(cell, side)) + len(shade)
    pictures = torch.ones(n, 3, size, size, device=grids.device)
    # Cells are numbered row by row from the back.
    for cell in range(side**2):
        top, left = _corner(cell, side)
        patch = pictures[:, :, top : top + shade.shape[0], left : left + shade.shape[1]]
        values = grids.flatten(2)[:, :, cell, None, None, None] * opaque
        for block in range(blocks):
            value = values[:, block]
            patch.mul_(1 - value).add_(value * shade * colours[block][:, None, None])
    return pictures


def block_moves(group: Group | str) -> Int[np.ndarray, "group moves"]:
    """Return how a group that turns and flips the grid permutes the moves of a block.

    `block_moves(group)[g, m]` is the move that takes the moved block where g takes the block that
    was moved: g (step by m) = step by g m. Elements are those of `actions.images`.

    Args:
        group: C1, C2, C4, D1, D2 or D4, or its name.

    Raises:
        OrbitLensError: If the group does not move cells to cells.

    Example:
        >>> block_moves("C4")[1].tolist()                       # up becomes left, right becomes up
        [3, 0, 1, 2]
    """
    action = images(group)
    centre = np.array([1, 1])
    neighbours = [
        int(np.ravel_multi_index(tuple(centre + step), (3, 3))) for step in _STEPS.values()
    ]
    moved = places_moved(action.apply, action.group.order, 3, 3)[:, neighbours]
    return np.argmax(moved[:, :, None] == np.array(neighbours), axis=2)


def _stepped(
    grids: Shaped[Tensor, "n blocks side side"], actions: Int[Tensor, " n"]
) -> Shaped[Tensor, "n blocks side side"]:
    n, _, side, _ = grids.shape
    cells = grids.flatten(2).argmax(-1)
    rows, mover = torch.arange(n, device=grids.device), actions // len(_STEPS)
    steps = torch.tensor(list(_STEPS.values()), device=grids.device)[actions % len(_STEPS)]
    own = cells[rows, mover]
    place = torch.stack([own // side, own % side], 1) + steps
    wanted = place[:, 0] * side + place[:, 1]
    free = ((place >= 0) & (place < side)).all(1) & (cells != wanted[:, None]).all(1)
    cells[rows, mover] = torch.where(free, wanted, own)
    return one_hot(cells, side**2).unflatten(-1, (side, side)).to(grids.dtype)


def _corner(cell: int, side: int) -> tuple[int, int]:
    """Return the top left pixel of a block on a cell."""
    r, c = divmod(cell, side)
    return int(4 + 2.2 * r + 0.6 * c) - _TOP, int(1 + 2.6 * c + 1.1 * (side - 1 - r))


def _names(moves: object) -> Sequence[object]:
    if isinstance(moves, str) or not isinstance(moves, Sequence) or not moves:
        raise OrbitLensError(
            "`moves`",
            expected=f"a list of some of {', '.join(BLOCK_MOVES)}",
            received=repr(moves),
            remedy='give for example ["up", "right"]',
        )
    return moves


def _move_number(name: object) -> int:
    if not isinstance(name, str) or name not in _STEPS:
        raise unknown_name("`moves`", str(name), _STEPS)
    return BLOCK_MOVES.index(name)


def _as_maps(grids: Shaped[Tensor, "n blocks side side"]) -> Float[Tensor, "n blocks side side"]:
    """Return square maps of values in [0, 1], with a colour for each."""
    values = as_axes("grids", grids, "n blocks side width")
    _, blocks, height, width = values.shape
    if height != width or height < 2:
        raise _wrong_grids(f"{height} x {width} cells")
    if blocks > len(_COLOURS):
        raise _wrong_grids(f"{blocks} blocks")
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise _wrong_grids(f"values from {values.min():.4g} to {values.max():.4g}")
    return values


def _as_states(grids: Shaped[Tensor, "n blocks side side"]) -> Float[Tensor, "n blocks side side"]:
    """Return maps that are states of the world."""
    values = _as_maps(grids)
    if bool((values.sum((2, 3)) != 1).any()) or bool(((values != 0) & (values != 1)).any()):
        raise _wrong_grids("maps that are not one 1 among zeros")
    if bool((values.sum(1) > 1).any()):
        raise _wrong_grids("two blocks on one cell")
    return values


def _wrong_grids(received: str) -> OrbitLensError:
    return OrbitLensError(
        "`grids`",
        expected=f"square one-hot maps of up to {len(_COLOURS)} blocks on different cells",
        received=received,
        remedy="give states such as block_episodes(...).grids[:, 0]",
    )
