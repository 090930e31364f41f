"""Porting: other people's weights under our names give other people's logits."""

import ast
import inspect
from functools import partial

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torchvision.models import segmentation

from segcourse import porting
from segcourse.blocks.resnet import ResNet
from segcourse.blocks.xception import separable_conv
from segcourse.models.deeplab_v3 import DeepLabV3
from segcourse.models.deeplab_v3_plus import DeepLabV3Plus
from segcourse.models.fcn_resnet import FCNResNet
from segcourse.models.pspnet import GRIDS, PSPNet
from segcourse.porting import (
    deeplab_v3_from_torchvision,
    deeplab_v3_plus_from_smp,
    fcn_resnet_from_torchvision,
    neutral_normalisation,
    pspnet_from_smp,
    rename,
    reverse_pyramid,
)

IMAGE = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))
FROM_TORCHVISION = {
    "fcn_resnet": (FCNResNet, fcn_resnet_from_torchvision),
    "deeplabv3_resnet": (
        lambda classes, *, layers, auxiliary: DeepLabV3(
            classes,
            backbone=partial(ResNet, layers),
            output_stride=8,
            refine=True,
            auxiliary=auxiliary,
        ),
        deeplab_v3_from_torchvision,
    ),
}
SMP_PSPNET = partial(PSPNet, stages=2, deep_stem=False, kernels=(1, 3))


def smp_deeplab(layers: int, **arguments) -> partial:
    return partial(
        DeepLabV3Plus,
        5,
        backbone=partial(ResNet, layers, dilate_first=True),
        rates=(12, 24, 36),
        convolution=partial(separable_conv, between=False),
        early=True,
        align_corners=True,
        **arguments,
    )


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


def torchvisions(build: str, layers: int, auxiliary: bool) -> nn.Module:
    torch.manual_seed(0)
    network = getattr(segmentation, f"{build}{layers}")
    return settled(network(weights=None, weights_backbone=None, num_classes=21, aux_loss=auxiliary))


def smps(build: type, encoder: str, *, classes: int = 5, **arguments) -> nn.Module:
    torch.manual_seed(0)
    return settled(build(encoder, encoder_weights=None, classes=classes, **arguments))


def with_weights(build: partial, weights: dict[str, Tensor]) -> nn.Module:
    """Our network, without the time it takes to draw weights that are replaced."""
    with torch.device("meta"):
        net = build()
    net.load_state_dict(weights, assign=True)
    return net.eval()


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape and theirs.std() > 0.01
    assert (ours - theirs).abs().max() <= 1e-5 * max(theirs.abs().max().item(), 1.0)


@torch.no_grad()
@pytest.mark.parametrize("build", FROM_TORCHVISION)
@pytest.mark.parametrize("layers", [50, 101])
def test_torchvisions_weights_give_torchvisions_logits(build, layers):
    theirs = torchvisions(build, layers, auxiliary=True)
    network, port = FROM_TORCHVISION[build]
    net = with_weights(
        partial(network, 21, layers=layers, auxiliary=True), port(theirs.state_dict())
    )
    image = IMAGE[:1, :, :64, :89]
    want, (auxiliary, logits) = theirs(image), net.all_logits(image)
    assert_equal(logits, want["out"])
    assert_equal(auxiliary, want["aux"])


@pytest.mark.parametrize("build", FROM_TORCHVISION)
def test_an_auxiliary_head_may_be_missing(build):
    network, port = FROM_TORCHVISION[build]
    with torch.device("meta"):
        weights = port(torchvisions(build, 50, auxiliary=False).state_dict())
        net = network(21, layers=50, auxiliary=False)
    assert list(weights) == list(net.state_dict())
    net.load_state_dict(weights, assign=True)


@torch.no_grad()
@pytest.mark.parametrize("layers", [18, 34, 50])
def test_smps_pspnet_gives_smps_logits(layers):
    theirs = smps(smp.PSPNet, f"resnet{layers}")
    net = with_weights(partial(SMP_PSPNET, 5, layers=layers), pspnet_from_smp(theirs.state_dict()))
    assert_equal(net(IMAGE), theirs(IMAGE))
    assert_equal(net.backbone(IMAGE)[-1], theirs.encoder(IMAGE)[-1])


@torch.no_grad()
def test_smps_pspnet_on_four_dilated_stages_gives_smps_logits():
    theirs = smps(smp.PSPNet, "resnet50", encoder_depth=5, output_stride=8)
    weights = pspnet_from_smp(theirs.state_dict(), stages=4)
    net = with_weights(partial(SMP_PSPNET, 5, layers=50, stages=4), weights)
    assert_equal(net(IMAGE[:1]), theirs(IMAGE[:1]))


