"""Instances: the objects of one image, and what a detector found. Every network speaks of these.

    boxes    (G, 4)  corners (x0, y0, x1, y1) in pixels, as in ``segcourse.ops.boxes``
    labels   (G,)    classes from 0; the background is no class
    masks    (G, H, W)

A network that counts the background as a class (Mask R-CNN) shifts the labels inside; a network
that predicts shares of the image (DETR) divides by the image's size inside.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segcourse.ops.boxes import check_boxes, to_cxcywh
from segcourse.ops.labels import IGNORE, check_labels, object_masks
from segcourse.ops.masks import mask_box


class Instances(NamedTuple):
    """The true objects of one image: G of them."""

    boxes: Tensor  # (G, 4) float, corners in pixels
    labels: Tensor  # (G,) int64 from 0
    masks: Tensor  # (G, H, W) bool


class Detections(NamedTuple):
    """What was found in one image: D detections, best first."""

    boxes: Tensor  # (D, 4) float, corners in pixels
    labels: Tensor  # (D,) int64 from 0
    scores: Tensor  # (D,) that the class is right
    masks: Tensor | None  # (D, H, W) probabilities; None if the network predicts none
    mask_scores: Tensor  # (D,) by which masks are ranked; ``scores``, unless a head predicts them


def instances_from_maps(
    semantic: Tensor, instance: Tensor, things: Sequence[int], *, min_area: int = 1
) -> Instances:
    """The objects of two label maps, in the order of their numbers: (H, W), (H, W) -> Instances.

    Args:
        semantic: the class of every pixel, or IGNORE.
        instance: the object of every pixel, 0 where there is none.
        things: the classes whose objects count, in the order of the labels: an object of class
            ``things[n]`` has label n. Objects of other classes are left out.
        min_area: pixels that an object must show; objects that show fewer are left out.

    Raises:
        TypeError: if the maps hold no integers.
        ValueError: if the maps are not two of one image, or if an object spans several classes.
    """
    semantic = check_labels(semantic, IGNORE, "semantic")
    masks = object_masks(instance)
    if semantic.shape != instance.shape:
        raise ValueError(
            f"semantic and instance are maps of one image, but their shapes are "
            f"{tuple(semantic.shape)} and {tuple(instance.shape)}: resize both alike, by nearest."
        )
    kept, labels, boxes = [], [], []
    for mask in masks:
        classes = semantic[mask].unique()
        classes = classes[classes != IGNORE]
        if len(classes) > 1:
            raise ValueError(
                f"object {int(instance[mask][0])} spans the classes {classes.tolist()}: "
                "an object has one class, so number its parts apart, or mend the classes."
            )
        if len(classes) and int(classes) in things and mask.sum() >= min_area:
            kept.append(mask)
            labels.append(list(things).index(int(classes)))
            boxes.append(mask_box(mask))
    return Instances(
        torch.tensor(boxes, dtype=torch.float32, device=masks.device).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64, device=masks.device),
        torch.stack(kept) if kept else masks[:0],
    )


def normalized_cxcywh(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Corners in pixels as DETR's (centre x, centre y, width, height) in [0, 1]: (..., 4) -> same.

    ``size`` is the (height, width) of the image.
    """
    height, width = size
    return to_cxcywh(boxes) / boxes.new_tensor([width, height, width, height])


def check_instances(instances: Instances, size: tuple[int, int], num_classes: int) -> Instances:
    """Accept instances that fit an image of (height, width); their labels are returned as int64.

    Raises:
        TypeError: if masks are not boolean, or boxes or labels are of another kind.
        ValueError: if counts or sizes differ, a box has no area or lies outside the image, or a
            label is not from 0 to num_classes - 1.
    """
    boxes, labels, masks = instances
    if masks.dtype != torch.bool:
        raise TypeError(f"masks must be boolean, but their dtype is {masks.dtype}: threshold them.")
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be integers, but their dtype is {labels.dtype}: use .long().")
    if boxes.shape != (len(labels), 4) or masks.shape != (len(labels), *size):
        raise ValueError(
            f"an image of {size[0]} x {size[1]} with {len(labels)} labels came with boxes "
            f"{tuple(boxes.shape)} and masks {tuple(masks.shape)}: one of each for every object, "
            "masks as large as the image."
        )
    check_boxes(boxes)
    labels = labels.long()
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"labels run from 0 to {num_classes - 1}, but these from {int(labels.min())} to "
            f"{int(labels.max())}: the background is no class, so count the classes from 0."
        )
    if not (boxes[:, 2:] > boxes[:, :2]).all():
        raise ValueError("a box has no area: drop objects that a crop or a resize has emptied.")
    limit = boxes.new_tensor([size[1], size[0]])
    outside = (boxes[:, 2:] <= 0).any(dim=1) | (boxes[:, :2] >= limit).any(dim=1)
    if outside.any():
        raise ValueError(
            f"box {[round(side, 1) for side in boxes[outside][0].tolist()]} lies outside its image "
            f"of {size[0]} x {size[1]}: drop objects that a crop has removed, with their masks."
        )
    return Instances(boxes, labels, masks)
