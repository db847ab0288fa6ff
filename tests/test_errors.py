"""The one family of errors."""

import pickle

import pytest

from orbitlens.errors import MissingExtraError, OrbitLensError, missing_extra


@pytest.mark.parametrize(
    "error",
    [
        OrbitLensError("`k`", expected="at most 8", received=9, remedy="lower k"),
        missing_extra("timm", extra="timm"),
    ],
)
def test_an_error_comes_home_from_a_worker_process_as_it_was(error: OrbitLensError) -> None:
    returned = pickle.loads(pickle.dumps(error))  # noqa: S301 - as multiprocessing does
    assert type(returned) is type(error)
    assert str(returned) == str(error)
    assert isinstance(error, MissingExtraError) == isinstance(returned, MissingExtraError)
