"""RefineNet: climb back up a ResNet, and let every finer stage refine what the coarser ones found.

Lin, Milan, Shen, Reid. "RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic
Segmentation." CVPR 2017. https://arxiv.org/abs/1611.06612; https://github.com/guosheng/refinenet

    ResNet's stages       1         2         3         4
    stride                4         8        16        32
                          │         │         │         │
    blocks                ● ←────── ● ←────── ● ←────── ●       512 channels, then 256
                          └─→ scores, upsampled four times

    a block    stage ─ adapt ─ 2 units ─ 3 x 3 ───────────── + ─ chained pooling ─ units ─→
               coarser block ─────────── 3 x 3 ─ upsample ───┘

Nothing is dilated, so the deep features stay small: the memory that DeepLab spends on them is
spent on fine ones. Additions all the way carry gradients to every stage.

The defaults build the paper's network on ResNet-101. Its text and its released code differ in
depth, see ``LAYOUTS``. The classroom's is

    RefineNet(num_classes, layers=18, width=16, channels=16, batch_norm=True, dropout=0.0,
              image_scale=2.0)

Three things differ from the paper:

- Maps are upsampled bilinearly; the released code upsamples them bicubically.
- The backbone starts from He's initialisation and its normalisations learn; the paper starts from
  ImageNet weights and keeps their means and variances.
- ``batch_norm=True`` normalises the paths, never the units. From nothing, at the learning rates of
  a classroom, the decoder does not train without: from the paper's Gaussian its signal fades, from
  He's, which suits plain chains, additions let it explode.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.conv import normal_
from segcourse.blocks.resnet import ResNet
from segcourse.blocks.upsample import resize


class Layout(NamedTuple):
    """What the paper's text and its released code build differently."""

    pools: int  # steps of the chained pooling
    units: int  # residual units at the end of every block
    final_units: int  # and before the scores
    pool_first: bool  # pool, then convolve; or the other way round


LAYOUTS = {
    "paper": Layout(pools=2, units=1, final_units=2, pool_first=True),  # as usually understood
    "released": Layout(pools=4, units=3, final_units=0, pool_first=False),
}


class ResidualUnit(nn.Module):
    """Two convolutions add something to their input: (N, C, H, W) -> (N, C, H, W).

    A ResNet's block without batch normalisation and with its ReLUs in front.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),  # not in place: x is still to be added
            _conv3x3(channels, channels, bias=True),
            nn.ReLU(inplace=True),
            _conv3x3(channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class ChainedPooling(nn.Module):
    """Add context from ever wider windows: (N, C, H, W) -> (N, C, H, W).

    Every step pools what the previous step made of its pooling. So two windows of 5 x 5 see 9 x 9
    pixels, four see 17 x 17.
    """

    def __init__(self, channels: int, pools: int, *, pool_first: bool = True):
        super().__init__()
        self.steps = nn.ModuleList()
        for _ in range(pools):
            step = [nn.MaxPool2d(5, stride=1, padding=2), _conv3x3(channels, channels)]
            self.steps.append(nn.Sequential(*(step if pool_first else reversed(step))))

    def forward(self, x: Tensor) -> Tensor:
        total = x = F.relu(x)
        for step in self.steps:
            x = step(x)
            total = total + x
        return total


class RefineBlock(nn.Module):
    """Refine a coarse map with a stage: (N, in, H, W), (N, coarse, h, w) -> (N, channels, H, W).

    The deepest block has ``coarse_channels=0`` and gets no coarse map.

    Args:
        in_channels: of the backbone's stage.
        channels: of everything inside.
        coarse_channels: of the coarser block's output.
        layout: "paper" or "released".
        batch_norm: normalise after the convolutions that adapt and fuse.
        dropout: share of the stage's features that training sets to zero.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        coarse_channels: int,
        layout: str,
        batch_norm: bool,
        dropout: float,
    ):
        super().__init__()
        pools, units, _, pool_first = LAYOUTS[layout]
        self.adapt = nn.Sequential(
            nn.Dropout(dropout),
            *_path(in_channels, channels, batch_norm),
            *_residual_units(channels, 2),
        )
        if coarse_channels:
            self.fuse_stage = nn.Sequential(*_path(channels, channels, batch_norm))
            self.fuse_coarse = nn.Sequential(*_path(coarse_channels, channels, batch_norm))
        self.pooling = ChainedPooling(channels, pools, pool_first=pool_first)
        self.output = nn.Sequential(*_residual_units(channels, units))

    def forward(self, stage: Tensor, coarse: Tensor | None = None) -> Tensor:
        x = self.adapt(stage)
        if coarse is not None:
            x = self.fuse_stage(x) + resize(self.fuse_coarse(coarse), x.shape[-2:])
        return self.output(self.pooling(x))


