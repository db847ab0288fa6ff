"""Save and load SAEs and transports: JSON beside safetensors, never pickle.

An SAE folder holds `cfg.json` and `sae_weights.safetensors` in SAELens' layout: W_enc, b_enc,
W_dec, b_dec (and W_hidden, b_hidden, threshold where there are any), so that an SAE with a linear
encoder and TopK is one that SAELens reads. An SAE with another dictionary than the free one names
it, with its settings, in `dictionary`, and holds that dictionary's tensors in place of W_dec. A
transport folder holds `transport.json` and
`transport.safetensors`. A folder is written under a temporary name and renamed.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from orbitlens.errors import OrbitLensError, one_line
from orbitlens.files import new_folder, read_json, write_json
from orbitlens.groups import Group
from orbitlens.sae import (
    SAE,
    ArchetypalDictionary,
    BatchTopK,
    CrosscoderDictionary,
    Dictionary,
    FreeDictionary,
    LinearEncoder,
    MLPEncoder,
    TopK,
)
from orbitlens.sae.builders import compose
from orbitlens.transport import Motion, Transport
from orbitlens.typing import Tensor

SCHEMA = 1
_STRUCTURE = ("basis", "tokens", "mean", "generator")
_SPARSITY_RULES = {"topk": TopK, "batchtopk": BatchTopK}


def save(
    thing: SAE | Transport, path: str | Path, *, metadata: Mapping[str, Any] | None = None
) -> Path:
    """Write an SAE or a transport to a new folder.

    Args:
        thing: What to save.
        path: The folder; must not exist yet.
        metadata: JSON-ready notes to keep beside an SAE, such as the model and layer it is of.

    Returns:
        The folder.

    Raises:
        OrbitLensError: If the folder exists, or the SAE has parts that this format does not know.

    Example:
        >>> import orbitlens as ol
        >>> import tempfile
        >>> sae = ol.sae.topk_sae(d_in=4, d_sae=8, k=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     loaded = load(save(sae, Path(folder) / "sae"))
        >>> bool((loaded.W_dec == sae.W_dec).all())
        True
    """
    if isinstance(thing, SAE):
        _check_known_parts(thing)
    with new_folder(path) as folder:
        if isinstance(thing, SAE):
            _write_sae(thing, folder, metadata or {})
        else:
            _write_transport(thing, folder)
    return Path(path)


def load(path: str | Path) -> SAE | Transport:
    """Read what `save` wrote.

    Args:
        path: The folder.

    Returns:
        The SAE, in evaluation mode, or the transport.

    Raises:
        OrbitLensError: If the folder holds neither, or a file in it is damaged.
    """
    folder = Path(path)
    if (folder / "cfg.json").is_file():
        return _read_sae(folder)
    if (folder / "transport.json").is_file():
        return _read_transport(folder)
    raise OrbitLensError(
        str(path),
        expected="a folder with cfg.json (an SAE) or transport.json (a transport)",
        received="neither" if folder.is_dir() else "no such folder",
        remedy="give the folder that `orbitlens.save` wrote",
    )


def _flat(sae: SAE) -> dict[str, Tensor]:
    """Name the tensors as SAELens does, without the names of the parts."""
    return {name.split(".", 1)[1]: tensor for name, tensor in sae.state_dict().items()}


def _check_known_parts(sae: SAE) -> None:
    parts = (sae.encoder, sae.sparsity, sae.dictionary)
    known = (
        (LinearEncoder, MLPEncoder),
        tuple(_SPARSITY_RULES.values()),
        (FreeDictionary, ArchetypalDictionary, CrosscoderDictionary),
    )
    for part, types in zip(parts, known, strict=True):
        if not isinstance(part, types):
            raise OrbitLensError(
                "`thing`",
                expected=f"an SAE with a part among {', '.join(kind.__name__ for kind in types)}",
                received=type(part).__name__,
                remedy="save the state_dict of an SAE with parts of your own",
            )


def _write_sae(sae: SAE, folder: Path, metadata: Mapping[str, Any]) -> None:
    hidden = sae.encoder.hidden if isinstance(sae.encoder, MLPEncoder) else None
    write_json(
        {
            "schema": SCHEMA,
            "architecture": next(
                name for name, rule in _SPARSITY_RULES.items() if isinstance(sae.sparsity, rule)
            ),
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
    _write_tensors(_flat(sae), folder / "sae_weights.safetensors")


def _read_sae(folder: Path) -> SAE:
    config = read_json(folder / "cfg.json")
    _check_schema(folder, config)
    rule = _known(folder, config, "architecture", _SPARSITY_RULES)
    build = _known(folder, {"dictionary": "free", **config}, "dictionary", _DICTIONARIES)
    with _complete(folder / "cfg.json"):
        sae = compose(rule(config["k"]), build(config), hidden=config.get("hidden"), seed=0)
    tensors = _read_tensors(folder / "sae_weights.safetensors")
    full_names = {name.split(".", 1)[1]: name for name in sae.state_dict()}
    _check_shapes(folder, tensors, _flat(sae))
    sae.load_state_dict({full_names[name]: tensor for name, tensor in tensors.items()})
    return sae.eval()


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
        case _:
            return {}


def _empty_archetypal(config: Mapping[str, Any]) -> Dictionary:
    """The dictionary without its candidates, which are in the file; these hold their place."""
    candidates = torch.arange(float(config["n_candidates"]))[:, None].expand(-1, config["d_in"])
    return ArchetypalDictionary(candidates, config["d_sae"], delta=config["delta"])


_DICTIONARIES: dict[str, Callable[[Mapping[str, Any]], Dictionary]] = {
    "free": lambda config: FreeDictionary(config["d_sae"], config["d_in"]),
    "archetypal": _empty_archetypal,
    "crosscoder": lambda config: CrosscoderDictionary(
        config["d_sae"], config["d_in"], config["group_order"]
    ),
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


def _write_transport(transport: Transport, folder: Path) -> None:
    write_json(
        {
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
        },
        folder / "transport.json",
    )
    motion = transport.motion
    structure = {name: getattr(motion, name) for name in _STRUCTURE}
    moves = {} if motion.moves is None else {"moves": torch.from_numpy(motion.moves)}
    tensors = {
        "matrices": motion.core,
        **{name: tensor for name, tensor in structure.items() if tensor is not None},
        **moves,
        "r2_per_element": transport.r2_per_element,
        "identity_r2_per_element": transport.identity_r2_per_element,
    }
    _write_tensors(tensors, folder / "transport.safetensors")


def _read_transport(folder: Path) -> Transport:
    record = read_json(folder / "transport.json")
    _check_schema(folder, record)
    tensors = _read_tensors(folder / "transport.safetensors")
    with _complete(folder / "transport.json"):
        moves = tensors.pop("moves", None)
        motion = Motion(
            tensors.pop("matrices"),
            variable=record.pop("variable"),
            moves=None if moves is None else moves.numpy(),
            **{name: tensors.pop(name, None) for name in _STRUCTURE},
        )
        # JSON has no infinity: a figure that is not finite is null there.
        infinite = {"condition_number": math.inf, "r2": -math.inf, "identity_r2": -math.inf}
        fields: dict[str, Any] = {
            **{k: infinite.get(k) if v is None else v for k, v in record.items()},
            **tensors,
            "group": Group.from_dict(record["group"]),
            "motion": motion,
            "r2_interval": tuple(-math.inf if v is None else v for v in record["r2_interval"]),
        }
        del fields["schema"]
        return Transport(**fields)


def _write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    path.chmod(0o644)  # safetensors leaves it readable by its owner alone


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise OrbitLensError(
            str(path),
            expected="a whole safetensors file",
            received="no such file"
            if isinstance(error, FileNotFoundError)
            else f"damage ({error})",
            remedy="the file is missing or truncated; copy or train it again",
        ) from None


@contextmanager
def _complete(path: Path) -> Iterator[None]:
    """Turn a field that is missing or of another type into an error that names the file."""
    try:
        yield
    except (KeyError, TypeError) as error:
        raise OrbitLensError(
            str(path),
            expected="every field that OrbitLens writes",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="the file is incomplete or of another program; write it again",
        ) from None


def _check_schema(folder: Path, record: Mapping[str, Any]) -> None:
    if record.get("schema", SCHEMA) > SCHEMA:
        raise OrbitLensError(
            str(folder),
            expected=f"schema {SCHEMA} or older",
            received=record["schema"],
            remedy="a newer OrbitLens wrote it; upgrade",
        )


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
