"""Anchors: boxes of a few sizes and shapes at every position of a map, where detectors start.

Ren, He, Girshick, Sun. "Faster R-CNN." NIPS 2015, section 3.1. https://arxiv.org/abs/1506.01497

    at a position ┌──────┐   ┌────┐   ┌──┐      three shapes of equal area: twice as wide as high,
                  └──────┘   │    │   │  │      square, twice as high as wide
                             └────┘   │  │
                                      └──┘
    a network says how to move it:     (x - anchor x) / anchor width,   log(width / anchor width)
                                       (y - anchor y) / anchor height,  log(height / anchor height)

x and y are centres. In these units, large and small boxes have equally large errors.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from segcourse.ops.boxes import check_boxes, from_cxcywh, to_cxcywh

ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height / width
BBOX_XFORM_CLIP = math.log(1000 / 16)  # largest logarithm by which a prediction enlarges an anchor


def cell_anchors(size: float, aspect_ratios: Sequence[float] = ASPECT_RATIOS) -> Tensor:
    """The anchors of one position, around the origin, in whole pixels: -> (A, 4).

    Args:
        size: side of the square anchor, in pixels.
        aspect_ratios: of height to width; all anchors have about the same area.

    Raises:
        ValueError: if the size or a ratio is not positive.
    """
    if size <= 0 or not aspect_ratios or min(aspect_ratios) <= 0:
        raise ValueError(
            f"cell_anchors(size={size}, aspect_ratios={tuple(aspect_ratios)}) makes no boxes: both "
            "must be above 0; (0.5, 1, 2) is usual."
        )
    heights = size * torch.tensor(aspect_ratios).sqrt()
    widths = size * (1 / torch.tensor(aspect_ratios).sqrt())
    return (torch.stack([-widths, -heights, widths, heights], dim=1) / 2).round()


def grid_anchors(cells: Tensor, grid_size: tuple[int, int], stride: int) -> Tensor:
    """Anchors of a whole map, row by row, position by position: (A, 4) -> (H * W * A, 4).

    Args:
        cells: anchors of one position.
        grid_size: height and width of the map.
        stride: pixels of the image from one position to the next; position n lies over pixel
            n * stride, whatever the size of the image.
    """
    y, x = (torch.arange(side, device=cells.device) * stride for side in grid_size)
    corners = torch.cartesian_prod(y, x).flip(1).repeat(1, 2)  # (H * W, 4): x, y, x, y
    return (corners[:, None] + cells).reshape(-1, 4)


def encode_boxes(boxes: Tensor, anchors: Tensor, weights: Sequence[float] = (1, 1, 1, 1)) -> Tensor:
    """The deltas from anchors to boxes: (..., 4), (..., 4) -> (..., 4) as (x, y, width, height).

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


def decode_boxes(
    deltas: Tensor, anchors: Tensor, weights: Sequence[float] = (1, 1, 1, 1)
) -> Tensor:
    """The inverse of ``encode_boxes``: (..., 4), (..., 4) -> boxes (..., 4)."""
    anchor = to_cxcywh(anchors)
    deltas = deltas / deltas.new_tensor(weights)
    centre = anchor[..., :2] + deltas[..., :2] * anchor[..., 2:]
    extent = anchor[..., 2:] * deltas[..., 2:].clamp(max=BBOX_XFORM_CLIP).exp()
    return from_cxcywh(torch.cat([centre, extent], dim=-1))
