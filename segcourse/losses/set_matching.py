"""The loss of a set: predictions are matched with objects one to one, then every pair is compared.

Carion, Massa, Synnaeve, Usunier, Kirillov, Zagoruyko. "End-to-End Object Detection with
Transformers." ECCV 2020, section 3.1. https://arxiv.org/abs/2005.12872

    query 1   car 0.7 ▭ ───────────────── object 2, car ▭      the cheapest of all assignments,
    query 2   no object                                        found by the Hungarian algorithm
    query 3   lamp 0.4 ▯ ──────────────── object 1, lamp ▯     cost = - p(class) + 5 |box| - 2 GIoU
    query 4   car 0.6 ▭ ── no object

A second query for the same car has no partner, so its target is "no object": duplicates cost, and
therefore nothing needs to suppress them. Most queries have no partner, so "no object" weighs less.

Predicted boxes are (centre x, centre y, width, height) as shares of the image, the last logit is
"no object". Targets are Instances: boxes in pixels are divided by the size of the image, which is
that of the target's masks. Half precision is computed in float32.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from segcourse.losses.inputs import at_least_one
from segcourse.ops.boxes import from_cxcywh, generalized_box_iou
from segcourse.ops.instances import Instances, check_instances, normalized_cxcywh
from segcourse.ops.precision import widen, without_autocast

L1_WEIGHT, GIOU_WEIGHT = 5.0, 2.0
EOS_COEF = 0.1  # the weight of "no object", DETR's name for it
FOCAL_ALPHA = 0.25


class Indices(NamedTuple):
    """Which query is matched with which object of an image: P pairs."""

    query: Tensor  # (P,) int64
    target: Tensor  # (P,) int64


@torch.no_grad()
def hungarian_match(logits: Tensor, boxes: Tensor, targets: Sequence[Instances]) -> list[Indices]:
    """The cheapest assignment of every image: (N, Q, K + 1), (N, Q, 4) -> min(Q, G) pairs each.

    The class costs its probability, not its logarithm, so that it weighs about as much as a box.
    DETR calls this ``HungarianMatcher``.

    Raises:
        TypeError, ValueError: if predictions and targets do not belong together, or a prediction
            is nan.
    """
    logits, boxes, targets = _check_predictions(logits, boxes, targets)
    found = []
    for probability, own, target in zip(logits.softmax(dim=-1), boxes, targets, strict=True):
        true = _normalized_boxes(target, boxes)
        with without_autocast(boxes.device):
            distance = torch.cdist(own, true, p=1)
        giou = generalized_box_iou(from_cxcywh(own), from_cxcywh(true))
        cost = L1_WEIGHT * distance - GIOU_WEIGHT * giou - probability[:, target.labels]
        pairs = linear_sum_assignment(cost.cpu().double().numpy())
        found.append(Indices(*map(torch.as_tensor, pairs)))
    return found


def set_loss(
    logits: Tensor,
    boxes: Tensor,
    targets: Sequence[Instances],
    *,
    indices: Sequence[Indices] | None = None,
    eos_coef: float = EOS_COEF,
) -> dict[str, Tensor]:
    """Losses of a batch: (N, Q, K + 1), (N, Q, 4) -> {"class", "box", "giou"}, weighted, scalars.

    The losses of boxes are divided by the number of objects in the batch; the cross-entropy is a
    weighted mean over all queries, in which "no object" weighs ``eos_coef``.

    Args:
        logits: the last class is "no object".
        boxes: of the queries.
        targets: the objects of every image.
        indices: the matched pairs of every image; the cheapest assignment by default.
        eos_coef: 0.1 in the paper.

    Raises:
        TypeError, ValueError: as ``hungarian_match``, and if ``eos_coef`` is not positive.
    """
    if not eos_coef > 0:
        raise ValueError(f"eos_coef={eos_coef}: 'no object' needs a weight above 0, 0.1 is usual.")
    logits, boxes, targets = _check_predictions(logits, boxes, targets)
    if indices is None:
        indices = hungarian_match(logits, boxes, targets)
    no_object = logits.shape[-1] - 1
    classes = torch.full(logits.shape[:2], no_object, device=logits.device)
    for row, pair, target in zip(classes, indices, targets, strict=True):
        row[pair.query] = target.labels[pair.target]
    weight = logits.new_ones(no_object + 1)
    weight[no_object] = eos_coef
    matched = torch.cat([own[pair.query] for own, pair in zip(boxes, indices, strict=True)])
    true_boxes = torch.cat(
        [_normalized_boxes(t, boxes)[pair.target] for t, pair in zip(targets, indices, strict=True)]
    )
    giou = generalized_box_iou(from_cxcywh(matched), from_cxcywh(true_boxes)).diagonal()
    number = at_least_one(torch.tensor(sum(len(target.labels) for target in targets)))
    return {
        "class": F.cross_entropy(logits.transpose(1, 2), classes, weight=weight),
        "box": L1_WEIGHT * (matched - true_boxes).abs().sum() / number,
        "giou": GIOU_WEIGHT * (1 - giou).sum() / number,
    }


def set_mask_loss(
    masks: Tensor, targets: Sequence[Tensor], indices: Sequence[Indices]
) -> dict[str, Tensor]:
    """Losses of the masks of matched queries: (N, Q, h, w) -> {"focal", "mask_dice"}, scalars.

    Predicted masks are upsampled to the size of the true ones. The focal loss (alpha 0.25, gamma 2)
    is a mean over pixels, Dice compares whole masks, (2 I + 1) / (S + T + 1); both are summed over
    the pairs and divided by the number of objects.

    Args:
        masks: logits of every query.
        targets: (G, H, W) bool, the true masks of every image.
        indices: the matched pairs of every image.

    Raises:
        ValueError: if there are not as many targets and indices as images.
    """
    if not len(masks) == len(targets) == len(indices):
        raise ValueError(
            f"masks of {len(masks)} images came with {len(targets)} targets and {len(indices)} "
            "lists of indices: give one of each for every image."
        )
    (masks,) = widen(masks)
    number = at_least_one(torch.tensor(sum(len(target) for target in targets)))
    focal = dice = masks[:, :0].sum()  # 0, whatever unmatched queries predict
    for own, target, pair in zip(masks, targets, indices, strict=True):
        logits = _upsample(own[pair.query], target.shape[-2:]).flatten(1)
        true = target[pair.target].flatten(1).to(logits.dtype)
        p = logits.sigmoid()
        right = torch.where(true > 0, p, 1 - p)
        alpha = torch.where(true > 0, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, true, reduction="none")
        focal = focal + (alpha * (1 - right) ** 2 * cross_entropy).mean(dim=1).sum()
        shared, sizes = (p * true).sum(dim=1), p.sum(dim=1) + true.sum(dim=1)
        dice = dice + (1 - (2 * shared + 1) / (sizes + 1)).sum()
    return {"focal": focal / number, "mask_dice": dice / number}


def _upsample(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation: (P, h, w) -> (P, H, W)."""
    return F.interpolate(masks[:, None], size=tuple(size), mode="bilinear")[:, 0]


