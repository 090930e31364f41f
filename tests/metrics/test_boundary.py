"""Boundary metrics: the numbers of the fact sheet, brute force over all pairs, and MONAI."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from segcourse.metrics.boundary import (
    assd,
    average_surface_distance,
    boundary_f1,
    boundary_iou,
    boundary_precision_recall,
    class_scores,
    hausdorff_distance,
    hausdorff_distance_95,
    mean_by_class,
    mean_by_image,
    surface_dice,
    surface_distances,
    trimap,
    trimap_iou,
)
from segcourse.metrics.semantic import confusion_matrix, iou, pixel_accuracy

NAN, INF = math.nan, math.inf
DISTANCES = (hausdorff_distance, hausdorff_distance_95, average_surface_distance, assd)
ALL = {
    "boundary_iou": boundary_iou,
    "boundary_f1": boundary_f1,
    "surface_dice": lambda a, b: surface_dice(a, b, tolerance=1),
    **{score.__name__: score for score in DISTANCES},
}


def box(*corners, size=20):
    mask = torch.zeros(size, size, dtype=torch.bool)
    for top, bottom, left, right in corners:
        mask[top:bottom, left:right] = True
    return mask


A, B = box((4, 12, 4, 12)), box((6, 15, 5, 12))
OUTLIER = A.clone()
OUTLIER[1, 17] = True
L_A, L_B = box((4, 14, 4, 8), (10, 14, 4, 16)), box((5, 15, 6, 9), (12, 15, 6, 14))
LARGE, SMALL = box((4, 16, 4, 16)), box((8, 10, 8, 10))
EMPTY, FULL = box(), box((0, 20, 0, 20))


# ------------------------------------------------------------- the fixtures of the fact sheet


@pytest.mark.parametrize(
    "score, a, b, want",
    [
        (hausdorff_distance, A, B, 3),
        (hausdorff_distance_95, A, B, 3),
        (average_surface_distance, A, B, 1.2017958),
        (average_surface_distance, B, A, 1.4642857),
        (assd, A, B, 1.3330408),
        (hausdorff_distance, OUTLIER, B, 7.8102497),
        (hausdorff_distance_95, OUTLIER, B, 3.0),
        (average_surface_distance, OUTLIER, B, 1.4296735),
        (assd, OUTLIER, B, 1.4466760),
        (hausdorff_distance, LARGE, SMALL, 8.4852814),
        (hausdorff_distance_95, LARGE, SMALL, 7.7204),
        (assd, LARGE, SMALL, 5.6368762),
        (average_surface_distance, LARGE, SMALL, 5.7629558),
        (average_surface_distance, SMALL, LARGE, 4.25),
        (hausdorff_distance, L_A, L_B, 2.8284271),
        (hausdorff_distance_95, L_A, L_B, 2.2361),
        (assd, L_A, L_B, 1.2052151),
    ],
)
def test_golden_distances(score, a, b, want):
    assert score(a, b) == pytest.approx(want, abs=5e-5 if want in (7.7204, 2.2361) else 1e-6)


def test_golden_percentile_of_pooled_distances():
    assert hausdorff_distance_95(LARGE, SMALL, pooled=True) == pytest.approx(7.6005482, abs=1e-6)
    assert hausdorff_distance_95(L_A, L_B, pooled=True) == pytest.approx(2.1298374, abs=1e-6)
    assert hausdorff_distance_95(OUTLIER, B, pooled=True) == 3


def test_golden_directed_percentile():
    forth, _ = surface_distances(OUTLIER, B)
    assert torch.quantile(forth, 0.95).item() == pytest.approx(2.6944, abs=5e-5)


def test_golden_mean_of_two_means_is_another_number():
    both = (average_surface_distance(OUTLIER, B) + average_surface_distance(B, OUTLIER)) / 2
    assert both == pytest.approx(1.4469796, abs=1e-6) and both != assd(OUTLIER, B)


@pytest.mark.parametrize("tolerance, want", [(0, 0.25), (1, 0.5536), (2, 0.8393)])
def test_golden_surface_dice(tolerance, want):
    assert surface_dice(A, B, tolerance=tolerance) == pytest.approx(want, abs=5e-5)


@pytest.mark.parametrize(
    "tolerance, precision, recall, f1",
    [
        (0, 0.25, 0.25, 0.25),
        (1, 0.571429, 0.535714, 0.552995),
        (1.5, 0.607143, 0.535714, 0.569196),
        (2, 0.928571, 0.75, 0.829787),
        (3, 1, 1, 1),
    ],
)
def test_golden_boundary_f1(tolerance, precision, recall, f1):
    got = boundary_precision_recall(A, B, tolerance=tolerance)
    assert got == pytest.approx((precision, recall), abs=1e-6)
    assert boundary_f1(A, B, tolerance=tolerance) == pytest.approx(f1, abs=1e-6)
    assert boundary_precision_recall(B, A, tolerance=tolerance) == got[::-1]


def test_tolerance_as_a_share_of_the_diagonal():
    diagonal = math.hypot(20, 20)
    assert boundary_f1(A, B, tolerance_ratio=2.01 / diagonal) == boundary_f1(A, B, tolerance=2)
    assert boundary_f1(A, B) == boundary_f1(A, B, tolerance=0.0075 * diagonal)


@pytest.mark.parametrize(
    "width, dilation_ratio, want", [(1, 0.02, 7 / 49), (2, 0.07, 20 / 76), (3, 0.1, 35 / 85)]
)
def test_golden_boundary_iou(width, dilation_ratio, want):
    assert boundary_iou(A, B, width=width) == want
    assert boundary_iou(A, B, dilation_ratio=dilation_ratio) == want
    assert boundary_iou(B, A, width=width) == want


def test_wide_bands_give_the_mask_iou():
    assert boundary_iou(A, B, width=20) == 42 / 85


def test_an_object_at_the_border_of_the_picture_keeps_its_band_there():
    touching, inside = box((0, 8, 0, 8)), box((5, 13, 5, 13))
    assert boundary_iou(touching, touching.roll(1, 1), width=1) == boundary_iou(
        inside, inside.roll(1, 1), width=1
    )
    assert boundary_iou(FULL, box((1, 19, 1, 19)), width=1) == 0


@pytest.mark.parametrize(
    "width, pixels, want, accuracy",
    [(1, 60, 0.414634, 0.6), (2, 116, 0.434783, 0.663793), (3, 172, 0.475610, 0.75)],
)
def test_golden_trimap(width, pixels, want, accuracy):
    assert trimap_iou(A, B, width=width) == pytest.approx(want, abs=1e-6)
    band = trimap(B.long(), width=width)
    assert (band != 255).sum() == pixels
    matrix = confusion_matrix(A.long(), band, 2)
    assert iou(matrix)[1].item() == pytest.approx(want, abs=1e-6)
    assert pixel_accuracy(matrix) == pytest.approx(accuracy, abs=1e-6)


def test_trimap_is_blind_far_from_the_true_boundary():
    assert trimap_iou(OUTLIER, B, width=2) == trimap_iou(A, B, width=2)
    assert math.isnan(trimap_iou(A, EMPTY, width=2)) and math.isnan(trimap_iou(A, FULL, width=2))
    assert trimap_iou(EMPTY, B, width=2) == 0 and trimap_iou(B, B, width=2) == 1


def test_trimap_of_label_maps():
    target = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 255, 2, 2, 2, 2]]).repeat(2, 1)
    want = [255, 255, 255, 0, 1, 255, 255, 255, 255, 255, 255, 255]
    assert trimap(target, width=1).tolist() == [want, want]  # void makes no boundary
    want = [255, 255, 0, 0, 1, 1, 1, 255, 2, 255, 255, 255]
    assert trimap(target, width=2).tolist() == [want, want]
    batch = torch.stack([target, target.flip(1)])
    band = trimap(batch, width=2)
    assert band.dtype == torch.int64 and torch.equal(band[1], band[0].flip(1))
    assert torch.equal(band[0], trimap(target.to(torch.uint8), width=2))
    assert (trimap(torch.zeros(3, 4, dtype=torch.long), width=9) == 255).all()


# -------------------------------------------------------------------------------- empty masks


@pytest.mark.parametrize("score", ALL.values(), ids=ALL)
def test_empty_masks(score):
    assert math.isnan(score(EMPTY, EMPTY))
    lost = INF if score in DISTANCES else 0
    assert score(A, EMPTY) == lost and score(EMPTY, A) == lost
    assert score(FULL, EMPTY) == lost
    assert score(FULL, FULL) == (0 if score in DISTANCES else 1)
    assert hausdorff_distance_95(A, EMPTY, pooled=True) == INF


def test_empty_masks_have_no_precision_or_recall():
    assert all(map(math.isnan, boundary_precision_recall(EMPTY, EMPTY)))
    assert boundary_precision_recall(A, EMPTY) == boundary_precision_recall(EMPTY, A) == (0, 0)


def test_boundary_f1_without_a_hit_is_zero():
    assert boundary_f1(box((0, 2, 0, 2)), box((15, 18, 15, 18)), tolerance=2) == 0


# ------------------------------------------------------------- brute force over pairs of pixels


def brute(a, b, spacing=(1.0, 1.0), corners=False):
    """Outlines by SciPy's erosion, all distances by cdist: (A,), (B,)."""
    shape = np.ones((3, 3)) if corners else None
    points = [np.argwhere(m & ~binary_erosion(m, shape)) * spacing for m in (a, b)]
    table = cdist(*points)
    return table.min(axis=1), table.min(axis=0)


