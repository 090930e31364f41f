"""Every semantic network of the course, in classroom size, on the same scenes: who is how good?

    python -m benchmarks.architectures                          all of them, three seeds
    python -m benchmarks.architectures --only pspnet --seeds 0  one network, one seed
    python -m benchmarks.architectures --only pspnet --dry      print only, on other scenes

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
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import RESULTS, write
from segcourse.blocks.conv import conv_bn_relu
from segcourse.blocks.resnet import ResNet
from segcourse.data.sample import Cached, batches, stack
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.losses.overlap import dice
from segcourse.losses.pixelwise import class_counts, cross_entropy, log_frequency_weights
from segcourse.metrics.boundary import boundary_f1, boundary_iou, class_scores, mean_by_class
from segcourse.metrics.semantic import confusion_matrix, iou, mean_iou
from segcourse.models.deconvnet import DeconvNet
from segcourse.models.deeplab_v1 import DeepLabV1
from segcourse.models.deeplab_v2 import DeepLabV2
from segcourse.models.deeplab_v3 import DeepLabV3
from segcourse.models.deeplab_v3_plus import DeepLabV3Plus
from segcourse.models.fcn import FCN
from segcourse.models.fcn_resnet import FCNResNet
from segcourse.models.gfrnet import GFRNet
from segcourse.models.pspnet import PSPNet
from segcourse.models.refinenet import RefineNet
from segcourse.models.segnet import SegNet, SegNetBasic
from segcourse.models.unet import UNet
from segcourse.training import fit, poly, predict, seed_everything, warmup

TRAINING = dict(steps=760, batch=4, learning_rate=1e-2, scenes=1600)
SCORED = 100  # scenes
CHOICE_SEED = 2  # of the scenes of a dry run: the classroom's sizes were chosen with them
TEST_SEED = 3  # of the scenes of the results: nothing is trained on them or chosen with them
SEEDS = (0, 1, 2)
EDGE = 2  # pixels: tolerance of the boundary F1, width of the band of the boundary IoU
THIN = "lamp"

SMALL_FCN = dict(width=12, hidden=96, kernel_size=3, padding=1, batch_norm=True)

# The classroom's sizes, in the order of publication.
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "fcn_32s": partial(FCN, stride=32, **SMALL_FCN),
    "fcn_16s": partial(FCN, stride=16, **SMALL_FCN),
    "fcn_8s": partial(FCN, stride=8, **SMALL_FCN),
    "deconvnet": partial(DeconvNet, width=12, hidden=96, kernel_size=3, depths=(1, 1, 1, 1, 1)),
    "unet": partial(UNet, width=12, depth=3, padding=1, batch_norm=True, dropout=0.0),
    "segnet": partial(SegNet, width=16, depths=(1, 1, 1, 1)),
    "segnet_basic": partial(SegNetBasic, width=16, depth=3),
    "fcn_resnet": partial(FCNResNet, layers=18, width=16, auxiliary=True),
    "pspnet": partial(PSPNet, layers=18, width=20, stages=3, align_corners=False, auxiliary=True),
    "deeplab_v1": partial(
        DeepLabV1, width=8, hidden=64, rate=4, multi_scale=True, batch_norm=True, dropout=0.0
    ),
    "deeplab_v2": partial(
        DeepLabV2, layers=18, width=32, stages=3, rates=(1, 2, 4, 6), scales=(1,)
    ),
    "refinenet": partial(
        RefineNet, layers=18, width=16, channels=16, batch_norm=True, dropout=0.0, image_scale=2.0
    ),
    "gfrnet": partial(GFRNet, width=12, depths=(2, 2, 2, 2, 2), dropout=0.0),
    "deeplab_v3": partial(
        DeepLabV3,
        backbone=partial(ResNet, 18, width=20, deep_stem=True, stages=3),
        output_stride=8,
        rates=(2, 4, 6),
        channels=64,
        dropout=0.0,
    ),
    "deeplab_v3_plus": partial(
        DeepLabV3Plus,
        backbone=partial(ResNet, 18, width=24, deep_stem=True, stages=3),
        rates=(1, 2, 4),
        channels=48,
        dropout=0.0,
        convolution=conv_bn_relu,
    ),
}
# Weight of every stage but the last; 1 where nothing is said.
AUXILIARY: dict[str, float] = {"fcn_resnet": 0.4, "pspnet": 0.4}


def every_stage(model: nn.Module, image: Tensor, auxiliary: float) -> Iterator[tuple]:
    """(weight, logits) of everything that a network wants supervised."""
    if not hasattr(model, "all_logits"):
        yield 1.0, model(image)
        return
    *stages, last = model.all_logits(image)
    yield from ((auxiliary, logits) for logits in stages)
    yield 1.0, last


def course_loss(scenes: Cached, num_classes: int, auxiliary: float) -> Callable[..., Tensor]:
    """Cross-entropy with log-frequency weights, plus Dice, of every supervised stage."""
    counts = class_counts(torch.stack([scene.semantic for scene in scenes]), num_classes)
    weight = log_frequency_weights(counts)

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        image, truth, *_ = batch
        return sum(
            share * (cross_entropy(logits, truth, weight=weight) + dice(logits, truth))
            for share, logits in every_stage(model, image, auxiliary)
        )

    return loss


def train(
    build: Callable[[int], nn.Module],
    scenes: Cached,
    *,
    seed: int,
    steps: int,
    auxiliary: float = 1.0,
    num_classes: int = len(CLASSES),
) -> nn.Module:
    """A network that has learnt from the scenes, as all of this bench and of the ablations do."""
    torch.set_num_threads(1)
    loss = course_loss(scenes, num_classes, auxiliary)
    seed_everything(seed)
    model = build(num_classes)
    fit(
        model,
        loss,
        batches(scenes, size=TRAINING["batch"], seed=seed),
        steps=steps,
        learning_rate=TRAINING["learning_rate"],
        schedule=warmup(poly(0.9), share=0.5),
        progress=False,
    )
    return model


def run(name: str, seed: int, steps: int, scored: int) -> dict:
    """Train one network with one seed and score it on the scenes of the seed ``scored``."""
    scenes = Cached(Toytown(TRAINING["scenes"]))
    test = stack(list(Toytown(SCORED, seed=scored)))
    started = time.process_time()
    model = train(
        NETWORKS[name], scenes, seed=seed, steps=steps, auxiliary=AUXILIARY.get(name, 1.0)
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


def scores(predicted: Tensor, truth: Tensor, classes: Sequence[str] = CLASSES) -> dict:
    """Everything about the quality of label maps: (N, H, W) each."""
    matrix = confusion_matrix(predicted, truth, len(classes))
    per_class = dict(zip(classes, (round(v, 4) for v in iou(matrix).tolist()), strict=True))
    edges = {
        "boundary_f1": partial(class_scores, boundary_f1, tolerance=EDGE),
        "boundary_iou": partial(class_scores, boundary_iou, width=EDGE),
    }
    return {
        "miou": round(mean_iou(matrix), 4),
        "iou": per_class,
        "thin_iou": per_class[THIN],
        **{
            name: round(mean_by_class(score(predicted, truth, len(classes))), 4)
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
    parser.add_argument("--dry", action="store_true", help="print only: for choosing")
    options = parser.parse_args(arguments)
    path = RESULTS / "architectures.json"
    known = json.loads(path.read_text())["networks"] if path.exists() else {}
    scored = CHOICE_SEED if options.dry else TEST_SEED
    tasks = [(name, seed, options.steps, scored) for name in options.only for seed in options.seeds]
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
