"""Exercises of the chapter on tasks and encodings."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake
from segcourse.ops.polygons import mask_to_polygons, polygons_to_mask, simplify


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


def numbers_of_colours(rgb: Tensor) -> Tensor:
    """Which numbers do the colours of a panoptic PNG stand for?

    ``rgb`` are the bytes of the PNG: (H, W, 3) uint8. Return id = R + 256 G + 65536 B: (H, W).
    """
    red, green, blue = rgb.long().unbind(dim=-1)
    return red + 256 * green + 65536 * blue


def numbers_in_bytes(rgb: Tensor) -> Tensor:
    return rgb[..., 0] + (rgb[..., 1] << 8) + (rgb[..., 2] << 16)


def numbers_of_bgr(rgb: Tensor) -> Tensor:
    return numbers_of_colours(rgb.flip(-1))


def numbers_in_base_255(rgb: Tensor) -> Tensor:
    red, green, blue = rgb.long().unbind(dim=-1)
    return red + 255 * green + 255**2 * blue


def numbers_that_add_up(rgb: Tensor) -> Tensor:
    return rgb.long().sum(dim=-1)


def colors() -> list[tuple]:
    """A few PNGs: a single pixel, the extremes, and one of random bytes."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (6, 9, 3), generator=generator)
    rows = ([[[1, 2, 3]]], [[[0, 0, 0], [255, 255, 255]]], [[[200, 0, 0], [0, 1, 0]]])
    return [(torch.tensor(each, dtype=torch.uint8),) for each in (*rows, noise.tolist())]


panoptic_png = Exercise(
    "1.1 Numbers of colours",
    solution=numbers_of_colours,
    cases=colors,
    mistakes=(
        Mistake(
            numbers_in_bytes,
            "A byte ends at 255: 256 * G does not fit and wraps round to 0, so only R is left. "
            "Widen the bytes first, rgb.long() or rgb.astype(int).",
        ),
        Mistake(
            numbers_of_bgr,
            "Red and blue are swapped. OpenCV reads pictures as B, G, R; Pillow as R, G, B.",
        ),
        Mistake(
            numbers_in_base_255,
            "A byte has 256 values, 0 to 255, so the digits count in base 256.",
        ),
        Mistake(
            numbers_that_add_up,
            "The channels are digits of one number: each has its own weight, 1, 256 and 65536.",
        ),
    ),
    hints=(
        "The colour is a number in base 256, with the lowest digit first.",
        "What is the largest number that a uint8 tensor can hold? Is 256 * G larger?",
        "red, green, blue = rgb.long().unbind(dim=-1); then add them up with their weights.",
    ),
    describe=lambda rgb: f"the bytes {rgb.tolist()}" if rgb.numel() <= 6 else f"{len(rgb)} rows",
)


# ── 1.2 ────────────────────────────────────────────────────────────────────────────────────────


def run_lengths(mask: Tensor) -> list[int]:
    """How long are the runs of a mask, down the columns, as COCO counts them?

    ``mask`` is (H, W) bool. The first count is always of zeros, so it is 0 where the first pixel
    is set: [[0, 1], [0, 1]] gives [2, 2], and [[1, 0]] gives [0, 1, 1].
    """
    counts, value = [0], False
    for pixel in mask.T.flatten().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


def runs_along_rows(mask: Tensor) -> list[int]:
    return run_lengths(mask.T)


def runs_without_the_leading_zero(mask: Tensor) -> list[int]:
    counts = run_lengths(mask)
    return counts[1:] if counts[0] == 0 else counts


def runs_with_a_zero_always(mask: Tensor) -> list[int]:
    counts = run_lengths(mask)
    return [0, *counts] if counts[0] else counts


def runs_without_the_last(mask: Tensor) -> list[int]:
    return run_lengths(mask)[:-1]


def runs_of_ones(mask: Tensor) -> list[int]:
    return run_lengths(mask)[1::2]


def places_of_changes(mask: Tensor) -> list[int]:
    return np.cumsum(run_lengths(mask)).tolist()


