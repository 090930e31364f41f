"""Tables read from ``results/*.json`` when the book is built, so that no number is typed in.

    ```{runtimes}
    ```

shows how long every chapter takes, from ``results/runtimes.json``, and

    ```{measured} camvid_unet
    :rows: classes
    :columns: name = Class; iou = IoU
    :digits: 3
    ```

shows any other measurement: ``rows`` is where in the file the rows lie (a list of objects, or an
object of objects whose keys become the first column), ``columns`` which of their values, under
which heading. A file that is missing or lacks a value stops the build with a warning that says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)


class Unmeasured(Exception):
    """A result that the page asks for and that nobody has measured."""


def read_result(root: Path, name: str, remedy: str) -> dict:
    """The content of ``results/<name>.json``."""
    path = root / "results" / f"{name}.json"
    if not path.is_file():
        raise Unmeasured(f"results/{name}.json does not exist: {remedy}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Unmeasured(f"results/{name}.json is not JSON ({error}): {remedy}") from error


def rows_at(result: dict, place: str, file: str) -> list[dict]:
    """The rows that lie at ``place`` (dotted keys); keys of an object of objects become ``key``."""
    found = result
    for step in filter(None, place.split(".")):
        if not isinstance(found, dict) or step not in found:
            raise Unmeasured(f"{file} has no {place!r}: measure again, or mend the page")
        found = found[step]
    if isinstance(found, dict):
        found = [
            {"key": key, **(row if isinstance(row, dict) else {"value": row})}
            for key, row in found.items()
        ]
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise Unmeasured(f"{file}: {place!r} is neither a list nor an object of rows")
    return found


def value_in(row: dict, key: str, file: str) -> object:
    if key not in row:
        raise Unmeasured(f"{file}: a row has no {key!r}, only {', '.join(map(repr, row))}")
    return row[key]


def write(value: object, digits: int) -> str:
    """Whole numbers whole, in groups of three; others with ``digits`` decimals; None as a dash."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def table(head: list[str], rows: list[list[str | nodes.Node]]) -> nodes.table:
    """A docutils table; columns whose every text is a number are aligned to the right."""
    built = nodes.table(classes=["measured"])
    group = nodes.tgroup(cols=len(head))
    built += group
    for _ in head:
        group += nodes.colspec(colwidth=1)

    def line(cells: list[str | nodes.Node]) -> nodes.row:
        row = nodes.row()
        for cell in cells:
            content = cell if isinstance(cell, nodes.Node) else nodes.Text(cell)
            number = isinstance(cell, str) and (cell[:1].isdigit() or cell in ("–", ""))
            row += nodes.entry(
                "", nodes.paragraph("", "", content), classes=["number"] if number else []
            )
        return row

    group += nodes.thead("", line(list(head)))
    group += nodes.tbody("", *map(line, rows))
    return built


class FromResults(SphinxDirective):
    """Shared by both directives: build, or warn and say on the page what is missing."""

    def run(self) -> list[nodes.Node]:
        try:
            return self.build(Path(self.env.srcdir))
        except Unmeasured as missing:
            logger.warning("%s", missing, location=self.get_location())
            return [
                nodes.admonition(
                    "", nodes.title("", "Not measured"), nodes.paragraph("", str(missing))
                )
            ]

    def depend_on(self, name: str) -> None:
        self.env.note_dependency(str(Path(self.env.srcdir, "results", f"{name}.json")))

    def build(self, root: Path) -> list[nodes.Node]:
        raise TypeError(f"{type(self).__name__} shows no table of its own")


class Measured(FromResults):
    required_arguments = 1
    option_spec: ClassVar = {
        "rows": directives.unchanged,
        "columns": directives.unchanged_required,
        "digits": directives.nonnegative_int,
    }

    def build(self, root: Path) -> list[nodes.Node]:
        name = self.arguments[0]
        file = f"results/{name}.json"
        self.depend_on(name)
        result = read_result(root, name, f"run `python -m benchmarks.{name}`")
        columns = [
            [part.strip() for part in column.partition("=")[::2]]
            for column in self.options["columns"].split(";")
        ]
        digits = self.options.get("digits", 3)
        rows = [
            [write(value_in(row, key, file), digits) for key, _ in columns]
            for row in rows_at(result, self.options.get("rows", ""), file)
        ]
        return [table([heading or key for key, heading in columns], rows)]


class Runtimes(FromResults):
    def build(self, root: Path) -> list[nodes.Node]:
        file, remedy = "results/runtimes.json", "run `make runtimes`"
        self.depend_on("runtimes")
        chapters = rows_at(read_result(root, "runtimes", remedy), "chapters", file)
        rows, seconds, training = [], 0.0, 0.0
        for chapter in sorted(chapters, key=lambda row: row["key"]):
            took = float(value_in(chapter, "seconds", file))
            trained = float(value_in(chapter, "training_seconds", file))
            peak = float(value_in(chapter, "peak_gib", file))
            seconds, training = seconds + took, training + trained
            rows.append(
                [
                    self.link(chapter["key"]),
                    f"{took:.0f} s",
                    f"{trained:.0f} s" if trained else "–",
                    f"{peak:.1f} GiB",
                ]
            )
        rows.append(
            [
                nodes.strong("", "All chapters so far"),
                f"{seconds / 60:.1f} min",
                f"{training / 60:.1f} min",
                "",
            ]
        )
        return [table(["Chapter", "Top to bottom", "of it training", "Most memory"], rows)]

    def link(self, chapter: str) -> nodes.Node:
        """A link with the chapter's title, or its bare stem where it is not in the book."""
        page = f"notebooks/{chapter}"
        if page not in self.env.found_docs:
            return nodes.literal("", chapter)
        return addnodes.pending_xref(
            "",
            nodes.inline("", chapter),
            refdomain="std",
            reftype="doc",
            reftarget=f"/{page}",
            refdoc=self.env.docname,
            refexplicit=False,
            refwarn=True,
        )


def setup(app) -> dict:
    app.add_directive("runtimes", Runtimes)
    app.add_directive("measured", Measured)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
