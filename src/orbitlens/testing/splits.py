"""The contract of models with a split code."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch

from orbitlens.symmetry.split import Split, SplitModel
from orbitlens.typing import Float, Tensor


class SplitContract(ABC):
    """The tests that every model with a split code passes, untrained and after some training."""

    tolerance = 1e-12
    """Largest error, absolute and relative; that of an exact model in float64."""

    @abstractmethod
    def build(self) -> SplitModel:
        """Build the model under test, untrained; an exact one in float64."""

    @abstractmethod
    def inputs(self) -> Float[Tensor, "n *input"]:
        """Return unlike inputs, two or more; none is its own image under another element."""

    def elements(self, model: SplitModel, n: int) -> Iterator[Tensor]:
        """Yield elements for n inputs; ten batches that are drawn, unless overridden."""
        for seed in range(10):
            yield model.draw(n, torch.Generator().manual_seed(seed))

    def models(self) -> Iterator[tuple[SplitModel, Tensor, list[Tensor]]]:
        """Yield the model before and after some training, with inputs and batches of elements."""
        model, x = self.build(), self.inputs()
        assert len(x) > 1, "two inputs at least"
        optimiser = torch.optim.Adam(model.parameters(), lr=0.001)
        for steps in (0, 5):
            for _ in range(steps):
                optimiser.zero_grad()
                (model(x) - x).square().mean().backward()
                optimiser.step()
            batches = list(self.elements(model, len(x)))
            assert batches, "one batch of elements at least"
            yield model, x, batches

    def check_close(self, found: Tensor, expected: Tensor) -> None:
        """Check that two tensors agree within the tolerance."""
        torch.testing.assert_close(found, expected, rtol=self.tolerance, atol=self.tolerance)

    def check_same(self, found: Split, expected: Split) -> None:
        """Check that two codes agree within the tolerance."""
        self.check_close(found.invariant, expected.invariant)
        self.check_close(found.pose, expected.pose)

    def test_the_code_of_a_moved_input_is_the_code_moved(self) -> None:
        for model, x, batches in self.models():
            code = model.encode(x)
            for g in batches:
                found, expected = model.encode(model.move(g, x)), model.act(g, code)
                self.check_same(found, expected)
                self.check_close(expected.invariant, code.invariant)

    def test_a_moved_code_decodes_to_the_moved_reconstruction(self) -> None:
        for model, x, batches in self.models():
            code = model.encode(x)
            expected = model.decode(code)
            self.check_close(model(x), expected)
            for g in batches:
                self.check_close(model.decode(model.act(g, code)), model.move(g, expected))

    def test_a_product_moves_as_its_factors_one_after_the_other(self) -> None:
        for model, x, batches in self.models():
            code = model.encode(x)
            for g in batches:
                h = g.roll(1, 0)
                both = model.product(g, h)
                self.check_close(model.move(both, x), model.move(g, model.move(h, x)))
                self.check_same(model.act(both, code), model.act(g, model.act(h, code)))

    def test_elements_are_drawn_by_the_generator_and_differ(self) -> None:
        model = self.build()
        drawn = (model.draw(64, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
        first, again, other = drawn
        assert len(first) == 64
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert len(first.unique(dim=0)) > 1

    def test_what_moves_an_input_moves_its_pose_and_its_reconstruction(self) -> None:
        for model, x, batches in self.models():
            code = model.encode(x)
            output, moves = model.decode(code), False
            for g in batches:
                moved, code_moved = _rows_differ(model.move(g, x), x), model.act(g, code)
                assert _rows_differ(code_moved.pose, code.pose)[moved].all()
                assert _rows_differ(model.move(g, output), output)[moved].all()
                moves = moves or bool(moved.any())
            assert moves, "an element that moves an input, at least"

    def test_unlike_inputs_have_unlike_codes_and_reconstructions(self) -> None:
        for model, x, _ in self.models():
            code = model.encode(x)
            assert len(code.invariant.unique(dim=0)) > 1
            in_one_pose = Split(code.invariant, code.pose[:1].expand_as(code.pose))
            assert len(model.decode(in_one_pose).unique(dim=0)) > 1

    def test_an_input_alone_has_the_code_that_it_has_in_a_batch(self) -> None:
        for model, x, _ in self.models():
            code = model.encode(x)
            output = model.decode(code)
            for n in range(min(len(x), 4)):
                alone = model.encode(x[n : n + 1])
                self.check_same(alone, Split(*(part[n : n + 1] for part in code)))
                self.check_close(model.decode(alone), output[n : n + 1])


def _rows_differ(a: Tensor, b: Tensor) -> Tensor:
    return (a != b).flatten(1).any(1)
