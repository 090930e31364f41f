"""The repository keeps its shape: imports point down, and every part has its counterparts."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "segcourse"

# Who stands on whom. A module may import from the rows below its own, and from its own part.
ROWS = [
    {"cli"},
    {"exercises"},
    {"classroom", "pretrained", "porting"},
    {"models", "training", "transfer", "viz", "tables", "sources", "keras"},
    {"blocks", "losses", "metrics", "data", "classical", "checkpoints"},
    {"ops"},
]
ROW = {part: row for row, parts in enumerate(ROWS) for part in parts}

MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.py"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{named(path)}: import by the full name"
            if node.module == "segcourse":
                names |= {f"segcourse.{alias.name}" for alias in node.names}
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.startswith("segcourse.")}


def part_of(module: str) -> str:
    return module.removeprefix("segcourse.").split(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_point_down(path):
    here = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for module in imported(path):
        there = part_of(module)
        assert there == here or ROW[there] > ROW[here], f"{here} may not import {module}"


def test_an_upward_import_would_be_found(tmp_path):
    path = tmp_path / "dice.py"
    path.write_text("def f():\n    from segcourse.models import unet\n")
    assert {part_of(module) for module in imported(path)} == {"models"}
    assert ROW["models"] < ROW["losses"]


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_module_has_a_test_of_the_same_name(path):
    module = path.relative_to(PACKAGE)
    test = ROOT / "tests" / module.with_name(f"test_{module.name}")
    assert test.exists(), f"{named(path)} has no {named(test)}"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=named)
def test_test_has_something_to_test(path):
    relative = path.relative_to(ROOT / "tests")
    subject = PACKAGE / relative.with_name(path.name.removeprefix("test_"))
    about_all = {"contract", "layout", "notebooks", "book", "repository", "environment",
                 "bad_input", "nbval", "benchmarks", "tools", "devices", "mutants"}  # fmt: skip
    assert subject.exists() or path.stem.removeprefix("test_") in about_all


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_has_all_its_parts(chapter):
    stem = chapter[3:]
    assert (ROOT / "notebooks" / f"{chapter}.ipynb").exists()
    assert f"notebooks/{chapter}" in (ROOT / "_toc.yml").read_text()
    assert (PACKAGE / "exercises" / f"{stem}.py").exists()
    assert (ROOT / "tests" / "exercises" / f"test_{stem}.py").exists()


def test_there_are_chapters():
    assert len(CHAPTERS) >= 6


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_public_names_have_docstrings_and_types(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{named(path)} does not say what it is"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            if path.parts[-2] != "exercises" and isinstance(node, ast.FunctionDef):
                every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                bare = [argument.arg for argument in every if argument.annotation is None]
                assert not bare, f"{named(path)}: {node.name}({', '.join(bare)}) without types"
            if path.parts[-2] != "exercises" or isinstance(node, ast.ClassDef):
                assert ast.get_docstring(node), f"{named(path)}: {node.name} has no docstring"


PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
PUBLIC = [
    "training",
    "tables",
    "sources",
    "viz",
    "classroom",
    "pretrained",
    "porting",
    "keras",
    "checkpoints",
]


@pytest.mark.parametrize("name", [name for name in PACKAGES if name != "exercises"])
def test_a_package_passes_on_its_public_names(name):
    package = importlib.import_module(f"segcourse.{name}")
    stems = {path.stem for path in (PACKAGE / name).glob("*.py")}
    for public in package.__all__:
        found = getattr(package, public)
        if inspect.ismodule(found):
            assert found.__name__ == f"segcourse.{name}.{public}"
            continue
        assert not public.startswith("_") and public not in stems, (
            f"segcourse.{name}.{public} is a name of a module as well: which one would be imported "
            "would depend on what was imported before"
        )
        assert public.isupper() or found.__module__.startswith(f"segcourse.{name}.")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapters_import_public_names_only(chapter):
    tree = ast.parse((ROOT / "notebooks" / f"{chapter}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if alias.name.startswith("segcourse.")]
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("segcourse"):
            continue
        names = {alias.name for alias in node.names}
        if node.module == "segcourse":
            assert names <= {*PUBLIC, *PACKAGES}
        elif node.module == "segcourse.exercises":
            assert names == {chapter[3:]}
        elif (part := node.module.removeprefix("segcourse.")) not in PUBLIC:
            assert part in PACKAGES, f"{chapter} imports {node.module}, which is no public module"
            assert names <= set(importlib.import_module(node.module).__all__)


def test_importing_the_course_loads_nothing_heavy():
    code = "import sys, segcourse.models, segcourse.data, segcourse.metrics; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    assert not {"torch", "torchvision", "scipy", "matplotlib"} & set(loaded.stdout.split())


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]


def test_no_file_names_a_machine_path_or_a_package_registry():
    """Paths are spelt in pieces here, so that this file does not name them either."""
    machine = r"(?:^|[^\w.])/(?:work|farm|root|tmp|home)/\w"
    hosts = "|".join(["python" + "hosted", r"pypi\.org/" + "simple", "npm" + r"js\.org"])
    wrong = []
    for path in tracked():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        wrong += [
            f"{named(path)}:{number}"
            for number, line in enumerate(lines, start=1)
            if len(line) < 20_000 and re.search(f"{machine}|{hosts}", line)
        ]
    assert not wrong


def test_there_are_no_drawers_for_odds_and_ends():
    odd = {"utils", "helpers", "misc", "common"}
    assert not [named(path) for path in MODULES if path.stem in odd or path.parent.name in odd]
