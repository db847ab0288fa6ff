"""Networks whose axes are easily read wrong: does a harvest get the right numbers, or say no?

    python benchmarks/reliability/axes.py

Every instance compares what `harvest` stores with numbers that are computed from the network alone.
"""

from collections.abc import Callable

import torch
from outcomes import show
from torch import Tensor, nn

import orbitlens as ol

torch.manual_seed(0)
C2, C4 = ol.groups.cyclic(2), ol.groups.cyclic(4)
TURN, SHIFT, STRANDS = (
    ol.actions.images(C4),
    ol.actions.cyclic_shift(C4),
    ol.actions.reverse_complement(),
)
LETTERS = nn.functional.one_hot(torch.randint(0, 4, (12, 24)), 4).mT.float()
PICTURES = torch.rand(12, 3, 32, 32)


class Calls(nn.Module):
    """A network that is called as a function of it and its input says."""

    def __init__(self, call: Callable[..., Tensor], **layers: nn.Module) -> None:
        """Take the layers by their names."""
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        """Call the function."""
        return self.call(self, x)


def output_of(net: nn.Module, layer: str, x: Tensor) -> Tensor:
    """Return the output of a layer as the network gives it."""
    return ol.activations.layer_outputs(net, [layer], x)[layer]


def pooled(
    net: nn.Module,
    layer: str,
    x: Tensor,
    action: ol.actions.Action,
    places: tuple[int, ...],
    **settings: object,
) -> bool:
    """Return whether the mean over these axes is what is stored."""
    net = net.eval()
    stored = ol.harvest(net, layer=layer, inputs=x, action=action, positions="mean", **settings)
    right = output_of(net, layer, x).mean(places)
    got = stored.orbits()[:, 0]
    return got.shape == right.shape and torch.allclose(got, right, atol=1e-5)


def moves(net: nn.Module, layer: str, x: Tensor, action: ol.actions.Action) -> bool:
    """Return whether all places of an equivariant layer are aligned over the group."""
    store = ol.harvest(net.eval(), layer=layer, inputs=x, action=action, positions="all")
    rows = store.orbits()
    return bool(torch.allclose(rows, rows[:, :1].expand_as(rows), atol=1e-4)) and bool(
        rows.std() > 0
    )


def small_vit(**settings: object) -> nn.Module:
    """Return a small network of transformers."""
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "image_size": 32, "patch_size": 8}
    kind = "Dinov2WithRegisters" if "num_register_tokens" in settings else "ViT"
    config = getattr(transformers, f"{kind}Config")(**sizes, **settings)
    return getattr(transformers, f"{kind}Model")(config).eval()


def conv_in_containers() -> bool:
    """Conv1d, BatchNorm1d, ReLU, nested: channels before places."""
    block = nn.Sequential(nn.Conv1d(4, 24, 3, padding=1), nn.BatchNorm1d(24), nn.ReLU())
    return pooled(nn.Sequential(block, nn.MaxPool1d(2)), "0", LETTERS, STRANDS, (2,))


def rows_second() -> bool:
    """A transformer with the sequence before the batch; as many letters as inputs in the look."""
    net = Calls(
        lambda self, x: self.block(self.embed(x.mT).transpose(0, 1)).mean(0),
        embed=nn.Linear(4, 8),
        block=nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0),
    )
    return pooled(net, "block", LETTERS[:, :, :3], STRANDS, (1,))


def windows() -> bool:
    """A transformer of shifted windows, with channels last in maps and tokens by rows."""
    import transformers

    config = transformers.SwinConfig(
        image_size=32, patch_size=4, embed_dim=8, depths=[2, 1], num_heads=[2, 2], window_size=4
    )
    return pooled(transformers.SwinModel(config), "encoder.layers.0.blocks.1", PICTURES, TURN, (1,))


def blocks_with_channels_last() -> bool:
    """The layers within a block of ConvNeXt, on maps of 4 x 4 places with as many channels."""
    import transformers

    config = transformers.ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1])
    net = transformers.ConvNextModel(config)
    return all(
        pooled(net, f"encoder.stages.0.layers.0.{layer}", PICTURES, TURN, (1, 2))
        for layer in ("layernorm", "pwconv1", "act", "pwconv2")
    )


def attention_weights() -> bool:
    """The weights of an attention are no map of heads."""

    def call(self: nn.Module, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x.flatten(2).mT).unflatten(-1, (3, 4, 4)).unbind(2)
        weights = self.weights((query.transpose(1, 2) @ key.transpose(1, 2).mT).softmax(-1))
        return weights @ value.transpose(1, 2)

    net = Calls(call, qkv=nn.Linear(3, 48), weights=nn.Dropout(0.1))
    ol.harvest(net.eval(), layer="weights", inputs=torch.rand(9, 3, 8, 8), action=TURN)
    return False


def registers() -> bool:
    """Four registers and a class token stay; 16 patches with 16 channels move."""
    net = small_vit(num_register_tokens=4)
    store = ol.harvest(net, layer="layernorm", inputs=PICTURES, action=TURN, positions="all")
    tokens = output_of(net, "layernorm", PICTURES)
    own = store.orbits().unflatten(0, (12, 21))[:, :, 0]
    return (
        store.moves is not None
        and (store.moves[:, :5] == range(5)).all()
        and store.moves[1, 5] == 5 + 12
        and torch.allclose(own, tokens, atol=1e-5)
    )