def band(mask, width):
    """What the reference implementation does: a frame of zeros, then ``width`` erosions."""
    return mask & ~binary_erosion(np.pad(mask, 1), np.ones((3, 3)), width)[1:-1, 1:-1]


@st.composite
def mask_pairs(draw):
    height, width = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    return tuple(draw(mask_of(height, width)) for _ in range(2))


@st.composite
def mask_of(draw, height, width):
    kind = draw(st.sampled_from(["noise", "box", "pixel", "full", "row", "frame"]))
    mask = torch.zeros(height, width, dtype=torch.bool)
    if kind == "noise":
        generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
        share = draw(st.sampled_from([0.1, 0.5, 0.9]))
        mask = torch.rand(height, width, generator=generator) < share
    elif kind == "full":
        mask[:] = True
    elif kind == "row":
        mask[draw(st.integers(0, height - 1))] = True
    elif kind == "frame":
        mask[0], mask[-1], mask[:, 0], mask[:, -1] = True, True, True, True
    else:
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        bottom = top + 1 if kind == "pixel" else draw(st.integers(top + 1, height))
        right = left + 1 if kind == "pixel" else draw(st.integers(left + 1, width))
        mask[top:bottom, left:right] = True
    return mask


@given(mask_pairs(), st.sampled_from([(1.0, 1.0), (0.5, 2.0), (3.0, 0.7)]), st.integers(0, 4))
@settings(max_examples=250)
def test_scores_agree_with_brute_force(pair, spacing, tolerance):
    a, b = pair
    ours, true = a.numpy(), b.numpy()
    bands = band(ours, tolerance + 1), band(true, tolerance + 1)
    union = (bands[0] | bands[1]).sum()
    expected = (bands[0] & bands[1]).sum() / union if union else NAN
    got = boundary_iou(a, b, width=tolerance + 1)
    assert got == pytest.approx(expected, nan_ok=True)
    if not (a.any() and b.any()):
        return  # the conventions have a test of their own
    forth, back = brute(ours, true, spacing)
    both = np.concatenate([forth, back])
    setting = {"spacing": spacing}
    assert hausdorff_distance(a, b, **setting) == pytest.approx(both.max())
    directed = max(np.percentile(forth, 95), np.percentile(back, 95))
    assert hausdorff_distance_95(a, b, **setting) == pytest.approx(directed)
    assert hausdorff_distance_95(a, b, pooled=True, **setting) == pytest.approx(
        np.percentile(both, 95)
    )
    assert average_surface_distance(a, b, **setting) == pytest.approx(forth.mean())
    assert assd(a, b, **setting) == pytest.approx(both.mean())
    limit = tolerance + 0.01  # not on a distance, where rounding decides
    expected = (both <= limit).mean()
    assert surface_dice(a, b, tolerance=limit, **setting) == pytest.approx(expected)
    forth, back = brute(ours, true, corners=True)
    expected = (forth <= tolerance).mean(), (back <= tolerance).mean()
    assert boundary_precision_recall(a, b, tolerance=tolerance) == pytest.approx(expected)


