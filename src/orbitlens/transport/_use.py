"""What a network knows of its own symmetry: how much every layer uses of its parts."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

ROUNDING = 1e-6
"""A larger spread of relaxation weights, which are about one, is not by rounding."""
OTHER_REPRESENTATION = (
    "R^2 allows another representation than the layer's own; `orbitlens check ... "
    "--output regular` measures the regular one"
)
_LISTED = 6


def known_use(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return the use of every layer that knows it, JSON-ready; see `symmetry.relax`.

    A layer that says why it does not know its use has this reason as "unknown", and no parts.
    """
    if not any(hasattr(module, "symmetry_use") for module in model.modules()):
        return {}
    # Most networks have no such layer, and need not load the symmetry room.
    from orbitlens.symmetry.relax.use import symmetry_uses, unknown_uses

    known = {name: use.to_dict() for name, use in symmetry_uses(model).items() if use.parts}
    unknown = {
        name: {"kind": "effective", "parts": {}, "unknown": reason}
        for name, reason in unknown_uses(model).items()
    }
    found = {**known, **unknown}
    return {name: found[name] for name, _ in model.named_modules() if name in found}


def use_line(use: Mapping[str, Any]) -> str:
    """Write the use of a layer in a line: "use conv 8.6 of 4,640 (0.2%)", "spread bank 1 0.31".

    In a record that was read from a file, a value that is no number is None. Records of earlier
    versions have the shares alone.
    """
    if use.get("unknown"):
        return f"use unknown: {use['unknown']}"
    word, form = ("spread", ".3g") if use["kind"] == "spread" else ("use", ".1%")
    known = {name: math.nan if value is None else value for name, value in use["parts"].items()}
    if len(known) > _LISTED:
        ends = [format(end(known.values()), form) for end in (min, max)]
        line = f"{word} of {len(known)} parts {' to '.join(ends)}"
    else:
        parts = [f"{n} {_determined(use, n, format(v, form))}" for n, v in known.items()]
        line = f"{word} {', '.join(parts)}"
    spreads = use["kind"] == "spread" and any(value > ROUNDING for value in known.values())
    return f"{line} ({OTHER_REPRESENTATION})" if spreads else line


def _determined(use: Mapping[str, Any], name: str, text: str) -> str:
    """Write how many parameters of a path the data determine, where the record has it."""
    if text == "nan%":  # a path that is frozen
        return "unknown"
    size, gamma = ((use.get(key) or {}).get(name) for key in ("sizes", "determined"))
    if size is None or gamma is None:
        return text
    dropped = ", dropped" if name in (use.get("dropped") or ()) else ""
    return f"{gamma:,.1f} of {size:,} ({text}{dropped})"
