"""Arguments that do not go together, and inputs that cannot be averaged: one clear error each."""

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

import orbitlens as ol
from orbitlens import actions
from orbitlens.actions import SampledAction, relabelling, rotations
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.reps import Representation, regular
from orbitlens.symmetry import symmetrize
from orbitlens.symmetry.symmetrize import (
    EnergyHead,
    HaarHead,
    ImageHead,
    PermutationHead,
    PlaneHead,
    RotationHead,
)

NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
IMAGES, TURN = torch.rand(3, 1, 4, 4), actions.images("C4")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"how": "averages"}, "did you mean 'average'"),
        ({"how": "probabilistic"}, 'expected "average", which is exact over the 4 elements of C4'),
        ({"how": "probabilistic", "action": actions.graphs("S3")}, r"actions.relabelling\(nodes\)"),
        ({"how": "probabilistic", "action": actions.points("O")}, r'actions.rotations\("SO3"\)'),
        ({"how": "canonical"}, "`example`.*give example=inputs\\[:1\\], or a `head`"),
        ({"how": "canonical", "example": IMAGES[:0]}, "received no input"),
        ({"how": "canonical", "example": IMAGES[:, 0]}, "give grey images a channel axis"),
        ({"how": "probabilistic", "action": relabelling(4)}, "`example`"),
        ({"head": HaarHead(relabelling(4))}, 'None for how="average"'),
        (
            {"how": "canonical", "head": HaarHead(relabelling(4))},
            r"scores \[n, 4\], as C4 is finite",
        ),
        (
            {"how": "probabilistic", "action": relabelling(4), "head": EnergyHead(TURN, 16)},
            "a FrameHead, as the elements of S4 are drawn",
        ),
        ({"output": regular("D4")}, "an action of C4, which moves the inputs, received one of D4"),
        ({"output": actions.images("D4")}, "received one of D4; give both the same group"),
        ({"output": rotations("O3")}, "or an Action of C4, received SampledAction"),
        ({"action": relabelling(4), "output": regular("S4")}, "or actions.relabelling of S4"),
        ({"action": relabelling(4), "output": actions.graphs("S4")}, "as its elements are drawn"),
        ({"action": relabelling(4), "output": relabelling(5)}, r"received SampledAction\(.*S5\)"),
        (
            {"action": rotations("O3"), "output": rotations("O3", centred=True)},
            "centre both, so that the outputs are put back",
        ),
        ({"n_samples": 5}, "the mean over all elements of .*C4.* is exact, received 5; leave"),
        ({"how": "canonical", "head": EnergyHead(TURN, 16), "n_samples": 3}, "one canonical frame"),
        (
            {"how": "canonical", "action": relabelling(4), "example": IMAGES[:, 0], "n_samples": 3},
            'use how="average" or "probabilistic" to draw several',
        ),
        ({"action": relabelling(4), "n_samples": 0}, "`n_samples`: expected at least 1"),
        ({"seed": -1}, "give a seed"),
    ],
)
def test_what_does_not_go_together(options: dict[str, object], said: str) -> None:
    with pytest.raises(OrbitLensError, match=said):
        symmetrize(**{"network": NETWORK, "action": TURN, **options})  # type: ignore[arg-type]


def test_other_kinds_at_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for options, said in (
        ({"action": "D4"}, r"expected an Action, received 'D4'; .*actions.images\('D4'\)"),
        ({"action": ol.groups.cyclic(4)}, "received the group C4; say how it moves inputs"),
        ({"network": lambda x: x}, "`network`"),
        ({"output": "regular"}, "or a Representation or an Action of C4, received str"),
        ({"how": None}, "`how`: expected one of average, .*received NoneType; choose one of these"),
        ({"how": "canonical", "head": 3}, "received int"),
    ):
        with pytest.raises(OrbitLensError, match=said):
            symmetrize(**{"network": NETWORK, "action": TURN, **options})  # type: ignore[arg-type]


