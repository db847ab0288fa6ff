"""Ablation: the change of later features without an earlier one, to check an attribution."""

from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from jaxtyping import Shaped
from torch import nn

from orbitlens.actions import Action
from orbitlens.attribution._passage import Passage
from orbitlens.attribution._relative import Relative
from orbitlens.attribution._site import Reader, Site
from orbitlens.checks import as_samples
from orbitlens.data import Indexed, as_rows
from orbitlens.errors import OrbitLensError
from orbitlens.models.base import Prepare
from orbitlens.typing import Float, Numbers, Progress, Tensor


@final
@dataclass(frozen=True, eq=False)
class AblationEffects:
    """The fall of later features when earlier ones are set to zero.

    Args:
        atoms: The ablated atoms; each orientation is ablated by itself.
        pre: Fall of the pre-activation of (gh, c') where it was active, summed over positions, when
            (g, c) is set to zero at all positions. An attribution predicts this number. Averaged
            over inputs, their orientations and g, shape [|G|, atoms, to].
        codes: The same for the code of (gh, c') at all positions: it may also win or lose its place
            among the k largest.
        explained: Share of the variance of the full table of `pre` that depends only on h.
    """

    atoms: tuple[int, ...]
    pre: Relative
    codes: Relative
    explained: float


def ablation_effects(
    model: nn.Module,
    earlier: Site,
    later: Site,
    *,
    inputs: Shaped[Tensor, "n *axes"] | Indexed,
    action: Action,
    atoms: Numbers | None = None,
    batch_size: int = 256,
    prepare: Prepare | None = None,
    progress: Progress | None = None,
) -> AblationEffects:
    """Set each latent of an earlier layer to zero in turn, and measure the later layer.

        effect((g, c) -> v) = mean over inputs x and elements k of  A_v(z) - A_v(z with z[g, c] = 0)
        pre[h, c, c'] = mean_g effect((g, c) -> (gh, c'))

    with A_v as in `attribution_graph`: its sum runs over the positions where v is active before
    the ablation. The network runs once for each moved input and each latent active in it.

    Args:
        model: Any network; it runs in evaluation mode, and its mode is restored.
        earlier: The layer whose latents are set to zero, with its orbit SAE.
        later: A layer after it, with its orbit SAE.
        inputs: The inputs x, [n, ...]; all their orientations are used.
        action: How the group of both SAEs moves them.
        atoms: Earlier atoms to ablate, in every orientation, by index or by a boolean mask; None
            (default) for all.
        batch_size: Moved inputs per forward pass.
        prepare: Makes moved inputs ready for the network; unchanged by default.
        progress: Called with (inputs done, n) as the work goes on.

    Returns:
        The effects on pre-activations and on codes.

    Raises:
        OrbitLensError: As `attribution_graph`, and if there is no such atom.
    """
    inputs = as_rows(inputs)
    passage = Passage.between(model, earlier, later, prepare)
    chosen = _chosen(atoms, earlier.dictionary.n_atoms)
    first, last = passage.readers(inputs, action, batch_size)
    pre, codes = passage.empty_table(), passage.empty_table()
    allowed = torch.zeros(action.group.order, earlier.dictionary.n_atoms, dtype=torch.bool)
    allowed[:, chosen] = True
    with passage.evaluating():
        for done, ready in passage.batches(inputs, action, batch_size):
            _accumulate(passage, first, last, ready, allowed.flatten(), batch_size, pre, codes)
            if progress is not None:
                progress(done, len(inputs))
    rows = len(inputs) * action.group.order
    of_pre, of_codes = passage.reduced(pre / rows), passage.reduced(codes / rows)
    return AblationEffects(
        atoms=tuple(chosen),
        pre=of_pre.relative[:, chosen].float(),
        codes=of_codes.relative[:, chosen].float(),
        explained=of_pre.explained,
    )


def _accumulate(
    passage: Passage,
    earlier: Reader,
    later: Reader,
    ready: Tensor,
    allowed: Tensor,
    batch_size: int,
    pre: Float[Tensor, "from to"],
    codes: Float[Tensor, "from to"],
) -> None:
    """Add the effects of a batch, summed over it."""
    seen: list[Tensor] = []

    def see(output: Tensor) -> Tensor:
        seen.append(output)
        return output

    before = later.read(passage(ready, see))
    z = earlier.read(seen[0]).codes
    active = (z > 0).any(1) & allowed.to(z.device)
    for pairs in active.nonzero().split(int(batch_size)):
        inputs, latents = pairs.unbind(1)
        taken = z[inputs, :, latents].unsqueeze(-1) * earlier.site.sae.W_dec[latents, None]
        without = partial(_without, earlier, taken)
        after = later.read(passage(ready[inputs], without))
        fall = (before.pre[inputs] - after.pre) * (before.codes[inputs] > 0)
        pre.index_add_(0, latents.cpu(), fall.sum(1).double().cpu())
        fall = before.codes[inputs] - after.codes
        codes.index_add_(0, latents.cpu(), fall.sum(1).double().cpu())


def _without(reader: Reader, taken: Float[Tensor, "batch position dim"], output: Tensor) -> Tensor:
    return output - reader.laid_out(taken, output)


def _chosen(atoms: Numbers | None, n_atoms: int) -> list[int]:
    if atoms is None:
        return list(range(n_atoms))
    chosen: list[int] = as_samples(atoms, n_atoms, "atoms").tolist()
    if len(set(chosen)) != len(chosen) or not chosen:
        raise OrbitLensError(
            "`atoms`",
            expected=f"some of the atoms 0 to {n_atoms - 1}, each once",
            received=chosen,
            remedy="leave `atoms` out for all of them",
        )
    return chosen
