"""Meta-learning: its gradient, what the inner loop leaves alone, resuming, and bad input."""

import copy
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from orbitlens.data import Episodes, HeldTasks, TurnedFields, shift_tasks
from orbitlens.errors import DamageError, OrbitLensError, OrbitLensWarning
from orbitlens.symmetry.relax._meta_checkpoint import MetaCheckpoint
from orbitlens.symmetry.relax.known_sharing import toeplitz
from orbitlens.symmetry.relax.meta import MetaLearner
from orbitlens.symmetry.relax.meta_learn import meta_learn
from orbitlens.symmetry.relax.shared_weights import SharedConv2d, SharedLinear

LENGTH, PLACES = 8, 6


def tasks_1d(n: int = 40, **settings: Any) -> HeldTasks:
    return shift_tasks(n, length=LENGTH, **settings).tasks


def episodes(n: int = 3, support: int = 2, query: int = 3) -> Episodes:
    generator = torch.Generator().manual_seed(1)
    return tasks_1d().draw(n, support=support, query=query, generator=generator)


def two_layers() -> nn.Module:
    """A network that is not linear, with biases, and layers that share and that do not."""
    torch.manual_seed(0)
    first = SharedLinear(LENGTH, 5, k=4, bias=True)
    first.symmetry.data *= 50
    return nn.Sequential(first, nn.Tanh(), nn.Linear(5, PLACES))


NETWORKS = {
    "shared": lambda: SharedLinear(LENGTH, PLACES, k=3),
    "two layers": two_layers,
    "plain": lambda: nn.Linear(LENGTH, PLACES),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_meta_gradient_agrees_with_finite_differences(name: str) -> None:
    torch.manual_seed(2)
    learner = MetaLearner(NETWORKS[name](), inner_rate=0.4, inner_steps=3).double()
    drawn = episodes()
    parameters = dict(learner.named_parameters())
    found = torch.autograd.grad(learner.query_losses(drawn).sum(), list(parameters.values()))
    for (own, parameter), gradient in zip(parameters.items(), found, strict=True):
        direction = torch.randn_like(parameter)
        ends = []
        for sign in (1, -1):
            moved = copy.deepcopy(learner)
            moved.get_parameter(own).data += sign * 1e-5 * direction
            ends.append(moved.query_losses(drawn).sum().item())
        slope = (ends[0] - ends[1]) / 2e-5
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-6, abs=1e-9), own


def test_the_gradient_goes_through_the_inner_steps() -> None:
    """One weight, one number: v' = v - 2 a u x (u v x - y), and the gradients by hand."""
    layer = _one_number()
    learner = MetaLearner(layer, inner_rate=0.1, inner_steps=1).double()
    u, v, a = 2.0, 1.0, 0.1
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    drawn = Episodes(one, 3 * one, 2 * one, 5 * one)
    adapted = v - 2 * a * u * (u * v - 3)
    assert learner.query_losses(drawn).item() == pytest.approx((2 * u * adapted - 5) ** 2)
    slope = 2 * (2 * u * adapted - 5)
    by_v = slope * 2 * u * (1 - 2 * a * u**2)
    by_u = slope * (2 * adapted + 2 * u * -2 * a * (2 * u * v - 3))
    by_a = slope * 2 * u * -2 * u * (u * v - 3)
    found = torch.autograd.grad(learner.query_losses(drawn).sum(), list(learner.parameters()))
    names = [name for name, _ in learner.named_parameters()]
    expected = {"network.symmetry": by_u, "network.filter": by_v, "rates": by_a}
    for name, gradient in zip(names, found, strict=True):
        assert float(gradient) == pytest.approx(expected[name]), name


def _one_number() -> SharedLinear:
    """A layer of one weight, W = 2 * 1; all of it could be free, which is warned of."""
    with pytest.warns(OrbitLensWarning, match="none need be shared"):
        layer = SharedLinear(1, 1, k=1)
    layer.symmetry.data.fill_(2)
    layer.filter.data.fill_(1)
    return layer


