"""`check_symmetry`: exact networks pass, wrong maps and broken networks are found."""

import json
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from orbitlens import actions, groups, reps
from orbitlens.actions import Action
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.models import GroupCNN
from orbitlens.symmetry import SymmetryCheck, check_symmetry, symmetrize

FEATURES = 3


@pytest.fixture
def images() -> Tensor:
    return torch.rand(24, 1, 10, 10, generator=torch.Generator().manual_seed(1))


def layer_of(network: GroupCNN, name: str) -> Callable[[Tensor], Tensor]:
    """Return the network up to one of its layers."""

    def run(pictures: Tensor) -> Tensor:
        maps = pictures
        for each in ("lift", "conv1", "conv2"):
            maps = network.get_submodule(each)(maps)
            if each == name:
                return maps
            maps = maps.relu()
        return network.pool(maps)

    return run


def on_maps(group: groups.Group) -> Action:
    """Return I (x) regular on channels f |G| + g, and turns and flips on places."""
    places, matrices = actions.images(group), reps.regular(group).matrices

    def turn_maps(maps: Tensor, element: int) -> Tensor:
        moved = places.apply(maps, element).unflatten(1, (-1, group.order))
        return torch.einsum("gh,nfhyx->nfgyx", matrices[element].to(moved), moved).flatten(1, 2)

    return actions.own(group, turn_maps)


def on_vectors(group: groups.Group) -> reps.Representation:
    return reps.direct_sum(*[reps.regular(group)] * FEATURES)


def unmoved(name: str, dim: int) -> reps.Representation:
    group = groups.from_name(name)
    return reps.Representation(group, torch.eye(dim).repeat(group.order, 1, 1), "nothing")


def assert_exact(check: SymmetryCheck) -> None:
    assert max(value or 0.0 for value in check.errors.mean) <= 1e-5
    assert check.verdict == "exact"
    assert check.other is not None
    for wrong in (check.shuffled, check.other):
        known = [value for value in wrong.mean if value is not None]
        assert min(known) >= 0.1


@pytest.mark.parametrize("name", ["C2", "C4", "D1", "D2", "D4"])
def test_a_group_network_passes_and_wrong_groups_fail(name: str, images: Tensor) -> None:
    group = groups.from_name(name)
    network, action = GroupCNN(group, features=FEATURES), actions.images(group)
    assert_exact(check_symmetry(network, images, action))
    assert_exact(check_symmetry(layer_of(network, "conv2"), images, action, on_maps(group)))
    assert_exact(check_symmetry(layer_of(network, "pool"), images, action, on_vectors(group)))


@pytest.mark.parametrize("core", ["symmetric", "not"])
def test_a_representation_that_moves_nothing_is_no_representation(
    core: str, images: Tensor
) -> None:
    function, action = (sizes if core == "symmetric" else first_rows), actions.images("D4")
    nothing = unmoved("D4", 1 if core == "symmetric" else 3)
    invariant = check_symmetry(function, images, action)
    trivial = check_symmetry(function, images, action, nothing)
    assert trivial.verdict == invariant.verdict == ("exact" if core == "symmetric" else "none")
    assert trivial.shuffled.name == "another input"
    assert trivial.shuffled.overall == pytest.approx(invariant.shuffled.overall, rel=0.1)


def test_outputs_that_no_element_moves_are_compared_with_another_input(images: Tensor) -> None:
    # The sign would turn the second number, which is 0.
    sign = groups.cyclic(4).table[0] % 2
    matrices = torch.stack([torch.diag(torch.tensor([1.0, 1.0 - 2.0 * s])) for s in sign])
    output = reps.Representation(groups.cyclic(4), matrices, "1 + sign")
    turns = actions.images("C4")
    still = check_symmetry(lambda x: nn.functional.pad(sizes(x), (0, 1)), images, turns, output)
    assert (still.verdict, still.shuffled.name) == ("exact", "another input")
    moved = check_symmetry(lambda x: sizes(x).expand(-1, 2), images, turns, output)
    assert (moved.verdict, moved.shuffled.name) == ("none", "shuffled elements")


def test_errors_grow_with_a_broken_symmetry(images: Tensor) -> None:
    group = groups.dihedral(4)
    errors = [
        check_symmetry(
            GroupCNN(group, features=FEATURES, broken=broken), images, actions.images(group)
        ).errors.overall
        for broken in (0.0, 0.03, 0.1, 0.3)
    ]
    assert errors == sorted(errors)
    assert errors[1] > 100 * errors[0]


