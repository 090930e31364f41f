"""DSB2018: a made-up copy of its layout always, the real pictures where they are."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from segcourse.data.dsb2018 import DSB2018
from segcourse.data.files import load_labels


@pytest.fixture
def root(tmp_path):
    for name, nuclei in (("b", 2), ("a", 0)):
        for folder in ("images", "masks"):
            (tmp_path / "stage1_train" / name / folder).mkdir(parents=True)
        pixels = np.full((6, 8, 4), 255, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "stage1_train" / name / "images" / f"{name}.png")
        for number in range(nuclei):
            mask = np.zeros((6, 8), dtype=np.uint8)
            mask[1:4, 2 * number : 2 * number + 3] = 255
            file = tmp_path / "stage1_train" / name / "masks" / f"{number}.png"
            Image.fromarray(mask).save(file)
    return tmp_path


def test_every_mask_file_is_an_object_and_the_later_one_is_in_front(root):
    data = DSB2018(root)
    assert data.names == ["a", "b"]
    assert not data[0].instance.any() and data[0].image.shape == (3, 6, 8)
    _, semantic, instance = data[1]
    assert instance[1].tolist() == [1, 1, 2, 2, 2, 0, 0, 0]
    assert torch.equal(semantic, (instance > 0).long())
    assert DSB2018(root, names=["b"]).names == ["b"]


def test_what_is_missing_or_does_not_fit_is_named(root):
    with pytest.raises(FileNotFoundError, match=r"holds 2 images, but \['c'\] and 0 more"):
        DSB2018(root, names=["a", "c"])
    Image.fromarray(np.zeros((4, 8), np.uint8)).save(root / "stage1_train/b/masks/9.png")
    with pytest.raises(ValueError, match=r"9.png has \(4, 8\) pixels"):
        DSB2018(root)[1]
    with pytest.raises(FileNotFoundError, match=r"DSB2018 was not found.*kaggle"):
        DSB2018(root / "stage1_train" / "a")


def test_an_image_without_masks_is_refused_and_not_taken_for_empty(root):
    (root / "stage1_train" / "a" / "masks").rmdir()
    with pytest.raises(FileNotFoundError, match="a has no folder masks"):
        DSB2018(root)[0]


def test_files_that_macos_adds_are_passed_over(root):
    (root / "stage1_train" / "b" / "masks" / "._0.png").write_bytes(b"Mac OS X")
    assert DSB2018(root)[1].instance.max() == 2


def test_label_maps_of_real_pictures(real_data):
    root = real_data("dsb2018")
    with open(root / "subset.csv", newline="") as file:
        rows = {row["ImageId"]: row for row in csv.DictReader(file)}
    data = DSB2018(root)
    assert sorted(rows) == data.names and len(data) == 60
    for index in (0, 17, 40):
        name = data.names[index]
        stored = load_labels(root / "labels" / f"{name}.png")
        assert torch.equal(data[index].instance, stored)
        assert int(stored.max()) == int(rows[name]["n_masks"])