@given(mask_pairs(), st.sampled_from([1, 1.5, 2, 4]))
@settings(max_examples=100)
def test_trimap_agrees_with_brute_force(pair, width):
    ours, true = (mask.numpy() for mask in pair)
    inside, outside = np.argwhere(true), np.argwhere(~true)
    near = np.zeros(true.shape, dtype=bool)
    if len(inside) and len(outside):
        table = cdist(inside, outside)
        near[tuple(inside[table.min(axis=1) <= width].T)] = True
        near[tuple(outside[table.min(axis=0) <= width].T)] = True
    hit, union = (ours & true & near).sum(), ((ours | true) & near).sum()
    expected = hit / union if union else NAN
    assert trimap_iou(*pair, width=width) == pytest.approx(expected, nan_ok=True)
    assert torch.equal(trimap(pair[1].long(), width=width) != 255, torch.from_numpy(near))


@given(mask_pairs())
@settings(max_examples=80)
def test_symmetries(pair):
    a, b = pair
    for name, score in ALL.items():
        if name != "average_surface_distance":
            assert score(a, b) == pytest.approx(score(b, a), nan_ok=True), name
        assert score(a.T, b.T) == pytest.approx(score(a, b), nan_ok=True), name
        assert score(a.flip(0), b.flip(0)) == pytest.approx(score(a, b), nan_ok=True), name
        framed = [torch.nn.functional.pad(mask, (2, 3, 1, 4)) for mask in pair]
        if name not in ("boundary_iou", "boundary_f1"):  # whose width grows with the picture
            assert score(*framed) == pytest.approx(score(a, b), nan_ok=True), name


