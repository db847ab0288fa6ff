"""Code that the recipes share: columns of the paper's tables, resumable jobs, and comparison.

The recipes themselves live outside the package, in `recipes/`, one folder per experiment.

Recipe, main                 a recipe, and the program in its run.py
run_recipe                   the same from Python
BUDGETS                      the names of its settings
Job                          a part of a recipe that is done or not done
Column, COLUMNS              the SAEs of the paper's tables
build_column                 an untrained SAE of a column; column_objective, what it minimises
oriented_reconstruction      its reconstruction of samples in any orientation
centroids                    k-means centroids of activations, for the archetypal SAEs
train_steps, draw_batches    training of networks that are no SAEs, step by step
layer_figures, layer_table   the layer report of a network that may be symmetrized
layer_row                    a line of it, from a row of `measure_network`
agreement                    whether copies of irreps that were found are those that were promised
keep_network                 keeps a trained network, for `orbitlens transport recipe:NAME`
summarise                    mean and spread over seeds
worst_of_seeds               the worst seed beside what is wanted
compare, Comparison          ours beside the published value, with a verdict
comparison_lines             comparisons as lines of text
result_lines                 results as lines of text, where nothing is published
read_table                   from a CSV file
line_panels                  a figure with one line per SAE; by_panel, one panel per setting
locate, names                the recipes of this checkout or installation

Its modules are public too: `classes` and `shapes_tables` declare recipes, and `shapes` makes the
base models of Shapes.
"""

from typing import TYPE_CHECKING

from orbitlens._lazy import lazy_names

if TYPE_CHECKING:
    from orbitlens.reproduce._compare import Comparison, compare, comparison_lines, result_lines
    from orbitlens.reproduce._jobs import Job
    from orbitlens.reproduce._layer_figures import (
        agreement,
        layer_figures,
        layer_row,
        layer_table,
    )
    from orbitlens.reproduce._locate import BUDGETS, locate, names
    from orbitlens.reproduce._networks import keep_network
    from orbitlens.reproduce._plots import by_panel, line_panels
    from orbitlens.reproduce._saes import centroids
    from orbitlens.reproduce._steps import draw_batches, train_steps
    from orbitlens.reproduce._tables import read_table, summarise, worst_of_seeds
    from orbitlens.reproduce.columns import (
        COLUMNS,
        Column,
        build_column,
        column_objective,
        oriented_reconstruction,
    )
    from orbitlens.reproduce.recipe import Recipe, main, run_recipe
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "BUDGETS",
    "COLUMNS",
    "Column",
    "Comparison",
    "Job",
    "Recipe",
    "agreement",
    "build_column",
    "by_panel",
    "centroids",
    "column_objective",
    "compare",
    "comparison_lines",
    "draw_batches",
    "keep_network",
    "layer_figures",
    "layer_row",
    "layer_table",
    "line_panels",
    "locate",
    "main",
    "names",
    "oriented_reconstruction",
    "read_table",
    "result_lines",
    "run_recipe",
    "summarise",
    "train_steps",
    "worst_of_seeds",
]
