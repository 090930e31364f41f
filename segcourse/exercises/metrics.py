"""Exercises of the metrics chapter."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake, list_in_question, right_but
from segcourse.metrics import confusion_matrix, mean_iou
from segcourse.metrics import iou as class_iou
from segcourse.ops.labels import IGNORE


def mask_of(*rows: str) -> Tensor:
    """A mask drawn with # and other characters."""
    return torch.tensor([[character == "#" for character in row] for row in rows])


# ── 3.1 ────────────────────────────────────────────────────────────────────────────────────────


def dice_of_logits(logits: Tensor, target: Tensor, threshold: float) -> float:
    """The thresholded Dice coefficient of a network with one output per pixel.

    logits (H, W) float, target (H, W) bool, a threshold above 0 and below 1 -> number in [0, 1].

    The probability of a pixel is the sigmoid of its logit. The predicted mask contains the pixels
    whose probability is at least the threshold. If the predicted mask and the target are both
    empty, return nan.
    """
    preds = logits.sigmoid() >= threshold
    both = (preds & target).sum().item()
    total = preds.sum().item() + target.sum().item()
    return 2 * both / total if total else float("nan")


def dice_of_thresholded_logits(logits: Tensor, target: Tensor, threshold: float) -> float:
    preds = logits >= threshold
    total = (preds.sum() + target.sum()).item()
    return 2 * (preds & target).sum().item() / total if total else math.nan


def dice_without_threshold(logits: Tensor, target: Tensor, threshold: float) -> float:
    p = logits.sigmoid()
    return (2 * (p * target).sum() / (p.sum() + target.sum())).item()


def dice_by_softmax_of_rows(logits: Tensor, target: Tensor, threshold: float) -> float:
    return dice_of_thresholded_logits(logits.softmax(dim=-1), target, threshold)


def dice_by_softmax_of_columns(logits: Tensor, target: Tensor, threshold: float) -> float:
    return dice_of_thresholded_logits(logits.softmax(dim=0), target, threshold)


def dice_by_softmax_of_the_image(logits: Tensor, target: Tensor, threshold: float) -> float:
    p = logits.flatten().softmax(dim=0).view_as(logits)
    return dice_of_thresholded_logits(p, target, threshold)


def dice_in_a_list(logits: Tensor, target: Tensor, threshold: float) -> list[float]:
    return [dice_of_logits(logits, target, threshold)]


def dice_excludes_ties(logits: Tensor, target: Tensor, threshold: float) -> float:
    preds = logits.sigmoid() > threshold
    total = (preds.sum() + target.sum()).item()
    return 2 * (preds & target).sum().item() / total if total else math.nan


def dice_at_one_half(logits: Tensor, target: Tensor, threshold: float) -> float:
    return dice_of_logits(logits, target, 0.5)


def dice_without_the_two(logits: Tensor, target: Tensor, threshold: float) -> float:
    return dice_of_logits(logits, target, threshold) / 2


def dice_is_iou(logits: Tensor, target: Tensor, threshold: float) -> float:
    preds = logits.sigmoid() >= threshold
    union = (preds | target).sum().item()
    return (preds & target).sum().item() / union if union else math.nan


def dice_over_the_union(logits: Tensor, target: Tensor, threshold: float) -> float:
    return 2 * dice_is_iou(logits, target, threshold)


def dice_is_accuracy(logits: Tensor, target: Tensor, threshold: float) -> float:
    return ((logits.sigmoid() >= threshold) == target).float().mean().item()


def dice_divides_by_zero(logits: Tensor, target: Tensor, threshold: float) -> float:
    preds = logits.sigmoid() >= threshold
    return 2 * (preds & target).sum().item() / (preds.sum().item() + target.sum().item())


def dice_of_nothing_is_one(logits: Tensor, target: Tensor, threshold: float) -> float:
    score = dice_of_logits(logits, target, threshold)
    return 1.0 if math.isnan(score) else score


def dice_of_nothing_is_zero(logits: Tensor, target: Tensor, threshold: float) -> float:
    score = dice_of_logits(logits, target, threshold)
    return 0.0 if math.isnan(score) else score


def dice_without_target_is_nan(logits: Tensor, target: Tensor, threshold: float) -> float:
    return dice_of_logits(logits, target, threshold) if target.any() else math.nan


def dice_without_prediction_is_nan(logits: Tensor, target: Tensor, threshold: float) -> float:
    predicted = (logits.sigmoid() >= threshold).any()
    return dice_of_logits(logits, target, threshold) if predicted else math.nan


def logit_cases() -> list[tuple]:
    """Ordinary maps, ties at the threshold, and masks that are empty or full on either side."""
    none, full = mask_of("...", "..."), mask_of("###", "###")
    low, high = torch.full((2, 3), -3.0), torch.full((2, 3), 3.0)
    mixed = torch.tensor([[2.0, -0.3, -4.0], [0.2, -2.0, 1.5]])
    tall = torch.tensor([[0.0, 3.0], [-1.2, 0.0], [0.7, -0.7], [4.0, -5.0]])
    return [
        (mixed, mask_of("##.", "#.."), 0.5),
        (mixed, mask_of("##.", "#.."), 0.3),
        (mixed, mask_of("#..", "..#"), 0.8),
        (tall, mask_of("##", "#.", "#.", ".."), 0.5),  # a logit of 0 is a probability of 0.5
        (tall, mask_of("..", ".#", "##", ".#"), 0.25),
        (low, mask_of("##.", "..."), 0.5),
        (mixed, none, 0.5),
        (low, none, 0.5),
        (high, none, 0.9),
        (high, full, 0.7),
        (low, full, 0.02),
    ]


