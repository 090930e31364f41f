"""The loss of a set: queries are matched with objects one to one, then every pair is compared.

Carion, Massa, Synnaeve, Usunier, Kirillov, Zagoruyko. "End-to-End Object Detection with
Transformers." ECCV 2020, section 3.1. https://arxiv.org/abs/2005.12872

    query 1   car 0.7 ▭ ───────────────── object 2, car ▭      the cheapest of all assignments:
    query 2   nothing   ╲                                      the Hungarian algorithm
    query 3   lamp 0.4 ▯ ──────────────── object 1, lamp ▯     cost = - p(class) + 5 |box| - 2 GIoU
    query 4   car 0.6 ▭ ── no object

A second query for the same car finds no partner, so it learns to say "no object": duplicates are
unlearnt, and nothing need suppress them. Most queries have no partner, so "no object" weighs less.

Boxes are (centre x, centre y, width, height) as shares of the image, classes run from 0, and the
last logit is "no object".
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from segcourse.losses.pixelwise import at_least_one
from segcourse.ops.boxes import from_cxcywh, generalized_box_iou

L1_WEIGHT, GIOU_WEIGHT = 5.0, 2.0
NO_OBJECT_WEIGHT = 0.1
FOCAL_ALPHA = 0.25


class ObjectSet(NamedTuple):
    """The objects of an image, in no order: G of them."""

    labels: Tensor  # (G,) int64 from 0
    boxes: Tensor  # (G, 4) centre x, centre y, width, height, in [0, 1]


class Pairs(NamedTuple):
    """Who was matched with whom, in an image or in a batch: P pairs."""

    queries: Tensor  # (P,) int64
    objects: Tensor  # (P,) int64


@torch.no_grad()
def match_sets(logits: Tensor, boxes: Tensor, objects: ObjectSet) -> Pairs:
    """The cheapest assignment of an image: (Q, K + 1), (Q, 4) -> min(Q, G) pairs.

    The class costs its probability, not its logarithm, so that it weighs about as much as a box.

    Raises:
        TypeError, ValueError: as ``check_sets``.
    """
    check_sets(logits[None], boxes[None], [objects])
    cost = -logits.softmax(dim=-1)[:, objects.labels]
    cost += L1_WEIGHT * torch.cdist(boxes, objects.boxes.to(boxes.dtype), p=1)
    cost -= GIOU_WEIGHT * generalized_box_iou(from_cxcywh(boxes), from_cxcywh(objects.boxes))
    queries, matched = linear_sum_assignment(cost.cpu().double().numpy())
    return Pairs(torch.as_tensor(queries), torch.as_tensor(matched))


def set_loss(
    logits: Tensor,
    boxes: Tensor,
    objects: Sequence[ObjectSet],
    *,
    pairs: Sequence[Pairs] | None = None,
    no_object_weight: float = NO_OBJECT_WEIGHT,
) -> dict[str, Tensor]:
    """Losses of a batch: (N, Q, K + 1), (N, Q, 4) -> {"class", "box", "giou"}, weighted, scalars.

    The losses of boxes are divided by the number of objects in the batch; the cross-entropy is a
    weighted mean over all queries, in which "no object" weighs ``no_object_weight``.

    Args:
        logits: the last class is "no object".
        boxes: of the queries.
        objects: of every image.
        pairs: who answers for whom; the cheapest assignment by default.
        no_object_weight: 0.1 in the paper.

    Raises:
        TypeError, ValueError: as ``check_sets``.
    """
    check_sets(logits, boxes, objects)
    if pairs is None:
        images = zip(logits, boxes, objects, strict=True)
        pairs = [match_sets(*image) for image in images]
    nothing = logits.shape[-1] - 1
    wanted = torch.full(logits.shape[:2], nothing, device=logits.device)
    for row, pair, each in zip(wanted, pairs, objects, strict=True):
        row[pair.queries] = each.labels[pair.objects]
    weight = logits.new_ones(nothing + 1)
    weight[nothing] = no_object_weight
    guess = torch.cat([own[pair.queries] for own, pair in zip(boxes, pairs, strict=True)])
    truth = torch.cat([own.boxes[pair.objects] for own, pair in zip(objects, pairs, strict=True)])
    overlap = generalized_box_iou(from_cxcywh(guess), from_cxcywh(truth)).diagonal()
    number = at_least_one(torch.tensor(sum(len(each.labels) for each in objects)))
    return {
        "class": F.cross_entropy(logits.transpose(1, 2), wanted, weight=weight),
        "box": L1_WEIGHT * (guess - truth).abs().sum() / number,
        "giou": GIOU_WEIGHT * (1 - overlap).sum() / number,
    }


def set_mask_loss(
    masks: Tensor, truths: Sequence[Tensor], pairs: Sequence[Pairs]
) -> dict[str, Tensor]:
    """Losses of the masks of matched queries: (N, Q, h, w) -> {"focal", "mask_dice"}, scalars.

    Masks are enlarged to the size of the truth. Focal loss (alpha 0.25, gamma 2) is a mean over
    pixels, Dice compares whole masks, (2 I + 1) / (S + T + 1); both are summed over the pairs and
    divided by the number of objects.

    Args:
        masks: logits of every query.
        truths: (G, H, W) bool, of every image.
        pairs: who answers for whom, of every image.

    Raises:
        ValueError: if there are not as many truths and pairs as images.
    """
    if not len(masks) == len(truths) == len(pairs):
        raise ValueError(
            f"masks of {len(masks)} images came with {len(truths)} truths and {len(pairs)} lists "
            "of pairs: give one of each for every image."
        )
    number = at_least_one(torch.tensor(sum(len(truth) for truth in truths)))
    focal, dice = masks.sum() * 0, masks.sum() * 0
    for own, truth, pair in zip(masks, truths, pairs, strict=True):
        logits = resize_maps(own[pair.queries], truth.shape[-2:]).flatten(1)
        target = truth[pair.objects].flatten(1).to(logits.dtype)
        p = logits.sigmoid()
        right = torch.where(target > 0, p, 1 - p)
        alpha = torch.where(target > 0, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
        plain = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        focal = focal + (alpha * (1 - right) ** 2 * plain).mean(dim=1).sum()
        shared, sizes = (p * target).sum(dim=1), p.sum(dim=1) + target.sum(dim=1)
        dice = dice + (1 - (2 * shared + 1) / (sizes + 1)).sum()
    return {"focal": focal / number, "mask_dice": dice / number}


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation: (P, h, w) -> (P, H, W)."""
    return F.interpolate(maps[:, None], size=tuple(size), mode="bilinear")[:, 0]


