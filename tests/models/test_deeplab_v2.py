"""DeepLab v2: the paper's counts and sizes, what its two pyramids add up to, that it learns."""

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import nn

from segcourse.models.deeplab_v1 import DeepLabV1
from segcourse.models.deeplab_v2 import ASPP, DeepLabV2, rescale

RATES = (6, 12, 18, 24)
CLASSROOM = dict(layers=18, width=4, atrous_rates=(1, 2, 4, 6))


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def pyramid_of_eight_channels() -> ASPP:
    """The pyramid of a narrow ResNet-18, with the paper's rates and in double precision."""
    torch.manual_seed(0)
    return DeepLabV2(2, layers=18, width=1, atrous_rates=RATES).aspp.double()


@pytest.fixture(scope="module")
def paper() -> DeepLabV2:
    """The paper's best network, without memory for its weights."""
    with torch.device("meta"):
        return DeepLabV2(21)


def test_parameters_are_those_of_the_paper(paper):
    assert count(paper) == 44_048_532
    assert count(paper.aspp) == 1_548_372
    assert paper.scales == (0.5, 0.75, 1)


@pytest.mark.parametrize(
    "arguments", [{}, dict(atrous_rates=(2, 4, 8, 12)), dict(scales=(1,))], ids=str
)
def test_on_vgg_neither_rates_nor_scales_cost_parameters(arguments):
    with torch.device("meta"):
        assert count(DeepLabV2(21, layers=16, **arguments)) == 37_877_652


@pytest.mark.parametrize(
    "side, sides", [(321, [161, 81, 41, 41, 41]), (513, [257, 129, 65, 65, 65])]
)
def test_maps_have_the_papers_sizes(paper, side, sides):
    with torch.device("meta"):
        image = torch.empty(1, 3, side, side)
        features = paper.features(image)
        assert [f.shape[-1] for f in features] == sides
        assert [f.shape[1] for f in features] == [64, 256, 512, 1024, 2048]
        assert paper.aspp(features[-1]).shape == (1, 21, sides[-1], sides[-1])


def test_the_scales_of_321_are_161_and_241_whose_maps_have_21_and_31_positions():
    with torch.device("meta"):
        net, image = DeepLabV2(21, layers=18, width=4), torch.empty(1, 3, 321, 321)
        smaller = [rescale(image, scale) for scale in (0.5, 0.75)]
        assert [x.shape[-1] for x in smaller] == [161, 241]
        maps = [net.aspp(net.features(x)[-1]) for x in (*smaller, image)]
        assert [x.shape[-1] for x in maps] == [21, 31, 41]
        assert net.coarse_logits(image).shape == (1, 21, 41, 41)
        assert [x.shape for x in net.all_logits(image)] == [(1, 21, 321, 321)] * 4


def test_half_the_size_is_every_second_pixel():
    image = torch.randn(1, 3, 65, 97)
    assert torch.allclose(rescale(image, 0.5), image[..., ::2, ::2], atol=1e-6)


def test_even_sides_round_up_so_that_the_last_position_interpolates_the_last_pixels():
    with torch.device("meta"):
        features = DeepLabV2(2, **CLASSROOM).features(torch.empty(1, 3, 96, 128))
    assert [tuple(f.shape[-2:]) for f in features] == [(48, 64), (25, 33), *[(13, 17)] * 3]


def test_every_block_of_the_last_two_stages_is_dilated(paper):
    stages = paper.features.stages
    spread = [{block.conv2.dilation for block in stage} for stage in stages]
    assert spread == [{(1, 1)}, {(1, 1)}, {(2, 2)}, {(4, 4)}]


def test_the_pyramid_is_the_sum_of_four_dilated_convolutions():
    aspp, x = pyramid_of_eight_channels(), torch.randn(1, 8, 50, 60, dtype=torch.float64)
    want = sum(
        F.conv2d(x, branch.weight, branch.bias, padding=rate, dilation=rate)
        for branch, rate in zip(aspp, RATES, strict=True)
    )
    assert torch.allclose(aspp(x), want)


