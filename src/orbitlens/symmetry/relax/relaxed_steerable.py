"""A relaxed steerable convolution: weights of a fixed basis of kernels that may vary by tap.

A kernel K of matrices takes fields of rho_in to fields of rho_out. It commutes with the turns and
flips of the grid where

    K(g x) = rho_out(g) K(x) rho_in(g)^-1        for all elements g and taps x

`steerable_basis` solves this on the grid itself, exactly.

Source: Wang, Walters & Yu 2022, arXiv 2201.11969, relaxed steerable convolution; the constraint
is that of Weiler & Cesa 2019, arXiv 1911.08251, *General E(2)-Equivariant Steerable CNNs*.
"""

from typing import Any, final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.checks import as_count, as_switch, check_kind
from orbitlens.errors import OrbitLensError
from orbitlens.models import LiftingConv2d, keeps_settings
from orbitlens.reps import Representation, check_multiplies
from orbitlens.symmetry.relax._banks import check_exact
from orbitlens.symmetry.relax._fixed import KeepsNumbers
from orbitlens.symmetry.relax._on_grid import Grid
from orbitlens.symmetry.relax.relaxation import Relaxed, relaxation_spread, tap_penalty

_EXACT, _ROUNDED = 1e-12, 0.02  # shares of vectors that rounding to float64 and bfloat16 leaves
_BLUR = 0.6  # pixels, the width of the rings of common steerable bases


def steerable_basis(
    rho_in: Representation, rho_out: Representation, kernel: int = 3
) -> Float[Tensor, "basis out in kernel kernel"]:
    """Return a basis of all kernels that commute with the turns and flips of the grid.

        K_b(g x) = rho_out(g) K_b(x) rho_in(g)^-1,    ||K_b|| = 1

    At one tap of each orbit, K is any matrix that commutes with the elements that keep the tap;
    the other taps follow. A Gaussian blur, which commutes with the grid's symmetries and has an
    inverse, then gives each K_b the smooth support that a relaxation by tap needs.

    Args:
        rho_in: Representation of C1, C2, C4, D1, D2 or D4 on the fields that come in.
        rho_out: Another of the same group, on those that go out.
        kernel: Height and width, in pixels; odd. Default 3.

    Returns:
        The basis, shape [basis, dim out, dim in, kernel, kernel], float64.

    Raises:
        OrbitLensError: If the matrices are no representations of one group that moves pixels to
            pixels, if the kernel is even, or if zero is the only such kernel.

    Example:
        >>> from orbitlens.reps import irreps, regular
        >>> steerable_basis(irreps("C4")[0], regular("C4")).shape  # one number per tap
        torch.Size([9, 4, 1, 3, 3])
    """
    for name, rho in (("rho_in", rho_in), ("rho_out", rho_out)):
        check_kind(name, rho, Representation, "see orbitlens.reps")
        check_multiplies(rho, name)
    if rho_in.group != rho_out.group:
        raise OrbitLensError(
            "`rho_out`",
            expected=f"a representation of {rho_in.group.name}, as rho_in is",
            received=f"one of {rho_out.group.name}",
            remedy="restrict both to a common subgroup with reps.restrict",
        )
    # origin[g, x] is the tap that g moves to x.
    origin = LiftingConv2d(rho_in.group, 1, 1, kernel).index.flatten(1)
    orbits = origin.amin(0)
    found = [
        _on_orbit(rho_in, rho_out, origin == tap, origin.shape[1])
        for tap in orbits.unique().tolist()
    ]
    basis = torch.cat(found) @ _blur(kernel)
    if not len(basis):
        raise OrbitLensError(
            f"kernels from {rho_in.name} to {rho_out.name}",
            expected=f"some that commute with {rho_in.group.name}",
            received="zero alone",
            remedy="choose a larger kernel, or fields that share an irrep",
        )
    norms = basis.flatten(1).norm(dim=1)
    return (basis / norms[:, None, None, None]).unflatten(3, (kernel, kernel))


