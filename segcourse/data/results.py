"""What the benchmarks measured (results/*.json), for chapters that cannot measure it live."""

import json
from pathlib import Path

_FOLDERS = (
    Path(__file__).parents[2] / "results",  # a checkout
    Path(__file__).parents[1] / "_results",  # an installed wheel carries a copy
)


def measured(name: str) -> dict:
    """The content of ``results/<name>.json``, as its benchmark wrote it.

    Raises:
        FileNotFoundError: if nothing of that name was measured.
    """
    for folder in _FOLDERS:
        path = folder / f"{name}.json"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
    known = sorted(path.stem for folder in _FOLDERS for path in folder.glob("*.json"))
    raise FileNotFoundError(
        f"there is no measurement named {name!r}, only {known}: run python -m benchmarks.{name}."
    )
