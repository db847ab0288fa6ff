"""The training loop: epochs, batches and steps, from the start or from a checkpoint."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from orbitlens.training._checkpoint import Checkpoint
from orbitlens.training._steps import StackTraining, under
from orbitlens.typing import Tensor


@dataclass(frozen=True)
class Schedule:
    """The schedule of a training, with the settings of `fit` and the batches of an epoch."""

    epochs: int
    batches: int
    dead_after: int
    revival_weight: float
    lr: float
    lr_decay: float

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch; epochs count from 0."""
        falling = self.lr_decay * self.epochs
        left = min(1.0, (self.epochs - epoch) / (falling + 1)) if falling else 1.0
        return self.lr * left


def train(
    stacks: Sequence[StackTraining],
    schedule: Schedule,
    checkpoint: Checkpoint | None,
    progress: Callable[[int, int, float], None] | None,
) -> None:
    """Train stacks side by side, batch by batch, in place.

    It starts from the checkpoint if there is one, and writes it before a signal stops the process.
    `progress` gets (epoch, epochs, mean loss of the members) after each epoch.
    """
    earlier = None if checkpoint is None else checkpoint.read()
    state, place = earlier or (None, {"epoch": 0, "batch": 0})
    first = place["batch"]
    with nullcontext() if checkpoint is None else checkpoint.listening():
        for epoch in range(place["epoch"], schedule.epochs):
            _start_epoch(stacks, schedule, epoch, state)
            state = None
            for number in range(first, schedule.batches):
                for stack in stacks:
                    stack.step(number, schedule.revival_weight)
                if checkpoint is not None and checkpoint.due:
                    checkpoint.write(_state(stacks), {"epoch": epoch, "batch": number + 1})
                    checkpoint.stop_after_signal()
            first = 0
            if _end_epoch(stacks, schedule, epoch, progress):
                break
        if state is not None:  # of a training that was complete
            _restore(stacks, state)
        elif checkpoint is not None:
            checkpoint.write(_state(stacks), {"epoch": schedule.epochs, "batch": 0})
            checkpoint.stop_after_signal()


def _start_epoch(
    stacks: Sequence[StackTraining],
    schedule: Schedule,
    epoch: int,
    state: dict[str, Tensor] | None,
) -> None:
    """Start an epoch, or continue the one in which the checkpoint was written."""
    for index, stack in enumerate(stacks):
        if state is not None:
            stack.restore_before(under(f"{index}.", state))
        stack.start_epoch(epoch, schedule.dead_after, schedule.rate(epoch))
        if state is not None:
            stack.restore(under(f"{index}.", state))


def _end_epoch(
    stacks: Sequence[StackTraining],
    schedule: Schedule,
    epoch: int,
    progress: Callable[[int, int, float], None] | None,
) -> bool:
    """Write the histories; return whether all members diverged."""
    for stack in stacks:
        stack.end_epoch()
    members = [member for stack in stacks for member in stack.members]
    if progress is not None:
        mean = float(np.mean([member.history.loss[-1] for member in members]))
        progress(epoch + 1, schedule.epochs, mean)
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
