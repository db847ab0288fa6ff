"""The direct product G x H: two symmetries that act independently."""

from orbitlens.groups.base import Group


def product(left: Group, right: Group) -> Group:
    """Return the direct product, (g, h)(g', h') = (gg', hh').

    Element i |H| + j is the pair (g_i, h_j).

    Args:
        left: The first factor G.
        right: The second factor H.

    Returns:
        The group of order |G| |H|, with elements named "(g, h)".

    Example:
        >>> from orbitlens.groups import cyclic
        >>> product(cyclic(2), cyclic(3)).element_names[4]
        '(r, r)'
    """
    m, n = left.order, right.order
    table = left.table[:, None, :, None] * n + right.table[None, :, None, :]
    shift = len(left.generators)
    return Group(
        name=f"{left.name}x{right.name}",
        table=table.reshape(m * n, m * n),
        generators=(*(g * n for g in left.generators), *right.generators),
        words=tuple(
            word + tuple(shift + position for position in other)
            for word in left.words
            for other in right.words
        ),
        element_names=tuple(
            f"({g}, {h})" if (g, h) != ("e", "e") else "e"
            for g in left.element_names
            for h in right.element_names
        ),
    )
