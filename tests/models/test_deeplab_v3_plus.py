"""DeepLab v3+: the paper's counts and shapes, segmentation_models' logits, and a finer boundary."""

from functools import partial

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segcourse.blocks.conv import conv_bn_relu
from segcourse.blocks.resnet import ResNet
from segcourse.blocks.xception import Xception, separable_conv
from segcourse.models.deeplab_v3_plus import DeepLabV3Plus

small = partial(
    DeepLabV3Plus,
    backbone=partial(ResNet, 18, width=4),
    output_stride=8,
    atrous_rates=(1, 2, 3),
    channels=8,
    low_level_channels=4,
)


def count(*nets: nn.Module) -> int:
    return sum(p.numel() for net in nets for p in net.parameters())


def test_the_defaults_have_the_parameters_of_the_papers_network():
    with torch.device("meta"):
        net = DeepLabV3Plus(21)
    assert count(net.backbone) == 37_867_312
    assert count(net.aspp) == 3_019_776
    assert count(net.reduce, net.decoder) == 162_928
    assert count(net.classifier) == 5_397
    assert count(net) == 41_055_413


@pytest.mark.parametrize("layers, parameters", [(50, 40_352_181), (101, 59_344_309)])
def test_parameters_with_a_resnet_and_ordinary_convolutions(layers, parameters):
    with torch.device("meta"):
        net = DeepLabV3Plus(21, backbone=partial(ResNet, layers), convolution=conv_bn_relu)
    assert count(net) == parameters
    assert count(net.aspp) == 15_535_104
    assert count(net.reduce, net.decoder, net.classifier) == 1_309_045


@pytest.mark.parametrize("backbone", [Xception, partial(ResNet, 101)])
@pytest.mark.parametrize("output_stride, side", [(16, 33), (8, 65)])
def test_shapes_at_513(backbone, output_stride, side):
    seen = {}

    def look(name: str) -> None:
        module = getattr(net, name)
        module.register_forward_hook(lambda _, x, y: seen.update({name: (x[0].shape, y.shape)}))

    with torch.device("meta"):
        net = DeepLabV3Plus(21, backbone=backbone, output_stride=output_stride).eval()
        for name in ("aspp", "reduce", "decoder", "classifier"):
            look(name)
        logits = net(torch.empty(1, 3, 513, 513))
    assert seen["aspp"] == ((1, 2048, side, side), (1, 256, side, side))
    assert seen["reduce"] == ((1, 256, 129, 129), (1, 48, 129, 129))
    assert seen["decoder"] == ((1, 304, 129, 129), (1, 256, 129, 129))
    assert seen["classifier"] == ((1, 256, 129, 129), (1, 21, 129, 129))
    assert logits.shape == (1, 21, 513, 513)


def test_separable_convolutions_save_a_third_of_the_arithmetic():
    """The paper prints 54.17 thousand million multiply-adds for a crop of 513 x 513."""
    totals = []
    for options in ({}, {"convolution": conv_bn_relu}):
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            DeepLabV3Plus(21, **options).eval()(torch.empty(1, 3, 513, 513))
        totals.append(counter.get_total_flops() / 2e9)
    separable, ordinary = totals
    assert separable == pytest.approx(54.17, rel=0.005)
    assert 0.6 < separable / ordinary < 0.65


SMP = dict(
    atrous_rates=(12, 24, 36),
    convolution=partial(separable_conv, depthwise_bn_relu=False),
    conv_after_aspp=True,
    align_corners=True,
)


@pytest.mark.parametrize("layers, parameters", [(50, 26_682_725), (101, 45_674_853)])
def test_parameters_of_segmentation_models_network(layers, parameters):
    with torch.device("meta"):
        net = DeepLabV3Plus(21, backbone=partial(ResNet, layers, contract_dilation=False), **SMP)
    assert count(net) == parameters
    assert count(net.aspp, net.after_aspp, net.reduce, net.decoder) == 3_169_296


