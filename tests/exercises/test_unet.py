"""The U-Net exercises accept every right answer and name the usual mistakes."""

import math
import statistics
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from scipy.spatial.distance import cdist
from torch import nn

from segcourse.exercises import unet as chapter
from segcourse.losses.weights import border_weights
from segcourse.models.unet import UNet


def side_by_formula(side, depth):
    left = side - 12 * 2**depth + 8
    return np.int64(left) if left > 0 and left % 2**depth == 4 % 2**depth else None


def side_by_search(side, depth):
    """The bottom has b pixels, 5 or more: which b gives this side?"""
    for bottom in range(5, side):
        image, logits = bottom, bottom - 4
        for _ in range(depth):
            image, logits = 2 * image + 4, 2 * logits - 4
        if image == side:
            return float(logits) if logits > 0 else None
    return None


def side_by_recursion(side, depth):
    def inner(side, depth):
        if depth == 0:
            return side - 4
        if (side - 4) % 2:
            return -10_000
        return 2 * inner((side - 4) // 2, depth - 1) - 4

    result = inner(side, depth)
    return torch.tensor(result) if result > 0 else None


def side_by_running(side, depth):
    with torch.device("meta"):
        net = UNet(1, in_channels=1, width=1, depth=depth)
        try:
            return net(torch.empty(1, 1, side, side)).shape[-1]
        except ValueError:
            return None


def side_by_shape_arithmetic(side, depth):
    sides = [side]
    for _ in range(depth):
        half, rest = divmod(sides[-1] - 4, 2)
        if rest:
            return
        sides.append(half)
    result = (sides[-1] - 4) * 2**depth - 4 * sum(2**level for level in range(depth))
    return [None, result][result > 0]


def parameters_by_building(in_channels, num_classes, width, depth, batch_norm):
    with torch.device("meta"):
        net = UNet(
            num_classes, in_channels=in_channels, width=width, depth=depth, batch_norm=batch_norm
        )
    return sum(p.numel() for p in net.parameters())


def parameters_layer_by_layer(in_channels, num_classes, width, depth, batch_norm):
    c = [in_channels, *(width << level for level in range(depth + 1))]
    threes = [pair for a, b in pairwise(c) for pair in ((a, b), (b, b))]
    threes += [pair for b in c[-2:0:-1] for pair in ((2 * b, b), (b, b))]
    ups = [(2 * b, b) for b in c[-2:0:-1]]
    weights = [(9, a, b) for a, b in threes] + [(4, a, b) for a, b in ups]
    weights += [(1, width, num_classes)]
    shifts = [b * (1 + batch_norm) for _, b in threes] + [b for _, b in ups] + [num_classes]
    return np.array([math.prod(w) for w in weights]).sum() + sum(shifts)


def parameters_by_geometric_series(in_channels, num_classes, width, depth, batch_norm):
    per_channel = 2 if batch_norm else 1
    squares = sum(4**level for level in range(depth)) * width**2
    firsts = sum(2**level for level in range(depth)) * width
    down = 9 * in_channels * width + 9 * width**2 + 2 * per_channel * width
    down += 4 * squares * (9 / 2 + 9) + 2 * per_channel * 2 * firsts
    up = squares * (8 + 18 + 9) + firsts * (1 + 2 * per_channel)
    return down + up + (width + 1) * num_classes  # a float


def parameters_of_plain_layers(in_channels, num_classes, width, depth, batch_norm):
    def pair(a, b):
        layers = []
        for before in (a, b):
            layers.append(nn.Conv2d(before, b, 3, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(b))
        return layers

    with torch.device("meta"):
        layers = [*pair(in_channels, width), nn.Conv2d(width, num_classes, 1)]
        for level in range(1, depth + 1):
            small, large = width * 2 ** (level - 1), width * 2**level
            layers += pair(small, large) + pair(large, small)
            layers.append(nn.ConvTranspose2d(large, small, 2, stride=2))
    return np.sum([p.numel() for layer in layers for p in layer.parameters()])


def merge_by_padding(skip, x):
    rows, columns = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
    cut = F.pad(skip, (-columns // 2, -columns // 2, -rows // 2, -rows // 2))
    return torch.hstack([cut, x]).numpy()


def merge_by_narrow(skip, x):
    for axis in (2, 3):
        surplus = skip.shape[axis] - x.shape[axis]
        skip = skip.narrow(axis, surplus // 2, x.shape[axis])
    return torch.cat((skip, x), 1)


def merge_in_numpy(skip, x):
    (_, _, height, width), (_, _, h, w) = skip.shape, x.shape
    top, left = (height - h) // 2, (width - w) // 2
    cut = skip.numpy()[:, :, top : height - top, left : width - left]
    return np.concatenate([cut, x.double().numpy()], axis=1)


def merge_by_torchvision(skip, x):
    from torchvision.transforms.v2.functional import center_crop

    return torch.cat([center_crop(skip, list(x.shape[-2:])), x], dim=1)


def merge_into_a_new_tensor(skip, x):
    result = x.new_zeros(len(x), skip.shape[1] + x.shape[1], *x.shape[-2:])
    down, right = ((a - b) // 2 for a, b in zip(skip.shape[2:], x.shape[2:], strict=True))
    for row in range(x.shape[2]):
        for column in range(x.shape[3]):
            result[:, : skip.shape[1], row, column] = skip[:, :, row + down, column + right]
    result[:, skip.shape[1] :] = x
    return result


def mirrored_by_walking(place, length):
    here, step = 0, 1
    for _ in range(abs(place)):  # to the left is to the right, in a mirror
        if length > 1:
            step = -1 if here == length - 1 else 1 if here == 0 else step
            here += step
    return here


def mirrored_by_reflecting_in_turn(place, length):
    if length == 1:
        return 0
    while not 0 <= place < length:
        place = -place if place < 0 else 2 * (length - 1) - place
    return place


def mirrored_by_a_list(place, length):
    period = list(range(length)) + list(range(length - 2, 0, -1))
    return torch.tensor(period)[place % len(period)]


def mirrored_by_numpy(place, length):
    row = np.pad(np.arange(length), 300, mode="reflect") if length > 1 else np.zeros(601)
    return row[300 + place]


def mirrored_by_a_triangle(place, length):
    last = length - 1
    return last - abs(place % (2 * last) - last) if last else 0.0


def border_map_in_torch(instance, w0, sigma):
    return border_weights(torch.from_numpy(instance.astype(np.int64)), w0=w0, sigma=sigma)


def border_map_by_partition(instance, w0, sigma):
    maps = [distance_transform_edt(instance != n) for n in range(1, int(instance.max()) + 1)
            if (instance == n).any()]  # fmt: skip
    if len(maps) < 2:
        return (instance * 0.0).tolist()
    d = np.partition(np.stack(maps), 1, axis=0)[:2].sum(axis=0)
    return np.where(instance == 0, w0 * np.exp(-0.5 * (d / sigma) ** 2), 0).astype(np.float32)


def border_map_by_all_pairs(instance, w0, sigma):
    """The distance of every pixel to every pixel of an object."""
    place = np.argwhere(instance >= 0)
    numbers = set(instance[instance > 0].tolist())
    if len(numbers) < 2:
        return torch.zeros(instance.shape)
    nearest = [cdist(place, np.argwhere(instance == n)).min(axis=1) for n in numbers]
    total = sum(sorted_map for sorted_map in np.sort(nearest, axis=0)[:2])
    term = w0 * np.exp(-(total**2) / 2 / sigma**2)
    term[instance.ravel() > 0] = 0
    return torch.from_numpy(term.reshape(instance.shape))


def border_map_in_place(instance, w0, sigma):
    instance = instance.copy()
    numbers = [n for n in np.unique(instance) if n]
    first = np.full(instance.shape, np.inf)
    second = first.copy()
    for n in numbers:
        distance = distance_transform_edt(instance != n)
        np.minimum(second, np.maximum(first, distance), out=second)
        np.minimum(first, distance, out=first)
    instance[instance > 0] = 1
    return w0 * np.exp(-((first + second) ** 2) / (2 * sigma**2)) * (1 - instance.astype(float))


def border_map_by_topk(instance, w0, sigma):
    if len(np.unique(instance[instance != 0])) < 2:
        return np.zeros_like(instance)
    maps = [distance_transform_edt(~(instance == n)) for n in np.unique(instance) if n > 0]
    two = torch.tensor(np.array(maps)).topk(2, dim=0, largest=False).values
    return w0 * (-(two.sum(0) ** 2) / (2 * sigma**2)).exp() * torch.tensor(instance == 0)


def period_by_differences(net, image, side):
    with torch.no_grad():
        first = net(image[:, :, :, :side])
        for s in range(1, first.size(3)):
            there = net(image[:, :, :, s : s + side])
            if (first[:, :, :, s:] - there[:, :, :, : first.size(3) - s]).abs().max() < 1e-4:
                return np.int64(s)


def period_by_numpy(net, image, side):
    logits = lambda start: net(image[..., start : start + side]).numpy()  # noqa: E731
    width = logits(0).shape[-1]
    fits = [
        s
        for s in range(1, width)
        if np.allclose(logits(0)[..., s:], logits(s)[..., : width - s], atol=1e-4, rtol=0)
    ]
    return fits[0] if fits else None


def period_by_while(net, image, side):
    first, shift = net(image[..., 0:side]), 1
    while (common := first.shape[-1] - shift) > 0:
        moved = net(image[..., shift : side + shift])[..., :common]
        if torch.equal(torch.round(first[..., -common:], decimals=3), moved.round(decimals=3)):
            return shift
        if (first[..., -common:] - moved).abs().amax().item() <= 1e-4:
            return float(shift)
        shift += 1
    return None


def judge_by_statistics(baseline, changed, factor):
    d = [b - a for a, b in zip(baseline, changed, strict=True)]
    bound = factor * statistics.stdev(d) / len(d) ** 0.5
    return {1: "helps", -1: "harms", 0: "no clear difference"}[
        (statistics.mean(d) > bound) - (statistics.mean(d) < -bound)
    ]


def judge_in_torch(baseline, changed, factor):
    d = torch.tensor(changed) - torch.tensor(baseline)
    if abs(d.mean()) <= factor * d.std() / d.numel() ** 0.5:
        return "no clear difference"
    return "helps" if d.mean() > 0 else "harms"


def judge_by_t(baseline, changed, factor):
    d = np.subtract(changed, baseline)
    if not d.any():
        return "no clear difference"
    t = d.mean() / math.sqrt(((d - d.mean()) ** 2).sum() / (len(d) - 1) / len(d))
    return "helps" if t > factor else "harms" if t < -factor else "no clear difference"


def judge_by_interval(baseline, changed, factor):
    d = np.array(changed) - np.array(baseline)
    low, high = d.mean() + np.array([-1, 1]) * factor * np.std(d, ddof=1) / len(d) ** 0.5
    return "helps" if low > 0 else "harms" if high < 0 else "no clear difference"


RIGHT = {
    "side_of_logits": (
        side_by_formula,
        side_by_search,
        side_by_recursion,
        side_by_running,
        side_by_shape_arithmetic,
    ),
    "parameters": (
        parameters_by_building,
        parameters_layer_by_layer,
        parameters_by_geometric_series,
        parameters_of_plain_layers,
    ),
    "fix_crop": (
        merge_by_padding,
        merge_by_narrow,
        merge_in_numpy,
        merge_by_torchvision,
        merge_into_a_new_tensor,
    ),
    "mirror": (
        mirrored_by_walking,
        mirrored_by_reflecting_in_turn,
        mirrored_by_a_list,
        mirrored_by_numpy,
        mirrored_by_a_triangle,
    ),
    "border": (
        border_map_in_torch,
        border_map_by_partition,
        border_map_by_all_pairs,
        border_map_in_place,
        border_map_by_topk,
    ),
    "shift": (period_by_differences, period_by_numpy, period_by_while),
    "verdict": (judge_by_statistics, judge_in_torch, judge_by_t, judge_by_interval),
}


@pytest.mark.parametrize(
    "name, answer",
    [(name, answer) for name, answers in RIGHT.items() for answer in answers],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_right_answers_written_differently_are_accepted(name, answer):
    assert getattr(chapter, name).verdict(answer) == ("✓", "")


def count_off_by_2387(*arguments):
    return chapter.unet_parameters(*arguments) + 2387


def border_map_of_neighbouring_pixels(instance, w0, sigma):
    """Right only where no objects touch: it separates them by the background between them."""
    mask = instance > 0
    numbers = np.unique(instance[mask])
    if len(numbers) < 2:
        return np.zeros(instance.shape)
    shrunk = instance * (distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] > 1)
    return chapter.border_map(np.where(shrunk > 0, shrunk, instance * 0), w0, sigma)


def period_without_a_return(net, image, side):
    first = net(image[..., :side])
    for shift in range(1, first.shape[-1]):
        moved = net(image[..., shift : shift + side])
        torch.allclose(first[..., shift:], moved[..., :-shift], atol=1e-4)


@pytest.mark.parametrize(
    "exercise, answer",
    [
        (chapter.parameters, count_off_by_2387),
        (chapter.border, border_map_of_neighbouring_pixels),
        (chapter.shift, period_without_a_return),
        (chapter.shift, lambda net, image, side: 4),
        (chapter.shift, lambda net, image, side: 8),
        (chapter.shift, lambda net, image, side: 2 ** getattr(net, "depth", 0)),
    ],
)
def test_answers_that_are_nearly_right_are_rejected(exercise, answer):
    assert exercise.verdict(answer)[0] == "✗"


def test_a_none_on_purpose_is_not_taken_for_a_missing_return():
    for exercise, answer in (
        (chapter.side_of_logits, lambda side, depth: side - 184 if side % 16 == 0 else None),
        (chapter.shift, chapter.period_in_the_wrong_direction),
    ):
        mark, message = exercise.verdict(answer)
        assert mark == "✗" and "got None" in message and "`return`" not in message


def test_the_deviation_is_blamed_only_where_it_is_at_fault():
    def by_majority(baseline, changed, factor):
        better = np.greater(changed, baseline).mean()
        return "helps" if better > 0.7 else "harms" if better < 0.3 else "no clear difference"

    for wrong in (
        by_majority,
        lambda baseline, changed, factor: chapter.judge(baseline, changed, factor / 2),
        lambda baseline, changed, factor: chapter.judge(baseline, changed, 1.96),
    ):
        mark, message = chapter.verdict.verdict(wrong)
        assert mark == "✗" and "ddof" not in message


def test_a_missing_return_is_named():
    assert "`return` missing" in chapter.shift.verdict(period_without_a_return)[1]


def test_the_side_is_the_networks():
    for depth in (1, 2, 3):
        with torch.device("meta"):
            net = UNet(2, width=1, depth=depth)
        for side in range(1, 140):
            try:
                real = net(torch.empty(1, 3, side, side, device="meta")).shape[-1]
            except ValueError:
                real = None
            assert chapter.logits_side(side, depth) == real


def test_the_counts_are_the_papers_and_the_modern_ones():
    assert chapter.unet_parameters(1, 2, 64, 4, False) == 31_030_658
    assert chapter.unet_parameters(3, 2, 64, 4, True) == 31_037_698


def test_the_mirror_is_torchs():
    row = torch.arange(6.0).view(1, 1, 1, 6)
    oracle = nn.ReflectionPad2d((5, 5, 0, 0))(row).flatten().tolist()
    assert [chapter.mirrored(place, 6) for place in range(-5, 11)] == oracle


def test_the_border_term_has_the_golden_values():
    instance, w0, sigma = chapter.cells()[0]
    weights = chapter.border_map(instance, w0, sigma)
    assert weights[8, 7] == pytest.approx(8.352702, abs=1e-5) and weights.max() == weights[8, 7]
    assert weights.sum() == pytest.approx(515.170384, abs=1e-3)


def test_some_objects_touch_and_one_is_in_pieces():
    maps = [instance for instance, _, _ in chapter.cells()]
    assert any(((m[:, 1:] != m[:, :-1]) & (m[:, 1:] > 0) & (m[:, :-1] > 0)).any() for m in maps)
    assert any(m.max() == 300 for m in maps)


def test_a_tile_moves_by_the_product_of_its_poolings():
    found = [chapter.shift_period(*case) for case in chapter.networks_and_images()]
    assert found == [2, 4, 4, 8, None, 1, 1, None, 3, 1, 1, 4, None, None]
