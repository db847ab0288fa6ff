"""The axes of a result, from those of the operands: a rule for each kind of function of torch.

A convolution says which axis is of channels, a linear layer says that the last one is, a
permutation moves axes, a concatenation puts tokens before places. Functions without a rule make
axes unclear.
"""

import re

from orbitlens.activations.layout._atoms import (
    BATCH,
    Axes,
    Axis,
    kind_of_axis,
    unclear,
)
from orbitlens.activations.layout._call import Call, Rule, elementwise
from orbitlens.activations.layout._rules_of_layers import (
    attention,
    convolution,
    einsum_rule,
    embedding,
    fold_rule,
    linear_rule,
    many_heads,
    matmul_rule,
    norm_of_last,
    norm_of_second,
    on_maps,
    pixel_shuffle,
    recurrent,
    unfold_rule,
)
from orbitlens.activations.layout._rules_of_shapes import (
    concatenate,
    expand_rule,
    flip_rule,
    interleave_rule,
    item_rule,
    move_rule,
    narrow_rule,
    permute_rule,
    picked,
    reduce_rule,
    reshape_rule,
    rotate_rule,
    split_rule,
    stack_rule,
    transpose_rule,
    turn_round,
    unbind_rule,
)


def axes_after(call: Call) -> "list[Axis] | Axes | None":
    """Return the axes of an output; None if it depends on constants alone and no rule names it."""
    rule = _rule(call.name)
    told = [axes for axes in map(call.known, call.operands) if axes is not None]
    if rule is not None and (told or rule in _PRODUCERS):
        return rule(call)
    if not told:
        return None
    axes = unclear(call.shape)
    batch = told[0].axes[0] if told[0].axes else None
    if axes and kind_of_axis(batch) == BATCH and batch and batch[0].size == call.shape[0]:
        axes[0] = batch
    return axes


def _names(text: str) -> list[str]:
    return text.split()


_ALIKE = _names(
    "relu relu6 gelu silu mish elu selu celu leaky_relu prelu rrelu hardswish hardsigmoid hardtanh"
    " sigmoid logsigmoid tanh softplus softsign softmax log_softmax softmin tanhshrink hardshrink"
    " softshrink threshold dropout dropout1d dropout2d dropout3d alpha_dropout"
    " feature_alpha_dropout exp exp2 expm1 log log2 log1p sqrt rsqrt abs absolute neg negative"
    " positive sin cos tan atan sinh cosh erf erfc sinc square reciprocal sign floor ceil round"
    " trunc frac clamp clamp_min clamp_max clip nan_to_num to float half double bfloat16 type"
    " type_as cpu cuda contiguous clone detach requires_grad normalize local_response_norm cumsum"
    " cumprod roll masked_fill pow float_power where add sub subtract mul"
    " multiply div divide true_divide floor_divide remainder fmod maximum minimum fmax fmin addcmul"
    " addcdiv lerp radd iadd rsub isub rmul imul truediv rtruediv itruediv rpow ipow mod floordiv"
    " rdiv idiv data real xlogy bernoulli logit copy fill atleast_1d gumbel_softmax quantize"
    " special_expit ldexp hypot atan2 logaddexp eq ne lt gt le ge logical_not logical_and"
    " logical_or isnan isfinite bool int long and or"
)
_REDUCTIONS = _names(
    "mean sum amax amin max min std var median prod norm logsumexp nanmean nansum argmax argmin any"
    " all linalg_vector_norm vector_norm"
)
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_ALIKE, elementwise),
    **dict.fromkeys(_REDUCTIONS, reduce_rule),
    **dict.fromkeys(_names("layer_norm rms_norm"), norm_of_last),
    **dict.fromkeys(_names("batch_norm instance_norm group_norm"), norm_of_second),
    **dict.fromkeys(_names("interpolate upsample pad grid_sample channel_shuffle glu"), on_maps),
    **dict.fromkeys(_names("pixel_shuffle pixel_unshuffle"), pixel_shuffle),
    **dict.fromkeys(_names("matmul rmatmul bmm mm addmm baddbmm"), matmul_rule),
    **dict.fromkeys(_names("gru lstm rnn_tanh rnn_relu"), recurrent),
    **dict.fromkeys(_names("embedding one_hot"), embedding),
    **dict.fromkeys(
        _names("reshape view flatten unflatten squeeze unsqueeze ravel view_as reshape_as"),
        reshape_rule,
    ),
    **dict.fromkeys(_names("expand expand_as repeat tile broadcast_to"), expand_rule),
    **dict.fromkeys(_names("transpose swapaxes swapdims"), transpose_rule),
    **dict.fromkeys(_names("movedim moveaxis"), move_rule),
    **dict.fromkeys(_names("t T mT mH H adjoint"), turn_round),
    **dict.fromkeys(_names("cat concat concatenate"), concatenate),
    **dict.fromkeys(
        _names("split split_with_sizes chunk tensor_split unsafe_chunk unsafe_split"), split_rule
    ),
    **dict.fromkeys(_names("gather index_select take_along_dim sort topk"), picked),
    **dict.fromkeys(_names("unbind select"), unbind_rule),
    "flip": flip_rule,
    "rot90": rotate_rule,
    "repeat_interleave": interleave_rule,
    "permute": permute_rule,
    "linear": linear_rule,
    "einsum": einsum_rule,
    "scaled_dot_product_attention": attention,
    "multi_head_attention_forward": many_heads,
    "stack": stack_rule,
    "narrow": narrow_rule,
    "getitem": item_rule,
    "unfold": unfold_rule,
    "fold": fold_rule,
}
# These say what an axis is, also where nothing was known before.
_PRODUCERS = {convolution, linear_rule, norm_of_last, norm_of_second, embedding, recurrent}


def _rule(name: str) -> Rule | None:
    if re.fullmatch(r"conv(_transpose)?[123]d", name):
        return convolution
    if re.search(r"pool[123]d", name):
        return on_maps
    return _RULES.get(name)
