"""What holes are worth, in three questions: python -m benchmarks.deeplab [--only dense] [--seeds 0]

- dense: FCN-32s is trained at 192 x 256. Its last two strides are removed, with holes and without,
  and the three networks are scored; then each is trained on for equally many steps.
- sizes: DeepLab v1 (no side branches) is trained from random weights on scenes that are drawn in
  three sizes: without holes, with the holes that stand for the removed strides (fc6 at rate 4),
  and with LargeFOV's (fc6 at rate 12). Equal weights, equal strides, equal steps.
- crf: DeepLab v1's logits, before and after a dense CRF of several settings.

Writes results/deeplab.json after every run, and keeps the runs of other questions and seeds.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.architectures import TEST_SEED, scores
from benchmarks.recipe import learn, semantic_scores, train
from benchmarks.report import RESULTS, write
from segcourse.classroom import FCN_OPTIONS, NETWORKS, course_loss
from segcourse.data.sample import Cached, Sample, stack
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.metrics.semantic import confusion_matrix
from segcourse.models.deeplab_v1 import DeepLabV1
from segcourse.models.dense_fcn import chain, remove_strides, shift_and_stitch, upsample_dense
from segcourse.models.fcn import FCN
from segcourse.ops.crf import dense_crf
from segcourse.training import poly, warmup

DENSE = dict(size=(192, 256), scenes=240, steps=200, batch=4, learning_rate=1e-2, validation=40)
TUNING = dict(steps=60, batch=4, learning_rate=2e-3)
SIZES = {(96, 128): 4, (192, 256): 4, (384, 512): 1}  # images in a batch
SIZED = dict(scenes=240, steps=300, learning_rate=2e-2, validation=40)
HOLES = {"no holes": (1, 1), "holes": (2, 4), "LargeFOV": (2, 12)}  # of stage 5 and of fc6
CRF_SCENES = 40
SETTINGS: dict[str, dict[str, float]] = {
    "as published": {},
    "smoothness kernel only": dict(bilateral_weight=0.0),
    "appearance kernel only": dict(smooth_weight=0.0),
    "smooth_weight 1": dict(smooth_weight=1.0),
    "smooth_std 1": dict(smooth_std=1.0),
    "bilateral_weight 1": dict(bilateral_weight=1.0),
    "xy_std 12": dict(xy_std=12.0),
    "rgb_std 15": dict(rgb_std=15 / 255),
}

Runs = dict[str, dict]  # one number or more for every arm


class Dense(nn.Module):
    """A chain of layers of some stride whose scores are put over the image: -> (N, K, H, W)."""

    def __init__(self, layers: nn.Module, stride: int):
        super().__init__()
        self.layers, self.stride = layers, stride

    def forward(self, image: Tensor) -> Tensor:
        return upsample_dense(self.scores(image), self.stride, image)

    def scores(self, image: Tensor) -> Tensor:
        """The map before it is upsampled."""
        return self.layers(image)

    def all_logits(self, image: Tensor) -> list[Tensor]:
        """What is supervised in training, the logits alone: -> list of one (N, K, H, W)."""
        return [self(image)]


class Stitched(Dense):
    """Shift-and-stitch of a network of stride 32, at stride 8."""

    def scores(self, image: Tensor) -> Tensor:
        return shift_and_stitch(self.layers, image, stride=32, step=8)[..., :-3, :-3]


def coarse(num_classes: int) -> Dense:
    """The classroom's FCN-32s, upsampled by interpolation."""
    layers = chain(FCN(num_classes, stride=32, **FCN_OPTIONS))
    return Dense(layers.to(memory_format=torch.channels_last), 32)  # a quarter faster on a CPU


def scenes(size: tuple[int, int], count: int, validation: int) -> tuple[Cached, Sample]:
    """Training scenes, and the test scenes as one batch."""
    return Cached(Toytown(count, size=size)), stack(
        list(Toytown(validation, seed=TEST_SEED, size=size))
    )


@torch.no_grad()
def judged(model: nn.Module, test: Sample, batch: int = 4) -> dict:
    """Scores of a network on the test scenes."""
    model.eval()
    preds = torch.cat([model(images).argmax(dim=1) for images in test.image.split(batch)])
    return semantic_scores(confusion_matrix(preds, test.semantic, len(CLASSES)), CLASSES)


