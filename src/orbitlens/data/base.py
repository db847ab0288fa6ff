"""A labelled set of inputs as a record."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from orbitlens.checks import as_texts
from orbitlens.data._digest import header_hash, numbers_of
from orbitlens.data.lazy import LazyInputs
from orbitlens.errors import OrbitLensError


@dataclass(frozen=True, eq=False)
class Inputs:
    """A labelled set of inputs.

    Args:
        name: Name of the set, such as "digits".
        values: The inputs; images are [n, channels, height, width], float32 in [0, 1]. Lazy ones
            are read when they are needed.
        labels: One class index per sample, shape [n], or None.
        class_names: Name of each label; empty without labels.
        files: For a folder, the file of each sample, relative to the folder; otherwise empty.
        skipped: Names of what was left out: files that could not be read or have other formats, and
            folders without images.
        passed_over: Sentences that say what was left out, and how much of it.
        oblong: Number of image files that were made square.

    Raises:
        OrbitLensError: If labels or files do not fit the values.

    Example:
        >>> import torch
        >>> inputs = Inputs("noise", torch.zeros(3, 1, 8, 8))
        >>> inputs.digest
        '8bb64d6724e0dc66'
    """

    name: str
    values: Float[Tensor, "n *axes"] | LazyInputs
    labels: Int64[np.ndarray, " samples"] | None = None
    class_names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    oblong: int = 0

    def __post_init__(self) -> None:
        n = len(self.values)
        as_texts("class_names", self.class_names)
        if self.labels is not None and len(self.labels) != n:
            raise OrbitLensError(
                "`labels`",
                expected=f"one per sample, {n}",
                received=len(self.labels),
                remedy="give every sample one label",
            )
        if self.labels is not None and not set(np.unique(self.labels)) <= set(
            range(len(self.class_names))
        ):
            raise OrbitLensError(
                "`labels`",
                expected=f"indices of the {len(self.class_names)} class names",
                received=f"{self.labels.min()} to {self.labels.max()}",
                remedy="name every class in `class_names`",
            )
        if self.files and len(self.files) != n:
            raise OrbitLensError(
                "`files`",
                expected=f"one per sample, {n}, or none",
                received=len(self.files),
                remedy="give every sample its file",
            )

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that change with any value, any label, and the shape."""
        if isinstance(self.values, LazyInputs):
            content = self.values.content()
        else:
            values = numbers_of(self.values)
            content = header_hash(str(values.dtype), values.shape)
            content.update(values.data)
        if self.labels is not None:
            content.update(b"labels")
            content.update(np.ascontiguousarray(self.labels).data)
        return str(content.hexdigest())[:16]

    def subset(self, n: int, *, seed: int) -> "Inputs":
        """Return n random samples in their original order, or all samples if there are no more.

        Args:
            n: Maximum number of samples.
            seed: The same seed gives the same samples.

        Example:
            >>> import torch
            >>> Inputs("noise", torch.zeros(9, 1, 8, 8)).subset(4, seed=0).values.shape
            torch.Size([4, 1, 8, 8])
        """
        if n >= len(self.values):
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self.values))[:n])
        return replace(
            self,
            values=self.values[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            files=tuple(self.files[i] for i in chosen) if self.files else (),
        )
