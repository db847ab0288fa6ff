"""Where recipes are found."""

import pytest

from orbitlens.errors import OrbitLensError
from orbitlens.reproduce import locate, names


def test_every_name_leads_to_a_program() -> None:
    assert "toy" in names()
    assert names() == sorted(names())
    for name in names():
        assert locate(name).name == name
        assert (locate(name) / "run.py").is_file()


@pytest.mark.parametrize("name", ["tou", "", "..", "toy/../toy"])
def test_another_name_is_rejected_with_those_that_exist(name: str) -> None:
    with pytest.raises(OrbitLensError, match=r"recipe: expected one of .*toy.*, received '.*"):
        locate(name)


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(OrbitLensError, match="did you mean 'toy'?"):
        locate("tou")
