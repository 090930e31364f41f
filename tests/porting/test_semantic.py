"""Porting: other people's networks become ours with equal logits, or are refused."""

import ast
import inspect
from functools import partial

import pytest
import segmentation_models_pytorch as smp
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import segmentation
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

from segcourse.models.pspnet import GRIDS
from segcourse.porting import (
    deeplab_v3_from_torchvision,
    deeplab_v3_plus_from_smp,
    fcn_resnet_from_torchvision,
    pspnet_from_smp,
)
from segcourse.porting import semantic as porting
from segcourse.porting.semantic import neutral_normalization, reverse_pyramid

IMAGE = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))
FROM_TORCHVISION = {
    "fcn_resnet": fcn_resnet_from_torchvision,
    "deeplabv3_resnet": deeplab_v3_from_torchvision,
}
PORTS = [*FROM_TORCHVISION.values(), pspnet_from_smp, deeplab_v3_plus_from_smp]
PSPNET = partial(smp.PSPNet, "resnet18", encoder_weights=None, classes=5)
DEEPLAB = partial(smp.DeepLabV3Plus, "resnet18", encoder_weights=None, classes=5)


def settled(oracle: nn.Module) -> nn.Module:
    """An oracle in evaluation, of whose layers no two are alike, so that a mix-up would show."""
    for module in oracle.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.1)
    return oracle.eval()


def torchvisions(build: str, layers: int, aux_loss: bool) -> nn.Module:
    torch.manual_seed(0)
    network = getattr(segmentation, f"{build}{layers}")
    return settled(network(weights=None, weights_backbone=None, num_classes=21, aux_loss=aux_loss))


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape and theirs.std() > 0.01
    assert (ours - theirs).abs().max() <= 1e-5 * max(theirs.abs().max().item(), 1.0)


# ── torchvision ─────────────────────────────────────────────────────────────────────────────────


@torch.no_grad()
@pytest.mark.parametrize("build", FROM_TORCHVISION)
@pytest.mark.parametrize("layers", [50, 101])
def test_torchvisions_networks_give_torchvisions_logits(build, layers):
    theirs = torchvisions(build, layers, aux_loss=True)
    net = FROM_TORCHVISION[build](theirs)
    assert list(net.state_dict()) == list(theirs.state_dict())  # no name is translated
    image = IMAGE[:1, :, :64, :89]
    want, (auxiliary, logits) = theirs(image), net.all_logits(image)
    assert_equal(logits, want["out"])
    assert_equal(auxiliary, want["aux"])


@torch.no_grad()
@pytest.mark.parametrize("build", FROM_TORCHVISION)
def test_an_auxiliary_head_may_be_missing(build):
    theirs = torchvisions(build, 50, aux_loss=False)
    net = FROM_TORCHVISION[build](theirs)
    assert net.aux_classifier is None
    assert_equal(net(IMAGE[:1]), theirs(IMAGE[:1])["out"])


def custom(build: str, replaced: tuple[bool, ...], taps: dict[str, str], **arguments) -> nn.Module:
    """A network of torchvision's parts that none of its functions builds."""
    backbone = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=replaced)
    backbone.maxpool.ceil_mode = arguments.pop("ceil_mode", False)
    channels = {"layer4": 2048, "layer3": 1024, "layer2": 512}
    heads = {out: channels[layer] for layer, out in taps.items()}
    kind, head = {
        "fcn_resnet": (segmentation.FCN, FCNHead),
        "deeplabv3_resnet": (segmentation.DeepLabV3, DeepLabHead),
    }[build]
    return settled(
        kind(
            IntermediateLayerGetter(backbone, taps),
            head(heads["out"], 5, **arguments),
            FCNHead(heads["aux"], 5) if "aux" in heads else None,
        )
    )


@torch.no_grad()
@pytest.mark.parametrize(
    "build, options", [("fcn_resnet", {}), ("deeplabv3_resnet", {"atrous_rates": (3, 5)})]
)
@pytest.mark.parametrize("replaced", [(False, False, False), (False, False, True)])
def test_other_output_strides_and_rates_are_read(build, options, replaced):
    theirs = custom(build, replaced, {"layer4": "out"}, **options)
    net = FROM_TORCHVISION[build](theirs)
    assert net.backbone.strides[-1] == 16 * (2 - sum(replaced))
    assert_equal(net(IMAGE[:1]), theirs(IMAGE[:1])["out"])


