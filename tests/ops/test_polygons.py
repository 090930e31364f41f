"""Polygons: exact round trips along pixel edges, scikit-image as oracle, holes and neighbours."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.draw import polygon2mask

from segcourse.ops.masks import mask_box
from segcourse.ops.polygons import mask_to_polygons, polygon_area, polygons_to_mask, simplify

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))
RING = torch.ones(5, 5).bool()
RING[2, 2] = False
SQUARE = [(1, 1), (3, 1), (3, 3), (1, 3)]


@given(MASKS)
def test_pixel_edges_give_the_mask_back(array):
    mask = torch.from_numpy(array)
    rings = mask_to_polygons(mask)
    assert torch.equal(polygons_to_mask(rings, array.shape), mask)
    assert sum(polygon_area(ring) for ring in rings) == mask.sum()


@given(MASKS)
def test_corners_are_corners(array):
    for ring in mask_to_polygons(torch.from_numpy(array)):
        steps = ring.roll(-1, dims=0) - ring
        assert ((steps == 0).sum(dim=1) == 1).all()  # along one axis
        assert ((steps * steps.roll(-1, dims=0)).sum(dim=1) == 0).all()  # then along the other


def test_a_square_has_four_corners_clockwise_on_the_screen():
    mask = torch.zeros(4, 4).bool()
    mask[1:3, 1:3] = True
    assert [ring.tolist() for ring in mask_to_polygons(mask)] == [[list(v) for v in SQUARE]]
    assert polygon_area(SQUARE) == 4 and polygon_area(SQUARE[::-1]) == -4
    assert mask_box(mask) == (1, 1, 3, 3)


def test_a_hole_is_a_ring_of_negative_area_and_coco_loses_it():
    rings = mask_to_polygons(RING)
    assert [polygon_area(ring) for ring in rings] == [25, -1]
    assert torch.equal(polygons_to_mask(rings, (5, 5)), RING)
    assert polygons_to_mask(rings, (5, 5), holes=False).all()


def test_pixels_that_meet_in_a_corner_have_rings_of_their_own():
    assert len(mask_to_polygons(torch.eye(3).bool())) == 3
    assert len(mask_to_polygons(~torch.eye(2).bool())) == 2
    assert mask_to_polygons(torch.zeros(3, 3).bool()) == []


vertices = st.lists(
    st.tuples(*[st.floats(-2, 12).map(lambda v: round(v, 2) + 0.0033)] * 2),
    min_size=3,
    max_size=7,
    unique=True,
)


@given(vertices)
def test_pixels_are_those_of_scikit_image(ring):
    """The vertices keep away from pixel centres, where conventions differ."""
    rows_and_columns = np.array(ring)[:, ::-1] - 0.5  # its pixel centres are whole numbers
    theirs = polygon2mask((8, 10), rows_and_columns)
    ours = polygons_to_mask([ring], (8, 10)).numpy()
    assert (ours != theirs).sum() <= on_a_border(ring, ours != theirs)


def on_a_border(ring, pixels):
    """How many of the pixels have a centre within 1e-9 of a border: there, rounding decides."""
    count = 0
    for row, column in np.argwhere(pixels):
        centre = np.array([column + 0.5, row + 0.5])
        for a, b in zip(np.array(ring), np.roll(ring, -1, axis=0), strict=True):
            along = np.clip(np.dot(centre - a, b - a) / np.dot(b - a, b - a), 0, 1)
            if np.linalg.norm(a + along * (b - a) - centre) < 1e-9:
                count += 1
                break
    return count


@given(st.floats(0, 8), st.floats(0, 8), st.floats(0, 6), st.floats(0, 6))
def test_neighbors_leave_no_gap_and_do_not_overlap(top, bottom, start, end):
    left = [(0, 0), (top, 0), (start + 1, 3), (bottom, 6), (0, 6)]
    right = [(8, 0), (8, 6), (bottom, 6), (start + 1, 3), (top, 0)]
    masks = [polygons_to_mask([ring], (6, 8)).int() for ring in (left, right)]
    assert (masks[0] + masks[1] == 1).all()


def test_centers_on_a_border_belong_to_one_side():
    half = [(0, 0), (1.5, 0), (1.5, 2), (0, 2)]
    rest = [(1.5, 0), (3, 0), (3, 2), (1.5, 2)]
    assert polygons_to_mask([half], (2, 3)).sum() + polygons_to_mask([rest], (2, 3)).sum() == 6


def test_what_lies_outside_is_cut_off():
    assert polygons_to_mask([[(-9, -9), (99, -9), (99, 99), (-9, 99)]], (3, 4)).all()
    assert not polygons_to_mask([[(-9, -9), (-1, -9), (-1, 9)]], (3, 4)).any()
    assert not polygons_to_mask([], (3, 4)).any()


@given(MASKS, st.floats(0, 4))
def test_simplification_keeps_rings_and_never_adds_vertices(array, tolerance):
    for ring in mask_to_polygons(torch.from_numpy(array)):
        fewer = simplify(ring, tolerance)
        assert 3 <= len(fewer) <= len(ring)
        assert all((ring == vertex).all(dim=1).any() for vertex in fewer)
        if tolerance == 0:
            assert abs(polygon_area(fewer) - polygon_area(ring)) < 1e-9


def test_a_staircase_becomes_a_line():
    stairs = torch.tril(torch.ones(20, 20)).bool()
    (ring,) = mask_to_polygons(stairs)
    assert len(ring) == 42
    assert len(simplify(ring, 1.0)) <= 5


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: polygons_to_mask([[1, 1, 3, 1, 3, 3]], (4, 4)), r"reshape\(-1, 2\)"),
        (lambda: polygons_to_mask([[(1, 1), (2, 2)]], (4, 4)), "at least three"),
        (lambda: polygons_to_mask([[(1, 1), (2, 2), (float("nan"), 0)]], (4, 4)), "finite"),
        (lambda: polygons_to_mask([SQUARE], (0, 4)), "at least 1"),
        (lambda: polygon_area([(0, 0)]), r"shape \(1, 2\)"),
        (lambda: simplify(SQUARE, -1), "tolerance"),
        (lambda: mask_to_polygons(torch.tensor([[0, 2]])), "holds 2"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
