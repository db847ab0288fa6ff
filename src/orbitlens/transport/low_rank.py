"""The exact transport of wide activations on their leading directions, from one pass."""

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.checks import as_count, as_seed
from orbitlens.transport._cost import check_cost
from orbitlens.transport._door import fits
from orbitlens.transport._moments import CrossMoments, exact_from_moments
from orbitlens.transport.motion import Motion
from orbitlens.typing import Float, Int, Tensor

_OVERSAMPLING = 2


@fits
def low_rank(
    store: ActivationStore, train: Int[ndarray, " n"], *, rank: int = 256, seed: int = 0
) -> Motion:
    """Fit rho(g) = I + B (R(g) - I) B^T with an exact R on the leading directions B.

    One pass sums sketches Y(g) = C(g) T of the cross-moments, with a random orthonormal T of 2 rank
    columns. B holds the leading eigenvectors of the Nystroem approximation of C(e):

        C(e) ~ Y(e) (T^T Y(e))^+ Y(e)^T,   B^T C(g) B ~ (B^T Y(g)) (B^T T)^+

    Both are exact if the activations span at most `rank` directions. Memory is |G| dim 2 rank
    numbers. rho is I on the directions orthogonal to B.

    Source: Tropp, Yurtsever, Udell & Cevher 2017, arXiv 1706.05736 (C(e) from a single pass).

    Args:
        store: Activations of orbits.
        train: Samples to fit on, shape [n].
        rank: Number of directions kept, default 256, at most dim.
        seed: Seed of the sketch.

    Returns:
        R and B, float64.

    Raises:
        OrbitLensError: If `rank` is below 1, or if there are too few samples for it.
    """
    rank = min(as_count("rank", rank), store.dim)
    generator = torch.Generator().manual_seed(as_seed(seed))
    columns = min(store.dim, _OVERSAMPLING * rank)
    check_cost(store, train, width=columns, height=store.dim)
    test = torch.randn(store.dim, columns, generator=generator, dtype=torch.float64)
    test = torch.linalg.qr(test).Q
    sketches, total, n = _sketch(store, train, test)
    basis = _leading(sketches[0], test, rank)
    inside = basis.T @ sketches @ torch.linalg.pinv(basis.T @ test)
    inverses = torch.from_numpy(store.group.inverses.copy())
    products = (inside + inside[inverses].mT) / 2
    moments = CrossMoments(products, basis.T @ total, n)
    motion = exact_from_moments(moments, store.group, store.positions).motion
    return Motion(motion.core, variable=motion.variable, basis=basis)


def _sketch(
    store: ActivationStore, train: Int[ndarray, " n"], test: Float[Tensor, "dim columns"]
) -> tuple[Float[Tensor, "group dim columns"], Float[Tensor, " dim"], int]:
    """Return Y(g) = sum_{x,h} psi(gh x) (T^T psi(hx))^T, the sum of activations and their count."""
    table = torch.from_numpy(store.group.table.copy())
    sketches = torch.zeros(store.group.order, *test.shape, dtype=torch.float64)
    total, n = torch.zeros(store.dim, dtype=torch.float64), 0
    for chunk in store.chunks(train):
        orbits = chunk.double()
        seen = orbits @ test
        for g, sketch in enumerate(sketches):
            sketch += torch.einsum("xhi,xhj->ij", orbits[:, table[g]], seen)
        total += orbits.sum((0, 1))
        n += len(orbits) * store.group.order
    return sketches, total, n


def _leading(
    sketch: Float[Tensor, "dim columns"], test: Float[Tensor, "dim columns"], rank: int
) -> Float[Tensor, "dim rank"]:
    """Return the leading eigenvectors of the Nystroem approximation, in its stable form."""
    # A small shift keeps the Cholesky root defined if the activations span fewer directions.
    shift = torch.finfo(sketch.dtype).eps * len(sketch) ** 0.5 * torch.linalg.matrix_norm(sketch)
    shift = shift.clamp_min(torch.finfo(sketch.dtype).tiny)
    sketch = sketch + shift * test
    inner = test.T @ sketch
    root = torch.linalg.cholesky((inner + inner.T) / 2)
    factor = torch.linalg.solve_triangular(root, sketch.T, upper=False).T
    U, values, _ = torch.linalg.svd(factor, full_matrices=False)
    kept = min(rank, int((values > 0).sum()))
    return U[:, :kept].contiguous()
