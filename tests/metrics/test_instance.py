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
    AREA_RANGES,
    IOU_THRESHOLDS,
    Matches,
    average_precision,
    coco_box_iou,
    coco_mask_iou,
    match_detections,
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


def matched(preds, target, *, scores, labels=None, target_labels=None, iscrowd=None, **options):
    """Masks (D, H, W) and (G, H, W) of an image, of one class if nothing is said."""
    return match_detections(
        coco_mask_iou(preds, target, iscrowd),
        scores=torch.as_tensor(scores),
        labels=torch.zeros(len(preds), dtype=torch.int64) if labels is None else labels,
        areas=preds.flatten(1).sum(dim=1),
        target_labels=torch.zeros(len(target), dtype=torch.int64)
        if target_labels is None
        else target_labels,
        target_areas=target.flatten(1).sum(dim=1),
        iscrowd=iscrowd,
        **options,
    )


def test_the_fixture_by_hand():
    target = torch.stack([square((10, 40), (10, 40)), square((50, 90), (50, 90))])
    preds = [square((10, 40), (13, 43)), square((50, 90), (60, 90)), square((0, 5), (0, 5))]
    image = matched(torch.stack(preds), target, scores=[0.9, 0.8, 0.7])
    got = average_precision([image])
    wanted = [0.650495, 1, 1, 0.7, 0.6, np.nan, 0.35, 0.65, 0.65, 0.7, 0.6, np.nan]
    assert list(got) == NAMES
    assert list(got.values()) == pytest.approx(wanted, abs=1e-6, nan_ok=True)
    by_threshold = precision_curves([image]).precision[0, 0].mean(dim=-1)
    assert by_threshold.tolist() == pytest.approx([1] * 6 + [51 / 101] + [0] * 3)


# ── pycocotools ─────────────────────────────────────────────────────────────────────────────────


def coco_numbers(annotations: dict, results: list[dict], kind: str) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        target = COCO()
        target.dataset = annotations
        target.createIndex()
        evaluation = COCOeval(target, target.loadRes(results), kind)
        evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    return [np.nan if number == -1 else number for number in evaluation.stats]


def our_matches(annotations: dict, results: list[dict], kind: str, **options) -> list[Matches]:
    """The same files through our functions."""
    images = []
    for image in sorted(annotations["images"], key=lambda image: image["id"]):
        anns = [a for a in annotations["annotations"] if a["image_id"] == image["id"]]
        preds = [r for r in results if r["image_id"] == image["id"]]
        iscrowd = torch.tensor([bool(a["iscrowd"]) for a in anns], dtype=torch.bool)
        if kind == "segm":
            empty = torch.zeros(0, image["height"], image["width"], dtype=torch.bool)
            decoded = [
                [decode_rle(x["segmentation"])[None] for x in part] for part in (preds, anns)
            ]
            a, b = (torch.cat([empty, *masks]) for masks in decoded)
            overlap, areas = coco_mask_iou(a, b, iscrowd), a.flatten(1).sum(dim=1)
        else:
            a, b = (
                from_xywh(
                    torch.tensor([x["bbox"] for x in part], dtype=torch.float64).reshape(-1, 4)
                )
                for part in (preds, anns)
            )
            overlap, areas = coco_box_iou(a, b, iscrowd), box_area(a)
        images.append(
            match_detections(
                overlap,
                scores=torch.tensor([r["score"] for r in preds], dtype=torch.float64),
                labels=torch.tensor([r["category_id"] for r in preds]).long(),
                areas=options.pop("areas", areas),
                target_labels=torch.tensor([a["category_id"] for a in anns]).long(),
                target_areas=torch.tensor([a["area"] for a in anns], dtype=torch.float64),
                iscrowd=iscrowd,
                **options,
            )
        )
    return images


