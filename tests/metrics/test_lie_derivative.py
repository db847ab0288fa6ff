"""Zero for layers that move with images by construction, and known derivatives for others."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, pad

from orbitlens.activations import layer_outputs
from orbitlens.errors import OrbitLensError
from orbitlens.metrics import lie_derivative_errors

KINDS = ["rotation", "translation"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def grid(size: int) -> tuple[Tensor, Tensor]:
    """Columns x and rows y of pixels, from the middle."""
    axis = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    return axis[None, :], axis[:, None]


def smooth(n: int = 6, size: int = 64, blobs: int = 5) -> Tensor:
    """Sums of Gaussian blobs well within the inscribed circle; dark at the edge."""
    draw = torch.Generator().manual_seed(0)
    x, y = grid(size)
    centres = (torch.rand(n, blobs, 2, 1, 1, generator=draw, dtype=torch.float64) - 0.5) * size / 3
    heights = torch.rand(n, blobs, 1, 1, generator=draw, dtype=torch.float64)
    squares = (x - centres[:, :, 0]) ** 2 + (y - centres[:, :, 1]) ** 2
    return (heights * torch.exp(-squares / (2 * (size / 12) ** 2))).sum(1, keepdim=True)


def error(layer: Callable[[Tensor], Tensor], kind: str, images: Tensor | None = None, **options):
    images = smooth() if images is None else images
    forward = lambda x: {"layer": layer(x)}  # noqa: E731
    return lie_derivative_errors(forward, images, transformation=kind, **options)["layer"]


def kernel(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pointwise(images: Tensor) -> Tensor:
    hidden = conv2d(images, kernel(0, 5, 1, 1, 1), 0.1 * kernel(1, 5)).tanh()
    return conv2d(hidden, kernel(2, 3, 5, 1, 1))


@every_kind
def test_a_constant_layer_does_not_move(kind: str) -> None:
    for constant in (torch.full((1, 7), 1e4), torch.full((1, 2, 9, 9), 0.1)):
        assert error(lambda x, c=constant: c.expand(len(x), *c.shape[1:]), kind) == 0


@every_kind
def test_the_sum_of_images_that_stay_within_the_edge_is_invariant(kind: str) -> None:
    invariant = error(lambda x: x.sum((2, 3)), kind)
    changing = error(lambda x: x[:, :, :32].sum((2, 3)), kind)
    assert invariant < 1e-3 * changing


@every_kind
def test_a_pointwise_layer_moves_with_the_images(kind: str) -> None:
    moving = error(pointwise, kind)
    # The same numbers as a vector should have stayed, and did not.
    still = error(lambda x: pointwise(x).flatten(1), kind)
    assert moving < 0.01 * still


@every_kind
def test_a_pointwise_layer_at_half_the_resolution_moves_with_the_images(kind: str) -> None:
    coarse = error(lambda x: pointwise(avg_pool2d(x, 2)), kind)
    assert coarse < 0.05 * error(lambda x: pointwise(x).flatten(1), kind)


def test_a_convolution_moves_with_shifts_and_not_with_turns() -> None:
    weight = kernel(3, 4, 1, 5, 5)
    shifted, turned = (error(lambda x: conv2d(x, weight, padding=2), kind) for kind in KINDS[::-1])
    assert shifted < 1e-4
    assert turned > 20 * shifted


def test_a_round_convolution_moves_with_turns_too() -> None:
    x, y = grid(5)
    weight = torch.exp(-(x**2 + y**2) / 2)[None, None]
    assert error(lambda x: conv2d(x, weight, padding=2), "rotation") < 1e-4


def test_a_sum_over_rings_is_invariant_under_turns_alone() -> None:
    x, y = grid(64)
    weights = torch.stack([torch.cos(torch.hypot(x, y) / scale) for scale in (8, 12, 16)])
    rings = lambda images: torch.einsum("nchw,khw->nk", images, weights)  # noqa: E731
    assert error(rings, "rotation") < 1e-4
    assert error(rings, "translation") > 0.01


@every_kind
def test_subsampling_without_a_blur_is_found_out(kind: str) -> None:
    images = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    x, y = grid(15)
    blur = torch.exp(-(x**2 + y**2) / 18)[None, None]
    aliased = error(lambda x: x[:, :, ::4, ::4], kind, images)
    blurred = error(lambda x: conv2d(pad(x, (7,) * 4), blur)[:, :, ::4, ::4], kind, images)
    assert aliased > 1.5 * blurred


def test_the_centre_of_mass_moves_by_the_mass_for_each_pixel() -> None:
    images = smooth()
    x, y = grid(64)
    along_x, mass = ((images * weight).mean((1, 2, 3)) for weight in (x, torch.ones(1)))
    # Shifts along x change it by the mass for each pixel, shifts along y by nothing.
    known = math.sqrt(mass.square().mean() / 2 / along_x.var(correction=0))
    found = error(lambda batch: (batch * x).mean((2, 3)), "translation")
    assert found == pytest.approx(known, rel=1e-3)
    # A turn by one degree brings in y, by pi / 180.
    along_y = (images * y).mean((1, 2, 3)) * math.pi / 180
    known = math.sqrt(along_y.square().mean() / along_x.var(correction=0))
    found = error(lambda batch: (batch * x).mean((2, 3)), "rotation")
    assert found == pytest.approx(known, rel=1e-3)


def test_the_gradient_of_the_input_by_hand() -> None:
    # A ramp of slope 1 that a layer repeats where it was: shifted back, it changes by 1 per pixel.
    ramp = torch.arange(9.0, dtype=torch.float64).expand(1, 1, 9, 9)
    for fixed, per_pixel in ((ramp, 1.0), (0 * ramp, 0.0)):
        found = error(lambda _, fixed=fixed: fixed, "translation", ramp)
        # Columns 1 to 7 are looked at, and their variance is 4; of two axes one moves.
        assert found == pytest.approx(math.sqrt(per_pixel / 2 / 4), abs=1e-12)
    oblong = ramp[:, :, :5]
    assert error(lambda _: oblong, "translation", oblong) == pytest.approx(math.sqrt(1 / 8))
    # Half as many places: a pixel is half a place, and so is the change.
    found = error(lambda _: ramp, "translation", torch.rand(1, 1, 18, 18).double())
    assert found == pytest.approx(math.sqrt(1 / 4 / 2 / 4))


@every_kind
@pytest.mark.parametrize("scale", [3.0, -1e-6, 1e6])
def test_scale_offset_batches_and_precision_change_nothing(kind: str, scale: float) -> None:
    layer = lambda x: conv2d(x, kernel(3, 4, 1, 5, 5).to(x), padding=2).abs()  # noqa: E731
    expected = error(layer, kind)
    assert error(lambda x: scale * layer(x), kind) == pytest.approx(expected)
    assert error(lambda x: layer(x) + 1.0, kind) == pytest.approx(expected)
    assert error(layer, kind, batch_size=4) == pytest.approx(expected)
    assert error(layer, kind, smooth().float()) == pytest.approx(expected, rel=0.02)


@every_kind
def test_patches_of_a_square_grid_are_a_map_and_the_tokens_before_them_vectors(kind: str) -> None:
    def tokens(images: Tensor, before: int) -> Tensor:
        patches = pointwise(images).flatten(2).mT
        return torch.cat([patches.mean(1, keepdim=True).expand(-1, before, -1), patches], dim=1)

    assert error(lambda x: tokens(x, 0), kind) == pytest.approx(error(pointwise, kind))
    known = error(lambda x: tokens(x, 2), kind, prefixes={"layer": 2})
    assert known < 2 * error(pointwise, kind) + 1e-3
    # 4,098 tokens are no square grid: their mean.
    pooled = error(lambda x: tokens(x, 2).mean(1), kind)
    assert error(lambda x: tokens(x, 2), kind) == pytest.approx(pooled)
    class_token = error(lambda x: tokens(x, 1)[:, 0], kind)
    alone = error(lambda x: tokens(x, 1)[:, :1], kind, prefixes={"layer": 1})
    assert alone == pytest.approx(class_token)


@every_kind
def test_maps_of_few_places_are_pooled(kind: str) -> None:
    small = lambda x: avg_pool2d(x, 32)  # noqa: E731
    assert error(small, kind) == pytest.approx(error(lambda x: small(x).mean((2, 3)), kind))


def test_a_layer_that_moves_and_does_not_vary_is_infinitely_far_off() -> None:
    one = smooth(1)
    assert error(lambda x: x[:, :, :, :32].sum((2, 3)), "translation", one) == math.inf


def test_the_layers_of_a_network_in_one_go() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 64**2, 3)
    ).double()
    errors = lie_derivative_errors(
        lambda x: layer_outputs(model, ["0", "1", "3"], x), smooth(), transformation="rotation"
    )
    assert list(errors) == ["0", "1", "3"]
    assert errors["0"] < errors["1"] < errors["3"]


def test_bad_input_is_rejected() -> None:
    with pytest.raises(OrbitLensError, match="one of rotation, translation, received 'turn'"):
        error(pointwise, "turn")
    with pytest.raises(OrbitLensError, match="`batch_size`: expected at least 1"):
        error(pointwise, "rotation", batch_size=0)
    with pytest.raises(OrbitLensError, match="`images`: expected at least one"):
        error(pointwise, "rotation", smooth()[:0])
    with pytest.raises(OrbitLensError, match=r"layer 'layer' with 0 tokens.*shape \[3\]"):
        error(lambda x: x.sum((1, 2, 3)), "rotation")
    with pytest.raises(OrbitLensError, match=r"with 9 tokens before.*shape \[3, 4, 1024\]"):
        error(lambda x: x.reshape(-1, 4, 1024), "rotation", prefixes={"layer": 9})
