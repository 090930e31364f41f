"""Masks: one boolean map per object or per class. What other encodings are made from."""

import torch
from torch import Tensor

from segcourse.ops.labels import IGNORE, check_labels


def check_mask(mask: Tensor, what: str = "mask") -> Tensor:
    """Accept one mask of booleans or of integers 0 and 1: (H, W) -> (H, W) bool.

    Raises:
        TypeError: if it is no tensor, or holds floats (a probability is not a mask yet).
        ValueError: if it has not two axes, has no pixel, or holds other values.
    """
    if not isinstance(mask, Tensor):
        raise TypeError(
            f"{what} must be a tensor (H, W), but came as {type(mask).__name__}: "
            "convert it with torch.as_tensor."
        )
    if mask.ndim != 2 or mask.numel() == 0:
        raise ValueError(
            f"{what} must have shape (H, W) with at least one pixel, but has "
            f"{tuple(mask.shape)}: pass the masks of a batch one by one."
        )
    if mask.dtype == torch.bool:
        return mask
    if mask.is_floating_point() or mask.is_complex():
        raise TypeError(
            f"{what} must be boolean, but its dtype is {mask.dtype}: threshold probabilities first."
        )
    mask = mask.long()
    wrong = mask[(mask != 0) & (mask != 1)]
    if len(wrong):
        raise ValueError(
            f"{what} must hold 0 and 1 only, but holds {int(wrong[0])}: compare a label map with "
            "the class or the object that you want, labels == number."
        )
    return mask.bool()


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """One mask per class; void belongs to none: (..., H, W) integers -> (..., K, H, W) bool.

    Raises:
        TypeError, ValueError: if a label is neither a class nor IGNORE.
    """
    labels = check_labels(labels, num_classes, "labels")
    return labels.unsqueeze(-3) == torch.arange(num_classes, device=labels.device)[:, None, None]


def from_one_hot(masks: Tensor) -> Tensor:
    """The label map of masks that do not overlap; none is IGNORE: (..., K, H, W) -> (..., H, W).

    Raises:
        TypeError: if the masks are not boolean.
        ValueError: if there is no class axis, or if masks overlap.
    """
    if masks.dtype != torch.bool:
        raise TypeError(
            f"one-hot masks must be boolean, but their dtype is {masks.dtype}: use "
            "logits.argmax(dim=1) for network outputs, masks > 0.5 for probabilities."
        )
    if masks.ndim < 3 or masks.shape[-3] == 0:
        raise ValueError(
            f"one-hot masks have shape (..., K, H, W) with K > 0, but these have "
            f"{tuple(masks.shape)}: a single mask needs masks[None]."
        )
    count = masks.sum(dim=-3)
    if (count > 1).any():
        raise ValueError(
            f"{int((count > 1).sum())} pixels belong to several classes: a label map holds one "
            "class per pixel; decide which of them is in front (paint_masks)."
        )
    return torch.where(count > 0, masks.long().argmax(dim=-3), IGNORE)


def paint_masks(masks: Tensor) -> Tensor:
    """Objects 1 ... A on one map, later ones over earlier ones: (A, H, W) bool -> (H, W) int64.

    The inverse of ``segcourse.ops.labels.object_masks`` where masks do not overlap. Where they
    do, the map keeps the last: the covered part of an object is lost.

    Raises:
        TypeError: if the masks are not boolean.
        ValueError: if they have not three axes.
    """
    if masks.dtype != torch.bool:
        raise TypeError(f"masks must be boolean, but their dtype is {masks.dtype}: threshold them.")
    if masks.ndim != 3:
        raise ValueError(
            f"masks must have shape (A, H, W), but have {tuple(masks.shape)}: a single mask needs "
            "mask[None]."
        )
    numbers = torch.arange(1, len(masks) + 1, device=masks.device)[:, None, None]
    blank = torch.zeros(1, *masks.shape[1:], dtype=torch.int64, device=masks.device)
    return torch.cat([blank, masks * numbers]).amax(dim=0)


def mask_box(mask: Tensor) -> tuple[int, int, int, int]:
    """The smallest box around a mask: (H, W) -> (x0, y0, x1, y1) in pixels, x1 and y1 outside it.

    Width and height are x1 - x0 and y1 - y0. An empty mask has the box (0, 0, 0, 0).

    Raises:
        TypeError, ValueError: if it is no mask.
    """
    mask = check_mask(mask)
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    if len(rows) == 0:
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
