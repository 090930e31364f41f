"""Exercises of the losses chapter."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake
from segcourse.exercises.results import brief
from segcourse.ops.labels import IGNORE

# ── 5.1 ────────────────────────────────────────────────────────────────────────────────────────


def median_weights(counts: Tensor) -> Tensor:
    """Median-frequency weights from the pixels of every class in every image: (N, K) -> (K,).

    The frequency of a class is its pixels divided by all pixels of the images that show it; its
    weight is the median of the frequencies divided by its own. A class that never occurs gets 0.
    """
    pixels = counts.sum(dim=0)
    room = ((counts > 0) * counts.sum(dim=1, keepdim=True)).sum(dim=0)
    frequency = pixels / room.clamp(min=1)
    seen = pixels > 0
    weights = frequency[seen].quantile(0.5) / frequency.clamp(min=1e-12)
    return weights * seen


def weights_of_all_images(counts: Tensor) -> Tensor:
    frequency = counts.sum(dim=0) / counts.sum()
    seen = frequency > 0
    return frequency[seen].quantile(0.5) / frequency.clamp(min=1e-12) * seen


def weights_with_absent_classes_in_the_median(counts: Tensor) -> Tensor:
    room = ((counts > 0) * counts.sum(dim=1, keepdim=True)).sum(dim=0)
    frequency = counts.sum(dim=0) / room.clamp(min=1)
    return frequency.quantile(0.5) / frequency.clamp(min=1e-12) * (frequency > 0)


def weights_of_the_lower_median(counts: Tensor) -> Tensor:
    room = ((counts > 0) * counts.sum(dim=1, keepdim=True)).sum(dim=0)
    frequency = counts.sum(dim=0) / room.clamp(min=1)
    seen = frequency > 0
    return frequency[seen].median() / frequency.clamp(min=1e-12) * seen


def weights_upside_down(counts: Tensor) -> Tensor:
    room = ((counts > 0) * counts.sum(dim=1, keepdim=True)).sum(dim=0)
    frequency = counts.sum(dim=0) / room.clamp(min=1)
    return frequency / frequency[frequency > 0].quantile(0.5)


def weights_cases() -> list[tuple]:
    return [
        (torch.tensor([[8, 8, 0], [3, 12, 1], [16, 0, 0]]),),
        (torch.tensor([[50, 30, 20]]),),
        (torch.tensor([[60, 30, 10, 0], [90, 0, 6, 4]]),),
        (torch.tensor([[60, 0, 0, 40, 0], [90, 0, 10, 0, 0]]),),
        (torch.tensor([[1000, 0], [990, 10]]),),
    ]


weights = Exercise(
    "5.1 Median-frequency weights",
    solution=median_weights,
    cases=weights_cases,
    mistakes=(
        Mistake(
            weights_of_all_images,
            "You divide by the pixels of all images. The frequency of a class is taken among the "
            "images that show it, so that a class is not punished for being in few of them.",
        ),
        Mistake(
            weights_with_absent_classes_in_the_median,
            "A class that never occurs has frequency 0 and drags the median down: take the median "
            "over the classes that occur.",
        ),
        Mistake(
            weights_of_the_lower_median,
            "torch.median returns the lower of the two middle values when their number is even. "
            "The median is their mean: .quantile(0.5) gives it.",
        ),
        Mistake(
            weights_upside_down,
            "These weights are upside down: the frequent class weighs most. It is median divided "
            "by frequency.",
        ),
    ),
    hints=(
        "Three steps: pixels of each class; pixels of the images in which it occurs; their ratio.",
        "(counts > 0) says which image shows which class; counts.sum(dim=1) how large each is.",
        "weight = median of the frequencies that are not 0 / frequency; 0 if it never occurs.",
    ),
    describe=lambda counts: f"the counts {counts.tolist()}",
    digits=3,
)


# ── 5.2 ────────────────────────────────────────────────────────────────────────────────────────


def gradient_at_a_pixel(logits: Tensor, target: int) -> Tensor:
    """The slope of one pixel's cross-entropy with respect to its logits: (K,), class -> (K,)."""
    one_hot = torch.zeros_like(logits)
    one_hot[target] = 1
    return logits.softmax(dim=0) - one_hot


