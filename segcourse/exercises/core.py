"""An exercise: a question, a check that explains itself, hints, and one tested solution.

A check runs the learner's answer on every case and compares it with what the solution gives.
A wrong answer that behaves exactly like a catalogued mistake gets the sentence that names it.
Nothing here ever raises into the notebook: *Run all* on untouched cells succeeds.
"""

import ast
import copy
import dis
import inspect
import re
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from segcourse.exercises import progress
from segcourse.sources import show_toggle


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


@dataclass
class Exercise:
    """``check``, ``hint`` and ``show_solution`` speak to the learner; ``verdict`` to the tests.

    Args:
        title: number and name, as in the notebook: "3.1 Dice".
        solution: a working answer, a function. Its docstring is the question.
        cases: the inputs on which answers are compared: ordinary, edge and adversarial ones. Each
            is a tuple of positional arguments. A function that returns them is called when needed.
        mistakes: catalogued wrong answers.
        hints: from gentle to blunt.
        describe: says an input in words, from its arguments; default: their values or shapes.
        digits: numbers may differ by 10**-digits, absolute and relative.
    """

    title: str
    solution: Callable
    cases: Iterable[tuple] | Callable[[], Iterable[tuple]]
    mistakes: tuple[Mistake, ...] = ()
    hints: tuple[str, ...] = ()
    describe: Callable[..., str] | None = None
    digits: int = 4
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

    def check(self, attempt: Any) -> None:
        """Print whether the attempt is right, wrong (and why), or not there yet."""
        mark, message = self.verdict(attempt)
        if mark == "✓":
            progress.record(self.title)
        print(f"{mark} {self.title}{message}")

    def hint(self) -> None:
        """Print the next hint; the hints start again after the last one."""
        if not self.hints:
            print(f"{self.title} has no hints.")
            return
        number = self.hints_given % len(self.hints)
        self.hints_given += 1
        print(f"Hint {number + 1} of {len(self.hints)}: {self.hints[number]}")

    def show_solution(self) -> None:
        """Show the tested solution, and what the check says of it, behind a toggle."""
        mark, message = self.verdict(self.solution)
        show_toggle(f"Solution of {self.title}", self.source(), f"{mark} {self.title}{message}")

    def source(self) -> str:
        """The code of the solution as a learner writes it, without types that need imports."""
        return unannotated(inspect.getsource(self.solution).strip())

    def inputs(self) -> list[tuple]:
        """Fresh arguments for every case."""
        cases = self.cases() if callable(self.cases) else copy.deepcopy(list(self.cases))
        return list(cases)

    def verdict(self, attempt: Any) -> tuple[str, str]:
        """The outcome, without printing it: ("✓" | "✗" | "○", message)."""
        if is_stub(attempt):
            return "○", ": not attempted yet"
        if not callable(attempt):
            constant = attempt

            def attempt(*_: Any) -> Any:
                return constant

        want = [outcome(self.solution, case) for case in self.inputs()]
        got = [outcome(attempt, case) for case in self.inputs()]
        if any(isinstance(result, YourTurn) for result in got):
            return "○", ": not attempted yet"
        for case, result, expected in zip(self.inputs(), got, want, strict=True):
            if not self.agree(result, expected):
                return "✗", self.explain(case, result, expected, got)
        return "✓", ""

    def agree(self, got: Any, want: Any) -> bool:
        """Whether two outcomes are the same answer: values to ``digits``, or equal exceptions."""
        if isinstance(got, Exception) or isinstance(want, Exception):
            return type(got) is type(want)
        return same(got, want, 10.0**-self.digits)

    def explain(self, case: tuple, result: Any, expected: Any, got: list) -> str:
        """What to tell about a wrong answer: the first failing input, then the mistake's name."""
        given = self.describe(*case) if self.describe else ", ".join(brief(part) for part in case)
        where = f": given {given}, " if given else ": "
        wanted = raised(expected) if isinstance(expected, Exception) else brief(expected)
        if isinstance(result, Exception):
            message = f"{where}your answer stops with {trimmed(result)}"
        else:
            message = f"{where}expected {wanted} but got {brief(result)}."
        advice = self.recognise(got)
        if advice is None and all(other is None for other in got):
            advice = "The answer returns None: is a `return` missing?"
        return message + (f"\n  {advice}" if advice else "")

    def recognise(self, got: list) -> str | None:
        """The advice of the catalogued mistake that gives the same results on every case.

        If there are only errors, their messages must be the same too: too little else is known.
        """
        failed = all(isinstance(result, Exception) for result in got)
        for mistake in self.mistakes:
            known = [outcome(mistake.answer, case) for case in self.inputs()]
            pairs = list(zip(got, known, strict=True))
            if all(self.agree(a, b) and (not failed or str(a) == str(b)) for a, b in pairs):
                return mistake.advice
        return None


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
    code = getattr(attempt, "__code__", None)
    if attempt is ... or code is None:
        return attempt is ...
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("RESUME", "NOP")]
    returns = {"LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}
    return all(step.opname in returns and step.argval is None for step in steps)


def outcome(answer: Callable, case: tuple) -> Any:
    """What an answer returns for a case, or the exception that it raises."""
    try:
        return answer(*case)
    except Exception as error:
        return error


def same(got: Any, want: Any, tolerance: float) -> bool:
    """Whether two results say the same, whatever their container and number type."""
    if isinstance(want, dict):
        return (
            isinstance(got, dict)
            and got.keys() == want.keys()
            and all(same(got[key], want[key], tolerance) for key in want)
        )
    if isinstance(want, (str, bytes)) or want is None or isinstance(got, (str, bytes)):
        return type(got) is type(want) and got == want
    try:
        a, b = as_array(got), as_array(want)
    except (TypeError, ValueError):  # ragged: compare element by element
        if not (isinstance(got, (list, tuple)) and isinstance(want, (list, tuple))):
            return got is want
        return len(got) == len(want) and all(
            same(x, y, tolerance) for x, y in zip(got, want, strict=True)
        )
    return a.shape == b.shape and np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


def as_array(value: Any) -> np.ndarray:
    """Numbers of any container as float64: tensors, arrays, lists, tuples, booleans."""
    if isinstance(value, (list, tuple)):
        value = [as_array(part) for part in value]
    elif isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value, dtype=np.float64)


def brief(value: Any) -> str:
    """A value as short text: small arrays in full, large ones by shape and range."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            return brief(value.item())
        if value.size <= 16:
            return str(np.round(value, 4).tolist()) if value.dtype != bool else str(value.tolist())
        shape = " x ".join(str(side) for side in value.shape)
        if value.dtype == bool:
            return f"a {shape} mask with {int(value.sum())} pixels"
        low, high = np.nanmin(value), np.nanmax(value)
        return f"a {shape} array from {low:.4g} to {high:.4g}, mean {np.nanmean(value):.4g}"
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        inside = ", ".join(brief(part) for part in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def raised(error: Exception) -> str:
    """An exception in words."""
    return f"the error {type(error).__name__}"


def trimmed(error: Exception) -> str:
    """An exception with the lines of the learner's own cell that led to it, and no others."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first frame is ours
    own = [frame for frame in frames if "ipykernel" in frame.filename or "<" in frame.filename]
    lines = "".join(f"\n    line {frame.lineno}: {frame.line}" for frame in own if frame.line)
    return f"{type(error).__name__}: {error}{lines}"
