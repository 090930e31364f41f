"""Mask R-CNN: find boxes that may hold an object, then classify it, move the box, segment it.

He, Gkioxari, Dollár, Girshick. "Mask R-CNN." ICCV 2017. https://arxiv.org/abs/1703.06870

    image ─ ResNet ─ FPN ─┬─ RPN: is there an object, and where? ─→ proposals (boxes)
                          │                                             │
                          └──────── RoIAlign: 7 x 7 ←───────────────────┤
                                       └─ box head: class, better box ──┴─→ detections
                          └──────── RoIAlign: 14 x 14 ←─────────────────────────┤
                                       └─ mask head: 28 x 28 for every class ───┴─→ masks

The mask head predicts a mask for every class by itself (a sigmoid), and only the mask of the class
that the box head predicts is used. Therefore the classes do not compete for pixels.

The defaults build torchvision's network of the paper, on ResNet-50 and its pyramid: equal weights
give equal detections, and its parts have torchvision's names. Images of different sizes are padded
with zeros to one size, a multiple of the backbone's largest stride. Inside, images are handled one
by one where their numbers of boxes differ. Four things differ from the paper:

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

from segcourse.blocks.conv import conv_relu, kaiming_normal_
from segcourse.blocks.fpn import FPN
from segcourse.blocks.resnet import ResNet
from segcourse.blocks.rpn import RPN, SMOOTH_L1_BETA, full_precision
from segcourse.ops.anchors import decode_boxes, encode_boxes
from segcourse.ops.boxes import box_area, box_iou, clip_boxes_to_image
from segcourse.ops.image_batch import ImageBatch, batch_images
from segcourse.ops.instances import Detections, Instances, check_instances
from segcourse.ops.matching import match_anchors, sample
from segcourse.ops.roi import crop_masks, paste_masks, roi_align
from segcourse.ops.suppression import nms

_BBOX_REG_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_MIN_SIZE = 1e-2  # pixels: a detection is at least as wide and as high
_BOX_ROI_SIZE, _MASK_ROI_SIZE, _MASK_SIZE = 7, 14, 28


class Regions(NamedTuple):
    """What the mask losses are computed from in an image: R proposals that show an object."""

    features: Tensor  # (R, C, 14, 14)
    boxes: Tensor  # (R, 4)
    labels: Tensor  # (R,) of the object
    masks: Tensor  # (R, H, W) bool, of the object


class BoxHead(nn.Module):
    """Features of a region: (R, channels, 7, 7) -> (R, representation_size)."""

    def __init__(self, channels: int, representation_size: int):
        super().__init__()
        self.fc6 = nn.Linear(channels * _BOX_ROI_SIZE**2, representation_size)
        self.fc7 = nn.Linear(representation_size, representation_size)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc7(F.relu(self.fc6(x.flatten(1)))))


class BoxPredictor(nn.Module):
    """Class and better box of a region: (R, F) -> logits (R, K + 1), deltas (R, K + 1, 4)."""

    def __init__(self, representation_size: int, num_classes: int):
        super().__init__()
        self.cls_score = nn.Linear(representation_size, num_classes + 1)
        self.bbox_pred = nn.Linear(representation_size, 4 * (num_classes + 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        deltas = self.bbox_pred(x).unflatten(1, (-1, 4))
        return full_precision(self.cls_score(x)), full_precision(deltas)


class MaskPredictor(nn.Module):
    """A mask of every class, twice as large: (R, C, 14, 14) -> logits (R, K + 1, 28, 28)."""

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.conv5_mask = kaiming_normal_(nn.ConvTranspose2d(channels, channels, 2, stride=2))
        self.mask_fcn_logits = kaiming_normal_(nn.Conv2d(channels, num_classes + 1, kernel_size=1))

    def forward(self, x: Tensor) -> Tensor:
        return full_precision(self.mask_fcn_logits(F.relu(self.conv5_mask(x))))


class MaskRCNN(nn.Module):
    """Find objects: images (N, 3, H, W), or N of (3, H_i, W_i) -> N Detections.

    Args:
        num_classes: K, without the background, which the network adds as class 0 inside.
        backbone: builds the network whose stages the pyramid reads, and that says their
            ``channels`` and ``strides``; a ResNet-50.
        rpn: builds the proposal network from channels and strides, such as
            ``partial(RPN, anchor_sizes=(16, 32, 64, 128, 256))``.
        channels: of the pyramid and of the mask head; 256 in the paper.
        representation_size: of the box head; 1024 in the paper.
        canonical_scale: the side of a box, in pixels, that is pooled from the third map; 224 in the
            paper, for images of 800 pixels.
        score_threshold: detections below are dropped.
        nms_threshold: of two detections of a class with a higher IoU, the worse is dropped.
        max_detections: of an image.
        fg_iou_threshold: IoU with an object from which a proposal shows it in training.
        bg_iou_threshold: IoU below which a proposal is background in training.
        box_batch_size_per_image: proposals of an image that the losses are computed for; 512 in
            the paper.
        positive_fraction: of them that show an object, at most.
        crop: pools a box from a map, ``roi_align`` or ``roi_pool``.
        paste: puts a mask into its box, ``paste_masks`` or ``paste_rounded``.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: Callable[[], nn.Module] = ResNet,
        rpn: Callable[[int, Sequence[int]], RPN] = RPN,
        channels: int = 256,
        representation_size: int = 1024,
        canonical_scale: float = 224,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        max_detections: int = 100,
        fg_iou_threshold: float = 0.5,
        bg_iou_threshold: float = 0.5,
        box_batch_size_per_image: int = 512,
        positive_fraction: float = 0.25,
        crop: Callable[..., Tensor] = roi_align,
        paste: Callable[..., Tensor] = paste_masks,
    ):
        super().__init__()
        if num_classes < 1:
            raise ValueError(
                f"MaskRCNN(num_classes={num_classes}) finds nothing: give at least 1 class, not "
                "counting the background."
            )
        self.num_classes, self.canonical_scale = num_classes, canonical_scale
        self.crop, self.paste = crop, paste
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.max_detections = max_detections
        self.fg_iou_threshold, self.bg_iou_threshold = fg_iou_threshold, bg_iou_threshold
        self.box_batch_size_per_image = box_batch_size_per_image
        self.positive_fraction = positive_fraction
        self.backbone = backbone()
        self.fpn = FPN(self.backbone.channels[1:], channels, strides=self.backbone.strides[1:])
        self.rpn = rpn(channels, self.fpn.strides)
        self.box_head = BoxHead(channels, representation_size)
        self.box_predictor = BoxPredictor(representation_size, num_classes)
        self.mask_head = nn.Sequential(*(conv_relu(channels, channels) for _ in range(4)))
        self.mask_predictor = MaskPredictor(channels, num_classes)

    # ------------------------------------------------------------------------------ detecting

    @torch.no_grad()
    def forward(self, images: Tensor | Sequence[Tensor]) -> list[Detections]:
        batch = self.batch(images)
        return self.detect_all(self.levels(batch.images), batch.sizes)

    def batch(self, images: Tensor | Sequence[Tensor]) -> ImageBatch:
        """Images padded to one size, a multiple of the backbone's strides."""
        return batch_images(images, divisor=max(self.backbone.strides))

    def levels(self, images: Tensor) -> list[Tensor]:
        """The pyramid's maps of a padded batch, finest first: (N, 3, H, W) -> five of (N, C, h, w).

        Raises:
            ValueError: if a stage's map has not the size that its stride says.
        """
        stages = self.backbone(images)[1:]
        for stage, stride in zip(stages, self.backbone.strides[1:], strict=True):
            pairs = zip(stage.shape[2:], images.shape[2:], strict=True)
            if any(cells - side // stride not in (0, 1) for cells, side in pairs):
                raise ValueError(
                    f"a stage of the backbone should have the stride {stride}, but turns "
                    f"{tuple(images.shape[2:])} pixels into {tuple(stage.shape[2:])} positions: "
                    "boxes would be misplaced. Pad images as batch() does, and no map."
                )
        return self.fpn(stages)

    def detect_all(
        self, levels: list[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Detections of every image, in its own (height, width), from the pyramid's maps."""
        proposals = self.rpn(levels, sizes)
        return [
            self.detect([level[index] for level in levels], boxes, size)
            for index, (boxes, size) in enumerate(zip(proposals, sizes, strict=True))
        ]

    def detect(self, levels: list[Tensor], proposals: Tensor, size: tuple[int, int]) -> Detections:
        """From the proposals of one image to its detections: levels (C, h, w), boxes (P, 4)."""
        boxes, scores, labels = self._detect_boxes(levels, proposals, size)
        features = self.pool_rois(levels, boxes, _MASK_ROI_SIZE)
        logits = self.mask_logits(features, labels)
        masks = self.paste(logits.sigmoid(), boxes, size)
        mask_scores = self.mask_scores(scores, features, logits, labels)
        return Detections(boxes, labels, scores, masks, mask_scores)

    def _detect_boxes(
        self, levels: list[Tensor], proposals: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (D, 4), scores (D,) and labels (D,) of the detections of one image, best first."""
        logits, deltas = self._predict_boxes(levels, proposals)
        scores = logits.softmax(dim=1)[:, 1:]  # without the background
        boxes = decode_boxes(deltas[:, 1:], proposals[:, None], _BBOX_REG_WEIGHTS)
        labels = torch.arange(self.num_classes, device=scores.device).expand_as(scores).flatten()
        boxes, scores = clip_boxes_to_image(boxes, size).flatten(0, 1), scores.flatten()
        large = ((boxes[:, 2:] - boxes[:, :2]) >= _MIN_SIZE).all(dim=1)
        chosen = ((scores > self.score_threshold) & large).nonzero()[:, 0]
        boxes, scores, labels = boxes[chosen], scores[chosen], labels[chosen]
        kept = nms(boxes, scores, labels=labels, iou_threshold=self.nms_threshold)
        kept = kept[: self.max_detections]
        return boxes[kept], scores[kept], labels[kept]

    def _predict_boxes(self, levels: list[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits and deltas of every box: (R, 4) -> (R, K + 1), (R, K + 1, 4)."""
        return self.box_predictor(self.box_head(self.pool_rois(levels, boxes, _BOX_ROI_SIZE)))

    def mask_logits(self, features: Tensor, labels: Tensor) -> Tensor:
        """Logits of the mask of every region's class: (R, C, 14, 14), (R,) -> (R, 28, 28)."""
        logits = self.mask_predictor(self.mask_head(features))
        return logits[torch.arange(len(labels)), labels + 1]  # 0 is the background

    def mask_scores(
        self, scores: Tensor, features: Tensor, logits: Tensor, labels: Tensor
    ) -> Tensor:
        """By which masks are ranked: the class score. (R,) ... -> (R,)"""
        return scores

    def pool_rois(self, levels: list[Tensor], boxes: Tensor, size: int) -> Tensor:
        """The features of every box: (R, 4) -> (R, C, size, size), from the map that suits it.

        A box twice as large is pooled from the next coarser map (the pyramid's paper, equation 1).
        """
        levels, strides = levels[:-1], self.fpn.strides[:-1]  # the last is for anchors only
        wanted = (box_area(boxes).sqrt() / self.canonical_scale).log2() + 2 + 1e-6
        wanted = wanted.floor().clamp(0, len(levels) - 1)
        features = levels[0].new_zeros(len(boxes), levels[0].shape[0], size, size)
        for index in wanted.unique().long().tolist():
            own = (wanted == index).nonzero()[:, 0]
            level = full_precision(levels[index])
            values = self.crop(level, boxes[own], (size, size), spatial_scale=1 / strides[index])
            features = features.index_copy(0, own, values.to(features.dtype))
        return features

    # ------------------------------------------------------------------------------- training

    def loss(
        self, images: Tensor | Sequence[Tensor], targets: Sequence[Instances]
    ) -> dict[str, Tensor]:
        """The five losses of a batch: {"objectness", "rpn_box", "class", "box", "mask"}, scalars.

        Raises:
            TypeError, ValueError: if an image's instances do not fit it, see ``check_instances``.
        """
        batch = self.batch(images)
        return self.losses_of(self.levels(batch.images), batch.sizes, targets)

    def losses_of(
        self,
        levels: list[Tensor],
        sizes: Sequence[tuple[int, int]],
        targets: Sequence[Instances],
    ) -> dict[str, Tensor]:
        """The same losses, from the pyramid's maps of images of (height, width) each."""
        if len(sizes) != len(targets):
            raise ValueError(
                f"{len(sizes)} images came with the instances of {len(targets)}: give Instances "
                "for each, also where there are none."
            )
        dtype = torch.promote_types(levels[0].dtype, torch.float32)
        targets = [
            check_instances(target, size, self.num_classes)
            for target, size in zip(targets, sizes, strict=True)
        ]
        targets = [target._replace(boxes=target.boxes.to(dtype)) for target in targets]
        losses, proposals = self.rpn.loss(levels, sizes, [target.boxes for target in targets])
        return losses | self._head_losses(levels, proposals, targets)

    def _head_losses(
        self, levels: list[Tensor], proposals: list[Tensor], targets: Sequence[Instances]
    ) -> dict[str, Tensor]:
        """Losses of box and mask head, over the sampled proposals of all images."""
        logits, deltas, classes, codes, regions = [], [], [], [], []
        for index, target in enumerate(targets):
            own = [level[index] for level in levels]
            boxes, matches = self.sample_proposals(proposals[index], target)
            logit, delta = self._predict_boxes(own, boxes)
            positive = (matches >= 0).nonzero()[:, 0]
            boxes, matches = boxes[positive], matches[positive]
            labels = target.labels[matches]
            logits.append(logit), deltas.append(delta[positive, labels + 1])
            classes.append(torch.zeros(len(logit), dtype=torch.int64, device=labels.device))
            classes[-1][positive] = labels + 1
            codes.append(encode_boxes(target.boxes[matches], boxes, _BBOX_REG_WEIGHTS))
            features = self.pool_rois(own, boxes, _MASK_ROI_SIZE)
            regions.append(Regions(features, boxes, labels, target.masks[matches]))
        box_loss = F.smooth_l1_loss(
            torch.cat(deltas), torch.cat(codes), beta=SMOOTH_L1_BETA, reduction="sum"
        )
        return {
            "class": F.cross_entropy(torch.cat(logits), torch.cat(classes)),
            "box": box_loss / sum(map(len, classes)),
            **self.mask_losses(regions),
        }

    def mask_losses(self, regions: Sequence[Regions]) -> dict[str, Tensor]:
        """The loss of the mask head, in the mask of the object's class and no other."""
        logits = torch.cat([self.mask_logits(each.features, each.labels) for each in regions])
        return {"mask": mask_loss(logits, torch.cat([mask_targets(each) for each in regions]))}

    def sample_proposals(self, proposals: Tensor, target: Instances) -> tuple[Tensor, Tensor]:
        """Proposals that the losses are computed for, and their objects: -> (R, 4), (R,).

        The true boxes are proposals, too, so that the heads see good ones from the start.
        """
        boxes = torch.cat([proposals, target.boxes])
        matches = match_anchors(
            box_iou(target.boxes, boxes),
            high_threshold=self.fg_iou_threshold,
            low_threshold=self.bg_iou_threshold,
        )
        chosen = torch.cat(
            sample(matches, self.box_batch_size_per_image, positive_fraction=self.positive_fraction)
        )
        return boxes[chosen], matches[chosen]


def mask_targets(regions: Regions) -> Tensor:
    """True masks as seen in their boxes: -> (R, 28, 28) from 0 to 1."""
    return crop_masks(regions.masks, regions.boxes, (_MASK_SIZE, _MASK_SIZE))


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of every pixel, 0 without regions: (R, h, w), (R, h, w) -> scalar."""
    total = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    return total / max(targets.numel(), 1)
