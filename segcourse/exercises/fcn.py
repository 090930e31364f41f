"""Exercises of the FCN chapter."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake
from segcourse.metrics.semantic import confusion_matrix, iou, mean_iou

CONVOLUTION, POOLING = (3, 1), (2, 2)  # kernel, stride
VGG16 = [
    *([CONVOLUTION] * 2 + [POOLING]) * 2,
    *([CONVOLUTION] * 3 + [POOLING]) * 3,
]


# ── 6.1 ────────────────────────────────────────────────────────────────────────────────────────


def receptive_field(layers: Sequence[tuple[int, int]]) -> int:
    """How many pixels of the image, along one axis, does one unit after these layers see?

    ``layers`` are (kernel, stride) pairs, the one that touches the image first.
    """
    field, step = 1, 1  # pixels seen, and pixels between two neighbouring units
    for kernel, stride in layers:
        field += (kernel - 1) * step
        step *= stride
    return field


def field_ignores_strides(layers: Sequence[tuple[int, int]]) -> int:
    return 1 + sum(kernel - 1 for kernel, _ in layers)


def field_adds_whole_kernels(layers: Sequence[tuple[int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride in layers:
        field += kernel * step
        step *= stride
    return field


def field_strides_too_early(layers: Sequence[tuple[int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride in layers:
        step *= stride
        field += (kernel - 1) * step
    return field


def field_uses_only_the_layers_own_stride(layers: Sequence[tuple[int, int]]) -> int:
    return 1 + sum((kernel - 1) * stride for kernel, stride in layers)


def field_starts_at_nothing(layers: Sequence[tuple[int, int]]) -> int:
    return receptive_field(layers) - 1


def field_walks_the_wrong_way(layers: Sequence[tuple[int, int]]) -> int:
    field = 1
    for kernel, stride in layers:
        field = (field - 1) * stride + kernel
    return field


def field_uses_only_the_stride_before(layers: Sequence[tuple[int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * step
        step = stride
    return field


receptive_field_of = Exercise(
    "6.1 Receptive field",
    solution=receptive_field,
    cases=[
        ([(3, 1), (2, 2)],),
        ([(3, 1)],),
        ([(3, 1), (3, 1)],),
        ([(2, 2), (3, 1)],),
        ([(3, 1), (2, 2), (3, 1), (2, 2), (5, 1)],),
        ([(7, 2), (3, 2), (1, 1), (3, 3)],),
        (VGG16,),
        ([*VGG16, (7, 1), (1, 1)],),
    ],
    mistakes=(
        Mistake(
            field_ignores_strides,
            "After a pooling, neighbouring units lie two pixels apart: a kernel then reaches "
            "further. Multiply (kernel - 1) by the product of all earlier strides.",
        ),
        Mistake(
            field_adds_whole_kernels,
            "A kernel of 3 sees its own unit and two more: each layer adds kernel - 1, not kernel.",
        ),
        Mistake(
            field_strides_too_early,
            "A layer's own stride spreads the units *after* it: use the product of the strides "
            "of the earlier layers, and multiply this one in afterwards.",
        ),
        Mistake(
            field_uses_only_the_layers_own_stride,
            "A stride spreads the units of all *later* layers, not its own kernel: multiply "
            "(kernel - 1) by the product of the strides before it.",
        ),
        Mistake(
            field_starts_at_nothing,
            "Before any layer, a unit is a pixel and sees itself: begin with 1, not with 0.",
        ),
        Mistake(
            field_walks_the_wrong_way,
            "(field - 1) * stride + kernel is the way from the last layer back to the image: walk "
            "through reversed(layers).",
        ),
        Mistake(
            field_uses_only_the_stride_before,
            "Strides multiply along the whole network: step *= stride, not step = stride.",
        ),
    ),
    hints=(
        "Keep two numbers while you walk through the layers: what one unit sees, and how many "
        "pixels lie between two neighbouring units.",
        "A layer widens the view by (kernel - 1) steps, where a step is the product of the "
        "strides before it.",
        "field += (kernel - 1) * step; then step *= stride.",
    ),
    describe=lambda layers: f"{len(layers)} layers {brief_layers(layers)}",
)


def brief_layers(layers: Sequence[tuple[int, int]]) -> str:
    """The first few layers as text."""
    shown = ", ".join(f"{kernel}/{stride}" for kernel, stride in layers[:6])
    return f"({shown}{', ...' if len(layers) > 6 else ''}; kernel/stride)"


# ── 6.2 ────────────────────────────────────────────────────────────────────────────────────────


def bilinear_row(factor: int) -> list[float]:
    """The 1-D weights of a transposed convolution that enlarges by an even ``factor``.

    The kernel has 2 * factor weights; each is 1 minus its distance from the middle of the kernel,
    measured in input pixels.
    """
    size = 2 * factor
    middle = (size - 1) / 2
    return [1 - abs(place - middle) / factor for place in range(size)]


def row_around_a_pixel(factor: int) -> list[float]:
    return [1 - abs(place - (factor - 1)) / factor for place in range(2 * factor)]


def row_of_nearest(factor: int) -> list[float]:
    return [1.0 if factor / 2 <= place < 3 * factor / 2 else 0.0 for place in range(2 * factor)]


def row_that_sums_to_one(factor: int) -> list[float]:
    return [weight / factor for weight in bilinear_row(factor)]


def row_of_half_width(factor: int) -> list[float]:
    return [max(0.0, 1 - abs(place - factor + 0.5) / (factor / 2)) for place in range(2 * factor)]


def row_off_to_the_right(factor: int) -> list[float]:
    return [1 - abs(place - factor) / factor for place in range(2 * factor)]


def kernel_with_two_axes(factor: int) -> Tensor:
    row = torch.tensor(bilinear_row(factor))
    return row[:, None] * row


kernel = Exercise(
    "6.2 Bilinear kernel",
    solution=bilinear_row,
    cases=[(2,), (4,), (8,), (16,), (32,)],
    mistakes=(
        Mistake(
            row_around_a_pixel,
            "The middle of an even kernel lies between two pixels, at factor - 0.5. Centred on a "
            "pixel, the map moves by half a pixel; that formula is for odd kernels.",
        ),
        Mistake(
            row_off_to_the_right,
            "Places are counted from 0, so the middle of 2 * factor of them is at factor - 0.5, "
            "half a pixel before `factor`.",
        ),
        Mistake(
            kernel_with_two_axes,
            "That is the kernel of a picture. One row is asked for: 2 * factor numbers.",
        ),
        Mistake(
            row_of_nearest,
            "These weights copy each pixel into a block: nearest-neighbour, not bilinear. The "
            "weights must fall off linearly.",
        ),
        Mistake(
            row_that_sums_to_one,
            "Each output pixel receives only two of the 2 * factor weights, and those two must "
            "sum to 1. The whole kernel sums to factor, so do not normalise it.",
        ),
        Mistake(
            row_of_half_width,
            "The tent must reach its neighbour's middle, one input pixel (= factor output pixels) "
            "away; half as wide, it leaves gaps between them.",
        ),
    ),
    hints=(
        "Write down factor 2: the four weights are .25 .75 .75 .25.",
        "An output step is 1/factor of an input pixel.",
        "Weight of place i: 1 - |i - (factor - 0.5)| / factor.",
    ),
    describe=lambda factor: f"factor {factor}",
)


# ── 6.3 ────────────────────────────────────────────────────────────────────────────────────────


def crop_offset(padding: int) -> int:
    """At which row of the enlarged scores does the image begin, in FCN-32s?

    The first convolution pads by ``padding``; fc6 is an unpadded 7 x 7; the scores are enlarged by
    a transposed convolution of size 64 and stride 32. 100 gives the 19 of the released network;
    with less than 81 the enlarged scores would begin inside the image.
    """
    first = -(padding - 1)  # the image row over which row 0 of conv1_1 is centred
    pool5 = first + 15.5  # the middle of the first 32 rows
    score = pool5 + 3 * 32  # fc6 sees rows 0 to 6 of pool5: its middle is row 3
    return int(31.5 - score)  # the tent of row 0 has its middle at row 31.5 of the enlarged map


def offset_of_a_centred_crop(padding: int) -> int:
    side = 500
    pooled = side + 2 * padding - 2
    for _ in range(5):
        pooled = -(-pooled // 2)
    return (32 * (pooled - 6) + 32 - side) // 2


def offset_forgets_fc6(padding: int) -> int:
    return crop_offset(padding) + 96


def offset_takes_the_whole_padding(padding: int) -> int:
    return crop_offset(padding) + 1


def offset_forgets_the_tent(padding: int) -> int:
    return int(padding - 1 - 15.5 - 96)


def offset_forgets_the_poolings(padding: int) -> int:
    return int(31.5 - (-(padding - 1) + 3 * 32))


def offset_moves_by_all_of_fc6(padding: int) -> int:
    return crop_offset(padding) - 3 * 32


offset = Exercise(
    "6.3 Where the image begins",
    solution=crop_offset,
    cases=[(100,), (99,), (90,), (120,), (101,)],
    mistakes=(
        Mistake(
            offset_of_a_centred_crop,
            "That is the centred crop. The released networks crop at a fixed offset: rounding up "
            "in the poolings leaves different remains at the far side, never at the near one.",
        ),
        Mistake(
            offset_forgets_fc6,
            "fc6 is not padded: its first output sits over row 3 of pool5, 3 x 32 pixels further "
            "in.",
        ),
        Mistake(
            offset_forgets_the_poolings,
            "Five poolings take 32 rows together, and their middle is 15.5 rows below the first.",
        ),
        Mistake(
            offset_moves_by_all_of_fc6,
            "A 7 x 7 removes 6 rows of pool5, but only 3 of them lie before its middle.",
        ),
        Mistake(
            offset_takes_the_whole_padding,
            "A 3 x 3 convolution with padding 1 shifts nothing, so padding p shifts by p - 1.",
        ),
        Mistake(
            offset_forgets_the_tent,
            "The first score is spread over 64 rows by the transposed convolution: its middle is "
            "at row 31.5 of the enlarged map, not at row 0.",
        ),
    ),
    hints=(
        "Ask of row 0 of each map: over which row of the image is it centred?",
        "conv1_1: -(padding - 1). Pooling five times moves the centre to the middle of 32 rows, "
        "+ 15.5. An unpadded 7 x 7 starts 3 rows of pool5 further in, + 3 * 32.",
        "In the enlarged map that row is centred at 31.5. The image's row 0 is as far before it.",
    ),
    describe=lambda padding: f"padding {padding}",
)


# ── 6.4 ────────────────────────────────────────────────────────────────────────────────────────


def convolutionalise(weight: Tensor, channels: int) -> Tensor:
    """Turn a linear layer on flattened features into a convolution: (O, C * S * S) -> (O, C, S, S).

    The features were (C, S, S) before ``flatten``, with ``channels`` = C and square maps. Used
    with F.conv2d, the answer gives at its one position what the linear layer gave.
    """
    side = round((weight.shape[1] // channels) ** 0.5)
    return weight.reshape(-1, channels, side, side)


def as_channels_last(weight: Tensor, channels: int) -> Tensor:
    side = round((weight.shape[1] // channels) ** 0.5)
    return weight.reshape(-1, side, side, channels).permute(0, 3, 1, 2)


def flipped(weight: Tensor, channels: int) -> Tensor:
    return convolutionalise(weight, channels).flip(2, 3)


def transposed(weight: Tensor, channels: int) -> Tensor:
    return convolutionalise(weight, channels).transpose(2, 3)


def as_one_by_one(weight: Tensor, channels: int) -> Tensor:
    return weight[:, :, None, None]


def viewed_channels_last(weight: Tensor, channels: int) -> Tensor:
    side = round((weight.shape[1] // channels) ** 0.5)
    return weight.reshape(-1, side, side, channels)


def outputs_and_channels_exchanged(weight: Tensor, channels: int) -> Tensor:
    return convolutionalise(weight, channels).transpose(0, 1)


slide = Exercise(
    "6.4 A linear layer that slides",
    solution=convolutionalise,
    cases=[
        (torch.arange(12.0).view(1, 12), 3),
        (torch.arange(36.0).view(2, 18).sqrt(), 2),
        (torch.linspace(-1, 1, 5 * 4 * 49).view(5, 196), 4),
        (torch.linspace(0, 1, 6).view(2, 3), 3),
        (torch.linspace(0, 1, 18).view(2, 9), 1),
    ],
    mistakes=(
        Mistake(
            as_channels_last,
            "The numbers are right but in the wrong order: `flatten` writes channel after "
            "channel, so C must be the first of the three axes. (Keras flattens channels last.)",
        ),
        Mistake(
            viewed_channels_last,
            "F.conv2d wants the axes (outputs, channels, height, width): C comes before S, S.",
        ),
        Mistake(
            outputs_and_channels_exchanged,
            "The outputs come first in F.conv2d. Channels first is the order of a transposed "
            "convolution.",
        ),
        Mistake(
            flipped,
            "F.conv2d does not flip its kernel: what deep learning calls convolution is a "
            "cross-correlation.",
        ),
        Mistake(
            transposed,
            "Rows and columns are exchanged: `flatten` runs along a row first, so the last axis "
            "is the width.",
        ),
        Mistake(
            as_one_by_one,
            "A 1 x 1 convolution sees one position of C channels; this layer saw S x S of them: "
            "its kernel has the size of the map that was flattened.",
        ),
    ),
    hints=(
        "How many numbers does one output unit read, and from which shape were they flattened?",
        "The side of the map is the root of (columns / channels).",
        "No arithmetic is needed: weight.reshape(outputs, channels, side, side).",
    ),
    describe=lambda weight, channels: (
        f"a weight of {weight.shape[0]} x {weight.shape[1]} and {channels} channels"
    ),
)


# ── 6.5 ────────────────────────────────────────────────────────────────────────────────────────


def add_skip(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    """Add the part of ``skip`` that lies under ``x``: (N, K, h, w), (N, K, H, W) -> (N, K, h, w).

    Row 0 of ``x`` lies over row ``offset`` of ``skip``; columns likewise.
    """
    height, width = x.shape[-2:]
    return x + skip[..., offset : offset + height, offset : offset + width]


def skip_cut_at_both_ends(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    return x + skip[..., offset:-offset, offset:-offset]


def skip_cut_at_both_ends_by_size(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    height, width = skip.shape[-2:]
    return x + skip[..., offset : height - offset, offset : width - offset]


def skip_cut_along_other_axes(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    height, width = x.shape[-2:]
    return x + skip[:, offset : offset + height, offset : offset + width]


def skip_without_x(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    return add_skip(torch.zeros_like(x), skip, offset)


def skip_centred(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    height, width = x.shape[-2:]
    top, left = (skip.shape[-2] - height) // 2, (skip.shape[-1] - width) // 2
    return x + skip[..., top : top + height, left : left + width]


def skip_squeezed(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    return x + F.interpolate(skip, x.shape[-2:], mode="bilinear")


def skip_from_the_corner(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    return x + skip[..., : x.shape[-2], : x.shape[-1]]


def skip_until_its_size(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    return x + skip[..., offset : x.shape[-2], offset : x.shape[-1]]


def maps(coarse: tuple[int, int], fine: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Two maps of scores whose every number differs."""
    x = torch.arange(1.0, 1 + 2 * coarse[0] * coarse[1]).view(1, 2, *coarse)
    return x, 0.01 * torch.arange(2.0 * fine[0] * fine[1]).view(1, 2, *fine)


fix_crop = Exercise(
    "6.5 Fix the crop",
    solution=add_skip,
    cases=[
        (*maps((4, 6), (9, 12)), 2),
        (*maps((26, 34), (36, 44)), 5),
        (*maps((54, 70), (72, 88)), 9),
        (*maps((18, 18), (27, 27)), 5),
        (*maps((3, 5), (3, 5)), 0),
        (*maps((3, 3), (7, 7)), 2),
    ],
    mistakes=(
        Mistake(
            skip_cut_at_both_ends,
            "`offset:-offset` cuts as much from the far side, which fits only by luck, and "
            "offset 0 leaves nothing. The far end is offset + the size of x.",
        ),
        Mistake(
            skip_cut_at_both_ends_by_size,
            "H - offset cuts as much from the far side as -offset does, which fits only by luck. "
            "The far end is offset + the size of x.",
        ),
        Mistake(
            skip_cut_along_other_axes,
            "These slices cut channels and rows: the maps have axes (N, K, H, W). Begin with "
            "`...`, or with two colons.",
        ),
        Mistake(skip_without_x, "The window is right, but x must be added to it."),
        Mistake(
            skip_centred,
            "A centred crop: it agrees with the offset for some image sizes and is off by a "
            "position or more for others. Use `offset`.",
        ),
        Mistake(
            skip_squeezed,
            "Resizing the skip makes the shapes fit, but its borders lie outside x: everything "
            "moves. Crop it instead.",
        ),
        Mistake(skip_from_the_corner, "The crop starts at the corner: `offset` is not used."),
        Mistake(
            skip_until_its_size,
            "A slice ends at an index, not after a length: offset : offset + height.",
        ),
    ),
    hints=(
        "Print x.shape, and the shape of the slice that is added to it.",
        "Which index comes first in the window, and which is the first behind it?",
        "skip[..., offset : offset + height, offset : offset + width]",
    ),
    describe=lambda x, skip, offset: (
        f"x of {x.shape[-2]} x {x.shape[-1]}, skip of {skip.shape[-2]} x {skip.shape[-1]} and "
        f"offset {offset}"
    ),
)


