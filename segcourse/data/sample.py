"""What every dataset of the course yields, and how samples become a batch."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class Sample(NamedTuple):
    """One image and its truth. Boxes, masks and panoptic segments are derived from these three."""

    image: Tensor  # (3, H, W) float32 in [0, 1]
    semantic: Tensor  # (H, W) int64 class per pixel, or segcourse.ops.labels.IGNORE
    instance: Tensor  # (H, W) int64 object per pixel, 0 where there is none


def stack(samples: Sequence[Sample]) -> Sample:
    """A batch of equally large samples is a Sample whose parts have a leading axis N.

    Raises:
        ValueError: if there is no sample, or if their sizes differ.
    """
    if not samples:
        raise ValueError("a batch needs at least one sample, but none came: is the dataset empty?")
    sizes = {tuple(sample.semantic.shape) for sample in samples}
    if len(sizes) > 1:
        raise ValueError(
            f"a batch needs samples of one size, but these are {sorted(sizes)}: resize or crop "
            "them first (segcourse.data.transforms)."
        )
    return Sample(*(torch.stack(parts) for parts in zip(*samples, strict=True)))


class Cached(Dataset):
    """A dataset drawn once and kept in memory: for generators and files that are slow to read."""

    def __init__(self, dataset: Dataset):
        self.samples = [dataset[index] for index in range(len(dataset))]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def batches(dataset: Dataset, *, size: int, seed: int = 0, shuffle: bool = True) -> DataLoader:
    """Batches of ``size`` samples, shuffled anew every epoch, in an order that ``seed`` decides.

    The last, smaller batch of an epoch is left out when shuffling (batch normalisation dislikes
    tiny batches) and kept otherwise (an evaluation counts every sample).

    Raises:
        ValueError: if ``size`` is not positive, or exceeds a dataset that is to be shuffled.
    """
    if size < 1 or (shuffle and size > len(dataset)):
        raise ValueError(
            f"batches of {size} cannot be made from {len(dataset)} samples: "
            f"choose a size from 1 to {len(dataset)}."
        )
    return DataLoader(
        dataset,
        batch_size=size,
        shuffle=shuffle,
        drop_last=shuffle,
        collate_fn=stack,
        generator=torch.Generator().manual_seed(seed),
    )
