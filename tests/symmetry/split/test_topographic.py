"""The topographic VAE: an exact split code, a bound with the right constant, and clear refusals."""

import itertools
import math
from collections.abc import Iterator

import jaxtyping
import pytest
import torch
from torch import Tensor

from orbitlens.data import moving_shapes
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.symmetry.split import (
    SplitModel,
    TopographicVAE,
    check_steps,
    fit_topographic,
    roll_error,
    rolled,
)
from orbitlens.testing import SplitContract

FRAMES, SHAPE = 6, (1, 3, 3)
COHERENCES = ("shifting", "still", "none")


def sequences(n: int = 4, frames: int = FRAMES) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, frames, *SHAPE, generator=generator, dtype=torch.float64)


def shifting(n: int = 4) -> Tensor:
    """The columns shift by one per frame, around twice."""
    return torch.stack([sequences(n)[:, 0].roll(frame, -1) for frame in range(FRAMES)], 1).float()


class Topographic(SplitContract):
    """All delays; what is exact is exact for every window."""

    coherence = "shifting"
    reach: int | None = None

    def build(self) -> SplitModel:
        return TopographicVAE(
            FRAMES, SHAPE, capsules=2, coherence=self.coherence, reach=self.reach
        ).double()

    def inputs(self) -> Tensor:
        return sequences()

    def elements(self, model: SplitModel, n: int) -> Iterator[Tensor]:
        yield from (
            torch.tensor(list(itertools.islice(itertools.cycle(range(FRAMES)), at, at + n)))[
                :, None
            ]
            for at in range(FRAMES)
        )


class TestFullWindow(Topographic):
    """Capsules roll by construction but for z."""


class TestPartOfTheWindow(Topographic):
    """Capsules roll as far as training brings them to."""

    reach = 1


class TestStill(Topographic):
    coherence, reach = "still", 1


class TestNone(Topographic):
    coherence = "none"


@pytest.mark.parametrize("coherence", COHERENCES)
def test_capsules_of_a_delayed_sequence_are_the_capsules_delayed(coherence: str) -> None:
    model = TopographicVAE(FRAMES, SHAPE, coherence=coherence, reach=1).double()
    x = sequences()
    for g in range(FRAMES):
        torch.testing.assert_close(model.capsules(x.roll(g, 1)), model.capsules(x).roll(g, 1))


def test_over_the_whole_sequence_capsules_roll_but_for_z() -> None:
    """With z = 0 the capsules of every frame are those of frame 0, rolled; untrained."""
    model, x = TopographicVAE(FRAMES, SHAPE).double(), sequences()
    q = model.posterior(x)
    assert q.u is not None
    squares = q.u.mean.square() + q.u.log_variance.exp()
    t = model.topographic(0 * q.z.mean, squares)
    torch.testing.assert_close(t, rolled(t[:, 0], torch.arange(FRAMES)))
    # So the source's figure says nothing of training: mu outweighs z.
    assert roll_error(model.capsules(x)).max() < 0.05 * roll_error(torch.rand_like(t)).min()


def test_the_code_decodes_to_the_sequence_if_capsules_roll() -> None:
    model = TopographicVAE(FRAMES, SHAPE).double()
    x = sequences()
    code = model.encode(x)
    decoded = model.decode(code)
    t = code.invariant.unflatten(1, (4, FRAMES))
    for each, frames, pose in zip(t, decoded, code.pose, strict=True):
        by_hand = model.frames_of(rolled(each[None], torch.arange(FRAMES) - pose))
        torch.testing.assert_close(frames[None], by_hand)
        # In the frame of the pose, slot 0 is the fullest.
        assert int(each.sum(0).argmax()) == 0


def test_u_is_squared_in_expectation_and_not_at_its_mean() -> None:
    torch.manual_seed(0)
    model, x = TopographicVAE(FRAMES, SHAPE, capsules=1, spread=0).double(), sequences(1)
    q = model.posterior(x)
    assert q.u is not None
    # Slot 0 of frame 0 with nothing but its diagonal.
    mean, variance = (each.detach()[0, :, 0].diag() for each in (q.u.mean, q.u.log_variance.exp()))
    v = (mean.square() + variance).sum()
    by_hand = (q.z.mean.detach()[0, 0, 0, 0] + 30) / (v + 1e-6).sqrt()
    torch.testing.assert_close(model.capsules(x).detach()[0, 0, 0, 0], by_hand)
    draws = (mean + variance.sqrt() * torch.randn(10_000, FRAMES)).square().sum(1).mean()
    assert draws.item() == pytest.approx(v.item(), rel=0.05)


