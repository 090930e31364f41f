"""Tables are aligned text."""

import numpy as np
import pytest
import torch

from segcourse.tables import print_table


def test_a_table_is_aligned_text(capsys):
    print_table([{"class": "sky", "IoU": 0.5}, {"class": "lamp post", "IoU": float("nan")}])
    assert capsys.readouterr().out.splitlines() == [
        "class        IoU",
        "─────────  ─────",
        "sky        0.500",
        "lamp post    nan",
    ]


@pytest.mark.parametrize("rows", [[], [{"a": 1}, {"b": 1}]])
def test_a_table_of_unlike_rows_is_refused(rows):
    with pytest.raises(ValueError, match="same keys"):
        print_table(rows)


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
    print_table([{"a": value}], digits=2)
    assert capsys.readouterr().out.splitlines()[-1].strip() == text
