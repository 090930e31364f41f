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

Differs from the paper:

- The Gaussians are those of ``segcourse.classical.gaussians``: never singular, so that step 2 is an
  exact minimisation too, and learned until they rest before each cut, from the old ones and anew.
- What a pixel can lose by its side is clipped, at more than all its pairs can pay together, which
  changes no cut; certain pixels would lose as much. Border matting is left out.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from segcourse.classical.gaussians import GaussianMixture, cost, learn, moments
from segcourse.classical.graph_cut import contrast_weights, energy, minimum_cut
from segcourse.classical.pixels import check_partition, neighbors, unit
from segcourse.ops.labels import IGNORE
from segcourse.ops.masks import check_mask

BACKGROUND, FOREGROUND = 0, 1  # of a trimap; IGNORE: undecided


class Cut(NamedTuple):
    """What GrabCut found."""

    mask: Tensor  # (H, W) bool
    energies: list[float]  # after each cut, never increasing
    models: list[GaussianMixture]  # outside, object


def grabcut(
    image: Tensor,
    trimap: Tensor,
    *,
    n_components: int = 5,
    gamma: float = 50.0,
    max_iter: int = 10,
    n_init: int = 1,
) -> Cut:
    """Cut out an object: image in [0, 1] or uint8, trimap (H, W) -> mask (H, W) and energies.

    Args:
        image: colours or grey values.
        trimap: 0 where there is certainly no object, 1 where there certainly is, IGNORE where
            GrabCut shall decide (at first: object); see :func:`trimap_from_box`.
        n_components: Gaussians on each side.
        gamma: what two equal neighbours on different sides pay.
        max_iter: at most so many cuts; ends before when a cut gains nothing.
        n_init: runs from different Gaussians, of which that of the least energy is returned.

    Raises:
        ValueError: if sizes differ, the trimap holds other labels, or a side has no pixel at first.
    """
    colors, trimap = _prepare(image, trimap, n_components)
    edges, weights = _pairs(colors, trimap.shape, gamma)
    runs = [
        _alternate(
            moments(colors), trimap.flatten(), (edges, weights), n_components, max_iter, seed
        )
        for seed in range(0, 1000 * n_init, 1000)
    ]
    labels, energies, models = min(runs, key=lambda run: run[1][-1])
    return Cut(labels.view(trimap.shape).bool(), energies, models)


def _alternate(
    points: Tensor,
    trimap: Tensor,
    links: tuple[Tensor, Tensor],
    n_components: int,
    max_iter: int,
    seed: int,
) -> tuple[Tensor, list[float], list[GaussianMixture]]:
    """The loop: moments (P, M), trimap (P,), pairs (E, 2), (E,) -> labels (P,), energies, models.

    A side that has lost all its pixels keeps its Gaussians, and may win pixels back.
    """
    labels = trimap.clamp(max=1)  # IGNORE becomes object
    models, energies = [None, None], []
    for step in range(max_iter):
        for side in (BACKGROUND, FOREGROUND):
            if (labels == side).any():
                models[side] = learn(
                    points[labels == side], models[side], n_components, seed + step
                )
        costs = torch.stack([cost(points, model) for model in models])
        cut = _decide(costs, trimap, *links)
        before, after = (energy(each, costs, *links) for each in (labels, cut))
        energies.append(min(before, after))
        if after >= before:  # nothing gained; rounded costs may even lose a little
            break
        labels = cut
    return labels, energies, models


def mask_energy(
    image: Tensor, mask: Tensor, *, n_components: int = 5, gamma: float = 50.0
) -> float:
    """E of any mask, with the best Gaussians that a few starts find: (H, W) bool -> number."""
    colors, mask = unit(image).flatten(1).T, check_mask(mask).cpu()
    edges, weights = _pairs(colors, mask.shape, gamma)
    labels = mask.flatten().long()
    total = energy(labels, torch.zeros(2, len(labels)), edges, weights)
    for side in (BACKGROUND, FOREGROUND):
        points = moments(colors[labels == side])
        if len(points):
            total += float(cost(points, learn(points, None, n_components, 0)).sum())
    return total


def _pairs(colors: Tensor, size: tuple[int, int], gamma: float) -> tuple[Tensor, Tensor]:
    """Neighbours and what they pay on different sides: (P, C) -> (E, 2), (E,)."""
    edges, distances = neighbors(*size, connectivity=8)
    return edges, contrast_weights(colors.T, edges, distances, gamma=gamma)


def _decide(costs: Tensor, trimap: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """Step 3: certain pixels keep their side, the others are cut: (2, P), (P,) -> (P,) int64."""
    certain = 9 * float(weights.max()) + 1
    ahead = (costs[0] - costs[1]).clamp(-certain, certain)  # above 0: object is cheaper
    ahead = torch.where(
        trimap == FOREGROUND, certain, torch.where(trimap == BACKGROUND, -certain, ahead)
    )
    labels = minimum_cut(torch.stack([ahead, torch.zeros_like(ahead)]), edges, weights)
    return torch.where(trimap == IGNORE, labels, trimap)


def trimap_from_box(box: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    """Undecided in the box, certainly no object outside it: (x0, y0, x1, y1) -> (H, W) int64.

    Raises:
        ValueError: if no pixel lies inside the box, or none outside it.
    """
    x0, y0, x1, y1 = box
    trimap = torch.full(size, BACKGROUND)
    trimap[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = IGNORE
    if (trimap == IGNORE).all() or (trimap == BACKGROUND).all():
        raise ValueError(
            f"the box {tuple(box)} must leave pixels of the image ({size[0]} x {size[1]}) inside "
            "and outside: give (x0, y0, x1, y1) in pixels around the object."
        )
    return trimap


def _prepare(image: Tensor, trimap: Tensor, n_components: int) -> tuple[Tensor, Tensor]:
    """Check what came in: -> colours (P, C), trimap (H, W)."""
    colors, trimap = unit(image), check_partition(trimap, "the trimap")
    if trimap.shape != colors.shape[-2:]:
        raise ValueError(
            f"the trimap {tuple(trimap.shape)} and the image {tuple(colors.shape[-2:])} differ in "
            "size: say of every pixel what is known."
        )
    wrong = trimap[(trimap != BACKGROUND) & (trimap != FOREGROUND) & (trimap != IGNORE)]
    if len(wrong):
        raise ValueError(
            f"the trimap holds {int(wrong[0])}, but 0 means background, 1 foreground, {IGNORE} "
            "undecided: see trimap_from_box."
        )
    if (trimap != BACKGROUND).all() or (trimap == BACKGROUND).all():
        raise ValueError(
            "a trimap needs pixels that are 0 (background) and others: draw a smaller box."
        )
    if n_components < 1:
        raise ValueError(f"n_components={n_components} explain no colour: take at least 1.")
    return colors.flatten(1).T.contiguous(), trimap