def dense(seed: int) -> Runs:
    """FCN-32s as it is and densely evaluated, before and after a brief training."""
    training, test = scenes(DENSE["size"], DENSE["scenes"], DENSE["validation"])
    loss = course_loss(training)
    model = learn(
        partial(coarse, len(CLASSES)),
        training,
        loss,
        seed=seed,
        steps=DENSE["steps"],
        batch=DENSE["batch"],
        learning_rate=DENSE["learning_rate"],
    ).eval()
    arms = {
        "stride 32": model,
        "stride 8, holes": Dense(remove_strides(model.layers, 8), 8),
        "stride 8, no holes": Dense(remove_strides(model.layers, 8, holes=False), 8),
    }
    found = {name: judged(each, test) for name, each in arms.items()}
    found["shift and stitch"] = judged(Stitched(model.layers, 8), test)
    print(seed, {arm: each["miou"] for arm, each in found.items()}, flush=True)
    for name, each in arms.items():
        train(each, training, loss, seed=seed + 100, **TUNING)
        found[f"{name}, tuned"] = judged(each, test)
    return found


def with_holes(stage5: int, fc6: int) -> DeepLabV1:
    """The classroom's DeepLab v1 without side branches, and the dilations that are asked for."""
    model = NETWORKS["deeplab_v1"](len(CLASSES), multi_scale=False, dilation=fc6)
    for layer in model.features.stages[-1]:
        if isinstance(layer, nn.Conv2d):
            layer.dilation = layer.padding = (stage5, stage5)
    return model


def sizes(seed: int, size: tuple[int, int]) -> Runs:
    """DeepLab v1 without holes, with them, and with LargeFOV's, on scenes of a size."""
    training, test = scenes(size, SIZED["scenes"], SIZED["validation"])
    loss, found = course_loss(training), {}
    for name, rates in HOLES.items():
        model = learn(
            partial(with_holes, *rates),
            training,
            loss,
            seed=seed,
            steps=SIZED["steps"],
            batch=SIZES[size],
            learning_rate=SIZED["learning_rate"],
            schedule=warmup(poly(0.9), share=0.5),
        )
        found[name] = judged(model, test)
        print(seed, size, name, found[name]["miou"], flush=True)
    return found


@torch.no_grad()
def crf(seed: int) -> Runs:
    """DeepLab v1's logits at 96 x 128, without a CRF and with one."""
    training, test = scenes((96, 128), 800, CRF_SCENES)
    with torch.enable_grad():
        model = learn(
            partial(NETWORKS["deeplab_v1"], len(CLASSES), multi_scale=False),
            training,
            course_loss(training),
            seed=seed,
            steps=SIZED["steps"],
            batch=4,
            learning_rate=SIZED["learning_rate"],
            schedule=warmup(poly(0.9), share=0.5),
        )
    model.eval()
    logits = torch.cat([model(images) for images in test.image.split(10)])
    found = {"no CRF": scores(logits.argmax(dim=1), test.semantic)}
    for name, changes in SETTINGS.items():
        q = dense_crf(logits, test.image, **changes)
        found[name] = scores(q.argmax(dim=1), test.semantic)
        print(seed, name, found[name]["miou"], found[name]["thin_iou"], flush=True)
    return found


QUESTIONS: dict[str, Callable[[int], Runs]] = {
    "dense": dense,
    **{f"sizes {h} x {w}": partial(sizes, size=(h, w)) for h, w in SIZES},
    "crf": crf,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(QUESTIONS), default=list(QUESTIONS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in options.seeds:
        for name in options.only:
            started = time.process_time()
            found = QUESTIONS[name](seed)
            seconds = round(time.process_time() - started)
            mious = {arm: each["miou"] for arm, each in found.items()}
            print(name, seed, mious, seconds, flush=True)
            keep(name, seed, found)


def keep(name: str, seed: int, found: Runs) -> None:
    """Put the runs of a seed into results/deeplab.json, in the order of the seeds."""
    path = RESULTS / "deeplab.json"
    stored = json.loads(path.read_text())["questions"] if path.exists() else {}
    rows = stored.setdefault(name, {})
    for arm, numbers in found.items():
        others = [run for run in rows.get(arm, []) if run["seed"] != seed]
        rows[arm] = sorted([*others, {"seed": seed, **numbers}], key=lambda run: run["seed"])
    write(
        "deeplab",
        {
            "dense": DENSE,
            "tuning": TUNING,
            "sizes": {**SIZED, "batch": {f"{h} x {w}": batch for (h, w), batch in SIZES.items()}},
            "rates": HOLES,
            "crf_scenes": CRF_SCENES,
            "crf_settings": SETTINGS,
            "questions": {each: stored[each] for each in QUESTIONS if each in stored},
        },
    )


if __name__ == "__main__":
    main()
