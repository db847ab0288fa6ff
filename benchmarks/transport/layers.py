"""The layers of small classifiers under D4: three kinds of images, a CNN and a ViT.

    python benchmarks/transport/layers.py --out docs/layers        # about 40 minutes on 2 cores

The images are digits, drawn blood cells and patches of two photographs, of 32 pixels. Each network
trains once on the images as they are, and once on images turned and flipped at random by D4. Writes
summary.csv and summary.png.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import orbitlens as ol
from orbitlens.files import write_table
from orbitlens.transport import NetworkEquivariance, measure_network

GROUP = ol.groups.dihedral(4)
SIZE, PATCH, WIDTH, DEPTH = 32, 4, 64, 4
SHOWN = ("r2", "identity_r2", "invariant_share")
SAMPLES, BATCH, LR = 1600, 64, 2e-3
EPOCHS = {"cnn": 40, "vit": 80}


def images(name: str) -> ol.data.Inputs:
    """Load a data set."""
    match name:
        case "digits":
            return ol.data.digits(SIZE).subset(SAMPLES, seed=0)
        case "cells":
            return ol.data.cells(SAMPLES, size=SIZE)
        case _:
            return ol.data.photographs(SAMPLES, size=SIZE)


def cnn(channels: int, classes: int) -> nn.Module:
    """Four convolutions of stride 1 with pooling between, so that turns fit the grid."""
    widths = (channels, 16, 32, 64, 64)
    parts: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        parts += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        parts += [nn.AvgPool2d(2)] if len(parts) < 12 else [nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(64, classes))


def vit(channels: int, classes: int) -> nn.Module:
    """A vision transformer of transformers, small, with random weights."""
    from transformers import ViTConfig, ViTForImageClassification

    return Logits(
        ViTForImageClassification(
            ViTConfig(
                image_size=SIZE,
                patch_size=PATCH,
                num_channels=channels,
                hidden_size=WIDTH,
                num_hidden_layers=DEPTH,
                num_attention_heads=4,
                intermediate_size=2 * WIDTH,
                num_labels=classes,
            )
        )
    )


class Logits(nn.Module):
    """A network of transformers that returns a tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.network(x).logits


VIT_LAYERS = [
    "network.vit.embeddings",
    *(f"network.vit.{{blocks}}.{block}" for block in range(DEPTH)),
    "network.vit.layernorm",
    "network.classifier",
]


def vit_layers(model: nn.Module) -> list[str]:
    """Name the layers to look at; transformers has called its blocks differently over time."""
    names = {name for name, _ in model.named_modules()}
    blocks = next(b for b in ("layers", "encoder.layer") if f"network.vit.{b}.0" in names)
    return [name.format(blocks=blocks) for name in VIT_LAYERS]


def train(model: nn.Module, data: ol.data.Inputs, *, epochs: int, moved: bool) -> float:
    """Train a classifier; return its accuracy on held-out images in all orientations."""
    action = ol.actions.images(GROUP)
    rows, held_out = ol.activations.split_samples(len(data.values))
    labels = torch.from_numpy(data.labels)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.05)
    steps = epochs * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(rows), generator=generator).split(BATCH):
            x, y = data.values[rows[batch]], labels[rows[batch]]
            if moved:
                elements = torch.randint(GROUP.order, (len(x),), generator=generator)
                x = torch.stack(
                    [action(image[None], int(g))[0] for image, g in zip(x, elements, strict=True)]
                )
            loss = cross_entropy(model(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        orbits = action.orbit(data.values[held_out])
        right = torch.stack([model(orbits[:, g]).argmax(1) for g in range(GROUP.order)], dim=1)
    return float((right == labels[held_out][:, None]).float().mean())


def rows_of(found: NetworkEquivariance, **origin: Any) -> list[dict[str, Any]]:
    """Give every layer a row with the figures of the summary."""
    return [
        {
            **origin,
            "depth": depth,
            "layer": row["layer"],
            "kind": row["kind"],
            "verdict": row["verdict"],
            **{key: row[key] for key in ("r2", "free_r2", "identity_r2", "control_r2")},
            "invariant_share": row["spectrum"][0],
            **{key: row[key] for key in ("relation_error", "equivariance_score")},
            **{key: row[key] for key in ("invariance_score", "lie_rotation", "lie_translation")},
        }
        for depth, row in enumerate(found.table)
    ]


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw R^2 and the invariant share over the depth, one panel for each kind of image."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["data"] for row in rows))
    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(2, len(names), sharey="row")
    titles = {"r2": "R² of the exact transport", "invariant_share": "share that D4 leaves alone"}
    for line, (key, title) in enumerate(titles.items()):
        for column, data in enumerate(names):
            axes = panels[line][column]
            for model, colour in (("cnn", "#0072b2"), ("vit", "#d05400")):
                for training, style in (("as they are", "--"), ("turned", "-")):
                    chosen = [
                        row
                        for row in rows
                        if (row["data"], row["model"], row["training"]) == (data, model, training)
                    ]
                    last = max(1, len(chosen) - 1)
                    x = [row["depth"] / last for row in chosen]
                    y = [max(row[key], -1.0) for row in chosen]
                    label = f"{model}, {training}"
                    axes.plot(x, y, style, color=colour, marker="o", markersize=3, label=label)
            axes.set_title(data if line == 0 else "")
            axes.grid(alpha=0.3)
            axes.set_xlabel("depth, first layer to last" if line else "")
        panels[line][0].set_ylabel(title)
    panels[0][0].legend(fontsize=8, loc="lower left")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train, measure and write everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/layers"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for name in ("digits", "cells", "photographs"):
        data = images(name)
        for kind, build in (("cnn", cnn), ("vit", vit)):
            for training in ("as they are", "turned"):
                torch.manual_seed(0)
                model = build(data.values.shape[1], len(data.class_names))
                accuracy = train(model, data, epochs=EPOCHS[kind], moved=training == "turned")
                found = measure_network(
                    model,
                    inputs=data.values,
                    action=ol.actions.images(GROUP),
                    layers=vit_layers(model) if kind == "vit" else None,
                    name=f"{name}-{kind}",
                )
                origin = {"data": name, "model": kind, "training": training, "accuracy": accuracy}
                own = rows_of(found, **origin)
                rows += own
                print(f"{name}, {kind}, {training}: accuracy {accuracy:.3f}", flush=True)
                for row in own:
                    figures = " ".join(f"{row[key]:7.3f}" for key in SHOWN)
                    print(f"  {row['layer']:<28} {row['verdict']:<18} {figures}", flush=True)
    write_table(rows, options.out / "summary.csv")
    draw(rows, options.out / "summary.png")


if __name__ == "__main__":
    main()
