"""DeepLab v1: do not shrink the map so far; let kernels with holes look as far as before.

Chen, Papandreou, Kokkinos, Murphy, Yuille. "Semantic Image Segmentation with Deep Convolutional
Nets and Fully Connected CRFs." ICLR 2015. https://arxiv.org/abs/1412.7062

    stride   1       2       4       8       8       8
           image ─ pool1 ─ pool2 ─ pool3 ─ pool4 ─ pool5 ─ mean ─ fc6 ─ fc7 ─ fc8 ─ ×8 ─→ logits
             │       │       │       │       │            3 x 3  rate 12               ↑
             └───────┴───────┴───────┴───────┴─ 3 x 3 ─ 1 x 1 ─ 1 x 1 ─ ×1, 2, 4, 8, 8 ┘
                                                       only with multi_scale=True

Training needs no upsampling: ``coarse_logits(image)`` are those of every eighth pixel, and their
labels are ``target[..., ::8, ::8]``. At test time the scores are upsampled and stay where they are:
``net(image)[..., ::8, ::8]`` equals ``net.coarse_logits(image)``. The logits are smooth; a dense
CRF, the second half of the paper, then finds the borders (``segcourse/ops/crf.py``).

The defaults build DeepLab-LargeFOV. The paper's other networks are

    DeepLabV1(21, kernel_size=4, dilation=4, fc_channels=4096)                     DeepLab
    DeepLabV1(21, kernel_size=4, dilation=4, fc_channels=4096, multi_scale=True)   DeepLab-MSc
    DeepLabV1(21, multi_scale=True)                                       DeepLab-MSc-LargeFOV

and the classroom's is

    DeepLabV1(
        num_classes, width=8, fc_channels=64, dilation=4, multi_scale=True, batch_norm=True,
        dropout=0.0,
    )

Its dilation suits pictures of 96 x 128: on their map of 13 x 17 positions, the outer taps of
dilation 12 would see little but padding. It is multi-scale because its objects are small: the
poolings that do not stride any more, and the mean, still spread every feature over the positions
next to it.

Three things differ:

- Convolutions start from He's initialisation instead of ImageNet weights. So ``multi_scale=True``
  trains as a whole; the released DeepLab-MSc keeps all weights of a trained DeepLab but fc8's and
  learns those of the added layers.
- Plain DeepLab pools 3 x 3 here, as its three relatives do; the released one pools 2 x 2, and has
  to shift its upsampled map by 7 pixels.
- Images of any size are taken; the released networks see 321 x 321 in training and 513 x 513 later.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.atrous_vgg import (
    STRIDES,
    AtrousVGG,
    atrous_classifier,
    crop_to_image,
    upsample_logits,
)
from segcourse.blocks.conv import kaiming_normal_, normal_

_STRIDE = STRIDES[-1]  # of the scores: 8


class SideBranch(nn.Module):
    """What shallow features say about the classes: (N, C, H, W) -> (N, K, H', W').

    H' = ceil(H / stride): the scores of each position, or of every second, fourth or eighth alone.
    """

    def __init__(
        self, in_channels: int, channels: int, num_classes: int, *, batch_norm: bool, dropout: float
    ):
        super().__init__()
        norm = nn.BatchNorm2d if batch_norm else nn.Identity
        self.conv = kaiming_normal_(nn.Conv2d(in_channels, channels, kernel_size=3, padding=1))
        self.classifier = nn.Sequential(
            norm(channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            kaiming_normal_(nn.Conv2d(channels, channels, kernel_size=1)),
            norm(channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            normal_(nn.Conv2d(channels, num_classes, kernel_size=1)),
        )

    def forward(self, x: Tensor, *, stride: int = 1) -> Tensor:
        x = F.conv2d(x, self.conv.weight, self.conv.bias, stride=stride, padding=1)
        return self.classifier(x)


class DeepLabV1(nn.Module):
    """Score every class at every pixel: (N, 3, H, W) -> (N, num_classes, H, W) logits.

    Args:
        num_classes: channels of the logits, background included.
        kernel_size: side of fc6. If it is 3, fc6 sees means of 3 x 3 positions, as released.
        dilation: step between the taps of fc6, in positions of 8 pixels.
        fc_channels: of fc6 and fc7.
        multi_scale: add scores of the image and of the first four poolings.
        width: channels of the first stage.
        batch_norm: normalise after every convolution but the scores; not in the paper.
        dropout: share of fc6's and fc7's features that training sets to zero.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        kernel_size: int = 3,
        dilation: int = 12,
        fc_channels: int = 1024,
        multi_scale: bool = False,
        width: int = 64,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ):
        super().__init__()
        options = dict(batch_norm=batch_norm, dropout=dropout)
        self.features = AtrousVGG(width=width, batch_norm=batch_norm)
        *shallow, deepest = (3, *self.features.channels)
        self.avg_pool = nn.AvgPool2d(3, stride=1, padding=1) if kernel_size == 3 else nn.Identity()
        self.classifier = atrous_classifier(
            deepest, fc_channels, num_classes, kernel_size=kernel_size, dilation=dilation, **options
        )
        self.sides = nn.ModuleList(
            SideBranch(channels, 2 * width, num_classes, **options)
            for channels in shallow
            if multi_scale
        )
        self.to(memory_format=torch.channels_last)  # a quarter faster on a CPU

    def forward(self, image: Tensor) -> Tensor:
        *shallow, deepest = (image, *self.features(image))
        logits = upsample_logits(self.classifier(self.avg_pool(deepest)), _STRIDE, image)
        for side, x, stride in zip(self.sides, shallow, (1, *STRIDES), strict=False):
            logits = logits + upsample_logits(side(x), stride, image)
        return logits

    def all_logits(self, image: Tensor) -> list[Tensor]:
        """The logits that the loss uses: -> list of one (N, K, H, W)."""
        return [self(image)]

    def coarse_logits(self, image: Tensor) -> Tensor:
        """The logits of every eighth pixel, for training: -> (N, K, ceil(H / 8), ceil(W / 8)).

        In evaluation mode they are ``net(image)[..., ::8, ::8]``, for a fraction of the time if
        ``multi_scale`` is set.
        """
        *shallow, deepest = (image, *self.features(image))
        scores = crop_to_image(self.classifier(self.avg_pool(deepest)), _STRIDE, image)
        for side, x, stride in zip(self.sides, shallow, (1, *STRIDES), strict=False):
            scores = scores + crop_to_image(side(x, stride=_STRIDE // stride), _STRIDE, image)
        return scores
