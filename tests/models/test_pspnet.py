"""PSPNet: the released networks' counts and shapes, the pyramid's regions, and that it learns."""

import math
from itertools import product

import pytest
import timm
import torch
import torch.nn.functional as F

from segcourse.blocks.resnet import ResNet
from segcourse.models.pspnet import GRIDS, PSPNet, PyramidPooling

CLASSROOM = dict(layers=18, width=24, stages=3, align_corners=False, aux_loss=True)
TINY = dict(layers=18, width=4, stages=3, aux_loss=True)


def parameters(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    "classes, arguments, count",
    [
        (21, {}, 65_708_501),  # Pascal VOC
        (19, {}, 65_707_475),  # Cityscapes
        (150, {"layers": 50}, 46_782_550),  # ADE20K
        (21, {"deep_stem": False}, 65_584_725),
        (21, {"deep_stem": False, "aux_loss": True}, 67_949_930),
        (21, {"deep_stem": False, "layers": 50}, 46_592_597),
        (21, {"deep_stem": False, "layers": 50, "aux_loss": True}, 48_957_802),
    ],
)
def test_parameters_are_those_of_the_released_networks(classes, arguments, count):
    with torch.device("meta"):
        assert parameters(PSPNet(classes, **arguments)) == count


def test_the_auxiliary_head_costs_2_365_205_parameters():
    with torch.device("meta"):
        assert parameters(PSPNet(21, aux_loss=True)) == 65_708_501 + 2_365_205


