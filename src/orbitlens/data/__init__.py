"""Inputs to look at.

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
image_folder   PNG, JPEG and TIFF files, in a subfolder per class      -> Inputs

Downloads and their checksums: `orbitlens.data.download`.
"""

from orbitlens.data.base import Inputs
from orbitlens.data.cells import cells
from orbitlens.data.digits import digits
from orbitlens.data.folder import image_folder
from orbitlens.data.galaxy_mnist import galaxy_mnist
from orbitlens.data.lazy import LazyInputs
from orbitlens.data.mll23 import mll23
from orbitlens.data.photographs import photographs
from orbitlens.data.shape_tasks import Tasks, shape_tasks
from orbitlens.data.shapes import Shapes, shapes
from orbitlens.data.toy import ToyData, toy

__all__ = [
    "Inputs",
    "LazyInputs",
    "Shapes",
    "Tasks",
    "ToyData",
    "cells",
    "digits",
    "galaxy_mnist",
    "image_folder",
    "mll23",
    "photographs",
    "shape_tasks",
    "shapes",
    "toy",
]
