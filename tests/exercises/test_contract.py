"""What every exercise of the course promises, asked of all of them in one place."""

import ast
import builtins
import contextlib
import itertools
import symtable
import sys
import warnings
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import numpy as np
import pytest
import torch

from segcourse import exercises
from segcourse.exercises.core import Exercise, YourTurn
from segcourse.exercises.progress import OURS

CHAPTERS = {
    module.name: [
        item
        for item in vars(import_module(f"segcourse.exercises.{module.name}")).values()
        if isinstance(item, Exercise)
    ]
    for module in iter_modules(exercises.__path__)
    if module.name not in OURS
}
EXERCISES = [exercise for chapter in CHAPTERS.values() for exercise in chapter]
MISTAKES = [
    pytest.param(exercise, mistake, id=f"{exercise.title[:3]} {mistake.answer.__name__}")
    for exercise in EXERCISES
    for mistake in exercise.mistakes
]


NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def names_of(chapter: str) -> set[str]:
    """What a notebook that ran from the top knows by name."""
    (text,) = NOTEBOOKS.glob(f"[0-9][0-9]_{chapter}.py")
    found = set(dir(builtins))
    for node in ast.parse(text.read_text()).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        found |= {
            part.id if isinstance(part, ast.Name) else part.name
            for part in ast.walk(node)
            if (isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store))
            or isinstance(part, (ast.FunctionDef, ast.ClassDef))
        }
    return found


def names_used(table: symtable.SymbolTable) -> set[str]:
    """The names that code takes from outside of itself."""
    own = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
    return own.union(*(names_used(inner) for inner in table.get_children()))


def raises(*_):
    raise YourTurn


def untouched(*_): ...


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_has_at_least_four_numbered_in_order(chapter):
    numbers = [exercise.title.split()[0] for exercise in CHAPTERS[chapter]]
    number = numbers[0].split(".")[0]
    assert len(numbers) >= 4
    assert numbers == [f"{number}.{place}" for place in range(1, len(numbers) + 1)]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.title)
def test_it_knows_three_mistakes_and_two_hints(exercise):
    assert len(exercise.mistakes) >= 3 and len(exercise.hints) >= 2


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.title)
def test_the_solution_passes_and_the_stub_is_not_attempted(exercise):
    assert exercise.verdict(exercise.solution) == ("✓", "")
    for stub in (..., raises, untouched):
        assert exercise.verdict(stub) == ("○", ": not attempted yet")


@pytest.mark.parametrize("exercise, mistake", MISTAKES)
def test_every_catalogued_mistake_gets_its_own_advice(exercise, mistake):
    mark, message = exercise.verdict(mistake.answer)
    assert mark == "✗"
    assert message.endswith(mistake.advice)
    assert sum(other.advice in message for other in exercise.mistakes) == 1


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_solution_pasted_into_its_notebook_knows_every_name(chapter):
    known = names_of(chapter)
    for exercise in CHAPTERS[chapter]:
        used = names_used(symtable.symtable(exercise.source(), "solution", "exec"))
        unknown = used - known - {exercise.solution.__name__}
        assert not unknown, f"{exercise.title}: {unknown}"


class Hostile(Exception):
    def __str__(self):
        raise ValueError


class NoRepr:
    def __repr__(self):
        raise Hostile

    def __len__(self):
        raise Hostile

    def __eq__(self, other):
        raise Hostile

    def __array__(self, *_, **__):
        raise Hostile

    __hash__ = None


class StrangeCall:
    @property
    def __code__(self):
        raise Hostile

    def __call__(self, *_):
        return self


def loop():
    value = [1]
    value.append({"a": value})
    return value


def deep():
    return deep() + 1


def endless():
    while True:
        pass


def talkative():
    for number in range(10_000):
        print(number)


def shout():
    print("a" * 10**6)


def fail(error):
    raise error


def destroy(*arguments):
    for part in arguments:
        with contextlib.suppress(Exception):
            part.fill_(7)
        with contextlib.suppress(Exception):
            part.clear()


HOSTILE = {
    "huge integer": lambda: 10**6000,
    "huge integers": lambda: [10**6000, -(10**6000)],
    "sparse": lambda: torch.eye(3).to_sparse(),
    "vast sparse": lambda: torch.sparse_coo_tensor(size=(10**6, 10**6)),
    "bfloat16": lambda: torch.ones(2, dtype=torch.bfloat16),
    "float8": lambda: torch.ones(2).to(torch.float8_e4m3fn),
    "meta": lambda: torch.zeros(3, 3, device="meta"),
    "complex": lambda: torch.ones(2, dtype=torch.complex64),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8),
    "nested tensor": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "object array": lambda: np.array([None, {}, NoRepr()], dtype=object),
    "text array": lambda: np.array(["a", "b"]),
    "structured array": lambda: np.zeros(2, dtype=[("a", int)]),
    "dates": lambda: np.array(["2020-01-01"], dtype="datetime64[D]"),
    "masked array": lambda: np.ma.masked_all(3),
    "no repr": NoRepr,
    "list without repr": lambda: [NoRepr()],
    "dictionary with strange keys": lambda: {(1, NoRepr): 2},
    "contains itself": loop,
    "NumPy text": lambda: np.str_("dice"),
    "text": lambda: "x" * 10**6,
    "lines": lambda: "\n" * 500,
    "bytes": lambda: b"\0" * 10**6,
    "set": lambda: {1, 2},
    "generator": lambda: (n for n in range(3)),
    "endless iterator": itertools.count,
    "long list": lambda: [0] * 10**6,
    "ragged": lambda: [[1], [2, 3], []],
    "type": lambda: int,
    "module": lambda: np,
    "not a number": lambda: float("nan"),
    "infinite": lambda: torch.full((3, 3), float("-inf")),
    "empty": lambda: torch.zeros(0),
    "network": lambda: torch.nn.Linear(2, 2),
    "exception returned": lambda: Hostile(),
    "recursion": deep,
    "exit": lambda: sys.exit("bye"),
    "interrupt": lambda: fail(KeyboardInterrupt()),
    "exception without text": lambda: fail(Hostile()),
    "exception with a long text": lambda: fail(ValueError("\n" * 500 + "x" * 10**5)),
    "group": lambda: fail(ExceptionGroup("many", [ValueError()] * 3)),
    "warning": lambda: warnings.warn("x\n" * 100, stacklevel=1),
    "talkative": talkative,
    "shout": shout,
}


def silent(call):
    """An answer for an exercise of any number of arguments."""
    return lambda *_: call()


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.title)
def test_no_answer_however_strange_stops_a_check_or_fills_the_screen(exercise, capsys):
    strange = [silent(call) for call in HOSTILE.values()]
    strange += [destroy, StrangeCall(), NoRepr(), NoRepr, {}, [], None, "x", torch.zeros(0), 5]
    assert len(strange) >= 30
    for answer in strange:
        exercise.check(answer)
        out, err = capsys.readouterr()
        assert out.startswith(("✗", "0\n", "aaa")) or "✗" in out or "✓" in out
        assert len((out + err).splitlines()) <= 60 and len(out) < 20_000


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_an_answer_without_end_is_stopped(chapter, capsys, monkeypatch):
    monkeypatch.setattr("segcourse.exercises.core.SECONDS", 0.2)
    CHAPTERS[chapter][0].check(silent(endless))
    assert "did not return" in capsys.readouterr().out


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.title)
def test_it_shows_its_question(exercise):
    title, question = repr(exercise).split("\n\n", 1)
    assert title == exercise.title and len(question.split()) >= 8
