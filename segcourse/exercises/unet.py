"""Exercises of the U-Net chapter."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt, label
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake, counted
from segcourse.models.unet import UNet

# ── 8.1 ────────────────────────────────────────────────────────────────────────────────────────


def logits_side(side: int, depth: int) -> int | None:
    """Predict the width of the logits of an unpadded U-Net, in pixels.

    ``side`` is the width of the image, ``depth`` the number of poolings (1 or more). Every level
    has two 3 x 3 convolutions without padding, on the way down, at the bottom and on the way up.
    Return None if a pooling would meet an odd side, or if no pixel of logits is left. The paper's
    network has depth 4: side 572 gives 388. The package's ``UNet(2, depth=depth)`` confirms your
    prediction.
    """
    for _ in range(depth):
        side -= 4  # two unpadded 3 x 3 convolutions
        if side % 2:
            return None
        side //= 2
    side -= 4
    for _ in range(depth):
        side = 2 * side - 4
    return side if side > 0 else None


def side_of_a_padded_network(side: int, depth: int) -> int | None:
    return side if side % 2**depth == 0 else None


def side_of_single_convolutions(side: int, depth: int) -> int | None:
    for _ in range(depth):
        side -= 2
        if side % 2:
            return None
        side //= 2
    side -= 2
    for _ in range(depth):
        side = 2 * side - 2
    return side if side > 0 else None


def side_that_rounds(side: int, depth: int) -> int | None:
    for _ in range(depth):
        side = (side - 4) // 2
    side -= 4
    for _ in range(depth):
        side = 2 * side - 4
    return side if side > 0 else None


def side_without_the_way_up(side: int, depth: int) -> int | None:
    for _ in range(depth):
        side -= 4
        if side % 2:
            return None
        side //= 2
    side = (side - 4) * 2**depth
    return side if side > 0 else None


def side_that_may_vanish(side: int, depth: int) -> int | None:
    lost = 4 * (2**depth - 1)
    return side - 12 * 2**depth + 8 if (side - lost) % 2**depth == 0 else None


def side_without_the_bottom(side: int, depth: int) -> int | None:
    for _ in range(depth):
        side -= 4
        if side % 2:
            return None
        side //= 2
    for _ in range(depth):
        side = 2 * side - 4
    return side if side > 0 else None


def side_doubled_last(side: int, depth: int) -> int | None:
    for _ in range(depth):
        side -= 4
        if side % 2:
            return None
        side //= 2
    side -= 4
    for _ in range(depth):
        side = 2 * (side - 4)
    return side if side > 0 else None


def side_pooled_first(side: int, depth: int) -> int | None:
    for _ in range(depth):
        if side % 2:
            return None
        side = side // 2 - 4
    side -= 4
    for _ in range(depth):
        side = 2 * side - 4
    return side if side > 0 else None


def side_of_divisible_images(side: int, depth: int) -> int | None:
    return None if side % 2**depth else side_that_rounds(side, depth)


def side_or_zero(side: int, depth: int) -> int:
    return logits_side(side, depth) or 0


side_of_logits = Exercise(
    "8.1 Side of the logits",
    solution=logits_side,
    cases=[
        (572, 4), (188, 4), (380, 4), (572, 3), (570, 4), (573, 4), (100, 2), (101, 2), (92, 3),
        (84, 3), (60, 4), (172, 4), (18, 1), (16, 1), (20, 1), (17, 1), (48, 2), (1020, 6),
    ],
    mistakes=(
        Mistake(
            side_of_a_padded_network,
            "That is the padded network. Without padding every 3 x 3 convolution removes one "
            "pixel on each side.",
        ),
        Mistake(
            side_of_single_convolutions,
            "There are two convolutions at every level, on the way down, at the bottom and on the "
            "way up: each pair removes 4.",
        ),
        Mistake(
            side_that_rounds,
            "An odd side cannot be pooled without losing a row. Return None where a pooling meets "
            "an odd side.",
        ),
        Mistake(
            side_without_the_way_up,
            "The way up has convolutions too: after each doubling, subtract 4.",
        ),
        Mistake(
            side_that_may_vanish,
            "The formula also gives 0 and negative sides, which no network has: return None "
            "where no pixel is left.",
        ),
        Mistake(
            side_without_the_bottom,
            "The bottom has two convolutions of its own, after the last pooling and before the "
            "first doubling.",
        ),
        Mistake(
            side_doubled_last,
            "On the way up, a level doubles the side first. Its two convolutions come after that.",
        ),
        Mistake(
            side_pooled_first,
            "On the way down, the two convolutions of a level come before its pooling.",
        ),
        Mistake(
            side_of_divisible_images,
            "The side of the image need not be divisible by 2 ** depth. A pooling meets the side "
            "that the convolutions before it have left.",
        ),
        Mistake(side_or_zero, "Return None, and not 0 or False, where there are no logits."),
    ),
    hints=(
        "Follow the sides on the way down, and compare them with the chapter's table of sizes: "
        "572, 570, 568, pooled to 284, ...",
        "Each step down is (side - 4) / 2, the bottom is side - 4, each step up is 2 * side - 4.",
        "Write it as two loops with the bottom between them. Check for an odd side before each "
        "halving, and for a side below 1 at the end.",
    ),
    describe=lambda side, depth: (
        f"an image of {counted(side, 'pixel')} and {counted(depth, 'pooling')}"
    ),
)  # fmt: skip


# ── 8.2 ────────────────────────────────────────────────────────────────────────────────────────


def unet_parameters(
    in_channels: int, num_classes: int, width: int, depth: int, batch_norm: bool
) -> int:
    """Count the numbers that a U-Net learns. The paper's 1, 2, 64, 4, False gives 31,030,658.

    ``width`` is the number of channels at stride 1, ``depth`` the number of poolings. The channels
    double from level to level on the way down. Every level has two 3 x 3 convolutions, on the way
    down, at the bottom and on the way up. The 2 x 2 up-convolutions halve the channels, and the
    skip is concatenated to their result. Each 3 x 3 convolution has a bias, or, with
    ``batch_norm=True``, no bias but a batch normalisation behind it, which learns two numbers per
    channel. The up-convolutions and the final 1 x 1 convolution always have a bias and no
    normalisation. Return an integer.
    """

    def convolution(before: int, after: int) -> int:
        return 9 * before * after + (2 * after if batch_norm else after)

    widths = [width * 2**level for level in range(depth + 1)]
    total, before = 0, in_channels
    for channels in widths:  # on the way down
        total += convolution(before, channels) + convolution(channels, channels)
        before = channels
    for channels in widths[:-1]:  # on the way up, with the up-convolution first
        total += 4 * 2 * channels * channels + channels
        total += convolution(2 * channels, channels) + convolution(channels, channels)
    return total + width * num_classes + num_classes


def count_without_biases(
    in_channels: int, num_classes: int, width: int, depth: int, batch_norm: bool
) -> int:
    levels = [width * 2**level for level in range(depth + 1)]
    total = 9 * in_channels * width + 9 * width**2
    total += sum(9 * (c // 2) * c + 9 * c**2 for c in levels[1:])
    total += sum(4 * 2 * c * c + 9 * 2 * c * c + 9 * c * c for c in levels[:-1])
    normalisation = 2 * (2 * sum(levels) + 2 * sum(levels[:-1])) if batch_norm else 0
    return total + width * num_classes + normalisation


def count_with_biases_and_normalisation(
    in_channels: int, num_classes: int, width: int, depth: int, batch_norm: bool
) -> int:
    levels = [width * 2**level for level in range(depth + 1)]
    biases = 2 * sum(levels) + 2 * sum(levels[:-1])
    total = unet_parameters(in_channels, num_classes, width, depth, batch_norm)
    return total + biases if batch_norm else total


def count_of_a_network_that_adds(
    in_channels: int, num_classes: int, width: int, depth: int, batch_norm: bool
) -> int:
    narrower = sum(9 * (width * 2**level) ** 2 for level in range(depth))
    return unet_parameters(in_channels, num_classes, width, depth, batch_norm) - narrower


def count_without_up_convolutions(
    in_channels: int, num_classes: int, width: int, depth: int, batch_norm: bool
) -> int:
    up = sum(8 * (width * 2**level) ** 2 + width * 2**level for level in range(depth))
    return unet_parameters(in_channels, num_classes, width, depth, batch_norm) - up


def count_with_3_x_3_up_convolutions(
    in_channels: int, num_classes: int, width: int, depth: int, batch_norm: bool
) -> int:
    wider = sum(10 * (width * 2**level) ** 2 for level in range(depth))
    return unet_parameters(in_channels, num_classes, width, depth, batch_norm) + wider


def decoder_widths(width: int, depth: int) -> list[int]:
    """The channels of every level on the way up."""
    return [width * 2**level for level in range(depth)]


def count_with_running_statistics(a: int, k: int, width: int, depth: int, norm: bool) -> int:
    channels = 4 * sum(decoder_widths(width, depth)) + 2 * width * 2**depth
    return unet_parameters(a, k, width, depth, norm) + (2 * channels if norm else 0)


def count_without_up_biases(a: int, k: int, width: int, depth: int, norm: bool) -> int:
    return unet_parameters(a, k, width, depth, norm) - sum(decoder_widths(width, depth))


def count_without_head(a: int, k: int, width: int, depth: int, norm: bool) -> int:
    return unet_parameters(a, k, width, depth, norm) - width * k - k


def count_without_the_bias_of_the_head(a: int, k: int, width: int, depth: int, norm: bool) -> int:
    return unet_parameters(a, k, width, depth, norm) - k


def count_with_one_convolution_up(a: int, k: int, width: int, depth: int, norm: bool) -> int:
    second = sum(9 * c * c + (2 * c if norm else c) for c in decoder_widths(width, depth))
    return unet_parameters(a, k, width, depth, norm) - second


def count_with_wide_up_convolutions(a: int, k: int, width: int, depth: int, norm: bool) -> int:
    wider = sum(8 * c * c + c + 9 * c * c for c in decoder_widths(width, depth))
    return unet_parameters(a, k, width, depth, norm) + wider


def count_with_normalised_up_convolutions(
    a: int, k: int, width: int, depth: int, norm: bool
) -> int:
    more = sum(decoder_widths(width, depth)) if norm else 0
    return unet_parameters(a, k, width, depth, norm) + more


def count_that_ignores_batch_norm(a: int, k: int, width: int, depth: int, norm: bool) -> int:
    return unet_parameters(a, k, width, depth, False)


def count_with_a_level_less(a: int, k: int, width: int, depth: int, norm: bool) -> int:
    return unet_parameters(a, k, width, depth - 1, norm)


parameters = Exercise(
    "8.2 Counting parameters",
    solution=unet_parameters,
    cases=[
        (1, 2, 64, 4, False), (3, 2, 64, 4, True), (3, 21, 64, 4, False), (3, 8, 12, 3, True),
        (1, 1, 1, 1, False), (5, 3, 7, 2, True), (4, 1, 3, 5, False),
    ],
    mistakes=(
        Mistake(
            count_without_biases,
            "Biases are missing: one per output channel, in every layer that has no batch "
            "normalisation behind it.",
        ),
        Mistake(
            count_with_biases_and_normalisation,
            "Without batch normalisation this is right. With it, the 3 x 3 convolutions have no "
            "bias, because the normalisation learns a shift of its own.",
        ),
        Mistake(
            count_of_a_network_that_adds,
            "The first convolution after each merge takes the skip *and* the upsampled features: "
            "concatenation doubles its input channels.",
        ),
        Mistake(
            count_without_up_convolutions,
            "The up-convolutions are missing: 2 x 2 kernels from 2C to C channels, and C biases.",
        ),
        Mistake(
            count_with_3_x_3_up_convolutions,
            "An up-convolution has a 2 x 2 kernel: four weights per pair of channels, not nine.",
        ),
        Mistake(
            count_with_running_statistics,
            "The running mean and variance of a batch normalisation are measured, not learned.",
        ),
        Mistake(
            count_without_up_biases,
            "The biases of the up-convolutions are missing.",
        ),
        Mistake(count_without_head, "The final 1 x 1 convolution is missing."),
        Mistake(
            count_without_the_bias_of_the_head,
            "The final 1 x 1 convolution has a bias too: one number per class.",
        ),
        Mistake(
            count_with_one_convolution_up,
            "After each concatenation there are two 3 x 3 convolutions. The second one is missing.",
        ),
        Mistake(
            count_with_wide_up_convolutions,
            "These up-convolutions keep the number of channels. In the paper's network they "
            "halve it before the skip is concatenated.",
        ),
        Mistake(
            count_with_normalised_up_convolutions,
            "The up-convolutions have a bias and no batch normalisation, also with "
            "``batch_norm=True``.",
        ),
        Mistake(
            count_that_ignores_batch_norm,
            "Right without batch normalisation. The argument ``batch_norm`` is not used.",
        ),
        Mistake(
            count_with_a_level_less,
            "One level is missing. With one pooling, a network has two levels: stride 1 and 2.",
        ),
    ),
    hints=(
        "A k x k convolution from a to b channels has k * k * a * b weights and b biases.",
        "The levels have width, 2 * width, 4 * width, ... channels. On the way down, the first "
        "convolution of a level takes the channels of the level above it.",
        "On the way up to C channels: a 2 x 2 layer from 2C to C, a 3 x 3 layer from 2C (skip and "
        "upsampled features) to C, a 3 x 3 layer from C to C. There are depth such steps.",
    ),
    describe=lambda a, k, w, d, norm: (
        f"{counted(a, 'image channel')}, {k} {'class' if k == 1 else 'classes'}, width {w}, "
        f"depth {d}, batch_norm={norm}"
    ),
)  # fmt: skip


# ── 8.3 ────────────────────────────────────────────────────────────────────────────────────────


def merge(skip: Tensor, x: Tensor) -> Tensor:
    """Merge a skip (N, A, H, W) with upsampled features ``x`` (N, B, h, w).

    This function runs, and the network trains badly:

        def merge(skip, x):
            return torch.cat([skip[..., : x.shape[-2], : x.shape[-1]], x], dim=1)

    Find the fault, and write the function correctly: crop ``skip`` around its centre, so that
    equally many rows go at the top and at the bottom, and equally many columns on the left and on
    the right. H - h and W - w are even, and may be 0. Return (N, A + B, h, w) with the channels of
    the skip first.
    """
    height, width = x.shape[-2:]
    top, left = (skip.shape[-2] - height) // 2, (skip.shape[-1] - width) // 2
    middle = skip[..., top : top + height, left : left + width]
    return torch.cat([middle, x], dim=1)


def merge_corner(skip: Tensor, x: Tensor) -> Tensor:
    return torch.cat([skip[..., : x.shape[-2], : x.shape[-1]], x], dim=1)


def merge_resized(skip: Tensor, x: Tensor) -> Tensor:
    return torch.cat([F.interpolate(skip, x.shape[-2:], mode="bilinear"), x], dim=1)


def merge_swapped(skip: Tensor, x: Tensor) -> Tensor:
    return merge(skip, x).roll(x.shape[1], dims=1)


def merge_with_one_offset(skip: Tensor, x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    edge = (skip.shape[-2] - height) // 2
    return torch.cat([skip[..., edge : edge + height, edge : edge + width], x], dim=1)


def merge_padded(skip: Tensor, x: Tensor) -> Tensor:
    rows, columns = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
    margin = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return torch.cat([skip, F.pad(x, margin)], dim=1)


def merge_with_margins_at_both_ends(skip: Tensor, x: Tensor) -> Tensor:
    rows, columns = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
    top, left = rows // 2, columns // 2
    return torch.cat([skip[..., top:-top, left:-left], x], dim=1)


def merge_until_the_size(skip: Tensor, x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    top, left = (skip.shape[-2] - height) // 2, (skip.shape[-1] - width) // 2
    return torch.cat([skip[..., top:height, left:width], x], dim=1)


def merge_at_the_far_end(skip: Tensor, x: Tensor) -> Tensor:
    return torch.cat([skip[..., -x.shape[-2] :, -x.shape[-1] :], x], dim=1)


def merge_resized_to_nearest(skip: Tensor, x: Tensor) -> Tensor:
    return torch.cat([F.interpolate(skip, x.shape[-2:]), x], dim=1)


def merge_by_adding(skip: Tensor, x: Tensor) -> Tensor:
    return merge(skip, x)[:, : skip.shape[1]] + x


def merge_with_margins_exchanged(skip: Tensor, x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    top, left = (skip.shape[-2] - height) // 2, (skip.shape[-1] - width) // 2
    return torch.cat([skip[..., left : left + height, top : top + width], x], dim=1)


def maps_to_merge() -> list[tuple[Tensor, Tensor]]:
    """Skips and upsampled features of several sizes."""
    g = torch.Generator().manual_seed(8)
    sizes = [((64, 64), (56, 56)), ((12, 10), (4, 8)), ((7, 9), (7, 9)), ((24, 20), (12, 16)),
             ((9, 30), (9, 2)), ((31, 5), (1, 1))]  # fmt: skip
    return [
        (
            torch.rand(1 + n % 2, 2 + n, *large, generator=g),
            torch.rand(1 + n % 2, 3, *small, generator=g),
        )
        for n, (large, small) in enumerate(sizes)
    ]


fix_crop = Exercise(
    "8.3 Fix the skip",
    solution=merge,
    cases=maps_to_merge,
    mistakes=(
        Mistake(
            merge_corner,
            "The skip is cropped from its corner, so its features no longer lie over the pixels "
            "that they describe. Remove equally many rows at the top and at the bottom.",
        ),
        Mistake(
            merge_resized,
            "Resizing squeezes the skip's margin into the result, so its features no longer lie "
            "over the pixels that they describe. Crop, do not resize.",
        ),
        Mistake(
            merge_swapped,
            "The crop is right, the order of the channels is not: the skip's channels come "
            "first. The network would train, but weights trained with the other order would fail.",
        ),
        Mistake(
            merge_with_one_offset,
            "Rows and columns need an offset each, because H - h and W - w may differ.",
        ),
        Mistake(
            merge_padded,
            "Here ``x`` was padded to the size of the skip. Crop the skip to the size of ``x``.",
        ),
        Mistake(
            merge_with_margins_at_both_ends,
            "Where nothing is to be cut, the margin is 0, and -0 is 0: the slice 0 : -0 is empty.",
        ),
        Mistake(
            merge_until_the_size,
            "A slice a : b ends before index b; b is not a length. A window of h rows that begins "
            "at top ends at top + h.",
        ),
        Mistake(
            merge_at_the_far_end,
            "All surplus rows are removed at the top, and all surplus columns on the left. Half of "
            "them belong to the other end.",
        ),
        Mistake(
            merge_resized_to_nearest,
            "Resizing leaves out some rows and columns between others. The crop consists of rows "
            "and columns that are direct neighbours.",
        ),
        Mistake(
            merge_by_adding,
            "The two are added here. They must be concatenated along the channels.",
        ),
        Mistake(
            merge_with_margins_exchanged,
            "The margins are exchanged: the first of the two slices belongs to the rows.",
        ),
    ),
    hints=(
        "The skip has H - h rows too many. How many of them must go at the top?",
        "top = (H - h) // 2, and left likewise from the columns.",
        "torch.cat([skip[..., top : top + h, left : left + w], x], dim=1)",
    ),
    describe=lambda skip, x: f"a skip {tuple(skip.shape)} and features {tuple(x.shape)}",
)


# ── 8.4 ────────────────────────────────────────────────────────────────────────────────────────


def mirrored(place: int, length: int) -> int:
    """Predict which pixel of a row a mirrored border shows at ``place``.

    A row of ``length`` pixels (1 or more) is continued on both sides by its mirror image, and by
    the mirror image of that, without end. Places 0 to length - 1 are the row itself. The border
    pixel is not repeated: place -1 shows pixel 1. A row of one pixel shows it everywhere. ``place``
    may be any integer, also far away. Return the number of the pixel, from 0 to length - 1. For
    example, a row of 3 shows 2 1 0 1 2 1 0 at the places -2 to 4.
    """
    period = max(2 * length - 2, 1)
    place %= period
    return min(place, period - place)


def mirrored_with_the_border_twice(place: int, length: int) -> int:
    place %= 2 * length
    return min(place, 2 * length - 1 - place)


def mirrored_once(place: int, length: int) -> int:
    place = abs(place)
    return 2 * (length - 1) - place if place >= length else place


def clamped(place: int, length: int) -> int:
    return min(max(place, 0), length - 1)


def wrapped(place: int, length: int) -> int:
    return place % length


def mirrored_two_or_more(place: int, length: int) -> int:
    place %= 2 * length - 2
    return min(place, 2 * length - 2 - place)


def mirrored_with_a_place_too_many(place: int, length: int) -> int:
    place %= 2 * length
    return min(place, 2 * length - place)


def mirrored_with_the_last_twice(place: int, length: int) -> int:
    place %= 2 * length - 1
    return min(place, 2 * length - 1 - place)


def mirrored_at_zero_only(place: int, length: int) -> int:
    return abs(place)


def mirrored_with_a_signed_remainder(place: int, length: int) -> int:
    period = max(2 * length - 2, 1)
    rest = int(math.fmod(place, period))
    return min(rest, period - rest)


mirror = Exercise(
    "8.4 A mirror at the border",
    solution=mirrored,
    cases=[
        (0, 5), (4, 5), (-1, 5), (-2, 5), (5, 5), (6, 5), (-4, 5), (-5, 5), (9, 5), (-92, 5),
        (100, 3), (7, 2), (-3, 1), (3, 1), (0, 1), (-7, 2), (-11, 4), (23, 4), (2, 3), (3, 3),
    ],
    mistakes=(
        Mistake(
            mirrored_with_the_border_twice,
            "Here the border pixel occurs twice, which NumPy calls symmetric. In `reflect` it "
            "occurs once: place -1 shows pixel 1.",
        ),
        Mistake(
            mirrored_once,
            "Right near the border. Further away the mirror image is mirrored again: after how "
            "many places does the pattern repeat?",
        ),
        Mistake(
            clamped,
            "That repeats the border pixel for ever. A mirror goes back into the row.",
        ),
        Mistake(
            wrapped,
            "That starts the row again at its other end, so its last pixel meets its first. A "
            "mirror goes back from the border.",
        ),
        Mistake(mirrored_two_or_more, "A row of one pixel shows pixel 0 at every place."),
        Mistake(
            mirrored_with_a_place_too_many,
            "The result may be `length`, which is no pixel of the row. After how many places does "
            "a row of 3 repeat?",
        ),
        Mistake(
            mirrored_with_the_last_twice,
            "The last pixel occurs twice side by side here. After how many places does a row of 3 "
            "repeat?",
        ),
        Mistake(
            mirrored_at_zero_only,
            "This mirrors the row at place 0 only. What do the places behind the last pixel show?",
        ),
        Mistake(
            mirrored_with_a_signed_remainder,
            "The remainder is negative for negative places, as with math.fmod. Python's % never "
            "gives a negative one.",
        ),
    ),
    hints=(
        "Write down places -4 to 8 for a row of 3 pixels: 0 1 2 1 0 1 2 1 0 ...",
        "It repeats after 2 * length - 2 places.",
        "Take place modulo the period; then the smaller of place and period - place. A row of 1 "
        "has the period 0, which needs a case of its own.",
    ),
    describe=lambda place, length: (
        f"place {place} of a row of {counted(length, 'pixel')}"
    ),
)  # fmt: skip


# ── 8.5 ────────────────────────────────────────────────────────────────────────────────────────


def border_map(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    """Compute U-Net's border term w0 exp(-(d1 + d2)^2 / (2 sigma^2)) for every pixel.

    ``instance`` (H, W) is a NumPy array of integers: 0 is background, every positive number is one
    object, possibly in several pieces; the numbers may have gaps, and objects may touch. d1 and
    d2 are the Euclidean distances from a background pixel to the nearest and to the second
    nearest object, as ``scipy.ndimage.distance_transform_edt`` measures them. Return (H, W): the
    term on the background, 0 inside objects, and 0 everywhere if there are fewer than two objects.
    """
    numbers = np.unique(instance[instance > 0])
    if numbers.size < 2:
        return np.zeros(instance.shape)
    distances = np.sort([distance_transform_edt(instance != n) for n in numbers], axis=0)
    total = distances[0] + distances[1]
    return w0 * np.exp(-(total**2) / (2 * sigma**2)) * (instance == 0)


def border_map_inside_too(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    numbers = np.unique(instance[instance > 0])
    if len(numbers) < 2:
        return np.zeros(instance.shape)
    distances = np.sort([distance_transform_edt(instance != n) for n in numbers], axis=0)
    return w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))


def border_map_of_the_mask(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    if not instance.any():
        return np.zeros(instance.shape)
    nearest = distance_transform_edt(instance == 0)
    return w0 * np.exp(-((2 * nearest) ** 2) / (2 * sigma**2)) * (instance == 0)


def border_map_without_the_square(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    numbers = np.unique(instance[instance > 0])
    if len(numbers) < 2:
        return np.zeros(instance.shape)
    distances = np.sort([distance_transform_edt(instance != n) for n in numbers], axis=0)
    return w0 * np.exp(-(distances[0] + distances[1]) / (2 * sigma**2)) * (instance == 0)


def border_map_that_needs_two(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    numbers = np.unique(instance[instance > 0])
    distances = np.sort([distance_transform_edt(instance != n) for n in numbers], axis=0)
    total = distances[0] + distances[1]
    return w0 * np.exp(-(total**2) / (2 * sigma**2)) * (instance == 0)


def border_map_of_regions(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    return border_map(label(instance > 0)[0], w0, sigma)


def cells() -> list[tuple[np.ndarray, float, float]]:
    """Two cells as in the fact sheet of the losses, three, touching, in pieces, one, none, full."""
    two = np.zeros((16, 16), dtype=np.int64)
    two[4:12, 2:7], two[4:12, 9:14] = 1, 2
    three = two.copy()
    three[13:15, 5:12] = 7
    touching = np.zeros((12, 20), dtype=np.int32)
    touching[3:9, 3:9], touching[3:9, 9:15] = 4, 9
    pieces = np.zeros((14, 18), dtype=np.int64)
    pieces[2:5, 2:6], pieces[2:5, 11:15], pieces[9:12, 5:9] = 3, 3, 300
    halves = np.repeat([[1, 2]], 4, axis=1).repeat(6, axis=0)
    return [
        (two, 10.0, 5.0),
        (three, 10.0, 5.0),
        (three, 4.0, 2.0),
        (touching, 10.0, 5.0),
        (pieces, 10.0, 3.0),
        (np.where(two == 2, 0, two), 10.0, 5.0),
        (np.zeros((5, 9), dtype=np.int64), 10.0, 5.0),
        (halves, 10.0, 5.0),
        (two.astype(np.uint8), 1.0, 8.0),
    ]


def border_map_that_needs_two_if_any(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    return border_map_that_needs_two(instance, w0, sigma) if instance.any() else instance * 0.0


def border_map_of_a_stack(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    numbers = np.unique(instance[instance > 0])
    distances = np.sort(np.stack([distance_transform_edt(instance != n) for n in numbers]), axis=0)
    total = distances[0] + distances[1]
    return w0 * np.exp(-(total**2) / (2 * sigma**2)) * (instance == 0)


def border_map_without_gaps(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    numbers = range(1, int(instance.max()) + 1)
    if len(numbers) < 2:
        return np.zeros(instance.shape)
    first, second, *_ = np.sort([distance_transform_edt(instance != n) for n in numbers], axis=0)
    return w0 * np.exp(-((first + second) ** 2) / (2 * sigma**2)) * (instance == 0)


def border_map_from_inside(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    several = len(np.unique(instance[instance > 0])) > 1
    return w0 * (instance == 0) if several else np.zeros(instance.shape)


def border_map_unsorted(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    numbers = np.unique(instance[instance > 0])[:2]
    return border_map(np.where(np.isin(instance, numbers), instance, 0), w0, sigma) * (
        instance == 0
    )


def with_exponent(instance: np.ndarray, w0: float, exponent: Callable) -> np.ndarray:
    """The border term with another exponent, which is a function of d1 and d2."""
    numbers = np.unique(instance[instance > 0])
    if len(numbers) < 2:
        return np.zeros(instance.shape)
    first, second, *_ = np.sort([distance_transform_edt(instance != n) for n in numbers], axis=0)
    return w0 * np.exp(exponent(first, second)) * (instance == 0)


def border_map_of_squares(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    return with_exponent(instance, w0, lambda d1, d2: -(d1**2 + d2**2) / (2 * sigma**2))


def border_map_from_left_to_right(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    return with_exponent(instance, w0, lambda d1, d2: -((d1 + d2) ** 2) / 2 * sigma**2)


def border_map_of_plain_sigma(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    return with_exponent(instance, w0, lambda d1, d2: -((d1 + d2) ** 2) / (2 * sigma))


def border_map_that_grows(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    return with_exponent(instance, w0, lambda d1, d2: (d1 + d2) ** 2 / (2 * sigma**2))


def border_map_of_the_nearest(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    return with_exponent(instance, w0, lambda d1, d2: -((2 * d1) ** 2) / (2 * sigma**2))


def border_map_and_one(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    several = len(np.unique(instance[instance > 0])) > 1
    return border_map(instance, w0, sigma) + several


def border_map_in_whole_numbers(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    return border_map(instance, w0, sigma).astype(instance.dtype)


border = Exercise(
    "8.5 The border weight map",
    solution=border_map,
    cases=cells,
    mistakes=(
        Mistake(
            border_map_inside_too,
            "Right on the background. Inside an object the term must be 0, because only the gap "
            "between objects needs the additional weight.",
        ),
        Mistake(
            border_map_of_the_mask,
            "This uses the distance to the nearest object twice, so every outline gets a large "
            "weight, even far from a second object. d2 belongs to the second nearest object: "
            "compute one distance transform per object.",
        ),
        Mistake(
            border_map_without_the_square,
            "The sum of the distances is squared in the exponent.",
        ),
        Mistake(
            border_map_that_needs_two,
            "Right for two objects or more. With one object or none there is no second distance: "
            "return zeros.",
        ),
        Mistake(
            border_map_of_regions,
            "Connected regions are not objects: objects that touch are one region, and an object "
            "in two pieces is two. Use the numbers of the instance map.",
        ),
        Mistake(
            border_map_that_needs_two_if_any,
            "With one object there is no second distance: return zeros.",
        ),
        Mistake(
            border_map_of_a_stack,
            "Without two objects there are no two distances to take: return zeros.",
        ),
        Mistake(
            border_map_without_gaps,
            "The numbers may have gaps, and this counts numbers that no pixel has as objects. Take "
            "only those that occur.",
        ),
        Mistake(
            border_map_from_inside,
            "distance_transform_edt gives the distance to the nearest zero. Here the background is "
            "zero, so all distances on the background are 0.",
        ),
        Mistake(
            border_map_unsorted,
            "The distances to the first two objects are used everywhere. The two nearest objects "
            "are not the same at every pixel.",
        ),
        Mistake(
            border_map_of_squares,
            "The square belongs to the sum: (d1 + d2)^2 is not d1^2 + d2^2.",
        ),
        Mistake(
            border_map_from_left_to_right,
            "a / 2 * b is (a / 2) * b in Python. The whole denominator needs parentheses.",
        ),
        Mistake(border_map_of_plain_sigma, "sigma is squared in the denominator."),
        Mistake(
            border_map_that_grows,
            "The term grows with the distance here. The exponent must be negative.",
        ),
        Mistake(
            border_map_of_the_nearest,
            "d1 is used in the place of d2. The second distance belongs to another object.",
        ),
        Mistake(
            border_map_and_one,
            "Every weight is larger by 1. Return the border term alone.",
        ),
        Mistake(
            border_map_in_whole_numbers,
            "The terms are cut to whole numbers: an array like ``instance`` holds integers. Write "
            "them into an array of floats.",
        ),
    ),
    hints=(
        "distance_transform_edt(instance != n) is the distance of every pixel to object n.",
        "Compute these maps for all numbers but 0, and sort them along the first axis: the first "
        "two are d1 and d2.",
        "Multiply by (instance == 0). Return zeros if there are fewer than two numbers.",
    ),
    describe=lambda instance, w0, sigma: (
        f"{counted(len(np.unique(instance[instance > 0])), 'object')} in {instance.shape[0]} x "
        f"{instance.shape[1]} pixels, w0 = {w0:g}, sigma = {sigma:g}"
    ),
)


# ── 8.6 ────────────────────────────────────────────────────────────────────────────────────────


def shift_period(net: Callable[[Tensor], Tensor], image: Tensor, side: int) -> int | None:
    """Find the smallest shift of a tile after which its logits only move along.

    First predict, then measure: by how many columns must a tile move for a network with one, two
    and three poolings?

    ``net`` is a function from images to logits, ``image`` is (1, 3, H, W), and a tile is ``side``
    columns of it: image[..., s : s + side] starts at column s. Compare the logits of the tile at
    column 0 with those of the tile at column s, in the columns that describe the same pixels. Try
    s = 1, 2, 3, ... as long as the two tiles have at least one column of logits in common. Return
    the first s for which all common logits agree to 1e-4, or None if there is none. The image has
    at least 2 * side columns.
    """
    first = net(image[..., :side])
    for shift in range(1, first.shape[-1]):
        moved = net(image[..., shift : shift + side])
        if (first[..., shift:] - moved[..., :-shift]).abs().max() < 1e-4:
            return shift
    return None


def period_of_unmoved_logits(
    net: Callable[[Tensor], Tensor], image: Tensor, side: int
) -> int | None:
    first = net(image[..., :side])
    for shift in range(1, first.shape[-1]):
        if torch.allclose(first, net(image[..., shift : shift + side]), atol=1e-4):
            return shift
    return None


def period_of_convolutions(net: Callable[[Tensor], Tensor], image: Tensor, side: int) -> int | None:
    return 1


def period_that_compares_nothing(
    net: Callable[[Tensor], Tensor], image: Tensor, side: int
) -> int | None:
    first = net(image[..., :side])
    for shift in range(1, 17):
        moved = net(image[..., shift : shift + side])
        if torch.allclose(first[..., shift:], moved[..., :-shift], atol=1e-4):
            return shift
    return None


def period_of_few_shifts(net: Callable[[Tensor], Tensor], image: Tensor, side: int) -> int | None:
    first = net(image[..., :side])
    for shift in range(1, 5):
        moved = net(image[..., shift : shift + side])
        common = first[..., shift:]
        if common.numel() and torch.allclose(common, moved[..., :-shift], atol=1e-4):
            return shift
    return None


def period_in_the_wrong_direction(
    net: Callable[[Tensor], Tensor], image: Tensor, side: int
) -> int | None:
    first = net(image[..., :side])
    for shift in range(1, first.shape[-1]):
        moved = net(image[..., shift : shift + side])
        if (first[..., :-shift] - moved[..., shift:]).abs().max() < 1e-4:
            return shift
    return None


def period_from_zero(net: Callable[[Tensor], Tensor], image: Tensor, side: int) -> int:
    return 0


def period_or_zero(net: Callable[[Tensor], Tensor], image: Tensor, side: int) -> int:
    return shift_period(net, image, side) or 0


def period_of_the_tile(net: Callable[[Tensor], Tensor], image: Tensor, side: int) -> int | None:
    first = net(image[..., :side])
    for shift in range(1, side):
        moved = net(image[..., shift : shift + side])
        if (first[..., shift:] - moved[..., : side - shift]).abs().max() < 1e-4:
            return shift
    return None


def first_shift(
    net: Callable[[Tensor], Tensor],
    image: Tensor,
    side: int,
    agree: Callable[[Tensor, Tensor], bool],
    shifts: Sequence[int] = (),
) -> int | None:
    """The answer with another comparison, or with other shifts."""
    first = net(image[..., :side])
    for shift in range(1, first.shape[-1]):
        if shifts and shift not in shifts:
            continue
        moved = net(image[..., shift : shift + side])
        if agree(first[..., shift:], moved[..., :-shift]):
            return shift
    return None


def period_without_rounding(
    net: Callable[[Tensor], Tensor], image: Tensor, side: int
) -> int | None:
    return first_shift(net, image, side, torch.equal)


def period_of_classes(net: Callable[[Tensor], Tensor], image: Tensor, side: int) -> int | None:
    return first_shift(net, image, side, lambda a, b: torch.equal(a.argmax(1), b.argmax(1)))


def period_with_signs(net: Callable[[Tensor], Tensor], image: Tensor, side: int) -> int | None:
    return first_shift(net, image, side, lambda a, b: bool((a - b).max() < 1e-4))


def period_with_other_signs(
    net: Callable[[Tensor], Tensor], image: Tensor, side: int
) -> int | None:
    return first_shift(net, image, side, lambda a, b: bool((b - a).max() < 1e-4))


def period_of_small_differences(
    net: Callable[[Tensor], Tensor], image: Tensor, side: int
) -> int | None:
    return first_shift(net, image, side, lambda a, b: bool((a - b).abs().max() < 1e-5))


def period_on_average(net: Callable[[Tensor], Tensor], image: Tensor, side: int) -> int | None:
    return first_shift(net, image, side, lambda a, b: bool((a - b).abs().mean() < 1e-4))


def period_of_powers(net: Callable[[Tensor], Tensor], image: Tensor, side: int) -> int | None:
    powers = [2**n for n in range(10)]
    return first_shift(net, image, side, lambda a, b: bool((a - b).abs().max() < 1e-4), powers)


def period_without_the_last_shift(
    net: Callable[[Tensor], Tensor], image: Tensor, side: int
) -> int | None:
    last = net(image[..., :side]).shape[-1] - 1
    found = shift_period(net, image, side)
    return None if found == last else found


def logits_that_fall(image: Tensor) -> Tensor:
    """Logits that depend a little on the column of the tile: no shift leaves them unchanged."""
    return image[:, :2] - 0.003 * torch.arange(image.shape[-1])


def logits_that_rise(image: Tensor) -> Tensor:
    """The same with the other sign."""
    return image[:, :2] + 0.003 * torch.arange(image.shape[-1])


def logits_with_another_border(image: Tensor) -> Tensor:
    """Logits that depend on their position in the first column of the tile only."""
    return image[:, :2] - 2e-3 * (torch.arange(image.shape[-1]) == 0)


def logits_of_triples(image: Tensor) -> Tensor:
    """The largest values of three columns each: only a multiple of 3 moves them along."""
    return F.max_pool2d(image[:, :2], (1, 3)).repeat_interleave(3, dim=-1)


def logits_that_hardly_rise(image: Tensor) -> Tensor:
    """Logits of neighbouring tiles agree to 3e-5, and to no more than that."""
    return image[:, :2] + 3e-5 * torch.arange(image.shape[-1])


def logits_with_rounding_errors(image: Tensor) -> Tensor:
    """Logits of neighbouring tiles agree to 1e-6, and to no more than that."""
    return image[:, :2] + 1e-6 * torch.arange(image.shape[-1])


IN_WORDS = {
    logits_that_fall: "a function whose logits never move along",
    logits_that_rise: "a function whose logits never move along",
    logits_with_another_border: "a function that changes the first column of every tile",
    logits_of_triples: "a max pooling of 3 columns that is upsampled again",
    logits_that_hardly_rise: "a function whose logits deviate by 3e-5 for each column",
    logits_with_rounding_errors: "a function whose logits deviate by 1e-6 for each column",
}


def in_words(net: Callable[[Tensor], Tensor]) -> str:
    """What a network of the cases is."""
    if isinstance(net, UNet):
        return f"a U-Net with {counted(net.depth, 'pooling')}"
    return IN_WORDS.get(net, "a convolution without pooling")


def networks_and_images() -> list[tuple[Callable[[Tensor], Tensor], Tensor, int]]:
    """Unpadded networks with one, two and three poolings, some without, a constant image."""
    found = []
    sizes = [(1, 20, 32), (2, 48, 56), (2, 44, 48), (3, 92, 100), (3, 92, 92)]
    for depth, height, side in sizes:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(depth)
            net = UNet(2, width=2, depth=depth).eval().requires_grad_(False)
            found.append((net, torch.rand(1, 3, height, 2 * side), side))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        convolution = torch.nn.Conv2d(3, 2, 5).requires_grad_(False)
        found.append((convolution, torch.rand(1, 3, 12, 40), 16))
        found.append((convolution, torch.rand(1, 3, 12, 12), 6))
        found.append((logits_with_another_border, torch.rand(1, 3, 2, 48), 24))
        found.append((logits_of_triples, torch.rand(1, 3, 2, 28), 14))
        found.append((logits_that_hardly_rise, torch.rand(1, 3, 2, 24), 12))
        found.append((logits_with_rounding_errors, torch.rand(1, 3, 2, 24), 12))
    found.append((found[1][0], torch.full((1, 3, 48, 112), 0.5), 56))
    found.append((logits_that_rise, torch.full((1, 3, 2, 24), 0.5), 12))
    found.append((logits_that_fall, torch.full((1, 3, 2, 24), 0.5), 12))
    return found


shift = Exercise(
    "8.6 How far may a tile move?",
    solution=shift_period,
    cases=networks_and_images,
    mistakes=(
        Mistake(
            period_of_unmoved_logits,
            "The wrong columns are compared. The moved tile starts s columns further right, so its "
            "column 0 describes the same pixels as column s of the first tile.",
        ),
        Mistake(
            period_of_convolutions,
            "That holds for networks of convolutions alone. The windows of a pooling start at "
            "the edge of the tile, so they depend on where the tile starts. Run the experiment.",
        ),
        Mistake(
            period_that_compares_nothing,
            "When s reaches the width of the logits, nothing is left to compare, and two empty "
            "tensors count as equal. Stop before.",
        ),
        Mistake(
            period_of_few_shifts,
            "Larger shifts were not tried: go on as long as the tiles have a column of logits in "
            "common.",
        ),
        Mistake(
            period_in_the_wrong_direction,
            "The logits move in the other direction. The second tile starts further right, so a "
            "pixel of the image has a smaller column number in it.",
        ),
        Mistake(period_from_zero, "A shift of 0 compares a tile with itself. Begin at s = 1."),
        Mistake(
            period_or_zero,
            "If no shift fits, there is no period. Return None, and not 0.",
        ),
        Mistake(
            period_of_the_tile,
            "An unpadded network has fewer columns of logits than the tile has columns. Take the "
            "width from the logits.",
        ),
        Mistake(
            period_without_rounding,
            "Equal pixels may get logits that differ by a rounding error. The comparison needs the "
            "tolerance of 1e-4.",
        ),
        Mistake(
            period_of_classes,
            "The predicted classes are compared, and they can agree where the logits differ.",
        ),
        Mistake(
            period_with_signs,
            "A negative difference passes this test, however large it is.",
        ),
        Mistake(
            period_with_other_signs,
            "The differences are compared with their sign, so all negative ones pass.",
        ),
        Mistake(
            period_of_small_differences,
            "The tolerance is smaller than the 1e-4 of the question.",
        ),
        Mistake(
            period_on_average,
            "The mean of the differences can be small although one of them is not. All common "
            "logits must agree.",
        ),
        Mistake(
            period_of_powers,
            "Only the powers of 2 were tried. The question asks for s = 1, 2, 3, ...",
        ),
        Mistake(
            period_without_the_last_shift,
            "The last shift is missing: two tiles with one common column can still be compared.",
        ),
    ),
    hints=(
        "The two tiles are image[..., :side] and image[..., s : s + side].",
        "Column s of the first tile's logits and column 0 of the second tile's describe the same "
        "pixels.",
        "(first[..., s:] - moved[..., :-s]).abs().max() < 1e-4, for every s from 1 to "
        "first.shape[-1] - 1.",
    ),
    describe=lambda net, image, side: f"{in_words(net)}, and tiles of {side} columns",
)  # fmt: skip


# ── 8.7 ────────────────────────────────────────────────────────────────────────────────────────


def judge(baseline: Sequence[float], changed: Sequence[float], factor: float) -> str:
    """Decide whether a change of the training helps, from paired scores.

    ``baseline`` and ``changed`` are lists. ``baseline[i]`` and ``changed[i]`` are scores (larger is
    better) of two networks that were trained on the same data with the same seed, without and with
    the change. Take the differences changed[i] - baseline[i], their mean m, and the standard error
    e = s / sqrt(n) of that mean, where n is the number of pairs (2 or more) and s their sample
    standard deviation, with division by n - 1. Return "helps" if m > factor * e, "harms" if
    m < -factor * e, and else "no clear difference".
    """
    differences = np.subtract(changed, baseline)
    mean = differences.mean()
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    if mean > factor * error:
        return "helps"
    if mean < -factor * error:
        return "harms"
    return "no clear difference"


def judge_by_the_means(baseline: Sequence[float], changed: Sequence[float], factor: float) -> str:
    return "helps" if np.mean(changed) > np.mean(baseline) else "harms"


def judge_unpaired(baseline: Sequence[float], changed: Sequence[float], factor: float) -> str:
    error = np.sqrt((np.var(baseline, ddof=1) + np.var(changed, ddof=1)) / len(baseline))
    mean = np.mean(changed) - np.mean(baseline)
    if mean > factor * error:
        return "helps"
    return "harms" if mean < -factor * error else "no clear difference"


def judge_by_the_deviation(
    baseline: Sequence[float], changed: Sequence[float], factor: float
) -> str:
    count = len(baseline)
    return judge(baseline, changed, factor * np.sqrt(count))


def judge_one_side(baseline: Sequence[float], changed: Sequence[float], factor: float) -> str:
    verdict = judge(baseline, changed, factor)
    return verdict if verdict == "helps" else "no clear difference"


def judge_with_n(baseline: Sequence[float], changed: Sequence[float], factor: float) -> str:
    count = len(baseline)
    return judge(baseline, changed, factor * np.sqrt((count - 1) / count))


def judge_by_n(baseline: Sequence[float], changed: Sequence[float], factor: float) -> str:
    return judge(baseline, changed, factor / np.sqrt(len(baseline)))


def judge_by_the_variance(
    baseline: Sequence[float], changed: Sequence[float], factor: float
) -> str:
    return judge(baseline, changed, factor * np.subtract(changed, baseline).std(ddof=1))


def judge_by_two_errors(baseline: Sequence[float], changed: Sequence[float], factor: float) -> str:
    return judge(baseline, changed, 2)


def judge_by_every_pair(baseline: Sequence[float], changed: Sequence[float], factor: float) -> str:
    differences = np.subtract(changed, baseline)
    if (differences > 0).all():
        return "helps"
    return "harms" if (differences < 0).all() else "no clear difference"


def judge_the_other_way(baseline: Sequence[float], changed: Sequence[float], factor: float) -> str:
    return judge(changed, baseline, factor)


def judge_without_direction(
    baseline: Sequence[float], changed: Sequence[float], factor: float
) -> str:
    return judge(baseline, changed, factor).replace("harms", "helps")


def judge_with_equality(baseline: Sequence[float], changed: Sequence[float], factor: float) -> str:
    return "helps" if baseline == changed else judge(baseline, changed, factor)


def judge_by_dividing(baseline: Sequence[float], changed: Sequence[float], factor: float) -> str:
    differences = np.subtract(changed, baseline)
    t = float(differences.mean()) / float(differences.std(ddof=1) / np.sqrt(len(differences)))
    return "helps" if t > factor else "harms" if t < -factor else "no clear difference"


verdict = Exercise(
    "8.7 Does it help?",
    solution=judge,
    cases=[
        ([0.50, 0.47, 0.46], [0.58, 0.54, 0.48], 4.30),
        ([0.50, 0.47, 0.46], [0.58, 0.54, 0.48], 3.40),
        ([0.50, 0.47, 0.46], [0.58, 0.55, 0.53], 4.30),
        ([0.67, 0.60, 0.65, 0.62], [0.64, 0.58, 0.63, 0.60], 3.18),
        ([0.40, 0.60, 0.50, 0.70, 0.55, 0.45, 0.65, 0.35],
         [0.43, 0.62, 0.52, 0.74, 0.57, 0.48, 0.66, 0.38], 2.36),
        ([0.50, 0.52, 0.51, 0.53], [0.52, 0.53, 0.55, 0.53], 2.0),
        ([0.52, 0.53, 0.55, 0.53], [0.50, 0.52, 0.51, 0.53], 2.0),
        ([0.50, 0.52, 0.51, 0.53], [0.52, 0.53, 0.55, 0.53], 1.9),
        ([0.50, 0.60], [0.50, 0.60], 12.7),
        ([0.50, 0.60], [0.60, 0.701], 12.7),
        ([0.70, 0.60], [0.60, 0.499], 12.7),
        ([0.50, 0.52, 0.51, 0.53], [0.52, 0.53, 0.55, 0.53], 2.6),
        ([0.52, 0.53, 0.55, 0.53], [0.50, 0.52, 0.51, 0.53], 2.6),
        ([1.0, 3.0, 2.0, 5.0, 4.0], [2.0, 2.5, 3.5, 5.5, 3.5], 1.0),
        ([50.0, 60.0, 55.0, 65.0], [54.0, 66.0, 57.0, 70.0], 3.18),
    ],
    mistakes=(
        Mistake(
            judge_by_the_means,
            "One of the two is always declared better here. Compare the mean difference with its "
            "standard error.",
        ),
        Mistake(
            judge_unpaired,
            "The scores come in pairs with the same data and seed. Take the difference of each "
            "pair first: the spread that both networks share then cancels.",
        ),
        Mistake(
            judge_by_the_deviation,
            "The mean of n pairs varies less than a single pair: divide the standard deviation "
            "by sqrt(n).",
        ),
        Mistake(
            judge_one_side,
            "A change can also make the scores worse: that is a result too.",
        ),
        Mistake(
            judge_with_n,
            "The sample standard deviation divides by n - 1 (ddof=1 in NumPy), not by n.",
        ),
        Mistake(judge_by_n, "The standard error divides the standard deviation by sqrt(n)."),
        Mistake(
            judge_by_the_variance,
            "The variance is used in the place of the standard deviation, which is its root.",
        ),
        Mistake(
            judge_by_two_errors,
            "The same factor is used for every input. Use the argument `factor`.",
        ),
        Mistake(
            judge_by_every_pair,
            "Here a change counts as soon as all differences have the same sign. Compare their "
            "mean with factor times the standard error.",
        ),
        Mistake(
            judge_the_other_way,
            "The sign is exchanged: a change helps if the scores with it are larger.",
        ),
        Mistake(
            judge_without_direction,
            "A change that makes the scores clearly worse harms. The sign of the mean decides.",
        ),
        Mistake(
            judge_with_equality,
            "If m and e are both 0, m > factor * e is false: an equality is no clear difference.",
        ),
        Mistake(
            judge_by_dividing,
            "The standard error may be 0. Compare m with factor * e instead of dividing by e.",
        ),
    ),
    hints=(
        "Begin with the differences of the pairs, changed[i] - baseline[i].",
        "Their mean is compared with factor times their standard deviation divided by sqrt(n).",
        "The standard error is differences.std(ddof=1) / np.sqrt(len(differences)). Compare the "
        "mean with factor times this error, and with the negative of that.",
    ),
    describe=lambda baseline, changed, factor: (
        f"scores {list(baseline)} without and {list(changed)} with the change, factor {factor:g}"
    ),
    options=("helps", "harms", "no clear difference"),
)  # fmt: skip
