"""Watershed: the image is a landscape, and water rises from the markers until basins meet.

    elevation    ╲      ╱╲     ╱      Every pixel joins the basin whose water reaches it first.
                  ╲    ╱  ╲___╱       A queue hands out pixels from low to high; those of equal
                   ╲__╱    2 2        height in the order in which they were reached.
                   1 1 1│2 2 2 2

Elevations are gradients (basins end at edges) or negative distances to the background (round
objects that touch are parted at their waist).

Meyer. "Topographic distance and watershed lines." Signal Processing, 1994.
https://doi.org/10.1016/0165-1684(94)90060-4

Ties: on a plateau, and in a valley that water pours into, the basins advance at the same speed,
ring by ring; marker pixels of equal height start in reading order. scikit-image starts those in
another order, so the middle between two such markers may go to the other one; nothing else differs.

Differs from the paper: without ``watershed_line`` there is no pixel between basins, and a marker
starts when the water has risen to its own height (as in scikit-image 0.26), not at once.
"""

import heapq

import numpy as np
import torch
from scipy import ndimage
from skimage.morphology import local_maxima
from torch import Tensor

from segcourse.classical.pixels import check_partition, gray, offsets
from segcourse.ops.components import connected_components
from segcourse.ops.masks import check_mask


def watershed(
    elevation: Tensor,
    markers: Tensor,
    *,
    mask: Tensor | None = None,
    connectivity: int = 4,
    watershed_line: bool = False,
) -> Tensor:
    """Flood from the markers: (H, W), (H, W) integers, 0 is no marker -> (H, W) int64.

    Args:
        elevation: height of every pixel, in any unit; colours are made grey.
        markers: where water rises, and the number of its basin, from 1 on.
        mask: where water may go; what it cannot reach stays 0.
        connectivity: 4 or 8 neighbours.
        watershed_line: leave a pixel that touches two basins when the water reaches it at 0.

    Raises:
        TypeError, ValueError: if sizes differ, there is no marker, or the markers are no labels.
    """
    heights, labels, open_ = _prepare(elevation, markers, mask)
    width = heights.shape[1] + 2  # with a rim that water cannot enter
    height, label, free = (_framed(each).tolist() for each in (heights, labels, open_))
    steps = [down * width + right for down, right in offsets(connectivity)]
    queue = [(height[at], age, at, at) for age, at in enumerate(_marked(label))]
    heapq.heapify(queue)
    age = len(queue)
    while queue:
        level, _, at, source = heapq.heappop(queue)
        if watershed_line:
            if label[at] and at != source:
                continue
            others = {label[at + step] for step in steps if free[at + step]}
            if not free[at] or others - {0, label[source]}:
                free[at] = False
            else:
                label[at] = label[source]
        for step in steps:
            there = at + step
            if free[there] and not label[there]:
                if not watershed_line:
                    label[there] = label[at]
                heapq.heappush(queue, (max(level, height[there]), age, there, source))
                age += 1
    return torch.tensor(label).view(-1, width)[1:-1, 1:-1].contiguous()


def _prepare(
    elevation: Tensor, markers: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Check what came in; markers outside the mask are dropped: -> three (H, W)."""
    heights, labels = gray(elevation), check_partition(markers, "markers")
    open_ = torch.ones_like(labels, dtype=torch.bool) if mask is None else check_mask(mask).cpu()
    if not heights.shape == labels.shape == open_.shape:
        raise ValueError(
            f"elevation {tuple(heights.shape)}, markers {tuple(labels.shape)} and mask "
            f"{tuple(open_.shape)} must be maps of the same pixels: resize none, make them from "
            "one image."
        )
    labels = labels * open_
    if not labels.any():
        raise ValueError("no marker lies inside the mask, so no water rises: number some pixels.")
    return heights, labels, open_


def _framed(values: Tensor) -> Tensor:
    """The map with a rim of zeros, in one row, so that neighbours are fixed steps away."""
    return torch.nn.functional.pad(values, (1, 1, 1, 1)).flatten()


def _marked(label: list[int]) -> list[int]:
    """Where there is a marker, in reading order."""
    return [at for at, value in enumerate(label) if value]


def split_touching(mask: Tensor, *, min_distance: int = 1) -> Tensor:
    """Number round objects that touch: (H, W) bool -> (H, W) int64, 0 outside the mask.

    A marker grows from every peak of the distance to the background, the highest first. A peak is
    one pixel or a plateau: pixels of equal height that touch, none of which touches a higher pixel.

    Args:
        mask: the objects.
        min_distance: pixels (the larger of rows and columns) within which a peak gives way to
            anything higher, and to an equal peak before it in reading order; a larger distance
            splits less, but every object keeps at least one part.

    Raises:
        ValueError: if the distance is less than 1.
    """
    if min_distance < 1:
        raise ValueError(f"min_distance={min_distance} keeps no peaks apart: give 1 or more.")
    mask = check_mask(mask).cpu()
    if mask.all() or not mask.any():  # without a background there is no distance to it
        return mask.long()
    distance = ndimage.distance_transform_edt(mask.numpy())
    heights = torch.from_numpy(-distance)
    parts = watershed(heights, torch.from_numpy(_peaks(distance, min_distance)), mask=mask)
    if (parts > 0)[mask].all():
        return parts
    parts = watershed(heights, parts, mask=mask, connectivity=8)  # what touches by a corner only
    rest = connected_components(mask & (parts == 0))  # objects whose peak gave way to another one
    return torch.where(rest > 0, rest + parts.max(), parts)


def _peaks(heights: np.ndarray, min_distance: int) -> np.ndarray:
    """Number the regional maxima above 0, the highest first: (H, W) -> (H, W) int64."""
    square = np.ones((3, 3))
    framed = np.pad(heights, 1)  # a maximum may lie at the rim
    plateaus, count = ndimage.label(local_maxima(framed)[1:-1, 1:-1], square)
    markers, numbers = np.zeros(heights.shape, dtype=np.int64), np.arange(1, count + 1)
    around = ndimage.maximum_filter(heights, 2 * min_distance + 1)
    top = ndimage.maximum(heights, plateaus, numbers)
    highest = np.flatnonzero(top == ndimage.maximum(around, plateaus, numbers))
    boxes = ndimage.find_objects(plateaus)
    for index in highest[np.argsort(-top[highest], kind="stable")].tolist():
        box = tuple(
            slice(max(0, side.start - min_distance), side.stop + min_distance)
            for side in boxes[index]
        )
        own = plateaus[box] == index + 1
        near = ndimage.binary_dilation(own, square, iterations=min_distance)
        if not markers[box][near].any():
            markers[box][own] = markers.max() + 1
    return markers
