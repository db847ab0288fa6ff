"""Harvesting in parallel: processes that own whole shards.

The parent moves the inputs and makes them ready, batch by batch as a worker asks for them; a worker
runs the network and writes. Batches never cross the border of a shard, so who does what changes no
bit of the result. A worker whose parent dies finds its pipe closed, and ends.
"""

import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, final

import torch
import zarr
from torch import Tensor, nn

from orbitlens.activations.harvest._inputs import Batches, orbit_blocks
from orbitlens.activations.harvest._reduction import Taking
from orbitlens.activations.harvest._sending import Packed, fill, hollow, packed, unpacked, weights
from orbitlens.activations.harvest.hooks import evaluating, take_outputs
from orbitlens.activations.store._address import address_errors, inside, zarr_store
from orbitlens.activations.store._damage import shards_of
from orbitlens.activations.store._shard_writer import activations_of, in_shards, write_shard
from orbitlens.errors import OrbitLensError, one_line
from orbitlens.models import get_layer

_READY, _MORE, _WRITTEN, _FAILED = "ready", "more", "written", "failed"


@final
@dataclass(frozen=True, eq=False)
class Psi:
    """The part of a network that a harvest looks at, from inputs made ready to activations.

    Args:
        model: The network, in evaluation mode.
        takings: How the activations of each layer are taken out of its output, by its dotted name.
    """

    model: nn.Module
    takings: Mapping[str, Taking]

    def __call__(self, ready: Tensor) -> dict[str, Tensor]:
        """Return the activations of a batch, layer by layer; nothing after the last is computed."""
        modules = {layer: get_layer(self.model, layer) for layer in self.takings}
        return take_outputs(
            self.model, modules, ready, lambda layer, output: self.takings[layer].take(output)
        )

    @property
    def bases(self) -> dict[str, Tensor]:
        """The directions of the layers that are not kept whole."""
        found = {layer: taking.basis for layer, taking in self.takings.items()}
        return {layer: basis for layer, basis in found.items() if basis is not None}

    def along(self, bases: Mapping[str, Tensor | None]) -> "Psi":
        """Return the same with other directions for some layers."""
        changed = {
            layer: replace(self.takings[layer], basis=basis) for layer, basis in bases.items()
        }
        return Psi(self.model, {**self.takings, **changed})


@final
@dataclass(frozen=True)
class Task:
    """What every worker is told once.

    Args:
        psi: What to run.
        address: The place that is being written.
        target: Where it will be, for messages.
        names: What each layer's store is called there.
        dtype: How activations are stored.
        order: |G|.
        threads: Threads of a worker.
        device: Where the network runs.
    """

    psi: Psi
    address: Path | str
    target: Path | str
    names: Mapping[str, str]
    dtype: str
    order: int
    threads: int
    device: torch.device


def harvest_in_workers(
    task: Task,
    batches_of: Callable[[int], Iterator[Batches]],
    todo: list[int],
    *,
    workers: int,
    written: Callable[[], None],
    tick: Callable[[int], None],
) -> None:
    """Fill the shards of a store that are still missing.

    Args:
        task: What every worker is told.
        batches_of: The inputs of a shard, moved and made ready.
        todo: The shards to fill.
        workers: Processes at most.
        written: Called whenever a shard is complete.
        tick: Called with the number of samples that went through the network.

    Raises:
        OrbitLensError: If the network cannot be sent to a process, a worker fails or dies.
    """
    left = deque(todo)
    with ExitStack() as stack:
        crew = [
            _Worker(*stack.enter_context(_process(task)), batches_of)
            for _ in range(min(workers, len(left)))
        ]
        busy = {worker.connection: worker for worker in crew}
        while busy:
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                said = worker.hear()
                if said == _MORE:
                    tick(worker.give(task.order))
                    continue
                if said == _READY:
                    worker.teach(task.psi)
                else:
                    written()
                if left:
                    worker.assign(left.popleft())
                else:
                    del busy[worker.connection]


