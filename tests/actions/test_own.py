"""An action of one's own is checked; a right action and another order are named."""

from collections.abc import Callable

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import orbitlens as ol
from orbitlens.actions import check_is_action, images, own, set_permutation, volumes
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.groups import from_name

PICTURES = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
D4 = images("D4")


def turned(x: Tensor, g: int) -> Tensor:
    return torch.rot90(x, g, (-2, -1))


def test_a_left_action_is_taken_and_named_after_its_function() -> None:
    action = own("C4", turned, example=PICTURES)
    assert repr(action) == "Action(own:turned, C4)"
    assert torch.equal(action.orbit(PICTURES), images("C4").orbit(PICTURES))
    own(from_name("D4"), D4.apply, example=PICTURES.double(), grid=D4.grid)
    own("C1", lambda x, g: x.clone(), example=torch.ones(3))


@settings(max_examples=25)
@given(order=st.permutations(range(8)))
def test_elements_in_another_order_are_named_with_the_order_that_mends_it(order: list[int]) -> None:
    def shuffled(x: Tensor, g: int) -> Tensor:
        return D4.apply(x, order[g])

    table = D4.group.table
    if np.array_equal(np.array(order)[table], table[np.ix_(order, order)]):  # as good an order
        own("D4", shuffled, example=PICTURES)
        return
    with pytest.raises(OrbitLensError, match=r"order|right action") as caught:
        own("D4", shuffled, example=PICTURES)
    message = str(caught.value)
    if "right action" in message:
        inverses = D4.group.inverses
        own("D4", lambda x, g: shuffled(x, int(inverses[g])), example=PICTURES)
        return
    found = [int(k) for k in message.split("order = [")[1].split("]")[0].split(",")]
    own("D4", lambda x, g: shuffled(x, found[g]), example=PICTURES)


@pytest.mark.parametrize(
    ("ours", "x"),
    [
        (D4, PICTURES),
        (set_permutation("S4"), torch.rand(2, 4)),
        (volumes("O"), torch.rand(2, 1, 3, 3, 3)),
    ],
    ids=["images", "sets", "volumes"],
)
def test_a_right_action_is_named_as_such(ours: ol.actions.Action, x: Tensor) -> None:
    inverses = ours.group.inverses

    def right(x: Tensor, g: int) -> Tensor:
        return ours.apply(x, int(inverses[g]))

    message = r"g\(hx\) = \(gh\)x, received .*right action.*apply\(x, int\(group.inverses\[g\]\)\)"
    with pytest.raises(OrbitLensError, match=message) as caught:
        own(ours.group, right, example=x)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("group", "apply", "message"),
    [
        ("C4", lambda x, g: turned(x, g + 1), "identity, leaves as they are.*another order.*order"),
        ("C4", lambda x, g: turned(x, g) + g, "a left action.*correct its `apply`"),
        ("C2", turned, "a left action.*correct its `apply`"),
        ("C4", lambda x, g: turned(x, g).double(), "in torch.float64"),
        ("C4", lambda x, g: x[:, :, g:], r"moved inputs of shape \[2, 1, 6, 6\]"),
        ("C4", lambda x, g: x.mul_(1 + g), "writes into them"),
        ("C4", lambda x: x, "TypeError"),
        ("C4", lambda x, g: None, "NoneType, not a tensor"),
        ("C4", 5, "`apply` of own: expected a function.*received int"),
        ("C44x", turned, "`group`"),
    ],
)
def test_what_is_no_action_is_refused_in_a_line(
    group: str,
    apply: Callable[..., Tensor],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message) as caught:
        own(group, apply, example=PICTURES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("example", "received"),
    [(torch.zeros(0, 3), r"shape \[0, 3\]"), (torch.tensor(1.0), r"shape \[\]"), ([1], "list")],
)
def test_an_example_is_a_tensor_of_inputs(
    example: object, received: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=f"`example` of own.*received {received}"):
        own("C4", turned, example=example)  # type: ignore[arg-type]


def test_other_settings_that_are_wrong_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`exact`: expected True or False"):
        own("C4", turned, exact=1)  # type: ignore[arg-type]
    with pytest.raises(OrbitLensError, match="`grid` of own: expected a function of the sizes"):
        own("C4", turned, grid=5)  # type: ignore[arg-type]
    with pytest.raises(OrbitLensError, match="inputs of an action"):
        own("C4", turned)(torch.tensor(1.0), 0)
    with pytest.raises(OrbitLensError, match="`grid` of action 'own:<lambda>'"):
        own("C4", lambda x, g: turned(x, -g), example=PICTURES, grid=images("C4").grid)


def test_an_interpolated_action_is_warned_of_and_never_exact() -> None:
    eighth = images("C8", "bilinear")
    assert not own("C8", eighth.apply, example=PICTURES, exact=False).exact
    with pytest.warns(OrbitLensWarning, match="correct `apply`"):
        own("C8", lambda x, g: eighth.apply(x, (3 * g) % 7), example=PICTURES, exact=False)


def test_without_an_example_a_harvest_checks_its_first_inputs() -> None:
    network, x = nn.Sequential(nn.Flatten(), nn.Linear(36, 5)), torch.rand(8, 1, 6, 6)
    right = own("D4", lambda x, g: D4.apply(x, int(D4.group.inverses[g])))
    with pytest.raises(OrbitLensError, match="action 'own:<lambda>' of D4.*right action"):
        ol.harvest(network, layer="1", inputs=x, action=right)
    store = ol.harvest(network, layer="1", inputs=x, action=own("D4", D4.apply))
    assert store.array.shape == (8, 8, 5)


def test_the_grid_of_an_own_action_moves_maps_of_one_to_three_axes() -> None:
    cube = volumes("O")
    action = own("O", cube.apply, grid=cube.grid, example=torch.rand(2, 1, 3, 3, 3))
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Flatten())
    x = torch.rand(4, 1, 3, 3, 3)
    store = ol.harvest(network, layer="0", inputs=x, action=action, positions="all")
    rows = store.orbits()
    torch.testing.assert_close(rows, rows[:, :1].expand_as(rows))
    flat = own("C4", turned, grid=images("C4").grid, example=PICTURES)
    with pytest.raises(OrbitLensError, match="places under own:turned.*received 3 x 3 x 3 places"):
        ol.harvest(
            network, layer="0", inputs=torch.rand(4, 1, 3, 3, 3), action=flat, positions="all"
        )


def test_inputs_that_do_not_tell_elements_apart_get_the_general_remedy() -> None:
    flat = torch.ones(2, 1, 6, 6)
    with pytest.raises(OrbitLensError, match="correct its `apply`, or the order"):
        check_is_action(own("C4", lambda x, g: turned(x, g) + (g == 1)), flat)


def test_nan_does_not_pass_for_a_law() -> None:
    wrong = lambda x, g: x.roll(g if g != 3 else 2, 1)  # noqa: E731  # as users write it
    with pytest.raises(OrbitLensError, match="`example` of own: expected finite numbers"):
        own("C4", wrong, example=torch.tensor([[1.0, 2.0, 3.0, float("nan")]]))
    spoils = lambda x, g: x.roll(g, 1) * (float("nan") if g == 3 else 1)  # noqa: E731
    with pytest.raises(OrbitLensError, match="finite numbers of finite inputs, received NaN"):
        own("C4", spoils, example=torch.randn(2, 4))
    with pytest.raises(OrbitLensError):
        own("C4", wrong, example=torch.randn(2, 4).double() * 1e200)
