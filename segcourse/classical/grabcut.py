"""GrabCut: a box is enough; colours of inside and outside are learned while the outline is found.

      box ──→ every pixel inside may be object
       │
       ▼      1 component   each pixel takes the Gaussian of its side that explains it best
    ┌──────┐  2 Gaussians   each Gaussian takes mean, covariance and share of its pixels
    │ loop │  3 cut         each undecided pixel takes a side, by a minimal cut
    └──────┘  until the energy rests

    E = Σ_p cost of p's colour under its Gaussian  +  Σ_pq γ/dist(p, q) · exp(-β |z_p - z_q|²)
                                                    neighbours on different sides

All three steps minimise the *same* energy in some of its variables, so it never increases.

Rother, Kolmogorov, Blake. "GrabCut: Interactive Foreground Extraction using Iterated Graph Cuts."
SIGGRAPH 2004. https://doi.org/10.1145/1015706.1015720

The cost of colour z under a Gaussian of share π, mean μ and covariance Σ is

    -log π + ½ log det Σ + ½ (z - μ)ᵀ Σ⁻¹ (z - μ) + ½ ε² trace Σ⁻¹

Differs from the paper:

- The last term says that true colours scatter around the stored ones by ε, one grey level.
  The best covariance is then that of the pixels plus ε² on the diagonal, never singular, and step 2
  stays an exact minimisation.
- Before each cut, steps 1 and 2 are repeated until they rest, from the old Gaussians and from new
  ones that start from k-means; what explains the colours better is kept.
- What a pixel may lose by its side is clipped at 9γ + 1, more than all its neighbours can pay
  together, which changes no cut; certain pixels would lose as much. Border matting is left out.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from segcourse.classical.graph_cut import contrast_weights, energy, minimum_cut
from segcourse.classical.kmeans import kmeans
from segcourse.classical.pixels import check_partition, neighbours, unit
from segcourse.ops.labels import IGNORE
from segcourse.ops.masks import check_mask

OUTSIDE, OBJECT = 0, 1  # hints: certainly outside, certainly object; IGNORE: undecided
NOISE = 1 / 255  # ε
STARTS, DRAWN = 6, 4000  # of new Gaussians, and the pixels that they are tried on


class Gaussians(NamedTuple):
    """Colours of one side: k Gaussians in C dimensions."""

    shares: Tensor  # (k,), sum to 1
    means: Tensor  # (k, C)
    covariances: Tensor  # (k, C, C)


class Cut(NamedTuple):
    """What GrabCut found."""

    mask: Tensor  # (H, W) bool
    energies: list[float]  # after each cut, never increasing
    models: list[Gaussians]  # outside, object


def grabcut(
    image: Tensor,
    hints: Tensor,
    *,
    components: int = 5,
    gamma: float = 50.0,
    steps: int = 10,
    restarts: int = 1,
) -> Cut:
    """Cut out an object: image in [0, 1] or uint8, hints (H, W) -> mask (H, W) and energies.

    Args:
        image: colours or grey values.
        hints: 0 where there is certainly no object, 1 where there certainly is, IGNORE where
            GrabCut shall decide (at first: object); see :func:`box_hints`.
        components: Gaussians on each side.
        gamma: what two equal neighbours on different sides pay.
        steps: at most so many cuts; ends before when a cut gains nothing.
        restarts: runs from different Gaussians, of which that of the least energy is returned.

    Raises:
        ValueError: if sizes differ, hints hold other labels, or one side has no pixel at first.
    """
    colours, hints = prepare(image, hints, components)
    edges, weights = pairs(colours, hints.shape, gamma)
    points, certain = moments(colours), 9 * gamma + 1
    runs = []
    for run in range(restarts):
        labels = hints.flatten().clamp(max=1)  # IGNORE becomes object
        models, energies = [None, None], []
        for step in range(steps):
            for side in (OUTSIDE, OBJECT):
                if (labels == side).any():
                    seed = 1000 * run + step
                    models[side] = learn(points[labels == side], models[side], components, seed)
            costs = torch.stack([cost(points, model) for model in models])
            cut = decide(costs, hints.flatten(), edges, weights, certain)
            before, after = (energy(each, costs, edges, weights) for each in (labels, cut))
            energies.append(min(before, after))
            if after >= before:  # nothing gained; rounded costs may even lose a little
                break
            labels = cut
        runs.append(Cut(labels.view(hints.shape).bool(), energies, models))
    return min(runs, key=lambda run: run.energies[-1])


def mask_energy(image: Tensor, mask: Tensor, *, components: int = 5, gamma: float = 50.0) -> float:
    """E of any mask, with the best Gaussians that a few starts find: (H, W) bool -> number."""
    colours, mask = unit(image).flatten(1).T, check_mask(mask)
    edges, weights = pairs(colours, mask.shape, gamma)
    labels = mask.flatten().long()
    total = energy(labels, torch.zeros(2, len(labels)), edges, weights)
    for side in (OUTSIDE, OBJECT):
        points = moments(colours[labels == side])
        if len(points):
            total += float(cost(points, learn(points, None, components, 0)).sum())
    return total


def pairs(colours: Tensor, size: tuple[int, int], gamma: float) -> tuple[Tensor, Tensor]:
    """Neighbours and what they pay on different sides: (P, C) -> (E, 2), (E,)."""
    edges, distances = neighbours(*size, connectivity=8)
    return edges, contrast_weights(colours.T, edges, distances, strength=gamma)


# --------------------------------------------------------------------- Gaussians: steps 1 and 2


def moments(colours: Tensor) -> Tensor:
    """All that a Gaussian needs of a colour z, namely 1, z and z zᵀ: (P, C) -> (P, 1 + C + C²)."""
    products = (colours[:, :, None] * colours[:, None]).flatten(1)
    return torch.cat([torch.ones_like(colours[:, :1]), colours, products], dim=1)


def component_costs(points: Tensor, model: Gaussians) -> Tensor:
    """The formula above for every Gaussian; it is linear in the moments: (P, M) -> (P, k)."""
    inverse = torch.linalg.inv(model.covariances)
    pull = (inverse @ model.means[:, :, None])[..., 0]  # Σ⁻¹ μ
    trace = inverse.diagonal(dim1=1, dim2=2).sum(dim=1)
    constant = torch.logdet(model.covariances) + (pull * model.means).sum(dim=1) + NOISE**2 * trace
    constant = constant / 2 - model.shares.log()
    linear = torch.cat([constant[:, None], -pull, inverse.flatten(1) / 2], dim=1)
    return points @ linear.T


def cost(points: Tensor, model: Gaussians) -> Tensor:
    """Of each pixel, under the Gaussian that explains it best: (P, M) -> (P,)."""
    return component_costs(points, model).min(dim=1).values


def fit(points: Tensor, members: Tensor, components: int) -> Gaussians:
    """Step 2: share, mean and covariance of each component: (P, M), (P,) -> Gaussians.

    A component without pixels has share 0: its cost is infinite, and nobody takes it again.
    """
    sums = points.new_zeros(components, points.shape[1]).index_add_(0, members, points)
    channels = math.isqrt(points.shape[1] - 1)
    sizes, first, second = sums.split([1, channels, channels**2], dim=1)
    means, squares = first / sizes.clamp(min=1), second / sizes.clamp(min=1)
    spread = squares.view(-1, channels, channels) - means[:, :, None] * means[:, None]
    noise = NOISE**2 * torch.eye(channels, dtype=torch.float64)
    return Gaussians(sizes[:, 0] / len(points), means, spread + noise)


def refit(points: Tensor, model: Gaussians, rounds: int = 50) -> Gaussians:
    """Step 1 and step 2 in turns until no pixel changes its Gaussian: (P, M) -> Gaussians."""
    members = None
    for _ in range(rounds):
        nearest = component_costs(points, model).min(dim=1).indices
        if members is not None and torch.equal(nearest, members):
            break
        members = nearest
        model = fit(points, members, len(model.shares))
    return model


def learn(points: Tensor, model: Gaussians | None, components: int, seed: int) -> Gaussians:
    """Steps 1 and 2 for one side, from the old Gaussians and from new ones: the better result."""
    starts = [new_gaussians(points, components, seed), *([model] if model else [])]
    return least([refit(points, start) for start in starts], points)


def new_gaussians(points: Tensor, components: int, seed: int) -> Gaussians:
    """The best of a few starts from k-means, on pixels drawn at random: (P, M) -> Gaussians."""
    generator = torch.Generator().manual_seed(seed)
    drawn = points[torch.randperm(len(points), generator=generator)[:DRAWN]]
    colours = drawn[:, 1 : 1 + math.isqrt(drawn.shape[1] - 1)]
    k, results = min(components, len(drawn)), []
    for start in range(STARTS):
        found = kmeans(colours, k, restarts=1, steps=1, seed=seed + start)
        results.append(refit(drawn, fit(drawn, found.labels, components)))
    return least(results, drawn)


def least(models: list[Gaussians], points: Tensor) -> Gaussians:
    """The Gaussians under which the pixels cost least."""
    return min(models, key=lambda model: float(cost(points, model).sum()))


# --------------------------------------------------------------------------------- cuts: step 3


def decide(costs: Tensor, hints: Tensor, edges: Tensor, weights: Tensor, certain: float) -> Tensor:
    """Step 3: certain pixels keep their side, the others are cut: (2, P), (P,) -> (P,) int64."""
    ahead = (costs[0] - costs[1]).clamp(-certain, certain)  # above 0: object is cheaper
    ahead = torch.where(hints == OBJECT, certain, torch.where(hints == OUTSIDE, -certain, ahead))
    labels = minimum_cut(torch.stack([ahead, torch.zeros_like(ahead)]), edges, weights)
    return torch.where(hints == IGNORE, labels, hints)


def box_hints(box: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    """Undecided in the box, certainly no object outside it: (x0, y0, x1, y1) -> (H, W) int64.

    Raises:
        ValueError: if no pixel lies inside the box, or none outside it.
    """
    x0, y0, x1, y1 = box
    hints = torch.full(size, OUTSIDE)
    hints[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = IGNORE
    if (hints == IGNORE).all() or (hints == OUTSIDE).all():
        raise ValueError(
            f"the box {tuple(box)} must leave pixels of the image ({size[0]} x {size[1]}) inside "
            "and outside: give (x0, y0, x1, y1) in pixels around the object."
        )
    return hints


def prepare(image: Tensor, hints: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Check what came in: -> colours (P, C), hints (H, W)."""
    colours, hints = unit(image), check_partition(hints, "hints")
    if hints.shape != colours.shape[-2:]:
        raise ValueError(
            f"hints {tuple(hints.shape)} and image {tuple(colours.shape[-2:])} differ in size: "
            "give a hint for every pixel."
        )
    wrong = hints[(hints != OUTSIDE) & (hints != OBJECT) & (hints != IGNORE)]
    if len(wrong):
        raise ValueError(
            f"hints hold {int(wrong[0])}, but mean 0 outside, 1 object, {IGNORE} undecided: see "
            "box_hints."
        )
    if (hints != OUTSIDE).all() or (hints == OUTSIDE).all():
        raise ValueError("hints need pixels that are 0 (outside) and others: draw a smaller box.")
    if components < 1:
        raise ValueError(f"components={components} explain no colour: take at least 1.")
    return colours.flatten(1).T.contiguous(), hints