# ── 6.6 ────────────────────────────────────────────────────────────────────────────────────────


def majority_iou(target: Tensor, num_classes: int, stride: int) -> float:
    """The mean IoU of a map in which every ``stride`` x ``stride`` block has its commonest class.

    (N, H, W) label maps without void, whose sides are multiples of ``stride``. One confusion matrix
    counts all maps.
    """
    one_hot = F.one_hot(target, num_classes).movedim(-1, 1).float()  # (N, K, H, W)
    blocks = F.avg_pool2d(one_hot, stride).argmax(dim=1)  # (N, H / stride, W / stride)
    large = blocks.repeat_interleave(stride, 1).repeat_interleave(stride, 2)
    return mean_iou(confusion_matrix(large, target, num_classes))


def enlarge(blocks: Tensor, stride: int) -> Tensor:
    """Every label becomes a block: (N, h, w) -> (N, h * stride, w * stride)."""
    return blocks.repeat_interleave(stride, 1).repeat_interleave(stride, 2)


def majority_of_averaged_ids(target: Tensor, num_classes: int, stride: int) -> float:
    blocks = F.avg_pool2d(target[:, None].float(), stride)[:, 0].round().long()
    return mean_iou(confusion_matrix(enlarge(blocks, stride), target, num_classes))


def corner_of_every_block(target: Tensor, num_classes: int, stride: int) -> float:
    blocks = target[:, ::stride, ::stride]
    return mean_iou(confusion_matrix(enlarge(blocks, stride), target, num_classes))


