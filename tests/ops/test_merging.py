"""Merging masks and stuff: small cases by hand, and what must hold for all of them."""

from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from pycocotools import mask as coco
from transformers import DetrImageProcessor

from segcourse.ops.labels import IGNORE
from segcourse.ops.merging import merge_by_argmax, merge_panoptic
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
    ids = merge_panoptic(masks, torch.tensor([0.6, 0.9]), classes, ROAD, min_stuff_area=1)
    assert row(ids) == [5002, 5002, 6001, 6001, 6001, 2000]


def test_an_object_that_lost_more_than_half_is_dropped():
    masks, classes = columns((0, 4), (2, 5), (3, 5)), torch.tensor([5, 5, 5])
    scores = torch.tensor([0.9, 0.8, 0.7])
    ids = merge_panoptic(masks, scores, classes, ROAD, min_stuff_area=1)
    assert row(ids) == [5001, 5001, 5001, 5001, 5002, 2000]  # the last lost exactly half
    strict = merge_panoptic(masks, scores, classes, ROAD, min_stuff_area=1, overlap_threshold=0.4)
    assert row(strict) == [5001, 5001, 5001, 5001, 2000, 2000]


def test_uncertain_objects_and_scraps_of_stuff_are_dropped():
    masks, classes = columns((0, 3), (3, 5)), torch.tensor([5, 6])
    ids = merge_panoptic(masks, torch.tensor([0.9, 0.4]), classes, ROAD, min_stuff_area=13)
    assert row(ids) == [5001] * 3 + [VOID] * 3  # 12 pixels of road are left
    stuff = ROAD.clone()
    stuff[:, 5] = IGNORE  # a thing, says the branch, but nobody found it
    ids = merge_panoptic(masks, torch.tensor([0.9, 0.4]), classes, stuff, min_stuff_area=1)
    assert row(ids) == [5001] * 3 + [2000, 2000, VOID]


def test_no_objects_and_empty_masks():
    nothing = torch.zeros(0)
    assert row(merge_panoptic(columns(), nothing, nothing, ROAD, min_stuff_area=1)) == [2000] * 6
    empty = merge_panoptic(columns((0, 0)), torch.ones(1), torch.ones(1), ROAD, min_stuff_area=1)
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
    ids = merge_panoptic(masks, scores, classes, stuff, min_stuff_area=5)
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
        merge_panoptic(*parts)


def by_panopticapi(masks, scores, classes, stuff, overlap_threshold):
    """Its order and its shares, with pycocotools' areas and intersections; no limit for stuff."""
    codes = [coco.encode(np.asfortranarray(mask.numpy().astype(np.uint8))) for mask in masks]
    ids, used, number = torch.full(stuff.shape, VOID), None, 0
    for index in scores.argsort(descending=True, stable=True).tolist():
        area = coco.area(codes[index])
        shared = coco.area(coco.merge([used, codes[index]], intersect=True)) if used else 0
        if scores[index] < 0.5 or area == 0 or shared / area > overlap_threshold:
            continue
        used = coco.merge([used, codes[index]]) if used else codes[index]
        number += 1
        ids[(ids == VOID) & masks[index]] = int(classes[index]) * 1000 + number
    return torch.where(ids == VOID, stuff * 1000, ids)


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.2, 0.25, 0.5, 0.8]))
def test_the_overlap_threshold_is_that_of_panopticapi(seed, threshold):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(6, 5, 5, generator=generator) < 0.3
    parts = (masks, torch.rand(6, generator=generator), torch.arange(6), torch.full((5, 5), 9))
    found = merge_panoptic(*parts, overlap_threshold=threshold, min_stuff_area=1)
    assert torch.equal(found, by_panopticapi(*parts, threshold))


# ── more objects, and numbers of any width ──────────────────────────────────────────────────────


def test_a_thousand_objects_need_a_larger_divisor():
    masks = torch.eye(1200).bool().reshape(1200, 30, 40)
    scores, classes = torch.linspace(1, 0.6, 1200), torch.full((1200,), 7)
    stuff = torch.full((30, 40), IGNORE)
    ids = merge_panoptic(masks, scores, classes, stuff, divisor=4096)
    labels, objects = split_ids(ids, divisor=4096)
    assert (labels == 7).all() and objects.flatten().tolist() == list(range(1, 1201))
    by_argmax = merge_by_argmax(masks.float(), classes, [7], min_area=1, divisor=4096)
    assert torch.equal(by_argmax, ids)
    for merge in (
        lambda: merge_panoptic(masks, scores, classes, stuff),
        lambda: merge_by_argmax(masks.float(), classes, [7]),
    ):
        with pytest.raises(ValueError, match=r"1200 objects .* divisor=1000 .* larger divisor"):
            merge()
    few = torch.where(torch.arange(1200) < 999, scores, 0.1)  # too uncertain to count
    assert len(merge_panoptic(masks, few, classes, stuff).unique()) == 1000


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32])
def test_narrow_classes_do_not_wrap(dtype):
    masks, classes = columns((0, 3), (2, 5)), torch.tensor([50, 60], dtype=dtype)
    scores = torch.tensor([0.6, 0.9])
    ids = merge_panoptic(masks, scores, classes, ROAD.to(dtype), min_stuff_area=1)
    assert ids.dtype == torch.int64
    assert row(ids) == [50002, 50002, 60001, 60001, 60001, 2000]
    assert row(merge_by_argmax(masks.half(), classes, [60])) == [50000] * 3 + [60002] * 2 + [50000]


