"""The metrics exercises accept every right answer and name the usual mistakes."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, distance_transform_edt

from segcourse import metrics
from segcourse.exercises import metrics as chapter
from segcourse.exercises.core import right_but
from segcourse.metrics import boundary, semantic


def test_dice_needs_a_false_positive_on_an_empty_target_and_a_missed_target():
    cases = [
        ((logits.sigmoid() >= threshold).any().item(), target.any().item())
        for logits, target, threshold in chapter.dice.inputs()
    ]
    assert {(True, True), (True, False), (False, True), (False, False)} <= set(cases)


# ── 3.1 ────────────────────────────────────────────────────────────────────────────────────────


def dice_in_numpy(logits, target, threshold):
    p = 1 / (1 + np.exp(-logits.numpy().astype(np.float64))) >= threshold
    t = target.numpy()
    with np.errstate(invalid="ignore"):
        return np.divide(2 * (p & t).sum(), p.sum() + t.sum())


def dice_by_a_threshold_on_logits(logits, target, threshold):
    preds = logits >= math.log(threshold / (1 - threshold))
    total = preds.sum() + target.sum()
    return 2 * (preds * target).sum() / total  # a tensor; 0 / 0 is nan


def dice_by_counts(logits, target, threshold):
    tp = fp = fn = 0
    for row, line in zip(logits.tolist(), target.tolist(), strict=True):
        for x, true in zip(row, line, strict=True):
            positive = 1 / (1 + math.exp(-x)) >= threshold
            tp += positive and true
            fp += positive and not true
            fn += not positive and true
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan


def dice_by_the_package(logits, target, threshold):
    preds = (torch.sigmoid(logits) >= threshold).long()
    return metrics.dice(metrics.confusion_matrix(preds, target.long(), 2))[1]


def dice_in_place(logits, target, threshold):
    logits.sigmoid_()
    logits.ge_(threshold)
    target = target.to(torch.float16)
    return torch.div(2 * (logits * target).sum(), logits.sum() + target.sum())


# ── 3.2 ────────────────────────────────────────────────────────────────────────────────────────


def iou_by_loops(matrix):
    scores = []
    for k in range(len(matrix)):
        union = sum(matrix[k, j] + matrix[j, k] for j in range(len(matrix))) - matrix[k, k]
        scores.append(float(matrix[k, k]) / float(union) if union else math.nan)
    return scores


def iou_in_numpy(matrix):
    n = matrix.numpy()
    with np.errstate(invalid="ignore"):
        return np.diag(n) / (n.sum(0) + n.sum(1) - np.diag(n))


def iou_by_einsum(matrix):
    n = matrix.double()
    hit = torch.einsum("kk->k", n)
    return hit / (torch.einsum("ij->i", n) + torch.einsum("ij->j", n) - hit)


def iou_from_false_counts(matrix):
    off = matrix.clone().fill_diagonal_(0)
    return tuple((matrix.diag() / (matrix.diag() + off.sum(0) + off.sum(1))).tolist())


def iou_through_dice(matrix):
    d = 2 * matrix.diagonal() / (matrix.sum(0) + matrix.sum(1))
    return d / (2 - d)


# ── 3.3 ────────────────────────────────────────────────────────────────────────────────────────


def shift_by_cases(height, width, shift):
    if shift >= width:
        return [0.0, float(shift)]
    return [(width - shift) / (width + shift), float(shift)]


def shift_by_areas(height, width, shift):
    intersection = height * max(0, width - shift)
    union = 2 * height * width - intersection
    return torch.tensor([intersection / union, shift])


def shift_by_sets(height, width, shift):
    a = {(y, x) for y in range(height) for x in range(width)}
    b = {(y, x + shift) for y, x in a}
    return np.array([len(a & b) / len(a | b), shift])


def shift_in_exact_numbers(height, width, shift):
    return np.float32(max(0, (width - shift) / (width + shift))), np.int16(shift)


def shift_measured(height, width, shift):
    target = torch.zeros(height + 2, 2 * width + shift + 2, dtype=torch.bool)
    preds = target.clone()
    target[1 : 1 + height, 1 : 1 + width] = True
    preds[1 : 1 + height, 1 + shift : 1 + shift + width] = True
    overlap = metrics.iou(metrics.confusion_matrix(preds.long(), target.long(), 2))[1]
    return overlap, metrics.hausdorff_distance(preds, target)


# ── 3.4 ────────────────────────────────────────────────────────────────────────────────────────


def average_by_concatenation(batches, num_classes):
    preds = torch.cat([preds for preds, _ in batches])
    target = torch.cat([target for _, target in batches])
    scores = []
    for label in range(num_classes):
        p, t = (preds == label) & (target != 255), target == label
        if (p | t).any():
            scores.append((p & t).sum() / (p | t).sum())
    return torch.stack(scores).mean()


def average_by_one_matrix(batches, num_classes):
    preds, target = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return metrics.mean_iou(metrics.confusion_matrix(preds, target, num_classes))


def average_by_einsum(batches, num_classes):
    total = torch.zeros(num_classes, num_classes)
    classes = torch.arange(num_classes)
    for preds, target in batches:
        true, ours = (target[..., None] == classes).float(), (preds[..., None] == classes).float()
        total += torch.einsum("nhwi,nhwj->ij", true, ours)
    return iou_by_einsum(total).nanmean()


def average_in_numpy(batches, num_classes):
    n = np.zeros((num_classes, num_classes))
    for preds, target in batches:
        keep = target.numpy() != 255
        np.add.at(n, (target.numpy()[keep], preds.numpy()[keep]), 1)
    with np.errstate(invalid="ignore"):
        return np.nanmean(np.diag(n) / (n.sum(0) + n.sum(1) - np.diag(n)))


def average_by_class_counts(batches, num_classes):
    scores = []
    for k in range(num_classes):
        both = sum(((p == k) & (t == k)).sum().item() for p, t in batches)
        either = sum((((p == k) & (t != 255)) | (t == k)).sum().item() for p, t in batches)
        scores += [both / either] if either else []
    return sum(scores) / len(scores)


# ── 3.5 ────────────────────────────────────────────────────────────────────────────────────────


def band_by_scipy(mask, width):
    core = binary_erosion(np.pad(mask.numpy(), 1), np.ones((3, 3)), iterations=width)
    return mask.numpy() & ~core[1:-1, 1:-1]


def band_by_loops(mask, width):
    height, length = mask.shape
    band = torch.zeros_like(mask)
    for y in range(height):
        for x in range(length):
            window = [
                (y + j, x + i) for j in range(-width, width + 1) for i in range(-width, width + 1)
            ]
            inside = all(0 <= j < height and 0 <= i < length and mask[j, i] for j, i in window)
            band[y, x] = mask[y, x] and not inside
    return band


def band_by_minimum(mask, width):
    framed = torch.nn.functional.pad(mask.double(), [width] * 4)
    core = -torch.nn.functional.max_pool2d(-framed[None], 2 * width + 1, stride=1)[0]
    return (mask.double() - core).int()


def band_by_chessboard_distance(mask, width):
    from scipy.ndimage import distance_transform_cdt

    distance = distance_transform_cdt(np.pad(mask.numpy(), 1), metric="chessboard")[1:-1, 1:-1]
    return ((distance > 0) & (distance <= width)).astype(np.uint8)


def band_by_steps(mask, width):
    core = torch.nn.functional.pad(mask, [1] * 4)
    for _ in range(width):
        core = torch.nn.functional.avg_pool2d(core[None].float(), 3, stride=1, padding=1)[0] > 0.99
    mask &= ~core[1:-1, 1:-1]
    return mask.tolist()


# ── 3.6 ────────────────────────────────────────────────────────────────────────────────────────


def pixel_by_distance_transform(target):
    distance = distance_transform_edt(~target.numpy())
    return np.unravel_index(distance.argmax(), distance.shape)


def pixel_by_loops(target):
    best, place = -1, None
    inside = target.nonzero().tolist()
    for y in range(target.shape[0]):
        for x in range(target.shape[1]):
            nearest = min((y - j) ** 2 + (x - i) ** 2 for j, i in inside)
            if nearest > best:
                best, place = nearest, (y, x)
    return place


def pixel_by_cdist(target):
    everywhere = torch.ones_like(target).nonzero().double()
    nearest = torch.cdist(everywhere, target.nonzero().double()).min(dim=1).values
    return everywhere[nearest.round(decimals=6).argmax()].int()


def pixel_by_trying(target):
    best, place = -1.0, None
    for y, x in (~target).nonzero().tolist():
        alone = torch.zeros_like(target)
        alone[y, x] = True
        distance = metrics.surface_distances(alone, target)[0].item()
        if distance > best + 1e-9:
            best, place = distance, [y, x]
    return place


def pixel_flat(target):
    distance = torch.from_numpy(distance_transform_edt(~target))
    return divmod(int(distance.flatten().argmax()), target.shape[1])


# ── 3.7 ────────────────────────────────────────────────────────────────────────────────────────


def choose_by_table(situation):
    order = ["mean IoU", "boundary IoU", "Hausdorff", "HD95", "ASSD", "mask AP", "PQ"]
    return order[list(chapter.SITUATIONS).index(situation)]


def choose_by_number(situation):
    return np.array(chapter.METRICS)[[2, 3, 4, 5, 6, 7, 8]][
        list(chapter.SITUATIONS).index(situation)
    ]


def choose_by_branches(situation):
    if situation == "rare":
        return "mean IoU"
    if situation in ("objects", "everything"):
        return "mask AP" if situation == "objects" else "PQ"
    if situation == "outline":
        return "boundary IoU"
    return {"worst": "Hausdorff", "strays": "HD95"}.get(situation, "ASSD")


RIGHT = [
    (
        chapter.dice,
        [
            dice_in_numpy,
            dice_by_a_threshold_on_logits,
            dice_by_counts,
            dice_by_the_package,
            dice_in_place,
        ],
    ),
    (
        chapter.iou,
        [
            iou_by_loops,
            iou_in_numpy,
            iou_by_einsum,
            iou_from_false_counts,
            iou_through_dice,
        ],
    ),
    (
        chapter.shift,
        [
            shift_by_cases,
            shift_by_areas,
            shift_by_sets,
            shift_in_exact_numbers,
            shift_measured,
        ],
    ),
    (
        chapter.average,
        [
            average_by_concatenation,
            average_by_one_matrix,
            average_by_einsum,
            average_in_numpy,
            average_by_class_counts,
        ],
    ),
    (
        chapter.band,
        [
            band_by_scipy,
            band_by_loops,
            band_by_minimum,
            band_by_chessboard_distance,
            band_by_steps,
        ],
    ),
    (
        chapter.pixel,
        [
            pixel_by_distance_transform,
            pixel_by_loops,
            pixel_by_cdist,
            pixel_by_trying,
            pixel_flat,
        ],
    ),
    (chapter.choose, [choose_by_table, choose_by_number, choose_by_branches]),
]


@pytest.mark.parametrize(
    "exercise, answer",
    [(exercise, answer) for exercise, answers in RIGHT for answer in answers],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_right_answers_written_differently_are_accepted(exercise, answer):
    assert exercise.verdict(answer) == ("✓", "")


def test_the_solutions_say_what_the_package_says():
    for matrix in (case[0] for case in chapter.iou.inputs()):
        ours = chapter.iou_from_matrix(matrix).double()
        assert torch.allclose(ours, semantic.iou(matrix), equal_nan=True)
    for mask, width in chapter.band.inputs():
        want = boundary._inner_band(mask.numpy(), width)
        assert np.array_equal(chapter.inner_band(mask, width).numpy(), want)


def test_a_shift_has_the_predicted_scores():
    for height in range(1, 7):
        for width in range(1, 7):
            for shift in range(9):
                want = tuple(map(float, shift_measured(height, width, shift)))
                assert chapter.scores_of_a_shift(height, width, shift) == pytest.approx(want)


def test_no_other_background_pixel_is_farther_and_the_distance_bounds_hausdorff():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        target = torch.rand(5, 6, generator=generator) < 0.2
        if target.any():
            row, column = chapter.worst_false_positive(target)
            assert [row, column] == pixel_by_trying(target)
            preds, alone = target.clone(), torch.zeros_like(target)
            preds[row, column] = alone[row, column] = True
            far = metrics.surface_distances(alone, target)[0].item()
            assert far <= 1 or metrics.hausdorff_distance(preds, target) >= far - 1e-9


def test_the_batches_are_divided_differently_and_score_the_same():
    cases = chapter.average.inputs()[:5]
    scores = {chapter.dataset_mean_iou(*case) for case in cases}
    assert max(scores) - min(scores) < 1e-6
    wrong = [chapter.mean_of_batches(*case) for case in cases]
    assert max(wrong) - min(wrong) > 0.05


class TestChoice:
    def test_every_situation_has_one_of_the_metrics(self):
        chosen = [chapter.choose_metric(situation) for situation in chapter.SITUATIONS]
        assert len(set(chosen)) == len(chosen) == len(chapter.METRICS) - 2
        assert set(chosen) < set(chapter.METRICS)

    def test_the_advice_gives_a_reason_for_every_wrong_choice_and_never_the_answer(self):
        assert len(chapter.choose.mistakes) == 7 * 8
        for situation in chapter.SITUATIONS:
            right = chapter.choose_metric(situation)
            for metric in set(chapter.METRICS) - {right}:
                answer = right_but(chapter.choose_metric, {situation: metric})
                mark, message = chapter.choose.verdict(answer)
                assert mark == "✗" and chapter.LIMITS[metric] in message
                assert right.lower() not in message.lower().replace(metric.lower(), "")

    def test_no_choice_at_all_is_not_told_the_answer(self):
        mark, message = chapter.choose.verdict(lambda situation: "Dice")
        assert mark == "✗" and "mean IoU" not in message

    def test_a_name_that_is_no_metric_and_a_dictionary_are_told_apart(self):
        mark, message = chapter.choose.verdict(lambda situation: "Dice")
        assert mark == "✗" and "names that the question lists" in message
        mark, message = chapter.choose.verdict({"rare": "mean IoU"})
        assert mark == "✗" and "function" in message

    def test_the_question_shows_the_situations_and_the_metrics(self):
        shown = repr(chapter.choose)
        assert all(text in shown for text in (*chapter.SITUATIONS.values(), *chapter.METRICS))


def test_flattened_labels_are_accepted_in_the_average():
    def answer(batches, num_classes):
        preds = torch.cat([p.flatten() for p, _ in batches])
        target = torch.cat([t.flatten() for _, t in batches])
        return metrics.mean_iou(metrics.confusion_matrix(preds, target, num_classes))

    assert chapter.average.verdict(answer) == ("✓", "")
