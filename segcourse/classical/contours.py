"""Active contours: an outline that moves until its forces balance.

    snake       ●─●─●       Points on a curve. The curve resists stretching (alpha) and bending
               ●     ● →    (beta), the image pulls it towards edges.
                ●─●─●

    level set   0 0 0 0     A mask whose border moves: outwards or inwards where that pays
                0 1 1 0     (Chan-Vese: two even regions; geodesic: edges attract, a balloon
                0 1 1 0     pushes), then a little smoothing. It may split and merge.

Kass, Witkin, Terzopoulos. "Snakes: Active Contour Models." IJCV 1988.
https://doi.org/10.1007/BF00133570
Caselles, Kimmel, Sapiro. "Geodesic Active Contours." IJCV 1997.
https://doi.org/10.1023/A:1007979827043
Chan, Vese. "Active Contours Without Edges." IEEE Transactions on Image Processing, 2001.
https://doi.org/10.1109/83.902291
Márquez-Neila, Baumela, Álvarez. "A Morphological Approach to Curvature-based Evolution of Curves
and Surfaces." TPAMI 2014. https://doi.org/10.1109/TPAMI.2013.106

Conventions: points are (row, column). The energy of the image is minus the edge strength, so that
points climb to strong edges.

Differs from the papers:

- Snake: closed curves only, and no point moves more than a pixel a step.
- Chan-Vese and the geodesic contour are moved by the morphological steps of the last paper instead
  of differential equations; with colours, squared differences are summed over the channels.
"""

import math

import numpy as np
import torch
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_gradient_magnitude
from torch import Tensor

from segcourse.classical.pixels import channels, edge_strength, grey
from segcourse.ops.masks import check_mask

REST = 0.1  # pixels
SQUARE = np.ones((3, 3), dtype=bool)
LINES = (  # through the middle of 3 x 3 pixels, in four directions
    np.eye(3, dtype=bool),
    np.eye(3, dtype=bool)[::-1],
    np.array([[0, 1, 0]] * 3, dtype=bool),
    np.array([[0, 1, 0]] * 3, dtype=bool).T,
)


# ----------------------------------------------------------------------------------------- snake


def snake(
    image: Tensor,
    start: Tensor,
    *,
    alpha: float = 0.01,
    beta: float = 0.1,
    gamma: float = 0.01,
    pull: float = 1.0,
    steps: int = 2500,
) -> Tensor:
    """Let a closed curve settle on edges: image, points (V, 2) -> points (V, 2) float64.

    A step treats the stiff inner forces implicitly, at the new place, and the pull of the image
    explicitly, at the old one: (A + gamma) new = gamma old + pull * slope of the edge strength.

    Args:
        image: smoothed before, so that edges are felt from afar.
        start: (row, column) of the points, in order; the last is joined to the first.
        alpha: resistance to stretching: without other forces the curve shrinks.
        beta: resistance to bending.
        gamma: inertia: the inverse of the size of a step.
        pull: weight of the image.
        steps: at most so many; ends before when all points are back, within a tenth of a pixel,
            where they were at some time in the last ten steps (a curve may swing for ever).

    Raises:
        ValueError: if there are fewer than five points.
    """
    points = check_curve(start)
    edges = edge_strength(image).numpy()
    surface = RectBivariateSpline(*map(np.arange, edges.shape), edges, kx=2, ky=2)
    eye = np.eye(len(points))
    second = np.roll(eye, 1, axis=0) + np.roll(eye, -1, axis=0) - 2 * eye
    inner = -alpha * second + beta * second @ second  # A: tension and stiffness
    inverse = np.linalg.inv(inner + gamma * eye)
    recent = []
    for _ in range(steps):
        slope = [surface(*points.T, dx=down, dy=1 - down, grid=False) for down in (1, 0)]
        target = inverse @ (gamma * points + pull * np.stack(slope, axis=1))
        points = points + np.tanh(target - points)
        if len(recent) < 10:
            recent.append(points)
            continue
        if min(np.abs(points - each).sum(axis=1).max() for each in recent) < REST:
            break
        recent = []
    return torch.from_numpy(points)


def circle(centre: tuple[float, float], radius: float, *, points: int = 100) -> Tensor:
    """A curve to start from: (row, column) of the centre -> (V, 2) float64.

    Raises:
        ValueError: if the radius is not positive.
    """
    if radius <= 0:
        raise ValueError(f"circle(radius={radius}) encloses nothing: choose a radius above 0.")
    angle = torch.arange(points, dtype=torch.float64) * 2 * math.pi / points
    return torch.stack([centre[0] + radius * angle.sin(), centre[1] + radius * angle.cos()], dim=1)


def check_curve(points: Tensor) -> np.ndarray:
    """Refuse what is no closed curve with bends: (V, 2) -> (V, 2) float64."""
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 5:
        raise ValueError(
            f"a snake has points (V, 2) of (row, column), at least 5, but came as "
            f"{tuple(points.shape)}: see circle."
        )
    return points.detach().cpu().double().numpy()


