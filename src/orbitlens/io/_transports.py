"""Transports as files: figures in JSON, matrices and structure in safetensors."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from orbitlens.errors import OrbitLensError
from orbitlens.files import read_json, write_json
from orbitlens.groups import Group, check_moves
from orbitlens.io._sealed import SCHEMA, check_schema, complete, read_tensors, write_tensors
from orbitlens.sae import SAE, OrbitDictionary, orbit_dictionary
from orbitlens.transport import Motion, Transport
from orbitlens.typing import Matrices

_AGREES = 1e-3
"""Relative; float32 leaves 1e-6, and a fit to other orbits of the same layer 1e-2 and more."""
_STRUCTURE = ("basis", "tokens", "mean", "generator")
_FIGURES = ("r2_per_element", "identity_r2_per_element")
"""They may be infinite: an R^2 about no variance."""


def write_transport(transport: Transport, folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write `transport.json` and `transport.safetensors` into a folder."""
    record = {
        "schema": SCHEMA,
        "group": transport.group.to_dict(),
        "method": transport.method,
        "r2": transport.r2,
        "r2_interval": list(transport.r2_interval),
        "identity_r2": transport.identity_r2,
        "relation_error": transport.relation_error,
        "order_errors": transport.order_errors,
        "condition_number": transport.condition_number,
        "variable": transport.motion.variable,
        "source": transport.source,
        **({"metadata": dict(metadata)} if metadata else {}),
    }
    motion = transport.motion
    structure = {name: getattr(motion, name) for name in _STRUCTURE}
    moves = {} if motion.moves is None else {"moves": torch.from_numpy(motion.moves)}
    tensors = {
        "matrices": motion.core,
        **{name: tensor for name, tensor in structure.items() if tensor is not None},
        **moves,
        **{name: getattr(transport, name) for name in _FIGURES},
    }
    write_tensors(tensors, folder / "transport.safetensors", record, loose=_FIGURES)
    write_json(record, folder / "transport.json")


def read_transport(folder: Path) -> Transport:
    """Read the transport that `write_transport` wrote."""
    record = read_json(folder / "transport.json")
    check_schema(folder, record)
    tensors = read_tensors(folder / "transport.safetensors", record, loose=_FIGURES)
    record.pop("metadata", None)
    with complete(folder / "transport.json"):
        group = Group.from_dict(record["group"])
        moves = tensors.pop("moves", None)
        motion = Motion(
            tensors.pop("matrices"),
            variable=record.pop("variable"),
            moves=None if moves is None else moves.numpy(),
            **{name: tensors.pop(name, None) for name in _STRUCTURE},
        )
        _check_motion(motion, group)
        # JSON has no infinity: a figure that is not finite is null there.
        infinite = {"condition_number": math.inf}
        for name in _FIGURES:
            # An R^2 of constant activations has no value.
            nothing = bool(tensors[name][1:].isnan().all())
            infinite[name.removesuffix("_per_element")] = math.nan if nothing else -math.inf
        fields: dict[str, Any] = {
            **{k: infinite.get(k) if v is None else v for k, v in record.items()},
            **tensors,
            "group": group,
            "motion": motion,
            "r2_interval": tuple(infinite["r2"] if v is None else v for v in record["r2_interval"]),
        }
        del fields["schema"]
        return Transport(**fields)


def _check_motion(motion: Motion, group: Group) -> None:
    """Check the shapes of a motion, which files of earlier versions have no seal for."""
    order, rank = group.order, motion.core.shape[-1]
    if motion.core.shape != (order, rank, rank):
        raise ValueError(f"matrices of shape {list(motion.core.shape)} for {group}")
    if motion.moves is not None:
        check_moves(motion.moves, group)


def check_built_on(sae: SAE, transport: Transport) -> None:
    """Check that an orbit SAE was built on a transport, which may have a larger group."""
    dictionary = orbit_dictionary(sae)
    wanted = (dictionary.source or transport.source, dictionary.d_in)
    if (transport.source, transport.dim) != wanted:
        raise OrbitLensError(
            "`transport` of an orbit SAE",
            expected=f"the one it was built on, of {wanted[0]}, width {wanted[1]}",
            received=f"one of {transport.source}, width {transport.dim}, a transport of another "
            "layer",
            remedy="give the transport that the SAE was trained with",
        )
    given = transport.under(dictionary.group)
    difference = (matrices_in(dictionary) - given).norm(dim=(1, 2)) / given.norm(dim=(1, 2))
    if not difference.max() < _AGREES:
        raise OrbitLensError(
            f"`transport` of {transport.source} for an orbit SAE",
            expected="the matrices that it was built on",
            received=f"those of one fitted by {transport.method}, which differ by "
            f"{difference.max():.2g} of their size",
            remedy="give the transport that the SAE was trained with, not another fit",
        )


def matrices_in(dictionary: OrbitDictionary) -> Matrices:
    """Return the rho(g) = T (blocks of irreps) T^-1 of an orbit dictionary."""
    columns = dictionary.tied.orbits(dictionary.T_inverse.mT) @ dictionary.T.mT
    return columns.mT.detach().cpu()
