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

from segcourse.classical.gaussians import Gaussians, cost, learn, moments
from segcourse.classical.graph_cut import contrast_weights, energy, minimum_cut
from segcourse.classical.pixels import check_partition, neighbours, unit
from segcourse.ops.labels import IGNORE
from segcourse.ops.masks import check_mask

OUTSIDE, OBJECT = 0, 1  # hints: certainly outside, certainly object; IGNORE: undecided


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
    runs = [
        alternate(moments(colours), hints.flatten(), (edges, weights), components, steps, seed)
        for seed in range(0, 1000 * restarts, 1000)
    ]
    labels, energies, models = min(runs, key=lambda run: run[1][-1])
    return Cut(labels.view(hints.shape).bool(), energies, models)


def alternate(
    points: Tensor,
    hints: Tensor,
    links: tuple[Tensor, Tensor],
    components: int,
    steps: int,
    seed: int,
) -> tuple[Tensor, list[float], list[Gaussians]]:
    """The loop: moments (P, M), hints (P,), pairs (E, 2) and (E,) -> labels (P,), energies, models.

    A side that has lost all its pixels keeps its Gaussians, and may win pixels back.
    """
    labels = hints.clamp(max=1)  # IGNORE becomes object
    models, energies = [None, None], []
    for step in range(steps):
        for side in (OUTSIDE, OBJECT):
            if (labels == side).any():
                models[side] = learn(points[labels == side], models[side], components, seed + step)
        costs = torch.stack([cost(points, model) for model in models])
        cut = decide(costs, hints, *links)
        before, after = (energy(each, costs, *links) for each in (labels, cut))
        energies.append(min(before, after))
        if after >= before:  # nothing gained; rounded costs may even lose a little
            break
        labels = cut
    return labels, energies, models


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


def decide(costs: Tensor, hints: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """Step 3: certain pixels keep their side, the others are cut: (2, P), (P,) -> (P,) int64."""
    certain = 9 * float(weights.max()) + 1
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
