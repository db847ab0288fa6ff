"""Settings that determine a harvest's output.

They are stored with it; resuming with others is refused.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from orbitlens.activations.store._seal import FINGERPRINT, SEAL
from orbitlens.checks import bytes_of
from orbitlens.errors import OrbitLensError
from orbitlens.models import Prepare

# Known only at the end; taken over by a run that resumes; covered by the digest of the inputs; or
# by network and settings, and not written by earlier versions.
_FREE = ("complete", "threads", "labelled", "layout", SEAL, FINGERPRINT)


def weights_digest(model: nn.Module) -> str:
    """Return sixteen hexadecimal digits that change with any parameter or buffer of a network."""
    content = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content.update(bytes_of(tensor).data)
    return content.hexdigest()[:16]


def name_of(prepare: Prepare) -> str:
    """Return the full name of a function or of the class of a callable."""
    kind = type(prepare)
    name = getattr(prepare, "__qualname__", f"{kind.__module__}.{kind.__qualname__}")
    return f"{getattr(prepare, '__module__', '')}.{name}"


def check_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to resume a harvest with other attributes; name every one that differs."""
    old, new = _flat(before), _flat(json.loads(json.dumps(now)))
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if changed:
        raise OrbitLensError(
            "`resume`",
            expected="the settings of the harvest that is there: "
            + ", ".join(f"{name} {_short(old.get(name))}" for name in changed),
            received=", ".join(f"{name} {_short(new.get(name))}" for name in changed),
            remedy="give the same settings, or another `out`",
        )


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings and attributes in one dictionary, under the names that a user knows."""
    record = {**record, **record.get("settings", {})}
    record["inputs digest"] = record.pop("digest", None)
    return {name: record[name] for name in record if name not in (*_FREE, "settings")}


def _short(value: Any) -> str:
    if isinstance(value, dict) and "name" in value:
        return str(value["name"])
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
