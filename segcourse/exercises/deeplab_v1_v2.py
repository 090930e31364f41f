"""Exercises of the chapter on DeepLab v1 and v2."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake, counted
from segcourse.exercises.results import brief
from segcourse.metrics.semantic import confusion_matrix, iou

Layers = Sequence[tuple[int, int, int]]  # kernel, stride, rate
Strided = Sequence[tuple[int, int]]  # kernel, stride
Holed = list[tuple[int, int, int]]  # kernel, stride, rate

# ── 9.1 ──────────────────────────────────────────────────────────────────────────────────────────


def smallest_rate(layers: Layers, side: int) -> int:
    """Predict the rate that a last 3 x 3 convolution needs to see enough of an image.

    ``layers`` is a list of at least one (kernel, stride, rate), in the order of execution; the
    first layer reads the image. A 3 x 3 convolution with stride 1 follows them. Return the smallest
    rate, an integer of at least 1, with which the receptive field of its output has a side of at
    least ``side`` pixels. For example, after [(3, 1, 1), (2, 2, 1)] the field has 4 pixels and
    neighbouring positions are 2 pixels apart. Rate 2 then gives 4 + 2 * 2 * 2 = 12 pixels.
    """
    field, step = 1, 1  # in pixels: the side, and the distance of neighbouring positions
    for kernel, stride, rate in layers:
        field += (kernel - 1) * rate * step
        step *= stride
    return max(1, math.ceil((side - field) / (2 * step)))


def _field(layers: Layers) -> tuple[int, int]:
    field, step = 1, 1
    for kernel, stride, rate in layers:
        field += (kernel - 1) * rate * step
        step *= stride
    return field, step


def _rate(field: int, step: int, side: int) -> int:
    return max(1, math.ceil((side - field) / (2 * step)))


def rate_rounded_down(layers: Layers, side: int) -> int:
    field, step = _field(layers)
    return max(1, (side - field) // (2 * step))


def rate_below_one(layers: Layers, side: int) -> int:
    field, step = _field(layers)
    return math.ceil((side - field) / (2 * step))


def rate_without_earlier_rates(layers: Layers, side: int) -> int:
    return smallest_rate([(kernel, stride, 1) for kernel, stride, _ in layers], side)


def rate_without_the_step(layers: Layers, side: int) -> int:
    field, _ = _field(layers)
    return max(1, math.ceil((side - field) / 2))


def rate_in_positions(layers: Layers, side: int) -> int:
    _, step = _field(layers)
    return max(1, math.ceil((side / step - 1) / 2))


def rate_of_one_gap(layers: Layers, side: int) -> int:
    field, step = _field(layers)
    return max(1, math.ceil((side - field) / step))


def rate_of_three_gaps(layers: Layers, side: int) -> int:
    field, step = _field(layers)
    return max(1, math.ceil((side - field) / (3 * step)))


def rate_that_exceeds(layers: Layers, side: int) -> int:
    field, step = _field(layers)
    return max(1, (side - field) // (2 * step) + 1)


def rate_of_whole_kernels(layers: Layers, side: int) -> int:
    field, step = 1, 1
    for kernel, stride, rate in layers:
        field += kernel * rate * step
        step *= stride
    return max(1, math.ceil((side - field) / (2 * step)))


def rate_with_strides_too_early(layers: Layers, side: int) -> int:
    field, step = 1, 1
    for kernel, stride, rate in layers:
        step *= stride
        field += (kernel - 1) * rate * step
    return max(1, math.ceil((side - field) / (2 * step)))


def rate_with_rates_in_the_step(layers: Layers, side: int) -> int:
    field, step = 1, 1
    for kernel, stride, rate in layers:
        field += (kernel - 1) * rate * step
        step *= stride * rate
    return max(1, math.ceil((side - field) / (2 * step)))


def rate_rounded(layers: Layers, side: int) -> int:
    field, step = _field(layers)
    return max(1, round((side - field) / (2 * step)))


def rate_not_rounded(layers: Layers, side: int) -> float:
    field, step = _field(layers)
    return max(1, (side - field) / (2 * step))


def rate_from_zero(layers: Layers, side: int) -> int:
    return max(0, rate_below_one(layers, side))


def rate_with_stride_for_rate(layers: Layers, side: int) -> int:
    return smallest_rate([(kernel, rate, stride) for kernel, stride, rate in layers], side)


def rate_with_added_strides(layers: Layers, side: int) -> int:
    field, step = 1, 0
    for kernel, stride, rate in layers:
        field += (kernel - 1) * rate * max(step, 1)
        step += stride
    return _rate(field, step, side)


def rate_with_the_last_layer_twice(layers: Layers, side: int) -> int:
    return _rate(*_field([*layers, (3, 1, 1)]), side)


def rate_of_the_last_stride(layers: Layers, side: int) -> int:
    return _rate(_field(layers)[0], layers[-1][1], side)


def rate_of_a_field_without_steps(layers: Layers, side: int) -> int:
    field = 1 + sum((kernel - 1) * rate for kernel, _, rate in layers)
    return _rate(field, _field(layers)[1], side)


def rate_of_kernels_times_rates(layers: Layers, side: int) -> int:
    return smallest_rate([(kernel * rate, stride, 1) for kernel, stride, rate in layers], side)


_VGG = [
    *([(3, 1, 1)] * 2 + [(2, 2, 1)]) * 2,
    *([(3, 1, 1)] * 3 + [(2, 2, 1)]),
    *([(3, 1, 1)] * 3 + [(2, 1, 1)]),
    *([(3, 1, 2)] * 3 + [(2, 1, 2)]),
]

rate_for = Exercise(
    "9.1 How large must the rate be?",
    solution=smallest_rate,
    cases=[
        ([(3, 1, 1), (2, 2, 1)], 12),
        ([(3, 1, 1), (2, 2, 1)], 13),
        ([(3, 1, 1), (2, 2, 1)], 3),
        ([(3, 1, 1)], 1),
        ([(3, 1, 1)], 5),
        ([(3, 1, 1)], 8),
        ([(3, 1, 4)], 20),
        ([(3, 1, 4), (3, 1, 2)], 30),
        ([(2, 3, 1), (3, 1, 2), (5, 1, 1)], 100),
        ([(3, 2, 1), (3, 2, 3), (3, 1, 2)], 96),
        ([(1, 4, 1)], 33),
        ([(4, 4, 1), (4, 4, 1)], 977),
        (_VGG, 256),
        (_VGG, 404),
        (_VGG, 100),
    ],
    mistakes=(
        Mistake(
            rate_rounded_down,
            "The rate is rounded down, so the field may be too small. Round up.",
        ),
        Mistake(
            rate_below_one,
            "A rate is at least 1, also where the field is large enough already.",
        ),
        Mistake(
            rate_without_earlier_rates,
            "The rates of the layers are not used. A layer widens the field by (kernel - 1) times "
            "its rate times the step.",
        ),
        Mistake(
            rate_without_the_step,
            "The rate counts positions of the map, which are several pixels apart. Divide by their "
            "distance too.",
        ),
        Mistake(
            rate_in_positions,
            "Each position has a receptive field of its own already. Subtract it from the side.",
        ),
        Mistake(
            rate_of_one_gap,
            "A kernel of 3 has two gaps, so each unit of its rate widens the field by two steps.",
        ),
        Mistake(
            rate_of_three_gaps,
            "A kernel of 3 has three weights, but only two gaps between them.",
        ),
        Mistake(
            rate_that_exceeds,
            "Where a field of exactly `side` pixels is possible, this rate is one too large. "
            "Exactly `side` is enough; and does your field begin with 1, the pixel itself?",
        ),
        Mistake(
            rate_of_whole_kernels,
            "A layer widens the field by kernel - 1 gaps, not by kernel gaps.",
        ),
        Mistake(
            rate_with_strides_too_early,
            "A stride moves apart the positions *after* its layer. Multiply the step after the "
            "field has been widened.",
        ),
        Mistake(
            rate_with_rates_in_the_step,
            "A rate does not move positions apart: only strides multiply the step.",
        ),
        Mistake(
            rate_rounded,
            "The rate is rounded to the nearest integer. Round up, or the field may be too small.",
        ),
        Mistake(
            rate_not_rounded,
            "A rate is an integer: round up, because the field must be large enough.",
        ),
        Mistake(
            rate_from_zero,
            "Where the field is large enough already, the rate is 0 here. The smallest rate is 1.",
        ),
        Mistake(
            rate_with_stride_for_rate,
            "Stride and rate are exchanged: a layer is (kernel, stride, rate).",
        ),
        Mistake(
            rate_with_added_strides,
            "The strides are added. After strides of 2, 2 and 2, neighbouring positions are 8 "
            "pixels apart, and not 6.",
        ),
        Mistake(
            rate_with_the_last_layer_twice,
            "The field contains the last convolution with rate 1 already. The missing pixels then "
            "give what must be added to this rate.",
        ),
        Mistake(
            rate_of_the_last_stride,
            "Only the stride of the last layer is used for the step. The strides before it move "
            "positions apart too.",
        ),
        Mistake(
            rate_of_a_field_without_steps,
            "The gaps of a kernel are counted in positions of its own input. Count them in pixels: "
            "each gap is as long as the step before this layer.",
        ),
        Mistake(
            rate_of_kernels_times_rates,
            "With rate r, a kernel of k covers (k - 1) * r + 1 positions, and not k * r.",
        ),
    ),
    hints=(
        "First compute the receptive field of the layers, and the distance in pixels between "
        "neighbouring positions of their output.",
        "A 3 x 3 kernel with rate r widens the field by 2 * r * step. How many pixels are missing?",
        "max(1, math.ceil((side - field) / (2 * step)))",
    ),
    describe=lambda layers, side: (
        f"a side of {side} pixels and {counted(len(layers), 'layer')} {brief_layers(layers)}"
    ),
)


def brief_layers(layers: Sequence[tuple[int, ...]]) -> str:
    """The first few layers as text."""
    shown = ", ".join("/".join(map(str, layer)) for layer in layers[:6])
    names = "kernel/stride/rate" if len(layers[0]) == 3 else "kernel/stride"
    return f"({shown}{', ...' if len(layers) > 6 else ''}; {names})"


# ── 9.2 ──────────────────────────────────────────────────────────────────────────────────────────


def holes_for_strides(layers: Strided, output_stride: int) -> Holed:
    """Find the fault in this function, which replaces strides by holes:

        def holes(layers, output_stride):
            step, rate, result = 1, 1, []
            for kernel, stride in layers:
                if step * stride > output_stride:
                    rate *= stride
                    stride = 1
                step *= stride
                result.append((kernel, stride, rate))
            return result

    It runs, and for some networks its result is right. Find the fault, and write the function
    correctly. ``layers`` is a list of (kernel, stride), in the order of execution. A stride is kept
    if its product with all strides kept before it is at most ``output_stride``. Otherwise it
    becomes 1, and later kernels get holes. Return a list of (kernel, stride, rate) with which every
    kernel reads the same inputs as before, as in a network that is evaluated by shift-and-stitch.
    """
    step, rate, result = 1, 1, []
    for kernel, stride in layers:
        kept = step * stride <= output_stride
        result.append((kernel, stride if kept else 1, rate))
        if kept:
            step *= stride
        else:
            rate *= stride
    return result


def holes_one_layer_too_early(layers: Strided, output_stride: int) -> Holed:
    step, rate, result = 1, 1, []
    for kernel, stride in layers:
        if step * stride > output_stride:
            rate *= stride
            stride = 1
        step *= stride
        result.append((kernel, stride, rate))
    return result


def _holes(
    layers: Strided,
    grown: Callable[[int, int], int],
    keeps: Callable[[int, int], bool],
) -> Holed:
    """Holes by other rules, from (rate, removed stride) and from (step, stride)."""
    step, rate, result = 1, 1, []
    for kernel, stride in layers:
        kept = keeps(step, stride)
        result.append((kernel, stride if kept else 1, rate))
        step, rate = (step * stride, rate) if kept else (step, grown(rate, stride))
    return result


def _holes_of(layers: Strided, output_stride: int, grown: Callable[[int, int], int]) -> Holed:
    return _holes(layers, grown, lambda step, stride: step * stride <= output_stride)


def holes_that_double(layers: Strided, output_stride: int) -> Holed:
    return _holes_of(layers, output_stride, lambda rate, _: rate * 2)


def holes_that_grow_by_less(layers: Strided, output_stride: int) -> Holed:
    return _holes_of(layers, output_stride, lambda rate, stride: rate + stride - 1)


def holes_that_grow_by_one(layers: Strided, output_stride: int) -> Holed:
    return _holes_of(layers, output_stride, lambda rate, _: rate + 1)


def holes_that_add(layers: Strided, output_stride: int) -> Holed:
    return _holes_of(layers, output_stride, lambda rate, stride: rate + stride)


def holes_of_a_sum(layers: Strided, output_stride: int) -> Holed:
    added = holes_that_add(layers, output_stride)
    return [(kernel, stride, max(1, rate - 1)) for kernel, stride, rate in added]


def holes_of_the_last_stride(layers: Strided, output_stride: int) -> Holed:
    return _holes_of(layers, output_stride, lambda _, stride: stride)


def holes_and_strides(layers: Strided, output_stride: int) -> Holed:
    holes = holes_for_strides(layers, output_stride)
    pairs = zip(layers, holes, strict=True)
    return [(kernel, stride, rate) for (kernel, stride), (*_, rate) in pairs]


def strides_without_holes(layers: Strided, output_stride: int) -> Holed:
    return _holes_of(layers, output_stride, lambda *_: 1)


def holes_below_the_output_stride(layers: Strided, output_stride: int) -> Holed:
    return _holes(
        layers,
        lambda rate, stride: rate * stride,
        lambda step, stride: step * stride < output_stride or stride == 1,
    )


def holes_in_the_next_layer_only(layers: Strided, output_stride: int) -> Holed:
    step, rate, result = 1, 1, []
    for kernel, stride in layers:
        kept = step * stride <= output_stride
        result.append((kernel, stride if kept else 1, rate))
        step, rate = (step * stride, 1) if kept else (step, stride)
    return result


def holes_of_all_strides(layers: Strided, output_stride: int) -> Holed:
    holes, total, result = holes_for_strides(layers, output_stride), 1, []
    for (kernel, stride, _), (_, original) in zip(holes, layers, strict=True):
        result.append((kernel, stride, total))
        total *= original
    return result


def holes_everywhere(layers: Strided, output_stride: int) -> Holed:
    holes = holes_for_strides(layers, output_stride)
    total = math.prod(stride for _, stride in layers)
    kept = math.prod(stride for _, stride, _ in holes)
    return [(kernel, stride, total // kept) for kernel, stride, _ in holes]


def strides_removed_for_good(layers: Strided, output_stride: int) -> Holed:
    step, rate, result = 1, 1, []
    for kernel, stride in layers:
        step *= stride
        kept = step <= output_stride
        result.append((kernel, stride if kept else 1, rate))
        if not kept:
            rate *= stride
    return result


def strides_of_the_step_before(layers: Strided, output_stride: int) -> Holed:
    return _holes(
        layers,
        lambda rate, stride: rate * stride,
        lambda step, stride: step < output_stride or stride == 1,
    )


def strides_that_divide(layers: Strided, output_stride: int) -> Holed:
    return _holes(
        layers,
        lambda rate, stride: rate * stride,
        lambda step, stride: output_stride % (step * stride) == 0,
    )


def holes_without_strided_layers(layers: Strided, output_stride: int) -> Holed:
    pairs = zip(layers, holes_for_strides(layers, output_stride), strict=True)
    return [(k, s, 1 if original > 1 else rate) for (_, original), (k, s, rate) in pairs]


def holes_before_strides(layers: Strided, output_stride: int) -> Holed:
    return [(k, rate, s) for k, s, rate in holes_for_strides(layers, output_stride)]


def holes_in_larger_kernels(layers: Strided, output_stride: int) -> Holed:
    holes = holes_for_strides(layers, output_stride)
    return [((k - 1) * rate + 1, s, rate) for k, s, rate in holes]


_STRIDED_VGG = [
    *([(3, 1)] * 2 + [(2, 2)]) * 2,
    *([(3, 1)] * 3 + [(2, 2)]) * 3,
]

fix_holes = Exercise(
    "9.2 Find the fault: holes for strides",
    solution=holes_for_strides,
    cases=[
        ([(3, 1), (2, 2), (3, 1), (2, 2), (3, 1)], 2),
        ([(3, 1), (1, 2), (3, 1)], 1),
        # a kernel of 1 behind a removed stride may have any rate, so there is none
        ([*_STRIDED_VGG, (7, 1)], 8),
        ([*_STRIDED_VGG, (7, 1)], 32),
        ([(7, 2), (3, 2), (3, 2), (3, 1), (3, 2), (3, 1)], 8),
        ([(7, 2), (3, 2), (3, 2), (3, 1), (3, 2), (3, 1)], 1),
        ([(3, 3), (3, 1), (2, 3), (5, 1)], 3),
        ([(4, 4), (3, 2), (3, 3), (3, 1)], 4),
        ([(3, 2), (3, 3), (3, 2), (3, 1)], 4),
        ([(3, 2), (3, 4), (3, 2), (3, 1)], 7),
        ([(3, 1), (3, 1)], 1),
    ],
    mistakes=(
        Mistake(
            holes_one_layer_too_early,
            "The fault of the given function is still there. Write down for this input which "
            "positions each kernel reads, before the strides are removed and afterwards.",
        ),
        Mistake(
            holes_that_double,
            "Each removed stride doubles the rate here. A removed stride of 3 must triple it.",
        ),
        Mistake(
            holes_that_grow_by_less,
            "Each removed stride adds stride - 1 to the rate. After removed strides of 2 and 2, "
            "the map is 4 times as dense, and after 2, 2 and 2 it is 8 times as dense.",
        ),
        Mistake(
            holes_that_grow_by_one,
            "Each removed stride adds 1 to the rate. After a removed stride of 3, the map is 3 "
            "times as dense as before.",
        ),
        Mistake(
            holes_that_add,
            "Each removed stride is added to the rate. After one removed stride of 2, the rate is "
            "2, and not 3.",
        ),
        Mistake(
            holes_of_a_sum,
            "The rate is the sum of the removed strides. After removed strides of 2, 2 and 2, the "
            "map is 8 times as dense, and not 6 times.",
        ),
        Mistake(
            holes_of_the_last_stride,
            "The rate is the last removed stride. It must be the product of all strides that were "
            "removed before a layer.",
        ),
        Mistake(
            holes_and_strides,
            "The rates are right, but the strides are all kept. Where a stride does not fit, it "
            "becomes 1.",
        ),
        Mistake(
            strides_without_holes,
            "The strides are removed, but there are no holes: later kernels read inputs that are "
            "nearer to each other than before.",
        ),
        Mistake(
            holes_below_the_output_stride,
            "A stride with which the product is exactly output_stride is kept.",
        ),
        Mistake(
            holes_in_the_next_layer_only,
            "The rate goes back to 1. All later kernels need the holes, because the map stays "
            "dense.",
        ),
        Mistake(
            holes_of_all_strides,
            "Kept strides enlarge the rate too. A kept stride changes nothing for later kernels.",
        ),
        Mistake(
            holes_everywhere,
            "Every layer has the rate of the last one. Before the first removed stride, the rate "
            "is 1, and it grows at each removed stride.",
        ),
        Mistake(
            strides_removed_for_good,
            "The product also counts strides that were removed. It must contain the kept ones "
            "only.",
        ),
        Mistake(
            strides_of_the_step_before,
            "The product must contain the layer's own stride: otherwise a stride may be kept that "
            "exceeds output_stride.",
        ),
        Mistake(
            strides_that_divide,
            "A stride is kept here only if the product divides output_stride. It is enough that "
            "the product is not larger.",
        ),
        Mistake(
            holes_without_strided_layers,
            "Layers that had a stride get no holes here. Behind a removed stride, they read a "
            "denser map like all other layers.",
        ),
        Mistake(
            holes_before_strides,
            "Stride and rate are exchanged: return (kernel, stride, rate).",
        ),
        Mistake(
            holes_in_larger_kernels,
            "The first number is the kernel without its holes, as it was given.",
        ),
    ),
    hints=(
        "Take a pooling with stride 2 that loses its stride. Which inputs does the pooling itself "
        "read, before and after? And the next layer?",
        "Append the layer with the rate that holds *before* its own stride is removed.",
        "kept = step * stride <= output_stride; append (kernel, stride if kept else 1, rate); then "
        "multiply step or rate by the stride.",
    ),
    describe=lambda layers, output_stride: (
        f"output_stride={output_stride} and {counted(len(layers), 'layer')} {brief_layers(layers)}"
    ),
)


# ── 9.3 ──────────────────────────────────────────────────────────────────────────────────────────


def stitch(maps: Tensor) -> Tensor:
    """Interlace the maps of shift-and-stitch: (f, f, K, h, w) -> (K, f * h, f * w).

    ``maps[i, j]`` holds the scores of the image that was moved up by i steps and to the left by j
    steps. Position (y, x) of this map belongs to row f * y + i and column f * x + j of the result.
    """
    factor, _, classes, height, width = maps.shape
    return maps.permute(2, 3, 0, 4, 1).reshape(classes, factor * height, factor * width)


def stitch_transposed(maps: Tensor) -> Tensor:
    return stitch(maps.transpose(0, 1))


def stitch_blocks(maps: Tensor) -> Tensor:
    factor, _, classes, height, width = maps.shape
    return maps.permute(2, 0, 3, 1, 4).reshape(classes, factor * height, factor * width)


def stitch_backwards(maps: Tensor) -> Tensor:
    return stitch(maps.flip(0, 1))


def stitch_by_reshaping(maps: Tensor) -> Tensor:
    factor, _, classes, height, width = maps.shape
    return maps.reshape(classes, factor * height, factor * width)


def stitch_of_pixels(maps: Tensor) -> Tensor:
    factor, _, classes, height, width = maps.shape
    return stitch(maps[:1, :1].expand(factor, factor, classes, height, width))


def stitch_rows_only(maps: Tensor) -> Tensor:
    factor, _, classes, height, width = maps.shape
    return maps.permute(2, 3, 0, 1, 4).reshape(classes, factor * height, factor * width)


def stitch_columns_only(maps: Tensor) -> Tensor:
    factor, _, classes, height, width = maps.shape
    return maps.permute(2, 0, 3, 4, 1).reshape(classes, factor * height, factor * width)


def _stitch_from(maps: Tensor, starts: Sequence[int]) -> Tensor:
    """Map (i, j) fills the rows and columns from starts[i] and starts[j] on."""
    factor, _, classes, height, width = maps.shape
    result = torch.zeros(classes, factor * height, factor * width)
    for i, top in enumerate(starts):
        for j, left in enumerate(starts):
            result[:, top::factor, left::factor] = maps[i, j]
    return result


def stitch_of_four(maps: Tensor) -> Tensor:
    return _stitch_from(maps, range(min(len(maps), 2)))


def stitch_in_the_other_direction(maps: Tensor) -> Tensor:
    return _stitch_from(maps, [-i % len(maps) for i in range(len(maps))])


def stitch_without_offsets(maps: Tensor) -> Tensor:
    return _stitch_from(maps, [0] * len(maps))


def stitch_blocks_transposed(maps: Tensor) -> Tensor:
    return stitch_blocks(maps.transpose(0, 1))


def stitch_with_classes_in_front(maps: Tensor) -> Tensor:
    return stitch_by_reshaping(maps.permute(2, 0, 1, 3, 4).reshape(maps.shape))


def stitch_with_classes_last(maps: Tensor) -> Tensor:
    return stitch(maps).permute(1, 2, 0)


def stitch_with_sides_exchanged(maps: Tensor) -> Tensor:
    return stitch(maps).transpose(1, 2)


def stitch_in_a_batch(maps: Tensor) -> Tensor:
    return stitch(maps)[None]


def stitch_squeezed(maps: Tensor) -> Tensor:
    return stitch(maps).squeeze()


def stitch_permuted_for_pixel_shuffle(maps: Tensor) -> Tensor:
    factor, _, classes, height, width = maps.shape
    stacked = maps.reshape(factor * factor * classes, height, width)
    return torch.nn.functional.pixel_shuffle(stacked, factor)


def numbered_maps(factor: int, classes: int, height: int, width: int) -> tuple[Tensor]:
    """Maps in which every value occurs once."""
    count = factor * factor * classes * height * width
    return (torch.arange(float(count)).reshape(factor, factor, classes, height, width) / 8,)


interlace = Exercise(
    "9.3 Stitch",
    solution=stitch,
    cases=[
        numbered_maps(2, 1, 1, 1),
        numbered_maps(2, 1, 2, 3),
        numbered_maps(2, 3, 3, 2),
        numbered_maps(3, 2, 2, 4),
        numbered_maps(4, 2, 3, 5),
        numbered_maps(1, 2, 3, 2),
    ],
    mistakes=(
        Mistake(
            stitch_transposed,
            "Rows and columns are exchanged: i moves the image up and belongs to the rows, j "
            "belongs to the columns.",
        ),
        Mistake(
            stitch_blocks,
            "The maps stand side by side, as blocks. Neighbouring positions of one map must lie f "
            "positions apart in the result, with those of the other maps in between.",
        ),
        Mistake(
            stitch_backwards,
            "The order of the moves is reversed. The image that was not moved, i = j = 0, gives "
            "the rows 0, f, 2f and so on.",
        ),
        Mistake(
            stitch_by_reshaping,
            "A reshape alone keeps the order of the values in memory, in which each map stands as "
            "a whole. The axes must be permuted first.",
        ),
        Mistake(
            stitch_of_pixels,
            "Only the map of the image that was not moved is used, and each value is repeated.",
        ),
        Mistake(
            stitch_rows_only,
            "The rows are interlaced, but the columns of the maps stand side by side.",
        ),
        Mistake(
            stitch_columns_only,
            "The columns are interlaced, but the rows of the maps stand below each other.",
        ),
        Mistake(
            stitch_of_four,
            "Only moves by 0 and 1 are used. There are f * f maps: take f from the shape.",
        ),
        Mistake(
            stitch_permuted_for_pixel_shuffle,
            "pixel_shuffle needs the class as the slowest axis, before i and j. Permute the axes "
            "first.",
        ),
        Mistake(
            stitch_in_the_other_direction,
            "The maps are moved in the wrong direction: a larger i belongs to a lower row of the "
            "result, and a larger j to a column further to the right.",
        ),
        Mistake(
            stitch_without_offsets,
            "All maps are written to the same positions, so only the last one is left. At which "
            "row and column does map (i, j) begin?",
        ),
        Mistake(
            stitch_blocks_transposed,
            "The maps stand side by side as blocks, with i along the columns. They must be "
            "interlaced, with i along the rows.",
        ),
        Mistake(
            stitch_with_classes_in_front,
            "Only the classes are moved to the front. Each map still stands as a whole in memory, "
            "and a reshape does not interlace the maps.",
        ),
        Mistake(
            stitch_with_classes_last,
            "The classes are the last axis of the result. They must be the first: (K, f * h, "
            "f * w).",
        ),
        Mistake(stitch_with_sides_exchanged, "Height and width of the result are exchanged."),
        Mistake(
            stitch_in_a_batch,
            "The result has one axis too many. Its shape is (K, f * h, f * w), without a batch.",
        ),
        Mistake(
            stitch_squeezed,
            "An axis of length 1 is lost. With one class, the result still has three axes.",
        ),
    ),
    hints=(
        "Make an empty result, and fill it with one map after the other. Which rows does map (i, "
        "j) fill?",
        "A slice with a step does it: rows i, i + f, i + 2f, ... are i::f.",
        "result[:, i::f, j::f] = maps[i, j], for all i and j.",
    ),
    describe=lambda maps: f"maps of shape {tuple(maps.shape)}",
)


# ── 9.4 ──────────────────────────────────────────────────────────────────────────────────────────


def mean_taps(height: int, width: int, rate: int) -> float:
    """Predict how many weights of an atrous kernel meet the map, on average.

    A 3 x 3 kernel with the given rate slides over a map of ``height`` x ``width`` positions with
    ``padding=rate``. At each position, some of its nine weights read the map, and the others read
    the padding. Return the mean, over all positions, of the number of weights that read the map.
    """

    def along(side):
        return 1 + 2 * max(side - rate, 0) / side

    return along(height) * along(width)


def taps_may_be_negative(height: int, width: int, rate: int) -> float:
    return (1 + 2 * (height - rate) / height) * (1 + 2 * (width - rate) / width)


def taps_as_a_share(height: int, width: int, rate: int) -> float:
    return mean_taps(height, width, rate) / 9


def taps_added(height: int, width: int, rate: int) -> float:
    return 1 + 2 * max(height - rate, 0) / height + 2 * max(width - rate, 0) / width


def taps_of_one_side(height: int, width: int, rate: int) -> float:
    return (1 + max(height - rate, 0) / height) * (1 + max(width - rate, 0) / width)


def taps_in_the_middle(height: int, width: int, rate: int) -> float:
    def along(side: int) -> int:
        middle = side // 2
        return sum(0 <= middle + step * rate < side for step in (-1, 0, 1))

    return along(height) * along(width)


def taps_that_all_meet(height: int, width: int, rate: int) -> float:
    def along(side: int) -> float:
        return max(side - 2 * rate, 0) / side

    return 9 * along(height) * along(width)


def taps_all_or_one(height: int, width: int, rate: int) -> float:
    def along(side: int) -> float:
        return max(side - 2 * rate, 0) / side

    share = along(height) * along(width)
    return 9 * share + 1 - share


def taps_on_a_square(height: int, width: int, rate: int) -> float:
    return mean_taps(width, width, rate)


def taps_of_the_height(height: int, width: int, rate: int) -> float:
    return mean_taps(height, height, rate)


def taps_of_the_longer_side(height: int, width: int, rate: int) -> float:
    return mean_taps(max(height, width), max(height, width), rate)


def taps_of_the_shorter_side(height: int, width: int, rate: int) -> float:
    return mean_taps(min(height, width), min(height, width), rate)


def taps_of_both_axes_added(height: int, width: int, rate: int) -> float:
    return 2 + 2 * max(height - rate, 0) / height + 2 * max(width - rate, 0) / width


def taps_of_eight_corners(height: int, width: int, rate: int) -> float:
    return 1 + 8 * max(height - rate, 0) / height * max(width - rate, 0) / width


def taps_of_a_distance(height: int, width: int, rate: int) -> float:
    return (1 + 2 * abs(height - rate) / height) * (1 + 2 * abs(width - rate) / width)


def taps_nine_or_one(height: int, width: int, rate: int) -> int:
    return 9 if rate < min(height, width) else 1


def taps_of_a_point(height: int, width: int, rate: int) -> float:
    return mean_taps(height, width, rate) if rate < min(height, width) else 1


def taps_of_twice_the_rate(height: int, width: int, rate: int) -> float:
    return mean_taps(height, width, 2 * rate)


def taps_of_the_median(height: int, width: int, rate: int) -> Tensor:
    ones = torch.ones(1, 1, height, width)
    return torch.conv2d(ones, torch.ones(1, 1, 3, 3), padding=rate, dilation=rate).median()


def taps_without_the_middle(height: int, width: int, rate: int) -> float:
    return mean_taps(height, width, rate) - 1


def taps_in_total(height: int, width: int, rate: int) -> float:
    return mean_taps(height, width, rate) * height * width


def taps_missing(height: int, width: int, rate: int) -> float:
    return 9 - mean_taps(height, width, rate)


def taps_of_a_smaller_rate(height: int, width: int, rate: int) -> float:
    return mean_taps(height, width, rate - 1)


def taps_along_one_axis(height: int, width: int, rate: int) -> float:
    return 3 * (1 + 2 * max(width - rate, 0) / width)


def taps_rounded(height: int, width: int, rate: int) -> int:
    return round(mean_taps(height, width, rate))


taps = Exercise(
    "9.4 Predict: weights that meet the map",
    solution=mean_taps,
    cases=[
        (3, 3, 1),
        (5, 4, 1),
        (4, 5, 2),
        (13, 17, 6),
        (13, 17, 12),
        (13, 17, 14),
        (17, 13, 14),
        (13, 17, 18),
        (41, 41, 24),
        (6, 6, 6),
        (1, 8, 1),
        (2, 2, 7),
        (20, 10, 3),
    ],
    mistakes=(
        Mistake(
            taps_may_be_negative,
            "Where the rate is larger than the side, the outer weights meet the map nowhere. Their "
            "number is 0 there, and not negative.",
        ),
        Mistake(taps_as_a_share, "This is the share of the nine weights. Return their number."),
        Mistake(
            taps_added,
            "The weights along the two axes are added, so the corners of the kernel are missing. "
            "A weight meets the map if its row and its column do: multiply.",
        ),
        Mistake(
            taps_of_one_side,
            "Along each axis, there are weights on both sides of the middle one.",
        ),
        Mistake(
            taps_in_the_middle,
            "This is the number at the middle position of the map. Positions near the border have "
            "fewer: take the mean over all positions.",
        ),
        Mistake(
            taps_that_all_meet,
            "Only positions where the whole kernel fits are counted. Elsewhere, some of the "
            "weights still meet the map.",
        ),
        Mistake(
            taps_all_or_one,
            "Either all nine weights or only the middle one are counted. Near the border, some of "
            "the outer weights meet the map and others do not.",
        ),
        Mistake(taps_on_a_square, "The height is not used. The map need not be square."),
        Mistake(taps_of_the_height, "The width is not used. The map need not be square."),
        Mistake(taps_of_the_longer_side, "The longer side is used for both axes."),
        Mistake(taps_of_the_shorter_side, "The shorter side is used for both axes."),
        Mistake(
            taps_of_both_axes_added,
            "The numbers of the two axes are added. A weight meets the map if its row and its "
            "column do.",
        ),
        Mistake(
            taps_of_eight_corners,
            "All eight outer weights are counted like the four corners. The other four move along "
            "one axis only.",
        ),
        Mistake(
            taps_of_a_distance,
            "Where the rate is larger than the side, the outer weights are counted although they "
            "meet the map nowhere.",
        ),
        Mistake(
            taps_nine_or_one,
            "The result is always 9 or 1. If an outer weight meets the map at some of the "
            "positions, the mean lies in between.",
        ),
        Mistake(
            taps_of_a_point,
            "If the rate reaches the shorter side, only the middle weight is counted. Along the "
            "longer side, outer weights may still meet the map.",
        ),
        Mistake(
            taps_of_twice_the_rate,
            "An outer weight leaves the map on one side only, so it misses `rate` of the "
            "positions, and not twice as many.",
        ),
        Mistake(taps_of_the_median, "This is the median of all positions. Return the mean."),
        Mistake(taps_without_the_middle, "The middle weight meets the map too: it is missing."),
        Mistake(taps_in_total, "This is the sum over all positions. Return the mean."),
        Mistake(taps_missing, "These are the weights that read the padding. Return the others."),
        Mistake(
            taps_of_a_smaller_rate,
            "The distance to the outer weights is the rate itself, so an outer weight leaves the "
            "map at `rate` of the positions.",
        ),
        Mistake(
            taps_along_one_axis,
            "All three weights of a column are counted everywhere. Near the upper and the lower "
            "border, some of them read the padding.",
        ),
        Mistake(taps_rounded, "The mean is not rounded: return a decimal number."),
    ),
    hints=(
        "Look at one axis first. At how many of the `side` positions does the weight on the right "
        "meet the map?",
        "Along one axis, the middle weight always meets the map, and each outer one at max(side - "
        "rate, 0) of the positions. The mean number is 1 + 2 * max(side - rate, 0) / side.",
        "The nine weights are all pairs of a row and a column: multiply the numbers of both axes.",
    ),
    describe=lambda height, width, rate: f"a map of {height} x {width} positions and rate {rate}",
)


# ── 9.5 ──────────────────────────────────────────────────────────────────────────────────────────


def mean_field_update(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    """One mean-field update of a CRF with different costs for different pairs of classes.

    ``log_p`` and ``q`` have shape (K, P), for K classes and P pixels: the logarithms of the
    network's probabilities, and the current distributions. ``k`` (P, P) is a symmetric matrix of
    similarities. ``cost`` (K, K) says how much energy a pixel of class c costs beside a similar
    pixel of class d: ``cost[c, d]``. In the chapter, the cost was 0 for equal classes and 1 for
    different ones. As in the original definition of the dense CRF, a pixel receives nothing from
    itself. Return the new distributions (K, P): at pixel i, the softmax over the classes c of

        log_p[c, i] - sum over classes d and pixels j other than i of cost[c, d] * k[i, j] * q[d, j]
    """
    others = k - torch.diag(k.diagonal())
    return (log_p - cost @ q @ others).softmax(dim=0)


def update_with_own_message(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    return (log_p - cost @ q @ k).softmax(dim=0)


def update_with_plus(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    others = k - torch.diag(k.diagonal())
    return (log_p + cost @ q @ others).softmax(dim=0)


def update_of_equal_costs(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    others = k - torch.diag(k.diagonal())
    return (log_p + q @ others).softmax(dim=0)


def update_with_transposed_cost(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    return mean_field_update(log_p, q, k, cost.T)


def update_over_pixels(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    others = k - torch.diag(k.diagonal())
    return (log_p - cost @ q @ others).softmax(dim=1)


def update_of_the_last_distribution(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    return mean_field_update(q.log(), q, k, cost)


def update_without_the_network(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    return mean_field_update(torch.zeros_like(log_p), q, k, cost)


def update_with_probabilities(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    return mean_field_update(log_p.exp(), q, k, cost)


def update_from_the_start(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    return mean_field_update(log_p, log_p.exp(), k, cost)


def update_without_softmax(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    others = k - torch.diag(k.diagonal())
    return log_p - cost @ q @ others


def update_without_a_sum(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    return update_without_softmax(log_p, q, k, cost).exp()


def update_in_logarithms(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    return mean_field_update(log_p, q, k, cost).log()


def update_of_the_chapter(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    return (log_p + q @ k).softmax(dim=0)


def update_of_a_mean(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    others = k - torch.diag(k.diagonal())
    return (log_p - cost @ q @ (others / others.sum(dim=0))).softmax(dim=0)


def update_with_half_of_the_pairs(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    return (log_p - cost @ q @ k.triu(1)).softmax(dim=0)


def update_with_own_similarity_one(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    return (log_p - cost @ (q @ k - q)).softmax(dim=0)


def update_with_the_wrong_diagonal(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    return update_with_own_message(log_p, q, k, cost - torch.diag(cost.diagonal()))


def update_one_after_the_other(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    q = q.clone()
    for i in range(q.shape[1]):
        q[:, i] = mean_field_update(log_p, q, k, cost)[:, i]
    return q


def update_with_classes_removed(log_p: Tensor, q: Tensor, k: Tensor, cost: Tensor) -> Tensor:
    different = cost - torch.diag(cost.diagonal())
    return mean_field_update(log_p, q, k, different)


def field(classes: int, pixels: int, seed: int, strength: float = 1.0) -> tuple[Tensor, ...]:
    """Distributions, similarities and costs that have no pattern."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    log_p = (3 * random(classes, pixels)).log_softmax(dim=0)
    q = (2 * random(classes, pixels)).softmax(dim=0)
    k = strength * random(pixels, pixels)
    return log_p, q, (k + k.T) / 2, 2 * random(classes, classes)


