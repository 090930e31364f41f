"""COCO's files: a made-up one always, the official hundred images where they are, broken ones."""

import contextlib
import copy
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segcourse.data.coco import CocoInstances, read_panoptic
from segcourse.metrics.instance import (
    average_precision,
    coco_box_iou,
    coco_mask_iou,
    match_detections,
)
from segcourse.metrics.panoptic import mean_panoptic_quality, panoptic_counts
from segcourse.ops.instances import check_instances
from segcourse.ops.rle import compress, encode_rle, rle_box

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
    assert len(data) == 2 and data.image_ids == [3, 7] and data.size(7) == (4, 6)
    assert data.category_ids == [1, 90] and data.categories == ["car", "brush"]
    empty, full = data[0], data[1]
    assert (empty.image_id, full.image_id) == (3, 7)
    boxes, labels, masks = empty.instances
    assert boxes.shape == (0, 4) and labels.shape == (0,) and masks.shape == (0, 5, 5)
    boxes, labels, masks = full.instances
    assert boxes.tolist() == [[1, 1, 4, 3], [0, 3, 6, 4]]
    assert labels.tolist() == [1, 0]  # places in category_ids
    assert full.crowd.tolist() == [False, True] and full.areas.tolist() == [5.5, 6]
    assert masks[0].sum() == 6 and masks[1, 3].all() and masks[1].sum() == 6
    check_instances(full.instances, data.size(7), len(data.category_ids))


def test_results_of_masks_and_of_boxes(truth, tmp_path):
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[1:3, 2:4] = True
    common = {"image_id": 7, "category_id": 1, "score": 0.5}
    results = [{**common, "segmentation": compress(encode_rle(mask))},
               {**common, "bbox": [1, 1, 3, 2.5]}]  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(results))
    nothing, found = CocoInstances(truth).results(tmp_path / "results.json")
    assert nothing.instances.boxes.shape == (0, 4) and nothing.scores.shape == (0,)
    assert torch.equal(found.instances.masks[0], mask)
    assert found.instances.boxes.tolist() == [[2, 1, 4, 3], [1, 1, 4, 3.5]]
    assert found.instances.labels.tolist() == [0, 0]
    assert found.areas.tolist() == [4, 7.5] and found.scores.tolist() == [0.5, 0.5]