def test_the_inner_loop_leaves_u_alone() -> None:
    learner = MetaLearner(two_layers(), inner_rate=0.3)
    x, y = (each[0] for each in episodes().parts[:2])
    before = copy.deepcopy(learner.state_dict())
    adapted = learner.adapt(x, y)
    after = learner.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    first, own = learner.network.get_submodule("0"), adapted.get_submodule("0")
    assert torch.equal(own.symmetry, first.symmetry)
    assert learner.adapted == ("0.filter", "0.bias", "2.weight", "2.bias")
    for name in learner.adapted:
        assert not torch.equal(adapted.get_parameter(name), learner.network.get_parameter(name))


def test_adapting_is_gradient_descent_on_the_support() -> None:
    learner = MetaLearner(nn.Linear(LENGTH, PLACES), inner_rate=0.2, inner_steps=2)
    x, y = (each[0] for each in episodes().parts[:2])
    expected = copy.deepcopy(learner.network)
    descent = torch.optim.SGD(expected.parameters(), lr=0.2)
    for _ in range(2):
        descent.zero_grad()
        (expected(x) - y).square().mean().backward()
        descent.step()
    torch.testing.assert_close(learner.adapt(x, y).state_dict(), expected.state_dict())


def test_tasks_of_a_batch_do_not_meet() -> None:
    learner, drawn = MetaLearner(two_layers(), inner_rate=0.3), episodes(3)
    together = learner(*drawn.parts[:3])
    for task in range(3):
        support_x, support_y, query_x = (each[task] for each in drawn.parts[:3])
        alone = learner.adapt(support_x, support_y)(query_x)
        torch.testing.assert_close(together[task], alone, rtol=1e-5, atol=1e-6)
    losses = (together - drawn.query_y).square().mean((1, 2))
    torch.testing.assert_close(learner.query_losses(drawn), losses)


def test_a_frozen_parameter_is_neither_adapted_nor_trained() -> None:
    network = two_layers()
    network.get_parameter("2.weight").requires_grad_(False)
    learner = MetaLearner(network)
    before = network.get_parameter("2.weight").clone()
    meta_learn(learner, tasks_1d(), steps=2)
    assert "2.weight" not in learner.adapted
    assert torch.equal(network.get_parameter("2.weight"), before)


def test_the_toeplitz_u_adapts_at_once_where_a_dense_layer_cannot() -> None:
    layer = SharedLinear.from_basis(toeplitz(PLACES, LENGTH, 3).float(), LENGTH, PLACES)
    torch.manual_seed(0)
    learners = [
        MetaLearner(network, inner_rate=0.15, inner_steps=60)
        for network in (layer, nn.Linear(LENGTH, PLACES))
    ]
    ours, theirs = (each.losses_on(tasks_1d(100), 100).median() for each in learners)
    assert ours < 0.05
    assert theirs > 20 * ours


def test_training_lowers_the_loss_of_new_tasks() -> None:
    train, test = tasks_1d(200).split()
    learner = MetaLearner(SharedLinear(LENGTH, PLACES, k=3), inner_rate=1.0)
    before = learner.losses_on(test, 40).mean()
    seen = []
    fit = meta_learn(
        learner, train, steps=30, lr=2e-2, progress=lambda *figures: seen.append(figures)
    )
    assert learner.losses_on(test, 40).mean() < 0.7 * before
    assert [each[:2] for each in seen] == [(step, 30) for step in range(1, 31)]
    assert fit.losses == tuple(each[2] for each in seen)
    assert fit.status == "completed"
    assert repr(fit) == f"MetaFit(completed, steps 30, loss {fit.losses[-1]:.4g})"
    assert all(parameter.grad is None for parameter in learner.parameters())


def test_images_that_are_drawn_when_they_are_asked_for() -> None:
    learner = MetaLearner(SharedConv2d(1, 8, 3), inner_rate=4.0)
    tasks = TurnedFields(fields=1, side=5)
    fit = meta_learn(learner, tasks, steps=2, n_tasks=4, query=3)
    assert len(fit.losses) == 2
    assert learner.losses_on(tasks, 6).shape == (6,)


