"""Class weights by hand, border weights against the formula with all distances."""

import math
import tracemalloc

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt, label

from segcourse.losses.weights import (
    border_weights,
    class_counts,
    frequency,
    inverse_frequency_weights,
    log_frequency_weights,
    median_frequency_weights,
)


class TestClassWeights:
    def three_images(self):
        target = torch.zeros(3, 4, 4, dtype=torch.long)
        target[0, :, 2:] = 1
        target[1, 1:] = 1
        target[1, 0, 0] = 2
        return target

    def test_counts(self):
        counts = class_counts(self.three_images(), 3)
        assert counts.tolist() == [[8, 8, 0], [3, 12, 1], [16, 0, 0]]
        assert counts.sum(0).tolist() == [27, 20, 1]

    def test_void_is_not_counted(self, ti):
        assert class_counts(ti, 3).sum(0).tolist() == [9, 9, 9]

    @pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.uint16, torch.int32])
    def test_counts_of_narrow_integers(self, ti, kind):
        assert torch.equal(class_counts(ti.to(kind), 3), class_counts(ti, 3))

    def test_void_may_have_another_label(self, ti):
        void = ti.where(ti != 255, -1).to(torch.int8)
        assert torch.equal(class_counts(void, 3, ignore_index=-1), class_counts(ti, 3))

    @pytest.mark.parametrize("size", [(0, 4, 4), (2, 0, 4), (2, 1, 4)])
    def test_counts_of_nothing(self, size):
        counts = class_counts(torch.full(size, 255), 3)
        assert counts.dtype == torch.int64 and counts.tolist() == [[0, 0, 0]] * size[0]
        for scheme in (
            frequency,
            inverse_frequency_weights,
            median_frequency_weights,
            log_frequency_weights,
        ):
            with pytest.raises(ValueError, match="every pixel was void"):
                scheme(counts)

    def test_median_frequency(self):
        weights = median_frequency_weights(class_counts(self.three_images(), 3))
        assert weights.tolist() == pytest.approx([1.0, 0.9, 9.0])

    def test_inverse_frequency(self):
        counts = torch.tensor([[176, 80]])
        assert inverse_frequency_weights(counts).tolist() == pytest.approx([0.625, 1.375])

    def test_log_frequency_is_bounded(self):
        weights = log_frequency_weights(torch.tensor([[100, 0]]))
        assert weights.tolist() == pytest.approx([1.42228, 50.49835], abs=1e-5)

    def test_a_class_that_never_occurs_weighs_nothing_and_moves_no_average(self):
        with_extra = torch.tensor([[176, 0, 80]])
        for scheme in (inverse_frequency_weights, median_frequency_weights):
            found = scheme(with_extra)
            assert found[1] == 0
            assert torch.equal(found[[0, 2]], scheme(with_extra[:, [0, 2]]))


class TestBorderWeights:
    def two_objects(self):
        instance = torch.zeros(16, 16, dtype=torch.long)
        instance[4:12, 2:7] = 1
        instance[4:12, 9:14] = 2
        return instance

    @pytest.mark.parametrize(
        "row, column, weight",
        [(8, 7, 8.352702), (12, 8, 7.660628), (0, 8, 2.28193), (8, 0, 0.889216), (4, 4, 0)],
    )
    def test_golden_pixels(self, row, column, weight):
        found = border_weights(self.two_objects())[row, column].item()
        assert found == pytest.approx(weight, abs=1e-6)

    def test_sum_maximum_and_batch(self):
        instance = self.two_objects()
        weights = border_weights(instance)
        assert weights.sum().item() == pytest.approx(515.170384, abs=1e-3)
        assert weights.max() == weights[8, 7]
        stacked = border_weights(torch.stack([instance, instance.flip(1)]))
        assert torch.equal(stacked, torch.stack([weights, weights.flip(1)]))

    def test_fewer_than_two_objects_have_no_gap(self):
        one = (self.two_objects() == 1).long()
        assert not border_weights(one).any()
        assert not border_weights(one * 0).any()

    def test_inside_objects_the_formula_alone_would_not_be_zero(self):
        assert 10 * math.exp(-(5**2) / 50) == pytest.approx(6.065307, abs=1e-6)

    @pytest.mark.parametrize(
        "sigma, w0", [(5, 10), (1, 10), (0.3, 1e-3), (40, 1), (1e6, 10), (5, 0)]
    )
    @pytest.mark.parametrize("shape", [(60, 90), (1, 200), (200, 1)])
    def test_all_distances_give_the_same(self, shape, sigma, w0):
        instance = random_objects(shape, share=0.04)
        found = border_weights(torch.from_numpy(instance), sigma=sigma, w0=w0)
        assert found.dtype == torch.float32
        assert np.array_equal(found.numpy(), weights_of_all_distances(instance, w0, sigma))

    def test_objects_in_several_pieces_and_of_any_number(self):
        instance = random_objects((40, 60), share=0.03) % 5
        wanted = weights_of_all_distances(instance, 10, 5)
        far_apart = torch.from_numpy(instance) ** 3 * 1_000_003
        assert np.array_equal(border_weights(far_apart).numpy(), wanted)

    def test_an_image_without_background(self):
        assert not border_weights(torch.tensor([[3, 3], [3, 7]])).any()

    @pytest.mark.parametrize(
        "kind", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32]
    )
    def test_narrow_integers(self, kind):
        instance = self.two_objects()
        assert torch.equal(border_weights(instance.to(kind)), border_weights(instance))

    def test_numbers_that_wrapped_around_are_refused(self):
        with pytest.raises(ValueError, match="too narrow"):
            border_weights((self.two_objects() * 100).to(torch.int8))  # 200 became -56

    def test_memory_does_not_grow_with_the_number_of_objects(self):
        few, many = peak_memory(2), peak_memory(12)
        assert many < 2 * few, f"4 objects: {few:.1f} MiB; 144: {many:.1f} MiB"


def random_objects(shape, share):
    """Scattered pixels, those that touch being one object."""
    return label(np.random.default_rng(0).random(shape) < share)[0]


def weights_of_all_distances(instance, w0, sigma):
    """The formula with the distances of every object everywhere."""
    numbers = np.unique(instance[instance > 0])
    distances = np.stack([distance_transform_edt(instance != number) for number in numbers])
    nearest, second = np.partition(distances, 1, axis=0)[:2]
    weights = w0 * np.exp(-((nearest + second) ** 2) / (2 * sigma**2)) * (instance == 0)
    return weights.astype(np.float32)


def peak_memory(n):
    """MiB for n x n squares on 200 x 200 pixels."""
    side = 200 // n
    steps = torch.arange(200)
    inside = (steps % side < side * 2 // 3) & (steps < n * side)
    rows = torch.where(inside, steps // side, -1)
    instance = rows[:, None] * n + rows + 1
    instance[(rows[:, None] < 0) | (rows < 0)] = 0
    tracemalloc.start()
    border_weights(instance)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20
