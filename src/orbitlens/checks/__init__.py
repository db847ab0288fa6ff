"""Arguments at the door: what has one clear meaning is converted, the rest is refused.

For the other rooms:

as_tensor        numbers of any kind (list, array, tensor) as a tensor of finite numbers
as_axes          the same, with axes of given names and sizes
as_floats        a floating tensor as it is, other numbers as one
as_indices       whole numbers from 0 to a largest one, as int64
as_flags         booleans, given as such or as zeros and ones
as_labels        one class index per sample, as int64
as_samples       samples by index or by a boolean mask, as int64 indices
as_layout        the text of a layout, such as "n c h w"
as_count         a whole number in a range
as_number        a finite number
as_seed          a seed, a whole number from 0
as_switch        True or False
as_text          a text
as_texts         a list of texts
usable_memory    bytes of the machine or its container
check_memory     refuses work that needs more
check_weights    refuses weights that need more; check_training, a training of them
check_kind       an object of a class of the library
check_learns     a network with weights that can be trained
bytes_of         the numbers of a tensor as bytes
usual_torch      the usual state of torch for a block: float32, gradients on, no autocast
"""

from typing import TYPE_CHECKING

from orbitlens._lazy import lazy_names

if TYPE_CHECKING:
    from orbitlens.checks._arrays import (
        as_axes,
        as_flags,
        as_floats,
        as_indices,
        as_labels,
        as_samples,
        as_tensor,
    )
    from orbitlens.checks._bytes import bytes_of
    from orbitlens.checks._kinds import check_kind
    from orbitlens.checks._layout import as_layout
    from orbitlens.checks._memory import (
        check_memory,
        check_training,
        check_weights,
        usable_memory,
    )
    from orbitlens.checks._numbers import (
        as_count,
        as_number,
        as_seed,
        as_switch,
        as_text,
        as_texts,
    )
    from orbitlens.checks._torch import check_learns, usual_torch
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "as_axes",
    "as_count",
    "as_flags",
    "as_floats",
    "as_indices",
    "as_labels",
    "as_layout",
    "as_number",
    "as_samples",
    "as_seed",
    "as_switch",
    "as_tensor",
    "as_text",
    "as_texts",
    "bytes_of",
    "check_kind",
    "check_learns",
    "check_memory",
    "check_training",
    "check_weights",
    "usable_memory",
    "usual_torch",
]
