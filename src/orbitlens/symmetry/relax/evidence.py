"""`fit_with_evidence` trains a network, and learns how much each of its paths is to be used.

Source: van der Ouderaa, Immer & van der Wilk 2023, arXiv 2310.06131, *Learning Layer-wise
Equivariances Automatically using Gradients*; the alternation of Immer et al. 2021, arXiv
2104.04975, *Scalable Marginal Likelihood Estimation for Model Selection in Deep Learning*.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn

from orbitlens._checkpoints import checksum
from orbitlens.checks import as_number, check_kind, usual_torch
from orbitlens.errors import OrbitLensError, out_of_range, warn
from orbitlens.files import as_path, digest_of
from orbitlens.symmetry.relax._evidence_checkpoint import EvidenceCheckpoint
from orbitlens.symmetry.relax._evidence_doors import as_data, as_settings
from orbitlens.symmetry.relax._evidence_loop import (
    MOST,
    Augment,
    EvidenceTraining,
    Measured,
    train,
)
from orbitlens.symmetry.relax.mixed import MixedBlock
from orbitlens.typing import Numbers

_CHANCE = {
    "softmax": "the uniform answer",
    "gaussian": "a constant Gaussian with the variance of the targets",
}


@final
@dataclass(frozen=True)
class TensorUse:
    """How much of a parameter tensor the data determine.

    Args:
        name: Its name in the network.
        size: Its number of parameters, P.
        log_precision: log delta of its prior N(0, 1 / delta).
        effective_dimension: gamma, from 0 to P; NaN if the training diverged.
    """

    name: str
    size: int
    log_precision: float
    effective_dimension: float

    @property
    def switched_off(self) -> bool:
        """Whether the precision has reached its upper bound, so that the tensor is zero."""
        return self.log_precision >= MOST


@final
@dataclass(frozen=True, repr=False)
class EvidenceFit:
    """A network trained by its evidence, and what was found.

    Args:
        network: The network, in evaluation mode. If precisions were learned, its mixed blocks know
            their `symmetry_use`, as long as their weights stay the same.
        status: "completed", or "diverged" if the loss became NaN or infinite, which ends the
            training.
        loss: Mean of `map_loss` in each epoch.
        evidence: (epoch, -log Z) after each time that precisions were learned.
        negative_log_evidence: -log Z of the trained network; None if the training diverged.
        tensors: The use of each parameter tensor that has a prior.
        noise: Standard deviation of the noise; None for classes.
    """

    network: nn.Module
    status: str
    loss: tuple[float, ...]
    evidence: tuple[tuple[int, float], ...]
    negative_log_evidence: float | None
    tensors: tuple[TensorUse, ...]
    noise: float | None

    def __repr__(self) -> str:
        found = self.negative_log_evidence
        off = [each.name for each in self.tensors if each.switched_off]
        value = "" if found is None else f", -log Z {found:.5g}"
        return f"EvidenceFit({self.status}, epochs {len(self.loss)}{value}, switched off {off})"


def fit_with_evidence(
    network: nn.Module,
    inputs: Numbers,
    targets: Numbers,
    *,
    likelihood: str = "softmax",
    epochs: int = 60,
    batch_size: int = 50,
    lr: float = 0.05,
    momentum: float = 0.9,
    burn_in: int = 10,
    every: int = 5,
    hyper_steps: int = 20,
    hyper_lr: float = 0.1,
    sampled: bool = False,
    curvature_batch: int = 150,
    temperature: float = 1.0,
    augment: Augment | None = None,
    seed: int = 0,
    checkpoint: Any = None,
    checkpoint_seconds: float = 600.0,
    progress: Callable[[int, int, float], None] | None = None,
) -> EvidenceFit:
    """Train a network, and learn a prior precision for each of its parameter tensors.

        weights:     descend  mean loss + 1 / (2 N) sum_l delta_l ||theta_l||^2
        precisions:  descend  -log Z, see `negative_log_evidence`, in log delta_l

    Both alternate. A plain training loss never rewards a constraint, so a path without symmetry
    takes over ("symmetry collapse"). The evidence rewards one, and needs no validation set. Every
    tensor starts with precision one. After `burn_in` epochs, and then every few epochs, the
    curvature is measured on all training inputs, and Adam takes steps on log delta, with the
    eigenvalues held constant. |log delta| is at most 15. A tensor whose log delta arrives at 15 is
    switched off, which is reported and is no error. At the end the effective dimensions are
    measured, and mixed blocks are told.

    With `burn_in` above `epochs` all precisions stay at one: the MAP baseline. Blocks then do not
    know their use, which would say more of that prior than of the data.

    Evidence and use mean nothing before a network has learned, so look at its accuracy first. The
    defaults are 60 epochs of batches of 50 at 0.05, for a thousand small images. Convolutions alone
    may need a smaller `lr`.

    Weight steps are SGD with momentum and a cosine from `lr` to 1e-6. Parameters with
    requires_grad False are left out. Layers that do otherwise in training, such as dropout and
    batch norm, are refused unless they are in evaluation mode at the start, which they keep.
    Gradients, default type, device and autocast of torch may be set to anything, and are put back.

    Source: van der Ouderaa et al. 2023, arXiv 2310.06131; schedule of the authors' code.

    Args:
        network: A network whose learned parameters are in linear layers, such as `mixed_network`;
            trained in place, on its device.
        inputs: All training inputs, shape [n, ...]. Their number scales the prior.
        targets: Class of each input, whole numbers, shape [n]; or for "gaussian" numbers, shape
            [n, outputs].
        likelihood: "softmax" (the default), or "gaussian", whose variance is learned too.
        epochs: Passes over the inputs, default 60.
        batch_size: Inputs per step, default 50.
        lr: Learning rate of the weights, default 0.05.
        momentum: Momentum of the weights, default 0.9.
        burn_in: Epochs before precisions are learned, default 10.
        every: Epochs between two measurements of the curvature, default 5.
        hyper_steps: Steps on the precisions for each measurement, default 20.
        hyper_lr: Learning rate of log delta, default 0.1.
        sampled: Whether the curvature of classes draws one label for each input instead of going
            through all classes, default False.
        curvature_batch: Inputs per batch while the curvature is measured, default 150.
        temperature: T, default 1: the likelihood counts as its power 1 / T. Inputs that hold k
            augmented copies of each sample need k, since copies are no new evidence.
        augment: A function of a batch of inputs and a torch.Generator, applied in weight steps
            alone; default None. The curvature is that of the inputs as they are.
        seed: Seed of order and augmentation, default 0; the same seed gives the same bits.
        checkpoint: A local file, default None for none. It is written at intervals, on SIGTERM and
            on Ctrl-C. If it exists, training continues from it, to the same bits.
        checkpoint_seconds: Seconds between two checkpoints, default 600.
        progress: A function called after each epoch with (epoch, epochs, loss); default None.

    Returns:
        The network, the evidence, and the use of each tensor.

    Raises:
        OrbitLensError: If a learned parameter is in another kind of layer or in several, a layer
            draws random numbers or does otherwise in training, a label is out of range, a number is
            out of range, curvature would take hours on a CPU, or the checkpoint belongs to another
            training or network, or cannot be written.

    Warns:
        OrbitLensWarning: If a class has no sample, if many inputs are repeated, if the training of
            the checkpoint began with other weights, if the training diverged, or if -log Z is not
            below that of chance: N log C of the uniform answer to C classes, or that of a constant
            Gaussian with the variance of the targets. Without learned precisions, the summed -log p
            of the targets is compared.

    Example:
        >>> import torch
        >>> from orbitlens.symmetry.relax.mixed import mixed_network
        >>> network = mixed_network(1, 2, 8, channels=[4, 8], strides=[2, 4], hidden=8)
        >>> labels = torch.arange(200) % 2
        >>> noise = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> x = noise + labels.reshape(-1, 1, 1, 1)
        >>> result = fit_with_evidence(network, x, labels, epochs=12)
        >>> result.status, [epoch for epoch, _ in result.evidence]
        ('completed', [10])
        >>> sorted(network.block1.symmetry_use().parts)
        ['conv', 'f-fc']
    """
    check_kind("network", network, nn.Module, "give a torch.nn.Module")
    if augment is not None and not callable(augment):
        raise OrbitLensError(
            "`augment`",
            expected="a function of a batch and a torch.Generator, or None",
            received=type(augment).__name__,
            remedy="leave it out where the inputs are not augmented",
        )
    settings = as_settings(
        likelihood=likelihood,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        momentum=momentum,
        burn_in=burn_in,
        every=every,
        hyper_steps=hyper_steps,
        hyper_lr=hyper_lr,
        sampled=sampled,
        curvature_batch=curvature_batch,
        temperature=temperature,
        seed=seed,
    )
    if not as_number("checkpoint_seconds", checkpoint_seconds) >= 0:
        raise out_of_range("checkpoint_seconds", "0 or more", checkpoint_seconds)
    with usual_torch():
        x, y = as_data(network, inputs, targets, settings)
        training = EvidenceTraining(network, x, y, settings, augment)
        file = None
        if checkpoint is not None:
            record = {**settings, "data": checksum({"x": x, "y": y}), "n": len(x)}
            record["augmented"] = augment is not None
            record["network"] = f"{type(network).__name__} {digest_of({'': repr(network)})}"
            start = dict(network.state_dict())
            file = EvidenceCheckpoint(
                as_path("checkpoint", checkpoint), record, start, checkpoint_seconds
            )
        # All layers do the same in training: those that do not were refused.
        network.eval()
        train(training, file, progress)
        measured = None if training.diverged else training.measure()
        return _result(training, measured)


def _result(training: EvidenceTraining, measured: Measured | None) -> EvidenceFit:
    unknown = [math.nan] * len(training.names)
    gammas = unknown if measured is None else measured.effective_dimensions.tolist()
    rows = zip(
        training.names, training.weights, training.log_precisions.tolist(), gammas, strict=True
    )
    tensors = tuple(TensorUse(name, w.numel(), p, gamma) for name, w, p, gamma in rows)
    # Where no precision was learned, effective dimensions are those of the prior that was given.
    _tell(training.network, tensors if training.has_learned else ())
    if measured is None:
        warn(
            "fit_with_evidence",
            found=f"the loss is no longer finite after epoch {len(training.loss)}",
            remedy="train with a smaller `lr`; this network is of no use",
        )
    else:
        _compare_with_chance(training, measured)
    gaussian = training.settings["likelihood"] == "gaussian"
    return EvidenceFit(
        network=training.network,
        status="diverged" if measured is None else "completed",
        loss=tuple(training.loss),
        evidence=tuple(training.evidence),
        negative_log_evidence=None if measured is None else measured.negative_log_evidence,
        tensors=tensors,
        noise=math.exp(training.log_variance.item() / 2) if gaussian else None,
    )


def _compare_with_chance(training: EvidenceTraining, measured: Measured) -> None:
    """Warn of a network that is no better than an answer which does not look at the inputs."""
    chance, likelihood = training.chance(), training.settings["likelihood"]
    # Beside a prior that was not learned, -log Z is large however well a network is trained.
    learned = training.has_learned
    name = "-log Z" if learned else "the summed -log p of the targets"
    found = measured.negative_log_evidence if learned else measured.loss
    if not found < chance:
        warn(
            "fit_with_evidence",
            found=f"{name} is {found:.5g}, not below {chance:.5g}, that of {_CHANCE[likelihood]}: "
            "by this figure the network explains the data no better than chance",
            remedy="look at its accuracy, and train longer, with another `lr` or smaller batches",
        )


def _tell(network: nn.Module, tensors: Sequence[TensorUse]) -> None:
    """Tell the mixed blocks the use of their paths; unknown where a part of a path is frozen."""
    known = {each.name: each for each in tensors}
    for name, block in network.named_modules():
        if isinstance(block, MixedBlock):
            start = f"{name}.paths." if name else "paths."
            gammas, off = [], []
            for path, module in block.paths.items():
                names = [f"{start}{path}.{own}" for own, _ in module.named_parameters()]
                own = [known[each] for each in names if each in known]
                whole = len(own) == len(names)
                gammas.append(sum(each.effective_dimension for each in own) if whole else math.nan)
                off.append(whole and all(each.switched_off for each in own))
            block.record_use(torch.tensor(gammas), torch.tensor(off))
