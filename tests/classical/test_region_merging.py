"""Felzenszwalb's graph: an exact hand case, and scikit-image pixel by pixel."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.segmentation import felzenszwalb as reference

from segcourse.classical.region_merging import DisjointSets, felzenszwalb
from segcourse.data.toytown import Toytown


def two_tone(channels: int) -> torch.Tensor:
    image = torch.zeros(channels, 10, 10)
    image[:, :, 5:] = 1
    return image


@pytest.mark.parametrize("channels, limit", [(1, 12_750), (3, 12_750 * 3**0.5)])
def test_two_halves_join_at_an_exact_limit(channels, limit):
    counts = [
        len(felzenszwalb(two_tone(channels), k, sigma=0, min_size=1).unique())
        for k in (0, limit - 1, limit + 1)
    ]
    assert counts == [2, 2, 1]
    eight_bit = (two_tone(channels) * 255).byte()
    assert len(felzenszwalb(eight_bit, limit - 1, sigma=0, min_size=1).unique()) == 2


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the regions are the same, whatever their numbers."""
    pairs = len(np.unique(np.stack([a.ravel(), b.ravel()]), axis=1).T)
    return pairs == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.parametrize("k, sigma, min_size", [(100, 0.5, 50), (1, 0.8, 20), (500, 0.8, 0)])
def test_regions_are_those_of_scikit_image(k, sigma, min_size):
    picture = data.astronaut()[::2, ::2]
    ours = felzenszwalb(
        torch.from_numpy(picture.copy()).movedim(-1, 0), k, sigma=sigma, min_size=min_size
    )
    theirs = reference(picture, scale=k, sigma=sigma, min_size=min_size)
    assert same_partition(ours.numpy(), theirs)


def test_a_whole_picture():
    picture = torch.from_numpy(data.astronaut()).movedim(-1, 0)
    found = felzenszwalb(picture, 100, sigma=0.5, min_size=50)
    assert found.unique().tolist() == list(range(585))
    assert found.flatten().bincount().min() >= 50


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([0, 50, 200, 1000]), st.sampled_from([0, 5]))
def test_noise_is_cut_as_by_scikit_image(seed, k, min_size):
    image = np.random.default_rng(seed).random((7, 9, 3))
    ours = felzenszwalb(torch.from_numpy(image).movedim(-1, 0), k, sigma=0, min_size=min_size)
    assert same_partition(ours.numpy(), reference(image, scale=k, sigma=0, min_size=min_size))


def test_a_larger_k_gives_fewer_regions():
    image = Toytown(1)[0].image
    counts = [len(felzenszwalb(image, k).unique()) for k in (10, 100, 1000)]
    assert counts[0] > counts[1] > counts[2]


def test_regions_join_and_remember():
    regions = DisjointSets(4)
    regions.merge(0, 1, 0.5)
    regions.merge(regions.find(1), 2, 0.7)
    root = regions.find(0)
    assert regions.find(1) == regions.find(2) == root != regions.find(3)
    assert regions.size[root] == 3 and regions.internal_difference[root] == 0.7


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: felzenszwalb(two_tone(1), -1), "k=-1"),
        (lambda: felzenszwalb(two_tone(1), sigma=-0.5), "sigma=-0.5"),
        (lambda: felzenszwalb(two_tone(1), min_size=-2), "min_size=-2"),
        (lambda: felzenszwalb(two_tone(1) * 255), "255"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
