"""Mask Scoring R-CNN: a head learns how good a mask is, because the class score does not know.

Huang, Huang, Gong, Huang, Wang. "Mask Scoring R-CNN." CVPR 2019. https://arxiv.org/abs/1903.00241;
https://github.com/zjhuang22/maskscoring_rcnn

    region, 14 x 14 ────────────────────┐
                                        concatenate ─ 4 x (3 x 3) ─ 3 layers ─→ IoU of the mask
    mask, 28 x 28 ─ sigmoid ─ max pool ─┘

    mask score = class score x predicted IoU

Average precision ranks detections by their scores, so a detection that is certainly a car and badly
drawn costs more than one that is neither. Boxes keep the class score; only masks are ranked anew.

Its target is the IoU of the drawn mask with the *whole* object: what lies outside the box is
missed, too. As in the release, the gradient of its loss reaches the mask head. One thing differs
from it: areas are counted on masks of pixels instead of polygons.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.conv import kaiming_normal_
from segcourse.models.mask_rcnn import MaskRCNN, Regions, drawing_loss, mask_targets


class MaskIoUHead(nn.Module):
    """Guess a mask's IoU for every class: (R, C, 14, 14), (R, 28, 28) -> (R, K + 1).

    Args:
        channels: C, also of the convolutions; 256 in the paper.
        num_classes: K, without the background.
        hidden: of the fully connected layers; 1024 in the paper.
    """

    def __init__(self, channels: int, num_classes: int, hidden: int = 1024):
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
            nn.Linear(channels * 7 * 7, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, num_classes + 1),
        )
        nn.init.normal_(self.layers[-1].weight, std=0.01)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, features: Tensor, masks: Tensor) -> Tensor:
        pooled = F.max_pool2d(masks[:, None], kernel_size=2)
        return self.layers(self.convolve(torch.cat([features, pooled], dim=1)))


class MaskScoringRCNN(MaskRCNN):
    """Find objects and rank their masks: images (N, 3, H, W) -> N Detections.

    Args:
        num_classes: K, without the background.
        channels: of the pyramid and both mask heads.
        hidden: of the box head and the IoU head.
        options: of ``MaskRCNN``.
    """

    def __init__(
        self, num_classes: int, *, channels: int = 256, hidden: int = 1024, **options: object
    ):
        super().__init__(num_classes, channels=channels, hidden=hidden, **options)
        self.iou_head = MaskIoUHead(channels, num_classes, hidden)

    def guess_iou(self, features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """The IoU that every region's mask seems to have: -> (R,)."""
        return self.iou_head(features, logits.sigmoid())[torch.arange(len(labels)), labels]

    def judge(self, scores: Tensor, features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        return scores * self.guess_iou(features, logits, labels).clamp(0, 1)

    def mask_losses(self, regions: Sequence[Regions]) -> dict[str, Tensor]:
        """The losses of the mask head and of the IoU head."""
        logits = [self.draw(each.features, each.labels) for each in regions]
        targets = [mask_targets(each) for each in regions]
        guesses, wanted = [], []
        for each, logit, target in zip(regions, logits, targets, strict=True):
            guesses.append(self.guess_iou(each.features, logit, each.labels))
            wanted.append(mask_iou_targets(logit.detach() > 0, target > 0.5, seen_shares(each)))
        guess, want = torch.cat(guesses), torch.cat(wanted)
        hit = want > 0  # nothing is learnt from masks that miss their object
        off = 0.5 * (guess - want).square()[hit].sum()
        return {
            "mask": drawing_loss(torch.cat(logits), torch.cat(targets)),
            "mask_iou": off / max(int(hit.sum()), 1),
        }


def mask_iou_targets(drawn: Tensor, truth: Tensor, seen: Tensor) -> Tensor:
    """IoU with whole objects, of masks inside boxes: (R, h, w), (R, h, w) bool, (R,) -> (R,).

    Args:
        drawn: predicted masks.
        truth: true masks as far as the boxes show them.
        seen: shares of the objects that the boxes show.
    """
    shared = (drawn & truth).sum(dim=(1, 2))
    whole = truth.sum(dim=(1, 2)) / seen.clamp(min=1e-6)
    union = drawn.sum(dim=(1, 2)) + whole - shared
    return shared / union.clamp(min=1.0)


def seen_shares(regions: Regions) -> Tensor:
    """How much of every object lies in its box, in whole pixels: -> (R,)."""
    shares = []
    for mask, (x0, y0, x1, y1) in zip(regions.masks, regions.boxes.round().long(), strict=True):
        inside = mask[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
        shares.append(inside.sum() / mask.sum().clamp(min=1))
    return torch.stack(shares) if shares else regions.boxes.new_zeros(0)
