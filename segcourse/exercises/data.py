"""Exercises of the chapter on data."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake, list_in_question, right_but
from segcourse.ops.labels import IGNORE

# ── 2.1 ────────────────────────────────────────────────────────────────────────────────────────


def renumber(ids: Tensor, classes: dict[int, int]) -> Tensor:
    """Give every pixel of a mask its class, where the data set uses other numbers (ids).

    ``ids`` is (H, W) int64; ids may be negative or larger than 255. ``classes`` is a dictionary
    {id: class}. Return (H, W) whole numbers: the class of every pixel, and 255 (void) for every id
    that is not in the dictionary.
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


def kept_if_a_class(ids: Tensor, classes: dict[int, int]) -> Tensor:
    labels = ids.clone()
    for number, label in classes.items():
        labels[ids == number] = label
    known = torch.isin(labels, torch.tensor([*classes.values()], dtype=torch.int64))
    return torch.where(known, labels, IGNORE)


def table_of_256(ids: Tensor, classes: dict[int, int]) -> Tensor:
    table = torch.full((256,), IGNORE)
    for number, label in classes.items():
        table[number] = label
    return table[ids]


def table_up_to_the_largest(ids: Tensor, classes: dict[int, int]) -> Tensor:
    table = torch.full((max(int(ids.max()), *classes, 0) + 1,), IGNORE)
    for number, label in classes.items():
        table[number] = label
    return table[ids]


def clamped(ids: Tensor, classes: dict[int, int]) -> Tensor:
    table = torch.full((max(classes, default=0) + 1,), IGNORE)
    for number, label in classes.items():
        table[number] = label
    return table[ids.clamp(0, len(table) - 1)]


def all_void(ids: Tensor, classes: dict[int, int]) -> Tensor:
    return torch.full(ids.shape, IGNORE)


def void_is_minus_one(ids: Tensor, classes: dict[int, int]) -> Tensor:
    known = sum((ids == number for number in classes), torch.zeros_like(ids)) > 0
    return torch.where(known, renumber(ids, classes), -1)


def eight_bits(ids: Tensor, classes: dict[int, int]) -> Tensor:
    return renumber(ids % 256, classes)


def single_precision(ids: Tensor, classes: dict[int, int]) -> Tensor:
    return renumber(ids.float(), classes)


