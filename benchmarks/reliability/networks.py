"""Networks: taken for functions, left as they were, and read by one reader of outputs.

python benchmarks/reliability/networks.py
"""

import random
import sys
import tempfile
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import torch
from outcomes import show
from torch import Tensor, nn
from torch.nn.functional import dropout

import orbitlens as ol
from orbitlens.activations import harvest_layers
from orbitlens.models import MLPAutoencoder, train_autoencoder

C4 = ol.actions.images(ol.groups.cyclic(4))
X = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class _Net(nn.Module):
    """A linear layer, something that a case adds, and a layer to look at."""

    def __init__(self, change: Callable[[Tensor], Any], *, train: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.code, self.change = nn.Linear(64, 8), nn.Identity(), change
        self.train(train)

    def forward(self, x: Tensor) -> Tensor:
        return self.code(self.change(self.first(x.flatten(1))))


def _orbits(model: nn.Module, layer: str = "code", x: Any = X, **settings: Any) -> Tensor:
    return ol.harvest(model, layer=layer, inputs=x, action=C4, **settings).orbits()


def _repeats(model: nn.Module, **settings: Any) -> bool:
    return torch.equal(_orbits(model, **settings), _orbits(model, **settings))


# A network is taken for a function of its input


def _always_dropping() -> bool:
    return _repeats(_Net(lambda h: dropout(h, 0.1)))


def _faint_noise() -> bool:
    return _repeats(_Net(lambda h: h + 1e-3 * torch.randn_like(h)))


def _statistics_of_the_batch() -> bool:
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8, track_running_stats=False)
    )
    return torch.allclose(_orbits(model, "2"), _orbits(model, "2", batch_size=36), atol=1e-4)


class _Frozen(nn.BatchNorm1d):
    """Batch normalisation that a wrapper keeps in training mode."""

    def train(self, mode: bool = True) -> "_Frozen":
        del mode
        return super().train(True)


def _normalisation_that_never_evaluates() -> bool:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), _Frozen(8))
    return torch.allclose(_orbits(model, "2"), _orbits(model, "2", batch_size=36), atol=1e-4)


def _counting_calls() -> bool:
    calls: list[int] = []

    def change(h: Tensor) -> Tensor:
        calls.append(1)
        return h * (1 + 0.1 * len(calls))

    return _repeats(_Net(change))


def _random_of_python() -> bool:
    return _repeats(_Net(lambda h: h if random.random() < 0.5 else 0 * h))  # noqa: S311


def _ranks_in_the_batch() -> bool:
    model = _Net(lambda h: h.argsort(0).argsort(0).float())
    return torch.equal(_orbits(model), _orbits(model, batch_size=36))


def _remembering_the_last_batch() -> bool:
    last: list[Tensor] = [torch.zeros(8)]

    def change(h: Tensor) -> Tensor:
        new, last[0] = h + last[0], 0.5 * last[0] + h.mean(0)
        return new

    return _repeats(_Net(change))


def _random_preparation() -> bool:
    model = _Net(torch.tanh)
    return _repeats(model, prepare=lambda x: x + 0.1 * torch.randn_like(x))


def _a_seeded_sampler_is_a_function() -> bool:
    """Every input and element meets the same noise, whatever the size of a batch."""
    model = _Net(lambda h: h + torch.randn_like(h))
    found = _orbits(model, seed_forward=5)
    torch.manual_seed(5)
    noise, still = torch.randn(8), _orbits(_Net(lambda h: h))
    same = torch.allclose(found, still + noise, atol=1e-5)
    return same and torch.equal(found, _orbits(model, seed_forward=5, batch_size=7))