def test_a_wrong_map_of_the_outputs_is_found(images: Tensor) -> None:
    group = groups.dihedral(4)
    network, action = GroupCNN(group, features=FEATURES), actions.images(group)
    lift = layer_of(network, "lift")
    places_alone = check_symmetry(lift, images, action, actions.images(group))
    assert places_alone.verdict == "none"
    assert "not equivariant under D4" in places_alone.sentence
    maps = on_maps(group)
    backwards = actions.own(group, lambda x, g: maps.apply(x, int(group.inverses[g])))
    with pytest.raises(OrbitLensError, match=r"a left action, g\(hx\) = \(gh\)x"):
        check_symmetry(lift, images, action, backwards)


def test_an_error_of_the_outputs_is_in_units_of_their_spread() -> None:
    # f(x) = x and f(rx) = -x: under the sign, nothing is wrong; without it, 2 |x| / s.
    inputs = torch.tensor([[3.0], [-1.0], [1.0], [-3.0]])
    flip = actions.own("C2", lambda x, g: -x if g else x)
    sign = reps.Representation(groups.cyclic(2), torch.tensor([[[1.0]], [[-1.0]]]), "sign")
    exact = check_symmetry(lambda x: x, inputs, flip, sign)
    assert exact.errors.mean == (0.0,)
    assert exact.scale == pytest.approx(5**0.5)
    found = check_symmetry(lambda x: x, inputs, flip)
    assert found.errors.mean[0] == pytest.approx(4 / 5**0.5)
    assert found.errors.largest[0] == pytest.approx(6 / 5**0.5)
    # Two inputs miss by 6 and two by 2: a tenth and nine tenths lie on these.
    assert found.errors.low[0] == pytest.approx(2 / 5**0.5)
    assert found.errors.high[0] == pytest.approx(6 / 5**0.5)


def test_a_constant_that_is_added_hides_nothing(images: Tensor) -> None:
    network, action = GroupCNN(groups.cyclic(4), broken=0.3).double(), actions.images("C4")
    found = check_symmetry(network, images.double(), action)
    offset = check_symmetry(lambda x: network(x) + 1e4, images.double(), action)
    assert offset.errors.mean == pytest.approx(found.errors.mean, rel=1e-6)


@pytest.mark.parametrize("size", [0.0, 1.0, 1e6])
def test_of_constant_outputs_the_check_says_nothing(images: Tensor, size: float) -> None:
    with pytest.warns(OrbitLensWarning, match="the check says nothing about C4; give inputs"):
        found = check_symmetry(
            lambda x: x.new_full((len(x), 2), size), images, actions.images("C4")
        )
    assert found.verdict == "constant"
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert record["verdict"] == "constant"
    assert [row["mean"] for row in record["elements"]] == [None] * 3


@pytest.mark.parametrize("size", [1e200, 1e160, 1e-160, 1e-200, 1e-300])
def test_the_size_of_outputs_plays_no_part(images: Tensor, size: float) -> None:
    action, output = actions.images("C4"), unmoved("C4", 1)
    for core in (sizes, first_rows):
        usual = check_symmetry(lambda x, f=core: f(x).double(), images, action)
        found = check_symmetry(lambda x, f=core: f(x).double() * size, images, action)
        assert found.verdict == usual.verdict
        assert found.errors.mean == pytest.approx(usual.errors.mean)
        assert found.scale == pytest.approx(usual.scale * size)
    sized = check_symmetry(lambda x: sizes(x).double() * size, images, action, output)
    assert sized.verdict == "exact"


def coarse(offset: float) -> Callable[[Tensor], Tensor]:
    """Return numbers from 0 to 1 that turns change, with an offset, in steps of bfloat16."""
    return lambda x: (x[:, 0, 0, :3] + offset).bfloat16()


