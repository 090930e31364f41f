"""Active contours: scikit-image step by step, and what each force does alone."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.segmentation import active_contour as reference
from skimage.segmentation import morphsnakes

from segcourse.classical.contours import (
    active_contour,
    checkerboard_level_set,
    circle,
    inverse_gaussian_gradient,
    morphological_chan_vese,
    morphological_geodesic_active_contour,
    smooth,
)


def disc(radius: float, size: int = 64, center: float = 32) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return (y - center) ** 2 + (x - center) ** 2 < radius**2


def rectangle() -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[16:48, 20:44] = True
    noise = 0.2 * np.random.default_rng(0).standard_normal((64, 64))
    return mask + torch.from_numpy(noise), mask


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a & b).sum() / (a | b).sum()).item()


@pytest.fixture
def fresh(monkeypatch):
    """scikit-image's two smoothing operators take turns across calls: begin with the first."""
    monkeypatch.setattr(
        morphsnakes,
        "_curvop",
        morphsnakes._fcycle(
            [
                lambda u: morphsnakes.sup_inf(morphsnakes.inf_sup(u)),
                lambda u: morphsnakes.inf_sup(morphsnakes.sup_inf(u)),
            ]
        ),
    )


def test_a_snake_settles_on_a_disc_as_scikit_images_does():
    image = gaussian_filter(disc(15).double().numpy(), 2)
    angle = np.linspace(0, 2 * np.pi, 100)  # the last point is the first again
    init = np.stack([32 + 28 * np.sin(angle), 32 + 28 * np.cos(angle)], axis=1)
    forces = dict(alpha=0.015, beta=10, gamma=0.001)
    theirs = reference(image, init, **forces)
    radius = np.hypot(*(theirs - 32).T)
    assert np.allclose(
        [radius.mean(), radius.min(), radius.max()], [14.906, 12.585, 16.237], atol=0.01
    )
    ours = active_contour(
        torch.from_numpy(image), torch.from_numpy(init), w_edge=math.sqrt(2), **forces
    )
    assert np.allclose(ours, theirs, atol=1e-3)  # their edges are sqrt(2) times ours


def test_without_an_image_tension_shrinks_a_circle_and_stiffness_too():
    even, init = torch.full((64, 64), 0.5), circle((32, 32), 20)
    for forces in (dict(alpha=1.0, beta=0.0), dict(alpha=0.0, beta=500.0)):
        radius = (active_contour(even, init, max_num_iter=100, **forces) - 32).norm(dim=1)
        assert radius.max() < 19.5 and radius.max() - radius.min() < 1e-6
    assert torch.allclose(active_contour(even, init, alpha=0, beta=0), init)


def test_a_circle_is_round():
    points = circle((5, 9), 3, num_points=12)
    assert torch.allclose(
        (points - torch.tensor([5.0, 9.0])).norm(dim=1), torch.tensor(3.0).double()
    )
    assert points[0].tolist() == [5, 12]


@pytest.mark.parametrize("smoothing", [0, 1, 2, 3])
def test_chan_vese_is_that_of_scikit_image(fresh, smoothing):
    image, _ = rectangle()
    theirs = morphsnakes.morphological_chan_vese(
        image.numpy(), 35, "checkerboard", smoothing=smoothing
    )
    ours = morphological_chan_vese(image, num_iter=35, smoothing=smoothing)
    assert np.array_equal(ours, theirs.astype(bool))


def test_chan_vese_finds_a_noisy_rectangle():
    image, mask = rectangle()
    found = morphological_chan_vese(image, num_iter=35, smoothing=2)
    assert math.isclose(max(iou(found, mask), iou(~found, mask)), 0.984375)
    from_disc = morphological_chan_vese(image, init_level_set=disc(10), num_iter=60, smoothing=2)
    assert iou(from_disc, mask) > 0.94
    colors = image.expand(3, -1, -1)
    assert torch.equal(morphological_chan_vese(colors, num_iter=35, smoothing=2), found)


def test_chan_vese_of_an_even_image_keeps_still():
    even = torch.zeros(16, 16)
    init_level_set = disc(5, size=16, center=8)
    assert torch.equal(
        morphological_chan_vese(even, init_level_set=init_level_set, num_iter=5, smoothing=0),
        init_level_set,
    )
    full = torch.ones(16, 16, dtype=torch.bool)
    assert torch.equal(morphological_chan_vese(even, init_level_set=full), full)


@pytest.mark.parametrize("balloon", [-1, 0, 1, -2])
def test_the_geodesic_contour_is_that_of_scikit_image(fresh, balloon):
    image = disc(15).double()
    brake = morphsnakes.inverse_gaussian_gradient(image.numpy(), sigma=2)
    assert np.allclose(inverse_gaussian_gradient(image, sigma=2), brake)
    theirs = morphsnakes.morphological_geodesic_active_contour(
        brake, 120, disc(26).numpy(), threshold=0.5, balloon=balloon
    )
    ours = morphological_geodesic_active_contour(
        torch.from_numpy(brake), disc(26), num_iter=120, balloon=balloon
    )
    assert np.array_equal(ours, theirs.astype(bool))


def test_a_geodesic_contour_shrinks_onto_a_disc():
    target = disc(15)
    brake = inverse_gaussian_gradient(target.double(), sigma=2)
    found = morphological_geodesic_active_contour(brake, disc(26), num_iter=120, balloon=-1)
    assert target.sum() == 697 and found.sum() == 681
    assert math.isclose(iou(found, target), 0.9770, abs_tol=1e-4)


def test_smoothing_wears_off_corners_and_keeps_straight_borders():
    square = np.zeros((20, 20), bool)
    square[5:15, 5:15] = True
    once = smooth(square, 4)
    assert not once[5, 5] and once[5:15, 9].all() and once.sum() < square.sum()
    speck = np.zeros((9, 9), bool)
    speck[4, 4] = True
    assert not smooth(speck, 2).any()
    half = np.zeros((12, 12), bool)
    half[:, 6:] = True
    assert np.array_equal(smooth(half, 3)[4:8], half[4:8])
    assert smooth(square, 0) is square


def test_a_checkerboard_has_squares():
    board = checkerboard_level_set((10, 15))
    assert board[0, 0] == board[4, 4] == board[5, 5] != board[0, 5]


IMAGE, LOW = torch.zeros(8, 8), torch.ones(4, 8, dtype=torch.bool)
chan_vese, geodesic = morphological_chan_vese, morphological_geodesic_active_contour


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: active_contour(IMAGE, torch.zeros(4, 2)), ValueError, r"\(4, 2\)"),
        (lambda: active_contour(IMAGE, torch.zeros(10, 3)), ValueError, "circle"),
        (
            lambda: morphological_chan_vese(IMAGE, init_level_set=torch.ones(4, 8).bool()),
            ValueError,
            r"\(4, 8\)",
        ),
        (
            lambda: morphological_chan_vese(IMAGE, init_level_set=torch.rand(8, 8)),
            TypeError,
            "threshold",
        ),
        (
            lambda: morphological_geodesic_active_contour(IMAGE, torch.ones(4, 4).bool()),
            ValueError,
            r"\(4, 4\)",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
