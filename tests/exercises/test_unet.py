"""The U-Net exercises accept every right answer and name the usual mistakes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import nn

from segcourse.exercises import unet as chapter
from segcourse.losses.weights import border_weights
from segcourse.models.unet import UNet


def side_by_formula(side, depth):
    left = side - 12 * 2**depth + 8
    return np.int64(left) if left > 0 and left % 2**depth == 4 % 2**depth else None


def parameters_by_building(in_channels, num_classes, width, depth):
    with torch.device("meta"):
        net = UNet(num_classes, in_channels=in_channels, width=width, depth=depth)
    return sum(p.numel() for p in net.parameters())


def merge_by_padding(skip, x):
    rows, columns = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
    cut = F.pad(skip, (-columns // 2, -columns // 2, -rows // 2, -rows // 2))
    return torch.hstack([cut, x]).numpy()


def mirrored_by_walking(place, length):
    here, step = 0, 1
    for _ in range(abs(place)):  # to the left is to the right, in a mirror
        if length > 1:
            step = -1 if here == length - 1 else 1 if here == 0 else step
            here += step
    return here


def border_map_in_torch(instance, w0, sigma):
    return border_weights(torch.from_numpy(instance), w0=w0, sigma=sigma)


def border_map_by_partition(instance, w0, sigma):
    maps = [distance_transform_edt(instance != n) for n in range(1, instance.max() + 1)
            if (instance == n).any()]  # fmt: skip
    if len(maps) < 2:
        return (instance * 0.0).tolist()
    d = np.partition(np.stack(maps), 1, axis=0)[:2].sum(axis=0)
    return np.where(instance == 0, w0 * np.exp(-0.5 * (d / sigma) ** 2), 0).astype(np.float32)


def period_by_reasoning(net, image, side):
    return 2**net.depth


@pytest.mark.parametrize(
    "exercise, answer",
    [
        (chapter.side_of_logits, side_by_formula),
        (chapter.parameters, parameters_by_building),
        (chapter.fix_crop, merge_by_padding),
        (chapter.mirror, mirrored_by_walking),
        (chapter.border, border_map_in_torch),
        (chapter.border, border_map_by_partition),
        (chapter.shift, period_by_reasoning),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_right_answers_written_differently_are_accepted(exercise, answer):
    assert exercise.verdict(answer) == ("✓", "")


def test_the_side_is_the_networks():
    for depth in (1, 2, 3):
        with torch.device("meta"):
            net = UNet(2, width=1, depth=depth)
        for side in range(1, 140):
            try:
                real = net(torch.empty(1, 3, side, side, device="meta")).shape[-1]
            except ValueError:
                real = None
            assert chapter.logits_side(side, depth) == real


def test_the_count_is_the_papers():
    assert chapter.unet_parameters(1, 2, 64, 4) == 31_030_658


def test_the_mirror_is_torchs():
    row = torch.arange(6.0).view(1, 1, 1, 6)
    oracle = nn.ReflectionPad2d((5, 5, 0, 0))(row).flatten().tolist()
    assert [chapter.mirrored(place, 6) for place in range(-5, 11)] == oracle


def test_the_border_term_has_the_golden_values():
    instance, w0, sigma = chapter.cells()[0]
    weights = chapter.border_map(instance, w0, sigma)
    assert weights[8, 7] == pytest.approx(8.352702, abs=1e-5) and weights.max() == weights[8, 7]
    assert weights.sum() == pytest.approx(515.170384, abs=1e-3)
