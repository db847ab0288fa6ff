"""Rotations and reflections: equivariant with the noise moved along, clear at the door."""

from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from orbitlens.actions import random_rotations
from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.symmetrize._orthogonal import (
    first_independent,
    gram_schmidt,
    lacks_rank,
    proper,
)
from orbitlens.symmetry.symmetrize._vector_neurons import (
    EdgeLayer,
    VectorBatchNorm,
    VectorMaxPool,
    vector_leaky_relu,
    vector_linear,
)
from orbitlens.symmetry.symmetrize.rotation_head import RotationHead


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_clouds(n: int, points: int = 6, vectors: int = 2, scalars: int = 1) -> Tensor:
    columns = 3 * vectors + scalars
    clouds = torch.randn(n, points, columns, generator=seeded(), dtype=torch.float64)
    clouds[..., :3] -= clouds[..., :3].mean(1, keepdim=True)
    return clouds


def some_turns(n: int, *, special: bool) -> Tensor:
    """Return rotations, every second of them with a reflection."""
    turns = random_rotations(n, seed=1)
    turns[::2] *= 1 if special else -1
    return turns


def some_orders(n: int, points: int) -> Tensor:
    return torch.eye(points).double()[torch.rand(n, points, generator=seeded(2)).argsort(1)]


def turned(columns: Tensor, turns: Tensor, vectors: int) -> Tensor:
    """Turn the first vectors of every point; the matrices are [n, 1, 3, 3] for [n, points, ...]."""
    moved = columns[..., : 3 * vectors].unflatten(-1, (vectors, 3)) @ turns.mT
    return torch.cat([moved.flatten(-2), columns[..., 3 * vectors :]], -1)


def a_head(vectors: int = 2, scalars: int = 1, **settings: Any) -> RotationHead:
    """Return a head in evaluation mode whose batch norms have seen clouds."""
    head = RotationHead(vectors, scalars, hidden=24, sinkhorn_steps=5, **settings).double()
    head(some_clouds(20, 6, vectors, scalars), 3, seeded())
    return head.eval()


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize(("vectors", "scalars"), [(1, 0), (2, 1)])
@pytest.mark.parametrize("noise_scale", [0.0, 1.0])
def test_turned_clouds_and_noise_turn_the_frames(
    special: bool, vectors: int, scalars: int, noise_scale: float
) -> None:
    head = a_head(vectors, scalars, special=special, noise_scale=noise_scale)
    clouds, turns = some_clouds(8, 6, vectors, scalars), some_turns(8, special=special)
    noise = head.draw_noise(clouds, 3, seeded()).double()
    (k,), *_ = head(clouds, 3, noise=noise)
    moved_noise = turned(noise, turns[:, None, None], vectors + 3)
    (moved,), *_ = head(turned(clouds, turns[:, None], vectors), 3, noise=moved_noise)
    assert torch.allclose(moved, turns[:, None] @ k, rtol=0, atol=1e-10)


def test_turned_clouds_turn_the_frames_in_single_precision() -> None:
    head, clouds, turns = a_head().float(), some_clouds(20), some_turns(20, special=False)
    noise = head.draw_noise(clouds, 3, seeded()).double()
    (k,), *_ = head(clouds, 3, noise=noise)
    moved_noise = turned(noise, turns[:, None, None], 5)
    (moved,), *_ = head(turned(clouds, turns[:, None], 2), 3, noise=moved_noise)
    assert float((moved - turns[:, None].float() @ k).detach().abs().median()) < 1e-6
    assert torch.allclose(moved, turns[:, None].float() @ k, rtol=0, atol=1e-5)


@pytest.mark.parametrize("special", [False, True])
def test_points_and_space_move_each_factor(special: bool) -> None:
    head = a_head(special=special, permutes=True)
    clouds, orders, turns = some_clouds(8), some_orders(8, 6), some_turns(8, special=special)
    noise = head.draw_noise(clouds, 3, seeded()).double()
    (p, k), penalty, _ = head(clouds, 3, noise=noise)
    moved_clouds = orders @ turned(clouds, turns[:, None], 2)
    moved_noise = orders[:, None] @ turned(noise, turns[:, None, None], 5)
    (moved_p, moved_k), moved_penalty, _ = head(moved_clouds, 3, noise=moved_noise)
    assert torch.equal(moved_p, orders[:, None] @ p)
    assert torch.allclose(moved_k, turns[:, None] @ k, rtol=0, atol=1e-10)
    assert torch.allclose(moved_penalty, penalty, rtol=0, atol=1e-9)
    assert float(penalty.detach().min()) > 0


