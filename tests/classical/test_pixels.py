"""Pixels as numbers, colours and graphs: against scikit-image, and what is refused."""

import math

import numpy as np
import pytest
import torch
from skimage import color, data, filters

from segcourse.classical.pixels import (
    channels,
    check_partition,
    check_points,
    edge_strength,
    grey,
    lab,
    neighbours,
    offsets,
    unit,
)

ASTRONAUT = torch.from_numpy(data.astronaut()[::8, ::8].copy()).movedim(-1, 0)


def test_grey_and_lab_are_those_of_scikit_image():
    picture = ASTRONAUT.movedim(0, -1).numpy()
    assert np.allclose(grey(ASTRONAUT / 255), color.rgb2gray(picture), atol=1e-6)
    expected = color.rgb2lab(picture)
    for image in (ASTRONAUT, ASTRONAUT.double() / 255):
        assert np.allclose(lab(image).movedim(0, -1), expected, atol=1e-5)


def test_a_grey_image_stays_in_its_unit_and_has_no_hue():
    ramp = torch.arange(12, dtype=torch.uint8).view(3, 4) * 20
    assert torch.equal(grey(ramp), ramp.double())
    assert torch.equal(grey(ramp[None]), ramp.double())
    assert torch.allclose(grey(ramp.expand(3, 3, 4)), ramp.double())
    assert lab(ramp)[1:].abs().max() < 1e-2
    assert math.isclose(lab(torch.ones(1, 1))[0, 0, 0], 100, abs_tol=1e-3)


def test_edges_are_sobels_and_a_ramp_has_slope_one():
    picture = data.camera()[::4, ::4] / 255
    ours = edge_strength(torch.from_numpy(picture)) * math.sqrt(2)  # theirs has another unit
    assert np.allclose(ours[1:-1, 1:-1], filters.sobel(picture)[1:-1, 1:-1], atol=1e-9)
    ramp = torch.arange(6.0).expand(5, 6)
    assert torch.allclose(edge_strength(ramp)[:, 1:-1], torch.ones(5, 4, dtype=torch.float64))


def test_8_bit_differences_do_not_wrap_around():
    step = torch.tensor([[200, 200, 10, 10]], dtype=torch.uint8)
    assert edge_strength(step).max() == 95


@pytest.mark.parametrize("height, width", [(1, 1), (1, 5), (3, 4), (6, 2)])
def test_neighbours_are_all_pairs_that_touch_once(height, width):
    for connectivity, reach in ((4, 1.0), (8, 1.5)):
        edges, distances = neighbours(height, width, connectivity=connectivity)
        pixels = [(y, x) for y in range(height) for x in range(width)]
        expected = {
            (a, b): math.dist(pixels[a], pixels[b])
            for a in range(len(pixels))
            for b in range(a + 1, len(pixels))
            if math.dist(pixels[a], pixels[b]) < reach + 0.1
        }
        found = {tuple(sorted(pair)) for pair in edges.tolist()}
        assert found == expected.keys() and len(edges) == len(found)
        for pair, distance in zip(edges.tolist(), distances.tolist(), strict=True):
            assert math.isclose(expected[tuple(sorted(pair))], distance)


def test_offsets_name_the_same_neighbours():
    assert len(set(offsets(4))) == 4 and len(set(offsets(8))) == 8
    assert {abs(y) + abs(x) for y, x in offsets(4)} == {1}


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: channels([[1.0]]), TypeError, "torch.as_tensor"),
        (lambda: channels(torch.ones(2, 2, dtype=torch.bool)), TypeError, "float"),
        (lambda: channels(torch.zeros(2, 4, 4)), ValueError, r"\(2, 4, 4\)"),
        (lambda: channels(torch.zeros(1, 3, 4, 4)), ValueError, "one by one"),
        (lambda: channels(torch.zeros(3, 0, 4)), ValueError, r"\(3, 0, 4\)"),
        (lambda: channels(torch.full((2, 2), math.nan)), ValueError, "nan_to_num"),
        (lambda: unit(torch.full((2, 2), 255.0)), ValueError, "255"),
        (lambda: lab(torch.full((2, 2), -0.5)), ValueError, "-0.5"),
        (lambda: neighbours(2, 2, connectivity=6), ValueError, "connectivity=6"),
        (lambda: offsets(5), ValueError, "connectivity=5"),
        (lambda: check_partition(torch.zeros(2, 2)), TypeError, "float32"),
        (lambda: check_partition(torch.full((2, 2), -3)), ValueError, "-3"),
        (lambda: check_partition(torch.zeros(1, 2, 2).long()), ValueError, r"\(1, 2, 2\)"),
        (lambda: check_points(torch.zeros(3)), ValueError, r"image.flatten\(1\).T"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
