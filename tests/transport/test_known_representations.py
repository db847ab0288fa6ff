"""The exact transport finds which representation is in networks that are equivariant by design."""

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

import orbitlens as ol
from orbitlens.actions import Action, images, own
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, cyclic, dihedral
from orbitlens.models import GroupCNN, GroupLinear, LiftingLinear
from orbitlens.reps import Representation, irreps, multiplicities, regular
from orbitlens.transport import measure_layer, representation_line

GROUPS = [cyclic(4), dihedral(4)]
FEATURES = 2


def measured(network: nn.Module, x: Tensor, action: Action, layers: list[str]) -> dict[str, object]:
    found = ol.measure_network(network, inputs=x, action=action, layers=layers, lie_inputs=0)
    return {each.layer: each for each in found.layers}


def random(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_the_maps_and_the_pool_of_a_group_cnn_carry_one_regular_copy_for_each_feature(
    group: Group,
) -> None:
    wanted = tuple(FEATURES * m for m in multiplicities(regular(group)))
    network = GroupCNN(group, features=FEATURES, kernel=3)
    layers = ["lift", "conv1", "pool", "readout"]
    found = measured(network, random(60, 1, 6, 6), images(group), layers)
    for layer in ("conv1", "pool"):
        assert found[layer].multiplicities == wanted, layer
        assert found[layer].verdict == "exactly equivariant"
        assert found[layer].rank == FEATURES * group.order
    # Before its ReLU the first layer is a linear map of 3 x 3 pixels: centre, edges and corners. No
    # image of them changes sign under the flips alone, so D4 has an irrep that cannot be there.
    pixels = {"C4": (3, 2, 2), "D4": (3, 0, 2, 1, 2)}[group.name]
    copies = found["lift"].multiplicities
    assert all(m <= min(p, w) for m, p, w in zip(copies, pixels, wanted, strict=True))
    assert found["lift"].verdict == "exactly equivariant"
    nothing_moves = [FEATURES, *[0] * (len(wanted) - 1)]
    assert list(found["readout"].multiplicities) == nothing_moves


def linear(group: Group, rep: Representation) -> nn.Sequential:
    network = nn.Sequential(
        LiftingLinear(rep, FEATURES), nn.ReLU(), GroupLinear(group, FEATURES, FEATURES), nn.ReLU()
    )
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for each in network.parameters():
            each.normal_()
    return network


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_the_layers_of_a_linear_group_network_carry_what_they_are_made_of(group: Group) -> None:
    rep = irreps(group)[-1]

    def turned(x: Tensor, g: int) -> Tensor:
        return x @ rep.matrices[g].T.to(x.dtype)

    x = 2 * random(80, 2) - 1
    found = measured(linear(group, rep), x, own(group, turned, example=x[:8]), ["0", "1", "3"])
    wanted = tuple(FEATURES * m for m in multiplicities(regular(group)))
    assert found["1"].multiplicities == found["3"].multiplicities == wanted
    # Before the ReLU the layer is linear: its outputs span one copy of the inputs, and the bias.
    assert found["0"].multiplicities == (1, *multiplicities(rep)[1:])
    assert found["0"].rank == 3


def test_directions_without_variance_are_not_counted() -> None:
    toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=300, seed=0)
    orbits = torch.as_tensor(toy.orbits)
    wide = torch.cat([orbits, torch.zeros(*orbits.shape[:-1], 5)], dim=-1)
    one, other = (measure_layer(ol.store_from_array(x, group=toy.group)) for x in (orbits, wide))
    assert one.multiplicities == other.multiplicities
    assert one.rank == other.rank == other.dim - 5


def test_the_line_needs_a_number_for_each_irrep(monkeypatch: pytest.MonkeyPatch) -> None:
    assert representation_line("D4", (1, 1, 1, 1, 2)) == "1 copy of the regular representation"
    assert representation_line("C4", (0, 0, 0)) == "nothing"
    with pytest.raises(OrbitLensError, match="3 numbers, for trivial"):
        representation_line("C4", (1,))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for copies in ("111", (1.5, 1, 1), (-1, 0, 0), (True, True, True)):
        with pytest.raises(OrbitLensError, match="copies"):
            representation_line("C4", copies)
