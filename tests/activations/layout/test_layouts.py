"""The axes of outputs: found where the network makes them clear, said by the user, or refused."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import orbitlens as ol
from orbitlens.actions import Action, cyclic_shift, images, reverse_complement, volumes
from orbitlens.activations import harvest, harvest_layers, open_store
from orbitlens.activations.layout import OutputAxes, layout_sentence, layouts_of, read_layout
from orbitlens.activations.layout._atoms import CHANNEL, PLACE, of_kind, reshaped
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.groups import cyclic, octahedral
from orbitlens.sae import OrbitDictionary, TopK, compose, encode_maps

C4, STRANDS, SHIFT = images(cyclic(4)), reverse_complement(), cyclic_shift(cyclic(4))


@pytest.fixture(autouse=True)
def same_weights_every_time() -> None:
    torch.manual_seed(0)


class Calling(nn.Module):
    """A network that is called as a function says."""

    def __init__(self, call: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


def letters(n: int = 6, length: int = 16) -> Tensor:
    drawn = torch.randint(0, 4, (n, length), generator=torch.Generator().manual_seed(0))
    return nn.functional.one_hot(drawn, 4).mT.float()


def pictures(n: int = 5, channels: int = 3, size: int = 16) -> Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


def layout_of(net: nn.Module, layer: str, x: Tensor, action: Action, **settings) -> str:
    store = harvest(net.eval(), layer=layer, inputs=x, action=action, **settings)
    assert store.layout is not None
    return store.layout["axes"]


def error_of(net: nn.Module, layer: str, x: Tensor, action: Action, **settings) -> str:
    with pytest.raises(OrbitLensError) as caught:
        harvest(net.eval(), layer=layer, inputs=x, action=action, **settings)
    return str(caught.value)


def test_a_convolution_over_sequences_is_pooled_over_places_and_moves_along_them() -> None:
    net = nn.Sequential(
        nn.Conv1d(4, 16, 3, padding=1, padding_mode="circular"), nn.BatchNorm1d(16), nn.ReLU()
    ).eval()
    with torch.no_grad():
        right = net(letters())
    mean = harvest(net, layer="2", inputs=letters(), action=SHIFT)
    torch.testing.assert_close(mean.orbits()[:, 0], right.mean(2))
    rows = harvest(net, layer="2", inputs=letters(), action=SHIFT, positions="all").orbits()
    torch.testing.assert_close(rows, rows[:, :1].expand_as(rows))
    torch.testing.assert_close(rows[:, 0], right.mT.flatten(0, 1))
    found = harvest_layers(net, inputs=letters(), action=SHIFT).taken
    assert {part.layout for part in found.values()} == {"n c l"}


def test_maps_with_channels_last_are_maps() -> None:
    net = Calling(
        lambda self, x: self.norm(self.stem(x).permute(0, 2, 3, 1)).mean((1, 2)),
        stem=nn.Conv2d(3, 4, 4, 4),
        norm=nn.LayerNorm(4),  # as many channels as rows and columns
    ).eval()
    store = harvest(net, layer="norm", inputs=pictures(), action=C4)
    right = net.norm(net.stem(pictures()).permute(0, 2, 3, 1)).mean((1, 2)).detach()
    torch.testing.assert_close(store.orbits()[:, 0], right)
    assert store.layout == {"axes": "n h w c", "channels": 4, "places": [4, 4], "first": 0}
    assert harvest_layers(net, inputs=pictures(), action=C4).taken["norm"].layout == "n h w c"


@pytest.mark.parametrize("first", [0, 1, 3])
def test_first_tokens_of_sequences_stay(first: int) -> None:
    extra = torch.randn(1, first, 6)
    net = Calling(
        lambda self, x: self.out(torch.cat([extra.expand(len(x), -1, -1), self.embed(x.mT)], 1)),
        embed=nn.Linear(4, 6),
        out=nn.Identity(),
    )
    store = harvest(net, layer="out", inputs=letters(), action=STRANDS, positions="all")
    assert store.moves is not None
    assert store.moves[1].tolist() == [*range(first), *range(first + 15, first - 1, -1)]
    assert ol.fit_transport(store_of_many(net), "spatial").r2 > 0.99


def store_of_many(net: nn.Module) -> ol.activations.ActivationStore:
    return harvest(net, layer="out", inputs=letters(200), action=STRANDS, positions="all")


def test_volumes_move_by_places_and_a_pooled_volume_is_a_vector() -> None:
    net = nn.Sequential(nn.Conv3d(1, 5, 1), nn.Tanh(), nn.AdaptiveAvgPool3d(1)).eval()
    action, x = volumes(octahedral()), torch.rand(4, 1, 3, 3, 3)
    store = harvest(net, layer="1", inputs=x, action=action, positions="all")
    rows = store.orbits()
    assert store.positions == 27
    torch.testing.assert_close(rows, rows[:, :1].expand_as(rows))
    assert layout_of(net, "2", x, action) == "n c"


class Heads(nn.Module):
    """The weights of an attention of two heads, and what they gather."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.weights, self.out = nn.Linear(3, 24), nn.Dropout(0.5), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.qkv(x.flatten(2).mT).unflatten(-1, (3, 2, 4))
        query, key, value = tokens.permute(2, 0, 3, 1, 4)
        weights = self.weights((query @ key.mT).softmax(-1))
        return self.out((weights @ value).transpose(1, 2).flatten(2))


