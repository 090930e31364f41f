"""Single mutations of every solution: how careful are the cases of the exercises?

    python -m tests.exercises.mutants            every exercise
    python -m tests.exercises.mutants losses     those of one chapter
    python -m tests.exercises.mutants losses -v  and list the mutants that were rejected

A mutant is the solution with one operator, constant, argument, name, branch or statement changed.
The cases of an exercise must reject it, or a learner with this mistake would be told that all is
right. A mutant that gives the right answer to every input that the question allows is listed, with
the reason, in equivalents/<chapter>.json: {title: {mutant: reason}}.
"""

import argparse
import ast
import contextlib
import copy
import difflib
import inspect
import json
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import FunctionType

from segcourse import exercises
from segcourse.exercises.core import Exercise, unannotated
from segcourse.exercises.progress import OURS
from segcourse.exercises.running import outcomes

EQUIVALENTS = Path(__file__).parent / "equivalents"
MEMORY = 2 * 1024**3  # bytes that a mutant may take
PROC = Path("/proc/self/statm")
SECONDS = 2.0  # for a mutant on all cases; one that loops for ever is rejected

BINARY = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add, ast.Mult),
    ast.Mult: (ast.Add, ast.Div, ast.Sub),
    ast.Div: (ast.Mult, ast.FloorDiv),
    ast.FloorDiv: (ast.Div, ast.Mult),
    ast.Mod: (ast.FloorDiv, ast.Mult),
    ast.Pow: (ast.Mult, ast.Add),
    ast.BitAnd: (ast.BitOr, ast.BitXor),
    ast.BitOr: (ast.BitAnd, ast.BitXor),
    ast.BitXor: (ast.BitAnd, ast.BitOr),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.MatMult: (ast.Mult,),
}
ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
COMPARISONS = {kind: tuple(other for other in ORDER if other is not kind) for kind in ORDER} | {
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
NAMES = [
    {"min", "max"}, {"amin", "amax"}, {"argmin", "argmax"}, {"minimum", "maximum"},
    {"sum", "mean", "prod"}, {"any", "all"}, {"zeros", "ones"}, {"floor", "ceil", "round"},
    {"zeros_like", "ones_like"}, {"rows", "columns"}, {"height", "width"}, {"sigmoid", "softmax"},
    {"log", "log2", "log1p"}, {"abs", "square"}, {"append", "extend"}, {"mean", "median"},
    {"logical_and", "logical_or", "logical_xor"}, {"sorted", "list"}, {"keys", "values"},
]  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A solution with one change; ``label`` shows the lines before and after it."""

    label: str
    answer: Callable


def chapters() -> dict[str, list[Exercise]]:
    """The exercises of every chapter module."""
    modules = [each.name for each in iter_modules(exercises.__path__) if each.name not in OURS]
    content = {name: vars(import_module(f"segcourse.exercises.{name}")) for name in modules}
    return {
        name: [item for item in items.values() if isinstance(item, Exercise)]
        for name, items in content.items()
    }


def equivalents(chapter: str) -> dict[str, dict[str, str]]:
    """Mutants that are right on every input, with the reason, by exercise."""
    path = EQUIVALENTS / f"{chapter}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def mutants(exercise: Exercise) -> list[Mutant]:
    """All mutants of a solution, without those that do not compile or change nothing."""
    source = unannotated(textwrap.dedent(inspect.getsource(exercise.solution)).strip())
    tree = ast.parse(source)
    function = tree.body[0]
    if isinstance(function.body[0], ast.Expr) and isinstance(function.body[0].value, ast.Constant):
        function.body = function.body[1:] or [ast.Pass()]  # the docstring computes nothing
    original, found = ast.unparse(tree).splitlines(), {}
    for number, node in enumerate(ast.walk(tree)):
        for place in range(len(list(changes(node, function)))):
            changed = copy.deepcopy(tree)
            target = list(ast.walk(changed))[number]
            apply = list(changes(target, changed.body[0]))[place]
            apply()
            if exponents(changed) - exponents(tree):
                continue  # an answer of a million digits cannot be stopped
            try:
                lines = ast.unparse(ast.fix_missing_locations(changed)).splitlines()
                code = compile("\n".join(lines), "<mutant>", "exec")
            except (SyntaxError, ValueError, AttributeError, TypeError):
                continue
            label = difference(original, lines)
            if label and label not in found:
                found[label] = Mutant(label, build(code, exercise.solution))
    return list(found.values())


def exponents(tree: ast.AST) -> set[str]:
    """The variables that powers are raised to."""
    powers = (n for n in ast.walk(tree) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Pow))
    return {power.right.id for power in powers if isinstance(power.right, ast.Name)}


def build(code: object, solution: FunctionType) -> Callable:
    """The function of a mutated source, with the names of the solution's module."""
    names = dict(solution.__globals__)
    exec(code, names)
    return names[solution.__name__]


def difference(before: list[str], after: list[str]) -> str:
    """The changed lines, as ``old → new``."""
    steps = [line for line in difflib.ndiff(before, after) if line[0] in "-+"]
    old = "; ".join(line[2:].strip() for line in steps if line[0] == "-")
    new = "; ".join(line[2:].strip() for line in steps if line[0] == "+")
    return f"{old} → {new}" if steps else ""


def changes(node: ast.AST, function: ast.FunctionDef) -> Iterator[Callable[[], None]]:
    """Functions that change a node (or its fields) in place, each in another way."""
    if isinstance(node, ast.Module):
        return
    if isinstance(node, (ast.BinOp, ast.AugAssign)):
        for kind in BINARY.get(type(node.op), ()):
            yield setter(node, "op", kind())
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Sub, ast.Div, ast.FloorDiv)):
        yield swapped(node, "left", "right")
    if isinstance(node, ast.Compare):
        for place, operation in enumerate(node.ops):
            for kind in COMPARISONS[type(operation)]:
                yield item_setter(node.ops, place, kind())
    if isinstance(node, ast.BoolOp):
        yield setter(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    if isinstance(node, (ast.If, ast.While, ast.IfExp)):
        yield setter(node, "test", ast.UnaryOp(ast.Not(), node.test))
        for value in (True, False):
            yield setter(node, "test", ast.Constant(value))
    if isinstance(node, ast.comprehension):
        for place in range(len(node.ifs)):
            yield deleter(node.ifs, place)
    if isinstance(node, ast.Slice):
        for part in ("lower", "upper", "step"):
            if getattr(node, part) is not None:
                yield setter(node, part, None)
    if isinstance(node, ast.Attribute):
        yield from renamed(node, "attr")
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield from renamed(node, "id")
        own = local_names(function)
        if node.id in own:
            for other in own:
                if other != node.id:
                    yield setter(node, "id", other)
    if isinstance(node, ast.Call):
        for parts in (node.args, node.keywords):
            for place in range(len(parts)):
                yield deleter(parts, place)
        if len(node.args) >= 2:
            yield lambda: node.args.insert(0, node.args.pop(1))
    if isinstance(node, (ast.Tuple, ast.List)) and isinstance(node.ctx, ast.Load):
        for place in range(len(node.elts)):
            yield deleter(node.elts, place)
        if len(node.elts) >= 2:
            yield lambda: node.elts.insert(0, node.elts.pop(1))
    for body in ("body", "orelse"):
        statements = getattr(node, body, None)
        if isinstance(statements, list):
            for place in range(len(statements)):
                yield item_setter(statements, place, ast.Pass())
    if isinstance(node, ast.Attribute) and node.attr in ("shape", "ndim", "dtype", "device"):
        return  # which do not depend on values
    for name, value in ast.iter_fields(node):
        if isinstance(value, ast.expr):
            for other in (*simpler(value), *shifted(value, function)):
                yield setter(node, name, other)
        elif isinstance(value, list):
            for place, part in enumerate(value):
                if isinstance(part, ast.expr):
                    for other in (*simpler(part), *shifted(part, function)):
                        yield item_setter(value, place, other)


def simpler(value: ast.expr) -> Iterator[ast.expr]:
    """Expressions to put in the place of another one."""
    if isinstance(value, ast.Constant):
        yield from (ast.Constant(other) for other in constants(value.value))
    if isinstance(value, ast.BinOp):
        yield from (value.left, value.right)
    if isinstance(value, ast.BoolOp):
        yield from value.values
    if isinstance(value, ast.UnaryOp):
        yield value.operand
    if isinstance(value, ast.IfExp):
        yield from (value.body, value.orelse)
    if isinstance(value, ast.Subscript) and isinstance(value.ctx, ast.Load):
        yield value.value
    if isinstance(value, ast.Call):
        if isinstance(value.func, ast.Attribute):
            yield value.func.value
        yield from value.args[:2]
    if isinstance(value, ast.Attribute) and isinstance(value.ctx, ast.Load):
        yield value.value


def shifted(value: ast.expr, function: ast.FunctionDef) -> Iterator[ast.expr]:
    """A variable or a number of it, one too many or one too few."""
    names = isinstance(value, ast.Name) and isinstance(value.ctx, ast.Load)
    if (names and value.id in local_names(function)) or isinstance(value, (ast.Call, ast.BinOp)):
        for operation in (ast.Add(), ast.Sub()):
            yield ast.BinOp(value, operation, ast.Constant(1))


def local_names(function: ast.FunctionDef) -> list[str]:
    """Arguments and variables of a function, in the order in which they appear."""
    names = [argument.arg for argument in function.args.args]
    names += [node.id for node in ast.walk(function)
              if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]  # fmt: skip
    return list(dict.fromkeys(names))


def constants(value: object) -> list:
    """Other values of the same type."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [other for other in (value + 1, value - 1, -value, 0, 2 * value) if other != value]
    if isinstance(value, float):
        return [other for other in (value + 1, value - 1, -value, 2 * value, 0.9 * value)
                if other != value]  # fmt: skip
    return [value + "x"] if isinstance(value, str) else []


def renamed(node: ast.AST, field: str) -> Iterator[Callable[[], None]]:
    for group in NAMES:
        if getattr(node, field) in group:
            for other in sorted(group - {getattr(node, field)}):
                yield setter(node, field, other)


def setter(node: ast.AST, field: str, value: object) -> Callable[[], None]:
    return lambda: setattr(node, field, value)


def item_setter(items: list, place: int, value: object) -> Callable[[], None]:
    return lambda: items.__setitem__(place, value)


def deleter(items: list, place: int) -> Callable[[], None]:
    return lambda: items.pop(place)


def swapped(node: ast.AST, one: str, other: str) -> Callable[[], None]:
    def swap() -> None:
        first, second = getattr(node, one), getattr(node, other)
        setattr(node, one, second)
        setattr(node, other, first)

    return swap


def survives(mutant: Mutant, exercise: Exercise) -> bool:
    """Whether the check of an exercise takes a mutant for right."""
    with little_memory(), warnings.catch_warnings(action="ignore"):
        got = outcomes(mutant.answer, exercise.inputs(), SECONDS)
    return not exercise.failing(got, exercise.want)


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """A few GiB more than now, where the system can limit it: a mutant may ask for anything."""
    try:
        import resource
    except ImportError:  # Windows
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(PROC.read_text().split()[0]) if PROC.exists() else 0
    limit = pages * resource.getpagesize() + MEMORY
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def main() -> int:
    """Print every survivor that is not listed; returns how many there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="modules such as losses; default: all")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the rejected, too")
    options = parser.parse_args()
    total = listed = alive = 0
    for chapter, items in chapters().items():
        if options.chapters and chapter not in options.chapters:
            continue
        known = equivalents(chapter)
        for exercise in items:
            here = known.get(exercise.title, {})
            made = mutants(exercise)
            left = [each for each in made if survives(each, exercise)]
            new = [each.label for each in left if each.label not in here]
            print(f"{exercise.title}: {len(made)} mutants, {len(left) - len(new)} survive as "
                  f"listed, {len(new)} unlisted", flush=True)  # fmt: skip
            for label in new:
                print(f"    {label}")
            for label in sorted(set(here) - {each.label for each in left}):
                print(f"    listed, but not a survivor: {label}")
            if options.verbose:
                for each in made:
                    print(f"        {'+' if each in left else '-'} {each.label}")
            total, listed, alive = (
                total + len(made),
                listed + len(left) - len(new),
                alive + len(new),
            )
    print(f"{total} mutants, {listed} equivalent ones listed, {alive} accepted by mistake")
    return min(alive, 100)


if __name__ == "__main__":
    raise SystemExit(main())
