"""What lies beyond the border of an image: its reflection, as often as it takes.

    … c b │ a b c d │ c b a b …

A border of zeros is an edge that no scene contains. A reflection continues the image with textures
and colours that the network knows from training.
"""

import torch
from torch import Tensor


def reflect_pad(image: Tensor, margin: int, height: int, width: int) -> Tensor:
    """Continue an image by reflection: (..., H, W) -> (..., height, width).

    The image starts at row and column ``margin``. The border itself is not repeated. Other than
    ``torch.nn.functional.pad``, this reflects an image smaller than its margins again and again.

    Raises:
        ValueError: if the image has no pixel, or if a number is negative.
    """
    if image.ndim < 2 or 0 in image.shape[-2:] or min(margin, height, width) < 0:
        raise ValueError(
            f"an image of shape {tuple(image.shape)} cannot be continued to {height} x {width} "
            f"with margin={margin}: it needs at least one pixel, and all numbers are 0 or more."
        )
    for axis, length in ((-2, height), (-1, width)):
        side = image.shape[axis]
        place = torch.arange(-margin, length - margin).abs() % max(2 * side - 2, 1)
        place = torch.minimum(place, (2 * side - 2 - place).abs())
        image = image.index_select(axis, place.to(image.device))
    return image
