"""Harvesting many layers: the numbers of `harvest`, one pass per input, and nothing half-done."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orbitlens.actions import Action, cyclic_shift, images, set_permutation
from orbitlens.activations import (
    LayerHarvest,
    TakenLayer,
    harvest,
    harvest_layers,
    layer_outputs,
    open_store,
)
from orbitlens.activations.harvest._positions import whole_orbits
from orbitlens.activations.harvest._reduction import principal_directions
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic, dihedral
from orbitlens.models import CNNAutoencoder, ViTAutoencoder

C4, D4 = images(cyclic(4)), images(dihedral(4))


def pictures(n: int = 5, size: int = 8) -> Tensor:
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def same_weights_every_time() -> None:
    torch.manual_seed(0)


def small() -> nn.Sequential:
    """Maps that are moved in place, vectors, a container, and layers that do nothing."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Sequential(nn.Conv2d(4, 3, 3, stride=2, padding=1), nn.Dropout(0.5)),
        nn.Flatten(),
        nn.Linear(48, 6),
        nn.Identity(),
    )


class Calling(nn.Module):
    """A network that is called as a function says."""

    def __init__(self, call: Callable[..., object], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.call = call

    def forward(self, batch: Tensor) -> object:
        return self.call(self, batch)


def run(model: nn.Module, inputs: Tensor | None = None, **options) -> LayerHarvest:
    options.setdefault("action", D4)
    return harvest_layers(model, inputs=pictures() if inputs is None else inputs, **options)


def error_of(model: nn.Module, inputs: Tensor | None = None, **options) -> str:
    with pytest.raises(OrbitLensError) as caught:
        run(model, inputs, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("batch_size", [1, 8, 17, 100])
def test_every_layer_has_the_numbers_of_harvest(tmp_path: Path, batch_size: int) -> None:
    found = run(small(), out=tmp_path / "acts", max_positions=64, batch_size=batch_size)
    assert list(found.stores) == ["0", "1", "2.0", "3", "4"]
    for number, (layer, store) in enumerate(found.stores.items()):
        positions = "auto" if layer in ("3", "4") else "all"
        alone = harvest(small(), layer=layer, inputs=pictures(), action=D4, positions=positions)
        torch.testing.assert_close(store.orbits(), alone.orbits())
        assert (store.layer, store.digest) == (alone.layer, alone.digest)
        reopened = open_store(tmp_path / "acts" / f"00{number}.zarr")
        assert torch.equal(reopened.orbits(), store.orbits())
    assert (found.stores["0"].orbits() < 0).any()
    assert not (found.stores["1"].orbits() < 0).any()


def test_tokens_have_the_numbers_of_harvest() -> None:
    model = ViTAutoencoder(size=16, patch=4, dim=8, depth=2)
    layers = ["encoder.blocks.0", "encoder.blocks.1.linear2"]
    found = run(model, pictures(3, 16), layers=layers, max_positions=16)
    for layer in layers:
        alone = harvest(
            model, layer=layer, inputs=pictures(3, 16), action=D4, positions="all"
        ).orbits()
        torch.testing.assert_close(found.stores[layer].orbits(), alone, rtol=1e-4, atol=1e-5)
    assert found.taken["encoder.blocks.0"].prefix == 1


def test_the_network_runs_once_for_each_moved_input() -> None:
    shown = []
    model = small()
    model[0].register_forward_hook(lambda *call: shown.append(len(call[2])))
    run(model, pictures(40), batch_size=24)
    looks = sum(shown) - 40 * 8
    assert 0 < looks <= 32
    shown.clear()
    run(model, pictures(40), batch_size=24, max_dim=20)
    # The trial of the 48 dimensions of layer 3: 2,048 rows are more than there are.
    assert sum(shown) == looks + 2 * 40 * 8


def test_layers_after_the_last_one_named_are_not_run() -> None:
    ran = []
    model = small()
    model[4].register_forward_hook(lambda *_: ran.append(1))
    assert list(run(model, layers=["1"], batch_size=8).stores) == ["1"]
    assert len(ran) == 2  # the passes that count the calls and find the layouts


def test_one_of_several_layers_with_the_same_output_is_kept() -> None:
    skipped = run(small()).skipped
    assert skipped == {
        "2": "the same tensor as layer '2.0'",
        "2.1": "the same tensor as layer '2.0'",
        "5": "the same tensor as layer '4'",
    }
    named = run(small(), layers=["2", "2.0"]).stores
    assert torch.equal(named["2"].orbits(), named["2.0"].orbits())


def test_a_relu_in_place_is_another_layer_also_where_it_changes_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sigmoid(), nn.ReLU(inplace=True))
    assert list(run(model).stores) == ["0", "1", "2"]


def test_inputs_are_left_as_they_are_by_a_network_that_begins_in_place() -> None:
    inputs = pictures() - 0.5
    for look in (run, lambda model, inputs: harvest(model, layer="0", inputs=inputs, action=D4)):
        look(nn.Sequential(nn.ReLU(inplace=True)), inputs)
        assert torch.equal(inputs, pictures() - 0.5)


def shared() -> nn.Module:
    relu = nn.ReLU()
    model = nn.Sequential(nn.Flatten(), relu, nn.Linear(64, 2), relu)
    model.add_module("spare", nn.Linear(1, 1))
    model.forward = lambda batch: model[3](model[2](model[1](model[0](batch))))
    return model


def test_layers_called_twice_or_never_are_skipped_or_refused() -> None:
    found = run(shared())
    assert list(found.stores) == ["0", "2"]
    assert found.skipped == {
        "1": "2 calls in a forward pass",
        "3": "2 calls in a forward pass",
        "spare": "no call in a forward pass",
    }
    assert "layer '1'" in error_of(shared(), layers=["2", "1"])
    assert "received 2 calls in a forward pass" in error_of(shared(), layers=["2", "1"])
    assert "received no call" in error_of(shared(), layers=["2", "spare"])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda x: (x, x), "no single dense floating point tensor, but tuple of (Tensor, Tensor)"),
        (lambda x: "text", "no single dense floating point tensor, but str"),
        (lambda x: x.long(), "no single dense floating point tensor, but torch.int64"),
        (lambda x: x[:1], "no row per input, but shape [1, 64] for 3 inputs"),
        (lambda x: x.sum(), "no row per input, but shape [] for 3 inputs"),
        (lambda x: x.sum(1), "no vectors, tokens or maps, but shape [3]"),
        (lambda x: x[:, :0], "no vectors, tokens or maps, but shape [3, 0]"),
        (lambda x: x[None], "no row per input, but shape [1, 3, 64] for 3 inputs"),
    ],
)
def test_layers_with_other_outputs_are_skipped_or_refused(make, reason: str) -> None:
    def call(self: nn.Module, batch: Tensor) -> object:
        return self.last(self.odd(self.flat(batch)))

    model = Calling(
        call,
        flat=nn.Flatten(),
        odd=Calling(lambda _, x: make(x)),
        last=Calling(lambda *_: torch.zeros(3)),
    )
    found = run(model)
    assert list(found.stores) == ["flat"]
    assert found.skipped["odd"] == reason
    assert "layer 'odd': expected one call in a forward pass, and out of it vectors" in error_of(
        model, layers=["flat", "odd"]
    )
    assert f"received {reason}" in error_of(model, layers=["flat", "odd"])


