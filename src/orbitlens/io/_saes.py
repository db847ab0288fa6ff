"""SAEs as files: `cfg.json` and `sae_weights.safetensors` in SAELens' layout.

The weights are W_enc, b_enc, W_dec, b_dec (and W_hidden, b_hidden, threshold where there are any).
SAELens reads an SAE with a linear encoder and TopK. Another dictionary than the free one is named
in `dictionary`, with its settings, and its tensors take the place of W_dec.

An orbit SAE is stored as it was trained, not |G| times larger: one vector per atom and encoder row,
in isotypic coordinates, with the T and T_inverse that lead there. Its group, multiplicities and
transport are in cfg.json. `orbitlens.sae.dense` writes it out as an SAE that SAELens reads.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from orbitlens.errors import OrbitLensError
from orbitlens.files import read_json, write_json
from orbitlens.groups import Group
from orbitlens.io._tensors import SCHEMA, check_schema, complete, read_tensors, write_tensors
from orbitlens.reps import IsotypicBasis, irreps
from orbitlens.sae import (
    SAE,
    SPARSITY_RULES,
    ArchetypalDictionary,
    BatchTopK,
    CrosscoderDictionary,
    Dictionary,
    Encoder,
    FreeDictionary,
    LinearEncoder,
    MLPEncoder,
    OnePose,
    OrbitDictionary,
    OrbitLinearEncoder,
    OrbitMLPEncoder,
    Sparsity,
    TopK,
)
from orbitlens.sae.builders import compose
from orbitlens.sae.orbit import compose_orbit
from orbitlens.typing import Tensor

_ORBIT: tuple[type[Encoder], ...] = (OrbitLinearEncoder, OrbitMLPEncoder)
_KNOWN: tuple[tuple[type[Encoder | Sparsity | Dictionary], ...], ...] = (
    (LinearEncoder, MLPEncoder, *_ORBIT),
    (TopK, BatchTopK),
    (FreeDictionary, ArchetypalDictionary, CrosscoderDictionary, OrbitDictionary),
)


def _flat(sae: SAE) -> dict[str, Tensor]:
    """Name the tensors as SAELens does, without the names of the parts."""
    return {name.split(".", 1)[1]: tensor for name, tensor in sae.state_dict().items()}


def check_known_parts(sae: SAE) -> None:
    """Refuse parts that the format has no name for."""
    for part, types in zip((sae.encoder, _rule(sae), sae.dictionary), _KNOWN, strict=True):
        if not isinstance(part, types):
            raise OrbitLensError(
                "`thing`",
                expected=f"an SAE with a part among {', '.join(kind.__name__ for kind in types)}",
                received=type(part).__name__,
                remedy="save the state_dict of an SAE with parts of your own",
            )
    if isinstance(sae.encoder, _ORBIT) != isinstance(sae.dictionary, OrbitDictionary):
        raise OrbitLensError(
            "`thing`",
            expected="an orbit encoder with an orbit dictionary, or neither",
            received=f"{type(sae.encoder).__name__} with {type(sae.dictionary).__name__}",
            remedy="save the state_dict of an SAE with parts of your own",
        )


def _rule(sae: SAE) -> Sparsity:
    """The sparsity rule, which one pose may be wrapped around."""
    return sae.sparsity.rule if isinstance(sae.sparsity, OnePose) else sae.sparsity


def write_sae(sae: SAE, folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write `cfg.json` and `sae_weights.safetensors` into a folder."""
    two_layers = isinstance(sae.encoder, MLPEncoder | OrbitMLPEncoder)
    hidden = sae.encoder.hidden if two_layers else None
    write_json(
        {
            "schema": SCHEMA,
            "architecture": "batchtopk" if isinstance(_rule(sae), BatchTopK) else "topk",
            **({"one_pose": True} if isinstance(sae.sparsity, OnePose) else {}),
            **_dictionary_settings(sae.dictionary),
            "d_in": sae.d_in,
            "d_sae": sae.d_sae,
            "k": sae.sparsity.k,
            "hidden": hidden,
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": True,
            "normalize_activations": "none",
            "rescale_acts_by_decoder_norm": False,
            "metadata": {"library": "orbitlens", **metadata},
        },
        folder / "cfg.json",
    )
    write_tensors(_flat(sae), folder / "sae_weights.safetensors")


