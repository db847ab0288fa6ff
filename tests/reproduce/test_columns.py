"""The columns of the paper's tables."""

import pytest
import torch

from orbitlens import objectives
from orbitlens.errors import OrbitLensError
from orbitlens.reproduce import COLUMNS, build_column
from orbitlens.sae import (
    ArchetypalDictionary,
    CrosscoderDictionary,
    FreeDictionary,
    MLPEncoder,
    TopK,
)

KINDS = {
    "free": FreeDictionary,
    "archetypal": ArchetypalDictionary,
    "crosscoder": CrosscoderDictionary,
}


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_has_its_dictionary_and_width(name: str) -> None:
    column = COLUMNS[name]
    sae = build_column(
        column, 6, 8, 3, hidden=5, group_order=4, candidates=torch.randn(9, 6), seed=0
    )
    assert isinstance(sae.dictionary, KINDS[column.dictionary])
    assert isinstance(sae.encoder, MLPEncoder)
    assert isinstance(sae.sparsity, TopK)
    assert (sae.d_in, sae.d_sae, sae.encoder.hidden, sae.sparsity.k) == (
        6, 32 if name.endswith("_wide") else 8, 5, 3,
    )  # fmt: skip
    if isinstance(sae.dictionary, CrosscoderDictionary):
        assert sae.dictionary.group_order == 4


def test_a_transport_follows_the_equivariant_columns_alone() -> None:
    assert all(
        column.transported == name.startswith("equivariant") for name, column in COLUMNS.items()
    )
    assert {column.objective for column in COLUMNS.values() if column.transported} == {
        objectives.canonical, objectives.latent_invariance, objectives.output_invariance,
    }  # fmt: skip


def test_an_archetypal_column_without_candidates_is_rejected() -> None:
    with pytest.raises(OrbitLensError, match="`candidates`.*archetypal_wide is built"):
        build_column(COLUMNS["archetypal_wide"], 6, 8, 3, hidden=5, group_order=4)
