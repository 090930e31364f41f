"""What decides when the foreground is rare: loss, start or threshold? -> results/loss_sweep.json.

    python -m benchmarks.loss_sweep                  everything, half an hour on one core
    python -m benchmarks.loss_sweep --only toytown   one part; the others stay as they are stored
    python -m benchmarks.loss_sweep --quick          one seed, few steps, to a file of its own

1. sweep: Dots with 1 %, 5 % and 30 % of foreground, ten losses, three seeds, equal steps. The bias
   of the last layer starts at 0 or at the logit of the foreground's share ("prior"); the IoU is
   taken at the threshold 0.5 and at one chosen on images of a third set ("tuned").
2. causes: cross-entropy on 1 %, bias 0, with four times the steps, or with a bias that learns
   faster than all other weights: is it the slow bias?
3. toytown: class weights with both starts: what do rare classes gain, and what do others lose?
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import report
from benchmarks.recipe import rounded
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
from segcourse.training import evaluate, fit, seed_everything

SHARES = (0.01, 0.05, 0.3)
SEEDS = (0, 1, 2)
STEPS = 160
SCENES = 200
BATCH = 8
LOSSES = {
    "cross-entropy": cross_entropy,
    "balanced CE": balanced_cross_entropy,
    "focal, alpha 0.25": partial(sigmoid_focal_loss, alpha=0.25),
    "focal, alpha 0.75": partial(sigmoid_focal_loss, alpha=0.75),
    "OHEM": partial(ohem_cross_entropy, min_kept=2000),
    "Dice": dice_loss,
    "Tversky (0.3, 0.7)": tversky_loss,
    "Lovász": lovasz_softmax_loss,
    "Dice + CE": lambda logits, target: dice_loss(logits, target) + cross_entropy(logits, target),
    "Lovász + CE": lambda z, y: lovasz_softmax_loss(z, y) + cross_entropy(z, y),
}
STARTS = ("zero", "prior")
CURVE = (0, 5, 10, 20, 40, 60, 80, 100, 120, 140, 159)  # steps at which the mean of p is stored
THRESHOLDS = torch.arange(1, 100) / 100


def small_unet(num_classes: int, depth: int, share: Tensor | None = None) -> UNet:
    """The network of every run: 0.03 million parameters with depth 2, 0.12 with depth 3.

    The bias of its last layer is 0; or with ``share`` (num_classes,) the one for which constant
    features give every class its share: the logit for one channel, the logarithm for more.
    """
    model = UNet(num_classes, width=8, depth=depth, padding=1, batch_norm=True, dropout=0.0)
    if share is not None:
        start = torch.logit(share) if num_classes == 1 else share.log()
        model.head.bias.data.copy_(start)
    return model


@torch.no_grad()
def probabilities(model: nn.Module, sample: Sample) -> Tensor:
    """Foreground probability of every pixel of a stacked sample: -> (N, H, W)."""
    model.eval()
    return torch.cat([model(part)[:, 0].sigmoid() for part in sample.image.split(25)])


def best_threshold(probability: Tensor, target: Tensor) -> float:
    """The threshold with the largest foreground IoU."""
    scores = [iou(confusion_matrix((probability > t).long(), target, 2))[1] for t in THRESHOLDS]
    return THRESHOLDS[torch.stack(scores).nan_to_num().argmax()].item()


def one_run(
    loss: Callable,
    start: str,
    seed: int,
    steps: int,
    data: dict,
    bias_rate: float | None = None,
) -> dict:
    """Train on Dots, and score the foreground of validation images at two thresholds."""
    seed_everything(seed)
    model = small_unet(1, 2, data["share"] if start == "prior" else None)
    curve = []

    def watched(model: nn.Module, batch: Sample) -> Tensor:
        logits = model(batch[0])
        curve.append(logits.detach().sigmoid().mean().item())
        return loss(logits, batch[1])

    fit(
        model,
        watched,
        batches(data["train"], batch_size=BATCH, seed=seed),
        steps=steps,
        learning_rate=3e-3,
        optimizer=None if bias_rate is None else with_fast_bias(model, bias_rate),
        progress=False,
    )
    bias = model.head.bias.item()
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
        "bias": bias,
        "mean_p": [round(curve[step], 4) for step in CURVE if step < len(curve)],
    }


def with_fast_bias(model: UNet, rate: float) -> torch.optim.Optimizer:
    """AdamW as ``fit`` makes it, but for the last bias, which has a learning rate of its own."""
    others = [each for name, each in model.named_parameters() if name != "head.bias"]
    groups = [{"params": others}, {"params": [model.head.bias], "lr": rate, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=3e-3, weight_decay=1e-4)


def gather(runs: list[dict]) -> dict:
    """The same keys with a list over the seeds."""
    return {key: [_short(run[key]) for run in runs] for key in runs[0]}


def _short(value: float | list[float]) -> float | list[float]:
    return round(value, 4) if isinstance(value, float) else value


def dots(share: float) -> dict:
    """Images drawn once: training, validation, and a third set on which thresholds are chosen."""
    train = Cached(Dots(SCENES, share=share, seed=0))
    return {
        "train": train,
        "share": torch.stack([each.semantic for each in train]).float().mean()[None],
        "validation": stack(list(Dots(50, share=share, seed=1))),
        "tuning": stack(list(Dots(50, share=share, seed=2))),
    }


def sweep(seeds: tuple[int, ...], steps: int) -> list[dict]:
    """Every loss at every share with both starts."""
    rows = []
    for share in SHARES:
        data = dots(share)
        for name, loss in LOSSES.items():
            for start in STARTS:
                runs = gather([one_run(loss, start, seed, steps, data) for seed in seeds])
                rows.append({"share": share, "loss": name, "start": start, **runs})
                found = f"IoU {runs['iou']} tuned {runs['iou_at_threshold']}"
                print(f"{share:5.0%}  {name:20s} {start:6s} {found}", flush=True)
    return rows


def causes(seeds: tuple[int, ...], steps: int) -> dict:
    """Cross-entropy on 1 % from bias 0: more steps, or a faster bias."""
    data = dots(SHARES[0])
    rows = {}
    for name, length, rate in (("longer", 4 * steps, None), ("fast bias", steps, 0.3)):
        runs = [one_run(cross_entropy, "zero", seed, length, data, rate) for seed in seeds]
        rows[name] = {"steps": length, "bias_rate": rate or 3e-3, **gather(runs)}
        print(name, rows[name]["iou"], flush=True)
    return rows


def toytown(seeds: tuple[int, ...], steps: int) -> dict:
    """Toytown under three schemes of class weights, with both starts."""
    scenes = Cached(Toytown(SCENES, seed=0))
    validation = list(batches(Cached(Toytown(60, seed=1)), batch_size=20, shuffle=False))
    counts = class_counts(torch.stack([scene.semantic for scene in scenes]), len(CLASSES))
    share = frequency(counts)
    schemes = {
        "none": None,
        "median frequency": median_frequency_weights(counts),
        "log frequency": log_frequency_weights(counts),
    }
    rows = []
    for name, weight in schemes.items():
        for start in STARTS:
            prior = share.float() if start == "prior" else None
            runs = [toytown_run(weight, prior, scenes, validation, s, steps) for s in seeds]
            rows.append({"weights": name, "start": start, **gather(runs)})
            print(f"Toytown, weights: {name:18s} {start:6s} {rows[-1]['mean_iou']}", flush=True)
    weights = {name: w if w is None else rounded(w) for name, w in schemes.items()}
    return {
        "steps": steps,
        "classes": list(CLASSES),
        "share": [round(f, 5) for f in share.tolist()],
        "weights": weights,
        "runs": rows,
    }


def toytown_run(weight, prior, scenes, validation, seed: int, steps: int) -> dict:
    """Train a small U-Net with weighted cross-entropy and score all classes."""
    seed_everything(seed)
    model = small_unet(len(CLASSES), 3, prior)
    fit(
        model,
        lambda model, batch: cross_entropy(model(batch[0]), batch[1], weight=weight),
        batches(scenes, batch_size=BATCH, seed=seed),
        steps=steps,
        learning_rate=1e-2,
        progress=False,
    )
    matrix = evaluate(model, validation, num_classes=len(CLASSES))
    return {
        "iou": rounded(iou(matrix)),
        "precision": rounded(precision(matrix).nan_to_num()),
        "recall": rounded(recall_of(matrix)),
        "mean_iou": round(float(mean_iou(matrix)), 4),
        "pixel_accuracy": round(float(pixel_accuracy(matrix)), 4),
    }


PARTS = {"sweep": sweep, "causes": causes, "toytown": toytown}


def stored(name: str, settings: dict, chosen: list[str]) -> dict:
    """The parts of results/<name>.json that are not run again, and the seconds that they took.

    Raises:
        SystemExit: if they were made with other settings, which one file must not mix.
    """
    path = report.RESULTS / f"{name}.json"
    content = json.loads(path.read_text()) if path.exists() and len(chosen) < len(PARTS) else {}
    kept = {part: content[part] for part in PARTS if part in content and part not in chosen}
    if kept and any(content.get(key) != value for key, value in settings.items()):
        raise SystemExit(
            f"results/{name}.json keeps {', '.join(kept)}, which were run with other settings: "
            "run all parts again."
        )
    return {**kept, "cpu_seconds": {part: content["cpu_seconds"][part] for part in kept}}


def main(arguments: list[str] | None = None) -> None:
    """Run what is chosen and write it down beside what is stored."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed and few steps")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args(arguments)
    seeds, steps, town = (SEEDS[:1], 10, 10) if options.quick else (SEEDS, STEPS, 250)
    name = "loss_sweep_quick" if options.quick else "loss_sweep"
    settings = {
        "question": "what decides when the foreground is rare: loss, start or threshold?",
        "steps": steps,
        "batch": BATCH,
        "seeds": list(seeds),
        "learning_rate": 3e-3,
        "network": "UNet(width=8, depth=2, padding=1, batch_norm=True, dropout=0)",
        "curve": [step for step in CURVE if step < steps],
    }
    stored(name, settings, options.only)  # refuses before the long runs, not after them
    torch.set_num_threads(1)
    found, seconds = {}, {}
    for part in options.only:
        started = time.process_time()
        found[part] = PARTS[part](seeds, town if part == "toytown" else steps)
        seconds[part] = round(time.process_time() - started)
    kept = stored(name, settings, options.only)
    seconds |= kept.pop("cpu_seconds")
    parts = {part: (found | kept)[part] for part in PARTS if part in found | kept}
    report.write(name, {**settings, **parts, "cpu_seconds": seconds})


if __name__ == "__main__":
    main()
