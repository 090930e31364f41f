"""Regions of interest: cut a box out of a map at a fixed size, and paste a mask back into its box.

He, Gkioxari, Dollár, Girshick. "Mask R-CNN." ICCV 2017, section 3. https://arxiv.org/abs/1703.06870

    a map and a box              samples, four a bin              7 x 7 values
    · · · · · · ·                                                 ┌─┬─┬─┬─┬
    · ┌─────────┐ ·              each reads the map between       ├─┼─┼─┼─┼   means of the samples
    · │ · · · · │ ·      ──→     its four neighbours       ──→    ├─┼─┼─┼─┼
    · └─────────┘ ·

Reading between neighbours is linear along y and along x, and so is the mean of the samples. So the
whole of RoIAlign is a product of three matrices,

    values (h, w)  =  rows (h, H)  @  map (H, W)  @  columns (w, W).T

whose rows hold tents: 1 - |distance| where that is positive. The same tents paste a mask.

RoIPool, the older way, rounds the box to whole cells and takes maxima: up to half a cell is lost on
every side, which at stride 16 is 8 pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.ops.boxes import check_boxes


def tents(points: Tensor, length: int) -> Tensor:
    """How much every cell counts when reading at a point: (..., P) -> (..., P, length).

    Cell j lies at j; beyond the first and the last cell the map fades to zero.
    """
    cells = torch.arange(length, device=points.device, dtype=points.dtype)
    return (1 - (points[..., None] - cells).abs()).clamp(min=0)


def roi_align(
    features: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    *,
    scale: float = 1.0,
    samples: int = 2,
    aligned: bool = False,
) -> Tensor:
    """The values of a map in every box: (C, H, W), (R, 4) -> (R, C, *size).

    Args:
        features: of one image.
        boxes: in pixels of the image.
        size: height and width of the result.
        scale: of the map: 1 / stride.
        samples: a bin and axis; 0 takes as many as the bin is cells long, rounded up.
        aligned: with True, a cell's value lies in its middle, as it does; False is the original
            and torchvision's Mask R-CNN, half a cell off, and takes no box for smaller than a cell.

    Raises:
        TypeError, ValueError: as ``check_boxes``; if ``features`` is not (C, H, W); if ``samples``
            is negative.
    """
    check_features(features, boxes)
    rows, columns = box_weights(boxes, size, features.shape[1:], scale, samples, aligned)
    return torch.einsum("rhy,cyx->rchx", rows, features) @ columns[:, None].transpose(-1, -2)


def crop_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Every mask as its own box shows it, by RoIAlign: (R, H, W), (R, 4) -> (R, *size) in [0, 1].

    Raises:
        TypeError, ValueError: as ``check_boxes``; if there is not one mask for each box.
    """
    check_masks(masks, boxes)
    rows, columns = box_weights(boxes, size, masks.shape[1:], 1.0, 0, False)
    return rows @ masks.to(rows.dtype) @ columns.transpose(1, 2)


def box_weights(
    boxes: Tensor,
    size: tuple[int, int],
    cells: tuple[int, int],
    scale: float,
    samples: int,
    aligned: bool,
) -> tuple[Tensor, Tensor]:
    """RoIAlign's two matrices for every box: -> rows (R, h, H) and columns (R, w, W)."""
    if samples < 0:
        raise ValueError(f"samples={samples}: choose 0, which adapts to the box, or more.")
    corners = boxes * scale - (0.5 if aligned else 0.0)
    weights = []
    for axis in (0, 1):  # x, y
        start, length = corners[:, axis], corners[:, axis + 2] - corners[:, axis]
        length = length if aligned else length.clamp(min=1.0)
        bins = size[1 - axis]
        weights.append(bin_weights(start, length / bins, bins, cells[1 - axis], samples))
    return weights[1], weights[0]


def bin_weights(start: Tensor, step: Tensor, bins: int, cells: int, samples: int) -> Tensor:
    """How much every cell counts in every bin of an axis: (R,), (R,) -> (R, bins, cells)."""
    number = torch.full_like(step, samples) if samples else step.ceil()
    most = max(int(number.max()), 1) if len(number) else 1
    within = torch.arange(most, device=step.device)  # of a bin
    count = number.clamp(min=1)[:, None]
    offset = (within + 0.5) / count  # (R, most), in bins
    places = torch.arange(bins, device=step.device)[:, None] + offset[:, None]  # (R, bins, most)
    points = start[:, None, None] + step[:, None, None] * places
    inside = (points >= -1) & (points <= cells) & (within < number[:, None, None])
    weights = tents(points.clamp(0, cells - 1), cells) * inside[..., None]
    return weights.sum(dim=2) / count[..., None]


