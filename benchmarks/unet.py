"""What U-Net's ideas buy, three seeds each: python -m benchmarks.unet.

- skips: concatenated, added, or left out, on the same 400 scenes;
- few pictures: 5, 20 and 80 scenes, as they are or bent elastically, anew at every look;
- the crop of an unpadded network's skips: from the middle, or from the corner by mistake.

Writes results/unet.json, which chapter 08 reads. About ten minutes on one thread.
"""

import time
from collections.abc import Callable
from functools import cache, partial
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmarks.recipe import Loss, learn, semantic_scores
from benchmarks.report import write
from segcourse.classroom import UNET_OPTIONS, course_loss
from segcourse.data.sample import Cached, batches
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.data.transforms import Transform, Transformed, compose, elastic
from segcourse.models import unet
from segcourse.models.unet import UNet
from segcourse.ops.borders import reflect_pad
from segcourse.training import evaluate, poly, warmup

SEEDS = (0, 1, 2)
TRAINING = dict(steps=200, batch=4, learning_rate=1e-2)
SCENES, VALIDATION = 400, 64
FEW = (5, 20, 80)
BEND = 3.0  # pixels; the paper's 10 belong to pictures of 512 x 512
AUGMENTATIONS: dict[str, Transform] = {
    "as they are": compose(),
    "bent": elastic(BEND),
}
UNPADDED = {**UNET_OPTIONS, "depth": 2, "padding": 0}


class Surrounded(nn.Module):
    """An unpadded U-Net that gets its image mirrored: (N, 3, H, W) -> (N, K, H, W)."""

    def __init__(self, net: UNet):
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]  # 96 x 128 needs 96 x 128 logits: both are multiples of 4
        margin = self.net.margin
        return self.net(reflect_pad(image, margin, height + 2 * margin, width + 2 * margin))


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


def run(build: Callable[[], nn.Module], dataset: Dataset, loss: Loss, seed: int) -> dict:
    """Train one network and score it on the validation scenes."""
    started = time.process_time()
    model = learn(build, dataset, loss, seed=seed, schedule=warmup(poly(0.9)), **TRAINING)
    seconds = time.process_time() - started
    matrix = evaluate(model, batches(validation(), batch_size=16, shuffle=False), num_classes=8)
    return {
        "seed": seed,
        **semantic_scores(matrix, CLASSES),
        "parameters": sum(p.numel() for p in model.parameters()),
        "cpu_seconds": round(seconds, 1),
    }


def say(what: str, runs: list[dict]) -> list[dict]:
    """Print the scores of an arm, and pass them on."""
    print(f"{what:28} " + " ".join(f"{each['miou']:.3f}" for each in runs), flush=True)
    return runs


def main() -> None:
    torch.set_num_threads(1)
    scenes = Cached(Toytown(SCENES))
    loss = course_loss(scenes)
    skips, few, crops = {}, {}, {}
    for skip in unet.SKIPS:
        build = partial(UNet, len(CLASSES), skip=skip, **UNET_OPTIONS)
        skips[skip] = say(skip, [run(build, scenes, loss, seed) for seed in SEEDS])
    for count in FEW:
        few[str(count)] = {}
        for name, augmentation in AUGMENTATIONS.items():
            runs = []
            for seed in SEEDS:  # other scenes for every seed
                first = seed * max(FEW)
                chosen = Transformed(scenes.samples[first : first + count], augmentation)
                runs.append(run(partial(UNet, len(CLASSES), **UNET_OPTIONS), chosen, loss, seed))
            few[str(count)][name] = say(f"{count} scenes, {name}", runs)
    for name, crop in (("middle", unet.center_crop), ("corner", corner_crop)):
        with mock.patch.object(unet, "center_crop", crop):
            runs = [run(unpadded, scenes, loss, seed) for seed in SEEDS]
        crops[name] = say(f"crop from the {name}", runs)
    write(
        "unet",
        {
            **TRAINING,
            "training_scenes": SCENES,
            "validation_scenes": VALIDATION,
            "seeds": SEEDS,
            "bend": BEND,
            "network": UNET_OPTIONS,
            "unpadded_network": UNPADDED,
            "skips": skips,
            "few": few,
            "crops": crops,
        },
    )


if __name__ == "__main__":
    main()
