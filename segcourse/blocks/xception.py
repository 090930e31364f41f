"""Xception: every 3 x 3 convolution split into one that looks around and one that mixes channels.

Chollet. "Xception: Deep Learning with Depthwise Separable Convolutions." CVPR 2017.
https://arxiv.org/abs/1610.02357
Chen, Zhu, Papandreou, Schroff, Adam. "Encoder-Decoder with Atrous Separable Convolution for
Semantic Image Segmentation." ECCV 2018. https://arxiv.org/abs/1802.02611, which makes it deeper,
replaces its poolings by strides and normalises twice; that is the network built here.

    3 x 3, C → D             depthwise: 3 x 3 in each channel        pointwise: 1 x 1, C → D
    9 · C · D weights   ≈    9 · C weights                      +    C · D weights

    flow          entry          middle    exit
    blocks        1    2    3    16 x      1          2
    channels    128  256  728   728     1024       2048
    stride        4    8   16    16       32         32       output_stride=16: exit stays at 16

A block is three separable convolutions beside a shortcut; the third one strides. Segmenters want
the features just before the resolution is halved, so a block hands out both its inner features,
two convolutions deep, and its result. Once the output stride is reached, the blocks that follow a
stride taken away are dilated instead; the block that lost it keeps its dilation.

Differs from the paper: the classifier is left out, and weights start from He's initialisation.
"""

from torch import Tensor, nn

from segcourse.blocks.conv import conv_bn, conv_bn_relu, kaiming_normal_

# layers: (channels and stride of the blocks of the entry flow, number of blocks of the middle flow)
_LAYOUTS = {
    41: (((128, 2), (256, 2), (728, 2)), 8),
    65: (((128, 2), (256, 2), (728, 2)), 16),
    71: (((128, 2), (256, 1), (256, 2), (728, 1), (728, 2)), 16),
}
_EXIT = ((728, 1024, 1024), (1536, 1536, 2048))
_STRIDES = (32, 16, 8)
_EPSILON = 1e-3  # of batch normalisation: what the published weights were trained with


