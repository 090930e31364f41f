"""RoIAlign, RoIPool and pasting against torchvision, and by their definitions."""

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
import torchvision.ops as reference
from hypothesis import given, settings
from torchvision.models.detection.roi_heads import paste_masks_in_image

from segcourse.ops.roi import crop_masks, paste_masks, paste_rounded, roi_align, roi_pool, tents

RAMP = torch.arange(16.0).reshape(1, 4, 4)


def random_boxes(count: int, seed: int, low: float = -8, high: float = 60) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=generator) * (high - low) + low
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)


def indexed(boxes: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros(len(boxes), 1), boxes], dim=1)


@pytest.mark.parametrize(
    "box, aligned, wanted",
    [
        ((0, 0, 4, 4), False, [5, 6.75, 12, 13.75]),
        ((0, 0, 4, 4), True, [2.5, 4.5, 10.5, 12.5]),
        ((0.5, 0.5, 2.5, 3), False, [5.5, 6.5, 10.5, 11.5]),
        ((0.5, 0.5, 2.5, 3), True, [3, 4, 8, 9]),
    ],
)
def test_golden_values(box, aligned, wanted):
    got = roi_align(RAMP, torch.tensor([box]).float(), (2, 2), aligned=aligned)
    assert got.flatten().tolist() == pytest.approx(wanted)


def test_a_mask_is_cut_by_its_own_box():
    masks = torch.rand(4, 20, 30, generator=torch.Generator().manual_seed(0)) > 0.5
    boxes = random_boxes(4, 0, 0, 20)
    pairs = zip(masks, boxes, strict=True)
    wanted = [
        reference.roi_align(m[None, None].float(), indexed(b[None]), (7, 5))[0] for m, b in pairs
    ]
    assert torch.allclose(crop_masks(masks, boxes, (7, 5)), torch.cat(wanted), atol=1e-5)
    assert crop_masks(masks[:0], boxes[:0], (7, 5)).shape == (0, 7, 5)


def test_a_box_smaller_than_a_cell_grows_unless_aligned():
    box = torch.tensor([[1.0, 1, 1.2, 1.2]])
    assert roi_align(RAMP, box, (1, 1)).item() == pytest.approx(7.5)
    assert roi_align(RAMP, box, (1, 1), aligned=True).item() == pytest.approx(3.0)


@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from([(7, 7), (1, 1), (3, 5)]),
    st.sampled_from([1.0, 0.25, 1 / 16]),
)
def test_roi_align_is_torchvisions(seed, aligned, samples, size, scale):
    features = torch.randn(3, 12, 15, generator=torch.Generator().manual_seed(seed))
    boxes = random_boxes(6, seed, -8, 15 / scale + 8)
    got = roi_align(features, boxes, size, scale=scale, samples=samples, aligned=aligned)
    theirs = reference.roi_align(features[None], indexed(boxes), size, scale, samples, aligned)
    assert got.shape == (6, 3, *size)
    assert torch.allclose(got, theirs, atol=1e-4)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("samples", [0, 1, 2])
def test_the_gradient_is_torchvisions(aligned, samples):
    boxes = random_boxes(5, 0)
    gradients = []
    for mine in (True, False):
        features = torch.randn(2, 9, 9, generator=torch.Generator().manual_seed(1)).requires_grad_()
        if mine:
            values = roi_align(features, boxes, (4, 4), scale=0.2, samples=samples, aligned=aligned)
        else:
            values = reference.roi_align(
                features[None], indexed(boxes), (4, 4), 0.2, samples, aligned
            )
        values.square().sum().backward()
        gradients.append(features.grad)
    assert torch.allclose(*gradients, atol=1e-4) and gradients[0].any()


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([(7, 7), (1, 1), (3, 5)]),
       st.sampled_from([1.0, 0.25]))  # fmt: skip
def test_roi_pool_is_torchvisions(seed, size, scale):
    features = torch.randn(3, 12, 15, generator=torch.Generator().manual_seed(seed))
    boxes = random_boxes(6, seed, -8, 15 / scale + 8)
    got = roi_pool(features, boxes, size, scale=scale)
    assert torch.equal(got, reference.roi_pool(features[None], indexed(boxes), size, scale))


def test_halves_are_rounded_away_from_zero():
    boxes = torch.tensor([[0.5, 1.5, 2.5, 3.5], [-0.5, -0.5, 1.5, 1.5]])
    theirs = reference.roi_pool(RAMP[None], indexed(boxes), (2, 2))
    assert torch.equal(roi_pool(RAMP, boxes, (2, 2)), theirs)


