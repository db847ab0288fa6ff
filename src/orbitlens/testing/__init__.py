"""Tests to inherit: one contract class for each kind of part, and `assert_equivariant`.

The test file of a part subclasses its contract, with one method that builds the part:

    class TestTopK(SparsityContract):
        def build(self) -> Sparsity:
            return TopK(3)

EncoderContract      encoders of an SAE
SparsityContract     sparsity rules
DictionaryContract   dictionaries
ObjectiveContract    objectives: one value per sample
TransportContract    transports, on data with an exact linear action
SplitContract        models whose code is an invariant part and a pose
assert_equivariant   f(rho_in(g) x) = rho_out(g) f(x) for every element
LATENTS              the latents that a contract builds
ORDER                the order of a group that divides them
"""

from typing import TYPE_CHECKING

from orbitlens._lazy import lazy_names

if TYPE_CHECKING:
    from orbitlens.testing._sizes import LATENTS, ORDER
    from orbitlens.testing.equivariance import assert_equivariant
    from orbitlens.testing.objectives import ObjectiveContract
    from orbitlens.testing.parts import DictionaryContract, EncoderContract, SparsityContract
    from orbitlens.testing.splits import SplitContract
    from orbitlens.testing.transports import TransportContract
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "LATENTS",
    "ORDER",
    "DictionaryContract",
    "EncoderContract",
    "ObjectiveContract",
    "SparsityContract",
    "SplitContract",
    "TransportContract",
    "assert_equivariant",
]