def numbered_masks() -> list[tuple]:
    """Ids as data sets have them, and numberings in every order."""
    pets = torch.tensor([[2, 2, 3, 1], [2, 3, 1, 1], [3, 3, 3, 3]])
    city = torch.tensor([[7, 8, 26, -1, 11], [0, 26, 33, 9, 7]])
    shades = torch.arange(12).view(3, 4) % 5
    coco = torch.tensor([[1000, 255], [90, 256]])
    alike = torch.tensor([[1, 257, -255], [2**24, 2**24 + 1, 513]])  # in 8 bits, or as float32
    return [
        (shades, {0: 1, 1: 2, 2: 0, 4: 3}),
        (pets, {1: 1, 2: 0}),
        (city, {7: 0, 8: 1, 9: 0, 11: 2, 26: 13, 33: 18}),
        (shades, {4: 3, 3: 2, 2: 1, 1: 0}),
        (coco, {1000: 4, 90: 79, 256: 0}),
        (alike, {1: 0, 513: 2, 2**24: 3}),
        (city, {-1: 4, 33: 1, 0: 2}),
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
            "The tensor that is compared is also the one that is written. A pixel may be replaced "
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
        Mistake(
            kept_if_a_class,
            "Unknown ids are looked for among the new labels. An id without an entry, but with the "
            "number of a class, is then kept. Look for them among the old ids.",
        ),
        Mistake(
            table_of_256,
            "A table of 256 entries has no place for an id above 255. (A negative id would be "
            "counted from its end.) Compare the ids with each key of the dictionary instead.",
        ),
        Mistake(
            table_up_to_the_largest,
            "A negative index counts from the end of the table, so that the id -1 gets the class "
            "of the largest id. Compare the ids with each key of the dictionary instead.",
        ),
        Mistake(
            clamped,
            "clamp turns an id outside of the table into its first or last id, which may have a "
            "class. Such an id must become void unless it is in the dictionary.",
        ),
        Mistake(
            all_void,
            "Every pixel became void. Perhaps the ids were not found in the dictionary because "
            "they are tensors: a tensor is no key. Take numbers with .item() or .tolist().",
        ),
        Mistake(
            void_is_minus_one,
            "The classes are right. An id without a class became -1, but void is 255 here.",
        ),
        Mistake(
            eight_bits,
            "The ids were cut to 8 bits, so that 257 became 1. Compare them as int64.",
        ),
        Mistake(
            single_precision,
            "As float32, 2 ** 24 and 2 ** 24 + 1 are one number. Compare the ids as int64.",
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
    """Predict the labels after the row [2, 5] was upsampled to 8 pixels by bilinear interpolation.

    Pixel centres are at half pixels (align_corners=False, the default): in units of old pixels, the
    old centres lie at 0.5 and 1.5, and the new pixels are a quarter as wide. Before the first old
    centre and after the last one, the row is constant. Answer with two lists of 8 labels:
    (truncated, rounded), that is after .long() and after .round().long().
    """
    row = torch.tensor([[[2.0, 5.0]]])
    wide = F.interpolate(row, 8, mode="linear").flatten()
    return wide.long(), wide.round().long()


def rounded_first() -> tuple[Tensor, Tensor]:
    return enlarged_row()[::-1]


def not_whole() -> tuple[Tensor, Tensor]:
    wide = torch.tensor([2.0, 2.0, 2.375, 3.125, 3.875, 4.625, 5.0, 5.0])
    return wide, wide.round()


def rounded_up() -> tuple[Tensor, Tensor]:
    return enlarged_row()[0], torch.tensor([2, 2, 3, 4, 4, 5, 5, 5])


def truncated_only() -> Tensor:
    return enlarged_row()[0]


def rounded_only() -> Tensor:
    return enlarged_row()[1]


def rows_of(wide: list[float]) -> tuple[Tensor, Tensor]:
    return torch.tensor(wide).long(), torch.tensor(wide).round().long()


PLACES = {  # rows that were computed with other places of the pixels, and what to say about them
    "ends": (
        rows_of(torch.linspace(2, 5, 8).tolist()),
        "the first and last new pixels lie exactly on the old centres (align_corners=True). With "
        "half-pixel centres, the new centres lie at 0.125, 0.375, ... and 1.875, so that the "
        "first two and the last two lie outside of the old centres 0.5 and 1.5.",
    ),
    "edges": (
        rows_of([2.0, 2.75, 3.5, 4.25, 5.0, 5.0, 5.0, 5.0]),
        "new pixel i lies at i / 4, which is its left edge. Its centre lies half a new pixel "
        "further, and the old centres lie half an old pixel further too.",
    ),
    "nearest": (
        rows_of([2.0, 2.0, 2.0, 2.0, 5.0, 5.0, 5.0, 5.0]),
        "there are only 2 and 5, which is what nearest neighbour gives. Bilinear interpolation "
        "gives other values to new pixels whose centres lie between the two old centres.",
    ),
}


def misplaced(truncated: str, rounded: str) -> Mistake:
    """A row, or both, with other places ("" for a right row)."""
    right = enlarged_row()
    rows = tuple(
        PLACES[each][0][number] if each else right[number]
        for number, each in enumerate((truncated, rounded))
    )
    where = {
        (True, True): "In both rows, ",
        (False, True): "The truncated row is right. In the rounded row, ",
        (True, False): "The rounded row is right. In the truncated row, ",
    }[bool(truncated), bool(rounded)]
    return Mistake(lambda: rows, where + PLACES[truncated or rounded][1])


def one_way_for_both(number: int) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (enlarged_row()[number],) * 2


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
        *(
            misplaced(truncated, rounded)
            for each in PLACES
            for truncated, rounded in ((each, each), (each, ""), ("", each))
        ),
        Mistake(
            one_way_for_both(1),
            "Both rows are rounded. The method .long() does not round, it truncates: 3.875 "
            "becomes 3.",
        ),
        Mistake(
            one_way_for_both(0),
            "Both rows are truncated. Rounding goes to the nearest whole number: 3.875 becomes 4.",
        ),
        Mistake(
            rounded_up,
            "The second row is rounded up. Rounding goes to the nearest whole number: 2.375 "
            "becomes 2.",
        ),
        Mistake(
            not_whole,
            "The interpolated values are right. The first list must hold them after .long(), which "
            "drops everything after the decimal point.",
        ),
        Mistake(
            truncated_only,
            "The truncated row is right. Answer with two lists: the rounded row is missing.",
        ),
        Mistake(
            rounded_only,
            "The rounded row is right. Answer with two lists: the truncated row is missing.",
        ),
    ),
    hints=(
        "In units of old pixels, the old centres lie at 0.5 and 1.5, and the new ones at 0.125, "
        "0.375, 0.625, ...",
        "Four new centres lie between the old ones: 0.625, 0.875, 1.125 and 1.375. From the first "
        "old centre to the second, that is 1/8, 3/8, 5/8 and 7/8 of the way from 2 to 5.",
        "The values are 2, 2, 2.375, 3.125, 3.875, 4.625, 5, 5. Truncate them, then round them.",
    ),
    describe=lambda: "the row [2, 5], whose answer is two lists of 8 labels",
    shows_expected=False,
)


