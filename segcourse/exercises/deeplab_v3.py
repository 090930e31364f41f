"""Exercises of the chapter on DeepLab v3 and v3+."""

import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate, pairwise

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


def taps_clipped_above_both_sides(height: int, width: int, rate: int) -> float:
    return 1.0 if rate >= max(height, width) else taps_below_zero(height, width, rate)


def taps_added(height: int, width: int, rate: int) -> float:
    return mean_taps(height, 1, rate) + mean_taps(width, 1, rate)


def taps_of_the_rows(height: int, width: int, rate: int) -> float:
    return mean_taps(height, 1, rate)


def taps_at_twice_the_rate(height: int, width: int, rate: int) -> float:
    return mean_taps(height, width, 2 * rate)


def taps_without_rate(height: int, width: int, rate: int) -> float:
    return mean_taps(height, width, 1)


def taps_with_padding_of_one(height: int, width: int, rate: int) -> float:
    ones, kernel = torch.ones(1, 1, height, width), torch.ones(1, 1, 3, 3)
    return F.conv2d(ones, kernel, padding=1, dilation=rate).mean().item()


def taps_outside(height: int, width: int, rate: int) -> float:
    return 9 - mean_taps(height, width, rate)


def taps_nine_or_four(height: int, width: int, rate: int) -> float:
    inner = max(height - 2 * rate, 0) * max(width - 2 * rate, 0)
    return 4 + 5 * inner / (height * width)


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
        Mistake(
            taps_clipped_above_both_sides,
            "The rate is compared with the longer side only. For a rate between the two sides, a "
            "negative number of taps is still counted along the shorter one.",
        ),
        Mistake(
            taps_added,
            "The taps of the rows and those of the columns are added. Every row of the kernel has "
            "taps in every column, so the two numbers are multiplied.",
        ),
        Mistake(
            taps_of_the_rows,
            "Only three taps are counted, the centre with those above and below it. The kernel has "
            "three columns.",
        ),
        Mistake(
            taps_at_twice_the_rate,
            "The outer taps are placed 2 * rate positions from the centre. Their distance is "
            "`rate`; the two outer taps are 2 * rate apart.",
        ),
        Mistake(taps_without_rate, "The rate is not used: this is the mean for rate 1."),
        Mistake(
            taps_with_padding_of_one,
            "The padding is 1 for every rate here. The map keeps its size only if the padding is "
            "equal to the rate.",
        ),
        Mistake(
            taps_outside,
            "This is the number of taps that fall outside of the map. Those on the map are asked "
            "for.",
        ),
        Mistake(
            taps_nine_or_four,
            "A position counts with 9 taps or with 4 here. Near one border, but not near two, a "
            "position has 6; with large rates, 1, 2 and 3 occur too.",
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


def macs_pointwise_with_the_window(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    ordinary, _ = multiply_adds(h, w, c, d, k, s)
    return ordinary, ordinary + -(-h // s) * -(-w // s) * k * k * c


def macs_pointwise_before_stride(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    ordinary, _ = multiply_adds(h, w, c, d, k, s)
    return ordinary, -(-h // s) * -(-w // s) * k * k * c + h * w * c * d


def macs_pointwise_once(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    ordinary, _ = multiply_adds(h, w, c, d, k, s)
    return ordinary, -(-h // s) * -(-w // s) * k * k * c + c * d


def macs_of_one_depthwise_kernel(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    ordinary, _ = multiply_adds(h, w, c, d, k, s)
    return ordinary, -(-h // s) * -(-w // s) * (k * k + c * d)


def macs_of_one_channel(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    ordinary, separated = multiply_adds(h, w, c, d, k, s)
    return ordinary // c, separated


def macs_a_ninth(h: int, w: int, c: int, d: int, k: int, s: int) -> tuple[int, float]:
    ordinary, _ = multiply_adds(h, w, c, d, k, s)
    return ordinary, ordinary / 9


def macs_rounded_product(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    positions = -(-h * w // s**2)
    return positions * k * k * c * d, positions * (k * k * c + c * d)


def macs_without_padding_taps(h: int, w: int, c: int, d: int, k: int, s: int) -> Macs:
    ones, window = torch.ones(1, 1, h, w), torch.ones(1, 1, k, k)
    inside = int(F.conv2d(ones, window, stride=s, padding=k // 2).sum())
    return inside * c * d, inside * c + -(-h // s) * -(-w // s) * c * d


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
            "Only the work of the pointwise layer is counted. The depthwise layer works too: with "
            "one kernel x kernel window for each input channel.",
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
        Mistake(
            macs_pointwise_with_the_window,
            "The pointwise layer is counted with a kernel x kernel window. Its kernels are 1 x 1.",
        ),
        Mistake(
            macs_pointwise_before_stride,
            "The pointwise layer is counted at every input position. It reads what the depthwise "
            "layer has computed, and that map has the stride already.",
        ),
        Mistake(
            macs_pointwise_once,
            "The pointwise layer is counted at a single position. Like the depthwise layer, it "
            "works at every output position.",
        ),
        Mistake(
            macs_of_one_depthwise_kernel,
            "The depthwise layer has a single kernel here. It has one for each input channel.",
        ),
        Mistake(
            macs_of_one_channel,
            "The ordinary convolution is counted for one input channel. Each of its outputs reads "
            "all of them.",
        ),
        Mistake(
            macs_a_ninth,
            "The number of the ordinary convolution is divided by 9. Count the two layers of the "
            "separable one: the factor depends on the kernel and on the channels.",
        ),
        Mistake(
            macs_rounded_product,
            "The number of positions is rounded after the division of height * width. The two "
            "sides are rounded up first, and multiplied then.",
        ),
        Mistake(
            macs_without_padding_taps,
            "Taps on the padding are left out here. The question counts them like all others.",
        ),
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
    through them in this order. A convolution keeps its stride if the product of this stride and all
    strides kept before is at most ``output_stride``; otherwise its stride becomes 1. Every
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


def traded(
    strides: Sequence[int],
    keeps: Callable[[int, int], bool],
    grown: Callable[[int, int], int] = lambda rate, stride: rate * stride,
) -> Layers:
    """The solution with other rules, from (reached, stride) and from (rate, removed stride)."""
    layers, reached, rate = [], 1, 1
    for stride in strides:
        kept = keeps(reached, stride)
        layers.append((stride if kept else 1, rate))
        reached, rate = (reached * stride, rate) if kept else (reached, grown(rate, stride))
    return layers


def grown_by(
    strides: Sequence[int], output_stride: int, grown: Callable[[int, int], int]
) -> Layers:
    return traded(strides, lambda reached, stride: reached * stride <= output_stride, grown)


def changed(
    strides: Sequence[int], output_stride: int, change: Callable[[int, int, int], tuple]
) -> Layers:
    """The solution with changed pairs, from (old stride, new stride, rate)."""
    pairs = zip(strides, dilated(strides, output_stride), strict=True)
    return [change(old, new, rate) for old, (new, rate) in pairs]


def dilated_too_early(strides: Sequence[int], output_stride: int) -> Layers:
    return changed(strides, output_stride, lambda old, new, rate: (new, rate * old // new))


def dilated_without_rates(strides: Sequence[int], output_stride: int) -> Layers:
    return changed(strides, output_stride, lambda old, new, rate: (new, 1))


def dilated_where_removed(strides: Sequence[int], output_stride: int) -> Layers:
    return changed(strides, output_stride, lambda old, new, rate: (new, 1 if old == new else rate))


def dilated_where_kept(strides: Sequence[int], output_stride: int) -> Layers:
    return changed(strides, output_stride, lambda old, new, rate: (new, rate if old == new else 1))


def dilated_for_one_layer(strides: Sequence[int], output_stride: int) -> Layers:
    return changed(strides, output_stride, lambda old, new, rate: (new, old // new))


def dilated_pairs_exchanged(strides: Sequence[int], output_stride: int) -> Layers:
    return changed(strides, output_stride, lambda old, new, rate: (rate, new))


def dilated_with_strides_left(strides: Sequence[int], output_stride: int) -> Layers:
    return changed(strides, output_stride, lambda old, new, rate: (old, rate))


def dilated_once(strides: Sequence[int], output_stride: int) -> Layers:
    return grown_by(strides, output_stride, lambda rate, stride: stride)


def dilated_by_sums(strides: Sequence[int], output_stride: int) -> Layers:
    return grown_by(strides, output_stride, lambda rate, stride: rate + stride - 1)


def dilated_by_adding(strides: Sequence[int], output_stride: int) -> Layers:
    return grown_by(strides, output_stride, lambda rate, stride: rate + stride)


def dilated_by_two(strides: Sequence[int], output_stride: int) -> Layers:
    return grown_by(strides, output_stride, lambda rate, stride: rate * 2)


def dilated_below_the_limit(strides: Sequence[int], output_stride: int) -> Layers:
    return traded(strides, lambda reached, stride: reached * stride < output_stride)


def dilated_beyond_the_limit(strides: Sequence[int], output_stride: int) -> Layers:
    return traded(strides, lambda reached, stride: reached < output_stride)


def dilated_by_single_strides(strides: Sequence[int], output_stride: int) -> Layers:
    return traded(strides, lambda reached, stride: stride <= output_stride)


def dilated_from_the_end(strides: Sequence[int], output_stride: int) -> Layers:
    return dilated(strides[::-1], output_stride)[::-1]


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


def dilated_until_a_kept_stride(strides: Sequence[int], output_stride: int) -> Layers:
    layers, rate = [], 1
    for old, (new, _) in zip(strides, dilated(strides, output_stride), strict=True):
        rate = 1 if new > 1 else rate
        layers.append((new, rate))
        rate *= old // new
    return layers


def dilated_by_smaller_strides(strides: Sequence[int], output_stride: int) -> Layers:
    layers, reached, rate = [], 1, 1
    for stride in strides:
        kept = max(min(stride, output_stride // reached), 1)
        layers.append((kept, rate))
        reached, rate = reached * kept, rate * (stride // kept)
    return layers


def dilated_rates_as_quotients(strides: Sequence[int], output_stride: int) -> Layers:
    new = [stride for stride, _ in dilated(strides, output_stride)]
    products = accumulate(strides, operator.mul)
    return [(s, max(p // output_stride, 1)) for s, p in zip(new, products, strict=True)]


def dilated_by_quotients_before(strides: Sequence[int], output_stride: int) -> Layers:
    new = [stride for stride, _ in dilated(strides, output_stride)]
    products = accumulate(strides, operator.mul, initial=1)
    return [(s, max(p // output_stride, 1)) for s, p in zip(new, products, strict=False)]


trade = Exercise(
    "12.3 Trade strides for rates",
    solution=dilated,
    cases=[
        ([2, 1, 2, 1], 2),
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
            "A rate is still 1 after a stride was removed. On the finer map, neighbouring taps "
            "would read places of the image that are closer together than in training.",
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
        Mistake(
            dilated_where_removed,
            "A convolution that keeps its stride always has rate 1 here, and this includes those "
            "with stride 1. After a removed stride, it reads the finer map too.",
        ),
        Mistake(
            dilated_where_kept,
            "A convolution that loses its stride always has rate 1 here. If another stride was "
            "removed before it, it reads a finer map than in training.",
        ),
        Mistake(
            dilated_until_a_kept_stride,
            "A kept stride sets the rate back to 1. The map stays finer than in the original "
            "network, up to the end.",
        ),
        Mistake(
            dilated_by_adding,
            "The removed stride is added to the rate. With a removed stride of 2, the map is twice "
            "as fine, so the rate 1 becomes 2 and not 3.",
        ),
        Mistake(
            dilated_beyond_the_limit,
            "A stride is kept if the product *before* it is below `output_stride`. Its own factor "
            "belongs to the product: 2 and then 3 exceed 4.",
        ),
        Mistake(
            dilated_by_single_strides,
            "Each stride is compared with `output_stride` alone. Multiply it by the strides that "
            "were kept before it.",
        ),
        Mistake(
            dilated_by_smaller_strides,
            "A stride is replaced by a smaller one above 1. In the question, it is kept or becomes "
            "1.",
        ),
        Mistake(
            dilated_by_quotients_before,
            "The product of the strides before is divided by `output_stride`. The strides that are "
            "kept may have a smaller product: divide by what they have reached.",
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

    ``net`` is a function from images (N, 3, h, w) to logits (N, K, h, w). This code is meant to
    return the mean of the class probabilities for ``image`` (N, 3, H, W), resized by every number
    in ``scales``, each time as it is and mirrored from left to right:

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


def resized(image: Tensor, scale: float, **options: bool) -> Tensor:
    sides = [round(scale * side) for side in image.shape[-2:]]
    return F.interpolate(image, sides, mode="bilinear", **options)


def enlarged(logits: Tensor, size: torch.Size, **options: bool) -> Tensor:
    return F.interpolate(logits, size, mode="bilinear", **options)


def probabilities(logits: Tensor, size: torch.Size, **options: bool) -> Tensor:
    return enlarged(logits, size, **options).softmax(dim=1)


def views(
    net: Net,
    image: Tensor,
    scales: Sequence[float],
    resize: Callable[..., Tensor] = resized,
    finish: Callable[..., Tensor] = probabilities,
    axis: int = -1,
) -> tuple[list[Tensor], list[Tensor]]:
    """Maps of the images and of their mirror images, the latter not mirrored back."""
    small, size = [resize(image, scale) for scale in scales], image.shape[-2:]
    mirrored = [finish(net(each.flip(axis)), size) for each in small]
    return [finish(net(each), size) for each in small], mirrored


def mean_of(plain: list[Tensor], mirrored: list[Tensor], axis: int = -1) -> Tensor:
    return (sum(plain) + sum(mirrored).flip(axis)) / (2 * len(plain))


def averaged_as_given(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    plain, mirrored = views(net, image, scales)
    return sum([*plain, *mirrored]) / len(scales)


def averaged_without_mirroring_back(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    plain, mirrored = views(net, image, scales)
    return sum([*plain, *mirrored]) / (2 * len(scales))


def averaged_by_half_the_number(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    return 2 * average(net, image, scales)


def averaged_raw_logits(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    return mean_of(*views(net, image, scales, finish=enlarged))


def averaged_logits(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    return averaged_raw_logits(net, image, scales).softmax(dim=1)


def averaged_upside_down(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    return mean_of(*views(net, image, scales), axis=-2)


def averaged_flipped_over(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    return mean_of(*views(net, image, scales, axis=-2), axis=-2)


def averaged_all_mirrored(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    return averaged_without_mirroring_back(net, image, scales).flip(-1)


def averaged_as_a_mirror_image(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    return average(net, image, scales).flip(-1)


def averaged_mirrored_by_turns(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    total = 0
    for plain, mirrored in zip(*views(net, image, scales), strict=True):
        total = (total + plain + mirrored).flip(-1)
    return total / (2 * len(scales))


def averaged_both_ways(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    both = averaged_without_mirroring_back(net, image, scales)
    return (both + both.flip(-1)) / 2


def averaged_scales_only(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    return sum(views(net, image, scales)[0]) / len(scales)


def averaged_mirror_only(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    return sum(views(net, image, scales)[1]).flip(-1) / len(scales)


def averaged_classes(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    return average(net, image, scales).argmax(dim=1)


def averaged_over_the_batch(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    def finish(logits, size):
        return enlarged(logits, size).softmax(dim=0)

    return mean_of(*views(net, image, scales, finish=finish))


def averaged_over_a_row(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    def finish(logits, size):
        return enlarged(logits, size).softmax(dim=-1)

    return mean_of(*views(net, image, scales, finish=finish))


def averaged_last_scale(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    return average(net, image, scales[-1:])


def averaged_first_scale(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    return average(net, image, scales[:1]) / len(scales)


def averaged_maximum(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    plain, mirrored = views(net, image, scales)
    return torch.stack([*plain, *(each.flip(-1) for each in mirrored)]).amax(dim=0)


def averaged_pixels_first(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    def finish(logits, size):
        return enlarged(logits.softmax(dim=1), size)

    return mean_of(*views(net, image, scales, finish=finish))


def averaged_truncated_sides(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    def resize(image, scale):
        return enlarged(image, [int(scale * side) for side in image.shape[-2:]])

    return mean_of(*views(net, image, scales, resize=resize))


def averaged_by_factors(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    def resize(image, scale):
        return F.interpolate(image, scale_factor=scale, mode="bilinear")

    return mean_of(*views(net, image, scales, resize=resize))


def averaged_nearest(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    def finish(logits, size):
        return F.interpolate(logits, size, mode="nearest").softmax(dim=1)

    return mean_of(*views(net, image, scales, finish=finish))


def averaged_with_aligned_corners(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    resize = partial(resized, align_corners=True)
    finish = partial(probabilities, align_corners=True)
    return mean_of(*views(net, image, scales, resize, finish))


def averaged_from_scale_to_scale(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    size, total = image.shape[-2:], 0
    for scale in scales:
        image = enlarged(image, [round(scale * side) for side in size])
        total = total + probabilities(net(image), size)
        total = total + probabilities(net(image.flip(-1)), size).flip(-1)
    return total / (2 * len(scales))


def averaged_by_a_module(net: Net, image: Tensor, scales: Sequence[float]) -> Tensor:
    net.eval()
    return average(net, image, scales)


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
            "All outputs are mirrored, also those of the images that were not mirrored.",
        ),
        Mistake(
            averaged_as_a_mirror_image,
            "This is the mirror image of the right result: the outputs for the images that were "
            "*not* mirrored are flipped last.",
        ),
        Mistake(
            averaged_mirrored_by_turns,
            "The sum itself is mirrored once per scale, with all that was added before. Mirror one "
            "output before it is added.",
        ),
        Mistake(
            averaged_both_ways,
            "Every output is added twice, as it is and mirrored. An output is needed once, in the "
            "orientation of the image.",
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
            averaged_over_a_row,
            "The softmax runs along the rows of pixels, the last axis. The classes are axis 1, and "
            "their probabilities sum to 1 at every pixel.",
        ),
        Mistake(
            averaged_last_scale,
            "Only the last scale counts. Add up the probabilities of all scales.",
        ),
        Mistake(
            averaged_first_scale,
            "Only the first scale is added up, and the sum is divided by the number of all views. "
            "Is the `return` inside the loop?",
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
        Mistake(
            averaged_by_factors,
            "The image is resized with scale_factor, which rounds the sides down. Keep the sides "
            "of the given code.",
        ),
        Mistake(
            averaged_with_aligned_corners,
            "The corners are aligned in the interpolation (align_corners=True). Keep the default, "
            "as in the given code.",
        ),
        Mistake(
            averaged_from_scale_to_scale,
            "Each scale resizes the image of the scale before it, because `image` is replaced in "
            "the loop. Resize the original image every time.",
        ),
        Mistake(
            averaged_by_a_module,
            "`net` is a function here, and not a module, so it has no method eval(). Call it with "
            "an image: net(view).",
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


def separable_without_signs(weight: Tensor) -> bool:
    return is_separable(weight.abs())


def separable_with_a_tolerance(weight: Tensor) -> bool:
    return all(
        bool((torch.linalg.svdvals(kernels)[1:] < 0.05).all())
        for kernels in weight.flatten(2).unbind(1)
    )


def separable_if_similar(weight: Tensor) -> bool:
    """Whether the cosine between any two kernels of a channel is above 0.99, or below -0.99."""
    kernels = F.normalize(weight.flatten(2).double(), dim=2).transpose(0, 1)
    kept = (kernels != 0).any(dim=2, keepdim=True)
    cosines = (kernels @ kernels.mT).abs()
    return bool((cosines[kept & kept.mT] > 0.99).all())


def separable_in_the_last_channel(weight: Tensor) -> bool:
    return is_separable(weight[:, -1:])


def separable_if_all_kernels_agree(weight: Tensor) -> bool:
    return is_separable(weight.flatten(0, 1)[:, None])


def separable_after_a_reshape(weight: Tensor) -> bool:
    mixed = weight.reshape(weight.shape[1], weight.shape[0], -1)
    return bool((torch.linalg.matrix_rank(mixed) <= 1).all())


def separable_channel_by_channel(weight: Tensor) -> list[bool]:
    return [is_separable(weight[:, c : c + 1]) for c in range(weight.shape[1])]


def separable_by_ratios(weight: Tensor) -> bool:
    kernels = weight.flatten(2)
    ratios = kernels / kernels[:1]
    return bool(torch.allclose(ratios, ratios[..., :1].expand_as(ratios)))


def separable_by_lengths(weight: Tensor) -> bool:
    kernels = weight.flatten(2)
    kernels = kernels / kernels.norm(dim=2, keepdim=True)
    return bool(torch.allclose(kernels, kernels[:1].expand_as(kernels)))


def separable_by_lengths_above_zero(weight: Tensor) -> bool:
    channels = [kernels[kernels.any(dim=1)] for kernels in weight.flatten(2).unbind(1)]
    return all(separable_by_lengths(kernels[:, None, None]) for kernels in channels)


def kernels_of(*outputs: Sequence[Sequence[float]]) -> Tensor:
    """Kernels of 2 x 2 or 3 x 3 values, listed for every output and every channel."""
    table = torch.tensor(outputs, dtype=torch.float64)
    side = round(table.shape[-1] ** 0.5)
    return table.unflatten(-1, (side, side))


def convolutions() -> list[tuple[Tensor]]:
    a, b, c = [1.0, 2, 3, 4], [0.0, 1, -1, 0], [2.0, 0, 0, 0]
    zero, double, minus = [0.0] * 4, [2.0, 4, 6, 8], [-0.5, -1, -1.5, -2]
    opposite, shifted = [-2.0, -4, -6, -8], [2.0, 3, 4, 5]
    one_sign, nearly = [1.0, 2, 3, -4], [1.0, 2, 3, 4.25]  # unlike a in the last weight
    blur = [1.0, 2, 1, 2, 4, 2, 1, 2, 1]
    edge = [1.0, 0, -1, 2, 0, -2, 1, 0, -1]
    return [
        (kernels_of([a], [b]),),
        (kernels_of([a], [double]),),
        (kernels_of([double], [opposite]),),
        (kernels_of([a], [one_sign]),),
        (kernels_of([a], [shifted]),),
        (kernels_of([a], [nearly]),),
        (kernels_of([[0.001, 0.002, 0.003, 0.004]], [[0.004, 0.003, 0.002, 0.001]]),),
        (kernels_of([zero], [a], [b]),),
        (kernels_of([a], [b], [zero]),),
        (kernels_of([zero], [a], [zero], [b]),),
        (kernels_of([a, b], [a, b]),),
        (kernels_of([a, b], [double, b]),),
        (kernels_of([a, b], [b, a]),),
        (kernels_of([a, c], [a, b]),),
        (kernels_of([c, a], [b, a]),),
        (kernels_of([a, b, c]),),
        (kernels_of([a, b, a], [a, b, b]),),
        (kernels_of([a, zero], [double, zero]),),
        (kernels_of([zero, a], [zero, b]),),
        (kernels_of([zero, zero], [zero, zero]),),
        (kernels_of([a, b], [double, b], [minus, b]),),
        (kernels_of([zero, b], [a, zero], [minus, b]),),
        (kernels_of([a, b], [zero, zero], [b, b]),),
        (kernels_of([a, a], [b, b], [c, c]),),
        (kernels_of([blur, edge], [blur, blur]),),
        (kernels_of([blur, blur], [edge, edge]),),
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
        Mistake(
            separable_without_signs,
            "The signs of the weights are lost. A factor changes the signs of a whole kernel, but "
            "not of a single weight in it.",
        ),
        Mistake(
            separable_with_a_tolerance,
            "Small weights are taken for zeros here, by a fixed tolerance or by rounding. How far "
            "kernels may be from multiples depends on the size of their weights.",
        ),
        Mistake(
            separable_if_similar,
            "Kernels that are similar to multiples of each other are taken for multiples. The "
            "outputs must be the same for every input.",
        ),
        Mistake(
            separable_in_the_last_channel,
            "Only the last channel decides. Does a later channel replace the result of an earlier "
            "one?",
        ),
        Mistake(
            separable_if_all_kernels_agree,
            "The kernels of different channels are compared with each other. Every channel has a "
            "depthwise kernel of its own.",
        ),
        Mistake(
            separable_after_a_reshape,
            "A reshape to (C, O, h * w) does not exchange outputs and channels; it only cuts the "
            "same numbers elsewhere. Use transpose or indexing.",
        ),
        Mistake(
            separable_channel_by_channel,
            "There is one answer for each channel here. Return a single one for the whole weight.",
        ),
        Mistake(
            separable_by_ratios,
            "In a division, 0 / 0 gives NaN, which equals nothing. Zeros inside of kernels, and "
            "kernels of zeros, need a comparison without division.",
        ),
        Mistake(
            separable_by_lengths,
            "Kernels are divided by their length. A kernel of zeros has the length 0, and 0 / 0 is "
            "NaN; a negative factor remains after the division, too.",
        ),
        Mistake(
            separable_by_lengths_above_zero,
            "A negative factor is not allowed here. The pointwise layer may have negative weights.",
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


Scores = Sequence[float]


def within(options: Options, budget: float) -> Options:
    return {name: option for name, option in options.items() if option[0] <= budget}


def gaps(best: Scores, scores: Scores) -> list[float]:
    return [a - b for a, b in zip(best, scores, strict=True)]


def standard_error(best: Scores, scores: Scores) -> float:
    return statistics.stdev(gaps(best, scores)) / len(best) ** 0.5


def highest_mean(options: Options) -> str:
    return max(options, key=lambda name: sum(options[name][1]))


def cheapest(options: Options) -> str:
    return min(options, key=lambda name: options[name][0])


def dearest(options: Options) -> str:
    return max(options, key=lambda name: options[name][0])


def best_ratio(options: Options) -> str:
    return max(options, key=lambda name: sum(options[name][1]) / options[name][0])


def cheapest_but_the_best(options: Options) -> str:
    best = highest_mean(options)
    return cheapest({name: each for name, each in options.items() if name != best} or options)


def by_mean(best: Scores, scores: Scores, limit: float) -> bool:
    return statistics.mean(gaps(best, scores)) > limit


def never(best: Scores, scores: Scores, limit: float) -> bool:
    return False


def decide(
    options: Options,
    budget: float,
    bound: float,
    *,
    error: Callable[[Scores, Scores], float] = standard_error,
    best_of: Callable[[Options], str] = highest_mean,
    pick: Callable[[Options], str] = cheapest,
    reference: Options | None = None,
    worse: Callable[[Scores, Scores, float], bool] = by_mean,
) -> str | None:
    """The solution with another error, best option, comparison, or choice of those left."""
    affordable = within(options, budget)
    if not affordable:
        return None
    pool = reference or affordable
    best = pool[best_of(pool)][1]
    return pick({
        name: (cost, scores)
        for name, (cost, scores) in affordable.items()
        if not worse(best, scores, bound * error(best, scores))
    })  # fmt: skip


def choose_the_best(options: Options, budget: float, bound: float) -> str | None:
    return decide(options, budget, bound, pick=highest_mean)


def choose_the_cheapest(options: Options, budget: float, bound: float) -> str | None:
    return decide(options, budget, bound, worse=never)


def choose_without_budget(options: Options, budget: float, bound: float) -> str | None:
    return choose(options, float("inf"), bound)


def choose_with_a_best_beyond_the_budget(
    options: Options, budget: float, bound: float
) -> str | None:
    return decide(options, budget, bound, reference=options)


def choose_none_below_a_best_beyond_the_budget(
    options: Options, budget: float, bound: float
) -> str | None:
    def pick(left):
        return cheapest(left) if left else None

    return decide(options, budget, bound, reference=options, pick=pick)


def choose_below_the_budget(options: Options, budget: float, bound: float) -> str | None:
    return choose({name: each for name, each in options.items() if each[0] < budget}, budget, bound)


def choose_with_exchanged_arguments(options: Options, budget: float, bound: float) -> str | None:
    return choose(options, bound, budget)


def choose_by_deviation(options: Options, budget: float, bound: float) -> str | None:
    return decide(options, budget, bound, error=lambda a, b: statistics.stdev(gaps(a, b)))


def choose_by_population(options: Options, budget: float, bound: float) -> str | None:
    def error(best, scores):
        return statistics.pstdev(gaps(best, scores)) / len(best) ** 0.5

    return decide(options, budget, bound, error=error)


def choose_with_one_less_twice(options: Options, budget: float, bound: float) -> str | None:
    def error(best, scores):
        return statistics.stdev(gaps(best, scores)) / (len(best) - 1) ** 0.5

    return decide(options, budget, bound, error=error)


def choose_without_root(options: Options, budget: float, bound: float) -> str | None:
    def error(best, scores):
        return statistics.stdev(gaps(best, scores)) / len(best)

    return decide(options, budget, bound, error=error)


def choose_by_variance(options: Options, budget: float, bound: float) -> str | None:
    def error(best, scores):
        return statistics.variance(gaps(best, scores)) / len(best)

    return decide(options, budget, bound, error=error)


def choose_without_pairs(options: Options, budget: float, bound: float) -> str | None:
    def error(best, scores):
        return ((statistics.variance(best) + statistics.variance(scores)) / len(best)) ** 0.5

    return decide(options, budget, bound, error=error)


def choose_by_spread_of_scores(options: Options, budget: float, bound: float) -> str | None:
    def error(best, scores):
        return statistics.stdev(scores) / len(scores) ** 0.5

    return decide(options, budget, bound, error=error)


def choose_by_spread_of_the_best(options: Options, budget: float, bound: float) -> str | None:
    def error(best, scores):
        return statistics.stdev(best) / len(best) ** 0.5

    return decide(options, budget, bound, error=error)


def choose_without_error(options: Options, budget: float, bound: float) -> str | None:
    return decide(options, budget, bound, error=lambda best, scores: 1.0)


def choose_by_sums(options: Options, budget: float, bound: float) -> str | None:
    return decide(
        options, budget, bound, worse=lambda best, scores, limit: sum(gaps(best, scores)) > limit
    )


def choose_the_other_way_round(options: Options, budget: float, bound: float) -> str | None:
    def worse(best, scores, limit):
        return scores != best and statistics.mean(gaps(best, scores)) <= limit

    return decide(options, budget, bound, worse=worse, pick=cheapest_but_the_best)


def choose_with_zero_errors_kept(options: Options, budget: float, bound: float) -> str | None:
    def worse(best, scores, limit):
        return limit > 0 and statistics.mean(gaps(best, scores)) > limit

    return decide(options, budget, bound, worse=worse)


def choose_among_the_others(options: Options, budget: float, bound: float) -> str | None:
    return decide(options, budget, bound, pick=cheapest_but_the_best)


def choose_by_one(options: Options, budget: float, bound: float) -> str | None:
    return choose(options, budget, 1.0)


def choose_by_two(options: Options, budget: float, bound: float) -> str | None:
    return choose(options, budget, 2.0)


def choose_by_a_fixed_bound(options: Options, budget: float, bound: float) -> str | None:
    return choose(options, budget, 4.30)


def choose_with_the_best_median(options: Options, budget: float, bound: float) -> str | None:
    def best_of(left):
        return max(left, key=lambda name: statistics.median(left[name][1]))

    return decide(options, budget, bound, best_of=best_of)


def choose_with_the_dearest_as_best(options: Options, budget: float, bound: float) -> str | None:
    return decide(options, budget, bound, best_of=dearest)


def choose_step_by_step(options: Options, budget: float, bound: float) -> str | None:
    names = sorted(within(options, budget), key=lambda name: options[name][0])
    chosen = names[0] if names else None
    for name in names[1:]:
        new, old = options[name][1], options[chosen][1]
        if statistics.mean(gaps(new, old)) > bound * standard_error(new, old):
            chosen = name
    return chosen


def choose_from_step_to_step(options: Options, budget: float, bound: float) -> str | None:
    affordable = within(options, budget)
    chosen = highest_mean(affordable) if affordable else None
    for name in sorted(affordable, key=lambda name: -options[name][0]):
        if options[name][0] < options[chosen][0]:
            old, new = options[chosen][1], options[name][1]
            if statistics.mean(gaps(old, new)) <= bound * standard_error(old, new):
                chosen = name
    return chosen


def choose_until_one_is_worse(options: Options, budget: float, bound: float) -> str | None:
    affordable = within(options, budget)
    chosen = best = highest_mean(affordable) if affordable else None
    for name in sorted(affordable, key=lambda name: -options[name][0]):
        if options[name][0] < options[best][0]:
            old, new = options[best][1], options[name][1]
            if statistics.mean(gaps(old, new)) > bound * standard_error(old, new):
                break
            chosen = name
    return chosen


def choose_the_dearest(options: Options, budget: float, bound: float) -> str | None:
    return decide(options, budget, bound, pick=dearest)


def choose_the_first(options: Options, budget: float, bound: float) -> str | None:
    return decide(options, budget, bound, pick=lambda left: next(iter(left)))


def choose_by_best_run(options: Options, budget: float, bound: float) -> str | None:
    affordable = within(options, budget)
    return max(affordable, key=lambda name: max(affordable[name][1]), default=None)


def choose_by_ratio(options: Options, budget: float, bound: float) -> str | None:
    return decide(options, budget, bound, worse=never, pick=best_ratio)


def choose_the_best_ratio(options: Options, budget: float, bound: float) -> str | None:
    return decide(options, budget, bound, pick=best_ratio)


def choose_an_empty_name(options: Options, budget: float, bound: float) -> str | None:
    return choose(options, budget, bound) or ""


def choose_its_number(options: Options, budget: float, bound: float) -> int | None:
    name = choose(options, budget, bound)
    return None if name is None else list(options).index(name)


def choose_a_cost(options: Options, budget: float, bound: float) -> float | None:
    name = choose(options, budget, bound)
    return None if name is None else options[name][0]


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
ALWAYS = {  # below is 1 lower for every seed: its standard error is 0
    "below": (1.0, [50.0, 60.0, 70.0]),
    "above": (2.0, [51.0, 61.0, 71.0]),
}
WIDE = {  # mid is clearly worse than the best; wide, which costs less, is not
    "best": (9.0, [0.80, 0.81, 0.82]),
    "mid": (5.0, [0.70, 0.71, 0.725]),
    "wide": (2.0, [0.60, 0.95, 0.75]),
}
NEAR = {  # the costs are similar: near costs less, and over has more score per cost
    "over": (10.0, [0.80, 0.60, 0.70]),
    "near": (9.0, [0.50, 0.62, 0.65]),
}
LOW = {  # the best has the lowest cost
    "one": (3.0, [0.70, 0.60, 0.50]),
    "two": (4.0, [0.40, 0.70, 0.60]),
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
        (ALWAYS, 9.0, 4.30),
        (WIDE, 9.0, 4.30),
        (NEAR, 99.0, 4.30),
        (LOW, 5.0, 4.30),
    ],
    mistakes=(
        Mistake(
            choose_the_best,
            "The highest mean is chosen. A cheaper option that is not clearly worse comes first.",
        ),
        Mistake(
            choose_the_cheapest,
            "No option counts as clearly worse here, so that the cheapest one is always chosen. "
            "The differences are best minus option.",
        ),
        Mistake(
            choose_without_budget,
            "An option beyond the budget is chosen. Options that cost more do not count.",
        ),
        Mistake(
            choose_with_a_best_beyond_the_budget,
            "The best of *all* options is the reference here. Options beyond the budget do not "
            "count, not even as a reference.",
        ),
        Mistake(
            choose_none_below_a_best_beyond_the_budget,
            "Where the best of all options is beyond the budget, None is returned although "
            "others are affordable. The best is one of those within the budget.",
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
        Mistake(
            choose_by_one,
            "The mean is compared with one standard error, without `bound`.",
        ),
        Mistake(
            choose_by_two,
            "The same bound, such as 2, is used for every input. Use the argument `bound`.",
        ),
        Mistake(
            choose_by_a_fixed_bound,
            "The argument `bound` has no influence here. The 4.30 of the chapter, for example, is "
            "the bound for three seeds only.",
        ),
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
            choose_the_first,
            "The first option that is not clearly worse is chosen. Options may come in any order: "
            "take the cheapest.",
        ),
        Mistake(
            choose_with_zero_errors_kept,
            "An option whose standard error is 0 is kept here. If it is lower by the same amount "
            "for every seed, it is clearly worse: compare the mean with 0.",
        ),
        Mistake(
            choose_until_one_is_worse,
            "The search stops at the first option that is clearly worse. A cheaper one whose "
            "scores vary more may not be clearly worse: test all of them.",
        ),
        Mistake(
            choose_the_best_ratio,
            "Of the options that are not clearly worse, the one with the highest score per cost is "
            "chosen. Take the one with the lowest cost.",
        ),
        Mistake(
            choose_without_error,
            "The mean of the differences is compared with the bound itself. Multiply the bound by "
            "the standard error of the differences.",
        ),
        Mistake(
            choose_by_sums,
            "The sum of the differences is compared. The question compares their mean.",
        ),
        Mistake(
            choose_with_exchanged_arguments,
            "The budget and the bound are exchanged. The arguments come in the order options, "
            "budget, bound.",
        ),
        Mistake(
            choose_the_other_way_round,
            "The comparison is the wrong way round: the options that are clearly worse are kept, "
            "and the others are left out.",
        ),
        Mistake(
            choose_among_the_others,
            "The best option is not among those that are kept. Its differences are 0, so it is not "
            "clearly worse. Is it left out, or is 0 divided by 0 for it?",
        ),
        Mistake(
            choose_step_by_step,
            "Each option is compared with the one chosen so far, from the cheapest upwards. "
            "Compare all of them with the best one.",
        ),
        Mistake(
            choose_from_step_to_step,
            "A cheaper option that is kept becomes the new reference. The reference is the best "
            "option, up to the end.",
        ),
        Mistake(
            choose_by_spread_of_scores,
            "The spread of the option's own scores is used. Take the standard deviation of the "
            "differences.",
        ),
        Mistake(
            choose_by_spread_of_the_best,
            "The spread of the best option's scores is used. The differences have another one.",
        ),
        Mistake(
            choose_with_one_less_twice,
            "The standard deviation is divided by the root of n - 1. The n - 1 belongs inside of "
            "the standard deviation; the root is that of n.",
        ),
        Mistake(
            choose_with_the_dearest_as_best,
            "The most expensive option is taken as the best one. The best has the highest mean "
            "score.",
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
