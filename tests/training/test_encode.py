"""The sparse step of training, held against what the members do alone, densely and in float64.

The reference is the ordinary forward pass of every member, `SAE.forward`, with all pre-activations
and autograd. Of equal numbers either may be kept, so no two samples of a batch are the same.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orbitlens import objectives
from orbitlens.groups import Group, cyclic, dihedral
from orbitlens.kernels.search import Block
from orbitlens.reps import IsotypicBasis, Representation, direct_sum, irreps, isotypic_basis
from orbitlens.reps import regular as regular_of
from orbitlens.sae import (
    SAE,
    ArchetypalDictionary,
    BatchTopK,
    CrosscoderDictionary,
    Dictionary,
    FreeDictionary,
    OnePose,
    OrbitDictionary,
    Sparsity,
    TopK,
    compose,
)
from orbitlens.training import _encode as encode
from orbitlens.training._stack import stack_saes
from orbitlens.training._views import VIEWS, Batch, Objective, Views, views_of
from orbitlens.typing import Tensor

MOVED = ("x_moved", "x_hat_moved")

EXACT = {"rtol": 1e-9, "atol": 1e-10}
ORBITS = 12
"""Orbits in the data, at least as many as samples in a batch."""

RULES: dict[str, Callable[[int, int], Sparsity]] = {
    "topk": lambda k, order: TopK(k),
    "batchtopk": lambda k, order: BatchTopK(k),
    "one pose of topk": lambda k, order: OnePose(TopK(k), order),
    "one pose of batchtopk": lambda k, order: OnePose(BatchTopK(k), order),
}
ENCODERS = {"linear": None, "two layers": 6}
"""Widths of the hidden layer."""
PLAIN = ("free", "archetypal", "crosscoder")
# Below and above 64 coordinates products with all orientations are computed in two ways.
BASES = {"C4 of 5": (cyclic(4), 1), "C4 of 69": (cyclic(4), 17), "D3 of 67": (dihedral(3), 11)}
TIED = (*(f"orbit {basis}" for basis in BASES), "symmetric C4 of 5", "symmetric D3 of 67")


class Kind(NamedTuple):
    """What an SAE is made of."""

    dictionary: str
    encoder: str
    rule: str

    @property
    def tied(self) -> bool:
        return self.dictionary in TIED

    @property
    def group(self) -> Group:
        return BASES[self.dictionary.partition(" ")[2]][0] if self.tied else cyclic(4)

    @property
    def objectives(self) -> list[Objective]:
        own: list[Objective] = [
            objectives.reconstruction,
            objectives.canonical,
            partial(objectives.latent_invariance, weight=0.7),
            partial(objectives.output_invariance, weight=0.7),
        ]
        if self.dictionary == "crosscoder":
            own.append(objectives.orbit_reconstruction)
        if self.tied:
            own.append(partial(objectives.orbit_invariance, weight=0.7))
        return own


KINDS = [Kind(*parts) for parts in product((*PLAIN, *TIED), ENCODERS, RULES)]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=", ".join)
FEW = [kind for kind in KINDS if not kind.dictionary.endswith(("67", "69"))]
every_kind_of_few_coordinates = pytest.mark.parametrize("kind", FEW, ids=", ".join)


@cache
def basis_of(name: str) -> IsotypicBasis:
    """Copies of the regular representation and a trivial one, in coordinates that are skew."""
    group, copies = BASES[name]
    straight = direct_sum(*[regular_of(group)] * copies, irreps(group)[0]).matrices
    generator = torch.Generator().manual_seed(copies)
    dim = straight.shape[-1]
    skew = torch.eye(dim).double() + torch.randn(dim, dim, generator=generator) / (3 * dim**0.5)
    return isotypic_basis(Representation(group, skew @ straight @ skew.inverse(), name))


def build(kind: Kind, *, dim: int, atoms: int, k: int, seed: int) -> SAE:
    """An SAE with atoms * |G| latents, none of whose weights or biases is special."""
    own = min(k, atoms) if kind.rule.startswith("one pose") else k
    rule = RULES[kind.rule](own, kind.group.order)
    latents, hidden = atoms * kind.group.order, ENCODERS[kind.encoder]
    generator = torch.Generator().manual_seed(seed)
    dictionary: Dictionary
    if kind.tied:
        sort, _, basis = kind.dictionary.partition(" ")
        dictionary = OrbitDictionary(atoms, basis_of(basis), tolerance=1e-4, seed=seed)
        sae = compose(rule, dictionary, hidden=hidden, seed=seed)
        if sort == "symmetric":
            make_symmetric_(dictionary)
        assert dictionary.stabilisers[1:].any() == (sort == "symmetric")
    else:
        if kind.dictionary == "archetypal":
            candidates = torch.randn(9, dim, generator=generator)
            dictionary = ArchetypalDictionary(candidates, latents, seed=seed)
        elif kind.dictionary == "crosscoder":
            dictionary = CrosscoderDictionary(latents, dim, kind.group.order, seed=seed)
        else:
            dictionary = FreeDictionary(latents, dim, seed=seed)
        sae = compose(rule, dictionary, hidden=hidden, seed=seed)
    with torch.no_grad():
        for name, weights in sae.named_parameters():
            if name != "dictionary.atoms":
                weights.add_(torch.randn(weights.shape, generator=generator) / 3)
    dictionary.project_()
    return sae


@torch.no_grad()
def make_symmetric_(dictionary: OrbitDictionary) -> None:
    """Atom 0 is left alone by the whole group, atom 1 by two elements."""
    moved = dictionary.tied.orbits(dictionary.atoms)
    other = dictionary.group.order // 2
    dictionary.atoms[0] = moved[:, 0].sum(0)
    dictionary.atoms[1] = moved[0, 1] + moved[other, 1]
    dictionary.project_()
    dictionary.settle_()


@dataclass(frozen=True)
class Case:
    """Members in float64, and a batch for each."""

    kind: Kind
    members: list[SAE]
    batch: Batch

    @classmethod
    def random(
        cls,
        kind: Kind,
        *,
        members: int = 3,
        batch: int = 5,
        atoms: int = 3,
        k: int = 3,
        dim: int = 5,
        seed: int = 0,
    ) -> "Case":
        saes = [
            build(kind, dim=dim, atoms=atoms, k=k, seed=10 * seed + member).double()
            for member in range(members)
        ]
        generator = torch.Generator().manual_seed(seed)
        order = kind.group.order
        rows = torch.randn(ORBITS * order, saes[0].d_in, generator=generator).double()
        drawn = [torch.randperm(ORBITS, generator=generator)[:batch] for _ in range(members)]
        canonical = torch.stack(drawn) * order
        moved = canonical + torch.randint(order, (members, batch), generator=generator)
        return cls(kind, saes, Batch(rows, canonical, moved, order))

    @property
    def stack(self) -> SAE:
        return stack_saes(self.members)

    def eager(self, member: int) -> dict[str, Tensor]:
        """All views of one member, by its own forward pass."""
        sae, rows = self.members[member], self.batch.rows
        first = self.batch.canonical[member]
        x, x_moved = rows[first], rows[self.batch.moved[member]]
        canonical, moved = sae(x), sae(x_moved)
        views = {
            "x": x,
            "x_moved": x_moved,
            "codes": canonical.codes,
            "codes_moved": moved.codes,
            "x_hat": canonical.x_hat,
            "x_hat_moved": moved.x_hat,
            "orbit": rows[first[:, None] + torch.arange(self.batch.order)],
        }
        if isinstance(sae.dictionary, CrosscoderDictionary):
            views["x_hat_orbit"] = sae.dictionary.orbit(canonical.codes)
        if isinstance(sae.dictionary, OrbitDictionary):
            views["pooled"] = sae.dictionary.pooled(canonical.codes)
            views["pooled_moved"] = sae.dictionary.pooled(moved.codes)
        return views


Results = dict[str, Tensor]


def gradients(name: str, losses: Tensor, sae: SAE) -> Results:
    """One loss, and its gradient by every parameter."""
    names, weights = zip(*sae.named_parameters(), strict=True)
    found = torch.autograd.grad(
        losses.mean(-1).sum(), weights, retain_graph=True, allow_unused=True
    )
    by_name = {
        f"{name} by {own}": torch.zeros_like(weight) if grad is None else grad
        for own, weight, grad in zip(names, weights, found, strict=True)
    }
    return {name: losses.detach(), **by_name}


def of_objectives(case: Case, stack: SAE, **settings: bool) -> Results:
    """Every objective of the sparse step, with its gradients."""
    views, results = Views(stack, case.batch, VIEWS, **settings), {}
    for number, objective in enumerate(case.kind.objectives):
        own = {name: getattr(views, name) for name in views_of(objective)}
        losses = [
            objective(**{name: view[member] for name, view in own.items()})
            for member in range(len(case.members))
        ]
        results |= gradients(f"objective {number}", torch.stack(losses), stack)
    return results


def stacked(parts: list[Results]) -> Results:
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}


def reference(case: Case) -> Results:
    """The same of every member alone."""
    parts = []
    for index, member in enumerate(case.members):
        views, results = case.eager(index), {}
        for number, objective in enumerate(case.kind.objectives):
            losses = objective(**{name: views[name] for name in views_of(objective)})
            results |= gradients(f"objective {number}", losses, member)
        parts.append(results)
    return stacked(parts)


def assume_no_ties(case: Case) -> None:
    """Leave out cases in which two samples have one and the same pre-activation.

    It happens where no hidden unit answers, and leaves pre-activations at their biases. Which of
    the two a budget for the whole batch takes is then free.
    """
    for index, member in enumerate(case.members):
        for rows in (case.batch.canonical[index], case.batch.moved[index]):
            every = [set(pre[pre > 0].tolist()) for pre in member(case.batch.rows[rows]).pre]
            assume(len(set().union(*every)) == sum(map(len, every)))


def agree(received: Results, expected: Results) -> None:
    assert received.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            received[name], value, msg=lambda m, n=name: f"{n}: {m}", **EXACT
        )


def close_in_float32(received: Results, expected: Results) -> None:
    assert received.keys() == expected.keys()
    for name, value in expected.items():
        size = value.abs().max().clamp_min(1e-3)
        assert (received[name] - value).abs().max() < 1e-4 * size, name


@every_kind
def test_losses_and_gradients_of_every_objective(kind: Kind) -> None:
    case = Case.random(kind)
    expected = reference(case)
    agree(of_objectives(case, case.stack), expected)
    assert any(value[0].abs().max() > 0 for value in expected.values())
    batch = case.batch
    first = Batch(batch.rows, batch.canonical[:1], batch.moved[:1], batch.order)
    alone = Case(kind, case.members[:1], first)
    agree(of_objectives(alone, alone.stack), {name: value[:1] for name, value in expected.items()})


any_shapes = {
    "kind": st.sampled_from(KINDS),
    "members": st.integers(1, 3),
    "batch": st.integers(1, 9),
    "atoms": st.integers(2, 6),
    "k": st.integers(1, 6),
    "dim": st.integers(1, 9),
    "seed": st.integers(0, 999),
}


@settings(max_examples=30)
@given(lies=st.booleans(), **any_shapes)
def test_any_shapes_in_any_layout(kind: Kind, lies: bool, **shapes: int) -> None:
    case = Case.random(kind, **shapes)
    assume_no_ties(case)
    stack = case.stack
    if lies and not kind.tied:
        # As training lays out the vectors of the latents.
        weights = stack.encoder.get_parameter("W_enc")
        weights.data = weights.data.mT.contiguous().mT
    agree(of_objectives(case, stack), reference(case))


@settings(max_examples=20)
@given(**any_shapes)
def test_float32_is_float64_to_rounding(kind: Kind, **shapes: int) -> None:
    case = Case.random(kind, **shapes)
    assume_no_ties(case)
    batch = case.batch
    single = Case(
        kind,
        [copy.deepcopy(member).float() for member in case.members],
        Batch(batch.rows.float(), batch.canonical, batch.moved, batch.order),
    )
    close_in_float32(of_objectives(single, single.stack), reference(case))


@pytest.mark.parametrize("dictionary", TIED)
def test_coordinates_that_are_known_before_change_nothing(dictionary: str) -> None:
    case = Case.random(Kind(dictionary, "linear", "topk"))
    batch, stack = case.batch, case.stack
    known = [member.dictionary.coordinates(batch.rows) for member in case.members]
    shift = torch.arange(3)[:, None] * len(batch.rows)
    ahead = Batch(batch.rows, batch.canonical, batch.moved, batch.order, torch.cat(known), shift)
    agree(of_objectives(Case(case.kind, case.members, ahead), stack), reference(case))


@contextmanager
def noted_blocks(**sizes: int) -> Iterator[list[Block]]:
    """Blocks of other sizes than usual; yields those that were searched."""
    searched: list[Block] = []
    every = encode._blocks

    def noted(*args: Any, **settings: bool) -> Iterator[Block]:
        for block in every(*args, **settings):
            searched.append(block)
            yield block

    with patch.multiple(encode, _blocks=noted, **sizes):
        yield searched


@every_kind_of_few_coordinates
def test_several_blocks_in_both_directions_give_what_one_gives(kind: Kind) -> None:
    # The budget of a sample is more than a block is wide, and last blocks are narrower.
    case = Case.random(kind, batch=7, atoms=7, k=7)
    dead = torch.rand(3, case.stack.d_sae, generator=torch.Generator().manual_seed(1)) < 0.5
    expected = of_objectives(case, case.stack) | revival(case, case.stack, dead)
    with noted_blocks(_BLOCK=4, _WIDEST=5, _FEWEST_ROWS=2) as blocks:
        received = of_objectives(case, case.stack) | revival(case, case.stack, dead)
    assert {block.sample for block in blocks} == {0, 2, 4, 6}
    if not (kind.tied or kind.rule.startswith("one pose")):
        assert {block.latent for block in blocks} == {0, 5, 10, 15, 20, 25}
    agree(received, expected)


def revival(case: Case, stack: SAE, dead: Tensor, **settings: bool) -> Results:
    """What dead latents explain, and how they learn from what is left over."""
    views = Views(stack, case.batch, MOVED, dead, **settings)
    explained = views.output_moved.explained_by_dead
    assert explained is not None
    residual = views.x_moved - views.x_hat_moved
    pairs = zip(residual, explained, strict=True)
    losses = torch.stack([objectives.dead_latent_revival(*pair) for pair in pairs])
    return {"explained": explained.detach(), **gradients("revival", losses, stack)}


def dense_revival(case: Case, dead: Tensor) -> Results:
    """The same, from all pre-activations of every member: the largest of the dead, no ReLU."""
    parts = []
    for index, member in enumerate(case.members):
        x = case.batch.rows[case.batch.moved[index]]
        output = member(x)
        among = output.pre[:, dead[index]]
        top = among.topk(min(member.sparsity.k, among.shape[1]))
        codes = torch.zeros_like(output.pre)
        codes[:, dead[index]] = torch.zeros_like(among).scatter(1, top.indices, top.values)
        explained = member.dictionary(codes) - member.b_dec
        losses = objectives.dead_latent_revival(x - output.x_hat, explained)
        parts.append({"explained": explained.detach(), **gradients("revival", losses, member)})
    return stacked(parts)


class TestDeadLatents:
    @every_kind_of_few_coordinates
    def test_their_gradient_reaches_every_layer_of_the_encoder(self, kind: Kind) -> None:
        case = Case.random(kind)
        latents = torch.arange(case.members[0].d_sae)
        # Of three members one has many, one fewer than k, and one none.
        dead = torch.stack([latents % 3 > 0, latents == 4, latents < 0])
        received = revival(case, case.stack, dead)
        agree(received, dense_revival(case, dead))
        for name in ("W_hidden", "b_hidden") if kind.encoder == "two layers" else ():
            learns = received[f"revival by encoder.{name}"].flatten(1).abs().amax(1) > 0
            assert learns[[0, 2]].tolist() == [True, False]
        for name in ("W_enc", "b_enc"):
            learns = received[f"revival by encoder.{name}"].flatten(1).abs().amax(1) > 0
            assert learns.tolist() == [True, True, False]
        assert received["explained"].flatten(1).abs().amax(1).gt(0).tolist() == [True, True, False]

    @settings(max_examples=20)
    @given(share=st.floats(0, 1), **any_shapes)
    def test_any_shapes(self, kind: Kind, share: float, **shapes: int) -> None:
        case = Case.random(kind, **shapes)
        assume_no_ties(case)
        generator = torch.Generator().manual_seed(shapes["seed"])
        dead = torch.rand(shapes["members"], case.members[0].d_sae, generator=generator) < share
        agree(revival(case, case.stack, dead), dense_revival(case, dead))

    @pytest.mark.parametrize("encoder", ENCODERS)
    def test_those_that_are_negative_everywhere_learn_and_the_living_do_not(
        self, encoder: str
    ) -> None:
        case = Case.random(Kind("free", encoder, "topk"), members=1, batch=9, k=2)
        sae = case.members[0]
        dead = torch.arange(sae.d_sae)[None] < 2
        with torch.no_grad():
            sae.encoder.get_parameter("b_enc")[:2] = -50.0
        assert sae(case.batch.rows).pre[:, :2].max() < 0
        received = revival(case, case.stack, dead)
        agree(received, dense_revival(case, dead))
        for name, latents in (
            ("encoder.W_enc", -1),
            ("encoder.b_enc", -1),
            ("dictionary.W_dec", 1),
        ):
            grad = received[f"revival by {name}"].movedim(latents, 0).flatten(1).abs().amax(1)
            assert (grad > 0).tolist() == dead[0].tolist(), name

    def test_without_any_there_is_nothing_to_revive(self) -> None:
        case = Case.random(Kind("free", "linear", "topk"))
        assert Views(case.stack, case.batch, VIEWS).output.explained_by_dead is None

    def test_they_change_nothing_for_the_objective(self) -> None:
        case = Case.random(Kind("symmetric C4 of 5", "two layers", "batchtopk"))
        dead = torch.ones(3, case.members[0].d_sae, dtype=torch.bool)
        names = ("x", "x_hat")
        plain = Views(case.stack, case.batch, names)
        beside = Views(case.stack, case.batch, names, dead)
        assert torch.equal(plain.codes, beside.codes)
        assert torch.equal(plain.x_hat, beside.x_hat)

    def test_they_are_looked_for_where_a_target_is_compared_alone(self) -> None:
        case = Case.random(Kind("free", "linear", "topk"))
        dead = torch.ones(3, case.members[0].d_sae, dtype=torch.bool)
        for names, moved in ((MOVED, True), (("x", "x_hat", "x_hat_moved"), False)):
            views = Views(case.stack, case.batch, names, dead)
            assert (views.output.explained_by_dead is None) == moved
            assert (views.output_moved.explained_by_dead is None) != moved


HALF_KINDS = [
    Kind(dictionary, encoder, rule)
    for dictionary, encoder, rule in product(("free", "crosscoder"), ENCODERS, RULES)
    if not rule.startswith("one pose")
]


@pytest.mark.parametrize("kind", HALF_KINDS, ids=", ".join)
class TestSearchInBfloat16:
    """512 latents, which are told apart less surely than a few."""

    def case(self, kind: Kind) -> Case:
        return Case.random(kind, members=2, batch=12, atoms=128, k=16, dim=48)

    def test_values_are_those_of_full_precision_and_nearly_all_entries_are_found(
        self, kind: Kind
    ) -> None:
        case = self.case(kind)
        with noted_blocks() as blocks:
            codes = Views(case.stack, case.batch, VIEWS, half=True).codes
        assert {block.pre.dtype for block in blocks} == {torch.bfloat16}
        pre = [
            member(case.batch.rows[rows])
            for member, rows in zip(case.members, case.batch.canonical, strict=True)
        ]
        exact = torch.stack([output.pre for output in pre])
        whole = torch.stack([output.codes for output in pre])
        found = codes > 0
        torch.testing.assert_close(codes[found], exact[found], **EXACT)
        both = (found & (whole > 0)).sum()
        assert both >= 0.98 * (whole > 0).sum()
        assert both >= 0.98 * found.sum()

    def test_gradients_are_those_of_the_entries_that_were_found(self, kind: Kind) -> None:
        case = self.case(kind)
        views = Views(case.stack, case.batch, VIEWS, half=True)
        stack = views._sae
        losses = torch.stack(list(map(objectives.reconstruction, views.x, views.x_hat)))
        received = gradients("reconstruction", losses, stack)
        parts = []
        for index, member in enumerate(case.members):
            x = case.batch.rows[case.batch.canonical[index]]
            kept = torch.where(views.codes[index] > 0, member(x).pre, 0.0)
            losses = objectives.reconstruction(x, member.dictionary(kept))
            parts.append(gradients("reconstruction", losses, member))
        agree(received, stacked(parts))

    def test_dead_latents_are_found_and_learn_alike(self, kind: Kind) -> None:
        case = self.case(kind)
        latents = torch.arange(case.members[0].d_sae)
        # Fewer than k, so that all of them are found in any precision, and none.
        dead = torch.stack([latents % 40 == 0, latents < 0])
        views = Views(case.stack, case.batch, MOVED, dead, half=True)
        expected = dense_revival(case, dead)["explained"]
        assert views.output_moved.explained_by_dead is not None
        torch.testing.assert_close(views.output_moved.explained_by_dead, expected, **EXACT)


@pytest.mark.parametrize("dictionary", TIED)
def test_where_latents_are_compared_the_search_stays_in_full_precision(dictionary: str) -> None:
    case = Case.random(Kind(dictionary, "linear", "topk"))
    agree(of_objectives(case, case.stack, half=True), reference(case))
