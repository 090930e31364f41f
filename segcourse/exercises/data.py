"""Exercises of the chapter on data."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake
from segcourse.ops.labels import IGNORE

# ── 2.1 ────────────────────────────────────────────────────────────────────────────────────────


def margin(height: int, width: int, multiple: int) -> tuple[int, int]:
    """How much void must be added below and to the right of a picture?

    Afterwards both sides shall be multiples of ``multiple``; as little as possible is added.
    Return (rows below, columns to the right).
    """
    return -height % multiple, -width % multiple


def margin_even_if_it_fits(height: int, width: int, multiple: int) -> tuple[int, int]:
    return multiple - height % multiple, multiple - width % multiple


def margin_of_columns_first(height: int, width: int, multiple: int) -> tuple[int, int]:
    return margin(width, height, multiple)


def remainder(height: int, width: int, multiple: int) -> tuple[int, int]:
    return height % multiple, width % multiple


def new_size(height: int, width: int, multiple: int) -> tuple[int, int]:
    below, right = margin(height, width, multiple)
    return height + below, width + right


void_margin = Exercise(
    "2.1 Room for four halvings",
    solution=margin,
    cases=[(360, 480, 16), (375, 500, 16), (96, 128, 32), (1, 33, 8), (500, 375, 32)],
    mistakes=(
        Mistake(
            margin_even_if_it_fits,
            "A side that is a multiple already needs nothing, but yours gets one more multiple: "
            "96 % 32 is 0, and 32 - 0 is 32. Use -side % multiple.",
        ),
        Mistake(
            margin_of_columns_first,
            "Rows first: the height decides what is added below, the width what is added right.",
        ),
        Mistake(
            remainder,
            "This is what would have to be cut off. Add what is missing up to the next multiple.",
        ),
        Mistake(new_size, "These are the new sides. Asked is how much is added to the old ones."),
    ),
    hints=(
        "375 = 23 * 16 + 7. How many rows are missing to 24 * 16?",
        "In Python, -375 % 16 is 9.",
    ),
    describe=lambda height, width, multiple: f"{height} x {width} and multiples of {multiple}",
)


# ── 2.2 ────────────────────────────────────────────────────────────────────────────────────────

COLOURS = ((0, 0, 0), (128, 0, 0), (0, 128, 0), (0, 0, 128), (64, 128, 192))


def labels_of_colours(rgb: Tensor, palette: Tensor) -> Tensor:
    """Which class does every pixel of a colour-coded mask have?

    ``rgb`` is (H, W, 3) uint8; row k of ``palette`` (K, 3) uint8 is the colour of class k.
    Return (H, W) int64, with 255 (void) for every colour that is not in the palette.
    """
    labels = torch.full(rgb.shape[:2], IGNORE)
    for number, color in enumerate(palette):
        labels[(rgb == color).all(dim=-1)] = number
    return labels


def unknown_is_class_zero(rgb: Tensor, palette: Tensor) -> Tensor:
    labels = labels_of_colours(rgb, palette)
    return torch.where(labels == IGNORE, 0, labels)


def nearest_colour(rgb: Tensor, palette: Tensor) -> Tensor:
    return (rgb[:, :, None].float() - palette.float()).norm(dim=-1).argmin(dim=-1)


def any_channel(rgb: Tensor, palette: Tensor) -> Tensor:
    labels = torch.full(rgb.shape[:2], IGNORE)
    for number, color in enumerate(palette):
        labels[(rgb == color).any(dim=-1)] = number
    return labels


def sum_of_channels(rgb: Tensor, palette: Tensor) -> Tensor:
    labels = torch.full(rgb.shape[:2], IGNORE)
    for number, color in enumerate(palette):
        labels[rgb.long().sum(dim=-1) == color.long().sum()] = number
    return labels


def order_of_appearance(rgb: Tensor, palette: Tensor) -> Tensor:
    return rgb.flatten(0, 1).unique(dim=0, return_inverse=True)[1].view(rgb.shape[:2])


def coloured_masks() -> list[tuple]:
    """Masks in the colours of a palette, with the border colour of VOC in some of them."""
    palette = torch.tensor(COLOURS, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    clean = torch.randint(0, len(COLOURS), (6, 8), generator=generator)
    bordered = palette[clean].clone()
    bordered[2] = torch.tensor([224, 224, 192], dtype=torch.uint8)
    foreign = palette[clean[:3, :3]].clone()
    foreign[0, 0] = torch.tensor([128, 128, 0], dtype=torch.uint8)  # the sum of two palette colours
    foreign[1, 1] = torch.tensor([1, 0, 0], dtype=torch.uint8)  # JPEG was here
    return [(palette[clean], palette), (bordered, palette), (foreign, palette)]


palette_mask = Exercise(
    "2.2 From colours to classes",
    solution=labels_of_colours,
    cases=coloured_masks,
    mistakes=(
        Mistake(
            unknown_is_class_zero,
            "Colours that are not in the palette became class 0, background: a table that starts "
            "with zeros does that, and it trains the border of every object as background. Start "
            "with 255 everywhere.",
        ),
        Mistake(
            nearest_colour,
            "The nearest colour always finds something, so nothing is void any more and a damaged "
            "file goes unnoticed. Only an equal colour is a class.",
        ),
        Mistake(
            any_channel,
            "One equal channel is not an equal colour: (0, 0, 128) shares a zero with black. All "
            "three must agree: .all(dim=-1).",
        ),
        Mistake(
            sum_of_channels,
            "Different colours have equal sums: (128, 0, 0) and (0, 128, 0). Compare all three "
            "channels, or give each its own weight, 1, 256 and 65536.",
        ),
        Mistake(
            order_of_appearance,
            "The palette says which number a colour has. Counting the colours that happen to occur "
            "numbers the classes differently in every mask.",
        ),
    ),
    hints=(
        "(rgb == colour).all(dim=-1) is the mask of one colour.",
        "Begin with torch.full(rgb.shape[:2], 255), then write one class after the other into it.",
    ),
    describe=lambda rgb, palette: f"a mask of {rgb.shape[0]} x {rgb.shape[1]} pixels",
)


# ── 2.3 ────────────────────────────────────────────────────────────────────────────────────────


def smaller_labels(labels: Tensor, height: int, width: int) -> Tensor:
    """Which labels has a mask after resizing it to height x width?

    Divide the old mask into height x width equal cells. Each new pixel takes the label of the old
    pixel that holds the centre of its cell (of a centre between two pixels, the later one).
    """
    rows = (torch.arange(height) + 0.5) * labels.shape[0] / height
    columns = (torch.arange(width) + 0.5) * labels.shape[1] / width
    return labels[rows.long()][:, columns.long()]


def corner_of_the_cell(labels: Tensor, height: int, width: int) -> Tensor:
    rows = torch.arange(height) * labels.shape[0] // height
    columns = torch.arange(width) * labels.shape[1] // width
    return labels[rows][:, columns]


def averaged_labels(labels: Tensor, height: int, width: int) -> Tensor:
    x = labels[None, None].float()
    return F.interpolate(x, (height, width), mode="bilinear")[0, 0].long()


def rounded_averages(labels: Tensor, height: int, width: int) -> Tensor:
    x = labels[None, None].float()
    return F.interpolate(x, (height, width), mode="bilinear")[0, 0].round().long()


def ends_on_ends(labels: Tensor, height: int, width: int) -> Tensor:
    rows = torch.linspace(0, labels.shape[0] - 1, height).round().long()
    columns = torch.linspace(0, labels.shape[1] - 1, width).round().long()
    return labels[rows][:, columns]


def sides_swapped(labels: Tensor, height: int, width: int) -> Tensor:
    return smaller_labels(labels, width, height)


def label_maps() -> list[tuple]:
    """Masks whose labels all differ, or are far apart, and new sizes."""
    counting = torch.arange(48).view(6, 8)
    checks = (counting + counting // 8) % 2 * 10
    ring = torch.full((9, 9), 2)
    ring[2:7, 2:7] = 18
    return [
        (counting, 3, 4),
        (checks, 2, 8),
        (ring, 4, 6),
        (ring, 12, 15),
        (counting, 6, 8),
        (counting, 1, 1),
    ]


nearest = Exercise(
    "2.3 Resize labels by hand",
    solution=smaller_labels,
    cases=label_maps,
    mistakes=(
        Mistake(
            corner_of_the_cell,
            "This takes the corner of each cell, as mode='nearest' of torch does: all borders "
            "move by half a cell against the image. Add 0.5 before you multiply.",
        ),
        Mistake(
            averaged_labels,
            "Labels were averaged: between class 2 and class 18 lies no class 10. Choose a pixel, "
            "never compute with labels.",
        ),
        Mistake(
            rounded_averages,
            "Rounding does not help: the average of class 2 and class 18 is class 10, a whole "
            "number and still wrong. Choose a pixel.",
        ),
        Mistake(
            ends_on_ends,
            "This puts the first pixel on the first and the last on the last (align_corners). The "
            "image is resized by cells, so the mask must be too.",
        ),
        Mistake(sides_swapped, "Height counts rows, the first axis; width counts columns."),
    ),
    hints=(
        "Index instead of computing: labels[rows][:, columns].",
        "Of 6 rows made 3, each new row covers 2 old ones, and its centre lies at 1, 3 and 5.",
        "rows = ((torch.arange(height) + 0.5) * labels.shape[0] / height).long()",
    ),
    describe=lambda labels, height, width: (
        f"labels {labels.shape[0]} x {labels.shape[1]} to be {height} x {width}"
    ),
)


# ── 2.4 ────────────────────────────────────────────────────────────────────────────────────────

Coin = Callable[[], bool]


def flip_both(image: Tensor, mask: Tensor, coin: Coin) -> tuple[Tensor, Tensor]:
    """What are image and mask after a random mirroring, left to right?

    ``image`` is (3, H, W), ``mask`` (H, W). ``coin()`` is True or False, anew at every call:
    mirror where it says True.
    """
    if coin():
        return image.flip(-1), mask.flip(-1)
    return image, mask


def two_coins(image: Tensor, mask: Tensor, coin: Coin) -> tuple[Tensor, Tensor]:
    image = image.flip(-1) if coin() else image
    return image, mask.flip(-1) if coin() else mask


def image_only(image: Tensor, mask: Tensor, coin: Coin) -> tuple[Tensor, Tensor]:
    return (image.flip(-1) if coin() else image), mask


def upside_down(image: Tensor, mask: Tensor, coin: Coin) -> tuple[Tensor, Tensor]:
    return (image.flip(-2), mask.flip(-2)) if coin() else (image, mask)


def first_axis(image: Tensor, mask: Tensor, coin: Coin) -> tuple[Tensor, Tensor]:
    return (image.flip(0), mask.flip(0)) if coin() else (image, mask)


def axis_one(image: Tensor, mask: Tensor, coin: Coin) -> tuple[Tensor, Tensor]:
    return (image.flip(1), mask.flip(1)) if coin() else (image, mask)


def coins() -> list[tuple]:
    """A picture, its mask, and coins with every order of results."""
    image = torch.arange(36.0).view(3, 3, 4)
    mask = torch.arange(12).view(3, 4)
    throws = [(True, False, True), (False, True, False), (True, True, True), (False,) * 3]
    return [(image, mask, iter(results).__next__) for results in throws]


one_draw = Exercise(
    "2.4 Fix this bug: the augmentation that unlearns",
    solution=flip_both,
    cases=coins,
    mistakes=(
        Mistake(
            two_coins,
            "That is the bug: the coin is thrown once for the image and once more for the mask, so "
            "every other pair does not fit. Throw it once.",
        ),
        Mistake(
            image_only,
            "Only the image is mirrored. Whatever moves pixels moves their labels too.",
        ),
        Mistake(upside_down, "This mirrors top to bottom. Columns are the last axis."),
        Mistake(
            first_axis,
            "Axis 0 of the image holds its channels: this turns red into blue, and the mask upside "
            "down. Columns are the last axis of both: flip(-1).",
        ),
        Mistake(
            axis_one,
            "Axis 1 is the columns of the mask, but the rows of the image, which has channels in "
            "front. Count from the back: flip(-1) means columns in both.",
        ),
    ),
    hints=(
        "How often does the function call coin()?",
        "if coin(): mirror both. flip(-1) mirrors the last axis, whatever stands before it.",
    ),
    describe=lambda image, mask, coin: "a picture of 3 x 4 pixels and a coin",
)


# ── 2.5 ────────────────────────────────────────────────────────────────────────────────────────


def class_shares(labels: Tensor, num_classes: int) -> Tensor:
    """Which share of the pixels that count has every class?

    ``labels`` is (N, H, W) with 255 for void. Return (num_classes,) floats that add up to 1;
    if no pixel counts, zeros.
    """
    counts = torch.bincount(labels[labels != IGNORE], minlength=num_classes)
    return counts / counts.sum().clamp(min=1)


def shares_of_all_pixels(labels: Tensor, num_classes: int) -> Tensor:
    counts = torch.bincount(labels[labels != IGNORE], minlength=num_classes)
    return counts / labels.numel()


def shares_without_absent(labels: Tensor, num_classes: int) -> Tensor:
    counts = torch.bincount(labels[labels != IGNORE])
    return counts / counts.sum().clamp(min=1)


def void_as_background(labels: Tensor, num_classes: int) -> Tensor:
    counts = torch.bincount(labels.where(labels != IGNORE, 0).flatten(), minlength=num_classes)
    return counts / counts.sum()


def mean_of_images(labels: Tensor, num_classes: int) -> Tensor:
    return torch.stack([class_shares(each[None], num_classes) for each in labels]).mean(dim=0)


def raw_counts(labels: Tensor, num_classes: int) -> Tensor:
    return torch.bincount(labels[labels != IGNORE], minlength=num_classes)


def batches_of_labels() -> list[tuple]:
    """With and without void, with a class that is absent, and with nothing but void."""
    first = torch.tensor([[[0, 1], [1, 2]], [[255, 255], [255, 2]]])
    absent = torch.tensor([[[0, 0, 1], [0, 255, 1]]])
    return [(first, 3), (absent, 4), (torch.full((2, 2, 2), IGNORE), 2), (absent * 0 + 1, 3)]


shares = Exercise(
    "2.5 Class shares without void",
    solution=class_shares,
    cases=batches_of_labels,
    mistakes=(
        Mistake(
            shares_of_all_pixels,
            "Void pixels are in the denominator, so the shares do not add up to 1: divide by the "
            "number of pixels that count.",
        ),
        Mistake(
            shares_without_absent,
            "A class that does not occur has the share 0, not no place: bincount(..., "
            "minlength=num_classes).",
        ),
        Mistake(
            void_as_background,
            "Void was counted as class 0. Select the pixels that count first: "
            "labels[labels != 255].",
        ),
        Mistake(
            mean_of_images,
            "This averages over pictures: a picture that is nearly all void then weighs as much "
            "as a full one. Count the pixels of all pictures together.",
        ),
        Mistake(raw_counts, "These are counts. Divide by their sum, and mind a sum of 0."),
    ),
    hints=(
        "labels[labels != 255] is a flat tensor of the pixels that count.",
        "torch.bincount counts them; minlength keeps a place for absent classes.",
        "counts.sum().clamp(min=1) divides zeros by 1.",
    ),
    describe=lambda labels, num_classes: f"{labels.tolist()} and {num_classes} classes",
)


# ── 2.6 ────────────────────────────────────────────────────────────────────────────────────────


def find_shift(edges: Tensor, borders: Tensor, reach: int) -> tuple[int, int]:
    """By how much must the mask move to fit its picture?

    ``edges`` is large where the picture has an edge, ``borders`` 1 where the mask has a border;
    both (H, W). Try all shifts of the borders from -reach to reach rows and columns (with
    ``roll``) and return the (down, right) for which the sum of edges * borders is largest.
    """
    steps = range(-reach, reach + 1)
    fits = {
        (down, right): (edges * borders.roll((down, right), (0, 1))).sum().item()
        for down in steps
        for right in steps
    }
    return max(fits, key=fits.get)


def shift_of_the_edges(edges: Tensor, borders: Tensor, reach: int) -> tuple[int, int]:
    return find_shift(borders, edges, reach)


def right_before_down(edges: Tensor, borders: Tensor, reach: int) -> tuple[int, int]:
    down, right = find_shift(edges, borders, reach)
    return right, down


def forward_only(edges: Tensor, borders: Tensor, reach: int) -> tuple[int, int]:
    fits = {
        (down, right): (edges * borders.roll((down, right), (0, 1))).sum().item()
        for down in range(reach + 1)
        for right in range(reach + 1)
    }
    return max(fits, key=fits.get)


def without_the_last(edges: Tensor, borders: Tensor, reach: int) -> tuple[int, int]:
    return find_shift(edges, borders, reach - 1) if reach > 1 else (0, 0)


def worst_shift(edges: Tensor, borders: Tensor, reach: int) -> tuple[int, int]:
    return find_shift(-edges, borders, reach)


def shifted_borders() -> list[tuple]:
    """Borders of a few boxes, edges of the same boxes elsewhere, and some noise."""
    cases = []
    for number, (down, right) in enumerate(((0, 0), (2, -3), (-1, 4), (4, 1), (-4, -4))):
        generator = torch.Generator().manual_seed(number)
        borders = torch.zeros(24, 32)
        borders[6:15, 8] = borders[6:15, 20] = borders[6, 8:21] = borders[14, 8:21] = 1
        borders[10, 14:27] = 1
        edges = borders.roll((down, right), (0, 1)) + 0.3 * torch.rand(24, 32, generator=generator)
        cases.append((edges, borders, 4))
    return cases


shift = Exercise(
    "2.6 Find the shift",
    solution=find_shift,
    cases=shifted_borders,
    mistakes=(
        Mistake(
            shift_of_the_edges,
            "The sign is wrong: this moves the picture to the mask. Roll the borders.",
        ),
        Mistake(right_before_down, "Return (down, right): rows first, as in roll((down, right))."),
        Mistake(
            forward_only,
            "Masks can lie too far down as well as too far up: start at -reach.",
        ),
        Mistake(
            without_the_last,
            "range(-reach, reach) ends before reach: the largest shift was never tried.",
        ),
        Mistake(
            worst_shift,
            "This is the shift that fits worst: look for the largest sum, not the smallest.",
        ),
    ),
    hints=(
        "borders.roll((down, right), (0, 1)) moves all rows down and all columns right.",
        "Keep the sums in a dictionary {(down, right): sum}; max(fits, key=fits.get) is its key.",
        "Two loops over range(-reach, reach + 1).",
    ),
    describe=lambda edges, borders, reach: f"edges, borders and a reach of {reach} pixels",
)
