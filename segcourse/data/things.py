"""The objects of a sample, as detectors want them: a box, a class and a mask each."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segcourse.data.sample import Sample
from segcourse.ops.labels import IGNORE, object_masks
from segcourse.ops.masks import mask_box


class Things(NamedTuple):
    """What an image holds: G objects."""

    boxes: Tensor  # (G, 4) float32, corners in pixels
    labels: Tensor  # (G,) int64, places in the list of things, from 0
    masks: Tensor  # (G, H, W) bool


def things_of(sample: Sample, things: Sequence[int], *, least: int = 1) -> Things:
    """The objects of one image, in the order of their numbers.

    Args:
        sample: one image, not a batch.
        things: the classes that count; objects of other classes are left out.
        least: pixels that an object must show; fewer, and it is left out.

    Raises:
        ValueError: if an object spans several classes, or the sample is a batch.
    """
    masks = object_masks(sample.instance)
    kept, labels, boxes = [], [], []
    for mask in masks:
        classes = sample.semantic[mask].unique()
        classes = classes[classes != IGNORE]
        if len(classes) > 1:
            raise ValueError(
                f"object {int(sample.instance[mask][0])} spans the classes {classes.tolist()}: "
                "an object has one class, so number its parts apart, or mend the classes."
            )
        if len(classes) and int(classes) in things and mask.sum() >= least:
            kept.append(mask)
            labels.append(list(things).index(int(classes)))
            boxes.append(mask_box(mask))
    return Things(
        torch.tensor(boxes, dtype=torch.float32, device=masks.device).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64, device=masks.device),
        torch.stack(kept) if kept else masks[:0],
    )
