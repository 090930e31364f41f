"""Watershed: hand cases, and scikit-image wherever markers do not tie."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_fill_holes, distance_transform_edt, label
from skimage import data, filters
from skimage import segmentation as reference
from skimage.measure import label as connected_parts
from skimage.morphology import local_maxima

from segcourse.classical.flooding import split_touching, watershed

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
    assert watershed(PROFILE, SPRINGS, watershed_line=True).tolist() == [[1, 1, 0, 2, 2, 0, 3]]


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
def test_basins_are_those_of_scikit_image(seed, whole, connectivity, watershed_line, masked):
    heights, markers, mask = landscapes(seed, whole)
    ours = watershed(
        torch.from_numpy(heights),
        torch.from_numpy(markers),
        mask=torch.from_numpy(mask) if masked else None,
        connectivity=connectivity,
        watershed_line=watershed_line,
    )
    theirs = reference.watershed(
        heights,
        markers,
        connectivity=connectivity // 4,
        mask=mask if masked else None,
        watershed_line=watershed_line,
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
    assert torch.equal(split_touching(mask), found)


def test_fewer_peaks_part_less():
    mask = two_discs()
    assert split_touching(mask, min_distance=40).max() == 1
    assert not split_touching(torch.zeros(8, 8, dtype=torch.bool)).any()
    full = split_touching(torch.ones(8, 8, dtype=torch.bool))
    assert full.min() >= 1 or not full.any()


def round_objects() -> dict[str, np.ndarray]:
    """Objects without a waist, whose distance to the background peaks in a pixel or a plateau."""
    y, x = np.mgrid[:64, :64]
    discs = {
        f"disc, centre {at}, radius {radius}": (y - at) ** 2 + (x - at) ** 2 <= radius**2
        for at in (30, 30.5)
        for radius in (4, 8.5, 15.5)
    }
    square, bar, row, dot = np.zeros((4, 64, 64), bool)
    square[10:20, 10:20], bar[10:14, 5:60], row[7, 3:50], dot[0, 0] = True, True, True, True
    rim = np.zeros((64, 64), bool)
    rim[:10, 20:30] = True
    return {**discs, "square": square, "bar": bar, "row": row, "dot": dot, "at the rim": rim}


@pytest.mark.parametrize("name", round_objects())
@pytest.mark.parametrize("min_distance", [1, 2, 5])
def test_one_round_object_is_one_part_wherever_its_centre_lies(name, min_distance):
    mask = round_objects()[name]
    peaks = local_maxima(np.pad(distance_transform_edt(mask), 1))
    assert connected_parts(peaks, connectivity=2).max() == 1
    found = split_touching(torch.from_numpy(mask), min_distance=min_distance)
    assert torch.equal(found, torch.from_numpy(mask).long())


@settings(max_examples=60)
@given(st.integers(0, 100_000))
def test_there_is_a_part_for_every_regional_maximum(seed):
    generator = np.random.default_rng(seed)
    size = tuple(generator.integers(1, 24, 2))
    mask = generator.random(size) < generator.choice([0.5, 0.9, 0.97])
    if mask.all() or not mask.any():
        return
    peaks = local_maxima(np.pad(distance_transform_edt(mask), 1))
    found = split_touching(torch.from_numpy(mask))
    assert torch.equal(found > 0, torch.from_numpy(mask))
    assert found.unique().tolist()[-1] == connected_parts(peaks, connectivity=2).max()


def test_of_near_peaks_the_higher_stays_and_of_equal_ones_the_first():
    y, x = np.mgrid[:40, :80]
    discs = [(y - 20) ** 2 + (x - at) ** 2 <= radius**2 for at, radius in ((20, 9), (34, 9))]
    equal = torch.from_numpy(discs[0] | discs[1])  # peaks 14 columns apart
    assert split_touching(equal, min_distance=13).max() == 2
    assert split_touching(equal, min_distance=14).max() == 1
    heights = distance_transform_edt(two_discs().numpy())
    higher = np.argwhere(heights > heights[28, 28])  # than the lower peak
    reach = int(np.abs(higher - 28).max(axis=1).min())
    assert split_touching(two_discs(), min_distance=reach - 1).max() == 2
    assert split_touching(two_discs(), min_distance=reach).max() == 1


def test_no_object_is_lost_whatever_the_distance():
    mask = torch.zeros(9, 20, dtype=torch.bool)
    mask[1:8, 1:8], mask[3:6, 10:13], mask[2, 8], mask[8, 19] = True, True, True, True
    mask[0, 8] = True  # a corner of the first object, lower than its neighbour across the corner
    found = split_touching(mask, min_distance=12)
    assert torch.equal(found > 0, mask) and found.max() == 3


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (8, 8)])
def test_a_mask_without_a_background_is_one_object(shape):
    full = torch.ones(shape, dtype=torch.bool)
    assert torch.equal(split_touching(full), full.long())
    assert not split_touching(~full).any()
    flooded = watershed(torch.zeros(shape), full.long())
    assert torch.equal(flooded, full.long())


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64]
)
def test_markers_of_any_integer_type(dtype):
    found = watershed(PROFILE, SPRINGS.to(dtype), mask=(PROFILE < 3).to(torch.uint8))
    assert torch.equal(found, watershed(PROFILE, SPRINGS, mask=PROFILE < 3))


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
        (lambda: split_touching(torch.rand(4, 4)), TypeError, "threshold"),
        (lambda: split_touching(PROFILE > 1, min_distance=0), ValueError, "min_distance=0"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
