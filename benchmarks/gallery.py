"""Every network of the book on the same street scenes: the picture of the first page.

    python -m benchmarks.gallery

Each network is trained alone, on the same batches of Toytown, with the same loss and as many steps,
and scored on scenes that it has not seen. Writes book/_static/gallery.png and results/gallery.json.
"""

import argparse
import io
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks import fcn_strides
from benchmarks.recipe import learn
from benchmarks.report import write
from segcourse.classroom import FCN_OPTIONS, UNET_OPTIONS, course_loss
from segcourse.data.sample import Cached, Sample, batches, stack
from segcourse.data.toytown import CLASSES, PALETTE, Toytown
from segcourse.metrics.semantic import iou, mean_iou
from segcourse.models.fcn import FCN
from segcourse.models.unet import UNet
from segcourse.ops.labels import colorize
from segcourse.training import evaluate, poly, predict, warmup

PICTURE = Path(__file__).parents[1] / "book" / "_static" / "gallery.png"
TRAINING = dict(steps=800, batch=4, learning_rate=1e-2, scenes=1600)
TEST = 2  # the seed of Toytown that no chapter trains on or chooses with
ROWS = 3


# The networks at classroom size, as in their chapters.
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{
        f"FCN-{stride}s": partial(FCN, len(CLASSES), stride=stride, **FCN_OPTIONS)
        for stride in fcn_strides.STRIDES
    },
    "U-Net": partial(UNet, len(CLASSES), **UNET_OPTIONS),
}


def main() -> None:
    """Train, score and draw all networks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = TRAINING["steps"]
    parser.add_argument("--steps", type=int, default=steps, help="training steps for each network")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train = Cached(Toytown(TRAINING["scenes"]))
    test = Cached(Toytown(100, seed=TEST))
    loss = course_loss(train)
    shown = telling_scenes(test)
    rows, outputs = {}, {}
    for name, build in NETWORKS.items():
        started = time.process_time()
        model = learn(
            build,
            train,
            loss,
            seed=0,
            steps=options.steps,
            batch=TRAINING["batch"],
            learning_rate=TRAINING["learning_rate"],
            schedule=warmup(poly(0.9)),
            progress=True,
        )
        matrix = evaluate(
            model, batches(test, batch_size=25, shuffle=False), num_classes=len(CLASSES)
        )
        rows[name] = {
            "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "miou": float(mean_iou(matrix)),
            **{f"iou_{c}": float(v) for c, v in zip(CLASSES, iou(matrix), strict=True)},
            "training_seconds": time.process_time() - started,
        }
        outputs[name] = predict(model, shown.image)
        print(f"{name}: mIoU {rows[name]['miou']:.3f} in {rows[name]['training_seconds']:.0f} s")
    draw(shown, outputs)
    print(f"drew book/_static/{PICTURE.name}")
    write("gallery", {**TRAINING, "steps": options.steps, "seed": 0, "networks": rows})


def telling_scenes(dataset: Cached) -> Sample:
    """The first scenes in which every class occurs, as one batch."""
    whole = [sample for sample in dataset if len(sample.semantic.unique()) == len(CLASSES)]
    return stack(whole[:ROWS])


def draw(shown: Sample, outputs: dict[str, Tensor]) -> None:
    """Save rows of: image | what each network predicts | ground truth, under one legend."""
    matplotlib.use("agg")
    columns = {
        "image": [(image.movedim(0, -1) * 255).round().byte() for image in shown.image],
        **{name: list(colorize(output, PALETTE)) for name, output in outputs.items()},
        "ground truth": list(colorize(shown.semantic, PALETTE)),
    }
    height, width = shown.semantic.shape[-2:]
    side, head, foot = 1.9, 0.3, 0.4  # inches: a picture, the titles, the legend
    tall = side * height / width * ROWS + head + foot
    figure, axes = plt.subplots(ROWS, len(columns), figsize=(side * len(columns), tall), dpi=140)
    figure.subplots_adjust(0, foot / tall, 1, 1 - head / tall, wspace=0.03, hspace=0.03)
    for place, (title, pictures) in zip(axes.T, columns.items(), strict=True):
        place[0].set_title(title, fontsize=12, pad=5)
        for axis, picture in zip(place, pictures, strict=True):
            axis.imshow(picture.numpy(), interpolation="nearest")
            axis.axis("off")
    patches = [
        plt.Rectangle((0, 0), 1, 1, color=[part / 255 for part in color]) for color in PALETTE
    ]
    figure.legend(
        patches,
        CLASSES,
        loc="lower center",
        ncols=len(CLASSES),
        frameon=False,
        fontsize=11,
        handlelength=1,
        handleheight=1,
        columnspacing=1.4,
        borderaxespad=0,
    )
    stream = io.BytesIO()
    figure.savefig(stream, format="png", bbox_inches="tight", pad_inches=0.04, facecolor="white")
    plt.close(figure)
    small = Image.open(stream).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
