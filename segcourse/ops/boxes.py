"""Boxes: (x0, y0, x1, y1) in pixels, from the left and the top; x1 and y1 lie outside the object.

    0 1 2 3 4 x
    1 ┌───┐         (1, 1, 3, 2): 2 wide, 1 high, and an area of 2
    2 └───┘
    y

Width and height are x1 - x0 and y1 - y0, without a 1 added. COCO's files hold (x, y, width,
height), and DETR predicts (centre x, centre y, width, height): both are turned into corners as
soon as they come in.

Rezatofighi et al. "Generalized Intersection over Union." CVPR 2019.
"""

import torch
from torch import Tensor

from segcourse.ops.precision import widen


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
    """Width times height: (..., 4) -> (...), in float32 or wider, int64 for integers."""
    (boxes,) = widen(boxes)
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def clip_boxes_to_image(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut off what lies outside an image of (height, width): (..., 4) -> (..., 4)."""
    height, width = size
    return torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))


def intersections(a: Tensor, b: Tensor) -> Tensor:
    """Area that every box of A shares with every box of B: (A, 4), (B, 4) -> (A, B)."""
    a, b = widen(a, b)
    sides = []
    for axis in (0, 1):  # x, y
        start = torch.maximum(a[:, None, axis], b[:, axis])
        end = torch.minimum(a[:, None, axis + 2], b[:, axis + 2])
        sides.append((end - start).clamp(min=0))
    return sides[0] * sides[1]


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair: (A, 4), (B, 4) -> (A, B); 0 where both are empty.

    Boxes of half precision are widened, as in torchvision: the result is float32 or float64.
    """
    a, b = widen(check_boxes(a), check_boxes(b))
    shared = intersections(a, b)
    union = box_area(a)[:, None] + box_area(b) - shared
    return shared / union.clamp(min=torch.finfo(union.dtype).tiny)


def generalized_box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU minus the share of the box around both that neither covers: (A, 4), (B, 4) -> (A, B).

    It lies in [-1, 1]. For two disjoint boxes IoU is 0, but this is lower the farther apart they
    are. Boxes of half precision are widened, as in ``box_iou``.
    """
    a, b = widen(check_boxes(a), check_boxes(b))
    tiny = torch.finfo(a.dtype).tiny
    shared = intersections(a, b)
    union = box_area(a)[:, None] + box_area(b) - shared
    corner = torch.minimum(a[:, None, :2], b[:, :2])
    opposite = torch.maximum(a[:, None, 2:], b[:, 2:])
    around = (opposite - corner).prod(dim=-1)
    return shared / union.clamp(min=tiny) - (around - union) / around.clamp(min=tiny)
