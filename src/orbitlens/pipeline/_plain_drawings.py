"""Pictures of inputs that are no images: letters, points, slices, cells and curves, on white.

Each takes moved inputs and returns pictures [k, 3, height, width] with values in [0, 1]. Each input
has its own scale, which stays the same when the group moves it, so that its pictures compare.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from orbitlens.actions import Action
from orbitlens.groups import turns_and_flips

Pictures = Float[Tensor, "k channels height width"]

_PANEL = 72  # pixels of a side
_GAP = 4
_SLICE = 48  # pixels of a side, of which there are three
_LETTERS = np.array([[0.07, 0.55, 0.20], [0.13, 0.33, 0.85], [0.85, 0.52, 0.0], [0.80, 0.10, 0.15]])
_GLYPHS = (
    "01110 10001 10001 11111 10001 10001 10001",  # A
    "01110 10001 10000 10000 10000 10001 01110",  # C
    "01110 10001 10000 10111 10001 10001 01110",  # G
    "11111 00100 00100 00100 00100 00100 00100",  # T
)
_PALE = 0.2
_LONGEST_TEXT, _IN_A_ROW, _CELLS_IN_A_ROW, _CELL = 360, 40, 60, 4
_INK = np.array([0.10, 0.20, 0.45])
_GREY = 0.75
_FEW_POINTS = 150
_FAINTEST = 0.35  # of the ink, for the farthest point
_CURVES = np.array(
    [[0.12, 0.35, 0.75], [0.85, 0.4, 0.0], [0.1, 0.55, 0.3], [0.7, 0.15, 0.4], [0.4, 0.3, 0.7]]
)
_WIDTH = 2 * _PANEL + _GAP


def draw_letters(inputs: Shaped[Tensor, "k 4 length"], action: Action) -> Pictures:
    """Draw DNA as letters in rows of 40 from the 5' end; long sequences as cells in their colours.

    What is no letter, such as padding, stays white.
    """
    del action
    shares = inputs.double().clamp(0, 1).mT.numpy()
    colour = 1 - shares @ (1 - _LETTERS)
    length = shares.shape[1]
    if length > _LONGEST_TEXT:
        cells = colour[:, :, None, None, :].repeat(_CELL, 2).repeat(_CELL, 3)
        return _in_rows(cells, _CELLS_IN_A_ROW)
    best = shares.argmax(2)
    ink = _glyphs()[best] & (shares.max(2) > 0.5)[..., None, None]
    cells = np.broadcast_to((1 - _PALE * (1 - colour))[:, :, None, None, :], (*ink.shape, 3))
    return _in_rows(np.where(ink[..., None], _LETTERS[best][:, :, None, None], cells), _IN_A_ROW)


def _glyphs() -> Bool[np.ndarray, "4 9 6"]:
    rows = [[[bit == "1" for bit in row] for row in glyph.split()] for glyph in _GLYPHS]
    return np.pad(np.array(rows), ((0, 0), (1, 1), (0, 1)))


def _in_rows(cells: Float[np.ndarray, "k length cell_height cell_width 3"], most: int) -> Pictures:
    """Lay cells out in rows of at most `most`, with white after the last one."""
    length = cells.shape[1]
    columns = min(length, most)
    rows = -(-length // columns)
    padding = ((0, 0), (0, rows * columns - length), (0, 0), (0, 0), (0, 0))
    padded = np.pad(np.clip(cells, 0, 1), padding, constant_values=1)
    k, _, height, width, _ = padded.shape
    grid = padded.reshape(k, rows, columns, height, width, 3).transpose(0, 5, 1, 3, 2, 4)
    return torch.from_numpy(grid.reshape(k, 3, rows * height, columns * width)).float()


def draw_points(inputs: Shaped[Tensor, "k points columns"], action: Action) -> Pictures:
    """Draw point clouds from above, x to the right and y up; in space, from the front beside it.

    The second view has x to the right and z up. Nearer points are darker.
    """
    dim = _dimensions(action)
    places = inputs[..., :dim].double().numpy()
    if action.config.get("centred"):
        places = places - places.mean(1, keepdims=True)
    reach = np.linalg.norm(places, axis=2).max(1)[:, None, None]
    places = places / np.where(reach > 0, reach, 1)
    if dim == 2:
        return _pictures([_view(cloud, (0, 1), None) for cloud in places])
    views = [(_view(each, (0, 1), each[:, 2]), _view(each, (0, 2), -each[:, 1])) for each in places]
    return _pictures([_beside(*both) for both in views])


def _dimensions(action: Action) -> int:
    if "matrices" in action.config:
        return min(3, len(action.config["matrices"][0]))
    flat = "axis" not in action.config and turns_and_flips(action.group) is not None
    return 2 if flat else 3


def _view(
    places: Float[np.ndarray, "points d"],
    axes: tuple[int, int],
    nearness: Float[np.ndarray, " points"] | None,
) -> Float[np.ndarray, "height width 3"]:
    """Draw points with coordinates in [-1, 1]; nearer ones cover others."""
    picture = np.ones((_PANEL, _PANEL, 3))
    radius = 1 if len(places) <= _FEW_POINTS else 0
    near = np.ones(len(places)) if nearness is None else nearness
    spot = np.rint((places[:, axes] * [1, -1] + 1) / 2 * (_PANEL - 5) + 2).astype(int)
    for i in np.argsort(near, kind="stable"):
        strength = _FAINTEST + (1 - _FAINTEST) * (near[i] + 1) / 2
        x, y = spot[i]
        rows, columns = slice(y - radius, y + radius + 1), slice(x - radius, x + radius + 1)
        picture[rows, columns] = 1 - strength * (1 - _INK)
    return picture


def draw_slices(inputs: Shaped[Tensor, "k parts side side side"], action: Action) -> Pictures:
    """Draw three slices through the middle of each volume: across z, across y and across x.

    The first has x to the right and y up, the second x and z, the third y and z. Of an even number
    of slices, the mean of both in the middle is drawn.
    """
    del action
    volumes = inputs.double().numpy()
    side = volumes.shape[-1]
    low, high = (end(volumes, (1, 2, 3, 4), keepdims=True) for end in (np.min, np.max))
    grey = (volumes - low) / np.where(high > low, high - low, 1)
    if grey.shape[1] != 3:
        grey = grey.mean(1, keepdims=True).repeat(3, 1)
    middle = np.s_[(side - 1) // 2 : side // 2 + 1]
    across_z = grey[:, :, middle].mean(2)
    across_y = grey[:, :, ::-1, middle].mean(3)
    across_x = grey[:, :, ::-1, ::-1, middle].mean(4)
    factor = max(1, _SLICE // side)
    panels = [
        each.transpose(0, 2, 3, 1).repeat(factor, 1).repeat(factor, 2)
        for each in (across_z, across_y, across_x)
    ]
    return _pictures([_beside(*views) for views in zip(*panels, strict=True)])


def draw_sets(inputs: Shaped[Tensor, "k element *axes"], action: Action) -> Pictures:
    """Draw each element of a set as a row: a bar for a number, cells for several; high is dark."""
    del action
    values = inputs.double().flatten(2).numpy() if inputs.ndim > 2 else inputs.double().numpy()
    if values.ndim == 3 and values.shape[2] > 1:
        return _pictures([_cells(each) for each in values])
    return _pictures([_bars(each) for each in values.reshape(len(values), -1)])


def draw_graphs(inputs: Shaped[Tensor, "k node columns"], action: Action) -> Pictures:
    """Draw each node as a row of cells: its edges, then its features; high is dark."""
    del action
    nodes, values = inputs.shape[1], inputs.double().numpy()
    pictures = []
    for each in values:
        edges, features = _cells(each[:, :nodes]), each[:, nodes:]
        pictures.append(_beside(edges, _cells(features)) if features.size else edges)
    return _pictures(pictures)


def draw_curves(inputs: Shaped[Tensor, "k *axes length"], action: Action) -> Pictures:
    """Draw each channel as a curve over the positions; many channels as rows of cells."""
    del action
    values = inputs.double().reshape(len(inputs), -1, inputs.shape[-1]).numpy()
    if values.shape[1] > len(_CURVES):
        return _pictures([_cells(each) for each in values])
    return _pictures([_curves(each) for each in values])


def _curves(channels: Float[np.ndarray, "channels length"]) -> Float[np.ndarray, "height width 3"]:
    picture, length = np.ones((_PANEL, _WIDTH, 3)), channels.shape[1]
    rows = (1 - _in_range(channels)) * (_PANEL - 3) + 1
    at = np.linspace(0, length - 1, _WIDTH)
    for curve, colour in zip(rows, _CURVES, strict=False):
        height = np.interp(at, np.arange(length), curve)
        after = np.append(height[1:], height[-1])
        top, end = np.minimum(height, after), np.maximum(height, after)
        places = np.arange(_PANEL)[:, None]
        picture[(places >= np.floor(top)) & (places <= np.ceil(end))] = colour
    return picture


def _bars(values: Float[np.ndarray, " rows"]) -> Float[np.ndarray, "height width 3"]:
    height = max(1, _PANEL // len(values))
    low, high = min(0.0, values.min()), max(0.0, values.max())
    ends = (np.stack([values, np.zeros_like(values)]) - low) / (high - low or 1) * (_PANEL - 1)
    at = np.arange(_PANEL)
    filled = (at >= np.floor(ends.min(0))[:, None]) & (at <= np.ceil(ends.max(0))[:, None])
    picture = np.where(filled[:, :, None], _INK, 1.0).repeat(height, 0)
    if height > 2:
        picture[height - 1 :: height] = 1
    return picture


def _cells(values: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "height width 3"]:
    size = max(1, _PANEL // max(values.shape))
    shades = 1 - _in_range(values)[:, :, None] * (1 - _INK)
    return shades.repeat(size, 0).repeat(size, 1)


def _in_range(values: Float[np.ndarray, "*axes"]) -> Float[np.ndarray, "*axes"]:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _beside(*panels: Float[np.ndarray, "height _ 3"]) -> Float[np.ndarray, "height width 3"]:
    """Put panels of one height side by side, with grey between them."""
    between = np.full((panels[0].shape[0], _GAP, 3), _GREY)
    parts = [part for panel in panels for part in (between, panel)]
    return np.concatenate(parts[1:], axis=1)


def _pictures(pictures: list[Float[np.ndarray, "height width 3"]]) -> Pictures:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()
