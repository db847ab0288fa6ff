"""The SAEs of a run, by name: how each is built and what it minimises."""

from functools import partial
from typing import Any

from orbitlens import objectives
from orbitlens.checks import check_training
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.pipeline._names import SAES
from orbitlens.pipeline.config import RunConfig
from orbitlens.sae import (
    BUILDERS,
    SAE,
    SPARSITY_RULES,
    BiasAdaptation,
    Sparsity,
    bias_adaptation_sae,
    orbit_sae,
)
from orbitlens.training import Objective
from orbitlens.transport import Transport

NAMES = SAES
*_PAPERS, ORBIT = NAMES
_OBJECTIVES = (
    objectives.reconstruction,
    objectives.canonical,
    objectives.latent_invariance,
    objectives.output_invariance,
)
OBJECTIVES: dict[str, Objective] = dict(zip(_PAPERS, _OBJECTIVES, strict=True))
_WEIGHTED = ("equivariant_latent", "equivariant_output")


def build_sae(config: RunConfig, d_in: int, exact: Transport | None = None) -> SAE:
    """Build an untrained SAE of a run: the orbit SAE on `exact`, or, without it, the others."""
    if exact is None:
        if config.sparsity == BiasAdaptation.name:
            _check_room(config, config.d_sae * d_in)
            return bias_adaptation_sae(d_in, config.d_sae, seed=config.seed, **_targets(config))
        hidden = config.hidden
        encoder = hidden * (d_in + config.d_sae) if hidden else d_in * config.d_sae
        _check_room(config, encoder + config.d_sae * d_in)
        build = BUILDERS[config.sparsity]
        return build(d_in, config.d_sae, config.k, hidden=config.hidden or None, seed=config.seed)
    # Directions of all orientations stand beside the free numbers of the atoms.
    _check_room(config, config.atoms * d_in * (2 + exact.group.order))
    # A linear encoder, whatever `hidden` says: with the two layers of the paper's encoder the
    # reconstruction was up to 100 times worse.
    steered = config.sparsity == BiasAdaptation.name
    return orbit_sae(
        d_in,
        config.atoms,
        None if steered else config.k,
        exact,
        sparsity=config.sparsity,
        seed=config.seed,
        **(_targets(config) if steered else {}),
    )


def sparsity_rule(config: RunConfig, atoms: int, orientations: int = 1) -> Sparsity:
    """Return the sparsity rule of an SAE with so many latents, or atoms in some orientations."""
    if config.sparsity == BiasAdaptation.name:
        return BiasAdaptation(atoms, orientations=orientations, **_targets(config))
    return SPARSITY_RULES[config.sparsity](config.k)


def _targets(config: RunConfig) -> dict[str, Any]:
    return {"groups": config.bias_groups, "htf": config.htf, "ltf": config.ltf}


def _check_room(config: RunConfig, numbers: int) -> None:
    """Check, before anything is built, that a training on the CPU has room."""
    if config.torch_device.type == "cpu":
        check_training(numbers)


def sae_objective(config: RunConfig, name: str) -> Objective:
    """Return the objective of one of `NAMES` with its weight; a weight of 0 leaves it out.

    That of an orbit SAE has been chosen before, see `stages.choose_weight`.
    """
    if name == ORBIT:
        weight = config.orbit_weight
        if weight is None:
            raise RuntimeError("the weight of the orbit SAE is chosen before its objective")
        if weight == 0:
            return objectives.reconstruction
        return partial(objectives.orbit_invariance, weight=weight)
    objective = OBJECTIVES[name]
    return partial(objective, weight=config.weight) if name in _WEIGHTED else objective


def check_pairs(config: RunConfig, group: Group) -> None:
    """Check that an orbit SAE has at least `k` pairs (element, atom)."""
    pairs = group.order * config.atoms
    if config.sparsity != BiasAdaptation.name and config.k > pairs:
        raise OrbitLensError(
            "`k` of the orbit SAE",
            expected=f"at most {pairs}, {config.atoms} atoms in {group.order} orientations",
            received=config.k,
            remedy="lower k or raise n_atoms",
        )