def read_sae(folder: Path) -> SAE:
    """Read what `write_sae` wrote."""
    config = read_json(folder / "cfg.json")
    check_schema(folder, config)
    rule = _known(folder, config, "architecture", SPARSITY_RULES)
    build = _known(folder, {"dictionary": "free", **config}, "dictionary", _DICTIONARIES)
    with complete(folder / "cfg.json"):
        sae = _composed(rule(config["k"]), build(config), config)
    tensors = read_tensors(folder / "sae_weights.safetensors")
    full_names = {name.split(".", 1)[1]: name for name in sae.state_dict()}
    _check_shapes(folder, tensors, _flat(sae))
    sae.load_state_dict({full_names[name]: tensor for name, tensor in tensors.items()})
    sae.dictionary.settle_()
    return sae.eval()


def _composed(rule: Sparsity, dictionary: Dictionary, config: Mapping[str, Any]) -> SAE:
    if not isinstance(dictionary, OrbitDictionary):
        return compose(rule, dictionary, hidden=config.get("hidden"), seed=0)
    if config.get("one_pose"):
        rule = OnePose(rule, dictionary.group.order)
    return compose_orbit(rule, dictionary, hidden=config.get("hidden"), seed=0)


def _dictionary_settings(dictionary: Dictionary) -> dict[str, Any]:
    """What rebuilds a dictionary besides its widths; nothing for the one that SAELens knows."""
    match dictionary:
        case ArchetypalDictionary():
            n_candidates = len(dictionary.candidates)
            return {
                "dictionary": "archetypal",
                "n_candidates": n_candidates,
                "delta": dictionary.delta,
            }
        case CrosscoderDictionary():
            return {"dictionary": "crosscoder", "group_order": dictionary.group_order}
        case OrbitDictionary():
            return {
                "dictionary": "orbit",
                "n_atoms": dictionary.n_atoms,
                "group": dictionary.group.to_dict(),
                "multiplicities": list(dictionary.tied.multiplicities),
                "tolerance": dictionary.tolerance,
                "source": dictionary.source,
            }
        case _:
            return {}


def _empty_archetypal(config: Mapping[str, Any]) -> Dictionary:
    """The dictionary without its candidates, which are in the file; these hold their place."""
    candidates = torch.arange(float(config["n_candidates"]))[:, None].expand(-1, config["d_in"])
    return ArchetypalDictionary(candidates, config["d_sae"], delta=config["delta"])


def _empty_orbit(config: Mapping[str, Any]) -> Dictionary:
    """The dictionary without its basis, which is in the file."""
    group, multiplicities = Group.from_dict(config["group"]), tuple(config["multiplicities"])
    copies = zip(irreps(group), multiplicities, strict=True)
    dim = sum(irrep.dim * count for irrep, count in copies)
    place = torch.zeros(dim, dim, dtype=torch.float64)
    return OrbitDictionary(
        config["n_atoms"],
        IsotypicBasis(group, multiplicities, place, place),
        tolerance=config["tolerance"],
        source=config["source"],
    )


_DICTIONARIES: dict[str, Callable[[Mapping[str, Any]], Dictionary]] = {
    "free": lambda config: FreeDictionary(config["d_sae"], config["d_in"]),
    "archetypal": _empty_archetypal,
    "crosscoder": lambda config: CrosscoderDictionary(
        config["d_sae"], config["d_in"], config["group_order"]
    ),
    "orbit": _empty_orbit,
}

_T = TypeVar("_T")


def _known(folder: Path, config: Mapping[str, Any], key: str, known: Mapping[str, _T]) -> _T:
    """Look up what a field names."""
    if config.get(key) not in known:
        raise OrbitLensError(
            str(folder / "cfg.json"),
            expected=f"`{key}` among {', '.join(known)}",
            received=repr(config.get(key)),
            remedy="this version reads no other",
        )
    return known[config[key]]


def _check_shapes(folder: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    found_shapes = {name: tuple(tensor.shape) for name, tensor in sorted(found.items())}
    wanted_shapes = {name: tuple(tensor.shape) for name, tensor in sorted(wanted.items())}
    if found_shapes != wanted_shapes:
        raise OrbitLensError(
            str(folder / "sae_weights.safetensors"),
            expected=f"tensors {wanted_shapes}",
            received=found_shapes,
            remedy="cfg.json and the weights are not of the same SAE",
        )
