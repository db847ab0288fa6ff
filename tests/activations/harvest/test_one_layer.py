"""Harvesting: what is stored is psi(gx), in the right place, or nothing at all."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orbitlens.actions import Action, cyclic_shift, images
from orbitlens.activations import harvest, open_store
from orbitlens.data.base import Inputs
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.groups import cyclic, dihedral

D4 = images(dihedral(4))


def pictures(n: int = 5, size: int = 8) -> Tensor:
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(0))


def network(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*layers)


def vectors() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(inplace=True), nn.Linear(6, 3))


class Tokens(nn.Module):
    """Embeds the pixels of each image in place, after `extra` tokens of ones."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.extra = extra
        self.embed = nn.Linear(1, 3)
        self.tokens = nn.Identity()

    def forward(self, batch: Tensor) -> Tensor:
        patches = self.embed(batch.flatten(1)[..., None])
        return self.tokens(torch.cat([torch.ones(len(batch), self.extra, 3), patches], dim=1))


def test_row_and_element_hold_the_activation_of_the_moved_input() -> None:
    model, inputs = vectors().eval(), pictures()
    orbits = harvest(model, layer="1", inputs=inputs, action=D4, batch_size=17).orbits()
    for element in range(8):
        with torch.no_grad():
            expected = model[1](D4(inputs, element).flatten(1))
        torch.testing.assert_close(orbits[:, element], expected)


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_the_batch_size_does_not_change_the_store(tmp_path: Path, batch_size: int) -> None:
    def run(size: int, out: Path | None) -> Tensor:
        store = harvest(
            vectors(), layer="1", inputs=pictures(), action=D4, batch_size=size, out=out
        )
        return store.orbits()

    torch.testing.assert_close(run(batch_size, tmp_path / "acts"), run(40, None))
    assert open_store(tmp_path / "acts").n == 5


def test_an_inplace_layer_afterwards_changes_nothing() -> None:
    orbits = harvest(vectors(), layer="1", inputs=pictures(), action=D4).orbits()
    assert (orbits < 0).any()


@pytest.mark.parametrize("group", [cyclic(4), dihedral(4), dihedral(2)], ids=lambda g: g.name)
def test_places_of_an_equivariant_map_are_constant_over_the_group_once_aligned(group) -> None:
    model = network(nn.Conv2d(1, 4, 1), nn.Tanh(), nn.Conv2d(4, 3, 1))
    inputs = pictures(3, 6)
    store = harvest(model, layer="2", inputs=inputs, action=images(group), positions="all")
    orbits = store.orbits()
    assert (store.positions, orbits.shape) == (36, (108, group.order, 3))
    torch.testing.assert_close(orbits, orbits[:, :1].expand_as(orbits))
    with torch.no_grad():
        canonical = model(inputs).flatten(2).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(orbits[:, 0], canonical)
    assert orbits[:, 0].std() > 0.01


def test_a_mean_over_places_of_an_equivariant_map_is_invariant() -> None:
    model = network(nn.Conv2d(1, 4, 1), nn.Tanh())
    store = harvest(model, layer="1", inputs=pictures(), action=D4)
    orbits = store.orbits()
    assert (store.positions, orbits.shape) == (1, (5, 8, 4))
    torch.testing.assert_close(orbits, orbits[:, :1].expand_as(orbits))


@pytest.mark.parametrize("extra", [0, 1])
def test_tokens_move_on_their_grid_and_the_class_token_stays(extra: int) -> None:
    store = harvest(Tokens(extra), layer="tokens", inputs=pictures(), action=D4, positions="all")
    orbits = store.orbits()
    assert store.positions == 64 + extra
    torch.testing.assert_close(orbits, orbits[:, :1].expand_as(orbits))
    if extra:
        assert (orbits.unflatten(0, (5, 65))[:, 0] == 1).all()
        assert store.moves is not None
        assert (store.moves[:, 0] == 0).all()


def test_auto_takes_the_class_token_where_there_is_one_and_else_the_mean() -> None:
    with pytest.warns(OrbitLensWarning, match="'tokens': the same output for . inputs"):
        with_class = harvest(Tokens(1), layer="tokens", inputs=pictures(), action=D4)
    assert (with_class.orbits() == 1).all()
    without = harvest(Tokens(0), layer="tokens", inputs=pictures(), action=D4)
    assert without.positions == 1
    assert without.orbits()[:, 0].std() > 0
    first = harvest(Tokens(0), layer="tokens", inputs=pictures(), action=D4, positions="cls")
    assert not torch.allclose(first.orbits(), without.orbits())


@pytest.mark.parametrize("stated", [None, 5])
def test_registers_are_found_and_stay(stated: int | None) -> None:
    model = Tokens(5)
    model.num_prefix_tokens = stated
    store = harvest(model, layer="tokens", inputs=pictures(), action=D4, positions="all")
    torch.testing.assert_close(store.orbits()[:, 3], store.orbits()[:, 0])
    assert store.moves is not None
    assert (store.moves[:, :5] == np.arange(5)).all()


