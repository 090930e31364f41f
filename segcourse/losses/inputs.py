"""What every loss does with its arguments: check them, leave void out, and reduce the result.

    logits (N, K, H, W)   target (N, H, W)           one class per pixel
    logits (N, K, H, W)   target (N, K, H, W) 0, 1   multilabel: any number of classes per pixel

The logits of void are set to 0 first of all. Therefore nothing that a network returns there, nan
and infinity included, reaches a loss, and the gradient at void is exactly 0.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from segcourse.ops.labels import IGNORE, check_labels


def check_pair(
    logits: Tensor, target: Tensor, *, ignore_index: int = IGNORE, multilabel: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits in at least float32, target in int64, both 0 on void, and what counts (bool).

    What counts has the shape of the target: (N, H, W), or (N, K, H, W) if it is multilabel.

    Raises:
        TypeError: if the logits are no floats, or the target no integers.
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
    target = _check_target(target, logits.shape, ignore_index, multilabel)
    counted = target != ignore_index
    if torch.finfo(logits.dtype).bits < 32:
        logits = logits.float()
    if not counted.all():  # copying all logits is not for free
        logits = logits.masked_fill(~counted if multilabel else ~counted[:, None], 0)
    return logits, target.long().where(counted, 0), counted


def _check_target(target: Tensor, shape: torch.Size, ignore_index: int, multilabel: bool) -> Tensor:
    """The target, in a type that can be compared; see :func:`check_pair`."""
    count, channels, *size = shape
    if multilabel and isinstance(target, Tensor) and target.dtype == torch.bool:
        target = target.to(torch.uint8)
    classes = 2 if multilabel else max(channels, 2)
    target = check_labels(target, classes, ignore_index=ignore_index)
    wanted = tuple(shape) if multilabel else (count, *size)
    if target.shape != wanted:
        cure = "resize the logits, not the labels; or crop the target of an unpadded network"
        if multilabel:
            cure = "segcourse.ops.masks.one_hot makes one from labels (H, W)"
        elif target.ndim == 4:
            cure = (
                "drop the channel axis with target[:, 0], or undo a one-hot code with argmax(1); "
                "or say multilabel=True where the loss knows it"
            )
        raise ValueError(
            f"logits {tuple(shape)} want a target of shape {wanted}, but it has "
            f"{tuple(target.shape)}: {cure}."
        )
    return target


def binary_entries(
    logits: Tensor, target: Tensor, *, ignore_index: int = IGNORE, multilabel: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, whether the class is there, and what counts: -> three (N, K, H, W).

    What counts is (N, 1, H, W) unless the target is multilabel. A single channel is class 1.
    """
    logits, target, counted = check_pair(
        logits, target, ignore_index=ignore_index, multilabel=multilabel
    )
    if multilabel:
        return logits, target == 1, counted
    counted = counted[:, None]
    channels = logits.shape[1]
    first = 1 if channels == 1 else 0
    classes = torch.arange(first, first + channels, device=target.device)
    return logits, (target[:, None] == classes[:, None, None]) & counted, counted


def probability_and_target(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int = IGNORE,
    multilabel: bool = False,
    include_background: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Class probabilities, 0/1 target, both 0 on void, and what counts: -> three (N, K, H, W).

    What counts is (N, 1, H, W) unless the target is multilabel. Softmax over the channels; a
    sigmoid of a single channel, and of every multilabel channel. Without the background, channel 0
    is missing, unless it is the only one.
    """
    logits, there, counted = binary_entries(
        logits, target, ignore_index=ignore_index, multilabel=multilabel
    )
    channels = logits.shape[1]
    probability = logits.sigmoid() if multilabel or channels == 1 else logits.softmax(dim=1)
    first = 0 if include_background or channels == 1 else 1
    probability, there = probability[:, first:], there[:, first:]
    if multilabel:
        counted = counted[:, first:]
    return probability * counted, there.to(probability.dtype), counted


def class_vector(weight: Tensor | Sequence[float], classes: int, like: Tensor) -> Tensor:
    """Weights, one per class, as a tensor beside the logits: (K,).

    Raises:
        ValueError: if their number is another, or one is negative or nan.
    """
    weight = torch.as_tensor(weight, dtype=like.dtype, device=like.device)
    if weight.shape != (classes,) or not (weight >= 0).all():
        raise ValueError(
            f"weight has shape {tuple(weight.shape)} and minimum {weight.min():.3g}, but {classes} "
            f"classes need {classes} weights of at least 0: give one per class, in class order."
        )
    return weight


def at_least_one(amount: Tensor) -> Tensor:
    """The amount, or 1 where it is 0: what an average over nothing divides by."""
    return amount.where(amount != 0, 1)


def number_of_entries(counted: Tensor, loss: Tensor) -> Tensor:
    """How many values of a loss (N, K, H, W) count, said once for all K or for each: -> scalar."""
    return counted.sum() * (loss.numel() // counted.numel())


def reduce_loss(loss: Tensor, amount: Tensor, reduction: str) -> Tensor:
    """The sum by an amount ("mean"), the sum ("sum"), or all values as they are ("none").

    Raises:
        ValueError: if ``reduction`` is none of these.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'reduction is "mean", "sum" or "none", but it came as {reduction!r}.')
    if reduction == "none":
        return loss
    return loss.sum() / at_least_one(amount) if reduction == "mean" else loss.sum()


def classes_that_count(
    size: Tensor, counted: Tensor, classes: str, axes: int | tuple[int, ...]
) -> Tensor:
    """Classes with a size ("present"), or all where anything is counted ("all"): bool, as size.

    Raises:
        ValueError: if ``classes`` is neither of them.
    """
    if classes not in ("present", "all"):
        raise ValueError(
            f'classes is "present" (those that the target contains) or "all", not {classes!r}.'
        )
    return size > 0 if classes == "present" else counted.any(axes).expand_as(size)


def average_classes(loss: Tensor, counts: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """Mean over the classes that count, then over images that have any: two (..., K) -> scalar.

    Weights are one per channel; of the background's, which may be missing here, no use is made.
    """
    share = counts if weight is None else counts * weight[-loss.shape[-1] :]
    if reduction != "mean":
        return reduce_loss(loss * share, share, reduction)
    amount = share.sum(dim=-1)
    return reduce_loss(
        (loss * share).sum(dim=-1) / at_least_one(amount), (amount > 0).sum(), "mean"
    )
