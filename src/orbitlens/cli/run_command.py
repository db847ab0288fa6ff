"""The command `orbitlens run`: the whole pipeline, from images to a page."""

from pathlib import Path
from typing import Any

import click

from orbitlens.cli import options as cli
from orbitlens.cli.options import number, option, r2, settings
from orbitlens.pipeline import QUICK, Console


@click.command("run", cls=cli.Verb, renamed={"--workers": "--probe-threads"})
@click.argument("source")
@option("--quick", "Do a smaller run, for a first look.", default=False)
@settings(*cli.GROUP, "model", "layer", "positions", "n_samples", "image_size", "transport")
@settings("d_sae", "n_atoms", "k", "epochs", *cli.RUN)
@settings(
    "layout",
    "random_weights",
    "seed_forward",
    *cli.AUTOENCODER,
    "unreadable",
    "white",
    "dtype",
    expert=True,
)
@settings("sparsity", "hidden", "weight", "orbit_weight", "batch_size", "lr", expert=True)
@settings("memory_gib", "precision", "probe_latents", "probe_samples", expert=True)
@settings("probe_every", "probe_threads", "features", expert=True)
@cli.common("runs/SOURCE")
def run_command(
    quick: bool, out: Path | None, resume: bool, console: Console, **values: Any
) -> cli.Result:
    """Take images through the whole pipeline and end with a page.

    SOURCE is shapes, digits, photographs, cells or a folder of images (PNG, JPEG, TIFF, WebP, BMP).
    If the images have classes, put each class into a subfolder. Where a folder has the name of a
    built-in source, write ./cells for the folder and builtin:cells for the other.
    """
    from orbitlens.pipeline import run

    config = cli.config_of(values, QUICK if quick else {})
    out = out or Path("runs") / Path(config.source).resolve().name
    metrics = run(config, out, resume=resume, console=console)
    return metrics, [*_summary(metrics), f"page: {out / 'report' / 'index.html'}"]


def _summary(metrics: dict[str, Any]) -> list[str]:
    rho = metrics["transport"]
    lines = [
        f"transport R^2 {r2(rho['r2'])} (identity {r2(rho['identity_r2'])}, "
        f"relation error {number(rho['relation_error'])})"
    ]
    for name, sae in metrics["saes"].items():
        error = sae["transported_normalised_mse"]
        error = sae["normalised_mse"] if error is None else error
        lines.append(f"{name:<22} normalised MSE {number(error)}, l0 {number(sae['l0'])}")
    return [*metrics["data"]["passed_over"], *lines, *cli.diverged(metrics["saes"])]
