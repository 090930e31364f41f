"""Every semantic network of the course, in classroom size, on the same scenes: who is how good?

    python -m benchmarks.architectures                          all of them, three seeds
    python -m benchmarks.architectures --only pspnet --seeds 0  one network, one seed
    python -m benchmarks.architectures --only pspnet --dry      print only, on other scenes
    python -m benchmarks.architectures --data camvid            see benchmarks/camvid.py

Same data (Toytown), same batches in the same order, same loss, as many steps with the same
schedule. What differs is the network, and the time that its steps take: it is reported, in seconds
of one processor. Networks with supervised stages add the losses of all of them. Each run has a
process of its own, so that its memory can be measured; results/architectures.json keeps what it
knows of networks that were not run again.
"""

import resource
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import camvid, runs
from benchmarks.recipe import learn, semantic_scores
from benchmarks.report import write
from segcourse.classroom import AUX_WEIGHTS, NETWORKS, course_loss
from segcourse.data.sample import Cached, stack
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.metrics.boundary import boundary_f1, boundary_iou, class_scores, mean_by_class
from segcourse.metrics.semantic import confusion_matrix
from segcourse.training import poly, predict, warmup

TRAINING = dict(steps=760, batch=4, learning_rate=2e-2, scenes=1600)
SCORED = 100  # scenes
CHOICE_SEED = 2  # of the scenes of a dry run: the classroom's sizes were chosen with them
TEST_SEED = 3  # of the scenes of the results: nothing is trained on them or chosen with them
EDGE = 2  # pixels: tolerance of the boundary F1, width of the band of the boundary IoU
THIN = "lamp"


def train(
    build: Callable[[int], nn.Module],
    scenes: Cached,
    *,
    seed: int,
    steps: int,
    aux_weight: float = 1.0,
    num_classes: int = len(CLASSES),
) -> nn.Module:
    """A network that has learnt from the scenes, as all of this bench and of the ablations do."""
    torch.set_num_threads(1)
    return learn(
        partial(build, num_classes),
        scenes,
        course_loss(scenes, num_classes, aux_weight=aux_weight),
        seed=seed,
        steps=steps,
        batch=TRAINING["batch"],
        learning_rate=TRAINING["learning_rate"],
        schedule=warmup(poly(0.9), share=0.5),
    )


def run(name: str, seed: int, steps: int, scored: int) -> dict:
    """Train one network with one seed and score it on the scenes of the seed ``scored``."""
    scenes = Cached(Toytown(TRAINING["scenes"]))
    test = stack(list(Toytown(SCORED, seed=scored)))
    started = time.process_time()
    model = train(
        NETWORKS[name], scenes, seed=seed, steps=steps, aux_weight=AUX_WEIGHTS.get(name, 1.0)
    )
    trained = time.process_time()
    preds = predict(model, test.image, batch_size=10)
    done = time.process_time()
    return {
        "seed": seed,
        **scores(preds, test.semantic),
        "training_seconds": round(trained - started, 1),
        "step_ms": round(1000 * (trained - started) / steps, 1),
        "inference_ms": round(1000 * (done - trained) / len(preds), 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def scores(preds: Tensor, target: Tensor, classes: Sequence[str] = CLASSES) -> dict:
    """Everything about the quality of label maps: (N, H, W) each."""
    matrix = confusion_matrix(preds, target, len(classes))
    found = semantic_scores(matrix, classes)
    edges = {
        "boundary_f1": partial(class_scores, boundary_f1, tolerance=EDGE),
        "boundary_iou": partial(class_scores, boundary_iou, width=EDGE),
    }
    return {
        **found,
        "thin_iou": found["iou"][THIN],
        **{
            name: round(mean_by_class(score(preds, target, len(classes))), 4)
            for name, score in edges.items()
        },
    }


def cost(model: nn.Module) -> dict:
    """Size and arithmetic of a network on one scene; multiply-adds count once."""
    model.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, *Toytown(1)[0].semantic.shape))
    return {
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "macs": counter.get_total_flops() // 2,
    }


def summary(found: list[dict]) -> dict:
    """Means over the seeds, and the spread of the mIoU: largest minus smallest."""
    scored = [each["miou"] for each in found]
    return {**runs.means(found), "miou_spread": round(max(scored) - min(scored), 4)}


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen networks; returns the exit status."""
    parser = runs.parser(__doc__.splitlines()[0], NETWORKS, TRAINING["steps"])
    parser.add_argument("--data", choices=("toytown", "camvid"), default="toytown")
    options = parser.parse_args(arguments)
    if options.data == "camvid":
        return max(camvid.main(["--model", name]) for name in options.only)
    settings = {**TRAINING, "steps": options.steps}
    rows = runs.stored("architectures", "networks", settings, options)
    scored = CHOICE_SEED if options.dry else TEST_SEED
    for name, found in runs.side_by_side(run, options, options.steps, scored).items():
        means = {**cost(NETWORKS[name](len(CLASSES))), **summary(found)}
        rows[name] = {**means, "runs": found}
        print(
            f"{name}: {means}\n  {[each['miou'] for each in found]} {found[0]['iou']}", flush=True
        )
    if not options.dry:
        write("architectures", {**settings, "networks": runs.in_order(NETWORKS, rows)})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
