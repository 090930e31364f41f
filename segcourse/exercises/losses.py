"""Exercises of the losses chapter."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake, right_but
from segcourse.exercises.results import brief
from segcourse.ops.labels import IGNORE

# ── 5.1 ────────────────────────────────────────────────────────────────────────────────────────


def median_weights(counts: Tensor) -> Tensor:
    """Median-frequency weights from the pixels of every class in every image: (N, K) -> (K,).

    ``counts[n, k]`` is the number of pixels of class k in image n; images may differ in size. The
    frequency of a class is its pixels in all images, divided by all pixels of those images that
    contain the class. The weight of a class is the median of the frequencies divided by its own
    frequency. A class that occurs in no image gets the weight 0 and is left out of the median. The
    median of an even number of values is the mean of the middle two.
    """
    pixels = counts.sum(dim=0)
    covered = ((counts > 0) * counts.sum(dim=1, keepdim=True)).sum(dim=0)
    seen = pixels > 0
    frequency = pixels[seen] / covered[seen]
    weights = torch.zeros(len(pixels))
    weights[seen] = frequency.quantile(0.5) / frequency
    return weights


def weights_of_all_images(counts: Tensor) -> Tensor:
    frequency = counts.sum(dim=0) / counts.sum()
    seen = frequency > 0
    return frequency[seen].quantile(0.5) / frequency.clamp(min=1e-12) * seen


def weights_with_absent_classes_in_the_median(counts: Tensor) -> Tensor:
    covered = ((counts > 0) * counts.sum(dim=1, keepdim=True)).sum(dim=0)
    frequency = counts.sum(dim=0) / covered.clamp(min=1)
    return frequency.quantile(0.5) / frequency.clamp(min=1e-12) * (frequency > 0)


def weights_of_the_lower_median(counts: Tensor) -> Tensor:
    covered = ((counts > 0) * counts.sum(dim=1, keepdim=True)).sum(dim=0)
    frequency = counts.sum(dim=0) / covered.clamp(min=1)
    seen = frequency > 0
    return frequency[seen].median() / frequency.clamp(min=1e-12) * seen


def weights_upside_down(counts: Tensor) -> Tensor:
    covered = ((counts > 0) * counts.sum(dim=1, keepdim=True)).sum(dim=0)
    frequency = counts.sum(dim=0) / covered.clamp(min=1)
    return frequency / frequency[frequency > 0].quantile(0.5)


def weights_of_mean_shares(counts: Tensor) -> Tensor:
    share = counts / counts.sum(dim=1, keepdim=True)
    there = counts > 0
    frequency = share.sum(dim=0) / there.sum(dim=0).clamp(min=1)
    seen = frequency > 0
    return frequency[seen].quantile(0.5) / frequency.clamp(min=1e-12) * seen


def weights_with_nan(counts: Tensor) -> Tensor:
    covered = ((counts > 0) * counts.sum(dim=1, keepdim=True)).sum(dim=0)
    frequency = counts.sum(dim=0) / covered
    return frequency.quantile(0.5) / frequency


def weights_of_all_images_and_lower_median(counts: Tensor) -> Tensor:
    frequency = counts.sum(dim=0) / counts.sum()
    return frequency.median() / frequency


def weights_of_all_images_with_absent_classes(counts: Tensor) -> Tensor:
    frequency = counts.sum(dim=0) / counts.sum()
    return frequency.quantile(0.5) / frequency.clamp(min=1e-12) * (frequency > 0)


def weights_in_a_row(counts: Tensor) -> Tensor:
    return median_weights(counts)[None]


def weights_cases() -> list[tuple]:
    return [
        (torch.tensor([[8, 8, 0], [3, 12, 1], [16, 0, 0]]),),
        (torch.tensor([[50, 30, 20]]),),
        (torch.tensor([[60, 30, 10, 0], [90, 0, 6, 4]]),),
        (torch.tensor([[60, 0, 0, 40, 0], [90, 0, 10, 0, 0]]),),
        (torch.tensor([[1000, 0], [990, 10]]),),
        # images of different sizes
        (torch.tensor([[700, 200, 100], [5, 0, 15], [0, 30, 10]]),),
        (torch.tensor([[6, 2, 0, 0], [50, 0, 49, 1], [300, 80, 15, 5]]),),
        (torch.tensor([[3, 1, 0], [2, 0, 5], [0, 0, 2], [1, 4, 1]]),),
        (torch.tensor([[7]]),),
    ]


weights = Exercise(
    "5.1 Median-frequency weights",
    solution=median_weights,
    cases=weights_cases,
    mistakes=(
        Mistake(
            weights_of_all_images,
            "You divide by the pixels of all images. The frequency of a class is taken among those "
            "images only that contain the class.",
        ),
        Mistake(
            weights_with_absent_classes_in_the_median,
            "A class that never occurs has frequency 0 and drags the median down: take the median "
            "over the classes that occur.",
        ),
        Mistake(
            weights_of_the_lower_median,
            "torch.median returns the lower of the two middle values when their number is even. "
            "The median asked for is their mean: .quantile(0.5) gives it.",
        ),
        Mistake(
            weights_of_mean_shares,
            "You average the shares of the single images, so a small image counts as much as a "
            "large one. Add up the pixels first, and divide once.",
        ),
        Mistake(
            weights_upside_down,
            "These weights are upside down: the frequent class gets the largest. It is the median "
            "divided by the frequency.",
        ),
        Mistake(
            weights_with_nan,
            "For a class that occurs in no image you divide 0 by 0. The result is nan, and the "
            "median of values with a nan is nan too. Select the classes that occur before you "
            "take the median.",
        ),
        Mistake(
            weights_of_all_images_and_lower_median,
            "Two things differ. The frequency of a class is taken among the images only that "
            "contain the class. And torch.median returns the lower of two middle values, and "
            "here it also includes the classes that never occur.",
        ),
        Mistake(
            weights_of_all_images_with_absent_classes,
            "Two things differ. The frequency of a class is taken among the images only that "
            "contain the class, and classes that never occur are left out of the median.",
        ),
        Mistake(
            weights_in_a_row,
            "The shape is (1, K), but (K,) is asked for: one number per class. Is a keepdim=True "
            "too many in your sums over axis 0?",
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


def p_after(learning_rates: list[float], share: float) -> float:
    """The probability that a model with a single weight, its bias, predicts after training.

    The bias starts at 0 and training moves it towards log(share / (1 - share)). AdamW moves it by
    the learning rate of the step, whatever the size of the gradient. A step that would go beyond
    the target ends exactly at the target, and later steps leave it there. ``learning_rates`` holds
    one number per step; ``share``, between 0 and 1, is that of the foreground, which may also be
    the larger class. Returns the sigmoid of the final bias.
    """
    target = math.log(share / (1 - share))
    distance = min(sum(learning_rates), abs(target))
    bias = math.copysign(distance, target)
    return 1 / (1 + math.exp(-bias))


def p_beyond_the_target(learning_rates: list[float], share: float) -> float:
    bias = math.copysign(sum(learning_rates), share - 0.5)
    return 1 / (1 + math.exp(-bias))


def p_always_lower(learning_rates: list[float], share: float) -> float:
    target = math.log(share / (1 - share))
    bias = -min(sum(learning_rates), abs(target))
    return 1 / (1 + math.exp(-bias))


def p_at_a_constant_rate(learning_rates: list[float], share: float) -> float:
    steps = len(learning_rates)
    return p_after(learning_rates[:1] * steps, share)


def p_at_the_target(learning_rates: list[float], share: float) -> float:
    return share


def p_only_downwards(learning_rates: list[float], share: float) -> float:
    target, bias = math.log(share / (1 - share)), 0.0
    for rate in learning_rates:
        bias = max(bias - rate, target)
    return 1 / (1 + math.exp(-bias))


def p_towards_the_log(learning_rates: list[float], share: float) -> float:
    bias = -min(sum(learning_rates), -math.log(share))
    return 1 / (1 + math.exp(-bias))


def p_with_sgd(learning_rates: list[float], share: float) -> float:
    bias = 0.0
    for rate in learning_rates:
        bias -= rate * (1 / (1 + math.exp(-bias)) - share)
    return 1 / (1 + math.exp(-bias))


def p_with_real_adamw(learning_rates: list[float], share: float) -> float:
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.AdamW([bias])
    for rate in learning_rates:
        optimizer.param_groups[0]["lr"] = rate
        bias.grad = (bias.sigmoid() - share).detach()
        optimizer.step()
    return bias.sigmoid().item()


def p_as_a_bias(learning_rates: list[float], share: float) -> float:
    p = p_after(learning_rates, share)
    return math.log(p / (1 - p))


reach = Exercise(
    "5.2 Predict how far the bias gets",
    solution=p_after,
    cases=lambda: [
        ([0.003] * 160, 0.01),
        ([0.003 * (1 - step / 160) ** 0.9 for step in range(160)], 0.01),
        ([0.5, 0.4, 0.3, 0.2, 0.1], 0.3),
        ([0.1, 0.2, 0.3], 0.9),
        ([1.0, 1.0, 1.0, 1.0], 0.75),
        ([3.0, 2.0, 0.5], 0.01),
        ([0.3, 0.1], 0.5),
        ([0.1, 0.2], 0.6),
        ([], 0.2),
    ],
    mistakes=(
        Mistake(
            p_beyond_the_target,
            "The bias does not stop at log(share / (1 - share)): with enough steps your p goes on "
            "towards 0 or 1.",
        ),
        Mistake(
            p_always_lower,
            "The bias falls only if the foreground covers less than half of the pixels. For a "
            "larger share the target is above 0, and the bias rises.",
        ),
        Mistake(
            p_at_a_constant_rate,
            "You use the first learning rate for every step. A schedule lowers it, so the bias "
            "travels less far: add up the rates.",
        ),
        Mistake(
            p_at_the_target,
            "This is where training ends if it has enough steps. Compare the distance to the "
            "target with the sum of the learning rates.",
        ),
        Mistake(
            p_only_downwards,
            "Your bias only moves down. For a share above one half the target is positive, so "
            "the bias has to move up to it, step by step.",
        ),
        Mistake(
            p_towards_the_log,
            "The target is log(share / (1 - share)), not log(share): the sigmoid of log(share) is "
            "share / (1 + share).",
        ),
        Mistake(
            p_with_sgd,
            "You multiply the learning rate by the gradient, as SGD does. In this exercise the "
            "length of a step is the learning rate itself.",
        ),
        Mistake(
            p_with_real_adamw,
            "You run the real AdamW, whose steps are only about as long as the learning rate. "
            "Predict instead with steps of exactly the learning rate; the next cell compares.",
        ),
        Mistake(p_as_a_bias, "This is the bias. The probability is its sigmoid, 1 / (1 + e^-b)."),
    ),
    hints=(
        "How far can the bias travel in all steps together? How far is the target from 0?",
        "The distance travelled is the smaller of the two; the sign is that of the target.",
        "distance = min(sum(learning_rates), abs(target)); for a negative target the bias is "
        "-distance, else distance; return 1 / (1 + math.exp(-bias)).",
    ),
    describe=lambda rates, share: (
        f"{len(rates)} steps with learning rates that add up to {sum(rates):.4g}, and a foreground "
        f"share of {share}"
    ),
)


# ── 5.3 ────────────────────────────────────────────────────────────────────────────────────────

# Runs of results/loss_sweep.json, seed 0.
REPORTS = {
    "A": {"loss": "cross-entropy", "share": 0.01, "p at first": 0.57, "p at last": 0.16,
          "threshold": 0.32, "IoU at 0.5": 0.00, "IoU tuned": 0.27},
    "B": {"loss": "balanced CE", "share": 0.01, "p at first": 0.02, "p at last": 0.06,
          "threshold": 0.99, "IoU at 0.5": 0.31, "IoU tuned": 0.56},
    "C": {"loss": "cross-entropy", "share": 0.30, "p at first": 0.39, "p at last": 0.31,
          "threshold": 0.46, "IoU at 0.5": 0.76, "IoU tuned": 0.76},
    "D": {"loss": "Lovász", "share": 0.01, "p at first": 0.57, "p at last": 0.49,
          "threshold": 0.50, "IoU at 0.5": 0.07, "IoU tuned": 0.07},
    "E": {"loss": "focal, alpha 0.25", "share": 0.05, "p at first": 0.09, "p at last": 0.10,
          "threshold": 0.36, "IoU at 0.5": 0.61, "IoU tuned": 0.69},
}  # fmt: skip


def first_change(report: str) -> str:
    """What to change first in a training, by its report "A", "B", "C", "D" or "E": -> str.

    ``ex.REPORTS`` holds the reports. "share" is the share of the foreground; "p at first" and "p at
    last" are the mean of p over all pixels in the first and in the last training step; "threshold"
    is the one with the best IoU on a tuning set, and "IoU tuned" the IoU with it. Returns one of
    three strings: "bias" (train again with the prior bias) if p had to fall far and is still far
    above the share at the end; "threshold" (choose it on a tuning set) if p did not have to fall
    far, but 0.5 is not a good threshold; "keep" if neither change would raise the IoU by more than
    0.01.
    """
    return {
        "A": "bias",
        "B": "threshold",
        "C": "keep",
        "D": "bias",
        "E": "threshold",
    }[report]


def change_by_threshold_only(report: str) -> str:
    return "keep" if report in ("C", "D") else "threshold"


def change_as_a_dictionary(report: str) -> dict[str, str]:
    return {letter: first_change(letter) for letter in REPORTS}


diagnose = Exercise(
    "5.3 Choose the first change",
    solution=first_change,
    cases=[(report,) for report in REPORTS],
    mistakes=(
        Mistake(
            right_but(first_change, {"A": "threshold"}),
            "In report A another threshold helps a little. But one pixel in a hundred is a dot, "
            "and at the end the mean of p is still many times as large, so the training was "
            "spent on lowering p.",
        ),
        Mistake(
            right_but(first_change, {"A": "keep"}),
            "In report A no dot is found at 0.5, and a tuned threshold finds some. So there is "
            "something to gain: which change gains more? Compare the mean of p with the share.",
        ),
        Mistake(
            right_but(first_change, {"B": "bias"}),
            "In report B the mean of p did not have to fall. Compare the two IoUs instead, and "
            "think of what balanced weights do to p.",
        ),
        Mistake(
            right_but(first_change, {"B": "keep"}),
            "In report B the IoU with the tuned threshold is much higher than the IoU at 0.5, so "
            "there is something to gain.",
        ),
        Mistake(
            right_but(first_change, {"C": "threshold"}),
            "In report C the two IoUs are equal, so another threshold gains nothing.",
        ),
        Mistake(
            right_but(first_change, {"C": "bias"}),
            "In report C the mean of p starts close to the share and ends closer, so a better "
            "first value of the bias would gain little.",
        ),
        Mistake(
            right_but(first_change, {"D": "threshold"}),
            "In report D the tuned threshold has the same IoU as 0.5: nothing is gained there. "
            "Look at the mean of p and at the share.",
        ),
        Mistake(
            right_but(first_change, {"D": "keep"}),
            "In report D the IoU is below 0.1 with both thresholds. A threshold cannot help, but "
            "compare the mean of p with the share.",
        ),
        Mistake(
            right_but(first_change, {"E": "keep"}),
            "In report E the two IoUs differ by several hundredths, which is more than 0.01.",
        ),
        Mistake(
            right_but(first_change, {"E": "bias"}),
            "In report E the mean of p starts within a factor of two of the share and stays there. "
            "So the training did not have to lower it far.",
        ),
        Mistake(
            change_by_threshold_only,
            "You compare the two IoUs only. Compare the mean of p at the end with the share too: "
            "it says whether the training had enough steps to lower p.",
        ),
        Mistake(
            change_as_a_dictionary,
            "This is a dictionary of all answers. A function is asked for that takes one letter "
            "and returns one string: end it with return {...}[report].",
        ),
    ),
    hints=(
        "Compare the share with the mean of p at first and at last: did it have to fall, and is "
        "it near the share at the end?",
        "Compare the two IoUs: how much does a tuned threshold gain?",
        "Two reports begin with p far above the share and end far above it. Two others begin near "
        "the share and gain much from a threshold.",
    ),
    describe=lambda report: f'report {report}, to be answered by "bias", "threshold" or "keep"',
    shows_expected=False,
)


# ── 5.4 ────────────────────────────────────────────────────────────────────────────────────────


def soft_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Mean Dice loss of the classes that the target contains: (N, K, H, W), (N, H, W) -> scalar.

    The target holds classes 0 to K - 1, or 255 for void. Probabilities are the softmax of the
    logits over axis 1. Sums run over the pixels of the whole batch, one sum per class; void pixels
    are in none of them. The Dice loss of a class is 1 - 2 I / (S + T). Classes without a pixel that
    counts are left out of the mean. Only the value is checked, not the gradient.
    """
    counted = (target != 255)[:, None]
    one_hot = F.one_hot(target.where(target != 255, 0), logits.shape[1]).movedim(-1, 1) * counted
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


