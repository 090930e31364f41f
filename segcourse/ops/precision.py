"""Enough digits: types of 16 bits are widened before numbers are multiplied or counted.

              largest number    whole numbers are exact up to
    float16        65504                  2048
    bfloat16      3 x 10^38                256
    int16          32767                 32767

The area of a box of 400 x 400 pixels is already infinite in float16. ``torch.autocast`` computes
matrix products in one of these types even if their factors are float32, so that it is switched off
where a product counts pixels or must be exact.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import reduce

import torch
from torch import Tensor


def widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The same numbers in one type, float32 or float64, or int64 if all are integers: same shapes.

    The type is that of the widest tensor; float32 if all have 16 bits.
    """
    kind = reduce(torch.promote_types, (each.dtype for each in tensors))
    kind = torch.promote_types(kind, torch.float32) if kind.is_floating_point else torch.int64
    return tuple(each.to(kind) for each in tensors)


def without_autocast(device: torch.device) -> AbstractContextManager:
    """A context in which matrix products keep the type of their factors."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