def test_the_pyramid_is_one_kernel_of_49_x_49_with_33_taps():
    """What a sum without activations means; a concatenation, as in v3, would be richer."""
    aspp, x = pyramid_of_eight_channels(), torch.randn(1, 8, 50, 60, dtype=torch.float64)
    kernel = torch.zeros(2, 8, 49, 49, dtype=torch.float64)
    with torch.no_grad():
        for branch, rate in zip(aspp, RATES, strict=True):
            taps = slice(24 - rate, 24 + rate + 1, rate)
            kernel[..., taps, taps] += branch.weight
        assert (kernel[0, 0] != 0).sum() == 33
        want = F.conv2d(x, kernel, sum(branch.bias for branch in aspp), padding=24)
        assert torch.allclose(aspp(x), want)


def test_on_vgg_one_branch_is_the_large_field_of_view_of_v1():
    torch.manual_seed(0)
    v1 = DeepLabV1(3, width=4, fc_channels=64, dilation=6).eval()
    v1.avg_pool = nn.Identity()  # v2 does not average before fc6
    v2 = DeepLabV2(3, layers=16, width=4, atrous_rates=(6,), scales=(1,)).eval()
    v2.load_state_dict(dict(zip(v2.state_dict(), v1.state_dict().values(), strict=True)))
    image = torch.randn(1, 3, 70, 90)
    with torch.no_grad():
        assert v1(image).std() > 0
        # v1 keeps its channels last in memory, and so adds in another order
        assert torch.allclose(v2(image), v1(image), atol=1e-6)


@torch.no_grad()
def test_on_vgg_the_pyramid_is_the_sum_of_four_classifiers():
    torch.manual_seed(0)
    net = DeepLabV2(3, layers=16, width=2, atrous_rates=RATES, scales=(1,)).eval()
    x = torch.randn(1, 16, 30, 30)
    total = torch.zeros(1, 3, 30, 30)
    for branch, rate in zip(net.aspp, RATES, strict=True):
        fc6, fc7, fc8 = (layer for layer in branch if isinstance(layer, nn.Conv2d))
        assert (fc6.weight.shape, fc7.weight.shape) == ((32, 16, 3, 3), (32, 32, 1, 1))
        fc_channels = F.conv2d(x, fc6.weight, fc6.bias, padding=rate, dilation=rate).relu()
        fc_channels = F.conv2d(fc_channels, fc7.weight, fc7.bias).relu()
        total += F.conv2d(fc_channels, fc8.weight, fc8.bias)
    assert torch.allclose(net.aspp(x), total, atol=1e-6)


def test_equals_another_package_resnet_with_the_pyramid_on_top():
    """Equal weights in segmentation_models' encoder, which dilates the same blocks."""
    torch.manual_seed(0)
    theirs = smp.encoders.get_encoder("resnet18", weights=None, output_stride=8).eval()
    ours = DeepLabV2(5, layers=18, scales=(1,)).eval()
    weights = {name: value for name, value in theirs.state_dict().items() if "fc." not in name}
    ours.features.load_state_dict(
        dict(zip(ours.features.state_dict(), weights.values(), strict=True))
    )
    image = torch.randn(1, 3, 97, 129)
    with torch.no_grad():
        want = ours.aspp(theirs(image)[-1])
        want = F.interpolate(want, (97, 129), mode="bilinear", align_corners=True)
        got = ours(image)
    assert want.std() > 0.01
    assert torch.allclose(got, want, atol=1e-5)


@torch.no_grad()
def test_the_fusion_is_the_largest_score_of_the_same_network_on_every_scale():
    torch.manual_seed(0)
    net = DeepLabV2(3, **CLASSROOM).eval()
    once = DeepLabV2(3, **CLASSROOM, scales=(1,)).eval()
    once.load_state_dict(net.state_dict())
    image = torch.randn(1, 3, 97, 129)
    half, quarters, whole, fused = (x[..., ::8, ::8] for x in net.all_logits(image))
    assert torch.allclose(whole, once.coarse_logits(image), atol=1e-6)
    for scores, size in ((half, (49, 65)), (quarters, (73, 97))):
        small = F.interpolate(image, size, mode="bilinear", align_corners=True)
        alone = F.interpolate(
            once.coarse_logits(small), (13, 17), mode="bilinear", align_corners=True
        )
        assert torch.allclose(scores, alone, atol=1e-5)
    largest = torch.maximum(torch.maximum(half, quarters), whole)
    assert torch.allclose(fused, largest, atol=1e-6)
    chosen = [(scores >= fused - 1e-6).float().mean() for scores in (half, quarters, whole)]
    assert min(chosen) > 0.05  # each of them is the most convinced somewhere


