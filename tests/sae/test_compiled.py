"""Compiling the loops of a step for this machine, and doing without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from orbitlens.sae import compiled, sparse_compiled
from orbitlens.sae.sparse_kernels import kernels_on
from orbitlens.sae.sparse_pattern import Pattern

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(
    not sparse_compiled.available(), reason="no C compiler, or torch's threads are out of reach"
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
    assert kernels_on(CPU) is sparse_compiled
    (made,) = (tmp_path / "cache").iterdir()
    assert made.name.startswith("kernels-")
    compiled._library.cache_clear()
    monkeypatch.setattr(compiled, "_compile", lambda made: pytest.fail("compiled again"))
    pattern = Pattern(torch.tensor([0, 1]), torch.tensor([1]), 2)
    sums = sparse_compiled.weighted_sums(pattern, torch.tensor([3.0]), torch.eye(2))
    assert sums.tolist() == [[0.0, 3.0]]


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
    assert kernels_on(CPU) is sparse_compiled


def test_two_processes_that_compile_at_once_both_succeed(tmp_path: Path) -> None:
    program = (
        "import torch; from orbitlens.sae.sparse_kernels import kernels_on;"
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
        assert told.strip() == "orbitlens.sae.sparse_compiled"
    assert len(list((tmp_path / "shared").iterdir())) == 1


def test_denormal_numbers_are_left_to_everybody_else() -> None:
    # -ffast-math would flush them to zero in the whole process.
    assert kernels_on(CPU) is sparse_compiled
    assert (torch.full((64,), 1e-40) * 1.0 != 0).all()
