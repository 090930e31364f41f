"""What benches of detectors share: scenes and their objects, classroom sizes, losses, scores."""

import time
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from segcourse.data.sample import Cached, Sample, batches
from segcourse.data.toytown import CLASSES, THINGS, Toytown
from segcourse.data.transforms import Transformed, compose, random_flip, resize
from segcourse.metrics.instance import (
    Matches,
    average_precision,
    coco_box_iou,
    coco_mask_iou,
    match_detections,
    precision_curves,
)
from segcourse.models.detr import DETR, detections
from segcourse.ops.boxes import box_area
from segcourse.ops.instances import Detections, Instances, instances_from_maps
from segcourse.training import fit, poly, seed_everything, warmup

SIZE = (192, 256)
NAMES = tuple(CLASSES[thing] for thing in THINGS)
MIN_AREA = 16  # pixels that an object must show, twice as large; four of the scene's own
ENDLESS = 10**6  # scenes, so that none is seen twice

Network = Callable[[Tensor], list[Detections]]
Pair = tuple[Detections, Instances]


def scenes(count: int, seed: int) -> Cached:
    """Scenes of Toytown, twice as large."""
    return Cached(Transformed(Toytown(count, seed=seed), resize(SIZE)))


def new_scenes(seed: int = 0, *, size: tuple[int, int] | None = SIZE) -> Dataset:
    """Ever new scenes, every other one mirrored; enlarged to (height, width) if one is given."""
    mirrored = random_flip()
    transform = mirrored if size is None else compose(resize(size), mirrored)
    return Transformed(Toytown(ENDLESS, seed=seed), transform)


def objects_of(
    sample: Sample, things: Sequence[int] = THINGS, min_area: int = MIN_AREA
) -> Instances:
    """The things of one scene that show ``min_area`` pixels."""
    return instances_from_maps(sample.semantic, sample.instance, things, min_area=min_area)


def all_objects(
    batch: Sample, things: Sequence[int] = THINGS, min_area: int = MIN_AREA
) -> list[Instances]:
    """The things of every scene of a batch."""
    return [objects_of(Sample(*parts), things, min_area) for parts in zip(*batch, strict=True)]


def small_targets(batch: Sample) -> list[Instances]:
    """The same for scenes in their own size, where objects are found more cheaply."""
    return all_objects(batch, min_area=MIN_AREA // 4)


def detector_loss(model: nn.Module, batch: Sample, things: Sequence[int] = THINGS) -> Tensor:
    """The sum of all losses of a Mask R-CNN."""
    return sum(model.loss(batch.image, all_objects(batch, things)).values())


def query_loss(model: DETR, batch: Sample, **options: object) -> Tensor:
    """The sum of DETR's losses of scenes in their own size; ``options`` are those of the loss."""
    return sum(model.loss(enlarge(batch.image), small_targets(batch), **options).values())


def enlarge(images: Tensor) -> Tensor:
    """Images in the size that the networks look at: (N, 3, H, W) -> (N, 3, *SIZE)."""
    return F.interpolate(images, size=SIZE, mode="bilinear")


def ask_queries(model: nn.Module) -> Network:
    """DETR behind the interface of the others."""
    return lambda images: detections(model(images), [images.shape[-2:]] * len(images))


def train(
    model: nn.Module,
    loss: Callable[[nn.Module, Sample], Tensor],
    data: Dataset,
    *,
    seed: int,
    batch: int,
    **options: object,
) -> float:
    """Train with the course's loop; returns the seconds of the processor."""
    started = time.process_time()
    own = {"schedule": warmup(poly(0.9)), "progress": False, **options}
    fit(model, loss, batches(data, batch_size=batch, seed=seed), **own)
    return time.process_time() - started


def start(seed: int) -> None:
    """One thread, and the generators from one number."""
    torch.set_num_threads(1)
    seed_everything(seed)


@torch.no_grad()
def look(network: Network, test: Iterable[Sample], things: Sequence[int] = THINGS) -> list[Pair]:
    """What is found in every scene, and what is there."""
    return [(network(sample.image[None])[0], objects_of(sample, things)) for sample in test]


def box_scores(pairs: Iterable[Pair], names: Sequence[str] = NAMES) -> dict:
    """Average precision of boxes."""
    matches = [
        match_detections(
            coco_box_iou(found.boxes, target.boxes),
            scores=found.scores,
            labels=found.labels,
            areas=box_area(found.boxes),
            target_labels=target.labels,
            target_areas=box_area(target.boxes),
        )
        for found, target in pairs
    ]
    numbers = average_precision(matches)
    return {f"box_{name}": round(numbers[name], 4) for name in ("AP", "AP50")} | {
        "box_AP50_by_class": at_half(matches, names)
    }


def mask_scores(pairs: Iterable[Pair], names: Sequence[str] = NAMES) -> dict:
    """Average precision of masks, and how their scores and their IoU go together."""
    by_mask, by_class, ranks, overlaps = [], [], [], []
    for found, target in pairs:
        masks = found.masks >= 0.5
        overlap = coco_mask_iou(masks, target.masks)
        parts = dict(
            labels=found.labels,
            areas=masks.flatten(1).sum(dim=1),
            target_labels=target.labels,
            target_areas=target.masks.flatten(1).sum(dim=1),
        )
        by_mask.append(match_detections(overlap, scores=found.mask_scores, **parts))
        by_class.append(match_detections(overlap, scores=found.scores, **parts))
        same = found.labels[:, None] == target.labels
        if same.numel():
            best = torch.where(same, overlap, 0.0).amax(dim=1)
            ranks.append(found.mask_scores[best > 0]), overlaps.append(best[best > 0])
    numbers = average_precision(by_mask)
    return {
        **{name: round(numbers[name], 4) for name in ("AP", "AP50", "AP75", "AP_small", "AR100")},
        "AP50_by_class": at_half(by_mask, names),
        "AP_by_class_score": round(average_precision(by_class)["AP"], 4),
        "correlation": correlation(ranks, overlaps),
    }


def correlation(ranks: list[Tensor], overlaps: list[Tensor]) -> float | None:
    """Pearson's correlation of scores and overlaps, None if there is none."""
    if sum(map(len, ranks)) < 2:
        return None
    both = torch.stack([torch.cat(ranks).double(), torch.cat(overlaps)])
    found = torch.corrcoef(both)[0, 1]
    return round(float(found), 4) if found.isfinite() else None


def at_half(matches: list[Matches], names: Sequence[str]) -> dict[str, float]:
    """Average precision of every class at an IoU of one half."""
    curves = precision_curves(matches)
    heights = curves.precision[:, 0, 0].mean(dim=-1).tolist()
    return {names[k]: round(v, 4) for k, v in zip(curves.classes, heights, strict=True)}
