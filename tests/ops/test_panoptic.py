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
from segcourse.ops.panoptic import LARGEST, ids_to_rgb, panoptic_ids, rgb_to_ids, split_ids

SHAPES = array_shapes(min_dims=2, max_dims=3, max_side=5)


@given(arrays("int64", SHAPES, elements=st.integers(0, LARGEST)))
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


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: rgb_to_ids(torch.rand(2, 2, 3)), TypeError, "without scaling"),
        (lambda: rgb_to_ids(np.zeros((2, 2, 3), np.uint8)), TypeError, "came as ndarray"),
        (lambda: rgb_to_ids(torch.zeros(2, 2, 4, dtype=torch.uint8)), ValueError, "alpha"),
        (lambda: rgb_to_ids(torch.zeros(2, 3, dtype=torch.uint8)), ValueError, r"\(2, 3\)"),
        (lambda: ids_to_rgb(torch.tensor([[LARGEST + 1]])), ValueError, "three bytes"),
        (lambda: ids_to_rgb(torch.tensor([[-1]])), ValueError, "three bytes"),
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