def oblong_patches() -> bool:
    """Patches of 4 x 8 places after a class token, under the half turn."""
    net = small_vit()
    call = lambda self, x: self.net(x, interpolate_pos_encoding=True)[0]  # noqa: E731
    wrapped = Calls(call, net=net)
    store = ol.harvest(
        wrapped.eval(),
        layer="net.layernorm",
        inputs=torch.rand(9, 3, 32, 64),
        action=ol.actions.images(C2),
        positions="all",
    )
    moves_of_turn = [0, *range(32, 0, -1)]
    return store.moves is not None and store.moves[1].tolist() == moves_of_turn


def unfolded_patches() -> bool:
    """nn.Unfold puts out [n, channels of a patch, patches]."""
    return pooled(nn.Sequential(nn.Unfold(8, stride=8)), "0", PICTURES, TURN, (2,))


def contraction() -> bool:
    """A custom layer with einsum, before which axes were moved by hand."""

    class Mix(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(7, 3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("nhwc,dc->nhdw", x.permute(0, 2, 3, 1), self.weight)

    return pooled(nn.Sequential(Mix()), "0", PICTURES, TURN, (1, 3))


def recurrent() -> bool:
    """A GRU that returns a tuple; the layer reads its hidden states [n, length, 2 x 12]."""
    net = Calls(
        lambda self, x: self.states(self.gru(x.mT)[0]),
        gru=nn.GRU(4, 12, batch_first=True, bidirectional=True),
        states=nn.LayerNorm(24),  # as many channels as places
    )
    return pooled(net, "states", LETTERS, STRANDS, (1,))


def volumes() -> bool:
    """3-D maps under the octahedral group: all 64 places, and a pooled vector."""
    net = nn.Sequential(nn.Conv3d(1, 6, 1), nn.Tanh(), nn.AdaptiveAvgPool3d(1))
    action, x = ol.actions.volumes(ol.groups.octahedral()), torch.rand(6, 1, 4, 4, 4)
    return (
        moves(net, "1", x, action)
        and pooled(net, "0", x, action, (2, 3, 4))
        and ol.harvest(net.eval(), layer="2", inputs=x, action=action).dim == 6
    )


def layer_itself() -> bool:
    """A layer given as a module, under shifts."""
    net = nn.Sequential(nn.Conv1d(4, 12, 3, padding=1, padding_mode="circular"), nn.GELU())
    store = ol.harvest(net.eval(), layer=net[1], inputs=LETTERS, action=SHIFT, positions="all")
    rows = store.orbits()
    return store.layer == "1" and torch.allclose(rows, rows[:, :1].expand_as(rows), atol=1e-5)


def shuffled_channels() -> bool:
    """ChannelShuffle and a residual sum, on 12 channels at 12 x 12 places."""
    net = Calls(
        lambda self, x: self.end(self.mix(self.conv(x)) + self.conv.bias[:, None, None]),
        conv=nn.Conv2d(3, 12, 1),
        mix=nn.ChannelShuffle(4),
        end=nn.Identity(),
    )
    return moves(net, "end", PICTURES[:, :, :12, :12], TURN)


def patches_in_another_order() -> bool:
    """Tokens by columns: their places are not those of a grid by rows."""
    net = Calls(
        lambda self, x: self.tokens(self.stem(x).mT.flatten(2).mT),
        stem=nn.Conv2d(3, 16, 8, 8),
        tokens=nn.LayerNorm(16),
    )
    mean = pooled(net, "tokens", PICTURES, TURN, (1,))
    if not mean:
        return False
    return moves(net, "tokens", PICTURES, TURN)  # may be refused


def detection_tokens() -> bool:
    """Tokens after the patches as well: 1 + 16 + 8 = 25 is a square, and no grid."""
    extra = torch.randn(1, 9, 16)

    def call(self: nn.Module, x: Tensor) -> Tensor:
        patches = self.stem(x).flatten(2).mT
        first, last = extra.expand(len(x), -1, -1).split([1, 8], dim=1)
        return self.tokens(torch.cat([first, patches, last], 1))

    net = Calls(call, stem=nn.Conv2d(3, 16, 8, 8), tokens=nn.Identity())
    ol.harvest(net.eval(), layer="tokens", inputs=PICTURES, action=TURN, positions="all")
    return False


def letters_last() -> bool:
    """Sequences [n, length, 4] under shifts: the shift would exchange the letters."""
    net = Calls(lambda self, x: self.conv(x.mT).mean(2), conv=nn.Conv1d(4, 6, 3))
    ol.harvest(net.eval(), layer="conv", inputs=LETTERS.mT.contiguous(), action=SHIFT)
    return False


if __name__ == "__main__":
    show(
        "A1: the meaning of axes",
        {
            "Conv1d, BatchNorm1d, ReLU in containers": conv_in_containers,
            "transformer with the sequence before the batch": rows_second,
            "shifted windows (Swin)": windows,
            "channels last, 8 channels at 8 x 8 places (ConvNeXt)": blocks_with_channels_last,
            "weights of an attention": attention_weights,
            "4 registers, 16 patches of 16 channels": registers,
            "oblong patches after a class token": oblong_patches,
            "nn.Unfold": unfolded_patches,
            "einsum after a permutation, [n, h, c, w]": contraction,
            "GRU, 24 channels at 24 places": recurrent,
            "Conv3d under the octahedral group": volumes,
            "the layer itself instead of its name": layer_itself,
            "ChannelShuffle, 12 channels at 12 x 12 places": shuffled_channels,
            "patches by columns": patches_in_another_order,
            "detection tokens after the patches": detection_tokens,
            "letters last under shifts": letters_last,
        },
    )