def test_what_smps_pspnet_leaves_idle_is_left_out_and_all_else_arrives():
    theirs = smps(smp.PSPNet, "resnet50", classes=21)
    assert sum(p.numel() for p in theirs.parameters()) == 24_393_173
    theirs(IMAGE[:, :, :48, :48]).sum().backward()
    idle = [name for name, p in theirs.named_parameters() if p.grad is None]
    assert sum(theirs.get_parameter(name).numel() for name in idle) == 22_063_104
    assert all(name.startswith(("encoder.layer3", "encoder.layer4")) for name in idle)
    weights = pspnet_from_smp(theirs.state_dict())
    learning = sum(p.numel() for p in theirs.parameters() if p.grad is not None)
    with torch.device("meta"):
        parameters = dict(SMP_PSPNET(21, layers=50).named_parameters())
    scales = weights["pyramid.reduce.3.1.weight"].numel()  # normalise what has only a bias there
    assert sum(weights[name].numel() for name in parameters) == learning + scales


@torch.no_grad()
def test_training_normalises_the_mean_of_the_whole_map_and_smps_does_not():
    """The one thing that is not ported: the layer that only adds a bias there, learns here."""
    theirs = smps(smp.PSPNet, "resnet18")
    net = with_weights(partial(SMP_PSPNET, 5, layers=18), pspnet_from_smp(theirs.state_dict()))
    features = net.backbone(IMAGE)[-1]
    whole = net.pyramid.reduce[GRIDS.index(1)]
    mean, block = features.mean(dim=(2, 3), keepdim=True), theirs.decoder.psp.blocks[0].pool
    assert torch.allclose(whole(mean), block(features), atol=1e-5)
    whole.train()
    assert not torch.allclose(whole(mean), block(features), atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("layers, output_stride", [(50, 16), (34, 8), (18, 16)])
def test_smps_deeplab_v3_plus_gives_smps_logits(layers, output_stride):
    theirs = smps(smp.DeepLabV3Plus, f"resnet{layers}", encoder_output_stride=output_stride)
    weights = deeplab_v3_plus_from_smp(theirs.state_dict())
    net = with_weights(smp_deeplab(layers, output_stride=output_stride), weights)
    assert_equal(net(IMAGE), theirs(IMAGE))
    assert len(weights) == len(theirs.state_dict())


def test_an_aspp_of_ordinary_convolutions_beside_separable_ones_is_refused():
    with torch.device("meta"):
        theirs = smp.DeepLabV3Plus("resnet18", encoder_weights=None, decoder_aspp_separable=False)
    with pytest.raises(ValueError, match=r"unknown are decoder\.aspp\.0\.convs\.1\.0\.weight"):
        deeplab_v3_plus_from_smp(theirs.state_dict())


def test_renaming_moves_the_tensors_themselves_and_loses_none():
    with torch.device("meta"):
        theirs = torchvisions("fcn_resnet", 50, True).state_dict()
    weights = fcn_resnet_from_torchvision(theirs)
    assert [id(value) for value in weights.values()] == [id(value) for value in theirs.values()]
    assert (
        weights["backbone.stages.0.0.layers.1.0.weight"] is theirs["backbone.layer1.0.conv2.weight"]
    )
    assert weights["head.2.bias"] is theirs["classifier.4.bias"]


def test_the_weights_that_are_passed_stay_as_they_are():
    theirs = smps(smp.PSPNet, "resnet18").state_dict()
    before = {name: value.clone() for name, value in theirs.items()}
    pspnet_from_smp(theirs)
    assert list(theirs) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in theirs.items())


def test_a_star_stands_for_any_number_and_stays():
    one, two = torch.ones(1), torch.zeros(1)
    table = {"a.*.b": "c.*.d", "e": "f"}
    renamed = rename({"a.0.b.weight": one, "a.12.b.weight": two, "e.bias": one}, table)
    assert list(renamed) == ["c.0.d.weight", "c.12.d.weight", "f.bias"]
    assert renamed["c.12.d.weight"] is two
    for name in ("a.x.b.weight", "a.1.2.b.weight", "a.b.weight", "aa.1.b.weight", "e"):
        with pytest.raises(ValueError, match=name):
            rename({name: one, "e.bias": one}, table)


