"""Mask Scoring R-CNN: the published counts, the arithmetic of its target, and learning it."""

from functools import partial

import pytest
import torch
from torch import nn

from segcourse.models.mask_rcnn import Regions
from segcourse.models.mask_scoring import (
    MaskIoUHead,
    MaskScoringRCNN,
    mask_iou_targets,
    visible_shares,
)
from segcourse.ops.instances import Instances

SIZE = (96, 128)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("outputs, parameters", [(81, 16_341_329), (91, 16_351_579),
                                                 (80, 16_340_304)])  # fmt: skip
def test_parameters(outputs, parameters):
    with torch.device("meta"):
        head = MaskIoUHead(256, outputs - 1)
    assert count(head) == parameters
    assert [count(layer) for layer in head.convolve] == [592_384, 590_080, 590_080, 590_080]
    assert [count(layer) for layer in head.layers[1::2]][:2] == [12_846_080, 1_049_600]
    assert count(head.layers[-1]) == {81: 83_025}.get(outputs, 1025 * outputs)


def test_the_mask_is_pooled_by_its_maxima():
    torch.manual_seed(0)
    head, features = MaskIoUHead(4, 2, representation_size=8), torch.randn(3, 4, 14, 14)
    masks = torch.rand(3, 28, 28)
    pooled = masks.unflatten(2, (14, 2)).unflatten(1, (14, 2)).amax(dim=(2, 4))
    seen = []
    head.convolve.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    assert head(features, masks).shape == (3, 3)
    assert torch.equal(seen[0], torch.cat([features, pooled[:, None]], dim=1))


def test_the_target_counts_the_whole_object():
    preds, target = torch.zeros(2, 4, 4, dtype=torch.bool), torch.zeros(2, 4, 4, dtype=torch.bool)
    preds[:, :2], target[:, 1:3] = True, True  # 8 and 8 cells, 4 shared
    seen = torch.tensor([1.0, 0.5])  # of the second, half lies outside the box
    assert mask_iou_targets(preds, target, seen).tolist() == pytest.approx([4 / 12, 4 / 20])
    nothing = torch.zeros_like(preds)
    assert mask_iou_targets(nothing, nothing, seen).tolist() == [0, 0]


def test_the_share_that_a_box_sees():
    masks = torch.zeros(2, 20, 20, dtype=torch.bool)
    masks[:, 4:12, 4:12] = True
    boxes = torch.tensor([[4.0, 4, 12, 12], [8, 2, 20, 20]])
    regions = Regions(torch.zeros(2, 1, 14, 14), boxes, torch.zeros(2).long(), masks)
    assert visible_shares(regions).tolist() == [1, 0.5]


def test_a_box_that_begins_outside_of_the_image_sees_what_lies_inside():
    masks = torch.zeros(1, 20, 20, dtype=torch.bool)
    masks[:, :8, :4] = True
    boxes = torch.tensor([[-5.0, -3, 4, 4]])
    regions = Regions(torch.zeros(1, 1, 14, 14), boxes, torch.zeros(1).long(), masks)
    assert visible_shares(regions).tolist() == [0.5]


@pytest.fixture
def small(detector):
    return partial(MaskScoringRCNN, **detector)


def test_all_losses_reach_all_heads_and_that_of_the_iou_reaches_the_mask_head(small, two_objects):
    torch.manual_seed(0)
    net = small(2)
    losses = net.loss(torch.rand(2, 3, *SIZE), [two_objects, two_objects])
    assert losses.keys() == {"objectness", "rpn_box", "class", "box", "mask", "mask_iou"}
    losses["mask_iou"].backward(retain_graph=True)
    assert net.mask_predictor.mask_fcn_logits.weight.grad.any()
    sum(losses.values()).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]


def test_without_objects_nothing_is_learnt_about_masks(small, no_objects):
    losses = small(2).loss(torch.rand(1, 3, *SIZE), [no_objects])
    assert losses["mask_iou"] == losses["mask"] == 0


def test_masks_are_ranked_by_class_and_iou_boxes_by_class(small):
    torch.manual_seed(0)
    net = small(2, score_threshold=0.0, max_detections=5).eval()
    net.mask_iou = lambda features, logits, labels: torch.linspace(-0.5, 1.5, len(labels))
    found = net(torch.rand(1, 3, *SIZE))[0]
    assert (found.scores.diff() <= 0).all()
    wanted = found.scores * torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0])
    assert torch.allclose(found.mask_scores, wanted)


@torch.no_grad()
def test_images_of_two_sizes_have_scored_masks_of_their_own_size(small):
    torch.manual_seed(0)
    net = small(2, score_threshold=0.0, max_detections=5).eval()
    sizes = [(91, 127), (50, 60)]
    for found, size in zip(net([torch.rand(3, *size) for size in sizes]), sizes, strict=True):
        assert found.masks.shape == (5, *size) and found.mask_scores.shape == (5,)


def test_losses_of_images_of_two_sizes_are_finite(small, two_objects):
    torch.manual_seed(0)
    small_one = Instances(torch.tensor([[5.0, 5, 40, 45]]), torch.tensor([1]),
                          torch.ones(1, 50, 60).bool())  # fmt: skip
    losses = small(2).loss([torch.rand(3, *SIZE), torch.rand(3, 50, 60)], [two_objects, small_one])
    assert all(loss.isfinite() for loss in losses.values())


def test_learns_how_good_masks_are(small, two_objects):
    """The mask head stays as it is, so that the target stands still."""
    torch.manual_seed(0)
    net, image = small(2), torch.rand(2, 3, *SIZE)
    optimizer = torch.optim.Adam(net.iou_head.parameters(), lr=3e-3)
    history = []
    for _ in range(60):
        loss = net.loss(image, [two_objects, two_objects])["mask_iou"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert sum(history[-10:]) < 0.3 * sum(history[:10])
