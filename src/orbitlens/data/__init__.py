"""Data sets, and records of inputs.

Inputs         the record of a labelled set of inputs
LazyInputs     inputs that are read when they are needed
toy            sparse sums of known features under a known matrix      -> ToyData
sparse_mixtures  sums of more directions than dimensions, of norm one  -> SparseMixtures
shapes         a glyph in each quadrant of an image                    -> Shapes
shape_tasks    the 180 questions about these images                    -> Tasks
digits         scikit-learn's handwritten digits                       -> Inputs
photographs    patches of scikit-learn's two photographs               -> Inputs
cells          made-up blood cells of four kinds                       -> Inputs
placed_shapes  one shape each, at a known place on a torus              -> Placed
placed         the same for images of any kind                         -> Placed
moving_shapes  sequences of a shape that turns or shifts step by step  -> MovingShapes
cycle_pairs    graphs of one cycle or of two                           -> Inputs
shift_tasks    linear tasks that share filters on a line                -> ShiftTasks
TurnedFields   tasks that are convolutions by turned filters
HeldTasks      tasks in memory, each with examples
TaskFamily     the protocol of everything that tasks are drawn from
Episodes       some tasks, with examples to adapt on and to be tested on
block_episodes blocks that move on a grid                              -> BlockEpisodes
BlockEpisodes  their states and actions
step_blocks    one step of this world; BLOCK_MOVES names the moves
render_blocks  an oblique view of it, as pictures
block_moves    how turns and flips of the grid permute the moves
n_body         charged bodies, and where they are a while later        -> NBody
galaxy_mnist   galaxies in four classes of shape, from HDF5            -> Inputs
mll23          blood cells in 18 classes, from a folder per class      -> Inputs
MLL23_CLASSES  the names of these classes
image_folder   PNG, JPEG, TIFF, WebP and BMP, a subfolder per class    -> Inputs
array_file     inputs of any kind in a .npz or .npy file                -> Inputs

For the other rooms:

CROPS          the ways to make an oblong image square
Indexed        the type of everything with a length and items
Rows           the type of a tensor of inputs, or of lazy inputs
array_shape    the shape of the inputs in such a file
is_array_file  whether a name is that of one
as_rows        a tensor, or anything with a length and items -> Rows
copies_among   a hash of each of them
"""

from orbitlens.data._pictures import CROPS
from orbitlens.data.arrays import array_file, array_shape, is_array_file
from orbitlens.data.base import Inputs
from orbitlens.data.blocks import (
    BLOCK_MOVES,
    BlockEpisodes,
    block_episodes,
    block_moves,
    render_blocks,
    step_blocks,
)
from orbitlens.data.cells import cells
from orbitlens.data.cycle_pairs import cycle_pairs
from orbitlens.data.digits import digits
from orbitlens.data.folder import image_folder
from orbitlens.data.galaxy_mnist import galaxy_mnist
from orbitlens.data.lazy import Indexed, LazyInputs, Rows, as_rows, copies_among
from orbitlens.data.mll23 import MLL23_CLASSES, mll23
from orbitlens.data.moving_shapes import MovingShapes, moving_shapes
from orbitlens.data.n_body import NBody, n_body
from orbitlens.data.photographs import photographs
from orbitlens.data.placed_shapes import Placed, placed, placed_shapes
from orbitlens.data.shapes import Shapes, Tasks, shape_tasks, shapes
from orbitlens.data.shift_tasks import ShiftTasks, TurnedFields, shift_tasks
from orbitlens.data.sparse_mixtures import SparseMixtures, sparse_mixtures
from orbitlens.data.task_families import Episodes, HeldTasks, TaskFamily
from orbitlens.data.toy import ToyData, toy

__all__ = [
    "BLOCK_MOVES",
    "CROPS",
    "MLL23_CLASSES",
    "BlockEpisodes",
    "Episodes",
    "HeldTasks",
    "Indexed",
    "Inputs",
    "LazyInputs",
    "MovingShapes",
    "NBody",
    "Placed",
    "Rows",
    "Shapes",
    "ShiftTasks",
    "SparseMixtures",
    "TaskFamily",
    "Tasks",
    "ToyData",
    "TurnedFields",
    "array_file",
    "array_shape",
    "as_rows",
    "block_episodes",
    "block_moves",
    "cells",
    "copies_among",
    "cycle_pairs",
    "digits",
    "galaxy_mnist",
    "image_folder",
    "is_array_file",
    "mll23",
    "moving_shapes",
    "n_body",
    "photographs",
    "placed",
    "placed_shapes",
    "render_blocks",
    "shape_tasks",
    "shapes",
    "shift_tasks",
    "sparse_mixtures",
    "step_blocks",
    "toy",
]
