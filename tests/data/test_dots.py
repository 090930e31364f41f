"""Dots: the share is what was asked for, and a picture never changes."""

import hashlib

import pytest
import torch

from segcourse.data.dots import CLASSES, PALETTE, THINGS, Dots


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
def test_the_foreground_has_its_share(share):
    shares = torch.stack(
        [sample.semantic.float().mean() for sample in list(Dots(300, share=share))]
    )
    assert (shares - share).abs().max() < 29 / 64**2  # a disc has 29 pixels
    assert abs(shares.mean() - share) < 0.0006


def test_a_sample_is_a_sample():
    image, semantic, instance = Dots(1, share=0.05)[0]
    assert image.shape == (3, 64, 64) and image.dtype == torch.float32
    assert image.min() >= 0 and image.max() <= 1
    assert semantic.dtype == instance.dtype == torch.int64
    assert torch.equal(semantic, (instance > 0).long())
    assert len(CLASSES) == len(PALETTE) == 2 and THINGS == (1,)


def test_a_larger_share_means_more_discs_of_the_same_size():
    few, many = (Dots(1, share=share)[0].instance for share in (0.01, 0.3))
    assert many.max() > 20 * few.max()
    assert max(few.unique(return_counts=True)[1][1:]) == 29
    assert max(many.unique(return_counts=True)[1][1:]) == 29


def test_pictures_are_reproducible_and_seeds_differ():
    dots = Dots(3, share=0.1)
    assert torch.equal(dots[2].image, dots[2].image)
    assert not torch.equal(dots[2].image, dots[1].image)
    assert not torch.equal(dots[2].image, Dots(3, share=0.1, seed=1)[2].image)
    labels = torch.stack([sample.instance for sample in dots]).numpy().astype("<i8")
    assert hashlib.sha256(labels.tobytes()).hexdigest()[:16] == "546e9367a4ef8aee"


@pytest.mark.parametrize("index", [-1, 3])
def test_past_the_end_is_an_index_error(index):
    with pytest.raises(IndexError, match=f"image {index} of 3"):
        Dots(3, share=0.1)[index]


@pytest.mark.parametrize(
    "wrong",
    [{"share": 0.0}, {"share": 0.9}, {"length": 0}, {"side": 4}, {"radius": 0.5}, {"radius": 40}],
)
def test_arguments_out_of_range_are_refused(wrong):
    arguments = {"length": 3, "share": 0.1, **wrong}
    with pytest.raises(ValueError, match=f"{arguments['share']}.*take"):
        Dots(arguments.pop("length"), **arguments)