def slope_uphill(logits: Tensor, target: int) -> Tensor:
    return -gradient_at_a_pixel(logits, target)


def slope_without_the_target(logits: Tensor, target: int) -> Tensor:
    return logits.softmax(dim=0)


def slope_of_sigmoids(logits: Tensor, target: int) -> Tensor:
    return logits.sigmoid() - F.one_hot(torch.tensor(target), len(logits))


def slope_in_the_probability(logits: Tensor, target: int) -> Tensor:
    one_hot = F.one_hot(torch.tensor(target), len(logits))
    return -one_hot / logits.softmax(dim=0)


slope = Exercise(
    "5.2 What a pixel feels",
    solution=gradient_at_a_pixel,
    cases=lambda: [
        (torch.tensor([0.0, 0.0, 0.0]), 1),
        (torch.tensor([2.0, -1.0, 0.5]), 0),
        (torch.tensor([-3.0, 4.0]), 0),
        (torch.tensor([9.0, -8.0, 0.0, 1.0]), 1),
        (torch.tensor([500.0, -500.0]), 0),
    ],
    mistakes=(
        Mistake(
            slope_uphill,
            "The sign is turned: the gradient is p - t, and the optimiser steps against it.",
        ),
        Mistake(
            slope_without_the_target,
            "This is p. The true class also receives -1, which is what pulls its logit up.",
        ),
        Mistake(
            slope_of_sigmoids,
            "You took a sigmoid per class. Cross-entropy of several classes uses a softmax, whose "
            "probabilities compete and sum to 1.",
        ),
        Mistake(
            slope_in_the_probability,
            "This is the slope with respect to the probability. Go on through the softmax: most of "
            "it cancels, and p - t remains.",
        ),
    ),
    hints=(
        "Write the loss as -x_y + log(sum over k of exp x_k), and differentiate by one x_k.",
        "The second term gives the softmax; the first gives -1 for the true class only.",
        "p - t, with t the one-hot target.",
    ),
    describe=lambda logits, target: f"logits {logits.tolist()} and class {target}",
)


# ── 5.3 ────────────────────────────────────────────────────────────────────────────────────────