def test_weights_of_an_attention_are_refused_and_its_result_is_of_tokens() -> None:
    x = pictures(size=4)
    refused = error_of(Heads(), "weights", x, C4)
    assert "[3, 2, 16, 16], and two of its axes are of the same places" in refused
    assert "weights" in harvest_layers(Heads().eval(), inputs=x, action=C4).skipped
    assert layout_of(Heads(), "out", x, C4) == "n l c"
    assert layout_of(Heads(), "weights", x, C4, layout="n c h w", positions="all") == "n c h w"


MAPS: dict[str, tuple[Callable[..., Tensor], str]] = {
    "rows of windows, and back": (
        lambda x: (
            x.unflatten(2, (4, 2))
            .unflatten(4, (2, 4))
            .transpose(3, 4)
            .transpose(3, 4)
            .flatten(4)
            .flatten(2, 3)
        ),
        "n c h w",
    ),
    "columns before rows": (lambda x: x.mT, "n c w h"),
    "channels between": (lambda x: x.permute(0, 2, 1, 3), "n h c w"),
    "tokens by rows": (lambda x: x.flatten(2).mT, "n l c"),
    "channels of a part": (lambda x: x.chunk(2, dim=1)[1], "n c h w"),
    "two flips": (lambda x: x.flip(2).flip(-2), "n c h w"),
    "added to constants": (lambda x: x + torch.zeros(8, 8), "n c h w"),
    "an einsum": (lambda x: torch.einsum("nchw,cd->ndhw", x, torch.ones(6, 8)), "n c h w"),
    "a patch as channels": (
        lambda x: x.unflatten(2, (4, 2)).unflatten(4, (4, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3),
        "n h w c",
    ),
    "a quarter turn and back": (lambda x: x.rot90(1, (2, 3)).rot90(-1, (2, 3)), "n c h w"),
    "a turn of axes": (lambda x: x.rot90(3, (1, 3)), "n w h c"),
    "several views, one batch after the other": (
        lambda x: torch.cat([x, x, 2 * x]).unflatten(0, (3, -1)).mean(0),
        "n c h w",
    ),
    "several views that are taken apart again": (
        lambda x: torch.cat([x, 2 * x]).chunk(2)[1],
        "n c h w",
    ),
    "several copies of each input": (
        lambda x: x.repeat_interleave(4, dim=0).unflatten(0, (-1, 4)).mean(1),
        "n c h w",
    ),
    "a pixel shuffle": (lambda x: torch.pixel_unshuffle(x, 2), "n c h w"),
}


@pytest.mark.parametrize("name", MAPS)
def test_axes_are_followed_through_functions(name: str) -> None:
    make, axes = MAPS[name]
    net = Calling(
        lambda self, x: self.out(make(self.stem(x))), stem=nn.Conv2d(3, 6, 2, 2), out=nn.Identity()
    )
    assert layout_of(net, "out", pictures(), C4) == axes


OPEN: dict[str, Callable[[Tensor], Tensor]] = {
    "a vector cut into pieces": lambda x: x.flatten(1)[:, :48].reshape(-1, 6, 8),
    "a function that nothing follows": lambda x: torch.fft.fft(x.flatten(2)).real[:, :2],
}


@pytest.mark.parametrize("name", OPEN)
def test_axes_that_stay_open_are_refused_with_the_choices(name: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), Calling(lambda _, x: OPEN[name](x)))
    message = error_of(net, "1", pictures(size=4), C4)
    assert "'n c l' (" in message
    assert "or 'n l c' (" in message
    assert layout_of(net, "1", pictures(size=4), C4, layout="n l c") == "n l c"


