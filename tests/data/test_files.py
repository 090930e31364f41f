"""Reading pictures and label maps, and finding folders."""

import numpy as np
import pytest
import torch
from PIL import Image

from segcourse.data.files import find_folder, load_labels, load_picture


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_a_picture_of_any_kind_has_three_colours(tmp_path, mode):
    picture = Image.fromarray(np.full((4, 6, 3), (255, 0, 51), dtype=np.uint8)).convert(mode)
    picture.save(tmp_path / "a.png")
    image = load_picture(tmp_path / "a.png")
    assert image.shape == (3, 4, 6) and image.dtype == torch.float32
    if mode != "L":
        assert image[:, 0, 0].tolist() == pytest.approx([1, 0, 0.2])


@pytest.mark.parametrize("dtype, largest", [(np.uint8, 255), (np.uint16, 369)])
def test_labels_are_read_as_they_are_stored(tmp_path, dtype, largest):
    labels = np.array([[0, 1], [7, largest]], dtype=dtype)
    Image.fromarray(labels).save(tmp_path / "a.png")
    assert load_labels(tmp_path / "a.png").tolist() == labels.tolist()


def test_colours_are_no_labels(tmp_path):
    Image.fromarray(np.zeros((4, 6, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a.png has mode RGB, colours instead of numbers"):
        load_labels(tmp_path / "a.png")


def test_folders_are_found_where_they_are_named_or_below_the_variable(tmp_path, monkeypatch):
    (tmp_path / "cities" / "images").mkdir(parents=True)
    search = ("Cities", None, ("cities",), "images", "https://x.org")
    monkeypatch.delenv("SEGCOURSE_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"neither root nor SEGCOURSE_DATA.*https://x.org"):
        find_folder(*search)
    monkeypatch.setenv("SEGCOURSE_DATA", str(tmp_path))
    assert find_folder(*search) == tmp_path / "cities"
    here = find_folder("Cities", tmp_path / "cities", (), "images", "https://x.org")
    assert here == tmp_path / "cities"
    with pytest.raises(FileNotFoundError, match="it is not in"):
        find_folder("Cities", tmp_path / "cities" / "images", (), "images", "https://x.org")
