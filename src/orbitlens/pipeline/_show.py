"""The page of one SAE from Python: the one that a run draws, for activations of one's own."""

import tempfile
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Shaped

from orbitlens.actions import Action, check_action
from orbitlens.activations import ActivationStore
from orbitlens.activations.layout import layout_sentence
from orbitlens.checks import as_count, as_text, check_kind
from orbitlens.data import Indexed, Inputs, Rows, as_rows
from orbitlens.errors import OrbitLensError
from orbitlens.files import as_path
from orbitlens.metrics import Turning, alike_atoms, feature_turning
from orbitlens.models import evaluating
from orbitlens.pipeline._actions import action_by_name
from orbitlens.pipeline._cards import cards_of_sae
from orbitlens.pipeline._describe import describe_transport
from orbitlens.pipeline._drawings import DRAWINGS, HOW_DRAWN, MovedImages
from orbitlens.pipeline._features import counts_of, with_turning
from orbitlens.pipeline._own_transport import transport_of
from orbitlens.pipeline._saes import OBJECTIVES, ORBIT
from orbitlens.pipeline._top_images import check_sae
from orbitlens.pipeline.measure import measure_sae, measured_samples, training_figures, variation
from orbitlens.report import FeatureCard, write_page
from orbitlens.report._elements import elements_of
from orbitlens.sae import SAE, OrbitDictionary
from orbitlens.training import FitResult, Objective
from orbitlens.training._checks import as_objective
from orbitlens.transport import Transport, serves_orbit_saes
from orbitlens.typing import Orbits, Tensor

__all__ = ["show"]

_MEASURED = 64
_UNNAMED = "array"


def show(
    sae: SAE | FitResult,
    store: ActivationStore,
    images: Shaped[Tensor, "n *axes"] | Indexed | Inputs | None = None,
    *,
    out: Path | str | None = None,
    objective: Objective | str = "reconstruction",
    transport: Transport | None = None,
    action: Action | None = None,
    features: int = 6,
    name: str | None = None,
) -> Path:
    """Draw the page of a trained SAE: figures, transport, features with what they fire on.

    The page is the one that a run draws: one HTML file that loads nothing. All figures are on the
    held-out inputs of the store, `store.split()`, or a random part of them where their codes need
    too much memory. Nothing is opened.

    Args:
        sae: A trained SAE, or the result of `fit`, which brings the training curves along.
        store: The activations that it was trained on.
        images: The inputs x of the store, in its order: images [n, channels, height, width] or
            anything else that `harvest` takes. Inputs of the actions of `orbitlens.actions` are
            drawn as what they are. None (the default), and inputs of an action of one's own, show
            the names of the inputs in place of pictures: their files, or their numbers. Files in
            `store.files` are never read.
        out: The HTML file to write; None (the default) makes one in a new temporary folder.
        objective: The objective that the SAE was trained with, as in `fit`; the page names it. The
            transport completes the reconstructions of the paper's three: "canonical",
            "latent_invariance" and "output_invariance". An orbit SAE is known without it.
        transport: The transport of the layer; None (the default) takes that of an orbit SAE from
            its dictionary, and fits the exact one for other SAEs.
        action: The action that moved the inputs, to draw them; needed only with `images` for a
            store that does not know it, such as one of a given array.
        features: Features to show, default 6.
        name: The name of the data in the title; by default that of `Inputs`, or "Activations".

    Returns:
        The path of the page.

    Raises:
        OrbitLensError: If SAE, transport or action do not fit the store; if the images are not as
            many as its inputs, or, for a harvested store, not those that were harvested; or if
            `out` is no file that can be written.

    Example:
        >>> import orbitlens as ol
        >>> toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=400, seed=0)
        >>> store = ol.store_from_array(toy.orbits, group=toy.group)
        >>> rho = ol.fit_transport(store, "exact")
        >>> sae = ol.OrbitSAE(d_in=16, n_atoms=8, k=3, transport=rho)
        >>> page = show(ol.fit(sae, store, epochs=5), store)
        >>> page.name
        'index.html'
    """
    trained = sae if isinstance(sae, FitResult) else None
    sae = check_sae(sae, store)
    place, features = _place(out), as_count("features", features, least=0)
    if transport is not None:
        check_kind("transport", transport, Transport, "fit one with `fit_transport(store)`")
    called = _name_of(sae, objective)
    rows = None if images is None else _checked(images, store)
    drawn_by = _action_of(store, action, needed=rows is not None)
    titled = images.name if name is None and isinstance(images, Inputs) else name
    metrics: dict[str, Any] = {
        "group": {"name": store.group.name, "elements": list(store.group.element_names)},
        "action": _describe_action(store, drawn_by, rows),
        "config": {"source": "Activations"},
        "data": {
            "name": None if titled is None else as_text("name", titled),
            **_describe_data(store),
        },
    }
    if sae.b_dec.device.type != "cpu":
        sae = deepcopy(sae).cpu()
    samples = measured_samples(store, d_sae=sae.d_sae, seed=0)
    rho, notes = transport_of(sae, store, transport)
    images_of = None
    if rows is not None and drawn_by is not None and drawn_by.name in DRAWINGS:
        images_of = MovedImages(rows, samples, drawn_by)
    orbits, cards = store.orbits(samples), list[FeatureCard]()
    with evaluating(sae):
        moved: dict[str, Any] = {
            "positions": store.positions,
            "action": metrics["action"]["name"],
        }
        entry, turning = _measure(sae, trained, called, orbits, rho, moved)
        if turning is not None:
            exact = rho if serves_orbit_saes(rho) else None
            words = [element.words for element in elements_of(metrics)]
            shown: dict[str, Any] = {"n_features": features, "exact": exact, "words": words}
            cards = cards_of_sae(sae, store, samples, images_of, name=called, **shown)
            cards = with_turning(cards, turning.rows)
    metrics |= {
        "model": _describe_model(store, orbits),
        "transport": describe_transport(rho),
        "saes": {called: entry},
        "notes": notes + _notes(store, len(samples), rows, images_of, drawn_by),
    }
    histories = {} if trained is None else {called: asdict(trained.history)}
    place = place or Path(tempfile.mkdtemp(prefix="orbitlens-")) / "index.html"
    return write_page(place, metrics, histories, cards)


