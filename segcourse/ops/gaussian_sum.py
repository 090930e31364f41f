"""Sums over all points, weighted by a Gaussian of the distance; far pairs are left out.

    out[i] = sum over j of  exp(-|p[i] - p[j]|² / 2)  value[j]

P points have P² pairs. But at a distance of 4 the weight has fallen to 1/3000, so that only near
pairs matter, and in five dimensions (where and which colour a pixel is) few pairs are near. Points
that are near each other are put into small groups, and a pair of groups is looked at only if the
boxes around them come near enough:

    ┌─────┐  ┌───┐                       groups   A B C
    │A . .│  │. B│                              A █ █ ·
    │ . . │  └───┘        ┌──────┐              B █ █ ·      █ = a small dense matrix,
    └─────┘               │ .  C.│              C · · █      · = never computed
                          └──────┘
           far from A and B

What is computed is exact. The error is what the left-out pairs weigh, and ``reach`` bounds it.

The permutohedral lattice (Adams, Baek, Davis. "Fast High-Dimensional Filtering Using the
Permutohedral Lattice." Eurographics 2010) is the usual choice for such sums: its time grows with P
instead of the number of near pairs, but its weights are only roughly Gaussian.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.ops.precision import without_autocast

_Block = tuple[Tensor, Tensor, Tensor]

_PAIRS_AT_ONCE = 256  # pairs of groups in one batched multiplication: large enough to be fast
_SUBTRACT = "donot_use_mm_for_euclid_dist"  # |a|² - 2ab + |b|² is faster, but loses digits
MAX_STORED = 2**28  # weights that are kept in memory (1 GiB); beyond, they are computed again


class GaussianSum:
    """Gaussian-weighted sums over fixed points; called with values: (K, P) -> (K, P) float32.

    Args:
        points: (P, D), measured in standard deviations of the Gaussian along each axis.
        reach: pairs of points farther apart than this may be left out.
        group_size: the largest number of points in a group.

    Raises:
        ValueError: if there is no point, or if reach or group_size cannot be.
    """

    def __init__(self, points: Tensor, *, reach: float = 4.0, group_size: int = 64):
        if points.ndim != 2 or points.numel() == 0 or not points.isfinite().all():
            raise ValueError(
                f"points must be finite numbers (P, D) with P, D > 0, but their shape is "
                f"{tuple(points.shape)}: flatten the pixels, one row each, and remove nan and inf."
            )
        if not reach > 0 or group_size < 1:
            raise ValueError(
                f"reach={reach} with groups of {group_size} leaves no pairs: take a reach above 0 "
                "(4 is accurate to a thousandth) and groups of at least 1 point."
            )
        self._count = len(points)
        self.groups = group(points.float(), group_size)  # (G, n) numbers of points
        self._members = points.float()[self.groups.clamp(max=self._count - 1)]  # (G, n, D)
        self.pairs = near_pairs(self._members, reach).split(_PAIRS_AT_ONCE)
        weights = sum(map(len, self.pairs)) * self.groups.shape[1] ** 2
        self.stored = list(self._blocks()) if weights <= MAX_STORED else None

    def __call__(self, values: Tensor) -> Tensor:
        if values.ndim != 2 or values.shape[1] != self._count:
            raise ValueError(
                f"values must have shape (K, {self._count}), one for each point, but have "
                f"{tuple(values.shape)}: flatten the pixels, in the order of the points."
            )
        padded = F.pad(values.float(), (0, self.groups.numel() - self._count))
        grouped = padded[:, self.groups].transpose(0, 1)  # (G, K, n)
        total = torch.zeros_like(grouped)
        with without_autocast(values.device):
            for one, other, weights in self.stored or self._blocks():
                total.index_add_(0, one, grouped[other] @ weights.mT)
                total.index_add_(0, other, grouped[one] @ weights)
        result = torch.empty_like(padded)
        result[:, self.groups.flatten()] = total.transpose(0, 1).flatten(1)
        return result[:, : self._count]

    def _blocks(self) -> Iterator[_Block]:
        """Numbers of two groups each, and the weights between them: (B,), (B,), (B, n, n)."""
        for pairs in self.pairs:
            one, other = pairs.unbind(dim=1)
            a, b = self._members[one], self._members[other]
            distance = torch.cdist(a, b, compute_mode=_SUBTRACT)
            weights = distance.square_().mul_(-0.5).exp_()
            weights[one == other] *= 0.5  # a group with itself is added twice, as one and as other
            yield one, other, weights


def group(points: Tensor, size: int) -> Tensor:
    """Halve the points across their widest axis until groups are small: (P, D) -> (G, n) numbers.

    All groups get the same number of points n <= size. Numbers from P on are padding: they stand
    for a copy of the last point that has no value.
    """
    halvings = max(0, math.ceil(math.log2(len(points) / size)))
    each = math.ceil(len(points) / 2**halvings)
    groups = torch.arange(each * 2**halvings, device=points.device)[None]
    for _ in range(halvings):
        members = points[groups.clamp(max=len(points) - 1)]
        widest = (members.amax(dim=1) - members.amin(dim=1)).argmax(dim=1)  # (G,)
        along = members.take_along_dim(widest[:, None, None], dim=2)[..., 0]  # (G, n)
        groups = groups.gather(1, along.argsort(dim=1)).reshape(2 * len(groups), -1)
    return groups


def near_pairs(members: Tensor, reach: float) -> Tensor:
    """Groups whose boxes come nearer than ``reach``: (G, n, D) -> (pairs, 2), first <= second."""
    low, high = members.amin(dim=1), members.amax(dim=1)
    squared = torch.zeros(len(low), len(low), device=low.device)
    for start, end in zip(low.T, high.T, strict=True):  # one axis at a time
        gap = torch.maximum(start[:, None] - end, start - end[:, None]).clamp(min=0)
        squared += gap.square()
    return (squared < reach**2).triu().nonzero()
