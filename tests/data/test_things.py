"""Objects of a sample: boxes, classes and masks; what is left out and what is refused."""

import pytest
import torch

from segcourse.data.sample import Sample
from segcourse.data.things import things_of
from segcourse.data.toytown import CLASSES, THINGS, Toytown
from segcourse.ops.labels import IGNORE
from segcourse.ops.masks import mask_box


def sample() -> Sample:
    semantic, instance = torch.zeros(6, 8).long(), torch.zeros(6, 8).long()
    semantic[1:4, 1:3], instance[1:4, 1:3] = 5, 4
    semantic[2, 5], instance[2, 5] = 7, 9
    semantic[5], instance[5] = 3, 2
    return Sample(torch.zeros(3, 6, 8), semantic, instance)


def test_boxes_labels_and_masks():
    found = things_of(sample(), [7, 5])
    assert found.boxes.tolist() == [[1, 1, 3, 4], [5, 2, 6, 3]]
    assert found.labels.tolist() == [1, 0]  # places in the list of things
    assert [int(mask.sum()) for mask in found.masks] == [6, 1]
    assert things_of(sample(), [7, 5], least=2).labels.tolist() == [1]
    none = things_of(sample(), [6])
    assert none.boxes.shape == (0, 4) and none.masks.shape == (0, 6, 8)


def test_an_object_with_void_pixels_keeps_its_class_and_one_of_two_classes_is_refused():
    semantic = sample().semantic
    semantic[1, 1] = IGNORE
    assert things_of(sample()._replace(semantic=semantic), [5]).masks.sum() == 6
    semantic[2, 1] = 7
    with pytest.raises(ValueError, match=r"object 4 spans the classes \[5, 7\]"):
        things_of(sample()._replace(semantic=semantic), [5])


def test_all_of_toytown():
    for scene in Toytown(5):
        found = things_of(scene, THINGS)
        assert len(found.labels) == len(scene.instance.unique()) - 1
        for box, label, mask in zip(*found, strict=True):
            assert tuple(box.int().tolist()) == mask_box(mask)
            assert CLASSES[THINGS[label]] in ("car", "person", "lamp")