def roi_pool(
    features: Tensor, boxes: Tensor, size: tuple[int, int], *, scale: float = 1.0
) -> Tensor:
    """The maxima in the bins of every box, rounded to cells: (C, H, W), (R, 4) -> (R, C, *size).

    Girshick. "Fast R-CNN." ICCV 2015. Arguments, shape and errors are those of ``roi_align``.
    """
    check_features(features, boxes)
    cells = (boxes * scale).sign() * ((boxes * scale).abs() + 0.5).floor()  # halves away from zero
    values = [features.new_zeros(0, features.shape[0], *size)]
    for x0, y0, x1, y1 in cells:
        rows = bin_cells(y0, y1, size[0], features.shape[1])  # (h, H)
        columns = bin_cells(x0, x1, size[1], features.shape[2])  # (w, W)
        high, wide = rows.any(dim=0), columns.any(dim=0)  # the cells that lie in the box
        inside, rows, columns = features[:, high][:, :, wide], rows[:, high], columns[:, wide]
        if inside.numel() == 0:
            values.append(features.new_zeros(1, features.shape[0], *size))
            continue
        lines = inside[:, None].where(rows[..., None], -torch.inf).amax(dim=2)
        maxima = lines[:, :, None].where(columns, -torch.inf).amax(dim=3)
        values.append(maxima.where(maxima.isfinite(), 0.0)[None])  # a bin without cells holds 0
    return torch.cat(values)


def bin_cells(start: Tensor, end: Tensor, bins: int, cells: int) -> Tensor:
    """Which cells of an axis lie in which bin; bins may share cells: -> (bins, cells) bool."""
    # A GPU divides by a number through its inverse, which rounds otherwise than by a tensor.
    step = (end - start + 1).clamp(min=1) / start.new_tensor(bins)
    number = torch.arange(bins, device=start.device)
    first, last = (number * step).floor() + start, ((number + 1) * step).ceil() + start
    cell = torch.arange(cells, device=start.device)
    return (cell >= first[:, None]) & (cell < last[:, None])


def paste_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks enlarged into their boxes, read at the middle of every pixel: (R, h, w) -> (R, H, W).

    Args:
        masks: probabilities that fill their boxes.
        boxes: (R, 4) in pixels of the image.
        size: height and width of the image.

    Raises:
        TypeError, ValueError: as ``check_boxes``; if there is not one mask for each box.
    """
    check_masks(masks, boxes)
    weights = []
    for axis, (pixels, cells) in enumerate(((size[1], masks.shape[2]), (size[0], masks.shape[1]))):
        start, end = boxes[:, axis, None], boxes[:, axis + 2, None]
        middle = torch.arange(pixels, device=masks.device) + 0.5
        length = (end - start).clamp(min=torch.finfo(boxes.dtype).tiny)
        weights.append(tents((middle - start) / length * cells - 0.5, cells))
    columns, rows = weights
    return rows @ masks @ columns.transpose(1, 2)


def paste_rounded(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks pasted as torchvision does, into boxes of whole pixels: (R, h, w), (R, 4) -> (R, H, W).

    Mask and box are widened by one cell on every side, so that the border can fade; then corners
    are cut down to whole pixels and one is added to width and height. A full mask therefore covers
    more than its box: 96 pixels instead of 60 where 28 x 28 ones fill (2, 3, 12, 9). For equal
    results with torchvision; ``paste_masks`` is more exact.

    Raises:
        TypeError, ValueError: as ``paste_masks``.
    """
    check_masks(masks, boxes)
    height, width = size
    cells = masks.shape[-1]
    masks = F.pad(masks, (1, 1, 1, 1))
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * ((cells + 2) / cells)
    whole = torch.cat([middle - half, middle + half], dim=1).long().tolist()
    pasted = masks.new_zeros(len(masks), height, width)
    for canvas, mask, (x0, y0, x1, y1) in zip(pasted, masks, whole, strict=True):
        wide, high = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
        large = F.interpolate(mask[None, None], (high, wide), mode="bilinear")[0, 0]
        left, top = max(x0, 0), max(y0, 0)
        right, bottom = min(x1 + 1, width), min(y1 + 1, height)
        if left < right and top < bottom:
            canvas[top:bottom, left:right] = large[top - y0 : bottom - y0, left - x0 : right - x0]
    return pasted


def check_features(features: Tensor, boxes: Tensor) -> None:
    """Refuse what is not the map of one image and its boxes."""
    check_boxes(boxes)
    if features.ndim != 3 or boxes.ndim != 2:
        raise ValueError(
            f"a map (C, H, W) and boxes (R, 4) of one image are wanted, but "
            f"{tuple(features.shape)} and {tuple(boxes.shape)} came: cut the batch up."
        )


def check_masks(masks: Tensor, boxes: Tensor) -> None:
    """Refuse masks that do not come one for each box."""
    check_boxes(boxes)
    if masks.ndim != 3 or boxes.shape != (len(masks), 4):
        raise ValueError(
            f"masks (R, h, w) and boxes (R, 4) are wanted, but {tuple(masks.shape)} and "
            f"{tuple(boxes.shape)} came: give every box one mask, the one of its class."
        )
