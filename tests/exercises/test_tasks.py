"""The exercises on tasks accept every right answer and name the usual mistakes."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from segcourse.exercises import tasks as chapter
from segcourse.exercises.core import Exercise, YourTurn
from segcourse.ops.masks import mask_box
from segcourse.ops.panoptic import rgb_to_ids
from segcourse.ops.polygons import mask_to_polygons, polygons_to_mask, simplify
from segcourse.ops.rle import encode_rle

EXERCISES = [value for value in vars(chapter).values() if isinstance(value, Exercise)]
MISTAKES = [
    pytest.param(exercise, mistake, id=f"{exercise.title[:3]} {mistake.answer.__name__}")
    for exercise in EXERCISES
    for mistake in exercise.mistakes
]


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGCOURSE_HOME", str(tmp_path))


def test_there_are_five_with_three_mistakes_each():
    assert [e.title[:3] for e in EXERCISES] == ["1.1", "1.2", "1.3", "1.4", "1.5"]
    assert all(len(e.mistakes) >= 3 and len(e.hints) >= 2 for e in EXERCISES)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.title)
def test_the_solution_passes_and_the_stub_is_not_attempted(exercise):
    assert exercise.verdict(exercise.solution) == ("✓", "")

    def raises(*_):
        raise YourTurn

    for stub in (..., raises):
        assert exercise.verdict(stub) == ("○", ": not attempted yet")


@pytest.mark.parametrize("exercise, mistake", MISTAKES)
def test_every_catalogued_mistake_gets_its_own_advice(exercise, mistake):
    mark, message = exercise.verdict(mistake.answer)
    assert mark == "✗"
    assert message.endswith(mistake.advice)


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