# ------------------------------------------------------------------------------------ level sets


def chan_vese(
    image: Tensor, *, start: Tensor | None = None, steps: int = 50, smoothing: int = 1
) -> Tensor:
    """Part the image into two even regions with a short border: image -> (H, W) bool.

    A pixel at the border changes sides if its colour is nearer to the mean of the other side. Which
    side is True depends on the start.

    Args:
        image: any image.
        start: the mask to begin with; default: a chessboard of 5 x 5 pixels, which is everywhere.
        steps: moves of the border.
        smoothing: how often the border is smoothed after every move.
    """
    colours = channels(image)
    inside = chessboard(colours.shape[-2:]) if start is None else check_mask(start)
    mask, values = same_size(inside, colours), colours.numpy()
    for step in range(steps):
        if mask.all() or not mask.any():
            break
        ours, others = (
            np.square(values - values[:, side].mean(axis=1)[:, None, None]).sum(axis=0)
            for side in (mask, ~mask)
        )
        border = np.abs(np.gradient(mask.astype(float))).sum(axis=0) > 0
        mask = np.where(border & (ours != others), ours < others, mask)
        mask = smooth(mask, smoothing, first=step * smoothing)
    return torch.from_numpy(mask)


def geodesic_contour(
    stopping: Tensor,
    start: Tensor,
    *,
    steps: int = 100,
    smoothing: int = 1,
    threshold: float = 0.5,
    balloon: float = 0.0,
) -> Tensor:
    """Move a border until edges hold it: stopping map (H, W), mask (H, W) -> (H, W) bool.

    Args:
        stopping: near 0 on edges, near 1 elsewhere; see :func:`stopping_map`.
        start: the mask to begin with.
        steps: moves of the border.
        smoothing: how often the border is smoothed after every move.
        threshold: the balloon pushes where the stopping map exceeds threshold / abs(balloon).
        balloon: below 0 shrinks, above 0 grows, 0 waits for edges to come by.
    """
    brake, mask = grey(stopping).numpy(), same_size(check_mask(start), stopping)
    slopes = np.gradient(brake)
    pushed = brake > threshold / abs(balloon) if balloon else None
    for step in range(steps):
        if balloon:
            moved = binary_dilation(mask, SQUARE) if balloon > 0 else binary_erosion(mask, SQUARE)
            mask = np.where(pushed, moved, mask)
        towards = sum(a * b for a, b in zip(slopes, np.gradient(mask.astype(float)), strict=True))
        mask = np.where(towards == 0, mask, towards > 0)  # to where the stopping map is lower
        mask = smooth(mask, smoothing, first=step * smoothing)
    return torch.from_numpy(mask)


def stopping_map(image: Tensor, *, alpha: float = 100.0, sigma: float = 5.0) -> Tensor:
    """1 / sqrt(1 + alpha * slope of the smoothed grey value): image in [0, 1] -> (H, W)."""
    slope = gaussian_gradient_magnitude(grey(image).numpy(), sigma, mode="nearest")
    return torch.from_numpy(1 / np.sqrt(1 + alpha * slope))


def smooth(mask: np.ndarray, times: int, *, first: int = 0) -> np.ndarray:
    """Wear off corners and fill notches of the border, in turns: (H, W) bool -> (H, W) bool.

    A pixel stays if one of the four lines through it lies in the mask, and joins if all four touch
    the mask; the infinitesimal limit of the two in turns is motion by curvature.
    """
    for turn in range(first, first + times):
        mask = wear(fill(mask)) if turn % 2 == 0 else fill(wear(mask))
    return mask


def wear(mask: np.ndarray) -> np.ndarray:
    """Pixels with a line of the mask through them: (H, W) bool -> (H, W) bool."""
    return np.any([binary_erosion(mask, line) for line in LINES], axis=0)


def fill(mask: np.ndarray) -> np.ndarray:
    """Pixels all of whose lines touch the mask: (H, W) bool -> (H, W) bool."""
    return np.all([binary_dilation(mask, line) for line in LINES], axis=0)


def chessboard(size: tuple[int, int], *, side: int = 5) -> Tensor:
    """A mask that starts everywhere at once: -> (H, W) bool."""
    rows, columns = (torch.arange(length) // side % 2 for length in size)
    return (rows[:, None] ^ columns).bool()


def same_size(mask: Tensor, image: Tensor) -> np.ndarray:
    """The mask as an array, if it belongs to the image: (H, W) bool -> (H, W) bool."""
    if mask.shape != image.shape[-2:]:
        raise ValueError(
            f"the mask {tuple(mask.shape)} and the image {tuple(image.shape[-2:])} differ in size: "
            "start from a mask of the same pixels."
        )
    return mask.cpu().numpy()
