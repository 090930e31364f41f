"""What each idea buys: a network with and without it, everything else equal, three seeds.

    python -m benchmarks.ablations                       all of them
    python -m benchmarks.ablations --only gates --dry    one of them, printed only

Data, loss and schedule are those of benchmarks/architectures.py, with half of its steps. An arm
without an idea keeps all layers of the arm with it, unless the idea is a layer of its own.
results/ablations.json keeps what it knows of ablations that were not run again.
"""

import statistics
from collections.abc import Callable
from functools import cache, partial
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmarks import runs
from benchmarks.architectures import (
    SCORED,
    TEST_SEED,
    TRAINING,
    scores,
    summary,
    train,
)
from benchmarks.report import write
from segcourse.blocks import unpooling as unpooling_module
from segcourse.blocks.resnet import ResNet
from segcourse.blocks.upsample import resize
from segcourse.classroom import AUX_WEIGHTS, NETWORKS
from segcourse.data.sample import Cached, Sample, stack
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.models import gfrnet, pspnet
from segcourse.models.unet import SKIPS
from segcourse.ops.crf import dense_crf
from segcourse.ops.labels import IGNORE
from segcourse.training import predict

STEPS = TRAINING["steps"] // 2
GRASS, SIGN = CLASSES.index("grass"), 10  # the sign's side, in pixels

Scores = dict[str, dict]


@cache
def scenes() -> tuple[Cached, Sample]:
    """Training scenes, and the test scenes as one batch."""
    return Cached(Toytown(TRAINING["scenes"])), stack(list(Toytown(SCORED, seed=TEST_SEED)))


def learnt(name: str, seed: int, steps: int, **changes: object) -> nn.Module:
    """A network of the bench, trained, perhaps with other arguments."""
    return train(
        partial(NETWORKS[name], **changes),
        scenes()[0],
        seed=seed,
        steps=steps,
        aux_weight=AUX_WEIGHTS.get(name, 1.0),
    )


def judged(name: str, seed: int, steps: int, **changes: object) -> dict:
    """The scores of a network of the bench on the test scenes."""
    test = scenes()[1]
    model = learnt(name, seed, steps, **changes)
    return scores(predict(model, test.image, batch_size=10), test.semantic)


# ------------------------------------------------------------------- one function an ablation


def unpooling(seed: int, steps: int) -> Scores:
    """SegNet: values return to where the maxima were, or are enlarged bilinearly."""

    def bilinear(x: Tensor, maxima: unpooling_module.Maxima) -> Tensor:
        return resize(x, maxima.size)

    found = {"indices": judged("segnet", seed, steps)}
    with mock.patch.object(unpooling_module, "unpool", bilinear):
        found["bilinear"] = judged("segnet", seed, steps)
    return found


