"""Average precision and panoptic quality against their peers: python -m benchmarks.object_metrics

200 scenes of Toytown, and predictions made from them: moved, torn, renamed and invented objects.
Everybody gets the same tensors and must give the same numbers; a time is the best of three, in
seconds of one processor. Writes results/object_metrics.json.
"""

import contextlib
import io
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision, PanopticQuality

from benchmarks.metrics import seconds
from benchmarks.report import write
from segcourse.data.toytown import CLASSES, THINGS, Toytown
from segcourse.metrics.instance import average_precision, coco_mask_iou, match_detections
from segcourse.metrics.panoptic import mean_panoptic_quality, panoptic_counts
from segcourse.ops.instances import instances_from_maps
from segcourse.ops.panoptic import panoptic_ids

SCENES, SEED = 200, 0
STUFF = tuple(sorted(set(range(len(CLASSES))) - set(THINGS)))


class Image(NamedTuple):
    """Truth and detections of a scene."""

    target: Tensor  # (G, H, W) bool
    target_labels: Tensor
    preds: Tensor  # (D, H, W) bool
    labels: Tensor
    scores: Tensor


def images() -> list[Image]:
    """Every object moved by some pixels; some renamed, some twice, and one invented a scene."""
    generator = torch.Generator().manual_seed(SEED)
    made = []
    for scene in Toytown(SCENES):
        _, labels, masks = instances_from_maps(scene.semantic, scene.instance, THINGS)
        shifts = torch.randint(-2, 3, (len(masks) + 1, 2), generator=generator).tolist()
        invented = masks[:1] if len(masks) else torch.zeros(1, *scene.semantic.shape).bool()
        preds = torch.stack(
            [mask.roll(tuple(shift), (0, 1))
             for mask, shift in zip(torch.cat([masks, invented]), shifts, strict=True)]
        )  # fmt: skip
        names = torch.cat([labels, torch.randint(3, (1,), generator=generator)])
        renamed = torch.rand(len(names), generator=generator) < 0.1
        names = torch.where(renamed, (names + 1) % 3, names)
        scores = torch.rand(len(names), generator=generator)
        made.append(Image(masks, labels, preds, names, scores))
    return made


def our_ap(data: list[Image]) -> float:
    matches = [
        match_detections(
            coco_mask_iou(each.preds, each.target),
            scores=each.scores,
            labels=each.labels,
            areas=each.preds.flatten(1).sum(dim=1),
            target_labels=each.target_labels,
            target_areas=each.target.flatten(1).sum(dim=1),
        )
        for each in data
    ]
    return average_precision(matches)["AP"]


def torchmetrics_ap(data: list[Image]) -> float:
    metric = MeanAveragePrecision(iou_type="segm")
    for each in data:
        preds = {"masks": each.preds, "scores": each.scores, "labels": each.labels}
        metric.update([preds], [{"masks": each.target, "labels": each.target_labels}])
    return float(metric.compute()["map"])


def coco_files(data: list[Image]) -> tuple[dict, list[dict]]:
    """The same as run-length codes, which is where pycocotools starts."""

    def code(mask: Tensor) -> dict:
        return coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))

    target = {"images": [], "annotations": [], "categories": [{"id": k + 1} for k in range(3)]}
    results = []
    for number, each in enumerate(data, start=1):
        height, width = each.target.shape[1:]
        target["images"].append({"id": number, "height": height, "width": width})
        for mask, label in zip(each.target, each.target_labels.tolist(), strict=True):
            target["annotations"].append(
                {
                    "id": len(target["annotations"]) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "segmentation": code(mask),
                    "area": float(mask.sum()),
                    "bbox": [0, 0, 1, 1],
                    "iscrowd": 0,
                }
            )
        rows = zip(each.preds, each.labels.tolist(), each.scores.tolist(), strict=True)
        results += [
            {"image_id": number, "category_id": k + 1, "segmentation": code(m), "score": s}
            for m, k, s in rows
        ]
    return target, results


def pycocotools_ap(files: tuple[dict, list[dict]]) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        target = COCO()
        target.dataset = files[0]
        target.createIndex()
        evaluation = COCOeval(target, target.loadRes([dict(each) for each in files[1]]), "segm")
        evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    return float(evaluation.stats[0])


