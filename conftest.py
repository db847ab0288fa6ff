"""Doctests that need what a machine may not have are left out there."""

from pathlib import Path


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what runs compiled kernels, where nothing can be compiled."""
    if collection_path.name != "_largest_cpu.py":
        return None
    # Not above: what is imported before pytest is set up goes without checks of shapes.
    from orbitlens.kernels import _cpu as cpu

    return None if cpu.available() else True
