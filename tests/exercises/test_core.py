"""The framework of exercises: three outcomes, named mistakes, hints, one solution object."""

import numpy as np
import pytest
import torch

from segcourse.exercises import progress
from segcourse.exercises.core import Exercise, Mistake, YourTurn, list_in_question, right_but


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


@pytest.mark.parametrize("result", [0.5, None, torch.zeros(2)])
def test_a_result_in_place_of_the_function_is_named(exercise, result, capsys):
    exercise.check(result)
    assert "this is no function. Pass your function itself" in capsys.readouterr().out


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


def test_a_none_is_no_forgotten_return_where_none_is_an_answer():
    exercise = Exercise("0.3 Root", lambda a: a**0.5 if a >= 0 else None, [(4,), (9,), (-1,)])
    assert exercise.verdict(lambda a: 2.0 if a == 4 else None)[1].endswith("but got None.")
    assert "`return` missing" in exercise.verdict(lambda a: print(end=""))[1]


def test_a_result_that_cannot_be_read_is_named_by_its_type(exercise):
    message = exercise.verdict(lambda a, b: torch.nn.Linear(2, 2))[1]
    assert "got a Linear whose values cannot be read" in message


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
    assert (
        out[0] == "Hint 1 of 2: Look at the formula."
        and out[2] == "Hint 1 of 2 again: Look at the formula."
    )


def test_the_solution_is_shown_with_its_verdict(exercise, capsys):
    exercise.show_solution()
    out = capsys.readouterr().out
    assert "return 2 * (a & b).sum()" in out and "✓ 0.1 Dice" in out
    assert not progress.solved()  # looking is not solving


