"""Exercises of the U-Net chapter."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake
from segcourse.models.unet import UNet

# ── 8.1 ────────────────────────────────────────────────────────────────────────────────────────


def logits_side(side: int, depth: int) -> int | None:
    """How many pixels wide are the logits of an unpadded U-Net, for an image ``side`` wide?

    ``depth`` is how often it pools; the paper's is 4, where 572 gives 388. The answer is None if
    something on the way cannot be halved without a remainder, or if nothing is left.
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


side_of_logits = Exercise(
    "8.1 Side of the logits",
    solution=logits_side,
    cases=[
        (572, 4), (188, 4), (380, 4), (572, 3), (570, 4), (573, 4), (100, 2), (101, 2), (92, 3),
        (84, 3), (60, 4), (172, 4), (18, 1), (16, 1),
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
            "An odd side cannot be pooled without losing a row: then the skip has no centre to "
            "crop. Return None where a remainder is left.",
        ),
        Mistake(
            side_without_the_way_up,
            "The way up has convolutions too: after each doubling, subtract 4.",
        ),
        Mistake(
            side_that_may_vanish,
            "The formula goes on below zero, the network does not: return None where nothing is "
            "left.",
        ),
    ),
    hints=(
        "Follow one row of figure 1: 572, 570, 568, pooled to 284, ...",
        "Each step down is (side - 4) / 2, the bottom is side - 4, each step up is 2 * side - 4.",
        "In total 12 * 2**depth - 8 pixels are lost, 184 for depth 4. What is left to check?",
    ),
    describe=lambda side, depth: f"an image of {side} pixels and {depth} poolings",
)  # fmt: skip


# ── 8.2 ────────────────────────────────────────────────────────────────────────────────────────


def unet_parameters(in_channels: int, num_classes: int, width: int, depth: int) -> int:
    """How many numbers does the paper's U-Net learn? (1, 2, 64, 4) gives 31,030,658.

    Every 3 x 3 and 1 x 1 convolution and every 2 x 2 up-convolution has a bias. There is no
    normalisation.
    """

    def layer(kernel: int, before: int, after: int) -> int:
        return kernel**2 * before * after + after

    total, before = 0, in_channels
    for level in range(depth + 1):
        channels = width * 2**level
        total += layer(3, before, channels) + layer(3, channels, channels)
        before = channels
    for level in reversed(range(depth)):
        channels = width * 2**level
        total += layer(2, 2 * channels, channels)  # up
        total += layer(3, 2 * channels, channels) + layer(3, channels, channels)
    return total + layer(1, width, num_classes)


