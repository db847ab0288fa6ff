"""What all tests share, those of docstrings too."""

import signal

import hypothesis
import pytest
import torch

# One thread each, so that two workers do not fight over two cores.
torch.set_num_threads(1)

# `nohup` and a shell's `&` ignore signals that tests send to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A slow moment of a shared machine is no failure, and the same commit fails or passes every time.
hypothesis.settings.register_profile(
    "orbitlens",
    deadline=None,
    derandomize=True,
    # The suite has to end within minutes; tests of cheap functions may ask for more.
    max_examples=30,
)
hypothesis.settings.load_profile("orbitlens")


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Draw the constants of each file alike, whichever files were imported before."""
    del collector
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names that differ from process to process: two workers must collect the same tests."""
    if named := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"give `ids` without addresses in memory to {named[0]}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Draw the same numbers in every run, whichever tests come before."""
    del item
    torch.manual_seed(0)