@torch.no_grad()
def test_equals_segmentation_models_once_their_differences_are_made_good():
    """In the order of computation; tests/porting/test_semantic.py does it by name."""
    torch.manual_seed(0)
    theirs = smp.DeepLabV3Plus("resnet50", encoder_weights=None, classes=21).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    assert count(theirs) == 26_682_725
    with torch.device("meta"):
        ours = DeepLabV3Plus(
            21,
            backbone=partial(ResNet, 50, contract_dilation=False),
            **SMP,
        )
    weights = theirs.state_dict().values()
    order = ("backbone", "aspp", "after_aspp", "reduce", "decoder", "classifier")
    own = sorted(ours.state_dict(), key=lambda name: order.index(name.split(".")[0]))
    ours.load_state_dict(dict(zip(own, weights, strict=True)), assign=True)
    image = torch.randn(1, 3, 96, 128)
    want, got = theirs(image), ours.eval()(image)
    assert got.shape == (1, 21, 96, 128) and want.std() > 0.01
    assert (got - want).abs().max() <= 1e-5 * max(want.abs().max().item(), 1.0)


@torch.no_grad()
@pytest.mark.parametrize("level", range(5))
@pytest.mark.parametrize("fine", [0, 1, 2])
def test_the_last_features_and_the_fine_ones_are_used_and_no_others(level, fine):
    torch.manual_seed(0)
    net, image = small(3, low_level=fine).eval(), torch.randn(1, 3, 64, 80)
    before, features = net(image), net.backbone(image)
    features[level] = features[level] + torch.randn_like(features[level])
    net.backbone.forward = lambda image: features
    assert torch.equal(net(image), before) != (level in (fine, 4))


@pytest.mark.parametrize("size", [(96, 128), (33, 65), (1, 1), (70, 5)])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_takes_any_size(size, output_stride):
    net = small(5, output_stride=output_stride).eval()
    assert net(torch.zeros(1, 3, *size)).shape == (1, 5, *size)


@pytest.mark.parametrize(
    "options", [{}, {"convolution": conv_bn_relu}, {"backbone": partial(Xception, 41, width=4)}]
)
def test_a_gradient_reaches_every_parameter(options):
    torch.manual_seed(0)
    net = small(3, **options)
    target = torch.randint(3, (2, 64, 80))
    F.cross_entropy(net(torch.randn(2, 3, 64, 80)), target).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]


def test_training_on_a_single_image_is_refused_with_the_remedy():
    net, image = small(3), torch.randn(1, 3, 32, 32)
    with pytest.raises(ValueError, match=r"ASPP cannot train on a single image.*at least 2"):
        net(image)
    assert net.eval()(image).shape == (1, 3, 32, 32)


def test_learns_to_copy_a_mask_finer_than_its_output_stride(overfit):
    """Squares of 4 pixels, at output stride 8: without the fine features they would be lost."""
    torch.manual_seed(0)
    target = torch.randint(0, 2, (2, 12, 12)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    image = target[:, None].float().repeat(1, 3, 1, 1)
    net = small(2, backbone=partial(ResNet, 18, width=8), channels=16, dropout=0.0)
    overfit(net, lambda: F.cross_entropy(net(image), target))
    assert (net(image).argmax(dim=1) == target).float().mean() > 0.9


@pytest.mark.parametrize(
    "wrong, error, remedy",
    [
        (dict(num_classes=0), ValueError, r"DeepLabV3Plus\(num_classes=0.*at least 1 of each"),
        (dict(backbone=ResNet(18, width=4)), TypeError, r"not ResNet: pass a class.*partial\("),
        (dict(output_stride=4), ValueError, "output_stride=4 cannot be built"),
        (dict(atrous_rates=(0, 1)), ValueError, "at least 1"),
        (dict(low_level_channels=0), ValueError, "low_level_channels=0.*at least 1"),
        (dict(low_level=4), ValueError, "low_level=4.* joins nothing: .* features 0 to 3"),
        (dict(low_level=-1), ValueError, "low_level=-1.* joins nothing"),
    ],
)
def test_networks_that_cannot_be_are_refused_with_the_remedy(wrong, error, remedy):
    with pytest.raises(error, match=remedy):
        small(**{"num_classes": 3, **wrong})
