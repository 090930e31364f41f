"""Run-length code: COCO's own examples, round trips, and pycocotools."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from segcourse.ops.masks import mask_box
from segcourse.ops.rle import (
    compress,
    decode_rle,
    encode_rle,
    expand,
    intersection_rle,
    rle_area,
    rle_box,
    union_rle,
)

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))


@pytest.mark.parametrize(
    "rows, counts",
    [
        ([[0, 1, 1], [0, 1, 0]], [2, 3, 1]),  # the picture in the module
        ([[0, 0], [0, 0]], [4]),
        ([[1, 1], [1, 1]], [0, 4]),
        ([[1, 0], [0, 1]], [0, 1, 2, 1]),
        ([[0, 0, 1, 1, 1, 0, 1]], [2, 3, 1, 1]),
        ([[1], [1], [1], [1], [1], [1], [0]], [0, 6, 1]),
        ([[1]], [0, 1]),
    ],
)
def test_counts_run_down_the_columns_and_start_with_zeros(rows, counts):
    mask = torch.tensor(rows)
    assert encode_rle(mask) == {"size": list(mask.shape), "counts": counts}
    assert torch.equal(decode_rle({"size": mask.shape, "counts": counts}), mask.bool())


@given(MASKS)
@example(np.zeros((5, 1), dtype=bool))
@example(np.ones((1, 6), dtype=bool))
def test_nothing_is_lost_and_area_and_box_need_no_decoding(array):
    mask = torch.from_numpy(array)
    code = encode_rle(mask)
    assert torch.equal(decode_rle(code), mask)
    assert rle_area(code) == int(mask.sum())
    assert rle_box(code) == mask_box(mask)


@given(MASKS)
def test_agrees_with_pycocotools(array):
    code = encode_rle(torch.from_numpy(array))
    theirs = coco.encode(np.asfortranarray(array.astype(np.uint8)))
    assert coco.frPyObjects(code, *array.shape)["counts"] == theirs["counts"]
    assert compress(code)["counts"] == theirs["counts"].decode()
    assert torch.equal(decode_rle(theirs), torch.from_numpy(array).bool())
    x, y, width, height = coco.toBbox(theirs)
    assert rle_box(code) == ((x, y, x + width, y + height) if array.any() else (0, 0, 0, 0))
    assert rle_area(code) == coco.area(theirs)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30).filter(any))
def test_long_runs_survive_the_string(counts):
    code = {"size": [1, sum(counts)], "counts": counts}
    assert expand(compress(code)["counts"]) == counts


def test_zeros_in_the_middle_are_legal():
    assert decode_rle({"size": [1, 4], "counts": [1, 0, 1, 2]}).tolist() == [
        [False, False, True, True]
    ]
    assert rle_box({"size": [2, 2], "counts": [0, 0, 3, 1]}) == (1, 1, 2, 2)


several = st.tuples(
    array_shapes(min_dims=2, max_dims=2, max_side=7), st.integers(1, 4), st.integers(0, 10**6)
)


@given(several)
@example(((1, 1), 1, 0))
@example(((1, 9), 3, 0))
@example(((9, 1), 3, 1))
def test_unions_and_intersections_are_pycocotools(parts):
    shape, number, seed = parts
    masks = torch.rand(number, *shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    codes = [encode_rle(mask) for mask in masks]
    strings = [coco.encode(np.asfortranarray(mask.numpy().astype(np.uint8))) for mask in masks]
    for found, wanted, intersect in (
        (union_rle(codes), masks.any(dim=0), False),
        (intersection_rle(codes), masks.all(dim=0), True),
    ):
        assert found == encode_rle(wanted)  # to the last count
        theirs = coco.merge(strings, intersect=intersect)
        assert compress(found)["counts"] == theirs["counts"].decode()
    assert union_rle(strings) == union_rle(codes)  # COCO's strings are read, too


def test_combined_codes_may_hold_zeros_in_the_middle():
    codes = [{"size": [1, 4], "counts": [1, 0, 1, 2]}, {"size": [1, 4], "counts": [0, 1, 3]}]
    assert union_rle(codes)["counts"] == [0, 1, 1, 2]
    assert intersection_rle(codes)["counts"] == [4]


@pytest.mark.parametrize("combine", [union_rle, intersection_rle])
def test_codes_that_cannot_be_combined_are_refused(combine):
    with pytest.raises(ValueError, match=r"sizes \[\]: combine .* at least one"):
        combine([])
    with pytest.raises(ValueError, match=r"sizes \[\(1, 4\), \(2, 2\)\]"):
        combine([{"size": [1, 4], "counts": [4]}, {"size": [2, 2], "counts": [4]}])
    with pytest.raises(ValueError, match="sum to 4, but"):
        combine([{"size": [1, 4], "counts": [5]}])


@pytest.mark.parametrize(
    "code, error, message",
    [
        ({"size": [2, 2], "counts": [3]}, ValueError, "sum to 4, but .* sum to 3"),
        ({"size": [2, 2], "counts": [-1, 5]}, ValueError, "positive"),
        ({"size": [0, 2], "counts": []}, ValueError, "size"),
        ({"size": [2, 2], "counts": "05"}, ValueError, "sum to 4, but .* sum to 5"),
        ({"size": [2, 2], "counts": "0 4"}, ValueError, "hold ' ': was the string cut"),
        ({"size": [2, 2], "counts": "0T"}, ValueError, "end within a number"),
        ({"counts": [4]}, ValueError, "size and counts"),
        ([4], ValueError, "this is list"),
    ],
)
def test_broken_codes_are_named(code, error, message):
    for function in (decode_rle, rle_area, rle_box):
        with pytest.raises(error, match=message):
            function(code)


def test_only_masks_are_encoded():
    with pytest.raises(ValueError, match="holds 5"):
        encode_rle(torch.tensor([[0, 5]]))
