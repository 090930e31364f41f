"""What every exercise of the course promises, asked of all of them in one place."""

import ast
import builtins
import symtable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

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
