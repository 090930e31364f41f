"""Panoptic FPN on Toytown: panoptic quality by its parts.

    python -m benchmarks.panoptic          three seeds
    python -m benchmarks.panoptic --dry    printed only, other scenes

Its maps are scored, and so are those in which the truth takes the place of one half: its things
beside the true stuff, and its stuff beside the true things. So one sees what each half costs.
"""

import torch
from torch import Tensor

from benchmarks import runs
from benchmarks.architectures import CHOICE_SEED, TEST_SEED
from benchmarks.detectors import all_objects, objects_of, scenes, start, train
from segcourse.classroom import DETECTORS
from segcourse.data.sample import Cached, Sample
from segcourse.data.toytown import CLASSES, THINGS
from segcourse.metrics.panoptic import mean_panoptic_quality, panoptic_counts, panoptic_quality
from segcourse.models.panoptic_fpn import PanopticFPN
from segcourse.ops.instances import Detections, Instances
from segcourse.ops.panoptic import panoptic_ids

TRAINING = dict(steps=1100, batch=2, learning_rate=3e-3, scenes=800)
SCORED = 100  # scenes
STUFF = [label for label in range(len(CLASSES)) if label not in THINGS]
SURE = 30.0  # logit of what is known
ARMS = ("panoptic_fpn",)


def build() -> PanopticFPN:
    """The classroom's network."""
    return DETECTORS["panoptic_fpn"](THINGS, STUFF)


def loss(model: PanopticFPN, batch: Sample) -> Tensor:
    """The detector's losses and the branch's."""
    return sum(model.loss(batch.image, all_objects(batch), batch.semantic).values())


def known(objects: Instances) -> Detections:
    """The true things, as if they had been found."""
    sure = torch.ones(len(objects.labels))
    return Detections(objects.boxes, objects.labels, sure, objects.masks.float(), sure)


@torch.no_grad()
def scores(model: PanopticFPN, test: Cached) -> dict:
    """Panoptic quality of the network, and with the truth in place of each of its halves."""
    found: dict[str, list[Tensor]] = {"network": [], "true_stuff": [], "true_things": []}
    for sample in test:
        batch = model.detector.batch(sample.image[None])
        levels, (height, width) = model.detector.levels(batch.images), batch.sizes[0]
        [things] = model.detector.detect_all(levels, batch.sizes)
        branch = model.semantic_logits(levels)[0, :, :height, :width]
        true_classes = model.branch_target(sample.semantic)
        true_branch = SURE * torch.nn.functional.one_hot(true_classes, len(STUFF) + 1)
        found["network"].append(model.merge(things, branch))
        found["true_stuff"].append(model.merge(things, true_branch.permute(2, 0, 1)))
        found["true_things"].append(model.merge(known(objects_of(sample)), branch))
    target = torch.stack([panoptic_ids(each.semantic, each.instance) for each in test])
    counts = {
        name: panoptic_counts(torch.stack(maps), target, len(CLASSES))
        for name, maps in found.items()
    }
    parts = mean_panoptic_quality(counts["network"], THINGS)
    each = panoptic_quality(counts["network"]).pq.tolist()
    return {
        **{
            f"{key.upper()}_{group.lower()}": round(parts[group][key], 4)
            for group in parts
            for key in ("pq", "sq", "rq")
        },
        "PQ_with_true_stuff": round(
            mean_panoptic_quality(counts["true_stuff"], THINGS)["All"]["pq"], 4
        ),
        "PQ_with_true_things": round(
            mean_panoptic_quality(counts["true_things"], THINGS)["All"]["pq"], 4
        ),
        "PQ_by_class": {name: round(value, 4) for name, value in zip(CLASSES, each, strict=True)},
    }


def run(name: str, seed: int, steps: int, scored: int) -> dict:
    """Train with one seed, and score on scenes of the seed ``scored``."""
    start(seed)
    settings = {**TRAINING, "steps": steps}
    data, model = scenes(settings.pop("scenes"), seed=0), build()
    seconds = train(model, loss, data, seed=seed, **settings)
    return {
        "seed": seed,
        **scores(model.eval(), scenes(SCORED, scored)),
        "training_seconds": round(seconds, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run all seeds; returns the exit status."""
    options = runs.parser(__doc__.splitlines()[0], ARMS, TRAINING["steps"]).parse_args(arguments)
    settings = {**TRAINING, "steps": options.steps}
    scored = CHOICE_SEED if options.dry else TEST_SEED
    runs.renew("panoptic", "networks", ARMS, run, settings, options, options.steps, scored)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
