"""Arguments that do not go together, and inputs that cannot be averaged: one clear error each."""

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

import orbitlens as ol
from orbitlens import actions
from orbitlens.actions import SampledAction, relabelling, rotations
from orbitlens.errors import OrbitLensError
from orbitlens.reps import regular
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
        ({"how": None}, "`how`: expected one of average"),
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
    said = r"`network` on moved inputs of shape \[12, 1, 5, 5\]: .*RuntimeError: mat1 and mat2.*"
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