def random_files(seed: int, images: int = 5) -> tuple[dict, list[dict]]:
    """Rectangles, some crowds, some images without objects; many scores and overlaps are equal."""
    generator = np.random.default_rng(seed)
    target = {"images": [], "annotations": [], "categories": [{"id": k} for k in range(1, 5)]}
    results = []

    def rectangle() -> tuple[list[int], dict]:
        x, y = generator.integers(0, 100, 2)
        width, height = generator.choice([4, 20, 40, 100], 2)
        mask = np.zeros((160, 200), dtype=np.uint8, order="F")
        mask[y : y + height, x : x + width] = 1
        code = coco_mask.encode(mask)
        return coco_mask.toBbox(code).tolist(), {**code, "counts": code["counts"].decode()}

    for image in range(1, images + 1):
        target["images"].append({"id": image, "height": 160, "width": 200})
        for _ in range(generator.integers(0, 8)):
            box, code = rectangle()
            common = {"image_id": image, "category_id": int(generator.integers(1, 4))}
            annotation = {"bbox": box, "segmentation": code, "area": float(coco_mask.area(code))}
            flags = {"iscrowd": int(generator.random() < 0.2), "id": len(target["annotations"]) + 1}
            target["annotations"].append({**common, **annotation, **flags})
            for _ in range(generator.integers(0, 3)):
                other_box, other = rectangle() if generator.random() < 0.3 else (box, code)
                score = float(generator.choice([0.2, 0.5, 0.9]))
                results.append({**common, "bbox": other_box, "segmentation": other, "score": score})
    return target, results


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(8))
def test_all_twelve_numbers_are_pycocotools(seed, kind):
    target, results = random_files(seed)
    wanted = coco_numbers(target, results, kind)
    ours = list(average_precision(our_matches(target, results, kind)).values())
    assert ours == pytest.approx(wanted, abs=1e-9, nan_ok=True)


# ── the rules, one by one ───────────────────────────────────────────────────────────────────────


def test_the_truth_against_itself_is_perfect():
    target = torch.stack([square((10, 40), (10, 40)), square((50, 90), (50, 90))])
    got = average_precision([matched(target, target, scores=[0.3, 0.2])])
    assert got["AP"] == got["AR100"] == 1 and got["AR1"] == 0.5


def test_a_crowd_swallows_what_lies_in_it_and_is_never_missed():
    crowd_mask, car = square((0, 50), (0, 100)), square((60, 90), (0, 30))
    inside = [square((0, 20), (column, column + 20)) for column in (0, 20, 40)]
    target, iscrowd = torch.stack([crowd_mask, car]), torch.tensor([True, False])
    overlap = coco_mask_iou(torch.stack([*inside, car]), target, iscrowd)
    assert overlap[:, 0].tolist() == [1, 1, 1, 0]  # the share of the detection
    image = matched(
        torch.stack([*inside, car]), target, scores=[0.9, 0.8, 0.7, 0.6], iscrowd=iscrowd
    )
    assert image.ignored[0, 0].tolist() == [True, True, True, False]
    assert average_precision([image])["AP"] == 1


def test_an_object_that_counts_is_preferred_to_a_crowd_that_overlaps_more():
    car, crowd_mask = square((0, 40), (0, 40)), square((0, 100), (0, 100))
    preds = square((0, 40), (0, 25))[None]  # IoU 0.625 with the car, and all of it in the crowd
    for order in ([0, 1], [1, 0]):
        target = torch.stack([car, crowd_mask])[order]
        iscrowd = torch.tensor([False, True])[order]
        image = matched(preds, target, scores=[0.9], iscrowd=iscrowd)
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
    right = matched(car, car, scores=[0.5], labels=labels, target_labels=labels)
    stranger = matched(car, car, scores=[0.9], labels=torch.tensor([4]), target_labels=labels)
    assert average_precision([right])["AP"] == 1
    assert precision_curves([right, stranger]).classes == [3]


