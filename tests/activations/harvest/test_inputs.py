"""Inputs are checked, moved in whole orbits and made ready."""

import pytest
import torch
from torch import Tensor, nn

from orbitlens.actions import images
from orbitlens.activations.harvest import check_inputs, device_of, make_ready, moved_batches
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic

C4 = images(cyclic(4))
PICTURES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def nested() -> Tensor:
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)


@pytest.mark.parametrize(
    ("batch_size", "lengths"),
    [(8, [[8], [4]]), (7, [[4], [4], [4]]), (3, [[3, 1]] * 3), (100, [[12]])],
)
def test_batches_hold_whole_orbits_in_order(batch_size: int, lengths: list[list[int]]) -> None:
    batches = list(moved_batches(PICTURES, C4, batch_size))
    assert [[len(batch) for batch in together] for together in batches] == lengths
    moved = torch.cat([batch for together in batches for batch in together])
    assert torch.equal(moved, C4.orbit(PICTURES).flatten(0, 1))


def test_batches_of_a_part_of_the_inputs() -> None:
    ((batch,),) = moved_batches(PICTURES, C4, 8, start=1, stop=3)
    assert torch.equal(batch, C4.orbit(PICTURES[1:3]).flatten(0, 1))


@pytest.mark.parametrize(
    ("inputs", "batch_size", "message"),
    [
        (PICTURES[:0], 256, "`inputs`: expected at least one, received none"),
        (PICTURES, 0, "`batch_size`: expected at least 1, received 0"),
        (PICTURES.to(torch.float8_e4m3fn), 256, "numbers of 16 bits or more.*float8.*float()"),
        (PICTURES.to_sparse(), 256, "a dense tensor.*layout torch.sparse_coo"),
        (nested(), 256, "a dense tensor.*nested tensors.*to_padded_tensor"),
    ],
)
def test_inputs_that_cannot_be_moved_are_refused(
    inputs: Tensor, batch_size: int, message: str
) -> None:
    check_inputs(PICTURES, C4, 256)
    with pytest.raises(OrbitLensError, match=message):
        check_inputs(inputs, C4, batch_size)


def test_inputs_are_made_ready_or_the_error_names_prepare() -> None:
    assert make_ready(lambda x: x - 0.5, torch.ones(2)).tolist() == [0.5, 0.5]
    with pytest.raises(OrbitLensError, match="`prepare` on inputs of shape .*not a tensor"):
        make_ready(lambda x: x.tolist(), torch.ones(2))


def test_a_network_without_parameters_runs_where_its_inputs_are() -> None:
    assert device_of(nn.Flatten(), torch.empty(3, 2, device="meta")).type == "meta"
    assert device_of(nn.Linear(2, 2), torch.empty(3, 2, device="meta")).type == "cpu"