def pycocotools_results(truth: Path, results: list[dict]) -> tuple[COCO, COCO]:
    """Truth and results as pycocotools reads them."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(truth)
        return coco, coco.loadRes(copy.deepcopy(results))


@pytest.mark.parametrize("parts", [("bbox",), ("segmentation",), ("bbox", "segmentation")])
def test_areas_of_results_are_those_of_pycocotools(truth, tmp_path, parts):
    """With a bbox, width x height wins over the mask, and over an area in the file."""
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[1:3, 2:4] = True
    results = []
    for k in range(3):
        both = {"bbox": [1, 1, 3.5, k + 0.5], "segmentation": compress(encode_rle(mask.roll(k, 1)))}
        own = {"image_id": 7, "category_id": 1, "score": 0.5, "area": 77}
        results.append(own | {part: both[part] for part in parts})
    (tmp_path / "results.json").write_text(json.dumps(results))
    found = CocoInstances(truth).results(tmp_path / "results.json")[1]
    records = pycocotools_results(truth, results)[1].loadAnns([1, 2, 3])
    assert found.areas.tolist() == [each["area"] for each in records]
    x0, y0, x1, y1 = found.instances.boxes.unbind(dim=1)
    wanted = [list(each["bbox"]) for each in records]
    assert torch.stack([x0, y0, x1 - x0, y1 - y0], dim=1).tolist() == wanted


def test_a_score_is_required_and_a_results_file_may_be_empty(truth, tmp_path):
    data = CocoInstances(truth)
    (tmp_path / "results.json").write_text("[]")
    assert [len(each.scores) for each in data.results(tmp_path / "results.json")] == [0, 0]
    for score in (None, "high", float("nan")):
        record = {"image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1], "score": score}
        (tmp_path / "results.json").write_text(json.dumps([record]))
        with pytest.raises(ValueError, match=r"the score .* must be a finite number"):
            data.results(tmp_path / "results.json")


def our_ap(data: CocoInstances, results: Path, kind: str) -> list[float]:
    """The twelve numbers of masks ("segm") or boxes ("bbox")."""
    matches = []
    for target, found in zip(data, data.results(results), strict=True):
        objects, detected = target.instances, found.instances
        if kind == "segm":
            overlap = coco_mask_iou(detected.masks, objects.masks, target.crowd)
        else:
            overlap = coco_box_iou(detected.boxes, objects.boxes, target.crowd)
        matches.append(
            match_detections(
                overlap,
                scores=found.scores,
                labels=detected.labels,
                areas=found.areas,
                target_labels=objects.labels,
                target_areas=target.areas,
                iscrowd=target.crowd,
            )
        )
    return list(average_precision(matches).values())


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_the_official_hundred_images(real_data, kind):
    """Polygons, run-length codes, crowds and all twelve numbers, from the files to the end."""
    folder = real_data("coco_instances_100")
    data = CocoInstances(folder / "annotations" / "instances_val2014_100.json")
    results = folder / "results" / f"instances_val2014_fake{kind}100_results.json"
    wanted = json.loads((folder / "expected_ap.json").read_text())[kind]
    assert our_ap(data, results, kind) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_results_of_masks_with_boxes_score_as_in_pycocotools(real_data, tmp_path, kind):
    """Boxes half as high as their masks move detections from one range of areas to another."""
    folder = real_data("coco_instances_100")
    truth = folder / "annotations" / "instances_val2014_100.json"
    file = folder / "results" / "instances_val2014_fakesegm100_results.json"
    results = json.loads(file.read_text())
    for each in results:
        x0, y0, x1, y1 = rle_box(each["segmentation"])
        each["bbox"] = [x0, y0, x1 - x0, (y1 - y0) / 2]
    (tmp_path / "results.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(*pycocotools_results(truth, results), kind)
        evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    found = our_ap(CocoInstances(truth), tmp_path / "results.json", kind)
    assert found == pytest.approx(list(evaluation.stats), abs=1e-9)


# ── what other programs write ───────────────────────────────────────────────────────────────────

VARIANTS = {
    "null area": lambda c: c["annotations"][1].update(area=None),
    "no area": lambda c: c["annotations"][1].pop("area"),
    "area as text": lambda c: c["annotations"][0].update(area="5.5"),
    "ids as text": lambda c: (c["annotations"][0].update(image_id="7", category_id="90"),
                              c["images"][1].update(id="3")),
    "ids as floats": lambda c: (c["annotations"][0].update(image_id=7.0, category_id=90.0),
                                c["categories"][0].update(id=1.0)),
    "sizes as text": lambda c: c["images"][0].update(height="4", width=6.0),
    "flags as text": lambda c: (c["annotations"][0].update(iscrowd="0"),
                                c["annotations"][1].update(iscrowd="true")),
    "flags as booleans": lambda c: (c["annotations"][0].update(iscrowd=False),
                                    c["annotations"][1].update(iscrowd=True)),
    "null flag": lambda c: c["annotations"][0].update(iscrowd=None),
    "null bbox": lambda c: c["annotations"][0].update(bbox=None),
    "empty bbox": lambda c: c["annotations"][0].update(bbox=[]),
    "bbox as text": lambda c: c["annotations"][0].update(bbox=["1", "1", "3", "2"]),
    "empty polygons": lambda c: c["annotations"][0].update(segmentation=[*SQUARE, []]),
    "one flat polygon": lambda c: c["annotations"][0].update(segmentation=SQUARE[0]),
    "polygon as text": lambda c: c["annotations"][0].update(segmentation=[[*map(str, SQUARE[0])]]),
    "no segmentation": lambda c: c["annotations"][0].update(segmentation=[]),
    "empty segmentation": lambda c: c["annotations"][0].update(segmentation=[[]]),
    "null segmentation": lambda c: c["annotations"][0].update(segmentation=None),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_files_of_other_programs_mean_the_same(truth, name):
    wanted, content = CocoInstances(truth)[1], json.loads(truth.read_text())
    VARIANTS[name](content)
    truth.write_text(json.dumps(content))
    data = CocoInstances(truth)
    assert data.image_ids == [3, 7] and data.category_ids == [1, 90]
    found = data[1]
    for a, b in zip(found.instances, wanted.instances, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(found.areas, wanted.areas) and torch.equal(found.crowd, wanted.crowd)


@pytest.mark.parametrize("head", [b"\xef\xbb\xbf", b""])
def test_a_byte_order_mark_windows_lines_and_letters_of_any_script(truth, head):
    content = json.loads(truth.read_text())
    content["categories"][0]["name"] = "Größe 车"
    text = json.dumps(content, ensure_ascii=False, indent=1).replace("\n", "\r\n")
    truth.write_bytes(head + text.encode())
    assert CocoInstances(truth).categories == ["Größe 车", "brush"]
    truth.write_bytes(text.replace("车", "").encode("latin-1"))
    with pytest.raises(ValueError, match=r"instances.json is no text in UTF-8"):
        CocoInstances(truth)


def test_images_one_pixel_high_or_wide(truth):
    content = json.loads(truth.read_text())
    content["images"] = [{"id": 7, "height": 1, "width": 6}, {"id": 3, "height": 5, "width": 1}]
    content["annotations"] = [
        {"image_id": 7, "category_id": 1, "segmentation": [[1, 0, 4, 0, 4, 1, 1, 1]]},
        {"image_id": 3, "category_id": 1, "bbox": [0, 1, 1, 3]},
    ]
    truth.write_text(json.dumps(content))
    tall, wide = CocoInstances(truth)
    assert tall.instances.masks[0, :, 0].tolist() == [False, True, True, True, False]
    assert wide.instances.masks[0, 0].tolist() == [False, True, True, True, False, False]
    assert wide.instances.boxes.tolist() == [[1, 0, 4, 1]] and tall.areas.tolist() == [3]


@pytest.mark.parametrize(
    "change, remedy",
    [
        (lambda c: c.pop("categories"), "has no list 'categories', only .* give an instances file"),
        (lambda c: c.update(annotations=None), "has no list 'annotations'"),
        (lambda c: c["images"][1].update(id=7), "two images with the id 7.*Renumber"),
        (lambda c: c["images"][1].update(id="7"), "two images with the id 7.*Renumber"),
        (lambda c: c["categories"][1].update(id=1), "two categories with the id 1.*Renumber"),
        (lambda c: c["images"][0].pop("id"), "images without a whole number as id"),
        (lambda c: c["images"][0].update(id="a.jpg"), "images without a whole number as id"),
        (lambda c: c["images"][0].pop("height"), "image 7 .* height None .* write its size"),
        (lambda c: c["images"][0].update(width=None), "width None.* write its size"),
        (lambda c: c["images"][0].update(width=0), "width 0.* write its size"),
        (lambda c: c["annotations"].append([1, 2]), "record 2 .* is no dictionary"),
        (lambda c: c["annotations"][0].pop("image_id"), "record 0 .* image None"),
        (lambda c: c["annotations"][0].update(image_id=7.5), "record 0 .* image 7.5"),
        (lambda c: c["annotations"][0].update(iscrowd="maybe"), "iscrowd 'maybe'.*0 or 1"),
        (lambda c: c["annotations"][0].update(area="big"), "area 'big'.*finite number"),
        (lambda c: c["annotations"][0].update(bbox=[1, 1, None, 2]), "bbox None.*finite number"),
        (lambda c: c["annotations"][0].update(bbox=[1, 1, 2]), "write .x, y, width, height"),
        (lambda c: c["annotations"][0].update(segmentation="[[1, 2]]"), "str as segmentation"),
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


@pytest.mark.parametrize(
    "segments, remedy",
    [
        ([{"id": 5, "category_id": 1}] * 2, r"segment 2 .* id 5 .* an id of its own"),
        ([{"id": 5, "category_id": 3}], r"category 3.* one of the 2 categories"),
        ([{"id": None, "category_id": 1}], r"id None .* an id of its own"),
        ([{"id": n, "category_id": 1} for n in range(1000)], r"1000 segments.* has room for 999"),
    ],
)
def test_segments_that_cannot_be_told_apart_are_refused(tmp_path, segments, remedy):
    Image.fromarray(np.full((2, 2, 3), (5, 0, 0), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=remedy):
        read_panoptic(tmp_path / "a.png", segments, {1: 0, 90: 1})


def test_segments_as_other_programs_write_them(tmp_path):
    Image.fromarray(np.full((2, 2, 3), (5, 0, 0), np.uint8)).save(tmp_path / "a.png")
    segment = {"id": "5", "category_id": 90.0, "iscrowd": "0"}
    ids, crowd = read_panoptic(tmp_path / "a.png", [segment], {1: 0, 90: 1})
    assert (ids == 1001).all() and not crowd.any()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a.png has mode L.*numbers in its colours"):
        read_panoptic(tmp_path / "a.png", [segment], {1: 0, 90: 1})


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
