"""Gaussian-weighted sums over near pairs, against the sums over all pairs."""

import math

import pytest
import torch

from segcourse.ops import gaussian_sum
from segcourse.ops.gaussian_sum import GaussianSum, group, near_pairs


def all_pairs(points, values):
    distance = torch.cdist(points.double(), points.double())
    return (values.double() @ torch.exp(-0.5 * distance.square())).float()


def some_points(count, dimensions=5, spread=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(count, dimensions, generator=generator)


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65, 129, 1000])
@pytest.mark.parametrize("spread", [0.5, 3.0, 50.0])
def test_sums_are_those_over_all_pairs(count, spread):
    points, values = some_points(count, spread=spread), torch.rand(3, count)
    found, true = GaussianSum(points)(values), all_pairs(points, values)
    assert found.shape == (3, count)
    assert ((found - true).abs() <= 0.003 * true).all()


def test_with_an_endless_reach_nothing_is_left_out():
    points, values = some_points(500), torch.rand(2, 500)
    found = GaussianSum(points, reach=1000.0)(values)
    assert torch.allclose(found, all_pairs(points, values), rtol=1e-4)


def test_a_blur_of_a_grid_misses_no_more_than_a_thousandth():
    side = torch.arange(40) / 1.5
    points, values = torch.cartesian_prod(side, side), torch.ones(1, 1600)
    blur, true = GaussianSum(points, group_size=4), all_pairs(points, values)
    assert sum(map(len, blur.pairs)) < len(blur.groups) ** 2 / 5  # most pairs are left out
    assert ((blur(values) - true).abs() <= 0.001 * true).all()


def test_the_error_is_at_most_what_the_left_out_pairs_weigh():
    points, values = some_points(800, dimensions=2, spread=4.0), torch.rand(1, 800)
    short = GaussianSum(points, reach=2.0, group_size=8)(values)
    missing = all_pairs(points, values) - short
    assert missing.max() > 0.01  # so that the bound is put to the test
    assert missing.min() > -1e-4 and missing.max() < 800 * math.exp(-(2.0**2) / 2)


def test_points_far_from_the_origin_lose_no_digits():
    points, values = some_points(300) + 1000.0, torch.rand(1, 300)
    assert torch.allclose(GaussianSum(points)(values), all_pairs(points, values), rtol=0.003)


def test_equal_points_share_everything():
    points, values = torch.ones(100, 5), torch.rand(4, 100)
    expected = values.sum(dim=1, keepdim=True).expand(4, 100)
    assert torch.allclose(GaussianSum(points)(values), expected, rtol=1e-5)


def test_sums_add_up_and_do_not_touch_what_they_were_given():
    points, values = some_points(128), torch.rand(2, 128)
    blur, before = GaussianSum(points), values.clone()
    one, other = blur(values[:1]), blur(values[1:])
    assert torch.allclose(torch.cat([one, other]), blur(values), rtol=1e-5)
    assert torch.allclose(one + other, blur(values.sum(dim=0, keepdim=True)), rtol=1e-4)
    assert torch.equal(values, before)


def test_weights_that_do_not_fit_memory_are_computed_again(monkeypatch):
    points, values = some_points(300), torch.rand(2, 300)
    stored = GaussianSum(points)
    monkeypatch.setattr(gaussian_sum, "MAX_STORED", 10)
    forgetful = GaussianSum(points)
    assert stored.stored is not None and forgetful.stored is None
    assert torch.equal(stored(values), forgetful(values))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("stored", [2**28, 10])
def test_autocast_changes_nothing(monkeypatch, dtype, stored):
    monkeypatch.setattr(gaussian_sum, "MAX_STORED", stored)
    points, values = some_points(300), torch.rand(2, 300)
    wanted = GaussianSum(points)(values)
    with torch.autocast("cpu", dtype):
        found = GaussianSum(points)(values)
    assert found.dtype == torch.float32 and torch.equal(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_points_and_values_of_other_types(dtype):
    points, values = some_points(100).to(dtype), torch.rand(2, 100).to(dtype)
    found = GaussianSum(points)(values)
    assert found.dtype == torch.float32
    assert torch.allclose(found, all_pairs(points, values), rtol=0.003)
    assert GaussianSum(points)(values[:0]).shape == (0, 100)


@pytest.mark.parametrize("count, size", [(1, 1), (7, 3), (64, 64), (65, 64), (1000, 48)])
def test_every_point_is_in_one_group_and_groups_are_small(count, size):
    groups = group(some_points(count), size)
    assert groups.shape[1] <= size
    assert groups.flatten().sort().values.tolist() == list(range(groups.numel()))
    assert count <= groups.numel() < count + len(groups)


def test_groups_of_two_clouds_do_not_mix():
    points = torch.cat([some_points(32), some_points(32) + 100])[torch.randperm(64)]
    for members in points[group(points, 32)]:
        assert (members > 50).all() or (members < 50).all()


def test_boxes_are_near_if_they_touch_and_far_beyond_the_reach():
    members = torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[1.0, 1.0], [2.0, 2.0]], [[5.0, 5.0]] * 2])
    assert near_pairs(members, 4.0).tolist() == [[0, 0], [0, 1], [1, 1], [2, 2]]
    assert near_pairs(members, 4.3).tolist() == [
        [0, 0],
        [0, 1],
        [1, 1],
        [1, 2],
        [2, 2],
    ]  # 3 * 2**.5


def test_most_pairs_of_a_wide_cloud_are_never_computed():
    blur = GaussianSum(some_points(4096, dimensions=2, spread=20.0))
    computed = sum(map(len, blur.pairs)) * blur.groups.shape[1] ** 2
    assert computed < 0.1 * 4096**2


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: GaussianSum(torch.zeros(0, 5)), r"\(0, 5\)"),
        (lambda: GaussianSum(torch.zeros(5)), "flatten"),
        (lambda: GaussianSum(torch.full((3, 2), float("nan"))), "remove nan"),
        (lambda: GaussianSum(torch.zeros(3, 2), reach=0.0), "reach=0.0"),
        (lambda: GaussianSum(torch.zeros(3, 2), group_size=0), "groups of 0"),
        (lambda: GaussianSum(torch.zeros(3, 2))(torch.zeros(1, 4)), r"\(K, 3\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
