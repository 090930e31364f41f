"""COCO's rule for polygons: pycocotools, pixel for pixel."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from pycocotools import mask as coco

from segcourse.ops.coco_polygons import coco_polygons_to_mask
from segcourse.ops.rle import decode_rle

POINTS = st.tuples(st.floats(-3, 30), st.floats(-3, 30))
RINGS = st.lists(st.lists(POINTS, min_size=3, max_size=9), min_size=1, max_size=3)


def theirs(polygons: list[list[float]], size: tuple[int, int]) -> torch.Tensor:
    return decode_rle(coco.merge(coco.frPyObjects(polygons, *size)))


@settings(max_examples=150)
@given(RINGS, st.sampled_from([(20, 25), (1, 1), (3, 40)]))
def test_pixels_are_those_of_pycocotools(rings, size):
    flat = [[number for point in ring for number in point] for ring in rings]
    wanted = theirs(flat, size)
    assert torch.equal(coco_polygons_to_mask(flat, size), wanted)
    assert torch.equal(coco_polygons_to_mask(rings, size), wanted)


def test_the_pixels_of_a_square():
    mask = coco_polygons_to_mask([[1, 1, 4, 1, 4, 3, 1, 3]], (4, 6))
    assert mask.sum() == 6 and mask[1:3, 1:4].all()


def test_bad_polygons_are_refused():
    with pytest.raises(ValueError, match="at least three finite vertices"):
        coco_polygons_to_mask([[1, 1, 4, 1]], (4, 6))
    with pytest.raises(ValueError, match="both sides"):
        coco_polygons_to_mask([], (0, 6))
