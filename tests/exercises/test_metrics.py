"""The metrics exercises accept every right answer and name the usual mistakes."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion

from segcourse.exercises import metrics as chapter
from segcourse.metrics import boundary, semantic


def dice_in_numpy(preds, target):
    p, t = preds.numpy().astype(int), target.numpy().astype(int)
    with np.errstate(invalid="ignore"):
        return np.divide(2 * (p * t).sum(), p.sum() + t.sum())


def iou_by_loops(matrix):
    scores = []
    for k in range(len(matrix)):
        union = sum(matrix[k, j] + matrix[j, k] for j in range(len(matrix))) - matrix[k, k]
        scores.append(float(matrix[k, k]) / float(union) if union else math.nan)
    return scores


def count_by_einsum(preds, target, num_classes):
    classes = torch.arange(num_classes)
    true = (target[..., None] == classes).double()
    ours = (preds[..., None] == classes).double()
    return torch.einsum("hwi,hwj->ij", true, ours)


def average_by_concatenation(batches, num_classes):
    preds = torch.cat([preds for preds, _ in batches])
    target = torch.cat([target for _, target in batches])
    scores = []
    for label in range(num_classes):
        p, t = (preds == label) & (target != 255), target == label
        if (p | t).any():
            scores.append((p & t).sum() / (p | t).sum())
    return torch.stack(scores).mean()


def band_by_scipy(mask, width):
    core = binary_erosion(np.pad(mask.numpy(), 1), np.ones((3, 3)), iterations=width)
    return mask.numpy() & ~core[1:-1, 1:-1]


def choose_by_table(situation):
    order = ["mean IoU", "boundary IoU", "Hausdorff", "HD95", "ASSD", "mask AP", "PQ"]
    return order[list(chapter.SITUATIONS).index(situation)]


@pytest.mark.parametrize(
    "exercise, answer",
    [
        (chapter.dice, dice_in_numpy),
        (chapter.iou, iou_by_loops),
        (chapter.count, count_by_einsum),
        (chapter.average, average_by_concatenation),
        (chapter.band, band_by_scipy),
        (chapter.choose, choose_by_table),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_right_answers_written_differently_are_accepted(exercise, answer):
    assert exercise.verdict(answer) == ("✓", "")


def test_the_solutions_say_what_the_package_says():
    for preds, target in chapter.MASKS.values():
        matrix = semantic.confusion_matrix(preds.long(), target.long(), 2)
        want = semantic.dice(matrix)[1].item()
        assert chapter.dice_of_masks(preds, target) == pytest.approx(want, nan_ok=True)
    for preds, target, classes in chapter.count.inputs():
        matrix = semantic.confusion_matrix(preds, target, classes)
        assert torch.equal(chapter.count_pairs(preds, target, classes), matrix)
        ours = chapter.iou_from_matrix(matrix).double()
        assert torch.allclose(ours, semantic.iou(matrix), equal_nan=True)
    for mask, width in chapter.band.inputs():
        want = boundary._inner_band(mask.numpy(), width)
        assert np.array_equal(chapter.inner_band(mask, width).numpy(), want)


def test_the_batches_are_divided_differently_and_score_the_same():
    scores = {chapter.mean_iou_of_batches(*case) for case in chapter.average.inputs()}
    assert max(scores) - min(scores) < 1e-6
    wrong = [chapter.mean_of_batches(*case) for case in chapter.average.inputs()]
    assert max(wrong) - min(wrong) > 0.05


def test_every_situation_has_one_of_the_metrics():
    chosen = [chapter.choose_metric(situation) for situation in chapter.SITUATIONS]
    assert len(set(chosen)) == len(chosen) and set(chosen) < set(chapter.METRICS)
