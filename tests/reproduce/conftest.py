"""What tests of the room share: work that is counted."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def countable(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module `countable`, on the path of this process and of its workers."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("countable")
