"""Anchors: boxes of a few sizes and shapes at every cell of a map, from which detectors start.

Ren, He, Girshick, Sun. "Faster R-CNN." NIPS 2015, section 3.1. https://arxiv.org/abs/1506.01497

    at a cell     ┌──────┐   ┌────┐   ┌──┐      three shapes of equal area: twice as wide as high,
                  └──────┘   │    │   │  │      square, twice as high as wide
                             └────┘   │  │
                                      └──┘
    a network says how to move it:     (x - anchor x) / anchor width,   log(width / anchor width)
                                       (y - anchor y) / anchor height,  log(height / anchor height)

x and y are centres. In these units large and small boxes are equally easy, and equally important.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from segcourse.ops.boxes import check_boxes, from_cxcywh, to_cxcywh

RATIOS = (0.5, 1.0, 2.0)  # height / width
LARGEST_LOG = math.log(1000 / 16)  # a prediction never enlarges an anchor by more


def cell_anchors(side: float, ratios: Sequence[float] = RATIOS) -> Tensor:
    """The anchors of one cell, around the origin, in whole pixels: -> (A, 4).

    Args:
        side: of the square anchor, in pixels.
        ratios: of height to width; all anchors have about the same area.

    Raises:
        ValueError: if the side or a ratio is not positive.
    """
    if side <= 0 or not ratios or min(ratios) <= 0:
        raise ValueError(
            f"cell_anchors(side={side}, ratios={tuple(ratios)}) makes no boxes: both must be above "
            "0; (0.5, 1, 2) is usual."
        )
    heights = side * torch.tensor(ratios).sqrt()
    widths = side * (1 / torch.tensor(ratios).sqrt())
    return (torch.stack([-widths, -heights, widths, heights], dim=1) / 2).round()


def grid_anchors(cells: Tensor, size: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """Anchors of a whole map, row by row, cell by cell: (A, 4) -> (H * W * A, 4).

    Args:
        cells: anchors of one cell.
        size: height and width of the map.
        stride: height and width of a cell, in pixels of the image.
    """
    y = torch.arange(size[0], device=cells.device) * stride[0]
    x = torch.arange(size[1], device=cells.device) * stride[1]
    corners = torch.cartesian_prod(y, x).flip(1).repeat(1, 2)  # (H * W, 4): x, y, x, y
    return (corners[:, None] + cells).reshape(-1, 4)


def encode(boxes: Tensor, anchors: Tensor, weights: Sequence[float] = (1, 1, 1, 1)) -> Tensor:
    """What moves anchors onto boxes: (..., 4), (..., 4) -> (..., 4) as (x, y, width, height).

    ``weights`` multiply the four; those of a detector's second stage are (10, 10, 5, 5).

    Raises:
        TypeError, ValueError: as ``check_boxes``, and for a box without area.
    """
    check_boxes(boxes), check_boxes(anchors, "anchors")
    target, anchor = to_cxcywh(boxes), to_cxcywh(anchors)
    if (target[..., 2:] <= 0).any() or (anchor[..., 2:] <= 0).any():
        raise ValueError(
            "a box or an anchor has no width or no height, whose logarithm does not exist: drop "
            "objects that a crop or a resize has emptied."
        )
    shift = (target[..., :2] - anchor[..., :2]) / anchor[..., 2:]
    growth = (target[..., 2:] / anchor[..., 2:]).log()
    return torch.cat([shift, growth], dim=-1) * boxes.new_tensor(weights)


def decode(deltas: Tensor, anchors: Tensor, weights: Sequence[float] = (1, 1, 1, 1)) -> Tensor:
    """The inverse of ``encode``: (..., 4), (..., 4) -> boxes (..., 4)."""
    anchor = to_cxcywh(anchors)
    deltas = deltas / deltas.new_tensor(weights)
    middle = anchor[..., :2] + deltas[..., :2] * anchor[..., 2:]
    extent = anchor[..., 2:] * deltas[..., 2:].clamp(max=LARGEST_LOG).exp()
    return from_cxcywh(torch.cat([middle, extent], dim=-1))
