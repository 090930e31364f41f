"""Suppression against torchvision, by the papers, and by its definition box by box."""

import hypothesis.strategies as st
import pytest
import torch
import torchvision.ops as reference
from hypothesis import example, given

from segcourse.ops import suppression as ours

EMPTY = torch.zeros(0, 4)
BOX = torch.tensor([[0.0, 0, 2, 2]])
BOTH = pytest.mark.parametrize("nms", [ours.nms, ours.plain_nms])


def random_boxes(count: int, seed: int, extent: float = 100.0) -> torch.Tensor:
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)) * extent
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)


sets = st.builds(random_boxes, st.integers(0, 12), st.integers(0, 10**6), st.sampled_from([1, 100]))


@BOTH
@given(sets, st.floats(0, 1), st.integers(0, 10**6))
@example(random_boxes(4, 0), 0.0, 0)
@example(random_boxes(4, 0), 1.0, 0)
def test_nms_is_torchvisions(nms, boxes, threshold, seed):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.cat([boxes, boxes + 0.1])
    scores = torch.rand(len(boxes), generator=generator)
    labels = torch.randint(3, (len(boxes),), generator=generator)
    got = nms(boxes, scores, iou_threshold=threshold)
    assert got.tolist() == reference.nms(boxes, scores, threshold).tolist()
    got = nms(boxes, scores, labels=labels, iou_threshold=threshold)
    assert got.tolist() == reference.batched_nms(boxes, scores, labels, threshold).tolist()


@given(st.integers(0, 10**6), st.sampled_from([0.0, 1 / 7, 0.25, 1 / 3, 0.5, 2 / 3, 1.0]))
def test_ties_of_scores_and_overlaps_are_settled_alike(seed, threshold):
    """Boxes on a small grid, so that scores tie and overlaps are exactly the threshold."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(-2, 3, (20, 2, 2), generator=generator).float()
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)  # some have no area
    scores = torch.randint(3, (20,), generator=generator) / 2
    labels = torch.randint(2, (20,), generator=generator)
    for some in (None, labels):
        got, plain = (f(boxes, scores, iou_threshold=threshold, labels=some)
                      for f in (ours.nms, ours.plain_nms))  # fmt: skip
        assert got.tolist() == plain.tolist()
    assert ours.nms(boxes, scores, iou_threshold=threshold).tolist() == (
        reference.nms(boxes, scores, threshold).tolist()
    )


@BOTH
def test_of_many_equal_boxes_the_first_of_the_best_stays(nms):
    boxes, scores = torch.tensor([[0.0, 0, 4, 4]]).expand(369, 4), torch.full((369,), 0.5)
    assert nms(boxes, scores, iou_threshold=0.5).tolist() == [0]
    assert nms(boxes, scores, labels=torch.arange(369), iou_threshold=0.5).shape == (369,)


@BOTH
def test_no_boxes_leave_no_indices(nms):
    for labels in (None, torch.zeros(0).long()):
        kept = nms(EMPTY, torch.zeros(0), iou_threshold=0.5, labels=labels)
        assert kept.shape == (0,) and kept.dtype == torch.int64


@BOTH
def test_an_overlap_of_exactly_the_threshold_is_kept(nms):
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, iou_threshold=0.5).tolist() == [0, 1]
    assert nms(boxes, scores, iou_threshold=0.49).tolist() == [0]


@BOTH
def test_boxes_of_different_labels_leave_each_other_alone_wherever_they_lie(nms):
    """torchvision shifts the second box onto the first, and drops it."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [-11, -11, -1, -1]])
    scores, labels = torch.tensor([0.9, 0.8]), torch.tensor([0, 1])
    assert reference.batched_nms(boxes, scores, labels, 0.5).tolist() == [0]
    assert nms(boxes, scores, labels=labels, iou_threshold=0.5).tolist() == [0, 1]


PIXELS = torch.tensor([[0.0, 0, 400, 400], [10, 10, 410, 410], [4, 0, 404, 400]])  # exact in fp16
SCORES = torch.tensor([0.9, 0.8, 0.7])


@pytest.mark.parametrize("boxes", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("scores", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_switches_no_suppression_off(boxes, scores):
    for nms in (ours.nms, ours.plain_nms):
        assert nms(PIXELS.to(boxes), SCORES.to(scores), iou_threshold=0.5).tolist() == [0]
        with torch.autocast("cpu", torch.bfloat16):
            assert nms(PIXELS.to(boxes), SCORES.to(scores), iou_threshold=0.5).tolist() == [0]
    found, lowered = ours.soft_nms(PIXELS.to(boxes), SCORES.to(scores))
    wanted = ours.soft_nms(PIXELS, SCORES)
    assert found.tolist() == wanted[0].tolist() == [0, 1, 2]
    assert torch.allclose(lowered.float(), wanted[1], atol=0.01)


@BOTH
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.uint16, torch.int16, torch.bool])
def test_labels_of_any_type_are_told_apart(nms, dtype):
    labels = torch.tensor([0, 1, 1], dtype=dtype)
    assert nms(PIXELS, SCORES, iou_threshold=0.5, labels=labels).tolist() == [0, 1]


def test_scores_that_differ_in_double_precision_only_are_no_tie():
    scores = torch.tensor([0.5, 0.5 + 1e-12], dtype=torch.float64)
    for nms in (ours.nms, ours.plain_nms):
        assert nms(BOX[[0, 0]], scores, iou_threshold=0.5).tolist() == [1]


@BOTH
def test_the_boxes_of_a_loss_are_taken_and_whole_numbers_are_scores(nms):
    assert nms(BOX.clone().requires_grad_(), torch.tensor([3]), iou_threshold=0.5).tolist() == [0]


def soft_nms_by_the_paper(boxes, scores, sigma, score_threshold):
    """Soft-NMS's figure 2, box by box."""
    remaining, result = list(range(len(boxes))), []
    scores = scores.tolist()
    while remaining:
        best = max(remaining, key=lambda index: scores[index])
        remaining.remove(best)
        if scores[best] < score_threshold:
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
    found, lowered = ours.soft_nms(boxes, scores, sigma=0.5, score_threshold=0.05)
    want = soft_nms_by_the_paper(boxes, scores, 0.5, 0.05)
    assert found.tolist() == [index for index, _ in want]
    assert lowered.tolist() == pytest.approx([score for _, score in want], abs=1e-6)
    assert len(ours.soft_nms(EMPTY, torch.zeros(0))[0]) == 0


# ── bad input ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "call, error, remedy",
    [
        (lambda f: f(BOX.int(), torch.ones(1), iou_threshold=0.5), TypeError, r"int32: use .float"),
        (lambda f: f(BOX, torch.zeros(2), iou_threshold=0.5), ValueError, "one score for each"),
        (lambda f: f(BOX, torch.zeros(1) / 0, iou_threshold=0.5), ValueError, "1 of 1 scores"),
        (lambda f: f(BOX, torch.ones(1), iou_threshold=50), ValueError, "threshold=50 .*0 to 1"),
        (
            lambda f: f(BOX, torch.ones(1), labels=torch.ones(2), iou_threshold=0.5),
            ValueError,
            "give each box one",
        ),
    ],
)
@BOTH
def test_bad_candidates_are_refused_with_the_remedy(nms, call, error, remedy):
    with pytest.raises(error, match=remedy):
        call(nms)


def test_soft_nms_refuses_a_sigma_that_divides_by_zero():
    with pytest.raises(ValueError, match="above 0"):
        ours.soft_nms(BOX, torch.ones(1), sigma=0)
