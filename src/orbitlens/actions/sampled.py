"""Actions of groups without a short list of elements: their elements are drawn.

S_n has n! elements, SO(3) and O(3) have a continuum. An element is a tuple of orthogonal matrices,
one for each factor of the group: a permutation matrix, a rotation or reflection of space, or both.
"""

import re
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from orbitlens.actions._haar import (
    as_prefix_mask,
    haar_permutations,
    haar_reflections,
    haar_rotations,
)
from orbitlens.checks import as_count, as_floats, as_switch, as_text, check_kind
from orbitlens.errors import OrbitLensError, unknown_name

# One matrix per input and factor of the group; the sizes of the factors differ.
_Elements = tuple[Float[Tensor, "n _ _"], ...]

_SPACE = re.compile(r"(?:S([1-9]\d*)X)?(SO3|O3)")


@final
@dataclass(frozen=True, eq=False)
class SampledAction:
    """A left action g(hx) = (gh)x whose elements are drawn, and differ from input to input.

        (gx)[i] = sum_j P[i, j] (c + R (x[j] - c))

    for the points i and j of an input, with a permutation matrix P and a rotation or reflection R.
    `relabelling` and `rotations` make these records.

    An element is a tuple of one matrix for each factor of the group and each input, shape
    [n, d, d]: P, if the group permutes, with P[i, j] = 1 where node j goes to i; then R, if the
    group turns. Both are orthogonal, so the transpose is the inverse.

    Args:
        name: Name of the function that makes it, "relabelling" or "rotations".
        group: Name of the group: "S12", "SO3", "O3", "S5xSO3" or "S5xO3".
        nodes: Points that P permutes; 0 where the group does not permute.
        pairs: Whether the first `nodes` columns are an adjacency matrix, which P permutes too.
        vectors: Vectors of three columns that R turns; 0 where the group does not turn.
        special: Whether R only turns, and never reflects.
        centred: Whether c is the centroid of the first vectors; otherwise it is the origin.

    Example:
        >>> action = relabelling(3)
        >>> action
        SampledAction(relabelling, S3)
        >>> edge = torch.tensor([[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
        >>> turn = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
        >>> action(edge, (turn,))[0].int().tolist()  # from 0 -> 1 to 1 -> 2
        [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    """

    name: str
    group: str
    nodes: int = 0
    pairs: bool = False
    vectors: int = 0
    special: bool = False
    centred: bool = False

    def __repr__(self) -> str:
        return f"SampledAction({self.name}, {self.group})"

    def __call__(
        self, inputs: Float[Tensor, "n points columns"], elements: _Elements
    ) -> Float[Tensor, "n points columns"]:
        """Return gx for every input, each with its own element.

        Args:
            inputs: Inputs of shape [n, points, columns].
            elements: One matrix for each input and factor, such as `draw` returns.

        Returns:
            The moved inputs, same shape.

        Raises:
            OrbitLensError: If the action cannot move the inputs, or if the elements are not those
                of this group, one for each input.
        """
        self.check(inputs)
        wanted = [(len(inputs), size, size) for size in self._sizes]
        found = [tuple(each.shape) for each in elements]
        if found != wanted:
            raise OrbitLensError(
                "`elements`",
                expected=f"matrices of shape {', '.join(str(list(each)) for each in wanted)}",
                received=f"shape {', '.join(str(list(each)) for each in found) or 'none'}",
                remedy="draw one element for each input with action.draw",
            )
        return self.apply(inputs, elements)

    def draw(
        self,
        n: int,
        generator: torch.Generator,
        like: Shaped[Tensor, "..."],
        mask: Bool[Tensor, "n nodes"] | None = None,
    ) -> _Elements:
        """Return n elements that are drawn by the Haar measure, uniform on the group.

        Args:
            n: Elements to draw.
            generator: Source of the random numbers; the same state gives the same elements.
            like: A tensor whose type and device the elements get; float32 if it holds no floats.
            mask: True at the nodes that are there, False at the padding after them, shape
                [n, nodes]; padding stays where it is. None (the default) where nothing is padded.

        Returns:
            One tensor [n, d, d] for each factor of the group.

        Raises:
            OrbitLensError: If the padding of a mask does not come last.
        """
        n, like = as_count("n", n, least=0), as_floats("like", like)
        check_kind("generator", generator, torch.Generator, "give torch.Generator()")
        drawn = []
        if self.nodes:
            valid = None if mask is None else as_prefix_mask(mask, n, self.nodes)
            drawn.append(haar_permutations(n, self.nodes, generator, valid))
        if self.vectors:
            haar = haar_rotations if self.special else haar_reflections
            drawn.append(haar(n, generator))
        return tuple(each.to(like) for each in drawn)

    def apply(
        self, inputs: Float[Tensor, "n points columns"], elements: _Elements
    ) -> Float[Tensor, "n points columns"]:
        """Return gx without any check; gradients reach the inputs and the elements."""
        left, factors = inputs, list(elements)
        if self.nodes:
            permutation = factors.pop(0)
            left = permutation @ left
            if self.pairs:
                near, features = left[..., : self.nodes], left[..., self.nodes :]
                left = torch.cat([near @ permutation.mT, features], dim=-1)
        if self.vectors:
            left, centroid = self.centre(left)
            width = 3 * self.vectors
            vectors = left[..., :width].unflatten(-1, (self.vectors, 3))
            turned = (vectors @ factors[0].mT[:, None]).flatten(-2)
            left = self.put_back(torch.cat([turned, left[..., width:]], dim=-1), centroid)
        return left

    def inverse(self, elements: _Elements) -> _Elements:
        """Return g^-1, the transpose of every matrix."""
        return tuple(each.mT for each in elements)

    def product(self, g: _Elements, h: _Elements) -> _Elements:
        """Return gh, which applies h first."""
        return tuple(left @ right for left, right in zip(g, h, strict=True))

    def centre(
        self,
        inputs: Float[Tensor, "n points columns"],
        mask: Bool[Tensor, "n points"] | None = None,
    ) -> tuple[Float[Tensor, "n points columns"], Float[Tensor, "n 1 3"]]:
        """Return the inputs about their centroid, and the centroid; padding stays as it is.

        An action that is not centred leaves the inputs, and the centroid is zero.
        """
        if not self.centred:
            return inputs, inputs.new_zeros(len(inputs), 1, 3)
        positions = inputs[..., :3]
        if mask is None:
            centroid = positions.mean(1, keepdim=True)
        else:
            there = as_prefix_mask(mask, *inputs.shape[:2])[..., None].to(positions)
            centroid = (positions * there).sum(1, keepdim=True) / there.sum(1, keepdim=True)
        return self.put_back(inputs, -centroid, mask), centroid

    def put_back(
        self,
        inputs: Float[Tensor, "n points columns"],
        centroid: Float[Tensor, "n 1 3"],
        mask: Bool[Tensor, "n points"] | None = None,
    ) -> Float[Tensor, "n points columns"]:
        """Return centred inputs about a centroid again: the inverse of `centre`."""
        if not self.centred:
            return inputs
        shift = centroid if mask is None else centroid * mask[..., None].to(centroid)
        return torch.cat([inputs[..., :3] + shift, inputs[..., 3:]], dim=-1)

    def check(self, inputs: Float[Tensor, "..."]) -> None:
        """Raise an OrbitLensError if the action cannot move the inputs."""
        points = str(self.nodes) if self.nodes else "points"
        least = self.nodes if self.pairs else 3 * self.vectors
        wrong = inputs.ndim != 3 or inputs.shape[2] < least
        if wrong or (self.nodes and inputs.shape[1] != self.nodes):
            columns = (
                f"{self.nodes} + features], the adjacency matrix first"
                if self.pairs
                else f"{least} + others], {self.vectors} vectors of three columns first"
                if self.vectors
                else "features]"
            )
            raise OrbitLensError(
                f"inputs under {self.name} of {self.group}",
                expected=f"shape [n, {points}, {columns}",
                received=list(inputs.shape),
                remedy="put both together with torch.cat([adjacency, features], 2)"
                if self.pairs
                else "bring the axes into this order, or build the action for these inputs",
            )
        if not inputs.is_floating_point():
            raise OrbitLensError(
                f"inputs under {self.name} of {self.group}",
                expected="floating point values",
                received=inputs.dtype,
                remedy="convert them with inputs.float()",
            )

    @property
    def _sizes(self) -> tuple[int, ...]:
        """Size of the matrix of each factor."""
        return ((self.nodes,) if self.nodes else ()) + ((3,) if self.vectors else ())


