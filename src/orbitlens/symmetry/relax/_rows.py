"""Linear layers as rows: the weight gradient is a sum over rows of g a^T.

Dense layers have one row for each vector, convolutions one for each place, group convolutions one
for each place and element, and factored ones one for each channel.
"""

from collections.abc import Mapping
from typing import NamedTuple

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import unfold

from orbitlens.errors import OrbitLensError
from orbitlens.models import GroupConv2d, LiftingConv2d, joined
from orbitlens.symmetry.relax._block_linear import BlockLinear
from orbitlens.symmetry.relax.sparse import SparseConv2d

Rows = Float[Tensor, "n rows width"]
_TIED = (LiftingConv2d, GroupConv2d)
_LAYERS = (nn.Linear, nn.Conv2d, BlockLinear, SparseConv2d, *_TIED)
_KERNEL = 3


class Layer(NamedTuple):
    """A linear layer of a network, and the names of its parameters; None where it learns none."""

    module: nn.Module
    weight: str | None
    bias: str | None

    @property
    def has_blocks(self) -> bool:
        """Whether each row has weights of its own, so that the input factor has a block for it."""
        return isinstance(self.module, BlockLinear)


def linear_layers(network: nn.Module) -> dict[str, Layer]:
    """Return the layers that hold the learned parameters, by name; other parameters are refused."""
    names = {id(each): name for name, each in network.named_parameters() if each.requires_grad}
    _check_parameters(network)
    free = {id(each) for module in network.modules() for each in _without_prior(module)}
    found = {}
    for name, module in network.named_modules():
        if not isinstance(module, _LAYERS):
            continue
        if not any(each.requires_grad for each in module.parameters()):
            continue
        _check_layer(name, module)
        parameters = (_weight(module), module._parameters["bias"])
        of = [names.pop(id(each), None) for each in parameters]
        if any(of):
            found[name] = Layer(module, *of)
    left = [name for key, name in names.items() if key not in free]
    if left or not found:
        raise OrbitLensError(
            "`network`",
            expected="learned parameters in linear layers alone: Linear, Conv2d, and those of "
            "mixed blocks",
            received=f"{left[0]!r}" if left else "no learned parameter",
            remedy="freeze it by requires_grad_(False), or build the network without it"
            if left
            else "unfreeze its layers",
        )
    return found