def field_without_own(classes: int, pixels: int, seed: int) -> tuple[Tensor, ...]:
    """A field whose k has a diagonal of 0: a second mistake besides the diagonal shows alone."""
    log_p, q, k, cost = field(classes, pixels, seed)
    return log_p, q, k.fill_diagonal_(0), cost


def _two_pixels() -> tuple[Tensor, ...]:
    p = torch.tensor([[0.9, 0.4], [0.1, 0.6]])
    k = torch.tensor([[5.0, 1.0], [1.0, 5.0]])
    return p.log(), p.clone(), k, 1 - torch.eye(2)


mean_field = Exercise(
    "9.5 One mean-field update",
    solution=mean_field_update,
    cases=lambda: [
        _two_pixels(),
        field(2, 3, seed=0),
        field(3, 5, seed=1),
        field(4, 4, seed=2, strength=3.0),
        field(3, 3, seed=3, strength=0.2),
        *(field_without_own(classes, 4, seed=classes) for classes in (2, 3, 4, 5, 6)),
    ],
    mistakes=(
        Mistake(
            update_with_own_message,
            "A pixel also receives its own message here. Leave the diagonal of k out.",
        ),
        Mistake(
            update_with_plus,
            "The cost is added. A high cost makes a class less probable: subtract it.",
        ),
        Mistake(
            update_of_equal_costs,
            "This is the update of the chapter, where all pairs of different classes cost 1. Use "
            "the argument `cost`.",
        ),
        Mistake(
            update_with_transposed_cost,
            "The two classes of the cost are exchanged: cost[c, d] has the class c of pixel i "
            "first.",
        ),
        Mistake(
            update_over_pixels,
            "The softmax runs over the pixels. The classes are the first axis.",
        ),
        Mistake(
            update_of_the_last_distribution,
            "The update starts from the logarithm of q. It always starts from the network's log_p, "
            "or the network would be forgotten after some updates.",
        ),
        Mistake(
            update_without_the_network,
            "log_p is missing: the new distributions depend on the messages alone.",
        ),
        Mistake(
            update_with_probabilities,
            "The probabilities themselves are used. The unary term is their logarithm.",
        ),
        Mistake(
            update_from_the_start,
            "The messages come from the network's probabilities. They must come from the current "
            "distributions q.",
        ),
        Mistake(
            update_without_softmax,
            "The result is not normalised: the probabilities of a pixel add up to 1. Take the "
            "softmax over the classes.",
        ),
        Mistake(
            update_of_a_mean,
            "The similarities are divided by their sum. Take k as it is given.",
        ),
        Mistake(
            update_of_the_chapter,
            "This is the line of the chapter. Here, the costs are given by the argument `cost`, "
            "and a pixel receives nothing from itself.",
        ),
        Mistake(
            update_without_a_sum,
            "The exponential is not divided by its sum over the classes, so the probabilities of a "
            "pixel do not add up to 1.",
        ),
        Mistake(
            update_in_logarithms,
            "These are the logarithms of the new probabilities. Return the probabilities.",
        ),
        Mistake(
            update_with_half_of_the_pairs,
            "Each pair of pixels is used once only, but both of its pixels receive a message.",
        ),
        Mistake(
            update_with_own_similarity_one,
            "The similarity of a pixel to itself is taken as 1. It stands on the diagonal of k, "
            "and need not be 1.",
        ),
        Mistake(
            update_with_the_wrong_diagonal,
            "The diagonal of the cost is left out, and the diagonal of k is not. A pixel receives "
            "nothing from *itself*; a cost of equal classes counts.",
        ),
        Mistake(
            update_one_after_the_other,
            "The pixels are updated one after the other, and later pixels receive new "
            "distributions. All messages must come from the given q.",
        ),
        Mistake(
            update_with_classes_removed,
            "The diagonal of the cost is left out. Only the diagonal of k is: cost[c, c] counts if "
            "it is not 0.",
        ),
    ),
    hints=(
        "Begin with the messages q @ k, of shape (K, P): for every class, the sum over all pixels. "
        "Whose message must not be in it?",
        "Set the diagonal of k to zero. The costs mix the classes: cost @ messages.",
        "(log_p - cost @ q @ others).softmax(dim=0), where others is k without its diagonal.",
    ),
    describe=lambda log_p, q, k, cost: (
        f"{log_p.shape[0]} classes and {log_p.shape[1]} pixels (case with k[0, 1] = {k[0, 1]:.3f})"
    ),
)


