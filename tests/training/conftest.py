"""A store that is larger than the memory that it is read with."""

from pathlib import Path

import pytest

from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.data import toy


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    """102 MB on disk: 100,000 orbits of 4 elements, 64 dimensions."""
    drawn = toy(n_features=16, orbit_size=4, dim=64, n_samples=100_000, seed=0)
    out: Path = tmp_path_factory.mktemp("large") / "acts.zarr"
    return store_from_array(drawn.orbits, group=drawn.group, out=out)
