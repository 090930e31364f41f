"""The FCN exercises accept every right answer and name the usual mistakes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segcourse.exercises import fcn as chapter
from segcourse.models.fcn import crop_offsets


def field_backwards(layers):
    field = 1
    for kernel, stride in reversed(layers):
        field = (field - 1) * stride + kernel
    return np.int64(field)


def row_by_outer_product(factor):
    steps = torch.arange(1, 2 * factor, 2) / (2 * factor)
    return torch.cat([steps, steps.flip(0)])


def offset_by_shifting(padding):
    return float(padding - 81)


def convolution_by_loops(weight, channels):
    side = int((weight.shape[1] / channels) ** 0.5 + 0.5)
    rows = [
        [[[row[(c * side + i) * side + j] for j in range(side)] for i in range(side)]
         for c in range(channels)]
        for row in weight.tolist()
    ]  # fmt: skip
    return np.array(rows)


def skip_by_padding(x, skip, offset):
    bottom = skip.shape[-2] - offset - x.shape[-2]
    right = skip.shape[-1] - offset - x.shape[-1]
    return (x + F.pad(skip, (-offset, -right, -offset, -bottom))).double()


def majority_by_counting(target, num_classes, stride):
    target = target.numpy()
    best = np.empty_like(target)
    n, height, width = target.shape
    for i in range(n):
        for y in range(0, height, stride):
            for x in range(0, width, stride):
                block = target[i, y : y + stride, x : x + stride]
                counts = np.bincount(block.ravel())[::-1]  # ties would go to the last class
                best[i, y : y + stride, x : x + stride] = len(counts) - 1 - counts.argmax()
    scores = []
    for label in range(num_classes):
        union = ((best == label) | (target == label)).sum()
        if union:
            scores.append(((best == label) & (target == label)).sum() / union)
    return np.float32(np.mean(scores))


@pytest.mark.parametrize(
    "exercise, answer",
    [
        (chapter.receptive_field_of, field_backwards),
        (chapter.kernel, row_by_outer_product),
        (chapter.offset, offset_by_shifting),
        (chapter.slide, convolution_by_loops),
        (chapter.fix_crop, skip_by_padding),
        (chapter.majority, majority_by_counting),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_right_answers_written_differently_are_accepted(exercise, answer):
    assert exercise.verdict(answer) == ("✓", "")


def test_the_receptive_fields_of_vgg_16():
    assert chapter.receptive_field(chapter.VGG16) == 212
    assert chapter.receptive_field([*chapter.VGG16, (7, 1)]) == 404


def test_the_offset_is_the_networks():
    assert chapter.crop_offset(100) == crop_offsets(32)[0] == 19


def test_the_convolution_gives_what_the_linear_layer_gave():
    linear, features = torch.nn.Linear(3 * 49, 6), torch.randn(2, 3, 7, 7)
    slid = F.conv2d(features, chapter.convolutionalise(linear.weight, 3), linear.bias)
    assert torch.allclose(slid[..., 0, 0], linear(features.flatten(1)), atol=1e-5)


def test_a_coarser_stride_has_a_lower_ceiling():
    target = chapter.streets()[0][0]
    scores = [chapter.majority_iou(target, 6, stride) for stride in (1, 8, 16, 32)]
    assert scores[0] == 1 and scores == sorted(scores, reverse=True)