run_length_code = Exercise(
    "1.2 Run lengths",
    solution=run_lengths,
    cases=[
        (torch.tensor([[0, 1], [0, 1]]).bool(),),
        (torch.tensor([[1, 0]]).bool(),),
        (rectangle(4, 5, 1, 1, 4, 3),),
        (rectangle(3, 3, 0, 0, 0, 0),),
        (rectangle(3, 2, 0, 0, 2, 3),),
        (rectangle(6, 1, 0, 2, 1, 5),),
        (disc(9, 4, hole=2),),
    ],
    mistakes=(
        Mistake(
            runs_along_rows,
            "These are the runs along the rows. COCO's code comes from MATLAB, where arrays are "
            "stored column by column: transpose the mask before you flatten it.",
        ),
        Mistake(
            runs_without_the_leading_zero,
            "The first count is always of zeros. Without the leading 0, a decoder takes the first "
            "run of ones for zeros and returns the mask inverted.",
        ),
        Mistake(
            runs_with_a_zero_always,
            "The first count is of zeros, and 0 only where the mask begins with a one. Where it "
            "begins with zeros, an extra 0 turns their run into a run of ones.",
        ),
        Mistake(
            runs_without_the_last,
            "The last run is missing: nothing changes after it, so it must be added at the end. "
            "The counts must sum to the number of pixels.",
        ),
        Mistake(
            runs_of_ones,
            "Count the zeros too: zeros, ones, zeros, ... Otherwise nobody knows where a run is.",
        ),
        Mistake(
            places_of_changes,
            "These are the places where runs end. Their differences are the lengths.",
        ),
    ),
    hints=(
        "mask.T.flatten() walks down the columns.",
        "Start with counts = [0] and the value False. Where a pixel differs from the value, begin "
        "a new count.",
        "Check yourself: sum(counts) is the number of pixels, sum(counts[1::2]) the area.",
    ),
    describe=lambda mask: f"the mask {mask.int().tolist()}",
)


# ── 1.3 ────────────────────────────────────────────────────────────────────────────────────────


def coco_box(mask: Tensor) -> tuple[int, int, int, int]:
    """Which box does COCO store for a mask?

    ``mask`` is (H, W) bool. Return (x, y, width, height) in pixels, x to the right and y down;
    a single pixel in the corner gives (0, 0, 1, 1), an empty mask (0, 0, 0, 0).
    """
    rows, columns = mask.nonzero(as_tuple=True)
    if len(rows) == 0:
        return 0, 0, 0, 0
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


box = Exercise(
    "1.3 The box of a mask",
    solution=coco_box,
    cases=[
        (rectangle(5, 8, 2, 1, 7, 3),),
        (rectangle(4, 4, 0, 0, 1, 1),),
        (rectangle(6, 6, 5, 2, 6, 6),),
        (disc(11, 4),),
        (rectangle(3, 7, 0, 0, 7, 3),),
        (rectangle(3, 3, 0, 0, 0, 0),),
    ],
    mistakes=(
        Mistake(
            box_of_corners,
            "These are two corners, (x0, y0, x1, y1). COCO stores one corner and the size, "
            "(x, y, width, height).",
        ),
        Mistake(
            box_one_too_small,
            "From the first pixel to the last there are last - first + 1 pixels.",
        ),
        Mistake(
            box_rows_first,
            "Arrays are indexed row first, boxes are written x first: the columns give x and the "
            "width, the rows y and the height.",
        ),
        Mistake(
            box_that_stops_on_nothing,
            "An empty mask has no smallest column: answer (0, 0, 0, 0) before you ask for it. "
            "Crops often cut an object away entirely.",
        ),
    ),
    hints=(
        "mask.nonzero(as_tuple=True) gives the rows and the columns of all pixels that are set.",
        "The width is last column - first column + 1.",
        "Return (x, y, width, height), and think of a mask without a pixel.",
    ),
    describe=lambda mask: f"the mask {mask.int().tolist()}",
)


# ── 1.4 ────────────────────────────────────────────────────────────────────────────────────────


