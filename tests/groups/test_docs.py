"""What the pages say of the order of elements is true."""

import re
from itertools import pairwise

import numpy as np
import torch

import orbitlens as ol
from orbitlens.actions import describe_elements
from orbitlens.typing import Float

from ..house import ROOT

PAGE = (ROOT / "docs" / "groups-and-actions.md").read_text()
GROUPS = PAGE[PAGE.index("## Groups") : PAGE.index("## Inputs")]
X = np.random.default_rng(0).random((40, 1, 4, 4)).astype(np.float32)


def embed(x: np.ndarray | torch.Tensor) -> Float[np.ndarray, "n dim"]:
    return np.asarray(x).reshape(len(x), -1)


def test_the_table_of_d4_has_its_symbols_and_words() -> None:
    rows = re.findall(r"(?m)^\| (\d) \| (.+?) \| (.+?) \|$", GROUPS)
    group = ol.groups.dihedral(4)
    words = describe_elements(group, "images")
    expected = [(str(g), group.element_names[g], words[g]) for g in range(8)]
    assert rows == expected


def test_the_programs_make_orbits_in_the_order_of_the_group() -> None:
    programs = re.findall(r"```python\n(.*?)```", GROUPS, re.DOTALL)
    assert len(programs) == 3
    made = []
    for program in programs:
        names = {"ol": ol, "np": np, "x": torch.from_numpy(X), "embed": embed}
        names["x"] = X if "rot90" in program else names["x"]
        exec(program, names)  # noqa: S102  # the program is ours
        made.append(names["array"])
    assert np.array_equal(made[0][:, :4], made[1])
    assert np.array_equal(made[1], made[2])


def test_the_readme_makes_the_same_array() -> None:
    (line,) = re.findall(r"`(np\.stack\(.+?\))`", (ROOT / "README.md").read_text())
    array = eval(line, {"np": np, "x": X, "embed": embed})  # noqa: S307  # the line is ours
    turn = ol.actions.images("C4")
    expected = [embed(turn(torch.from_numpy(X), g)) for g in range(4)]
    assert np.array_equal(array, np.stack(expected, axis=1))


def test_the_order_of_permutations_and_products_is_as_described() -> None:
    assert ", ".join(ol.groups.symmetric(3).element_names) in GROUPS
    four = ol.groups.symmetric(4)
    lengths = [len(word) for word in four.words]
    assert all(shorter <= longer for shorter, longer in pairwise(lengths))
    assert ol.groups.from_name("C2xC3").element_names[1 * 3 + 2] == "(r, r^2)"


def test_a_cube_is_moved_as_its_symbols_say() -> None:
    g = ol.groups.octahedral().element_names.index("y -x z")
    assert ol.groups.signed_axes()[g].T.tolist() == [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]
    assert describe_elements("O", "volumes")[g] == "quarter turn about z"
