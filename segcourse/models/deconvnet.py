"""DeconvNet: the whole classifier, down to a vector, and then the same way back up.

Noh, Hong, Han. "Learning Deconvolution Network for Semantic Segmentation." ICCV 2015.
https://arxiv.org/abs/1505.04366; networks: https://github.com/HyeonwooNoh/DeconvNet

    side   channels                                                   channels
     224   image ─ 64 ─ pool ─────────── maxima ──────────→ unpool ─ 64, 64 ─ logits
     112     128 ─ pool ──────────────── maxima ────────→ unpool ─ 128, 64
      56       256 ─ pool ────────────── maxima ──────→ unpool ─ 256, 256, 128
      28         512 ─ pool ──────────── maxima ────→ unpool ─ 512, 512, 256
      14           512 ─ pool ────────── maxima ──→ unpool ─ 512, 512, 512
       7             └─ fc6 ──── fc7 ──── fc6-deconv ──┘
       1                 4096    4096

All that the decoder knows of the image is one vector of 4096 numbers, which can say what is there,
and the positions of the maxima, which say where. fc6 and its mirror hold four fifths of all
parameters.

A "deconvolution" is a transposed convolution. Those of the decoder have stride 1, and then it is
nothing but a convolution whose kernels are turned: ``as_convolution`` shows it. Only fc6-deconv
makes a larger map, 7 x 7 from one position; from there on maps grow by unpooling alone.

What differs from the paper:

- The paper segments 224 x 224 crops around up to 50 proposed objects and takes, class by class, the
  maximum over them; here the network segments the image at once. On images larger than 224 fc6
  slides, as in FCN, and fc6-deconv adds up what the positions draw.
- All layers start from He's initialisation, where the paper starts its encoder from VGG-16's
  ImageNet weights and its decoder from Gaussians of deviation 0.01; normalisation starts from a
  shift of 0 instead of 0.001.
- Evaluation normalises with the running averages of the training instead of statistics that a
  separate pass gathers.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from segcourse.blocks.conv import kaiming_normal_
from segcourse.blocks.unpooling import decode, encode
from segcourse.blocks.vgg import DEPTHS, VGG


class DeconvNet(nn.Module):
    """Score every class at every pixel: (N, 3, H, W) -> (N, num_classes, H, W) logits.

    fc6 needs a map at least as large as its kernel; five stages give ceil(H / 32) x ceil(W / 32)
    positions. If both sizes are equal, fc6 leaves one position for each image, and training needs
    N > 1: one number alone cannot be normalised.

    Args:
        num_classes: channels of the logits, background included.
        width: channels of the first stage; they double until eight times as many.
        fc_channels: channels of fc6 and fc7.
        kernel_size: side of fc6, and of its mirror.
        depths: how many convolutions each stage has, of the encoder and of the decoder.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: int = 64,
        fc_channels: int = 4096,
        kernel_size: int = 7,
        depths: Sequence[int] = DEPTHS,
    ):
        super().__init__()
        if min(num_classes, fc_channels, kernel_size) < 1:
            raise ValueError(
                f"DeconvNet(num_classes={num_classes}, fc_channels={fc_channels}, "
                f"kernel_size={kernel_size}) has a layer without channels or kernel: all of them "
                "must be at least 1."
            )
        vgg = VGG(width=width, depths=depths, batch_norm=True, ceil_mode=True)
        deepest = vgg.channels[-1]
        self.kernel_size, self.stride = kernel_size, 2 ** len(depths)
        self.encoder = vgg.stages
        self.fully_connected = nn.Sequential(
            _bn_relu(nn.Conv2d(deepest, fc_channels, kernel_size)),
            _bn_relu(nn.Conv2d(fc_channels, fc_channels, kernel_size=1)),
            _bn_relu(nn.ConvTranspose2d(fc_channels, deepest, kernel_size)),
        )
        steps = zip(pairwise([*reversed(vgg.channels), width]), reversed(depths), strict=True)
        self.decoder = nn.ModuleList(deconv_stage(a, b, depth) for (a, b), depth in steps)
        self.head = kaiming_normal_(nn.Conv2d(width, num_classes, kernel_size=1))
        self.to(memory_format=torch.channels_last)  # faster on a CPU

    def forward(self, image: Tensor) -> Tensor:
        x, maxima = encode(self.encoder, image)
        self._check_size(x, image)
        return self.head(decode(self.decoder, self.fully_connected(x), maxima))

    def all_logits(self, image: Tensor) -> list[Tensor]:
        """The logits that the loss uses: -> list of one (N, K, H, W)."""
        return [self(image)]

    def _check_size(self, x: Tensor, image: Tensor) -> None:
        """Refuse an image whose map is smaller than the kernel of fc6."""
        if min(x.shape[-2:]) < self.kernel_size:
            height, width = image.shape[-2:]
            smallest = self.stride * (self.kernel_size - 1) + 1
            raise ValueError(
                f"DeconvNet(kernel_size={self.kernel_size}) takes images whose sides are at least "
                f"{smallest}, and is made for {self.stride * self.kernel_size}, but this one is "
                f"{height} x {width}: resize it, or build the network with a smaller kernel."
            )


def _bn_relu(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    """A layer with bias, batch normalisation, ReLU: what the layer makes of sizes and channels."""
    return nn.Sequential(
        kaiming_normal_(layer), nn.BatchNorm2d(layer.out_channels), nn.ReLU(inplace=True)
    )


def deconv_stage(in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    """``depth`` transposed convolutions: (N, in_channels, H, W) -> (N, out_channels, H, W).

    The last of them changes the number of channels.
    """
    steps = pairwise([in_channels] * depth + [out_channels])
    return nn.Sequential(
        *(_bn_relu(nn.ConvTranspose2d(a, b, kernel_size=3, padding=1)) for a, b in steps)
    )


def as_convolution(layer: nn.ConvTranspose2d) -> nn.Conv2d:
    """The convolution that equals a transposed one: both take (N, C, H, W) to (N, C', H', W').

    Spreading every input over a k x k window is the same as gathering every output from one: the
    kernel is turned by half a turn, its two axes of channels change places, and p rows of padding
    become k - 1 - p. The new layer has weights of its own.

    Raises:
        ValueError: if the stride is not 1, or the layer is dilated or grouped.
    """
    if layer.stride != (1, 1) or layer.dilation != (1, 1) or layer.groups != 1:
        raise ValueError(
            f"as_convolution takes transposed convolutions of stride 1, without dilation and "
            f"groups, but this one has stride {layer.stride}, dilation {layer.dilation} and "
            f"{layer.groups} groups: a larger stride puts zeros between the inputs first."
        )
    padding = [k - 1 - p for k, p in zip(layer.kernel_size, layer.padding, strict=True)]
    convolution = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        padding=padding,
        bias=layer.bias is not None,
    )
    with torch.no_grad():
        convolution.weight.copy_(layer.weight.transpose(0, 1).flip(-2, -1))
        if layer.bias is not None:
            convolution.bias.copy_(layer.bias)
    return convolution
