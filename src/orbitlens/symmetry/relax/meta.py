"""Learn from many tasks which weights to share: an outer loop over U, an inner one over v.

Source: Zhou, Knowles & Finn 2021, arXiv 2007.02933, *Meta-Learning Symmetries by
Reparameterization*, algorithm 1. The loop is that of MAML (Finn, Abbeel & Levine 2017, arXiv
1703.03400) with learned inner rates (Li et al. 2017, arXiv 1707.09835), where the inner loop
leaves the shared parameters alone.
"""

import copy
from collections.abc import Callable, Mapping
from typing import final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import mse_loss

from orbitlens.checks import as_count, as_number, as_seed, as_tensor, check_kind, usual_torch
from orbitlens.data import Episodes, TaskFamily
from orbitlens.errors import OrbitLensError, one_line, out_of_range
from orbitlens.symmetry.relax._draws import check_family, drawn
from orbitlens.symmetry.relax.shared_weights import shared_names

_Loss = Callable[[Tensor, Tensor], Tensor]
_AT_ONCE = 100  # tasks that are tested at once


@final
class MetaLearner(nn.Module):
    """A network, and the inner loop that adapts it to a task from few examples.

        v <- v - alpha * grad_v loss(U, v; support),   inner_steps times

    U are the parameters that its layers name as shared, see `shared_names`; v are all others that
    require a gradient, biases too; alpha is one learned rate for each tensor of v, kept between 0
    and `largest_rate`. A network without shared parameters gives MAML.

    Source: Zhou et al. 2021, arXiv 2007.02933, algorithm 1.

    Args:
        network: The network; its parameters are the U and the first v.
        inner_steps: Steps of the inner loop, default 3; the source's code has one, with which even
            plain convolutions were not learned in 1,000 outer steps.
        inner_rate: First value of each alpha. The mean over many outputs makes gradients small;
            try several values, for every network that is compared.
        largest_rate: Bound of alpha.
        loss: A function of prediction and target that returns one number; default the mean squared
            error over all outputs.

    Raises:
        OrbitLensError: If nothing is left to adapt, or a setting is out of range.

    Example:
        >>> from orbitlens.symmetry.relax.shared_weights import SharedLinear
        >>> learner = MetaLearner(SharedLinear(6, 4, k=3))
        >>> learner.adapted
        ('filter',)
        >>> x, y = torch.randn(1, 6), torch.randn(1, 4)
        >>> network = learner.adapt(x, y)
        >>> torch.equal(network.symmetry, learner.network.symmetry)
        True
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        inner_steps: int = 3,
        inner_rate: float | int = 0.1,
        largest_rate: float | int = 100.0,
        loss: _Loss = mse_loss,
    ) -> None:
        super().__init__()
        check_kind("network", network, nn.Module, "give a network of torch")
        self.network, self.loss = network, loss
        self.inner_steps = as_count("inner_steps", inner_steps)
        self.largest_rate = float(as_number("largest_rate", largest_rate))
        self.inner_rate = rate = float(as_number("inner_rate", inner_rate))
        if not 0 < rate <= self.largest_rate:
            raise out_of_range("inner_rate", f"above 0, at most {self.largest_rate:g}", rate)
        shared = set(shared_names(network))
        free = {n: p for n, p in network.named_parameters() if p.requires_grad and n not in shared}
        self.adapted = tuple(free)
        if not free:
            raise OrbitLensError(
                "`network`",
                expected="parameters that a task can adapt",
                received=f"{len(shared)} shared ones, and no other that requires a gradient",
                remedy="unfreeze a layer, or add one whose parameters are not all shared",
            )
        first = next(iter(free.values()))
        full = torch.full((len(free),), float(rate), dtype=first.dtype, device=first.device)
        self.rates = nn.Parameter(full)

    @property
    def inner_rates(self) -> dict[str, float]:
        """The learned rate of each adapted tensor, by its name."""
        return dict(zip(self.adapted, self.rates.tolist(), strict=True))

    def forward(
        self,
        support_x: Shaped[Tensor, "tasks support *axes"],
        support_y: Shaped[Tensor, "tasks support *out"],
        query_x: Shaped[Tensor, "tasks query *axes"],
    ) -> Shaped[Tensor, "tasks query *out"]:
        """Return the predictions for the queries of each task, after adapting to its support."""

        def predict(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
            weights = dict(self.network.named_parameters())
            return self._run({**weights, **self._inner(weights, self.rates, x, y)}, query)

        found: Tensor = vmap(predict)(support_x, support_y, query_x)
        return found

    def query_losses(self, episodes: Episodes) -> Float[Tensor, " tasks"]:
        """Return the loss on the queries of each task, after adapting to its support.

        Gradients flow through the inner steps, to U, v and alpha.

        Args:
            episodes: Support and query of each task.
        """
        weights = dict(self.network.named_parameters())

        def one(x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
            own = self._inner(weights, self.rates, x, y)
            return self.loss(self._run({**weights, **own}, query_x), query_y)

        losses: Tensor = vmap(one)(*(each.to(self.rates) for each in episodes.parts))
        return losses

    @usual_torch()
    def adapt(
        self, x: Shaped[Tensor, "support *axes"], y: Shaped[Tensor, "support *out"]
    ) -> nn.Module:
        """Return a copy of the network that has adapted to a task; U is as it was.

        Args:
            x: Inputs of the task, shape [support, ...].
            y: Their targets, shape [support, ...].

        Raises:
            OrbitLensError: If the examples do not fit the network, or if the inner steps end in
                NaN.
        """
        tensors = [as_tensor(name, each, dtype=None) for name, each in (("x", x), ("y", y))]
        x, y = (each.to(self.rates) for each in tensors)
        self.check_fits(Episodes(x[None], y[None], x[None], y[None]))
        network = copy.deepcopy(self.network)
        weights = {name: each.detach() for name, each in self.network.named_parameters()}
        with torch.no_grad():
            own = self._inner(weights, self.rates.detach(), x, y)
            for name, value in own.items():
                if not bool(value.isfinite().all()):
                    raise OrbitLensError(
                        f"adapted {name!r}",
                        expected="finite numbers after the inner steps",
                        received="NaN or infinity",
                        remedy=f"lower the inner rates {self.inner_rates}, or scale the data",
                    )
                network.get_parameter(name).copy_(value)
        return network

    @usual_torch()
    def losses_on(
        self,
        tasks: TaskFamily,
        n_tasks: int = 300,
        *,
        support: int = 1,
        query: int = 19,
        seed: int = 0,
    ) -> Float[Tensor, " tasks"]:
        """Return the loss on the queries of tasks, after adapting to each of them.

        Args:
            tasks: The family, of tasks that training has not seen.
            n_tasks: Number of tasks, default 300.
            support: Examples of each to adapt on, default 1.
            query: Examples of each to be tested on, default 19.
            seed: Seed of the draws.

        Raises:
            OrbitLensError: If the family is none, has fewer tasks or examples, or does not fit the
                network.
        """
        left, generator = as_count("n_tasks", n_tasks), torch.Generator().manual_seed(as_seed(seed))
        check_family(tasks)
        counts = {"support": as_count("support", support), "query": as_count("query", query)}
        episodes = drawn(tasks, left, **counts, generator=generator)
        episodes.check()
        self.check_fits(episodes)
        parts = zip(*(each.split(_AT_ONCE) for each in episodes.parts), strict=True)
        with torch.no_grad():
            return torch.cat([self.query_losses(Episodes(*each)) for each in parts])

    def check_fits(self, episodes: Episodes) -> None:
        """Raise if the network cannot take the examples of a task, or its loss is no number.

        Args:
            episodes: Support and query of some tasks; the first is tried.
        """
        first = Episodes(*(each[:1] for each in episodes.parts))
        try:
            with torch.no_grad():
                found = self.network(first.query_x[0].to(self.rates))
                received = f"predictions {list(found.shape)} for targets"
                received += f" {list(first.query_y.shape[1:])}"
                # A loss of one's own may compare scores with classes; as many numbers in another
                # shape, [n, 1] and [n], would be broadcast.
                wanted = first.query_y.shape[1:]
                own = self.loss is not mse_loss and found.numel() != wanted.numel()
                fits = found.shape == wanted or own
                if fits:
                    losses = self.query_losses(first)
                    received = f"a loss of shape {list(losses.shape[1:])} for each task"
                    fits = losses.ndim == 1
        except (RuntimeError, ValueError, TypeError) as error:
            fits, received = False, one_line(error)
        if not fits:
            x, y = (list(each.shape[2:]) for each in (first.query_x, first.query_y))
            raise OrbitLensError(
                f"a network {type(self.network).__name__} on inputs {x} with targets {y}",
                expected="a prediction like the targets, one loss for each task, and no random "
                "numbers or running means",
                received=received,
                remedy="build the network for these shapes, and put it in evaluation mode if it "
                "has dropout or batch norms",
            )

    def _inner(
        self, weights: Mapping[str, Tensor], rates: Tensor, x: Tensor, y: Tensor
    ) -> dict[str, Tensor]:
        """Return v after the inner steps on the support of one task."""
        own = {name: weights[name] for name in self.adapted}

        def support_loss(own: dict[str, Tensor]) -> Tensor:
            return self.loss(self._run({**weights, **own}, x), y)

        for _ in range(self.inner_steps):
            slopes = grad(support_loss)(own)
            own = {
                name: value - rate * slopes[name]
                for (name, value), rate in zip(own.items(), rates.unbind(), strict=True)
            }
        return own

    def _run(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        output: Tensor = functional_call(self.network, dict(weights), (x,))
        return output
