"""Regions of interest: cut a box out of a map at a fixed size, and paste a mask back into its box.

He, Gkioxari, Dollár, Girshick. "Mask R-CNN." ICCV 2017, section 3. https://arxiv.org/abs/1703.06870

    a map and a box              samples, four a bin              7 x 7 values
    · · · · · · ·                                                 ┌─┬─┬─┬─┬
    · ┌─────────┐ ·              each reads the map between       ├─┼─┼─┼─┼   means of the samples
    · │ · · · · │ ·      ──→     its four neighbours       ──→    ├─┼─┼─┼─┼
    · └─────────┘ ·

RoIPool, the older way, rounds the box to whole cells and takes maxima: up to half a cell is lost on
every side, which at stride 16 is 8 pixels.

``roi_align``, ``roi_pool`` and ``crop_masks`` call torchvision's operators. What these compute is
written out in ``segcourse.ops.plain_roi``. Boxes receive no gradient. Half precision is widened to
float32 inside, and the result has the type of the map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.ops.boxes import check_boxes
from segcourse.ops.plain_roi import bilinear_weights, check_regions
from segcourse.ops.precision import widen, without_autocast


def roi_align(
    features: Tensor,
    boxes: Tensor,
    output_size: tuple[int, int],
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> Tensor:
    """The values of a map in every box: (C, H, W), (R, 4) -> (R, C, *output_size).

    Args:
        features: of one image.
        boxes: in pixels of the image.
        output_size: height and width of the result.
        spatial_scale: of the map: 1 / stride.
        sampling_ratio: samples of a bin along each axis; 0 takes as many as the bin is cells long,
            rounded up.
        aligned: with True, a cell's value lies in its middle, as it does; False is the original
            and torchvision's Mask R-CNN, half a cell off, and takes no box for smaller than a cell.

    Raises:
        TypeError, ValueError: as ``check_boxes``; if ``features`` are no floats (C, H, W) with at
            least one cell; if ``output_size`` is not positive or ``sampling_ratio`` is negative.
    """
    from torchvision.ops import roi_align as operator

    wide, boxes = check_regions(features, boxes, output_size, sampling_ratio)
    values = operator(wide[None], [boxes], output_size, spatial_scale, sampling_ratio, aligned)
    return values.to(features.dtype)


def roi_pool(
    features: Tensor, boxes: Tensor, output_size: tuple[int, int], *, spatial_scale: float = 1.0
) -> Tensor:
    """The maxima in the bins of every box, rounded to cells: -> (R, C, *output_size).

    Girshick. "Fast R-CNN." ICCV 2015. Arguments, shapes and errors are those of ``roi_align``.
    """
    from torchvision.ops import roi_pool as operator

    wide, boxes = check_regions(features, boxes, output_size)
    return operator(wide[None], [boxes], output_size, spatial_scale).to(features.dtype)


def crop_masks(masks: Tensor, boxes: Tensor, output_size: tuple[int, int]) -> Tensor:
    """Every mask as its own box shows it, by RoIAlign: (R, H, W), (R, 4) -> (R, *output_size).

    Values are shares of the bins from 0 to 1, in the type of the boxes.

    Raises:
        TypeError, ValueError: as ``check_boxes``; if there is not one mask for each box.
    """
    from torchvision.ops import roi_align as operator

    _check_masks(masks, boxes)
    wide, _ = check_regions(masks.to(widen(boxes)[0].dtype), boxes, output_size)
    number = torch.arange(len(boxes), device=boxes.device, dtype=wide.dtype)[:, None]
    numbered = torch.cat([number, boxes.detach().to(wide.dtype)], dim=1)
    return operator(wide[:, None], numbered, output_size, 1.0, 0, False)[:, 0].to(boxes.dtype)


def paste_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks enlarged into their boxes, read at the middle of every pixel: (R, h, w) -> (R, H, W).

    Args:
        masks: probabilities that fill their boxes.
        boxes: (R, 4) in pixels of the image.
        size: height and width of the image.

    Raises:
        TypeError, ValueError: as ``check_boxes``; if there is not one mask of floats for each box.
    """
    _check_masks(masks, boxes, floats=True)
    wide, boxes = widen(masks, boxes)
    weights = []
    for axis, (pixels, cells) in enumerate(((size[1], masks.shape[2]), (size[0], masks.shape[1]))):
        start, end = boxes[:, axis, None], boxes[:, axis + 2, None]
        middle = torch.arange(pixels, device=boxes.device) + 0.5
        length = (end - start).clamp(min=torch.finfo(boxes.dtype).tiny)
        points = (middle - start) / length * cells - 0.5
        weights.append(bilinear_weights(points, cells))
    columns, rows = weights
    with without_autocast(wide.device):
        return (rows @ wide @ columns.mT).to(masks.dtype)


def paste_rounded(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks pasted as torchvision does, into boxes of whole pixels: (R, h, w), (R, 4) -> (R, H, W).

    Mask and box are widened by one cell on every side, so that the border can fade; then corners
    are cut down to whole pixels and one is added to width and height. A full mask therefore covers
    more than its box: 96 pixels instead of 60 where 28 x 28 ones fill (2, 3, 12, 9). For equal
    results with torchvision; ``paste_masks`` is more exact.

    Raises:
        TypeError, ValueError: as ``paste_masks``.
    """
    _check_masks(masks, boxes, floats=True)
    height, width = size
    cells = masks.shape[-1]
    wide, boxes = widen(F.pad(masks, (1, 1, 1, 1)), boxes)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * ((cells + 2) / cells)
    whole = torch.cat([middle - half, middle + half], dim=1).long().tolist()
    pasted = wide.new_zeros(len(wide), height, width)
    for canvas, mask, (x0, y0, x1, y1) in zip(pasted, wide, whole, strict=True):
        columns, rows = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
        large = F.interpolate(mask[None, None], (rows, columns), mode="bilinear")[0, 0]
        left, top = max(x0, 0), max(y0, 0)
        right, bottom = min(x1 + 1, width), min(y1 + 1, height)
        if left < right and top < bottom:
            canvas[top:bottom, left:right] = large[top - y0 : bottom - y0, left - x0 : right - x0]
    return pasted.to(masks.dtype)


def _check_masks(masks: Tensor, boxes: Tensor, *, floats: bool = False) -> None:
    """Refuse masks that do not come one for each box."""
    check_boxes(boxes)
    if floats and not masks.is_floating_point():
        raise TypeError(
            f"masks to paste are probabilities, but their dtype is {masks.dtype}: use .float()."
        )
    if masks.ndim != 3 or 0 in masks.shape[1:] or boxes.shape != (len(masks), 4):
        raise ValueError(
            f"masks (R, h, w) with at least one cell and boxes (R, 4) are wanted, but "
            f"{tuple(masks.shape)} and {tuple(boxes.shape)} came: give every box one mask, the one "
            "of its class."
        )