def _normalized_boxes(target: Instances, like: Tensor) -> Tensor:
    """The true boxes as DETR predicts them: -> (G, 4) of the type of the predictions."""
    return normalized_cxcywh(target.boxes.to(like.dtype), target.masks.shape[-2:])


def _check_predictions(
    logits: Tensor, boxes: Tensor, targets: Sequence[Instances]
) -> tuple[Tensor, Tensor, list[Instances]]:
    """Predictions in at least float32 and labels in int64, if they belong together.

    Raises:
        TypeError: as ``check_instances``.
        ValueError: if shapes or counts differ, a prediction is nan, or as ``check_instances``.
    """
    if logits.ndim != 3 or boxes.shape != (*logits.shape[:2], 4) or len(targets) != len(logits):
        raise ValueError(
            f"logits (N, Q, K + 1), boxes (N, Q, 4) and N targets are wanted, but "
            f"{tuple(logits.shape)}, {tuple(boxes.shape)} and {len(targets)} came."
        )
    if logits.isnan().any() or boxes.isnan().any():
        raise ValueError(
            "predicted logits or boxes are nan, which nothing can be matched with: the training "
            "has diverged; lower the learning rate, or clip the gradients."
        )
    classes = logits.shape[-1] - 1
    checked = [check_instances(each, each.masks.shape[-2:], classes) for each in targets]
    return *widen(logits), *widen(boxes), checked
