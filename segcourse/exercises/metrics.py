"""Exercises of the metrics chapter."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake
from segcourse.ops.labels import IGNORE

# ── 3.1 ────────────────────────────────────────────────────────────────────────────────────────


def dice_of_masks(preds: Tensor, target: Tensor) -> float:
    """The Dice coefficient of two masks: two (H, W) bool -> number in [0, 1].

    nan if both masks are empty: there was nothing to find and nothing was claimed.
    """
    both = (preds & target).sum().item()
    total = preds.sum().item() + target.sum().item()
    return 2 * both / total if total else float("nan")


def dice_without_the_two(preds: Tensor, target: Tensor) -> float:
    return dice_of_masks(preds, target) / 2


def dice_is_iou(preds: Tensor, target: Tensor) -> float:
    union = (preds | target).sum().item()
    return (preds & target).sum().item() / union if union else math.nan


def dice_over_the_union(preds: Tensor, target: Tensor) -> float:
    union = (preds | target).sum().item()
    return 2 * (preds & target).sum().item() / union if union else math.nan


def dice_is_accuracy(preds: Tensor, target: Tensor) -> float:
    return (preds == target).float().mean().item()


def dice_divides_by_zero(preds: Tensor, target: Tensor) -> float:
    return 2 * (preds & target).sum().item() / (preds.sum().item() + target.sum().item())


def dice_of_nothing_is_one(preds: Tensor, target: Tensor) -> float:
    score = dice_of_masks(preds, target)
    return 1.0 if math.isnan(score) else score


def dice_of_nothing_is_zero(preds: Tensor, target: Tensor) -> float:
    score = dice_of_masks(preds, target)
    return 0.0 if math.isnan(score) else score


def mask_of(*rows: str) -> Tensor:
    """A mask drawn with # and other characters."""
    return torch.tensor([[character == "#" for character in row] for row in rows])


MASKS = {
    "half overlap": (mask_of("##..", "##.."), mask_of(".##.", ".##.")),
    "a perfect mask": (mask_of("#..", "##."), mask_of("#..", "##.")),
    "disjoint masks": (mask_of("#...", "#..."), mask_of("...#", "...#")),
    "a mask that is too large": (mask_of("####", "####", "####"), mask_of("....", ".##.", "....")),
    "an empty prediction": (mask_of("...", "..."), mask_of("##.", "...")),
    "two empty masks": (mask_of("...", "..."), mask_of("...", "...")),
}


def name_masks(preds: Tensor, target: Tensor) -> str:
    """Which of MASKS a case is."""
    return next(
        name
        for name, (p, t) in MASKS.items()
        if p.shape == preds.shape and p.equal(preds) and t.equal(target)
    )


dice = Exercise(
    "3.1 Dice",
    solution=dice_of_masks,
    cases=list(MASKS.values()),
    mistakes=(
        Mistake(
            dice_without_the_two,
            "A perfect mask scores a half: the intersection counts twice above the line, because "
            "the two areas below the line both contain it.",
        ),
        Mistake(
            dice_is_iou,
            "This is the IoU: it divides by the union. Dice divides twice the intersection by "
            "the *sum* of the two areas.",
        ),
        Mistake(
            dice_over_the_union,
            "A perfect mask scores 2: divide by the sum of the areas, in which the intersection "
            "counts twice, not by the union.",
        ),
        Mistake(
            dice_is_accuracy,
            "This is pixel accuracy: it also counts the pixels that both leave out, and there are "
            "always many of them. Dice looks only at pixels in one of the masks.",
        ),
        Mistake(
            dice_divides_by_zero,
            "Right, except where both masks are empty: 0 / 0. Ask whether the sum of the areas is "
            "0 first, and return math.nan.",
        ),
        Mistake(
            dice_of_nothing_is_one,
            "Two empty masks got 1. Some libraries do this, and images without the object then "
            "lift the mean. Here the answer is nan: nothing was there to score.",
        ),
        Mistake(
            dice_of_nothing_is_zero,
            "Two empty masks got 0, perhaps through a small number below the line. That punishes "
            "a correct answer. Here it is nan: nothing was there to score.",
        ),
    ),
    hints=(
        "preds & target is the intersection; .sum() counts its pixels.",
        "Dice = 2 |intersection| / (|preds| + |target|).",
        "What if both areas are 0? Return float('nan') then.",
    ),
    describe=name_masks,
)


