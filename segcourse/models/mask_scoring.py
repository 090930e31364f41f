"""Mask Scoring R-CNN: a head predicts how good a mask is, because the class score does not say it.

Huang, Huang, Gong, Huang, Wang. "Mask Scoring R-CNN." CVPR 2019. https://arxiv.org/abs/1903.00241;
https://github.com/zjhuang22/maskscoring_rcnn

    region, 14 x 14 ────────────────────┐
                                        concatenate ─ 4 x (3 x 3) ─ 3 layers ─→ IoU of the mask
    mask, 28 x 28 ─ sigmoid ─ max pool ─┘

    mask score = class score x predicted IoU

Average precision ranks detections by their scores, so a detection with a certain class and a poor
mask costs more than a detection of which neither is certain. Boxes keep the class score; only masks
are ranked anew.

Its target is the IoU of the predicted mask with the *whole* object: what lies outside the box is
missed, too. As in the release, the gradient of its loss reaches the mask head. One thing differs
from it: areas are counted on masks of pixels instead of polygons.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.conv import kaiming_normal_
from segcourse.blocks.rpn import full_precision
from segcourse.models.mask_rcnn import MaskRCNN, Regions, mask_loss, mask_targets


class MaskIoUHead(nn.Module):
    """Predict a mask's IoU for every class: (R, C, 14, 14), (R, 28, 28) -> (R, K + 1).

    Args:
        channels: C, also of the convolutions; 256 in the paper.
        num_classes: K, without the background.
        representation_size: of the fully connected layers; 1024 in the paper.
    """

    def __init__(self, channels: int, num_classes: int, representation_size: int = 1024):
        super().__init__()
        widths = (channels + 1, channels, channels, channels)
        strides = (1, 1, 1, 2)
        convolutions = [
            nn.Conv2d(width, channels, kernel_size=3, stride=stride, padding=1)
            for width, stride in zip(widths, strides, strict=True)
        ]
        self.convolve = nn.Sequential(
            *(nn.Sequential(kaiming_normal_(each), nn.ReLU(inplace=True)) for each in convolutions)
        )
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * 7 * 7, representation_size),
            nn.ReLU(inplace=True),
            nn.Linear(representation_size, representation_size),
            nn.ReLU(inplace=True),
            nn.Linear(representation_size, num_classes + 1),
        )
        nn.init.normal_(self.layers[-1].weight, std=0.01)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, features: Tensor, masks: Tensor) -> Tensor:
        pooled = F.max_pool2d(masks[:, None], kernel_size=2).to(features.dtype)
        return full_precision(self.layers(self.convolve(torch.cat([features, pooled], dim=1))))


class MaskScoringRCNN(MaskRCNN):
    """Find objects and rank their masks: images (N, 3, H, W) or N of (3, H, W) -> N Detections.

    Args:
        num_classes: K, without the background.
        channels: of the pyramid and both mask heads.
        representation_size: of the box head and the IoU head.
        options: of ``MaskRCNN``.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        channels: int = 256,
        representation_size: int = 1024,
        **options: object,
    ):
        super().__init__(
            num_classes, channels=channels, representation_size=representation_size, **options
        )
        self.iou_head = MaskIoUHead(channels, num_classes, representation_size)

    def mask_iou(self, features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """The predicted IoU of every region's mask: (R, C, 14, 14), (R, 28, 28), (R,) -> (R,)."""
        found = self.iou_head(features, logits.sigmoid())
        return found[torch.arange(len(labels)), labels + 1]  # 0 is the background

    def mask_scores(
        self, scores: Tensor, features: Tensor, logits: Tensor, labels: Tensor
    ) -> Tensor:
        """By which masks are ranked: the class score times the predicted IoU. (R,) ... -> (R,)"""
        return scores * self.mask_iou(features, logits, labels).clamp(0, 1)

    def mask_losses(self, regions: Sequence[Regions]) -> dict[str, Tensor]:
        """The losses of the mask head and of the IoU head."""
        logits = [self.mask_logits(each.features, each.labels) for each in regions]
        targets = [mask_targets(each) for each in regions]
        predicted, true = [], []
        for each, logit, target in zip(regions, logits, targets, strict=True):
            predicted.append(self.mask_iou(each.features, logit, each.labels))
            true.append(mask_iou_targets(logit.detach() > 0, target > 0.5, visible_shares(each)))
        predicted, true = torch.cat(predicted), torch.cat(true)
        hit = true > 0  # masks that miss their object have no part in the loss
        iou_loss = 0.5 * (predicted - true).square()[hit].sum()
        return {
            "mask": mask_loss(torch.cat(logits), torch.cat(targets)),
            "mask_iou": iou_loss / max(int(hit.sum()), 1),
        }


def mask_iou_targets(preds: Tensor, target: Tensor, visible: Tensor) -> Tensor:
    """IoU with whole objects, of masks inside boxes: (R, h, w), (R, h, w) bool, (R,) -> (R,).

    Args:
        preds: predicted masks.
        target: true masks as far as they lie in the boxes.
        visible: shares of the objects that lie in the boxes.
    """
    shared = (preds & target).sum(dim=(1, 2))
    whole = target.sum(dim=(1, 2)) / visible.clamp(min=1e-6)
    union = preds.sum(dim=(1, 2)) + whole - shared
    return shared / union.clamp(min=1.0)


def visible_shares(regions: Regions) -> Tensor:
    """How much of every object lies in its box, in whole pixels: -> (R,) from 0 to 1."""
    shares = []
    corners = regions.boxes.clamp(min=0).round().long()
    for mask, (x0, y0, x1, y1) in zip(regions.masks, corners, strict=True):
        inside = mask[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
        shares.append(inside.sum() / mask.sum().clamp(min=1))
    return torch.stack(shares) if shares else regions.boxes.new_zeros(0)
