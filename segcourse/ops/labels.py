"""Label maps: (H, W) integer tensors that give every pixel a class, an object, or IGNORE."""

from collections.abc import Sequence

import torch
from torch import Tensor

IGNORE = 255  # pixels that neither the losses nor the metrics count ("void")

Color = tuple[int, int, int]

_WIDE_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)  # torch cannot compare these


def check_labels(
    labels: Tensor, num_classes: int, what: str = "target", *, ignore_index: int = IGNORE
) -> Tensor:
    """Accept label maps that hold 0 ... num_classes - 1 and ``ignore_index`` only: any shape.

    Returns the labels, as int64 if their own type cannot be compared with these numbers.

    Raises:
        TypeError: if the labels are no tensor, or no integers.
        ValueError: if a label is out of range.
    """
    _check_kind(labels, what)
    # A comparison with a number that the type cannot hold wraps it: 255 is -1 in int8.
    holds = torch.iinfo(labels.dtype)
    if labels.dtype in _WIDE_UNSIGNED or not (
        holds.min <= ignore_index <= holds.max and num_classes <= holds.max
    ):
        labels = labels.long()
    wrong = ((labels < 0) | (labels >= num_classes)) & (labels != ignore_index)
    if wrong.any():
        found = labels[wrong].unique().tolist()
        raise ValueError(
            f"{what} holds the labels {shorten(found)}, but {num_classes} classes are numbered "
            f"0 to {num_classes - 1} and {ignore_index} means void: map other ids to one of these."
        )
    return labels


def _check_kind(labels: Tensor, what: str) -> None:
    """Refuse what is no tensor of integers: any shape.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(labels, Tensor):
        raise TypeError(
            f"{what} must be a tensor of labels, but came as {type(labels).__name__}: "
            "convert it with torch.as_tensor."
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(
            f"{what} must hold integer labels, but its dtype is {labels.dtype}: make integers of a "
            "label map with .long(), of logits with .argmax(dim=1); never interpolate labels."
        )


def check_integers(labels: Tensor, what: str) -> Tensor:
    """Accept integers of any width, such as numbers of objects: any shape -> int64.

    Raises:
        TypeError: if it is no tensor, or holds no integers.
        ValueError: if a number is negative, or does not fit int64.
    """
    _check_kind(labels, what)
    labels = labels.long()
    if labels.numel() and labels.min() < 0:
        raise ValueError(
            f"{what} holds {int(labels.min())}, but numbers of objects and ids start at 0: were "
            "they stored in a type too narrow for them?"
        )
    return labels


def shorten(values: Sequence[int], max_shown: int = 8) -> str:
    """A list as text, cut after ``max_shown`` values."""
    text = ", ".join(str(value) for value in values[:max_shown])
    return (
        f"[{text}, ... {len(values) - max_shown} more]" if len(values) > max_shown else f"[{text}]"
    )


def colorize(labels: Tensor, palette: Sequence[Color], *, void: Color = (0, 0, 0)) -> Tensor:
    """Give every class its colour: (..., H, W) integers -> (..., H, W, 3) uint8.

    Raises:
        TypeError, ValueError: if a label has no colour.
    """
    labels = check_labels(labels, len(palette), "labels")
    table = torch.tensor([void] * max(len(palette), IGNORE + 1), dtype=torch.uint8)
    table[: len(palette)] = torch.tensor(list(palette), dtype=torch.uint8).reshape(-1, 3)
    table[IGNORE] = torch.tensor(void, dtype=torch.uint8)
    return table.to(labels.device)[labels.long()]


def object_masks(instance: Tensor) -> Tensor:
    """One mask per object, in the order of their numbers; 0 is no object: (H, W) -> (A, H, W) bool.

    Raises:
        TypeError: if the map holds no integers.
        ValueError: if the map has not two axes, or holds a negative number.
    """
    if instance.ndim != 2:
        raise ValueError(
            f"an instance map has two axes (H, W), but this one has shape {tuple(instance.shape)}: "
            "pass the maps of a batch one by one."
        )
    instance = check_integers(instance, "instance")
    identities = instance.unique()
    return instance[None] == identities[identities > 0, None, None]
