"""Every semantic network of the course, in classroom size, on the same scenes: who is how good?

    python -m benchmarks.architectures                          all of them, three seeds
    python -m benchmarks.architectures --only pspnet --seeds 0  one network, one seed
    python -m benchmarks.architectures --only pspnet --dry      print, and write nothing

Same data (Toytown), same batches in the same order, same loss, as many steps with the same
schedule. What differs is the network, and the time that its steps take: it is reported, in seconds
of one processor. Networks with supervised stages add the losses of all of them. Each run has a
process of its own, so that its memory can be measured; results/architectures.json keeps what it
knows of networks that were not run again.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import RESULTS, write
from segcourse.data.sample import Cached, batches, stack
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.losses.overlap import dice
from segcourse.losses.pixelwise import class_counts, cross_entropy, log_frequency_weights
from segcourse.metrics.boundary import boundary_f1, boundary_iou, class_scores, mean_by_class
from segcourse.metrics.semantic import confusion_matrix, iou, mean_iou
from segcourse.models.fcn import FCN
from segcourse.models.unet import UNet
from segcourse.training import fit, poly, predict, seed_everything, warmup

TRAINING = dict(steps=800, batch=4, learning_rate=1e-2, scenes=1600)
TEST, TEST_SEED = 100, 2  # scenes that no chapter trains on or chooses with
SEEDS = (0, 1, 2)
EDGE = 2  # pixels: tolerance of the boundary F1, width of the band of the boundary IoU
THIN = "lamp"

SMALL_FCN = dict(width=12, hidden=96, kernel_size=3, padding=1, batch_norm=True)

# The classroom's sizes, in the order of publication.
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "fcn_32s": partial(FCN, stride=32, **SMALL_FCN),
    "fcn_16s": partial(FCN, stride=16, **SMALL_FCN),
    "fcn_8s": partial(FCN, stride=8, **SMALL_FCN),
    "unet": partial(UNet, width=12, depth=3, padding=1, batch_norm=True, dropout=0.0),
}
AUXILIARY: dict[str, float] = {}  # weight of every stage but the last; 1 where nothing is said


def every_stage(model: nn.Module, image: Tensor, auxiliary: float) -> Iterator[tuple]:
    """(weight, logits) of everything that a network wants supervised."""
    if not hasattr(model, "all_logits"):
        yield 1.0, model(image)
        return
    *stages, last = model.all_logits(image)
    yield from ((auxiliary, logits) for logits in stages)
    yield 1.0, last


def course_loss(scenes: Cached, auxiliary: float = 1.0) -> Callable[..., Tensor]:
    """Cross-entropy with log-frequency weights, plus Dice, of every supervised stage."""
    counts = class_counts(torch.stack([scene.semantic for scene in scenes]), len(CLASSES))
    weight = log_frequency_weights(counts)

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        image, truth, *_ = batch
        return sum(
            share * (cross_entropy(logits, truth, weight=weight) + dice(logits, truth))
            for share, logits in every_stage(model, image, auxiliary)
        )

    return loss


def run(name: str, seed: int, steps: int) -> dict:
    """Train one network with one seed and score it on the test scenes."""
    torch.set_num_threads(1)
    train = Cached(Toytown(TRAINING["scenes"]))
    test = stack(list(Toytown(TEST, seed=TEST_SEED)))
    loss = course_loss(train, AUXILIARY.get(name, 1.0))
    seed_everything(seed)
    model, started = NETWORKS[name](len(CLASSES)), time.process_time()
    fit(
        model,
        loss,
        batches(train, size=TRAINING["batch"], seed=seed),
        steps=steps,
        learning_rate=TRAINING["learning_rate"],
        schedule=warmup(poly(0.9)),
        progress=False,
    )
    trained = time.process_time()
    predicted = predict(model, test.image, size=10)
    done = time.process_time()
    return {
        "seed": seed,
        **scores(predicted, test.semantic),
        "training_seconds": round(trained - started, 1),
        "step_ms": round(1000 * (trained - started) / steps, 1),
        "inference_ms": round(1000 * (done - trained) / len(predicted), 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def scores(predicted: Tensor, truth: Tensor) -> dict:
    """Everything about the quality of label maps: (N, H, W) each."""
    matrix = confusion_matrix(predicted, truth, len(CLASSES))
    per_class = dict(zip(CLASSES, (round(v, 4) for v in iou(matrix).tolist()), strict=True))
    edges = {
        "boundary_f1": partial(class_scores, boundary_f1, tolerance=EDGE),
        "boundary_iou": partial(class_scores, boundary_iou, width=EDGE),
    }
    return {
        "miou": round(mean_iou(matrix), 4),
        "iou": per_class,
        "thin_iou": per_class[THIN],
        **{
            name: round(mean_by_class(score(predicted, truth, len(CLASSES))), 4)
            for name, score in edges.items()
        },
    }


def cost(name: str) -> dict:
    """Size and arithmetic of a network on one scene; multiply-adds count once."""
    model = NETWORKS[name](len(CLASSES)).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, *Toytown(1)[0].semantic.shape))
    return {
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "macs": counter.get_total_flops() // 2,
    }


def summary(runs: list[dict]) -> dict:
    """Means over the seeds, and the spread of the mIoU: largest minus smallest."""
    numbers = [key for key, value in runs[0].items() if isinstance(value, float)]
    means = {key: round(statistics.mean(run[key] for run in runs), 4) for key in numbers}
    scored = [run["miou"] for run in runs]
    return {**means, "miou_spread": round(max(scored) - min(scored), 4)}


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen networks; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--steps", type=int, default=TRAINING["steps"])
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, a core each")
    parser.add_argument("--dry", action="store_true", help="print, and write nothing")
    options = parser.parse_args(arguments)
    path = RESULTS / "architectures.json"
    known = json.loads(path.read_text())["networks"] if path.exists() else {}
    tasks = [(name, seed, options.steps) for name in options.only for seed in options.seeds]
    pool = multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=1)
    with pool:
        results = pool.starmap(run, tasks, chunksize=1)
    for name in options.only:
        runs = [r for (other, *_), r in zip(tasks, results, strict=True) if other == name]
        known[name] = {**cost(name), **summary(runs), "runs": runs}
        shown = {key: value for key, value in known[name].items() if key != "runs"}
        print(f"{name}: {shown}\n  {[run['miou'] for run in runs]} {runs[0]['iou']}", flush=True)
    if not options.dry:
        ordered = {name: known[name] for name in NETWORKS if name in known}
        write("architectures", {**TRAINING, "steps": options.steps, "networks": ordered})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
