"""Fully connected CRF: every pixel receives the classes of all others, weighted by similarity.

Krähenbühl, Koltun. "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials."
NIPS 2011. https://arxiv.org/abs/1210.5644; the default settings are those of DeepLab v1.

    logits ─ log softmax ─ log p ───────────────────────────────── + ─ softmax ─→ Q
                                                                   │              │
                     ┌──── 3 × blur over x, y ──────────┐          │              │
               Q ────┤                                  + ─ message               │
               ↑     └──── 4 × blur over x, y, r, g, b ─┘                         │
               └──────────────────── 10 times, first Q = p ───────────────────────┘

A network's coarse map is pulled to the edges of the image: the blur over positions alone removes
specks, and the blur over positions and colours lets a class spread only where the colour stays.

Two things differ from the paper; the first is what the authors' library computes, too:

- A pixel also receives its own message, and every kernel K is normalised to D^-1/2 K D^-1/2, where
  D holds the sums of its rows. Without that, the message to a pixel in a large even region would be
  a sum over thousands of others.
- The paper blurs on a permutohedral lattice, whose weights are only roughly Gaussian. Here the
  blur over positions is one along y and one along x, which is exact, and the other leaves out
  nothing but pairs that hardly count (:mod:`segcourse.ops.gaussian_sum`). Large areas of one colour
  are blurred on a coarse grid, whose weights are right to 1e-5. Mean field amplifies small errors
  where two classes are on a par: on Toytown, pydensecrf's lattice gives 0.2 to 0.9 % of the pixels
  another class than exact sums do. The price is time, 0.2 s instead of 0.02 s for a scene; it
  grows with the number of pairs of similar pixels: 2 s for twice the height and width.

Images lie in [0, 1], and so does the standard deviation of colours: the papers' 5 is 5 / 255.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from segcourse.ops.gaussian_sum import GaussianSum
from segcourse.ops.precision import widen, without_autocast

_Kernel = Callable[[Tensor], Tensor]  # from probabilities to messages: (K, H, W) -> (K, H, W)

NODES_APART, NODES_BEYOND = 0.5, 1.0  # of a grid, and beyond the image: standard deviations
MAX_PIXELS = 4096  # of brute force: its matrices hold the square of that, 128 MiB each


@torch.no_grad()
def brute_force_crf(
    logits: Tensor,
    image: Tensor,
    *,
    smooth_weight: float = 3.0,
    smooth_std: float = 3.0,
    bilateral_weight: float = 4.0,
    xy_std: float = 49.0,
    rgb_std: float = 5 / 255,
    iterations: int = 10,
) -> Tensor:
    """Mean field over all pairs of pixels: (K, H, W), (3, H, W) -> (K, H, W) probabilities.

    The definition, which ``dense_crf`` approximates, in double precision. Same arguments, but for
    one image, and a small one.

    Raises:
        TypeError, ValueError: as ``dense_crf``, and if the image is too large.
    """
    _check_settings((smooth_weight, bilateral_weight), (smooth_std, xy_std), rgb_std, iterations)
    log_p = _log_probabilities(logits, image, axes=3).flatten(1)  # (K, HW)
    if log_p.shape[1] > MAX_PIXELS:
        raise ValueError(
            f"brute force compares all pairs of at most {MAX_PIXELS} pixels, but this image has "
            f"{log_p.shape[1]}, which takes {8e-9 * log_p.shape[1] ** 2:.1f} GB for every matrix: "
            "crop the image to 64 x 64, or use dense_crf."
        )
    with without_autocast(logits.device):
        position, color = _features(image.double())
        smooth = _normalize(_gaussian(position / smooth_std))  # (HW, HW)
        bilateral = _normalize(_gaussian(torch.cat([position / xy_std, color / rgb_std], dim=1)))
        weights = smooth_weight * smooth + bilateral_weight * bilateral
        q = _mean_field(log_p, lambda q: q @ weights, iterations)
    return q.reshape(logits.shape).to(logits.dtype)


def _mean_field(log_p: Tensor, message: _Kernel, iterations: int) -> Tensor:
    """Update the probabilities of all pixels at once, several times: (K, ...) -> (K, ...)."""
    q = log_p.exp()
    for _ in range(iterations):
        q = (log_p + message(q)).softmax(dim=0)
    return q


def _features(image: Tensor) -> tuple[Tensor, Tensor]:
    """The position and the colour of every pixel: (3, H, W) -> (HW, 2), (HW, 3)."""
    rows, columns = (torch.arange(side, device=image.device) for side in image.shape[-2:])
    return torch.cartesian_prod(rows, columns).to(image.dtype), image.flatten(1).T


def _gaussian(points: Tensor) -> Tensor:
    """exp(-distance² / 2) of all pairs, distances in standard deviations: (P, D) -> (P, P)."""
    return torch.exp(-0.5 * torch.cdist(points, points).square())


def _normalize(kernel: Tensor) -> Tensor:
    """D^-1/2 K D^-1/2, where D holds the sums of the rows: symmetric (P, P) -> (P, P)."""
    scale = kernel.sum(dim=1).rsqrt()
    return scale[:, None] * kernel * scale


@torch.no_grad()
def dense_crf(
    logits: Tensor,
    images: Tensor,
    *,
    smooth_weight: float = 3.0,
    smooth_std: float = 3.0,
    bilateral_weight: float = 4.0,
    xy_std: float = 49.0,
    rgb_std: float = 5 / 255,
    iterations: int = 10,
) -> Tensor:
    """Refine classes along the edges of images: (N, K, H, W), (N, 3, H, W) -> (N, K, H, W).

    Returns probabilities. No gradient flows back.

    Args:
        logits: scores of the classes, as large as the images; of probabilities p, ``p.log()``.
        images: colours in [0, 1], not normalised.
        smooth_weight, smooth_std: how much near pixels count; how many pixels away is near.
        bilateral_weight, xy_std, rgb_std: how much near pixels of similar colour count; how many
            pixels away is near; what difference of colours, in [0, 1], is similar.
        iterations: rounds of messages.

    Raises:
        TypeError, ValueError: if logits and images are none, or do not belong together, or if a
            setting cannot be.
    """
    _check_settings((smooth_weight, bilateral_weight), (smooth_std, xy_std), rgb_std, iterations)
    log_p = _log_probabilities(logits, images, axes=4).float()
    with without_autocast(logits.device):
        smooth = _spatial_kernel(images.float(), smooth_std)

        def refine(log_p: Tensor, image: Tensor) -> Tensor:
            bilateral = _bilateral_kernel(image, xy_std, rgb_std)
            return _mean_field(
                log_p,
                lambda q: smooth_weight * smooth(q) + bilateral_weight * bilateral(q),
                iterations,
            )

        return torch.stack(list(map(refine, log_p, images.float()))).to(logits.dtype)


def _spatial_kernel(images: Tensor, std: float) -> _Kernel:
    """The blur over positions: it falls apart into one along y and one along x, both exact."""
    sides = (torch.arange(side, device=images.device)[:, None] for side in images.shape[-2:])
    down, across = (_normalize(_gaussian(side.double() / std)).float() for side in sides)
    return lambda q: down @ q @ across


def _bilateral_kernel(image: Tensor, xy_std: float, rgb_std: float) -> _Kernel:
    """The blur over positions and colours of an image (3, H, W), over near pairs only.

    In a large area of one colour, nearly all pairs are near. There the blur depends on positions
    alone and is smooth, so that the area is represented by the nodes of a coarse grid: its values
    are distributed to the nodes, and the sums at the nodes are interpolated at its pixels.
    """
    position, color = _features(image)
    (y, down), (x, across) = (_nodes(side, xy_std, image.device) for side in image.shape[-2:])
    grid = torch.cartesian_prod(y, x)
    colors, number, count = color.unique(dim=0, return_inverse=True, return_counts=True)
    # An area has count² pairs, but distributing its values takes time, too: only large areas gain.
    large = (count > len(grid)) & (count.square() > 16 * len(color))
    alone = ~large[number]  # (HW,)
    areas = [(number == each).reshape(image.shape[-2:]) for each in large.nonzero()]
    points = [torch.cat([position / xy_std, color / rgb_std], dim=1)[alone]]
    for each in colors[large]:
        points.append(torch.cat([grid, (each / rgb_std).expand(len(grid), 3)], dim=1))
    gaussian_sum = GaussianSum(torch.cat(points))

    def blur(q: Tensor) -> Tensor:
        distributed = [(down.mT @ (q * area) @ across).flatten(1) for area in areas]
        values = torch.cat([q.flatten(1)[:, alone], *distributed], dim=1)
        own, *at_nodes = gaussian_sum(values).split([len(part) for part in points], dim=1)
        result = q.new_zeros(len(q), len(color))
        result[:, alone] = own
        result = result.reshape(q.shape)
        for area, sums in zip(areas, at_nodes, strict=True):
            result += area * (down @ sums.unflatten(1, (len(y), len(x))) @ across.mT)
        return result

    scale = blur(torch.ones_like(image[:1])).rsqrt()  # (1, H, W)
    return lambda q: scale * blur(scale * q)


def _nodes(side: int, std: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """A few points on a line of pixels, and the share of each in a pixel: (n,), (side, n).

    A Gaussian around a pixel is the sum of those around the nodes, times their shares, to 1e-5, as
    it is smooth between nodes half a standard deviation apart. Where pixels are as far apart, they
    are the nodes. Positions are measured in standard deviations.
    """
    pixels = torch.arange(side).double() / std  # on the CPU: not every device has float64
    middle = (side - 1) / std / 2
    each_way = math.ceil((middle + NODES_BEYOND) / NODES_APART)
    if 2 * each_way + 1 >= side:
        return pixels.float().to(device), torch.eye(side, device=device)
    nodes = middle + NODES_APART * torch.arange(-each_way, each_way + 1).double()
    kernel = _gaussian(torch.cat([nodes, pixels])[:, None])[: len(nodes)]
    shares = torch.linalg.solve(kernel[:, : len(nodes)], kernel[:, len(nodes) :])
    return nodes.float().to(device), shares.mT.float().to(device)


def _check_settings(
    weights: tuple[float, float], stds: tuple[float, float], rgb_std: float, iterations: int
) -> None:
    """Refuse weights, standard deviations and numbers of rounds that cannot be.

    Raises:
        ValueError: if one is wrong.
    """
    if not all(0 <= weight < math.inf for weight in weights):
        raise ValueError(
            f"smooth_weight and bilateral_weight are {weights}, but negative ones would push "
            "similar pixels apart: take 0 or more; 0 switches a kernel off."
        )
    if not all(0 < std < math.inf for std in (*stds, rgb_std)):
        raise ValueError(
            f"smooth_std, xy_std and rgb_std are {(*stds, rgb_std)}, but a standard deviation is "
            "above 0: to switch a kernel off, set its weight to 0."
        )
    if rgb_std > 1:
        raise ValueError(
            f"rgb_std={rgb_std} makes all colours of [0, 1] alike: the papers count colours up to "
            "255, so divide it by 255."
        )
    if iterations < 0:
        raise ValueError(f"iterations={iterations}, but rounds are counted from 0: 10 is usual.")


def _log_probabilities(logits: Tensor, image: Tensor, axes: int) -> Tensor:
    """Check logits, and take log softmax: ([N,] K, H, W), ([N,] 3, H, W) -> ([N,] K, H, W) float64.

    Raises:
        TypeError: if something is no tensor of floats.
        ValueError: if shapes or values are wrong.
    """
    for name, x in (("logits", logits), ("the image", image)):
        if not isinstance(x, Tensor) or not x.is_floating_point():
            came = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(
                f"{name} must be a tensor of floats, but came as {came}: use torch.as_tensor and "
                ".float(); divide the bytes of an image by 255."
            )
    expected = (*logits.shape[:-3], 3, *logits.shape[-2:])  # of the image
    if logits.ndim != axes or 0 in logits.shape or image.shape != expected:
        batch = "N, " if axes == 4 else ""
        raise ValueError(
            f"logits ({batch}K, H, W) and colours ({batch}3, H, W) of the same pixels are wanted, "
            f"but {tuple(logits.shape)} and {tuple(image.shape)} came: resize the logits, add a "
            "missing axis with [None], expand grey to 3 channels."
        )
    (colors,) = widen(image)  # in bfloat16, 1.001 is 1
    if not ((colors > -0.001) & (colors < 1.001)).all():
        raise ValueError(
            f"colours lie in [0, 1], but these run from {image.min():.3g} to {image.max():.3g}: "
            "pass the image as it was before it was normalised; divide bytes by 255."
        )
    total, tolerance = logits.double().sum(dim=-3), max(0.001, torch.finfo(logits.dtype).eps)
    if logits.shape[-3] > 1 and (logits >= 0).all() and ((total - 1).abs() < tolerance).all():
        raise ValueError(
            "logits are wanted, but these are probabilities, as they add up to 1 at every pixel: "
            "pass their logarithm, p.log()."
        )
    log_p = logits.double().log_softmax(dim=-3)
    if log_p.isnan().any():
        raise ValueError(
            f"{int(log_p.isnan().any(dim=-3).sum())} pixels have no probabilities, as a logit is "
            "nan or inf, or all are -inf: check the network, or what p.log() was taken of."
        )
    return log_p