# ── 9.6 ──────────────────────────────────────────────────────────────────────────────────────────


def counterexamples(before: Tensor, after: Tensor, target: Tensor, num_classes: int) -> list[int]:
    """Decide which classes contradict the claim that a CRF improves the prediction.

    ``before`` and ``after`` are predictions (N, H, W), and ``target`` is the ground truth, with
    classes from 0 to ``num_classes`` - 1, or 255 where it is void. If the mean IoU does not rise,
    the claim fails for the mean already: return an empty list. Otherwise return, in ascending
    order, the classes whose IoU after the CRF is *smaller* than before. The IoU counts all N images
    together, and leaves void out. A class that occurs neither in a prediction nor in the target has
    no IoU there: leave it out of the mean IoU of this prediction. The mean IoU of the other
    prediction may still contain it.
    """
    old = iou(confusion_matrix(before, target, num_classes))
    new = iou(confusion_matrix(after, target, num_classes))
    if not new.nanmean() > old.nanmean():
        return []
    return [c for c in range(num_classes) if new[c] < old[c]]


def _ious(*case: Any) -> tuple[Tensor, Tensor]:
    before, after, target, num_classes = case
    old, new = (iou(confusion_matrix(preds, target, num_classes)) for preds in (before, after))
    return old, new


def _falling(old: Tensor, new: Tensor, means: Sequence[Tensor] = ()) -> list[int]:
    """The classes whose number falls, if the second mean is larger."""
    first, second = means or (old.nanmean(), new.nanmean())
    return [c for c in range(len(old)) if new[c] < old[c]] if second > first else []


def classes_whatever_the_mean(*case: Any) -> list[int]:
    old, new = _ious(*case)
    return [c for c in range(len(old)) if new[c] < old[c]]


def classes_that_improve(*case: Any) -> list[int]:
    old, new = _ious(*case)
    return [c for c in range(len(old)) if new[c] > old[c]] if new.nanmean() > old.nanmean() else []


def classes_not_better(*case: Any) -> list[int]:
    old, new = _ious(*case)
    return [c for c in range(len(old)) if new[c] <= old[c]] if new.nanmean() > old.nanmean() else []


def classes_that_vanish_too(*case: Any) -> list[int]:
    old, new = _ious(*case)
    listed = [c for c in range(len(old)) if not new[c] >= old[c]]
    return listed if new.nanmean() > old.nanmean() else []


def classes_by_accuracy(before: Tensor, after: Tensor, target: Tensor, n: int) -> list[int]:
    right = [((preds == target) & (target != 255)).sum() for preds in (before, after)]
    return _falling(*_ious(before, after, target, n), right)


def classes_by_recall(before: Tensor, after: Tensor, target: Tensor, n: int) -> list[int]:
    old, new = _ious(before, after, target, n)
    hits = [torch.stack([((preds == c) & (target == c)).sum() for c in range(n)])
            for preds in (before, after)]  # fmt: skip
    return _falling(*hits, [old.nanmean(), new.nanmean()])


