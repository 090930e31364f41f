"""RoIAlign, RoIPool, plain and by operator, and pasting: torchvision, and their definitions."""

import subprocess
import sys

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
import torchvision.ops as reference
from hypothesis import given, settings
from torchvision.models.detection.roi_heads import paste_masks_in_image

from segcourse.ops.plain_roi import plain_roi_align, plain_roi_pool
from segcourse.ops.roi import crop_masks, paste_masks, paste_rounded, roi_align, roi_pool

RAMP = torch.arange(16.0).reshape(1, 4, 4)
ALIGN = pytest.mark.parametrize("roi_align", [roi_align, plain_roi_align])
BOX = torch.tensor([[0.0, 0, 2, 2]])
POOL = pytest.mark.parametrize("roi_pool", [roi_pool, plain_roi_pool])


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
@ALIGN
def test_golden_values(roi_align, box, aligned, wanted):
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


@ALIGN
def test_a_box_smaller_than_a_cell_grows_unless_aligned(roi_align):
    box = torch.tensor([[1.0, 1, 1.2, 1.2]])
    assert roi_align(RAMP, box, (1, 1)).item() == pytest.approx(7.5)
    assert roi_align(RAMP, box, (1, 1), aligned=True).item() == pytest.approx(3.0)


@ALIGN
@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from([(7, 7), (1, 1), (3, 5)]),
    st.sampled_from([1.0, 0.25, 1 / 16]),
)
def test_roi_align_is_torchvisions(roi_align, seed, aligned, samples, size, scale):
    features = torch.randn(3, 12, 15, generator=torch.Generator().manual_seed(seed))
    boxes = random_boxes(6, seed, -8, 15 / scale + 8)
    got = roi_align(
        features, boxes, size, spatial_scale=scale, sampling_ratio=samples, aligned=aligned
    )
    theirs = reference.roi_align(features[None], indexed(boxes), size, scale, samples, aligned)
    assert got.shape == (6, 3, *size)
    assert torch.allclose(got, theirs, atol=1e-4)


def gradient(pool, boxes, **options):
    """Of the map, through values that all count differently."""
    features = torch.randn(2, 9, 9, generator=torch.Generator().manual_seed(1)).requires_grad_()
    pool(features, boxes, **options).square().sum().backward()
    return features.grad


@ALIGN
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("samples", [0, 1, 2])
def test_the_gradient_is_torchvisions(roi_align, aligned, samples):
    boxes, options = random_boxes(5, 0), (0.2, samples, aligned)
    found = gradient(roi_align, boxes, output_size=(4, 4), spatial_scale=0.2,
                     sampling_ratio=samples, aligned=aligned)  # fmt: skip
    wanted = gradient(
        lambda x, b: reference.roi_align(x[None], indexed(b), (4, 4), *options), boxes
    )
    assert torch.allclose(found, wanted, atol=1e-4) and found.any()


@POOL
def test_the_gradient_of_maxima_is_torchvisions(roi_pool):
    boxes = random_boxes(5, 0)
    found = gradient(roi_pool, boxes, output_size=(4, 4), spatial_scale=0.2)
    wanted = gradient(lambda x, b: reference.roi_pool(x[None], indexed(b), (4, 4), 0.2), boxes)
    assert torch.allclose(found, wanted, atol=1e-5) and found.any()


@pytest.mark.parametrize("pool", [roi_align, plain_roi_align, roi_pool, plain_roi_pool])
def test_boxes_receive_no_gradient(pool):
    features, boxes = RAMP.clone().requires_grad_(), random_boxes(3, 0, 0, 4).requires_grad_()
    pool(features, boxes, (2, 2)).sum().backward()
    assert features.grad.any() and boxes.grad is None
    features.grad = None
    pool(features, boxes[:0], (2, 2)).sum().backward()
    assert features.grad is None or not features.grad.any()


@POOL
@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([(7, 7), (1, 1), (3, 5)]),
       st.sampled_from([1.0, 0.25]))  # fmt: skip
def test_roi_pool_is_torchvisions(roi_pool, seed, size, scale):
    features = torch.randn(3, 12, 15, generator=torch.Generator().manual_seed(seed))
    boxes = random_boxes(6, seed, -8, 15 / scale + 8)
    got = roi_pool(features, boxes, size, spatial_scale=scale)
    assert torch.equal(got, reference.roi_pool(features[None], indexed(boxes), size, scale))


