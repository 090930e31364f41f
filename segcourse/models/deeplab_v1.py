"""DeepLab v1: do not shrink the map so far; let kernels with holes look as far as before.

Chen, Papandreou, Kokkinos, Murphy, Yuille. "Semantic Image Segmentation with Deep Convolutional
Nets and Fully Connected CRFs." ICLR 2015. https://arxiv.org/abs/1412.7062

    stride   1       2       4       8       8       8
           image ─ pool1 ─ pool2 ─ pool3 ─ pool4 ─ pool5 ─ mean ─ fc6 ─ fc7 ─ fc8 ─ ×8 ─→ logits
             │       │       │       │       │            3 x 3  rate 12               ↑
             └───────┴───────┴───────┴───────┴─ 3 x 3 ─ 1 x 1 ─ 1 x 1 ─ ×1, 2, 4, 8, 8 ┘
                                                       only with multi_scale=True

Training needs no enlargement: ``scores(image)`` are those of every eighth pixel, and their truth is
``truth[..., ::8, ::8]``. At test time the scores are enlarged so that they stay where they are:
``net(image)[..., ::8, ::8]`` equals ``net.scores(image)``. The enlarged logits are smooth; a dense
CRF, the second half of the paper, then finds the borders (``segcourse/ops/crf.py``).

The defaults build DeepLab-LargeFOV. The paper's other networks are

    DeepLabV1(21, kernel_size=4, rate=4, hidden=4096)                     DeepLab
    DeepLabV1(21, kernel_size=4, rate=4, hidden=4096, multi_scale=True)   DeepLab-MSc
    DeepLabV1(21, multi_scale=True)                                       DeepLab-MSc-LargeFOV

and the classroom's is

    DeepLabV1(
        num_classes, width=8, hidden=64, rate=4, multi_scale=True, batch_norm=True, dropout=0.0
    )

Its rate suits pictures of 96 x 128: on their map of 13 x 17 positions, the outer taps of rate 12
would see little but padding. It is multi-scale because its objects are small: the poolings that
do not stride any more, and the mean, still spread every feature over the positions next to it.

Three things differ:

- Convolutions start from He's initialisation instead of ImageNet weights. So ``multi_scale=True``
  trains as a whole; the released DeepLab-MSc keeps all weights of a trained DeepLab but fc8's and
  learns those of the added layers.
- Plain DeepLab pools 3 x 3 here, as its three relatives do; the released one pools 2 x 2, and has
  to shift its enlarged map by 7 pixels.
- Images of any size are taken; the released networks see 321 x 321 in training and 513 x 513 later.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.atrous_vgg import (
    STRIDES,
    AtrousVGG,
    atrous_classifier,
    enlarge,
    over_pixels,
    undecided,
)
from segcourse.blocks.conv import initialise

STRIDE = STRIDES[-1]  # of the scores: 8


class SideScores(nn.Module):
    """What shallow features say about the classes: (N, C, H, W) -> (N, K, H', W').

    H' = ceil(H / every): the scores of each position, or of every second, fourth or eighth alone.
    """

    def __init__(
        self, in_channels: int, hidden: int, num_classes: int, *, batch_norm: bool, dropout: float
    ):
        super().__init__()
        normalise = nn.BatchNorm2d if batch_norm else nn.Identity
        self.look = initialise(nn.Conv2d(in_channels, hidden, kernel_size=3, padding=1))
        self.judge = nn.Sequential(
            normalise(hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            initialise(nn.Conv2d(hidden, hidden, kernel_size=1)),
            normalise(hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            undecided(nn.Conv2d(hidden, num_classes, kernel_size=1)),
        )

    def forward(self, x: Tensor, *, every: int = 1) -> Tensor:
        return self.judge(F.conv2d(x, self.look.weight, self.look.bias, stride=every, padding=1))


class DeepLabV1(nn.Module):
    """Score every class at every pixel: (N, 3, H, W) -> (N, num_classes, H, W) logits.

    Args:
        num_classes: channels of the logits, background included.
        kernel_size: side of fc6. If it is 3, fc6 sees means of 3 x 3 positions, as released.
        rate: step between the taps of fc6, in positions of 8 pixels.
        hidden: channels of fc6 and fc7.
        multi_scale: add scores of the image and of the first four poolings.
        width: channels of the first stage.
        batch_norm: normalise after every convolution but the scores; not in the paper.
        dropout: share of the hidden features that training sets to zero.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        kernel_size: int = 3,
        rate: int = 12,
        hidden: int = 1024,
        multi_scale: bool = False,
        width: int = 64,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ):
        super().__init__()
        options = dict(batch_norm=batch_norm, dropout=dropout)
        self.features = AtrousVGG(width=width, batch_norm=batch_norm)
        *shallow, deepest = (3, *self.features.channels)
        self.smooth = nn.AvgPool2d(3, stride=1, padding=1) if kernel_size == 3 else nn.Identity()
        self.classifier = atrous_classifier(
            deepest, hidden, num_classes, kernel_size=kernel_size, rate=rate, **options
        )
        self.sides = nn.ModuleList(
            SideScores(channels, 2 * width, num_classes, **options)
            for channels in shallow
            if multi_scale
        )
        self.to(memory_format=torch.channels_last)  # a quarter faster on a CPU

    def forward(self, image: Tensor) -> Tensor:
        *shallow, deepest = (image, *self.features(image))
        logits = enlarge(self.classifier(self.smooth(deepest)), STRIDE, image)
        for side, x, stride in zip(self.sides, shallow, (1, *STRIDES), strict=False):
            logits = logits + enlarge(side(x), stride, image)
        return logits

    def scores(self, image: Tensor) -> Tensor:
        """The logits of every eighth pixel, for training: -> (N, K, ceil(H / 8), ceil(W / 8)).

        In evaluation mode they are ``net(image)[..., ::8, ::8]``, for a fraction of the time if
        ``multi_scale`` is set.
        """
        *shallow, deepest = (image, *self.features(image))
        scores = over_pixels(self.classifier(self.smooth(deepest)), STRIDE, image)
        for side, x, stride in zip(self.sides, shallow, (1, *STRIDES), strict=False):
            scores = scores + over_pixels(side(x, every=STRIDE // stride), STRIDE, image)
        return scores
