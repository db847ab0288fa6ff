"""Objects of the library at the door."""

from typing import Any

from orbitlens.errors import OrbitLensError


def check_kind(name: str, value: object, kind: type[Any], remedy: str) -> None:
    """Check that an argument is an object of a class."""
    if not isinstance(value, kind):
        raise OrbitLensError(
            f"`{name}`",
            expected=f"an object {kind.__name__}",
            received=type(value).__name__,
            remedy=remedy,
        )
