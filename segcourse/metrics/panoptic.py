"""Panoptic quality: one number for stuff and things together, PQ = SQ x RQ.

Kirillov, He, Girshick, Rother, Dollar. "Panoptic Segmentation." CVPR 2019, section 4.
https://arxiv.org/abs/1801.00868; the rules on void and crowds are those of panopticapi.

    PQ = sum of IoU of the matches / (TP + FP / 2 + FN / 2)
       = mean IoU of the matches   x  TP / (TP + FP / 2 + FN / 2)
              SQ                           RQ

A predicted and a true segment match if their class is the same and their IoU exceeds one half. No
assignment is needed: segments of one map do not overlap, so nobody can have two such partners.

Pixels that the truth leaves void are taken out of a prediction before its IoU is measured, and an
unmatched prediction is no mistake if more than half of it lies on void or on a crowd of its class.
A crowd is never matched and never missed.
"""

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from segcourse.ops.labels import IGNORE, check_integers
from segcourse.ops.panoptic import DIVISOR

ENOUGH = 0.5  # IoU above which two segments match, and share of void that excuses
SEGMENTS = (IGNORE + 1) * DIVISOR  # panoptic ids of an image
GROUPS = ("All", "Things", "Stuff")


class Quality(NamedTuple):
    """Panoptic, segmentation and recognition quality of every class: (K,) each, nan if absent."""

    pq: Tensor
    sq: Tensor
    rq: Tensor


def panoptic_counts(
    predicted: Tensor, truth: Tensor, num_classes: int, *, crowd: Tensor | None = None
) -> Tensor:
    """Sum of IoU, TP, FP and FN of every class: (..., H, W), (..., H, W) -> (K, 4) float64.

    Counts of several batches add up.

    Args:
        predicted: panoptic ids, class * 1000 + object, as ``ops.panoptic.panoptic_ids`` makes them.
        truth: the same of the truth; void is 255 * 1000.
        num_classes: K.
        crowd: (..., H, W) bool, the pixels of the truth's crowds; none by default.

    Raises:
        TypeError: if a map is not of integers, or the crowd not boolean.
        ValueError: if sizes differ, or a class is neither one of the K nor void.
    """
    check_maps(predicted, truth, crowd, num_classes)
    true_segment, found_segment, area = shared_areas(predicted, truth, crowd)
    true, true_of = true_segment.unique(return_inverse=True)
    found, found_of = found_segment.unique(return_inverse=True)
    true_class, true_crowd = true // 2 // DIVISOR % (IGNORE + 1), true % 2 == 1
    found_class = found // DIVISOR % (IGNORE + 1)
    check_classes(true_class, "truth", num_classes)
    check_classes(found_class, "prediction", num_classes)
    true_area, found_area = total(true_of, area, true), total(found_of, area, found)

    void = true_class[true_of] == IGNORE
    same = true_class[true_of] == found_class[found_of]
    excused = torch.where(void | (same & true_crowd[true_of]), area, 0.0)
    on_void = total(found_of, torch.where(void, area, 0.0), found)
    union = found_area[found_of] + true_area[true_of] - area - on_void[found_of]
    iou = area / union.clamp(min=1.0)
    match = same & ~void & ~true_crowd[true_of] & (iou > ENOUGH)

    missed = (true_class != IGNORE) & ~true_crowd
    missed[true_of[match]] = False
    wrong = (found_class != IGNORE) & (total(found_of, excused, found) <= ENOUGH * found_area)
    wrong[found_of[match]] = False
    right = true_class[true_of[match]]
    return torch.stack(
        [
            torch.bincount(right, iou[match], num_classes),
            torch.bincount(right, minlength=num_classes),
            torch.bincount(found_class[wrong], minlength=num_classes),
            torch.bincount(true_class[missed], minlength=num_classes),
        ],
        dim=1,
    ).double()


