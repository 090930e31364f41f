"""What PSPNet's pyramid and its auxiliary loss contribute, eight seeds each or three.

    python -m benchmarks.pspnet                                   everything, an hour on one thread
    python -m benchmarks.pspnet --only "sign, pyramid" --dry      one arm, printed only

- sign: one sign decides the class of all grass;
- signs: each half of the image has a sign of its own; twice the steps, three seeds;
- plain: ordinary scenes;
- longer: one sign, four times the steps, three seeds.

All arms have the layers and the initial weights of the classroom's PSPNet, only narrower. What
differs is what ``adaptive_avg_pool2d`` does in its four branches: "1 x 1" and "2 x 2" pool to this
grid in each of them, and "not pooled" leaves the features as they are. "no auxiliary loss" is the
pyramid with a weight of 0. Each run has a process of its own. results/pspnet.json, which chapter 10
reads, keeps what it knows of arms that were not run again; it may hold fewer arms and seeds.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import runs
from benchmarks.recipe import learn, semantic_scores
from benchmarks.report import write
from segcourse.classroom import AUX_WEIGHTS, course_loss
from segcourse.data.sample import Cached, stack
from segcourse.data.signs import CLASSES, Signed
from segcourse.data.toytown import Toytown
from segcourse.metrics.semantic import confusion_matrix
from segcourse.models import pspnet
from segcourse.models.pspnet import PSPNet
from segcourse.training import poly, predict, warmup

SEEDS, LONG_SEEDS = tuple(range(8)), (0, 1, 2)
TRAINING = dict(steps=250, batch=4, learning_rate=2e-2, scenes=800)
SCORED, TEST_SEED = 100, 3  # scenes that nothing is trained on or chosen with
NETWORK = dict(layers=18, width=16, stages=3, align_corners=False, aux_loss=True)
POOL = F.adaptive_avg_pool2d
Pool = Callable[[Tensor, int], Tensor]
POOLS: dict[str, Pool] = {
    "pyramid": POOL,
    "not pooled": lambda x, grid: x,
    "1 x 1": lambda x, grid: POOL(x, 1),
    "2 x 2": lambda x, grid: POOL(x, 2),
    "no auxiliary loss": POOL,
}
# Of every arm: the signs in a scene, and a factor on the steps.
ARMS: dict[str, tuple[int, int]] = {
    **{f"sign, {name}": (1, 1) for name in ("pyramid", "not pooled", "1 x 1", "2 x 2")},
    **{f"signs, {name}": (2, 2) for name in ("pyramid", "not pooled", "1 x 1", "2 x 2")},
    **{f"plain, {name}": (0, 1) for name in ("pyramid", "not pooled", "1 x 1")},
    "plain, no auxiliary loss": (0, 1),
    "longer, not pooled": (1, 4),
}


def run(arm: str, seed: int) -> dict:
    """Train one network and score it on the test scenes; without signs, nothing is a meadow."""
    torch.set_num_threads(1)
    signs, factor = ARMS[arm]
    name = arm.split(", ")[1]
    towns = Toytown(TRAINING["scenes"]), Toytown(SCORED, seed=TEST_SEED)
    training, test = (Signed(town, signs=signs) if signs else town for town in towns)
    training, test = Cached(training), stack(list(test))
    classes = CLASSES if signs else CLASSES[:-1]
    aux_weight = 0.0 if name == "no auxiliary loss" else AUX_WEIGHTS["pspnet"]
    started = time.process_time()
    with mock.patch.object(pspnet.F, "adaptive_avg_pool2d", POOLS[name]):
        model = learn(
            partial(PSPNet, len(classes), **NETWORK),
            training,
            course_loss(training, len(classes), aux_weight=aux_weight),
            seed=seed,
            steps=factor * TRAINING["steps"],
            batch=TRAINING["batch"],
            learning_rate=TRAINING["learning_rate"],
            schedule=warmup(poly(0.9), share=0.5),
        )
        seconds = time.process_time() - started
        preds = predict(model, test.image, batch_size=10)
    found = semantic_scores(confusion_matrix(preds, test.semantic, len(classes)), classes)
    if signs:
        found["context_iou"] = round((found["iou"]["grass"] + found["iou"]["meadow"]) / 2, 4)
    return {"seed": seed, **found, "cpu_seconds": round(seconds, 1)}


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen arms, one after another; returns the exit status."""
    parser = runs.parser(__doc__.splitlines()[0], ARMS, TRAINING["steps"])
    parser.set_defaults(seeds=list(SEEDS))
    options = parser.parse_args(arguments)
    settings = {**TRAINING, "scored": SCORED, "network": NETWORK}
    for arm in options.only:
        seeds = [seed for seed in options.seeds if ARMS[arm][1] == 1 or seed in LONG_SEEDS]
        here = argparse.Namespace(**{**vars(options), "only": [arm], "seeds": seeds})
        rows = runs.stored("pspnet", "arms", settings, here)
        rows[arm] = runs.side_by_side(run, here)[arm]
        print(arm, [each.get("context_iou", each["miou"]) for each in rows[arm]], flush=True)
        if not options.dry:
            write("pspnet", {**settings, "arms": runs.in_order(ARMS, rows)})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
