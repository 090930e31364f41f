"""G-FRNet: coarse logits, refined five times by features that the deeper layers let through.

Amirul Islam, Rochan, Bruce, Wang. "Gated Feedback Refinement Network for Dense Image Labeling."
CVPR 2017. https://arxiv.org/abs/1806.11266 (journal version); https://github.com/mrochan/gfrnet

    stride      1        2        4        8        16            32
    VGG-16   conv1_2  conv2_2  conv3_3  conv4_3  conv5_3 ──────── pool5 ─ conv6 ─ conv7
                │        │        │        │        │               │               │
    gates       ● ←───── ● ←───── ● ←───── ● ←───── ● ←──────── features            │
                │        │        │        │        │                               │
    logits    pred_6 ← pred_5 ← pred_4 ← pred_3 ← pred_2 ←──────────────────────  pred_1

A gate multiplies the features of its stage with those of the stage below, so that what only the
fine layer sees, and the coarse one does not support, is damped. All six logits are supervised,
each at its own stride, as in the paper; the release upsamples them all.

The defaults build the network that the authors released for CamVid. So the gate has neither a
ReLU nor a sigmoid: normalised features, both signs, are multiplied and normalised again. Two things
differ from it:

- Convolutions start from He's initialisation instead of VGG-16's ImageNet weights.
- The release concatenates stage 5 as (logits, gate), all others as (gate, logits); here all are
  (gate, logits), which only permutes the weights of one convolution.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.conv import kaiming_normal_
from segcourse.blocks.upsample import resize
from segcourse.blocks.vgg import DEPTHS, VGG, vgg_stage

_FIRST_DROPOUT = 2  # stages before pool3 drop nothing


class GatedRefinement(nn.Module):
    """Refine coarse logits once: (N, C, H, W), (N, K, h, w), (N, K, h, w) -> two of (N, K, H, W).

    Takes the features of its stage, those that the stage below gated with, and the coarse logits.
    Returns the features it gated with, for the next stage, and the refined logits.
    """

    def __init__(self, in_channels: int, num_classes: int):
        super().__init__()
        self.feature = nn.Sequential(
            _conv3x3(in_channels, num_classes), nn.BatchNorm2d(num_classes)
        )
        self.norm = nn.BatchNorm2d(num_classes)
        self.predict = _conv3x3(2 * num_classes, num_classes)

    def forward(self, x: Tensor, below: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.feature(x)
        size = feature.shape[-2:]
        gate = self.norm(feature * resize(below, size, align_corners=True))
        coarse = resize(coarse, size, align_corners=True)
        return feature, self.predict(torch.cat([gate, coarse], dim=1))


class GFRNet(nn.Module):
    """Score every class at every pixel: (N, 3, H, W) -> (N, num_classes, H, W) logits.

    Args:
        num_classes: channels of the logits, background included, and of every gate.
        width: channels of the first stage; 64 in the paper. conv6 and conv7 have 16 times as many.
        depths: convolutions of every stage of the encoder, one refinement for each.
        dropout: share of the features set to zero after pool3, pool4, pool5, conv6 and conv7.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: int = 64,
        depths: Sequence[int] = DEPTHS,
        dropout: float = 0.5,
    ):
        super().__init__()
        if num_classes < 1:
            raise ValueError(
                f"GFRNet(num_classes={num_classes}) has nothing to score: give at least 1 class."
            )
        self.encoder = VGG(width=width, depths=depths, batch_norm=True, ceil_mode=True)
        *_, deepest = channels = self.encoder.channels
        self.dropout = nn.Dropout(dropout)
        self.context = nn.Sequential(
            vgg_stage(deepest, 16 * width, 1, batch_norm=True),  # conv6
            nn.Dropout(dropout),
            vgg_stage(16 * width, 16 * width, 1, batch_norm=True),  # conv7
            nn.Dropout(dropout),
        )
        self.predict = _conv3x3(16 * width, num_classes)
        self.below = _conv3x3(deepest, num_classes)
        self.stages = nn.ModuleList(GatedRefinement(c, num_classes) for c in reversed(channels))
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        return self.all_logits(image)[-1]

    def all_logits(self, image: Tensor) -> list[Tensor]:
        """Logits at strides 32, 16, 8, 4, 2, 1: (N, 3, H, W) -> list of (N, K, h, w).

        Raises:
            ValueError: if ``image`` is not a batch of images.
        """
        if image.ndim != 4:
            raise ValueError(
                f"GFRNet takes images (N, 3, H, W), but this has shape {tuple(image.shape)}: add "
                "the axis of the batch with image[None]."
            )
        *features, pool5 = self.encode(image)
        below, logits = self.below(pool5), [self.predict(self.context(pool5))]
        for stage, x in zip(self.stages, reversed(features), strict=True):
            below, refined = stage(x, below, logits[-1])
            logits.append(refined)
        return logits

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of every stage before its pooling, finest first, and pool5."""
        features, x = [], image
        for level, stage in enumerate(self.encoder.stages):
            features.append(stage(x))
            x = F.max_pool2d(features[-1], kernel_size=2, ceil_mode=True)
            if level >= _FIRST_DROPOUT:
                x = self.dropout(x)
        return [*features, x]


def _conv3x3(in_channels: int, num_classes: int) -> nn.Conv2d:
    """One channel per class: (N, in_channels, H, W) -> (N, num_classes, H, W)."""
    return kaiming_normal_(nn.Conv2d(in_channels, num_classes, kernel_size=3, padding=1))
