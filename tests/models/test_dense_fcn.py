"""Holes instead of strides: a trained network's scores, densely, with equal weights."""

import pytest
import torch
from torch import nn

from segcourse.models import FCN, chain, remove_strides, shift_and_stitch, upsample_dense


def fcn_of_stride_32() -> nn.Sequential:
    """A small FCN-32s in evaluation mode, in double precision: (N, 3, H, W) -> (N, 3, h, w)."""
    torch.manual_seed(0)
    net = FCN(
        3, stride=32, width=2, fc_channels=6, kernel_size=3, padding=1, batch_norm=True
    ).double()
    nn.init.normal_(net.score.weight)  # zero at first: all scores would be equal
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as after a training
            nn.init.uniform_(layer.running_mean, -0.3, 0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    return chain(net).eval()


def receptive_field(layers: nn.Sequential) -> int:
    field, step = 1, 1
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            kernel, stride, rate = (
                value if isinstance(value, int) else value[0]
                for value in (layer.kernel_size, layer.stride, layer.dilation)
            )
            field += (kernel - 1) * rate * step
            step *= stride
    return field


@torch.no_grad()
@pytest.mark.parametrize("output_stride", [8, 16])
def test_holes_equal_shift_and_stitch_away_from_the_border(output_stride):
    layers = fcn_of_stride_32()
    field = receptive_field(layers)
    image = torch.rand(1, 3, 352, 480, dtype=torch.float64)
    stitched = shift_and_stitch(layers, image, stride=32, step=output_stride)
    dense = remove_strides(layers, output_stride)(image)
    height, width = dense.shape[-2:]
    border = -(-field // 2 // output_stride)  # a window of a score here stays within the image
    inner = (..., slice(border, height - border), slice(border, width - border))
    gap = (stitched[..., :height, :width] - dense).abs()
    assert dense[inner].numel() > 0
    assert dense[inner].std() > 0.01
    assert gap[inner].max() < 1e-5
    assert gap.max() > 1e-5  # the padding of the shifted images differs


@torch.no_grad()
def test_without_holes_the_scores_differ():
    layers = fcn_of_stride_32()
    image = torch.rand(1, 3, 352, 480, dtype=torch.float64)
    stitched = shift_and_stitch(layers, image, stride=32, step=8)
    dense = remove_strides(layers, 8, holes=False)(image)
    height, width = dense.shape[-2:]
    assert (stitched[..., :height, :width] - dense)[..., 19:25, 19:41].abs().min() > 1e-5


@torch.no_grad()
def test_every_fourth_dense_score_is_a_score_of_the_original():
    layers = fcn_of_stride_32()
    image = torch.rand(2, 3, 352, 480, dtype=torch.float64)
    dense, coarse = remove_strides(layers, 8)(image), layers(image)
    assert torch.allclose(dense[..., 20:24:4, 20:40:4], coarse[..., 5:6, 5:10], atol=1e-9)


def test_holes_keep_the_receptive_field_and_weights():
    layers = fcn_of_stride_32()
    with_holes, without = remove_strides(layers, 8), remove_strides(layers, 8, holes=False)
    assert receptive_field(with_holes) == receptive_field(layers) > receptive_field(without)
    for dense in (with_holes, without):
        for name, value in layers.state_dict().items():
            assert torch.equal(dense.state_dict()[name], value)
    assert with_holes[0].weight is not layers[0].weight


def test_the_stride_of_the_network_itself_changes_nothing():
    layers = fcn_of_stride_32()
    image = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    assert torch.equal(remove_strides(layers, 32)(image), layers(image))


def test_shift_and_stitch_interlaces_rows_and_columns():
    image = torch.arange(48.0).view(1, 1, 6, 8)
    pick = nn.Conv2d(1, 1, 1, stride=2, bias=False)
    nn.init.ones_(pick.weight)
    assert torch.equal(shift_and_stitch(pick, image, stride=2, step=1), image)


@pytest.mark.parametrize("stride, step, side", [(32, 6, 96), (32, 8, 90)])
def test_sizes_that_do_not_fit_are_refused(stride, step, side):
    with pytest.raises(ValueError, match=r"do not fit"):
        shift_and_stitch(nn.Identity(), torch.rand(1, 3, side, 96), stride=stride, step=step)


def test_a_stride_that_is_never_reached_is_refused():
    with pytest.raises(ValueError, match="output_stride=64 is not reached"):
        remove_strides(fcn_of_stride_32(), 64)


@pytest.mark.parametrize("options", [dict(stride=8, padding=1), dict(stride=32, padding=100)])
def test_networks_that_are_no_chain_are_refused(options):
    with pytest.raises(ValueError, match="skips need a second path"):
        chain(FCN(3, width=2, fc_channels=4, kernel_size=3, **options))


def test_scores_that_are_too_few_are_repeated_at_the_border():
    scores = torch.rand(1, 2, 9, 13)
    logits = upsample_dense(scores, 8, torch.zeros(1, 3, 96, 128))
    assert logits.shape == (1, 2, 96, 128)
    assert torch.equal(logits[..., :12, :], logits[..., 12:13, :].expand(1, 2, 12, 128))
    assert torch.equal(logits[..., 12, 12], scores[..., 0, 0])
