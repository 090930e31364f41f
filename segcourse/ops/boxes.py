"""Boxes: (x0, y0, x1, y1) in pixels, from the left and the top; x1 and y1 lie outside the object.

    0 1 2 3 4 x
    1 ┌───┐         (1, 1, 3, 2): 2 wide, 1 high, and an area of 2
    2 └───┘
    y

Width and height are x1 - x0 and y1 - y0, without a 1 added. COCO's files hold (x, y, width,
height), and DETR predicts (centre x, centre y, width, height): both are turned into corners as
soon as they come in.

Girshick. "Fast R-CNN." ICCV 2015 (non-maximum suppression). Rezatofighi et al. "Generalized
Intersection over Union." CVPR 2019. Bodla et al. "Soft-NMS." ICCV 2017.
"""

import torch
from torch import Tensor


def check_boxes(boxes: Tensor, what: str = "boxes") -> Tensor:
    """Accept (..., 4) corners of floats in order.

    Raises:
        TypeError: if they are no tensor of floats.
        ValueError: if the last axis has not four numbers, one is not finite, or x1 < x0 or y1 < y0.
    """
    if not isinstance(boxes, Tensor) or not boxes.is_floating_point():
        found = boxes.dtype if isinstance(boxes, Tensor) else type(boxes).__name__
        raise TypeError(f"{what} must be a tensor of floats, but came as {found}: use .float().")
    if boxes.shape[-1:] != (4,):
        raise ValueError(
            f"{what} have shape (..., 4), but these have {tuple(boxes.shape)}: each is "
            "(x0, y0, x1, y1); no boxes at all are torch.zeros(0, 4)."
        )
    wrong = ~((boxes[..., 2:] >= boxes[..., :2]).all(dim=-1) & boxes.isfinite().all(dim=-1))
    if wrong.any():
        raise ValueError(
            f"{what} are (x0, y0, x1, y1) with x1 >= x0 and y1 >= y0, but one is "
            f"{boxes[wrong][0].tolist()}: turn (x, y, width, height) into corners with from_xywh, "
            "(centre x, centre y, width, height) with from_cxcywh."
        )
    return boxes


def from_xywh(boxes: Tensor) -> Tensor:
    """COCO's (x, y, width, height) as corners: (..., 4) -> (..., 4).

    Raises:
        TypeError, ValueError: as ``check_boxes``; a size is not negative.
    """
    x, y, width, height = boxes.unbind(dim=-1)
    return check_boxes(torch.stack([x, y, x + width, y + height], dim=-1))


def to_xywh(boxes: Tensor) -> Tensor:
    """Corners as COCO's (x, y, width, height): (..., 4) -> (..., 4)."""
    x0, y0, x1, y1 = boxes.unbind(dim=-1)
    return torch.stack([x0, y0, x1 - x0, y1 - y0], dim=-1)


def from_cxcywh(boxes: Tensor) -> Tensor:
    """(centre x, centre y, width, height) as corners: (..., 4) -> (..., 4)."""
    x, y, width, height = boxes.unbind(dim=-1)
    return torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dim=-1)


def to_cxcywh(boxes: Tensor) -> Tensor:
    """Corners as (centre x, centre y, width, height): (..., 4) -> (..., 4)."""
    x0, y0, x1, y1 = boxes.unbind(dim=-1)
    return torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=-1)


def box_area(boxes: Tensor) -> Tensor:
    """Width times height: (..., 4) -> (...)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut off what lies outside an image of (height, width): (..., 4) -> (..., 4)."""
    height, width = size
    return torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))


