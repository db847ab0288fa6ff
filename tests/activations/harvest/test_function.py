"""A network is a function of its input, or it is refused, or made one by a seed."""

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from orbitlens.actions import images
from orbitlens.activations import harvest, harvest_layers, layer_outputs
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.groups import cyclic

C4 = images(cyclic(4))
PICTURES = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A linear layer, a change, and the layer that is looked at."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.code, self.change = nn.Linear(64, 8), nn.Identity(), change

    def forward(self, x: Tensor) -> Tensor:
        return self.code(self.change(self.first(x.flatten(1))))


def orbits(change: Callable[[Tensor], Tensor], **settings: object) -> Tensor:
    found = harvest(Net(change), layer="code", inputs=PICTURES, action=C4, **settings)
    return found.orbits()


def counting() -> Callable[[Tensor], Tensor]:
    calls: list[int] = []

    def change(h: Tensor) -> Tensor:
        calls.append(1)
        return h + len(calls)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: dropout(h, 0.1), "layer 'code'.*from one pass to the next.*--seed-forward"),
        (lambda h: h + 1e-3 * torch.randn_like(h), "from one pass to the next.*--seed-forward"),
        (lambda h: h * (random.random() < 0.5), "--seed-forward"),  # noqa: S311
        (counting(), "let nothing that one pass leaves behind change the next one"),
        (lambda h: h - h.mean(0), "layer 'code'.*alone and in a batch.*batch_size=1"),
    ],
)
def test_what_is_no_function_is_refused_by_its_layer(
    change: Callable[[Tensor], Tensor], message: str
) -> None:
    with pytest.raises(OrbitLensError, match=message):
        orbits(change)
    with pytest.raises(OrbitLensError, match=message):
        harvest_layers(Net(change), layers=["code"], inputs=PICTURES, action=C4)


def test_a_seed_gives_every_input_and_element_the_same_random_numbers() -> None:
    sampler = lambda h: h + torch.randn_like(h)  # noqa: E731
    found, still = orbits(sampler, seed_forward=5), orbits(lambda h: h)
    noise = torch.randn(8, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(found, still + noise)
    assert torch.equal(found, orbits(sampler, seed_forward=5, batch_size=3))
    assert not torch.allclose(found, orbits(sampler, seed_forward=6))
    both = layer_outputs(Net(sampler), ["code"], PICTURES, seed_forward=5)["code"]
    torch.testing.assert_close(both, found[:, 0])


def test_a_seed_does_not_reach_a_generator_of_the_network() -> None:
    own = torch.Generator().manual_seed(0)
    with pytest.raises(OrbitLensError, match="no generators of the network's own"):
        orbits(lambda h: h + torch.rand(8, generator=own), seed_forward=1)


def test_one_input_at_a_time_is_a_function_whatever_the_batch_would_do() -> None:
    found = orbits(lambda h: h / h.norm(), batch_size=1)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(6, 4))


def test_random_numbers_without_an_effect_are_doubtful() -> None:
    with pytest.warns(OrbitLensWarning, match="draws random numbers in evaluation mode"):
        orbits(lambda h: h + 0 * torch.rand(1))


def test_a_layer_that_ignores_its_input_is_doubtful() -> None:
    with pytest.warns(OrbitLensWarning, match="'code': the same output for . inputs"):
        orbits(lambda h: torch.ones_like(h))


def test_a_preparation_that_is_random_is_refused() -> None:
    with pytest.raises(OrbitLensError, match="`prepare`: expected the same result"):
        orbits(lambda h: h, prepare=lambda x: x + torch.rand_like(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_inputs_take_the_type_of_the_network_and_activations_are_float32(
    dtype: torch.dtype,
) -> None:
    model = Net(torch.tanh).to(dtype)
    found = harvest(model, layer="code", inputs=PICTURES, action=C4).orbits()
    with torch.no_grad():
        expected = model(PICTURES.to(dtype)).float()
    torch.testing.assert_close(found[:, 0], expected, rtol=1e-2, atol=1e-2)
    assert found.dtype == torch.float32


def test_copies_among_inputs_are_counted() -> None:
    pictures = torch.rand(20, 1, 8, 8)
    pictures[10:] = pictures[:10]
    for inputs in (pictures, list(pictures)):
        with pytest.warns(OrbitLensWarning, match="10 of 20 are copies of others, and"):
            harvest(Net(torch.tanh), layer="code", inputs=inputs, action=C4)


def brightest_decides(h: Tensor) -> Tensor:
    return h / h.abs().max().clamp(min=10)


@pytest.mark.parametrize("bright", [3, 5], ids=["in the middle", "at the end"])
def test_an_input_unlike_the_others_shows_that_a_batch_is_mixed(bright: int) -> None:
    pictures = PICTURES.clone()
    pictures[bright] *= 100
    with pytest.raises(OrbitLensError, match=r"'code'.*alone and in a batch.*batch_size=1"):
        harvest(Net(brightest_decides), layer="code", inputs=pictures, action=C4)


def test_a_dark_input_beside_a_bright_one_shows_that_a_range_is_shared() -> None:
    # As dynamically quantised layers do, whose range of numbers is that of the batch.
    def in_steps(h: Tensor) -> Tensor:
        step = h.abs().max() / 127
        return (h / step).round() * step

    dark = PICTURES * torch.tensor([1, 1, 1, 1e-3, 1, 1]).reshape(6, 1, 1, 1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8, bias=False), nn.Identity())
    model[2].forward = in_steps
    with pytest.raises(OrbitLensError, match=r"'2'.*alone and in a batch"):
        harvest(model, layer="2", inputs=dark, action=C4)


def test_a_network_that_changes_late_is_refused_at_the_end() -> None:
    calls: list[int] = []

    def late(h: Tensor) -> Tensor:
        calls.append(1)
        return h if len(calls) < 30 else 2 * h

    many = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(OrbitLensError, match="'code'.*from one pass to the next"):
        harvest(Net(late), layer="code", inputs=many, action=C4, batch_size=4)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda x: (x - x.mean()) / x.std(), r"`prepare`.*alone and among others.*fixed numbers"),
        (lambda x: x.flip(0), "`prepare`.*alone and among others"),
        (lambda x: x[:1], r"`prepare`.*shape \[1, 1, 8, 8\] for 3 inputs"),
        (lambda x: x.mean(), r"`prepare`.*shape \[\]"),
    ],
)
def test_inputs_are_made_ready_one_by_one_whatever_their_batch(
    prepare: Callable[[Tensor], Tensor], message: str
) -> None:
    with pytest.raises(OrbitLensError, match=message):
        orbits(lambda h: h, prepare=prepare)


def test_an_input_alone_may_be_measured_by_its_own_mean() -> None:
    def own(x: Tensor) -> Tensor:
        return x - x.mean()

    found = orbits(lambda h: h, prepare=own, batch_size=1)
    truth = Net(lambda h: h)(PICTURES - PICTURES.mean((1, 2, 3), keepdim=True))
    torch.testing.assert_close(found[:, 0], truth)
