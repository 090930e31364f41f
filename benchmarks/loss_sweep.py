"""Which loss collapses when the foreground is rare? -> results/loss_sweep.json, about 10 minutes.

    python -m benchmarks.loss_sweep          everything
    python -m benchmarks.loss_sweep --quick  one seed, few steps, to a file of its own

1. Dots with 1 %, 5 % and 30 % of foreground, nine losses, three seeds, equal steps.
2. Cross-entropy on 1 % with four times the steps: is the collapse for good?
3. Toytown with class weights: what happens to the rare classes, and what it costs the others.
"""

import argparse
import time
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import report
from benchmarks.recipe import learn, rounded
from segcourse.data.dots import Dots
from segcourse.data.sample import Cached, Sample, batches, stack
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.losses.lovasz import lovasz_softmax_loss
from segcourse.losses.overlap import dice_loss, tversky_loss
from segcourse.losses.pixelwise import (
    balanced_cross_entropy,
    cross_entropy,
    ohem_cross_entropy,
    sigmoid_focal_loss,
)
from segcourse.losses.weights import (
    class_counts,
    frequency,
    log_frequency_weights,
    median_frequency_weights,
)
from segcourse.metrics.semantic import confusion_matrix, iou, mean_iou, pixel_accuracy, precision
from segcourse.metrics.semantic import recall as recall_of
from segcourse.models.unet import UNet
from segcourse.training import evaluate

SHARES = (0.01, 0.05, 0.3)
SEEDS = (0, 1, 2)
STEPS = 160
SCENES = 200
BATCH = 8
LOSSES = {
    "cross-entropy": cross_entropy,
    "balanced CE": balanced_cross_entropy,
    "focal (0.25, 2)": partial(sigmoid_focal_loss, alpha=0.25),
    "OHEM": partial(ohem_cross_entropy, min_kept=2000),
    "Dice": dice_loss,
    "Tversky (0.3, 0.7)": tversky_loss,
    "Dice + CE": lambda logits, target: dice_loss(logits, target) + cross_entropy(logits, target),
    "Lovász": lovasz_softmax_loss,
    "Lovász + CE": lambda z, y: lovasz_softmax_loss(z, y) + cross_entropy(z, y),
}
THRESHOLDS = torch.arange(1, 100) / 100


def small_unet(num_classes: int, depth: int) -> UNet:
    """The network of every run: 0.03 million parameters with depth 2, 0.12 with depth 3."""
    return UNet(num_classes, width=8, depth=depth, padding=1, batch_norm=True, dropout=0.0)


@torch.no_grad()
def probabilities(model: nn.Module, sample: Sample) -> Tensor:
    """Foreground probability of every pixel of a stacked sample: -> (N, H, W)."""
    model.eval()
    return torch.cat([model(part)[:, 0].sigmoid() for part in sample.image.split(25)])


def best_threshold(probability: Tensor, target: Tensor) -> float:
    """The threshold with the largest foreground IoU."""
    scores = [iou(confusion_matrix((probability > t).long(), target, 2))[1] for t in THRESHOLDS]
    return THRESHOLDS[torch.stack(scores).nan_to_num().argmax()].item()


def one_run(loss, share: float, seed: int, steps: int, data: dict) -> dict:
    """Train on Dots and score the foreground on validation pictures."""
    model = learn(
        partial(small_unet, 1, depth=2),
        data["train"],
        lambda model, batch: loss(model(batch[0]), batch[1]),
        seed=seed,
        steps=steps,
        batch=BATCH,
        learning_rate=3e-3,
    )
    probability, target = probabilities(model, data["validation"]), data["validation"].semantic
    matrix = confusion_matrix((probability > 0.5).long(), target, 2)
    chosen = best_threshold(probabilities(model, data["tuning"]), data["tuning"].semantic)
    tuned = confusion_matrix((probability > chosen).long(), target, 2)
    return {
        "iou": iou(matrix)[1].item(),
        "precision": precision(matrix)[1].nan_to_num().item(),
        "recall": recall_of(matrix)[1].item(),
        "pixel_accuracy": float(pixel_accuracy(matrix)),
        "probability_of_dots": probability[target == 1].mean().item(),
        "threshold": chosen,
        "iou_at_threshold": iou(tuned)[1].item(),
    }


