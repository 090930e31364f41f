"""Average precision: the printed fixture, pycocotools on random and official files, the rules."""

import contextlib
import io

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segcourse.metrics.instance import (
    average_precision,
    box_overlaps,
    mask_overlaps,
    match,
    precision_curves,
)
from segcourse.ops.boxes import box_area, from_xywh
from segcourse.ops.rle import decode_rle

NAMES = ["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
         "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"]  # fmt: skip


def square(rows: tuple[int, int], columns: tuple[int, int], side: int = 100) -> torch.Tensor:
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def matched(found, truth, *, scores, labels=None, truth_labels=None, crowd=None):
    """Masks (D, H, W) and (G, H, W) of an image, of one class if nothing is said."""
    return match(
        mask_overlaps(found, truth, crowd),
        scores=torch.as_tensor(scores),
        labels=torch.zeros(len(found), dtype=torch.int64) if labels is None else labels,
        areas=found.flatten(1).sum(dim=1),
        truth_labels=torch.zeros(len(truth), dtype=torch.int64)
        if truth_labels is None
        else truth_labels,
        truth_areas=truth.flatten(1).sum(dim=1),
        crowd=crowd,
    )


def test_the_fixture_by_hand():
    truth = torch.stack([square((10, 40), (10, 40)), square((50, 90), (50, 90))])
    found = [square((10, 40), (13, 43)), square((50, 90), (60, 90)), square((0, 5), (0, 5))]
    image = matched(torch.stack(found), truth, scores=[0.9, 0.8, 0.7])
    got = average_precision([image])
    wanted = [0.650495, 1, 1, 0.7, 0.6, np.nan, 0.35, 0.65, 0.65, 0.7, 0.6, np.nan]
    assert list(got) == NAMES
    assert list(got.values()) == pytest.approx(wanted, abs=1e-6, nan_ok=True)
    by_threshold = precision_curves([image]).precision[0, 0].mean(dim=-1)
    assert by_threshold.tolist() == pytest.approx([1] * 6 + [51 / 101] + [0] * 3)


# ── pycocotools ─────────────────────────────────────────────────────────────────────────────────


def coco_numbers(annotations: dict, results: list[dict], kind: str) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = annotations
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    return [np.nan if number == -1 else number for number in evaluation.stats]


def our_numbers(annotations: dict, results: list[dict], kind: str) -> list[float]:
    """The same files through our functions."""
    images = []
    for image in sorted(annotations["images"], key=lambda image: image["id"]):
        anns = [a for a in annotations["annotations"] if a["image_id"] == image["id"]]
        found = [r for r in results if r["image_id"] == image["id"]]
        crowd = torch.tensor([bool(a["iscrowd"]) for a in anns], dtype=torch.bool)
        if kind == "segm":
            empty = torch.zeros(0, image["height"], image["width"], dtype=torch.bool)
            decoded = [
                [decode_rle(x["segmentation"])[None] for x in part] for part in (found, anns)
            ]
            a, b = (torch.cat([empty, *masks]) for masks in decoded)
            overlap, areas = mask_overlaps(a, b, crowd), a.flatten(1).sum(dim=1)
        else:
            a, b = (
                from_xywh(
                    torch.tensor([x["bbox"] for x in part], dtype=torch.float64).reshape(-1, 4)
                )
                for part in (found, anns)
            )
            overlap, areas = box_overlaps(a, b, crowd), box_area(a)
        images.append(
            match(
                overlap,
                scores=torch.tensor([r["score"] for r in found], dtype=torch.float64),
                labels=torch.tensor([r["category_id"] for r in found]).long(),
                areas=areas,
                truth_labels=torch.tensor([a["category_id"] for a in anns]).long(),
                truth_areas=torch.tensor([a["area"] for a in anns], dtype=torch.float64),
                crowd=crowd,
            )
        )
    return list(average_precision(images).values())


def random_files(seed: int, images: int = 5) -> tuple[dict, list[dict]]:
    """Rectangles, some crowds, some images without objects; many scores and overlaps are equal."""
    generator = np.random.default_rng(seed)
    truth = {"images": [], "annotations": [], "categories": [{"id": k} for k in range(1, 5)]}
    results = []

    def rectangle() -> tuple[list[int], dict]:
        x, y = generator.integers(0, 100, 2)
        width, height = generator.choice([4, 20, 40, 100], 2)
        mask = np.zeros((160, 200), dtype=np.uint8, order="F")
        mask[y : y + height, x : x + width] = 1
        code = coco_mask.encode(mask)
        return coco_mask.toBbox(code).tolist(), {**code, "counts": code["counts"].decode()}

    for image in range(1, images + 1):
        truth["images"].append({"id": image, "height": 160, "width": 200})
        for _ in range(generator.integers(0, 8)):
            box, code = rectangle()
            common = {"image_id": image, "category_id": int(generator.integers(1, 4))}
            annotation = {"bbox": box, "segmentation": code, "area": float(coco_mask.area(code))}
            flags = {"iscrowd": int(generator.random() < 0.2), "id": len(truth["annotations"]) + 1}
            truth["annotations"].append({**common, **annotation, **flags})
            for _ in range(generator.integers(0, 3)):
                other_box, other = rectangle() if generator.random() < 0.3 else (box, code)
                score = float(generator.choice([0.2, 0.5, 0.9]))
                results.append({**common, "bbox": other_box, "segmentation": other, "score": score})
    return truth, results


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(8))
def test_all_twelve_numbers_are_pycocotools(seed, kind):
    truth, results = random_files(seed)
    wanted = coco_numbers(truth, results, kind)
    assert our_numbers(truth, results, kind) == pytest.approx(wanted, abs=1e-9, nan_ok=True)


