"""Watershed: hand cases, and scikit-image wherever markers do not tie."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_fill_holes, distance_transform_edt, label
from skimage import data, filters
from skimage import segmentation as reference

from segcourse.classical.watershed import part_touching, watershed

PROFILE = torch.tensor([[1.0, 2, 3, 2, 1, 3, 1]])
SPRINGS = torch.tensor([[1, 0, 0, 0, 2, 0, 3]])


def two_discs() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(80), torch.arange(80), indexing="ij")
    return ((y - 28) ** 2 + (x - 28) ** 2 < 256) | ((y - 44) ** 2 + (x - 52) ** 2 < 400)


def test_a_profile_by_hand():
    """The pixel of height 3 between springs 2 and 3 is a tie; scikit-image gives it to 3."""
    assert watershed(PROFILE, SPRINGS).tolist() == [[1, 1, 1, 2, 2, 2, 3]]
    assert reference.watershed(PROFILE.numpy(), SPRINGS.numpy()).tolist() == [[1, 1, 1, 2, 2, 3, 3]]
    lower = PROFILE - 0.5 * (SPRINGS == 3)
    assert watershed(lower, SPRINGS).tolist() == [[1, 1, 1, 2, 2, 3, 3]]


def test_a_profile_with_lines_by_hand():
    assert watershed(PROFILE, SPRINGS, line=True).tolist() == [[1, 1, 0, 2, 2, 0, 3]]


@pytest.mark.parametrize("connectivity", [4, 8])
def test_a_plateau_is_shared_in_rings(connectivity):
    markers = torch.zeros(5, 5, dtype=torch.int64)
    markers[0, 0], markers[4, 4] = 1, 2
    found = watershed(torch.zeros(5, 5), markers, connectivity=connectivity)
    rows = ["".join(map(str, row)) for row in found.tolist()]
    assert rows == ["11111", "11112", "11122", "11222", "12222"]


def landscapes(seed: int, whole: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heights, markers at heights of their own, and a mask."""
    generator = np.random.default_rng(seed)
    size = tuple(generator.integers(2, 12, 2))
    heights = generator.integers(0, 4, size).astype(float) if whole else generator.random(size)
    markers = np.where(generator.random(size) < 0.15, generator.integers(1, 4, size), 0)
    markers[0, 0] = 1
    own = generator.permutation(heights.size).reshape(size) / heights.size
    heights = np.where(markers > 0, own - 2, heights)  # no two start at the same time
    mask = generator.random(size) < 0.8
    mask[0, 0] = True
    return heights, markers, mask


@settings(max_examples=80)
@given(st.integers(0, 100_000), st.booleans(), st.sampled_from([4, 8]), st.booleans(),
       st.booleans())  # fmt: skip
def test_basins_are_those_of_scikit_image(seed, whole, connectivity, line, masked):
    heights, markers, mask = landscapes(seed, whole)
    ours = watershed(
        torch.from_numpy(heights),
        torch.from_numpy(markers),
        mask=torch.from_numpy(mask) if masked else None,
        connectivity=connectivity,
        line=line,
    )
    theirs = reference.watershed(
        heights,
        markers,
        connectivity=connectivity // 4,
        mask=mask if masked else None,
        watershed_line=line,
    )
    assert np.array_equal(ours, theirs)


@settings(max_examples=40)
@given(st.integers(0, 100_000))
def test_every_basin_hangs_together_and_holds_its_marker(seed):
    heights, markers, mask = (torch.from_numpy(each) for each in landscapes(seed, False))
    found = watershed(heights, markers, mask=mask)
    assert torch.equal(found[mask & (markers > 0)], markers[mask & (markers > 0)])
    assert not found[~mask].any()
    for number in found.unique()[1 if (found == 0).any() else 0 :].tolist():
        pieces, count = label((found == number).numpy())
        sources = {int(piece) for piece in pieces[((markers == number) & mask).numpy()]}
        assert len(sources) == count


def test_discs_that_touch_are_parted_at_the_waist():
    mask = two_discs()
    distance = torch.from_numpy(distance_transform_edt(mask.numpy()))
    assert distance.max() == 20
    markers = torch.zeros(80, 80, dtype=torch.int64)
    markers[44, 52], markers[28, 28] = 1, 2
    found = watershed(-distance, markers, mask=mask)
    assert found.flatten().bincount().tolist() == [4462, 1203, 735]
    assert torch.equal(part_touching(mask), found)


def test_fewer_peaks_part_less():
    mask = two_discs()
    assert part_touching(mask, min_distance=40).max() == 1
    assert not part_touching(torch.zeros(8, 8, dtype=torch.bool)).any()
    full = part_touching(torch.ones(8, 8, dtype=torch.bool))
    assert full.min() >= 1 or not full.any()


def test_coins():
    coins = data.coins()
    markers = np.where(coins < 30, 1, np.where(coins > 150, 2, 0))
    heights = filters.sobel(coins)
    found = watershed(torch.from_numpy(heights), torch.from_numpy(markers)).numpy()
    assert np.array_equal(found, reference.watershed(heights, markers))
    assert (found == 2).sum() == 38_910
    assert label(binary_fill_holes(found == 2))[1] == 25


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: watershed(PROFILE, SPRINGS.float()), TypeError, "float32"),
        (lambda: watershed(PROFILE, SPRINGS * 0), ValueError, "no marker"),
        (lambda: watershed(PROFILE, SPRINGS, mask=SPRINGS == 0), ValueError, "no marker"),
        (lambda: watershed(PROFILE, SPRINGS - 1), ValueError, "-1"),
        (lambda: watershed(PROFILE.T, SPRINGS), ValueError, r"\(7, 1\)"),
        (lambda: watershed(PROFILE, SPRINGS, connectivity=6), ValueError, "connectivity=6"),
        (lambda: part_touching(torch.rand(4, 4)), TypeError, "threshold"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
