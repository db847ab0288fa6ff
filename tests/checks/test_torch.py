"""The state that torch keeps for all threads is put back, whoever leaves last."""

from collections.abc import Iterator

import pytest
import torch

from orbitlens.checks import usual_torch


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("first_to_leave", [0, 1])
def test_the_default_type_is_put_back_by_the_last_to_leave(first_to_leave: int) -> None:
    """As of two threads: neither need leave in the opposite order of entering."""
    torch.set_default_dtype(torch.float64)
    blocks = [usual_torch(), usual_torch()]
    for block in blocks:
        block.__enter__()
    blocks[first_to_leave].__exit__(None, None, None)
    assert torch.get_default_dtype() == torch.float32
    blocks[1 - first_to_leave].__exit__(None, None, None)
    assert torch.get_default_dtype() == torch.float64


def test_a_type_that_is_chosen_inside_is_put_back_inside() -> None:
    with usual_torch():
        torch.set_default_dtype(torch.float64)
        with usual_torch():
            assert torch.get_default_dtype() == torch.float32
        assert torch.get_default_dtype() == torch.float64
    assert torch.get_default_dtype() == torch.float32


def test_an_error_puts_the_type_back() -> None:
    torch.set_default_dtype(torch.float16)
    with pytest.raises(KeyError), usual_torch():
        raise KeyError
    assert torch.get_default_dtype() == torch.float16