def dice_variant(
    *, softmax: bool, void: str, classes: str, name: str
) -> Callable[[Tensor, Tensor], Tensor]:
    """The given code with some of its four bugs.

    ``void`` is "removed", "in p" (only the one-hot target is masked), or "class 0"; ``classes`` is
    "present", "all", or "one ratio" for sums over the classes too.
    """

    def answer(logits: Tensor, target: Tensor) -> Tensor:
        p, t, counted = dice_parts(logits, target, softmax=softmax)
        if void == "class 0":
            t = F.one_hot(target.where(target != IGNORE, 0), logits.shape[1]).movedim(-1, 1)
        if void == "removed":
            p = p * counted
        axes = (0, 1, 2, 3) if classes == "one ratio" else (0, 2, 3)
        loss = 1 - 2 * (p * t).sum(axes) / (p + t).sum(axes)
        return loss[t.sum(axes) > 0].mean() if classes == "present" else loss.mean()

    answer.__name__ = name
    return answer


NEXT_BUG = {
    "softmax": "Dice needs probabilities: logits may be negative or larger than 1, and then the "
    "'overlap' means nothing. Begin with a softmax over axis 1.",
    "class 0": "Void pixels are counted as class 0. Multiply both the one-hot target and the "
    "probabilities by the mask of counted pixels.",
    "in p": "Void is still in the sum of the probabilities: its pixels count as false positives. "
    "Multiply the probabilities by the mask of counted pixels too.",
    "one ratio": "You sum over the classes too, so that large classes dominate the one ratio. Keep "
    "axis 1: one ratio per class, and their mean at the end.",
    "all": "A class that the target does not contain can only have overlap 0, so it adds a loss "
    "of 1 that nothing can lower. Average over the classes that occur.",
}
COUNTS = {1: "One bug is left. ", 2: "Two bugs are left. ", 3: "Three bugs are left. "}


