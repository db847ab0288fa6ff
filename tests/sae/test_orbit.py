"""The orbit SAE: what equivariance by construction promises, and what it finds."""

import math
from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import orbitlens as ol
from orbitlens import groups
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.metrics import feature_recovery
from orbitlens.reps import Representation, direct_sum, irreps, isotypic_basis, regular
from orbitlens.sae import (
    SAE,
    BatchTopK,
    OnePose,
    OrbitDictionary,
    Sparsity,
    TopK,
    compose,
    orbit_sae,
)
from orbitlens.testing import assert_equivariant
from orbitlens.training._stack import stack_key
from orbitlens.transport import Transport, fit_transport
from orbitlens.typing import Tensor

GROUPS = [
    *(groups.cyclic(n) for n in (1, 2, 3, 4, 5, 8)),
    *(groups.dihedral(n) for n in (1, 2, 3, 4, 6)),
    groups.symmetric(3),
    groups.product(groups.cyclic(2), groups.cyclic(3)),
    groups.octahedral(),
    groups.permutation_group([(1, 2, 3, 0, 5, 6, 7, 4), (4, 7, 6, 5, 2, 1, 0, 3)], "Q8"),
]
every_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
C4 = groups.cyclic(4)
N_ATOMS, K = 6, 3
RULES = {
    "topk": lambda group: TopK(K),
    "batchtopk": lambda group: BatchTopK(K),
    "one pose": lambda group: OnePose(TopK(K), group.order),
    "one pose, batchtopk": lambda group: OnePose(BatchTopK(K), group.order),
}


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def representation(group: Group, seed: int) -> Representation:
    """A representation that is not orthogonal, in float32 as a transport holds it."""
    rep = direct_sum(regular(group), irreps(group)[-1], irreps(group)[0])
    basis = torch.linalg.qr(random(rep.dim, rep.dim, seed=seed)).Q
    basis = basis * torch.linspace(1, 2, rep.dim, dtype=torch.float64)
    matrices = basis @ rep.matrices @ torch.linalg.inv(basis)
    return Representation(group, matrices.float().double(), "skewed")


def built(rep: Representation, rule: str, *, hidden: int | None = None, seed: int = 0) -> SAE:
    """An orbit SAE with weights that look trained, calibrated on activations of its own."""
    sparsity: Sparsity = RULES[rule](rep.group)
    dictionary = OrbitDictionary(N_ATOMS, isotypic_basis(rep), seed=seed)
    sae = compose(sparsity, dictionary, hidden=hidden, seed=seed)
    with torch.no_grad():
        for number, parameter in enumerate(sae.parameters()):
            parameter.add_(0.3 * random(*parameter.shape, seed=seed + number).float())
        dictionary.project_()
        dictionary.settle_()
        sparsity.calibrate_([sae(random(200, rep.dim, seed=seed + 99).float()).pre], 200)
    return sae.eval()


def moved(codes: Tensor, group: Group, h: int) -> Tensor:
    """Codes of the input moved by h, from those of the input: z'[hg, c] = z[g, c]."""
    turned = torch.empty_like(codes)
    turned[:, torch.from_numpy(group.table[h].copy())] = codes
    return turned


def fitted(group: Group = C4, dim: int = 8, *, n: int = 200, seed: int = 0) -> Transport:
    return fit_transport(orbits_of(group, dim, n=n, seed=seed), "exact")


def orbits_of(group: Group, dim: int, *, n: int = 200, seed: int = 0) -> ActivationStore:
    copies = dim // group.order
    rep = direct_sum(*[regular(group)] * copies)
    basis = torch.linalg.qr(random(rep.dim, rep.dim, seed=seed)).Q
    start = random(n, rep.dim, seed=seed + 1)
    orbits = torch.einsum("gij,nj->ngi", basis @ rep.matrices @ basis.T, start)
    return store_from_array(orbits, group=group)


