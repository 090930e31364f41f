"""Boundary metrics: how well two masks agree where it is hard, along their outlines.

    IoU       counts the whole area: on a large object the outline hardly matters
    bands     IoU again, but only near the outlines           boundary_iou, trimap_iou
    hits      share of outline pixels within a tolerance      boundary_f1, surface_dice
    distances from each outline pixel to the other outline    hausdorff_distance, assd, ...

A mask is an (H, W) bool tensor. ``class_scores`` takes any score here to the classes of label
maps, and ``mean_by_class`` or ``mean_by_image`` say how to average. The conventions, said once:

- **Empty masks.** Both empty: nan, nothing to compare. One empty: 0 for shares, inf for distances.
- **Outline.** The pixels of the mask that touch something outside; what lies beyond the image
  is outside. ``boundary_f1`` counts all 8 neighbours, like the 3 x 3 erosion of most BF scores;
  distances and ``surface_dice`` the 4 nearest, like MedPy, MONAI and SciPy's binary erosion.
- **Units.** Distances are in pixels, or in the unit of ``spacing``: the height and width of a
  pixel, (rows, columns), or one number for both.

Sources: Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013
(BF score); Kohli et al., "Robust higher order potentials", CVPR 2008 (trimap); Cheng et al.,
"Boundary IoU", CVPR 2021, https://arxiv.org/abs/2103.16562; Nikolov et al. 2018,
https://arxiv.org/abs/1809.04430 (surface Dice).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, minimum_filter
from scipy.spatial import cKDTree
from torch import Tensor

from segcourse.metrics.semantic import check_label_maps, check_ranges
from segcourse.ops.labels import IGNORE, check_labels

Spacing = float | tuple[float, float]
_NAN = math.nan


# -------------------------------------------------------------------------- IoU near the outlines


def boundary_iou(
    preds: Tensor, target: Tensor, *, dilation_ratio: float = 0.02, width: int | None = None
) -> float:
    """IoU of the bands along the inside of the two outlines: two (H, W) bool -> number in [0, 1].

    Args:
        preds: the predicted mask.
        target: the true mask.
        dilation_ratio: width of the bands as a share of the diagonal of the image (0.02 for COCO
            and LVIS, 0.005 for Cityscapes), rounded, at least one pixel.
        width: width of the bands in pixels, instead of ``dilation_ratio``.

    With a growing width it tends to the IoU of the masks. The paper's Boundary AP uses
    ``min(IoU, boundary IoU)``: a ring along the outline has the same band as the full object.
    """
    ours, true = _masks(preds, target)
    width = _pixels(width, dilation_ratio, ours.shape, "width", least=1)
    ours, true = _crop(ours, true)
    return _overlap(_inner_band(ours, width), _inner_band(true, width))


def _inner_band(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixels of a mask that ``width`` erosions by 3 x 3 remove: (H, W) bool -> (H, W) bool.

    Pixels at the border of the image belong to the band: nothing lies beyond.
    """
    if mask.size == 0:
        return mask
    side = 2 * width + 1
    return mask & ~minimum_filter(mask.view(np.uint8), side, mode="constant").astype(bool)


def trimap_iou(preds: Tensor, target: Tensor, *, width: float) -> float:
    """IoU of two masks within ``width`` pixels of the *true* outline: two (H, W) bool -> number.

    The band lies on both sides of the outline. Errors farther away are not seen; nan where the
    target has no outline, that is if it is empty or fills the image.
    """
    ours, true = _masks(preds, target)
    near = _near_class_boundary(true.astype(np.int64), _check_width(width))
    return _overlap(ours & near, true & near) if near.any() else _NAN


def trimap(target: Tensor, *, width: float, ignore_index: int = IGNORE) -> Tensor:
    """The target near the class boundaries, void elsewhere: (N, H, W) or (H, W) -> int64.

    Its confusion matrix gives every semantic metric on the band, and adds up over batches. The
    border of a void area is not a class boundary here; some papers take the band around it.
    """
    target = check_labels(target, IGNORE, ignore_index=ignore_index).long().cpu()
    if target.ndim not in (2, 3) or target.numel() == 0:
        raise ValueError(
            f"label maps have shape (H, W) or (N, H, W) and at least one pixel, but this one has "
            f"{tuple(target.shape)}: pass the target before any one-hot code."
        )
    width = _check_width(width)
    maps = target.numpy().reshape(-1, *target.shape[-2:])
    near = np.stack([_near_class_boundary(labels, width, ignore_index) for labels in maps])
    return target.where(torch.from_numpy(near.reshape(target.shape)), ignore_index)


