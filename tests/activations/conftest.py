"""What tests of stores at URLs share."""

import pytest
from fsspec.implementations.memory import MemoryFileSystem


@pytest.fixture
def empty_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in memory, and shards of 64 samples of 16 numbers."""
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    monkeypatch.setattr("orbitlens.activations.store._on_disk._SHARD_BYTES", 2**14)
    monkeypatch.setattr("orbitlens.activations.store._on_disk._CHUNK_BYTES", 2**10)
