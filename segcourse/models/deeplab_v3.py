"""DeepLab v3: keep the resolution by dilating, look through many windows, and score at once.

Chen, Papandreou, Schroff, Adam. "Rethinking Atrous Convolution for Semantic Image Segmentation."
2017. https://arxiv.org/abs/1706.05587

    image ─ stem ─ stage 1 ─ stage 2 ─ stage 3 ─ stage 4 ─── ASPP ─── 1 x 1 ─ upsample ─→ logits
    stride      2        4         8        16        16        16       16           1
    channels   64      256       512      1024      2048       256        K           K
    dilation    1        1         1         1     2 4 8   6 12 18
                                              multi-grid

A ResNet that halves the image five times leaves one score for 32 x 32 pixels. Here the last stages
dilate instead of striding, and the output stride stays at 16; or at 8, with every rate doubled. At
8 an encoder with the same weights gives the same features at every second place, and new ones in
between. Only image pooling changes, because its mean includes the new ones. The paper also tests at
8 what it trained at 16.

The defaults build the paper's network. ``DeepLabV3(21, backbone=ResNet, output_stride=8,
dropout=0.5, conv_after_aspp=True)`` is torchvision's deeplabv3_resnet50, names included: no
multi-grid, and another 3 x 3 convolution behind ASPP. Four things differ from the paper:

- Convolutions start from He's initialisation instead of ImageNet weights.
- Batch normalisation forgets as fast as PyTorch's default; the official code's decay is 0.9997.
- A stage strides in its first block; the official code's in its last, one block earlier.
- Logits are upsampled with ``align_corners=False`` as in torchvision; the official code has True.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from segcourse.blocks.aspp import ASPP, default_atrous_rates
from segcourse.blocks.conv import conv_bn_relu, kaiming_normal_
from segcourse.blocks.fcn_head import fcn_head
from segcourse.blocks.resnet import ResNet
from segcourse.blocks.upsample import resize

_PAPER = partial(ResNet, 101, multi_grid=(1, 2, 4))


class DeepLabV3(nn.Module):
    """Score every class at every pixel: (N, 3, H, W) -> (N, num_classes, H, W) logits.

    Args:
        num_classes: channels of the logits, background included.
        backbone: builds the encoder, and is called with ``output_stride=``: ``ResNet``,
            ``Xception``, or either with arguments, ``partial(ResNet, 18, width=16)``.
        output_stride: 32, 16 or 8: the factor of the upsampling at the end.
        atrous_rates: of ASPP's 3 x 3 convolutions; by default 6, 12, 18 at output stride 16, twice
            as much at 8.
        channels: of ASPP; 256 in the paper.
        dropout: after ASPP.
        conv_after_aspp: another 3 x 3 convolution before the scores, as in torchvision.
        aux_loss: a head on the last stage but one, whose logits :meth:`all_logits` gives; not in
            the paper.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: Callable[..., nn.Module] = _PAPER,
        output_stride: int = 16,
        atrous_rates: tuple[int, ...] | None = None,
        channels: int = 256,
        dropout: float = 0.1,
        conv_after_aspp: bool = False,
        aux_loss: bool = False,
    ):
        super().__init__()
        check_arguments("DeepLabV3", backbone, {"num_classes": num_classes})
        self.backbone = backbone(output_stride=output_stride)
        *_, middle, last = self.backbone.channels
        atrous_rates = default_atrous_rates(output_stride) if atrous_rates is None else atrous_rates
        self.classifier = nn.Sequential(
            ASPP(last, channels, atrous_rates=atrous_rates, dropout=dropout),
            *(conv_bn_relu(channels, channels) if conv_after_aspp else []),
            kaiming_normal_(nn.Conv2d(channels, num_classes, kernel_size=1)),
        )
        self.aux_classifier = fcn_head(middle, num_classes) if aux_loss else None

    def forward(self, image: Tensor) -> Tensor:
        *_, last = self.backbone(image)
        return resize(self.classifier(last), image.shape[-2:])

    def all_logits(self, image: Tensor) -> list[Tensor]:
        """Those of the auxiliary head, if there is one, and of the network: (N, K, H, W) each."""
        *_, middle, last = self.backbone(image)
        scores = [self.aux_classifier(middle)] if self.aux_classifier is not None else []
        scores.append(self.classifier(last))
        return [resize(score, image.shape[-2:]) for score in scores]


def check_arguments(name: str, backbone: Callable[..., nn.Module], counts: dict[str, int]) -> None:
    """Refuse what would build no DeepLab."""
    if min(counts.values()) < 1:
        given = ", ".join(f"{what}={count}" for what, count in counts.items())
        raise ValueError(f"{name}({given}) has nothing to score with: give at least 1 of each.")
    if isinstance(backbone, nn.Module) or not callable(backbone):
        raise TypeError(
            f"{name}(backbone=...) wants what builds a backbone, not {type(backbone).__name__}: "
            "pass a class such as ResNet, or partial(ResNet, 18, width=16) from functools."
        )
