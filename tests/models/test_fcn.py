"""FCN: the released networks' counts, shapes, crops and outputs; the classroom's network learns."""

import importlib.util
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from segcourse.models.fcn import FCN, crop, crop_offsets, fuse

CLASSROOM = dict(width=4, fc_channels=16, kernel_size=3, padding=1, batch_norm=True)
STRIDES = [32, 16, 8]


@pytest.mark.parametrize(
    "stride, total, trainable",
    [
        (32, 136_152_917, 134_346_581),
        (16, 134_815_994, 134_357_354),
        (8, 134_489_759, 134_362_751),
    ],
)
def test_parameters_are_those_of_the_released_networks(stride, total, trainable):
    with torch.device("meta"):
        parameters = list(FCN(21, stride=stride).parameters())
    assert sum(p.numel() for p in parameters) == total
    assert sum(p.numel() for p in parameters if p.requires_grad) == trainable


@pytest.mark.parametrize("classes", [2, 11, 59])
def test_the_formula_for_the_parameters_of_fcn_8s(classes):
    with torch.device("meta"):
        count = sum(p.numel() for p in FCN(classes).parameters())
    assert count == 134_260_544 + (4096 + 512 + 256 + 3) * classes + 288 * classes**2


def test_the_classifiers_layers_keep_their_parameters_when_they_slide():
    with torch.device("meta"):
        fc6, *_, fc7, _, _ = FCN(21).classifier
    assert sum(p.numel() for p in fc6.parameters()) == 102_764_544
    assert sum(p.numel() for p in fc7.parameters()) == 16_781_312


SHAPES = {
    # image: conv1_1, pool1 to pool5, fc6 = fc7 = score, twice, twice again, x8, (x16, x32)
    (375, 500): [
        (64, 573, 698), (64, 287, 349), (128, 144, 175), (256, 72, 88), (512, 36, 44),
        (512, 18, 22), (12, 16), (26, 34), (54, 70), (440, 568), (432, 560), (416, 544),
    ],
    (224, 224): [
        (64, 422, 422), (64, 211, 211), (128, 106, 106), (256, 53, 53), (512, 27, 27),
        (512, 14, 14), (8, 8), (18, 18), (38, 38), (312, 312), (304, 304), (288, 288),
    ],
    (512, 512): [
        (64, 710, 710), (64, 355, 355), (128, 178, 178), (256, 89, 89), (512, 45, 45),
        (512, 23, 23), (17, 17), (36, 36), (74, 74), (600, 600), (592, 592), (576, 576),
    ],
}  # fmt: skip


@pytest.mark.parametrize("size", SHAPES, ids=str)
def test_every_map_has_the_size_it_has_in_the_released_networks(size):
    first, *pools, fc, twice, again, times8, times16, times32 = SHAPES[size]
    with torch.device("meta"):
        image = torch.empty(1, 3, *size)
        nets = {stride: FCN(21, stride=stride) for stride in STRIDES}
        net = nets[8]
        assert net.features.stages[0][0](image).shape == (1, *first)
        features = net.features(image)
        assert [tuple(f.shape[1:]) for f in features] == pools
        fc_channels = net.classifier(features[-1])
        assert fc_channels.shape == (1, 4096, *fc)
        x = net.score(fc_channels)
        assert x.shape == (1, 21, *fc)
        before_crop = {32: nets[32].upsample(x)}
        x = net.upsample2x[0](x)
        assert x.shape == (1, 21, *twice)
        x = fuse(x, net.score_skips[0](features[3]), 5)
        before_crop[16] = nets[16].upsample(x)
        x = net.upsample2x[1](x)
        assert x.shape == (1, 21, *again)
        x = fuse(x, net.score_skips[1](features[2]), 9)
        before_crop[8] = net.upsample(x)
        assert before_crop[8].shape == (1, 21, *times8)
        assert before_crop[16].shape == (1, 21, *times16)
        assert before_crop[32].shape == (1, 21, *times32)
        assert all(nets[stride](image).shape == (1, 21, *size) for stride in STRIDES)


def test_the_crops_start_where_the_released_networks_crop():
    assert [crop_offsets(stride) for stride in STRIDES] == [(19,), (5, 27), (5, 9, 31)]


