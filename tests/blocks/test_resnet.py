"""ResNet: the counts of everyone, and equal features for equal weights in both conventions."""

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from torch import Tensor, nn

from segcourse.blocks.resnet import ResNet


def settled(oracle: nn.Module) -> nn.Module:
    """An oracle whose normalisations differ from one another, so that a mix-up would show."""
    torch.manual_seed(0)
    for module in oracle.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return oracle.eval()


def with_weights_of(oracle: nn.Module, ours: ResNet) -> ResNet:
    """The names are the same: nothing to translate."""
    theirs = oracle.state_dict()
    ours.load_state_dict({name: theirs[name] for name in theirs if not name.startswith("fc.")})
    return ours.eval()


@torch.no_grad()
def stages_of(oracle: nn.Module, image: Tensor) -> list[Tensor]:
    """Stem and stages of a network with torchvision's names."""
    activate = getattr(oracle, "relu", None) or oracle.act1
    features = [activate(oracle.bn1(oracle.conv1(image)))]
    x = oracle.maxpool(features[0])
    for stage in (oracle.layer1, oracle.layer2, oracle.layer3, oracle.layer4):
        x = stage(x)
        features.append(x)
    return features


def assert_equal(ours: ResNet, theirs: list[Tensor], image: Tensor) -> None:
    with torch.no_grad():
        features = ours(image)
    assert [f.shape[1] for f in features] == ours.channels
    for mine, other in zip(features, theirs, strict=True):
        assert mine.shape == other.shape
        assert (mine - other).abs().max() <= 1e-5 * max(other.abs().max().item(), 1.0)


@pytest.mark.parametrize(
    "layers, options, count",
    [
        (18, {}, 11_176_512),
        (34, {}, 21_284_672),
        (50, {}, 23_508_032),
        (101, {}, 42_500_160),
        (152, {}, 58_143_808),
        (50, {"deep_stem": True}, 23_631_808),
        (101, {"deep_stem": True}, 42_623_936),
        (101, {"output_stride": 8}, 42_500_160),
    ],
)
def test_parameters(layers, options, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in ResNet(layers, **options).parameters()) == count


@pytest.mark.parametrize("output_stride", [32, 16, 8])
@pytest.mark.parametrize("contract_dilation", [False, True])
def test_strides(output_stride, contract_dilation):
    with torch.device("meta"):
        net = ResNet(50, output_stride=output_stride, contract_dilation=contract_dilation)
        features = net(torch.empty(1, 3, 224, 224))
    strides = [2, 4, 8, min(16, output_stride), output_stride]
    assert [f.shape[-1] for f in features] == [224 // stride for stride in strides]
    assert net.strides == tuple(strides) and len(net.channels) == len(strides)


@pytest.mark.parametrize("layers", [18, 34, 50])
def test_equals_torchvision(layers):
    oracle = settled(getattr(torchvision.models, f"resnet{layers}")(weights=None))
    image = torch.randn(1, 3, 65, 97)
    ours = with_weights_of(oracle, ResNet(layers))
    assert_equal(ours, stages_of(oracle, image), image)


@pytest.mark.parametrize(
    "output_stride, replaced", [(16, (False, False, True)), (8, (False, True, True))]
)
def test_first_block_keeps_its_dilation_as_in_torchvision(output_stride, replaced):
    oracle = settled(
        torchvision.models.resnet50(weights=None, replace_stride_with_dilation=replaced)
    )
    image = torch.randn(1, 3, 65, 97)
    ours = with_weights_of(oracle, ResNet(50, output_stride=output_stride))
    assert_equal(ours, stages_of(oracle, image), image)


@pytest.mark.parametrize("layers, output_stride", [(18, 8), (34, 16), (50, 8)])
def test_first_block_keeps_its_dilation_as_in_timm(layers, output_stride):
    oracle = settled(timm.create_model(f"resnet{layers}", output_stride=output_stride))
    image = torch.randn(1, 3, 65, 97)
    ours = with_weights_of(oracle, ResNet(layers, output_stride=output_stride))
    assert_equal(ours, stages_of(oracle, image), image)


@pytest.mark.parametrize("layers", [18, 34, 50])
@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_all_blocks_dilate_as_in_segmentation_models(layers, output_stride):
    oracle = settled(
        smp.encoders.get_encoder(f"resnet{layers}", weights=None, output_stride=output_stride)
    )
    image = torch.randn(1, 3, 64, 96)
    net = ResNet(layers, output_stride=output_stride, contract_dilation=False)
    with torch.no_grad():
        assert_equal(with_weights_of(oracle, net), oracle(image)[1:], image)


def test_conventions_differ_for_equal_weights():
    keeps = ResNet(50, width=8, output_stride=8).eval()
    dilates = ResNet(50, width=8, output_stride=8, contract_dilation=False).eval()
    dilates.load_state_dict(keeps.state_dict())
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        pairs = list(zip(keeps(image), dilates(image), strict=True))
    assert [torch.allclose(a, b) for a, b in pairs] == [True, True, True, False, False]


def test_deep_stem_equals_timm():
    oracle = settled(timm.create_model("resnet50s", num_classes=0))
    image = torch.randn(1, 3, 64, 64)
    ours = with_weights_of(oracle, ResNet(50, deep_stem=True))
    assert_equal(ours, stages_of(oracle, image), image)


def test_dilations_are_those_of_the_table():
    net = ResNet(50, width=4, output_stride=8)
    spread = [[block.conv2.dilation[0] for block in stage] for stage in net.stages[2:]]
    assert spread == [[1, 2, 2, 2, 2, 2], [2, 4, 4]]


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_fewer_stages_give_the_first_features_of_all(stages):
    options = dict(width=4, output_stride=8, contract_dilation=False)
    all_of_them, some = ResNet(18, **options).eval(), ResNet(18, stages=stages, **options).eval()
    some.load_state_dict({k: all_of_them.state_dict()[k] for k in some.state_dict()})
    image = torch.randn(1, 3, 64, 64)
    features, first = all_of_them(image), some(image)
    assert len(first) == len(some.channels) == len(some.strides) == 1 + stages
    assert all(torch.equal(a, b) for a, b in zip(features, first, strict=False))


def test_an_image_without_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 32, 32\).*image\[None\]"):
        ResNet(18, width=4)(torch.zeros(3, 32, 32))


