"""Squashing within bounds: it commutes, its density is right, and other bounds are refused."""

import math
from collections.abc import Callable

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from orbitlens import groups
from orbitlens.errors import OrbitLensError
from orbitlens.reps import Representation, direct_sum, irreps, regular
from orbitlens.symmetry.relax.squash import Squash
from orbitlens.testing import assert_equivariant

FLIP = irreps("C2")[1]
QUARTERS = irreps("C4")[-1]
SIXTHS = next(each for each in irreps("C6") if each.dim == 2)
SQUASHES = {
    "flip": (FLIP, {"low": -2, "high": 2}),
    "swap": (regular("C2"), {"low": 0, "high": [3, 3]}),
    "swap and flip": (direct_sum(regular("C2"), FLIP), {"low": [0, 0, -1], "high": [1, 1, 1]}),
    "quarter turns": (QUARTERS, {}),
    "sixth turns": (SIXTHS, {"radius": 0.5}),
    "the plane and the sign of S3": (direct_sum(*irreps("S3")[1:]), {}),
}
every_squash = pytest.mark.parametrize(
    ("actions", "bounds"), SQUASHES.values(), ids=SQUASHES.keys()
)


def noise(*shape: int, seed: int = 0) -> Float[Tensor, "..."]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@every_squash
def test_it_commutes_with_every_element(actions: Representation, bounds: dict[str, object]) -> None:
    squash, u = Squash(actions, **bounds), 3 * noise(6, actions.dim)
    assert_equivariant(squash, actions.matrices, actions.matrices, u, tolerance=1e-12)
    single = actions.matrices.float()
    assert_equivariant(squash, single, single, u.float(), tolerance=1e-5)


@every_squash
def test_the_density_is_that_of_the_jacobian(
    actions: Representation, bounds: dict[str, object]
) -> None:
    squash = Squash(actions, **bounds)
    for u in noise(5, actions.dim):
        jacobian = torch.autograd.functional.jacobian(squash, u)
        torch.testing.assert_close(squash.log_det(u), torch.linalg.slogdet(jacobian).logabsdet)


@settings(max_examples=25)
@given(st.sampled_from(sorted(SQUASHES)), st.floats(1e-3, 1e3))
def test_actions_stay_within_bounds_and_densities_finite(name: str, size: float) -> None:
    actions, bounds = SQUASHES[name]
    squash, u = Squash(actions, **bounds), size * noise(20, actions.dim)
    found = squash(u)
    if squash.by_coordinate:
        low = torch.as_tensor(bounds.get("low", -1.0)).double()
        high = torch.as_tensor(bounds.get("high", 1.0)).double()
        assert bool(((found >= low) & (found <= high)).all())
    else:
        assert float(found.norm(dim=-1).max()) <= bounds.get("radius", 1.0) * (1 + 1e-12)
    assert bool(squash.log_det(u).isfinite().all())


