"""Outcomes of instances: the right value, a refusal in a line, a warning, or a fault.

An instance is a function without arguments. It returns True if the result is right. It may raise an
OrbitLensError or warn, which is right too, if the instance may be refused.
"""

import sys
import warnings
from collections.abc import Callable, Mapping

from orbitlens.errors import OrbitLensError, OrbitLensWarning


def outcome(instance: Callable[[], bool]) -> tuple[str, str]:
    """Run an instance; return "right", "refused", "warned", "WRONG" or "CRASHED", and a line."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            right = instance()
        except OrbitLensError as error:
            return "refused", str(error)
        except Exception as error:
            return "CRASHED", f"{type(error).__name__}: {error}"
    told = [str(each.message) for each in seen if issubclass(each.category, OrbitLensWarning)]
    if told:
        return "warned", told[0]
    return ("right", "") if right else ("WRONG", "")


def show(kind: str, instances: Mapping[str, Callable[[], bool]]) -> None:
    """Print a Markdown table of all instances; exit with 1 if any is wrong or crashed."""
    print(f"### {kind}\n\n| instance | outcome | words |\n|---|---|---|")
    found = []
    for name, instance in instances.items():
        word, line = outcome(instance)
        found.append(word)
        print(f"| {name} | {word} | {' '.join(line.split()).replace('|', '/')} |")
    sys.exit(int(any(word in ("WRONG", "CRASHED") for word in found)))
