"""Labels of directions whose symmetry is known by hand, and what holds for every direction."""

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitlens import actions
from orbitlens.actions import describe_elements
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, cyclic, dihedral, from_name
from orbitlens.metrics import SymmetryLabel, atom_labels, orientation_codes, symmetry_labels
from orbitlens.metrics._sentences import element_phrase, symmetry_sentence
from orbitlens.reps import (
    Representation,
    direct_sum,
    irreps,
    isotypic_basis,
    isotypic_projections,
    regular,
)
from orbitlens.sae import SAE, OrbitDictionary, compose, topk_sae
from orbitlens.sae.sparsity import TopK
from orbitlens.typing import Float, Tensor

D4, C4 = dihedral(4), cyclic(4)


def label_of(direction: list[float], rep: Representation) -> SymmetryLabel:
    (label,) = symmetry_labels(torch.tensor([direction]), rep.group, rep.matrices)
    return label


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sheared(rep: Representation, seed: int = 0) -> Representation:
    """The same in crooked coordinates, where it is not orthogonal."""
    S = torch.eye(rep.dim, dtype=torch.float64) + 0.3 * random(rep.dim, rep.dim, seed=seed)
    return Representation(rep.group, S @ rep.matrices @ S.inverse(), rep.name)


def test_an_element_and_its_flip_make_a_direction_with_a_flip() -> None:
    # e_0 + e_s: what sends this to itself from the left is H = {e, s}. Each irrep holds as much of
    # it as it has vectors fixed by s, times its dimension: 1, 0, 1, 0 and 2 of 4.
    label = label_of([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0], regular(D4))
    expected = [irrep.dim * (irrep.dim + irrep.character[4].item()) / 8 for irrep in irreps(D4)]
    assert label.irrep_shares == pytest.approx(expected)
    assert label.irrep_shares == pytest.approx((0.25, 0, 0.25, 0, 0.5))
    assert (label.stabiliser, label.orbit_size, label.firing_rates) == ((0, 4), 4, None)
    assert label.sentence == "oriented, four-fold; unchanged by s"


def test_what_the_group_leaves_alone_is_invariant() -> None:
    label = label_of([1.0] * 8, regular(D4))
    assert label.irrep_shares == pytest.approx((1, 0, 0, 0, 0))
    assert (label.stabiliser, label.orbit_size) == (tuple(range(8)), 1)
    assert label.sentence == "invariant: the same in every orientation"


def test_a_direction_of_the_plane_turns() -> None:
    plane = irreps(D4)[-1]
    assert label_of([0.6, 0.8], plane).irrep_shares == pytest.approx((0, 0, 0, 0, 1))
    # Its axes of symmetry are the eigenvectors of the flips.
    for flip, name in zip(range(4, 8), ("s", "(r s)", "(r^2 s)", "(r^3 s)"), strict=True):
        axis = torch.linalg.eigh(plane.matrices[flip]).eigenvectors[:, -1]
        label = label_of(axis.tolist(), plane)
        assert (label.stabiliser, label.orbit_size) == ((0, flip), 4)
        assert label.sentence == f"oriented, four-fold; unchanged by {name}; turns with r"
    assert label_of([0.6, 0.8], irreps(C4)[-1]).sentence == "oriented, four-fold; turns with r"


def test_a_half_turn_leaves_every_other_corner_alone() -> None:
    label = label_of([1.0, 0.0, 1.0, 0.0], regular(C4))
    assert label.irrep_shares == pytest.approx((0.5, 0.5, 0))
    assert (label.stabiliser, label.orbit_size) == ((0, 2), 2)
    assert label.sentence == "two-fold: unchanged by r^2"


def test_an_opposite_direction_is_another_one() -> None:
    label = label_of([1.0, -1.0, 1.0, -1.0], regular(C4))
    assert (label.stabiliser, label.orbit_size) == ((0, 2), 2)
    assert label.sentence == "two-fold: unchanged by r^2; changes sign under r"


def test_firing_rates_are_counted_under_each_element() -> None:
    codes = torch.zeros(4, 4, 2)
    codes[:3, 1, 0] = 2.0
    codes[0, 3, 1] = 1.0
    labels = symmetry_labels(torch.eye(4)[:2], C4, regular(C4).matrices, codes)
    assert [label.firing_rates for label in labels] == [(0, 0.75, 0, 0), (0, 0, 0, 0.25)]


