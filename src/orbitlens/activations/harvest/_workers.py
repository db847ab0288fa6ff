"""Harvest in parallel: worker processes that own whole shards.

The parent moves the inputs and makes them ready, batch by batch, as a worker asks for them; the
worker runs the network and writes. Batches never cross the border of a shard, so the split of work
changes no bit of the result. A worker ends when its parent dies.

Tensors travel as bytes through the pipe. Torch would use shared memory and a file descriptor for
every tensor; a container may have 64 MiB of the first, and a process a thousand of the second. A
killed process leaves its shared memory behind. The network follows its weights, because a traced
one (torch.fx, ONNX) is traced again where it arrives, and needs them.
"""

import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import zarr
from jaxtyping import Shaped, UInt8
from torch import Tensor, nn

from orbitlens.activations.harvest._inputs import Batches
from orbitlens.activations.harvest._job import Job, orbit_blocks
from orbitlens.activations.harvest._positions import Layout
from orbitlens.activations.store._address import address_errors, inside, zarr_store
from orbitlens.activations.store._on_disk import shards_of
from orbitlens.activations.store._write_store import (
    Arrays,
    ShardWriter,
    arrays_of,
    in_shards,
    write_shard,
)
from orbitlens.checks import bytes_of
from orbitlens.errors import OrbitLensError, one_line
from orbitlens.models import evaluating, find_user_files, user_files
from orbitlens.processes import in_child

Packed = tuple[str, tuple[int, ...], UInt8[np.ndarray, " bytes"]]
_READY, _MORE, _WRITTEN, _FAILED = "ready", "more", "written", "failed"
_ARRIVED: list[Tensor] = []  # in a worker: the weights of its network


def fill_in_workers(
    job: Job, writer: ShardWriter, todo: list[int], threads: int, tick: Callable[[int], None]
) -> None:
    """Fill missing shards; `tick` is called with the samples that went through the network."""
    left = deque(todo)

    def batches(shard: int) -> Iterator[Batches]:
        return job.batches(*writer.shards.span(shard))

    with ExitStack() as stack:
        crew = [
            _Worker(*stack.enter_context(_process(job, writer, threads)), batches)
            for _ in range(min(job.workers, len(left)))
        ]
        busy = {worker.connection: worker for worker in crew}
        while busy:
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                message = worker.hear()
                if message == _MORE:
                    tick(worker.send_batches(job.order))
                    continue
                if message == _READY:
                    worker.send_network(job)
                else:
                    writer.claim.keep = True
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

    def send_network(self, job: Job) -> None:
        """Send the weights of the network, the network, and the directions of wide layers."""
        tensors = list_weights(job.model)
        self._send((user_files(), len(tensors)))
        for tensor in tensors:
            self._send((isinstance(tensor, nn.Parameter), pack(tensor)))
        with without_weights(job.model), _sendable():
            self._send(job.model)
        self._send({layer: pack(basis) for layer, basis in job.bases.items()})

    def assign(self, shard: int) -> None:
        """Send the number of the next shard."""
        self._batches = self._batches_of(shard)
        self._send(shard)

    def send_batches(self, order: int) -> int:
        """Send the next batches, None if there are no more; return the samples of the last ones."""
        done, batches = self._given, next(self._batches, None)
        self._given = 0 if batches is None else sum(map(len, batches)) // order
        self._send(None if batches is None else [pack(batch) for batch in batches])
        return done

    def hear(self) -> str:
        """Wait for a message of the worker."""
        try:
            message, error = self.connection.recv()
        except (EOFError, OSError):
            raise self._died() from None
        if message == _FAILED:
            raise error
        return str(message)

    def _send(self, message: object) -> None:
        try:
            self.connection.send(message)
        except OSError:
            self.hear()  # raises what the worker failed of, if it has said so
            raise self._died() from None

    def _died(self) -> OrbitLensError:
        self.process.join(5)
        return OrbitLensError(
            "a worker process of `harvest`",
            expected="to work to its end",
            received=f"exit code {self.process.exitcode}",
            remedy="call `harvest` under `if __name__ == '__main__':`, free memory, "
            "or choose workers=1",
        )


@contextmanager
def _process(
    job: Job, writer: ShardWriter, threads: int
) -> Iterator[tuple[SpawnProcess, Connection]]:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    layouts = _with_bases(job.layouts, dict.fromkeys(job.bases))
    sent = replace(job, model=nn.Identity(), layouts=layouts)
    target, parcel = in_child(_work, sent, writer.claim.address, threads, job.device, theirs)
    process = context.Process(target=target, args=parcel, daemon=True)
    with _interrupts_blocked():
        process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        ours.close()
        process.terminate()
        process.join()