def middle_of_every_block(target: Tensor, num_classes: int, stride: int) -> float:
    half = stride // 2
    blocks = target[:, half::stride, half::stride]
    return mean_iou(confusion_matrix(enlarge(blocks, stride), target, num_classes))


def averages_enlarged_first(target: Tensor, num_classes: int, stride: int) -> float:
    one_hot = F.one_hot(target, num_classes).movedim(-1, 1).float()
    averages = F.avg_pool2d(one_hot, stride)
    large = F.interpolate(averages, target.shape[-2:], mode="bilinear").argmax(dim=1)
    return mean_iou(confusion_matrix(large, target, num_classes))


def mean_with_absent_classes(target: Tensor, num_classes: int, stride: int) -> float:
    one_hot = F.one_hot(target, num_classes).movedim(-1, 1).float()
    large = enlarge(F.avg_pool2d(one_hot, stride).argmax(dim=1), stride)
    return iou(confusion_matrix(large, target, num_classes)).mean().item()


def majority_per_image(target: Tensor, num_classes: int, stride: int) -> float:
    scores = [majority_iou(each[None], num_classes, stride) for each in target]
    return sum(scores) / len(scores)


def majority_in_pixels(target: Tensor, num_classes: int, stride: int) -> float:
    one_hot = F.one_hot(target, num_classes).movedim(-1, 1).float()
    best = enlarge(F.avg_pool2d(one_hot, stride).argmax(dim=1), stride)
    return (best == target).float().mean().item()