# ── 3.2 ────────────────────────────────────────────────────────────────────────────────────────


def iou_from_matrix(matrix: Tensor) -> Tensor:
    """IoU of every class from a confusion matrix with true rows: (K, K) int -> (K,) float.

    nan for a class that occurs neither in the truth nor in the prediction.
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


def iou_of_everything(matrix: Tensor) -> Tensor:
    return matrix.diagonal() / matrix.sum()


iou = Exercise(
    "3.2 IoU from the matrix",
    solution=iou_from_matrix,
    cases=[
        (torch.tensor([[5, 1], [2, 4]]),),
        (torch.tensor([[5, 1, 1, 0], [2, 6, 1, 0], [1, 0, 4, 0], [0, 0, 0, 0]]),),
        (torch.tensor([[7, 3, 0], [0, 0, 0], [0, 0, 0]]),),
        (torch.eye(3, dtype=torch.int64) * 4,),
    ],
    mistakes=(
        Mistake(
            union_counts_hits_twice,
            "Row sum plus column sum contains the diagonal twice: it is in both. Subtract it once, "
            "or a perfect class scores a half.",
        ),
        Mistake(
            iou_is_recall,
            "You divide by the row sums, the true pixels: that is recall. False positives, the "
            "rest of the column, belong into the union too.",
        ),
        Mistake(
            iou_is_precision,
            "You divide by the column sums, the predicted pixels: that is precision. Missed "
            "pixels, the rest of the row, belong into the union too.",
        ),
        Mistake(
            iou_is_dice,
            "These are Dice coefficients: twice the hits over the sum of row and column.",
        ),
        Mistake(
            iou_absent_is_zero,
            "A class that nobody saw got 0. It would pull the mean down for every image without "
            "it; leave the nan, and let nanmean skip it.",
        ),
        Mistake(
            iou_absent_is_one,
            "A class that nobody saw got 1. It would lift the mean for every image without it; "
            "leave the nan, and let nanmean skip it.",
        ),
        Mistake(
            iou_of_everything,
            "You divide by all pixels. The union of a class is what is truly it or was called it: "
            "its row and its column.",
        ),
    ),
    hints=(
        "The hits are on the diagonal. Where are the misses of class k, and its false alarms?",
        "Row k holds all its true pixels, column k all pixels predicted as k.",
        "union = row sum + column sum - hits.",
    ),
    describe=lambda matrix: f"the matrix {matrix.tolist()}",
)


# ── 3.3 ────────────────────────────────────────────────────────────────────────────────────────


def count_pairs(preds: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """The confusion matrix: two (H, W) integer label maps -> (K, K), rows are the truth.

    Pixels whose truth is 255 are void and not counted. The maps may be uint8.
    """
    counted = target != IGNORE
    pairs = target[counted].long() * num_classes + preds[counted].long()
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def count_transposed(preds: Tensor, target: Tensor, num_classes: int) -> Tensor:
    return count_pairs(preds, target, num_classes).T


def count_void_as_background(preds: Tensor, target: Tensor, num_classes: int) -> Tensor:
    return count_pairs(preds, torch.where(target == IGNORE, 0, target.long()), num_classes)


def count_in_small_integers(preds: Tensor, target: Tensor, num_classes: int) -> Tensor:
    counted = target != IGNORE
    pairs = target[counted] * num_classes + preds[counted]
    counts = torch.bincount(pairs, minlength=num_classes**2)
    return counts[: num_classes**2].view(num_classes, num_classes)


def count_shares(preds: Tensor, target: Tensor, num_classes: int) -> Tensor:
    matrix = count_pairs(preds, target, num_classes)
    return matrix / matrix.sum(dim=1, keepdim=True)


def count_only_hits(preds: Tensor, target: Tensor, num_classes: int) -> Tensor:
    return count_pairs(preds, target, num_classes).diagonal().diag()


SMALL_TRUTH = torch.tensor([[0, 0, 1, 1], [0, 2, 2, 255], [255, 2, 1, 1]])
SMALL_PREDICTED = torch.tensor([[0, 1, 1, 1], [0, 2, 0, 0], [2, 2, 1, 2]])
MANY = (torch.arange(60) * 7 % 19).view(6, 10)

count = Exercise(
    "3.3 Count the pairs",
    solution=count_pairs,
    cases=[
        (SMALL_PREDICTED, SMALL_TRUTH, 3),
        (SMALL_PREDICTED, SMALL_TRUTH, 4),
        (MANY.roll(1, 0).to(torch.uint8), MANY.to(torch.uint8), 19),
        (torch.zeros(2, 2, dtype=torch.int64), torch.full((2, 2), 255), 2),
    ],
    mistakes=(
        Mistake(
            count_transposed,
            "Rows and columns are swapped: rows are the truth. IoU and Dice would not notice, but "
            "precision and recall would trade places.",
        ),
        Mistake(
            count_void_as_background,
            "Void pixels were counted as class 0. Select the pixels with target != 255 before you "
            "count, in truth and prediction alike.",
        ),
        Mistake(
            count_in_small_integers,
            "With 19 classes the products overflow: 18 x 19 is 342, and uint8 ends at 255. "
            "Convert the labels with .long() before you multiply.",
        ),
        Mistake(
            count_shares,
            "These are shares of the rows. Keep counts: only counts can be added over batches.",
        ),
        Mistake(
            count_only_hits,
            "Only the diagonal is filled. Every pixel is a pair (true, predicted), the wrong ones "
            "too: count the number target x K + preds.",
        ),
    ),
    hints=(
        "Give every pair (true class, predicted class) a number of its own.",
        "target * num_classes + preds runs from 0 to K² - 1; torch.bincount counts it.",
        "Select with target != 255, convert with .long(), bincount with minlength=K², then view.",
    ),
    describe=lambda preds, target, num_classes: (
        f"{tuple(target.shape)} {str(target.dtype).removeprefix('torch.')} maps of {num_classes} "
        "classes"
    ),
)


# ── 3.4 ────────────────────────────────────────────────────────────────────────────────────────


def mean_iou_of_batches(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    """Mean IoU of a data set that comes in batches of (preds, target), each (N, H, W).

    The answer must not depend on how the images were divided into batches.
    """
    total = sum(count_pairs(preds, target, num_classes) for preds, target in batches)
    return iou_from_matrix(total).nanmean().item()


def mean_of_batches(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    scores = [mean_iou_of_batches([batch], num_classes) for batch in batches]
    return sum(scores) / len(scores)


def mean_of_images(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    images = [pair for batch in batches for pair in zip(*batch, strict=True)]
    return mean_of_batches(images, num_classes)


def mean_of_batch_classes(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    scores = torch.stack([iou_from_matrix(count_pairs(*batch, num_classes)) for batch in batches])
    return scores.nanmean(dim=0).nanmean().item()


def mean_with_absent_as_zero(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    total = sum(count_pairs(preds, target, num_classes) for preds, target in batches)
    return iou_from_matrix(total).nan_to_num(0.0).mean().item()


def micro_instead_of_mean(batches: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> float:
    total = sum(count_pairs(preds, target, num_classes) for preds, target in batches)
    hits = total.trace()
    return (hits / (2 * total.sum() - hits)).item()


def batch_cases() -> list[tuple]:
    """The same six images, divided in three ways; then a class that occurs nowhere."""
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
    ]


average = Exercise(
    "3.4 Fix the average",
    solution=mean_iou_of_batches,
    cases=batch_cases,
    mistakes=(
        Mistake(
            mean_of_batches,
            "This is the mean of the scores of the batches: it changes when the batch size does. "
            "Add the confusion matrices first, score once.",
        ),
        Mistake(
            mean_of_images,
            "This is the mean of the scores of the images. It does not depend on the batches, but "
            "benchmarks add the matrices of all images and score once.",
        ),
        Mistake(
            mean_of_batch_classes,
            "You average the IoU of each class over the batches. A batch with three pixels of the "
            "class then weighs as much as one with thousands: add the matrices instead.",
        ),
        Mistake(
            mean_with_absent_as_zero,
            "The matrices are added, but a class that occurs nowhere counts as 0: use nanmean.",
        ),
        Mistake(
            micro_instead_of_mean,
            "You pool the pixels of all classes (micro). Mean IoU scores every class first, then "
            "averages the classes.",
        ),
    ),
    hints=(
        "Which quantity of a batch may be added without losing anything?",
        "Counts add up; ratios do not. sum(...) over matrices works in Python.",
        "One matrix for everything, then iou(matrix).nanmean().",
    ),
    describe=lambda batches, num_classes: (
        f"batches of {[len(target) for _, target in batches]} images, {num_classes} classes"
    ),
)


# ── 3.5 ────────────────────────────────────────────────────────────────────────────────────────


def inner_band(mask: Tensor, width: int) -> Tensor:
    """The pixels of a mask at most ``width`` steps from its outside: (H, W) bool -> (H, W) bool.

    Steps go to any of the 8 neighbours. What lies beyond the picture counts as outside.
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