@pytest.mark.parametrize("coherence", COHERENCES)
def test_the_bound_of_weights_that_are_zero_is_known_by_hand(coherence: str) -> None:
    """q = N(0, I) has no divergence, and pixels of probability 1/2 cost log 2 each."""
    model, x = TopographicVAE(FRAMES, SHAPE, coherence=coherence, reach=1).double(), sequences()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name != "mu":
                weights.zero_()
    log_likelihood, kl_z, kl_u = model.elbo(x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_likelihood, torch.full_like(log_likelihood, -9 * math.log(2)))
    assert not kl_z.any()
    assert not kl_u.any()
    found = model.log_likelihood(x, samples=7, generator=torch.Generator().manual_seed(0))
    # Also with seven samples: their mean, and not their sum.
    torch.testing.assert_close(found, torch.full_like(found, -9 * math.log(2)))


def test_importance_samples_lie_above_the_bound_and_one_is_the_bound_on_average() -> None:
    model, x = TopographicVAE(FRAMES, SHAPE, reach=1).double(), sequences(2)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        bounds = [model.elbo(x, generator) for _ in range(300)]
    elbo = torch.stack([(a - b - c).mean(1) for a, b, c in bounds]).mean(0)
    many = x.repeat_interleave(300, 0)
    single = model.log_likelihood(many, samples=1, generator=generator).reshape(2, 300).mean(1)
    torch.testing.assert_close(single, elbo, rtol=0, atol=0.2)
    assert (model.log_likelihood(x, samples=300, generator=generator) > elbo).all()


def test_the_divergence_is_that_of_torch() -> None:
    model, x = TopographicVAE(FRAMES, SHAPE).double(), sequences(1)
    q, found = model.posterior(x), model.elbo(x)
    for gaussian, kl in ((q.z, found.kl_z), (q.u, found.kl_u)):
        assert gaussian is not None
        own = torch.distributions.Normal(gaussian.mean, (gaussian.log_variance / 2).exp())
        prior = torch.distributions.Normal(torch.zeros_like(own.mean), torch.ones_like(own.mean))
        expected = torch.distributions.kl_divergence(own, prior).sum((2, 3))
        torch.testing.assert_close(kl, expected)


def test_the_two_encoders_begin_with_other_weights_and_the_seed_decides_all() -> None:
    model, again = (TopographicVAE(FRAMES, SHAPE, seed=1) for _ in range(2))
    assert model.u_encoder is not None
    pairs = zip(model.z_encoder.parameters(), model.u_encoder.parameters(), strict=True)
    assert not any(torch.equal(one, other) for one, other in pairs)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    assert model.mu.item() == 30
    assert model.mu.requires_grad


def test_a_training_lowers_the_loss_and_is_the_same_for_the_same_seed() -> None:
    x = moving_shapes(16, frames=4, seed=0).inputs.values[:]
    models = [TopographicVAE(4, (1, 16, 16), capsules=2, reach=1) for _ in range(2)]
    fits = [fit_topographic(model, x, steps=30, seed=3) for model in models]
    assert fits[0].status == "completed"
    assert fits[0].losses[-1] < 0.8 * fits[0].losses[0]
    assert torch.equal(fits[0].losses, fits[1].losses)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)
    assert not models[0].training


def test_a_training_that_diverges_stops_before_it_spoils_the_weights() -> None:
    model = TopographicVAE(FRAMES, SHAPE)
    fit = fit_topographic(model, shifting(), steps=20, lr=1e12)
    assert fit.status == "diverged"
    assert len(fit.losses) < 20
    assert all(bool(each.isfinite().all()) for each in model.parameters())


def test_sequences_that_repeat_themselves_have_several_poses() -> None:
    model = TopographicVAE(FRAMES, SHAPE).double()
    x = sequences(2, frames=3).repeat(1, 2, 1, 1, 1)
    with pytest.warns(OrbitLensWarning, match="poses of some sequences.*equally full"):
        model.encode(x)


def test_sizes_and_windows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OrbitLensError, match=r"`slots` with shifting.*per frame, 6.*received 5"):
        TopographicVAE(FRAMES, SHAPE, slots=5)
    with pytest.raises(OrbitLensError, match=r"`reach`.*at most the 6.*received 3, a window of 7"):
        TopographicVAE(FRAMES, SHAPE, reach=3)
    with pytest.raises(OrbitLensError, match=r"`frames`: .*at least 2, received 1"):
        TopographicVAE(1, SHAPE)
    with pytest.raises(OrbitLensError, match=r"`coherence`.*shifting, still, none.*'bubble'"):
        TopographicVAE(FRAMES, SHAPE, coherence="bubble")
    with pytest.raises(OrbitLensError, match=r"`mu`"):
        TopographicVAE(FRAMES, SHAPE, mu=math.inf)
    with pytest.raises(OrbitLensError, match="GiB of memory"):
        TopographicVAE(FRAMES, (1, 10**6, 10**6))
    other = TopographicVAE(FRAMES, SHAPE, slots=5, coherence="still", reach=1)
    with pytest.raises(OrbitLensError, match=r"one slot per frame, 6.*received 5"):
        other.encode(sequences())


