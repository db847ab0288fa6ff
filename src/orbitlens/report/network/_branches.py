"""Which layers come after which: successive ones, and those on parallel branches.

A record that does not say it is that of a chain, in the order of the calls.
"""

from collections.abc import Sequence

from orbitlens.report._table import Record


def layer_name(layer: Record) -> str:
    """Return the full name of a layer."""
    return str(layer.get("layer") or "the network")


def feeding(layers: Sequence[Record]) -> list[tuple[int, ...]]:
    """Return for each layer the places of those that feed it, which come before it."""
    places = {layer_name(layer): place for place, layer in enumerate(layers)}
    found: list[tuple[int, ...]] = []
    for place, layer in enumerate(layers):
        after = layer.get("after")
        if after is None:
            found.append((place - 1,) if place else ())
            continue
        known = (places.get(str(name), place) for name in after)
        found.append(tuple(sorted(each for each in known if each < place)))
    return found


def is_chain(layers: Sequence[Record]) -> bool:
    """Tell whether every layer is fed by the one before it alone."""
    return all(each == (place,) for place, each in enumerate(feeding(layers)[1:]))


def is_unknown(layers: Sequence[Record]) -> bool:
    """Tell whether the measurement could not find which layers feed which."""
    return any("after" in layer and layer["after"] is None for layer in layers)


def ends(layers: Sequence[Record]) -> list[int]:
    """Return the places of the layers that feed no other one: where the branches end."""
    feeds = {place for each in feeding(layers) for place in each}
    return [place for place in range(len(layers)) if place not in feeds]


def known_before(layers: Sequence[Record], values: Sequence[float | None]) -> list[frozenset[int]]:
    """Return for each layer the nearest layers before it that have a value."""
    found: list[frozenset[int]] = []
    for before in feeding(layers):
        nearest = (found[each] if values[each] is None else {each} for each in before)
        found.append(frozenset().union(*nearest))
    return found
