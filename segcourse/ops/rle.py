"""Run-length code of masks, as COCO writes it: how many zeros, how many ones, how many zeros, ...

    0 1 1                                  down the columns: 0 0 | 1 1 | 1 0
    0 1 0      {"size": [2, 3],   "counts": [2,          3,          1]}

The code runs down the columns (Fortran order) and always starts with the zeros, so a mask whose
first pixel is set starts with the count 0. It loses nothing, and area and box follow from the
counts without decoding. COCO also writes the counts as a compressed string; this is the plain list.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from segcourse.ops.masks import check_mask


def encode_rle(mask: Tensor) -> dict[str, list[int]]:
    """Run lengths down the columns, zeros first: (H, W) bool -> {"size": [H, W], "counts": [...]}.

    Raises:
        TypeError, ValueError: if it is no mask.
    """
    mask = check_mask(mask)
    pixels = mask.T.flatten()
    changes = (pixels[1:] != pixels[:-1]).nonzero().flatten() + 1
    ends = torch.tensor([0, *changes.tolist(), len(pixels)])
    counts = ends.diff().tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if pixels[0] else counts}


def decode_rle(code: Mapping[str, Any]) -> Tensor:
    """The mask that a run-length code describes: {"size", "counts"} -> (H, W) bool.

    Raises:
        TypeError: if the counts are COCO's compressed string.
        ValueError: if a part is missing, or if the counts do not fill the size.
    """
    height, width, counts = unpack(code)
    runs = torch.tensor(counts)
    values = torch.arange(len(runs)) % 2 == 1
    return values.repeat_interleave(runs).reshape(width, height).T


def rle_area(code: Mapping[str, Any]) -> int:
    """The number of pixels of the mask: every second count.

    Raises:
        TypeError, ValueError: as ``decode_rle``.
    """
    return sum(unpack(code)[2][1::2])


def rle_box(code: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """The box around the mask, from the counts alone: (x0, y0, x1, y1) as ``mask_box`` has it.

    Raises:
        TypeError, ValueError: as ``decode_rle``.
    """
    height, _, counts = unpack(code)
    runs = torch.tensor(counts)
    ends = runs.cumsum(0)
    ones = (torch.arange(len(runs)) % 2 == 1) & (runs > 0)
    if not ones.any():
        return 0, 0, 0, 0
    first, last = (ends - runs)[ones], ends[ones] - 1
    over_the_edge = first // height != last // height  # a run that goes on in the next column
    top = torch.where(over_the_edge, 0, first % height).min()
    bottom = torch.where(over_the_edge, height - 1, last % height).max()
    left, right = (first // height).min(), (last // height).max()
    return int(left), int(top), int(right) + 1, int(bottom) + 1


def unpack(code: Mapping[str, Any]) -> tuple[int, int, list[int]]:
    """Height, width and counts of a code that is in order.

    Raises:
        TypeError, ValueError: as ``decode_rle``.
    """
    if not isinstance(code, Mapping) or not {"size", "counts"} <= code.keys():
        found = sorted(code) if isinstance(code, Mapping) else type(code).__name__
        raise ValueError(
            f"a run-length code is a dictionary with size and counts, but this is {found}: "
            'write {"size": [height, width], "counts": [...]}.'
        )
    counts = code["counts"]
    if isinstance(counts, (str, bytes)):
        raise TypeError(
            "the counts are COCO's compressed string, but a list of integers is needed: expand "
            "them with pycocotools.mask.decode and encode the mask again."
        )
    height, width = code["size"]
    counts = [int(count) for count in counts]
    if height < 1 or width < 1 or min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(
            f"the counts of a {height} x {width} mask must be positive and sum to "
            f"{height * width}, but they start {counts[:4]} and sum to {sum(counts)}: is the size "
            "(height, width), and do the counts start with the zeros?"
        )
    return int(height), int(width), counts
