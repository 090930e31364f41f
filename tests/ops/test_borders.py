"""A reflected border is torch's reflection, for margins of any width."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segcourse.ops.borders import reflect_pad


@pytest.mark.parametrize("margin", [0, 1, 3, 4])
def test_it_is_torchs_reflection_where_that_exists(margin):
    image = torch.rand(2, 3, 5, 7)
    want = F.pad(image, (margin,) * 4, mode="reflect")
    assert torch.equal(reflect_pad(image, margin, 5 + 2 * margin, 7 + 2 * margin), want)


def test_an_image_smaller_than_the_margin_is_reflected_again_and_again():
    row = reflect_pad(torch.tensor([[0, 1, 2]]), 4, 9, 13)[0]
    assert row.tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0]
    assert torch.equal(reflect_pad(torch.tensor([[5]]), 2, 5, 4), torch.full((5, 4), 5))


def test_a_larger_side_continues_at_the_far_end_only():
    image = torch.arange(12).view(1, 3, 4)
    wide = reflect_pad(image, 0, 5, 6)
    assert torch.equal(wide[:, :3, :4], image)
    assert torch.equal(wide[:, 3:, :4], image[:, [1, 0]])
    assert torch.equal(wide[:, :3, 4:], image[:, :, [2, 1]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.uint8, torch.int8, torch.uint16])
def test_images_one_pixel_high_or_wide_are_continued_as_numpy_does(shape, dtype):
    image = torch.arange(1, 1 + shape[0] * shape[1]).reshape(shape).to(dtype)
    want = np.pad(image.numpy(), 4, mode="reflect")
    found = reflect_pad(image, 4, shape[0] + 8, shape[1] + 8)
    assert found.dtype == dtype and np.array_equal(found.numpy(), want)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((torch.zeros(3, 0, 4), 1, 5, 6), r"\(3, 0, 4\) cannot be continued to 5 x 6"),
        ((torch.zeros(4), 1, 5, 6), "at least one pixel"),
        ((torch.zeros(4, 4), -1, 5, 6), "margin=-1"),
    ],
)
def test_what_cannot_be_continued_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        reflect_pad(*arguments)