def test_of_many_objects_a_hundred_detections_count():
    rows = [square((row // 20 * 5, row // 20 * 5 + 4), (row % 20 * 5, row % 20 * 5 + 4))
            for row in range(369)]  # fmt: skip
    target = torch.stack(rows)
    got = average_precision([matched(target, target, scores=torch.linspace(1, 0, 369))])
    assert got["AR100"] == pytest.approx(100 / 369) and got["AR10"] == pytest.approx(10 / 369)


def disc_files(with_boxes: bool) -> tuple[dict, list[dict]]:
    """A medium object that is found, and a false disc of 901 pixels in a box of 33 x 33 = 1089."""
    y, x = np.mgrid[:160, :200]
    disc, other = (y - 80) ** 2 + (x - 100) ** 2 <= 16.9**2, (y < 40) & (x < 40)
    codes = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in (disc, other)]
    common = {"image_id": 1, "category_id": 1}
    target = {"images": [{"id": 1, "height": 160, "width": 200}], "categories": [{"id": 1}]}
    area = {"area": float(other.sum()), "bbox": [0, 0, 40, 40], "iscrowd": 0, "id": 1}
    target["annotations"] = [{**common, **area, "segmentation": codes[1]}]
    results = [
        {**common, "segmentation": code, "score": score}
        | ({"bbox": coco_mask.toBbox(code).tolist()} if with_boxes else {})
        for code, score in zip(codes, (0.9, 0.5), strict=True)
    ]
    return target, results


def test_pycocotools_takes_the_area_of_the_box_where_results_have_one():
    """A false positive of 901 pixels is outside "medium"; its box of 1089 pixels is inside."""
    numbers = {}
    for with_boxes in (False, True):
        target, results = disc_files(with_boxes)
        theirs = dict(zip(NAMES, coco_numbers(target, results, "segm"), strict=True))
        numbers[with_boxes] = theirs["AP_medium"]
    assert numbers == pytest.approx({False: 1, True: 0.5})
    ours = average_precision(our_matches(*disc_files(False), "segm"))
    assert ours["AP_medium"] == pytest.approx(numbers[False])
    match = our_matches(*disc_files(False), "segm", areas=torch.tensor([33.0 * 33, 40 * 40]))
    assert average_precision(match)["AP_medium"] == pytest.approx(numbers[True])


# ── options ─────────────────────────────────────────────────────────────────────────────────────

RANGES = {"all": (0.0, 1e10), "tiny": (0.0, 100.0), "huge": (1600.0, 1e10)}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options",
    [
        {"iou_thresholds": (0.3, 0.5, 0.9)},
        {"iou_thresholds": (0.75,)},
        {"area_ranges": RANGES},
        {"max_detections": 2},
        {"iou_thresholds": (0.1, 0.75), "area_ranges": RANGES, "max_detections": 3},
    ],
)
def test_other_thresholds_ranges_and_limits_are_those_of_pycocotools(seed, options):
    target, results = random_files(seed)
    matches = our_matches(target, results, "segm", **options)
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCO()
        annotations.dataset = target
        annotations.createIndex()
        theirs = COCOeval(annotations, annotations.loadRes(results), "segm")
        theirs.params.iouThrs = np.array(options.get("iou_thresholds", IOU_THRESHOLDS))
        theirs.params.areaRng = [
            list(each) for each in options.get("area_ranges", AREA_RANGES).values()
        ]
        theirs.params.areaRngLbl = list(options.get("area_ranges", AREA_RANGES))
        theirs.params.maxDets = [1, options.get("max_detections", 100)]
        theirs.evaluate(), theirs.accumulate()
    precision = theirs.eval["precision"].transpose(2, 3, 0, 1, 4)  # (K, A, T, 101, M)
    recall = theirs.eval["recall"].transpose(1, 2, 0, 3)  # (K, A, T, M)
    for index, most in enumerate(theirs.params.maxDets):
        curves = precision_curves(matches, max_detections=most)
        known = [label - 1 for label in curves.classes]
        for ours, wanted in ((curves.precision, precision), (curves.recall, recall)):
            wanted = np.where(wanted == -1, np.nan, wanted)[..., index]
            np.testing.assert_allclose(ours.numpy(), wanted[known], atol=1e-9)
    numbers = average_precision(matches)
    wanted = np.nanmean(np.where(precision == -1, np.nan, precision)[:, 0, ..., -1])
    assert numbers["AP"] == pytest.approx(wanted)
    assert f"AR{options.get('max_detections', 100)}" in numbers


def test_numbers_are_named_after_the_options():
    car = square((10, 40), (10, 40))[None]
    options = {"iou_thresholds": (0.75, 0.8), "area_ranges": RANGES, "max_detections": 20}
    numbers = average_precision([matched(car, car, scores=[0.5], **options)])
    names = [
        "AP",
        "AP50",
        "AP75",
        "AP_tiny",
        "AP_huge",
        "AR1",
        "AR10",
        "AR20",
        "AR_tiny",
        "AR_huge",
    ]
    assert list(numbers) == names
    assert np.isnan(numbers["AP50"]) and numbers["AP75"] == numbers["AP"] == 1
    few = average_precision([matched(car, car, scores=[0.5])], max_detections=(5,))
    assert few["AR5"] == 1 and "AR100" not in few


# ── types and shapes ────────────────────────────────────────────────────────────────────────────