def band_by_four_neighbours(mask: Tensor, width: int) -> Tensor:
    core = mask
    for _ in range(width):
        framed = F.pad(core, [1] * 4)
        core = core & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return mask & ~core


def band_cases() -> list[tuple]:
    """A square inside, one at the border, a corner with a notch, and nothing."""
    inside, border, notch = (torch.zeros(12, 14, dtype=torch.bool) for _ in range(3))
    inside[2:10, 3:12] = True
    border[:7, :9] = True
    notch[1:11, 2:12] = True
    notch[1:4, 2:5] = False
    return [(inside, 1), (inside, 2), (border, 2), (notch, 1), (notch, 3), (~inside & inside, 1)]


band = Exercise(
    "3.5 The band of boundary IoU",
    solution=inner_band,
    cases=band_cases,
    mistakes=(
        Mistake(
            band_without_frame,
            "Right, except where the mask touches the border of the picture: the band is missing "
            "there. Frame the picture with outside before you look for neighbours.",
        ),
        Mistake(
            band_outside,
            "This band lies around the mask, on pixels that are not in it. The band of boundary "
            "IoU is on the inside: part of the mask.",
        ),
        Mistake(
            band_on_both_sides,
            "This band lies on both sides of the outline, as in a trimap. Boundary IoU keeps only "
            "the inside: & mask.",
        ),
        Mistake(
            band_is_the_core,
            "This is what erosion leaves, the core. The band is what erosion takes away: "
            "mask & ~core.",
        ),
        Mistake(
            band_of_half_width,
            "The band is too thin: to reach `width` steps to either side, the window must be "
            "2 x width + 1 wide.",
        ),
        Mistake(
            band_by_four_neighbours,
            "Your steps go to the 4 nearest neighbours: a notch then takes its corner pixel no "
            "longer along. Use a 3 x 3 window, diagonals included.",
        ),
    ),
    hints=(
        "A pixel belongs to the band if the window around it, 2 x width + 1 wide, contains any "
        "outside.",
        "The maximum of (~mask).float() over a window is 1 if there is outside: F.max_pool2d.",
        "max_pool2d pads with -inf, which is not outside: F.pad with value=1.0 first.",
    ),
    describe=lambda mask, width: f"a mask of {int(mask.sum())} pixels and width {width}",
)


