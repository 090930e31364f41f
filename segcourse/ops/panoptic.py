"""Panoptic maps: one number per pixel that says both its class and its object.

Two conventions are combined here. After Cityscapes, both are packed into one number,

    id = class * 1000 + object           (stuff has object 0; void is 255 * 1000)

and as COCO does, numbers that exceed a byte are stored as the three bytes of a colour PNG,

    id = R + 256 * G + 65536 * B

Kirillov, He, Girshick, Rother, Dollar. "Panoptic Segmentation." CVPR 2019.
https://arxiv.org/abs/1801.00868

Where the files of the two differ: Cityscapes leaves stuff at its plain class number (11, not
11000) and counts objects from 0. In COCO's files the number 0 means void, and a JSON table says
which class a number belongs to; here the number says it, and 0 is the stuff class 0.
"""

import torch
from torch import Tensor

from segcourse.ops.labels import IGNORE, check_labels

DIVISOR = 1000  # more objects than that do not fit one image
LARGEST = 256**3 - 1


def panoptic_ids(semantic: Tensor, instance: Tensor, *, divisor: int = DIVISOR) -> Tensor:
    """Class and object in one number: (..., H, W), (..., H, W) -> (..., H, W) int64.

    Raises:
        TypeError: if a map is not of integers.
        ValueError: if the shapes differ, or if an object's number does not fit the divisor.
    """
    check_labels(semantic, IGNORE, "semantic")
    check_integers(instance, "instance")
    if semantic.shape != instance.shape:
        raise ValueError(
            f"classes and objects are maps of one image, but their shapes are "
            f"{tuple(semantic.shape)} and {tuple(instance.shape)}: resize both alike, by nearest."
        )
    if instance.numel() and not 0 <= int(instance.min()) <= int(instance.max()) < divisor:
        raise ValueError(
            f"objects are numbered 0 to {divisor - 1}, but these run from {int(instance.min())} to "
            f"{int(instance.max())}: renumber them, or choose a larger divisor."
        )
    return semantic.long() * divisor + instance.long()


def split_ids(ids: Tensor, *, divisor: int = DIVISOR) -> tuple[Tensor, Tensor]:
    """The inverse of ``panoptic_ids``: (..., H, W) -> classes and objects, each (..., H, W) int64.

    Raises:
        TypeError: if the map is not of integers.
        ValueError: if a number is negative, or its class exceeds IGNORE.
    """
    check_integers(ids, "panoptic ids")
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < (IGNORE + 1) * divisor:
        raise ValueError(
            f"panoptic ids run from 0 to {(IGNORE + 1) * divisor - 1}, but these from "
            f"{int(ids.min())} to {int(ids.max())}: were they packed with another divisor?"
        )
    return ids.long() // divisor, ids.long() % divisor


def ids_to_rgb(ids: Tensor) -> Tensor:
    """Numbers as the bytes of a colour, lowest first: (..., H, W) -> (..., H, W, 3) uint8.

    Raises:
        TypeError: if the map is not of integers.
        ValueError: if a number does not fit three bytes.
    """
    check_integers(ids, "ids")
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) <= LARGEST:
        raise ValueError(
            f"three bytes hold 0 to {LARGEST}, but these numbers run from {int(ids.min())} to "
            f"{int(ids.max())}: renumber them."
        )
    ids = ids.long()
    return torch.stack([ids % 256, ids // 256 % 256, ids // 65536], dim=-1).to(torch.uint8)


def rgb_to_ids(rgb: Tensor) -> Tensor:
    """The inverse of ``ids_to_rgb``: (..., H, W, 3) uint8 -> (..., H, W) int64.

    The bytes are widened before they are multiplied: 256 * G does not fit a byte.

    Raises:
        TypeError: if the picture is not of bytes.
        ValueError: if its last axis is not R, G, B.
    """
    if not isinstance(rgb, Tensor) or rgb.dtype != torch.uint8:
        found = rgb.dtype if isinstance(rgb, Tensor) else type(rgb).__name__
        raise TypeError(
            f"a panoptic PNG is a uint8 tensor, but came as {found}: read it with "
            'torch.from_numpy(np.array(Image.open(path).convert("RGB"))), without scaling.'
        )
    if rgb.ndim < 3 or rgb.shape[-1] != 3:
        raise ValueError(
            f"a panoptic PNG has shape (..., H, W, 3), but this one has {tuple(rgb.shape)}: drop "
            "an alpha channel, and move the colours to the last axis."
        )
    red, green, blue = rgb.long().unbind(dim=-1)
    return red + 256 * green + 65536 * blue


def check_integers(labels: Tensor, what: str) -> None:
    """Refuse what is no tensor of integers: any shape.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(labels, Tensor):
        raise TypeError(
            f"{what} must be a tensor, but came as {type(labels).__name__}: "
            "convert it with torch.as_tensor."
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(
            f"{what} must be integers, but its dtype is {labels.dtype}: numbers of objects are "
            "names; use .long(), and never interpolate them."
        )
