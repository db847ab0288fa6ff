"""Wrong maps: the given ones with other signs, or with other places of observations or actions."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orbitlens.symmetry.check._maps import Maps
from orbitlens.symmetry.check._spaces import Array, Rollouts, Spaces

_DRAWN = 8
_SAME = 1e-6  # of what two maps make of the same states


@dataclass(frozen=True)
class Move:
    """How one map moves states [n, d] and actions, and what it is called.

    Args:
        name: The change that was made to the given map; empty for the given one, and for changes
            that were drawn at random.
        element: Index of the element of the group that it is, or stands beside.
        signs: Signs of the moved observation, [d].
        places: Where the moved observation is read from, [d].
        action_signs: Signs of the moved action, [m]; empty for discrete ones.
        action_places: The discrete action that is taken for each, [n]; empty for a Box.
        offset: What is added to the moved observation, [d].
    """

    name: str
    element: int
    signs: Array
    places: Array
    action_signs: Array
    action_places: Array
    offset: Array

    def states(self, maps: Maps, values: Array) -> Array:
        """Return the moved states."""
        return maps.states(values, self.element)[:, self.places] * self.signs + self.offset

    def actions(self, maps: Maps, values: Array) -> Array:
        """Return the moved actions."""
        moved = maps.actions(values, self.element)
        return moved * self.action_signs if len(self.action_signs) else self.action_places[moved]


@dataclass(frozen=True)
class Moves:
    """All maps that are judged.

    Args:
        own: The elements of the group but the identity.
        wrong: Changes of the given maps; for each change the elements but the identity, changed.
        centres: Points about which the group could act instead of 0, [d] each.
        centred: The elements about each of these points.
    """

    own: list[Move]
    wrong: list[list[Move]]
    centres: list[Array]
    centred: list[list[Move]]


def all_moves(maps: Maps, spaces: Spaces, seen: Rollouts, generator: np.random.Generator) -> Moves:
    """Return the given maps, wrong ones, and the given ones about other centres."""
    own = own_moves(maps, spaces)
    centres = other_centres(maps, spaces, seen)
    return Moves(
        own,
        wrong_moves(maps, spaces, seen.states, seen.actions, generator),
        centres,
        [[_about(maps, move, centre) for move in own] for centre in centres],
    )


def other_centres(maps: Maps, spaces: Spaces, seen: Rollouts) -> list[Array]:
    """Return points about which linear maps may fit better than about 0.

    These are the mean of the visited states, and where the linear part of the dynamics is at rest
    under the mean action: if s' - s = B s + C a + b and g commutes with B, then g about c is a
    symmetry for B c = -b.
    """
    if maps.linear is None:
        return []
    actions = seen.actions if spaces.n_actions is None else np.eye(spaces.n_actions)[seen.actions]
    middle = (spaces.low + spaces.high) / 2 if spaces.n_actions is None else 1 / spaces.n_actions
    columns = [seen.states, actions - middle, np.ones((len(actions), 1))]
    fit = np.linalg.lstsq(np.concatenate(columns, 1), seen.following - seen.states, rcond=None)[0]
    found = [seen.states.mean(0), -np.linalg.pinv(fit[: spaces.dim].T) @ fit[-1]]
    # What no element moves may lie anywhere.
    moved = np.eye(spaces.dim) - maps.linear.numpy().mean(0)
    return [moved @ centre for centre in found if np.isfinite(centre).all()]


def _about(maps: Maps, move: Move, centre: Array) -> Move:
    return replace(move, offset=centre - maps.states(centre[None], move.element)[0])


def own_moves(maps: Maps, spaces: Spaces) -> list[Move]:
    """Return the elements of the group but the identity."""
    return [_plain(spaces, g) for g in range(1, maps.group.order)]


def wrong_moves(
    maps: Maps, spaces: Spaces, states: Array, actions: Array, generator: np.random.Generator
) -> list[list[Move]]:
    """Return wrong maps: one change each, of all elements but the identity.

    The changes are every other sign, every swap of two discrete actions, and some signs and places
    drawn at random. `states` and `actions` tell which of them lead to elements after all.
    """
    changes = list(_single_changes(spaces))
    if len(changes) > 4 * _DRAWN:
        chosen = generator.permutation(len(changes))[: 4 * _DRAWN]
        changes = [changes[i] for i in chosen]
    changes += [_drawn(spaces, generator) for _ in range(_DRAWN)]
    right = [(maps.states(states, g), maps.actions(actions, g)) for g in range(maps.group.order)]

    def is_element(move: Move) -> bool:
        pair = move.states(maps, states), move.actions(maps, actions)
        return any(same(pair, each) for each in right)

    wrong = [[replace(each, element=g) for g in range(1, maps.group.order)] for each in changes]
    return [moves for moves in wrong if not all(map(is_element, moves))]


def _plain(spaces: Spaces, element: int = 1) -> Move:
    boxed = spaces.n_actions is None
    return Move(
        "",
        element,
        np.ones(spaces.dim),
        np.arange(spaces.dim),
        np.ones(len(spaces.low)) if boxed else np.zeros(0),
        np.zeros(0, dtype=np.int64) if boxed else np.arange(spaces.n_actions or 0),
        np.zeros(spaces.dim),
    )


def _single_changes(spaces: Spaces) -> Iterator[Move]:
    plain = _plain(spaces)
    for i in range(spaces.dim):
        signs = _flipped(plain.signs, i)
        yield replace(plain, name=f"the other sign of observation {i}", signs=signs)
    if spaces.n_actions is None:
        for i in np.flatnonzero(_even(spaces)).tolist():
            signs = _flipped(plain.action_signs, i)
            yield replace(plain, name=f"the other sign of action {i}", action_signs=signs)
        return
    for first in range(spaces.n_actions):
        for second in range(first):
            places = plain.action_places.copy()
            places[[first, second]] = places[[second, first]]
            name = f"actions {second} and {first} swapped"
            yield replace(plain, name=name, action_places=places)


def _drawn(spaces: Spaces, generator: np.random.Generator) -> Move:
    plain = _plain(spaces)
    signs = generator.choice([-1.0, 1.0], spaces.dim)
    places = generator.permutation(spaces.dim) if generator.random() < 0.5 else plain.places
    fields: dict[str, Any] = {"signs": signs, "places": places}
    if spaces.n_actions is None:
        drawn = generator.choice([-1.0, 1.0], len(spaces.low))
        fields["action_signs"] = np.where(_even(spaces), drawn, 1.0)
    else:
        fields["action_places"] = generator.permutation(spaces.n_actions)
    return replace(plain, **fields)


def _flipped(signs: Array, place: int) -> Array:
    signs = signs.copy()
    signs[place] *= -1
    return signs


def _even(spaces: Spaces) -> Array:
    """Return which numbers of an action have equal bounds on both sides."""
    return spaces.low == -spaces.high


def same(pair: tuple[Array, Array], other: tuple[Array, Array]) -> bool:
    """Return whether two maps make the same of some states and actions."""
    sizes = [np.abs(each).max() for each in other]
    return all(
        bool(np.abs(a - b).max() <= _SAME * size)
        for a, b, size in zip(pair, other, sizes, strict=True)
    )
