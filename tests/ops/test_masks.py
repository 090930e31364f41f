"""Masks: what is accepted as one, and the round trips between masks and maps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from segcourse.ops.labels import IGNORE, object_masks
from segcourse.ops.masks import check_mask, from_one_hot, mask_box, one_hot, paint_masks

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=7)
LABELS = arrays("int64", SHAPES, elements=st.sampled_from([0, 1, 2, 3, IGNORE]))


@given(LABELS)
def test_one_hot_comes_back_with_its_void(labels):
    labels = torch.from_numpy(labels)
    masks = one_hot(labels, 4)
    assert masks.shape == (4, *labels.shape) and masks.dtype == torch.bool
    assert torch.equal(masks.sum(dim=0) == 0, labels == IGNORE)
    assert torch.equal(from_one_hot(masks), labels)
    assert torch.equal(from_one_hot(masks[None])[0], labels)


@given(arrays("int64", SHAPES, elements=st.integers(0, 4)))
def test_objects_come_back_from_their_masks_numbered_anew(instance):
    instance = torch.from_numpy(instance)
    masks = object_masks(instance)
    again = paint_masks(masks)
    assert torch.equal(again > 0, instance > 0)
    assert torch.equal(object_masks(again), masks)


def test_later_objects_cover_earlier_ones():
    masks = torch.tensor([[[1, 1, 0]], [[0, 1, 1]]]).bool()
    assert paint_masks(masks).tolist() == [[1, 2, 2]]
    assert paint_masks(masks[:0]).tolist() == [[0, 0, 0]]


WIDTHS = [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32]


@pytest.mark.parametrize("dtype", WIDTHS)
def test_maps_of_any_width_give_what_int64_gives(dtype):
    labels = torch.tensor([[0, 1, 2], [2, 2, 0]])
    assert torch.equal(one_hot(labels.to(dtype), 3), one_hot(labels, 3))
    assert torch.equal(object_masks(labels.to(dtype)), object_masks(labels))
    mask = torch.tensor([[0, 1, 1], [0, 0, 0]])
    assert torch.equal(check_mask(mask.to(dtype)), mask.bool())
    assert mask_box(mask.to(dtype)) == (1, 0, 3, 1)
    with pytest.raises(ValueError, match="holds 2"):
        check_mask(labels.to(dtype))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_maps_without_pixels(shape):
    empty = torch.zeros(shape, dtype=torch.int64)
    assert one_hot(empty, 3).shape == (3, *shape)
    assert torch.equal(from_one_hot(one_hot(empty, 3)), empty)
    assert object_masks(empty).shape == (0, *shape)
    assert paint_masks(object_masks(empty)).shape == shape


@pytest.mark.parametrize(
    "rows, box",
    [
        ([[0, 0], [0, 0]], (0, 0, 0, 0)),
        ([[1, 1], [1, 1]], (0, 0, 2, 2)),
        ([[0, 0, 0], [0, 0, 1]], (2, 1, 3, 2)),
        ([[1, 0, 1]], (0, 0, 3, 1)),
        ([[0], [1], [0], [1]], (0, 1, 1, 4)),
    ],
)
def test_box_of_a_mask(rows, box):
    assert mask_box(torch.tensor(rows)) == box
    assert mask_box(torch.tensor(rows).bool()) == box


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: check_mask([[0, 1]]), TypeError, "came as list"),
        (lambda: check_mask(torch.rand(2, 2)), TypeError, "threshold"),
        (lambda: check_mask(torch.zeros(1, 2, 2).bool()), ValueError, r"\(1, 2, 2\)"),
        (lambda: check_mask(torch.zeros(0, 3).bool()), ValueError, "at least one pixel"),
        (lambda: check_mask(torch.tensor([[0, 255]])), ValueError, "holds 255"),
        (lambda: one_hot(torch.tensor([[4]]), 4), ValueError, r"labels \[4\]"),
        (lambda: one_hot(torch.rand(2, 2), 4), TypeError, "dtype"),
        (lambda: from_one_hot(torch.rand(3, 2, 2)), TypeError, "argmax"),
        (lambda: from_one_hot(torch.ones(2, 2).bool()), ValueError, r"masks\[None\]"),
        (lambda: from_one_hot(torch.ones(2, 2, 2).bool()), ValueError, "4 pixels belong"),
        (lambda: paint_masks(torch.ones(2, 2, 2)), TypeError, "threshold"),
        (lambda: paint_masks(torch.ones(2, 2).bool()), ValueError, r"mask\[None\]"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
