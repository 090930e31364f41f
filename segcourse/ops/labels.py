"""Label maps: (H, W) integer tensors that give every pixel a class, an object, or IGNORE."""

from collections.abc import Sequence

import torch
from torch import Tensor

IGNORE = 255  # pixels that neither the losses nor the metrics count ("void")

Colour = tuple[int, int, int]


def check_labels(labels: Tensor, num_classes: int, what: str = "truth") -> None:
    """Refuse label maps that hold anything but 0 ... num_classes - 1 and IGNORE: any shape.

    Raises:
        TypeError: if the labels are no tensor, or no integers.
        ValueError: if a label is out of range.
    """
    if not isinstance(labels, Tensor):
        raise TypeError(
            f"{what} must be a tensor of labels, but came as {type(labels).__name__}: "
            "convert it with torch.as_tensor."
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(
            f"{what} must hold integer labels, but its dtype is {labels.dtype}: use .long() on a "
            "label map, .argmax(dim=1) on logits; never interpolate labels."
        )
    if labels.dtype in (torch.uint16, torch.uint32, torch.uint64):  # which torch cannot compare
        labels = labels.long()
    wrong = (labels < 0) | ((labels >= num_classes) & (labels != IGNORE))
    if wrong.any():
        found = labels[wrong].unique().tolist()
        raise ValueError(
            f"{what} holds the labels {shorten(found)}, but {num_classes} classes are numbered "
            f"0 to {num_classes - 1} and {IGNORE} means void: map other ids to one of these."
        )


def shorten(values: Sequence[int], most: int = 8) -> str:
    """A list as text, cut after ``most`` values."""
    text = ", ".join(str(value) for value in values[:most])
    return f"[{text}, ... {len(values) - most} more]" if len(values) > most else f"[{text}]"


def colorize(labels: Tensor, palette: Sequence[Colour], *, void: Colour = (0, 0, 0)) -> Tensor:
    """Give every class its colour: (..., H, W) integers -> (..., H, W, 3) uint8.

    Raises:
        TypeError, ValueError: if a label has no colour.
    """
    check_labels(labels, len(palette), "labels")
    table = torch.tensor([void] * 256, dtype=torch.uint8)
    table[: len(palette)] = torch.tensor(list(palette), dtype=torch.uint8)
    return table.to(labels.device)[labels.long()]


def object_masks(instance: Tensor) -> Tensor:
    """One mask per object, in the order of their numbers; 0 is no object: (H, W) -> (A, H, W) bool.

    Raises:
        ValueError: if the map has not two axes.
    """
    if instance.ndim != 2:
        raise ValueError(
            f"an instance map has two axes (H, W), but this one has shape {tuple(instance.shape)}: "
            "pass the maps of a batch one by one."
        )
    identities = instance.unique()
    return instance[None] == identities[identities > 0, None, None]
