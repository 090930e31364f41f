"""Samples become batches; datasets can be kept in memory."""

import pytest
import torch

from segcourse.data.sample import Cached, Sample, batches, stack


def sample(side: int, value: int = 0) -> Sample:
    flat = torch.full((side, side), value)
    return Sample(torch.zeros(3, side, side), flat, torch.zeros_like(flat))


class Numbers(torch.utils.data.Dataset):
    def __init__(self):
        self.drawn = 0

    def __len__(self):
        return 7

    def __getitem__(self, index):
        self.drawn += 1
        return sample(2, index)


def numbers(loader) -> list[list[int]]:
    return [batch.semantic[:, 0, 0].tolist() for batch in loader]


def test_a_batch_is_a_sample_with_a_leading_axis():
    batch = stack([sample(4), sample(4)])
    assert batch.image.shape == (2, 3, 4, 4) and batch.instance.shape == (2, 4, 4)


def test_samples_of_different_sizes_and_no_samples_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 4\), \(5, 5\).*resize or crop"):
        stack([sample(4), sample(5)])
    with pytest.raises(ValueError, match="at least one sample"):
        stack([])


def test_a_cached_dataset_is_drawn_once():
    dataset = Numbers()
    cached = Cached(dataset)
    assert [cached[i].semantic[0, 0].item() for i in (3, 3, 0)] == [3, 3, 0]
    assert dataset.drawn == len(cached) == 7


def test_the_seed_decides_the_order_and_epochs_differ():
    loader = batches(Numbers(), batch_size=2, seed=5)
    first, second = numbers(loader), numbers(loader)
    assert first != second and numbers(batches(Numbers(), batch_size=2, seed=5)) == first
    assert numbers(batches(Numbers(), batch_size=2, seed=6)) != first


def test_training_drops_the_short_batch_and_evaluation_keeps_it():
    assert [len(b) for b in numbers(batches(Numbers(), batch_size=2))] == [2, 2, 2]
    assert numbers(batches(Numbers(), batch_size=3, shuffle=False)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_workers_make_the_same_batches():
    wanted = numbers(batches(Numbers(), batch_size=2, seed=5))
    assert numbers(batches(Numbers(), batch_size=2, seed=5, num_workers=2)) == wanted
    with pytest.raises(ValueError, match="num_workers=-1 is negative"):
        batches(Numbers(), batch_size=2, num_workers=-1)


@pytest.mark.parametrize("size", [0, -1, 8])
def test_impossible_batch_sizes_are_refused(size):
    with pytest.raises(ValueError, match="choose a batch_size from 1 to 7"):
        batches(Numbers(), batch_size=size)