def classes_image_by_image(before: Tensor, after: Tensor, target: Tensor, n: int) -> list[int]:
    images = zip(before, after, target, strict=True)
    pairs = [torch.stack(_ious(*image, n)) for image in images]
    return _falling(*torch.stack(pairs).nanmean(dim=0))


def classes_with_a_mean_of_images(*case: Any) -> list[int]:
    means = torch.stack([torch.stack(_ious(*p, case[3])) for p in zip(*case[:3], strict=True)])
    return _falling(*_ious(*case), means.nanmean(dim=2).mean(dim=0).unbind())


def classes_with_absent_as_zero(*case: Any) -> list[int]:
    old, new = (each.nan_to_num(0) for each in _ious(*case))
    return _falling(old, new)


def classes_with_absent_as_one(*case: Any) -> list[int]:
    old, new = (each.nan_to_num(1) for each in _ious(*case))
    return _falling(old, new)


def classes_above_zero(*case: Any) -> list[int]:
    old, new = (each.masked_fill(each == 0, math.nan) for each in _ious(*case))
    return _falling(old, new)


def classes_that_are_predicted(before: Tensor, after: Tensor, target: Tensor, n: int) -> list[int]:
    pairs = zip(_ious(before, after, target, n), (before, after), strict=True)
    old, new = (
        each.masked_fill(torch.tensor([not (preds == c).any() for c in range(n)]), math.nan)
        for each, preds in pairs
    )
    return _falling(old, new)


