"""RefineNet: the counts of both layouts, the shapes, and what its blocks must and must not do."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segcourse.blocks.upsample import resize
from segcourse.models.refinenet import ChainedPooling, RefineBlock, RefineNet, ResidualUnit

CLASSROOM = dict(layers=18, width=8, channels=8, dropout=0.0)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# ── the paper's network ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "layout, layers, total",
    [
        ("paper", 50, 76_644_949),
        ("paper", 101, 95_637_077),
        ("paper", 152, 111_280_725),
        ("released", 50, 99_060_309),
        ("released", 101, 118_052_437),
        ("released", 152, 133_696_085),
    ],
)
def test_parameters(layout, layers, total):
    with torch.device("meta"):
        net = RefineNet(21, layers=layers, layout=layout)
    assert count(net) == total
    assert count(net) - count(net.backbone) == {"paper": 53_136_917, "released": 75_552_277}[layout]


def test_the_defaults_are_the_papers():
    with torch.device("meta"):
        assert count(RefineNet(21)) == 95_637_077


def test_a_class_costs_one_kernel_more():
    with torch.device("meta"):
        counts = [count(RefineNet(classes)) for classes in (1, 2, 60)]
    assert [b - a for a, b in pairwise(counts)] == [2304 + 1, 58 * (2304 + 1)]


@pytest.mark.parametrize("layout", ["paper", "released"])
def test_shapes(layout):
    with torch.device("meta"):
        net, image = RefineNet(21, layout=layout), torch.empty(1, 3, 512, 512)
        _, *stages = net.backbone(image)
        paths = [tuple(x.shape[1:]) for x in reversed(stages)]
        assert paths == [(2048, 16, 16), (1024, 32, 32), (512, 64, 64), (256, 128, 128)]
        adapted = [b.adapt(x).shape[1:] for b, x in zip(net.blocks, reversed(stages), strict=True)]
        refined = net.refined_features(image)
        wanted = [(512, 16, 16), (256, 32, 32), (256, 64, 64), (256, 128, 128)]
        assert [tuple(shape) for shape in adapted] == wanted
        assert [tuple(x.shape[1:]) for x in refined] == wanted
        assert net.head(refined[-1]).shape == (1, 21, 128, 128)
        assert net(image).shape == (1, 21, 512, 512)


def test_the_layers_of_both_layouts():
    with torch.device("meta"):
        paper, released = RefineNet(21), RefineNet(21, layout="released")
    for net, pools, units, final in ((paper, 2, 1, 2), (released, 4, 3, 0)):
        assert [len(block.pooling.steps) for block in net.blocks] == [pools] * 4
        assert [len(block.output) for block in net.blocks] == [units] * 4
        assert sum(isinstance(layer, ResidualUnit) for layer in net.head) == final
        assert [hasattr(block, "fuse_coarse") for block in net.blocks] == [False, True, True, True]
    assert isinstance(paper.blocks[0].pooling.steps[0][0], nn.MaxPool2d)
    assert isinstance(released.blocks[0].pooling.steps[0][1], nn.MaxPool2d)


def test_new_layers_start_from_the_papers_gaussian():
    torch.manual_seed(0)
    net = RefineNet(4, layers=18, width=8, channels=32)
    for layer in [*net.blocks.modules(), *net.head.modules()]:
        if isinstance(layer, nn.Conv2d):
            assert 0.009 < layer.weight.std() < 0.011
            assert layer.bias is None or not layer.bias.any()


def test_dropout_falls_on_the_two_deepest_stages_and_before_the_scores():
    with torch.device("meta"):
        net = RefineNet(4, layers=18)
    shares = [block.adapt[0].p for block in net.blocks]
    assert shares == [0.5, 0.5, 0.0, 0.0]
    assert [layer.p for layer in net.head if isinstance(layer, nn.Dropout)] == [0.5]


@pytest.mark.parametrize("layout", ["paper", "released"])
def test_units_and_pooling_are_never_normalised(layout):
    norms = []
    for batch_norm in (False, True):
        net = RefineNet(4, **CLASSROOM, layout=layout, batch_norm=batch_norm)
        norms.append(sum(isinstance(m, nn.BatchNorm2d) for m in net.blocks.modules()))
        inner = [m for m in net.modules() if isinstance(m, (ResidualUnit, ChainedPooling))]
        assert len(inner) == {"paper": 18, "released": 24}[layout]
        assert not [m for part in inner for m in part.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == [0, 10]  # four stages adapted, three times two paths fused


# ── residual units ─────────────────────────────────────────────────────────────────────────────


def varied(module: nn.Module) -> nn.Module:
    """Weights of a size at which a mistake shows."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def unit_by_hand(unit: ResidualUnit, x: torch.Tensor) -> torch.Tensor:
    (first, bias), (second,) = unit.layers[1].parameters(), unit.layers[3].parameters()
    y = F.conv2d(x.clamp(min=0), first, bias, padding=1)
    return x + F.conv2d(y.clamp(min=0), second, padding=1)


