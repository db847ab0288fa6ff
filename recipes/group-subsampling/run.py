"""The exact group autoencoder beside ordinary ones: shapes at positions that training never showed.

Source: Xu et al. 2021, arXiv 2106.05886, *Group Equivariant Subsampling*. Its data sets need a
network and its tables could not be verified, so shapes and digits stand in and nothing is compared.
"""

import copy
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import nn

import orbitlens as ol
from orbitlens.actions import move_on_plane
from orbitlens.data import Placed, placed, placed_shapes
from orbitlens.errors import OrbitLensWarning, missing_extra
from orbitlens.files import new_file
from orbitlens.groups import PlaneGroup
from orbitlens.reproduce import (
    Job,
    Recipe,
    draw_batches,
    keep_network,
    layer_figures,
    layer_row,
    layer_table,
    line_panels,
    main,
    summarise,
    train_steps,
)
from orbitlens.symmetry import GroupAutoencoder
from orbitlens.typing import Float, Int, Tensor

GROUPS = ("p1", "p4", "p4m")
AUGMENTED = {"ordinary": None, **{f"augmented_{name}": name for name in GROUPS}}
EXACT = {f"gae_{name}": name for name in GROUPS}
SHOWN, REPORTED, GENERIC = 8, 100, 0.05
KEPT = "gae_p4"
NOISES = (0.0, 0.01, 0.02, 0.05, 0.1)
SPEC = {
    "sources": ["shapes"],
    "arms": [*EXACT, *AUGMENTED],
    "side": 32,
    "kernels": [3, 3, 3, 5],
    "widths": {"p1": 16, "p4": 10, "p4m": 7},
    "latent": 16,
    "n_train": 1000,
    "n_test": 300,
    "batch_size": 32,
    "lr": 2e-3,
    "warmup": 100,
    "steps": [0, 500, 1000],
    "elements": 64,
    "seeds": 3,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SPEC,
        "side": 16,
        "kernels": [3, 3, 5],
        "widths": {"p1": 4, "p4": 2, "p4m": 2},
        "n_train": 64,
        "n_test": 64,
        "steps": [0, 3],
        "elements": 8,
        "seeds": 1,
    },
    "small": SPEC,
    "medium": {**SPEC, "sources": ["shapes", "digits"], "elements": 10_000},
    "full": {
        **SPEC,
        "sources": ["shapes", "digits"],
        "side": 64,
        "kernels": [3, 3, 3, 3, 5],
        "widths": {"p1": 32, "p4": 20, "p4m": 14},
        "latent": 32,
        "n_train": 10_000,
        "batch_size": 16,
        "lr": 1e-4,
        "steps": [0, 100_000, 600_000],
    },
}
METRICS = dict.fromkeys(
    (
        *("mse_seen", *(f"mse_{group}" for group in GROUPS), "ratio", "mse_zero"),
        *("invariance_error", "equivariance_error", "mse_whole", "mse_cut", "parameters"),
    ),
    "std",
)


