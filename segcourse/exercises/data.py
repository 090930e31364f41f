"""Exercises of the chapter on data."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake
from segcourse.ops.labels import IGNORE

# ── 2.1 ────────────────────────────────────────────────────────────────────────────────────────


def renumber(ids: Tensor, classes: dict[int, int]) -> Tensor:
    """Give every pixel of a mask its class, where the data set uses other numbers (ids).

    ``ids`` is (H, W) int64; ids may be negative or larger than 255. ``classes`` is a dictionary
    {id: class}. Return (H, W) integers: the class of every pixel, and 255 (void) for every id that
    is not in the dictionary.
    """
    labels = torch.full(ids.shape, IGNORE)
    for number, label in classes.items():
        labels[ids == number] = label
    return labels


def replace_in_place(ids: Tensor, classes: dict[int, int]) -> Tensor:
    labels = torch.where(sum((ids == n for n in classes), torch.zeros_like(ids)) > 0, ids, IGNORE)
    for number, label in classes.items():
        labels[labels == number] = label
    return labels


def replace_in_the_ids(ids: Tensor, classes: dict[int, int]) -> Tensor:
    for number, label in classes.items():
        ids[ids == number] = label
    return ids


def unknown_keeps_its_id(ids: Tensor, classes: dict[int, int]) -> Tensor:
    labels = ids.clone()
    for number, label in classes.items():
        labels[ids == number] = label
    return labels


def unknown_is_class_zero(ids: Tensor, classes: dict[int, int]) -> Tensor:
    labels = torch.zeros_like(ids)
    for number, label in classes.items():
        labels[ids == number] = label
    return labels


def order_of_the_dictionary(ids: Tensor, classes: dict[int, int]) -> Tensor:
    return renumber(ids, {number: place for place, number in enumerate(classes)})


def read_backwards(ids: Tensor, classes: dict[int, int]) -> Tensor:
    labels = torch.full(ids.shape, IGNORE)
    for number, label in classes.items():
        labels[ids == label] = number
    return labels


def numbered_masks() -> list[tuple]:
    """Ids as data sets have them, and numberings in every order."""
    pets = torch.tensor([[2, 2, 3, 1], [2, 3, 1, 1], [3, 3, 3, 3]])
    city = torch.tensor([[7, 8, 26, -1, 11], [0, 26, 33, 9, 7]])
    shades = torch.arange(12).view(3, 4) % 5
    coco = torch.tensor([[1000, 255], [90, 256]])
    return [
        (pets, {1: 1, 2: 0}),
        (city, {7: 0, 8: 1, 9: 0, 11: 2, 26: 13, 33: 18}),
        (shades, {0: 1, 1: 2, 2: 0, 4: 3}),
        (shades, {4: 3, 3: 2, 2: 1, 1: 0}),
        (coco, {1000: 4, 90: 79, 256: 0}),
        (shades, {0: IGNORE, 3: 1}),
        (shades[:1, :1], {}),
    ]


renumbering = Exercise(
    "2.1 Renumber a data set",
    solution=renumber,
    cases=numbered_masks,
    mistakes=(
        Mistake(
            replace_in_place,
            "Replacements follow each other in one tensor: after 0 became 1, the new pixels of "
            "class 1 are taken for id 1 and replaced again. Compare with the old ids and write "
            "into a second tensor.",
        ),
        Mistake(
            replace_in_the_ids,
            "The tensor that is compared is also the one that is written. Some pixels are replaced "
            "twice, and an id without a class keeps its number. Compare the old ids and write into "
            "a new tensor that begins as void.",
        ),
        Mistake(
            unknown_keeps_its_id,
            "An id that is not in the dictionary keeps its number, and this number then stands for "
            "another class, or for none. Begin with a mask that is void everywhere.",
        ),
        Mistake(
            unknown_is_class_zero,
            "An id that is not in the dictionary became class 0, as in a loader whose table "
            "begins with zeros. Begin with 255.",
        ),
        Mistake(
            order_of_the_dictionary,
            "Here, the first id of the dictionary became class 0, the second class 1, and so on. "
            "The class of an id is the value that the dictionary holds for it.",
        ),
        Mistake(
            read_backwards,
            "The dictionary is read backwards: its keys are the ids of the mask, its values the "
            "classes.",
        ),
    ),
    hints=(
        "Which label has a pixel whose id occurs in no entry of the dictionary? Begin with it.",
        "torch.full(ids.shape, 255) is a mask of void; classes.items() gives (id, class).",
        "labels[ids == number] = label writes one class; ids itself must not change.",
    ),
    describe=lambda ids, classes: f"the ids {ids.tolist()} and the classes {classes}",
)


# ── 2.2 ────────────────────────────────────────────────────────────────────────────────────────


def enlarged_row() -> tuple[Tensor, Tensor]:
    """Predict the labels after the row [2, 5] was enlarged to 8 pixels by bilinear interpolation.

    Every old pixel covers four new ones, and the centres of pixels keep their place, as in
    F.interpolate. Before the first centre and after the last one, the row is constant. Answer with
    two lists of 8 labels: (truncated, rounded), that is after .long() and after .round().long().
    """
    row = torch.tensor([[[2.0, 5.0]]])
    wide = F.interpolate(row, 8, mode="linear").flatten()
    return wide.long(), wide.round().long()


def rounded_first() -> tuple[Tensor, Tensor]:
    return enlarged_row()[::-1]


def ends_on_ends() -> tuple[Tensor, Tensor]:
    wide = torch.linspace(2, 5, 8)
    return wide.long(), wide.round().long()


def no_centres() -> tuple[Tensor, Tensor]:
    wide = torch.tensor([2.0, 2.75, 3.5, 4.25, 5.0, 5.0, 5.0, 5.0])
    return wide.long(), wide.round().long()


def nothing_between() -> tuple[list, list]:
    return [2, 2, 2, 2, 5, 5, 5, 5], [2, 2, 2, 2, 5, 5, 5, 5]


def rounded_twice() -> tuple[Tensor, Tensor]:
    return enlarged_row()[1], enlarged_row()[1]


def rounded_up() -> tuple[Tensor, Tensor]:
    wide = torch.tensor([2.0, 2.0, 2.375, 3.125, 3.875, 4.625, 5.0, 5.0])
    return wide.long(), wide.ceil().long()


between = Exercise(
    "2.2 Predict the labels between",
    solution=enlarged_row,
    cases=[()],
    mistakes=(
        Mistake(
            rounded_first,
            "The two rows are exchanged: truncation drops everything after the decimal point, so "
            "its labels are never larger than those of rounding.",
        ),
        Mistake(
            ends_on_ends,
            "Here, the first and last new pixels lie exactly on the old centres and the climb is "
            "spread over the whole row (align_corners=True). With centres in place, the new "
            "centres lie at -3/8, -1/8, 1/8, 3/8, ... between the two old ones.",
        ),
        Mistake(
            no_centres,
            "Here, new pixel i lies at i / 4, which is its left edge. Its centre lies half a new "
            "pixel further, and the old centres lie half an old pixel further too.",
        ),
        Mistake(
            nothing_between,
            "This is what nearest neighbour gives. Bilinear interpolation gives values between 2 "
            "and 5 to the new pixels whose centres lie between the two old centres.",
        ),
        Mistake(
            rounded_twice,
            "Both rows are rounded. The method .long() does not round, it truncates: 3.875 "
            "becomes 3.",
        ),
        Mistake(
            rounded_up,
            "The second row is rounded up. Rounding goes to the nearest whole number: 2.375 "
            "becomes 2.",
        ),
    ),
    hints=(
        "The old centres lie at 0.5 and 1.5 (in old pixels), the new ones at 1/8, 3/8, 5/8, ...",
        "Four new centres lie between the old ones, at 1/8, 3/8, 5/8 and 7/8 of the way from 2 "
        "to 5. The other four lie outside.",
        "The values are 2, 2, 2.375, 3.125, 3.875, 4.625, 5, 5. Truncate them, then round them.",
    ),
    describe=lambda: "the row [2, 5]",
    shows_expected=False,
)


# ── 2.3 ────────────────────────────────────────────────────────────────────────────────────────

Draw = Callable[[int], int]


def random_crop(image: Tensor, mask: Tensor, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    """Cut the same random square out of an image and its mask.

    ``image`` is (3, H, W), ``mask`` (H, W); return (3, size, size) and (size, size). A side that is
    shorter than ``size`` is first padded below or on the right, the image with 0 (black), the mask
    with what nobody has labelled. ``draw(n)`` gives a random whole number from 0 to n, another one
    at every call; the top row is drawn before the left column.
    """
    bottom, right = (max(size - side, 0) for side in mask.shape)
    padding = (0, right, 0, bottom)
    image, mask = F.pad(image, padding), F.pad(mask, padding, value=IGNORE)
    top, left = (draw(side - size) for side in mask.shape)
    rows, columns = slice(top, top + size), slice(left, left + size)
    return image[:, rows, columns], mask[rows, columns]


def as_given(
    image: Tensor, mask: Tensor, size: int, draw: Draw, void: int = 0
) -> tuple[Tensor, Tensor]:
    bottom, right = (max(size - side, 0) for side in mask.shape)
    image = F.pad(image, (0, right, 0, bottom))
    mask = F.pad(mask, (0, right, 0, bottom), value=void)
    parts = []
    for part in (image, mask):
        top, left = draw(part.shape[-2] - size), draw(part.shape[-1] - size)
        parts.append(part[..., top : top + size, left : left + size])
    return parts[0], parts[1]


def two_places(image: Tensor, mask: Tensor, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    return as_given(image, mask, size, draw, void=IGNORE)


def padding_of_class_zero(
    image: Tensor, mask: Tensor, size: int, draw: Draw
) -> tuple[Tensor, Tensor]:
    bottom, right = (max(size - side, 0) for side in mask.shape)
    padded = F.pad(mask, (0, right, 0, bottom))
    return random_crop(image, padded, size, draw)


def padding_of_image_too(
    image: Tensor, mask: Tensor, size: int, draw: Draw
) -> tuple[Tensor, Tensor]:
    bottom, right = (max(size - side, 0) for side in mask.shape)
    padded = F.pad(image, (0, right, 0, bottom), value=IGNORE)
    return random_crop(padded, F.pad(mask, (0, right, 0, bottom), value=IGNORE), size, draw)


def column_before_row(image: Tensor, mask: Tensor, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    image, mask = random_crop(image.mT, mask.mT, size, draw)
    return image.mT, mask.mT


def no_padding(image: Tensor, mask: Tensor, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    top, left = (draw(side - size) for side in mask.shape)
    rows, columns = slice(top, top + size), slice(left, left + size)
    return image[:, rows, columns], mask[rows, columns]


def no_randomness(image: Tensor, mask: Tensor, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    return random_crop(image, mask, size, lambda n: 0)


def crops() -> list[tuple]:
    """Images larger, smaller, and just as large as the crop; draws that differ at every call."""

    def draws(*numbers: int) -> Draw:
        left = iter(numbers)
        return lambda n: min(next(left), n) if n > 0 else 0

    def pair(height: int, width: int) -> tuple[Tensor, Tensor]:
        mask = torch.arange(height * width).view(height, width) % 7 + 1
        shades = torch.arange(3.0 * height * width).view(3, height, width) + 1
        return shades, mask

    return [
        (*pair(7, 9), 5, draws(2, 3, 0, 1)),
        (*pair(9, 7), 4, draws(1, 3, 2, 0)),
        (*pair(4, 9), 6, draws(2, 0, 1, 3)),
        (*pair(8, 3), 5, draws(1, 3, 0, 2)),
        (*pair(2, 3), 4, draws(1, 2, 3, 0)),
        (*pair(5, 5), 5, draws(1, 2, 3, 0)),
        (*pair(6, 6), 5, draws(1, 0, 0, 1)),
        (*pair(9, 4), 1, draws(8, 3, 0, 0)),
    ]


two_faults = Exercise(
    "2.3 Find the two faults",
    solution=random_crop,
    cases=crops,
    mistakes=(
        Mistake(
            as_given,
            "Both faults are still there. How many numbers are drawn for one pair, and which label "
            "do the pixels of the padding get?",
        ),
        Mistake(
            two_places,
            "The padding is right. But the place is drawn once for the image and once more for the "
            "mask, so the two show different parts: draw before the loop.",
        ),
        Mistake(
            padding_of_class_zero,
            "Image and mask are cut at one place now. But the padding of the mask is class 0: "
            "the network would learn that black pixels belong to this class. Pad with 255.",
        ),
        Mistake(
            padding_of_image_too,
            "The mask is right. The image is padded with 255, which is void in a mask and a very "
            "bright colour in an image: pad it with 0.",
        ),
        Mistake(
            column_before_row,
            "The column was drawn before the row. The question wants the row first, so that "
            "answers can be compared.",
        ),
        Mistake(
            no_padding,
            "A side that is shorter than size is not padded here: the results must be size x size "
            "for every image.",
        ),
        Mistake(
            no_randomness,
            "This is always the corner at the top left. Use the numbers that draw gives.",
        ),
    ),
    hints=(
        "Follow `draw` through the loop: how often is it called for one image and its mask?",
        "F.pad fills with 0 unless value=... says otherwise. Is 0 a class?",
        "Draw top and left once, before the loop, from the size of the padded mask; pad the mask "
        "with value=255.",
    ),
    describe=lambda image, mask, size, draw: (
        f"an image of {mask.shape[0]} x {mask.shape[1]} pixels and a crop of {size} x {size}"
    ),
)


# ── 2.4 ────────────────────────────────────────────────────────────────────────────────────────


def channel_statistics(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every colour channel, over all pixels of a folder.

    ``images`` is a list of (3, H, W) uint8 tensors of different sizes; their values are first
    divided by 255. Return (mean, std), three numbers each. The standard deviation is the square
    root of the mean of (value - mean) ** 2 over all pixels of the channel.
    """
    pixels = torch.cat([image.flatten(1) for image in images], dim=1) / 255
    return pixels.mean(dim=1), pixels.std(dim=1, correction=0)


