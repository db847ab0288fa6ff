"""A layer with its orbit SAE: the start or the end of an attribution."""

from dataclasses import dataclass
from typing import final

from torch import nn

from orbitlens.activations.layout import OutputAxes, Unclear, layouts_of
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.sae import SAE, OrbitDictionary, SAEOutput, orbit_dictionary
from orbitlens.typing import Float, Tensor


@final
@dataclass(frozen=True, eq=False)
class Site:
    """One layer of a network and an orbit SAE on it.

    The SAE reads a row at each position: a layer of vectors has one, tokens and maps have one at
    each token or place.

    Args:
        layer: The submodule whose output the SAE was trained on, or its dotted name.
        sae: The orbit SAE.
        mean: Subtracted from each row before the SAE reads it, shape [positions, dim], such as the
            `motion.mean` of a spatial transport; None (default) for an SAE trained on the rows
            themselves.
        layout: The axes of the output in letters, such as "n h w c"; None (the default) finds them,
            see `orbitlens.activations.harvest`.

    Raises:
        OrbitLensError: If the SAE is no orbit SAE, or one of another layer.

    Example:
        >>> from orbitlens.sae import topk_sae
        >>> Site("encoder", topk_sae(4, 8, 2))
        Traceback (most recent call last):
        orbitlens.errors.OrbitLensError: `sae` of layer 'encoder': expected an orbit SAE, ...
    """

    layer: str | nn.Module
    sae: SAE
    mean: Float[Tensor, "position dim"] | None = None
    layout: str | None = None

    def __post_init__(self) -> None:
        dictionary = orbit_dictionary(self.sae, name=f"`sae` of layer {self.layer!r}")
        _, _, layer = dictionary.source.rpartition(":")
        if isinstance(self.layer, str) and layer not in ("", self.layer):
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


@final
@dataclass(frozen=True, eq=False)
class Reader:
    """A site and the axes of its layer's output."""

    site: Site
    axes: OutputAxes

    @classmethod
    def of(
        cls, site: Site, found: OutputAxes | Unclear, output: Float[Tensor, "batch *rest"]
    ) -> "Reader":
        """Return the reader of outputs with these axes, which must fit the SAE.

        The width of the SAE decides between axes that are unclear.
        """
        shape, width = tuple(output.shape), site.sae.d_in
        if isinstance(found, Unclear):
            fitting = [axes for axes in layouts_of(shape) if axes.channels(shape) == width]
            if len(fitting) != 1:
                raise found.error()
            found = fitting[0]
        reader = cls(site, found)
        reader._check(output)
        return reader

    def _check(self, output: Float[Tensor, "batch *rest"]) -> None:
        """Check that the output has rows of the SAE's width, and as many positions as `mean`."""
        site, shape = self.site, tuple(output.shape)
        if self.axes.channels(shape) != site.sae.d_in:
            raise OrbitLensError(
                f"layer {site.layer!r}",
                expected=f"vectors, tokens or maps of width {site.sae.d_in}, as its SAE",
                received=f"shape {list(shape)}",
                remedy="name the layer that the SAE was trained on, with all of its positions",
            )
        positions = self.rows(output).shape[1]
        if site.mean is not None and site.mean.shape != (positions, site.sae.d_in):
            raise OrbitLensError(
                f"`mean` of layer {site.layer!r}",
                expected=f"shape [{positions}, {site.sae.d_in}]",
                received=list(site.mean.shape),
                remedy="give the mean map of this layer's transport",
            )

    def rows(self, output: Float[Tensor, "batch *rest"]) -> Float[Tensor, "batch position dim"]:
        """Return one row for each position, places row by row."""
        return self.axes.rows(output)

    def read(self, output: Float[Tensor, "batch *rest"]) -> SAEOutput:
        """Apply the SAE to a layer's output; each part has shape [batch, positions, ...]."""
        rows = self.rows(output).to(self.site.sae.b_dec)
        if self.site.mean is not None:
            rows = rows - self.site.mean.to(rows)
        read = self.site.sae(rows.flatten(0, 1))
        return SAEOutput(*(part.unflatten(0, rows.shape[:2]) for part in read))

    def laid_out(
        self, rows: Float[Tensor, "batch position dim"], output: Float[Tensor, "batch *rest"]
    ) -> Float[Tensor, "batch *rest"]:
        """Bring rows into the shape of the layer's output."""
        return self.axes.back(rows, output).to(output)