def count_objects(ids: Tensor) -> dict[int, int]:
    """How many objects of each class are in a file of Cityscapes?

    ``ids`` is (H, W). Objects are numbered class * 1000 + 0, 1, 2, ...: 26000 is the first car.
    Pixels of stuff, and of groups that nobody could tell apart, hold the plain class (11, 26).
    Return {class: number of objects}, without classes that have none.
    """
    counts: dict[int, int] = {}
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
        int(c): int((things[things // 1000 == c] % 1000).max()) for c in things.unique() // 1000
    }


def count_without_number_zero(ids: Tensor) -> dict[int, int]:
    return count_objects(ids[ids % 1000 > 0]) if (ids % 1000 > 0).any() else {}


def count_pixels(ids: Tensor) -> dict[int, int]:
    things = ids[ids >= 1000] // 1000
    return {int(label): int((things == label).sum()) for label in things.unique()}


def count_groups_too(ids: Tensor) -> dict[int, int]:
    counts = count_objects(ids)
    return {label: n + int((ids == label).any()) for label, n in counts.items()}


def count_above_a_thousand(ids: Tensor) -> dict[int, int]:
    return count_objects(ids[ids > 1000]) if (ids > 1000).any() else {}


cityscapes = Exercise(
    "1.4 Fix this bug: how many cars?",
    solution=count_objects,
    cases=[
        (torch.tensor([[11, 11, 7], [26000, 26001, 7], [26000, 26001, 24000]]),),
        (torch.tensor([[11, 7], [23, 0]]),),
        (torch.tensor([[26, 26, 26000], [26, 7, 26000]]),),
        (torch.tensor([[33004, 33006], [24001, 24000]]),),
        (torch.tensor([[1000, 1, 1001], [1000, 0, 0]]),),
    ],
    mistakes=(
        Mistake(
            count_everything,
            "That is the bug: 11 // 1000 is 0, so all stuff counts as objects of class 0. Numbers "
            "below 1000 are plain classes; leave them out.",
        ),
        Mistake(
            count_by_the_largest_number,
            "The largest number is not the count: numbers start at 0, and a number whose object "
            "is hidden is missing. Count the numbers that occur.",
        ),
        Mistake(
            count_without_number_zero,
            "Object 0 is an object: 26000 is the first car. Only numbers below 1000 are none.",
        ),
        Mistake(
            count_above_a_thousand,
            "1000 itself is an object, the first of class 1: compare with >= 1000.",
        ),
        Mistake(count_pixels, "These are pixels. Count different numbers: ids.unique()."),
        Mistake(
            count_groups_too,
            "A plain 26 is a group of cars that nobody could tell apart: it is no single object.",
        ),
    ),
    hints=(
        "Which numbers stand for objects? Look at 11, 26, 26000, 26001.",
        "Everything from 1000 on. Its class is number // 1000.",
        "for number in ids.unique().tolist(): if number >= 1000: ...",
    ),
    describe=lambda ids: f"the numbers {ids.tolist()}",
)


# ── 1.5 ────────────────────────────────────────────────────────────────────────────────────────

TOLERANCES = (0.0, 0.5, 1.0, 2.0, 4.0)  # pixels


def fewest_vertices(mask: Tensor, wanted: float) -> int:
    """With how few vertices can a mask be outlined without losing more than you allow?

    ``mask`` is (H, W) bool. Trace its rings, simplify each with the tolerances 0, 0.5, 1, 2 and 4
    pixels, and turn the result back into a mask. Return the smallest number of vertices, of all
    rings together, whose IoU with ``mask`` is at least ``wanted``.
    """
    rings = mask_to_polygons(mask)
    fewest = sum(len(ring) for ring in rings)
    for tolerance in (0.0, 0.5, 1.0, 2.0, 4.0):
        outline = [simplify(ring, tolerance) for ring in rings]
        again = polygons_to_mask(outline, tuple(mask.shape))
        if (mask & again).sum() / (mask | again).sum() >= wanted:
            fewest = min(fewest, sum(len(ring) for ring in outline))
    return fewest


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


def vertices_by_accuracy(mask: Tensor, wanted: float) -> int:
    return min(n for n, m in scores(mask).values() if (mask == m).float().mean() >= wanted)


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


def vertices_without_holes(mask: Tensor, wanted: float) -> int:
    found = []
    for tolerance in TOLERANCES:
        outline = [simplify(ring, tolerance) for ring in mask_to_polygons(mask)]
        again = polygons_to_mask(outline, tuple(mask.shape), holes=False)
        if (mask & again).sum() / (mask | again).sum() >= wanted:
            found.append(sum(map(len, outline)))
    return min(found, default=scores(mask)[0.0][0])


outline = Exercise(
    "1.5 Experiment: how few vertices?",
    solution=fewest_vertices,
    cases=[
        (disc(41, 18), 0.9),
        (disc(41, 18), 0.97),
        (disc(41, 18), 1.0),
        (disc(31, 13, hole=7), 0.85),
        (disc(31, 13, hole=7), 0.95),
        (rectangle(20, 30, 3, 2, 25, 17), 1.0),
        (disc(25, 8), 0.7),
        (blossom(26, 8.5, 2.5, petals=4), 0.83),
        (rectangle(20, 20, 2, 2, 18, 18) & ~torch.eye(20).bool().roll(4, 1), 0.9),
    ],
    mistakes=(
        Mistake(
            vertices_by_recall,
            "That asks only whether the object's pixels are kept, and lets the outline run over. "
            "IoU divides by the union, (mask | again).",
        ),
        Mistake(
            vertices_by_accuracy,
            "That counts the background too: a small object can vanish and most pixels still "
            "agree. IoU looks at the object alone.",
        ),
        Mistake(
            vertices_of_the_finest,
            "Tolerance 0 keeps everything. Try the coarser ones too, as long as the IoU suffices.",
        ),
        Mistake(
            vertices_of_the_coarsest,
            "The coarsest outline loses too much here: check its IoU before you take it.",
        ),
        Mistake(
            vertices_until_the_first_failure,
            "A coarser tolerance can fit better than a finer one: do not stop at the first that "
            "fails, try all of them.",
        ),
        Mistake(
            rings_counted,
            "You counted rings. Each ring is a list of vertices: add up their lengths.",
        ),
        Mistake(
            vertices_without_holes,
            "The hole was filled. With holes=True, its default, polygons_to_mask leaves it open.",
        ),
    ),
    hints=(
        "mask_to_polygons, simplify and polygons_to_mask are in segcourse.ops.polygons.",
        "Loop over the tolerances; compute the IoU of each round trip.",
        "Among those whose IoU is at least the wanted one, return the smallest vertex count.",
    ),
    describe=lambda mask, wanted: f"{int(mask.sum())} pixels and an IoU of at least {wanted}",
)
