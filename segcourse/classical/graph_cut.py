"""Graph cut: the best of all 2^P labellings of P pixels, found exactly.

    E(l) = Σ cost of label l(p) at pixel p  +  Σ weight of every pair of neighbours that differ

               source = label 1
              ╱   │   ╲           A cut separates source and sink. Cutting the edge from the source
           cost of label 0        to a pixel gives it label 0, and its price is the cost of label 0
            ╱     │     ╲         there. Neighbours on different sides pay for the edge between
          (p)━━━━(q)━━━━(r)       them. So the price of a cut is E, the cheapest cut is the best
            ╲     │     ╱         labelling, and its price is the maximal flow from source to sink.
           cost of label 1
              ╲   │   ╱
                sink = label 0

Boykov, Jolly. "Interactive Graph Cuts for Optimal Boundary & Region Segmentation of Objects in N-D
Images." ICCV 2001. https://doi.org/10.1109/ICCV.2001.937505

The flow is SciPy's (``maximum_flow``, Dinic's algorithm). It takes whole numbers only, so all costs
are multiplied by ``precision`` and rounded: the labelling is exactly best for the rounded costs,
and at most (pixels + edges) / precision above the best for the given ones.

Differs from the paper: of the two costs of a pixel only the difference enters the graph, so that
each pixel has one edge to a terminal; what both labels pay anyway changes no choice.
"""

import math

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from torch import Tensor

_LARGEST = 2**30  # a capacity in whole numbers of 32 bits


def energy(labels: Tensor, costs: Tensor, edges: Tensor, weights: Tensor) -> float:
    """What a labelling costs: (P,) of 0 and 1, (2, P), (E, 2), (E,) -> number."""
    labels = labels.flatten().long()
    costs, weights = costs.double(), weights.double()
    own = costs.gather(0, labels[None]).sum()
    a, b = labels[edges].unbind(dim=1)
    return float(own + weights[a != b].sum())


def minimum_cut(
    costs: Tensor, edges: Tensor, weights: Tensor, *, precision: float = 1000.0
) -> Tensor:
    """The labelling of least energy: (2, P), (E, 2), (E,) -> (P,) int64 of 0 and 1.

    Args:
        costs: of label 0 and of label 1 at every pixel; any finite numbers.
        edges: pairs of pixels, such as those of ``segcourse.classical.pixels.neighbours``.
        weights: what a pair pays if its labels differ, at least 0.
        precision: so many steps has the unit of the costs when they are rounded.

    Raises:
        ValueError: if shapes do not fit, a weight is negative, or rounded costs are too large.
    """
    costs, weights = costs.detach().cpu().double(), weights.detach().cpu().double()
    _check_arguments(costs, edges, weights)
    pixels = costs.shape[1]
    difference = _rounded(costs[0] - costs[1], precision)  # above 0: label 1 is cheaper
    between = _rounded(weights, precision)
    source, sink = pixels, pixels + 1
    ahead, behind = np.flatnonzero(difference > 0), np.flatnonzero(difference < 0)
    a, b = edges.cpu().numpy().T
    starts = np.concatenate([a, b, np.full(len(ahead), source), behind])
    ends = np.concatenate([b, a, ahead, np.full(len(behind), sink)])
    capacity = np.concatenate([between, between, difference[ahead], -difference[behind]])
    graph = csr_array((capacity, (starts, ends)), shape=(pixels + 2, pixels + 2))
    free = graph - maximum_flow(graph, source, sink).flow  # what the flow leaves of each edge
    free.eliminate_zeros()
    reached = breadth_first_order(free, source, return_predecessors=False)
    labels = torch.zeros(pixels + 2, dtype=torch.int64)
    labels[torch.from_numpy(reached).long()] = 1
    return labels[:pixels]


def _rounded(values: Tensor, precision: float) -> np.ndarray:
    """Whole numbers of 32 bits: (P,) -> (P,) int32."""
    scaled = (values * precision).round().numpy()
    if np.abs(scaled).max(initial=0) > _LARGEST:
        raise ValueError(
            f"a cost of {np.abs(scaled).max() / precision:.3g} is too large for precision="
            f"{precision}: clip the costs, or choose a smaller precision."
        )
    return scaled.astype(np.int32)


def _check_arguments(costs: Tensor, edges: Tensor, weights: Tensor) -> None:
    """Refuse what is no graph, and negative weights, with which no cut is exact."""
    if costs.ndim != 2 or len(costs) != 2 or edges.shape != (len(weights), 2):
        raise ValueError(
            f"costs {tuple(costs.shape)}, edges {tuple(edges.shape)} and weights "
            f"{tuple(weights.shape)} must be (2, P), (E, 2) and (E,): flatten the pixels."
        )
    if not costs.isfinite().all() or not weights.isfinite().all():
        raise ValueError("costs and weights must be finite: write a large number for 'never'.")
    if (weights < 0).any():
        raise ValueError(
            f"a weight is {float(weights.min())}, but pairs that differ must pay at least 0: "
            "with negative weights the cut is not the best labelling."
        )


def contrast_weights(colors: Tensor, edges: Tensor, distances: Tensor, *, gamma: float) -> Tensor:
    """Pairs pay less the more their colours differ: (C, P), (E, 2), (E,) -> (E,).

    ``gamma / distance * exp(-beta * squared difference)`` with beta = 1 / (2 * mean squared
    difference), which adapts to the contrast of the image. In an even image all pairs pay alike.
    """
    a, b = colors.double()[:, edges.T].unbind(dim=1)  # bytes would wrap around
    squares = (a - b).square().sum(dim=0)
    mean = float(squares.mean()) if len(squares) else 0.0
    beta = 1 / (2 * mean) if mean > 0 else 0.0
    if not 0 <= gamma < math.inf:
        raise ValueError(f"gamma={gamma} is no price: give a number from 0 on.")
    return gamma / distances * torch.exp(-beta * squares)
