"""Losses that compare whole regions: Dice, Jaccard, Tversky, and the Lovász extension of IoU.

    intersection I = sum p t     predicted S = sum p     true T = sum t     one number per class

The sums run over the pixels of the whole batch, or of each image (``per_image=True``); classes,
and then images, are averaged with equal weight, whatever their size.

**Classes that the truth does not contain** (in the batch, or in the image) are left out of the
mean, as in the metrics; false positives of such a class cost nothing. With ``classes="all"`` they
count, and ``smooth > 0`` is what gives them a gradient: their Dice is smooth / (S + smooth).

As in :mod:`~segcourse.losses.pixelwise`, void is skipped, a network with one channel is binary
(sigmoid; the only class is the foreground), and inputs are logits: nobody can see a second softmax.
"""

import torch
from torch import Tensor

from segcourse.losses.pixelwise import at_least_one, check_pair, one_hot
from segcourse.ops.labels import IGNORE


def probability_and_target(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Class probabilities and a 0/1 code of the truth, both 0 on void: -> two (N, K, H, W)."""
    logits, truth, counted = check_pair(logits, truth)
    probability = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)
    target = one_hot(truth, logits.shape[1]) & counted[:, None]
    return probability * counted[:, None], target.to(probability.dtype)


def region_sums(
    logits: Tensor, truth: Tensor, *, per_image: bool, squared: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Intersection, predicted and true size of every class: -> three (K,), or (N, K) per image.

    ``squared`` sums p^2 instead of p for the predicted size.
    """
    p, t = probability_and_target(logits, truth)
    axes = (2, 3) if per_image else (0, 2, 3)
    return (p * t).sum(axes), (p**2 if squared else p).sum(axes), t.sum(axes)


def average(loss: Tensor, size: Tensor, classes: str) -> Tensor:
    """Mean over the classes that count, then over images that have any: two (..., K) -> scalar.

    Raises:
        ValueError: if ``classes`` is neither "present" nor "all".
    """
    if classes not in ("present", "all"):
        raise ValueError(
            f'classes is "present" (those that the truth contains) or "all", not {classes!r}.'
        )
    counts = (size > 0) | (classes == "all")
    rows = (loss * counts).sum(dim=-1) / at_least_one(counts.sum(dim=-1))
    return rows.sum() / at_least_one(counts.any(dim=-1).sum())


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, and 1 where both are 0 (nothing there, nothing predicted)."""
    return torch.where(whole > 0, part / whole.where(whole > 0, 1), 1)


def check_smooth(smooth: float) -> None:
    """Refuse a negative constant."""
    if not smooth >= 0:
        raise ValueError(f"smooth={smooth} must be at least 0; it is in pixels, 0 or 1 is usual.")


def dice(
    logits: Tensor,
    truth: Tensor,
    *,
    per_image: bool = False,
    classes: str = "present",
    smooth: float = 0.0,
    squared: bool = False,
) -> Tensor:
    """Mean of 1 - (2 I + smooth) / (S + T + smooth): (N, K, H, W), (N, H, W) -> scalar in [0, 1].

    Args:
        logits: a channel per class, or one for the foreground.
        truth: a class per pixel, or IGNORE.
        per_image: sum over the pixels of each image instead of the batch.
        classes: "present" or "all", see the top of this file.
        smooth: in pixels. A tiny mask beside a large constant looks well found already.
        squared: sum p^2 in the denominator (Milletari et al., "V-Net", 3DV 2016,
            https://arxiv.org/abs/1606.04797).

    Raises:
        TypeError, ValueError: if the arguments do not fit; see :func:`.pixelwise.check_pair`.
    """
    check_smooth(smooth)
    overlap, predicted, true = region_sums(logits, truth, per_image=per_image, squared=squared)
    score = ratio(2 * overlap + smooth, predicted + true + smooth)
    return average(1 - score, true, classes)


def log_dice(
    logits: Tensor, truth: Tensor, *, per_image: bool = False, classes: str = "present"
) -> Tensor:
    """Mean of -log Dice over the classes: (N, K, H, W), (N, H, W) -> scalar from 0 to 16."""
    overlap, predicted, true = region_sums(logits, truth, per_image=per_image)
    score = ratio(2 * overlap, predicted + true)
    return average(-score.clamp(min=1e-7).log(), true, classes)


def log_cosh_dice(logits: Tensor, truth: Tensor, **how) -> Tensor:
    """log(cosh(dice)), flat near a perfect overlap: (N, K, H, W), (N, H, W) -> scalar.

    Jadon. 2020. https://arxiv.org/abs/2006.14822. ``how`` goes to :func:`dice`.
    """
    return dice(logits, truth, **how).cosh().log()


def generalised_dice(logits: Tensor, truth: Tensor, *, per_image: bool = False) -> Tensor:
    """1 - 2 sum(w I) / sum(w (S + T)), w = 1 / T^2: (N, K, H, W), (N, H, W) -> scalar in [0, 1].

    One ratio for all classes, in which small ones weigh more; absent classes have weight 0.
    Sudre et al. 2017. https://arxiv.org/abs/1707.03237
    """
    overlap, predicted, true = region_sums(logits, truth, per_image=per_image)
    weight = torch.where(true > 0, 1 / at_least_one(true) ** 2, 0)
    score = ratio(2 * (weight * overlap).sum(-1), (weight * (predicted + true)).sum(-1))
    return average((1 - score)[..., None], true.sum(-1, keepdim=True), "present")


def jaccard(
    logits: Tensor,
    truth: Tensor,
    *,
    per_image: bool = False,
    classes: str = "present",
    smooth: float = 0.0,
) -> Tensor:
    """Mean of 1 - (I + smooth) / (S + T - I + smooth): (N, K, H, W), (N, H, W) -> scalar in [0, 1].

    The soft form of 1 - IoU. Per class, J = D / (2 - D).
    """
    check_smooth(smooth)
    overlap, predicted, true = region_sums(logits, truth, per_image=per_image)
    score = ratio(overlap + smooth, predicted + true - overlap + smooth)
    return average(1 - score, true, classes)


def tversky_index(
    logits: Tensor,
    truth: Tensor,
    *,
    false_positives: float,
    false_negatives: float,
    per_image: bool,
    smooth: float,
) -> tuple[Tensor, Tensor]:
    """I / (I + a FP + b FN) of every class, and its true size: -> two (K,), or (N, K) per image.

    Raises:
        ValueError: if a weight or the constant is negative.
    """
    check_smooth(smooth)
    if not (false_positives >= 0 and false_negatives >= 0):
        raise ValueError(
            f"false_positives={false_positives} and false_negatives={false_negatives} are the "
            "prices of the two errors and must be at least 0: 0.5 and 0.5 is Dice, 1 and 1 Jaccard."
        )
    overlap, predicted, true = region_sums(logits, truth, per_image=per_image)
    errors = false_positives * (predicted - overlap) + false_negatives * (true - overlap)
    return ratio(overlap + smooth, overlap + errors + smooth), true


def tversky(
    logits: Tensor,
    truth: Tensor,
    *,
    false_positives: float = 0.3,
    false_negatives: float = 0.7,
    per_image: bool = False,
    classes: str = "present",
    smooth: float = 0.0,
) -> Tensor:
    """Mean of 1 - I / (I + a FP + b FN): (N, K, H, W), (N, H, W) -> scalar in [0, 1].

    Dice with a price for each kind of error; 0.5 and 0.5 is Dice, 1 and 1 is Jaccard.
    Salehi, Erdogmus, Gholipour. 2017. https://arxiv.org/abs/1706.05721

    Args:
        logits: a channel per class, or one for the foreground.
        truth: a class per pixel, or IGNORE.
        false_positives: a, called alpha by most libraries.
        false_negatives: b, called beta by most, but alpha by the authors of focal Tversky.
        per_image, classes, smooth: as in :func:`dice`.
    """
    index, true = tversky_index(
        logits,
        truth,
        false_positives=false_positives,
        false_negatives=false_negatives,
        per_image=per_image,
        smooth=smooth,
    )
    return average(1 - index, true, classes)


def focal_tversky(
    logits: Tensor,
    truth: Tensor,
    *,
    power: float = 0.75,
    false_positives: float = 0.3,
    false_negatives: float = 0.7,
    per_image: bool = False,
    smooth: float = 0.0,
) -> Tensor:
    """Mean of (1 - Tversky index)^power over present classes: (N, K, H, W), (N, H, W) -> scalar.

    Abraham, Khan. 2018. https://arxiv.org/abs/1810.07842 (their 1 / gamma is our ``power``).
    The slope of x^0.75 is infinite at 0, so 1 - index is kept above 1e-7.

    Raises:
        ValueError: if ``power`` is not positive.
    """
    if not power > 0:
        raise ValueError(
            f"power={power} must be above 0: 0.75 is the authors', 1 is plain Tversky."
        )
    index, true = tversky_index(
        logits,
        truth,
        false_positives=false_positives,
        false_negatives=false_negatives,
        per_image=per_image,
        smooth=smooth,
    )
    return average((1 - index).clamp(min=1e-7) ** power, true, "present")


def lovasz_weights(sorted_truth: Tensor) -> Tensor:
    """How much 1 - IoU grows with each error, the largest first: (pixels,) 0/1 -> (pixels,).

    The k-th value of the running sum is 1 - IoU if exactly the k largest errors are mistakes.
    """
    size = sorted_truth.sum()
    missed = sorted_truth.cumsum(0)
    invented = (1 - sorted_truth).cumsum(0)
    jaccard_loss = 1 - (size - missed) / (size + invented)
    return torch.cat([jaccard_loss[:1], jaccard_loss.diff()])


def lovasz_sum(errors: Tensor, truth: Tensor) -> Tensor:
    """The Lovász extension of 1 - IoU at a vector of errors: two (pixels,) -> scalar."""
    errors, order = errors.sort(descending=True)
    return errors @ lovasz_weights(truth[order])


def lovasz_softmax(
    logits: Tensor, truth: Tensor, *, per_image: bool = False, classes: str = "present"
) -> Tensor:
    """A convex stand-in for 1 - IoU, averaged over classes: (N, K, H, W), (N, H, W) -> scalar.

    The errors |t - p| of a class are sorted; each is weighed by what it would add to 1 - IoU.
    Berman, Triki, Blaschko. CVPR 2018. https://arxiv.org/abs/1705.08790
    """
    p, t = probability_and_target(logits, truth)
    counted = truth != IGNORE
    groups = [slice(n, n + 1) for n in range(len(p))] if per_image else [slice(None)]
    losses, sizes = [], []
    for group in groups:
        keep = counted[group]
        inside = [plane[group][keep] for plane in t.unbind(1)]
        guess = [plane[group][keep] for plane in p.unbind(1)]
        pairs = zip(guess, inside, strict=True)
        losses.append(
            torch.stack([lovasz_sum((b - a).abs(), b) if len(b) else a.sum() for a, b in pairs])
        )
        sizes.append(torch.stack([b.sum() for b in inside]))
    return average(torch.stack(losses), torch.stack(sizes), classes)  # (groups, K)


def lovasz_hinge(logits: Tensor, truth: Tensor, *, per_image: bool = False) -> Tensor:
    """The binary Lovász loss on margins 1 - z s, s = ±1: (N, 1, H, W), (N, H, W) -> scalar.

    Not bounded by 1, and 0 only if every pixel is right by a margin of 1. Images (or a batch)
    without a counted pixel are left out. Without any foreground only the worst pixel counts.

    Raises:
        ValueError: if the logits have more than one channel.
    """
    if logits.ndim == 4 and logits.shape[1] != 1:
        raise ValueError(
            f"lovasz_hinge takes one channel, but the logits have {logits.shape[1]}: use "
            "lovasz_softmax."
        )
    logits, positive, counted = check_pair(logits, truth)
    groups = range(len(logits)) if per_image else [slice(None)]
    losses = [logits.sum() * 0]
    for group in groups:
        z = logits[:, 0][group][counted[group]]
        t = positive[group][counted[group]].to(z.dtype)
        if len(z):
            losses.append(lovasz_sum((1 - z * (2 * t - 1)).relu(), t))
    return torch.stack(losses).sum() / max(len(losses) - 1, 1)
