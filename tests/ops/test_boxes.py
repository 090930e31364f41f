"""Boxes against torchvision, by properties, and where they are empty, touching or upside down."""

import hypothesis.strategies as st
import pytest
import torch
import torchvision.ops as reference
from hypothesis import given

from segcourse.ops import boxes as ours

EMPTY = torch.zeros(0, 4)
ADVERSARIAL = torch.tensor(
    [
        [0, 0, 4, 4],
        [4, 0, 8, 4],  # shares a border
        [4, 4, 8, 8],  # a corner
        [1, 1, 3, 3],  # inside
        [0, 0, 4, 4],  # the same again
        [2, 2, 2, 5],  # no width
        [2.5, 2.5, 2.5, 2.5],  # a point
        [7, 7, 8, 8],  # a pixel
        [-5, -5, -1, -1],
        [0, 0, 1e4, 1e4],
    ]
).float()


def random_boxes(count: int, seed: int, extent: float = 100.0) -> torch.Tensor:
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)) * extent
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)


sets = st.builds(random_boxes, st.integers(0, 12), st.integers(0, 10**6), st.sampled_from([1, 100]))


# ── overlap ─────────────────────────────────────────────────────────────────────────────────────


@given(sets, sets)
def test_iou_and_generalized_iou_are_torchvisions(a, b):
    for one, two in ((a, b), (a, ADVERSARIAL), (ADVERSARIAL, b)):
        assert torch.allclose(ours.box_iou(one, two), reference.box_iou(one, two), atol=1e-6)
        theirs = reference.generalized_box_iou(one, two)
        assert torch.allclose(ours.generalized_box_iou(one, two), theirs, atol=1e-6)


def test_where_torchvision_divides_by_zero_two_empty_boxes_share_nothing():
    got = ours.box_iou(ADVERSARIAL, ADVERSARIAL)
    theirs = reference.box_iou(ADVERSARIAL, ADVERSARIAL)
    assert theirs.isnan().any() and torch.equal(got, theirs.nan_to_num(0.0))
    assert ours.generalized_box_iou(ADVERSARIAL, ADVERSARIAL).isfinite().all()
    assert ours.box_iou(EMPTY, ADVERSARIAL).shape == (0, 10)


def test_golden_values():
    a, b = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 1, 3, 3]])
    assert ours.box_iou(a, b).item() == pytest.approx(1 / 7)
    assert ours.generalized_box_iou(a, b).item() == pytest.approx(-0.079365, abs=1e-6)


@given(sets)
def test_generalized_box_iou_lies_in_its_bounds_and_below_iou(a):
    iou, generalized = ours.box_iou(a, a), ours.generalized_box_iou(a, a)
    assert (generalized <= iou + 1e-6).all() and (generalized >= -1 - 1e-6).all()
    assert torch.allclose(generalized, generalized.T, atol=1e-6)
    assert torch.allclose(iou.diagonal(), (ours.box_area(a) > 0).float())


@pytest.mark.parametrize("name", ["box_iou", "generalized_box_iou"])
def test_gradients_are_torchvisions(name):
    a, b = random_boxes(6, 0), random_boxes(5, 1)
    gradients = []
    for function in (getattr(ours, name), getattr(reference, name)):
        x = a.clone().requires_grad_()
        function(x, b).square().sum().backward()
        gradients.append(x.grad)
    assert torch.allclose(*gradients, atol=1e-6) and gradients[0].any()


# ── narrow types ────────────────────────────────────────────────────────────────────────────────

PIXELS = torch.tensor([[0.0, 0, 400, 400], [10, 10, 410, 410], [4, 0, 404, 400]])  # exact in fp16
SHARES = torch.tensor([[0.1, 0.1, 0.105, 0.105], [0.1, 0.1, 0.105, 0.105]]).half().float()


@pytest.mark.parametrize("boxes", [PIXELS, SHARES])
@pytest.mark.parametrize("name", ["box_iou", "generalized_box_iou"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_overlaps_of_half_precision_are_those_of_the_rounded_boxes(name, boxes, dtype):
    narrow, function = boxes.to(dtype), getattr(ours, name)
    wanted = function(narrow.double(), narrow.double())
    for found in (function(narrow, narrow), function(narrow, narrow.float())):
        assert found.dtype == torch.float32 and torch.allclose(found.double(), wanted, atol=1e-4)
    assert function(narrow, narrow.double()).dtype == torch.float64


def test_areas_of_narrow_types_do_not_overflow():
    assert ours.box_area(PIXELS.half()).tolist() == [160000.0] * 3
    for dtype in (torch.int16, torch.int32, torch.int64):
        assert ours.box_area(PIXELS.to(dtype)).tolist() == [160000] * 3
    assert ours.intersections(PIXELS.half(), PIXELS.half())[0, 0] == 160000


# ── other ways to write a box ───────────────────────────────────────────────────────────────────


@given(sets)
def test_conversions_are_torchvisions_and_come_back(a):
    for form, to, back in (("xywh", ours.to_xywh, ours.from_xywh),
                           ("cxcywh", ours.to_cxcywh, ours.from_cxcywh)):  # fmt: skip
        assert torch.allclose(to(a), reference.box_convert(a, "xyxy", form), atol=1e-5)
        assert torch.allclose(back(to(a)), a, atol=1e-4)


@given(sets)
def test_clipping_is_torchvisions(a):
    assert torch.equal(
        ours.clip_boxes_to_image(a, (40, 60)), reference.clip_boxes_to_image(a, (40, 60))
    )


# ── bad input ───────────────────────────────────────────────────────────────────────────────────

BOX = torch.tensor([[0.0, 0, 2, 2]])


@pytest.mark.parametrize(
    "call, error, remedy",
    [
        (lambda: ours.box_iou(torch.tensor([[3.0, 0, 1, 2]]), BOX), ValueError, "from_xywh"),
        (lambda: ours.box_iou(BOX, BOX * float("nan")), ValueError, "one is .nan"),
        (lambda: ours.box_iou(BOX[0, :3], BOX), ValueError, r"these have \(3,\)"),
        (lambda: ours.box_iou(BOX.int(), BOX), TypeError, r"int32: use .float\(\)"),
        (lambda: ours.box_iou([[0, 0, 1, 1]], BOX), TypeError, "came as list"),
        (lambda: ours.from_xywh(torch.tensor([1.0, 1, -2, 3])), ValueError, "x1 >= x0"),
    ],
)
def test_bad_boxes_are_refused_with_the_remedy(call, error, remedy):
    with pytest.raises(error, match=remedy):
        call()
