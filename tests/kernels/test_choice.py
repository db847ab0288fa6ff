"""Kernels for products with a sparse matrix, held against the dense matrix in float64.

Triton's on a GPU or in its interpreter (`make test-triton`), otherwise the compiled ones.
"""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitlens.kernels import _choice as choice
from orbitlens.kernels import _cpu as cpu
from orbitlens.kernels import _gpu as gpu
from orbitlens.kernels import _products as products
from orbitlens.kernels import search
from orbitlens.kernels._choice import kernels_for, kernels_on
from orbitlens.kernels._gpu import PIECE
from orbitlens.kernels._pattern import Pattern
from orbitlens.sae import (
    batch_topk_sae,
    topk_sae,
)
from orbitlens.training import _encode as encode
from orbitlens.training._encode import sparse_codes
from orbitlens.training._stack import stack_saes
from orbitlens.typing import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
TRITON = INTERPRETED or torch.cuda.is_available()
KERNELS = gpu if TRITON else cpu
pytestmark = pytest.mark.skipif(not KERNELS.available(), reason="what the kernels need is not here")
DEVICE = torch.device("cuda" if TRITON and not INTERPRETED else "cpu")
# Of float32 sums of a few hundred numbers, and of inputs that were rounded to the type before.
TOLERANCE = {
    torch.float32: {"rtol": 1e-5, "atol": 1e-4},
    torch.bfloat16: {"rtol": 1e-2, "atol": 1e-2},
}
DTYPES = sorted(TOLERANCE, key=str) if TRITON else [torch.float32]
LENGTHS = st.sampled_from([0, 0, 1, 2, 15, 16, 17, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5])


def pattern_of(lengths: list[int], width: int, seed: int) -> Pattern:
    generator = torch.Generator().manual_seed(seed)
    starts = torch.tensor([0, *lengths]).cumsum(0)
    columns = torch.randint(width, (sum(lengths),), generator=generator)
    return Pattern(starts.to(DEVICE), columns.to(DEVICE), width)


def place(pattern: Pattern) -> tuple[Tensor, Tensor]:
    return pattern.starts, pattern.columns


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    numbers = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return numbers.to(DEVICE, dtype)