def learner_of(seed: int = 0) -> MetaLearner:
    return MetaLearner(SharedLinear(LENGTH, PLACES, k=3, seed=seed), inner_rate=0.5)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("stopped", [1, 5, 9])
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(stopped: int, tmp_path: Path) -> None:
    tasks, file = tasks_1d(), tmp_path / "training.safetensors"
    whole = learner_of()
    expected = meta_learn(whole, tasks, steps=10)

    def stop(step: int, steps: int, loss: float) -> None:
        if step == stopped:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        meta_learn(learner_of(), tasks, steps=10, checkpoint=file, progress=stop)
    other = learner_of(seed=5)
    found = meta_learn(other, tasks, steps=10, checkpoint=file)
    assert found.losses == expected.losses
    assert same(other, whole)


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.Sigmoid()])
def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path, layer: nn.Module) -> None:
    tasks, file = tasks_1d(), tmp_path / "training.safetensors"
    first, _, last = two_layers().children()
    meta_learn(MetaLearner(nn.Sequential(first, nn.Tanh(), last)), tasks, steps=1, checkpoint=file)
    other = MetaLearner(nn.Sequential(first, layer, last))
    with pytest.raises(OrbitLensError, match="with other settings: expected network 'Sequential"):
        meta_learn(other, tasks, steps=1, checkpoint=file)


def test_targets_that_would_be_broadcast_are_refused() -> None:
    def loss(found: Tensor, wanted: Tensor) -> Tensor:
        return (found - wanted).square().mean()

    x = torch.randn(4, 6, LENGTH)
    tasks = HeldTasks("sums", x, x.sum(2))
    with pytest.raises(
        OrbitLensError, match=r"received predictions \[\d+, 1\] for targets \[\d+\]"
    ):
        meta_learn(MetaLearner(nn.Linear(LENGTH, 1), loss=loss), tasks, n_tasks=2, query=3, steps=1)


def test_a_kill_at_any_time_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    tasks, file = tasks_1d(), tmp_path / "training.safetensors"
    whole = learner_of()
    meta_learn(whole, tasks, steps=6)

    def fail(step: int, steps: int, loss: float) -> None:
        if step == 4:
            raise StoppedError

    settings: dict[str, Any] = {"checkpoint": file, "checkpoint_seconds": 0}
    with pytest.raises(StoppedError):
        meta_learn(learner_of(), tasks, steps=6, progress=fail, **settings)
    resumed = learner_of()
    meta_learn(resumed, tasks, steps=6, **settings)
    assert same(resumed, whole)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_more_steps_continue_a_training_that_was_complete(tmp_path: Path) -> None:
    tasks, file = tasks_1d(), tmp_path / "training.safetensors"
    whole, parts = learner_of(), learner_of()
    meta_learn(whole, tasks, steps=7)
    meta_learn(parts, tasks, steps=3, checkpoint=file)
    meta_learn(parts, tasks, steps=7, checkpoint=file)
    assert same(parts, whole)
    with pytest.raises(OrbitLensError, match="`steps`: expected at least the 7 of the checkpoint"):
        meta_learn(parts, tasks, steps=3, checkpoint=file)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    tasks, file = tasks_1d(), tmp_path / "training.safetensors"
    meta_learn(learner_of(), tasks, steps=1, checkpoint=file)
    with pytest.raises(OrbitLensError, match="with other settings: expected lr 0.001, received"):
        meta_learn(learner_of(), tasks, steps=1, lr=0.1, checkpoint=file)
    with pytest.raises(OrbitLensError, match="with other settings: expected tasks 'shift tasks"):
        meta_learn(learner_of(), tasks_1d(seed=1), steps=1, checkpoint=file)
    faster = MetaLearner(learner_of().network, inner_rate=5.0)
    with pytest.raises(OrbitLensError, match=r"with other settings: .*received .*inner_rate 5.0"):
        meta_learn(faster, tasks, steps=1, checkpoint=file)
    file.write_bytes(file.read_bytes()[:-8] + b"otherbit")
    with pytest.raises(DamageError, match="other numbers or another record; remove it"):
        meta_learn(learner_of(), tasks, steps=1, checkpoint=file)
    file.write_bytes(b"no checkpoint")
    with pytest.raises(DamageError, match="as it was written"):
        meta_learn(learner_of(), tasks, steps=1, checkpoint=file)


def test_support_and_query_beyond_the_examples_are_refused() -> None:
    message = r"`support` \+ `query`: expected at most the 20 examples of a task, received 2 \+ 19"
    with pytest.raises(OrbitLensError, match=message):
        meta_learn(learner_of(), tasks_1d(), support=2)


