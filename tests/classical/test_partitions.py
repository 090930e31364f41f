"""Measures of partitions: hand cases, identities, and brute force."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcourse.classical.partitions import (
    achievable_segmentation_accuracy,
    boundary_recall_precision,
    majority_labels,
    undersegmentation_error,
)
from segcourse.ops.labels import IGNORE

TARGET = torch.tensor([[1, 1, 2, 2]] * 2)
REGIONS = torch.tensor([[4, 4, 4, 7]] * 2)


def test_by_hand():
    assert majority_labels(REGIONS, TARGET).tolist() == [[1, 1, 1, 2]] * 2
    assert achievable_segmentation_accuracy(REGIONS, TARGET) == 0.75
    assert undersegmentation_error(REGIONS, TARGET) == 0.25  # 2 pixels leak, seen from both sides
    assert boundary_recall_precision(REGIONS, TARGET, tolerance=1) == (1, 1)
    assert boundary_recall_precision(REGIONS, TARGET, tolerance=0.5) == (0, 0)


def test_the_truth_itself_is_perfect_and_so_is_every_finer_partition():
    pixels = torch.arange(8).view(2, 4)
    for regions in (TARGET, pixels):
        assert torch.equal(majority_labels(regions, TARGET), TARGET)
        assert achievable_segmentation_accuracy(regions, TARGET) == 1
        assert undersegmentation_error(regions, TARGET) == 0
        assert boundary_recall_precision(regions, TARGET, tolerance=0)[0] == 1
    assert boundary_recall_precision(pixels, TARGET, tolerance=0)[1] < 1


def test_without_borders_there_is_nothing_to_find():
    even = torch.zeros_like(TARGET)
    recall, precision = boundary_recall_precision(even, TARGET)
    assert recall == 0 and math.isnan(precision)
    recall, precision = boundary_recall_precision(TARGET, even)
    assert math.isnan(recall) and precision == 0


def test_void_is_not_counted():
    target = TARGET.clone()
    target[:, 2] = IGNORE
    assert achievable_segmentation_accuracy(REGIONS, target) == 1
    assert undersegmentation_error(REGIONS, target) == 0
    assert math.isnan(boundary_recall_precision(REGIONS, target)[0])
    hidden = torch.full_like(TARGET, IGNORE)
    hidden[0, 0] = 2
    assert majority_labels(REGIONS, hidden).tolist() == [[2, 2, 2, 0]] * 2


@pytest.mark.filterwarnings("error")
def test_nothing_but_void_is_nan_everywhere():
    void = torch.full_like(TARGET, IGNORE)
    assert math.isnan(achievable_segmentation_accuracy(REGIONS, void))
    assert math.isnan(undersegmentation_error(REGIONS, void))
    assert all(math.isnan(score) for score in boundary_recall_precision(REGIONS, void)[:1])
    assert not majority_labels(REGIONS, void).any()


@pytest.mark.parametrize("ignore_index", [-1, 0, 300])
def test_any_label_may_mean_void(ignore_index):
    target = TARGET.clone()
    target[:, 2] = IGNORE
    other = target.where(target != IGNORE, ignore_index)
    for score in (
        majority_labels,
        achievable_segmentation_accuracy,
        undersegmentation_error,
        boundary_recall_precision,
    ):
        assert str(score(REGIONS, other, ignore_index=ignore_index)) == str(score(REGIONS, target))


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64]
)
def test_maps_of_any_integer_type(dtype):
    target = TARGET.clone()
    if dtype != torch.int8:  # which holds no 255
        target[0, 0] = IGNORE
    narrow = REGIONS.to(dtype), target.to(dtype)
    assert torch.equal(majority_labels(*narrow), majority_labels(REGIONS, target))
    assert undersegmentation_error(*narrow) == undersegmentation_error(REGIONS, target)
    assert boundary_recall_precision(*narrow) == boundary_recall_precision(REGIONS, target)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_images_one_pixel_high_or_wide(shape):
    regions, target = torch.arange(9)[: math.prod(shape)].view(shape), torch.ones(shape).long()
    assert achievable_segmentation_accuracy(regions, target) == 1
    assert undersegmentation_error(regions, target) == 0
    assert math.isnan(boundary_recall_precision(regions, target)[0])


@settings(max_examples=50)
@given(st.integers(0, 10_000))
def test_against_counting(seed):
    generator = torch.Generator().manual_seed(seed)
    regions, target = (torch.randint(4, (5, 6), generator=generator) for _ in range(2))
    target[torch.rand(5, 6, generator=generator) < 0.2] = IGNORE
    if (target == IGNORE).all():
        return
    right = leaks = 0
    for region in regions.unique():
        inside = target[(regions == region) & (target != IGNORE)].tolist()
        counts = [inside.count(label) for label in set(inside)]
        right += max(counts, default=0)
        leaks += sum(min(count, len(inside) - count) for count in counts)
    known = int((target != IGNORE).sum())
    assert math.isclose(achievable_segmentation_accuracy(regions, target), right / known)
    assert math.isclose(undersegmentation_error(regions, target), leaks / (2 * known))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: achievable_segmentation_accuracy(REGIONS, TARGET[:1]), ValueError, r"\(1, 4\)"),
        (lambda: majority_labels(REGIONS.float(), TARGET), TypeError, "regions"),
        (lambda: majority_labels(REGIONS, TARGET.float()), TypeError, "target"),
        (lambda: boundary_recall_precision(REGIONS, TARGET, tolerance=-1), ValueError, "-1"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
