"""The pixels of a polygon by COCO's rule, for numbers that must equal those of pycocotools.

COCO draws the outline on a grid five times finer, from vertex to vertex, and lets it switch the
pixels of a column on and off where it passes their middles. The result differs from that of
``segcourse.ops.polygons``, which asks whether the middle of a pixel lies inside, by some pixels of
the border: enough to change an average precision in its fourth digit.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segcourse.ops.polygons import check_polygon, check_size

_FINER = 5


def coco_polygons_to_mask(polygons: Sequence[Sequence | Tensor], size: tuple[int, int]) -> Tensor:
    """The union of COCO's polygons: rings (V, 2) or flat lists x, y, ..., (H, W) -> (H, W) bool.

    Raises:
        ValueError: if a ring has fewer than three vertices, or if the size is not positive.
    """
    height, width = check_size(size)
    mask = np.zeros(height * width, dtype=bool)
    for polygon in polygons:
        ring = torch.as_tensor(polygon, dtype=torch.float64, device="cpu")
        if ring.ndim == 1:
            ring = ring[: len(ring) // 2 * 2].reshape(-1, 2)
        switches = _column_switches(check_polygon(ring).numpy(), height, width)
        mask |= np.bincount(switches, minlength=height * width + 1)[:-1].cumsum() % 2 == 1
    return torch.from_numpy(mask.reshape(width, height).T.copy())


def _column_switches(ring: np.ndarray, height: int, width: int) -> np.ndarray:
    """Where the outline switches pixels, counted down the columns: (V, 2) -> positions."""
    u, v = _outline(np.trunc(_FINER * ring + 0.5).astype(int))
    sideways = u[1:] != u[:-1]  # steps from column to column of the fine grid
    x = np.where(u[1:] < u[:-1], u[1:], u[1:] - 1)[sideways]
    y = np.minimum(v[1:], v[:-1])[sideways]
    x, y = (x + 0.5) / _FINER - 0.5, (y + 0.5) / _FINER - 0.5
    middle = (x == np.floor(x)) & (x >= 0) & (x <= width - 1)  # of a pixel
    rows = np.ceil(np.clip(y[middle], 0, height)).astype(int)
    return x[middle].astype(int) * height + rows


def _outline(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All fine pixels from corner to corner and back to the first: (V, 2) -> x and y."""
    xs, ys = [], []
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        wide, high = abs(x1 - x0), abs(y1 - y0)
        backwards = x0 > x1 if wide >= high else y0 > y1
        if backwards:  # every edge is drawn from the same end, so that neighbours share it
            x0, y0, x1, y1 = x1, y1, x0, y0
        step = np.arange(max(wide, high) + 1)
        step = step[::-1] if backwards else step
        if wide >= high:
            slope = (y1 - y0) / wide if wide else 0.0
            x, y = step + x0, np.trunc(y0 + slope * step + 0.5).astype(int)
        else:
            x, y = np.trunc(x0 + (x1 - x0) / high * step + 0.5).astype(int), step + y0
        xs.append(x), ys.append(y)
    return np.concatenate(xs), np.concatenate(ys)
