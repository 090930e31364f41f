"""Distances of pixels to the boundaries of masks, in pixels, by SciPy on the CPU.

    mask       0  0  1  1  1  0  0  0
    signed     2  1  0 -1  0  1  2  3      negative inside, 0 on the border pixels
    unsigned   2  1  1  2  1  1  2  3      to the nearest pixel on the other side

A mask that is empty or fills the image has no boundary, and distance 0 everywhere: the edge of the
image is no boundary. No gradient runs through distances.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from segcourse.ops.labels import IGNORE, check_labels


def signed_distance(target: Tensor, num_classes: int, *, ignore_index: int = IGNORE) -> Tensor:
    """Distance to the border of every class, negative inside: (N, H, W) -> (N, K, H, W) float32.

    Outside: the distance to the nearest pixel of the class. Inside: 1 minus the distance to the
    nearest pixel of another. All 0 where the class is absent or fills the image. Void pixels
    belong to no class. ``num_classes=1`` gives the distances of class 1 alone.

    Raises:
        TypeError, ValueError: if the target is no batch of label maps.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes={num_classes} gives no distance maps: take at least 1.")
    target = check_labels(target, max(num_classes, 2), ignore_index=ignore_index)
    if target.ndim != 3:
        raise ValueError(
            f"target has shape {tuple(target.shape)}, but distances are taken in images of a batch "
            "(N, H, W): add the missing axis with target[None]."
        )
    wanted = range(num_classes) if num_classes > 1 else (1,)
    counted = target != ignore_index
    masks = [(target == label) & counted for label in wanted]
    return signed_distance_of_masks(torch.stack(masks, dim=1))


def signed_distance_of_masks(masks: Tensor) -> Tensor:
    """Distance to the boundary, 1 minus the distance inside: (..., H, W) bool -> same, float32."""
    return _of_every_mask(
        masks,
        lambda mask: np.where(
            mask, 1 - distance_transform_edt(mask), distance_transform_edt(~mask)
        ),
    )


def unsigned_distance_of_masks(masks: Tensor) -> Tensor:
    """Distance to the nearest pixel on the other side: (..., H, W) bool -> same, float32."""
    return _of_every_mask(
        masks, lambda mask: distance_transform_edt(mask) + distance_transform_edt(~mask)
    )


def _of_every_mask(masks: Tensor, distance: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """A function of every mask that has a boundary, and 0 for others: (..., H, W) -> same."""
    planes = masks.detach().cpu().numpy()
    maps = np.zeros(planes.shape, dtype=np.float32)
    for place in np.ndindex(planes.shape[:-2]):
        if planes[place].any() and not planes[place].all():
            maps[place] = distance(planes[place])
    return torch.from_numpy(maps).to(masks.device)
