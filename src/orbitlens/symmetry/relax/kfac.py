"""Curvature of linear layers as Kronecker products, measured by hooks.

    H_l = sum_n J_n^T Lambda_n J_n  ~  G_l (x) A_l        the generalised Gauss-Newton matrix
    A_l = 1 / (N R) sum_{n, r} a a^T                      a: the input of row r of the layer
    G_l = sum_{n, r, c} g g^T                             g: the gradient at the output of row r

Source: Martens & Grosse 2015, arXiv 1503.05671, and Grosse & Martens 2016, arXiv 1602.01407, for
convolutions; van der Ouderaa, Immer & van der Wilk 2023, arXiv 2310.06131, for factored layers.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from orbitlens.checks import as_count, as_floats, usual_torch
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.symmetry.relax._answers import answers_of, check_same_each_time
from orbitlens.symmetry.relax._likelihoods import LIKELIHOODS, Likelihood
from orbitlens.symmetry.relax._rows import (
    Layer,
    check_sides,
    input_rows,
    linear_layers,
    output_rows,
)

_MOST_ON_CPU = 4096
_JITTER = 1e-12
_ROUNDING = 4e-3  # of products in the TF32 of accelerators


class KroneckerFactors(NamedTuple):
    """The curvature of a linear layer."""

    inputs: Float[Tensor, "blocks in in"]
    """A: one block, or for factored layers one for each channel, between which it is zero."""
    outputs: Float[Tensor, "out out"]
    """G, the sum over the data."""
    bias: Float[Tensor, "out out"]
    """The curvature of the bias, sum_n (sum_r g)(sum_r g)^T."""


@final
class Curvature:
    """The Kronecker factors of every linear layer of a network at its weights.

    Args:
        layers: The factors by the name of the layer.
        names: The names of weight and bias of each layer; None where it has none that is learned.
    """

    def __init__(
        self,
        layers: Mapping[str, KroneckerFactors],
        names: Mapping[str, tuple[str | None, str | None]],
    ) -> None:
        self.layers, self.names = dict(layers), dict(names)

    def spectra(self) -> dict[str, Float[Tensor, " _"]]:
        """Return the eigenvalues of H for each parameter tensor, by its name, in float64.

        Those of weights are the products g_i a_j; none is below zero.

        Raises:
            OrbitLensError: If a factor has NaN or infinite entries.
        """
        found = {}
        for name, (inputs, outputs, bias) in self.layers.items():
            weight_name, bias_name = self.names[name]
            if weight_name is not None:
                g, a = _eigenvalues(outputs, name), _eigenvalues(inputs, name).flatten()
                found[weight_name] = torch.outer(g, a).flatten()
            if bias_name is not None:
                found[bias_name] = _eigenvalues(bias, name)
        return found


@usual_torch()
def kronecker_curvature(
    network: nn.Module,
    inputs: Shaped[Tensor, "n *input"],
    likelihood: Likelihood = "softmax",
    *,
    batch_size: int = 150,
    sampled: bool = False,
    generator: torch.Generator | None = None,
) -> Curvature:
    """Measure the curvature of -log p(y | x) at the weights of a network, summed over the data.

    For classes, g runs over the gradients of sqrt(p_c) log p_c, with the weight sqrt(p_c) held
    constant: their squares sum to Lambda = diag(p) - p p^T exactly, for C backward passes a batch.
    For numbers with Gaussian noise of variance one it runs over the outputs; for a variance s^2,
    divide the eigenvalues by it.

    Rows are vectors (dense layers), places (convolutions), places and elements (group
    convolutions), or channels (factored layers): the weights of a layer are shared by its R rows.
    Kronecker factors are exact for one row and one layer with Gaussian noise.

    Source: Martens & Grosse 2015, arXiv 1503.05671; Grosse & Martens 2016, arXiv 1602.01407;
    Eschenhagen et al. 2023, arXiv 2311.00636, for layers that share weights ("expand").

    Args:
        network: A network that returns one row for each input, the same each time, and calls each
            of its layers once. Samples stay on the first axis; learned layers are plain ones.
        inputs: All training inputs, shape [n, ...], n at least 1; they are taken in the type and on
            the device of the weights.
        likelihood: "softmax" (the default), where answers are logits, or "gaussian".
        batch_size: Inputs in a batch, default 150.
        sampled: For classes, whether to draw one y ~ p for each input, which takes one backward
            pass for a batch and adds noise; default False.
        generator: Source of the random draws; default torch's own.

    Returns:
        The factors of every layer.

    Raises:
        OrbitLensError: If a learned parameter is in another kind of layer or in several, if a layer
            is called more than once or its weights act elsewhere too, if its rows are not those of
            samples, if the network draws random numbers, does otherwise in training or changes when
            it is called, if a factor is too large for a CPU, if answers are not finite or have
            another shape, or if the likelihood is unknown.

    Example:
        >>> network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        >>> found = kronecker_curvature(network, torch.randn(10, 3)).spectra()
        >>> {name: len(values) for name, values in found.items()}
        {'0.weight': 12, '0.bias': 4, '2.weight': 8, '2.bias': 2}
    """
    if likelihood not in LIKELIHOODS:
        raise unknown_name("`likelihood`", str(likelihood), LIKELIHOODS)
    batch_size = as_count("batch_size", batch_size)
    layers = linear_layers(network)
    check_sides(layers, _MOST_ON_CPU)
    x = _as_inputs(network, inputs)
    check_same_each_time(network, x)
    _check_rows(network, layers, x)
    sums: dict[str, list[Tensor]] = {}
    rows: dict[str, int] = {}
    with _seen(layers) as seen:
        for batch in x.split(batch_size):
            seen.clear()
            logits = network(batch)
            if not bool(logits.isfinite().all()):
                raise _diverged("the answers of `network`")
            outputs = []
            for name, layer in layers.items():
                x_in, x_out = _once(seen, name, len(batch))
                a = input_rows(layer.module, x_in)
                rows[name] = a.shape[1]
                _add(sums, name, 0, _products(a, layer.has_blocks))
                outputs.append(x_out)
            for scalar, last in _directions(logits, likelihood, sampled, generator):
                gradients = torch.autograd.grad(
                    scalar, outputs, retain_graph=not last, materialize_grads=True
                )
                for (name, layer), gradient in zip(layers.items(), gradients, strict=True):
                    g = output_rows(layer.module, gradient)
                    _add(sums, name, 1, _products(g, blocks=False)[0])
                    _add(sums, name, 2, _products(g.sum(1, keepdim=True), blocks=False)[0])
    factors = {
        name: KroneckerFactors(a / (len(x) * rows[name]), g, bias)
        for name, (a, g, bias) in sums.items()
    }
    return Curvature(factors, {name: (each.weight, each.bias) for name, each in layers.items()})


def _as_inputs(network: nn.Module, inputs: object) -> Shaped[Tensor, "n *input"]:
    """Return inputs in the type and on the device of the weights."""
    x = as_floats("inputs", inputs)
    if x.ndim < 2 or not len(x):
        raise OrbitLensError(
            "`inputs`",
            expected="shape [n, ...] with n at least 1",
            received=f"shape {list(x.shape)}",
            remedy="give all training inputs, one in each row",
        )
    x = x.detach().to(next(network.parameters()))
    return x.clone() if x.is_inference() else x


def _check_rows(network: nn.Module, layers: Mapping[str, Layer], x: Tensor) -> None:
    """Refuse layers whose rows belong to no sample, or do not explain all of their gradient.

    A single input and then a pair tell an axis of samples from others of the same length.
    """
    for n in range(1, min(len(x), 2) + 1):
        with _seen(layers) as seen:
            answers = answers_of(network, x[:n])
            calls = {name: _once(seen, name, n) for name in layers}
    # Uneven weights, since the sum of a softmax is constant.
    mixed = answers @ torch.arange(1, answers.shape[1] + 1).cos().to(answers)
    outputs = {name: output for name, (_, output) in calls.items()}
    for name, each in {**outputs, next(iter(layers)): mixed}.items():
        if not each.requires_grad:
            raise _not_explained(name, "no gradient")
    own = [(name, *each) for name, layer in layers.items() for each in _learned(layer.module)]
    of_first, of_all = (
        torch.autograd.grad(
            scalar,
            [*outputs.values(), *(parameter for _, _, parameter in own)],
            retain_graph=True,
            materialize_grads=True,
        )
        for scalar in (mixed[0], mixed.sum())
    )
    rows = {}
    for (name, layer), first, g in zip(layers.items(), of_first, of_all, strict=False):
        if bool((first[1:].abs() > 0).any()):
            raise OrbitLensError(
                f"layer {name!r} of `network`",
                expected="rows that act on the answer of their own sample alone",
                received="rows that act on the answers of others",
                remedy="build the network without layers that mix the samples of a batch",
            )
        inputs = input_rows(layer.module, calls[name][0]).double()
        rows[name] = (output_rows(layer.module, g).double(), inputs)
    for (name, kind, parameter), whole in zip(own, of_all[len(layers) :], strict=True):
        pattern = "nro,nri->ori" if layers[name].has_blocks else "nro,nri->oi"
        pattern = "nro,nri->o" if kind == "bias" else pattern
        g, a = rows[name]
        if kind == "bias":
            a = torch.ones_like(a[..., :1])
        sums = torch.einsum(pattern, g, a).reshape(parameter.shape)
        largest = torch.einsum(pattern, g.abs(), a.abs()).amax()
        rounding = max(_ROUNDING, 8 * torch.finfo(whole.dtype).eps)
        if bool(((whole - sums).abs() > rounding * largest).any()):
            raise _not_explained(name, "a gradient that its call does not explain")


def _learned(layer: nn.Module) -> list[tuple[str, nn.Parameter]]:
    own = layer._parameters.items()
    return [(name, each) for name, each in own if each is not None and each.requires_grad]


def _not_explained(name: str, received: str) -> OrbitLensError:
    return OrbitLensError(
        f"layer {name!r} of `network`",
        expected="weights that act by the call of this layer alone",
        received=received,
        remedy="use them nowhere else, and answer with the graph of gradients",
    )


@contextmanager
def _seen(layers: Mapping[str, Layer]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Within the block, note what each layer takes and returns in a call of the network."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def note(
        name: str,
        layer: nn.Module,
        inputs: tuple[Tensor, ...],
        named: Mapping[str, Tensor],
        output: Tensor,
    ) -> Tensor:
        if name in seen:
            raise _calls(name, "several calls")
        seen[name] = ((*inputs, *named.values())[0].detach(), output)
        # A copy: later layers may write into it in place.
        return output.clone()

    # First of all hooks, since those of a user may change the output.
    hooks = [
        layer.module.register_forward_hook(partial(note, name), prepend=True, with_kwargs=True)
        for name, layer in layers.items()
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _once(seen: Mapping[str, tuple[Tensor, Tensor]], name: str, n: int) -> tuple[Tensor, Tensor]:
    if name not in seen:
        raise _calls(name, "none")
    x, y = seen[name]
    if x.ndim < 2 or len(x) != n or len(y) != n:
        raise OrbitLensError(
            f"layer {name!r} of `network`",
            expected=f"the samples on the first axis of its inputs, {n} as of the network",
            received=f"shape {list(x.shape)}",
            remedy="do not join the first axis with others; a Linear takes [n, tokens, dim] as it "
            "is",
        )
    return x, y


def _calls(name: str, received: str) -> OrbitLensError:
    return OrbitLensError(
        f"layer {name!r} of `network`",
        expected="one call for each call of the network",
        received=received,
        remedy="build a layer for each place where it is used, and freeze those that are not used",
    )


def _directions(
    outputs: Tensor, likelihood: Likelihood, sampled: bool, generator: torch.Generator | None
) -> Iterator[tuple[Float[Tensor, ""], bool]]:
    """Yield scalars, and whether each is the last; the squares of their gradients sum to H."""
    if likelihood == "gaussian":
        parts = [outputs[:, c].sum() for c in range(outputs.shape[1])]
    else:
        logs = outputs.log_softmax(1)
        p = logs.detach().exp()
        if sampled:
            drawn = torch.multinomial(p.cpu(), 1, generator=generator).to(p.device)
            parts = [logs.gather(1, drawn).sum()]
        else:
            parts = [(p[:, c].sqrt() * logs[:, c]).sum() for c in range(outputs.shape[1])]
    for number, part in enumerate(parts, 1):
        yield part, number == len(parts)


def _products(rows: Float[Tensor, "n rows width"], blocks: bool) -> Float[Tensor, "b w w"]:
    """Return the sum over samples of a a^T: one for each row, or summed over rows as well."""
    own = rows.transpose(0, 1) if blocks else rows.flatten(0, 1)[None]
    return own.mT @ own


def _add(sums: dict[str, list[Tensor]], name: str, place: int, value: Tensor) -> None:
    parts = sums.setdefault(name, [])
    if len(parts) == place:
        parts.append(value)
    else:
        parts[place] += value


def _eigenvalues(matrices: Float[Tensor, "*stack d d"], name: str) -> Float[Tensor, "*stack d"]:
    """Return the eigenvalues of matrices that are positive up to rounding."""
    exact = matrices.double()
    if not bool(exact.isfinite().all()):
        raise _diverged(f"the curvature of layer {name!r}")
    # float32, or a matrix of very different scales, lets LAPACK fail to converge.
    jitter = _JITTER * exact.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None]
    shifted = (exact + exact.mT) / 2 + torch.diag_embed(jitter.expand(exact.shape[:-1]))
    return (torch.linalg.eigvalsh(shifted) - jitter).clamp_min(0)


def _diverged(subject: str) -> OrbitLensError:
    return OrbitLensError(
        subject,
        expected="finite numbers",
        received="NaN or infinite values",
        remedy="train with a smaller `lr`; the network has diverged",
    )