def test_the_tolerance_decides_what_counts_as_left_alone() -> None:
    nearly = torch.tensor([[1.0, 0.0, 1.1, 0.0]])
    matrices = regular(C4).matrices
    cosine = 2 * 1.1 / (1 + 1.1**2)
    for tolerance, size in ((0.9 * (1 - cosine), 4), (1.1 * (1 - cosine), 2)):
        (label,) = symmetry_labels(nearly, C4, matrices, tolerance=tolerance)
        assert label.orbit_size == size


def test_shares_are_lengths_of_isotypic_parts() -> None:
    rep = regular(dihedral(6))
    d = random(12)
    (label,) = symmetry_labels(d[None], rep.group, rep.matrices)
    parts = isotypic_projections(rep.group, rep.matrices) @ d
    torch.testing.assert_close(
        torch.tensor(label.irrep_shares, dtype=torch.float64),
        parts.square().sum(-1) / d.square().sum(),
    )


GROUPS = st.sampled_from(["C1", "C2", "C5", "C6", "D1", "D3", "D4", "S3", "C2xC3", "O"])


@settings(max_examples=25)
@given(name=GROUPS, seed=st.integers(0, 1000), fixed=st.integers(0, 1000))
def test_labels_are_the_same_along_an_orbit_and_stabilisers_conjugate(
    name: str, seed: int, fixed: int
) -> None:
    group = from_name(name)
    rep = sheared(direct_sum(regular(group), irreps(group)[-1]), seed)
    h = fixed % group.order
    d = sum((power(rep, h, n) @ random(rep.dim, seed=seed)) for n in range(group.element_order(h)))
    orbit = rep.matrices @ d
    labels = symmetry_labels(3 * orbit, group, rep.matrices, tolerance=1e-6)
    first = labels[0]
    assert sum(first.irrep_shares) == pytest.approx(1)
    assert h in first.stabiliser
    assert first.orbit_size * len(first.stabiliser) == group.order
    for g, label in enumerate(labels):
        assert label.irrep_shares == pytest.approx(first.irrep_shares, abs=1e-9)
        inverse = int(group.inverses[g])
        conjugate = {group.multiply(group.multiply(g, k), inverse) for k in first.stabiliser}
        assert set(label.stabiliser) == conjugate


def power(rep: Representation, g: int, n: int) -> Float[Tensor, "dim dim"]:
    return torch.linalg.matrix_power(rep.matrices[g], n)


@settings(max_examples=25)
@given(name=GROUPS, seed=st.integers(0, 1000))
def test_the_basis_does_not_matter(name: str, seed: int) -> None:
    group = from_name(name)
    rep = regular(group)
    S = torch.eye(rep.dim, dtype=torch.float64) + 0.2 * random(rep.dim, rep.dim, seed=seed)
    rows = random(3, rep.dim, seed=seed)
    crooked = S @ rep.matrices @ S.inverse()
    basis = isotypic_basis(Representation(group, crooked, "crooked"))
    orthogonal = basis.T_inverse @ crooked @ basis.T
    before = symmetry_labels(rows @ S.T, group, crooked)
    after = symmetry_labels(rows @ S.T @ basis.T_inverse.T, group, orthogonal)
    for left, right in zip(before, after, strict=True):
        assert left.irrep_shares == pytest.approx(right.irrep_shares, abs=1e-9)
        assert left.stabiliser == right.stabiliser


@pytest.mark.parametrize("name", ["C1", "C12", "D5", "S4", "Oh", "C4xC2", "D2xC3"])
def test_every_group_has_a_sentence(name: str) -> None:
    group = from_name(name)
    rows = torch.cat([random(1, group.order), torch.ones(1, group.order, dtype=torch.float64)])
    label, invariant = symmetry_labels(rows, group, regular(group).matrices)
    assert label.orbit_size == group.order
    assert invariant.sentence.startswith("invariant")
    assert len(label.sentence) < 100


