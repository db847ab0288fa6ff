"""An equivariant encoder trained without labels: tasks that contradict it, and tasks that do not.

Source: Mukuta & Harada 2023, arXiv 2303.04427, *Self-Supervised Learning for Group Equivariant
Neural Networks*. Its tables could not be read, so nothing is compared: data, networks and all
settings are ours.
"""

import copy
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations_with_replacement, product
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, pad

import orbitlens as ol
from orbitlens.probe import logistic_scores
from orbitlens.reproduce import (
    Job,
    Recipe,
    draw_batches,
    keep_network,
    layer_figures,
    layer_table,
    line_panels,
    main,
    summarise,
    train_steps,
    worst_of_seeds,
)
from orbitlens.reps import Representation
from orbitlens.symmetry.pretext import (
    EquivariantHead,
    GroupEncoder,
    GroupMLP,
    InvariantHead,
    Jigsaw,
    LabelAction,
    PretextTask,
    RelativePosition,
    RotationPrediction,
    barlow_twins,
    frozen_features,
    max_similarity,
    mean_similarity,
    nontrivial_energy,
    nt_xent,
    plain_similarity,
    pooled_similarity,
    retrieval,
    simsiam,
    soft_similarity,
)
from orbitlens.typing import Float, Int, Tensor

ORDINARY = ("ordinary_jigsaw", "ordinary_contrastive")
SIMILARITIES = {
    "contrastive_plain": plain_similarity,
    "contrastive_mean": mean_similarity,
    "contrastive_max": max_similarity,
    "contrastive_soft": soft_similarity,
    "contrastive_pool": pooled_similarity,
    "barlow": max_similarity,
    "simsiam": max_similarity,
    "ordinary_contrastive": plain_similarity,
}
ABSORBING = ("contrastive_max", "contrastive_soft", "contrastive_pool")
DIGITS = ["jigsaw", "jigsaw_invariant", *SIMILARITIES, "ordinary_jigsaw"]
ROTATION = ["rotation", "rotation_invariant"]
SCENES = [
    *("jigsaw", "jigsaw_invariant", "jigsaw3", "jigsaw3_invariant", "position"),
    *("position_invariant", "contrastive_plain", "contrastive_max", *ORDINARY),
]
# Orbits of labels over labels, under C4.
CAPS = {
    "jigsaw_invariant": 10 / 24,
    "jigsaw3_invariant": 8 / 32,
    "position_invariant": 2 / 8,
    "rotation_invariant": 1 / 4,
}
GAIN = " over contrastive_plain"
LOOKED_INTO = [
    ("digits", arm)
    for arm in ("jigsaw", "jigsaw_invariant", "contrastive_plain", "contrastive_max")
]
# Corners in the complex plane, within a circle of radius 1.
SHAPES = {
    "triangle": np.exp(2j * np.pi * np.arange(3) / 3),
    "square": np.exp(2j * np.pi * np.arange(4) / 4),
    "bar": np.array([0.95 + 0.3j, -0.95 + 0.3j, -0.95 - 0.3j, 0.95 - 0.3j]),
}
REPORTED, KEPT, FEW, DRAWS, ROUNDS, TRIED = 200, 300, 100, 5, 4, 32
SPEC = {
    "arms": {
        "digits": DIGITS,
        "upright": ROTATION,
        "scenes": ["position", "position_invariant"],
    },
    "group": "C4",
    "width": 12,
    "hidden": 64,
    "projected": 24,
    "n_train": 1200,
    "n_test": 597,
    "batch_size": 120,
    "lr": 2e-3,
    "temperature": 0.2,
    "steps": [0, 150],
    "seeds": 3,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SPEC,
        "arms": {
            "digits": ["jigsaw", "jigsaw_invariant", "contrastive_plain", "contrastive_max"],
            "scenes": ["position"],
        },
        "width": 2,
        "hidden": 8,
        "projected": 4,
        "n_train": 120,
        "n_test": 60,
        "batch_size": 30,
        "steps": [0, 3],
        "seeds": 1,
    },
    "small": SPEC,
    "medium": {
        **SPEC,
        "arms": {"digits": DIGITS, "upright": ROTATION, "scenes": SCENES},
        "steps": [0, 150, 600],
        "seeds": 5,
    },
    "full": {
        **SPEC,
        "arms": {"digits": DIGITS, "upright": ROTATION, "scenes": SCENES},
        "width": 24,
        "hidden": 128,
        "projected": 48,
        "steps": [0, 150, 600, 6000],
        "seeds": 10,
    },
}
METRICS = dict.fromkeys(
    (
        *("pretext_train", "pretext_test", "retrieval_max", "encoder_energy", "projector_energy"),
        *("probe_all", "probe_100", "loss_change", "encoder_error", "parameters"),
    ),
    "std",
)


