"""Losses that judge every pixel by itself, and the weights that say which pixels matter.

    logits (N, K, H, W) ─ log-softmax ─→ the logarithm at the true class ─→ weigh, choose, average
    truth  (N, H, W) ─────────────────────────↗

All of them skip pixels whose truth is IGNORE; a batch of nothing else gives 0 with gradient 0.
A network with **one** channel z is a binary network: two classes with the logits (0, z), whose
softmax is sigmoid(z); its labels are 0 and 1. Half precision is summed in float32.

No loss can see whether it received logits or probabilities: a softmax too many raises no error,
it only trains worse. Networks of this course end without a softmax.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from segcourse.ops.labels import IGNORE, check_labels


def check_pair(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits in at least float32, truth with 0 for void, and what counts: (N, H, W) bool.

    Raises:
        TypeError: if the logits are no floats, or the truth no integers.
        ValueError: if the shapes do not belong together, or a label has no channel.
    """
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        kind = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(
            f"logits must be a tensor of floats, but came as {kind}: pass what the network "
            "returns, before any argmax."
        )
    if logits.ndim != 4 or logits.numel() == 0:
        raise ValueError(
            f"logits have shape (N, K, H, W) with at least one pixel, but these have "
            f"{tuple(logits.shape)}: add the missing axis with logits[None]."
        )
    count, classes, *size = logits.shape
    check_labels(truth, max(classes, 2))
    if truth.shape != (count, *size):
        cure = "resize the logits, not the labels; or crop the truth of an unpadded network"
        if truth.ndim == 4:
            cure = "drop the channel axis with truth[:, 0], or undo a one-hot code with argmax(1)"
        raise ValueError(
            f"logits {tuple(logits.shape)} want a truth of shape {(count, *size)}, but it has "
            f"{tuple(truth.shape)}: {cure}."
        )
    counted = truth != IGNORE
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return logits, truth.long().where(counted, 0), counted


def log_probability(logits: Tensor) -> Tensor:
    """Logarithms of the class probabilities; one channel becomes two: (N, K or 1, H, W) -> same."""
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return logits.log_softmax(dim=1)


def pixel_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """-log p of the true class of every pixel, 0 on void: (N, K, H, W), (N, H, W) -> (N, H, W)."""
    logits, truth, counted = check_pair(logits, truth)
    return -log_probability(logits).gather(1, truth[:, None])[:, 0] * counted


def class_vector(weight: Tensor | Sequence[float], classes: int, like: Tensor) -> Tensor:
    """Weights, one per class, as a tensor beside the logits: (K,).

    Raises:
        ValueError: if their number is another, or one is negative.
    """
    weight = torch.as_tensor(weight, dtype=like.dtype, device=like.device)
    if weight.shape != (classes,) or (weight < 0).any():
        raise ValueError(
            f"weight has shape {tuple(weight.shape)} and minimum {weight.min():.3g}, but {classes} "
            f"classes need {classes} weights of at least 0: give one per class, in class order."
        )
    return weight


