"""A checkpoint knows an objective by what it computes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from orbitlens import objectives
from orbitlens.activations import store_from_array
from orbitlens.data import toy
from orbitlens.errors import OrbitLensError
from orbitlens.sae import crosscoder_sae, orbit_sae, topk_sae
from orbitlens.training import fit
from orbitlens.training._objective_values import objective_values, same_values
from orbitlens.transport import fit_transport

DATA = toy(n_features=8, orbit_size=4, n_samples=100, seed=0)
STORE = store_from_array(DATA.orbits, group=DATA.group)
SAE = topk_sae(16, 16, 3)


def closure(weight: float) -> Callable[..., Tensor]:
    def mine(x_moved: Tensor, x_hat_moved: Tensor) -> Tensor:
        return weight * (x_moved - x_hat_moved).pow(2).sum(-1)

    return mine


class Weighted:
    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, x_moved: Tensor, x_hat_moved: Tensor) -> Tensor:
        return self.weight * (x_moved - x_hat_moved).abs().sum(-1)

    def loss(self, x_moved: Tensor, x_hat_moved: Tensor) -> Tensor:
        return self(x_moved, x_hat_moved)


def plain(x: Tensor, x_hat: Tensor, codes: Tensor) -> Tensor:
    return (x - x_hat).pow(2).sum(-1) + 1e-6 * codes.sum(-1)


def detached(x: Tensor, x_hat: Tensor, codes: Tensor) -> Tensor:
    return (x - x_hat).pow(2).sum(-1) + 1e-6 * codes.detach().sum(-1)


def noisy(weight: float) -> Callable[..., Tensor]:
    def mine(x_moved: Tensor, x_hat_moved: Tensor) -> Tensor:
        noise = weight * torch.rand_like(x_moved)
        return (x_moved - x_hat_moved + noise).pow(2).sum(-1)

    return mine


OTHERS: dict[str, tuple[Any, Any]] = {
    "closures": (closure(1.0), closure(10.0)),
    "objects": (Weighted(1.0), Weighted(9.0)),
    "methods": (Weighted(1.0).loss, Weighted(9.0).loss),
    "values alike, gradients not": (plain, detached),
    "random numbers": (noisy(0.1), noisy(0.2)),
    "a threshold": (
        lambda x, x_hat: (x - x_hat).norm(dim=-1).clamp(max=3.0),
        lambda x, x_hat: (x - x_hat).norm(dim=-1).clamp(max=30.0),
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_objective_of_the_same_name_is_told_apart(kind: str) -> None:
    one, other = (objective_values(each, SAE, 4) for each in OTHERS[kind])
    assert one is not None
    assert other is not None
    assert not same_values(one, other)
    assert same_values(one, objective_values(OTHERS[kind][0], SAE, 4))


@pytest.mark.parametrize("name", [n for n in objectives.__all__ if n != "dead_latent_revival"])
def test_every_objective_of_the_library_has_values(name: str) -> None:
    rho = fit_transport(STORE, "exact")
    built = (SAE, orbit_sae(16, 8, 3, rho), crosscoder_sae(16, 16, 3, 4))
    for sae in built:
        values = objective_values(getattr(objectives, name), sae, 4)
        assert values is not None
        assert len(values["value"]) == 8


def test_values_agree_up_to_rounding_alone() -> None:
    one = {"value": [1.0, float("inf"), float("nan")]}
    assert same_values(one, {"value": [1.0 + 1e-7, float("inf"), float("nan")]})
    assert not same_values(one, {"value": [1.001, float("inf"), float("nan")]})
    assert not same_values(one, {"value": [1.0, float("inf"), 0.0]})
    assert not same_values(one, None)
    assert same_values(None, None)


def test_a_checkpoint_of_another_objective_is_refused(tmp_path: Path) -> None:
    train = partial(fit, store=STORE, epochs=2, checkpoint=tmp_path / "a")
    first = train(topk_sae(16, 16, 3), objective=closure(1.0))
    with pytest.raises(OrbitLensError, match="another objective: expected the objective 'mine'"):
        train(topk_sae(16, 16, 3), objective=closure(10.0))
    # Defined again, it is the same one.
    assert train(topk_sae(16, 16, 3), objective=closure(1.0)).history == first.history


def test_in_a_list_each_objective_is_compared(tmp_path: Path) -> None:
    def train(weight: float) -> list[Any]:
        saes = [topk_sae(16, 16, 3, seed=seed) for seed in range(2)]
        own = [closure(1.0), closure(weight)]
        return fit(saes, STORE, epochs=1, objective=own, checkpoint=tmp_path / "a")

    train(2.0)
    with pytest.raises(OrbitLensError, match="another objective"):
        train(3.0)
    assert len(train(2.0)) == 2


def test_looking_at_an_objective_changes_no_bit_of_its_training(tmp_path: Path) -> None:
    """It may count its calls or draw random numbers."""

    class Warming:
        calls = 0

        def __call__(self, x: Tensor, x_hat: Tensor) -> Tensor:
            self.calls += 1
            return self.calls * (x - x_hat + torch.rand_like(x)).pow(2).sum(-1)

    found = []
    for checkpoint in (None, tmp_path / "a"):
        torch.manual_seed(0)
        sae = topk_sae(16, 16, 3)
        history = fit(sae, STORE, epochs=2, objective=Warming(), checkpoint=checkpoint).history
        found.append((history, sae.W_dec))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


def test_arguments_by_position_are_refused() -> None:
    def by_position(x: Tensor, x_hat: Tensor, /) -> Tensor:
        return (x - x_hat).pow(2).sum(-1)

    def all_of_them(*x_hat: Tensor) -> Tensor:
        return x_hat[0]

    for objective in (by_position, all_of_them):
        with pytest.raises(OrbitLensError, match="by position; name its arguments"):
            fit(topk_sae(16, 16, 3), STORE, epochs=1, objective=objective)
