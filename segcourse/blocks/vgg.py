"""VGG-16: thirteen 3 x 3 convolutions and five poolings, the body of the first segmenters.

Simonyan, Zisserman. "Very Deep Convolutional Networks for Large-Scale Image Recognition." ICLR
2015. https://arxiv.org/abs/1409.1556

    stage            1     2      3       4       5
    convolutions     2     2      3       3       3
    channels        64   128    256     512     512
    stride after     2     4      8      16      32

FCN, DeconvNet, SegNet and DeepLab v1 all start from these stages; each pools them in its own way,
so a stage holds the convolutions alone. Differs from the paper: nothing. With batch normalisation
the convolutions keep their bias, which it makes superfluous, so that torchvision's weights fit.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

DEPTHS = (2, 2, 3, 3, 3)  # VGG-16; VGG-13 is (2, 2, 2, 2, 2), VGG-19 is (2, 2, 4, 4, 4)


def vgg_stage(
    in_channels: int,
    out_channels: int,
    depth: int,
    *,
    batch_norm: bool = False,
    padding: int | None = None,
    dilation: int = 1,
) -> nn.Sequential:
    """``depth`` times convolution and ReLU: (N, in_channels, H, W) -> (N, out_channels, H, W).

    Args:
        batch_norm: normalise between every convolution and its ReLU.
        padding: of the first convolution; the default, ``dilation``, keeps the size.
        dilation: step between the taps of all convolutions of this stage.
    """
    layers: list[nn.Module] = []
    for place in range(depth):
        convolution = nn.Conv2d(
            in_channels if place == 0 else out_channels,
            out_channels,
            kernel_size=3,
            padding=dilation if padding is None or place > 0 else padding,
            dilation=dilation,
        )
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        nn.init.zeros_(convolution.bias)
        normalise = [nn.BatchNorm2d(out_channels)] if batch_norm else []
        layers += [convolution, *normalise, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class VGG(nn.Module):
    """Features of every stage, each pooled to half its size: (N, C, H, W) -> list, finest first.

    With ``width=64`` and an image of 224 x 224: (N, 64, 112, 112), (N, 128, 56, 56),
    (N, 256, 28, 28), (N, 512, 14, 14), (N, 512, 7, 7). ``channels`` lists the second axis,
    ``strides`` the pixels from one position to the next.

    Args:
        in_channels: channels of the image.
        width: channels of the first stage; they double until eight times as many.
        depths: how many convolutions each stage has.
        batch_norm: normalise after every convolution (the paper is older than that).
        padding: of the very first convolution; FCN uses 100.
        ceil_mode: round odd sides up when pooling, as Caffe does; torchvision rounds down.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        width: int = 64,
        depths: Sequence[int] = DEPTHS,
        batch_norm: bool = False,
        padding: int = 1,
        ceil_mode: bool = False,
    ):
        super().__init__()
        if width < 1 or not depths or min(depths) < 1:
            raise ValueError(
                f"VGG(width={width}, depths={tuple(depths)}) has a stage without channels or "
                "convolutions: give a width and depths of at least 1."
            )
        self.ceil_mode = ceil_mode
        self.channels = [width * min(2**level, 8) for level in range(len(depths))]
        self.strides = [2 ** (level + 1) for level in range(len(depths))]
        wiring = zip([in_channels, *self.channels], self.channels, depths, strict=False)
        self.stages = nn.ModuleList(
            vgg_stage(
                before,
                after,
                depth,
                batch_norm=batch_norm,
                padding=padding if level == 0 else None,
            )
            for level, (before, after, depth) in enumerate(wiring)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [image]
        for stage in self.stages:
            features.append(F.max_pool2d(stage(features[-1]), 2, ceil_mode=self.ceil_mode))
        return features[1:]
