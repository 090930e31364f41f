"""Shifted and mirrored masks are found, on cases whose answer is known."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from segcourse.data import transforms as T
from segcourse.data.label_alignment import alignment, edge_correlation, image_edges, label_borders
from segcourse.data.toytown import Toytown


def test_borders_are_on_both_sides_of_a_change():
    labels = torch.tensor([[1, 1, 2, 2], [1, 1, 2, 2], [1, 1, 1, 1]])
    want = torch.tensor([[0, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]).float()
    assert torch.equal(label_borders(labels), want)


def test_edges_do_not_depend_on_the_scale_of_the_picture():
    image = Toytown(1)[0].image
    assert torch.allclose(image_edges(image), image_edges(255 * image), atol=1e-4)
    assert not image_edges(torch.ones(3, 5, 6)).any()


def test_correlation_agrees_with_scipy():
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand(20, 30, generator=g), torch.rand(20, 30, generator=g)
    x, y = (part - part.mean() for part in (a, b))
    full = correlate2d(x.numpy(), y.numpy(), mode="full")
    want = full[19 - 3 : 19 + 4, 29 - 3 : 29 + 4] / (x.norm() * y.norm()).item()
    assert np.allclose(edge_correlation(a, b, reach=3).numpy(), want, atol=1e-5)
    assert edge_correlation(a, a, reach=2)[2, 2].item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("down, right", [(0, 0), (3, -4), (-5, 2), (0, 6), (-7, 0)])
def test_a_shift_is_found(down, right):
    sample = Toytown(3)[1]
    moved = sample.semantic.roll((-down, -right), (0, 1))
    assert alignment(sample.image, moved).shift == (down, right)


@pytest.mark.parametrize(
    "name, change",
    [
        ("left to right", lambda labels: labels.flip(1)),
        ("top to bottom", lambda labels: labels.flip(0)),
        ("by a half turn", lambda labels: labels.flip(0, 1)),
        ("along the diagonal", lambda labels: labels.T),
    ],
)
def test_a_mirroring_is_found(name, change):
    sample = T.resize((96, 96))(Toytown(3)[0])
    assert alignment(sample.image, change(sample.semantic)).mirrored == name
    assert alignment(sample.image, sample.semantic).mirrored == ""


def test_one_pixel_is_within_the_accuracy_of_hand_drawn_masks():
    sample = Toytown(3)[1]
    assert alignment(sample.image, sample.semantic.roll(1, 0)).shift == (0, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 3), (16, 10_000), (10_000, 20)])
def test_long_and_tiny_samples_are_measured(size):
    torch.manual_seed(0)
    found = alignment(torch.rand(3, *size), torch.randint(3, size))
    assert -1 <= found.fit <= 1 and found.surface.isfinite().all()


def test_a_mask_that_is_void_everywhere_says_nothing():
    found = alignment(torch.rand(3, 40, 50), torch.full((40, 50), 255))
    assert found.shift == (0, 0) and found.mirrored == "" and found.fit == 0
