"""Weights that come with the course: they load, they are what was measured, nothing else does."""

import json
import shutil

import pytest
import torch
from torch import nn

from benchmarks.architectures import TEST_SEED
from benchmarks.detectors import box_scores, look, scenes
from benchmarks.pretrained import BUILD
from benchmarks.report import RESULTS
from segcourse import pretrained
from segcourse.data.sample import Sample
from segcourse.models.panoptic_fpn import SemanticBranch
from segcourse.pretrained import FOLDER, LARGEST, code_of, load_pretrained, save_pretrained

STORED = json.loads((RESULTS / "pretrained.json").read_text())["weights"]


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return SemanticBranch(4, 2, 32, strides=(4, 8))


@pytest.fixture
def copy(tmp_path):
    """A copy of the course's weights of a Mask R-CNN, to be spoilt."""
    for kind in ("json", "safetensors"):
        shutil.copy(FOLDER / f"mask_rcnn.{kind}", tmp_path)
    return tmp_path


# ── those of the course ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", STORED)
def test_the_weights_load_into_their_network(name):
    torch.manual_seed(1)
    net = BUILD[name]()
    before = next(net.parameters()).clone()
    assert load_pretrained(net, name) is net and not net.training
    assert not torch.equal(next(net.parameters()), before)
    assert all(value.isfinite().all() for value in net.state_dict().values())


@pytest.mark.parametrize("name", STORED)
def test_what_is_stored_is_what_was_measured(name):
    passport = json.loads((FOLDER / f"{name}.json").read_text())
    path, row = FOLDER / f"{name}.safetensors", STORED[name]
    assert row["sha256"] == passport["sha256"] and row["bytes"] == path.stat().st_size <= LARGEST
    assert {"seed", "seconds", "AP50", "box_AP50"} <= row.keys()
    trainings = [value for key, value in row.items() if key.startswith(name)]
    assert trainings and all(each["steps"] > 0 for each in trainings)


def test_every_file_belongs_to_a_network():
    assert {path.stem for path in FOLDER.iterdir()} == set(STORED) <= set(BUILD)


def test_boxes_are_found_as_well_in_images_of_any_size():
    """Twenty scenes, of which rows and columns are cut off: strides do not divide these sides."""
    net, test = load_pretrained(BUILD["mask_rcnn"](), "mask_rcnn"), scenes(20, TEST_SEED)

    def box_ap(height: int, width: int) -> float:
        cut = [Sample(*(part[..., :height, :width] for part in sample)) for sample in test]
        return box_scores(look(net, cut))["box_AP"]

    whole = box_ap(192, 256)
    assert whole > 0.5
    assert abs(box_ap(191, 255) - whole) < 0.01 and abs(box_ap(188, 252) - whole) < 0.01


# ── saving and loading ──────────────────────────────────────────────────────────────────────────


def test_what_was_saved_is_loaded_in_half_precision(network, tmp_path):
    own = {name: value.clone() for name, value in network.state_dict().items()}
    path = save_pretrained(network, "branch", folder=tmp_path / "new")
    assert path == tmp_path / "new" / "branch.safetensors"
    other = load_pretrained(SemanticBranch(4, 2, 32, strides=(4, 8)), "branch", folder=path.parent)
    for name, value in other.state_dict().items():
        assert value.dtype == own[name].dtype
        assert torch.equal(value, own[name].half().to(own[name].dtype))


def test_counters_stay_whole(tmp_path):
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("steps", torch.tensor(123_457))

    save_pretrained(Counter(), "counter", folder=tmp_path)
    counter = Counter()
    counter.steps.zero_()
    assert int(load_pretrained(counter, "counter", folder=tmp_path).steps) == 123_457


def test_an_unknown_name_lists_the_others(copy):
    with pytest.raises(FileNotFoundError, match=r"no weights called 'yolo'.*\['mask_rcnn'\]"):
        load_pretrained(BUILD["mask_rcnn"](), "yolo", folder=copy)


def test_a_file_without_passport_is_none(copy):
    (copy / "mask_rcnn.json").unlink()
    with pytest.raises(FileNotFoundError, match="no weights called 'mask_rcnn'"):
        load_pretrained(BUILD["mask_rcnn"](), "mask_rcnn", folder=copy)


@pytest.mark.parametrize("spoil", [lambda c: c[:-1], lambda c: c[:-1] + b"x", lambda c: b""])
def test_a_damaged_file_is_refused(copy, spoil):
    path = copy / "mask_rcnn.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r"mask_rcnn.safetensors is not the file .* git checkout"):
        load_pretrained(BUILD["mask_rcnn"](), "mask_rcnn", folder=copy)


def test_changed_code_is_refused(copy, monkeypatch):
    net = BUILD["mask_rcnn"]()
    before = [value.clone() for value in net.state_dict().values()]
    monkeypatch.setattr(pretrained, "code_of", lambda model: "another")
    with pytest.raises(ValueError, match=r"code of MaskRCNN has changed.*--only mask_rcnn"):
        load_pretrained(net, "mask_rcnn", folder=copy)
    assert all(map(torch.equal, before, net.state_dict().values()))


def test_weights_of_another_network_are_refused(network, tmp_path):
    save_pretrained(network, "branch", folder=tmp_path)
    with pytest.raises(ValueError, match=r"another network than this SemanticBranch.*differ"):
        load_pretrained(SemanticBranch(4, 3, 32, strides=(4, 8)), "branch", folder=tmp_path)


def test_a_number_beyond_half_precision_is_refused(network, tmp_path):
    network.predictor.bias.data[0] = 1e6
    with pytest.raises(
        ValueError, match=r"predictor\.bias reaches 1e.06, which half precision cannot"
    ):
        save_pretrained(network, "branch", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_network_too_large_is_refused(tmp_path):
    with pytest.raises(ValueError, match="more than 4194304: build a smaller network"):
        save_pretrained(nn.Linear(2048, 1025), "large", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


# ── the fingerprint ─────────────────────────────────────────────────────────────────────────────


def test_the_fingerprint_covers_what_the_network_imports(monkeypatch, tmp_path, network):
    package = tmp_path / "segcourse"
    shutil.copytree(pretrained.PACKAGE, package)
    monkeypatch.setattr(pretrained, "PACKAGE", package)
    before = code_of(network)
    for file, belongs in [
        ("models/panoptic_fpn.py", True),
        ("blocks/conv.py", True),
        ("ops/boxes.py", True),  # through Mask R-CNN and the RPN
        ("models/unet.py", False),
        ("viz.py", False),
    ]:
        path = package / file
        content = path.read_text()
        path.write_text(content + "\nTRUTH = 42\n")
        assert (code_of(network) != before) is belongs, file
        path.write_text(content)
    assert code_of(network) == before