@pytest.mark.parametrize(
    "layers, output_stride, multi_grid, last",
    [
        (50, 32, (1, 2, 4), [1, 2, 4]),
        (50, 16, (1, 2, 4), [2, 4, 8]),
        (50, 8, (1, 2, 4), [4, 8, 16]),
        (18, 8, (1, 2), [4, 8]),
    ],
)
def test_multi_grid_multiplies_the_dilations_of_the_last_stage(
    layers, output_stride, multi_grid, last
):
    options = dict(width=4, output_stride=output_stride)
    net, plain = ResNet(layers, multi_grid=multi_grid, **options), ResNet(layers, **options)
    name = "conv2" if layers == 50 else "conv1"
    spread = [
        [[block.get_submodule(name).dilation[0] for block in stage] for stage in each.stages]
        for each in (net, plain)
    ]
    assert spread[0][:3] == spread[1][:3] and spread[0][3] == last
    shapes = [[f.shape for f in each.eval()(torch.randn(1, 3, 65, 70))] for each in (net, plain)]
    assert shapes[0] == shapes[1]
    net.load_state_dict(plain.state_dict())  # equal weights fit


@pytest.mark.parametrize("layers, multi_grid", [(50, (1, 2)), (18, (1, 2, 4)), (50, (1, 0, 2))])
def test_a_multi_grid_that_does_not_fit_is_refused(layers, multi_grid):
    blocks = 2 if layers == 18 else 3
    with pytest.raises(ValueError, match=f"does not fit: the last stage has {blocks} blocks"):
        ResNet(layers, multi_grid=multi_grid)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"layers": 51}, r"ResNet-51 does not exist: choose one of \[18, 34"),
        ({"output_stride": 4}, r"output_stride=4 cannot be built: choose one of \[8, 16, 32\]"),
        ({"stages": 0}, "stages=0 cannot be built: a ResNet has between 1 and 4"),
        ({"stages": 5}, "stages=5 cannot be built"),
        ({"width": 0}, "both must be at least 1"),
        ({"in_channels": 0}, "both must be at least 1"),
    ],
)
def test_refuses_what_does_not_exist(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**arguments)


@pytest.mark.parametrize("options", [{}, {"output_stride": 16}, {"output_stride": 8, "stages": 3}])
def test_the_strides_are_those_of_the_shapes(options):
    with torch.device("meta"):
        net = ResNet(18, width=4, **options)
        features = net(torch.empty(1, 3, 320, 640))
    assert [(320 // s, 640 // s) for s in net.strides] == [tuple(f.shape[-2:]) for f in features]