class Maps(nn.Module):
    """Keeps the places, as a network for segmentation does."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., :2] if x.ndim == 3 else x[:, :1, ::2, ::2]


@pytest.mark.parametrize("action", [TURN, relabelling(4)])
def test_outputs_with_the_axes_of_the_inputs_need_an_action(
    action: actions.Action | SampledAction,
) -> None:
    x = IMAGES if action is TURN else IMAGES[:, 0]
    with pytest.raises(OrbitLensError, match=r"`output`: expected the action on outputs.*=action"):
        symmetrize(Maps(), action)(x)
    flat = nn.Sequential(Maps(), nn.Flatten())
    assert symmetrize(flat, action)(x).ndim == 2


class Returns(nn.Module):
    """Returns something of the inputs."""

    def __init__(self, read: object) -> None:
        super().__init__()
        self.read = read

    def forward(self, x: Tensor) -> object:
        return self.read(x)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("read", "output", "said"),
    [
        (lambda x: (x, x), None, "received tuple"),
        (lambda x: x.mean(), None, r"received shape \[\]"),
        (lambda x: x[:2].flatten(1), None, r"a row for each of 12 moved inputs, received shape"),
        (lambda x: x.flatten(1), regular("C4"), r"shape \[n, ..., 4\], received \[12, 16\]"),
        (lambda x: x.flatten(1), TURN, "give grey images a channel axis"),
    ],
)
def test_outputs_that_cannot_be_moved(read: object, output: object, said: str) -> None:
    with pytest.raises(OrbitLensError, match=said):
        symmetrize(Returns(read), TURN, output=output)(IMAGES)  # type: ignore[arg-type]


def test_a_network_that_fails_on_moved_inputs() -> None:
    said = r"`network` on moved inputs of shape \[12, 1, 5, 5\] .*RuntimeError: mat1 and mat2.*"
    with pytest.raises(OrbitLensError, match=said):
        symmetrize(NETWORK, TURN)(torch.rand(3, 1, 5, 5))


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda x: x.flatten(1), r"`head`: expected scores of shape \[3, 4\].*received \[3, 16\]"),
        (lambda x: x.flatten(1)[:, :4] / 0, "finite numbers, received NaN or infinity"),
        (lambda x: None, "received NoneType"),
    ],
)
def test_heads_that_give_no_scores(read: object, said: str) -> None:
    with pytest.raises(OrbitLensError, match=said):
        symmetrize(NETWORK, TURN, "canonical", head=Returns(read))(IMAGES)


def test_inputs_that_the_action_cannot_move() -> None:
    with pytest.raises(OrbitLensError, match="expected height = width"):
        symmetrize(NETWORK, TURN)(IMAGES[..., :3])
    graphs = torch.rand(2, 4, 3)
    with pytest.raises(OrbitLensError, match=r"shape \[n, 4, 4 \+ features\]"):
        symmetrize(NETWORK, relabelling(4))(graphs)


def test_masks_that_are_no_padding() -> None:
    phi, x = symmetrize(NETWORK, relabelling(4)), IMAGES[:, 0]
    gaps = torch.tensor([[True, False, True, True]]).expand(3, 4)
    with pytest.raises(OrbitLensError, match="then False for the padding"):
        phi(x, gaps)
    with pytest.raises(OrbitLensError, match="`mask`: expected None, as the elements of Action"):
        symmetrize(NETWORK, TURN)(IMAGES, gaps)


@pytest.mark.parametrize("variance", [0.0, -1.0, float("nan")])
def test_variances_that_no_number_of_samples_gives(variance: float) -> None:
    with pytest.raises(OrbitLensError, match="`variance`: expected a number above 0"):
        symmetrize(NETWORK, relabelling(4)).samples_for(IMAGES[:, 0], variance)


@pytest.mark.parametrize(
    ("action", "x", "kind"),
    [
        (TURN, IMAGES, ImageHead),
        (actions.images("C8", "bilinear"), IMAGES, EnergyHead),
        (actions.plane("p4", 4), IMAGES, PlaneHead),
        (actions.graphs("S4"), IMAGES[:, 0], EnergyHead),
        (relabelling(4), IMAGES[:, 0], PermutationHead),
        (rotations("SO3"), IMAGES[:, 0], RotationHead),
    ],
)
def test_the_head_that_serves_an_action(
    action: actions.Action | SampledAction, x: Tensor, kind: type
) -> None:
    phi = symmetrize(NETWORK, action, "canonical", example=x.double())
    assert type(phi.method.head) is kind
    assert {each.dtype for each in phi.method.head.parameters()} == {torch.float64}


def test_matrices_that_are_no_representation() -> None:
    group, turns = ol.groups.dihedral(4), actions.images("D4")
    left = regular(group).matrices
    for matrices in (2 * left, 0 * left, left.mT, left.flip(0), left / 0):
        with pytest.raises(OrbitLensError, match="multiply as D4, the identity as I, received"):
            symmetrize(NETWORK, turns, output=Representation(group, matrices, "own"))
    for right in (regular("C1"), Representation(group, torch.zeros(8, 0, 0), "none")):
        action = actions.images(right.group)
        assert symmetrize(NETWORK, action, output=right).output is right


def inverses(x: Tensor, g: int) -> Tensor:
    """A right action of D4, as each element moves by its inverse."""
    return actions.images("D4").apply(x, int(ol.groups.dihedral(4).inverses[g]))


@pytest.mark.parametrize("how", ["average", "canonical"])
@pytest.mark.parametrize(
    ("move", "said"),
    [
        (inverses, "this is a right action, so move by the inverse"),
        (lambda x, g: x * (g + 1), r"a left action, g\(hx\) = \(gh\)x"),
        (lambda x, g: x + 1, "its element 0, the identity, leaves as they are"),
    ],
)
def test_functions_that_are_no_left_action(how: str, move: object, said: str) -> None:
    wrong = actions.own("D4", move)  # type: ignore[arg-type]
    with pytest.raises(OrbitLensError, match=said):
        symmetrize(NETWORK, wrong, how, example=IMAGES)(IMAGES)
    maps = Returns(lambda x: x)
    with pytest.raises(OrbitLensError, match=said):
        symmetrize(maps, actions.images("D4"), how, wrong, example=IMAGES)(IMAGES)


def test_an_action_is_tried_once_and_the_inputs_keep_their_gradients() -> None:
    calls = []

    def flip(x: Tensor, g: int) -> Tensor:
        calls.append(g)
        return x.flip(-1) if g else x.clone()

    phi, x = symmetrize(NETWORK, actions.own("C2", flip)), IMAGES.clone().requires_grad_()
    phi(x[:0])
    phi(x).sum().backward()
    assert x.grad is not None
    calls.clear()
    phi(x)
    assert calls == [0, 1]


def test_an_interpolated_action_is_warned_of_once() -> None:
    phi = symmetrize(NETWORK, actions.images("C8", "bilinear"))
    with pytest.warns(OrbitLensWarning, match=r"symmetric only up to that: .* up to 0\.\d+ of x"):
        phi(IMAGES)
    phi(IMAGES)
    maps = symmetrize(Returns(lambda x: x), TURN, output=TURN)
    maps(IMAGES)


QUIET = {"noise_scale": 0.0, "ties": "order"}
CLOUD = rotations("S4xO3", vectors=2)


@pytest.mark.parametrize(
    ("action", "head", "said"),
    [
        (rotations("O3"), RotationHead(1, special=True), "special=False.*received .*special=True"),
        (rotations("SO3"), RotationHead(1), "special=True.*received .*special=False"),
        (CLOUD, RotationHead(2), "permutes=True, as Sampled.*received .*permutes=False"),
        (CLOUD, RotationHead(1, permutes=True), "vectors=2.*received .*vectors=1"),
        (
            CLOUD,
            PermutationHead(6, pairs=False),
            "RotationHead with vectors=2.*received PermutationHead",
        ),
        (relabelling(4), RotationHead(1), "PermutationHead with pairs=True.*received RotationHead"),
        (relabelling(4), PermutationHead(4, pairs=False), "pairs=True.*received .*pairs=False"),
        (relabelling(4), HaarHead(relabelling(5)), "HaarHead of S4.*received HaarHead of S5"),
    ],
)
def test_heads_of_another_action(action: SampledAction, head: nn.Module, said: str) -> None:
    with pytest.raises(OrbitLensError, match=f"`head`: expected .*{said}"):
        symmetrize(NETWORK, action, "probabilistic", head=head)


@pytest.mark.parametrize(
    ("action", "head"),
    [
        (actions.images("D4"), EnergyHead(actions.images("C8", "bilinear"), 16)),
        (TURN, EnergyHead(actions.points("C4"), 16)),
        (actions.images("D4"), ImageHead(ol.groups.cyclic(4), 1)),
        (actions.plane("p4", 4), PlaneHead(ol.groups.PlaneGroup("p1", 4), 1)),
        (TURN, PlaneHead(ol.groups.PlaneGroup("p4", 4), 1)),
    ],
)
def test_scores_for_another_action(action: actions.Action, head: nn.Module) -> None:
    said = r"`head`: expected a head made for Action\(.*received \w+Head made for"
    with pytest.raises(OrbitLensError, match=said):
        symmetrize(NETWORK, action, "canonical", head=head)


@pytest.mark.parametrize(
    ("action", "head", "said"),
    [
        (relabelling(4), PermutationHead(0), "noise_scale=1 and ties='noise'"),
        (relabelling(4), PermutationHead(0, noise_scale=0.0), "noise_scale=0 and ties='noise'"),
        (rotations("O3"), RotationHead(1, ties="order"), "noise_scale=1 and ties='order'"),
        (rotations("O3"), HaarHead(rotations("O3")), "HaarHead, which draws every frame"),
    ],
)
def test_a_canonical_frame_that_would_be_drawn(
    action: SampledAction, head: nn.Module, said: str
) -> None:
    with pytest.raises(OrbitLensError, match=f'ties="order".*received {said}.*"probabilistic"'):
        symmetrize(NETWORK, action, "canonical", head=head)


@pytest.mark.parametrize(
    ("action", "head"),
    [
        (relabelling(4), PermutationHead(0, **QUIET)),  # type: ignore[arg-type]
        (rotations("SO3"), RotationHead(1, 1, special=True, **QUIET)),  # type: ignore[arg-type]
        (TURN, ImageHead(ol.groups.cyclic(4), 1)),
        (actions.plane("p4", 4), PlaneHead(ol.groups.PlaneGroup("p4", 4), 1)),
    ],
)
def test_heads_that_were_made_for_the_action(action: object, head: nn.Module) -> None:
    phi = symmetrize(NETWORK, action, "canonical", head=head)  # type: ignore[arg-type]
    assert phi.method.head is head


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (relabelling(4), r"output=actions.relabelling\(4, pairs=False\).*Unflatten\(1, \(1, 4\)\)"),
        (rotations("S4xO3"), r'output=actions.rotations\("S4xO3"\), for rows of vectors'),
    ],
)
def test_a_value_for_each_node_needs_an_action(action: SampledAction, said: str) -> None:
    x = IMAGES[:, 0]
    for read in (lambda x: x.sum(2), lambda x: x[..., None]):
        with pytest.raises(OrbitLensError, match=said):
            symmetrize(Returns(read), action)(x)
    for read in (lambda x: x.sum(2)[:, :3], lambda x: x.sum(2)[:, None], lambda x: x.sum((1, 2))):
        assert len(symmetrize(Returns(read), action)(x)) == 3
    assert symmetrize(NETWORK, rotations("O3"))(x).shape == (3, 4)
    assert symmetrize(Returns(lambda x: x.flatten(1)[:, :1]), relabelling(1))(x[:, :1]).ndim == 2


@pytest.mark.parametrize("how", ["average", "canonical"])
def test_outputs_that_have_no_mean(how: str) -> None:
    for read in (lambda x: x.flatten(1).argmax(1), lambda x: x.flatten(1) > 0):
        with pytest.raises(
            OrbitLensError, match="which can be averaged, received torch.(int|bool)"
        ):
            symmetrize(Returns(read), TURN, how, example=IMAGES)(IMAGES)


def test_a_head_of_another_precision() -> None:
    said = r"`head` on inputs of shape \[3, 1, 4, 4\] in torch.float64: .*of the shape and type"
    with pytest.raises(OrbitLensError, match=said):
        symmetrize(NETWORK, TURN, "canonical", example=IMAGES)(IMAGES.double())


def test_masks_are_checked_where_only_directions_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    action, x = rotations("O3"), IMAGES[:, 0]
    everywhere = torch.ones(3, 4, dtype=torch.bool)
    for mask, said in (
        (everywhere[:2], r"received shape \[2, 4\]"),
        (everywhere[:, :3], r"received shape \[3, 3\]"),
        (everywhere.fliplr().triu(1), "then False for the padding"),
        (~everywhere, "an input has at least one node"),
    ):
        with pytest.raises(OrbitLensError, match=f"`mask`.*{said}"):
            symmetrize(NETWORK, action).predict(x, mask=mask)
        with pytest.raises(OrbitLensError, match=f"`mask`.*{said}"):
            HaarHead(action)(x, 2, mask=mask)


def test_samples_that_cannot_be_counted() -> None:
    x, action = IMAGES[:, 0], rotations("O3")
    phi = symmetrize(NETWORK, action)
    with pytest.raises(OrbitLensError, match="finite numbers of at least one input, received none"):
        phi.samples_for(x[:0], 0.1)
    broken = symmetrize(Returns(lambda x: x.flatten(1) / 0), action)
    with pytest.raises(OrbitLensError, match="received NaN or infinity"):
        broken.samples_for(x, 0.1)
    for variance in (1e-25, 1e-320):
        with pytest.raises(OrbitLensError, match=r"`variance`.*fewer than 2\^53 samples"):
            phi.samples_for(x, variance)


def test_more_samples_than_fit() -> None:
    phi = symmetrize(NETWORK, rotations("O3"))
    with pytest.raises(OrbitLensError, match=r"3 inputs: .* of memory, .*; ask for fewer samples"):
        phi.predict(IMAGES[:, 0], n_samples=10**15)
    frames = symmetrize(NETWORK, relabelling(20000, pairs=False), n_samples=10**6)
    with pytest.raises(OrbitLensError, match="ask for fewer samples"):
        frames(torch.zeros(1, 20000, 1))


class Seer(nn.Module):
    """A linear network that keeps the inputs that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return x.flatten(1) @ torch.ones(x[0].numel(), 2)


@pytest.mark.parametrize(
    ("how", "action", "shape"),
    [
        ("canonical", actions.images("D4"), (4, 1, 8, 8)),
        ("canonical", rotations("O3"), (4, 5, 3)),
        ("probabilistic", rotations("O3"), (4, 5, 3)),
        ("probabilistic", rotations("S5xSO3"), (4, 5, 3)),
        ("probabilistic", relabelling(5), (4, 5, 6)),
    ],
)
def test_autocast_is_for_the_network_and_not_for_the_frames(
    how: str, action: actions.Action | SampledAction, shape: tuple[int, ...]
) -> None:
    network = Seer()
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    phi = symmetrize(network, action, how, example=x).eval()
    assert phi(x).dtype == torch.float32
    with torch.autocast("cpu"):
        assert phi(x).dtype == torch.bfloat16
    assert torch.equal(network.seen[-1], network.seen[-2])
