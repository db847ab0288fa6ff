"""The layout of a layer's output: which axis holds channels, which places, which first tokens.

layout_sentence   a recorded layout in words: "48 channels at 60 places"

For the other rooms:

find_layouts      the one function that decides: an OutputAxes for each layer, or Unclear
OutputAxes        the axes of an output, in the letters of einops
Unclear           axes that stay open, with the choices
Layouts           the type of a user's `layout`
read_layout       read a user's layout
layouts_of        the usual layouts of a shape
grid_of           where places move under an action
"""

from orbitlens.activations.layout._axes import (
    OutputAxes,
    layout_sentence,
    layouts_of,
    read_layout,
)
from orbitlens.activations.layout._find_layouts import Layouts, Unclear, find_layouts
from orbitlens.activations.layout._probe import grid_of

__all__ = [
    "Layouts",
    "OutputAxes",
    "Unclear",
    "find_layouts",
    "grid_of",
    "layout_sentence",
    "layouts_of",
    "read_layout",
]
