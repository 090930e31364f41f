"""An image as the methods before networks see it: numbers, points of colour, or a graph.

    image (3, H, W) ─┬─→ gray         (H, W)      a number a pixel: histograms, floods
                     ├─→ lab          (3, H, W)   colours whose distance is how different they look
                     ├─→ edge_strength (H, W)     how fast the grey value changes
                     └─→ neighbors    (E, 2)      pairs of pixels that touch: the edges of a graph

Images are (3, H, W), (1, H, W) or (H, W) tensors. What needs no unit (grey values, gradients) is
computed in the unit of the image and is therefore right for [0, 1] and for 0 ... 255; what needs
one says so. All arithmetic is in float64 on the CPU, so that 8-bit values never wrap around.
"""

import math

import torch
import torch.nn.functional as F
from skimage.color import rgb2lab
from torch import Tensor

from segcourse.ops.labels import check_integers

_LUMINANCE = (
    0.2125,
    0.7154,
    0.0721,
)  # shares of red, green and blue in a grey value (BT.709)
_CONNECTIVITIES = (4, 8)


def channels(image: Tensor) -> Tensor:
    """Any image as float64 with a channel axis: (C, H, W) or (H, W) -> (C, H, W).

    Raises:
        TypeError: if it is no tensor of numbers.
        ValueError: if it has other axes, no pixel, 2 or 4 channels, or values that are not finite.
    """
    if not isinstance(image, Tensor) or image.dtype == torch.bool or image.is_complex():
        kind = image.dtype if isinstance(image, Tensor) else type(image).__name__
        raise TypeError(
            f"an image is a tensor of numbers, but this came as {kind}: convert it with "
            "torch.as_tensor and, if it is a mask, with .float()."
        )
    stack = image[None] if image.ndim == 2 else image
    if stack.ndim != 3 or len(stack) not in (1, 3) or stack.numel() == 0:
        raise ValueError(
            f"an image has shape (3, H, W), (1, H, W) or (H, W), but this one has "
            f"{tuple(image.shape)}: pass the images of a batch one by one, channels first."
        )
    stack = stack.detach().cpu().double()
    if not stack.isfinite().all():
        raise ValueError("the image holds nan or inf: replace them, with image.nan_to_num().")
    return stack


def gray(image: Tensor) -> Tensor:
    """One value a pixel, in the unit of the image: (3, H, W), (1, H, W) or (H, W) -> (H, W)."""
    stack = channels(image)
    if len(stack) == 1:
        return stack[0]
    return torch.einsum("chw,c->hw", stack, torch.tensor(_LUMINANCE, dtype=torch.float64))


def unit(image: Tensor) -> Tensor:
    """Any image in [0, 1], for methods with constants that need it: image -> (C, H, W) float64.

    Raises:
        ValueError: if it is not uint8 and leaves [0, 1].
    """
    stack = channels(image)
    if image.dtype == torch.uint8:
        return stack / 255
    if stack.min() < 0 or stack.max() > 1:
        raise ValueError(
            f"the image must be in [0, 1] (or uint8), but runs from {stack.min():.3g} to "
            f"{stack.max():.3g}: divide it by its largest possible value."
        )
    return stack


def lab(image: Tensor) -> Tensor:
    """Colours in CIELAB, L from 0 to 100: image in [0, 1] or uint8 -> (3, H, W).

    A distance of about 2 is just visible, wherever in the space. A grey image has a = b = 0.
    """
    color = unit(image).expand(3, -1, -1).movedim(0, -1).numpy()
    return torch.from_numpy(rgb2lab(color)).movedim(-1, 0).contiguous()


def edge_strength(image: Tensor) -> Tensor:
    """Length of the gradient by Sobel's filters, in grey values a pixel: image -> (H, W)."""
    smooth = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64) / 4
    slope = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64) / 2
    kernels = torch.stack([torch.outer(slope, smooth), torch.outer(smooth, slope)])[:, None]
    framed = F.pad(gray(image)[None, None], (1, 1, 1, 1), mode="replicate")
    return F.conv2d(framed, kernels)[0].norm(dim=0)


def neighbors(height: int, width: int, *, connectivity: int = 4) -> tuple[Tensor, Tensor]:
    """Every pair of pixels that touch, once, and their distance: -> (E, 2) int64, (E,) float64.

    Pixels are numbered in reading order, ``row * width + column``. Horizontal pairs come first,
    then vertical, then both diagonals (whose distance is the root of 2).

    Raises:
        ValueError: if the connectivity is neither 4 (sides) nor 8 (sides and corners).
    """
    _check_connectivity(connectivity)
    number = torch.arange(height * width).view(height, width)
    pairs = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:])]
    if connectivity == 8:
        pairs += [(number[:-1, :-1], number[1:, 1:]), (number[1:, :-1], number[:-1, 1:])]
    edges = [torch.stack([a.flatten(), b.flatten()], dim=1) for a, b in pairs]
    lengths = [1.0, 1.0, math.sqrt(2), math.sqrt(2)]
    distances = [
        torch.full((len(edge),), length, dtype=torch.float64)
        for edge, length in zip(edges, lengths, strict=False)
    ]
    return torch.cat(edges), torch.cat(distances)


def offsets(connectivity: int) -> list[tuple[int, int]]:
    """Steps (row, column) to the 4 or 8 neighbours, sides first, in reading order."""
    _check_connectivity(connectivity)
    sides = [(-1, 0), (0, -1), (0, 1), (1, 0)]
    return sides if connectivity == 4 else [*sides, (-1, -1), (-1, 1), (1, -1), (1, 1)]


def _check_connectivity(connectivity: int) -> None:
    """Refuse any number of neighbours but 4 and 8."""
    if connectivity not in _CONNECTIVITIES:
        raise ValueError(
            f"pixels have 4 or 8 neighbours, but connectivity={connectivity}: choose 4 (sides) or "
            "8 (sides and corners)."
        )


def check_partition(labels: Tensor, what: str = "labels") -> Tensor:
    """Accept a map of regions: (H, W) integers from 0 on -> (H, W) int64.

    Raises:
        TypeError: if it is no tensor of integers.
        ValueError: if it has other axes, no pixel, or negative numbers.
    """
    if isinstance(labels, Tensor) and labels.dtype == torch.bool:
        labels = labels.long()
    labels = check_integers(labels, what)
    if labels.ndim != 2 or labels.numel() == 0:
        raise ValueError(
            f"{what} must be (H, W) numbers from 0 on, but has shape {tuple(labels.shape)}: pass "
            "one map, with 0 where there is no region."
        )
    return labels.detach().cpu()


def check_points(points: Tensor) -> Tensor:
    """Refuse anything but a list of points: (P, D) -> (P, D) float64."""
    if not isinstance(points, Tensor) or points.ndim != 2 or points.numel() == 0:
        came = tuple(points.shape) if isinstance(points, Tensor) else type(points).__name__
        raise ValueError(
            f"points are a (P, D) tensor, one point a row, but came as {came}: turn an image into "
            "points with image.flatten(1).T."
        )
    points = points.detach().cpu().double()
    if not points.isfinite().all():
        raise ValueError("a point is nan or infinite: drop it, or look where it comes from.")
    return points
