"""An exercise: a question, a check that explains itself, hints, and one tested solution.

A check runs the learner's answer on every case and compares it with what the solution gives.
A wrong answer that behaves like a catalogued mistake gets the sentence that names it.
Nothing here ever raises into the notebook: *Run all* on untouched cells succeeds.
"""

import ast
import copy
import dis
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import FunctionType
from typing import Any

from segcourse.exercises import progress
from segcourse.exercises.advice import reason
from segcourse.exercises.results import brief, difference, same
from segcourse.exercises.running import Unfinished, message, outcomes, own_lines
from segcourse.sources import show_toggle

SECONDS = 10.0  # for an answer on all cases together
SCREEN = 40  # lines of a check


class YourTurn(Exception):
    """What the stub of an exercise may raise, until the learner replaces it."""


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people typically give, and the sentence that helps them.

    Args:
        answer: the mistaken implementation, called like the solution.
        advice: names the mistake, in one sentence or two.
    """

    answer: Callable
    advice: str


@dataclass(repr=False)
class Exercise:
    """``check``, ``hint`` and ``show_solution`` speak to the learner; ``verdict`` to the tests.

    In a notebook, the exercise itself shows its question.

    Args:
        title: number and name, as in the notebook: "3.1 Dice".
        solution: a working answer, a function. Its docstring is the question.
        cases: the inputs on which answers are compared: ordinary, edge and adversarial ones. Each
            is a tuple of positional arguments. A function that returns them is called when needed.
        mistakes: catalogued wrong answers.
        hints: from gentle to blunt.
        describe: says an input in words, from its arguments; default: their values or shapes.
        digits: numbers may differ by 10**-digits, absolute and relative; whole ones may not.
        shows_expected: whether the message of a wrong answer says what was expected. False where
            the answer is a choice: trying would give it away.
        options: what may be chosen, where the answer is a choice of names.
    """

    title: str
    solution: Callable
    cases: Iterable[tuple] | Callable[[], Iterable[tuple]]
    mistakes: tuple[Mistake, ...] = ()
    hints: tuple[str, ...] = ()
    describe: Callable[..., str] | None = None
    digits: int = 4
    shows_expected: bool = True
    options: Sequence[str] = ()
    hints_given: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not re.match(r"\d+\.\d+ \S", self.title):
            raise ValueError(
                f"the title {self.title!r} has no number: begin with chapter and exercise, as in "
                "'3.1 Dice'."
            )
        if not callable(self.solution):
            raise TypeError(
                f"the solution of {self.title} must be a function, but it is {self.solution!r}: "
                "wrap a value in one."
            )
        if not callable(self.cases) and not list(self.cases):
            raise ValueError(
                f"{self.title} has no cases: give at least one tuple of arguments to compare on, "
                "() for an answer without arguments."
            )

    def __repr__(self) -> str:
        return f"{self.title}\n\n{inspect.getdoc(self.solution) or ''}".strip()

    def check(self, attempt: Any) -> None:
        """Print whether the attempt is right, wrong (and why), or not there yet."""
        mark, text = self.verdict(attempt)
        if mark == "✓":
            progress.record(self.title)
        lines = f"{mark} {self.title}{text}".splitlines()
        print("\n".join(lines[:SCREEN]))

    def hint(self) -> None:
        """Print the next hint; the hints start again after the last one."""
        if not self.hints:
            print(f"{self.title} has no hints.")
            return
        number = self.hints_given % len(self.hints)
        self.hints_given += 1
        again = " again" if self.hints_given > len(self.hints) else ""
        print(f"Hint {number + 1} of {len(self.hints)}{again}: {self.hints[number]}")

    def show_solution(self) -> None:
        """Show the tested solution, and what the check says of it, behind a toggle."""
        mark, text = self.verdict(self.solution)
        show_toggle(f"Solution of {self.title}", self.source(), f"{mark} {self.title}{text}")

    def source(self) -> str:
        """The code of the solution as a learner writes it, without types that need imports."""
        return unannotated(inspect.getsource(self.solution).strip())

    def inputs(self) -> list[tuple]:
        """Fresh arguments for every case; no two cases share an object."""
        cases = self.cases() if callable(self.cases) else self.cases
        return [copy.deepcopy(case) for case in cases]

    @cached_property
    def want(self) -> list:
        """What the solution returns for every case, in plain values."""
        return outcomes(self.solution, self.inputs())

    @cached_property
    def known(self) -> list[list]:
        """What every catalogued mistake returns for every case."""
        return [outcomes(mistake.answer, self.inputs(), SECONDS) for mistake in self.mistakes]

    def verdict(self, attempt: Any) -> tuple[str, str]:
        """The outcome, without printing it: ("✓" | "✗" | "○", message)."""
        if is_stub(attempt):
            return "○", ": not attempted yet"
        answer = attempt if callable(attempt) else lambda *_: attempt
        want = self.want
        got = outcomes(answer, self.inputs(), SECONDS)
        if any(isinstance(result, YourTurn) for result in got):
            return "○", ": not attempted yet"
        if not self.failing(got, want):
            return "✓", ""
        if not callable(attempt) and self.inputs()[0]:
            if isinstance(attempt, dict):
                return "✗", (
                    ": this is a dictionary, and a function is asked for. It may look up its "
                    "argument in your dictionary."
                )
            return "✗", ": this is no function. Pass your function itself, without calling it."
        return "✗", self.explain(answer, got, want)

    def agree(self, got: Any, want: Any) -> bool:
        """Whether two outcomes are the same answer: equal values, or exceptions of one type."""
        if isinstance(got, BaseException) or isinstance(want, BaseException):
            return type(got) is type(want) and not isinstance(got, Unfinished)
        return same(got, want, 10.0**-self.digits)

    def explain(self, answer: Callable, got: list, want: list) -> str:
        """What to tell about a wrong answer: an input on which it fails, and its mistake's name."""
        advice, shown = self.recognise(got, want)
        unknown = [place for place, each in enumerate(got) if self.is_no_option(each)]
        if unknown and not advice:
            shown = unknown[0]
            advice = "Return one of the names that the question lists, spelt in the same way."
        case, result, expected = self.inputs()[shown], got[shown], want[shown]
        given = self.describe(*case) if self.describe else ", ".join(brief(part) for part in case)
        where = f": given {given}, " if given else ": "
        if isinstance(result, Unfinished):
            text = f"{where}your answer did not return within {SECONDS:.0f} seconds."
            advice = advice or (
                "Does a loop in it ever end? (An import inside it may take long the first time.)"
            )
        elif isinstance(result, BaseException):
            text = f"{where}your answer stops with {message(result)}{own_lines(result)}"
            advice = advice or reason(result, answer, case)
        elif not self.shows_expected:
            text = f"{where}{brief(result)} is not right."
        else:
            raises = isinstance(expected, BaseException)
            wanted = f"the error {type(expected).__name__}" if raises else brief(expected)
            text = f"{where}expected {wanted} but got {brief(result)}."
            text += difference(result, expected, 10.0**-self.digits)
        certain = advice and not advice.startswith("Perhaps")
        if all(each is None for each in got):
            advice = "The answer returns None for every input: is a `return` missing?"
        elif result is None and not certain and all(each is not None for each in want):
            advice = "The answer returns None here: is a `return` missing?"
        return text + (f"\n  {advice}" if advice else "")

    def is_no_option(self, result: Any) -> bool:
        """Whether a name was answered that is none of those to choose from."""
        return bool(self.options) and isinstance(result, str) and result not in self.options

    def recognise(self, got: list, want: list) -> tuple[str, int]:
        """The advice of the catalogued mistake that an answer makes, and a case that shows it.

        A mistake that gives the same results on every case is certain. One that shares at least
        two different wrong results, and half of those that it has, and fails nowhere where the
        answer is right, is named with "perhaps": an answer with two mistakes is told about one.
        Where names are to be chosen, the first wrong choice gets the advice of this choice alone.
        """
        wrong = self.failing(got, want)
        best, advice, shown = 0, "", wrong[0]
        for mistake, known in zip(self.mistakes, self.known, strict=True):
            fails = self.failing(known, want)
            shared = [place for place in fails if self.agree(got[place], known[place])]
            if all(isinstance(known[place], BaseException) for place in fails):
                # too little else is known: the errors must say the same
                shared = [p for p in shared if message(got[p]) == message(known[p])]
            if shared == fails == wrong:
                return mistake.advice, shared[0]
            values = {brief(got[place]) for place in shared}
            enough = len(values) >= 2 and 2 * len(shared) >= len(fails)
            if enough and set(fails) <= set(wrong) and len(shared) > best:
                best, advice, shown = len(shared), f"Perhaps: {mistake.advice}", shared[0]
        if self.options and not advice:
            for mistake, known in zip(self.mistakes, self.known, strict=True):
                if self.failing(known, want) == [shown] and self.agree(got[shown], known[shown]):
                    return mistake.advice, shown
        return advice, shown

    def failing(self, got: list, want: list) -> list[int]:
        """The places of the cases on which results are wrong."""
        pairs = enumerate(zip(got, want, strict=True))
        return [place for place, pair in pairs if not self.agree(*pair)]


