"""What a fair comparison of the semantic networks needs beside results/architectures.json.

    python -m benchmarks.comparison --seeds 0                  all networks on Toytown
    python -m benchmarks.comparison --seeds 0 --data camvid    the same recipe on CamVid's frames
    python -m benchmarks.comparison --only unet --seeds 0 --dry

The networks are trained as in benchmarks/architectures.py, with the same scenes, steps and seeds.
This bench keeps what that one does not:

- the scores at some steps of the training (``curve``);
- of the first seed, for every test scene and class, the pixels that are right (``hits``) and those
  that are predicted (``predicted``), so that scenes can be drawn anew: IoU = hits / (predicted +
  true - hits);
- of the first seed, the predicted label maps of some scenes (``pictures``).

On CamVid, only the scores are kept, and the counts: its pictures may not be published. Every run is
stored in _build/comparison as soon as it ends, so that a bench that was stopped goes on. About 40
minutes on one thread, a seed on both data sets. The stored results have three seeds of Toytown and
one of CamVid.
"""

import argparse
import json
import sys
from functools import partial
from itertools import count
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import runs
from benchmarks.architectures import TEST_SEED, TRAINING
from benchmarks.camvid import MISSING, split
from benchmarks.recipe import learn, semantic_scores
from benchmarks.report import write
from segcourse.classroom import AUX_WEIGHTS, NETWORKS, course_loss
from segcourse.data import camvid, toytown
from segcourse.data.results import pack_array
from segcourse.data.sample import Cached, Sample, stack
from segcourse.data.toytown import Toytown
from segcourse.metrics.semantic import confusion_matrix
from segcourse.ops.labels import IGNORE
from segcourse.training import poly, predict, warmup

MARKS = (50, 100, 200, 300, 400, 500, 600, 700)  # steps at which a training is scored
SCORED, PICTURED = 100, 4  # scenes
SIZE = (96, 128)  # of CamVid's frames: that of Toytown's scenes
RUNS = Path(__file__).parents[1] / "_build" / "comparison"
PUBLISHED = Path(__file__).parents[1] / "book" / "published.json"
CLASSES = {"toytown": toytown.CLASSES, "camvid": camvid.CLASSES}
RESULT = {"toytown": "comparison", "camvid": "comparison_camvid"}


def scenes_of(data: str) -> tuple[Cached, Sample]:
    """The training samples and, stacked, the test samples of a data set."""
    if data == "camvid":
        return split("train", SIZE), stack(list(split("test", SIZE)))
    return Cached(Toytown(TRAINING["scenes"])), stack(list(Toytown(SCORED, seed=TEST_SEED)))


def run(name: str, seed: int, data: str, steps: int) -> dict:
    """Train one network with one seed; the scores, counts and pictures of it that are kept."""
    torch.set_num_threads(1)
    scenes, test = scenes_of(data)
    classes, curve = CLASSES[data], {}
    loss = course_loss(scenes, len(classes), aux_weight=AUX_WEIGHTS.get(name, 1.0))
    toy, done = data == "toytown", count()

    def maps(model: nn.Module) -> Tensor:
        return predict(model, test.image, batch_size=10)

    def scores(preds: Tensor) -> dict:
        return semantic_scores(confusion_matrix(preds, test.semantic, len(classes)), classes)

    def watched(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """The loss; before some steps, the network is scored as it is."""
        step = next(done)
        if toy and step in MARKS:
            curve[str(step)] = scores(maps(model))
        return loss(model, batch)

    model = learn(
        partial(NETWORKS[name], len(classes)),
        scenes,
        watched,
        seed=seed,
        steps=steps,
        batch=TRAINING["batch"],
        learning_rate=TRAINING["learning_rate"],
        schedule=warmup(poly(0.9), share=0.5),
    )
    preds = maps(model)
    found = {"seed": seed, **scores(preds)}
    if toy:
        found["curve"] = {**curve, str(steps): scores(preds)}
    if seed == 0:
        hits, predicted, _ = counts(preds, test.semantic, len(classes))
        found |= {"hits": pack_array(hits), "predicted": pack_array(predicted)}
    if toy and seed == 0:
        found["pictures"] = pack_array(preds[pictured(test.semantic)].numpy())
    return found


def counts(preds: Tensor, target: Tensor, num_classes: int) -> tuple:
    """Right, predicted and true pixels of every image: three arrays (N, K); void is left out."""
    valid = (target != IGNORE)[..., None]
    ours, true = (F.one_hot(m.masked_fill(m == IGNORE, 0), num_classes) * valid
                  for m in (preds, target))  # fmt: skip
    return tuple(each.sum(dim=(1, 2)).numpy() for each in (ours * true, ours, true))


def pictured(target: Tensor) -> list[int]:
    """The first scenes with a lamp, a person and a car of at least 60 pixels each."""
    rare = [toytown.CLASSES.index(name) for name in ("lamp", "person", "car")]
    large = torch.stack([(target == k).sum(dim=(1, 2)) >= 60 for k in rare]).all(dim=0)
    return large.nonzero().flatten().tolist()[:PICTURED]


def kept(name: str, seed: int, data: str, steps: int) -> dict:
    """A run from _build/comparison, or a new one that is stored there."""
    path = RUNS / f"{data}_{name}_{seed}_{steps}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        found = run(name, seed, data, steps)
        path.write_text(json.dumps(found))
        print(f"{data} {name} {seed} {steps}: {found['miou']}", flush=True)
    return json.loads(path.read_text())


def store(data: str, steps: int, rows: dict) -> None:
    """Write the runs of all networks, and what is the same for all."""
    _, test = scenes_of(data)
    true = counts(test.semantic, test.semantic, len(CLASSES[data]))[2]
    shown = {"size": SIZE}
    if data == "toytown":
        shown = {
            "pictured": pictured(test.semantic),
            "published": json.loads(PUBLISHED.read_text(encoding="utf-8")),
        }
    write(
        RESULT[data],
        {
            "steps": steps,
            "batch": TRAINING["batch"],
            "learning_rate": TRAINING["learning_rate"],
            "classes": CLASSES[data],
            **shown,
            "true": pack_array(true),
            "networks": rows,
        },
    )


def main(arguments: list[str] | None = None) -> int:
    """Run what is not stored yet, seed by seed; returns the exit status."""
    parser = runs.parser(__doc__.splitlines()[0], NETWORKS, TRAINING["steps"])
    parser.add_argument("--data", choices=tuple(RESULT), default="toytown")
    options = parser.parse_args(arguments)
    if options.data == "camvid":
        try:
            split("test", SIZE)
        except FileNotFoundError as error:
            print(f"CamVid is needed, and not there.\n{error}", file=sys.stderr)
            return MISSING
    rows: dict[str, dict] = {name: {"runs": []} for name in options.only}
    for seed in options.seeds:
        one = argparse.Namespace(**{**vars(options), "seeds": [seed]})
        for name, found in runs.side_by_side(kept, one, options.data, options.steps).items():
            rows[name]["runs"] += found
    if not options.dry:
        store(options.data, options.steps, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
