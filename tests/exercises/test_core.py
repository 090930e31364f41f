"""The framework of exercises: three outcomes, named mistakes, hints, one solution object."""

import numpy as np
import pytest
import torch

from segcourse.exercises import progress
from segcourse.exercises.core import Exercise, Mistake, YourTurn


def dice(a, b):
    """Twice the overlap by the sum of the areas."""
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def without_two(a, b):
    return (a & b).sum() / (a.sum() + b.sum())


CASES = [(torch.tensor([True, False]), torch.tensor([True, True]))]
EXERCISE = dict(
    title="0.1 Dice",
    solution=dice,
    cases=CASES,
    mistakes=(Mistake(without_two, "Dice counts the overlap twice."),),
    hints=("Look at the formula.", "Multiply by 2."),
)


@pytest.fixture
def exercise(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGCOURSE_HOME", str(tmp_path))
    return Exercise(**EXERCISE)


def dots(a, b): ...


def documented(a, b):
    """Explains the question."""


def raises(a, b):
    raise YourTurn


@pytest.mark.parametrize("attempt", [..., dots, documented, raises])
def test_an_untouched_answer_is_not_attempted_yet(exercise, attempt, capsys):
    exercise.check(attempt)
    assert capsys.readouterr().out == "○ 0.1 Dice: not attempted yet\n"
    assert not progress.solved()


def with_loops(a, b):
    hit = sum(bool(x) and bool(y) for x, y in zip(a, b, strict=True))
    return 2 * hit / (int(a.sum()) + int(b.sum()))


@pytest.mark.parametrize(
    "attempt",
    [
        dice,
        with_loops,
        lambda a, b: np.float32(dice(a, b)),
        lambda a, b: dice(a, b).double()[None][0],
        0.6667,
    ],
)
def test_right_answers_are_accepted_however_they_are_written(exercise, attempt, capsys):
    exercise.check(attempt)
    assert capsys.readouterr().out == "✓ 0.1 Dice\n"
    assert progress.solved() == ["0.1 Dice"]


def test_a_wrong_answer_shows_the_input_the_expectation_and_the_result(exercise, capsys):
    exercise.check(lambda a, b: 0.125)
    out = capsys.readouterr().out
    assert (
        out == "✗ 0.1 Dice: given [True, False], [True, True], expected 0.666667 but got 0.125.\n"
    )


def test_a_catalogued_mistake_is_named_however_it_is_written(exercise, capsys):
    exercise.check(lambda a, b: with_loops(a, b) / 2)
    assert "Dice counts the overlap twice." in capsys.readouterr().out


def test_a_forgotten_return_is_named(exercise, capsys):
    def forgetful(a, b):
        (a & b).sum()

    exercise.check(forgetful)
    assert "is a `return` missing?" in capsys.readouterr().out


def test_an_exception_is_shown_as_the_answers_own_and_does_not_stop_the_notebook(exercise, capsys):
    namespace = {}
    exec(compile("def f(a, b):\n    return a + None", "<ipython-input-1>", "exec"), namespace)
    exercise.check(namespace["f"])
    out = capsys.readouterr().out
    assert "your answer stops with TypeError" in out and "core.py" not in out


def test_an_unfinished_call_inside_torch_is_an_error_not_a_missing_answer(exercise, capsys):
    exercise.check(lambda a, b: torch.ones(3, dtype=torch.int64).softmax(0))
    assert capsys.readouterr().out.startswith("✗")


def test_an_answer_that_changes_its_input_cannot_spoil_the_check(exercise, capsys):
    def spoils(a, b):
        result = dice(a, b)
        a.zero_()
        b.zero_()
        return result

    exercise.check(spoils)
    exercise.check(dice)
    assert capsys.readouterr().out == "✓ 0.1 Dice\n" * 2


def test_hints_come_one_by_one_and_start_again(exercise, capsys):
    for _ in range(3):
        exercise.hint()
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "Hint 1 of 2: Look at the formula." and out[2] == out[0]


def test_the_solution_is_shown_with_its_verdict(exercise, capsys):
    exercise.show_solution()
    out = capsys.readouterr().out
    assert "return 2 * (a & b).sum()" in out and "✓ 0.1 Dice" in out
    assert not progress.solved()  # looking is not solving


@pytest.mark.parametrize(
    "want, got, equal",
    [
        (torch.tensor([1.0, float("nan")]), [1, float("nan")], True),
        ({"a": 1}, {"a": 1.00001}, True),
        ({"a": 1}, {"b": 1}, False),
        ("stuff", "stuff", True),
        ("1", 1, False),
        ([torch.zeros(2), torch.zeros(3)], [np.zeros(2), np.zeros(3)], True),
        (torch.zeros(2, 1), torch.zeros(2), False),
        (torch.tensor(True), 1, True),
    ],
)
def test_results_are_compared_by_what_they_say(want, got, equal):
    exercise = Exercise("0.2 Constant", lambda: want, [()])
    assert (exercise.verdict(lambda: got)[0] == "✓") is equal


def typed(
    a: torch.Tensor,
    b: "Unknown" = None,  # noqa: F821
    *,
    c: tuple[int, ...] = (),
) -> list[torch.Tensor]:
    """Twice."""
    d: list = [a, a]  # a type inside needs no name from outside
    return d


def test_a_solution_is_shown_without_the_types_that_a_pasted_copy_would_not_know():
    code = Exercise("0.3 Twice", typed, [(1,)]).source()
    assert "Tensor" not in code and "Unknown" not in code and '"""Twice."""' in code
    namespace = {}
    exec(code, namespace)
    assert namespace["typed"](3) == [3, 3]


def test_answers_that_only_stop_are_recognised_by_what_they_stop_with():
    def divide(a):
        return a / 0

    def parse(a):
        return int("seven")

    def guess(a):
        return int("eight")

    mistakes = (Mistake(divide, "Not by zero."), Mistake(parse, "Seven is no numeral."))
    exercise = Exercise("0.4 Number", lambda a: a, [(1,), (2,)], mistakes=mistakes)
    assert exercise.verdict(divide)[1].endswith("Not by zero.")
    assert exercise.verdict(parse)[1].endswith("Seven is no numeral.")
    assert "no numeral" not in exercise.verdict(guess)[1]
