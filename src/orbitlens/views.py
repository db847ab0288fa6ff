"""What an objective may look at in one step of training."""

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import final

import torch

from orbitlens.errors import OrbitLensError
from orbitlens.sae import SAE, CrosscoderDictionary, SAEOutput, orbits_of
from orbitlens.typing import Float, Int, PerSample, StackedActivations, StackedCodes, Tensor

Objective = Callable[..., PerSample]
VIEWS = (
    *("x", "x_moved", "codes", "codes_moved", "x_hat", "x_hat_moved", "orbit", "x_hat_orbit"),
    *("pooled", "pooled_moved"),
)
_RECONSTRUCTIONS = {"x_hat", "x_hat_moved", "x_hat_orbit"}


def views_of(objective: Objective) -> tuple[str, ...]:
    """Read from its signature which views an objective needs.

    Args:
        objective: A function of views; its keyword-only arguments are weights.

    Returns:
        Their names, in its order.

    Raises:
        OrbitLensError: If it names something else, or no reconstruction.

    Example:
        >>> from orbitlens import objectives
        >>> views_of(objectives.canonical)
        ('x', 'x_hat_moved')
    """
    parameters = inspect.signature(objective).parameters.values()
    names = tuple(p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY)
    if not set(names) <= set(VIEWS) or not _RECONSTRUCTIONS & set(names):
        raise OrbitLensError(
            "`objective`",
            expected=f"a function of some of {', '.join(VIEWS)}, "
            "with x_hat, x_hat_moved or x_hat_orbit",
            received=f"({', '.join(names)})",
            remedy="name its arguments after the views and make weights keyword-only",
        )
    return names


def reconstructs_moved(names: Sequence[str]) -> bool:
    """Say whether an objective's target is the moved sample: it names no canonical one.

    Example:
        >>> reconstructs_moved(("x_moved", "x_hat_moved")), reconstructs_moved(("x", "x_hat"))
        (True, False)
    """
    return not {"x", "orbit"} & set(names)


def blocks_of(sae: SAE) -> CrosscoderDictionary:
    """Return the dictionary of an SAE that has one block of directions for each group element.

    Args:
        sae: The SAE, or a stack.

    Raises:
        OrbitLensError: If its dictionary is another.

    Example:
        >>> from orbitlens.sae import crosscoder_sae
        >>> blocks_of(crosscoder_sae(4, 8, 2, group_order=6)).group_order
        6
    """
    if not isinstance(sae.dictionary, CrosscoderDictionary):
        raise OrbitLensError(
            "`objective`",
            expected="x_hat_orbit only of an SAE with one dictionary block for each element",
            received=type(sae.dictionary).__name__,
            remedy="build the SAE with `crosscoder_sae`",
        )
    return sae.dictionary


@final
class Views:
    """The views of one step of a stack of SAEs, each computed when it is first asked for.

    Args:
        sae: The stack, see `orbitlens.stack`.
        rows: Activations, an orbit in successive rows, shape [rows, dim].
        canonical: The row of each canonical sample, shape [member, batch].
        moved: The row of each moved sample, shape [member, batch].
        order: Rows of an orbit, |G|.
        coordinates: The activations once more, in the coordinates that the SAEs take, shape
            [rows, dim]; None where these are the activations themselves.
        shift: By how much the rows of each member come later there, shape [member, 1].
    """

    def __init__(
        self,
        sae: SAE,
        rows: Float[Tensor, "rows dim"],
        canonical: Int[Tensor, "member batch"],
        moved: Int[Tensor, "member batch"],
        order: int,
        coordinates: Float[Tensor, "coordinate_rows dim"] | None = None,
        shift: Int[Tensor, "member 1"] | None = None,
    ) -> None:
        self._sae, self._rows, self._order = sae, rows, order
        self._canonical, self._moved = canonical, moved
        self._coordinates, self._shift = coordinates, shift

    @cached_property
    def x(self) -> StackedActivations:
        """psi(x), shape [member, batch, dim]."""
        return _taken(self._rows, self._canonical)

    @cached_property
    def x_moved(self) -> StackedActivations:
        """psi(gx), shape [member, batch, dim]."""
        return _taken(self._rows, self._moved)

    @cached_property
    def output(self) -> SAEOutput:
        """Everything that the SAEs make of psi(x)."""
        return self._output("x", self._canonical)

    @cached_property
    def output_moved(self) -> SAEOutput:
        """Everything that the SAEs make of psi(gx)."""
        return self._output("x_moved", self._moved)

    def _output(self, view: str, rows: Int[Tensor, "member batch"]) -> SAEOutput:
        if self._coordinates is None or self._shift is None:
            output: SAEOutput = self._sae(getattr(self, view))
            return output
        return self._sae.of_coordinates(_taken(self._coordinates, rows + self._shift))

    @property
    def codes(self) -> StackedCodes:
        """E(psi(x)), shape [member, batch, latents]."""
        return self.output.codes

    @property
    def codes_moved(self) -> StackedCodes:
        """E(psi(gx)), shape [member, batch, latents]."""
        return self.output_moved.codes

    @property
    def x_hat(self) -> StackedActivations:
        """D(E(psi(x))), shape [member, batch, dim]."""
        return self.output.x_hat

    @property
    def x_hat_moved(self) -> StackedActivations:
        """D(E(psi(gx))), shape [member, batch, dim]."""
        return self.output_moved.x_hat

    @property
    def pooled(self) -> StackedCodes:
        """Codes of psi(x) summed over the group, shape [member, batch, atoms]."""
        return orbits_of(self._sae).pooled(self.codes)

    @property
    def pooled_moved(self) -> StackedCodes:
        """Codes of psi(gx) summed over the group, shape [member, batch, atoms]."""
        return orbits_of(self._sae).pooled(self.codes_moved)

    @property
    def orbit(self) -> Float[Tensor, "member batch group dim"]:
        """psi(gx) for every g, shape [member, batch, |G|, dim]."""
        elements = torch.arange(self._order, device=self._rows.device)
        return _taken(self._rows, self._canonical.unsqueeze(-1) + elements)

    @property
    def x_hat_orbit(self) -> Float[Tensor, "member batch group dim"]:
        """The orbit that the codes of psi(x) stand for, shape [member, batch, |G|, dim]."""
        return blocks_of(self._sae).orbit(self.codes)

    def primary(self, names: Sequence[str]) -> SAEOutput:
        """The output that is compared with a target: of the canonical sample if it is named."""
        canonical = {"x_hat", "x_hat_orbit"} & set(names)
        return self.output if canonical else self.output_moved

    @property
    def outputs(self) -> list[SAEOutput]:
        """The outputs computed so far."""
        return [vars(self)[name] for name in ("output", "output_moved") if name in vars(self)]


def _taken(
    rows: Float[Tensor, "rows dim"], index: Int[Tensor, "*shape"]
) -> Float[Tensor, "*shape dim"]:
    """Return rows[index], several times faster than by indexing."""
    return rows.index_select(0, index.flatten()).unflatten(0, index.shape)
