"""Benchmarks store what one needs to repeat them, and what they stored is complete."""

import json
from pathlib import Path

import pytest

from benchmarks import report

RESULTS = sorted(report.RESULTS.glob("*.json"))


def test_a_report_carries_versions_and_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    path = report.write("speed", {"ratio": 2.0})
    stored = json.loads(path.read_text())
    assert stored["ratio"] == 2.0 and list(path.parent.iterdir()) == [path]
    assert stored["environment"]["packages"].keys() == set(report.PACKAGES)


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    path = report.write("speed", {"ratio": 2.0})
    with pytest.raises(TypeError):
        report.write("speed", {"ratio": object()})
    assert json.loads(path.read_text())["ratio"] == 2.0


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_what_is_stored_says_where_it_comes_from(path):
    stored = json.loads(path.read_text())
    assert {"python", "packages", "machine", "threads"} <= stored["environment"].keys()
    assert len(stored) > 1


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_result_has_the_script_that_made_it(path):
    root = Path(__file__).parents[1]
    makers = [root / "benchmarks" / f"{path.stem}.py", root / "tools" / f"{path.stem}.py",
              root / "benchmarks" / f"{path.stem.split('_')[0]}.py"]  # fmt: skip
    assert any(maker.exists() for maker in makers)