# -------------------------------------------------------------------------------------- MONAI


def blob(radius, roughness, size, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 1, size // 4, size // 4, generator=generator)
    noise = torch.nn.functional.interpolate(noise, size=(size, size), mode="bilinear")[0, 0]
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.hypot(y - size / 2, x - size / 2) + roughness * noise < radius


def noise(share, size, seed):
    return torch.rand(size, size, generator=torch.Generator().manual_seed(seed)) < share


MONAI_PAIRS = {
    "fixture": (A, B),
    "outlier": (OUTLIER, B),
    "asymmetric": (LARGE, SMALL),
    "concave": (L_A, L_B),
    "blobs": (blob(30, 2, 96, 0), blob(33, 2, 96, 1)),
    "rough blobs": (blob(30, 9, 96, 2), blob(28, 9, 96, 3)),
    "a tangle": (noise(0.5, 64, 4), noise(0.4, 64, 5)),
    "dust": (noise(0.01, 64, 6), noise(0.02, 64, 7)),
    "touching the border": (box((0, 9, 0, 20)), box((0, 7, 3, 20))),
    "one pixel": (box((3, 4, 3, 4)), box((9, 10, 12, 13))),
}


@pytest.mark.parametrize("pair", MONAI_PAIRS.values(), ids=MONAI_PAIRS)
@pytest.mark.parametrize("spacing", [1.0, (0.5, 2.0)])
def test_agrees_with_monai(pair, spacing):
    a, b = (mask[None, None] for mask in pair)
    setting = {"include_background": True, "spacing": spacing}
    ours = {"spacing": spacing}

    def agree(got, theirs):
        return got == pytest.approx(theirs.item(), rel=1e-5)

    assert agree(hausdorff_distance(*pair, **ours), compute_hausdorff_distance(a, b, **setting))
    theirs = compute_hausdorff_distance(a, b, percentile=95, **setting)
    assert agree(hausdorff_distance_95(*pair, **ours), theirs)
    theirs = compute_average_surface_distance(a, b, symmetric=False, **setting)
    assert agree(average_surface_distance(*pair, **ours), theirs)
    theirs = compute_average_surface_distance(a, b, symmetric=True, **setting)
    assert agree(assd(*pair, **ours), theirs)
    theirs = compute_surface_dice(a, b, class_thresholds=[1.25], **setting)
    assert agree(surface_dice(*pair, tolerance=1.25, **ours), theirs)


# -------------------------------------------------------------------------------- label maps


def test_class_scores_by_hand():
    target, preds = B.long()[None], A.long()[None]
    scores = class_scores(boundary_iou, preds, target, 3, width=2)
    assert scores.shape == (1, 3) and scores.dtype == torch.float64
    assert scores[0, 0].item() == boundary_iou(~A, ~B, width=2)
    assert scores[0, 1].item() == boundary_iou(A, B, width=2) and scores[0, 2].isnan()
    assert torch.equal(
        class_scores(boundary_iou, preds[0], target[0], 3, width=2).nan_to_num(9),
        scores.nan_to_num(9),
    )


def test_void_belongs_to_no_class():
    target = B.long()
    target[6:10] = 255
    scores = class_scores(assd, A.long(), target, 2)
    assert scores[0, 1].item() == assd(A & (target != 255), target == 1)


@pytest.mark.parametrize("ignore_index", [-1, 0, 255, 1000])
@pytest.mark.parametrize("dtype", [torch.int16, torch.int64])
def test_any_label_may_mean_void(ignore_index, dtype):
    target = B.long() + 1
    target[6:10] = 255
    other = target.where(target != 255, ignore_index).to(dtype)
    preds = A.long() + 1
    wanted = class_scores(assd, preds, target, 3)
    found = class_scores(assd, preds.to(dtype), other, 3, ignore_index=ignore_index)
    assert torch.equal(found.nan_to_num(9), wanted.nan_to_num(9))
    band = trimap(other, width=2, ignore_index=ignore_index)
    assert torch.equal(
        band, trimap(target, width=2).where(trimap(target, width=2) != 255, ignore_index)
    )


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64]
)
def test_label_maps_of_any_integer_type(dtype):
    preds, target = A.long(), B.long()
    if dtype != torch.int8:  # which holds no 255
        target[6:8] = 255
    found = class_scores(boundary_f1, preds.to(dtype), target.to(dtype), 2, tolerance=1)
    assert torch.equal(found, class_scores(boundary_f1, preds, target, 2, tolerance=1))
    assert torch.equal(trimap(target.to(dtype), width=2), trimap(target, width=2))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("score", ALL.values(), ids=ALL)
