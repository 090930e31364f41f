"""The FCN exercises accept every right answer and name the usual mistakes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segcourse.exercises import fcn as chapter
from segcourse.ops.labels import IGNORE

# ── right answers, written differently ──────────────────────────────────────────────────────────


def field_backwards(layers):
    field = 1
    for kernel, stride in reversed(layers):
        field = (field - 1) * stride + kernel
    return np.int64(field)


def field_by_products(layers):
    strides = [stride for _, stride in layers]
    return 1 + sum((kernel - 1) * math.prod(strides[:n]) for n, (kernel, _) in enumerate(layers))


def field_by_sets_of_pixels(layers):
    seen = {0}
    for kernel, stride in reversed(layers):
        seen = {place * stride + offset for place in seen for offset in range(kernel)}
    return max(seen) - min(seen) + 1


def field_by_recursion(layers):
    if not layers:
        return 1
    (kernel, stride), *rest = layers
    return (field_by_recursion(rest) - 1) * stride + kernel


def field_as_a_tensor(layers):
    field, step = torch.tensor(1), torch.tensor(1)
    for kernel, stride in layers:
        field += step * (kernel - 1)
        step *= stride
    return field


def convolution_by_loops(weight, channels):
    side = int((weight.shape[1] / channels) ** 0.5 + 0.5)
    rows = [
        [
            [[row[(c * side + i) * side + j] for j in range(side)] for i in range(side)]
            for c in range(channels)
        ]
        for row in weight.tolist()
    ]
    return np.array(rows)


def convolution_by_unflatten(weight, channels):
    side = math.isqrt(weight.shape[1] // channels)
    return weight.unflatten(1, (channels, side, side))


def convolution_in_place(weight, channels):
    side = math.isqrt(weight.numel() // len(weight) // channels)
    weight.resize_(len(weight), channels, side, side)
    return weight


def convolution_in_numpy(weight, channels):
    side = np.sqrt(weight.shape[1] / channels).round().astype(int)
    return weight.numpy().astype(np.float64).reshape(len(weight), channels, side, side)


def convolution_of_positions(weight, channels):
    positions = weight.view(len(weight), channels, -1)
    side = int(positions.shape[2] ** 0.5)
    return torch.stack(positions.split(side, dim=2), dim=2)


def pattern_by_the_layer(kernel, stride):
    ones, weight = torch.ones(1, 1, 50), torch.tensor(kernel, dtype=torch.float64)
    row = F.conv_transpose1d(ones.double(), weight[None, None], stride=stride)[0, 0]
    return row[20 * stride : 21 * stride]


def pattern_by_adding(kernel, stride):
    sums = np.zeros(stride)
    for place, weight in enumerate(kernel):
        sums[place % stride] += weight
    return sums


def pattern_by_reshaping(kernel, stride):
    padded = [*kernel, *[0] * (-len(kernel) % stride)]
    return torch.tensor(padded).view(-1, stride).sum(dim=0)


def pattern_by_stamping(kernel, stride):
    row = [0] * (30 * stride + len(kernel))
    for number in range(30):
        for place, weight in enumerate(kernel):
            row[number * stride + place] += weight
    return tuple(row[20 * stride : 21 * stride])


def pattern_by_bins(kernel, stride):
    return np.bincount(np.arange(len(kernel)) % stride, weights=kernel, minlength=stride)


def skip_by_padding(x, skip, offset):
    bottom = skip.shape[-2] - offset - x.shape[-2]
    right = skip.shape[-1] - offset - x.shape[-1]
    return (x + F.pad(skip, (-offset, -right, -offset, -bottom))).double()


def skip_in_place(x, skip, offset):
    _, _, height, width = x.shape
    x += skip[:, :, offset : offset + height, offset : offset + width]
    return x


def skip_by_narrowing(x, skip, offset):
    part = skip.narrow(2, offset, x.shape[2]).narrow(3, offset, x.shape[3])
    return torch.add(part, x)


def skip_twice_cut(x, skip, offset):
    return x + skip[..., offset:, offset:][..., : x.shape[-2], : x.shape[-1]]


def skip_by_indices(x, skip, offset):
    rows = np.arange(x.shape[2]) + offset
    columns = np.arange(x.shape[3]) + offset
    return x.numpy() + skip.numpy()[:, :, rows[:, None], columns]


def majority_by_counting(target, num_classes, stride):
    target = target.numpy()
    best = np.empty_like(target)
    n, height, width = target.shape
    for i in range(n):
        for y in range(0, height, stride):
            for x in range(0, width, stride):
                block = target[i, y : y + stride, x : x + stride]
                counts = np.bincount(block.ravel(), minlength=num_classes)
                best[i, y : y + stride, x : x + stride] = counts.argmax()
    scores = []
    for label in range(num_classes):
        union = ((best == label) | (target == label)).sum()
        if union:
            scores.append(((best == label) & (target == label)).sum() / union)
    return np.float32(np.mean(scores))


def majority_by_mode(target, num_classes, stride):
    height, width = target.shape[1:]
    blocks = target.unfold(1, stride, stride).unfold(2, stride, stride).flatten(3)
    small = blocks.mode(dim=3).values  # the smallest of those that occur most
    large = F.interpolate(small[:, None].float(), (height, width)).long()[:, 0]
    return chapter.mean_iou(chapter.confusion_matrix(large, target, num_classes))


def majority_by_sums(target, num_classes, stride):
    n, height, width = target.shape
    hot = torch.stack([target == label for label in range(num_classes)])
    counts = hot.view(num_classes, n, height // stride, stride, width // stride, stride)
    best = counts.sum(dim=(3, 5)).argmax(dim=0)
    large = best.kron(torch.ones(1, stride, stride, dtype=torch.long))
    matrix = chapter.confusion_matrix(large, target, num_classes)
    return torch.tensor(chapter.mean_iou(matrix))


def majority_by_bincount(target, num_classes, stride):
    hot = F.one_hot(target, num_classes).permute(0, 3, 1, 2).double()
    large = F.interpolate(F.avg_pool2d(hot, stride), scale_factor=stride).argmax(dim=1)
    pairs = (target * num_classes + large).flatten().bincount(minlength=num_classes**2)
    matrix = pairs.view(num_classes, num_classes).double()
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    return (matrix.diagonal() / union).nanmean()


def majority_per_class(target, num_classes, stride):
    hot = F.one_hot(target, num_classes).movedim(3, 1).float()
    best = F.avg_pool2d(hot, stride).argmax(1, keepdim=True)
    found = torch.cat([best == label for label in range(num_classes)], dim=1).float()
    found = F.interpolate(found, target.shape[1:], mode="nearest")
    both, either = (found * hot).sum((0, 2, 3)), (found + hot).clamp(max=1).sum((0, 2, 3))
    return float((both[either > 0] / either[either > 0]).mean())


def gain_by_grouping(runs, factor):
    groups = {}
    for settings, score in runs:
        rest = tuple(sorted((k, v) for k, v in settings.items() if k != factor))
        groups.setdefault(rest, {True: [], False: []})[settings[factor]].append(score)
    gains = [np.subtract.outer(group[True], group[False]).ravel() for group in groups.values()]
    gains = np.concatenate([[], *gains])
    return np.mean(gains) if gains.size else None


def gain_by_dictionaries(runs, factor):
    gains = chapter.pair_gains(runs, factor)
    return np.float32(sum(gains) / len(gains)) if gains else None


def gain_by_counting_differences(runs, factor):
    gains = []
    for number, (a, score) in enumerate(runs):
        for b, other in runs[:number]:
            if a[factor] != b[factor] and sum(a[key] != b[key] for key in a) == 1:
                gains.append(score - other if a[factor] else other - score)
    if len(gains) == 0:
        return None
    return torch.tensor(gains).mean()


def gain_by_popping(runs, factor):
    total = count = 0
    while runs:
        settings, score = runs.pop()
        for others, other in runs:
            if settings != others and {**settings, factor: 0} == {**others, factor: 0}:
                sign = 1 if settings[factor] else -1
                total, count = total + sign * (score - other), count + 1
    return total / count if count else None


def gain_by_comprehension(runs, factor):
    pairs = [(a, b) for a in runs if a[0][factor] for b in runs if not b[0][factor]]
    same = [(a, b) for a, b in pairs if all(a[0][k] == b[0][k] for k in a[0] if k != factor)]
    return sum(a[1] - b[1] for a, b in same) / len(same) if same else None


RIGHT = [
    (chapter.receptive_field_of, (
        field_backwards, field_by_products, field_by_sets_of_pixels, field_by_recursion,
        field_as_a_tensor,
    )),
    (chapter.slide, (
        convolution_by_loops, convolution_by_unflatten, convolution_in_place,
        convolution_in_numpy, convolution_of_positions,
    )),
    (chapter.checkerboard, (
        pattern_by_the_layer, pattern_by_adding, pattern_by_reshaping, pattern_by_stamping,
        pattern_by_bins,
    )),
    (chapter.fix_crop, (
        skip_by_padding, skip_in_place, skip_by_narrowing, skip_twice_cut, skip_by_indices,
    )),
    (chapter.majority, (
        majority_by_counting, majority_by_mode, majority_by_sums, majority_by_bincount,
        majority_per_class,
    )),
    (chapter.credit, (
        gain_by_grouping, gain_by_dictionaries, gain_by_counting_differences, gain_by_popping,
        gain_by_comprehension,
    )),
]  # fmt: skip


@pytest.mark.parametrize(
    "exercise, answer",
    [
        pytest.param(exercise, answer, id=answer.__name__)
        for exercise, answers in RIGHT
        for answer in answers
    ],
)
def test_right_answers_written_differently_are_accepted(exercise, answer):
    assert exercise.verdict(answer) == ("✓", "")


# ── advice is true ──────────────────────────────────────────────────────────────────────────────


def test_slices_that_begin_with_dots_are_not_told_to_begin_with_dots():
    for wrong in (
        lambda x, skip, offset: x + skip[..., offset:],
        lambda x, skip, offset: x + skip[..., offset : offset + 4, offset : offset + 6],
        lambda x, skip, offset: x + skip[..., : x.shape[-2], offset : offset + x.shape[-1]],
    ):
        mark, message = chapter.fix_crop.verdict(wrong)
        assert mark == "✗" and "axes K and H" not in message


@pytest.mark.parametrize("classes", [6, 7])
def test_a_number_of_classes_written_by_hand_is_rejected(classes):
    mark, message = chapter.majority.verdict(
        lambda target, num_classes, stride: chapter.majority_iou(target, classes, stride)
    )
    assert mark == "✗" and "number of classes" in message


# ── what the solutions compute is true ──────────────────────────────────────────────────────────


def test_the_receptive_fields_of_vgg_16():
    assert chapter.receptive_field(chapter.VGG16) == 212
    assert chapter.receptive_field([*chapter.VGG16, (7, 1)]) == 404


def test_the_receptive_field_is_what_a_gradient_reaches():
    layers = [(3, 1), (2, 2), (3, 1), (3, 2), (5, 1)]
    image = torch.rand(1, 1, 80, dtype=torch.float64, requires_grad=True)
    x = image
    for kernel, stride in layers:
        x = F.conv1d(x, torch.ones(1, 1, kernel, dtype=torch.float64), stride=stride)
    x[0, 0, 3].backward()
    places = image.grad[0, 0].nonzero()
    assert places.max() - places.min() + 1 == chapter.receptive_field(layers)


def test_the_convolution_gives_what_the_linear_layer_gave():
    linear, features = nn.Linear(3 * 49, 6), torch.randn(2, 3, 7, 7)
    slid = F.conv2d(features, chapter.convolutionalise(linear.weight, 3), linear.bias)
    assert torch.allclose(slid[..., 0, 0], linear(features.flatten(1)), atol=1e-5)


def test_a_coarser_stride_loses_more():
    target = chapter.streets()[0][0]
    assert (target != IGNORE).all()
    scores = [chapter.majority_iou(target, 6, stride) for stride in (1, 8, 16, 32)]
    assert scores[0] == 1 and scores == sorted(scores, reverse=True)
