"""SLIC: a hand case, what every superpixel promises, and scikit-image at equal numbers."""

import pytest
import torch
from scipy.ndimage import label
from skimage.segmentation import slic as reference

from segcourse.classical.partitions import (
    achievable_segmentation_accuracy,
    boundary_recall_precision,
    undersegmentation_error,
)
from segcourse.classical.superpixels import join_small_pieces, slic, touching
from segcourse.data.photographs import NAMES, Photographs
from segcourse.data.toytown import Toytown

TOYTOWN = Toytown(1)[0]


def two_tone() -> torch.Tensor:
    image = torch.zeros(20, 20)
    image[:, 10:] = 1
    return image


def test_four_superpixels_of_two_tones():
    found = slic(two_tone(), 4)
    assert sorted(found.flatten().bincount().tolist()) == [90, 90, 110, 110]
    assert (found[:, 9] != found[:, 10]).all()
    assert achievable_segmentation_accuracy(found, two_tone().long()) == 1


def test_an_even_image_falls_into_squares():
    found = slic(torch.full((30, 30), 0.5), 9)
    assert all(80 <= size <= 125 for size in found.flatten().bincount().tolist())
    assert found[0, :].unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("n_segments", [1, 12, 60, 300])
def test_superpixels_hang_together_and_are_about_as_many_as_asked(n_segments):
    found = slic(TOYTOWN.image, n_segments)
    numbers = found.unique().tolist()
    assert numbers == list(range(len(numbers)))
    assert 0.6 * n_segments <= len(numbers) <= 1.4 * n_segments + 1
    min_size = found.numel() / n_segments / 4
    for number in numbers:
        part = (found == number).numpy()
        assert label(part)[1] == 1 and part.sum() >= min_size


def test_compactness_trades_roundness_for_borders():
    recalls, borders = [], []
    for compactness in (2.0, 10.0, 40.0):
        found = slic(TOYTOWN.image, 100, compactness=compactness)
        recalls.append(boundary_recall_precision(found, TOYTOWN.semantic, tolerance=1)[0])
        borders.append(int((found[:, 1:] != found[:, :-1]).sum()))
    assert borders[0] > borders[1] > borders[2]
    assert recalls[0] > recalls[2]


@pytest.mark.parametrize("name", NAMES)
def test_no_worse_than_scikit_image_at_equal_numbers(name):
    """Both get the same target; the one with more superpixels would have it easier."""
    image, target, _ = Photographs(name, longest=200)[0]
    theirs = torch.from_numpy(reference(image.movedim(0, -1).double().numpy(), 150, start_label=0))
    n_segments = len(theirs.unique())
    ours = slic(image, n_segments)
    while len(ours.unique()) > n_segments:
        n_segments -= 2
        ours = slic(image, n_segments)
    assert len(ours.unique()) <= len(theirs.unique())
    recall, reference_recall = (
        boundary_recall_precision(regions, target)[0] for regions in (ours, theirs)
    )
    assert recall >= reference_recall - 0.02
    assert (
        achievable_segmentation_accuracy(ours, target)
        >= achievable_segmentation_accuracy(theirs, target) - 0.005
    )
    assert undersegmentation_error(ours, target) <= undersegmentation_error(theirs, target) + 0.005


def test_small_pieces_join_the_neighbour_of_the_nearest_colour():
    labels = torch.tensor([[0, 0, 0, 1, 2, 2, 2]] * 2)
    colors = torch.tensor([[[0.0, 0, 0, 6, 9, 9, 9]] * 2]).double()
    assert join_small_pieces(labels, colors, 3).tolist() == [[0, 0, 0, 1, 1, 1, 1]] * 2
    assert join_small_pieces(labels, colors, 2).tolist() == labels.tolist()
    assert join_small_pieces(labels, colors, 100).unique().tolist() == [0]


def test_pieces_that_are_cut_off_get_numbers_of_their_own():
    labels = torch.tensor([[5, 5, 3, 3, 5, 5]] * 3)
    apart = join_small_pieces(labels, torch.zeros(1, 3, 6).double(), 1)
    assert apart.tolist() == [[0, 0, 1, 1, 2, 2]] * 3


def test_who_touches_whom():
    a, b = touching(torch.tensor([[0, 0, 1], [2, 2, 1]]))
    assert set(zip(a.tolist(), b.tolist(), strict=True)) == {
        (0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1),
    }  # fmt: skip


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: slic(two_tone(), 0), "0 superpixels"),
        (lambda: slic(two_tone(), 401), "1 to 400"),
        (lambda: slic(two_tone(), 4, compactness=0), "compactness=0"),
        (lambda: slic(two_tone() * 255, 4), "255"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
