"""The loss of a set: brute force over all assignments, the arithmetic, and what it teaches."""

from itertools import permutations

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torchvision.ops import box_convert, generalized_box_iou, sigmoid_focal_loss

from segcourse.losses.set_matching import (
    Indices,
    hungarian_match,
    set_loss,
    set_mask_loss,
)
from segcourse.ops.instances import Instances

CLASSES = 3


SIZE = (50, 200)


def instances(labels: torch.Tensor, boxes: torch.Tensor) -> Instances:
    """Objects whose boxes are (centre x, centre y, width, height) as shares of an image."""
    corners = box_convert(boxes * torch.tensor([200, 50, 200, 50]), "cxcywh", "xyxy")
    return Instances(corners, labels, torch.zeros(len(labels), *SIZE, dtype=torch.bool))


def shares(target: Instances) -> torch.Tensor:
    return box_convert(target.boxes, "xyxy", "cxcywh") / torch.tensor([200, 50, 200, 50])


def draw(seed: int, queries: int, objects: int) -> tuple[torch.Tensor, torch.Tensor, Instances]:
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(queries + objects, 4, generator=generator) * 0.4 + 0.1
    labels = torch.randint(CLASSES, (objects,), generator=generator)
    logits = torch.randn(queries, CLASSES + 1, generator=generator)
    return logits, boxes[:queries], instances(labels, boxes[queries:])


def match_alone(logits, boxes, target) -> list[Indices]:
    return hungarian_match(logits[None], boxes[None], [target])


def cost_by_hand(logits, boxes, target, pairs) -> float:
    total = 0.0
    for query, index in pairs:
        box, true = boxes[query], shares(target)[index]
        corners = [box_convert(b[None], "cxcywh", "xyxy") for b in (box, true)]
        total -= logits[query].softmax(dim=0)[target.labels[index]].item()
        total += 5 * (box - true).abs().sum().item()
        total -= 2 * generalized_box_iou(*corners).item()
    return total


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 4))
def test_no_assignment_is_cheaper(seed, queries, objects):
    image = draw(seed, queries, objects)
    [indices] = match_alone(*image)
    found = list(zip(indices.query.tolist(), indices.target.tolist(), strict=True))
    number = min(queries, objects)
    assert len(found) == number == len(set(indices.query.tolist())) == len({o for _, o in found})
    if queries >= objects:
        others = (
            [(q, o) for o, q in enumerate(order)] for order in permutations(range(queries), objects)
        )
    else:
        others = (list(enumerate(order)) for order in permutations(range(objects), queries))
    least = min(cost_by_hand(*image, each) for each in others)
    assert cost_by_hand(*image, found) == pytest.approx(least, abs=1e-5)


def test_the_losses_by_hand():
    logits, boxes, target = draw(0, 4, 2)
    indices = Indices(torch.tensor([2, 0]), torch.tensor([0, 1]))
    got = set_loss(logits[None], boxes[None], [target], indices=[indices])
    wanted = torch.full((4,), CLASSES)
    wanted[2], wanted[0] = target.labels
    weight = torch.tensor([1.0, 1, 1, 0.1])
    each = F.cross_entropy(logits, wanted, reduction="none") * weight[wanted]
    assert got["class"].item() == pytest.approx((each.sum() / weight[wanted].sum()).item())
    off = (boxes[[2, 0]] - shares(target)).abs().sum().item()
    assert got["box"].item() == pytest.approx(5 * off / 2)
    corners = [box_convert(b, "cxcywh", "xyxy") for b in (boxes[[2, 0]], shares(target))]
    giou = generalized_box_iou(*corners).diagonal()
    assert got["giou"].item() == pytest.approx(2 * (1 - giou).mean().item(), rel=1e-5)


def test_objects_of_all_images_share_one_denominator():
    one, two, none = draw(1, 5, 3), draw(2, 5, 1), draw(3, 5, 0)
    logits, boxes = (torch.stack(parts) for parts in list(zip(one, two, none, strict=True))[:2])
    got = set_loss(logits, boxes, [one[2], two[2], none[2]])
    alone = [set_loss(x[None], b[None], [o])["box"] for x, b, o in (one, two)]
    assert got["box"].item() == pytest.approx(((3 * alone[0] + alone[1]) / 4).item(), rel=1e-5)


def test_nothing_to_find_teaches_no_object():
    logits, boxes, target = draw(0, 4, 0)
    logits.requires_grad_(), boxes.requires_grad_()
    losses = set_loss(logits[None], boxes[None], [target])
    sum(losses.values()).backward()
    assert losses["box"] == losses["giou"] == 0 and not boxes.grad.any()
    assert (logits.grad[:, CLASSES] < 0).all() and (logits.grad[:, :CLASSES] > 0).all()


