"""Measure how long every chapter takes on one thread: python -m tools.runtimes [stems ...]

Each notebook runs in a process of its own. Seconds are processor time on one thread, which other
programs on the machine disturb little; training time is that of the cells that call ``fit``, or a
function of the chapter that trains; memory is the kernel's peak. Writes
results/runtimes.json, which the book shows.
"""

import argparse
import ast
import json
import multiprocessing
import os
import resource
import sys

import jupytext
import psutil
import torch
from nbclient import NotebookClient
from nbformat import NotebookNode

from benchmarks import report
from tools.notebooks import FOLDER

GIB = 2**20  # ru_maxrss counts KiB on Linux


def main(arguments: list[str] | None = None) -> int:
    """Measure the chosen chapters, keeping what is known of the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="stems such as 08_unet; default: all")
    chosen = parser.parse_args(arguments).chapters
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    stems = [path.stem for path in sorted(FOLDER.glob("[0-9][0-9]_*.py"))]
    path = report.RESULTS / "runtimes.json"
    known = json.loads(path.read_text())["chapters"] if path.exists() else {}
    measured = {stem: known[stem] for stem in stems if stem in known}
    for stem in chosen or stems:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            measured[stem] = pool.apply(measure, (stem,))
        print(stem, measured[stem], flush=True)
    report.write("runtimes", {"chapters": {stem: measured[stem] for stem in sorted(measured)}})
    return 0


def measure(stem: str) -> dict[str, float]:
    """Seconds in all, seconds of training, and peak memory in GiB of one notebook."""
    notebook = jupytext.read(FOLDER / f"{stem}.py")
    training, begin = 0.0, 0.0
    train = trainers([cell.source for cell in notebook.cells if cell.cell_type == "code"])

    def used() -> float:
        times = psutil.Process(client.km.provisioner.pid).cpu_times()
        return times.user + times.system

    def before(cell: NotebookNode, cell_index: int) -> None:
        nonlocal begin
        begin = used()

    def after(cell: NotebookNode, cell_index: int, execute_reply: dict) -> None:
        nonlocal training
        training += used() - begin if called(cell.source) & train else 0.0

    client = NotebookClient(
        notebook,
        timeout=900,
        kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},
        on_cell_execute=before,
        on_cell_executed=after,
    )
    client.execute()
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": round(spent.ru_utime + spent.ru_stime, 1),
        "training_seconds": round(training, 1),
        "peak_gib": round(spent.ru_maxrss / GIB, 2),
    }


def trainers(sources: list[str]) -> set[str]:
    """The functions that train: ``fit``, steps of an optimizer, and what calls these in turn."""
    defined = {
        node.name: called(ast.unparse(node))
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    }
    found = {"fit", "step"}
    while more := {name for name, calls in defined.items() if calls & found} - found:
        found |= more
    return found


def called(source: str) -> set[str]:
    """The names of functions and methods that code calls."""
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {getattr(each, "id", getattr(each, "attr", "")) for each in calls}


if __name__ == "__main__":
    sys.exit(main())
