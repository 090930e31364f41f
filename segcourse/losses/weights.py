"""Weights that say which classes and which pixels matter, for the losses of this folder.

class_counts(target, K) (N, K) ─→ three schemes ─→ weight (K,) of cross_entropy, dice_loss, …
border_weights(instance) (N, H, W) ─→ weights of pixel_weighted_cross_entropy
"""

import math

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, find_objects
from torch import Tensor

from segcourse.losses.inputs import at_least_one
from segcourse.ops.labels import IGNORE, check_integers, check_labels

_ZERO = 1e-46  # float32 rounds it to 0


def class_counts(target: Tensor, num_classes: int, *, ignore_index: int = IGNORE) -> Tensor:
    """Pixels of every class in every image: (N, H, W) -> (N, K) int64. Void is not counted.

    Raises:
        TypeError, ValueError: if a label is no class.
    """
    target = check_labels(target, num_classes, ignore_index=ignore_index)
    if target.ndim != 3:
        raise ValueError(
            f"target has shape {tuple(target.shape)}, but counts are taken per image of (N, H, W): "
            "add the axis of the batch with target[None]."
        )
    counts = torch.zeros(len(target), num_classes, dtype=torch.int64, device=target.device)
    for row, image in zip(counts, target, strict=True):
        row += image[image != ignore_index].long().bincount(minlength=num_classes)
    return counts


def frequency(counts: Tensor) -> Tensor:
    """Share of every class in all pixels: (N, K) -> (K,) float64.

    Raises:
        ValueError: if these are no counts per image, or all are zero.
    """
    if counts.ndim != 2 or not (counts >= 0).all():
        raise ValueError(
            f"counts of shape {tuple(counts.shape)} are no pixels per image and class (N, K), each "
            "at least 0: take them from class_counts."
        )
    if counts.sum() == 0:
        raise ValueError(
            f"counts of shape {tuple(counts.shape)} have the total 0, so no class has a "
            "frequency: every pixel was void, or there was no image. Is ignore_index right?"
        )
    return counts.sum(dim=0).double() / counts.sum()


def inverse_frequency_weights(counts: Tensor) -> Tensor:
    """1 / f, scaled to mean 1 over the classes that occur; 0 for others: (N, K) -> (K,) float32."""
    f = frequency(counts)
    inverse = torch.where(f > 0, 1 / f, 0)
    return (inverse / inverse[f > 0].mean()).float()


def median_frequency_weights(counts: Tensor) -> Tensor:
    """median(f) / f, f taken in the images that show the class: (N, K) -> (K,) float32.

    Eigen, Fergus. ICCV 2015, https://arxiv.org/abs/1411.4734; used by SegNet. A class that never
    occurs gets 0. With an even number of classes the median is the mean of the middle two.
    """
    frequency(counts)  # only checks
    room = ((counts > 0) * counts.sum(dim=1, keepdim=True)).sum(dim=0)  # pixels of those images
    f = counts.sum(dim=0).double() / at_least_one(room)
    middle = f[f > 0].quantile(0.5)
    return torch.where(f > 0, middle / f, 0).float()


def log_frequency_weights(counts: Tensor, *, offset: float = 1.02) -> Tensor:
    """1 / ln(offset + f): (N, K) -> (K,) float32, between 1.4 and 50.5 for the usual offset.

    ENet's gentle weights (Paszke et al., 2016, https://arxiv.org/abs/1606.02147).

    Raises:
        ValueError: if the offset is not above 1.
    """
    if not offset > 1:
        raise ValueError(f"offset={offset} gives infinite weights: take one above 1, such as 1.02.")
    return (1 / (offset + frequency(counts)).log()).float()


def border_weights(instance: Tensor, *, w0: float = 10.0, sigma: float = 5.0) -> Tensor:
    """How narrow the gap between objects is at every background pixel: (..., H, W) -> same shape.

    w0 exp(-(d1 + d2)^2 / (2 sigma^2)) with the distances to the nearest and the second nearest
    object, in pixels; 0 inside objects and in images with fewer than two. The weight map of
    U-Net (https://arxiv.org/abs/1505.04597) is this plus a weight per class.

    Raises:
        TypeError, ValueError: if the map holds no object numbers, or sigma is not positive.
    """
    if (
        not isinstance(instance, Tensor)
        or instance.is_floating_point()
        or instance.dtype == torch.bool
    ):
        raise TypeError(
            f"instance holds the number of an object per pixel, but came as "
            f"{getattr(instance, 'dtype', type(instance).__name__)}: "
            "number the objects of a mask first (scipy.ndimage.label)."
        )
    if instance.ndim < 2 or instance.numel() == 0 or not sigma > 0 or not w0 >= 0:
        raise ValueError(
            f"border_weights takes a map (..., H, W), sigma > 0 and w0 >= 0, but got shape "
            f"{tuple(instance.shape)}, sigma={sigma}, w0={w0}."
        )
    maps = check_integers(instance, "instance").cpu().numpy().reshape(-1, *instance.shape[-2:])
    weights = np.stack([_weights_of_image(objects, w0, sigma) for objects in maps])
    return torch.from_numpy(weights).reshape(instance.shape).to(instance.device)


def _weights_of_image(objects: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    """The weights of one image: (H, W) object numbers -> (H, W) float32."""
    # Farther from an object than this, its weight is 0 in float32: no need to know how far.
    reach = sigma * math.sqrt(2 * math.log(max(w0, _ZERO) / _ZERO))
    nearest, second = _two_nearest(objects, math.ceil(min(reach, max(objects.shape))))
    weights = w0 * np.exp(-((nearest + second) ** 2) / (2 * sigma**2)) * (objects == 0)
    return weights.astype(np.float32)


def _two_nearest(objects: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the nearest and second nearest object, if within reach: -> two (H, W).

    Every object's distances are taken in a window around it, and only the two smallest are kept.
    """
    _, order = np.unique(objects, return_inverse=True)
    order = order.reshape(objects.shape)  # 1, 2, ... for objects beside the background
    nearest, second = np.full((2, *objects.shape), np.inf)
    for number, box in enumerate(find_objects(order), start=1):
        window = tuple(slice(max(side.start - reach, 0), side.stop + reach) for side in box)
        distance = distance_transform_edt(order[window] != number)
        second[window] = np.minimum(second[window], np.maximum(nearest[window], distance))
        nearest[window] = np.minimum(nearest[window], distance)
    return nearest, second