def dense(pattern: Pattern, values: Tensor) -> Tensor:
    matrix = torch.zeros(pattern.height, pattern.width, dtype=torch.float64, device=DEVICE)
    return matrix.index_put_((pattern.rows, pattern.columns), values.double(), accumulate=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@settings(max_examples=12)
@given(
    lengths=st.lists(LENGTHS, min_size=1, max_size=6),
    width=st.integers(1, 9),
    dim=st.sampled_from([1, 2, 3, 16, 31, 127, 128, 130, 260]),
    seed=st.integers(0, 999),
)
def test_the_products_are_those_with_the_dense_matrix(
    dtype: torch.dtype, lengths: list[int], width: int, dim: int, seed: int
) -> None:
    pattern = pattern_of(lengths, width, seed)
    values = random(len(pattern.columns), seed=seed + 1)
    left = random(pattern.height, dim, seed=seed + 2, dtype=dtype)
    right = random(width, dim, seed=seed + 3, dtype=dtype)
    matrix = dense(pattern, values)
    # Columns, few and of long rows, are longer than a piece as well.
    transposed = pattern.transposed
    received = (
        KERNELS.weighted_sums(*place(pattern), values, right),
        KERNELS.weighted_sums(*place(transposed), values[pattern.across[0]], left),
        KERNELS.entry_products(*place(pattern), left, right),
    )
    expected = (
        matrix @ right.double(),
        matrix.T @ left.double(),
        (left.double() @ right.double().T)[pattern.rows, pattern.columns],
    )
    for own, value in zip(received, expected, strict=True):
        assert own.dtype == dtype
        torch.testing.assert_close(own.double(), value, **TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_vectors_that_lie_across_memory_are_taken_as_they_read(dtype: torch.dtype) -> None:
    pattern = pattern_of([3, 0, 20], 4, 0)
    values = random(23, 2, seed=1)[:, 0]
    left, right = random(5, 3, seed=2, dtype=dtype).mT, random(5, 4, seed=3, dtype=dtype).mT
    for own, lying in (
        (
            KERNELS.weighted_sums(*place(pattern), values, right),
            KERNELS.weighted_sums(*place(pattern), values.clone(), right.contiguous()),
        ),
        (
            KERNELS.entry_products(*place(pattern), left, right),
            KERNELS.entry_products(*place(pattern), left.contiguous(), right.contiguous()),
        ),
    ):
        assert torch.equal(own, lying)


def test_a_row_has_the_same_bits_wherever_it_is() -> None:
    values, vectors = random(2 * PIECE + 7, seed=0), random(9, 40, seed=1)
    columns = torch.arange(len(values), device=DEVICE) % 9
    ends = torch.tensor([0, 0, len(values), len(values)], device=DEVICE)
    alone = KERNELS.weighted_sums(ends[1:3], columns, values, vectors)
    twice = torch.cat([ends, ends[2:] + len(values)])
    among = KERNELS.weighted_sums(twice, columns.repeat(2), values.repeat(2), vectors)
    assert torch.equal(among[1], alone[0])
    assert torch.equal(among[3], alone[0])
    assert not among[[0, 2, 4]].any()


def test_no_entries_at_all() -> None:
    pattern, none = pattern_of([0, 0], 3, 0), random(0, seed=0)
    assert not KERNELS.weighted_sums(*place(pattern), none, random(3, 5, seed=1)).any()
    products = KERNELS.entry_products(*place(pattern), random(2, 5, seed=2), random(3, 5, seed=1))
    assert products.shape == (0,)


def test_sums_of_columns_by_kernels_are_those_by_torch(monkeypatch) -> None:
    pattern = pattern_of([4, 0, 600], 3, 0)
    values = random(604, seed=1)
    expected = dense(pattern, values).sum(0)
    monkeypatch.setattr(products, "kernels_for", lambda *_: KERNELS)
    received = products.column_sums(pattern, values)
    torch.testing.assert_close(received.double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("hidden", [None, 6])
@pytest.mark.parametrize("latents", [40, 450])  # with 450 the search is compiled as well
@pytest.mark.parametrize("build", [topk_sae, batch_topk_sae])
def test_a_step_by_kernels_is_that_by_torch(build, latents, hidden, monkeypatch) -> None:
    # Several blocks of samples and of latents.
    for name, size in {"_BLOCK": 2**12, "_WIDEST": 256, "_FEWEST_ROWS": 4}.items():
        monkeypatch.setattr(encode, name, size)
    y = random(2, 20, 5, seed=0)
    dead = (torch.arange(latents, device=DEVICE) % 2 == 0).expand(2, -1)
    results = []
    for kernels in (None, KERNELS):
        for module in (products, search):
            monkeypatch.setattr(module, "kernels_for", lambda *_, own=kernels: own)
        saes = [build(5, latents, 3, hidden=hidden, seed=seed) for seed in range(2)]
        sae = stack_saes(saes).to(DEVICE)
        codes, reviving = sparse_codes(sae, y, dead=dead)
        x_hat, revived = sae.dictionary.sums(codes, reviving)
        losses = (x_hat - y).square() + revived.square()
        losses.sum().backward()
        gradients = [weights.grad for weights in sae.parameters() if weights.grad is not None]
        results.append([losses.detach(), codes.fired(), *gradients])
    for by_torch, by_kernels in zip(*results, strict=True):
        torch.testing.assert_close(by_kernels, by_torch, rtol=1e-4, atol=1e-4)


def test_a_compiled_search_in_bfloat16_finds_what_is_nearly_largest(monkeypatch) -> None:
    for module in (products, search):
        monkeypatch.setattr(module, "kernels_for", lambda *_: KERNELS)
    sae, y = topk_sae(32, 450, 3, seed=1).to(DEVICE), random(20, 32, seed=0)
    sae.encoder.b_enc.data.normal_()
    codes = sparse_codes(stack_saes([sae]), y[None], half=True)[0].dense()[0].double()
    exact = sae.double().encoder(y.double())
    least = exact.topk(3).values[:, 2:]
    torch.testing.assert_close(codes, torch.where(codes > 0, exact, 0.0), rtol=1e-5, atol=1e-5)
    assert (codes.count_nonzero(dim=1) == 3).all()
    assert (torch.where(codes > 0, codes, torch.inf) > 0.97 * least).all()


def test_the_example_has_a_row_of_three_pieces() -> None:
    assert 2 * PIECE < choice._LONG <= 3 * PIECE


@pytest.mark.skipif(INTERPRETED, reason="Triton's are for a GPU")
class TestKernelsOn:
    @pytest.fixture(autouse=True)
    def _ask_anew(self):
        kernels_on.cache_clear()
        yield
        kernels_on.cache_clear()

    def test_kernels_that_work_are_taken(self) -> None:
        assert kernels_on(DEVICE) is KERNELS

    def test_kernels_that_do_not_compile_are_left_with_a_warning(self, monkeypatch) -> None:
        def fail(*_) -> None:
            raise RuntimeError("no C compiler\nwas found")

        monkeypatch.setattr(KERNELS, "entry_products", fail)
        with pytest.warns(RuntimeWarning, match="not used on .*: no C compiler was found"):
            assert kernels_on(DEVICE) is None

    def test_kernels_that_are_wrong_are_left_with_a_warning(self, monkeypatch) -> None:
        right = KERNELS.weighted_sums
        monkeypatch.setattr(KERNELS, "weighted_sums", lambda *of: right(*of) + 1)
        with pytest.warns(RuntimeWarning, match="its sums are wrong"):
            assert kernels_on(DEVICE) is None

    def test_without_what_they_need_everything_stays_with_torch(self, monkeypatch) -> None:
        monkeypatch.setattr(KERNELS, "available", lambda: False)
        assert kernels_on(DEVICE) is None


@pytest.mark.skipif(TRITON, reason="kernels for a GPU take everything")
def test_kernels_for_a_cpu_take_float32_that_is_worth_it() -> None:
    assert kernels_for(torch.zeros(1), 2**16) is KERNELS
    assert kernels_for(torch.zeros(1), 2**16 - 1) is None
    assert kernels_for(torch.zeros(1, dtype=torch.float64), 2**16) is None
    assert kernels_for(torch.zeros(1, device="meta"), 2**16) is None


@pytest.mark.skipif(TRITON, reason="of compiled kernels")
def test_any_number_of_threads_gives_the_same_bits() -> None:
    pattern = pattern_of([3, 0, 20, 7, 1], 4, 0)
    values, left, right = random(31, seed=1), random(5, 30, seed=2), random(4, 30, seed=3)
    results, threads = [], torch.get_num_threads()
    for count in (1, 2, 3, 8):
        torch.set_num_threads(count)
        try:
            sums = KERNELS.weighted_sums(*place(pattern), values, right)
            results.append(
                torch.cat([sums.flatten(), KERNELS.entry_products(*place(pattern), left, right)])
            )
        finally:
            torch.set_num_threads(threads)
    assert all(torch.equal(results[0], others) for others in results[1:])


COMPILE = """
import re
import sys
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from orbitlens.kernels import _gpu as gpu

sizes = {"PIECE": 256, "ENTRIES": 16, "WIDTH": 128}
types = dict.fromkeys(("dim", "height", "entries"), "i32")
types |= dict.fromkeys(("starts", "columns", "rows", "owners", "firsts"), "*i64")
types |= dict.fromkeys(("values", "sums", "further", "products"), "*fp32")
types |= dict.fromkeys(("vectors", "left", "right"), sys.argv[1])
types |= dict.fromkeys(sizes, "constexpr")
for name in ("_first_pieces", "_further_pieces", "_add_further", "_entry_products"):
    kernel = getattr(gpu, name)
    signature = {argument: types[argument] for argument in kernel.arg_names}
    constants = {argument: sizes[argument] for argument in signature if argument in sizes}
    made = compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 80, 32))
    atomics = re.findall(r"\\b(?:atom|red)[.]", made.asm["ptx"])
    print(name, len(made.asm["cubin"]) > 0, len(atomics))
"""


@pytest.mark.skipif(not TRITON, reason="of Triton's kernels: make test-triton")
@pytest.mark.parametrize("vectors", ["*fp32", "*bf16"])
def test_every_kernel_compiles_for_a_gpu_and_adds_up_without_atomics(vectors: str) -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    program = [sys.executable, "-c", COMPILE, vectors]
    made = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    kernels = ("_first_pieces", "_further_pieces", "_add_further", "_entry_products")
    assert made.stdout.splitlines() == [f"{name} True 0" for name in kernels]
