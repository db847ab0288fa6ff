"""The forms of the records that a page shows: a value of another type is refused by its name."""

from collections.abc import Mapping
from typing import Any

from orbitlens.errors import OrbitLensError

_ROW = {"latents": int, "task": str, "tasks": int, "orientation": str, "readout": str}
_SAE = {"status": str, "transport": {}, "probe": {"kind": str, "rows": [_ROW]}}

# {} stands for any record, [] for any list, {...: form} for a record of things of one form, and
# ("a", "b") for one of these words.
RUN: dict[Any, Any] = {
    "config": {},
    "group": {"elements": []},
    "action": {},
    "data": {"skipped": [], "passed_over": []},
    "model": {},
    "transport": {
        "r2_per_element": [],
        "identity_r2_per_element": [],
        "r2_interval": [],
        "order_errors": {},
        "dim": int,
        "variable": int,
    },
    "saes": {...: _SAE},
    "seconds": {},
    "notes": [],
    "warnings": [],
}
NETWORK: dict[Any, Any] = {
    "model": {},
    "inputs": {"skipped": [], "passed_over": []},
    "group": {"elements": [], "irreps": [{"dim": int}]},
    "action": {},
    "layers": [{"spectrum": [], "multiplicities": [], "after": []}],
    "skipped": {},
    "use": {
        ...: {
            "kind": ("spread", "effective"),
            "parts": {},
            "determined": {},
            "sizes": {},
            "dropped": [],
            "unknown": str,
        }
    },
    "config": {},
    "seconds": {},
    "warnings": [],
}


def check_form(value: Any, form: Any, name: str = "") -> None:
    """Raise if a value of a record, or one inside it, is of another type than its form.

    What is missing or None is of any form, and so is what the form does not name.
    """
    if isinstance(form, Mapping):
        _check_type(value, Mapping, "a record", name)
        for key, entry in (value or {}).items():
            if key in form or ... in form:
                check_form(entry, form.get(key, form.get(...)), f"{name}.{key}".lstrip("."))
    elif isinstance(form, list):
        _check_type(value, list | tuple, "a list", name)
        for entry in (value or ()) if form else ():
            check_form(entry, form[0], name)
    elif isinstance(form, tuple):
        _check_type(value, str, "text", name)
        if value is not None and value not in form:
            raise _other(name, expected=" or ".join(form), received=repr(value))
    else:
        _check_type(value, form, "text" if form is str else "a whole number", name)


def _check_type(value: Any, kind: Any, expected: str, name: str) -> None:
    if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
        return
    raise _other(name, expected=expected, received=f"one of type {type(value).__name__}")


def _other(name: str, *, expected: str, received: str) -> OrbitLensError:
    return OrbitLensError(
        f"the record of the figures: `{name}`",
        expected=expected,
        received=received,
        remedy="restore metrics.json from a copy, or run again",
    )
