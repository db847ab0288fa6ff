"""Training of world models: it learns, begins again by the loss alone, and refuses wrong input."""

from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.data import block_episodes
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.symmetry.split import WorldModel, train_world_model


def build(seed: int) -> WorldModel:
    return WorldModel("C4", channels=1, side=4, objects=1, width=4, hidden=8, seed=seed)


def transitions(
    n: int = 64,
) -> tuple[Float[Tensor, "n 1 4 4"], Int[Tensor, " n"], Float[Tensor, "n 1 4 4"]]:
    """One block, seen from above."""
    data = block_episodes(n, side=4, blocks=1, seed=0)
    return data.grids[:, 0], data.actions[:, 0], data.grids[:, 1]


SHORT: dict[str, Any] = {"steps": 8, "batch": 16, "lr": 1e-2}


def test_the_loss_falls() -> None:
    fit = train_world_model(build, *transitions(), steps=20, batch=32, lr=1e-2, stuck=2.0)
    assert fit.loss < 0.5 * sum(fit.losses[:5]) / 5
    assert not fit.model.training
    assert fit.loss == sum(fit.losses[-2:]) / 2


def test_the_same_seed_gives_the_same_bits() -> None:
    state, data = torch.random.get_rng_state(), transitions()
    one, same, other = (
        train_world_model(build, *data, **SHORT, stuck=10.0, seed=seed) for seed in (1, 1, 2)
    )
    assert one.losses == same.losses
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.model.parameters(), same.model.parameters(), strict=True)
    )
    assert one.losses != other.losses
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_stuck_start_begins_again_with_another_seed() -> None:
    seeds: list[int] = []

    def kept(seed: int) -> WorldModel:
        seeds.append(seed)
        return build(seed)

    data = transitions()
    free = train_world_model(kept, *data, **SHORT, stuck=100.0)
    assert (free.restarts, free.stuck, free.starts) == (0, False, (free.loss,))
    # Just below the loss of the first start.
    again = train_world_model(kept, *data, **SHORT, stuck=0.999 * free.loss, restarts=6)
    assert again.restarts >= 1
    assert again.starts[0] == free.loss
    assert again.loss == again.starts[-1] <= 0.999 * free.loss
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == len(seeds) - 1


def test_where_all_starts_are_stuck_the_best_is_kept_with_a_warning() -> None:
    with pytest.warns(OrbitLensWarning, match=r"all 3 starts are stuck: .* above 1e-09"):
        fit = train_world_model(build, *transitions(), **SHORT, stuck=1e-9, restarts=2)
    assert fit.stuck
    assert fit.restarts == 2
    assert fit.loss == min(fit.starts)


def test_a_world_of_few_states_is_told_apart_from_a_stuck_start() -> None:
    # 16 states, so about one pair in 16 costs 1, whatever is learned.
    with pytest.warns(OrbitLensWarning, match=r"0\.09\d? of all pairs .* set `stuck` to 0\.19"):
        train_world_model(build, *transitions(), **SHORT, stuck=0.1, restarts=0)


def test_collapsed_latents_are_warned_of() -> None:
    def silent(seed: int) -> WorldModel:
        model = build(seed)
        with torch.no_grad():
            model.embedding.encoder[-1].get_parameter("tied").zero_()
        return model

    with pytest.warns(OrbitLensWarning, match="the same for all images"):
        train_world_model(silent, *transitions(), steps=1, batch=16, lr=1e-12, stuck=9.0)


def test_a_loss_that_is_not_finite_is_refused() -> None:
    def broken(seed: int) -> WorldModel:
        model = build(seed)
        with torch.no_grad():
            model.transition.node[-1].get_parameter("tied").fill_(float("nan"))
        return model

    with pytest.raises(OrbitLensError, match="a finite loss, received nan in step 1"):
        train_world_model(broken, *transitions(), **SHORT)


def test_the_state_of_torch_does_not_matter() -> None:
    usual = train_world_model(build, *transitions(), **SHORT, stuck=10.0)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        other = train_world_model(build, *transitions(), **SHORT, stuck=10.0)
    assert usual.losses == other.losses


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        (lambda model: model, "another model for each start"),
        (lambda model: model.transition, "an object WorldModel, received ObjectTransition"),
        (lambda model: model.requires_grad_(False), "weights that can be trained"),
    ],
)
def test_a_build_that_builds_no_new_model_is_refused(
    monkeypatch: pytest.MonkeyPatch, builder: Callable[[WorldModel], Any], message: str
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model = build(0)
    with pytest.raises(OrbitLensError, match=message):
        train_world_model(lambda seed: builder(model), *transitions(), **SHORT, stuck=1e-9)
    with pytest.raises(OrbitLensError, match="`build`: expected a function"):
        train_world_model(3, *transitions(), **SHORT)  # type: ignore[arg-type]


def wrong() -> list[tuple[dict[str, Any], str]]:
    images, actions, following = transitions(32)
    return [
        ({"batch": 1}, "`batch`: expected from 2 to 32, received 1"),
        ({"batch": 33}, "from 2 to 32"),
        ({"images": 255 * images}, r"values in \[0, 1\]"),
        ({"following": following[:-1]}, "`following`: expected the shape of `images`"),
        ({"following": following[:, :, :2]}, "`following`"),
        ({"images": images[..., :3], "following": following[..., :3]}, "channels first and square"),
        ({"actions": actions[:-1]}, "`actions`"),
        ({"actions": actions + 4}, r"whole numbers in 0\.\.3"),
        ({"images": images / 0}, "NaN"),
        ({"stuck": 0.0}, "`stuck`"),
        ({"lr": -1.0}, "`lr`"),
    ]


@pytest.mark.parametrize(("change", "message"), wrong())
def test_wrong_input_is_refused(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    names = ("images", "actions", "following")
    data = dict(zip(names, transitions(32), strict=True))
    with pytest.raises(OrbitLensError, match=message):
        train_world_model(build, **{**data, **SHORT, **change})
