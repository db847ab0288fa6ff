"""The checks that tests put on calls see what beartype sees."""

from collections.abc import Callable
from typing import Annotated, Any

import beartype
import jaxtyping
import pytest
import torch
from beartype.roar import BeartypeCallHintParamViolation
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from shape_checks import check_calls


def total(axes: str) -> Callable[..., Any]:
    """Define a function anew, whose name does not tell its axes."""

    @jaxtyping.jaxtyped(typechecker=check_calls)
    def total(x: Float[Tensor, axes], y: Float[Tensor, axes]) -> Float[Tensor, "a"]:
        return (x + y).flatten()

    return total


def test_functions_of_one_name_keep_their_own_checks() -> None:
    line, square = torch.zeros(2), torch.zeros(2, 2)
    for _ in range(2):
        assert total("a")(line, line).shape == (2,)
        assert total("b b")(square, square).shape == (4,)
        for axes, x, y in (
            ("a", square, square),
            ("a", line, torch.zeros(3)),
            ("b b", line, line),
            ("a a", square, square),
        ):
            with pytest.raises(TypeCheckError):
                total(axes)(x, y)


def test_one_check_serves_all_functions_of_a_signature() -> None:
    def stub(x: int) -> None: ...

    def again(x: int) -> None: ...

    def other(x: str) -> None: ...

    again.__qualname__ = other.__qualname__ = stub.__qualname__
    assert check_calls(stub) is check_calls(again)
    assert check_calls(stub) is not check_calls(other)


def test_annotations_that_cannot_be_hashed_are_checked_as_well() -> None:
    def stub(x: Annotated[int, []]) -> None: ...

    for checked in (check_calls(stub), beartype.beartype(stub)):
        checked(3)
        with pytest.raises(BeartypeCallHintParamViolation):
            checked("3")