@final
class Pretrained(nn.Module):
    """An encoder and what its training puts on top: a head, or a projector and a predictor."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        source, arm, hidden = (arguments[name] for name in ("source", "arm", "hidden"))
        # An ordinary network has twice the width: about as many parameters.
        times = 2 if arm in ORDINARY else 1
        self.group = ol.groups.from_name("C1" if arm in ORDINARY else arguments["group"])
        self.patches = 2 if arm.startswith("position") else 1
        side, channels = (24, 3) if source == "scenes" else (8, 1)
        self.encoder = GroupEncoder(
            self.group,
            side // (3 if self.patches > 1 else 1),
            channels,
            times * arguments["width"],
            seed=arguments["seed"],
        )
        torch.manual_seed(arguments["seed"])
        features, projected = self.encoder.features, times * arguments["projected"]
        if arm in SIMILARITIES:
            norm = arm == "simsiam"
            self.top = GroupMLP(self.group, features, times * hidden, projected, norm=norm)
        else:
            head = InvariantHead if arm.endswith("_invariant") else EquivariantHead
            labels = labels_of(arm, self.group)
            self.top = head(self.group, labels, self.patches * features, times * hidden)
        if arm == "simsiam":
            self.predictor = GroupMLP(self.group, projected, hidden, projected, norm=True)

    def forward(self, inputs: Float[Tensor, "n c s s"]) -> Float[Tensor, "n out"]:
        """Return logits, or projected views."""
        # The two patches of a pair go through the encoder one by one.
        patches = inputs.unflatten(1, (self.patches, -1)).flatten(0, 1)
        codes = self.encoder(patches).unflatten(0, (-1, self.patches)).flatten(1)
        out: Tensor = self.top(codes)
        return out

    def frozen(self, images: Float[Tensor, "n c s s"]) -> Float[Tensor, "n features"]:
        """Return invariant features of whole images; those of patches are averaged."""
        if self.patches == 1:
            return frozen_features(self.encoder(images), self.group)
        side = self.encoder.side
        parts = images.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5)
        features = frozen_features(self.encoder(parts.flatten(0, 2)), self.group)
        return features.unflatten(0, (len(images), -1)).mean(1)


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    """One job for each network."""
    return [
        Job(f"{source}-{arm}-seed{seed}", {**settings, "source": source, "arm": arm, "seed": seed})
        for source, arms in settings["arms"].items()
        for seed in range(settings["seeds"])
        for arm in arms
    ]


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Train one network, and measure it before, on the way and at the end."""
    source, arm, seed = (arguments[name] for name in ("source", "arm", "seed"))
    data, model = split_data(arguments), Pretrained(arguments)
    key = {"source": source, "arm": arm, "seed": seed}
    records = [
        {**key, "steps": steps, "pretext_train": hits, **measure(model, data, arguments)}
        for steps, hits in training(model, data["train"][0], arguments)
    ]
    if seed == 0 and (source, arm) in LOOKED_INTO:
        turns, (images, _) = ol.actions.images(model.group), data["test"]
        if len(images) >= 50:
            keep_network(
                folder,
                arm,
                model.eval(),
                {**arguments},
                inputs=images[:KEPT],
                action=turns,
                layer="encoder",
                main=arm == "contrastive_max",
            )
        rows = layer_figures(
            model,
            {"encoder": model.encoder, "top": model.top},
            inputs=images[:REPORTED],
            action=turns,
            promised=promised(model),
            max_dim=model.encoder.features * model.group.order,
        )
        # What the network returns is the output of its top.
        records += [{**key, **row} for row in rows[:-1]]
    return records


