"""Losses that judge every pixel by itself.

    logits (N, K, H, W) ─ log-softmax ─→ the logarithm at the true class ─→ weigh, choose, average
    target (N, H, W) ─────────────────────────↗

All of them leave out pixels whose target is ``ignore_index``, whatever the logits are there, also
nan; a batch of nothing else gives 0 with gradient 0. A nan at any other pixel gives nan.
A network with **one** channel z is a binary network: two classes with the logits (0, z), whose
softmax is sigmoid(z); its labels are 0 and 1. Half precision is summed in float32.
``reduction`` is "mean", "sum", or "none": the weighted loss of every pixel, 0 on void.

No loss can see whether it received logits or probabilities: a softmax too many raises no error,
it only trains worse. Networks of this course end without a softmax.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.losses.inputs import (
    at_least_one,
    binary_entries,
    check_pair,
    class_vector,
    number_of_entries,
    reduce_loss,
)
from segcourse.ops.labels import IGNORE


def _log_probability(logits: Tensor) -> Tensor:
    """Logarithms of the class probabilities; one channel becomes two: (N, K or 1, H, W) -> same."""
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return logits.log_softmax(dim=1)


def _pixel_losses(
    logits: Tensor, target: Tensor, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """-log p of the true class, 0 on void, the target, and what counts: -> three (N, H, W)."""
    logits, target, counted = check_pair(logits, target, ignore_index=ignore_index)
    loss = -_log_probability(logits).gather(1, target[:, None])[:, 0] * counted
    return loss, target, counted


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | Sequence[float] | None = None,
    normalizer: str = "weights",
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORE,
    reduction: str = "mean",
) -> Tensor:
    """Mean of -w log p over the counted pixels: (N, K, H, W), (N, H, W) -> scalar.

    Args:
        logits: one channel per class, or a single one for a binary problem.
        target: a class per pixel, or ``ignore_index``.
        weight: one weight per class (two for a single channel), see :mod:`.weights` for schemes.
        normalizer: "weights", the sum of the weights of the counted pixels, as torch does: doubling
            all weights changes nothing; or "pixels", their number: doubling them doubles the loss.
        label_smoothing: this share of every target is spread evenly over all classes (Szegedy et
            al., Inception-v3, 2016, https://arxiv.org/abs/1512.00567).
        ignore_index: the label of void.
        reduction: "mean", "sum" or "none", which gives (N, H, W).

    Raises:
        TypeError, ValueError: if the arguments do not fit; see :func:`.inputs.check_pair`.
    """
    if normalizer not in ("weights", "pixels"):
        raise ValueError(f'normalizer is "weights" or "pixels", but it came as {normalizer!r}.')
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing={label_smoothing} is no share: choose it in [0, 1].")
    logits, target, counted = check_pair(logits, target, ignore_index=ignore_index)
    log_p = _log_probability(logits)  # (N, K, H, W)
    classes = log_p.shape[1]
    w = class_vector(torch.ones(classes) if weight is None else weight, classes, log_p)
    here = w[target] * counted  # (N, H, W)
    loss = -here * log_p.gather(1, target[:, None])[:, 0]
    if label_smoothing:
        even = -(w[:, None, None] * log_p).mean(dim=1) * counted
        loss = (1 - label_smoothing) * loss + label_smoothing * even
    return reduce_loss(loss, here.sum() if normalizer == "weights" else counted.sum(), reduction)


def pixel_weighted_cross_entropy(
    logits: Tensor,
    target: Tensor,
    weights: Tensor,
    *,
    ignore_index: int = IGNORE,
    reduction: str = "mean",
) -> Tensor:
    """Sum of w(x) times -log p(x) by the number of counted pixels: all (N, ...) -> scalar.

    Ronneberger, Fischer, Brox. "U-Net." MICCAI 2015. https://arxiv.org/abs/1505.04597

    Args:
        logits: (N, K, H, W).
        target: (N, H, W), a class or ``ignore_index``.
        weights: (N, H, W), what a pixel is worth, for example ``1 + border_weights(instance)``.
        ignore_index: the label of void.
        reduction: "mean", "sum" or "none", which gives (N, H, W).

    Raises:
        ValueError: if the weights have another shape than the target.
    """
    loss, _, counted = _pixel_losses(logits, target, ignore_index)
    if weights.shape != loss.shape:
        raise ValueError(
            f"weights have shape {tuple(weights.shape)}, but there is one per pixel of a target of "
            f"{tuple(loss.shape)}: crop, flip and warp them together with the image."
        )
    return reduce_loss(weights.to(loss).where(counted, 0) * loss, counted.sum(), reduction)


def balanced_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    per_image: bool = False,
    ignore_index: int = IGNORE,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy in which both classes weigh the same: (N, 1, H, W), (N, H, W) -> scalar.

    Positives are weighed by the share of negatives and the other way round, counted over the batch
    or in each image. Xie, Tu. "Holistically-Nested Edge Detection." ICCV 2015.
    https://arxiv.org/abs/1504.06375

    Raises:
        ValueError: if there are more than two classes.
    """
    if isinstance(logits, Tensor) and logits.ndim == 4 and logits.shape[1] > 2:
        raise ValueError(
            f"balanced_cross_entropy separates two classes, but the logits have {logits.shape[1]} "
            "channels: use cross_entropy with a weight per class."
        )
    loss, target, counted = _pixel_losses(logits, target, ignore_index)
    axes = (1, 2) if per_image else (0, 1, 2)
    amount = at_least_one(counted.sum(axes, keepdim=True))
    positive = ((target == 1) & counted).sum(axes, keepdim=True).to(loss.dtype) / amount
    weights = torch.where(target == 1, 1 - positive, positive)
    return reduce_loss(weights * loss, counted.sum(), reduction)


def focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    weight: Tensor | Sequence[float] | None = None,
    ignore_index: int = IGNORE,
    reduction: str = "mean",
) -> Tensor:
    """Mean of -w (1 - p)^gamma log p of the true class: (N, K, H, W), (N, H, W) -> scalar.

    The focal loss on a softmax, averaged over the counted pixels; gamma = 0 is cross-entropy.
    MONAI divides by the number of classes, too. SMP's takes a sigmoid per class, as
    :func:`sigmoid_focal_loss` does.
    Lin et al. "Focal Loss for Dense Object Detection." ICCV 2017. https://arxiv.org/abs/1708.02002

    Raises:
        ValueError: if gamma is negative, or the arguments do not fit.
    """
    _check_gamma(gamma)
    loss, target, counted = _pixel_losses(logits, target, ignore_index)
    miss = 1 - (-loss).exp()
    miss = miss.clamp(min=torch.finfo(loss.dtype).tiny)  # finite slope for gamma < 1
    loss = miss**gamma * loss
    if weight is not None:
        loss = loss * class_vector(weight, max(logits.shape[1], 2), loss)[target]
    return reduce_loss(loss, counted.sum(), reduction)


