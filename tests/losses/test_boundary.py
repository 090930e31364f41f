"""Distances by hand, losses against MONAI."""

import pytest
import torch
from monai.losses import BoundaryLoss, HausdorffDTLoss

from segcourse.losses.boundary import boundary_loss, hausdorff_dt_loss
from segcourse.ops.distance import signed_distance
from segcourse.ops.labels import IGNORE


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits, retain_graph=True)[0]


def test_a_row_by_hand():
    """With p = 1/2 everywhere, half of the sum of 2 1 0 -1 0 1 2 3 by 8."""
    target = torch.tensor([[[0, 0, 1, 1, 1, 0, 0, 0]]])
    assert boundary_loss(torch.zeros(1, 1, 1, 8), target) == 0.5


@pytest.mark.parametrize("include_background, value", [(True, 0.30517851), (False, 0.27516413)])
def test_boundary_loss_agrees_with_monai(x, t, include_background, value):
    ours = boundary_loss(x, t, include_background=include_background)
    theirs = BoundaryLoss(softmax=True, to_onehot_y=True, include_background=include_background)(
        x, t[:, None]
    )
    assert ours.item() == pytest.approx(value, abs=1e-8)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-7)
    assert torch.allclose(gradient(ours, x), gradient(theirs, x), atol=1e-7)


@pytest.mark.parametrize("loss", [boundary_loss, hausdorff_dt_loss])
def test_reductions(x, t, loss):
    each = loss(x, t, reduction="none")
    assert each.shape == (2, 2, 4, 4)
    assert loss(x, t, reduction="none", include_background=True).shape == (2, 3, 4, 4)
    assert loss(x, t, reduction="sum").item() == pytest.approx(each.sum().item())
    assert loss(x, t).item() == pytest.approx(each.mean().item())
    with pytest.raises(ValueError, match="'max'"):
        loss(x, t, reduction="max")


def test_multilabel_targets_agree_with_monai(x):
    masks = (torch.arange(96) * 5 // 3 % 3 > 0).long().reshape(2, 3, 4, 4)
    how = dict(sigmoid=True, include_background=True)
    for ours, theirs in (
        (boundary_loss, BoundaryLoss(**how)),
        (hausdorff_dt_loss, HausdorffDTLoss(**how)),
    ):
        found = ours(x, masks, multilabel=True, include_background=True)
        wanted = theirs(x, masks.double())
        assert found.item() == pytest.approx(wanted.item(), abs=1e-6)
        assert torch.allclose(gradient(found, x), gradient(wanted, x), atol=1e-6)


def test_distances_of_void_do_not_matter(x, ti):
    ready = signed_distance(ti, 3)
    wanted = boundary_loss(x, ti, distances=ready)
    void = (ti == IGNORE)[:, None].expand_as(ready)
    assert torch.equal(boundary_loss(x, ti, distances=ready.masked_fill(void, torch.inf)), wanted)


def test_precomputed_distances_change_nothing(x, t):
    ready = signed_distance(t, 3)
    assert torch.equal(boundary_loss(x, t, distances=ready), boundary_loss(x, t))


def test_the_minimum_is_negative():
    target = torch.zeros(1, 7, 7, dtype=torch.long)
    target[0, 1:6, 1:6] = 1
    perfect = 100.0 * (target[:, None] - 0.5)
    lowest = signed_distance(target, 1).clamp(max=0).mean()
    assert boundary_loss(perfect, target).item() == pytest.approx(lowest.item(), abs=1e-6)
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
    target = torch.zeros(1, 16, 16, dtype=torch.long)
    target[0, :4, :4] = 1
    near, far = target.clone(), target.clone()
    near[0, 4, 0], far[0, 15, 15] = 1, 1
    for loss in (boundary_loss, hausdorff_dt_loss):
        costs = [loss(100.0 * (mask[:, None] - 0.5), target) for mask in (near, far)]
        assert costs[1] > costs[0]
