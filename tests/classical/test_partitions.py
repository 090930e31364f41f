"""Measures of partitions: hand cases, identities, and brute force."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcourse.classical.partitions import (
    achievable_accuracy,
    boundary_recall_precision,
    majority_labels,
    undersegmentation_error,
)
from segcourse.ops.labels import IGNORE

TRUTH = torch.tensor([[1, 1, 2, 2]] * 2)
REGIONS = torch.tensor([[4, 4, 4, 7]] * 2)


def test_by_hand():
    assert majority_labels(REGIONS, TRUTH).tolist() == [[1, 1, 1, 2]] * 2
    assert achievable_accuracy(REGIONS, TRUTH) == 0.75
    assert undersegmentation_error(REGIONS, TRUTH) == 0.25  # 2 pixels leak, seen from both sides
    assert boundary_recall_precision(REGIONS, TRUTH, tolerance=1) == (1, 1)
    assert boundary_recall_precision(REGIONS, TRUTH, tolerance=0.5) == (0, 0)


def test_the_truth_itself_is_perfect_and_so_is_every_finer_partition():
    pixels = torch.arange(8).view(2, 4)
    for regions in (TRUTH, pixels):
        assert torch.equal(majority_labels(regions, TRUTH), TRUTH)
        assert achievable_accuracy(regions, TRUTH) == 1
        assert undersegmentation_error(regions, TRUTH) == 0
        assert boundary_recall_precision(regions, TRUTH, tolerance=0)[0] == 1
    assert boundary_recall_precision(pixels, TRUTH, tolerance=0)[1] < 1


def test_without_borders_there_is_nothing_to_find():
    even = torch.zeros_like(TRUTH)
    recall, precision = boundary_recall_precision(even, TRUTH)
    assert recall == 0 and math.isnan(precision)
    recall, precision = boundary_recall_precision(TRUTH, even)
    assert math.isnan(recall) and precision == 0


def test_void_is_not_counted():
    truth = TRUTH.clone()
    truth[:, 2] = IGNORE
    assert achievable_accuracy(REGIONS, truth) == 1
    assert undersegmentation_error(REGIONS, truth) == 0
    assert math.isnan(boundary_recall_precision(REGIONS, truth)[0])
    hidden = torch.full_like(TRUTH, IGNORE)
    hidden[0, 0] = 2
    assert majority_labels(REGIONS, hidden).tolist() == [[2, 2, 2, 0]] * 2


@settings(max_examples=50)
@given(st.integers(0, 10_000))
def test_against_counting(seed):
    generator = torch.Generator().manual_seed(seed)
    regions, truth = (torch.randint(4, (5, 6), generator=generator) for _ in range(2))
    truth[torch.rand(5, 6, generator=generator) < 0.2] = IGNORE
    if (truth == IGNORE).all():
        return
    right = leaks = 0
    for region in regions.unique():
        inside = truth[(regions == region) & (truth != IGNORE)].tolist()
        counts = [inside.count(label) for label in set(inside)]
        right += max(counts, default=0)
        leaks += sum(min(count, len(inside) - count) for count in counts)
    known = int((truth != IGNORE).sum())
    assert math.isclose(achievable_accuracy(regions, truth), right / known)
    assert math.isclose(undersegmentation_error(regions, truth), leaks / (2 * known))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: achievable_accuracy(REGIONS, TRUTH[:1]), ValueError, r"\(1, 4\)"),
        (lambda: majority_labels(REGIONS.float(), TRUTH), TypeError, "regions"),
        (lambda: majority_labels(REGIONS, TRUTH.float()), TypeError, "truth"),
        (lambda: boundary_recall_precision(REGIONS, TRUTH, tolerance=-1), ValueError, "-1"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