def _place(out: Path | str | None) -> Path | None:
    if out is None:
        return None
    place = as_path("out", out)
    if place.is_dir() or place.suffix.lower() not in (".html", ".htm"):
        raise OrbitLensError(
            "`out`",
            expected="an HTML file to write, such as page.html",
            received=f"{place}, a folder" if place.is_dir() else str(place),
            remedy=f"give {place / 'index.html'}",
        )
    return place


def _name_of(sae: SAE, objective: Objective | str) -> str:
    """Return the name under which a page shows an SAE; those of a run are those of `NAMES`."""
    function: Any = as_objective(objective)
    if isinstance(sae.dictionary, OrbitDictionary):
        return ORBIT
    while isinstance(function, partial):
        function = function.func
    known = [name for name, each in OBJECTIVES.items() if each is function]
    return known[0] if known else str(getattr(function, "__name__", "SAE"))


def _checked(images: object, store: ActivationStore) -> Rows:
    """Return the inputs of a store, after a check that they are the inputs of this store."""
    rows = images.values if isinstance(images, Inputs) else as_rows(images)
    if rows.ndim == 0 or len(rows) != store.n:
        raise OrbitLensError(
            "`images`",
            expected=f"the {store.n} inputs of {store}, in its order",
            received=f"{len(rows) if rows.ndim else 0}",
            remedy="give all inputs that were harvested, held-out ones and others",
        )
    # A store without a layout is of an array that was given, and its digest that of the array.
    if store.layout is None:
        return rows
    found = {Inputs("inputs", rows).digest}
    if store.labels is not None:
        names = store.class_names or tuple(map(str, range(int(store.labels.max()) + 1)))
        found.add(Inputs("inputs", rows, store.labels, names).digest)
    if store.digest not in found:
        raise OrbitLensError(
            "`images`",
            expected=f"those that were harvested, digest {store.digest}",
            received=f"others, digest {' or '.join(sorted(found))}",
            remedy="give the inputs as `harvest` got them, not prepared or sorted otherwise",
        )
    return rows


