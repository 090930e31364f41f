"""GrabCut: an energy that never increases, exact steps, and OpenCV under the same energy."""

import math
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from benchmarks.classical_objects import box_around, intersection_over_union, subject
from segcourse.classical.gaussians import NOISE, cost, moments
from segcourse.classical.interactive import grabcut, mask_energy, trimap_from_box
from segcourse.data.photographs import NAMES, Photographs
from segcourse.data.sample import Sample
from segcourse.ops.labels import IGNORE

BOX = (12, 10, 54, 54)


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """A reddish rectangle on green under noise, in 0 ... 255, and its mask."""
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[16:48, 20:44] = True
    palette = torch.tensor([[40.0, 90.0, 40.0], [180.0, 60.0, 60.0]])
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 12, (64, 64, 3)))
    image = (palette[mask.long()] + noise).clamp(0, 255).round().byte()
    return image.movedim(-1, 0), mask


def opencv(image: torch.Tensor, box: tuple[int, int, int, int]) -> torch.Tensor:
    """The mask of cv2.grabCut after 5 iterations: (3, H, W) uint8 -> (H, W) bool."""
    cv2.setRNGSeed(0)
    x0, y0, x1, y1 = box
    picture = image.movedim(0, -1).flip(-1).contiguous().numpy()
    mask = np.zeros(picture.shape[:2], np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    rectangle = (x0, y0, x1 - x0, y1 - y0)
    cv2.grabCut(picture, mask, rectangle, *models, 5, cv2.GC_INIT_WITH_RECT)
    return torch.from_numpy((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD))


def falls(energies: list[float]) -> bool:
    return all(a >= b for a, b in pairwise(energies))


def test_a_noisy_rectangle_is_found_exactly():
    image, mask = scene()
    found = grabcut(image, trimap_from_box(BOX, (64, 64)))
    assert torch.equal(found.mask, mask) and torch.equal(opencv(image, BOX), mask)
    assert falls(found.energies)
    assert torch.equal(grabcut(image / 255, trimap_from_box(BOX, (64, 64))).mask, mask)


@pytest.mark.parametrize(
    "name, longest",
    [*((name, 120) for name in NAMES), *((name, 240) for name in ("camera", "coins", "rocket"))],
)
def test_energies_of_photographs_fall_and_end_no_higher_than_opencvs(name, longest):
    image, semantic, instance = Photographs(name, longest=longest)[0]
    thing = subject(name, Sample(image, semantic, instance))
    x0, y0, x1, y1 = box_around(thing)
    height, width = thing.shape  # a rim of 1 stays background: without it, OpenCV's energy of two
    box = max(x0, 1), max(y0, 1), min(x1, width - 1), min(y1, height - 1)  # is lower, by up to 1 %
    image = (image * 255).round().byte()
    found = grabcut(image, trimap_from_box(box, tuple(thing.shape)))
    assert falls(found.energies)
    assert found.energies[-1] <= mask_energy(image, opencv(image, box))
    assert longest < 240 or intersection_over_union(found.mask, thing) > 0.4


def test_more_runs_end_no_higher():
    image, _, _ = Photographs("coins", longest=80)[0]
    trimap = trimap_from_box((5, 5, 60, 40), tuple(image.shape[-2:]))
    once, thrice = (grabcut(image, trimap, n_init=runs).energies[-1] for runs in (1, 3))
    assert thrice <= once


def test_certain_pixels_keep_their_side():
    image, mask = scene()
    trimap = torch.full((64, 64), IGNORE)
    trimap[:8], trimap[20:30, 24:30] = 0, 1
    trimap[2, 2], trimap[30, 30] = 1, 0  # mistakes, yet obeyed
    found = grabcut(image, trimap).mask
    assert not found[trimap == 0].any() and found[trimap == 1].all()
    assert ((found != mask) & (trimap == IGNORE)).float().mean() < 0.02


def test_the_energy_is_what_it_says():
    """Every term written out, for one Gaussian a side."""
    image, mask = (part[..., 14:22, 18:26] for part in scene())
    colors = image.double() / 255
    total = 0.0
    for side in (~mask, mask):
        points = colors[:, side].T.numpy()
        mean, spread = points.mean(axis=0), np.cov(points.T, bias=True) + NOISE**2 * np.eye(3)
        density = multivariate_normal(mean, spread).logpdf(points)
        total += (3 / -2 * math.log(2 * math.pi) - density).sum()
        total += len(points) * NOISE**2 * np.trace(np.linalg.inv(spread)) / 2
    steps = [(0, 1), (1, 0), (1, 1), (1, -1)]
    pairs = [
        (colors[:, y, x], colors[:, y + down, x + right], math.hypot(down, right),
         mask[y, x] != mask[y + down, x + right])
        for y in range(8) for x in range(8) for down, right in steps
        if y + down < 8 and 0 <= x + right < 8
    ]  # fmt: skip
    squares = [float((a - b).square().sum()) for a, b, _, _ in pairs]
    beta = 1 / (2 * np.mean(squares))
    for (_, _, distance, differ), square in zip(pairs, squares, strict=True):
        total += 50 / distance * math.exp(-beta * square) * bool(differ)
    assert math.isclose(mask_energy(image, mask, n_components=1), total, rel_tol=1e-9)


def test_without_gamma_every_pixel_decides_alone():
    image, mask = scene()
    found = grabcut(image, trimap_from_box(BOX, (64, 64)), gamma=0)
    points = moments(image.double().flatten(1).T / 255)
    outside, inside = (cost(points, model).view(64, 64) for model in found.models)
    undecided = trimap_from_box(BOX, (64, 64)) == IGNORE
    assert torch.equal(found.mask[undecided], (inside < outside)[undecided])
    assert (found.mask == mask).double().mean() > 0.97


def test_flat_colours_and_few_pixels_are_no_trouble():
    image = torch.zeros(3, 8, 8)
    image[0, 2:5, 2:5] = 1
    found = grabcut(image, trimap_from_box((1, 1, 6, 6), (8, 8)))
    assert torch.equal(found.mask, image[0] == 1) and math.isfinite(found.energies[-1])
    gray = grabcut(image[:1], trimap_from_box((1, 1, 6, 6), (8, 8)))
    assert torch.equal(gray.mask, found.mask)


def test_an_even_image_ends_without_an_error():
    found = grabcut(torch.full((3, 8, 8), 0.5), trimap_from_box((1, 1, 6, 6), (8, 8)))
    assert falls(found.energies) and not found.mask[0].any()


def test_a_box_becomes_a_trimap():
    trimap = trimap_from_box((1, 0, 3, 2), (3, 4))
    assert trimap.tolist() == [[0, IGNORE, IGNORE, 0], [0, IGNORE, IGNORE, 0], [0, 0, 0, 0]]
    assert (trimap_from_box((-5, -5, 2, 9), (3, 4)) == IGNORE).sum() == 6


IMAGE, TRIMAP = torch.rand(3, 6, 6), trimap_from_box((1, 1, 3, 3), (6, 6))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: trimap_from_box((0, 0, 4, 3), (3, 4)), "outside"),
        (lambda: trimap_from_box((4, 0, 8, 3), (3, 4)), "inside"),
        (lambda: grabcut(IMAGE, torch.zeros(6, 6).long()), "smaller box"),
        (lambda: grabcut(IMAGE, torch.full((6, 6), IGNORE)), "smaller box"),
        (lambda: grabcut(IMAGE, torch.full((6, 6), 2)), "2"),
        (lambda: grabcut(IMAGE, trimap_from_box((1, 1, 3, 3), (5, 5))), r"\(5, 5\)"),
        (lambda: grabcut(IMAGE * 255, trimap_from_box((1, 1, 3, 3), (6, 6))), "divide"),
        (
            lambda: grabcut(IMAGE, trimap_from_box((1, 1, 3, 3), (6, 6)), n_components=0),
            "n_components=0",
        ),
        (lambda: grabcut(IMAGE, trimap_from_box((1, 1, 3, 3), (6, 6)), gamma=-1), "gamma=-1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
