"""The exercises on DeepLab v3 and v3+ accept every right answer and name the usual mistakes."""

import math
import statistics

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segcourse.blocks.conv import conv_bn_relu
from segcourse.blocks.xception import separable_conv
from segcourse.exercises import deeplab_v3 as chapter

# ── right answers, written differently ──────────────────────────────────────────────────────────


def taps_by_convolution(height, width, rate):
    ones, kernel = torch.ones(1, 1, height, width), torch.ones(1, 1, 3, 3)
    return F.conv2d(ones, kernel, padding=rate, dilation=rate).mean()


def taps_by_loops(height, width, rate):
    total = 0
    for row in range(height):
        for column in range(width):
            for down in (-rate, 0, rate):
                for right in (-rate, 0, rate):
                    inside = 0 <= row + down < height and 0 <= column + right < width
                    total += inside
    return total / (height * width)


def taps_by_shares(height, width, rate):
    def share(side):
        return 1 + 2 * (1 - rate / side if rate < side else 0)

    return share(height) * share(width)


def taps_by_ranges(height, width, rate):
    per_axis = [
        sum(place + step in range(side) for place in range(side) for step in (-rate, 0, rate))
        for side in (height, width)
    ]
    return np.prod(per_axis) / np.prod([height, width])


def taps_by_clipping(height, width, rate):
    sides = np.array([height, width])
    return ((sides + 2 * np.clip(sides - rate, 0, None)) / sides).prod()


def macs_by_ceil(height, width, in_channels, out_channels, kernel, stride):
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    ordinary = rows * columns * in_channels * out_channels * kernel**2
    return ordinary, rows * columns * in_channels * (kernel**2 + out_channels)


