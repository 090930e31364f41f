"""Our metrics against those of torchmetrics and MONAI, one thread: python -m benchmarks.metrics.

Everybody gets the same tensors in the same process; a time is the best of several, in seconds of
processor time, so that what else the machine does matters little. The answers must agree.
"""

import math
import time
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from benchmarks import report
from segcourse.metrics.boundary import assd, hausdorff_distance, hausdorff_distance_95
from segcourse.metrics.semantic import confusion_matrix, iou
from segcourse.ops.labels import IGNORE

CLASSES, MAPS, SIDE, SEED = 19, 64, 512, 0


def seconds(task: Callable[[], object], repeats: int = 3) -> float:
    """The least processor time of a call."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        task()
        times.append(time.process_time() - start)
    return min(times)


def label_maps() -> tuple[Tensor, Tensor]:
    """Regions of 19 classes with 5 % void, and a prediction that is wrong on a fifth of them."""
    coarse = torch.randint(0, CLASSES, (MAPS, 1, SIDE // 16, SIDE // 16)).float()
    target = F.interpolate(coarse, size=(SIDE, SIDE), mode="nearest")[:, 0].long()
    wrong = torch.randint(0, CLASSES, target.shape)
    preds = torch.where(torch.rand(target.shape) < 0.8, target, wrong)
    target[torch.rand(target.shape) < 0.05] = IGNORE
    return preds, target


def peer(preds: Tensor, target: Tensor, *, validate: bool) -> Tensor:
    metric = MulticlassJaccardIndex(
        CLASSES, average="none", ignore_index=IGNORE, validate_args=validate
    )
    metric.update(preds, target)
    return metric.compute()


def refuses(preds: Tensor, target: Tensor) -> bool:
    """Whether one wrong label among all the pixels is noticed."""
    try:
        confusion_matrix(preds, target, CLASSES)
    except ValueError:
        return True
    return False


def compare_semantic() -> dict:
    """Confusion matrix and IoU of 64 label maps of 512 x 512 pixels."""
    preds, target = label_maps()
    ours = iou(confusion_matrix(preds, target, CLASSES))
    assert torch.allclose(ours.float(), peer(preds, target, validate=True), atol=1e-6)
    wrong_target, wrong_prediction = target.clone(), preds.clone()
    wrong_target[-1, -1, -1], wrong_prediction[-1, -1, -1] = CLASSES, CLASSES
    times = {
        "segcourse": seconds(lambda: iou(confusion_matrix(preds, target, CLASSES))),
        "torchmetrics": seconds(lambda: peer(preds, target, validate=True)),
        "torchmetrics_unchecked": seconds(lambda: peer(preds, target, validate=False)),
    }
    return {
        "maps": MAPS,
        "side": SIDE,
        "classes": CLASSES,
        "seconds": {name: round(value, 4) for name, value in times.items()},
        "ratio_to_torchmetrics": round(times["torchmetrics"] / times["segcourse"], 1),
        "ratio_to_torchmetrics_unchecked": round(
            times["torchmetrics_unchecked"] / times["segcourse"], 1
        ),
        "refuses_wrong_labels": refuses(preds, wrong_target) and refuses(wrong_prediction, target),
    }


def blob(side: int, radius: float, roughness: float) -> Tensor:
    """A disc with an uneven outline: -> (side, side) bool."""
    noise = F.interpolate(
        torch.randn(1, 1, side // 8, side // 8), size=(side, side), mode="bilinear"
    )[0, 0]
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.hypot(y - side / 2, x - side / 2) + roughness * noise < radius


def textures(side: int, cell: int) -> Tensor:
    """Many regions of about ``cell`` pixels: -> (side, side) bool."""
    coarse = torch.randn(1, 1, side // cell, side // cell)
    return F.interpolate(coarse, size=(side, side), mode="bilinear")[0, 0] > 0


def mask_pairs() -> dict[str, tuple[Tensor, Tensor]]:
    """Pairs of masks: organs and objects, large and small, and worse cases."""
    return {
        "object, 512 x 512": (blob(512, 100, 8), blob(512, 106, 8)),
        "large and ragged, 512 x 512": (blob(512, 200, 40), blob(512, 190, 40)),
        "small object, 512 x 512": (blob(512, 20, 2), blob(512, 22, 2)),
        "object, 128 x 128": (blob(128, 30, 4), blob(128, 32, 4)),
        "many regions, 512 x 512": (textures(512, 32), textures(512, 32)),
        "pixel noise, 512 x 512": (torch.rand(512, 512) < 0.5, torch.rand(512, 512) < 0.5),
    }


def theirs(score: Callable, a: Tensor, b: Tensor, **options: object) -> float:
    return score(a[None, None], b[None, None], include_background=True, **options).item()


SCORES = {
    "hausdorff": (hausdorff_distance, lambda a, b: theirs(compute_hausdorff_distance, a, b)),
    "hausdorff_95": (
        hausdorff_distance_95,
        lambda a, b: theirs(compute_hausdorff_distance, a, b, percentile=95),
    ),
    "assd": (assd, lambda a, b: theirs(compute_average_surface_distance, a, b, symmetric=True)),
}


def compare_distances() -> dict:
    """Hausdorff distance, HD95 and ASSD of pairs of masks: ratios of MONAI's time to ours."""
    ratios: dict[str, dict[str, float]] = {}
    for name, (a, b) in mask_pairs().items():
        ratios[name] = {}
        for score, (ours, monai) in SCORES.items():
            assert math.isclose(ours(a, b), monai(a, b), rel_tol=1e-5)
            ratio = seconds(lambda: monai(a, b)) / seconds(lambda: ours(a, b))  # noqa: B023
            ratios[name][score] = round(ratio, 2)
    least = min(ratio for row in ratios.values() for ratio in row.values())
    return {"ratio_to_monai": ratios, "least_ratio_to_monai": least}


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    semantic, distances = compare_semantic(), compare_distances()
    print(semantic, distances, sep="\n")
    report.write("metrics", {"seed": SEED, "semantic": semantic, "distances": distances})


if __name__ == "__main__":
    main()
