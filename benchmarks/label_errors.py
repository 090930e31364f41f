"""What mistakes in loading labels cost, in mIoU -> results/label_errors.json, about 20 minutes.

    python -m benchmarks.label_errors                  everything
    python -m benchmarks.label_errors --loss weighted  one half; the other half is kept
    python -m benchmarks.label_errors --quick          one seed, few steps, to a file of its own

The same small U-Net is trained for the same number of steps on Toytown scenes of 48 x 64 pixels,
with plain cross-entropy and with class weights. The arms differ only in how the training labels are
prepared (and in the class weights, which are computed from these labels). All networks are judged
on the same labels, prepared correctly. Toytown is drawn, so the class of every pixel under its void
borders is known too: that is the full truth. (One arm is no mistake: of two neighbouring pixels,
torch's "nearest" keeps the first and our resize keeps the second. The arm shows what it costs to
train with one convention and to evaluate with the other.)

"full truth, area" is the number of pixels predicted as a class, divided by its true number.
"""

import argparse
import json
from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmarks import report
from benchmarks.recipe import learn, rounded
from segcourse.data.sample import Cached, Sample, batches
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.data.transforms import Transformed, compose, random_flip, resize, warp
from segcourse.data.transforms import pixel_grid as grid
from segcourse.losses.pixelwise import cross_entropy
from segcourse.losses.weights import class_counts, log_frequency_weights
from segcourse.metrics.semantic import iou, mean_iou
from segcourse.models.unet import UNet
from segcourse.ops.labels import IGNORE
from segcourse.training import evaluate, poly, warmup

SIZE = (48, 64)
VOID = 2  # pixels of void around things at full size, one after halving
SCENES, STEPS, BATCH, LEARNING_RATE = 240, 300, 16, 1e-2
SEEDS = (0, 1, 2)
LOSSES = ("plain", "weighted")

Change = Callable[[Sample], Sample]


def interpolated(mode: str, *, antialias: bool = False, rounded: bool = False) -> Change:
    """Halve image and labels, the labels by torch's interpolation ``mode``, as if quantities."""

    def change(sample: Sample) -> Sample:
        labels = sample.semantic[None, None].float()
        labels = F.interpolate(labels, SIZE, mode=mode, antialias=antialias)[0, 0]
        labels = labels.round() if rounded else labels  # .long() alone truncates
        return resize(SIZE)(sample)._replace(semantic=labels.long())

    return change


def void_is_sky(sample: Sample) -> Sample:
    """Give void the class 0, as a colour table filled with zeros does."""
    return sample._replace(semantic=sample.semantic.masked_fill(sample.semantic == IGNORE, 0))


def moved(most: int) -> Change:
    """Shift by up to ``most`` pixels in both directions."""

    def change(sample: Sample) -> Sample:
        shift = torch.randint(-most, most + 1, (2,))
        return warp(sample, grid(*SIZE) - shift)

    return change


def own_draws(change: Change) -> Change:
    """The mistake: a random transform called once for the image and once more for the labels."""

    def two_draws(sample: Sample) -> Sample:
        return sample._replace(image=change(sample).image, semantic=change(sample).semantic)

    return two_draws


SMALL = resize(SIZE)
ARMS = {  # name: (void around things, what is done once, what is done at every look)
    "labels by nearest": (0, SMALL, None),
    "labels bilinear, truncated": (0, interpolated("bilinear", antialias=True), None),
    "labels bilinear, rounded": (0, interpolated("bilinear", antialias=True, rounded=True), None),
    "labels by torch's nearest": (0, interpolated("nearest"), None),
    "void ignored": (VOID, SMALL, None),
    "void as class 0": (VOID, compose(SMALL, void_is_sky), None),
    "flip, one draw": (0, SMALL, random_flip()),
    "flip, two draws": (0, SMALL, own_draws(random_flip())),
    "shift, one draw": (0, SMALL, moved(3)),
    "shift, two draws": (0, SMALL, own_draws(moved(3))),
}


def small_unet() -> UNet:
    """The network of every arm."""
    return UNet(len(CLASSES), width=8, depth=3, padding=1, batch_norm=True, dropout=0.0)


def train(arm: str, scenes: Cached, seed: int, steps: int, loss: str) -> UNet:
    """One network, trained on labels prepared as the arm says."""
    _, _, at_every_look = ARMS[arm]
    dataset = Transformed(scenes, at_every_look) if at_every_look else scenes
    weight = None
    if loss == "weighted":
        labels = torch.stack([sample.semantic for sample in scenes])  # as the learner has them
        weight = log_frequency_weights(class_counts(labels, len(CLASSES)))
    return learn(
        small_unet,
        dataset,
        lambda model, batch: cross_entropy(model(batch[0]), batch[1], weight=weight),
        seed=seed,
        steps=steps,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
        schedule=warmup(poly(0.9)),
    )


def judge(model: UNet, truths: dict[str, list[Sample]]) -> dict[str, list[float]]:
    """IoU and area of every class, on the full truth, with void ignored, and as class 0."""
    scores = {}
    for name, samples in truths.items():
        matrix = evaluate(
            model, batches(samples, batch_size=20, shuffle=False), num_classes=len(CLASSES)
        )
        scores[name] = rounded(iou(matrix))
        scores[f"{name}, mean"] = round(mean_iou(matrix), 4)
        scores[f"{name}, area"] = rounded(matrix.sum(dim=0) / matrix.sum(dim=1))
    return scores


def measure(loss: str, quick: bool) -> dict:
    """All arms with one loss: {arm: {what it is judged with: one value per seed}}."""
    seeds, steps, scenes = ((0,), 4, 32) if quick else (SEEDS, STEPS, SCENES)
    tested = {void: Toytown(8 if quick else 80, seed=1, void=void) for void in (0, VOID)}
    truths = {
        "full truth": Cached(Transformed(tested[0], SMALL)),
        "void ignored": Cached(Transformed(tested[VOID], SMALL)),
        "void as class 0": Cached(Transformed(tested[VOID], compose(SMALL, void_is_sky))),
    }
    arms = {}
    for arm, (void, once, _) in ARMS.items():
        samples = Cached(Transformed(Toytown(scenes, seed=0, void=void), once))
        runs = [judge(train(arm, samples, seed, steps, loss), truths) for seed in seeds]
        arms[arm] = {key: [run[key] for run in runs] for key in runs[0]}
        print(f"{loss:9} {arm:34} {arms[arm]['full truth, mean']}", flush=True)
    return arms


def stored(settings: dict) -> dict:
    """What was measured before with the same settings: {loss: arms}."""
    path = report.RESULTS / "label_errors.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    same = all(before.get(key) == json.loads(json.dumps(settings[key])) for key in settings)
    return before.get("losses", {}) if same else {}


def main(arguments: list[str] | None = None) -> None:
    """Run all arms and write what they cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loss", choices=LOSSES, help="only this one")
    parser.add_argument("--quick", action="store_true", help="one seed, few steps")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings = {
        "what": "mIoU of a small U-Net on Toytown after its training labels were damaged",
        "size": SIZE,
        "scenes": SCENES,
        "steps": STEPS,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "seeds": SEEDS,
        "parameters": sum(weight.numel() for weight in small_unet().parameters()),
        "classes": CLASSES,
    }
    losses = {} if options.quick else stored(settings)
    for loss in [options.loss] if options.loss else LOSSES:
        losses[loss] = measure(loss, options.quick)
    name = "label_errors_quick" if options.quick else "label_errors"
    report.write(name, {**settings, "losses": {loss: losses[loss] for loss in sorted(losses)}})


if __name__ == "__main__":
    main()
