"""The repository's name: one place, one command, and nobody else who knows it."""

import re
import shutil
import subprocess
from pathlib import Path

import jupytext
import nbformat
import pytest

from tools import repository
from tools.notebooks import sources

ROOT = Path(__file__).parents[1]
NEW = "somebody-else/a.course_2"


@pytest.fixture
def copy(tmp_path):
    """The files that may name the repository, copied."""
    (tmp_path / "notebooks").mkdir()
    for path in repository.places():
        shutil.copyfile(path, tmp_path / path.relative_to(ROOT))
    return tmp_path


def everything(root: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in repository.places(root))


def occurrences(text: str, name: str) -> int:
    return len(re.findall(rf"{re.escape(name)}(?![\w.-])", text))


def cells_of(path: Path) -> list[tuple]:
    """Type, source and tags of a chapter's cells, from its text or its notebook."""
    notebook = jupytext.read(path)
    nbformat.validate(notebook)
    return sources(notebook)


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]


def test_the_command_changes_every_occurrence(copy):
    old = repository.current(copy)
    before = occurrences(everything(copy), old)
    assert before >= 1
    assert repository.main([NEW], copy) == 0
    assert repository.current(copy) == NEW
    assert occurrences(everything(copy), old) == 0
    chapters = len(list((copy / "notebooks").glob("*.ipynb")))
    links = chapters if old == repository.PLACEHOLDER else 0  # Colab links that came with the name
    assert occurrences(everything(copy), NEW) == before + links


def test_the_command_can_be_repeated_and_undone(copy, capsys):
    before = everything(copy)
    old = repository.current(copy)
    assert repository.main([NEW], copy) == 0
    assert repository.main([NEW], copy) == 0
    assert capsys.readouterr().out.endswith("nothing to change\n")
    assert repository.main([old], copy) == 0
    assert everything(copy) == before


def test_a_longer_name_is_not_taken_for_ours(copy):
    old = repository.current(copy)
    readme = copy / "README.md"
    other = f"https://github.com/{old}-data and https://github.com/{old}.wiki"
    readme.write_text(f"{readme.read_text(encoding='utf-8')}\n{other}\n", encoding="utf-8")
    repository.main([NEW], copy)
    assert other in readme.read_text(encoding="utf-8")


def test_nothing_but_the_name_changes_in_a_chapter(copy):
    old = repository.current(copy)
    paths = [path for path in repository.places(copy) if path.parent.name == "notebooks"]
    before = {path: cells_of(path) for path in paths}
    repository.main([NEW], copy)
    for path in paths:
        assert cells_of(path) == [
            (kind, source.replace(old, NEW), tags) for kind, source, tags in before[path]
        ]


def test_the_setup_cells_are_the_only_place_in_a_chapter(copy):
    old = repository.current(copy)
    for path in (copy / "notebooks").glob("*.ipynb"):
        naming = [
            number
            for number, cell in enumerate(nbformat.read(path, as_version=4).cells)
            if occurrences(str(dict(cell)), old)
        ]
        assert naming == [1], path.name


def test_no_other_file_names_the_repository():
    allowed = set(repository.places())
    names = {repository.PLACEHOLDER, repository.current()}
    wrong = []
    for path in set(tracked()) - allowed:
        content = path.read_bytes()
        wrong += [f"{path.relative_to(ROOT)}: {name}" for name in names if name.encode() in content]
    assert not wrong


def test_the_table_in_the_readme_is_up_to_date():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = repository.chapter_table(ROOT, repository.current())
    assert repository.with_table(readme, table) == readme, "run `python -m tools.repository`"


def test_colab_links_appear_with_the_name_only(copy):
    without = repository.chapter_table(copy, repository.PLACEHOLDER)
    known = repository.chapter_table(copy, NEW)
    assert "colab" not in without
    for path in (copy / "notebooks").glob("*.ipynb"):
        address = "https://colab.research.google.com/github"
        assert f"{address}/{NEW}/blob/main/notebooks/{path.name}" in known


@pytest.mark.parametrize(
    "name", ["", "segcourse", "a/b/c", "a b/c", "https://github.com/a/b", "-a/b", "a/"]
)
def test_what_is_no_name_is_refused_and_changes_nothing(copy, name, capsys):
    before = everything(copy)
    with pytest.raises(ValueError, match="owner/name"):
        repository.rename(copy, name)
    if name:
        assert repository.main(["--", name], copy) == 2
        assert "owner/name" in capsys.readouterr().err
    assert everything(copy) == before


def test_an_unreadable_address_is_reported(copy, capsys):
    path = copy / "pyproject.toml"
    address = f"https://github.com/{repository.current(copy)}"
    path.write_text(path.read_text(encoding="utf-8").replace(address, "somewhere"))
    assert repository.main([NEW], copy) == 2
    assert "'somewhere'" in capsys.readouterr().err


def test_a_readme_without_its_marks_is_reported():
    with pytest.raises(ValueError, match="<!-- chapters -->"):
        repository.with_table("# segcourse\n", "| a |")


def test_the_opening_of_a_chapter_is_title_and_first_sentence():
    cell = nbformat.v4.new_markdown_cell(
        "# 06 FCN\n\nTurn a **classifier** into\na segmenter. Then more.\n\nAfter it you can"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert repository.opening(notebook) == ("FCN", "Turn a classifier into a segmenter.")
    cell.source = "no title"
    with pytest.raises(ValueError, match="# Title"):
        repository.opening(notebook)
