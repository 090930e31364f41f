"""Thresholds: the histogram alone decides, place and neighbours do not.

    pixels                          Otsu's threshold parts the grey values into two classes
      │   ██                        so that each is as uniform as possible:
      │  ████           ▄█▄
      │ ██████▄  t   ▄██████▄        within(t) + between(t) = variance of the image
      └──────────┼────────────→ grey   small       large      (the same for every t)

Otsu. "A Threshold Selection Method from Gray-Level Histograms." IEEE Transactions on Systems, Man,
and Cybernetics, 1979. https://doi.org/10.1109/TSMC.1979.4310076
Niblack. "An Introduction to Digital Image Processing." Prentice-Hall, 1986.
Sauvola, Pietikäinen. "Adaptive document image binarization." Pattern Recognition, 2000.
https://doi.org/10.1016/S0031-3203(99)00055-2

Conventions: a threshold is in the unit of the image. A pixel lies above it if its value is greater,
so the threshold itself is the largest value of the lower class. Among equally good thresholds the
smallest is returned; any other in the same gap of the histogram parts the pixels alike.

Differs from the papers: values need not be whole numbers. An image with more than ``nbins``
different values is put into that many equal bins first, and the threshold is the middle of a bin.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.classical.pixels import gray


def otsu(image: Tensor, *, nbins: int = 256) -> float:
    """The threshold with the greatest variance between the two classes: image -> number.

    An image of a single value has no threshold; that value is returned, and nothing lies above it.
    """
    values, counts = _levels(image, nbins)
    if len(values) == 1:
        return float(values[0])
    share = counts / counts.sum()
    below = share.cumsum(0)[:-1]  # share of pixels up to each value; all of them is no threshold
    moment = (share * values).cumsum(0)
    mean, moment = moment[-1], moment[:-1]
    between = (mean * below - moment) ** 2 / (below * (1 - below))
    return float(values[between.argmax()])


def multi_otsu(image: Tensor, *, classes: int = 3, nbins: int = 256) -> list[float]:
    """The ``classes - 1`` thresholds with the greatest variance between the classes.

    The variance between classes is a sum over the classes, so the best division of the lowest
    values into k classes contains the best division of fewer values into k - 1: a table that grows
    by one class at a time finds it without trying all combinations.

    Raises:
        ValueError: if there are fewer than two classes, or fewer values than classes.
    """
    values, counts = _levels(image, nbins)
    if not 2 <= classes <= len(values):
        raise ValueError(
            f"{len(values)} different values cannot be parted into {classes} classes: choose from "
            f"2 to {len(values)}."
        )
    start = counts.new_zeros(1)
    below = torch.cat([start, (counts / counts.sum()).cumsum(0)])
    moment = torch.cat([start, (values * counts / counts.sum()).cumsum(0)])
    size = below[None] - below[:, None]  # share of the pixels whose values are number i ... j - 1
    gain = (moment[None] - moment[:, None]) ** 2 / size  # what such a class adds
    gain[size <= 0] = -torch.inf  # classes run upwards and are not empty
    best, choices = gain[0], []  # best[j]: of the j lowest values, in as many classes as so far
    for _ in range(classes - 1):
        best, choice = (best[:, None] + gain).max(dim=0)
        choices.append(choice)
    end, thresholds = len(values), []
    for choice in reversed(choices):
        end = int(choice[end])
        thresholds.append(float(values[end - 1]))
    return thresholds[::-1]


def between_class_variance(image: Tensor, thresholds: float | list[float]) -> float:
    """What Otsu maximises, from the pixels themselves: image -> number in squared grey values."""
    pixels, labels = gray(image), apply_thresholds(image, thresholds)
    parts = [pixels[labels == label] for label in labels.unique()]
    total = sum(len(part) * float(part.mean() - pixels.mean()) ** 2 for part in parts)
    return total / pixels.numel()


def apply_thresholds(image: Tensor, thresholds: float | list[float]) -> Tensor:
    """How many of the ascending thresholds lie below each pixel: image -> (H, W) int64."""
    if isinstance(thresholds, int | float):
        thresholds = [thresholds]
    return torch.bucketize(gray(image), torch.tensor(thresholds, dtype=torch.float64))


def _levels(image: Tensor, nbins: int) -> tuple[Tensor, Tensor]:
    """The histogram: image -> the values that occur, ascending (L,), and their pixels (L,).

    Raises:
        ValueError: if there are fewer than two bins.
    """
    if nbins < 2:
        raise ValueError(f"a histogram of {nbins} bins has no threshold: take at least 2.")
    values, counts = gray(image).unique(return_counts=True)
    if len(values) > nbins:
        counted, borders = np.histogram(gray(image).numpy(), nbins)
        counts = torch.from_numpy(counted)
        values = torch.from_numpy((borders[:-1] + borders[1:]) / 2)[counts > 0]
    return values, counts[counts > 0].double()


# ------------------------------------------------------------------------------ local thresholds


def niblack(image: Tensor, *, window_size: int = 15, k: float = 0.2) -> Tensor:
    """A threshold for every pixel: the mean around it less k standard deviations: -> (H, W).

    ``k=0`` is the plain local mean. On an even background the threshold lies within the noise:
    there Sauvola does better.
    """
    mean, std = _local_mean_and_std(image, window_size)
    return mean - k * std


def sauvola(image: Tensor, *, window_size: int = 15, k: float = 0.2, r: float = 0.5) -> Tensor:
    """Like Niblack, but an even neighbourhood lowers the threshold by the share k: -> (H, W).

    Made for dark print on bright paper: where nothing is printed, everything lies above.

    Args:
        image: any image.
        window_size: side of the neighbourhood in pixels, odd.
        k: how far the threshold is lowered where the image is even.
        r: the largest standard deviation that is possible, half the range of the image:
            0.5 for [0, 1], 128 for 0 ... 255.
    """
    mean, std = _local_mean_and_std(image, window_size)
    return mean * (1 + k * (std / r - 1))


def _local_mean_and_std(image: Tensor, window_size: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the window around every pixel: image -> two (H, W).

    The image is mirrored at its rim.

    Raises:
        ValueError: if the window has no middle, or is more than twice as large as the image.
    """
    pixels = gray(image)
    reach = window_size // 2
    if window_size < 1 or window_size % 2 == 0 or reach >= min(pixels.shape):
        raise ValueError(
            f"window_size={window_size} does not fit an image of {pixels.shape[0]} x "
            f"{pixels.shape[1]}: choose an odd number, at most twice the shorter side less 1."
        )
    center = pixels.mean()  # far from 0, the squares below would cancel
    framed = F.pad((pixels - center)[None, None], (reach,) * 4, mode="reflect")
    mean = F.avg_pool2d(framed, window_size, stride=1)[0, 0]
    square = F.avg_pool2d(framed**2, window_size, stride=1)[0, 0]
    return mean + center, (square - mean**2).clamp(min=0).sqrt()
