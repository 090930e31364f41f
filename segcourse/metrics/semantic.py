"""Semantic metrics: all of them are read off one confusion matrix, and matrices add up.

    preds  (N, H, W) ┐                          ┌ iou, dice, recall, ...   one score per class
                     ├→ confusion matrix (K, K) ┤
    target (N, H, W) ┘   sum over the batches   └ mean_iou, micro_iou, ... one number

Rows are the target, columns the prediction. The conventions, said once for every function here:

- **Void.** Pixels whose target is ``ignore_index`` are not counted, whatever was predicted there.
- **Absent class.** A score whose denominator is zero is nan, because there was nothing to get
  right or wrong, and means leave it out. ``zero_division=0.0`` or ``zero_division=1.0`` give such a
  class this score instead, as in scikit-learn. A class that occurs in the prediction alone is not
  absent: its IoU is 0.
- **Averages are in the name.** ``mean_*`` averages over classes (macro), ``micro_*`` over pixels,
  ``frequency_weighted_*`` weighs classes by their true pixels.
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

_CHUNK = 1 << 15  # pixels counted at once: their labels and keys stay in the cache
_COLUMNS = IGNORE + 1  # one per value that a target may hold


def confusion_matrix(
    preds: Tensor, target: Tensor, num_classes: int, *, ignore_index: int = IGNORE
) -> Tensor:
    """Pixels by true class (row) and predicted class (column): two (N, H, W) -> (K, K) int64.

    One image (H, W), a batch (N, H, W) or a list of pixels (P,), labels of any integer type. The
    pixels are counted on the CPU, chunk by chunk: one pass makes a key ``256 preds + target`` and
    counts the keys, so that void is a column to drop and a label out of range is one to complain
    about.

    Args:
        preds: the predicted class of every pixel; never void.
        target: the true class of every pixel, or ``ignore_index``.
        num_classes: K.
        ignore_index: pixels with this target are not counted; it may be one of the K classes.

    Raises:
        TypeError: if an argument is no tensor of integers.
        ValueError: if the shapes differ, are none of these, or a label is out of range.
    """
    check_label_maps(preds, target, num_classes, axes=(1, 2, 3))
    if not 0 <= ignore_index < _COLUMNS:  # no column of its own: void takes that of IGNORE
        target = check_labels(target, num_classes, ignore_index=ignore_index).long()
        target, ignore_index = target.masked_fill(target == ignore_index, IGNORE), IGNORE
    ours, true = preds.cpu().numpy().reshape(-1), target.cpu().numpy().reshape(-1)
    counts = np.zeros(num_classes * _COLUMNS, dtype=np.int64)
    key = np.empty(min(_CHUNK, len(true)), dtype=np.int64)
    for start in range(0, len(true), _CHUNK):
        ours_here, true_here = ours[start : start + _CHUNK], true[start : start + _CHUNK]
        if (
            min(ours_here.min(), true_here.min()) < 0
            or ours_here.max() >= num_classes
            or true_here.max() >= _COLUMNS
        ):
            check_ranges(preds, target, num_classes, ignore_index=ignore_index)
        key_here = key[: len(true_here)]
        np.multiply(ours_here, _COLUMNS, out=key_here, dtype=np.int64, casting="unsafe")
        np.add(key_here, true_here, out=key_here, casting="unsafe")
        counts += np.bincount(key_here, minlength=len(counts))
    table = counts.reshape(num_classes, _COLUMNS).T.copy()
    table[ignore_index] = 0
    if table[num_classes:].any():
        check_ranges(preds, target, num_classes, ignore_index=ignore_index)
    return torch.from_numpy(table[:num_classes].copy())


def check_label_maps(
    preds: Tensor, target: Tensor, num_classes: int, *, axes: tuple[int, ...] = (2, 3)
) -> None:
    """Refuse what cannot be two label maps of the same pixels, without looking at the labels.

    ``axes`` are the allowed numbers of axes.
    """
    if isinstance(num_classes, bool) or not isinstance(num_classes, int):
        raise TypeError(f"num_classes must be an int, but is {num_classes!r}: pass len(CLASSES).")
    if not 1 <= num_classes <= IGNORE:
        raise ValueError(
            f"num_classes must be from 1 to {IGNORE}, but is {num_classes}: label {IGNORE} is void."
        )
    for what, labels in (("preds", preds), ("target", target)):
        check_labels(labels.new_empty(0) if isinstance(labels, Tensor) else labels, 1, what)
    if preds.shape != target.shape:
        raise ValueError(
            f"preds has shape {tuple(preds.shape)}, but target {tuple(target.shape)}: resize "
            "the logits to the size of the target before the argmax, and drop axes of length 1."
        )
    if target.ndim not in axes or target.numel() == 0:
        advice = ": undo a one-hot code with .argmax(dim=1)" if target.ndim == 4 else ""
        raise ValueError(
            f"label maps have shape (H, W) or (N, H, W) and at least one pixel, but these have "
            f"{tuple(target.shape)}{advice}."
        )


def check_ranges(
    preds: Tensor, target: Tensor, num_classes: int, *, ignore_index: int = IGNORE
) -> None:
    """Refuse labels out of range, naming them. Only the target may be void."""
    preds = preds.long()
    check_labels(target.long(), num_classes, "target", ignore_index=ignore_index)
    check_labels(preds, num_classes, "preds", ignore_index=ignore_index)
    if not 0 <= ignore_index < num_classes and (preds == ignore_index).any():
        raise ValueError(
            f"preds holds the label {ignore_index} (void), but a prediction must choose one of the "
            f"{num_classes} classes everywhere: void belongs into the target."
        )


def _check_matrix(matrix: Tensor) -> Tensor:
    """A confusion matrix as float64, in which counts are exact up to 2^53: (K, K) -> (K, K)."""
    if not isinstance(matrix, Tensor):
        raise TypeError(
            f"a confusion matrix is a tensor, but this is {type(matrix).__name__}: make it with "
            "confusion_matrix(preds, target, num_classes)."
        )
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.numel() == 0:
        raise ValueError(
            f"a confusion matrix has shape (K, K), but this has {tuple(matrix.shape)}: make it "
            "with confusion_matrix(preds, target, num_classes), and add those of all batches."
        )
    if not (matrix >= 0).all():
        raise ValueError(
            f"a confusion matrix holds counts, but the least entry of this one is "
            f"{matrix.min().item()}: pass sums of confusion_matrix(...), not differences or logits."
        )
    return matrix.double()


def _divide(hit: Tensor, counted: Tensor, zero_division: float = math.nan) -> Tensor:
    """``hit / counted``, ``zero_division`` where nothing was counted: two (K,) -> (K,) float64."""
    return (hit / counted).where(counted > 0, zero_division)


# ------------------------------------------------------------------------- one score per class


def recall(matrix: Tensor, *, zero_division: float = math.nan) -> Tensor:
    """Share of the true pixels of a class that were found, TP / (TP + FN): (K, K) -> (K,).

    Also called class accuracy, sensitivity, true positive rate, producer's accuracy.
    """
    matrix = _check_matrix(matrix)
    return _divide(matrix.diagonal(), matrix.sum(dim=1), zero_division)


def class_accuracy(matrix: Tensor, *, zero_division: float = math.nan) -> Tensor:
    """Another name of :func:`recall`, from which *mean accuracy* takes its name: (K, K) -> (K,)."""
    return recall(matrix, zero_division=zero_division)


def precision(matrix: Tensor, *, zero_division: float = math.nan) -> Tensor:
    """Share of the pixels predicted as a class that are it, TP / (TP + FP): (K, K) -> (K,)."""
    matrix = _check_matrix(matrix)
    return _divide(matrix.diagonal(), matrix.sum(dim=0), zero_division)


def specificity(matrix: Tensor, *, zero_division: float = math.nan) -> Tensor:
    """Share of the other classes' pixels that were left alone, TN / (TN + FP): (K, K) -> (K,).

    High for every rare class whatever the network does: there are so many true negatives.
    """
    matrix = _check_matrix(matrix)
    negatives = matrix.sum() - matrix.sum(dim=1)
    false_positives = matrix.sum(dim=0) - matrix.diagonal()
    return _divide(negatives - false_positives, negatives, zero_division)


def iou(matrix: Tensor, *, zero_division: float = math.nan) -> Tensor:
    """Intersection over union (Jaccard), TP / (TP + FP + FN), of every class: (K, K) -> (K,)."""
    matrix = _check_matrix(matrix)
    hit = matrix.diagonal()
    return _divide(hit, matrix.sum(dim=0) + matrix.sum(dim=1) - hit, zero_division)


def dice(matrix: Tensor, *, zero_division: float = math.nan) -> Tensor:
    """Dice coefficient = F1 of pixels, 2 TP / (2 TP + FP + FN), of every class: (K, K) -> (K,).

    Dice = 2 IoU / (1 + IoU): the two always rank the predictions of a class alike.
    """
    return f_beta(matrix, beta=1.0, zero_division=zero_division)


def f_beta(matrix: Tensor, beta: float = 1.0, *, zero_division: float = math.nan) -> Tensor:
    """F score, in which recall counts ``beta`` times as much as precision: (K, K) -> (K,).

    (1 + beta²) TP / ((1 + beta²) TP + beta² FN + FP): the precision for beta = 0, Dice for 1, and
    nearer to the recall the larger beta is. Its mean over the classes is ``.nanmean()``.

    Raises:
        ValueError: if beta is negative or infinite.
    """
    if not 0 <= beta < math.inf:
        raise ValueError(f"beta={beta} weighs nothing: give a number from 0 on, 2 for instance.")
    matrix = _check_matrix(matrix)
    hit = (1 + beta**2) * matrix.diagonal()
    return _divide(hit, beta**2 * matrix.sum(dim=1) + matrix.sum(dim=0), zero_division)


# ---------------------------------------------------------------- one number for all the classes


def pixel_accuracy(matrix: Tensor) -> float:
    """Share of all pixels that are right; nan if none was counted: (K, K) -> number in [0, 1]."""
    matrix = _check_matrix(matrix)
    return _divide(matrix.trace(), matrix.sum()).item()


def mean_accuracy(matrix: Tensor, *, zero_division: float = math.nan) -> float:
    """Mean over the true classes of their recall (balanced accuracy): (K, K) -> number.

    A mean of recalls: it does not say how much of what was predicted is right.
    """
    return recall(matrix, zero_division=zero_division).nanmean().item()


def mean_precision(matrix: Tensor, *, zero_division: float = math.nan) -> float:
    """Mean precision over the classes that were predicted: (K, K) -> number in [0, 1]."""
    return precision(matrix, zero_division=zero_division).nanmean().item()


def mean_iou(matrix: Tensor, *, zero_division: float = math.nan) -> float:
    """Mean IoU over the classes that occur, the number of the leaderboards: (K, K) -> number."""
    return iou(matrix, zero_division=zero_division).nanmean().item()


def mean_dice(matrix: Tensor, *, zero_division: float = math.nan) -> float:
    """Mean Dice coefficient over the classes that occur: (K, K) -> number in [0, 1]."""
    return dice(matrix, zero_division=zero_division).nanmean().item()


def micro_iou(matrix: Tensor) -> float:
    """IoU of all classes pooled, sum TP / sum (TP + FP + FN): (K, K) -> number in [0, 1].

    Every wrong pixel is a FP of one class and a FN of another, so with A = pixel accuracy this is
    A / (2 - A): it says nothing that pixel accuracy does not.
    """
    accuracy = pixel_accuracy(matrix)
    return accuracy / (2 - accuracy)


def frequency_weighted_iou(matrix: Tensor) -> float:
    """IoU weighted by the share of the class among the true pixels: (K, K) -> number in [0, 1]."""
    matrix = _check_matrix(matrix)
    share = _divide(matrix.sum(dim=1), matrix.sum())
    return (share * iou(matrix, zero_division=0.0)).sum().item()


def cohen_kappa(matrix: Tensor) -> float:
    """Cohen's kappa: how far the agreement is above that of chance: (K, K) -> number up to 1.

    nan if chance agrees completely, that is if target and prediction hold the same single class.
    """
    matrix = _check_matrix(matrix)
    total = matrix.sum()
    chance = (matrix.sum(dim=0) @ matrix.sum(dim=1)) / total**2
    return _divide(matrix.trace() / total - chance, 1 - chance).item()
