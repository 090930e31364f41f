"""SLIC superpixels: k-means of colour and place, where every centre looks only at its surroundings.

    ┌───────2S───────┐     k centres on a grid of spacing S = √(pixels / k). A pixel belongs to
    │ ·  ·  ·  ·  ·  │     the centre with the least
    │ ·  ·  ×  ·  ·  │
    │ ·  ·  ·  ·  ·  │        D² = (distance of colours)² + m² (distance in the image / S)²
    └────────────────┘
                           among those whose window of 2S x 2S it lies in. So each step costs the
                           same however many centres there are.

Achanta, Shaji, Smith, Lucchi, Fua, Süsstrunk. "SLIC Superpixels Compared to State-of-the-Art
Superpixel Methods." TPAMI 2012. https://doi.org/10.1109/TPAMI.2012.120

Differs from the paper:

- Pieces that are cut off get numbers of their own, and pieces smaller than a quarter of S² join the
  neighbour whose mean colour is nearest.
- There are always ``max_num_iter`` steps; the paper also stops when the centres rest.
"""

import math

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label as connected_pieces
from torch import Tensor

from segcourse.classical.pixels import edge_strength, lab, neighbors

_MIN_SIZE_FACTOR = 1 / 4  # of S x S: smaller pieces join a neighbour


def slic(
    image: Tensor, n_segments: int, *, compactness: float = 10.0, max_num_iter: int = 10
) -> Tensor:
    """Superpixels, each of them connected: image in [0, 1] or uint8 -> (H, W) int64 from 0 on.

    Args:
        image: the colours are compared in Lab.
        n_segments: how many to aim for; there will be about so many.
        compactness: m, the difference of colour that weighs as much as the distance S. More gives
            rounder superpixels, less gives superpixels that follow edges. 1 to 40.
        max_num_iter: how often pixels are assigned and centres moved.

    Raises:
        ValueError: if n_segments is not from 1 to the number of pixels, or m is not positive.
    """
    colors = lab(image)
    height, width = colors.shape[-2:]
    if not 1 <= n_segments <= height * width:
        raise ValueError(
            f"{height} x {width} pixels cannot form {n_segments} superpixels: choose from 1 to "
            f"{height * width}."
        )
    if not 0 < compactness < math.inf:
        raise ValueError(f"compactness={compactness}: choose a positive number; 10 is usual.")
    spacing = math.sqrt(height * width / n_segments)
    rows, columns = (torch.arange(side, dtype=torch.float64) for side in (height, width))
    place = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    features = torch.cat([colors, place * compactness / spacing])  # D is the distance in these
    centers = features[:, *seeds(image, n_segments, (height, width))]  # (5, K)
    for _ in range(max_num_iter):
        labels = _assign(features, centers, compactness / spacing, spacing)
        centers = _means(features, labels, centers)
    return join_small_pieces(labels, colors, _MIN_SIZE_FACTOR * spacing**2)


def seeds(image: Tensor, n_segments: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A grid, each point moved to the least gradient around it: -> rows (K,), columns (K,)."""
    height, width = size
    down = max(1, min(height, round(math.sqrt(n_segments * height / width))))
    across = max(1, min(width, round(n_segments / down)))
    rows = ((torch.arange(down) + 0.5) * height / down).long().repeat_interleave(across)
    columns = ((torch.arange(across) + 0.5) * width / across).long().repeat(down)
    steps = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2))
    steps = steps[steps.abs().sum(dim=1).argsort(stable=True)]  # among equals, the nearest
    around_y = (rows[:, None] + steps[:, 0]).clamp(0, height - 1)
    around_x = (columns[:, None] + steps[:, 1]).clamp(0, width - 1)
    least = edge_strength(image)[around_y, around_x].argmin(dim=1, keepdim=True)
    return around_y.gather(1, least)[:, 0], around_x.gather(1, least)[:, 0]


def _assign(features: Tensor, centers: Tensor, scale: float, spacing: float) -> Tensor:
    """The nearest centre of every pixel among those near it: (5, H, W), (5, K) -> (H, W) int64."""
    height, width = features.shape[-2:]
    labels = torch.full((height, width), -1)
    nearest = torch.full((height, width), math.inf, dtype=torch.float64)
    for number, (row, column) in enumerate((centers[3:] / scale).T.tolist()):
        top, left = max(0, math.ceil(row - spacing)), max(0, math.ceil(column - spacing))
        window = (
            slice(top, max(top, math.floor(row + spacing)) + 1),
            slice(left, max(left, math.floor(column + spacing)) + 1),
        )
        squares = (features[:, *window] - centers[:, number, None, None]).square().sum(dim=0)
        closer = squares < nearest[window]
        nearest[window] = nearest[window].where(~closer, squares)
        labels[window] = labels[window].masked_fill(closer, number)
    return labels


def _means(features: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """The mean colour and place of every superpixel; an empty one stays: -> (5, K)."""
    inside = labels.flatten() >= 0  # pixels that no window reached wait for the pieces to join
    numbers, points = labels.flatten()[inside], features.flatten(1)[:, inside]
    sums = torch.zeros_like(centers).index_add_(1, numbers, points)
    sizes = numbers.bincount(minlength=centers.shape[1])
    return torch.where(sizes > 0, sums / sizes.clamp(min=1), centers)


def join_small_pieces(labels: Tensor, colors: Tensor, min_size: float) -> Tensor:
    """Number the connected pieces; small ones join others: (H, W), (C, H, W) -> (H, W) int64.

    Every piece of fewer than ``min_size`` pixels joins the neighbour whose mean colour is nearest,
    all at the same time, until none is left. The numbers are in reading order.
    """
    pieces = torch.from_numpy(connected_pieces(labels.numpy(), background=-2, connectivity=1)) - 1
    while True:
        count = int(pieces.max()) + 1
        sizes = pieces.flatten().bincount()
        sums = colors.new_zeros(count, len(colors))
        mean = sums.index_add_(0, pieces.flatten(), colors.flatten(1).T) / sizes[:, None]
        piece, other = touching(pieces)
        small = sizes[piece] < min_size
        piece, other = piece[small], other[small]
        if len(piece) == 0:
            return pieces
        nearest_first = (mean[piece] - mean[other]).norm(dim=1).argsort(stable=True)
        piece, other = piece[nearest_first].numpy(), other[nearest_first].numpy()
        piece, first = np.unique(piece, return_index=True)
        links = csr_array((np.ones(len(piece)), (piece, other[first])), shape=(count, count))
        pieces = torch.from_numpy(connected_components(links)[1]).long()[pieces]


def touching(pieces: Tensor) -> tuple[Tensor, Tensor]:
    """Every ordered pair of pieces that share a side, once: (H, W) -> two (E,) int64."""
    edges, _ = neighbors(*pieces.shape)
    pairs = pieces.flatten()[torch.cat([edges, edges.flip(1)])]
    return tuple(pairs[pairs[:, 0] != pairs[:, 1]].unique(dim=0).T)
