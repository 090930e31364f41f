"""What refinement is worth: python -m benchmarks.refinement.

- gates: G-FRNet with its gates, and with the same layers whose features pass ungated, trained on
  ordinary scenes and on scenes whose low-level features are ambiguous (strong texture, noise, low
  contrast). Every network is scored on all four kinds of scenes, on scenes with all three changes,
  and on scenes with some noise; on ordinary scenes, the logits of every stage are scored;
- supervision: G-FRNet with a loss on the last logits alone (with a loss on all of them, it is the
  gated network above).

    python -m benchmarks.refinement                             all of it
    python -m benchmarks.refinement --only gates --seeds 0 1 2  a part, some seeds

Loss and schedule are those of benchmarks/ablations.py, with fewer scenes and steps. Writes
results/refinement.json, which chapter 11 reads, after every run; runs that are already there are
not repeated. Twenty minutes on one thread for three seeds.
"""

import argparse
import json
from collections.abc import Callable
from functools import cache, partial
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.architectures import SCORED, TEST_SEED, TRAINING, train
from benchmarks.recipe import semantic_scores
from benchmarks.report import RESULTS, write
from segcourse.blocks.upsample import resize
from segcourse.classroom import NETWORKS
from segcourse.data.sample import Cached, Sample, stack
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.metrics.semantic import confusion_matrix
from segcourse.models import gfrnet
from segcourse.training import predict

SEEDS = (0, 1, 2)
SETTINGS = {**TRAINING, "steps": 200, "scenes": 400}
SCENES = {  # trained on, and tested on
    "ordinary": dict(),
    "strong texture": dict(texture=2.0),
    "noise": dict(noise=0.15),
    "low contrast": dict(light=(0.4, 0.55), noise=0.03),
}
TESTED = {
    **SCENES,
    "all three": dict(texture=2.0, noise=0.1, light=(0.4, 0.55)),
    "some noise": dict(noise=0.06),
}


@cache
def scored(kind: str) -> Sample:
    """The test scenes of a kind as one batch."""
    return stack(list(Toytown(SCORED, seed=TEST_SEED, **TESTED[kind])))


@cache
def scenes(kind: str) -> Cached:
    """The training scenes of a kind."""
    return Cached(Toytown(SETTINGS["scenes"], **SCENES[kind]))


def learnt(name: str, kind: str, seed: int, aux_weight: float = 1.0) -> nn.Module:
    """A network of the classroom, trained on scenes of a kind."""
    steps = SETTINGS["steps"]
    return train(NETWORKS[name], scenes(kind), seed=seed, steps=steps, aux_weight=aux_weight)


def judged(preds: Tensor, target: Tensor) -> dict:
    """Mean IoU, and the IoU of every class."""
    return semantic_scores(confusion_matrix(preds, target, len(CLASSES)), CLASSES)


def on_all_kinds(model: nn.Module) -> dict:
    """The scores of a network on the test scenes of every kind."""
    return {
        kind: judged(predict(model, scored(kind).image, batch_size=10), scored(kind).semantic)
        for kind in TESTED
    }


# ------------------------------------------------------------------------------------ the arms


def ungated(self, x: Tensor, below: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
    """A refinement whose features pass as they are: all layers of the gated one, no product."""
    feature = self.feature(x)
    coarse = resize(coarse, feature.shape[-2:], align_corners=True)
    return feature, self.predict(torch.cat([self.norm(feature), coarse], dim=1))


def gates(kind: str, gated: bool, seed: int) -> dict:
    """G-FRNet with or without gates, trained on scenes of a kind."""
    refine = gfrnet.GatedRefinement.forward if gated else ungated
    with mock.patch.object(gfrnet.GatedRefinement, "forward", refine):
        model = learnt("gfrnet", kind, seed)
        return {**on_all_kinds(model), "stages": on_all_stages(model)}


def supervision(seed: int) -> dict:
    """G-FRNet trained without the losses of its coarse logits."""
    model = learnt("gfrnet", "ordinary", seed, aux_weight=0.0)
    return {**on_all_kinds(model), "stages": on_all_stages(model)}


@torch.no_grad()
def on_all_stages(model: nn.Module) -> list[dict]:
    """The scores of the logits of every stage, upsampled, on ordinary scenes: coarse to fine."""
    model.eval()
    target = scored("ordinary").semantic
    batches = [model.all_logits(images) for images in scored("ordinary").image.split(10)]
    found = []
    for logits in zip(*batches, strict=True):
        full = (F.interpolate(z, target.shape[-2:], mode="bilinear") for z in logits)
        found.append(judged(torch.cat([z.argmax(dim=1) for z in full]), target))
    return found


PARTS: dict[str, dict[str, Callable[[int], dict]]] = {
    "gates": {
        f"{kind}, {'gated' if gated else 'not gated'}": partial(gates, kind, gated)
        for kind in SCENES
        for gated in (True, False)
    },
    "supervision": {"last stage": supervision},
}


def main(arguments: list[str] | None = None) -> int:
    """Run what is not yet measured; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    options = parser.parse_args(arguments)
    settings = {**SETTINGS, "kinds": TESTED, "test_scenes": SCORED}
    path = RESULTS / "refinement.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    runs = {part: {arm: kept.get(part, {}).get(arm, {}) for arm in PARTS[part]} for part in PARTS}
    for seed in options.seeds:
        for part in options.only:
            for arm, run in PARTS[part].items():
                if str(seed) in runs[part][arm]:
                    continue
                runs[part][arm][str(seed)] = found = run(seed)
                print(part, arm, seed, shown(found), flush=True)
                write("refinement", {**settings, **runs})
    return 0


def shown(found: dict) -> dict:
    """The mean IoUs of a run."""
    return {kind: scores["miou"] for kind, scores in found.items() if kind != "stages"}


if __name__ == "__main__":
    raise SystemExit(main())
