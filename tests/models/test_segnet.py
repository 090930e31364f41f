"""SegNet and SegNet-Basic: the released networks' counts, layers and shapes; that they learn."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.unpooling import decode, encode, unpool
from segcourse.models.segnet import SegNet, SegNetBasic, mirrored

SMALL = {"SegNet": lambda k=3: SegNet(k, width=4), "Basic": lambda k=3: SegNetBasic(k, width=8)}
both = pytest.mark.parametrize("build", SMALL.values(), ids=SMALL)


@pytest.mark.parametrize(
    "network, classes, count",
    [(SegNet, 11, 29_449_355), (SegNet, 21, 29_455_125), (SegNetBasic, 11, 1_416_587)],
)
def test_parameters_are_those_of_the_released_networks(network, classes, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in network(classes).parameters()) == count


POOLED = [(64, 180, 240), (128, 90, 120), (256, 45, 60), (512, 23, 30), (512, 12, 15)]
DECODED = [(512, 23, 30), (256, 45, 60), (128, 90, 120), (64, 180, 240), (64, 360, 480)]
BASIC = [(64, 180, 240), (64, 90, 120), (64, 45, 60), (64, 23, 30)]
BASIC_DECODED = [(64, 45, 60), (64, 90, 120), (64, 180, 240), (64, 360, 480)]


@pytest.mark.parametrize(
    "network, pooled, decoded",
    [(SegNet, POOLED, DECODED), (SegNetBasic, BASIC, BASIC_DECODED)],
)
def test_every_map_has_the_size_it_has_in_the_released_networks(network, pooled, decoded):
    with torch.device("meta"):
        net, x = network(11), torch.empty(1, 3, 360, 480)
        for level, shape in enumerate(pooled, start=1):
            assert encode(net.encoder[:level], x)[0].shape == (1, *shape)
        features, maxima = encode(net.encoder, x)
        for stage, places, shape in zip(net.decoder, reversed(maxima), decoded, strict=True):
            features = stage(unpool(features, places))
            assert features.shape == (1, *shape)
        assert net.head(features).shape == net(x).shape == (1, 11, 360, 480)


# What the released files list, layer by layer: c convolution + BN + ReLU, l convolution + BN, s the
# scores, p pool, u unpool.
LAYERS = {
    "SegNet": "cc p cc p ccc p ccc p ccc p u ccc u ccc u ccc u cc u c s",
    "Basic": "n c p c p c p c p u l u l u l u l s",
}


@torch.no_grad()
def run_layers(layers: str, net: nn.Module, x: Tensor) -> Tensor:
    """Carry out a list of layers with a network's weights, taken one after the other."""
    convolutions = (m for m in net.modules() if isinstance(m, nn.Conv2d))
    norms = (m for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    places = []
    for layer in layers.replace(" ", ""):
        if layer in "cls":
            x = next(convolutions)(x)
            x = x if layer == "s" else next(norms)(x)
            x = x.relu() if layer == "c" else x
        elif layer == "p":
            size = x.shape[-2:]
            x, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            places.append((size, indices))
        elif layer == "u":
            size, indices = places.pop()
            flat = x.new_zeros(*x.shape[:2], size.numel())
            x = flat.scatter(2, indices.flatten(2), x.flatten(2)).unflatten(2, size)
        else:  # every one of three channels has all three in its window of five
            x = x / (1 + 1e-4 / 5 * (255 * x).square().sum(dim=1, keepdim=True)) ** 0.75
    assert next(convolutions, None) is None and next(norms, None) is None and not places
    return x


@pytest.mark.parametrize("size", [(64, 64), (45, 70)])
@pytest.mark.parametrize("name", LAYERS)
def test_the_layers_are_those_of_the_released_files(name, size):
    torch.manual_seed(0)
    net, image = SMALL[name](), torch.rand(2, 3, *size)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
    net(image)  # running averages that differ
    net.eval()
    want, got = run_layers(LAYERS[name], net, image), net(image)
    assert got.std() > 0.01
    assert torch.allclose(got, want, atol=1e-5)


def test_decoders_channels_mirror_the_encoders():
    with torch.device("meta"):
        net = SegNet(11)
    channels = [
        [m.out_channels for m in stage.modules() if isinstance(m, nn.Conv2d)]
        for stage in [*net.encoder, *net.decoder]
    ]
    assert channels[:5] == [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3]
    assert channels[5:] == [[512] * 3, [512, 512, 256], [256, 256, 128], [128, 64], [64]]
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert all(a.out_channels == b.in_channels for a, b in pairwise(convolutions))
    assert all(c.kernel_size == (3, 3) and c.bias is not None for c in convolutions)


def test_basics_decoder_has_no_relu():
    net = SegNetBasic(11, width=4)
    kinds = [type(m) for stage in net.decoder for m in stage]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d] * 4
    assert sum(isinstance(m, nn.ReLU) for m in net.modules()) == 4


