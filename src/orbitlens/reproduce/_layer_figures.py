"""The layer report of a symmetrized network, and its table in a recipe."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, final

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.reproduce._tables import Row, summarise
from orbitlens.transport import measure_network

_FIGURES = ("identity_r2", "r2", "control_r2")


def layer_figures(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    *,
    inputs: Shaped[Tensor, "n *axes"],
    action: Action,
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
        max_dim: Largest number of principal directions kept of a layer, default 64.
        seed: Seed of controls and intervals.

    Returns:
        For each layer, and then for "prediction": the R^2 of rho = I, of the exact transport and of
        the shuffled control, and the verdict, see `transport.LayerEquivariance`.

    Raises:
        OrbitLensError: As `measure_network`.

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
    kept = (*_FIGURES, "verdict")
    return [
        {"layer": name.removeprefix("means."), **{each: row[each] for each in kept}}
        for name, row in zip(names, found.table, strict=True)
    ]


def layer_table(records: Iterable[Mapping[str, Any]], by: Sequence[str]) -> list[Row]:
    """Return mean and standard deviation of layer figures over seeds, and every verdict.

    Records without a layer are passed over. Records that agree in `by` and the layer are
    repetitions.
    """
    measured = [record for record in records if "layer" in record]
    keys = [*by, "layer"]
    rows = summarise(measured, keys, dict.fromkeys(_FIGURES, "std"))
    for row in rows:
        own = [each for each in measured if all(each[key] == row[key] for key in keys)]
        row["verdicts"] = "; ".join(dict.fromkeys(each["verdict"] for each in own))
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
