"""DeepLab v1: the released networks' counts, sizes and layers; how far it sees; that it learns."""

from collections.abc import Iterable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.models.deeplab_v1 import DeepLabV1, SideBranch

DEEPLAB = dict(kernel_size=4, dilation=4, fc_channels=4096)
CLASSROOM = dict(width=4, fc_channels=16, dilation=2, batch_norm=True, dropout=0.0)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    "arguments, parameters",
    [
        ({}, 20_505_429),
        (dict(multi_scale=True), 21_711_550),
        (DEEPLAB, 65_140_565),
        (dict(multi_scale=True, **DEEPLAB), 66_346_686),
        (
            dict(kernel_size=7, dilation=4, fc_channels=4096),
            134_346_581,
        ),  # as many as FCN-32s learns
    ],
    ids=["LargeFOV", "MSc-LargeFOV", "DeepLab", "DeepLab-MSc", "7 x 7"],
)
def test_parameters_are_those_of_the_released_networks(arguments, parameters):
    with torch.device("meta"):
        assert count(DeepLabV1(21, **arguments)) == parameters


@pytest.mark.parametrize("side, positions", [(321, 41), (513, 65)])
@pytest.mark.parametrize("arguments", [{}, dict(multi_scale=True), DEEPLAB], ids=str)
def test_scores_have_stride_8_and_logits_the_size_of_the_image(side, positions, arguments):
    with torch.device("meta"):
        net, image = DeepLabV1(21, **arguments), torch.empty(1, 3, side, side)
        assert net.coarse_logits(image).shape == (1, 21, positions, positions)
        assert net(image).shape == (1, 21, side, side)


