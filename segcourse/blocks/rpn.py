"""Region proposals: which anchors of a pyramid hold an object, and how far it is from the anchor.

Ren, He, Girshick, Sun. "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal
Networks." NIPS 2015. https://arxiv.org/abs/1506.01497; on a pyramid as in
https://arxiv.org/abs/1612.03144, with one head for all levels and one size of anchors for each.

    every level ─ 3 x 3 ─┬─ 1 x 1 ─→ is there an object?   ─┐
                         └─ 1 x 1 ─→ deltas of the anchor  ─┴─ best, decode, clip, NMS ─→ proposals

It predicts no classes, only whether there is an object.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.ops.anchors import (
    ASPECT_RATIOS,
    cell_anchors,
    decode_boxes,
    encode_boxes,
    grid_anchors,
)
from segcourse.ops.boxes import box_iou, clip_boxes_to_image
from segcourse.ops.matching import match_anchors, sample
from segcourse.ops.suppression import nms

SMOOTH_L1_BETA = 1 / 9  # below, the loss of deltas is quadratic
_MIN_SIZE = 1e-3  # pixels: a proposal is at least as wide and as high


class RPNHead(nn.Module):
    """Logits (N, B) and deltas (N, B, 4) of the B anchors of every level (N, C, H, W).

    Anchors are ordered row by row, position by position, as in ``grid_anchors``.

    Args:
        channels: C of every level.
        num_anchors: of a position.
    """

    def __init__(self, channels: int, num_anchors: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.cls_logits = nn.Conv2d(channels, num_anchors, kernel_size=1)
        self.bbox_pred = nn.Conv2d(channels, 4 * num_anchors, kernel_size=1)
        for layer in self.children():  # small weights: all anchors start with about the same score
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = [], []
        for level in levels:
            x = F.relu(self.conv(level))
            logits.append(full_precision(self.cls_logits(x)).permute(0, 2, 3, 1).flatten(1))
            delta = full_precision(self.bbox_pred(x)).unflatten(1, (-1, 4))  # (N, A, 4, H, W)
            deltas.append(delta.permute(0, 3, 4, 1, 2).flatten(1, 3))
        return logits, deltas


class RPN(nn.Module):
    """Boxes that may hold an object, best first: a pyramid, finest first -> (P, 4) for every image.

    Args:
        channels: of every level.
        strides: of the levels, in pixels.
        anchor_sizes: sides of the square anchors, one for each level.
        aspect_ratios: of height to width, of the anchors of a position.
        pre_nms_top_n: proposals kept of every level before suppression.
        post_nms_top_n: proposals kept of every image after suppression.
        nms_threshold: of two proposals with a higher IoU, the worse is dropped.
        fg_iou_threshold: IoU with an object from which an anchor counts as object in training.
        bg_iou_threshold: IoU below which an anchor counts as background in training.
        batch_size_per_image: anchors of an image that the losses are computed for.
        positive_fraction: of them that are objects, at most.

    Raises:
        ValueError: if the numbers of proposals are not positive, or if there is not one size for
            each level.
    """

    def __init__(
        self,
        channels: int,
        strides: Sequence[int],
        *,
        anchor_sizes: Sequence[float] = (32, 64, 128, 256, 512),
        aspect_ratios: Sequence[float] = ASPECT_RATIOS,
        pre_nms_top_n: int = 1000,
        post_nms_top_n: int = 1000,
        nms_threshold: float = 0.7,
        fg_iou_threshold: float = 0.7,
        bg_iou_threshold: float = 0.3,
        batch_size_per_image: int = 256,
        positive_fraction: float = 0.5,
    ):
        super().__init__()
        if min(pre_nms_top_n, post_nms_top_n) < 1:
            raise ValueError(
                f"RPN(pre_nms_top_n={pre_nms_top_n}, post_nms_top_n={post_nms_top_n}) proposes "
                "nothing: both must be above 0."
            )
        if len(anchor_sizes) != len(strides):
            raise ValueError(
                f"anchor_sizes={tuple(anchor_sizes)} came for levels of the strides "
                f"{tuple(strides)}: give each level one size."
            )
        self.strides = list(strides)
        self.anchor_sizes, self.aspect_ratios = tuple(anchor_sizes), tuple(aspect_ratios)
        self.pre_nms_top_n, self.post_nms_top_n = pre_nms_top_n, post_nms_top_n
        self.nms_threshold = nms_threshold
        self.fg_iou_threshold, self.bg_iou_threshold = fg_iou_threshold, bg_iou_threshold
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.head = RPNHead(channels, len(self.aspect_ratios))

    @torch.no_grad()
    def forward(self, levels: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Proposals of every image, clipped to its own (height, width)."""
        logits, deltas = self.head(levels)
        return self._filter_proposals(logits, deltas, self.anchors(levels), sizes)

    def anchors(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """The anchors of every level: (N, C, H, W) each -> (B, 4) each."""
        found = []
        for level, size, stride in zip(levels, self.anchor_sizes, self.strides, strict=True):
            dtype = torch.promote_types(level.dtype, torch.float32)
            cells = cell_anchors(size, self.aspect_ratios).to(device=level.device, dtype=dtype)
            found.append(grid_anchors(cells, level.shape[-2:], stride))
        return found

    @torch.no_grad()
    def _filter_proposals(
        self,
        logits: list[Tensor],
        deltas: list[Tensor],
        anchors: list[Tensor],
        sizes: Sequence[tuple[int, int]],
    ) -> list[Tensor]:
        """From logits and deltas of every level to the proposals of every image."""
        proposals = []
        for image, size in enumerate(sizes):
            boxes, scores, origin = [], [], []
            for number, (logit, delta, anchor) in enumerate(
                zip(logits, deltas, anchors, strict=True)
            ):
                top = logit[image].topk(min(self.pre_nms_top_n, logit.shape[1]))
                boxes.append(decode_boxes(delta[image, top.indices], anchor[top.indices]))
                scores.append(top.values.sigmoid())
                origin.append(torch.full_like(top.indices, number))
            boxes = clip_boxes_to_image(torch.cat(boxes), size)
            large = ((boxes[:, 2:] - boxes[:, :2]) >= _MIN_SIZE).all(dim=1)
            boxes, scores, origin = boxes[large], torch.cat(scores)[large], torch.cat(origin)[large]
            kept = nms(boxes, scores, labels=origin, iou_threshold=self.nms_threshold)
            proposals.append(boxes[kept[: self.post_nms_top_n]])
        return proposals

    def loss(
        self,
        levels: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        targets: Sequence[Tensor],
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Losses against the true boxes (G, 4) of every image, and the proposals of every image."""
        logits, deltas = self.head(levels)
        anchors = self.anchors(levels)
        proposals = self._filter_proposals(logits, deltas, anchors, sizes)
        losses = self._losses(
            torch.cat(logits, dim=1), torch.cat(deltas, dim=1), torch.cat(anchors), targets
        )
        return losses, proposals

    def _losses(
        self, logits: Tensor, deltas: Tensor, anchors: Tensor, targets: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Losses of the anchors of all levels: (N, B), (N, B, 4), (B, 4), N of (G, 4)."""
        chosen, is_object, box_losses = [], [], []
        for logit, delta, target in zip(logits, deltas, targets, strict=True):
            matches = match_anchors(
                box_iou(target, anchors),
                high_threshold=self.fg_iou_threshold,
                low_threshold=self.bg_iou_threshold,
                allow_low_quality_matches=True,
            )
            positive, negative = sample(
                matches, self.batch_size_per_image, positive_fraction=self.positive_fraction
            )
            chosen += [logit[positive], logit[negative]]
            is_object += [torch.ones_like(chosen[-2]), torch.zeros_like(chosen[-1])]
            code = encode_boxes(target[matches[positive]], anchors[positive])
            box_losses.append(
                F.smooth_l1_loss(delta[positive], code, beta=SMOOTH_L1_BETA, reduction="sum")
            )
        chosen, is_object = torch.cat(chosen), torch.cat(is_object)
        return {
            "objectness": F.binary_cross_entropy_with_logits(chosen, is_object),
            "rpn_box": torch.stack(box_losses).sum() / len(chosen),
        }


def full_precision(x: Tensor) -> Tensor:
    """Half precision as float32, because it cannot tell neighbouring pixels apart: any shape."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