def relabelling(nodes: int, pairs: bool = True) -> SampledAction:
    """Return the action of S_n that relabels the nodes of graphs, for any number of nodes.

    (gx)[i] = sum_j P[i, j] x[j]   and, for the adjacency matrix, A becomes P A P^T

    `graphs` is the same action with a list of all elements, for at most 6 nodes.

    Args:
        nodes: Nodes of a graph, with padding.
        pairs: True (the default) for inputs [n, nodes, nodes + features]: the rows of the adjacency
            matrix, then the features of the nodes, as `graphs` has them. False for one row of
            features for each node, [n, nodes, features].

    Returns:
        The action. Permutation matrices move numbers without any rounding.

    Raises:
        OrbitLensError: If there is no node.

    Example:
        >>> action, x = relabelling(12), torch.rand(4, 12, 12 + 2)
        >>> (element,) = action.draw(4, torch.Generator().manual_seed(0), like=x)
        >>> element.shape, action(x, (element,)).shape
        (torch.Size([4, 12, 12]), torch.Size([4, 12, 14]))
    """
    nodes = as_count("nodes", nodes)
    return SampledAction("relabelling", f"S{nodes}", nodes, pairs=as_switch("pairs", pairs))


def rotations(group: str = "O3", vectors: int = 1, centred: bool = False) -> SampledAction:
    """Return the action of rotations and reflections on points in space, with S_n if it is named.

    (gx)[i] = c + R (x[i] - c)   for the first vector of every point;   the others become R v

    Args:
        group: "SO3" for rotations, "O3" (the default) for rotations and reflections, "S5xSO3" or
            "S5xO3" for those that also permute 5 points.
        vectors: Vectors of each point, three columns each. The first is a position; others, such as
            a velocity, have no place of their own. Columns after the vectors stay.
        centred: Whether c is the centroid of each cloud; False (the default) for the origin. A
            symmetrized network then follows translations too: it sees the cloud about its
            centroid, and outputs that are centred are put back there.

    Returns:
        The action on inputs [n, points, 3 * vectors + others].

    Raises:
        OrbitLensError: If the name of the group is unknown.

    Example:
        >>> action, x = rotations("SO3"), torch.eye(3)[None]
        >>> element = action.draw(1, torch.Generator().manual_seed(0), like=x)
        >>> bool((action(x, element)[0].norm(dim=1) - 1).abs().max() < 1e-6)
        True
    """
    text = re.sub(r"[() ]", "", as_text("group", group)).upper().replace("×", "X")
    match = _SPACE.fullmatch(text)
    if match is None:
        raise _unknown(group, text)
    nodes = int(match[1] or 0)
    return SampledAction(
        name="rotations",
        group=f"S{nodes}x{match[2]}" if nodes else match[2],
        nodes=nodes,
        vectors=as_count("vectors", vectors),
        special=match[2] == "SO3",
        centred=as_switch("centred", centred),
    )


def _unknown(group: str, text: str) -> OrbitLensError:
    alone = re.fullmatch(r"S([1-9]\d*)", text)
    if alone:
        return OrbitLensError(
            "`group` of rotations",
            expected="a group that turns",
            received=repr(group),
            remedy=f"use actions.relabelling({alone[1]}), or name S{alone[1]}xO3",
        )
    n = (re.findall(r"S([1-9]\d*)X", text) or ["5"])[0]
    known = ["SO3", "O3", f"S{n}xSO3", f"S{n}xO3"]
    return unknown_name("`group` of rotations", group, known)
