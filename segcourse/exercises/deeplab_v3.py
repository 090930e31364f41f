"""Exercises of the chapter on DeepLab v3 and v3+."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake, counted

# ── 12.1 ─────────────────────────────────────────────────────────────────────────────────────────


def mean_taps(height: int, width: int, rate: int) -> float:
    """Predict how many taps of an atrous 3 x 3 kernel lie on the map, on average.

    The map has ``height`` x ``width`` positions, and the atrous rate is ``rate`` (1 or more). The
    kernel is centred on every position in turn, so the map keeps its size. A tap that falls
    outside of the map reads a zero of the padding. Return the mean, over all positions, of the
    number of taps that lie on the map: a number between 1 and 9.
    """
    rows = height + 2 * max(height - rate, 0)
    columns = width + 2 * max(width - rate, 0)
    return rows * columns / (height * width)


def taps_below_zero(height: int, width: int, rate: int) -> float:
    return (3 * height - 2 * rate) * (3 * width - 2 * rate) / (height * width)


def taps_as_a_share(height: int, width: int, rate: int) -> float:
    return mean_taps(height, width, rate) / 9


def taps_of_a_square(height: int, width: int, rate: int) -> float:
    return mean_taps(height, height, rate)


def taps_of_a_square_of_columns(height: int, width: int, rate: int) -> float:
    return mean_taps(width, width, rate)


def taps_all_or_one(height: int, width: int, rate: int) -> float:
    inner = max(height - 2 * rate, 0) * max(width - 2 * rate, 0)
    return (9 * inner + height * width - inner) / (height * width)


def taps_all_or_nothing(height: int, width: int, rate: int) -> float:
    return 9 * max(height - 2 * rate, 0) * max(width - 2 * rate, 0) / (height * width)


def taps_of_a_cross(height: int, width: int, rate: int) -> float:
    up, left = max(height - rate, 0) / height, max(width - rate, 0) / width
    return 1 + 2 * up + 2 * left


def taps_in_total(height: int, width: int, rate: int) -> float:
    return mean_taps(height, width, rate) * height * width


def taps_without_the_centre(height: int, width: int, rate: int) -> float:
    return mean_taps(height, width, rate) - 1


def taps_with_gaps(height: int, width: int, rate: int) -> float:
    return mean_taps(height, width, rate + 1)


def taps_one_too_near(height: int, width: int, rate: int) -> float:
    return mean_taps(height, width, rate - 1)


def taps_of_half_a_kernel(height: int, width: int, rate: int) -> float:
    rows = height + max(height - rate, 0)
    columns = width + max(width - rate, 0)
    return rows * columns / (height * width)


def taps_in_whole_numbers(height: int, width: int, rate: int) -> float:
    return mean_taps(height, width, rate) // 1


def taps_rounded(height: int, width: int, rate: int) -> float:
    return round(mean_taps(height, width, rate))


def taps_in_the_corner(height: int, width: int, rate: int) -> float:
    return (1 + (rate < height)) * (1 + (rate < width))


def taps_in_the_middle(height: int, width: int, rate: int) -> float:
    rows = 1 + (rate <= height // 2) + (rate <= (height - 1) // 2)
    columns = 1 + (rate <= width // 2) + (rate <= (width - 1) // 2)
    return rows * columns


def taps_of_both_sides_at_once(height: int, width: int, rate: int) -> float:
    if rate >= min(height, width):
        return 1.0
    return mean_taps(height, width, rate)


taps = Exercise(
    "12.1 Predict: how many taps lie on the map?",
    solution=mean_taps,
    cases=[
        (6, 8, 1),
        (6, 8, 3),
        (6, 8, 6),
        (6, 8, 7),
        (6, 8, 18),
        (5, 5, 2),
        (12, 7, 5),
        (9, 2, 4),
        (1, 1, 1),
        (33, 33, 18),
        (65, 33, 36),
    ],
    mistakes=(
        Mistake(
            taps_below_zero,
            "For a rate above the side of the map, a negative number of taps is counted. No fewer "
            "than 0 rows can be shared: use max(height - rate, 0).",
        ),
        Mistake(
            taps_as_a_share,
            "This is the share of the nine taps. Return their number, between 1 and 9.",
        ),
        Mistake(
            taps_of_a_square,
            "The width is not used: the map is treated as a square with the side `height`.",
        ),
        Mistake(
            taps_of_a_square_of_columns,
            "The height is not used: the map is treated as a square with the side `width`.",
        ),
        Mistake(
            taps_all_or_one,
            "A position counts with 9 taps or with 1 here. At the border, some positions have 2, "
            "3, 4 or 6 taps on the map.",
        ),
        Mistake(
            taps_all_or_nothing,
            "Only positions with all nine taps on the map are counted. The others have some taps "
            "on the map too, at least the central one.",
        ),
        Mistake(
            taps_of_a_cross,
            "The four taps at the corners of the kernel are missing. A 3 x 3 kernel has nine taps, "
            "not five.",
        ),
        Mistake(
            taps_in_total,
            "This is the sum over all positions. Divide it by the number of positions.",
        ),
        Mistake(
            taps_without_the_centre,
            "The central tap is not counted. It lies on the map at every position.",
        ),
        Mistake(
            taps_with_gaps,
            "The taps are placed one position too far out. With rate r, neighbouring taps are r "
            "positions apart; r - 1 positions lie between them.",
        ),
        Mistake(
            taps_one_too_near,
            "The taps are placed one position too near. With rate 1, the kernel is an ordinary "
            "one, and its outer taps are one position from the centre.",
        ),
        Mistake(
            taps_of_half_a_kernel,
            "Only the taps on one side of the centre are counted. There are taps above and below "
            "it, and on its left and its right.",
        ),
        Mistake(taps_in_whole_numbers, "The mean is rounded down. Return it with its decimals."),
        Mistake(taps_rounded, "The mean is rounded. Return it with its decimals."),
        Mistake(
            taps_in_the_corner,
            "This is the number of taps for the position in the corner. The mean over all "
            "positions is asked for.",
        ),
        Mistake(
            taps_in_the_middle,
            "This is the number of taps for a position in the middle. The mean over all positions "
            "is asked for.",
        ),
        Mistake(
            taps_of_both_sides_at_once,
            "Only one tap is counted as soon as the rate reaches the shorter side. Along the "
            "longer side, other taps may still lie on the map.",
        ),
    ),
    hints=(
        "Look at the rows alone. In how many rows does the upper tap lie on the map? In how many "
        "the central one, and the lower one?",
        "Of `height` rows, height - rate have an upper tap on the map, and equally many a lower "
        "one; none, if the rate is larger than the height. Columns behave in the same way.",
        "Rows and columns are independent: (height + 2 * max(height - rate, 0)) times the same for "
        "the width, divided by height * width.",
    ),
    describe=lambda height, width, rate: f"a map of {height} x {width} positions and rate {rate}",
)


# ── 12.2 ─────────────────────────────────────────────────────────────────────────────────────────


def multiply_adds(
    height: int, width: int, in_channels: int, out_channels: int, kernel: int, stride: int
) -> tuple[int, int]:
    """Count the multiply-adds of an ordinary and of a separable convolution.

    The input has ``in_channels`` channels and ``height`` x ``width`` positions. Both convolutions
    have a ``kernel`` x ``kernel`` window and ``out_channels`` channels at the end. They are padded
    so that the output has height / stride x width / stride positions, rounded up. In the separable
    convolution, the depthwise layer has the stride. Do not count biases, normalisation or ReLU, and
    count the taps on the padding like all others. Return the two numbers (ordinary, separable).
    """
    positions = -(-height // stride) * -(-width // stride)
    depthwise = kernel * kernel * in_channels
    pointwise = in_channels * out_channels
    return positions * depthwise * out_channels, positions * (depthwise + pointwise)


Macs = tuple[int, int]


def macs_rounded_down(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    positions = (h // s) * (w // s)
    return positions * k * k * c * d, positions * (k * k * c + c * d)


def macs_rounded_to_nearest(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    positions = round(h / s) * round(w / s)
    return positions * k * k * c * d, positions * (k * k * c + c * d)


def macs_without_stride(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    return multiply_adds(h, w, c, d, k, 1)


def macs_pointwise_first(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    ordinary, _ = multiply_adds(h, w, c, d, k, s)
    positions = -(-h // s) * -(-w // s)
    return ordinary, positions * k * k * d + h * w * c * d


def macs_depthwise_before_stride(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    ordinary, _ = multiply_adds(h, w, c, d, k, s)
    positions = -(-h // s) * -(-w // s)
    return ordinary, h * w * k * k * c + positions * c * d


def macs_stride_in_neither(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    ordinary, _ = multiply_adds(h, w, c, d, k, s)
    return ordinary, h * w * (k * k * c + c * d)


def macs_with_ordinary_depthwise(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    ordinary, _ = multiply_adds(h, w, c, d, k, s)
    positions = -(-h // s) * -(-w // s)
    return ordinary, ordinary + positions * c * d


def macs_depthwise_of_the_outputs(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    ordinary, _ = multiply_adds(h, w, c, d, k, s)
    return ordinary, -(-h // s) * -(-w // s) * (k * k * d + c * d)


def macs_of_one_axis(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    positions = -(-h // s) * -(-w // s)
    return positions * k * c * d, positions * (k * c + c * d)


def macs_as_flops(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    return tuple(2 * each for each in multiply_adds(h, w, c, d, k, s))


def macs_exchanged(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    return multiply_adds(h, w, c, d, k, s)[::-1]


def macs_depthwise_alone(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    ordinary, _ = multiply_adds(h, w, c, d, k, s)
    return ordinary, -(-h // s) * -(-w // s) * k * k * c


def macs_pointwise_alone(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    ordinary, _ = multiply_adds(h, w, c, d, k, s)
    return ordinary, -(-h // s) * -(-w // s) * c * d


def macs_are_parameters(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    return k * k * c * d, k * k * c + c * d


def macs_in_spatial_pieces(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    ordinary, _ = multiply_adds(h, w, c, d, k, s)
    return ordinary, -(-h // s) * -(-w // s) * 2 * k * c * d


def macs_of_three(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    return multiply_adds(h, w, c, d, 3, s)


def macs_multiplied(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    ordinary, _ = multiply_adds(h, w, c, d, k, s)
    return ordinary, -(-h // s) * -(-w // s) * k * k * c * c * d


def macs_as_floats(h: int, w: int, c: int, d: int, k: int, s: int) -> tuple[float, float]:
    positions = (h / s) * (w / s)
    return positions * k * k * c * d, positions * (k * k * c + c * d)


def macs_stride_once(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    positions = -(-h * w // s)
    return positions * k * k * c * d, positions * (k * k * c + c * d)


def macs_unpadded(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    positions = max((h - k) // s + 1, 0) * max((w - k) // s + 1, 0)
    return positions * k * k * c * d, positions * (k * k * c + c * d)


def macs_with_a_bias(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    positions = -(-h // s) * -(-w // s)
    return positions * (k * k * c * d + d), positions * (k * k * c + c + c * d + d)


_POINTWISE = "The pointwise layer comes after the depthwise one, so it reads the strided map too."

macs = Exercise(
    "12.2 What a separable convolution costs",
    solution=multiply_adds,
    cases=[
        (24, 32, 16, 16, 3, 1),
        (33, 33, 256, 256, 3, 1),
        (33, 17, 8, 20, 3, 2),
        (7, 10, 5, 3, 5, 3),
        (4, 6, 3, 7, 1, 1),
        (12, 8, 6, 1, 3, 2),
        (5, 5, 1, 4, 7, 4),
        (96, 128, 3, 32, 3, 2),
        (11, 7, 4, 5, 3, 4),
    ],
    mistakes=(
        Mistake(
            macs_rounded_down,
            "The sides of the output are rounded down. A side of 33 with stride 2 gives 17 "
            "positions: round up, for example with -(-33 // 2).",
        ),
        Mistake(
            macs_rounded_to_nearest,
            "The sides of the output are rounded to the nearest number. A side of 10 with stride 3 "
            "gives 4 positions: round up.",
        ),
        Mistake(
            macs_as_floats,
            "The sides of the output are not rounded. Each of them is a whole number: round it "
            "up before you multiply.",
        ),
        Mistake(
            macs_without_stride,
            "The stride is not used. Multiplications are done once per *output* position.",
        ),
        Mistake(
            macs_stride_once,
            "The stride divides the number of positions once. It divides the height and the width.",
        ),
        Mistake(
            macs_pointwise_first,
            "The pointwise layer is counted first, on the map before the stride and with the "
            "depthwise layer on `out_channels`. The depthwise layer comes first.",
        ),
        Mistake(
            macs_depthwise_before_stride,
            "The depthwise layer is counted at every input position. It has the stride, so it "
            "computes one value per output position and channel.",
        ),
        Mistake(
            macs_stride_in_neither,
            "The separable convolution is counted without the stride. " + _POINTWISE,
        ),
        Mistake(
            macs_with_ordinary_depthwise,
            "The depthwise layer is counted like an ordinary convolution. Each of its outputs "
            "reads one channel, and it has as many outputs as inputs.",
        ),
        Mistake(
            macs_depthwise_of_the_outputs,
            "The depthwise layer works on the input channels, before the pointwise layer changes "
            "their number.",
        ),
        Mistake(
            macs_of_one_axis,
            "The window has kernel * kernel taps, not `kernel` taps.",
        ),
        Mistake(
            macs_of_three,
            "The window is 3 x 3 for every input here. Use the argument `kernel`.",
        ),
        Mistake(
            macs_as_flops,
            "A multiplication and its addition count as one multiply-add here, not as two "
            "operations.",
        ),
        Mistake(
            macs_exchanged,
            "The numbers are right, but their order is (ordinary, separable).",
        ),
        Mistake(
            macs_depthwise_alone,
            "The pointwise layer is missing: a 1 x 1 convolution from `in_channels` to "
            "`out_channels`.",
        ),
        Mistake(
            macs_pointwise_alone,
            "The depthwise layer is missing: one kernel x kernel window for each input channel.",
        ),
        Mistake(
            macs_are_parameters,
            "These are the numbers of weights. Each weight is used once at every output position.",
        ),
        Mistake(
            macs_in_spatial_pieces,
            "This splits the window into a column and a row. A depthwise separable convolution "
            "splits the work into space and channels instead.",
        ),
        Mistake(
            macs_multiplied,
            "The work of the two layers is multiplied. The layers follow each other, so their "
            "work is added.",
        ),
        Mistake(
            macs_unpadded,
            "The convolution is counted without padding. With the padding of the question, the "
            "kernel does not make the output smaller; only the stride does.",
        ),
        Mistake(macs_with_a_bias, "Biases are counted here, and the question leaves them out."),
    ),
    hints=(
        "How many values does the last layer compute, and how many products does each need?",
        "The output has ceil(height / stride) * ceil(width / stride) positions. An ordinary "
        "convolution needs kernel * kernel * in_channels products for each output value.",
        "Separable: the depthwise layer needs kernel * kernel products for each of `in_channels` "
        "values, the pointwise layer in_channels products for each of `out_channels` values.",
    ),
    describe=lambda h, w, c, d, k, s: (
        f"{h} x {w} positions, {counted(c, 'channel')} in and {d} out, a {k} x {k} kernel and "
        f"stride {s}"
    ),
)


# ── 12.3 ─────────────────────────────────────────────────────────────────────────────────────────

Layers = list[tuple[int, int]]


def dilated(strides: Sequence[int], output_stride: int) -> Layers:
    """Trade strides for atrous rates, so that trained weights keep their inputs.

    ``strides`` lists the strides of a network's convolutions, from the first to the last. Go
    through them in this order. A convolution keeps its stride if its stride times all strides
    kept before is at most ``output_stride``; otherwise its stride becomes 1. Every
    convolution needs the atrous rate with which its taps read the same places of the image as in
    the original network. Return a list of pairs (stride, rate), one for each convolution.
    """
    layers, reached, rate = [], 1, 1
    for stride in strides:
        if reached * stride <= output_stride:
            layers.append((stride, rate))
            reached *= stride
        else:
            layers.append((1, rate))
            rate *= stride
    return layers


def dilated_too_early(strides: Sequence[int], output_stride: int) -> Layers:
    layers, reached, rate = [], 1, 1
    for stride in strides:
        if reached * stride <= output_stride:
            reached *= stride
        else:
            rate *= stride
            stride = 1
        layers.append((stride, rate))
    return layers


def dilated_without_rates(strides: Sequence[int], output_stride: int) -> Layers:
    return [(stride, 1) for stride, _ in dilated(strides, output_stride)]


def dilated_once(strides: Sequence[int], output_stride: int) -> Layers:
    layers, reached, rate = [], 1, 1
    for stride in strides:
        kept = reached * stride <= output_stride
        layers.append((stride if kept else 1, rate))
        reached, rate = (reached * stride, rate) if kept else (reached, stride)
    return layers


def dilated_by_sums(strides: Sequence[int], output_stride: int) -> Layers:
    layers, reached, rate = [], 1, 1
    for stride in strides:
        if reached * stride <= output_stride:
            layers.append((stride, rate))
            reached *= stride
        else:
            layers.append((1, rate))
            rate += stride - 1
    return layers


def dilated_for_one_layer(strides: Sequence[int], output_stride: int) -> Layers:
    layers, reached = [], 1
    for stride in strides:
        if reached * stride <= output_stride:
            layers.append((stride, 1))
            reached *= stride
        else:
            layers.append((1, stride))
    return layers


def dilated_by_two(strides: Sequence[int], output_stride: int) -> Layers:
    layers, reached, rate = [], 1, 1
    for stride in strides:
        if reached * stride <= output_stride:
            layers.append((stride, rate))
            reached *= stride
        else:
            layers.append((1, rate))
            rate *= 2
    return layers


def dilated_below_the_limit(strides: Sequence[int], output_stride: int) -> Layers:
    layers, reached, rate = [], 1, 1
    for stride in strides:
        if reached * stride < output_stride:
            layers.append((stride, rate))
            reached *= stride
        else:
            layers.append((1, rate))
            rate *= stride
    return layers


def dilated_from_the_end(strides: Sequence[int], output_stride: int) -> Layers:
    return dilated(strides[::-1], output_stride)[::-1]


def dilated_pairs_exchanged(strides: Sequence[int], output_stride: int) -> Layers:
    return [(rate, stride) for stride, rate in dilated(strides, output_stride)]


def dilated_with_all_strides(strides: Sequence[int], output_stride: int) -> Layers:
    layers, reached, rate = [], 1, 1
    for stride in strides:
        reached *= stride
        if reached <= output_stride:
            layers.append((stride, rate))
        else:
            layers.append((1, rate))
            rate *= stride
    return layers


def dilated_by_every_stride(strides: Sequence[int], output_stride: int) -> Layers:
    layers, rate = [], 1
    for stride, _ in dilated(strides, output_stride):
        layers.append((stride, rate))
        rate *= strides[len(layers) - 1]
    return layers


def dilated_with_strides_left(strides: Sequence[int], output_stride: int) -> Layers:
    pairs = zip(strides, dilated(strides, output_stride), strict=True)
    return [(stride, rate) for stride, (_, rate) in pairs]


def dilated_rates_as_quotients(strides: Sequence[int], output_stride: int) -> Layers:
    layers, reached, product = [], 1, 1
    for stride in strides:
        product *= stride
        kept = reached * stride <= output_stride
        reached *= stride if kept else 1
        layers.append((stride if kept else 1, max(product // output_stride, 1)))
    return layers


trade = Exercise(
    "12.3 Trade strides for rates",
    solution=dilated,
    cases=[
        ([2, 1, 2, 1, 2, 1, 2, 1, 2, 1], 16),
        ([2, 1, 2, 1, 2, 1, 2, 1, 2, 1], 8),
        ([2, 1, 2, 1, 2, 1, 2, 1, 2, 1], 32),
        ([2, 2, 2, 2, 1, 1], 4),
        ([4, 1, 3, 1, 2, 1], 4),
        ([2, 3, 1, 2, 1], 4),
        ([1, 1, 1], 1),
        ([3, 1, 3, 1], 1),
        ([2, 1, 4, 1, 1], 2),
        ([3, 1, 3, 1, 2, 1], 8),
        ([], 8),
    ],
    mistakes=(
        Mistake(
            dilated_too_early,
            "A convolution that loses its stride gets the new rate itself. Its own taps read the "
            "map before it, whose positions are as far apart as they were; only the convolutions "
            "*after* it read a finer map.",
        ),
        Mistake(
            dilated_without_rates,
            "All rates are 1. On a finer map, neighbouring taps would read places of the image "
            "that are closer together than in training.",
        ),
        Mistake(
            dilated_once,
            "A second removed stride replaces the rate of the first. Rates multiply, as the "
            "strides did.",
        ),
        Mistake(
            dilated_by_sums,
            "The removed strides are added up. Two removed strides of 2 make the map four times "
            "as fine, and three make it eight times as fine.",
        ),
        Mistake(
            dilated_for_one_layer,
            "Only the convolution that lost its stride is dilated. All later ones read the finer "
            "map, and that convolution itself does not.",
        ),
        Mistake(
            dilated_by_two,
            "Each removed stride multiplies the rate by 2 here. Multiply by the stride that was "
            "removed.",
        ),
        Mistake(
            dilated_below_the_limit,
            "The last stride is removed too early: the product of the strides may be equal to "
            "`output_stride`.",
        ),
        Mistake(
            dilated_from_the_end,
            "The network is read from its end. The first strides are kept, and the last ones are "
            "removed.",
        ),
        Mistake(
            dilated_pairs_exchanged,
            "The numbers are right, but each pair is (stride, rate).",
        ),
        Mistake(
            dilated_with_all_strides,
            "After the first removed stride, all later ones are removed, too. A later stride stays "
            "if its product with the strides that are kept is at most `output_stride`.",
        ),
        Mistake(
            dilated_by_every_stride,
            "Kept strides also raise the rate here. Only a removed stride makes the map finer "
            "than in the original network.",
        ),
        Mistake(
            dilated_with_strides_left,
            "The rates are right, but no stride has become 1.",
        ),
        Mistake(
            dilated_rates_as_quotients,
            "The quotient of all strides and `output_stride` includes the stride of the "
            "convolution itself. Its rate follows from the strides removed *before* it.",
        ),
    ),
    hints=(
        "Keep two numbers while you go through the list: the product of the strides kept so far, "
        "and the product of the strides removed so far.",
        "The rate of a convolution is the product of all strides that were removed *before* it.",
        "If reached * stride <= output_stride: append (stride, rate) and multiply reached. "
        "Otherwise: append (1, rate), and multiply rate afterwards.",
    ),
    describe=lambda strides, output_stride: (
        f"the strides {list(strides)} and output stride {output_stride}"
    ),
)


# ── 12.4 ─────────────────────────────────────────────────────────────────────────────────────────

Net = Callable[[Tensor], Tensor]


def average(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    """Find the faults of a prediction at several scales, and write it correctly.

    ``net`` turns images (N, 3, h, w) into logits (N, K, h, w). This code is meant to return the
    mean of the class probabilities for ``image`` (N, 3, H, W), resized by every number in
    ``scales``, each time as it is and mirrored from left to right:

        def average(net, image, scales):
            size, total = image.shape[-2:], 0
            for scale in scales:
                sides = [round(scale * side) for side in size]
                resized = F.interpolate(image, sides, mode="bilinear")
                for view in (resized, resized.flip(-1)):
                    logits = F.interpolate(net(view), size, mode="bilinear")
                    total = total + logits.softmax(dim=1)
            return total / len(scales)

    It runs, but its result is wrong. Keep what is right: the sides, the bilinear interpolation, and
    the softmax after it. Return the mean probabilities (N, K, H, W); they sum to 1 at every pixel.
    """
    size, total = image.shape[-2:], 0
    for scale in scales:
        sides = [round(scale * side) for side in size]
        resized = F.interpolate(image, sides, mode="bilinear")
        for mirrored in (False, True):
            view = resized.flip(-1) if mirrored else resized
            logits = F.interpolate(net(view), size, mode="bilinear")
            probability = logits.softmax(dim=1)
            total = total + (probability.flip(-1) if mirrored else probability)
    return total / (2 * len(scales))


def views(net: Net, image: Tensor, scales: Sequence[float]) -> tuple[list[Tensor], list[Tensor]]:
    """Logits of the images and of their mirror images, the latter not mirrored back."""
    size, plain, mirrored = image.shape[-2:], [], []
    for scale in scales:
        sides = [round(scale * side) for side in size]
        resized = F.interpolate(image, sides, mode="bilinear")
        plain.append(F.interpolate(net(resized), size, mode="bilinear"))
        mirrored.append(F.interpolate(net(resized.flip(-1)), size, mode="bilinear"))
    return plain, mirrored


def probabilities(logits: Sequence[Tensor]) -> list[Tensor]:
    return [each.softmax(dim=1) for each in logits]


def averaged_as_given(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    plain, mirrored = views(net, image, scales)
    return sum(probabilities([*plain, *mirrored])) / len(scales)


def averaged_without_mirroring_back(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    plain, mirrored = views(net, image, scales)
    return sum(probabilities([*plain, *mirrored])) / (2 * len(scales))


def averaged_by_half_the_number(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    return 2 * average(net, image, scales)


def averaged_logits(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    plain, mirrored = views(net, image, scales)
    total = sum(plain) + sum(mirrored).flip(-1)
    return (total / (2 * len(scales))).softmax(dim=1)


def averaged_raw_logits(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    plain, mirrored = views(net, image, scales)
    return (sum(plain) + sum(mirrored).flip(-1)) / (2 * len(scales))


def averaged_upside_down(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    plain, mirrored = views(net, image, scales)
    total = sum(probabilities(plain)) + sum(probabilities(mirrored)).flip(-2)
    return total / (2 * len(scales))


def averaged_flipped_over(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    plain, _ = views(net, image, scales)
    size, total = image.shape[-2:], sum(probabilities(plain))
    for scale in scales:
        sides = [round(scale * side) for side in size]
        resized = F.interpolate(image, sides, mode="bilinear")
        logits = F.interpolate(net(resized.flip(-2)), size, mode="bilinear")
        total = total + logits.softmax(dim=1).flip(-2)
    return total / (2 * len(scales))


def averaged_all_mirrored(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    plain, mirrored = views(net, image, scales)
    return sum(probabilities([*plain, *mirrored])).flip(-1) / (2 * len(scales))


def averaged_scales_only(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    plain, _ = views(net, image, scales)
    return sum(probabilities(plain)) / len(scales)


def averaged_mirror_only(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    _, mirrored = views(net, image, scales)
    return sum(probabilities(mirrored)).flip(-1) / len(scales)


def averaged_classes(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    return average(net, image, scales).argmax(dim=1)


def averaged_over_the_batch(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    plain, mirrored = views(net, image, scales)
    total = sum(each.softmax(dim=0) for each in plain)
    total = total + sum(each.softmax(dim=0) for each in mirrored).flip(-1)
    return total / (2 * len(scales))


def averaged_last_scale(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    return average(net, image, scales[-1:])


def averaged_maximum(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    plain, mirrored = views(net, image, scales)
    found = [*probabilities(plain), *(each.flip(-1) for each in probabilities(mirrored))]
    return torch.stack(found).amax(dim=0)


def averaged_pixels_first(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    size, total = image.shape[-2:], 0
    for scale in scales:
        sides = [round(scale * side) for side in size]
        resized = F.interpolate(image, sides, mode="bilinear")
        for mirrored in (False, True):
            probability = net(resized.flip(-1) if mirrored else resized).softmax(dim=1)
            probability = F.interpolate(probability, size, mode="bilinear")
            total = total + (probability.flip(-1) if mirrored else probability)
    return total / (2 * len(scales))


def averaged_truncated_sides(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    size, total = image.shape[-2:], 0
    for scale in scales:
        resized = F.interpolate(image, [int(scale * side) for side in size], mode="bilinear")
        for mirrored in (False, True):
            logits = net(resized.flip(-1) if mirrored else resized)
            probability = F.interpolate(logits, size, mode="bilinear").softmax(dim=1)
            total = total + (probability.flip(-1) if mirrored else probability)
    return total / (2 * len(scales))


def averaged_nearest(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    size, total = image.shape[-2:], 0
    for scale in scales:
        sides = [round(scale * side) for side in size]
        resized = F.interpolate(image, sides, mode="bilinear")
        for mirrored in (False, True):
            logits = net(resized.flip(-1) if mirrored else resized)
            probability = F.interpolate(logits, size, mode="nearest").softmax(dim=1)
            total = total + (probability.flip(-1) if mirrored else probability)
    return total / (2 * len(scales))


def leaning(image: Tensor) -> Tensor:
    """Logits of three classes, which depend on the colours and on the place in the image."""
    height, width = image.shape[-2:]
    rows = torch.linspace(0, 2, height)[:, None].expand(height, width)
    columns = torch.linspace(-1, 2, width).expand(height, width)
    right = image[:, 1].roll(1, dims=-1)  # what lies on the left
    return torch.stack([3 * image[:, 0], 2 * right + columns, image[:, 2] * rows], dim=1)


def growing(image: Tensor) -> Tensor:
    """Logits of two classes, which depend on the size of the image."""
    share = 0.2 * image.shape[-1] * image.mean(dim=1)
    return torch.stack([share, 1 - image[:, 0].cumsum(dim=-1) / 4], dim=1)


def pictures() -> list[tuple]:
    draw = torch.Generator().manual_seed(0)
    first, second = torch.rand(1, 3, 6, 10, generator=draw), torch.rand(2, 3, 7, 5, generator=draw)
    wide = torch.rand(3, 3, 4, 9, generator=draw)
    return [
        (leaning, first, [1.0]),
        (leaning, first, [0.5, 1.0, 2.0]),
        (growing, second, [1.5, 0.75]),
        (leaning, second, [1.0, 1.3]),
        (growing, wide, [2.0]),
        (leaning, wide, [0.4, 1.7, 1.0, 0.9]),
    ]


average_views = Exercise(
    "12.4 Find the faults: several scales and a mirror",
    solution=average,
    cases=pictures,
    mistakes=(
        Mistake(
            averaged_as_given,
            "These are the results of the given code. Compare its output for a mirrored view with "
            "the unmirrored image, and add up the probabilities of one pixel.",
        ),
        Mistake(
            averaged_without_mirroring_back,
            "The output for a mirrored image is itself mirrored. Mirror it back before it is "
            "added.",
        ),
        Mistake(
            averaged_by_half_the_number,
            "The probabilities of a pixel sum to 2. Each scale contributes two probability maps.",
        ),
        Mistake(
            averaged_logits,
            "The logits are averaged before the softmax. The mean of the *probabilities* is asked "
            "for.",
        ),
        Mistake(
            averaged_raw_logits,
            "These are averaged logits. Turn each of them into probabilities with softmax first.",
        ),
        Mistake(
            averaged_upside_down,
            "The output for the mirrored image is turned upside down. It was mirrored from left to "
            "right: flip(-1), the last axis.",
        ),
        Mistake(
            averaged_flipped_over,
            "The image is mirrored from top to bottom. From left to right is the last axis.",
        ),
        Mistake(
            averaged_all_mirrored,
            "All outputs are mirrored at the end, also those of the images that were not mirrored.",
        ),
        Mistake(
            averaged_scales_only,
            "The mirror images are missing. Each scale is used as it is and mirrored.",
        ),
        Mistake(
            averaged_mirror_only,
            "Only the mirror images are used. Each scale is used as it is, too.",
        ),
        Mistake(
            averaged_classes,
            "These are classes. Return the probabilities, (N, K, H, W).",
        ),
        Mistake(
            averaged_over_the_batch,
            "The softmax runs over the images of the batch. The classes are axis 1.",
        ),
        Mistake(
            averaged_last_scale,
            "Only the last scale counts. Add up the probabilities of all scales.",
        ),
        Mistake(
            averaged_maximum,
            "This is the largest probability of all views. Return their mean.",
        ),
        Mistake(
            averaged_pixels_first,
            "The softmax comes before the interpolation. Resize the logits first, as the given "
            "code does.",
        ),
        Mistake(
            averaged_truncated_sides,
            "The sides are rounded down. The given code rounds to the nearest whole number.",
        ),
        Mistake(
            averaged_nearest,
            "The logits are resized with the nearest value. The given code resizes bilinearly, and "
            "that part is right.",
        ),
    ),
    hints=(
        "There are two faults. For the first one, think of an image with a tree on its left side: "
        "on which side is the tree in the output for the mirrored view?",
        "For the second one, count how many probability maps are added up.",
        "Apply flip(-1) to the probabilities of the mirrored view, and divide by 2 * len(scales).",
    ),
    describe=lambda net, image, scales: (
        f"{counted(len(image), 'image')} of {image.shape[-2]} x {image.shape[-1]} pixels and the "
        f"scales {list(scales)}"
    ),
)


# ── 12.5 ─────────────────────────────────────────────────────────────────────────────────────────


def is_separable(weight: Tensor) -> bool:
    """Decide whether a separable convolution can compute what an ordinary one computes.

    ``weight`` (O, C, h, w) is the weight of an ordinary convolution, as in nn.Conv2d. The separable
    convolution has one depthwise h x w kernel for each of the C channels, and a pointwise 1 x 1
    convolution from C to O channels, with nothing between them. Return True if some choice of
    its weights gives the same output for every input, and False if there is none.
    """
    kernels = weight.flatten(2)  # (O, C, h * w)
    return all(torch.linalg.matrix_rank(kernels[:, c]) <= 1 for c in range(kernels.shape[1]))


def separable_in_space(weight: Tensor) -> bool:
    return bool((torch.linalg.matrix_rank(weight) <= 1).all())


def separable_by_outputs(weight: Tensor) -> bool:
    return is_separable(weight.transpose(0, 1))


def separable_in_one_piece(weight: Tensor) -> bool:
    return bool(torch.linalg.matrix_rank(weight.flatten(1)) <= 1)


def separable_if_equal(weight: Tensor) -> bool:
    return bool((weight == weight[:1]).all())


def separable_in_the_first_channel(weight: Tensor) -> bool:
    return is_separable(weight[:, :1])


def separable_if_not_empty(weight: Tensor) -> bool:
    kernels = weight.flatten(2)
    return all(torch.linalg.matrix_rank(kernels[:, c]) == 1 for c in range(kernels.shape[1]))


def separable_in_some_channel(weight: Tensor) -> bool:
    return any(is_separable(weight[:, c : c + 1]) for c in range(weight.shape[1]))


def separable_always(weight: Tensor) -> bool:
    return True


def separable_never(weight: Tensor) -> bool:
    return False


def separable_by_full_rank(weight: Tensor) -> bool:
    return not is_separable(weight)


def separable_by_positions(weight: Tensor) -> bool:
    mixed = weight.flatten(2).movedim(2, 0)
    return bool((torch.linalg.matrix_rank(mixed) <= 1).all())


def separable_by_pairs_of_neighbours(weight: Tensor) -> bool:
    kernels = weight.flatten(2).double()
    for channel in kernels.unbind(1):
        for one, other in pairwise(channel):
            if torch.linalg.matrix_rank(torch.stack([one, other])) > 1:
                return False
    return True


def separable_by_norm(weight: Tensor) -> bool:
    kernels = F.normalize(weight.flatten(2).double(), dim=2)
    return bool(torch.allclose(kernels, kernels[:1].expand_as(kernels)))


def separable_by_the_first_output(weight: Tensor) -> bool:
    kernels = weight.flatten(2).double()
    return all(
        torch.linalg.matrix_rank(torch.stack([first, other])) <= 1
        for first, *others in kernels.unbind(1)
        for other in others
    )


def separable_by_the_mean(weight: Tensor) -> bool:
    kernels = weight.flatten(2).double()
    mean = kernels.mean(dim=0)
    factors = (kernels * mean).sum(-1) / mean.square().sum(-1).clamp(min=1e-12)
    return bool(torch.allclose(factors[..., None] * mean, kernels))


def separable_if_small(weight: Tensor) -> bool:
    return weight.shape[0] == 1


def kernels_of(*outputs: Sequence[Sequence[float]]) -> Tensor:
    """Kernels of 2 x 2 or 3 x 3 values, listed for every output and every channel."""
    table = torch.tensor(outputs, dtype=torch.float64)
    side = round(table.shape[-1] ** 0.5)
    return table.unflatten(-1, (side, side))


def convolutions() -> list[tuple[Tensor]]:
    a, b, c = [1.0, 2, 3, 4], [0.0, 1, -1, 0], [2.0, 0, 0, 0]
    zero, double, minus = [0.0] * 4, [2.0, 4, 6, 8], [-0.5, -1, -1.5, -2]
    opposite = [-2.0, -4, -6, -8]
    blur = [1.0, 2, 1, 2, 4, 2, 1, 2, 1]
    edge = [1.0, 0, -1, 2, 0, -2, 1, 0, -1]
    return [
        (kernels_of([a, b], [double, b], [minus, b]),),
        (kernels_of([a, b], [double, b]),),
        (kernels_of([a, b], [b, a]),),
        (kernels_of([a, c], [a, b]),),
        (kernels_of([c, a], [b, a]),),
        (kernels_of([a, b, c]),),
        (kernels_of([a], [b]),),
        (kernels_of([a], [double]),),
        (kernels_of([zero], [a], [b]),),
        (kernels_of([double], [opposite]),),
        (kernels_of([a, zero], [double, zero]),),
        (kernels_of([zero, b], [a, zero], [minus, b]),),
        (kernels_of([a, b], [zero, zero], [b, b]),),
        (kernels_of([zero, zero], [zero, zero]),),
        (kernels_of([blur, edge], [blur, blur]),),
        (kernels_of([blur, blur], [edge, edge]),),
        (kernels_of([a, a], [b, b], [c, c]),),
        (kernels_of([a, b], [a, b]),),
        (torch.arange(6.0).view(2, 3, 1, 1),),
    ]


separable = Exercise(
    "12.5 Decide: can a separable convolution do this?",
    solution=is_separable,
    cases=convolutions,
    mistakes=(
        Mistake(
            separable_in_space,
            "This tests whether each kernel is the product of a column and a row. A depthwise "
            "kernel may have any values; what matters is how the kernels of one channel differ "
            "from output to output.",
        ),
        Mistake(
            separable_by_outputs,
            "The kernels of one *output* are compared. All outputs share the depthwise kernel of "
            "a channel, so compare the kernels of one channel.",
        ),
        Mistake(
            separable_in_one_piece,
            "The kernels of all channels are compared as one long list. Each channel has factors "
            "of its own in the pointwise layer, so test each channel alone.",
        ),
        Mistake(
            separable_if_equal,
            "The kernels of a channel need not be equal. The pointwise layer multiplies the "
            "depthwise kernel by a number, a different one for each output.",
        ),
        Mistake(
            separable_in_the_first_channel,
            "Only the first channel is tested. One channel that cannot be computed is enough for "
            "the answer False.",
        ),
        Mistake(
            separable_if_not_empty,
            "A channel whose kernels are all zero is possible too: its factors are zero.",
        ),
        Mistake(
            separable_in_some_channel,
            "One channel that can be computed is not enough: all of them must be.",
        ),
        Mistake(
            separable_always,
            "The answer is always True. But all outputs share one depthwise kernel per channel, "
            "and the kernels of an ordinary convolution can differ by more than a factor.",
        ),
        Mistake(
            separable_never,
            "The answer is always False. With a single output, for example, the depthwise kernels "
            "can be the kernels of the ordinary convolution.",
        ),
        Mistake(separable_by_full_rank, "The answers True and False are exchanged."),
        Mistake(
            separable_by_positions,
            "The matrices of outputs and channels are tested, one for each tap. The pointwise "
            "layer may be any matrix; test the kernels of each channel.",
        ),
        Mistake(
            separable_by_pairs_of_neighbours,
            "Only neighbouring outputs are compared. If the kernel between two others is zero, "
            "those two are never compared.",
        ),
        Mistake(
            separable_by_the_first_output,
            "Each kernel is compared with that of the first output only. If the first kernel is "
            "zero, the others are never compared with each other.",
        ),
        Mistake(
            separable_by_the_mean,
            "The kernels are compared with their mean. The mean of a kernel and its opposite is "
            "zero, although one kernel and two factors give both.",
        ),
        Mistake(
            separable_by_norm,
            "The kernels are compared after they are divided by their length. A factor may also "
            "be negative, or zero.",
        ),
        Mistake(
            separable_if_small,
            "One output is always possible, but several can be, too: their kernels for one channel "
            "must be multiples of one kernel.",
        ),
    ),
    hints=(
        "Write down which kernel output o sees in channel c: the depthwise kernel of c, times one "
        "number of the pointwise layer.",
        "So all O kernels of a channel must be multiples of one kernel. The multiples may be zero "
        "or negative.",
        "The O kernels of channel c, each as a row of h * w numbers, form a matrix. They are "
        "multiples of one row if its rank is at most 1: torch.linalg.matrix_rank.",
    ),
    describe=lambda weight: (
        f"{counted(weight.shape[0], 'output')}, {counted(weight.shape[1], 'channel')} and the "
        f"kernels {weight.flatten(2).tolist()}"
    ),
    shows_expected=False,
)


# ── 12.6 ─────────────────────────────────────────────────────────────────────────────────────────

Options = Mapping[str, tuple[float, Sequence[float]]]


def choose(options: Options, budget: float, bound: float) -> str | None:
    """Choose a setting from its cost and from paired scores.

    ``options`` is a dictionary: name -> (cost, scores). Place i of every list of scores belongs to
    the same seed; all lists have the same length, at least 2. Costs are different from each other,
    and so are the mean scores. Only options whose cost is at most ``budget`` count; if there are
    none, return None. Among them, the best is the one with the highest mean score. An option is
    clearly worse than the best if the mean of the paired differences (best minus option) is larger
    than ``bound`` times its standard error. The standard error is the standard deviation of the
    differences (with n - 1) divided by the root of n. Return the name of the cheapest option that
    is not clearly worse than the best.
    """
    affordable = {name: option for name, option in options.items() if option[0] <= budget}
    if not affordable:
        return None
    _, best = max(affordable.values(), key=lambda option: sum(option[1]))

    def clearly_worse(scores):
        differences = [a - b for a, b in zip(best, scores, strict=True)]
        error = statistics.stdev(differences) / len(differences) ** 0.5
        return statistics.mean(differences) > bound * error

    left = [name for name, (_, scores) in affordable.items() if not clearly_worse(scores)]
    return min(left, key=lambda name: affordable[name][0])


def decide(
    options: Options,
    budget: float,
    bound: float,
    *,
    error: Callable[[list[float]], float] | None = None,
    paired: bool = True,
    reference: Options | None = None,
) -> str | None:
    """The solution with another standard error, without pairs, or with another best option."""
    affordable = {name: option for name, option in options.items() if option[0] <= budget}
    if not affordable:
        return None
    _, best = max((reference or affordable).values(), key=lambda option: sum(option[1]))
    left = []
    for name, (_, scores) in affordable.items():
        differences = [a - b for a, b in zip(best, scores, strict=True)]
        spread = differences if paired else None
        if error is not None:
            limit = error(differences)
        elif spread is None:
            limit = (
                (statistics.variance(best) + statistics.variance(scores)) / len(scores)
            ) ** 0.5 * (scores is not best)
        else:
            limit = statistics.stdev(spread) / len(spread) ** 0.5
        if not statistics.mean(differences) > bound * limit:
            left.append(name)
    return min(left, key=lambda name: affordable[name][0], default=None)


def choose_the_best(options: Options, budget: float, bound: float) -> str | None:
    affordable = {name: each for name, each in options.items() if each[0] <= budget}
    return max(affordable, key=lambda name: sum(affordable[name][1]), default=None)


def choose_the_cheapest(options: Options, budget: float, bound: float) -> str | None:
    affordable = {name: each for name, each in options.items() if each[0] <= budget}
    return min(affordable, key=lambda name: affordable[name][0], default=None)


def choose_without_budget(options: Options, budget: float, bound: float) -> str | None:
    return choose(options, float("inf"), bound)


def choose_with_a_best_beyond_the_budget(
    options: Options, budget: float, bound: float
) -> str | None:
    return decide(options, budget, bound, reference=options)


def choose_below_the_budget(options: Options, budget: float, bound: float) -> str | None:
    return choose({name: each for name, each in options.items() if each[0] < budget}, budget, bound)


def choose_by_deviation(options: Options, budget: float, bound: float) -> str | None:
    return decide(options, budget, bound, error=statistics.stdev)


def choose_by_population(options: Options, budget: float, bound: float) -> str | None:
    return decide(
        options, budget, bound, error=lambda each: statistics.pstdev(each) / len(each) ** 0.5
    )


def choose_without_root(options: Options, budget: float, bound: float) -> str | None:
    return decide(options, budget, bound, error=lambda each: statistics.stdev(each) / len(each))


def choose_by_variance(options: Options, budget: float, bound: float) -> str | None:
    return decide(options, budget, bound, error=lambda each: statistics.variance(each) / len(each))


def choose_with_the_best_median(options: Options, budget: float, bound: float) -> str | None:
    affordable = {name: each for name, each in options.items() if each[0] <= budget}
    if not affordable:
        return None
    best = max(affordable.values(), key=lambda option: statistics.median(option[1]))
    return decide(affordable, budget, bound, reference={"best": best})


def choose_without_pairs(options: Options, budget: float, bound: float) -> str | None:
    return decide(options, budget, bound, paired=False)


def choose_by_two(options: Options, budget: float, bound: float) -> str | None:
    return choose(options, budget, 2.0)


def choose_the_dearest(options: Options, budget: float, bound: float) -> str | None:
    affordable = {name: each for name, each in options.items() if each[0] <= budget}
    left = {
        name: each for name, each in affordable.items()
        if choose({name: (0.0, each[1]), **{n: (1.0, e[1]) for n, e in affordable.items()
                                            if n != name}}, 1.0, bound) == name
    }  # fmt: skip
    return max(left, key=lambda name: left[name][0], default=None)


def choose_by_best_run(options: Options, budget: float, bound: float) -> str | None:
    affordable = {name: each for name, each in options.items() if each[0] <= budget}
    return max(affordable, key=lambda name: max(affordable[name][1]), default=None)


def choose_by_ratio(options: Options, budget: float, bound: float) -> str | None:
    affordable = {name: each for name, each in options.items() if each[0] <= budget}
    return max(
        affordable, key=lambda name: sum(affordable[name][1]) / affordable[name][0], default=None
    )


def choose_an_empty_name(options: Options, budget: float, bound: float) -> str | None:
    return choose(options, budget, bound) or ""


def choose_its_number(options: Options, budget: float, bound: float) -> int | None:
    name = choose(options, budget, bound)
    return None if name is None else list(options).index(name)


def choose_a_cost(options: Options, budget: float, bound: float) -> float | None:
    name = choose(options, budget, bound)
    return None if name is None else options[name][0]


def choose_any_difference(options: Options, budget: float, bound: float) -> str | None:
    affordable = {name: each for name, each in options.items() if each[0] <= budget}
    if not affordable:
        return None
    _, best = max(affordable.values(), key=lambda option: sum(option[1]))
    left = []
    for name, (_, scores) in affordable.items():
        differences = [a - b for a, b in zip(best, scores, strict=True)]
        error = statistics.stdev(differences) / len(differences) ** 0.5
        if not abs(statistics.mean(differences)) >= bound * error or scores == best:
            left.append(name)
    return left[0] if left else None


STRIDES = {
    "stride 32": (20.0, [0.46, 0.47, 0.45]),
    "stride 16": (25.0, [0.57, 0.575, 0.565]),
    "stride 8": (60.0, [0.67, 0.68, 0.67]),
}
CLOSE = {  # c is the best; a is clearly worse, b is not
    "c": (30.0, [0.70, 0.64, 0.72, 0.69]),
    "a": (10.0, [0.68, 0.63, 0.70, 0.66]),
    "b": (20.0, [0.69, 0.66, 0.68, 0.69]),
}
MOVING = {  # both move together from seed to seed: only pairs show that y is worse
    "x": (9.0, [0.50, 0.60, 0.70, 0.80]),
    "y": (4.0, [0.48, 0.585, 0.68, 0.785]),
}
SPREAD = {  # the bound decides
    "q": (7.5, [0.60, 0.66, 0.61, 0.63, 0.64]),
    "p": (2.5, [0.59, 0.61, 0.60, 0.63, 0.62]),
    "r": (5.0, [0.60, 0.62, 0.61, 0.65, 0.63]),
}
PERCENT = {  # the best is not the most expensive one
    "large": (40.0, [70.0, 61.0, 66.0, 75.0]),
    "medium": (31.0, [71.0, 65.0, 66.0, 71.0]),
    "small": (20.0, [69.0, 62.5, 63.0, 70.0]),
    "tiny": (19.5, [30.0, 25.0, 28.0, 24.0]),
    "none": (19.0, [1.0, 2.0, 3.0, 2.5]),
}
NOISY = {  # the first is not the cheapest of those that are left
    "d": (15.0, [68.0, 51.0, 63.0, 61.0]),
    "b": (20.0, [70.0, 50.0, 64.0, 60.0]),
    "a": (10.0, [45.0, 35.0, 42.0, 46.0]),
    "c": (12.0, [69.0, 51.5, 60.0, 61.0]),
}
FIRST = {  # the best mean does not begin with the best score
    "u": (3.0, [0.70, 0.50, 0.50]),
    "v": (4.0, [0.60, 0.62, 0.61]),
}
MIDDLE = {  # the best median is not the best mean
    "m": (30.0, [0.70, 0.70, 0.80]),
    "d": (20.0, [0.71, 0.72, 0.55]),
    "e": (10.0, [0.65, 0.645, 0.755]),
}


budget = Exercise(
    "12.6 Decide: which setting is worth its cost?",
    solution=choose,
    cases=[
        (STRIDES, 100.0, 4.30),
        (STRIDES, 25.0, 4.30),
        (STRIDES, 24.0, 4.30),
        (STRIDES, 10.0, 4.30),
        (CLOSE, 100.0, 3.18),
        (CLOSE, 20.0, 3.18),
        (CLOSE, 10.0, 3.18),
        (MOVING, 9.0, 3.18),
        (SPREAD, 8.0, 2.78),
        (SPREAD, 8.0, 1.5),
        (SPREAD, 8.0, 1.0),
        (SPREAD, 6.0, 2.78),
        (PERCENT, 50.0, 3.18),
        (PERCENT, 50.0, 5.0),
        (PERCENT, 35.0, 2.4),
        (PERCENT, 19.9, 3.18),
        (NOISY, 30.0, 3.18),
        (NOISY, 11.0, 3.18),
        (SPREAD, 8.0, 2.05),
        (SPREAD, 8.0, 2.2),
        (FIRST, 5.0, 0.5),
        (MIDDLE, 50.0, 4.30),
    ],
    mistakes=(
        Mistake(
            choose_the_best,
            "The highest mean is chosen. A cheaper option that is not clearly worse comes first.",
        ),
        Mistake(
            choose_the_cheapest,
            "The cheapest option is chosen, even if it is clearly worse than the best.",
        ),
        Mistake(
            choose_without_budget,
            "The budget is not used. Options that cost more do not count.",
        ),
        Mistake(
            choose_with_a_best_beyond_the_budget,
            "The best of *all* options is the reference here. Options beyond the budget do not "
            "count, not even as a reference.",
        ),
        Mistake(
            choose_below_the_budget,
            "An option whose cost equals the budget is allowed.",
        ),
        Mistake(
            choose_by_deviation,
            "The standard deviation is used as the standard error. Divide it by the root of n.",
        ),
        Mistake(
            choose_by_population,
            "The sum of the squared deviations is divided by n. Divide it by n - 1, as "
            "statistics.stdev does.",
        ),
        Mistake(
            choose_without_root,
            "The standard deviation is divided by n. The standard error divides it by the root of "
            "n.",
        ),
        Mistake(
            choose_by_variance,
            "The variance is used. The standard error is the root of variance / n.",
        ),
        Mistake(
            choose_with_the_best_median,
            "The option with the highest *median* is taken as the best. Compare the means.",
        ),
        Mistake(
            choose_without_pairs,
            "The spreads of the two lists are combined. Scores of one seed belong together: take "
            "the differences first, then their standard deviation.",
        ),
        Mistake(choose_by_two, "The bound is 2 for every input here. Use the argument `bound`."),
        Mistake(
            choose_the_dearest,
            "The most expensive of the options that are not clearly worse is chosen. Take the "
            "cheapest.",
        ),
        Mistake(
            choose_by_best_run,
            "The best single run decides. Compare means of paired differences.",
        ),
        Mistake(
            choose_by_ratio,
            "The score per cost decides here. The question has another rule: first leave out what "
            "is clearly worse than the best, then take the cheapest.",
        ),
        Mistake(
            choose_an_empty_name,
            "Where no option is within the budget, the answer is None, not an empty name.",
        ),
        Mistake(choose_its_number, "Return the name of the option, not its place."),
        Mistake(choose_a_cost, "Return the name of the option, not its cost."),
        Mistake(
            choose_any_difference,
            "The first option that is not clearly worse is chosen. Options may come in any order: "
            "take the cheapest.",
        ),
    ),
    hints=(
        "Three steps: keep the affordable options, find the best of them, and test each one "
        "against the best.",
        "The differences are [a - b for a, b in zip(best, scores)]. Their mean and their standard "
        "error decide; statistics.stdev divides by n - 1.",
        "Of the options with mean <= bound * stdev / n ** 0.5, return the one with the smallest "
        "cost. The best itself is always among them, because its differences are 0.",
    ),
    describe=lambda options, budget, bound: (
        f"the options {dict(options)}, the budget {budget} and the bound {bound}"
    ),
)
