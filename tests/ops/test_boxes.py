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
        assert torch.allclose(ours.generalized_iou(one, two), theirs, atol=1e-6)


def test_where_torchvision_divides_by_zero_two_empty_boxes_share_nothing():
    got = ours.box_iou(ADVERSARIAL, ADVERSARIAL)
    theirs = reference.box_iou(ADVERSARIAL, ADVERSARIAL)
    assert theirs.isnan().any() and torch.equal(got, theirs.nan_to_num(0.0))
    assert ours.generalized_iou(ADVERSARIAL, ADVERSARIAL).isfinite().all()
    assert ours.box_iou(EMPTY, ADVERSARIAL).shape == (0, 10)


def test_golden_values():
    a, b = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 1, 3, 3]])
    assert ours.box_iou(a, b).item() == pytest.approx(1 / 7)
    assert ours.generalized_iou(a, b).item() == pytest.approx(-0.079365, abs=1e-6)


@given(sets)
def test_generalized_iou_lies_in_its_bounds_and_below_iou(a):
    iou, generalized = ours.box_iou(a, a), ours.generalized_iou(a, a)
    assert (generalized <= iou + 1e-6).all() and (generalized >= -1 - 1e-6).all()
    assert torch.allclose(generalized, generalized.T, atol=1e-6)
    assert torch.allclose(iou.diagonal(), (ours.box_area(a) > 0).float())


@pytest.mark.parametrize("name, theirs", [("box_iou", "box_iou"),
                                          ("generalized_iou", "generalized_box_iou")])  # fmt: skip
def test_gradients_are_torchvisions(name, theirs):
    a, b = random_boxes(6, 0), random_boxes(5, 1)
    gradients = []
    for function in (getattr(ours, name), getattr(reference, theirs)):
        x = a.clone().requires_grad_()
        function(x, b).square().sum().backward()
        gradients.append(x.grad)
    assert torch.allclose(*gradients, atol=1e-6) and gradients[0].any()


# ── other ways to write a box ───────────────────────────────────────────────────────────────────


@given(sets)
def test_conversions_are_torchvisions_and_come_back(a):
    for form, to, back in (("xywh", ours.to_xywh, ours.from_xywh),
                           ("cxcywh", ours.to_cxcywh, ours.from_cxcywh)):  # fmt: skip
        assert torch.allclose(to(a), reference.box_convert(a, "xyxy", form), atol=1e-5)
        assert torch.allclose(back(to(a)), a, atol=1e-4)


@given(sets)
def test_clipping_is_torchvisions(a):
    assert torch.equal(ours.clip_boxes(a, (40, 60)), reference.clip_boxes_to_image(a, (40, 60)))


# ── suppression ─────────────────────────────────────────────────────────────────────────────────


@given(sets, st.floats(0, 1), st.integers(0, 10**6))
def test_nms_is_torchvisions(boxes, threshold, seed):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.cat([boxes, boxes + 0.1])
    scores = torch.rand(len(boxes), generator=generator)
    labels = torch.randint(3, (len(boxes),), generator=generator)
    got = ours.nms(boxes, scores, threshold=threshold)
    assert got.tolist() == reference.nms(boxes, scores, threshold).tolist()
    got = ours.nms(boxes, scores, labels=labels, threshold=threshold)
    assert got.tolist() == reference.batched_nms(boxes, scores, labels, threshold).tolist()


def test_of_many_equal_boxes_the_first_of_the_best_stays():
    boxes, scores = ADVERSARIAL[:1].expand(369, 4), torch.full((369,), 0.5)
    assert ours.nms(boxes, scores, threshold=0.5).tolist() == [0]
    assert ours.nms(boxes, scores, labels=torch.arange(369), threshold=0.5).shape == (369,)
    assert ours.nms(EMPTY, torch.zeros(0), threshold=0.5).tolist() == []


def test_an_overlap_of_exactly_the_threshold_is_kept():
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1]])
    scores = torch.tensor([0.9, 0.8])
    assert ours.nms(boxes, scores, threshold=0.5).tolist() == [0, 1]
    assert ours.nms(boxes, scores, threshold=0.49).tolist() == [0]


def soft_nms_by_the_paper(boxes, scores, sigma, least):
    """Soft-NMS's figure 2, box by box."""
    remaining, result = list(range(len(boxes))), []
    scores = scores.tolist()
    while remaining:
        best = max(remaining, key=lambda index: scores[index])
        remaining.remove(best)
        if scores[best] < least:
            break
        result.append((best, scores[best]))
        for index in remaining:
            iou = reference.box_iou(boxes[best, None], boxes[index, None]).item()
            scores[index] *= 2.718281828459045 ** (-(iou**2) / sigma)
    return result


@pytest.mark.parametrize("seed", range(5))
def test_soft_nms_is_the_papers(seed):
    boxes = torch.cat([random_boxes(12, seed), random_boxes(12, seed) + 3])
    scores = torch.rand(24, generator=torch.Generator().manual_seed(seed))
    found, lowered = ours.soft_nms(boxes, scores, sigma=0.5, least=0.05)
    want = soft_nms_by_the_paper(boxes, scores, 0.5, 0.05)
    assert found.tolist() == [index for index, _ in want]
    assert lowered.tolist() == pytest.approx([score for _, score in want], abs=1e-6)
    assert len(ours.soft_nms(EMPTY, torch.zeros(0))[0]) == 0


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
        (lambda: ours.nms(BOX, torch.zeros(2), threshold=0.5), ValueError, "one score for each"),
        (lambda: ours.nms(BOX, torch.zeros(1) / 0, threshold=0.5), ValueError, "1 of 1 scores"),
        (lambda: ours.nms(BOX, torch.ones(1), threshold=50), ValueError, "threshold=50 .*0 to 1"),
        (
            lambda: ours.nms(BOX, torch.ones(1), labels=torch.ones(2), threshold=0.5),
            ValueError,
            "give each box one",
        ),
        (lambda: ours.soft_nms(BOX, torch.ones(1), sigma=0), ValueError, "above 0"),
    ],
)
def test_bad_boxes_are_refused_with_the_remedy(call, error, remedy):
    with pytest.raises(error, match=remedy):
        call()
