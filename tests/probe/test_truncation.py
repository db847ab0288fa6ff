"""The truncated reconstruction, still and moved."""

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitlens import groups, reps
from orbitlens.errors import OrbitLensError
from orbitlens.probe import infer_orientation, truncated_reconstruction

D4 = reps.regular(groups.dihedral(4)).matrices.float()


def planted(seed: int, n: int = 30) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn(n, 12, generator=generator).relu()
    W_dec = torch.randn(12, 8, generator=generator)
    return codes, W_dec, torch.randint(0, 8, (n,), generator=generator)


def test_keeping_everything_is_the_whole_dictionary_and_nothing_kept_is_zero() -> None:
    codes, W_dec, _ = planted(0)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(truncated_reconstruction(codes, W_dec, order), codes @ W_dec)
    nothing = truncated_reconstruction(codes, W_dec, order[:0])
    assert nothing.abs().max() == 0


def test_parts_add_up() -> None:
    codes, W_dec, elements = planted(0)
    parts = [
        truncated_reconstruction(codes, W_dec, kept, matrices=D4, elements=elements)
        for kept in (torch.tensor([3, 8]), torch.tensor([0, 1]), torch.tensor([3, 8, 0, 1]))
    ]
    torch.testing.assert_close(parts[0] + parts[1], parts[2])


def test_moving_the_reconstruction_equals_decoding_with_the_moved_dictionary() -> None:
    codes, W_dec, elements = planted(0)
    kept = torch.tensor([5, 2, 9])
    moved = truncated_reconstruction(codes, W_dec, kept, matrices=D4, elements=elements)
    still = truncated_reconstruction(codes, W_dec, kept)
    for sample, g in enumerate(elements.tolist()):
        torch.testing.assert_close(moved[sample], D4[g] @ still[sample])
        dictionary = torch.stack([D4[g] @ row for row in W_dec])
        one = truncated_reconstruction(codes[sample : sample + 1], dictionary, kept)
        torch.testing.assert_close(moved[sample], one[0])


def test_at_the_identity_nothing_moves() -> None:
    codes, W_dec, elements = planted(0)
    kept = torch.tensor([1, 4])
    at_identity = truncated_reconstruction(
        codes, W_dec, kept, matrices=D4, elements=torch.zeros_like(elements)
    )
    torch.testing.assert_close(at_identity, truncated_reconstruction(codes, W_dec, kept))


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=25)
def test_planted_orientations_are_inferred_exactly(seed: int) -> None:
    codes, W_dec, elements = planted(seed)
    codes[:, 0] += 0.5
    everything = torch.arange(12)
    x = truncated_reconstruction(codes, W_dec, everything, matrices=D4, elements=elements)
    assert infer_orientation(x, codes @ W_dec, D4).tolist() == elements.tolist()


def test_noise_well_below_the_signal_does_not_turn_samples() -> None:
    codes, W_dec, elements = planted(0, n=200)
    codes[:, 0] += 2
    x = truncated_reconstruction(codes, W_dec, torch.arange(12), matrices=D4, elements=elements)
    noise = 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    inferred = infer_orientation(x + noise, codes @ W_dec, D4)
    assert (inferred == elements).double().mean() > 0.98


def test_ties_go_to_the_lowest_element() -> None:
    constant = torch.ones(3, 8)
    assert infer_orientation(torch.randn(3, 8), constant, D4).tolist() == [0, 0, 0]


def test_bad_input_is_rejected(monkeypatch) -> None:
    codes, W_dec, elements = planted(0)
    kept = torch.tensor([0])
    with pytest.raises(OrbitLensError, match="expected both or neither, received `matrices` alone"):
        truncated_reconstruction(codes, W_dec, kept, matrices=D4)
    with pytest.raises(OrbitLensError, match="received `elements` alone"):
        truncated_reconstruction(codes, W_dec, kept, elements=elements)
    with pytest.raises(OrbitLensError, match="numbers in 0..7, received numbers in 8..8"):
        truncated_reconstruction(codes, W_dec, kept, matrices=D4, elements=elements * 0 + 8)
    # As in a user's process, where annotations are not checked.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=r"shape of `x`, \(30, 12\), received \(1, 12\)"):
        infer_orientation(codes, codes[:1], D4)
