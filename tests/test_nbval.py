"""nbval notices what matters: a changed number, shape, count or word in a stored output."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from conftest import align  # noqa: E402


@pytest.mark.parametrize(
    "stored, found, tolerance, equal",
    [
        ("mIoU 0.812", "mIoU 0.815", 0.01, True),
        ("mIoU 0.812", "mIoU 0.832", 0.01, False),
        ("mIoU 0.812", "mIoU 0.822", 0.01, True),  # the tolerance itself is allowed
        ("8 classes, 0.5", "9 classes, 0.5", 1.0, False),  # integers are exact
        ("car 0.5", "cat 0.5", 1.0, False),  # words are exact
        ("(2, 8, 96, 128)", "(2, 8, 96, 127)", 1.0, False),
        ("a  9.99", "a 10.01", 0.05, True),  # alignment is not content
        ("nan", "0.1", 1.0, False),
        ("-0.01", "0.01", 0.05, True),
        ("1e-3 x", "2e-3 x", 1.0, False),  # not a decimal: exact
    ],
)
def test_decimals_have_a_tolerance_and_nothing_else_does(stored, found, tolerance, equal):
    assert (align(stored, found, tolerance) == stored) is equal


CELLS = [
    ("import torch\ntorch.zeros(2, 3).shape", "torch.Size([2, 3])", []),
    ("print('mIoU', 0.5 + 0.25)", "mIoU 0.75\n", []),
    ("print(f'mIoU {0.8134:.4f} on', 64, 'scenes')", "mIoU 0.8120 on 64 scenes\n", ["tol=0.01"]),
]


def notebook(path: Path) -> nbformat.NotebookNode:
    new = nbformat.v4.new_notebook()
    for number, (source, output, tags) in enumerate(CELLS, start=1):
        cell = nbformat.v4.new_code_cell(source, execution_count=number, metadata={"tags": tags})
        if source.startswith("print"):
            cell.outputs = [nbformat.v4.new_output("stream", text=output)]
        else:
            result = {"text/plain": output}
            cell.outputs = [
                nbformat.v4.new_output("execute_result", data=result, execution_count=number)
            ]
        new.cells.append(cell)
    nbformat.write(new, path)
    return new


def run(folder: Path) -> tuple[int, str]:
    (folder / "conftest.py").write_text((ROOT / "conftest.py").read_text())
    (folder / "pytest.ini").write_text("[pytest]\n")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q",
         "-p", "no:cacheprovider", str(folder)],
        cwd=folder, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return result.returncode, result.stdout


def test_altered_outputs_fail_and_only_they(tmp_path):
    """One run over copies: the untouched one passes, each altered one fails in its own cell."""
    alterations = {
        "shape": ("Size([2, 3])", "Size([2, 4])"),
        "number": ("mIoU 0.75", "mIoU 0.76"),
        "metric": ("0.8120", "0.8250"),
        "count": ("on 64", "on 65"),
    }
    notebook(tmp_path / "untouched.ipynb")
    for name, (old, new) in alterations.items():
        path = tmp_path / f"{name}.ipynb"
        notebook(path)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
    status, report = run(tmp_path)
    failed = re.findall(r"FAILED (\w+)\.ipynb", report)
    assert status == 1 and sorted(failed) == sorted(alterations), report
