"""Three features of an orbit SAE as pictures, one row for each orientation.

    python benchmarks/orbit/pictures.py --models runs/shapes-models --out docs/features

Shapes (CNN autoencoder, `shapes_base`) and digits (CNN autoencoder, trained here), C4: the atoms of
most energy, each with the held-out images, in any orientation, on which it fires most.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

import orbitlens as ol
from orbitlens.files import new_file
from orbitlens.pipeline import Job, RunConfig, prepare, stages
from orbitlens.report import FeatureCard, orbit_feature_cards
from orbitlens.reproduce.shapes import shapes_base

IMAGES = 7


def main() -> None:
    """Draw both pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="a folder called shapes-models")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model-epochs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=100)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    base = shapes_base(
        options.models.parent / "pictures",
        model="cnn",
        group="C4",
        seed=0,
        model_epochs=options.model_epochs,
        model_samples=10_000,
        n_samples=4096,
    )
    cards = features(base.job, base.store, n_atoms=64, k=4, epochs=options.epochs)
    draw(cards, base.store.group.element_names, options.out / "shapes.png")
    job = prepare(RunConfig.for_source("digits", group="C4"))
    place = options.out / ".digits"
    stages.train_model(job, place.with_suffix(".safetensors"))
    store = ol.harvest(
        job.model.module,
        layer=job.model.layer,
        inputs=job.source.inputs.values,
        action=job.action,
        out=None,
    )
    place.with_suffix(".safetensors").unlink()
    cards = features(job, store, n_atoms=128, k=8, epochs=options.epochs)
    draw(cards, store.group.element_names, options.out / "digits.png")


def features(
    job: Job, store: ol.ActivationStore, *, n_atoms: int, k: int, epochs: int
) -> list[FeatureCard]:
    """Train an orbit SAE and lay out its three strongest atoms on held-out images."""
    rho = ol.fit_transport(store, "exact")
    sae = ol.OrbitSAE(d_in=store.dim, n_atoms=n_atoms, k=k, transport=rho)
    ol.fit(sae, store, epochs=epochs, batch_size=128, lr=2e-3, lr_decay=0.2)
    held_out = store.split()[1]
    with torch.no_grad():
        orbits = store.orbits(held_out)
        codes = sae.encode(orbits.flatten(0, 1)).unflatten(0, orbits.shape[:2])
    images = job.source.inputs.values[torch.from_numpy(held_out)]
    return orbit_feature_cards(
        codes,
        lambda indices, element: job.action.apply(images[indices], element),
        sae,
        sae="orbit",
        n_features=3,
        n_images=IMAGES,
    )


def draw(cards: Sequence[FeatureCard], elements: Sequence[str], path: Path) -> None:
    """Draw cards side by side, a row for each orientation."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = max(len(card.images) for card in cards), len(cards)
    figure = Figure(figsize=(columns * 5.2, rows * 0.82 + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    for part, card in zip(figure.subfigures(1, columns, squeeze=False)[0], cards, strict=True):
        part.suptitle(f"atom {card.latent}: {card.label}", fontsize=9)
        axes = part.subplots(rows, IMAGES, squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for place, element in enumerate(card.orientations or ()):
            axes[place, 0].text(
                -0.25,
                0.5,
                elements[element],
                transform=axes[place, 0].transAxes,
                ha="right",
                va="center",
                fontsize=9,
            )
            for axis, image, activation in zip(
                axes[place], card.images[place], card.activations[place], strict=False
            ):
                if activation > 0:
                    axis.imshow(image.permute(1, 2, 0).squeeze(-1), cmap="gray", vmin=0, vmax=1)
    with new_file(path) as file:
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
