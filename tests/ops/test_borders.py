"""A mirrored border is torch's reflection, for margins of any width."""

import pytest
import torch
import torch.nn.functional as F

from segcourse.ops.borders import mirror


@pytest.mark.parametrize("margin", [0, 1, 3, 4])
def test_it_is_torchs_reflection_where_that_exists(margin):
    image = torch.rand(2, 3, 5, 7)
    want = F.pad(image, (margin,) * 4, mode="reflect")
    assert torch.equal(mirror(image, margin, 5 + 2 * margin, 7 + 2 * margin), want)


def test_an_image_smaller_than_the_margin_is_reflected_again_and_again():
    row = mirror(torch.tensor([[0, 1, 2]]), 4, 9, 13)[0]
    assert row.tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0]
    assert torch.equal(mirror(torch.tensor([[5]]), 2, 5, 4), torch.full((5, 4), 5))


def test_a_larger_side_continues_at_the_far_end_only():
    image = torch.arange(12).view(1, 3, 4)
    wide = mirror(image, 0, 5, 6)
    assert torch.equal(wide[:, :3, :4], image)
    assert torch.equal(wide[:, 3:, :4], image[:, [1, 0]])
    assert torch.equal(wide[:, :3, 4:], image[:, :, [2, 1]])