def _depthwise_bn(channels: int, *, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
    """3 x 3 in each channel alone, batch normalisation: (N, C, H, W) -> (N, C, H/s, W/s)."""
    convolution = nn.Conv2d(
        channels, channels, 3, stride, dilation, dilation, groups=channels, bias=False
    )
    return [kaiming_normal_(convolution), nn.BatchNorm2d(channels)]


def separable_conv(
    in_channels: int,
    out_channels: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    depthwise_bn_relu: bool = True,
) -> nn.Sequential:
    """Depthwise 3 x 3, pointwise 1 x 1, BN and ReLU after both: (N, in, H, W) -> (N, out, H', W').

    Stands in for ``conv_bn_relu`` at about a ninth of the price. At stride s, H' = ceil(H / s).
    ``depthwise_bn_relu=False`` leaves out those after the first, as segmentation_models does.
    """
    depthwise, *norm = _depthwise_bn(in_channels, stride=stride, dilation=dilation)
    return nn.Sequential(
        depthwise,
        *([*norm, nn.ReLU(inplace=True)] if depthwise_bn_relu else []),
        *conv_bn(in_channels, out_channels, kernel_size=1),
        nn.ReLU(inplace=True),
    )


class XceptionBlock(nn.Module):
    """Three separable convolutions beside a shortcut: (N, C, H, W) -> inner features and result.

    They are (N, channels[1], H, W) and (N, channels[2], H/s, W/s). Here a ReLU precedes each
    separable convolution and there is none inside, so that the sum may be negative.

    Args:
        project: let a 1 x 1 convolution make the shortcut fit; without, it passes its input on.
    """

    def __init__(
        self,
        in_channels: int,
        channels: tuple[int, int, int],
        *,
        stride: int = 1,
        dilation: int = 1,
        project: bool = True,
    ):
        super().__init__()
        first, second, third = channels
        self.shortcut = nn.Sequential(
            *(conv_bn(in_channels, third, kernel_size=1, stride=stride) if project else [])
        )
        self.inner = nn.Sequential(
            _relu_separable(in_channels, first, dilation=dilation),
            _relu_separable(first, second, dilation=dilation),
        )
        self.last = _relu_separable(second, third, stride=stride, dilation=dilation)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inner = self.inner(x)
        return inner, self.last(inner) + self.shortcut(x)


def _relu_separable(
    in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """ReLU, depthwise 3 x 3, BN, pointwise 1 x 1, BN: (N, in, H, W) -> (N, out, H/s, W/s)."""
    return nn.Sequential(
        nn.ReLU(),  # not in place: its input is also the shortcut's, or somebody's feature
        *_depthwise_bn(in_channels, stride=stride, dilation=dilation),
        *conv_bn(in_channels, out_channels, kernel_size=1),
    )


class Xception(nn.Module):
    """Features just before every halving, and the last: (N, C, H, W) -> list of five, finest first.

    Xception-65 on 224 x 224: (N, 128, 112, 112), (N, 256, 56, 56), (N, 728, 28, 28),
    (N, 1024, 14, 14), (N, 2048, 7, 7); ``channels`` lists the second axis, ``strides`` the
    strides. All but the last are the inner features of blocks and may be negative, as those of the
    official code.

    Args:
        layers: 41, 65 or 71.
        in_channels: channels of the image.
        width: channels of the first convolution, 32 in the paper; all others follow in proportion.
        output_stride: 32, 16 or 8: the stride of the last features.

    Raises:
        ValueError: for a number of layers or an output stride that does not exist, and for what
            is no batch of images.
    """

    def __init__(
        self,
        layers: int = 65,
        *,
        in_channels: int = 3,
        width: int = 32,
        output_stride: int = 32,
    ):
        super().__init__()
        _check_arguments(layers, in_channels, width, output_stride)
        entry, middle = _LAYOUTS[layers]
        plan = [((channels,) * 3, stride) for channels, stride in entry]
        plan += [((728,) * 3, 1)] * middle + [(_EXIT[0], 2)]
        self.stem = nn.Sequential(
            conv_bn_relu(in_channels, width, stride=2), conv_bn_relu(width, 2 * width)
        )
        self.blocks, self.channels, self.strides = nn.ModuleList(), [], ()
        before, reached, dilation = 2 * width, 2, 1
        for wanted, stride in plan:
            channels = _scaled(wanted, width)
            kept = stride if reached < output_stride else 1
            project = stride > 1 or before != channels[2]  # whatever was kept: the weights stay
            self.blocks.append(
                XceptionBlock(before, channels, stride=kept, dilation=dilation, project=project)
            )
            if stride == 2:
                self.channels.append(channels[1])
                self.strides += (reached,)
            before, reached, dilation = channels[2], reached * kept, dilation * stride // kept
        self.halves = [stride == 2 for _, stride in plan]  # or would, without an output stride
        first, second, third = _scaled(_EXIT[1], width)
        self.last = nn.Sequential(
            separable_conv(before, first, dilation=dilation),
            separable_conv(first, second, dilation=dilation),
            separable_conv(second, third, dilation=dilation),
        )
        self.channels.append(third)
        self.strides += (reached,)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = _EPSILON

    def forward(self, image: Tensor) -> list[Tensor]:
        if image.ndim != 4:
            raise ValueError(
                f"an Xception takes images (N, C, H, W), but this has shape {tuple(image.shape)}: "
                "add the axis of the batch with image[None]."
            )
        x, features = self.stem(image), []
        for block, halves in zip(self.blocks, self.halves, strict=True):
            inner, x = block(x)
            features += [inner] if halves else []
        return [*features, self.last(x)]


def _scaled(channels: tuple[int, ...], width: int) -> tuple[int, ...]:
    """The paper's channels, for another width of the first convolution than 32."""
    return tuple(count * width // 32 for count in channels)


def _check_arguments(layers: int, in_channels: int, width: int, output_stride: int) -> None:
    """Refuse what would build no Xception."""
    if layers not in _LAYOUTS:
        raise ValueError(f"Xception-{layers} does not exist: choose one of {sorted(_LAYOUTS)}.")
    if output_stride not in _STRIDES:
        raise ValueError(
            f"output_stride={output_stride} cannot be built: choose one of {sorted(_STRIDES)}."
        )
    if min(in_channels, width) < 1:
        raise ValueError(
            f"Xception(in_channels={in_channels}, width={width}) has nothing to compute with: "
            "both must be at least 1."
        )
