"""The alternation of weight steps and precision steps, from the start or from a checkpoint."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, TypedDict, final

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from orbitlens._checkpoints import kinds
from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.relax._answers import alike
from orbitlens.symmetry.relax._evidence_checkpoint import EvidenceCheckpoint
from orbitlens.symmetry.relax._likelihoods import Likelihood
from orbitlens.symmetry.relax._rows import linear_layers
from orbitlens.symmetry.relax.kfac import kronecker_curvature
from orbitlens.symmetry.relax.laplace import (
    effective_dimensions,
    map_loss,
    negative_log_evidence,
)

MOST = 15.0
"""Largest |log delta|: a tensor whose precision arrives there is switched off."""
_LAST_LR = 1e-6
_FEW = 8  # inputs by whose answers a checkpoint knows its network
Augment = Callable[[Tensor, torch.Generator], Tensor]


class Settings(TypedDict):
    """The settings of `fit_with_evidence`, checked."""

    likelihood: Likelihood
    epochs: int
    batch_size: int
    lr: float
    momentum: float
    burn_in: int
    every: int
    hyper_steps: int
    hyper_lr: float
    sampled: bool
    curvature_batch: int
    temperature: float
    seed: int


class Measured(NamedTuple):
    """The evidence of a network at its weights."""

    negative_log_evidence: float
    loss: float
    effective_dimensions: Float[Tensor, " tensors"]


@final
class EvidenceTraining:
    """A network, its precisions, and the optimisers of both."""

    def __init__(
        self,
        network: nn.Module,
        inputs: Shaped[Tensor, "n *input"],
        targets: Shaped[Tensor, "n *output"],
        settings: Settings,
        augment: Augment | None,
    ) -> None:
        self.network, self.inputs, self.targets = network, inputs, targets
        self.settings, self.augment = settings, augment
        own = dict(network.named_parameters())
        pairs = [(layer.weight, layer.bias) for layer in linear_layers(network).values()]
        self.names = [name for pair in pairs for name in pair if name is not None]
        self.weights = [own[name] for name in self.names]
        self.log_precisions = torch.zeros(len(self.names), dtype=torch.float64, requires_grad=True)
        # Of regression; classes have no noise to learn.
        self.log_variance = torch.zeros((), dtype=torch.float64, requires_grad=True)
        learned = [each for each in own.values() if each.requires_grad]
        self.sgd = torch.optim.SGD(learned, lr=settings["lr"], momentum=settings["momentum"])
        hyper = [self.log_precisions]
        if settings["likelihood"] == "gaussian":
            hyper.append(self.log_variance)
        self.adam = torch.optim.Adam(hyper, lr=settings["hyper_lr"])
        self.loss: list[float] = []
        self.evidence: list[tuple[int, float]] = []
        self.total = 0.0
        self.diverged = False

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.inputs) // self.settings["batch_size"])

    @property
    def has_learned(self) -> bool:
        """Whether steps were taken on the precisions."""
        return bool(self.evidence) and self.settings["hyper_steps"] > 0

    def chance(self) -> float:
        """Return -log p of all targets by an answer that does not look at the inputs."""
        if self.settings["likelihood"] == "softmax":
            with torch.no_grad():
                classes = self.network(self.inputs[:1]).shape[1]
            return len(self.targets) * math.log(classes) / self.settings["temperature"]
        targets = self.targets.double()
        variance = (targets - targets.mean(0)).square().mean()
        total = targets.numel() * (torch.log(2 * math.pi * variance) + 1) / 2
        return float(total) / self.settings["temperature"]

    def step(self, epoch: int, number: int, chosen: Tensor) -> None:
        """Take one step of the weights towards the most probable ones."""
        seed = self.settings["seed"]
        x, y = self.inputs[chosen], self.targets[chosen]
        if self.augment is not None:
            x = self.augment(x, seeded(seed, epoch, number))
        done = epoch * self.batches + number
        wave = math.cos(math.pi * done / (self.settings["epochs"] * self.batches))
        rate = _LAST_LR + (self.settings["lr"] - _LAST_LR) * (1 + wave) / 2
        for group in self.sgd.param_groups:
            group["lr"] = rate
        self.sgd.zero_grad(set_to_none=True)
        losses = self._losses(self.network(x), y) / self.settings["temperature"]
        squares = torch.stack([each.square().sum() for each in self.weights])
        precisions = self.log_precisions.detach().to(squares)
        objective = map_loss(losses, squares, precisions, len(self.inputs))
        objective.backward()
        self.sgd.step()
        self.total += float(objective.detach()) * len(chosen)

    def end_epoch(self, epoch: int) -> None:
        """Write the history, and learn the precisions if their turn has come."""
        self.loss.append(self.total / len(self.inputs))
        self.total = 0.0
        self.diverged = not math.isfinite(self.loss[-1])
        done = epoch + 1
        due = done >= self.settings["burn_in"] and done % self.settings["every"] == 0
        if due and not self.diverged:
            self.learn_precisions(done)

    def learn_precisions(self, epoch: int) -> None:
        """Measure the curvature, and take steps of Adam on the precisions at these weights."""
        known = self._known(epoch)
        for _ in range(self.settings["hyper_steps"]):
            self.adam.zero_grad(set_to_none=True)
            self._evidence(*known).backward()
            self.adam.step()
            with torch.no_grad():
                self.log_precisions.clamp_(-MOST, MOST)
                self.log_variance.clamp_(-MOST, MOST)
        with torch.no_grad():
            self.evidence.append((epoch, float(self._evidence(*known))))

    def measure(self) -> Measured:
        """Return the evidence at the present weights and precisions."""
        loss, squares, spectra = self._known(self.settings["epochs"])
        with torch.no_grad():
            found = self._evidence(loss, squares, spectra)
            scale = self._scale()
            gamma = effective_dimensions([h * scale for h in spectra], self.log_precisions)
            return Measured(float(found), float(self._total_loss(loss)), gamma)

    def _known(self, epoch: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return summed loss, squared norms and eigenvalues, for noise of variance one."""
        curvature = kronecker_curvature(
            self.network,
            self.inputs,
            self.settings["likelihood"],
            batch_size=self.settings["curvature_batch"],
            sampled=self.settings["sampled"],
            generator=seeded(self.settings["seed"], epoch),
        ).spectra()
        spectra = [curvature[name].cpu() for name in self.names]
        with torch.no_grad():
            squares = torch.stack([each.double().square().sum().cpu() for each in self.weights])
            rows = self.settings["curvature_batch"]
            parts = zip(self.inputs.split(rows), self.targets.split(rows), strict=True)
            loss = sum(self._raw(self.network(x), y).double().sum().cpu() for x, y in parts)
        return torch.as_tensor(loss), squares, spectra

    def _evidence(self, loss: Tensor, squares: Tensor, spectra: list[Tensor]) -> Tensor:
        scale = self._scale()
        scaled = [h * scale for h in spectra]
        return negative_log_evidence(self._total_loss(loss), squares, scaled, self.log_precisions)

    def _scale(self) -> Tensor:
        """Return the factor from curvature at noise of variance one to that of the likelihood."""
        return torch.exp(-self.log_variance) / self.settings["temperature"]

    def _total_loss(self, loss: Tensor) -> Tensor:
        if self.settings["likelihood"] == "softmax":
            return loss / self.settings["temperature"]
        noise = math.log(2 * math.pi) + self.log_variance
        return (
            self._scale() * loss + self.targets.numel() * noise / 2 / self.settings["temperature"]
        )

    def _raw(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return -log p of each sample, for numbers half the squared error."""
        if self.settings["likelihood"] == "softmax":
            return cross_entropy(outputs, y, reduction="none")
        return (outputs - y).square().sum(1) / 2

    def _losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        raw = self._raw(outputs, y)
        if self.settings["likelihood"] == "softmax":
            return raw
        variance = self.log_variance.detach().to(raw)
        noise = math.log(2 * math.pi) + variance
        return raw * torch.exp(-variance) + y.shape[1] * noise / 2

    def state(self) -> dict[str, Shaped[Tensor, "..."]]:
        """Return everything that the next step depends on."""
        network = {f"network.{name}": each for name, each in self.network.state_dict().items()}
        return {
            **network,
            **_optimiser_state("sgd", self.sgd),
            **_optimiser_state("adam", self.adam),
            "log_precisions": self.log_precisions,
            "log_variance": self.log_variance,
            "loss": torch.tensor(self.loss, dtype=torch.float64),
            "evidence": torch.tensor(self.evidence, dtype=torch.float64).reshape(-1, 2),
            "total": torch.tensor(self.total, dtype=torch.float64),
            "learned": self._learned(),
            "answers": self._answers({}),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from such a state; nothing is changed if it is that of another network."""
        self._check_state(state)
        with torch.no_grad():
            for name, own in self.network.state_dict().items():
                own.copy_(state[f"network.{name}"])
            self.log_precisions.copy_(state["log_precisions"])
            self.log_variance.copy_(state["log_variance"])
        _restore_optimiser("sgd", self.sgd, state)
        _restore_optimiser("adam", self.adam, state)
        self.loss = state["loss"].tolist()
        self.evidence = [(int(epoch), value) for epoch, value in state["evidence"].tolist()]
        self.total = float(state["total"])
        self.diverged = bool(self.loss) and not math.isfinite(self.loss[-1])

    def _answers(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the answers to the first inputs, with other tensors in place of the own ones."""
        with torch.no_grad():
            first = self.inputs[:_FEW]
            found: Tensor = functional_call(self.network, dict(tensors), first, tie_weights=False)
            return found

    def _own(self) -> dict[str, nn.Parameter]:
        """Return the parameters by all of their names."""
        return dict(self.network.named_parameters(remove_duplicate=False))

    def _learned(self) -> Bool[Tensor, " parameters"]:
        """Return which of the parameters are learned."""
        return torch.tensor([each.requires_grad for each in self._own().values()])

    def _check_state(self, state: Mapping[str, Tensor]) -> None:
        """Refuse the state of another network: of other tensors, or with other answers."""
        own = self.network.state_dict()
        mine = {f"network.{name}": kind for name, kind in kinds(own).items()}
        theirs = kinds({name: each for name, each in state.items() if name.startswith("network.")})
        for name in [*mine, *theirs]:
            if mine.get(name) != theirs.get(name):
                raise _other_network(_words(theirs.get(name), name), _words(mine.get(name), name))
        pairs = zip(self._own(), self._learned().tolist(), state["learned"].tolist(), strict=True)
        for name, now, then in pairs:
            if now != then:
                words = {True: f"{name!r} learned", False: f"{name!r} frozen"}
                raise _other_network(words[then], words[now])
        tensors = {name: state[f"network.{name}"].to(each) for name, each in own.items()}
        if not alike(state["answers"].to(self.inputs), self._answers(tensors)):
            raise _other_network("the answers of its network", "others at the same weights")


def _words(kind: Sequence[str | int] | None, name: str) -> str:
    """Return type and shape of a tensor in words."""
    name = name.removeprefix("network.")
    if kind is None:
        return f"no tensor {name!r}"
    return f"{name!r} of shape {list(kind[1:])}, {str(kind[0]).removeprefix('torch.')}"


def _other_network(expected: str, received: str) -> OrbitLensError:
    return OrbitLensError(
        "checkpoint of another network",
        expected=expected,
        received=received,
        remedy="give each training a checkpoint of its own, or remove it to start again",
    )


def train(
    training: EvidenceTraining,
    checkpoint: EvidenceCheckpoint | None,
    progress: Callable[[int, int, float], None] | None,
) -> None:
    """Train a network in place, from the checkpoint if there is one."""
    epochs, n = training.settings["epochs"], len(training.inputs)
    earlier = None if checkpoint is None else checkpoint.read()
    place = {"epoch": 0, "batch": 0}
    if earlier is not None:
        training.restore(earlier[0])
        place = earlier[1]
    first = place["batch"]
    with nullcontext() if checkpoint is None else checkpoint.listening():
        for epoch in range(place["epoch"], epochs):
            if training.diverged:
                break
            order = torch.randperm(n, generator=seeded(training.settings["seed"], epoch))
            for number, chosen in enumerate(order.split(training.settings["batch_size"])):
                if number < first:
                    continue
                training.step(epoch, number, chosen)
                # The end of an epoch belongs to its last step.
                if number + 1 < training.batches:
                    _write(training, checkpoint, epoch, number + 1)
            first = 0
            training.end_epoch(epoch)
            _write(training, checkpoint, epoch + 1, 0, at_once=epoch + 1 == epochs)
            if progress is not None:
                progress(epoch + 1, epochs, training.loss[-1])


def _write(
    training: EvidenceTraining,
    checkpoint: EvidenceCheckpoint | None,
    epoch: int,
    batch: int,
    *,
    at_once: bool = False,
) -> None:
    if checkpoint is not None and (checkpoint.due or at_once):
        checkpoint.write(training.state(), {"epoch": epoch, "batch": batch})
        checkpoint.stop_after_signal()


def seeded(seed: int, *place: int) -> torch.Generator:
    """Return the generator of a step, which does not depend on the steps before it."""
    text = ".".join(str(each) for each in (seed, *place))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])
    return torch.Generator().manual_seed(number)


def _optimiser_state(name: str, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    found = {}
    for number, values in optimiser.state_dict()["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                found[f"{name}.{number}.{key}"] = value
    return found


def _restore_optimiser(
    name: str, optimiser: torch.optim.Optimizer, state: Mapping[str, Tensor]
) -> None:
    values: dict[int, dict[str, Any]] = {}
    for key, value in state.items():
        kind, *rest = key.split(".")
        if kind == name:
            values.setdefault(int(rest[0]), {})[rest[1]] = value.clone()
    optimiser.load_state_dict({**optimiser.state_dict(), "state": values})