def test_rounding_never_makes_a_function_invariant(images: Tensor) -> None:
    # About 2 a step is 1/64, and 30 steps of three such numbers are more than they spread.
    with pytest.warns(OrbitLensWarning, match="rounding hides whether it is invariant under C4; c"):
        found = check_symmetry(coarse(1.5), images, actions.images("C4"))
    assert found.errors.overall > 1
    assert found.verdict == "unclear"
    assert found.sentence.startswith("Rounding hides whether the function is invariant under C4")
    assert "calculate in float32 or float64" in found.sentence
    assert check_symmetry(coarse(-0.5), images, actions.images("C4")).verdict == "none"
    within_single = check_symmetry(lambda x: x[:, 0, 0, :3] + 1.5, images, actions.images("C4"))
    assert within_single.verdict == "none"


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_a_coarse_number_format_may_still_be_exact(images: Tensor, kind: torch.dtype) -> None:
    found = check_symmetry(lambda x: (sizes(x) - 5).to(kind), images, actions.images("C4"))
    assert found.verdict == "exact"
    assert found.rounding > 1e-2
    assert "Another input does no worse" not in found.sentence


def noisy(core: Callable[[Tensor], Tensor], size: float) -> Callable[[Tensor], Tensor]:
    """Return a function with a core and normal noise on top of it."""
    generator = torch.Generator().manual_seed(3)

    def run(pictures: Tensor) -> Tensor:
        values = core(pictures)
        return values + size * torch.randn(values.shape, generator=generator)

    return run


def sizes(pictures: Tensor) -> Tensor:
    return 10 * pictures.flatten(1).mean(1, keepdim=True)


def first_rows(pictures: Tensor) -> Tensor:
    return pictures[:, 0, 0, :3]


@pytest.mark.parametrize("size", [1e-3, 0.1])
def test_an_invariant_core_is_seen_through_its_noise(images: Tensor, size: float) -> None:
    with pytest.warns(OrbitLensWarning, match="two calls with the same inputs differ by"):
        found = check_symmetry(noisy(sizes, size), images, actions.images("C4"))
    assert found.verdict == "expectation"
    assert "is invariant under C4 in expectation, as far as" in found.sentence
    assert found.errors.mean[0] == pytest.approx(found.noise, rel=0.5)
    assert found.errors.resolution < found.errors.mean[0]
    assert found.to_dict()["resolution"] == found.errors.resolution


@pytest.mark.parametrize("size", [1e-3, 0.1, 0.3, 3.0, 100.0])
def test_noise_never_makes_a_function_invariant(images: Tensor, size: float) -> None:
    with pytest.warns(OrbitLensWarning, match="`function`: ") as warned:
        found = check_symmetry(noisy(first_rows, size), images, actions.images("D4"))
    assert found.verdict == ("none" if size < 1 else "unclear")
    assert "is invariant" not in found.sentence.replace("hide whether it is invariant", "")
    assert len(str(warned[0].message)) < 160
    if found.verdict == "unclear":
        assert "More inputs, or more samples within the function, show more." in found.sentence


def test_a_small_error_under_much_smaller_noise_is_measured(images: Tensor) -> None:
    def core(pictures: Tensor) -> Tensor:
        return sizes(pictures) + 0.05 * first_rows(pictures)[:, :1]

    exact = check_symmetry(core, images, actions.images("C4"))
    with pytest.warns(OrbitLensWarning, match="two calls"):
        found = check_symmetry(noisy(core, 2e-3), images, actions.images("C4"))
    assert (exact.verdict, found.verdict) == ("nearly", "nearly")
    assert "its random numbers set aside" in found.sentence
    assert found.errors.expected is not None
    squares = exact.errors.mean[0]
    assert squares is not None
    assert found.errors.expected[0] == pytest.approx(squares, rel=0.3)


def test_noise_alone_is_rarely_taken_for_an_error() -> None:
    pictures = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(4))
    function, action = noisy(sizes, 0.3), actions.images("C4")
    with pytest.warns(OrbitLensWarning):
        found = [check_symmetry(function, pictures, action, seed=s).verdict for s in range(20)]
    assert set(found) <= {"expectation", "unclear"}


def test_an_average_over_drawn_turns_is_invariant_in_expectation() -> None:
    generator = torch.Generator().manual_seed(5)
    clouds, action = torch.randn(256, 6, 3, generator=generator), actions.rotations("SO3")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(18, 16), nn.ReLU(), nn.Linear(16, 4))
    phi = symmetrize(network, action, n_samples=5, seed=7)
    found = check_symmetry(phi, clouds, action)
    assert found.verdict == "expectation"
    assert found.noise > 0.3
    assert found == check_symmetry(phi, clouds, action)
    assert phi.seed == 7
    assert check_symmetry(nn.Sequential(phi, nn.Identity()), clouds, action).noise > 0.3
    assert check_symmetry(network, clouds, action).verdict == "none"


