"""SO(2) on Shapes: a generator fitted to 64 turns, measured at 192 angles.

    python benchmarks/transport/circle.py --out benchmarks/transport

An MLP autoencoder trains on Shapes of 64 pixels on a canvas of 96, so that no turn cuts anything
off. The images turn at random in steps of 1.9 degrees with bilinear interpolation. The generator is
fitted to activations of 64 turns. R^2 is measured on held-out images at every step, also between
the 64. The error of the images themselves after a turn and back shows the cost of interpolation.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import pad

import orbitlens as ol
from orbitlens.transport import ScoreSums, frequencies, transport_scores

FITTED, MEASURED = 64, 192
CANVAS, MARGIN = 96, 16


def main() -> None:
    """Train, fit, measure, write circle.csv and circle.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/transport"))
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    shapes = ol.data.shapes(options.samples, seed=0).inputs.values
    images = pad(shapes, (MARGIN,) * 4)
    many = ol.actions.images(ol.groups.cyclic(MEASURED), interpolation="bilinear")
    few = ol.actions.images(ol.groups.cyclic(FITTED), interpolation="bilinear")
    model = ol.models.MLPAutoencoder(size=CANVAS, dim=256)
    train, held_out = ol.activations.split_samples(len(images))
    ol.models.train_autoencoder(model, images[train], action=many, epochs=options.epochs)
    coarse = ol.harvest(model, layer="encoder", inputs=images, action=few)
    rho = ol.fit_transport(coarse, "lie")
    exact = ol.fit_transport(coarse, "exact")
    print(f"R^2 at the {FITTED} turns: lie {rho.r2:.4f}, exact {exact.r2:.4f}")
    print(f"frequencies from 1 on: {frequencies(rho.motion.generator)}")
    fine = ol.harvest(model, layer="encoder", inputs=images[held_out], action=many)
    turns = torch.stack([rho.at(360 * p / MEASURED) for p in range(MEASURED)])
    everyone = np.arange(fine.n)
    score = transport_scores(fine, everyone, ol.transport.Motion(turns, variable=256))
    still = ScoreSums(ol.transport.identity(fine, everyone))
    still.update(fine.orbits()[:, None])
    rows = []
    for p in range(MEASURED):
        there = many(images[held_out], p)
        error = (many(there, -p % MEASURED) - images[held_out]).square().sum()
        about = (images[held_out] - images[held_out].mean(0)).square().sum()
        rows.append(
            {
                "degrees": 360 * p / MEASURED,
                "fitted": p % (MEASURED // FITTED) == 0,
                "r2": float(score.per_element[p]),
                "identity_r2": float(still.scores().per_element[p]),
                "image_error": float(error / about),
            }
        )
    with (options.out / "circle.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, options.out / "circle.png")
    for chosen in (True, False):
        some = [row for row in rows[1:] if row["fitted"] == chosen]
        kind = "fitted turns" if chosen else "angles between"
        r2, error = ([row[key] for row in some] for key in ("r2", "image_error"))
        print(f"{kind}: R^2 {min(r2):.4f} to {max(r2):.4f}, image error {np.mean(error):.4f}")


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """Draw R^2 against the angle, and the images' own error below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    degrees = [row["degrees"] for row in rows]
    above.plot(degrees, [row["r2"] for row in rows], label="generator")
    some = [row for row in rows if row["fitted"]]
    above.plot([row["degrees"] for row in some], [row["r2"] for row in some], "o", label="fitted")
    above.plot(degrees, [row["identity_r2"] for row in rows], "--", label="identity")
    above.set_ylabel("held-out R²")
    above.set_ylim(-1.1, 1.05)
    above.legend(loc="lower right")
    below.plot(degrees, [row["image_error"] for row in rows], color="tab:gray")
    below.set_ylabel("image error")
    below.set_xlabel("angle in degrees")
    below.set_ylim(0, None)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
