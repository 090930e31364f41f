"""How good is a partition into regions that have no class: superpixels, clusters, basins?

    regions            target             majority
    ┌──┬──┬──┐         ┌────┬───┐         ┌─────┬──┐     every region takes the class that most of
    │1 │2 │3 │         │ A  │ B │         │ A   │B │     its pixels have: what a perfect classifier
    └──┴──┴──┘         └────┴───┘         └─────┴──┘     of regions could reach, and no more

Achievable accuracy and boundary recall rise with the number of regions: compare partitions of
equally many. Boundary precision falls with it. Void pixels (``ignore_index``) are not counted, and
where all pixels are void, every measure is nan.

The measures are those by which superpixels are compared since Achanta et al., TPAMI 2012,
https://doi.org/10.1109/TPAMI.2012.120.
"""

import math

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from segcourse.classical.pixels import check_partition
from segcourse.ops.labels import IGNORE, check_labels


def majority_labels(regions: Tensor, target: Tensor, *, ignore_index: int = IGNORE) -> Tensor:
    """Every region takes the class of most of its pixels: two (H, W) -> (H, W) int64.

    Of equally frequent classes the lower one. A region that is void altogether takes class 0.
    """
    regions, target, known = _check_pair(regions, target, ignore_index)
    names, numbers = regions.unique(return_inverse=True)
    table = _overlaps(numbers[known], target[known], len(names))
    return table.argmax(dim=1)[numbers]


def achievable_segmentation_accuracy(
    regions: Tensor, target: Tensor, *, ignore_index: int = IGNORE
) -> float:
    """Share of the pixels that the majority of their region gets right: -> number in [0, 1]."""
    regions, target, known = _check_pair(regions, target, ignore_index)
    majority = majority_labels(regions, target, ignore_index=ignore_index)
    return (majority == target)[known].double().mean().item()


def undersegmentation_error(
    regions: Tensor, target: Tensor, *, ignore_index: int = IGNORE
) -> float:
    """Share of the pixels by which regions leak over class borders: -> number in [0, 1/2].

    A region that a class cuts in two leaks with its smaller part (Neubert and Protzel's version,
    which does not punish large regions for a few pixels).
    """
    regions, target, known = _check_pair(regions, target, ignore_index)
    numbers = regions[known].unique(return_inverse=True)[1]
    table = _overlaps(numbers, target[known])
    outside = table.sum(dim=1, keepdim=True) - table
    return (torch.minimum(table, outside).sum() / (2 * known.sum())).item()


def boundary_recall_precision(
    regions: Tensor, target: Tensor, *, tolerance: float = 2.0, ignore_index: int = IGNORE
) -> tuple[float, float]:
    """Share of each set of borders that lies near the other: two (H, W) -> (recall, precision).

    Recall: true borders that a border of the regions is near to. A border pixel has a right or
    lower neighbour of another label; borders of void are no borders. Nan where there is no border.
    """
    regions, target, known = _check_pair(regions, target, ignore_index)
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance={tolerance} is no distance: give pixels, from 0 on.")
    ours, true = _borders(regions, known), _borders(target, known)
    return _near(true, ours, tolerance), _near(ours, true, tolerance)


def _borders(labels: Tensor, known: Tensor) -> Tensor:
    """Pixels whose right or lower neighbour has another label: two (H, W) -> (H, W) bool."""
    found = torch.zeros_like(known)
    found[:, :-1] |= (labels[:, :-1] != labels[:, 1:]) & known[:, :-1] & known[:, 1:]
    found[:-1] |= (labels[:-1] != labels[1:]) & known[:-1] & known[1:]
    return found


def _near(borders: Tensor, others: Tensor, tolerance: float) -> float:
    """Share of the borders within the tolerance of the others: two (H, W) bool -> number."""
    if not borders.any():
        return math.nan
    if not others.any():
        return 0.0
    distance = torch.from_numpy(distance_transform_edt(~others.numpy()))
    return (distance[borders] <= tolerance).double().mean().item()


def _overlaps(numbers: Tensor, labels: Tensor, count: int | None = None) -> Tensor:
    """Pixels by region (row) and class (column): two (P,) -> (count, classes) float64."""
    count = count or (int(numbers.max()) + 1 if len(numbers) else 1)
    classes = int(labels.max()) + 1 if len(labels) else 1
    keys = numbers * classes + labels
    return keys.bincount(minlength=count * classes).view(count, classes).double()


def _check_pair(
    regions: Tensor, target: Tensor, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Refuse what are not two maps of the same pixels: -> two (H, W) int64, known (H, W) bool."""
    regions = check_partition(regions, "regions")
    target = check_labels(target, IGNORE, ignore_index=ignore_index).detach().cpu().long()
    if regions.shape != target.shape:
        raise ValueError(
            f"regions have shape {tuple(regions.shape)}, but the target {tuple(target.shape)}: "
            "take both of the same image."
        )
    return regions, target, target != ignore_index
