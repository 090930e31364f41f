"""Label maps: what is legal, their colours, their objects."""

import pytest
import torch

from segcourse.ops.labels import IGNORE, check_integers, check_labels, colorize, object_masks


def test_classes_and_void_are_legal_labels_of_any_integer_type():
    for dtype in (torch.uint8, torch.int16, torch.int64):
        check_labels(torch.tensor([[0, 2], [IGNORE, 1]]).to(dtype), 3)


@pytest.mark.parametrize(
    "labels, error, message",
    [
        (torch.tensor([0.5]), TypeError, "never interpolate"),
        (torch.tensor([True]), TypeError, "torch.bool"),
        ([0, 1], TypeError, "list"),
        (torch.tensor([0, 3, 7]), ValueError, r"\[3, 7\], but 3 classes are numbered 0 to 2"),
        (torch.tensor([-1]), ValueError, r"\[-1\]"),
        (torch.arange(100), ValueError, "89 more"),
    ],
)
def test_other_labels_are_refused_by_value(labels, error, message):
    with pytest.raises(error, match=message):
        check_labels(labels, 3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int64])
def test_every_class_gets_its_color_and_void_is_black(dtype):
    colors = colorize(torch.tensor([[0, 1, IGNORE]]).to(dtype), [(10, 20, 30), (40, 50, 60)])
    assert colors.tolist() == [[[10, 20, 30], [40, 50, 60], [0, 0, 0]]]


def test_a_palette_may_be_longer_than_the_numbers_of_a_byte():
    palette = [(n % 256, n // 256, 7) for n in range(300)]
    colors = colorize(torch.tensor([[3, 299, IGNORE]]), palette, void=(1, 2, 3))
    assert colors.tolist() == [[[3, 0, 7], [43, 1, 7], [1, 2, 3]]]


def test_objects_come_in_the_order_of_their_numbers():
    masks = object_masks(torch.tensor([[0, 7], [3, 7]]))
    assert masks.tolist() == [[[False, False], [True, False]], [[False, True], [False, True]]]
    assert object_masks(torch.zeros(2, 2, dtype=torch.int64)).shape == (0, 2, 2)
    with pytest.raises(ValueError, match="two axes"):
        object_masks(torch.zeros(1, 2, 2))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32])
@pytest.mark.parametrize(("num_classes", "ignore_index"), [(5, 255), (300, 255), (5, -100)])
def test_labels_of_any_width_are_compared_as_numbers(dtype, num_classes, ignore_index):
    labels = torch.tensor([0, 4, 3], dtype=dtype)
    assert check_labels(labels, num_classes, ignore_index=ignore_index).tolist() == [0, 4, 3]
    with pytest.raises(ValueError, match="4"):
        check_labels(labels, 4, ignore_index=ignore_index)
    if dtype in (torch.int8, torch.int16, torch.int32):
        with pytest.raises(ValueError, match="-1"):  # in int8, -1 is what 255 becomes
            check_labels(torch.tensor([-1], dtype=dtype), num_classes, ignore_index=ignore_index)


def test_numbers_of_objects_are_not_negative():
    widened = check_integers(torch.tensor([0, 200], dtype=torch.uint8), "instance")
    assert widened.dtype == torch.int64 and widened.tolist() == [0, 200]
    with pytest.raises(ValueError, match="too narrow"):
        check_integers(torch.tensor([-56], dtype=torch.int8), "instance")
