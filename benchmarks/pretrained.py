"""The weights that come with the course: train, save, load and measure them.

    python -m benchmarks.pretrained                         all, one after the other
    python -m benchmarks.pretrained --only detr             one of them
    python -m benchmarks.pretrained --only detr --confirm   measure again what is there

Both networks see ever new scenes of Toytown, twice as large, on one thread. What is scored is what
was written, in half precision, on scenes of another seed. ``--confirm`` is for code that has
changed since: where all scores are still the stored ones, it writes the fingerprints of the code
as it is now beside the weights, and the loader warns no more.
"""

import argparse
import hashlib
import json
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.architectures import TEST_SEED
from benchmarks.detectors import (
    ask_queries,
    box_scores,
    detector_loss,
    enlarge,
    look,
    mask_scores,
    new_scenes,
    scenes,
    small_targets,
    start,
    train,
)
from benchmarks.report import RESULTS, write
from segcourse.classroom import DETECTORS
from segcourse.data.sample import Sample
from segcourse.data.toytown import THINGS
from segcourse.losses.set_matching import Indices, hungarian_match, set_loss, set_mask_loss
from segcourse.models.detr import DETR, MaskHead
from segcourse.models.mask_rcnn import MaskRCNN
from segcourse.ops.instances import Instances, normalized_cxcywh
from segcourse.pretrained import FOLDER, load_pretrained, save_pretrained, write_passport

SCORED = 100  # scenes
SEED = 0
QUIET, LOUD = 0.1, 100.0  # factors on weights at the start, see below
MIDDLE = 0.7  # of an object's width and height
NO_OBJECT = 1.0  # 16 queries for 6 objects need no smaller weight: benchmarks.sets
STEPS = {
    "mask_rcnn": dict(steps=10_000, batch=2, learning_rate=2e-3),
    "detr_tokens": dict(steps=2_600, batch=8, learning_rate=4e-3),
    "detr_queries": dict(steps=7_000, batch=8, learning_rate=1.5e-3),
    "detr_masks": dict(steps=800, batch=8, learning_rate=2e-3),
}
BUILD: dict[str, Callable[[], nn.Module]] = {
    name: partial(DETECTORS[name], len(THINGS)) for name in ("mask_rcnn", "detr")
}


def train_mask_rcnn(model: MaskRCNN) -> dict[str, float]:
    """All losses together; returns the seconds."""
    return {"seconds": train(model, detector_loss, new_scenes(), seed=SEED, **STEPS["mask_rcnn"])}


def quiet_start(model: DETR) -> None:
    """Let the transformer begin as little more than a reader of tokens.

    Encoder and decoder add a tenth of what they would, and a query that looks at a token holds what
    the token holds. What remains to be learnt from nothing is where to look.
    """
    same = torch.eye(model.query_embed.weight.shape[1])
    encoder, decoder = model.transformer.encoder, model.transformer.decoder
    with torch.no_grad():
        for layer in (*encoder, *decoder):
            layer.self_attn.o_proj.weight.mul_(QUIET)
        for layer in (*encoder, *decoder):
            layer.ffn[-1].weight.mul_(QUIET)
        for each in decoder:
            each.cross_attn.v_proj.weight.copy_(same)
            each.cross_attn.o_proj.weight.copy_(same)


def token_loss(model: DETR, batch: Sample) -> Tensor:
    """The set loss of a DETR without decoder: the tokens in the middle of an object answer for it.

    So backbone, encoder and heads learn what objects look like, and the queries find something to
    compare. In the paper, ImageNet has taught the backbone that.
    """
    features = model.encode_features(enlarge(batch.image))
    memory = model.transformer.encode(features.tokens(), features.pos_embed)
    logits, boxes, _ = model.predict_heads(model.transformer.norm(memory))
    targets, indices = [], []
    for each in small_targets(batch):
        token, own = middles(each, *features.coarse.shape[-2:])
        targets.append(Instances(*(part[own] for part in each)))
        indices.append(Indices(token, torch.arange(len(token))))
    return sum(set_loss(logits, boxes, targets, indices=indices).values())


def token_and_query_loss(model: DETR, batch: Sample) -> Tensor:
    """The set loss of every decoder layer, and of the tokens, now one for every object."""
    targets = small_targets(batch)
    features = model.encode_features(enlarge(batch.image))
    hidden_states, memory = model.transform(features)
    logits, boxes, _ = model.predict_heads(model.transformer.norm(memory))
    indices = [centres(each, *features.coarse.shape[-2:]) for each in targets]
    total = sum(set_loss(logits, boxes, targets, indices=indices).values())
    for logits, boxes, _ in map(model.predict_heads, hidden_states):
        total = total + sum(set_loss(logits, boxes, targets, eos_coef=NO_OBJECT).values())
    return total


