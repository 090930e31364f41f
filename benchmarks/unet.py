"""What U-Net's ideas contribute, eight seeds each: python -m benchmarks.unet.

- skips: features concatenated, features added, scores concatenated, scores added, none, on the
  same 400 scenes; three of them for four times as many steps too, with three seeds;
- few images: 5, 20 and 80 scenes, as they are or elastically deformed, anew at every look, with
  black or with mirrored corners (the loss has the class weights of all 400 scenes);
- the crop of an unpadded network's skips: from the middle, or from the corner by mistake.

Writes results/unet.json, which chapter 08 reads. About an hour on one thread.
"""

import time
from collections.abc import Callable
from functools import cache, partial
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmarks.recipe import Loss, learn, semantic_scores
from benchmarks.report import write
from segcourse.blocks.conv import conv_bn_relu
from segcourse.classroom import UNET_OPTIONS, course_loss
from segcourse.data.sample import Cached, batches
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.data.transforms import Transform, Transformed, compose, elastic
from segcourse.models import unet
from segcourse.models.unet import DoubleConv, UNet
from segcourse.ops.borders import reflect_pad
from segcourse.training import evaluate, poly, warmup

SEEDS = tuple(range(8))
TRAINING = dict(steps=200, batch=4, learning_rate=1e-2)
LONG_STEPS, LONG_SEEDS = 800, (0, 1, 2)
SCENES, VALIDATION = 400, 64
FEW = (5, 20, 80)  # scenes
STD = 3.0  # pixels; the paper's 10 belong to images of 512 x 512
AUGMENTATIONS: dict[str, Transform] = {
    "none": compose(),
    "elastic, black": elastic(STD),
    "elastic, mirrored": elastic(STD, mirrored=True),
}
UNPADDED = {**UNET_OPTIONS, "depth": 2, "padding": 0}


class ScoresConcatenated(UNet):
    """U-Net whose skips hand over one score per class, not features; the decoder stays."""

    def __init__(self, num_classes: int, **options):
        super().__init__(num_classes, **options)
        widths = [options["width"] * 2**level for level in range(self.depth)]
        self.scores = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for width in widths)
        layer = partial(conv_bn_relu, padding=self.padding)
        for up, width in zip(self.decoder, reversed(widths), strict=True):
            up.merge = DoubleConv(width + num_classes, width, layer)

    def encode(self, image: Tensor) -> list[Tensor]:
        *skips, x = super().encode(image)
        return [*(score(skip) for score, skip in zip(self.scores, skips, strict=True)), x]


class ScoresAdded(UNet):
    """FCN's way down to stride 1: scores of every scale, upsampled and added, and no decoder."""

    def __init__(self, num_classes: int, **options):
        super().__init__(num_classes, **options)
        del self.decoder, self.head
        widths = [options["width"] * 2**level for level in range(self.depth + 1)]
        self.scores = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for width in widths)

    def forward(self, image: Tensor) -> Tensor:
        scores = [score(x) for score, x in zip(self.scores, self.encode(image), strict=True)]
        logits = scores.pop()
        for finer in reversed(scores):
            logits = F.interpolate(logits, finer.shape[-2:], mode="bilinear") + finer
        return logits


SKIPS: dict[str, Callable[..., nn.Module]] = {
    "features, concatenated": UNet,
    "features, added": partial(UNet, skip="add"),
    "scores, concatenated": ScoresConcatenated,
    "scores, added": ScoresAdded,
    "none": partial(UNet, skip="none"),
}
LONG = ("features, concatenated", "scores, added", "none")


class Surrounded(nn.Module):
    """An unpadded U-Net that gets its image mirrored: (N, 3, H, W) -> (N, K, H, W)."""

    def __init__(self, net: UNet):
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]  # 96 x 128 needs 96 x 128 logits: both are multiples of 4
        margin = self.net.margin
        return self.net(reflect_pad(image, margin, height + 2 * margin, width + 2 * margin))

    def all_logits(self, image: Tensor) -> list[Tensor]:
        """What is supervised in training, the logits alone: -> list of one (N, K, H, W)."""
        return [self(image)]