@every_squash
def test_gradients_at_zero_are_finite(actions: Representation, bounds: dict[str, object]) -> None:
    squash = Squash(actions, **bounds)
    for kind in (torch.float32, torch.float64):
        u = torch.zeros(1, actions.dim, dtype=kind, requires_grad=True)
        (squash(u).sum() + squash.log_det(u).sum()).backward()
        assert bool(u.grad.isfinite().all())
    # Near to 0, the length is squashed by a factor of 1: the map is r u.
    if not squash.by_coordinate:
        small = 1e-4 * noise(1, actions.dim)
        torch.testing.assert_close(squash(small), squash.radius * small, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", [torch.float16, torch.float32, torch.float64])
@every_squash
def test_the_largest_numbers_give_actions_at_the_bounds(
    actions: Representation, bounds: dict[str, object], kind: torch.dtype
) -> None:
    squash = Squash(actions, **bounds)
    most = torch.finfo(kind).max
    u = torch.cat([torch.eye(actions.dim), torch.ones(2, actions.dim)]).to(kind) * most
    u[-1, 0] *= -1
    u.requires_grad_()
    found, density = squash(u), squash.log_det(u)
    if squash.by_coordinate:
        low, high = squash.low.to(kind), squash.high.to(kind)
        assert torch.equal(found[-2], high)
        assert found[-1, 0] == low[0]
    else:
        lengths = found.double().norm(dim=-1)
        wanted = float(squash.radius)
        torch.testing.assert_close(
            lengths, torch.full_like(lengths, wanted), rtol=4 * torch.finfo(kind).eps, atol=0
        )
    assert bool(density.isfinite().all())
    assert bool((density < -1e2).all())
    (found.sum() + density.mean()).backward()
    assert bool(u.grad.isfinite().all())


def test_the_length_of_large_vectors_has_the_density_of_its_logarithm() -> None:
    # log r^2 + log(4 exp(-2 l)) + log(1 / l) at l = 1e20, in float32.
    assert Squash(SIXTHS).log_det(torch.tensor([1e20, 0.0])).item() == pytest.approx(-2e20)
    half = Squash(QUARTERS).log_det(torch.tensor([300.0, 0.0], dtype=torch.float16))
    assert half.item() == pytest.approx(2 * math.log(2) - 600, rel=1e-3)


def test_rounding_leads_no_action_out_of_its_bounds() -> None:
    trivial = irreps("C1")[0]
    ends = 4 * noise(300, 2).sort(dim=1).values.float()
    for low, high in ends:
        found = Squash(trivial, low=float(low), high=float(high))(torch.tensor([[-1e3], [1e3]]))
        assert low <= found[0, 0] < found[1, 0] <= high
        torch.testing.assert_close(found[:, 0], torch.stack([low, high]), rtol=1e-6, atol=1e-6)


def test_each_bound_is_compared_with_its_own_width() -> None:
    rho = direct_sum(irreps("C2")[0], FLIP)
    Squash(rho, low=[-1e6, -1], high=[2e6, 1])
    with pytest.raises(OrbitLensError, match="bounds that C2 keeps"):
        Squash(rho, low=[-1e6, 4], high=[1e6, 6])


def test_the_bounds_belong_to_the_state_and_casts_do_not_wear_them_away() -> None:
    narrow = Squash(FLIP, low=-0.1, high=0.1)
    assert narrow.state_dict().keys() == {"low", "high"}
    assert torch.equal(narrow.bfloat16().double().high, torch.tensor([0.1], dtype=torch.float64))
    Squash(FLIP, low=-0.1, high=0.1).load_state_dict(narrow.bfloat16().state_dict())
    narrow.load_state_dict({})  # of before
    with pytest.raises(OrbitLensError, match=r"`low` of a state: expected \[-1.0\], .*\[-0.1"):
        Squash(FLIP).load_state_dict(narrow.double().state_dict())
    with pytest.raises(OrbitLensError, match="`radius` of a state: expected 1.0.* received 2.0"):
        Squash(SIXTHS).load_state_dict(Squash(SIXTHS, radius=2.0).state_dict())


WRONG = Representation(groups.cyclic(2), torch.stack([torch.eye(2), 2 * torch.eye(2)]), "double")
SHEARED = Representation(
    groups.cyclic(2), torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, -1.0]]]), "shear"
)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Squash(WRONG), "actions double: .*multiply as C2"),
        (lambda: Squash(SHEARED), "actions shear: expected orthogonal matrices"),
        (lambda: Squash("C2"), "`actions`: expected .*Representation"),
        (lambda: Squash(FLIP, low=0, high=1), r"bounds that C2 keeps, .*received \[0.0\] to \[1"),
        (lambda: Squash(regular("C2"), high=[1, 2]), "bounds that C2 keeps"),
        (lambda: Squash(QUARTERS, low=[-1, -2], high=[1, 2]), "bounds that C4 keeps"),
        (lambda: Squash(SIXTHS, low=-1, high=1), "bounds that C6 keeps.*give `radius`"),
        (lambda: Squash(FLIP, low=1, high=-1), r"`low`: expected less than high, .*\[1.0\]"),
        (lambda: Squash(FLIP, high=float("inf")), "`high`: expected finite numbers"),
        (lambda: Squash(QUARTERS, high=[1, 1, 1]), r"`high`: expected shape \[dim = 2\]"),
        (lambda: Squash(FLIP, radius=1), "`radius`: expected none for signed permutations"),
        (lambda: Squash(SIXTHS, radius=0), "`radius`: expected above 0, received 0"),
        (lambda: Squash(QUARTERS)(torch.zeros(1, 3)), r"\[..., 2\], .*shape \[1, 3\]"),
        (lambda: Squash(SIXTHS).log_det(torch.zeros(1, 3)), r"\[..., 2\], .*shape \[1, 3\]"),
    ],
)
def test_impossible_squashes_are_refused(
    call: Callable[[], object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        call()