def count_without_biases(in_channels: int, num_classes: int, width: int, depth: int) -> int:
    levels = [width * 2**level for level in range(depth + 1)]
    total = 9 * in_channels * width + 9 * width**2
    total += sum(9 * (c // 2) * c + 9 * c**2 for c in levels[1:])
    total += sum(4 * 2 * c * c + 9 * 2 * c * c + 9 * c * c for c in levels[:-1])
    return total + width * num_classes


def count_of_a_network_that_adds(in_channels: int, num_classes: int, width: int, depth: int) -> int:
    narrower = sum(9 * (width * 2**level) ** 2 for level in range(depth))
    return unet_parameters(in_channels, num_classes, width, depth) - narrower


def count_without_up_convolutions(
    in_channels: int, num_classes: int, width: int, depth: int
) -> int:
    up = sum(8 * (width * 2**level) ** 2 + width * 2**level for level in range(depth))
    return unet_parameters(in_channels, num_classes, width, depth) - up


def count_with_3_x_3_up_convolutions(
    in_channels: int, num_classes: int, width: int, depth: int
) -> int:
    wider = sum(10 * (width * 2**level) ** 2 for level in range(depth))
    return unet_parameters(in_channels, num_classes, width, depth) + wider


parameters = Exercise(
    "8.2 Counting parameters",
    solution=unet_parameters,
    cases=[(1, 2, 64, 4), (3, 21, 64, 4), (3, 8, 12, 3), (1, 1, 1, 1), (5, 3, 7, 2)],
    mistakes=(
        Mistake(count_without_biases, "Every layer also has one bias per output channel."),
        Mistake(
            count_of_a_network_that_adds,
            "The first convolution after each merge sees the skip *and* the enlarged features: "
            "concatenation doubles its input channels.",
        ),
        Mistake(
            count_without_up_convolutions,
            "The up-convolutions learn too: 2 x 2 kernels from 2C to C channels.",
        ),
        Mistake(
            count_with_3_x_3_up_convolutions,
            "An up-convolution has a 2 x 2 kernel, four weights per pair of channels, not nine.",
        ),
    ),
    hints=(
        "A k x k layer from a to b channels has k * k * a * b weights and b biases.",
        "Levels have width, 2 width, 4 width, ... channels. Going down, a level's first "
        "convolution takes the channels of the level above.",
        "Going up to C channels: one 2 x 2 layer from 2C to C, one 3 x 3 from 2C (skip and "
        "enlarged) to C, one from C to C.",
    ),
    describe=lambda a, k, w, d: f"{a} image channels, {k} classes, width {w}, depth {d}",
)


# ── 8.3 ────────────────────────────────────────────────────────────────────────────────────────


def merge(skip: Tensor, x: Tensor) -> Tensor:
    """Cut the middle out of ``skip``, as large as ``x``, and put ``x``'s channels behind it.

    (N, A, H, W), (N, B, h, w) -> (N, A + B, h, w)
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


def maps_to_merge() -> list[tuple[Tensor, Tensor]]:
    """Skips and enlarged features of several sizes."""
    g = torch.Generator().manual_seed(8)
    sizes = [((64, 64), (56, 56)), ((12, 10), (4, 8)), ((7, 9), (7, 9)), ((136, 20), (104, 12))]
    return [
        (torch.rand(2, 3, *large, generator=g), torch.rand(2, 2, *small, generator=g))
        for large, small in sizes
    ]


fix_crop = Exercise(
    "8.3 Fix the skip",
    solution=merge,
    cases=maps_to_merge,
    mistakes=(
        Mistake(
            merge_corner,
            "The skip is cut from its corner: its features then lie up to 88 pixels away from "
            "where they belong. Leave the same margin on both sides.",
        ),
        Mistake(
            merge_resized,
            "Resizing squeezes the skip's margin into the picture: its features no longer lie "
            "over the pixels that they describe. Cut, do not resize.",
        ),
        Mistake(
            merge_swapped,
            "The middle is right, the order is not: the skip's channels come first. Nothing "
            "fails, but weights of another U-Net would not fit.",
        ),
        Mistake(
            merge_with_one_offset,
            "Rows and columns need an offset each: pictures are not always square.",
        ),
        Mistake(
            merge_padded,
            "Padding the small map invents features at its rim; the paper cuts the large one.",
        ),
    ),
    hints=(
        "How many rows are too many, and how many of them come off at the top?",
        "top = (H - h) // 2, and left likewise from the columns.",
        "torch.cat([skip[..., top : top + h, left : left + w], x], dim=1)",
    ),
    describe=lambda skip, x: f"a skip {tuple(skip.shape)} and features {tuple(x.shape)}",
)


# ── 8.4 ────────────────────────────────────────────────────────────────────────────────────────


def mirrored(place: int, length: int) -> int:
    """Which pixel of a row of ``length`` pixels lies at ``place``, if the row is mirrored?

    Places 0 to length - 1 are the row itself. The mirror lies in the *middle* of the border
    pixel, which therefore occurs once: place -1 shows pixel 1. Places may lie far away.
    """
    period = max(2 * length - 2, 1)
    place %= period
    return min(place, period - place) if length > 1 else 0


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


mirror = Exercise(
    "8.4 A mirror at the border",
    solution=mirrored,
    cases=[
        (0, 5), (4, 5), (-1, 5), (-2, 5), (5, 5), (6, 5), (-4, 5), (-5, 5), (9, 5), (-92, 5),
        (100, 3), (7, 2), (-3, 1), (3, 1),
    ],
    mistakes=(
        Mistake(
            mirrored_with_the_border_twice,
            "Here the border pixel occurs twice (NumPy calls it symmetric). The mirror of "
            "`reflect` stands in the middle of the pixel: place -1 is pixel 1.",
        ),
        Mistake(
            mirrored_once,
            "Right near the border; a margin wider than the picture needs the mirror's mirror. "
            "What is the period?",
        ),
        Mistake(clamped, "That repeats the border pixel for ever; a mirror shows the picture."),
        Mistake(
            wrapped,
            "That starts the picture again at its other end. At the border the right side would "
            "suddenly meet the left.",
        ),
    ),
    hints=(
        "Write down places -4 to 8 for a row of 3 pixels: 0 1 2 1 0 1 2 1 0 ...",
        "It repeats after 2 * length - 2 places.",
        "Reduce by the remainder first; then the smaller of place and period - place. Mind 1.",
    ),
    describe=lambda place, length: f"place {place} of a row of {length} pixels",
)  # fmt: skip


# ── 8.5 ────────────────────────────────────────────────────────────────────────────────────────


def border_map(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    """U-Net's border term of every background pixel: w0 exp(-(d1 + d2)^2 / (2 sigma^2)).

    ``instance`` (H, W) numbers the objects, 0 is background. d1 and d2 are the distances to the
    nearest and the second nearest object, as ``distance_transform_edt`` measures them. Inside
    objects, and where there are fewer than two, the term is 0.
    """
    import numpy as np
    from scipy.ndimage import distance_transform_edt

    numbers = np.unique(instance[instance > 0])
    if len(numbers) < 2:
        return np.zeros(instance.shape)
    distances = np.sort([distance_transform_edt(instance != n) for n in numbers], axis=0)
    term = w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
    return term * (instance == 0)


def border_map_inside_too(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    numbers = np.unique(instance[instance > 0])
    if len(numbers) < 2:
        return np.zeros(instance.shape)
    distances = np.sort([distance_transform_edt(instance != n) for n in numbers], axis=0)
    return w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))


def border_map_of_the_mask(instance: np.ndarray, w0: float, sigma: float) -> np.ndarray:
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


def cells() -> list[tuple[np.ndarray, float, float]]:
    """Two cells as in the fact sheet of the losses, three, one, none."""
    two = np.zeros((16, 16), dtype=np.int64)
    two[4:12, 2:7], two[4:12, 9:14] = 1, 2
    three = two.copy()
    three[13:15, 5:12] = 7
    return [
        (two, 10.0, 5.0),
        (three, 10.0, 5.0),
        (three, 4.0, 2.0),
        (np.where(two == 2, 0, two), 10.0, 5.0),
        (np.zeros_like(two), 10.0, 5.0),
    ]


border = Exercise(
    "8.5 The border weight map",
    solution=border_map,
    cases=cells,
    mistakes=(
        Mistake(
            border_map_inside_too,
            "Right on the background. Inside a cell the term must be 0: it is there to keep the "
            "gap open, not to stress the cells.",
        ),
        Mistake(
            border_map_of_the_mask,
            "This measures the distance to *any* cell twice, so every outline weighs much, also "
            "far from a neighbour. d2 belongs to the second nearest cell: one distance "
            "transform per object.",
        ),
        Mistake(
            border_map_without_the_square,
            "The sum of the distances is squared in the exponent.",
        ),
        Mistake(
            border_map_that_needs_two,
            "Images with one cell or none have no second distance: there the term is 0.",
        ),
    ),
    hints=(
        "distance_transform_edt(instance != n) is the distance of every pixel to object n.",
        "Stack these maps, sort along the first axis: the first two are d1 and d2.",
        "Multiply by (instance == 0); return zeros when there are fewer than two numbers.",
    ),
    describe=lambda instance, w0, sigma: (
        f"{len(np.unique(instance[instance > 0]))} objects, w0 = {w0:g}, sigma = {sigma:g}"
    ),
)


# ── 8.6 ────────────────────────────────────────────────────────────────────────────────────────


def shift_period(net: UNet, image: Tensor, side: int) -> int | None:
    """By how many pixels, at least, must a tile move for its logits to move along unchanged?

    Try shifts s = 1, 2, 3, ..., 16: compare the logits of the tile of ``side`` columns that
    starts at column 0 with those of the tile that starts at column s, where both describe the
    same pixels. The first s for which they agree to 1e-4 is the answer; None if there is none.
    """
    with torch.no_grad():
        first = net(image[..., :side])
        for shift in range(1, 17):
            moved = net(image[..., shift : shift + side])
            if torch.allclose(first[..., shift:], moved[..., :-shift], atol=1e-4):
                return shift
    return None


def period_of_unmoved_logits(net: UNet, image: Tensor, side: int) -> int | None:
    with torch.no_grad():
        first = net(image[..., :side])
        for shift in range(1, 17):
            if torch.allclose(first, net(image[..., shift : shift + side]), atol=1e-4):
                return shift
    return None


def period_by_belief(net: UNet, image: Tensor, side: int) -> int | None:
    return 1


def period_of_the_skipped_level(net: UNet, image: Tensor, side: int) -> int | None:
    return 2 * net.depth


def period_of_every_level(net: UNet, image: Tensor, side: int) -> int | None:
    return 2 ** (net.depth + 1)


def networks_and_images() -> list[tuple[UNet, Tensor, int]]:
    """Small unpadded networks with one, two, three poolings."""
    networks = []
    for depth in (1, 2, 3):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(depth)
            net, image = UNet(2, width=4, depth=depth).eval(), torch.rand(1, 3, 92, 150)
        networks.append((net, image, 108))  # a valid width for all three
    return networks


shift = Exercise(
    "8.6 When does a tile move without a trace?",
    solution=shift_period,
    cases=networks_and_images,
    mistakes=(
        Mistake(
            period_of_unmoved_logits,
            "The logits move with the tile: column 0 of the moved tile shows the pixel of column "
            "s of the first. Compare first[..., s:] with moved[..., :-s].",
        ),
        Mistake(
            period_by_belief,
            "Convolutions alone do move with the picture. Pooling does not: its grid is fixed to "
            "the tile. Try it out instead of returning 1.",
        ),
        Mistake(
            period_of_the_skipped_level,
            "Poolings multiply: after the third, one cell is 2 * 2 * 2 pixels wide.",
        ),
        Mistake(
            period_of_every_level,
            "There are depth + 1 levels, but only depth poolings between them. Such a tile does "
            "move without a trace, but a shorter step does too: try it.",
        ),
    ),
    hints=(
        "Two tiles of a picture: image[..., :side] and image[..., s : s + side].",
        "Which columns of the two logits describe the same pixels?",
        "torch.allclose(first[..., s:], moved[..., :-s], atol=1e-4)",
    ),
    describe=lambda net, image, side: f"an unpadded U-Net that pools {net.depth} times",
)
