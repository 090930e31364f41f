"""Which exercises are solved: remembered in one small file of the learner's own.

The file is ``progress.json`` in the folder that the environment variable SEGCOURSE_HOME names, or
else in the system's folder for application data.
"""

import json
import os
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from platformdirs import user_data_path

OURS = ("advice", "core", "progress", "results", "running")


def home() -> Path:
    """The folder in which the course remembers things."""
    return Path(os.environ.get("SEGCOURSE_HOME") or user_data_path("segcourse"))


def solved() -> list[str]:
    """Titles of the exercises that were solved, in the order of solving.

    A file that cannot be read counts as empty: progress must never stop a lesson.
    """
    try:
        titles = json.loads((home() / "progress.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(title) for title in titles] if isinstance(titles, list) else []


def record(title: str) -> None:
    """Remember that an exercise is solved; a folder that cannot be written is no obstacle."""
    titles = solved()
    if title in titles:
        return
    path = home() / "progress.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        draft.write_text(json.dumps([*titles, title], ensure_ascii=False), encoding="utf-8")
        os.replace(draft, path)
    except OSError:
        return


def catalogue() -> dict[str, list[str]]:
    """Titles of all exercises by chapter module, in the order of the chapters."""
    from segcourse import exercises
    from segcourse.exercises.core import Exercise

    chapters = {}
    for module in iter_modules(exercises.__path__):
        if module.name not in OURS:
            content = vars(import_module(f"segcourse.exercises.{module.name}"))
            titles = [item.title for item in content.values() if isinstance(item, Exercise)]
            chapters[module.name] = sorted(titles)
    return dict(sorted(chapters.items(), key=lambda item: item[1][:1]))


def show() -> None:
    """Print every exercise of the course, ticked where it is solved."""
    done = set(solved())
    for chapter, titles in catalogue().items():
        print(f"{chapter}: {sum(title in done for title in titles)} of {len(titles)} solved")
        for title in titles:
            print(f"  {'✓' if title in done else '○'} {title}")
