"""What is doubtful about the figures of a run, by its record: each as found, and what to do."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from orbitlens.report._notation import figure, finite, percent, sae_styles, score, short_name
from orbitlens.report._readings import final_error, part
from orbitlens.report._table import Record, is_completed

_FEW_ORBITS = 50
_MOST_DEAD = 1 / 3
_ALIKE_SHARE = 0.01
_CONSTANT = 1e-6
_LISTED, _LONGEST_NAME = 5, 40


def run_doubts(metrics: Record) -> list[str]:
    """Return the doubts about the record of a whole run."""
    model = part(metrics, "model")
    return [
        *split_doubts(part(metrics, "data").get("held_out")),
        *layer_doubts(model.get("layer"), model.get("variation")),
        *transport_doubts(part(metrics, "transport")),
        *(doubt for name, sae in part(metrics, "saes").items() for doubt in sae_doubts(name, sae)),
    ]


def network_doubts(record: Record) -> list[str]:
    """Return the doubts about the figures of the layers of a network, or of the groups on them."""
    layers = [layer for layer in record.get("layers") or record.get("ranking") or () if layer]
    return [
        *split_doubts(part(record, "inputs").get("held_out")),
        *_about(
            layers,
            lambda layer: finite(layer.get("rank")) == 0,
            "the activations are constant, so no figure says anything",
            "leave these layers out with --layers",
        ),
        *_about(
            layers,
            lambda layer: (finite(layer.get("r2")) or 0.0) < 0,
            "R² of the exact transport is below 0, it explains nothing",
            "do not compare these layers; try another group, or more inputs with --n-samples",
        ),
    ]


def split_doubts(held_out: Any) -> list[str]:
    """Return the doubt about few held-out orbits."""
    count = finite(held_out)
    if count is None or count >= _FEW_ORBITS:
        return []
    return [
        f"held-out orbits: there are {figure(round(count))} of them, so every figure is uncertain; "
        f"give at least {5 * _FEW_ORBITS} inputs, of which a fifth is held out"
    ]


def layer_doubts(layer: Any, variation: Any) -> list[str]:
    """Return the doubt about a layer that hardly varies; see `variation` of the pipeline."""
    share = finite(variation)
    if share is None or share >= _CONSTANT:
        return []
    found = "they are" if share == 0 else f"all but {percent(share)} of their energy is"
    return [
        f"activations of {layer or 'the layer'}: {found} constant, so R² and every error say "
        "nothing; choose another layer with --layer"
    ]


def transport_doubts(transport: Record) -> list[str]:
    """Return the doubts about the figures of one transport."""
    r2 = finite(transport.get("r2"))
    constant = finite(transport.get("variable")) == 0
    return [
        *(
            ["transport: no direction of the activations varies; choose another layer with --layer"]
            if constant
            else []
        ),
        *(
            [
                f"transport: R² is {score(r2)}, it explains nothing; do not read the figures that "
                "use it, and try another layer, another group or more inputs"
            ]
            if r2 is not None and r2 < 0
            else []
        ),
    ]


def sae_doubts(name: str, sae: Record | None) -> Iterator[str]:
    """Give the doubts about the figures and the training of one SAE."""
    if not sae:
        return
    name = sae_styles([name])[name].label
    if not is_completed(sae) or sae.get("loss_blew_up"):
        status = "blew up" if is_completed(sae) else sae["status"]
        yield (
            f"{name}: training {status}, its figures mean nothing and are never marked as best; "
            "give a lower --lr"
        )
        return
    if sae.get("loss_still_falls"):
        yield f"{name}: the loss still falls at the last epoch; give more --epochs"
    error = final_error(sae)[0]
    if error is not None and error > 1:
        yield (
            f"{name}: R² of its reconstructions is {score(1 - error)}, they explain nothing; give "
            "more --epochs, a larger --k or a lower --lr"
        )
    dead, latents = finite(sae.get("dead_latents")), finite(sae.get("d_sae"))
    if dead is not None and latents and dead > _MOST_DEAD * latents:
        yield (
            f"{name}: {figure(round(dead))} of {figure(round(latents))} latents never fire on "
            "held-out activations; give a lower --d-sae or --n-atoms, or more --epochs"
        )
    atoms = finite(sae.get("atoms")) or latents
    pairs = finite(sae.get("alike_atoms"))
    if pairs and atoms and pairs > _ALIKE_SHARE * atoms:
        one = pairs == 1
        yield (
            f"{name}: {figure(round(pairs))} {'pair' if one else 'pairs'} of atoms "
            f"{'is' if one else 'are'} alike up to a move of the group, so features are counted "
            "more than once; give a lower --d-sae or --n-atoms"
        )


def _about(
    layers: Sequence[Record], doubtful: Callable[[Record], bool], found: str, remedy: str
) -> list[str]:
    """Return one sentence about all layers of which something is doubtful, if there are any."""
    names = [_name(layer) for layer in layers if doubtful(layer)]
    if not names:
        return []
    listed = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
    return [f"{len(names)} of {len(layers)} rows ({listed}): {found}; {remedy}"]


def _name(layer: Record) -> str:
    name = short_name(str(layer.get("layer") or "the network"), _LONGEST_NAME)
    return f"{name} under {layer['group']}" if "group" in layer else name
