"""A sparse autoencoder is an encoder, a sparsity rule and a dictionary."""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, final

import numpy as np
import torch
from torch import nn
from torch._C._functorch import is_functorch_wrapped_tensor

from orbitlens.activations import ActivationStore
from orbitlens.checks import as_number, as_tensor, check_kind
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.sae.dictionaries.base import Dictionary
from orbitlens.sae.dictionaries.orbit import OrbitDictionary
from orbitlens.sae.encoders import Encoder
from orbitlens.sae.sparsity import Sparsity
from orbitlens.typing import Float, Numbers, StackedActivations, StackedCodes, Tensor


class SAEOutput(NamedTuple):
    """The result of one forward pass.

    Attributes:
        pre: Pre-activations, shape [batch, d_sae].
        codes: Sparse non-negative codes z, shape [batch, d_sae].
        x_hat: Reconstructions, shape [batch, d_in].
    """

    pre: StackedCodes
    codes: StackedCodes
    x_hat: StackedActivations


@final
class SAE(nn.Module):
    """The composition x -> E(x - b_dec) -> z -> x_hat = z D + b_dec.

    An invariance objective and a transport make it the paper's equivariant SAE,
    psi(gx) ~ rho(g) D(E(psi(gx))). The objective `reconstruction` makes it an ordinary SAE.

    Args:
        encoder: Activation to pre-activations.
        sparsity: Pre-activations to codes.
        dictionary: Codes to reconstruction.

    Raises:
        OrbitLensError: If the widths of the parts differ, k exceeds the number of latents, or the
            rule has numbers for others than these latents.

    Example:
        >>> import torch
        >>> from orbitlens.sae import topk_sae
        >>> sae = topk_sae(d_in=4, d_sae=8, k=2)
        >>> codes = sae.encode(torch.randn(3, 4))
        >>> codes.shape, sae.decode(codes).shape
        (torch.Size([3, 8]), torch.Size([3, 4]))
        >>> sae.eval().encode(torch.randn(3, 4)).numpy().shape
        (3, 8)
    """

    def __init__(self, encoder: Encoder, sparsity: Sparsity, dictionary: Dictionary) -> None:
        super().__init__()
        for name, part, kind in (
            ("encoder", encoder, Encoder),
            ("sparsity", sparsity, Sparsity),
            ("dictionary", dictionary, Dictionary),
        ):
            check_kind(name, part, kind, "see orbitlens.sae; `compose` puts an encoder before them")
        widths = (encoder.d_in, encoder.d_sae)
        if widths != (dictionary.d_in, dictionary.d_sae):
            raise OrbitLensError(
                "`dictionary`",
                expected=f"(d_in, d_sae) = {widths} as in the encoder",
                received=(dictionary.d_in, dictionary.d_sae),
                remedy="build both parts with the same widths",
            )
        if sparsity.k > encoder.d_sae:
            raise out_of_range(
                "k",
                f"at most the number of latents, {encoder.d_sae}",
                sparsity.k,
                "lower k or take more latents",
            )
        _check_rule(sparsity, dictionary)
        self.encoder, self.sparsity, self.dictionary = encoder, sparsity, dictionary
        self.check_ties()
        if sparsity.centre != "trained":
            dictionary.bias_weights.requires_grad_(False)

    def check_ties(self) -> None:
        """Refuse an encoder that is the transpose of another dictionary, replaced by hand."""
        if getattr(self.encoder, "dictionary", self.dictionary) is not self.dictionary:
            raise OrbitLensError(
                "`encoder`",
                expected="the transpose of the SAE's own dictionary",
                received="that of another one",
                remedy="build the SAE with `compose`",
            )

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return self.encoder.d_in

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return self.encoder.d_sae

    @property
    def W_dec(self) -> Float[Tensor, "*stack latents dim"]:  # noqa: N802
        """One direction per latent, shape [d_sae, d_in]."""
        return self.dictionary.directions

    @property
    def b_dec(self) -> Float[Tensor, "*stack dim"]:
        """The reconstruction of an empty code, shape [d_in]."""
        return self.dictionary.b_dec

    def forward(self, x: Numbers) -> SAEOutput:
        """Encode and decode.

        In evaluation mode, in which `fit` and `load` leave an SAE, results carry no gradients of
        the weights: only those of `x`, if it asks for them. `sae.train()` brings the others back.

        Args:
            x: Activations, shape [..., d_in] with any axes before the last, also none. Tensors,
                arrays and lists of floating-point numbers are brought to the type and the device of
                the SAE, which are those of the results.

        Returns:
            Pre-activations, codes and reconstructions, with the axes of x.

        Raises:
            OrbitLensError: If the width is another, if the numbers are whole or complex, or if some
                are not finite. On a GPU, NaN is not looked for, which would wait for the device; it
                then shows in every result.
        """
        self.check_ties()
        rows = self._rows("x", x, self.d_in)
        with _autocast_off(rows.device), self._without_gradients(rows):
            output = self.of_coordinates(self.dictionary.coordinates(self._flat(rows)))
        return SAEOutput(*(_with_axes(part, rows) for part in output))

    def of_coordinates(self, y: StackedActivations) -> SAEOutput:
        """Encode and decode activations in the dictionary's coordinates.

        Args:
            y: Activations from `dictionary.coordinates`, shape [batch, d_in].

        Returns:
            Pre-activations, codes, and reconstructions of the activations themselves.
        """
        pre = self.encoder(y - self.dictionary.centre.unsqueeze(-2))
        codes = self.sparsity(self.dictionary.admitted(pre))
        return SAEOutput(pre=pre, codes=codes, x_hat=self.dictionary(codes))

    def encode(self, x: Numbers) -> Float[Tensor, "..."]:
        """Return the codes z of activations, shape [..., d_sae]; arguments as in `forward`."""
        return self(x).codes

    def decode(self, codes: Numbers) -> Float[Tensor, "..."]:
        """Return the reconstructions of codes, shape [..., d_in].

        Args:
            codes: Codes, shape [..., d_sae], of the same kinds as `x` in `forward`. NaN is not
                looked for; it shows in the reconstruction.

        Raises:
            OrbitLensError: If the width is another, or the numbers are whole or complex.
        """
        rows = self._rows("codes", codes, self.d_sae)
        with _autocast_off(rows.device), self._without_gradients(rows):
            return _with_axes(self.dictionary(self._flat(rows)), rows)

    def _rows(self, name: str, value: Numbers, width: int) -> Float[Tensor, "..."]:
        """Return activations or codes at the door, in the type and on the device of the SAE."""
        like, tensor = self.encoder.W_enc, value
        if not isinstance(value, Tensor | ActivationStore):
            tensor = as_tensor(name, value, dtype=None, finite=False)
            if np.asarray(value).dtype.kind != "f":
                tensor = tensor.long()
        if not isinstance(tensor, Tensor) or not _fits(tensor, width):
            raise _refused(name, tensor, width)
        tensor = tensor.to(like)
        if tensor.is_inference() and not torch.is_inference_mode_enabled():
            tensor = tensor.clone()
        # On a GPU the question would wait for the device; under vmap it has no answer. Codes of a
        # diverged SAE are NaN, and so is what they decode to.
        known = tensor.device.type == "cpu" and not is_functorch_wrapped_tensor(tensor)
        asked = known and name == "x"
        return as_tensor(name, tensor, dtype=like.dtype, finite=asked)

    def _without_gradients(self, rows: Float[Tensor, "..."]) -> AbstractContextManager[None]:
        """Record no gradients where nobody asks: of a trained SAE, for rows without gradients.

        Under a transform of `torch.func` a tensor does not say whether it is differentiated.
        """
        asked = self.training or rows.requires_grad
        if asked or any(map(is_functorch_wrapped_tensor, (rows, self.encoder.W_enc))):
            return nullcontext()
        return torch.no_grad()

    def _flat(self, rows: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return rows [batch, width]; those of a stack, [member, batch, width], as they are."""
        if rows.ndim == 2 or self.encoder.b_enc.ndim > 1:
            return rows
        return rows.unsqueeze(0) if rows.ndim == 1 else rows.flatten(0, -2)

    def fold_scale_(self, scale: float) -> None:
        """Turn an SAE trained on scale * x into the same SAE on x.

        Biases and thresholds are divided by `scale`. Then f_new(x) = f_old(scale x) / scale for
        codes and reconstructions. Directions keep their unit length.

        Args:
            scale: The factor of the training activations, above 0.

        Raises:
            OrbitLensError: If the factor is not a number above 0.
        """
        if not as_number("scale", scale) > 0:
            raise out_of_range("scale", "above 0", scale)
        for part in (self.encoder, self.sparsity, self.dictionary):
            part.scale_(1.0 / scale)


def _check_rule(sparsity: Sparsity, dictionary: Dictionary) -> None:
    """Refuse a rule whose numbers belong to other latents than those of the dictionary."""
    each = 1 if dictionary.group is None else dictionary.group.order
    wanted, given = (dictionary.d_sae, each), (sparsity.d_sae, sparsity.orientations)
    if not all(have in (0, want) for have, want in zip(given, wanted, strict=True)):
        raise OrbitLensError(
            "`sparsity`",
            expected=f"a rule for {wanted[0]} latents, {each} of each atom, as in the dictionary",
            received=f"one for {given[0]}, {given[1] or each} of each",
            remedy="build it with as many atoms, and as many orientations as the group has "
            "elements",
        )


def _fits(tensor: Tensor, width: int) -> bool:
    return tensor.is_floating_point() and tensor.shape[-1:] == (width,)


def _with_axes(part: Float[Tensor, "..."], rows: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Give a result the leading axes of the rows that it was computed from."""
    return part if part.ndim == rows.ndim else part.reshape(*rows.shape[:-1], part.shape[-1])


def _autocast_off(device: torch.device) -> AbstractContextManager[None]:
    """Keep the type of the SAE where a caller lets torch choose others."""
    if device.type in ("cpu", "cuda") and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def _refused(name: str, value: Tensor | ActivationStore, width: int) -> OrbitLensError:
    letter, what = ("d_in", "activations") if name == "x" else ("d_sae", "codes")
    received, remedy = "an activation store", "give its activations, `store.orbits()`"
    if isinstance(value, Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        received = f"{kind} of shape {list(value.shape)}"
        remedy = f"give {what} of this SAE's layer"
        if not value.is_floating_point():
            remedy = f"{remedy}; call .float() first if these are some"
    return OrbitLensError(
        f"`{name}`",
        expected=f"floating-point numbers of shape [..., {width}], {letter} = {width}",
        received=received,
        remedy=remedy,
    )


def orbit_dictionary(sae: SAE, *, name: str = "`sae`") -> OrbitDictionary:
    """Return the dictionary of an orbit SAE or a stack; refuse another SAE, called `name`."""
    dictionary = getattr(sae, "dictionary", None)
    if not isinstance(dictionary, OrbitDictionary):
        other = type(sae).__name__ if dictionary is None else type(dictionary).__name__
        raise OrbitLensError(
            name,
            expected="an orbit SAE, whose codes are over (element, atom)",
            received=other if dictionary is None else f"an SAE with a {other}",
            remedy="build the SAE with `orbit_sae`",
        )
    return dictionary
