"""Where the maps lead: to states like those that were seen, or off the states that there are."""

import numpy as np

from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.check._controls import same
from orbitlens.symmetry.check._laws import no_group
from orbitlens.symmetry.check._maps import Maps
from orbitlens.symmetry.check._spaces import Array, Rollouts, Spaces

_MOST = 512  # states to compare
_COVERED, _FAR = 0.95, 2.0  # of the states, which have another one near; times its distance


def share_outside(states: Array, moved: list[Array]) -> float:
    """Return how many moved states are far from all states, for the worst element.

    Far is more than twice what 95% of the states are from their nearest neighbour, in units of the
    spread of each number.
    """
    states, moved = states[:_MOST], [each[:_MOST] for each in moved]
    spread = states.std(0)
    unit = np.where(spread > 0, spread, 1.0)

    def distances(others: Array) -> Array:
        return np.stack([np.linalg.norm((states - each) / unit, axis=1) for each in others])

    between = distances(states)
    np.fill_diagonal(between, np.inf)
    limit = _FAR * np.quantile(between.min(1), _COVERED)
    return max(float((distances(each).min(1) > limit).mean()) for each in moved)


def notes_on_rest(maps: Maps, spaces: Spaces, seen: Rollouts) -> list[str]:
    """Say what the maps leave at rest, of the states that were seen; refuse maps that move nothing.

    A function that forgets its element moves nothing, and every environment would pass.
    """
    states, discrete = seen.states, spaces.n_actions is not None
    actions = np.arange(spaces.n_actions or 0) if discrete else seen.actions
    elements = range(1, maps.group.order)

    def at_rest(values: Array, moved: Array) -> bool:
        return same((values, values), (moved, moved))

    still_states = [at_rest(states, maps.states(states, g)) for g in elements]
    still_actions = [at_rest(actions, maps.actions(actions, g)) for g in elements]
    if all(still_states) and all(still_actions):
        raise _moves_nothing(maps.group.name)
    if all(still_states):
        return [
            "The maps move no state, only actions: they are a symmetry if the actions that they "
            "exchange do the same. If states should move too, see that their map uses its element."
        ]
    if all(still_actions):
        return [
            "The maps move no action, only states. If actions should move too, see that their map "
            "uses its element."
        ]
    names = [maps.group.element_names[g] for g in elements]
    both = [
        name for name, *still in zip(names, still_states, still_actions, strict=True) if all(still)
    ]
    return [f"No state or action that was seen moves under {', '.join(both)}."] if both else []


def _moves_nothing(group: str) -> OrbitLensError:
    return no_group(
        "a map that moves something",
        f"maps of {group} that move no state and no action",
        "see that the functions use their element g",
    )
