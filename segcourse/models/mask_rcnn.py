"""Mask R-CNN: find boxes that may hold an object, then name it, move the box and draw its mask.

He, Gkioxari, Dollár, Girshick. "Mask R-CNN." ICCV 2017. https://arxiv.org/abs/1703.06870

    image ─ ResNet ─ FPN ─┬─ RPN: is there an object, and where? ─→ proposals (boxes)
                          │                                             │
                          └──────── RoIAlign: 7 x 7 ←───────────────────┤
                                       └─ box head: class, better box ──┴─→ detections
                          └──────── RoIAlign: 14 x 14 ←─────────────────────────┤
                                       └─ mask head: 28 x 28 for every class ───┴─→ masks

The mask head answers for every class by itself (a sigmoid), and only the mask of the class that the
box head found is looked at: what an object is and where it is do not compete.

The defaults build torchvision's network of the paper, on ResNet-50 and its pyramid: equal weights
give equal detections. Inside, images are handled one by one where their numbers of boxes differ.
Four things differ from the paper:

- RoIAlign takes two samples a bin and axis, and is not shifted by half a cell (``roi_align``).
- Batch normalisation is trained; the paper keeps ImageNet's means and variances.
- The smooth L1 losses are quadratic below 1/9.
- Images come as they are: normalising and resizing them is left to the caller.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.conv import kaiming_normal_
from segcourse.blocks.fpn import FPN
from segcourse.blocks.resnet import ResNet
from segcourse.models.rpn import RPN
from segcourse.ops.anchors import RATIOS, decode, encode
from segcourse.ops.boxes import box_area, box_iou, clip_boxes_to_image
from segcourse.ops.matching import best_matches, sample
from segcourse.ops.roi import crop_masks, paste_masks, roi_align
from segcourse.ops.suppression import nms

CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
BETA = 1 / 9  # of the smooth L1 losses
SMALLEST = 1e-2  # pixels: a detection is at least as wide and as high
MASK_SIDE = 28


class Objects(NamedTuple):
    """What an image holds: G objects."""

    boxes: Tensor  # (G, 4) float
    labels: Tensor  # (G,) int64 from 1; 0 is the background
    masks: Tensor  # (G, H, W) bool


class Detections(NamedTuple):
    """What was found in an image: D detections, best first."""

    boxes: Tensor  # (D, 4)
    labels: Tensor  # (D,) from 1
    scores: Tensor  # (D,) that the class is right
    masks: Tensor | None  # (D, H, W) probabilities; None if the network draws none
    mask_scores: Tensor  # (D,) by which masks are ranked; ``scores``, unless a head judges them


class Regions(NamedTuple):
    """What the mask losses look at in an image: R regions that show an object."""

    features: Tensor  # (R, C, 14, 14)
    boxes: Tensor  # (R, 4)
    labels: Tensor  # (R,) of the object
    masks: Tensor  # (R, H, W) bool, of the object


class BoxHead(nn.Module):
    """Name a region and move its box: (R, C, 7, 7) -> scores (R, K + 1), deltas (R, K + 1, 4)."""

    def __init__(self, channels: int, num_classes: int, hidden: int, size: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * size * size, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
        )
        self.score = nn.Linear(hidden, num_classes + 1)
        self.delta = nn.Linear(hidden, 4 * (num_classes + 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.layers(x)
        return self.score(x), self.delta(x).unflatten(1, (-1, 4))


class MaskHead(nn.Module):
    """Draw a region's mask for every class: (R, C, 14, 14) -> logits (R, K + 1, 28, 28)."""

    def __init__(self, channels: int, num_classes: int, depth: int = 4):
        super().__init__()
        convolutions = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth)]
        self.layers = nn.Sequential(
            *(nn.Sequential(kaiming_normal_(each), nn.ReLU(inplace=True)) for each in convolutions)
        )
        deconv = nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)
        self.enlarge = kaiming_normal_(deconv)
        self.score = kaiming_normal_(nn.Conv2d(channels, num_classes + 1, kernel_size=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.score(F.relu(self.enlarge(self.layers(x))))


class MaskRCNN(nn.Module):
    """Find objects: images (N, 3, H, W) -> N Detections.

    Args:
        num_classes: K, without the background, which is class 0.
        backbone: builds the network whose stages the pyramid reads; a ResNet-50.
        channels: of the pyramid and of the mask head; 256 in the paper.
        hidden: of the box head; 1024 in the paper.
        anchor_sides: of the square anchors, one for each map of the pyramid, ascending.
        anchor_ratios: of height to width.
        canonical: the side of a box, in pixels, that is cut from the third map; 224 in the paper,
            for images of 800 pixels.
        proposals: of the RPN, how many of a map before and of an image after suppression.
        regions: proposals of an image that the losses look at; 512 in the paper.
        score_threshold: detections below are dropped.
        most: detections of an image.
        crop: cuts a box from a map, ``roi_align`` or ``roi_pool``.
        paste: puts a mask into its box, ``paste_masks`` or ``paste_rounded``.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: Callable[[], nn.Module] = ResNet,
        channels: int = 256,
        hidden: int = 1024,
        anchor_sides: Sequence[float] = (32, 64, 128, 256, 512),
        anchor_ratios: Sequence[float] = RATIOS,
        canonical: float = 224,
        proposals: tuple[int, int] = (1000, 1000),
        regions: int = 512,
        score_threshold: float = 0.05,
        most: int = 100,
        crop: Callable[..., Tensor] = roi_align,
        paste: Callable[..., Tensor] = paste_masks,
    ):
        super().__init__()
        if num_classes < 1:
            raise ValueError(
                f"MaskRCNN(num_classes={num_classes}) finds nothing: give at least 1 class, not "
                "counting the background."
            )
        self.num_classes, self.canonical = num_classes, canonical
        self.crop, self.paste = crop, paste
        self.regions, self.score_threshold, self.most = regions, score_threshold, most
        self.backbone = backbone()
        self.pyramid = FPN(self.backbone.channels[1:], channels)
        self.rpn = RPN(channels, anchor_sides, ratios=anchor_ratios, proposals=proposals)
        self.box_head = BoxHead(channels, num_classes, hidden, size=7)
        self.mask_head = MaskHead(channels, num_classes)

    # ------------------------------------------------------------------------------ detecting

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Detections]:
        return self.detect_all(self.levels(images), images.shape[-2:])

    def detect_all(self, levels: list[Tensor], size: tuple[int, int]) -> list[Detections]:
        """Detections of every image of (height, width), from the pyramid's maps."""
        proposals = self.rpn.propose(levels, size)
        return [
            self.detect([level[index] for level in levels], boxes, size)
            for index, boxes in enumerate(proposals)
        ]

    def levels(self, images: Tensor) -> list[Tensor]:
        """The pyramid's maps, finest first: (N, 3, H, W) -> five of (N, C, h, w)."""
        return self.pyramid(self.backbone(images)[1:])

    def detect(self, levels: list[Tensor], proposals: Tensor, size: tuple[int, int]) -> Detections:
        """From the proposals of one image to its detections: levels (C, h, w), boxes (P, 4)."""
        scores, deltas = self.box_head(self.cut(levels, proposals, 7))
        scores = scores.softmax(dim=1)
        boxes = clip_boxes_to_image(decode(deltas, proposals[:, None], CODE_WEIGHTS), size)
        labels = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
        boxes, scores, labels = boxes[:, 1:].flatten(0, 1), scores[:, 1:].flatten(), labels[:, 1:]
        large = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST).all(dim=1)
        chosen = ((scores > self.score_threshold) & large).nonzero()[:, 0]
        boxes, scores, labels = boxes[chosen], scores[chosen], labels.flatten()[chosen]
        kept = nms(boxes, scores, labels=labels, iou_threshold=0.5)[: self.most]
        boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
        features = self.cut(levels, boxes, 14)
        logits = self.draw(features, labels)
        masks = self.paste(logits.sigmoid(), boxes, size)
        return Detections(
            boxes, labels, scores, masks, self.judge(scores, features, logits, labels)
        )

    def draw(self, features: Tensor, labels: Tensor) -> Tensor:
        """Logits of the mask of every region's class: (R, C, 14, 14), (R,) -> (R, 28, 28)."""
        return self.mask_head(features)[torch.arange(len(labels)), labels]

    def judge(self, scores: Tensor, features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """How good the masks are: as good as the class is certain. (R,) ... -> (R,)"""
        return scores

    def cut(self, levels: list[Tensor], boxes: Tensor, side: int) -> Tensor:
        """What every box holds: (R, 4) -> (R, C, side, side), from the map that suits its size.

        Every doubling of the box goes one map up (the pyramid's paper, equation 1).
        """
        *levels, _ = levels  # the last is for anchors only
        up = (box_area(boxes).sqrt() / self.canonical).log2() + 2 + 1e-6
        wanted = up.floor().clamp(0, len(levels) - 1)
        features = boxes.new_zeros(len(boxes), levels[0].shape[0], side, side)
        for index in wanted.unique().long().tolist():
            own = (wanted == index).nonzero()[:, 0]
            scale = 2.0 ** -(index + 2)
            features = features.index_copy(
                0, own, self.crop(levels[index], boxes[own], (side, side), spatial_scale=scale)
            )
        return features

    # ------------------------------------------------------------------------------- training

    def loss(self, images: Tensor, objects: Sequence[Objects]) -> dict[str, Tensor]:
        """The five losses of a batch: {"objectness", "rpn_box", "class", "box", "mask"}, scalars.

        Raises:
            TypeError, ValueError: if an image's objects do not fit it, see ``check_objects``.
        """
        return self.loss_of(self.levels(images), images.shape[-2:], objects)

    def loss_of(
        self, levels: list[Tensor], size: tuple[int, int], objects: Sequence[Objects]
    ) -> dict[str, Tensor]:
        """The same losses, from the pyramid's maps of images of (height, width)."""
        if len(levels[0]) != len(objects):
            raise ValueError(
                f"{len(levels[0])} images came with the objects of {len(objects)}: give Objects "
                "for each, also where there are none."
            )
        for each in objects:
            check_objects(each, size, self.num_classes)
        losses, proposals = self.rpn.loss(levels, size, [each.boxes for each in objects])
        return losses | self.head_losses(levels, proposals, objects)

    def head_losses(
        self, levels: list[Tensor], proposals: list[Tensor], objects: Sequence[Objects]
    ) -> dict[str, Tensor]:
        """Losses of box and mask head, over the regions of all images."""
        scores, deltas, labels, codes, regions = [], [], [], [], []
        for index, truth in enumerate(objects):
            own = [level[index] for level in levels]
            boxes, matches = self.choose(proposals[index], truth)
            seen = (matches >= 0).nonzero()[:, 0]
            label = torch.zeros_like(matches)
            label[seen] = truth.labels[matches[seen]]
            score, delta = self.box_head(self.cut(own, boxes, 7))
            scores.append(score), labels.append(label)
            boxes, matches, label = boxes[seen], matches[seen], label[seen]
            deltas.append(delta[seen, label])
            codes.append(encode(truth.boxes[matches], boxes, CODE_WEIGHTS))
            regions.append(Regions(self.cut(own, boxes, 14), boxes, label, truth.masks[matches]))
        off = F.smooth_l1_loss(torch.cat(deltas), torch.cat(codes), beta=BETA, reduction="sum")
        return {
            "class": F.cross_entropy(torch.cat(scores), torch.cat(labels)),
            "box": off / sum(len(label) for label in labels),
            **self.mask_losses(regions),
        }

    def mask_losses(self, regions: Sequence[Regions]) -> dict[str, Tensor]:
        """The loss of the mask head, in the mask of the object's class and no other."""
        logits = torch.cat([self.draw(each.features, each.labels) for each in regions])
        return {"mask": drawing_loss(logits, torch.cat([mask_targets(each) for each in regions]))}

    def choose(self, proposals: Tensor, truth: Objects) -> tuple[Tensor, Tensor]:
        """Regions for the losses, a quarter objects at most, and whose: -> (R, 4), (R,).

        The true boxes are proposals, too, so that the heads see good ones from the start.
        """
        boxes = torch.cat([proposals, truth.boxes])
        matches = best_matches(box_iou(truth.boxes, boxes), high=0.5, low=0.5)
        chosen = torch.cat(sample(matches, self.regions, share=0.25))
        return boxes[chosen], matches[chosen]


def mask_targets(regions: Regions) -> Tensor:
    """True masks as seen in their boxes: -> (R, 28, 28) from 0 to 1."""
    return crop_masks(regions.masks, regions.boxes, (MASK_SIDE, MASK_SIDE))


def drawing_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of every pixel, 0 without regions: (R, h, w), (R, h, w) -> scalar."""
    total = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    return total / max(targets.numel(), 1)


def check_objects(objects: Objects, size: tuple[int, int], num_classes: int) -> None:
    """Refuse objects that do not fit an image of (height, width).

    Raises:
        TypeError: if masks are not boolean.
        ValueError: if counts or sizes differ, a box has no area, or a label is not from 1 to K.
    """
    boxes, labels, masks = objects
    if masks.dtype != torch.bool:
        raise TypeError(f"masks must be boolean, but their dtype is {masks.dtype}: threshold them.")
    if boxes.shape != (len(labels), 4) or masks.shape != (len(labels), *size):
        raise ValueError(
            f"an image of {size[0]} x {size[1]} with {len(labels)} labels came with boxes "
            f"{tuple(boxes.shape)} and masks {tuple(masks.shape)}: one of each for every object, "
            "masks as large as the image."
        )
    if len(labels) and not 1 <= int(labels.min()) <= int(labels.max()) <= num_classes:
        raise ValueError(
            f"labels run from 1 to {num_classes}, but these from {int(labels.min())} to "
            f"{int(labels.max())}: 0 is the background, so add 1 to classes counted from 0."
        )
    if not (boxes[:, 2:] > boxes[:, :2]).all():
        raise ValueError(
            "a box has no area, or its corners are swapped: boxes are (x0, y0, x1, y1); drop "
            "objects that a crop or a resize has emptied."
        )
