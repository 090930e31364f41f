"""COCO: pictures whose objects are polygons or run-length codes in one JSON file.

Lin et al. "Microsoft COCO: Common Objects in Context." ECCV 2014. https://arxiv.org/abs/1405.0312

    instances_val2017.json   {"images": [...], "annotations": [...], "categories": [...]}
    results.json             [{"image_id", "category_id", "segmentation", "score"}, ...]
    panoptic_val2017.json    annotations with a "file_name" and a list "segments_info"
    panoptic_val2017/*.png   segments: id = R + 256 G + 65536 B, 0 is void

Categories have numbers with gaps, 1 to 90 for 80 of them. Here they keep these numbers.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segcourse.ops.boxes import from_xywh
from segcourse.ops.coco_polygons import coco_polygons_to_mask
from segcourse.ops.labels import IGNORE
from segcourse.ops.masks import mask_box
from segcourse.ops.panoptic import DIVISOR, rgb_to_ids
from segcourse.ops.rle import decode_rle


class Annotated(NamedTuple):
    """What a file says of one image: G objects or detections."""

    image_id: int
    boxes: Tensor  # (G, 4) float64, corners
    labels: Tensor  # (G,) int64, category numbers
    masks: Tensor  # (G, H, W) bool
    areas: Tensor  # (G,) float64, as the file says, or else of the masks
    crowd: Tensor  # (G,) bool
    scores: Tensor  # (G,) float64, 1 for objects


class CocoInstances:
    """The truth of an instances file, image by image; ``truth[i]`` is Annotated.

    Args:
        path: of the JSON file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such JSON, or speaks of images or categories that it does not list.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        content = read_json(self.path, dict)
        for part in ("images", "annotations", "categories"):
            if part not in content:
                raise ValueError(
                    f"{self.path.name} has no {part!r}, only {sorted(content)}: give an instances "
                    "file, such as annotations/instances_val2017.json."
                )
        self.categories = {each["id"]: each["name"] for each in content["categories"]}
        self.images = {each["id"]: each for each in content["images"]}
        self.ids = sorted(self.images)
        self.by_image = grouped(content["annotations"], self.images, self.categories, self.path)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Annotated:
        image_id = self.ids[index]
        return annotated(image_id, self.by_image[image_id], self.size(image_id))

    def size(self, image_id: int) -> tuple[int, int]:
        """Height and width of an image."""
        return self.images[image_id]["height"], self.images[image_id]["width"]

    def results(self, path: str | Path) -> list[Annotated]:
        """The detections of a results file, one Annotated an image, in the order of the truth.

        Raises:
            FileNotFoundError, ValueError: as for the truth.
        """
        found = read_json(Path(path), list)
        by_image = grouped(found, self.images, self.categories, Path(path))
        return [annotated(key, by_image[key], self.size(key)) for key in self.ids]


def annotated(
    image_id: int, records: Sequence[Mapping[str, Any]], size: tuple[int, int]
) -> Annotated:
    """The records of one image as tensors; a record without a mask has that of its box."""
    masks = [segmentation_mask(each, size) for each in records]
    stacked = torch.stack(masks) if masks else torch.zeros(0, *size, dtype=torch.bool)
    pixels = stacked.flatten(1).sum(dim=1).tolist()
    boxes = [each.get("bbox") or mask_xywh(mask) for each, mask in zip(records, masks, strict=True)]
    areas = [
        each.get("area", count if each.get("segmentation") else box[2] * box[3])
        for each, count, box in zip(records, pixels, boxes, strict=True)
    ]
    return Annotated(
        image_id,
        from_xywh(torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)),
        torch.tensor([each["category_id"] for each in records], dtype=torch.int64),
        stacked,
        torch.tensor(areas, dtype=torch.float64),
        torch.tensor([bool(each.get("iscrowd", 0)) for each in records], dtype=torch.bool),
        torch.tensor([each.get("score", 1.0) for each in records], dtype=torch.float64),
    )


def segmentation_mask(record: Mapping[str, Any], size: tuple[int, int]) -> Tensor:
    """The mask of a record: polygons, a run-length code, or nothing but a box: -> (H, W) bool."""
    code, box = record.get("segmentation"), record.get("bbox")
    if isinstance(code, Mapping):
        mask = decode_rle(code)
        if mask.shape != tuple(size):
            raise ValueError(
                f"a run-length code of {tuple(mask.shape)} pixels belongs to an image of {size}: "
                "was it made for a resized image?"
            )
        return mask
    if code:
        return coco_polygons_to_mask(code, size)
    if box is None:
        raise ValueError("a record has neither a segmentation nor a bbox: it shows nothing.")
    x, y, width, height = box
    corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
    return coco_polygons_to_mask([corners], size)


def mask_xywh(mask: Tensor) -> list[float]:
    """The box around a mask as COCO writes it: (H, W) -> x, y, width, height."""
    x0, y0, x1, y1 = mask_box(mask)
    return [x0, y0, x1 - x0, y1 - y0]


def grouped(
    records: Sequence[Mapping[str, Any]],
    images: Mapping[int, Any],
    categories: Mapping[int, str],
    path: Path,
) -> dict[int, list[Mapping[str, Any]]]:
    """Records by image, in the order of the file: -> {image id: records}."""
    by_image: dict[int, list[Mapping[str, Any]]] = {key: [] for key in images}
    for number, record in enumerate(records):
        image, category = record.get("image_id"), record.get("category_id")
        if image not in images or category not in categories:
            raise ValueError(
                f"record {number} of {path.name} has image {image} and category {category}, but "
                f"there are {len(images)} images and {len(categories)} categories, from "
                f"{min(categories, default=None)} to {max(categories, default=None)}: does it "
                "belong to another file, or count categories from 0?"
            )
        by_image[image].append(record)
    return by_image


def read_json(path: Path, kind: type) -> Any:
    """The content of a JSON file that holds a dictionary or a list.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is cut off, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path.name} is no JSON ({error}): it ends after {path.stat().st_size} bytes; was the "
            "download cut?"
        ) from error
    if not isinstance(content, kind):
        raise ValueError(
            f"{path.name} holds a {type(content).__name__}, but a {kind.__name__} is wanted: truth "
            "is a dictionary of images, annotations and categories, results are a list."
        )
    return content


def read_panoptic(
    png: str | Path, segments: Sequence[Mapping[str, Any]], classes: Mapping[int, int]
) -> tuple[Tensor, Tensor]:
    """A panoptic PNG as ids of this course, and its crowds: -> (H, W) int64, (H, W) bool.

    Args:
        png: the file.
        segments: its ``segments_info``.
        classes: the class number, from 0, of every category number.

    Raises:
        ValueError: if the picture holds a segment that the list does not have, or the reverse.
    """
    with Image.open(png) as file:
        stored = rgb_to_ids(torch.from_numpy(np.array(file.convert("RGB"))))
    present = set(stored.unique().tolist())
    listed = {segment["id"] for segment in segments}  # the reference lets 0 be a segment, too
    unlisted, missing = present - listed - {0}, listed - present
    if unlisted or missing:
        raise ValueError(
            f"{Path(png).name} holds {len(unlisted)} segments that segments_info does not list, "
            f"and lacks {len(missing)} of its segments: do both belong together?"
        )
    ids = torch.full_like(stored, IGNORE * DIVISOR)
    crowd = torch.zeros_like(stored, dtype=torch.bool)
    for number, segment in enumerate(segments, start=1):
        own = stored == segment["id"]
        ids[own] = classes[segment["category_id"]] * DIVISOR + number
        crowd |= own & bool(segment.get("iscrowd", 0))
    return ids, crowd
