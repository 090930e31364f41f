"""G-FRNet: the released network's counts and shapes, and gates that do what its layers say."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.models.gfrnet import GatedRefinement, GFRNet

CLASSROOM = dict(width=4, dropout=0.0)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def settled(net: nn.Module) -> nn.Module:
    """Normalisations that differ from one another, so that a mix-up would show."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


# ── the released network ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("classes, total", [(11, 29_194_090), (21, 29_493_930)])
def test_parameters(classes, total):
    with torch.device("meta"):
        assert count(GFRNet(classes)) == total


@pytest.mark.parametrize("k", [1, 2, 8, 11, 32])
def test_the_formula_for_the_parameters(k):
    with torch.device("meta"):
        net = GFRNet(k)
    encoder = 28_885_056  # VGG-16 with normalisation, conv6, conv7
    features = 3 * (4608 * k + k) + (2304 * k + k) + (1152 * k + k) + (576 * k + k)
    assert count(net.encoder) + count(net.context) == encoder
    assert count(net.predict) == 9216 * k + k
    assert count(net) == encoder + 9216 * k + k + features + 20 * k + 5 * (18 * k**2 + k)


def test_shapes():
    """360 is no multiple of 32: with pooling that rounds down, stage 2 would have 22 rows."""
    seen = []
    with torch.device("meta"):
        net, image = GFRNet(11), torch.empty(1, 3, 360, 480)
        for stage in net.stages:
            stage.predict.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
        *features, pool5 = net.encode(image)
        logits = net.all_logits(image)
    sizes = [(12, 15), (23, 30), (45, 60), (90, 120), (180, 240), (360, 480)]
    assert [tuple(coarse.shape[1:]) for coarse in logits] == [(11, *size) for size in sizes]
    assert [tuple(x.shape[1:]) for x in seen] == [(22, *size) for size in sizes[1:]]
    assert tuple(pool5.shape[1:]) == (512, 12, 15)
    assert [tuple(f.shape[-2:]) for f in reversed(features)] == sizes[1:]
    assert [f.shape[1] for f in reversed(features)] == [512, 512, 256, 128, 64]


def conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, layer.weight, layer.bias, padding=1)


