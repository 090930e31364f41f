"""Where the borders of a mask fit the edges of its image best, to find shifted and mirrored masks.

The borders of the mask are correlated with the edges of the image for every small shift, and for
every mirroring. A mask that belongs to its image has its highest correlation at no shift.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.ops.labels import IGNORE

_REACH = 8  # pixels, the largest shift that is looked for
_CERTAIN = 0.05  # by how much a correlation must beat another to be believed
_SHARP_SHIFT = 0.07  # and how far a peak must stand above its surroundings, to prove a shift
_SHARP_MIRROR = 0.04  # or a mirroring


class Alignment(NamedTuple):
    """How the mask would have to be moved to fit its image best."""

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


def image_edges(image: Tensor) -> Tensor:
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
    """Edges of the image and borders of its mask, at 1/n of the size: 2 x (H / n, W / n), n.

    At about 160 pixels, borders drawn by hand lie where they should within a pixel. Lines of void
    around things count as borders. Of a padding or a region that nobody labelled, the mask says
    nothing: there, both are at their means.
    """
    step = max(1, min(max(labels.shape) // 160, min(labels.shape) // 16))
    edges = image_edges(F.avg_pool2d(image[None].float(), step)[0])
    labels = labels[step // 2 :: step, step // 2 :: step][: edges.shape[0], : edges.shape[1]]
    borders = label_borders(labels)
    void = (labels == IGNORE).float()[None]
    blocks = 1 - F.max_pool2d(1 - void, 7, stride=1, padding=3)  # void more than 6 pixels wide
    known = F.max_pool2d(blocks, 11, stride=1, padding=5)[0] == 0
    if not known.any():
        return torch.zeros_like(edges), torch.zeros_like(borders), step
    edges = torch.where(known, edges, edges[known].mean())
    return edges, torch.where(known, borders, borders[known].mean()), step


def edge_correlation(edges: Tensor, borders: Tensor, reach: int = _REACH) -> Tensor:
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


def alignment(image: Tensor, labels: Tensor, reach: int = _REACH) -> Alignment:
    """Where the borders of a mask fit the edges of its image best: (C, H, W), (H, W).

    A shift or a mirroring is only reported if it fits clearly better than what is there, and
    clearly better than its surroundings.
    """
    edges, borders, step = comparable(image, labels)
    reach = max(min(reach, *(side // 4 for side in borders.shape)), 1)
    here = edge_correlation(edges, borders, reach)
    best, fit = peak(here), here[reach, reach].item()
    shift = (0, 0)
    if not best.central and best.sharpness > _SHARP_SHIFT and best.height > fit + _CERTAIN:
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
    found = peaks[name].central and peaks[name].sharpness > _SHARP_MIRROR
    if found and peaks[name].height > best.height + _CERTAIN:
        return Alignment((0, 0), name, here)
    return Alignment(shift, "", here)