@settings(max_examples=40)
@given(
    group=st.sampled_from(GROUPS),
    rule=st.sampled_from(sorted(RULES)),
    hidden=st.sampled_from([None, 9]),
    seed=st.integers(0, 99),
)
def test_codes_and_reconstructions_of_a_moved_input_are_those_of_the_input_moved(
    group: Group, rule: str, hidden: int | None, seed: int
) -> None:
    rep = representation(group, seed)
    sae, x = built(rep, rule, hidden=hidden, seed=seed), random(12, rep.dim, seed=seed).float()
    dictionary = sae.dictionary
    assert isinstance(dictionary, OrbitDictionary)
    output = sae(x)
    codes = dictionary.by_element(output.codes)
    assert codes.any()
    size = output.pre.abs().max()
    for h in range(group.order):
        matrix = rep.matrices[h].float()
        turned = sae(x @ matrix.T)
        by_element = dictionary.by_element(turned.codes)
        assert (by_element - moved(codes, group, h)).abs().max() < 1e-5 * size
        pooled = dictionary.pooled(turned.codes) - dictionary.pooled(output.codes)
        assert pooled.abs().max() < 1e-5 * size * K
    assert_equivariant(
        lambda x: sae(x).x_hat, rep.matrices.float(), rep.matrices.float(), x, tolerance=1e-5
    )


@every_group
def test_the_dictionary_is_the_atoms_moved_by_the_matrices_of_the_representation(
    group: Group,
) -> None:
    rep = representation(group, 1)
    sae = built(rep, "topk")
    by_element = sae.W_dec.unflatten(0, (group.order, N_ATOMS))
    expected = torch.einsum("gij,cj->gci", rep.matrices.float(), by_element[0])
    torch.testing.assert_close(by_element, expected, atol=1e-5, rtol=1e-5)


