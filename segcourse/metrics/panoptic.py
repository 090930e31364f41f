"""Panoptic quality: one number for stuff and things together, PQ = SQ x RQ.

Kirillov, He, Girshick, Rother, Dollar. "Panoptic Segmentation." CVPR 2019, section 4.
https://arxiv.org/abs/1801.00868; the rules on void and crowds are those of panopticapi.

    PQ = sum of IoU of the matches / (TP + FP / 2 + FN / 2)
       = mean IoU of the matches   x  TP / (TP + FP / 2 + FN / 2)
              SQ                           RQ

A predicted and a true segment match if their class is the same and their IoU exceeds one half. No
assignment is needed: segments of one map do not overlap, so no segment has two such partners.

Pixels that the target leaves void are taken out of a prediction before its IoU is measured, and an
unmatched prediction is no mistake if more than half of it lies on void or on a crowd of its class.
A crowd is never matched and never missed. torchmetrics knows no crowds.
"""

import math
from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from segcourse.ops.labels import IGNORE, check_integers
from segcourse.ops.panoptic import DIVISOR

_ENOUGH = 0.5  # IoU above which two segments match, and share of void that excuses
_GROUPS = ("All", "Things", "Stuff")


class PanopticQuality(NamedTuple):
    """Panoptic, segmentation and recognition quality of every class: (K,) each, nan if absent."""

    pq: Tensor
    sq: Tensor
    rq: Tensor


def panoptic_counts(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    *,
    crowd: Tensor | None = None,
    divisor: int = DIVISOR,
    ignore_index: int = IGNORE,
) -> Tensor:
    """Sum of IoU, TP, FP and FN of every class: (..., H, W), (..., H, W) -> (K, 4) float64.

    Counts of several batches add up.

    Args:
        preds: panoptic ids, class * divisor + object, as ``ops.panoptic.panoptic_ids`` makes them.
        target: the same of the truth; void is the class ``ignore_index``.
        num_classes: K.
        crowd: (..., H, W) bool, the pixels of the target's crowds; none by default.
        divisor: with which the ids were made; an image holds fewer objects of a class than this.
        ignore_index: the class that means void, in ``preds`` too; it may be one of the K.

    Raises:
        TypeError: if a map is not of integers, or the crowd not boolean.
        ValueError: if sizes differ, a class is neither one of the K nor void, or the divisor is
            so large that the names of pairs of segments do not fit 64 bits.
    """
    _check_options(num_classes, divisor, ignore_index)
    segments = (max(ignore_index, IGNORE) + 1) * divisor  # panoptic ids of an image
    preds, target = _check_maps(preds, target, crowd, segments)
    true_segment, pred_segment, area = _shared_areas(preds, target, crowd, segments)
    true, true_of = true_segment.unique(return_inverse=True)
    pred, pred_of = pred_segment.unique(return_inverse=True)
    true_class, true_crowd = true // 2 % segments // divisor, true % 2 == 1
    pred_class = pred % segments // divisor
    for classes, what in ((true_class, "target"), (pred_class, "preds")):
        _check_classes(classes, what, num_classes, ignore_index)
    true_area, pred_area = _total(true_of, area, true), _total(pred_of, area, pred)

    void = true_class[true_of] == ignore_index
    same = true_class[true_of] == pred_class[pred_of]
    excused = torch.where(void | (same & true_crowd[true_of]), area, 0.0)
    on_void = _total(pred_of, torch.where(void, area, 0.0), pred)
    union = pred_area[pred_of] + true_area[true_of] - area - on_void[pred_of]
    iou = area / union.clamp(min=1.0)
    match = same & ~void & ~true_crowd[true_of] & (iou > _ENOUGH)

    missed = (true_class != ignore_index) & ~true_crowd
    missed[true_of[match]] = False
    wrong = (pred_class != ignore_index) & (_total(pred_of, excused, pred) <= _ENOUGH * pred_area)
    wrong[pred_of[match]] = False
    right = true_class[true_of[match]]
    return torch.stack(
        [
            torch.bincount(right, iou[match], num_classes),
            torch.bincount(right, minlength=num_classes),
            torch.bincount(pred_class[wrong], minlength=num_classes),
            torch.bincount(true_class[missed], minlength=num_classes),
        ],
        dim=1,
    ).double()


