"""The parts of a record of COCO's files, also as other programs write them.

    "7", 7.0                       the number 7
    "true", "1", 1, true           a flag that is set
    null, "bbox": [], [[]]         no box, no mask

What cannot be understood in one way only is refused.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

from torch import Tensor

from segcourse.ops.coco_polygons import coco_polygons_to_mask
from segcourse.ops.rle import decode_rle

Record = Mapping[str, Any]

_TRUE, _FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no", "", "none")


def read_integer(value: Any) -> int | None:
    """A whole number, also as text or as a float ("7", 7.0); None if the value is no such number.

    Text keeps all its digits: numbers of images can be longer than a float is exact.
    """
    if type(value) is int:
        return value
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    whole = number.is_finite() and number == number.to_integral_value()
    return int(number) if whole else None


def read_number(value: Any, what: str) -> float:
    """A finite number, also as text.

    Raises:
        ValueError: if the value is no such number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not isfinite(number):
        raise ValueError(f"a record has the {what} {value!r}: it must be a finite number.")
    return number


def read_flag(value: Any, what: str = "iscrowd") -> bool:
    """A flag as a number, a boolean or text; null is not set.

    Raises:
        ValueError: if the value is none of these.
    """
    text = str(value).strip().lower()
    if text not in _TRUE + _FALSE:
        raise ValueError(f"a record has the {what} {value!r}: write 0 or 1.")
    return text in _TRUE


def read_box(record: Record) -> list[float] | None:
    """The box of a record as it is written, (x, y, width, height); None if it has none.

    Raises:
        ValueError: if the box is not four numbers.
    """
    box = record.get("bbox")
    if box is None or box == []:
        return None
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"a record has the bbox {box!r}: write [x, y, width, height].")
    return [read_number(side, "bbox") for side in box]


def read_segmentation(record: Record) -> Record | list[list[float]] | None:
    """A run-length code, or polygons as flat lists x, y, x, y, ...; None if the record has neither.

    Raises:
        ValueError: if the segmentation is something else.
    """
    code = record.get("segmentation")
    if not code:
        return None
    if isinstance(code, Mapping):
        return code
    if not isinstance(code, list):
        raise ValueError(
            f"a record has a {type(code).__name__} as segmentation: write a list of polygons "
            "[[x, y, x, y, ...], ...] or a run-length code {size, counts}."
        )
    polygons = code if all(isinstance(each, list) for each in code) else [code]
    return [[read_number(v, "segmentation") for v in each] for each in polygons if each] or None


def segmentation_mask(record: Record, size: tuple[int, int]) -> Tensor:
    """The mask of a record: polygons, a run-length code, or nothing but a box: -> (H, W) bool.

    Raises:
        ValueError: if the record shows nothing, or its code is damaged or of another size.
    """
    code, box = read_segmentation(record), read_box(record)
    if isinstance(code, Mapping):
        mask = decode_rle(code)
        if mask.shape != tuple(size):
            raise ValueError(
                f"a run-length code of {tuple(mask.shape)} pixels belongs to an image of {size}: "
                "was it made for a resized image?"
            )
        return mask
    if code:
        return coco_polygons_to_mask(code, size)
    if box is None:
        raise ValueError("a record has neither a segmentation nor a bbox: it shows nothing.")
    x, y, width, height = box
    corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
    return coco_polygons_to_mask([corners], size)
