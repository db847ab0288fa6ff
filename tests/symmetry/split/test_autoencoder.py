"""The group autoencoder: exact for every element, in both of its forms, trained or not."""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.groups import PlaneGroup
from orbitlens.symmetry import GroupAutoencoder
from orbitlens.symmetry.split import (
    Split,
    SplitModel,
    code_spread,
    coset_representatives,
    subsample,
    upsample,
)
from orbitlens.testing import SplitContract

NAMES = ("p1", "p2", "p4", "pm", "pmm", "p4m")
every_name = pytest.mark.parametrize("name", NAMES)
SIDE, CHANNELS, BATCH = 8, 2, 32


def noise(n: int, side: int = SIDE) -> Float[Tensor, "n channels side side"]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, CHANNELS, side, side, generator=generator, dtype=torch.float64)


def built(name: str, *, side: int = SIDE, fast: bool = True, width: int = 6) -> GroupAutoencoder:
    """An untrained autoencoder in float64, with biases that are not zero."""
    group = PlaneGroup(name, side)
    model = GroupAutoencoder(group, CHANNELS, width, latent=5, fast=fast, seed=2).double()
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.1, generator=generator)
    return model


class EveryElement(SplitContract):
    """Each element of the group moves one of the inputs."""

    fast = True

    def inputs(self) -> Float[Tensor, "n channels side side"]:
        return noise(BATCH)

    def elements(self, model: SplitModel, n: int) -> Iterator[Tensor]:
        assert isinstance(model, GroupAutoencoder)
        yield from model.group.element(torch.arange(model.group.order)).split(n)


class TestP1(EveryElement):
    def build(self) -> SplitModel:
        return built("p1")


class TestP1AtEveryLayer(EveryElement):
    def build(self) -> SplitModel:
        return built("p1", fast=False)


class TestP4(EveryElement):
    def build(self) -> SplitModel:
        return built("p4")


class TestP4AtEveryLayer(EveryElement):
    def build(self) -> SplitModel:
        return built("p4", fast=False)


class TestP4m(EveryElement):
    def build(self) -> SplitModel:
        return built("p4m")


class TestP4mAtEveryLayer(EveryElement):
    def build(self) -> SplitModel:
        return built("p4m", fast=False)


class TestHalfTurnsWithFlips(EveryElement):
    def build(self) -> SplitModel:
        return built("pmm")


def both_forms(model: GroupAutoencoder, x: Tensor) -> list[tuple[Split, Tensor]]:
    found = []
    for fast in (True, False):
        model.fast = fast
        code = model.encode(x)
        found.append((code, model.decode(code)))
    return found


@pytest.mark.parametrize("side", [8, 16, 32])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_fast_form_agrees_to_the_last_bit_for_translations(
    side: int, dtype: torch.dtype
) -> None:
    model, x = built("p1", side=side, width=8).to(dtype), noise(4, side).to(dtype)
    (fast, output), (slow, other) = both_forms(model, x)
    assert torch.equal(fast.invariant, slow.invariant)
    assert torch.equal(output, other)


