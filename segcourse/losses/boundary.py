"""Losses that know how *far* from the true boundary a mistake is.

Distances (:mod:`segcourse.ops.distance`) are in pixels, taken per image and class on the CPU,
without a gradient. They belong to the target as it is: whoever flips or resizes a label map
computes them again. Conventions for void, one channel, and logits are those of
:mod:`~segcourse.losses.pixelwise`.
"""

from torch import Tensor

from segcourse.losses.inputs import number_of_entries, probability_and_target, reduce_loss
from segcourse.ops.distance import signed_distance_of_masks, unsigned_distance_of_masks
from segcourse.ops.labels import IGNORE


def boundary_loss(
    logits: Tensor,
    target: Tensor,
    *,
    distances: Tensor | None = None,
    include_background: bool = False,
    multilabel: bool = False,
    ignore_index: int = IGNORE,
    reduction: str = "mean",
) -> Tensor:
    """Mean of probability times signed distance: (N, K, H, W), (N, H, W) -> scalar, also below 0.

    Probability far outside a region costs most, deep inside it earns most. Meant as a companion of
    a region loss, with a weight that grows during training.
    Kervadec et al. MIDL 2019. https://arxiv.org/abs/1812.07032

    Args:
        logits: a channel per class, or one for the foreground.
        target: a class per pixel, or ``ignore_index``.
        distances: ``signed_distance(target, K)``, if the data loader has computed it already.
        include_background: count class 0 too (the default of MONAI's); a single channel has none.
        multilabel: a sigmoid per channel, and a target (N, K, H, W): 0, 1 or ``ignore_index``.
        ignore_index: the label of void.
        reduction: "mean", "sum" or "none", which gives (N, K, H, W), K - 1 without the background.

    Raises:
        ValueError: if the distances have another shape than the logits.
    """
    p, t, counted = probability_and_target(
        logits,
        target,
        ignore_index=ignore_index,
        multilabel=multilabel,
        include_background=include_background,
    )
    if distances is None:
        distances = signed_distance_of_masks(t > 0.5)
    elif distances.shape != logits.shape:
        raise ValueError(
            f"distances have shape {tuple(distances.shape)}, but logits {tuple(logits.shape)}: "
            "take signed_distance(target, num_classes) of this very batch."
        )
    distances = distances[:, -p.shape[1] :].to(p).where(counted, 0)
    return reduce_loss(p * distances, number_of_entries(counted, p), reduction)


def hausdorff_dt_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 2.0,
    include_background: bool = False,
    multilabel: bool = False,
    ignore_index: int = IGNORE,
    reduction: str = "mean",
) -> Tensor:
    """Mean of (p - t)^2 (d_p^alpha + d_t^alpha): (N, K, H, W), (N, H, W) -> scalar.

    d_t and d_p are the distances to the boundary of the target and of the prediction p > 0.5; no
    gradient runs through them. Grows with the square of the image's side: give it a small weight.
    Karimi, Salcudean. 2019. https://arxiv.org/abs/1904.10030

    Args:
        logits: a channel per class, or one for the foreground.
        target: a class per pixel, or ``ignore_index``.
        alpha: how much more distant mistakes weigh.
        include_background, multilabel, ignore_index, reduction: as in :func:`boundary_loss`.

    Raises:
        ValueError: if alpha is not positive.
    """
    if not alpha > 0:
        raise ValueError(f"alpha={alpha} must be above 0: 2 is the authors' choice.")
    p, t, counted = probability_and_target(
        logits,
        target,
        ignore_index=ignore_index,
        multilabel=multilabel,
        include_background=include_background,
    )
    far = (
        unsigned_distance_of_masks(t > 0.5) ** alpha + unsigned_distance_of_masks(p > 0.5) ** alpha
    )
    return reduce_loss((p - t) ** 2 * far.to(p.dtype), number_of_entries(counted, p), reduction)