@final
@keeps_settings
class RelaxedSteerableConv2d(KeepsNumbers, Relaxed):
    """A convolution of fields whose basis weights may vary by tap; at first they are constant.

        y_f = b_f + sum_c x_c * W_fc        W_fc(x) = sum_b w_fcb(x) K_b(x)

    with * a correlation and K_b the `steerable_basis`. It is exactly equivariant where each w_fcb
    is constant: g moves places as pixels, and the numbers of each field by rho(g). A field of
    dimension d takes d channels, one field after another, so that regular representations make the
    channels of `RelaxedGroupConv2d`. Nonlinearities on each number alone commute with
    permutations, such as regular representations, and with no others.

    Source: Wang et al. 2022, arXiv 2201.11969, relaxed steerable convolution.

    Args:
        rho_in: Representation of C1, C2, C4, D1, D2 or D4 on each field that comes in.
        rho_out: Another of the same group, on each that goes out.
        in_fields: Fields c; the maps have in_fields * dim channels.
        out_fields: Fields f of the maps that it returns.
        kernel: Height and width of the kernels, in pixels; odd. Default 3.
        frozen: True for weights that cannot vary by tap: the exact layer, with one weight for each
            K_b and pair of fields. It refuses the state of a layer whose weights vary. Default
            False.
        padding: "zeros" (the default), "circular" or "none".
        stride: Every stride-th place is kept, in pixels; default 1.
        bias: Whether there is a bias in the directions that rho_out keeps; default True.

    Raises:
        OrbitLensError: As `steerable_basis`, and if an argument is out of range; on call as
            `RelaxedLiftingConv2d`.

    Example:
        >>> from orbitlens.reps import irreps, regular
        >>> scalars, plane = irreps("D4")[0], irreps("D4")[-1]
        >>> layer = RelaxedSteerableConv2d(scalars, plane, 3, 5)
        >>> layer(torch.rand(1, 3, 8, 8)).shape
        torch.Size([1, 10, 8, 8])
    """

    basis: Tensor
    fixed: Tensor
    bias: Tensor | None

    def __init__(
        self,
        rho_in: Representation,
        rho_out: Representation,
        in_fields: int,
        out_fields: int,
        kernel: int = 3,
        *,
        frozen: bool = False,
        padding: str = "zeros",
        stride: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        inputs, outputs = as_count("in_fields", in_fields), as_count("out_fields", out_fields)
        basis = steerable_basis(rho_in, rho_out, kernel)
        # Other machines may find another basis of the same space, so it belongs to the state.
        self.keep("basis", basis, persistent=True)
        self.keep("fixed", _range(rho_out.matrices.double().mean(0)), persistent=True)
        self.group = rho_in.group
        self.grid = Grid(LiftingConv2d(self.group, 1, 1, kernel, padding=padding), stride)
        # He et al. 2015: the variance survives the ReLUs. Each K_b has norm 1.
        spread = (2 * rho_out.dim / (inputs * len(basis))) ** 0.5
        even = torch.randn(outputs, inputs, len(basis), 1, 1) * spread
        self.frozen = as_switch("frozen", frozen)
        taps = 1 if self.frozen else self.grid.kernel
        self.weights = nn.Parameter(even.repeat(1, 1, 1, taps, taps))
        wanted = as_switch("bias", bias) and self.fixed.shape[1]
        biases = nn.Parameter(torch.zeros(outputs, self.fixed.shape[1])) if wanted else None
        self.register_parameter("bias", biases)

    def forward(
        self, maps: Float[Tensor, "batch in height width"]
    ) -> Float[Tensor, "batch out out_height out_width"]:
        """Return the correlation of the maps with all kernels, at every `stride`-th place."""
        return self.grid.correlated(maps, self.combined(), self.biases())

    def combined(self) -> Float[Tensor, "out in kernel kernel"]:
        """Return the kernels of an ordinary convolution that does what this layer does."""
        weights = self.weights.expand(-1, -1, -1, *self.basis.shape[3:])
        kernels = torch.einsum("fcbyx,bijyx->ficjyx", weights, self.basis.to(weights))
        return rearrange(kernels, "f i c j y x -> (f i) (c j) y x")

    def biases(self) -> Float[Tensor, " out"] | None:
        """Return the bias of each channel; None if the layer has none."""
        if self.bias is None:
            return None
        return (self.bias @ self.fixed.to(self.bias).T).flatten()

    def weight_spread(self) -> Float[Tensor, " bank"]:
        """Return max - min over the taps for each K_b, of the pair of fields with the largest."""
        taps = self.weights.detach().movedim(2, 0).flatten(3).flatten(1, 2)
        return torch.stack([relaxation_spread(each).max() for each in taps])

    def penalty(self) -> Float[Tensor, ""]:
        """Return the mean difference of weights at adjacent taps."""
        return tap_penalty(self.weights)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *options: Any) -> None:
        name = f"{prefix}weights"
        if self.frozen and name in state_dict:
            weights = state_dict[name]
            check_exact(self, relaxation_spread(weights.flatten(-2).flatten(0, -2)), "all taps")
            # A relaxed layer that is still exact has the one weight at every tap.
            state_dict[name] = weights[..., :1, :1]
        for own in ("basis", "fixed"):
            given = state_dict.get(prefix + own)
            if given is not None and given.shape == self.kept[own].shape:
                found = _within(given, self.kept[own], axis=0 if own == "basis" else 1)
                self.kept[own] = found.detach().cpu().double().clone()
                state_dict[prefix + own] = self.kept[own]
        super()._load_from_state_dict(state_dict, prefix, *options)