@pytest.mark.parametrize("make", [lambda x: (x,), lambda x: [x, None], lambda x: {"h": x, "y": 1}])
def test_the_only_tensor_in_first_place_is_taken_and_keywords_are_no_matter(make) -> None:
    inner = Calling(lambda _, x: make(x))
    inner.forward = lambda *, hidden: make(hidden)
    model = Calling(lambda self, batch: self.inner(hidden=batch.flatten(1)), inner=inner)
    assert run(model).stores["inner"].dim == 64


def test_bad_lists_of_layers_are_refused() -> None:
    assert "did you mean '4'" in error_of(small(), layers=["0", "44"])
    assert "`layers`: expected every layer once, received '0' 3 times" in error_of(
        small(), layers=["0", "1", "0", "0"]
    )
    assert "`layers`: expected at least one" in error_of(small(), layers=[])
    assert "received 0 submodules, and none of them does" in error_of(nn.Flatten())


def test_a_network_that_fails_is_one_line_unless_all_layers_came_before() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.Linear(9, 9))
    assert "expected to run to its end, received RuntimeError" in error_of(model)
    assert "to run as far as layer '2', received RuntimeError" in error_of(model, layers=["0", "2"])
    assert list(run(model, layers=["1", "0"]).stores) == ["0", "1"]


def test_bad_arguments_are_refused_before_any_work(tmp_path: Path) -> None:
    assert "`max_dim`: expected at least 1, received 0" in error_of(small(), max_dim=0)
    assert "`max_positions`: expected at least 1" in error_of(small(), max_positions=0)
    assert "`batch_size`" in error_of(small(), batch_size=0)
    assert "height = width" in error_of(small(), torch.rand(2, 1, 4, 6))
    assert "one per sample, shape [5], received shape [1]" in error_of(
        small(), labels=np.array([0])
    )
    (tmp_path / "acts").mkdir()
    assert "choose another path" in error_of(small(), out=tmp_path / "acts")
    assert not any((tmp_path / "acts").iterdir())


