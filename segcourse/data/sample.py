"""What every dataset of the course yields, and how samples become a batch."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class Sample(NamedTuple):
    """One image and its labels. Boxes, masks and panoptic segments are derived from these three."""

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


def batches(
    dataset: Dataset,
    *,
    batch_size: int,
    seed: int = 0,
    shuffle: bool = True,
    num_workers: int = 0,
) -> DataLoader:
    """Batches of ``batch_size`` samples: a loader that yields Samples with a leading axis N.

    With ``shuffle``, every epoch has another order, which ``seed`` decides. The last, smaller
    batch of an epoch is then left out, because the statistics of batch normalisation are poor for
    few samples; without ``shuffle`` it is kept, because an evaluation counts every sample.

    Args:
        dataset: yields Samples of one size.
        batch_size: samples in a batch.
        seed: of the order, and of the random transforms in worker processes.
        shuffle: whether to shuffle.
        num_workers: processes that make the samples; 0 makes them in this one.

    Raises:
        ValueError: if ``batch_size`` is not positive, or exceeds a dataset that is to be shuffled,
            or if ``num_workers`` is negative.
    """
    if batch_size < 1 or (shuffle and batch_size > len(dataset)):
        raise ValueError(
            f"batches of {batch_size} cannot be made from {len(dataset)} samples: "
            f"choose a batch_size from 1 to {len(dataset)}."
        )
    if num_workers < 0:
        raise ValueError(f"num_workers={num_workers} is negative: 0 works in this process.")
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=shuffle,
        drop_last=shuffle,
        collate_fn=stack,
        num_workers=num_workers,
        generator=torch.Generator().manual_seed(seed),
    )