def _near_class_boundary(labels: np.ndarray, width: float, void: int | None = None) -> np.ndarray:
    """Pixels within ``width`` of a pixel of another class: (H, W) int64 -> (H, W) bool."""
    near = np.zeros(labels.shape, dtype=bool)
    known = np.ones_like(near) if void is None else labels != void
    present = np.unique(labels[known])
    for label in present if len(present) > 1 else ():
        same = labels == label
        other = ~same & known
        near |= same & (distance_transform_edt(~other) <= width)
    return near


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union; nan if both are empty: two bool arrays -> number in [0, 1]."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else _NAN


# --------------------------------------------------------------------- hits within a tolerance


def boundary_precision_recall(
    preds: Tensor,
    target: Tensor,
    *,
    tolerance: float | None = None,
    tolerance_ratio: float = 0.0075,
) -> tuple[float, float]:
    """Share of each outline that is near the other one: two (H, W) bool -> (precision, recall).

    Args:
        preds: the predicted mask.
        target: the true mask.
        tolerance: how far is near, in pixels.
        tolerance_ratio: the same as a share of the diagonal of the image, if ``tolerance`` is
            None. SegNet's evaluation uses 0.0075.
    """
    ours, true = _masks(preds, target)
    tolerance = _pixels(tolerance, tolerance_ratio, ours.shape, "tolerance", least=0, whole=False)
    forth, back = _outline_distances(ours, true, (1.0, 1.0), corners=True)
    if len(forth) + len(back) == 0:
        return _NAN, _NAN
    if len(forth) == 0 or len(back) == 0:
        return 0.0, 0.0
    return float((forth <= tolerance).mean()), float((back <= tolerance).mean())


def boundary_f1(
    preds: Tensor,
    target: Tensor,
    *,
    tolerance: float | None = None,
    tolerance_ratio: float = 0.0075,
) -> float:
    """BF score: harmonic mean of :func:`boundary_precision_recall`: two (H, W) bool -> number.

    Defined for one class in one image; for label maps, see :func:`class_scores`.
    """
    precision, recall = boundary_precision_recall(
        preds, target, tolerance=tolerance, tolerance_ratio=tolerance_ratio
    )
    total = precision + recall
    return 2 * precision * recall / total if total else total


def surface_dice(
    preds: Tensor, target: Tensor, *, tolerance: float, spacing: Spacing = 1.0
) -> float:
    """Share of both outlines, pooled, that is within ``tolerance`` of the other one: -> number.

    The pixels of the outlines are counted, as in MONAI; other code weighs them by the length of
    outline that they stand for.
    """
    tolerance = _check_width(tolerance, "tolerance")
    forth, back = surface_distances(preds, target, spacing=spacing)
    pooled = torch.cat([forth, back])
    return (pooled <= tolerance).double().mean().item() if len(pooled) else _NAN


# ------------------------------------------------------------------------------------- distances


def hausdorff_distance(preds: Tensor, target: Tensor, *, spacing: Spacing = 1.0) -> float:
    """The largest distance from one outline to the other, in either direction: -> number.

    One stray pixel decides it.
    """
    forth, back = surface_distances(preds, target, spacing=spacing)
    pooled = torch.cat([forth, back])
    return pooled.max().item() if len(pooled) else _NAN


def hausdorff_distance_95(
    preds: Tensor, target: Tensor, *, spacing: Spacing = 1.0, pooled: bool = False
) -> float:
    """95th percentile of the outline distances, which forgives a few stray pixels: -> number.

    Two definitions are in use, and they differ. ``pooled=False`` is the larger of the percentiles
    of the two directions (MONAI); ``pooled=True`` is the percentile of the distances of both
    directions together (MedPy). Between two ranks both interpolate linearly.
    """
    forth, back = surface_distances(preds, target, spacing=spacing)
    parts = (torch.cat([forth, back]),) if pooled else (forth, back)
    values = [_percentile(part, 0.95) for part in parts if len(part)]
    return max(values, default=_NAN)


