"""RoIAlign and RoIPool written out: what the operators of ``segcourse.ops.roi`` compute.

Reading a map between its cells is linear along y and along x, and so is the mean of the samples of
a bin. Therefore the whole of RoIAlign is a product of three matrices,

    values (h, w)  =  rows (h, H)  @  map (H, W)  @  columns (w, W).T

whose rows hold bilinear weights: 1 - |distance| where that is positive. The same weights paste a
mask. Nearly all of them are zero. Therefore the operators, which visit only the four cells around
each sample, are 15 times faster on large maps.

He, Gkioxari, Dollár, Girshick. "Mask R-CNN." ICCV 2017. Girshick. "Fast R-CNN." ICCV 2015.
"""

import torch
from torch import Tensor

from segcourse.ops.boxes import check_boxes
from segcourse.ops.precision import widen, without_autocast


def bilinear_weights(points: Tensor, length: int) -> Tensor:
    """How much every cell counts when reading at a point: (..., P) -> (..., P, length).

    Cell j lies at j; beyond the first and the last cell the map fades to zero. The weights are
    float32 or wider.
    """
    cells = torch.arange(length, device=points.device, dtype=torch.float32)
    points, cells = widen(points, cells)
    return (1 - (points[..., None] - cells).abs()).clamp(min=0)


def plain_roi_align(
    features: Tensor,
    boxes: Tensor,
    output_size: tuple[int, int],
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> Tensor:
    """What ``roi_align`` computes, as matrix products: (C, H, W), (R, 4) -> (R, C, *output_size).

    Arguments and errors are those of ``roi_align``.
    """
    wide, boxes = check_regions(features, boxes, output_size, sampling_ratio)
    corners = boxes * spatial_scale - (0.5 if aligned else 0.0)
    weights = []
    for axis in (0, 1):  # x, y
        start, length = corners[:, axis], corners[:, axis + 2] - corners[:, axis]
        length = length if aligned else length.clamp(min=1.0)
        bins, cells = output_size[1 - axis], wide.shape[2 - axis]
        weights.append(_bin_weights(start, length / bins, bins, cells, sampling_ratio))
    columns, rows = weights  # (R, w, W), (R, h, H)
    with without_autocast(wide.device):
        values = torch.einsum("rhy,cyx->rchx", rows, wide) @ columns[:, None].mT
    return values.to(features.dtype)


def _bin_weights(start: Tensor, step: Tensor, bins: int, cells: int, sampling_ratio: int) -> Tensor:
    """How much every cell counts in every bin of an axis: (R,), (R,) -> (R, bins, cells)."""
    number = torch.full_like(step, sampling_ratio) if sampling_ratio else step.ceil()
    largest = max(int(number.max()), 1) if len(number) else 1
    count = number.clamp(min=1)[:, None]
    bin_number = torch.arange(bins, device=step.device)
    within = torch.arange(largest, device=step.device)  # a bin
    # The operator's order: at the map's border, the last digit decides whether a sample counts.
    first = start[:, None] + bin_number * step[:, None]  # (R, bins)
    offset = (within + 0.5) * step[:, None] / count  # (R, largest)
    points = first[..., None] + offset[:, None]  # (R, bins, largest)
    inside = (points >= -1) & (points <= cells) & (within < number[:, None, None])
    weights = bilinear_weights(points.clamp(0, cells - 1), cells) * inside[..., None]
    return weights.sum(dim=2) / count[..., None]


def plain_roi_pool(
    features: Tensor,
    boxes: Tensor,
    output_size: tuple[int, int],
    *,
    spatial_scale: float = 1.0,
) -> Tensor:
    """What ``roi_pool`` computes, box by box: (C, H, W), (R, 4) -> (R, C, *output_size).

    Arguments and errors are those of ``roi_pool``.
    """
    _, boxes = check_regions(features, boxes, output_size)
    corners = boxes * spatial_scale
    corners = corners.sign() * (corners.abs() + 0.5).floor()  # halves away from zero
    values = [features.flatten()[:0].reshape(0, features.shape[0], *output_size)]
    for x0, y0, x1, y1 in corners:
        rows = _bin_cells(y0, y1, output_size[0], features.shape[1])  # (h, H)
        columns = _bin_cells(x0, x1, output_size[1], features.shape[2])  # (w, W)
        lines = features[:, None].where(rows[..., None], -torch.inf).amax(dim=2)  # (C, h, W)
        maxima = lines[:, :, None].where(columns, -torch.inf).amax(dim=3)  # (C, h, w)
        filled = rows.any(dim=1)[:, None] & columns.any(dim=1)
        values.append(maxima.where(filled, 0.0)[None])  # a bin without cells holds 0
    return torch.cat(values)


def _bin_cells(start: Tensor, end: Tensor, bins: int, cells: int) -> Tensor:
    """Which cells of an axis lie in which bin; bins may share cells: -> (bins, cells) bool."""
    # A GPU divides by a number through its inverse, which rounds otherwise than by a tensor.
    step = (end - start + 1).clamp(min=1) / start.new_tensor(bins)
    number = torch.arange(bins, device=start.device)
    first, last = (number * step).floor() + start, ((number + 1) * step).ceil() + start
    cell = torch.arange(cells, device=start.device)
    return (cell >= first[:, None]) & (cell < last[:, None])


def check_regions(
    features: Tensor, boxes: Tensor, output_size: tuple[int, int], sampling_ratio: int = 0
) -> tuple[Tensor, Tensor]:
    """Refuse what is not the map of one image and its boxes, and widen half precision of both.

    Boxes come without gradient, and in the type of the map.
    """
    check_boxes(boxes)
    if not isinstance(features, Tensor) or not features.is_floating_point():
        came = features.dtype if isinstance(features, Tensor) else type(features).__name__
        raise TypeError(f"a map must be a tensor of floats, but came as {came}: use .float().")
    if features.ndim != 3 or boxes.ndim != 2:
        raise ValueError(
            f"a map (C, H, W) and boxes (R, 4) of one image are wanted, but "
            f"{tuple(features.shape)} and {tuple(boxes.shape)} came: cut the batch up."
        )
    if 0 in features.shape[1:] or min(output_size) < 1:
        raise ValueError(
            f"a map with {features.shape[1]} x {features.shape[2]} cells cannot fill "
            f"{tuple(output_size)} bins: give both at least one row and one column."
        )
    if sampling_ratio < 0:
        raise ValueError(
            f"sampling_ratio={sampling_ratio}: choose 0, which adapts to the box, or more."
        )
    (wide,) = widen(features)
    return wide, boxes.detach().to(wide.dtype)
