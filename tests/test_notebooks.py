"""Every notebook is built from its text, complete, within its budget, and legible anywhere."""

import ast
import json
import re
import tomllib
from pathlib import Path

import jupytext
import nbformat
import pytest

from tools.notebooks import sources

ROOT = Path(__file__).parents[1]
TEXTS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
SECTIONS = [
    "The problem", "The idea", "Build it", "Is it the paper's network?", "Train it",
    "On a real image", "What did the idea buy?", "Where it breaks", "In practice",
    "Common mistakes", "Exercises", "Quiz", "Take-aways", "Further reading",
]  # fmt: skip
NETWORK = {"Is it the paper's network?", "Train it"}  # of chapters that build one
WITHOUT_NETWORK = {
    "01_tasks",
    "02_data",
    "03_metrics",
    "04_classical",
    "05_losses",
    "13_comparison",
}
MOST_WORDS, MOST_CELLS = 2800, 40  # on the main path: up to the exercises, outside of toggles
EXTRAS = {
    "monai": "practice", "pycocotools": "practice", "torchmetrics": "practice",
    "segmentation_models_pytorch": "practice", "timm": "pretrained",
}  # fmt: skip
PIP = re.compile(r"pip install -q 'segcourse(?:\[([a-z,]+)\])? @ git\+")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OPTION = re.compile(
    r'<details class="quiz (right|wrong)"><summary>(.+?)</summary>\n\n(.+?)\n\n</details>', re.S
)


def stored(text: Path) -> nbformat.NotebookNode:
    return nbformat.read(text.with_suffix(".ipynb"), as_version=4)


def code(notebook: nbformat.NotebookNode) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def words(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def main_path(notebook: nbformat.NotebookNode) -> list:
    """The cells up to the exercises."""
    cells = notebook.cells
    ends = [place for place, cell in enumerate(cells)
            if re.search(r"^## Exercises", cell.source, re.M)]  # fmt: skip
    return cells[: ends[0]]


def visible_words(cells: list) -> list[str]:
    """The words of Markdown cells outside of toggles, tables included."""
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    text = re.sub(r"<details.*?</details>", "", text, flags=re.S)
    return text.split()


def only_draws(source: str) -> bool:
    """Whether a cell draws with matplotlib itself, or does nothing but call ``viz``."""
    if re.search(r"\bplt\.|matplotlib", source):
        return True
    body = ast.parse(re.sub(r"^\s*[%!].*$", "", source, flags=re.M)).body
    called = [
        ast.unparse(node.value.func)
        for node in body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    return len(called) == len(body) > 0 and all(name.startswith("viz.") for name in called)


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
        assert max(lengths) <= 30

    def test_main_path_is_short(self, text):
        path = main_path(stored(text))
        assert len(visible_words(path)) <= MOST_WORDS
        assert sum(cell.cell_type == "code" for cell in path) <= MOST_CELLS

    def test_cells_that_only_draw_are_folded(self, text):
        for cell in main_path(stored(text)):
            if cell.cell_type == "code" and only_draws(cell.source):
                assert "hide-input" in cell.metadata.get("tags", []), cell.source

    def test_has_no_linter_comments(self, text):
        for cell in code(stored(text)):
            assert not re.search(r"#\s*(noqa|fmt:|type:|pylint)", cell.source), cell.source

    def test_toggles_are_closed_and_named(self, text):
        cells = "\n".join(words(stored(text)))
        assert "<details open" not in cells
        assert cells.count("<details") == cells.count("</details>")
        for summary in re.findall(r'<details class="deeper"><summary>(.*?)</summary>', cells, re.S):
            assert summary.startswith("Going deeper: "), summary

    def test_tables_are_rendered_and_have_a_text(self, text):
        for cell in code(stored(text)):
            if "show_table(" in cell.source and "nbval-ignore-output" not in cell.metadata.get(
                "tags", []
            ):
                tables = [out.data for out in cell.outputs if "<table" in str(out.get("data", ""))]
                assert tables and all({"text/plain", "text/html"} <= set(each) for each in tables)

    def test_words_are_plain_markdown(self, text):
        """Colab shows directives and roles as raw text."""
        for cell in words(stored(text)):
            assert not re.search(r"^\s*(```\{|:::|\$\$.*\{label)|\{[a-z:]+\}`", cell, re.M), cell

    def test_sections_come_in_the_order_of_every_chapter(self, text):
        cells = words(stored(text))
        heads = [
            line[3:].split(":")[0].strip()
            for cell in cells
            for line in re.sub(r"^```.*?^```", "", cell, flags=re.S | re.M).splitlines()
            if line.startswith("## ")
        ]
        missing = NETWORK if text.stem in WITHOUT_NETWORK else set()
        assert heads == [section for section in SECTIONS if section not in missing]
        assert cells[0].startswith(f"# {int(text.stem[:2])}. ") and "you can" in cells[0]

    def test_setup_cell_is_the_same_everywhere_but_for_extras(self, text):
        def setup(path):
            return PIP.sub("pip install -q 'segcourse @ git+", code(stored(path))[0].source)

        first = code(stored(text))[0].source
        assert setup(text) == setup(TEXTS[0]) and "find_spec" in first and PIP.search(first)
        named = set((PIP.search(first)[1] or "").split(",")) - {""}
        source = "\n".join(cell.source for cell in code(stored(text)))
        used = {extra for package, extra in EXTRAS.items()
                if re.search(rf"^\s*(from|import) {package}\b", source, re.M)}  # fmt: skip
        used |= {"pretrained"} if "imagenet_classifier" in source else set()
        assert named == used
        assert named <= set(PROJECT["project"]["optional-dependencies"])

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
