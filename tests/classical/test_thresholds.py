"""Thresholds: hand cases, brute force over all thresholds, and scikit-image."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage import data, filters

from segcourse.classical.thresholds import (
    apply_thresholds,
    between_class_variance,
    multi_otsu,
    niblack,
    otsu,
    sauvola,
)

HAND = torch.tensor([10] * 5 + [12] * 3 + [20] * 2 + [22] * 6).view(4, 4)
NAMES = ("camera", "coins", "page")


def bundled(name: str) -> torch.Tensor:
    return torch.from_numpy(getattr(data, name)())


def rectangle() -> tuple[torch.Tensor, torch.Tensor]:
    """A bright rectangle under noise, and its mask."""
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[16:48, 20:44] = True
    noise = 0.2 * np.random.default_rng(0).standard_normal((64, 64))
    return mask + torch.from_numpy(noise), mask


def test_otsu_by_hand():
    assert otsu(HAND) == 12
    between = [between_class_variance(HAND, t) for t in (10, 12, 20)]
    assert np.allclose(between, [17.052557, 28.890625, 20.709375], atol=1e-6)
    total = HAND.double().var(correction=0).item()
    assert math.isclose(total, 29.734375)
    parts = [HAND[HAND <= 12].double(), HAND[HAND > 12].double()]
    within = sum(part.var(correction=0).item() * len(part) / 16 for part in parts)
    assert math.isclose(within + between[1], total) and math.isclose(within, 0.84375)


@pytest.mark.parametrize(
    "name, threshold, above, variance",
    [("camera", 102, 177_984, 4648.9940), ("coins", 107, 45_117, 2115.1148),
     ("page", 157, 46_818, 2320.4153)],
)  # fmt: skip
def test_otsu_of_pictures(name, threshold, above, variance):
    image = bundled(name)
    assert otsu(image) == threshold == filters.threshold_otsu(image.numpy())
    assert (image > threshold).sum() == above == apply_thresholds(image, threshold).sum()
    assert math.isclose(between_class_variance(image, threshold), variance, abs_tol=1e-4)


def test_the_unit_is_that_of_the_image():
    image = bundled("coins")
    assert math.isclose(otsu(image / 255), 107 / 255, rel_tol=1e-6)
    assert math.isclose(otsu(image.double() * 3 - 40), 107 * 3 - 40)
    assert torch.equal(image > otsu(image), image / 255 > otsu(image / 255))


def test_many_different_values_are_put_into_bins():
    image, mask = rectangle()
    assert math.isclose(otsu(image), 0.4861527, abs_tol=1e-6)
    assert math.isclose(otsu(image), filters.threshold_otsu(image.numpy()), abs_tol=1e-9)
    found = image > otsu(image)
    assert math.isclose((found & mask).sum() / (found | mask).sum(), 0.9683944, abs_tol=1e-6)


def test_colours_are_made_grey_and_equal_channels_change_nothing():
    image = bundled("coins")
    assert math.isclose(otsu(image.expand(3, -1, -1)), 107, rel_tol=1e-9)


def test_an_even_image_has_nothing_above_its_threshold():
    even = torch.full((3, 3), 7.0)
    assert otsu(even) == 7 and not apply_thresholds(even, otsu(even)).any()


levels = st.lists(st.integers(0, 20), min_size=2, max_size=40)


@given(levels)
def test_otsu_is_the_best_of_all_thresholds_and_the_smallest_of_equals(values):
    image = torch.tensor([values])
    if len(set(values)) == 1:
        return
    scores = {t: between_class_variance(image, t) for t in sorted(set(values))[:-1]}
    best = max(scores.values())
    assert math.isclose(scores[otsu(image)], best, rel_tol=1e-9)
    assert all(t >= otsu(image) for t, score in scores.items() if score > best * (1 + 1e-12))
    theirs = filters.threshold_otsu(np.array([values], dtype=np.uint8))
    assert math.isclose(between_class_variance(image, float(theirs)), best, rel_tol=1e-9)


@given(levels, st.integers(2, 4))
def test_multi_otsu_is_the_best_of_all_combinations(values, classes):
    image, present = torch.tensor([values]), sorted(set(values))
    if len(present) < classes:
        with pytest.raises(ValueError, match="classes"):
            multi_otsu(image, classes=classes)
        return
    tried = [list(each) for each in combinations(present[:-1], classes - 1)]
    best = max(between_class_variance(image, thresholds) for thresholds in tried)
    found = multi_otsu(image, classes=classes)
    assert found == sorted(found)
    assert math.isclose(between_class_variance(image, found), best, rel_tol=1e-9)
    if classes == 2:
        assert math.isclose(between_class_variance(image, otsu(image)), best, rel_tol=1e-9)


def test_multi_otsu_by_hand():
    image = torch.tensor([0, 5, 9] * 4).view(3, 4)
    assert multi_otsu(image) == [0, 5]
    assert apply_thresholds(image, [0, 5]).flatten().tolist() == [0, 1, 2] * 4


@pytest.mark.parametrize("name, expected", [("camera", [87, 176]), ("coins", [77, 139]),
                                            ("page", [114, 186])])  # fmt: skip
def test_multi_otsu_of_pictures(name, expected):
    image = bundled(name)
    assert multi_otsu(image) == expected
    assert multi_otsu(image, classes=4) == filters.threshold_multiotsu(image.numpy(), 4).tolist()


def test_local_thresholds_by_hand():
    ramp = torch.arange(25.0).view(5, 5)
    assert math.isclose(niblack(ramp, window_size=3)[2, 2], 11.1673336, abs_tol=1e-6)
    assert math.isclose(sauvola(ramp, window_size=3, r=128)[2, 2], 9.6780625, abs_tol=1e-6)
    assert math.isclose(sauvola(ramp, window_size=3, r=1)[2, 2], 19.5919968, abs_tol=1e-6)
    assert niblack(ramp, window_size=3, k=0)[2, 2] == 12


@pytest.mark.parametrize("window_size", [3, 15, 41])
def test_local_thresholds_are_those_of_scikit_image(window_size):
    page = bundled("page")
    theirs = filters.threshold_niblack(page.numpy(), window_size)
    assert np.allclose(niblack(page, window_size=window_size), theirs, atol=1e-4)
    theirs = filters.threshold_sauvola(page.numpy(), window_size, r=128)
    assert np.allclose(sauvola(page, window_size=window_size, r=128), theirs, atol=1e-4)


def test_uneven_light_defeats_one_threshold_but_not_a_local_one():
    light = torch.linspace(0.2, 1.0, 90).expand(60, 90)
    print_ = torch.zeros(60, 90, dtype=torch.bool)
    print_[10::12, 6:84] = True
    image = light * torch.where(print_, 0.6, 1.0)
    wrong = {
        "otsu": ((image <= otsu(image)) != print_).sum(),
        "sauvola": ((image <= sauvola(image, window_size=9)) != print_).sum(),
    }
    assert wrong["otsu"] > 1000 and wrong["sauvola"] < 50


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: otsu(HAND, nbins=1), "1 bins"),
        (lambda: otsu(torch.zeros(2, 3, 4, 4)), "one by one"),
        (lambda: multi_otsu(HAND, classes=5), "4 different values"),
        (lambda: multi_otsu(HAND, classes=1), "2 to 4"),
        (lambda: niblack(HAND, window_size=4), "window_size=4"),
        (lambda: sauvola(HAND, window_size=9), "4 x 4"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
