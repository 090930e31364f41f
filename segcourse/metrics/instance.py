"""Average precision of detections, by COCO's rules: masks or boxes that carry a class and a score.

Lin et al. "Microsoft COCO: Common Objects in Context." ECCV 2014. https://arxiv.org/abs/1405.0312;
the rules are those of pycocotools.

    every image   detections, best first ── take the free object that they overlap most ─┐
                                            overlap too small: false positive            │
    all images    sort by score ── precision and recall of every prefix ── AP  ←─────────┘

    precision
       1 ┤■■■■■■┐                 AP is the height of the envelope (at every recall the highest
         │      └──■■■■┐          precision from there on), averaged over 101 recalls, 10 IoU
         │             └──        thresholds (0.50, 0.55 ... 0.95) and all classes.
         └──────────────── 1 recall

Rules that are easily missed:

- A crowd is a region of objects that nobody separated. It swallows any number of detections, which
  then count neither as right nor as wrong, and overlap with it means the share of the *detection*.
- The same goes for objects outside a range of areas when AP is asked for that range, and for
  unmatched detections outside it.
- A class that no image holds has no AP, and is left out of the mean instead of counting as 0.
- The area of a detection is whatever ``areas`` says. pycocotools takes width x height of the box
  wherever results carry a box, also when it compares masks, and otherwise the area of the mask: a
  false disc of 901 pixels in a box of 33 x 33 lowers AP_medium from 1 to 0.5 only if its box was
  stored. Pass the areas of the boxes to repeat such numbers.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.ops.boxes import box_area, check_boxes, intersections

# NumPy's numbers, to the last bit: torch.linspace has others, and a recall of exactly 0.3 notices.
IOU_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
RECALL_THRESHOLDS = torch.from_numpy(np.linspace(0, 1, 101))
AREA_RANGES = {  # pixels, ends included
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
MAX_DETECTIONS = (1, 10, 100)  # of an image and class that count
_ALMOST_ONE = 1 - 1e-10  # equal masks overlap by 1, whatever rounding says
_EXACT_IN_FLOAT32 = 1 << 24  # whole numbers up to this


class Matches(NamedTuple):
    """What became of the detections of one image, for A area ranges and T IoU thresholds."""

    labels: Tensor  # (D,) int64
    scores: Tensor  # (D,) float64, best first within every class
    ranks: Tensor  # (D,) place within the class, from 0
    right: Tensor  # (A, T, D) bool: matched to an object that counts
    ignored: Tensor  # (A, T, D) bool: counts neither as right nor as wrong
    target_labels: Tensor  # (G,) int64
    counted: Tensor  # (A, G) bool: objects that could be found
    iou_thresholds: tuple[float, ...]  # T
    area_ranges: dict[str, tuple[float, float]]  # A
    max_detections: int  # of every class that were kept


class PrecisionCurves(NamedTuple):
    """Precision at 101 recalls and the highest recall: A ranges, T thresholds, K classes."""

    classes: list[int]  # those that some image holds, ascending
    precision: Tensor  # (K, A, T, 101) float64, nan where a class has no object in the range
    recall: Tensor  # (K, A, T) float64, nan likewise


def coco_mask_iou(preds: Tensor, target: Tensor, iscrowd: Tensor | None = None) -> Tensor:
    """IoU of every pair of masks: (D, H, W), (G, H, W) bool -> (D, G) float64.

    With ``iscrowd``, (G,) bool, the overlap with a crowd is the share of the detection inside it.
    Exact within ``torch.autocast`` too.

    Raises:
        TypeError, ValueError: if they are no masks, or of different images.
    """
    for masks, what in ((preds, "preds"), (target, "target")):
        if masks.dtype != torch.bool or masks.ndim != 3:
            raise TypeError(
                f"{what} must be masks (N, H, W) bool, but came as {tuple(masks.shape)} "
                f"{masks.dtype}: threshold probabilities first; no masks at all are "
                "torch.zeros(0, H, W).bool()."
            )
    if preds.shape[1:] != target.shape[1:]:
        raise ValueError(
            f"masks of one image are compared, but these are {tuple(preds.shape[1:])} and "
            f"{tuple(target.shape[1:])}: resize the predictions to the image."
        )
    wide = torch.float32 if preds.shape[1:].numel() <= _EXACT_IN_FLOAT32 else torch.float64
    a, b = preds.flatten(1).to(wide), target.flatten(1).to(wide)
    # In place, because autocast would round the product a @ b.T to half precision.
    shared = a.new_zeros(len(a), len(b)).addmm_(a, b.T)
    return _iou(shared, a.sum(dim=1), b.sum(dim=1), iscrowd)


def coco_box_iou(preds: Tensor, target: Tensor, iscrowd: Tensor | None = None) -> Tensor:
    """IoU of every pair of boxes: (D, 4), (G, 4) -> (D, G) float64; crowds as ``coco_mask_iou``."""
    a, b = check_boxes(preds, "preds").double(), check_boxes(target, "target").double()
    return _iou(intersections(a, b), box_area(a), box_area(b), iscrowd)


def _iou(shared: Tensor, preds: Tensor, target: Tensor, iscrowd: Tensor | None) -> Tensor:
    """From areas: shared (D, G), of the detections (D,) and of the objects (G,) -> (D, G)."""
    shared, preds, target = shared.double(), preds.double()[:, None], target.double()
    union = preds + target - shared
    if iscrowd is not None:
        union = torch.where(iscrowd.bool(), preds, union)
    return shared / union.clamp(min=torch.finfo(torch.float64).tiny)


def match_detections(
    ious: Tensor,
    *,
    scores: Tensor,
    labels: Tensor,
    areas: Tensor,
    target_labels: Tensor,
    target_areas: Tensor,
    iscrowd: Tensor | None = None,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
    area_ranges: Mapping[str, tuple[float, float]] = AREA_RANGES,
    max_detections: int = MAX_DETECTIONS[-1],
) -> Matches:
    """Give every detection of an image the object it found, class by class: (D, G) -> Matches.

    All may lie on any device; what is many small steps happens on the CPU.

    Args:
        ious: of every detection with every object, ``coco_mask_iou`` or ``coco_box_iou``.
        scores: (D,) of the detections.
        labels: (D,) their classes.
        areas: (D,) their areas in pixels.
        target_labels: (G,) classes of the objects.
        target_areas: (G,) areas of the objects; COCO's files give them.
        iscrowd: (G,) bool, whether an object is a crowd; none is by default.
        iou_thresholds: T overlaps from which a detection is right, ascending.
        area_ranges: A ranges in pixels by name, ends included; one of them is "all".
        max_detections: of every class, best first; the others are dropped.

    Raises:
        ValueError: if the counts do not agree, a score is no number, or an option is impossible.
    """
    _check_match(ious, (scores, labels, areas), (target_labels, target_areas, iscrowd))
    iou_thresholds = tuple(map(float, iou_thresholds))
    _check_options(iou_thresholds, area_ranges, max_detections)
    iscrowd = torch.zeros(len(target_labels)).bool() if iscrowd is None else iscrowd.cpu().bool()
    ious, scores, areas = (each.cpu().double() for each in (ious, scores, areas))
    labels, target_labels = labels.cpu().long(), target_labels.cpu().long()
    thresholds = torch.tensor(iou_thresholds, dtype=torch.float64).clamp(max=_ALMOST_ONE)
    ranges = torch.tensor(list(area_ranges.values()), dtype=torch.float64)
    outside, target_outside = (_out_of(a, ranges) for a in (areas, target_areas.cpu().double()))
    skipped = target_outside | iscrowd  # (A, G)
    none = torch.zeros(0, dtype=torch.int64)
    nothing = torch.zeros(len(ranges), len(thresholds), 0, dtype=torch.bool)
    order, ranks, rights, ignoreds = [none], [none], [nothing], [nothing]
    for label in labels.unique().tolist():
        own = (labels == label).nonzero()[:, 0]
        own = own[scores[own].argsort(descending=True, stable=True)][:max_detections]
        objects = (target_labels == label).nonzero()[:, 0]
        overlap = ious[own][:, objects]
        hit, skip = _assign(overlap, skipped[:, objects], iscrowd[objects], thresholds)
        order.append(own)
        ranks.append(torch.arange(len(own)))
        rights.append(hit & ~skip)
        ignoreds.append(skip | (~hit & outside[:, None, own]))
    order = torch.cat(order)
    right, ignored = torch.cat(rights, dim=-1), torch.cat(ignoreds, dim=-1)
    kept = labels[order], scores[order], torch.cat(ranks), right, ignored
    options = iou_thresholds, dict(area_ranges), max_detections
    return Matches(*kept, target_labels, ~skipped, *options)


def _out_of(areas: Tensor, ranges: Tensor) -> Tensor:
    """Which areas lie outside which range: (N,), (A, 2) -> (A, N) bool."""
    return (areas < ranges[:, :1]) | (areas > ranges[:, 1:])


def _assign(
    ious: Tensor, skipped: Tensor, iscrowd: Tensor, thresholds: Tensor
) -> tuple[Tensor, Tensor]:
    """Detections, best first, take objects of their class: (D, G), (A, G), (G,) -> two (A, T, D).

    The first is True where a detection got an object, the second where this object is skipped. An
    object that counts is preferred to one that is skipped, whatever the overlaps; of equal overlaps
    the last wins.
    """
    detections, objects = ious.shape
    shape = (len(skipped), len(thresholds), detections)
    hit, skip = torch.zeros(2, *shape, dtype=torch.bool)
    if objects == 0:
        return hit, skip
    enough = ious >= thresholds[:, None, None]  # (T, D, G)
    free = torch.ones(*shape[:2], objects, dtype=torch.bool)
    counts = ~skipped[:, None]  # (A, 1, G)
    wish = ious[:, None, None] + 2.0 * counts  # (D, A, 1, G): objects that count come first
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
        free &= ~taken | iscrowd
    return hit, skip


def precision_curves(
    matches: Sequence[Matches], *, max_detections: int | None = None
) -> PrecisionCurves:
    """Precision and recall over all images: one ``Matches`` an image -> PrecisionCurves.

    Args:
        matches: of every image, those without detections or without objects included.
        max_detections: of an image and class that count, best first; all by default.

    Raises:
        ValueError: if there is no image, the images were matched with different options, or
            ``max_detections`` exceeds what the matches kept.
    """
    kept = _check_matches(matches)
    most = kept if max_detections is None else max_detections
    if not 1 <= most <= kept:
        raise ValueError(
            f"max_detections={most} cannot be: choose from 1 to {kept}, or give match_detections "
            "a larger number."
        )
    target_labels = torch.cat([each.target_labels for each in matches])
    counted = torch.cat([each.counted for each in matches], dim=1)
    labels, scores, ranks = (torch.cat([each[part] for each in matches]) for part in range(3))
    right, ignored = (torch.cat([each[part] for each in matches], dim=-1) for part in (3, 4))
    classes = target_labels.unique().tolist()
    shape = 0, *right.shape[:2]
    precision, recall = [torch.zeros(*shape, len(RECALL_THRESHOLDS))], [torch.zeros(shape)]
    for label in classes:
        own = ((labels == label) & (ranks < most)).nonzero()[:, 0]
        own = own[scores[own].argsort(descending=True, stable=True)]
        objects = counted[:, target_labels == label].sum(dim=1)
        heights, highest = _precision_envelope(right[..., own], ignored[..., own], objects)
        precision.append(heights[None])
        recall.append(highest[None])
    return PrecisionCurves(classes, torch.cat(precision), torch.cat(recall))


def _precision_envelope(right: Tensor, ignored: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
    """Of one class, best first: two (A, T, D) bool, (A,) -> (A, T, 101) and (A, T) float64."""
    true = (right & ~ignored).cumsum(dim=-1).double()
    false = (~right & ~ignored).cumsum(dim=-1).double()
    present = torch.where(objects > 0, objects.double(), torch.nan)[:, None, None]
    recall = true / present
    precision = F.pad(true / (true + false).clamp(min=1), (0, 1))  # beyond the last: 0
    height = precision.flip(-1).cummax(dim=-1).values.flip(-1)
    wanted = RECALL_THRESHOLDS.expand(*recall.shape[:2], -1).contiguous()
    place = torch.searchsorted(recall.nan_to_num(0.0).contiguous(), wanted)
    unknown = 0 * present  # nan where a range has no object
    return height.gather(-1, place) + unknown, F.pad(recall, (1, 0)).amax(dim=-1) + unknown[..., 0]


def average_precision(
    matches: Sequence[Matches], *, max_detections: Sequence[int] | None = None
) -> dict[str, float]:
    """COCO's twelve numbers: one ``Matches`` an image -> {"AP": ..., "AP50": ..., "AR1": ...}.

    AP is the mean over classes, thresholds and recalls with the most detections an image. AR is
    the mean over classes and thresholds of the highest recall. Without such an object, or such a
    threshold (0.5 for AP50, 0.75 for AP75), a number is nan. The IoU thresholds and the ranges of
    areas are those that ``match_detections`` was given; a range "tiny" has AP_tiny and AR_tiny.

    Args:
        matches: of every image, those without detections or without objects included.
        max_detections: of an image and class that count; 1, 10 and all that the matches kept by
            default, which gives AR1, AR10 and AR100.

    Raises:
        ValueError: if there is no image, or see :func:`precision_curves`.
    """
    if max_detections is None:
        kept = _check_matches(matches)
        max_detections = [most for most in MAX_DETECTIONS[:-1] if most < kept] + [kept]
    if not max_detections:
        raise ValueError("max_detections is empty: give the numbers of detections that count.")
    curves = {most: precision_curves(matches, max_detections=most) for most in max_detections}
    _, ap, ar = curves[max(curves)]
    names = {name: index for index, name in enumerate(matches[0].area_ranges)}
    thresholds = torch.tensor(matches[0].iou_thresholds, dtype=torch.float64)
    whole = names.pop("all")
    numbers = {
        "AP": ap[:, whole],
        "AP50": ap[:, whole, (thresholds - 0.5).abs() < 1e-9],
        "AP75": ap[:, whole, (thresholds - 0.75).abs() < 1e-9],
        **{f"AP_{name}": ap[:, index] for name, index in names.items()},
        **{f"AR{most}": curve.recall[:, whole] for most, curve in sorted(curves.items())},
        **{f"AR_{name}": ar[:, index] for name, index in names.items()},
    }
    return {name: float(values.nanmean()) for name, values in numbers.items()}


def _check_match(ious: Tensor, preds: tuple[Tensor, ...], target: tuple) -> None:
    """Refuse detections and objects that are not of one image."""
    scores = preds[0]
    wanted = (len(scores), len(target[0]))
    counts = [len(part) for part in preds], [len(part) for part in target if part is not None]
    if tuple(ious.shape) != wanted or any(len(set(each)) > 1 for each in counts):
        raise ValueError(
            f"IoUs of shape {tuple(ious.shape)} came with scores, labels and areas of "
            f"{counts[0]} detections and labels, areas and crowds of {counts[1]} objects: all "
            "must speak of the same D detections and G objects of one image."
        )
    if scores.isnan().any():
        raise ValueError(
            f"{int(scores.isnan().sum())} of {len(scores)} scores are nan, which no order knows: "
            "look for a loss that diverged."
        )


def _check_options(
    iou_thresholds: tuple[float, ...], area_ranges: Mapping, max_detections: int
) -> None:
    """Refuse thresholds, ranges and numbers of detections with which nothing can be matched."""
    if not iou_thresholds or not all(0 < threshold <= 1 for threshold in iou_thresholds):
        raise ValueError(
            f"iou_thresholds={iou_thresholds} are no overlaps: give numbers above 0 and up "
            "to 1, such as (0.5, 0.75)."
        )
    if "all" not in area_ranges or not all(low <= high for low, high in area_ranges.values()):
        raise ValueError(
            f"area_ranges={dict(area_ranges)} must hold a range named 'all', and every range runs "
            "from a smaller area to a larger one: extend AREA_RANGES."
        )
    if max_detections < 1:
        raise ValueError(f"max_detections={max_detections} leaves nothing: give 1 or more.")


def _check_matches(matches: Sequence[Matches]) -> int:
    """Refuse no images, and images matched with different options: -> detections that they kept."""
    if not matches:
        raise ValueError("there is no image: give one Matches for each, also where nothing is.")
    options = [each[-3:] for each in matches]
    if any(each != options[0] for each in options):
        raise ValueError(
            "the images were matched with different iou_thresholds, area_ranges or "
            "max_detections: give match_detections the same for every image."
        )
    return matches[0].max_detections