def test_fewer_tasks_than_a_step_takes_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="`n_tasks`: expected at most the 31 tasks, received"):
        meta_learn(learner_of(), tasks_1d(31))


class Overlapping:
    """A family whose queries hold the support."""

    identity = "overlapping"

    def draw(self, n_tasks: int, *, support: int, query: int, generator: Any) -> Episodes:
        drawn = episodes(n_tasks, support, query)
        return Episodes(drawn.query_x[:, 1:2], drawn.query_y[:, 1:2], drawn.query_x, drawn.query_y)


def test_queries_in_the_support_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="not in the support of their task, .* in 32 of 32"):
        meta_learn(learner_of(), Overlapping())


class Own:
    """A family of one's own, whose examples can be changed on their way out."""

    identity: object = "one's own"

    def __init__(self, change: Callable[[Episodes, int], Any] = lambda drawn, _: drawn) -> None:
        self.change, self.draws = change, 0

    def draw(
        self, n_tasks: int, *, support: int, query: int, generator: torch.Generator
    ) -> Episodes:
        self.draws += 1
        asked = {"support": support, "query": query, "generator": generator}
        return self.change(tasks_1d().draw(n_tasks, **asked), self.draws)


def test_a_family_of_ones_own_trains_as_held_tasks_do() -> None:
    own, held = learner_of(), learner_of()
    meta_learn(own, Own(), steps=3)
    meta_learn(held, tasks_1d(), steps=3)
    assert same(own, held)
    assert torch.equal(own.losses_on(Own(), 20), own.losses_on(tasks_1d(), 20))


def test_a_family_may_return_more_support_than_it_is_asked_for() -> None:
    def doubled(drawn: Episodes, _: int) -> Episodes:
        pair = [torch.cat([each, -each], 1) for each in drawn.parts[:2]]
        return Episodes(*pair, *drawn.parts[2:])

    assert len(meta_learn(learner_of(), Own(doubled), steps=2).losses) == 2


def swapped(drawn: Episodes, _: int) -> Episodes:
    return Episodes(*drawn.parts[2:], *drawn.parts[:2])


def fewer(drawn: Episodes, _: int) -> Episodes:
    return Episodes(*(each[:4] for each in drawn.parts))


def broken(drawn: Episodes, _: int) -> Episodes:
    return Episodes(*drawn.parts[:3], drawn.query_y * math.nan)


def only_from(first: int, change: Callable[[Episodes, int], Any]) -> Callable[[Episodes, int], Any]:
    """Change draws from this one on; the door makes the first two."""
    return lambda drawn, number: change(drawn, number) if number >= first else drawn


