"""Photographs: they need no network, and their outlines are a proper COCO file."""

import importlib.metadata
import socket
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch

from segcourse.data import photographs as module
from segcourse.data.photographs import (
    CLASSES,
    NAMES,
    PALETTE,
    THINGS,
    Photographs,
    annotations,
    load,
    load_photographs,
    outlines,
    rings,
)
from segcourse.ops.labels import IGNORE, check_labels, object_masks
from segcourse.ops.polygons import polygons_to_mask

DATASET = Photographs(longest=256)


def test_pictures_are_files_of_the_wheel_and_load_without_a_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a photograph asked for the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr("skimage.data._fetchers._image_fetcher", None)  # pooch
    shipped = {file.name for file in importlib.metadata.files("scikit-image") or []}
    for image in annotations()["images"]:
        assert image["file_name"] in shipped
        assert (Path(skimage.__file__).parent / "data" / image["file_name"]).is_file()
        assert load(image["name"]).shape == (image["height"], image["width"], 3)


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
class TestPhotograph:
    def test_is_a_sample_of_legal_labels(self, index):
        image, semantic, instance = DATASET[index]
        assert image.dtype == torch.float32 and image.shape == (3, *semantic.shape)
        assert image.min() >= 0 and image.max() <= 1 and max(semantic.shape) <= 256
        assert semantic.dtype == instance.dtype == torch.int64
        check_labels(semantic, len(CLASSES))

    def test_objects_are_numbered_without_gaps_and_belong_to_one_thing_each(self, index):
        _, semantic, instance = DATASET[index]
        numbers = instance.unique().tolist()
        assert numbers == list(range(len(numbers)))
        for mask in object_masks(instance):
            (label,) = semantic[mask].unique().tolist()
            assert label in THINGS
        things = torch.isin(semantic, torch.tensor(THINGS))
        assert torch.equal(things, instance > 0)

    def test_outlines_are_in_the_picture_with_their_area_and_box(self, index):
        image = annotations()["images"][index]
        size = image["height"], image["width"]
        for annotation in outlines(NAMES[index]):
            polygons = rings(annotation)
            corners = torch.cat(polygons)
            assert corners.min() >= 0 and (corners <= torch.tensor(size[::-1])).all()
            mask = polygons_to_mask(polygons, size, holes=False)
            assert annotation["area"] == int(mask.sum()) > 0
            (x0, y0), (x1, y1) = corners.amin(dim=0).tolist(), corners.amax(dim=0).tolist()
            assert np.allclose(annotation["bbox"], [x0, y0, x1 - x0, y1 - y0], atol=0.06)

    def test_outlines_lie_where_the_picture_changes(self, index):
        """Shifted by twelve pixels to a side, they would lie where it changes much less."""
        image, semantic, _ = Photographs(NAMES[index], longest=512)[0]
        change = (image[:, :, 4:] - image[:, :, :-4]).abs().mean(dim=0)
        border = semantic[:, 4:] != semantic[:, :-4]
        here, *elsewhere = [change[border.roll(shift, 1)].mean() for shift in (0, 12, -12)]
        assert here > 1.5 * max(elsewhere)


def test_annotations_are_coco():
    coco = annotations()
    assert [image["id"] for image in coco["images"]] == list(range(1, len(NAMES) + 1))
    assert tuple(image["name"] for image in coco["images"]) == NAMES
    numbers = [annotation["id"] for annotation in coco["annotations"]]
    assert numbers == list(range(1, len(numbers) + 1))
    categories = {each["id"]: each for each in coco["categories"]}
    assert tuple(categories[number]["name"] for number in range(len(CLASSES))) == CLASSES
    assert tuple(n for n, each in categories.items() if each["isthing"]) == THINGS
    assert categories[IGNORE]["name"] == "void" and len(categories) == len(CLASSES) + 1
    licenses = {each["id"] for each in coco["licenses"]}
    assert {image["license"] for image in coco["images"]} <= licenses
    for annotation in coco["annotations"]:
        assert annotation["iscrowd"] == 0 and annotation["category_id"] in categories
        assert all(len(flat) % 2 == 0 and len(flat) >= 6 for flat in annotation["segmentation"])
    assert len(PALETTE) == len(CLASSES) <= IGNORE


def test_every_class_but_those_of_no_outline_occurs():
    found = {number for _, semantic, _ in DATASET for number in semantic.unique().tolist()}
    assert found == {*range(len(CLASSES)), IGNORE}


def test_all_twenty_four_coins_are_there():
    coins = load_photographs(longest=384)["coins"]
    assert int(coins.instance.max()) == 24
    areas = object_masks(coins.instance).flatten(1).sum(dim=1)
    assert areas.min() > 800 and areas.max() < 3500


def test_later_outlines_lie_on_earlier_ones():
    semantic = Photographs("coffee")[0].semantic
    assert CLASSES[semantic[150, 290]] == "coffee" and CLASSES[semantic[195, 290]] == "cup"
    assert CLASSES[semantic[300, 120]] == "saucer" and CLASSES[semantic[280, 370]] == "spoon"
    assert CLASSES[semantic[350, 580]] == "table" and CLASSES[semantic[5, 5]] == "background"


def test_shrunk_truth_stays_true():
    """Outlines are shrunk and painted again: areas stay, where shrinking labels would round."""
    full, small = Photographs("camera")[0].semantic, Photographs("camera", longest=128)[0].semantic
    for label in full.unique():
        share = [(labels == label).double().mean().item() for labels in (full, small)]
        assert abs(share[0] - share[1]) < 0.003


def test_an_object_that_is_covered_leaves_no_gap_in_the_numbers(monkeypatch):
    square = {"segmentation": [[0, 0, 9, 0, 9, 9, 0, 9]], "category_id": 1}
    monkeypatch.setattr(module, "outlines", lambda name: [square, square])
    semantic, instance = module.paint("any", (4, 4), torch.ones(2))
    assert (semantic == 1).all() and (instance == 1).all()


def test_subsets_and_indices():
    dataset = Photographs(("coins", "cat"), longest=64)
    assert len(dataset) == 2 and dataset.names == ("coins", "cat")
    assert dataset[0].image.shape[2] == 64
    for index in (2, -1):
        with pytest.raises(IndexError):
            dataset[index]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Photographs("chelsea"), r"no photograph \['chelsea'\]: choose from"),
        (lambda: Photographs(longest=0), "longest"),
        (lambda: outlines("dog"), "no photograph 'dog'"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
