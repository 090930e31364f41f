"""Parts of COCO's records, as COCO and other programs write them."""

import pytest
import torch

from segcourse.data.coco_records import (
    read_box,
    read_flag,
    read_integer,
    read_number,
    read_segmentation,
    segmentation_mask,
)

SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]


@pytest.mark.parametrize("value", [7, 7.0, "7", " 7 ", "7.0", "07"])
def test_whole_numbers(value):
    assert read_integer(value) == 7


@pytest.mark.parametrize("value", [7.5, "7.5", "a.jpg", "", None, True, [7], float("nan"), "inf"])
def test_what_is_no_whole_number(value):
    assert read_integer(value) is None


def test_long_numbers_in_text_keep_all_their_digits():
    assert read_integer("9007199254740993") == 9007199254740993 == 2**53 + 1


def test_numbers_and_flags():
    assert [read_number(value, "area") for value in (3, "3", " 3.0")] == [3.0] * 3
    assert all(read_flag(value) for value in (1, 1.0, "1", "true", "True", True))
    assert not any(read_flag(value) for value in (0, 0.0, "0", "false", False, None, ""))
    for value in ("maybe", 2, -1):
        with pytest.raises(ValueError, match=r"iscrowd .* write 0 or 1"):
            read_flag(value)


def test_missing_boxes_and_masks():
    assert read_box({}) is read_box({"bbox": None}) is read_box({"bbox": []}) is None
    assert read_box({"bbox": ["1", 2, 3.5, 4]}) == [1, 2, 3.5, 4]
    assert not any(read_segmentation({"segmentation": s}) for s in (None, [], [[]], {}))
    assert read_segmentation({"segmentation": [SQUARE, []]}) == [SQUARE]
    assert read_segmentation({"segmentation": SQUARE}) == [SQUARE]


def test_a_box_stands_for_a_missing_mask():
    box, polygon = {"bbox": [1, 1, 3, 2]}, {"segmentation": [SQUARE]}
    assert torch.equal(segmentation_mask(box, (4, 6)), segmentation_mask(polygon, (4, 6)))
    with pytest.raises(ValueError, match="neither a segmentation nor a bbox"):
        segmentation_mask({}, (4, 6))