def test_tokens_of_a_sequence_move_along_it() -> None:
    action = cyclic_shift(cyclic(4))

    class Letters(nn.Sequential):
        def forward(self, batch: Tensor) -> Tensor:
            return super().forward(batch[..., None])

    torch.manual_seed(0)
    sequences = torch.rand(3, 12)
    letters = Letters(nn.Linear(1, 2))
    store = harvest(letters, layer="0", inputs=sequences, action=action, positions="all")
    orbits = store.orbits()
    torch.testing.assert_close(orbits, orbits[:, :1].expand_as(orbits))


def test_what_follows_the_layer_is_not_run() -> None:
    ran = []
    model = network(nn.Flatten(), nn.Linear(64, 2), nn.Identity())
    model[2].register_forward_hook(lambda *_: ran.append(1))
    harvest(model, layer="1", inputs=pictures(40), action=D4, batch_size=8)
    assert len(ran) == 2  # the passes that count the calls of the layer and find its layout


def test_an_error_after_the_layer_does_not_matter() -> None:
    model = network(nn.Flatten(), nn.Linear(64, 2), nn.Linear(9, 9))
    assert harvest(model, layer="1", inputs=pictures(), action=D4).dim == 2


def test_training_modes_and_hooks_are_as_before_also_after_an_error() -> None:
    model = network(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 2)).train()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    first, second = (harvest(model, layer="2", inputs=pictures(), action=D4) for _ in range(2))
    assert torch.equal(first.orbits(), second.orbits())
    with pytest.raises(OrbitLensError):
        harvest(model, layer="2", inputs=pictures(size=4), action=D4)
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())


def test_recorded_names_config_labels_and_digest(tmp_path: Path) -> None:
    labels, names = np.array([0, 1, 0, 1, 1]), ("a", "b")
    harvest(
        vectors(),
        layer="1",
        inputs=pictures(),
        action=D4,
        out=tmp_path / "acts",
        labels=labels,
        class_names=names,
    )
    store = open_store(tmp_path / "acts")
    assert (store.model, store.layer, store.action) == ("Sequential", "1", "images")
    assert store.action_config == {"interpolation": None}
    assert store.labels is not None
    assert np.array_equal(store.labels, labels)
    assert store.digest == Inputs("other name", pictures(), labels, names).digest


def test_progress_counts_samples() -> None:
    seen = []
    harvest(
        vectors(),
        layer="1",
        inputs=pictures(),
        action=D4,
        batch_size=16,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_inputs_are_made_ready_after_they_are_moved() -> None:
    model = network(nn.Flatten(), nn.Linear(128, 2))
    store = harvest(
        model, layer="1", inputs=pictures(), action=D4, prepare=lambda x: torch.cat([x, x], dim=1)
    )
    assert store.dim == 2
    with pytest.raises(OrbitLensError, match="run as far as layer '1', received RuntimeError"):
        harvest(model, layer="1", inputs=pictures(), action=D4)
    with pytest.raises(OrbitLensError, match=r"`prepare` on .* \[1, 1, 8, 8\].*RuntimeError"):
        harvest(model, layer="1", inputs=pictures(), action=D4, prepare=lambda x: x.reshape(7))


def test_half_precision_is_stored_as_float32() -> None:
    model = vectors().to(torch.bfloat16)
    store = harvest(
        model, layer="1", inputs=pictures(), action=D4, prepare=lambda x: x.to(torch.bfloat16)
    )
    assert store.orbits().dtype == torch.float32


class Returning(nn.Module):
    """A network whose layer returns whatever a function makes of the batch."""

    def __init__(self, make: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.inner = Wrapped(make)

    def forward(self, batch: Tensor) -> object:
        return self.inner(batch.flatten(1))


class Wrapped(nn.Module):
    def __init__(self, make: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.make = make

    def forward(self, batch: Tensor) -> object:
        return self.make(batch)


@pytest.mark.parametrize("make", [lambda x: (x,), lambda x: [x, None], lambda x: {"h": x, "y": 1}])
def test_the_only_tensor_in_first_place_is_taken(make: Callable[[Tensor], object]) -> None:
    assert harvest(Returning(make), layer="inner", inputs=pictures(), action=D4).dim == 64


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda x: (x, x), r"tuple of \(Tensor, Tensor\)"),
        (lambda x: (None, x), r"tuple of \(NoneType, Tensor\)"),
        (lambda x: {"a": x, "b": x}, r"dict of \(Tensor, Tensor\)"),
        (lambda x: "text", "received str"),
        (lambda x: x.long(), r"received torch\.int64"),
    ],
)
def test_a_layer_whose_output_is_no_tensor_is_named(make, kind: str) -> None:
    with pytest.raises(OrbitLensError, match=f"not a tensor.*{kind}; choose one of its submodules"):
        harvest(Returning(make), layer="inner", inputs=pictures(), action=D4)


