"""Exercises of the chapter on tasks and encodings."""

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake, list_in_question, right_but
from segcourse.ops.components import connected_components
from segcourse.ops.polygons import mask_to_polygons, polygons_to_mask, simplify


def drawing(*rows: str) -> Tensor:
    """A mask drawn in characters, "#" is set, for the cases below."""
    return torch.tensor([[character == "#" for character in row] for row in rows])


def rectangle(height: int, width: int, x0: int, y0: int, x1: int, y1: int) -> Tensor:
    """A mask that is one box, for the cases below."""
    mask = torch.zeros(height, width).bool()
    mask[y0:y1, x0:x1] = True
    return mask


def disc(side: int, radius: float, hole: float = 0) -> Tensor:
    """A round mask, perhaps with a hole, for the cases below."""
    away = torch.hypot(*torch.meshgrid(*[torch.arange(side) - (side - 1) / 2] * 2, indexing="ij"))
    return (away <= radius) & (away >= hole)


def blossom(side: int, radius: float, depth: float, petals: int) -> Tensor:
    """A mask whose outline swings, for the cases below."""
    y, x = torch.meshgrid(*[torch.arange(side) - (side - 1) / 2] * 2, indexing="ij")
    return torch.hypot(y, x) < radius + depth * torch.sin(petals * torch.atan2(y, x) + 0.3)


# ── 1.1 ────────────────────────────────────────────────────────────────────────────────────────


def classes_of_panoptic(rgb: Tensor, segments_info: list[dict]) -> Tensor:
    """Which class has each pixel of a COCO panoptic annotation?

    ``rgb`` holds the bytes of the PNG, (H, W, 3) uint8; the id of a pixel is R + 256 G + 65536 B.
    ``segments_info`` is a list of dictionaries {"id": ..., "category_id": ...}, one for each
    segment; a segment may have no pixel. Return the category (class) of each pixel, (H, W), and 255
    where the id is 0 or is not in the list.
    """
    weights = torch.tensor([1, 256, 65536])  # int64, so that the products are int64, too
    ids = (rgb * weights).sum(dim=-1)
    classes = torch.full(rgb.shape[:2], 255)
    for segment in segments_info:
        classes[ids == segment["id"]] = segment["category_id"]
    return classes


def _look_up(ids: Tensor, segments_info: list[dict], void: int = 255) -> Tensor:
    classes = torch.full(ids.shape, void)
    for segment in segments_info:
        classes[ids == segment["id"]] = segment["category_id"]
    return classes


def _ids(rgb: Tensor, base: int = 256) -> Tensor:
    red, green, blue = rgb.long().unbind(dim=-1)
    return red + base * green + base**2 * blue


def classes_from_bytes(rgb: Tensor, segments_info: list[dict]) -> Tensor:
    return _look_up(rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2], segments_info)


def classes_from_bgr(rgb: Tensor, segments_info: list[dict]) -> Tensor:
    return classes_of_panoptic(rgb.flip(-1), segments_info)


def classes_in_base_255(rgb: Tensor, segments_info: list[dict]) -> Tensor:
    return _look_up(_ids(rgb, base=255), segments_info)


def classes_from_sums(rgb: Tensor, segments_info: list[dict]) -> Tensor:
    return _look_up(rgb.long().sum(dim=-1), segments_info)


def classes_with_void_as_zero(rgb: Tensor, segments_info: list[dict]) -> Tensor:
    return _look_up(_ids(rgb), segments_info, void=0)


def classes_in_place(rgb: Tensor, segments_info: list[dict]) -> Tensor:
    ids = _ids(rgb)
    for segment in segments_info:
        ids[ids == segment["id"]] = segment["category_id"]
    return ids


def classes_in_a_copy_of_the_ids(rgb: Tensor, segments_info: list[dict]) -> Tensor:
    ids = _ids(rgb)
    classes = ids.clone()
    for segment in segments_info:
        classes[classes == segment["id"]] = segment["category_id"]
    classes[~torch.isin(ids, torch.tensor([segment["id"] for segment in segments_info]))] = 255
    return classes


def classes_with_zero_as_the_only_void(rgb: Tensor, segments_info: list[dict]) -> Tensor:
    classes = _ids(rgb)
    for segment in segments_info:
        classes[_ids(rgb) == segment["id"]] = segment["category_id"]
    classes[_ids(rgb) == 0] = 255
    return classes


def classes_from_int16(rgb: Tensor, segments_info: list[dict]) -> Tensor:
    return classes_from_bytes(rgb.to(torch.int16), segments_info)


def classes_by_position(rgb: Tensor, segments_info: list[dict]) -> Tensor:
    numbered = enumerate(segments_info)
    return _look_up(_ids(rgb), [segment | {"category_id": place} for place, segment in numbered])


def classes_in_one_row(rgb: Tensor, segments_info: list[dict]) -> Tensor:
    return classes_of_panoptic(rgb, segments_info).flatten()


def classes_without_a_default(rgb: Tensor, segments_info: list[dict]) -> list[list[int]]:
    category = {segment["id"]: segment["category_id"] for segment in segments_info}
    return [[category[number] for number in row] for row in _ids(rgb).tolist()]


def classes_from_numpy_bytes(rgb: Tensor, segments_info: list[dict]) -> Tensor:
    pixels = rgb.numpy()
    ids = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
    return _look_up(torch.from_numpy(ids), segments_info)


def classes_by_thousands(rgb: Tensor, segments_info: list[dict]) -> Tensor:
    return _ids(rgb) // 1000


def only_ids(rgb: Tensor, segments_info: list[dict]) -> Tensor:
    return _ids(rgb)