def _action_of(store: ActivationStore, action: Action | None, *, needed: bool) -> Action | None:
    """Return the action that moved the inputs of a store, if it can be drawn."""
    if action is not None:
        check_action(action)
        store.group.check_same_elements(action.group, "`action`")
        if action.group == store.group:
            return action
        raise OrbitLensError(
            "`action`",
            expected=f"one of {store.group.name}, the group of the store",
            received=repr(action),
            remedy="give the action that moved the inputs",
        )
    if store.action in DRAWINGS:
        return action_by_name(store.action, store.group, store.action_config)
    if needed and store.action == "given":
        raise OrbitLensError(
            "`action`",
            expected=f"how {store.group.name} moved the images, which {store} does not know",
            received="none",
            remedy="give for example action=orbitlens.actions.images(group), or leave out `images`",
        )
    return None


def _describe_action(
    store: ActivationStore, action: Action | None, rows: Rows | None
) -> dict[str, Any]:
    if action is None:
        return {"name": store.action, **store.action_config}
    if rows is not None:
        action.check(rows[:1])
    known = {"name": action.name, **action.config}
    if action.exact:
        return known
    error = {} if rows is None else {"error": action.error(rows[:_MEASURED])}
    return {**known, "exact": False, **error}


def _describe_data(store: ActivationStore) -> dict[str, Any]:
    train, held_out = store.split()
    return {
        "n": store.n,
        "train": len(train),
        "held_out": len(held_out),
        "digest": store.digest,
        "classes": list(store.class_names),
    }


def _describe_model(store: ActivationStore, orbits: Orbits) -> dict[str, Any]:
    named = {"name": store.model, "layer": store.layer}
    return {
        **{key: None if name == _UNNAMED else name for key, name in named.items()},
        "dim": store.dim,
        "positions": store.positions,
        "layout": layout_sentence(store.layout),
        "variation": variation(orbits),
    }


def _measure(
    sae: SAE,
    trained: FitResult | None,
    name: str,
    orbits: Orbits,
    transport: Transport,
    moved: dict[str, Any],
) -> tuple[dict[str, Any], Turning | None]:
    """Return the entry of an SAE in a record, and what its features do; None if it diverged."""
    transported = name in OBJECTIVES and name != "vanilla"
    completes = transport if transported else None
    if trained is not None:
        status, doubts = trained.status, training_figures(trained, completes)
    else:
        finite = all(bool(weights.isfinite().all()) for weights in sae.state_dict().values())
        status = "completed" if finite else "diverged"
        doubts = {"alike_atoms": alike_atoms(sae, completes) if finite else None}
    entry = {
        "objective": name.removeprefix("equivariant_"),
        "d_sae": sae.d_sae,
        "k": sae.sparsity.k,
        "status": status,
        **measure_sae(sae, orbits, transport, transported=transported),
        **doubts,
        "transport": describe_transport(transport) if name == ORBIT else None,
        "probe": None,
    }
    if status != "completed":
        return entry, None
    turning = feature_turning(sae, orbits, transport, **moved)
    return {**entry, **counts_of(turning)}, turning


def _notes(
    store: ActivationStore,
    measured: int,
    rows: Rows | None,
    images_of: MovedImages | None,
    drawn_by: Action | None,
) -> list[str]:
    notes = []
    if measured < len(store.split()[1]):
        notes.append(f"The SAE was measured on {measured} held-out samples drawn at random.")
    if images_of is not None and drawn_by is not None and drawn_by.name in HOW_DRAWN:
        notes.append(HOW_DRAWN[drawn_by.name])
    if rows is not None and images_of is None:
        notes.append("Inputs of this kind have no pictures: features show their names.")
    return notes
