"""The command `orbitlens run`: the whole pipeline, from images to a page."""

from pathlib import Path
from typing import Any

import click

from orbitlens.cli import options as cli
from orbitlens.cli.options import number, option, r2, settings
from orbitlens.pipeline import QUICK, Console
from orbitlens.pipeline._kept_settings import settings_of
from orbitlens.pipeline.config import LATER
from orbitlens.pipeline.folder import check_place


@click.command("run", cls=cli.Verb, renamed={"--workers": "--probe-threads"})
@click.argument("source")
@option("--quick", "Do a smaller run, for a first look.", default=False)
@settings("group", "action", "model", "layer", "positions", *cli.IMAGES, "transport")
@settings("saes", "d_sae", "k", "epochs", "device")
@settings(*cli.POINTS, "interpolation", "layout", "random_weights", "seed_forward", expert=True)
@settings(*cli.IMAGES_FOR_EXPERTS, *cli.AUTOENCODER, "dtype", expert=True)
@settings("n_atoms", "sparsity", "hidden", "weight", "orbit_weight", expert=True)
@settings("bias_groups", "htf", "ltf", expert=True)
@settings("batch_size", "lr", "memory_gib", "precision", expert=True)
@settings("probe_latents", "probe_samples", "probe_every", "probe_threads", expert=True)
@settings("features", "seed", expert=True)
@cli.common("runs/SOURCE")
def run_command(
    quick: bool, out: Path | None, resume: bool, console: Console, **values: Any
) -> cli.Result:
    """Take images, or other data, through the whole pipeline and end with a page.

    SOURCE is shapes, digits, photographs, cells or a folder of images (PNG, JPEG, TIFF, WebP, BMP).
    If the images have classes, put each class into a subfolder. Where a folder has the name of a
    built-in source, write ./cells for the folder and builtin:cells for the other.

    SOURCE is also a .npz file with an array `inputs` (and, if they are known, `labels`,
    `class_names` and `files`), or a .npy file of inputs: images [n, channels, height, width] in
    [0, 1], or other data with --action and a network of python:. recipe:NAME is the inputs and the
    network that a recipe has kept.
    """
    presets = dict(QUICK) if quick else {}
    config = cli.config_of(values, presets)
    out = out or Path("runs") / cli.name_of(config.source)
    if resume:
        # What may be added to a run stays as it is there, unless it is given.
        before = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in settings_of(out).items()
            if name in (*LATER, "orbit_weight")
        }
        config = cli.config_of(values, {**presets, **before})
    check_place(out, config, resume=resume)
    from orbitlens.pipeline import run

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
    gets = f"the network gets {metrics['model']['input']['sentence']}"
    return [*metrics["data"]["passed_over"], gets, *lines, *cli.diverged(metrics["saes"])]
