"""The training loop: epochs, batches and steps, from the start or from a checkpoint."""

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np

from orbitlens.training._checkpoint import Checkpoint
from orbitlens.training._settings import FitSettings
from orbitlens.training._steps import StackTraining, under
from orbitlens.typing import Tensor


def train(
    stacks: Sequence[StackTraining],
    settings: FitSettings,
    batches: int,
    checkpoint: Checkpoint | None,
) -> None:
    """Train stacks side by side, so many batches in an epoch, in place.

    It starts from the checkpoint if there is one, and writes it before a signal stops the process.
    """
    earlier = None if checkpoint is None else checkpoint.read()
    state, place = earlier or (None, {"epoch": 0, "batch": 0})
    first = place["batch"]
    with nullcontext() if checkpoint is None else checkpoint.listening():
        for epoch in range(place["epoch"], settings["epochs"]):
            _start_epoch(stacks, settings, epoch, state)
            state = None
            for number in range(first, batches):
                for stack in stacks:
                    stack.step(number, settings["revival_weight"])
                if checkpoint is not None and checkpoint.due:
                    checkpoint.write(_state(stacks), {"epoch": epoch, "batch": number + 1})
                    checkpoint.stop_after_signal()
            first = 0
            if _end_epoch(stacks, settings, epoch):
                break
        if state is not None:  # of a training that was complete
            _restore(stacks, state)
        elif checkpoint is not None:
            checkpoint.write(_state(stacks), {"epoch": settings["epochs"], "batch": 0})
            checkpoint.stop_after_signal()


def _start_epoch(
    stacks: Sequence[StackTraining],
    settings: FitSettings,
    epoch: int,
    state: dict[str, Tensor] | None,
) -> None:
    """Start an epoch, or continue the one in which the checkpoint was written."""
    for index, stack in enumerate(stacks):
        if state is not None:
            stack.restore_before(under(f"{index}.", state))
        stack.start_epoch(epoch, settings["dead_after"], learning_rate(settings, epoch))
        if state is not None:
            stack.restore(under(f"{index}.", state))


def learning_rate(settings: FitSettings, epoch: int) -> float:
    """Return the learning rate of an epoch; epochs count from 0."""
    epochs = settings["epochs"]
    falling = settings["lr_decay"] * epochs
    left = min(1.0, (epochs - epoch) / (falling + 1)) if falling else 1.0
    return settings["lr"] * left


def _end_epoch(stacks: Sequence[StackTraining], settings: FitSettings, epoch: int) -> bool:
    """Write the histories and report progress; return whether all members diverged."""
    for stack in stacks:
        stack.end_epoch()
    members = [member for stack in stacks for member in stack.members]
    progress = settings["progress"]
    if progress is not None:
        mean = float(np.mean([member.history.loss[-1] for member in members]))
        progress(epoch + 1, settings["epochs"], mean)
    return all(member.diverged for member in members)


def _state(stacks: Sequence[StackTraining]) -> dict[str, Tensor]:
    return {
        f"{index}.{name}": tensor
        for index, stack in enumerate(stacks)
        for name, tensor in stack.state().items()
    }


def _restore(stacks: Sequence[StackTraining], state: dict[str, Tensor]) -> None:
    for index, stack in enumerate(stacks):
        stack.restore_before(under(f"{index}.", state))
        stack.restore(under(f"{index}.", state))