def intersections(a: Tensor, b: Tensor) -> Tensor:
    """Area that every box of A shares with every box of B: (A, 4), (B, 4) -> (A, B)."""
    sides = []
    for axis in (0, 1):  # x, y
        start = torch.maximum(a[:, None, axis], b[:, axis])
        end = torch.minimum(a[:, None, axis + 2], b[:, axis + 2])
        sides.append((end - start).clamp(min=0))
    return sides[0] * sides[1]


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair: (A, 4), (B, 4) -> (A, B); 0 where both are empty."""
    check_boxes(a), check_boxes(b)
    shared = intersections(a, b)
    union = box_area(a)[:, None] + box_area(b) - shared
    return shared / union.clamp(min=torch.finfo(union.dtype).tiny)


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU minus the share of the box around both that neither covers: (A, 4), (B, 4) -> (A, B).

    It lies in [-1, 1] and, other than IoU, still says how far apart two disjoint boxes are.
    """
    check_boxes(a), check_boxes(b)
    tiny = torch.finfo(a.dtype).tiny
    shared = intersections(a, b)
    union = box_area(a)[:, None] + box_area(b) - shared
    corner = torch.minimum(a[:, None, :2], b[:, :2])
    opposite = torch.maximum(a[:, None, 2:], b[:, 2:])
    around = (opposite - corner).prod(dim=-1)
    return shared / union.clamp(min=tiny) - (around - union) / around.clamp(min=tiny)


def nms(boxes: Tensor, scores: Tensor, *, threshold: float, labels: Tensor | None = None) -> Tensor:
    """Keep the best box, drop what overlaps it by more, and so on: (N, 4), (N,) -> (M,) indices.

    Indices come best first; boxes of equal score in the order given. With ``labels``, (N,), boxes
    of different classes leave each other alone.

    Raises:
        TypeError, ValueError: as ``check_boxes``, for scores or labels that do not fit, for a score
            that is no number, and for a threshold outside [0, 1].
    """
    check_boxes(boxes)
    check_scores(boxes, scores, threshold)
    order = scores.argsort(descending=True, stable=True)
    drops = box_iou(boxes[order], boxes[order]) > threshold
    if labels is not None:
        if labels.shape != scores.shape:
            raise ValueError(
                f"{len(boxes)} boxes came with labels {tuple(labels.shape)}: give each box one."
            )
        drops &= labels[order][:, None] == labels[order]
    drops = drops.triu(diagonal=1).to(boxes)  # only a better box drops another
    kept = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    while True:  # a box stays if no better box that stays overlaps it; few rounds settle all
        stays = kept.to(boxes) @ drops == 0
        if torch.equal(stays, kept):
            break
        kept = stays
    return order[kept]


def soft_nms(
    boxes: Tensor, scores: Tensor, *, sigma: float = 0.5, least: float = 0.001
) -> tuple[Tensor, Tensor]:
    """Lower the scores of overlapping boxes instead: (N, 4), (N,) -> indices and scores, (M,) each.

    Every score is multiplied by exp(-IoU² / sigma) for each better box; what falls below ``least``
    is dropped.

    Raises:
        TypeError, ValueError: as ``nms``, and for a sigma that is not positive.
    """
    check_boxes(boxes)
    check_scores(boxes, scores, threshold=0.0)
    if sigma <= 0:
        raise ValueError(
            f"soft_nms(sigma={sigma}) cannot be: choose a number above 0, such as 0.5."
        )
    decay = torch.exp(-box_iou(boxes, boxes).square() / sigma)
    remaining, found, lowered = scores.clone(), [], []
    while len(remaining) and remaining.max() >= least:
        best = int(remaining.argmax())
        found.append(best)
        lowered.append(remaining[best].clone())
        remaining *= decay[best]
        remaining[found] = -torch.inf
    empty = scores.new_zeros(0)
    places = torch.tensor(found, dtype=torch.int64, device=boxes.device)
    return places, torch.stack(lowered) if lowered else empty


def check_scores(boxes: Tensor, scores: Tensor, threshold: float) -> None:
    """Refuse what does not rank boxes: (N, 4), (N,)."""
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
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold} is no overlap: choose from 0 to 1, such as 0.5.")