def gather(runs: list[dict]) -> dict:
    """The same keys with a list over the seeds."""
    return {key: [round(run[key], 4) for run in runs] for key in runs[0]}


def dots(share: float) -> dict:
    """Pictures drawn once: training, validation, and a third set on which thresholds are chosen."""
    return {
        "train": Cached(Dots(SCENES, share=share, seed=0)),
        "validation": stack(list(Dots(50, share=share, seed=1))),
        "tuning": stack(list(Dots(50, share=share, seed=2))),
    }


def sweep(seeds: tuple[int, ...], steps: int) -> list[dict]:
    """Every loss at every share."""
    rows = []
    for share in SHARES:
        data = dots(share)
        for name, loss in LOSSES.items():
            runs = gather([one_run(loss, share, seed, steps, data) for seed in seeds])
            rows.append({"share": share, "loss": name, **runs})
            print(f"{share:5.0%}  {name:20s} IoU {runs['iou']}", flush=True)
    return rows


def longer(seeds: tuple[int, ...], steps: int) -> dict:
    """Cross-entropy on 1 % with four times the steps."""
    data = dots(SHARES[0])
    runs = [one_run(cross_entropy, SHARES[0], seed, 4 * steps, data) for seed in seeds]
    return {"steps": 4 * steps, **gather(runs)}


def rare_classes(seeds: tuple[int, ...], steps: int) -> dict:
    """Toytown under three schemes of class weights."""
    scenes = Cached(Toytown(SCENES, seed=0))
    validation = list(batches(Cached(Toytown(60, seed=1)), batch_size=20, shuffle=False))
    counts = class_counts(torch.stack([scene.semantic for scene in scenes]), len(CLASSES))
    schemes = {
        "none": None,
        "median frequency": median_frequency_weights(counts),
        "log frequency": log_frequency_weights(counts),
    }
    rows = {}
    for name, weight in schemes.items():
        runs = [toytown_run(weight, scenes, validation, seed, steps) for seed in seeds]
        rows[name] = {
            "weights": None if weight is None else [round(w, 3) for w in weight.tolist()],
            **{key: [run[key] for run in runs] for key in runs[0]},
        }
        print(f"Toytown, weights: {name:18s} mIoU {rows[name]['mean_iou']}", flush=True)
    share = [round(f, 5) for f in frequency(counts).tolist()]
    return {"steps": steps, "classes": list(CLASSES), "share": share, "schemes": rows}


def toytown_run(weight, scenes, validation, seed: int, steps: int) -> dict:
    """Train a small U-Net with weighted cross-entropy and score all classes."""
    model = learn(
        partial(small_unet, len(CLASSES), depth=3),
        scenes,
        lambda model, batch: cross_entropy(model(batch[0]), batch[1], weight=weight),
        seed=seed,
        steps=steps,
        batch=BATCH,
        learning_rate=1e-2,
    )
    matrix = evaluate(model, validation, num_classes=len(CLASSES))
    return {
        "iou": rounded(iou(matrix)),
        "precision": rounded(precision(matrix).nan_to_num()),
        "recall": rounded(recall_of(matrix)),
        "mean_iou": round(float(mean_iou(matrix)), 4),
        "pixel_accuracy": round(float(pixel_accuracy(matrix)), 4),
    }


def main() -> None:
    """Run everything and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed and few steps")
    quick = parser.parse_args().quick
    seeds, steps, town = (SEEDS[:1], 10, 10) if quick else (SEEDS, STEPS, 250)
    torch.set_num_threads(1)
    started = time.process_time()
    payload = {
        "question": "which loss collapses when the foreground is rare?",
        "steps": steps,
        "batch": BATCH,
        "seeds": list(seeds),
        "learning_rate": 3e-3,
        "network": "UNet(width=8, depth=2, padding=1, batch_norm=True, dropout=0)",
        "sweep": sweep(seeds, steps),
        "longer": longer(seeds, steps),
        "toytown": rare_classes(seeds, town),
    }
    payload["cpu_seconds"] = round(time.process_time() - started)
    report.write("loss_sweep_quick" if quick else "loss_sweep", payload)


if __name__ == "__main__":
    main()