def name_logits(logits: Tensor, target: Tensor, threshold: float) -> str:
    return (
        f"the logits {[[round(x, 2) for x in row] for row in logits.tolist()]}, a target of "
        f"{int(target.sum())} pixels and the threshold {threshold}"
    )


dice = Exercise(
    "3.1 Dice of a network's logits",
    solution=dice_of_logits,
    cases=logit_cases,
    mistakes=(
        Mistake(
            dice_of_thresholded_logits,
            "You compare the logits with the threshold. The threshold is a probability: apply the "
            "sigmoid to the logits first.",
        ),
        Mistake(
            dice_without_threshold,
            "This is the soft Dice: the probabilities themselves are in the formula. Compare them "
            "with the threshold first, so that each pixel is in the mask or not.",
        ),
        *(
            Mistake(
                answer,
                f"You use softmax, which makes the probabilities of {which} add up to 1. The "
                "network has one class, and each pixel has a probability of its own: the sigmoid "
                "of its logit.",
            )
            for answer, which in (
                (dice_by_softmax_of_rows, "each row"),
                (dice_by_softmax_of_columns, "each column"),
                (dice_by_softmax_of_the_image, "all pixels"),
            )
        ),
        Mistake(
            dice_in_a_list,
            "The value is right, but it is wrapped in a list or a tensor with one axis. Return the "
            "number itself: result[0], or result.item() for a tensor.",
        ),
        Mistake(
            dice_excludes_ties,
            "A probability that equals the threshold is *at least* the threshold, so its pixel "
            "belongs to the mask: >= instead of >.",
        ),
        Mistake(
            dice_at_one_half,
            "The result does not depend on the argument `threshold`: the mask is always made at "
            "0.5.",
        ),
        Mistake(
            dice_without_the_two,
            "A perfect mask scores a half: the intersection counts twice in the numerator, because "
            "each of the two areas in the denominator contains it.",
        ),
        Mistake(
            dice_is_iou,
            "This is the IoU: its denominator is the union. The denominator of Dice is the *sum* "
            "of the two areas.",
        ),
        Mistake(
            dice_over_the_union,
            "A perfect mask scores 2: the denominator must be the sum of the two areas, in which "
            "the intersection counts twice, and not the union.",
        ),
        Mistake(
            dice_is_accuracy,
            "This is pixel accuracy: it also counts the pixels that are in neither mask. Dice uses "
            "only pixels that are in at least one of the masks.",
        ),
        Mistake(
            dice_divides_by_zero,
            "If both masks are empty, the sum of the areas is 0 and Python cannot divide by it. "
            "Ask for this case first, and return math.nan.",
        ),
        Mistake(
            dice_of_nothing_is_one,
            "Two empty masks scored 1. With this rule, images without the object raise the mean "
            "over images. The question asks for nan.",
        ),
        Mistake(
            dice_of_nothing_is_zero,
            "Two empty masks scored 0, perhaps because a small number was added to the "
            "denominator. This punishes a correct prediction. The question asks for nan.",
        ),
        Mistake(
            dice_without_target_is_nan,
            "The target is empty, but the prediction is not: all predicted pixels are false "
            "positives, and the score is 0. Only *two* empty masks give nan.",
        ),
        Mistake(
            dice_without_prediction_is_nan,
            "The prediction is empty, but the target is not: all its pixels were missed, and the "
            "score is 0. Only *two* empty masks give nan.",
        ),
    ),
    hints=(
        "First make the predicted mask: logits.sigmoid() gives the probabilities.",
        "preds & target is the intersection, and .sum() counts its pixels. "
        "Dice = 2 |intersection| / (|preds| + |target|).",
        "If |preds| + |target| is 0, return float('nan').",
    ),
    describe=name_logits,
)


# ── 3.2 ────────────────────────────────────────────────────────────────────────────────────────


def iou_from_matrix(matrix: Tensor) -> Tensor:
    """The IoU of every class from a confusion matrix: (K, K) int64 -> (K,) float.

    Rows are true classes, columns are predicted classes. A class that occurs neither in the ground
    truth nor in the prediction gets nan.
    """
    hit = matrix.diagonal()
    union = matrix.sum(dim=0) + matrix.sum(dim=1) - hit
    return hit / union  # 0 / 0 is nan


def union_counts_hits_twice(matrix: Tensor) -> Tensor:
    return matrix.diagonal() / (matrix.sum(dim=0) + matrix.sum(dim=1))


def iou_is_recall(matrix: Tensor) -> Tensor:
    return matrix.diagonal() / matrix.sum(dim=1)


def iou_is_precision(matrix: Tensor) -> Tensor:
    return matrix.diagonal() / matrix.sum(dim=0)


def iou_is_dice(matrix: Tensor) -> Tensor:
    return 2 * union_counts_hits_twice(matrix)


def iou_absent_is_zero(matrix: Tensor) -> Tensor:
    return iou_from_matrix(matrix).nan_to_num(0.0)


def iou_absent_is_one(matrix: Tensor) -> Tensor:
    return iou_from_matrix(matrix).nan_to_num(1.0)


def iou_never_true_is_nan(matrix: Tensor) -> Tensor:
    return iou_from_matrix(matrix).where(matrix.sum(dim=1) > 0, math.nan)


def iou_never_predicted_is_nan(matrix: Tensor) -> Tensor:
    return iou_from_matrix(matrix).where(matrix.sum(dim=0) > 0, math.nan)


def iou_of_everything(matrix: Tensor) -> Tensor:
    return matrix.diagonal() / matrix.sum()