@pytest.mark.parametrize(
    "replaced, taps, options, words",
    [
        ((False, True, False), {"layer4": "out"}, {}, r"layer3\.0\.conv2 has stride=\(1, 1\)"),
        ((True, True, True), {"layer4": "out"}, {}, r"layer2\.0\.conv2 has stride=\(1, 1\)"),
        (
            (False, True, True),
            {"layer4": "out"},
            {"ceil_mode": True},
            r"maxpool has ceil_mode=True",
        ),
        (
            (False, True, True),
            {"layer4": "out", "layer2": "aux"},
            {},
            "heads of this .*layer2",
        ),
        ((False, True, True), {"layer3": "out"}, {}, r"no part 'backbone\.layer4'"),
    ],
)
@pytest.mark.parametrize("build", FROM_TORCHVISION)
def test_torchvisions_parts_that_ours_cannot_be_built_like_are_refused(
    build, replaced, taps, options, words
):
    with torch.device("meta"):
        theirs = custom(build, replaced, taps, **options)
    with pytest.raises(ValueError, match=words):
        FROM_TORCHVISION[build](theirs)


@pytest.mark.parametrize("name", ["wide_resnet50_2", "resnext50_32x4d"])
def test_relatives_of_the_resnet_are_refused(name):
    with torch.device("meta"):
        backbone = getattr(torchvision.models, name)(weights=None)
        theirs = segmentation.FCN(
            IntermediateLayerGetter(backbone, {"layer4": "out"}), FCNHead(2048, 5)
        )
    with pytest.raises(ValueError, match=r"layer1\.0\.conv1\.weight has shape"):
        fcn_resnet_from_torchvision(theirs)


# ── segmentation_models_pytorch ─────────────────────────────────────────────────────────────────


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("depth, output_stride, stride", [(3, 32, 8), (4, 32, 16), (5, 8, 8)])
def test_smps_pspnet_gives_smps_logits(encoder, depth, output_stride, stride):
    theirs = settled(
        smp.PSPNet(
            encoder,
            encoder_weights=None,
            classes=5,
            encoder_depth=depth,
            output_stride=output_stride,
            upsampling=stride,
        )
    )
    net = pspnet_from_smp(theirs)
    assert_equal(net(IMAGE), theirs(IMAGE))
    assert_equal(net.backbone(IMAGE)[-1], theirs.encoder(IMAGE)[-1])


@torch.no_grad()
@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_every_depth_and_stride_of_smps_pspnet(depth, output_stride):
    """Case 32: from the weights alone, two of these cannot be told apart."""
    stride = min(2**depth, output_stride)
    theirs = settled(PSPNET(encoder_depth=depth, output_stride=output_stride, upsampling=stride))
    assert_equal(pspnet_from_smp(theirs)(IMAGE), theirs(IMAGE))


def test_what_smps_pspnet_leaves_idle_is_left_out_and_all_else_arrives():
    theirs = smp.PSPNet("resnet50", encoder_weights=None, classes=21)
    assert sum(p.numel() for p in theirs.parameters()) == 24_393_173
    theirs(IMAGE[:, :, :48, :48]).sum().backward()
    idle = [name for name, p in theirs.named_parameters() if p.grad is None]
    assert sum(theirs.get_parameter(name).numel() for name in idle) == 22_063_104
    assert all(name.startswith(("encoder.layer3", "encoder.layer4")) for name in idle)
    net = pspnet_from_smp(theirs)
    learning = sum(p.numel() for p in theirs.parameters() if p.grad is not None)
    scales = net.pyramid.reduce[3][1].weight.numel()  # normalise what has only a bias there
    assert sum(p.numel() for p in net.parameters()) == learning + scales


