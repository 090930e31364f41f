"""COCO: images whose objects are polygons or run-length codes in one JSON file.

Lin et al. "Microsoft COCO: Common Objects in Context." ECCV 2014. https://arxiv.org/abs/1405.0312

    instances_val2017.json   {"images": [...], "annotations": [...], "categories": [...]}
    results.json             [{"image_id", "category_id", "segmentation", "score"}, ...]
    panoptic_val2017.json    annotations with a "file_name" and a list "segments_info"
    panoptic_val2017/*.png   segments: id = R + 256 G + 65536 B, 0 is void

Categories have numbers with gaps, 1 to 90 for 80 of them. Here labels run from 0 without gaps: a
label is a place in ``category_ids``, the sorted numbers of the categories.

Other programs write such files with small differences, which are read too: numbers and flags as
text or as floats ("7", 7.0, "true"), and null or empty lists where a box, a mask or an area is
missing. What cannot be understood in one way only is refused.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segcourse.data.coco_records import (
    Record,
    read_box,
    read_flag,
    read_integer,
    read_number,
    read_segmentation,
    segmentation_mask,
)
from segcourse.data.files import read_text
from segcourse.ops.boxes import from_xywh
from segcourse.ops.instances import Instances
from segcourse.ops.labels import IGNORE
from segcourse.ops.masks import mask_box
from segcourse.ops.panoptic import DIVISOR, rgb_to_ids


class CocoTarget(NamedTuple):
    """The true objects of one image: G of them."""

    image_id: int
    instances: Instances  # boxes as in the file, or else around the masks
    areas: Tensor  # (G,) float64 as in the file, or else of the masks
    crowd: Tensor  # (G,) bool


class CocoResults(NamedTuple):
    """What a results file holds for one image: D detections, in the order of the file."""

    image_id: int
    instances: Instances
    areas: Tensor  # (D,) float64
    scores: Tensor  # (D,) float64


class CocoInstances:
    """The truth of an instances file, image by image; ``truth[i]`` is a CocoTarget.

    Attributes:
        image_ids: the numbers of the images, sorted.
        images: what the file says of every image, by its number.
        category_ids: the numbers of the categories, sorted: label k is ``category_ids[k]``.
        categories: their names, in the same order.

    Args:
        path: of the JSON file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such JSON, if two images or two categories have one number, if an
            image has no size, or if an object belongs to no image or category of the file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        content = _read_json(self.path, dict)
        for part in ("images", "annotations", "categories"):
            if not isinstance(content.get(part), list):
                raise ValueError(
                    f"{self.path.name} has no list {part!r}, only {sorted(content)}: give an "
                    "instances file, such as annotations/instances_val2017.json."
                )
        self.images = self._by_id(content["images"], "images")
        self.image_ids = sorted(self.images)
        self._sizes = {key: self._size(key) for key in self.image_ids}
        categories = self._by_id(content["categories"], "categories")
        self.category_ids = sorted(categories)
        self.categories = [str(categories[key].get("name", key)) for key in self.category_ids]
        self._labels = {key: label for label, key in enumerate(self.category_ids)}
        self._by_image = self._grouped(content["annotations"], self.path)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> CocoTarget:
        image_id = self.image_ids[index]
        records = self._by_image[image_id]
        instances = self._instances(image_id, records)
        pixels = instances.masks.flatten(1).sum(dim=1).tolist()
        areas = [
            count if each.get("area") is None else read_number(each["area"], "area")
            for each, count in zip(records, pixels, strict=True)
        ]
        crowd = [read_flag(each.get("iscrowd")) for each in records]
        return CocoTarget(
            image_id,
            instances,
            torch.tensor(areas, dtype=torch.float64),
            torch.tensor(crowd, dtype=torch.bool),
        )

    def size(self, image_id: int) -> tuple[int, int]:
        """Height and width of an image."""
        return self._sizes[image_id]

    def results(self, path: str | Path) -> list[CocoResults]:
        """The detections of a results file, one CocoResults an image, in the order of the truth.

        Areas are those of pycocotools (``COCO.loadRes``), by which objects are sorted into small,
        medium and large: width x height if the first detection of the file has a bbox, even where
        there are masks, and else the pixels of the mask. An area in the file is not read. Two kinds
        of files that pycocotools refuses are read too: a detection without a bbox gets the area of
        its mask, and one without a mask that of its bbox, whatever the first one has.

        Raises:
            FileNotFoundError, ValueError: as for the truth, or if a detection has no score.
        """
        found = _read_json(Path(path), list)
        by_image = self._grouped(found, Path(path))
        by_box = bool(found and found[0].get("bbox"))
        return [self._results(key, by_image[key], by_box) for key in self.image_ids]

    def _results(self, image_id: int, records: Sequence[Record], by_box: bool) -> CocoResults:
        instances = self._instances(image_id, records)
        pixels = instances.masks.flatten(1).sum(dim=1).double()
        sides = [read_box(each)[2:] if read_box(each) else (0, 0) for each in records]
        sizes = torch.tensor(sides, dtype=torch.float64).reshape(-1, 2).prod(dim=1)
        boxed = [
            bool(read_box(each)) and (by_box or not read_segmentation(each)) for each in records
        ]
        return CocoResults(
            image_id,
            instances,
            torch.where(torch.tensor(boxed, dtype=torch.bool), sizes, pixels),
            torch.tensor(
                [read_number(e.get("score"), "score") for e in records], dtype=torch.float64
            ),
        )

    def _instances(self, image_id: int, records: Sequence[Record]) -> Instances:
        """Boxes, labels and masks; a record without a mask has that of its box, or the reverse."""
        size = self._sizes[image_id]
        masks = [segmentation_mask(each, size) for each in records]
        boxes = [read_box(each) or _xywh(mask) for each, mask in zip(records, masks, strict=True)]
        labels = [self._labels[read_integer(each["category_id"])] for each in records]
        return Instances(
            from_xywh(torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)),
            torch.tensor(labels, dtype=torch.int64),
            torch.stack(masks) if masks else torch.zeros(0, *size, dtype=torch.bool),
        )

    def _by_id(self, entries: Sequence[Record], what: str) -> dict[int, Record]:
        """Images or categories by their numbers, of which none may come twice."""
        found: dict[int, Record] = {}
        for entry in entries:
            key = read_integer(entry.get("id")) if isinstance(entry, Mapping) else None
            if key is None:
                raise ValueError(
                    f"{self.path.name} has {what} without a whole number as id, such as "
                    f"{entry!r:.80}: number them, and the annotations that refer to them."
                )
            if key in found:
                raise ValueError(
                    f"{self.path.name} has two {what} with the id {key}: were data sets put "
                    "together? Renumber one of them, with the annotations that refer to it."
                )
            found[key] = entry
        return found

    def _size(self, image_id: int) -> tuple[int, int]:
        entry = self.images[image_id]
        height, width = (read_integer(entry.get(side)) for side in ("height", "width"))
        if not height or not width or height < 1 or width < 1:
            raise ValueError(
                f"image {image_id} of {self.path.name} has the height {entry.get('height')!r} and "
                f"the width {entry.get('width')!r}: write its size into the file; "
                "PIL.Image.open(...).size is (width, height)."
            )
        return height, width

    def _grouped(self, records: Sequence[Record], path: Path) -> dict[int, list[Record]]:
        """Records by image, in the order of the file: -> {image id: records}."""
        by_image: dict[int, list[Record]] = {key: [] for key in self.images}
        for number, record in enumerate(records):
            if not isinstance(record, Mapping):
                raise ValueError(f"record {number} of {path.name} is no dictionary: {record!r:.60}")
            image, category = (
                read_integer(record.get("image_id")),
                read_integer(record.get("category_id")),
            )
            if image not in self.images or category not in self._labels:
                raise ValueError(
                    f"record {number} of {path.name} has image {record.get('image_id')} and "
                    f"category {record.get('category_id')}, but there are {len(self.images)} "
                    f"images and {len(self._labels)} categories, from "
                    f"{min(self._labels, default=None)} to {max(self._labels, default=None)}: does "
                    "it belong to another file, or count categories from 0?"
                )
            by_image[image].append(record)
        return by_image


