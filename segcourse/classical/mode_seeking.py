"""Mean shift: every point climbs to where points are densest; those that meet are one cluster.

    ·  ·∴·→                   step    to the mean of all points within the bandwidth
     ·   ∴→ ▲ ←∵·             repeat  until the point rests, at a peak (mode) of the density
           ↑∴                 merge   peaks closer together than the bandwidth

There is no number of clusters to choose; the bandwidth decides it.

Comaniciu, Meer. "Mean Shift: A Robust Approach Toward Feature Space Analysis." TPAMI 2002.
https://doi.org/10.1109/34.1000236

Differs from the paper:

- The kernel is always the flat one: all neighbours count alike.
- Peaks within the bandwidth of a higher one join it, and a plateau of equal density is one peak;
  the paper joins whatever lies closer together than the bandwidth.
- Images are clustered by colour alone, unless points are given that hold the position too; pixels
  whose colours lie in the same small cell climb together.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from segcourse.classical.pixels import check_points, lab

_CHUNK = 1 << 22  # distances held at once


class Modes(NamedTuple):
    """What mean shift found."""

    labels: Tensor  # (P,) int64, number of the mode that the point climbs to
    modes: Tensor  # (M, D) float64, the one with most neighbours first


def mean_shift(
    points: Tensor, bandwidth: float, *, weights: Tensor | None = None, max_iter: int = 300
) -> Modes:
    """Clusters around the peaks of the density: (P, D) -> labels (P,), modes (M, D).

    Every step compares all points with all points: a few thousand are enough.

    Args:
        points: where the points are.
        bandwidth: radius of the neighbourhood, in the unit of the points; peaks that lie closer
            together than this are one.
        weights: how often each point counts (P,); default: once.
        max_iter: at most so many steps for each point, which stops when it moves by less than a
            thousandth of the bandwidth.

    Raises:
        ValueError: if the points have not two axes, or the bandwidth is not positive.
    """
    points = check_points(points)
    if not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth={bandwidth} holds no neighbours: choose a radius above 0.")
    weights = points.new_ones(len(points)) if weights is None else weights.detach().cpu().double()
    size = max(1, _CHUNK // len(points))
    ends, masses = zip(
        *(_climb(part, points, weights, bandwidth, max_iter) for part in points.split(size)),
        strict=True,
    )
    return _merge(torch.cat(ends), torch.cat(masses), bandwidth)


def _climb(
    starts: Tensor, points: Tensor, weights: Tensor, bandwidth: float, max_iter: int
) -> tuple[Tensor, Tensor]:
    """Where the starts arrive, and the weight around it: (S, D), (P, D), (P,) -> (S, D), (S,)."""
    at, mass = starts.clone(), starts.new_zeros(len(starts))
    moving = torch.arange(len(starts))
    for _ in range(max_iter):
        near = _within(at[moving], points, bandwidth) * weights  # (S, P)
        mass[moving] = near.sum(dim=1)
        target = near @ points / mass[moving, None]
        shift = (target - at[moving]).norm(dim=1)
        at[moving] = target
        moving = moving[shift > 1e-3 * bandwidth]
        if len(moving) == 0:
            break
    return at, mass


def _within(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """Which points lie within the radius of which: (A, D), (B, D) -> (A, B) bool."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") <= radius


def _merge(ends: Tensor, masses: Tensor, bandwidth: float) -> Modes:
    """Ends within the bandwidth of a heavier one belong to it: (P, D), (P,) -> Modes.

    On a plateau many ends are equally heavy, each near the next: all of them are one mode.
    """
    labels = torch.full((len(ends),), -1)
    modes, size = [], max(1, _CHUNK // len(ends))
    for number in masses.argsort(descending=True, stable=True).tolist():
        if labels[number] >= 0:
            continue
        plateau = ends[number][None]
        while len(plateau):
            near = [_within(part, ends, bandwidth).any(dim=0) for part in plateau.split(size)]
            near = torch.stack(near).any(dim=0) & (labels < 0)
            labels[near] = len(modes)
            plateau = ends[near & (masses == masses[number])].unique(dim=0)
        modes.append(ends[number])
    return Modes(labels, torch.stack(modes))


def color_modes(image: Tensor, bandwidth: float, *, cells: int = 3) -> Tensor:
    """Mean shift of the colours in Lab: image in [0, 1] or uint8 -> (H, W) int64 from 0 on.

    The colours are sorted into cells of side ``bandwidth / cells``; what climbs is the mean colour
    of a cell, weighted by its pixels.
    """
    features = lab(image).flatten(1).T
    _, cell, sizes = (
        (features * cells / bandwidth)
        .floor()
        .unique(dim=0, return_inverse=True, return_counts=True)
    )
    sums = features.new_zeros(len(sizes), 3).index_add_(0, cell, features)
    found = mean_shift(sums / sizes[:, None], bandwidth, weights=sizes)
    return found.labels[cell].view(image.shape[-2:])