@final
class _Worker:
    """A process as its parent sees it."""

    def __init__(
        self,
        process: SpawnProcess,
        connection: Connection,
        batches_of: Callable[[int], Iterator[Batches]],
    ) -> None:
        self.process, self.connection, self._batches_of = process, connection, batches_of
        self._batches: Iterator[Batches] = iter(())
        self._given = 0

    def teach(self, psi: Psi) -> None:
        """Send the weights of the network, and the directions of wide layers."""
        tensors, places = weights(psi.model)
        self._send(places)
        for tensor in tensors:
            self._send(packed(tensor))
        self._send({layer: packed(basis) for layer, basis in psi.bases.items()})

    def assign(self, shard: int) -> None:
        """Tell the worker its next shard."""
        self._batches = self._batches_of(shard)
        self._send(shard)

    def give(self, order: int) -> int:
        """Send the next batches, or the word that there are no more; return the samples done."""
        done, batches = self._given, next(self._batches, None)
        self._given = 0 if batches is None else sum(map(len, batches)) // order
        self._send(None if batches is None else [packed(batch) for batch in batches])
        return done

    def hear(self) -> str:
        """Wait for what the worker says.

        Raises:
            OrbitLensError: If that is an error, or the worker died.
        """
        try:
            said, error = self.connection.recv()
        except (EOFError, OSError):
            raise self._died() from None
        if said == _FAILED:
            raise error
        return str(said)

    def _send(self, message: object) -> None:
        try:
            self.connection.send(message)
        except OSError:
            raise self._died() from None

    def _died(self) -> OrbitLensError:
        self.process.join(5)
        return OrbitLensError(
            "a worker process of `harvest`",
            expected="to work to its end",
            received=f"exit code {self.process.exitcode}",
            remedy="call `harvest` under `if __name__ == '__main__':`, see to enough memory, "
            "or choose workers=1",
        )


@contextmanager
def _process(task: Task) -> Iterator[tuple[SpawnProcess, Connection]]:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    sent = replace(task, psi=task.psi.along(dict.fromkeys(task.psi.bases)))
    process = context.Process(target=_work, args=(sent, theirs), daemon=True)
    try:
        with hollow(task.psi.model), _deaf_to_interrupts():
            process.start()
    except OSError:
        raise
    except Exception as error:
        # Whatever the parts of a network raise when they are made ready to be sent.
        raise OrbitLensError(
            "the network",
            expected="one that can be sent to worker processes, its classes and functions defined "
            "at the top of a module",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="choose workers=1",
        ) from error
    theirs.close()
    try:
        yield process, ours
    finally:
        ours.close()
        process.terminate()
        process.join()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start processes that leave it to their parent what follows from Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(task: Task, connection: Connection) -> None:
    """Fill one shard after the other, until the parent closes the pipe."""
    torch.set_num_threads(task.threads)
    with suppress(EOFError, OSError):
        try:
            _fill_shards(task, connection)
        except OrbitLensError as error:
            connection.send((_FAILED, error))


def _fill_shards(task: Task, connection: Connection) -> None:
    connection.send((_READY, None))
    places = connection.recv()
    count = 1 + max((index for _, index in places), default=-1)
    tensors = [unpacked(connection.recv()).to(task.device) for _ in range(count)]
    fill(task.psi.model, tensors, places)
    bases = {layer: unpacked(basis) for layer, basis in connection.recv().items()}
    psi = task.psi.along({layer: basis.to(task.device) for layer, basis in bases.items()})
    with address_errors(task.target):
        arrays = {layer: _array(inside(task.address, name)) for layer, name in task.names.items()}
    shards = shards_of(next(iter(arrays.values())))
    with evaluating(psi.model):
        while True:
            shard = connection.recv()
            blocks = orbit_blocks(
                lambda ready: psi(ready.to(task.device)),
                _batches(connection),
                task.order,
                shards.span(shard)[0],
            )
            for number, block in in_shards(blocks, shards, [shard]):
                for layer, array in arrays.items():
                    write_shard(array, task.dtype, number, block[layer], layer, task.target)
            connection.send((_WRITTEN, None))


def _array(address: Path | str | None) -> zarr.Array[Any]:
    return activations_of(zarr.open_group(zarr_store(address), mode="r+"))


def _batches(connection: Connection) -> Iterator[Batches]:
    while True:
        connection.send((_MORE, None))
        content: list[Packed] | None = connection.recv()
        if content is None:
            return
        yield tuple(map(unpacked, content))
