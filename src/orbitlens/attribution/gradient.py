"""Gradient times activation between the codes of two orbit SAEs.

    attribution(u -> v) = mean over inputs x and elements k of  sum_p z_u[p] * d A_v / d z_u[p]
    A_v = sum of the pre-activation a_v over the positions where v is active

The earlier layer's output is D(z) plus the error of the SAE, which is held fixed. The network
between the layers is unchanged. Source: Marks et al., *Sparse Feature Circuits*, arXiv 2403.19647,
for SAEs without symmetry.
"""

import torch
from jaxtyping import Shaped
from torch import nn

from orbitlens.actions import Action
from orbitlens.attribution._passage import Passage
from orbitlens.attribution._site import Reader, Site
from orbitlens.attribution.graph import AttributionGraph
from orbitlens.data import Indexed, as_rows
from orbitlens.errors import OrbitLensError
from orbitlens.models.base import Prepare
from orbitlens.typing import Float, Progress, Tensor


def attribution_graph(
    model: nn.Module,
    earlier: Site,
    later: Site,
    *,
    inputs: Shaped[Tensor, "n *axes"] | Indexed,
    action: Action,
    batch_size: int = 256,
    prepare: Prepare | None = None,
    progress: Progress | None = None,
) -> AttributionGraph:
    """Attribute the features of a later layer to those of an earlier one.

        attribution[h, c, c'] = mean_g attribution((g, c) -> (gh, c'))

    This is one number for two atoms and the element h between their orientations, instead of |G|^2
    numbers; the record has the share of the full table that it explains. The gradient is taken of
    the later pre-activations that survive the sparsity rule, so it is the gradient of the codes.

    Args:
        model: Any network; it runs in evaluation mode, and its mode is restored.
        earlier: The layer that is attributed to, with its orbit SAE.
        later: A layer after it, with its orbit SAE.
        inputs: The inputs x, [n, ...]; all their orientations are used.
        action: How the group of both SAEs moves them.
        batch_size: Moved inputs per forward pass. Each takes as many backward passes as there are
            latents active in one of them, and memory for the codes at all positions.
        prepare: Makes moved inputs ready for the network; unchanged by default.
        progress: Called with (inputs done, n) as the work goes on.

    Returns:
        The record, with the strongest edges and what the reduction by symmetry explains.

    Raises:
        OrbitLensError: If an SAE is no orbit SAE, or one of another layer, width or group, if the
            later layer does not depend on the earlier one, if a layer is not called exactly once,
            if the inputs do not fit, or if no latent is active.

    Example:
        >>> import orbitlens as ol
        >>> group = ol.groups.cyclic(4)
        >>> model, pictures = ol.models.GroupCNN(group), torch.rand(40, 1, 8, 8)
        >>> action, sites = ol.actions.images(group), []
        >>> for layer, kept, method in (("conv1", "all", "spatial"), ("pool", "auto", "exact")):
        ...     store = ol.harvest(
        ...         model, layer=layer, inputs=pictures, action=action, positions=kept
        ...     )
        ...     rho = ol.fit_transport(store, method)
        ...     sites.append(Site(layer, ol.sae.orbit_sae(store.dim, 6, 3, rho)))
        >>> graph = attribution_graph(model, *sites, inputs=pictures[:8], action=action)
        >>> graph.attribution.shape, graph.explained > 0.99
        (torch.Size([4, 6, 6]), True)
    """
    inputs = as_rows(inputs)
    passage = Passage.between(model, earlier, later, prepare)
    first, last = passage.readers(inputs, action, batch_size)
    table = passage.empty_table()
    with passage.evaluating():
        for done, ready in passage.batches(inputs, action, batch_size):
            _accumulate(passage, first, last, ready, table)
            if progress is not None:
                progress(done, len(inputs))
    if not table.any():
        raise OrbitLensError(
            "`inputs`",
            expected="some on which features of both layers are active and connected",
            received="an attribution of 0 everywhere",
            remedy="give inputs like those that the SAEs were trained on",
        )
    relative, explained = passage.reduced(table / (len(inputs) * action.group.order))
    return AttributionGraph(
        action.group,
        earlier.dictionary.source or str(passage.earlier.layer),
        later.dictionary.source or str(passage.later.layer),
        len(inputs),
        relative.float(),
        explained,
        passage.stabilisers,
    )


def _accumulate(
    passage: Passage,
    earlier: Reader,
    later: Reader,
    ready: Tensor,
    table: Float[Tensor, "from to"],
) -> None:
    """Add the attributions of a batch, summed over it."""
    started: list[Tensor] = []

    def start(output: Tensor) -> Tensor:
        # D(z) + error is the output itself; dA/dz is dA/d(output) along the direction of z.
        started.append(output.detach().clone().requires_grad_())
        return started[0]

    with torch.enable_grad():
        read = later.read(passage(ready, start))
        active = read.codes > 0
        answers = (read.pre * active).sum(1)
    (output,) = started
    codes, directions = earlier.read(output.detach()).codes, earlier.site.sae.W_dec
    # Few latents are active in each input: pass j goes back from the j-th of each one.
    found = active.any(1)
    passes = int(found.sum(1).max())
    present, targets = found.int().topk(passes, dim=1)
    with torch.enable_grad():
        chosen = (answers.gather(1, targets) * present).sum(0).unbind()
    for j in range(passes):
        (grad,) = torch.autograd.grad(chosen[j], output, retain_graph=j + 1 < passes)
        along = torch.einsum("bpi,ui->bpu", earlier.rows(grad).to(directions), directions)
        table.index_add_(1, targets[:, j].cpu(), (codes * along).sum(1).mT.double().cpu())
