"""Upsampling maps bilinearly: as a transposed convolution that could learn, and as a function.

Long, Shelhamer, Darrell. "Fully Convolutional Networks for Semantic Segmentation." CVPR 2015,
section 3.3. https://arxiv.org/abs/1411.4038

Every input pixel adds a triangle of weights, twice as wide as the factor, on a grid ``factor``
times finer; where two triangles overlap, their weights add up to one. For factor 2, along one axis:

    input      a                 b
    weights    ¼a  ¾a  ¾a  ¼a
                       ¼b  ¾b  ¾b  ¼b
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def bilinear_kernel(size: int) -> Tensor:
    """The weights of a bilinear transposed convolution: -> (size, size), largest in the middle.

    It upsamples by ``(size + 1) // 2``: sizes 3 and 4 by two, 63 and 64 by thirty-two.

    Raises:
        ValueError: if the size is not positive.
    """
    if size < 1:
        raise ValueError(f"a kernel of size {size} has no pixels: choose a size of at least 1.")
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5  # on a pixel, or between two
    weights = 1 - (torch.arange(size) - center).abs() / factor
    return weights[:, None] * weights[None, :]


def bilinear_upsample(channels: int, factor: int, *, padding: int = 0) -> nn.ConvTranspose2d:
    """Upsample each channel bilinearly, without learning: (N, C, H, W) -> (N, C, fH + r, fW + r).

    The rim is r = f - 2 * padding pixels for an even factor f. With ``padding=f // 2`` there is
    none and the result equals ``F.interpolate(x, scale_factor=f, mode="bilinear")`` wherever no
    kernel reaches over the border: there the layer sees zeros, ``interpolate`` the last pixel.

    The weights are those of a full (C, C) layer of which only the diagonal is not zero, as in
    FCN's released networks, and do not ask for a gradient; ``requires_grad_()`` lets them learn.

    Raises:
        ValueError: if there are no channels, or nothing to upsample.
    """
    if channels < 1 or factor < 1 or padding < 0:
        raise ValueError(
            f"bilinear_upsample(channels={channels}, factor={factor}, padding={padding}) is no "
            "layer: give at least one channel, a factor of at least 1 and no negative padding."
        )
    size = 2 * factor - factor % 2
    layer = nn.ConvTranspose2d(channels, channels, size, factor, padding, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[range(channels), range(channels)] = bilinear_kernel(size)
    return layer.requires_grad_(False)


def resize(x: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Bilinear interpolation to ``size`` = (height, width): (N, C, h, w) -> (N, C, height, width).

    Two conventions exist, and equal weights give different logits in them. ``align_corners=False``
    (torchvision) lets pixels be squares and lays the borders of both maps over each other;
    ``align_corners=True`` (Caffe, TensorFlow's DeepLab) lets them be points and lays the centres
    of the corner pixels over each other: it suits sides of the form 8n + 1.
    """
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=align_corners)
