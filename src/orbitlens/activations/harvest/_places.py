"""Some places of a map in the stead of all, such that the group moves them among themselves."""

import numpy as np
from jaxtyping import Int


def whole_orbits(
    moves: Int[np.ndarray, "group position"], most: int
) -> Int[np.ndarray, " position_kept"]:
    """Choose whole orbits of places, so that the group permutes the places chosen.

    Orbits of full size come first, and smaller ones as far as there is room. Orbits of one size are
    put in the order of their first places and taken at equal intervals from a start that is drawn
    with seed 0: spread over the map, and no sort of place preferred.

    Args:
        moves: `moves[g, p]` is the place to which place p moves under g, shape [|G|, places].
        most: Places at most.

    Returns:
        The places, in rising order: all if there are no more than `most`, none if even the
        smallest orbit is larger.

    Example:
        >>> from orbitlens.actions import images
        >>> from orbitlens.groups import dihedral
        >>> whole_orbits(images(dihedral(4)).grid(4, 4), most=9).tolist()  # one of 8, not two of 4
        [1, 2, 4, 7, 8, 11, 13, 14]
    """
    if moves.shape[1] <= most:
        return np.arange(moves.shape[1])
    first = moves.min(axis=0)  # the first place of its orbit is the same for all of an orbit
    orbits, sizes = np.unique(first, return_counts=True)
    start = np.random.default_rng(0).random()
    chosen, room = [np.zeros(0, dtype=np.int64)], most
    for size in np.unique(sizes)[::-1]:
        alike = orbits[sizes == size]
        count = min(len(alike), room // int(size))
        every = len(alike) / max(1, count)
        chosen.append(alike[((np.arange(count) + start) * every).astype(np.int64)])
        room -= count * int(size)
    return np.flatnonzero(np.isin(first, np.concatenate(chosen)))