def annotations() -> list[tuple]:
    """Colors and tables that tell the usual mistakes apart."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (5, 8, 3), generator=generator).to(torch.uint8)
    known = [(int(_ids(noise)[row, 2 * row - 1]), 3 + row) for row in range(4)]
    rows = [
        ([[[1, 2, 3], [3, 2, 1]]], [(197121, 4), (66051, 6)]),
        ([[[255, 0, 0], [0, 1, 0]], [[255, 255, 0], [0, 0, 1]]],
         [(255, 1), (256, 2), (65535, 3), (65536, 4)]),
        ([[[7, 0, 0], [9, 0, 0], [0, 0, 0]]], [(7, 9), (9, 4)]),
        ([[[5, 0, 0], [5, 1, 0], [5, 0, 2]]], [(5, 17), (261, 18), (131077, 200)]),
        ([[[8, 0, 0], [0, 0, 0], [136, 19, 0]]], [(5000, 1), (12345, 2)]),
        ([[[0, 0, 0]], [[2, 0, 0]]], []),
        ([[[255, 255, 255], [254, 255, 255]]], [(16777215, 92)]),
    ]  # fmt: skip
    cases = [(torch.tensor(colors, dtype=torch.uint8), pairs) for colors, pairs in rows]
    return [
        (rgb, [{"id": number, "category_id": label} for number, label in pairs])
        for rgb, pairs in [*cases, (noise, known)]
    ]


panoptic_png = Exercise(
    "1.1 Read a panoptic annotation",
    solution=classes_of_panoptic,
    cases=annotations,
    mistakes=(
        Mistake(
            classes_from_bytes,
            "The ids are computed in bytes: a uint8 tensor holds 0 to 255, and everything above is "
            "taken modulo 256. Convert first: rgb.long().",
        ),
        Mistake(
            classes_from_bgr,
            "Red and blue are swapped. The last axis is R, G, B here, and red is the lowest digit. "
            "(OpenCV would read B, G, R.)",
        ),
        Mistake(
            classes_in_base_255,
            "A byte has 256 values, 0 to 255, so the weights are 1, 256 and 256 * 256.",
        ),
        Mistake(
            classes_from_sums,
            "The three bytes are digits of one number. They need the weights 1, 256 and 65536.",
        ),
        Mistake(
            classes_with_void_as_zero,
            "Pixels without a segment become class 0 here. They are void: begin with a map full "
            "of 255.",
        ),
        Mistake(
            classes_in_place,
            "You write categories into the map of ids. Pixels outside of the list then keep their "
            "ids, and a category that equals the id of a later segment is replaced a second time. "
            "Write into a new map that is full of 255.",
        ),
        Mistake(
            classes_in_a_copy_of_the_ids,
            "You replace ids by categories in the same map in which you look for ids. A category "
            "that equals the id of a later segment is then replaced a second time. Compare with "
            "the ids, and write into a new map.",
        ),
        Mistake(
            classes_with_zero_as_the_only_void,
            "Ids that are not in segments_info keep their ids here. They are void, like the id 0: "
            "begin with a new map that is full of 255.",
        ),
        Mistake(
            classes_from_int16,
            "The ids are computed in int16, which ends at 32767: 256 G can be larger, and 65536 B "
            "is 0 there. Convert to a wider type: rgb.long() or rgb.int().",
        ),
        Mistake(
            classes_by_position,
            "You return the position of each segment in the list. Return its category_id.",
        ),
        Mistake(
            classes_in_one_row,
            "The categories are right, but they are in one row. Return a map with the height and "
            "the width of rgb.",
        ),
        Mistake(
            classes_without_a_default,
            "You look up an id that has no entry in segments_info. Such pixels, and those with the "
            "id 0, are void: their category is 255.",
        ),
        Mistake(
            classes_from_numpy_bytes,
            "NumPy refuses to multiply bytes by 256, because 256 is no byte. Convert first: "
            "rgb.long(), or astype(int) in NumPy.",
        ),
        Mistake(
            classes_by_thousands,
            "You divide the id by 1000. That works only for ids that were packed in this way; "
            "ids of COCO are arbitrary, and segments_info says which category each has.",
        ),
        Mistake(
            only_ids,
            "These are the ids. Look up the category of each id in segments_info.",
        ),
    ),
    hints=(
        "Two steps: from colours to ids, and from ids to categories.",
        "What is the largest number in a uint8 tensor? Convert before you multiply.",
        "ids = R + 256 G + 65536 B of rgb.long(); classes = torch.full(rgb.shape[:2], 255). Then, "
        "for each segment: classes[ids == segment['id']] = segment['category_id'].",
    ),
    describe=lambda rgb, segments_info: (
        (f"the colours {rgb.tolist()}" if rgb.numel() <= 12 else f"{len(rgb)} rows of colours")
        + f" and {{id: category_id}} = { {s['id']: s['category_id'] for s in segments_info} }"
    ),
)


# ── 1.2 ────────────────────────────────────────────────────────────────────────────────────────


def starts_and_lengths(counts: list[int]) -> list[tuple[int, int]]:
    """How are COCO's counts written as pairs of start and length?

    ``counts`` are COCO's run lengths: zeros, ones, zeros, ... Only the first count can be 0.
    Return a list with one pair (start, length) for each run of ones, in order; a pair is a tuple or
    a list. Pixels are numbered from 1, in the same order as in COCO's code. A mask without ones
    gives an empty list.
    """
    pairs, start = [], 1
    for place, count in enumerate(counts):
        if place % 2:  # a run of ones
            pairs.append((start, count))
        start += count
    return pairs


def pairs_from_zero(counts: list[int]) -> list[tuple[int, int]]:
    return [(start - 1, length) for start, length in starts_and_lengths(counts)]


def starts_and_ends(counts: list[int]) -> list[tuple[int, int]]:
    return [(start, start + length - 1) for start, length in starts_and_lengths(counts)]


def pairs_of_zeros(counts: list[int]) -> list[tuple[int, int]]:
    return [pair for pair in starts_and_lengths([0, *counts]) if pair[1]]


def pairs_of_all_runs(counts: list[int]) -> list[tuple[int, int]]:
    ends = np.cumsum(counts)
    return [(int(end) - n + 1, n) for end, n in zip(ends, counts, strict=True)]


def pairs_without_the_zeros(counts: list[int]) -> list[tuple[int, int]]:
    lengths = counts[1::2]
    return [(1 + sum(lengths[:place]), length) for place, length in enumerate(lengths)]


def pairs_of_counts(counts: list[int]) -> list[tuple[int, int]]:
    return list(zip(counts[::2], counts[1::2], strict=False))


def pairs_without_the_last(counts: list[int]) -> list[tuple[int, int]]:
    return starts_and_lengths(counts[:-1])


def one_flat_list(counts: list[int]) -> list[int]:
    return [number for pair in starts_and_lengths(counts) for number in pair]


run_length_code = Exercise(
    "1.2 Another run-length code",
    solution=starts_and_lengths,
    cases=[
        ([2, 3, 1],),
        ([0, 2, 3, 1],),
        ([4, 1, 1, 2, 5, 3],),
        ([0, 6],),
        ([6],),
        ([1, 1, 1, 1, 1],),
        ([700, 65000, 300, 2, 31],),
    ],
    mistakes=(
        Mistake(
            pairs_from_zero,
            "Your starts are counted from 0. In this format the first pixel is number 1.",
        ),
        Mistake(
            starts_and_ends,
            "The second number of each pair is the last pixel of the run here. It must be the "
            "length of the run.",
        ),
        Mistake(
            pairs_of_zeros,
            "These are the runs of zeros. COCO's counts begin with zeros, so the runs of ones are "
            "the second, the fourth, ... count.",
        ),
        Mistake(
            pairs_of_all_runs,
            "You list all runs. Only the runs of ones belong into the list: every second count.",
        ),
        Mistake(
            pairs_without_the_zeros,
            "Your starts skip the zeros. A start is a position in the mask, so the zeros before "
            "the run must be counted, too.",
        ),
        Mistake(
            pairs_of_counts,
            "The first number of your pairs is the length of the run of zeros before. The start is "
            "the position: the sum of all counts before, plus 1.",
        ),
        Mistake(
            pairs_without_the_last,
            "Your loop ends before the last count. If a mask ends with a run of ones, this run is "
            "missing.",
        ),
        Mistake(
            one_flat_list,
            "The numbers are right, but they form one flat list. Return a list of pairs.",
        ),
    ),
    hints=(
        "Which counts belong to ones? [2, 3, 1] means two zeros, three ones, one zero.",
        "Keep the position of the next pixel in a variable. It begins at 1, and every count, of "
        "zeros or of ones, moves it on.",
        "for place, count in enumerate(counts): if place is odd, append (start, count); then "
        "start += count in any case.",
    ),
    describe=lambda counts: f"the counts {counts}",
)


# ── 1.3 ────────────────────────────────────────────────────────────────────────────────────────


def coco_box(mask: Tensor) -> tuple[int, int, int, int]:
    """Which box does COCO store for a mask?

    ``mask`` is (H, W) bool, and may consist of several parts. Return (x, y, width, height) of the
    smallest box that contains all of its pixels: x counts columns to the right, y counts rows
    down, both from 0. A single pixel in the upper left corner gives (0, 0, 1, 1), an empty mask
    gives (0, 0, 0, 0).
    """
    if not mask.any():
        return 0, 0, 0, 0
    rows, columns = mask.nonzero(as_tuple=True)
    x, y = int(columns.min()), int(rows.min())
    return x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y


def box_of_corners(mask: Tensor) -> tuple[int, int, int, int]:
    x, y, width, height = coco_box(mask)
    return x, y, x + width, y + height


def box_one_too_small(mask: Tensor) -> tuple[int, int, int, int]:
    x, y, width, height = coco_box(mask)
    return (x, y, width - 1, height - 1) if width else (0, 0, 0, 0)


def box_rows_first(mask: Tensor) -> tuple[int, int, int, int]:
    x, y, width, height = coco_box(mask)
    return y, x, height, width


def box_that_stops_on_nothing(mask: Tensor) -> tuple[int, int, int, int]:
    rows, columns = mask.nonzero(as_tuple=True)
    x, y = int(columns.min()), int(rows.min())
    return x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y


def box_of_used_lines(mask: Tensor) -> tuple[int, int, int, int]:
    x, y, _, _ = coco_box(mask)
    return x, y, int(mask.any(dim=0).sum()), int(mask.any(dim=1).sum())


def box_of_the_first_part(mask: Tensor) -> tuple[int, int, int, int]:
    return coco_box(connected_components(mask) == 1)


box = Exercise(
    "1.3 The box of a mask",
    solution=coco_box,
    cases=[
        (rectangle(5, 8, 2, 1, 7, 3),),
        (rectangle(4, 4, 0, 0, 1, 1),),
        (rectangle(6, 6, 5, 2, 6, 6),),
        (drawing("........", ".##...#.", ".##...#.", "........", "........"),),
        (drawing("......", "..#...", "......", "......", "....##", "......"),),
        (drawing("...#", "....", "....", "#...", "...."),),
        (drawing("..#..", ".#.#.", "#...#"),),
        (disc(11, 4),),
        (rectangle(3, 7, 0, 0, 7, 3),),
        (rectangle(3, 5, 0, 0, 0, 0),),
    ],
    mistakes=(
        Mistake(
            box_of_corners,
            "These are two corners, (x0, y0, x1, y1). COCO stores one corner and the size, "
            "(x, y, width, height).",
        ),
        Mistake(
            box_one_too_small,
            "Your width is last column - first column. From the first column to the last there are "
            "last - first + 1 columns.",
        ),
        Mistake(
            box_rows_first,
            "Arrays are indexed row first, but boxes are written x first: the columns give x and "
            "the width, the rows give y and the height.",
        ),
        Mistake(
            box_that_stops_on_nothing,
            "An empty mask has no smallest column. Return (0, 0, 0, 0) before you ask for it: a "
            "crop often removes an object completely.",
        ),
        Mistake(
            box_of_used_lines,
            "You count the columns and rows that contain pixels. A mask of several parts has empty "
            "columns between them, and the box contains these, too.",
        ),
        Mistake(
            box_of_the_first_part,
            "This is the box of one connected component. The box must contain all parts.",
        ),
    ),
    hints=(
        "mask.nonzero(as_tuple=True) gives the rows and the columns of all pixels that are set.",
        "x is the smallest column. The width is largest column - smallest column + 1.",
        "Do the same with the rows for y and the height, and treat a mask without a pixel first.",
    ),
    describe=lambda mask: (
        "the mask " + " / ".join("".join(".#"[int(x)] for x in row) for row in mask)
    ),
)


# ── 1.4 ────────────────────────────────────────────────────────────────────────────────────────


def count_objects(ids: Tensor) -> dict[int, int]:
    """How many objects of each class are in an instance file of Cityscapes?

    ``ids`` is (H, W), of integers. An object has the id class * 1000 + 0, 1, 2, ...: the first car
    is 26000. Pixels of stuff, and of groups that could not be separated, have the plain number of
    their class (11, 26), which is below 1000. Return {class: number of objects}, without classes
    that have no object.
    """
    counts = {}
    for number in ids.unique().tolist():
        if number >= 1000:
            counts[number // 1000] = counts.get(number // 1000, 0) + 1
    return counts


def count_everything(ids: Tensor) -> dict[int, int]:
    counts: dict[int, int] = {}
    for number in ids.unique().tolist():
        label = number // 1000
        counts[label] = counts.get(label, 0) + 1
    return counts


def count_by_the_largest_number(ids: Tensor) -> dict[int, int]:
    things = ids[ids >= 1000]
    return {
        int(c): int((things[things // 1000 == c] % 1000).max()) + 1 for c in things.unique() // 1000
    }


def count_without_number_zero(ids: Tensor) -> dict[int, int]:
    return count_objects(ids[(ids >= 1000) & (ids % 1000 > 0)])


def count_pixels(ids: Tensor) -> dict[int, int]:
    things = ids[ids >= 1000] // 1000
    return {int(label): int((things == label).sum()) for label in things.unique()}


def count_by_object_number(ids: Tensor) -> dict[int, int]:
    return dict(Counter(number % 1000 for number in ids.unique().tolist() if number >= 1000))


def count_groups_too(ids: Tensor) -> dict[int, int]:
    counts = count_objects(ids)
    return {label: n + int((ids == label).any()) for label, n in counts.items()}


def count_plain_numbers_as_classes(ids: Tensor) -> dict[int, int]:
    counts: dict[int, int] = {}
    for number in ids.unique().tolist():
        label = number // 1000 if number >= 1000 else number
        counts[label] = counts.get(label, 0) + 1
    return counts


def count_above_a_thousand(ids: Tensor) -> dict[int, int]:
    return count_objects(ids[ids > 1000])


def count_without_full_thousands(ids: Tensor) -> dict[int, int]:
    counts: dict[int, int] = {}
    for number in ids.unique().tolist():
        if number % 1000 == 0:
            continue
        counts[number // 1000] = counts.get(number // 1000, 0) + 1
    return counts


def count_with_zeros(ids: Tensor) -> dict[int, int]:
    return {int(number): 0 for number in ids[ids < 1000].unique()} | count_objects(ids)


def count_with_keys_of_text(ids: Tensor) -> dict[str, int]:
    return {str(label): number for label, number in count_objects(ids).items()}


def count_in_pairs(ids: Tensor) -> list[tuple[int, int]]:
    return list(count_objects(ids).items())


def count_components_of_classes(ids: Tensor) -> dict[int, int]:
    return {
        label: int(connected_components(ids // 1000 == label).max()) for label in count_objects(ids)
    }


cityscapes = Exercise(
    "1.4 Find the fault: how many cars?",
    solution=count_objects,
    cases=[
        (torch.tensor([[11, 11, 7], [26000, 26001, 7], [26000, 26001, 24000]]),),
        (torch.tensor([[11, 7], [23, 0]]),),
        (torch.tensor([[26, 26, 26000], [26, 7, 26000]]),),
        (torch.tensor([[33004, 33006], [24001, 24000]]),),
        (torch.tensor([[1000, 1, 1001], [1000, 0, 0]]),),
        (torch.tensor([[999, 5000, 999]]),),
        (torch.tensor([[25003, 7, 25003], [25999, 8, 26000]], dtype=torch.int32),),
    ],
    mistakes=(
        Mistake(
            count_everything,
            "This result has the fault of the given function: 11 // 1000 is 0, so all stuff counts "
            "as objects of class 0. Numbers below 1000 are plain classes, not objects.",
        ),
        Mistake(
            count_by_the_largest_number,
            "You take the largest number as the count. A number whose object is completely hidden "
            "is missing in the file: count the numbers that occur.",
        ),
        Mistake(
            count_without_number_zero,
            "You leave out the objects with number 0. Object 0 is an object: 26000 is the first "
            "car.",
        ),
        Mistake(
            count_above_a_thousand,
            "You leave out the number 1000, which is the first object of class 1.",
        ),
        Mistake(
            count_pixels,
            "These are numbers of pixels. All pixels with the same number are one object.",
        ),
        Mistake(
            count_by_object_number,
            "The keys of your result are object numbers, number % 1000. The class is number // "
            "1000.",
        ),
        Mistake(
            count_groups_too,
            "You count a plain 26 as one more car. It is a group that could not be separated, and "
            "no single object.",
        ),
        Mistake(
            count_without_full_thousands,
            "You skip the numbers that 1000 divides, such as 26000. Those are the first objects of "
            "their classes. The numbers without an object are those below 1000.",
        ),
        Mistake(
            count_with_zeros,
            "Classes without an object are in your result, with the count 0. Leave them out.",
        ),
        Mistake(
            count_with_keys_of_text,
            "The counts are right, but the keys are strings. Use the class numbers as integers.",
        ),
        Mistake(
            count_in_pairs,
            "The counts are right, but they form a list of pairs. Return a dictionary.",
        ),
        Mistake(
            count_components_of_classes,
            "You count connected components of each class. Objects that touch become one "
            "component, and an object in several parts becomes several: count the different "
            "numbers.",
        ),
        Mistake(
            count_plain_numbers_as_classes,
            "The plain numbers 11 or 26 are counted as one object of their class. They belong to "
            "stuff or to groups, and have no object.",
        ),
    ),
    hints=(
        "Run the given function on a map with 11 and 26000. Which class does it find for 11?",
        "11 // 1000 is 0. Which of the numbers 11, 26, 26000, 26001 stand for objects?",
        "Skip all numbers below 1000.",
    ),
    describe=lambda ids: f"the numbers {ids.tolist()}",
)


# ── 1.5 ────────────────────────────────────────────────────────────────────────────────────────

TOLERANCES = (0.5, 1.0, 2.0, 4.0)  # pixels


def fewest_vertices(mask: Tensor, wanted: float) -> int:
    """With how few vertices can a mask be outlined, if its IoU must not fall below ``wanted``?

    ``mask`` is (H, W) bool and has at least one pixel; 0 <= wanted <= 1. Trace all of its rings
    with ``mask_to_polygons`` (a mask with a hole has several), simplify each ring with ``simplify``
    and the same tolerance, and turn all of them back into one mask with ``polygons_to_mask``. Try
    the tolerances 0.5, 1, 2 and 4 pixels. Return the smallest number of vertices, of all rings
    together, for which the IoU of the new mask with ``mask`` is at least ``wanted``. A tolerance of
    0.5 loses no pixel of the masks in the check, so there is always such a number.
    """
    found = []
    for tolerance in (0.5, 1, 2, 4):
        rings = [simplify(ring, tolerance) for ring in mask_to_polygons(mask)]
        again = polygons_to_mask(rings, mask.shape)
        if (mask & again).sum() / (mask | again).sum() >= wanted:
            found.append(sum(map(len, rings)))
    return min(found)


def scores(mask: Tensor) -> Mapping[float, tuple[int, Tensor]]:
    """Vertices and round trip of every tolerance."""
    rings = mask_to_polygons(mask)
    outlines = {t: [simplify(ring, t) for ring in rings] for t in TOLERANCES}
    return {
        t: (sum(map(len, outline)), polygons_to_mask(outline, tuple(mask.shape)))
        for t, outline in outlines.items()
    }


def vertices_by_recall(mask: Tensor, wanted: float) -> int:
    kept = [n for n, m in scores(mask).values() if (mask & m).sum() / mask.sum() >= wanted]
    return min(kept)


def vertices_by_precision(mask: Tensor, wanted: float) -> int:
    return min(n for n, m in scores(mask).values() if (mask & m).sum() / m.sum() >= wanted)


def vertices_by_accuracy(mask: Tensor, wanted: float) -> int:
    return min(n for n, m in scores(mask).values() if (mask == m).float().mean() >= wanted)


def vertices_by_dice(mask: Tensor, wanted: float) -> int:
    return min(
        n
        for n, m in scores(mask).values()
        if 2 * (mask & m).sum() / (mask.sum() + m.sum()) >= wanted
    )


def vertices_of_the_finest(mask: Tensor, wanted: float) -> int:
    return scores(mask)[TOLERANCES[0]][0]


def vertices_of_the_coarsest(mask: Tensor, wanted: float) -> int:
    return scores(mask)[TOLERANCES[-1]][0]


def vertices_until_the_first_failure(mask: Tensor, wanted: float) -> int:
    fewest = scores(mask)[TOLERANCES[0]][0]
    for vertices, again in scores(mask).values():
        if (mask & again).sum() / (mask | again).sum() < wanted:
            break
        fewest = min(fewest, vertices)
    return fewest


def rings_counted(mask: Tensor, wanted: float) -> int:
    return len(mask_to_polygons(mask))


def vertices_of_the_first_ring(mask: Tensor, wanted: float) -> int:
    found = []
    for tolerance in TOLERANCES:
        outline = [simplify(ring, tolerance) for ring in mask_to_polygons(mask)]
        again = polygons_to_mask(outline, tuple(mask.shape))
        if (mask & again).sum() / (mask | again).sum() >= wanted:
            found.append(len(outline[0]))
    return min(found)


def vertices_without_holes(mask: Tensor, wanted: float) -> int:
    fewest = _fewest_with(None, holes=False)(mask, wanted)
    return scores(mask)[TOLERANCES[0]][0] if fewest is None else fewest


def largest_tolerance(mask: Tensor, wanted: float) -> float:
    tried = scores(mask)
    return max(t for t, (_, m) in tried.items() if (mask & m).sum() / (mask | m).sum() >= wanted)


def vertices_of_closed_rings(mask: Tensor, wanted: float) -> int:
    return fewest_vertices(mask, wanted) + len(mask_to_polygons(mask))


def coordinates_counted(mask: Tensor, wanted: float) -> int:
    return 2 * fewest_vertices(mask, wanted)


NOTHING_FOUND = {  # what an answer does where no tolerance reaches the wanted IoU
    "error": "In some cases no tolerance is then good enough, and min() gets an empty list.",
    "None": "In some cases no tolerance is then good enough, and the answer is None.",
    "0": "In some cases no tolerance is then good enough, and the answer is 0.",
    "inf": "In some cases no tolerance is then good enough, and the answer is infinite.",
}


def _fewest_with(
    empty: float | str | None,
    *,
    rings: int | None = None,
    holes: bool = True,
    above: bool = False,
    tolerances: tuple[float, ...] = TOLERANCES,
) -> Callable[[Tensor, float], float | None]:
    """An answer with one fault; ``empty`` is what it returns if no tolerance is good enough."""

    def answer(mask: Tensor, wanted: float) -> float | None:
        found, traced = [], mask_to_polygons(mask)[:rings]
        for tolerance in tolerances:
            outline = [simplify(ring, tolerance) for ring in traced]
            again = polygons_to_mask(outline, tuple(mask.shape), holes=holes)
            iou = (mask & again).sum() / (mask | again).sum()
            if iou > wanted or (iou == wanted and not above):
                found.append(sum(map(len, outline)))
        return min(found) if empty == "error" else min(found, default=empty)

    return answer


FAULTS = {
    "the_first_ring": (
        {"rings": 1},
        "You use the first ring only. A mask with a hole or with several parts has several rings, "
        "and all of them are needed.",
    ),
    "filled_holes": (
        {"holes": False},
        "The hole is filled. With holes=True, its default, polygons_to_mask leaves it open.",
    ),
    "above": (
        {"above": True},
        "You ask for an IoU above the wanted one. An IoU that is equal to it suffices (>=).",
    ),
    "without_the_finest": (
        {"tolerances": TOLERANCES[1:]},
        "The tolerance 0.5 is missing among those that you try.",
    ),
}


def _faulty_outlines() -> tuple[Mistake, ...]:
    """Every fault of the list above, with every way to treat an empty list."""
    empties = {"error": "error", "None": None, "0": 0, "inf": float("inf")}
    found = []
    for name, (options, advice) in FAULTS.items():
        for empty, value in empties.items():
            answer = _fewest_with(value, **options)
            answer.__name__ = f"vertices_{name}_{empty}"
            found.append(Mistake(answer, f"{advice} {NOTHING_FOUND[empty]}"))
    return tuple(found)


outline = Exercise(
    "1.5 How few vertices?",
    solution=fewest_vertices,
    cases=[
        (disc(41, 18), 0.9),
        (disc(41, 18), 0.97),
        (disc(31, 13, hole=7), 0.85),
        (disc(31, 13, hole=7), 0.95),
        (rectangle(20, 30, 3, 2, 25, 17), 1.0),
        (disc(25, 8), 0.7),
        (disc(25, 8), 0.0),
        (blossom(26, 8.5, 2.5, petals=4), 0.83),
        (blossom(28, 8.7, 0.5, petals=5), 0.854),
        (blossom(28, 8.7, 0.5, petals=5), 0.947),
        (blossom(24, 6.7, 2.3, petals=5) & ~disc(24, 4), 0.828),
        (blossom(24, 7.8, 3.6, petals=4) & ~disc(24, 4), 1.0),
        (rectangle(20, 20, 2, 2, 18, 18) & ~torch.eye(20).bool().roll(4, 1), 0.9),
    ],
    mistakes=(
        Mistake(
            vertices_by_recall,
            "Your score divides by the pixels of the mask alone, so pixels that the outline adds "
            "outside of the mask cost nothing. IoU divides by the union, (mask | again).",
        ),
        Mistake(
            vertices_by_precision,
            "Your score divides by the pixels of the new mask alone, so lost pixels cost nothing. "
            "IoU divides by the union, (mask | again).",
        ),
        Mistake(
            vertices_by_accuracy,
            "Your score counts the background, too: for a small object most pixels agree in any "
            "case. IoU uses the pixels of the two masks only.",
        ),
        Mistake(
            vertices_by_dice,
            "Your score is Dice, 2 |A ∩ B| / (|A| + |B|). Dice is larger than IoU unless the masks "
            "are equal or disjoint. Divide the intersection by the union.",
        ),
        Mistake(
            vertices_of_the_finest,
            "This is the number of vertices with tolerance 0.5. Try the larger tolerances, too, as "
            "long as the IoU suffices.",
        ),
        Mistake(
            vertices_of_the_coarsest,
            "This is the number of vertices with tolerance 4, whatever its IoU. Compare the IoU "
            "with the wanted one first.",
        ),
        Mistake(
            vertices_until_the_first_failure,
            "You stop at the first tolerance that fails. A larger tolerance can still fit better: "
            "try all four.",
        ),
        Mistake(
            rings_counted,
            "You count rings. Each ring is a list of vertices: add up their lengths.",
        ),
        Mistake(
            vertices_of_the_first_ring,
            "You count the vertices of one ring only. A mask with a hole has several rings.",
        ),
        Mistake(
            vertices_without_holes,
            "The hole was filled, and your answer falls back on the tolerance 0.5. With "
            "holes=True, its default, polygons_to_mask leaves the hole open.",
        ),
        Mistake(
            coordinates_counted,
            "You count coordinates. A vertex has two of them, x and y: len(ring) counts vertices.",
        ),
        Mistake(
            vertices_of_closed_rings,
            "You count one vertex of each ring twice. The rings of the course do not repeat their "
            "first vertex at the end.",
        ),
        Mistake(
            largest_tolerance,
            "You return a tolerance. Return the number of vertices that it leaves.",
        ),
        *_faulty_outlines(),
    ),
    hints=(
        "mask_to_polygons, simplify and polygons_to_mask are imported at the top of the chapter.",
        "Loop over the four tolerances. For each: simplify every ring, fill the rings again, and "
        "compute (mask & again).sum() / (mask | again).sum().",
        "Collect sum(len(ring) for ring in rings) where the IoU is at least wanted, and return the "
        "smallest of these numbers.",
    ),
    describe=lambda mask, wanted: (
        f"a mask of {int(mask.sum())} pixels and an IoU of at least {wanted}"
    ),
)


# ── 1.6 ────────────────────────────────────────────────────────────────────────────────────────

MAPS = {  # all pixels of one class
    "queue": drawing("........", ".######.", ".######.", "........"),
    "post": drawing("........", ".###.##.", ".###.##.", "........"),
    "fence": drawing("#.......", ".##.....", "...##..#", ".....##."),
    "diamond": drawing("...##...", "..#..#..", "..#..#..", "...##..."),
    "crowd": drawing(".##..#..", ".##.#...", "...#..##", "##.#..##"),
}


def count_components(name: str) -> tuple[int, int]:
    """How many connected components has a map? Predict first, without running code.

    ``name`` is a key of ``ex.MAPS``: queue, post, fence, diamond or crowd. Return the number of
    components with 4-connectivity, and the number with 8-connectivity.
    """
    mask = MAPS[name]
    by_sides = connected_components(mask, connectivity=4)
    by_corners_too = connected_components(mask, connectivity=8)
    return by_sides.max().item(), by_corners_too.max().item()


def components_swapped(name: str) -> tuple[int, int]:
    return count_components(name)[::-1]


def components_by_sides_only(name: str) -> tuple[int, int]:
    return (count_components(name)[0],) * 2


def components_by_corners_only(name: str) -> tuple[int, int]:
    return (count_components(name)[1],) * 2


def components_by_sides_alone(name: str) -> int:
    return count_components(name)[0]


def components_by_corners_alone(name: str) -> int:
    return count_components(name)[1]


def components_in_words(name: str) -> str:
    return "{}, {}".format(*count_components(name))


prediction = Exercise(
    "1.6 Predict the components",
    solution=count_components,
    cases=[(name,) for name in MAPS],
    mistakes=(
        Mistake(
            components_swapped,
            "The two numbers are swapped: the first is for 4-connectivity. With 8-connectivity "
            "more pixels touch, so there are never more components.",
        ),
        Mistake(
            components_by_sides_only,
            "Both of your numbers are those of 4-connectivity. With 8-connectivity, pixels that "
            "share only a corner belong together, too.",
        ),
        Mistake(
            components_by_corners_only,
            "Both of your numbers are those of 8-connectivity. With 4-connectivity, pixels that "
            "share only a corner are separate.",
        ),
        Mistake(
            components_by_sides_alone,
            "You return one number, for 4-connectivity. Two are asked for: return a pair.",
        ),
        Mistake(
            components_by_corners_alone,
            "You return one number, for 8-connectivity. Two are asked for: return a pair.",
        ),
        Mistake(
            components_in_words,
            "You return a string. Return a pair of numbers, such as (2, 2).",
        ),
        Mistake(
            right_but(count_components, {"queue": (2, 2)}),
            "In the queue you count cars. Components are counted by touching pixels alone, and "
            "nothing in the class map separates the two cars.",
        ),
        Mistake(
            right_but(count_components, {"post": (1, 1)}),
            "Behind the post you count one car. Its two visible parts do not touch: a whole column "
            "of other pixels is between them.",
        ),
        Mistake(
            right_but(count_components, {"diamond": (2, 2)}),
            "In the diamond you count the hole, or its left and right half. Follow the outline "
            "from pixel to pixel, once over sides only and once over corners, too.",
        ),
        Mistake(
            right_but(count_components, {"diamond": (1, 1)}),
            "The diamond looks like one closed line, but in some places its pixels share only a "
            "corner. With 4-connectivity, the line ends there.",
        ),
        Mistake(
            right_but(count_components, {"fence": (4, 1)}),
            "In the fence you count rows. Pixels of a row belong together only if there is no gap "
            "between them, and row 2 has a gap.",
        ),
        Mistake(
            right_but(count_components, {"fence": (5, 2)}),
            "In the fence, with 8-connectivity, look at the single pixel at the right end of row 2 "
            "again: it shares a corner with a pixel of row 3.",
        ),
        Mistake(
            right_but(count_components, {"crowd": (5, 3)}),
            "In the crowd, with 4-connectivity, you join too much. Pixels of the diagonal share "
            "only corners, so each of them is a component, unless it has a neighbour at a side.",
        ),
        Mistake(
            right_but(count_components, {"crowd": (6, 2)}),
            "In the crowd, with 8-connectivity, you join too much. Pixels with a whole column or "
            "row between them do not touch.",
        ),
        Mistake(
            right_but(count_components, {"crowd": (6, 4)}),
            "In the crowd, with 8-connectivity, look again at the pixel in row 2 and column 3: it "
            "shares corners with two other parts.",
        ),
    ),
    hints=(
        "Begin at any pixel, and walk to all pixels that can be reached. Then begin again at a "
        "pixel that is left.",
        "With 4-connectivity you may walk up, down, left and right. With 8-connectivity you may "
        "also walk diagonally.",
        "Run connected_components(ex.MAPS[name], connectivity=4) and compare its largest number "
        "with your prediction. Where they differ, look again at the figure.",
    ),
    describe=lambda name: f'the map "{name}"',
    shows_expected=False,
)


# ── 1.7 ────────────────────────────────────────────────────────────────────────────────────────

ENCODINGS = (
    "class PNG",
    "panoptic PNG",
    "RLE masks",
    "polygons",
    "boxes",
    "one-hot masks",
    "class JPEG",
)
SITUATIONS = {
    "robot": "A mowing robot must know for each pixel whether it is lawn, path or obstacle. Single "
    "obstacles are not told apart. The labels are stored in files.",
    "street": "Each pixel of a street scene gets a class, and cars and people are counted. No two "
    "segments overlap. The labels are stored in files.",
    "crowd": "Each person is annotated completely, including the parts behind other people. Some "
    "masks have holes, for example between an arm and the body. The exact pixels of each person "
    "must be kept.",
    "roofs": "The outlines of roofs will be corrected by hand tomorrow, by moving their corners.",
    "loss": "In a training step, the predicted probabilities of each class are compared with the "
    "ground truth of this class, in memory.",
    "parcels": "Parcels on a conveyor belt are counted, and their positions are needed roughly. "
    "The annotation has to be as cheap as possible.",
}
JPEG = "JPEG changes pixel values slightly, so that classes in a class map become other classes."
REASONS = {  # why an encoding does not fit a situation
    "robot": {
        "panoptic PNG": "All object numbers of a panoptic PNG would be 0 here, because single "
        "obstacles are not told apart. A simpler file is enough.",
        "RLE masks": "RLE masks may overlap or leave pixels out, so they do not guarantee one "
        "class for each pixel.",
        "polygons": "Polygons may overlap or leave pixels out, so they do not guarantee one class "
        "for each pixel.",
        "boxes": "A box does not say which of its pixels belong to the lawn, path or obstacle.",
        "one-hot masks": "One-hot masks need a channel for each class. A file can store the same "
        "labels in one channel.",
        "class JPEG": JPEG,
    },
    "street": {
        "class PNG": "A class PNG has no object numbers, so cars that touch cannot be counted.",
        "RLE masks": "RLE masks may overlap or leave pixels out, so they do not guarantee one "
        "class for each pixel.",
        "polygons": "Polygons may overlap or leave pixels out, so they do not guarantee one class "
        "for each pixel.",
        "boxes": "Boxes count cars and people, but they give no class to each pixel.",
        "one-hot masks": "One-hot masks have no object numbers, so cars that touch cannot be "
        "counted.",
        "class JPEG": f"{JPEG} It also has no object numbers.",
    },
    "crowd": {
        "class PNG": "A class PNG stores one class for each pixel. It cannot separate people, and "
        "it has no place for hidden parts.",
        "panoptic PNG": "A panoptic PNG stores one object for each pixel. Here a pixel can belong "
        "to two people: one in front and one behind.",
        "polygons": "COCO's format has no ring that cuts out a hole: the pixels between arm and "
        "body would belong to the person.",
        "boxes": "A box does not say which of its pixels belong to the person.",
        "one-hot masks": "One-hot masks have one channel for the class person, which cannot "
        "separate people.",
        "class JPEG": f"{JPEG} It also cannot separate people.",
    },
    "roofs": {
        "class PNG": "A class PNG stores pixels. It has no corners that can be moved.",
        "panoptic PNG": "A panoptic PNG stores pixels. It has no corners that can be moved.",
        "RLE masks": "RLE masks store runs of pixels. They have no corners that can be moved.",
        "boxes": "A box has corners, but a roof is seldom an upright rectangle.",
        "one-hot masks": "One-hot masks store pixels. They have no corners that can be moved.",
        "class JPEG": f"{JPEG} It also has no corners that can be moved.",
    },
    "loss": {
        "class PNG": "A class PNG is a file. Here each class needs a channel of its own in a "
        "tensor.",
        "panoptic PNG": "A panoptic PNG is a file. Here each class needs a channel of its own in a "
        "tensor.",
        "RLE masks": "RLE masks are lists of run lengths. Probabilities are compared with a tensor "
        "of the same shape, with a channel for each class.",
        "polygons": "Polygons are lists of vertices. Probabilities are compared with a tensor of "
        "the same shape, with a channel for each class.",
        "boxes": "Boxes have four numbers. Probabilities are compared with a tensor of the same "
        "shape, with a channel for each class.",
        "class JPEG": f"{JPEG} Here each class needs a channel of its own in a tensor.",
    },
    "parcels": {
        "class PNG": "For a class PNG each pixel must be annotated. Rough positions need less "
        "work, and touching parcels could not be counted.",
        "panoptic PNG": "For a panoptic PNG each pixel must be annotated. Rough positions need "
        "less work.",
        "RLE masks": "For RLE masks the pixels of each parcel must be annotated. Rough positions "
        "need less work.",
        "polygons": "A polygon needs a click for each corner of a parcel. Rough positions need "
        "less work.",
        "one-hot masks": "For one-hot masks each pixel must be annotated. Rough positions need "
        "less work.",
        "class JPEG": f"{JPEG} Rough positions also need less work.",
    },
}


def choose_encoding(situation: str) -> str:
    """Which encoding fits a situation? A key of ``ex.SITUATIONS`` -> one of ``ex.ENCODINGS``.

    Each encoding is the answer at most once.
    Polygons are COCO's polygons; a class JPEG is a class map that is saved as a JPEG.
    """
    answers = {
        "robot": "class PNG",
        "street": "panoptic PNG",
        "crowd": "RLE masks",
        "roofs": "polygons",
        "loss": "one-hot masks",
        "parcels": "boxes",
    }
    return answers[situation]


list_in_question(choose_encoding, SITUATIONS, {"Encodings": ", ".join(ENCODINGS)})


def position_of_the_encoding(situation: str) -> int:
    return ENCODINGS.index(choose_encoding(situation))


def encoding_in_a_list(situation: str) -> list[str]:
    return [choose_encoding(situation)]


choose = Exercise(
    "1.7 Choose the encoding",
    solution=choose_encoding,
    cases=[(situation,) for situation in SITUATIONS],
    mistakes=(
        Mistake(
            position_of_the_encoding,
            "You return the position in ex.ENCODINGS. Return the name, such as 'class PNG'.",
        ),
        Mistake(
            encoding_in_a_list,
            "You return a list. Return the name alone, as a string.",
        ),
        *(
            Mistake(
                right_but(choose_encoding, {place: encoding}), f"{advice} (This is about {place}.)"
            )
            for place, reasons in REASONS.items()
            for encoding, advice in reasons.items()
        ),
    ),
    hints=(
        "Ask first which task it is: does each pixel need a class, an object number, or both?",
        "Then ask what is done with the labels: are they stored, edited by hand, or used in a "
        "loss? Can two masks share a pixel?",
        "Six of the seven encodings are the answer to one situation each. The seventh is an error "
        "for every label map.",
    ),
    describe=lambda situation: f'"{situation}"',
    shows_expected=False,
    options=ENCODINGS,
)