def iou_is_averaged(matrix: Tensor) -> float:
    return iou_from_matrix(matrix).nanmean().item()


def iou_in_whole_numbers(matrix: Tensor) -> Tensor:
    hit = matrix.diagonal()
    return hit // (matrix.sum(dim=0) + matrix.sum(dim=1) - hit)


def iou_rounded_down(matrix: Tensor) -> Tensor:
    return iou_from_matrix(matrix).floor()


def iou_without_absent_classes(matrix: Tensor) -> Tensor:
    scores = iou_from_matrix(matrix)
    return scores[~scores.isnan()]


def iou_without_own_hits(matrix: Tensor) -> Tensor:
    return matrix.diagonal() / (matrix.sum() - matrix.diagonal())


iou = Exercise(
    "3.2 IoU from the confusion matrix",
    solution=iou_from_matrix,
    cases=[
        (torch.tensor([[5, 1], [2, 4]]),),
        (torch.tensor([[5, 1, 1, 0], [2, 6, 1, 0], [1, 0, 4, 0], [0, 0, 0, 0]]),),
        (torch.tensor([[7, 3, 0], [0, 0, 0], [0, 0, 0]]),),  # class 1 is predicted, never true
        (torch.tensor([[6, 2, 0], [1, 5, 0], [3, 1, 0]]),),  # class 2 is true, never predicted
        (torch.eye(3, dtype=torch.int64) * 4,),
        (torch.tensor([[9]]),),
    ],
    mistakes=(
        Mistake(
            union_counts_hits_twice,
            "Row sum plus column sum contains the diagonal entry twice, because it is in both. "
            "Subtract it once: otherwise a perfect class scores a half.",
        ),
        Mistake(
            iou_is_recall,
            "You divide by the row sums, the true pixels: this is recall. The union also contains "
            "the false positives, which are the rest of the column.",
        ),
        Mistake(
            iou_is_precision,
            "You divide by the column sums, the predicted pixels: this is precision. The union "
            "also contains the false negatives, which are the rest of the row.",
        ),
        Mistake(
            iou_is_dice,
            "These are Dice coefficients: twice the diagonal over the sum of row and column.",
        ),
        Mistake(
            iou_absent_is_zero,
            "A class that occurs in neither map scored 0. With this rule it lowers the mean IoU, "
            "although there was nothing to find. The question asks for nan, which nanmean skips.",
        ),
        Mistake(
            iou_absent_is_one,
            "A class that occurs in neither map scored 1. With this rule it raises the mean IoU, "
            "although nothing was found. The question asks for nan, which nanmean skips.",
        ),
        Mistake(
            iou_never_true_is_nan,
            "A class without true pixels that was predicted is not absent: it has false positives. "
            "Its union is not empty, and its IoU is 0.",
        ),
        Mistake(
            iou_never_predicted_is_nan,
            "A class with true pixels that was never predicted is not absent: all its pixels were "
            "missed. Its union is not empty, and its IoU is 0.",
        ),
        Mistake(
            iou_of_everything,
            "You divide by all pixels. The union of a class contains only the pixels that are "
            "truly this class or were predicted as it: its row and its column.",
        ),
        Mistake(
            iou_is_averaged,
            "This is one number, the mean IoU. The question asks for the IoU of every class: K "
            "numbers.",
        ),
        Mistake(
            iou_in_whole_numbers,
            "// rounds down to a whole number, and 0 // 0 is an error for integers. Divide with /, "
            "which gives decimals, and nan for 0 / 0.",
        ),
        Mistake(
            iou_rounded_down,
            "Your numbers are rounded down to whole numbers, perhaps by // or by a conversion to "
            "integers. Divide with /, which gives decimals.",
        ),
        Mistake(
            iou_without_absent_classes,
            "Classes without a score are missing from the result, so that the place of a number no "
            "longer says which class it belongs to. Keep K numbers, with nan for such a class.",
        ),
        Mistake(
            iou_without_own_hits,
            "You divide by all pixels except the hits of the class. The union contains the hits, "
            "and from the other pixels only the rest of the row and of the column of the class.",
        ),
    ),
    hints=(
        "TP of every class is on the diagonal. Where in the matrix are FN and FP of class k?",
        "Row k contains all true pixels of class k, column k all pixels predicted as k.",
        "union = row sums + column sums - diagonal. Dividing tensors, 0 / 0 gives nan.",
    ),
    describe=lambda matrix: f"the matrix {matrix.tolist()}",
)


# ── 3.3 ────────────────────────────────────────────────────────────────────────────────────────


def scores_of_a_shift(height: int, width: int, shift: int) -> tuple[float, float]:
    """Predict IoU and Hausdorff distance of a shifted rectangle: three int -> (IoU, distance).

    The ground truth is a rectangle of ``height`` x ``width`` pixels. The prediction has the same
    size, but lies ``shift`` pixels farther to the right (0 or more). Both are inside the image.
    Derive two formulas in the three arguments, and return their values.
    """
    common = max(width - shift, 0)  # columns in both masks
    return common / (2 * width - common), shift


def shift_without_end(height: int, width: int, shift: int) -> tuple[float, float]:
    return (width - shift) / (width + shift), shift


def shift_is_dice(height: int, width: int, shift: int) -> tuple[float, float]:
    return max(width - shift, 0) / width, shift


def shift_along_the_height(height: int, width: int, shift: int) -> tuple[float, float]:
    return scores_of_a_shift(width, height, shift)


def shift_by_the_gap(height: int, width: int, shift: int) -> tuple[float, float]:
    return scores_of_a_shift(height, width, shift)[0], max(shift - width, 0)