def test_no_boxes_give_no_values():
    none = torch.zeros(0, 4)
    assert roi_align(RAMP, none, (7, 7)).shape == (0, 1, 7, 7)
    assert roi_align(RAMP, none, (7, 7), samples=0).shape == (0, 1, 7, 7)
    assert roi_pool(RAMP, none, (7, 7)).shape == (0, 1, 7, 7)
    assert paste_masks(torch.zeros(0, 28, 28), none, (5, 6)).shape == (0, 5, 6)
    assert paste_rounded(torch.zeros(0, 28, 28), none, (5, 6)).shape == (0, 5, 6)


def test_zero_area():
    boxes = torch.tensor([[2.0, 2, 2, 2], [1, 1, 1, 3]])
    for aligned in (False, True):
        for samples in (0, 2):
            got = roi_align(RAMP, boxes, (2, 2), aligned=aligned, samples=samples)
            theirs = reference.roi_align(RAMP[None], indexed(boxes), (2, 2), 1.0, samples, aligned)
            assert torch.allclose(got, theirs)


def test_aligned_gives_a_whole_map_back():
    box = torch.tensor([[0.0, 0, 4, 4]])
    assert torch.allclose(roi_align(RAMP, box, (4, 4), samples=1, aligned=True)[0], RAMP)


# ── pasting ─────────────────────────────────────────────────────────────────────────────────────


def by_grid_sample(mask: torch.Tensor, box: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The middles of all pixels, in coordinates of the box from -1 to 1."""
    x0, y0, x1, y1 = box
    x = (torch.arange(size[1]) + 0.5 - x0) / (x1 - x0) * 2 - 1
    y = (torch.arange(size[0]) + 0.5 - y0) / (y1 - y0) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    return F.grid_sample(mask[None, None], grid, align_corners=False)[0, 0]


@given(st.integers(0, 10**6))
def test_a_mask_is_read_at_the_middle_of_every_pixel(seed):
    masks = torch.rand(4, 7, 9, generator=torch.Generator().manual_seed(seed))
    boxes = random_boxes(4, seed)
    got = paste_masks(masks, boxes, (40, 50))
    wanted = [by_grid_sample(m, b, (40, 50)) for m, b in zip(masks, boxes, strict=True)]
    assert torch.allclose(got, torch.stack(wanted), atol=1e-3)


def test_a_mask_of_the_size_of_its_box_comes_back():
    mask = torch.rand(1, 3, 4)
    pasted = paste_masks(mask, torch.tensor([[2.0, 1, 6, 4]]), (6, 8))
    assert torch.allclose(pasted[0, 1:4, 2:6], mask[0], atol=1e-6)
    pasted[0, 1:4, 2:6] = 0
    assert not pasted[pasted > 1e-6].any()


@given(st.integers(0, 10**6))
def test_rounded_pasting_is_torchvisions(seed):
    masks = torch.rand(5, 28, 28, generator=torch.Generator().manual_seed(seed))
    boxes = random_boxes(5, seed)
    boxes[:, 2:] = boxes[:, 2:].clamp(min=2)  # torchvision stops where a box misses the image
    boxes[:, :2] = boxes[:, :2].clamp(max=38)
    theirs = paste_masks_in_image(masks[:, None], boxes, (40, 50))[:, 0]
    assert torch.allclose(paste_rounded(masks, boxes, (40, 50)), theirs, atol=1e-6)


def test_what_rounding_costs():
    masks, box = torch.ones(1, 28, 28), torch.tensor([[2.0, 3, 12, 9]])
    exact, rounded = (paste(masks, box, (20, 20)) >= 0.5 for paste in (paste_masks, paste_rounded))
    assert exact.sum() == 60 and exact[0, 3:9, 2:12].all()
    assert rounded.sum() == 96 and rounded[0, 2:10, 1:13].all()


def test_tents_fade_beyond_the_ends():
    assert tents(torch.tensor([0.25, -0.5, 2.75, 9.0]), 3).tolist() == [
        [0.75, 0.25, 0], [0.5, 0, 0], [0, 0, 0.25], [0, 0, 0]]  # fmt: skip


BOX = torch.tensor([[0.0, 0, 2, 2]])


@pytest.mark.parametrize(
    "call, error, remedy",
    [
        (lambda: roi_align(RAMP[None], BOX, (2, 2)), ValueError, "cut the batch up"),
        (lambda: roi_align(RAMP, BOX[:, [2, 3, 0, 1]], (2, 2)), ValueError, "x1 >= x0"),
        (lambda: roi_align(RAMP, BOX, (2, 2), samples=-1), ValueError, "samples=-1: choose 0"),
        (lambda: roi_pool(RAMP, BOX.long(), (2, 2)), TypeError, "int64"),
        (lambda: paste_masks(RAMP, BOX[[0, 0]], (9, 9)), ValueError, "every box one mask"),
        (lambda: paste_rounded(RAMP[0], BOX, (9, 9)), ValueError, "every box one mask"),
    ],
)
def test_bad_input_is_refused_with_the_remedy(call, error, remedy):
    with pytest.raises(error, match=remedy):
        call()