@contextmanager
def _sendable() -> Iterator[None]:
    """Say in one line why a network cannot go from one process to another."""
    try:
        yield
    except (OrbitLensError, OSError, EOFError):
        raise
    except Exception as error:
        # The parts of a network may raise anything when they are made ready to be sent.
        raise OrbitLensError(
            "the network",
            expected="one that can be sent to worker processes, its classes and functions defined "
            "at the top of a module",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="choose workers=1",
        ) from error


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start processes that ignore Ctrl-C; their parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(
    job: Job, address: Path | str, threads: int, device: torch.device, connection: Connection
) -> None:
    """Fill one shard after the other, until the parent closes the pipe."""
    torch.set_num_threads(threads)
    with suppress(EOFError, OSError):
        try:
            _fill_shards(job, address, device, connection)
        except OrbitLensError as error:
            connection.send((_FAILED, error))


def _fill_shards(
    job: Job, address: Path | str, device: torch.device, connection: Connection
) -> None:
    connection.send((_READY, None))
    model = _receive_network(connection, device)
    bases = {layer: unpack(basis).to(device) for layer, basis in connection.recv().items()}
    layouts = _with_bases(job.layouts, bases)
    with address_errors(job.target):
        arrays = {layer: _arrays(inside(address, name)) for layer, name in job.names.items()}
    first = next(iter(arrays.values())).activations
    shards, order = shards_of(first), int(first.shape[1])
    with evaluating(model):
        while True:
            shard = connection.recv()
            batches, start = _batches(connection, device), shards.span(shard)[0]
            blocks = orbit_blocks(model, layouts, batches, order, start, job.seed_forward)
            for number, block in in_shards(blocks, shards, [shard]):
                for layer, written in arrays.items():
                    write_shard(written, job.dtype, number, block[layer], layer, job.target)
            connection.send((_WRITTEN, None))


def _receive_network(connection: Connection, device: torch.device) -> nn.Module:
    files, count = connection.recv()
    find_user_files(files)
    for _ in range(count):
        is_parameter, content = connection.recv()
        tensor = unpack(content).to(device)
        _ARRIVED.append(nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor)
    with _sendable():
        model: nn.Module = connection.recv()
    return model


def _arrays(address: Path | str | None) -> Arrays:
    return arrays_of(zarr.open_group(zarr_store(address), mode="r+"))


def _with_bases(
    layouts: Mapping[str, Layout], bases: Mapping[str, Tensor | None]
) -> dict[str, Layout]:
    changed = {layer: replace(layouts[layer], basis=basis) for layer, basis in bases.items()}
    return {**layouts, **changed}


def _batches(connection: Connection, device: torch.device) -> Iterator[Batches]:
    while True:
        connection.send((_MORE, None))
        content: list[Packed] | None = connection.recv()
        if content is None:
            return
        yield tuple(unpack(batch).to(device) for batch in content)


def pack(tensor: Shaped[Tensor, "*axes"]) -> Packed:
    """Return type, shape and bytes of a tensor."""
    return str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), bytes_of(tensor)


def unpack(content: Packed) -> Shaped[Tensor, "*axes"]:
    """Return the tensor that was packed."""
    kind, shape, flat = content
    dtype: Any = getattr(torch, kind)
    if flat.size == 0:
        return torch.empty(shape, dtype=dtype)  # torch views no empty bytes as numbers
    # A copy: in the memory of torch, products round as they do in the parent.
    return torch.from_numpy(flat).clone().view(dtype).reshape(shape)


def list_weights(model: nn.Module) -> list[Tensor]:
    """Return the parameters and buffers of a network, each once."""
    found = {id(tensor): tensor for *_, tensor in _weights(model)}
    return list(found.values())


def _weights(model: nn.Module) -> list[tuple[dict[str, Any], str, Tensor]]:
    """Return every place of the weights of a network: a dictionary, a key, and what is there."""
    return [
        (held, name, tensor)
        for module in model.modules()
        for held in (module._parameters, module._buffers)
        for name, tensor in held.items()
        if tensor is not None
    ]


@final
class _Weight:
    """Stands for a weight on its way; where it arrives, it is that weight."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __reduce__(self) -> tuple[Callable[[int], Tensor], tuple[int]]:
        return _arrived, (self._index,)


def _arrived(index: int) -> Tensor:
    """Return a weight that a worker has received."""
    return _ARRIVED[index]


@contextmanager
def without_weights(model: nn.Module) -> Iterator[None]:
    """Let numbers stand for the parameters and buffers of a network, up to the end."""
    places = _weights(model)
    stand_ins = {id(tensor): _Weight(i) for i, tensor in enumerate(list_weights(model))}
    try:
        for held, name, tensor in places:
            held[name] = stand_ins[id(tensor)]
        yield
    finally:
        for held, name, tensor in places:
            held[name] = tensor
