"""Wrong answers that differ from a solution in one place are rejected: a sample of them.

``python -m tests.exercises.mutants`` runs all of them.
"""

import sys
import zlib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.exercises.mutants import chapters, equivalents, mutants, survives

ONE_IN = 6
EXERCISES = [(chapter, each) for chapter, items in chapters().items() for each in items]
TITLES = [each.title for _, each in EXERCISES]


def sampled(label: str) -> bool:
    """One in a few, the same ones in every run."""
    return zlib.crc32(label.encode()) % ONE_IN == 0


@pytest.mark.parametrize("chapter, exercise", EXERCISES, ids=TITLES)
def test_a_sample_of_mutants_is_rejected(chapter, exercise):
    listed = equivalents(chapter).get(exercise.title, {})
    chosen = [each for each in mutants(exercise) if sampled(each.label)]
    accepted = [each.label for each in chosen if survives(each, exercise)]
    assert not set(accepted) - set(listed)


@pytest.mark.parametrize("chapter", chapters())
def test_equivalent_mutants_are_mutants_of_today_and_have_a_reason(chapter):
    here = {each.title: {mutant.label for mutant in mutants(each)} for each in chapters()[chapter]}
    for title, listed in equivalents(chapter).items():
        assert set(listed) <= here[title]
        assert all(len(why.split()) >= 3 for why in listed.values())


def test_there_are_thousands():
    assert sum(len(mutants(each)) for _, each in EXERCISES) >= 4000
