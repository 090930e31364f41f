"""Semantic metrics: all of them are read off one confusion matrix, and matrices add up.

    predicted (N, H, W) ┐                          ┌ iou, dice, recall, ...   one score per class
                        ├→ confusion matrix (K, K) ┤
    truth     (N, H, W) ┘   sum over the batches   └ mean_iou, micro_iou, ... one number

Rows are the truth, columns the prediction. The conventions, said once for every function here:

- **Void.** Pixels whose truth is IGNORE are not counted, whatever was predicted there.
- **Absent class.** A score whose denominator is zero is nan, because there was nothing to get
  right or wrong, and means leave it out. ``absent=0.0`` or ``absent=1.0`` make it count as some
  libraries do. A class that occurs in the prediction alone is not absent: its IoU is 0.
- **Averages are in the name.** ``mean_*`` gives every class one vote (macro), ``micro_*`` gives
  every pixel one vote, ``frequency_weighted_*`` weighs classes by their true pixels.
- **Data set.** Sum the matrices of all batches *before* taking a score. The mean of the scores of
  images or batches is another number, and the latter depends on the batch size.

Long, Shelhamer, Darrell, "Fully convolutional networks for semantic segmentation", CVPR 2015,
report pixel accuracy, mean accuracy, mean IoU and frequency weighted IoU by these conventions.
"""

import math

import numpy as np
import torch
from torch import Tensor

from segcourse.ops.labels import IGNORE, check_labels

CHUNK = 1 << 15  # pixels counted at once: their labels and keys stay in the cache
COLUMNS = IGNORE + 1  # one per value that a truth may hold


def confusion_matrix(predicted: Tensor, truth: Tensor, num_classes: int) -> Tensor:
    """Pixels by true class (row) and predicted class (column): two (N, H, W) -> (K, K) int64.

    One image (H, W) or a batch (N, H, W), labels of any integer type. The pixels are counted on
    the CPU, chunk by chunk: one pass makes a key ``256 predicted + truth`` and counts the keys,
    so that void is a column to drop and a label out of range is one to complain about.

    Raises:
        TypeError: if an argument is no tensor of integers.
        ValueError: if the shapes differ, are not (H, W) or (N, H, W), or a label is out of range.
    """
    check_arguments(predicted, truth, num_classes)
    ours, true = predicted.cpu().numpy().reshape(-1), truth.cpu().numpy().reshape(-1)
    counts = np.zeros(num_classes * COLUMNS, dtype=np.int64)
    key = np.empty(min(CHUNK, len(true)), dtype=np.int64)
    for start in range(0, len(true), CHUNK):
        ours_here, true_here = ours[start : start + CHUNK], true[start : start + CHUNK]
        if (
            min(ours_here.min(), true_here.min()) < 0
            or ours_here.max() >= num_classes
            or true_here.max() >= COLUMNS
        ):
            check_ranges(predicted, truth, num_classes)
        key_here = key[: len(true_here)]
        np.multiply(ours_here, COLUMNS, out=key_here, dtype=np.int64, casting="unsafe")
        np.add(key_here, true_here, out=key_here, casting="unsafe")
        counts += np.bincount(key_here, minlength=len(counts))
    table = counts.reshape(num_classes, COLUMNS).T
    if table[num_classes:IGNORE].any():
        check_ranges(predicted, truth, num_classes)
    return torch.from_numpy(np.ascontiguousarray(table[:num_classes]))


def check_arguments(predicted: Tensor, truth: Tensor, num_classes: int) -> None:
    """Refuse what cannot be two label maps of the same pixels, without looking at the labels."""
    if isinstance(num_classes, bool) or not isinstance(num_classes, int):
        raise TypeError(f"num_classes must be an int, but is {num_classes!r}: pass len(CLASSES).")
    if not 1 <= num_classes <= IGNORE:
        raise ValueError(
            f"num_classes must be from 1 to {IGNORE}, but is {num_classes}: label {IGNORE} is void."
        )
    for what, labels in (("predicted", predicted), ("truth", truth)):
        check_labels(labels.new_empty(0) if isinstance(labels, Tensor) else labels, 1, what)
    if predicted.shape != truth.shape:
        raise ValueError(
            f"predicted has shape {tuple(predicted.shape)}, but truth {tuple(truth.shape)}: resize "
            "the logits to the size of the truth before the argmax, and drop axes of length 1."
        )
    if truth.ndim not in (2, 3) or truth.numel() == 0:
        raise ValueError(
            f"label maps have shape (H, W) or (N, H, W) and at least one pixel, but these have "
            f"{tuple(truth.shape)}: undo a one-hot code with .argmax(dim=1)."
        )


def check_ranges(predicted: Tensor, truth: Tensor, num_classes: int) -> None:
    """Refuse labels out of range, naming them. Only the truth may be void."""
    check_labels(truth.long(), num_classes, "truth")
    check_labels(predicted.long(), num_classes, "predicted")
    if (predicted == IGNORE).any():
        raise ValueError(
            f"predicted holds the label {IGNORE} (void), but a prediction must choose one of the "
            f"{num_classes} classes everywhere: void belongs into the truth."
        )


