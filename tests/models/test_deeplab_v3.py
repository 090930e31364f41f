"""DeepLab v3: torchvision's logits, the paper's dilations, and what one image cannot teach."""

import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from segcourse.blocks.resnet import ResNet
from segcourse.blocks.xception import Xception
from segcourse.models.deeplab_v3 import DeepLabV3

TORCHVISION = dict(output_stride=8, dropout=0.5, refine=True)
small = partial(
    DeepLabV3, backbone=partial(ResNet, 18, width=4), output_stride=8, rates=(1, 2, 3), channels=8
)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def difference(a: Tensor, b: Tensor) -> float:
    """The largest, relative to the largest value if that exceeds 1."""
    return ((a - b).abs().max() / b.abs().max().clamp(min=1)).item()


@pytest.mark.parametrize(
    "layers, auxiliary, parameters",
    [
        (50, False, 39_638_869),
        (50, True, 42_004_074),
        (101, False, 58_630_997),
        (101, True, 60_996_202),
    ],
)
def test_parameters_are_torchvisions(layers, auxiliary, parameters):
    with torch.device("meta"):
        backbone = partial(ResNet, layers)
        net = DeepLabV3(21, backbone=backbone, auxiliary=auxiliary, **TORCHVISION)
        theirs = getattr(torchvision.models.segmentation, f"deeplabv3_resnet{layers}")(
            weights=None, weights_backbone=None, aux_loss=auxiliary
        )
    assert count(net) == count(theirs) == parameters
    assert count(net.aspp) + count(net.head) == 16_130_837
    assert count(net.aspp) + count(net.head[0]) == 16_125_440


def test_the_defaults_are_the_papers_network():
    """ResNet-101 and ASPP have the published counts; the scores are one 1 x 1 convolution."""
    with torch.device("meta"):
        net = DeepLabV3(21)
    assert (count(net.backbone), count(net.aspp), count(net.head)) == (
        42_500_160,
        15_535_104,
        5_397,
    )
    assert count(net) == 58_040_661
    assert net.aspp.project[1].p == 0.1


@pytest.mark.parametrize(
    "output_stride, stage3, stage4, aspp",
    [
        (16, [1] * 23, [2, 4, 8], [6, 12, 18]),
        (8, [1] + [2] * 22, [4, 8, 16], [12, 24, 36]),
    ],
)
def test_the_dilations_are_the_papers(output_stride, stage3, stage4, aspp):
    with torch.device("meta"):
        net = DeepLabV3(21, output_stride=output_stride)
    stages = [[block.layers[1][0].dilation[0] for block in stage] for stage in net.backbone.stages]
    assert stages[2:] == [stage3, stage4]
    assert [branch[0].dilation[0] for branch in net.aspp.branches] == [1, *aspp]


def test_shapes_at_513():
    """The last stage stays at 33 x 33, or 65 x 65 at output stride 8."""
    with torch.device("meta"):
        image = torch.empty(1, 3, 513, 513)
        for output_stride, side in [(16, 33), (8, 65)]:
            net = DeepLabV3(21, output_stride=output_stride).eval()
            *_, last = net.backbone(image)
            assert last.shape == (1, 2048, side, side)
            assert net.aspp(last).shape == (1, 256, side, side)
            assert net(image).shape == (1, 21, 513, 513)


def test_shapes_at_520_are_torchvisions():
    with torch.device("meta"):
        net = DeepLabV3(21, backbone=ResNet, auxiliary=True, **TORCHVISION)
        image = torch.empty(2, 3, 520, 520)
        *_, middle, last = net.backbone(image)
        assert (middle.shape, last.shape) == ((2, 1024, 65, 65), (2, 2048, 65, 65))
        assert [x.shape for x in net.all_logits(image)] == [(2, 21, 520, 520)] * 2


def their_name(name: str) -> str:
    """The name in torchvision's deeplabv3_resnet of a weight of our DeepLabV3."""
    layers = ["conv1", "bn1", "conv2", "bn2", "conv3", "bn3"]
    stage = re.fullmatch(r"backbone\.stages\.(\d)\.(\d+)\.(\w+)\.([\d.]+)\.(\w+)", name)
    if stage:
        number, block, part, place, kind = stage.groups()
        names = dict(zip(["0.0", "0.1", "1.0", "1.1", "2", "3"], layers, strict=True))
        inside = f"downsample.{place}" if part == "shortcut" else names[place]
        return f"backbone.layer{int(number) + 1}.{block}.{inside}.{kind}"
    prefixes = {
        "backbone.stem.0": "backbone.conv1",
        "backbone.stem.1": "backbone.bn1",
        "aspp.branches": "classifier.0.convs",
        "aspp.image_pooling.0": "classifier.0.convs.4.1",
        "aspp.image_pooling.1": "classifier.0.convs.4.2",
        "aspp.project.0": "classifier.0.project",
        "head.0.0": "classifier.1",
        "head.0.1": "classifier.2",
        "head.1": "classifier.4",
        "auxiliary.0": "aux_classifier",
        "auxiliary.2": "aux_classifier.4",
    }
    ours = next(prefix for prefix in prefixes if name.startswith(f"{prefix}."))
    return prefixes[ours] + name.removeprefix(ours)


@pytest.fixture(scope="module")
def oracle():
    """torchvision's network with normalisations that differ, so that a mix-up would show."""
    torch.manual_seed(0)
    net = torchvision.models.segmentation.deeplabv3_resnet50(
        weights=None, weights_backbone=None, num_classes=21, aux_loss=True
    )
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