def test_places_in_an_order_of_their_own_are_pooled_and_never_moved() -> None:
    net = Calling(
        lambda self, x: self.out(self.stem(x).mT.flatten(2).mT),
        stem=nn.Conv2d(3, 6, 4, 4),
        out=nn.Identity(),
    )
    assert layout_of(net, "out", pictures(), C4) == "n l c"
    assert "choose `positions` cls or mean" in error_of(net, "out", pictures(), C4, positions="all")


def test_a_layer_that_the_network_reads_about_a_moved_axis_is_refused() -> None:
    net = Calling(lambda self, x: self.conv(x.mT), conv=nn.Conv1d(4, 6, 3))
    message = error_of(net, "conv", letters().mT.contiguous(), SHIFT)
    assert "axis 2 is moved, and the network reads it as channels" in message
    assert "inputs.permute(0, 2, 1)" in message


def test_a_reconstruction_has_the_axes_of_the_inputs() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 192), nn.Unflatten(1, (3, 8, 8)))
    assert layout_of(net, "2", pictures(size=8), C4) == "n c h w"


def test_a_vector_cut_into_a_map_is_read_as_the_next_convolution_reads_it() -> None:
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(192, 128),
        nn.Unflatten(1, (8, 4, 4)),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 3, 2, 2),
    )
    assert layout_of(net, "2", pictures(size=8), C4) == "n c h w"


def test_a_network_that_states_its_width_decides_what_nothing_else_does() -> None:
    net = nn.Sequential(Calling(lambda _, x: torch.fft.fft(x.flatten(2)).real[:, :2]))
    net.embed_dim = 2
    assert layout_of(net, "0", pictures(), C4, positions="mean") == "n c l"


def test_users_say_the_layout_and_impossible_ones_are_refused() -> None:
    net = nn.Sequential(nn.Conv1d(4, 16, 3, padding=1))
    doubted = "'n .*l c' was given, but the functions of the network make it 'n c l'"
    with pytest.warns(OrbitLensWarning, match=doubted):
        assert layout_of(net, "0", letters(), STRANDS, layout="n l c") == "n l c"
    with pytest.warns(OrbitLensWarning, match=doubted):
        layout = layout_of(net, "0", letters(), STRANDS, layout="n 1+l c", positions="cls")
    assert layout == "n 1+l c"
    refused = error_of(net, "0", letters(), STRANDS, layout="n c h w")
    assert "'n c l' (16 channels at 16 places) or 'n l c'" in refused
    with pytest.warns(OrbitLensWarning, match=doubted):
        found = harvest_layers(net.eval(), inputs=letters(), action=STRANDS, layout={"0": "n l c"})
    assert found.taken["0"].layout == "n l c"
    with pytest.raises(OrbitLensError, match="one of 0, received '1'"):
        harvest_layers(net.eval(), inputs=letters(), action=STRANDS, layout={"1": "n l c"})