def unpadded() -> Surrounded:
    """A classroom network without padding."""
    return Surrounded(UNet(len(CLASSES), **UNPADDED))


def corner_crop(x: Tensor, height: int, width: int) -> Tensor:
    """The mistake: the upper left corner instead of the middle."""
    return x[..., :height, :width]


@cache
def validation() -> Cached:
    """The scenes that every network is scored on."""
    return Cached(Toytown(VALIDATION, seed=1))


def run(
    build: Callable[[], nn.Module], dataset: Dataset, loss: Loss, seed: int, **changes: int
) -> dict:
    """Train one network and score it on the validation scenes."""
    started = time.process_time()
    training = {**TRAINING, **changes}
    model = learn(build, dataset, loss, seed=seed, schedule=warmup(poly(0.9)), **training)
    seconds = time.process_time() - started
    matrix = evaluate(
        model, batches(validation(), batch_size=16, shuffle=False), num_classes=len(CLASSES)
    )
    return {
        "seed": seed,
        **semantic_scores(matrix, CLASSES),
        "parameters": sum(p.numel() for p in model.parameters()),
        "cpu_seconds": round(seconds, 1),
    }


def say(what: str, runs: list[dict]) -> list[dict]:
    """Print the scores of an arm, and pass them on."""
    print(f"{what:32} " + " ".join(f"{each['miou']:.3f}" for each in runs), flush=True)
    return runs


def skip_arms(
    scenes: Dataset, loss: Loss, names: tuple[str, ...], steps: int, seeds: tuple[int, ...]
) -> dict:
    """Train a network with each kind of skip connection."""
    return {
        name: say(
            f"{name}, {steps} steps",
            [
                run(
                    partial(SKIPS[name], len(CLASSES), **UNET_OPTIONS),
                    scenes,
                    loss,
                    seed,
                    steps=steps,
                )
                for seed in seeds
            ],
        )
        for name in names
    }


def few_arms(samples: list, loss: Loss) -> dict:
    """Train on few scenes, other ones for every seed, the same ones for every augmentation."""
    found = {}
    for count in FEW:
        found[str(count)] = {}
        for name, augmentation in AUGMENTATIONS.items():
            runs = []
            for seed in SEEDS:
                first = seed * max(FEW)
                chosen = Transformed(samples[first : first + count], augmentation)
                runs.append(run(partial(UNet, len(CLASSES), **UNET_OPTIONS), chosen, loss, seed))
            found[str(count)][name] = say(f"{count} scenes, {name}", runs)
    return found


def crop_arms(scenes: Dataset, loss: Loss) -> dict:
    """Train an unpadded network whose skips are cropped from the middle, or from the corner."""
    found = {}
    for name, crop in (("middle", unet.center_crop), ("corner", corner_crop)):
        with mock.patch.object(unet, "center_crop", crop):
            found[name] = say(
                f"crop from the {name}", [run(unpadded, scenes, loss, seed) for seed in SEEDS]
            )
    return found


def main() -> None:
    torch.set_num_threads(1)
    samples = Cached(Toytown(max(FEW) * len(SEEDS))).samples
    scenes = Cached(samples[:SCENES])
    loss = course_loss(scenes)
    skips = skip_arms(scenes, loss, tuple(SKIPS), TRAINING["steps"], SEEDS)
    few = few_arms(samples, loss)
    crops = crop_arms(scenes, loss)
    longer = skip_arms(scenes, loss, LONG, LONG_STEPS, LONG_SEEDS)
    write(
        "unet",
        {
            **TRAINING,
            "long_steps": LONG_STEPS,
            "training_scenes": SCENES,
            "validation_scenes": VALIDATION,
            "seeds": SEEDS,
            "std": STD,
            "network": UNET_OPTIONS,
            "unpadded_network": UNPADDED,
            "skips": skips,
            "longer": longer,
            "few": few,
            "crops": crops,
        },
    )


if __name__ == "__main__":
    main()
