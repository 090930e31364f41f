"""PSPNet: average the features over a few large regions, and tell every pixel about them.

Zhao, Shi, Qi, Wang, Jia. "Pyramid Scene Parsing Network." CVPR 2017.
https://arxiv.org/abs/1612.01105; networks: https://github.com/hszhao/PSPNet

                            ┌───────────────────────────────────────────→ x    2048 ┐
    image ─ dilated ResNet ─┼─ means of 6 x 6 regions ─ 1 x 1 ─ upsample → 512      │
               stride 8     ├─ means of 3 x 3 regions ─ 1 x 1 ─ upsample → 512      ├ 4096
                            ├─ means of 2 x 2 regions ─ 1 x 1 ─ upsample → 512      │   │
                            └─ mean of the whole map ── 1 x 1 ─ upsample → 512      ┘   │
                                       logits ←─ upsample ─ 1 x 1 ─ dropout ─ 3 x 3 ────┘

A boat and a car may look alike; the water around the boat does not look like a street. A network's
theoretical receptive field is larger than the region it really listens to, so the pyramid brings
the surroundings to every pixel explicitly, up to the whole image.

The defaults build the released network: a stem of three 3 x 3 convolutions, dilation in *all*
blocks of stages 3 and 4, and upsampling that aligns the corners. That suits the paper's crops of
473 and 713 pixels: on a side of 8n + 1 a feature lies on every eighth pixel, from the first to
the last. ``aux_loss=True`` adds the second head, on stage 3, with which the paper trains: its loss
counts 0.4, and predictions do not use it. The classroom's network, for 96 x 128 pixels, is

    PSPNet(num_classes, layers=18, width=24, stages=3, align_corners=False, aux_loss=True)

Differs from the paper: convolutions start from He's initialisation instead of ImageNet weights,
and batch normalisation sees the images of one device instead of all of them. How much is dropped,
0.1, and the layers of the auxiliary head are mmsegmentation's.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segcourse.blocks.conv import conv_bn_relu, kaiming_normal_
from segcourse.blocks.fcn_head import fcn_head
from segcourse.blocks.resnet import ResNet
from segcourse.blocks.upsample import resize

GRIDS = (6, 3, 2, 1)  # regions along each side, in the order of their channels


class PyramidPooling(nn.Module):
    """Put what surrounds a pixel beside it: (N, C, H, W) -> (N, 2C, H, W), for C in fours.

    The n regions along a side reach from floor(i * side / n) to ceil((i + 1) * side / n). A side
    in sixes, such as the paper's 60 and 90, is split evenly. Otherwise neighbours may share a row
    or a column. In the classroom's map of 12 x 16, 12 rows are split evenly, but 16 columns make 3
    regions of 6 that share one column with the next, and 6 regions of 3 or 4. Of a side below 6,
    some regions are the same.

    Raises:
        ValueError: in training, for a single image: its mean over the whole map is one value per
            channel, of which batch normalisation would leave nothing.
    """

    def __init__(self, channels: int, *, align_corners: bool = True):
        super().__init__()
        self.align_corners = align_corners
        reduced = channels // len(GRIDS)
        self.reduce = nn.ModuleList(conv_bn_relu(channels, reduced, kernel_size=1) for _ in GRIDS)

    def forward(self, x: Tensor) -> Tensor:
        self._check_batch(len(x))
        means = [F.adaptive_avg_pool2d(x, grid) for grid in GRIDS]  # (N, C, 6, 6), ...
        context = [
            resize(reduce(mean), x.shape[-2:], align_corners=self.align_corners)
            for reduce, mean in zip(self.reduce, means, strict=True)
        ]
        return torch.cat([x, *context], dim=1)

    def _check_batch(self, images: int) -> None:
        """Refuse what batch normalisation would refuse in words that do not say where."""
        _, norm, _ = self.reduce[GRIDS.index(1)]
        if images == 1 and norm.training:
            raise ValueError(
                "PSPNet cannot train on a single image: the mean of the whole map is one value per "
                "channel, and batch normalisation needs at least two. Use batches of two images or "
                "more (and leave out a last batch of one), or freeze that layer with eval()."
            )


class PSPNet(nn.Module):
    """Score every class at every pixel: (N, 3, H, W) -> (N, num_classes, H, W) logits.

    Args:
        num_classes: channels of the logits, background included.
        layers: of the ResNet: 18, 34, 50, 101 or 152.
        width: channels of the ResNet's stem, 64 in the paper; the last layer gets 8 times as many.
        stages: of the ResNet that are built, 4 or fewer; the pyramid looks at the last.
        output_stride: 32, 16 or 8: the stride of the last of four stages; 8 in the paper.
        deep_stem: three 3 x 3 convolutions instead of one 7 x 7.
        kernels: odd sides of the two convolutions behind the pyramid.
        align_corners: of every upsampling: True suits images of 8n + 1 pixels, False of 8n.
        aux_loss: add a head on the last stage but one, for ``all_logits``.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        layers: int = 101,
        width: int = 64,
        stages: int = 4,
        output_stride: int = 8,
        deep_stem: bool = True,
        kernels: tuple[int, int] = (3, 1),
        align_corners: bool = True,
        aux_loss: bool = False,
    ):
        super().__init__()
        self.backbone = ResNet(
            layers,
            width=width,
            output_stride=output_stride,
            contract_dilation=False,
            deep_stem=deep_stem,
            stages=stages,
        )
        *_, before, channels = self.backbone.channels
        _check_arguments(num_classes, channels, kernels)
        inter_channels = 8 * width  # 512 in the paper
        first, last = kernels
        self.align_corners = align_corners
        self.pyramid = PyramidPooling(channels, align_corners=align_corners)
        self.classifier = nn.Sequential(
            conv_bn_relu(2 * channels, inter_channels, kernel_size=first),
            nn.Dropout(0.1),
            kaiming_normal_(nn.Conv2d(inter_channels, num_classes, last, padding=last // 2)),
        )
        self.aux_classifier = fcn_head(before, num_classes) if aux_loss else None

    def forward(self, image: Tensor) -> Tensor:
        x = self.pyramid(self.backbone(image)[-1])
        return self._upsample(self.classifier(x), image)

    def all_logits(self, image: Tensor) -> list[Tensor]:
        """The auxiliary head's logits, if there is one, and the network's: (N, K, H, W) each."""
        *_, before, x = self.backbone(image)
        scores = [self.classifier(self.pyramid(x))]
        if self.aux_classifier is not None:
            scores.insert(0, self.aux_classifier(before))
        return [self._upsample(score, image) for score in scores]

    def _upsample(self, scores: Tensor, image: Tensor) -> Tensor:
        """Scores at the size of the image: (N, K, h, w) -> (N, K, H, W)."""
        return resize(scores, image.shape[-2:], align_corners=self.align_corners)


def _check_arguments(num_classes: int, channels: int, kernels: tuple[int, int]) -> None:
    """Refuse what would build no PSPNet, or one whose maps shrink."""
    if num_classes < 1:
        raise ValueError(
            f"PSPNet(num_classes={num_classes}) has nothing to score: give at least 1 class."
        )
    if channels % len(GRIDS):
        raise ValueError(
            f"PSPNet's pyramid divides its {channels} channels among {len(GRIDS)} grids: choose a "
            "width that makes them a multiple of 4."
        )
    if any(side < 1 or side % 2 == 0 for side in kernels):
        raise ValueError(
            f"PSPNet(kernels={kernels}) would change the size of its maps: both sides must be odd, "
            "3 and 1 in the paper."
        )
