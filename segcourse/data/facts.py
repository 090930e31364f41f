"""What a single sample is like: the measurements behind the checklist.

``sample_facts`` gathers them for one sample. It judges nothing: the checks do.

    ramps           whether labels climb from one class to another, as interpolated ones do
    thin_borders    which class is painted as a line around things, as void often is
    fingerprint     what stays of an image when it is resized, recompressed or brightened
    alignment       where the borders of the mask fit the edges of the image best
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from segcourse.data.label_alignment import Alignment, alignment, comparable
from segcourse.ops.labels import IGNORE


@dataclass
class Facts:
    """What one sample is like."""

    index: int
    problem: str = ""  # why it could not be looked at
    remedy: str = ""  # and what to do about that
    sizes: tuple = ()  # of image and mask
    dtypes: tuple = ()  # of image and mask
    low: float = 0.0
    high: float = 1.0
    finite: bool = True
    fractions: bool = False  # labels between the whole numbers
    counts: dict[int, int] = field(default_factory=dict)  # pixels of every label
    height: dict[int, float] = field(default_factory=dict)  # sum of the rows, 0 top to 1 bottom
    frame: dict[int, int] = field(default_factory=dict)  # pixels on the frame of the image
    inner: dict[int, int] = field(default_factory=dict)  # pixels among their own
    ramps: tuple[int, int] = (0, 0)
    lines: tuple[int, Tensor] | None = None
    objects: bool = False
    crossing: int = 0  # objects of more than one class
    fit: Alignment | None = None
    edges: Tensor | None = None
    borders: Tensor | None = None
    fingerprint: Tensor | None = None


def _parts(item: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    """Image, mask and objects (if any) of an item, as tensors."""
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise TypeError(
            f"an item is a {type(item).__name__}, but must be a Sample or a pair (image, mask)"
        )
    image, mask = (_tensor(part) for part in item[:2])
    third = _tensor(item[2]) if len(item) > 2 and hasattr(item[2], "shape") else None
    fits = third is not None and third.shape == mask.shape and not third.is_floating_point()
    return image, mask, third.long() if fits else None


def _tensor(part: Any) -> Tensor:
    """A tensor of any device and type, or an array or image of any kind, as a tensor on the CPU."""
    if isinstance(part, Tensor):
        return part.detach().cpu()
    array = np.ascontiguousarray(part)  # reversed axes have negative strides, which torch refuses
    return torch.as_tensor(array.astype(array.dtype.newbyteorder("="), copy=False))


def sample_facts(dataset: Dataset, index: int, *, align: bool = True) -> Facts:
    """Everything the checks need to know of ``dataset[index]``; ``align`` costs the most."""
    facts = Facts(index)
    try:
        image, mask, instance = _parts(dataset[index])
    except Exception as error:
        facts.problem = f"{type(error).__name__}: {error}"
        facts.remedy = "open this item by itself; mend it, or leave it out."
        return facts
    facts.problem, facts.remedy = _wrong_axes(image, mask)
    if facts.problem:
        return facts
    facts.sizes = (tuple(image.shape[1:]), tuple(mask.shape))
    facts.dtypes = (image.dtype, mask.dtype)
    facts.finite = bool(image.isfinite().all()) if image.is_floating_point() else True
    image = image.float().nan_to_num(0, 0, 0)
    facts.low, facts.high = image.min().item(), image.max().item()
    facts.fingerprint = fingerprint(image)
    facts.fractions = mask.is_floating_point() and bool((mask != mask.round()).any())
    labels = mask.long()
    _add_label_facts(facts, labels)
    if instance is not None:
        _add_object_facts(facts, labels, instance)
    facts.lines = thin_borders(labels, torch.zeros_like(labels) if instance is None else instance)
    if align and facts.sizes[0] == facts.sizes[1] and min(facts.sizes[1]) >= 16:
        facts.fit = alignment(image, labels)
        facts.edges, facts.borders, _ = comparable(image, labels)
    return facts


def _wrong_axes(image: Tensor, mask: Tensor) -> tuple[str, str]:
    """Why these cannot be an image and a label map, and what to do; ("", "") if they can."""
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4):
        last = image.ndim == 3 and image.shape[2] in (1, 3, 4)
        remedy = "put the channels first: permute(2, 0, 1)." if last else "load one image."
        return f"an image of shape {tuple(image.shape)} is not (3, H, W)", remedy
    if mask.ndim == 3 and {3, 4} & {mask.shape[0], mask.shape[-1]}:
        return (
            f"a mask of shape {tuple(mask.shape)} holds colours",
            'open it without convert("RGB"), or look every colour up in the palette.',
        )
    if mask.ndim != 2:
        return f"a mask of shape {tuple(mask.shape)} is not (H, W)", "remove the other axes."
    if 0 in mask.shape or 0 in image.shape:
        return "image or mask has no pixels", "look at the file; leave it out."
    return "", ""


def _add_label_facts(facts: Facts, labels: Tensor) -> None:
    """Count the labels, and where they are."""
    height, width = labels.shape
    ids, place, counts = labels.unique(return_inverse=True, return_counts=True)
    rows = torch.linspace(0, 1, height)[:, None].expand(height, width)
    height_sums = torch.zeros(len(ids)).scatter_add_(0, place.flatten(), rows.flatten())
    edge = torch.cat([place[0], place[-1], place[:, 0], place[:, -1]])
    core = place[1:-1, 1:-1]
    alone = torch.zeros_like(core, dtype=torch.bool)
    for shifted in (place[:-2, 1:-1], place[2:, 1:-1], place[1:-1, :-2], place[1:-1, 2:]):
        alone |= shifted != core
    names = ids.tolist()
    facts.counts = dict(zip(names, counts.tolist(), strict=True))
    facts.height = dict(zip(names, height_sums.tolist(), strict=True))
    for table, chosen in ((facts.frame, edge), (facts.inner, core[~alone])):
        table.update(zip(names, torch.bincount(chosen, minlength=len(ids)).tolist(), strict=True))
    facts.ramps = ramps(labels)


def _add_object_facts(facts: Facts, labels: Tensor, instance: Tensor) -> None:
    """Whether every object has one class."""
    seen = (instance > 0) & (labels != IGNORE)
    facts.objects = bool(seen.any())
    pairs = torch.stack([instance[seen].long(), labels[seen]]).unique(dim=1)
    facts.crossing = pairs.shape[1] - len(pairs[0].unique())


def ramps(labels: Tensor) -> tuple[int, int]:
    """Steps of labels over 3 pixels in a row: (H, W) -> (climbing through a label between, direct).

    Bilinear interpolation puts 3 between 1 and 5, whatever class 3 is. Labels drawn by hand jump
    from 1 to 5. Under a tenth of the steps climb in clean masks, a fifth or more in resized ones.
    """
    climbing = direct = 0
    for lines in (labels, labels.T):
        first, middle, last = lines[:, :-2], lines[:, 1:-1], lines[:, 2:]
        climbing += int(((first < middle) & (middle < last)).sum())
        climbing += int(((first > middle) & (middle > last)).sum())
        direct += int((lines.diff(dim=1).abs() >= 2).sum())
    return climbing, direct


def thin_borders(semantic: Tensor, instance: Tensor, width: int = 4) -> tuple[int, Tensor]:
    """Steps out of objects, and those onto a thin line of each class: (H, W) x 2 -> n, (256,).

    Without objects, regions of one class take their place. A line is thin if another class
    follows within ``width`` pixels. Void around things looks like this once it has a class number.
    """
    semantic = torch.where((semantic < 0) | (semantic > IGNORE), IGNORE, semantic)
    region = instance if instance.any() else semantic + 1
    steps, onto = 0, torch.zeros(256, dtype=torch.int64)
    for turn in range(4):  # to the right in the image, then in its turned copies
        labels, regions = semantic.rot90(turn), region.rot90(turn)
        reach = labels.shape[1] - width - 1
        if reach < 1:
            continue
        own, line = labels[:, :reach], labels[:, 1 : reach + 1]
        step = (regions[:, :reach] > 0) & (regions[:, :reach] != regions[:, 1 : reach + 1])
        step &= (own != IGNORE) & (line != IGNORE) & (own != line)
        ends = torch.zeros_like(step)
        for ahead in range(2, width + 2):
            beyond = labels[:, ahead : reach + ahead]
            ends |= (beyond != line) & (beyond != own)
        steps += int(step.sum())
        onto += torch.bincount(line[step & ends], minlength=256)
    return steps, onto


def fingerprint(image: Tensor, side: int = 16) -> Tensor:
    """An image as a unit vector of ``side`` x ``side`` colours: (C, H, W) -> (3 side side,).

    The product of two says how alike they are: above 0.98 for resized, recompressed or brightened
    copies; neighbouring frames of a video can reach that too.
    """
    colors = image[:3].expand(3, -1, -1)  # gray images have one channel, transparent ones four
    small = F.adaptive_avg_pool2d(colors[None].float(), side)[0].flatten()
    small = small - small.mean()
    return small / small.norm().clamp(min=1e-9)


def near_duplicates(a: Tensor, b: Tensor | None, threshold: float) -> list[tuple[int, int]]:
    """Pairs of fingerprints that are more alike than ``threshold``: (A, D), (B, D) -> [(i, j)].

    Without ``b``, the pairs i < j within ``a``.
    """
    alike = a @ (a if b is None else b).T > threshold
    if b is None:
        alike = alike.triu(diagonal=1)
    return [(i, j) for i, j in alike.nonzero().tolist()]
