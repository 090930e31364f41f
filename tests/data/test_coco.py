"""COCO's files: a made-up one always, the official hundred images where they are, broken ones."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segcourse.data.coco import CocoInstances, read_panoptic
from segcourse.metrics.instance import (
    average_precision,
    coco_box_iou,
    coco_mask_iou,
    match_detections,
)
from segcourse.metrics.panoptic import mean_panoptic_quality, panoptic_counts
from segcourse.ops.rle import compress, encode_rle

SQUARE = [[1, 1, 4, 1, 4, 3, 1, 3]]


@pytest.fixture
def truth(tmp_path) -> Path:
    crowd = torch.zeros(4, 6, dtype=torch.bool)
    crowd[3] = True
    content = {
        "images": [{"id": 7, "height": 4, "width": 6}, {"id": 3, "height": 5, "width": 5}],
        "categories": [{"id": 1, "name": "car"}, {"id": 90, "name": "brush"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "segmentation": SQUARE,
             "bbox": [1, 1, 3, 2], "area": 5.5, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "segmentation": encode_rle(crowd),
             "bbox": [0, 3, 6, 1], "area": 6, "iscrowd": 1},
        ],
    }  # fmt: skip
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return path


def test_the_truth_image_by_image(truth):
    data = CocoInstances(truth)
    assert len(data) == 2 and data.categories == {1: "car", 90: "brush"}
    empty, full = data[0], data[1]
    assert (empty.image_id, full.image_id) == (3, 7)
    assert empty.boxes.shape == (0, 4) and empty.masks.shape == (0, 5, 5)
    assert full.boxes.tolist() == [[1, 1, 4, 3], [0, 3, 6, 4]]
    assert full.labels.tolist() == [90, 1] and full.crowd.tolist() == [False, True]
    assert full.areas.tolist() == [5.5, 6] and full.scores.tolist() == [1, 1]
    assert full.masks[0].sum() == 6 and full.masks[1, 3].all() and full.masks[1].sum() == 6


def test_results_of_masks_and_of_boxes(truth, tmp_path):
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[1:3, 2:4] = True
    common = {"image_id": 7, "category_id": 1, "score": 0.5}
    results = [{**common, "segmentation": compress(encode_rle(mask))},
               {**common, "bbox": [1, 1, 3, 2.5]}]  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(results))
    nothing, found = CocoInstances(truth).results(tmp_path / "results.json")
    assert nothing.boxes.shape == (0, 4)
    assert torch.equal(found.masks[0], mask)
    assert found.boxes.tolist() == [[2, 1, 4, 3], [1, 1, 4, 3.5]]
    assert found.areas.tolist() == [4, 7.5] and found.scores.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_the_official_hundred_images(real_data, kind):
    """Polygons, run-length codes, crowds and all twelve numbers, from the files to the end."""
    folder = real_data("coco_instances_100")
    data = CocoInstances(folder / "annotations" / "instances_val2014_100.json")
    found = data.results(folder / "results" / f"instances_val2014_fake{kind}100_results.json")
    matches = []
    for index, detected in enumerate(found):
        objects = data[index]
        if kind == "segm":
            overlap = coco_mask_iou(detected.masks, objects.masks, objects.crowd)
        else:
            overlap = coco_box_iou(detected.boxes, objects.boxes, objects.crowd)
        matches.append(
            match_detections(
                overlap,
                scores=detected.scores,
                labels=detected.labels,
                areas=detected.areas,
                target_labels=objects.labels,
                target_areas=objects.areas,
                iscrowd=objects.crowd,
            )
        )
    wanted = json.loads((folder / "expected_ap.json").read_text())[kind]
    assert list(average_precision(matches).values()) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    "change, remedy",
    [
        (lambda c: c.pop("categories"), "has no 'categories', only .* give an instances file"),
        (lambda c: c["annotations"][0].update(image_id=8), "record 0 .* image 8"),
        (
            lambda c: c["annotations"][1].update(category_id=0),
            "category 0.*count categories from 0",
        ),
        (lambda c: c["annotations"][1].update(bbox=[3, 3, -1, 1]), "x1 >= x0"),
        (
            lambda c: c["annotations"][1].update(segmentation={"size": [2, 2], "counts": [4]}),
            "resized image",
        ),
        (
            lambda c: c["annotations"][1].update(segmentation={"size": [4, 6], "counts": [4]}),
            "sum to 24, but .* sum to 4",
        ),
        (lambda c: c["annotations"][1].update(segmentation=None, bbox=None), "shows nothing"),
    ],
)
def test_broken_files_are_refused_with_the_remedy(truth, change, remedy):
    content = json.loads(truth.read_text())
    change(content)
    truth.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=remedy):
        CocoInstances(truth)[1]


def test_files_that_are_cut_or_of_another_kind(truth, tmp_path):
    truth.write_text(truth.read_text()[:40])
    with pytest.raises(ValueError, match=r"no JSON .*ends after 40 bytes; was the download cut"):
        CocoInstances(truth)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match="holds a list, but a dict is wanted"):
        CocoInstances(tmp_path / "list.json")
    with pytest.raises(FileNotFoundError):
        CocoInstances(tmp_path / "nowhere.json")


# ── panoptic ────────────────────────────────────────────────────────────────────────────────────


def test_a_panoptic_picture(tmp_path):
    ids = np.array([[0, 5], [70000, 70000]])
    rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    segments = [{"id": 5, "category_id": 90}, {"id": 70000, "category_id": 1, "iscrowd": 1}]
    got, crowd = read_panoptic(tmp_path / "a.png", segments, {1: 0, 90: 1})
    assert got.tolist() == [[255_000, 1001], [2, 2]]
    assert crowd.tolist() == [[False, False], [True, True]]
    with pytest.raises(ValueError, match="holds 1 segments that segments_info does not list"):
        read_panoptic(tmp_path / "a.png", segments[:1], {1: 0, 90: 1})


def test_the_reference_evaluators_pictures(real_data):
    folder = real_data("panoptic")
    files = folder / "pq_reference"
    truth = json.loads((files / "coco_gt.json").read_text())
    found = json.loads((files / "coco_pred.json").read_text())["annotations"]
    classes = {each["id"]: number for number, each in enumerate(truth["categories"])}
    predictions = {each["image_id"]: each for each in found}
    counts = 0
    for each in truth["annotations"]:
        other = predictions[each["image_id"]]
        ids, crowd = read_panoptic(
            files / "coco_gt" / each["file_name"], each["segments_info"], classes
        )
        guess, _ = read_panoptic(
            files / "coco_pred" / other["file_name"], other["segments_info"], classes
        )
        counts = counts + panoptic_counts(guess, ids, len(classes), crowd=crowd)
    expected = json.loads((folder / "expected_pq.json").read_text())["pq_reference"]["result"]
    things = [classes[each["id"]] for each in truth["categories"] if each["isthing"]]
    for group, values in mean_panoptic_quality(counts, things).items():
        assert values == pytest.approx(expected[group], abs=1e-6)