def test_relabelled_points_leave_the_rotations() -> None:
    head, clouds, orders = a_head(), some_clouds(8), some_orders(8, 6)
    noise = head.draw_noise(clouds, 3, seeded()).double()
    (k,), *_ = head(clouds, 3, noise=noise)
    (same,), *_ = head(orders @ clouds, 3, noise=orders[:, None] @ noise)
    assert torch.allclose(same, k, rtol=0, atol=1e-10)


def test_scalars_tell_points_apart() -> None:
    head, clouds = a_head(), some_clouds(4)
    noise = head.draw_noise(clouds, 1, seeded()).double()
    other = clouds.clone()
    other[..., -1] *= -1
    first, second = (head(each, 1, noise=noise).elements[0] for each in (clouds, other))
    assert float((first - second).detach().abs().amax((1, 2, 3)).min()) > 1e-3


@pytest.mark.parametrize("special", [False, True])
def test_frames_are_orthogonal_and_special_ones_turn_alone(special: bool) -> None:
    head = a_head(special=special)
    (k,), penalty, tied = head(some_clouds(20), 10, seeded())
    assert k.shape == (20, 10, 3, 3)
    assert torch.allclose(k.mT @ k, torch.eye(3).double().expand_as(k), rtol=0, atol=1e-12)
    signs = set(torch.linalg.det(k).round().flatten().tolist())
    assert signs == ({1.0} if special else {1.0, -1.0})
    assert penalty.tolist() == [0.0] * 20
    assert not bool(tied.any())


def test_frames_of_a_point_at_the_origin_are_uniform_in_law() -> None:
    # Nothing tells directions apart: each entry has mean 0 and variance 1/3.
    (k,), *_ = RotationHead(1, hidden=12).eval()(torch.zeros(1, 4, 3), 4000, seeded())
    assert float(k.detach()[0].mean(0).abs().max()) < 5 * (1 / 3 / 4000) ** 0.5
    assert float((k.detach()[0] ** 2).mean(0).sub(1 / 3).abs().max()) < 5 * (4 / 45 / 4000) ** 0.5


def test_gradients_reach_every_weight() -> None:
    head = RotationHead(2, 1, hidden=12, permutes=True).double()
    (p, k), penalty, _ = head(some_clouds(30), 3, seeded())
    weights = torch.rand(6, 3, generator=seeded(), dtype=torch.float64)
    ((p @ (weights @ k.mT)).sin().sum() + penalty.sum()).backward()
    still = {
        name
        for name, weight in head.named_parameters()
        if weight.grad is None or not bool((weight.grad != 0).any())
    }
    assert still == set()


@pytest.mark.parametrize("train", [False, True])
def test_padding_changes_no_frame(train: bool) -> None:
    head = a_head(permutes=True, dropout=0.0).train(train)
    clouds = some_clouds(6)
    noise = head.draw_noise(clouds, 3, seeded())
    (p, k), penalty, _ = head(clouds, 3, noise=noise)
    mask = torch.tensor([[True] * 6 + [False] * 3] * 6)
    padded = pad(clouds, (0, 0, 0, 3), value=torch.nan)
    more_noise = pad(noise, (0, 0, 0, 3), value=9)
    (wide_p, wide_k), wide_penalty, _ = head(padded, 3, noise=more_noise, mask=mask)
    assert torch.allclose(wide_k, k, rtol=0, atol=1e-10)
    assert torch.equal(wide_p[..., :6, :6], p)
    assert torch.equal(wide_p[..., 6:, 6:], torch.eye(3).double().expand(6, 3, 3, 3))
    assert torch.allclose(wide_penalty, penalty, rtol=0, atol=1e-9)
    (wide_k.sum() + wide_penalty.sum()).backward()
    found = [weight.grad for weight in head.parameters() if weight.grad is not None]
    assert all(bool(torch.isfinite(each).all()) for each in found)
    assert len(found) == len(list(head.parameters()))


def test_clouds_of_fewer_points_than_neighbours_are_padded_too() -> None:
    head, clouds = a_head(), some_clouds(4, points=3)
    noise = head.draw_noise(clouds, 2, seeded())
    (k,), *_ = head(clouds, 2, noise=noise)
    mask = torch.tensor([[True] * 3 + [False] * 4] * 4)
    padded, more_noise = pad(clouds, (0, 0, 0, 4)), pad(noise, (0, 0, 0, 4), value=2)
    (same,), *_ = head(padded, 2, noise=more_noise, mask=mask)
    assert torch.allclose(same, k, rtol=0, atol=1e-10)