def test_a_unit_is_its_formula_and_leaves_its_input_alone():
    torch.manual_seed(0)
    unit, x = varied(ResidualUnit(5)), torch.randn(2, 5, 7, 6)
    before = x.clone()
    assert torch.allclose(unit(x), unit_by_hand(unit, before), atol=1e-5)
    assert torch.equal(x, before)


def test_a_silent_unit_passes_negative_values_on():
    """An in-place ReLU, or one on the sum, would cut them."""
    unit, x = ResidualUnit(3), torch.randn(1, 3, 5, 5)
    nn.init.zeros_(unit.layers[3].weight)
    assert torch.equal(unit(x), x) and (x < 0).any()


# ── chained pooling ────────────────────────────────────────────────────────────────────────────


def with_identities(pooling: ChainedPooling) -> ChainedPooling:
    for layer in pooling.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
    return pooling


@pytest.mark.parametrize("pool_first", [True, False])
@pytest.mark.parametrize("pools", [1, 2, 4])
def test_with_identity_convolutions_windows_grow_along_the_chain(pools, pool_first):
    torch.manual_seed(0)
    x = torch.rand(2, 3, 20, 23)
    got = with_identities(ChainedPooling(3, pools, pool_first=pool_first))(x)
    sides = [4 * step + 1 for step in range(1, pools + 1)]  # 5, 9, 13, 17
    chained = x + sum(F.max_pool2d(x, side, stride=1, padding=side // 2) for side in sides)
    parallel = x + pools * F.max_pool2d(x, 5, stride=1, padding=2)
    assert torch.allclose(got, chained, atol=1e-6)
    assert torch.allclose(got, parallel, atol=1e-6) == (pools == 1)


def test_chained_pooling_starts_with_a_relu_that_belongs_to_the_sum():
    x = torch.randn(1, 2, 6, 6)
    before = x.clone()
    assert torch.equal(ChainedPooling(2, 0)(x), before.clamp(min=0))
    assert torch.equal(x, before)


@pytest.mark.parametrize("pool_first", [True, False])
def test_the_order_of_pooling_and_convolution(pool_first):
    torch.manual_seed(0)
    pooling = varied(ChainedPooling(3, 2, pool_first=pool_first))
    weights = list(pooling.parameters())
    x = torch.randn(2, 3, 9, 8)
    y = total = x.clamp(min=0)
    for weight in weights:
        if pool_first:
            y = F.conv2d(F.max_pool2d(y, 5, stride=1, padding=2), weight, padding=1)
        else:
            y = F.max_pool2d(F.conv2d(y, weight, padding=1), 5, stride=1, padding=2)
        total = total + y
    assert torch.allclose(pooling(x), total, atol=1e-4)


# ── blocks and the whole ───────────────────────────────────────────────────────────────────────


def block(coarse_channels: int, **options) -> RefineBlock:
    arguments = dict(layout="paper", batch_norm=False, dropout=0.0)
    return RefineBlock(6, 4, coarse_channels=coarse_channels, **{**arguments, **options})


def test_a_block_enlarges_the_coarse_map_and_adds_it():
    torch.manual_seed(0)
    refine = varied(block(5))
    stage, coarse = torch.randn(2, 6, 9, 13), torch.randn(2, 5, 5, 7)
    x = F.conv2d(stage, refine.adapt[1].weight, padding=1)
    x = unit_by_hand(refine.adapt[3], unit_by_hand(refine.adapt[2], x))
    x = F.conv2d(x, refine.fuse_stage[0].weight, padding=1)
    y = F.conv2d(coarse, refine.fuse_coarse[0].weight, padding=1)
    x = x + F.interpolate(y, (9, 13), mode="bilinear", align_corners=False)
    wanted = refine.output(refine.pooling(x))
    got = refine(stage, coarse)
    assert got.shape == (2, 4, 9, 13)
    assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-4 * wanted.std().item())


def test_every_stage_reaches_the_logits():
    torch.manual_seed(0)
    net = varied(RefineNet(3, **CLASSROOM)).eval()
    features = [f.detach().requires_grad_() for f in net.backbone(torch.randn(1, 3, 64, 64))]
    net.backbone.forward = lambda image: features
    net(torch.empty(1, 3, 64, 64)).sum().backward()
    assert [f.grad is not None and bool(f.grad.any()) for f in features] == [False] + [True] * 4


@pytest.mark.parametrize("size", [(96, 128), (1, 1), (33, 65), (70, 5)])
@pytest.mark.parametrize("layout", ["paper", "released"])
def test_any_size_will_do(size, layout):
    net = RefineNet(5, **CLASSROOM, layout=layout).eval()
    assert net(torch.zeros(2, 3, *size)).shape == (2, 5, *size)


def test_an_enlarged_image_makes_finer_features():
    torch.manual_seed(0)
    net, twice = (RefineNet(3, **CLASSROOM, image_scale=scale).eval() for scale in (1.0, 2.0))
    twice.load_state_dict(net.state_dict())
    image = torch.randn(1, 3, 48, 40)
    assert [x.shape[-2:] for x in twice.refined_features(image)] == [
        (3, 3),
        (6, 5),
        (12, 10),
        (24, 20),
    ]
    large = resize(image, (96, 80))
    assert torch.allclose(twice(image), resize(net.head(net.refined_features(large)[-1]), (48, 40)))


def test_learns_to_copy_a_mask(overfit):
    torch.manual_seed(0)
    target = torch.randint(0, 2, (2, 8, 8)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    image = target[:, None].float().repeat(1, 3, 1, 1)
    net = RefineNet(2, **CLASSROOM, batch_norm=True)
    overfit(net, lambda: F.cross_entropy(net(image), target))
    assert (net(image).argmax(dim=1) == target).float().mean() > 0.95


@pytest.mark.parametrize(
    "wrong, remedy",
    [
        (dict(num_classes=0), "num_classes=0, channels=256.* both must be at least 1"),
        (dict(channels=0), "both must be at least 1"),
        (dict(width=0), "both must be at least 1"),
        (dict(layers=20), "ResNet-20 does not exist"),
        (dict(layout="improved"), r"layout='improved'.* choose one of \['paper', 'released'\]"),
        (dict(image_scale=0), "image_scale=0.* choose a factor above 0"),
    ],
)
def test_refuses_what_is_no_refinenet(wrong, remedy):
    with pytest.raises(ValueError, match=remedy):
        RefineNet(**{"num_classes": 3, **wrong})


def test_refuses_a_single_image():
    with pytest.raises(ValueError, match=r"shape \(3, 64, 64\): add the axis .* image\[None\]"):
        RefineNet(3, **CLASSROOM)(torch.zeros(3, 64, 64))
