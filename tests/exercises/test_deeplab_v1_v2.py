"""The exercises on DeepLab v1 and v2 accept every right answer and name the usual mistakes."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segcourse.exercises import deeplab_v1_v2 as chapter
from segcourse.models.dense_fcn import remove_strides

# ── right answers, written differently ──────────────────────────────────────────────────────────


def rate_by_trying(layers, side):
    def field_of(layers):
        field = 1
        for kernel, stride, rate in reversed(layers):
            field = (field - 1) * stride + (kernel - 1) * rate + 1
        return field

    return next(r for r in itertools.count(1) if field_of([*layers, (3, 1, r)]) >= side)


def rate_by_floor_division(layers, side):
    field, step = 1, 1
    for kernel, stride, rate in layers:
        field, step = field + (kernel - 1) * rate * step, step * stride
    return max(-((field - side) // (2 * step)), 1)


def rate_by_arrays(layers, side):
    kernels, strides, rates = np.array(layers).T
    steps = np.concatenate([[1], np.cumprod(strides)])
    field = 1 + ((kernels - 1) * rates * steps[:-1]).sum()
    return np.maximum(np.ceil((side - field) / (2 * steps[-1])), 1)


def rate_by_sets_of_pixels(layers, side):
    def reach(position, layers):
        seen = {position}
        for kernel, stride, rate in reversed(layers):
            seen = {place * stride + offset * rate for place in seen for offset in range(kernel)}
        return seen

    rate = 1
    while True:
        seen = reach(0, layers) | reach(2 * rate, layers)
        if max(seen) - min(seen) + 1 >= side:
            return rate
        rate += 1


def rate_by_recursion(layers, side, field=1, step=1):
    if not layers:
        missing = max(side - field, 0)
        return max(math.ceil(missing / step / 2), 1)
    (kernel, stride, rate), *rest = layers
    return rate_by_recursion(rest, side, field + (kernel - 1) * rate * step, step * stride)


def holes_by_products(layers, output_stride):
    kept, removed, result = [], [], []
    for kernel, stride in layers:
        rate = math.prod(removed)
        if math.prod(kept) * stride > output_stride:
            removed.append(stride)
            result.append([kernel, 1, rate])
        else:
            kept.append(stride)
            result.append([kernel, stride, rate])
    return result


def holes_by_division(layers, output_stride):
    original, step, result = 1, 1, []
    for kernel, stride in layers:
        new = stride if step * stride <= output_stride else 1
        result.append((kernel, new, original // step))
        original *= stride
        step *= new
    return result


def holes_in_arrays(layers, output_stride):
    table = np.ones((len(layers), 3), dtype=int)
    step = rate = 1
    for row, (kernel, stride) in zip(table, layers, strict=True):
        row[0], row[2] = kernel, rate
        if step * stride <= output_stride:
            row[1] = stride
            step *= stride
        else:
            rate *= stride
    return table


def holes_by_a_generator(layers, output_stride):
    left, rate = output_stride, 1
    for kernel, stride in layers:
        yield kernel, (stride if stride <= left else 1), rate
        if stride <= left:
            left = left / stride
        else:
            rate = rate * stride


def holes_repaired(layers, output_stride):
    step, rate, result = 1, 1, []
    for kernel, stride in layers:
        next_rate = rate
        if step * stride > output_stride:
            next_rate *= stride
            stride = 1
        step *= stride
        result.append((kernel, stride, rate))
        rate = next_rate
    return torch.tensor(result)


def holes_that_a_kernel_of_one_does_not_need(layers, output_stride):
    holes = chapter.holes_for_strides(layers, output_stride)
    return [(kernel, stride, 1 if kernel == 1 else rate) for kernel, stride, rate in holes]


def stitch_by_slices(maps):
    f, _, k, h, w = maps.shape
    result = torch.empty(k, f * h, f * w)
    for i in range(f):
        for j in range(f):
            result[:, i::f, j::f] = maps[i, j]
    return result


def stitch_by_einsum(maps):
    f, _, k, h, w = maps.shape
    return torch.einsum("ijkyx->kyixj", maps).reshape(k, f * h, f * w).double()


def stitch_by_stacking(maps):
    rows = [torch.stack(list(row), dim=-1).flatten(-2) for row in maps]
    return torch.stack(rows, dim=-2).flatten(1, 2)


def stitch_by_pixel_shuffle(maps):
    f, _, k, h, w = maps.shape
    return F.pixel_shuffle(maps.permute(2, 0, 1, 3, 4).reshape(1, k * f * f, h, w), f)[0]


def stitch_in_numpy(maps):
    f, _, k, h, w = maps.shape
    result = np.zeros((k, f * h, f * w), dtype=np.float32)
    for y in range(f * h):
        for x in range(f * w):
            result[:, y, x] = maps[y % f, x % f, :, y // f, x // f]
    return result


def taps_by_the_layer(height, width, rate):
    ones = torch.ones(1, 1, height, width)
    found = F.conv2d(ones, torch.ones(1, 1, 3, 3), padding=rate, dilation=rate)
    return found.mean()


def taps_by_counting(height, width, rate):
    total = 0
    for y, x in itertools.product(range(height), range(width)):
        for dy, dx in itertools.product((-rate, 0, rate), repeat=2):
            total += 0 <= y + dy < height and 0 <= x + dx < width
    return total / (height * width)


def taps_by_overlap(height, width, rate):
    rows = np.array([max(height - abs(d), 0) for d in (-rate, 0, rate)])
    columns = np.array([max(width - abs(d), 0) for d in (-rate, 0, rate)])
    return np.outer(rows, columns).sum() / (height * width)


def taps_of_four_kinds(height, width, rate):
    up, side = max(height - rate, 0) / height, max(width - rate, 0) / width
    return 1 + 2 * up + 2 * side + 4 * up * side


def taps_by_padding(height, width, rate):
    padded = np.pad(np.ones((height, width)), rate)
    views = [
        padded[y : y + height, x : x + width]
        for y in (0, rate, 2 * rate)
        for x in (0, rate, 2 * rate)
    ]
    return np.float32(np.sum(views) / height / width)


def update_by_loops(log_p, q, k, cost):
    classes, pixels = q.shape
    new = torch.empty_like(q)
    for i in range(pixels):
        for c in range(classes):
            energy = sum(
                cost[c, d] * k[i, j] * q[d, j]
                for d in range(classes)
                for j in range(pixels)
                if j != i
            )
            new[c, i] = math.exp(log_p[c, i] - energy)
    return new / new.sum(dim=0)


def update_by_einsum(log_p, q, k, cost):
    messages = torch.einsum("ij,dj->di", k, q) - k.diagonal() * q
    return torch.softmax(log_p - torch.einsum("cd,di->ci", cost, messages), dim=0)


def update_in_numpy(log_p, q, k, cost):
    k = k.numpy().copy()
    np.fill_diagonal(k, 0)
    x = log_p.numpy() - cost.numpy() @ (q.numpy() @ k)
    x = np.exp(x - x.max(axis=0))
    return x / x.sum(axis=0)


def update_in_place(log_p, q, k, cost):
    k.fill_diagonal_(0)
    return F.softmax(log_p - torch.matmul(cost, torch.matmul(q, k.T)), 0)


def update_of_products(log_p, q, k, cost):
    others = k * (1 - torch.eye(len(k)))
    p = log_p.exp() * torch.exp(-(cost @ q) @ others)
    return p / p.sum(0, keepdim=True)


def update_in_new_tensors(log_p, q, k, cost):
    messages = torch.zeros(q.shape)
    for i, j in itertools.permutations(range(len(k)), 2):
        messages[:, i] += k[i, j] * q[:, j]
    return (log_p - cost @ messages).softmax(0)


def classes_by_masks(before, after, target, num_classes):
    def score(preds, c):
        known = target != 255
        union = (((preds == c) | (target == c)) & known).sum().item()
        both = ((preds == c) & (target == c)).sum().item()
        return both / union if union else None

    old, new = ([score(p, c) for c in range(num_classes)] for p in (before, after))
    means = [np.mean([s for s in scores if s is not None]) for scores in (old, new)]
    if means[1] <= means[0]:
        return []
    return [c for c in range(num_classes) if None not in (old[c], new[c]) and new[c] < old[c]]


def classes_by_nonzero(before, after, target, num_classes):
    matrices = (chapter.confusion_matrix(p, target, num_classes) for p in (before, after))
    old, new = (chapter.iou(matrix) for matrix in matrices)
    if torch.nanmean(new) <= torch.nanmean(old):
        return torch.tensor([], dtype=torch.long)
    return (new < old).nonzero().flatten()


def classes_as_an_array(before, after, target, num_classes):
    old, new = (
        chapter.iou(chapter.confusion_matrix(p, target, num_classes)).numpy()
        for p in (before, after)
    )
    return np.flatnonzero(new < old) if np.nanmean(new) > np.nanmean(old) else np.array([], int)


def classes_by_mean_iou(before, after, target, num_classes):
    from segcourse.metrics import confusion_matrix, iou, mean_iou

    a, b = (confusion_matrix(p, target, num_classes) for p in (before, after))
    worse = []
    if mean_iou(b) > mean_iou(a):
        for c, (x, y) in enumerate(zip(iou(a).tolist(), iou(b).tolist(), strict=True)):
            if y < x:
                worse.append(c)
    return worse


def classes_by_bincount(before, after, target, num_classes):
    known = target != 255

    def scores(preds):
        pairs = target[known] * num_classes + preds[known]
        m = pairs.bincount(minlength=num_classes**2).view(num_classes, num_classes).double()
        return m.diagonal() / (m.sum(0) + m.sum(1) - m.diagonal())

    old, new = scores(before), scores(after)
    better = new.nanmean() > old.nanmean()
    return tuple(c for c in range(num_classes) if better and old[c] > new[c])


RIGHT = [
    (chapter.rate_for, (
        rate_by_trying, rate_by_floor_division, rate_by_arrays, rate_by_sets_of_pixels,
        rate_by_recursion,
    )),
    (chapter.fix_holes, (
        holes_by_products, holes_by_division, holes_in_arrays, holes_by_a_generator, holes_repaired,
        holes_that_a_kernel_of_one_does_not_need,
    )),
    (chapter.interlace, (
        stitch_by_slices, stitch_by_einsum, stitch_by_stacking, stitch_by_pixel_shuffle,
        stitch_in_numpy,
    )),
    (chapter.taps, (
        taps_by_the_layer, taps_by_counting, taps_by_overlap, taps_of_four_kinds, taps_by_padding,
    )),
    (chapter.mean_field, (
        update_by_loops, update_by_einsum, update_in_numpy, update_in_place, update_of_products,
        update_in_new_tensors,
    )),
    (chapter.judge, (
        classes_by_masks, classes_by_nonzero, classes_as_an_array, classes_by_mean_iou,
        classes_by_bincount,
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


# ── wrong answers that are not catalogued ────────────────────────────────────────────────────────


def rate_of_a_short_search(layers, side):
    return min(chapter.smallest_rate(layers, side), 24)


def rate_rounded_up_from_a_tenth(layers, side):
    field, step = chapter._field(layers)
    return max(1, int((side - field) / (2 * step) + 0.9))


def update_of_costs_up_to_one(log_p, q, k, cost):
    return chapter.mean_field_update(log_p, q, k, cost.clamp(max=1))


def classes_that_keep_an_iou_above_zero(*case):
    _, new = chapter._ious(*case)
    return [c for c in chapter.counterexamples(*case) if new[c] > 0]


def classes_that_one_prediction_adds(*case):
    old, new = chapter._ious(*case)
    listed = [c for c in range(len(old)) if new.nan_to_num(1)[c] < old.nan_to_num(1)[c]]
    return listed if new.nanmean() > old.nanmean() else []


def classes_without_the_background(*case):
    old, new = chapter._ious(*case)
    return chapter._falling(old, new, (old[1:].nanmean(), new[1:].nanmean()))


def classes_by_rounded_means(*case):
    old, new = chapter._ious(*case)
    return chapter._falling(old, new, [round(float(each.nanmean()), 2) for each in (old, new)])


def classes_by_dice(*case):
    return chapter._falling(*(2 * each / (1 + each) for each in chapter._ious(*case)))


def classes_by_frequency(before, after, target, num_classes):
    old, new = chapter._ious(before, after, target, num_classes)
    pixels = torch.stack([(target == c).sum() for c in range(num_classes)])
    means = [(each.nan_to_num() * pixels).sum() for each in (old, new)]
    return chapter._falling(old, new, means)


@pytest.mark.parametrize(
    "exercise, answer",
    [
        (chapter.rate_for, rate_of_a_short_search),
        (chapter.rate_for, rate_rounded_up_from_a_tenth),
        (chapter.mean_field, update_of_costs_up_to_one),
        (chapter.judge, classes_that_keep_an_iou_above_zero),
        (chapter.judge, classes_that_one_prediction_adds),
        (chapter.judge, classes_without_the_background),
        (chapter.judge, classes_by_rounded_means),
        (chapter.judge, classes_by_dice),
        (chapter.judge, classes_by_frequency),
    ],
)
def test_other_wrong_answers_are_rejected_without_untrue_advice(exercise, answer):
    mark, message = exercise.verdict(answer)
    assert mark == "✗" and "\n" not in message


def classes_of_both_means(*case):
    old, new = chapter._ious(*case)
    both = ~(old.isnan() | new.isnan())
    return chapter._falling(old, new, (old[both].mean(), new[both].mean()))


def classes_of_the_target(before, after, target, num_classes):
    found = torch.tensor([(target == c).any() for c in range(num_classes)])
    old, new = chapter._ious(before, after, target, num_classes)
    return chapter._falling(old, new, (old[found].mean(), new[found].mean()))


def classes_by_sums(*case):
    old, new = chapter._ious(*case)
    return chapter._falling(old, new, (old.nansum(), new.nansum()))


@pytest.mark.parametrize("answer", [classes_of_both_means, classes_of_the_target, classes_by_sums])
def test_means_over_the_same_classes_get_one_advice(answer):
    _, message = chapter.judge.verdict(answer)
    assert "Both means are taken over the same classes" in message


def test_an_answer_with_two_mistakes_is_told_about_one():
    _, message = chapter.mean_field.verdict(lambda p, q, k, c: (p + c @ q @ k).softmax(0))
    assert "Perhaps: The cost is added." in message
    _, message = chapter.mean_field.verdict(lambda p, q, k, c: (p - c.T @ q @ k).softmax(0))
    assert "Perhaps: The two classes of the cost are exchanged" in message


# ── what the solutions compute is true ──────────────────────────────────────────────────────────


def test_the_rate_is_the_smallest_whose_gradient_reaches_far_enough():
    layers, side = [(3, 1, 1), (2, 2, 1), (3, 1, 3), (3, 2, 1)], 70
    fields = []
    rate = chapter.smallest_rate(layers, side)
    for last in (rate - 1, rate):
        image = torch.rand(1, 1, 301, dtype=torch.float64, requires_grad=True)
        x = image
        for kernel, stride, dilation in [*layers, (3, 1, last)]:
            ones = torch.ones(1, 1, kernel, dtype=torch.float64)
            x = F.conv1d(x, ones, stride=stride, dilation=dilation)
        x[0, 0, x.shape[-1] // 2].backward()
        places = image.grad[0, 0].nonzero()
        fields.append(int(places.max() - places.min() + 1))
    assert fields[0] < side <= fields[1]


def test_the_holes_are_those_of_the_package():
    layers = [(3, 2), (3, 1), (2, 2), (3, 2), (3, 1)]
    net = nn.Sequential(*(nn.Conv2d(1, 1, kernel, stride) for kernel, stride in layers))
    for output_stride in (1, 2, 4, 8):
        dense = remove_strides(net, output_stride)
        found = [(m.kernel_size[0], m.stride[0], m.dilation[0]) for m in dense]
        assert found == chapter.holes_for_strides(layers, output_stride)


def test_the_faulty_function_is_right_where_its_text_says_so():
    layers = [(3, 1), (3, 2), (3, 1)]
    wrong, right = chapter.holes_one_layer_too_early, chapter.holes_for_strides
    assert wrong(layers, 2) == right(layers, 2)
    assert wrong(layers, 1) != right(layers, 1)


def test_without_costs_of_equal_classes_the_update_is_the_chapters():
    log_p, q, k, _ = chapter.field(3, 6, seed=4)
    k.fill_diagonal_(0)
    ours = chapter.mean_field_update(log_p, q, k, 1 - torch.eye(3))
    assert torch.allclose(ours, (log_p + q @ k).softmax(dim=0))