COINCIDING = torch.zeros(2, 5, 3)
PLANAR = torch.cat([some_clouds(2, 5, 1, 0)[..., :2], torch.zeros(2, 5, 1)], 2)
LINE = torch.arange(-2.0, 3)[None, :, None] * torch.tensor([1.0, 2, 3]).expand(2, 1, 3)


@pytest.mark.parametrize("clouds", [COINCIDING, PLANAR, LINE], ids=["point", "plane", "line"])
def test_clouds_that_do_not_span_space_are_tied_without_noise(clouds: Tensor) -> None:
    head = RotationHead(1, hidden=24, noise_scale=0.0).double().eval()
    turns = some_turns(2, special=False)
    (k,), _, tied = head(turned(clouds.double(), turns[:, None], 1), 2, seeded())
    assert tied.tolist() == [True, True]
    assert torch.allclose(k.mT @ k, torch.eye(3).double().expand_as(k), rtol=0, atol=1e-12)
    kept = RotationHead(1, hidden=24, noise_scale=0.0, ties="order").double().eval()
    first, again = kept(clouds.double(), 2), kept(clouds.double(), 2)
    assert first.tied.tolist() == [True, True]
    assert torch.equal(first.elements[0], again.elements[0])


def test_a_rotation_of_points_in_a_plane_is_determined() -> None:
    head = RotationHead(1, special=True, hidden=24, noise_scale=0.0).double().eval()
    turns, clouds = some_turns(20, special=True), PLANAR[:1].double().expand(20, -1, -1)
    frames = [head(each, 1) for each in (clouds, turned(clouds, turns[:, None], 1))]
    (k,), (moved,) = (each.elements for each in frames)
    assert not bool(frames[1].tied.any())
    assert torch.allclose(moved, turns[:, None] @ k, rtol=0, atol=1e-9)


SIDES = torch.tensor([-1.0, 1])
ALIKE = {
    "cone": torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 2]]),
    "tetrahedron": torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]),
    "with its centre": torch.tensor(
        [[0.0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    ),
    "cube": torch.cartesian_prod(SIDES, SIDES, SIDES),
    "half turn": torch.tensor(
        [[1, 0.3, 0.5], [-1, -0.3, 0.5], [0.2, 1.5, -0.4], [-0.2, -1.5, -0.4], [0, 0, 1]]
    ),
}
TYPES = pytest.mark.parametrize(
    ("dtype", "allowed"), [(torch.float64, 1e-10), (torch.float32, 1e-3)]
)


def moved_copies(cloud: Tensor, dtype: torch.dtype, *, special: bool) -> tuple[Tensor, Tensor]:
    """Return the cloud in 20 positions after its own, and the turns there."""
    turns = some_turns(21, special=special)
    turns[0] = torch.eye(3)
    centred = cloud.double() - cloud.double().mean(0)
    return (centred @ turns.mT).to(dtype), turns


@TYPES
@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("name", ALIKE)
def test_clouds_of_alike_points_turn_the_frames(
    name: str, trained: bool, special: bool, dtype: torch.dtype, allowed: float
) -> None:
    # The order tells the points apart, so no reflection or rotation leaves the cloud as it is.
    clouds, turns = moved_copies(ALIKE[name], dtype, special=special)
    for seed in range(3):
        head = RotationHead(1, special=special, hidden=24, noise_scale=0.0, ties="order", seed=seed)
        if trained:
            for _ in range(3):
                head(some_clouds(20, 6, 1, 0), 1, seeded())
        (k,), _, tied = head.to(dtype).eval()(clouds, 1)
        assert not bool(tied.any())
        expected = turns @ k[0, 0].double()
        assert torch.allclose(k[:, 0].double(), expected, rtol=0, atol=allowed)


@TYPES
@pytest.mark.parametrize("name", ALIKE)
def test_a_head_that_permutes_says_that_alike_points_tie(
    name: str, dtype: torch.dtype, allowed: float
) -> None:
    clouds, _ = moved_copies(ALIKE[name], dtype, special=False)
    head = RotationHead(1, permutes=True, hidden=24, noise_scale=0.0, ties="order").to(dtype).eval()
    assert bool(head(clouds, 1).tied.all())


@TYPES
def test_neighbours_at_equal_distances_all_count(dtype: torch.dtype, allowed: float) -> None:
    # Points of a lattice, of which no symmetry is left.
    lattice = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    clouds, turns = moved_copies(torch.cat([lattice, 2 * lattice[3:] + 1]), dtype, special=False)
    orders = some_orders(21, 9)
    orders[0] = torch.eye(9)
    head = RotationHead(1, permutes=True, hidden=24, neighbours=2, noise_scale=0.0, ties="order")
    (p, k), _, tied = head.to(dtype).eval()(orders.to(dtype) @ clouds, 1)
    assert not bool(tied.any())
    assert torch.equal(p[:, 0].double(), orders @ p[0, 0].double())
    assert torch.allclose(k[:, 0].double(), turns @ k[0, 0].double(), rtol=0, atol=allowed)


def test_coinciding_points_in_single_precision_are_tied() -> None:
    head = RotationHead(1, hidden=24, noise_scale=0.0, permutes=True).eval()
    (_, k), _, tied = head(COINCIDING, 2, seeded())
    assert tied.tolist() == [True, True]
    assert torch.allclose(k.mT @ k, torch.eye(3).expand_as(k), rtol=0, atol=1e-5)


def test_alike_points_tie_the_orders_alone() -> None:
    # The corners of a cube are alike, but for three of them that a second vector marks.
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1])] * 3)
    marks = torch.zeros(8, 3)
    marks[0], marks[1], marks[2] = torch.eye(3) + torch.tensor([0.0, 0.5, 0.25])
    cloud = torch.cat([corners, marks], 1)[None].double()
    alike = torch.cat([cloud, cloud], 1)
    settings: dict[str, Any] = {"hidden": 24, "neighbours": 15, "noise_scale": 0.0}
    for permutes, tied in ((False, False), (True, True)):
        head = RotationHead(2, permutes=permutes, **settings).double().eval()
        assert head(alike, 1, seeded()).tied.tolist() == [tied]


