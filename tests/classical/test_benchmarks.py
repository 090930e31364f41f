"""The benchmarks of the random forest and of all methods: scores, partial runs, stored files."""

import json

import pytest
import torch

from benchmarks import classical, classical_objects, forest, report
from segcourse.data.sample import Sample
from segcourse.data.toytown import CLASSES

STORED = json.loads((report.RESULTS / "classical.json").read_text())


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


def test_a_box_ends_at_the_border_of_the_image():
    mask = torch.zeros(40, 60, dtype=torch.bool)
    mask[:20, 10:58] = True
    assert classical_objects.box_around(mask) == (8, 0, 60, 22)


def test_only_what_depends_on_the_boxes_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(classical_objects, "METHODS", {"the box": classical_objects.the_box})
    monkeypatch.setattr(classical, "grabcut_energies", lambda name, sample: {"of": name})
    before = {**STORED, "environment": {"machine": "of yesterday"}}
    before.pop("environment_of_the_rest", None)
    before["references"] = {"square": {"grabcut_energy": 0, "kmeans_energy": 1}}
    (tmp_path / "classical.json").write_text(json.dumps(before))
    instance = torch.zeros(20, 30, dtype=torch.long)
    instance[5:15, 5:15] = 1
    samples = {"square": Sample(torch.rand(3, 20, 30), instance, instance)}
    monkeypatch.setattr(classical.photographs, "load_photographs", lambda longest: samples)
    monkeypatch.setattr(classical, "Toytown", lambda count, seed: list(samples.values()))
    threads = torch.get_num_threads()
    classical.main(["--only", "boxes"])
    torch.set_num_threads(threads)
    after = json.loads((tmp_path / "classical.json").read_text())
    assert after["environment_of_the_rest"] == {"machine": "of yesterday"}
    expected = {"grabcut_energy": {"of": "square"}, "kmeans_energy": 1}
    assert after["references"] == {"square": expected}
    for name in ("photographs", "toytown"):
        row, old = after[name].pop("objects")["the box"], before[name]["objects"]["the box"]
        assert row["seconds"] == old["seconds"] and row["iou"] == pytest.approx(100 / 196)
        assert after[name] == {k: v for k, v in before[name].items() if k != "objects"}


def test_tables_with_other_settings_are_not_mixed(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    (tmp_path / "classical.json").write_text(json.dumps({**STORED, "seed": 1}))
    with pytest.raises(SystemExit, match="another seed: run everything"):
        classical.renewed({"longest": STORED["longest"], "seed": STORED["seed"]}, {}, {})


def test_the_stored_table_of_objects_is_whole():
    for name, count in (("photographs", 8), ("toytown", STORED["scenes"])):
        rows = STORED[name]["objects"]
        assert list(rows) == list(classical_objects.METHODS)
        assert all(len(row["iou_of_pictures"]) == count for row in rows.values())