def macs_by_layers(height, width, in_channels, out_channels, kernel, stride):
    x = torch.zeros(1, in_channels, height, width)
    with torch.no_grad():
        layer = nn.Conv2d(in_channels, in_channels, kernel, stride, kernel // 2, groups=in_channels)
        small = layer(x)
    positions = small.shape[-2] * small.shape[-1]
    point = positions * in_channels * out_channels
    return [point * kernel**2, positions * layer.weight.numel() + point]


def macs_as_a_tensor(height, width, in_channels, out_channels, kernel, stride):
    positions = ((height - 1) // stride + 1) * ((width - 1) // stride + 1)
    weights = torch.tensor(
        [kernel * kernel * in_channels * out_channels, in_channels * (kernel * kernel)]
    )
    weights[1] += in_channels * out_channels
    return positions * weights


def macs_by_counting_places(height, width, in_channels, out_channels, kernel, stride):
    positions = len(range(0, height, stride)) * len(range(0, width, stride))
    area = kernel * kernel
    return np.array([out_channels * area, area + out_channels]) * positions * in_channels


def macs_in_floats(height, width, in_channels, out_channels, kernel, stride):
    positions = float(math.ceil(height / stride) * math.ceil(width / stride))
    depthwise = positions * kernel**2 * in_channels
    return depthwise * out_channels, depthwise + positions * in_channels * out_channels


def dilated_by_recursion(strides, output_stride, reached=1, rate=1):
    if not strides:
        return []
    first, *rest = strides
    if reached * first <= output_stride:
        return [(first, rate), *dilated_by_recursion(rest, output_stride, reached * first, rate)]
    return [(1, rate), *dilated_by_recursion(rest, output_stride, reached, rate * first)]


def dilated_by_products(strides, output_stride):
    kept = []
    for stride in strides:
        kept.append(stride if math.prod(kept) * stride <= output_stride else 1)
    rates = [math.prod(strides[:n]) // math.prod(kept[:n]) for n in range(len(strides))]
    return list(zip(kept, rates, strict=True))


def dilated_as_lists(strides, output_stride):
    left, rate, rows = output_stride, 1, []
    for stride in strides:
        if stride <= left:
            rows += [[stride, rate]]
            left /= stride
        else:
            rows += [[1, rate]]
            rate = rate * stride
    return rows


def dilated_with_removed_strides(strides, output_stride):
    layers, product, removed = [], 1, []
    for stride in strides:
        fits = product * stride <= output_stride
        layers.append((stride if fits else 1, int(np.prod(removed))))
        product *= stride if fits else 1
        removed += [] if fits else [stride]
    return tuple(layers)


def dilated_in_numpy(strides, output_stride):
    layers, reached, rate = [], np.int64(1), np.int64(1)
    for stride in np.array(strides, dtype=int):
        if reached * stride > output_stride:
            layers.append((np.int64(1), rate))
            rate = rate * stride
            continue
        reached = reached * stride
        layers.append((stride, rate))
    return layers


def average_in_lists(net, image, scales):
    height, width = image.shape[2:]
    found = []
    for scale in scales:
        small = nn.functional.interpolate(
            image, (round(height * scale), round(width * scale)), mode="bilinear"
        )
        found.append(F.interpolate(net(small), (height, width), mode="bilinear").softmax(1))
        turned = F.interpolate(net(small.flip(3)), (height, width), mode="bilinear").softmax(1)
        found.append(torch.flip(turned, [3]))
    return torch.stack(found).mean(0)


def average_mirrored_first(net, image, scales):
    size = image.shape[-2:]

    def probability(view, scale):
        sides = tuple(round(scale * side) for side in size)
        logits = net(F.interpolate(view, sides, mode="bilinear"))
        return torch.softmax(F.interpolate(logits, size, mode="bilinear"), dim=-3)

    mirrored = sum(probability(image.flip(-1), scale) for scale in scales).flip(-1)
    plain = sum(probability(image, scale) for scale in scales)
    return (plain + mirrored) / len(scales) / 2


def average_in_numpy(net, image, scales):
    size, maps = image.shape[-2:], []
    for scale in scales:
        resized = F.interpolate(image, [round(s * scale) for s in size], mode="bilinear")
        for step in (1, -1):
            view = torch.from_numpy(resized.numpy()[..., ::step].copy())
            logits = F.interpolate(net(view), size, mode="bilinear").numpy().astype(np.float64)
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
            maps.append((shares / shares.sum(axis=1, keepdims=True))[..., ::step])
    return np.mean(maps, axis=0)


def average_in_one_batch(net, image, scales):
    size, number, total = image.shape[-2:], len(image), 0
    for scale in scales:
        resized = F.interpolate(image, [round(scale * side) for side in size], mode="bilinear")
        logits = net(torch.cat([resized, resized.flip(-1)]))
        both = F.interpolate(logits, size, mode="bilinear").softmax(dim=1)
        total = total + (both[:number] + both[number:].flip(-1)) / 2
    return total / len(scales)


def average_logits_mirrored_back(net, image, scales):
    size, total = image.shape[-2:], torch.zeros(())
    for scale in scales:
        resized = F.interpolate(image, [round(scale * side) for side in size], mode="bilinear")
        for logits in (net(resized), net(resized.flip(-1)).flip(-1)):
            total = total + F.interpolate(logits, size, mode="bilinear").exp().div(
                F.interpolate(logits, size, mode="bilinear").exp().sum(1, keepdim=True)
            )
    return total / len(scales) * 0.5


def separable_by_singular_values(weight):
    kernels = weight.double().flatten(2).movedim(1, 0)
    values = torch.linalg.svdvals(kernels)
    return bool((values[:, 1:] < 1e-9).all()) if values.shape[1] > 1 else True


def separable_by_numpy(weight):
    return all(
        np.linalg.matrix_rank(weight[:, c].reshape(len(weight), -1).numpy()) < 2
        for c in range(weight.shape[1])
    )


def separable_by_building_it(weight):
    """Take the largest kernel of a channel, and see whether the others are multiples of it."""
    outputs = weight.double().flatten(2)
    largest = outputs.norm(dim=2).argmax(dim=0)
    for channel in range(weight.shape[1]):
        kernels = outputs[:, channel]
        kernel = kernels[largest[channel]]
        factors = kernels @ kernel / kernel.square().sum().clamp(min=1e-12)
        if not torch.allclose(factors[:, None] * kernel, kernels):
            return np.bool_(False)
    return np.bool_(True)


def separable_by_minors(weight):
    """All 2 x 2 determinants of every channel's matrix are zero."""
    kernels = weight.double().flatten(2).movedim(1, 0)
    a = kernels[:, :, None, :, None] * kernels[:, None, :, None, :]
    return torch.allclose(a, a.transpose(-1, -2))


def separable_as_a_tensor(weight):
    return (torch.linalg.matrix_rank(weight.flatten(2).transpose(0, 1)) < 2).all()


def separable_by_cosines(weight):
    for kernels in weight.double().flatten(2).unbind(1):
        kernels = F.normalize(kernels[kernels.any(dim=1)], dim=1)
        if not torch.allclose((kernels @ kernels.T).abs(), torch.ones(()).double(), rtol=1e-7):
            return False
    return True


def choose_in_numpy(options, budget, bound):
    names = [name for name, (cost, _) in options.items() if cost <= budget]
    if len(names) == 0:
        return None
    scores = np.array([options[name][1] for name in names])
    differences = scores[scores.mean(axis=1).argmax()] - scores
    error = differences.std(axis=1, ddof=1) / np.sqrt(scores.shape[1])
    left = [n for n, keep in zip(names, differences.mean(1) <= bound * error, strict=True) if keep]
    return sorted(left, key=lambda name: options[name][0])[0]


def choose_by_sorting(options, budget, bound):
    rows = sorted((cost, name, scores) for name, (cost, scores) in options.items())
    rows = [row for row in rows if not row[0] > budget]
    best = max(rows, key=lambda row: statistics.fmean(row[2]), default=(0, None, []))[2]
    for _, name, scores in rows:
        gaps = [high - low for high, low in zip(best, scores, strict=True)]
        mean = sum(gaps) / len(gaps)
        error = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1) / len(gaps))
        if mean <= bound * error:
            return name
    return None


def choose_in_torch(options, budget, bound):
    affordable = {k: (c, torch.tensor(s).double()) for k, (c, s) in options.items() if c <= budget}
    best = max((s for _, s in affordable.values()), key=lambda s: s.mean().item(), default=None)
    chosen, price = None, math.inf
    for name, (cost, scores) in affordable.items():
        gap = best - scores
        if gap.mean() <= bound * gap.std() / len(gap) ** 0.5 and cost < price:
            chosen, price = name, cost
    return chosen


def choose_by_removing(options, budget, bound):
    for name in list(options):
        if options[name][0] > budget:
            del options[name]
    if not options:
        return
    best = max(options, key=lambda name: np.mean(options[name][1]))
    reference = np.array(options[best][1])
    for name, (_, scores) in list(options.items()):
        gap = reference - scores
        if name != best and gap.mean() / (gap.std(ddof=1) / len(gap) ** 0.5) > bound:
            options.pop(name)
    return min(options, key=options.get)


def choose_by_t(options, budget, bound):
    within = [(cost, name) for name, (cost, _) in options.items() if cost <= budget]
    if not within:
        return None
    best = options[max(within, key=lambda pair: sum(options[pair[1]][1]))[1]][1]

    def t(scores):
        gaps = np.subtract(best, scores)
        return 0 if not gaps.any() else gaps.mean() * len(gaps) ** 0.5 / gaps.std(ddof=1)

    return min(pair for pair in within if t(options[pair[1]][1]) <= bound)[1]


def choose_with_a_guard(options, budget, bound):
    left = {name: option for name, option in options.items() if option[0] <= budget}
    best = max(left, key=lambda name: statistics.mean(left[name][1]), default=None)
    for name in sorted(left, key=lambda name: left[name][0]):
        gaps = [a - b for a, b in zip(left[best][1], left[name][1], strict=True)]
        error = statistics.stdev(gaps) / math.sqrt(len(gaps))
        if name == best or (statistics.mean(gaps) / error if error else math.inf) <= bound:
            return name


RIGHT = [
    (chapter.taps, (
        taps_by_convolution, taps_by_loops, taps_by_shares, taps_by_ranges, taps_by_clipping,
    )),
    (chapter.macs, (
        macs_by_ceil, macs_by_layers, macs_as_a_tensor, macs_by_counting_places, macs_in_floats,
    )),
    (chapter.trade, (
        dilated_by_recursion, dilated_by_products, dilated_as_lists,
        dilated_with_removed_strides, dilated_in_numpy,
    )),
    (chapter.average_views, (
        average_in_lists, average_mirrored_first, average_in_numpy, average_in_one_batch,
        average_logits_mirrored_back,
    )),
    (chapter.separable, (
        separable_by_singular_values, separable_by_numpy, separable_by_building_it,
        separable_by_minors, separable_as_a_tensor, separable_by_cosines,
    )),
    (chapter.budget, (
        choose_in_numpy, choose_by_sorting, choose_in_torch, choose_by_removing, choose_by_t,
        choose_with_a_guard,
    )),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:divide by zero")  # a standard error of 0
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


def test_the_given_code_of_the_average_is_told_about_both_faults():
    def given(net, image, scales):
        size, total = image.shape[-2:], 0
        for scale in scales:
            sides = [round(scale * side) for side in size]
            resized = F.interpolate(image, sides, mode="bilinear")
            for view in (resized, resized.flip(-1)):
                logits = F.interpolate(net(view), size, mode="bilinear")
                total = total + logits.softmax(dim=1)
        return total / len(scales)

    mark, message = chapter.average_views.verdict(given)
    assert mark == "✗" and "results of the given code" in message


def test_a_choice_does_not_give_the_answer_away():
    mark, message = chapter.separable.verdict(lambda weight: weight.shape[0] > 1)
    assert mark == "✗" and "expected" not in message


@pytest.mark.parametrize("constant", [True, False])
def test_a_constant_decision_is_told_that_it_is_constant(constant):
    mark, message = chapter.separable.verdict(lambda weight: constant)
    assert mark == "✗" and f"always {constant}" in message


def test_a_decision_from_one_reference_kernel_is_rejected():
    def compared_with_the_first(weight):
        first = weight[:1].flatten(2)
        pairs = torch.stack([first.expand_as(weight.flatten(2)), weight.flatten(2)], dim=2)
        return bool((torch.linalg.matrix_rank(pairs) <= 1).all())

    mark, message = chapter.separable.verdict(compared_with_the_first)
    assert mark == "✗" and "first output only" in message

    def projected_on_the_mean(weight):
        kernels = weight.flatten(2)
        mean = kernels.mean(0)
        norm = mean.square().sum(-1, keepdim=True).clamp(min=1e-9)
        unit = mean / norm.sqrt()
        return torch.allclose((kernels * unit).sum(-1, keepdim=True) * unit, kernels)

    mark, message = chapter.separable.verdict(projected_on_the_mean)
    assert mark == "✗" and "their mean" in message


def every_channel(test):
    return lambda weight: all(test(kernels) for kernels in weight.flatten(2).unbind(1))


def rank(kernels, **tolerance):
    return int(torch.linalg.matrix_rank(kernels, **tolerance))


@pytest.mark.parametrize(
    "answer, advice",
    [
        (lambda w: chapter.is_separable(w**2), "signs"),
        (every_channel(lambda k: rank(k, tol=0.1) <= 1), "Small weights"),
        (every_channel(lambda k: rank(k, rtol=0.1) <= 1), "similar"),
        (every_channel(lambda k: rank(k[:, :2]) <= 1), ""),  # two weights of each kernel
        (every_channel(lambda k: all(rank(k[[-1, n]]) <= 1 for n in range(len(k)))), ""),
        (every_channel(lambda k: all(rank(k[[n - 1, n]]) <= 1 for n in range(len(k)))), ""),
        (every_channel(lambda k: rank(k - k.mean(dim=1, keepdim=True)) <= 1), ""),
        (lambda w: sum(rank(k) for k in w.flatten(2).unbind(1)) <= w.shape[1], ""),
        (lambda w: chapter.is_separable(w[:, :2]), ""),
    ],
)
def test_kernels_that_are_almost_multiples_are_not_taken_for_multiples(answer, advice):
    mark, message = chapter.separable.verdict(answer)
    assert mark == "✗" and advice in message


def choice(keeps, all_options=False):
    """An answer in the words of a learner: which options are left, from (gaps, bound)?"""

    def answer(options, budget, bound):
        left = {name: each for name, each in options.items() if each[0] <= budget}
        if not left:
            return None
        pool = options if all_options else left
        best = max(pool, key=lambda name: np.mean(pool[name][1]))
        with np.errstate(all="ignore"):
            kept = [
                name
                for name, (_, scores) in left.items()
                if keeps(np.subtract(pool[best][1], scores), bound)
            ]
        if not kept:
            return None if all_options else best
        return min(kept, key=lambda name: options[name][0])

    return answer


def t(gaps):
    return gaps.mean() / (gaps.std(ddof=1) / len(gaps) ** 0.5)


@pytest.mark.parametrize(
    "answer, advice",
    [
        (choice(lambda gaps, bound: gaps.std() == 0 or t(gaps) <= bound), "standard error is 0"),
        (choice(lambda gaps, bound: gaps.mean() <= bound), "with the bound itself"),
        (choice(lambda gaps, bound: t(gaps) * len(gaps) <= bound), "sum of the differences"),
        (choice(lambda gaps, bound: t(gaps) > bound), "wrong way round"),
        (choice(lambda gaps, bound: t(gaps) <= bound), "best option is not among"),  # 0 / 0
        (choice(lambda gaps, bound: not t(gaps) > 1), "one standard error"),
        (choice(lambda gaps, bound: not t(gaps) > 4.3), "no influence"),
        (choice(lambda gaps, bound: not t(gaps) > bound, True), "Where the best of all"),
        (lambda options, bound, budget: chapter.choose(options, budget, bound), "exchanged"),
    ],
)
def test_what_is_said_of_a_choice_is_true(answer, advice):
    mark, message = chapter.budget.verdict(answer)
    assert mark == "✗" and advice in message


def test_rate_1_for_kept_strides_alone_is_not_called_rate_1_for_all():
    def answer(strides, output_stride):
        layers, reached, rate = [], 1, 1
        for stride in strides:
            kept = reached * stride <= output_stride
            layers.append((stride, 1) if kept else (1, rate))
            reached, rate = (reached * stride, rate) if kept else (reached, rate * stride)
        return layers

    mark, message = chapter.trade.verdict(answer)
    assert mark == "✗" and "keeps its stride always has rate 1" in message


def test_a_ninth_is_not_called_a_missing_layer():
    def answer(*sizes):
        return chapter.multiply_adds(*sizes)[0], chapter.multiply_adds(*sizes)[0] // 9

    mark, message = chapter.macs.verdict(answer)
    assert mark == "✗" and "divided by 9" in message and "depthwise" not in message


def test_a_function_has_no_method_eval():
    def answer(net, image, scales):
        net.eval()
        with torch.no_grad():
            return chapter.average(net, image, scales)

    mark, message = chapter.average_views.verdict(answer)
    assert mark == "✗" and "no method eval()" in message


def test_the_best_median_is_not_the_best_mean():
    def by_median(options, budget, bound):
        affordable = {name: each for name, each in options.items() if each[0] <= budget}
        if not affordable:
            return None
        best = max(affordable, key=lambda name: statistics.median(affordable[name][1]))
        for name in sorted(affordable, key=lambda name: affordable[name][0]):
            gaps = np.subtract(affordable[best][1], affordable[name][1])
            if name == best or gaps.mean() <= bound * gaps.std(ddof=1) / len(gaps) ** 0.5:
                return name

    mark, message = chapter.budget.verdict(by_median)
    assert mark == "✗" and "median" in message


def test_rounding_to_the_nearest_side_is_not_called_rounding_down():
    def nearest(height, width, in_channels, out_channels, kernel, stride):
        positions = round(height / stride) * round(width / stride)
        window = kernel**2 * in_channels
        return positions * window * out_channels, positions * in_channels * (
            kernel**2 + out_channels
        )

    mark, message = chapter.macs.verdict(nearest)
    assert mark == "✗" and "to the nearest" in message


def test_numbers_of_the_chapter_written_by_hand_are_rejected():
    for wrong in (
        lambda height, width, rate: chapter.mean_taps(6, 8, rate),
        lambda height, width, rate: chapter.mean_taps(height, width, min(rate, 6)),
    ):
        assert chapter.taps.verdict(wrong)[0] == "✗"
    for wrong in (
        lambda strides, output_stride: chapter.dilated(strides, 8),
        lambda strides, output_stride: chapter.dilated([min(s, 2) for s in strides], output_stride),
    ):
        assert chapter.trade.verdict(wrong)[0] == "✗"
    assert chapter.budget.verdict(lambda a, b, c: chapter.choose(a, b, 2.36))[0] == "✗"


# ── what the solutions compute is true ──────────────────────────────────────────────────────────


def test_a_wide_rate_leaves_the_central_tap():
    assert chapter.mean_taps(6, 8, 8) == 1 and chapter.mean_taps(6, 8, 7) > 1
    x, weight = torch.randn(1, 2, 6, 8), torch.randn(3, 2, 3, 3)
    wide = F.conv2d(x, weight, padding=8, dilation=8)
    assert torch.allclose(wide, F.conv2d(x, weight[:, :, 1:2, 1:2]), atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_multiply_adds_are_those_of_the_layers(stride):
    x, found = torch.zeros(1, 6, 33, 20), []
    for layer in (conv_bn_relu(6, 10, stride=stride), separable_conv(6, 10, stride=stride)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            layer.eval()(x)
        found.append(counter.get_total_flops() // 2)
    assert tuple(found) == chapter.multiply_adds(33, 20, 6, 10, 3, stride)


@pytest.mark.parametrize("output_stride", [1, 2, 4, 6])
def test_dilated_layers_compute_the_same_and_more(output_stride):
    strides = [2, 1, 3, 1, 2, 1]
    weights = [torch.randn(1, 1, 3, dtype=torch.float64) for _ in strides]
    row = torch.randn(1, 1, 96, dtype=torch.float64)

    def run(layers):
        x = row
        for weight, (stride, rate) in zip(weights, layers, strict=True):
            x = F.conv1d(x, weight, stride=stride, padding=rate, dilation=rate)
        return x[0, 0]

    layers = chapter.dilated(strides, output_stride)
    coarse, fine = run([(stride, 1) for stride in strides]), run(layers)
    step = 12 // math.prod(stride for stride, _ in layers)
    assert len(fine) == step * len(coarse)
    assert torch.allclose(fine[::step], coarse)


def test_a_separable_weight_is_a_depthwise_and_a_pointwise_one():
    depthwise, pointwise = torch.randn(4, 1, 3, 3).double(), torch.randn(5, 4, 1, 1).double()
    whole = pointwise * depthwise[:, 0]  # (5, 4, 3, 3)
    x = torch.randn(2, 4, 7, 8).double()
    two = F.conv2d(F.conv2d(x, depthwise, padding=1, groups=4), pointwise)
    assert torch.allclose(F.conv2d(x, whole, padding=1), two)
    assert chapter.is_separable(whole)
    assert not chapter.is_separable(torch.randn(2, 4, 3, 3))
