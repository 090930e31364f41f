"""Exercises of the FCN chapter."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake, counted
from segcourse.metrics.semantic import confusion_matrix, iou, mean_iou

CONVOLUTION, POOLING = (3, 1), (2, 2)  # kernel, stride
VGG16 = [
    *([CONVOLUTION] * 2 + [POOLING]) * 2,
    *([CONVOLUTION] * 3 + [POOLING]) * 3,
]


# ── 6.1 ──────────────────────────────────────────────────────────────────────────────────────────


def receptive_field(layers: Sequence[tuple[int, int]]) -> int:
    """Compute the side of the receptive field in pixels, along one axis.

    The receptive field of a position is the part of the image that its value depends on.
    ``layers`` is a list of (kernel, stride) pairs, at least one; the first pair is the layer that
    reads the image. Padding does not matter. Return an integer. For example, a 3 x 3 convolution
    and a 2 x 2 pooling, [(3, 1), (2, 2)], have a receptive field of 4 pixels.

    Then predict: does the receptive field of VGG-16 up to fc6 cover 375 x 500 pixels?
    """
    field, step = 1, 1  # in pixels: the side, and the distance of neighbouring positions
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


def field_multiplied_by_strides(layers: Sequence[tuple[int, int]]) -> int:
    field = 1
    for kernel, stride in layers:
        field = field * stride + kernel - 1
    return field


def field_adds_strides(layers: Sequence[tuple[int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * step
        step += stride - 1
    return field


def field_with_the_last_step(layers: Sequence[tuple[int, int]]) -> int:
    return receptive_field(layers) + math.prod(stride for _, stride in layers) - 1


def field_squared(layers: Sequence[tuple[int, int]]) -> int:
    return receptive_field(layers) ** 2


def field_with_strides_of_two(layers: Sequence[tuple[int, int]]) -> int:
    return receptive_field([(kernel, min(stride, 2)) for kernel, stride in layers])


def field_skips_kernels_of_one(layers: Sequence[tuple[int, int]]) -> int:
    return receptive_field([(kernel, stride) for kernel, stride in layers if kernel > 1])


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
        ([(2, 3)],),
        ([(4, 4), (3, 1)],),
        ([(1, 2), (3, 1)],),
        (VGG16,),
        ([*VGG16, (7, 1), (1, 1)],),
    ],
    mistakes=(
        Mistake(
            field_ignores_strides,
            "The strides are not used. After a pooling, neighbouring positions are two pixels "
            "apart, so the next kernel covers a wider part of the image.",
        ),
        Mistake(
            field_adds_whole_kernels,
            "A kernel of 3 covers its own position and two more, so a layer adds kernel - 1 steps "
            "to the field, not kernel steps.",
        ),
        Mistake(
            field_strides_too_early,
            "A layer's own stride moves apart the positions *after* it. Its kernel is measured "
            "with the product of the strides of the earlier layers.",
        ),
        Mistake(
            field_uses_only_the_layers_own_stride,
            "Each kernel is multiplied by its own stride here. It must be multiplied by the "
            "product of the strides *before* it.",
        ),
        Mistake(
            field_starts_at_nothing,
            "All results are one too small: before any layer, the field is the pixel itself, 1.",
        ),
        Mistake(
            field_walks_the_wrong_way,
            "(field - 1) * stride + kernel is right if you begin with the last layer and end with "
            "the first one: the order of the layers must be reversed.",
        ),
        Mistake(
            field_uses_only_the_stride_before,
            "Only the stride of the layer directly before is used. Strides multiply along the "
            "whole network.",
        ),
        Mistake(
            field_multiplied_by_strides,
            "The field itself is multiplied by each stride. A stride multiplies the distance "
            "between neighbouring positions instead.",
        ),
        Mistake(
            field_adds_strides,
            "The strides are added up. After two poolings with stride 2, neighbouring positions "
            "are 4 pixels apart, and after three they are 8 pixels apart.",
        ),
        Mistake(
            field_with_the_last_step,
            "The product of all strides widens the field once more at the end. A stride moves "
            "positions apart, but it does not widen the field of one position.",
        ),
        Mistake(field_squared, "This is the area of the field. Return the side of the square."),
        Mistake(
            field_with_strides_of_two,
            "Every stride above 1 counts as 2 here. Use the stride that the pair gives.",
        ),
        Mistake(
            field_skips_kernels_of_one,
            "Layers with a kernel of 1 are left out. Such a layer does not widen the field, but "
            "its stride moves the later positions apart.",
        ),
    ),
    hints=(
        "Keep two numbers while you go through the layers: the field, and the distance between "
        "neighbouring positions, both in pixels of the image.",
        "A layer widens the field by (kernel - 1) times the distance that holds before the layer. "
        "Its stride multiplies the distance afterwards.",
        "field, step = 1, 1; for every layer: field += (kernel - 1) * step, then step *= stride.",
    ),
    describe=lambda layers: f"{counted(len(layers), 'layer')} {brief_layers(layers)}",
)


def brief_layers(layers: Sequence[tuple[int, int]]) -> str:
    """The first few layers as text."""
    shown = ", ".join(f"{kernel}/{stride}" for kernel, stride in layers[:6])
    return f"({shown}{', ...' if len(layers) > 6 else ''}; kernel/stride)"


# ── 6.2 ──────────────────────────────────────────────────────────────────────────────────────────


def convolutionalise(weight: Tensor, channels: int) -> Tensor:
    """The weight of a convolution that computes a linear layer: (O, C * S * S) -> (O, C, S, S).

    VGG-16's fc6 is a linear layer behind ``flatten``. Its input was a map of ``channels`` = C
    channels and S x S positions. ``weight`` is a tensor (O, C * S * S), with O outputs. Return the
    weight with which F.conv2d computes the same outputs. Compute S from the shape of ``weight``.
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