def check_sets(logits: Tensor, boxes: Tensor, objects: Sequence[ObjectSet]) -> None:
    """Refuse queries and objects that do not belong together.

    Raises:
        ValueError: if shapes or counts differ, a label is no class, or a box is not in [0, 1].
    """
    if logits.ndim != 3 or boxes.shape != (*logits.shape[:2], 4) or len(objects) != len(logits):
        raise ValueError(
            f"logits (N, Q, K + 1), boxes (N, Q, 4) and N sets of objects are wanted, but "
            f"{tuple(logits.shape)}, {tuple(boxes.shape)} and {len(objects)} came."
        )
    classes = logits.shape[-1] - 1
    for labels, corners in objects:
        if corners.shape != (len(labels), 4):
            raise ValueError(
                f"{len(labels)} labels came with boxes {tuple(corners.shape)}: give each one."
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(
                f"labels run from 0 to {classes - 1}, but these from {int(labels.min())} to "
                f"{int(labels.max())}: {classes} is 'no object', and there is no background 0."
            )
        if len(labels) and not (corners.min() >= 0 and corners.max() <= 1):
            raise ValueError(
                f"boxes are shares of the image, 0 to 1, but reach {corners.max().item():g}: turn "
                "corners in pixels into (centre x, centre y, width, height) and divide by the "
                "image's width and height."
            )