@pytest.mark.parametrize(
    "text", ["", "n", "c l", "n c c", "n l", "n c h", "n 1+c l", "n x c", "ncl"]
)
def test_a_text_that_is_no_layout_is_refused(text: str) -> None:
    with pytest.raises(OrbitLensError, match="`layout`: expected the axes of the output"):
        read_layout(text)


@given(
    letters=st.sampled_from(["c", "l c", "c l", "c h w", "h w c", "w c h", "c d h w", "h d w c"]),
    sizes=st.lists(st.integers(1, 4), min_size=4, max_size=4),
)
def test_rows_go_back_to_where_they_came_from(letters: str, sizes: list[int]) -> None:
    axes = read_layout(f"n {letters}")
    assert str(axes) == f"n {letters}"
    output = torch.randn(2, *sizes[: len(axes.letters)])
    rows = axes.rows(output)
    assert rows.shape[2] == axes.channels(tuple(output.shape))
    assert torch.equal(axes.back(rows, output), output)


@given(st.permutations([2, 3, 4]), st.data())
def test_axes_that_are_split_and_merged_again_are_the_same(sizes: list[int], data) -> None:
    shape = tuple(size * 2 for size in sizes)
    before = [of_kind(CHANNEL, shape[0]), of_kind(PLACE, shape[1], 0), of_kind(PLACE, shape[2], 1)]
    cut: list[int] = []
    for size in shape:
        outer = data.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        cut += [outer, size // outer]
    between = reshaped(before, shape, tuple(cut))
    assert reshaped(between, tuple(cut), shape) == before


def test_layouts_are_kept_and_said(tmp_path) -> None:
    net = nn.Sequential(nn.Conv1d(4, 8, 3))
    harvest(net.eval(), layer="0", inputs=letters(), action=STRANDS, out=tmp_path / "acts")
    store = open_store(tmp_path / "acts")
    assert layout_sentence(store.layout) == "8 channels at 14 places"
    assert store.to_dict()["layout"] == store.layout
    assert layout_sentence(None) == ""
    assert layout_sentence(OutputAxes(("c",)).record((3, 7))) == "7 channels"


def test_a_layer_is_given_as_a_module_or_by_its_name() -> None:
    net = nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU()).eval()
    store = harvest(net, layer=net[1], inputs=letters(), action=STRANDS)
    assert store.layer == "1"
    assert list(harvest_layers(net, layers=[net[0]], inputs=letters(), action=STRANDS).stores) == [
        "0"
    ]
    for layer, reason in ((copy.deepcopy(net[1]), "not in it"), (net, "the network itself")):
        with pytest.raises(OrbitLensError, match=f"a submodule of Sequential.*{reason}"):
            harvest(net, layer=layer, inputs=letters(), action=STRANDS)


def test_codes_of_maps_follow_the_axis_as_wide_as_the_sae() -> None:
    dictionary = OrbitDictionary(3, ol.reps.isotypic_basis(ol.reps.regular(cyclic(4))))
    sae, maps = compose(TopK(2), dictionary), torch.randn(2, 4, 5, 6)
    codes = encode_maps(sae, maps)
    assert torch.equal(encode_maps(sae, maps.permute(0, 2, 3, 1)), codes)
    assert torch.equal(encode_maps(sae, maps.flatten(2)), codes)
    with pytest.raises(OrbitLensError, match="'n c l' or 'n l c'"):
        encode_maps(sae, torch.randn(2, 4, 4))
    encoded = encode_maps(sae, maps[..., :4, :4].flatten(2)[..., :4], layout="n c l")
    assert encoded.shape == (2, 4, 4, 3)


def test_usual_layouts() -> None:
    assert [str(axes) for axes in layouts_of((2, 3, 4))] == ["n c l", "n l c"]
    assert layouts_of((2,)) == []