def test_response_normalisation_equals_the_release_on_images_up_to_255():
    """There, alpha is 0.0001; the factor that is left, 255, batch normalisation takes away."""
    image = torch.rand(2, 3, 9, 11)
    net = SegNetBasic(11, width=4)
    theirs = F.local_response_norm(255 * image, size=5, alpha=1e-4, beta=0.75)
    assert torch.allclose(255 * net.norm(image), theirs, rtol=1e-5)
    with torch.no_grad():
        assert torch.allclose(net.encoder[0](net.norm(image)), net.encoder[0](theirs), atol=1e-3)


@both
@pytest.mark.parametrize("size", [(1, 1), (33, 65), (97, 31), (2, 40)])
def test_any_size_comes_back(build, size):
    net = build().eval()
    assert net(torch.rand(1, 3, *size)).shape == (1, 3, *size)


@both
def test_logits_depend_on_where_the_maxima_were(build):
    """The features of one image with the maxima of another give other logits."""
    torch.manual_seed(0)
    net, image = build().eval(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        x, maxima = encode(net.encoder, net.norm(image) if isinstance(net, SegNetBasic) else image)
        swapped = [places._replace(indices=places.indices.flip(0)) for places in maxima]
        want = net.head(decode(net.decoder, x, maxima))
        assert torch.equal(want, net(image))
        assert not torch.allclose(net.head(decode(net.decoder, x, swapped)), want, atol=1e-2)


def test_mirrored_stage_changes_channels_last():
    stage = mirrored(8, 4, depth=3)
    assert [m.out_channels for m in stage if isinstance(m, nn.Conv2d)] == [8, 8, 4]
    assert stage(torch.rand(2, 8, 5, 6)).shape == (2, 4, 5, 6)


def test_other_depths_have_as_many_layers_up_as_down():
    net = SegNet(3, width=4, depths=(1, 2))
    assert [len([m for m in s if isinstance(m, nn.Conv2d)]) for s in net.decoder] == [2, 0]
    assert net(torch.rand(2, 3, 6, 7)).shape == (2, 3, 6, 7)
    assert len(SegNetBasic(3, width=4, depth=2, kernel_size=5).decoder) == 2


@both
def test_a_gradient_reaches_every_parameter(build):
    torch.manual_seed(0)
    net = build()
    net(torch.rand(2, 3, 40, 56)).square().mean().backward()
    assert not [name for name, p in net.named_parameters() if not p.grad.any()]


@both
def test_learns_to_copy_a_mask(build, overfit):
    torch.manual_seed(0)
    target = torch.randint(0, 2, (2, 8, 8)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    image = target[:, None].float().repeat(1, 3, 1, 1) + 0.1 * torch.randn(2, 3, 32, 32)
    net = build(2)
    overfit(net, lambda: F.cross_entropy(net(image), target), steps=60)
    net.eval()
    assert (net(image).argmax(dim=1) == target).float().mean() > 0.95


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: SegNet(0), r"SegNet\(num_classes=0\).*at least 1 class"),
        (lambda: SegNetBasic(0), r"SegNetBasic\(num_classes=0\).*at least 1 class"),
        (lambda: SegNet(3, width=0), "width=0.*at least 1"),
        (lambda: SegNet(3, depths=()), r"depths=\(\).*at least 1"),
        (lambda: SegNetBasic(3, depth=0), "depth=0.*at least 1"),
        (lambda: SegNetBasic(3, width=0), "width=0.*at least 1"),
        (lambda: SegNetBasic(3, kernel_size=6), "kernel_size=6.*odd side"),
    ],
)
def test_networks_that_cannot_be_are_refused_with_the_remedy(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@both
def test_one_image_alone_is_refused_with_the_remedy(build):
    with pytest.raises(ValueError, match=r"shape \(3, 16, 16\).*image\[None\]"):
        build()(torch.rand(3, 16, 16))
