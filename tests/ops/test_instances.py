"""The one type of objects, and what it is made from."""

import pytest
import torch
from torchvision.ops import box_convert, masks_to_boxes

from segcourse.data.toytown import CLASSES, THINGS, Toytown
from segcourse.ops.instances import (
    Instances,
    check_instances,
    instances_from_maps,
    normalized_cxcywh,
)
from segcourse.ops.labels import IGNORE
from segcourse.ops.masks import mask_box

SEMANTIC = torch.tensor([[3, 3, 0, 5], [3, 3, 0, 5], [1, 1, IGNORE, 5]])
INSTANCE = torch.tensor([[7, 7, 0, 2], [7, 7, 0, 2], [9, 9, 9, 2]])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int64])
def test_objects_of_two_maps(dtype):
    semantic = SEMANTIC if dtype == torch.int8 else SEMANTIC.to(dtype)
    found = instances_from_maps(semantic, INSTANCE.to(dtype), [5, 3, 1])
    assert found.labels.tolist() == [0, 1, 2]
    assert torch.equal(found.masks, torch.stack([n == INSTANCE for n in (2, 7, 9)]))
    edges = masks_to_boxes(found.masks) + torch.tensor([0, 0, 1, 1])
    assert torch.equal(found.boxes, edges)


def test_other_classes_and_small_objects_are_left_out():
    found = instances_from_maps(SEMANTIC, INSTANCE, [5, 1], min_area=3)
    assert found.labels.tolist() == [0, 1]
    assert instances_from_maps(SEMANTIC, INSTANCE, [5, 3], min_area=4).labels.tolist() == [1]
    nothing = instances_from_maps(SEMANTIC, torch.zeros_like(INSTANCE), [5])
    assert [tuple(part.shape) for part in nothing] == [(0, 4), (0,), (0, 3, 4)]


def test_an_object_of_two_classes_is_refused():
    with pytest.raises(ValueError, match=r"object 1 spans the classes \[0, 1, 3, 5\]"):
        instances_from_maps(SEMANTIC, torch.ones_like(INSTANCE), [3])


def test_an_object_with_void_pixels_keeps_its_class():
    found = instances_from_maps(SEMANTIC, INSTANCE, [1])
    assert found.labels.tolist() == [0] and found.masks.sum() == 3
    semantic = SEMANTIC.clone()
    semantic[INSTANCE == 9] = IGNORE
    assert len(instances_from_maps(semantic, INSTANCE, [1]).labels) == 0


def test_all_objects_of_toytown():
    for _, semantic, instance in Toytown(5):
        found = instances_from_maps(semantic, instance, THINGS)
        assert len(found.labels) == len(instance.unique()) - 1
        for box, label, mask in zip(*found, strict=True):
            assert tuple(box.int().tolist()) == mask_box(mask)
            assert CLASSES[THINGS[label]] in ("car", "person", "lamp")


def test_maps_of_two_images_are_refused():
    with pytest.raises(ValueError, match="maps of one image"):
        instances_from_maps(SEMANTIC[:2], INSTANCE, [3])


def test_normalized_boxes_are_torchvisions():
    boxes = torch.tensor([[10.0, 20, 30, 60], [0, 0, 256, 192]])
    expected = box_convert(boxes, "xyxy", "cxcywh") / torch.tensor([256, 192, 256, 192])
    assert torch.equal(normalized_cxcywh(boxes, (192, 256)), expected)


GOOD = Instances(torch.tensor([[1.0, 1, 3, 4]]), torch.tensor([1]), torch.ones(1, 8, 9).bool())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"masks": torch.ones(1, 8, 9)}, TypeError, "threshold"),
        ({"labels": torch.tensor([1.0])}, TypeError, "integers"),
        ({"masks": torch.ones(1, 9, 8).bool()}, ValueError, "as large as the image"),
        ({"labels": torch.tensor([2])}, ValueError, "from 0 to 1"),
        ({"labels": torch.tensor([-1])}, ValueError, "from 0 to 1"),
        ({"boxes": torch.tensor([[1.0, 1, 1, 4]])}, ValueError, "no area"),
        ({"boxes": torch.tensor([[9.0, 1, 12, 4]])}, ValueError, "outside its image"),
        ({"boxes": torch.tensor([[-5.0, -4, 0, 0]])}, ValueError, "outside its image"),
        ({"boxes": torch.tensor([[1.0, 1, float("nan"), 4]])}, ValueError, "x1 >= x0"),
    ],
)
def test_instances_that_do_not_fit_are_refused(change, error, message):
    check_instances(GOOD, (8, 9), 2)
    with pytest.raises(error, match=message):
        check_instances(GOOD._replace(**change), (8, 9), 2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.uint16, torch.int32])
def test_labels_of_any_width_come_back_as_int64(dtype):
    found = check_instances(GOOD._replace(labels=GOOD.labels.to(dtype)), (8, 9), 2)
    assert found.labels.dtype == torch.int64 and found.labels.tolist() == [1]
