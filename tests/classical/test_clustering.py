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

from segcourse.classical.clustering import color_clusters, kmeans, kmeans_plusplus
from segcourse.classical.pixels import lab
from segcourse.data.photographs import NAMES, Photographs

LINE = torch.tensor([0.0, 1, 2, 10, 11, 12])[:, None]
ASTRONAUT = torch.from_numpy(data.astronaut()[::16, ::16].reshape(-1, 3).astype(float))


def falls(inertias: list[float]) -> bool:
    return all(a >= b for a, b in pairwise(inertias))


def energy_of(points, labels, centers) -> float:
    return float((points - centers[labels]).square().sum())


@pytest.mark.parametrize("init", [None, torch.tensor([[0.0], [1.0]])])
def test_by_hand(init):
    found = kmeans(LINE, 2, init=init)
    assert sorted(found.centers.flatten().tolist()) == [1, 11] and found.inertias[-1] == 4
    assert len(set(found.labels[:3].tolist())) == len(set(found.labels[3:].tolist())) == 1


def test_a_picture_that_scikit_learn_has_clustered():
    found = kmeans(ASTRONAUT, 4)
    theirs = KMeans(4, n_init=10, random_state=0).fit(ASTRONAUT.numpy())
    assert found.inertias[-1] <= theirs.inertia_ * (1 + 1e-9)
    assert math.isclose(found.inertias[-1], 2_003_556.4, rel_tol=1e-3)
    expected = [(12.72, 7.35, 7.46), (107.98, 47.93, 41.81),
                (199.13, 107.5, 76.29), (198.12, 187.56, 183.86)]  # fmt: skip
    ours = found.centers[found.centers.sum(dim=1).argsort()]
    assert np.allclose(ours, expected, atol=3)  # theirs stops a little before the end


@pytest.mark.parametrize("name", NAMES)
def test_on_photographs_it_ends_no_higher_than_scikit_learn(name):
    colors = lab(Photographs(name, longest=80)[0].image).flatten(1).T
    found = kmeans(colors, 6, n_init=20)
    theirs = KMeans(6, n_init=10, random_state=0).fit(colors.numpy())
    assert falls(found.inertias)
    assert found.inertias[-1] <= theirs.inertia_ * (1 + 1e-9)
    onward = kmeans(colors, 6, init=torch.from_numpy(theirs.cluster_centers_))
    assert onward.inertias[-1] <= theirs.inertia_ * (1 + 1e-9)


@settings(max_examples=60)
@given(st.integers(1, 6), st.integers(0, 1000), st.booleans())
def test_the_energy_never_increases_and_the_end_is_a_fixed_point(k, seed, whole):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(30, 2, generator=generator, dtype=torch.float64) * 4
    points = points.round() if whole else points  # many equal points, and empty clusters
    found = kmeans(points, k, n_init=1, seed=seed)
    assert falls(found.inertias)
    labels, centers = found.labels, found.centers
    assert math.isclose(energy_of(points, labels, centers), found.inertias[-1], abs_tol=1e-9)
    distances = (points[:, None] - centers).square().sum(dim=-1)
    assert torch.allclose(distances.min(dim=1).values, distances[torch.arange(30), labels])
    for label in labels.unique():
        assert torch.allclose(points[labels == label].mean(dim=0), centers[label])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float64])
def test_points_of_any_type(dtype):
    points = torch.tensor([[0], [1], [2], [240], [241], [250]])
    found = kmeans(points.to(dtype), 2, seed=1)
    wanted = kmeans(points.to(dtype).double(), 2, seed=1)
    assert torch.equal(found.labels, wanted.labels) and torch.equal(found.centers, wanted.centers)
    assert found.labels[0] != found.labels[3]


def test_an_empty_cluster_starts_anew():
    init = torch.tensor([[101.0], [500.0], [600.0]])
    found = kmeans(LINE + 100, 3, init=init)
    assert len(found.labels.unique()) == 3 and falls(found.inertias)


def test_it_stops_after_so_many_steps():
    init = torch.tensor([[0.0], [1.0]])
    assert len(kmeans(LINE, 2, max_iter=1, init=init).inertias) == 2


def test_seeds_are_different_points_where_there_are_enough():
    points = torch.tensor([[0.0], [0.0], [0.0], [5.0], [9.0]]).double()
    for seed in range(20):
        chosen = kmeans_plusplus(points, 3, torch.Generator().manual_seed(seed))
        assert sorted(chosen.flatten().tolist()) == [0, 5, 9]


def test_far_points_are_drawn_more_often():
    points = torch.tensor([[0.0]] * 98 + [[1.0], [10.0]]).double()
    draws = [kmeans_plusplus(points, 2, torch.Generator().manual_seed(seed)) for seed in range(50)]
    far = sum(10.0 in draw for draw in draws)
    assert far >= 45


def test_more_runs_are_no_worse_and_a_seed_repeats_itself():
    inertias = [kmeans(ASTRONAUT, 6, n_init=count).inertias[-1] for count in (1, 5)]
    assert inertias[1] <= inertias[0]
    assert torch.equal(kmeans(ASTRONAUT, 6).labels, kmeans(ASTRONAUT, 6).labels)


def test_an_image_falls_into_its_colours():
    target = torch.zeros(20, 30, dtype=torch.int64)
    target[:, 10:], target[12:, :] = 1, 2
    palette = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.2, 0.2, 0.9]])
    found = color_clusters(palette[target].movedim(-1, 0), 3)
    assert (
        found.shape == target.shape
        and len(torch.stack([found, target]).flatten(1).unique(dim=1).T) == 3
    )


def test_position_parts_what_colour_does_not():
    even = torch.full((3, 10, 40), 0.5)
    assert len(color_clusters(even, 2).unique()) == 1
    left, right = (
        color_clusters(even, 2, position=1.0)[:, :20],
        color_clusters(even, 2, position=1.0)[:, 20:],
    )
    assert len(left.unique()) == len(right.unique()) == 1 and left[0, 0] != right[0, 0]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: kmeans(LINE, 0), "k=0"),
        (lambda: kmeans(LINE, 7), "1 to 6"),
        (lambda: kmeans(LINE / 0, 2), "nan or infinite"),
        (lambda: kmeans(LINE, 2, init=torch.tensor([[math.nan], [1.0]])), "nan or infinite"),
        (lambda: kmeans(LINE[:, 0], 2), r"\(6,\)"),
        (lambda: color_clusters(torch.full((3, 4, 4), 9.0), 2), "9"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
