"""A layer with its orbit SAE: the start or the end of an attribution."""

from dataclasses import dataclass
from typing import final

from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.sae import SAE, OrbitDictionary, SAEOutput, orbit_dictionary
from orbitlens.typing import Float, Tensor


@final
@dataclass(frozen=True, eq=False)
class Site:
    """One layer of a network and an orbit SAE on it.

    The SAE reads a row at each position: a layer of vectors has one, tokens [n, positions, dim]
    and maps [n, dim, height, width] have one at each token or place.

    Args:
        layer: Dotted name of the submodule whose output the SAE was trained on.
        sae: The orbit SAE.
        mean: Subtracted from each row before the SAE reads it, shape [positions, dim], such as the
            `motion.mean` of a spatial transport; None (default) for an SAE trained on the rows
            themselves.

    Raises:
        OrbitLensError: If the SAE is no orbit SAE, or one of another layer.

    Example:
        >>> from orbitlens.sae import topk_sae
        >>> Site("encoder", topk_sae(4, 8, 2))
        Traceback (most recent call last):
        orbitlens.errors.OrbitLensError: `sae` of layer 'encoder': expected an orbit SAE, ...
    """

    layer: str
    sae: SAE
    mean: Float[Tensor, "position dim"] | None = None

    def __post_init__(self) -> None:
        dictionary = orbit_dictionary(self.sae, name=f"`sae` of layer {self.layer!r}")
        _, _, layer = dictionary.source.rpartition(":")
        if layer not in ("", self.layer):
            raise OrbitLensError(
                f"`sae` of layer {self.layer!r}",
                expected="an SAE of this layer",
                received=f"one of {dictionary.source}",
                remedy="name the layer that its transport was fitted on",
            )

    @property
    def dictionary(self) -> OrbitDictionary:
        """The dictionary of the SAE, tied over the group."""
        return orbit_dictionary(self.sae)

    @property
    def group(self) -> Group:
        """The group that the dictionary is tied over."""
        return self.dictionary.group

    @property
    def model(self) -> str:
        """The name of the network that the SAE was trained on; empty if it is not recorded."""
        return self.dictionary.source.rpartition(":")[0]

    def check_output(self, output: Float[Tensor, "batch *rest"]) -> None:
        """Check that the output has rows of the SAE's width, and as many positions as `mean`."""
        if output.ndim not in (2, 3, 4) or rows_of(output).shape[-1] != self.sae.d_in:
            raise OrbitLensError(
                f"layer {self.layer!r}",
                expected=f"vectors, tokens or maps of width {self.sae.d_in}, as its SAE",
                received=f"shape {list(output.shape)}",
                remedy="name the layer that the SAE was trained on, with all of its positions",
            )
        positions = rows_of(output).shape[1]
        if self.mean is not None and self.mean.shape != (positions, self.sae.d_in):
            raise OrbitLensError(
                f"`mean` of layer {self.layer!r}",
                expected=f"shape [{positions}, {self.sae.d_in}]",
                received=list(self.mean.shape),
                remedy="give the mean map of this layer's transport",
            )

    def read(self, output: Float[Tensor, "batch *rest"]) -> SAEOutput:
        """Apply the SAE to a layer's output; each part has shape [batch, positions, ...]."""
        rows = rows_of(output).to(self.sae.b_dec)
        if self.mean is not None:
            rows = rows - self.mean.to(rows)
        read = self.sae(rows.flatten(0, 1))
        return SAEOutput(*(part.unflatten(0, rows.shape[:2]) for part in read))

    def laid_out(
        self, rows: Float[Tensor, "batch position dim"], output: Float[Tensor, "batch *rest"]
    ) -> Float[Tensor, "batch *rest"]:
        """Bring rows into the shape of the layer's output."""
        arranged = rows.mT if output.ndim == 4 else rows
        return arranged.reshape(output.shape).to(output)


def rows_of(output: Float[Tensor, "batch *rest"]) -> Float[Tensor, "batch position dim"]:
    """Return one row for each position of vectors, tokens or maps, places row by row."""
    if output.ndim == 4:
        return output.flatten(2).mT
    return output if output.ndim == 3 else output.unsqueeze(1)
