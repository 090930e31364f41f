"""Tables are aligned text and HTML."""

import numpy as np
import pytest
import torch

from segcourse.tables import Table, show_table


def test_a_table_is_aligned_text(capsys):
    show_table([{"class": "sky", "IoU": 0.5}, {"class": "lamp post", "IoU": float("nan")}])
    assert capsys.readouterr().out.splitlines() == [
        "class        IoU",
        "─────────  ─────",
        "sky        0.500",
        "lamp post    nan",
    ]


def test_and_html():
    table = Table([{"class": "<sky>", "IoU": 0.5}, {"class": "a", "IoU": 1}], digits=1)
    assert table._repr_html_() == (
        "<table>\n<thead><tr>"
        '<th style="text-align: left">class</th><th style="text-align: right">IoU</th>'
        "</tr></thead>\n<tbody>\n<tr>"
        '<td style="text-align: left">&lt;sky&gt;</td><td style="text-align: right">0.5</td>'
        "</tr>\n<tr>"
        '<td style="text-align: left">a</td><td style="text-align: right">1</td>'
        "</tr>\n</tbody>\n</table>"
    )


def test_a_column_with_words_is_no_column_of_numbers():
    assert Table([{"a": 1, "b": 2}, {"a": "-", "b": 3}], digits=1).numeric == [False, True]


@pytest.mark.parametrize("rows", [[], [{"a": 1}, {"b": 1}]])
def test_a_table_of_unlike_rows_is_refused(rows):
    with pytest.raises(ValueError, match="same keys"):
        show_table(rows)


@pytest.mark.parametrize(
    "value, text",
    [
        (torch.tensor(0.5, dtype=torch.bfloat16), "0.50"),
        (torch.tensor(0.5, dtype=torch.float16), "0.50"),
        (torch.tensor(3, dtype=torch.uint16), "3"),
        (torch.tensor(True), "True"),
        (np.float16(0.5), "0.50"),
        (np.int8(-1), "-1"),
        (None, "None"),
    ],
)
def test_numbers_of_every_type(value, text, capsys):
    show_table([{"a": value}], digits=2)
    assert capsys.readouterr().out.splitlines()[-1].strip() == text
