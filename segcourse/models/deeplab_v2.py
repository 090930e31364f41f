"""DeepLab v2: look at every place from several distances at once, and at the image in three sizes.

Chen, Papandreou, Kokkinos, Murphy, Yuille. "DeepLab: Semantic Image Segmentation with Deep
Convolutional Nets, Atrous Convolution, and Fully Connected CRFs." TPAMI 2018.
https://arxiv.org/abs/1606.00915

                                       ┌─ 3 x 3, rate  6 ─┐
    image ─ ResNet-101, stride 8 ──────┼─ 3 x 3, rate 12 ─┤
                                       ├─ 3 x 3, rate 18 ─┼─ sum ─ scores
                                       └─ 3 x 3, rate 24 ─┘
                                    atrous spatial pyramid pooling

    image × 0.5  ─ the same network ─ scores ─ ×2 ──┐
    image × 0.75 ─ the same network ─ scores ─ ×4/3 ┼─ maximum ─ ×8 ─→ logits
    image × 1    ─ the same network ─ scores ───────┘

The pyramid's branches score the classes themselves, so their outputs are added, not concatenated:
without an activation in between, the pyramid is one sparse kernel of 49 x 49 positions with 33
taps. An object that is too large for the network may have the right size in a smaller image: the
fusion believes, for every class, the scale that is most convinced of it.

``all_logits`` returns the logits of every scale and of their maximum, each of which gets a loss, as
in the paper, where the losses see every eighth pixel, ``logits[..., ::8, ::8]``. A dense CRF then
finds the borders (``segcourse/ops/crf.py``).

The defaults build the paper's best network. ``DeepLabV2(21, layers=16)`` builds ASPP-L on DeepLab
v1's VGG-16: the branches are four of its classifiers, three layers each. ASPP-S has
``atrous_rates=(2, 4, 8, 12)``. The classroom's network is

    DeepLabV2(
        num_classes, layers=18, width=32, stages=3, atrous_rates=(1, 2, 4, 6), scales=(1,)
    )

Its rates suit pictures of 96 x 128: on their map of 13 x 17 positions, the outer taps of rates 18
and 24 would see nothing but padding. It looks at the image once, to spare time.

Four things differ:

- Convolutions start from He's initialisation instead of ImageNet weights, and batch normalisation
  is trained instead of frozen.
- A bottleneck strides in its 3 x 3 convolution; the paper's ResNet does in the 1 x 1 before it.
- The loss of a smaller scale is meant for its upsampled logits, not for labels of its size.
- Images of any size are taken; scales fit together exactly if the sides are 32n + 1, such as 321.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segcourse.blocks.atrous_vgg import (
    AtrousVGG,
    atrous_classifier,
    crop_to_image,
    upsample_logits,
)
from segcourse.blocks.conv import normal_
from segcourse.blocks.resnet import ResNet
from segcourse.blocks.upsample import resize

_STRIDE = 8
VGG = 16  # layers of the network that is no ResNet


class ASPP(nn.ModuleList):
    """Atrous spatial pyramid pooling, a sum of branches: (N, C, H, W) -> (N, K, H, W) scores."""

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self)


class DeepLabV2(nn.Module):
    """Score every class at every pixel: (N, 3, H, W) -> (N, num_classes, H, W) logits.

    Args:
        num_classes: channels of the logits, background included.
        layers: 18, 34, 50, 101 or 152 of a ResNet, or 16 for DeepLab v1's VGG.
        width: channels of the first stage.
        stages: how many of a ResNet's four are built.
        atrous_rates: steps between the taps of the pyramid's branches, in positions of 8 pixels.
        scales: of the image, in ascending order and up to 1; ``(1,)`` looks at it once.
        batch_norm: normalise in VGG and its branches; not in the paper. ResNets always do.
        dropout: share of the features of fc6 and fc7 in VGG's branches that training sets to zero.

    Raises:
        ValueError: if nothing is left to compute with, or the scales do not end with 1.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        layers: int = 101,
        width: int = 64,
        stages: int = 4,
        atrous_rates: Sequence[int] = (6, 12, 18, 24),
        scales: Sequence[float] = (0.5, 0.75, 1),
        batch_norm: bool = False,
        dropout: float = 0.5,
    ):
        super().__init__()
        _check_arguments(num_classes, atrous_rates, scales)
        self.scales = tuple(scales)
        if layers == VGG:
            self.features = AtrousVGG(width=width, batch_norm=batch_norm)
            options = dict(batch_norm=batch_norm, dropout=dropout)
            branches = [
                atrous_classifier(8 * width, 16 * width, num_classes, dilation=rate, **options)
                for rate in atrous_rates
            ]
        else:
            self.features = ResNet(
                layers,
                width=width,
                stages=stages,
                output_stride=_STRIDE,
                contract_dilation=False,
                ceil_mode=True,
            )
            channels = self.features.channels[-1]
            branches = [
                normal_(nn.Conv2d(channels, num_classes, 3, padding=rate, dilation=rate))
                for rate in atrous_rates
            ]
        self.aspp = ASPP(branches)

    def forward(self, image: Tensor) -> Tensor:
        return upsample_logits(self._pyramid(image)[-1], _STRIDE, image)

    def all_logits(self, image: Tensor) -> list[Tensor]:
        """Logits of every scale, smallest first, and of their maximum: -> list of (N, K, H, W)."""
        return [upsample_logits(scores, _STRIDE, image) for scores in self._pyramid(image)]

    def coarse_logits(self, image: Tensor) -> Tensor:
        """The logits of every eighth pixel: -> (N, K, ceil(H / 8), ceil(W / 8))."""
        return crop_to_image(self._pyramid(image)[-1], _STRIDE, image)

    def _pyramid(self, image: Tensor) -> list[Tensor]:
        """Scores of every scale, and their maximum, on the map of the largest scale."""
        whole = self._scores(image)
        if len(self.scales) == 1:
            return [whole]
        smaller = [self._scores(rescale(image, scale)) for scale in self.scales[:-1]]
        scores = [*(resize(x, whole.shape[-2:], align_corners=True) for x in smaller), whole]
        return [*scores, torch.stack(scores).amax(dim=0)]

    def _scores(self, image: Tensor) -> Tensor:
        """Scores of one scale: (N, 3, H, W) -> (N, K, H / 8, W / 8), rounded up."""
        return self.aspp(self.features(image)[-1])


def rescale(image: Tensor, scale: float) -> Tensor:
    """Resize an image so that its corner pixels stay corners: sides n -> scale * (n - 1) + 1."""
    height, width = (int(scale * (side - 1)) + 1 for side in image.shape[-2:])
    return resize(image, (height, width), align_corners=True)


def _check_arguments(
    num_classes: int, atrous_rates: Sequence[int], scales: Sequence[float]
) -> None:
    """Refuse what would build no DeepLab."""
    if num_classes < 1 or not atrous_rates or min(atrous_rates) < 1:
        raise ValueError(
            f"DeepLabV2(num_classes={num_classes}, atrous_rates={tuple(atrous_rates)}) has nothing "
            "to score with: it needs at least one class and one rate, and rates of at least 1."
        )
    if not scales or list(scales) != sorted(scales) or scales[0] <= 0 or scales[-1] != 1:
        raise ValueError(
            f"DeepLabV2(scales={tuple(scales)}) cannot be fused: scales are positive, ascend, and "
            "end with 1, the image itself, such as (0.5, 0.75, 1)."
        )
