"""How nbval compares a chapter's stored outputs with a new run.

Everything is compared exactly, with three exceptions: pictures (only that there is one), what goes
to stderr (progress bars, warnings), and the decimals in cells tagged ``tol=0.05``, which may
differ by so much, because training adds up numbers in an order that depends on the machine.
Integers and words are exact in those cells too.
"""

import copy
import os
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from hypothesis import HealthCheck, settings
from nbval.plugin import IPyNbCell

# A slow or busy computer is no fault of the code: no property test has a deadline.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+\.\d+(?:[eE][-+]?\d+)?(?![\w.]*\d)")
TEXTS = ("text/plain", "text/html", "text/markdown")


def align(reference: str, found: str, tolerance: float) -> str:
    """``reference`` if ``found`` differs from it only by decimals within the tolerance."""
    if skeleton(reference) != skeleton(found):
        return found
    pairs = zip(NUMBER.findall(reference), NUMBER.findall(found), strict=True)
    near = all(abs(float(a) - float(b)) <= tolerance * (1 + 1e-9) for a, b in pairs)
    return reference if near else found


def skeleton(text: str) -> list[str]:
    """A text without its decimals and without the spaces that align them."""
    return re.sub(r"─+", "─", NUMBER.sub("#", text)).split()


def tolerance_of(cell: nbformat.NotebookNode) -> float | None:
    """The tolerance that a cell's tag states, if any."""
    tags = [tag for tag in cell.metadata.get("tags", []) if tag.startswith("tol=")]
    return float(tags[0].removeprefix("tol=")) if tags else None


def comparable(outputs: list) -> list:
    """Outputs without stderr, and with figures reduced to the fact that there is one."""
    kept = [copy.deepcopy(out) for out in outputs if out.get("name") != "stderr"]
    for out in kept:
        if "image/png" in out.get("data", {}):
            out["data"]["text/plain"] = "<Figure>"
    return kept


compare_exactly = IPyNbCell.compare_outputs


def compare_outputs(self, test, ref, skip_compare=None):
    """nbval's comparison, after the decimals of tagged cells were aligned."""
    test, ref = comparable(test), comparable(ref)
    tolerance = tolerance_of(self.cell)
    if tolerance is not None:
        for found, stored in zip(test, ref, strict=False):
            if "text" in found and "text" in stored:
                found["text"] = align(stored["text"], found["text"], tolerance)
            for kind in TEXTS:
                if kind in found.get("data", {}) and kind in stored.get("data", {}):
                    found["data"][kind] = align(
                        stored["data"][kind], found["data"][kind], tolerance
                    )
    return compare_exactly(self, test, ref, skip_compare)


IPyNbCell.compare_outputs = compare_outputs


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A function that finds a folder of real data, or skips the test and says what it lacks.

    The data may not come with the course (licences differ), so most computers do not have it. The
    loaders are always tested on made-up copies of its layout.
    """

    def find(name: str) -> Path:
        base = os.environ.get("SEGCOURSE_DATA")
        if not base:
            pytest.skip(f"SEGCOURSE_DATA does not say where real data is; this needs {name}")
        if not Path(base, name).is_dir():
            pytest.skip(f"the folder that SEGCOURSE_DATA names holds no {name}")
        return Path(base, name)

    return find


@pytest.fixture(autouse=True)
def progress_of_its_own(monkeypatch, tmp_path_factory):
    """Tests never touch what the learner on this computer has solved."""
    monkeypatch.setenv("SEGCOURSE_HOME", str(tmp_path_factory.getbasetemp() / "home"))
