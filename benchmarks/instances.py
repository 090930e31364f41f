"""Detectors on Toytown: what RoIAlign buys, what a head that judges masks buys, and a yardstick.

    python -m benchmarks.instances                          all arms, three seeds
    python -m benchmarks.instances --only mask_rcnn --dry   one arm, printed only, other scenes

Every arm learns cars, persons and lamps from the same scenes, twice as large, in the same order and
with as many steps. The yardstick is torchvision's Mask R-CNN on a ResNet-18 with a pyramid, as wide
as it comes, which learns from as many proposals and regions as ours; with batches of four and for
fewer steps, because they take longer. results/instances.json keeps what it knows of arms that were
not run again.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from benchmarks import runs
from benchmarks.architectures import CHOICE_SEED, TEST_SEED
from benchmarks.detectors import (
    SIZE,
    box_scores,
    detector_loss,
    look,
    mask_scores,
    scenes,
    start,
    train,
)
from segcourse.classroom import DETECTORS, MASK_RCNN_OPTIONS
from segcourse.data.toytown import THINGS
from segcourse.ops.instances import Detections, Instances
from segcourse.ops.roi import roi_pool

TRAINING = dict(steps=1150, batch=2, learning_rate=3e-3, scenes=800)
YARDSTICK = dict(steps=200, batch=4, learning_rate=1e-3)
SCORED = 100  # scenes


class Yardstick(nn.Module):
    """torchvision's Mask R-CNN behind our interface; 512 regions would take four times as long."""

    def __init__(self, num_classes: int):
        super().__init__()
        backbone = resnet_fpn_backbone(
            backbone_name="resnet18", weights=None, trainable_layers=5, norm_layer=nn.BatchNorm2d
        )
        proposals = MASK_RCNN_OPTIONS["rpn"].keywords
        self.network = TorchvisionMaskRCNN(
            backbone,
            num_classes + 1,
            min_size=SIZE[0],
            max_size=SIZE[1],
            rpn_pre_nms_top_n_train=proposals["pre_nms_top_n"],
            rpn_post_nms_top_n_train=proposals["post_nms_top_n"],
            box_batch_size_per_image=MASK_RCNN_OPTIONS["box_batch_size_per_image"],
        )

    def loss(self, images: Tensor, targets: list[Instances]) -> dict[str, Tensor]:
        theirs = [
            {"boxes": boxes, "labels": labels + 1, "masks": masks.byte()}
            for boxes, labels, masks in targets
        ]
        return self.network(list(images), theirs)

    def forward(self, images: Tensor) -> list[Detections]:
        return [
            Detections(
                each["boxes"],
                each["labels"] - 1,
                each["scores"],
                each["masks"][:, 0],
                each["scores"],
            )
            for each in self.network(list(images))
        ]


ARMS: dict[str, Callable[[int], nn.Module]] = {
    "mask_rcnn": DETECTORS["mask_rcnn"],
    "roi_pool": partial(DETECTORS["mask_rcnn"], crop=roi_pool),
    "mask_scoring": DETECTORS["mask_scoring_rcnn"],
    "yardstick": Yardstick,
}


def run(name: str, seed: int, steps: int, scored: int) -> dict:
    """Train one arm with one seed, and score it on scenes of the seed ``scored``."""
    start(seed)
    settings = {**TRAINING, "steps": steps}
    if name == "yardstick":
        settings |= {**YARDSTICK, "steps": min(steps, YARDSTICK["steps"])}
    data, model = scenes(settings.pop("scenes"), seed=0), ARMS[name](len(THINGS))
    seconds = train(model, detector_loss, data, seed=seed, **settings)
    pairs = look(model.eval(), scenes(SCORED, scored))
    return {
        "seed": seed,
        "steps": settings["steps"],
        "batch": settings["batch"],
        **mask_scores(pairs),
        **box_scores(pairs),
        "training_seconds": round(seconds, 1),
        "image_ms": round(1000 * seconds / settings["steps"] / settings["batch"], 1),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen arms; returns the exit status."""
    options = runs.parser(__doc__.splitlines()[0], ARMS, TRAINING["steps"]).parse_args(arguments)
    settings = {**TRAINING, "steps": options.steps}
    scored = CHOICE_SEED if options.dry else TEST_SEED
    runs.renew("instances", "arms", ARMS, run, settings, options, options.steps, scored)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
