"""SAEs as files: `cfg.json` and `sae_weights.safetensors` in SAELens' layout.

The weights are W_enc, b_enc, W_dec, b_dec (and W_hidden, b_hidden, threshold where an SAE has
them). SAELens reads an SAE with a linear encoder and TopK, ReLU ("standard") or JumpReLU
("jumprelu"). Of bias adaptation the file has the dictionary, `biases` and `scales`;
`orbitlens.sae.dense` writes it out for SAELens. `cfg.json` names every dictionary but the free one,
with its settings; its tensors take the place of W_dec.

An orbit SAE is stored as it was trained, not |G| times larger: one vector per atom and encoder row,
in isotypic coordinates, with T and T_inverse. Its group, multiplicities and transport are in
`cfg.json`. The tensor `irreps` has the matrices of the generators in these coordinates; earlier
versions left it out, see `_irreps`. `orbitlens.sae.dense` writes the SAE out for SAELens.

An SAE of SAELens with TopK is read as well, see `_from_saelens`.

The parts say their settings and build themselves from them. They are found by their names among the
exports of `orbitlens.sae`.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orbitlens import sae as parts
from orbitlens.errors import OrbitLensError
from orbitlens.files import read_json, write_json
from orbitlens.io._from_saelens import as_ours, check_fields, is_foreign
from orbitlens.io._irreps import IRREPS, irreps_of_earlier
from orbitlens.io._sealed import SCHEMA, check_schema, complete, read_tensors, write_tensors
from orbitlens.sae import (
    SAE,
    Dictionary,
    OnePose,
    OrbitDictionary,
    Sparsity,
    TransposedEncoder,
    compose,
)
from orbitlens.transport import Transport
from orbitlens.typing import Tensor


def _named(kind: type) -> dict[str, Any]:
    """Return the parts of a kind that `orbitlens.sae` exports, by their names in files."""
    exports: list[Any] = [getattr(parts, name) for name in parts.__all__]
    known: list[Any] = [
        part for part in exports if inspect.isclass(part) and issubclass(part, kind)
    ]
    return {part.name: part for part in known if part.name}


def _flat(sae: SAE) -> dict[str, Tensor]:
    """Name the tensors as SAELens does, without the names of the parts."""
    tensors = {name.split(".", 1)[1]: tensor for name, tensor in sae.state_dict().items()}
    if isinstance(sae.dictionary, OrbitDictionary):
        tensors[IRREPS] = sae.dictionary.tied.generators
    return tensors


def check_known_parts(sae: SAE) -> None:
    """Refuse parts that the format has no name for."""
    encoders = (TransposedEncoder,) if sae.sparsity.ties else sae.dictionary.encoders
    for part, known, fits in (
        (sae.sparsity, _named(Sparsity).values(), sae.sparsity.name in _named(Sparsity)),
        (sae.dictionary, _named(Dictionary).values(), sae.dictionary.name in _named(Dictionary)),
        (sae.encoder, encoders, isinstance(sae.encoder, encoders)),
    ):
        if not fits:
            raise OrbitLensError(
                f"`thing`, an SAE with a {type(sae.dictionary).__name__}",
                expected=f"a part among {', '.join(kind.__name__ for kind in known)}",
                received=type(part).__name__,
                remedy="save the state_dict of an SAE with parts of your own",
            )


def write_sae(sae: SAE, folder: Path, metadata: Mapping[str, Any], *, finite: bool = True) -> None:
    """Write `cfg.json` and `sae_weights.safetensors` into a folder.

    Without `finite` the numbers may be NaN, as those of a training that diverged.
    """
    record = {
        "schema": SCHEMA,
        **sae.sparsity.settings(),
        **sae.dictionary.settings(),
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        **({"k": sae.sparsity.k} if sae.sparsity.k else {}),
        **sae.encoder.settings(),
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "rescale_acts_by_decoder_norm": False,
        "metadata": {"library": "orbitlens", **metadata},
    }
    loose = () if finite else None
    write_tensors(_flat(sae), folder / "sae_weights.safetensors", record, loose=loose)
    write_json(record, folder / "cfg.json")


def read_sae(folder: Path, *, finite: bool = True, transport: Transport | None = None) -> SAE:
    """Read the SAE that `write_sae` wrote, or an SAE of SAELens; see `write_sae` for `finite`.

    `transport` is the one that an orbit SAE was built on, if it is at hand.
    """
    record = read_json(folder / "cfg.json")
    config = {"dictionary": "free", **record}
    check_schema(folder, config)
    rule = _find(folder, config, "architecture", Sparsity)
    kind = _find(folder, config, "dictionary", Dictionary)
    with complete(folder / "cfg.json"):
        dictionary = kind.from_settings(config)
        posed = config.get("one_pose") and dictionary.group is not None
        sparsity = (OnePose if posed else rule).from_settings(config)
        sae = compose(sparsity, dictionary, hidden=config.get("hidden"))
        if is_foreign(record):
            check_fields(folder / "cfg.json", record)
    loose = () if finite else None
    tensors = read_tensors(folder / "sae_weights.safetensors", record, loose=loose)
    full_names = {name.split(".", 1)[1]: name for name in sae.state_dict()}
    if isinstance(sae.dictionary, OrbitDictionary) and IRREPS not in tensors:
        tensors[IRREPS] = irreps_of_earlier(folder, sae.dictionary, tensors, transport)
    _check_shapes(folder, tensors, _flat(sae))
    if isinstance(sae.dictionary, OrbitDictionary):
        sae.dictionary.tied.in_basis_(tensors.pop(IRREPS))
    if is_foreign(record):
        tensors = as_ours(folder / "cfg.json", record, tensors)
    sae.load_state_dict({full_names[name]: tensor for name, tensor in tensors.items()})
    sae.dictionary.settle_()
    return sae.eval()


def _find(folder: Path, config: Mapping[str, Any], key: str, kind: type) -> Any:
    known = _named(kind)
    if not isinstance(config.get(key), str) or config[key] not in known:
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