def dice_bugs() -> tuple[Mistake, ...]:
    """Every combination of the four bugs but none and all: how many are left, and the next."""
    found = []
    for softmax in (True, False):
        for void in ("removed", "in p", "class 0"):
            for classes in ("present", "all", "one ratio"):
                bugs = [] if softmax else ["softmax"]
                bugs += [] if void == "removed" else [void]
                # one ratio over all classes includes absent classes: two bugs of the given code
                bugs += {"present": [], "all": ["all"], "one ratio": ["one ratio", "all"]}[classes]
                if 0 < len(bugs) < 4:
                    name = "dice_" + "_".join(bugs).replace(" ", "_")
                    answer = dice_variant(softmax=softmax, void=void, classes=classes, name=name)
                    others = {
                        "softmax": "the probabilities",
                        "class 0": "void, which counts as class 0",
                        "in p": "void in the sum of the probabilities",
                        "one ratio": "the sums over the classes",
                        "all": "the classes that do not occur",
                    }
                    rest = ", ".join(others[bug] for bug in bugs[1:])
                    more = f" After that: {rest}." if rest else ""
                    found.append(Mistake(answer, COUNTS[len(bugs)] + NEXT_BUG[bugs[0]] + more))
    return tuple(found)


dice_as_given = dice_variant(softmax=False, void="class 0", classes="one ratio", name="as_given")


