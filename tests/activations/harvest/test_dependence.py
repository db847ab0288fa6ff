"""Which layers feed which, in networks whose answer is known."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from orbitlens.activations.harvest import layer_dependence


def found(model: nn.Module, layers: Sequence[str], width: int = 4) -> dict[str, tuple[str, ...]]:
    answer = layer_dependence(model, layers, torch.rand(3, width))
    assert answer is not None
    return answer


class Parts(nn.Module):
    """Five linear layers; `run` says how they are connected."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d, self.e = (nn.Linear(4, 4) for _ in range(5))


class TwoHeads(Parts):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.a(x)
        return self.c(self.b(x)), self.d(x)


def test_two_heads_are_parallel() -> None:
    assert found(TwoHeads(), "abcd") == {"a": (), "b": ("a",), "c": ("b",), "d": ("a",)}


class Residual(Parts):
    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = x + self.c(torch.relu(self.b(x)))
        return self.d(x) + x


def test_a_stream_with_a_skip_is_successive() -> None:
    assert found(Residual(), "abcd") == {"a": (), "b": ("a",), "c": ("b",), "d": ("c",)}


class Joined(Parts):
    def forward(self, x: Tensor) -> Tensor:
        left, right = self.a(x), self.b(x)
        joined = torch.empty(len(x), 8)
        joined[:, :4], joined[:, 4:] = left, right
        return self.c(joined.view(len(x), 2, 4).sum(1))


def test_branches_that_join_in_written_memory_both_feed_the_next_layer() -> None:
    assert found(Joined(), "abc") == {"a": (), "b": (), "c": ("a", "b")}


class InPlace(Parts):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.a(x)
        early = self.b(x)
        x += self.c(x)
        return early, self.d(x)


def test_what_is_added_in_place_is_handed_on_and_what_came_before_is_not() -> None:
    assert found(InPlace(), "abcd") == {"a": (), "b": ("a",), "c": ("a",), "d": ("c",)}


def test_heads_that_begin_by_reshaping_do_not_feed_each_other() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Conv2d(1, 2, 3, padding=1)
            self.one = nn.Sequential(nn.Flatten(), nn.Linear(32, 3), nn.Linear(3, 3))
            self.two = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.trunk(x.view(-1, 1, 4, 4))
            return self.one(x), self.two(x)

    layers = ["trunk", "one.0", "one.1", "one.2", "two.0", "two.1"]
    assert found(Heads(), layers, 16) == {
        "trunk": (),
        "one.0": ("trunk",),
        "one.1": ("one.0",),
        "one.2": ("one.1",),
        "two.0": ("trunk",),
        "two.1": ("two.0",),
    }


def test_a_layer_in_place_follows_the_one_whose_memory_it_writes_into() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 4))
    assert found(model, "012") == {"0": (), "1": ("0",), "2": ("1",)}


def test_query_key_and_value_are_parallel_and_a_block_follows_its_parts() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.out = nn.LayerNorm(4), nn.Linear(4, 4)
            self.query, self.key, self.value = (nn.Linear(4, 4) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(x)
            parts = (part(y)[:, None] for part in (self.query, self.key, self.value))
            return x + self.out(nn.functional.scaled_dot_product_attention(*parts)[:, 0])

    model = nn.Sequential(Block(), nn.Linear(4, 2))
    layers = ["0.norm", "0.query", "0.key", "0.value", "0.out", "0", "1"]
    assert found(model, layers) == {
        "0.norm": (),
        "0.query": ("0.norm",),
        "0.key": ("0.norm",),
        "0.value": ("0.norm",),
        "0.out": ("0.query", "0.key", "0.value"),
        "0": ("0.out",),
        "1": ("0",),
    }


def test_layers_that_are_not_asked_for_are_passed_over() -> None:
    assert found(TwoHeads(), "acd") == {"a": (), "c": ("a",), "d": ("a",)}


class Outside(Parts):
    """A network that computes with NumPy in between."""

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.from_numpy(self.a(x).numpy() + 1))


class Sparse(Parts):
    """A network whose numbers are sparse in between: they have no memory of their own."""

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).to_sparse().to_dense())


class Failing(Parts):
    def forward(self, x: Tensor) -> Tensor:
        self.b(self.a(x))
        raise RuntimeError("no more")


@pytest.mark.parametrize("network", [Outside, Sparse, Failing])
def test_what_cannot_be_observed_is_not_known(network: type[Parts]) -> None:
    assert layer_dependence(network(), ["a", "b"], torch.rand(3, 4)) is None


def test_the_network_is_left_as_it_was() -> None:
    model = TwoHeads().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs, state = torch.rand(3, 4), torch.random.get_rng_state()
    layer_dependence(model, "abcd", inputs)
    assert model.training
    assert all(not each._forward_hooks for each in model.modules())
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
