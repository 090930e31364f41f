"""Pixels as numbers, colours and graphs: against scikit-image, and what is refused."""

import math

import numpy as np
import pytest
import torch
from skimage import color, data, filters
from torch.utils._pytree import tree_leaves

from segcourse.classical import contours, thresholds
from segcourse.classical.clustering import color_clusters
from segcourse.classical.flooding import watershed
from segcourse.classical.forest import pixel_features
from segcourse.classical.interactive import grabcut, mask_energy
from segcourse.classical.mode_seeking import color_modes
from segcourse.classical.pixels import (
    channels,
    check_partition,
    check_points,
    edge_strength,
    gray,
    lab,
    neighbors,
    offsets,
    unit,
)
from segcourse.classical.region_merging import felzenszwalb
from segcourse.classical.regions import region_growing
from segcourse.classical.superpixels import slic

ASTRONAUT = torch.from_numpy(data.astronaut()[::8, ::8].copy()).movedim(-1, 0)


def test_grey_and_lab_are_those_of_scikit_image():
    picture = ASTRONAUT.movedim(0, -1).numpy()
    assert np.allclose(gray(ASTRONAUT / 255), color.rgb2gray(picture), atol=1e-6)
    expected = color.rgb2lab(picture)
    for image in (ASTRONAUT, ASTRONAUT.double() / 255):
        assert np.allclose(lab(image).movedim(0, -1), expected, atol=1e-5)


def test_a_grey_image_stays_in_its_unit_and_has_no_hue():
    ramp = torch.arange(12, dtype=torch.uint8).view(3, 4) * 20
    assert torch.equal(gray(ramp), ramp.double())
    assert torch.equal(gray(ramp[None]), ramp.double())
    assert torch.allclose(gray(ramp.expand(3, 3, 4)), ramp.double())
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
        edges, distances = neighbors(height, width, connectivity=connectivity)
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


# ── every method takes any image ────────────────────────────────────────────────────────────────


def objects(image: torch.Tensor) -> torch.Tensor:
    """A trimap, a marker or a mask: the last pixels in reading order."""
    mask = torch.zeros(image.shape[-2:], dtype=torch.int64)
    mask.view(-1)[mask.numel() // 3 + 1 :] = 1
    return mask


METHODS = {
    "otsu": thresholds.otsu,
    "multi_otsu": lambda image: thresholds.multi_otsu(image, classes=2),
    "between_class_variance": lambda image: thresholds.between_class_variance(image, 0.5),
    "apply_thresholds": lambda image: thresholds.apply_thresholds(image, 0.5),
    "niblack": lambda image: thresholds.niblack(image, window_size=1),
    "sauvola": lambda image: thresholds.sauvola(image, window_size=1),
    "color_clusters": lambda image: color_clusters(image, min(2, image[0].numel())),
    "color_modes": lambda image: color_modes(image, 10),
    "felzenszwalb": felzenszwalb,
    "slic": lambda image: slic(image, min(2, image[0].numel())),
    "region_growing": lambda image: region_growing(image, (0, 0), tolerance=0.2),
    "watershed": lambda image: watershed(edge_strength(image), objects(image) + 1),
    "grabcut": lambda image: grabcut(image, objects(image)).mask,
    "mask_energy": lambda image: mask_energy(image, objects(image)),
    "morphological_chan_vese": contours.morphological_chan_vese,
    "morphological_geodesic_active_contour": lambda image: (
        contours.morphological_geodesic_active_contour(
            contours.inverse_gaussian_gradient(image), objects(image).bool(), balloon=1
        )
    ),
    "pixel_features": pixel_features,
}
SNAKE = {
    "active_contour": lambda image: contours.active_contour(
        image, contours.circle((4, 4), 2), max_num_iter=20
    )
}


def picture(*shape: int) -> torch.Tensor:
    """Whole numbers from 0 to 255."""
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0))


def assert_same(found, wanted) -> None:
    for one, other in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
        torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(other), atol=0, rtol=0)


@pytest.mark.parametrize("name", METHODS | SNAKE)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_methods_compute_in_double_precision_within_autocast_too(name, dtype):
    method = (METHODS | SNAKE)[name]
    image = (picture(3, 9, 10) / 255).to(dtype)
    wanted = method(image.double())
    assert_same(method(image), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(method(image), wanted)


@pytest.mark.parametrize("name", METHODS | SNAKE)
def test_bytes_are_never_subtracted_as_bytes(name):
    method, image = (METHODS | SNAKE)[name], picture(3, 9, 10)
    unitless = ("otsu", "variance", "thresholds", "niblack", "sauvola", "growing", "watershed")
    if any(part in name for part in unitless) or name == "active_contour" or "morpho" in name:
        assert_same(method(image.byte()), method(image.double()))
        assert_same(method(image.to(torch.uint16)), method(image.double()))
    else:
        assert_same(method(image.byte()), method(image.double() / 255))


NARROW = [(1, 12), (12, 1), (3, 1, 12), (3, 12, 1), (2, 2), (1, 1), (3, 1, 1)]
NEEDS_TWO = ("grabcut", "mask_energy", "multi_otsu")  # pixels


@pytest.mark.parametrize(
    "name, shape",
    [(n, s) for n in METHODS for s in NARROW if s[-2:] != (1, 1) or n not in NEEDS_TWO],
)
def test_images_one_pixel_high_or_wide(name, shape):
    found = METHODS[name](picture(*shape) / 255)
    for part in tree_leaves(found):
        assert torch.as_tensor(part).isfinite().all()
        if isinstance(part, torch.Tensor) and part.ndim > 1:
            assert part.shape[-2:] == shape[-2:]


@pytest.mark.parametrize("name", METHODS | SNAKE)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_image_with_nan_is_refused(name, value):
    image = picture(3, 9, 10) / 255
    image[1, 2, 3] = value
    with pytest.raises(ValueError, match="nan or inf: replace them"):
        (METHODS | SNAKE)[name](image)


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
        (lambda: neighbors(2, 2, connectivity=6), ValueError, "connectivity=6"),
        (lambda: offsets(5), ValueError, "connectivity=5"),
        (lambda: check_partition(torch.zeros(2, 2)), TypeError, "float32"),
        (lambda: check_partition(torch.full((2, 2), -3)), ValueError, "-3"),
        (lambda: check_partition(torch.zeros(1, 2, 2).long()), ValueError, r"\(1, 2, 2\)"),
        (lambda: check_points(torch.full((2, 3), math.nan)), ValueError, "nan or infinite"),
        (lambda: check_points(torch.zeros(3)), ValueError, r"image.flatten\(1\).T"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