def test_a_class_that_would_be_void_is_refused():
    for number in (IGNORE, 300, -1):
        classes = torch.tensor([number])
        with pytest.raises(ValueError, match="255 means void"):
            merge_panoptic(columns((0, 3)), torch.ones(1), classes, ROAD)
        with pytest.raises(ValueError, match="255 means void"):
            merge_by_argmax(torch.zeros(1, 4, 6), classes, [])


# ── DETR's way ──────────────────────────────────────────────────────────────────────────────────


def test_every_pixel_goes_to_the_largest_logit_and_stuff_is_joined():
    logits = torch.zeros(4, 1, 8)
    logits[0, 0, :3], logits[1, 0, 3:5], logits[2, 0, 5:7], logits[3, 0, 7] = 1.0, 1.0, 1.0, 1.0
    classes = torch.tensor([1, 0, 1, 0])
    got = merge_by_argmax(logits, classes, things=[1], min_area=1)
    assert got.tolist() == [[1001, 1001, 1001, 0, 0, 1003, 1003, 0]]


def test_a_mask_that_gets_hardly_a_pixel_is_dropped_and_the_rest_compete_again():
    logits = torch.zeros(3, 1, 8)
    logits[0], logits[1, 0, 2:4], logits[2, 0, 2:7] = 0.5, 2.0, 1.0
    classes = torch.tensor([0, 1, 1])
    got = merge_by_argmax(logits, classes, things=[1], min_area=3)
    assert got.tolist() == [[0, 0, 1002, 1002, 1002, 1002, 1002, 0]]
    nothing = merge_by_argmax(logits[:0], classes[:0], things=[1])
    assert nothing.tolist() == [[VOID] * 8]
    assert merge_by_argmax(logits, classes, things=[1], min_area=9).tolist() == [[VOID] * 8]
    with pytest.raises(ValueError, match=r"\(3, 1, 8\) and \(2,\) came"):
        merge_by_argmax(logits, classes[:2], things=[1])


# ── where transformers differs ──────────────────────────────────────────────────────────────────

SKY, CAR = 0, 1


def by_transformers(logits, classes, scores):
    """Ids of transformers' segments (their own numbers), and the class of each."""
    p = torch.tensor(scores)
    answers = torch.zeros(len(classes), 3)  # sky, car, nothing
    answers[torch.arange(len(classes)), classes] = p
    answers[:, 2] = 1 - p
    outputs = SimpleNamespace(logits=answers.log().clamp(min=-50)[None], pred_masks=logits[None])
    (found,) = DetrImageProcessor().post_process_panoptic_segmentation(
        outputs, label_ids_to_fuse={SKY}
    )
    return found["segmentation"].flatten().tolist(), found["segments_info"]


def spans(*ranges, high=6.0):
    """Masks over some of eight pixels."""
    logits = torch.full((len(ranges), 1, 8), -6.0)
    for mask, (first, last) in zip(logits, ranges, strict=True):
        mask[0, first:last] = high
    return logits


def ours(logits, classes, min_area=1):
    return merge_by_argmax(logits, classes, [CAR], min_area=min_area)[0].tolist()


def test_masks_that_do_not_overlap_become_the_same_segments():
    logits, classes = spans((0, 3), (3, 5), (5, 8)), torch.tensor([SKY, CAR, CAR])
    segments, _ = by_transformers(logits, classes, [0.9, 0.9, 0.9])
    assert segments == [1, 1, 1, 2, 2, 3, 3, 3]
    assert ours(logits, classes) == [0, 0, 0, 1002, 1002, 1003, 1003, 1003]


def test_two_masks_that_share_a_sky_evenly_are_lost_by_transformers():
    logits, classes = spans((0, 8), (0, 8)), torch.tensor([SKY, SKY])
    logits[0, 0, :4] += 1
    logits[1, 0, 4:] += 1
    segments, info = by_transformers(logits, classes, [0.9, 0.9])
    assert segments == [0] * 8 and info == []
    assert ours(logits, classes) == [0] * 8  # the id of sky


def test_transformers_weighs_pixels_by_the_score_of_the_query():
    logits, classes = torch.stack([torch.full((1, 8), 2.0), torch.full((1, 8), 1.0)]), [CAR, SKY]
    _, info = by_transformers(logits, classes, [0.6, 0.95])
    assert [segment["label_id"] for segment in info] == [SKY]
    assert ours(logits, torch.tensor(classes)) == [1001] * 8


def test_pixels_of_a_dropped_mask_go_to_the_next_mask_here_and_to_the_background_there():
    logits, classes = spans((0, 8), (4, 8)), torch.tensor([SKY, CAR])
    logits[1, 0, 4:7], logits[1, 0, 7] = 1.0, 9.0  # the car gets one of its four pixels
    segments, _ = by_transformers(logits, classes, [0.9, 0.9])
    assert segments == [1] * 7 + [0]
    assert ours(logits, classes, min_area=2) == [0] * 8  # the id of sky


def test_transformers_may_give_two_objects_one_number():
    logits = spans((0, 2), (2, 4), (4, 6), (6, 8))
    classes = torch.tensor([SKY, CAR, SKY, CAR])
    segments, info = by_transformers(logits, classes, [0.9] * 4)
    assert segments == [1, 1, 2, 2, 1, 1, 2, 2] and len(info) == 4
    assert ours(logits, classes) == [0, 0, 1002, 1002, 0, 0, 1004, 1004]
