"""Take strides away and put holes in: a trained network predicts densely, without training.

Chen, Papandreou, Kokkinos, Murphy, Yuille. "Semantic Image Segmentation with Deep Convolutional
Nets and Fully Connected CRFs." ICLR 2015, section 3.1. https://arxiv.org/abs/1412.7062

A layer that strides drops every second position. Without its stride all positions stay, and the
taps of all later kernels must move apart by the factor that was taken away. Then every kernel
reads exactly the inputs that it was trained on, and the new positions are what the network
computes from a shifted image. At strides 32 and 8, away from the border,

    dense[..., i::4, j::4]  =  coarse(image[..., 8 * i :, 8 * j :])      for i, j = 0, 1, 2, 3

``shift_and_stitch`` computes the right side, with one run of the network for every shift.

Differs from the paper: it takes 3 x 3 windows for its poolings, and trains on, so that its last
pooling needs no holes. Here poolings stay 2 x 2, and everything behind a stride gets its holes.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.upsample import resize
from segcourse.models.fcn import FCN


def chain(fcn: FCN) -> nn.Sequential:
    """FCN-32s before its upsampling, one layer after another: (N, 3, H, W) -> (N, K, h, w).

    The layers are those of ``fcn``, not copies; its poolings become modules.

    Raises:
        ValueError: if the network has skips, or pads by 100 pixels.
    """
    if len(fcn.score_skips) or fcn.features.stages[0][0].padding != (1, 1):
        raise ValueError(
            "chain takes FCN(stride=32, padding=1): skips need a second path, and a padding of "
            "100 pixels moves the maps."
        )
    stages = (
        layer
        for stage in fcn.features.stages
        for layer in (*stage, nn.MaxPool2d(2, ceil_mode=True))
    )
    return nn.Sequential(*stages, *fcn.classifier, fcn.score)


def remove_strides(
    layers: nn.Sequential, output_stride: int, *, holes: bool = True
) -> nn.Sequential:
    """A copy with the same weights that does not stride beyond ``output_stride``.

    Args:
        layers: convolutions, poolings, and layers without a kernel, in the order of execution.
        output_stride: of the copy; a product of the first strides.
        holes: dilate all later kernels by the strides that were removed. Without holes, they read
            positions that are nearer than those of the training.

    Raises:
        ValueError: if no product of the first strides is ``output_stride``.
    """
    dense = copy.deepcopy(layers)
    reached, rate = 1, 1
    for layer in dense.modules():
        if not isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            continue
        if holes:
            layer.dilation = _times(layer.dilation, rate)
            layer.padding = _times(layer.padding, rate)
        stride = _times(layer.stride, 1)[0]
        if reached * stride <= output_stride:
            reached *= stride
        else:
            layer.stride = (1, 1)
            rate *= stride
    if reached != output_stride:
        raise ValueError(
            f"output_stride={output_stride} is not reached: the first strides of these layers "
            f"multiply to {reached}."
        )
    return dense


def _times(value: int | tuple[int, int], factor: int) -> tuple[int, int]:
    """An argument of a layer as a pair, multiplied."""
    pair = (value, value) if isinstance(value, int) else value
    return (pair[0] * factor, pair[1] * factor)


def shift_and_stitch(layers: nn.Module, image: Tensor, *, stride: int, step: int) -> Tensor:
    """A map of stride ``step`` from a network of a larger stride: (N, C, H, W) -> (N, K, h, w).

    The network runs once for every shift by a multiple of ``step`` pixels below its stride, and
    the maps are interlaced. The image is repeated at its lower and right border, so that all maps
    have one size: h = H / step and w = W / step.

    Raises:
        ValueError: if the step does not divide the stride, or the stride a side of the image.
    """
    if stride % step or any(side % stride for side in image.shape[-2:]):
        raise ValueError(
            f"stride={stride}, step={step} and an image of {tuple(image.shape[-2:])} do not fit: "
            "the step divides the stride, and the stride divides both sides."
        )
    height, width = image.shape[-2:]
    larger = F.pad(image, (0, stride, 0, stride), mode="replicate")

    def shifted(y: int, x: int) -> Tensor:
        return layers(larger[..., y : y + height, x : x + width])

    shifts = range(0, stride, step)
    rows = [torch.stack([shifted(y, x) for x in shifts], dim=-1).flatten(-2) for y in shifts]
    return torch.stack(rows, dim=-2).flatten(-3, -2)


def upsample_dense(scores: Tensor, stride: int, image: Tensor) -> Tensor:
    """Put scores over the image, bilinearly: (N, K, h, w) -> (N, K, H, W).

    Poolings that lost their stride, but not their window, cost the map a few positions. Half of
    them are missing on each side, where the outermost logits are repeated.
    """
    height, width = (stride * side for side in scores.shape[-2:])
    logits = resize(scores, (height, width))
    down, across = image.shape[-2] - height, image.shape[-1] - width
    sides = (across // 2, across - across // 2, down // 2, down - down // 2)
    return F.pad(logits, sides, mode="replicate")