def released(width: int, fc_channels: int, classes: int, *, large: bool) -> nn.Sequential:
    """The layers of the released files, one after the other, in plain torch."""
    layers: list[nn.Module] = []
    channels = 3
    for stage, (depth, factor) in enumerate(zip((2, 2, 3, 3, 3), (1, 2, 4, 8, 8), strict=True)):
        hole = 2 if stage == 4 else 1
        for _ in range(depth):
            convolution = nn.Conv2d(channels, factor * width, 3, padding=hole, dilation=hole)
            layers += [convolution, nn.ReLU()]
            channels = factor * width
        layers.append(nn.MaxPool2d(3, stride=2 if stage < 3 else 1, padding=1))
    if large:
        fc6 = nn.Conv2d(channels, fc_channels, 3, padding=12, dilation=12)
        layers.append(nn.AvgPool2d(3, stride=1, padding=1))
    else:
        fc6 = nn.Conv2d(channels, fc_channels, 4, padding=6, dilation=4)
    layers += [fc6, nn.ReLU(), nn.Conv2d(fc_channels, fc_channels, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(fc_channels, classes, 1)).eval()


def varied(net: nn.Module) -> nn.Module:
    """Scores that start near zero, and biases that start at it, would hide mistakes."""
    for parameter in net.parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 100
        nn.init.normal_(parameter, std=(2 / fan) ** 0.5)
    return net.eval()


@pytest.mark.parametrize("large", [True, False])
def test_equals_the_layers_of_the_released_networks(large):
    torch.manual_seed(0)
    field = dict(dilation=12) if large else dict(kernel_size=4, dilation=4)
    net = varied(DeepLabV1(5, width=6, fc_channels=20, **field))
    plain = released(6, 20, 5, large=large)
    plain.load_state_dict(dict(zip(plain.state_dict(), net.state_dict().values(), strict=True)))
    image = torch.randn(1, 3, 209, 225)
    with torch.no_grad():
        want = plain(image)
        scores, logits = net.coarse_logits(image), net(image)
    assert want.shape == (1, 5, 27, 29) and want.std() > 0.1
    assert torch.allclose(scores, want, atol=1e-5)
    zoomed = F.interpolate(want, (209, 225), mode="bilinear", align_corners=True)
    assert torch.allclose(logits, zoomed, atol=1e-5)


def side_branch(side: SideBranch, x: Tensor, stride: int) -> Tensor:
    """One of the added branches, in plain torch: 3 x 3 with a stride, 1 x 1, 1 x 1."""
    first, second, third = (layer for layer in side.modules() if isinstance(layer, nn.Conv2d))
    x = F.conv2d(x, first.weight, first.bias, stride=stride, padding=1).relu()
    return F.conv2d(F.conv2d(x, second.weight, second.bias).relu(), third.weight, third.bias)


def test_multi_scale_adds_the_released_branches_strided_in_training_and_zoomed_in_tests():
    torch.manual_seed(0)
    net = varied(DeepLabV1(5, width=4, fc_channels=8, dilation=2, multi_scale=True))
    image = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        pool1, pool2, pool3, pool4, pool5 = net.features(image)
        deepest = net.classifier(F.avg_pool2d(pool5, 3, stride=1, padding=1))
        sources = list(zip(net.sides, (image, pool1, pool2, pool3, pool4), strict=True))
        strided = [
            side_branch(side, x, stride)
            for (side, x), stride in zip(sources, (8, 4, 2, 1, 1), strict=True)
        ]
        zoomed = [
            F.interpolate(side_branch(side, x, 1), (65, 97), mode="bilinear", align_corners=True)
            for side, x in sources
        ]
        zoomed.append(F.interpolate(deepest, (65, 97), mode="bilinear", align_corners=True))
        assert torch.allclose(net.coarse_logits(image), deepest + sum(strided), atol=1e-5)
        assert torch.allclose(net(image), sum(zoomed), atol=1e-5)


@pytest.mark.parametrize("multi_scale", [False, True])
@pytest.mark.parametrize("size", [(97, 129), (96, 128), (33, 50), (101, 100), (7, 200), (1, 1)])
def test_scores_are_the_logits_of_every_eighth_pixel(multi_scale, size):
    torch.manual_seed(0)
    net = varied(DeepLabV1(5, multi_scale=multi_scale, **CLASSROOM))
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        logits, scores = net(image), net.coarse_logits(image)
    assert logits.shape == (2, 5, *size)
    assert torch.allclose(logits[..., ::8, ::8], scores, atol=1e-5)


def test_only_multi_scale_knows_more_than_every_eighth_pixel():
    torch.manual_seed(0)
    image = torch.randn(1, 3, 33, 33)
    for multi_scale in (False, True):
        net = varied(DeepLabV1(2, multi_scale=multi_scale, **CLASSROOM))
        with torch.no_grad():
            logits = net(image)
        between = (logits[..., 0:-8:8, ::8] + logits[..., 8::8, ::8]) / 2
        assert torch.allclose(logits[..., 4::8, ::8], between, atol=1e-4) != multi_scale


@pytest.mark.parametrize(
    "arguments, field",
    [
        (dict(dilation=12), 435),  # 227 of pool5, 16 of the mean, 2 * 12 * 8 of fc6
        (dict(dilation=4), 307),
        (dict(kernel_size=4, dilation=4), 323),  # 227 and 3 * 4 * 8
        (dict(kernel_size=4, dilation=8), 419),
        (dict(kernel_size=7, dilation=4), 419),  # as far as LargeFOV's 3 x 3, with 49 taps for 9
    ],
    ids=str,
)
def test_how_far_the_network_sees(arguments, field):
    """By the gradient. Means instead of maxima, which would pass on one pixel of nine."""
    net = DeepLabV1(1, width=1, fc_channels=1, dropout=0.0, **arguments)
    for place, pool in enumerate(net.features.pools):
        net.features.pools[place] = nn.AvgPool2d(3, pool.stride, padding=1)
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.5)
    image = torch.ones(1, 3, 449, 449, dtype=torch.float64, requires_grad=True)
    scores = net.double().coarse_logits(image)
    scores[0, 0, 28, 28].backward()  # pixel 224
    middle, reach = 224, field // 2
    for seen in (image.grad[0, 0].sum(dim=0), image.grad[0, 0].sum(dim=1)):
        pixels = seen.nonzero().flatten().tolist()
        assert (pixels[0], pixels[-1]) == (middle - reach, middle + reach)


