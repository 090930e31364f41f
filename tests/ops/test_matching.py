"""Matching and sampling: torchvision's matcher, and what a sample may hold."""

from functools import partial

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torchvision.models.detection._utils import Matcher

from segcourse.ops.matching import BACKGROUND, IGNORED, match_anchors, sample


@given(st.integers(1, 6), st.integers(1, 20), st.integers(0, 10**6), st.booleans())
def test_matches_are_torchvisions(objects, boxes, seed, low_quality):
    overlap = torch.rand(objects, boxes, generator=torch.Generator().manual_seed(seed))
    overlap = (overlap * 10).round() / 10  # with ties
    overlap[:, 0] = overlap[:, 0].clamp(min=0.1)  # an object that no box overlaps is another test
    theirs = Matcher(0.7, 0.3, allow_low_quality_matches=low_quality)(overlap)
    ours = match_anchors(
        overlap, high_threshold=0.7, low_threshold=0.3, allow_low_quality_matches=low_quality
    )
    assert torch.equal(ours, theirs)


match = partial(match_anchors, high_threshold=0.7, low_threshold=0.3)


def test_without_objects_every_box_is_background():
    assert match(torch.zeros(0, 3)).tolist() == [BACKGROUND] * 3
    assert match(torch.zeros(2, 0)).tolist() == []


def test_an_object_that_no_box_overlaps_is_matched_with_none():
    overlap = torch.tensor([[0.9, 0.1, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]])
    wanted = [0, BACKGROUND, BACKGROUND, IGNORED]
    assert match(overlap, allow_low_quality_matches=True).tolist() == wanted
    nowhere = match(overlap[1:], allow_low_quality_matches=True)
    assert nowhere.tolist() == [BACKGROUND] * 4
    tiny = match(overlap[1:] + 1e-6, allow_low_quality_matches=True)
    assert tiny.tolist() == [0] * 4


@given(
    st.integers(0, 40), st.integers(0, 40), st.integers(1, 30), st.sampled_from([0, 0.25, 0.5, 1])
)
def test_a_sample_is_as_large_as_can_be_and_has_its_fraction(objects, background, size, fraction):
    matches = torch.tensor([3] * objects + [BACKGROUND] * background + [IGNORED] * 5).long()
    positive, negative = sample(matches, size, positive_fraction=fraction)
    assert (matches[positive] >= 0).all() and (matches[negative] == BACKGROUND).all()
    assert len(positive) == min(objects, int(size * fraction))
    assert len(negative) == min(background, size - len(positive))
    chosen = [*positive.tolist(), *negative.tolist()]
    assert len(set(chosen)) == len(chosen)


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match=r"low_threshold=0.7 and high_threshold=0.3 are not in or"):
        match_anchors(torch.zeros(1, 1), high_threshold=0.3, low_threshold=0.7)
    with pytest.raises(ValueError, match="batch_size=0 and positive_fraction=2"):
        sample(torch.zeros(3), 0, positive_fraction=2)