def _without_prior(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are learned by their likelihood alone: omega of the kernels."""
    return [
        own for name, own in module._parameters.items() if name == "log_omega" and own is not None
    ]


def _check_parameters(network: nn.Module) -> None:
    """Refuse learned parameters that several modules hold, and those that cannot be trained."""
    owners: dict[int, str] = {}
    for place, module in network.named_modules():
        for own, each in module._parameters.items():
            if each is None or not each.requires_grad:
                continue
            name = f"{place}.{own}" if place else own
            expected, received, remedy = "", "", ""
            if id(each) in owners:
                expected = "a parameter of one layer alone, as its curvature is that of one"
                received = f"the same one as {owners[id(each)]!r}"
                remedy = "give each layer its own, or freeze it by requires_grad_(False)"
            elif nn.parameter.is_lazy(each):
                expected, received = "a parameter with a shape", "one of a lazy layer"
                remedy = "call the network once on an input first"
            elif each.is_inference():
                expected, received = "a parameter that can be trained", "one of inference mode"
                remedy = "build the network outside of torch.inference_mode()"
            if expected:
                raise OrbitLensError(
                    f"{name!r} of `network`", expected=expected, received=received, remedy=remedy
                )
            owners[id(each)] = name


def _check_layer(name: str, module: nn.Module) -> None:
    [kind] = [each for each in _LAYERS if isinstance(module, each)]
    plain = all(
        getattr(type(module), each, None) is getattr(kind, each, None) and each not in vars(module)
        for each in ("forward", "_conv_forward")
    )
    own = "tied" if kind in _TIED else "weight"
    if not plain or own not in module._parameters:
        what = f"a {own} that is computed from others" if plain else "a forward of its own"
        raise OrbitLensError(
            f"layer {name!r} of `network`",
            expected=f"a plain {kind.__name__}, whose curvature is known",
            received=f"{type(module).__name__} with {what}",
            remedy=f"take {kind.__name__} itself without a parametrization, or freeze the layer "
            "by requires_grad_(False)",
        )
    received = None
    if isinstance(module, nn.Conv2d):
        if module.groups != 1:
            received = f"{module.groups} groups"
        elif isinstance(module.padding, str) or module.padding_mode != "zeros":
            received = f"padding {module.padding!r} of mode {module.padding_mode!r}"
    elif isinstance(module, LiftingConv2d | GroupConv2d) and (
        module.padding != "circular" or module.broken is not None
    ):
        received = f"padding {module.padding!r}, broken {module.broken}"
    if received is not None:
        raise OrbitLensError(
            f"layer {name!r} of `network`",
            expected="a convolution of one group padded by zeros, or an unbroken one on a torus",
            received=received,
            remedy="pad in a module of its own before the layer, or choose another layer",
        )


def input_rows(module: nn.Module, x: Tensor) -> Rows:
    """Return the rows a of the inputs, with the width of the weights that a row meets."""
    if isinstance(module, nn.Linear):
        return x.reshape(len(x), -1, x.shape[-1])
    if isinstance(module, BlockLinear):
        return x
    if isinstance(module, nn.Conv2d):
        how = (module.kernel_size, module.dilation, module.padding, module.stride)
        return unfold(x, *how).mT  # type: ignore[arg-type]
    patches = unfold(joined(x, 1, 1), _KERNEL).mT
    if isinstance(module, SparseConv2d):
        at_anchors = patches.unflatten(2, (-1, _KERNEL**2)) @ module.read.matrix().mT
        return at_anchors.flatten(2)
    return _turned_rows(module, x)


def _turned_rows(module: nn.Module, x: Tensor) -> Rows:
    """Return one row for each place and element: the patch moved back by the element."""
    assert isinstance(module, LiftingConv2d | GroupConv2d)  # noqa: S101  # the last kind
    margin, (order, planes) = module.kernel // 2, module.index.shape[:2]
    patches = unfold(joined(x, margin, margin), module.kernel).mT
    own = patches.unflatten(2, (-1, planes * module.kernel**2))
    back = module.index.reshape(order, -1).argsort(1)
    return rearrange(own[..., back], "n place c g taps -> n (place g) (c taps)")


def output_rows(module: nn.Module, gradient: Tensor) -> Rows:
    """Return the rows g of the gradients of the outputs, in the order of the input rows."""
    if isinstance(module, nn.Linear):
        return gradient.reshape(len(gradient), -1, gradient.shape[-1])
    if isinstance(module, BlockLinear):
        return gradient
    if isinstance(module, LiftingConv2d | GroupConv2d):
        order = module.group.order
        return rearrange(gradient, "n (f g) y x -> n (y x g) f", g=order)
    return gradient.flatten(2).mT


def check_sides(layers: Mapping[str, Layer], most: int) -> None:
    """Refuse curvature factors that a CPU would take hours for."""
    for name, layer in layers.items():
        weight = _weight(layer.module)
        # Each row of a factored layer has an input factor of its own.
        inputs = weight.shape[2:] if layer.has_blocks else weight.shape[1:]
        side = max(weight.shape[0], inputs.numel())
        if side > most and weight.device.type == "cpu":
            raise OrbitLensError(
                f"layer {name!r} of `network`",
                expected=f"curvature factors of at most {most:,} x {most:,} on a CPU",
                received=f"{side:,} x {side:,}",
                remedy='take the factored path "f-fc" in place of a dense one, smaller maps, fewer '
                "channels or another device",
            )


def _weight(module: nn.Module) -> nn.Parameter:
    """Return the weights of a linear layer, the outputs on axis 0."""
    return module.get_parameter("tied" if isinstance(module, _TIED) else "weight")
