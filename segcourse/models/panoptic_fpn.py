"""Panoptic FPN: Mask R-CNN finds the things, and a branch on its pyramid segments the stuff.

Kirillov, Girshick, He, Dollár. "Panoptic Feature Pyramid Networks." CVPR 2019.
https://arxiv.org/abs/1901.02446

    P5 ─ 3 x 3, x 2 ─ 3 x 3, x 2 ─ 3 x 3, x 2 ─┐
    P4 ─ 3 x 3, x 2 ─ 3 x 3, x 2 ──────────────┤
    P3 ─ 3 x 3, x 2 ───────────────────────────┤
    P2 ─ 3 x 3 ────────────────────────────────+ ─ 1 x 1 ─ x 4 ─→ every stuff class, and "a thing"

All things share one class of the branch, whose pixels belong to no stuff. Both are put together by
``segcourse.ops.merging``. The losses are Mask R-CNN's, and the branch's cross-entropy.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.conv import conv_gn_relu, kaiming_normal_
from segcourse.blocks.rpn import full_precision
from segcourse.blocks.upsample import resize
from segcourse.models.mask_rcnn import MaskRCNN
from segcourse.ops.instances import Detections, Instances
from segcourse.ops.labels import IGNORE, check_labels
from segcourse.ops.merging import merge_panoptic

_SEMANTIC_LOSS_WEIGHT = 0.5


class SemanticBranch(nn.Module):
    """Logits of every class at the finest stride: maps, finest first -> (N, num_classes, h, w).

    Args:
        in_channels: of the pyramid; 256 in the paper.
        num_classes: the stuff classes and one more.
        channels: inside; 128 in the paper.
        strides: of the maps, finest first.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: int = 128,
        strides: Sequence[int] = (4, 8, 16, 32),
    ):
        super().__init__()
        self.paths = nn.ModuleList()
        for stride in strides:
            path = nn.Sequential()
            doublings = (stride // strides[0]).bit_length() - 1
            for step in range(max(doublings, 1)):
                path.append(conv_gn_relu(channels if step else in_channels, channels, groups=32))
                if doublings:
                    path.append(nn.Upsample(scale_factor=2, mode="bilinear"))
            self.paths.append(path)
        self.predictor = kaiming_normal_(nn.Conv2d(channels, num_classes, kernel_size=1))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        height, width = levels[0].shape[-2:]
        maps = [path(level) for path, level in zip(self.paths, levels, strict=True)]
        # Twice an odd side rounded up is a row too many: cut off, every position keeps its place.
        return full_precision(self.predictor(sum(x[..., :height, :width] for x in maps)))


class PanopticFPN(nn.Module):
    """Segment stuff and things: images (N, 3, H, W) or N of (3, H, W) -> N panoptic maps (H, W).

    Args:
        things: the classes that are things; label 0 of the detector is the first of them.
        stuff: the classes that are stuff.
        channels: of the pyramid; 256 in the paper.
        branch_channels: of the semantic branch; 128 in the paper.
        min_stuff_area: pixels that a stuff class needs in an image; 4096 in the paper.
        options: of ``MaskRCNN``.

    Raises:
        ValueError: if there are no things or no stuff, or a class is both.
    """

    def __init__(
        self,
        things: Sequence[int],
        stuff: Sequence[int],
        *,
        channels: int = 256,
        branch_channels: int = 128,
        min_stuff_area: int = 4096,
        **options: object,
    ):
        super().__init__()
        if not things or not stuff or set(things) & set(stuff):
            raise ValueError(
                f"PanopticFPN(things={list(things)}, stuff={list(stuff)}) is wanted with some of "
                "both, and no class that is both."
            )
        self.things, self.stuff = list(things), list(stuff)
        self.min_stuff_area = min_stuff_area
        self.detector = MaskRCNN(len(things), channels=channels, **options)
        self.branch = SemanticBranch(
            channels, len(stuff) + 1, branch_channels, self.detector.fpn.strides[:-1]
        )

    @torch.no_grad()
    def forward(self, images: Tensor | Sequence[Tensor]) -> list[Tensor]:
        batch = self.detector.batch(images)
        levels = self.detector.levels(batch.images)
        logits = self.semantic_logits(levels)
        detections = self.detector.detect_all(levels, batch.sizes)
        return [
            self.merge(found, own[:, :height, :width])
            for found, own, (height, width) in zip(detections, logits, batch.sizes, strict=True)
        ]

    def semantic_logits(self, levels: list[Tensor]) -> Tensor:
        """The branch's logits in the size of the padded batch, or larger: -> (N, S, H, W)."""
        logits, stride = self.branch(levels[:-1]), self.detector.fpn.strides[0]
        height, width = logits.shape[-2:]
        return resize(logits, (height * stride, width * stride))

    def merge(self, found: Detections, logits: Tensor) -> Tensor:
        """The panoptic ids of one image, from its detections and the branch's logits (S, H, W)."""
        names = torch.tensor([IGNORE, *self.stuff], device=logits.device)
        classes = torch.tensor(self.things, device=logits.device)[found.labels]
        return merge_panoptic(
            found.masks > 0.5,
            found.mask_scores,
            classes,
            names[logits.argmax(dim=0)],
            min_stuff_area=self.min_stuff_area,
        )

    def loss(
        self,
        images: Tensor | Sequence[Tensor],
        targets: Sequence[Instances],
        semantic: Tensor | Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """The detector's five losses and "semantic", whose target are classes (H, W) of each image.

        Raises:
            TypeError, ValueError: as ``MaskRCNN.loss``, for maps that do not fit the images, and
                for a label that is no class.
        """
        batch = self.detector.batch(images)
        levels = self.detector.levels(batch.images)
        height, width = batch.images.shape[-2:]
        target = self._padded_target(semantic, batch.sizes, (height, width))
        logits = self.semantic_logits(levels)[..., :height, :width]
        total = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="sum")
        semantic_loss = total / (target != IGNORE).sum().clamp(min=1)
        losses = self.detector.losses_of(levels, batch.sizes, targets)
        return {**losses, "semantic": _SEMANTIC_LOSS_WEIGHT * semantic_loss}

    def branch_target(self, semantic: Tensor) -> Tensor:
        """Classes as the branch counts them: things 0, stuff from 1, void IGNORE. (...) -> (...)

        Raises:
            TypeError, ValueError: if a label is none of these.
        """
        semantic = check_labels(semantic, IGNORE, "semantic").long()
        table = torch.full((IGNORE + 1,), -1, device=semantic.device)
        table[self.things] = 0
        table[self.stuff] = torch.arange(1, len(self.stuff) + 1, device=semantic.device)
        table[IGNORE] = IGNORE
        target = table[semantic]
        if (target < 0).any():
            raise ValueError(
                f"the target holds class {int(semantic[target < 0][0])}, which is neither one of "
                f"the things {self.things} nor of the stuff {self.stuff}."
            )
        return target

    def _padded_target(
        self,
        semantic: Tensor | Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        padded: tuple[int, int],
    ) -> Tensor:
        """The branch's targets of all images, void in the padding: -> (N, H, W)."""
        if [tuple(each.shape) for each in semantic] != list(sizes):
            raise ValueError(
                f"semantic maps are as large as their images, {list(sizes)}, but these are "
                f"{[tuple(each.shape) for each in semantic]}: one (H, W) for each."
            )
        target = torch.full((len(sizes), *padded), IGNORE, device=semantic[0].device)
        for canvas, labels, (height, width) in zip(target, semantic, sizes, strict=True):
            canvas[:height, :width] = self.branch_target(labels)
        return target