def dice_without_two(logits: Tensor, target: Tensor) -> Tensor:
    p, t, counted = dice_parts(logits, target)
    p, axes = p * counted, (0, 2, 3)
    return (1 - (p * t).sum(axes) / (p + t).sum(axes))[t.sum(axes) > 0].mean()


def dice_of_sigmoids(logits: Tensor, target: Tensor) -> Tensor:
    p, t, counted = dice_parts(logits, target)
    p, axes = logits.sigmoid() * counted, (0, 2, 3)
    return (1 - 2 * (p * t).sum(axes) / (p + t).sum(axes))[t.sum(axes) > 0].mean()


def dice_of_squares(logits: Tensor, target: Tensor) -> Tensor:
    p, t, counted = dice_parts(logits, target)
    p, axes = p * counted, (0, 2, 3)
    return (1 - 2 * (p * t).sum(axes) / (p**2 + t).sum(axes))[t.sum(axes) > 0].mean()


def dice_with_smooth(logits: Tensor, target: Tensor) -> Tensor:
    p, t, counted = dice_parts(logits, target)
    p, axes = p * counted, (0, 2, 3)
    loss = 1 - (2 * (p * t).sum(axes) + 1) / ((p + t).sum(axes) + 1)
    return loss[t.sum(axes) > 0].mean()


