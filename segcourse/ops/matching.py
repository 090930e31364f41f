"""Which object an anchor or a proposal is matched with, and which of them a loss is computed for.

Ren, He, Girshick, Sun. "Faster R-CNN." NIPS 2015, section 3.1.2. https://arxiv.org/abs/1506.01497

    IoU with the best object      0              low          high          1
                                  ├─ background ─┼── ignored ──┼── object ──┤
                                        (-1)         (-2)       its number

Nearly all anchors are background, so a loss is computed for a random sample of them, of which a
fraction at most are objects.
"""

import torch
from torch import Tensor

BACKGROUND, IGNORED = -1, -2


def match_anchors(
    overlap: Tensor,
    *,
    high_threshold: float,
    low_threshold: float,
    allow_low_quality_matches: bool = False,
) -> Tensor:
    """The object of every box: overlaps (G, B) -> (B,) int64, its number, BACKGROUND or IGNORED.

    Args:
        overlap: IoU of G objects with B boxes.
        high_threshold: from here on, a box is matched with the object.
        low_threshold: below, it is background.
        allow_low_quality_matches: match every object with the boxes that overlap it most as well,
            however little that is, so that no object goes without. An object that no box overlaps
            at all stays without: torchvision matches it with every box.

    Raises:
        ValueError: if the thresholds are not in order.
    """
    if not 0 <= low_threshold <= high_threshold <= 1:
        raise ValueError(
            f"low_threshold={low_threshold} and high_threshold={high_threshold} are not in order: "
            "0 <= low <= high <= 1."
        )
    if len(overlap) == 0:
        return torch.full(overlap.shape[1:], BACKGROUND, dtype=torch.int64, device=overlap.device)
    most, best = overlap.max(dim=0)
    between = torch.where(most < high_threshold, IGNORED, best)
    matches = torch.where(most < low_threshold, BACKGROUND, between)
    if allow_low_quality_matches:
        highest = overlap.amax(dim=1, keepdim=True)
        chosen = ((overlap == highest) & (overlap > 0)).any(dim=0)
        matches = torch.where(chosen, best, matches)
    return matches


def sample(matches: Tensor, batch_size: int, *, positive_fraction: float) -> tuple[Tensor, Tensor]:
    """A random sample of boxes: (B,) -> indices of those with an object, and of background.

    Args:
        matches: of ``match_anchors``.
        batch_size: number of boxes in all, fewer where there are not so many.
        positive_fraction: of boxes with an object, at most; the rest are background.

    Raises:
        ValueError: if the number is not positive, or the fraction not from 0 to 1.
    """
    if batch_size < 1 or not 0 <= positive_fraction <= 1:
        raise ValueError(
            f"batch_size={batch_size} and positive_fraction={positive_fraction}: choose at least 1 "
            "box, and a fraction from 0 to 1."
        )
    positive, negative = (matches >= 0).nonzero()[:, 0], (matches == BACKGROUND).nonzero()[:, 0]
    limit = int(batch_size * positive_fraction)
    positive = positive[torch.randperm(len(positive), device=matches.device)[:limit]]
    order = torch.randperm(len(negative), device=matches.device)
    return positive, negative[order[: batch_size - len(positive)]]
