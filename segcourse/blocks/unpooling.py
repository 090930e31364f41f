"""Unpooling: put every value back where the maximum was found, and zeros everywhere else.

Noh, Hong, Han. "Learning Deconvolution Network for Semantic Segmentation." ICCV 2015.
https://arxiv.org/abs/1505.04366
Badrinarayanan, Kendall, Cipolla. "SegNet: A Deep Convolutional Encoder-Decoder Architecture for
Image Segmentation." TPAMI 2017. https://arxiv.org/abs/1511.00561

    encoder     1  3 │ 2  0                                    0  a │ b  0     decoder
                0  2 │ 1  1     3  2                  a  b     0  0 │ 0  0
                ─────┼─────  →  4  5  → layers ... →  c  d  →  ─────┼─────
                4  0 │ 0  1                                    c  0 │ 0  0
                2  1 │ 5  0     maxima at 1, 2, 8, 14 ──────→  0  0 │ d  0

The positions are counted row by row in the large map. So they mean nothing without its width: in a
map of another width the values would land in wrong columns, and no error would tell. And half of
45 rows, rounded up as in Caffe, is 23, as is half of 46. ``Maxima`` keeps both together.

Differs from the papers: nothing.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class Maxima(NamedTuple):
    """Where a pooling found its maxima: all that unpooling needs to know."""

    indices: Tensor  # (N, C, h, w) int64: row * W + column in the map that was pooled
    size: tuple[int, int]  # (H, W) of that map


def pool(x: Tensor) -> tuple[Tensor, Maxima]:
    """The largest of every 2 x 2 values, and where it was: (N, C, H, W) -> (N, C, h, w), maxima.

    h = ceil(H / 2) and w = ceil(W / 2): what is left at the border of an odd side forms smaller
    windows. Of equal values the first one counts.
    """
    pooled, indices = F.max_pool2d(x, kernel_size=2, ceil_mode=True, return_indices=True)
    return pooled, Maxima(indices, tuple(x.shape[-2:]))


def unpool(x: Tensor, maxima: Maxima) -> Tensor:
    """Values to the places of the maxima, zeros elsewhere: (N, C, h, w) -> (N, C, H, W).

    Raises:
        ValueError: unless there is exactly one value for every maximum.
    """
    if x.shape != maxima.indices.shape:
        raise ValueError(
            f"features {tuple(x.shape)} do not fit maxima {tuple(maxima.indices.shape)}: unpooling "
            "needs a value for each of them. Undo the poolings in reverse order, with the channels "
            "that were pooled."
        )
    return F.max_unpool2d(x, maxima.indices, kernel_size=2, output_size=maxima.size)


def encode(stages: Iterable[nn.Module], image: Tensor) -> tuple[Tensor, list[Maxima]]:
    """Pool after every stage: (N, C, H, W) -> the coarsest features, and the maxima, finest first.

    Raises:
        ValueError: if the image is not a batch.
    """
    if image.ndim != 4:
        raise ValueError(
            f"this network takes images (N, C, H, W), but this has shape {tuple(image.shape)}: add "
            "the axis of the batch with image[None]."
        )
    x, maxima = image, []
    for stage in stages:
        x, found = pool(stage(x))
        maxima.append(found)
    return x, maxima


def decode(stages: Iterable[nn.Module], x: Tensor, maxima: list[Maxima]) -> Tensor:
    """Unpool before every stage, coarse to fine: (N, C, h, w) -> (N, C', H, W).

    The stages are the decoder's, one for each of the maxima, which are used from the last to the
    first.
    """
    for stage, found in zip(stages, reversed(maxima), strict=True):
        x = stage(unpool(x, found))
    return x
