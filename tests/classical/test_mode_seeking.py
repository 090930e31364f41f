"""Mean shift: hand cases, and the modes of scikit-learn."""

import numpy as np
import pytest
import torch
from skimage import data
from sklearn.cluster import MeanShift

from segcourse.classical import mode_seeking as module
from segcourse.classical.mode_seeking import color_modes, mean_shift
from segcourse.data.toytown import Toytown

LINE = torch.tensor([0.0, 1, 2, 10, 11, 12])[:, None]


def test_by_hand():
    found = mean_shift(LINE, 3)
    assert sorted(found.modes.flatten().tolist()) == [1, 11]
    assert found.modes[found.labels].flatten().tolist() == [1, 1, 1, 11, 11, 11]


def test_the_bandwidth_decides_how_many():
    counts = [len(mean_shift(LINE, bandwidth).modes) for bandwidth in (0.5, 1.0, 3.0, 20.0)]
    assert counts == [6, 2, 2, 1]


def test_a_plateau_of_equal_density_is_one_mode():
    ramp = torch.arange(40.0)[:, None]
    assert len(mean_shift(ramp, 2.5).modes) == 1
    grid = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0))
    assert len(mean_shift(grid, 1.1).modes) == 1
    apart = torch.cat([ramp, ramp + 100])
    found = mean_shift(apart, 2.5)
    assert len(found.modes) == 2 and found.labels.tolist() == [0] * 40 + [1] * 40


def test_the_modes_are_those_of_scikit_learn():
    points = data.astronaut()[::16, ::16].reshape(-1, 3).astype(float)
    found = mean_shift(torch.from_numpy(points), 66.1959)
    theirs = MeanShift(bandwidth=66.1959).fit(points).cluster_centers_
    assert found.modes.shape == theirs.shape
    assert np.allclose(found.modes, theirs, atol=1e-6)
    binned = MeanShift(bandwidth=66.1959, bin_seeding=True).fit(points).cluster_centers_
    assert len(binned) == 4 and np.allclose(found.modes[:4], binned, atol=1e-6)


def test_every_mode_is_the_mean_of_its_neighbourhood():
    points = torch.rand(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for mode in mean_shift(points, 0.2).modes:
        near = (points - mode).norm(dim=1) <= 0.2
        assert (points[near].mean(dim=0) - mode).norm() < 1e-3


def test_weights_count_like_repeated_points():
    repeated = torch.cat([LINE, LINE[1:2], LINE[1:2]])
    ours = mean_shift(LINE, 3, weights=torch.tensor([1, 3, 1, 1, 1, 1]))
    assert torch.allclose(ours.modes, mean_shift(repeated, 3).modes)
    assert torch.equal(ours.labels, mean_shift(repeated, 3).labels[:6])


def test_parts_of_the_starts_climb_alike(monkeypatch):
    points = torch.rand(100, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole = mean_shift(points, 0.4)
    monkeypatch.setattr(module, "_CHUNK", 700)
    parts = mean_shift(points, 0.4)
    assert torch.equal(whole.labels, parts.labels) and torch.allclose(whole.modes, parts.modes)


def test_an_image_falls_into_its_colours_without_their_number():
    target = torch.zeros(20, 30, dtype=torch.int64)
    target[:, 10:], target[12:, :] = 1, 2
    palette = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.2, 0.2, 0.9]])
    noise = 0.01 * torch.randn(3, 20, 30, generator=torch.Generator().manual_seed(0))
    found = color_modes((palette[target].movedim(-1, 0) + noise).clamp(0, 1), 10)
    pairs = torch.stack([found, target]).flatten(1).unique(dim=1)
    assert found.shape == target.shape and pairs.shape[1] == 3


def test_a_wider_bandwidth_gives_fewer_regions():
    image = Toytown(1)[0].image
    counts = [int(color_modes(image, bandwidth).max()) for bandwidth in (6, 12, 24)]
    assert counts[0] > counts[1] > counts[2] >= 1


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: mean_shift(LINE, 0), "bandwidth=0"),
        (lambda: mean_shift(LINE[:, 0], 1), r"\(6,\)"),
        (lambda: color_modes(torch.zeros(3, 4, 4), -2), "bandwidth=-2"),
        (lambda: color_modes(torch.full((3, 4, 4), 9.0), 2), "9"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
