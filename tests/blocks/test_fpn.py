"""Feature pyramid: the paper's parameters and shapes, torchvision's features with equal weights."""

import re

import pytest
import torch
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from segcourse.blocks.fpn import FPN

CHANNELS, STRIDES = [256, 512, 1024, 2048], [4, 8, 16, 32]


def test_parameters():
    with torch.device("meta"):
        assert sum(p.numel() for p in FPN(CHANNELS, strides=STRIDES).parameters()) == 3_344_384


def test_shapes_of_an_image_of_800_by_1088():
    with torch.device("meta"):
        stages = [torch.empty(1, c, 800 // s, 1088 // s)
                  for c, s in zip(CHANNELS, STRIDES, strict=True)]  # fmt: skip
        net = FPN(CHANNELS, strides=STRIDES)
        levels = net(stages)
    sizes = [(200, 272), (100, 136), (50, 68), (25, 34), (13, 17)]
    assert [tuple(level.shape) for level in levels] == [(1, 256, *size) for size in sizes]
    assert net.strides == [4, 8, 16, 32, 64]


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 96), (50, 70)])
def test_the_features_are_torchvisions(size):
    torch.manual_seed(0)
    channels = [4, 8, 16]
    theirs = FeaturePyramidNetwork(channels, 8, extra_blocks=LastLevelMaxPool())
    ours = FPN(channels, 8, strides=(4, 8, 16))
    names = (re.sub(r"(\d+)\.0\.", r"\1.", name) for name in theirs.state_dict())
    ours.load_state_dict(dict(zip(names, theirs.state_dict().values(), strict=True)))
    stages = [torch.randn(2, c, -(-size[0] // s), -(-size[1] // s))
              for c, s in zip(channels, (4, 8, 16), strict=True)]  # fmt: skip
    wanted = theirs({str(level): stage for level, stage in enumerate(stages)}).values()
    for got, want in zip(ours(stages), wanted, strict=True):
        assert torch.allclose(got, want, atol=1e-6)


def test_it_starts_as_torchvisions():
    theirs, ours = FeaturePyramidNetwork([64], 64), FPN([64], 64, strides=[4])
    pairs = (
        (ours.inner_blocks[0], theirs.inner_blocks[0][0]),
        (ours.layer_blocks[0], theirs.layer_blocks[0][0]),
    )
    for mine, reference in pairs:
        assert mine.weight.std().item() == pytest.approx(reference.weight.std().item(), rel=0.05)
        assert not mine.bias.any()


@pytest.mark.parametrize("channels", [[], [0, 4]])
def test_a_pyramid_of_nothing_is_refused(channels):
    with pytest.raises(ValueError, match="nothing to combine: give the channels"):
        FPN(channels, strides=[4] * len(channels))


def test_every_stage_needs_a_stride():
    with pytest.raises(ValueError, match=r"strides=\[4\]\): give every stage one stride"):
        FPN([8, 16], strides=[4])
