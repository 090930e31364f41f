"""Batches of images of different sizes."""

import pytest
import torch
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from segcourse.ops.image_batch import batch_images


@pytest.mark.parametrize("divisor", [1, 32, 64])
def test_a_batch_is_torchvisions(divisor):
    images = [torch.rand(3, 191, 255), torch.rand(3, 75, 300), torch.rand(3, 1, 1)]
    expected = GeneralizedRCNNTransform(1, 1, [0.0], [1.0]).batch_images(images, divisor)
    found = batch_images(images, divisor=divisor)
    assert torch.equal(found.images, expected)
    assert found.sizes == [(191, 255), (75, 300), (1, 1)]


def test_inside_says_what_is_no_padding():
    images = [torch.ones(3, 4, 6), torch.ones(3, 5, 2)]
    batch = batch_images(images, divisor=8)
    assert torch.equal(batch.inside(), batch.images[:, 0] == 1)


def test_images_of_the_right_size_are_not_copied():
    images = torch.rand(2, 3, 32, 64)
    assert batch_images(images, divisor=32).images is images


@pytest.mark.parametrize(
    ("images", "error"),
    [
        ([], ValueError),
        (torch.rand(3, 4, 4), ValueError),
        ([torch.rand(3, 0, 4)], ValueError),
        ([torch.rand(3, 4, 4), torch.rand(1, 4, 4)], ValueError),
        ([torch.zeros(3, 4, 4, dtype=torch.uint8)], TypeError),
        ([[1, 2]], TypeError),
    ],
)
def test_what_is_no_batch_is_refused(images, error):
    with pytest.raises(error):
        batch_images(images)
