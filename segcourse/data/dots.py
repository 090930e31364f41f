"""Dots: gray images whose share of foreground is a knob, for experiments with class imbalance.

Bright discs on a cloudy background, all of one size: a larger share means more discs, not larger
ones, so that imbalance is the only thing that changes. Noise hides single pixels, but not discs.
Image ``i`` of seed ``s`` is the same on every machine.
"""

import numpy as np
import torch
from scipy.ndimage import zoom
from torch.utils.data import Dataset

from segcourse.data.sample import Sample

CLASSES = ("background", "dot")
THINGS = (1,)
PALETTE = ((0, 0, 0), (230, 159, 0))


class Dots(Dataset):
    """``length`` images of ``side`` x ``side`` pixels, of which dots fill ``share`` on average.

    Args:
        length: how many images.
        share: of the foreground, in all images; a single one is within one disc of it.
        seed: by convention 0 for training, 1 for validation, 2 for testing.
        side: height and width in pixels.
        radius: of the discs, in pixels.
        contrast: how much brighter than the background a dot is; the noise's deviation is 0.1.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        length: int,
        *,
        share: float,
        seed: int = 0,
        side: int = 64,
        radius: float = 3.0,
        contrast: float = 0.15,
    ):
        if length < 1 or not 0 < share <= 0.5 or side < 8 or not 1 <= radius <= side / 4:
            raise ValueError(
                f"Dots({length}, share={share}, side={side}, radius={radius}) cannot be drawn: "
                "take length >= 1, share in (0, 0.5], side >= 8 and radius from 1 to side / 4."
            )
        self.length, self.share, self.seed = length, share, seed
        self.side, self.radius, self.contrast = side, radius, contrast

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.length:
            raise IndexError(f"image {index} of {self.length}")
        rng = np.random.Generator(np.random.PCG64([self.seed, index]))
        instance = self._scatter(rng)
        clouds = zoom(rng.random((5, 5)), self.side / 5, order=1, grid_mode=True, mode="nearest")
        noise = 0.1 * rng.standard_normal((self.side, self.side))
        gray = 0.3 + 0.3 * clouds + self.contrast * (instance > 0) + noise
        image = torch.from_numpy(gray.clip(0, 1).astype(np.float32)).expand(3, -1, -1).clone()
        instance = torch.from_numpy(instance)
        return Sample(image, (instance > 0).long(), instance)

    def _scatter(self, rng: np.random.Generator) -> np.ndarray:
        """Objects that may touch and hide one another, until they fill their share: (H, W)."""
        rows, columns = np.mgrid[: self.side, : self.side]
        instance = np.zeros((self.side, self.side), dtype=np.int64)
        number = 0
        wanted = self.share * self.side**2 - rng.random() * np.pi * self.radius**2
        while (instance > 0).sum() < wanted:  # a random end: on average the share is exact
            row, column = rng.integers(0, self.side, 2)
            number += 1
            instance[(rows - row) ** 2 + (columns - column) ** 2 <= self.radius**2] = number
        return instance
