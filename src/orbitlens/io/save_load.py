"""Save and load SAEs, transports and networks: JSON beside safetensors, never pickle.

An SAE folder holds `cfg.json` and `sae_weights.safetensors`, a transport folder `transport.json`
and `transport.safetensors`, the folder of a network `network.json` and `network.safetensors`, see
`models.read_network`. A folder is written under a temporary name and renamed. Both files are
sealed together: what was damaged, changed by hand or put beside another's file is refused.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from orbitlens.errors import OrbitLensError, one_line
from orbitlens.files import (
    TO_READ,
    as_path,
    in_place_of_a_folder,
    new_folder,
    one_line_errors,
)
from orbitlens.io._saes import check_known_parts, read_sae, write_sae
from orbitlens.io._transports import check_built_on, read_transport, write_transport
from orbitlens.models import load_network, save_network
from orbitlens.sae import SAE
from orbitlens.transport import Transport


def save(
    thing: SAE | Transport | nn.Module,
    path: str | Path,
    *,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write an SAE, a transport or a network of OrbitLens to a new folder.

    A network is kept with the arguments that it was built with. Those of `orbitlens.models` and of
    `orbitlens.symmetry` remember them. For networks of your own, see "Save a network" in
    docs/your-own-network.md.

    Args:
        thing: The SAE, the transport or the network.
        path: The folder; must not exist yet.
        metadata: JSON-ready notes to keep beside it, such as the model and layer it is of.

    Returns:
        The folder.

    Raises:
        OrbitLensError: If it is none of them, the folder exists, a weight is NaN or infinite, the
            SAE has parts that this format does not know, the network does not remember its
            arguments or one of them cannot be kept, it was changed after it was built (another
            layer or attribute, a hook, weights that two layers share), or JSON cannot hold the
            metadata.

    Example:
        >>> import orbitlens as ol
        >>> import tempfile
        >>> sae = ol.sae.topk_sae(d_in=4, d_sae=8, k=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     loaded = load(save(sae, Path(folder) / "sae"))
        >>> bool((loaded.W_dec == sae.W_dec).all())
        True
    """
    _check(thing, metadata)
    place = as_path("path", path)
    if isinstance(thing, nn.Module) and not isinstance(thing, SAE):
        save_network(thing, place, metadata=metadata)
        return place
    if isinstance(thing, SAE):
        check_known_parts(thing)
    with new_folder(place) as folder:
        if isinstance(thing, SAE):
            write_sae(thing, folder, metadata or {})
        else:
            write_transport(thing, folder, metadata or {})
    return place


def _check(thing: object, metadata: object) -> None:
    if not isinstance(thing, SAE | Transport | nn.Module):
        raise OrbitLensError(
            "`thing` to save",
            expected="an SAE, a transport or a network",
            received=type(thing).__name__,
            remedy="a store is written where it is made, with `out`; arrays with numpy.save",
        )
    try:
        # As JSON stands for it; `to_json` writes null for what is not finite.
        json.dumps(dict(metadata or {}), allow_nan=False)  # type: ignore[call-overload]
    except (TypeError, ValueError, RecursionError) as error:
        raise OrbitLensError(
            "`metadata`",
            expected="a dict of text, finite numbers, lists and dicts, as JSON holds them",
            received=one_line(error),
            remedy="convert what it holds, for example with .tolist()",
        ) from None


def load(path: str | Path, *, transport: Transport | None = None) -> SAE | Transport | nn.Module:
    """Read an SAE, a transport or a network that `save` wrote, or a TopK SAE that SAELens wrote.

    A network that a recipe has kept is read too; `models.read_network` also returns how its inputs
    are prepared.

    The settings of SAELens that change numbers (apply_b_dec_to_input, rescale_acts_by_decoder_norm)
    are folded into the weights; others, such as normalize_activations, are refused by name.

    Args:
        path: The folder.
        transport: Checks that an orbit SAE was built on this transport; None (default) checks
            nothing. An orbit SAE of an earlier version needs it, unless it lies in its run.

    Returns:
        The SAE or the network, in evaluation mode, or the transport.

    Raises:
        OrbitLensError: If the folder holds none of them, a file in it is damaged or was changed, it
            needs a setting of another program that is not known, or the SAE was not built on the
            transport.
    """
    folder = as_path("path", path)
    with one_line_errors(folder, TO_READ):
        is_sae, is_transport, is_network = (
            (folder / name).is_file() for name in ("cfg.json", "transport.json", "network.json")
        )
    if is_sae:
        sae = read_sae(folder, transport=transport)
        if transport is not None:
            check_built_on(sae, transport)
        return sae
    if is_transport:
        return read_transport(folder)
    if is_network:
        return load_network(folder)
    raise OrbitLensError(
        str(folder),
        expected="a folder with cfg.json (an SAE), transport.json (a transport) or network.json (a "
        "network)",
        received="none of them" if folder.is_dir() else in_place_of_a_folder(folder),
        remedy="give the folder that `orbitlens.save` wrote",
    )