def test_rows_of_stars_and_optional_rows_may_stay_empty_but_no_other():
    one, optional = torch.ones(1), {"g": "h"}
    assert rename({"e.bias": one}, {"a.*": "b.*", "e": "f"}, optional=optional) == {"f.bias": one}
    assert rename({"g.bias": one}, {}, optional=optional) == {"h.bias": one}
    with pytest.raises(ValueError, match=r"missing are e\."):
        rename({"g.bias": one}, {"e": "f"}, optional=optional)


def test_a_neutral_normalisation_adds_a_bias():
    norm, x = nn.BatchNorm2d(4).eval(), torch.randn(2, 4, 3, 3)
    bias = torch.randn(4)
    norm.load_state_dict(neutral_normalisation(bias))
    assert norm.eps == porting.EPSILON
    assert torch.allclose(norm(x), x + bias[:, None, None], atol=1e-6)


def test_reversing_the_pyramid_is_what_reversing_the_maps_is():
    x = torch.randn(1, 8, 5, 5)
    levels = [torch.randn(1, 2, 5, 5) for _ in range(4)]  # of grids 1, 2, 3, 6
    weight = torch.randn(3, 16, 1, 1)
    theirs = nn.functional.conv2d(torch.cat([*levels, x], dim=1), weight)
    ours = nn.functional.conv2d(torch.cat([x, *levels[::-1]], dim=1), reverse_pyramid(weight))
    assert torch.allclose(theirs, ours, atol=1e-5)


@pytest.fixture(scope="module")
def fcn():
    with torch.device("meta"):
        return torchvisions("fcn_resnet", 50, False).state_dict()


def test_weights_of_another_network_are_refused(fcn):
    with torch.device("meta"):
        deeplab = torchvisions("deeplabv3_resnet", 50, False).state_dict()
    with pytest.raises(ValueError, match=r"classifier\.0\.convs\.0\.0\.weight.*state_dict"):
        fcn_resnet_from_torchvision(deeplab)
    with pytest.raises(ValueError, match=r"missing are classifier\.0\.convs"):
        deeplab_v3_from_torchvision(fcn)
    for port in (pspnet_from_smp, deeplab_v3_plus_from_smp):
        with pytest.raises(ValueError, match=r"unknown are backbone\.conv1.*missing are decoder\."):
            port(fcn)


def test_missing_weights_are_refused(fcn):
    backbone = {name: value for name, value in fcn.items() if name.startswith("backbone")}
    with pytest.raises(
        ValueError, match=r"unknown are none, missing are classifier\.0, .*, classifier\.4\."
    ):
        fcn_resnet_from_torchvision(backbone)
    with pytest.raises(ValueError, match=r"missing are .* and 2 more"):
        fcn_resnet_from_torchvision({})


def test_wrapped_weights_are_refused_and_many_names_abridged(fcn):
    wrapped = {f"module.{name}": value for name, value in fcn.items()}
    with pytest.raises(ValueError, match=r"unknown are module\.backbone\.conv1\.weight, .* more"):
        fcn_resnet_from_torchvision(wrapped)
    with pytest.raises(ValueError, match="unknown are model, optimizer"):
        fcn_resnet_from_torchvision({"model": fcn, "optimizer": {}})


@pytest.mark.parametrize(
    "port",
    [
        fcn_resnet_from_torchvision,
        deeplab_v3_from_torchvision,
        pspnet_from_smp,
        deeplab_v3_plus_from_smp,
    ],
)
def test_a_network_instead_of_its_weights_is_refused(port):
    with pytest.raises(TypeError, match=r"Sequential: pass what its state_dict\(\) returns"):
        port(nn.Sequential())


def test_another_depth_of_smps_encoder_is_refused():
    with torch.device("meta"):
        theirs = smp.PSPNet("resnet18", encoder_weights=None, classes=5).state_dict()
        net = SMP_PSPNET(5, layers=18)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*backbone\.stages\.2"):
        net.load_state_dict(pspnet_from_smp(theirs, stages=4), assign=True)
    with pytest.raises(RuntimeError, match=r"Missing key.*backbone\.stages\.1"):
        net.load_state_dict(pspnet_from_smp(theirs, stages=1), assign=True)


def test_smps_image_classifier_is_refused():
    with torch.device("meta"):
        theirs = smp.PSPNet("resnet18", encoder_weights=None, aux_params={"classes": 3})
    with pytest.raises(ValueError, match=r"unknown are classification_head\.3\.weight"):
        pspnet_from_smp(theirs.state_dict())


def test_porting_knows_names_and_nobodys_code():
    tree = ast.parse(inspect.getsource(porting))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert modules == {"re", "collections.abc", "torch"}
