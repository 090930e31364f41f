"""The exercises on tasks accept every right answer and name the usual mistakes."""

from collections import Counter
from itertools import groupby

import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from scipy import ndimage
from skimage.measure import label
from torchvision.ops import masks_to_boxes

from segcourse.exercises import tasks as chapter
from segcourse.ops.components import connected_components
from segcourse.ops.masks import mask_box
from segcourse.ops.panoptic import rgb_to_ids
from segcourse.ops.polygons import mask_to_polygons, polygons_to_mask, simplify
from segcourse.ops.rle import decode_rle, encode_rle, rle_box

# ── 1.1 ────────────────────────────────────────────────────────────────────────────────────────


def classes_in_numpy(rgb, segments_info):
    ids = (rgb.numpy().astype(np.int32) * [1, 256, 65536]).sum(axis=-1)
    classes = np.full(ids.shape, 255, dtype=np.uint8)
    for segment in segments_info:
        classes[ids == segment["id"]] = segment["category_id"]
    return classes


def classes_by_loops(rgb, segments_info):
    category = {segment["id"]: segment["category_id"] for segment in segments_info}
    return [[category.get(r + 256 * g + 65536 * b, 255) for r, g, b in row] for row in rgb.tolist()]


def classes_by_the_package(rgb, segments_info):
    ids = rgb_to_ids(rgb)
    classes = torch.full_like(ids, 255, dtype=torch.int32)
    for segment in segments_info:
        classes = torch.where(ids == segment["id"], segment["category_id"], classes)
    return classes


def classes_by_shifts(rgb, segments_info):
    wide = rgb.int()
    ids = wide[..., 0] | wide[..., 1] << 8 | wide[..., 2] << 16
    classes = 255 * torch.ones(ids.shape)
    for segment in segments_info:
        classes[ids == segment["id"]] = segment["category_id"]
    return classes


def classes_by_masked_fill(rgb, segments_info):
    ids = torch.einsum("hwc,c->hw", rgb.long(), torch.tensor([1, 256, 65536]))
    classes = torch.full_like(ids, 255)
    for segment in segments_info:
        classes.masked_fill_(ids == segment["id"], segment["category_id"])
    return classes


def classes_through_float64(rgb, segments_info):
    ids = rgb.double() @ torch.tensor([1.0, 256.0, 65536.0], dtype=torch.float64)
    table = {float(segment["id"]): segment["category_id"] for segment in segments_info}
    return ids.apply_(lambda number: table.get(number, 255))


# ── 1.2 ────────────────────────────────────────────────────────────────────────────────────────


def pairs_by_sums(counts):
    return [(1 + sum(counts[:i]), counts[i]) for i in range(1, len(counts), 2)]


def pairs_in_numpy(counts):
    ends = np.cumsum(counts)
    return np.stack([ends[:-1:2] + 1, counts[1::2]], axis=1) if len(counts) > 1 else []


def pairs_by_iterating(counts):
    pairs, position = [], 0
    for zeros, ones in zip(counts[::2], [*counts[1::2], 0], strict=False):
        if ones:
            pairs.append([position + zeros + 1, ones])
        position += zeros + ones
    return pairs


def pairs_from_pixels(counts):
    pixels = np.repeat(np.arange(len(counts)) % 2, counts)
    found = np.flatnonzero(pixels)
    groups = groupby(enumerate(found.tolist()), key=lambda pair: pair[1] - pair[0])
    runs = [[place for _, place in members] for _, members in groups]
    return [(run[0] + 1, len(run)) for run in runs]


def pairs_from_a_decoded_mask(counts):
    mask = decode_rle({"size": [sum(counts), 1], "counts": counts})[:, 0].int()
    edges = torch.nn.functional.pad(mask, (1, 1)).diff()
    starts, ends = (edges == 1).nonzero()[:, 0], (edges == -1).nonzero()[:, 0]
    return torch.stack([starts + 1, ends - starts], dim=1)


def pairs_by_emptying_the_list(counts):
    pairs, start = [], 1
    while counts:
        start += counts.pop(0)
        if counts:
            length = counts.pop(0)
            pairs.append((start, length))
            start += length
    return tuple(pairs)


# ── 1.3 ────────────────────────────────────────────────────────────────────────────────────────