def promised(model: Pretrained) -> dict[str, Representation]:
    """What representation the encoder and the top must carry, trained or not."""
    regular, top = ol.reps.regular(model.group), model.top
    if isinstance(top, GroupMLP):
        return {
            "encoder": copies(regular, model.encoder.features),
            "top": copies(regular, top.out_features),
        }
    still = copies(ol.reps.irreps(model.group)[0], top.labels.n)
    points = [top.labels.moved[g].tolist() for g in model.group.generators]
    logits = ol.reps.permutation(model.group, points)
    return {
        "encoder": copies(regular, model.encoder.features),
        "top": logits if isinstance(top, EquivariantHead) else still,
    }


def copies(representation: Representation, n: int) -> Representation:
    """The sum of n copies of a representation."""
    matrices = torch.stack([torch.kron(torch.eye(n), each) for each in representation.matrices])
    return Representation(representation.group, matrices, f"{n} {representation.name}")


def labels_of(arm: str, group: ol.groups.Group) -> LabelAction:
    """How a group moves the labels of an arm."""
    if arm.startswith("rotation"):
        return LabelAction(group, group.table)
    return task_of(arm, group, None).labels


def task_of(
    arm: str, group: ol.groups.Group, images: Float[Tensor, "n c s s"] | None
) -> PretextTask:
    """The pretext task of an arm."""
    if arm.startswith("rotation") and images is not None:
        return RotationPrediction(group, images)
    if arm.startswith("position"):
        return RelativePosition(group)
    return Jigsaw(group, 3 if arm.startswith("jigsaw3") else 2)


Data = dict[str, tuple[Tensor, Tensor]]


def split_data(arguments: Mapping[str, Any]) -> Data:
    """Images and labels for training and test; those of probes are turned in any case."""
    seed, n = arguments["seed"], arguments["n_train"] + arguments["n_test"]
    if arguments["source"] == "scenes":
        images, labels = scenes(n, seed)
    else:
        digits = ol.data.digits(8)
        order = np.random.default_rng(seed).permutation(len(digits.values))[:n]
        images = digits.values[order]
        labels = torch.from_numpy(np.asarray(digits.labels)[order])
    generator, turns = torch.Generator().manual_seed(seed), quarter_turns(arguments)
    turned = moved(images, drawn(len(images), turns, generator), turns)
    own = images if arguments["source"] == "upright" else turned
    cut = arguments["n_train"]
    return {
        "train": (own[:cut], labels[:cut]),
        "test": (own[cut:], labels[cut:]),
        "probe_train": (turned[:cut], labels[:cut]),
        "probe_test": (turned[cut:], labels[cut:]),
    }


def scenes(n: int, seed: int, side: int = 24) -> tuple[Float[Tensor, "n 3 s s"], Int[Tensor, " n"]]:
    """Coloured polygons, two or three in an image at any angle; which ones is the class."""
    draw = np.random.default_rng(seed)
    classes = [kinds for k in (2, 3) for kinds in combinations_with_replacement(SHAPES, k)]
    labels = draw.integers(len(classes), size=n)
    pixels = np.stack(np.meshgrid(*[(np.arange(2 * side) + 0.5) / 2] * 2, indexing="ij"), -1)
    images = np.zeros((n, 2 * side, 2 * side, 3))
    for image, label in zip(images, labels, strict=True):
        places: list[np.ndarray] = []
        while len(places) < len(classes[label]):
            place = draw.uniform(5, side - 5, size=2)
            if all(np.linalg.norm(place - other) > 8 for other in places):
                places.append(place)
            elif draw.random() < 0.05:
                places = []
        for kind, place in zip(classes[label], places, strict=True):
            corners = SHAPES[kind] * draw.uniform(4, 5)
            corners = corners * np.exp(1j * draw.uniform(0, 2 * np.pi))
            at = (pixels[..., 0] - place[0]) + 1j * (pixels[..., 1] - place[1])
            edges = zip(corners, np.roll(corners, -1), strict=True)
            inside = [((b - a).conjugate() * (at - a)).imag >= 0 for a, b in edges]
            image[np.all(inside, axis=0)] = draw.uniform(0.3, 1, size=3)
    small = images.reshape(n, side, 2, side, 2, 3).mean((2, 4))
    return torch.from_numpy(small).float().permute(0, 3, 1, 2), torch.from_numpy(labels)