@every_group
def test_the_bias_is_left_alone_by_every_element(group: Group) -> None:
    rep = representation(group, 2)
    sae = built(rep, "topk")
    assert sae.b_dec.norm() > 0.01
    for matrix in rep.matrices.float():
        torch.testing.assert_close(matrix @ sae.b_dec, sae.b_dec, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("hidden", [None, 10])
def test_parameters_do_not_grow_with_the_group(hidden: int | None) -> None:
    plain = ol.sae.topk_sae(16, N_ATOMS, K, hidden=hidden)
    most = sum(parameter.numel() for parameter in plain.parameters())
    for name in ("C1", "C2", "C4", "D4", "C16"):
        rho = fitted(groups.from_name(name), 16)
        sae = orbit_sae(16, N_ATOMS, K, rho, hidden=hidden)
        assert sae.d_sae == N_ATOMS * rho.group.order
        assert sum(parameter.numel() for parameter in sae.parameters()) <= most


@pytest.mark.parametrize("rule", ["one pose", "one pose, batchtopk"])
def test_with_one_pose_all_codes_of_a_sample_share_an_element(rule: str) -> None:
    rep = representation(groups.dihedral(4), 3)
    sae = built(rep, rule)
    codes = sae.dictionary.by_element(sae.encode(random(100, rep.dim).float()))
    elements = (codes > 0).any(-1).sum(-1)
    assert elements.max() == 1
    assert ((codes > 0).sum((-1, -2)) > 1).any()
    free = built(rep, rule.removeprefix("one pose, ").replace("one pose", "topk"))
    codes = free.dictionary.by_element(free.encode(random(100, rep.dim).float()))
    assert (codes > 0).any(-1).sum(-1).max() > 1


def with_symmetric_atoms(n_atoms: int = 3, k: int = 6) -> tuple[SAE, Transport]:
    """Atom 0 is left alone by every turn, atom 1 by the half turn, the others by none."""
    rho = fitted(C4, 8)
    sae = orbit_sae(8, n_atoms, k, rho)
    dictionary = sae.dictionary
    assert isinstance(dictionary, OrbitDictionary)
    plan = {0: range(4), 1: (0, 2)}
    with torch.no_grad():
        for atom, elements in plan.items():
            start = random(8, seed=atom).float()
            direction = sum(rho.matrices[h] @ start for h in elements)
            dictionary.atoms[atom] = dictionary.coordinates(direction.unsqueeze(0))[0]
        dictionary.project_()
        sae.encoder.W_enc.copy_(dictionary.atoms)
    return sae, rho


def test_atoms_that_turns_leave_alone_have_small_orbits() -> None:
    sae, _ = with_symmetric_atoms()
    sizes = 4 / sae.dictionary.stabilisers.sum(0)
    assert sizes.tolist() == [1, 2, 4]
    sae.dictionary.settle_()
    assert sae.dictionary.coset.T.tolist() == [[0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 2, 3]]


def test_an_atom_with_a_small_orbit_fires_once_for_each_of_its_orientations() -> None:
    sae, _ = with_symmetric_atoms()
    x = 3 * sae.W_dec[:2].detach()
    count = lambda: (sae.dictionary.by_element(sae.encode(x)) > 0).sum(1)  # noqa: E731
    assert count()[0, 0] == 4  # the same thing, counted four times
    sae.dictionary.settle_()
    fired = count()
    assert fired[0, 0] == 1
    assert fired[:, 1].max() <= 2
    torch.testing.assert_close(sae(x[:1]).codes.max() * sae.W_dec[0], x[0], atol=1e-4, rtol=1e-4)


def test_reconstructions_and_pooled_codes_stay_equivariant_where_orbits_are_small() -> None:
    sae, rho = with_symmetric_atoms(n_atoms=5, k=4)
    sae.dictionary.settle_()
    x = random(50, 8).float() + 2 * sae.W_dec[0].detach()
    assert_equivariant(lambda x: sae(x).x_hat, rho.matrices, rho.matrices, x, tolerance=1e-4)
    pooled = [sae.dictionary.pooled(sae.encode(x @ matrix.T)) for matrix in rho.matrices]
    for other in pooled[1:]:
        torch.testing.assert_close(other, pooled[0], atol=1e-4, rtol=1e-4)


def test_fit_leaves_the_dictionary_settled() -> None:
    sae, _ = with_symmetric_atoms()
    store = orbits_of(C4, 8)
    ol.fit(sae, store, epochs=1, lr=1e-6)
    assert sae.dictionary.coset.T.tolist() == [[0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 2, 3]]
    fired = sae.dictionary.by_element(sae.encode(store.orbits()[:, 0])) > 0
    assert fired[..., 0].sum(-1).max() == 1


def canonical_alone(x: Tensor, x_hat: Tensor) -> Tensor:
    return (x - x_hat).square().sum(-1)


def test_an_atom_that_fires_in_one_orientation_is_not_dead_in_another() -> None:
    """Canonical samples are sums of the features themselves, never of features turned."""
    toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=1000, seed=0)
    store = store_from_array(toy.orbits, group=toy.group)
    sae = orbit_sae(16, 8, 3, fit_transport(store, "exact"))
    dictionary = sae.dictionary
    with torch.no_grad():
        dictionary.atoms.copy_(dictionary.coordinates(toy.features))
        dictionary.project_()
        sae.encoder.W_enc.copy_(dictionary.atoms)
        sae.encoder.b_enc.fill_(-0.5)  # hears its own feature, 1, and not what remains of others
        dictionary.bias.copy_(torch.full_like(dictionary.bias, 1e-6))  # leaves the start alone
    history = ol.fit(sae, store, objective=canonical_alone, epochs=2, lr=1e-6).history
    codes = dictionary.by_element(sae.encode(store.orbits()[:, 0]))
    silent = ~(codes > 0).any(0)
    assert silent.any()
    assert not silent.all(0).any()
    assert history.dead_latents == [0, 0]