def _percentile(distances: Tensor, share: float) -> float:
    """Linearly interpolated percentile: (P,) -> number; inf where all distances are infinite."""
    return torch.quantile(distances, share).item() if distances.isfinite().all() else math.inf


def average_surface_distance(preds: Tensor, target: Tensor, *, spacing: Spacing = 1.0) -> float:
    """Mean distance from the predicted outline to the true one (ASD), one direction: -> number.

    Not symmetric, and blind to true outline that was never predicted.
    """
    forth, back = surface_distances(preds, target, spacing=spacing)
    return forth.mean().item() if len(forth) else (math.inf if len(back) else _NAN)


def assd(preds: Tensor, target: Tensor, *, spacing: Spacing = 1.0) -> float:
    """Mean distance of both outlines to each other, pooled (average *symmetric* ...): -> number.

    Like MedPy and MONAI the mean runs over the pixels of both outlines together; other code
    averages the means of the two directions, which differs where the outlines differ in length.
    """
    forth, back = surface_distances(preds, target, spacing=spacing)
    pooled = torch.cat([forth, back])
    return pooled.mean().item() if len(pooled) else _NAN


def surface_distances(
    preds: Tensor, target: Tensor, *, spacing: Spacing = 1.0
) -> tuple[Tensor, Tensor]:
    """From each outline pixel to the other outline: two (H, W) bool -> (A,), (B,) float64.

    The distances of the predicted outline to the true one, and of the true one to the predicted:
    everything that the scores of this section know. An empty mask has no outline; distances to
    nothing are infinite.
    """
    ours, true = _masks(preds, target)
    forth, back = _outline_distances(ours, true, _check_spacing(spacing))
    return torch.from_numpy(forth), torch.from_numpy(back)


