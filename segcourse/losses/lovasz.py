"""The Lovász extension of IoU: a loss that is convex in the errors, and 1 - IoU at hard decisions.

    errors, sorted    0.9   0.6   0.3   0.1
    target            1     0     1     0
    weights           1/2   1/6   1/3   0        by how much 1 - IoU grows with this error
    loss = 0.9 / 2 + 0.6 / 6 + 0.3 / 3 = 0.65

Berman, Triki, Blaschko. CVPR 2018. https://arxiv.org/abs/1705.08790
Conventions are those of :mod:`~segcourse.losses.overlap`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from segcourse.losses.inputs import (
    average_classes,
    binary_entries,
    class_vector,
    classes_that_count,
    probability_and_target,
)
from segcourse.ops.labels import IGNORE


def lovasz_weights(sorted_target: Tensor) -> Tensor:
    """How much 1 - IoU grows with each error, the largest first: (pixels,) 0/1 -> (pixels,).

    The k-th value of the running sum is 1 - IoU if exactly the k largest errors are mistakes.
    """
    size = sorted_target.sum()
    missed = sorted_target.cumsum(0)
    invented = (1 - sorted_target).cumsum(0)
    losses = 1 - (size - missed) / (size + invented)
    return torch.cat([losses[:1], losses.diff()])


def lovasz_sum(errors: Tensor, target: Tensor) -> Tensor:
    """The Lovász extension of 1 - IoU at a vector of errors: two (pixels,) -> scalar, 0 of none."""
    errors, order = errors.sort(descending=True)
    return errors.dot(lovasz_weights(target[order]))  # autocast would round the operands of @


def _groups(values: Tensor, per_image: bool) -> Tensor:
    """Those of a class, in the batch or in each image, in a row: -> (1 or N, K, pixels)."""
    return values.flatten(2) if per_image else values.movedim(1, 0).flatten(1)[None]


def _lovasz_classes(errors: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """The Lovász extension of every group and class: three (G, K, pixels) -> (G, K)."""
    counted = counted.expand_as(errors)
    rows = zip(errors.flatten(0, 1), target.flatten(0, 1), counted.flatten(0, 1), strict=True)
    sums = [lovasz_sum(error[inside], there[inside]) for error, there, inside in rows]
    return torch.stack(sums).reshape(errors.shape[:2])


def lovasz_softmax_loss(
    logits: Tensor,
    target: Tensor,
    *,
    per_image: bool = False,
    classes: str = "present",
    weight: Tensor | Sequence[float] | None = None,
    include_background: bool = True,
    multilabel: bool = False,
    ignore_index: int = IGNORE,
    reduction: str = "mean",
) -> Tensor:
    """A convex stand-in for 1 - IoU, averaged over classes: (N, K, H, W), (N, H, W) -> scalar.

    The errors |t - p| of a class are sorted; each is weighed by what it would add to 1 - IoU.
    The arguments are those of :func:`.overlap.dice_loss`.
    """
    p, t, counted = (
        _groups(each, per_image)
        for each in probability_and_target(
            logits,
            target,
            ignore_index=ignore_index,
            multilabel=multilabel,
            include_background=include_background,
        )
    )
    loss = _lovasz_classes((t - p).abs(), t, counted)
    counts = classes_that_count(t.sum(-1), counted, classes, -1)
    if weight is not None:
        weight = class_vector(weight, logits.shape[1], loss)
    return average_classes(*_rows(loss, counts, per_image), weight, reduction)


def lovasz_hinge_loss(
    logits: Tensor,
    target: Tensor,
    *,
    per_image: bool = False,
    multilabel: bool = False,
    ignore_index: int = IGNORE,
    reduction: str = "mean",
) -> Tensor:
    """The binary Lovász loss on margins 1 - z s, s = ±1: (N, 1, H, W), (N, H, W) -> scalar.

    Not bounded by 1, and 0 only if every pixel is right by a margin of 1. Images (or a batch)
    without a counted pixel are left out. Without any foreground only the worst pixel counts.
    A multilabel target gives every channel a loss of its own; SMP sorts all channels together.

    Raises:
        ValueError: if the logits have more than one channel, and the target is not multilabel.
    """
    if isinstance(logits, Tensor) and logits.ndim == 4 and logits.shape[1] != 1 and not multilabel:
        raise ValueError(
            f"lovasz_hinge_loss takes one channel, but the logits have {logits.shape[1]}: use "
            "lovasz_softmax_loss, or multilabel=True if the classes do not exclude each other."
        )
    z, there, counted = (
        _groups(each, per_image)
        for each in binary_entries(logits, target, ignore_index=ignore_index, multilabel=multilabel)
    )
    t = there.to(z.dtype)
    loss = _lovasz_classes((1 - z * (2 * t - 1)).relu(), t, counted)
    counts = classes_that_count(loss, counted, "all", -1)
    return average_classes(*_rows(loss, counts, per_image), None, reduction)


def _rows(loss: Tensor, counts: Tensor, per_image: bool) -> tuple[Tensor, Tensor]:
    """Without the axis of groups where the batch is the only one: two (G, K) -> two ([N,] K)."""
    return (loss, counts) if per_image else (loss[0], counts[0])