def cross_entropy(
    logits: Tensor,
    truth: Tensor,
    *,
    weight: Tensor | Sequence[float] | None = None,
    divide_by: str = "weights",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean of -w log p over the counted pixels: (N, K, H, W), (N, H, W) -> scalar.

    Args:
        logits: one channel per class, or a single one for a binary problem.
        truth: a class per pixel, or IGNORE.
        weight: one weight per class (two for a single channel), see below for schemes.
        divide_by: "weights", the sum of the weights of the counted pixels, as torch does: doubling
            all weights changes nothing; or "pixels", their number: doubling them doubles the loss.
        label_smoothing: this share of every target is spread evenly over all classes (Szegedy et
            al., Inception-v3, 2016, https://arxiv.org/abs/1512.00567).

    Raises:
        TypeError, ValueError: if the arguments do not fit; see :func:`check_pair`.
    """
    if divide_by not in ("weights", "pixels"):
        raise ValueError(f'divide_by is "weights" or "pixels", but it came as {divide_by!r}.')
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing={label_smoothing} is no share: choose it in [0, 1].")
    logits, truth, counted = check_pair(logits, truth)
    log_p = log_probability(logits)  # (N, K, H, W)
    classes = log_p.shape[1]
    w = torch.ones(classes) if weight is None else weight
    w = class_vector(w, classes, log_p)
    here = w[truth] * counted  # (N, H, W)
    total = -(here * log_p.gather(1, truth[:, None])[:, 0]).sum()
    if label_smoothing:
        even = -((w[:, None, None] * log_p).mean(dim=1) * counted).sum()
        total = (1 - label_smoothing) * total + label_smoothing * even
    return total / at_least_one(here.sum() if divide_by == "weights" else counted.sum())


def at_least_one(amount: Tensor) -> Tensor:
    """The amount, or 1 where it is 0: what an average over nothing divides by."""
    return amount.where(amount > 0, 1)


def pixel_weighted_cross_entropy(logits: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Sum of w(x) times -log p(x) by the number of counted pixels: all (N, ...) -> scalar.

    Ronneberger, Fischer, Brox. "U-Net." MICCAI 2015. https://arxiv.org/abs/1505.04597

    Args:
        logits: (N, K, H, W).
        truth: (N, H, W), a class or IGNORE.
        weights: (N, H, W), what a pixel is worth, for example ``1 + border_weights(instance)``.

    Raises:
        ValueError: if the weights have another shape than the truth.
    """
    loss = pixel_cross_entropy(logits, truth)
    if weights.shape != loss.shape:
        raise ValueError(
            f"weights have shape {tuple(weights.shape)}, but there is one per pixel of a truth of "
            f"{tuple(loss.shape)}: crop, flip and warp them together with the image."
        )
    return (weights * loss).sum() / at_least_one((truth != IGNORE).sum())


def balanced_cross_entropy(logits: Tensor, truth: Tensor, *, per_image: bool = False) -> Tensor:
    """Cross-entropy in which both classes weigh the same: (N, 1, H, W), (N, H, W) -> scalar.

    Positives are weighed by the share of negatives and the other way round, counted over the batch
    or in each image. Xie, Tu. "Holistically-Nested Edge Detection." ICCV 2015.
    https://arxiv.org/abs/1504.06375

    Raises:
        ValueError: if there are more than two classes.
    """
    if logits.ndim == 4 and logits.shape[1] > 2:
        raise ValueError(
            f"balanced_cross_entropy separates two classes, but the logits have {logits.shape[1]} "
            "channels: use cross_entropy with a weight per class."
        )
    loss = pixel_cross_entropy(logits, truth)
    counted = truth != IGNORE
    axes = (1, 2) if per_image else (0, 1, 2)
    positive = ((truth == 1).sum(axes, keepdim=True)) / at_least_one(
        counted.sum(axes, keepdim=True)
    )
    weights = torch.where(truth == 1, 1 - positive, positive)
    return (weights * loss).sum() / at_least_one(counted.sum())


def focal(
    logits: Tensor,
    truth: Tensor,
    *,
    gamma: float = 2.0,
    weight: Tensor | Sequence[float] | None = None,
) -> Tensor:
    """Mean of -w (1 - p)^gamma log p of the true class: (N, K, H, W), (N, H, W) -> scalar.

    The focal loss on a softmax, averaged over the counted pixels; gamma = 0 is cross-entropy.
    Lin et al. "Focal Loss for Dense Object Detection." ICCV 2017. https://arxiv.org/abs/1708.02002

    Raises:
        ValueError: if gamma is negative, or the arguments do not fit.
    """
    check_gamma(gamma)
    log_p = -pixel_cross_entropy(logits, truth)
    miss = (1 - log_p.exp()).clamp(min=torch.finfo(log_p.dtype).tiny)  # finite slope for gamma < 1
    loss = -(miss**gamma) * log_p
    if weight is not None:
        w = class_vector(weight, max(logits.shape[1], 2), log_p)
        loss = loss * w[truth.long().where(truth != IGNORE, 0)]
    return loss.sum() / at_least_one((truth != IGNORE).sum())


def sigmoid_focal(
    logits: Tensor,
    truth: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    divide_by: str = "entries",
) -> Tensor:
    """Focal loss of K separate yes-or-no questions: (N, K, H, W), (N, H, W) -> scalar.

    RetinaNet's form (see :func:`focal`): a sigmoid per channel instead of a softmax over them.

    Args:
        logits: a channel per class, or one channel whose question is "is it class 1?".
        truth: a class per pixel, or IGNORE.
        gamma: how fast easy entries fade.
        alpha: weight of the yes-entries, 1 - alpha of the no-entries. RetinaNet's is 0.25.
        divide_by: "entries", counted pixels times channels; or "positives", the number of
            yes-entries, as RetinaNet does.

    Raises:
        ValueError: if gamma is negative, alpha no share, or the arguments do not fit.
    """
    check_gamma(gamma)
    if alpha is not None and not 0 <= alpha <= 1:
        raise ValueError(
            f"alpha={alpha} is no share: choose it in [0, 1], or None to leave it out."
        )
    if divide_by not in ("entries", "positives"):
        raise ValueError(f'divide_by is "entries" or "positives", but it came as {divide_by!r}.')
    logits, truth, counted = check_pair(logits, truth)
    yes = one_hot(truth, logits.shape[1]) & counted[:, None]  # (N, K, H, W)
    margin = torch.where(yes, logits, -logits)  # large where the answer is right
    loss = -(gamma * F.logsigmoid(-margin)).exp() * F.logsigmoid(margin) * counted[:, None]
    if alpha is not None:
        loss = loss * torch.where(yes, alpha, 1 - alpha)
    entries = yes.sum() if divide_by == "positives" else counted.sum() * logits.shape[1]
    return loss.sum() / at_least_one(entries)


def check_gamma(gamma: float) -> None:
    """Refuse exponents that would make easy pixels matter more than hard ones."""
    if not gamma >= 0:
        raise ValueError(f"gamma={gamma} must be at least 0: 0 is plain cross-entropy, 2 is usual.")


def one_hot(truth: Tensor, channels: int) -> Tensor:
    """Which channel is the true one; a single channel means class 1: (N, H, W) -> (N, K, H, W)."""
    if channels == 1:
        return (truth == 1)[:, None]
    return truth[:, None] == torch.arange(channels, device=truth.device)[:, None, None]


def ohem(logits: Tensor, truth: Tensor, *, threshold: float = 0.7, min_kept: int) -> Tensor:
    """Mean cross-entropy of the hard pixels only: (N, K, H, W), (N, H, W) -> scalar.

    A pixel is hard if the probability of its true class is *below* ``threshold``. If fewer than
    ``min_kept`` are, exactly the ``min_kept`` hardest are taken, or all if the batch has no more.
    The mean is over the chosen pixels. Online hard example mining: Shrivastava et al., CVPR 2016,
    https://arxiv.org/abs/1604.03540; for pixels: https://arxiv.org/abs/1604.04339

    Raises:
        ValueError: if threshold is no probability or ``min_kept`` not positive.
    """
    if not 0 <= threshold <= 1 or min_kept < 1:
        raise ValueError(
            f"threshold={threshold} and min_kept={min_kept} choose no pixels: threshold is a "
            "probability in [0, 1], min_kept at least 1."
        )
    loss = pixel_cross_entropy(logits, truth)[truth != IGNORE]  # (pixels,)
    hard = int((loss > -math.log(threshold)).sum()) if threshold > 0 else 0
    return mean_of_largest(loss, max(hard, min_kept))


def bootstrapped_cross_entropy(logits: Tensor, truth: Tensor, *, share: float = 0.25) -> Tensor:
    """Mean cross-entropy of the hardest pixels of every image: (N, K, H, W), (N, H, W) -> scalar.

    Of every image this share of the counted pixels is taken, rounded up.

    Raises:
        ValueError: if ``share`` is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share} chooses no pixels: take a share in (0, 1].")
    loss = pixel_cross_entropy(logits, truth)
    hard = []
    for image, counted in zip(loss, truth != IGNORE, strict=True):
        pixels = image[counted]
        hard.append(pixels.topk(math.ceil(share * len(pixels) - 1e-9)).values)
    kept = torch.cat(hard)
    return kept.mean() if len(kept) else loss.sum()


def mean_of_largest(loss: Tensor, amount: int) -> Tensor:
    """Mean of the ``amount`` largest values, or of all if there are fewer; 0 of none: -> scalar."""
    kept = loss.topk(min(amount, len(loss))).values
    return kept.sum() / max(len(kept), 1)


def class_counts(truth: Tensor, num_classes: int) -> Tensor:
    """Pixels of every class in every image: (N, H, W) -> (N, K) int64. Void is not counted.

    Raises:
        TypeError, ValueError: if a label is no class.
    """
    check_labels(truth, num_classes)
    if truth.ndim != 3:
        raise ValueError(
            f"truth has shape {tuple(truth.shape)}, but counts are taken per image of (N, H, W): "
            "add the axis of the batch with truth[None]."
        )
    rows = [image[image != IGNORE].long().bincount(minlength=num_classes) for image in truth]
    return torch.stack(rows)


def frequency(counts: Tensor) -> Tensor:
    """Share of every class in all pixels: (N, K) -> (K,) float64.

    Raises:
        ValueError: if these are no counts per image, or all are zero.
    """
    if counts.ndim != 2 or (counts < 0).any() or counts.sum() == 0:
        raise ValueError(
            f"counts of shape {tuple(counts.shape)}, total {counts.sum().item()}, are no pixels "
            "per image and class (N, K): take them from class_counts."
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
    if instance.ndim < 2 or instance.numel() == 0 or sigma <= 0 or w0 < 0:
        raise ValueError(
            f"border_weights takes a map (..., H, W), sigma > 0 and w0 >= 0, but got shape "
            f"{tuple(instance.shape)}, sigma={sigma}, w0={w0}."
        )
    if instance.ndim > 2:
        return torch.stack([border_weights(each, w0=w0, sigma=sigma) for each in instance])
    objects = instance.cpu().numpy()
    numbers = np.unique(objects[objects > 0])
    if len(numbers) < 2:
        return torch.zeros(instance.shape)
    distances = np.stack([distance_transform_edt(objects != number) for number in numbers])
    nearest, second = np.partition(distances, 1, axis=0)[:2]
    weights = w0 * np.exp(-((nearest + second) ** 2) / (2 * sigma**2)) * (objects == 0)
    return torch.from_numpy(weights).float().to(instance.device)