@pytest.mark.parametrize(
    "want, got, equal",
    [
        (torch.tensor([1.0, float("nan")]), [1, float("nan")], True),
        ({"a": 1.0}, {"a": 1.00001}, True),
        ({"a": 1}, {"a": 1.00001}, False),  # whole numbers are exact
        ({"a": 1}, {"a": np.float32(1)}, True),
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


def areas(image, threshold):
    """How many pixels are above, and below, a threshold?"""
    return int((image > threshold).sum()), int((image < threshold).sum())


def swapped(image, threshold):
    return areas(image, threshold)[::-1]


def with_equal(image, threshold):
    above, _ = areas(image, threshold)
    return above, image.numel() - above


AREAS = dict(
    title="0.5 Areas",
    solution=areas,
    cases=[
        (torch.tensor([1, 5, 9]), 2),
        (torch.tensor([1, 5, 9, 2]), 6),
        (torch.tensor([2, 2, 3, 3]), 3),
        (torch.tensor([7, 7]), 7),
        (torch.tensor([7]), 1),
    ],
    mistakes=(
        Mistake(swapped, "Above comes first."),
        Mistake(with_equal, "Equal pixels are neither above nor below."),
    ),
)


def test_one_shared_result_is_too_little_to_name_a_mistake():
    mistake = Mistake(lambda a: max(a, 0), "Negative numbers count.")
    exercise = Exercise("0.4 Number", lambda a: a, [(1,), (2,), (-3,)], mistakes=(mistake,))
    assert exercise.verdict(lambda a: max(a, 0))[1].endswith("Negative numbers count.")
    assert "Perhaps" not in exercise.verdict(lambda a: 0)[1]


def test_an_answer_with_two_mistakes_is_told_about_one():
    def both(image, threshold):
        return with_equal(image, threshold)[::-1]

    mark, message = Exercise(**AREAS).verdict(both)
    assert (mark, message.splitlines()[-1]) == ("✗", "  Perhaps: Above comes first.")


def test_no_mistake_is_named_that_the_answer_does_not_make():
    def other(image, threshold):  # right where the swapped one is wrong
        above, below = areas(image, threshold)
        return (above, below) if above != 2 else (1, 2)

    assert "Perhaps" not in Exercise(**AREAS).verdict(other)[1]


def test_a_choice_is_not_given_away():
    exercise = Exercise("0.6 Choice", lambda: "iou", [()], shows_expected=False)
    assert exercise.verdict("accuracy") == ("✗", ": 'accuracy' is not right.")


def test_an_exercise_shows_its_question():
    assert repr(Exercise(**EXERCISE)) == "0.1 Dice\n\nTwice the overlap by the sum of the areas."


def test_an_answer_may_reuse_its_memory_and_change_its_input():
    memory = torch.zeros(())

    def reuses(a, b):
        a &= b
        memory.copy_(2 * a.sum() / (EXERCISE["cases"][0][0].sum() + b.sum()))
        return memory

    shared = torch.tensor([True, False])
    exercise = Exercise("0.7 Dice", dice, [(shared, torch.tensor([True, True])), (shared, shared)])

    def in_place(a, b):
        total = a.sum() + b.sum()
        return 2 * a.mul_(b).sum() / total

    assert Exercise(**EXERCISE).verdict(reuses)[0] == "✓"
    assert exercise.verdict(in_place)[0] == "✓"


def test_where_large_arrays_differ_is_said():
    exercise = Exercise("0.8 Zeros", lambda: torch.zeros(5, 6), [()])
    wrong = torch.zeros(5, 6)
    wrong[2, 3] = 1
    assert (
        "1 of 30 values differ, first at [2, 3]: 0 expected, 1 found." in exercise.verdict(wrong)[1]
    )


def test_an_answer_that_does_not_return_is_stopped(exercise, monkeypatch, capsys):
    def endless(a, b):
        while True:
            pass

    monkeypatch.setattr("segcourse.exercises.core.SECONDS", 0.2)
    exercise.check(endless)
    assert "your answer did not return within 0 seconds" in capsys.readouterr().out


def test_the_lines_of_an_error_are_few(exercise, capsys):
    namespace = {}
    code = "def f(a, b):\n    return f(b, a)"
    exec(compile(code, "<ipython-input-1>", "exec"), namespace)
    exercise.check(namespace["f"])
    out = capsys.readouterr().out
    assert "RecursionError" in out and "calls itself without end" in out
    assert len(out.splitlines()) < 12


LOGITS = torch.ones(1, 3, 2, 2)
entropy = torch.nn.functional.cross_entropy


def unset(a, b):
    if a is None:
        result = b
    return result


@pytest.mark.parametrize(
    "answer, advice",
    [
        (lambda a: a, "is called with 2 arguments; yours is defined as (a)."),
        (lambda a, b: undefined_name, "used before it has a value"),  # noqa: F821
        (lambda a, b: a.astype(float), "have another name in NumPy"),
        (lambda a, b: torch.ones(2, dtype=torch.int64).softmax(0), "convert it with .float()"),
        (lambda a, b: torch.ones(2) + torch.ones(3), "Two shapes do not fit"),
        (lambda a, b: 1 / 0, "The denominator is zero"),
        (unset, "A variable has no value yet"),
        (lambda a, b: [][1], "An index lies outside"),
        (lambda a, b: torch.ones(2, 2).sum(dim=2), "names an axis that the tensor does not have"),
        (lambda a, b: np.ones(2, int).__itruediv__(2), "make it of floats first"),
        (lambda a, b: torch.ones(2, dtype=torch.long).div_(2), "make it of floats first"),
        (lambda a, b: torch.nn.functional.max_pool2d(torch.ones(4, 4), 2), "axes for images"),
        (lambda a, b: a - b, "Boolean tensors cannot be subtracted"),
        (lambda a, b: None + 1, "A value is None"),
        (lambda a, b: torch.zeros(0).max(), "Something is empty here"),
        (lambda a, b: np.stack([]), "Something is empty here"),
        (lambda a, b: a.reshape(3, 7), "A reshape keeps the number of elements"),
        (lambda a, b: a.reshape(2, len(a) / 2), "A whole number may be needed"),
        (lambda a, b: a[: len(a) / 2], "A whole number may be needed"),
        (lambda a, b: a.tolist() - b.tolist(), "Python lists are not subtracted"),
        (lambda a, b: torch.nn.functional.avg_pool1d(a[None].float(), 4), "An axis is too short"),
        (lambda a, b: a.tolist() * 0.5, "Python lists are not subtracted, multiplied"),
        (lambda a, b: torch.nn.Sequential(torch.nn.ReLU(), len), "this layer is a function"),
        (lambda a, b: entropy(LOGITS, torch.zeros(1, 2, 2)), "with .long()"),
        (lambda a, b: LOGITS[torch.zeros(2)], "with .long()"),
        (lambda a, b: np.ones(3)[np.zeros(2)], "with .astype(int)"),
        (lambda a, b: torch.ones(3).gather(0, torch.zeros(2)), "with .long()"),
        (lambda a, b: entropy(torch.ones(1, 2, 2).long(), LOGITS), "logits and labels exchanged"),
        (lambda a, b: entropy(LOGITS, torch.ones(1, 1, 2, 2).long()), "needs labels (N, h, w)"),
        (lambda a, b: entropy(LOGITS, torch.ones(1, 4, 4).long()), "Two shapes do not fit"),
        (lambda a, b: np.ones(2) + np.ones(3), "Two shapes do not fit"),
        (lambda a, b: torch.conv2d(LOGITS.long(), torch.ones(1, 3, 1, 1)), "with .float()"),
    ],
)
def test_usual_errors_have_a_sentence(exercise, answer, advice):
    assert advice in exercise.verdict(answer)[1]


def shade(name):
    """Which colour? A name -> one of the colours."""
    return {"sky": "blue", "grass": "green"}[name]


def test_a_choice_among_names():
    exercise = Exercise(
        "0.9 Shade",
        shade,
        [("sky",), ("grass",)],
        mistakes=(Mistake(right_but(shade, {"sky": "green"}), "Look up."),),
        shows_expected=False,
        options=("blue", "green", "red"),
    )
    assert right_but(shade, {"sky": "green"})("grass") == "green"
    assert exercise.verdict(right_but(shade, {"sky": "green"}))[1].endswith("Look up.")
    both = right_but(shade, {"sky": "green", "grass": "blue"})
    assert exercise.verdict(both)[1].endswith("Look up.")
    assert "Look up" not in exercise.verdict(right_but(shade, {"grass": "blue"}))[1]
    _, message = exercise.verdict(right_but(shade, {"grass": "lime"}))
    assert "'lime' is not right" in message and "names that the question lists" in message
    assert "function is asked for" in exercise.verdict({"sky": "blue", "grass": "green"})[1]


def test_situations_are_listed_in_the_question():
    def choose(name):
        """Which one?

        A name -> a number.
        """

    list_in_question(choose, {"a": "first"}, {1: "one", 2: "two"})
    assert choose.__doc__ == "Which one?\n\nA name -> a number.\n\na: first\n\n1: one\n2: two"