def test_the_same_seed_gives_the_same_bits() -> None:
    def frames(seed: int) -> Tensor:
        head = RotationHead(2, 1, hidden=12, seed=3, dropout=0.5).double()
        return head(some_clouds(3), 2, seeded(seed)).elements[0]

    before = torch.get_rng_state()
    assert torch.equal(frames(0), frames(0))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(frames(0), frames(1))


def test_gram_schmidt_by_hand() -> None:
    # The second column loses its part along x, the third those along x and y; det M < 0 stays.
    matrix = torch.tensor([[2.0, 3, 5], [0, 4, 7], [0, 0, -2]])
    assert gram_schmidt(matrix).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, -1]]
    assert proper(gram_schmidt(matrix)).tolist() == [[-1, 0, 0], [0, 1, 0], [0, 0, -1]]


def test_the_first_independent_vectors_by_hand() -> None:
    vectors = torch.tensor([[0.0, 2, 3, 0, 1], [0, 0, 1e-9, 1, 1], [0, 0, 0, 0, 1]])[None]
    columns, picked = first_independent(vectors, special=False)
    assert columns.tolist() == torch.eye(3)[None].tolist()
    assert picked.tolist() == [[1, 3, 4]]
    columns, picked = first_independent(-vectors, special=True)
    assert columns.tolist() == torch.diag(torch.tensor([-1.0, -1, 1]))[None].tolist()
    assert picked.tolist() == [[1, 3]]


def test_gram_schmidt_is_orthonormal_even_close_to_rank_one() -> None:
    matrices = torch.ones(50, 3, 3) + 1e-6 * torch.randn(50, 3, 3, generator=seeded())
    k = gram_schmidt(matrices)
    assert torch.allclose(k.mT @ k, torch.eye(3).expand_as(k), rtol=0, atol=1e-5)


def test_rank_is_that_of_the_columns_up_to_rounding() -> None:
    full = torch.diag(torch.tensor([1e-2, 1.0, 1e6]))
    flat = torch.tensor([[1.0, 2, 3], [4, 5, 9], [7, 8, 15]])  # the third is the sum
    assert lacks_rank(torch.stack([full, flat, torch.zeros(3, 3)])).tolist() == [False, True, True]


def _normed(v: Tensor) -> Tensor:
    norm = VectorBatchNorm(4).double()
    torch.nn.init.normal_(norm.norm.bias, generator=seeded())
    return norm(v, None)


LAYERS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": vector_linear(4, 7).double(),
    "batch norm": _normed,
    "leaky relu": lambda v: vector_leaky_relu(v, v.roll(1, -1)),
    "max pool": lambda v: VectorMaxPool(4).double()(v, None),
    "edges": lambda v: EdgeLayer(4, 5, neighbours=3, dropout=0.0).double()(v, None),
}


@pytest.mark.parametrize("name", LAYERS)
def test_vector_layers_commute_with_every_rotation_and_reflection(name: str) -> None:
    v = torch.randn(2, 6, 3, 4, generator=seeded(), dtype=torch.float64)
    for turn in some_turns(4, special=False):
        torch.manual_seed(0)
        there = turn @ LAYERS[name](v)
        torch.manual_seed(0)
        assert torch.allclose(LAYERS[name](turn @ v), there, rtol=0, atol=1e-10)