def test_elements_go_by_their_name_and_what_they_do() -> None:
    assert [element_phrase(dihedral(4), g) for g in (0, 3, 5)] == ["e", "r^3", "(r s)"]
    assert element_phrase(from_name("C2xC2"), 2) == "(r, e)"
    assert element_phrase(from_name("O"), 1) == "(x -y -z)"
    words = describe_elements("D4", "images")
    assert [element_phrase(dihedral(4), g, words) for g in (3, 5)] == [
        "r^3 (quarter turn right)",
        "r s (flipped across the rising diagonal)",
    ]
    for action, element, says in [
        (actions.reverse_complement(), 1, "r (other strand)"),
        (actions.set_permutation("C4"), 2, "r^2 (0 2)(1 3)"),
        (actions.set_permutation("S3"), 1, "(0 1 2)"),
        (actions.cyclic_shift("C12"), 3, "r^3 (shifted by 3 of 12)"),
    ]:
        told = describe_elements(action.group, action.name, action.config)
        assert element_phrase(action.group, element, told) == says


def test_a_sentence_says_what_the_elements_do_to_the_inputs() -> None:
    d = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    given = (d, C4, regular(C4).matrices)
    (label,) = symmetry_labels(*given, words=describe_elements("C4", "images"))
    assert label.sentence == "two-fold: unchanged by r^2 (half turn)"
    assert symmetry_labels(*given, words=[""] * 4) == symmetry_labels(*given)
    with pytest.raises(OrbitLensError, match=r"`words`: expected one for each of the 4 elements"):
        symmetry_labels(*given, words=["as it is"])


def test_many_generators_are_counted_instead_of_named() -> None:
    group = from_name("C2xC2xC2xC2xC2")
    shares = [0.5, 0.5] + [0.0] * 30
    assert symmetry_sentence(group, list(range(16)), shares) == (
        "two-fold: unchanged by 16 of the 32 elements"
    )


def test_most_of_a_direction_may_be_invariant() -> None:
    assert symmetry_sentence(C4, [0], [0.7, 0.0, 0.3]) == "mostly invariant, four-fold"
    assert symmetry_sentence(C4, [0, 2], [0.5, 0.5, 0.0]) == "two-fold: unchanged by r^2"
    shares = [0.05, 0.0, 0.0, 0.0, 0.95]
    assert symmetry_sentence(dihedral(4), [0, 4], shares) == (
        "oriented, four-fold; unchanged by s; mostly turns with r"
    )
    assert symmetry_sentence(cyclic(6), [0, 2, 4], [0.7, 0.3, 0.0, 0.0]) == (
        "mostly invariant, two-fold; unchanged by r^2"
    )


def orbit_sae_with(*atoms: list[float], group: Group = C4) -> SAE:
    dictionary = OrbitDictionary(len(atoms), isotypic_basis(regular(group)))
    with torch.no_grad():
        dictionary.atoms.copy_(dictionary.coordinates(torch.tensor(atoms)))
    dictionary.project_()
    return compose(TopK(2), dictionary)


def test_atoms_have_the_labels_of_their_directions() -> None:
    rep = sheared(regular(D4))
    dictionary = OrbitDictionary(5, isotypic_basis(rep), seed=1)
    sae = compose(TopK(2), dictionary)
    direct = symmetry_labels(sae.W_dec[:5].double(), D4, rep.matrices)
    for ours, theirs in zip(atom_labels(sae), direct, strict=True):
        assert ours.irrep_shares == pytest.approx(theirs.irrep_shares, abs=1e-5)
        assert (ours.stabiliser, ours.sentence) == (theirs.stabiliser, theirs.sentence)


def test_rates_of_an_atom_count_equal_orientations_together() -> None:
    sae = orbit_sae_with([1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0])
    codes = torch.zeros(4, 4, 2)
    codes[0, 1, 0] = codes[1, 1, 0] = codes[1, 2, 0] = 1.0
    codes[0, 0, 1] = 1.0
    codes[1, 2, 1] = codes[2, 2, 1] = 2.0
    single, twofold = atom_labels(sae, codes.flatten(1))
    assert (single.orbit_size, twofold.orbit_size) == (4, 2)
    assert single.firing_rates == (0, 0.5, 0.25, 0)
    assert twofold.firing_rates == (0.75, 0, 0.75, 0)
    strengths = orientation_codes(sae, codes.flatten(1))
    assert strengths[:3, :, 1].tolist() == [[1, 0, 1, 0], [2, 0, 2, 0], [2, 0, 2, 0]]
    assert torch.equal(strengths[..., 0], codes[..., 0])


