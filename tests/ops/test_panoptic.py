"""Panoptic numbers and their PNG: lossless, and refusing what does not fit."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from segcourse.ops.labels import IGNORE
from segcourse.ops.panoptic import MAX_ID, ids_to_rgb, panoptic_ids, rgb_to_ids, split_ids

SHAPES = array_shapes(min_dims=2, max_dims=3, max_side=5)


@given(arrays("int64", SHAPES, elements=st.integers(0, MAX_ID)))
def test_three_bytes_hold_every_number(ids):
    ids = torch.from_numpy(ids)
    rgb = ids_to_rgb(ids)
    assert rgb.dtype == torch.uint8 and rgb.shape == (*ids.shape, 3)
    assert torch.equal(rgb_to_ids(rgb), ids)


@given(st.data())
def test_class_and_object_come_back(data):
    shape = data.draw(SHAPES)
    classes = st.one_of(st.integers(0, 40), st.just(IGNORE))
    semantic = torch.from_numpy(data.draw(arrays("int64", shape, elements=classes)))
    instance = torch.from_numpy(data.draw(arrays("int64", shape, elements=st.integers(0, 999))))
    ids = panoptic_ids(semantic, instance)
    again = split_ids(rgb_to_ids(ids_to_rgb(ids)))
    assert torch.equal(again[0], semantic) and torch.equal(again[1], instance)


def test_numbers_are_written_as_cityscapes_and_coco_do():
    semantic, instance = torch.tensor([[2, 26, IGNORE]]), torch.tensor([[0, 3, 0]])
    ids = panoptic_ids(semantic, instance)
    assert ids.tolist() == [[2000, 26003, 255000]]
    assert ids_to_rgb(ids).tolist() == [[[208, 7, 0], [147, 101, 0], [24, 228, 3]]]
    assert panoptic_ids(semantic, instance, divisor=256).tolist() == [[512, 6659, 65280]]


def test_a_png_file_keeps_them():
    ids = torch.arange(300 * 220).reshape(300, 220) * 254
    stream = io.BytesIO()
    Image.fromarray(ids_to_rgb(ids).numpy()).save(stream, "PNG")
    read = torch.from_numpy(np.array(Image.open(stream).convert("RGB")))
    assert torch.equal(rgb_to_ids(read), ids)


def test_bytes_are_widened_before_they_are_multiplied():
    assert rgb_to_ids(torch.tensor([[[1, 2, 3]]], dtype=torch.uint8)).item() == 197121


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32])
def test_numbers_of_any_width_give_what_int64_gives(dtype):
    semantic, instance = torch.tensor([[2, 26, 100]]), torch.tensor([[0, 3, 120]])
    ids = panoptic_ids(semantic.to(dtype), instance.to(dtype))
    assert ids.dtype == torch.int64 and ids.tolist() == [[2000, 26003, 100120]]  # int16 wraps
    small = torch.tensor([[0, 5, 127]])
    assert torch.equal(ids_to_rgb(small.to(dtype)), ids_to_rgb(small))
    found = split_ids(small.to(dtype), divisor=10)
    assert [part.tolist() for part in found] == [[[0, 0, 12]], [[0, 5, 7]]]
    assert all(part.dtype == torch.int64 for part in found)


def test_numbers_that_wrapped_before_they_came_are_refused():
    wrapped = torch.tensor([[200]]).to(torch.int8)
    for call in (
        lambda: panoptic_ids(torch.zeros(1, 1).long(), wrapped),
        lambda: split_ids(wrapped),
        lambda: ids_to_rgb(wrapped),
    ):
        with pytest.raises(ValueError, match=r"-56, but .* too narrow"):
            call()


def test_a_larger_divisor_holds_more_objects():
    instance = torch.arange(1, 1201).reshape(30, 40)
    semantic = torch.full_like(instance, 7)
    with pytest.raises(ValueError, match=r"up to 1200: .* larger divisor"):
        panoptic_ids(semantic, instance)
    ids = panoptic_ids(semantic, instance, divisor=4096)
    assert torch.equal(split_ids(ids, divisor=4096)[1], instance)
    with pytest.raises(ValueError, match="divisor=0"):
        panoptic_ids(semantic, instance, divisor=0)
    with pytest.raises(ValueError, match="divisor=0"):
        split_ids(ids, divisor=0)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (2, 0, 0)])
def test_maps_without_pixels(shape):
    empty = torch.zeros(shape, dtype=torch.int64)
    assert panoptic_ids(empty, empty).shape == shape
    assert split_ids(empty)[0].shape == shape
    assert rgb_to_ids(ids_to_rgb(empty)).shape == shape


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: rgb_to_ids(torch.rand(2, 2, 3)), TypeError, "without scaling"),
        (lambda: rgb_to_ids(np.zeros((2, 2, 3), np.uint8)), TypeError, "came as ndarray"),
        (lambda: rgb_to_ids(torch.zeros(2, 2, 4, dtype=torch.uint8)), ValueError, "alpha"),
        (lambda: rgb_to_ids(torch.zeros(2, 3, dtype=torch.uint8)), ValueError, r"\(2, 3\)"),
        (lambda: ids_to_rgb(torch.tensor([[MAX_ID + 1]])), ValueError, "three bytes"),
        (lambda: ids_to_rgb(torch.tensor([[-1]])), ValueError, "-1, but .* start at 0"),
        (lambda: ids_to_rgb(torch.rand(2, 2)), TypeError, "integers"),
        (lambda: ids_to_rgb([[1]]), TypeError, "came as list"),
        (
            lambda: panoptic_ids(torch.zeros(2, 2).long(), torch.zeros(2, 3).long()),
            ValueError,
            "resize both alike",
        ),
        (lambda: panoptic_ids(torch.tensor([[1]]), torch.tensor([[1000]])), ValueError, "renumber"),
        (lambda: panoptic_ids(torch.tensor([[1]]), torch.rand(1, 1)), TypeError, "instance"),
        (lambda: panoptic_ids(torch.tensor([[300]]), torch.tensor([[0]])), ValueError, r"\[300\]"),
        (lambda: split_ids(torch.tensor([[256000]])), ValueError, "divisor"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