def with_weights_of(oracle: nn.Module, **arguments) -> DeepLabV3:
    with torch.device("meta"):
        ours = DeepLabV3(21, auxiliary=True, **{"backbone": ResNet, **TORCHVISION, **arguments})
    weights = oracle.state_dict()
    names = {name: their_name(name) for name in ours.state_dict()}
    assert sorted(names.values()) == sorted(weights)
    ours.load_state_dict({own: weights[name] for own, name in names.items()}, assign=True)
    return ours.eval()


@torch.no_grad()
@pytest.mark.parametrize("size", [(97, 97), (64, 83)])
def test_equal_weights_give_torchvisions_logits(oracle, size):
    image = torch.randn(1, 3, *size)
    want, ours = oracle(image), with_weights_of(oracle)
    auxiliary, got = ours.all_logits(image)
    for mine, other in [(got, want["out"]), (auxiliary, want["aux"])]:
        assert mine.shape == (1, 21, *size) and other.std() > 0.01
        assert difference(mine, other) <= 1e-5
    assert torch.equal(ours(image), got)


@torch.no_grad()
@pytest.mark.parametrize(
    "other",
    [
        dict(backbone=partial(ResNet, 50, multi_grid=(1, 2, 4))),
        dict(backbone=partial(ResNet, 50, dilate_first=True)),
    ],
    ids=str,
)
def test_equal_weights_fit_other_dilations_and_give_other_logits(oracle, other):
    image = torch.randn(1, 3, 97, 97)
    got = with_weights_of(oracle, **other)(image)
    assert not torch.allclose(got, oracle(image)["out"], atol=1e-3)


@torch.no_grad()
def test_output_stride_8_adds_places_to_those_of_16_and_changes_none():
    """So the paper can train at 16 and predict at 8. Image pooling alone sees another mean."""
    torch.manual_seed(0)
    build = partial(DeepLabV3, 5, backbone=partial(ResNet, 50, width=4, multi_grid=(1, 2, 4)))
    coarse, fine = build(channels=8).eval(), build(channels=8, output_stride=8).eval()
    fine.load_state_dict(coarse.state_dict())
    image = torch.randn(1, 3, 129, 113)
    want, got = coarse.backbone(image)[-1], fine.backbone(image)[-1]
    assert want.shape[-2:] == (9, 8) and got.shape[-2:] == (17, 15)
    assert difference(got[..., ::2, ::2], want) <= 1e-5
    for old, new in zip(coarse.aspp.branches, fine.aspp.branches, strict=True):
        assert difference(new(got)[..., ::2, ::2], old(want)) <= 1e-5
    assert difference(fine.aspp(got)[..., ::2, ::2], coarse.aspp(want)) > 1e-3


@pytest.mark.parametrize("size", [(96, 128), (33, 65), (1, 1), (70, 5)])
@pytest.mark.parametrize("options", [{}, {"output_stride": 16}, {"output_stride": 32}])
def test_takes_any_size(size, options):
    net = small(5, **options).eval()
    assert net(torch.zeros(1, 3, *size)).shape == (1, 5, *size)


def test_takes_an_xception():
    with torch.device("meta"):
        net = DeepLabV3(21, backbone=Xception, auxiliary=True)
        assert net.auxiliary[0][0].in_channels == 1024
        logits = net.all_logits(torch.empty(2, 3, 65, 97))
    assert [x.shape for x in logits] == [(2, 21, 65, 97)] * 2


@torch.no_grad()
@pytest.mark.parametrize("auxiliary", [False, True])
def test_the_last_of_all_logits_is_the_networks(auxiliary):
    net, image = small(5, auxiliary=auxiliary).eval(), torch.randn(2, 3, 40, 56)
    logits = net.all_logits(image)
    assert len(logits) == 1 + auxiliary
    assert torch.equal(logits[-1], net(image))
    assert all(x.shape == (2, 5, 40, 56) for x in logits)


def test_a_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    net = small(3, auxiliary=True, refine=True)
    truth = torch.randint(3, (2, 64, 80))
    logits = net.all_logits(torch.randn(2, 3, 64, 80))
    sum(F.cross_entropy(x, truth) for x in logits).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]


def test_training_on_a_single_image_is_refused_with_the_remedy():
    net, image = small(3), torch.randn(1, 3, 32, 32)
    with pytest.raises(ValueError, match=r"ASPP cannot train on a single image.*at least 2"):
        net(image)
    assert net.eval()(image).shape == (1, 3, 32, 32)


def test_learns_to_copy_a_coarse_mask(overfit):
    torch.manual_seed(0)
    truth = torch.randint(0, 2, (2, 4, 4)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    image = truth[:, None].float().repeat(1, 3, 1, 1)
    net = small(2, backbone=partial(ResNet, 18, width=8), dropout=0.0)
    overfit(net, lambda: F.cross_entropy(net(image), truth))
    assert (net(image).argmax(dim=1) == truth).float().mean() > 0.9


@pytest.mark.parametrize(
    "wrong, error, remedy",
    [
        (dict(num_classes=0), ValueError, "num_classes=0.*at least 1 of each"),
        (dict(backbone=ResNet(18, width=4)), TypeError, r"not ResNet: pass a class.*partial\("),
        (dict(backbone="resnet50"), TypeError, r"not str: pass a class.*partial\("),
        (dict(output_stride=4), ValueError, "output_stride=4 cannot be built"),
        (dict(rates=(0, 1)), ValueError, "at least 1"),
        (dict(channels=0), ValueError, "at least 1"),
        (dict(backbone=partial(ResNet, 18, multi_grid=(1, 2, 4))), ValueError, "has 2 blocks"),
    ],
)
def test_networks_that_cannot_be_are_refused_with_the_remedy(wrong, error, remedy):
    with pytest.raises(error, match=remedy):
        small(**{"num_classes": 3, **wrong})


def test_an_image_without_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 32, 32\).*image\[None\]"):
        small(3).eval()(torch.zeros(3, 32, 32))
