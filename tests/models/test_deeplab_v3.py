"""DeepLab v3: torchvision's logits, the paper's dilations, and what one image cannot teach."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from segcourse.blocks.resnet import ResNet
from segcourse.blocks.xception import Xception
from segcourse.models.deeplab_v3 import DeepLabV3

TORCHVISION = dict(output_stride=8, dropout=0.5, conv_after_aspp=True)
small = partial(
    DeepLabV3,
    backbone=partial(ResNet, 18, width=4),
    output_stride=8,
    atrous_rates=(1, 2, 3),
    channels=8,
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
        net = DeepLabV3(21, backbone=backbone, aux_loss=auxiliary, **TORCHVISION)
        theirs = getattr(torchvision.models.segmentation, f"deeplabv3_resnet{layers}")(
            weights=None, weights_backbone=None, aux_loss=auxiliary
        )
    assert count(net) == count(theirs) == parameters
    assert count(net.classifier) == 16_130_837
    assert count(net.classifier[:-1]) == 16_125_440


def test_the_defaults_are_the_papers_network():
    """ResNet-101 and ASPP have the published counts; the scores are one 1 x 1 convolution."""
    with torch.device("meta"):
        net = DeepLabV3(21)
    aspp, scores = net.classifier
    assert (count(net.backbone), count(aspp), count(scores)) == (42_500_160, 15_535_104, 5_397)
    assert count(net) == 58_040_661
    assert aspp.project[-1].p == 0.1


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
    stages = [[block.conv2.dilation[0] for block in stage] for stage in net.backbone.stages]
    assert stages[2:] == [stage3, stage4]
    assert [conv[0].dilation[0] for conv in net.classifier[0].convs[:-1]] == [1, *aspp]


def test_shapes_at_513():
    """The last stage stays at 33 x 33, or 65 x 65 at output stride 8."""
    with torch.device("meta"):
        image = torch.empty(1, 3, 513, 513)
        for output_stride, side in [(16, 33), (8, 65)]:
            net = DeepLabV3(21, output_stride=output_stride).eval()
            *_, last = net.backbone(image)
            assert last.shape == (1, 2048, side, side)
            assert net.classifier[0](last).shape == (1, 256, side, side)
            assert net(image).shape == (1, 21, 513, 513)


def test_shapes_at_520_are_torchvisions():
    with torch.device("meta"):
        net = DeepLabV3(21, backbone=ResNet, aux_loss=True, **TORCHVISION)
        image = torch.empty(2, 3, 520, 520)
        *_, middle, last = net.backbone(image)
        assert (middle.shape, last.shape) == ((2, 1024, 65, 65), (2, 2048, 65, 65))
        assert [x.shape for x in net.all_logits(image)] == [(2, 21, 520, 520)] * 2


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
        ours = DeepLabV3(21, aux_loss=True, **{"backbone": ResNet, **TORCHVISION, **arguments})
    ours.load_state_dict(oracle.state_dict(), assign=True)  # the names are the same
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
        dict(backbone=partial(ResNet, 50, contract_dilation=False)),
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
    coarse_aspp, fine_aspp = coarse.classifier[0], fine.classifier[0]
    image = torch.randn(1, 3, 129, 113)
    want, got = coarse.backbone(image)[-1], fine.backbone(image)[-1]
    assert want.shape[-2:] == (9, 8) and got.shape[-2:] == (17, 15)
    assert difference(got[..., ::2, ::2], want) <= 1e-5
    for old, new in zip(coarse_aspp.convs[:-1], fine_aspp.convs[:-1], strict=True):
        assert difference(new(got)[..., ::2, ::2], old(want)) <= 1e-5
    assert difference(fine_aspp(got)[..., ::2, ::2], coarse_aspp(want)) > 1e-3


@pytest.mark.parametrize("size", [(96, 128), (33, 65), (1, 1), (70, 5)])
@pytest.mark.parametrize("options", [{}, {"output_stride": 16}, {"output_stride": 32}])
def test_takes_any_size(size, options):
    net = small(5, **options).eval()
    assert net(torch.zeros(1, 3, *size)).shape == (1, 5, *size)


def test_takes_an_xception():
    with torch.device("meta"):
        net = DeepLabV3(21, backbone=Xception, aux_loss=True)
        assert net.aux_classifier[0].in_channels == 1024
        logits = net.all_logits(torch.empty(2, 3, 65, 97))
    assert [x.shape for x in logits] == [(2, 21, 65, 97)] * 2


@torch.no_grad()
@pytest.mark.parametrize("aux_loss", [False, True])
def test_the_last_of_all_logits_is_the_networks(aux_loss):
    net, image = small(5, aux_loss=aux_loss).eval(), torch.randn(2, 3, 40, 56)
    logits = net.all_logits(image)
    assert len(logits) == 1 + aux_loss
    assert torch.equal(logits[-1], net(image))
    assert all(x.shape == (2, 5, 40, 56) for x in logits)


def test_a_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    net = small(3, aux_loss=True, conv_after_aspp=True)
    target = torch.randint(3, (2, 64, 80))
    logits = net.all_logits(torch.randn(2, 3, 64, 80))
    sum(F.cross_entropy(x, target) for x in logits).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]


def test_training_on_a_single_image_is_refused_with_the_remedy():
    net, image = small(3), torch.randn(1, 3, 32, 32)
    with pytest.raises(ValueError, match=r"ASPP cannot train on a single image.*at least 2"):
        net(image)
    assert net.eval()(image).shape == (1, 3, 32, 32)


def test_learns_to_copy_a_coarse_mask(overfit):
    torch.manual_seed(0)
    target = torch.randint(0, 2, (2, 4, 4)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    image = target[:, None].float().repeat(1, 3, 1, 1)
    net = small(2, backbone=partial(ResNet, 18, width=8), dropout=0.0)
    overfit(net, lambda: F.cross_entropy(net(image), target))
    assert (net(image).argmax(dim=1) == target).float().mean() > 0.9


@pytest.mark.parametrize(
    "wrong, error, remedy",
    [
        (dict(num_classes=0), ValueError, "num_classes=0.*at least 1 of each"),
        (dict(backbone=ResNet(18, width=4)), TypeError, r"not ResNet: pass a class.*partial\("),
        (dict(backbone="resnet50"), TypeError, r"not str: pass a class.*partial\("),
        (dict(output_stride=4), ValueError, "output_stride=4 cannot be built"),
        (dict(atrous_rates=(0, 1)), ValueError, "at least 1"),
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