def test_an_atom_has_as_many_orientations_as_the_dictionary_counts() -> None:
    sae = orbit_sae_with([1.0, 0.0, 0.95, 0.0], [1.0] * 4, [0.1, 0.2, 0.3, 0.4])
    sizes = C4.order // sae.dictionary.stabilisers.sum(0)
    assert [label.orbit_size for label in atom_labels(sae)] == sizes.tolist() == [2, 1, 4]


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, float("nan")])
def test_a_tolerance_out_of_range_is_rejected(tolerance: float) -> None:
    with pytest.raises(OrbitLensError, match="`tolerance`: .* below 1, which merges everything"):
        symmetry_labels(torch.eye(4), C4, regular(C4).matrices, tolerance=tolerance)


def test_a_tolerance_that_merges_everything_is_rejected_where_something_moves() -> None:
    rows = torch.tensor([[1.0, 1.0, 1.0, 0.5], [1.0, 1.0, 1.0, 0.0]])
    with pytest.raises(OrbitLensError, match=r"below 0\.333, .* received 0\.9, .* 0\.1 is the"):
        symmetry_labels(rows, C4, regular(C4).matrices, tolerance=0.9)
    # With one direction that is told apart, or where nothing moves, it is a choice.
    mixed = torch.cat([rows, torch.eye(4)])
    sizes = [x.orbit_size for x in symmetry_labels(mixed, C4, regular(C4).matrices, tolerance=0.9)]
    assert sizes == [1, 1, 4, 4, 4, 4]
    (still,) = symmetry_labels(torch.ones(1, 4), C4, regular(C4).matrices, tolerance=0.9)
    assert still.orbit_size == 1


def test_matrices_that_are_no_representation_are_rejected() -> None:
    noisy = regular(C4).matrices + 0.1 * random(4, 4, 4)
    for matrices in (noisy, torch.zeros(4, 4, 4), torch.full((4, 4, 4), torch.nan)):
        with pytest.raises(OrbitLensError, match=r"of C4, relation error 0.*method=\"exact\""):
            symmetry_labels(torch.eye(4), C4, matrices)


def test_directions_without_a_direction_are_rejected() -> None:
    rows = torch.eye(4)
    rows[1, 1], rows[2, 2] = 0.0, torch.inf
    with pytest.raises(OrbitLensError, match="`directions`: .* received 2 of 4 rows with zeros"):
        symmetry_labels(rows, C4, regular(C4).matrices)


@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_atoms_without_a_direction_are_rejected(value: float) -> None:
    sae = compose(TopK(2), OrbitDictionary(3, isotypic_basis(regular(C4))))
    with torch.no_grad():
        sae.dictionary.atoms[1] = value
    with pytest.raises(OrbitLensError, match="atoms of the SAE.*received 1 of 3 rows"):
        atom_labels(sae)


def test_no_directions_have_no_labels() -> None:
    assert symmetry_labels(torch.zeros(0, 4), C4, regular(C4).matrices) == []


def test_shapes_that_do_not_fit_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a user's process, where annotations are not checked.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    matrices = regular(C4).matrices
    with pytest.raises(OrbitLensError, match=r"`matrices`: .*\[4, 3, 3\], received shape \[4, 4, "):
        symmetry_labels(torch.eye(3), C4, matrices)
    with pytest.raises(OrbitLensError, match=r"`codes`: .*\[n, 4, 4\] .* received shape \[5, 4, 3"):
        symmetry_labels(torch.eye(4), C4, matrices, torch.zeros(5, 4, 3))
    with pytest.raises(OrbitLensError, match=r"n at least 1, .* received shape \[0, 4, 4\]"):
        symmetry_labels(torch.eye(4), C4, matrices, torch.zeros(0, 4, 4))
    with pytest.raises(OrbitLensError, match=r"`codes`: .*\[n, 8\] .* received shape \[5, 2\]"):
        atom_labels(orbit_sae_with([1.0] * 4, [1.0] * 4), torch.zeros(5, 2))


def test_an_sae_without_atoms_is_rejected() -> None:
    with pytest.raises(OrbitLensError, match="expected an orbit SAE.* received .*FreeDictionary"):
        atom_labels(topk_sae(d_in=4, d_sae=8, k=2))
