"""What the recipes share: the columns of the paper's tables, resumable jobs, and comparison.

The recipes themselves live outside the package, in `recipes/`, one folder per experiment.

Recipe, main                 a recipe and the program that its run.py is
BUDGETS                      the names of its settings
Job                          a part of a recipe that is done or not done
Column, COLUMNS              the SAEs of the paper's tables, with what each is trained on
build_column                 an untrained SAE of a column
summarise                    mean and spread over seeds
compare, Comparison          ours beside the published value, with a verdict
read_table                   from a CSV file
locate, names                the recipes of this checkout or installation
"""

from orbitlens.reproduce.columns import COLUMNS, Column, build_column
from orbitlens.reproduce.compare import Comparison, compare
from orbitlens.reproduce.jobs import Job
from orbitlens.reproduce.locate import locate, names
from orbitlens.reproduce.main import BUDGETS, Recipe, main
from orbitlens.reproduce.tables import read_table, summarise

__all__ = [
    "BUDGETS",
    "COLUMNS",
    "Column",
    "Comparison",
    "Job",
    "Recipe",
    "build_column",
    "compare",
    "locate",
    "main",
    "names",
    "read_table",
    "summarise",
]
