"""U-Net: an encoder, a decoder, and a skip connection between them at every scale.

Ronneberger, Fischer, Brox. "U-Net: Convolutional Networks for Biomedical Image Segmentation."
MICCAI 2015. https://arxiv.org/abs/1505.04597

    channels                                                         stride
          64   image ── ● ───────────── skip ─────────────→ ● ── logits   1
         128            └─ ● ────────── skip ──────────→ ● ─┘             2
         256               └─ ● ─────── skip ───────→ ● ─┘                4
         512                  └─ ● ──── skip ────→ ● ─┘                   8
        1024                     └────── ● ────────┘                     16

The defaults build the paper's network: unpadded convolutions with biases and without batch
normalisation, so that a tile of 572 x 572 gives logits of 388 x 388, and dropout at the end of
the contracting path. ``overlap_tile`` segments images of any size with it. The classroom's is

    UNet(num_classes, width=12, depth=3, padding=1, batch_norm=True)

One thing is ours: the paper does not say how much it drops; ``dropout`` is 0.5.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise, product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.conv import center_crop, conv_bn_relu, conv_relu, kaiming_normal_
from segcourse.ops.borders import reflect_pad

_Layer = Callable[[int, int], nn.Module]
SKIPS = ("concat", "add", "none")


class DoubleConv(nn.Sequential):
    """Two 3 x 3 convolutions: (N, in_channels, H, W) -> (N, out_channels, H', W').

    H' and W' equal H and W if ``layer`` pads, and are 4 smaller if it does not.
    """

    def __init__(self, in_channels: int, out_channels: int, layer: _Layer):
        super().__init__(layer(in_channels, out_channels), layer(out_channels, out_channels))


class UpBlock(nn.Module):
    """Double the resolution, then merge in the encoder's features of that scale.

    Coarse features (N, 2C, h, w) and a skip (N, C, H, W) with H >= 2h, W >= 2w give (N, C, 2h, 2w),
    or 4 less if ``layer`` does not pad.
    """

    def __init__(self, channels: int, layer: _Layer, skip: str):
        super().__init__()
        self.skip = skip
        self.upsample = kaiming_normal_(
            nn.ConvTranspose2d(2 * channels, channels, kernel_size=2, stride=2)
        )
        self.merge = DoubleConv(2 * channels if skip == "concat" else channels, channels, layer)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.upsample(x)
        skip = center_crop(skip, *x.shape[-2:])  # removes nothing when the convolutions are padded
        if self.skip == "concat":
            x = torch.cat([skip, x], dim=1)
        elif self.skip == "add":
            x = skip + x
        return self.merge(x)


class UNet(nn.Module):
    """Score every class at every pixel: (N, in_channels, H, W) -> (N, num_classes, H', W') logits.

    H' = H and W' = W with ``padding=1``; each is ``2 * margin`` smaller with ``padding=0``.

    Args:
        num_classes: channels of the logits, background included.
        in_channels: channels of the image.
        width: channels at stride 1; each halving of the resolution doubles them.
        depth: how often the resolution is halved.
        padding: 0 is the paper's network, 1 keeps the size of the image.
        batch_norm: normalise between every 3 x 3 convolution and its ReLU; not in the paper.
        dropout: share of the deepest features that training sets to zero.
        skip: how the decoder takes the encoder's features in: "concat" is the paper's, "add" is
            FCN's, "none" leaves them out.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        width: int = 64,
        depth: int = 4,
        padding: int = 0,
        batch_norm: bool = False,
        dropout: float = 0.5,
        skip: str = "concat",
    ):
        super().__init__()
        _check_arguments(num_classes, in_channels, width, depth, padding, skip)
        self.depth, self.padding = depth, padding
        layer = partial(conv_bn_relu if batch_norm else conv_relu, kernel_size=3, padding=padding)
        widths = [width * 2**level for level in range(depth + 1)]  # 64, 128, 256, 512, 1024
        steps = pairwise([in_channels, *widths])  # (3, 64), (64, 128), ...
        self.encoder = nn.ModuleList(DoubleConv(a, b, layer) for a, b in steps)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.ModuleList(UpBlock(c, layer, skip) for c in reversed(widths[:-1]))
        self.head = kaiming_normal_(nn.Conv2d(width, num_classes, kernel_size=1))
        self.to(memory_format=torch.channels_last)  # a quarter faster on a CPU

    @property
    def margin(self) -> int:
        """Pixels on each side of an image for which there are no logits: 92 in the paper."""
        return 0 if self.padding else 6 * 2**self.depth - 4

    def forward(self, image: Tensor) -> Tensor:
        *skips, x = self.encode(image)
        x = self.dropout(x)
        for up, skip in zip(self.decoder, reversed(skips), strict=True):
            x = up(x, skip)
        return self.head(x)

    def all_logits(self, image: Tensor) -> list[Tensor]:
        """The logits that the loss uses: -> list of one (N, K, H, W)."""
        return [self(image)]

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features at strides 1, 2, 4, ..., ``2**depth``, finest first."""
        self._check_image(image)
        features = [self.encoder[0](image)]
        for block in self.encoder[1:]:
            features.append(block(F.max_pool2d(features[-1], kernel_size=2)))
        return features

    def _check_image(self, image: Tensor) -> None:
        """Refuse what is no batch, and sides that cannot be halved without a remainder."""
        if image.ndim != 4:
            raise ValueError(
                f"UNet takes images (N, C, H, W), but this has shape {tuple(image.shape)}: add the "
                "axis of the batch with image[None]."
            )
        height, width = image.shape[-2:]
        stride = 2**self.depth
        trimmed = 0 if self.padding else 4 * (stride - 1)  # by the convolutions on the way down
        smallest = 2 * self.margin
        sides = (height - trimmed, width - trimmed)
        if min(height, width) <= smallest or any(side % stride for side in sides):
            rule = f"{trimmed} plus a multiple" if trimmed else "multiples"
            raise ValueError(
                f"UNet(depth={self.depth}, padding={self.padding}) takes images whose sides are "
                f"{rule} of {stride} and more than {smallest}, but this one is {height} x {width}: "
                "pad or crop it" + ("." if self.padding else ", or use overlap_tile.")
            )


@torch.no_grad()
def overlap_tile(net: UNet, image: Tensor, *, tile: int = 388) -> Tensor:
    """Logits of images of any size from an unpadded U-Net: (N, C, H, W) -> (N, K, H, W).

    Each tile of ``tile`` x ``tile`` logits is computed from the ``margin`` pixels around it too;
    beyond the border of the image they are mirrored (section 2 and figure 2 of the paper). Tiles
    follow each other at a multiple of ``2**depth`` pixels. So all of them pool the same pixels
    together, and the result is that of one pass over the whole mirrored image.

    Args:
        net: in evaluation mode, built with ``padding=0``.
        tile: largest side of the logits of one tile; the memory grows with its square. It is
            rounded down to a possible one.

    Raises:
        ValueError: if the network pads or is training, or the tile is too small.
    """
    if net.padding or net.training:
        state = "pads" if net.padding else "is in training mode"
        raise ValueError(
            f"overlap_tile needs an unpadded network in evaluation mode, but this one {state}: "
            "build it with padding=0 and call net.eval()."
        )
    if image.ndim != 4 or 0 in image.shape:
        raise ValueError(
            f"overlap_tile takes images (N, C, H, W), but this has shape {tuple(image.shape)}."
        )
    stride = 2**net.depth
    smallest = 4  # logits of the smallest image: 4 x 4, whatever the depth
    if tile < stride + smallest:
        raise ValueError(
            f"tile={tile} is too small for depth={net.depth}: it must be {stride + smallest} or "
            "more, so that neighbouring tiles meet."
        )
    step = (tile - smallest) // stride * stride  # 388 -> 384
    side = step + smallest + 2 * net.margin  # 388 -> 572
    height, width = image.shape[-2:]
    rows, columns = (range(0, length, step) for length in (height, width))
    surrounded = reflect_pad(image, net.margin, rows[-1] + side, columns[-1] + side)
    logits: Tensor | None = None
    for row, column in product(rows, columns):
        scores = net(surrounded[..., row : row + side, column : column + side])
        if logits is None:
            logits = scores.new_empty(*scores.shape[:2], height, width)
        target = logits[..., row : row + step, column : column + step]
        target.copy_(scores[..., : target.shape[-2], : target.shape[-1]])
    return logits


def _check_arguments(
    num_classes: int, in_channels: int, width: int, depth: int, padding: int, skip: str
) -> None:
    """Refuse what would build no U-Net."""
    if min(num_classes, in_channels, width, depth) < 1:
        raise ValueError(
            f"UNet(num_classes={num_classes}, in_channels={in_channels}, width={width}, "
            f"depth={depth}) has nothing to compute with: all of them must be at least 1."
        )
    if padding not in (0, 1):
        raise ValueError(
            f"UNet(padding={padding!r}) does not exist: 0 is the paper's unpadded network, 1 "
            "keeps the size of the image."
        )
    if skip not in SKIPS:
        raise ValueError(f"UNet(skip={skip!r}) does not exist: choose one of {SKIPS}.")
