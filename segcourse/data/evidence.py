"""What a picture and its mask say about each other: the measurements behind the checklist.

``look`` gathers the facts of one sample. It knows nothing of datasets, and judges nothing:

    alignment       where the borders of the mask fit the edges of the picture best
    ramps           whether labels climb from one class to another, as interpolated ones do
    thin_borders    which class is painted as a line around things, as void often is
    fingerprint     what stays of a picture when it is resized, recompressed or brightened
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from segcourse.ops.labels import IGNORE

REACH = 8  # pixels, the largest shift that is looked for
CERTAIN = 0.05  # by how much a correlation must beat another to be believed
SHARP_SHIFT = 0.07  # and how far a peak must stand above its surroundings, to prove a shift
SHARP_MIRROR = 0.04  # or a mirroring


class Alignment(NamedTuple):
    """How the mask would have to be moved to fit its picture best."""

    shift: tuple[int, int]  # pixels (down, right); (0, 0) if it fits, or nothing fits clearly
    mirrored: str  # "", or the mirroring under which it fits much better
    surface: Tensor  # correlation of edges and borders for every shift

    @property
    def fit(self) -> float:
        """Correlation as they are, -1 to 1."""
        middle = len(self.surface) // 2
        return self.surface[middle, middle].item()


class Peak(NamedTuple):
    """The highest point of a correlation over shifts."""

    shift: tuple[int, int]  # (down, right)
    height: float
    sharpness: float  # how far it stands above everything 3 or more pixels away

    @property
    def central(self) -> bool:
        """Whether it is no shift, within the accuracy of hand-drawn masks."""
        return max(map(abs, self.shift)) <= 1


def picture_edges(image: Tensor) -> Tensor:
    """Strength of the local contrast over all channels: (C, H, W) -> (H, W), at most 4 means."""
    x = F.pad(image[None].float(), (1, 1, 1, 1), mode="replicate")[0]
    down = x[:, 2:, 1:-1] - x[:, :-2, 1:-1]
    right = x[:, 1:-1, 2:] - x[:, 1:-1, :-2]
    strength = (down.square() + right.square()).sum(dim=0).sqrt()
    return (strength / strength.mean().clamp(min=1e-9)).clamp(max=4)


def label_borders(labels: Tensor) -> Tensor:
    """1 where a pixel's label differs from a neighbour's: (H, W) -> (H, W) float32."""
    border = torch.zeros(labels.shape)
    for axis in (0, 1):
        size = labels.shape[axis]
        differs = (labels.diff(dim=axis) != 0).float()
        for start in (0, 1):
            border.narrow(axis, start, size - 1).add_(differs)
    return border.clamp(max=1)


def comparable(image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int]:
    """Edges of the picture and borders of its mask, at 1/n of the size: 2 x (H / n, W / n), n.

    At about 160 pixels, borders drawn by hand lie where they should within a pixel. Lines of void
    around things count as borders. Of a padding or a region that nobody labelled, the mask says
    nothing: there, both are at their means.
    """
    step = max(1, max(labels.shape) // 160)
    edges = picture_edges(F.avg_pool2d(image[None].float(), step)[0])
    labels = labels[step // 2 :: step, step // 2 :: step][: edges.shape[0], : edges.shape[1]]
    borders = label_borders(labels)
    void = (labels == IGNORE).float()[None]
    blocks = 1 - F.max_pool2d(1 - void, 7, stride=1, padding=3)  # void more than 6 pixels wide
    known = F.max_pool2d(blocks, 11, stride=1, padding=5)[0] == 0
    if not known.any():
        return torch.zeros_like(edges), torch.zeros_like(borders), step
    edges = torch.where(known, edges, edges[known].mean())
    return edges, torch.where(known, borders, borders[known].mean()), step


def edge_correlation(edges: Tensor, borders: Tensor, reach: int = REACH) -> Tensor:
    """Correlation for every shift of the borders: (H, W), (H, W) -> (2 reach + 1, 2 reach + 1).

    The middle is no shift; row 0 moves the borders up by ``reach`` pixels.
    """
    a, b = edges - edges.mean(), borders - borders.mean()
    size = (a.shape[0] + reach, a.shape[1] + reach)  # room for the shift, so nothing wraps around
    product = torch.fft.rfft2(a, s=size) * torch.fft.rfft2(b, s=size).conj()
    shifts = torch.fft.irfft2(product, s=size).roll((reach, reach), (0, 1))
    return shifts[: 2 * reach + 1, : 2 * reach + 1] / (a.norm() * b.norm()).clamp(min=1e-9)


def peak(surface: Tensor) -> Peak:
    """The highest point of a correlation over shifts: (2 reach + 1, 2 reach + 1)."""
    reach = len(surface) // 2
    row, column = divmod(int(surface.argmax()), len(surface))
    steps = torch.arange(len(surface))
    away = torch.maximum((steps - row).abs()[:, None], (steps - column).abs()[None])
    height = surface.max().item()
    around = surface[away >= 3].max().item() if (away >= 3).any() else height
    return Peak((row - reach, column - reach), height, height - around)


def alignment(image: Tensor, labels: Tensor, reach: int = REACH) -> Alignment:
    """Where the borders of a mask fit the edges of its picture best: (C, H, W), (H, W).

    A shift or a mirroring is only reported if it fits clearly better than what is there, and
    clearly better than its surroundings.
    """
    edges, borders, step = comparable(image, labels)
    reach = max(min(reach, *(side // 4 for side in borders.shape)), 1)
    here = edge_correlation(edges, borders, reach)
    best, fit = peak(here), here[reach, reach].item()
    shift = (0, 0)
    if not best.central and best.sharpness > SHARP_SHIFT and best.height > fit + CERTAIN:
        shift = (best.shift[0] * step, best.shift[1] * step)
    mirrors = {
        "left to right": borders.flip(1),
        "top to bottom": borders.flip(0),
        "by a half turn": borders.flip(0, 1),
    }
    if borders.shape[0] == borders.shape[1]:
        mirrors["along the diagonal"] = borders.T
    peaks = {name: peak(edge_correlation(edges, other, reach)) for name, other in mirrors.items()}
    name = max(peaks, key=lambda name: peaks[name].height)
    found = peaks[name].central and peaks[name].sharpness > SHARP_MIRROR
    if found and peaks[name].height > best.height + CERTAIN:
        return Alignment((0, 0), name, here)
    return Alignment(shift, "", here)


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
    for turn in range(4):  # to the right in the picture, then in its turned copies
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
    """A picture as a unit vector of ``side`` x ``side`` colours: (C, H, W) -> (C side side,).

    The product of two says how alike they are: above 0.98 for resized, recompressed or brightened
    copies; neighbouring frames of a video can reach that too.
    """
    small = F.adaptive_avg_pool2d(image[None].float(), side)[0].flatten()
    small = small - small.mean()
    return small / small.norm().clamp(min=1e-9)


def near_copies(a: Tensor, b: Tensor | None, threshold: float) -> list[tuple[int, int]]:
    """Pairs of fingerprints that are more alike than ``threshold``: (A, D), (B, D) -> [(i, j)].

    Without ``b``, the pairs i < j within ``a``.
    """
    alike = a @ (a if b is None else b).T > threshold
    if b is None:
        alike = alike.triu(diagonal=1)
    return [(i, j) for i, j in alike.nonzero().tolist()]


# -------------------------------------------------------------------- the facts of a sample


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
    frame: dict[int, int] = field(default_factory=dict)  # pixels on the frame of the picture
    inner: dict[int, int] = field(default_factory=dict)  # pixels among their own
    ramps: tuple[int, int] = (0, 0)
    lines: tuple[int, Tensor] | None = None
    objects: bool = False
    crossing: int = 0  # objects of more than one class
    fit: Alignment | None = None
    edges: Tensor | None = None
    borders: Tensor | None = None
    print: Tensor | None = None


def parts(item: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    """Image, mask and objects (if any) of an item, as tensors."""
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise TypeError(
            f"an item is a {type(item).__name__}, but must be a Sample or a pair (image, mask)"
        )
    image, mask = (torch.as_tensor(np.asarray(part)) for part in item[:2])
    third = item[2] if len(item) > 2 else None
    fits = isinstance(third, Tensor) and third.shape == mask.shape
    return image, mask, third if fits else None


def look(dataset: Dataset, index: int, *, align: bool = True) -> Facts:
    """Everything the checks need to know of ``dataset[index]``; ``align`` costs the most."""
    facts = Facts(index)
    try:
        image, mask, instance = parts(dataset[index])
    except Exception as error:
        facts.problem = f"{type(error).__name__}: {error}"
        facts.remedy = "open this item by itself; mend it, or leave it out."
        return facts
    facts.problem, facts.remedy = wrong_axes(image, mask)
    if facts.problem:
        return facts
    facts.sizes = (tuple(image.shape[1:]), tuple(mask.shape))
    facts.dtypes = (image.dtype, mask.dtype)
    facts.finite = bool(image.isfinite().all()) if image.is_floating_point() else True
    image = image.float().nan_to_num(0, 0, 0)
    facts.low, facts.high = image.min().item(), image.max().item()
    facts.print = fingerprint(image)
    facts.fractions = mask.is_floating_point() and bool((mask != mask.round()).any())
    labels = mask.long()
    look_at_labels(facts, labels)
    if instance is not None:
        look_at_objects(facts, labels, instance)
    facts.lines = thin_borders(labels, torch.zeros_like(labels) if instance is None else instance)
    if align and facts.sizes[0] == facts.sizes[1] and min(facts.sizes[1]) >= 16:
        facts.fit = alignment(image, labels)
        facts.edges, facts.borders, _ = comparable(image, labels)
    return facts


def wrong_axes(image: Tensor, mask: Tensor) -> tuple[str, str]:
    """Why these cannot be a picture and a label map, and what to do; ("", "") if they can."""
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4):
        last = image.ndim == 3 and image.shape[2] in (1, 3, 4)
        remedy = "put the channels first: permute(2, 0, 1)." if last else "load one picture."
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


def look_at_labels(facts: Facts, labels: Tensor) -> None:
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


def look_at_objects(facts: Facts, labels: Tensor, instance: Tensor) -> None:
    """Whether every object has one class."""
    seen = (instance > 0) & (labels != IGNORE)
    facts.objects = bool(seen.any())
    pairs = torch.stack([instance[seen].long(), labels[seen]]).unique(dim=1)
    facts.crossing = pairs.shape[1] - len(pairs[0].unique())
