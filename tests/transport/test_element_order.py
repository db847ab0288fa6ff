"""Orbits of an own array whose elements are in another order."""

import numpy as np
import pytest
import torch

from orbitlens import groups
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.groups import Group
from orbitlens.reps import regular
from orbitlens.transport import fit_transport, measure_layer, transport_r2


def moved(group: Group, order: list[int], noise: float = 0.02, **names: str) -> ActivationStore:
    matrices = regular(group).matrices.float()
    start = torch.randn(300, group.order)
    orbits = torch.einsum("gij,nj->ngi", matrices, start)
    orbits = orbits + noise * torch.randn_like(orbits)
    return store_from_array(orbits[:, order], group=group, **names)


@pytest.mark.parametrize("method", ["least_squares", "gradient"])
def test_right_for_left_actions_are_noticed(method: str) -> None:
    group = groups.dihedral(3)
    store = moved(group, group.inverses.tolist())
    with pytest.warns(OrbitLensWarning, match=r"another order than those of D3.*put the orbits"):
        fit_transport(store, method, **({"epochs": 2} if method == "gradient" else {}))
    with pytest.warns(OrbitLensWarning, match="another order"):
        measure_layer(store)
    with pytest.raises(OrbitLensError, match="order of the elements of D3"):
        fit_transport(store, "exact")


def test_exchanged_turns_are_noticed() -> None:
    with pytest.warns(OrbitLensWarning, match="another order than those of C6"):
        fit_transport(moved(groups.cyclic(6), [0, 2, 1, 3, 4, 5]))


@pytest.mark.parametrize("group", [groups.cyclic(4), groups.dihedral(4), groups.symmetric(3)])
@pytest.mark.parametrize("noise", [0.0, 0.5, 3.0])
def test_the_right_order_is_never_doubted(group: Group, noise: float) -> None:
    store = moved(group, list(range(group.order)), noise)
    fit_transport(store)
    fit_transport(store, "gradient", epochs=2)
    still = store_from_array(
        torch.randn(300, 1, 5) + noise * torch.randn(300, group.order, 5), group=group
    )
    fit_transport(still)
    fit_transport(store_from_array(torch.randn(300, group.order, 5), group=group))


def test_a_named_action_does_not_silence_the_warning() -> None:
    with pytest.warns(OrbitLensWarning, match="another order than those of C6"):
        fit_transport(moved(groups.cyclic(6), [0, 2, 1, 3, 4, 5], action="images"))


def test_turns_the_other_way_round_are_the_same_group() -> None:
    assert fit_transport(moved(groups.cyclic(5), [0, 4, 3, 2, 1])).r2 > 0.9


def test_splits_are_masks_or_indices() -> None:
    store = moved(groups.cyclic(4), [0, 1, 2, 3])
    train, held_out = store.split()
    mask = np.isin(np.arange(store.n), train)
    whole = fit_transport(store)
    assert fit_transport(store, split=(mask, (~mask).tolist())).r2 == whole.r2
    assert transport_r2(store, ~mask, whole.matrices.numpy())[0] == whole.r2
    with pytest.warns(OrbitLensWarning, match=f"3 of {len(held_out) + 3} samples to measure on"):
        fit_transport(store, split=(train, [*train[:3], *held_out]))
    for wrong in (([], held_out), (train, [300])):
        with pytest.raises(OrbitLensError, match="split"):
            fit_transport(store, split=wrong)
