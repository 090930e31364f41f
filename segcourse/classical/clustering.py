"""k-means: every pixel takes the nearest of k colours, every colour the mean of its pixels.

      ·∴ ×   ∵·        assign   each point to the nearest centre ×
      ∴·    × ∵∴       move     each centre to the mean of its points
       ·  ×            repeat   until no point changes its centre

Both steps can only lower the inertia, the sum of squared distances of the points to their centres.
It ends in a local minimum, which depends on the start: hence careful seeds, and several runs.

Lloyd. "Least Squares Quantization in PCM." IEEE Transactions on Information Theory, 1982.
https://doi.org/10.1109/TIT.1982.1056489
Arthur, Vassilvitskii. "k-means++: The Advantages of Careful Seeding." SODA 2007.
http://ilpubs.stanford.edu:8090/778/1/2006-13.pdf

Differs from the papers:

- k-means++ draws a few candidates for each seed and keeps the best, as scikit-learn does.
- A cluster that loses all its points starts anew at the point that is farthest from its centre.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from segcourse.classical.pixels import check_points, lab


class Clusters(NamedTuple):
    """What k-means found: the inertias of all steps never increase."""

    labels: Tensor  # (P,) int64, number of the nearest centre
    centers: Tensor  # (k, D) float64
    inertias: list[float]  # sum of squared distances to the nearest centre, one value a step


def kmeans(
    points: Tensor,
    k: int,
    *,
    n_init: int = 10,
    max_iter: int = 300,
    seed: int = 0,
    init: Tensor | None = None,
) -> Clusters:
    """The best of several runs of k-means: (P, D) -> labels (P,), centers (k, D), inertias.

    Args:
        points: any number of points in any number of dimensions.
        k: number of clusters.
        n_init: runs from different seeds; the one with the least inertia is returned.
        max_iter: at most so many steps; a run ends before if no point changes its cluster.
        seed: of the random draws.
        init: centres (k, D) to start from, instead of random seeds.

    Raises:
        ValueError: if the points have not two axes, or k is not from 1 to the number of points.
    """
    points = check_points(points)
    if not 1 <= k <= len(points):
        raise ValueError(
            f"{len(points)} points cannot form k={k} clusters: choose from 1 to {len(points)}."
        )
    if init is not None:
        return _lloyd(points, check_points(init), max_iter)
    generator = torch.Generator().manual_seed(seed)
    runs = (_lloyd(points, kmeans_plusplus(points, k, generator), max_iter) for _ in range(n_init))
    return min(runs, key=lambda run: run.inertias[-1])


def _lloyd(points: Tensor, centers: Tensor, max_iter: int) -> Clusters:
    """Alternate: assign points to centres, move centres to means: (P, D), (k, D) -> Clusters."""
    inertias, labels = [], None
    for _ in range(max_iter):
        squares, nearest = _squared_distances(points, centers).min(dim=1)
        inertias.append(float(squares.sum()))
        if labels is not None and torch.equal(nearest, labels):
            return Clusters(labels, centers, inertias)
        labels = nearest
        centers = _means(points, labels, squares, len(centers))
    squares, labels = _squared_distances(points, centers).min(dim=1)
    return Clusters(labels, centers, [*inertias, float(squares.sum())])


def _means(points: Tensor, labels: Tensor, squares: Tensor, k: int) -> Tensor:
    """The mean of every cluster; an empty one moves to the farthest point: -> (k, D)."""
    sums = points.new_zeros(k, points.shape[1]).index_add_(0, labels, points)
    sizes = labels.bincount(minlength=k)
    empty = (sizes == 0).nonzero()[:, 0]
    centers = sums / sizes.clamp(min=1)[:, None]
    centers[empty] = points[squares.topk(len(empty)).indices]
    return centers


def kmeans_plusplus(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Seeds far from each other: drawn in proportion to the squared distance: (P, D) -> (k, D)."""
    candidates = 2 + int(math.log(k))
    first = int(torch.randint(len(points), (1,), generator=generator))
    chosen = [points[first]]
    squares = _squared_distances(points, chosen[0][None])[:, 0]
    for _ in range(k - 1):
        total = squares.cumsum(0)
        draws = torch.rand(candidates, generator=generator, dtype=torch.float64) * total[-1]
        drawn = torch.searchsorted(total, draws, right=True).clamp(max=len(points) - 1)
        closer = torch.minimum(squares[:, None], _squared_distances(points, points[drawn]))
        best = closer.sum(dim=0).argmin()
        chosen.append(points[drawn[best]])
        squares = closer[:, best]
    return torch.stack(chosen)


def _squared_distances(points: Tensor, centers: Tensor) -> Tensor:
    """From every point to every centre: (P, D), (k, D) -> (P, k)."""
    return torch.stack([(points - center).square().sum(dim=1) for center in centers], dim=1)


def color_clusters(
    image: Tensor, k: int, *, position: float = 0.0, n_init: int = 10, seed: int = 0
) -> Tensor:
    """k-means of the colours in Lab: image in [0, 1] or uint8 -> (H, W) int64 from 0 to k - 1.

    ``position`` adds row and column as two more coordinates: so many units of Lab a pixel. At 0
    the clusters know nothing of the place.
    """
    features = lab(image).flatten(1).T
    if position:
        grid = torch.cartesian_prod(*(torch.arange(side) for side in image.shape[-2:]))
        features = torch.cat([features, position * grid], dim=1)
    return kmeans(features, k, n_init=n_init, seed=seed).labels.view(image.shape[-2:])
