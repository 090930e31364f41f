"""The bricks: what they cost, what they keep, what they refuse."""

import pytest
import torch
from torch import nn

from segcourse.blocks.conv import (
    center_crop,
    conv_bn,
    conv_bn_relu,
    conv_gn_relu,
    conv_relu,
    kaiming_normal_,
    normal_,
    zero_init_,
)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_are_those_of_the_arithmetic():
    assert count(conv_relu(3, 64)) == 3 * 64 * 9 + 64  # a bias each
    assert count(conv_bn_relu(3, 64)) == 3 * 64 * 9 + 2 * 64  # no bias, but scale and shift
    assert count(nn.Sequential(*conv_bn(8, 4, kernel_size=1))) == 8 * 4 + 2 * 4


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("dilation", [1, 2, 12])
def test_default_padding_keeps_the_size(kernel_size, dilation):
    x = torch.randn(1, 2, 30, 41)
    layer = conv_bn_relu(2, 3, kernel_size=kernel_size, dilation=dilation)
    assert layer(x).shape == (1, 3, 30, 41)
    if dilation == 1:
        assert conv_relu(2, 3, kernel_size=kernel_size)(x).shape == (1, 3, 30, 41)


def test_stride_halves_and_rounds_up():
    assert conv_bn_relu(2, 3, stride=2)(torch.randn(1, 2, 31, 40)).shape == (1, 3, 16, 20)


def test_without_padding_two_rows_and_columns_are_lost():
    assert conv_relu(2, 3, padding=0)(torch.randn(1, 2, 9, 7)).shape == (1, 3, 7, 5)
    assert conv_bn_relu(2, 3, padding=0)(torch.randn(1, 2, 9, 7)).shape == (1, 3, 7, 5)


def test_outputs_are_not_negative():
    for layer in (conv_relu(2, 3), conv_bn_relu(2, 3)):
        assert layer(torch.randn(2, 2, 8, 8)).min() == 0


def test_weights_have_the_variance_of_the_paper():
    """U-Net's own example: 64 channels and a 3 x 3 kernel make N = 576."""
    torch.manual_seed(0)
    weight = conv_relu(64, 256)[0].weight
    assert weight.std().item() == pytest.approx((2 / 576) ** 0.5, rel=0.01)
    up = kaiming_normal_(nn.ConvTranspose2d(128, 64, kernel_size=2, stride=2))
    assert up.weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.02)
    assert not up.bias.any()


def test_center_crop_takes_the_middle():
    x = torch.arange(36.0).view(1, 1, 6, 6)
    assert torch.equal(center_crop(x, 2, 4)[0, 0], x[0, 0, 2:4, 1:5])
    assert center_crop(x, 6, 6).data_ptr() == x.data_ptr()


@pytest.mark.parametrize("size", [(5, 6), (6, 5), (8, 6), (6, 8), (0, 6)])
def test_center_crop_refuses_what_has_no_centre(size):
    with pytest.raises(ValueError, match=r"6 x 6 has no centre of .* must be even"):
        center_crop(torch.zeros(1, 1, 6, 6), *size)


def test_groups_are_normalised_image_by_image():
    torch.manual_seed(0)
    layer, x = conv_gn_relu(3, 12, groups=8), torch.randn(4, 3, 9, 11)
    assert layer[1].num_groups == 4 and layer[0].bias is None
    assert torch.allclose(layer(x)[2:3], layer(x[2:3]), atol=1e-6)
    values = layer[1](layer[0](x)).unflatten(1, (4, 3)).flatten(2)
    assert values.mean(dim=2).abs().max() < 1e-5
    assert torch.allclose(values.std(dim=2), torch.ones(4, 4), atol=1e-2)
    assert conv_gn_relu(3, 264, groups=8, bias=True)[1].num_groups == 8


def test_initializers_are_what_their_names_say():
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 128, kernel_size=3)
    kaiming_normal_(layer)
    theirs = nn.init.kaiming_normal_(torch.empty_like(layer.weight), nonlinearity="relu")
    assert layer.weight.std().item() == pytest.approx(theirs.std().item(), rel=0.02)
    glorot = nn.init.xavier_normal_(torch.empty_like(layer.weight))
    assert layer.weight.std().item() > 1.1 * glorot.std().item()
    assert normal_(layer).weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not layer.bias.any()
    nn.init.ones_(layer.bias)
    assert zero_init_(layer) is layer and not layer.weight.any() and not layer.bias.any()
    assert zero_init_(nn.Conv2d(1, 1, 1, bias=False)).bias is None
