"""Penn-Fudan: a made-up copy of its layout always, the real layout where it is."""

import numpy as np
import pytest
from PIL import Image

from segcourse.data.pennfudan import PennFudan
from segcourse.ops.instances import instances_from_maps


@pytest.fixture
def root(tmp_path):
    for folder in ("PNGImages", "PedMasks"):
        (tmp_path / folder).mkdir()
    for number in (2, 1):
        mask = np.zeros((6, 8), dtype=np.uint8)
        mask[1:4, 1:3], mask[2:5, 5:7] = 1, number
        Image.fromarray(np.full((6, 8, 3), 51 * number, dtype=np.uint8)).save(
            tmp_path / "PNGImages" / f"FudanPed0000{number}.png"
        )
        Image.fromarray(mask).save(tmp_path / "PedMasks" / f"FudanPed0000{number}_mask.png")
    return tmp_path


def test_pictures_in_the_order_of_their_names(root):
    data = PennFudan(root)
    assert len(data) == 2
    image, semantic, instance = data[1]
    assert image.shape == (3, 6, 8) and image[0, 0, 0].item() == pytest.approx(0.4)
    assert instance.unique().tolist() == [0, 1, 2] and semantic.unique().tolist() == [0, 1]
    things = instances_from_maps(semantic, instance, [1])
    assert things.boxes.tolist() == [[1, 1, 3, 4], [5, 2, 7, 5]] and things.labels.tolist() == [
        0,
        0,
    ]


def test_what_is_missing_or_does_not_fit_is_named(root, tmp_path):
    Image.fromarray(np.zeros((4, 8), dtype=np.uint8)).save(
        root / "PedMasks" / "FudanPed00001_mask.png"
    )
    with pytest.raises(ValueError, match=r"FudanPed00001.png has \(6, 8\) pixels"):
        PennFudan(root)[0]
    (root / "PedMasks" / "FudanPed00002_mask.png").unlink()
    with pytest.raises(FileNotFoundError, match="2 pictures, of which 1 have no mask"):
        PennFudan(root)
    with pytest.raises(FileNotFoundError, match=r"Penn-Fudan was not found.*PennFudanPed.zip"):
        PennFudan(root / "PNGImages")


def test_the_boxes_are_those_of_the_annotations(real_data):
    data = PennFudan(real_data("pennfudan_layout"))
    assert len(data) == 20
    count = 0
    for index, picture in enumerate(data.pictures):
        text = (data.root / "Annotation" / f"{picture.stem}.txt").read_text()
        wanted = [line.rpartition(" : ")[2] for line in text.splitlines() if "(Xmax" in line]
        _, semantic, instance = data[index]
        boxes = instances_from_maps(semantic, instance, [1]).boxes.int().tolist()
        count += len(boxes)
        assert [f"({x0 + 1}, {y0 + 1}) - ({x1}, {y1})" for x0, y0, x1, y1 in boxes] == wanted
    assert count == 38