@pytest.mark.parametrize("stride", STRIDES)
def test_padding_by_100_leaves_enough_room_for_every_side(stride):
    """The arithmetic of every map, for all sides at once; the network itself for a few."""
    side = torch.arange(1, 2000)
    pools = [side + 198]
    for _ in range(5):
        pools.append((pools[-1] + 1) // 2)  # rounded up
    x, step = pools[5] - 6, 32
    assert (x > 0).all()
    for offset in crop_offsets(stride)[:-1]:
        x, step = 2 * x + 2, step // 2
        assert (x + offset <= pools[step.bit_length() - 1]).all()
    assert (step * x + step >= side + crop_offsets(stride)[-1]).all()
    with torch.device("meta"):
        net = FCN(3, stride=stride, width=1, fc_channels=1)
        for size in [(1, 1), (2, 1999), (31, 33), (57, 101)]:
            assert net(torch.empty(1, 3, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("size", [(96, 128), (1, 1), (33, 65), (70, 5)])
def test_the_classrooms_network_takes_any_size_too(stride, size):
    net = FCN(5, stride=stride, **CLASSROOM).eval()
    assert net(torch.zeros(2, 3, *size)).shape == (2, 5, *size)


def see_through(net: FCN) -> None:
    """Turn a network of one class into one that copies the image's red through every layer."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "upsample" in name or "upsample2x" in name:
                continue
            parameter.zero_()
            if parameter.ndim == 4:
                middle = parameter.shape[-1] // 2
                parameter[0, 0, middle, middle] = 1.0


@pytest.mark.parametrize("padding", [1, 100])
@pytest.mark.parametrize("stride", STRIDES)
def test_the_crops_lay_every_map_over_the_place_it_shows(stride, padding):
    """With copying layers the logits are the image, blurred: a ramp must stay where it is."""
    net = FCN(1, stride=stride, width=1, fc_channels=1, padding=padding).eval()
    see_through(net)
    ramp = torch.arange(256.0).repeat(256, 1)
    with torch.no_grad():
        scores = net(ramp.repeat(1, 3, 1, 1))[0, 0, 128, 96:160]
    columns = scores / (1 + len(net.upsample2x))  # a skip adds another copy
    pooled = columns - torch.arange(96.0, 160.0)  # max pooling reports a window's last column
    last = sum((step - 1) / 2 for step in (32, 16, 8)[: 1 + len(net.upsample2x)]) / (
        1 + len(net.upsample2x)
    )
    assert torch.allclose(pooled, torch.tensor(last), atol=1e-3)


@pytest.fixture(scope="module")
def torchfcn():
    """The models of the oracle, without the packages that only its training scripts use."""
    folder = Path(importlib.util.find_spec("torchfcn").origin).parent
    before = dict(sys.modules)
    sys.modules["fcn"] = types.ModuleType("fcn")
    sys.modules["fcn"].data = None
    sys.modules["torchfcn"] = types.ModuleType("torchfcn")
    sys.modules["torchfcn"].__path__ = [str(folder)]
    yield importlib.import_module("torchfcn.models")
    for name in set(sys.modules) - set(before):
        if name.split(".")[0] in ("fcn", "torchfcn"):
            del sys.modules[name]


def fill(oracle: torch.nn.Module) -> None:
    """Varied weights of a sensible size; drawing 134 million one by one would take a while."""
    noise = torch.randn(99_991)
    for name, parameter in oracle.named_parameters():
        if "upscore" not in name:  # those are bilinear from the start
            fan = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
            values = noise.repeat(-(-parameter.numel() // noise.numel()))[: parameter.numel()]
            parameter.data.copy_(values.view_as(parameter)).mul_((2 / fan) ** 0.5)


def their_name(name: str, stride: int) -> str:
    """The name in the prototxt of a parameter of our FCN."""
    part, *place, kind = name.split(".")
    if part == "features":
        _, stage, layer = place
        return f"conv{int(stage) + 1}_{int(layer) // 2 + 1}.{kind}"
    layers = {
        "score": "score_fr",
        "upsample": "upscore" if stride == 32 else f"upscore{stride}",
        "classifier.0": "fc6",
        "classifier.3": "fc7",
        "score_skips.0": "score_pool4",
        "score_skips.1": "score_pool3",
        "upsample2x.0": "upscore2",
        "upsample2x.1": "upscore_pool4",
    }
    return f"{layers['.'.join([part, *place])]}.{kind}"


@pytest.mark.parametrize(
    "oracle, arguments",
    [
        ("FCN32s", dict(stride=32)),
        ("FCN16s", dict(stride=16)),
        ("FCN8s", dict(stride=8)),
        ("FCN8sAtOnce", dict(stride=8, at_once=True)),
    ],
)
def test_the_oracles_weights_fit_and_give_the_oracles_logits(torchfcn, oracle, arguments):
    torch.manual_seed(0)
    theirs = getattr(torchfcn, oracle)(n_class=21).eval()
    fill(theirs)
    weights = theirs.state_dict()
    with torch.device("meta"):
        ours = FCN(21, **arguments).eval()
    names = {name: their_name(name, arguments["stride"]) for name in ours.state_dict()}
    assert sorted(names.values()) == sorted(weights)
    ours.load_state_dict({own: weights[name] for own, name in names.items()}, assign=True)
    image = torch.rand(1, 3, 50, 67)
    with torch.no_grad():
        want, got = theirs(image), ours(image)
    assert got.shape == (1, 21, 50, 67) and want.std() > 0.01
    assert (got - want).abs().max() <= 1e-5


def test_the_fixed_enlargements_are_the_oracles(torchfcn):
    theirs = importlib.import_module("torchfcn.models.fcn32s").get_upsampling_weight
    net = FCN(3, stride=8, **CLASSROOM)
    for layer, size in [(net.upsample2x[0], 4), (net.upsample2x[1], 4), (net.upsample, 16)]:
        assert torch.allclose(layer.weight, theirs(3, 3, size))


def test_at_once_weakens_the_skips():
    torch.manual_seed(0)
    plain, weak = FCN(4, **CLASSROOM).eval(), FCN(4, at_once=True, **CLASSROOM).eval()
    weak.load_state_dict(plain.state_dict())
    for net in (plain, weak):
        torch.manual_seed(1)
        for score in net.score_skips:
            torch.nn.init.normal_(score.weight)
    image = torch.rand(1, 3, 64, 64)
    ratio = weak(image).abs().max() / plain(image).abs().max()
    assert 0.005 < ratio < 0.02  # the scores of pool4 lead, times 0.01


@pytest.mark.parametrize("side", [1, 3])
def test_a_linear_layer_and_its_convolution_agree_at_every_position(side):
    """What makes a classifier fully convolutional: the same weights, sliding."""
    torch.manual_seed(0)
    features = torch.randn(2, 5, 8, 9)
    linear = torch.nn.Linear(5 * side * side, 7)
    weight = linear.weight.view(7, 5, side, side)
    slid = F.conv2d(features, weight, linear.bias)  # (2, 7, 9 - side, 10 - side)
    patches = F.unfold(features, side).transpose(1, 2)  # (2, positions, 5 * side * side)
    alone = linear(patches).transpose(1, 2).view_as(slid)
    assert torch.allclose(slid, alone, atol=1e-5)


@pytest.mark.parametrize("stride", STRIDES)
def test_scores_start_at_zero_and_every_learning_parameter_gets_a_gradient(stride):
    torch.manual_seed(0)
    net, image = FCN(3, stride=stride, **CLASSROOM), torch.randn(2, 3, 64, 64)
    target = torch.randint(0, 3, (2, 64, 64))
    assert not net(image).any()
    learning = {name: p for name, p in net.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(learning.values(), lr=0.1)
    F.cross_entropy(net(image), target).backward()
    optimizer.step()  # the first step moves the scores alone: behind them gradients are zero
    optimizer.zero_grad()
    F.cross_entropy(net(image), target).backward()
    assert not [name for name, p in learning.items() if not p.grad.any()]
    fixed = {name.split(".")[0] for name, p in net.named_parameters() if not p.requires_grad}
    assert fixed <= {"upsample2x", "upsample"}


def test_equal_seeds_give_equal_encoders_whatever_the_stride():
    """What the comparison of strides rests on: all three start from the same place."""
    starts = []
    for stride in STRIDES:
        torch.manual_seed(7)
        net = FCN(3, stride=stride, **CLASSROOM)
        starts.append([*net.features.parameters(), *net.classifier.parameters()])
    for other in starts[1:]:
        assert all(torch.equal(a, b) for a, b in zip(starts[0], other, strict=True))


def test_evaluation_does_not_depend_on_the_batch_nor_on_dropout():
    net, images = FCN(3, **CLASSROOM).eval(), torch.randn(2, 3, 40, 48)
    torch.nn.init.normal_(net.score.weight)
    assert torch.allclose(net(images)[:1], net(images[:1]), atol=1e-5)


def test_learns_to_copy_a_coarse_mask(overfit):
    torch.manual_seed(0)
    target = torch.randint(0, 2, (2, 4, 4)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    image = target[:, None].float().repeat(1, 3, 1, 1)
    net = FCN(2, **{**CLASSROOM, "width": 8})
    overfit(net, lambda: F.cross_entropy(net(image), target), steps=60)
    net.eval()
    assert (net(image).argmax(dim=1) == target).float().mean() > 0.9


@pytest.mark.parametrize("offset, size", [(5, (4, 4)), (-1, (4, 4)), (0, (9, 4)), (3, (4, 6))])
def test_a_crop_that_does_not_fit_is_refused_where_slicing_would_return_less(offset, size):
    with pytest.raises(ValueError, match=r"does not fit into a map of 8 x 8.*crop_offsets"):
        crop(torch.zeros(1, 1, 8, 8), offset, like=torch.zeros(1, 1, *size))


def test_fusing_keeps_the_inner_map():
    small, large = torch.ones(1, 1, 2, 3), torch.arange(30.0).view(1, 1, 5, 6)
    assert torch.equal(fuse(small, large, 1), large[..., 1:3, 1:4] + 1)
    assert torch.equal(fuse(large, small, -2), large[..., 2:4, 2:5] + 1)


@pytest.mark.parametrize(
    "wrong, remedy",
    [
        (dict(stride=4), "choose one of"),
        (dict(padding=50), "100 is the paper's"),
        (dict(kernel_size=4), "odd side"),
        (dict(fc_channels=0), "at least 1"),
        (dict(num_classes=0), "at least 1"),
        (dict(width=0), "at least 1"),
    ],
)
def test_networks_that_cannot_be_are_refused_with_the_remedy(wrong, remedy):
    with pytest.raises(ValueError, match=remedy):
        FCN(**{"num_classes": 3, **wrong})
