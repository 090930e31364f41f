"""ASPP: two oracles, the paper's counts, and what becomes of a window larger than the map."""

import pytest
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.decoders.deeplabv3 import decoder as smp
from torch import Tensor, nn
from torchvision.models.segmentation import deeplabv3 as torchvision

from segcourse.blocks.aspp import ASPP, default_atrous_rates
from segcourse.blocks.conv import conv_bn_relu
from segcourse.blocks.xception import separable_conv


def settled(net: nn.Module) -> nn.Module:
    """Normalisations that differ from one another, so that a mix-up would show."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


def with_weights_of(oracle: nn.Module, ours: nn.Module) -> nn.Module:
    """Copy in the order of computation; every shape must agree."""
    theirs, own = oracle.state_dict(), ours.state_dict()
    assert [v.shape for v in own.values()] == [v.shape for v in theirs.values()]
    ours.load_state_dict(dict(zip(own, theirs.values(), strict=True)))
    return ours.eval()


@torch.no_grad()
def assert_equal(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    want, got = theirs(x), ours(x)
    assert got.shape == want.shape and want.std() > 0.01
    assert (got - want).abs().max() <= 1e-5


def without_bn_in_between(in_channels: int, out_channels: int, *, dilation: int = 1) -> nn.Module:
    """The separable convolution of segmentation_models: normalised and rectified only once."""
    depthwise = nn.Conv2d(
        in_channels, in_channels, 3, 1, dilation, dilation, groups=in_channels, bias=False
    )
    pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return nn.Sequential(depthwise, pointwise, nn.BatchNorm2d(out_channels), nn.ReLU())


@pytest.mark.parametrize("atrous_rates", [(6, 12, 18), (12, 24, 36), (1, 2, 3)])
@pytest.mark.parametrize("size", [(33, 33), (13, 20), (1, 1)])
def test_equals_torchvision(atrous_rates, size):
    theirs = settled(torchvision.ASPP(24, atrous_rates, out_channels=16))
    ours = with_weights_of(theirs, ASPP(24, 16, atrous_rates=atrous_rates))
    assert_equal(ours, theirs, torch.randn(2, 24, *size))


@pytest.mark.parametrize(
    "separable, convolution", [(False, conv_bn_relu), (True, without_bn_in_between)]
)
def test_equals_segmentation_models(separable, convolution):
    theirs = settled(smp.ASPP(24, 16, (2, 4, 6), separable=separable, dropout=0.5))
    ours = ASPP(24, 16, atrous_rates=(2, 4, 6), convolution=convolution)
    assert_equal(with_weights_of(theirs, ours), theirs, torch.randn(2, 24, 12, 16))


def test_the_separable_convolution_of_segmentation_models_is_another():
    """It has no batch normalisation in between, so the weights of one do not fit the other."""
    ours, theirs = separable_conv(8, 4), without_bn_in_between(8, 4)
    assert len(ours.state_dict()) == len(theirs.state_dict()) + 5


@pytest.mark.parametrize(
    "convolution, count", [(conv_bn_relu, 15_535_104), (separable_conv, 3_019_776)]
)
def test_parameters(convolution, count):
    with torch.device("meta"):
        aspp = ASPP(2048, convolution=convolution)
    assert sum(p.numel() for p in aspp.parameters()) == count


def test_the_paper_doubles_the_rates_when_the_output_stride_is_halved():
    assert [default_atrous_rates(stride) for stride in (32, 16, 8)] == [
        (3, 6, 9),
        (6, 12, 18),
        (12, 24, 36),
    ]


@pytest.mark.parametrize("rate", [2, 3, 7])
def test_an_atrous_kernel_is_a_larger_one_with_holes(rate):
    torch.manual_seed(0)
    branch = ASPP(3, 4, atrous_rates=(rate,)).convs[1][0]
    holes = torch.zeros(4, 3, 2 * rate + 1, 2 * rate + 1)
    holes[..., ::rate, ::rate] = branch.weight.detach()
    x = torch.randn(2, 3, 17, 19)
    assert torch.allclose(branch(x), F.conv2d(x, holes, padding=rate), atol=1e-5)


@pytest.mark.parametrize("rate, degenerate", [(11, False), (15, False), (16, True), (36, True)])
def test_a_rate_as_large_as_the_map_leaves_a_1_x_1_convolution(rate, degenerate):
    """Why there is image pooling: the map of 12 x 16 leaves eight taps nothing but padding."""
    torch.manual_seed(0)
    branch = ASPP(3, 4, atrous_rates=(rate,)).convs[1][0]
    x = torch.randn(2, 3, 12, 16)
    middle = F.conv2d(x, branch.weight[..., 1:2, 1:2])
    assert torch.allclose(branch(x), middle, atol=1e-6) == degenerate


def test_image_pooling_tells_every_place_the_same_whatever_the_order_of_the_places():
    torch.manual_seed(0)
    aspp = settled(ASPP(6, 5, atrous_rates=(1, 2)))
    aspp.project = nn.Identity()
    x = torch.randn(2, 6, 7, 9)
    shuffled = x.flatten(2)[..., torch.randperm(63)].view_as(x)
    with torch.no_grad():
        views, others = aspp(x), aspp(shuffled)
    assert views.shape == (2, 4 * 5, 7, 9)  # 1 x 1, two rates, image pooling
    image = views[:, -5:]
    assert image.std() > 0 and torch.equal(image, image[..., :1, :1].expand_as(image))
    assert torch.allclose(image, others[:, -5:], atol=1e-6)
    assert not torch.allclose(views[:, 5:10], others[:, 5:10], atol=1e-2)


def test_training_on_a_single_image_is_refused_with_the_remedy():
    aspp, x = ASPP(8, 4), torch.randn(1, 8, 6, 6)
    with pytest.raises(ValueError, match=r"single image.*\(1, 8, 6, 6\).*at least 2.*drop_last"):
        aspp(x)
    assert aspp(x.repeat(2, 1, 1, 1)).shape == (2, 4, 6, 6)
    assert aspp.eval()(x).shape == (1, 4, 6, 6)


def test_a_single_image_will_do_where_that_normalisation_is_frozen():
    aspp = ASPP(8, 4)
    aspp.convs[-1].eval()
    assert aspp(torch.randn(1, 8, 6, 6)).shape == (1, 4, 6, 6)


def test_without_rates_the_1_x_1_and_image_pooling_are_left():
    assert ASPP(8, 4, atrous_rates=()).project[0].in_channels == 2 * 4


@pytest.mark.parametrize("convolution", [conv_bn_relu, separable_conv])
def test_a_gradient_reaches_every_parameter(convolution):
    torch.manual_seed(0)
    aspp = ASPP(8, 6, atrous_rates=(1, 2, 4), convolution=convolution)
    (aspp(torch.randn(3, 8, 12, 16)) * torch.randn(3, 6, 12, 16)).sum().backward()
    assert not [name for name, p in aspp.named_parameters() if not p.grad.any()]


@pytest.mark.parametrize(
    "wrong",
    [dict(in_channels=0), dict(channels=0), dict(atrous_rates=(6, 0)), dict(atrous_rates=(-1,))],
)
def test_refuses_what_cannot_be_built(wrong):
    with pytest.raises(ValueError, match="must be at least 1"):
        ASPP(**{"in_channels": 8, "channels": 4, **wrong})
