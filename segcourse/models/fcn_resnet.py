"""FCN on a dilated ResNet: the plainest network of stride 8, and the start of many comparisons.

Long, Shelhamer, Darrell. "Fully Convolutional Networks for Semantic Segmentation." CVPR 2015,
https://arxiv.org/abs/1411.4038, on a backbone that dilates instead of striding, as in
Yu, Koltun. "Multi-Scale Context Aggregation by Dilated Convolutions." ICLR 2016,
https://arxiv.org/abs/1511.07122.

    stride   4        8        8            8
    image ─ stage 1 ─ stage 2 ─ stage 3 ─── stage 4 ─ 3 x 3 ─ 1 x 1 ─ upsample ─→ logits
                                   └─ 3 x 3 ─ 1 x 1 ─ upsample ─→ auxiliary logits

No skips: a map of stride 8 is as fine as the finest that FCN-8s adds, and it has seen all layers.
PSPNet and DeepLab v3 are this network with something between the backbone and the last layers.

The defaults build torchvision's ``fcn_resnet50``, names included, which is no paper's network: the
first block of a dilated stage keeps the dilation of the stage before, and the auxiliary head on
stage 3, for training only, is PSPNet's. The classroom's network is

    FCNResNet(num_classes, layers=18, width=16, aux_loss=True)

Differs from torchvision's: convolutions start from He's initialisation in the heads too, and what
``all_logits`` gives is a list instead of a dictionary.
"""

from torch import Tensor, nn

from segcourse.blocks.fcn_head import fcn_head
from segcourse.blocks.resnet import ResNet
from segcourse.blocks.upsample import resize


class FCNResNet(nn.Module):
    """Score every class at every pixel: (N, 3, H, W) -> (N, num_classes, H, W) logits.

    Args:
        num_classes: channels of the logits, background included.
        layers: of the ResNet: 18, 34, 50, 101 or 152.
        width: channels of the ResNet's first stage; 64 in torchvision.
        output_stride: 32, 16 or 8: of the features that the head sees.
        aux_loss: add a head on stage 3, for ``all_logits``.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        layers: int = 50,
        width: int = 64,
        output_stride: int = 8,
        aux_loss: bool = False,
    ):
        super().__init__()
        self.backbone = ResNet(layers, width=width, output_stride=output_stride)
        *_, stage3, stage4 = self.backbone.channels
        self.classifier = fcn_head(stage4, num_classes)
        self.aux_classifier = fcn_head(stage3, num_classes) if aux_loss else None

    def forward(self, image: Tensor) -> Tensor:
        return resize(self.classifier(self.backbone(image)[-1]), image.shape[-2:])

    def all_logits(self, image: Tensor) -> list[Tensor]:
        """The auxiliary head's logits, if there is one, and the network's: (N, K, H, W) each."""
        *_, stage3, stage4 = self.backbone(image)
        scores = [self.classifier(stage4)]
        if self.aux_classifier is not None:
            scores.insert(0, self.aux_classifier(stage3))
        return [resize(score, image.shape[-2:]) for score in scores]
