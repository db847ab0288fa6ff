"""The text of a layout, read before anything heavy loads."""

import re

from orbitlens.errors import OrbitLensError

_PLACES = ((), ("l",), ("h", "w"), ("d", "h", "w"))
_FORM = re.compile(r"(?:(\d+)\+)?([cldhw])")
_EXAMPLES = "'n c', 'n l c', 'n c l', 'n 1+l c', 'n c h w', 'n h w c', 'n c d h w' or 'n d h w c'"


def as_layout(text: str, subject: str = "`layout`") -> tuple[tuple[str, ...], int]:
    """Return the letters after n, and how many tokens come first and are no places.

    Example:
        >>> as_layout("n 1+l c")
        (('l', 'c'), 1)
    """
    words = text.split() if isinstance(text, str) else []
    found = [_FORM.fullmatch(word) for word in words[1:]]
    letters = tuple(match[2] for match in found if match is not None)
    places = tuple(sorted(letter for letter in letters if letter != "c"))
    first = sum(int(match[1]) for match in found if match is not None and match[1])
    counted = [match[2] for match in found if match is not None and match[1]]
    if (
        words[:1] != ["n"]
        or None in found
        or letters.count("c") != 1
        or places not in _PLACES
        or set(counted) - {"l"}
    ):
        raise OrbitLensError(
            subject,
            expected=f"the axes of the output, {_EXAMPLES}",
            received=repr(text),
            remedy="n is the axis of inputs, c of channels, l of places in a row after first "
            "tokens that are no places, d h w of places of a map",
        )
    return letters, first
