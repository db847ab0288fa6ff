"""Linear tasks: what they share, what differs between them, and how they are drawn."""

import jaxtyping
import pytest
import torch
from torch.nn.functional import conv1d, conv2d

from orbitlens.data import Episodes, HeldTasks, TaskFamily, TurnedFields, shift_tasks
from orbitlens.errors import OrbitLensError


def fitted(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The weights of a task, from more examples than inputs."""
    return torch.linalg.lstsq(x.double(), y.double()).solution.T


def test_tasks_of_rank_one_are_convolutions() -> None:
    tasks = shift_tasks(3, length=12, examples=20).tasks
    for x, y in zip(tasks.x, tasks.y, strict=True):
        weights = fitted(x, y)
        taps = weights[0, :3].float()
        expected = conv1d(x[:, None], taps[None, None])[:, 0]
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_weights_lie_in_the_space_that_is_told(rank: int) -> None:
    drawn = shift_tasks(4, rank=rank, length=12)
    assert drawn.basis is not None
    assert drawn.basis.shape == (10 * 12, 3 * rank)
    space = torch.linalg.qr(drawn.basis.double())[0]
    for x, y in zip(drawn.tasks.x, drawn.tasks.y, strict=True):
        weights = fitted(x, y).flatten()
        torch.testing.assert_close(space @ (space.T @ weights), weights, rtol=0, atol=1e-4)


def test_mixtures_of_filters_are_shared_by_all_tasks_and_sum_to_one() -> None:
    basis = shift_tasks(1, rank=5, length=12).basis
    assert basis is not None
    mixing = basis.view(10, 12, 5, 3).sum(1)[..., 0]
    torch.testing.assert_close(mixing.sum(1), torch.ones(10))
    assert mixing.std(0).min() > 0.05


@pytest.mark.parametrize(("rank", "expected"), [(1, 3.0), (2, 1.9), (5, 1.0), (None, 3.0)])
def test_the_error_of_zero_is_that_of_the_source(rank: int | None, expected: float) -> None:
    tasks = shift_tasks(2000, rank=rank, examples=4, seed=3).tasks
    assert tasks.y.square().mean().item() == pytest.approx(expected, rel=0.12)


def test_tasks_that_share_nothing_have_no_space_in_common() -> None:
    drawn = shift_tasks(3, rank=None, length=12)
    assert drawn.basis is None
    weights = torch.stack(
        [fitted(x, y) for x, y in zip(drawn.tasks.x, drawn.tasks.y, strict=True)]
    ).flatten(1)
    unit = weights / weights.norm(dim=1, keepdim=True)
    assert (unit @ unit.T - torch.eye(3)).abs().max() < 0.4


@pytest.mark.parametrize("flips", [False, True])
def test_fields_are_convolutions_with_turned_filters(flips: bool) -> None:
    tasks = TurnedFields(fields=2, side=7, flips=flips)
    order = 16 if flips else 8
    generator = torch.Generator().manual_seed(0)
    drawn = tasks.draw(2, support=8, query=8, generator=generator)
    patches = drawn.query_x[:, :, 0].unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2).flatten(1, 3)
    for task in range(2):
        kernels = fitted(patches[task], drawn.query_y[task].movedim(1, -1).flatten(0, 2)).float()
        expected = conv2d(drawn.query_x[task], kernels.view(-1, 1, 3, 3))
        torch.testing.assert_close(drawn.query_y[task], expected, rtol=1e-4, atol=1e-4)
        for field in kernels.unflatten(0, (2, order)):
            turned = torch.einsum("gij,j->gi", tasks.taps.matrices.float(), field[0])
            torch.testing.assert_close(field, turned, rtol=1e-3, atol=1e-4)


def test_a_quarter_turn_of_taps_is_that_of_an_image() -> None:
    taps = TurnedFields(flips=True).taps
    kernel = torch.arange(9.0, dtype=torch.float64)
    names = taps.group.element_names
    # Two steps of 45 degrees along the ring turn clockwise.
    quarter = taps.matrices[taps.group.multiply(1, 1)] @ kernel
    assert torch.equal(quarter.view(3, 3), kernel.view(3, 3).rot90(-1))
    flip = taps.matrices[names.index("s")] @ kernel
    assert torch.equal(flip.view(3, 3), kernel.view(3, 3).flip(1))


def test_channels_move_as_the_taps_do() -> None:
    tasks = TurnedFields(fields=2, side=3)
    generator = torch.Generator().manual_seed(0)
    drawn = tasks.draw(1, support=10, query=10, generator=generator)
    kernels = fitted(drawn.query_x[0].flatten(1), drawn.query_y[0].flatten(1))
    for moved, channels in zip(tasks.taps.matrices, tasks.channels.matrices, strict=True):
        torch.testing.assert_close(kernels @ moved, channels @ kernels, rtol=0, atol=1e-4)


def test_both_kinds_are_families() -> None:
    for family in (shift_tasks(2, length=5).tasks, TurnedFields()):
        assert isinstance(family, TaskFamily)


def test_support_and_query_have_no_example_in_common() -> None:
    x = torch.arange(40.0).view(4, 10, 1)
    drawn = HeldTasks("numbers", x, 2 * x).draw(
        4, support=3, query=7, generator=torch.Generator().manual_seed(0)
    )
    together = torch.cat([drawn.support_x, drawn.query_x], 1).flatten(1)
    assert {tuple(row.sort().values.tolist()) for row in together} == {
        tuple(range(10 * task, 10 * task + 10)) for task in range(4)
    }
    assert torch.equal(drawn.query_y, 2 * drawn.query_x)
    drawn.check()


def test_the_same_seed_gives_the_same_tasks_and_draws() -> None:
    first, again, other = (shift_tasks(5, length=6, seed=seed).tasks for seed in (0, 0, 1))
    assert first.identity == again.identity != other.identity
    for family in (first, TurnedFields(side=4)):
        pair = [
            family.draw(3, support=1, query=2, generator=torch.Generator().manual_seed(4))
            for _ in range(2)
        ]
        assert all(map(torch.equal, pair[0].parts, pair[1].parts))


def test_a_split_keeps_every_task_once() -> None:
    tasks = shift_tasks(10, length=6).tasks
    train, test = tasks.split()
    assert (train.n_tasks, test.n_tasks) == (8, 2)
    assert torch.equal(torch.cat([train.x, test.x]), tasks.x)
    for share in (0, 1, 1.5):
        with pytest.raises(OrbitLensError, match="`share`: expected a number between 0 and 1"):
            tasks.split(share)


def test_draws_beyond_what_there_is_are_refused() -> None:
    tasks, generator = shift_tasks(5, length=6).tasks, torch.Generator()
    with pytest.raises(OrbitLensError, match="`n_tasks`: expected at most the 5 tasks, received 6"):
        tasks.draw(6, support=1, query=1, generator=generator)
    with pytest.raises(OrbitLensError, match=r"at most the 20 examples .* received 5 \+ 16"):
        tasks.draw(5, support=5, query=16, generator=generator)
    with pytest.raises(OrbitLensError, match="`support`: expected at least 1, received 0"):
        tasks.draw(5, support=0, query=1, generator=generator)


def test_episodes_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    x, y = torch.randn(3, 4, 2), torch.randn(3, 4, 1)
    with pytest.raises(OrbitLensError, match="episodes: expected support and query of the same"):
        Episodes(x[:2], y, x, y)
    with pytest.raises(OrbitLensError, match="episodes: expected support and query of the same"):
        Episodes(x, y[:, :2], x, y)
    with pytest.raises(OrbitLensError, match="not in the support of their task, .* 3 of 3 tasks"):
        Episodes(x[:, :1], y[:, :1], x, y).check()
    with pytest.raises(OrbitLensError, match="`query_y`: expected floating numbers"):
        Episodes(x[:, :1], y[:, :1], x[:, 1:], y[:, 1:].long()).check()
    broken = y.clone()
    broken[0, 3] = torch.inf
    with pytest.raises(OrbitLensError, match="`query_y`: expected finite numbers"):
        Episodes(x[:, :1], y[:, :1], x[:, 1:], broken[:, 1:]).check()
    with pytest.raises(OrbitLensError, match="`support_x`: expected numbers: a tensor, an array"):
        Episodes("x", y, x, y)  # type: ignore[arg-type]
    with pytest.raises(OrbitLensError, match="`x` and `y`: expected inputs"):
        HeldTasks("pair", x, y[:2])


def test_arrays_become_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    x, y = torch.randn(3, 4, 2), torch.randn(3, 4, 1)
    parts = [x[:, :1], y[:, :1], x[:, 1:], y[:, 1:]]
    found = Episodes(*(each.numpy() for each in parts))  # type: ignore[arg-type]
    assert all(map(torch.equal, found.parts, parts))
    found.check()


def test_settings_out_of_range_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`width`: expected from 1 to 5, received 6"):
        shift_tasks(3, length=5, width=6)
    with pytest.raises(OrbitLensError, match="`rank`: expected at least 1, received 0"):
        shift_tasks(3, rank=0)
    with pytest.raises(OrbitLensError, match="`side`: expected at least 3 pixels"):
        TurnedFields(side=2)
    with pytest.raises(OrbitLensError, match="`fields`: expected at least 1"):
        TurnedFields(fields=0)
