"""Errors of Python and torch get the sentence that names their usual cause, and no other."""

import pytest

from segcourse.exercises.advice import reason, wrong_signature


class Mute(Exception):
    def __str__(self):
        raise ValueError


@pytest.mark.parametrize("error", [KeyError("a"), RuntimeError("fate"), Mute()])
def test_an_unknown_error_gets_none(error):
    assert reason(error, lambda a: a, (1,)) == ""


def test_a_missing_argument_is_told_with_the_signature():
    assert wrong_signature(lambda a, b=1: a, (1, 2)) == ""
    assert wrong_signature(lambda a: a, (1, 2)).endswith("yours is defined as (a).")
    assert wrong_signature(dict.fromkeys, (1, 2)) == ""  # has no signature to look at


def test_no_whole_numbers_are_spoken_of_where_there_are_none():
    error = RuntimeError("expected scalar type Double but found Float")
    assert "whole" not in reason(error, lambda: 0, ())


def test_only_names_that_the_message_speaks_of():
    assert "used before" in reason(NameError("name 'x' is not defined"), lambda: 0, ())