def compare_ap() -> dict:
    """Mask AP: ours from masks, torchmetrics from masks, pycocotools from run-length codes."""
    data = images()
    files = coco_files(data)
    values = {
        "segcourse": our_ap(data),
        "torchmetrics": torchmetrics_ap(data),
        "pycocotools": pycocotools_ap(files),
    }
    assert abs(values["segcourse"] - values["pycocotools"]) < 1e-9, values
    assert abs(values["segcourse"] - values["torchmetrics"]) < 1e-3, values  # recalls in float32
    tasks = {
        "segcourse": lambda: our_ap(data),
        "torchmetrics": lambda: torchmetrics_ap(data),
        "pycocotools_from_codes": lambda: pycocotools_ap(files),
        "pycocotools_with_encoding": lambda: pycocotools_ap(coco_files(data)),
    }
    return {"AP": round(values["segcourse"], 4), **timed(tasks)}


def timed(tasks: dict[str, Callable[[], object]]) -> dict:
    """Seconds of every task, and how many times ours the others take."""
    times = {name: seconds(task) for name, task in tasks.items()}
    ours = times["segcourse"]
    return {
        "seconds": {name: round(value, 3) for name, value in times.items()},
        "ratios_to_ours": {name: round(value / ours, 2) for name, value in times.items()},
    }


def panoptic_maps() -> tuple[Tensor, Tensor]:
    """True ids, and the same moved by a pixel, with some objects and some stuff renamed."""
    scenes = list(Toytown(SCENES))
    target = torch.stack([panoptic_ids(scene.semantic, scene.instance) for scene in scenes])
    preds = target.roll((1, 1), (1, 2)).clone()
    preds[::3] = torch.where(preds[::3] // 1000 == 3, 4000, preds[::3])
    return preds, target


def torchmetrics_pq(preds: Tensor, target: Tensor) -> float:
    metric = PanopticQuality(things=set(THINGS), stuffs=set(STUFF))
    pairs = (torch.stack([ids // 1000, ids % 1000], dim=-1) for ids in (preds, target))
    return float(metric(*pairs))


def segment_areas(ids: np.ndarray) -> dict[int, int]:
    return dict(zip(*np.unique(ids, return_counts=True), strict=True))


def by_segments(preds: np.ndarray, target: np.ndarray, target_areas: list[dict[int, int]]) -> float:
    """The algorithm of panopticapi: image by image, pair by pair, on arrays; no crowds here.

    Its files list the areas of the true segments, so that they are not counted here either.
    """
    counts = np.zeros((len(CLASSES), 4))
    for f, t, given in zip(preds, target, target_areas, strict=True):
        areas = [segment_areas(f), given]
        pairs, shared = np.unique(t.astype(np.uint64) * 2**32 + f.astype(np.uint64),
                                  return_counts=True)  # fmt: skip
        matched: tuple[set, set] = (set(), set())
        for pair, pixels in zip(pairs.tolist(), shared.tolist(), strict=True):
            target_id, pred_id = divmod(pair, 2**32)
            if target_id // 1000 != pred_id // 1000:
                continue
            iou = pixels / (areas[0][pred_id] + areas[1][target_id] - pixels)
            if iou > 0.5:
                counts[target_id // 1000] += (iou, 1, 0, 0)
                matched[0].add(pred_id), matched[1].add(target_id)
        for column, own, seen in zip((2, 3), areas, matched, strict=True):
            for segment in set(own) - seen:
                counts[segment // 1000, column] += 1
    iou, tp, fp, fn = counts.T
    known = tp + fp + fn > 0
    return float((iou / np.maximum(tp + fp / 2 + fn / 2, 1e-9))[known].mean())


def compare_pq() -> dict:
    """Panoptic quality: ours, torchmetrics, and the reference's algorithm."""
    preds, target = panoptic_maps()
    arrays = preds.numpy(), target.numpy(), [segment_areas(each.numpy()) for each in target]

    def ours() -> float:
        counts = panoptic_counts(preds, target, len(CLASSES))
        return mean_panoptic_quality(counts, THINGS)["All"]["pq"]

    tasks = {
        "segcourse": ours,
        "torchmetrics": lambda: torchmetrics_pq(preds, target),
        "panopticapis_algorithm": lambda: by_segments(*arrays),
    }
    values = {name: task() for name, task in tasks.items()}
    assert max(values.values()) - min(values.values()) < 1e-6, values
    return {"PQ": round(values["segcourse"], 4), **timed(tasks)}


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    precision, panoptic = compare_ap(), compare_pq()
    print(precision, panoptic, sep="\n")
    payload = {"scenes": SCENES, "average_precision": precision, "panoptic_quality": panoptic}
    write("object_metrics", payload)


if __name__ == "__main__":
    main()
