"""Symmetric embeddings: E is exact for every group, S is not, unless it is told to be."""

import jaxtyping
import pytest
import torch
from torch import Tensor

from orbitlens.actions import images
from orbitlens.data import block_episodes, render_blocks
from orbitlens.errors import OrbitLensError
from orbitlens.reps import direct_sum, regular
from orbitlens.symmetry.split import SymmetricEmbedding

GROUPS = ("C1", "C2", "C4", "D1", "D2", "D4")
every_group = pytest.mark.parametrize("group", GROUPS)


def small(group: str, **arguments: object) -> SymmetricEmbedding:
    sizes = {"side": 6, "width": 4, "hidden": 5, **arguments}
    return SymmetricEmbedding(group, **sizes).double().eval()  # type: ignore[arg-type]


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@every_group
@pytest.mark.parametrize("side", [5, 6])
def test_maps_that_turn_turn_the_latents(group: str, side: int) -> None:
    model, turns, maps = small(group, side=side), images(group), noise(3, 2, side, side)
    rho = direct_sum(regular(group), regular(group)).matrices
    z = model.of_maps(maps)
    for g in range(turns.group.order):
        wanted = z @ rho[g].double().T
        assert torch.allclose(model.of_maps(turns(maps, g)), wanted, atol=1e-12)


def test_the_same_in_single_precision() -> None:
    model, turns, maps = small("D4").float(), images("D4"), noise(3, 2, 6, 6).float()
    rho = direct_sum(regular("D4"), regular("D4")).matrices.float()
    for g in range(8):
        wanted = model.of_maps(maps) @ rho[g].T
        assert torch.allclose(model.of_maps(turns(maps, g)), wanted, atol=1e-5)


def test_nothing_of_a_map_is_lost_to_its_functions() -> None:
    for group, side in (("C4", 6), ("C4", 5), ("D4", 6), ("D1", 5)):
        functions = small(group, side=side).functions
        assert set(functions.index.tolist()) == set(range(side**2))


def test_the_functions_under_c4_are_the_four_turned_quarters() -> None:
    functions, maps = small("C4").functions, noise(1, 6, 6)
    stack = functions(maps.flatten(1)).unflatten(-1, (-1, 4))[0]
    quarters = torch.stack([maps[0].rot90(-turn)[:3, :3].flatten() for turn in range(4)], 1)
    rows = {tuple(row) for row in stack.tolist()}
    # Which quarter of an orbit comes first is a matter of taste.
    assert {tuple(sorted(row)) for row in rows} == {tuple(sorted(q)) for q in quarters.tolist()}


def test_objects_are_embedded_by_the_same_weights() -> None:
    model, maps = small("C4", objects=3), noise(2, 3, 6, 6)
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(model.of_maps(maps[:, order]), model.of_maps(maps)[:, order])


@every_group
def test_an_equivariant_s_turns_with_the_image(group: str) -> None:
    model, turns, x = small(group, kind="equivariant"), images(group), noise(2, 3, 6, 6)
    rho = direct_sum(regular(group), regular(group)).matrices
    for g in range(turns.group.order):
        assert torch.allclose(model.maps(turns(x, g)), turns(model.maps(x), g), atol=1e-12)
        wanted = model(x) @ rho[g].double().T
        assert torch.allclose(model(turns(x, g)), wanted, atol=1e-12)


def test_an_equivariant_s_turns_in_training_as_well() -> None:
    model, turns, x = small("D4", kind="equivariant").train(), images("D4"), noise(4, 3, 6, 6)
    maps = model.maps(x)
    for g in range(8):
        assert torch.allclose(model.maps(turns(x, g)), turns(maps, g), atol=1e-12)


def test_a_plain_s_does_not_turn_with_the_image() -> None:
    model, x = small("C4"), noise(2, 3, 6, 6)
    assert not torch.allclose(model.maps(x.rot90(1, (2, 3))), model.maps(x).rot90(1, (2, 3)))


def test_the_trivial_group_ties_nothing() -> None:
    model = small("C1")
    assert model.dim == 2
    assert model.encoder[0].get_parameter("tied").numel() == 36 * 5


def test_seeds_decide_the_weights_and_leave_the_generator_alone() -> None:
    state = torch.random.get_rng_state()
    one, same, other = (small("C4", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    x = noise(2, 3, 6, 6)
    assert torch.equal(one(x), same(x))
    assert not torch.equal(one(x), other(x))


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.rand(2, 3, 6, 7), r"shape \[n, 3, 6, 6\], channels first and square"),
        (torch.rand(2, 6, 6, 3), "channels first"),
        (torch.zeros(2, 3, 6, 6, dtype=torch.uint8), r"images\.float\(\) / 255"),
        (255 * torch.ones(2, 3, 6, 6), r"values in \[0, 1\], received values from 255 to 255"),
        (torch.full((2, 3, 6, 6), float("nan")), "values from nan"),
    ],
)
def test_wrong_images_are_refused(x: Tensor, message: str) -> None:
    with pytest.raises(OrbitLensError, match=message):
        small("C4")(x)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(2, 3, 6, 6), (2, 2, 6, 5), (2, 6, 6)])
def test_other_maps_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(OrbitLensError, match="as many maps as the embedding has objects"):
        small("C4").of_maps(torch.rand(shape).double())


@pytest.mark.parametrize(
    ("group", "arguments", "message"),
    [
        ("C8", {}, "C1, C2, C4, D1, D2 or D4"),
        ("S3", {}, "group"),
        ("C4", {"kind": "full"}, "one of plain, equivariant"),
        ("C4", {"objects": 0}, "`objects`"),
    ],
)
def test_wrong_arguments_are_refused(
    group: str, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(OrbitLensError, match=message):
        small(group, **arguments)


def test_pictures_of_blocks_are_taken() -> None:
    pictures = render_blocks(block_episodes(2, seed=0).grids[:, 0])
    assert SymmetricEmbedding("C4", hidden=3).eval()(pictures).shape == (2, 2, 8)
