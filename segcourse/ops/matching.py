"""Which object an anchor or a proposal answers for, and which of them a loss looks at.

Ren, He, Girshick, Sun. "Faster R-CNN." NIPS 2015, section 3.1.2. https://arxiv.org/abs/1506.01497

    overlap with the best object      0          low           high         1
                                      ├─ nothing ─┼── left out ──┼─ object ─┤
                                         (-1)          (-2)       its number

Nearly all anchors show nothing, so a loss looks at a random handful: half objects at most.
"""

import torch
from torch import Tensor

NOTHING, LEFT_OUT = -1, -2


def best_matches(overlap: Tensor, *, high: float, low: float, keep_best: bool = False) -> Tensor:
    """The object of every box: overlaps (G, B) -> (B,) int64, its number, NOTHING or LEFT_OUT.

    Args:
        overlap: of G objects with B boxes.
        high: from here on, a box shows the object.
        low: below, it shows nothing.
        keep_best: let the boxes that overlap an object most answer for it, however little they do,
            so that no object goes without.

    Raises:
        ValueError: if the thresholds are not in order.
    """
    if not 0 <= low <= high <= 1:
        raise ValueError(f"low={low} and high={high} are not in order: 0 <= low <= high <= 1.")
    if len(overlap) == 0:
        return torch.full(overlap.shape[1:], NOTHING, dtype=torch.int64, device=overlap.device)
    most, best = overlap.max(dim=0)
    matches = torch.where(most < low, NOTHING, torch.where(most < high, LEFT_OUT, best))
    if keep_best:
        highest = overlap.amax(dim=1, keepdim=True)
        chosen = (overlap == highest).any(dim=0)
        matches = torch.where(chosen, best, matches)
    return matches


def sample(matches: Tensor, number: int, *, share: float) -> tuple[Tensor, Tensor]:
    """A random handful of boxes: (B,) -> indices of those that show an object, and nothing.

    Args:
        matches: of ``best_matches``.
        number: of boxes in all, fewer where there are not so many.
        share: of objects at most; the rest show nothing.

    Raises:
        ValueError: if the number is not positive, or the share no share.
    """
    if number < 1 or not 0 <= share <= 1:
        raise ValueError(f"number={number} and share={share}: choose at least 1, and from 0 to 1.")
    objects, nothing = (matches >= 0).nonzero()[:, 0], (matches == NOTHING).nonzero()[:, 0]
    some = objects[torch.randperm(len(objects), device=matches.device)[: int(number * share)]]
    order = torch.randperm(len(nothing), device=matches.device)
    return some, nothing[order[: number - len(some)]]