def test_leaky_relu_by_hand() -> None:
    d = torch.tensor([[0.0, 0, 2], [0, 0, 2]]).mT
    q = torch.tensor([[1.0, 0, 5], [1, 0, -5]]).mT
    # Only the part against d shrinks, to a fifth.
    assert torch.allclose(vector_leaky_relu(q, d).mT, torch.tensor([[1.0, 0, 5], [1, 0, -1]]))


def test_dropout_takes_whole_vectors_in_training_alone() -> None:
    v = torch.randn(5, 6, 3, 2, generator=seeded())
    layer = EdgeLayer(2, 40, neighbours=2, dropout=0.5)
    gone = layer(v, None) == 0
    assert torch.equal(gone.any(-2), gone.all(-2))
    assert 0.3 < float(gone.float().mean()) < 0.7
    assert not bool((layer.eval()(v, None) == 0).any())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vectors": 0}, "`vectors`: expected at least 1, received 0"),
        ({"scalars": -1}, "`scalars`: expected at least 0, received -1"),
        ({"tau": 0.0}, "`tau`: expected a temperature above 0, received 0.0"),
        ({"noise_scale": -1.0}, r"`noise_scale`: expected 0 \(no noise\) or more, received -1.0"),
        ({"hidden": 2}, "`hidden`: expected at least 3, received 2"),
        ({"neighbours": 0}, "`neighbours`: expected at least 1, received 0"),
        ({"dropout": 1.0}, "`dropout`: expected a share from 0 to below 1, received 1.0"),
        ({"sinkhorn_steps": 0}, "`sinkhorn_steps`: expected at least 1, received 0"),
        ({"ties": "ordre"}, "`ties`: expected one of noise, order, .* did you mean 'order'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OrbitLensError, match=message):
        RotationHead(**{"vectors": 1, **settings})


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4, 6), "expected 7 columns: 3 for each of 2 vectors, then 1 scalars, received 6"),
        ((1, 0, 7), "expected at least one point or node in each, received inputs without any"),
        ((4, 7), r"`inputs`: expected shape \[n, points, columns\], received \[4, 7\]"),
    ],
)
def test_clouds_of_another_shape_are_refused(
    shape: tuple[int, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        RotationHead(2, 1)(torch.ones(shape), 1)


def test_fewer_than_one_sample_is_refused() -> None:
    with pytest.raises(OrbitLensError, match="`n_samples`: expected at least 1, received 0"):
        RotationHead(1)(torch.ones(1, 4, 3), 0)


def test_a_mask_that_is_no_prefix_is_refused() -> None:
    mask = torch.tensor([[True, True, True], [False, True, True]])
    with pytest.raises(OrbitLensError, match="padding, received input 1 with .0, 1, 1."):
        RotationHead(1)(torch.ones(2, 3, 3), 1, mask=mask)


@pytest.mark.parametrize("kind", [torch.float32, torch.int64, list])
def test_masks_of_zeros_and_ones_serve(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    head, clouds, mask = (
        a_head(1, 0),
        some_clouds(2, 3, 1, 0),
        torch.tensor([[True, True, False]] * 2),
    )
    given: Any = mask.tolist() if kind is list else mask.to(kind)
    frames = [head(clouds, 1, seeded(), mask=each).elements[0] for each in (mask, given)]
    assert torch.equal(*frames)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_serves(dtype: torch.dtype) -> None:
    head = RotationHead(1, hidden=12, permutes=True, special=True, neighbours=2).to(dtype).eval()
    (p, k), _, _ = head(some_clouds(2, 5, 1, 0).to(dtype), 2, seeded())
    assert p.dtype == k.dtype == dtype
    off = (k.mT @ k).float() - torch.eye(3)
    assert float(off.detach().abs().max()) < 10 * torch.finfo(dtype).eps


def test_noise_of_another_shape_is_refused() -> None:
    with pytest.raises(OrbitLensError, match=r"`noise`: expected shape \[1, 2, 4, 13\]"):
        RotationHead(1)(torch.ones(1, 4, 3), 2, noise=torch.ones(1, 2, 4, 3))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_matrices_that_are_not_finite_are_refused(bad: float) -> None:
    clouds = some_clouds(1, 4, 1, 0)
    clouds[0, 0, 0] = bad
    with pytest.raises(OrbitLensError, match="received .* NaN or infinite values; look for"):
        RotationHead(1, hidden=12).eval()(clouds, 1)
