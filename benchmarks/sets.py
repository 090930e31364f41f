"""DETR without a rule of its loss: what does the matching hold together, and what the weight?

    python -m benchmarks.sets                         all arms, three seeds
    python -m benchmarks.sets --only matching --dry   one arm, printed only, other scenes

    matching        the cheapest assignment of queries to objects; "no object" weighs a tenth
    in_order        the first query answers for the first object, and so on, from far to near
    equal_weights   the cheapest assignment, but "no object" weighs as much as any class
    ..._100         the same with 100 queries, as in the paper, instead of 16: 94 have no object

Every arm takes backbone and encoder from the weights that come with the course and leaves them as
they are. Queries and decoder learn anew and the heads learn on, each arm under its own rule.
Counted are also the answers that are surer than one half, for every object that is there: of the
same object twice, and of nothing.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import runs
from benchmarks.architectures import CHOICE_SEED, TEST_SEED
from benchmarks.detectors import (
    Pair,
    ask_queries,
    box_scores,
    look,
    new_scenes,
    query_loss,
    scenes,
    small_targets,
    start,
    train,
)
from benchmarks.pretrained import BUILD, quiet_start
from segcourse.classroom import DETR_OPTIONS
from segcourse.data.sample import Sample
from segcourse.data.toytown import THINGS
from segcourse.losses.set_matching import Indices
from segcourse.models.detr import DETR
from segcourse.ops.boxes import box_iou
from segcourse.pretrained import load_pretrained

TRAINING = dict(steps=400, batch=8, learning_rate=1e-3)
SCORED = 100  # scenes
SURE, SAME = 0.5, 0.5  # a score, an IoU


def in_order(model: nn.Module, batch: Sample) -> Tensor:
    """The set loss where nobody is matched: the order of the objects decides."""
    counts = [len(each.labels) for each in small_targets(batch)]
    indices = [Indices(torch.arange(count), torch.arange(count)) for count in counts]
    return query_loss(model, batch, indices=indices)


equal_weights = partial(query_loss, eos_coef=1.0)
ARMS: dict[str, tuple[Callable[[nn.Module, Sample], Tensor], int]] = {  # loss, queries
    "matching": (query_loss, 16),
    "in_order": (in_order, 16),
    "equal_weights": (equal_weights, 16),
    "matching_100": (query_loss, 100),
    "equal_weights_100": (equal_weights, 100),
}


def sure_answers(pairs: list[Pair]) -> dict[str, float]:
    """Answers surer than one half, for every object: that hit one first, hit it again, or miss."""
    first = again = missed = objects = 0
    for found, target in pairs:
        objects += len(target.labels)
        sure = found.scores > SURE
        overlap = box_iou(found.boxes[sure], target.boxes)
        hit = (overlap >= SAME) & (found.labels[sure][:, None] == target.labels)
        first += int(hit.any(dim=0).sum())
        again += int(hit.any(dim=1).sum()) - int(hit.any(dim=0).sum())
        missed += int((~hit.any(dim=1)).sum())
    return {
        "found": round(first / objects, 4),
        "found_again": round(again / objects, 4),
        "wrong": round(missed / objects, 4),
    }


def run(name: str, seed: int, steps: int, scored: int) -> dict:
    """Let queries learn anew under one rule, and score them on scenes of the seed ``scored``."""
    start(seed)
    loss, queries = ARMS[name]
    model = load_pretrained(BUILD["detr"](), "detr")
    fresh = DETR(len(THINGS), **{**DETR_OPTIONS, "num_queries": queries})
    quiet_start(fresh)
    model.mask_head = None
    model.requires_grad_(False)
    model.query_embed, model.transformer.decoder = fresh.query_embed, fresh.transformer.decoder
    heads = nn.ModuleList([model.class_embed, model.bbox_embed]).requires_grad_(True)
    learning = nn.ModuleList([model.query_embed, model.transformer.decoder, heads])
    seconds = train(
        learning,
        lambda _, batch: loss(model, batch),
        new_scenes(1, size=None),
        seed=seed,
        **{**TRAINING, "steps": steps},
    )
    pairs = look(ask_queries(model.eval()), scenes(SCORED, scored))
    return {
        "seed": seed,
        **box_scores(pairs),
        **sure_answers(pairs),
        "training_seconds": round(seconds, 1),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen arms; returns the exit status."""
    options = runs.parser(__doc__.splitlines()[0], ARMS, TRAINING["steps"]).parse_args(arguments)
    settings = {**TRAINING, "steps": options.steps}
    scored = CHOICE_SEED if options.dry else TEST_SEED
    runs.renew("sets", "arms", ARMS, run, settings, options, options.steps, scored)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
