"""Connected components: what becomes of objects when only their class is known.

Pixels of one class that touch form one component. That recovers an object only if it touches no
other object of its class and nothing in front cuts it in two.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from segcourse.ops.labels import IGNORE, check_labels
from segcourse.ops.masks import check_mask


def connected_components(mask: Tensor, *, connectivity: int = 8) -> Tensor:
    """Number the connected parts of a mask from 1, in reading order: (H, W) -> (H, W) int64.

    Args:
        mask: boolean, or integers 0 and 1.
        connectivity: 4 joins pixels that share a side; 8 also those that share a corner.

    Raises:
        TypeError, ValueError: if it is no mask, or if the connectivity is another number.
    """
    mask = check_mask(mask)
    if connectivity not in (4, 8):
        raise ValueError(
            f"pixels have 4 or 8 neighbours, but connectivity={connectivity}: choose 4 (sides) or "
            "8 (sides and corners)."
        )
    numbered, _ = ndimage.label(
        mask.cpu().numpy(), structure=ndimage.generate_binary_structure(2, connectivity // 4)
    )
    return torch.from_numpy(numbered.astype(np.int64)).to(mask.device)


def objects_from_classes(
    semantic: Tensor, things: Sequence[int], *, connectivity: int = 8
) -> Tensor:
    """One object for each component of a class: (H, W) classes -> (H, W) int64.

    Args:
        semantic: class per pixel, or IGNORE.
        things: the classes whose objects can be counted; all other pixels become 0.
        connectivity: 4 or 8 neighbours.

    Raises:
        TypeError, ValueError: if it is no label map (H, W).
    """
    semantic = check_labels(semantic, IGNORE, "semantic")
    if semantic.ndim != 2:
        raise ValueError(
            f"semantic must have shape (H, W), but has {tuple(semantic.shape)}: pass the maps of a "
            "batch one by one."
        )
    objects = torch.zeros_like(semantic, dtype=torch.int64)
    for thing in things:
        parts = connected_components(semantic == thing, connectivity=connectivity)
        objects = torch.where(parts > 0, parts + objects.max(), objects)
    return objects