def absent_classes_as_zero(target: Tensor, num_classes: int, stride: int) -> float:
    one_hot = F.one_hot(target, num_classes).movedim(-1, 1).float()
    best = enlarge(F.avg_pool2d(one_hot, stride).argmax(dim=1), stride)
    m = confusion_matrix(best, target, num_classes).double()
    hit = m.diagonal()
    return (hit / (m.sum(0) + m.sum(1) - hit).clamp(min=1)).mean().item()


def streets() -> list[tuple]:
    """Label maps with large areas and thin lines: two scenes and three strides."""
    target = torch.zeros(2, 64, 96, dtype=torch.int64)
    target[:, 37:] = 1  # ground
    target[0, 21:43, 11:37] = 2  # a house
    target[1, 9:50, 70:95] = 2
    target[0, 12:51, 71:73] = 4  # a pole; class 3 occurs nowhere
    target[1, 30:51, 21:31] = 4
    return [(target, 6, stride) for stride in (1, 8, 16, 32)] + [(target[:1], 5, 4)]


majority = Exercise(
    "6.6 One label per block",
    solution=majority_iou,
    cases=streets,
    mistakes=(
        Mistake(
            majority_of_averaged_ids,
            "Between a car (5) and a tree (3) there is no class 4: average the one-hot masks, "
            "never the class numbers.",
        ),
        Mistake(
            corner_of_every_block,
            "Taking every n-th pixel lets one corner speak for its block. Ask all of its pixels, "
            "and take the class that most of them have.",
        ),
        Mistake(
            middle_of_every_block,
            "One pixel, even the middle one, does not speak for its block: count all of them.",
        ),
        Mistake(
            averages_enlarged_first,
            "Those are averages, enlarged bilinearly. Here each block gets one label first, and "
            "labels are then enlarged by repeating them.",
        ),
        Mistake(
            mean_with_absent_classes,
            "A class that occurs in neither map has no IoU: its nan makes the mean nan. Leave it "
            "out, as mean_iou does.",
        ),
        Mistake(
            majority_per_image,
            "You averaged the scores of the images. Sum their confusion matrices first: a class "
            "that is rare in one image must not count as much as where it is common.",
        ),
        Mistake(
            majority_in_pixels,
            "That is the pixel accuracy, which large classes dominate. Ask for the mean IoU.",
        ),
        Mistake(
            absent_classes_as_zero,
            "A class that occurs in neither map has no IoU: leave it out of the mean instead of "
            "counting it as 0.",
        ),
    ),
    hints=(
        "F.one_hot(target, num_classes) gives one mask per class; average pooling counts each "
        "class within a block.",
        "argmax over the classes is the label of a block; repeat_interleave enlarges it again.",
        "mean_iou(confusion_matrix(large, target, num_classes)) with segcourse.metrics.",
    ),
    describe=lambda target, num_classes, stride: (
        f"{len(target)} label maps of {target.shape[-2]} x {target.shape[-1]}, {num_classes} "
        f"classes and stride {stride}"
    ),
    digits=3,
)