def test_two_queries_for_one_object_learn_who_it_is():
    torch.manual_seed(0)
    target = instances(torch.tensor([1]), torch.tensor([[0.5, 0.5, 0.4, 0.4]]))
    logits = torch.zeros(1, 2, CLASSES + 1, requires_grad=True)
    free = torch.tensor([[[0.1, 0.0, -0.4, -0.4], [0.2, 0.1, -0.3, -0.4]]], requires_grad=True)
    optimizer = torch.optim.Adam([logits, free], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        sum(set_loss(logits, free.sigmoid(), [target]).values()).backward()
        optimizer.step()
    assert sorted(logits[0].argmax(dim=1).tolist()) == [1, CLASSES]


def test_mask_losses_by_hand_and_by_torchvision():
    generator = torch.Generator().manual_seed(0)
    masks = torch.randn(2, 5, 6, 8, generator=generator)
    targets = [torch.rand(2, 24, 32, generator=generator) > 0.5, torch.zeros(0, 24, 32).bool()]
    indices = [
        Indices(torch.tensor([4, 1]), torch.tensor([0, 1])),
        Indices(*torch.zeros(2, 0).long()),
    ]
    got = set_mask_loss(masks, targets, indices)
    logits = F.interpolate(masks[:1, [4, 1]], size=(24, 32), mode="bilinear")[0]
    target = targets[0].float()
    focal = sigmoid_focal_loss(logits, target, alpha=0.25, gamma=2).mean(dim=(1, 2)).sum() / 2
    assert got["focal"].item() == pytest.approx(focal.item(), rel=1e-5)
    p = logits.sigmoid()
    sizes = p.sum(dim=(1, 2)) + target.sum(dim=(1, 2))
    dice = 1 - (2 * (p * target).sum(dim=(1, 2)) + 1) / (sizes + 1)
    assert got["mask_dice"].item() == pytest.approx(dice.mean().item(), rel=1e-5)


def test_masks_without_objects_cost_nothing_and_have_a_gradient():
    masks = torch.randn(1, 3, 4, 4, requires_grad=True)
    losses = set_mask_loss(
        masks, [torch.zeros(0, 8, 8).bool()], [Indices(*torch.zeros(2, 0).long())]
    )
    sum(losses.values()).backward()
    assert losses["focal"] == losses["mask_dice"] == 0 and not masks.grad.any()
    with pytest.raises(ValueError, match="1 images came with 0 targets and 0 lists"):
        set_mask_loss(masks, [], [])


LOGITS, BOXES, TARGET = draw(0, 4, 2)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"labels": torch.tensor([0, 3])}, "0 to 2, but these from 0 to 3"),
        ({"boxes": TARGET.boxes + 300}, "outside its image"),
        ({"boxes": TARGET.boxes[:1]}, r"2 labels came with boxes \(1, 4\)"),
    ],
)
def test_bad_targets_are_refused_with_the_remedy(change, remedy):
    with pytest.raises(ValueError, match=remedy):
        set_loss(LOGITS[None], BOXES[None], [TARGET._replace(**change)])


@pytest.mark.parametrize("part", [0, 1])
def test_nan_predictions_are_refused(part):
    predictions = [LOGITS[None].clone(), BOXES[None].clone()]
    predictions[part][0, 1, 2] = torch.nan
    with pytest.raises(ValueError, match="diverged"):
        set_loss(*predictions, [TARGET])


# ── half precision, integers of any width ───────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("autocast", [False, True])
def test_predictions_of_any_type_are_matched_as_numbers(dtype, autocast):
    logits, boxes = LOGITS.to(dtype), BOXES.to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        [indices] = match_alone(logits, boxes, TARGET)
        losses = set_loss(logits[None], boxes[None], [TARGET])
    [wanted] = match_alone(logits.float(), boxes.float(), TARGET)
    assert all(map(torch.equal, indices, wanted))
    for name, value in set_loss(logits.float()[None], boxes.float()[None], [TARGET]).items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-4)


@pytest.mark.parametrize("side", [1, 64, 400, 800])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_masks_of_half_precision_are_summed_in_single(side, dtype, autocast):
    masks = torch.full((1, 1, max(side // 4, 1), max(side // 4, 1)), 3.0).to(dtype)
    targets = [torch.ones(1, side, side, dtype=torch.bool)]
    indices = [Indices(torch.tensor([0]), torch.tensor([0]))]
    wanted = set_mask_loss(masks.double(), targets, indices)
    with torch.autocast("cpu", dtype, enabled=autocast):
        found = set_mask_loss(masks, targets, indices)
    for name, value in wanted.items():
        assert found[name].item() == pytest.approx(value.item(), rel=0.01, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_any_width(dtype):
    narrow = TARGET._replace(labels=TARGET.labels.to(dtype))
    wanted = set_loss(LOGITS[None], BOXES[None], [TARGET])
    assert set_loss(LOGITS[None], BOXES[None], [narrow]) == wanted


def test_bad_queries_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 4, 4\), \(1, 3, 4\) and 1 came"):
        set_loss(LOGITS[None], BOXES[None, :3], [TARGET])


def test_an_unmatched_mask_does_not_matter():
    masks = torch.randn(1, 3, 4, 4)
    indices = [Indices(torch.tensor([1]), torch.tensor([0]))]
    wanted = set_mask_loss(masks, [torch.ones(1, 8, 8).bool()], indices)
    masks[0, 0], masks[0, 2] = torch.inf, torch.nan
    assert set_mask_loss(masks, [torch.ones(1, 8, 8).bool()], indices) == wanted


def test_no_object_needs_a_weight():
    with pytest.raises(ValueError, match="eos_coef=0"):
        set_loss(LOGITS[None], BOXES[None], [TARGET], eos_coef=0)