@pytest.mark.parametrize("action", [C4, D4, images(dihedral(2))], ids=lambda a: a.group.name)
@pytest.mark.parametrize("size", [9, 16])
def test_places_kept_of_an_equivariant_map_are_constant_once_aligned(action, size) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Tanh())
    found = run(model, pictures(3, size), action=action)
    for layer, store in found.stores.items():
        rows = store.orbits()
        assert 12 <= store.positions <= 16
        assert rows[:, 0].std() > 0.01
        torch.testing.assert_close(rows, rows[:, :1].expand_as(rows))
        assert found.taken[layer].all_places == size**2


@pytest.mark.parametrize("side", range(3, 16))
@pytest.mark.parametrize("action", [C4, D4], ids=lambda action: action.group.name)
def test_places_kept_are_whole_orbits_the_full_ones_first(action: Action, side: int) -> None:
    assert action.grid is not None
    moves = action.grid(side, side)
    kept = whole_orbits(moves, 16)
    assert len(kept) <= 16
    assert all(np.array_equal(np.sort(row), kept) for row in moves[:, kept])
    sizes = np.array([len(np.unique(column)) for column in moves[:, kept].T])
    full = (sizes == action.group.order).sum()
    all_full = sum(len(np.unique(column)) == action.group.order for column in moves.T)
    assert full == (min(all_full, 16) if side > 4 else all_full)
    assert np.array_equal(kept, whole_orbits(moves, 16))


def test_one_orbit_of_eight_places_is_kept_rather_than_two_of_four() -> None:
    assert D4.grid is not None
    assert whole_orbits(D4.grid(4, 4), most=9).tolist() == [1, 2, 4, 7, 8, 11, 13, 14]


def test_places_kept_are_spread_over_the_map() -> None:
    assert D4.grid is not None
    rows, columns = np.divmod(whole_orbits(D4.grid(32, 32), 64), 32)
    rings = np.minimum.reduce([rows, columns, 31 - rows, 31 - columns])
    assert len(np.unique(rings)) >= 6
    assert rings.min() < 4
    assert rings.max() > 8


def test_no_place_is_kept_where_all_orbits_are_larger() -> None:
    shift = cyclic_shift(cyclic(4))
    assert shift.grid is not None
    assert len(whole_orbits(shift.grid(1, 12), 3)) == 0
    assert whole_orbits(shift.grid(1, 12), 12).tolist() == list(range(12))
    letters = Calling(lambda self, batch: self.embed(batch[..., None]), embed=nn.Linear(1, 2))
    store = run(letters, torch.rand(3, 12), action=shift, max_positions=3).stores["embed"]
    assert store.array.ndim == 3
    torch.testing.assert_close(store.orbits(), store.orbits()[:, :1].expand(-1, 4, -1))


def test_sets_that_lose_their_elements_are_pooled() -> None:
    action = set_permutation(cyclic(4))
    model = Calling(
        lambda self, batch: self.pairs(self.each(batch)),
        each=nn.Linear(3, 5),
        pairs=Calling(lambda _, x: x[:, :2]),
    )
    stores = run(model, torch.rand(3, 4, 3), action=action).stores
    assert (stores["each"].positions, stores["pairs"].positions) == (4, 1)