def test_values_that_are_no_probabilities_are_refused() -> None:
    model = TopographicVAE(FRAMES, SHAPE).double()
    for wrong in (2 * sequences(), sequences() - 1, sequences() * math.nan):
        with pytest.raises(OrbitLensError, match=r"`x`: expected values from 0 to 1"):
            model.elbo(wrong)


def test_other_shapes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model, x = TopographicVAE(FRAMES, SHAPE).double(), sequences()
    with pytest.raises(OrbitLensError, match=r"\[n, 6, 1, 3, 3\].*\[4, 1, 3, 3\].*neighbours"):
        model.capsules(x[:, 0])
    with pytest.raises(OrbitLensError, match=r"\[n, 6, 1, 3, 3\].*\[4, 5, 1, 3, 3\]"):
        model.capsules(x[:, :5])
    code = model.encode(x)
    with pytest.raises(OrbitLensError, match=r"`pose`: expected whole numbers in 0..5"):
        model.decode(code._replace(pose=code.pose + 6))
    with pytest.raises(OrbitLensError, match=r"`element`"):
        model.move(torch.tensor([[1]]), x)
    with pytest.raises(OrbitLensError, match=r"`invariant`.*latents = 24"):
        model.decode(code._replace(invariant=code.invariant[:, :5]))


def test_sequences_without_equal_steps_are_refused() -> None:
    x = moving_shapes(40, seed=0).inputs.values[:]
    check_steps(x)
    turning = x[::2]
    with pytest.raises(OrbitLensError, match=r"from frame 7 to frame 0 of .* the usual one"):
        check_steps(turning[:, :8])
    # One frame too many: the motion stands still on its way back.
    with pytest.raises(OrbitLensError, match=r"frame 16 to frame 0 of 0.0 times the usual one"):
        check_steps(torch.cat([x, x[:, :1]], 1))
    # A scale grows and jumps back.
    grow = torch.linspace(0.6, 1.26, 18).reshape(1, 18, 1) * torch.rand(5, 1, 9)
    with pytest.raises(OrbitLensError, match=r"from frame 17 to frame 0 of 17.0 times"):
        check_steps(grow)
    with pytest.raises(OrbitLensError, match=r"frames that stay the same"):
        check_steps(torch.ones(3, 4, 1))
    with pytest.raises(OrbitLensError, match=r"two frames or more, received shape \[3, 1, 2\]"):
        check_steps(torch.rand(3, 1, 2))


def test_each_sequence_is_judged_by_its_own_steps() -> None:
    """Over all sequences these have equal steps."""
    x = moving_shapes(64, seed=0).inputs.values[:]
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.stack([each[torch.randperm(16, generator=generator)] for each in x])
    with pytest.raises(OrbitLensError, match=r"equal steps.* in sequence \d+"):
        check_steps(shuffled)
    ramp = torch.arange(8.0)[None, :, None] * torch.ones(64, 1, 2)
    starts = torch.randint(8, (64,), generator=generator)
    moved = [each.roll(int(start), 0) for each, start in zip(ramp, starts, strict=True)]
    with pytest.raises(OrbitLensError, match=r"of 7\.0 times the usual one"):
        check_steps(torch.stack(moved))
    still = x.clone()
    still[:3] = x[:3, :1]
    with pytest.raises(OrbitLensError, match=r"stay the same, in 3 of 64 sequences"):
        check_steps(still)


def test_a_training_refuses_what_it_cannot_use() -> None:
    model = TopographicVAE(FRAMES, SHAPE)
    with pytest.raises(OrbitLensError, match=r"`lr`: expected a number above 0, received 0"):
        fit_topographic(model, shifting(), steps=1, lr=0.0)
    with pytest.raises(OrbitLensError, match=r"`x`: expected values from 0 to 1"):
        fit_topographic(model, 2 * shifting(), steps=1)
    with pytest.raises(OrbitLensError, match=r"weights that can be trained.*frozen"):
        fit_topographic(model.requires_grad_(False), shifting(), steps=1)
