"""Distances by brute force, and masks without a boundary."""

import numpy as np
import torch
from scipy.spatial.distance import cdist

from segcourse.ops.distance import (
    signed_distance,
    unsigned_distance_of_masks,
)
from segcourse.ops.labels import IGNORE


def test_distances_by_brute_force():
    rng = np.random.default_rng(0)
    mask = rng.random((9, 7)) < 0.3
    grid = np.argwhere(np.ones_like(mask))
    to_inside = cdist(grid, np.argwhere(mask)).min(1).reshape(mask.shape)
    to_outside = cdist(grid, np.argwhere(~mask)).min(1).reshape(mask.shape)
    expected = np.where(mask, 1 - to_outside, to_inside)
    found = signed_distance(torch.from_numpy(mask).long()[None], 1)[0, 0]
    assert np.allclose(found, expected, atol=1e-5)
    assert np.allclose(
        unsigned_distance_of_masks(torch.from_numpy(mask)[None, None]),
        to_inside + to_outside,
        atol=1e-5,
    )


def test_empty_and_full_masks_have_no_distance():
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    assert not signed_distance(target, 2).any()
    assert not unsigned_distance_of_masks(torch.ones(1, 1, 4, 4, dtype=torch.bool)).any()


def test_void_belongs_to_no_class():
    target = torch.tensor([[[1, 1, IGNORE, 0]]])
    assert signed_distance(target, 2)[0, :, 0].tolist() == [[3, 2, 1, 0], [-1, 0, 1, 2]]
