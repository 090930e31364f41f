"""The benchmark of the random forest: its scores by hand, its quick run, its stored file."""

import json

import pytest
import torch

from benchmarks import forest, report
from segcourse.data.toytown import CLASSES


def test_shares_are_those_of_the_true_class():
    road, building = CLASSES.index("road"), CLASSES.index("building")
    matrix = torch.eye(len(CLASSES), dtype=torch.int64) * 10  # rows: truth, columns: prediction
    matrix[road, building], matrix[building, road] = 30, 10
    found = forest.scores(matrix)
    assert found["road_as_building"] == 0.75 and found["building_as_road"] == 0.5
    assert found["iou"]["road"] == pytest.approx(10 / 50, abs=1e-4)


def test_quick_run_leaves_the_stored_file_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(forest, "TREES", 3)
    monkeypatch.setattr(forest, "FEATURES", {"colour": {"sigmas": ()}})
    forest.main(["--quick"])
    assert [path.name for path in tmp_path.iterdir()] == ["forest_quick.json"]
    stored = json.loads((tmp_path / "forest_quick.json").read_text())
    assert set(stored["arms"]) == set(forest.WORLDS)
    assert all(len(runs) == 1 for arms in stored["arms"].values() for runs in arms.values())


def test_the_stored_file_has_every_run():
    stored = json.loads((report.RESULTS / "forest.json").read_text())
    assert stored["seeds"] == list(forest.SEEDS) and stored["trees"] == forest.TREES
    assert {world: set(arms) for world, arms in stored["arms"].items()} == {
        world: set(forest.FEATURES) for world in forest.WORLDS
    }
    runs = [run for arms in stored["arms"].values() for each in arms.values() for run in each]
    assert len(runs) == len(forest.SEEDS) * len(forest.WORLDS) * len(forest.FEATURES)
    assert all(0 < run["miou"] < 1 and set(run["iou"]) == set(CLASSES) for run in runs)
