"""Tables of a notebook: rendered in the book and on Colab, aligned text everywhere else."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from IPython.display import display
from torch import Tensor


class Table:
    """Rows with the same keys, as HTML where it can be shown and as aligned text elsewhere."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], digits: int):
        if not rows or any(list(row) != list(rows[0]) for row in rows):
            found = [list(row) for row in rows[:3]]
            raise ValueError(
                f"a table needs rows with the same keys in the same order, but these have {found}: "
                "give every row every column."
            )
        self.head = list(rows[0])
        self.cells = [[_text(value, digits) for value in row.values()] for row in rows]
        self.numeric = [
            all(not isinstance(row[key], str) for row in rows) for key in self.head
        ]  # these columns are aligned to the right

    def __repr__(self) -> str:
        lines = [[str(key) for key in self.head], *self.cells]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.head))]
        lines.insert(1, ["─" * width for width in widths])
        return "\n".join(
            "  ".join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(line, widths, self.numeric, strict=True)
            ).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        def row(tag: str, cells: Sequence[Any]) -> str:
            return "".join(
                f'<{tag} style="text-align: {"right" if right else "left"}">'
                f"{html.escape(str(cell))}</{tag}>"
                for cell, right in zip(cells, self.numeric, strict=True)
            )

        body = "\n".join(f"<tr>{row('td', cells)}</tr>" for cells in self.cells)
        head = f"<thead><tr>{row('th', self.head)}</tr></thead>"
        return f"<table>\n{head}\n<tbody>\n{body}\n</tbody>\n</table>"


def show_table(rows: Sequence[Mapping[str, Any]], *, digits: int = 3) -> None:
    """Show rows with the same keys as a table; floats get ``digits`` decimals.

    Columns of numbers are aligned to the right. A cell may show several tables.

    Raises:
        ValueError: if there are no rows, or their keys differ.
    """
    display(Table(rows, digits))


def _text(value: Any, digits: int) -> str:
    value = value.item() if isinstance(value, (Tensor, np.generic)) else value
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