class RefineNet(nn.Module):
    """Score every class at every pixel: (N, 3, H, W) -> (N, num_classes, H, W) logits.

    Args:
        num_classes: channels of the logits, background included.
        layers: of the ResNet: 18, 34, 50, 101 or 152.
        width: channels of the ResNet's first stage; 64 in the paper.
        channels: of the three finer blocks; the deepest has twice as many.
        layout: "paper" or "released", see ``LAYOUTS``.
        batch_norm: normalise after the convolutions that adapt and fuse the paths; not in the
            paper.
        dropout: share of the features set to zero: of the two deepest stages and before the scores.
        image_scale: upsample the image first, so that stride 4 is that of a smaller object; the
            released code trains with 1.2.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        layers: int = 101,
        width: int = 64,
        channels: int = 256,
        layout: str = "paper",
        batch_norm: bool = False,
        dropout: float = 0.5,
        image_scale: float = 1.0,
    ):
        super().__init__()
        _check_arguments(num_classes, channels, layout, image_scale)
        self.image_scale = image_scale
        self.backbone = ResNet(layers, width=width)
        _, *stages = self.backbone.channels
        widths = [2 * channels, channels, channels, channels]
        shares = [dropout, dropout, 0.0, 0.0]
        self.blocks = nn.ModuleList(  # coarse to fine
            RefineBlock(
                in_channels,
                own,
                coarse_channels=coarse,
                layout=layout,
                batch_norm=batch_norm,
                dropout=share,
            )
            for in_channels, own, coarse, share in zip(
                reversed(stages), widths, [0, *widths], shares, strict=False
            )
        )
        self.head = nn.Sequential(
            *_residual_units(channels, LAYOUTS[layout].final_units),
            nn.Dropout(dropout),
            _conv3x3(channels, num_classes, bias=True),
        )
        if width >= 16:  # PyTorch 2.15 crashes in this format if a strided 1 x 1 layer has fewer
            self.to(memory_format=torch.channels_last)  # a third faster on a CPU

    def forward(self, image: Tensor) -> Tensor:
        *_, finest = self.refined_features(image)
        return resize(self.head(finest), image.shape[-2:])

    def all_logits(self, image: Tensor) -> list[Tensor]:
        """The logits that the loss uses: -> list of one (N, K, H, W)."""
        return [self(image)]

    def refined_features(self, image: Tensor) -> list[Tensor]:
        """What every block makes of the image, coarse to fine: strides 32, 16, 8 and 4.

        Raises:
            ValueError: if ``image`` is not a batch of images.
        """
        if image.ndim != 4:
            raise ValueError(
                f"RefineNet takes images (N, 3, H, W), but this has shape {tuple(image.shape)}: "
                "add the axis of the batch with image[None]."
            )
        if self.image_scale != 1:
            image = resize(image, [round(self.image_scale * side) for side in image.shape[-2:]])
        _, *stages = self.backbone(image)
        refined, x = [], None
        for block, stage in zip(self.blocks, reversed(stages), strict=True):
            x = block(stage, x)
            refined.append(x)
        return refined


def _conv3x3(in_channels: int, out_channels: int, *, bias: bool = False) -> nn.Module:
    """The paper's only kind of layer, drawn from its Gaussian: (N, in, H, W) -> (N, out, H, W)."""
    return normal_(nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=bias))


def _path(in_channels: int, out_channels: int, batch_norm: bool) -> list[nn.Module]:
    """A convolution that brings a path to its number of channels, perhaps normalised."""
    convolution = _conv3x3(in_channels, out_channels)
    return [convolution, nn.BatchNorm2d(out_channels)] if batch_norm else [convolution]


def _residual_units(channels: int, number: int) -> list[ResidualUnit]:
    """``number`` units, one after the other."""
    return [ResidualUnit(channels) for _ in range(number)]


def _check_arguments(num_classes: int, channels: int, layout: str, image_scale: float) -> None:
    """Refuse what would build no RefineNet."""
    if min(num_classes, channels) < 1:
        raise ValueError(
            f"RefineNet(num_classes={num_classes}, channels={channels}) has nothing to compute "
            "with: both must be at least 1."
        )
    if layout not in LAYOUTS:
        raise ValueError(
            f"RefineNet(layout={layout!r}) does not exist: choose one of {sorted(LAYOUTS)}."
        )
    if image_scale <= 0:
        raise ValueError(
            f"RefineNet(image_scale={image_scale}) leaves no image: choose a factor above 0, 1 to "
            "keep its size."
        )