def quarter_turns(arguments: Mapping[str, Any]) -> ol.actions.Action:
    """How the group of the settings moves images, whatever the group of the network."""
    return ol.actions.images(arguments["group"])


def drawn(n: int, action: ol.actions.Action, generator: torch.Generator) -> Int[Tensor, " n"]:
    """Draw an element for each of n images."""
    return torch.randint(action.group.order, (n,), generator=generator)


def moved(
    images: Float[Tensor, "n c s s"], elements: Int[Tensor, " n"], action: ol.actions.Action
) -> Float[Tensor, "n c s s"]:
    """Move each image by its own element."""
    result = torch.empty_like(images)
    for g in range(action.group.order):
        result[elements == g] = action(images[elements == g], g)
    return result


def view(
    images: Float[Tensor, "n c s s"], action: ol.actions.Action, generator: torch.Generator
) -> Float[Tensor, "n c s s"]:
    """Draw a view of each image: turn, crop, gain and noise."""
    n, side = len(images), images.shape[-1]
    images = moved(images, drawn(n, action, generator), action)
    wide = pad(images, (1, 1, 1, 1)).unfold(2, side, 1).unfold(3, side, 1)
    y, x = torch.randint(3, (2, n), generator=generator)
    cropped = wide[torch.arange(n), :, y, x]
    gain = 0.7 + 0.6 * torch.rand((n, 1, 1, 1), generator=generator)
    return gain * cropped + 0.1 * torch.randn(cropped.shape, generator=generator)