@final
class OrdinaryAutoencoder(nn.Module):
    """The rival: strided convolutions padded with zeros, a linear code, and their mirror image."""

    def __init__(
        self,
        side: int,
        channels: int,
        width: int,
        latent: int,
        kernels: Sequence[int],
        strides: Sequence[int],
        seed: int,
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        depth, left = len(kernels), side // int(np.prod(strides))
        # As in GroupAutoencoder.
        down = [width if layer < 2 else 2 * width for layer in range(depth)]
        up = [2 * width if layer < 2 else width for layer in range(depth)]
        encoder: list[nn.Module] = []
        for pair, kernel, stride in zip(pairwise([channels, *down]), kernels, strides, strict=True):
            encoder += [nn.Conv2d(*pair, kernel, stride, kernel // 2), nn.ReLU()]
        decoder: list[nn.Module] = []
        for pair, kernel, stride in zip(
            pairwise([down[-1], *up]), kernels[::-1], strides[::-1], strict=True
        ):
            decoder += [
                nn.ConvTranspose2d(*pair, kernel, stride, kernel // 2, stride - 1),
                nn.ReLU(),
            ]
        code = down[-1] * left**2
        self.encoder = nn.Sequential(*encoder, nn.Flatten(), nn.Linear(code, latent))
        self.decoder = nn.Sequential(
            nn.Linear(latent, code),
            nn.ReLU(),
            nn.Unflatten(1, (down[-1], left, left)),
            *decoder,
            nn.Conv2d(up[-1], channels, kernels[0], padding=kernels[0] // 2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the reconstruction of the images."""
        reconstruction: Tensor = self.decoder(self.encoder(images))
        return reconstruction


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    """One job for each network."""
    return [
        Job(f"{source}-{arm}-seed{seed}", {**settings, "source": source, "arm": arm, "seed": seed})
        for source in settings["sources"]
        for seed in range(settings["seeds"])
        for arm in settings["arms"]
    ]


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Train one network, and measure it before, on the way and at the end."""
    source, arm, seed = (arguments[name] for name in ("source", "arm", "seed"))
    train = images_of(arguments, "p1", "quadrant", train=True).inputs.values[:]
    tests = {
        "seen": images_of(arguments, "p1", "quadrant", train=False),
        **{name: images_of(arguments, name, "any", train=False) for name in GROUPS},
    }
    model = build(arguments, channels=train.shape[1])
    key = {"source": source, "arm": arm, "seed": seed}
    records = [
        {**key, "steps": steps, **measure(model, arguments, tests)}
        for steps in training(model, train, arguments)
    ]
    if seed == 0:
        keep_pictures(model, tests, folder / f"pictures-{source}-{arm}.npy")
        if (source, arm) == ("shapes", KEPT):
            records += [{**key, **row} for row in layers_of(model, tests["p4m"])]
            keep_network(
                folder,
                KEPT,
                model,
                {**arguments, "channels": train.shape[1]},
                inputs=tests["p4m"].inputs.values[:],
                action=ol.actions.images("C4"),
                layer="encoder.0.layer",
                layout="n c h w",
            )
    if isinstance(model, GroupAutoencoder):
        records += [{**key, **row} for row in pose_under_noise(model, tests[EXACT[arm]], seed)]
    return records


def images_of(arguments: Mapping[str, Any], group: str, poses: str, *, train: bool) -> Placed:
    """Images in poses of a group; the test images show the same things in every set."""
    n = arguments["n_train" if train else "n_test"]
    # Seeds of training and of test images never meet.
    seed, side = 2 * arguments["seed"] + train, arguments["side"]
    if arguments["source"] == "shapes":
        return placed_shapes(n, side=side, group=group, poses=poses, seed=seed)
    digits = ol.data.digits(side // 2)
    order = np.random.default_rng(arguments["seed"]).permutation(len(digits.values))
    held_out = arguments["n_test"]
    chosen = order[held_out:][:n] if train else order[:held_out]
    part = ol.data.Inputs("digits", digits.values[chosen])
    return placed(part, side=side, group=group, poses=poses, seed=seed)


def build(arguments: Mapping[str, Any], channels: int) -> nn.Module:
    """Return the untrained network of an arm."""
    arm, kernels, latent = arguments["arm"], arguments["kernels"], arguments["latent"]
    if arm in EXACT:
        return GroupAutoencoder(
            PlaneGroup(EXACT[arm], arguments["side"]),
            channels=channels,
            width=arguments["widths"][EXACT[arm]],
            latent=latent,
            kernels=tuple(kernels),
            seed=arguments["seed"],
        )
    return OrdinaryAutoencoder(
        arguments["side"],
        channels,
        arguments["widths"]["p1"],
        latent,
        kernels,
        [2] * len(kernels),
        arguments["seed"],
    )


def kept(arguments: Mapping[str, Any]) -> nn.Module:
    """The untrained network that is kept."""
    return build(arguments, arguments["channels"])


def training(
    model: nn.Module, images: Float[Tensor, "n c s s"], arguments: Mapping[str, Any]
) -> Iterator[int]:
    """Train, and yield the number of steps whenever the network is to be measured."""
    generator = torch.Generator().manual_seed(arguments["seed"])
    batches = draw_batches(len(images), arguments["batch_size"], generator)
    name = AUGMENTED.get(arguments["arm"])
    plane = PlaneGroup(name, arguments["side"]) if name else None

    def loss(step: int) -> Float[Tensor, ""]:
        del step
        batch = images[next(batches)]
        if plane:
            batch = move_on_plane(batch, plane.random(len(batch), generator), plane)
        return (model(batch) - batch).square().mean()

    rate = {"lr": arguments["lr"], "warmup": arguments["warmup"]}
    for steps, _ in train_steps(model, loss, checks=arguments["steps"], **rate):
        yield steps


@torch.no_grad()
def measure(
    model: nn.Module, arguments: Mapping[str, Any], tests: Mapping[str, Placed]
) -> dict[str, float | None]:
    """Errors of reconstruction in each set of poses, and of equivariance."""
    name = arguments["arm"]
    group = EXACT.get(name) or AUGMENTED[name] or "p1"
    found: dict[str, Any] = {
        f"mse_{poses}": mse(model, test.inputs.values[:]) for poses, test in tests.items()
    }
    whole, cut = cut_at_the_border(tests["p1"])
    invariance, equivariance = symmetry_errors(
        model,
        generic(tests["seen"].inputs.values[:2]),
        PlaneGroup(group, arguments["side"]),
        arguments,
    )
    return {
        "group": group,
        **found,
        "ratio": found[f"mse_{group}"] / found["mse_seen"],
        "mse_zero": tests["p1"].inputs.values[:].square().mean().item(),
        "invariance_error": invariance,
        "equivariance_error": equivariance,
        "mse_whole": mse(model, whole),
        "mse_cut": mse(model, cut),
        "parameters": sum(each.numel() for each in model.parameters()),
    }


def generic(images: Float[Tensor, "n c s s"]) -> Float[Tensor, "n c s s"]:
    """Images in float64 without symmetries of their own: a symmetric one has several poses."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(images.shape, generator=generator, dtype=torch.float64)
    return images + GENERIC * noise


def mse(model: nn.Module, images: Float[Tensor, "n c s s"]) -> float:
    """Mean squared error of the reconstruction."""
    return float((model(images) - images).square().mean())


def code_of(model: nn.Module, images: Float[Tensor, "n c s s"]) -> Float[Tensor, "n dim"]:
    """The code, without the pose where a network tells it apart."""
    if isinstance(model, GroupAutoencoder):
        with warnings.catch_warnings():
            # Tied poses are a figure of this recipe.
            warnings.simplefilter("ignore", OrbitLensWarning)
            return model.encode(images).invariant
    code: Tensor = model.get_submodule("encoder")(images)
    return code


def symmetry_errors(
    model: nn.Module,
    images: Float[Tensor, "n c s s"],
    plane: PlaneGroup,
    arguments: Mapping[str, Any],
) -> tuple[float, float]:
    """Largest change of the code, and |f(gx) - g f(x)|, each over the largest value, in float64."""
    model = copy.deepcopy(model).double()
    code, reconstruction = code_of(model, images), model(images)
    worst_code = worst_reconstruction = 0.0
    for elements in elements_of(plane, arguments).split(32):
        for x, z, y in zip(images, code, reconstruction, strict=True):
            moved = move_on_plane(x.expand(len(elements), -1, -1, -1), elements, plane)
            wanted = move_on_plane(y.expand(len(elements), -1, -1, -1), elements, plane)
            worst_code = max(worst_code, float((code_of(model, moved) - z).abs().max()))
            difference = (model(moved) - wanted).abs().max()
            worst_reconstruction = max(worst_reconstruction, float(difference))
    return worst_code / float(code.abs().max()), worst_reconstruction / float(
        reconstruction.abs().max()
    )


def elements_of(plane: PlaneGroup, arguments: Mapping[str, Any]) -> Int[Tensor, "n 3"]:
    """Every element of the group, or random ones if there are more than the budget allows."""
    if plane.order > arguments["elements"]:
        generator = torch.Generator().manual_seed(arguments["seed"])
        return plane.random(arguments["elements"], generator)
    return plane.element(torch.arange(plane.order))


def cut_at_the_border(
    test: Placed,
) -> tuple[Float[Tensor, "n c s s"], Float[Tensor, "n c s s"]]:
    """The images that cross the border, whole on the torus and cut off as in a photograph."""
    images = test.inputs.values[:]
    side = images.shape[-1]
    offset = (torch.arange(side) - test.poses[:, :2, None] + side // 2) % side - side // 2
    place = test.poses[:, :2, None] + offset
    inside = ((place >= 0) & (place < side)).float()
    cut = images * (inside[:, 0, :, None] * inside[:, 1, None, :])[:, None]
    # A soft edge has no end; less than a thousandth of the light is no cut.
    lost = (images - cut).sum((1, 2, 3)) > 1e-3 * images.sum((1, 2, 3))
    return images[lost], cut[lost]


def keep_pictures(model: nn.Module, tests: Mapping[str, Placed], path: Path) -> None:
    """Keep images at the first new poses and their reconstructions, for the figure."""
    images = tests["p4m"].inputs.values[:SHOWN]
    with torch.no_grad():
        pair = torch.stack([images, model(images)]).clamp(0, 1)
    with new_file(path) as file, file.open("wb") as stream:
        np.save(stream, pair.numpy())


def layers_of(model: nn.Module, test: Placed) -> list[dict[str, Any]]:
    """The layer report of a network under quarter turns about the middle of the image.

    Maps between the first one and the output lie in the frame of the object, so their places do not
    move with those of the image: they are measured as vectors.
    """
    model, images = copy.deepcopy(model).double(), generic(test.inputs.values[:REPORTED])
    turns = ol.actions.images(ol.groups.cyclic(4))
    # In a container the reconstruction is the output of a layer.
    whole = nn.Sequential(OrderedDict(reconstruction=model))
    shown = ("reconstruction.encoder.0.layer", "reconstruction")
    maps = ol.measure_network(
        whole, inputs=images, action=turns, layers=shown, layout="n c h w", lie_inputs=0
    )
    inner = {
        f"{name}_{i}": layer
        for name in ("encoder", "decoder")
        for i, layer in enumerate(model.get_submodule(name).children())
    }
    inner |= {name: model.get_submodule(name) for name in ("to_invariant", "from_invariant")}
    vectors = layer_figures(model, inner, inputs=images, action=turns)
    features = model.get_submodule("encoder.0.layer").get_parameter("bias").numel()
    regular = [features] * len(ol.reps.irreps("C4"))
    first, last = (
        layer_row(row, turns.group, wanted)
        for row, wanted in zip(maps.table, (regular, None), strict=True)
    )
    return [{"layer": "first_map", **first}, *vectors[:-1], {"layer": "reconstruction", **last}]


@torch.no_grad()
def pose_under_noise(model: GroupAutoencoder, test: Placed, seed: int) -> list[dict[str, Any]]:
    """How often noise on the pixels moves the pose, and how many poses are tied under it."""
    images = test.inputs.values[:]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    pose = model.pose_with_ties(images).element
    rows = []
    for level in NOISES:
        found = model.pose_with_ties(images + level * noise)
        moved = (found.element != pose).any(1).float().mean().item()
        rows.append({"noise": level, "pose_moved": moved, "tied": found.tied.float().mean().item()})
    return rows


def results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds."""
    measured = [record for record in records if "mse_seen" in record]
    return summarise(measured, ["source", "arm", "group", "steps"], METRICS)


def gates(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The worst seed of each promise, beside what is wanted."""
    measured = [record for record in records if "mse_seen" in record]
    last = max(record["steps"] for record in measured)
    exact = {
        (r["source"], r["seed"]): r["mse_p1"]
        for r in measured
        if (r["arm"], r["steps"]) == ("gae_p1", last)
    }
    rows = []
    for source, arm in dict.fromkeys((record["source"], record["arm"]) for record in measured):
        own = [r for r in measured if (r["source"], r["arm"]) == (source, arm)]
        final = [record for record in own if record["steps"] == last]
        ratios = [record["ratio"] for record in final]
        if arm in EXACT:
            errors = ("invariance_error", "equivariance_error")
            found = [
                ("ratio", max(ratios), "<=", 1.3),
                *((name, max(record[name] for record in own), "<=", 1e-12) for name in errors),
            ]
        else:
            times = min(r["mse_p1"] / exact[source, r["seed"]] for r in final)
            ordinary = arm == "ordinary"
            found = [
                ("ratio", min(ratios), ">=", 2 if ordinary else 0),
                ("mse_p1 over that of gae_p1", times, ">=", 5 if ordinary else 0),
            ]
        for name, value, sign, limit in found:
            met = value <= limit if sign == "<=" else value >= limit
            rows.append(
                {
                    "source": source,
                    "arm": arm,
                    "figure": name,
                    "worst_seed": value,
                    "wanted": f"{sign} {limit:g}" if limit else None,
                    "met": met if limit else None,
                }
            )
    return rows


def layers(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The layer reports."""
    return layer_table(records, ["source", "arm"])


def noise(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Share of images whose pose moves, by the standard deviation of the noise."""
    measured = [record for record in records if "noise" in record]
    return summarise(measured, ["source", "arm", "noise"], {"pose_moved": "std", "tied": "std"})


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw reconstructions in new poses, errors by the poses, and poses under noise."""
    rows = tables["results.csv"]
    last = max(row["steps"] for row in rows)
    sources = dict.fromkeys(row["source"] for row in rows)
    line_panels(
        [
            {
                "poses": label,
                "arm": row["arm"],
                f"{row['source']}_mean": row[f"mse_{name}_mean"],
                f"{row['source']}_std": row[f"mse_{name}_std"],
            }
            for row in rows
            if row["steps"] == last
            for name, label in (("seen", "as trained"), *zip(GROUPS, GROUPS, strict=True))
        ],
        folder / "errors.png",
        x=("poses", "poses of the test images"),
        series="arm",
        metrics=dict.fromkeys(sources, "std"),
        title=f"Mean squared error after {last} steps, mean and standard deviation over seeds",
        log=True,
        dodge=0.6,
        joined=False,
    )
    line_panels(
        [
            {
                **row,
                f"{row['source']}_mean": row["pose_moved_mean"],
                f"{row['source']}_std": row["pose_moved_std"],
            }
            for row in tables["noise.csv"]
        ],
        folder / "noise.png",
        x=("noise", "standard deviation of the noise"),
        series="arm",
        metrics=dict.fromkeys(sources, "std"),
        title="Share of images whose pose moves under noise",
        dodge=0.2,
    )
    for source in sources:
        arms = list(dict.fromkeys(row["arm"] for row in rows if row["source"] == source))
        pairs = [np.load(folder / f"pictures-{source}-{arm}.npy") for arm in arms]
        pictures(
            ["image", *arms],
            [pairs[0][0], *(pair[1] for pair in pairs)],
            folder / f"pictures-{source}.png",
        )


def pictures(
    names: Sequence[str], images: Sequence[Float[np.ndarray, "n c s s"]], path: Path
) -> None:
    """Draw one line of images for each name."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_extra("matplotlib", extra="report") from None
    figure = Figure(figsize=(SHOWN + 2, len(names)), layout="constrained")
    axes = figure.subplots(len(names), SHOWN, squeeze=False)
    for name, line, own in zip(names, axes, images, strict=True):
        for axis, image in zip(line, own, strict=True):
            axis.imshow(image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name.replace("_", " "), rotation=0, ha="right", va="center")
    with new_file(path) as file:
        figure.savefig(file, dpi=100, format="png")


RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    budgets=BUDGETS,
    jobs=jobs,
    compute=compute,
    tables={"results.csv": results, "gates.csv": gates, "layers.csv": layers, "noise.csv": noise},
    plot=plot,
    network=kept,
)

if __name__ == "__main__":
    main(RECIPE)
