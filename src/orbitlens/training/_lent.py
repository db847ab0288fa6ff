"""An SAE that is lent to a training: as it was before, to be put back if no step was taken."""

from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor, nn

from orbitlens.kernels import spread
from orbitlens.sae import SAE


@final
class Lent:
    """The weights, buffers and modes of an SAE before anything is changed.

    `forget` drops what the first step makes useless, all but the frozen weights.
    """

    def __init__(self, sae: SAE) -> None:
        self._sae = sae
        tensors = [*sae.named_parameters(), *sae.named_buffers()]
        with spread():
            self._tensors = {name: tensor.detach().clone() for name, tensor in tensors}
        self._frozen = {name for name, own in sae.named_parameters() if not own.requires_grad}
        self._modes = [(part, part.training) for part in sae.modules()]

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the names and values of the tensors that are known still."""
        yield from self._tensors.items()

    def forget(self) -> None:
        """Free the memory of everything that training changes."""
        self._tensors = {name: self._tensors[name] for name in self._frozen}

    def release(self, weights: nn.Parameter) -> None:
        """Let frozen weights keep the value that the training has given them."""
        self._frozen -= {name for name, own in self._sae.named_parameters() if own is weights}

    def put_back(self) -> None:
        """Give the SAE the tensors that are known still, to the bit, and its modes."""
        self.put_back_frozen()
        for name in self._tensors.keys() - self._frozen:
            owner, _, leaf = name.rpartition(".")
            part, tensor = self._sae.get_submodule(owner), self._tensors[name]
            old = getattr(part, leaf)
            if isinstance(old, nn.Parameter):
                old.data = tensor
            else:
                # A new tensor, since a module may cache facts about the old one.
                setattr(part, leaf, tensor)
        self.put_back_modes()

    @torch.no_grad()
    def put_back_frozen(self) -> None:
        """Give frozen weights the values that they had."""
        for name in self._frozen:
            self._sae.get_parameter(name).data = self._tensors[name]

    def put_back_modes(self) -> None:
        """Let every part train, or not, as before."""
        for part, training in self._modes:
            part.training = training