def _noise_after_the_layer() -> bool:
    """What follows the layer is not run, so its noise does no harm."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), _Net(lambda h: h).code, nn.AlphaDropout())
    return _repeats(nn.Sequential(*model, _Net(lambda h: torch.randn_like(h))), layer="1")


def _shared_range() -> bool:
    bright = torch.cat([X, 100 * X[:1]])
    model = _Net(lambda h: (h / h.abs().max() * 127).round())
    whole = ol.harvest(model, layer="code", inputs=bright, action=C4).orbits()
    return torch.allclose(whole[: len(X)], _orbits(model, batch_size=1), atol=1)


def _changing_late() -> bool:
    calls: list[int] = []

    def change(h: Tensor) -> Tensor:
        calls.append(1)
        return h if len(calls) < 25 else 2 * h

    return _repeats(_Net(change), batch_size=4)


def _preparation_of_a_batch() -> bool:
    def prepare(x: Tensor) -> Tensor:
        return x - x.mean()

    return torch.allclose(
        _orbits(_Net(torch.tanh), prepare=prepare),
        _orbits(_Net(torch.tanh), prepare=prepare, batch_size=1),
    )


def _resumed_by_another() -> bool:
    def scaled(by: float) -> Callable[[Tensor], Tensor]:
        return lambda x: by * x

    with tempfile.TemporaryDirectory() as folder:
        place = {"out": f"{folder}/acts.zarr", "resume": True}
        _orbits(_Net(torch.tanh), prepare=scaled(1.0), **place)
        found = _orbits(_Net(torch.tanh), prepare=scaled(2.0), **place)
    return torch.allclose(found, _orbits(_Net(torch.tanh), prepare=scaled(2.0)))


FUNCTION = {
    "dropout without `training=`": _always_dropping,
    "noise of a thousandth": _faint_noise,
    "batch normalisation without running statistics": _statistics_of_the_batch,
    "batch normalisation that stays in training mode": _normalisation_that_never_evaluates,
    "a scale that grows with every call": _counting_calls,
    "stochastic depth with Python's random": _random_of_python,
    "ranks within the batch": _ranks_in_the_batch,
    "a running state outside the buffers": _remembering_the_last_batch,
    "a preparation that adds noise": _random_preparation,
    "a range that one bright input sets": _shared_range,
    "a network that changes after many passes": _changing_late,
    "a preparation by the mean of the batch": _preparation_of_a_batch,
    "another function of that name, resumed": _resumed_by_another,
    "a sampler with seed_forward": _a_seeded_sampler_is_a_function,
    "noise after the layer": _noise_after_the_layer,
}


# State


class _Merged(nn.Linear):
    """Weights that evaluation merges with an update, and training separates, as LoRA does."""

    merged = False

    def train(self, mode: bool = True) -> "_Merged":
        super().train(mode)
        if self.merged == mode:
            with torch.no_grad():
                self.weight += -1.0 if mode else 1.0
            self.merged = not mode
        return self


def _merged_weights_are_separated() -> bool:
    model = nn.Sequential(nn.Flatten(), _Merged(64, 8)).train()
    before = model[1].weight.detach().clone()
    _orbits(model, "1")
    return model.training and torch.allclose(model[1].weight, before, atol=1e-6)


def _interrupted_harvest() -> bool:
    model = _Net(lambda h: h, train=True)
    model.first.eval()

    def stop(done: int, n: int) -> None:
        raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        _orbits(model, progress=stop)
    hooks = sum(len(module._forward_hooks) for module in model.modules())
    return [model.training, model.first.training, model.code.training, hooks] == [
        True,
        False,
        True,
        0,
    ]


def _interrupted_training() -> bool:
    model = MLPAutoencoder(size=8).eval()
    model.encoder.train()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        train_autoencoder(model, X, action=C4, epochs=3, progress=stop)
    clean = all(each.grad is None for each in model.parameters())
    return clean and not model.training and model.encoder.training


def _random_numbers_are_not_drawn() -> bool:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    model = _Net(lambda h: h + torch.randn_like(h))
    torch.manual_seed(3)
    _orbits(model, seed_forward=1)
    with suppress(ol.errors.OrbitLensError):
        _orbits(model)
    return torch.equal(before, torch.get_rng_state())


@contextmanager
def _default_type(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _half_precision_by_default() -> bool:
    model = _Net(torch.tanh)
    found = harvest_layers(model, inputs=X, action=C4, max_dim=3).stores["code"].orbits()
    with _default_type(torch.bfloat16):
        again = harvest_layers(model, inputs=X, action=C4, max_dim=3).stores["code"].orbits()
    return torch.equal(found, again)


def _autocast() -> bool:
    model = _Net(torch.tanh)
    expected = _orbits(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return torch.equal(_orbits(model), expected)


def _inference_mode_training() -> bool:
    losses = []
    for context in (torch.enable_grad, torch.inference_mode):
        model = MLPAutoencoder(size=8, dim=4)
        with context():
            losses.append(train_autoencoder(model, X, action=C4, epochs=2).losses)
    return losses[0] == losses[1]


def _attribution_without_gradients() -> bool:
    model = _Wrapped(lambda h: h)
    model.requires_grad_(False)
    with torch.no_grad():
        table = _graph(model)
    return torch.equal(table, _graph(_Wrapped(lambda h: h)))


def _deterministic_algorithms() -> bool:
    model = _Net(torch.tanh)
    expected = _orbits(model)
    torch.use_deterministic_algorithms(True)
    try:
        return torch.equal(_orbits(model), expected)
    finally:
        torch.use_deterministic_algorithms(False)


def _weights_of_other_types() -> bool:
    expected = _orbits(_Net(torch.tanh))
    found = [_orbits(_Net(torch.tanh).to(dtype)) for dtype in (torch.float64, torch.bfloat16)]
    errors = [float((each - expected).norm() / expected.norm()) for each in found]
    return errors[0] < 1e-6 and errors[1] < 1e-2 and found[1].dtype == torch.float32


def _compiled_parts() -> bool:
    model = _Net(torch.tanh)
    expected = _orbits(model)
    wrapped = torch.compile(_Net(torch.tanh))
    return torch.equal(_orbits(wrapped, "_orig_mod.code"), expected)


STATE = {
    "weights that evaluation merges": _merged_weights_are_separated,
    "Ctrl-C in a harvest, mixed modes": _interrupted_harvest,
    "Ctrl-C in an autoencoder's training": _interrupted_training,
    "random numbers of torch": _random_numbers_are_not_drawn,
    "bfloat16 as default type": _half_precision_by_default,
    "under _autocast": _autocast,
    "training under inference mode": _inference_mode_training,
    "attribution without gradients, frozen weights": _attribution_without_gradients,
    "deterministic algorithms": _deterministic_algorithms,
    "float64 and bfloat16 networks": _weights_of_other_types,
    "a compiled network": _compiled_parts,
}


# The reader of outputs


class _Pair(NamedTuple):
    hidden: Tensor
    weights: None


@dataclass(frozen=True)
class _Record:
    hidden: Tensor
    count: int = 3


class _Wrapped(nn.Module):
    """Two layers; the first puts out its tensor in a wrapping."""

    def __init__(
        self, wrap: Callable[[Tensor], Any], unwrap: Callable[[Any], Tensor] = lambda h: h
    ):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last = nn.Linear(64, 8), nn.Linear(8, 6)
        self.a, self.unwrap = _Wrap(wrap), unwrap

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.unwrap(self.a(torch.tanh(self.first(x.flatten(1))))))


class _Wrap(nn.Module):
    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, h: Tensor) -> Any:
        return self.wrap(h)


def _graph(model: nn.Module) -> Tensor:
    sites = []
    for layer in ("a", "last"):
        store = ol.harvest(model, layer=layer, inputs=X, action=C4)
        sae = ol.sae.orbit_sae(store.dim, 6, 3, ol.fit_transport(store, "exact"))
        sites.append(ol.attribution.Site(layer, sae))
    return ol.attribution.attribution_graph(model, *sites, inputs=X[:8], action=C4).attribution


def _as_plain(wrap: Callable[[Tensor], Any], unwrap: Callable[[Any], Tensor]) -> Callable[[], bool]:
    """The _graph of a wrapped output is that of the tensor alone."""
    return lambda: torch.equal(_graph(_Wrapped(wrap, unwrap)), _graph(_Wrapped(lambda h: h)))


def _output_of_transformers(h: Tensor) -> Any:
    from transformers.modeling_outputs import BaseModelOutput

    return BaseModelOutput(last_hidden_state=h)


def _recurrent() -> bool:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(2), nn.Flatten(0, 1), nn.Unflatten(1, (8, 8)))
    model.append(nn.LSTM(8, 5, batch_first=True))
    store = ol.harvest(model, layer="3", inputs=X, action=C4, positions="mean")
    with torch.no_grad():
        expected = model(X)[0].mean(1)
    return torch.allclose(store.orbits()[:, 0], expected, atol=1e-6)


READER = {
    "a named tuple": _as_plain(lambda h: _Pair(h, None), lambda out: out.hidden),
    "a list": _as_plain(lambda h: [h, "text"], lambda out: out[0]),
    "an ordered dictionary": _as_plain(lambda h: OrderedDict(h=h, n=3), lambda out: out["h"]),
    "a UserDict": _as_plain(lambda h: UserDict(h=h), lambda out: out["h"]),
    "a read-only mapping": _as_plain(lambda h: MappingProxyType({"h": h}), lambda out: out["h"]),
    "an output of transformers": _as_plain(
        _output_of_transformers, lambda out: out.last_hidden_state + 0 * out[0]
    ),
    "a frozen dataclass": _as_plain(_Record, lambda out: out.hidden * (out.count == 3)),
    "a tuple of two tensors": _as_plain(lambda h: (h, -h), lambda out: out[0]),
    "an object with attributes": _as_plain(lambda h: SimpleNamespace(h=h), lambda out: out.h),
    "a tuple with its tensor last": _as_plain(lambda h: (None, h), lambda out: out[1]),
    "a _recurrent layer with its states": _recurrent,
}


def main() -> None:
    """Show all kinds; exit with 1 if anything is wrong or crashed."""
    faults = 0
    kinds = {
        "A network is taken for a function": FUNCTION,
        "State": STATE,
        "The reader of outputs": READER,
    }
    for kind, instances in kinds.items():
        try:
            show(kind, instances)
        except SystemExit as ended:
            faults += int(ended.code or 0)
        print()
    sys.exit(int(faults > 0))


if __name__ == "__main__":
    main()