@every_name
def test_the_fast_form_agrees_up_to_rounding(name: str) -> None:
    (fast, output), (slow, other) = both_forms(built(name, side=16), noise(4, 16))
    torch.testing.assert_close(fast.invariant, slow.invariant, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(output, other, rtol=1e-12, atol=1e-12)


@every_name
def test_both_forms_are_convolutions_between_subsampling_and_upsampling(name: str) -> None:
    model, x = built(name, side=16), noise(4, 16)
    code = model.encode(x)
    expected = model.decode(code)
    representatives = coset_representatives(code.pose, model.steps)
    maps = x
    for strided, p in zip(model.encoder, representatives, strict=True):
        maps = subsample(strided.layer(maps).relu(), p, strided.step)
    found = model.to_invariant(maps.flatten(1))
    torch.testing.assert_close(found, code.invariant, rtol=1e-12, atol=1e-12)
    maps = model.from_invariant(code.invariant).relu()[:, :, None, None]
    for spread, p in zip(model.decoder, reversed(representatives), strict=True):
        gain = spread.step.index**0.5
        maps = spread.layer(gain * upsample(maps, p, spread.step)).relu()
    model.output.padding = "circular"
    torch.testing.assert_close(model.output(maps), expected, rtol=1e-12, atol=1e-12)


def test_the_settings_of_the_source_have_as_many_weights_as_it_says() -> None:
    model = GroupAutoencoder(PlaneGroup("p1", 32))
    assert sum(parameter.numel() for parameter in model.parameters()) == 76_371
    assert [step.shift for step in model.steps] == [2, 2, 2, 4]
    assert [layer.layer.kernel for layer in model.encoder] == [3, 3, 3, 5]


@every_name
def test_scales_survive_the_untrained_network(name: str) -> None:
    model = GroupAutoencoder(PlaneGroup(name, 32), width=8)
    x = noise(8, 32).float().repeat(1, 2, 1, 1)[:, :3]
    code = model.encode(x)
    assert 0.05 < code.invariant.std() < 20
    assert 0.02 < model.decode(code).std() < 20


def test_a_seed_fixes_the_weights_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    group = PlaneGroup("p4", 8)
    one, same, other = (GroupAutoencoder(group, 1, 2, 2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    for name, weights in one.state_dict().items():
        assert torch.equal(weights, same.state_dict()[name])
    assert not torch.equal(one.to_invariant.weight, other.to_invariant.weight)


@pytest.mark.parametrize("name", ["p1", "p4m"])
def test_gradients_reach_every_weight_in_both_forms_alike(name: str) -> None:
    gradients = []
    for fast in (True, False):
        model, x = built(name, fast=fast, width=8), noise(6)
        (model(x) - x).square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for fast, slow in zip(*gradients, strict=True):
        assert fast.abs().max() > 0
        torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-12)


def test_poses_of_objects_are_where_they_stand() -> None:
    model = built("p1", side=16)
    x = torch.zeros(2, CHANNELS, 16, 16, dtype=torch.float64)
    x[0, :, 3:6, 4:9] = 1
    x[1, :, 3:6, 4:9] = 1
    x = model.move(torch.tensor([[0, 0, 0], [7, 15, 0]]), x)
    code = model.encode(x)
    assert (code.pose[1] - code.pose[0]).tolist() == [7, -1, 0]


SYMMETRIC = {
    "constant": torch.ones(1, CHANNELS, SIDE, SIDE),
    "periodic": torch.rand(1, CHANNELS, 4, 4, generator=torch.Generator().manual_seed(0)).tile(
        2, 2
    ),
}


@pytest.mark.parametrize("kind", SYMMETRIC)
@pytest.mark.parametrize("fast", [True, False])
def test_inputs_with_a_symmetry_are_said_to_be_tied(kind: str, fast: bool) -> None:
    model = built("p4", fast=fast)
    x = torch.cat([noise(2), SYMMETRIC[kind].double()])
    assert model.pose_with_ties(x).tied.tolist() == [False, False, True]
    with pytest.warns(OrbitLensWarning, match="poses of some images under p4: several elements"):
        model.encode(x)
    assert model(x).isfinite().all()  # without a warning, which would be an error here


def test_one_code_for_different_images_is_warned_of() -> None:
    model, x = built("p4"), noise(3)
    nn.init.constant_(model.encoder[-1].layer.bias, -1e6)  # no unit of the last layer is above 0
    with pytest.warns(OrbitLensWarning, match="codes under p4: different images have the same"):
        code = model.encode(x)
    assert code_spread(code.invariant) == 0
    model(x)  # a training step says nothing
    with pytest.warns(OrbitLensWarning, match="learning rate that rises over the first 100 steps"):
        model.eval()(x)
    # The same image in several poses has one code, as it should.
    poses = torch.tensor([[0, 0, 0], [1, 2, 3], [5, 0, 1]])
    for healthy in (model, built("p4")):
        healthy.eval()(healthy.move(poses, x[:1].expand(3, -1, -1, -1)))
    model.encode(x[:1])


def test_the_spread_of_codes_is_relative_to_their_size() -> None:
    z = torch.tensor([[3.0, 1.0], [3.0, -1.0]])
    assert code_spread(z) == pytest.approx(0.1**0.5)
    assert code_spread(5 * z) == pytest.approx(0.1**0.5)
    assert code_spread(torch.full((7, 2), 0.1)) == pytest.approx(0, abs=1e-15)
    assert code_spread(torch.zeros(3, 2)) == 0
    with pytest.raises(OrbitLensError, match="`codes`"):
        code_spread(z[:1])


def test_an_export_fails_and_leaves_the_model_as_it_was() -> None:
    model, x = built("p4", side=10).eval(), noise(2, side=10)
    with pytest.raises(RuntimeError, match="data-dependent"):
        torch.export.export(model, (x,))
    assert torch.equal(model(x), built("p4", side=10).eval()(x))


HALF_TURN, MIRROR, PERIOD = "half turn", "mirror", "period"


def symmetric(kind: str, n: int, side: int) -> Float[Tensor, "n 3 side side"]:
    """Images that are equal, to the last bit, to themselves moved by another element."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(n, 3, side, side, generator=generator, dtype=torch.float64)
    if kind == PERIOD:
        return x[..., : side // 2].repeat(1, 1, 1, 2)
    if kind == MIRROR:
        return torch.cat([x[..., : side // 2, :], x[..., : side // 2, :].flip(-2)], -2)
    there = x.flip(-1, -2).roll((1, 1), (-1, -2))
    numbers = torch.arange(side**2).reshape(side, side)
    return torch.where(numbers <= numbers.flip(-1, -2).roll((1, 1), (-1, -2)), x, there)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0, 10, 1000, 1e5])
@pytest.mark.parametrize(
    ("name", "kind"),
    [("p1", PERIOD), ("p4", HALF_TURN), ("p4m", HALF_TURN), ("p4m", MIRROR)],
)
def test_a_symmetry_is_seen_on_a_bright_ground(
    name: str, kind: str, offset: float, dtype: torch.dtype
) -> None:
    model = GroupAutoencoder(PlaneGroup(name, 16), width=8).to(dtype)
    x = symmetric(kind, 50, 16) + offset
    assert model.pose_with_ties(x.to(dtype)).tied.all()


def test_a_symmetry_is_seen_by_kernels_that_take_the_ground_away() -> None:
    model = GroupAutoencoder(PlaneGroup("p4m", 16), width=8)
    weights = model.encoder[0].layer.tied.data
    weights -= weights.mean((1, 2, 3, 4), keepdim=True)
    x = symmetric(MIRROR, 50, 16) + 1000
    assert model.pose_with_ties(x.float()).tied.all()


@pytest.mark.parametrize("name", ["p1", "p4", "p4m"])
@pytest.mark.parametrize(
    ("offset", "dtype", "most"),
    # At 1000 in float32, one pixel in 16,000 units of the last place is all that differs.
    [
        (0, torch.float32, 0),
        (10, torch.float32, 0),
        (1000, torch.float32, 10),
        (1e5, torch.float64, 0),
    ],
)
def test_few_images_without_a_symmetry_are_tied(
    name: str, offset: float, dtype: torch.dtype, most: int
) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(100, 3, 16, 16, generator=generator, dtype=torch.float64) + offset
    model = GroupAutoencoder(PlaneGroup(name, 16), width=8).to(dtype)
    assert model.pose_with_ties(x.to(dtype)).tied.sum() <= most


@pytest.mark.parametrize("side", [1, 2, 3, 6, 7, 9, 33])
def test_the_code_sees_every_pixel_by_default(side: int) -> None:
    model = GroupAutoencoder(PlaneGroup("p1", side), 1, 8, 4, seed=2).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, 1, side, side, generator=generator, dtype=torch.float64, requires_grad=True)
    model._invariant(x, model.pose_with_ties(x).element).abs().sum().backward()
    assert (x.grad != 0).any(0).all()
    y = model.decode(Split(torch.ones(1, 4).double(), torch.zeros(1, 3, dtype=torch.int64)))
    gradient = torch.autograd.functional.jacobian(
        lambda code: model.decode(Split(code, torch.zeros(1, 3, dtype=torch.int64))),
        torch.ones(1, 4).double(),
    )
    assert (gradient.reshape(y.numel(), -1) != 0).any(1).all()


def test_a_mirror_image_of_itself_is_tied_under_flips_alone() -> None:
    x = noise(1)
    x = x + x.flip(-2)
    assert built("p4m").pose_with_ties(x).tied.all()
    assert not built("p4").pose_with_ties(x).tied.any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_inputs_that_are_no_numbers_are_refused(value: float) -> None:
    x = noise(3)
    x[1, 0, 2, 2] = value
    with pytest.raises(OrbitLensError, match="finite scores, received NaN .* 1 of 3 inputs"):
        built("p4")(x)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factors": (2, 2)}, "`factors`: .*8 for the side, .*received 4, 1 and 1"),
        ({"factors": (2, 2, 4)}, "8 for the side, .*received 16, 1 and 1"),
        ({"group": PlaneGroup("p4", 8), "factors": (2, 4)}, "4 for the turns, .*8, 1 and 1"),
        ({"group": PlaneGroup("p4m", 8), "factors": ((2, 2), (4, 2))}, "2 for the flips"),
        ({"factors": ((3, 1), (4, 1))}, "8 for the side, .*received 12, 1 and 1"),
        ({"factors": ((2, 1, 1, 1), 4)}, r"one to three strides .*received \[2, 1, 1, 1\]"),
        ({"factors": ()}, "8 for the side, .*received 1, 1 and 1"),
        ({"kernels": (3, 4)}, "`kernel`: expected an odd number of pixels, received 4"),
        ({"kernels": (3,)}, "`kernels`: expected one for each of the 2 factors, received 1"),
        ({"kernels": (3, 11)}, "kernel of at most 9 pixels, received 11; .*wraps around"),
        ({"channels": 0}, "`channels`: .*at least 1, received 0"),
        ({"width": 0}, "`width`: .*at least 1, received 0"),
        ({"latent": 0}, "`latent`: .*at least 1, received 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(OrbitLensError, match=message):
        GroupAutoencoder(**{"group": PlaneGroup("p1", 8), "channels": 1, "width": 2, **settings})


@pytest.mark.parametrize("kernels", [3, "35", [3, None], [True, 3]])
def test_kernels_that_are_no_list_of_widths_are_refused(
    monkeypatch: pytest.MonkeyPatch, kernels: object
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`kernels`: expected a"):
        GroupAutoencoder(PlaneGroup("p1", 8), kernels=kernels)


@every_name
@pytest.mark.parametrize("n", [0, 3])
def test_a_torus_of_one_pixel_and_an_empty_batch_are_coded(name: str, n: int) -> None:
    for side in (1, 4):
        x = noise(n, side)
        for fast in (True, False):
            assert built(name, side=side, fast=fast)(x).shape == x.shape


def test_inputs_without_numbers_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="device meta, without numbers"):
        built("p4").encode(noise(2).to("meta"))


def test_impossible_inputs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model, x = built("p4"), noise(2)
    code = model.encode(x)
    for wrong, remedy in (
        (x[..., :7], "pad or crop"),
        (x[:, :1], "channels=1"),
        (x[0], "pad or crop"),
        (x.permute(0, 2, 3, 1), "bring the channels to axis 1"),
    ):
        for call in (model, model.encode, lambda images: model.move(code.pose, images)):
            with pytest.raises(OrbitLensError, match=rf"shape \[n, 2, 8, 8\].*{remedy}"):
                call(wrong)
    for no_code in (code.invariant, (code.invariant,)):
        with pytest.raises(OrbitLensError, match="`split`: expected a code of two parts"):
            model.decode(no_code)
        with pytest.raises(OrbitLensError, match="`split`: expected a code of two parts"):
            model.act(code.pose, no_code)
    with pytest.raises(OrbitLensError, match=r"`pose`: expected shape \[n = 2, element\]"):
        model.decode(Split(code.invariant, code.pose[:1]))
    with pytest.raises(OrbitLensError, match="`pose`: expected .*k below 4"):
        model.decode(Split(code.invariant, torch.tensor([[0, 0, 4]] * 2)))
    with pytest.raises(OrbitLensError, match="latent = 5"):
        model.decode(Split(code.invariant[:, :3], code.pose))
    with pytest.raises(OrbitLensError, match="`element`: expected"):
        model.act(torch.tensor([[8, 0, 0]] * 2), code)


def test_arrays_and_other_types_of_numbers_are_images_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model, x = built("p4"), noise(3)
    code = model.encode(x)
    same = model.encode(x.numpy())
    assert torch.equal(same.invariant, code.invariant)
    assert torch.equal(model.float()(x), model(x.float()))
    bright = (255 * x).byte()
    assert torch.equal(model.encode(bright).invariant, model.encode(bright.float()).invariant)
    given = (code.invariant.detach().numpy(), code.pose)
    assert torch.equal(model.decode(code), model.decode(given))


def test_one_pose_serves_for_all_codes() -> None:
    model = built("p4")
    code = model.encode(noise(2))
    every = model.decode(code._replace(pose=torch.tensor([[1, 2, 3]] * 2)))
    assert torch.equal(model.decode(code._replace(pose=torch.tensor([1, 2, 3]))), every)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", ["p1", "p4m"])
def test_no_images_have_no_codes(name: str, fast: bool) -> None:
    model, none = built(name, fast=fast), noise(0)
    code = model.encode(none)
    assert (code.invariant.shape, code.pose.shape) == ((0, 5), (0, 3))
    assert model.decode(code).shape == model(none).shape == none.shape
    assert model.act(model.draw(0), code).pose.shape == (0, 3)