def shift_doubles_the_distance(height: int, width: int, shift: int) -> tuple[float, float]:
    return scores_of_a_shift(height, width, shift)[0], 2 * shift


def shift_forgets_the_union(height: int, width: int, shift: int) -> tuple[float, float]:
    return max(width - shift, 0) / (2 * width), shift


def shift_swaps_the_pair(height: int, width: int, shift: int) -> tuple[float, float]:
    return scores_of_a_shift(height, width, shift)[::-1]


def shift_gives_only_iou(height: int, width: int, shift: int) -> float:
    return scores_of_a_shift(height, width, shift)[0]


def shift_gives_only_the_distance(height: int, width: int, shift: int) -> float:
    return shift


def shift_at_most_the_width(height: int, width: int, shift: int) -> tuple[float, float]:
    return scores_of_a_shift(height, width, shift)[0], min(shift, width)


def shift_halves_the_distance(height: int, width: int, shift: int) -> tuple[float, float]:
    return scores_of_a_shift(height, width, shift)[0], shift / 2


shift = Exercise(
    "3.3 Predict the scores of a shift",
    solution=scores_of_a_shift,
    cases=[
        (4, 6, 1),
        (6, 4, 1),
        (5, 8, 3),
        (5, 5, 0),
        (3, 4, 4),
        (2, 3, 7),
        (1, 8, 2),
        (7, 1, 1),
        (40, 60, 2),
    ],
    mistakes=(
        Mistake(
            shift_without_end,
            "The IoU becomes negative when the shift is larger than the width. How many columns "
            "do the two masks then have in common?",
        ),
        Mistake(
            shift_is_dice,
            "The first number is the Dice coefficient: the intersection divided by the area of one "
            "mask. The union is larger than one mask.",
        ),
        Mistake(
            shift_along_the_height,
            "A shift to the right changes columns. Each row of the masks looks the same, so that "
            "the height cancels, and not the width.",
        ),
        Mistake(
            shift_by_the_gap,
            "The second number counts the empty columns between the two masks. The Hausdorff "
            "distance is the largest of all distances to the nearest pixel of the other boundary.",
        ),
        Mistake(
            shift_doubles_the_distance,
            "The pixels at the right edge of the prediction are one shift away from the right edge "
            "of the ground truth. The Hausdorff distance takes the maximum of the two directions "
            "and does not add them up.",
        ),
        Mistake(
            shift_forgets_the_union,
            "Even without a shift, the IoU is a half: the sum of the two areas counts the "
            "intersection twice, and the union counts it once.",
        ),
        Mistake(
            shift_swaps_the_pair,
            "The two numbers are right and in the wrong order: return (IoU, distance).",
        ),
        Mistake(
            shift_gives_only_iou,
            "This is the IoU alone. Return a pair: the IoU and the Hausdorff distance.",
        ),
        Mistake(
            shift_gives_only_the_distance,
            "This is the distance alone. Return a pair: the IoU and the Hausdorff distance.",
        ),
        Mistake(
            shift_at_most_the_width,
            "Your distance does not grow beyond the width. However far apart the two rectangles "
            "are, their right edges are `shift` columns away from each other.",
        ),
        Mistake(
            shift_halves_the_distance,
            "Your distance is half the shift. The right edge of the ground truth is "
            "nearest to the right edge of the prediction. How many columns lie between the two?",
        ),
    ),
    hints=(
        "Draw one row: `width` pixels of the ground truth, and the same pixels moved by `shift`. "
        "How many are in both, and how many in at least one?",
        "With c common columns, the intersection is height x c and the union height x (2 width - "
        "c). The height cancels. What is c if the shift is larger than the width?",
        "For the distance: the right edge of the prediction is `shift` columns away from the right "
        "edge of the ground truth. No other boundary pixel is farther from the other boundary.",
    ),
    describe=lambda height, width, shift: f"height {height}, width {width} and shift {shift}",
)


# ── 3.4 ────────────────────────────────────────────────────────────────────────────────────────