@POOL
def test_halves_are_rounded_away_from_zero(roi_pool):
    boxes = torch.tensor([[0.5, 1.5, 2.5, 3.5], [-0.5, -0.5, 1.5, 1.5]])
    theirs = reference.roi_pool(RAMP[None], indexed(boxes), (2, 2))
    assert torch.equal(roi_pool(RAMP, boxes, (2, 2)), theirs)


def test_no_boxes_and_no_channels_give_no_values():
    none = torch.zeros(0, 4)
    for pool in (roi_align, plain_roi_align, roi_pool, plain_roi_pool):
        assert pool(RAMP, none, (7, 7)).shape == (0, 1, 7, 7)
        assert pool(RAMP[:0], BOX, (7, 7)).shape == (1, 0, 7, 7)
    for align in (roi_align, plain_roi_align):
        assert align(RAMP, none, (7, 7), sampling_ratio=0).shape == (0, 1, 7, 7)
    assert crop_masks(torch.zeros(0, 9, 9), none, (7, 7)).shape == (0, 7, 7)
    assert paste_masks(torch.zeros(0, 28, 28), none, (5, 6)).shape == (0, 5, 6)
    assert paste_rounded(torch.zeros(0, 28, 28), none, (5, 6)).shape == (0, 5, 6)


@ALIGN
def test_zero_area(roi_align):
    boxes = torch.tensor([[2.0, 2, 2, 2], [1, 1, 1, 3]])
    for aligned in (False, True):
        for samples in (0, 2):
            got = roi_align(RAMP, boxes, (2, 2), aligned=aligned, sampling_ratio=samples)
            theirs = reference.roi_align(RAMP[None], indexed(boxes), (2, 2), 1.0, samples, aligned)
            assert torch.allclose(got, theirs)


@ALIGN
def test_aligned_gives_a_whole_map_back(roi_align):
    box = torch.tensor([[0.0, 0, 4, 4]])
    assert torch.allclose(roi_align(RAMP, box, (4, 4), sampling_ratio=1, aligned=True)[0], RAMP)


EDGES = torch.tensor(
    [
        [0.0, 0, 1, 1],
        [-9, -9, -5, -5],  # outside
        [90, 90, 95, 95],
        [-1, -1, 0, 0],  # touches the border
        [0.5, 0.5, 0.5, 0.5],
        [-50, 0, 50, 1],
        [-3e3, -3e3, 3e3, 3e3],
    ]
)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3)])
@pytest.mark.parametrize("spatial_scale", [1.0, 0.25])
def test_maps_one_cell_high_or_wide_and_boxes_beyond_them(size, spatial_scale):
    features = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    options = {"output_size": (3, 2), "spatial_scale": spatial_scale}
    found, wanted = (f(features, EDGES, **options) for f in (roi_pool, plain_roi_pool))
    assert torch.equal(found, wanted)
    for samples in (0, 1, 2):
        for aligned in (False, True):
            both = (f(features, EDGES, sampling_ratio=samples, aligned=aligned, **options)
                    for f in (roi_align, plain_roi_align))  # fmt: skip
            assert torch.allclose(*both, atol=1e-5)


