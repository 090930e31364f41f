"""Average precision of detections, by COCO's rules: masks or boxes that carry a class and a score.

Lin et al. "Microsoft COCO: Common Objects in Context." ECCV 2014. https://arxiv.org/abs/1405.0312;
the rules are those of pycocotools.

    every image   detections, best first ── take the free object that they overlap most ─┐
                                            overlap too small: false positive            │
    all images    sort by score ── precision and recall of every prefix ── AP  ←─────────┘

    precision
       1 ┤■■■■■■┐                 AP is the height of the staircase, averaged over 101 recalls,
         │      └──■■■■┐          10 thresholds of overlap (0.50, 0.55 ... 0.95) and all classes.
         │             └──
         └──────────────── 1 recall

Three rules that are easily missed:

- A crowd is a region of objects that nobody separated. It swallows any number of detections, which
  then count neither as right nor as wrong, and overlap with it means the share of the *detection*.
- The same goes for objects outside a range of areas when AP is asked for that range, and for
  unmatched detections outside it.
- A class that no image holds has no AP, and is left out of the mean instead of counting as 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.ops.boxes import box_area, check_boxes, intersections

# NumPy's numbers, to the last bit: torch.linspace has others, and a recall of exactly 0.3 notices.
THRESHOLDS = torch.from_numpy(np.linspace(0.5, 0.95, 10))
RECALLS = torch.from_numpy(np.linspace(0, 1, 101))
AREAS = {  # pixels, ends included
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
MOST = 100  # detections of an image and class that count
ALMOST_ONE = 1 - 1e-10  # equal masks overlap by 1, whatever rounding says


class Matches(NamedTuple):
    """What became of the detections of one image, for A area ranges and T thresholds."""

    labels: Tensor  # (D,) int64
    scores: Tensor  # (D,) best first within every class
    ranks: Tensor  # (D,) place within the class, from 0
    right: Tensor  # (A, T, D) bool: matched to an object that counts
    ignored: Tensor  # (A, T, D) bool: counts neither as right nor as wrong
    truth_labels: Tensor  # (G,) int64
    counted: Tensor  # (A, G) bool: objects that could be found


class Curves(NamedTuple):
    """Precision at 101 recalls and the highest recall: A ranges, T thresholds, K classes."""

    classes: list[int]  # those that some image holds, ascending
    precision: Tensor  # (K, A, T, 101) float64, nan where a class has no object in the range
    recall: Tensor  # (K, A, T) float64, nan likewise


def mask_overlaps(found: Tensor, truth: Tensor, crowd: Tensor | None = None) -> Tensor:
    """IoU of every pair of masks: (D, H, W), (G, H, W) bool -> (D, G) float64.

    With a crowd, (G,) bool, the share of the detection that lies in it.

    Raises:
        TypeError, ValueError: if they are no masks, or of different images.
    """
    for masks, what in ((found, "found"), (truth, "truth")):
        if masks.dtype != torch.bool or masks.ndim != 3:
            raise TypeError(
                f"{what} masks are (N, H, W) bool, but came as {tuple(masks.shape)} {masks.dtype}: "
                "threshold probabilities first; no masks at all are torch.zeros(0, H, W).bool()."
            )
    if found.shape[1:] != truth.shape[1:]:
        raise ValueError(
            f"masks of one image are compared, but these are {tuple(found.shape[1:])} and "
            f"{tuple(truth.shape[1:])}: resize the predictions to the image."
        )
    a, b = found.flatten(1).float(), truth.flatten(1).float()
    return overlaps(a @ b.T, a.sum(dim=1), b.sum(dim=1), crowd)


def box_overlaps(found: Tensor, truth: Tensor, crowd: Tensor | None = None) -> Tensor:
    """IoU of every pair of boxes: (D, 4), (G, 4) -> (D, G) float64; crowds as ``mask_overlaps``."""
    a, b = check_boxes(found, "found boxes").double(), check_boxes(truth, "true boxes").double()
    return overlaps(intersections(a, b), box_area(a), box_area(b), crowd)


def overlaps(shared: Tensor, found: Tensor, truth: Tensor, crowd: Tensor | None) -> Tensor:
    """From areas: shared (D, G), of the detections (D,) and of the objects (G,) -> (D, G)."""
    shared, found, truth = shared.double(), found.double()[:, None], truth.double()
    union = found + truth - shared
    if crowd is not None:
        union = torch.where(crowd, found, union)
    return shared / union.clamp(min=torch.finfo(torch.float64).tiny)


def match(
    overlap: Tensor,
    *,
    scores: Tensor,
    labels: Tensor,
    areas: Tensor,
    truth_labels: Tensor,
    truth_areas: Tensor,
    crowd: Tensor | None = None,
) -> Matches:
    """Give every detection of an image the object it found, class by class: (D, G) -> Matches.

    All may lie on any device; what is many small steps happens on the CPU.

    Args:
        overlap: of every detection with every object, ``mask_overlaps`` or ``box_overlaps``.
        scores: (D,) of the detections.
        labels: (D,) their classes.
        areas: (D,) their areas in pixels.
        truth_labels: (G,) classes of the objects.
        truth_areas: (G,) areas of the objects; COCO's files give them.
        crowd: (G,) bool, whether an object is a crowd; none is by default.

    Raises:
        ValueError: if the counts do not agree, or if a score is no number.
    """
    check_match(overlap, (scores, labels, areas), (truth_labels, truth_areas, crowd))
    crowd = torch.zeros(len(truth_labels), dtype=torch.bool) if crowd is None else crowd.cpu()
    overlap, scores, labels, areas = overlap.cpu(), scores.cpu(), labels.cpu(), areas.cpu()
    truth_labels, truth_areas = truth_labels.cpu(), truth_areas.cpu()
    ranges = torch.tensor(list(AREAS.values()), dtype=torch.float64)
    outside, truth_outside = (out_of(a.double(), ranges) for a in (areas, truth_areas))
    skipped = truth_outside | crowd  # (A, G)
    none = torch.zeros(0, dtype=torch.int64)
    nothing = torch.zeros(len(AREAS), len(THRESHOLDS), 0, dtype=torch.bool)
    order, ranks, rights, ignoreds = [none], [none], [nothing], [nothing]
    for label in labels.unique().tolist():
        own = (labels == label).nonzero()[:, 0]
        own = own[scores[own].argsort(descending=True, stable=True)][:MOST]
        objects = (truth_labels == label).nonzero()[:, 0]
        hit, skip = assign(overlap[own][:, objects], skipped[:, objects], crowd[objects])
        order.append(own)
        ranks.append(torch.arange(len(own)))
        rights.append(hit & ~skip)
        ignoreds.append(skip | (~hit & outside[:, None, own]))
    order = torch.cat(order)
    right, ignored = torch.cat(rights, dim=-1), torch.cat(ignoreds, dim=-1)
    kept = labels[order], scores[order].double(), torch.cat(ranks), right, ignored
    return Matches(*kept, truth_labels, ~skipped)


def out_of(areas: Tensor, ranges: Tensor) -> Tensor:
    """Which areas lie outside which range: (N,), (A, 2) -> (A, N) bool."""
    return (areas < ranges[:, :1]) | (areas > ranges[:, 1:])


def assign(overlap: Tensor, skipped: Tensor, crowd: Tensor) -> tuple[Tensor, Tensor]:
    """Detections, best first, take objects of their class: (D, G), (A, G), (G,) -> two (A, T, D).

    The first says who got an object, the second who got one that is skipped. An object that counts
    is preferred to one that is skipped, whatever the overlaps; of equal overlaps the last wins.
    """
    detections, objects = overlap.shape
    shape = (len(skipped), len(THRESHOLDS), detections)
    hit, skip = torch.zeros(2, *shape, dtype=torch.bool)
    if objects == 0:
        return hit, skip
    enough = overlap >= THRESHOLDS.clamp(max=ALMOST_ONE)[:, None, None]  # (T, D, G)
    free = torch.ones(*shape[:2], objects, dtype=torch.bool)
    counts = ~skipped[:, None]  # (A, 1, G)
    wish = overlap[:, None, None] + 2.0 * counts  # (D, A, 1, G): objects that count come first
    for detection in range(detections):
        possible = enough[:, detection] & free  # (A, T, G)
        if not possible.any():
            continue
        wished = torch.where(possible, wish[detection], -1.0)
        best = objects - 1 - wished.flip(-1).argmax(dim=-1, keepdim=True)  # the last of equals
        got = possible.gather(-1, best)  # (A, T, 1)
        hit[..., detection] = got[..., 0]
        skip[..., detection] = (got & ~counts.expand_as(free).gather(-1, best))[..., 0]
        taken = torch.zeros_like(free).scatter(-1, best, got)
        free &= ~taken | crowd
    return hit, skip


def precision_curves(matches: Sequence[Matches], *, most: int = MOST) -> Curves:
    """Precision and recall over all images: one ``Matches`` an image -> Curves.

    Args:
        matches: of every image, those without detections or without objects included.
        most: detections of an image and class that count, best first; at most 100.

    Raises:
        ValueError: if there is no image, or if ``most`` is not from 1 to 100.
    """
    if not matches:
        raise ValueError("there is no image: give one Matches for each, also where nothing is.")
    if not 1 <= most <= MOST:
        raise ValueError(f"most={most} detections cannot count: choose from 1 to {MOST}.")
    truths = torch.cat([each.truth_labels for each in matches])
    counted = torch.cat([each.counted for each in matches], dim=1)
    labels, scores, ranks = (torch.cat([each[part] for each in matches]) for part in range(3))
    right, ignored = (torch.cat([each[part] for each in matches], dim=-1) for part in (3, 4))
    classes = truths.unique().tolist()
    shape = 0, len(AREAS), len(THRESHOLDS)
    precision, recall = [torch.zeros(*shape, len(RECALLS))], [torch.zeros(shape)]
    for label in classes:
        own = ((labels == label) & (ranks < most)).nonzero()[:, 0]
        own = own[scores[own].argsort(descending=True, stable=True)]
        objects = counted[:, truths == label].sum(dim=1)
        heights, highest = staircase(right[..., own], ignored[..., own], objects)
        precision.append(heights[None])
        recall.append(highest[None])
    return Curves(classes, torch.cat(precision), torch.cat(recall))


def staircase(right: Tensor, ignored: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
    """Of one class, best first: two (A, T, D) bool, (A,) -> (A, T, 101) and (A, T) float64."""
    true = (right & ~ignored).cumsum(dim=-1).double()
    false = (~right & ~ignored).cumsum(dim=-1).double()
    present = torch.where(objects > 0, objects.double(), torch.nan)[:, None, None]
    recall = true / present
    precision = F.pad(true / (true + false).clamp(min=1), (0, 1))  # beyond the last: 0
    height = precision.flip(-1).cummax(dim=-1).values.flip(-1)
    wanted = RECALLS.expand(*recall.shape[:2], -1).contiguous()
    place = torch.searchsorted(recall.nan_to_num(0.0).contiguous(), wanted)
    unknown = 0 * present  # nan where a range has no object
    return height.gather(-1, place) + unknown, F.pad(recall, (1, 0)).amax(dim=-1) + unknown[..., 0]


def average_precision(matches: Sequence[Matches]) -> dict[str, float]:
    """COCO's twelve numbers: one ``Matches`` an image -> {"AP": ..., "AP50": ..., "AR1": ...}.

    AP is the mean over classes, thresholds and recalls, AR the mean over classes and thresholds of
    the highest recall with 1, 10 or 100 detections an image; nan where there is no such object.

    Raises:
        ValueError: if there is no image.
    """
    curves = precision_curves(matches)
    half, three_quarters = 0, 5  # of the thresholds
    areas = {name: index for index, name in enumerate(AREAS)}
    ap, ar = curves.precision, curves.recall
    few = {most: precision_curves(matches, most=most).recall for most in (1, 10)}
    numbers = {
        "AP": ap[:, 0],
        "AP50": ap[:, 0, half],
        "AP75": ap[:, 0, three_quarters],
        **{f"AP_{name}": ap[:, index] for name, index in areas.items() if index},
        "AR1": few[1][:, 0],
        "AR10": few[10][:, 0],
        "AR100": ar[:, 0],
        **{f"AR_{name}": ar[:, index] for name, index in areas.items() if index},
    }
    return {name: float(values.nanmean()) for name, values in numbers.items()}


def check_match(overlap: Tensor, found: tuple[Tensor, ...], truth: tuple) -> None:
    """Refuse detections and objects that are not of one image."""
    scores = found[0]
    wanted = (len(scores), len(truth[0]))
    counts = [len(part) for part in found], [len(part) for part in truth if part is not None]
    if tuple(overlap.shape) != wanted or any(len(set(each)) > 1 for each in counts):
        raise ValueError(
            f"overlaps of shape {tuple(overlap.shape)} came with scores, labels and areas of "
            f"{counts[0]} detections and labels, areas and crowds of {counts[1]} objects: all "
            "must speak of the same D detections and G objects of one image."
        )
    if scores.isnan().any():
        raise ValueError(
            f"{int(scores.isnan().sum())} of {len(scores)} scores are nan, which no order knows: "
            "look for a loss that diverged."
        )
