"""The report of a whole dataset: readable, and silent about clean data."""

from functools import partial

import pytest
import torch

from segcourse.data import transforms as T
from segcourse.data.camvid import CLASSES as CAMVID_CLASSES
from segcourse.data.camvid import CamVid
from segcourse.data.checklist import evenly, inspect
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.ops.labels import IGNORE


def test_the_report_is_a_table():
    text = str(inspect(Toytown(12), classes=CLASSES))
    lines = text.splitlines()
    assert lines[0] == "12 of 12 samples inspected: errors: 0, warnings: 0"
    assert any(line.startswith("✓ sizes") and "(96, 128)" in line for line in lines)
    assert lines[-8].split()[:2] == ["0", "sky"] and lines[-1].split()[1] == "lamp"
    assert max(map(len, lines)) < 100


def test_findings_carry_their_remedy_and_their_samples():
    dataset = T.Transformed(Toytown(12), lambda s: s._replace(semantic=s.semantic + 1))
    report = inspect(dataset, classes=CLASSES)
    text = str(report)
    assert "✗ ids" in text and "→ map them to classes" in text and "[samples 0, 1, 2" in text
    assert [each.check for each in report.errors] == ["ids"] and not report.warnings


def test_frequencies_count_every_class_and_void():
    report = inspect(Toytown(8, void=1), classes=CLASSES)
    names = [name for name, _, _ in report.frequencies]
    assert names == [f"{i} {name}" for i, name in enumerate(CLASSES)] + ["void"]
    assert sum(share for _, share, _ in report.frequencies) == pytest.approx(1)
    truth = torch.stack([Toytown(8, void=1)[i].semantic for i in range(8)])
    share = (truth == 0).float().mean().item()
    assert report.frequencies[0][1:] == (pytest.approx(share), 8)


def test_many_ids_without_a_class_share_one_row():
    def damaged(ids):
        stripes = torch.arange(128).remainder(ids) + len(CLASSES)

        def change(sample):
            mask = torch.where(sample.semantic == 2, stripes, sample.semantic)
            return sample._replace(semantic=mask)

        return inspect(T.Transformed(Toytown(4), change), classes=CLASSES).frequencies

    assert [name for name, _, _ in damaged(8)][-8:] == [str(label) for label in range(8, 16)]
    *rows, (name, share, samples) = damaged(9)
    assert (name, samples) == ("9 other ids", 4) and len(rows) == len(CLASSES)
    assert sum(row[1] for row in rows) + share == pytest.approx(1)


def test_the_limit_spreads_over_the_dataset():
    assert evenly(10, 4) == [0, 2, 5, 7] and evenly(3, 10) == [0, 1, 2]
    report = inspect(Toytown(100), classes=CLASSES, limit=10)
    assert (report.inspected, report.length) == (10, 100)


@pytest.mark.parametrize("names", [("background", "pet", "border"), ("sky", "road", "background")])
@pytest.mark.parametrize("instance", [True, False])
def test_a_truth_that_is_void_everywhere_is_one_error(names, instance):
    void = torch.full((20, 30), IGNORE)
    items = [(torch.rand(3, 20, 30), void, void * 0)[: 3 if instance else 2] for _ in range(6)]
    report = inspect(items, classes=names)
    assert [each.check for each in report.errors] == ["empty masks"]
    assert [each.check for each in report.warnings] == ["void"]
    assert report.frequencies[-1] == ("void", 1.0, 6) and "100.00%" in str(report)


def test_void_around_the_images_is_not_what_surrounds_them():
    labels = torch.full((40, 40), IGNORE)
    labels[4:36, 4:36] = 0
    labels[15:25, 15:25] = 1
    report = inspect([(torch.rand(3, 40, 40), labels)], classes=("background", "pet"))
    assert "names" not in [each.check for each in report.warnings]


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (16, 4000)])
def test_images_one_pixel_high_or_wide_are_inspected(size):
    items = [(torch.rand(3, *size), torch.randint(2, size)) for _ in range(6)]
    assert "6 of 6 samples inspected" in str(inspect(items, num_classes=2, other_split=items))


def test_gray_and_color_images_and_unreadable_ones_in_the_other_split():
    items = [(torch.rand(channels, 20, 30), torch.randint(2, (20, 30))) for channels in (1, 3, 4)]
    report = inspect(items, num_classes=2, other_split=[None, items[1]])
    assert [each.where for each in report.errors if each.check == "splits"] == [(1,)]


def test_nothing_readable_is_still_a_report():
    report = inspect([3, 4], num_classes=2)
    assert [each.check for each in report.errors] == ["loading"] and "0.00%" in str(report)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (partial(inspect, []), ValueError, "dataset of 0 samples"),
        (partial(inspect, Toytown(2), limit=0), ValueError, "limit=0"),
        (partial(inspect, Toytown(2), num_classes=0), ValueError, "num_classes=0"),
        (partial(inspect, iter([])), TypeError, r"list_iterator is no dataset: .*list\(\.\.\.\)"),
    ],
)
def test_impossible_inspections_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("split, other", [("train", "val"), ("val", "test"), ("test", "train")])
def test_camvid_has_no_errors(real_data, split, other):
    """Warnings are right there: val and test hold neighbouring frames of one video."""
    root = real_data("camvid")
    report = inspect(
        CamVid(root, split),
        classes=CAMVID_CLASSES,
        other_split=CamVid(root, other),
        limit=40,
    )
    assert not report.errors, str(report)
    assert {each.check for each in report.warnings} <= {"duplicates"}


@pytest.mark.parametrize("size", [(90, 120), (45, 60)])
def test_small_camvid_has_no_errors(real_data, size):
    dataset = T.Transformed(CamVid(real_data("camvid")), T.resize(size))
    report = inspect(dataset, classes=CAMVID_CLASSES, limit=40)
    assert not report.errors and not report.warnings, str(report)


def test_camvid_with_swapped_draws_is_noticed(real_data):
    g = torch.Generator().manual_seed(0)
    flip = T.random_flip(generator=g)
    frames = CamVid(real_data("camvid"))
    small = [T.resize((180, 240))(frames[i]) for i in range(0, 360, 20)]
    report = inspect([(flip(s).image, flip(s).semantic) for s in small], classes=CAMVID_CLASSES)
    assert [each.check for each in report.errors] == ["alignment"], str(report)