@torch.no_grad()
def test_training_normalises_the_mean_of_the_whole_map_and_smps_does_not():
    """The one thing that is not ported: the layer that only adds a bias there, learns here."""
    theirs = settled(PSPNET())
    net = pspnet_from_smp(theirs)
    features = net.backbone(IMAGE)[-1]
    whole = net.pyramid.reduce[GRIDS.index(1)]
    mean, block = features.mean(dim=(2, 3), keepdim=True), theirs.decoder.psp.blocks[0].pool
    assert torch.allclose(whole(mean), block(features), atol=1e-5)
    whole.train()
    assert not torch.allclose(whole(mean), block(features), atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("depth", [3, 4, 5])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_smps_deeplab_v3_plus_gives_smps_logits(depth, output_stride):
    theirs = settled(
        DEEPLAB(
            encoder_depth=depth,
            encoder_output_stride=output_stride,
            decoder_atrous_rates=(2, 5, 7),
            decoder_channels=64,
            decoder_aspp_dropout=0.3,
        )
    )
    net = deeplab_v3_plus_from_smp(theirs)
    assert net.aspp.project[-1].p == 0.3
    assert_equal(net(IMAGE), theirs(IMAGE))


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["resnet34", "resnet50"])
def test_smps_deeplab_v3_plus_on_larger_encoders(encoder):
    theirs = settled(smp.DeepLabV3Plus(encoder, encoder_weights=None, classes=5))
    assert_equal(deeplab_v3_plus_from_smp(theirs)(IMAGE), theirs(IMAGE))


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"encoder_depth": 1}, "0 stages are used, cannot be built"),
        ({"encoder_depth": 4}, "upsampling=8.* stride 16 .* with upsampling=16"),
        ({"upsampling": 16}, "upsampling=16.* stride 8"),
        ({"decoder_use_norm": False}, r"unknown are decoder\.psp\.blocks\.1\.pool\.1\.0\.bias"),
        ({"decoder_use_norm": "layernorm"}, r"missing are pyramid\.reduce\.0\.1\.running_mean"),
        ({"decoder_use_norm": {"type": "batchnorm", "eps": 0.1}}, r"blocks\.1\..* has eps=0\.1"),
        ({"activation": "softmax"}, "is a Softmax, which PSPNet has not"),
        ({"aux_params": {"classes": 3}}, r"unknown are classification_head\.3\.weight"),
        ({"in_channels": 4}, r"encoder\.conv1\.weight has shape \(64, 4, 7, 7\)"),
        ({"psp_out_channels": 128}, r"decoder\.conv\.0\.weight has shape \(128, "),
    ],
    ids=str,
)
def test_settings_of_smps_pspnet_that_ours_has_not_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        pspnet_from_smp(PSPNET(**arguments))


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"decoder_aspp_separable": False}, r"unknown are decoder\.aspp\.0\.convs\.1\.0\.weight"),
        ({"upsampling": 8}, "upsampling=8.* stride 4 "),
        ({"activation": "sigmoid"}, "is a Sigmoid, which DeepLabV3Plus has not"),
        ({"aux_params": {"classes": 3}}, r"unknown are classification_head\.3\.weight"),
        ({"in_channels": 1}, r"encoder\.conv1\.weight has shape \(64, 1, 7, 7\)"),
    ],
    ids=str,
)
def test_settings_of_smps_deeplab_that_ours_has_not_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        deeplab_v3_plus_from_smp(DEEPLAB(**arguments))


@pytest.mark.parametrize("encoder", ["resnext50_32x4d", "mobilenet_v2", "se_resnet50", "vgg11"])
def test_encoders_that_are_no_resnet_are_refused(encoder):
    with torch.device("meta"):
        theirs = smp.PSPNet(encoder, encoder_weights=None)
    with pytest.raises(ValueError, match=r"has shape|has no part|unknown are"):
        pspnet_from_smp(theirs)


# ── all of them ─────────────────────────────────────────────────────────────────────────────────


def test_their_weights_stay_as_they_are_and_ours_are_copies():
    theirs = settled(PSPNET())
    before = {name: value.clone() for name, value in theirs.state_dict().items()}
    net = pspnet_from_smp(theirs)
    for parameter in net.parameters():
        parameter.data.zero_()
    assert list(theirs.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in theirs.state_dict().items())


@pytest.mark.parametrize("port", PORTS)
def test_another_network_is_refused(port):
    with torch.device("meta"):
        others = [
            torchvisions("fcn_resnet", 50, False),
            torchvisions("deeplabv3_resnet", 50, False),
            PSPNET(),
            DEEPLAB(),
            smp.DeepLabV3("resnet18", encoder_weights=None),
            smp.Unet("resnet18", encoder_weights=None),
            segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None),
            nn.DataParallel(PSPNET()),
        ]
    del others[PORTS.index(port)]
    for other in others:
        with pytest.raises(ValueError, match=r"no part|not the weights of that network"):
            port(other)


@pytest.mark.parametrize("port", PORTS)
def test_weights_without_their_network_are_refused(port):
    """They do not say which strides and dilations they were trained with."""
    with pytest.raises(TypeError, match=r"OrderedDict: strides and dilations have no weights"):
        port(PSPNET().state_dict())


def test_a_neutral_normalization_adds_a_bias():
    norm, x = nn.BatchNorm2d(4).eval(), torch.randn(2, 4, 3, 3)
    bias = torch.randn(4)
    norm.load_state_dict(neutral_normalization(bias))
    assert norm.eps == porting.EPSILON
    assert torch.allclose(norm(x), x + bias[:, None, None], atol=1e-6)


def test_reversing_the_pyramid_is_what_reversing_the_maps_is():
    x = torch.randn(1, 8, 5, 5)
    levels = [torch.randn(1, 2, 5, 5) for _ in range(4)]  # of grids 1, 2, 3, 6
    weight = torch.randn(3, 16, 1, 1)
    theirs = nn.functional.conv2d(torch.cat([*levels, x], dim=1), weight)
    ours = nn.functional.conv2d(torch.cat([x, *levels[::-1]], dim=1), reverse_pyramid(weight))
    assert torch.allclose(theirs, ours, atol=1e-5)


def test_porting_needs_none_of_the_libraries():
    tree = ast.parse(inspect.getsource(porting))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert {name.split(".")[0] for name in modules} == {"functools", "segcourse", "torch"}
