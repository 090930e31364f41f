"""Mask R-CNN on the nuclei of the Data Science Bowl 2018, for some minutes on a CPU.

    python -m benchmarks.dsb2018 --minutes 6

The data is found through the environment variable SEGCOURSE_DATA. Pictures are cut into tiles of
128 x 128 pixels, twice as large for the network: nuclei are small, and COCO's rules count at most
100 detections of an image, where a picture holds up to 369. A nucleus on a cut counts on both
sides. Folds are those of ``subset.csv`` where it lies beside the pictures; else the names in order,
a sixth each for choosing and testing. Writes results/dsb2018.json, and no picture.
"""

import argparse
import csv
import sys
from functools import partial

from benchmarks import runs
from benchmarks.detectors import (
    box_scores,
    detector_loss,
    look,
    mask_scores,
    start,
    train,
)
from benchmarks.report import write
from segcourse.classroom import MASK_RCNN_OPTIONS
from segcourse.data.dsb2018 import CLASSES, DSB2018, THINGS
from segcourse.data.sample import Cached, Sample
from segcourse.data.transforms import Transformed, pad_to_multiple, random_flip, resize
from segcourse.models.mask_rcnn import MaskRCNN

TILE, SIZE = 128, (256, 256)
TRAINING = dict(batch=2, learning_rate=2e-3)
FOLDS = ("train", "val", "test")
MISSING = 2  # exit status

loss = partial(detector_loss, things=THINGS)


def folds() -> dict[str, list[str]]:
    """The names of the pictures of each fold."""
    everything = DSB2018()
    listing = everything.root.parent / "subset.csv"
    if listing.exists():
        with listing.open() as file:
            fold = {row["ImageId"]: row["fold"] for row in csv.DictReader(file)}
        return {name: [each for each in everything.names if fold[each] == name] for name in FOLDS}
    names = everything.names
    parts = {"val": names[::6], "test": names[3::6]}
    chosen = {*parts["val"], *parts["test"]}
    return {"train": [each for each in names if each not in chosen], **parts}


def tiles(names: list[str]) -> Cached:
    """Pictures in tiles, enlarged; void where a picture ends."""
    cut: list[Sample] = []
    for sample in Transformed(DSB2018(names=names), pad_to_multiple(TILE)):
        rows, columns = (side // TILE for side in sample.semantic.shape)
        for row in range(rows):
            for column in range(columns):
                window = (
                    ...,
                    slice(row * TILE, (row + 1) * TILE),
                    slice(column * TILE, (column + 1) * TILE),
                )
                cut.append(resize(SIZE)(Sample(*(part[window] for part in sample))))
    return Cached(cut)


def build() -> MaskRCNN:
    """The classroom's network; there may be many nuclei in a tile."""
    rpn = partial(MASK_RCNN_OPTIONS["rpn"], pre_nms_top_n=300, post_nms_top_n=150)
    return MaskRCNN(len(THINGS), **{**MASK_RCNN_OPTIONS, "rpn": rpn})


def main(arguments: list[str] | None = None) -> int:
    """Train and score; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=6.0, help="of one processor")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.minutes <= 0:
        parser.error(f"--minutes {options.minutes} is no time to train: give more than 0.")
    try:
        names = folds()
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return MISSING
    start(options.seed)
    data = tiles(names["train"])
    steps = runs.steps_in(options.minutes, build(), loss, data, TRAINING["batch"])
    start(options.seed)
    model = build()
    seconds = train(
        model, loss, Transformed(data, random_flip()), seed=options.seed, steps=steps, **TRAINING
    )
    found = {}
    for fold in ("val", "test"):
        pairs = look(model.eval(), tiles(names[fold]), THINGS)
        found[fold] = {**mask_scores(pairs, CLASSES[1:]), **box_scores(pairs, CLASSES[1:])}
        found[fold]["nuclei"] = sum(len(target.labels) for _, target in pairs)
        print(fold, found[fold], flush=True)
    write(
        "dsb2018",
        {
            "pictures": {fold: len(each) for fold, each in names.items()},
            "training_tiles": len(data),
            "seed": options.seed,
            "steps": steps,
            **TRAINING,
            "seconds": round(seconds, 1),
            "parameters": sum(p.numel() for p in model.parameters()),
            **found,
        },
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