@torch.no_grad()
@pytest.mark.parametrize("layers", [16, 18])
@pytest.mark.parametrize("size", [(97, 129), (96, 128), (101, 100), (7, 200), (1, 1)])
def test_logits_have_the_size_of_the_image_and_are_scores_at_every_eighth_pixel(layers, size):
    torch.manual_seed(0)
    net, image = DeepLabV2(5, **{**CLASSROOM, "layers": layers}).eval(), torch.randn(2, 3, *size)
    logits = net.all_logits(image)
    assert [x.shape for x in logits] == [(2, 5, *size)] * 4
    assert torch.equal(logits[-1], net(image))
    assert torch.allclose(logits[-1][..., ::8, ::8], net.coarse_logits(image), atol=1e-5)


def test_one_scale_has_one_list_of_logits():
    net, image = DeepLabV2(3, **CLASSROOM, scales=(1,)).eval(), torch.randn(1, 3, 33, 33)
    (logits,) = net.all_logits(image)
    assert torch.equal(logits, net(image))


@pytest.mark.parametrize(
    "arguments", [CLASSROOM, dict(layers=16, width=2, batch_norm=True), dict(layers=50, width=2)]
)
def test_a_gradient_reaches_every_parameter(arguments):
    torch.manual_seed(0)
    net = DeepLabV2(3, **arguments)
    sum(x.square().mean() for x in net.all_logits(torch.randn(2, 3, 64, 64))).backward()
    assert not [name for name, p in net.named_parameters() if not p.grad.any()]


@pytest.mark.parametrize("arguments", [{}, dict(layers=16, batch_norm=True, dropout=0.0)])
def test_learns_to_copy_a_coarse_mask(arguments, overfit):
    torch.manual_seed(0)
    target = torch.randint(0, 2, (2, 5, 5)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    target = target[:, 4:69, 4:69]  # edges in the middle between two positions of the scores
    image = target[:, None].float().repeat(1, 3, 1, 1)
    net = DeepLabV2(2, **{**CLASSROOM, **arguments})
    overfit(
        net,
        lambda: sum(
            F.cross_entropy(x[..., ::8, ::8], target[..., ::8, ::8]) for x in net.all_logits(image)
        ),
    )
    net.eval()
    with torch.no_grad():
        assert (net(image).argmax(dim=1) == target).float().mean() > 0.9


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(num_classes=0), "num_classes=0.*at least one class"),
        (dict(atrous_rates=()), r"atrous_rates=\(\).*one rate"),
        (dict(atrous_rates=(6, 0)), r"atrous_rates=\(6, 0\).*at least 1"),
        (dict(scales=()), r"scales=\(\).*end with 1"),
        (dict(scales=(1, 0.5)), r"scales=\(1, 0.5\).*ascend"),
        (dict(scales=(0.5, 0.75)), "end with 1"),
        (dict(scales=(0, 1)), "positive"),
        (dict(layers=17), r"ResNet-17 does not exist"),
        (dict(width=0), "at least 1"),
        (dict(width=0, layers=16), "at least 1"),
    ],
)
def test_networks_that_cannot_be_are_refused_with_the_remedy(wrong, words):
    with pytest.raises(ValueError, match=words):
        DeepLabV2(**{"num_classes": 3, "layers": 18, "width": 2, **wrong})


@pytest.mark.parametrize("layers", [16, 18])
def test_what_is_no_batch_is_refused(layers):
    net = DeepLabV2(3, **{**CLASSROOM, "layers": layers})
    with pytest.raises(ValueError, match=r"\(3, 32, 32\).*image\[None\]"):
        net(torch.zeros(3, 32, 32))
