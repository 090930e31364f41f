"""U-Net: the paper's counts and sizes, seamless tiles, the errors learners meet; it learns."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segcourse.models.unet import SKIPS, UNet, overlap_tile
from segcourse.ops.borders import reflect_pad


def parameters(*args, **options) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in UNet(*args, **options).parameters())


# ── the paper's network ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "in_channels, num_classes, count",
    [
        (1, 2, 31_030_658),
        (1, 1, 31_030_593),
        (3, 1, 31_031_745),
        (3, 2, 31_031_810),
        (3, 21, 31_033_045),
    ],
)
def test_the_defaults_have_the_papers_parameters(in_channels, num_classes, count):
    assert parameters(num_classes, in_channels=in_channels) == count


def test_padded_and_normalised_it_has_these():
    assert parameters(2, padding=1, batch_norm=True) == 31_037_698
    assert parameters(21, padding=1, batch_norm=True) == 31_038_933


def test_there_are_23_convolutions():
    with torch.device("meta"):
        modules = list(UNet(2, in_channels=1).modules())
    assert sum(isinstance(m, nn.Conv2d) for m in modules) == 18 + 1
    assert sum(isinstance(m, nn.ConvTranspose2d) for m in modules) == 4
    assert not any(isinstance(m, nn.BatchNorm2d) for m in modules)
    assert all(m.bias is not None for m in modules if isinstance(m, nn.Conv2d))


def test_sizes_are_those_of_figure_1():
    sizes = {}

    def note(name):
        return lambda module, inputs, output: sizes.update({name: tuple(output.shape[1:])})

    with torch.device("meta"):  # shapes only: no memory, no arithmetic
        model, tile = UNet(2, in_channels=1), torch.empty(1, 1, 572, 572)
        for level, block in enumerate(model.encoder):
            block.register_forward_hook(note(f"down {level}"))
        for level, block in enumerate(model.decoder):
            block.upsample.register_forward_hook(note(f"up {level}"))
            block.merge.register_forward_hook(note(f"merge {level}"))
        assert model(tile).shape == (1, 2, 388, 388)
    assert list(sizes.items()) == [
        ("down 0", (64, 568, 568)),
        ("down 1", (128, 280, 280)),
        ("down 2", (256, 136, 136)),
        ("down 3", (512, 64, 64)),
        ("down 4", (1024, 28, 28)),
        ("up 0", (512, 56, 56)),
        ("merge 0", (512, 52, 52)),
        ("up 1", (256, 104, 104)),
        ("merge 1", (256, 100, 100)),
        ("up 2", (128, 200, 200)),
        ("merge 2", (128, 196, 196)),
        ("up 3", (64, 392, 392)),
        ("merge 3", (64, 388, 388)),
    ]


@pytest.mark.parametrize("side, logits", [(188, 4), (252, 68), (380, 196), (572, 388)])
def test_every_side_loses_184_pixels(side, logits):
    with torch.device("meta"):
        model = UNet(2, in_channels=1)
        assert model(torch.empty(1, 1, side, 188)).shape == (1, 2, logits, 4)
    assert 2 * model.margin == 184


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_margin_is_what_is_lost_on_each_side(depth):
    with torch.device("meta"):
        model = UNet(2, width=1, depth=depth)
        side = 2 * model.margin + 4  # the smallest
        assert model(torch.empty(1, 3, side, side + 2**depth)).shape[-2:] == (4, 4 + 2**depth)


def test_valid_inputs_are_16m_plus_12():
    with torch.device("meta"):
        model, valid = UNet(2, in_channels=1), []
        for side in range(170, 260):
            try:
                model(torch.empty(1, 1, side, side))
            except ValueError:
                continue
            valid.append(side)
    assert valid == [188, 204, 220, 236, 252]


def test_weights_start_with_the_variance_of_section_3():
    torch.manual_seed(0)
    weight = UNet(2, width=64, depth=1).encoder[0][1][0].weight  # 64 channels, 3 x 3: N = 576
    assert weight.std().item() == pytest.approx((2 / 576) ** 0.5, rel=0.02)


def test_dropout_is_at_the_end_of_the_contracting_path():
    torch.manual_seed(0)
    model, seen = UNet(2, width=4, depth=2, padding=1), []
    model.decoder[0].upsample.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = torch.randn(1, 3, 32, 32)
    model(image), model.eval()(image)
    trained, tested = ((x == 0).float().mean().item() for x in seen)
    assert trained > tested + 0.15
    assert sum(isinstance(m, nn.Dropout) for m in model.modules()) == 1


# ── overlap tiles ──────────────────────────────────────────────────────────────────────────────


def whole(net: UNet, image: torch.Tensor) -> torch.Tensor:
    """One pass over the mirrored image, then the image's part of the logits."""
    height, width = image.shape[-2:]
    stride = 2**net.depth
    sides = [-(-(side - 4) // stride) * stride + 4 + 2 * net.margin for side in (height, width)]
    with torch.no_grad():
        return net(reflect_pad(image, net.margin, *sides))[..., :height, :width]


@pytest.mark.parametrize("tile", [8, 17, 24, 388])
@pytest.mark.parametrize("size", [(70, 41), (5, 64), (1, 1), (20, 20)])
def test_tiles_are_seamless(tile, size):
    torch.manual_seed(0)
    net, image = UNet(3, width=4, depth=2).eval(), torch.rand(2, 3, *size)
    tiled = overlap_tile(net, image, tile=tile)
    assert tiled.shape == (2, 3, *size)
    assert torch.allclose(tiled, whole(net, image), atol=1e-5)


def test_a_mirrored_image_needs_no_border():
    """Reflection in the middle of a pixel row: the border itself occurs once, as in NumPy."""
    image = torch.arange(12.0).view(1, 1, 3, 4)
    ours = reflect_pad(image, 2, 7, 9)[0, 0].numpy()
    oracle = torch.nn.functional.pad(image, (2, 3, 2, 2), mode="reflect")[0, 0].numpy()
    assert (ours == oracle).all()
    assert reflect_pad(image, 50, 200, 300).shape == (1, 1, 200, 300)


@pytest.mark.parametrize("tile", [8, 20, 388])
def test_logits_of_a_valid_tile_are_those_of_the_network(tile):
    """Where nothing is mirrored, tiles compute what the network computes."""
    torch.manual_seed(0)
    net = UNet(2, width=4, depth=2).eval()
    image = torch.rand(1, 3, 60, 60)  # 20 x 20 logits, for the middle
    inside = (..., slice(net.margin, -net.margin), slice(net.margin, -net.margin))
    with torch.no_grad():
        logits = net(image)
        assert logits.shape == (1, 2, 20, 20) and logits.std() > 0
        assert torch.allclose(overlap_tile(net, image, tile=tile)[inside], logits, atol=1e-5)


@pytest.mark.parametrize(
    "net, image, tile, message",
    [
        (UNet(2, width=2, depth=1, padding=1).eval(), (1, 3, 8, 8), 8, "this one pads: build it"),
        (UNet(2, width=2, depth=1), (1, 3, 8, 8), 8, "is in training mode: .* call net.eval"),
        (UNet(2, width=2, depth=1).eval(), (3, 8, 8), 8, r"this has shape \(3, 8, 8\)"),
        (UNet(2, width=2, depth=1).eval(), (1, 3, 0, 8), 8, r"this has shape \(1, 3, 0, 8\)"),
        (UNet(2, width=2, depth=3).eval(), (1, 3, 8, 8), 11, "tile=11 is too small .* 12 or more"),
    ],
)
def test_overlap_tile_refuses(net, image, tile, message):
    with pytest.raises(ValueError, match=message):
        overlap_tile(net, torch.zeros(image), tile=tile)


# ── the classroom's network ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("depth, size", [(1, (6, 10)), (2, (16, 24)), (4, (32, 48))])
def test_logits_are_as_large_as_the_image(depth, size):
    logits = UNet(5, width=4, depth=depth, padding=1)(torch.randn(2, 3, *size))
    assert logits.shape == (2, 5, *size)


def test_skips_cost_what_concatenation_adds():
    """Only the first convolution after each merge is wider: C more inputs for C outputs."""
    common = dict(width=12, depth=3, padding=1, batch_norm=True)
    concat, add, none = (parameters(8, skip=skip, **common) for skip in SKIPS)
    assert add == none
    assert concat - add == sum(9 * (12 * 2**level) ** 2 for level in range(3))


def test_the_skip_comes_first_in_the_concatenation_and_the_upsampled_features_second():
    torch.manual_seed(0)
    model, seen = UNet(2, width=4, depth=1, padding=1), {}
    up = model.decoder[0]
    up.upsample.register_forward_hook(lambda _, inputs, output: seen.update(up=output))
    up.merge.register_forward_pre_hook(lambda _, inputs: seen.update(merged=inputs[0]))
    image = torch.rand(1, 3, 16, 16)
    model(image)
    skip, _ = model.encode(image)
    assert torch.equal(seen["merged"], torch.cat([skip, seen["up"]], dim=1))
    assert not torch.equal(skip, seen["up"])


@pytest.mark.parametrize("skip", SKIPS)
def test_every_scale_reaches_the_logits_through_the_skips(skip):
    torch.manual_seed(0)
    model = UNet(2, width=4, depth=3, padding=1, skip=skip).eval()
    features = [f.detach().requires_grad_() for f in model.encode(torch.randn(1, 3, 16, 16))]
    model.encode = lambda image: features
    model(torch.empty(1, 3, 16, 16)).sum().backward()
    reached = [f.grad is not None and bool(f.grad.any()) for f in features]
    assert reached == ([False] * 3 + [True] if skip == "none" else [True] * 4)


@pytest.mark.parametrize(
    "padding, shape, rule",
    [
        (1, (1, 3, 100, 96), "multiples of 16 and more than 0, but this one is 100 x 96: pad or"),
        (0, (1, 3, 572, 570), "60 plus a multiple of 16 and more than 184, but this one is 572 x"),
        (0, (1, 3, 44, 44), "but this one is 44 x 44: pad or crop it, or use overlap_tile"),
        (0, (1, 3, 172, 172), "more than 184, but this one is 172 x 172"),
        (1, (3, 96, 96), r"shape \(3, 96, 96\): add the axis of the batch with image\[None\]"),
    ],
)
def test_awkward_sizes_are_refused_with_the_remedy(padding, shape, rule):
    with pytest.raises(ValueError, match=rule):
        UNet(2, width=4, padding=padding)(torch.zeros(shape))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_classes": 0}, "num_classes=0, .* all of them must be at least 1"),
        ({"width": -1}, "width=-1, .* all of them must be at least 1"),
        ({"depth": 0}, "depth=0\\) has nothing"),
        ({"padding": 2}, "padding=2\\) does not exist: 0 is the paper's"),
        ({"padding": "same"}, "padding='same'\\) does not exist"),
        ({"skip": "sum"}, "skip='sum'\\) does not exist: choose one of"),
    ],
)
def test_refuses_what_is_no_u_net(options, message):
    with pytest.raises(ValueError, match=message):
        UNet(**{"num_classes": 2, **options})


@pytest.mark.parametrize("options", [{"batch_norm": True}, {"batch_norm": False, "width": 16}])
def test_learns_to_copy_a_mask(options, overfit):
    torch.manual_seed(0)
    target = (torch.rand(2, 16, 16) > 0.5).long()
    image = target[:, None].float().repeat(1, 3, 1, 1)
    model = UNet(2, **{"width": 8, "depth": 2, "padding": 1, "dropout": 0.0, **options})
    overfit(model, lambda: F.cross_entropy(model(image), target))
    assert (model(image).argmax(dim=1) == target).float().mean() > 0.99