# ── 2.3 ────────────────────────────────────────────────────────────────────────────────────────

Draw = Callable[[int], int]


def random_crop(image: Tensor, mask: Tensor, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    """Find the two faults of this function that damage the labels, and fix them.

        def random_crop(image, mask, size, draw):
            bottom = max(size - mask.shape[0], 0)
            right = max(size - mask.shape[1], 0)
            image = F.pad(image, (0, right, 0, bottom))
            mask = F.pad(mask, (0, right, 0, bottom))
            parts = []
            for part in (image, mask):
                top = draw(part.shape[-2] - size)
                left = draw(part.shape[-1] - size)
                parts.append(part[..., top : top + size, left : left + size])
            return parts[0], parts[1]

    It cuts a random square out of ``image`` (3, H, W) and ``mask`` (H, W), and returns
    (3, size, size) and (size, size). A side that is shorter than ``size`` is first padded, below
    or on the right. ``draw(n)`` gives a random whole number from 0 to n, another one at every call.
    Draw the top row before the left column, and pad the image with 0.
    """
    bottom, right = (max(size - side, 0) for side in mask.shape)
    padding = (0, right, 0, bottom)
    image, mask = F.pad(image, padding), F.pad(mask, padding, value=IGNORE)
    top, left = (draw(side - size) for side in mask.shape)
    rows, columns = slice(top, top + size), slice(left, left + size)
    return image[:, rows, columns], mask[rows, columns]


def crop_with(
    *,
    void: int = IGNORE,
    black: int = 0,
    draws: int = 1,
    before: bool = False,
    turned: bool = False,
) -> Callable[[Tensor, Tensor, int, Draw], tuple[Tensor, Tensor]]:
    """The function of the question with other paddings and another number of draws."""

    def crop(image: Tensor, mask: Tensor, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
        bottom, right = (max(size - side, 0) for side in mask.shape)
        padding = (right, 0, bottom, 0) if before else (0, right, 0, bottom)
        padding = (0, bottom, 0, right) if turned else padding
        image = F.pad(image, padding, value=black)
        mask = F.pad(mask, padding, value=void)
        places = [[draw(side - size) for side in mask.shape] for _ in range(draws)]
        parts = []
        for part, (top, left) in zip((image, mask), (places[0], places[-1]), strict=True):
            parts.append(part[..., top : top + size, left : left + size])
        return parts[0], parts[1]

    return crop


def one_place_for_both_axes(
    image: Tensor, mask: Tensor, size: int, draw: Draw
) -> tuple[Tensor, Tensor]:
    place = draw(min(max(side, size) - size for side in mask.shape))
    return random_crop(image, mask, size, lambda n: place)


def never_the_last_place(
    image: Tensor, mask: Tensor, size: int, draw: Draw
) -> tuple[Tensor, Tensor]:
    return random_crop(image, mask, size, lambda n: draw(n - 1))


def mask_only(image: Tensor, mask: Tensor, size: int, draw: Draw) -> Tensor:
    return random_crop(image, mask, size, draw)[1]


def mask_before_image(image: Tensor, mask: Tensor, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    return random_crop(image, mask, size, draw)[::-1]


def column_before_row(image: Tensor, mask: Tensor, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    image, mask = random_crop(image.mT, mask.mT, size, draw)
    return image.mT, mask.mT


def no_padding(image: Tensor, mask: Tensor, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    top, left = (draw(side - size) for side in mask.shape)
    rows, columns = slice(top, top + size), slice(left, left + size)
    return image[:, rows, columns], mask[rows, columns]


def no_randomness(image: Tensor, mask: Tensor, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    return random_crop(image, mask, size, lambda n: 0)


class Drawn:
    """Random numbers that are known: each in turn, at most n."""

    def __init__(self, *numbers: int):
        self.numbers, self.calls = numbers, 0

    def __call__(self, n: int) -> int:
        self.calls += 1
        number = self.numbers[(self.calls - 1) % len(self.numbers)]
        return min(number, n) if n > 0 else 0


def crops() -> list[tuple]:
    """Images larger, smaller, and just as large as the crop; draws that differ at every call."""

    def pair(height: int, width: int) -> tuple[Tensor, Tensor]:
        mask = torch.arange(height * width).view(height, width) % 7 + 1
        shades = torch.arange(3.0 * height * width).view(3, height, width) + 1
        return shades, mask

    return [
        (*pair(5, 6), 3, Drawn(2, 3, 0, 1)),
        (*pair(6, 4), 2, Drawn(1, 2, 3, 0)),
        (*pair(2, 7), 4, Drawn(2, 1, 0, 3)),
        (*pair(5, 2), 3, Drawn(1, 2, 0, 1)),
        (*pair(2, 3), 4, Drawn(1, 2, 3, 0)),
        (*pair(4, 4), 4, Drawn(1, 2, 3, 0)),
        (*pair(5, 5), 4, Drawn(1, 0, 0, 1)),
        (*pair(9, 4), 1, Drawn(8, 3, 0, 0)),
    ]


two_faults = Exercise(
    "2.3 Find the two faults",
    solution=random_crop,
    cases=crops,
    mistakes=(
        Mistake(
            crop_with(void=0, draws=2),
            "Both faults are still there. How many numbers are drawn for one pair, and which label "
            "do the pixels of the padding get?",
        ),
        Mistake(
            crop_with(draws=2),
            "The padding is right. But the place is drawn once for the image and once more for the "
            "mask, so the two show different parts: draw before the loop.",
        ),
        Mistake(
            crop_with(void=0),
            "Image and mask are cut at one place now. But the padding of the mask is class 0: "
            "the network would learn that black pixels belong to this class. Pad with 255.",
        ),
        Mistake(
            crop_with(void=-1),
            "The mask is padded with -1. In this course, void is 255.",
        ),
        Mistake(
            crop_with(black=IGNORE),
            "The mask is right. The image is padded with 255, which is void in a mask and a very "
            "bright colour in an image: pad it with 0.",
        ),
        Mistake(
            crop_with(before=True),
            "The padding lies above or on the left. F.pad takes (left, right, top, bottom), and "
            "the question wants it below or on the right.",
        ),
        Mistake(
            crop_with(turned=True),
            "The paddings of the two axes are exchanged: F.pad begins with the last axis, so the "
            "order is (left, right, top, bottom).",
        ),
        Mistake(
            one_place_for_both_axes,
            "One random number was used for the row and for the column. Draw two: the crop may "
            "lie anywhere, not only on the diagonal.",
        ),
        Mistake(
            never_the_last_place,
            "The last place is never drawn: draw(n) gives numbers from 0 to n, and n itself is "
            "allowed. Call it with the side minus size.",
        ),
        Mistake(mask_only, "Return both parts, image and mask."),
        Mistake(mask_before_image, "The results are exchanged: return the image first."),
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
        f"the mask {mask.tolist()} with its image, size {size} and draws of "
        f"{', '.join(map(str, draw.numbers))} (or n if that is smaller)"
    ),
)


# ── 2.4 ────────────────────────────────────────────────────────────────────────────────────────


def channel_statistics(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every colour channel, over all pixels of a folder.

    ``images`` is a list of (3, H, W) uint8 tensors of different sizes; their values are first
    divided by 255. Return (mean, std), each of shape (3,). The standard deviation is the square
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


def mean_of_stds(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    return mean_of_images(images)[0], torch.stack(
        [i.flatten(1).div(255).std(1) for i in images]
    ).mean(0)


def not_scaled_by_one_less(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    mean, std = divided_by_one_less(images)
    return mean * 255, std * 255


def variance_by_one_less(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    mean, std = divided_by_one_less(images)
    return mean, std.square()


def squares_of_bytes(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    pixels = torch.cat([image.flatten(1) for image in images], dim=1)
    mean, squares = pixels.float().mean(dim=1), (pixels**2).float().mean(dim=1)
    return mean / 255, (squares - mean**2).sqrt() / 255


def stacked(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    return channel_statistics([*torch.stack(images)])


def stacked_by_one_less(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    return divided_by_one_less([*torch.stack(images)])


def std_first(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    return channel_statistics(images)[::-1]


def mean_only(images: Sequence[Tensor]) -> Tensor:
    return channel_statistics(images)[0]


def shaped_like_channels(images: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(part.view(3, 1, 1) for part in channel_statistics(images))


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
        Mistake(
            mean_of_stds,
            "Mean and deviation were computed for each image, then averaged over images: a small "
            "image counts as much as a large one. (std also divides by the number of pixels minus "
            "one, unless correction=0 is given.) Put the pixels of all images together first.",
        ),
        Mistake(
            not_scaled_by_one_less,
            "Divide the values by 255 first. The squares must be divided by the number of pixels, "
            "too, and not by this number minus one: std(correction=0).",
        ),
        Mistake(
            variance_by_one_less,
            "This is the variance: take its square root. Also give correction=0, because var "
            "divides by the number of pixels minus one otherwise.",
        ),
        Mistake(
            squares_of_bytes,
            "Squares of uint8 values do not fit into 8 bits: 20 ** 2 becomes 144. Convert with "
            ".float() first.",
        ),
        Mistake(
            stacked,
            "Images of different sizes cannot be stacked. Flatten each one to (3, H * W), and join "
            "them along the pixels with torch.cat(..., dim=1).",
        ),
        Mistake(
            stacked_by_one_less,
            "Images of different sizes cannot be stacked: join their pixels, (3, H * W) each, with "
            "torch.cat(..., dim=1). Then give std correction=0.",
        ),
        Mistake(std_first, "The two results are exchanged: return (mean, std)."),
        Mistake(mean_only, "The mean is right. Return two results: (mean, std)."),
        Mistake(
            shaped_like_channels,
            "The values are right, but the shape is (3, 1, 1). The question asks for (3,): use "
            ".flatten(), and add the two axes where you normalise an image.",
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
    """Which cause explains a finding of the inspection? Letter of the finding -> a whole number."""
    return {"A": 2, "B": 3, "C": 5, "D": 4, "E": 1, "F": 6, "G": 7}[finding]


list_in_question(find_cause, FINDINGS, CAUSES)


WOULD_SHOW = {
    1: "averages would put a third class between two classes.",
    2: "only some of the masks, about half, would be mirrored.",
    3: "the masks would fit the images of other samples as well as their own.",
    4: "a few numbers that are no class would replace the classes, one for each.",
    5: "all masks would need the same shift.",
    6: "one class would form thin lines along the borders of the others.",
    7: "the values of the images would be too small or too large, and all masks right.",
    8: "the images would hardly change, and the masks not at all.",
}


def explained(finding: str, cause: int) -> Mistake:
    """What a wrong cause would show instead."""
    advice = f"Finding {finding} says something else than cause {cause} predicts: with this cause, "
    return Mistake(right_but(find_cause, {finding: cause}), advice + WOULD_SHOW[cause])


def first_findings(count: int) -> Mistake:
    """The right answers to the first findings only."""
    letters = "".join(FINDINGS)[:count]
    return Mistake(
        lambda finding: find_cause(finding) if finding in letters else None,
        f"Right so far. The findings after {letters[-1]} have no answer yet.",
    )


SPECIAL = ("A3", "A5", "B2", "B5", "C2", "D1", "D8", "E4", "F1", "G8")  # explained in detail below

diagnosis = Exercise(
    "2.5 From the finding to the fault",
    solution=find_cause,
    cases=[(finding,) for finding in FINDINGS],
    mistakes=(
        Mistake(
            right_but(find_cause, {"A": 3}),
            "Masks of other images would not fit after mirroring either. Here, about half of the "
            "masks fit as they are, and the others fit once they are mirrored.",
        ),
        Mistake(
            right_but(find_cause, {"A": 5}),
            "A shift would be found as a shift, with its direction. These masks fit after "
            "mirroring, and only some of them need it.",
        ),
        Mistake(
            right_but(find_cause, {"B": 2}),
            "If masks were mirrored, mirroring would make them fit, and the finding would say so. "
            "Here, the masks fit the images of other samples just as well.",
        ),
        Mistake(
            right_but(find_cause, {"B": 5}),
            "A shift would be found as a shift, with its direction. Here, the masks fit the images "
            "of other samples just as well.",
        ),
        Mistake(
            right_but(find_cause, {"C": 2}),
            "Separate draws would mirror only some of the masks and shift none. All samples "
            "need the same movement here, so no random number is involved.",
        ),
        Mistake(
            right_but(find_cause, {"D": 1}),
            "Interpolation invents many numbers, in the order between two classes. Here, a few "
            "numbers replace the classes, about one for each class.",
        ),
        Mistake(
            right_but(find_cause, {"D": 8}),
            "Only the images would suffer from that: the numbers in the masks stay as they are.",
        ),
        Mistake(
            right_but(find_cause, {"E": 4}),
            "A conversion gives every class one other number. It does not put numbers between two "
            "neighbouring classes, pixel by pixel.",
        ),
        Mistake(
            right_but(find_cause, {"F": 1}),
            "Interpolation gives thin lines of many different classes. Here, one class alone lies "
            "around the objects.",
        ),
        Mistake(
            right_but(find_cause, {"G": 8}),
            "A JPEG file holds values from 0 to 255, which become 0 to 1. None of them can be "
            "negative.",
        ),
        *(
            explained(finding, cause)
            for finding in FINDINGS
            for cause in CAUSES
            if cause != find_cause(finding) and f"{finding}{cause}" not in SPECIAL
        ),
        *(first_findings(count) for count in range(1, len(FINDINGS))),
        Mistake(
            lambda finding: str(find_cause(finding)),
            "The causes are right, but they are texts. Return a whole number: 2, not '2'.",
        ),
        Mistake(
            lambda finding: [find_cause(finding)],
            "The causes are right, but each is in a list. Return the number itself.",
        ),
        Mistake(
            lambda finding: CAUSES[find_cause(finding)],
            "The causes are right. Return the number of the cause instead of its text.",
        ),
    ),
    hints=(
        "First ask what is the same in all samples (no random number is involved), and what "
        "differs from sample to sample.",
        "Which causes change the numbers in the masks, which move pixels, which change images?",
        "Two findings are about the numbers in the masks. Numbers that are no class, about one "
        "for each class: a table was applied. A third class between two: averages were taken.",
    ),
    describe=lambda finding: f'finding {finding} ("{FINDINGS[finding]}")',
    shows_expected=False,
)


# ── 2.6 ────────────────────────────────────────────────────────────────────────────────────────


def find_shift(edges: Tensor, borders: Tensor, search_range: tuple[int, int]) -> tuple[int, int]:
    """Find the shift that moves the borders of a mask onto the edges of its image.

    ``edges`` (H, W) is large where the image has an edge; ``borders`` (H, W) is 1 where the mask
    has a border and 0 elsewhere. ``search_range`` is (rows, columns). Try every pair of a shift
    of the borders from -rows to rows downwards and one from -columns to columns to the right, with
    ``roll``: pixels that leave on one side come in on the other. Return the (down, right) for which
    the sum of edges * borders is largest.
    """
    rows, columns = search_range
    fits = {
        (down, right): (edges * borders.roll((down, right), (0, 1))).sum().item()
        for down in range(-rows, rows + 1)
        for right in range(-columns, columns + 1)
    }
    return max(fits, key=fits.get)


def shift_of_the_edges(
    edges: Tensor, borders: Tensor, search_range: tuple[int, int]
) -> tuple[int, int]:
    return find_shift(borders, edges, search_range)


def right_before_down(
    edges: Tensor, borders: Tensor, search_range: tuple[int, int]
) -> tuple[int, int]:
    down, right = find_shift(edges, borders, search_range)
    return right, down


def forward_only(edges: Tensor, borders: Tensor, search_range: tuple[int, int]) -> tuple[int, int]:
    rows, columns = search_range
    fits = {
        (down, right): (edges * borders.roll((down, right), (0, 1))).sum().item()
        for down in range(rows + 1)
        for right in range(columns + 1)
    }
    return max(fits, key=fits.get)


def without_the_last(
    edges: Tensor, borders: Tensor, search_range: tuple[int, int]
) -> tuple[int, int]:
    rows, columns = search_range
    fits = {
        (down, right): (edges * borders.roll((down, right), (0, 1))).sum().item()
        for down in range(-rows, rows)
        for right in range(-columns, columns)
    }
    return max(fits, key=fits.get, default=(0, 0))


def range_swapped(edges: Tensor, borders: Tensor, search_range: tuple[int, int]) -> tuple[int, int]:
    return find_shift(edges, borders, search_range[::-1])


def one_range_for_both(
    edges: Tensor, borders: Tensor, search_range: tuple[int, int]
) -> tuple[int, int]:
    return find_shift(edges, borders, (search_range[0], search_range[0]))


Roll = Callable[[Tensor, int, int], Tensor]


def search_with(roll: Roll) -> Callable[[Tensor, Tensor, tuple[int, int]], tuple[int, int]]:
    """The search of the solution, with another movement of the borders."""

    def search(edges: Tensor, borders: Tensor, search_range: tuple[int, int]) -> tuple[int, int]:
        rows, columns = search_range
        fits = {
            (down, right): (edges * roll(borders, down, right)).sum().item()
            for down in range(-rows, rows + 1)
            for right in range(-columns, columns + 1)
        }
        return max(fits, key=fits.get)

    return search


def filled_with_zeros(borders: Tensor, down: int, right: int) -> Tensor:
    height, width = borders.shape
    room = (abs(right), abs(right), abs(down), abs(down))
    wide = F.pad(borders, room)
    top, left = abs(down) - down, abs(right) - right
    return wide[top : top + height, left : left + width]


def rows_then_columns(
    edges: Tensor, borders: Tensor, search_range: tuple[int, int]
) -> tuple[int, int]:
    down, _ = find_shift(edges, borders, (search_range[0], 0))
    _, right = find_shift(edges, borders.roll(down, 0), (0, search_range[1]))
    return down, right


def largest_sum(edges: Tensor, borders: Tensor, search_range: tuple[int, int]) -> float:
    down, right = find_shift(edges, borders, search_range)
    return (edges * borders.roll((down, right), (0, 1))).sum().item()


def worst_shift(edges: Tensor, borders: Tensor, search_range: tuple[int, int]) -> tuple[int, int]:
    return find_shift(-edges, borders, search_range)


def shifted_borders() -> list[tuple]:
    """Borders, edges of the same outlines elsewhere and fainter ones beyond the range, noise.

    The edges are strongest at the first place, which lies beyond the range in some cases: then the
    second place is the answer.
    """
    cases = []
    for number, (places, search_range) in enumerate(
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
            (((3, -4), (-2, 0)), (4, 5)),  # with columns left alone, the second fits best
            (((-3, 4), (0, 2)), (4, 5)),  # with rows left alone
            (((-7, 2), (3, 0)), (8, 4)),  # half of the borders leaves at the top
            (((1, -10), (0, 3)), (2, 11)),
        )
    ):
        generator = torch.Generator().manual_seed(number)
        borders = torch.zeros(24, 32)
        borders[6:15, 8] = borders[6:15, 20] = borders[6, 8:21] = borders[14, 8:21] = 1
        borders[10, 14:27] = 1
        edges = 0.3 * torch.rand(24, 32, generator=generator)
        for strength, place in zip((1.0, 0.9), places, strict=False):
            edges = edges + strength * borders.roll(place, (0, 1))
        cases.append((edges, borders, search_range))
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
            "Shifts upwards and to the left were not tried: begin at -rows and -columns.",
        ),
        Mistake(
            without_the_last,
            "range(-rows, rows) ends before rows: the largest shifts were never tried.",
        ),
        Mistake(
            range_swapped,
            "The two numbers of search_range are exchanged: the first limits the rows, the second "
            "the columns.",
        ),
        Mistake(
            one_range_for_both,
            "The range of the rows was used for the columns too. search_range holds two numbers, "
            "which may differ.",
        ),
        Mistake(
            rows_then_columns,
            "One direction was searched first, and the other only for its best shift. Another row "
            "may fit better with another column: try all pairs.",
        ),
        Mistake(
            search_with(filled_with_zeros),
            "Borders that leave on one side are lost here. With roll, they come in on the other.",
        ),
        Mistake(
            search_with(lambda borders, down, right: borders.roll((down, right), (1, 0))),
            "The axes of roll are exchanged: axis 0 holds the rows, so (down, right) needs (0, 1).",
        ),
        Mistake(
            search_with(lambda borders, down, right: borders.roll(down).roll(right)),
            "Without axes, roll moves the pixels as one long row. Give the axes: (0, 1).",
        ),
        Mistake(
            search_with(lambda borders, down, right: borders.roll((down, right))),
            "Two shifts need two axes: borders.roll((down, right), (0, 1)).",
        ),
        Mistake(largest_sum, "This is the largest sum. Return the (down, right) that gives it."),
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
    describe=lambda edges, borders, search_range: (
        f"edges, borders and a search range of {search_range[0]} rows and {search_range[1]} columns"
    ),
)
