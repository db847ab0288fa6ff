"""The contract of objectives."""

import inspect
from abc import ABC, abstractmethod

import torch

from orbitlens.testing._sizes import BATCH, DIM, LATENTS, ORDER, random
from orbitlens.training import VIEWS, Objective
from orbitlens.typing import Tensor


class ObjectiveContract(ABC):
    """The tests that every objective passes: one value per sample, independent of the others."""

    @abstractmethod
    def build(self) -> Objective:
        """Return the objective under test."""

    def views(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Return random views for the arguments that the objective names."""
        kinds = inspect.signature(self.build()).parameters.values()
        names = [p.name for p in kinds if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        return {
            name: random(*_view_shape(name), seed=VIEWS.index(name)).to(dtype) for name in names
        }

    def test_gives_one_non_negative_value_per_sample(self) -> None:
        values = self.build()(**self.views())
        assert values.shape == (BATCH,)
        assert (values >= 0).all()

    def test_each_value_depends_on_its_own_sample_alone(self) -> None:
        values = self.build()(**self.views())
        order = torch.randperm(BATCH)
        torch.testing.assert_close(
            self.build()(**{name: view[order] for name, view in self.views().items()}),
            values[order],
        )

    def test_repeating_the_batch_leaves_the_mean(self) -> None:
        repeated = {name: torch.cat([view] * 10) for name, view in self.views().items()}
        torch.testing.assert_close(
            self.build()(**repeated).mean(), self.build()(**self.views()).mean()
        )

    def test_members_of_a_stack_get_what_they_get_alone(self) -> None:
        objective, views = self.build(), self.views()
        other = {name: view.roll(1, dims=-1) for name, view in views.items()}
        pairs = [torch.stack([view, other[name]]) for name, view in views.items()]
        together = torch.vmap(lambda *own: objective(**dict(zip(views, own, strict=True))))(*pairs)
        alone = torch.stack([objective(**views), objective(**other)])
        torch.testing.assert_close(together, alone)

    def test_is_zero_where_all_views_agree(self) -> None:
        same = {name: torch.ones_like(view) for name, view in self.views().items()}
        assert self.build()(**same).abs().max() == 0

    def test_gradient_agrees_with_finite_differences(self) -> None:
        views = {n: v.requires_grad_() for n, v in self.views(torch.float64).items()}
        assert torch.autograd.gradcheck(
            lambda *values: self.build()(**dict(zip(views, values, strict=True))),
            tuple(views.values()),
        )


def _view_shape(name: str) -> tuple[int, ...]:
    if name.startswith("codes"):
        return BATCH, LATENTS
    if name.startswith("pooled"):
        return BATCH, LATENTS // ORDER
    return (BATCH, ORDER, DIM) if name.endswith("orbit") else (BATCH, DIM)
