"""Bilinear transposed convolutions: the printed kernels, and F.interpolate in the interior."""

import pytest
import torch
import torch.nn.functional as F

from segcourse.blocks.upsample import bilinear_kernel, bilinear_upsample, resize


@pytest.mark.parametrize(
    "size, start",
    [
        (1, [1.0]),
        (3, [0.5, 1.0, 0.5]),
        (4, [0.25, 0.75, 0.75, 0.25]),
        (16, [0.0625, 0.1875, 0.3125]),
        (64, [0.015625, 0.046875]),
    ],
)
def test_kernels_begin_as_in_the_released_networks(size, start):
    kernel = bilinear_kernel(size)
    assert kernel.shape == (size, size)
    row = kernel.sum(dim=0) / ((size + 1) // 2)  # the tent of one axis: each column sums to f
    assert row[: len(start)].tolist() == pytest.approx(start)
    assert torch.equal(kernel, kernel.flip(0, 1)) and torch.equal(kernel, kernel.T)


@pytest.mark.parametrize("factor", [2, 4, 8, 16, 32])
def test_the_layer_is_interpolate_wherever_no_tent_crosses_the_border(factor):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 6)
    with torch.no_grad():
        ours = bilinear_upsample(3, factor, padding=factor // 2)(x)
    theirs = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    assert ours.shape == theirs.shape
    inside = (..., slice(factor, -factor), slice(factor, -factor))
    assert (ours - theirs)[inside].abs().max() < 1e-6
    assert (ours - theirs).abs().max() > 0.05  # at the border they are different functions


@pytest.mark.parametrize("factor", [1, 2, 3, 5, 8])
def test_a_constant_stays_constant_inside(factor):
    up = bilinear_upsample(1, factor)(torch.full((1, 1, 5, 5), 7.0))
    inside = slice(2 * factor, -2 * factor)
    assert torch.allclose(up[..., inside, inside], torch.tensor(7.0))


def test_the_rim_is_as_wide_as_the_factor():
    assert bilinear_upsample(2, 8)(torch.zeros(1, 2, 3, 4)).shape == (1, 2, 32, 40)


def test_channels_do_not_mix_and_nothing_learns():
    layer = bilinear_upsample(3, 2)
    x = torch.zeros(1, 3, 4, 4)
    x[:, 1] = 1
    out = layer(x)
    assert not out[:, [0, 2]].any() and out[:, 1].all()
    assert layer.bias is None and not layer.weight.requires_grad
    assert layer.weight.count_nonzero() == 3 * 16


@pytest.mark.parametrize("wrong", [(0, 2), (1, 0)])
def test_impossible_layers_are_refused(wrong):
    with pytest.raises(ValueError, match="at least"):
        bilinear_upsample(*wrong)
    with pytest.raises(ValueError, match="at least 1"):
        bilinear_kernel(0)


@pytest.mark.parametrize("align", [False, True])
def test_resize_lays_borders_or_corner_centres_over_each_other(align):
    ramp = torch.arange(5.0).view(1, 1, 1, 5).expand(1, 1, 3, 5)
    row = resize(ramp, (6, 9), align_corners=align)[0, 0, 0]
    centres = torch.arange(9.0) / 2 if align else ((torch.arange(9) + 0.5) * 5 / 9 - 0.5)
    assert torch.allclose(row, centres.clamp(0, 4), atol=1e-6)
