"""One panoptic map out of masks that overlap and a map of classes: who gets a pixel?

Kirillov, He, Girshick, Rother, Dollár. "Panoptic Segmentation." CVPR 2019, section 6.
https://arxiv.org/abs/1801.00868

    objects, best first     each keeps what is still free; one that lost too much is dropped
    stuff                   gets the pixels that are left; a class that is left too few is dropped
    the rest                stays void
"""

from collections.abc import Collection

import torch
from torch import Tensor

from segcourse.ops.labels import IGNORE
from segcourse.ops.panoptic import DIVISOR


def merge(
    masks: Tensor,
    scores: Tensor,
    classes: Tensor,
    stuff: Tensor,
    *,
    least_score: float = 0.5,
    most_hidden: float = 0.5,
    least_stuff: int = 4096,
) -> Tensor:
    """Panoptic ids of an image: (D, H, W) bool, (D,), (D,), (H, W) -> (H, W) int64.

    Args:
        masks: of the objects.
        scores: of the objects; they are painted in this order.
        classes: of the objects.
        stuff: the stuff class of every pixel, or IGNORE where it is none.
        least_score: objects below are dropped.
        most_hidden: share of an object that better ones may cover; beyond, it is dropped.
        least_stuff: pixels that a stuff class needs; 64 x 64 in the paper.

    Raises:
        TypeError: if the masks are not boolean.
        ValueError: if the counts or sizes do not agree.
    """
    check_parts(masks, scores, classes, stuff)
    ids = torch.full_like(stuff, IGNORE * DIVISOR, dtype=torch.int64)
    free = torch.ones_like(stuff, dtype=torch.bool)
    number = 0
    for index in scores.argsort(descending=True, stable=True).tolist():
        visible = masks[index] & free
        area, seen = int(masks[index].sum()), int(visible.sum())
        if scores[index] < least_score or seen == 0 or area - seen > most_hidden * area:
            continue
        number += 1
        ids[visible] = int(classes[index]) * DIVISOR + number
        free &= ~visible
    for label in stuff[free].unique().tolist():
        own = free & (stuff == label)
        if label != IGNORE and own.sum() >= least_stuff:
            ids[own] = label * DIVISOR
    return ids


def merge_by_argmax(
    logits: Tensor, classes: Tensor, things: Collection[int], *, least: int = 5
) -> Tensor:
    """Panoptic ids where every mask competes for every pixel: (D, H, W), (D,) -> (H, W) int64.

    DETR's way (https://arxiv.org/abs/2005.12872, section 4.4): every pixel goes to the mask with
    the largest logit, masks of one stuff class become one segment, and masks that got hardly a
    pixel are dropped, after which the rest compete again. Without masks all is void.

    Args:
        logits: of masks that are certain enough, stuff and things alike.
        classes: of the masks.
        things: classes whose masks stay apart.
        least: pixels that a mask must get.

    Raises:
        ValueError: if the counts do not agree.
    """
    if logits.ndim != 3 or classes.shape != (len(logits),) or len(logits) >= DIVISOR:
        raise ValueError(
            f"masks (D, H, W) and D classes are wanted, fewer than {DIVISOR}, but "
            f"{tuple(logits.shape)} and {tuple(classes.shape)} came: keep the best of one image."
        )
    while len(logits):
        owner = logits.argmax(dim=0)
        own = [
            label * DIVISOR + (number if label in things else 0)
            for number, label in enumerate(classes.tolist(), start=1)
        ]
        ids = torch.tensor(own, device=owner.device)[owner]
        segments, pixels = ids.unique(return_counts=True)
        size = dict(zip(segments.tolist(), pixels.tolist(), strict=True))
        stays = torch.tensor([size.get(segment, 0) >= least for segment in own])
        if stays.all():
            return ids
        logits, classes = logits[stays], classes[stays]
    return torch.full(logits.shape[1:], IGNORE * DIVISOR, dtype=torch.int64, device=logits.device)


def check_parts(masks: Tensor, scores: Tensor, classes: Tensor, stuff: Tensor) -> None:
    """Refuse parts that are not of one image."""
    if masks.dtype != torch.bool:
        raise TypeError(f"masks must be boolean, but their dtype is {masks.dtype}: threshold them.")
    if masks.shape[1:] != stuff.shape or not len(masks) == len(scores) == len(classes):
        raise ValueError(
            f"masks (D, H, W), D scores, D classes and stuff (H, W) are wanted, but "
            f"{tuple(masks.shape)}, {len(scores)}, {len(classes)} and {tuple(stuff.shape)} came: "
            "pass the parts of one image."
        )
    if len(scores) >= DIVISOR:
        raise ValueError(
            f"{len(scores)} objects came, but a panoptic map numbers {DIVISOR - 1}: keep the best."
        )