def _outline_distances(
    a: np.ndarray, b: np.ndarray, spacing: tuple[float, float], *, corners: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of outline ``a`` to outline ``b`` and back: two (H, W) bool -> (A,), (B,)."""
    a, b = (_outline(mask, corners=corners) for mask in _crop(a, b))
    count_a, count_b = np.count_nonzero(a), np.count_nonzero(b)
    if count_a == 0 or count_b == 0:
        return np.full(count_a, math.inf), np.full(count_b, math.inf)
    if 4 * (count_a + count_b) > a.size:  # a tangle: cheaper to ask every pixel of the image
        forth = distance_transform_edt(~b, sampling=spacing)[a]
        return forth, distance_transform_edt(~a, sampling=spacing)[b]
    points_a, points_b = np.argwhere(a) * spacing, np.argwhere(b) * spacing
    return _nearest(points_a, points_b), _nearest(points_b, points_a)


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distance of every point to the nearest of the others: (A, 2), (B, 2) -> (A,)."""
    return cKDTree(others, balanced_tree=False, compact_nodes=False).query(points)[0]


def _outline(mask: np.ndarray, *, corners: bool = False) -> np.ndarray:
    """Pixels of the mask that touch its outside, by 4 or all 8 neighbours: (H, W) -> (H, W)."""
    framed = np.pad(mask, 1)
    inside = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    if corners:
        inside &= framed[:-2, :-2] & framed[:-2, 2:] & framed[2:, :-2] & framed[2:, 2:]
    return mask & ~inside


def _crop(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both masks cut to the box around their union; nothing is lost: outside there is nothing."""
    union = a | b
    rows, columns = np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))
    if len(rows) == 0:
        return a[:0, :0], b[:0, :0]
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return np.ascontiguousarray(a[box]), np.ascontiguousarray(b[box])


# ------------------------------------------------------------------ from masks to label maps


def class_scores(
    score: Callable[..., float],
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    *,
    ignore_index: int = IGNORE,
    **options: float,
) -> Tensor:
    """A score of masks for each class of each image: two (N, H, W) -> (N, K) float64.

    ``class_scores(boundary_f1, preds, target, 8, tolerance=2)``; an image (H, W) gives one row.
    Pixels whose target is void belong to no class, in the prediction too. A class absent from both
    is nan. Rows of several batches are put together with ``torch.cat``.
    """
    check_label_maps(preds, target, num_classes)
    check_ranges(preds, target, num_classes, ignore_index=ignore_index)
    preds, target = (maps.reshape(-1, *maps.shape[-2:]).cpu().long() for maps in (preds, target))
    void = target == ignore_index
    preds, target = preds.masked_fill(void, -1), target.masked_fill(void, -1)  # no class
    return torch.tensor(
        [
            [score(ours == label, true == label, **options) for label in range(num_classes)]
            for ours, true in zip(preds, target, strict=True)
        ],
        dtype=torch.float64,
    )


def mean_by_class(scores: Tensor) -> float:
    """First over the images with the class, then over the classes: (N, K) -> number.

    Every class has the same weight, however rare. One infinite distance makes the mean infinite:
    a missed object has no distance; report how many were missed beside it.
    """
    return _check_scores(scores).nanmean(dim=0).nanmean().item()


def mean_by_image(scores: Tensor) -> float:
    """First over the classes of the image, then over the images: (N, K) -> number.

    Every image has the same weight, as in SegNet's BF score; rare classes have less.
    """
    return _check_scores(scores).nanmean(dim=1).nanmean().item()


# ---------------------------------------------------------------------------- what may come in


def _check_scores(scores: Tensor) -> Tensor:
    """Refuse anything but a table of scores: (N, K) -> (N, K)."""
    if not isinstance(scores, Tensor) or scores.ndim != 2 or not scores.is_floating_point():
        came = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(
            f"scores are an (N, K) tensor of floats, images by classes, but came as {came}: make "
            "them with class_scores(...)."
        )
    return scores


def _masks(preds: Tensor, target: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Two masks of the same image as arrays: two (H, W) bool -> two (H, W) bool.

    Raises:
        TypeError: if one is not a tensor of bool.
        ValueError: if they are not (H, W), differ in shape, or have no pixels.
    """
    for what, mask in (("preds", preds), ("target", target)):
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(
                f"{what} must be a mask, a tensor of bool, but came as {kind}: compare a label map "
                "with one class (labels == 3), or probabilities with a threshold."
            )
        if mask.ndim != 2 or mask.numel() == 0:
            raise ValueError(
                f"{what} must have shape (H, W) and at least one pixel, but has "
                f"{tuple(mask.shape)}: pass one mask of one image, mask[0]."
            )
    if preds.shape != target.shape:
        raise ValueError(
            f"preds has shape {tuple(preds.shape)}, but target {tuple(target.shape)}: bring the "
            "prediction to the size of the target first."
        )
    return preds.cpu().numpy(), target.cpu().numpy()


def _pixels(
    given: float | None, share: float, shape: tuple, what: str, *, least: int, whole: bool = True
) -> float:
    """A length in pixels: ``given``, or a share of the image's diagonal, rounded if ``whole``."""
    if given is None:
        if not 0 < share < math.inf:
            raise ValueError(
                f"{share} is no share of the diagonal: choose it above 0, 0.02 for instance, or "
                f"give {what} in pixels."
            )
        length = share * math.hypot(*shape)
        return max(least, round(length)) if whole else length
    if not least <= given < math.inf or (whole and given != round(given)):
        kind = "a whole number of pixels" if whole else "a number of pixels"
        raise ValueError(f"{what}={given} is impossible: give {kind}, at least {least}.")
    return round(given) if whole else float(given)


def _check_width(width: float, what: str = "width") -> float:
    """Refuse a width that is negative or no number."""
    if not 0 <= width < math.inf:
        raise ValueError(f"{what}={width} is impossible: give a distance of at least 0.")
    return float(width)


def _check_spacing(spacing: Spacing) -> tuple[float, float]:
    """The height and the width of a pixel: number or (rows, columns) -> (rows, columns)."""
    pair = (spacing, spacing) if isinstance(spacing, int | float) else tuple(spacing)
    if len(pair) != 2 or not all(0 < side < math.inf for side in pair):
        raise ValueError(
            f"spacing={spacing} is no size of a pixel: give one positive number, or two, "
            "(height, width)."
        )
    return float(pair[0]), float(pair[1])
