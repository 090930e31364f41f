"""Losses that compare whole regions: Dice, Jaccard, Tversky, and their relatives.

    intersection I = sum p t     predicted S = sum p     true T = sum t     one number per class

The sums run over the pixels of the whole batch, or of each image (``per_image=True``); classes,
and then images, are averaged with equal weight, whatever their size.

**Classes that the target does not contain** (in the batch, or in the image) are left out of the
mean, as in the metrics; false positives of such a class cost nothing. With ``classes="all"`` they
count, and ``smooth > 0`` is what gives them a gradient: their Dice is smooth / (S + smooth).

**The options of all losses here** are explained in :func:`dice_loss`, which takes all of them; the
others take those that their signature or ``options`` names, with the same defaults.

As in :mod:`~segcourse.losses.pixelwise`, void is left out, a network with one channel is binary
(sigmoid; the only class is the foreground), and inputs are logits: nobody can see a second softmax.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from segcourse.losses.inputs import (
    at_least_one,
    average_classes,
    class_vector,
    classes_that_count,
    probability_and_target,
)
from segcourse.ops.labels import IGNORE


def _region_loss(
    logits: Tensor,
    target: Tensor,
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor],
    *,
    squared: bool = False,
    per_image: bool = False,
    classes: str = "present",
    weight: Tensor | Sequence[float] | None = None,
    include_background: bool = True,
    multilabel: bool = False,
    ignore_index: int = IGNORE,
    reduction: str = "mean",
) -> Tensor:
    """What all losses of this file share: sums, then ``loss_of(I, S, T)``, then the average."""
    sums, counts = _region_sums(
        *probability_and_target(
            logits,
            target,
            ignore_index=ignore_index,
            multilabel=multilabel,
            include_background=include_background,
        ),
        squared=squared,
        per_image=per_image,
        classes=classes,
    )
    loss = loss_of(*sums)
    if weight is not None:
        weight = class_vector(weight, logits.shape[1], loss)
    return average_classes(loss, counts, weight, reduction)


def _region_sums(
    p: Tensor, t: Tensor, counted: Tensor, *, squared: bool, per_image: bool, classes: str
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """I, S and T of every class, and which classes count: all (K,), or (N, K) per image."""
    axes = (2, 3) if per_image else (0, 2, 3)
    sums = (p * t).sum(axes), (p**2 if squared else p).sum(axes), t.sum(axes)
    return sums, classes_that_count(sums[2], counted, classes, axes)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, and 1 where both are 0 (nothing there, nothing predicted); nan stays nan."""
    nothing = whole <= 0
    return torch.where(nothing, 1, part / whole.masked_fill(nothing, 1))


def _check_smooth(smooth: float) -> None:
    """Refuse a negative constant."""
    if not smooth >= 0:
        raise ValueError(f"smooth={smooth} must be at least 0; it is in pixels, 0 or 1 is usual.")


def dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    smooth: float = 0.0,
    squared: bool = False,
    per_image: bool = False,
    classes: str = "present",
    weight: Tensor | Sequence[float] | None = None,
    include_background: bool = True,
    multilabel: bool = False,
    ignore_index: int = IGNORE,
    reduction: str = "mean",
) -> Tensor:
    """Mean of 1 - (2 I + smooth) / (S + T + smooth): (N, K, H, W), (N, H, W) -> scalar in [0, 1].

    Args:
        logits: a channel per class, or one for the foreground.
        target: a class per pixel, or ``ignore_index``.
        smooth: in pixels. A tiny mask beside a large constant looks well found already. MONAI's
            ``smooth_nr = smooth_dr`` is the same number; SMP adds its own to I, so it is half of
            ours.
        squared: sum p^2 in the denominator (Milletari et al., "V-Net", 3DV 2016,
            https://arxiv.org/abs/1606.04797).
        per_image: sum over the pixels of each image instead of the batch.
        classes: "present" or "all", see the top of this file.
        weight: one per channel, at least 0; the mean is divided by the weights of the classes that
            count, as SMP does. MONAI divides by their number, and leaves the background's out.
        include_background: count channel 0 too. A single channel is always counted.
        multilabel: a sigmoid per channel, and a target (N, K, H, W): 0, 1 or ``ignore_index``.
        ignore_index: the label of void.
        reduction: "mean", "sum" over classes and images, or "none": (K,), or (N, K) per image, the
            weighted losses, 0 where a class does not count; K - 1 without the background.

    Raises:
        TypeError, ValueError: if the arguments do not fit; see :func:`.inputs.check_pair`.
    """
    _check_smooth(smooth)
    return _region_loss(
        logits,
        target,
        lambda i, s, t: 1 - _ratio(2 * i + smooth, s + t + smooth),
        squared=squared,
        per_image=per_image,
        classes=classes,
        weight=weight,
        include_background=include_background,
        multilabel=multilabel,
        ignore_index=ignore_index,
        reduction=reduction,
    )


