"""What FCN's skips buy: strides 32, 16 and 8 on Toytown, and two popular ways to mislead oneself.

    python -m benchmarks.fcn_strides

Every network starts from the same seed (and so from the same encoder), sees the same batches and
takes equally many steps. Then the same comparison as some tutorials make it: one encoder shared by
the three, trained one after another. And FCN-8s with a ReLU after its scores. Last, the time of a
classifier of patches against the same classifier sliding.
"""

import argparse
import time

import torch
from torch import Tensor, nn

from benchmarks.recipe import train
from benchmarks.report import write
from segcourse.classroom import FCN_OPTIONS
from segcourse.data.sample import Cached, stack
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.losses.pixelwise import cross_entropy
from segcourse.losses.weights import class_counts, log_frequency_weights
from segcourse.metrics.boundary import (
    boundary_f1,
    boundary_iou,
    class_scores,
    mean_by_class,
    trimap,
)
from segcourse.metrics.semantic import confusion_matrix, iou, mean_iou
from segcourse.models.fcn import FCN
from segcourse.training import predict, seed_everything

STRIDES = (32, 16, 8)
TRAINING = dict(steps=200, batch=16, learning_rate=1e-2, scenes=320)
VALIDATION = 64
BAND = 3  # pixels on either side of a class boundary
TOLERANCE = 2  # pixels, of the boundary F1


class Bench:
    """Data and loss, the same for every network."""

    def __init__(self) -> None:
        self.train = Cached(Toytown(TRAINING["scenes"]))
        self.validation = stack(Cached(Toytown(VALIDATION, seed=1)).samples)
        target = torch.stack([sample.semantic for sample in self.train.samples])
        self.weight = log_frequency_weights(class_counts(target, len(CLASSES)))

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        image, semantic, *_ = batch
        return cross_entropy(model(image), semantic, weight=self.weight)

    def fit(self, model: nn.Module, seed: int, rounds: int = 1) -> None:
        """Train for ``rounds`` times the usual number of steps."""
        train(
            model,
            self.train,
            self.loss,
            seed=seed,
            steps=rounds * TRAINING["steps"],
            batch=TRAINING["batch"],
            learning_rate=TRAINING["learning_rate"],
        )

    def scores(self, model: nn.Module, full: bool = False) -> dict[str, float]:
        """Mean IoU; with ``full`` also every class, and what happens near the boundaries."""
        image, target, _ = self.validation
        preds = predict(model, image, batch_size=16)
        matrix = confusion_matrix(preds, target, len(CLASSES))
        found = {"mean_iou": mean_iou(matrix)}
        if full:
            found |= dict(zip(CLASSES, iou(matrix).tolist(), strict=True))
            near = trimap(target, width=BAND)
            found["band_iou"] = mean_iou(confusion_matrix(preds, near, len(CLASSES)))
            for name, score, option in (
                ("boundary_f1", boundary_f1, {"tolerance": TOLERANCE}),
                ("boundary_iou", boundary_iou, {"width": TOLERANCE}),
            ):
                found[name] = mean_by_class(
                    class_scores(score, preds, target, len(CLASSES), **option)
                )
        return found


def network(stride: int, seed: int) -> FCN:
    """A classroom FCN; equal seeds give equal encoders, whatever the stride."""
    seed_everything(seed)
    return FCN(len(CLASSES), stride=stride, **FCN_OPTIONS)


def independent(bench: Bench, seed: int) -> dict[str, dict[str, float]]:
    """Each stride alone, for equally many steps."""
    found = {}
    for stride in STRIDES:
        model = network(stride, seed)
        bench.fit(model, seed)
        found[str(stride)] = bench.scores(model, full=True)
        print(f"seed {seed}, FCN-{stride}s: {found[str(stride)]['mean_iou']:.3f}", flush=True)
    return found


def chained(bench: Bench, seed: int) -> dict[str, dict[str, float]]:
    """One encoder and one set of scores for all, trained as 32s, then 16s, then 8s."""
    models = {stride: network(stride, seed) for stride in STRIDES}
    shared = models[8]
    for model in models.values():
        model.features, model.classifier, model.score = (
            shared.features,
            shared.classifier,
            shared.score,
        )
    models[16].score_skips = shared.score_skips[:1]
    found = {}
    for stride in STRIDES:
        bench.fit(models[stride], seed)
        found[str(stride)] = bench.scores(models[stride])
    found["32 afterwards"] = bench.scores(models[32])
    patient = network(32, seed)
    bench.fit(patient, seed, rounds=len(STRIDES))
    found["32 as long"] = bench.scores(patient)
    print(
        f"seed {seed}, chained:", {k: round(v["mean_iou"], 3) for k, v in found.items()}, flush=True
    )
    return found


def scores_cut_at_zero(bench: Bench, seed: int) -> dict[str, dict[str, float]]:
    """FCN-8s whose scores start from He's initialisation, without and with a ReLU behind them."""
    found = {}
    for name in ("scores", "scores and ReLU"):
        model = network(8, seed)
        for layer in (model.score, *model.score_skips):
            nn.init.kaiming_normal_(layer.weight)
        if name != "scores":
            model.score = nn.Sequential(model.score, nn.ReLU())
            model.score_skips = nn.ModuleList(
                nn.Sequential(layer, nn.ReLU()) for layer in model.score_skips
            )
        bench.fit(model, seed)
        found[name] = bench.scores(model)
    print(f"seed {seed}, ReLU:", {k: round(v["mean_iou"], 3) for k, v in found.items()}, flush=True)
    return found


def gather(runs: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """One list over the seeds for every number."""
    return {
        arm: {key: [run[arm][key] for run in runs] for key in values}
        for arm, values in runs[0].items()
    }


def time_patches(repeats: int = 5) -> dict[str, float]:
    """Seconds for all 15 x 15 patches of a picture: each classified alone, and in one pass."""
    torch.manual_seed(0)
    features = [nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 16, 5), nn.ReLU()]
    linear, slide = nn.Linear(16 * 49, 8), nn.Conv2d(16, 8, 7)
    alone, sliding = nn.Sequential(*features, nn.Flatten(), linear), nn.Sequential(*features, slide)
    image = torch.rand(1, 3, 96, 128)
    patches = image.unfold(2, 15, 1).unfold(3, 15, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    best = {}
    with torch.no_grad():
        for name, run in (
            ("patchwise_seconds", lambda: [alone(part) for part in patches.split(256)]),
            ("sliding_seconds", lambda: sliding(image)),
        ):
            durations = []
            for _ in range(repeats):
                start = time.perf_counter()
                run()
                durations.append(time.perf_counter() - start)
            best[name] = min(durations)
    return {"patches": len(patches), **best}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds (3)")
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    bench = Bench()
    write(
        "fcn_strides",
        {
            "network": FCN_OPTIONS,
            "training": TRAINING,
            "validation_scenes": VALIDATION,
            "seeds": list(seeds),
            "band_pixels": BAND,
            "tolerance_pixels": TOLERANCE,
            "strides": gather([independent(bench, seed) for seed in seeds]),
            "chained": gather([chained(bench, seed) for seed in seeds]),
            "relu": gather([scores_cut_at_zero(bench, seed) for seed in seeds]),
            "patches": time_patches(),
        },
    )


if __name__ == "__main__":
    main()
