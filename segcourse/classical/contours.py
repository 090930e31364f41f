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

from segcourse.classical.pixels import channels, edge_strength, gray
from segcourse.ops.masks import check_mask

_REST = 0.1  # pixels
_SQUARE = np.ones((3, 3), dtype=bool)
_LINES = (  # through the middle of 3 x 3 pixels, in four directions
    np.eye(3, dtype=bool),
    np.eye(3, dtype=bool)[::-1],
    np.array([[0, 1, 0]] * 3, dtype=bool),
    np.array([[0, 1, 0]] * 3, dtype=bool).T,
)


# ----------------------------------------------------------------------------------------- snake


def active_contour(
    image: Tensor,
    init: Tensor,
    *,
    alpha: float = 0.01,
    beta: float = 0.1,
    gamma: float = 0.01,
    w_edge: float = 1.0,
    max_num_iter: int = 2500,
) -> Tensor:
    """Let a closed curve settle on edges: image, points (V, 2) -> points (V, 2) float64.

    A step treats the stiff inner forces implicitly, at the new place, and the pull of the image
    explicitly, at the old one: (A + gamma) new = gamma old + w_edge * slope of the edge strength.

    Args:
        image: smoothed before, so that edges are felt from afar.
        init: (row, column) of the points, in order; the last is joined to the first.
        alpha: resistance to stretching: without other forces the curve shrinks.
        beta: resistance to bending.
        gamma: inertia: the inverse of the size of a step.
        w_edge: weight of the image; scikit-image's edges are sqrt(2) times as strong.
        max_num_iter: at most so many steps; ends before when all points are back, within a tenth
            of a pixel, where they were at some time in the last ten steps (a curve may swing for
            ever).

    Raises:
        ValueError: if there are fewer than five points, or fewer than 3 x 3 pixels.
    """
    points = _check_curve(init)
    edges = edge_strength(image).numpy()
    if min(edges.shape) < 3:
        raise ValueError(
            f"an image of {edges.shape[0]} x {edges.shape[1]} has no room for a curve: use one of "
            "at least 3 x 3 pixels."
        )
    surface = RectBivariateSpline(*map(np.arange, edges.shape), edges, kx=2, ky=2)
    eye = np.eye(len(points))
    second = np.roll(eye, 1, axis=0) + np.roll(eye, -1, axis=0) - 2 * eye
    inner = -alpha * second + beta * second @ second  # A: tension and stiffness
    inverse = np.linalg.inv(inner + gamma * eye)
    recent = []
    for _ in range(max_num_iter):
        slope = [surface(*points.T, dx=down, dy=1 - down, grid=False) for down in (1, 0)]
        target = inverse @ (gamma * points + w_edge * np.stack(slope, axis=1))
        points = points + np.tanh(target - points)
        if len(recent) < 10:
            recent.append(points)
            continue
        if min(np.abs(points - each).sum(axis=1).max() for each in recent) < _REST:
            break
        recent = []
    return torch.from_numpy(points)


def circle(center: tuple[float, float], radius: float, *, num_points: int = 100) -> Tensor:
    """A curve to start from: (row, column) of the centre -> (V, 2) float64.

    Raises:
        ValueError: if the radius is not positive.
    """
    if radius <= 0:
        raise ValueError(f"circle(radius={radius}) encloses nothing: choose a radius above 0.")
    angle = torch.arange(num_points, dtype=torch.float64) * 2 * math.pi / num_points
    return torch.stack([center[0] + radius * angle.sin(), center[1] + radius * angle.cos()], dim=1)


def _check_curve(points: Tensor) -> np.ndarray:
    """Refuse what is no closed curve with bends: (V, 2) -> (V, 2) float64."""
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 5:
        raise ValueError(
            f"a snake has points (V, 2) of (row, column), at least 5, but came as "
            f"{tuple(points.shape)}: see circle."
        )
    points = points.detach().cpu().double()
    if not points.isfinite().all():
        raise ValueError("a point of the snake is nan or infinite: give places in the image.")
    return points.numpy()


# ------------------------------------------------------------------------------------ level sets


