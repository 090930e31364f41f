"""Region proposals: at every cell of a pyramid, which anchors hold an object, and how they are off.

Ren, He, Girshick, Sun. "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal
Networks." NIPS 2015. https://arxiv.org/abs/1506.01497; on a pyramid as in
https://arxiv.org/abs/1612.03144, with one head for all levels and one size of anchors for each.

It knows no classes, only that something is there.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.ops.anchors import RATIOS, cell_anchors, decode, encode, grid_anchors
from segcourse.ops.boxes import box_iou, clip_boxes_to_image
from segcourse.ops.matching import NOTHING, best_matches, sample
from segcourse.ops.suppression import nms

SMALLEST = 1e-3  # pixels: a proposal is at least as wide and as high
OVERLAP = 0.7  # of two proposals, one of which is dropped; of an anchor and its object
LOOKED_AT = 256  # anchors of an image, half of them objects at most
BETA = 1 / 9  # of the smooth L1 loss


class RPN(nn.Module):
    """Boxes that may hold something: a pyramid, finest first -> (P, 4) for every image.

    Args:
        channels: of every level.
        sides: of the square anchors, one for each level.
        ratios: of height to width, of the anchors of a cell.
        proposals: how many are kept of a level before, and of an image after suppression.

    Raises:
        ValueError: if the numbers of proposals are not positive.
    """

    def __init__(
        self,
        channels: int,
        sides: Sequence[float],
        *,
        ratios: Sequence[float] = RATIOS,
        proposals: tuple[int, int] = (1000, 1000),
    ):
        super().__init__()
        if min(proposals) < 1:
            raise ValueError(f"RPN(proposals={proposals}) proposes nothing: both must be above 0.")
        self.before, self.after = proposals
        self.layer = normal(nn.Conv2d(channels, channels, kernel_size=3, padding=1))
        self.score = normal(nn.Conv2d(channels, len(ratios), kernel_size=1))
        self.delta = normal(nn.Conv2d(channels, 4 * len(ratios), kernel_size=1))
        for number, side in enumerate(sides):
            self.register_buffer(f"cell{number}", cell_anchors(side, ratios), persistent=False)

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Of every level, anchors in their order: scores (N, B) and deltas (N, B, 4)."""
        scores, deltas = [], []
        for level in levels:
            x = F.relu(self.layer(level))
            scores.append(self.score(x).permute(0, 2, 3, 1).flatten(1))
            delta = self.delta(x).unflatten(1, (-1, 4))  # (N, A, 4, H, W)
            deltas.append(delta.permute(0, 3, 4, 1, 2).flatten(1, 3))
        return scores, deltas

    def anchors(self, levels: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """The anchors of every level, for images of (height, width): -> (B, 4) each."""
        found = []
        for number, level in enumerate(levels):
            height, width = level.shape[-2:]
            stride = size[0] // height, size[1] // width
            found.append(grid_anchors(getattr(self, f"cell{number}"), (height, width), stride))
        return found

    @torch.no_grad()
    def propose(self, levels: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """The best boxes of every image, best first: -> (P, 4) each."""
        return self.select(*self(levels), self.anchors(levels, size), size)

    @torch.no_grad()
    def select(
        self,
        scores: list[Tensor],
        deltas: list[Tensor],
        anchors: list[Tensor],
        size: tuple[int, int],
    ) -> list[Tensor]:
        """From scores and deltas of every level to the proposals of every image."""
        proposals = []
        for image in range(len(scores[0])):
            boxes, best, origin = [], [], []
            for level, (score, delta, anchor) in enumerate(
                zip(scores, deltas, anchors, strict=True)
            ):
                top = score[image].topk(min(self.before, score.shape[1]))
                boxes.append(decode(delta[image, top.indices], anchor[top.indices]))
                best.append(top.values.sigmoid())
                origin.append(torch.full_like(top.indices, level))
            boxes = clip_boxes_to_image(torch.cat(boxes), size)
            large = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST).all(dim=1)
            boxes, best, origin = boxes[large], torch.cat(best)[large], torch.cat(origin)[large]
            kept = nms(boxes, best, labels=origin, iou_threshold=OVERLAP)[: self.after]
            proposals.append(boxes[kept])
        return proposals

    def loss(
        self, levels: Sequence[Tensor], size: tuple[int, int], truths: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Losses against the true boxes (G, 4) of every image, and the proposals of every image."""
        scores, deltas = self(levels)
        by_level = self.anchors(levels, size)
        proposals = self.select([s.detach() for s in scores], [d.detach() for d in deltas],
                                by_level, size)  # fmt: skip
        anchors, scores, deltas = torch.cat(by_level), torch.cat(scores, 1), torch.cat(deltas, 1)
        right, found, wanted = [], [], []
        for score, delta, truth in zip(scores, deltas, truths, strict=True):
            overlap = box_iou(truth, anchors)
            matches = best_matches(overlap, high=OVERLAP, low=0.3, keep_best=True)
            objects, nothing = sample(matches, LOOKED_AT, share=0.5)
            right.append(score[torch.cat([objects, nothing])])
            wanted.append((matches[torch.cat([objects, nothing])] != NOTHING).float())
            code = encode(truth[matches[objects]], anchors[objects])
            off = F.smooth_l1_loss(delta[objects], code, beta=BETA, reduction="sum")
            found.append(off)
        right, wanted = torch.cat(right), torch.cat(wanted)
        losses = {
            "objectness": F.binary_cross_entropy_with_logits(right, wanted),
            "rpn_box": torch.stack(found).sum() / len(right),
        }
        return losses, proposals


def normal(layer: nn.Conv2d) -> nn.Conv2d:
    """A layer that starts with small weights: every anchor is as likely as any other."""
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer
