"""Groups whose elements are drawn: expectations, variances, gradients, and what a module keeps."""

import copy
import math
from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.actions import SampledAction, graphs, relabelling, rotations
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.symmetry.symmetrize import (
    FrameHead,
    PermutationHead,
    Symmetrized,
    _methods,
    symmetrize,
)

GRAPH = relabelling(6)
CLOUD = rotations("S5xO3", vectors=2, centred=True)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_graphs(n: int = 3, nodes: int = 6, seed: int = 0) -> Float[Tensor, "n nodes columns"]:
    edges = torch.rand(n, nodes, nodes, generator=seeded(seed)).round().triu(1)
    features = torch.randn(n, nodes, 2, generator=seeded(seed))
    return torch.cat([edges + edges.mT, features], dim=2)


def some_clouds(n: int = 3) -> Float[Tensor, "n 5 7"]:
    return torch.randn(n, 5, 7, generator=seeded()) + 1


class Rows(nn.Module):
    """A network without symmetry, with one row of outputs for each point."""

    def __init__(self, points: int, columns: int, out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(points * columns, 32),
            nn.Tanh(),
            nn.Linear(32, points * out),
            nn.Unflatten(1, (points, out)),
        )

    def forward(self, x: Float[Tensor, "n points columns"]) -> Float[Tensor, "n points out"]:
        return self.layers(x)


def invariant(points: int, columns: int) -> nn.Module:
    return nn.Sequential(Rows(points, columns, 1), nn.Flatten(), nn.Linear(points, 2))


def of_graphs(how: str, **options: object) -> Symmetrized:
    return symmetrize(invariant(6, 8), GRAPH, how, example=some_graphs(), **options)


def of_clouds(how: str, **options: object) -> Symmetrized:
    output = rotations("S5xO3", centred=True)
    return symmetrize(Rows(5, 7, 3), CLOUD, how, output, example=some_clouds(), **options)


@pytest.mark.parametrize("how", ["average", "probabilistic"])
def test_invariant_in_expectation(how: str) -> None:
    phi, x = of_graphs(how).eval(), some_graphs()
    moved = GRAPH(x, GRAPH.draw(3, seeded(9), x))
    with torch.no_grad():
        one, other = (phi.predict(each, 2000, generator=seeded(3)) for each in (x, moved))
    spread = (one.variance + other.variance).sqrt()
    assert bool(((one.mean - other.mean).abs() < 4 * spread + 1e-6).all())
    assert float(spread.max()) < 0.05


@pytest.mark.parametrize("how", ["average", "probabilistic"])
def test_outputs_turn_shift_and_permute_with_the_cloud_in_expectation(how: str) -> None:
    phi, x = of_clouds(how).eval(), some_clouds(2)
    origin = rotations("S5xO3", vectors=2)
    g, shift = origin.draw(2, seeded(9), x), torch.tensor([3.0, -2.0, 1.0])
    moved = origin(x, g)
    moved[..., :3] += shift
    with torch.no_grad():
        one, other = (phi.predict(each, 500, generator=seeded(3)) for each in (x, moved))
    expected = rotations("S5xO3")(one.mean, g) + shift
    spread = (one.variance.amax((1, 2)) + other.variance.amax((1, 2))).sqrt()[:, None, None]
    assert bool(((other.mean - expected).abs() < 4 * spread).all())
    assert float(spread.max()) < 0.1


def test_a_canonical_frame_moves_with_the_input() -> None:
    phi, x = of_graphs("canonical").eval(), some_graphs()
    with torch.no_grad():
        y = phi(x)
        moved = phi(GRAPH(x, GRAPH.draw(3, seeded(1), x)))
    torch.testing.assert_close(moved, y, atol=1e-5, rtol=0)
    clouds, phi = some_clouds(), of_clouds("canonical").eval()
    g = CLOUD.draw(3, seeded(1), clouds)
    origin = rotations("S5xO3", vectors=2)
    with torch.no_grad():
        y, moved = phi(clouds), phi(origin(clouds, g))
    torch.testing.assert_close(moved, rotations("S5xO3")(y, g), atol=1e-4, rtol=0)


def test_the_average_over_draws_has_the_exact_average_as_its_expectation() -> None:
    network, x = invariant(4, 6), some_graphs(nodes=4)
    exact = symmetrize(network, graphs("S4"))(x)
    drawn = symmetrize(network, relabelling(4)).predict(x, 4000)
    assert bool(((drawn.mean - exact).abs() < 4 * drawn.variance.sqrt()).all())


