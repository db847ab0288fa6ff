"""Networks are run up to a layer, and left as they were."""

from collections import OrderedDict, UserDict
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from orbitlens.activations.harvest import (
    check_called_once,
    evaluating,
    kind_of,
    only_tensor,
    take_outputs,
    with_tensor,
)
from orbitlens.errors import OrbitLensError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Dropout(), nn.Linear(3, 2))


def test_evaluation_mode_ends_with_the_block_for_every_submodule() -> None:
    model = network()
    model[1].eval()
    with suppress(KeyError), evaluating(model):
        assert not any(module.training for module in model.modules())
        assert not model(torch.rand(5, 4)).requires_grad
        raise KeyError
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert torch.is_grad_enabled()


def test_a_part_is_taken_when_its_layer_has_run_and_the_network_stops_there() -> None:
    model, x, called = network().eval(), torch.rand(5, 4), list[str]()
    model[2].register_forward_hook(lambda *_: called.append("2"))
    parts = take_outputs(model, {"1": model[1], "0": model[0]}, x, lambda _, output: output[:, :1])
    assert list(parts) == ["0", "1"]
    assert torch.equal(parts["0"], model[0](x)[:, :1])
    assert called == []


def test_a_layer_must_be_called_exactly_once() -> None:
    once, twice = nn.Linear(4, 4), nn.Linear(4, 4)
    model = nn.Sequential(once, twice, twice).eval()
    check_called_once(model, once, torch.rand(5, 4), "0")
    with pytest.raises(OrbitLensError, match="to be called once in a forward pass, received 2"):
        check_called_once(model, twice, torch.rand(5, 4), "1")
    with pytest.raises(OrbitLensError, match="received no call"):
        check_called_once(model, nn.Flatten(), torch.rand(5, 4), "2")


def test_an_error_after_the_layer_does_not_matter() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(7, 2)).eval()
    check_called_once(model, model[0], torch.rand(5, 4), "0")
    with pytest.raises(OrbitLensError, match="to run as far as layer '1'"):
        check_called_once(model, model[1], torch.rand(5, 4), "1")


class Pair(NamedTuple):
    hidden: Tensor
    weights: None


@dataclass(frozen=True)
class Record:
    hidden: Tensor
    count: int = 3


ONE, WHOLE = torch.zeros(2), torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("output", "found", "kind"),
    [
        (ONE, ONE, "torch.float32"),
        (WHOLE, None, "torch.int64"),
        ((ONE, None), ONE, "tuple of (Tensor, NoneType)"),
        ((3, ONE), None, "tuple of (int, Tensor)"),
        ([ONE, ONE], None, "list of (Tensor, Tensor)"),
        ({"last": ONE, "count": 3}, ONE, "dict of (Tensor, int)"),
        (Pair(ONE, None), ONE, "Pair of (Tensor, NoneType)"),
        (Record(ONE), ONE, "Record of (Tensor, int)"),
        ("text", None, "str"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_the_only_tensor_of_an_output(output: Any, found: Tensor | None, kind: str) -> None:
    assert only_tensor(output) is found
    assert kind_of(output) == kind


@pytest.mark.parametrize(
    "output",
    [
        ONE,
        (ONE, None),
        [ONE, 3],
        {"last": ONE, "count": 3},
        OrderedDict(last=ONE),
        UserDict(last=ONE),
        Pair(ONE, None),
        Record(ONE, 4),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_tensor_is_put_back_in_its_place_and_the_given_output_stays(output: Any) -> None:
    new = torch.ones(2)
    changed = with_tensor(output, new, "1")
    assert type(changed) is type(output)
    assert only_tensor(changed) is new
    assert only_tensor(output) is ONE
    assert kind_of(changed) == kind_of(output)


def test_an_output_of_transformers_keeps_its_names() -> None:
    outputs = pytest.importorskip("transformers.modeling_outputs")
    output = outputs.BaseModelOutput(last_hidden_state=ONE)
    changed = with_tensor(output, new := torch.ones(2), "1")
    assert changed.last_hidden_state is changed["last_hidden_state"] is changed[0] is new
    assert output.last_hidden_state is ONE


def test_an_output_that_cannot_be_changed_is_refused_by_its_layer() -> None:
    with pytest.raises(OrbitLensError, match="layer '1'.*received mappingproxy of \\(Tensor\\)"):
        with_tensor(MappingProxyType({"last": ONE}), torch.ones(2), "1")
