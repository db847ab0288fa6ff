"""Training from a store that does not fit into its memory."""

from functools import partial

import numpy as np
import pytest
import torch

from orbitlens import fit, objectives
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.activations.store import OrbitBatches
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.sae import SAE, batch_topk_sae, topk_sae
from orbitlens.training import unit_scale
from orbitlens.training._held import HeldData
from orbitlens.training._source import statistics
from orbitlens.training._streamed import Reader, StreamedData

SMALL = 0.06


def reader(store: ActivationStore) -> Reader:
    memory = int(SMALL * 2**30)
    return Reader(store, store.split()[0], torch.device("cpu"), 1000, memory, seed=0)


def orbits_of(data: Reader, epoch: int, number: int) -> torch.Tensor:
    rows, first = data.batch(epoch, number)
    return rows[(first[:, None] + torch.arange(data.source.order)).flatten()]


def test_held_and_streamed_data_are_the_same_orbits(large: ActivationStore) -> None:
    held = HeldData([large], [large.split()[0]], torch.device("cpu"))
    (kept,), read = held.sources, reader(large)
    assert (kept.n, kept.order) == (read.source.n, read.source.order)
    assert kept.scale == pytest.approx(read.source.scale, rel=1e-12)
    torch.testing.assert_close(kept.orbit_mean, read.source.orbit_mean)
    rows = torch.cat([orbits_of(read, 0, number) for number in range(-(-kept.n // 1000))])
    all_rows = held.every(kept, 1)
    torch.testing.assert_close(rows.sum(0), all_rows.sum(0), rtol=1e-3, atol=1e-2)
    assert len(rows) == len(all_rows)


@pytest.mark.parametrize("stride", [1, 7])
def test_held_and_streamed_data_give_the_same_rows_to_calibrate_on(
    stride: int, large: ActivationStore
) -> None:
    wanted, device = [large.split()[0]], torch.device("cpu")
    held = HeldData([large], wanted, device)
    memory = int(SMALL * 2**30)
    read = StreamedData([large], wanted, device, batch_size=1000, memory=memory, seed=0)
    own, other = held.every(held.sources[0], stride), read.every(read.sources[0], stride)
    torch.testing.assert_close(own, other)
    assert (held.depends_on_memory, read.depends_on_memory) == (False, True)


def test_a_batch_is_given_again_and_any_batch_can_be_asked_for(large: ActivationStore) -> None:
    data = reader(large)
    batches = [orbits_of(data, 1, number) for number in (0, 1, 1, 5, 2)]
    again = reader(large)
    for number, batch in zip((0, 1, 1, 5, 2), batches, strict=True):
        assert torch.equal(orbits_of(again, 1, number), batch)


@pytest.mark.parametrize("build", [topk_sae, batch_topk_sae])
@pytest.mark.parametrize("objective", [objectives.reconstruction, objectives.canonical])
def test_streamed_training_learns_as_well_as_training_in_memory(
    build: type[SAE], objective: object, large: ActivationStore
) -> None:
    train = partial(fit, store=large, objective=objective, epochs=2, batch_size=2000, lr=3e-3)
    in_memory = train(build(64, 64, 3)).history
    read = train(build(64, 64, 3), memory_gib=SMALL).history
    assert len(read.loss) == 2
    assert read.explained_variance[-1] == pytest.approx(in_memory.explained_variance[-1], abs=0.05)
    assert read.explained_variance[-1] > read.explained_variance[0]


def test_streamed_training_reads_with_the_budget_that_was_given(
    large: ActivationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    begin = OrbitBatches.__init__

    def noted(self: OrbitBatches, store: ActivationStore, **settings: object) -> None:
        asked.append(settings["memory"])
        begin(self, store, **settings)

    monkeypatch.setattr(OrbitBatches, "__init__", noted)
    fit(topk_sae(64, 16, 3), large, epochs=1, batch_size=5000)
    assert asked == []
    fit(topk_sae(64, 16, 3), large, epochs=1, batch_size=5000, memory_gib=SMALL)
    assert asked == [int(SMALL * 2**30)]


def test_members_of_a_streamed_stack_share_batches_and_draw_their_own_elements(
    large: ActivationStore,
) -> None:
    saes = [topk_sae(64, 16, 3), topk_sae(64, 16, 3)]
    first, second = fit(saes, large, seed=[0, 1], epochs=1, batch_size=5000, memory_gib=SMALL)
    alone = fit(topk_sae(64, 16, 3), large, seed=0, epochs=1, batch_size=5000, memory_gib=SMALL)
    torch.testing.assert_close(first.sae.W_dec, alone.sae.W_dec, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(first.sae.W_dec, second.sae.W_dec, rtol=1e-4, atol=1e-5)


def test_members_of_several_stores_see_each_its_own(large: ActivationStore) -> None:
    stores = [large, large.about(torch.ones(1, 64))]
    train = partial(fit, objective=objectives.canonical, epochs=1, batch_size=5000)
    saes = [topk_sae(64, 16, 3), topk_sae(64, 16, 3)]
    together = train(saes, stores, seed=[0, 0], memory_gib=2 * SMALL)
    for result, store in zip(together, stores, strict=True):
        alone = train(topk_sae(64, 16, 3), store, seed=0, memory_gib=SMALL)
        torch.testing.assert_close(result.sae.W_dec, alone.sae.W_dec, rtol=1e-4, atol=1e-5)
        assert result.history.explained_variance == pytest.approx(
            alone.history.explained_variance, rel=1e-4
        )


def test_a_gpu_is_sent_the_orbits_of_a_batch_alone(large: ActivationStore) -> None:
    data = reader(large)
    data._device = torch.device("meta")
    for number in range(3):
        rows, first = data.batch(0, number)
        assert (rows.device.type, first.device.type) == ("meta", "meta")
        assert (rows.shape, len(first)) == ((4000, 64), 1000)


def test_a_budget_that_cannot_hold_a_part_of_the_store_is_one_line(large: ActivationStore) -> None:
    with pytest.raises(OrbitLensError, match="expected at least .* MiB.*`memory_gib`") as error:
        fit(topk_sae(64, 16, 3), large, memory_gib=0.001)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("blocks", [1, 7])
def test_statistics_do_not_depend_on_how_the_data_come(offset: float, blocks: int) -> None:
    orbits = torch.randn(70, 3, 5, generator=torch.Generator().manual_seed(0)) * 0.25 + offset
    mean, scale = statistics(orbits.split(70 // blocks))
    exact = orbits.double()
    assert scale == pytest.approx(1 / (exact - exact.mean((0, 1))).square().mean().sqrt())
    torch.testing.assert_close(mean, exact.mean(0))
    assert unit_scale(orbits) == pytest.approx(scale, rel=1e-9)


def test_words_for_the_precision_are_checked() -> None:
    store = store_from_array(np.random.default_rng(0).normal(size=(20, 1, 4)), group=cyclic(1))
    with pytest.raises(OrbitLensError, match="`precision`.*auto.*float32.*bfloat16"):
        fit(topk_sae(4, 8, 2), store, precision="float16")


def test_searching_in_bfloat16_trains_as_well(large: ActivationStore) -> None:
    train = partial(fit, store=large, epochs=2, batch_size=2000, lr=3e-3)
    full = train(topk_sae(64, 64, 3)).history
    narrow = train(topk_sae(64, 64, 3), precision="bfloat16").history
    assert narrow.explained_variance[-1] == pytest.approx(full.explained_variance[-1], abs=0.03)