@pytest.mark.parametrize("side, map_side", [(473, 60), (713, 90)])
def test_every_map_has_the_size_it_has_in_the_released_network(side, map_side):
    with torch.device("meta"):
        net, image = PSPNet(21, aux_loss=True), torch.empty(2, 3, side, side)
        stem, *stages = net.backbone(image)
        half = (side + 1) // 2
        assert stem.shape == (2, 128, half, half)
        assert net.backbone.maxpool(stem).shape[1:] == (128, half // 2 + 1, half // 2 + 1)
        sides = [half // 2 + 1, map_side, map_side, map_side]
        channels = [256, 512, 1024, 2048]
        assert [tuple(x.shape[1:]) for x in stages] == [
            (c, s, s) for c, s in zip(channels, sides, strict=True)
        ]
        pyramid = net.pyramid(stages[-1])
        assert pyramid.shape == (2, 4096, map_side, map_side)
        first, *rest = net.classifier
        assert first(pyramid).shape == (2, 512, map_side, map_side)
        assert net.classifier(pyramid).shape == (2, 21, map_side, map_side)
        assert net.aux_classifier[0](stages[2]).shape == (2, 256, map_side, map_side)
        assert rest[0].p == net.aux_classifier[3].p == 0.1
        assert [x.shape for x in net.all_logits(image)] == 2 * [(2, 21, side, side)]


def test_every_block_of_the_last_two_stages_is_dilated():
    """As in the released networks; torchvision's and timm's first blocks keep their dilation."""
    net = PSPNet(3, layers=50, width=4)
    spread = [[b.conv2.dilation[0] for b in stage] for stage in net.backbone.stages]
    assert spread == [[1] * 3, [1] * 4, [2] * 6, [4] * 3]


def test_the_backbone_equals_timms_up_to_the_first_dilated_stage_and_its_convention_beyond():
    oracle = timm.create_model("resnet50s", features_only=True, output_stride=8).eval()
    for module in oracle.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.bias, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    ours = PSPNet(3, layers=50).backbone.eval()
    ours.load_state_dict(oracle.state_dict())
    relative = ResNet(50, output_stride=8, deep_stem=True).eval()  # the other convention
    relative.load_state_dict(ours.state_dict())
    image = torch.randn(1, 3, 65, 73)
    with torch.no_grad():
        theirs, mine, others = oracle(image), ours(image), relative(image)
    for number, (a, b, c) in enumerate(zip(theirs, mine, others, strict=True)):
        tolerance = 1e-5 * max(a.abs().max().item(), 1.0)
        assert (a - c).abs().max() <= tolerance
        assert ((a - b).abs().max() <= tolerance) == (number < 3)


def fixed_pools(x: torch.Tensor, pyramid: PyramidPooling) -> torch.Tensor:
    """The pyramid as the prototxt writes it: kernel = stride = side / grid."""
    levels = [x]
    for grid, reduce in zip((6, 3, 2, 1), pyramid.reduce, strict=True):
        means = F.avg_pool2d(x, x.shape[-1] // grid)
        levels.append(
            F.interpolate(reduce(means), x.shape[-2:], mode="bilinear", align_corners=True)
        )
    return torch.cat(levels, dim=1)


@pytest.mark.parametrize("side", [60, 90, 6])
def test_the_pyramid_equals_pools_of_fixed_size_where_the_side_is_divisible_by_6(side):
    pyramid, x = PyramidPooling(8).eval(), torch.randn(2, 8, side, side)
    assert torch.allclose(pyramid(x), fixed_pools(x, pyramid), atol=1e-6)


def test_the_channels_are_those_of_the_map_then_of_grids_6_3_2_1():
    pyramid = PyramidPooling(8).eval()
    x = torch.rand(1, 8, 12, 12)
    for reduce in pyramid.reduce:
        torch.nn.init.ones_(reduce[0].weight)
    for number in range(len(GRIDS)):  # silence one level after the other
        torch.nn.init.zeros_(pyramid.reduce[number][0].weight)
        silent = pyramid(x)[0, 8:].unflatten(0, (4, 2))
        assert torch.equal(silent.abs().sum(dim=(1, 2, 3)) == 0, torch.arange(4) <= number)
    assert torch.equal(pyramid(x)[:, :8], x) and GRIDS == (6, 3, 2, 1)


def regions(side: int, grid: int) -> list[tuple[int, int]]:
    """What the docstring promises."""
    return [(i * side // grid, math.ceil((i + 1) * side / grid)) for i in range(grid)]


@pytest.mark.parametrize("size", [(12, 16), (65, 65), (60, 60), (4, 5), (13, 17)])
@pytest.mark.parametrize("grid", GRIDS)
def test_regions_are_where_the_docstring_says(size, grid):
    x = torch.randn(1, 2, *size)
    means = F.adaptive_avg_pool2d(x, grid)
    rows, columns = (regions(side, grid) for side in size)
    for (i, (top, bottom)), (j, (left, right)) in product(enumerate(rows), enumerate(columns)):
        expected = x[0, :, top:bottom, left:right].mean(dim=(1, 2))
        assert torch.allclose(means[0, :, i, j], expected, atol=1e-6)


def test_the_classrooms_map_is_split_evenly_along_its_12_rows_but_not_along_its_16_columns():
    with torch.device("meta"):
        net = PSPNet(8, **CLASSROOM)
        assert net.backbone(torch.empty(2, 3, 96, 128))[-1].shape[-2:] == (12, 16)
    assert regions(12, 6) == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10), (10, 12)]
    assert regions(16, 3) == [(0, 6), (5, 11), (10, 16)]
    assert regions(16, 6) == [(0, 3), (2, 6), (5, 8), (8, 11), (10, 14), (13, 16)]
    assert regions(65, 6)[:2] == [(0, 11), (10, 22)]


def test_every_pixel_sees_the_whole_image_through_the_pyramid():
    pyramid, x = PyramidPooling(8).eval(), torch.rand(1, 8, 12, 16, requires_grad=True)
    torch.nn.init.ones_(pyramid.reduce[GRIDS.index(1)][0].weight)  # no ReLU stays shut
    pyramid(x)[0, :, 0, 0].sum().backward()
    assert (x.grad.abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("align_corners", [True, False])
def test_all_enlargements_follow_align_corners(align_corners, monkeypatch):
    net, asked = PSPNet(3, align_corners=align_corners, **TINY), []

    def recorded(x, size, *, mode, align_corners):
        asked.append(align_corners)
        return x.new_zeros(*x.shape[:2], *size)

    monkeypatch.setattr(F, "interpolate", recorded)
    net.all_logits(torch.randn(2, 3, 48, 48))
    assert asked == 6 * [align_corners]  # four levels, two heads


@pytest.mark.parametrize("size", [(96, 128), (97, 129), (33, 70), (8, 8), (1, 5)])
def test_any_size_and_stages_of_all_depths(size):
    for stages in (1, 2, 3, 4):
        net = PSPNet(5, **{**TINY, "stages": stages}).eval()
        assert net(torch.zeros(2, 3, *size)).shape == (2, 5, *size)


def test_all_logits_end_with_the_networks_own():
    image = torch.randn(2, 3, 40, 48)
    for auxiliary in (True, False):
        net = PSPNet(4, **{**TINY, "aux_loss": auxiliary}).eval()
        *before, last = net.all_logits(image)
        assert torch.equal(last, net(image)) and len(before) == auxiliary
        assert all(logits.shape == last.shape for logits in before)


def test_kernels_are_those_of_the_two_last_layers():
    net = PSPNet(4, kernels=(1, 5), **TINY)
    assert net.classifier[0][0].kernel_size == (1, 1) and net.classifier[2].kernel_size == (5, 5)
    assert net(torch.zeros(2, 3, 48, 40)).shape == (2, 4, 48, 40)


def test_training_on_a_single_image_is_refused_and_says_what_to_do():
    net, image = PSPNet(3, **TINY), torch.randn(1, 3, 48, 48)
    with pytest.raises(ValueError, match=r"single image.*batches of two images"):
        net(image)
    with pytest.raises(ValueError, match=r"single image.*batches of two images"):
        net.all_logits(image)
    net.eval()(image)
    net.train()(torch.cat([image, image]))


def test_a_frozen_normalisation_may_see_a_single_image():
    net, image = PSPNet(3, **TINY), torch.randn(1, 3, 48, 48)
    net.pyramid.reduce[GRIDS.index(1)].eval()
    assert net(image).shape == (1, 3, 48, 48)


def test_a_gradient_reaches_every_parameter_of_both_heads():
    torch.manual_seed(0)
    net = PSPNet(3, **TINY)
    target = torch.randint(3, (2, 48, 48))
    logits = net.all_logits(torch.randn(2, 3, 48, 48))
    sum(F.cross_entropy(x, target) for x in logits).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]


def test_the_auxiliary_loss_trains_all_stages_but_the_last():
    net = PSPNet(3, **TINY)
    auxiliary, _ = net.all_logits(torch.randn(2, 3, 48, 48))
    auxiliary.square().mean().backward()
    *earlier, last = net.backbone.stages
    stages = [net.backbone.conv1, net.backbone.bn1, *earlier]
    assert all(p.grad.any() for stage in stages for p in stage.parameters())
    assert all(p.grad is None for p in [*last.parameters(), *net.classifier.parameters()])


def test_learns_to_copy_a_coarse_mask(overfit):
    torch.manual_seed(0)
    target = torch.randint(0, 2, (2, 4, 4)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    image = target[:, None].float().repeat(1, 3, 1, 1)
    net = PSPNet(2, **{**CLASSROOM, "width": 8})
    overfit(net, lambda: sum(F.cross_entropy(logits, target) for logits in net.all_logits(image)))
    net.train()  # statistics of two images are too few to be settled after so few steps
    assert (net(image).argmax(dim=1) == target).float().mean() > 0.9


@pytest.mark.parametrize(
    "wrong, remedy",
    [
        (dict(num_classes=0), "at least 1 class"),
        (dict(layers=49), "choose one of"),
        (dict(width=0), "at least 1"),
        (dict(stages=5), "between 1 and 4"),
        (dict(stages=1, width=6, deep_stem=False), "divides its 6 channels.*multiple of 4"),
        (dict(kernels=(3, 2)), "both sides must be odd"),
        (dict(kernels=(-1, 1)), "both sides must be odd"),
    ],
)
def test_networks_that_cannot_be_are_refused_with_the_remedy(wrong, remedy):
    with pytest.raises(ValueError, match=remedy):
        PSPNet(**{"num_classes": 3, "layers": 18, **wrong})


def test_an_image_without_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 48, 48\).*image\[None\]"):
        PSPNet(3, **TINY)(torch.zeros(3, 48, 48))
