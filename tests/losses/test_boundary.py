"""Distances by hand, losses against MONAI."""

import numpy as np
import pytest
import torch
from monai.losses import BoundaryLoss, HausdorffDTLoss
from scipy.spatial.distance import cdist

from segcourse.losses.boundary import boundary_loss, field, hausdorff_dt_loss, signed_distance
from segcourse.ops.labels import IGNORE


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits, retain_graph=True)[0]


def test_a_row_by_hand():
    truth = torch.tensor([[[0, 0, 1, 1, 1, 0, 0, 0]]])
    distances = signed_distance(truth, 2)
    assert distances.shape == (1, 2, 1, 8)
    assert distances[0, 1, 0].tolist() == [2, 1, 0, -1, 0, 1, 2, 3]
    assert torch.equal(signed_distance(truth, 1), distances[:, 1:])
    flat = torch.zeros(1, 1, 1, 8)  # p = 1/2 everywhere
    assert boundary_loss(flat, truth) == 0.5


def test_distances_by_brute_force():
    rng = np.random.default_rng(0)
    mask = rng.random((9, 7)) < 0.3
    grid = np.argwhere(np.ones_like(mask))
    to_inside = cdist(grid, np.argwhere(mask)).min(1).reshape(mask.shape)
    to_outside = cdist(grid, np.argwhere(~mask)).min(1).reshape(mask.shape)
    expected = np.where(mask, 1 - to_outside, to_inside)
    found = signed_distance(torch.from_numpy(mask).long()[None], 1)[0, 0]
    assert np.allclose(found, expected, atol=1e-5)
    assert np.allclose(field(torch.from_numpy(mask)[None, None]), to_inside + to_outside, atol=1e-5)


def test_empty_and_full_masks_have_no_distance():
    truth = torch.zeros(1, 4, 4, dtype=torch.long)
    assert not signed_distance(truth, 2).any()
    assert not field(torch.ones(1, 1, 4, 4, dtype=torch.bool)).any()


def test_void_belongs_to_no_class():
    truth = torch.tensor([[[1, 1, IGNORE, 0]]])
    assert signed_distance(truth, 2)[0, :, 0].tolist() == [[3, 2, 1, 0], [-1, 0, 1, 2]]


@pytest.mark.parametrize("background, value", [(True, 0.30517851), (False, 0.27516413)])
def test_boundary_loss_agrees_with_monai(x, t, background, value):
    ours = boundary_loss(x, t, background=background)
    theirs = BoundaryLoss(softmax=True, to_onehot_y=True, include_background=background)(
        x, t[:, None]
    )
    assert ours.item() == pytest.approx(value, abs=1e-8)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-7)
    assert torch.allclose(gradient(ours, x), gradient(theirs, x), atol=1e-7)


def test_precomputed_distances_change_nothing(x, t):
    ready = signed_distance(t, 3)
    assert torch.equal(boundary_loss(x, t, distances=ready), boundary_loss(x, t))


def test_the_minimum_is_negative():
    truth = torch.zeros(1, 7, 7, dtype=torch.long)
    truth[0, 1:6, 1:6] = 1
    perfect = 100.0 * (truth[:, None] - 0.5)
    lowest = signed_distance(truth, 1).clamp(max=0).mean()
    assert boundary_loss(perfect, truth).item() == pytest.approx(lowest.item(), abs=1e-6)
    assert lowest < 0


def test_hausdorff_agrees_with_monai(z, y, x, t):
    ours = hausdorff_dt_loss(z, y)
    monai = HausdorffDTLoss(sigmoid=True, include_background=True, alpha=2.0)
    theirs = monai(z, y[:, None].double())
    assert monai(z, y[:, None]) < 0.72, "MONAI rounds the distances down to integers here"
    assert ours.item() == pytest.approx(0.79325444, abs=1e-7)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    assert gradient(ours, z).norm().item() == pytest.approx(0.09262356, abs=1e-7)
    assert torch.allclose(gradient(ours, z), gradient(theirs, z), atol=1e-6)
    ours = hausdorff_dt_loss(x, t)
    theirs = HausdorffDTLoss(softmax=True, to_onehot_y=True)(x, t[:, None])
    assert ours.item() == pytest.approx(0.85503815, abs=1e-7)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    assert torch.allclose(gradient(ours, x), gradient(theirs, x), atol=1e-6)


def test_a_mistake_far_away_costs_more_than_one_next_door():
    truth = torch.zeros(1, 16, 16, dtype=torch.long)
    truth[0, :4, :4] = 1
    near, far = truth.clone(), truth.clone()
    near[0, 4, 0], far[0, 15, 15] = 1, 1
    for loss in (boundary_loss, hausdorff_dt_loss):
        costs = [loss(100.0 * (mask[:, None] - 0.5), truth) for mask in (near, far)]
        assert costs[1] > costs[0]