def dataset_mean_iou(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    """The mean IoU of a data set that comes in batches.

    batches is a list of pairs (preds, target), each (N, H, W) int64, where N may differ;
    num_classes is an int. Returns a number. Pixels whose target is 255 are void. Classes that
    occur neither in the predictions nor in the targets of the data set are left out of the mean.
    The result must not depend on how the images are divided into batches.
    """
    total = 0
    for preds, target in batches:
        total = total + confusion_matrix(preds, target, num_classes)
    return mean_iou(total)


def mean_of_batches(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    scores = [dataset_mean_iou([batch], num_classes) for batch in batches]
    return sum(scores) / len(scores)


def mean_of_images(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    images = [
        (preds[None], target[None])
        for batch in batches
        for preds, target in zip(*batch, strict=True)
    ]
    return mean_of_batches(images, num_classes)


def mean_weighted_by_size(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    sizes = [len(target) for _, target in batches]
    scores = [dataset_mean_iou([batch], num_classes) for batch in batches]
    return sum(n * score for n, score in zip(sizes, scores, strict=True)) / sum(sizes)


def mean_of_batch_classes(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    per_batch = [class_iou(confusion_matrix(*batch, num_classes)) for batch in batches]
    return torch.stack(per_batch).nanmean(dim=0).nanmean().item()


def mean_with_absent_as_zero(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    total = sum(confusion_matrix(*batch, num_classes) for batch in batches)
    return class_iou(total).nan_to_num(0.0).mean().item()


def mean_with_void_as_background(
    batches: Sequence[tuple[Tensor, Tensor]], num_classes: int
) -> float:
    filled = [(preds, target.where(target != IGNORE, 0)) for preds, target in batches]
    return dataset_mean_iou(filled, num_classes)


def micro_instead_of_mean(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    total = sum(confusion_matrix(*batch, num_classes) for batch in batches)
    return (total.trace() / (2 * total.sum() - total.trace())).item()


def mean_with_void_predictions(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    preds, target = (torch.cat([p.flatten() for p in part]) for part in zip(*batches, strict=True))
    scores = []
    for label in range(num_classes):
        ours, true = preds == label, target == label
        if (ours | true).any():
            scores.append(((ours & true).sum() / (ours | true).sum()).item())
    return sum(scores) / len(scores)


def mean_still_divided(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    return dataset_mean_iou(batches, num_classes) / len(batches)


def mean_with_nan(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    return dataset_ious(batches, num_classes).mean().item()


def mean_weighted_by_valid_pixels(
    batches: Sequence[tuple[Tensor, Tensor]], num_classes: int
) -> float:
    sizes = [(target != IGNORE).sum().item() for _, target in batches]
    scores = [dataset_mean_iou([batch], num_classes) for batch in batches]
    return sum(n * score for n, score in zip(sizes, scores, strict=True)) / sum(sizes)


def dataset_ious(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> Tensor:
    return class_iou(sum(confusion_matrix(*batch, num_classes) for batch in batches))


def batch_cases() -> list[tuple]:
    """The same six images, divided in several ways; then a class that occurs nowhere."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (6, 4, 5), generator=generator)
    target[3:] = target[3:].clamp(max=1)  # class 2 only in the first half
    target[0, 0], target[5, :2] = IGNORE, IGNORE
    noise = torch.rand(target.shape, generator=generator)
    share = torch.tensor([0.1, 0.2, 0.3, 0.5, 0.7, 0.9]).view(6, 1, 1)
    preds = torch.where(noise < share, 0, target.where(target != IGNORE, 1))

    def divide(*sizes: int) -> list[tuple[Tensor, Tensor]]:
        return list(zip(preds.split(sizes), target.split(sizes), strict=True))

    return [
        (divide(6), 3),
        (divide(2, 2, 2), 3),
        (divide(1, 1, 4), 3),
        (divide(5, 1), 4),
        (divide(1, 1, 1, 1, 1, 1), 3),
        ([(preds[:1], target[:1])], 3),
    ]


average = Exercise(
    "3.4 Repair the average",
    solution=dataset_mean_iou,
    cases=batch_cases,
    mistakes=(
        Mistake(
            mean_of_batches,
            "This is the mean of the scores of the batches, and it changes with the batch size. "
            "Add something else over the batches, and compute the score once.",
        ),
        Mistake(
            mean_of_images,
            "This is the mean of the scores of the images. It does not depend on the batches, but "
            "the question asks for the mean IoU of the data set: all images in one matrix.",
        ),
        Mistake(
            mean_weighted_by_size,
            "You weight each batch by its number of images. Each image then counts the same, but a "
            "mean of ratios is not the ratio of the sums: the result still depends on the batches.",
        ),
        Mistake(
            mean_of_batch_classes,
            "You average the IoU of each class over the batches. A batch with three pixels of the "
            "class then weighs as much as one with thousands: add the matrices instead.",
        ),
        Mistake(
            mean_with_absent_as_zero,
            "The matrices are added up correctly, but a class that occurs nowhere counts as 0. It "
            "must be left out of the mean: nanmean does this.",
        ),
        Mistake(
            mean_with_void_as_background,
            "Void pixels (255) were counted as class 0. Their true class is unknown, so that they "
            "must be left out.",
        ),
        Mistake(
            micro_instead_of_mean,
            "You add up the pixels of all classes before dividing (micro average). Mean IoU "
            "computes the IoU of each class first, and then averages over the classes.",
        ),
        Mistake(
            mean_with_void_predictions,
            "Predictions at void pixels (target 255) are still counted as false positives. Remove "
            "these pixels from the predictions as well: preds[target != 255].",
        ),
        Mistake(
            mean_still_divided,
            "The matrices are added up correctly, but the score is still divided by the number of "
            "batches. There is only one score now, so that nothing has to be averaged.",
        ),
        Mistake(
            mean_with_nan,
            "The matrices are added up correctly, but the result is nan if a class occurs nowhere: "
            ".mean() of numbers with a nan is nan. nanmean leaves the nan out.",
        ),
        Mistake(
            mean_weighted_by_valid_pixels,
            "You weight each batch by its number of valid pixels. The union of a class has another "
            "size than the batch, so that the result still depends on the batches.",
        ),
        Mistake(
            dataset_ious,
            "This is the IoU of every class. The question asks for one number, their mean over the "
            "classes that occur.",
        ),
    ),
    hints=(
        "Which quantity of a batch can be added to that of another batch without losing anything?",
        "Counts can be added, ratios cannot. Which counts does mean_iou need?",
        "Add up confusion_matrix(preds, target, num_classes) over the batches; then call mean_iou "
        "once, after the loop.",
    ),
    describe=lambda batches, num_classes: (
        f"batches of {[len(target) for _, target in batches]} images, {num_classes} classes"
    ),
)


# ── 3.5 ────────────────────────────────────────────────────────────────────────────────────────


def inner_band(mask: Tensor, width: int) -> Tensor:
    """The band of boundary IoU: (H, W) bool and an int of at least 1 -> (H, W) bool.

    The band contains the pixels of the mask that are at most ``width`` steps from the outside of
    the mask, where a step goes to any of the 8 neighbours. What is beyond the image counts as
    outside.
    """
    outside = F.pad((~mask).float(), [width] * 4, value=1.0)
    near = F.max_pool2d(outside[None], kernel_size=2 * width + 1, stride=1)[0] > 0
    return mask & near


def band_without_frame(mask: Tensor, width: int) -> Tensor:
    outside = (~mask).float()[None]
    return mask & (F.max_pool2d(outside, 2 * width + 1, stride=1, padding=width)[0] > 0)


def band_outside(mask: Tensor, width: int) -> Tensor:
    grown = F.max_pool2d(mask.float()[None], 2 * width + 1, stride=1, padding=width)[0] > 0
    return grown & ~mask


def band_on_both_sides(mask: Tensor, width: int) -> Tensor:
    return inner_band(mask, width) | band_outside(mask, width)


def band_is_the_core(mask: Tensor, width: int) -> Tensor:
    return mask & ~inner_band(mask, width)


def band_of_half_width(mask: Tensor, width: int) -> Tensor:
    outside = F.pad((~mask).float(), [width // 2, (width - 1) // 2] * 2, value=1.0)
    return mask & (F.max_pool2d(outside[None], kernel_size=width, stride=1)[0] > 0)


def band_by_four_neighbors(mask: Tensor, width: int) -> Tensor:
    core = mask
    for _ in range(width):
        framed = F.pad(core, [1] * 4)
        core = core & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return mask & ~core


def band_by_euclidean_distance(mask: Tensor, width: int) -> Tensor:
    framed = F.pad(mask, [1] * 4).numpy()
    return mask & torch.from_numpy(distance_transform_edt(framed)[1:-1, 1:-1] <= width)


def band_with_all_outside(mask: Tensor, width: int) -> Tensor:
    return ~mask | inner_band(mask, width)


def band_one_step_wider(mask: Tensor, width: int) -> Tensor:
    return inner_band(mask, width + 1)


def band_of_width_one(mask: Tensor, width: int) -> Tensor:
    return inner_band(mask, 1)


def band_is_counted(mask: Tensor, width: int) -> int:
    return int(inner_band(mask, width).sum())


def band_with_an_axis(mask: Tensor, width: int) -> Tensor:
    return inner_band(mask, width)[None]


def band_cases() -> list[tuple]:
    """Masks inside, at the border, with a notch and with a hole; nothing; everything."""
    inside, border, notch = (torch.zeros(12, 14, dtype=torch.bool) for _ in range(3))
    inside[2:10, 3:12] = True
    border[:7, :9] = True
    notch[1:11, 2:12] = True
    notch[1:4, 2:5] = False
    hole = ~torch.zeros(9, 7, dtype=torch.bool)
    hole[4, 3] = False
    return [
        (inside, 1),
        (inside, 2),
        (border, 2),
        (notch, 1),
        (notch, 3),
        (hole, 1),
        (~hole, 2),
        (torch.zeros(5, 8, dtype=torch.bool), 1),
        (torch.ones(8, 11, dtype=torch.bool), 2),
        (torch.ones(3, 4, dtype=torch.bool), 5),
    ]


band = Exercise(
    "3.5 The band of boundary IoU",
    solution=inner_band,
    cases=band_cases,
    mistakes=(
        Mistake(
            band_without_frame,
            "The band is missing where the mask touches the border of the image. What is beyond "
            "the image counts as outside: pad the image with outside before you look for "
            "neighbours.",
        ),
        Mistake(
            band_outside,
            "This band lies around the mask, on pixels that are not in it. The band of boundary "
            "IoU is a part of the mask.",
        ),
        Mistake(
            band_on_both_sides,
            "This band lies on both sides of the boundary, like a trimap. The band of boundary IoU "
            "contains only pixels of the mask.",
        ),
        Mistake(
            band_is_the_core,
            "These are the pixels that remain after erosion, the interior. The band contains the "
            "pixels that erosion removes.",
        ),
        Mistake(
            band_of_half_width,
            "The band is too narrow: to reach `width` steps to each side of a pixel, the window "
            "must be 2 x width + 1 pixels wide.",
        ),
        Mistake(
            band_by_four_neighbors,
            "Your steps go to the 4 nearest neighbours only, and pixels near inner corners are "
            "missing from the band. Diagonal steps count too: use a square window.",
        ),
        Mistake(
            band_by_euclidean_distance,
            "You measure straight (Euclidean) distances, in which a diagonal neighbour is farther "
            "away than 1. Here a diagonal step counts as one step: use a square window.",
        ),
        Mistake(
            band_with_all_outside,
            "All pixels outside the mask are in your result, because an outside pixel has an "
            "outside pixel in its window: itself. Keep only pixels of the mask: mask & ...",
        ),
        Mistake(
            band_one_step_wider,
            "The band is one pixel too wide. A pixel of the mask beside the outside is *one* step "
            "away from it: the window is 2 x width + 1 pixels wide.",
        ),
        Mistake(
            band_of_width_one,
            "The result does not depend on the argument `width`: the band always has a width of 1.",
        ),
        Mistake(
            band_is_counted,
            "This is the number of pixels of the band. Return the band itself, a mask (H, W).",
        ),
        Mistake(
            band_with_an_axis,
            "The band is right but has the shape (1, H, W). Remove the axis that was added for the "
            "pooling: band[0].",
        ),
    ),
    hints=(
        "A pixel of the mask belongs to the band if the square window around it, 2 x width + 1 "
        "pixels wide, contains at least one outside pixel.",
        "The maximum of (~mask).float() over a window is 1 if the window contains outside: "
        "F.max_pool2d with stride=1.",
        "max_pool2d pads with -inf, which is not outside. Pad by yourself first: "
        "F.pad(outside, [width] * 4, value=1.0), and pool without padding.",
    ),
    describe=lambda mask, width: (
        f"a mask of {int(mask.sum())} of {mask.shape[0]} x {mask.shape[1]} pixels and width {width}"
    ),
)


# ── 3.6 ────────────────────────────────────────────────────────────────────────────────────────


def worst_false_positive(target: Tensor) -> tuple[int, int]:
    """The background pixel that is farthest from the target: (H, W) bool -> (row, column).

    The distance of a pixel to the target is its Euclidean distance to the nearest target pixel. If
    several pixels are equally far, return the first one in reading order: the topmost row, and in
    it the leftmost column. The target has at least one pixel and does not fill the image.
    """
    inside, outside = target.nonzero(), (~target).nonzero()
    steps = outside[:, None] - inside  # (background pixels, target pixels, 2)
    squared = (steps**2).sum(dim=2).min(dim=1).values  # whole numbers, so that ties are exact
    row, column = outside[squared == squared.max()][0].tolist()
    return row, column


def _farthest(target: Tensor, score: Callable[[Tensor, Tensor], Tensor]) -> tuple[int, int]:
    """The first background pixel of the largest score(inside, outside)."""
    inside, outside = target.nonzero(), (~target).nonzero()
    scores = score(inside, outside)
    row, column = outside[scores == scores.max()][0].tolist()
    return row, column


def worst_from_the_center(target: Tensor) -> tuple[int, int]:
    return _farthest(
        target, lambda inside, out: ((out - inside.double().mean(dim=0)) ** 2).sum(dim=1)
    )


def worst_from_the_farthest(target: Tensor) -> tuple[int, int]:
    return _farthest(
        target, lambda inside, out: ((out[:, None] - inside) ** 2).sum(2).max(1).values
    )


def worst_by_steps(target: Tensor) -> tuple[int, int]:
    return _farthest(target, lambda inside, out: (out[:, None] - inside).abs().sum(2).min(1).values)


def worst_is_nearest(target: Tensor) -> tuple[int, int]:
    return _farthest(
        target, lambda inside, out: -((out[:, None] - inside) ** 2).sum(2).min(1).values
    )


def worst_inside(target: Tensor) -> tuple[int, int]:
    return worst_false_positive(~target)


def worst_by_chessboard_steps(target: Tensor) -> tuple[int, int]:
    return _farthest(
        target, lambda inside, out: (out[:, None] - inside).abs().amax(2).min(1).values
    )


def worst_corner(target: Tensor) -> tuple[int, int]:
    height, width = target.shape
    corners = torch.tensor([[0, 0], [0, width - 1], [height - 1, 0], [height - 1, width - 1]])
    squared = ((corners[:, None] - target.nonzero()) ** 2).sum(dim=2).min(dim=1).values
    row, column = corners[squared == squared.max()][0].tolist()
    return row, column


def worst_as_flat_index(target: Tensor) -> int:
    row, column = worst_false_positive(target)
    return row * target.shape[1] + column


def worst_distance(target: Tensor) -> float:
    place = torch.tensor(worst_false_positive(target))
    return ((target.nonzero() - place) ** 2).sum(dim=1).min().sqrt().item()


def worst_column_first(target: Tensor) -> tuple[int, int]:
    row, column = worst_false_positive(target)
    return column, row


def worst_last(target: Tensor) -> tuple[int, int]:
    row, column = worst_false_positive(target.flip(0, 1))
    return target.shape[0] - 1 - row, target.shape[1] - 1 - column


def worst_leftmost(target: Tensor) -> tuple[int, int]:
    return worst_column_first(target.T)


pixel = Exercise(
    "3.6 The worst false positive",
    solution=worst_false_positive,
    cases=[
        (mask_of("......", ".##...", ".##...", "......", "......"),),
        (mask_of("........", "...##...", "........"),),  # four corners are equally bad
        (mask_of("...#", "....", "....", "....", "....", "...#"),),
        (mask_of(".....", ".....", ".....", ".....", "#####"),),
        (mask_of("#####", "#...#", "#...#", "#...#", "#####"),),  # the middle of a hole
        (mask_of("#......", ".......", ".......", ".......", "......#"),),
        (mask_of(".......", ".....#.", ".#.....", ".......", ".......", "......."),),
        (mask_of("###", "##.", "###"),),
        (mask_of("#...#...", "........", "........", "........"),),
        (mask_of("........#", "#........", "#........", "#........", "#........"),),
    ],
    mistakes=(
        Mistake(
            worst_from_the_center,
            "This pixel is farthest from the *centre* of the target. The question asks for the "
            "distance to the *nearest* pixel of the target.",
        ),
        Mistake(
            worst_from_the_farthest,
            "You took the distance to the farthest pixel of the object. The distance of a pixel to "
            "an object is that to its nearest pixel: first a minimum, then the maximum.",
        ),
        Mistake(
            worst_by_steps,
            "You count steps along rows and columns. The distance here is Euclidean: the square "
            "root of rows² + columns².",
        ),
        Mistake(
            worst_by_chessboard_steps,
            "You count steps in which a diagonal counts as one (chessboard distance). The distance "
            "here is Euclidean: the square root of rows² + columns².",
        ),
        Mistake(
            worst_corner,
            "You search only among the corners of the image. The worst pixel can also lie at an "
            "edge of the image, in a hole or between two parts of the target: search the whole "
            "background.",
        ),
        Mistake(
            worst_as_flat_index,
            "You return the place in the flattened image, row x W + column. The question asks for "
            "the pair (row, column): divmod(place, W).",
        ),
        Mistake(
            worst_distance,
            "This is the distance of the farthest pixel. The question asks for its position (row, "
            "column).",
        ),
        Mistake(
            worst_is_nearest,
            "This pixel is *nearest* to the target. The question asks for the farthest one.",
        ),
        Mistake(
            worst_inside,
            "This pixel belongs to the object, where it is no false positive. Search among the "
            "background pixels.",
        ),
        Mistake(
            worst_column_first,
            "You return (column, row). The question asks for (row, column), the order in which "
            "tensors are indexed.",
        ),
        Mistake(
            worst_last,
            "Several pixels are equally far, and you return the last one. The question asks for "
            "the first one in reading order.",
        ),
        Mistake(
            worst_leftmost,
            "Several pixels are equally far, and you return the one in the leftmost column. "
            "Reading order goes row by row: the topmost row comes first.",
        ),
    ),
    hints=(
        "If the added pixel does not touch the target, its distance to the target is one of the "
        "directed distances, so that the Hausdorff distance is at least as large.",
        "For each background pixel, find the distance to the nearest target pixel. Take the "
        "background pixel with the largest one.",
        "target.nonzero() and (~target).nonzero() are lists of (row, column). Squared distances "
        "are whole numbers, so that ties are exact, and nonzero() lists pixels in reading order.",
    ),
    describe=lambda target: (
        "the target "
        + " / ".join("".join(".#"[int(x)] for x in row) for row in target)
        + " (# target, . background, / next row)"
    ),
)


# ── 3.7 ────────────────────────────────────────────────────────────────────────────────────────

LIMITS = {  # what each metric does, and where this is a limit
    "pixel accuracy": "Pixel accuracy is the share of correct pixels, so that large classes "
    "dominate it.",
    "mean accuracy": "Mean accuracy is a mean of recalls: false positives of a class do not lower "
    "its recall.",
    "mean IoU": "Mean IoU counts area by class: boundaries of large objects hardly change it, and "
    "it cannot tell touching objects apart.",
    "boundary IoU": "Boundary IoU compares bands along the boundaries: it is a share and not a "
    "length, says nothing about the worst error, and does not count objects.",
    "Hausdorff": "The Hausdorff distance is the largest boundary distance, which one pixel can "
    "determine.",
    "HD95": "HD95 leaves out about the largest 5 % of the boundary distances in each of the two "
    "directions and reports the larger of two values near the next ones: neither the "
    "worst nor the mean.",
    "ASSD": "ASSD is the mean boundary distance, so that many small distances hide a few large "
    "ones.",
    "mask AP": "Mask AP evaluates detected objects with confidence scores, at several IoU "
    "thresholds. It does not evaluate stuff, and measures no lengths.",
    "PQ": "Panoptic quality needs a segmentation in which a pixel belongs to one segment at most, "
    "and it uses no confidence scores.",
}
METRICS = tuple(LIMITS)
SITUATIONS = {
    "rare": "Street scenes. Every class matters equally, although people fill only 0.5 % of the "
    "pixels. Missed pixels and false alarms both count.",
    "outline": "Large objects are cut out of photographs. The area is always about right. "
    "The overlap near the boundary is judged, as a number between 0 and 1.",
    "worst": "The mask is the path of a milling machine. The worst boundary error anywhere, even "
    "of a single pixel, determines whether the part is usable.",
    "strays": "Tumours. How large are the large boundary errors? A few stray pixels in the "
    "annotation must not determine the result.",
    "typical": "By how many millimetres is the boundary of an organ off on average?",
    "objects": "Cells are detected one by one, each with a confidence score. The detections are "
    "ranked by score and compared with the annotated cells. No other region is judged.",
    "everything": "Every pixel gets a class, and pixels of things (countable objects) also "
    "an object number. One number must evaluate things and stuff (sky, road) together.",
}
NEEDS = {
    "rare": "Here the whole area of each class is judged, each class counts the same, and false "
    "positives lower the score.",
    "outline": "Here the overlap near the boundary is judged: a share, not a length.",
    "worst": "Here only the largest boundary error counts.",
    "strays": "Here large boundary errors are measured, but single pixels must not determine the "
    "result.",
    "typical": "Here a mean length along the boundary is asked for.",
    "objects": "Here objects are counted, and their confidence scores are used.",
    "everything": "Here stuff and things are evaluated together, by segment.",
}


def choose_metric(situation: str) -> str:
    """The metric that fits a situation: a key of ``ex.SITUATIONS`` -> one of ``ex.METRICS``.

    Both arguments and results are names (str). Each of the metrics is the answer at most once.
    """
    answers = {
        "rare": "mean IoU",
        "outline": "boundary IoU",
        "worst": "Hausdorff",
        "strays": "HD95",
        "typical": "ASSD",
        "objects": "mask AP",
        "everything": "PQ",
    }
    return answers[situation]


list_in_question(choose_metric, SITUATIONS, {"Metrics": ", ".join(METRICS)})


choose = Exercise(
    "3.7 Choose the metric",
    solution=choose_metric,
    cases=[(situation,) for situation in SITUATIONS],
    mistakes=tuple(
        Mistake(right_but(choose_metric, {place: metric}), f"{LIMITS[metric]} {NEEDS[place]}")
        for place in SITUATIONS
        for metric in METRICS
        if metric != choose_metric(place)
    ),
    hints=(
        "Ask first what is compared: the areas of classes, boundaries, or objects.",
        "For boundaries, ask how the errors are summarised: as a share, or as a length; and if as "
        "a length, as the worst, nearly the worst, or the mean.",
        "Two of the nine metrics fit no situation, and each of the others fits one.",
    ),
    describe=lambda situation: f'"{situation}"',
    shows_expected=False,
    options=METRICS,
)
