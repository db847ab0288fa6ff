"""A transport under another group than its own: subgroups, and turns as fine as wanted."""

import math

import pytest
import torch

from orbitlens import groups
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.reps import direct_sum, homomorphism_errors, regular
from orbitlens.sae import SAE, orbit_sae
from orbitlens.transport import Transport, fit_transport
from orbitlens.typing import Tensor


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def transport_of(group: Group) -> Transport:
    rep = direct_sum(regular(group), regular(group))
    basis = torch.linalg.qr(random(rep.dim, rep.dim)).Q
    orbits = torch.einsum("gij,nj->ngi", basis @ rep.matrices @ basis.T, random(200, rep.dim))
    return fit_transport(store_from_array(orbits, group=group), "exact")


def circle(order: int) -> tuple[ActivationStore, Tensor]:
    """Orbits under C_n of planes that turn 0, 1, 2 and 3 times, and their generator."""
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    generator = torch.block_diag(*(k * quarter for k in (0, 1, 2, 3)))
    basis = torch.eye(8, dtype=torch.float64) + 0.2 * random(8, 8)
    generator = basis @ generator @ torch.linalg.inv(basis)
    turns = torch.stack([turn(generator, p / order) for p in range(order)])
    start = random(400, 8, seed=1) @ basis.T
    orbits = torch.einsum("gij,nj->ngi", turns, start)
    return store_from_array(orbits, group=groups.cyclic(order)), generator


def turn(generator: Tensor, share: float) -> Tensor:
    return torch.linalg.matrix_exp(2 * math.pi * share * generator)


def check_codes_turn(sae: SAE, x: Tensor, matrices: Tensor, group: Group) -> None:
    dictionary = sae.dictionary
    codes = dictionary.by_element(sae.encode(x))
    for h in range(group.order):
        turned = dictionary.by_element(sae.encode(x @ matrices[h].T))
        moved = turned[:, torch.from_numpy(group.table[h].copy())]
        torch.testing.assert_close(moved, codes, atol=1e-4, rtol=0)


def test_under_its_own_group_it_is_what_it_was() -> None:
    rho = transport_of(groups.dihedral(4))
    assert torch.equal(rho.under(groups.dihedral(4)), rho.matrices)


@pytest.mark.parametrize(
    ("whole", "part", "elements"),
    [
        ("D4", "C4", ["e", "r", "r^2", "r^3"]),
        ("D4", "C2", ["e", "r^2"]),
        ("D4", "D2", ["e", "r^2", "s", "r^2 s"]),
        ("D4", "D1", ["e", "s"]),
        ("D6", "D3", ["e", "r^2", "r^4", "s", "r^2 s", "r^4 s"]),
        ("C12", "C3", ["e", "r^4", "r^8"]),
        ("C4", "C1", ["e"]),
    ],
)
def test_a_subgroup_of_turns_and_flips_is_known_by_its_angles(
    whole: str, part: str, elements: list[str]
) -> None:
    rho, group = transport_of(groups.from_name(whole)), groups.from_name(part)
    expected = rho.matrices[[rho.group.element_names.index(name) for name in elements]]
    assert torch.equal(rho.under(group), expected)
    assert homomorphism_errors(group, rho.under(group).double()).max() < 1e-5


def test_elements_of_other_groups_are_known_by_their_names() -> None:
    whole = groups.product(groups.cyclic(2), groups.cyclic(3))
    rho, powers = transport_of(whole), [0, 1]
    while product := whole.multiply(powers[-1], 1):
        powers.append(product)
    names = [whole.element_names[g] for g in powers]
    part = groups.from_table(groups.cyclic(len(powers)).table, "own", names)
    assert torch.equal(rho.under(part), rho.matrices[powers])
    assert len(powers) in (2, 3)


@pytest.mark.parametrize(
    ("whole", "part"),
    [("C4", "D4"), ("C4", "C8"), ("C4", "C3"), ("D4", "D3"), ("C2xC3", "C6"), ("S3", "C4")],
)
def test_a_group_that_the_transport_does_not_have_is_refused_in_one_line(
    whole: str, part: str
) -> None:
    rho = transport_of(groups.from_name(whole))
    with pytest.raises(OrbitLensError, match=rf"`group`: .*{whole} or a sub.*ved {part}; fit") as e:
        orbit_sae(rho.dim, 4, 2, rho, group=groups.from_name(part))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("part", ["C4", "C2", "D2", "D1"])
def test_an_orbit_sae_may_be_tied_over_a_subgroup(part: str) -> None:
    rho, group = transport_of(groups.dihedral(4)), groups.from_name(part)
    sae = orbit_sae(rho.dim, 6, 3, rho, group=group)
    assert sae.d_sae == 6 * group.order
    check_codes_turn(sae, random(30, rho.dim).float(), rho.under(group), group)


@pytest.mark.parametrize("fitted", [8, 9])
@pytest.mark.parametrize("n", [16, 12, 7, 3, 1])
def test_a_circle_is_known_at_any_number_of_turns(fitted: int, n: int) -> None:
    store, generator = circle(fitted)
    rho, group = fit_transport(store, "lie"), groups.cyclic(n)
    matrices = rho.under(group)
    for p in range(n):
        torch.testing.assert_close(matrices[p], turn(generator, p / n).float(), atol=1e-3, rtol=0)
    sae = orbit_sae(8, 5, 3, rho, group=group)
    assert sae.d_sae == 5 * n
    check_codes_turn(sae, store.orbits()[:30, 0], matrices, group)


def test_a_circle_has_no_flips() -> None:
    rho = fit_transport(circle(8)[0], "lie")
    with pytest.raises(OrbitLensError, match=r"C8 or a subgroup.*or equal turns, received D4"):
        rho.under(groups.dihedral(4))


def test_turns_that_were_not_fitted_are_reconstructed_by_a_fine_group() -> None:
    """The atoms of C16 stand ready at angles between those of the eight turns of the store."""
    store, generator = circle(8)
    rho = fit_transport(store, "lie")
    sae = orbit_sae(8, 3, 1, rho, group=groups.cyclic(16))
    x = 3 * sae.W_dec.detach()[:3]
    for p in range(16):
        turned = x @ turn(generator, p / 16).float().T
        codes = sae.dictionary.by_element(sae.encode(turned))
        assert (codes[torch.arange(3), :, torch.arange(3)].argmax(-1) == p).all()
