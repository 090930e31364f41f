"""Run-length code of masks, as COCO writes it: how many zeros, how many ones, how many zeros, ...

    0 1 1                                  down the columns: 0 0 | 1 1 | 1 0
    0 1 0      {"size": [2, 3],   "counts": [2,          3,          1]}

The code runs down the columns (Fortran order) and always starts with the zeros, so a mask whose
first pixel is set starts with the count 0. It loses nothing, and area and box follow from the
counts without decoding.

COCO's result files hold the counts as a string, which every function here also reads and
``compress`` writes: from the fourth count on, the difference to the count two places before (runs
of one column resemble those of the last), in digits of five bits, lowest first.

    digit    32: another follows   16: if none follows, the number is negative   + 48 = "0" ... "o"
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
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
        ValueError: if a part is missing, if a string is none of COCO's, or if the counts do not
            fill the size.
    """
    height, width, counts = _unpack(code)
    runs = torch.tensor(counts)
    values = torch.arange(len(runs)) % 2 == 1
    return values.repeat_interleave(runs).reshape(width, height).T


def rle_area(code: Mapping[str, Any]) -> int:
    """The number of pixels of the mask: every second count.

    Raises:
        ValueError: as ``decode_rle``.
    """
    return sum(_unpack(code)[2][1::2])


def rle_box(code: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """The box around the mask, from the counts alone: (x0, y0, x1, y1) as ``mask_box`` has it.

    Raises:
        ValueError: as ``decode_rle``.
    """
    height, _, counts = _unpack(code)
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


def union_rle(codes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The code of the pixels that lie in any mask, from the counts alone: codes -> code.

    Raises:
        ValueError: as ``decode_rle``, and if there is no code or if the masks differ in size.
    """
    return _combine(codes, needed=1)


def intersection_rle(codes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The code of the pixels that lie in all masks, from the counts alone: codes -> code.

    Raises:
        ValueError: as ``union_rle``.
    """
    return _combine(codes, needed=len(codes))


def _combine(codes: Sequence[Mapping[str, Any]], needed: int) -> dict[str, Any]:
    """The code of the pixels that lie in at least ``needed`` masks.

    Where a run ends, its mask begins or stops to cover pixels. All these places in order give the
    number of masks that cover every stretch of pixels.
    """
    parts = [_unpack(code) for code in codes]
    sizes = {(height, width) for height, width, _ in parts}
    if len(sizes) != 1:
        raise ValueError(
            f"codes of masks of one size are wanted, but these have the sizes {sorted(sizes)}: "
            "combine the masks of one image, at least one."
        )
    ((height, width),) = sizes
    steps = {0: 0, height * width: 0}  # place: how many masks begin, less how many stop
    for _, _, counts in parts:
        places = torch.tensor(counts).cumsum(0).tolist()
        for number, place in enumerate(places[:-1]):
            steps[place] = steps.get(place, 0) + (1 if number % 2 == 0 else -1)
    runs, covering, inside = [0], 0, False
    for place, end in pairwise(sorted(steps)):
        covering += steps[place]
        if (covering >= needed) != inside:
            inside = not inside
            runs.append(0)
        runs[-1] += end - place
    return {"size": [height, width], "counts": runs}


def _unpack(code: Mapping[str, Any]) -> tuple[int, int, list[int]]:
    """Height, width and counts of a code that is in order.

    Raises:
        ValueError: as ``decode_rle``.
    """
    if not isinstance(code, Mapping) or not {"size", "counts"} <= code.keys():
        found = sorted(code) if isinstance(code, Mapping) else type(code).__name__
        raise ValueError(
            f"a run-length code is a dictionary with size and counts, but this is {found}: "
            'write {"size": [height, width], "counts": [...]}.'
        )
    counts = code["counts"]
    height, width = code["size"]
    if isinstance(counts, (str, bytes)):
        counts = expand(counts if isinstance(counts, str) else counts.decode("latin-1"))
    counts = [int(count) for count in counts]
    if height < 1 or width < 1 or min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(
            f"the counts of a {height} x {width} mask must be positive and sum to "
            f"{height * width}, but they start {counts[:4]} and sum to {sum(counts)}: is the size "
            "(height, width), and do the counts start with the zeros?"
        )
    return int(height), int(width), counts


def compress(code: Mapping[str, Any]) -> dict[str, Any]:
    """The same code with its counts as COCO's string: {"size", "counts"} -> {"size", "counts"}.

    Raises:
        ValueError: as ``decode_rle``.
    """
    height, width, counts = _unpack(code)
    before = [0, 0, 0, *counts[1:]]  # the first three stand for themselves
    digits = []
    for count, earlier in zip(counts, before, strict=False):
        number, more = count - earlier, True
        while more:
            digit, number = number & 31, number >> 5
            more = number != (-1 if digit & 16 else 0)
            digits.append(chr(48 + digit + 32 * more))
    return {"size": [height, width], "counts": "".join(digits)}


def expand(string: str) -> list[int]:
    """The counts in COCO's string; the inverse of what ``compress`` writes.

    Raises:
        ValueError: if a character is no digit, or if the last number does not end.
    """
    counts, number, shift = [], 0, 0
    for character in string:
        digit = ord(character) - 48
        if not 0 <= digit < 64:
            raise ValueError(
                f"COCO's counts are written with the characters 0 to o, but hold {character!r}: "
                "was the string cut or escaped?"
            )
        number |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        number -= (digit & 16) << (shift - 4)  # sign
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number, shift = 0, 0
    if shift:
        raise ValueError(f"COCO's counts {string[-12:]!r} end within a number: was the file cut?")
    return counts
