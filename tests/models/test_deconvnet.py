"""DeconvNet: the released network's counts, layers and shapes; what its deconvolutions are."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.unpooling import encode, unpool
from segcourse.models.deconvnet import DeconvNet, as_convolution, deconv_stage

CLASSROOM = dict(width=4, fc_channels=16, kernel_size=3)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_are_those_of_the_released_network():
    with torch.device("meta"):
        net = DeconvNet(21)
    fc6, fc7, fc6_deconv = net.fully_connected
    assert count(net) == 251_805_653
    assert count(fc6[0]) == 102_764_544 and count(fc7[0]) == 16_781_312
    assert 0.8 < (count(fc6) + count(fc6_deconv)) / count(net) < 0.83  # four fifths


def test_every_map_has_the_size_it_has_in_the_released_network():
    pooled = [(64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (512, 7, 7)]
    unpooled = [(512, 14), (512, 28), (256, 56), (128, 112), (64, 224)]
    decoded = [(512, 14), (256, 28), (128, 56), (64, 112), (64, 224)]
    with torch.device("meta"):
        net, image = DeconvNet(21).eval(), torch.empty(1, 3, 224, 224)
        for level, shape in enumerate(pooled, start=1):
            assert encode(net.encoder[:level], image)[0].shape == (1, *shape)
        x, maxima = encode(net.encoder, image)
        for layer, shape in zip(
            net.fully_connected, [(4096, 1, 1), (4096, 1, 1), (512, 7, 7)], strict=True
        ):
            x = layer(x)
            assert x.shape == (1, *shape)
        for stage, places, before, after in zip(
            net.decoder, reversed(maxima), unpooled, decoded, strict=True
        ):
            x = unpool(x, places)
            assert x.shape == (1, *before, before[1])
            x = stage(x)
            assert x.shape == (1, *after, after[1])
        assert net.head(x).shape == net(image).shape == (1, 21, 224, 224)


def test_decoders_channels_are_those_of_the_released_network():
    with torch.device("meta"):
        net = DeconvNet(21)
    channels = [[layer[0].out_channels for layer in stage] for stage in net.decoder]
    assert channels == [[512] * 3, [512, 512, 256], [256, 256, 128], [128, 64], [64, 64]]
    layers = [layer[0] for stage in net.decoder for layer in stage]
    assert all(isinstance(layer, nn.ConvTranspose2d) for layer in layers)
    assert all(layer.kernel_size == (3, 3) and layer.stride == (1, 1) for layer in layers)


# What the released file lists, layer by layer: c convolution, d deconvolution, each with BN and
# ReLU, s the scores, p pool, u unpool.
LAYERS = "cc p cc p ccc p ccc p ccc p c c d u ddd u ddd u ddd u dd u dd s"


@torch.no_grad()
def run_layers(net: nn.Module, x: Tensor) -> Tensor:
    """Carry out the list of layers with a network's weights, taken one after the other."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    convolutions = (m for m in net.modules() if isinstance(m, kinds))
    norms = (m for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    places = []
    for layer in LAYERS.replace(" ", ""):
        if layer in "cds":
            convolution = next(convolutions)
            assert isinstance(convolution, kinds[layer == "d"])
            x = convolution(x)
            x = x if layer == "s" else next(norms)(x).relu()
        elif layer == "p":
            size = x.shape[-2:]
            x, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            places.append((size, indices))
        else:
            size, indices = places.pop()
            flat = x.new_zeros(*x.shape[:2], size.numel())
            x = flat.scatter(2, indices.flatten(2), x.flatten(2)).unflatten(2, size)
    assert next(convolutions, None) is None and next(norms, None) is None and not places
    return x


def settled(classes: int = 3) -> DeconvNet:
    """A network whose normalisations differ from one another."""
    torch.manual_seed(0)
    net = DeconvNet(classes, **CLASSROOM)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
    net(torch.rand(2, 3, 128, 128))
    return net.eval()


@pytest.mark.parametrize("size", [(96, 96), (101, 140)])
def test_the_layers_are_those_of_the_released_file(size):
    net, image = settled(), torch.rand(2, 3, *size)
    got = net(image)
    assert got.std() > 0.01
    assert torch.allclose(got, run_layers(net, image), atol=1e-5)


@pytest.mark.parametrize(
    "kernel, padding", [(3, 1), (3, 0), (7, 0), (7, 3), ((3, 5), (1, 2)), (1, 0)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_deconvolution_of_stride_1_is_a_convolution_of_turned_kernels(kernel, padding, bias):
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(4, 6, kernel, padding=padding, bias=bias)
    x = torch.randn(2, 4, 9, 8)
    assert torch.allclose(as_convolution(layer)(x), layer(x), atol=1e-5)


def test_the_identity_as_the_facts_of_the_kernel_state_it():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 4, 9, 8), torch.randn(4, 6, 3, 3)
    turned = weight.transpose(0, 1).flip(2, 3)
    want = F.conv_transpose2d(x, weight, padding=1)
    assert torch.allclose(F.conv2d(x, turned, padding=1), want, atol=1e-5)
    assert not torch.allclose(F.conv2d(x, weight.transpose(0, 1), padding=1), want, atol=0.1)


def test_the_whole_network_can_do_without_deconvolutions():
    net, image = settled(), torch.rand(1, 3, 101, 140)
    with torch.no_grad():
        want = net(image)
        for block in [net.fully_connected[2], *(layer for s in net.decoder for layer in s)]:
            block[0] = as_convolution(block[0])
        assert not [m for m in net.modules() if isinstance(m, nn.ConvTranspose2d)]
        assert torch.allclose(net(image), want, atol=1e-5)


def test_larger_strides_are_no_convolution():
    with pytest.raises(ValueError, match=r"stride \(2, 2\).*zeros between"):
        as_convolution(nn.ConvTranspose2d(1, 1, 4, stride=2))


def test_fc6_deconv_draws_a_map_from_a_vector():
    """On one position a transposed convolution is a linear layer, as is a convolution to one."""
    net = settled()
    fc6_deconv = net.fully_connected[2][0]
    vector = torch.randn(2, 16)
    drawn = torch.einsum("ni,iohw->nohw", vector, fc6_deconv.weight)
    want = drawn + fc6_deconv.bias[:, None, None]
    assert torch.allclose(fc6_deconv(vector[..., None, None]), want, atol=1e-5)


@pytest.mark.parametrize(
    "side, positions", [(193, 1), (224, 1), (225, 2), (256, 2), (320, 4), (512, 10)]
)
def test_fc6_leaves_one_position_at_224_and_slides_beyond(side, positions):
    with torch.device("meta"):
        net = DeconvNet(21, width=1, fc_channels=1).eval()
        image = torch.empty(1, 3, side, side)
        x = net.fully_connected[:2](encode(net.encoder, image)[0])
        assert x.shape[-2:] == (positions, positions)
        assert net(image).shape == (1, 21, side, side)


@pytest.mark.parametrize("size", [(96, 128), (65, 97), (130, 70)])
def test_the_classrooms_network_takes_other_sizes(size):
    net = settled(classes=5)
    assert net(torch.rand(2, 3, *size)).shape == (2, 5, *size)


@pytest.mark.parametrize("kernel, size", [(3, (64, 128)), (3, (128, 64)), (7, (192, 224))])
def test_smaller_images_are_refused_with_the_remedy(kernel, size):
    with torch.device("meta"):
        net = DeconvNet(3, width=4, fc_channels=8, kernel_size=kernel)
        least, made_for = 32 * (kernel - 1) + 1, 32 * kernel
        message = f"at least {least}, and is made for {made_for}, but this one is {size[0]} x"
        with pytest.raises(ValueError, match=message):
            net(torch.empty(1, 3, *size))


def test_one_image_alone_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"shape \(3, 96, 96\).*image\[None\]"):
        DeconvNet(3, **CLASSROOM)(torch.rand(3, 96, 96))


def test_one_position_of_one_image_cannot_be_normalised():
    net = DeconvNet(3, **CLASSROOM)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        net(torch.rand(1, 3, 96, 96))
    assert net(torch.rand(1, 3, 96, 128)).shape == (1, 3, 96, 128)  # two positions


def test_a_stage_changes_channels_last():
    stage = deconv_stage(8, 4, depth=3)
    assert [layer[0].out_channels for layer in stage] == [8, 8, 4]
    assert stage(torch.rand(2, 8, 5, 6)).shape == (2, 4, 5, 6)


def test_other_depths_halve_less_often():
    net = DeconvNet(3, width=4, fc_channels=8, kernel_size=2, depths=(1, 2, 1))
    assert [len(stage) for stage in net.decoder] == [1, 2, 1]
    assert net(torch.rand(2, 3, 17, 20)).shape == (2, 3, 17, 20)
    with pytest.raises(ValueError, match="at least 9, and is made for 16, but this one is 8 x 20"):
        net(torch.rand(2, 3, 8, 20))


def test_a_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    net = DeconvNet(3, **CLASSROOM)
    net(torch.rand(2, 3, 96, 128)).square().mean().backward()
    assert not [name for name, p in net.named_parameters() if not p.grad.any()]


def test_learns_to_copy_a_mask(overfit):
    torch.manual_seed(0)
    target = torch.randint(0, 2, (2, 4, 4)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    image = target[:, None].float().repeat(1, 3, 1, 1) + 0.1 * torch.randn(2, 3, 64, 64)
    net = DeconvNet(2, width=4, fc_channels=16, kernel_size=1)
    overfit(net, lambda: F.cross_entropy(net(image), target), steps=60)
    net.eval()
    assert (net(image).argmax(dim=1) == target).float().mean() > 0.95


@pytest.mark.parametrize(
    "wrong, remedy",
    [
        (dict(num_classes=0), "num_classes=0.*at least 1"),
        (dict(fc_channels=0), "fc_channels=0.*at least 1"),
        (dict(kernel_size=0), "kernel_size=0.*at least 1"),
        (dict(width=0), "width=0.*at least 1"),
        (dict(depths=(2, 0)), r"depths=\(2, 0\).*at least 1"),
    ],
)
def test_networks_that_cannot_be_are_refused_with_the_remedy(wrong, remedy):
    with pytest.raises(ValueError, match=remedy):
        DeconvNet(**{"num_classes": 3, **wrong})