def sigmoid_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    normalizer: str = "entries",
    multilabel: bool = False,
    ignore_index: int = IGNORE,
    reduction: str = "mean",
) -> Tensor:
    """Focal loss of K separate yes-or-no questions: (N, K, H, W), (N, H, W) -> scalar.

    RetinaNet's form (see :func:`focal_loss`): a sigmoid per channel instead of a softmax over them.

    Args:
        logits: a channel per class, or one channel whose question is "is it class 1?".
        target: a class per pixel, or ``ignore_index``.
        gamma: how fast easy entries fade.
        alpha: weight of the yes-entries, 1 - alpha of the no-entries. RetinaNet's is 0.25, and
            torchvision's default; None, or torchvision's -1, leaves it out.
        normalizer: "entries", counted pixels times channels; or "positives", the number of
            yes-entries, as RetinaNet does.
        multilabel: the target is (N, K, H, W): 0, 1 or ``ignore_index`` for every class.
        ignore_index: the label of void.
        reduction: "mean", "sum" or "none", which gives (N, K, H, W).

    Raises:
        ValueError: if gamma is negative, alpha no share, or the arguments do not fit.
    """
    _check_gamma(gamma)
    if alpha is not None and not 0 <= alpha <= 1:
        raise ValueError(
            f"alpha={alpha} is no share: choose it in [0, 1], or None to leave it out."
        )
    if normalizer not in ("entries", "positives"):
        raise ValueError(f'normalizer is "entries" or "positives", but it came as {normalizer!r}.')
    logits, yes, counted = binary_entries(
        logits, target, ignore_index=ignore_index, multilabel=multilabel
    )
    margin = torch.where(yes, logits, -logits)  # large where the answer is right
    loss = -(gamma * F.logsigmoid(-margin)).exp() * F.logsigmoid(margin) * counted
    if alpha is not None:
        loss = loss * torch.where(yes, alpha, 1 - alpha)
    amount = yes.sum() if normalizer == "positives" else number_of_entries(counted, loss)
    return reduce_loss(loss, amount, reduction)


def _check_gamma(gamma: float) -> None:
    """Refuse exponents that would make easy pixels matter more than hard ones."""
    if not gamma >= 0:
        raise ValueError(f"gamma={gamma} must be at least 0: 0 is plain cross-entropy, 2 is usual.")


def ohem_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    threshold: float = 0.7,
    min_kept: int,
    ignore_index: int = IGNORE,
) -> Tensor:
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
    loss, _, counted = _pixel_losses(logits, target, ignore_index)
    loss = loss[counted]  # (pixels,)
    hard = int((loss > -math.log(threshold)).sum()) if threshold > 0 else 0
    kept = loss.topk(min(max(hard, min_kept), len(loss))).values
    return kept.sum() / max(len(kept), 1)


def bootstrapped_cross_entropy(
    logits: Tensor, target: Tensor, *, share: float = 0.25, ignore_index: int = IGNORE
) -> Tensor:
    """Mean cross-entropy of the hardest pixels of every image: (N, K, H, W), (N, H, W) -> scalar.

    Of every image this share of the counted pixels is taken, rounded up.

    Raises:
        ValueError: if ``share`` is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share} chooses no pixels: take a share in (0, 1].")
    loss, _, counted = _pixel_losses(logits, target, ignore_index)
    hard = []
    for image, inside in zip(loss, counted, strict=True):
        pixels = image[inside]
        hard.append(pixels.topk(math.ceil(share * len(pixels) - 1e-9)).values)
    kept = torch.cat(hard)
    return kept.sum() / max(len(kept), 1)
