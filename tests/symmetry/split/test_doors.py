"""The doors of world models and topographic VAEs: what is converted there, and what is refused."""

import math
from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.split import (
    TopographicVAE,
    WorldModel,
    contrastive_loss,
    latent_distance,
    rolled,
)

# Of any type, as wrong ones are given.
WORLD: Any = WorldModel("C4", channels=1, side=4, width=2, hidden=3).eval()
ROLLED: Any = rolled
VAE: Any = TopographicVAE(4, (1, 2, 2), capsules=2)
ACTIONS = [0, 7, 3]


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def drawn(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# Each function with the shape of what it takes.
DOORS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "images": (WORLD, (3, 1, 4, 4)),
    "roll-out": (lambda x: WORLD.roll_out(x, [[a] for a in ACTIONS]), (3, 1, 4, 4)),
    "maps": (WORLD.embedding.of_maps, (3, 2, 4, 4)),
    "transition": (lambda z: WORLD.transition(z, ACTIONS), (3, 2, 8)),
    "predict": (lambda z: WORLD.predict(z, ACTIONS), (3, 2, 8)),
    "act": (lambda z: WORLD.act(1, z), (3, 2, 8)),
    "distance": (lambda z: latent_distance(z, torch.zeros(3, 2, 8)), (3, 2, 8)),
    "loss": (lambda z: contrastive_loss(z, z, z, z).far, (3, 2, 8)),
    "rolled": (lambda t: ROLLED(t, [0, -1]), (3, 2, 4)),
    "posterior": (lambda x: VAE.posterior(x).z.mean, (3, 4, 1, 2, 2)),
    "elbo": (lambda x: VAE.elbo(x, seeded()).log_likelihood, (3, 4, 1, 2, 2)),
    "likelihood": (lambda x: VAE.log_likelihood(x, 2, seeded()), (3, 4, 1, 2, 2)),
    "frames": (VAE.frames_of, (3, 4, 2, 4)),
    "decode": (lambda code: VAE.decode((code, [[0], [1], [3]])), (3, 8)),
    "topographic": (lambda z: VAE.topographic(z, torch.ones(3, 4, 2, 4)), (3, 4, 2, 4)),
}


@pytest.mark.parametrize("door", DOORS)
def test_numbers_of_any_kind_are_taken(door: str) -> None:
    function, shape = DOORS[door]
    x = drawn(*shape)
    wanted = function(x)
    for given in (x.numpy(), x.tolist(), x.double(), x.numpy().astype("float64")):
        assert torch.allclose(function(given).float(), wanted, atol=1e-6)


@pytest.mark.parametrize("door", DOORS)
def test_booleans_other_shapes_and_what_is_no_number_are_refused(door: str) -> None:
    function, shape = DOORS[door]
    x = drawn(*shape)
    # Some take any number of slots, or latents of one state.
    shapes = () if door in ("act", "loss", "rolled") else (x[..., :1], x[0])
    for wrong in (x > 0.5, (x > 0.5).tolist(), *shapes, None, "x", [[1.0], [1.0, 2.0]]):
        with pytest.raises(OrbitLensError):
            function(wrong)


Z = torch.zeros(3, 2, 8)
T = torch.ones(3, 4, 2, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: latent_distance(Z, Z[:1]), "`v`: expected the shape of `u`"),
        (
            lambda: contrastive_loss(Z, Z, Z[:1], Z[:1]),
            "`state`: expected the shape of `predicted`",
        ),
        (lambda: latent_distance(Z, Z, sigma=0), "`sigma`: expected above 0"),
        (lambda: contrastive_loss(Z, Z, Z, Z, margin=math.nan), "`margin`"),
        (lambda: contrastive_loss(Z, Z, Z, Z, margin=-1.0), "`margin`: expected 0 or more"),
        (lambda: WORLD.move_actions(1, 8), r"whole numbers in 0\.\.7"),
        (lambda: WORLD.move_actions(1, [-1]), r"whole numbers in 0\.\.7"),
        (lambda: WORLD.move_actions(1, [0.5]), r"whole numbers in 0\.\.7"),
        (lambda: ROLLED(T[:, 0], [0.5]), "`steps`: expected whole numbers"),
        (lambda: ROLLED(T[:, 0], [True]), "`steps`.*booleans"),
        (lambda: ROLLED(T[:, 0], 1), "`steps`"),
        (lambda: VAE.topographic(T, T[:1]), "`squares`: expected the shape of `z`"),
        (lambda: VAE.topographic(T, -T), "`squares`: expected 0 or more"),
        (lambda: VAE.topographic(T, None), "`squares`: expected u\\^2"),
        (lambda: VAE.act([[0]], (None, None)), "`invariant`"),
        (lambda: VAE.act([[0]], (T[:1, 0, 0],)), "two parts.*tuple of 1"),
        (lambda: VAE.decode(None), "two parts"),
        (lambda: VAE.product(None, [[1]]), "`g`"),
        (lambda: VAE.product([[1]], None), "`h`"),
        (lambda: VAE.draw(2, 3), "`generator`"),
        (lambda: VAE.elbo(drawn(1, 4, 1, 2, 2), 3), "`generator`"),
        (lambda: WorldModel("C4", objects=10**9), "GiB of memory"),
        (lambda: WorldModel("C4", torch.zeros(4, 0, dtype=torch.int64)), "no action at all"),
    ],
)
def test_what_would_be_no_figure_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(OrbitLensError, match=message):
        call()


@pytest.mark.parametrize(
    "wrong", [{"reach": -1}, {"spread": -7}, {"mu": "x"}, {"shape": ()}, {"shape": 16}]
)
def test_arguments_that_are_not_used_are_looked_at_too(wrong: dict[str, Any]) -> None:
    with pytest.raises(OrbitLensError, match=f"`{next(iter(wrong))}`"):
        TopographicVAE(4, **{"shape": (1, 2, 2), "coherence": "none", **wrong})


def test_weights_that_are_no_numbers_have_no_code() -> None:
    model = TopographicVAE(4, (1, 2, 2), capsules=2)
    with torch.no_grad():
        model.z_encoder[0].weight.fill_(math.nan)  # type: ignore[operator]
    with pytest.raises(OrbitLensError, match="training may have diverged"):
        model.encode(drawn(3, 4, 1, 2, 2))


def test_a_table_of_moves_belongs_to_the_model_alone() -> None:
    moves = torch.arange(4).repeat(4, 1).add(-torch.arange(4)[:, None]).remainder(4)
    model = WorldModel("C4", moves, channels=1, side=4, width=2, hidden=3)
    kept = moves.clone()
    moves.zero_()
    assert torch.equal(model.transition.moves, kept)