def test_a_probabilistic_graph_network_is_invariant_in_expectation() -> None:
    generator = torch.Generator().manual_seed(6)
    edges = (torch.rand(48, 6, 6, generator=generator) < 0.4).float().triu(1)
    graphs = torch.cat([edges + edges.mT, torch.ones(48, 6, 1)], 2)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(42, 16), nn.ReLU(), nn.Linear(16, 1))
    action = actions.relabelling(6)
    phi = symmetrize(network, action, "probabilistic", example=graphs)
    found = check_symmetry(phi, graphs, action)
    assert found.verdict == "expectation"
    assert found.noise > 0


def test_a_record_prints_its_verdict_and_its_sentence(images: Tensor) -> None:
    found = check_symmetry(sizes, images, actions.images("C4"))
    assert str(found) == f"exact: {found.sentence}"
    turned = check_symmetry(first_rows, images, actions.images("C4"))
    element = turned.errors.worst[0]
    words = dict(zip(actions.images("C4").group.element_names, TURNS, strict=True))[element]
    assert f"most under {element}, {words} (" in turned.sentence
    assert [row["words"] for row in turned.to_dict()["elements"]] == TURNS[1:]


TURNS = ["as it is", "quarter turn left", "half turn", "quarter turn right"]


def test_a_network_is_put_back_however_the_check_ends(images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(100, 2))
    network[1].eval()
    assert check_symmetry(network, images, actions.images("C4")).noise == 0
    with pytest.raises(OrbitLensError, match="RuntimeError"):
        check_symmetry(network, images[..., :8, :8], actions.images("C4"))
    assert [part.training for part in network.modules()] == [True, True, False, True]
    assert all(parameter.grad is None for parameter in network.parameters())


def test_one_element_alone_may_be_broken() -> None:
    inputs = torch.rand(20, 1, 6, 6)
    found = check_symmetry(lambda x: x.sum(-1).flatten(1), inputs, actions.images("D2"))
    # Sums of rows see every element but the flip of columns, r s.
    assert found.errors.mean[found.errors.elements.index("r s")] == pytest.approx(0, abs=1e-6)
    assert found.errors.worst[0] in ("r", "s")


def test_moves_that_the_group_has_itself_are_no_control(images: Tensor) -> None:
    network = GroupCNN(groups.cyclic(4), features=FEATURES)
    found = check_symmetry(network, images, actions.images("C4"))
    assert found.other is not None
    # Of D2, the half turn is in C4, too.
    assert dict(zip(found.other.elements, found.other.mean, strict=True))["r"] is None
    rows = found.to_dict()["elements"]
    assert [row["other"] is None for row in rows] == [True, False, False]


