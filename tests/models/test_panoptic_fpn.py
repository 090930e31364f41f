"""Panoptic FPN: the published counts and shapes, the branch's target, and learning a scene."""

from functools import partial

import pytest
import torch
from torch import nn

from segcourse.blocks.atrous_vgg import AtrousVGG
from segcourse.blocks.resnet import ResNet
from segcourse.metrics.panoptic import mean_panoptic_quality, panoptic_counts
from segcourse.models.panoptic_fpn import PanopticFPN, SemanticBranch
from segcourse.ops.instances import Instances
from segcourse.ops.labels import IGNORE
from segcourse.ops.panoptic import panoptic_ids

SIZE = (64, 96)
THINGS, STUFF = (3, 4), (0, 2)


@pytest.fixture
def small(detector):
    return partial(PanopticFPN, THINGS, STUFF, branch_channels=16, min_stuff_area=20, **detector)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_the_branch():
    with torch.device("meta"):
        branch = SemanticBranch(256, 54)
        assert count(branch) == 1_630_774 and count(branch.predictor) == 6_966
        groups = [layer for layer in branch.modules() if isinstance(layer, nn.GroupNorm)]
        assert sum(map(count, groups)) == 1_792 and len(groups) == 7
        assert count(branch) - 6_966 - 1_792 == 1_622_016
        assert count(PanopticFPN(range(80), range(80, 133)).branch) == 1_630_774


def test_shapes():
    levels = [torch.zeros(1, 8, 64 // s, 96 // s) for s in (1, 2, 4, 8)]
    assert SemanticBranch(8, 5, 16)(levels).shape == (1, 5, 64, 96)
    odd = [torch.zeros(1, 8, *size) for size in ((13, 17), (7, 9), (4, 5), (2, 3))]
    assert SemanticBranch(8, 5, 16)(odd).shape == (1, 5, 13, 17)


@pytest.mark.parametrize(
    "strides, doublings", [((4, 8, 16, 16), [0, 1, 2, 2]), ((4, 8, 8, 8), [0, 1, 1, 1])]
)
def test_maps_are_upsampled_as_often_as_their_strides_say(strides, doublings):
    paths = SemanticBranch(8, 5, 16, strides).paths
    found = [sum(isinstance(step, nn.Upsample) for step in path) for path in paths]
    assert found == doublings


@torch.no_grad()
@pytest.mark.parametrize(
    "backbone",
    [partial(ResNet, 18, width=4), partial(ResNet, 18, width=4, output_stride=16),
     partial(AtrousVGG, width=4)],
)  # fmt: skip
def test_stuff_lies_where_the_features_say(small, backbone):
    """Every level says how far it is from the left; so does the branch, whatever the strides."""
    net = small(backbone=backbone)
    for path in net.branch.paths:
        for step, layer in enumerate(path):
            if isinstance(layer, nn.Sequential):
                path[step] = nn.Identity()
    net.branch.predictor = nn.Identity()
    levels = net.detector.levels(net.detector.batch([torch.rand(3, 120, 200)]).images)
    pixels = [
        (torch.arange(float(level.shape[3])) * stride).expand(1, 1, *level.shape[2:])
        for level, stride in zip(levels, net.detector.fpn.strides, strict=True)
    ]
    columns = net.semantic_logits(pixels)[0, 0, 60, 60:140] / 4
    half_cells = sum(net.detector.fpn.strides[:-1]) / 4 / 2  # resizing takes cells for squares
    assert torch.allclose(columns, torch.arange(60.5, 140) - half_cells, atol=1e-3)


def test_images_of_two_sizes_have_maps_of_their_own_size(small):
    torch.manual_seed(0)
    image, objects, semantic, _ = scene()
    net, other = small(), torch.rand(3, 41, 51)
    nothing = Instances(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0, 41, 51).bool())
    void = torch.full((41, 51), IGNORE)
    both = net.loss([image, other], [objects, nothing], [semantic, void])
    assert all(loss.isfinite() for loss in both.values())
    found = net.eval()([image, other])
    assert [tuple(each.shape) for each in found] == [SIZE, (41, 51)]
    with pytest.raises(ValueError, match="as large as their images"):
        net.loss([image, other], [objects, nothing], [semantic, semantic])


def test_padding_has_no_part_in_the_loss(small):
    """An image whose padding is written out, with void, has the same loss."""
    torch.manual_seed(0)
    image, objects, semantic, _ = scene()
    image, semantic = image[:, :, :91], semantic[:, :91]
    net = small().eval()
    cut = objects._replace(masks=objects.masks[:, :, :91])
    found = net.loss([image], [cut], [semantic])["semantic"]
    padded = torch.nn.functional.pad(image, (0, 5))
    wanted = net.loss(
        [padded], [objects], [torch.nn.functional.pad(semantic, (0, 5), value=IGNORE)]
    )["semantic"]
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_a_target_that_is_void_everywhere_has_a_loss_of_zero(small):
    image, objects, semantic, _ = scene()
    losses = small().loss(image[None], [objects], torch.full_like(semantic, IGNORE)[None])
    assert losses["semantic"] == 0
    sum(losses.values()).backward()


def test_coarse_maps_are_enlarged_step_by_step():
    paths = SemanticBranch(8, 5, 16).paths
    assert [sum(isinstance(step, nn.Upsample) for step in path) for path in paths] == [0, 1, 2, 3]
    assert [len(path) for path in paths] == [1, 2, 4, 6]


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32, torch.int64]
)
def test_the_branch_calls_all_things_one_class(small, dtype):
    semantic = torch.tensor([[0, 2, 3, 4, IGNORE]]).to(dtype)
    assert small().branch_target(semantic).tolist() == [[1, 2, 0, 0, IGNORE]]
    with pytest.raises(ValueError, match=r"holds class 1, which is neither one of the things"):
        small().branch_target(torch.tensor([[0, 1]]))


def scene() -> tuple[torch.Tensor, Instances, torch.Tensor, torch.Tensor]:
    """Image, objects, classes and objects' numbers: sky over road, two things on it."""
    semantic, instance = torch.zeros(SIZE).long(), torch.zeros(SIZE).long()
    semantic[32:] = 2
    semantic[16:48, 8:40], instance[16:48, 8:40] = 3, 1
    semantic[20:52, 52:90], instance[20:52, 52:90] = 4, 2
    colors = torch.eye(3)[torch.tensor([0, 0, 1, 2, 2])] * torch.tensor([1, 1, 1, 1, 0.4])[:, None]
    image = colors[semantic].permute(2, 0, 1)
    masks = torch.stack([instance == 1, instance == 2])
    boxes = torch.tensor([[8.0, 16, 40, 48], [52, 20, 90, 52]])
    return image, Instances(boxes, torch.tensor([0, 1]), masks), semantic, instance


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
