"""Mixed blocks: means of paths, equivariant convolutions, sizes of the paper's networks."""

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from orbitlens.actions import images
from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.relax.mixed import MixedBlock, layerwise_network, mixed_network
from orbitlens.symmetry.relax.use import SymmetryUse, symmetry_uses, unknown_uses

COUNTS = {
    ("conv",): 338_770,
    ("fc",): 133_635_690,
    ("f-fc",): 1_542_625,
    ("fc", "conv"): 133_865_010,
    ("f-fc", "conv"): 1_771_945,
}
shifts = st.integers(0, 7)


def size(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


@pytest.mark.parametrize("paths", COUNTS, ids="+".join)
def test_the_networks_of_the_paper_have_its_numbers_of_parameters(paths: tuple[str, ...]) -> None:
    with torch.device("meta"):
        assert size(layerwise_network(paths)) == COUNTS[paths]


def test_a_block_is_the_relu_of_the_mean_of_its_paths() -> None:
    block = MixedBlock(2, 4, 8, ("fc", "f-fc", "s-fc", "conv", "s-conv", "p4"), stride=2)
    x = torch.randn(3, 2, 8, 8)
    outputs = torch.stack([path(x) for path in block.paths.values()])
    assert outputs.shape == (6, 3, 4, 4, 4)
    assert torch.allclose(block(x), outputs.mean(0).relu(), atol=1e-6)


@settings(max_examples=20)
@given(down=shifts, right=shifts, name=st.sampled_from(["conv", "s-conv", "p4"]))
def test_convolutions_commute_with_shifts(down: int, right: int, name: str) -> None:
    block = MixedBlock(2, 4, 8, [name]).double()
    x = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    moved = block(x.roll((down, right), (2, 3)))
    assert torch.allclose(moved, block(x).roll((down, right), (2, 3)), atol=1e-12)


@settings(max_examples=20)
@given(down=shifts, right=shifts)
def test_with_grids_by_phase_each_shift_shifts_the_values_that_are_kept(
    down: int, right: int
) -> None:
    block = MixedBlock(1, 4, 8, ["conv"], stride=2, down="phase").double()
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    found, moved = (block(each)[0].detach() for each in (x, x.roll((down, right), (2, 3))))
    every = [found.roll((i, j), (1, 2)) for i in range(4) for j in range(4)]
    assert min(float((moved - each).abs().max()) for each in every) < 1e-12


@settings(max_examples=10)
@given(down=shifts, right=shifts)
def test_a_network_of_such_convolutions_is_invariant_to_every_shift(down: int, right: int) -> None:
    how = {"channels": (3, 4), "strides": (2, 4), "hidden": 5}
    network = mixed_network(1, 2, 8, paths=["conv"], down="phase", **how).double()  # type: ignore[arg-type]
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    assert torch.allclose(network(x.roll((down, right), (2, 3))), network(x), atol=1e-12)


def test_maxima_over_blocks_commute_with_shifts_by_the_stride() -> None:
    block = MixedBlock(1, 3, 8, ["conv"], stride=2).double()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    assert torch.allclose(block(x.roll(4, 2)), block(x).roll(2, 2), atol=1e-12)


@pytest.mark.parametrize("down", ["max", "phase"])
def test_an_output_does_not_depend_on_batch_mates(down: str) -> None:
    block = MixedBlock(1, 3, 8, ["conv"], stride=2, down=down).double()
    x = torch.randn(6, 1, 8, 8, dtype=torch.float64)
    together = block(x)
    alone = torch.cat([block(each[None]) for each in x])
    assert torch.allclose(together, alone, atol=1e-12)


def test_a_p4_path_commutes_with_quarter_turns() -> None:
    turns = images("C4", interpolation="bilinear")
    first = MixedBlock(1, 8, 8, ["p4"], stride=2).double()
    second = MixedBlock(8, 4, 4, ["p4"], lifts=False).double()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    out = second(first(x)).unflatten(1, (1, 4))
    for g in range(4):
        moved = second(first(turns.apply(x, g))).unflatten(1, (1, 4))
        turned = turns.apply(out.flatten(0, 2)[:, None], g).reshape(out.shape)
        order = [int(turns.group.table[turns.group.inverses[g], h]) for h in range(4)]
        assert torch.allclose(moved, turned[:, :, order], atol=1e-12)


def test_the_multi_group_block_has_three_paths_and_a_mean_of_them() -> None:
    how = {"channels": (4, 8), "strides": (2, 4), "hidden": 6}
    network = mixed_network(1, 3, 8, paths=["p4", "conv", "f-fc"], **how)  # type: ignore[arg-type]
    assert network(torch.randn(2, 1, 8, 8)).shape == (2, 3)
    assert list(network.block2.paths) == ["p4", "conv", "f-fc"]  # type: ignore[arg-type]


def test_a_block_does_not_know_its_use_before_it_is_measured() -> None:
    network = mixed_network(1, 2, 4, channels=[2], strides=[4], hidden=3)
    assert symmetry_uses(network) == {}
    assert unknown_uses(network) == {"block1": "no precision was learned"}
    copy = mixed_network(1, 2, 4, channels=[2], strides=[4], hidden=3, seed=1)
    copy.load_state_dict(measured().state_dict())
    assert symmetry_uses(copy) == {"block1": USE}
    assert unknown_uses(copy) == {}


USE = SymmetryUse("effective", {"f-fc": 0.25, "conv": 0.5}, {"f-fc": 37, "conv": 20}, ("f-fc",))


def measured() -> nn.Sequential:
    network = mixed_network(1, 2, 4, channels=[2], strides=[4], hidden=3)
    block = network.block1
    assert isinstance(block, MixedBlock)
    block.record_use(torch.tensor([9.25, 10.0]), torch.tensor([True, False]))
    return network


@torch.no_grad()
def test_a_use_is_of_the_weights_at_which_it_was_measured() -> None:
    network = measured()
    assert symmetry_uses(network) == {"block1": USE}
    assert symmetry_uses(network.double()) == {"block1": USE}
    assert symmetry_uses(network.float()) == {"block1": USE}
    network.get_parameter("head.weight").zero_()
    assert symmetry_uses(network) == {"block1": USE}
    weight = network.get_parameter("block1.paths.conv.0.1.weight")
    before = weight.clone()
    weight += 1e-3
    assert symmetry_uses(network) == {}
    reason = "the weights were changed after it was measured"
    assert unknown_uses(network) == {"block1": reason}
    weight.copy_(before)
    assert symmetry_uses(network) == {"block1": USE}


def test_a_state_of_an_earlier_version_loads_with_its_use_unknown() -> None:
    later = ("switched_off", "measured_weights")
    network = measured()
    state = {n: v for n, v in network.state_dict().items() if not n.endswith(later)}
    kept = dict(state)
    network.load_state_dict(state)
    assert state == kept
    assert symmetry_uses(network) == {}
    assert "earlier version" in unknown_uses(network)["block1"]
    with pytest.raises(RuntimeError, match="effective_dimensions"):
        network.load_state_dict({n: v for n, v in state.items() if "dimensions" not in n})


def test_the_same_seed_gives_the_same_network() -> None:
    how = {"channels": [2], "strides": [4], "hidden": 3, "seed": 1}
    first, second = (mixed_network(1, 2, 4, **how) for _ in range(2))  # type: ignore[arg-type]
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("side", [24, 31, 48])
def test_sides_that_the_strides_do_not_divide_are_refused(side: int) -> None:
    with pytest.raises(OrbitLensError, match="`stride`: expected a divisor of the side, 3"):
        layerwise_network(side=side)


def test_a_dense_network_on_large_maps_is_refused_on_a_cpu() -> None:
    with pytest.raises(OrbitLensError, match='take the factored path "f-fc"'):
        layerwise_network(["fc", "conv"])


def test_non_square_maps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="pad or crop the maps to squares"):
        MixedBlock(1, 2, 8)(torch.zeros(1, 1, 8, 10))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"paths": ["f-fcc"]}, "did you mean 'f-fc'"),
        ({"paths": ["conv", "conv"]}, "each once"),
        ({"paths": []}, "at least one of"),
        ({"paths": "conv"}, "a list of texts"),
        ({"down": "mean"}, "one of max, phase"),
        ({"out_channels": 6, "paths": ["p4"]}, "a multiple of 4"),
        ({"in_channels": 2, "paths": ["p4"], "lifts": False}, "`in_channels`: .* multiple of 4"),
        ({"stride": 3}, "a divisor of the side, 8"),
    ],
)
def test_wrong_settings_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(OrbitLensError, match=words):
        MixedBlock(**{"in_channels": 1, "out_channels": 4, "side": 8, **arguments})  # type: ignore[arg-type]


def test_a_network_needs_a_stride_for_each_number_of_channels() -> None:
    with pytest.raises(OrbitLensError, match="one number for each stride, 2"):
        mixed_network(1, 2, 8, channels=[2], strides=[2, 2], hidden=3)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"channels": 8}, r"`channels`: expected a list .*received 8; .*channels=\[8, 16\]"),
        ({"strides": 2}, "`strides`: expected a list with a whole number for each block"),
        ({"channels": "8"}, "`channels`: expected a list .*received 8;"),
        ({"channels": [0]}, r"`channels\[0\]`: expected at least 1, received 0"),
        ({"strides": [2.5]}, r"`strides\[0\]`: expected a whole number"),
    ],
)
def test_channels_and_strides_that_are_no_lists_of_counts_are_refused(
    changed: dict[str, object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=words):
        mixed_network(1, 2, 8, **{"channels": [2], "strides": [2], "hidden": 3, **changed})  # type: ignore[arg-type]