def test_nothing_but_void_is_nan_everywhere(score):
    void = torch.full((2, 20, 20), 255)
    scores = class_scores(score, A.long().expand(2, -1, -1), void, 3)
    assert scores.isnan().all()
    assert math.isnan(mean_by_class(scores)) and math.isnan(mean_by_image(scores))
    band = trimap(void, width=2)
    assert (band == 255).all()
    assert math.isnan(pixel_accuracy(confusion_matrix(torch.zeros_like(void), band, 3)))


@pytest.mark.parametrize("score", ALL.values(), ids=ALL)
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1)])
def test_images_one_pixel_high_or_wide(score, shape):
    full = torch.ones(shape, dtype=torch.bool)
    assert score(full, full) == (0 if score in DISTANCES else 1)
    assert math.isnan(score(~full, ~full))
    if shape != (1, 1):
        part = full.clone()
        part.view(-1)[:9] = False
        assert math.isfinite(score(part, full)) and score(part, part) == score(full, full)
        assert trimap_iou(full, part, width=2) == 0.5  # the band is two pixels on either side


@pytest.mark.parametrize("score", ALL.values(), ids=ALL)
def test_autocast_changes_nothing(score):
    wanted = score(A, B)
    with torch.autocast("cpu", torch.bfloat16):
        assert score(A, B) == wanted