def shares(target: Instances) -> Tensor:
    """The boxes as shares of the image: -> (G, 4) centre x, centre y, width, height."""
    return normalized_cxcywh(target.boxes, target.masks.shape[-2:])


def centres(target: Instances, height: int, width: int) -> Indices:
    """The token that every object is centred in; where two share one, the nearer has it."""
    column, row = (shares(target)[:, :2] * torch.tensor([width, height])).long().unbind(dim=1)
    token = row.clamp(max=height - 1) * width + column.clamp(max=width - 1)
    owner = {int(place): number for number, place in enumerate(token)}
    pairs = owner.keys(), owner.values()
    return Indices(*(torch.tensor(list(part), dtype=torch.int64) for part in pairs))


def middles(target: Instances, height: int, width: int) -> Indices:
    """The tokens in the middle of every object, of the smaller one in doubt, and ``centres``."""
    x = (torch.arange(width) + 0.5) / width
    y = (torch.arange(height) + 0.5) / height
    across, down, wide, high = shares(target)[:, :, None].unbind(dim=1)  # (G, 1) each
    columns = (x - across).abs() < MIDDLE * wide / 2
    rows = (y - down).abs() < MIDDLE * high / 2
    owner = torch.full((height * width,), -1)
    for number in (wide * high)[:, 0].argsort(descending=True).tolist():
        owner[(rows[number, :, None] & columns[number]).flatten()] = number
    token, own = centres(target, height, width)
    owner[token] = own
    token = (owner >= 0).nonzero()[:, 0]
    return Indices(token, owner[token])


def train_detr(model: DETR) -> dict[str, float]:
    """Tokens, then queries, then the mask head alone, as in the paper; returns the seconds."""
    head, model.mask_head = model.mask_head, None
    quiet_start(model)
    model.to(memory_format=torch.channels_last)  # a fifth faster
    seconds, small = {}, new_scenes(size=None)
    losses = {"detr_tokens": token_loss, "detr_queries": token_and_query_loss}
    for number, (part, loss) in enumerate(losses.items()):
        seconds[f"seconds_{part}"] = train(model, loss, small, seed=SEED + number, **STEPS[part])
    model.eval().requires_grad_(False)
    start_masks(head, model)
    model.mask_head = head
    seconds["seconds_detr_masks"] = train(
        head, partial(mask_loss, model), small, seed=SEED + len(losses), **STEPS["detr_masks"]
    )
    model.to(memory_format=torch.contiguous_format)
    return {"seconds": sum(seconds.values()), **seconds}


def start_masks(head: MaskHead, model: DETR) -> None:
    """Let the mask head begin where the queries look already, and listen to it.

    Its weights sum to one over all heads and tokens, so each is about a thousandth, beside features
    of about one: without ``LOUD`` it takes hundreds of steps until they are heard.
    """
    cross_attn = model.transformer.decoder[-1].cross_attn
    head.q_proj.load_state_dict(cross_attn.q_proj.state_dict())
    head.k_proj.load_state_dict(cross_attn.k_proj.state_dict())
    with torch.no_grad():
        head.conv1[0].weight[:, -head.num_heads :].mul_(LOUD)


def mask_loss(model: DETR, head: MaskHead, batch: Sample) -> Tensor:
    """The loss of the masks of matched queries, the mean over images; the others need not be drawn.

    ``model`` stays as it is. Scenes have their own size, twice as large as a mask.
    """
    targets = small_targets(batch)
    with torch.no_grad():
        features = model.encode_features(enlarge(batch.image))
        hidden_states, memory = model.transform(features)
    hidden_states = hidden_states[-1]
    logits, boxes, _ = model.predict_heads(hidden_states)
    total, pairs = 0, hungarian_match(logits, boxes, targets)
    for index, (target, (query, matched)) in enumerate(zip(targets, pairs, strict=True)):
        own = slice(index, index + 1)
        fine = [stage[own] for stage in features.fine]
        seen = features._replace(fine=fine, coarse=features.coarse[own])
        masks = head(hidden_states[own, query], memory[own], seen)
        indices = Indices(torch.arange(len(query)), matched)
        total = total + sum(set_mask_loss(masks, [target.masks], [indices]).values())
    return total / len(targets)


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of code that has changed: it is measured
        found = measure(name)
    other = [key for key, value in found.items() if value != stored.get(key)]
    if other:
        raise SystemExit(f"{name}: {', '.join(other)} are not as stored: train it again.")
    write_passport(BUILD[name](), FOLDER / f"{name}.safetensors")
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
