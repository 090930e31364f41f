"""Signed: street scenes in which only the colour of a far sign decides what the grass is called.

    red sign  ─→ the pixels of grass keep their class
    blue sign ─→ the same pixels have the class "meadow"

The sign is a square at the upper edge of the image; the pixels of the grass are the same under
both colours. So a network cannot name them without information from far away. With two signs, the
left and the right half of the image have one each, in the middle of its height, and the position
of a sign matters as well as its colour.
"""

import torch
from torch.utils.data import Dataset

from segcourse.data.sample import Sample
from segcourse.data.toytown import CLASSES as _TOYTOWN_CLASSES
from segcourse.data.toytown import PALETTE as _TOYTOWN_PALETTE
from segcourse.ops.labels import IGNORE

CLASSES = (*_TOYTOWN_CLASSES, "meadow")
PALETTE = (*_TOYTOWN_PALETTE, (240, 150, 40))
SIDE = 10  # of a sign, in pixels
GRASS, MEADOW = CLASSES.index("grass"), CLASSES.index("meadow")


class Signed(Dataset):
    """Scenes of Toytown with signs: index -> Sample of (3, H, W), (H, W), (H, W).

    Colours and columns of the signs depend on the index alone. Their pixels are void.

    Args:
        dataset: of ``Toytown``.
        signs: 1 for one sign above each scene, 2 for one in each half of it.

    Raises:
        ValueError: for another number of signs.
    """

    def __init__(self, dataset: Dataset, *, signs: int = 1):
        if signs not in (1, 2):
            raise ValueError(
                f"signs={signs} cannot be placed: choose 1 for the scene, 2 for its halves."
            )
        self.dataset, self.signs = dataset, signs

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = Sample(*(part.clone() for part in self.dataset[index]))
        draw = torch.Generator().manual_seed(index)
        height, width = sample.semantic.shape
        width //= self.signs
        row = 0 if self.signs == 1 else height // 2
        for part in range(self.signs):
            blue = bool(torch.randint(2, (), generator=draw))
            column = int(torch.randint(width - SIDE, (), generator=draw))
            half = Sample(*(each[..., part * width : (part + 1) * width] for each in sample))
            _put_sign(half, row, column, blue)
        return sample


def _put_sign(sample: Sample, row: int, column: int, blue: bool) -> None:
    """Paint a sign, and name the grass after it, in place."""
    place = (..., slice(row, row + SIDE), slice(column, column + SIDE))
    sample.image[place] = torch.tensor([1.0 - blue, 0.0, float(blue)])[:, None, None]
    sample.semantic[place] = IGNORE
    if blue:
        sample.semantic[sample.semantic == GRASS] = MEADOW
