"""Polygons: rings of vertices (V, 2), each (x, y) in pixels, and the masks they enclose.

The corner of the image is (0, 0) and pixel (row r, column c) covers the square from (c, r) to
(c + 1, r + 1). A pixel is inside where its centre (c + 0.5, r + 0.5) is; a centre that lies exactly
on a border belongs to the polygon on one side of it only. So neighbours that share a border leave
no gap and never overlap, and the ring around the pixel squares of a mask gives back that mask.

Rings that ``mask_to_polygons`` draws run clockwise on the screen around an object and
counter-clockwise around a hole, so that ``polygon_area`` is negative for holes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segcourse.ops.masks import check_mask

_RIGHT, _DOWN, _LEFT, _UP = (1, 0), (0, 1), (-1, 0), (0, -1)
_AFTER = {  # turn right first, so that pixels that meet in a corner stay apart
    _RIGHT: (_DOWN, _RIGHT, _UP),
    _DOWN: (_LEFT, _DOWN, _RIGHT),
    _LEFT: (_UP, _LEFT, _DOWN),
    _UP: (_RIGHT, _UP, _LEFT),
}


def polygons_to_mask(
    polygons: Sequence[Tensor | Sequence], size: tuple[int, int], *, holes: bool = True
) -> Tensor:
    """The pixels whose centres the rings enclose: A rings (V, 2), (H, W) -> (H, W) bool.

    Args:
        polygons: rings of at least three vertices (x, y); parts outside the image are cut off.
        size: height and width of the mask.
        holes: with True, a ring inside a ring is a hole (even-odd rule). COCO's segmentations
            have no holes: there, and with False, a pixel is in where it is in any of the rings.

    Raises:
        ValueError: if a ring is not (V, 2) with V >= 3, or if the size is not positive.
    """
    height, width = check_size(size)
    rings = [check_polygon(polygon).numpy() for polygon in polygons]
    mask = np.zeros((height, width), dtype=bool)
    groups = [rings] if holes else [[ring] for ring in rings]
    for group in groups:
        crossings = np.zeros((height, width + 1), dtype=np.int32)
        for ring in group:
            _count_crossings(ring, crossings)
        mask |= crossings[:, :-1].cumsum(axis=1) % 2 == 1
    return torch.from_numpy(mask)


def _count_crossings(ring: np.ndarray, crossings: np.ndarray) -> None:
    """Add one where a border lies left of a pixel's centre: (V, 2), (H, W + 1) in place."""
    height, width = crossings.shape[0], crossings.shape[1] - 1
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y0 > y1:  # the same border from either side, to the last bit
            x0, y0, x1, y1 = x1, y1, x0, y0
        first, last = np.clip(np.ceil(np.array([y0, y1]) - 0.5), 0, height).astype(int)
        if first == last:
            continue
        rows = np.arange(first, last)
        x = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        crossings[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(int)] += 1


def mask_to_polygons(mask: Tensor) -> list[Tensor]:
    """Every border of a mask, along the edges of its pixels: (H, W) -> rings (V, 2) float64.

    Pixels that meet in a corner only get rings of their own. ``polygons_to_mask`` gives the mask
    back exactly; an empty mask has no ring.

    Raises:
        TypeError, ValueError: if it is no mask.
    """
    edges = _border_edges(check_mask(mask).cpu().numpy())
    rings = []
    for start in sorted(edges):  # the first corner of a ring, leftmost and then topmost, is a turn
        if start not in edges:
            continue
        corner, direction, ring = start, edges[start][0], []
        while True:
            edges[corner].remove(direction)
            if not edges[corner]:
                del edges[corner]
            corner = (corner[0] + direction[0], corner[1] + direction[1])
            if corner == start:
                break
            turn = next(way for way in _AFTER[direction] if way in edges[corner])
            if turn != direction:
                ring.append(corner)
            direction = turn
        rings.append(torch.tensor([start, *ring], dtype=torch.float64))
    return rings


def _border_edges(mask: np.ndarray) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """The unit steps around a mask that have it on their right: {corner (x, y): directions}."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    sides = (
        (_RIGHT, (0, 0), ~padded[:-2, 1:-1]),  # the top of a pixel, left to right
        (_DOWN, (1, 0), ~padded[1:-1, 2:]),
        (_LEFT, (1, 1), ~padded[2:, 1:-1]),
        (_UP, (0, 1), ~padded[1:-1, :-2]),
    )
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for direction, (right, down), free in sides:
        for row, column in np.argwhere(inside & free).tolist():
            edges.setdefault((column + right, row + down), []).append(direction)
    return edges


def polygon_area(polygon: Tensor | Sequence) -> float:
    """The area in pixels by the shoelace formula: (V, 2) -> number, negative for a hole's ring.

    Raises:
        ValueError: if the ring is not (V, 2) with V >= 3.
    """
    x, y = check_polygon(polygon).T
    return float((x * y.roll(-1) - x.roll(-1) * y).sum() / 2)


def simplify(polygon: Tensor | Sequence, tolerance: float) -> Tensor:
    """Leave out vertices that are at most ``tolerance`` pixels off: (V, 2) -> (v, 2), v <= V.

    Douglas and Peucker 1973, as scikit-image has it. A ring that would collapse stays as it is.

    Raises:
        ValueError: if the ring is not (V, 2) with V >= 3, or if the tolerance is negative.
    """
    from skimage.measure import approximate_polygon

    ring = check_polygon(polygon)
    if tolerance < 0:
        raise ValueError(
            f"the tolerance is a distance in pixels, but is {tolerance}: choose 0 or more."
        )
    shorter = approximate_polygon(torch.cat([ring, ring[:1]]).numpy(), tolerance)[:-1]
    return torch.from_numpy(shorter) if len(shorter) >= 3 else ring


def check_polygon(polygon: Tensor | Sequence) -> Tensor:
    """A ring as float64 on the CPU: vertices in any container -> (V, 2).

    Raises:
        ValueError: if the ring is not (V, 2) with V >= 3, or not finite.
    """
    ring = torch.as_tensor(polygon, dtype=torch.float64, device="cpu")
    if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3 or not ring.isfinite().all():
        raise ValueError(
            f"a polygon has shape (V, 2) with at least three finite vertices (x, y), but this one "
            f"has shape {tuple(ring.shape)}: reshape COCO's flat list with .reshape(-1, 2)."
        )
    return ring


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width as positive integers.

    Raises:
        ValueError: if they are not.
    """
    height, width = (int(side) for side in size)
    if height < 1 or width < 1:
        raise ValueError(
            f"the size of a mask is (height, width) in pixels, but is {tuple(size)}: both sides "
            "must be at least 1."
        )
    return height, width