def box_from_corners(mask):
    x0, y0, x1, y1 = mask_box(mask)
    return np.array([x0, y0, x1 - x0, y1 - y0])


def box_by_scipy(mask):
    (found,) = ndimage.find_objects(mask.numpy().astype(int)) or [None]
    if found is None:
        return [0, 0, 0, 0]
    rows, columns = found
    return columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start


def box_by_pycocotools(mask):
    return coco.toBbox(coco.encode(np.asfortranarray(mask.numpy().astype(np.uint8))))


def box_by_torchvision(mask):
    if not mask.any():
        return torch.zeros(4)
    x0, y0, x1, y1 = masks_to_boxes(mask[None])[0]
    return torch.stack([x0, y0, x1 - x0 + 1, y1 - y0 + 1])


def box_by_loops(mask):
    places = [(x, y) for y, row in enumerate(mask.tolist()) for x, value in enumerate(row) if value]
    if not places:
        return 0, 0, 0, 0
    xs, ys = zip(*places, strict=True)
    return min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1


def box_by_rle(mask):
    x0, y0, x1, y1 = rle_box(encode_rle(mask))
    return {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}.values()


# ── 1.4 ────────────────────────────────────────────────────────────────────────────────────────


def count_with_sets(ids):
    things = {n for row in ids.tolist() for n in row if n > 999}
    return {c: sum(n // 1000 == c for n in things) for c in {n // 1000 for n in things}}


def count_with_counter(ids):
    return Counter(number // 1000 for number in ids.unique().tolist() if number >= 1000)


def count_in_numpy(ids):
    numbers = np.unique(ids.numpy())
    classes, counts = np.unique(numbers[numbers >= 1000] // 1000, return_counts=True)
    return dict(zip(classes.tolist(), counts, strict=True))


def count_in_torch(ids):
    numbers = torch.unique(ids[ids >= 1000])
    labels, counts = torch.unique(numbers // 1000, return_counts=True)
    return {int(label): count for label, count in zip(labels, counts, strict=True)}


def count_with_bincount(ids):
    counts = torch.bincount(ids.unique() // 1000)
    return {label: int(n) for label, n in enumerate(counts) if label and n}


def count_mending_the_function(ids):
    counts = {}
    for number in ids.unique().tolist():
        label = number // 1000
        if label == 0:
            continue
        counts[label] = counts.get(label, 0) + 1
    return counts


# ── 1.5 ────────────────────────────────────────────────────────────────────────────────────────


def overlap(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return (a & b).sum() / (a | b).sum()


def vertices_from_the_coarse_end(mask, wanted):
    found = []
    for tolerance in (4, 2, 1, 0.5):
        outline = [simplify(ring, tolerance) for ring in mask_to_polygons(mask)]
        if overlap(mask, polygons_to_mask(outline, mask.shape)) >= wanted:
            found.append(torch.tensor(sum(len(ring) for ring in outline)))
    return torch.stack(found).min()


def vertices_updating_the_best(mask, wanted):
    rings = mask_to_polygons(mask)
    best = sum(map(len, rings))
    for tolerance in (0.5, 1.0, 2.0, 4.0):
        outline = [simplify(ring, tolerance) for ring in rings]
        again = polygons_to_mask(outline, tuple(mask.shape))
        if (mask & again).sum().item() / (mask | again).sum().item() >= wanted:
            best = min(best, sum(map(len, outline)))
    return best


def vertices_with_exact_outlines_too(mask, wanted):
    """Tolerance 0 is allowed: a tolerance of 0.5 needs no more vertices and loses nothing."""
    found = []
    for tolerance in (0, 0.5, 1, 2, 4):
        outline = [simplify(ring, tolerance) for ring in mask_to_polygons(mask)]
        again = polygons_to_mask(outline, mask.shape)
        union = mask.sum() + again.sum() - (mask * again).sum()
        if (mask * again).sum() >= wanted * union:
            found.append(torch.cat(outline).shape[0])
    return min(found)


def vertices_sorted(mask, wanted):
    outlines = [[simplify(r, t) for r in mask_to_polygons(mask)] for t in (0.5, 1, 2, 4)]
    good = [o for o in outlines if overlap(mask, polygons_to_mask(o, mask.shape)) >= wanted]
    return float(sorted(np.vstack(outline).shape[0] for outline in good)[0])


def vertices_by_recursion(mask, wanted, tolerances=(0.5, 1, 2, 4)):
    if not tolerances:
        return np.inf
    outline = [simplify(ring, tolerances[0]) for ring in mask_to_polygons(mask)]
    good = overlap(mask, polygons_to_mask(outline, mask.shape)) >= wanted
    rest = vertices_by_recursion(mask, wanted, tolerances[1:])
    return min(sum(len(ring) for ring in outline) if good else np.inf, rest)


# ── 1.6 ────────────────────────────────────────────────────────────────────────────────────────


def components_by_skimage(name):
    return [label(chapter.MAPS[name].numpy(), connectivity=n).max() for n in (1, 2)]


def components_by_scipy(name):
    mask = chapter.MAPS[name].numpy()
    return ndimage.label(mask)[1], ndimage.label(mask, np.ones((3, 3)))[1]


def components_by_thinking(name):
    return {"queue": (1, 1), "post": (2, 2), "fence": (5, 1), "diamond": (4, 1),
            "crowd": (6, 3)}[name]  # fmt: skip


def components_by_flooding(name):
    def count(steps):
        left = {(y, x) for y, x in chapter.MAPS[name].nonzero().tolist()}
        parts = 0
        while left:
            parts, todo = parts + 1, [left.pop()]
            while todo:
                y, x = todo.pop()
                near = {(y + down, x + right) for down, right in steps} & left
                left -= near
                todo += near
        return parts

    sides = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    return count(sides), count([*sides, (1, 1), (1, -1), (-1, 1), (-1, -1)])


def components_in_a_tensor(name):
    return torch.tensor(
        [len(connected_components(chapter.MAPS[name], connectivity=n).unique()) - 1 for n in (4, 8)]
    )


# ── 1.7 ────────────────────────────────────────────────────────────────────────────────────────

CHOICE = {
    "robot": "class PNG",
    "street": "panoptic PNG",
    "crowd": "RLE masks",
    "roofs": "polygons",
    "loss": "one-hot masks",
    "parcels": "boxes",
}


def choose_by_branches(situation):
    if situation == "robot":
        return "class PNG"
    if situation == "street":
        return "panoptic PNG"
    if situation == "crowd":
        return "RLE masks"
    if situation == "roofs":
        return "polygons"
    return "boxes" if situation == "parcels" else "one-hot masks"


def choose_by_match(situation):
    match situation:
        case "loss":
            return chapter.ENCODINGS[-2]
        case "parcels":
            return chapter.ENCODINGS[-3]
    return CHOICE[situation]


RIGHT = {
    "panoptic_png": [
        classes_in_numpy,
        classes_by_loops,
        classes_by_the_package,
        classes_by_shifts,
        classes_by_masked_fill,
        classes_through_float64,
    ],
    "run_length_code": [
        pairs_by_sums,
        pairs_in_numpy,
        pairs_by_iterating,
        pairs_from_pixels,
        pairs_from_a_decoded_mask,
        pairs_by_emptying_the_list,
    ],
    "box": [
        box_from_corners,
        box_by_scipy,
        box_by_pycocotools,
        box_by_torchvision,
        box_by_loops,
        lambda mask: list(box_by_rle(mask)),
    ],
    "cityscapes": [
        count_with_sets,
        count_with_counter,
        count_in_numpy,
        count_in_torch,
        count_with_bincount,
        count_mending_the_function,
    ],
    "outline": [
        vertices_from_the_coarse_end,
        vertices_updating_the_best,
        vertices_with_exact_outlines_too,
        vertices_sorted,
        vertices_by_recursion,
    ],
    "prediction": [
        components_by_skimage,
        components_by_scipy,
        components_by_thinking,
        components_by_flooding,
        components_in_a_tensor,
    ],
    "choose": [CHOICE.get, choose_by_branches, choose_by_match, CHOICE.__getitem__],
}


@pytest.mark.parametrize(
    "exercise, answer",
    [
        pytest.param(getattr(chapter, name), answer, id=f"{name} {place}")
        for name, answers in RIGHT.items()
        for place, answer in enumerate(answers)
    ],
)
def test_right_answers_are_accepted_however_they_are_written(exercise, answer):
    assert exercise.verdict(answer) == ("✓", "")


def test_there_are_five_of_them_for_each_exercise_on_average():
    assert sum(map(len, RIGHT.values())) >= 5 * len(RIGHT)


@pytest.mark.parametrize("off", [-1, 1])
def test_an_id_that_is_off_by_one_is_another_segment(off):
    """Ids are compared exactly, however large they are."""

    def answer(rgb, segments_info):
        shifted = [segment | {"id": segment["id"] + off} for segment in segments_info]
        return chapter.classes_of_panoptic(rgb, shifted)

    assert chapter.panoptic_png.verdict(answer)[0] == "✗"


@pytest.mark.parametrize(
    "tolerances", [(0.5,), (4,), (1, 2, 4), (0.5, 2, 4), (0.5, 1, 4), (0.5, 1, 2), (0.5, 1, 2, 8)]
)
def test_other_tolerances_give_other_vertices(tolerances):
    def answer(mask, wanted):
        tried = {t: [simplify(r, t) for r in mask_to_polygons(mask)] for t in tolerances}
        return min(
            sum(map(len, outline))
            for outline in tried.values()
            if overlap(mask, polygons_to_mask(outline, mask.shape)) >= wanted
        )

    assert chapter.outline.verdict(answer)[0] == "✗"


def first_ring_only(mask, wanted):
    best = []
    for tolerance in (0.5, 1, 2, 4):
        ring = simplify(mask_to_polygons(mask)[0], tolerance)
        if overlap(mask, polygons_to_mask([ring], mask.shape)) >= wanted:
            best.append(len(ring))
    return best


def holes_filled(mask, wanted):
    best = []
    for tolerance in (0.5, 1, 2, 4):
        rings = [simplify(ring, tolerance) for ring in mask_to_polygons(mask)]
        if overlap(mask, polygons_to_mask(rings, mask.shape, holes=False)) >= wanted:
            best.append(sum(map(len, rings)))
    return best


def strictly_above(mask, wanted):
    best = []
    for tolerance in (0.5, 1, 2, 4):
        rings = [simplify(ring, tolerance) for ring in mask_to_polygons(mask)]
        if overlap(mask, polygons_to_mask(rings, mask.shape)) > wanted:
            best.append(sum(map(len, rings)))
    return best


def finest_forgotten(mask, wanted):
    best = []
    for tolerance in (1, 2, 4):
        rings = [simplify(ring, tolerance) for ring in mask_to_polygons(mask)]
        if overlap(mask, polygons_to_mask(rings, mask.shape)) >= wanted:
            best.append(sum(map(len, rings)))
    return best


@pytest.mark.parametrize(
    "collect, word",
    [
        (first_ring_only, "first ring only"),
        (holes_filled, "holes=True"),
        (strictly_above, ">="),
        (finest_forgotten, "0.5 is missing"),
    ],
)
@pytest.mark.parametrize(
    "smallest",
    [
        min,
        lambda found: min(found, default=0),
        lambda found: min(found) if found else None,
        lambda found: min(found, default=np.inf),
    ],
    ids=["error", "0", "None", "inf"],
)
def test_a_fault_is_named_whatever_is_returned_if_no_tolerance_is_good_enough(
    collect, word, smallest
):
    _, message = chapter.outline.verdict(lambda mask, wanted: smallest(collect(mask, wanted)))
    assert word in message
    assert "input is empty" not in message and "missing?" not in message


@pytest.mark.parametrize("place", chapter.SITUATIONS)
def test_every_encoding_that_does_not_fit_has_a_reason(place):
    wrong = set(chapter.ENCODINGS) - {chapter.choose_encoding(place)}
    assert set(chapter.REASONS[place]) == wrong


def test_dice_in_place_of_iou_is_called_dice():
    _, message = chapter.outline.verdict(chapter.vertices_by_dice)
    assert "Dice" in message and "background" not in message


def test_a_choice_is_explained_and_not_given_away():
    mark, message = chapter.choose.verdict(lambda situation: "polygons")
    assert mark == "✗" and "expected" not in message
    _, message = chapter.prediction.verdict(chapter.components_swapped)
    assert "expected" not in message
