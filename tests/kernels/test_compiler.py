"""Compiling the loops of a step for this machine, and doing without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from orbitlens.kernels import _compiler as compiled
from orbitlens.kernels import _cpu as cpu
from orbitlens.kernels._choice import kernels_on

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(
    not cpu.available(), reason="no C compiler, or torch's threads are out of reach"
)


@pytest.fixture(autouse=True)
def _anew(monkeypatch, tmp_path: Path):
    """A cache folder of its own, and nothing known of what was compiled before."""
    monkeypatch.setenv("ORBITLENS_CACHE", str(tmp_path / "cache"))
    known = (compiled._library, compiled.runtime, kernels_on)
    for function in known:
        function.cache_clear()
    yield
    for function in known:
        function.cache_clear()


def test_a_kernel_is_compiled_once_and_found_again(monkeypatch, tmp_path: Path) -> None:
    assert kernels_on(CPU) is cpu
    (made,) = (tmp_path / "cache").iterdir()
    assert made.name.startswith("kernels-")
    compiled._library.cache_clear()
    monkeypatch.setattr(compiled, "_compile", lambda made: pytest.fail("compiled again"))
    at = (torch.tensor([0, 1]), torch.tensor([1]))
    sums = cpu.weighted_sums(*at, torch.tensor([3.0]), torch.eye(2))
    assert sums.tolist() == [[0.0, 3.0]]


@pytest.mark.parametrize("size", [0, 1000, -1], ids=["empty", "truncated", "one byte short"])
def test_a_damaged_file_in_the_cache_is_made_anew(size: int, tmp_path: Path) -> None:
    compiled._library()
    compiled._library.cache_clear()
    (made,) = (tmp_path / "cache").iterdir()
    whole = made.read_bytes()
    made.unlink()  # this process has it mapped
    made.write_bytes(whole[:size])
    assert kernels_on(CPU) is cpu
    assert made.read_bytes() == whole


def test_another_source_or_machine_is_another_file(monkeypatch) -> None:
    before = compiled._place()
    monkeypatch.setattr(compiled, "_FLAGS", (*compiled._FLAGS, "-g"))
    assert compiled._place() != before


def test_without_a_compiler_everything_stays_with_torch(monkeypatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert kernels_on(CPU) is None


def test_without_torchs_threads_everything_stays_with_torch(monkeypatch) -> None:
    monkeypatch.setattr(compiled, "runtime", lambda: None)
    assert kernels_on(CPU) is None


def test_a_compiler_that_fails_is_told_in_one_line_and_leaves_nothing(
    monkeypatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'cc: cannot\nhelp' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.warns(RuntimeWarning, match="C compiler is not used on cpu: cc: cannot help$"):
        assert kernels_on(CPU) is None
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_folder_that_cannot_be_made_is_done_without(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ORBITLENS_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert kernels_on(CPU) is cpu


def test_two_processes_that_compile_at_once_both_succeed(tmp_path: Path) -> None:
    program = (
        "import torch; from orbitlens.kernels._choice import kernels_on;"
        "print(kernels_on(torch.device('cpu')).__name__)"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, "ORBITLENS_CACHE": str(tmp_path / "shared")},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in running:
        told, _ = process.communicate()
        assert told.strip() == "orbitlens.kernels._cpu"
    assert len(list((tmp_path / "shared").iterdir())) == 1


def test_denormal_numbers_are_left_to_everybody_else() -> None:
    # -ffast-math would flush them to zero in the whole process.
    assert kernels_on(CPU) is cpu
    assert (torch.full((64,), 1e-40) * 1.0 != 0).all()


SANITIZED = """
import torch
from orbitlens.kernels._cpu import above, entry_products, keep_largest, weighted_sums

def random(*sizes, like):
    made = torch.randn(*sizes)
    kinds = (made, made.round(), made * torch.nan, made * torch.inf)
    return (*kinds, torch.where(made > 1, torch.nan, made))[like]

def below(most):
    return int(torch.randint(most, ()))

torch.manual_seed(0)
for trial in range(300):
    rows, k, like, first = 1 + below(5), 1 + below(8), trial % 5, 0
    values, places = torch.empty(rows, k), torch.empty(rows, k, dtype=torch.long)
    for width in (64 * k + below(50), 1, 17, 40):
        block = random(rows, width, like=like).to((torch.float32, torch.bfloat16)[trial % 2])
        keep_largest(block, torch.zeros(1, width), values, places, first=first)
        above(block, torch.zeros(width), 0.1)
        first += width
        assert (places >= 0).all() and (places < first).all()
    dim, counts = 1 + below(70), torch.randint(11, (rows,))
    starts = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    columns, right = torch.randint(7, (int(counts.sum()),)), random(7, dim, like=like)
    weighted_sums(starts, columns, random(len(columns), like=like), right)
    entry_products(starts, columns, random(rows, dim, like=like), right)
"""


def test_no_kernel_reads_or_writes_beyond_its_arguments(monkeypatch, tmp_path: Path) -> None:
    compiler = compiled.compiler()
    assert compiler is not None
    told = [
        subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True)
        for name in ("libasan.so", "libubsan.so")
    ]
    sanitizers = [Path(each.stdout.strip()) for each in told]
    if not all(path.is_absolute() and path.exists() for path in sanitizers):
        pytest.skip("the compiler has no sanitizers")
    flags = (*compiled._FLAGS, "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    made = compiled._place()
    made.parent.mkdir()
    monkeypatch.setattr(compiled, "_FLAGS", flags)
    compiled._compile(made)
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(map(str, sanitizers)),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", SANITIZED], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
