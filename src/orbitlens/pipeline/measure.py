"""All figures of one SAE on held-out orbits, in one record."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from orbitlens.activations import ActivationStore
from orbitlens.checks import as_count, as_switch
from orbitlens.metrics import (
    ReconstructionStats,
    alike_atoms,
    dead_latents,
    equivariance_error,
    invariance_error,
    l0,
    moving_share,
    orientation_codes,
)
from orbitlens.probe.orientation import infer_orientation
from orbitlens.sae import SAE
from orbitlens.training import FitResult, blew_up, still_falling
from orbitlens.transport import Transport, move
from orbitlens.typing import Float, Int, Orbits, Tensor

__all__ = ["measure_sae", "measured_samples", "training_figures", "variation"]

# Codes and activations of held-out orbits are in memory at once. With more numbers than this, a
# random part of the orbits is measured.
_MOST_NUMBERS = 50_000_000


def measured_samples(store: ActivationStore, *, d_sae: int, seed: int) -> Int[np.ndarray, " n"]:
    """Choose the held-out samples to measure an SAE on: all of them, if they fit into memory.

    Otherwise `seed` draws a part. The samples are in rising order.
    """
    held_out, d_sae = store.split()[1], as_count("d_sae", d_sae)
    per_sample = store.positions * store.group.order * max(d_sae, store.dim)
    most = max(1, _MOST_NUMBERS // per_sample)
    if most >= len(held_out):
        return held_out
    return np.sort(np.random.default_rng(seed).choice(held_out, most, replace=False))


@torch.no_grad()
def measure_sae(
    sae: SAE,
    orbits: Orbits,
    transport: Transport,
    *,
    transported: bool,
    splice: Callable[[Float[Tensor, "moved dim"]], Float[Tensor, "moved *axes"]] | None = None,
    inputs_moved: Float[Tensor, "moved *axes"] | None = None,
) -> dict[str, Any]:
    """Measure reconstruction, sparsity, invariance and equivariance of an SAE.

    If it is `transported`, the transport completes the SAE, x_hat(gx) = rho(g) D(E(psi(gx))), as
    for the paper's three; a vanilla SAE reconstructs psi(gx) itself. `splice` is the rest of an
    autoencoder, from the layer to the image. It measures the base model's error with the SAE
    spliced in, on the images `inputs_moved`.

    The figures are JSON-ready: parameters; mse, normalised_mse and explained_variance of
    D(E(psi(gx))) against psi(gx); the same with the prefix `transported_` for rho(g) D(E(psi(gx)))
    with the true g, and `inferred_` with g_hat = argmin_g ||psi - rho(g) D(E(psi))||; l0;
    dead_latents; code_invariance_error; output_invariance_error; equivariance_error of the final
    reconstruction; orientation_accuracy, the share of g_hat that are g; spliced_mse; atoms and
    moved_codes, see `moving_share`, of an orbit SAE. Its code_invariance_error is that of pooled
    codes, and an atom is dead, with all its latents, if it fires in no orientation. An SAE whose
    training diverged has parameters alone; the other figures are None.
    """
    transported = as_switch("transported", transported)
    n, order, _ = orbits.shape
    flat = orbits.flatten(0, 1)
    elements = torch.arange(order).repeat(n)
    codes = sae.encode(flat)
    x_hat = sae.decode(codes)
    if not bool(codes.isfinite().all() and x_hat.isfinite().all()):
        return _of_diverged(sae)
    final = move(x_hat, elements, transport.matrices) if transported else x_hat
    figures: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in sae.parameters()),
        **_reconstruction(flat, x_hat),
        **dict.fromkeys((f"transported_{name}" for name in _FIGURES), None),
        **dict.fromkeys((f"inferred_{name}" for name in _FIGURES), None),
        "l0": l0(codes).mean().item(),
        **_of_codes(sae, codes.unflatten(0, (n, order)), transport),
        # About the mean, because a large bias alone makes any reconstruction look invariant.
        "output_invariance_error": invariance_error(
            (x_hat - x_hat.mean(0)).unflatten(0, (n, order))
        ).item(),
        "equivariance_error": equivariance_error(
            final.unflatten(0, (n, order)), transport.matrices
        ).item(),
        "orientation_accuracy": None,
        "spliced_mse": None,
    }
    if transported:
        inferred = infer_orientation(flat, x_hat, transport.matrices)
        figures |= _prefixed("transported_", _reconstruction(flat, final))
        moved = move(x_hat, inferred, transport.matrices)
        figures |= _prefixed("inferred_", _reconstruction(flat, moved))
        figures["orientation_accuracy"] = (inferred == elements).float().mean().item()
    if splice is not None and inputs_moved is not None:
        figures["spliced_mse"] = (splice(final) - inputs_moved).square().mean().item()
    return figures


def _of_diverged(sae: SAE) -> dict[str, Any]:
    """Return the figures of an SAE whose codes or reconstructions are not finite."""
    prefixed = [
        f"{prefix}{name}" for prefix in ("", "transported_", "inferred_") for name in _FIGURES
    ]
    of_codes = ("l0", "dead_latents", "code_invariance_error", "atoms", "moved_codes")
    others = ("output_invariance_error", "equivariance_error", "orientation_accuracy")
    parameters = sum(parameter.numel() for parameter in sae.parameters())
    names = (*prefixed, *of_codes, *others, "spliced_mse")
    return {"parameters": parameters, **dict.fromkeys(names)}


def training_figures(result: FitResult, transport: Transport | None) -> dict[str, Any]:
    """Return what the training of an SAE left to doubt, JSON-ready.

    These are loss_still_falls and loss_blew_up, see `still_falling` and `blew_up`; and alike_atoms,
    the pairs of atoms that are nearly one, see `alike_atoms`. Latents of an SAE that `transport`
    completes are compared up to its moves; those of one that diverged are not numbers, so None.
    """
    history = result.history
    return {
        "loss_still_falls": still_falling(history.loss),
        "loss_blew_up": blew_up(history.loss, history.explained_variance),
        "alike_atoms": alike_atoms(result.sae, transport) if result.status == "completed" else None,
    }


def variation(orbits: Orbits) -> float:
    """Return the share of the activations' energy about their mean: 0 for a constant layer.

    sum ||psi - mean||^2 / sum ||psi||^2
    """
    rows = orbits.flatten(0, 1).double()
    energy = rows.square().sum().item()
    return 0.0 if energy == 0 else (rows - rows.mean(0)).square().sum().item() / energy


def _of_codes(
    sae: SAE, codes: Float[Tensor, "batch group latents"], transport: Transport
) -> dict[str, Any]:
    """Return the figures of codes along orbits, for each kind of SAE by its promise."""
    group = sae.dictionary.group
    if group is None:
        return {
            "dead_latents": int(dead_latents(codes.flatten(0, 1))),
            "code_invariance_error": invariance_error(codes).item(),
            "atoms": None,
            "moved_codes": None,
        }
    pooled = sae.dictionary.pooled(codes)
    return {
        "dead_latents": int(dead_latents(pooled.flatten(0, 1))) * group.order,
        "code_invariance_error": invariance_error(pooled).item(),
        "atoms": pooled.shape[-1],
        "moved_codes": moving_share(orientation_codes(sae, codes), group).item()
        if group == transport.group
        else None,
    }


_FIGURES = ("mse", "normalised_mse", "explained_variance")


def _reconstruction(
    x: Float[Tensor, "batch dim"], x_hat: Float[Tensor, "batch dim"]
) -> dict[str, float]:
    stats = ReconstructionStats()
    stats.update(x, x_hat)
    return {name: getattr(stats, name).item() for name in _FIGURES}


def _prefixed(prefix: str, figures: dict[str, float]) -> dict[str, float]:
    return {prefix + name: value for name, value in figures.items()}
