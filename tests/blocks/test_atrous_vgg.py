"""VGG with holes: VGG's parameters, the released sizes, and what holes and alignment promise."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segcourse.blocks.atrous_vgg import (
    STRIDES,
    AtrousVGG,
    atrous_classifier,
    crop_to_image,
    normal_,
    upsample_logits,
)
from segcourse.blocks.vgg import VGG


@pytest.mark.parametrize("batch_norm, count", [(False, 14_714_688), (True, 14_723_136)])
def test_holes_cost_no_parameters(batch_norm, count):
    with torch.device("meta"):
        holes, plain = AtrousVGG(batch_norm=batch_norm), VGG(batch_norm=batch_norm)
    assert sum(p.numel() for p in holes.parameters()) == count
    weights = {name: value.shape for name, value in plain.state_dict().items()}
    assert {name: value.shape for name, value in holes.state_dict().items()} == weights


@pytest.mark.parametrize(
    "side, sides", [(321, [161, 81, 41, 41, 41]), (513, [257, 129, 65, 65, 65]),
                    (96, [49, 25, 13, 13, 13]), (128, [65, 33, 17, 17, 17])],
)  # fmt: skip
def test_maps_have_the_released_sizes(side, sides):
    with torch.device("meta"):
        net = AtrousVGG()
        features = net(torch.empty(1, 3, side, side))
    assert [f.shape[-1] for f in features] == [f.shape[-2] for f in features] == sides
    assert [f.shape[1] for f in features] == net.channels == [64, 128, 256, 512, 512]


@pytest.mark.parametrize("size", [(65, 81), (64, 72)])
def test_a_dilated_stage_computes_what_a_strided_one_does_and_the_positions_in_between(size):
    """The idea of the paper: at every second position, the features are those of VGG."""
    torch.manual_seed(0)
    net = AtrousVGG(width=4).eval()
    *_, pool3, _, _ = net(torch.rand(1, 3, *size))
    pool4 = net.stages[3](pool3)
    dense = net.stages[4](net.pools[3](pool4))
    for layer in net.stages[4]:
        if isinstance(layer, nn.Conv2d):
            layer.dilation = layer.padding = (1, 1)
    strided = net.stages[4](F.max_pool2d(pool4, 3, stride=2, padding=1))
    assert strided.std() > 0.01
    assert torch.allclose(dense[..., ::2, ::2], strided, atol=1e-6)


@pytest.mark.parametrize(
    "level, field", [(0, 7), (1, 19), (2, 51), (3, 115), (4, 227)], ids=lambda value: str(value)
)
def test_a_position_looks_symmetrically_around_its_pixel(level, field):
    """Position n of stride s lies over pixel s * n. Means instead of maxima: all pixels count."""
    net = AtrousVGG(width=1)
    for place, pool in enumerate(net.pools):
        net.pools[place] = nn.AvgPool2d(3, pool.stride, padding=1, ceil_mode=True)
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.1)
    image = torch.ones(1, 3, 33, 257, dtype=torch.float64, requires_grad=True)
    features = net.double()(image)[level]
    position = 128 // STRIDES[level]
    features[0, 0, features.shape[-2] // 2, position].backward()
    seen = image.grad.sum(dim=(0, 1, 2)).nonzero().flatten().tolist()
    assert (seen[0], seen[-1]) == (128 - field // 2, 128 + field // 2)
    assert len(seen) == field


def test_features_neither_fade_nor_explode_at_the_start():
    torch.manual_seed(0)
    features = AtrousVGG(width=16)(torch.randn(2, 3, 65, 65))
    assert all(0.2 < f.std() < 5 for f in features)


@pytest.mark.parametrize("kernel_size, rate", [(3, 12), (4, 4), (7, 4), (3, 1), (1, 1)])
def test_a_classifier_slides_without_shrinking_the_map(kernel_size, rate):
    classify = atrous_classifier(5, 6, 3, kernel_size=kernel_size, dilation=rate).eval()
    assert classify(torch.zeros(2, 5, 9, 11)).shape == (2, 3, 9, 11)


def test_a_classifier_is_three_layers_with_two_relus():
    torch.manual_seed(0)
    x = torch.randn(1, 5, 9, 11)
    classify = atrous_classifier(5, 6, 3, dilation=2).eval()
    fc6, fc7, fc8 = (layer for layer in classify if isinstance(layer, nn.Conv2d))
    hidden = F.conv2d(x, fc6.weight, fc6.bias, padding=2, dilation=2).relu()
    hidden = F.conv2d(hidden, fc7.weight, fc7.bias).relu()
    assert torch.allclose(classify(x), F.conv2d(hidden, fc8.weight, fc8.bias), atol=1e-6)
    assert sum(isinstance(layer, nn.Dropout) for layer in classify) == 2


def test_scores_start_near_zero():
    torch.manual_seed(0)
    layer = normal_(nn.Conv2d(512, 21, kernel_size=3))
    assert abs(layer.weight.std().item() - 0.01) < 1e-3
    assert not layer.bias.any()


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@pytest.mark.parametrize("positions", [(3, 4), (1, 2)])
def test_enlarging_puts_every_position_on_its_pixel(stride, positions):
    torch.manual_seed(0)
    scores = torch.randn(2, 3, *positions)
    rows, columns = (stride * (side - 1) + 1 for side in positions)
    exact = upsample_logits(scores, stride, torch.empty(1, 3, rows, columns))
    assert exact.shape == (2, 3, rows, columns)
    assert torch.allclose(exact[..., ::stride, ::stride], scores, atol=1e-6)
    wanted = F.interpolate(scores, (rows, columns), mode="bilinear", align_corners=True)
    assert torch.equal(exact, wanted)


def test_positions_beyond_the_image_are_cut_and_pixels_beyond_the_positions_repeat_the_last():
    scores = torch.randn(1, 1, 3, 4)
    exact = upsample_logits(scores, 8, torch.empty(1, 3, 17, 25))
    assert torch.equal(upsample_logits(scores, 8, torch.empty(1, 3, 12, 24)), exact[..., :12, :24])
    longer = upsample_logits(scores, 8, torch.empty(1, 3, 20, 24))
    assert torch.equal(longer[..., :17, :], exact[..., :24])
    assert torch.equal(longer[..., 17:, :], exact[..., 16:17, :24].expand(1, 1, 3, 24))


@pytest.mark.parametrize("size", [(1, 8), (9, 16), (17, 24), (96, 128)])
def test_the_positions_over_the_image_are_those_of_every_eighth_pixel(size):
    target = torch.zeros(1, *size)
    scores = crop_to_image(torch.zeros(1, 5, 20, 20), 8, target)
    assert scores.shape[-2:] == target[..., ::8, ::8].shape[-2:]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: AtrousVGG(width=0), r"width=0.*at least 1"),
        (lambda: AtrousVGG(width=1)(torch.zeros(3, 8, 8)), r"\(3, 8, 8\).*image\[None\]"),
        (lambda: atrous_classifier(4, 0, 2), r"fc_channels=0.*at least 1"),
        (lambda: atrous_classifier(4, 4, 0), r"num_classes=0.*at least 1"),
        (lambda: atrous_classifier(4, 4, 2, dilation=0), r"dilation=0.*at least 1"),
        (lambda: atrous_classifier(4, 4, 2, kernel_size=4, dilation=3), "dilation=3 has no middle"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_strides_are_those_of_the_features():
    net = AtrousVGG(width=2)
    features = net(torch.zeros(1, 3, 65, 97))
    assert net.strides == tuple(64 // (x.shape[-2] - 1) for x in features) == (2, 4, 8, 8, 8)
    assert len(net.strides) == len(net.channels)


def test_the_strides_are_those_of_the_shapes():
    """Sides of 8n + 1: positions lie on the first and on the last pixel."""
    with torch.device("meta"):
        net = AtrousVGG(width=4)
        features = net(torch.empty(1, 3, 321, 641))
    wanted = [(320 // s + 1, 640 // s + 1) for s in net.strides]
    assert wanted == [tuple(f.shape[-2:]) for f in features]
