"""Benchmarks store what one needs to repeat them, and what they stored is complete."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import (
    architectures,
    camvid,
    instances,
    networks,
    object_metrics,
    peers,
    report,
    runs,
    training_step,
)

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


def test_camvid_without_data_says_what_to_fetch_and_where(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SEGCOURSE_DATA", str(tmp_path))
    assert camvid.main(["--model", "unet"]) != 0
    message = capsys.readouterr().err
    assert "701 frames with masks" in message and camvid.SOURCE in message
    assert "SEGCOURSE_DATA" in message and str(tmp_path) in message


@pytest.mark.parametrize("wrong", [["--model", "vgg"], ["--minutes", "0"], ["--height", "100"]])
def test_camvid_refuses_bad_arguments(wrong, capsys):
    with pytest.raises(SystemExit) as stopped:
        camvid.main(wrong)
    assert stopped.value.code == 2 and wrong[0] in capsys.readouterr().err


@pytest.mark.parametrize("model", ["fcn_8s", "pspnet", "gfrnet"])
def test_camvid_trains_and_writes_when_the_data_is_there(model, monkeypatch, tmp_path):
    """Six frames of noise in SegNet's layout, some unlabelled."""
    generator = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for folder in (split, f"{split}annot"):
            (tmp_path / "CamVid" / folder).mkdir(parents=True)
        lines = []
        for number in range(6):
            picture = generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            mask = np.kron(generator.integers(0, 12, (6, 8)), np.ones((8, 8))).astype(np.uint8)
            for folder, array in ((split, picture), (f"{split}annot", mask)):
                Image.fromarray(array).save(tmp_path / "CamVid" / folder / f"{number}.png")
            lines.append(f"{split}/{number}.png {split}annot/{number}.png")
        (tmp_path / "CamVid" / f"{split}.txt").write_text("\n".join(lines))
    monkeypatch.setenv("SEGCOURSE_DATA", str(tmp_path))
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(camvid, "FIGURES", tmp_path / "figures")
    threads = torch.get_num_threads()
    assert camvid.main(["--model", model, "--minutes", "0.002", "--height", "48"]) == 0
    torch.set_num_threads(threads)
    stored = json.loads((tmp_path / "results" / f"camvid_{model}.json").read_text())
    assert stored["iou"].keys() == set(camvid.CLASSES) and 0 <= stored["miou"] <= 1
    assert {"steps", "seconds", "seed", "environment"} <= stored.keys()
    assert (tmp_path / "figures" / f"camvid_{model}.png").exists()


def test_the_reference_of_the_training_step_is_the_same_network():
    ours, plain = training_step.ours().eval(), training_step.Plain(8, 12).eval()
    weights = zip(plain.state_dict(), ours.state_dict().values(), strict=True)
    plain.load_state_dict(dict(weights))
    image = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        assert torch.allclose(ours(image), plain(image), atol=1e-5)
    assert training_step.parameters(ours) == training_step.parameters(plain)


def test_the_architectures_go_through_camvid_too(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SEGCOURSE_DATA", str(tmp_path))
    assert architectures.main(["--data", "camvid", "--only", "unet"]) == camvid.MISSING
    assert "701 frames with masks" in capsys.readouterr().err


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_every_stage_is_supervised_at_its_own_size(name):
    image, truth = torch.rand(2, 3, 96, 128), torch.randint(3, (2, 96, 128))
    stages = list(networks.every_stage(networks.NETWORKS[name](3), image, truth, auxiliary=0.4))
    weights = [weight for weight, _, _ in stages]
    assert weights[-1] == 1 and set(weights[:-1]) <= {0.4}
    for _, logits, labels in stages:
        assert logits.shape == (2, 3, *labels.shape[1:])
    assert torch.equal(stages[-1][2], truth)
    sizes = [tuple(labels.shape[1:]) for _, _, labels in stages]
    own = [(3, 4), (6, 8), (12, 16), (24, 32), (48, 64)] if name == "gfrnet" else sizes[:-1]
    assert sizes == [*own, (96, 128)]


@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_is_as_large_as_our_network(name):
    changes, _, build = peers.PEERS[name]
    ours = peers.parameters(networks.NETWORKS[name](peers.K, **changes))
    assert peers.parameters(build()) == pytest.approx(ours, rel=0.03)


@pytest.mark.parametrize("arm", ["mask_scoring", "yardstick"])
def test_detectors_are_trained_and_scored_alike(arm, monkeypatch):
    monkeypatch.setattr(instances, "TRAINING", {**instances.TRAINING, "scenes": 4})
    monkeypatch.setattr(instances, "SCORED", 1)
    found = instances.run(arm, seed=0, steps=1, scored=4)
    assert 0 <= found["AP"] <= 1 and found["AP50_by_class"].keys() == {"car", "person", "lamp"}
    assert found["training_seconds"] > 0 and found["steps"] == 1


def test_the_truth_scores_perfectly(monkeypatch):
    test = instances.scenes(3, seed=2)

    class Truth:
        def __call__(self, images):
            [sample] = [each for each in test if torch.equal(each.image, images[0])]
            boxes, labels, masks = instances.objects_of(sample)
            scores = torch.linspace(1, 0.5, len(labels))
            return [instances.Detections(boxes, labels, scores, masks.float(), scores)]

    found = instances.scores(Truth(), test)
    assert found["AP"] == found["AR100"] == found["AP_by_class_score"] == 1


def test_peers_of_the_metrics_of_objects_agree(monkeypatch):
    monkeypatch.setattr(object_metrics, "SCENES", 4)
    monkeypatch.setattr(object_metrics, "seconds", lambda task: 1.0)
    assert 0 < object_metrics.compare_ap()["AP"] < 1
    assert 0 < object_metrics.compare_pq()["PQ"] < 1


def settings_of(steps: int) -> dict:
    return {"scenes": 4, "steps": steps}


def renewed(name: str, *arguments: str):
    return runs.parser("A bench.", ["a", "b"], steps=9).parse_args(["--only", name, *arguments])


def test_rows_that_are_not_run_again_are_kept_in_their_order(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    assert runs.stored("bench", "rows", settings_of(9), renewed("a")) == {}
    content = {**settings_of(9), "rows": {"b": {"miou": 0.5}, "a": {"miou": 0.4}}}
    (tmp_path / "bench.json").write_text(json.dumps(content))
    kept = runs.stored("bench", "rows", settings_of(9), renewed("a"))
    assert kept == {"b": {"miou": 0.5}}
    assert list(runs.in_order(["a", "b"], {**kept, "a": {}})) == ["a", "b"]


def test_one_table_does_not_mix_settings(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    content = {**settings_of(9), "rows": {"b": {}, "a": {}}}
    (tmp_path / "bench.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit, match="keeps b, which were run with another steps: use --dry"):
        runs.stored("bench", "rows", settings_of(3), renewed("a"))
    assert runs.stored("bench", "rows", settings_of(3), renewed("a", "--dry")) == {}
    (tmp_path / "bench.json").write_text(json.dumps({**content, "rows": {"a": {}}}))
    assert runs.stored("bench", "rows", settings_of(3), renewed("a")) == {}