def classes_that_are_left(before: Tensor, after: Tensor, target: Tensor, n: int) -> list[int]:
    return [c for c in counterexamples(before, after, target, n) if (after == c).any()]


def classes_with_void_wrong(before: Tensor, after: Tensor, target: Tensor, n: int) -> list[int]:
    return counterexamples(before, after, target.masked_fill(target == 255, 0), n)


def classes_with_void_right(*case: Any) -> list[int]:
    *maps, n = case
    void = maps[2] == 255
    return counterexamples(*(each.masked_fill(void, 0) for each in maps), n)


def classes_with_void_in_the_union(*case: Any) -> list[int]:
    *maps, n = case
    maps[2] = maps[2].masked_fill(maps[2] == 255, n)
    old, new = _ious(*maps, n + 1)
    return _falling(old[:n], new[:n])


def classes_if_the_mean_stays(*case: Any) -> list[int]:
    old, new = _ious(*case)
    return [] if new.nanmean() < old.nanmean() else classes_whatever_the_mean(*case)


def classes_with_nan_in_the_mean(*case: Any) -> list[int]:
    old, new = _ious(*case)
    return _falling(old, new, [old.mean(), new.mean()])


def classes_of_the_other_order(before: Tensor, after: Tensor, target: Tensor, n: int) -> list[int]:
    return counterexamples(after, before, target, n)


