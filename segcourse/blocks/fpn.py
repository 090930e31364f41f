"""Feature pyramid: the meaning of the deep stages at the resolution of the shallow ones.

Lin, Dollár, Girshick, He, Hariharan, Belongie. "Feature Pyramid Networks for Object Detection."
CVPR 2017. https://arxiv.org/abs/1612.03144

    stage   stride              pyramid
      4       32   ─ 1 x 1 ─── + ─── 3 x 3 ─→ P5 ── every second ─→ P6   (stride 64)
      3       16   ─ 1 x 1 ─── + ─── 3 x 3 ─→ P4
      2        8   ─ 1 x 1 ─── + ─── 3 x 3 ─→ P3        each sum: the one above, upsampled
      1        4   ─ 1 x 1 ─── + ─── 3 x 3 ─→ P2        by repeating values

All levels have as many channels, so that one head can be applied to each of them.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class FPN(nn.Module):
    """Maps of all stages, finest first -> as many of ``channels``, and one of twice the stride.

    ``strides`` lists the strides of what comes out.

    Args:
        in_channels: of the stages, finest first.
        channels: of every level; 256 in the paper.
        strides: of the stages, finest first.

    Raises:
        ValueError: if there is no stage, or not one stride for each.
    """

    def __init__(self, in_channels: Sequence[int], channels: int = 256, *, strides: Sequence[int]):
        super().__init__()
        if not in_channels or min(*in_channels, channels, 1) < 1:
            raise ValueError(
                f"FPN(in_channels={list(in_channels)}, channels={channels}) has nothing to "
                "combine: give the channels of at least one stage, all of them at least 1."
            )
        if len(strides) != len(in_channels) or min(strides) < 1:
            raise ValueError(
                f"FPN(in_channels={list(in_channels)}, strides={list(strides)}): give every stage "
                "one stride of at least 1."
            )
        self.strides = [*strides, 2 * strides[-1]]
        self.inner_blocks = nn.ModuleList(
            _kaiming_uniform_(nn.Conv2d(own, channels, kernel_size=1)) for own in in_channels
        )
        self.layer_blocks = nn.ModuleList(
            _kaiming_uniform_(nn.Conv2d(channels, channels, kernel_size=3, padding=1))
            for _ in in_channels
        )

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        sums = [block(stage) for block, stage in zip(self.inner_blocks, stages, strict=True)]
        for level in reversed(range(len(sums) - 1)):
            coarser = F.interpolate(sums[level + 1], size=sums[level].shape[-2:], mode="nearest")
            sums[level] = sums[level] + coarser
        levels = [block(each) for block, each in zip(self.layer_blocks, sums, strict=True)]
        return [*levels, F.max_pool2d(levels[-1], kernel_size=1, stride=2)]


def _kaiming_uniform_(layer: nn.Conv2d) -> nn.Conv2d:
    """Draw weights of variance 1 / N for N inputs of an output, as no ReLU follows; returns it."""
    nn.init.kaiming_uniform_(layer.weight, a=1)
    nn.init.zeros_(layer.bias)
    return layer
