"""One panoptic map out of masks that overlap and a map of classes.

Kirillov, He, Girshick, Rother, Dollár. "Panoptic Segmentation." CVPR 2019, section 6.
https://arxiv.org/abs/1801.00868

    objects, best first     each keeps what is still free; one that lost too much is dropped
    stuff                   gets the pixels that are left; a class that is left too few is dropped
    the rest                stays void
"""

from collections.abc import Collection

import torch
from torch import Tensor

from segcourse.ops.labels import IGNORE, check_labels, shorten
from segcourse.ops.panoptic import DIVISOR


def merge_panoptic(
    masks: Tensor,
    scores: Tensor,
    classes: Tensor,
    stuff: Tensor,
    *,
    score_threshold: float = 0.5,
    overlap_threshold: float = 0.5,
    min_stuff_area: int = 4096,
    divisor: int = DIVISOR,
) -> Tensor:
    """Panoptic ids of an image: (D, H, W) bool, (D,), (D,), (H, W) -> (H, W) int64.

    Args:
        masks: of the objects.
        scores: of the objects; they are painted in this order.
        classes: of the objects.
        stuff: the stuff class of every pixel, or IGNORE where it is none.
        score_threshold: objects below are dropped.
        overlap_threshold: the largest share of an object's mask that better objects may cover;
            above it, the object is dropped. This is the share that panopticapi and detectron2 call
            so. The ``overlap_mask_area_threshold`` of transformers is the share that must be left.
        min_stuff_area: pixels that a stuff class needs; 64 x 64 in the paper.
        divisor: of the ids, larger than the number of objects.

    Raises:
        TypeError: if the masks are not boolean, or stuff holds no integers.
        ValueError: if the counts or sizes do not agree, a class is none, or the objects are too
            many for the divisor.
    """
    stuff = _check_parts(masks, scores, classes, stuff)
    _check_count(int((scores >= score_threshold).sum()), divisor)
    ids = torch.full_like(stuff, IGNORE * divisor, dtype=torch.int64)
    free = torch.ones_like(stuff, dtype=torch.bool)
    number = 0
    for index in scores.argsort(descending=True, stable=True).tolist():
        visible = masks[index] & free
        area, seen = int(masks[index].sum()), int(visible.sum())
        if scores[index] < score_threshold or seen == 0 or area - seen > overlap_threshold * area:
            continue
        number += 1
        ids[visible] = int(classes[index]) * divisor + number
        free &= ~visible
    for label in stuff[free].unique().tolist():
        own = free & (stuff == label)
        if label != IGNORE and own.sum() >= min_stuff_area:
            ids[own] = label * divisor
    return ids


def merge_by_argmax(
    logits: Tensor,
    classes: Tensor,
    things: Collection[int],
    *,
    min_area: int = 5,
    divisor: int = DIVISOR,
) -> Tensor:
    """Panoptic ids where every mask competes for every pixel: (D, H, W), (D,) -> (H, W) int64.

    DETR's way (https://arxiv.org/abs/2005.12872, section 4.4): every pixel goes to the mask with
    the largest logit, masks of one stuff class become one segment, and masks that got fewer than
    ``min_area`` pixels are dropped, after which the rest compete again. Without masks all is void.

    ``post_process_panoptic_segmentation`` of transformers differs: a pixel goes to the mask with
    the largest product of its probability and the query's score. A mask is dropped unless it gets
    more than 80 % of the pixels where this product is at least 0.5, before masks of one class are
    joined: two masks that share a sky evenly are both lost. Pixels of dropped masks become
    background instead of going to the next mask. Classes are joined only where
    ``label_ids_to_fuse`` names them, and a segment after a joined one continues counting from the
    joined segment's id, so that two objects may receive the same id.

    Args:
        logits: of masks that are certain enough, stuff and things alike.
        classes: of the masks.
        things: classes whose masks stay apart.
        min_area: pixels that a segment must get.
        divisor: of the ids, larger than the number of masks.

    Raises:
        ValueError: if the counts do not agree, a class is none, or the masks are too many for the
            divisor.
    """
    if logits.ndim != 3 or classes.shape != (len(logits),):
        raise ValueError(
            f"masks (D, H, W) and D classes are wanted, but {tuple(logits.shape)} and "
            f"{tuple(classes.shape)} came: pass those of one image."
        )
    _check_classes(classes)
    _check_count(len(logits), divisor)
    while len(logits):
        owner = logits.argmax(dim=0)
        own = [
            int(label) * divisor + (number if label in things else 0)
            for number, label in enumerate(classes.tolist(), start=1)
        ]
        ids = torch.tensor(own, device=owner.device)[owner]
        segments, pixels = ids.unique(return_counts=True)
        size = dict(zip(segments.tolist(), pixels.tolist(), strict=True))
        stays = torch.tensor([size.get(segment, 0) >= min_area for segment in own])
        if stays.all():
            return ids
        logits, classes = logits[stays], classes[stays]
    return torch.full(logits.shape[1:], IGNORE * divisor, dtype=torch.int64, device=logits.device)


def _check_parts(masks: Tensor, scores: Tensor, classes: Tensor, stuff: Tensor) -> Tensor:
    """Refuse parts that are not of one image: -> the stuff, in a type that can be compared."""
    if masks.dtype != torch.bool:
        raise TypeError(f"masks must be boolean, but their dtype is {masks.dtype}: threshold them.")
    if masks.shape[1:] != stuff.shape or not len(masks) == len(scores) == len(classes):
        raise ValueError(
            f"masks (D, H, W), D scores, D classes and stuff (H, W) are wanted, but "
            f"{tuple(masks.shape)}, {len(scores)}, {len(classes)} and {tuple(stuff.shape)} came: "
            "pass the parts of one image."
        )
    _check_classes(classes)
    return check_labels(stuff, IGNORE, "stuff")


def _check_classes(classes: Tensor) -> None:
    """Refuse numbers that stand for no class, or for void."""
    wrong = [number for number in classes.tolist() if not 0 <= number < IGNORE]
    if wrong:
        raise ValueError(
            f"classes of masks are 0 to {IGNORE - 1}, but these hold {shorten(wrong)}: {IGNORE} "
            "means void; drop masks of no class."
        )


def _check_count(count: int, divisor: int) -> None:
    """Refuse more objects than a panoptic map numbers."""
    if count >= divisor:
        raise ValueError(
            f"{count} objects came, but a panoptic map with divisor={divisor} numbers "
            f"{divisor - 1}: keep the best, or choose a larger divisor."
        )
