"""Every notebook is built from its text, complete, within its budget, and legible anywhere."""

import ast
import json
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

from tools.notebooks import sources

ROOT = Path(__file__).parents[1]
TEXTS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
LAST = ["Common mistakes", "Exercises", "Quiz", "Take-aways", "Further reading"]
OPTION = re.compile(
    r'<details class="quiz (right|wrong)"><summary>(.+?)</summary>\n\n(.+?)\n\n</details>', re.S
)


def stored(text: Path) -> nbformat.NotebookNode:
    return nbformat.read(text.with_suffix(".ipynb"), as_version=4)


def code(notebook: nbformat.NotebookNode) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def words(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
class TestNotebook:
    def test_is_built_from_its_text(self, text):
        assert sources(stored(text)) == sources(jupytext.read(text))

    def test_has_been_run_once_from_top_to_bottom(self, text):
        counts = [cell.execution_count for cell in code(stored(text))]
        assert counts == list(range(1, len(counts) + 1))

    def test_stores_no_error_no_widget_and_no_progress_bar(self, text):
        notebook = stored(text)
        assert "widgets" not in notebook.metadata
        kinds = {(out.output_type, out.get("name")) for c in code(notebook) for out in c.outputs}
        assert not {kind for kind, name in kinds if kind == "error"}
        assert not {name for kind, name in kinds if name == "stderr"}

    def test_is_small(self, text):
        assert text.with_suffix(".ipynb").stat().st_size < 1_500_000

    def test_every_figure_has_a_text_and_a_cell_of_its_own(self, text):
        for cell in code(stored(text)):
            figures = [out for out in cell.outputs if "image/png" in out.get("data", {})]
            assert len(figures) <= 1, cell.source
            for out in figures:
                assert len(out.metadata["image/png"]["alt"].split()) >= 5, cell.source
                assert cell.metadata["mystnb"]["image"]["alt"] == out.metadata["image/png"]["alt"]

    def test_no_cell_is_longer_than_a_screen(self, text):
        lengths = [len(cell.source.splitlines()) for cell in code(stored(text))]
        assert max(lengths) <= 32

    def test_words_are_plain_markdown(self, text):
        """Colab shows directives and roles as raw text."""
        for cell in words(stored(text)):
            assert not re.search(r"^\s*(```\{|:::|\$\$.*\{label)|\{[a-z:]+\}`", cell, re.M), cell

    def test_sections_come_in_the_order_of_every_chapter(self, text):
        cells = words(stored(text))
        heads = [line[3:].strip() for cell in cells for line in cell.splitlines()
                 if line.startswith("## ")]  # fmt: skip
        assert cells[0].startswith("# ") and "you can" in cells[0]
        assert heads[-len(LAST) :] == LAST

    def test_setup_cell_is_the_same_everywhere(self, text):
        first = [code(stored(path))[0].source for path in TEXTS]
        assert first == [first[0]] * len(TEXTS) and "find_spec" in first[0]

    def test_has_exercises_each_with_a_solution(self, text):
        cells = [cell.source for cell in code(stored(text))]
        checked = re.findall(r"\bex\.(\w+)\.check\(", "\n".join(cells))
        solved = re.findall(r"\bex\.(\w+)\.show_solution\(", "\n".join(cells))
        assert len(set(checked)) >= 4 and set(checked) == set(solved)
        outputs = "".join(
            out.get("text", "") for cell in code(stored(text)) for out in cell.outputs
        )
        assert outputs.count("not attempted yet") == len(set(checked))

    def test_quiz_explains_every_option(self, text):
        questions = [cell for cell in words(stored(text)) if re.match(r"\*\*Q\d+\. ", cell)]
        assert 5 <= len(questions) <= 8
        for number, question in enumerate(questions, start=1):
            assert question.startswith(f"**Q{number}. ")
            options = OPTION.findall(question)
            assert len(options) == question.count("<details") and 3 <= len(options) <= 4
            assert sum(kind == "right" for kind, _, _ in options) == 1, question
            assert all(len(why.split()) >= 4 for _, _, why in options), question

    def test_takes_its_numbers_from_code(self, text):
        """Code cells print; a decimal in prose belongs to a definition, a paper or a formula."""
        source = "\n".join(cell.source for cell in code(stored(text)))
        for node in ast.walk(ast.parse(re.sub(r"^\s*[%!].*$", "", source, flags=re.M))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                for part in node.args:
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        assert not re.search(r"\d\.\d{2,}", part.value), part.value

    def test_runs_within_the_budget(self, text):
        measured = json.loads((ROOT / "results" / "runtimes.json").read_text())["chapters"]
        chapter = measured[text.stem]
        assert chapter["seconds"] <= 120 and chapter["training_seconds"] <= 90
        assert chapter["peak_gib"] <= 3