def the_worst_class(*case: Any) -> list[int]:
    return counterexamples(*case)[:1]


def classes_in_order_of_loss(*case: Any) -> list[int]:
    old, new = _ious(*case)
    return sorted(counterexamples(*case), key=lambda c: (new[c] - old[c]).item())


def classes_lost_from_the_target(
    before: Tensor, after: Tensor, target: Tensor, n: int
) -> list[int]:
    return [c for c in counterexamples(before, after, target, n) if not (after == c).any()]


def no_classes(*_: Any) -> list[int]:
    return []


def pictures(*rows: str) -> Tensor:
    """Label maps from digits, '.' for void, one image a text, its lines between slashes."""
    images = [
        [[255 if mark == "." else int(mark) for mark in line] for line in row.split("/")]
        for row in rows
    ]
    return torch.tensor(images)


def noisy(seed: int, num_classes: int, shares: tuple[float, float]) -> tuple[Tensor, ...]:
    """A target, and two predictions of it with some shares of wrong pixels."""
    generator = torch.Generator().manual_seed(seed)
    shape = (3, 7, 9)
    target = torch.randint(num_classes, shape, generator=generator)
    other = torch.randint(num_classes, (2, *shape), generator=generator)
    wrong = torch.rand((2, *shape), generator=generator)
    before, after = (
        torch.where(wrong[n] < share, other[n], target) for n, share in enumerate(shares)
    )
    void = torch.rand(shape, generator=generator) < 0.1
    return before, after, target.masked_fill(void, 255), num_classes


