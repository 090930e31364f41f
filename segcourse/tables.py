"""Tables as text, aligned so that they can be read in a notebook, in the book and in a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor


def print_table(rows: Sequence[Mapping[str, Any]], *, digits: int = 3) -> None:
    """Print rows with the same keys as an aligned text table; floats get ``digits`` decimals.

    Raises:
        ValueError: if there are no rows, or their keys differ.
    """
    if not rows or any(list(row) != list(rows[0]) for row in rows):
        found = [list(row) for row in rows[:3]]
        raise ValueError(
            f"a table needs rows with the same keys in the same order, but these have {found}: "
            "give every row every column."
        )

    def text(value: Any) -> str:
        value = value.item() if isinstance(value, (Tensor, np.generic)) else value
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    cells = [list(rows[0])] + [[text(value) for value in row.values()] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    numeric = [not isinstance(value, str) for value in rows[0].values()]
    for number, row in enumerate(cells):
        parts = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        print("  ".join(parts).rstrip())
        if number == 0:
            print("  ".join("─" * width for width in widths))
