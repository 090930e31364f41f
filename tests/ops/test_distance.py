"""Distances by brute force, and masks without a boundary."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from segcourse.ops.distance import (
    signed_distance,
    signed_distance_of_masks,
    unsigned_distance_of_masks,
)
from segcourse.ops.labels import IGNORE


def test_a_row_by_hand():
    target = torch.tensor([[[0, 0, 1, 1, 1, 0, 0, 0]]])
    distances = signed_distance(target, 2)
    assert distances.shape == (1, 2, 1, 8)
    assert distances[0, 1, 0].tolist() == [2, 1, 0, -1, 0, 1, 2, 3]
    assert torch.equal(signed_distance(target, 1), distances[:, 1:])
    assert unsigned_distance_of_masks(target == 1)[0, 0].tolist() == [2, 1, 1, 2, 1, 1, 2, 3]


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


@pytest.mark.parametrize("distance", [signed_distance_of_masks, unsigned_distance_of_masks])
def test_masks_may_have_any_axes_before_the_last_two(distance):
    masks = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(0)) > 0.6
    found = distance(masks)
    assert found.shape == masks.shape and found.dtype == torch.float32
    assert torch.equal(distance(masks[1, 2]), found[1, 2])
    for size in ((0, 3, 5, 4), (2, 3, 0, 4), (2, 3, 1, 1)):
        assert torch.equal(distance(torch.ones(size).bool()), torch.zeros(size))


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.uint16, torch.int32])
def test_labels_of_narrow_integers(kind):
    target = torch.tensor([[[1, 1, IGNORE, 0], [2, 0, 0, 0]]])
    assert torch.equal(signed_distance(target.to(kind), 3), signed_distance(target, 3))
    renamed = target.where(target != IGNORE, -1).to(torch.int8)
    assert torch.equal(signed_distance(renamed, 3, ignore_index=-1), signed_distance(target, 3))


def test_a_class_may_be_void():
    target = torch.tensor([[[1, 1, 2, 0]]])
    void = target.where(target != 2, IGNORE)
    assert torch.equal(signed_distance(target, 3, ignore_index=2), signed_distance(void, 3))