# ── 3.6 ────────────────────────────────────────────────────────────────────────────────────────

METRICS = (
    "pixel accuracy",
    "mean IoU",
    "boundary IoU",
    "Hausdorff",
    "HD95",
    "ASSD",
    "mask AP",
    "PQ",
)
SITUATIONS = {
    "rare": "Street scenes; every class matters equally, and people fill half a percent of pixels.",
    "outline": "Cutting large objects out of photographs: the area is easy, the outline is judged.",
    "worst": "Clean masks of a drill path: the worst error anywhere, even of one pixel, decides.",
    "strays": "Tumours: how bad the outline gets, but a few stray pixels must not decide.",
    "typical": "By how many millimetres is the outline of an organ off, on average?",
    "objects": "Cells are found one by one with scores, to be counted; there is no stuff.",
    "everything": "Every pixel gets a class, and things also an identity; one number for all.",
}


def choose_metric(situation: str) -> str:
    """The metric that fits a situation: a key of SITUATIONS -> one of METRICS."""
    return {
        "rare": "mean IoU",
        "outline": "boundary IoU",
        "worst": "Hausdorff",
        "strays": "HD95",
        "typical": "ASSD",
        "objects": "mask AP",
        "everything": "PQ",
    }[situation]


def choose_accuracy(situation: str) -> str:
    return "pixel accuracy" if situation == "rare" else choose_metric(situation)


