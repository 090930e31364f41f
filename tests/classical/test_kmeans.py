"""k-means: hand cases, an energy that never increases, and scikit-learn."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from sklearn.cluster import KMeans

from segcourse.classical.kmeans import colour_clusters, kmeans, plus_plus
from segcourse.classical.pixels import lab
from segcourse.data.photographs import NAMES, Photographs

LINE = torch.tensor([0.0, 1, 2, 10, 11, 12])[:, None]
ASTRONAUT = torch.from_numpy(data.astronaut()[::16, ::16].reshape(-1, 3).astype(float))


def falls(energies: list[float]) -> bool:
    return all(a >= b for a, b in pairwise(energies))


def energy_of(points, labels, centres) -> float:
    return float((points - centres[labels]).square().sum())


@pytest.mark.parametrize("start", [None, torch.tensor([[0.0], [1.0]])])
def test_by_hand(start):
    found = kmeans(LINE, 2, start=start)
    assert sorted(found.centres.flatten().tolist()) == [1, 11] and found.energies[-1] == 4
    assert len(set(found.labels[:3].tolist())) == len(set(found.labels[3:].tolist())) == 1


def test_a_picture_that_scikit_learn_has_clustered():
    found = kmeans(ASTRONAUT, 4)
    theirs = KMeans(4, n_init=10, random_state=0).fit(ASTRONAUT.numpy())
    assert found.energies[-1] <= theirs.inertia_ * (1 + 1e-9)
    assert math.isclose(found.energies[-1], 2_003_556.4, rel_tol=1e-3)
    expected = [(12.72, 7.35, 7.46), (107.98, 47.93, 41.81),
                (199.13, 107.5, 76.29), (198.12, 187.56, 183.86)]  # fmt: skip
    ours = found.centres[found.centres.sum(dim=1).argsort()]
    assert np.allclose(ours, expected, atol=3)  # theirs stops a little before the end


@pytest.mark.parametrize("name", NAMES)
def test_on_photographs_it_ends_no_higher_than_scikit_learn(name):
    colours = lab(Photographs(name, longest=80)[0].image).flatten(1).T
    found = kmeans(colours, 6, restarts=20)
    theirs = KMeans(6, n_init=10, random_state=0).fit(colours.numpy())
    assert falls(found.energies)
    assert found.energies[-1] <= theirs.inertia_ * (1 + 1e-9)
    onward = kmeans(colours, 6, start=torch.from_numpy(theirs.cluster_centers_))
    assert onward.energies[-1] <= theirs.inertia_ * (1 + 1e-9)


@settings(max_examples=60)
@given(st.integers(1, 6), st.integers(0, 1000), st.booleans())
def test_the_energy_never_increases_and_the_end_is_a_fixed_point(k, seed, whole):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(30, 2, generator=generator, dtype=torch.float64) * 4
    points = points.round() if whole else points  # many equal points, and empty clusters
    found = kmeans(points, k, restarts=1, seed=seed)
    assert falls(found.energies)
    labels, centres = found.labels, found.centres
    assert math.isclose(energy_of(points, labels, centres), found.energies[-1], abs_tol=1e-9)
    distances = (points[:, None] - centres).square().sum(dim=-1)
    assert torch.allclose(distances.min(dim=1).values, distances[torch.arange(30), labels])
    for label in labels.unique():
        assert torch.allclose(points[labels == label].mean(dim=0), centres[label])


def test_an_empty_cluster_starts_anew():
    start = torch.tensor([[101.0], [500.0], [600.0]])
    found = kmeans(LINE + 100, 3, start=start)
    assert len(found.labels.unique()) == 3 and falls(found.energies)


def test_it_stops_after_so_many_steps():
    start = torch.tensor([[0.0], [1.0]])
    assert len(kmeans(LINE, 2, steps=1, start=start).energies) == 2


def test_seeds_are_different_points_where_there_are_enough():
    points = torch.tensor([[0.0], [0.0], [0.0], [5.0], [9.0]]).double()
    for seed in range(20):
        chosen = plus_plus(points, 3, torch.Generator().manual_seed(seed))
        assert sorted(chosen.flatten().tolist()) == [0, 5, 9]


def test_far_points_are_drawn_more_often():
    points = torch.tensor([[0.0]] * 98 + [[1.0], [10.0]]).double()
    draws = [plus_plus(points, 2, torch.Generator().manual_seed(seed)) for seed in range(50)]
    far = sum(10.0 in draw for draw in draws)
    assert far >= 45


def test_more_runs_are_no_worse_and_a_seed_repeats_itself():
    energies = [kmeans(ASTRONAUT, 6, restarts=count).energies[-1] for count in (1, 5)]
    assert energies[1] <= energies[0]
    assert torch.equal(kmeans(ASTRONAUT, 6).labels, kmeans(ASTRONAUT, 6).labels)


def test_an_image_falls_into_its_colours():
    truth = torch.zeros(20, 30, dtype=torch.int64)
    truth[:, 10:], truth[12:, :] = 1, 2
    palette = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.2, 0.2, 0.9]])
    found = colour_clusters(palette[truth].movedim(-1, 0), 3)
    assert (
        found.shape == truth.shape
        and len(torch.stack([found, truth]).flatten(1).unique(dim=1).T) == 3
    )


def test_position_parts_what_colour_does_not():
    even = torch.full((3, 10, 40), 0.5)
    assert len(colour_clusters(even, 2).unique()) == 1
    left, right = (
        colour_clusters(even, 2, position=1.0)[:, :20],
        colour_clusters(even, 2, position=1.0)[:, 20:],
    )
    assert len(left.unique()) == len(right.unique()) == 1 and left[0, 0] != right[0, 0]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: kmeans(LINE, 0), "k=0"),
        (lambda: kmeans(LINE, 7), "1 to 6"),
        (lambda: kmeans(LINE[:, 0], 2), r"\(6,\)"),
        (lambda: colour_clusters(torch.full((3, 4, 4), 9.0), 2), "9"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
