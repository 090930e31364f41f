"""Matching and sampling: torchvision's matcher, and what a handful may hold."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torchvision.models.detection._utils import Matcher

from segcourse.ops.matching import LEFT_OUT, NOTHING, best_matches, sample


@given(st.integers(1, 6), st.integers(1, 20), st.integers(0, 10**6), st.booleans())
def test_matches_are_torchvisions(objects, boxes, seed, keep_best):
    overlap = torch.rand(objects, boxes, generator=torch.Generator().manual_seed(seed))
    overlap = (overlap * 10).round() / 10  # with ties
    theirs = Matcher(0.7, 0.3, allow_low_quality_matches=keep_best)(overlap)
    assert torch.equal(best_matches(overlap, high=0.7, low=0.3, keep_best=keep_best), theirs)


def test_without_objects_every_box_shows_nothing():
    assert best_matches(torch.zeros(0, 3), high=0.7, low=0.3).tolist() == [NOTHING] * 3
    assert best_matches(torch.zeros(2, 0), high=0.7, low=0.3).tolist() == []


@given(
    st.integers(0, 40), st.integers(0, 40), st.integers(1, 30), st.sampled_from([0, 0.25, 0.5, 1])
)
def test_a_handful_is_as_large_as_can_be_and_has_its_share(objects, nothing, number, share):
    matches = torch.tensor([3] * objects + [NOTHING] * nothing + [LEFT_OUT] * 5).long()
    some, other = sample(matches, number, share=share)
    assert (matches[some] >= 0).all() and (matches[other] == NOTHING).all()
    assert len(some) == min(objects, int(number * share))
    assert len(other) == min(nothing, number - len(some))
    chosen = [*some.tolist(), *other.tolist()]
    assert len(set(chosen)) == len(chosen)


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match=r"low=0.7 and high=0.3 are not in order"):
        best_matches(torch.zeros(1, 1), high=0.3, low=0.7)
    with pytest.raises(ValueError, match="number=0 and share=2"):
        sample(torch.zeros(3), 0, share=2)
