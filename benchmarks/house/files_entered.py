"""Count the files of OrbitLens that a training step and a harvest enter.

    python benchmarks/house/files_entered.py            # both
    python benchmarks/house/files_entered.py --list     # with the names of the files

A file is entered when one of its functions is called; a hop is a call from one file of OrbitLens
into another. The room `kernels/` is one door: its files count once, and calls among them are no
hops. The step is taken from the middle of a training, without the work that is done once.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import torch

import orbitlens as ol

ROOT = Path(ol.__file__).parent


class Trace:
    """Record the files of OrbitLens that calls enter, and count the hops."""

    def __init__(self) -> None:
        """Start with nothing entered."""
        self.files: dict[str, None] = {}
        self.hops = 0

    def start(self) -> None:
        """Watch every call from here on."""
        sys.setprofile(self._called)

    def stop(self) -> None:
        """Watch no longer."""
        sys.setprofile(None)

    def _called(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call" or (entered := _door(frame)) is None:
            return
        self.files[entered] = None
        caller = frame.f_back
        while caller is not None and _door(caller) is None:
            caller = caller.f_back
        self.hops += caller is None or _door(caller) != entered


def _door(frame: FrameType) -> str | None:
    path = Path(frame.f_code.co_filename)
    if not path.is_relative_to(ROOT):
        return None
    inside = path.relative_to(ROOT)
    return "kernels/" if inside.parts[0] == "kernels" else str(inside)


def step() -> Trace:
    """Trace a step of a TopK SAE, from one evaluation of the objective to the next."""
    toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=400, seed=0)
    store = ol.store_from_array(toy.orbits, group=toy.group)
    sae = ol.sae.topk_sae(d_in=16, d_sae=16, k=3)
    trace, evaluated = Trace(), 0

    def objective(x_moved: torch.Tensor, x_hat_moved: torch.Tensor) -> torch.Tensor:
        nonlocal evaluated
        evaluated += 1
        if evaluated == 2:
            trace.start()
        loss = ol.objectives.reconstruction(x_moved, x_hat_moved)
        if evaluated == 3:
            trace.stop()
        return loss

    ol.fit(sae, store, objective=objective, epochs=2, batch_size=64)
    return trace


def harvest() -> Trace:
    """Trace a harvest of one layer."""
    group = ol.groups.cyclic(4)
    model, images = ol.models.MLPAutoencoder(size=8, dim=16), torch.rand(5, 1, 8, 8)
    action, trace = ol.actions.images(group), Trace()
    call = ol.harvest  # not traced: the library loads its rooms when they are first named
    trace.start()
    call(model, layer="encoder", inputs=images, action=action)
    trace.stop()
    return trace


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="name the files")
    names = parser.parse_args().list
    jobs: dict[str, Callable[[], Trace]] = {"training step": step, "harvest": harvest}
    for name, job in jobs.items():
        trace = job()
        print(f"{name}: {len(trace.files)} files, {trace.hops} hops")
        if names:
            print("\n".join(f"    {file}" for file in trace.files))


if __name__ == "__main__":
    main()
