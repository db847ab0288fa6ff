"""The contract of split models: an exact model passes, and wrong ones fail where they are wrong."""

import inspect
from collections.abc import Iterator

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.groups import PlaneGroup
from orbitlens.symmetry.split import GroupAutoencoder, Split, SplitModel
from orbitlens.testing import SplitContract

SIDE = 8
TESTS = [name for name, _ in inspect.getmembers(SplitContract) if name.startswith("test_")]


class Exact(SplitModel):
    """The group autoencoder, part by part."""

    def __init__(self) -> None:
        super().__init__()
        group = PlaneGroup("p4", SIDE)
        self.exact = GroupAutoencoder(group, channels=1, width=6, latent=4).double()

    def encode(self, x: Tensor) -> Split:
        return self.exact.encode(x)

    def decode(self, split: Split) -> Tensor:
        return self.exact.decode(split)

    def act(self, element: Tensor, split: Split) -> Split:
        return self.exact.act(element, split)

    def move(self, element: Tensor, x: Tensor) -> Tensor:
        return self.exact.move(element, x)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.exact.draw(n, generator)

    def product(self, g: Tensor, h: Tensor) -> Tensor:
        return self.exact.product(g, h)


class Linear(Exact):
    """An autoencoder that knows no symmetry, with elements that are all the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = (nn.Linear(a, b).double() for a, b in ((64, 4), (4, 64)))

    def encode(self, x: Tensor) -> Split:
        return Split(self.down(x.flatten(1)), torch.zeros(len(x), 3, dtype=torch.int64))

    def decode(self, split: Split) -> Tensor:
        return self.up(split.invariant).unflatten(1, (1, SIDE, SIDE))

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.zeros(n, 3, dtype=torch.int64)


class MovesNothing(Linear):
    """The same, with elements of which none moves an input or a code."""

    def act(self, element: Tensor, split: Split) -> Split:
        return split

    def move(self, element: Tensor, x: Tensor) -> Tensor:
        return x

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.exact.draw(n, generator)


class MixesRows(Exact):
    """The invariant part is the mean over the batch."""

    def encode(self, x: Tensor) -> Split:
        invariant, pose = super().encode(x)
        return Split(invariant.mean(0, keepdim=True).expand_as(invariant), pose)


class LooksAtOthers(Exact):
    """The invariant part depends on the batch."""

    def encode(self, x: Tensor) -> Split:
        invariant, pose = super().encode(x)
        return Split(invariant - invariant.mean(0), pose)


class KeepsItsPose(Exact):
    """The pose is constant, and so is what codes decode to."""

    def __init__(self) -> None:
        super().__init__()
        self.grey = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def encode(self, x: Tensor) -> Split:
        return Split(super().encode(x).invariant, torch.zeros(len(x), 1))

    def act(self, element: Tensor, split: Split) -> Split:
        return split

    def decode(self, split: Split) -> Tensor:
        return self.grey.expand(len(split.pose), 1, SIDE, SIDE)


class Grey(Exact):
    """The codes are right; what they decode to is constant."""

    def decode(self, split: Split) -> Tensor:
        return super().decode(split).mean((1, 2, 3), keepdim=True).expand(-1, 1, SIDE, SIDE)


class MultipliesBackwards(Exact):
    """hg in place of gh."""

    def product(self, g: Tensor, h: Tensor) -> Tensor:
        return super().product(h, g)


class NoInvariant(Exact):
    """All inputs have one invariant part."""

    def encode(self, x: Tensor) -> Split:
        invariant, pose = super().encode(x)
        return Split(0 * invariant, pose)


def failed(model: type[Exact], contract: type[SplitContract] = SplitContract) -> set[str]:
    class Contract(contract):  # type: ignore[misc, valid-type]
        def build(self) -> SplitModel:
            return model()

        def inputs(self) -> Float[Tensor, "n channels side side"]:
            generator = torch.Generator().manual_seed(0)
            return torch.randn(6, 1, SIDE, SIDE, generator=generator, dtype=torch.float64)

        def elements(self, model: SplitModel, n: int) -> Iterator[Tensor]:
            for batch, _ in zip(super().elements(model, n), range(2), strict=False):
                yield batch

    found = set()
    for name in TESTS:
        try:
            getattr(Contract(), name)()
        except AssertionError:
            found.add(name.removeprefix("test_"))
    return found


def test_an_exact_model_passes() -> None:
    assert failed(Exact) == set()


MOVES = "what_moves_an_input_moves_its_pose_and_its_reconstruction"
UNLIKE = "unlike_inputs_have_unlike_codes_and_reconstructions"
ALONE = "an_input_alone_has_the_code_that_it_has_in_a_batch"


@pytest.mark.parametrize(
    ("model", "tests"),
    [
        (Linear, {MOVES, "elements_are_drawn_by_the_generator_and_differ"}),
        (MovesNothing, {MOVES}),
        (MixesRows, {UNLIKE, ALONE}),
        (LooksAtOthers, {ALONE}),
        (KeepsItsPose, {MOVES, UNLIKE}),
        (Grey, {MOVES}),
        (MultipliesBackwards, {"a_product_moves_as_its_factors_one_after_the_other"}),
        (NoInvariant, {UNLIKE, MOVES}),
    ],
)
def test_a_wrong_model_fails(model: type[Exact], tests: set[str]) -> None:
    assert failed(model) == tests


def test_no_elements_are_no_pass() -> None:
    class NoElements(SplitContract):
        def elements(self, model: SplitModel, n: int) -> Iterator[Tensor]:
            return iter(())

    assert failed(Exact, NoElements) >= {MOVES, UNLIKE, ALONE}
