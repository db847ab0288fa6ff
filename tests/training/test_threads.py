"""The number of threads changes no bit of a training, and is put back."""

import threading
from collections.abc import Callable

import pytest
import torch

from orbitlens import objectives
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.groups import cyclic
from orbitlens.kernels import matrix_product, multiply, spread, steady, team, team_size
from orbitlens.sae import SAE, archetypal_sae, batch_topk_sae, orbit_sae, topk_sae
from orbitlens.training import _threads as threads
from orbitlens.training import fit
from orbitlens.transport import fit_transport

GROUP = cyclic(4)
SMALL = 0.06  # GiB: less than the large store has, enough to read a part of it


def moved(n: int, dim: int) -> ActivationStore:
    """Return orbits that move by copies of the regular representation."""
    draw = torch.randn(n, dim // 4, 4, generator=torch.Generator().manual_seed(0))
    turns = [draw.roll(g, 2).flatten(1) for g in range(4)]
    return store_from_array(torch.stack(turns, 1), group=GROUP)


STORE, WIDE = moved(400, 64), moved(200, 1024)
RHO = fit_transport(STORE, "exact")
BUILDERS: dict[str, Callable[[int], SAE]] = {
    "linear": lambda seed: topk_sae(64, 1024, 8, seed=seed),
    "batch": lambda seed: batch_topk_sae(64, 1024, 8, seed=seed),
    "two layers": lambda seed: topk_sae(64, 1024, 8, hidden=512, seed=seed),
    "orbit": lambda seed: orbit_sae(64, 256, 8, RHO, seed=seed),
    "orbit of two layers": lambda seed: orbit_sae(64, 256, 8, RHO, hidden=256, seed=seed),
    "archetypal": lambda seed: archetypal_sae(STORE.orbits().flatten(0, 1), 512, 8, seed=seed),
}


@pytest.fixture(autouse=True)
def _threads_are_put_back() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def bits(make: Callable[[], list[SAE]], store: ActivationStore, **settings: object) -> list[bytes]:
    """Return the bits of SAEs after training with one, two and three threads."""
    found = []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        saes = make()
        results = fit(saes, store, epochs=2, objective=objectives.canonical, **settings)
        assert torch.get_num_threads() == number
        weights = [each for sae in saes for _, each in sorted(sae.state_dict().items())]
        figures = [[*result.history.loss, result.scale] for result in results]
        numbers = torch.tensor(figures, dtype=torch.float64)
        found.append(b"".join(each.numpy().tobytes() for each in [*weights, numbers]))
    return found


@pytest.mark.parametrize("kind", BUILDERS)
def test_the_number_of_threads_changes_no_bit(kind: str) -> None:
    one, *others = bits(lambda: [BUILDERS[kind](0)], STORE)
    assert all(each == one for each in others)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_nor_with_wide_activations_in_short_batches(precision: str) -> None:
    # A library splits the sums of this product among its threads.
    make = lambda: [topk_sae(1024, 2048, 16)]  # noqa: E731
    one, *others = bits(make, WIDE, batch_size=64, precision=precision)
    assert all(each == one for each in others)


@pytest.mark.parametrize("kind", ["linear", "orbit"])
def test_nor_for_a_list(kind: str) -> None:
    one, *others = bits(lambda: [BUILDERS[kind](seed) for seed in range(3)], STORE)
    assert all(each == one for each in others)


def test_nor_for_activations_that_are_streamed(large: ActivationStore) -> None:
    one, *others = bits(
        lambda: [topk_sae(64, 512, 4)], large, memory_gib=SMALL, batch_size=4096, lr=1e-3
    )
    assert all(each == one for each in others)


def test_threads_are_put_back_however_a_training_ends() -> None:
    torch.set_num_threads(2)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(BUILDERS["linear"](0), STORE, epochs=1, progress=stop)
    assert torch.get_num_threads() == 2


def test_a_small_step_takes_the_number_of_threads_that_is_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(threads.time, "perf_counter", lambda: now)
    with steady(), team(8):
        chosen = threads.StepThreads(multiplications=1000)

    def steps(count: int, seconds: dict[int, float]) -> list[int]:
        nonlocal now
        sizes = []
        for _ in range(count):
            with chosen.step():
                sizes.append(team_size())
                now += seconds[sizes[-1]]
        return sizes

    # The first step prepares; one that is clearly slower is not tried again.
    assert steps(5, {1: 0.001, 8: 0.1}) == [8, 1, 8, 1, 1]
    now += 100
    assert steps(10, {1: 0.001, 8: 0.0008}) == [1, 8] * 3 + [8] * 4
    now += 100
    assert steps(10, {1: 0.001, 8: 0.00098}) == [1, 8] * 3 + [1] * 4


def test_a_large_step_always_gets_all_threads() -> None:
    with steady(), team(8):
        chosen = threads.StepThreads(multiplications=2**40)
    for _ in range(4):
        with chosen.step():
            assert team_size() == 8


@pytest.mark.parametrize("shape", [(1, 3000, 50, 40), (1, 40, 50, 3000), (3, 700, 40, 600)])
def test_a_product_in_pieces_is_the_product(shape: tuple[int, int, int, int]) -> None:
    members, rows, inner, columns = shape
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(members, rows, inner, generator=generator)
    right = torch.randn(members, columns, inner, generator=generator).mT
    bias = torch.randn(members, columns, generator=generator)
    expected = left.double() @ right.double()
    out = torch.empty(members, rows, columns)
    with steady(), team(2):
        multiply(left, right, out)
        torch.testing.assert_close(out.double(), expected, atol=1e-4, rtol=1e-5)
        multiply(left, right, out, plus=out)
        torch.testing.assert_close(out.double(), 2 * expected, atol=1e-4, rtol=1e-5)
        multiply(left, right, out, plus=bias[:, None])
    expected = expected + bias[:, None]
    torch.testing.assert_close(out.double(), expected, atol=1e-4, rtol=1e-5)


def test_a_shared_product_has_the_gradients_of_the_product() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((600, 100), (100, 700), (700,))
    found = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    exact = [each.detach().double().requires_grad_() for each in found]
    weights = torch.randn(600, 700, generator=generator)
    with steady(), team(2):
        (matrix_product(*found) * weights).sum().backward()
    (torch.addmm(exact[2], exact[0], exact[1]) * weights).sum().backward()
    for each, other in zip(found, exact, strict=True):
        assert each.grad is not None
        torch.testing.assert_close(each.grad.double(), other.grad, atol=1e-3, rtol=1e-4)


def test_an_error_in_a_piece_is_raised() -> None:
    left, right = torch.ones(1, 3000, 50), torch.ones(1, 50, 3000).double()
    with steady(), team(2), pytest.raises(RuntimeError, match="dtype"):
        multiply(left, right, torch.empty(1, 3000, 3000))


def test_another_thread_keeps_its_threads() -> None:
    seen = []
    torch.set_num_threads(2)
    with steady(), spread():
        assert torch.get_num_threads() == 2
        other = threading.Thread(target=lambda: seen.append(team_size()))
        other.start()
        other.join()
    assert seen == [2]
