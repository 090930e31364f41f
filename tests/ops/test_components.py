"""Connected components, against a flood fill, and what they do to objects."""

import pytest
import torch
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.measure import label

from segcourse.ops.components import connected_components, objects_from_classes
from segcourse.ops.labels import IGNORE

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))


def flood(mask, corners):
    """Numbers by painting one part after the other, pixel by pixel."""
    height, width = mask.shape
    numbers = torch.zeros(mask.shape, dtype=torch.int64)
    for start in mask.nonzero().tolist():
        if numbers[tuple(start)]:
            continue
        number, stack = int(numbers.max()) + 1, [tuple(start)]
        while stack:
            y, x = stack.pop()
            if 0 <= y < height and 0 <= x < width and mask[y, x] and not numbers[y, x]:
                numbers[y, x] = number
                stack += [
                    (y + dy, x + dx)
                    for dy in (-1, 0, 1)
                    for dx in (-1, 0, 1)
                    if corners or abs(dy) + abs(dx) == 1
                ]
    return numbers


@given(MASKS)
def test_components_are_those_of_a_flood_fill(array):
    mask = torch.from_numpy(array)
    assert torch.equal(connected_components(mask), flood(mask, corners=True))
    assert torch.equal(connected_components(mask, connectivity=4), flood(mask, corners=False))
    assert connected_components(mask).max() == label(array, connectivity=2).max()


def test_objects_that_touch_become_one_and_an_object_cut_in_two_becomes_two():
    semantic = torch.tensor([[5, 5, 5, 0, 6, 0, 6], [5, 5, 5, 0, IGNORE, 0, 0]])
    assert objects_from_classes(semantic, (5, 6)).tolist() == [
        [1, 1, 1, 0, 2, 0, 3],
        [1, 1, 1, 0, 0, 0, 0],
    ]
    assert not objects_from_classes(semantic, ()).any()


def test_numbers_of_different_classes_differ():
    semantic = torch.tensor([[6, 5, 6]])
    assert objects_from_classes(semantic, (5, 6)).tolist() == [[2, 1, 3]]


def test_the_number_of_neighbors_decides_at_corners():
    diagonal = torch.eye(3).long()
    assert objects_from_classes(diagonal, (1,)).max() == 1
    assert objects_from_classes(diagonal, (1,), connectivity=4).max() == 3


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32])
def test_maps_of_any_width_give_what_int64_gives(dtype):
    """300 objects, more than a byte holds."""
    semantic = torch.tensor([[1, 0] * 300])
    for map_ in (semantic, semantic.T):  # one pixel high, one pixel wide
        objects = objects_from_classes(map_.to(dtype), (1,))
        assert objects.dtype == torch.int64 and objects.max() == 300
        assert torch.equal(connected_components(map_.to(dtype)), objects)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: connected_components(torch.ones(2, 2).bool(), connectivity=6),
            ValueError,
            "connectivity=6",
        ),
        (lambda: connected_components(torch.rand(2, 2)), TypeError, "threshold"),
        (lambda: connected_components(torch.zeros(0, 3).bool()), ValueError, "one pixel"),
        (lambda: objects_from_classes(torch.rand(2, 2), (1,)), TypeError, "semantic"),
        (lambda: objects_from_classes(torch.zeros(1, 2, 2).long(), (1,)), ValueError, "one by one"),
        (lambda: objects_from_classes(torch.tensor([[-1]]), (1,)), ValueError, r"\[-1\]"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
