"""Networks without a symmetry, and with a gradually broken one.

    python benchmarks/transport/knob.py             # exits 1 if a target is missed

Random dense layers on noise must show no transport above its control. GroupCNN has a knob that adds
free kernels to the tied kernels. As it grows, R^2 must fall and the relation error of the
unconstrained fit must rise.
"""

import sys

import torch
from torch import nn

import orbitlens as ol
from orbitlens.transport import LayerEquivariance, measure_layer

SIZE, SAMPLES = 16, 1000
KNOB = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)


def noise(size: int = SIZE) -> torch.Tensor:
    """Images of independent pixels."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(SAMPLES, 1, size, size, generator=generator)


def line(label: str, found: LayerEquivariance) -> str:
    """One row of the table."""
    figures = (found.r2, found.control_r2, found.free_r2, found.identity_r2, found.relation_error)
    return (
        f"| {label} | {found.group} | {' | '.join(f'{x:.3f}' for x in figures)} | {found.verdict} |"
    )


def main() -> None:
    """Print both tables."""
    print("| network | group | R² exact | control | unconstrained | identity | relation error | |")
    print("|---|---|---|---|---|---|---|---|")
    met = []
    for name in ("C4", "D4"):
        group = ol.groups.from_name(name)
        torch.manual_seed(0)
        dense = nn.Sequential(nn.Flatten(), nn.Linear(SIZE**2, 64), nn.ReLU(), nn.Linear(64, 64))
        store = ol.harvest(dense, layer="3", inputs=noise(), action=ol.actions.images(group))
        found = measure_layer(store)
        met.append(not found.acts)
        print(line("random dense layers on noise", found))
    for name in ("C4", "D4"):
        group = ol.groups.from_name(name)
        family = []
        for knob in KNOB:
            model = ol.models.GroupCNN(group, features=4, broken=knob)
            store = ol.harvest(
                model,
                layer="pool",
                inputs=noise(),
                action=ol.actions.images(group),
            )
            family.append(measure_layer(store))
            print(line(f"GroupCNN, knob at {knob}", family[-1]))
        r2 = [found.r2 for found in family]
        errors = [found.relation_error for found in family]
        met += [r2 == sorted(r2, reverse=True), errors == sorted(errors)]
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