def test_an_orbit_that_is_dead_is_revived_as_a_whole() -> None:
    store = orbits_of(C4, 8, n=400)
    rho = fit_transport(store, "exact")
    histories = {}
    for weight in (0.0, 1.0):
        sae = orbit_sae(8, 6, 2, rho)
        with torch.no_grad():
            sae.encoder.b_enc[0] = -20.0
        result = ol.fit(sae, store, epochs=25, lr=2e-2, batch_size=64, revival_weight=weight)
        histories[weight] = result.history.dead_latents
        assert result.history.dead_latents[0] == 4  # in every orientation, and counted so
    assert histories[0.0][-1] == 4
    assert histories[1.0][-1] == 0


@pytest.mark.parametrize("sparsity", ["topk", "batchtopk"])
def test_the_scale_of_training_is_folded(sparsity: str) -> None:
    store = orbits_of(C4, 8)
    larger, rho = store_from_array(store.orbits() * 64, group=C4), fit_transport(store, "exact")
    found = []
    for each in (store, larger):
        sae = orbit_sae(8, 6, 2, rho, sparsity=sparsity)
        ol.fit(sae, each, epochs=2)
        found.append(sae(each.orbits()[:20, 0]).x_hat.detach())
    torch.testing.assert_close(found[1], 64 * found[0], atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("settings", [{}, {"hidden": 8}, {"sparsity": "batchtopk"}], ids=str)
def test_orbit_saes_of_different_stores_and_transports_train_in_a_stack_as_alone(
    settings: dict[str, object],
) -> None:
    stores = [orbits_of(C4, 8, seed=seed) for seed in (0, 5)]
    transports = [fit_transport(store, "exact") for store in stores]

    def fresh() -> list[SAE]:
        return [
            orbit_sae(8, 6, 2, rho, seed=seed, **settings)  # type: ignore[arg-type]
            for seed, rho in enumerate(transports)
        ]

    together, alone = fresh(), fresh()
    assert len({stack_key(sae) for sae in together}) == 1
    results = ol.fit(together, stores, seed=[3, 4], epochs=3, batch_size=32)
    for index, (sae, store) in enumerate(zip(alone, stores, strict=True)):
        own = ol.fit(sae, store, seed=3 + index, epochs=3, batch_size=32)
        assert results[index].history.loss == pytest.approx(own.history.loss, rel=1e-4)
        assert results[index].history.dead_latents == own.history.dead_latents
        states = zip(sae.state_dict().items(), together[index].state_dict().values(), strict=True)
        for (name, tensor), other in states:
            torch.testing.assert_close(tensor, other, atol=1e-4, rtol=1e-3, msg=name)


def test_a_planted_dictionary_is_recovered_modulo_the_group() -> None:
    toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=5000, canonical="random", seed=0)
    store = store_from_array(toy.orbits, group=toy.group)
    # Four atoms to spare: with eight, two of them may share a feature, by chance of rounding.
    sae = orbit_sae(16, 12, 3, fit_transport(store, "exact"))
    result = ol.fit(sae, store, epochs=10, lr=5e-3, batch_size=64)
    recovery = feature_recovery(sae.W_dec[:12], toy.features, toy.matrices)
    assert recovery.score > 0.95
    assert result.history.explained_variance[-1] > 0.95


def test_the_orientation_that_fires_says_how_far_an_input_is_turned() -> None:
    rho = fitted(C4, 16)
    sae = orbit_sae(16, 8, 1, rho)
    x = 2 * sae.W_dec[:8].detach()
    for g in range(4):
        codes = sae.dictionary.by_element(sae.encode(x @ rho.matrices[g].T))
        assert (codes[torch.arange(8), :, torch.arange(8)].argmax(-1) == g).all()


