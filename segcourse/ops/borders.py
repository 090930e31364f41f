"""What lies beyond the border of an image: its mirror image, as often as it takes.

    … c b │ a b c d │ c b a b …

A network that meets a black border has to learn what black means. A mirror shows it what it knows.
"""

import torch
from torch import Tensor


def mirror(image: Tensor, margin: int, height: int, width: int) -> Tensor:
    """Continue an image by reflection: (..., H, W) -> (..., height, width).

    The image starts at row and column ``margin``. The border itself is not repeated, and an image
    smaller than what is asked for is reflected again and again.
    """
    for axis, length in ((-2, height), (-1, width)):
        side = image.shape[axis]
        place = torch.arange(-margin, length - margin).abs() % max(2 * side - 2, 1)
        place = torch.minimum(place, (2 * side - 2 - place).abs())
        image = image.index_select(axis, place.to(image.device))
    return image
