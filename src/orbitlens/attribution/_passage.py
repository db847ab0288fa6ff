"""A network between two of its layers, with the output of the first replaced."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import nn

from orbitlens.actions import Action
from orbitlens.activations.harvest import (
    check_called_once,
    check_function,
    check_inputs,
    device_of,
    dtype_of,
    evaluating,
    few_moved,
    find_axes,
    kind_of,
    make_ready,
    moved_batches,
    only_tensor,
    take_outputs,
    telling_inputs,
    with_tensor,
)
from orbitlens.attribution._relative import Reduction, over_stabilisers, reduce_table
from orbitlens.attribution._site import Reader, Site
from orbitlens.checks import check_kind
from orbitlens.data import Rows
from orbitlens.errors import OrbitLensError
from orbitlens.models import Prepare, as_they_are, check_network, get_layer, name_of_layer
from orbitlens.typing import Bool, Float, Tensor

Replace = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True, eq=False)
class Passage:
    """A network with an earlier layer, whose output is replaced, and a later one that is read."""

    model: nn.Module
    earlier: Site
    later: Site
    prepare: Prepare = as_they_are

    @classmethod
    def between(
        cls, model: nn.Module, earlier: Site, later: Site, prepare: Prepare | None
    ) -> "Passage":
        """Return the passage between two sites, whose layers are submodules or their names."""
        check_network(model)
        for name, site in (("earlier", earlier), ("later", later)):
            check_kind(name, site, Site, "give Site(layer, sae)")
        first, last = (
            replace(site, layer=name_of_layer(model, site.layer)) for site in (earlier, later)
        )
        return cls(model, first, last, as_they_are if prepare is None else prepare)

    def __call__(
        self, ready: Float[Tensor, "batch *axes"], replace: Replace
    ) -> Float[Tensor, "batch *rest"]:
        """Return the later layer's output for a replaced output of the earlier layer.

        Nothing after the later layer is computed.
        """
        layer, later = str(self.earlier.layer), str(self.later.layer)

        def hook(_: nn.Module, __: object, output: Any) -> Any:
            tensor = only_tensor(output)
            if tensor is None:
                raise TypeError(f"layer {layer!r} puts out {kind_of(output)}")
            # A copy: later layers may write into it in place.
            return with_tensor(output, replace(tensor).clone(), layer)

        modules = {later: get_layer(self.model, later)}
        with get_layer(self.model, layer).register_forward_hook(hook):
            return take_outputs(self.model, modules, ready, lambda _, output: output)[later]

    def batches(
        self, inputs: Rows, action: Action, batch_size: int
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield how many inputs are done, and moved inputs that are ready for the network."""
        device, done = device_of(self.model, inputs), 0
        for batches in moved_batches(inputs, action, batch_size):
            for moved in batches:
                done += len(moved)
                ready = make_ready(self.prepare, moved.to(device), dtype_of(self.model))
                yield done // action.group.order, ready

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Keep network and SAEs in evaluation mode and without gradients."""
        with evaluating(self.model), evaluating(self.earlier.sae), evaluating(self.later.sae):
            yield

    @property
    def stabilisers(self) -> tuple[Bool[Tensor, "group from"], Bool[Tensor, "group to"]]:
        """Stabilisers of the atoms of the earlier and of the later SAE."""
        return self.earlier.dictionary.stabilisers.cpu(), self.later.dictionary.stabilisers.cpu()

    def empty_table(self) -> Float[Tensor, "from to"]:
        """Return zeros, one for every latent of the earlier and of the later SAE, in float64."""
        return torch.zeros(self.earlier.sae.d_sae, self.later.sae.d_sae, dtype=torch.float64)

    def reduced(self, table: Float[Tensor, "from to"]) -> Reduction:
        """Reduce a table over latents to relative elements, see `reduce_table`."""
        group = self.earlier.group
        pairs = table.unflatten(1, (group.order, -1)).unflatten(0, (group.order, -1))
        return reduce_table(over_stabilisers(pairs, group, *self.stabilisers), group)

    def readers(self, inputs: Rows, action: Action, batch_size: int) -> tuple[Reader, Reader]:
        """Check that inputs, layers, SAEs and action belong together; return the readers."""
        check_inputs(inputs, action, batch_size)
        self._check_sources(action)
        device = device_of(self.model, inputs)
        with self.evaluating():
            dtype = dtype_of(self.model)

            def ready(moved: Tensor) -> Tensor:
                return make_ready(self.prepare, moved.to(device), dtype)

            few = telling_inputs(inputs, ready, alone=batch_size == 1)
            trial = few[:1].clone()
            sites = {str(site.layer): site for site in (self.earlier, self.later)}
            layers = {name: get_layer(self.model, name) for name in sites}
            readers = {}
            for name, layer in layers.items():
                check_called_once(self.model, layer, trial, name)
                output = take_outputs(self.model, {name: layer}, trial, lambda _, output: output)
                axes = find_axes(
                    self.model,
                    [name],
                    few_moved(inputs, action),
                    action=action,
                    ready=ready,
                    layout=sites[name].layout,
                )
                readers[name] = Reader.of(sites[name], axes[name], output[name])
            check_function(
                self.model,
                lambda ready: take_outputs(self.model, layers, ready, lambda _, out: out.clone()),
                few,
                alone=batch_size == 1,
            )
            self._check_order(trial)
        return readers[str(self.earlier.layer)], readers[str(self.later.layer)]

    def _check_sources(self, action: Action) -> None:
        earlier, later = self.earlier, self.later
        for site in (earlier, later):
            if site.group != action.group:
                raise OrbitLensError(
                    f"`sae` of layer {site.layer!r}",
                    expected=f"an SAE tied over {action.group.name}, the group of the action",
                    received=f"one over {site.group.name}",
                    remedy="give both SAEs and the action the same group",
                )
        if earlier.model != later.model and earlier.model and later.model:
            raise OrbitLensError(
                "`earlier` and `later`",
                expected="SAEs of one network",
                received=f"{earlier.model} and {later.model}",
                remedy="train both SAEs on layers of the same network",
            )

    def _check_order(self, trial: Tensor) -> None:
        """Check that the later layer depends on the earlier one."""
        started: list[Tensor] = []

        def start(output: Tensor) -> Tensor:
            started.append(output.detach().clone().requires_grad_())
            return started[0]

        with torch.enable_grad():
            end = self(trial, start)
            grad = None
            if started and end.requires_grad:
                (grad,) = torch.autograd.grad(end.sum(), started, allow_unused=True)
        if grad is None:
            raise OrbitLensError(
                "`later`",
                expected=f"a layer that depends on {self.earlier.layer!r}",
                received=f"{self.later.layer!r}, which does not",
                remedy="name a layer that comes after the earlier one",
            )