def morphological_chan_vese(
    image: Tensor, *, init_level_set: Tensor | None = None, num_iter: int = 50, smoothing: int = 1
) -> Tensor:
    """Part the image into two even regions with a short border: image -> (H, W) bool.

    A pixel at the border changes sides if its colour is nearer to the mean of the other side. Which
    side is True depends on the start.

    Args:
        image: any image.
        init_level_set: the mask to begin with; default: a checkerboard of 5 x 5 pixels, which
            is everywhere.
        num_iter: moves of the border.
        smoothing: how often the border is smoothed after every move.
    """
    colors = channels(image)
    if init_level_set is None:
        init_level_set = checkerboard_level_set(colors.shape[-2:])
    mask, values = _same_size(check_mask(init_level_set), colors), colors.numpy()
    for step in range(num_iter):
        if mask.all() or not mask.any():
            break
        ours, others = (
            np.square(values - values[:, side].mean(axis=1)[:, None, None]).sum(axis=0)
            for side in (mask, ~mask)
        )
        border = np.abs(_slopes(mask)).sum(axis=0) > 0
        mask = np.where(border & (ours != others), ours < others, mask)
        mask = smooth(mask, smoothing, first=step * smoothing)
    return torch.from_numpy(mask)


def morphological_geodesic_active_contour(
    stopping: Tensor,
    init_level_set: Tensor,
    *,
    num_iter: int = 100,
    smoothing: int = 1,
    threshold: float = 0.5,
    balloon: float = 0.0,
) -> Tensor:
    """Move a border until edges hold it: stopping map (H, W), mask (H, W) -> (H, W) bool.

    Args:
        stopping: near 0 on edges, near 1 elsewhere; see :func:`inverse_gaussian_gradient`.
        init_level_set: the mask to begin with.
        num_iter: moves of the border.
        smoothing: how often the border is smoothed after every move.
        threshold: the balloon pushes where the stopping map exceeds threshold / abs(balloon).
        balloon: below 0 shrinks, above 0 grows, 0 waits for edges to come by.
    """
    brake, mask = gray(stopping).numpy(), _same_size(check_mask(init_level_set), stopping)
    slopes = _slopes(brake)
    pushed = brake > threshold / abs(balloon) if balloon else None
    for step in range(num_iter):
        if balloon:
            moved = binary_dilation(mask, _SQUARE) if balloon > 0 else binary_erosion(mask, _SQUARE)
            mask = np.where(pushed, moved, mask)
        towards = sum(a * b for a, b in zip(slopes, _slopes(mask), strict=True))
        mask = np.where(towards == 0, mask, towards > 0)  # to where the stopping map is lower
        mask = smooth(mask, smoothing, first=step * smoothing)
    return torch.from_numpy(mask)


def inverse_gaussian_gradient(image: Tensor, *, alpha: float = 100.0, sigma: float = 5.0) -> Tensor:
    """1 / sqrt(1 + alpha * slope of the smoothed grey value): image in [0, 1] -> (H, W)."""
    slope = gaussian_gradient_magnitude(gray(image).numpy(), sigma, mode="nearest")
    return torch.from_numpy(1 / np.sqrt(1 + alpha * slope))


def smooth(mask: np.ndarray, times: int, *, first: int = 0) -> np.ndarray:
    """Wear off corners and fill notches of the border, in turns: (H, W) bool -> (H, W) bool.

    A pixel stays if one of the four lines through it lies in the mask, and joins if all four touch
    the mask; the infinitesimal limit of the two in turns is motion by curvature.
    """
    for turn in range(first, first + times):
        mask = _sup_inf(_inf_sup(mask)) if turn % 2 == 0 else _inf_sup(_sup_inf(mask))
    return mask


def _slopes(values: np.ndarray) -> list[np.ndarray]:
    """The gradient down and across, 0 along an axis of one pixel: (H, W) -> two (H, W)."""
    values = values.astype(float)
    return [
        np.gradient(values, axis=axis) if side > 1 else np.zeros_like(values)
        for axis, side in enumerate(values.shape)
    ]


def _sup_inf(mask: np.ndarray) -> np.ndarray:
    """Pixels with a line of the mask through them: (H, W) bool -> (H, W) bool."""
    return np.any([binary_erosion(mask, line) for line in _LINES], axis=0)


def _inf_sup(mask: np.ndarray) -> np.ndarray:
    """Pixels all of whose lines touch the mask: (H, W) bool -> (H, W) bool."""
    return np.all([binary_dilation(mask, line) for line in _LINES], axis=0)


def checkerboard_level_set(image_shape: tuple[int, int], *, square_size: int = 5) -> Tensor:
    """A mask that starts everywhere at once: -> (H, W) bool."""
    rows, columns = (torch.arange(side) // square_size % 2 for side in image_shape)
    return (rows[:, None] ^ columns).bool()


def _same_size(mask: Tensor, image: Tensor) -> np.ndarray:
    """The mask as an array, if it belongs to the image: (H, W) bool -> (H, W) bool."""
    if mask.shape != image.shape[-2:]:
        raise ValueError(
            f"the mask {tuple(mask.shape)} and the image {tuple(image.shape[-2:])} differ in size: "
            "start from a mask of the same pixels."
        )
    return mask.cpu().numpy()
