"""Benches of long runs: their options and length, runs side by side, results renewed in part."""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from torch import nn
from torch.utils.data import Dataset

from benchmarks.report import RESULTS, write
from segcourse.data.sample import batches
from segcourse.training import fit

SEEDS = (0, 1, 2)


def parser(description: str, names: Iterable[str], steps: int) -> argparse.ArgumentParser:
    """The options that all of these benches have."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--only", nargs="+", choices=list(names), default=list(names))
    made.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    made.add_argument("--steps", type=int, default=steps)
    made.add_argument("--jobs", type=int, default=1, help="runs side by side, a core each")
    made.add_argument("--dry", action="store_true", help="print, and write nothing")
    return made


def stored(name: str, part: str, settings: dict, options: argparse.Namespace) -> dict:
    """What results/<name>.json says of things that are not run again, before the runs begin.

    Raises:
        SystemExit: if it was made with other settings, which one table must not mix.
    """
    path = RESULTS / f"{name}.json"
    if options.dry or not path.exists():
        return {}
    content = json.loads(path.read_text())
    kept = {key: row for key, row in content[part].items() if key not in options.only}
    other = {key for key, value in settings.items() if content.get(key) != value}
    if kept and other:
        raise SystemExit(
            f"results/{name}.json keeps {', '.join(kept)}, which were run with another "
            f"{', '.join(sorted(other))}: use --dry to print only, or run all of them again."
        )
    return kept


def side_by_side(
    run: Callable[..., dict], options: argparse.Namespace, *arguments: object
) -> dict[str, list[dict]]:
    """``run(name, seed, *arguments)`` of all names and seeds, each in a process of its own."""
    tasks = [(name, seed, *arguments) for name in options.only for seed in options.seeds]
    with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=1) as pool:
        results = pool.starmap(run, tasks, chunksize=1)
    found: dict[str, list[dict]] = {name: [] for name in options.only}
    for (name, *_), result in zip(tasks, results, strict=True):
        found[name].append(result)
    return found


def steps_in(minutes: float, model: nn.Module, loss: Callable, data: Dataset, batch: int) -> int:
    """Steps that fit into minutes of the processor, judged by a few of a throw-away network."""
    few = list(islice(batches(data, batch_size=batch), 8))
    fit(model, loss, few, steps=2, progress=False)
    started = time.process_time()
    fit(model, loss, few, steps=len(few), progress=False)
    return max(int(60 * minutes * len(few) / (time.process_time() - started)), 1)


def means(found: list[dict]) -> dict[str, float]:
    """The mean over the runs of every number that is no whole one."""
    numbers = [key for key, value in found[0].items() if isinstance(value, float)]
    return {key: round(statistics.mean(each[key] for each in found), 4) for key in numbers}


def in_order(names: Sequence[str] | dict, rows: dict) -> dict:
    """The rows in the order of the names, whenever they were run."""
    return {name: rows[name] for name in names if name in rows}


def renew(
    name: str,
    part: str,
    names: Sequence[str] | dict,
    run: Callable[..., dict],
    settings: dict,
    options: argparse.Namespace,
    *arguments: object,
) -> None:
    """Run what is chosen, print it, and renew that part of results/<name>.json.

    Raises:
        SystemExit: as ``stored``.
    """
    rows = stored(name, part, settings, options)
    for each, found in side_by_side(run, options, *arguments).items():
        rows[each] = {**means(found), "runs": found}
        print(each, rows[each], flush=True)
    if not options.dry:
        write(name, {**settings, part: in_order(names, rows)})