def _xywh(mask: Tensor) -> list[float]:
    """The box around a mask as COCO writes it: (H, W) -> x, y, width, height."""
    x0, y0, x1, y1 = mask_box(mask)
    return [x0, y0, x1 - x0, y1 - y0]


def _read_json(path: Path, kind: type) -> Any:
    """The content of a JSON file that holds a dictionary or a list.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is cut off, or holds something else.
    """
    try:
        content = json.loads(read_text(path))
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
    png: str | Path, segments: Sequence[Record], classes: Mapping[int, int]
) -> tuple[Tensor, Tensor]:
    """A panoptic PNG as ids of this course, and its crowds: -> (H, W) int64, (H, W) bool.

    Args:
        png: the file.
        segments: its ``segments_info``.
        classes: the class number, from 0, of every category number.

    Raises:
        ValueError: if the image holds a segment that the list does not have, or the reverse; if
            two segments have one number, a segment has an unknown category, or there are more
            segments than the ids of this course can number.
    """
    name, listed = Path(png).name, {}
    for number, segment in enumerate(segments, start=1):
        key, category = (read_integer(segment.get(part)) for part in ("id", "category_id"))
        if key is None or key in listed or category not in classes:
            raise ValueError(
                f"segment {number} of {name} has the id {segment.get('id')!r} and the category "
                f"{segment.get('category_id')!r}: every segment needs an id of its own, and one of "
                f"the {len(classes)} categories in classes."
            )
        listed[key] = (classes[category] * DIVISOR + number, read_flag(segment.get("iscrowd")))
    if len(listed) >= DIVISOR:
        raise ValueError(
            f"{name} has {len(listed)} segments, but an id is {DIVISOR} x class + number, which "
            f"has room for {DIVISOR - 1}: cut the image into parts."
        )
    stored = _stored_ids(png)
    present = set(stored.unique().tolist())  # the reference lets 0 be a segment, too
    unlisted, missing = present - listed.keys() - {0}, listed.keys() - present
    if unlisted or missing:
        raise ValueError(
            f"{name} holds {len(unlisted)} segments that segments_info does not list, "
            f"and lacks {len(missing)} of its segments: do both belong together?"
        )
    ids = torch.full_like(stored, IGNORE * DIVISOR)
    crowd = torch.zeros_like(stored, dtype=torch.bool)
    for key, (own_id, is_crowd) in listed.items():
        own = stored == key
        ids[own] = own_id
        crowd |= own & is_crowd
    return ids, crowd


def _stored_ids(png: str | Path) -> Tensor:
    """The numbers that the colours of a panoptic PNG stand for: -> (H, W) int64."""
    with Image.open(png) as file:
        if file.mode not in ("RGB", "RGBA", "P"):
            raise ValueError(
                f"{Path(png).name} has mode {file.mode}, but a panoptic PNG holds numbers in its "
                "colours: use the file as it was published."
            )
        return rgb_to_ids(torch.from_numpy(np.array(file.convert("RGB"))))
