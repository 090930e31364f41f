"""The loss exercises accept every right answer and name the usual mistakes."""

import json
import math
import statistics

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks import report
from segcourse.exercises import losses as chapter
from segcourse.losses.overlap import dice_loss
from segcourse.losses.pixelwise import cross_entropy
from segcourse.losses.weights import median_frequency_weights
from segcourse.metrics.semantic import confusion_matrix, iou


def weights_with_loops(counts):
    counts = counts.numpy()
    frequency = []
    for k in range(counts.shape[1]):
        images = [row for row in counts if row[k]]
        frequency.append(sum(r[k] for r in images) / sum(r.sum() for r in images) if images else 0)
    middle = np.median([f for f in frequency if f])
    return [middle / f if f else 0.0 for f in frequency]


def weights_with_nan(counts):
    room = torch.einsum("nk,n->k", (counts > 0).double(), counts.sum(1).double())
    frequency = counts.sum(0) / room
    return torch.nan_to_num(np.nanmedian(frequency) / frequency, nan=0.0)


def weights_in_place(counts):
    room = counts.clone()
    for row in room:
        row[row > 0] = row.sum().item()
    counts = counts.sum(0)
    counts = counts / room.sum(0).clamp_(min=1)
    middle = statistics.median(counts[counts > 0].tolist())
    counts[counts > 0] = middle / counts[counts > 0]
    return counts.half()


def weights_as_tuple(counts):
    n, k = counts.shape
    sizes = [int(row.sum()) for row in counts]
    shares = {}
    for c in range(k):
        room = sum(sizes[i] for i in range(n) if counts[i, c] > 0)
        if room:
            shares[c] = int(counts[:, c].sum()) / room
    ordered = sorted(shares.values())
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return tuple(middle / shares[c] if c in shares else 0 for c in range(k))


def p_step_by_step(learning_rates, share):
    target, bias = math.log(share) - math.log(1 - share), 0.0
    for rate in learning_rates:
        bias = max(bias - rate, target) if target < 0 else min(bias + rate, target)
    return torch.sigmoid(torch.tensor(bias))


def p_clipped(learning_rates, share):
    reach = 1 / (1 + math.exp(-sum(learning_rates)))
    return min(max(share, 1 - reach), reach)


def p_with_numpy(learning_rates, share):
    target = np.log(share / (1 - share))
    bias = np.sign(target) * np.minimum(np.sum(learning_rates), np.abs(target))
    return np.float32(1 / (1 + np.exp(-bias)))


def p_with_tensors(learning_rates, share):
    moved = torch.tensor(learning_rates).sum()
    return torch.logit(torch.tensor(share)).clamp(-moved, moved).sigmoid()


def p_from_the_other_class(learning_rates, share):
    return 1 - chapter.p_after(learning_rates, 1 - share)


def change_with_ifs(report):
    each = chapter.REPORTS[report]
    if each["p at last"] > 10 * each["share"]:
        return "bias"
    return "threshold" if each["IoU tuned"] - each["IoU at 0.5"] > 0.015 else "keep"


def change_by_letter(report):
    return "bias" if report in "AD" else "keep" if report == "C" else "threshold"


def dice_with_loops(logits, target):
    p = logits.softmax(1).movedim(1, -1)[target != 255].numpy()
    t = target[target != 255].numpy()
    losses = []
    for k in np.unique(t):
        hit = p[t == k, k].sum()
        losses.append(1 - 2 * hit / (p[:, k].sum() + (t == k).sum()))
    return np.float32(np.mean(losses))


def dice_with_einsum(logits, target):
    keep = target != 255
    p = F.softmax(logits.permute(0, 2, 3, 1)[keep], dim=-1)
    t = torch.eye(logits.shape[1], dtype=p.dtype)[target[keep]]
    dice = 2 * torch.einsum("nk,nk->k", p, t) / (p.sum(0) + t.sum(0))
    return 1 - dice[t.any(0)].mean()


def dice_in_place(logits, target):
    void = target == 255
    target[void] = 0
    one_hot = F.one_hot(target, logits.shape[1]).movedim(-1, 1).float()
    p = logits.float().softmax(1)
    for plane in (p, one_hot):
        plane.masked_fill_(void[:, None], 0)
    losses = [
        1 - 2 * (a * b).sum() / (a.sum() + b.sum())
        for a, b in zip(p.unbind(1), one_hot.unbind(1), strict=True)
        if b.sum() > 0
    ]
    return float(sum(losses) / len(losses))


def dice_from_f1(logits, target):
    p = logits.softmax(1)
    scores = []
    for k in range(logits.shape[1]):
        true = target == k
        if not true.any():
            continue
        tp = p[:, k][true].sum()
        fp = p[:, k][(target != k) & (target != 255)].sum()
        fn = (1 - p[:, k][true]).sum()
        scores.append((fp + fn) / (2 * tp + fp + fn))
    return torch.stack(scores).mean()


def weighted_with_odds(p, background, foreground):
    logit = torch.logit(p) + math.log(foreground / background)
    return logit.sigmoid()


def weighted_with_loops(p, background, foreground):
    return [foreground * q / (foreground * q + background * (1 - q)) for q in p.tolist()]


def weighted_with_numpy(p, background, foreground):
    p = p.numpy().astype(np.float32)
    return p / (p + (background / foreground) * (1 - p))


def weighted_in_place(p, background, foreground):
    other = (1 - p).mul_(background)
    p *= foreground
    return p.div_(p + other)


def weighted_by_counting(p, background, foreground):
    return 1 - background * (1 - p) / torch.lerp(
        torch.full_like(p, background), torch.full_like(p, foreground), p
    )


