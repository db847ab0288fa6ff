"""The bytes of tensors, also of those that lie in memory in an odd way."""

import pytest
import torch
from torch import Tensor, nn

from orbitlens.activations.store._resume_settings import weights_digest
from orbitlens.checks import bytes_of


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6.0).reshape(2, 3),
        torch.arange(6.0).reshape(2, 3).T,
        torch.arange(6)[::2],
        torch.tensor(3.0),
        torch.zeros(0, 2),
        torch.tensor([1.5]).as_strided((1, 1), (0, 0)),
        torch.ones(3).bfloat16(),
    ],
    ids=str,
)
def test_bytes_are_those_of_the_numbers_in_order(tensor: Tensor) -> None:
    copied = torch.tensor(tensor.tolist(), dtype=tensor.dtype).reshape(tensor.shape)
    whole = copied.float().numpy() if tensor.dtype == torch.bfloat16 else copied.numpy()
    found = bytes_of(tensor)
    if tensor.dtype == torch.bfloat16:
        found = torch.from_numpy(found.copy()).view(torch.bfloat16).float().numpy()
    assert found.tobytes() == whole.tobytes()


def test_a_weight_with_stride_zero_has_a_digest() -> None:
    """As networks that onnx2torch converts may have."""
    layer = nn.Conv2d(1, 1, 1)
    wanted = weights_digest(layer)
    layer.weight.data = layer.weight.data.as_strided((1, 1, 1, 1), (0, 0, 0, 0))
    assert weights_digest(layer) == wanted