HALF = [torch.float16, torch.bfloat16]
SQUARES = torch.tensor([[8.0, 8, 72, 40], [0, 0, 96, 96]])
POOLED = {"output_size": (7, 7), "spatial_scale": 0.25}
CALLS = {
    "roi_align": lambda x, b: roi_align(x[:, :24, :24], b, **POOLED),
    "plain_roi_align": lambda x, b: plain_roi_align(x[:, :24, :24], b, **POOLED),
    "roi_pool": lambda x, b: roi_pool(x[:, :24, :24], b, **POOLED),
    "plain_roi_pool": lambda x, b: plain_roi_pool(x[:, :24, :24], b, **POOLED),
    "crop_masks": lambda x, b: crop_masks(x, b, (7, 7)),
    "paste_masks": lambda x, b: paste_masks(x, b, (96, 96)),
    "paste_rounded": lambda x, b: paste_rounded(x, b, (96, 96)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", [*HALF, torch.float32, torch.float64])
@pytest.mark.parametrize("kind_of_boxes", [*HALF, torch.float32, torch.float64])
def test_all_types_of_maps_and_boxes(name, kind, kind_of_boxes):
    """The boxes are exact in all types, so that only values are rounded."""
    maps = torch.rand(2, 28, 28, generator=torch.Generator().manual_seed(0)).to(kind)
    wanted = CALLS[name](maps.double(), SQUARES.double())
    found = CALLS[name](maps, SQUARES.to(kind_of_boxes))
    assert found.dtype == (kind_of_boxes if name == "crop_masks" else kind)
    tolerance = max(torch.finfo(found.dtype).eps, torch.finfo(maps.dtype).eps, 2e-6)
    assert torch.allclose(found.double(), wanted, atol=tolerance)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", HALF)
def test_autocast_changes_nothing(name, kind):
    maps = torch.rand(2, 28, 28, generator=torch.Generator().manual_seed(0))
    wanted = CALLS[name](maps, SQUARES)
    with torch.autocast("cpu", kind):
        found = CALLS[name](maps, SQUARES)
    assert found.dtype == torch.float32 and torch.equal(found, wanted)


def test_masks_of_booleans_are_cut_in_the_type_of_the_boxes():
    masks = torch.ones(2, 96, 96, dtype=torch.bool)
    for kind in (torch.float16, torch.float32, torch.float64):
        found = crop_masks(masks, SQUARES.to(kind), (7, 7))
        assert found.dtype == kind and (found == 1).all()


def test_torchvision_is_imported_where_it_is_needed_and_not_before():
    modules = "segcourse.ops.roi, segcourse.ops.suppression"
    code = f"import sys, {modules}; print('torchvision' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


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


@pytest.mark.parametrize("size", [(1, 1), (1, 20), (20, 1)])
def test_images_one_pixel_high_or_wide(size):
    mask, box = torch.rand(1, 9, 1), torch.tensor([[-1.0, -2, 20, 21]])
    wanted = by_grid_sample(mask[0], box[0], size)
    assert torch.allclose(paste_masks(mask, box, size)[0], wanted, atol=1e-5)
    square = torch.rand(1, 9, 9)
    wanted = paste_masks_in_image(square[:, None], box, size)[:, 0]
    assert torch.allclose(paste_rounded(square, box, size), wanted, atol=1e-6)
    whole = torch.tensor([[0.0, 0, size[1], size[0]]])
    assert torch.equal(crop_masks(torch.ones(1, *size), whole, (1, 1)), torch.ones(1, 1, 1))


def test_what_rounding_costs():
    masks, box = torch.ones(1, 28, 28), torch.tensor([[2.0, 3, 12, 9]])
    exact, rounded = (paste(masks, box, (20, 20)) >= 0.5 for paste in (paste_masks, paste_rounded))
    assert exact.sum() == 60 and exact[0, 3:9, 2:12].all()
    assert rounded.sum() == 96 and rounded[0, 2:10, 1:13].all()


@pytest.mark.parametrize(
    "call, error, remedy",
    [
        (lambda f: f(RAMP[None], BOX, (2, 2)), ValueError, "cut the batch up"),
        (lambda f: f(RAMP, BOX[:, [2, 3, 0, 1]], (2, 2)), ValueError, "x1 >= x0"),
        (lambda f: f(RAMP, BOX.long(), (2, 2)), TypeError, "int64"),
        (lambda f: f(RAMP.long(), BOX, (2, 2)), TypeError, r"a map must .* as torch.int64"),
        (lambda f: f(RAMP[:, :0], BOX, (2, 2)), ValueError, "0 x 4 cells"),
        (lambda f: f(RAMP, BOX, (0, 2)), ValueError, r"\(0, 2\) bins"),
    ],
)
@pytest.mark.parametrize("pool", [roi_align, plain_roi_align, roi_pool, plain_roi_pool])
def test_bad_maps_and_boxes_are_refused_with_the_remedy(pool, call, error, remedy):
    with pytest.raises(error, match=remedy):
        call(pool)


@pytest.mark.parametrize(
    "call, error, remedy",
    [
        (lambda: roi_align(RAMP, BOX, (2, 2), sampling_ratio=-1), ValueError,
         "sampling_ratio=-1: choose 0"),
        (lambda: plain_roi_align(RAMP, BOX, (2, 2), sampling_ratio=-1), ValueError,
         "sampling_ratio=-1: choose 0"),
        (lambda: paste_masks(RAMP, BOX[[0, 0]], (9, 9)), ValueError, "every box one mask"),
        (lambda: paste_masks(RAMP > 0, BOX, (9, 9)), TypeError, "probabilities, but their"),
        (lambda: paste_rounded(RAMP[0], BOX, (9, 9)), ValueError, "every box one mask"),
        (lambda: crop_masks(RAMP[:, :0], BOX, (9, 9)), ValueError, "at least one cell"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_remedy(call, error, remedy):
    with pytest.raises(error, match=remedy):
        call()
