"""SegNet: a decoder that remembers *where* each maximum was, instead of *what* the features were.

Badrinarayanan, Kendall, Cipolla. "SegNet: A Deep Convolutional Encoder-Decoder Architecture for
Image Segmentation." TPAMI 2017. https://arxiv.org/abs/1511.00561
Networks: https://github.com/alexgkendall/SegNet-Tutorial

    channels                                                            stride
    image ─ 64 ─ pool ─────────────── indices ─────────────→ unpool ─ 64 ─ logits   1
             128 ─ pool ───────────── indices ───────────→ unpool ─ 128, 64         2
               256 ─ pool ─────────── indices ─────────→ unpool ─ 256, 256, 128     4
                 512 ─ pool ───────── indices ───────→ unpool ─ 512, 512, 256       8
                   512 ─ pool ─────── indices ─────→ unpool ─ 512, 512, 512        16
                           └────── 512 channels ──────┘                            32

Of every four values one survives, and two bits say which; U-Net keeps all four and concatenates
them. (PyTorch spends 64 bits on an index.) So an unpooled map is three quarters zeros, which the
convolutions of the decoder fill. There are no fully connected layers: ``SegNet`` has an eighth of
the parameters of DeconvNet, whose decoder differs in its last two layers only.

``SegNetBasic`` is the authors' small network: stages of one 7 x 7 convolution each, and a decoder
without a single ReLU.

What differs from the released networks:

- Convolutions start from He's initialisation, those of the encoder too, where the release starts
  from VGG-16's ImageNet weights. Normalisation starts from a shift of 0 instead of 0.001.
- Evaluation normalises with the running averages of the training instead of statistics that a
  separate pass over all training images gathers.
- ``SegNetBasic`` takes images in [0, 1] instead of 0 to 255, and adapts its first layer to that.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from segcourse.blocks.conv import kaiming_normal_
from segcourse.blocks.unpooling import decode, encode
from segcourse.blocks.vgg import DEPTHS, VGG, vgg_stage


class SegNet(nn.Module):
    """Score every class at every pixel: (N, 3, H, W) -> (N, num_classes, H, W) logits.

    Images can have any size: pooling rounds up, and unpooling restores the stored size.

    Args:
        num_classes: channels of the logits, background included.
        width: channels of the first stage; they double until eight times as many.
        depths: how many convolutions each stage of the encoder has. The decoder has as many, the
            last of which gives the logits.
    """

    def __init__(self, num_classes: int, *, width: int = 64, depths: Sequence[int] = DEPTHS):
        super().__init__()
        _check_classes("SegNet", num_classes)
        vgg = VGG(width=width, depths=depths, batch_norm=True)
        self.encoder = vgg.stages
        steps = zip(pairwise(reversed(vgg.channels)), reversed(depths[1:]), strict=True)
        self.decoder = nn.ModuleList(mirrored(a, b, depth) for (a, b), depth in steps)
        self.decoder.append(vgg_stage(width, width, depths[0] - 1, batch_norm=True))
        self.head = kaiming_normal_(nn.Conv2d(width, num_classes, kernel_size=3, padding=1))
        self.to(memory_format=torch.channels_last)  # faster on a CPU

    def forward(self, image: Tensor) -> Tensor:
        x, maxima = encode(self.encoder, image)
        return self.head(decode(self.decoder, x, maxima))

    def all_logits(self, image: Tensor) -> list[Tensor]:
        """The logits that the loss uses: -> list of one (N, K, H, W)."""
        return [self(image)]


def mirrored(in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    """A VGG stage the other way round: (N, in_channels, H, W) -> (N, out_channels, H, W).

    Only the last of its ``depth`` convolutions changes the number of channels, as only the first
    one of the encoder's stage does.
    """
    return nn.Sequential(
        *vgg_stage(in_channels, in_channels, depth - 1, batch_norm=True),
        *vgg_stage(in_channels, out_channels, 1, batch_norm=True),
    )


class SegNetBasic(nn.Module):
    """Score every class at every pixel: (N, 3, H, W) in [0, 1] -> (N, num_classes, H, W) logits.

    Before anything else, colours are divided by a measure of their brightness (local response
    normalisation), so that shadows differ less from light. Images can have any size.

    Args:
        num_classes: channels of the logits, background included.
        width: channels of all features.
        depth: how often the resolution is halved.
        kernel_size: side of all convolutions but the last one's; odd.
    """

    def __init__(self, num_classes: int, *, width: int = 64, depth: int = 4, kernel_size: int = 7):
        super().__init__()
        _check_classes("SegNetBasic", num_classes)
        if min(width, depth) < 1 or kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                f"SegNetBasic(width={width}, depth={depth}, kernel_size={kernel_size}) cannot be "
                "built: width and depth must be at least 1, and the kernel needs an odd side."
            )
        # The authors' pixel values are 255 times larger, their squares 255 ** 2 times.
        self.norm = nn.LocalResponseNorm(size=5, alpha=1e-4 * 255**2, beta=0.75)
        inputs = [3] + [width] * (depth - 1)
        self.encoder = nn.ModuleList(
            nn.Sequential(*_conv_bias_bn(before, width, kernel_size), nn.ReLU(inplace=True))
            for before in inputs
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(*_conv_bias_bn(width, width, kernel_size)) for _ in range(depth)
        )
        self.head = kaiming_normal_(nn.Conv2d(width, num_classes, kernel_size=1))
        self.to(memory_format=torch.channels_last)  # faster on a CPU

    def forward(self, image: Tensor) -> Tensor:
        wide = image if image.dtype == torch.float64 else image.float()  # PyTorch's layer needs it
        x, maxima = encode(self.encoder, self.norm(wide).to(image.dtype))
        return self.head(decode(self.decoder, x, maxima))

    def all_logits(self, image: Tensor) -> list[Tensor]:
        """The logits that the loss uses: -> list of one (N, K, H, W)."""
        return [self(image)]


def _conv_bias_bn(in_channels: int, out_channels: int, kernel_size: int) -> list[nn.Module]:
    """Convolution, batch normalisation: (N, in_channels, H, W) -> (N, out_channels, H, W).

    The bias, which normalisation makes superfluous, is the release's.
    """
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    return [kaiming_normal_(convolution), nn.BatchNorm2d(out_channels)]


def _check_classes(name: str, num_classes: int) -> None:
    """Refuse a network that scores nothing."""
    if num_classes < 1:
        raise ValueError(
            f"{name}(num_classes={num_classes}) has nothing to score: give it at least 1 class."
        )
