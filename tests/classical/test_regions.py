"""Region growing: hand cases, and the flood fills of scikit-image and OpenCV."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage import data
from skimage.segmentation import flood

from segcourse.classical.regions import region_growing

RAMP = torch.arange(20).expand(3, 20)


def test_the_rules_differ_on_a_ramp():
    assert region_growing(RAMP, (0, 0), tolerance=3).sum() == 12
    assert region_growing(RAMP, (0, 0), tolerance=1, rule="neighbor").all()
    assert region_growing(RAMP, (0, 0), tolerance=1).sum() == 6
    mean = region_growing(RAMP, (0, 0), tolerance=3, rule="mean")
    assert mean.sum() == 18 and mean[:, :6].all()  # 0 ... 5: the mean 2.5 is 3.5 away from 6


@pytest.mark.parametrize("connectivity, size", [(4, 55_692), (8, 56_005)])
def test_the_sky_above_the_camera(connectivity, size):
    camera = data.camera()
    ours = region_growing(torch.from_numpy(camera), (0, 0), tolerance=10, connectivity=connectivity)
    assert ours.sum() == size
    theirs = flood(camera, (0, 0), tolerance=10, connectivity=connectivity // 4)
    assert np.array_equal(ours, theirs)


@given(
    arrays(np.uint8, (6, 7), elements=st.integers(0, 9)),
    st.tuples(st.integers(0, 5), st.integers(0, 6)),
    st.integers(0, 4),
)
def test_both_comparisons_are_those_of_opencv(image, seed, tolerance):
    for connectivity in (4, 8):
        for rule, fixed in (("seed", cv2.FLOODFILL_FIXED_RANGE), ("neighbor", 0)):
            filled = np.zeros((8, 9), np.uint8)
            flags = connectivity | fixed | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
            cv2.floodFill(
                image.copy(), filled, seed[::-1], 0, loDiff=tolerance, upDiff=tolerance, flags=flags
            )
            ours = region_growing(
                torch.from_numpy(image),
                seed,
                tolerance=tolerance,
                rule=rule,
                connectivity=connectivity,
            )
            assert np.array_equal(ours, filled[1:-1, 1:-1] == 1)


def test_colours_are_compared_by_the_length_of_their_difference():
    image = torch.zeros(3, 1, 3)
    image[:, 0, 1] = torch.tensor([3.0, 4.0, 0.0])
    assert region_growing(image, (0, 0), tolerance=5).all()
    assert region_growing(image, (0, 0), tolerance=4.9).tolist() == [[True, False, False]]


def test_8_bit_values_do_not_wrap_around():
    image = torch.tensor([[250, 4]], dtype=torch.uint8)
    assert region_growing(image, (0, 0), tolerance=10).tolist() == [[True, False]]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: region_growing(RAMP, (3, 0), tolerance=1), r"\(3, 0\)"),
        (lambda: region_growing(RAMP, (0, -1), tolerance=1), "row, column"),
        (lambda: region_growing(RAMP, (0, 0), tolerance=-1), "-1"),
        (lambda: region_growing(RAMP, (0, 0), tolerance=1, rule="edge"), "'edge'"),
        (lambda: region_growing(RAMP, (0, 0), tolerance=1, connectivity=6), "connectivity=6"),
        (lambda: region_growing(torch.zeros(2, 2, 2), (0, 0), tolerance=1), r"\(2, 2, 2\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