def inputs_before_outputs(weight: Tensor, channels: int) -> Tensor:
    side = round((weight.shape[1] // channels) ** 0.5)
    return weight.reshape(channels, -1, side, side)


def transposed_before(weight: Tensor, channels: int) -> Tensor:
    side = round((weight.shape[1] // channels) ** 0.5)
    return weight.T.reshape(-1, channels, side, side)


def with_sides_of_seven(weight: Tensor, channels: int) -> Tensor:
    return weight.reshape(weight.shape[0], channels, 7, 7)


def with_the_root_of_all(weight: Tensor, channels: int) -> Tensor:
    side = int(weight.shape[1] ** 0.5)
    return weight.reshape(weight.shape[0], channels, side, side)


def without_the_root(weight: Tensor, channels: int) -> Tensor:
    side = weight.shape[1] // channels
    return weight.reshape(weight.shape[0], channels, side, side)


slide = Exercise(
    "6.2 A linear layer becomes a convolution",
    solution=convolutionalise,
    cases=[
        (torch.arange(12.0).view(1, 12), 3),
        (torch.arange(36.0).view(2, 18).sqrt(), 2),
        (torch.linspace(-1, 1, 5 * 4 * 49).view(5, 196), 4),
        (torch.linspace(0, 1, 6).view(2, 3), 3),
        (torch.linspace(0, 1, 18).view(2, 9), 1),
        (torch.linspace(-1, 1, 3 * 2 * 36).view(3, 72), 2),
    ],
    mistakes=(
        Mistake(
            as_channels_last,
            "The shape is right and the order of the numbers is not. PyTorch's `flatten` writes "
            "all values of channel 0 first, so C is the first of the three axes.",
        ),
        Mistake(
            viewed_channels_last,
            "F.conv2d needs the axes (outputs, channels, height, width), but here the channels are "
            "the last axis.",
        ),
        Mistake(
            outputs_and_channels_exchanged,
            "The axes O and C are exchanged. F.conv2d needs the outputs first; a transposed "
            "convolution needs the input channels first.",
        ),
        Mistake(
            flipped,
            "The kernel is flipped. F.conv2d computes a cross-correlation, which does not flip "
            "its kernel, so the weights keep their order.",
        ),
        Mistake(
            transposed,
            "Rows and columns are exchanged. `flatten` writes row after row, so the last axis is "
            "the width.",
        ),
        Mistake(
            as_one_by_one,
            "This is a 1 x 1 convolution over C * S * S channels. The layer reads a map of C "
            "channels and S x S positions, so its kernel is S x S.",
        ),
        Mistake(
            inputs_before_outputs,
            "The outputs O must be the first axis, as in ``weight``; the channels C come second.",
        ),
        Mistake(
            transposed_before,
            "``weight`` is transposed before it gets its new shape, which mixes the weights of "
            "different outputs. Its rows belong to the outputs already.",
        ),
        Mistake(
            with_sides_of_seven,
            "S is 7 in VGG-16 only. Compute it from the shape: C * S * S is weight.shape[1].",
        ),
        Mistake(
            with_the_root_of_all,
            "The root of weight.shape[1] is not S, because weight.shape[1] also counts the "
            "channels: it is C * S * S.",
        ),
        Mistake(
            without_the_root,
            "weight.shape[1] / channels is the number of positions, S * S. S is one side.",
        ),
    ),
    hints=(
        "How many numbers does one output read, and which shape did they have before `flatten`?",
        "weight.shape[1] is C * S * S, so S is the square root of weight.shape[1] / channels.",
        "The values keep their order: weight.reshape(weight.shape[0], channels, S, S).",
    ),
    describe=lambda weight, channels: (
        f"a weight of {weight.shape[0]} x {weight.shape[1]} and {counted(channels, 'channel')}"
    ),
)


# ── 6.3 ──────────────────────────────────────────────────────────────────────────────────────────


def pattern(kernel: Sequence[float], stride: int) -> list[float]:
    """Predict the pattern that a transposed convolution makes of a constant row.

    The 1-D layer has the weights ``kernel`` (a list of numbers) and an integer ``stride``, without
    padding or bias. Its input is a long row of ones. Far from both ends, the output repeats every
    ``stride`` positions. Return one period as a list of ``stride`` numbers; the first number
    belongs to the output positions that are multiples of ``stride``. The kernel may be shorter than
    the stride.
    """
    return [sum(kernel[phase::stride]) for phase in range(stride)]


def pattern_of_averages(kernel: Sequence[float], stride: int) -> list[float]:
    return [sum(kernel) / stride] * stride


def pattern_of_the_flipped_kernel(kernel: Sequence[float], stride: int) -> list[float]:
    return pattern(kernel[::-1], stride)


def pattern_of_neighbours(kernel: Sequence[float], stride: int) -> list[float]:
    size = -(-len(kernel) // stride)
    return [sum(kernel[size * phase : size * phase + size]) for phase in range(stride)]


def pattern_without_overlap(kernel: Sequence[float], stride: int) -> list[float]:
    return [*kernel[:stride], *[0] * (stride - len(kernel))]


def pattern_of_the_whole_kernel(kernel: Sequence[float], stride: int) -> list[float]:
    return [sum(kernel)] * stride


def pattern_of_means(kernel: Sequence[float], stride: int) -> list[float]:
    parts = [kernel[phase::stride] for phase in range(stride)]
    return [sum(part) / max(len(part), 1) for part in parts]


def pattern_of_the_kernel(kernel: Sequence[float], stride: int) -> list[float]:
    return list(kernel)


def pattern_cut_short(kernel: Sequence[float], stride: int) -> list[float]:
    return pattern(kernel, stride)[: len(kernel)]


def pattern_of_pieces(kernel: Sequence[float], stride: int) -> list[float]:
    return [sum(kernel[phase * stride : (phase + 1) * stride]) for phase in range(stride)]


def pattern_from_position_one(kernel: Sequence[float], stride: int) -> list[float]:
    first, *others = pattern(kernel, stride)
    return [*others, first]


def pattern_reversed(kernel: Sequence[float], stride: int) -> list[float]:
    return pattern(kernel, stride)[::-1]


def pattern_of_shares(kernel: Sequence[float], stride: int) -> list[float]:
    return [value / sum(kernel) for value in pattern(kernel, stride)]


def pattern_of_counts(kernel: Sequence[float], stride: int) -> list[float]:
    return pattern([1] * len(kernel), stride)


checkerboard = Exercise(
    "6.3 Predict the pattern",
    solution=pattern,
    cases=[
        ([1, 1, 1], 2),
        ([0.25, 0.75, 0.75, 0.25], 2),
        ([1, 2, 4, 8, 16], 2),
        ([1, 2, 4, 8, 16, 32, 64], 3),
        ([1, 2, 4], 3),
        ([1, 3], 3),
        ([1, 2, 4, 8], 1),
        ([0.5, -1, 2, 4, 0], 4),
    ],
    mistakes=(
        Mistake(
            pattern_of_averages,
            "This is the mean over one period. The output positions can receive different sums: "
            "position 0 receives other weights than position 1.",
        ),
        Mistake(
            pattern_of_the_whole_kernel,
            "With a stride above 1, no output position receives all weights of a kernel of two "
            "or more, because the kernels start `stride` positions apart.",
        ),
        Mistake(
            pattern_of_the_flipped_kernel,
            "The kernel is read from its end. A transposed convolution writes weight i to "
            "position stride * n + i for input n, so weight 0 belongs to the multiples of stride.",
        ),
        Mistake(
            pattern_of_neighbours,
            "Neighbouring weights go to neighbouring positions. The weights that meet at one "
            "position are `stride` places apart in the kernel.",
        ),
        Mistake(
            pattern_without_overlap,
            "Only the first `stride` weights are used. If the kernel is longer than the stride, "
            "kernels of neighbouring inputs overlap, and their values are added.",
        ),
        Mistake(
            pattern_of_means,
            "Values that meet at one position are added, not averaged.",
        ),
        Mistake(
            pattern_of_the_kernel,
            "This is the kernel itself, the output for a single input of 1. Here all inputs are 1, "
            "and their kernels overlap.",
        ),
        Mistake(
            pattern_cut_short,
            "The period has `stride` numbers even if the kernel is shorter. What do the output "
            "positions get that no weight reaches?",
        ),
        Mistake(
            pattern_of_pieces,
            "The kernel is cut into pieces of `stride` weights, and each piece is added up. An "
            "output position receives one weight of every piece.",
        ),
        Mistake(
            pattern_from_position_one,
            "The sums are right, but the period begins one position too late. Its first number "
            "belongs to the multiples of `stride`.",
        ),
        Mistake(pattern_reversed, "The sums are right, but their order is reversed."),
        Mistake(
            pattern_of_shares,
            "The pattern is divided by the sum of the kernel. The layer itself does not divide.",
        ),
        Mistake(
            pattern_of_counts,
            "This counts the weights that reach each position. Their values must be added.",
        ),
    ),
    hints=(
        "Write the kernel for stride 2 several times below each other, each time two places "
        "further to the right, and add the columns.",
        "Weight i of the kernel for input n goes to output position stride * n + i. Which weights "
        "can reach a position that is a multiple of stride?",
        "The value at phase p is the sum of the weights p, p + stride, p + 2 * stride, ...: "
        "sum(kernel[p::stride]).",
    ),
    describe=lambda kernel, stride: f"the kernel {kernel} and stride {stride}",
)


# ── 6.4 ──────────────────────────────────────────────────────────────────────────────────────────


def add_skip(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    """Mend a line that adds a skip connection: (N, K, h, w), (N, K, H, W) -> (N, K, h, w).

    For some image sizes this line runs, and its result is right:

        return x + skip[..., offset:-offset, offset:-offset]

    Row 0 of ``x`` lies over row ``offset`` of ``skip``, and column 0 over column ``offset``.
    H is at least offset + h, and W at least offset + w. Return the sum for every image and every
    offset from 0.
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


def skip_with_sides_exchanged(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    height, width = x.shape[-2:]
    return x + skip[..., offset : offset + width, offset : offset + height]


def skip_at_the_far_end(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    return x + skip[..., -x.shape[-2] :, -x.shape[-1] :]


def skip_until_its_size(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    return x + skip[..., offset : x.shape[-2], offset : x.shape[-1]]


def skip_and_x_cut(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    part = skip[..., offset:-offset, offset:-offset]
    return x[..., : part.shape[-2], : part.shape[-1]] + part


def skip_one_further(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    return add_skip(x, skip, offset + 1)


def skip_ends_too_early(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    height, width = x.shape[-2:]
    return x + skip[..., offset : offset + height - 1, offset : offset + width - 1]


def skip_resized(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    return x + F.interpolate(skip, x.shape[-2:])


def skip_concatenated(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    return torch.cat([x, add_skip(torch.zeros_like(x), skip, offset)], dim=1)


def maps(coarse: tuple[int, int], fine: tuple[int, int], batch: int = 1) -> tuple[Tensor, Tensor]:
    """Two maps of scores whose every number differs."""
    x = torch.arange(1.0, 1 + 3 * batch * coarse[0] * coarse[1]).view(batch, 3, *coarse)
    return x, 0.01 * torch.arange(3.0 * batch * fine[0] * fine[1]).view(batch, 3, *fine)


fix_crop = Exercise(
    "6.4 Find the fault",
    solution=add_skip,
    cases=[
        (*maps((4, 6), (9, 12)), 2),
        (*maps((5, 3), (9, 12), batch=2), 4),
        (*maps((26, 34), (36, 44)), 5),
        (*maps((18, 18), (27, 27)), 5),
        (*maps((3, 5), (3, 5)), 0),
        (*maps((3, 5), (6, 7)), 0),
        (*maps((3, 3), (7, 7)), 2),
        (*maps((1, 2), (4, 3), batch=2), 1),
    ],
    mistakes=(
        Mistake(
            skip_cut_at_both_ends,
            "The slices remove as many rows at the far end as at the near end. This fits for some "
            "sizes only, and for offset 0 nothing is left. The size of x decides where they end.",
        ),
        Mistake(
            skip_cut_at_both_ends_by_size,
            "As much is removed at the far end as at the near end, which fits for some sizes only. "
            "The size of x decides where the slices end.",
        ),
        Mistake(
            skip_cut_along_other_axes,
            "These slices cut the axes K and H. The maps have the axes (N, K, H, W), and only the "
            "last two must be cut.",
        ),
        Mistake(
            skip_with_sides_exchanged,
            "Height and width are exchanged: the rows (third axis) need the height of x, the "
            "columns (last axis) its width.",
        ),
        Mistake(skip_without_x, "The slice of skip is right, but x must be added to it."),
        Mistake(
            skip_centred,
            "This is a centred crop. It agrees with the offset for some sizes and is wrong by a "
            "position or more for others.",
        ),
        Mistake(
            skip_squeezed,
            "Resizing the skip makes the shapes fit, but it also uses the part of skip that lies "
            "outside of x, so all positions move.",
        ),
        Mistake(
            skip_from_the_corner,
            "The slices begin at position 0 of skip, but x begins at position offset.",
        ),
        Mistake(
            skip_at_the_far_end,
            "The slices are counted from the far end of skip. Only the distance from the near end "
            "is known: it is the offset.",
        ),
        Mistake(
            skip_until_its_size,
            "A slice a : b ends before index b; b is not a length. The window that begins at "
            "offset and has the height of x ends at offset + height.",
        ),
        Mistake(
            skip_and_x_cut,
            "x is cut to the size of the slice, but the result must have the size of x. Only skip "
            "may be cut: let the size of x decide where the slices end.",
        ),
        Mistake(
            skip_one_further,
            "The slices begin one position too late: row 0 of x lies over row `offset`.",
        ),
        Mistake(
            skip_ends_too_early,
            "The slices end one position too early: a slice a : b holds b - a positions, and "
            "position b is not one of them.",
        ),
        Mistake(
            skip_resized,
            "Resizing leaves out some rows of skip between others. x lies over rows of skip that "
            "are direct neighbours.",
        ),
        Mistake(
            skip_concatenated,
            "The slice of skip is right, but the two are concatenated here. Add them.",
        ),
    ),
    hints=(
        "Print x.shape and the shape of the slice that is added to it, for two image sizes.",
        "The first row of the window is offset. Which is the first row behind the window?",
        "height, width = x.shape[-2:]; the window is "
        "skip[..., offset : offset + height, offset : offset + width].",
    ),
    describe=lambda x, skip, offset: (
        f"x of {x.shape[-2]} x {x.shape[-1]}, skip of {skip.shape[-2]} x {skip.shape[-1]} and "
        f"offset {offset}"
    ),
)


# ── 6.5 ──────────────────────────────────────────────────────────────────────────────────────────


def majority_iou(target: Tensor, num_classes: int, stride: int) -> float:
    """How good can a map be that has one label for each block of ``stride`` x ``stride`` pixels?

    ``target`` holds label maps (N, H, W) with the classes 0 to ``num_classes`` - 1, without void;
    H and W are multiples of ``stride``. Give every block the class that most of its pixels have (in
    a tie, the class with the smallest number). Return the mean IoU of these block maps with
    ``target``, from one confusion matrix over all N maps. Classes that occur neither in the block
    maps nor in ``target`` are left out of the mean, as ``mean_iou`` does.

    Then predict: Toytown can draw its lamps twice as thick. At which of the strides 4, 8, 16 and 32
    will the mean IoU gain most?
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


def argmax_of_the_last_class(target: Tensor, num_classes: int, stride: int) -> float:
    one_hot = F.one_hot(target, num_classes).flip(-1).movedim(-1, 1).float()
    best = num_classes - 1 - F.avg_pool2d(one_hot, stride).argmax(dim=1)
    return mean_iou(confusion_matrix(enlarge(best, stride), target, num_classes))


def majority_of(target: Tensor, num_classes: int, stride: int) -> Tensor:
    """The class of every block: (N, H, W) -> (N, H / stride, W / stride)."""
    one_hot = F.one_hot(target, num_classes).movedim(-1, 1).float()
    return F.avg_pool2d(one_hot, stride).argmax(dim=1)


def copies_side_by_side(target: Tensor, num_classes: int, stride: int) -> float:
    large = majority_of(target, num_classes, stride).repeat(1, stride, stride)
    return mean_iou(confusion_matrix(large, target, num_classes))


def compared_at_the_coarse_stride(target: Tensor, num_classes: int, stride: int) -> float:
    blocks = majority_of(target, num_classes, stride)
    return mean_iou(confusion_matrix(blocks, target[:, ::stride, ::stride], num_classes))


def matrix_of_blocks(target: Tensor, num_classes: int, stride: int) -> Tensor:
    large = enlarge(majority_of(target, num_classes, stride), stride)
    return confusion_matrix(large, target, num_classes)


def iou_of_every_class(target: Tensor, num_classes: int, stride: int) -> Tensor:
    return iou(matrix_of_blocks(target, num_classes, stride))


def mean_of_the_classes_found(target: Tensor, num_classes: int, stride: int) -> float:
    scores = iou_of_every_class(target, num_classes, stride)
    return scores[scores > 0].mean().item()


def blocks_by_reshape(target: Tensor, num_classes: int, stride: int) -> float:
    n, height, width = target.shape
    pixels = target.reshape(n, height // stride, width // stride, stride**2)
    large = enlarge(pixels.mode(dim=-1).values, stride)
    return mean_iou(confusion_matrix(large, target, num_classes))


def streets() -> list[tuple]:
    """Maps with large areas and thin lines, at several strides; a tie; eight classes."""
    target = torch.zeros(2, 64, 96, dtype=torch.int64)
    target[:, 37:] = 1  # ground
    target[0, 21:43, 11:37] = 2  # a house
    target[1, 9:50, 70:95] = 2
    target[0, 12:51, 71:73] = 4  # a pole; class 3 occurs nowhere
    target[1, 30:51, 21:31] = 4
    tie = torch.tensor([[[3, 3, 1, 1], [0, 2, 1, 2], [2, 2, 0, 1], [0, 0, 1, 0]]])
    return [
        *((target, 6, stride) for stride in (8, 16, 32, 1)),
        (target[:1], 5, 4),
        (tie, 4, 2),
        (tie[:, :2], 4, 2),
        (torch.ones(1, 4, 8, dtype=torch.int64), 3, 4),
        (torch.tensor([[[7, 7, 5, 0], [7, 2, 5, 5]]]), 8, 2),
    ]


majority = Exercise(
    "6.5 An experiment: what a stride loses",
    solution=majority_iou,
    cases=streets,
    mistakes=(
        Mistake(
            majority_of_averaged_ids,
            "The class numbers are averaged. The mean of the classes 2 and 4 is 3, which may not "
            "occur at all: average the one-hot masks instead.",
        ),
        Mistake(
            corner_of_every_block,
            "The first pixel of each block decides. All pixels of the block must be counted.",
        ),
        Mistake(
            middle_of_every_block,
            "The pixel in the middle of each block decides. All pixels of the block must be "
            "counted.",
        ),
        Mistake(
            averages_enlarged_first,
            "The shares are upsampled bilinearly before a class is chosen. Here each block gets "
            "one class first, which is then repeated.",
        ),
        Mistake(
            mean_with_absent_classes,
            "A class that occurs in neither map has no IoU, and its nan makes the mean nan. Leave "
            "it out of the mean, as mean_iou does.",
        ),
        Mistake(
            majority_per_image,
            "The scores of the maps are averaged. One confusion matrix over all maps is asked for: "
            "count first, then divide.",
        ),
        Mistake(
            majority_in_pixels,
            "This is the pixel accuracy, which large classes dominate. The mean IoU is asked for.",
        ),
        Mistake(
            absent_classes_as_zero,
            "A class that occurs in neither map counts as 0 here. Leave it out of the mean.",
        ),
        Mistake(
            argmax_of_the_last_class,
            "In a tie, the class with the largest number wins here. The smallest number is asked "
            "for.",
        ),
        Mistake(
            copies_side_by_side,
            "`repeat` puts copies of the whole map side by side. Each single label must fill its "
            "block of stride x stride pixels.",
        ),
        Mistake(
            compared_at_the_coarse_stride,
            "Only one pixel of each block is compared. Enlarge the block map, and compare it with "
            "all pixels of `target`.",
        ),
        Mistake(matrix_of_blocks, "This is the confusion matrix. Return its mean IoU."),
        Mistake(iou_of_every_class, "This is the IoU of every class. Return the mean."),
        Mistake(
            mean_of_the_classes_found,
            "Classes with an IoU of 0 are left out. If such a class occurs in `target`, its 0 "
            "belongs in the mean.",
        ),
        Mistake(
            blocks_by_reshape,
            "This reshape takes pixels that follow each other in a row, and not the pixels of a "
            "square block.",
        ),
    ),
    hints=(
        "F.one_hot(target, num_classes) has the shape (N, H, W, K). With the classes as second "
        "axis and as float, F.avg_pool2d gives the share of each class in each block.",
        "argmax over the classes is the class of a block. repeat_interleave(stride, dim) repeats "
        "it along the rows, then along the columns.",
        "mean_iou(confusion_matrix(large, target, num_classes)) with segcourse.metrics is the "
        "score.",
    ),
    describe=lambda target, num_classes, stride: (
        f"{counted(len(target), 'label map')} of {target.shape[-2]} x {target.shape[-1]}, "
        f"{num_classes} classes and stride {stride}"
    ),
    digits=3,
)


# ── 6.6 ──────────────────────────────────────────────────────────────────────────────────────────


Runs = Sequence[tuple[Mapping[str, object], float]]


def gain_of(runs: Runs, factor: str) -> float | None:
    """The gain that may be attributed to ``factor``, or None if no pair of runs isolates it.

    ``runs`` is a list of pairs (settings, score), in any order. All settings are dictionaries with
    the same keys, and ``settings[factor]`` is True or False. Several runs may have equal settings.
    Two runs isolate the factor if their settings differ in it and in nothing else. The gain is the
    mean, over all pairs of runs that isolate the factor, of the score with the factor minus the
    score without it.
    """
    gains = []
    for settings, score in runs:
        for others, other_score in runs:
            differing = [key for key in settings if settings[key] != others[key]]
            if differing == [factor] and settings[factor]:
                gains.append(score - other_score)
    return sum(gains) / len(gains) if gains else None


def gain_between_means(runs: Runs, factor: str) -> float | None:
    with_it = [score for settings, score in runs if settings[factor]]
    without = [score for settings, score in runs if not settings[factor]]
    if not with_it or not without:
        return None
    return sum(with_it) / len(with_it) - sum(without) / len(without)


def gain_of_the_best(runs: Runs, factor: str) -> float | None:
    with_it = [score for settings, score in runs if settings[factor]]
    without = [score for settings, score in runs if not settings[factor]]
    return max(with_it) - max(without) if with_it and without else None


def gain_without_sign(runs: Runs, factor: str) -> float | None:
    gains = pair_gains(runs, factor)
    return sum(map(abs, gains)) / len(gains) if gains else None


def gain_the_other_way(runs: Runs, factor: str) -> float | None:
    gain = gain_of(runs, factor)
    return None if gain is None else -gain


def gain_in_total(runs: Runs, factor: str) -> float | None:
    gains = pair_gains(runs, factor)
    return sum(gains) if gains else None


def gain_of_the_first_pair(runs: Runs, factor: str) -> float | None:
    return next(iter(pair_gains(runs, factor)), None)


def gain_zero_where_unknown(runs: Runs, factor: str) -> float:
    return gain_of(runs, factor) or 0.0


def gain_ignoring_the_rest(runs: Runs, factor: str) -> float | None:
    gains = [
        score - other_score
        for settings, score in runs
        for others, other_score in runs
        if settings[factor] and not others[factor] and settings["seed"] == others["seed"]
    ]
    return sum(gains) / len(gains) if gains else None


def gain_in_both_directions(runs: Runs, factor: str) -> float | None:
    return 0.0 if pair_gains(runs, factor) else None


def gain_none_if_zero(runs: Runs, factor: str) -> float | None:
    return gain_of(runs, factor) or None


def gain_of_any_setting(runs: Runs, factor: str) -> float | None:
    gains = [
        score - other_score
        for settings, score in runs
        for others, other_score in runs
        if settings[factor] and sum(settings[key] != others[key] for key in settings) == 1
    ]
    return sum(gains) / len(gains) if gains else None


def gain_in_the_order_of_the_list(runs: Runs, factor: str) -> float | None:
    gains = [
        score - other_score
        for place, (settings, score) in enumerate(runs)
        for others, other_score in runs[place + 1 :]
        if [key for key in settings if settings[key] != others[key]] == [factor]
    ]
    return sum(gains) / len(gains) if gains else None


def gain_of_absolute_mean(runs: Runs, factor: str) -> float | None:
    gain = gain_of(runs, factor)
    return None if gain is None else abs(gain)


def gain_at_most(runs: Runs, factor: str) -> float | None:
    return max(pair_gains(runs, factor), default=None)


def gain_not_a_number(runs: Runs, factor: str) -> float:
    gain = gain_of(runs, factor)
    return math.nan if gain is None else gain


def gain_of_the_skips(runs: Runs, factor: str) -> float | None:
    return gain_of(runs, "skips")


def gain_of_the_last_runs(runs: Runs, factor: str) -> float | None:
    last = {tuple(sorted(settings.items())): (settings, score) for settings, score in runs}
    return gain_of(list(last.values()), factor)


def gain_of_groups(runs: Runs, factor: str) -> float | None:
    groups = {}
    for settings, score in runs:
        rest = tuple(sorted((key, settings[key]) for key in settings if key != factor))
        groups.setdefault(rest, {True: [], False: []})[settings[factor]].append(score)
    means = [
        sum(group[True]) / len(group[True]) - sum(group[False]) / len(group[False])
        for group in groups.values()
        if group[True] and group[False]
    ]
    return sum(means) / len(means) if means else None


def gain_by_order_of_keys(runs: Runs, factor: str) -> float | None:
    rest = [tuple(v for key, v in settings.items() if key != factor) for settings, _ in runs]
    gains = [
        score - other_score
        for (settings, score), a in zip(runs, rest, strict=True)
        for (others, other_score), b in zip(runs, rest, strict=True)
        if settings[factor] and not others[factor] and a == b
    ]
    return sum(gains) / len(gains) if gains else None


def pair_gains(runs: Runs, factor: str) -> list[float]:
    """The gain of every pair that isolates the factor."""
    return [
        score - other_score
        for settings, score in runs
        for others, other_score in runs
        if settings == {**others, factor: True} and not others[factor]
    ]


def arms(*rows: tuple[bool, int, int, float]) -> Runs:
    """Runs from (skips, steps, seed, score)."""
    return [({"skips": a, "steps": b, "seed": c}, score) for a, b, c, score in rows]


credit = Exercise(
    "6.6 Decide: what may be attributed to the skip connections?",
    solution=gain_of,
    cases=[
        (arms((False, 200, 0, 0.42), (True, 600, 0, 0.69), (False, 600, 0, 0.46)), "skips"),
        (arms((False, 200, 0, 0.42), (True, 600, 0, 0.69)), "skips"),
        (arms((True, 200, 0, 0.5), (False, 200, 0, 0.75)), "skips"),
        (arms((False, 200, 1, 0.25), (True, 200, 1, 0.5), (True, 200, 0, 0.75)), "skips"),
        (
            arms(
                (True, 200, 1, 0.625),
                (False, 200, 0, 0.25),
                (False, 200, 1, 0.75),
                (True, 200, 0, 0.75),
                (True, 600, 0, 0.875),
                (False, 400, 0, 0.125),
            ),
            "skips",
        ),
        (arms((True, 200, 0, 0.5), (False, 200, 0, 0.5)), "skips"),
        (arms((True, 200, 0, 0.5), (True, 600, 0, 0.7), (True, 200, 1, 0.6)), "skips"),
        (
            [
                ({"seed": 0, "skips": True, "flip": True}, 0.5),
                ({"flip": False, "skips": True, "seed": 0}, 0.375),
                ({"seed": 0, "skips": False, "flip": False}, 0.125),
                ({"seed": 1, "skips": False, "flip": True}, 1.0),
            ],
            "flip",
        ),
        (
            arms(
                (True, 200, 0, 0.6),
                (True, 200, 0, 0.8),
                (False, 200, 0, 0.5),
                (False, 600, 0, 0.5),
                (True, 600, 0, 0.9),
            ),
            "skips",
        ),
        ([], "skips"),
    ],
    mistakes=(
        Mistake(
            gain_between_means,
            "The mean of all runs with the factor is compared with the mean of all runs without "
            "it. These runs also differ in other settings, so the difference is mixed.",
        ),
        Mistake(
            gain_of_the_best,
            "The best run with the factor is compared with the best one without it. These two "
            "may also differ in other settings.",
        ),
        Mistake(
            gain_ignoring_the_rest,
            "Runs with equal seeds are compared, but they may differ in other settings, such as "
            "the number of steps. All settings except the factor must be equal.",
        ),
        Mistake(
            gain_without_sign,
            "A factor can also lower the score. Keep the sign: with the factor minus without it.",
        ),
        Mistake(
            gain_the_other_way,
            "The sign is reversed: the gain is the score with the factor minus the score without.",
        ),
        Mistake(gain_in_total, "The gains of all pairs are added. Return their mean."),
        Mistake(
            gain_of_the_first_pair,
            "Only one pair is used. The gain is the mean over all pairs that isolate the factor.",
        ),
        Mistake(
            gain_zero_where_unknown,
            "If no pair isolates the factor, its gain is unknown. This is not a gain of 0: return "
            "None.",
        ),
        Mistake(
            gain_in_both_directions,
            "Each pair counts in both directions, so its two differences cancel. Take each pair "
            "once, and subtract the score without the factor.",
        ),
        Mistake(
            gain_none_if_zero,
            "A gain of 0 is an answer, and it is not None. Test the number of pairs, not the gain.",
        ),
        Mistake(
            gain_of_any_setting,
            "These pairs differ in one setting, but this setting is not always the factor.",
        ),
        Mistake(
            gain_in_the_order_of_the_list,
            "The sign depends on the order of the list. In each pair, subtract the score without "
            "the factor.",
        ),
        Mistake(
            gain_of_absolute_mean,
            "The sign of the mean is lost. A factor can also lower the score.",
        ),
        Mistake(
            gain_at_most,
            "This is the largest gain of all pairs. Return the mean of their gains.",
        ),
        Mistake(
            gain_not_a_number,
            "Where no pair isolates the factor, the result is nan. Return None there.",
        ),
        Mistake(
            gain_of_the_skips,
            "This is always the gain of 'skips'. Use the argument `factor`.",
        ),
        Mistake(
            gain_of_the_last_runs,
            "Of several runs with equal settings, only the last one counts here. Each of them "
            "belongs to a pair of its own.",
        ),
        Mistake(
            gain_of_groups,
            "Runs with equal settings are averaged first. Return the mean over all pairs of runs, "
            "in which each pair counts once.",
        ),
        Mistake(
            gain_by_order_of_keys,
            "The values are compared in the order in which each dictionary lists them, and this "
            "order may differ. Compare the values of the same key.",
        ),
    ),
    hints=(
        "Compare every run with every other one. In which settings do the two differ?",
        "A pair counts if the list of differing settings is exactly [factor]. Take it once: with "
        "the run that has the factor first.",
        "differing = [key for key in a if a[key] != b[key]]; if differing == [factor] and "
        "a[factor], append the difference of the scores. Return the mean, or None for no pair.",
    ),
    describe=lambda runs, factor: (
        f"the factor {factor!r} and the runs "
        + (", ".join(f"{dict(settings)}: {score}" for settings, score in runs) or "[]")
    ),
)
