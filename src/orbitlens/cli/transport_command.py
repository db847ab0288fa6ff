"""The command `orbitlens transport`: fit one transport, or measure every layer of a network."""

from pathlib import Path
from typing import Any

import click

from orbitlens.cli import options as cli
from orbitlens.cli.options import number, option, r2, settings
from orbitlens.errors import OrbitLensError
from orbitlens.pipeline import Console, RunConfig

_IMAGES = 1024
_ALL = "all"


@click.command("transport", cls=cli.Verb)
@click.argument("subject", metavar="ACTIVATIONS | MODEL INPUTS")
@click.argument("inputs", required=False, metavar="")
@option("--layers", "With INPUTS: layers to report on, e.g. 0,1,3, or all.", _ALL, cli.NAMES)
@option(
    "--groups",
    "With INPUTS: rank these groups, e.g. C2,C4,D4, instead of reporting on --group. A built-in "
    "network is still trained under --group only.",
    kind=cli.NAMES,
)
@settings("transport", *cli.GROUP, *cli.IMAGES, *cli.RUN, n_samples=_IMAGES)
@option("--max-positions", "Places that are kept of each map.", 16, cli.AtLeast(1), expert=True)
@option("--max-dim", "Directions that are kept of each layer.", 256, cli.AtLeast(1), expert=True)
@option(
    "--lie-inputs",
    "Images for the Lie-derivative errors; 0 skips these.",
    64,
    cli.AtLeast(0),
    expert=True,
)
@settings(*cli.POINTS, "layout", "random_weights", "seed_forward", expert=True)
@settings(*cli.IMAGES_FOR_EXPERTS, *cli.AUTOENCODER, expert=True)
@cli.common("runs/transport, or runs/MODEL-INPUTS")
def transport_command(
    subject: str, inputs: str | None, out: Path | None, **values: Any
) -> cli.Result:
    """Fit how activations move, or measure every layer of a network.

    ACTIVATIONS is a harvest folder or a store, at a path or a URL that fsspec can reach. One
    transport is fitted and measured, with all orbits of the store.

    MODEL is mlp, cnn, vit, hf:NAME, ...; INPUTS is shapes, digits, ..., a folder of images, or a
    .npz or .npy file. recipe:NAME is the network that a recipe has kept, and its inputs. Every
    layer is measured from one forward pass per moved input, and a page shows the result; with
    --groups, which of the groups acts up to which layer. At most 1024 images are used; --n-samples
    changes this number.
    """
    if inputs is None:
        return _transport_of_store(subject, out or Path("runs/transport"), **values)
    out = out or Path("runs") / cli.name_of_both(subject, inputs)
    return _transport_of_network(subject, inputs, out, **values)


def _transport_of_store(
    activations: str, out: Path, *, resume: bool, console: Console, **values: Any
) -> cli.Result:
    _refuse(set(values) - {"transport", "seed"}, "with ACTIVATIONS alone", "give INPUTS too")
    config = RunConfig(transport=values["transport"], seed=values["seed"])
    cli.check_activations(activations)
    from orbitlens.pipeline import verbs

    record = verbs.transport(config, activations, out, resume=resume, console=console)
    low, high = record["r2_interval"]
    figures = (
        f"R^2 {r2(record['r2'])} (95%: {r2(low)} to {r2(high)}), of the identity "
        f"{r2(record['identity_r2'])}, relation error {number(record['relation_error'])}, "
        f"condition number {number(record['condition_number'])}"
    )
    dim, still = record["dim"], record["dim"] - record["variable"]
    note = f"{still} of {dim} directions carry no variance and stay where they are"
    return record, [figures, *[note] * bool(still), f"transport: {out / 'transport'}"]


def _transport_of_network(
    model: str, inputs: str, out: Path, *, resume: bool, console: Console, **values: Any
) -> cli.Result:
    _refuse({"transport"}, "with MODEL INPUTS", "every layer gets the exact one")
    layers, candidates = values.pop("layers"), values.pop("groups")
    limits = {name: values.pop(name) for name in ("max_positions", "max_dim", "lie_inputs")}
    presets: dict[str, Any] = {"n_samples": _IMAGES}
    if candidates and cli.given("action"):
        presets["group"] = candidates[0]
    run = cli.config_of({**values, "source": inputs, "model": model}, presets)
    from orbitlens.groups import from_name

    for name in candidates or ():
        from_name(name)
    from orbitlens.pipeline import network
    from orbitlens.transport import use_line

    config = network.NetworkConfig(
        run=run,
        layers=() if layers in ((_ALL,), ()) else layers,
        candidates=candidates or (),
        **limits,
    )
    if config.candidates:
        record = network.choose(config, out, resume=resume, console=console)
        lines = [f"the network gets {record['inputs']['given']}"]
        for layer, chosen in record["chosen"].items():
            lines.append(f"{layer}: {chosen or 'none'}")
            ranking = [row for row in record["ranking"] if row["layer"] == layer]
            lines += [f"  {row['group']:<6} {_verdict(row)}" for row in ranking]
        lines += [f"{name}: not measured" for name in record.get("failed", ())]
        page = out / "report" / "index.html"
        return record, [*lines, f"ranking: {out / 'groups.csv'}", f"page: {page}"]
    record = network.report(config, out, resume=resume, console=console)
    lines = [
        f"the network gets {record['inputs']['given']}",
        *(
            f"{row['layer']:<32} {_verdict(row)}, unchanged {row['spectrum'][0]:.0%}"
            + _regular(row, record["group"]["name"])
            for row in record["layers"]
        ),
        *(
            f"{layer or 'network':<32} {use_line(use)}"
            for layer, use in record.get("use", {}).items()
        ),
    ]
    skipped = len(record["skipped"])
    lines += [f"{skipped} skipped, the page says why"] if skipped else []
    page = out / "report" / "index.html"
    return record, [*lines, f"table: {out / 'layers.csv'}", f"page: {page}"]


def _regular(row: dict[str, Any], group: str) -> str:
    """Say how many copies of the regular representation a layer carries, if it clearly does."""
    from orbitlens.transport import representation_line

    copies = row.get("multiplicities")
    if not copies or row["verdict"] not in ("exactly equivariant", "nearly equivariant"):
        return ""
    line = representation_line(group, copies)
    return f", {line}" if "regular" in line else ""


def _refuse(names: set[str], where: str, remedy: str) -> None:
    """Refuse options that would have no effect."""
    flags = ", ".join("--" + name.replace("_", "-") for name in sorted(names) if cli.given(name))
    if flags:
        raise OrbitLensError(
            "`orbitlens transport`", expected=f"no {flags} {where}", received=flags, remedy=remedy
        )


def _verdict(row: dict[str, Any]) -> str:
    return (
        f"{row['verdict']:<28} R^2 {r2(row['r2'])} (unconstrained {r2(row['free_r2'])}, "
        f"identity {r2(row['identity_r2'])}, shuffled {r2(row['control_r2'])})"
    )
