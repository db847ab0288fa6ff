"""What a network knows of its own symmetry: how much every layer uses of its parts."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

_LISTED = 6


def known_use(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return the use of every layer that knows it, JSON-ready; see `symmetry.relax`."""
    if not any(hasattr(module, "symmetry_use") for module in model.modules()):
        return {}
    # Most networks have no such layer, and need not load the symmetry room.
    from orbitlens.symmetry.relax.use import symmetry_uses

    return {name: use.to_dict() for name, use in symmetry_uses(model).items() if use.parts}


def use_line(use: Mapping[str, Any]) -> str:
    """Write the use of a layer in a line: "use f-fc 0.4%, conv 55.7%", "spread bank 1 0.31".

    In a record that was read from a file, a value that is no number is None.
    """
    word, form = ("spread", ".3g") if use["kind"] == "spread" else ("use", ".1%")
    known = {name: math.nan if value is None else value for name, value in use["parts"].items()}
    parts = {name: format(value, form) for name, value in known.items()}
    if len(parts) > _LISTED:
        ends = [format(end(known.values()), form) for end in (min, max)]
        return f"{word} of {len(parts)} parts {' to '.join(ends)}"
    return f"{word} {', '.join(f'{name} {value}' for name, value in parts.items())}"
