"""Measure how long every chapter takes on one thread: python -m tools.runtimes [stems ...]

Each notebook runs alone in a process of its own. Training time is the time of the cells that call
``fit``; memory is the kernel's peak. Writes results/runtimes.json, which the book shows.
Measure on a machine that does nothing else.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
from datetime import datetime

import jupytext
from nbclient import NotebookClient

from benchmarks import report
from tools.notebooks import FOLDER

GIB = 2**20  # ru_maxrss counts KiB on Linux


def main(arguments: list[str] | None = None) -> int:
    """Measure the chosen chapters, keeping what is known of the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="stems such as 08_unet; default: all")
    chosen = parser.parse_args(arguments).chapters
    os.environ["OMP_NUM_THREADS"] = "1"
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
    client = NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    )
    client.execute()
    seconds = {True: 0.0, False: 0.0}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            times = cell.metadata["execution"]
            begin = datetime.fromisoformat(times["iopub.execute_input"].replace("Z", "+00:00"))
            end = datetime.fromisoformat(times["shell.execute_reply"].replace("Z", "+00:00"))
            seconds["fit(" in cell.source] += (end - begin).total_seconds()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / GIB
    return {
        "seconds": round(sum(seconds.values()), 1),
        "training_seconds": round(seconds[True], 1),
        "peak_gib": round(peak, 2),
    }


if __name__ == "__main__":
    sys.exit(main())