def shared_areas(
    predicted: Tensor, truth: Tensor, crowd: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Every pair of segments that share pixels: names of the true and the predicted one, pixels.

    A name counts the images before its own: (image * SEGMENTS + id); those of the truth are
    doubled, and one is added for a crowd. Pixels are counted by runs, of which there are far fewer.
    """
    pixels = truth.shape[-2] * truth.shape[-1]
    truth, predicted = truth.long().reshape(-1, pixels), predicted.reshape(-1, pixels)
    images = torch.arange(len(truth), device=truth.device)[:, None] * (2 * SEGMENTS * SEGMENTS)
    joint = torch.add(images, truth, alpha=2 * SEGMENTS)  # one pass over the pixels
    joint += predicted
    if crowd is not None:
        joint += crowd.reshape(-1, pixels) * SEGMENTS
    runs, length = joint.flatten().unique_consecutive(return_counts=True)
    pairs, pair_of = runs.unique(return_inverse=True)
    area = torch.bincount(pair_of, length.double())
    true, found = pairs // SEGMENTS, pairs % SEGMENTS
    return true, true // 2 // SEGMENTS * SEGMENTS + found, area


def total(segment_of: Tensor, area: Tensor, segments: Tensor) -> Tensor:
    """Pixels of every segment: (P,), (P,), (S,) -> (S,) float64."""
    return torch.bincount(segment_of, area, len(segments))


def quality(counts: Tensor) -> Quality:
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
    return Quality(iou / known, sq + 0 * known, tp / known)


def mean_quality(counts: Tensor, things: Collection[int]) -> dict[str, dict[str, float]]:
    """Means over the classes that occur: (K, 4) -> {"All": {"pq", "sq", "rq", "n"}, "Things", ...}.

    The mean of PQ is not the product of the means of SQ and RQ. A group without a class is nan.

    Args:
        counts: of ``panoptic_counts``.
        things: the classes that are things; the others are stuff.

    Raises:
        ValueError: if these are no such counts, or if a thing is not one of their classes.
    """
    each = quality(counts)
    strangers = sorted(set(things) - set(range(len(counts))))
    if strangers:
        raise ValueError(
            f"things {strangers} are no classes of these counts, which have 0 to {len(counts) - 1}."
        )
    thing = torch.tensor([label in set(things) for label in range(len(counts))])
    members = dict(zip(GROUPS, (torch.ones_like(thing), thing, ~thing), strict=True))
    return {
        group: {
            **{name: float(values[own].nanmean()) for name, values in each._asdict().items()},
            "n": int(each.pq[own].isfinite().sum()),
        }
        for group, own in members.items()
    }


def check_maps(predicted: Tensor, truth: Tensor, crowd: Tensor | None, num_classes: int) -> None:
    """Refuse maps that are not of the same images, or hold no panoptic ids."""
    shapes = [tuple(part.shape) for part in (predicted, truth, crowd) if part is not None]
    if len(set(shapes)) > 1 or truth.ndim < 2:
        raise ValueError(
            f"a prediction, a truth and perhaps a crowd of the same images are wanted, maps "
            f"(..., H, W), but {shapes} came: resize none but the prediction, by nearest."
        )
    if crowd is not None and crowd.dtype != torch.bool:
        raise TypeError(f"the crowd must be boolean, but its dtype is {crowd.dtype}: compare it.")
    if not 1 <= num_classes < IGNORE:
        raise ValueError(f"num_classes={num_classes}: choose from 1 to {IGNORE - 1}.")
    for ids, what in ((predicted, "prediction"), (truth, "truth")):
        ids = check_integers(ids, what)
        least, most = ids.aminmax() if ids.numel() else (0, 0)
        if least < 0 or most >= SEGMENTS:
            raise ValueError(
                f"panoptic ids run from 0 to {SEGMENTS - 1}, but those of the {what} from "
                f"{int(least)} to {int(most)}: pack them with ops.panoptic.panoptic_ids."
            )


def check_classes(classes: Tensor, what: str, num_classes: int) -> None:
    """Refuse a class that is neither one of the K nor void."""
    strangers = classes[(classes >= num_classes) & (classes != IGNORE)]
    if len(strangers):
        raise ValueError(
            f"the {what} holds the classes {strangers.unique().tolist()}, but there are 0 to "
            f"{num_classes - 1}, and {IGNORE} for void: map other numbers to these."
        )