judge = Exercise(
    "9.6 Decide: what does the CRF cost?",
    solution=counterexamples,
    cases=lambda: [
        # a class of the target is erased, and the mean rises all the same
        (pictures("111"), pictures("100"), pictures("110"), 2),
        (pictures("012"), pictures("220"), pictures("210"), 3),
        (pictures("0022/2211"), pictures("0011/0011"), pictures("0011/0211"), 3),
        # a class that is predicted nowhere, or only once, beside void
        (pictures("120"), pictures("000"), pictures("02."), 3),
        (pictures("000"), pictures("122"), pictures("0.2"), 3),
        (pictures("000"), pictures("011"), pictures(".01"), 2),
        # the mean over all pixels rises, that of the images' means falls
        (pictures("011", "111"), pictures("001", "010"), pictures("011", "000"), 2),
        # the mean rises by less than 0.005
        (pictures("101101"), pictures("000100"), pictures("001000"), 2),
        # a lamp (2) is erased while the boundary of 0 and 1 improves
        (pictures("0001/0211/0001"), pictures("0011/0011/0011"), pictures("0011/0211/0011"), 3),
        # the mean falls
        (pictures("0011/0211/0011"), pictures("0001/0011/0001"), pictures("0011/0211/0011"), 3),
        # nothing changes
        (pictures("0011/0011"), pictures("0011/0011"), pictures("0111/0011"), 2),
        # the mean stays the same, one class loses
        (pictures("0111"), pictures("0001"), pictures("0011"), 2),
        # classes that are absent everywhere
        (pictures("0001/0011"), pictures("0011/0011"), pictures("0011/0011"), 4),
        (pictures("0001/0211/0001"), pictures("0011/0011/0011"), pictures("0011/0211/0011"), 4),
        # a class that is absent everywhere, while the mean rises
        (*noisy(0, 5, (0.6, 0.5))[:3], 6),
        # a false class disappears and has no IoU any more
        (pictures("0031/2211"), pictures("0011/2111"), pictures("0011/2211"), 4),
        # void
        (pictures("0011/0011"), pictures("0000/0111"), pictures(".011/0111"), 2),
        (pictures("1001/0211/2222"), pictures("0001/0111/2222"), pictures("..01/0211/2222"), 3),
        noisy(0, 5, (0.6, 0.5)),
        noisy(1, 6, (0.5, 0.45)),
        noisy(2, 4, (0.3, 0.5)),
        noisy(3, 8, (0.5, 0.4)),
        noisy(5, 8, (0.7, 0.6)),
        noisy(8, 3, (0.5, 0.49)),
        # better in pixels, worse in the mean
        (
            pictures("00001/00021/00001"),
            pictures("00011/00011/00011"),
            pictures("00011/00021/00011"),
            3,
        ),
    ],
    mistakes=(
        Mistake(
            classes_whatever_the_mean,
            "The mean IoU is not compared. If it does not rise, the list is empty.",
        ),
        Mistake(
            classes_that_improve,
            "These are the classes whose IoU rises. The counterexamples are those whose IoU falls.",
        ),
        Mistake(
            classes_not_better,
            "A class whose IoU stays equal is no counterexample: its IoU must be smaller.",
        ),
        Mistake(
            classes_by_accuracy,
            "The number of right pixels is compared. The question asks for the mean IoU, in which "
            "a rare class counts as much as a frequent one.",
        ),
        Mistake(
            classes_by_recall,
            "Only right pixels are counted. The IoU of a class also falls if the class is "
            "predicted at wrong pixels.",
        ),
        Mistake(
            classes_image_by_image,
            "The IoU is computed for each image and averaged. Use one confusion matrix of all "
            "images.",
        ),
        Mistake(
            classes_with_a_mean_of_images,
            "The two means are computed image by image. Compare the means of the IoUs that count "
            "all images together.",
        ),
        Mistake(
            classes_with_absent_as_zero,
            "Both means are taken over the same classes. A class that only one prediction "
            "contains, and the target does not, counts as 0 in the mean of this prediction and is "
            "left out of the other mean (nanmean).",
        ),
        Mistake(
            classes_with_absent_as_one,
            "A class without IoU is counted as 1, as in some libraries. Leave it out of the mean "
            "and of the list.",
        ),
        Mistake(
            classes_above_zero,
            "A class whose IoU is 0 is treated as if it had none. It counts in the mean and may "
            "be listed.",
        ),
        Mistake(
            classes_that_are_predicted,
            "A class of the target that is not predicted is left out. Its IoU is 0, and it counts "
            "in the mean.",
        ),
        Mistake(
            classes_that_are_left,
            "A class that the CRF erases is not listed. Its IoU has fallen to 0.",
        ),
        Mistake(
            classes_that_vanish_too,
            "A class without IoU is listed. Without a number before and after, nothing can be "
            "compared.",
        ),
        Mistake(
            classes_with_void_wrong,
            "Void pixels are counted as class 0. They must be left out: confusion_matrix skips "
            "255.",
        ),
        Mistake(
            classes_with_void_right,
            "Void is overwritten in the predictions too, so the void pixels count as right.",
        ),
        Mistake(
            classes_with_void_in_the_union,
            "Void pixels are counted in the unions. Leave them out of the predictions too.",
        ),
        Mistake(
            classes_if_the_mean_stays,
            "If the mean IoU stays exactly the same, the CRF is not better: the list is empty.",
        ),
        Mistake(
            classes_with_nan_in_the_mean,
            "A class without IoU makes the mean nan, and nan is never larger. Use nanmean.",
        ),
        Mistake(
            classes_of_the_other_order,
            "The two predictions are exchanged: `before` is the one without the CRF.",
        ),
        Mistake(
            no_classes,
            "The list is always empty. It must be empty only if the mean IoU does not rise, or if "
            "no IoU falls.",
        ),
        Mistake(the_worst_class, "Only one class is returned. Return all whose IoU falls."),
        Mistake(
            classes_in_order_of_loss,
            "The classes are right, but their order is not: return them in ascending order.",
        ),
        Mistake(
            classes_lost_from_the_target,
            "Only classes that disappear completely are returned. A class whose IoU falls to a "
            "smaller value counts too.",
        ),
    ),
    hints=(
        "Compute the IoU of every class before and after: iou(confusion_matrix(before, target, "
        "num_classes)) from segcourse.metrics gives one number per class, nan without IoU.",
        "Compare the two means with nanmean first, then the classes one by one.",
        "return [c for c in range(num_classes) if new[c] < old[c]]; comparisons with nan are "
        "false.",
    ),
    describe=lambda before, after, target, num_classes: (
        f"num_classes={num_classes} and predictions of shape {tuple(before.shape)}"
        if before.numel() > 16
        else f"num_classes={num_classes}, before {brief(before)}, after {brief(after)} and target "
        f"{brief(target)}"
    ),
)