def tune_with_confusion(tuning_p, tuning_target, test_p, test_target):
    def score(p, target, threshold):
        matrix = confusion_matrix((p > threshold).long(), target, 2)
        return iou(matrix)[1].nan_to_num().item()

    scores = [score(tuning_p, tuning_target, t / 100) for t in range(1, 100)]
    best = (1 + int(np.argmax(scores))) / 100
    return [best, score(test_p, test_target, best)]


def tune_with_numpy(*sets):
    (p, t), (q, u) = [
        (a.numpy()[b.numpy() != 255], b.numpy()[b.numpy() != 255] == 1)
        for a, b in (sets[:2], sets[2:])
    ]
    grid = np.arange(1, 100) / 100
    found = p[None] > grid[:, None]
    inter, union = (found & t).sum(1), (found | t).sum(1)
    best = grid[np.argmax(inter / np.maximum(union, 1))]
    guess = q > best
    return np.array([best, (guess & u).sum() / max((guess | u).sum(), 1)])


def tune_with_a_float32_grid(tuning_p, tuning_target, test_p, test_target):
    best, best_score = None, -1.0
    for threshold in torch.arange(1, 100) / 100:
        score = of(tuning_p, tuning_target, threshold)
        if score > best_score:
            best, best_score = threshold, score
    return best, of(test_p, test_target, best)


def of(p, target, threshold):
    keep = target != 255
    found, there = p[keep] > threshold, target[keep].bool()
    union = (found | there).sum()
    return (found & there).sum() / union if union else torch.tensor(0.0)


def tune_in_place(tuning_p, tuning_target, test_p, test_target):
    for p, target in ((tuning_p, tuning_target), (test_p, test_target)):
        p[target == 255] = -1
        target[target == 255] = 0
    scores = {t / 100: of(tuning_p, tuning_target, t / 100) for t in range(99, 0, -1)}
    top = max(scores.values())
    best = min(t for t, score in scores.items() if score == top)
    return best, of(test_p, test_target, best)


@pytest.mark.parametrize(
    "exercise, answer",
    [
        (chapter.weights, weights_with_loops),
        (chapter.weights, weights_with_nan),
        (chapter.weights, weights_as_tuple),
        (chapter.weights, median_frequency_weights),
        (chapter.weights, lambda counts: median_frequency_weights(counts).double().numpy()),
        (chapter.reach, p_step_by_step),
        (chapter.reach, p_clipped),
        (chapter.reach, p_with_numpy),
        (chapter.reach, p_with_tensors),
        (chapter.reach, p_from_the_other_class),
        (chapter.diagnose, change_with_ifs),
        (chapter.diagnose, change_by_letter),
        (chapter.batch_dice, dice_with_loops),
        (chapter.batch_dice, dice_with_einsum),
        (chapter.batch_dice, dice_in_place),
        (chapter.batch_dice, dice_from_f1),
        (chapter.batch_dice, dice_loss),
        (chapter.moved, weighted_with_odds),
        (chapter.moved, weighted_with_loops),
        (chapter.moved, weighted_with_numpy),
        (chapter.moved, weighted_in_place),
        (chapter.moved, weighted_by_counting),
        (chapter.tune, tune_with_confusion),
        (chapter.tune, tune_with_numpy),
        (chapter.tune, tune_with_a_float32_grid),
        (chapter.tune, tune_in_place),
    ],
)
def test_right_answers_written_differently_are_accepted(exercise, answer):
    assert exercise.verdict(answer) == ("✓", "")


def test_weights_in_half_precision_are_near_enough():
    assert chapter.weights.verdict(weights_in_place) == ("✓", "")


@pytest.mark.parametrize("background, foreground", [(1, 1), (1, 9), (3, 0.5)])
def test_the_weighted_probability_has_the_least_loss(background, foreground):
    """20 of 100 pixels that look alike: no other probability costs less."""
    target = (torch.arange(100) < 20).long().reshape(1, 1, 100)
    p = chapter.weighted_probability(torch.tensor([0.2]), background, foreground).item()

    def loss(q):
        logits = torch.full((1, 1, 1, 100), math.log(q / (1 - q)), dtype=torch.float64)
        return cross_entropy(logits, target, weight=(background, foreground)).item()

    assert loss(p) < min(loss(p - 0.01), loss(p + 0.01))


def test_adamw_moves_a_bias_as_the_exercise_says():
    """A model of one bias, trained on a share of 1 %, with a schedule that ends at 0."""
    rates = [0.003 * (1 - step / 160) ** 0.9 for step in range(160)]
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.AdamW([bias])
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        bias.grad = (bias.sigmoid() - 0.01).detach()
        optimizer.step()
    assert bias.sigmoid().item() == pytest.approx(chapter.p_after(rates, 0.01), abs=0.003)


def test_the_reports_are_those_of_the_sweep_and_the_changes_the_best_there():
    rows = json.loads((report.RESULTS / "loss_sweep.json").read_text())["sweep"]
    starts = dict.fromkeys("AD", "zero") | dict.fromkeys("BCE", "prior")
    for letter, told in chapter.REPORTS.items():
        runs = [r for r in rows if r["loss"] == told["loss"] and r["share"] == told["share"]]
        at = {row["start"]: row for row in runs}
        run = at[starts[letter]]
        found = [run["mean_p"][0][0], run["mean_p"][0][-1]]
        found += [run[key][0] for key in ("threshold", "iou", "iou_at_threshold")]
        assert list(told.values())[2:] == [pytest.approx(value, abs=0.0051) for value in found]
        gain_of_start = at["prior"]["iou"][0] - run["iou"][0]
        gain_of_threshold = run["iou_at_threshold"][0] - run["iou"][0]
        best = "bias" if gain_of_start > gain_of_threshold else "threshold"
        if max(gain_of_start, gain_of_threshold) < 0.015:
            best = "keep"
        assert chapter.first_change(letter) == best
