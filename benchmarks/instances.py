"""Detectors on Toytown: what RoIAlign buys, what a head that judges masks buys, and a yardstick.

    python -m benchmarks.instances                          all arms, three seeds
    python -m benchmarks.instances --only mask_rcnn --dry   one arm, printed only, other scenes

Every arm learns cars, persons and lamps from the same scenes, twice as large, in the same order and
with as many steps. The yardstick is torchvision's Mask R-CNN on a narrow ResNet-18 with a pyramid,
for fewer steps, because they take longer. results/instances.json keeps what it knows of arms that
were not run again.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from benchmarks import runs
from benchmarks.architectures import CHOICE_SEED, TEST_SEED
from benchmarks.report import write
from segcourse.blocks.resnet import ResNet
from segcourse.data.sample import Cached, Sample, batches
from segcourse.data.things import things_of
from segcourse.data.toytown import CLASSES, THINGS, Toytown
from segcourse.data.transforms import Transformed, resize
from segcourse.metrics.instance import (
    average_precision,
    mask_overlaps,
    match,
    precision_curves,
)
from segcourse.models.mask_rcnn import Detections, MaskRCNN, Objects
from segcourse.models.mask_scoring import MaskScoringRCNN
from segcourse.ops.roi import roi_pool
from segcourse.training import fit, poly, seed_everything, warmup

SIZE = (192, 256)
TRAINING = dict(steps=700, batch=4, learning_rate=4e-3, scenes=800)
YARDSTICK = dict(steps=200, learning_rate=1e-3)
SCORED = 100  # scenes
LEAST = 4  # pixels of an object, at the scenes' own size
CLASSROOM = dict(
    backbone=partial(ResNet, 18, width=16),
    channels=32,
    hidden=64,
    anchor_sides=(10, 20, 40, 80, 120),
    anchor_ratios=(0.5, 1.0, 2.0, 6.0),
    canonical=48,
    proposals=(100, 60),
    regions=64,
)


class Yardstick(nn.Module):
    """torchvision's Mask R-CNN behind our interface."""

    def __init__(self, num_classes: int):
        super().__init__()
        backbone = resnet_fpn_backbone(
            backbone_name="resnet18", weights=None, trainable_layers=5, norm_layer=nn.BatchNorm2d
        )
        self.network = TorchvisionMaskRCNN(
            backbone, num_classes + 1, min_size=SIZE[0], max_size=SIZE[1]
        )

    def loss(self, images: Tensor, objects: list[Objects]) -> dict[str, Tensor]:
        targets = [{**each._asdict(), "masks": each.masks.byte()} for each in objects]
        return self.network(list(images), targets)

    def forward(self, images: Tensor) -> list[Detections]:
        return [
            Detections(
                each["boxes"], each["labels"], each["scores"], each["masks"][:, 0], each["scores"]
            )
            for each in self.network(list(images))
        ]


ARMS: dict[str, Callable[[int], nn.Module]] = {
    "mask_rcnn": partial(MaskRCNN, **CLASSROOM),
    "roi_pool": partial(MaskRCNN, crop=roi_pool, **CLASSROOM),
    "mask_scoring": partial(MaskScoringRCNN, **CLASSROOM),
    "yardstick": Yardstick,
}


def scenes(count: int, seed: int) -> Cached:
    """Scenes of Toytown, twice as large."""
    return Cached(Transformed(Toytown(count, seed=seed), resize(SIZE)))


def objects_of(sample: Sample) -> Objects:
    """The things of one scene, labelled from 1."""
    boxes, labels, masks = things_of(sample, THINGS, least=4 * LEAST)
    return Objects(boxes, labels + 1, masks)


def loss(model: nn.Module, batch: Sample) -> Tensor:
    """The sum of all losses of a detector."""
    objects = [objects_of(Sample(*parts)) for parts in zip(*batch, strict=True)]
    return sum(model.loss(batch.image, objects).values())


@torch.no_grad()
def scores(model: nn.Module, test: Cached) -> dict:
    """AP of masks, by their own scores and by the classes', and how scores and IoU go together."""
    by_mask, by_class, ranks, overlaps = [], [], [], []
    for sample in test:
        truth = objects_of(sample)
        [found] = model(sample.image[None])
        masks = found.masks >= 0.5
        overlap = mask_overlaps(masks, truth.masks)
        parts = dict(
            labels=found.labels,
            areas=masks.flatten(1).sum(dim=1),
            truth_labels=truth.labels,
            truth_areas=truth.masks.flatten(1).sum(dim=1),
        )
        by_mask.append(match(overlap, scores=found.mask_scores, **parts))
        by_class.append(match(overlap, scores=found.scores, **parts))
        same = found.labels[:, None] == truth.labels
        if same.numel():
            best = torch.where(same, overlap, 0.0).amax(dim=1)
            ranks.append(found.mask_scores[best > 0]), overlaps.append(best[best > 0])
    numbers = average_precision(by_mask)
    half = precision_curves(by_mask).precision[:, 0, 0].mean(dim=-1).tolist()
    pairs = torch.stack([torch.cat(ranks).double(), torch.cat(overlaps)]) if ranks else None
    return {
        **{name: round(numbers[name], 4) for name in ("AP", "AP50", "AP75", "AP_small", "AR100")},
        "AP50_by_class": {CLASSES[t]: round(v, 4) for t, v in zip(THINGS, half, strict=True)},
        "AP_by_class_score": round(average_precision(by_class)["AP"], 4),
        "correlation": round(float(torch.corrcoef(pairs)[0, 1]), 4) if ranks else None,
    }


def run(name: str, seed: int, steps: int, scored: int) -> dict:
    """Train one arm with one seed, and score it on scenes of the seed ``scored``."""
    torch.set_num_threads(1)
    train, test = scenes(TRAINING["scenes"], 0), scenes(SCORED, scored)
    training = {**TRAINING, "steps": steps}
    if name == "yardstick":
        training |= {**YARDSTICK, "steps": min(steps, YARDSTICK["steps"])}
    seed_everything(seed)
    model, started = ARMS[name](len(THINGS)), time.process_time()
    fit(
        model,
        loss,
        batches(train, size=training["batch"], seed=seed),
        steps=training["steps"],
        learning_rate=training["learning_rate"],
        schedule=warmup(poly(0.9), share=0.2),
        progress=False,
    )
    seconds = time.process_time() - started
    return {
        "seed": seed,
        "steps": training["steps"],
        **scores(model.eval(), test),
        "training_seconds": round(seconds, 1),
        "step_ms": round(1000 * seconds / training["steps"], 1),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen arms; returns the exit status."""
    options = runs.parser(__doc__.splitlines()[0], ARMS, TRAINING["steps"]).parse_args(arguments)
    settings = {**TRAINING, "steps": options.steps}
    rows = runs.stored("instances", "arms", settings, options)
    scored = CHOICE_SEED if options.dry else TEST_SEED
    for name, found in runs.side_by_side(run, options, options.steps, scored).items():
        rows[name] = {**runs.means(found), "runs": found}
        print(name, runs.means(found), found[0]["AP50_by_class"], flush=True)
    if not options.dry:
        write("instances", {**settings, "arms": runs.in_order(ARMS, rows)})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