def mean_of_images(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    single = [channel_statistics([image]) for image in images]
    mean, std = (torch.stack(parts).mean(dim=0) for parts in zip(*single, strict=True))
    return mean, std


def std_of_images(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    return channel_statistics(images)[0], mean_of_images(images)[1]


def not_scaled(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    mean, std = channel_statistics(images)
    return mean * 255, std * 255


def all_channels(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    pixels = torch.cat([image.flatten() for image in images]) / 255
    return pixels.mean(), pixels.std(correction=0)


def variance(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    mean, std = channel_statistics(images)
    return mean, std.square()


def divided_by_one_less(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    pixels = torch.cat([image.flatten(1) for image in images], dim=1) / 255
    return pixels.mean(dim=1), pixels.std(dim=1)


def colored_images() -> list[tuple]:
    """Images of unequal size and brightness, also a single one and one of a single colour."""
    generator = torch.Generator().manual_seed(0)

    def image(height: int, width: int, low: int, high: int) -> Tensor:
        size = (3, height, width)
        noise = torch.randint(low, high, size, generator=generator, dtype=torch.uint8)
        return noise // torch.tensor([1, 2, 3], dtype=torch.uint8).view(3, 1, 1)

    return [
        ([image(4, 5, 0, 60), image(2, 3, 180, 256)],),
        ([image(3, 7, 100, 256)],),
        ([image(6, 2, 0, 256), image(1, 4, 0, 20), image(5, 5, 200, 256)],),
        ([image(2, 2, 255, 256), image(3, 1, 255, 256)],),
    ]


statistics = Exercise(
    "2.4 Mean and standard deviation of a folder",
    solution=channel_statistics,
    cases=colored_images,
    mistakes=(
        Mistake(
            mean_of_images,
            "These are averages over images, so that a small image counts as much as a large one, "
            "and differences of brightness between images are missing in the deviation. Put the "
            "pixels of all images together first.",
        ),
        Mistake(
            std_of_images,
            "The mean is right. The deviation is an average of the deviations within single "
            "images, which leaves out how much the images differ from each other.",
        ),
        Mistake(not_scaled, "Divide the values by 255 first: the mean must lie between 0 and 1."),
        Mistake(
            all_channels,
            "Red, green and blue were mixed into one number. Normalisation wants three means and "
            "three deviations: flatten(1) keeps the channels apart.",
        ),
        Mistake(variance, "This is the variance. Its square root is the standard deviation."),
        Mistake(
            divided_by_one_less,
            "The squares were divided by the number of pixels minus one, which is what std does "
            "unless correction=0 is given. The question asks for their mean.",
        ),
    ),
    hints=(
        "An image of 100 x 100 pixels must count a hundred times as much as one of 10 x 10.",
        "image.flatten(1) is (3, H * W): such tensors can be joined by torch.cat(..., dim=1).",
        "mean(dim=1) and std(dim=1, correction=0) of all pixels together, divided by 255.",
    ),
    describe=lambda images: (
        "images of " + ", ".join(f"{image.shape[1]} x {image.shape[2]}" for image in images)
    ),
)


# ── 2.5 ────────────────────────────────────────────────────────────────────────────────────────

FINDINGS = {
    "A": "alignment: 12 of 24 masks are mirrored (left to right)",
    "B": "alignment: masks fit their images no better than those of other samples",
    "C": "alignment: masks must move 0 down and -4 right to fit (24 of them)",
    "D": "ids: ids [37, 65, 87, 119, 124, 158, 200, 213] are none of 8 classes",
    "E": "interpolation: 56% of label changes pass through a number between classes",
    "F": "void as class: sky is a thin line along 23% of the borders",
    "G": "values: negative values or values above 1",
}
CAUSES = {
    1: "masks were resized by bilinear interpolation",
    2: "image and mask were flipped, each with its own random draw",
    3: "the lists of images and of masks have different orders",
    4: "palette masks were opened with convert('L')",
    5: "masks were padded on one side, and their images on the other",
    6: "void pixels were given the class 0",
    7: "images were normalised before they were inspected",
    8: "images were stored as JPEG",
}


def find_cause(finding: str) -> int:
    """Which of the CAUSES explains a finding of the checklist? A key of FINDINGS -> its number."""
    return {"A": 2, "B": 3, "C": 5, "D": 4, "E": 1, "F": 6, "G": 7}[finding]


def but(finding: str, cause: int) -> Callable[[str], int]:
    """The right answers, except for one finding."""

    def answer(other: str) -> int:
        return cause if other == finding else find_cause(other)

    answer.__name__ = f"cause_{cause}_for_{finding}"
    return answer


diagnosis = Exercise(
    "2.5 From the finding to the fault",
    solution=find_cause,
    cases=[(finding,) for finding in FINDINGS],
    mistakes=(
        Mistake(
            but("A", 3),
            "Masks of other images would not fit after mirroring either. Here, about half of the "
            "masks fit as they are, and the others fit once they are mirrored.",
        ),
        Mistake(
            but("A", 5),
            "A shift would be found as a shift, with its direction. These masks fit after "
            "mirroring, and only some of them need it.",
        ),
        Mistake(
            but("B", 2),
            "If masks were mirrored, mirroring would make them fit, and the finding would say so. "
            "Here, the masks fit the images of other samples just as well.",
        ),
        Mistake(
            but("B", 5),
            "A shift would be found as a shift, with its direction. Here, the masks fit the images "
            "of other samples just as well.",
        ),
        Mistake(
            but("C", 2),
            "Separate draws give every sample another error. All samples need the same "
            "movement here, so no random number is involved.",
        ),
        Mistake(
            but("D", 1),
            "Interpolation invents many numbers, in the order between two classes. Here, a few "
            "numbers replace the classes, about one for each class.",
        ),
        Mistake(
            but("D", 8),
            "Only the images would suffer from that: the numbers in the masks stay as they are.",
        ),
        Mistake(
            but("E", 4),
            "A conversion gives every class one other number. It does not put numbers between two "
            "neighbouring classes, pixel by pixel.",
        ),
        Mistake(
            but("F", 1),
            "Interpolation gives thin lines of many different classes. Here, one class alone lies "
            "around the objects.",
        ),
        Mistake(
            but("G", 8),
            "A JPEG file holds values from 0 to 255, which become 0 to 1. None of them can be "
            "negative.",
        ),
    ),
    hints=(
        "First ask what is the same in all samples (no random number is involved), and what "
        "differs from sample to sample.",
        "Which causes change the numbers in the masks, which move pixels, which change images?",
        "Two findings are about numbers that are no class. Few numbers, one for each class: a "
        "table was applied. Many numbers between the classes: averages were taken.",
    ),
    describe=lambda finding: f'finding {finding} ("{FINDINGS[finding]}")',
    shows_expected=False,
)


# ── 2.6 ────────────────────────────────────────────────────────────────────────────────────────


def find_shift(edges: Tensor, borders: Tensor, reach: tuple[int, int]) -> tuple[int, int]:
    """Find the shift that moves the borders of a mask onto the edges of its image.

    ``edges`` (H, W) is large where the image has an edge; ``borders`` (H, W) is 1 where the mask
    has a border and 0 elsewhere. ``reach`` is (rows, columns). Try all shifts of the borders from
    -rows to rows downwards and from -columns to columns to the right, with ``roll`` (what leaves on
    one side comes in on the other). Return the (down, right) for which the sum of edges * borders
    is largest.
    """
    rows, columns = reach
    fits = {
        (down, right): (edges * borders.roll((down, right), (0, 1))).sum().item()
        for down in range(-rows, rows + 1)
        for right in range(-columns, columns + 1)
    }
    return max(fits, key=fits.get)


def shift_of_the_edges(edges: Tensor, borders: Tensor, reach: tuple[int, int]) -> tuple[int, int]:
    return find_shift(borders, edges, reach)


def right_before_down(edges: Tensor, borders: Tensor, reach: tuple[int, int]) -> tuple[int, int]:
    down, right = find_shift(edges, borders, reach)
    return right, down


def forward_only(edges: Tensor, borders: Tensor, reach: tuple[int, int]) -> tuple[int, int]:
    rows, columns = reach
    fits = {
        (down, right): (edges * borders.roll((down, right), (0, 1))).sum().item()
        for down in range(rows + 1)
        for right in range(columns + 1)
    }
    return max(fits, key=fits.get)


def without_the_last(edges: Tensor, borders: Tensor, reach: tuple[int, int]) -> tuple[int, int]:
    rows, columns = reach
    fits = {
        (down, right): (edges * borders.roll((down, right), (0, 1))).sum().item()
        for down in range(-rows, rows)
        for right in range(-columns, columns)
    }
    return max(fits, key=fits.get, default=(0, 0))


def reach_swapped(edges: Tensor, borders: Tensor, reach: tuple[int, int]) -> tuple[int, int]:
    return find_shift(edges, borders, reach[::-1])


def one_reach_for_both(edges: Tensor, borders: Tensor, reach: tuple[int, int]) -> tuple[int, int]:
    return find_shift(edges, borders, (reach[0], reach[0]))


def worst_shift(edges: Tensor, borders: Tensor, reach: tuple[int, int]) -> tuple[int, int]:
    return find_shift(-edges, borders, reach)


def shifted_borders() -> list[tuple]:
    """Borders, edges of the same outlines elsewhere and fainter ones beyond the reach, noise.

    The edges are strongest at the first place, which lies beyond the reach in some cases: then the
    second place is the answer.
    """
    cases = []
    for number, (places, reach) in enumerate(
        (
            (((0, 0),), (3, 3)),
            (((2, -3), (-2, 3)), (4, 4)),
            (((-1, 5), (1, -5)), (2, 5)),
            (((4, 1), (-4, -1)), (4, 1)),
            (((-4, -4), (4, 4)), (4, 4)),
            (((3, 4), (2, 4)), (2, 5)),  # the first lies beyond the rows
            (((-3, 1), (-2, 1)), (2, 5)),
            (((-2, -5), (-2, -4)), (6, 4)),  # the first lies beyond the columns
            (((3, 5), (3, 4)), (6, 4)),
            (((1, -3), (0, -3)), (0, 3)),
            (((-3, 1), (-3, 0)), (3, 0)),
        )
    ):
        generator = torch.Generator().manual_seed(number)
        borders = torch.zeros(24, 32)
        borders[6:15, 8] = borders[6:15, 20] = borders[6, 8:21] = borders[14, 8:21] = 1
        borders[10, 14:27] = 1
        edges = 0.3 * torch.rand(24, 32, generator=generator)
        for strength, place in zip((1.0, 0.9), places, strict=False):
            edges = edges + strength * borders.roll(place, (0, 1))
        cases.append((edges, borders, reach))
    return cases


shift = Exercise(
    "2.6 Find the shift",
    solution=find_shift,
    cases=shifted_borders,
    mistakes=(
        Mistake(
            shift_of_the_edges,
            "The sign is wrong: this shift would move the image onto the mask. Roll the borders.",
        ),
        Mistake(right_before_down, "Return (down, right): rows first, as in roll((down, right))."),
        Mistake(
            forward_only,
            "Shifts upwards and to the left were not tried: begin at minus the reach.",
        ),
        Mistake(
            without_the_last,
            "range(-rows, rows) ends before rows: the largest shifts were never tried.",
        ),
        Mistake(
            reach_swapped,
            "The two numbers of reach are exchanged: the first limits the rows, the second the "
            "columns.",
        ),
        Mistake(
            one_reach_for_both,
            "The reach of the rows was used for the columns too. reach holds two numbers, which "
            "may differ.",
        ),
        Mistake(
            worst_shift,
            "This is the shift that fits worst: look for the largest sum, not the smallest.",
        ),
    ),
    hints=(
        "borders.roll((down, right), (0, 1)) moves all rows down and all columns to the right.",
        "Keep the sums in a dictionary {(down, right): sum}; max(fits, key=fits.get) is the key of "
        "the largest.",
        "Two loops: over range(-rows, rows + 1), and over range(-columns, columns + 1).",
    ),
    describe=lambda edges, borders, reach: (
        f"edges, borders and a reach of {reach[0]} rows and {reach[1]} columns"
    ),
)
