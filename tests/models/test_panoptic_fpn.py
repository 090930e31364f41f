"""Panoptic FPN: the published counts and shapes, the branch's truth, and learning a scene."""

from functools import partial

import pytest
import torch
from torch import nn

from segcourse.metrics.panoptic import mean_panoptic_quality, panoptic_counts
from segcourse.models.mask_rcnn import Objects
from segcourse.models.panoptic_fpn import PanopticFPN, SemanticBranch
from segcourse.ops.labels import IGNORE
from segcourse.ops.panoptic import panoptic_ids

SIZE = (64, 96)
THINGS, STUFF = (3, 4), (0, 2)


@pytest.fixture
def small(detector):
    return partial(PanopticFPN, THINGS, STUFF, branch_channels=16, least_stuff=20, **detector)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_the_branch():
    with torch.device("meta"):
        branch = SemanticBranch(256, 54)
        assert count(branch) == 1_630_774 and count(branch.score) == 6_966
        groups = [layer for layer in branch.modules() if isinstance(layer, nn.GroupNorm)]
        assert sum(map(count, groups)) == 1_792 and len(groups) == 7
        assert count(branch) - 6_966 - 1_792 == 1_622_016
        assert count(PanopticFPN(range(80), range(80, 133)).branch) == 1_630_774


def test_shapes():
    levels = [torch.zeros(1, 8, 64 // s, 96 // s) for s in (1, 2, 4, 8)]
    assert SemanticBranch(8, 5, 16)(levels).shape == (1, 5, 64, 96)
    odd = [torch.zeros(1, 8, *size) for size in ((13, 17), (7, 9), (4, 5), (2, 3))]
    assert SemanticBranch(8, 5, 16)(odd).shape == (1, 5, 13, 17)


def test_coarse_maps_are_enlarged_step_by_step():
    paths = SemanticBranch(8, 5, 16).paths
    assert [sum(isinstance(step, nn.Upsample) for step in path) for path in paths] == [0, 1, 2, 3]
    assert [len(path) for path in paths] == [1, 2, 4, 6]


def test_the_branch_calls_all_things_one_class(small):
    semantic = torch.tensor([[0, 2, 3, 4, IGNORE]])
    assert small().branch_truth(semantic).tolist() == [[1, 2, 0, 0, IGNORE]]
    with pytest.raises(ValueError, match=r"holds class 1, which is neither one of the things"):
        small().branch_truth(torch.tensor([[0, 1]]))


def scene() -> tuple[torch.Tensor, Objects, torch.Tensor, torch.Tensor]:
    """Image, objects, classes and objects' numbers: sky over road, two things on it."""
    semantic, instance = torch.zeros(SIZE).long(), torch.zeros(SIZE).long()
    semantic[32:] = 2
    semantic[16:48, 8:40], instance[16:48, 8:40] = 3, 1
    semantic[20:52, 52:90], instance[20:52, 52:90] = 4, 2
    colours = torch.eye(3)[torch.tensor([0, 0, 1, 2, 2])] * torch.tensor([1, 1, 1, 1, 0.4])[:, None]
    image = colours[semantic].permute(2, 0, 1)
    masks = torch.stack([instance == 1, instance == 2])
    boxes = torch.tensor([[8.0, 16, 40, 48], [52, 20, 90, 52]])
    return image, Objects(boxes, torch.tensor([1, 2]), masks), semantic, instance


def test_learns_a_scene(small):
    torch.manual_seed(0)
    image, objects, semantic, instance = scene()
    images, semantics = torch.stack([image] * 2), torch.stack([semantic] * 2)
    net = small()
    losses = net.loss(images, [objects] * 2, semantics)
    assert losses.keys() == {"objectness", "rpn_box", "class", "box", "mask", "semantic"}
    sum(losses.values()).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        sum(net.loss(images, [objects] * 2, semantics).values()).backward()
        optimizer.step()
    counts = panoptic_counts(net.eval()(images)[0], panoptic_ids(semantic, instance), 5)
    means = mean_panoptic_quality(counts, THINGS)
    assert means["Stuff"]["pq"] > 0.8 and means["Things"]["pq"] > 0.6


@pytest.mark.parametrize("things, stuff", [((), (1,)), ((1,), ()), ((1, 2), (2, 3))])
def test_things_or_stuff_alone_are_refused(things, stuff):
    with pytest.raises(ValueError, match="some of both"):
        PanopticFPN(things, stuff)