def soft_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Mean Dice loss of the classes that the truth contains: (N, K, H, W), (N, H, W) -> scalar.

    Sums run over the whole batch. Pixels whose truth is 255 are not counted.
    """
    counted = (target != IGNORE)[:, None]
    one_hot = F.one_hot(target.where(target != IGNORE, 0), logits.shape[1]).movedim(-1, 1) * counted
    probability = logits.softmax(dim=1) * counted
    overlap = (probability * one_hot).sum(dim=(0, 2, 3))
    size = (probability + one_hot).sum(dim=(0, 2, 3))
    present = one_hot.sum(dim=(0, 2, 3)) > 0
    return (1 - 2 * overlap / size)[present].mean()


def dice_parts(logits: Tensor, target: Tensor, *, softmax: bool = True) -> tuple[Tensor, ...]:
    """Probability, target and counted pixels, for the mistakes below."""
    counted = (target != IGNORE)[:, None]
    one_hot = F.one_hot(target.where(target != IGNORE, 0), logits.shape[1]).movedim(-1, 1) * counted
    return (logits.softmax(dim=1) if softmax else logits), one_hot, counted


def dice_of_logits(logits: Tensor, target: Tensor) -> Tensor:
    p, t, counted = dice_parts(logits, target, softmax=False)
    p, axes = p * counted, (0, 2, 3)
    loss = 1 - 2 * (p * t).sum(axes) / (p + t).sum(axes)
    return loss[t.sum(axes) > 0].mean()


def dice_of_all_classes(logits: Tensor, target: Tensor) -> Tensor:
    p, t, counted = dice_parts(logits, target)
    p, axes = p * counted, (0, 2, 3)
    return (1 - 2 * (p * t).sum(axes) / (p + t).sum(axes)).mean()


def dice_of_everything(logits: Tensor, target: Tensor) -> Tensor:
    p, t, counted = dice_parts(logits, target)
    p = p * counted
    return 1 - 2 * (p * t).sum() / (p + t).sum()


def dice_with_void(logits: Tensor, target: Tensor) -> Tensor:
    p, t, _ = dice_parts(logits, target)
    axes = (0, 2, 3)
    return (1 - 2 * (p * t).sum(axes) / (p + t).sum(axes))[t.sum(axes) > 0].mean()


def dice_without_two(logits: Tensor, target: Tensor) -> Tensor:
    p, t, counted = dice_parts(logits, target)
    p, axes = p * counted, (0, 2, 3)
    return (1 - (p * t).sum(axes) / (p + t).sum(axes))[t.sum(axes) > 0].mean()


def dice_as_given(logits: Tensor, target: Tensor) -> Tensor:
    safe = target.where(target != 255, 0)
    one_hot = F.one_hot(safe, logits.shape[1]).movedim(-1, 1)
    overlap = (logits * one_hot).sum()
    size = (logits + one_hot).sum()
    return (1 - 2 * overlap / size).mean()


def dice_of_each_image(logits: Tensor, target: Tensor) -> Tensor:
    losses = [soft_dice(x[None], t[None]) for x, t in zip(logits, target, strict=True)]
    return torch.stack(losses).mean()


def dice_cases() -> list[tuple]:
    random = torch.Generator().manual_seed(5)
    cases = []
    for classes, labels, void in ((3, 3, False), (4, 3, False), (3, 3, True), (2, 2, True)):
        logits = 2 * torch.randn(2, classes, 6, 5, generator=random, dtype=torch.float64)
        target = torch.randint(labels, (2, 6, 5), generator=random)
        target[1, :3] = 0  # the images differ, so that averaging per image shows
        if void:
            target[:, :2, :2] = IGNORE
        cases.append((logits, target))
    return cases


def describe_dice(logits: Tensor, target: Tensor) -> str:
    """A case of 5.3 in words."""
    labels = sorted(set(target.flatten().tolist()))
    return f"logits of {logits.shape[1]} classes and a truth with the labels {labels}"


batch_dice = Exercise(
    "5.3 Mend the Dice loss",
    solution=soft_dice,
    cases=dice_cases,
    mistakes=(
        Mistake(
            dice_of_logits,
            "Dice needs probabilities: logits may be negative or larger than 1, and then the "
            "'overlap' means nothing. Begin with a softmax over axis 1.",
        ),
        Mistake(
            dice_of_all_classes,
            "A class that the truth does not contain can only have overlap 0, so it adds a loss "
            "of 1 that nothing can lower. Average over the classes that occur.",
        ),
        Mistake(
            dice_of_everything,
            "You sum over the classes too. Then large classes decide alone: it is nearly the mean "
            "probability of the true class. Keep axis 1, and average at the end.",
        ),
        Mistake(
            dice_with_void,
            "Void is still in the sum of the probabilities: its pixels count as false positives. "
            "Multiply the probabilities by the mask of counted pixels too.",
        ),
        Mistake(
            dice_without_two,
            "Without the factor 2 a perfect prediction has loss 1/2: the denominator counts the "
            "overlap twice.",
        ),
        Mistake(
            dice_as_given,
            "This is the code as it was given. Start with its inputs: are logits probabilities?",
        ),
        Mistake(
            dice_of_each_image,
            "This is the Dice of each image, then the mean. Here the sums run over the batch: "
            "axes 0, 2 and 3.",
        ),
    ),
    hints=(
        "There are four bugs. Ask of every line: does it see probabilities? all pixels that count, "
        "and only those? which axes does it sum over? which classes does it average?",
        "Void must disappear from the target and from the probabilities.",
        "present = target.sum(dim=(0, 2, 3)) > 0 picks the classes for the mean.",
    ),
    describe=describe_dice,
)


# ── 5.4 ────────────────────────────────────────────────────────────────────────────────────────


def hard_mean(probability: Tensor, threshold: float, min_kept: int) -> Tensor:
    """Mean -log p of the hard pixels: probabilities of the true class (pixels,) -> scalar.

    Hard is p < threshold. If fewer than min_kept are, the min_kept hardest are taken; if there are
    not even so many pixels, all of them.
    """
    amount = max(int((probability < threshold).sum()), min(min_kept, len(probability)))
    hardest = probability.topk(amount, largest=False).values
    return -hardest.log().mean()


def hard_mean_without_minimum(probability: Tensor, threshold: float, min_kept: int) -> Tensor:
    return -probability[probability < threshold].log().mean()


def hard_mean_over_all(probability: Tensor, threshold: float, min_kept: int) -> Tensor:
    amount = max(int((probability < threshold).sum()), min(min_kept, len(probability)))
    return -probability.topk(amount, largest=False).values.log().sum() / len(probability)


def hard_mean_one_short(probability: Tensor, threshold: float, min_kept: int) -> Tensor:
    place = min(min_kept, len(probability)) - 1
    limit = max(threshold, probability.sort().values[place].item())
    return -probability[probability < limit].log().mean()


def hard_mean_of_the_easy(probability: Tensor, threshold: float, min_kept: int) -> Tensor:
    amount = max(int((probability > threshold).sum()), min(min_kept, len(probability)))
    return -probability.topk(amount).values.log().mean()


def hard_mean_of_at_most(probability: Tensor, threshold: float, min_kept: int) -> Tensor:
    amount = min(int((probability < threshold).sum()), min_kept)
    return -probability.topk(amount, largest=False).values.log().mean()


def hard_cases() -> list[tuple]:
    p = torch.tensor([0.9, 0.2, 0.65, 0.05, 0.97, 0.5, 0.8, 0.99], dtype=torch.float64)
    return [(p, 0.7, 2), (p, 0.1, 3), (p, 0.5, 1), (p, 0.7, 100), (p[:1], 0.7, 1)]


hard_pixels = Exercise(
    "5.4 Hard pixels",
    solution=hard_mean,
    cases=hard_cases,
    mistakes=(
        Mistake(
            hard_mean_without_minimum,
            "You ignore min_kept: late in training no pixel is below the threshold, and the mean "
            "of nothing is nan.",
        ),
        Mistake(
            hard_mean_over_all,
            "Divide by the number of chosen pixels, not of all: otherwise the loss, and with it "
            "the learning rate, shrinks as the network improves.",
        ),
        Mistake(
            hard_mean_one_short,
            "Off by one: with the probability at index min_kept - 1 as a strict limit, only "
            "min_kept - 1 pixels are below it.",
        ),
        Mistake(
            hard_mean_of_the_easy,
            "You kept the easy pixels. Hard means that the true class has a *small* probability.",
        ),
        Mistake(
            hard_mean_of_at_most,
            "min_kept is the least number of pixels to keep; you use it as the greatest.",
        ),
    ),
    hints=(
        "First find how many pixels to keep, then take that many of the smallest probabilities.",
        "The number is the larger of: how many are below the threshold; min_kept, but not more "
        "than there are.",
        "probability.topk(amount, largest=False).values are the hardest.",
    ),
    describe=lambda p, threshold, least: f"p = {brief(p)}, threshold {threshold}, min_kept {least}",
)


# ── 5.5 ────────────────────────────────────────────────────────────────────────────────────────


def error_weights(sorted_truth: Tensor) -> Tensor:
    """What each further mistake adds to 1 - IoU: (pixels,) of 0 and 1 -> (pixels,).

    The pixels come sorted by their error, the largest first. If the first k are mistakes, then
    the intersection is the foreground that is not among them, and the union is all foreground
    plus the background among them.
    """
    foreground = sorted_truth.sum()
    intersection = foreground - sorted_truth.cumsum(0)
    union = foreground + (1 - sorted_truth).cumsum(0)
    loss = 1 - intersection / union
    return torch.cat([loss[:1], loss[1:] - loss[:-1]])


def running_loss(sorted_truth: Tensor) -> Tensor:
    return error_weights(sorted_truth).cumsum(0)


def weights_of_the_iou(sorted_truth: Tensor) -> Tensor:
    return -error_weights(sorted_truth)


def weights_without_the_first(sorted_truth: Tensor) -> Tensor:
    return error_weights(sorted_truth)[1:]


def weights_with_a_fixed_union(sorted_truth: Tensor) -> Tensor:
    return sorted_truth / sorted_truth.sum()


lovasz = Exercise(
    "5.5 Lovász weights",
    solution=error_weights,
    cases=lambda: [
        (torch.tensor([1.0, 0, 1, 0]),),
        (torch.tensor([0.0, 0, 1]),),
        (torch.tensor([1.0, 1, 1]),),
        (torch.tensor([0.0, 1, 0, 0, 1, 1, 0]),),
        (torch.tensor([1.0]),),
    ],
    mistakes=(
        Mistake(
            running_loss,
            "This is the running 1 - IoU itself. The weight of an error is how much the running "
            "value grows there: take differences.",
        ),
        Mistake(
            weights_of_the_iou,
            "These are the steps of the IoU, which falls. The loss is 1 - IoU, which grows: no "
            "weight is negative.",
        ),
        Mistake(
            weights_without_the_first,
            "One weight is missing: before the first mistake 1 - IoU is 0, so the first weight is "
            "the first value itself.",
        ),
        Mistake(
            weights_with_a_fixed_union,
            "The union is not fixed: background taken for foreground (a 0 here) enlarges it.",
        ),
    ),
    hints=(
        "Do 1 0 1 0 by hand: two foreground pixels. After one mistake IoU is 1/2; after two, 1/3.",
        "cumsum gives the foreground and the background among the first k pixels.",
        "1 - (T - cumsum(t)) / (T + cumsum(1 - t)), then its differences, the first one kept.",
    ),
    describe=lambda target: f"the sorted truth {[int(value) for value in target]}",
)


# ── 5.6 ────────────────────────────────────────────────────────────────────────────────────────

GRID = torch.arange(1, 100).double() / 100


def best_constant(loss: Callable[[Tensor, Tensor], Tensor], target: Tensor) -> float:
    """The probability among 0.01, 0.02, ..., 0.99 that does best if all pixels get the same.

    ``loss(probability, target)`` takes two vectors (pixels,) and gives a scalar.
    """
    grid = torch.arange(1, 100).double() / 100
    values = [loss(torch.full_like(target, q), target) for q in grid.tolist()]
    return grid[torch.stack(values).argmin()].item()


def smallest_loss(loss: Callable, target: Tensor) -> float:
    return min(loss(torch.full_like(target, q), target).item() for q in GRID.tolist())


def worst_constant(loss: Callable, target: Tensor) -> float:
    return max(GRID.tolist(), key=lambda q: loss(torch.full_like(target, q), target).item())


def index_of_the_best(loss: Callable, target: Tensor) -> int:
    values = [loss(torch.full_like(target, q), target).item() for q in GRID.tolist()]
    return values.index(min(values))


def share_of_the_foreground(loss: Callable, target: Tensor) -> float:
    return target.mean().item()


def plain(probability: Tensor, target: Tensor) -> Tensor:
    """cross-entropy"""
    return F.binary_cross_entropy(probability, target)


def balanced(probability: Tensor, target: Tensor) -> Tensor:
    """balanced cross-entropy"""
    weight = torch.where(target == 1, 1 - target.mean(), target.mean())
    return F.binary_cross_entropy(probability, target, weight=weight)


def overlap(probability: Tensor, target: Tensor) -> Tensor:
    """Dice"""
    return 1 - 2 * (probability * target).sum() / (probability + target).sum()


def foreground(count: int, pixels: int) -> Tensor:
    """``count`` ones, then zeros: -> (pixels,) float64."""
    return (torch.arange(pixels) < count).double()


constant = Exercise(
    "5.6 The best constant",
    solution=best_constant,
    cases=lambda: [
        (loss, foreground(count, 100)) for loss in (plain, balanced, overlap) for count in (5, 30)
    ],
    mistakes=(
        Mistake(
            smallest_loss, "This is the loss at the best constant; return the constant itself."
        ),
        Mistake(worst_constant, "This constant has the largest loss: the smallest is wanted."),
        Mistake(
            index_of_the_best,
            "This is the place of the best constant in the list; return its probability.",
        ),
        Mistake(
            share_of_the_foreground,
            "That is right for cross-entropy only. Let the loss decide: try all 99 constants.",
        ),
    ),
    hints=(
        "torch.full_like(target, 0.2) is the prediction that gives 0.2 to every pixel.",
        "Compute the loss for each of the 99 constants, and take the argmin.",
    ),
    describe=lambda loss, target: (
        f"{loss.__doc__} and a foreground share of {target.mean().item():.0%}"
    ),
)
