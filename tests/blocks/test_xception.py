"""Xception: the published counts and shapes, timm's features, and what separable means."""

from itertools import pairwise

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from segcourse.blocks.conv import conv_bn_relu
from segcourse.blocks.xception import Xception, XceptionBlock, separable_conv


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def settled(oracle: nn.Module) -> nn.Module:
    """Normalisations that differ from one another, so that a mix-up would show."""
    torch.manual_seed(0)
    for module in oracle.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return oracle.eval()


@pytest.mark.parametrize(
    "layers, parameters", [(41, 24_920_560), (65, 37_867_312), (71, 40_289_736)]
)
def test_parameters(layers, parameters):
    with torch.device("meta"):
        assert count(Xception(layers)) == parameters
        assert count(Xception(layers, output_stride=8)) == parameters  # so weights always fit


@pytest.mark.parametrize(
    "layers, output_stride, sides",
    [
        (65, 32, [257, 129, 65, 33, 17]),
        (65, 16, [257, 129, 65, 33, 33]),
        (65, 8, [257, 129, 65, 65, 65]),
        (41, 16, [257, 129, 65, 33, 33]),
        (71, 16, [257, 129, 65, 33, 33]),
    ],
)
def test_shapes_at_513(layers, output_stride, sides):
    with torch.device("meta"):
        net = Xception(layers, output_stride=output_stride)
        features = net(torch.empty(1, 3, 513, 513))
    shapes = [(1, c, s, s) for c, s in zip([128, 256, 728, 1024, 2048], sides, strict=True)]
    assert [tuple(f.shape) for f in features] == shapes
    assert net.channels == [128, 256, 728, 1024, 2048]


def dilations(net: Xception) -> list[int]:
    """Of every block; inside a block all three are equal."""
    spread = [
        {m.dilation[0] for m in block.modules() if isinstance(m, nn.Conv2d) and m.groups > 1}
        for block in [*net.blocks, net.last]
    ]
    assert all(len(each) == 1 for each in spread)
    return [each.pop() for each in spread]


@pytest.mark.parametrize(
    "output_stride, want",
    [
        (32, [1] * 21),
        (16, [1] * 20 + [2]),
        (8, [1] * 3 + [2] * 17 + [4]),
    ],
)
def test_a_block_that_loses_its_stride_keeps_its_dilation(output_stride, want):
    with torch.device("meta"):
        assert dilations(Xception(65, output_stride=output_stride)) == want


@pytest.mark.parametrize("layers, output_stride", [(41, 8), (65, 16), (71, 32)])
def test_equal_weights_give_timms_features(layers, output_stride):
    """Its features inside blocks are taken behind the ReLU, ours, as the official ones, before.

    Not for 71 at 8: timm's shortcut loses its convolution with the stride, the official one's not.
    """
    name, options = f"xception{layers}", dict(pretrained=False, output_stride=output_stride)
    theirs = settled(timm.create_model(name, features_only=True, **options))
    weights = theirs.state_dict()
    with torch.device("meta"):
        ours = Xception(layers, output_stride=output_stride).eval()
    own = ours.state_dict()
    assert [v.shape for v in own.values()] == [v.shape for v in weights.values()]
    ours.load_state_dict(dict(zip(own, weights.values(), strict=True)), assign=True)
    image = torch.randn(1, 3, 65, 49)
    with torch.no_grad():
        features, wanted = ours(image), theirs(image)
    assert all(inner.min() < 0 for inner in features[:-1])
    assert len(features) == len(wanted) == 5
    for mine, other in zip(features, wanted, strict=True):
        assert mine.shape == other.shape and other.std() > 0.01
        assert (mine.relu() - other).abs().max() <= 1e-5 * other.abs().max()


@pytest.mark.parametrize("dense", [16, 8])
def test_taking_strides_away_adds_places_and_changes_none(dense):
    """The point of atrous convolution: of the denser features every second are the old ones."""
    torch.manual_seed(0)
    coarse, fine = (
        settled(Xception(41, width=4, output_stride=stride)) for stride in (2 * dense, dense)
    )
    fine.load_state_dict(coarse.state_dict())
    image = torch.randn(1, 3, 70, 65)
    with torch.no_grad():
        want, got = coarse(image)[-1], fine(image)[-1]
    assert got.shape != want.shape
    assert torch.allclose(got[..., ::2, ::2], want, atol=1e-5)