def training(
    model: Pretrained, images: Float[Tensor, "n c s s"], arguments: Mapping[str, Any]
) -> Iterator[tuple[int, float | None]]:
    """Train; yield the steps done, and the share of hits in the last epoch before them."""
    generator = torch.Generator().manual_seed(arguments["seed"])
    batches = draw_batches(len(images), arguments["batch_size"], generator)
    turns, arm = quarter_turns(arguments), arguments["arm"]
    hits: deque[float] = deque(maxlen=max(1, len(images) // arguments["batch_size"]))
    task = None if arm in SIMILARITIES else task_of(arm, turns.group, images)

    def loss(step: int) -> Float[Tensor, ""]:
        del step
        batch = images[next(batches)]
        if task is not None:
            inputs, labels = task.draw(batch, generator)
            logits = model(inputs)
            hits.append(float((logits.argmax(1) == labels).float().mean()))
            return cross_entropy(logits, labels)
        views = torch.cat([view(batch, turns, generator) for _ in range(2)])
        first, second = model(views).chunk(2)
        with torch.no_grad():
            found = retrieval(first, second, model.group, similarity=SIMILARITIES[arm])
            hits.append(float(found.float().mean()))
        return contrastive_loss(model, first, second, arguments)

    for steps, _ in train_steps(model, loss, checks=arguments["steps"], lr=arguments["lr"]):
        yield steps, sum(hits) / len(hits) if hits else None


def contrastive_loss(
    model: Pretrained,
    first: Float[Tensor, "n dim"],
    second: Float[Tensor, "n dim"],
    arguments: Mapping[str, Any],
) -> Float[Tensor, ""]:
    """The loss of projected views."""
    arm, group = arguments["arm"], model.group
    if arm == "simsiam":
        ahead = model.predictor(torch.cat([first, second])).chunk(2)
        pairs = zip(ahead, (second, first), strict=True)
        return torch.stack([simsiam(p, z, group).mean() for p, z in pairs]).mean()
    if arm == "barlow":
        return barlow_twins(first, second, group)
    similarity, scale = SIMILARITIES[arm], arguments["temperature"]
    return nt_xent(first, second, group, similarity=similarity, temperature=scale).mean()


@torch.no_grad()
def measure(
    model: Pretrained, data: Data, arguments: Mapping[str, Any]
) -> dict[str, float | int | None]:
    """Hits on test images, energies, probes, and what the symmetry promises."""
    model.eval()
    equivariant = arguments["arm"] not in ORDINARY
    images = data["test"][0]
    codes = None if model.patches > 1 else model.encoder(images)
    energy = codes is not None and equivariant
    projected = energy and arguments["arm"] in SIMILARITIES
    return {
        **hits_on_tests(model, images, arguments),
        "encoder_energy": float(nontrivial_energy(codes, model.group).mean()) if energy else None,
        "projector_energy": float(nontrivial_energy(model.top(codes), model.group).mean())
        if projected
        else None,
        **probes(model, data, arguments),
        "loss_change": loss_change(model, images[:TRIED], arguments),
        "encoder_error": encoder_error(model, images) if energy else None,
        "parameters": sum(each.numel() for each in model.parameters()),
        "tested": len(images),
    }


def hits_on_tests(
    model: Pretrained, images: Float[Tensor, "n c s s"], arguments: Mapping[str, Any]
) -> dict[str, float | None]:
    """The share of right labels, or of partners found, by the similarity of the arm and by max."""
    arm, turns = arguments["arm"], quarter_turns(arguments)
    generator = torch.Generator().manual_seed(arguments["seed"])
    if arm not in SIMILARITIES:
        task = task_of(arm, turns.group, images)
        pairs = [task.draw(images, generator) for _ in range(ROUNDS)]
        right = torch.cat([model(inputs).argmax(1) == labels for inputs, labels in pairs])
        return {"pretext_test": float(right.float().mean()), "retrieval_max": None}
    size, own, best = arguments["batch_size"], [], []
    for _ in range(ROUNDS):
        for batch in images[: len(images) - len(images) % size].split(size):
            pair = [model(view(batch, turns, generator)) for _ in range(2)]
            own.append(retrieval(*pair, model.group, similarity=SIMILARITIES[arm]))
            best.append(retrieval(*pair, model.group))
    return {
        "pretext_test": float(torch.cat(own).float().mean()),
        "retrieval_max": float(torch.cat(best).float().mean()),
    }


def probes(model: Pretrained, data: Data, arguments: Mapping[str, Any]) -> dict[str, float]:
    """Accuracy of logistic regression on invariant features, with all labels and with 100."""
    images, labels = data["probe_train"]
    train, test = model.frozen(images), model.frozen(data["probe_test"][0])
    generator, everything = torch.Generator().manual_seed(arguments["seed"]), range(train.shape[1])

    def accuracy(chosen: Int[Tensor, " chosen"]) -> float:
        return logistic_scores(
            train[chosen], labels[chosen], test, data["probe_test"][1], torch.tensor(everything)
        ).accuracy

    few = [accuracy(torch.randperm(len(train), generator=generator)[:FEW]) for _ in range(DRAWS)]
    return {"probe_all": accuracy(torch.arange(len(train))), "probe_100": sum(few) / len(few)}


def loss_change(
    model: Pretrained, images: Float[Tensor, "n c s s"], arguments: Mapping[str, Any]
) -> float:
    """How much the loss changes, relatively, if each input is moved by an element of its own.

    A label moves with its input. In float64.
    """
    model, images = copy.deepcopy(model).double(), images.double()
    arm, turns = arguments["arm"], quarter_turns(arguments)
    generator = torch.Generator().manual_seed(arguments["seed"])
    if arm in SIMILARITIES:
        views = [view(images, turns, generator).double() for _ in range(2)]
        others = [moved(each, drawn(len(each), turns, generator), turns) for each in views]
        losses = [
            float(contrastive_loss(model, *(model(each) for each in pair), arguments))
            for pair in (views, others)
        ]
    else:
        task = task_of(arm, turns.group, images)
        inputs, labels = task.draw(images, generator)
        elements = drawn(len(inputs), turns, generator)
        pairs = [(inputs, labels)]
        pairs += [(moved(inputs, elements, turns), task.labels.move(labels, elements))]
        losses = [float(cross_entropy(model(x), y)) for x, y in pairs]
    return abs(losses[1] - losses[0]) / abs(losses[0])


def encoder_error(model: Pretrained, images: Float[Tensor, "n c s s"]) -> float:
    """The largest |E(gx) - g E(x)| over the largest |E(x)|, in float64, over all elements."""
    encoder, images = copy.deepcopy(model.encoder).double(), images[:TRIED].double()
    action, group = ol.actions.images(model.group), model.group
    codes = encoder(images)
    functions, worst = codes.unflatten(1, (-1, group.order)), 0.0
    for g in range(group.order):
        origins = torch.from_numpy(group.table[group.inverses[g]].copy())
        wanted = functions[:, :, origins].flatten(1)
        worst = max(worst, float((encoder(action(images, g)) - wanted).abs().max()))
    return worst / float(codes.abs().max())


def results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds."""
    measured = [record for record in records if "probe_all" in record]
    untrained = [{**record, "pretext_train": None} for record in measured if not record["steps"]]
    trained = [record for record in measured if record["steps"]]
    return summarise([*untrained, *trained], ["source", "arm", "steps"], METRICS)


def gates(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The worst seed of each promise, beside what is wanted."""
    measured = [record for record in records if "probe_all" in record]
    last = max(record["steps"] for record in measured)
    arms: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in measured:
        if record["steps"] == last:
            arms.setdefault((record["source"], record["arm"]), []).append(record)
    rows = []
    for (source, arm), own in arms.items():
        plain = arms.get((source, "contrastive_plain"), [])
        for figure, sign, limit in wanted(source, arm, own[0]["tested"]):
            values = [record[figure] for record in own if figure in record]
            if figure.endswith(GAIN):
                hits = figure.removesuffix(GAIN)
                values = [a[hits] - b[hits] for a, b in zip(own, plain, strict=True)]
            key = {"source": source, "arm": arm, "figure": figure}
            rows.append({**key, **worst_of_seeds(values, sign, limit, digits=4)})
    return rows


def wanted(source: str, arm: str, tested: int) -> Iterator[tuple[str, str, float]]:
    """What an arm promises: a figure, a sign and a limit."""
    if arm in CAPS:
        cap = CAPS[arm]
        error = 3 * math.sqrt(cap * (1 - cap) / (ROUNDS * tested))
        yield "pretext_test", "<=", cap + error
    if (source, arm) == ("digits", "jigsaw"):
        yield "pretext_test", ">=", 0.7
    if source == "digits" and arm in ABSORBING:
        yield f"pretext_train{GAIN}", ">=", 0.1
        yield f"pretext_test{GAIN}", ">=", 0.1
        yield "projector_energy", ">=", 0.1
    if (source, arm) == ("digits", "barlow"):
        # Twice that of the untrained network.
        yield "pretext_test", ">=", 0.25
        yield "projector_energy", ">=", 0.1
    if (source, arm) == ("digits", "contrastive_plain"):
        yield "projector_energy", "<=", 0.05
    if arm in (*CAPS, "contrastive_plain"):
        yield "loss_change", ">=", 1e-5
    elif arm not in ORDINARY:
        yield "loss_change", "<=", 1e-10
    if arm not in ORDINARY and not arm.startswith("position"):
        yield "encoder_error", "<=", 1e-12


def layers(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The layer reports."""
    return layer_table(records, ["source", "arm"])


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw hits, energies and probes over training, of tasks and of losses apart."""
    rows = tables["results.csv"]
    shown = ("pretext_test", "projector_energy", "probe_all", "probe_100")
    kinds = {"tasks": False, "losses": True}
    for source, kind in product(dict.fromkeys(row["source"] for row in rows), kinds):
        own = [
            row
            for row in rows
            if row["source"] == source and (row["arm"] in SIMILARITIES) == kinds[kind]
        ]
        metrics = [name for name in shown if any(row[f"{name}_mean"] is not None for row in own)]
        if own:
            line_panels(
                own,
                folder / f"{source}-{kind}.png",
                x=("steps", "training steps"),
                series="arm",
                metrics=dict.fromkeys(metrics, "std"),
                title=f"{source}, {kind}: mean and standard deviation over seeds",
                dodge=0.2,
            )


RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    budgets=BUDGETS,
    jobs=jobs,
    compute=compute,
    tables={"results.csv": results, "gates.csv": gates, "layers.csv": layers},
    plot=plot,
    network=Pretrained,
)

if __name__ == "__main__":
    main(RECIPE)