# ── the rules, one by one ───────────────────────────────────────────────────────────────────────


def test_the_truth_against_itself_is_perfect():
    truth = torch.stack([square((10, 40), (10, 40)), square((50, 90), (50, 90))])
    got = average_precision([matched(truth, truth, scores=[0.3, 0.2])])
    assert got["AP"] == got["AR100"] == 1 and got["AR1"] == 0.5


def test_a_crowd_swallows_what_lies_in_it_and_is_never_missed():
    crowd_mask, car = square((0, 50), (0, 100)), square((60, 90), (0, 30))
    inside = [square((0, 20), (column, column + 20)) for column in (0, 20, 40)]
    truth, crowd = torch.stack([crowd_mask, car]), torch.tensor([True, False])
    overlap = mask_overlaps(torch.stack([*inside, car]), truth, crowd)
    assert overlap[:, 0].tolist() == [1, 1, 1, 0]  # the share of the detection
    image = matched(torch.stack([*inside, car]), truth, scores=[0.9, 0.8, 0.7, 0.6], crowd=crowd)
    assert image.ignored[0, 0].tolist() == [True, True, True, False]
    assert average_precision([image])["AP"] == 1


def test_an_object_that_counts_is_preferred_to_a_crowd_that_overlaps_more():
    car, crowd_mask = square((0, 40), (0, 40)), square((0, 100), (0, 100))
    found = square((0, 40), (0, 25))[None]  # IoU 0.625 with the car, and all of it in the crowd
    for order in ([0, 1], [1, 0]):
        truth = torch.stack([car, crowd_mask])[order]
        crowd = torch.tensor([False, True])[order]
        image = matched(found, truth, scores=[0.9], crowd=crowd)
        assert image.right[0, :, 0].tolist() == [True] * 3 + [False] * 7  # 0.50, 0.55, 0.60
        assert image.ignored[0, :, 0].tolist() == [False] * 3 + [True] * 7


def test_images_without_detections_or_without_objects_count():
    car, nothing = square((10, 40), (10, 40))[None], torch.zeros(0, 100, 100, dtype=torch.bool)
    right = matched(car, car, scores=[0.5])
    missed = matched(nothing, car, scores=[])
    invented = matched(car, nothing, scores=[0.9])
    assert average_precision([right])["AP"] == 1
    assert average_precision([right, missed])["AR100"] == 0.5
    assert average_precision([right, invented])["AP"] == 0.5
    empty = average_precision([matched(nothing, nothing, scores=[])])
    assert all(np.isnan(number) for number in empty.values())


def test_a_class_that_nobody_holds_is_left_out():
    car = square((10, 40), (10, 40))[None]
    labels = torch.tensor([3])
    right = matched(car, car, scores=[0.5], labels=labels, truth_labels=labels)
    stranger = matched(car, car, scores=[0.9], labels=torch.tensor([4]), truth_labels=labels)
    assert average_precision([right])["AP"] == 1
    assert precision_curves([right, stranger]).classes == [3]


def test_of_many_objects_a_hundred_detections_count():
    rows = [square((row // 20 * 5, row // 20 * 5 + 4), (row % 20 * 5, row % 20 * 5 + 4))
            for row in range(369)]  # fmt: skip
    truth = torch.stack(rows)
    got = average_precision([matched(truth, truth, scores=torch.linspace(1, 0, 369))])
    assert got["AR100"] == pytest.approx(100 / 369) and got["AR10"] == pytest.approx(10 / 369)


# ── bad input ───────────────────────────────────────────────────────────────────────────────────

MASKS = torch.zeros(2, 4, 4, dtype=torch.bool)


@pytest.mark.parametrize(
    "call, error, remedy",
    [
        (lambda: mask_overlaps(MASKS.float(), MASKS), TypeError, "threshold probabilities"),
        (lambda: mask_overlaps(MASKS[0], MASKS), TypeError, r"\(4, 4\).*torch.zeros\(0, H, W\)"),
        (lambda: mask_overlaps(MASKS, MASKS[:, :2]), ValueError, "resize the predictions"),
        (lambda: matched(MASKS, MASKS, scores=[0.1]), ValueError, "same D detections"),
        (lambda: matched(MASKS, MASKS, scores=[0.1, np.nan]), ValueError, "1 of 2 scores are nan"),
        (lambda: average_precision([]), ValueError, "there is no image"),
        (
            lambda: precision_curves([matched(MASKS, MASKS, scores=[0, 1.0])], most=101),
            ValueError,
            "most=101.* from 1 to 100",
        ),
    ],
)
def test_bad_input_is_refused_with_the_remedy(call, error, remedy):
    with pytest.raises(error, match=remedy):
        call()
