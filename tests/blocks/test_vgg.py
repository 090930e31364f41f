"""VGG-16: torchvision's numbers and outputs, and the knobs its users turn."""

import pytest
import torch
from torchvision.models import vgg16, vgg16_bn

from segcourse.blocks.vgg import VGG, vgg_stage


@pytest.mark.parametrize("batch_norm, count", [(False, 14_714_688), (True, 14_723_136)])
def test_the_published_size_has_the_published_number_of_parameters(batch_norm, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in VGG(batch_norm=batch_norm).parameters()) == count


@pytest.mark.parametrize("batch_norm, oracle", [(False, vgg16), (True, vgg16_bn)])
def test_torchvisions_weights_fit_in_order_and_give_torchvisions_features(batch_norm, oracle):
    theirs = oracle(weights=None).features.eval()
    ours = VGG(batch_norm=batch_norm).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    image = torch.randn(1, 3, 45, 70)
    with torch.no_grad():
        assert torch.equal(ours(image)[-1], theirs(image))


@pytest.mark.parametrize(
    "size, ceil_mode, last",
    [((224, 224), False, (7, 7)), ((360, 480), True, (12, 15)), ((360, 480), False, (11, 15))],
)
def test_every_stage_halves_the_map_and_doubles_the_channels(size, ceil_mode, last):
    with torch.device("meta"):
        features = VGG(ceil_mode=ceil_mode)(torch.empty(1, 3, *size))
    assert [f.shape[1] for f in features] == [64, 128, 256, 512, 512]
    assert features[-1].shape[-2:] == last


def test_the_first_padding_widens_only_the_first_map():
    with torch.device("meta"):
        features = VGG(padding=100, ceil_mode=True)(torch.empty(1, 3, 375, 500))
    shapes = [tuple(f.shape[1:]) for f in features]
    assert shapes[0] == (64, 287, 349) and shapes[-1] == (512, 18, 22)


def test_fewer_and_narrower_stages_can_be_had():
    features = VGG(in_channels=1, width=3, depths=(1, 2), batch_norm=True)(torch.zeros(2, 1, 9, 8))
    assert [tuple(f.shape) for f in features] == [(2, 3, 4, 4), (2, 6, 2, 2)]


def test_a_dilated_stage_keeps_the_size_and_looks_further():
    x = torch.zeros(1, 1, 15, 15, requires_grad=True)
    stage = vgg_stage(1, 2, depth=1, dilation=2)
    y = stage[0](x)
    assert y.shape == (1, 2, 15, 15)
    y[0, 0, 7, 7].backward()
    rows = x.grad[0, 0].abs().sum(dim=1).nonzero().flatten().tolist()
    assert rows == [5, 7, 9]


def test_features_neither_fade_nor_explode_at_the_start():
    torch.manual_seed(0)
    features = VGG(width=16)(torch.randn(2, 3, 64, 64))
    assert all(0.2 < f.std() < 5 for f in features)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"depths": ()}, {"depths": (2, 0)}])
def test_a_stage_without_layers_is_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        VGG(**wrong)


@pytest.mark.parametrize("depths", [(2, 2, 3, 3, 3), (1, 1)])
def test_strides_are_those_of_the_features(depths):
    net = VGG(width=2, depths=depths)
    features = net(torch.zeros(1, 3, 64, 96))
    assert net.strides == tuple(64 // x.shape[-2] for x in features)
    assert len(net.strides) == len(net.channels)


@pytest.mark.parametrize("depths", [(1, 1), (1, 1, 1, 1, 1)])
def test_the_strides_are_those_of_the_shapes(depths):
    with torch.device("meta"):
        net = VGG(width=4, depths=depths)
        features = net(torch.empty(1, 3, 320, 640))
    assert [(320 // s, 640 // s) for s in net.strides] == [tuple(f.shape[-2:]) for f in features]
