"""DeepLab v3+: DeepLab v3 knows what is there; a short decoder recalls where it ends.

Chen, Zhu, Papandreou, Schroff, Adam. "Encoder-Decoder with Atrous Separable Convolution for
Semantic Image Segmentation." ECCV 2018. https://arxiv.org/abs/1802.02611

    stride 4                                                 4                       1
    image ┬─ low-level ─ 1 x 1 ─ (48) ─────────────────────┐
          │ (256)                             concatenate (304) ─ 3 x 3 ─ 3 x 3 ─ 1 x 1 ─ x 4 ─→
          └─ backbone ── last ──── ASPP ── (256) ── x 4 ───┘       (256)   (256)    K
               stride 16  (2048)

DeepLab v3 upsamples its logits 16 times, and blurs what is narrower than that. Here they are drawn
at stride 4, where the backbone's low-level features still show where things end; 48 of their 256
channels must do, so that they do not outvote the coarse ones. All 3 x 3 convolutions behind the
backbone, ASPP's included, are separable (``blocks/xception.py``), each at a ninth of the price.

The defaults build the paper's network on Xception-65; ``backbone=partial(ResNet, 101)`` with
``convolution=conv_bn_relu`` builds one of ordinary convolutions. On images of 100 pixels, where a
lamp post is two wide, stride 4 is coarse: the classroom's network, ``low_level=0``, draws at
stride 2.
Three things differ from the paper:

- Convolutions start from He's initialisation instead of ImageNet weights.
- Batch normalisation forgets as fast as PyTorch's default; the official code's decay is 0.9997.
- Maps are upsampled with ``align_corners=False``; the official code has True, which suits its
  crops of 513 = 4 * 128 + 1 pixels.

segmentation_models' network is wired a little differently: see ``segcourse/porting/semantic.py``.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from segcourse.blocks.aspp import ASPP, default_atrous_rates
from segcourse.blocks.conv import conv_bn_relu, kaiming_normal_
from segcourse.blocks.upsample import resize
from segcourse.blocks.xception import Xception, separable_conv
from segcourse.models.deeplab_v3 import check_arguments


class DeepLabV3Plus(nn.Module):
    """Score every class at every pixel: (N, 3, H, W) -> (N, num_classes, H, W) logits.

    Args:
        num_classes: channels of the logits, background included.
        backbone: builds the encoder, and is called with ``output_stride=``: ``Xception``,
            ``ResNet``, or either with arguments, ``partial(ResNet, 18, width=16)``.
        output_stride: 32, 16 or 8: the stride of ASPP.
        atrous_rates: of ASPP's 3 x 3 convolutions; by default 6, 12, 18 at output stride 16, twice
            as much at 8.
        channels: of ASPP and the decoder; 256 in the paper.
        low_level: which of the backbone's features join the decoder: 1 those of stride 4, as in the
            paper; 0 those of its stem, stride 2, for objects a few pixels wide.
        low_level_channels: channels after their 1 x 1 convolution; 48 in the paper.
        dropout: after ASPP.
        convolution: of ASPP and the decoder, ``separable_conv`` or ``conv_bn_relu``.
        conv_after_aspp: let the second convolution of the decoder follow ASPP, before the low-level
            features join, as in segmentation_models.
        align_corners: of both upsamplings: True suits images of 16n + 1 pixels, False of 16n.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: Callable[..., nn.Module] = Xception,
        output_stride: int = 16,
        atrous_rates: tuple[int, ...] | None = None,
        channels: int = 256,
        low_level: int = 1,
        low_level_channels: int = 48,
        dropout: float = 0.1,
        convolution: Callable[..., nn.Module] = separable_conv,
        conv_after_aspp: bool = False,
        align_corners: bool = False,
    ):
        super().__init__()
        self.align_corners = align_corners
        counts = {"num_classes": num_classes, "low_level_channels": low_level_channels}
        check_arguments("DeepLabV3Plus", backbone, counts)
        self.backbone, self.low_level = backbone(output_stride=output_stride), low_level
        *finer, last = self.backbone.channels
        if low_level not in range(len(finer)):
            raise ValueError(
                f"DeepLabV3Plus(low_level={low_level}) joins nothing: the backbone has features "
                f"0 to {len(finer) - 1} before its last; the paper takes 1, those of stride 4."
            )
        atrous_rates = default_atrous_rates(output_stride) if atrous_rates is None else atrous_rates
        self.aspp = ASPP(
            last, channels, atrous_rates=atrous_rates, dropout=dropout, convolution=convolution
        )
        self.reduce = conv_bn_relu(finer[low_level], low_level_channels, kernel_size=1)
        first = convolution(channels + low_level_channels, channels)
        second = convolution(channels, channels)
        self.after_aspp = second if conv_after_aspp else nn.Identity()
        self.decoder = nn.Sequential(first, *([] if conv_after_aspp else [second]))
        self.classifier = kaiming_normal_(nn.Conv2d(channels, num_classes, kernel_size=1))

    def forward(self, image: Tensor) -> Tensor:
        *finer, last = self.backbone(image)
        low_level = finer[self.low_level]
        x = self._upsample(self.after_aspp(self.aspp(last)), low_level)
        x = self.decoder(torch.cat([x, self.reduce(low_level)], dim=1))
        return self._upsample(self.classifier(x), image)

    def all_logits(self, image: Tensor) -> list[Tensor]:
        """The logits that the loss uses: -> list of one (N, K, H, W)."""
        return [self(image)]

    def _upsample(self, x: Tensor, like: Tensor) -> Tensor:
        """A map at the size of another: (N, C, h, w), (N, ..., H, W) -> (N, C, H, W)."""
        return resize(x, like.shape[-2:], align_corners=self.align_corners)
