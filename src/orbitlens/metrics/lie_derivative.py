"""Local equivariance error: the response of a layer to infinitesimal turns and shifts.

Source: Gruver, Finzi, Goldblum & Wilson 2023, "The Lie Derivative for Measuring Learned
Equivariance", arXiv 2210.02984. There the derivative is exact and is divided by the number of
channels; here it is a central difference, and is divided by the spread of the layer.
"""

import math
from collections.abc import Callable, Mapping
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from orbitlens.actions import images as images_action
from orbitlens.activations.layout import OutputAxes, find_layouts, layouts_of
from orbitlens.checks import as_count, as_tensor
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.groups import cyclic

# Bilinear interpolation has a kink at t = 0, where pixels lie on pixels, and blurs on either side.
# The blurs cancel in a central difference. The steps are large against rounding, and move no pixel
# of a usual image further than the next.
_STEPS = {"rotation": 0.25, "translation": 0.25}  # degrees, pixels
_AXES = {"rotation": ("turn",), "translation": ("x", "y")}
_LEAST_SIDE = 3

_Forward = Callable[[Tensor], Mapping[str, Tensor]]
_Maps = Float[Tensor, "batch channels height width"]
_Places = Bool[Tensor, "height width"]


def lie_derivative_errors(
    forward: _Forward,
    images: Float[Tensor, "n channels height width"],
    *,
    transformation: str,
    prefixes: Mapping[str, int] | None = None,
    layout: str | Mapping[str, str] | None = None,
    batch_size: int = 16,
) -> dict[str, float]:
    """Return how fast each layer departs from equivariance when images turn or shift.

        L f(x) = d/dt T_t^-1 f(T_t x) at t = 0
        error = sqrt( mean ||L f||^2 / mean ||f - mean f||^2 )

    T_t turns by t degrees, or shifts by t pixels of the images along x or y, with bilinear
    interpolation and the nearest pixel beyond the edge. It moves a map with its image: a shift by t
    of s pixels is a shift by t w / s of w places. It leaves vectors unchanged, so their error is
    one of invariance. Patches of square images form a map; the tokens before them are vectors. Maps
    of less than 3 x 3 places, and tokens without a square grid, are replaced by their mean, a
    vector.

    The derivative is a difference over steps of 0.25 to either side, too small for a network in
    half precision. Interpolation suits smooth maps: patterns of few places have some error even in
    a layer that acts on each place by itself.

    The means are over images, channels, places and both axes of a shift; mean f is the mean of each
    channel over images and places. The border of a map is left out, and for turns everything
    outside the inscribed circle, because pixels from outside the image move in there.

    Source: Gruver et al. 2023, arXiv 2210.02984, the local equivariance error.

    Args:
        forward: From images to the whole outputs of the layers: vectors, tokens or maps; see
            `activations.layer_outputs`. It is called three times for each batch for turns, and five
            times for shifts, after a look at three images that finds the axes of the outputs.
        images: The images x, [n, channels, height, width], without normalisation for the network.
        transformation: "rotation" or "translation".
        prefixes: Number of tokens before the patches (class token and registers) for each layer; 0
            by default.
        layout: The axes of the outputs in letters, such as "n h w c": one layout for all outputs
            with so many axes, or one for each of some layers. None (the default) finds them.
        batch_size: Images per call of `forward`.

    Returns:
        For each layer, in the order of `forward`, the deviation from an equivariant change, in
        standard deviations of the layer per degree or per pixel. A constant layer has 0 if it does
        not move, else infinity.

    Raises:
        OrbitLensError: If the transformation is unknown, the images are none or not of floating
            point, `batch_size` is below 1, or an output has another shape, unclear axes or too few
            tokens.

    Example:
        >>> images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> def forward(images):
        ...     return {"dots": 2 * images, "sum": images.sum((1, 2, 3))[:, None]}
        >>> errors = lie_derivative_errors(forward, images, transformation="translation")
        >>> errors["dots"] < 1e-4 < errors["sum"]  # the sum loses pixels at the edge
        True
    """
    images, batch_size = _checked(images, transformation), as_count("batch_size", batch_size)
    size, step = (images.shape[2], images.shape[3]), _STEPS[transformation]
    before = prefixes or {}
    with torch.no_grad():
        axes = _find_axes(forward, images, before, layout)
    sums: dict[tuple[str, int], _Sums] = {}

    def look(batch: Tensor) -> dict[tuple[str, int], Tensor]:
        return {
            (name, part): values
            for name, output in forward(batch).items()
            for part, values in enumerate(_parts(output, axes[name], before.get(name, 0)))
        }

    with torch.no_grad():
        for batch in images.split(batch_size):
            for key, values in look(batch).items():
                if key not in sums:
                    sums[key] = _Sums(values, _seen(values, transformation, size))
                sums[key].add(values)
            for axis in _AXES[transformation]:
                forth, back = _origins(axis, step, *size), _origins(axis, -step, *size)
                ahead, behind = look(_moved(batch, forth)), look(_moved(batch, back))
                for key, total in sums.items():
                    total.add_change(
                        _moved(ahead[key] - total.zero, back)
                        - _moved(behind[key] - total.zero, forth),
                        2 * step,
                    )
    layers: dict[str, list[_Sums]] = {}
    for (name, _), total in sums.items():
        layers.setdefault(name, []).append(total)
    return {name: _error(parts, len(_AXES[transformation])) for name, parts in layers.items()}