def dice_of_each_image(logits: Tensor, target: Tensor) -> Tensor:
    losses = [soft_dice(x[None], t[None]) for x, t in zip(logits, target, strict=True)]
    return torch.stack(losses).mean()


def dice_whose_void_is_present(logits: Tensor, target: Tensor) -> Tensor:
    p, t, counted = dice_parts(logits, target)
    p, axes = p * counted, (0, 2, 3)
    present = F.one_hot(target.where(target != IGNORE, 0), logits.shape[1]).flatten(0, 2).any(0)
    return (1 - 2 * (p * t).sum(axes) / (p + t).sum(axes))[present].mean()


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
    for logits, target in (dice_case(random, (1, 3, 4, 7)), dice_case(random, (3, 4, 5, 3))):
        target = target.where(target > 0, IGNORE)  # no pixel that counts is of class 0
        cases.append((logits, target))
    logits, target = dice_case(random, (2, 4, 3, 6))
    cases.append((logits, target.where(target != 2, IGNORE)))  # nor of class 2
    logits, target = dice_case(random, (2, 3, 4, 3))
    target = target.where(target != 1, 0)
    target[1, 2, 0] = 1  # a single pixel
    cases.append((logits, target))
    return cases


def dice_case(random: torch.Generator, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Logits of this shape, and a target of their classes."""
    logits = 2 * torch.randn(shape, generator=random, dtype=torch.float64)
    return logits, torch.randint(shape[1], (shape[0], *shape[2:]), generator=random)


def describe_dice(logits: Tensor, target: Tensor) -> str:
    """A case of 5.4 in words."""
    labels = sorted(set(target.flatten().tolist()))
    return f"logits of {logits.shape[1]} classes and a target with the labels {labels}"


batch_dice = Exercise(
    "5.4 Fix the Dice loss",
    solution=soft_dice,
    cases=dice_cases,
    mistakes=(
        *dice_bugs(),
        Mistake(
            dice_whose_void_is_present,
            "You ask which classes are present before void is removed. Void was replaced by some "
            "class to make the one-hot target, and that class then seems to be present.",
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
        Mistake(
            dice_of_sigmoids,
            "You use a sigmoid per class. The probabilities of a pixel then do not add up to 1; "
            "use the softmax over axis 1.",
        ),
        Mistake(
            dice_of_squares,
            "You square the probabilities in the denominator, as V-Net does. Here S is the plain "
            "sum of the probabilities.",
        ),
        Mistake(
            dice_with_smooth,
            "You add a constant to numerator and denominator. No constant is needed here, "
            "because T is above 0 for every class in the mean.",
        ),
    ),
    hints=(
        "There are four bugs. Ask of every line: are these probabilities? Are exactly the pixels "
        "in the sums that count? Over which axes is the sum? Which classes are in the mean?",
        "Multiply the one-hot target *and* the probabilities by (target != 255)[:, None].",
        "Sums over axes 0, 2 and 3 leave one number per class. Once void is removed, present = "
        "one_hot.sum(dim=(0, 2, 3)) > 0 picks the classes for the mean.",
    ),
    describe=describe_dice,
)


# ── 5.5 ────────────────────────────────────────────────────────────────────────────────────────


def weighted_probability(p: Tensor, background: float, foreground: float) -> Tensor:
    """What class weights do to the probabilities of a perfectly trained network: (n,) -> (n,).

    ``p`` holds the probabilities that a network gives after perfect training with plain
    cross-entropy: of all pixels with the probability p, the share p is foreground. Values are from
    0 to 1, both included. A second network is trained perfectly with class weights: the loss of a
    background pixel is multiplied by ``background``, that of a foreground pixel by ``foreground``,
    both above 0. Returns the probabilities that the second network gives to the same pixels.
    """
    yes = foreground * p
    no = background * (1 - p)
    return yes / (yes + no)


def weighted_without_dividing(p: Tensor, background: float, foreground: float) -> Tensor:
    return foreground * p


def weighted_the_other_way(p: Tensor, background: float, foreground: float) -> Tensor:
    return weighted_probability(p, foreground, background)


def weighted_by_the_foreground_only(p: Tensor, background: float, foreground: float) -> Tensor:
    return weighted_probability(p, 1.0, foreground)


def weighted_not_at_all(p: Tensor, background: float, foreground: float) -> Tensor:
    return p


def weighted_linearly(p: Tensor, background: float, foreground: float) -> Tensor:
    return foreground * p / (foreground + background)


def weighted_by_the_ratio(p: Tensor, background: float, foreground: float) -> Tensor:
    return p * foreground / background


def weighted_by_the_clamped_ratio(p: Tensor, background: float, foreground: float) -> Tensor:
    return weighted_by_the_ratio(p, background, foreground).clamp(max=1)


def weighted_without_one_minus(p: Tensor, background: float, foreground: float) -> Tensor:
    return foreground * p / (foreground * p + background)


def weighted_by_adding_the_ratio(p: Tensor, background: float, foreground: float) -> Tensor:
    return (torch.logit(p) + foreground / background).sigmoid()


def weighted_with_infinite_odds(p: Tensor, background: float, foreground: float) -> Tensor:
    odds = p / (1 - p) * foreground / background
    return odds / (1 + odds)


moved = Exercise(
    "5.5 Predict what weights do to p",
    solution=weighted_probability,
    cases=lambda: [
        (torch.tensor([0.01, 0.2, 0.5, 0.9], dtype=torch.float64), 1.0, 1.0),
        (torch.tensor([0.01, 0.05, 0.5, 0.99], dtype=torch.float64), 0.01, 0.99),
        (torch.tensor([0.1, 0.3], dtype=torch.float64), 2.0, 6.0),
        (torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64), 3.0, 0.5),
    ],
    mistakes=(
        Mistake(
            weighted_without_dividing,
            "This is the weight of the foreground alone, and it can exceed 1. Divide by the "
            "weighted sum of foreground and background.",
        ),
        Mistake(
            weighted_the_other_way,
            "The weights are exchanged: more weight on the foreground must raise p.",
        ),
        Mistake(
            weighted_by_the_foreground_only,
            "The background has a weight as well: only the ratio of the two weights matters.",
        ),
        Mistake(
            weighted_not_at_all,
            "These are the probabilities of plain cross-entropy. A weight of 3 acts as if every "
            "pixel of this class occurred three times.",
        ),
        Mistake(
            weighted_linearly,
            "You divide by the sum of the weights. The denominator also depends on how many "
            "pixels of each class there are: weigh p and 1 - p, then divide by their sum.",
        ),
        Mistake(
            weighted_by_the_ratio,
            "You multiply p by the ratio of the weights, and the result can exceed 1. The ratio "
            "multiplies the odds p / (1 - p), not p.",
        ),
        Mistake(
            weighted_by_the_clamped_ratio,
            "You multiply p by the ratio of the weights and cut off at 1. No cutting is needed "
            "if you divide by the weighted sum of foreground and background.",
        ),
        Mistake(
            weighted_without_one_minus,
            "In the denominator the weight of the background stands alone. It belongs to the "
            "share of the background, 1 - p.",
        ),
        Mistake(
            weighted_by_adding_the_ratio,
            "You add the ratio of the weights to the logit. A factor of the odds is a summand of "
            "the logit only after taking its logarithm: add log(foreground / background).",
        ),
        Mistake(
            weighted_with_infinite_odds,
            "For p = 1 the odds p / (1 - p) are infinite, and infinity / infinity is nan. Divide "
            "only once, at the end.",
        ),
    ),
    hints=(
        "Take 100 pixels that look alike, 20 of them foreground. A weight of 3 acts as if each "
        "foreground pixel occurred three times.",
        "Then there are 3 x 20 foreground and 1 x 80 background pixels. What share is foreground?",
        "foreground * p / (foreground * p + background * (1 - p))",
    ),
    describe=lambda p, background, foreground: (
        f"p = {brief(p)}, weights {background:g} (background) and {foreground:g} (foreground)"
    ),
)


# ── 5.6 ────────────────────────────────────────────────────────────────────────────────────────


def tune_and_report(
    tuning_p: Tensor, tuning_target: Tensor, test_p: Tensor, test_target: Tensor
) -> tuple[float, float]:
    """The best threshold on a tuning set, and the IoU of the foreground on a test set with it.

    Probabilities and targets have the shape (N, H, W), and the two sets may differ in it. Targets
    are 0, 1 or 255 for void, which does not count. A pixel is predicted as foreground if p is
    larger than the threshold. Thresholds to try: 0.01, 0.02, ..., 0.99; among equally good ones the
    lowest is taken. The IoU is taken over all pixels of a set; if neither the target nor the
    prediction has a foreground pixel, it is 0. Returns (threshold, IoU).
    """

    def iou(p, target, threshold):
        predicted = (p > threshold) & (target != 255)
        true = target == 1
        union = (predicted | true).sum().item()
        return (predicted & true).sum().item() / max(union, 1)

    thresholds = [step / 100 for step in range(1, 100)]
    best = max(thresholds, key=lambda t: iou(tuning_p, tuning_target, t))
    return best, iou(test_p, test_target, best)


def iou_above(p: Tensor, target: Tensor, threshold: float) -> float:
    """The IoU of 5.6, for the mistakes below."""
    predicted, true = (p > threshold) & (target != IGNORE), target == 1
    return (predicted & true).sum().item() / max((predicted | true).sum().item(), 1)


CUTS = [step / 100 for step in range(1, 100)]


def tune_on_the_test_set(
    tuning_p: Tensor, tuning_target: Tensor, test_p: Tensor, test_target: Tensor
) -> tuple[float, float]:
    return tune_and_report(test_p, test_target, test_p, test_target)


def report_the_tuning_set(
    tuning_p: Tensor, tuning_target: Tensor, test_p: Tensor, test_target: Tensor
) -> tuple[float, float]:
    return tune_and_report(tuning_p, tuning_target, tuning_p, tuning_target)


def tune_with_void(
    tuning_p: Tensor, tuning_target: Tensor, test_p: Tensor, test_target: Tensor
) -> tuple[float, float]:
    plain = [target.where(target != IGNORE, 0) for target in (tuning_target, test_target)]
    return tune_and_report(tuning_p, plain[0], test_p, plain[1])


def tune_to_the_highest(
    tuning_p: Tensor, tuning_target: Tensor, test_p: Tensor, test_target: Tensor
) -> tuple[float, float]:
    best = max(reversed(CUTS), key=lambda t: iou_above(tuning_p, tuning_target, t))
    return best, iou_above(test_p, test_target, best)


def no_tuning(
    tuning_p: Tensor, tuning_target: Tensor, test_p: Tensor, test_target: Tensor
) -> tuple[float, float]:
    return 0.5, iou_above(test_p, test_target, 0.5)


def tune_image_by_image(
    tuning_p: Tensor, tuning_target: Tensor, test_p: Tensor, test_target: Tensor
) -> tuple[float, float]:
    def mean_iou(p: Tensor, target: Tensor, threshold: float) -> float:
        each = [iou_above(a, b, threshold) for a, b in zip(p, target, strict=True)]
        return sum(each) / len(each)

    best = max(CUTS, key=lambda t: mean_iou(tuning_p, tuning_target, t))
    return best, mean_iou(test_p, test_target, best)


def tuned(
    score: Callable[[Tensor, Tensor, float], float], cuts: list[float] = CUTS
) -> Callable[..., tuple[float, float]]:
    """Tune and report with another score, or other thresholds; a nan is taken as the largest."""

    def answer(
        tuning_p: Tensor, tuning_target: Tensor, test_p: Tensor, test_target: Tensor
    ) -> tuple[float, float]:
        scores = torch.tensor([score(tuning_p, tuning_target, cut) for cut in cuts])
        best = cuts[int(scores.argmax())]
        return best, score(test_p, test_target, best)

    return answer


def iou_from(p: Tensor, target: Tensor, threshold: float) -> float:
    """Pixels that are equal to the threshold are predicted too."""
    return iou_above((p >= threshold).float(), target, 0.5)


def iou_or(empty: float) -> Callable[[Tensor, Tensor, float], float]:
    """IoU, and another number where nothing is predicted or true."""

    def score(p: Tensor, target: Tensor, threshold: float) -> float:
        nothing = not (((p > threshold) & (target != IGNORE)) | (target == 1)).any()
        return empty if nothing else iou_above(p, target, threshold)

    return score


def tune_the_accuracy(
    tuning_p: Tensor, tuning_target: Tensor, test_p: Tensor, test_target: Tensor
) -> tuple[float, float]:
    def accuracy(threshold: float) -> int:
        right = (tuning_p > threshold) == (tuning_target == 1)
        return int((right & (tuning_target != IGNORE)).sum())

    best = max(CUTS, key=accuracy)
    return best, iou_above(test_p, test_target, best)


def tune_and_swap(
    tuning_p: Tensor, tuning_target: Tensor, test_p: Tensor, test_target: Tensor
) -> tuple[float, float]:
    return tune_and_report(tuning_p, tuning_target, test_p, test_target)[::-1]


def tuning_cases() -> list[tuple]:
    random = torch.Generator().manual_seed(6)
    p = torch.tensor([[[0.25, 0.5, 0.75], [0.25, 0.5, 0.75]]])  # values that are thresholds too
    some = torch.tensor([[[0, 1, 1], [0, 1, 0]]])
    none, all_ = torch.zeros_like(some), torch.ones_like(some)
    right = torch.tensor([[[0, 0, 1], [0, 0, 1]]])
    void = torch.tensor([[[255, 0, 1], [0, 1, 1]]])
    cases = [
        (p, some, p, right),
        (p, none, p, some),
        (p, all_, p, none),
        (p, void, p / 8, none),
        (p / 64, all_, p, void),
    ]
    first = torch.tensor([[[1, 0, 0]]])
    for values in ((0.995, 0.985, 0.2), (0.015, 0.005, 0.004)):  # best at 0.99, and at 0.01
        p = torch.tensor([[values]])
        cases.append((p, first, p, first))
    for sides, void in (((2, 5, 4), False), ((3, 4, 7), True), ((1, 6, 3), True)):
        sets = []
        for shape in (sides, (2, *sides[1:])):
            target = (torch.rand(shape, generator=random) < 0.3).long()
            p = (torch.randn(shape, generator=random) + 1.5 * target - 1).sigmoid()
            if void:
                target[:, :2, 1:3] = IGNORE
            sets += [p, target]
        cases.append(tuple(sets))
    return cases


tune = Exercise(
    "5.6 Tune, then report",
    solution=tune_and_report,
    cases=tuning_cases,
    mistakes=(
        Mistake(
            tune_on_the_test_set,
            "You choose the threshold on the test set. Its IoU is then too good to be expected on "
            "new images: choose on the tuning set, and report on the other one.",
        ),
        Mistake(
            report_the_tuning_set,
            "This is the IoU on the tuning set, where the threshold was chosen. Report the IoU of "
            "the test set.",
        ),
        Mistake(
            tune_with_void,
            "Void counts as background here, so what is predicted there becomes a false positive. "
            "Leave pixels with target 255 out.",
        ),
        Mistake(
            tune_to_the_highest,
            "Several thresholds are equally good on the tuning set, and you take the highest of "
            "them. The lowest is asked for.",
        ),
        Mistake(
            no_tuning,
            "This is the IoU at 0.5. Try all 99 thresholds on the tuning set first.",
        ),
        Mistake(
            tune_image_by_image,
            "You average the IoU of the images. Here the pixels of all images are counted "
            "together, and one IoU is taken.",
        ),
        Mistake(
            tuned(iou_from),
            "You count pixels whose p is equal to the threshold as foreground. Here p must be "
            "larger: use > and not >=.",
        ),
        Mistake(
            tune_the_accuracy,
            "You choose the threshold with the highest pixel accuracy. Choose the threshold with "
            "the highest IoU of the foreground.",
        ),
        Mistake(
            tuned(iou_or(math.nan)),
            "Where neither target nor prediction has a foreground pixel, your IoU is nan, and "
            "argmax takes nan for the largest value. The IoU of this case is 0 here.",
        ),
        Mistake(
            tuned(iou_or(1.0)),
            "Where neither target nor prediction has a foreground pixel, your IoU is 1. The IoU "
            "of this case is 0 here.",
        ),
        Mistake(
            tuned(iou_above, CUTS[1::2]),
            "You try 0.02, 0.04, ..., 0.98 only, as the chapter does. Here the thresholds are "
            "0.01, 0.02, ..., 0.99.",
        ),
        Mistake(
            tune_and_swap,
            "The order is (threshold, IoU); you return the IoU first.",
        ),
    ),
    hints=(
        "Write a helper iou(p, target, threshold) first, and call it on both sets.",
        "predicted = (p > threshold) & (target != 255); true = target == 1.",
        "max(thresholds, key=...) returns the first of several equal maxima: try the thresholds "
        "from low to high.",
    ),
    describe=lambda p, target, test_p, test_target: (
        f"a tuning set of shape {tuple(p.shape)} with the labels "
        f"{sorted(set(target.flatten().tolist()))} and a test set of shape {tuple(test_p.shape)} "
        f"with the labels {sorted(set(test_target.flatten().tolist()))}"
    ),
)