def _shared_areas(
    preds: Tensor, target: Tensor, crowd: Tensor | None, segments: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Every pair of segments that share pixels: names of the true and the predicted one, pixels.

    A name counts the images before its own: (image * segments + id); those of the target are
    doubled, and one is added for a crowd. Pixels are counted by runs, of which there are far fewer.
    """
    target, preds = (ids.reshape(-1, *ids.shape[-2:]) for ids in (target, preds))
    images = torch.arange(len(target), device=target.device)[:, None, None]
    joint = torch.add(images * (2 * segments**2), target, alpha=2 * segments)  # in one pass
    joint += preds
    if crowd is not None:
        joint += crowd.reshape(joint.shape) * segments
    runs, length = joint.flatten().unique_consecutive(return_counts=True)
    pairs, pair_of = runs.unique(return_inverse=True)
    area = torch.bincount(pair_of, length.double())
    true, pred = pairs // segments, pairs % segments
    return true, true // 2 // segments * segments + pred, area


def _total(segment_of: Tensor, area: Tensor, segments: Tensor) -> Tensor:
    """Pixels of every segment: (P,), (P,), (S,) -> (S,) float64."""
    return torch.bincount(segment_of, area, len(segments))


def panoptic_quality(counts: Tensor) -> PanopticQuality:
    """PQ, SQ and RQ of every class, from ``panoptic_counts``: (K, 4) -> three of (K,).

    Raises:
        ValueError: if these are no such counts.
    """
    if counts.ndim != 2 or counts.shape[1] != 4:
        raise ValueError(
            f"counts have shape (K, 4), but these have {tuple(counts.shape)}: add up what "
            "panoptic_counts returns."
        )
    iou, tp, fp, fn = counts.double().unbind(dim=1)
    segments = tp + fp / 2 + fn / 2
    known = torch.where(segments > 0, segments, torch.nan)
    sq = iou / tp.clamp(min=1)  # 0 where nothing matches
    return PanopticQuality(iou / known, sq + 0 * known, tp / known)


def mean_panoptic_quality(counts: Tensor, things: Collection[int]) -> dict[str, dict[str, float]]:
    """Means over the classes that occur: (K, 4) -> {"All": {"pq", "sq", "rq", "n"}, "Things", ...}.

    The mean of PQ is not the product of the means of SQ and RQ. A group without a class is nan.

    Args:
        counts: of ``panoptic_counts``.
        things: the classes that are things; the others are stuff.

    Raises:
        ValueError: if these are no such counts, or if a thing is not one of their classes.
    """
    each = panoptic_quality(counts)
    unknown = sorted(set(things) - set(range(len(counts))))
    if unknown:
        raise ValueError(
            f"things {unknown} are no classes of these counts, which have 0 to {len(counts) - 1}."
        )
    thing = torch.tensor([label in set(things) for label in range(len(counts))])
    members = dict(zip(_GROUPS, (torch.ones_like(thing), thing, ~thing), strict=True))
    return {
        group: {
            **{name: float(values[own].nanmean()) for name, values in each._asdict().items()},
            "n": int(each.pq[own].isfinite().sum()),
        }
        for group, own in members.items()
    }


def _check_options(num_classes: int, divisor: int, ignore_index: int) -> None:
    """Refuse numbers with which no panoptic ids are made."""
    if not 1 <= num_classes < IGNORE:
        raise ValueError(f"num_classes={num_classes}: choose from 1 to {IGNORE - 1}.")
    if divisor < 1 or ignore_index < 0:
        raise ValueError(
            f"divisor={divisor} must be at least 1 and ignore_index={ignore_index} at least 0, "
            "because panoptic ids are class * divisor + object, and none is negative."
        )


def _check_maps(
    preds: Tensor, target: Tensor, crowd: Tensor | None, segments: int
) -> tuple[Tensor, Tensor]:
    """Refuse maps that are not of the same images, or hold no panoptic ids: -> both as int64."""
    for ids, what in ((preds, "preds"), (target, "target")):
        check_integers(ids[:0] if isinstance(ids, Tensor) else ids, what)
    shapes = [tuple(part.shape) for part in (preds, target, crowd) if part is not None]
    if len(set(shapes)) > 1 or target.ndim < 2 or 0 in target.shape[-2:]:
        raise ValueError(
            f"preds, a target and perhaps a crowd of the same images are wanted, maps (..., H, W) "
            f"with pixels, but {shapes} came: resize none but the prediction, by nearest."
        )
    if crowd is not None and crowd.dtype != torch.bool:
        raise TypeError(f"the crowd must be boolean, but its dtype is {crowd.dtype}: compare it.")
    preds, target = preds.long(), target.long()
    for ids, what in ((preds, "preds"), (target, "target")):
        low, high = ids.aminmax() if ids.numel() else (0, 0)  # one pass over the pixels
        if low < 0 or high >= segments:
            raise ValueError(
                f"panoptic ids run from 0 to {segments - 1}, but those of {what} from {int(low)} "
                f"to {int(high)}: pack them with ops.panoptic.panoptic_ids, pass its divisor, and "
                "store them in a type that holds them."
            )
    images = math.prod(target.shape[:-2])
    if images * 2 * segments**2 >= 2**63:
        raise ValueError(
            f"the pairs of segments of {images} images do not fit 64 bits, because an image may "
            f"hold {segments} ids: choose a smaller divisor, or count fewer images at a time."
        )
    return preds, target


def _check_classes(classes: Tensor, what: str, num_classes: int, ignore_index: int) -> None:
    """Refuse a class that is neither one of the K nor void."""
    unknown = classes[(classes >= num_classes) & (classes != ignore_index)]
    if len(unknown):
        raise ValueError(
            f"{what} holds the classes {unknown.unique().tolist()}, but there are 0 to "
            f"{num_classes - 1}, and {ignore_index} for void: map other numbers to these, and pass "
            "the divisor of the ids."
        )