@pytest.mark.parametrize(
    ("action", "inputs", "reason"),
    [
        (actions.set_permutation("S3"), torch.rand(4, 3, 2), "no other group of order 6"),
        (actions.images("D4"), torch.randint(0, 255, (4, 1, 8, 8)), "no other group of order 8"),
        (actions.images("D2"), torch.rand(4, 1, 8, 6), "no other group of order 4"),
        (actions.cyclic_shift("C4"), torch.rand(4, 1, 8), "no other group of order 4"),
        (actions.points("C4", axis="x"), torch.rand(4, 5, 3), "no other group of order 4"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_reason_is_said_where_there_is_no_other_group(
    action: Action, inputs: Tensor, reason: str
) -> None:
    found = check_symmetry(lambda x: x.double().flatten(1), inputs, action)
    assert found.other is None
    assert reason in found.reason


@pytest.mark.parametrize(("name", "other"), [("C4", "D2"), ("D4", "C8"), ("C6", "D3")])
def test_points_have_another_group_too(name: str, other: str) -> None:
    clouds = torch.randn(12, 5, 2, dtype=torch.float64)
    found = check_symmetry(lambda x: 2 * x, clouds, actions.points(name), actions.points(name))
    assert_exact(found)
    assert found.other is not None
    assert found.other.name == other


def test_drawn_elements_judge_a_function_of_point_clouds() -> None:
    clouds = torch.randn(10, 6, 3, dtype=torch.float64)
    action = actions.rotations("O3")
    found = check_symmetry(lambda x: torch.cdist(x, x), clouds, action)
    assert found.verdict == "exact"
    assert found.errors.elements == tuple(f"draw {k}" for k in range(1, 9))
    assert "drawn" in found.reason
    vectors = check_symmetry(lambda x: x * x.norm(dim=-1, keepdim=True), clouds, action, action)
    assert vectors.verdict == "exact"
    assert vectors.shuffled.name == "another draw"
    assert vectors.shuffled.overall > 0.5
    assert check_symmetry(lambda x: x.exp(), clouds, action, action).verdict != "exact"


def test_relabelled_graphs_are_judged_by_draws() -> None:
    graphs = torch.rand(8, 7, 9)
    action = actions.relabelling(7)
    assert check_symmetry(lambda x: x[..., :7].sum((1, 2)), graphs, action).verdict == "exact"
    assert check_symmetry(lambda x: x[:, 0], graphs, action).verdict == "none"


CLOUDS = torch.randn(64, 7, 3, generator=torch.Generator().manual_seed(8))


@pytest.mark.parametrize(
    ("share", "kind", "verdict"),
    [
        (0.5, torch.float16, "nearly"),
        (0.5, torch.float64, "nearly"),
        (0.0, torch.float16, "exact"),
        (0.0, torch.bfloat16, "exact"),
    ],
)
def test_float64_tells_an_error_from_rounding(
    share: float, kind: torch.dtype, verdict: str
) -> None:
    def squares(clouds: Tensor) -> Tensor:
        return (clouds**2).sum((1, 2)) + share * clouds[:, 0, 0]

    found = check_symmetry(squares, CLOUDS.to(kind), actions.rotations("O3"))
    assert found.verdict == verdict
    if share and kind == torch.float16:
        assert found.in_float64 == pytest.approx(found.errors.worst[1], rel=0.1)
        assert "Rounding does not explain it: in float64" in found.sentence
        assert found.to_dict()["in_float64"] == found.in_float64


def test_without_float64_a_small_error_is_unclear(images: Tensor) -> None:
    # Steps of float16 about 30 are 1/64: the pixel moves the sum by some of them.
    weights = torch.ones(1, dtype=torch.float16)

    def narrow(pictures: Tensor) -> Tensor:
        if pictures.dtype == torch.float64:
            raise TypeError("float16 alone")
        return weights * (pictures.sum((1, 2, 3)) + 0.5 * pictures[:, 0, 0, 0]).half()

    with pytest.warns(OrbitLensWarning, match="rounding hides whether it is invariant"):
        found = check_symmetry(narrow, images, actions.images("C4"))
    assert (found.verdict, found.in_float64) == ("unclear", None)


def test_weights_are_as_before_after_float64(images: Tensor) -> None:
    network = GroupCNN(groups.cyclic(4), features=FEATURES, broken=1e-3)
    network.register_buffer("offset", torch.tensor(100.0))
    before = {name: each.clone() for name, each in network.state_dict().items()}
    found = check_symmetry(
        lambda x: network(x) + network.get_buffer("offset"), images, actions.images("C4")
    )
    assert found.in_float64 is not None
    assert all(
        each.dtype == before[name].dtype and torch.equal(each, before[name])
        for name, each in network.state_dict().items()
    )


def test_an_action_that_moves_nothing_is_refused(images: Tensor) -> None:
    nothing = actions.own("C2", lambda x, g: x.clone())
    with pytest.raises(OrbitLensError, match="a group that moves the inputs, received one that l"):
        check_symmetry(sizes, images, nothing)
    with pytest.raises(OrbitLensError, match="leaves all of them as they are"):
        check_symmetry(sizes, images.mean((-1, -2), keepdim=True), actions.images("C4"))


def test_elements_that_move_nothing_are_named(images: Tensor) -> None:
    halves = images + images.flip((-1, -2))
    found = check_symmetry(sizes, halves, actions.images("C4"))
    assert found.idle == ("r^2",)
    assert "r^2 moves none of the inputs" in found.sentence


@pytest.mark.parametrize("size", [1e3, 1e6, 1e12])
def test_a_small_output_does_not_hide_behind_a_large_one(size: float) -> None:
    plane = CLOUDS[..., :2]

    def both(clouds: Tensor) -> Tensor:
        lengths = clouds.norm(dim=-1).mean(1, keepdim=True)
        return torch.cat([size * lengths, clouds[:, 0, :1]], 1)

    found = check_symmetry(both, plane, actions.points("C6"))
    assert found.verdict == "partly"
    assert found.worst_output is not None
    # Under the half turn x becomes -x, which is 2 of its spread.
    assert (found.worst_output.place, found.worst_output.element) == ((1,), "r^3")
    assert found.worst_output.error == pytest.approx(2, rel=0.1)
    assert "Output 1 alone is missed by" in found.sentence


def test_an_output_that_rounding_alone_spreads_is_no_error() -> None:
    def rest(clouds: Tensor) -> Tensor:
        lengths = clouds.norm(dim=-1).sum(1, keepdim=True)
        return torch.cat([lengths, (lengths / 3) * 3 - lengths, 1 + 0 * lengths], 1)

    found = check_symmetry(rest, CLOUDS, actions.rotations("O3"))
    assert (found.verdict, found.worst_output) == ("exact", None)


def test_a_network_in_a_function_is_in_evaluation_mode(images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(100), nn.Dropout(0.5), nn.Linear(100, 2))
    before = {name: each.clone() for name, each in network.state_dict().items()}

    def function(pictures: Tensor) -> Tensor:
        return network(pictures)

    for each in (function, partial(lambda x, net: net(x), net=network), network.forward):
        assert check_symmetry(each, images, actions.images("C4")).noise == 0
    assert network.training
    assert all(torch.equal(each, before[name]) for name, each in network.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_and_the_only_tensor_of_a_record_are_checked(images: Tensor) -> None:
    network = GroupCNN(groups.cyclic(4), features=FEATURES).eval()
    turns = actions.images("C4")
    usual = check_symmetry(network, images, turns)
    traced = torch.jit.trace(nn.Sequential(nn.AvgPool2d(10), nn.Flatten()), images)
    assert check_symmetry(traced, images, turns).verdict == "exact"
    logits = check_symmetry(lambda x: {"logits": network(x)}, images, turns)
    assert logits.errors == usual.errors
    with pytest.raises(OrbitLensError, match=r"call network\.eval\(\) first"):
        check_symmetry(lambda x: (network(x), network(x)), images, turns)


def test_a_warning_of_every_call_is_given_once(images: Tensor) -> None:
    calls = iter(range(1, 100))

    def warning(pictures: Tensor) -> Tensor:
        warnings.warn(f"{next(calls)} inputs are tied", UserWarning, stacklevel=1)
        return sizes(pictures)

    with pytest.warns(UserWarning, match="inputs are tied") as found:
        check_symmetry(warning, images, actions.images("D4"))
    assert len(found) == 1


def test_outputs_that_follow_the_inverse_are_told(images: Tensor) -> None:
    group = groups.cyclic(4)
    pool, turns = layer_of(GroupCNN(group, features=FEATURES), "pool"), actions.images(group)

    def backwards(pictures: Tensor) -> Tensor:
        return pool(pictures).unflatten(1, (-1, 4))[:, :, group.inverses.tolist()].flatten(1)

    right = check_symmetry(pool, images, turns, on_vectors(group))
    found = check_symmetry(backwards, images, turns, on_vectors(group))
    assert (right.verdict, found.verdict) == ("exact", "none")
    assert right.inverse is not None
    assert right.inverse.overall > 0.1
    assert found.inverse is not None
    assert found.inverse.overall < 1e-5
    assert "the outputs follow the inverse elements" in found.sentence
    assert "inverse elements" not in right.sentence
    # A group whose elements are their own inverses has no such control.
    flips = groups.dihedral(2)
    pool = layer_of(GroupCNN(flips, features=FEATURES), "pool")
    assert check_symmetry(pool, images, actions.images(flips), on_vectors(flips)).inverse is None


def test_an_action_that_interpolates_is_named(images: Tensor) -> None:
    turns = actions.images("C8", "bilinear")
    found = check_symmetry(sizes, images, turns)
    assert found.interpolation == pytest.approx(turns.error(images[:2]))
    assert "The action interpolates and cuts corners off" in found.sentence
    assert check_symmetry(sizes, images, actions.images("C4")).interpolation is None


def test_words_name_an_element_once() -> None:
    sets = torch.randint(0, 9, (12, 4, 2)).double()
    exact = check_symmetry(lambda x: x.sum(1), sets, actions.set_permutation("S4"))
    assert "by 0 of the spread of the outputs, under every element" in exact.sentence
    broken = check_symmetry(lambda x: x[:, 0], sets, actions.set_permutation("S4"))
    element = broken.errors.worst[0]
    assert f"most under {element} (" in broken.sentence


def test_outputs_below_the_steps_of_a_format_are_not_called_the_same(images: Tensor) -> None:
    with pytest.warns(OrbitLensWarning, match="is below 16 steps of float16, so the check says"):
        found = check_symmetry(
            lambda x: (5 + x.mean((1, 2, 3)) / 10).half(), images, actions.images("C4")
        )
    assert found.verdict == "constant"


def test_the_same_seed_gives_the_same_record(images: Tensor) -> None:
    network = GroupCNN(groups.dihedral(4), features=FEATURES)
    pool, output = layer_of(network, "pool"), on_vectors(groups.dihedral(4))
    action = actions.images("D4")
    one, two, other = (
        check_symmetry(pool, images, action, output, seed=seed).to_dict() for seed in (1, 1, 2)
    )
    assert one == two
    assert one["wrong_groups"]["shuffled"] != other["wrong_groups"]["shuffled"]
    assert one["error"] == other["error"]


def test_the_record_is_ready_for_json(images: Tensor) -> None:
    network = GroupCNN(groups.dihedral(4), features=FEATURES)
    record = check_symmetry(network, images, actions.images("D4")).to_dict()
    assert json.loads(json.dumps(record)) == record
    assert [row["element"] for row in record["elements"]][:3] == ["r", "r^2", "r^3"]
    assert record["wrong_groups"]["other"]["name"] == "C8"


@pytest.mark.filterwarnings("default")  # of its own imports
def test_an_escnn_network_passes() -> None:
    gspaces, layers = (pytest.importorskip(f"escnn.{part}") for part in ("gspaces", "nn"))
    space = gspaces.rot2dOnR2(4)
    plain = layers.FieldType(space, [space.trivial_repr])
    regular = layers.FieldType(space, FEATURES * [space.regular_repr])
    lift, pool = layers.R2Conv(plain, regular, 3, padding=1), layers.GroupPooling(regular)
    network = nn.ModuleList([lift, pool]).eval()

    def maps(pictures: Tensor) -> Tensor:
        return lift(layers.GeometricTensor(pictures, plain)).tensor

    def invariants(pictures: Tensor) -> Tensor:
        found = pool(layers.GeometricTensor(maps(pictures).relu(), regular))
        return found.tensor.mean((-1, -2))

    pictures, action = torch.rand(16, 1, 9, 9), actions.images("C4")
    assert not any(part.training for part in network.modules())
    assert_exact(check_symmetry(invariants, pictures, action))
    assert_exact(check_symmetry(maps, pictures, action, on_maps(groups.cyclic(4))))


PICTURES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": PICTURES[:1]}, "at least two"),
        ({"inputs": PICTURES * torch.nan}, "finite numbers"),
        ({"inputs": PICTURES[:, 0]}, r"\[n, channels, height, width\]"),
        ({"action": groups.cyclic(4)}, "an Action"),
        ({"action": "D4"}, r"actions\.images\('D4'\)"),
        (
            {"output": "maps"},
            r"received 'maps'; for outputs that move as the inputs do give the act",
        ),
        ({"output": "regular"}, r"direct_sum\(\*\[reps\.regular\('C4'\)\] \* m\)"),
        ({"action": actions.images("C1")}, "more than its identity"),
        ({"output": reps.regular("D2")}, "an action of C4.*one of D2"),
        ({"output": actions.rotations()}, "Representation or Action"),
        ({"output": reps.regular("C4")}, r"outputs under regular: expected shape \[n, ..., 4\]"),
        (
            {"output": reps.Representation(groups.cyclic(4), torch.ones(4, 64, 64), "ones")},
            "matrices that multiply as C4",
        ),
        (
            {"output": reps.Representation(groups.cyclic(4), torch.zeros(4, 64, 64), "zeros")},
            "the identity as I",
        ),
        ({"function": 3}, "a function of a batch"),
        ({"function": lambda x: x.tolist()}, "received list"),
        ({"function": lambda x: x.sum()}, "a row for each of 4"),
        ({"function": lambda x: x * torch.inf}, "finite outputs"),
        ({"function": lambda x: x @ torch.rand(3, 3)}, "received RuntimeError"),
        ({"seed": -1}, "`seed`"),
        ({"seed": None}, "`seed`"),
    ],
)
def test_bad_input_is_one_clear_error(
    change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    usual = {"function": nn.Flatten(), "inputs": PICTURES, "action": actions.images("C4")}
    with pytest.raises(OrbitLensError, match=message):
        check_symmetry(**{**usual, **change})