def test_an_output_without_a_row_per_input_is_refused() -> None:
    with pytest.raises(OrbitLensError, match=r"one row for each.*shape \[64, 1\]"):
        harvest(Returning(lambda x: x.T), layer="inner", inputs=pictures(), action=D4)


def test_an_unknown_layer_lists_the_nearest() -> None:
    with pytest.raises(OrbitLensError, match=r"one of 0, 1, 2, 3, received '11'; did you mean '1'"):
        harvest(vectors(), layer="11", inputs=pictures(), action=D4)


def test_a_layer_called_twice_or_never_is_refused() -> None:
    shared = nn.ReLU()
    twice = network(nn.Flatten(), shared, nn.Linear(64, 2), shared)
    with pytest.raises(OrbitLensError, match="called once in a forward pass, received 2 calls"):
        harvest(twice, layer="1", inputs=pictures(), action=D4)
    never = vectors()
    never.register_module("spare", None)
    never.spare = nn.Linear(1, 1)
    never.forward = lambda batch: never[1](batch.flatten(1))
    with pytest.raises(OrbitLensError, match="received no call"):
        harvest(never, layer="spare", inputs=pictures(), action=D4)


def positions_error(model: nn.Module, layer: str, positions: str, action: Action = D4) -> str:
    with pytest.raises(OrbitLensError) as caught:
        harvest(model, layer=layer, inputs=pictures(), action=action, positions=positions)
    return str(caught.value)


def test_positions_that_do_not_exist_are_refused() -> None:
    conv = network(nn.Conv2d(1, 2, 1))
    assert "maps" in positions_error(conv, "0", "cls")
    assert "expected auto or mean or all, received 'cls'" in positions_error(conv, "0", "cls")
    assert "vectors" in positions_error(vectors(), "1", "all")
    assert "received 'cls'" in positions_error(vectors(), "1", "cls")
    assert "did you mean 'mean'" in positions_error(vectors(), "1", "meen")
    turns = images(cyclic(8), interpolation="bilinear")
    assert "not known where positions move" in positions_error(conv, "0", "all", turns)


def test_an_output_with_too_few_axes_is_refused() -> None:
    with pytest.raises(OrbitLensError, match=r"vectors \[n, dim\].*shape \[1\]"):
        harvest(Returning(lambda x: x.sum(1)), layer="inner", inputs=pictures(), action=D4)


def test_inputs_that_cannot_be_moved_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match="height = width"):
        harvest(vectors(), layer="1", inputs=torch.rand(2, 1, 4, 6), action=D4, out=tmp_path / "a")
    with pytest.raises(OrbitLensError, match="`inputs`: expected at least one"):
        harvest(vectors(), layer="1", inputs=torch.rand(0, 1, 8, 8), action=D4)
    with pytest.raises(OrbitLensError, match="`batch_size`"):
        harvest(vectors(), layer="1", inputs=pictures(), action=D4, batch_size=0)
    with pytest.raises(OrbitLensError, match=r"one per sample, shape \[5\], received shape \[1\]"):
        harvest(vectors(), layer="1", inputs=pictures(), action=D4, labels=np.array([0]))
    assert not any(tmp_path.iterdir())


def test_an_existing_store_is_not_overwritten(tmp_path: Path) -> None:
    harvest(vectors(), layer="1", inputs=pictures(), action=D4, out=tmp_path / "acts")
    with pytest.raises(OrbitLensError, match="remove it or choose another path"):
        harvest(vectors(), layer="1", inputs=pictures(2), action=D4, out=tmp_path / "acts")
    assert open_store(tmp_path / "acts").n == 5


@pytest.mark.parametrize("reason", [KeyboardInterrupt(), ValueError("the network broke")])
def test_a_harvest_that_ends_early_leaves_nothing(tmp_path: Path, reason: BaseException) -> None:
    calls = []

    def make(batch: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 4:
            raise reason
        return batch

    expected = KeyboardInterrupt if isinstance(reason, KeyboardInterrupt) else OrbitLensError
    with pytest.raises(expected):
        harvest(
            Returning(make),
            layer="inner",
            inputs=pictures(),
            action=D4,
            batch_size=8,
            out=tmp_path / "acts",
        )
    assert len(calls) == 4
    assert not any(tmp_path.iterdir())


def test_an_activation_that_is_not_finite_is_located(tmp_path: Path) -> None:
    inputs = pictures()
    inputs[3, 0, 0, 1] = 3e38
    model = network(nn.Conv2d(1, 2, 1))
    nn.init.constant_(model[0].weight, 2.0)
    message = r"16 NaN.*samples 3\.\.3.*sample 3, element 0, position 1, dimension 0"
    with pytest.raises(OrbitLensError, match=message):
        harvest(
            model,
            layer="0",
            inputs=inputs,
            action=D4,
            positions="all",
            batch_size=8,
            out=tmp_path / "acts",
        )
    assert not any(tmp_path.iterdir())