def overlapping_bands(side: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    """Two masks that share 160 of 600 rows: more pixels than half precision counts."""
    preds, target = torch.zeros(2, 1, side, side, dtype=torch.bool)
    preds[0, 240:], target[0, :400] = True, True
    return preds, target


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_pixels_are_counted_exactly_within_autocast(dtype):
    preds, target = overlapping_bands()
    with torch.autocast("cpu", dtype):
        assert coco_mask_iou(preds, target).item() == 160 / 600
        image = matched(preds, target, scores=[0.9])
        assert average_precision([image])["AP50"] == 0


def test_pixels_beyond_what_float32_counts_are_counted_exactly():
    target = torch.ones(1, 4097, 4096, dtype=torch.bool)
    preds = target.clone()
    preds[0, 0, 0] = False
    assert coco_mask_iou(preds, target).item() == 1 - 1 / (4097 * 4096)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_overlaps_of_any_precision_prefer_the_larger_one(dtype):
    """2 is added to overlaps of objects that count: half precision would lose the difference."""
    ious = torch.tensor([[0.751953125, 0.75]], dtype=dtype)  # exact in all of them
    if dtype == torch.bfloat16:
        ious = torch.tensor([[0.75390625, 0.75]], dtype=dtype)
    zeros = torch.zeros(2, dtype=torch.int64)
    image = match_detections(
        torch.cat([ious, ious]),
        scores=torch.tensor([0.9, 0.8], dtype=dtype),
        labels=zeros,
        areas=torch.tensor([100.0, 100.0], dtype=dtype),
        target_labels=zeros,
        target_areas=torch.tensor([100.0, 5000.0], dtype=dtype),
    )
    small = list(AREA_RANGES).index("small")
    assert image.right[small, 0].tolist() == [True, False]  # the first takes the first object
    assert image.ignored[small, 0].tolist() == [False, True]
    assert image.right[0, 0].all() and image.scores.dtype == torch.float64


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64]
)
def test_labels_of_any_integer_type(dtype):
    car = square((10, 40), (10, 40))[None]
    label = torch.tensor([3], dtype=dtype)
    image = matched(car, car, scores=[0.5], labels=label, target_labels=label)
    assert average_precision([image])["AP"] == 1 and precision_curves([image]).classes == [3]


def test_boxes_of_half_precision_do_not_overflow():
    boxes = torch.tensor([[0.0, 0, 1000, 1000], [0, 0, 500, 1000]])
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert coco_box_iou(boxes.to(dtype), boxes.to(dtype)).tolist() == [[1, 0.5], [0.5, 1]]
    assert coco_box_iou(torch.zeros(0, 4), boxes).shape == (0, 2)
    assert coco_box_iou(boxes, torch.zeros(0, 4), torch.zeros(0).bool()).shape == (2, 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1)])
def test_images_one_pixel_high_or_wide(shape):
    mask = torch.ones(1, *shape, dtype=torch.bool)
    assert average_precision([matched(mask, mask, scores=[0.5])])["AP"] == 1
    assert coco_mask_iou(mask, ~mask).item() == 0 and coco_mask_iou(~mask, ~mask).item() == 0


# ── bad input ───────────────────────────────────────────────────────────────────────────────────

MASKS = torch.zeros(2, 4, 4, dtype=torch.bool)


def alone(**options):
    return matched(MASKS[:1], MASKS[:1], scores=[0.5], **options)


@pytest.mark.parametrize(
    "call, error, remedy",
    [
        (lambda: alone(iou_thresholds=()), ValueError, "no overlaps"),
        (lambda: alone(iou_thresholds=(0.5, 1.5)), ValueError, "up to 1"),
        (lambda: alone(area_ranges={"small": (0, 9)}), ValueError, "named 'all'"),
        (lambda: alone(area_ranges={"all": (9, 0)}), ValueError, "extend AREA_RANGES"),
        (lambda: alone(max_detections=0), ValueError, "max_detections=0"),
        (lambda: average_precision([alone()], max_detections=()), ValueError, "is empty"),
        (
            lambda: average_precision([alone(), alone(iou_thresholds=(0.5,))]),
            ValueError,
            "the same for every image",
        ),
        (lambda: coco_mask_iou(MASKS.float(), MASKS), TypeError, "threshold probabilities"),
        (lambda: coco_mask_iou(MASKS[0], MASKS), TypeError, r"\(4, 4\).*torch.zeros\(0, H, W\)"),
        (lambda: coco_mask_iou(MASKS, MASKS[:, :2]), ValueError, "resize the predictions"),
        (lambda: matched(MASKS, MASKS, scores=[0.1]), ValueError, "same D detections"),
        (lambda: matched(MASKS, MASKS, scores=[0.1, np.nan]), ValueError, "1 of 2 scores are nan"),
        (lambda: average_precision([]), ValueError, "there is no image"),
        (
            lambda: precision_curves([matched(MASKS, MASKS, scores=[0, 1.0])], max_detections=101),
            ValueError,
            "max_detections=101.* from 1 to 100",
        ),
    ],
)
def test_bad_input_is_refused_with_the_remedy(call, error, remedy):
    with pytest.raises(error, match=remedy):
        call()