DRAWS = {
    "tuple": (lambda drawn, _: drawn.parts, "expected an object Episodes, received tuple; return"),
    "fewer": (fewer, "expected 32 tasks, .* received 4 tasks with 1 of support and 19 of query"),
    "swapped": (swapped, r"1 examples of support \(or more\) and 19 of query, received 32 tasks "
                "with 19 of support and 1 of query"),
    "broken": (broken, "`query_y`: expected finite numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("first", [1, 3, 4])
def test_draws_that_are_not_what_was_asked_for_are_refused(
    name: str, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    change, message = DRAWS[name]
    with pytest.raises(OrbitLensError, match=message):
        meta_learn(learner_of(), Own(only_from(first, change)), steps=2)
    if first == 1:
        with pytest.raises(OrbitLensError):
            learner_of().losses_on(Own(change), 32)


def test_draws_that_do_not_come_from_the_generator_are_refused() -> None:
    def by_number(drawn: Episodes, number: int) -> Episodes:
        return Episodes(*drawn.parts[:3], drawn.query_y + number)

    with pytest.raises(OrbitLensError, match="same seed, received other tasks; take every random"):
        meta_learn(learner_of(), Own(by_number))


def test_families_without_a_word_of_the_protocol_are_refused_by_that_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    nameless = type("Nameless", (), {"draw": Own.draw})()
    other = type("Other", (), {"identity": "other", "draw": lambda self, n, s, q, g: None})()
    for tasks, message in (
        (nameless, "`tasks`: expected an object TaskFamily, received Nameless without `identity`;"),
        (Own().draw, "received method without `identity` and `draw`; give data.HeldTasks, or an"),
        (Own, "received the class Own;"),
        (other, r"`draw` of Other: expected .*\(n_tasks, \*, support, .* argument: 's'; give it"),
    ):
        with pytest.raises(OrbitLensError, match=message):
            meta_learn(learner_of(), tasks)
        with pytest.raises(OrbitLensError, match=message):
            learner_of().losses_on(tasks)
    unreadable = Own()
    unreadable.identity = 3
    with pytest.raises(OrbitLensError, match="`tasks.identity`: expected"):
        meta_learn(learner_of(), unreadable, checkpoint=tmp_path / "new")


def test_a_checkpoint_of_other_data_under_the_same_identity_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "training.safetensors"
    meta_learn(learner_of(), Own(), steps=1, checkpoint=file)

    def larger(drawn: Episodes, _: int) -> Episodes:
        return Episodes(*drawn.parts[:3], 1.01 * drawn.query_y)

    def reordered(drawn: Episodes, _: int) -> Episodes:
        return Episodes(drawn.support_x, drawn.support_y.flip(2), *drawn.parts[2:])

    for change in (larger, reordered):
        with pytest.raises(OrbitLensError, match='of other tasks: .* the same, "one\'s own"; give'):
            meta_learn(learner_of(), Own(change), steps=2, checkpoint=file)

    def rounded(drawn: Episodes, _: int) -> Episodes:
        return Episodes(*(each * (1 + 2e-7) for each in drawn.parts))

    assert len(meta_learn(learner_of(), Own(rounded), steps=2, checkpoint=file).losses) == 2


def test_a_checkpoint_of_an_earlier_version_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no sketch of its first tasks."""
    file, whole, resumed = tmp_path / "training.safetensors", learner_of(), learner_of()
    meta_learn(whole, Own(), steps=4)
    write = MetaCheckpoint.write
    with monkeypatch.context() as patch:
        patch.setattr(
            MetaCheckpoint,
            "write",
            lambda self, tensors: write(
                self, {name: each for name, each in tensors.items() if name != "first draw"}
            ),
        )
        meta_learn(resumed, Own(), steps=2, checkpoint=file)
    meta_learn(resumed, Own(), steps=3, checkpoint=file)
    meta_learn(resumed, Own(), steps=4, checkpoint=file)
    assert same(resumed, whole)


def test_data_of_other_kinds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    x, y = torch.randn(4, 5, LENGTH), torch.randn(4, 5, PLACES)
    with pytest.raises(OrbitLensError, match="`y`: expected floating numbers, received int64"):
        HeldTasks("whole", x, torch.zeros(4, 5, PLACES, dtype=torch.int64))
    x[0, 0, 0] = math.nan
    with pytest.raises(OrbitLensError, match="`x`: expected finite numbers .* 1 NaN"):
        HeldTasks("broken", x, y)
    with pytest.raises(OrbitLensError, match="`tasks`: expected an object TaskFamily, received"):
        meta_learn(learner_of(), [x, y])  # type: ignore[arg-type]
    with pytest.raises(OrbitLensError, match="`learner`: expected an object MetaLearner"):
        meta_learn(nn.Linear(2, 2), tasks_1d())  # type: ignore[arg-type]


def test_inputs_that_do_not_fit_the_network_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    longer = shift_tasks(40, length=LENGTH + 1).tasks
    with pytest.raises(OrbitLensError, match=r"SharedLinear on inputs \[9\] with targets \[7\]"):
        meta_learn(learner_of(), longer)
    other = HeldTasks("wide", torch.randn(40, 20, LENGTH), torch.randn(40, 20, PLACES + 1))
    with pytest.raises(OrbitLensError, match=r"received predictions \[19, 6\] for targets"):
        meta_learn(learner_of(), other)
    with pytest.raises(OrbitLensError, match="prediction like the targets"):
        learner_of().adapt(torch.randn(1, LENGTH + 1), torch.randn(1, PLACES))


def test_networks_that_draw_random_numbers_are_refused_and_not_in_evaluation() -> None:
    network = nn.Sequential(nn.Dropout(), nn.Linear(LENGTH, PLACES))
    with pytest.raises(OrbitLensError, match="no random numbers.*evaluation mode"):
        meta_learn(MetaLearner(network), tasks_1d())
    meta_learn(MetaLearner(network.eval()), tasks_1d(), steps=1)


def test_nothing_to_adapt_is_refused() -> None:
    layer = SharedLinear(LENGTH, PLACES, k=2)
    layer.filter.requires_grad_(False)
    with pytest.raises(OrbitLensError, match="parameters that a task can adapt, received 1 shared"):
        MetaLearner(layer)


@pytest.mark.parametrize("rate", [0, -1, 101, math.nan])
def test_inner_rates_out_of_range_are_refused(rate: float) -> None:
    with pytest.raises(OrbitLensError, match="`inner_rate`: expected"):
        MetaLearner(nn.Linear(2, 2), inner_rate=rate)


def test_other_settings_out_of_range_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`inner_steps`: expected at least 1"):
        MetaLearner(nn.Linear(2, 2), inner_steps=0)
    with pytest.raises(OrbitLensError, match="`network`: expected an object Module"):
        MetaLearner(abs)  # type: ignore[arg-type]
    with pytest.raises(OrbitLensError, match="`lr`: expected above 0"):
        meta_learn(learner_of(), tasks_1d(), lr=0)
    with pytest.raises(OrbitLensError, match="`steps`: expected at least 1"):
        meta_learn(learner_of(), tasks_1d(), steps=0)
    with pytest.raises(OrbitLensError, match="`checkpoint_seconds`: expected 0 or more"):
        meta_learn(learner_of(), tasks_1d(), steps=1, checkpoint_seconds=-1)


def test_a_rate_that_would_become_negative_is_clipped_and_warned_of() -> None:
    """Targets that differ between support and query: the best rate is zero."""
    torch.manual_seed(0)
    x = torch.ones(40, 2, 1)
    x[:, 1] = 2
    y = torch.tensor([-1.0, 2]).repeat(40, 1)[..., None]
    tasks = HeldTasks("opposed", x, y)
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1)

    class InOrder:
        identity = "in order"

        def draw(self, n_tasks: int, **settings: Any) -> Episodes:
            return Episodes(
                tasks.x[:n_tasks, :1], tasks.y[:n_tasks, :1], tasks.x[:n_tasks, 1:],
                tasks.y[:n_tasks, 1:],
            )  # fmt: skip

    learner = MetaLearner(network, inner_rate=0.005)
    with pytest.warns(OrbitLensWarning, match="'weight': it has come to 0, so it does not adapt"):
        meta_learn(learner, InOrder(), steps=1, query=1, lr=1e-2)
    assert learner.inner_rates["weight"] == 0


def test_a_rate_that_would_explode_is_clipped_and_warned_of() -> None:
    learner = MetaLearner(learner_of().network, inner_rate=0.5, largest_rate=0.505)
    with pytest.warns(OrbitLensWarning, match="'filter': it has come to its upper bound"):
        meta_learn(learner, tasks_1d(), steps=30, lr=1e-2)
    assert learner.inner_rates["filter"] == pytest.approx(0.505)


def test_a_training_that_blows_up_keeps_its_weights_and_says_so() -> None:
    learner = MetaLearner(two_layers(), inner_rate=1e30, largest_rate=1e31, inner_steps=5)
    before = copy.deepcopy(learner)
    with pytest.warns(OrbitLensWarning, match="in step 1 a query loss or its gradient became NaN"):
        fit = meta_learn(learner, tasks_1d(), steps=3)
    assert (fit.status, fit.losses) == ("diverged", ())
    assert repr(fit) == "MetaFit(diverged, steps 0)"
    assert same(learner, before)
    x, y = (each[0] for each in episodes().parts[:2])
    with pytest.raises(OrbitLensError, match="finite numbers after the inner steps"):
        learner.adapt(x, y)


def test_a_u_that_has_collapsed_is_warned_of() -> None:
    learner = learner_of()
    layer = learner.network
    assert isinstance(layer, SharedLinear)
    layer.symmetry.data[:, 0] = 0
    layer.symmetry.data[:, 1] = layer.symmetry.data[:, 2]
    layer.symmetry.requires_grad_(False)
    with pytest.warns(OrbitLensWarning, match="1 of its columns are near zero, and its rank is 1"):
        meta_learn(learner, tasks_1d(), steps=1)
