"""What a measurement has found so far: records in a folder, from which it continues."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from orbitlens.errors import DamageError, OrbitLensError, OrbitLensWarning
from orbitlens.files import digest_of, one_line_errors, read_json, write_json

_SETTINGS = "settings"


class OtherMeasurementError(OrbitLensError):
    """What is kept was found with another network, or other inputs or settings."""


@final
class Kept:
    """Results that are computed once, even if the computation is interrupted in between.

    Args:
        folder: Where each result is written as soon as it is there; None keeps nothing.
        settings: Everything that determines the results, JSON-ready.

    Raises:
        OtherMeasurementError: If the folder has results of other settings.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        self._folder, self._settings = folder, settings
        found, settings = self._find(_SETTINGS), json.loads(json.dumps(settings))
        if found is None:
            return
        changed = [name for name in {**found, **settings} if found.get(name) != settings.get(name)]
        if changed:
            raise OtherMeasurementError(
                f"`resume` in {folder}",
                expected=", ".join(f"{name} {_short(found.get(name))}" for name in changed)
                + " as when it began",
                received=", ".join(f"{name} {_short(settings.get(name))}" for name in changed),
                remedy="give the same network, inputs and settings, or another folder",
            )

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return the result of an earlier call, or compute a JSON-ready one and keep it.

        The warnings of the computation are given each time.
        """
        found = self._find(name)
        if found is None:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", OrbitLensWarning)
                result = compute()
            ours = [each for each in caught if issubclass(each.category, OrbitLensWarning)]
            found = {"result": result, "warnings": [str(each.message) for each in ours]}
            self._keep(name, found)
            for each in caught:
                if each not in ours:
                    warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        for message in found["warnings"]:
            warnings.warn(OrbitLensWarning(message), stacklevel=2)
        return found["result"]

    def _find(self, name: str) -> Any:
        path = None if self._folder is None else self._folder / f"{name}.json"
        if path is None or not path.exists():
            return None
        record = read_json(path)
        if record.get("of") not in (None, self._of(name)) or "json" not in record:
            raise DamageError(
                str(path),
                expected=f"the result {name} of this measurement",
                received="another",
                remedy="remove the file, and it is measured again",
            )
        return json.loads(record["json"])

    def _of(self, name: str) -> list[str]:
        """Return what tells a result from all others; the settings stand for themselves."""
        return [name, "" if name == _SETTINGS else digest_of(self._settings)]

    def _keep(self, name: str, record: Any) -> None:
        if self._folder is not None:
            if name != _SETTINGS and self._find(_SETTINGS) is None:
                self._keep(_SETTINGS, self._settings)
            with one_line_errors(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
                # As text: numbers that are not finite would become null.
                kept = {"of": self._of(name), "json": json.dumps(record)}
                write_json(kept, self._folder / f"{name}.json")


def _short(value: Any) -> str:
    text = value["name"] if isinstance(value, dict) and "name" in value else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
