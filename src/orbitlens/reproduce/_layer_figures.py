"""The layer report of a symmetrized network, and its table in a recipe."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, final

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.groups import Group
from orbitlens.reproduce._tables import Row, summarise
from orbitlens.reps import Representation, multiplicities
from orbitlens.transport import measure_network, representation_line

_FIGURES = ("identity_r2", "r2", "control_r2")
_ALSO = ("relation_error",)  # absent from the layer reports of some recipes
_WORDS = ("verdict", "rank", "representation", "promised", "agrees")

_Promise = Representation | Sequence[int]


def layer_figures(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    *,
    inputs: Shaped[Tensor, "n *axes"],
    action: Action,
    promised: Mapping[str, _Promise] | None = None,
    max_dim: int = 64,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Measure how a group acts on layers inside a network, and on its prediction.

    A network that was symmetrized under a group whose elements are drawn sees each input in k
    frames. A layer inside it is measured as its mean over them,

        mean_k layer(g_k^-1 x)

    which symmetrization promises to be invariant, in expectation, as it promises the symmetry of
    the prediction. Layers of other networks are measured as they are. All places of a layer are
    measured as one vector.

    Args:
        model: The network, symmetrized or not.
        layers: Modules inside it that it calls once, by the names that the table shall show.
        inputs: Inputs, at least 50.
        action: How a finite group moves the inputs.
        promised: For some layers, or for "prediction", the representation that they promise: as
            such, or its copies of each of `reps.irreps(action.group)`. None (the default) promises
            nothing.
        max_dim: Largest number of principal directions kept of a layer, default 64.
        seed: Seed of controls and intervals.

    Returns:
        For each layer, and then for "prediction": the R^2 of rho = I, of the exact transport and of
        the shuffled control, the verdict, the relation error of the least-squares fit and the
        rank, see `transport.LayerEquivariance`; "representation", what the exact transport is on
        the span of the activations, in words; "promised", and whether it "agrees", see
        `agreement`.

    Raises:
        OrbitLensError: As `measure_network`; or if a layer is promised that is not measured, or
            a representation of another group.

    Example:
        >>> import torch
        >>> from orbitlens.actions import relabelling, set_permutation
        >>> from orbitlens.symmetry import symmetrize
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1))
        >>> action = relabelling(3, pairs=False)
        >>> model = symmetrize(network, action, "average", n_samples=200)
        >>> x = torch.randn(100, 3, 2, generator=torch.Generator().manual_seed(0))
        >>> swaps = set_permutation("S3")
        >>> rows = layer_figures(model, {"hidden": network[1]}, inputs=x, action=swaps)
        >>> [(row["layer"], row["identity_r2"] > 0.9) for row in rows]
        [('hidden', True), ('prediction', True)]
    """
    wanted = _promises(promised or {}, [*layers, "prediction"], action.group)
    names = [*(f"means.{name}" for name in layers), "prediction"]
    shown = _FrameMeans(model, layers)
    try:
        # Networks that draw elements draw the same ones for each input, when it comes alone.
        found = measure_network(
            shown,
            inputs=inputs,
            action=action,
            layers=names,
            max_dim=max_dim,
            layout="n c",
            seed_forward=seed,
            seed=seed,
        )
    finally:
        shown.let_go()
    shown_as = {name: name.removeprefix("means.") for name in names}
    return [
        {"layer": shown_as[name], **layer_row(row, action.group, wanted.get(shown_as[name]))}
        for name, row in zip(names, found.table, strict=True)
    ]


def layer_row(
    row: Mapping[str, Any], group: Group, promised: _Promise | None = None
) -> dict[str, Any]:
    """Return what the layer report of a recipe says of a layer that was measured.

    Args:
        row: A row of `NetworkEquivariance.table`.
        group: The group.
        promised: The representation that the layer promises, or its copies of each irrep.

    Returns:
        The figures, as `layer_figures` has them.
    """
    found = tuple(row["multiplicities"])
    line = {
        **{name: row[name] for name in (*_FIGURES, *_ALSO, "verdict", "rank")},
        "representation": representation_line(group, found),
        "promised": None,
        "agrees": None,
    }
    if promised is not None:
        wanted = _copies(promised, group, "`promised`")
        line |= {
            "promised": representation_line(group, wanted),
            "agrees": agreement(found, wanted),
        }
    return line