@final
class _Sums:
    """Sums over batches for a part of a layer, in float64."""

    def __init__(self, values: _Maps, seen: _Places) -> None:
        self.seen = seen
        # The origin of all values, so that a constant layer stays exactly constant when moved.
        self.zero = values[:1, :, seen][:, :, :1, None].clone()
        self.count = 0
        self.total = torch.zeros(values.shape[1], dtype=torch.float64, device=values.device)
        self.squares = self.change = 0.0

    def add(self, values: _Maps) -> None:
        """Add the outputs for images that have not moved."""
        places = (values - self.zero)[:, :, self.seen].double()
        self.count += places.shape[0] * places.shape[2]
        self.total += places.sum(dim=(0, 2))
        self.squares += places.square().sum().item()

    def add_change(self, difference: _Maps, steps: float) -> None:
        """Add the difference of outputs for moved images, moved back."""
        self.change += (difference[:, :, self.seen].double() / steps).square().sum().item()

    @property
    def variance(self) -> float:
        """The sum of squared distances from the mean of each channel."""
        return max(0.0, self.squares - self.total.square().sum().item() / self.count)


def _error(parts: list[_Sums], axes: int) -> float:
    """Return the error of a layer from the sums of its parts."""
    change = sum(part.change for part in parts) / axes
    variance = sum(part.variance for part in parts)
    if variance == 0:
        return math.inf if change else 0.0
    return math.sqrt(change / variance)


def _find_axes(
    forward: _Forward,
    images: Tensor,
    prefixes: Mapping[str, int],
    layout: str | Mapping[str, str] | None,
) -> dict[str, OutputAxes]:
    """Find the axes of all outputs, from three images."""
    few = images[torch.arange(3) % len(images)]
    shapes: dict[str, tuple[int, ...]] = {}
    still: set[str] = set()

    def run(ready: Tensor) -> Mapping[str, Tensor]:
        outputs = forward(ready)
        for name, output in outputs.items():
            shapes[name] = shape = tuple(output.shape)
            if not 2 <= len(shape) <= 5 or (len(shape) == 3 and prefixes.get(name, 0) > shape[1]):
                raise _refusal(name, prefixes.get(name, 0), shape)
            if bool((output == output[:1]).all()):
                still.add(name)
        return outputs

    # The half turn moves images of any size.
    found = find_layouts(run, few, action=images_action(cyclic(2)), layout=layout)
    axes: dict[str, OutputAxes] = {}
    for name, each in found.items():
        if isinstance(each, OutputAxes):
            axes[name] = each
        elif name in still:  # constant, whatever its axes are
            axes[name] = layouts_of(shapes[name])[0]
        else:
            raise each.error()
    return axes