class Tokens(nn.Module):
    """Embeds the pixels of each image in place, after tokens that are their own index."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.extra = extra
        self.embed = nn.Linear(1, 3)
        self.tokens = nn.Identity()

    def forward(self, batch: Tensor) -> Tensor:
        patches = self.embed(batch.flatten(1)[..., None])
        own = torch.arange(self.extra)[:, None].expand(len(batch), -1, 3)
        return self.tokens(torch.cat([own, patches], dim=1))


def test_class_token_and_registers_come_first_and_stay() -> None:
    model = Tokens(3)
    model.num_prefix_tokens = 3
    found = run(model, layers=["tokens"])
    store = found.stores["tokens"]
    assert store.positions == found.taken["tokens"].places == 19
    assert (found.taken["tokens"].all_places, found.taken["tokens"].prefix) == (67, 3)
    assert store.moves is not None
    assert (store.moves[:, :3] == np.arange(3)).all()
    assert (np.sort(store.moves, axis=1) == np.arange(19)).all()
    rows = store.orbits()
    torch.testing.assert_close(rows, rows[:, :1].expand_as(rows))
    assert torch.equal(rows.unflatten(0, (5, 19))[:, :3, 0, 0], torch.arange(3.0).expand(5, 3))


def test_the_mean_is_taken_where_it_is_not_known_where_places_move() -> None:
    turns = images(cyclic(8), interpolation="bilinear")
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    found = run(model, action=turns)
    for layer, store in found.stores.items():
        alone = harvest(model, layer=layer, inputs=pictures(), action=turns, positions="mean")
        torch.testing.assert_close(store.orbits(), alone.orbits())
        assert (found.taken[layer].kind, found.taken[layer].places) == ("maps", 1)
    oblong = run(nn.Sequential(nn.Conv2d(1, 2, (1, 3))), action=C4).stores["0"]
    assert oblong.array.ndim == 3


def test_tokens_of_oblong_images_move_on_their_own_grid() -> None:
    action = images(dihedral(2))
    store = run(Tokens(2), torch.rand(2, 1, 4, 9), action=action).stores["tokens"]
    rows = store.orbits()
    assert store.positions > 2
    torch.testing.assert_close(rows, rows[:, :1].expand_as(rows))


def test_class_tokens_stand_beside_the_mean_of_patches_that_move_in_an_unknown_way() -> None:
    turns = images(cyclic(8), interpolation="bilinear")
    store = run(Tokens(1), action=turns).stores["tokens"]
    assert (store.positions, store.moves) == (2, None)
    rows = store.orbits().unflatten(0, (5, 2))
    assert not rows[:, 0].any()
    with torch.no_grad():
        patches = Tokens(1).embed(pictures().flatten(1)[..., None])
    torch.testing.assert_close(rows[:, 1, 0], patches.mean(1))


def test_a_map_of_one_place_is_a_vector() -> None:
    found = run(CNNAutoencoder(size=8, dim=6).encoder)
    assert vars(found.taken["4"]) == vars(TakenLayer("vectors", 6, 6, 1, 1, 0, 1.0, None, "n c"))
    assert found.stores["4"].array.shape == (5, 8, 6)
    assert torch.equal(found.stores["4"].orbits(), found.stores["5"].orbits())


def test_low_rank_activations_lose_nothing_in_the_projection() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5, bias=False), nn.Linear(5, 40))
    found = run(model, pictures(30), max_dim=6)
    whole, reduced = (run(model, pictures(30)).stores["2"].orbits(), found.stores["2"].orbits())
    taken = found.taken["2"]
    assert (taken.width, taken.dim, reduced.shape) == (40, 6, (30, 8, 6))
    assert taken.kept_variance == pytest.approx(1)
    assert taken.basis is not None
    torch.testing.assert_close(taken.basis @ taken.basis.T, torch.eye(6))
    torch.testing.assert_close(reduced @ taken.basis, whole, rtol=1e-4, atol=1e-5)
    assert found.taken["1"].basis is None
    torch.testing.assert_close(whole, run(model, pictures(30)).stores["2"].orbits())


def test_the_share_that_is_kept_is_that_of_the_trial() -> None:
    model = nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU())
    found = run(model, pictures(40), max_dim=2)
    whole = run(model, pictures(40)).stores["1"].orbits()[: 16 * 16]  # 16 inputs: 2,048 rows
    taken = found.taken["1"]
    assert taken.basis is not None
    power = (whole @ taken.basis.T).square().sum() / whole.square().sum()
    assert taken.kept_variance == pytest.approx(power.item(), rel=1e-5)
    assert 0.5 < taken.kept_variance < 1
    again = run(model, pictures(40), max_dim=2)
    assert torch.equal(again.stores["1"].orbits(), found.stores["1"].orbits())


@pytest.mark.parametrize(("rows", "channels"), [(30, 8), (8, 30), (3, 30), (8, 8)])
def test_principal_directions_are_those_of_a_singular_value_decomposition(rows, channels) -> None:
    values = torch.randn(rows, channels, generator=torch.Generator().manual_seed(0)) + 1
    basis, kept = principal_directions(values, 4)
    dim = min(4, rows)
    _, lengths, directions = torch.linalg.svd(values)
    torch.testing.assert_close(basis @ basis.T, torch.eye(dim))
    torch.testing.assert_close(
        (basis @ directions[:dim].T).abs(), torch.eye(dim), atol=1e-3, rtol=0
    )
    assert kept == pytest.approx((lengths[:dim].square().sum() / lengths.square().sum()).item())


def test_the_longest_row_is_the_first_direction() -> None:
    basis, kept = principal_directions(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), 1)
    assert basis.abs().tolist() == [[1.0, 0.0]]
    assert kept == pytest.approx(0.9)


def test_directions_are_orthonormal_also_where_rows_are_zero_or_alike() -> None:
    for values in (torch.zeros(6, 9), torch.ones(6, 9), torch.ones(9, 6)):
        basis, kept = principal_directions(values, 4)
        torch.testing.assert_close(basis @ basis.T, torch.eye(4))
        assert kept == pytest.approx(1)


@pytest.mark.parametrize("reason", [KeyboardInterrupt(), ValueError("the network broke")])
@pytest.mark.parametrize("max_dim", [256, 5])
def test_a_harvest_that_ends_early_leaves_nothing(tmp_path: Path, reason, max_dim: int) -> None:
    calls = []
    model = small().train()

    def prepare(batch: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 4:
            raise reason
        return batch

    expected = KeyboardInterrupt if isinstance(reason, KeyboardInterrupt) else OrbitLensError
    with pytest.raises(expected):
        run(model, batch_size=8, max_dim=max_dim, out=tmp_path / "acts", prepare=prepare)
    assert len(calls) == 4
    assert not any(tmp_path.iterdir())
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def test_an_interrupt_between_the_last_block_and_the_end_leaves_nothing(
    tmp_path: Path,
) -> None:
    def interrupt(done: int, n: int) -> None:
        if done == n:
            assert any(tmp_path.iterdir())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small(), out=tmp_path / "acts", progress=interrupt)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("max_dim", [256, 3])
def test_an_activation_that_is_not_finite_is_located(tmp_path: Path, max_dim: int) -> None:
    inputs = pictures()
    inputs[3, 0, 0, 1] = 3e38
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(64, 4))
    nn.init.constant_(model[2].weight, 2.0)
    message = error_of(model, inputs, layers=["2"], out=tmp_path / "acts", max_dim=max_dim)
    assert "activations of layer '2': expected finite numbers" in message
    assert "the first at sample 3, element 0" in message
    assert not any(tmp_path.iterdir())


def test_modes_gradients_and_hooks_are_as_before() -> None:
    model = small().train()
    model[2][1].eval()
    modes = [module.training for module in model.modules()]
    run(model)
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.is_grad_enabled()


def test_recorded_names_labels_and_progress(tmp_path: Path) -> None:
    seen = []
    labels, names = np.array([0, 1, 0, 1, 1]), ("a", "b")
    run(
        small(),
        out=tmp_path / "acts",
        labels=labels,
        class_names=names,
        name="mine",
        batch_size=16,
        progress=lambda done, n: seen.append((done, n)),
    )
    store = open_store(tmp_path / "acts" / "002.zarr")
    assert (store.model, store.layer, store.class_names) == ("mine", "2.0", names)
    assert store.labels is not None
    assert store.labels.tolist() == labels.tolist()
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_whole_outputs_of_many_layers_come_in_the_order_of_the_calls() -> None:
    model, inputs = small().train(), pictures()
    outputs = layer_outputs(model, ["4", "1", "0"], inputs)
    assert list(outputs) == ["0", "1", "4"]
    assert model.training
    model.eval()
    with torch.no_grad():
        maps = model[0](inputs)
        torch.testing.assert_close(outputs["0"], maps)
        torch.testing.assert_close(outputs["1"], maps.relu())
        torch.testing.assert_close(outputs["4"], model(inputs))
    assert not outputs["4"].is_inference()
    assert not outputs["4"].requires_grad
    with pytest.raises(OrbitLensError, match="`layers`: expected at least one"):
        layer_outputs(model, [], inputs)
    with pytest.raises(OrbitLensError, match="did you mean"):
        layer_outputs(model, ["44"], inputs)


def test_all_layers_of_a_vision_transformer() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
    )
    torch.manual_seed(3)
    model = transformers.ViTModel(config)
    found = run(model, torch.rand(4, 3, 32, 32), max_dim=32, max_positions=8)
    taken = found.taken
    assert (taken["layers.1"].kind, taken["layers.1"].places) == ("tokens", 9)
    assert (taken["layers.1"].all_places, taken["layers.1"].prefix) == (17, 1)
    assert (taken["layers.0.mlp.fc1"].width, taken["layers.0.mlp.fc1"].dim) == (64, 32)
    assert taken["embeddings.patch_embeddings.projection"].kind == "maps"
    assert (taken["pooler.dense"].kind, taken["pooler.dense"].places) == ("vectors", 1)
    assert all(store.positions == taken[name].places for name, store in found.stores.items())
    assert found.skipped["embeddings"] == "the same tensor as layer 'embeddings.dropout'"
    alone = harvest(model, layer="layernorm", inputs=torch.rand(4, 3, 32, 32), action=D4)
    assert alone.dim == found.stores["layernorm"].dim
