"""Losses that know how *far* from the true boundary a mistake is.

    mask       0  0  1  1  1  0  0  0
    distance   2  1  0 -1  0  1  2  3      signed_distance: negative inside, 0 on the border pixels

Distances are in pixels, taken per image and class on the CPU (SciPy), without a gradient. They
belong to the truth as it is: whoever flips or resizes a label map computes them again.
Conventions for void, one channel, and logits are those of :mod:`~segcourse.losses.pixelwise`.
"""

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from segcourse.losses.overlap import probability_and_target
from segcourse.losses.pixelwise import at_least_one
from segcourse.ops.labels import IGNORE, check_labels


def signed_distance(truth: Tensor, num_classes: int) -> Tensor:
    """Distance to the border of every class, negative inside: (N, H, W) -> (N, K, H, W) float32.

    Outside: the distance to the nearest pixel of the class. Inside: 1 minus the distance to the
    nearest pixel of another. All 0 where the class is absent or fills the image. Void pixels
    belong to no class. ``num_classes=1`` gives the distances of class 1 alone.

    Raises:
        TypeError, ValueError: if the truth is no batch of label maps.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes={num_classes} gives no distance maps: take at least 1.")
    check_labels(truth, max(num_classes, 2))
    if truth.ndim != 3 or truth.numel() == 0:
        raise ValueError(
            f"truth has shape {tuple(truth.shape)}, but distances are taken in images of a batch "
            "(N, H, W): add the missing axis with truth[None]."
        )
    labels = truth.cpu().numpy()
    wanted = range(num_classes) if num_classes > 1 else (1,)
    maps = [[distance_of_mask(image == label) for label in wanted] for image in labels]
    return torch.from_numpy(np.array(maps, dtype=np.float32)).to(truth.device)


def distance_of_mask(mask: np.ndarray) -> np.ndarray:
    """Signed distance to one mask, 0 if it is empty or full: (H, W) bool -> (H, W) float64."""
    if not mask.any() or mask.all():
        return np.zeros(mask.shape)
    return np.where(mask, 1 - distance_transform_edt(mask), distance_transform_edt(~mask))


def boundary_loss(
    logits: Tensor, truth: Tensor, *, distances: Tensor | None = None, background: bool = False
) -> Tensor:
    """Mean of probability times signed distance: (N, K, H, W), (N, H, W) -> scalar, also below 0.

    Probability far outside a region costs most, deep inside it earns most. Meant as a companion of
    a region loss, with a weight that grows during training.
    Kervadec et al. MIDL 2019. https://arxiv.org/abs/1812.07032

    Args:
        logits: a channel per class, or one for the foreground.
        truth: a class per pixel, or IGNORE.
        distances: ``signed_distance(truth, K)``, if the data loader has computed it already.
        background: count class 0 too; a single channel has none.

    Raises:
        ValueError: if the distances have another shape than the logits.
    """
    p, _ = probability_and_target(logits, truth)
    if distances is None:
        distances = signed_distance(truth, logits.shape[1])
    if distances.shape != p.shape:
        raise ValueError(
            f"distances have shape {tuple(distances.shape)}, but logits {tuple(p.shape)}: take "
            "signed_distance(truth, num_classes) of this very batch."
        )
    first = first_class(p, background)
    entries = (truth != IGNORE).sum() * (p.shape[1] - first)
    return (p * distances.to(p.dtype))[:, first:].sum() / at_least_one(entries)


def hausdorff_dt_loss(
    logits: Tensor, truth: Tensor, *, alpha: float = 2.0, background: bool = False
) -> Tensor:
    """Mean of (p - t)^2 (d_p^alpha + d_t^alpha): (N, K, H, W), (N, H, W) -> scalar.

    d_t and d_p are the distances to the boundary of the truth and of the prediction p > 0.5; no
    gradient runs through them. Grows with the square of the image's side: give it a small weight.
    Karimi, Salcudean. 2019. https://arxiv.org/abs/1904.10030

    Args:
        logits: a channel per class, or one for the foreground.
        truth: a class per pixel, or IGNORE.
        alpha: how much more distant mistakes weigh.
        background: count class 0 too; a single channel has none.

    Raises:
        ValueError: if alpha is not positive.
    """
    if not alpha > 0:
        raise ValueError(f"alpha={alpha} must be above 0: 2 is the authors' choice.")
    p, t = probability_and_target(logits, truth)
    far = field(t > 0.5) ** alpha + field(p > 0.5) ** alpha
    first = first_class(p, background)
    entries = (truth != IGNORE).sum() * (p.shape[1] - first)
    return ((p - t) ** 2 * far.to(p.dtype))[:, first:].sum() / at_least_one(entries)


def field(masks: Tensor) -> Tensor:
    """Unsigned distance to the boundary of every mask: (N, K, H, W) bool -> same, float32.

    An empty mask has no boundary and gets 0; of a full one the image's edge is not a boundary.
    """
    planes = masks.detach().cpu().numpy().reshape(-1, *masks.shape[2:])
    maps = [
        distance_transform_edt(plane) + distance_transform_edt(~plane)
        if plane.any() and not plane.all()
        else np.zeros(plane.shape)
        for plane in planes
    ]
    return torch.from_numpy(np.array(maps, dtype=np.float32)).reshape(masks.shape).to(masks.device)


def first_class(p: Tensor, background: bool) -> int:
    """Index of the first channel that counts: 0 with background, or if there is none."""
    return 0 if background or p.shape[1] == 1 else 1