@pytest.mark.parametrize("stride, dilation", [(1, 1), (1, 3), (2, 1)])
def test_separable_is_depthwise_and_then_pointwise(stride, dilation):
    torch.manual_seed(0)
    net = settled(separable_conv(6, 4, stride=stride, dilation=dilation))
    depthwise, first_bn, _, pointwise, second_bn, _ = net
    x = torch.randn(2, 6, 9, 8)
    options = dict(stride=stride, padding=dilation, dilation=dilation)
    with torch.no_grad():
        alone = [F.conv2d(x[:, [c]], depthwise.weight[[c]], **options) for c in range(6)]
        hidden = first_bn(torch.cat(alone, dim=1)).relu()
        mixed = torch.einsum("oc,nchw->nohw", pointwise.weight[..., 0, 0], hidden)
        want, got = second_bn(mixed).relu(), net(x)
    assert got.shape == (2, 4, -(-9 // stride), -(-8 // stride)) and want.std() > 0.01
    assert torch.allclose(got, want, atol=1e-5)


def test_separable_is_an_ordinary_convolution_whose_kernel_is_a_product():
    """With nothing in between: W[o, c, i, j] = pointwise[o, c] * depthwise[c, i, j]."""
    torch.manual_seed(0)
    depthwise, _, _, pointwise, _, _ = separable_conv(6, 4, dilation=2)
    x = torch.randn(2, 6, 9, 8)
    product = pointwise.weight * depthwise.weight[:, 0]  # (4, 6, 3, 3)
    ordinary = F.conv2d(x, product, padding=2, dilation=2)
    assert torch.allclose(pointwise(depthwise(x)), ordinary, atol=1e-5)


def test_separable_costs_a_ninth():
    with torch.device("meta"):
        ratio = count(separable_conv(256, 256)) / count(conv_bn_relu(256, 256))
    assert 1 / 9 < ratio < 1 / 8.4


def test_a_block_adds_to_its_input_and_shows_what_its_last_convolution_reads():
    torch.manual_seed(0)
    block, x = (
        XceptionBlock(6, (4, 5, 6), dilation=2, project=False).eval(),
        torch.randn(2, 6, 9, 8),
    )
    before = x.clone()
    with torch.no_grad():
        inner, result = block(x)
        assert inner.shape == (2, 5, 9, 8) and inner.min() < 0
        assert torch.allclose(result, x + block.last(inner))
    assert torch.equal(x, before)  # no ReLU in place has touched the shortcut
    assert not list(block.shortcut.parameters())


@pytest.mark.parametrize("channels, stride", [((4, 5, 7), 1), ((4, 5, 6), 2)])
def test_a_shortcut_adapts_what_does_not_fit(channels, stride):
    block = XceptionBlock(6, channels, stride=stride)
    inner, result = block(torch.randn(2, 6, 9, 8))
    assert inner.shape == (2, 5, 9, 8)
    assert result.shape == (2, channels[2], *((9, 8) if stride == 1 else (5, 4)))


@pytest.mark.parametrize("width", [4, 16])
def test_width_scales_every_channel(width):
    net = Xception(41, in_channels=1, width=width)
    assert net.channels == [c * width // 32 for c in (128, 256, 728, 1024, 2048)]
    features = net(torch.randn(2, 1, 40, 33))
    assert [f.shape[1] for f in features] == net.channels
    assert all(f.shape[2] >= g.shape[2] for f, g in pairwise(features))


def test_a_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    net = Xception(41, width=4, output_stride=16)
    last = net(torch.randn(2, 3, 64, 48))[-1]
    (last * torch.randn_like(last)).sum().backward()
    assert not [name for name, p in net.named_parameters() if not p.grad.any()]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"layers": 50}, r"Xception-50 does not exist: choose one of \[41, 65, 71\]"),
        ({"output_stride": 4}, r"output_stride=4 cannot be built: choose one of \[8, 16, 32\]"),
        ({"width": 0}, "both must be at least 1"),
        ({"in_channels": 0}, "both must be at least 1"),
    ],
)
def test_refuses_what_does_not_exist(arguments, message):
    with pytest.raises(ValueError, match=message):
        Xception(**arguments)


def test_refuses_an_image_without_a_batch():
    with pytest.raises(ValueError, match=r"\(3, 32, 32\).*image\[None\]"):
        Xception(41, width=4)(torch.zeros(3, 32, 32))


@pytest.mark.parametrize("output_stride", [32, 16, 8])
@pytest.mark.parametrize("layers", [41, 71])
def test_strides_are_those_of_the_features(layers, output_stride):
    net = Xception(layers, width=4, output_stride=output_stride).eval()
    features = net(torch.zeros(1, 3, 64, 96))
    assert net.strides == tuple(64 // x.shape[-2] for x in features)
    assert len(net.strides) == len(net.channels)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("layers", [41, 71])
def test_the_strides_are_those_of_the_shapes(layers, output_stride):
    with torch.device("meta"):
        net = Xception(layers, width=4, output_stride=output_stride)
        features = net(torch.empty(1, 3, 320, 640))
    assert [(320 // s, 640 // s) for s in net.strides] == [tuple(f.shape[-2:]) for f in features]