def norm(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    mean, var, weight, bias = (
        v.view(1, -1, 1, 1)
        for v in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    )
    return weight * (x - mean) / (var + 1e-5).sqrt() + bias


def interp(x: Tensor, like: Tensor) -> Tensor:
    """Caffe's: the corners keep their values."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)


@torch.no_grad()
def by_hand(net: GFRNet, image: Tensor) -> list[Tensor]:
    """The released network in evaluation mode, layer by layer and by its names."""
    x, maps = image, {}
    names = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")
    for name, stage in zip(names, net.encoder.stages, strict=True):
        for convolution, normalize in zip(stage[0::3], stage[1::3], strict=True):
            x = norm(normalize, conv(convolution, x)).clamp(min=0)
        maps[name] = x
        x = F.max_pool2d(x, 2, stride=2, ceil_mode=True)
    pool5 = x
    for conv6_or_7 in (net.context[0], net.context[2]):
        x = norm(conv6_or_7[1], conv(conv6_or_7[0], x)).clamp(min=0)
    predictions = [conv(net.predict, x)]
    low = conv(net.below, pool5)
    for name, stage in zip(reversed(names), net.stages, strict=True):
        high = norm(stage.feature[1], conv(stage.feature[0], maps[name]))
        gate = norm(stage.norm, high * interp(low, high))
        fusion = torch.cat([gate, interp(predictions[-1], high)], dim=1)
        predictions.append(conv(stage.predict, fusion))
        low = high  # not the gate
    return predictions


@pytest.mark.parametrize("size", [(64, 96), (45, 60), (37, 53)])
def test_equals_the_released_layers_one_by_one(size):
    net = settled(GFRNet(5, width=6, dropout=0.5))
    image = torch.rand(2, 3, *size)
    wanted = by_hand(net, image)
    with torch.no_grad():
        got = net.all_logits(image)
    assert len(got) == 6
    for ours, theirs in zip(got, wanted, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * max(theirs.abs().max().item(), 1.0)


# ── gates ──────────────────────────────────────────────────────────────────────────────────────


def closed(net: GFRNet) -> GFRNet:
    """Gates whose convolutions are zero, in front of fresh normalisations."""
    for layer in [net.below, *(stage.feature[0] for stage in net.stages)]:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return net.eval()


def test_a_closed_gate_leaves_the_coarse_logits_alone_in_charge():
    torch.manual_seed(0)
    net = closed(GFRNet(3, **CLASSROOM))
    features, below, coarse = (
        torch.randn(1, 32, 8, 8),
        torch.randn(1, 3, 4, 4),
        torch.randn(1, 3, 4, 4),
    )
    stage, gates = net.stages[0], []
    stage.norm.register_forward_hook(lambda layer, inputs, output: gates.append(output))
    _, first = stage(features, below, coarse)
    _, again = stage(torch.randn_like(features), torch.randn_like(below), coarse)
    _, other = stage(features, below, torch.randn_like(coarse))
    assert len(gates) == 3 and not any(gate.any() for gate in gates)
    assert torch.equal(first, again) and not torch.allclose(first, other)


def test_with_closed_gates_all_logits_follow_from_the_first():
    torch.manual_seed(0)
    net, image = closed(GFRNet(3, **CLASSROOM)), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        x, *refined = net.all_logits(image)
        for stage, coarse in zip(net.stages, refined, strict=True):
            x = F.conv2d(
                interp(x, coarse), stage.predict.weight[:, 3:], stage.predict.bias, padding=1
            )
            assert torch.allclose(x, coarse, atol=1e-5)


def test_a_stage_gates_with_the_features_below_and_not_with_their_gate():
    net = settled(GFRNet(3, **CLASSROOM))
    given, features, gates = [], [], []
    for stage in net.stages:
        stage.register_forward_pre_hook(lambda layer, inputs: given.append(inputs[1]))
        stage.feature.register_forward_hook(lambda layer, inputs, output: features.append(output))
        stage.norm.register_forward_hook(lambda layer, inputs, output: gates.append(output))
    net(torch.rand(1, 3, 64, 64))
    for below, feature, gate in zip(given[1:], features, gates, strict=False):
        assert below is feature
        assert not torch.allclose(below, gate, atol=1e-2)


def test_a_gate_has_neither_relu_nor_sigmoid():
    torch.manual_seed(0)
    stage = GatedRefinement(8, 3)
    assert [type(module) for module in stage.modules() if not list(module.children())] == [
        nn.Conv2d, nn.BatchNorm2d, nn.BatchNorm2d, nn.Conv2d,
    ]  # fmt: skip
    gates = []
    stage.norm.register_forward_hook(lambda layer, inputs, output: gates.append(output))
    stage(torch.randn(2, 8, 16, 16), torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8))
    assert gates[0].min() < -1 and gates[0].max() > 1


# ── logits at all strides ───────────────────────────────────────────────────────────────────────


def test_six_logits_double_their_size_up_to_the_images():
    net, image = settled(GFRNet(4, **CLASSROOM)), torch.rand(2, 3, 70, 90)
    with torch.no_grad():
        logits = net.all_logits(image)
        assert torch.equal(logits[-1], net(image))
    sizes = [(3, 3), (5, 6), (9, 12), (18, 23), (35, 45), (70, 90)]
    assert [x.shape for x in logits] == [(2, 4, *size) for size in sizes]


@pytest.mark.parametrize("stage", range(6))
def test_all_logits_train_the_encoder(stage):
    torch.manual_seed(0)
    net = GFRNet(3, **CLASSROOM)
    net.all_logits(torch.randn(2, 3, 64, 64))[stage].square().mean().backward()
    assert net.encoder.stages[-1][0].weight.grad.any()
    idle = [number for number, each in enumerate(net.stages, 1) if each.predict.weight.grad is None]
    assert idle == list(range(stage + 1, 6))


def test_dropout_begins_behind_pool3_and_spares_the_gates_of_conv3_3():
    torch.manual_seed(0)
    net, image = GFRNet(3, width=4), torch.rand(2, 3, 64, 64)
    pairs = list(zip(net.encode(image), net.encode(image), strict=True))
    assert [torch.equal(a, b) for a, b in pairs] == [True, True, True, False, False, False]


@pytest.mark.parametrize("size", [(96, 128), (1, 1), (33, 65), (70, 5)])
def test_any_size_will_do(size):
    net = GFRNet(5, **CLASSROOM).eval()
    assert net(torch.zeros(2, 3, *size)).shape == (2, 5, *size)


def test_fewer_stages_make_fewer_logits():
    net = GFRNet(5, width=4, depths=(1, 1, 2)).eval()
    assert len(net.all_logits(torch.zeros(1, 3, 32, 32))) == 4


def test_learns_to_copy_a_mask(overfit):
    torch.manual_seed(0)
    target = torch.randint(0, 2, (2, 16, 16)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    image = target[:, None].float().repeat(1, 3, 1, 1)
    net = GFRNet(2, **CLASSROOM)
    overfit(
        net,
        lambda: sum(
            F.cross_entropy(interp(logits, image), target) for logits in net.all_logits(image)
        ),
    )
    assert (net(image).argmax(dim=1) == target).float().mean() > 0.95


@pytest.mark.parametrize(
    "wrong, remedy",
    [
        (dict(num_classes=0), "num_classes=0.* at least 1 class"),
        (dict(width=0), "a width and depths of at least 1"),
        (dict(depths=()), "a width and depths of at least 1"),
        (dict(dropout=1.5), "dropout"),
    ],
)
def test_refuses_what_is_no_gfrnet(wrong, remedy):
    with pytest.raises(ValueError, match=remedy):
        GFRNet(**{"num_classes": 3, **wrong})


def test_refuses_a_single_image():
    with pytest.raises(ValueError, match=r"shape \(3, 64, 64\): add the axis .* image\[None\]"):
        GFRNet(3, **CLASSROOM)(torch.zeros(3, 64, 64))
