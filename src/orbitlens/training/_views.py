"""The views of a training step that an objective may use."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch

from orbitlens.errors import OrbitLensError
from orbitlens.sae import SAE
from orbitlens.training._encode import codes_of, selected_entries
from orbitlens.typing import Bool, Float, Int, PerSample, StackedActivations, StackedCodes, Tensor

Objective = Callable[..., PerSample]
VIEWS = (
    *("x", "x_moved", "codes", "codes_moved", "x_hat", "x_hat_moved", "orbit", "x_hat_orbit"),
    *("pooled", "pooled_moved"),
)
_RECONSTRUCTIONS = {"x_hat", "x_hat_moved", "x_hat_orbit"}


def views_of(objective: Objective) -> tuple[str, ...]:
    """Return the views that an objective's signature names; keyword-only arguments are weights."""
    try:
        parameters = list(inspect.signature(objective).parameters.values())
    except (TypeError, ValueError):  # of a function that was not written in Python
        parameters = []
    parameters = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    names = tuple(p.name for p in parameters)
    named = all(p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for p in parameters)
    if not named or not set(names) <= set(VIEWS) or not _RECONSTRUCTIONS & set(names):
        raise OrbitLensError(
            "`objective`",
            expected=f"a function of some of {', '.join(VIEWS)}, "
            "with x_hat, x_hat_moved or x_hat_orbit",
            received=f"({', '.join(names)})" + ("" if named else " by position"),
            remedy="name its arguments after the views and make weights keyword-only",
        )
    return names


def reconstructs_moved(names: Sequence[str]) -> bool:
    """Say whether an objective's target is the moved sample: it names no canonical one."""
    return not {"x", "orbit"} & set(names)


@dataclass(frozen=True, eq=False)
class Batch:
    """The activations of one step, and the rows of each member's canonical and moved samples.

    An orbit has `order` successive rows. `coordinates` are the same activations in the coordinates
    of the encoders, with a shift of each member's rows; None where the encoders take activations.
    """

    rows: Float[Tensor, "rows dim"]
    canonical: Int[Tensor, "member batch"]
    moved: Int[Tensor, "member batch"]
    order: int
    coordinates: Float[Tensor, "coordinate_rows dim"] | None = None
    shift: Int[Tensor, "member 1"] | None = None


@final
class StepOutput:
    """The codes of a batch and their reconstructions; see `sparse_codes` for the arguments."""

    def __init__(
        self,
        sae: SAE,
        y: StackedActivations,
        dead: Bool[Tensor, "member latents"] | None = None,
        *,
        half: bool = False,
    ) -> None:
        self._sae = sae
        self.pre, self._dead = selected_entries(sae, y, dead=dead, half=half)
        self.sparse = codes_of(sae, self.pre)

    @cached_property
    def codes(self) -> StackedCodes:
        """All codes, shape [member, batch, latents]."""
        return self.sparse.dense()

    @cached_property
    def x_hat(self) -> StackedActivations:
        """Reconstructions, shape [member, batch, dim]."""
        return self._sums[0] + self._sae.b_dec.unsqueeze(-2)

    @property
    def explained_by_dead(self) -> StackedActivations | None:
        """Sums of the largest dead latents, shape [member, batch, dim]; None without any."""
        return None if self._dead is None else self._sums[1]

    @cached_property
    def _sums(self) -> list[StackedActivations]:
        """The sums of the codes and, if there are dead latents, of the largest of these."""
        codes = [self.sparse] if self._dead is None else [self.sparse, self._dead]
        return self._sae.dictionary.sums(*codes)


@final
class Views:
    """The views of one step of a stack of SAEs, each computed on first use.

    `names` are the views of the objective. `dead` latents are searched in the primary output alone;
    see `sparse_codes`.
    """

    def __init__(
        self,
        sae: SAE,
        batch: Batch,
        names: Sequence[str],
        dead: Bool[Tensor, "member latents"] | None = None,
        *,
        half: bool = False,
    ) -> None:
        self._sae, self._batch, self._dead, self._half = sae, batch, dead, half
        self._primary_moves = not {"x_hat", "x_hat_orbit"} & set(names)

    @cached_property
    def x(self) -> StackedActivations:
        """psi(x), shape [member, batch, dim]."""
        return _rows_at(self._batch.rows, self._batch.canonical)

    @cached_property
    def x_moved(self) -> StackedActivations:
        """psi(gx), shape [member, batch, dim]."""
        return _rows_at(self._batch.rows, self._batch.moved)

    @cached_property
    def output(self) -> StepOutput:
        """Codes and reconstructions of psi(x)."""
        return self._output("x", self._batch.canonical, primary=not self._primary_moves)

    @cached_property
    def output_moved(self) -> StepOutput:
        """Codes and reconstructions of psi(gx)."""
        return self._output("x_moved", self._batch.moved, primary=self._primary_moves)

    def _output(self, view: str, rows: Int[Tensor, "member batch"], *, primary: bool) -> StepOutput:
        coordinates, shift = self._batch.coordinates, self._batch.shift
        if coordinates is None or shift is None:
            y = self._sae.dictionary.coordinates(getattr(self, view))
        else:
            y = _rows_at(coordinates, rows + shift)
        return StepOutput(self._sae, y, self._dead if primary else None, half=self._half)

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
        return self._sae.dictionary.pooled_sparse(self.output.sparse)

    @property
    def pooled_moved(self) -> StackedCodes:
        """Codes of psi(gx) summed over the group, shape [member, batch, atoms]."""
        return self._sae.dictionary.pooled_sparse(self.output_moved.sparse)

    @property
    def orbit(self) -> Float[Tensor, "member batch group dim"]:
        """psi(gx) for every g, shape [member, batch, |G|, dim]."""
        elements = torch.arange(self._batch.order, device=self._batch.rows.device)
        return _rows_at(self._batch.rows, self._batch.canonical.unsqueeze(-1) + elements)

    @property
    def x_hat_orbit(self) -> Float[Tensor, "member batch group dim"]:
        """The orbit reconstructed from the codes of psi(x), shape [member, batch, |G|, dim]."""
        return self._sae.dictionary.orbit_of_sparse(self.output.sparse)

    @property
    def primary(self) -> StepOutput:
        """The output that is compared with a target: of the canonical sample if a view names it."""
        return self.output_moved if self._primary_moves else self.output

    @property
    def outputs(self) -> list[StepOutput]:
        """The outputs computed so far."""
        return [vars(self)[name] for name in ("output", "output_moved") if name in vars(self)]


def _rows_at(
    rows: Float[Tensor, "rows dim"], index: Int[Tensor, "*shape"]
) -> Float[Tensor, "*shape dim"]:
    """Return rows[index], several times faster than by indexing."""
    return rows.index_select(0, index.flatten()).unflatten(0, index.shape)