def tokens_of_their_own() -> Transport:
    stored, places = random(100, 4, 5, 4), ol.actions.images(C4).grid(2, 2)
    moves = np.concatenate([np.zeros((4, 1), dtype=np.int64), 1 + places], axis=1)
    store = replace(store_from_array(stored, group=C4), moves=moves)
    return fit_transport(store, "spatial")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"d_in": 7}, r"`d_in`: expected 8, the width of the transport of array:array, received 7"),
        ({"n_atoms": 0}, r"`n_atoms`: expected at least 1, received 0"),
        ({"k": 0}, r"`k`: expected at least 1, received 0"),
        ({"k": 25}, r"`k`: expected at most the number of latents, 24, received 25"),
        ({"k": 7, "one_pose": True}, r"`k`.*at most the number of atoms, 6.*received 7"),
        ({"hidden": 0}, r"`hidden`: expected at least 1, or None.*received 0"),
        ({"tolerance": 1.0}, r"`tolerance`: expected.*merges everything, received 1.0"),
        ({"tolerance": -0.1}, r"`tolerance`: expected from 0.*received -0.1"),
        ({"tolerance": math.nan}, r"`tolerance`: expected.*received nan"),
        (
            {"sparsity": "topp"},
            r"`sparsity`: expected one of topk, batchtopk, bias-adaptation, rec",
        ),
        ({"htf": 0.1}, r"`htf`: expected a setting of sparsity=.bias-adaptation., received 0.1"),
        ({"sparsity": "bias-adaptation"}, r"`k`: expected None.*received 2; give None"),
        (
            {"sparsity": "bias-adaptation", "k": None},
            r"`groups`: expected a setting.*received none",
        ),
        (
            {"sparsity": "bias-adaptation", "k": None, "one_pose": True},
            r"`one_pose`: expected False with bias adaptation",
        ),
        ({"group": groups.cyclic(8)}, r"`group`: expected C4 or a subgroup.*received C8"),
        ({"group": groups.dihedral(4)}, r"`group`: expected C4 or a subgroup.*received D4"),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_refused_in_one_line(
    arguments: dict[str, object], message: str
) -> None:
    given = {"d_in": 8, "n_atoms": 6, "k": 2, "transport": fitted()} | arguments
    with pytest.raises(OrbitLensError, match=message) as error:
        orbit_sae(**given)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_a_transport_that_is_no_representation_is_refused() -> None:
    noisy = store_from_array(orbits_of(C4, 8).orbits() + random(200, 4, 8).float(), group=C4)
    rho = fit_transport(noisy, "least_squares")
    with pytest.raises(
        OrbitLensError, match=r"by least_squares.*relation error of.*exact"
    ) as error:
        orbit_sae(8, 6, 2, rho)
    assert "\n" not in str(error.value)


def test_tokens_with_matrices_of_their_own_are_refused() -> None:
    rho = tokens_of_their_own()
    with pytest.raises(OrbitLensError, match=r"one matrix for all positions, received tokens"):
        orbit_sae(4, 6, 2, rho)


def test_a_transport_of_low_rank_will_do() -> None:
    rho = fit_transport(orbits_of(C4, 8), "low_rank", rank=8)
    sae, x = orbit_sae(8, 6, 2, rho), random(40, 8).float()
    assert_equivariant(lambda x: sae(x).x_hat, rho.matrices, rho.matrices, x, tolerance=1e-4)


def test_codes_of_another_width_are_refused_and_arrays_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    sae = built(regular("C4"), "topk", hidden=None, seed=0)
    dictionary, codes = sae.dictionary, sae.encode(random(3, 4).float()).detach()
    assert isinstance(dictionary, OrbitDictionary)
    for read in (dictionary.by_element, dictionary.pooled):
        assert torch.equal(read(codes.numpy()), read(codes))
        with pytest.raises(
            OrbitLensError, match=r"4 elements of C4 times .* received shape \[3, 5\]"
        ):
            read(torch.rand(3, 5))
