"""Gaussians of colours: what the pixels of an object have in common, and what speaks for a pixel.

    1 assign   each pixel takes the Gaussian that explains its colour best      repeat until no
    2 fit      each Gaussian takes mean, covariance and share of its pixels     pixel changes

It is k-means with ellipsoids for centres. The cost of colour z under a Gaussian of share π, mean μ
and covariance Σ is the negative logarithm of π times its density, but for a constant, and noise:

    -log π + ½ log det Σ + ½ (z - μ)ᵀ Σ⁻¹ (z - μ) + ½ ε² trace Σ⁻¹

Both steps minimise the sum of these costs, so it never increases. Costs below 0 are no mistake:
where colours hardly vary, a density exceeds 1.

The components are those of GrabCut: Rother, Kolmogorov, Blake. "GrabCut: Interactive Foreground
Extraction using Iterated Graph Cuts." SIGGRAPH 2004. https://doi.org/10.1145/1015706.1015720

Differs from the paper: the last term says that true colours scatter around the stored ones by ε,
one grey level. The best covariance is then that of the pixels plus ε² on the diagonal, which is
never singular.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from segcourse.classical.clustering import kmeans

NOISE = 1 / 255  # ε
_STARTS, _DRAWN = 6, 4000  # of new Gaussians, and the pixels that they are tried on


class GaussianMixture(NamedTuple):
    """Colours of one side: k Gaussians in C dimensions."""

    weights: Tensor  # (k,), sum to 1
    means: Tensor  # (k, C)
    covariances: Tensor  # (k, C, C)


def moments(colors: Tensor) -> Tensor:
    """All that a Gaussian needs of a colour z, namely 1, z and z zᵀ: (P, C) -> (P, 1 + C + C²)."""
    colors = colors.double()  # squares of bytes would wrap around
    products = (colors[:, :, None] * colors[:, None]).flatten(1)
    return torch.cat([torch.ones_like(colors[:, :1]), colors, products], dim=1)


def component_costs(points: Tensor, model: GaussianMixture) -> Tensor:
    """The formula above for every Gaussian; it is linear in the moments: (P, M) -> (P, k)."""
    inverse = torch.linalg.inv(model.covariances)
    pull = (inverse @ model.means[:, :, None])[..., 0]  # Σ⁻¹ μ
    trace = inverse.diagonal(dim1=1, dim2=2).sum(dim=1)
    constant = torch.logdet(model.covariances) + (pull * model.means).sum(dim=1) + NOISE**2 * trace
    constant = constant / 2 - model.weights.log()
    linear = torch.cat([constant[:, None], -pull, inverse.flatten(1) / 2], dim=1)
    return points @ linear.T


def cost(points: Tensor, model: GaussianMixture) -> Tensor:
    """Of each pixel, under the Gaussian that explains it best: (P, M) -> (P,)."""
    return component_costs(points, model).min(dim=1).values


def fit(points: Tensor, members: Tensor, n_components: int) -> GaussianMixture:
    """Step 2: share, mean and covariance of each component: (P, M), (P,) -> Gaussians.

    A component without pixels has share 0: its cost is infinite, and nobody takes it again.
    """
    sums = points.new_zeros(n_components, points.shape[1]).index_add_(0, members, points)
    channels = math.isqrt(points.shape[1] - 1)
    sizes, first, second = sums.split([1, channels, channels**2], dim=1)
    means, squares = first / sizes.clamp(min=1), second / sizes.clamp(min=1)
    spread = squares.view(-1, channels, channels) - means[:, :, None] * means[:, None]
    noise = NOISE**2 * torch.eye(channels, dtype=torch.float64)
    return GaussianMixture(sizes[:, 0] / len(points), means, spread + noise)


def refit(points: Tensor, model: GaussianMixture, rounds: int = 50) -> GaussianMixture:
    """Step 1 and step 2 in turns until no pixel changes its Gaussian: (P, M) -> Gaussians."""
    members = None
    for _ in range(rounds):
        nearest = component_costs(points, model).min(dim=1).indices
        if members is not None and torch.equal(nearest, members):
            break
        members = nearest
        model = fit(points, members, len(model.weights))
    return model


def learn(
    points: Tensor, model: GaussianMixture | None, n_components: int, seed: int
) -> GaussianMixture:
    """Steps 1 and 2 for one side, from the old Gaussians and from new ones: the better result."""
    starts = [_new_gaussians(points, n_components, seed), *([model] if model else [])]
    return _cheapest([refit(points, start) for start in starts], points)


def _new_gaussians(points: Tensor, n_components: int, seed: int) -> GaussianMixture:
    """The best of a few starts from k-means, on pixels drawn at random: (P, M) -> Gaussians."""
    generator = torch.Generator().manual_seed(seed)
    drawn = points[torch.randperm(len(points), generator=generator)[:_DRAWN]]
    colors = drawn[:, 1 : 1 + math.isqrt(drawn.shape[1] - 1)]
    k, results = min(n_components, len(drawn)), []
    for start in range(_STARTS):
        found = kmeans(colors, k, n_init=1, max_iter=1, seed=seed + start)
        results.append(refit(drawn, fit(drawn, found.labels, n_components)))
    return _cheapest(results, drawn)


def _cheapest(models: list[GaussianMixture], points: Tensor) -> GaussianMixture:
    """The Gaussians under which the pixels cost least."""
    return min(models, key=lambda model: float(cost(points, model).sum()))