def choose_area_for_outlines(situation: str) -> str:
    return "mean IoU" if situation == "outline" else choose_metric(situation)


def choose_the_maximum(situation: str) -> str:
    return "Hausdorff" if situation == "strays" else choose_metric(situation)


def choose_forgiveness(situation: str) -> str:
    return "HD95" if situation == "worst" else choose_metric(situation)


def choose_pixels_for_objects(situation: str) -> str:
    return "mean IoU" if situation == "objects" else choose_metric(situation)


def choose_detections_for_everything(situation: str) -> str:
    return "mask AP" if situation == "everything" else choose_metric(situation)


choose = Exercise(
    "3.6 Choose the metric",
    solution=choose_metric,
    cases=[(situation,) for situation in SITUATIONS],
    mistakes=(
        Mistake(
            choose_accuracy,
            "Pixel accuracy gives every pixel a vote, and people own half a percent of them: they "
            "could be missed altogether. Mean IoU gives every class one vote.",
        ),
        Mistake(
            choose_area_for_outlines,
            "IoU hardly moves on large objects when their outline is ragged: most pixels lie "
            "inside. Boundary IoU looks at the band along the outline only.",
        ),
        Mistake(
            choose_the_maximum,
            "The Hausdorff distance is a maximum: one stray pixel decides it. Its 95th percentile "
            "forgives a few of them.",
        ),
        Mistake(
            choose_forgiveness,
            "HD95 forgives five percent of the outline, and here a single pixel may hurt: take "
            "the maximum.",
        ),
        Mistake(
            choose_pixels_for_objects,
            "Mean IoU cannot count: two touching cells in one mask cost it nothing. Objects with "
            "scores are judged by average precision (chapter 14).",
        ),
        Mistake(
            choose_detections_for_everything,
            "Mask AP knows neither stuff nor that every pixel belongs to one segment only. "
            "Panoptic quality covers things and stuff (chapter 17).",
        ),
    ),
    hints=(
        "Ask first what is counted: pixels, outlines, or objects?",
        "Then ask how errors are summed up: with a vote per pixel or per class; as the worst, "
        "nearly the worst, or the mean distance.",
        "Each of the metrics but one is the answer exactly once.",
    ),
    describe=lambda situation: f'"{situation}"',
)
