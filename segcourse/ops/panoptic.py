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

from segcourse.ops.labels import IGNORE, check_integers, check_labels

DIVISOR = 1000  # by default, an image holds up to 999 objects
MAX_ID = 256**3 - 1  # of three bytes


def panoptic_ids(semantic: Tensor, instance: Tensor, *, divisor: int = DIVISOR) -> Tensor:
    """Class and object in one number: (..., H, W), (..., H, W) -> (..., H, W) int64.

    Raises:
        TypeError: if a map is not of integers.
        ValueError: if the shapes differ, or if an object's number does not fit the divisor.
    """
    semantic = check_labels(semantic, IGNORE, "semantic").long()
    instance = check_integers(instance, "instance")
    if semantic.shape != instance.shape:
        raise ValueError(
            f"classes and objects are maps of one image, but their shapes are "
            f"{tuple(semantic.shape)} and {tuple(instance.shape)}: resize both alike, by nearest."
        )
    if divisor < 1 or (instance.numel() and instance.max() >= divisor):
        raise ValueError(
            f"divisor={divisor} leaves the numbers 0 to {divisor - 1} for objects, but these go up "
            f"to {int(instance.max()) if instance.numel() else 0}: renumber them, or choose a "
            "larger divisor."
        )
    return semantic * divisor + instance


def split_ids(ids: Tensor, *, divisor: int = DIVISOR) -> tuple[Tensor, Tensor]:
    """The inverse of ``panoptic_ids``: (..., H, W) -> classes and objects, each (..., H, W) int64.

    Raises:
        TypeError: if the map is not of integers.
        ValueError: if a number is negative, or its class exceeds IGNORE.
    """
    ids = check_integers(ids, "panoptic ids")
    if divisor < 1 or (ids.numel() and ids.max() >= (IGNORE + 1) * divisor):
        raise ValueError(
            f"with divisor={divisor}, panoptic ids run from 0 to {(IGNORE + 1) * divisor - 1}, but "
            f"these go up to {int(ids.max()) if ids.numel() else 0}: were they packed with another "
            "divisor?"
        )
    return ids // divisor, ids % divisor


def ids_to_rgb(ids: Tensor) -> Tensor:
    """Numbers as the bytes of a colour, lowest first: (..., H, W) -> (..., H, W, 3) uint8.

    Raises:
        TypeError: if the map is not of integers.
        ValueError: if a number does not fit three bytes.
    """
    ids = check_integers(ids, "ids")
    if ids.numel() and ids.max() > MAX_ID:
        raise ValueError(
            f"three bytes hold 0 to {MAX_ID}, but these numbers go up to {int(ids.max())}: "
            "renumber them."
        )
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
