"""A network without its weights, and the weights: put together they are the network."""

import pytest
import torch
from torch import nn

from orbitlens.activations.harvest._sending import fill, hollow, packed, unpacked, weights


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool]
)
def test_a_tensor_arrives_as_it_was(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = torch.rand(shape).mul(9).to(dtype)
    again = unpacked(packed(tensor))
    assert again.dtype == dtype
    assert torch.equal(again, tensor)


def test_a_view_is_packed_in_its_own_order() -> None:
    view = torch.arange(12).reshape(3, 4).T[::2]
    assert torch.equal(unpacked(packed(view)), view)


def tied() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3, bias=False))
    model[2].weight = model[0].weight
    return model.eval()


def test_tied_weights_are_sent_once_and_stay_tied() -> None:
    model, batch = tied(), torch.rand(4, 3)
    before = model(batch)
    tensors, places = weights(model)
    assert (len(tensors), len(places)) == (7, 8)
    sent = [unpacked(packed(tensor)) for tensor in tensors]
    fill(model, sent, places)
    assert model[2].weight is model[0].weight is sent[0]
    assert torch.equal(model(batch), before)


def fails(model: nn.Module, emptied: list[bool]) -> None:
    emptied.append(not [*model.parameters(), *model.buffers()])
    raise RuntimeError


def test_a_hollow_network_is_filled_again_also_after_an_error() -> None:
    model = tied()
    held = [*model.named_parameters(), *model.named_buffers()]
    emptied: list[bool] = []
    with pytest.raises(RuntimeError), hollow(model):
        fails(model, emptied)
    assert emptied == [True]
    again = [*model.named_parameters(), *model.named_buffers()]
    assert [name for name, _ in again] == [name for name, _ in held]
    assert all(a is b for (_, a), (_, b) in zip(again, held, strict=True))