def test_scores_of_batches_are_put_together():
    generator = torch.Generator().manual_seed(3)
    target = torch.randint(0, 3, (4, 9, 9), generator=generator)
    preds = torch.randint(0, 3, (4, 9, 9), generator=generator)
    together = class_scores(boundary_f1, preds, target, 4, tolerance=1)
    parts = [
        class_scores(boundary_f1, p, t, 4, tolerance=1)
        for p, t in zip(preds.split([1, 3]), target.split([1, 3]), strict=True)
    ]
    assert torch.equal(torch.cat(parts).nan_to_num(9), together.nan_to_num(9))


def test_two_ways_to_average():
    scores = torch.tensor([[1.0, 0.5, NAN], [0.0, NAN, NAN]])
    assert mean_by_class(scores) == (0.5 + 0.5) / 2
    assert mean_by_image(scores) == (0.75 + 0.0) / 2
    assert mean_by_class(torch.tensor([[INF, 1.0]])) == INF
    assert math.isnan(mean_by_image(torch.full((2, 2), NAN)))


# --------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("score", [*ALL.values(), lambda a, b: trimap_iou(a, b, width=1)])
@pytest.mark.parametrize(
    "a, b, error, words",
    [
        (A.long(), B, TypeError, "preds must be a mask.*torch.int64.*labels == 3"),
        (A, B.float(), TypeError, "target must be a mask.*torch.float32.*threshold"),
        (A.numpy(), B, TypeError, "preds must be a mask.*ndarray"),
        (A[None], B[None], ValueError, r"must have shape \(H, W\).*\(1, 20, 20\): .*mask\[0"),
        (A[:0], B[:0], ValueError, r"at least one pixel, but has \(0, 20\)"),
        (A, B[:9], ValueError, r"\(20, 20\), but target \(9, 20\)"),
    ],
)  # fmt: skip
def test_masks_must_be_masks(score, a, b, error, words):
    with pytest.raises(error, match=words):
        score(a, b)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: boundary_iou(A, B, width=0), "width=0 is impossible: give a whole number"),
        (lambda: boundary_iou(A, B, width=1.5), "width=1.5 is impossible"),
        (lambda: boundary_iou(A, B, dilation_ratio=0), "0 is no share of the diagonal"),
        (
            lambda: boundary_f1(A, B, tolerance=-1),
            "tolerance=-1 is impossible: give a number of pixels",
        ),
        (lambda: boundary_f1(A, B, tolerance_ratio=NAN), "nan is no share of the diagonal"),
        (lambda: trimap_iou(A, B, width=-2), "width=-2 is impossible"),
        (lambda: surface_dice(A, B, tolerance=NAN), "tolerance=nan is impossible"),
        (lambda: hausdorff_distance(A, B, spacing=0), "spacing=0 is no size of a pixel"),
        (lambda: assd(A, B, spacing=(1, 2, 3)), r"spacing=\(1, 2, 3\) is no size of a pixel"),
        (lambda: hausdorff_distance_95(A, B, spacing=(1, -2)), r"two, \(height, width\)"),
        (lambda: trimap(torch.zeros(2, dtype=torch.long), width=1), r"\(H, W\) or \(N, H, W\)"),
        (
            lambda: class_scores(assd, A.long(), B.long() + 2, 2),
            r"target holds the labels \[2, 3\]",
        ),
        (lambda: class_scores(assd, A.long() * 255, B.long(), 2), "preds holds the label 255"),
        (lambda: class_scores(assd, A.long(), B.long()[:3], 2), "resize the logits"),
        (lambda: mean_by_class(torch.ones(3)), r"\(N, K\) tensor of floats.*came as \(3,\)"),
        (lambda: mean_by_image([[1.0]]), "came as list"),
    ],
)
def test_refuses(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_messages_read_as_sentences():
    with pytest.raises(ValueError) as caught:
        boundary_f1(A, B, tolerance=-1)
    assert re.fullmatch(r"[^:]+: [^:]+\.", str(caught.value))
