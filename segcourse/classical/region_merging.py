"""Felzenszwalb's graph: join two regions if the step between them is no larger than steps within.

    pixels are nodes, neighbours are edges      sort the edges once, the smallest difference first;
    weighted by their difference of colour:     for each: its two regions A and B join if

     ●─1─●─9─●─2─●                                w ≤ Int(A) + k/|A|   and   w ≤ Int(B) + k/|B|
     A───A   B───B
                                                Int: the largest w that joined it, |A|: pixels

A large region joins only what differs no more than its own pixels do; the bonus k/|A| lets small
ones grow first. A larger k makes larger regions.

Felzenszwalb, Huttenlocher. "Efficient Graph-Based Image Segmentation." IJCV 2004.
https://doi.org/10.1023/B:VISI.0000022288.19776.77

Conventions: k belongs to colours from 0 to 255 as in the paper, although images are in [0, 1]. The
difference of two colours is the length of the difference vector.

Differs from the paper:

- One graph compares colours, as in scikit-image; the paper cuts each channel alone and intersects
  the regions.
- Regions below ``min_size`` join a neighbour at the end.
"""

import math

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from segcourse.classical.pixels import neighbors, unit


def felzenszwalb(
    image: Tensor, k: float = 300.0, *, sigma: float = 0.8, min_size: int = 20
) -> Tensor:
    """Regions by comparing differences: image in [0, 1] or uint8 -> (H, W) int64 from 0 on.

    Args:
        image: the differences are those of its channels.
        k: preference for large regions, for colours from 0 to 255.
        sigma: how much the image is smoothed first, in pixels.
        min_size: afterwards, regions of fewer pixels join the neighbour that differs least.

    Raises:
        ValueError: if k, sigma or the size is negative.
    """
    if not (0 <= k < math.inf and 0 <= sigma < math.inf and min_size >= 0):
        raise ValueError(
            f"felzenszwalb(k={k}, sigma={sigma}, min_size={min_size}) cannot be: none of them may "
            "be negative."
        )
    bonus = k / 255
    edges, weights = _sorted_edges(image, sigma)
    regions = DisjointSets(image.shape[-2] * image.shape[-1])
    for (a, b), weight in zip(edges, weights, strict=True):
        a, b = regions.find(a), regions.find(b)
        if a != b:
            size, within = regions.size, regions.internal_difference
            if weight <= min(within[a] + bonus / size[a], within[b] + bonus / size[b]):
                regions.merge(a, b, weight)
    for (a, b), weight in zip(edges, weights, strict=True):
        a, b = regions.find(a), regions.find(b)
        if a != b and min(regions.size[a], regions.size[b]) < min_size:
            regions.merge(a, b, weight)
    roots = torch.tensor([regions.find(at) for at in range(len(regions.parent))])
    return roots.unique(return_inverse=True)[1].view(image.shape[-2:])


def _sorted_edges(image: Tensor, sigma: float) -> tuple[list[list[int]], list[float]]:
    """Pairs of 8-neighbours by ascending difference of the smoothed colours: -> (E, 2), (E,)."""
    colors = torch.from_numpy(gaussian_filter(unit(image).numpy(), (0, sigma, sigma)))
    edges, _ = neighbors(*colors.shape[-2:], connectivity=8)
    a, b = colors.flatten(1)[:, edges.T].unbind(dim=1)
    weights, order = (a - b).norm(dim=0).sort(stable=True)
    return edges[order].tolist(), weights.tolist()


class DisjointSets:
    """Regions that can only join (union-find): ``find`` names the region of a pixel."""

    def __init__(self, count: int):
        self.parent = list(range(count))
        self.size = [1] * count
        # Int: edges come in ascending order, so the last is the largest.
        self.internal_difference = [0.0] * count

    def find(self, at: int) -> int:
        """The root of the region; the way to it is halved, so that the next one is shorter."""
        parent = self.parent
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    def merge(self, a: int, b: int, weight: float) -> None:
        """Make one region of those with roots ``a`` and ``b``; the smaller hangs on the larger."""
        if self.size[a] < self.size[b]:
            a, b = b, a
        self.parent[b] = a
        self.size[a] += self.size[b]
        self.internal_difference[a] = weight