def _on_orbit(
    rho_in: Representation, rho_out: Representation, here: Tensor, taps: int
) -> Float[Tensor, "found out in tap"]:
    """Return the kernels on the orbit of one tap; here[g, x] tells whether g moves it to x."""
    into, back = rho_out.matrices.double(), rho_in.matrices.double().inverse()
    tap = int(here[0].nonzero())
    kept = here[:, tap].nonzero().flatten().tolist()
    # vec(A K B) = (A (x) B^T) vec(K), row by row.
    mean = torch.stack([torch.kron(into[g], back[g].T.contiguous()) for g in kept]).mean(0)
    own = _range(mean).T.unflatten(1, (rho_out.dim, rho_in.dim))
    kernels = own.new_zeros(*own.shape, taps)
    for g, x in here.nonzero().tolist():
        kernels[..., x] = into[g] @ own @ back[g]
    return kernels


def _range(projection: Float[Tensor, "dim dim"]) -> Float[Tensor, "dim found"]:
    """Return a basis of the vectors that a projection keeps; its singular values are 0 or >= 1."""
    left, sizes, _ = torch.linalg.svd(projection)
    return left[:, sizes > 0.5]


def _within(
    given: Float[Tensor, "*shape"], own: Float[Tensor, "*shape"], *, axis: int
) -> Float[Tensor, "*shape"]:
    """Return vectors along an axis without their rounding, which leads out of the own span."""
    rows, basis = (each.cpu().double().movedim(axis, 0) for each in (given, own))
    found = rows.flatten(1) @ torch.linalg.pinv(basis.flatten(1)) @ basis.flatten(1)
    off = float((found - rows.flatten(1)).norm())
    if off <= _EXACT * float(rows.norm()):
        return given  # so that a round trip changes no bit
    if not off <= _ROUNDED * float(rows.norm()):
        raise OrbitLensError(
            "state of a RelaxedSteerableConv2d",
            expected="a basis of the kernels that commute with rho_in and rho_out of this layer",
            received="one of other kernels",
            remedy="build the layer with the representations of the one that was saved",
        )
    return found.view(rows.shape).movedim(0, axis)


def _blur(kernel: int) -> Float[Tensor, "tap tap"]:
    """Return exp(-|x - y|^2 / 2 sigma^2) for all pairs of taps."""
    places = torch.cartesian_prod(*[torch.arange(kernel, dtype=torch.float64)] * 2)
    return torch.exp(-torch.cdist(places, places).square() / (2 * _BLUR**2))
