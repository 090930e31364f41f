"""The weights that come with the course: train, save, load and measure them.

    python -m benchmarks.pretrained                         all, one after the other
    python -m benchmarks.pretrained --only detr             one of them
    python -m benchmarks.pretrained --only detr --confirm   measure again what is there

Both networks see ever new scenes of Toytown, twice as large, on one thread. What is scored is what
was written, in half precision, on scenes of another seed. ``--confirm`` is for code that has
changed since: where all scores are still the stored ones, it says so to the loader.
"""

import argparse
import hashlib
import json
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.architectures import TEST_SEED
from benchmarks.detectors import (
    DETR_SIZE,
    MASK_RCNN,
    all_objects,
    ask_queries,
    box_scores,
    detector_loss,
    enlarge,
    look,
    mask_scores,
    new_scenes,
    object_set,
    query_loss,
    scenes,
    small_sets,
    start,
    train,
)
from benchmarks.report import RESULTS, write
from segcourse.data.sample import Sample
from segcourse.data.toytown import THINGS
from segcourse.losses.set_matching import ObjectSet, Pairs, match_sets, set_loss, set_mask_loss
from segcourse.models.detr import DETR
from segcourse.models.mask_rcnn import MaskRCNN
from segcourse.pretrained import FOLDER, load_pretrained, save_pretrained, write_passport

SCORED = 100  # scenes
SEED = 0
STEPS = {
    "mask_rcnn": dict(steps=10_000, batch=2, learning_rate=2e-3),
    "detr_tokens": dict(steps=1_800, batch=8, learning_rate=3e-3),
    "detr": dict(steps=6_800, batch=8, learning_rate=4e-4),
    "detr_masks": dict(steps=1_000, batch=4, learning_rate=1e-3),
}
BUILD: dict[str, Callable[[], nn.Module]] = {
    "mask_rcnn": lambda: MaskRCNN(len(THINGS), **MASK_RCNN),
    "detr": lambda: DETR(len(THINGS), masks=True, **DETR_SIZE),
}


def train_mask_rcnn(model: MaskRCNN) -> dict[str, float]:
    """All losses together; returns the seconds."""
    return {"seconds": train(model, detector_loss, new_scenes(), seed=SEED, **STEPS["mask_rcnn"])}


def token_loss(model: DETR, batch: Sample) -> Tensor:
    """The set loss of a DETR without transformer: tokens answer, each for the object centred in it.

    So backbone and heads learn what objects look like, and the transformer finds something to
    compare. In the paper, ImageNet has taught the backbone that.
    """
    truth = small_sets(batch)
    coarse = model.project(model.backbone(enlarge(batch.image))[-1])
    tokens = coarse.flatten(2).transpose(1, 2)
    pairs = [centres(each, *coarse.shape[-2:]) for each in truth]
    logits, boxes = model.classify(tokens), model.locate(tokens).sigmoid()
    return sum(set_loss(logits, boxes, truth, pairs=pairs).values())


def centres(objects: ObjectSet, height: int, width: int) -> Pairs:
    """The token that every object is centred in; where two share one, the nearer has it."""
    column, row = (objects.boxes[:, :2] * torch.tensor([width, height])).long().unbind(dim=1)
    token = row.clamp(max=height - 1) * width + column.clamp(max=width - 1)
    owner = {int(place): number for number, place in enumerate(token)}
    return Pairs(*(torch.tensor(list(part), dtype=torch.int64) for part in (owner, owner.values())))


def train_detr(model: DETR) -> dict[str, float]:
    """Tokens, then queries, then the mask head alone, as in the paper; returns the seconds."""
    head, model.mask_head = model.mask_head, None
    seconds, small = {}, new_scenes(size=None)
    for number, (part, loss) in enumerate({"detr_tokens": token_loss, "detr": query_loss}.items()):
        seconds[f"seconds_{part}"] = train(model, loss, small, seed=SEED + number, **STEPS[part])
    model.eval().requires_grad_(False)
    model.mask_head = head
    seen = model.transformer.decoder[-1].look  # the head starts where the queries look already
    head.query.load_state_dict(seen.query.state_dict())
    head.key.load_state_dict(seen.key.state_dict())

    def mask_loss(head: nn.Module, batch: Sample) -> Tensor:
        objects = all_objects(batch)
        found = model(batch.image)
        pairs = [
            match_sets(logits, boxes, object_set(each))
            for logits, boxes, each in zip(found.logits, found.boxes, objects, strict=True)
        ]
        return sum(set_mask_loss(found.masks, [each.masks for each in objects], pairs).values())

    seconds["seconds_detr_masks"] = train(
        head, mask_loss, new_scenes(), seed=SEED + 2, **STEPS["detr_masks"]
    )
    return {"seconds": sum(seconds.values()), **seconds}


def measure(name: str) -> dict:
    """Load what was written, as a chapter does, and score it."""
    model = load_pretrained(BUILD[name](), name)
    pairs = look(ask_queries(model) if name == "detr" else model, scenes(SCORED, TEST_SEED))
    return {**box_scores(pairs), **mask_scores(pairs)}


def make(name: str) -> dict:
    """Train and write one network; returns what results/ keeps of it."""
    start(SEED)
    model = BUILD[name]()
    seconds = (train_detr if name == "detr" else train_mask_rcnn)(model)
    path = save_pretrained(model, name)
    return {
        "seed": SEED,
        **{key: value for key, value in STEPS.items() if key.startswith(name)},
        **{key: round(value, 1) for key, value in seconds.items()},
        "parameters": sum(p.numel() for p in model.parameters()),
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        **measure(name),
    }


def confirm(name: str, stored: dict) -> None:
    """Measure weights with the code as it is now, and record that code if nothing has changed.

    Raises:
        SystemExit: if a score differs.
    """
    path = FOLDER / f"{name}.safetensors"
    passport = path.with_suffix(".json")
    before = passport.read_text()
    write_passport(BUILD[name](), path)
    found = measure(name)
    other = [key for key, value in found.items() if value != stored.get(key)]
    if other:
        passport.write_text(before)
        raise SystemExit(f"{name}: {', '.join(other)} are not as stored: train it again.")
    print(f"{name}: all scores are as stored; its code is recorded")


def main(arguments: list[str] | None = None) -> int:
    """Make or confirm the chosen weights; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(BUILD), default=list(BUILD))
    parser.add_argument("--confirm", action="store_true", help="measure, and train nothing")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in options.only:
        path = RESULTS / "pretrained.json"
        stored = json.loads(path.read_text())["weights"] if path.exists() else {}
        if options.confirm:
            confirm(name, stored[name])
            continue
        made = make(name)
        print(name, made, flush=True)
        weights = {each: row for each, row in {**stored, name: made}.items() if each in BUILD}
        write("pretrained", {"scenes": SCORED, "weights": weights})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
