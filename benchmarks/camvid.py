"""Train a network of the course on CamVid, for some minutes on a CPU, and score it.

The network has its classroom's size and loss, as in benchmarks/architectures.py.

    python -m benchmarks.camvid --model unet --minutes 8 --height 120

The data is found through the environment variable SEGCOURSE_DATA. Writes
results/camvid_<model>.json, and a picture of predictions to _build/camvid_<model>.png, which
nobody publishes: the pictures of this data are for research and personal use.
"""

import argparse
import sys
import time
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from benchmarks import recipe, runs
from benchmarks.report import write
from segcourse.classroom import AUX_WEIGHTS, NETWORKS, course_loss
from segcourse.data.camvid import CLASSES, PALETTE, SOURCE, CamVid
from segcourse.data.sample import Cached, Sample, batches
from segcourse.data.transforms import Transformed, resize
from segcourse.metrics.semantic import pixel_accuracy
from segcourse.ops.labels import colorize
from segcourse.training import evaluate, poly, predict, seed_everything, warmup

BATCH, LEARNING_RATE = 4, 5e-3
FIGURES = Path(__file__).parents[1] / "_build"
MISSING = 2  # exit status


def split(name: str, size: tuple[int, int]) -> Cached:
    """All frames of a split, reduced, in memory."""
    return Cached(Transformed(CamVid(split=name), resize(size)))


def flipped(batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Image and truth of a batch, each sample mirrored with probability one half."""
    image, target, *_ = batch
    chosen = torch.rand(len(image)) < 0.5
    image = torch.where(chosen[:, None, None, None], image.flip(-1), image)
    return image, torch.where(chosen[:, None, None], target.flip(-1), target)


def draw(samples: list[Sample], predictions: Tensor, path: Path) -> None:
    """Save rows of picture | prediction | truth; void is black in both."""
    matplotlib.use("agg")
    figure, axes = plt.subplots(len(samples), 3, figsize=(10, 2.7 * len(samples)), squeeze=False)
    for row, sample, preds in zip(axes, samples, predictions, strict=True):
        target = colorize(sample.semantic, PALETTE)
        shown = {"picture": sample.image.permute(1, 2, 0).clamp(0, 1), "truth": target}
        shown["prediction"] = colorize(preds, PALETTE)
        for axis, name in zip(row, ("picture", "prediction", "truth"), strict=True):
            axis.imshow(shown[name].numpy(), interpolation="nearest")
            axis.set_title(name)
            axis.axis("off")
    patches = [
        plt.Rectangle((0, 0), 1, 1, color=[part / 255 for part in color]) for color in PALETTE
    ]
    figure.legend(patches, CLASSES, loc="outside lower center", ncols=6, frameon=False)
    figure.set_layout_engine("constrained")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.camvid", description=__doc__)
    parser.add_argument("--model", choices=NETWORKS, default="unet")
    parser.add_argument("--minutes", type=float, default=8, help="of training")
    parser.add_argument("--height", type=int, default=120, help="of the reduced frames, times 4/3")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.minutes <= 0:
        parser.error(f"--minutes {options.minutes:g} is no time: give a number above 0")
    if options.height < 24 or options.height % 24:
        parser.error(f"--height {options.height}: give a multiple of 24, such as 120, 168 or 240")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Train, score, write; returns the exit status."""
    options = parse(arguments)
    size = (options.height, options.height * 4 // 3)
    try:
        train, test = split("train", size), split("test", size)
    except FileNotFoundError as error:
        print(
            f"CamVid is needed, and not there.\n{error}\n\n"
            f"What: 701 frames with masks, in the layout of SegNet. Where from: {SOURCE}\n"
            "Then: SEGCOURSE_DATA=folder/that/holds/CamVid python -m benchmarks.camvid",
            file=sys.stderr,
        )
        return MISSING
    torch.set_num_threads(1)
    seed_everything(options.seed)
    plain_loss = course_loss(train, len(CLASSES), aux_weight=AUX_WEIGHTS.get(options.model, 1.0))

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return plain_loss(model, flipped(batch))

    build = NETWORKS[options.model]
    steps = runs.steps_in(options.minutes, build(len(CLASSES)), loss, train, BATCH)
    seed_everything(options.seed)
    model = build(len(CLASSES))
    print(f"{options.model} at {size[0]} x {size[1]}: {steps} steps of {BATCH} in the time given")
    start = time.perf_counter()
    history = recipe.train(
        model,
        train,
        loss,
        seed=options.seed,
        steps=steps,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
        schedule=warmup(poly(0.9)),
        progress=True,
    )
    seconds = time.perf_counter() - start
    matrix = evaluate(model, batches(test, batch_size=8, shuffle=False), num_classes=len(CLASSES))
    scores = recipe.semantic_scores(matrix, CLASSES)
    for name, value in scores["iou"].items():
        print(f"{name:12} {value:.3f}")
    print(f"mIoU {scores['miou']:.3f} on {len(test)} test frames after {seconds:.0f} s")
    shown = [test[index] for index in (0, len(test) // 2, len(test) - 1)]
    figure = FIGURES / f"camvid_{options.model}.png"
    draw(shown, predict(model, torch.stack([sample.image for sample in shown])), figure)
    print(f"drew _build/{figure.name}")
    write(
        f"camvid_{options.model}",
        {
            "model": options.model,
            "parameters": sum(p.numel() for p in model.parameters()),
            "height": size[0],
            "width": size[1],
            "training_frames": len(train),
            "test_frames": len(test),
            "batch": BATCH,
            "learning_rate": LEARNING_RATE,
            "steps": steps,
            "seconds": round(seconds, 1),
            "seed": options.seed,
            "last_loss": round(sum(history[-50:]) / len(history[-50:]), 4),
            "pixel_accuracy": round(pixel_accuracy(matrix), 4),
            **scores,
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