def test_how_far_the_network_sees_with_its_maxima():
    """A pixel of light in the dark: all weights are positive, so where it is seen, it shows."""
    net = DeepLabV1(1, width=1, fc_channels=1, dropout=0.0).double()
    for name, parameter in net.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 0.5)
    images = torch.zeros(4, 3, 449, 449, dtype=torch.float64)
    for image, column in zip(images, (224 - 218, 224 - 217, 224 + 217, 224 + 218), strict=True):
        image[:, 224, column] = 1
    with torch.no_grad():
        seen = net.coarse_logits(images)[:, 0, 28, 28] > 0
    assert seen.tolist() == [False, True, True, False]


def test_a_rate_beyond_the_map_leaves_one_tap():
    """Why the classroom's dilation is small: of 12, the outer taps miss a map of 12 positions."""
    torch.manual_seed(0)
    net = varied(DeepLabV1(3, width=2, fc_channels=4, dilation=12))
    image = torch.randn(1, 3, 89, 89)  # 12 x 12 positions
    with torch.no_grad():
        before = net.coarse_logits(image)
        fc6 = net.classifier[0].weight
        middle = fc6[..., 1, 1].clone()
        fc6.zero_()
        fc6[..., 1, 1] = middle
        assert torch.allclose(net.coarse_logits(image), before, atol=1e-6)


@pytest.mark.parametrize("multi_scale", [False, True])
def test_a_gradient_reaches_every_parameter(multi_scale):
    torch.manual_seed(0)
    net = DeepLabV1(3, multi_scale=multi_scale, **CLASSROOM)
    for way in (net, net.coarse_logits):
        net.zero_grad()
        way(torch.randn(2, 3, 64, 64)).square().mean().backward()
        assert not [name for name, p in net.named_parameters() if not p.grad.any()]


def learn(net: DeepLabV1, parameters: Iterable[nn.Parameter], target: Tensor) -> float:
    """Train as the paper does, on every eighth pixel; the share of right pixels afterwards."""
    image = target[:, None].float().repeat(1, 3, 1, 1)
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    for _ in range(40):
        loss = F.cross_entropy(net.coarse_logits(image), target[..., ::8, ::8])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        return (net(image).argmax(dim=1) == target).float().mean().item()


def test_learns_to_copy_a_coarse_mask():
    torch.manual_seed(0)
    target = torch.randint(0, 2, (4, 3, 3)).repeat_interleave(32, 1).repeat_interleave(32, 2)
    target = target[:, 12:77, 12:77]  # edges in the middle between two positions of the scores
    net = DeepLabV1(2, **CLASSROOM)
    assert learn(net, net.parameters(), target) > 0.9


def test_multi_scale_learns_to_copy_single_pixels_though_it_is_trained_on_every_eighth():
    """Nothing but the added branches learns, as in the released recipe."""
    torch.manual_seed(0)
    target = torch.randint(0, 2, (4, 64, 64))
    net = DeepLabV1(2, multi_scale=True, **{**CLASSROOM, "batch_norm": False})
    assert learn(net, net.sides.parameters(), target) > 0.99


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(num_classes=0), "num_classes=0.*at least 1"),
        (dict(width=0), "width=0.*at least 1"),
        (dict(fc_channels=0), "fc_channels=0.*at least 1"),
        (dict(dilation=0), "dilation=0.*at least 1"),
        (dict(kernel_size=4, dilation=3), "odd kernel_size or an even dilation"),
    ],
)
def test_networks_that_cannot_be_are_refused_with_the_remedy(wrong, words):
    with pytest.raises(ValueError, match=words):
        DeepLabV1(**{"num_classes": 3, "width": 2, "fc_channels": 4, **wrong})


def test_what_is_no_batch_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 32, 32\).*image\[None\]"):
        DeepLabV1(3, **CLASSROOM)(torch.zeros(3, 32, 32))
