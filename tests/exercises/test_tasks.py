"""The exercises on tasks accept every right answer and name the usual mistakes."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from segcourse.exercises import tasks as chapter
from segcourse.ops.masks import mask_box
from segcourse.ops.panoptic import rgb_to_ids
from segcourse.ops.polygons import mask_to_polygons, polygons_to_mask, simplify
from segcourse.ops.rle import encode_rle


def numbers_in_numpy(rgb):
    return (rgb.numpy().astype(int) * [1, 256, 65536]).sum(axis=-1)


def numbers_by_loops(rgb):
    return [[r + 256 * g + 65536 * b for r, g, b in row] for row in rgb.tolist()]


def runs_in_numpy(mask):
    flat = np.concatenate([[False], mask.numpy().flatten(order="F")])
    places = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], places, [flat.size - 1]]))


def box_from_corners(mask):
    x0, y0, x1, y1 = mask_box(mask)
    return np.array([x0, y0, x1 - x0, y1 - y0])


def box_by_scipy(mask):
    (found,) = ndimage.find_objects(mask.numpy().astype(int)) or [None]
    if found is None:
        return [0, 0, 0, 0]
    rows, columns = found
    return columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start


def count_with_sets(ids):
    things = {n for row in ids.tolist() for n in row if n > 999}
    return {c: sum(n // 1000 == c for n in things) for c in {n // 1000 for n in things}}


def vertices_from_the_coarse_end(mask, wanted):
    for tolerance in (4, 2, 1, 0.5, 0):
        outline = [simplify(ring, tolerance) for ring in mask_to_polygons(mask)]
        again = polygons_to_mask(outline, mask.shape).numpy()
        both, either = (mask.numpy() & again).sum(), (mask.numpy() | again).sum()
        if both / either >= wanted:
            return torch.tensor(sum(len(ring) for ring in outline))


@pytest.mark.parametrize(
    "exercise, answer",
    [
        (chapter.panoptic_png, numbers_in_numpy),
        (chapter.panoptic_png, numbers_by_loops),
        (chapter.panoptic_png, rgb_to_ids),
        (chapter.run_length_code, runs_in_numpy),
        (chapter.run_length_code, lambda mask: encode_rle(mask)["counts"]),
        (chapter.box, box_from_corners),
        (chapter.box, box_by_scipy),
        (chapter.cityscapes, count_with_sets),
        (chapter.outline, vertices_from_the_coarse_end),
    ],
)
def test_right_answers_are_accepted_however_they_are_written(exercise, answer):
    assert exercise.verdict(answer) == ("✓", "")