def log_dice_loss(
    logits: Tensor, target: Tensor, *, ignore_index: int = IGNORE, **options
) -> Tensor:
    """Mean of -log Dice over the classes: (N, K, H, W), (N, H, W) -> scalar from 0 to 16.

    ``options`` are those of :func:`dice_loss` from ``per_image`` on.
    """

    def loss_of(overlap: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
        return -_ratio(2 * overlap, predicted + true).clamp(min=1e-7).log()

    return _region_loss(logits, target, loss_of, ignore_index=ignore_index, **options)


def log_cosh_dice_loss(
    logits: Tensor, target: Tensor, *, ignore_index: int = IGNORE, **options
) -> Tensor:
    """log(cosh(Dice loss)), flat near a perfect overlap: (N, K, H, W), (N, H, W) -> scalar.

    Jadon. 2020. https://arxiv.org/abs/2006.14822. ``options`` are those of :func:`dice_loss`, whose
    result, reduced, is what the function is taken of.
    """
    return dice_loss(logits, target, ignore_index=ignore_index, **options).cosh().log()


def generalized_dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    per_image: bool = False,
    include_background: bool = True,
    multilabel: bool = False,
    ignore_index: int = IGNORE,
    reduction: str = "mean",
) -> Tensor:
    """1 - 2 sum(w I) / sum(w (S + T)), w = 1 / T^2: (N, K, H, W), (N, H, W) -> scalar in [0, 1].

    One ratio for all classes, in which small ones weigh more; absent classes have weight 0, where
    MONAI gives them the largest. ``reduction="none"`` gives (1,), or (N, 1) per image.
    Sudre et al. 2017. https://arxiv.org/abs/1707.03237
    """
    entries = probability_and_target(
        logits,
        target,
        ignore_index=ignore_index,
        multilabel=multilabel,
        include_background=include_background,
    )
    (overlap, predicted, true), counts = _region_sums(
        *entries, squared=False, per_image=per_image, classes="present"
    )
    weight = torch.where(true > 0, 1 / at_least_one(true) ** 2, 0)
    score = _ratio(2 * (weight * overlap).sum(-1), (weight * (predicted + true)).sum(-1))
    return average_classes((1 - score)[..., None], counts.any(-1, keepdim=True), None, reduction)


def jaccard_loss(
    logits: Tensor, target: Tensor, *, smooth: float = 0.0, ignore_index: int = IGNORE, **options
) -> Tensor:
    """Mean of 1 - (I + smooth) / (S + T - I + smooth): (N, K, H, W), (N, H, W) -> scalar in [0, 1].

    The soft form of 1 - IoU. Per class, J = D / (2 - D). SMP's ``smooth`` is ours, MONAI's is twice
    as large. ``options`` are those of :func:`dice_loss` from ``per_image`` on.
    """
    _check_smooth(smooth)
    return _region_loss(
        logits,
        target,
        lambda i, s, t: 1 - _ratio(i + smooth, s + t - i + smooth),
        ignore_index=ignore_index,
        **options,
    )


def _tversky_index(
    overlap: Tensor, predicted: Tensor, true: Tensor, *, alpha: float, beta: float, smooth: float
) -> Tensor:
    """(I + smooth) / (I + alpha FP + beta FN + smooth) of every class: three (..., K) -> (..., K).

    Raises:
        ValueError: if a weight or the constant is negative.
    """
    _check_smooth(smooth)
    if not (alpha >= 0 and beta >= 0):
        raise ValueError(
            f"alpha={alpha} (false positives) and beta={beta} (false negatives) are the prices of "
            "the two errors and must be at least 0: 0.5 and 0.5 is Dice, 1 and 1 Jaccard."
        )
    errors = alpha * (predicted - overlap) + beta * (true - overlap)
    return _ratio(overlap + smooth, overlap + errors + smooth)


def tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 0.0,
    ignore_index: int = IGNORE,
    **options,
) -> Tensor:
    """Mean of 1 - I / (I + alpha FP + beta FN): (N, K, H, W), (N, H, W) -> scalar in [0, 1].

    Dice with a price for each kind of error; 0.5 and 0.5 is Dice, 1 and 1 is Jaccard.
    Salehi, Erdogmus, Gholipour. 2017. https://arxiv.org/abs/1706.05721

    Args:
        logits: a channel per class, or one for the foreground.
        target: a class per pixel, or ``ignore_index``.
        alpha: price of false positives.
        beta: price of false negatives. The authors of focal Tversky call this one alpha.
        smooth: in pixels, the same number as in SMP and MONAI.
        ignore_index: the label of void.
        options: those of :func:`dice_loss` from ``per_image`` on.
    """
    index = partial(_tversky_index, alpha=alpha, beta=beta, smooth=smooth)
    return _region_loss(
        logits, target, lambda *sums: 1 - index(*sums), ignore_index=ignore_index, **options
    )


def focal_tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 0.75,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 0.0,
    ignore_index: int = IGNORE,
    **options,
) -> Tensor:
    """Mean of (1 - Tversky index)^gamma over the classes: (N, K, H, W), (N, H, W) -> scalar.

    Abraham, Khan. 2018. https://arxiv.org/abs/1810.07842: their 1 / gamma, 3/4, is our ``gamma``,
    as in SMP, which raises the mean of the classes to this power instead of every class.
    The slope of x^0.75 is infinite at 0, so 1 - index is kept above 1e-7. Other arguments are
    those of :func:`tversky_loss`.

    Raises:
        ValueError: if ``gamma`` is not positive.
    """
    if not gamma > 0:
        raise ValueError(
            f"gamma={gamma} must be above 0: 0.75 is the authors', 1 is plain Tversky."
        )
    index = partial(_tversky_index, alpha=alpha, beta=beta, smooth=smooth)

    def loss_of(*sums: Tensor) -> Tensor:
        return (1 - index(*sums)).clamp(min=1e-7) ** gamma

    return _region_loss(logits, target, loss_of, ignore_index=ignore_index, **options)
