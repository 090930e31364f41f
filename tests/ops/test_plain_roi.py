"""Bilinear weights; what is made of them is tested beside the operators, in test_roi."""

import pytest
import torch

from segcourse.ops.plain_roi import bilinear_weights


def test_weights_fade_beyond_the_ends():
    assert bilinear_weights(torch.tensor([0.25, -0.5, 2.75, 9.0]), 3).tolist() == [
        [0.75, 0.25, 0], [0.5, 0, 0], [0, 0, 0.25], [0, 0, 0]]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_cells_beyond_2048_are_told_apart_in_half_precision(dtype):
    weights = bilinear_weights(torch.tensor([2050.0], dtype=dtype), 2054)
    assert weights.nonzero().tolist() == [[0, 2050]] and weights[0, 2050] == 1
