"""Data sets, and records of inputs.

Inputs         the record of a labelled set of inputs
LazyInputs     inputs that are read when they are needed
toy            sparse sums of known features under a known matrix      -> ToyData
shapes         a glyph in each quadrant of an image                    -> Shapes
shape_tasks    the 180 questions about these images                    -> Tasks
digits         scikit-learn's handwritten digits                       -> Inputs
photographs    patches of scikit-learn's two photographs               -> Inputs
cells          made-up blood cells of four kinds                       -> Inputs
galaxy_mnist   galaxies in four classes of shape, from HDF5            -> Inputs
mll23          blood cells in 18 classes, from a folder per class      -> Inputs
MLL23_CLASSES  the names of these classes
image_folder   PNG, JPEG, TIFF, WebP and BMP, a subfolder per class    -> Inputs

For the other rooms:

Indexed        the type of everything with a length and items
Rows           the type of a tensor of inputs, or of lazy inputs
as_rows        a tensor, or anything with a length and items -> Rows
copies_among   a hash of each of them
"""

from orbitlens.data.base import Inputs
from orbitlens.data.cells import cells
from orbitlens.data.digits import digits
from orbitlens.data.folder import image_folder
from orbitlens.data.galaxy_mnist import galaxy_mnist
from orbitlens.data.lazy import Indexed, LazyInputs, Rows, as_rows, copies_among
from orbitlens.data.mll23 import MLL23_CLASSES, mll23
from orbitlens.data.photographs import photographs
from orbitlens.data.shapes import Shapes, Tasks, shape_tasks, shapes
from orbitlens.data.toy import ToyData, toy

__all__ = [
    "MLL23_CLASSES",
    "Indexed",
    "Inputs",
    "LazyInputs",
    "Rows",
    "Shapes",
    "Tasks",
    "ToyData",
    "as_rows",
    "cells",
    "copies_among",
    "digits",
    "galaxy_mnist",
    "image_folder",
    "mll23",
    "photographs",
    "shape_tasks",
    "shapes",
    "toy",
]
