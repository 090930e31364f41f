"""Non-maximum suppression (NMS): of many boxes around one object, keep the best.

    boxes, best first       .9 ┌────┐   .8 ┌────┐   .7     ┌────┐
    overlap with the .9        │    │      │    │ .85      │    │ .1
                               └────┘      └────┘          └────┘
    threshold 0.5              keep        drop            keep

``nms`` calls torchvision's operator, which needs no memory for pairs. ``plain_nms`` is the same
algorithm in a few lines of Python.

Girshick. "Fast R-CNN." ICCV 2015. Bodla et al. "Soft-NMS." ICCV 2017.
"""

import torch
from torch import Tensor

from segcourse.ops.boxes import box_iou, check_boxes
from segcourse.ops.precision import widen


def nms(
    boxes: Tensor, scores: Tensor, *, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """Drop every box that overlaps a better one too much: (N, 4), (N,) -> (M,) indices, best first.

    A box is dropped if its IoU with a better box that is kept is above the threshold. Boxes of
    equal score count as better in the order given.

    Args:
        boxes: of one image; half precision is widened to float32.
        scores: of the boxes.
        iou_threshold: the largest IoU at which both boxes stay.
        labels: (N,) classes, or levels of a pyramid; boxes of different labels never drop each
            other. torchvision's ``batched_nms`` shifts the boxes of each label to a place of their
            own, which rounds them and fails for negative corners; here each label is a call.

    Raises:
        TypeError, ValueError: as ``check_boxes``, for scores or labels that do not fit, for a score
            that is no number, and for a threshold outside [0, 1].
    """
    from torchvision.ops import nms as operator

    labels = _check_candidates(boxes, scores, iou_threshold, labels)
    order = scores.argsort(descending=True, stable=True)
    boxes, labels = widen(boxes.detach())[0][order], labels[order]
    falling = -torch.arange(len(order), device=boxes.device, dtype=boxes.dtype)
    kept = [order[:0]]
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        kept.append(own[operator(boxes[own], falling[own], iou_threshold)])
    return order[torch.cat(kept).sort().values]


def plain_nms(
    boxes: Tensor, scores: Tensor, *, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """What ``nms`` computes, box by box: (N, 4), (N,) -> (M,) indices, best first.

    Arguments and errors are those of ``nms``.
    """
    labels = _check_candidates(boxes, scores, iou_threshold, labels)
    remaining = scores.argsort(descending=True, stable=True)
    kept = [remaining[:0]]
    while len(remaining):
        best, remaining = remaining[:1], remaining[1:]
        kept.append(best)
        overlap = box_iou(boxes[best], boxes[remaining])[0]
        # Python's threshold has more digits than float32, in which 1/3 is larger than 1/3.
        dropped = (overlap.double() > iou_threshold) & (labels[remaining] == labels[best])
        remaining = remaining[~dropped]
    return torch.cat(kept)


def soft_nms(
    boxes: Tensor, scores: Tensor, *, sigma: float = 0.5, score_threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    """Lower the scores of overlapping boxes instead: (N, 4), (N,) -> indices and scores, (M,) each.

    Every score is multiplied by exp(-IoU² / sigma) for each better box; a box whose score falls
    below ``score_threshold`` is dropped. The scores are float32 or wider.

    Raises:
        TypeError, ValueError: as ``nms``, and for a sigma that is not positive.
    """
    _check_candidates(boxes, scores, 0.0, None)
    if sigma <= 0:
        raise ValueError(
            f"soft_nms(sigma={sigma}) cannot be: choose a number above 0, such as 0.5."
        )
    remaining, found, lowered = widen(scores, boxes)[0].clone(), [], []
    while len(remaining) and remaining.max() >= score_threshold:
        best = remaining.argmax()
        found.append(best)
        lowered.append(remaining[best].clone())
        overlap = box_iou(boxes[best][None], boxes)[0]
        remaining *= torch.exp(-overlap.square() / sigma)
        remaining[torch.stack(found)] = -torch.inf
    if not found:
        return scores.argsort()[:0], remaining[:0]
    return torch.stack(found), torch.stack(lowered)


def _check_candidates(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None
) -> Tensor:
    """Refuse what cannot be suppressed: (N, 4), (N,), (N,) or None -> (N,) labels."""
    check_boxes(boxes)
    if boxes.ndim != 2 or scores.shape != boxes.shape[:1]:
        raise ValueError(
            f"boxes (N, 4) and scores (N,) are wanted, but {tuple(boxes.shape)} and "
            f"{tuple(scores.shape)} came: give one score for each box, one image at a time."
        )
    if scores.isnan().any():
        raise ValueError(
            f"{int(scores.isnan().sum())} of {len(scores)} scores are nan, which no order knows: "
            "look for a loss that diverged."
        )
    if not 0 <= iou_threshold <= 1:
        raise ValueError(
            f"iou_threshold={iou_threshold} is no overlap: choose from 0 to 1, such as 0.5."
        )
    if labels is None:
        return torch.zeros_like(scores, dtype=torch.int64)
    if labels.shape != scores.shape:
        raise ValueError(
            f"{len(boxes)} boxes came with labels {tuple(labels.shape)}: give each box one."
        )
    return labels