def dilation(seed: int, steps: int) -> Scores:
    """DeepLab v1 without side branches, which see stride 1: its holes, narrower ones, and none."""

    def closed(num_classes: int) -> nn.Module:
        model = NETWORKS["deeplab_v1"](num_classes, multi_scale=False)
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d) and layer.dilation != (1, 1):
                layer.dilation, layer.padding = (1, 1), tuple(k // 2 for k in layer.kernel_size)
        return model

    with mock.patch.dict(NETWORKS, closed=closed):
        return {
            "holes": judged("deeplab_v1", seed, steps, multi_scale=False),
            "narrower in fc6": judged("deeplab_v1", seed, steps, multi_scale=False, dilation=2),
            "no holes": judged("closed", seed, steps),
        }


@torch.no_grad()
def crf(seed: int, steps: int) -> Scores:
    """DeepLab v1's probabilities, of stride 8 alone, before and after the dense CRF."""
    test = scenes()[1]
    with torch.enable_grad():
        model = learnt("deeplab_v1", seed, steps, multi_scale=False).eval()
    logits = torch.cat([model(images) for images in test.image.split(10)])
    return {
        "none": scores(logits.argmax(dim=1), test.semantic),
        "dense CRF": scores(dense_crf(logits, test.image).argmax(dim=1), test.semantic),
    }


class Signed(Dataset):
    """Scenes in which the colour of a sign in the sky decides what all of the grass is called."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        image, semantic, instance = (part.clone() for part in self.dataset[index])
        draw = torch.Generator().manual_seed(index)
        blue = int(torch.randint(2, (), generator=draw))
        column = int(torch.randint(image.shape[-1] - SIGN, (), generator=draw))
        place = (..., slice(SIGN), slice(column, column + SIGN))
        image[place] = torch.tensor([1.0 - blue, 0.0, float(blue)])[:, None, None]
        semantic[place] = IGNORE
        semantic[(semantic == GRASS) & bool(blue)] = len(CLASSES)
        return Sample(image, semantic, instance)


def pyramid(seed: int, steps: int) -> Scores:
    """PSPNet and the same layers without pooling, where only a far sign tells two classes apart."""
    classes = (*CLASSES, "meadow")
    training = Cached(Signed(scenes()[0]))
    test = stack(list(Signed(Toytown(SCORED, seed=TEST_SEED))))

    def judge() -> dict:
        model = train(
            NETWORKS["pspnet"],
            training,
            seed=seed,
            steps=steps,
            aux_weight=AUX_WEIGHTS["pspnet"],
            num_classes=len(classes),
        )
        found = scores(predict(model, test.image, batch_size=10), test.semantic, classes)
        both = (found["iou"]["grass"], found["iou"]["meadow"])
        return {**found, "context_iou": round(statistics.mean(both), 4)}

    found = {"pyramid": judge()}
    with mock.patch.object(pspnet.F, "adaptive_avg_pool2d", lambda x, grid: x):
        found["same layers, nothing pooled"] = judge()
    return found


def gates(seed: int, steps: int) -> Scores:
    """G-FRNet: skips multiplied by what the stage below sees, or passed on as they are."""

    def passed(self, x: Tensor, below: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.feature(x)
        coarse = resize(coarse, feature.shape[-2:], align_corners=True)
        return feature, self.predict(torch.cat([self.norm(feature), coarse], dim=1))

    found = {"gated": judged("gfrnet", seed, steps)}
    with mock.patch.object(gfrnet.GatedRefinement, "forward", passed):
        found["not gated"] = judged("gfrnet", seed, steps)
    return found


def output_stride(seed: int, steps: int) -> Scores:
    """DeepLab v3 on four stages: how far apart the features are that it scores."""
    four = partial(ResNet, 18, width=20)
    return {
        str(stride): judged("deeplab_v3", seed, steps, backbone=four, output_stride=stride)
        for stride in (32, 16, 8)
    }


def skips(seed: int, steps: int) -> Scores:
    """U-Net: features concatenated, added, or left out."""
    return {skip: judged("unet", seed, steps, skip=skip) for skip in SKIPS}


ABLATIONS: dict[str, Callable[[int, int], Scores]] = {
    each.__name__: each for each in (unpooling, dilation, crf, pyramid, gates, output_stride, skips)
}


def one(name: str, seed: int, steps: int) -> Scores:
    """An ablation by its name, for a process of its own."""
    return ABLATIONS[name](seed, steps)


def gathered(found: list[Scores]) -> dict:
    """Every arm: means and spread over the seeds, and all of its runs."""
    every = {arm: [each[arm] for each in found] for arm in found[0]}
    return {arm: {**summary(each), "runs": each} for arm, each in every.items()}


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen ablations; returns the exit status."""
    options = runs.parser(__doc__.splitlines()[0], ABLATIONS, STEPS).parse_args(arguments)
    settings = {**TRAINING, "steps": options.steps}
    rows = runs.stored("ablations", "ablations", settings, options)
    for name, found in runs.side_by_side(one, options, options.steps).items():
        rows[name] = {"question": ABLATIONS[name].__doc__, "arms": gathered(found)}
        for arm, numbers in rows[name]["arms"].items():
            shown = {key: value for key, value in numbers.items() if key != "runs"}
            print(f"{name:14} {arm:28} {shown}", flush=True)
    if not options.dry:
        write("ablations", {**settings, "ablations": runs.in_order(ABLATIONS, rows)})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