@pytest.mark.parametrize("how", ["average", "probabilistic"])
def test_the_variance_of_the_mean_is_the_one_it_says(how: str) -> None:
    phi, x = of_graphs(how).eval(), some_graphs(n=8)
    with torch.no_grad():
        means = torch.stack([phi.predict(x, 20, generator=seeded(i)).mean for i in range(60)])
        said = phi.predict(x, 400).variance.mean() * 400 / 20
    assert float(means.var(0).mean() / said) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("how", ["average", "probabilistic"])
def test_so_many_samples_give_the_wanted_variance(how: str) -> None:
    phi, x = of_graphs(how), some_graphs(n=8)
    with torch.no_grad():
        wanted = float(phi.eval().predict(x, 200).variance.mean()) * 10
        k = phi.train().samples_for(x, wanted)
        assert phi.training
        phi.eval()
        means = torch.stack([phi.predict(x, k, generator=seeded(i)).mean for i in range(60)])
    assert k == pytest.approx(20, rel=0.3)
    assert float(means.var(0).mean()) == pytest.approx(wanted, rel=0.3)


def test_counting_samples_writes_nothing() -> None:
    phi = of_graphs("probabilistic")
    before = {name: each.clone() for name, each in phi.state_dict().items()}
    state = torch.get_rng_state()
    phi.samples_for(some_graphs(), 0.01)
    assert all(torch.equal(before[name], each) for name, each in phi.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def grid() -> Float[Tensor, "1 25 25"]:
    """The 5 x 5 grid as a graph; corners, and so on, are alike."""
    place = torch.tensor([(i, j) for i in range(5) for j in range(5)])
    steps = (place[:, None] - place).abs().sum(-1)
    return (steps == 1).float()[None]


ALIKE = [[0, 4, 20, 24], [1, 3, 5, 9, 15, 19, 21, 23], [2, 10, 14, 22], [6, 8, 16, 18]]


def test_within_orbits_the_deviation_falls_as_one_over_root_k() -> None:
    """Without training: nodes that are alike get embeddings that are alike, as the means settle."""
    x, counts = grid(), [1, 4, 16, 64, 256]
    network, output = Rows(25, 25, 1), relabelling(25, pairs=False)

    def deviation(phi: Symmetrized, k: int, seed: int) -> float:
        y = phi.predict(x, k, generator=seeded(seed)).mean[0, :, 0]
        return float(torch.stack([y[orbit].std() for orbit in ALIKE]).mean())

    for how in ("average", "probabilistic"):
        phi = symmetrize(network, relabelling(25), how, output, example=x).eval()
        with torch.no_grad():
            found = [sum(deviation(phi, k, seed) for seed in range(8)) / 8 for k in counts]
        logs = torch.tensor([counts, found]).log()
        logs -= logs.mean(1, keepdim=True)
        slope = float(logs[0] @ logs[1] / logs[0].square().sum())
        assert slope == pytest.approx(-0.5, abs=0.1)
    fixed = symmetrize(network, relabelling(25), "canonical", output, example=x).eval()
    with torch.no_grad(), pytest.warns(UserWarning, match="tied by their own symmetry"):
        assert deviation(fixed, 1, 0) == deviation(fixed, 1, 1) > 0.5 * found[0]


@pytest.mark.parametrize("how", ["canonical", "probabilistic"])
@pytest.mark.parametrize("build", [of_graphs, of_clouds])
def test_gradients_reach_the_network_and_the_head(build: object, how: str) -> None:
    phi = build(how)  # type: ignore[operator]
    mean, penalty, _ = phi.predict(some_graphs() if build is of_graphs else some_clouds())
    (mean.square().mean() + 0.1 * penalty.mean()).backward()
    for part in (phi.network, phi.method.head):
        assert all(each.grad is not None for each in part.parameters())
        assert any(bool(each.grad.any()) for each in part.parameters())
    assert bool((penalty > 0).all())


def test_evaluation_repeats_and_training_draws_anew() -> None:
    phi, x = of_graphs("average"), some_graphs()
    assert not torch.equal(phi(x), phi(x))
    phi.eval()
    assert torch.equal(phi(x), phi(x))
    state = torch.get_rng_state()
    phi.train()(x)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_seed_decides_all_draws() -> None:
    network, x = invariant(6, 8), some_graphs()

    def outputs(seed: int) -> Tensor:
        phi = symmetrize(network, GRAPH, "probabilistic", example=x, seed=seed).train()
        return torch.stack([phi(x), phi(x), phi.eval()(x)]).detach()

    assert torch.equal(outputs(0), outputs(0))
    assert not torch.equal(outputs(0), outputs(1))


def test_a_resumed_training_draws_what_would_have_come() -> None:
    phi, x = of_graphs("average"), some_graphs()
    phi(x)
    resumed = symmetrize(invariant(6, 8), GRAPH)
    resumed.load_state_dict(phi.state_dict())
    twin = copy.deepcopy(phi)
    expected = phi(x)
    assert torch.equal(resumed(x), expected)
    assert torch.equal(twin(x), expected)


def test_a_loaded_network_draws_as_many_samples_as_the_one_that_was_kept(tmp_path: Path) -> None:
    phi, x = of_graphs("probabilistic").eval(), some_graphs()
    phi.n_samples = 50
    torch.save(phi.state_dict(), tmp_path / "phi.pt")
    state = torch.load(tmp_path / "phi.pt", weights_only=True)
    for options in ({}, {"n_samples": 50}):
        again = of_graphs("probabilistic", seed=0, **options).eval()
        again.load_state_dict(state)
        assert again.n_samples == 50
    assert torch.equal(again(x), phi(x))
    inside = nn.ModuleDict({"phi": of_graphs("probabilistic")})
    inside.load_state_dict({f"phi.{name}": each for name, each in state.items()})
    assert inside["phi"].n_samples == 50


def test_a_state_with_another_number_of_samples_than_was_asked_for_is_refused() -> None:
    state = of_graphs("average", n_samples=50).state_dict()
    phi = of_graphs("average", n_samples=20)
    before = {name: each.clone() for name, each in phi.state_dict().items()}
    with pytest.raises(OrbitLensError, match="expected 20, .*received 50; leave `n_samples` out"):
        phi.load_state_dict(state)
    assert all(torch.equal(before[name], each) for name, each in phi.state_dict().items())
    with pytest.raises(OrbitLensError, match="`n_samples`: expected at least 1"):
        phi.n_samples = 0


def test_states_without_a_number_of_samples_leave_it_as_it_is() -> None:
    phi = of_graphs("average", n_samples=20)
    earlier = phi.state_dict()
    del earlier["_extra_state"]
    phi.load_state_dict(earlier)
    assert phi.n_samples == 20
    exact = symmetrize(invariant(6, 8), graphs("C6"))
    phi.load_state_dict(exact.state_dict())
    assert phi.n_samples == 20
    exact.load_state_dict(phi.state_dict())
    assert exact.n_samples == 1


def test_learned_draws_are_not_exported_and_uniform_ones_stay_those_of_evaluation() -> None:
    x = some_clouds()
    with pytest.raises(RuntimeError, match="data-dependent"):
        torch.export.export(of_clouds("probabilistic").eval(), (x,))
    phi = of_clouds("average").eval()
    exported = torch.export.export(phi, (x,)).module()
    torch.testing.assert_close(exported(x + 1), phi(x + 1))


def test_an_ordinary_module_in_double_precision() -> None:
    phi, x = of_graphs("probabilistic").double().eval(), some_graphs().double()
    assert phi(x).dtype == torch.float64
    assert phi.predict(x).variance.dtype == torch.float64
    clouds = of_clouds("probabilistic").double().eval()
    assert clouds(some_clouds().double()).dtype == torch.float64


def test_one_sample_tells_nothing_of_the_variance() -> None:
    phi, x = of_graphs("average", n_samples=1), some_graphs()
    assert bool(phi.predict(x).variance.isnan().all())
    assert math.isfinite(float(phi.predict(x, 2).variance.detach().sum()))


@pytest.mark.parametrize("how", ["average", "probabilistic"])
def test_many_samples_come_in_several_calls(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    phi, x = of_graphs(how).eval(), some_graphs()
    phi.network.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    whole = phi.predict(x, 2000)
    monkeypatch.setattr(_methods, "_MOST_ROWS", 3 * 700)
    parts = phi.predict(x, 2000)
    assert seen == [6000, 2100, 2100, 1800]
    spread = (whole.variance + parts.variance).sqrt()
    assert bool(((whole.mean - parts.mean).abs() < 4 * spread).all())
    torch.testing.assert_close(parts.penalty, whole.penalty, atol=0.05, rtol=0)
    phi.train().predict(x, 1000).mean.sum().backward()
    assert all(each.grad is not None for each in phi.network.parameters())


def test_ten_samples_by_default_and_more_when_asked() -> None:
    seen = []
    phi = of_graphs("average")
    phi.network.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    phi(some_graphs())
    phi.predict(some_graphs(), n_samples=4)
    assert seen == [30, 12]


@pytest.mark.parametrize("how", ["average", "canonical", "probabilistic"])
def test_padding_does_not_matter(how: str) -> None:
    """The network sees the padding where it was, and the mask keeps it out of all frames."""
    action, x = relabelling(6, pairs=False), torch.zeros(40, 6, 2)
    x[:, :4] = torch.randn(40, 4, 2, generator=seeded())
    mask = (torch.arange(6) < 4).expand(40, 6)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 12, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(torch.eye(12))
    phi = symmetrize(network, action, how, example=x).eval()
    rows = phi(x, mask).unflatten(1, (6, 2))
    assert not bool(rows[:, 4:].any())
    assert bool(rows[:, :4].any())


def test_a_centred_cloud_with_padding_follows_translations() -> None:
    action = rotations("S5xO3", centred=True)
    x = torch.randn(2, 5, 3, generator=seeded())
    mask = torch.arange(5) < torch.tensor([[3], [4]])
    x[~mask] = 0
    phi = symmetrize(Rows(5, 3, 3), action, "average", action).eval()
    shifted = torch.where(mask[..., None], x + 7, x)
    y = phi(x, mask)
    expected = torch.where(mask[..., None], y + 7, y)
    torch.testing.assert_close(phi(shifted, mask), expected, atol=1e-4, rtol=0)


def test_a_head_of_ones_own() -> None:
    head: FrameHead = PermutationHead(features=2, hidden=8, tau=0.1)
    phi = symmetrize(invariant(6, 8), GRAPH, "probabilistic", head=head)
    assert phi.method.head is head
    assert phi(some_graphs()).shape == (3, 2)


@pytest.mark.parametrize("action", [rotations("SO3"), rotations("O3"), relabelling(5, False)])
@pytest.mark.parametrize("how", ["average", "canonical", "probabilistic"])
def test_every_group_has_its_head(action: SampledAction, how: str) -> None:
    x = torch.randn(2, 5, 4, generator=seeded())
    phi = symmetrize(Rows(5, 4, 4), action, how, action, example=x).eval()
    assert phi(x).shape == x.shape


def test_padding_of_centred_outputs_stays_where_it_was() -> None:
    action = rotations("O3", centred=True)
    x = torch.randn(2, 5, 3, generator=seeded()) + 3
    mask = torch.arange(5) < torch.tensor([[3], [5]])
    x[~mask] = 0
    y = symmetrize(nn.Identity(), action, output=action).eval()(x, mask)
    torch.testing.assert_close(y, x, atol=1e-5, rtol=0)
    one_row = symmetrize(FirstRow(), action, output=action).eval()
    torch.testing.assert_close(one_row(x, mask), x[:, :1], atol=1e-5, rtol=0)


class FirstRow(nn.Module):
    def forward(self, x: Float[Tensor, "n points columns"]) -> Float[Tensor, "n 1 columns"]:
        return x[:, :1]


@pytest.mark.parametrize("action", [GRAPH, rotations("O3")], ids=repr)
def test_a_head_in_single_precision_serves_inputs_in_double(action: SampledAction) -> None:
    x, network = some_graphs(), nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).double()
    phi = symmetrize(network, action, "canonical", example=x).eval()
    mean, penalty, _ = phi.predict(x.double())
    assert mean.dtype == penalty.dtype == torch.float64
    moved = action(x.double(), action.draw(3, seeded(), x.double()))
    torch.testing.assert_close(phi(moved), mean, atol=1e-4, rtol=0)


def test_tied_clouds_that_are_not_centred_may_lie_far_from_the_origin() -> None:
    x, network = some_clouds(), nn.Sequential(nn.Flatten(), nn.Linear(35, 2))
    phi = symmetrize(network, rotations("O3"), "canonical", example=x).eval()
    with pytest.warns(OrbitLensWarning, match="far from the origin, .*with centred=True"):
        phi(torch.ones(1, 5, 7))
