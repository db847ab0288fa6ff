"""Arguments at the door: what has one clear meaning is converted, the rest is refused.

For the other rooms:

as_tensor        numbers of any kind (list, array, tensor) as a tensor of finite numbers
as_labels        one class index per sample, as int64
as_samples       samples by index or by a boolean mask, as int64 indices
as_count         a whole number in a range
"""

from orbitlens.checks._arrays import as_labels, as_samples, as_tensor
from orbitlens.checks._numbers import as_count

__all__ = ["as_count", "as_labels", "as_samples", "as_tensor"]
