"""What nearly every network is made of: a convolution, perhaps normalised, then a ReLU.

Weights start from a Gaussian of variance 2 / N, where N is the number of inputs of one output
(He, Zhang, Ren, Sun 2015, https://arxiv.org/abs/1502.01852): then a ReLU network neither fades nor
explodes with depth. Biases start at zero. Batch normalisation brings its own shift, so a
convolution in front of it has no bias.
"""

from math import gcd

from torch import Tensor, nn


def conv_relu(
    in_channels: int, out_channels: int, *, kernel_size: int = 3, padding: int | None = None
) -> nn.Sequential:
    """Convolution with bias, ReLU: (N, in_channels, H, W) -> (N, out_channels, H', W').

    The default padding keeps the size; ``padding=0`` removes ``kernel_size - 1`` rows and columns.
    """
    padding = kernel_size // 2 if padding is None else padding
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding)
    return nn.Sequential(kaiming_normal_(convolution), nn.ReLU(inplace=True))


def conv_bn(
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: int = 3,
    stride: int = 1,
    padding: int | None = None,
    dilation: int = 1,
) -> list[nn.Module]:
    """Convolution without bias, batch normalisation: (N, in, H, W) -> (N, out, H', W').

    A list of two layers, to be strung together with others. The default padding keeps the size at
    stride 1; at stride s, H' = ceil(H / s).
    """
    padding = dilation * (kernel_size // 2) if padding is None else padding
    convolution = nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        bias=False,
    )
    return [kaiming_normal_(convolution), nn.BatchNorm2d(out_channels)]


def conv_bn_relu(
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: int = 3,
    stride: int = 1,
    padding: int | None = None,
    dilation: int = 1,
) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU: (N, in, H, W) -> (N, out, H', W').

    Sizes as in :func:`conv_bn`.
    """
    layers = conv_bn(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def conv_gn_relu(
    in_channels: int, out_channels: int, *, groups: int, bias: bool = False
) -> nn.Sequential:
    """3 x 3 convolution, group normalisation, ReLU: (N, in, H, W) -> (N, out, H, W).

    Wu, He. "Group Normalization." ECCV 2018. https://arxiv.org/abs/1803.08494. It normalises every
    image by itself, so small batches do not disturb it. Fewer ``groups`` where they do not divide
    the channels.
    """
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=bias)
    norm = nn.GroupNorm(gcd(groups, out_channels), out_channels)
    return nn.Sequential(kaiming_normal_(convolution), norm, nn.ReLU(inplace=True))


def kaiming_normal_(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """Draw a layer's weights from N(0, 2 / N), set its bias to zero, return it.

    N is the number of inputs of one output. Every output of a transposed convolution whose kernel
    equals its stride has ``in_channels`` inputs; for other strides N is the mean over the outputs.
    (``nn.init.kaiming_normal_`` counts a transposed convolution's outputs instead.)
    """
    kernel = layer.kernel_size[0] * layer.kernel_size[1]
    inputs = layer.in_channels * kernel // layer.groups
    if isinstance(layer, nn.ConvTranspose2d):
        inputs = max(inputs // (layer.stride[0] * layer.stride[1]), 1)
    return normal_(layer, std=(2 / inputs) ** 0.5)


def normal_(layer: nn.Conv2d | nn.ConvTranspose2d, *, std: float = 0.01) -> nn.Module:
    """Draw a layer's weights from N(0, std^2), set its bias to zero, return it.

    With the default, a layer of scores starts near zero: no class is preferred.
    """
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def zero_init_(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """Set a layer's weights and its bias to zero, return it."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def center_crop(x: Tensor, height: int, width: int) -> Tensor:
    """The middle of a map: (..., H, W) -> (..., height, width), a view.

    Raises:
        ValueError: if the middle would be larger than the map, or not have a middle: an odd
            number of rows to remove leaves no centre.
    """
    rows, columns = x.shape[-2] - height, x.shape[-1] - width
    if min(rows, columns) < 0 or rows % 2 or columns % 2 or min(height, width) < 1:
        raise ValueError(
            f"a map of {x.shape[-2]} x {x.shape[-1]} has no centre of {height} x {width}: both "
            "differences must be even and not negative. Pad or crop the image so that it can be "
            "halved without a remainder."
        )
    top, left = rows // 2, columns // 2
    return x[..., top : top + height, left : left + width]