def agreement(found: Sequence[int], promised: Sequence[int]) -> str:
    """Say whether copies that were found are those that were promised.

    What is found is on the span of the activations. Units that died, inputs that do not reach every
    direction, and directions that were left out (`max_dim`) leave a part of the promise.

    Returns:
        "yes", "a part of it" if some irreps have fewer copies and none has more, or "no".

    Example:
        >>> agreement([2, 2, 2], [2, 2, 2]), agreement([2, 1, 2], [2, 2, 2]), agreement([3], [2])
        ('yes', 'a part of it', 'no')
    """
    if tuple(found) == tuple(promised):
        return "yes"
    fewer = all(f <= p for f, p in zip(found, promised, strict=True))
    return "a part of it" if fewer and any(found) else "no"


def _promises(
    promised: Mapping[str, _Promise], layers: Sequence[str], group: Group
) -> dict[str, tuple[int, ...]]:
    for name in promised:
        if name not in layers:
            raise unknown_name("layer in `promised`", name, layers)
    return {name: _copies(each, group, f"`promised` of {name}") for name, each in promised.items()}


def _copies(promised: _Promise, group: Group, subject: str) -> tuple[int, ...]:
    """Return the copies of each irrep that are promised."""
    if isinstance(promised, Representation):
        group.check_same_elements(promised.group, subject)
        if promised.group != group:
            raise OrbitLensError(
                subject,
                expected=f"a representation of {group.name}",
                received=f"one of {promised.group.name}",
                remedy="give that of the group of the action",
            )
        return multiplicities(promised)
    representation_line(group, promised)  # checks their number
    return tuple(promised)


def layer_table(records: Iterable[Mapping[str, Any]], by: Sequence[str]) -> list[Row]:
    """Return mean and standard deviation of layer figures over seeds, and every word about them.

    Records without a layer are passed over. Records that agree in `by` and the layer are
    repetitions. Words that differ between them stand beside each other: verdicts, ranks, the
    representations that were found and promised, and whether they agree.
    """
    measured = [record for record in records if "layer" in record]
    keys = [*by, "layer"]
    also = [name for name in _ALSO if all(name in record for record in measured)]
    rows = summarise(measured, keys, dict.fromkeys([*_FIGURES, *also], "std"))
    words = [name for name in _WORDS if any(name in record for record in measured)]
    for row in rows:
        own = [each for each in measured if all(each[key] == row[key] for key in keys)]
        for name in words:
            found = dict.fromkeys(str(each[name]) for each in own if each.get(name) is not None)
            row["verdicts" if name == "verdict" else name] = "; ".join(found) or None
    return rows


@final
class _FrameMeans(nn.Module):
    """Calls a network, and shows its layers with one row for each input."""

    def __init__(self, model: nn.Module, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.model = model
        self.means = nn.ModuleDict({name: nn.Identity() for name in layers})
        self.prediction = nn.Identity()
        self._rows: dict[str, Tensor] = {}
        self._hooks = [
            layer.register_forward_hook(partial(self._keep, name)) for name, layer in layers.items()
        ]

    def _keep(self, name: str, layer: nn.Module, inputs: object, output: Tensor) -> None:
        # A copy: later layers may write into it in place.
        self._rows[name] = output.clone()

    def let_go(self) -> None:
        """Leave the network without hooks."""
        for hook in self._hooks:
            hook.remove()

    def forward(self, inputs: Shaped[Tensor, "n *axes"]) -> Float[Tensor, "n out"]:
        """Return the prediction; frames of one input follow each other."""
        prediction: Tensor = self.model(inputs)
        for name, mean in self.means.items():
            rows = self._rows.pop(name).unflatten(0, (len(inputs), -1))
            mean(rows.mean(1).flatten(1))
        shown: Tensor = self.prediction(prediction.flatten(1))
        return shown
