"""The loss exercises accept every right answer and name the usual mistakes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segcourse.exercises import losses as chapter
from segcourse.losses.lovasz import lovasz_weights
from segcourse.losses.overlap import dice_loss
from segcourse.losses.weights import median_frequency_weights


def weights_with_loops(counts):
    counts = counts.numpy()
    frequency = []
    for k in range(counts.shape[1]):
        images = [row for row in counts if row[k]]
        frequency.append(sum(r[k] for r in images) / sum(r.sum() for r in images) if images else 0)
    middle = np.median([f for f in frequency if f])
    return [middle / f if f else 0.0 for f in frequency]


def slope_by_autograd(logits, target):
    logits = logits.clone().requires_grad_()
    F.cross_entropy(logits[None], torch.tensor([target])).backward()
    return logits.grad


def dice_with_loops(logits, target):
    p = logits.softmax(1).movedim(1, -1)[target != 255].numpy()
    t = target[target != 255].numpy()
    losses = []
    for k in np.unique(t):
        hit = p[t == k, k].sum()
        losses.append(1 - 2 * hit / (p[:, k].sum() + (t == k).sum()))
    return np.float32(np.mean(losses))


def hard_by_sorting(probability, threshold, min_kept):
    p = sorted(probability.tolist())
    amount = max(sum(value < threshold for value in p), min_kept)
    return float(np.mean(-np.log(p[:amount])))


def lovasz_with_loops(sorted_truth):
    total, before, steps = int(sum(sorted_truth)), 0.0, []
    for k in range(1, len(sorted_truth) + 1):
        missed = int(sum(sorted_truth[:k]))
        now = 1 - (total - missed) / (total + k - missed)
        steps.append(now - before)
        before = now
    return steps


def constant_by_min(loss, target):
    return min((q / 100 for q in range(1, 100)), key=lambda q: loss(0 * target + q, target))


@pytest.mark.parametrize(
    "exercise, answer",
    [
        (chapter.weights, weights_with_loops),
        (chapter.weights, median_frequency_weights),
        (chapter.slope, slope_by_autograd),
        (chapter.batch_dice, dice_with_loops),
        (chapter.batch_dice, dice_loss),
        (chapter.hard_pixels, hard_by_sorting),
        (chapter.lovasz, lovasz_with_loops),
        (chapter.lovasz, lovasz_weights),
        (chapter.constant, constant_by_min),
    ],
)
def test_right_answers_written_differently_are_accepted(exercise, answer):
    assert exercise.verdict(answer) == ("✓", "")


def test_the_best_constants_of_the_chapter():
    """Cross-entropy wants the share, balanced cross-entropy a half, Dice everything."""
    target = chapter.foreground(5, 100)
    found = [chapter.best_constant(loss, target) for loss in (chapter.plain, chapter.balanced)]
    assert found == pytest.approx([0.05, 0.5])
    assert chapter.best_constant(chapter.overlap, target) == pytest.approx(0.99)