def _refusal(name: str, prefix: int, shape: tuple[int, ...]) -> OrbitLensError:
    return OrbitLensError(
        f"layer {name!r} with {prefix} tokens before the patches",
        expected="vectors [n, dim], tokens [n, positions, dim] or maps [n, dim, height, width]",
        received=f"shape {list(shape)}",
        remedy="leave it out, or correct `prefixes`",
    )


def _parts(output: Tensor, axes: OutputAxes, prefix: int) -> list[_Maps]:
    """Split an output into vectors, as maps of one place, and a map."""
    # Halves are too coarse for small differences.
    output = output.to(torch.promote_types(output.dtype, torch.float32))
    if axes.letters == ("c",):
        return [output.flatten(1)[:, :, None, None]]
    tokens = axes.rows(output)
    if "l" not in axes.letters:
        sizes = axes.places(tuple(output.shape))
        flat = len(sizes) == 2
        return [_map_or_mean(tokens.mT.unflatten(2, sizes)) if flat else _pooled(tokens)]
    parts = [tokens[:, :prefix].flatten(1)[:, :, None, None]] if prefix else []
    patches = tokens[:, prefix:]
    if axes.first == prefix and axes.grid is not None and len(axes.grid) == 2:
        parts.append(_map_or_mean(patches.mT.unflatten(2, axes.grid)))
    elif patches.shape[1]:
        parts.append(_pooled(patches))
    return parts


def _pooled(rows: Float[Tensor, "batch position channels"]) -> _Maps:
    return rows.mT.mean(dim=2)[:, :, None, None]


def _map_or_mean(values: _Maps) -> Float[Tensor, "batch channels height2 width2"]:
    large = min(values.shape[2:]) >= _LEAST_SIDE
    return values if large else values.mean(dim=(2, 3), keepdim=True)


def _seen(values: _Maps, transformation: str, size: tuple[int, int]) -> _Places:
    """Return the places that count: not the border, and for turns only the inscribed circle."""
    height, width = values.shape[2:]
    seen = torch.ones(height, width, dtype=torch.bool, device=values.device)
    if (height, width) == (1, 1):
        return seen
    seen[[0, -1]] = seen[:, [0, -1]] = False
    if transformation == "rotation":
        y = (torch.arange(height, device=values.device) + 0.5) / height - 0.5
        x = (torch.arange(width, device=values.device) + 0.5) / width - 0.5
        radius = torch.hypot(y[:, None] * size[0], x * size[1])
        seen &= radius <= min(size) / 2
    return seen


def _origins(axis: str, t: float, height: int, width: int) -> Float[Tensor, "2 3"]:
    """Return the matrix from each place of T_t x to its origin in x, in units of half a map."""
    if axis != "turn":
        shift = (2 * t / width, 0.0) if axis == "x" else (0.0, 2 * t / height)
        return torch.tensor([[1.0, 0.0, -shift[0]], [0.0, 1.0, -shift[1]]], dtype=torch.float64)
    cosine, sine = math.cos(math.radians(t)), math.sin(math.radians(t))
    rows = [[cosine, -sine * height / width, 0.0], [sine * width / height, cosine, 0.0]]
    return torch.tensor(rows, dtype=torch.float64)


def _moved(values: _Maps, origins: Float[Tensor, "2 3"]) -> _Maps:
    """Move images or maps; a map of one place stays."""
    if values.shape[2:] == (1, 1):
        return values
    where = affine_grid(origins[None].to(values), [1, *values.shape[1:]], align_corners=False)
    return grid_sample(
        values,
        where.expand(len(values), -1, -1, -1),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )


def _checked(images: Tensor, transformation: str) -> Tensor:
    if transformation not in _STEPS:
        raise unknown_name("`transformation`", transformation, _STEPS)
    kind, shape = getattr(images, "dtype", type(images)), getattr(images, "shape", ())
    if len(shape) != 4 or 0 in shape or "float" not in str(kind):
        raise OrbitLensError(
            "`images`",
            expected="at least one image, in floating point, [n, channels, height, width]",
            received=f"{kind} of shape {list(shape)}",
            remedy="convert the images to floating point",
        )
    return as_tensor("images", images, dtype=None)