def check_matrix(matrix: Tensor) -> Tensor:
    """A confusion matrix as float64, in which counts are exact up to 2^53: (K, K) -> (K, K)."""
    if not isinstance(matrix, Tensor):
        raise TypeError(
            f"a confusion matrix is a tensor, but this is {type(matrix).__name__}: make it with "
            "confusion_matrix(predicted, truth, num_classes)."
        )
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.numel() == 0:
        raise ValueError(
            f"a confusion matrix has shape (K, K), but this has {tuple(matrix.shape)}: make it "
            "with confusion_matrix(predicted, truth, num_classes), and add those of all batches."
        )
    if not (matrix >= 0).all():
        raise ValueError(
            f"a confusion matrix holds counts, but the least entry of this one is "
            f"{matrix.min().item()}: pass sums of confusion_matrix(...), not differences or logits."
        )
    return matrix.double()


def ratio(hit: Tensor, counted: Tensor, absent: float = math.nan) -> Tensor:
    """``hit / counted``, and ``absent`` where nothing was counted: (K,), (K,) -> (K,) float64."""
    return (hit / counted).where(counted > 0, absent)


# ------------------------------------------------------------------------- one score per class


def recall(matrix: Tensor, *, absent: float = math.nan) -> Tensor:
    """Share of the true pixels of a class that were found, TP / (TP + FN): (K, K) -> (K,).

    Also called class accuracy, sensitivity, true positive rate, producer's accuracy.
    """
    matrix = check_matrix(matrix)
    return ratio(matrix.diagonal(), matrix.sum(dim=1), absent)


def class_accuracy(matrix: Tensor, *, absent: float = math.nan) -> Tensor:
    """Another name of :func:`recall`, from which *mean accuracy* takes its name: (K, K) -> (K,)."""
    return recall(matrix, absent=absent)


def precision(matrix: Tensor, *, absent: float = math.nan) -> Tensor:
    """Share of the pixels predicted as a class that are it, TP / (TP + FP): (K, K) -> (K,)."""
    matrix = check_matrix(matrix)
    return ratio(matrix.diagonal(), matrix.sum(dim=0), absent)


def specificity(matrix: Tensor, *, absent: float = math.nan) -> Tensor:
    """Share of the other classes' pixels that were left alone, TN / (TN + FP): (K, K) -> (K,).

    High for every rare class whatever the network does: there are so many true negatives.
    """
    matrix = check_matrix(matrix)
    negatives = matrix.sum() - matrix.sum(dim=1)
    false_positives = matrix.sum(dim=0) - matrix.diagonal()
    return ratio(negatives - false_positives, negatives, absent)


def iou(matrix: Tensor, *, absent: float = math.nan) -> Tensor:
    """Intersection over union (Jaccard), TP / (TP + FP + FN), of every class: (K, K) -> (K,)."""
    matrix = check_matrix(matrix)
    hit = matrix.diagonal()
    return ratio(hit, matrix.sum(dim=0) + matrix.sum(dim=1) - hit, absent)


def dice(matrix: Tensor, *, absent: float = math.nan) -> Tensor:
    """Dice coefficient = F1 of pixels, 2 TP / (2 TP + FP + FN), of every class: (K, K) -> (K,).

    Dice = 2 IoU / (1 + IoU): the two always rank the predictions of a class alike.
    """
    matrix = check_matrix(matrix)
    return ratio(2 * matrix.diagonal(), matrix.sum(dim=0) + matrix.sum(dim=1), absent)


# ---------------------------------------------------------------- one number for all the classes


def pixel_accuracy(matrix: Tensor) -> float:
    """Share of all pixels that are right; nan if none was counted: (K, K) -> number in [0, 1]."""
    matrix = check_matrix(matrix)
    return ratio(matrix.trace(), matrix.sum()).item()


def mean_accuracy(matrix: Tensor, *, absent: float = math.nan) -> float:
    """Mean over the true classes of their recall (balanced accuracy): (K, K) -> number.

    A mean of recalls: it does not say how much of what was predicted is right.
    """
    return recall(matrix, absent=absent).nanmean().item()


def mean_precision(matrix: Tensor, *, absent: float = math.nan) -> float:
    """Mean precision over the classes that were predicted: (K, K) -> number in [0, 1]."""
    return precision(matrix, absent=absent).nanmean().item()


def mean_iou(matrix: Tensor, *, absent: float = math.nan) -> float:
    """Mean IoU over the classes that occur, the number of the leaderboards: (K, K) -> number."""
    return iou(matrix, absent=absent).nanmean().item()


def mean_dice(matrix: Tensor, *, absent: float = math.nan) -> float:
    """Mean Dice coefficient over the classes that occur: (K, K) -> number in [0, 1]."""
    return dice(matrix, absent=absent).nanmean().item()


def micro_iou(matrix: Tensor) -> float:
    """IoU of all classes pooled, sum TP / sum (TP + FP + FN): (K, K) -> number in [0, 1].

    Every wrong pixel is a FP of one class and a FN of another, so with A = pixel accuracy this is
    A / (2 - A): it says nothing that pixel accuracy does not.
    """
    accuracy = pixel_accuracy(matrix)
    return accuracy / (2 - accuracy)


def frequency_weighted_iou(matrix: Tensor) -> float:
    """IoU weighted by the share of the class among the true pixels: (K, K) -> number in [0, 1]."""
    share = ratio(check_matrix(matrix).sum(dim=1), matrix.sum().double())
    return (share * iou(matrix, absent=0.0)).sum().item()


def kappa(matrix: Tensor) -> float:
    """Cohen's kappa: how far the agreement is above that of chance: (K, K) -> number up to 1.

    nan if chance agrees completely, that is if truth and prediction hold the same single class.
    """
    matrix = check_matrix(matrix)
    total = matrix.sum()
    chance = (matrix.sum(dim=0) @ matrix.sum(dim=1)) / total**2
    return ratio(matrix.trace() / total - chance, 1 - chance).item()
