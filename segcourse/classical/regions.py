"""Region growing: start at a seed and take in neighbours that are similar enough.

    · · · · · ·      rule        a neighbour joins if its value is within the tolerance of
    · ■ ■ ← · ·
    · ■ S ■ · ·      "seed"      the seed's value
    · · ■ · · ·      "mean"      the mean of the region so far (depends on the order of visits)
                     "neighbor"  the pixel of the region that it touches (leaks along ramps)

Adams, Bischof. "Seeded Region Growing." TPAMI 1994, is the best known of many relatives:
https://doi.org/10.1109/34.295913. It grows several seeds at once, most similar pixel first.

Conventions: the tolerance is in the unit of the image and belongs to the region (at most, not
below). The difference of two colours is the length of the difference vector. A seed is (row,
column). Neighbours are visited in the order in which they were found (breadth first), so the
region grows in rings.
"""

import math
from collections import deque

import torch
from torch import Tensor

from segcourse.classical.pixels import channels, offsets

_RULES = ("seed", "mean", "neighbor")


def region_growing(
    image: Tensor,
    seed_point: tuple[int, int],
    *,
    tolerance: float,
    rule: str = "seed",
    connectivity: int = 4,
) -> Tensor:
    """The connected region around the seed whose values are similar: image -> (H, W) bool.

    Args:
        image: any image; the tolerance is in its unit.
        seed_point: (row, column) of the first pixel.
        tolerance: the largest difference that is still similar.
        rule: with what a neighbour is compared: "seed", "mean" or "neighbor".
        connectivity: 4 or 8 neighbours.

    Raises:
        ValueError: if the seed lies outside, the tolerance is negative, or the rule is unknown.
    """
    colors = channels(image)
    height, width = colors.shape[-2:]
    _check_arguments(seed_point, (height, width), tolerance, rule)
    values = colors.movedim(0, -1).tolist()  # Python's numbers are faster one by one
    steps = offsets(connectivity)
    row, column = seed_point
    inside = [[False] * width for _ in range(height)]
    inside[row][column] = True
    reference, size = values[row][column], 1
    queue = deque([(row, column)])
    while queue:
        row, column = queue.popleft()
        if rule == "neighbor":
            reference = values[row][column]
        for down, right in steps:
            y, x = row + down, column + right
            if not (0 <= y < height and 0 <= x < width) or inside[y][x]:
                continue
            value = values[y][x]
            if math.dist(value, reference) > tolerance:
                continue
            inside[y][x] = True
            queue.append((y, x))
            if rule == "mean":
                size += 1
                reference = [a + (b - a) / size for a, b in zip(reference, value, strict=True)]
    return torch.tensor(inside)


def _check_arguments(
    seed_point: tuple[int, int], size: tuple[int, int], tolerance: float, rule: str
) -> None:
    """Refuse a seed outside the image, a negative tolerance, and an unknown rule."""
    if len(seed_point) != 2 or not all(
        0 <= at < side for at, side in zip(seed_point, size, strict=True)
    ):
        raise ValueError(
            f"seed_point={tuple(seed_point)} lies outside the image of {size[0]} x {size[1]} "
            "pixels: give (row, column), counted from 0."
        )
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance={tolerance} lets nothing join: give a number from 0 on.")
    if rule not in _RULES:
        raise ValueError(f"there is no rule {rule!r} for growing: choose one of {_RULES}.")
