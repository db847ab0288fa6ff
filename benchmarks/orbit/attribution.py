"""Attribution between features of two layers of the Shapes autoencoders, against ablation.

    python benchmarks/orbit/attribution.py --models runs/shapes-models --out runs/attribution

Exits 1 if Spearman's correlation of attribution and measured effects is below 0.8, over all edges
or over the edges above 1e-4 of the largest. Orbit SAEs are trained on a layer inside the encoder
and on the code. Both figures are on held-out images in every orientation. The strongest edges of
each network are written as JSON and as a picture. A base model that the folder `shapes-models`
lacks is trained there.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

import orbitlens as ol
from orbitlens.attribution import Site, ablation_effects, agreement, attribution_graph
from orbitlens.files import new_file
from orbitlens.report.attribution_graph import draw_attribution
from orbitlens.reproduce.shapes import Base, shapes_base

TARGET = 0.8
LAYERS = {"mlp": "encoder.1", "cnn": "encoder.2"}  # both before their ReLU
ATOMS, IMAGES, MAPS, EPOCHS = 64, 128, 200, 100


def site_on_code(base: Base) -> tuple[Site, float]:
    """Train on the code, which is a vector; the site, and R^2 of the transport."""
    rho = ol.fit_transport(base.store, "exact")
    sae = ol.sae.orbit_sae(base.store.dim, ATOMS, 8, rho)
    ol.fit(sae, base.store, epochs=EPOCHS)
    return Site(base.store.layer, sae), rho.r2


def site_inside(base: Base, layer: str) -> tuple[Site, float]:
    """Train on the layer before: on the vectors of all training images, or the maps of some."""
    train, _ = base.store.split()
    maps = layer == LAYERS["cnn"]
    store = ol.harvest(
        base.model.module,
        layer=layer,
        inputs=base.images[torch.from_numpy(train[:MAPS] if maps else train)],
        action=base.job.action,
        positions="all" if maps else "auto",
        prepare=base.model.prepare,
        name=base.model.name,
    )
    rho = ol.fit_transport(store, "spatial" if maps else "exact")
    sae = ol.sae.orbit_sae(store.dim, ATOMS, 4 if maps else 8, rho)
    if maps:  # 256 rows for each image
        ol.fit(sae, store, epochs=EPOCHS // 10, batch_size=1024, lr=2e-3)
    else:
        ol.fit(sae, store, epochs=EPOCHS)
    return Site(layer, sae), rho.r2


def measure(base: Base, name: str, out: Path) -> tuple[str, bool]:
    """Attribute and ablate; a row of figures, and whether the target is met."""
    start = time.perf_counter()
    (earlier, r2_earlier), (later, r2_later) = site_inside(base, LAYERS[name]), site_on_code(base)
    trained = time.perf_counter() - start
    _, held_out = base.store.split()
    images = base.images[torch.from_numpy(held_out[:IMAGES])]
    settings = {
        "inputs": images,
        "action": base.job.action,
        "prepare": base.model.prepare,
        "batch_size": 64,
    }
    start = time.perf_counter()
    graph = attribution_graph(base.model.module, earlier, later, **settings)
    attributed = time.perf_counter() - start
    effects = ablation_effects(base.model.module, earlier, later, **settings)
    of_pre = agreement(graph.attribution, effects.pre)
    of_codes = agreement(graph.attribution, effects.codes)
    of_sizes = agreement(graph.attribution.abs(), effects.pre.abs())
    draw_attribution(graph, out / f"{name}-{graph.group.name}.png")
    met = min(of_pre.everywhere, of_pre.above) >= TARGET
    figures = [
        *(f"{r2:.3f}" for r2 in (r2_earlier, r2_later)),
        *(f"{share:.3f}" for share in (graph.explained, effects.explained)),
        *(f"{rho:.3f}" for rho in (of_pre.everywhere, of_pre.above)),
        f"{of_pre.n_above} of {of_pre.n}",
        *(f"{rho:.3f}" for rho in (of_sizes.above, of_codes.everywhere, of_codes.above)),
        f"{trained:.0f}",
        f"{attributed:.1f}",
        f"{time.perf_counter() - start - attributed:.1f}",
    ]
    with new_file(out / f"{name}-{graph.group.name}.json") as file:
        record = graph.to_dict() | {"agreement": of_pre._asdict()}
        file.write_text(json.dumps(record, indent=1) + "\n")
    row = f"| {name} | {graph.group.name} | {graph.earlier} → {graph.later} | {' | '.join(figures)}"
    return f"{row} | {'yes' if met else 'NO'} |", met


def main() -> None:
    """Measure the networks named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("runs/shapes-models"))
    parser.add_argument("--out", type=Path, default=Path("runs/attribution"))
    parser.add_argument("--networks", nargs="+", choices=sorted(LAYERS), default=["cnn", "mlp"])
    parser.add_argument("--group", default="C4")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(
        "| network | group | layers | R² of the transports | | explained by relative orientation: "
        "attribution | effects | Spearman | above 1e-4 | edges above | of sizes | with codes | "
        "above 1e-4 | seconds: training | attribution | ablation | met |"
    )
    print("|" + "---|" * 17)
    verdicts = []
    for name in options.networks:
        base = shapes_base(
            options.models,
            model=name,
            group=options.group,
            seed=options.seed,
            model_epochs=100,
            model_samples=10_000,
            n_samples=4096,
        )
        row, met = measure(base, name, options.out)
        print(row, flush=True)
        verdicts.append(met)
    sys.exit(0 if all(verdicts) else 1)


if __name__ == "__main__":
    main()
