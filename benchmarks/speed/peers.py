"""The four peer libraries, each through its own public training step on tensors in memory.

Written for overcomplete 0.3.0, dictionary-learning 0.1.0, eai-sparsify 1.3.3 and sae-lens 6.54.12;
imported by the workers of the other scripts, in the environment that README.md describes. Every
peer gets the settings under which it is fastest: no logging, no monitoring, no evaluation. None has
an auxiliary loss in its first 1,000 steps by default. (Sparse activations, an option of SAELens,
raise an error in the backward pass on the CPU of torch 2.13.)
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from unittest.mock import MagicMock

import torch
from torch import Tensor


@dataclass(frozen=True)
class Settings:
    """A TopK SAE and its training, the same for everybody.

    Args:
        d_in: Width of the activations.
        d_sae: Number of latents.
        k: Latents kept per sample.
        batch: Samples per step.
        lr: Learning rate of Adam, constant.
        seed: Seed of the weights.
        bf16: Whether products are taken in bfloat16, with weights in float32.
    """

    d_in: int
    d_sae: int
    k: int
    batch: int
    lr: float = 1e-3
    seed: int = 0
    bf16: bool = False


@dataclass(frozen=True)
class Peer:
    """An SAE of a peer.

    Args:
        train: Takes one step on each batch, until there is none left.
        reconstruct: The reconstruction of samples, shape [batch, d_in].
    """

    train: Callable[[Iterator[Tensor]], None]
    reconstruct: Callable[[Tensor], Tensor]


def overcomplete(settings: Settings) -> Peer:
    """Its `train_sae`, or `train_sae_amp`, without monitoring."""
    # It imports networks that are not used here.
    for name in ("torchvision", "torchvision.transforms", "timm"):
        sys.modules.setdefault(name, MagicMock())
    from overcomplete.sae import TopKSAE, train_sae
    from overcomplete.sae.train import train_sae_amp

    torch.manual_seed(settings.seed)
    sae = TopKSAE(settings.d_in, nb_concepts=settings.d_sae, top_k=settings.k)
    optimizer = torch.optim.Adam(sae.parameters(), lr=settings.lr)
    run = train_sae_amp if settings.bf16 else train_sae

    def train(batches: Iterator[Tensor]) -> None:
        run(
            sae,
            batches,
            lambda x, x_hat, *_: (x - x_hat).square().mean(),
            optimizer,
            nb_epochs=1,
            monitoring=0,
            device="cpu",
        )

    return Peer(train, lambda x: sae(x)[-1])


def dictionary_learning(settings: Settings) -> Peer:
    """`TopKTrainer.update`; in bfloat16 under autocast, as its `trainSAE` does on a GPU."""
    from dictionary_learning.trainers.top_k import TopKTrainer

    trainer = TopKTrainer(
        steps=10**9,
        activation_dim=settings.d_in,
        dict_size=settings.d_sae,
        k=settings.k,
        layer=0,
        lm_name="none",
        lr=settings.lr,
        warmup_steps=0,
        seed=settings.seed,
        device="cpu",
    )

    def train(batches: Iterator[Tensor]) -> None:
        for step, x in enumerate(batches):
            with in_bf16(settings.bf16):
                trainer.update(step, x)

    return Peer(train, trainer.ae)


def sparsify(settings: Settings) -> Peer:
    """Its `Trainer` on one batch of activations, which it takes from language models."""
    from sparsify import SparseCoder, SparseCoderConfig

    torch.manual_seed(settings.seed)
    config = SparseCoderConfig(num_latents=settings.d_sae, k=settings.k)
    sae = SparseCoder(settings.d_in, config, dtype=torch.float32)
    optimizer = torch.optim.Adam(sae.parameters(), lr=settings.lr)

    def train(batches: Iterator[Tensor]) -> None:
        for step, x in enumerate(batches):
            if step == 0:
                sae.b_dec.data = x.mean(0)
            sae.set_decoder_norm_to_unit_norm()
            with in_bf16(settings.bf16):
                loss = sae(x).fvu
            loss.backward()
            sae.remove_gradient_parallel_to_decoder_directions()
            optimizer.step()
            optimizer.zero_grad()

    return Peer(train, lambda x: sae(x).sae_out)


def saelens(settings: Settings) -> Peer:
    """Its `SAETrainer` with a data provider."""
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(settings.seed)
    sae = TopKTrainingSAE(
        TopKTrainingSAEConfig(d_in=settings.d_in, d_sae=settings.d_sae, k=settings.k)
    )
    config = SAETrainerConfig(
        total_training_samples=10**12,
        train_batch_size_samples=settings.batch,
        lr=settings.lr,
        lr_end=settings.lr,
        autocast=settings.bf16,
        logger=LoggingConfig(log_to_wandb=False),
    )

    def train(batches: Iterator[Tensor]) -> None:
        with contextlib.suppress(StopIteration):
            SAETrainer(config, sae, batches).fit()

    return Peer(train, sae)


PEERS: dict[str, Callable[[Settings], Peer]] = {
    "sparsify": sparsify,
    "overcomplete": overcomplete,
    "dictionary_learning": dictionary_learning,
    "SAELens": saelens,
}


def in_bf16(wanted: bool) -> torch.autocast:
    """Products in bfloat16, or as they are."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=wanted)
