"""Panoptic FPN: Mask R-CNN finds the things, and one branch more on its pyramid paints the stuff.

Kirillov, Girshick, He, Dollár. "Panoptic Feature Pyramid Networks." CVPR 2019.
https://arxiv.org/abs/1901.02446

    P5 ─ 3 x 3, x 2 ─ 3 x 3, x 2 ─ 3 x 3, x 2 ─┐
    P4 ─ 3 x 3, x 2 ─ 3 x 3, x 2 ──────────────┤
    P3 ─ 3 x 3, x 2 ───────────────────────────┤
    P2 ─ 3 x 3 ────────────────────────────────+ ─ 1 x 1 ─ x 4 ─→ every stuff class, and "a thing"

All things share one class of the branch, whose pixels become nobody's stuff. Both are put together
by ``segcourse.ops.merging``. The losses are Mask R-CNN's, and the branch's cross-entropy.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.conv import conv_gn_relu, kaiming_normal_
from segcourse.blocks.upsample import resize
from segcourse.models.mask_rcnn import Detections, MaskRCNN, Objects
from segcourse.ops.labels import IGNORE, check_labels
from segcourse.ops.merging import merge_panoptic

SHARE = 0.5  # of the branch's loss


class SemanticBranch(nn.Module):
    """Score every class at stride 4: four maps, finest first -> (N, num_classes, H/4, W/4).

    Args:
        in_channels: of the pyramid; 256 in the paper.
        num_classes: the stuff classes and one more.
        channels: inside; 128 in the paper.
        levels: of the pyramid.
    """

    def __init__(self, in_channels: int, num_classes: int, channels: int = 128, levels: int = 4):
        super().__init__()
        self.paths = nn.ModuleList()
        for level in range(levels):
            path = nn.Sequential()
            for step in range(max(level, 1)):
                path.append(conv_gn_relu(channels if step else in_channels, channels, groups=32))
                if level:
                    path.append(nn.Upsample(scale_factor=2, mode="bilinear"))
            self.paths.append(path)
        self.score = kaiming_normal_(nn.Conv2d(channels, num_classes, kernel_size=1))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        size = levels[0].shape[-2:]
        maps = [path(level) for path, level in zip(self.paths, levels, strict=True)]
        return self.score(sum(x if x.shape[-2:] == size else resize(x, size) for x in maps))


class PanopticFPN(nn.Module):
    """Paint stuff and find things: images (N, 3, H, W) -> panoptic ids (N, H, W).

    Args:
        things: the classes that are things; label 1 of the detector is the first of them.
        stuff: the classes that are stuff.
        channels: of the pyramid; 256 in the paper.
        branch_channels: of the semantic branch; 128 in the paper.
        least_stuff: pixels that a stuff class needs in an image; 4096 in the paper.
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
        least_stuff: int = 4096,
        **options: object,
    ):
        super().__init__()
        if not things or not stuff or set(things) & set(stuff):
            raise ValueError(
                f"PanopticFPN(things={list(things)}, stuff={list(stuff)}) is wanted with some of "
                "both, and no class that is both."
            )
        self.things, self.stuff, self.least_stuff = list(things), list(stuff), least_stuff
        self.detector = MaskRCNN(len(things), channels=channels, **options)
        self.branch = SemanticBranch(channels, len(stuff) + 1, branch_channels)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        size = images.shape[-2:]
        levels = self.detector.levels(images)
        scores = resize(self.branch(levels[:-1]), size)
        found = self.detector.detect_all(levels, size)
        return torch.stack([self.merge(*parts) for parts in zip(found, scores, strict=True)])

    def merge(self, found: Detections, scores: Tensor) -> Tensor:
        """The panoptic ids of one image, from its detections and the branch's scores (S, H, W)."""
        names = torch.tensor([IGNORE, *self.stuff], device=scores.device)
        classes = torch.tensor(self.things, device=scores.device)[found.labels - 1]
        return merge_panoptic(
            found.masks > 0.5,
            found.mask_scores,
            classes,
            names[scores.argmax(dim=0)],
            min_stuff_area=self.least_stuff,
        )

    def loss(
        self, images: Tensor, objects: Sequence[Objects], semantic: Tensor
    ) -> dict[str, Tensor]:
        """The detector's five losses and "semantic"; the truth of the latter is (N, H, W) classes.

        Raises:
            TypeError, ValueError: as ``MaskRCNN.loss``, and for a label that is no class.
        """
        levels = self.detector.levels(images)
        scores = resize(self.branch(levels[:-1]), images.shape[-2:])
        truth = self.branch_truth(semantic)
        off = F.cross_entropy(scores, truth, ignore_index=IGNORE)
        losses = self.detector.loss_of(levels, images.shape[-2:], objects)
        return {**losses, "semantic": SHARE * off}

    def branch_truth(self, semantic: Tensor) -> Tensor:
        """Classes as the branch counts them: things 0, stuff from 1, void IGNORE. (...) -> (...)"""
        table = torch.full((IGNORE + 1,), -1, device=semantic.device)
        table[self.things] = 0
        table[self.stuff] = torch.arange(1, len(self.stuff) + 1, device=semantic.device)
        table[IGNORE] = IGNORE
        check_labels(semantic, IGNORE, "semantic")
        truth = table[semantic]
        if (truth < 0).any():
            raise ValueError(
                f"the truth holds class {int(semantic[truth < 0][0])}, which is neither one of the "
                f"things {self.things} nor of the stuff {self.stuff}."
            )
        return truth
