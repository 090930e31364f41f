"""The unpooling exercises accept every right answer and name the usual mistakes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segcourse.exercises import unpooling as chapter
from segcourse.models import SegNet


@pytest.fixture(scope="module", autouse=True)
def slow_import():
    """PyTorch imports sympy at the first unpooling: on a busy machine, longer than answers get."""
    torch.unravel_index(torch.tensor([1]), (2, 2))


# ── right answers, written differently ──────────────────────────────────────────────────────────


def codes_by_loops(indices, width):
    codes = []
    for line in indices.tolist():
        codes.append([2 * (divmod(i, width)[0] & 1) + (divmod(i, width)[1] & 1) for i in line])
    return codes


def codes_by_first_positions(indices, width):
    h, w = indices.shape
    first = 2 * width * torch.arange(h)[:, None] + 2 * torch.arange(w)
    rest = indices - first  # 0, 1, width or width + 1
    return torch.where(rest >= width, rest - width + 2, rest) if width > 1 else 2 * rest


def codes_in_numpy(indices, width):
    row, column = np.divmod(indices.numpy(), width)
    return (row % 2 * 2 + column % 2).astype(np.uint8)


def codes_by_unravelling(indices, width):
    height = 2 * indices.shape[0]
    row, column = torch.unravel_index(indices, (height, width))
    return (row.remainder(2) * 2 + column.remainder(2)).to(torch.uint8)


def codes_by_differences(indices, width):
    row = torch.div(indices, width, rounding_mode="floor")
    column = indices - row * width
    below = row - 2 * torch.arange(len(indices))[:, None]
    beside = column - 2 * torch.arange(indices.shape[1])[None]
    return 2.0 * below + beside


def codes_by_bits(indices, width):
    return ((indices // width & 1) << 1) | (indices % width & 1)


def sizes_by_comparison(height, width, depth):
    found, size = [], np.array([height, width])
    for number in range(depth):
        half = np.ceil(size / 2).astype(int)
        if (2 * half != size).any():
            found.append(number + 1)
        size = half
    return np.array(found, dtype=int)


def sizes_by_pooling(height, width, depth):
    x, found = torch.rand(1, 1, height, width), []
    for number in range(1, depth + 1):
        size = x.shape
        x = F.max_pool2d(x, 2, ceil_mode=True)
        if x.shape[2] * 2 != size[2] or x.shape[3] * 2 != size[3]:
            found += [number]
    return found


def sizes_by_formula(height, width, depth):
    def side(length, n):
        return math.ceil(length / 2**n)

    return [
        n + 1
        for n in range(depth)
        if any(2 * side(length, n + 1) != side(length, n) for length in (height, width))
    ]


def sizes_by_recursion(height, width, depth, number=1):
    if depth == 0:
        return []
    odd = [number] if height % 2 + width % 2 else []
    return odd + sizes_by_recursion(-(-height // 2), -(-width // 2), depth - 1, number + 1)


def sizes_as_a_set_in_order(height, width, depth):
    found = set()
    for length in (height, width):
        for number in range(1, depth + 1):
            if length & 1:
                found.add(number)
            length = (length + 1) >> 1
    return tuple(sorted(found))


def sizes_by_any(height, width, depth):
    sides = np.array([-(-np.array([height, width]) // 2**n) for n in range(depth)])
    return np.flatnonzero((sides % 2).any(axis=1)) + 1


def kernel_by_phases(kernel, stride):
    sums = [sum(kernel[phase::stride]) for phase in range(stride)]
    return [weight / sums[place % stride] for place, weight in enumerate(kernel)]


def kernel_in_place(kernel, stride):
    for phase in range(stride):
        total = sum(kernel[phase::stride])
        kernel[phase::stride] = [weight / total for weight in kernel[phase::stride]]
    return kernel


def kernel_by_the_layer(kernel, stride):
    weight = torch.tensor(kernel, dtype=torch.float64)
    row = F.conv_transpose1d(torch.ones(1, 1, 40).double(), weight[None, None], stride=stride)
    period = row[0, 0, 20 * stride : 21 * stride]
    return weight / period[torch.arange(len(kernel)) % stride]


def kernel_by_reshaping(kernel, stride):
    padded = np.array([*kernel, *[0.0] * (-len(kernel) % stride)]).reshape(-1, stride)
    return (padded / padded.sum(axis=0)).ravel()[: len(kernel)]


def kernel_by_bins(kernel, stride):
    phase = np.arange(len(kernel)) % stride
    return np.array(kernel) / np.bincount(phase, weights=kernel)[phase]


def kernel_by_two_loops(kernel, stride):
    result = []
    for i, weight in enumerate(kernel):
        total = 0.0
        for j, other in enumerate(kernel):
            if (i - j) % stride == 0:
                total += other
        result.append(weight / total)
    return tuple(result)


def dark_by_loops(x):
    y = torch.zeros_like(x)
    for top in range(0, x.shape[0], 2):
        for left in range(0, x.shape[1], 2):
            window = x[top : top + 2, left : left + 2]
            row, column = divmod(int(window.argmax()), window.shape[1])
            y[top + row, left + column] = window.max()
    return y


def dark_by_scattering(x):
    values, indices = F.max_pool2d(x[None], 2, ceil_mode=True, return_indices=True)
    flat = torch.zeros(x.numel()).scatter_(0, indices.flatten(), values.flatten())
    return flat.view_as(x)


def dark_by_a_mask(x):
    _, indices = F.max_pool2d(x[None], 2, ceil_mode=True, return_indices=True)
    keep = torch.zeros_like(x, dtype=torch.bool)
    keep.view(-1)[indices.flatten()] = True
    return x * keep


def dark_in_numpy(x):
    x = x.double().numpy()
    height, width = x.shape
    y = np.zeros((height, width))
    for top in range((height + 1) // 2):
        for left in range((width + 1) // 2):
            best = None
            for row in range(2 * top, min(2 * top + 2, height)):
                for column in range(2 * left, min(2 * left + 2, width)):
                    if best is None or x[row, column] > x[best]:
                        best = row, column
            y[best] = x[best]
    return y


def dark_by_the_gradient(x):
    x = x.clone().requires_grad_()
    F.max_pool2d(x[None], 2, ceil_mode=True).sum().backward()
    return (x * x.grad).detach()


def dark_with_the_size_of_the_batch(x):
    x = x[None, None]
    values, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
    return F.max_unpool2d(values, indices, 2, output_size=x.size()).squeeze(0).squeeze(0)


def planes_by_loops(values, indices, size):
    n, c, h, w = values.shape
    out = np.zeros((n, c, *size))
    for a in range(n):
        for b in range(c):
            for i in range(h):
                for j in range(w):
                    row, column = divmod(indices[a, b, i, j], size[1])
                    out[a, b, row, column] = values[a, b, i, j]
    return out


def planes_with_offsets(values, indices, size):
    n, c = values.shape[:2]
    out = np.zeros((n, c, *size))
    np.put(out, indices + (np.arange(n * c) * size[0] * size[1]).reshape(n, c, 1, 1), values)
    return out


def planes_by_torch(values, indices, size):
    values, indices = torch.from_numpy(values), torch.from_numpy(indices)
    return F.max_unpool2d(values, indices, kernel_size=2, output_size=size)


def planes_along_an_axis(values, indices, size):
    n, c = values.shape[:2]
    out = np.zeros((n * c, size[0] * size[1]), dtype=values.dtype)
    np.put_along_axis(out, indices.reshape(n * c, -1), values.reshape(n * c, -1), axis=1)
    return out.reshape(n, c, *size)


def planes_by_fancy_indices(values, indices, size):
    n, c = values.shape[:2]
    out = np.zeros((n, c, *size))
    image, channel = np.arange(n)[:, None, None, None], np.arange(c)[:, None, None]
    out[image, channel, indices // size[1], indices % size[1]] = values
    return out.astype(np.float16)


def planes_by_comparison(values, indices, size):
    def spread(x):
        return x.repeat(2, axis=2).repeat(2, axis=3)[..., : size[0], : size[1]]

    position = np.arange(size[0] * size[1]).reshape(size)
    return np.where(spread(indices) == position, spread(values), 0)


def planes_one_by_one(values, indices, size):
    out = []
    for image, where in zip(values, indices, strict=True):
        for plane, places in zip(image, where, strict=True):
            flat = np.zeros(size[0] * size[1])
            flat[places.ravel()] = plane.ravel()
            out.append(flat.reshape(size))
    return np.array(out).reshape(*values.shape[:2], *size)


def combined_per_pixel(size, proposals):
    label = np.zeros(size, dtype=int)
    for y in range(size[0]):
        for x in range(size[1]):
            here = [
                scores[:, y - top, x - left]
                for top, left, scores in proposals
                if 0 <= y - top < scores.shape[1] and 0 <= x - left < scores.shape[2]
            ]
            if here:
                label[y, x] = int(torch.stack(here).amax(0).argmax())
    return label


def combined_in_a_stack(size, proposals):
    maps = []
    for top, left, scores in proposals:
        full = torch.full((len(scores), *size), float("-inf"))
        full[:, top : top + scores.shape[1], left : left + scores.shape[2]] = scores
        maps.append(full)
    return torch.stack(maps).max(dim=0).values.max(dim=0).indices


def combined_by_padding(size, proposals):
    best = None
    for top, left, scores in proposals:
        _, h, w = scores.shape
        edges = (left, size[1] - left - w, top, size[0] - top - h)
        full = F.pad(scores, edges, value=-1e9)
        best = full if best is None else torch.maximum(best, full)
    return best.argmax(0)


def combined_in_numpy(size, proposals):
    best = np.full((len(proposals[0][2]), *size), -np.inf)
    for top, left, scores in proposals:
        rows, columns = slice(top, top + scores.shape[1]), slice(left, left + scores.shape[2])
        best[:, rows, columns] = np.maximum(best[:, rows, columns], scores.numpy())
    return best.argmax(axis=0)


def combined_in_a_dictionary(size, proposals):
    best = {}
    for top, left, scores in proposals:
        for k, row, column in np.ndindex(*scores.shape):
            pixel = best.setdefault((top + row, left + column), [-math.inf] * len(scores))
            pixel[k] = max(pixel[k], float(scores[k, row, column]))
    label = [[0] * size[1] for _ in range(size[0])]
    for (row, column), scores in best.items():
        label[row][column] = scores.index(max(scores))
    return label


def combined_by_the_surest(size, proposals):
    sure, label = torch.full(size, -torch.inf), torch.zeros(size, dtype=torch.long)
    for top, left, scores in proposals:
        value, found = scores.max(dim=0)
        place = (slice(top, top + len(value)), slice(left, left + value.shape[1]))
        equal = (value == sure[place]) & (found < label[place])
        better = (value > sure[place]) | equal
        sure[place] = torch.where(better, value, sure[place])
        label[place] = torch.where(better, found, label[place])
    return label.to(torch.uint8)


RIGHT = [
    (chapter.two_bits, (
        codes_by_loops, codes_by_first_positions, codes_in_numpy, codes_by_unravelling,
        codes_by_differences, codes_by_bits,
    )),
    (chapter.sizes, (
        sizes_by_comparison, sizes_by_pooling, sizes_by_formula, sizes_by_recursion,
        sizes_as_a_set_in_order, sizes_by_any,
    )),
    (chapter.kernel, (
        kernel_by_phases, kernel_in_place, kernel_by_the_layer, kernel_by_reshaping,
        kernel_by_bins, kernel_by_two_loops,
    )),
    (chapter.counterexample, (
        dark_by_loops, dark_by_scattering, dark_by_a_mask, dark_in_numpy, dark_by_the_gradient,
        dark_with_the_size_of_the_batch,
    )),
    (chapter.planes, (
        planes_by_loops, planes_with_offsets, planes_by_torch, planes_along_an_axis,
        planes_by_fancy_indices, planes_by_comparison, planes_one_by_one,
    )),
    (chapter.proposals_of, (
        combined_per_pixel, combined_in_a_stack, combined_by_padding, combined_in_numpy,
        combined_in_a_dictionary, combined_by_the_surest,
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


@pytest.mark.parametrize(
    "exercise, answer, words",
    [
        (
            chapter.two_bits,
            lambda indices, width: chapter.window_codes(indices, 6),
            "",
        ),
        (
            chapter.two_bits,
            lambda indices, width: 2 * (indices // width) % 2 + indices % width % 2,
            "Only the column",
        ),
        (
            chapter.two_bits,
            lambda indices, width: indices // width % 2 + 2 * (indices % width) % 2,
            "Only the row",
        ),
        (
            chapter.planes,
            lambda values, indices, size: np.zeros((*values.shape[:2], *size)),
            "only zeros",
        ),
        (
            chapter.sizes,
            lambda height, width, depth: [4, 5],
            "",
        ),
        (
            chapter.sizes,
            lambda height, width, depth: [
                n
                for n in range(1, depth + 1)
                if height / 2 ** (n - 1) % 2 or width / 2 ** (n - 1) % 2
            ],
            "rounded",
        ),
        (
            chapter.kernel,
            lambda kernel, stride: [0.5 * weight for weight in kernel],
            "same number",
        ),
        (
            chapter.counterexample,
            lambda x: chapter.smallest_map(x.flip(1)).flip(1),
            "",
        ),
        (
            chapter.planes,
            lambda values, indices, size: np.ones((*values.shape[:2], *size)),
            "",
        ),
        (
            chapter.sizes,
            lambda height, width, depth: [],
            "",
        ),
        (
            chapter.sizes,
            lambda height, width, depth: chapter.need_size(max(height, width), 2**depth, depth),
            "larger side",
        ),
        (
            chapter.kernel,
            lambda kernel, stride: [weight / sum(kernel[::stride]) for weight in kernel],
            "contains the first weight",
        ),
        (
            chapter.counterexample,
            lambda x: F.max_pool2d(x, 2, ceil_mode=True),
            "axes for images and channels",
        ),
        (
            chapter.planes,
            lambda values, indices, size: F.max_unpool2d(values, indices, 2),
            "torch.from_numpy",
        ),
        (
            chapter.proposals_of,
            lambda size, proposals: chapter.paste(size, proposals, -7, torch.maximum).argmax(0),
            "below all scores",
        ),
        (
            chapter.proposals_of,
            lambda size, proposals: chapter.paste(size, proposals, -9, torch.maximum).argmax(0) + 1,
            "",
        ),
    ],
)
def test_other_wrong_answers_are_rejected_without_untrue_advice(exercise, answer, words):
    mark, message = exercise.verdict(answer)
    assert mark == "✗"
    named = [mistake.answer.__name__ for mistake in exercise.mistakes if mistake.advice in message]
    assert (words in message) if words else not named, (named, message)


# ── what the solutions compute is true ──────────────────────────────────────────────────────────


def test_a_place_and_its_window_give_the_index_back():
    _, indices = chapter.pooled(chapter.random_map(7, 1, 1, 9, 13))
    codes = chapter.window_codes(indices[0, 0], 13)
    row = 2 * torch.arange(5)[:, None] + codes // 2
    column = 2 * torch.arange(7) + codes % 2
    assert torch.equal(row * 13 + column, indices[0, 0])


def test_a_full_size_segnet_needs_the_sizes_of_the_release():
    assert chapter.need_size(360, 480, 5) == [4, 5]
    heights = [360]
    for _ in SegNet(11, width=1).encoder:
        heights.append((heights[-1] + 1) // 2)
    assert [heights[number - 1] for number in (4, 5)] == [45, 23]


def test_a_normalized_kernel_keeps_a_constant():
    for kernel, stride in (([1, 1, 1], 2), ([1, 2, 4, 8, 16, 32, 64], 3)):
        weight = torch.tensor(chapter.normalized(kernel, stride))[None, None]
        row = F.conv_transpose1d(torch.ones(1, 1, 30), weight, stride=stride)[0, 0]
        assert torch.allclose(row[len(kernel) : -len(kernel)], torch.ones(1))


def test_the_smallest_map_is_pooled_alike_and_cannot_be_smaller():
    x = torch.randint(0, 4, (7, 9), generator=torch.Generator().manual_seed(0)).float()
    y = chapter.smallest_map(x)
    for one, other in zip(
        chapter.pooled(x[None, None]), chapter.pooled(y[None, None]), strict=True
    ):
        assert torch.equal(one, other)
    assert y.sum() == chapter.pooled(x[None, None])[0].sum()


def test_the_order_of_proposals_does_not_matter():
    size, proposals = chapter.proposals_of.cases[4]
    backwards = list(reversed(proposals))
    assert torch.equal(chapter.combine(size, proposals), chapter.combine(size, backwards))