def counted(number: int, noun: str) -> str:
    """A number of things in words: 1 layer, 2 layers."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def right_but(solution: Callable, answers: Mapping[str, Any]) -> Callable:
    """A wrong choice for the catalogue: the answers of a solution, except for some arguments."""

    def answer(argument: str) -> Any:
        return answers[argument] if argument in answers else solution(argument)

    wrong = "_".join(f"{key}_{value}" for key, value in answers.items())
    answer.__name__ = f"{solution.__name__}_but_{wrong}"
    return answer


def list_in_question(solution: Callable, *tables: Mapping[Any, str]) -> None:
    """Add situations or options, one a line, to the docstring that is the question."""
    lists = ["\n".join(f"{name}: {text}" for name, text in table.items()) for table in tables]
    solution.__doc__ = "\n\n".join([inspect.getdoc(solution) or "", *lists])


def unannotated(code: str) -> str:
    """The code of one function without the types of its arguments and of its result."""
    (function,) = ast.parse(code).body
    lines = code.encode().splitlines(keepends=True)
    start = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
    arguments = function.args
    cuts = [
        (start[arg.lineno - 1] + arg.col_offset + len(arg.arg.encode()), arg.annotation)
        for arg in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        if arg.annotation
    ]
    text = b"".join(lines)
    if function.returns:
        result = start[function.returns.lineno - 1] + function.returns.col_offset
        cuts.append((text.rindex(b")", 0, result) + 1, function.returns))
    for begin, kind in reversed(cuts):
        text = text[:begin] + text[start[kind.end_lineno - 1] + kind.end_col_offset :]
    return text.decode()


def is_stub(attempt: Any) -> bool:
    """Whether an attempt is still ``...``, or a function whose body is only ``...`` or ``pass``."""
    if not isinstance(attempt, FunctionType):
        return attempt is ...
    steps = [step for step in dis.get_instructions(attempt) if step.opname not in ("RESUME", "NOP")]
    returns = {"LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}
    return all(step.opname in returns and step.argval is None for step in steps)
