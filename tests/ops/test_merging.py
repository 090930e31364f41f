"""Merging masks and stuff: small cases by hand, and what must hold for all of them."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from segcourse.ops.labels import IGNORE
from segcourse.ops.merging import merge, merge_by_argmax
from segcourse.ops.panoptic import split_ids

VOID = IGNORE * 1000
ROAD = torch.full((4, 6), 2)


def columns(*ranges: tuple[int, int]) -> torch.Tensor:
    masks = torch.zeros(len(ranges), 4, 6, dtype=torch.bool)
    for mask, (first, last) in zip(masks, ranges, strict=True):
        mask[:, first:last] = True
    return masks


def row(ids: torch.Tensor) -> list[int]:
    assert (ids == ids[0]).all()
    return ids[0].tolist()


def test_the_better_object_is_in_front_and_stuff_gets_the_rest():
    masks, classes = columns((0, 3), (2, 5)), torch.tensor([5, 6])
    ids = merge(masks, torch.tensor([0.6, 0.9]), classes, ROAD, least_stuff=1)
    assert row(ids) == [5002, 5002, 6001, 6001, 6001, 2000]


def test_an_object_that_lost_more_than_half_is_dropped():
    masks, classes = columns((0, 4), (2, 5), (3, 5)), torch.tensor([5, 5, 5])
    scores = torch.tensor([0.9, 0.8, 0.7])
    ids = merge(masks, scores, classes, ROAD, least_stuff=1)
    assert row(ids) == [5001, 5001, 5001, 5001, 5002, 2000]  # the last lost exactly half
    strict = merge(masks, scores, classes, ROAD, least_stuff=1, most_hidden=0.4)
    assert row(strict) == [5001, 5001, 5001, 5001, 2000, 2000]


def test_uncertain_objects_and_scraps_of_stuff_are_dropped():
    masks, classes = columns((0, 3), (3, 5)), torch.tensor([5, 6])
    ids = merge(masks, torch.tensor([0.9, 0.4]), classes, ROAD, least_stuff=13)
    assert row(ids) == [5001] * 3 + [VOID] * 3  # 12 pixels of road are left
    stuff = ROAD.clone()
    stuff[:, 5] = IGNORE  # a thing, says the branch, but nobody found it
    ids = merge(masks, torch.tensor([0.9, 0.4]), classes, stuff, least_stuff=1)
    assert row(ids) == [5001] * 3 + [2000, 2000, VOID]


def test_no_objects_and_empty_masks():
    nothing = torch.zeros(0)
    assert row(merge(columns(), nothing, nothing, ROAD, least_stuff=1)) == [2000] * 6
    empty = merge(columns((0, 0)), torch.ones(1), torch.ones(1), ROAD, least_stuff=1)
    assert row(empty) == [2000] * 6


@given(st.integers(0, 10**6))
def test_what_always_holds(seed):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(6, 8, 8, generator=generator) < 0.4
    scores, classes = (
        torch.rand(6, generator=generator),
        torch.randint(3, (6,), generator=generator),
    )
    stuff = torch.randint(3, 6, (8, 8), generator=generator)
    ids = merge(masks, scores, classes, stuff, least_stuff=5)
    labels, objects = split_ids(ids)
    for number in objects.unique().tolist():
        own = objects == number
        assert len(labels[own].unique()) == 1 or number == 0
        if number:
            assert any((own & ~mask).sum() == 0 and score >= 0.5
                       for mask, score in zip(masks, scores, strict=True))  # fmt: skip
    for label in labels[objects == 0].unique().tolist():
        assert label == IGNORE or ((labels == label) & (objects == 0)).sum() >= 5


@pytest.mark.parametrize(
    "parts, error, remedy",
    [
        ((columns((0, 1)).float(), torch.ones(1), torch.ones(1), ROAD), TypeError, "threshold"),
        ((columns((0, 1)), torch.ones(2), torch.ones(1), ROAD), ValueError, "one image"),
        ((columns((0, 1)), torch.ones(1), torch.ones(1), ROAD[:2]), ValueError, "one image"),
        (
            (columns((0, 1)).repeat(1000, 1, 1), torch.ones(1000), torch.ones(1000), ROAD),
            ValueError,
            "1000 objects came",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, error, remedy):
    with pytest.raises(error, match=remedy):
        merge(*parts)


# ── DETR's way ──────────────────────────────────────────────────────────────────────────────────


def test_every_pixel_goes_to_the_largest_logit_and_stuff_is_joined():
    logits = torch.zeros(4, 1, 8)
    logits[0, 0, :3], logits[1, 0, 3:5], logits[2, 0, 5:7], logits[3, 0, 7] = 1.0, 1.0, 1.0, 1.0
    classes = torch.tensor([1, 0, 1, 0])
    got = merge_by_argmax(logits, classes, things=[1], least=1)
    assert got.tolist() == [[1001, 1001, 1001, 0, 0, 1003, 1003, 0]]


def test_a_mask_that_gets_hardly_a_pixel_is_dropped_and_the_rest_compete_again():
    logits = torch.zeros(3, 1, 8)
    logits[0], logits[1, 0, 2:4], logits[2, 0, 2:7] = 0.5, 2.0, 1.0
    classes = torch.tensor([0, 1, 1])
    got = merge_by_argmax(logits, classes, things=[1], least=3)
    assert got.tolist() == [[0, 0, 1002, 1002, 1002, 1002, 1002, 0]]
    nothing = merge_by_argmax(logits[:0], classes[:0], things=[1])
    assert nothing.tolist() == [[VOID] * 8]
    assert merge_by_argmax(logits, classes, things=[1], least=9).tolist() == [[VOID] * 8]
    with pytest.raises(ValueError, match=r"\(3, 1, 8\) and \(2,\) came"):
        merge_by_argmax(logits, classes[:2], things=[1])
