"""Unpooling: every value comes back to its place, whatever the size of the map."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.unpooling import Maxima, decode, encode, pool, unpool

SIZES = [(4, 6), (5, 7), (6, 5), (1, 1), (1, 8), (9, 2)]


def brute_pool(x: Tensor) -> dict[tuple[int, ...], tuple[int, int]]:
    """Where the first of the largest values of each window is, by looking at every value."""
    places = {}
    for n, c, row, column in product(*map(range, x.shape)):
        window = (n, c, row // 2, column // 2)
        best = places.get(window)
        if best is None or x[n, c, row, column] > x[(n, c, *best)]:
            places[window] = (row, column)
    return places


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pooling_finds_what_brute_force_finds(size):
    torch.manual_seed(0)
    x = torch.randint(5, (2, 3, *size)).float()  # many ties
    pooled, maxima = pool(x)
    places = brute_pool(x)
    assert len(places) == pooled.numel() and maxima.size == size
    for window, (row, column) in places.items():
        assert pooled[window] == x[(*window[:2], row, column)]
        assert maxima.indices[window] == row * size[1] + column


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_unpooling_puts_values_where_brute_force_puts_them(size):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size)
    pooled, maxima = pool(x)
    values = torch.randn_like(pooled)
    expected = torch.zeros_like(x)
    for window, place in brute_pool(x).items():
        expected[(*window[:2], *place)] = values[window]
    assert torch.equal(unpool(values, maxima), expected)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_pooled_value_is_kept_exactly_once(size):
    x = torch.rand(2, 3, *size) + 1
    pooled, maxima = pool(x)
    unpooled = unpool(pooled, maxima)
    kept = unpooled != 0
    assert kept.sum() == pooled.numel()
    assert torch.equal(unpooled, x * kept)  # each at its own place
    again, same = pool(unpooled)
    assert torch.equal(again, pooled) and torch.equal(same.indices, maxima.indices)


def test_half_of_45_rows_is_23_and_45_come_back():
    x = torch.randn(1, 1, 45, 60)
    assert F.max_pool2d(x, 2).shape[-2:] == (22, 30)  # torch's default; Caffe rounds up
    pooled, maxima = pool(x)
    assert pooled.shape[-2:] == (23, 30)
    assert unpool(pooled, maxima).shape[-2:] == (45, 60)


def test_without_the_size_torch_guesses_wrong():
    x = torch.randn(1, 1, 45, 60)
    for ceil_mode, guess in [(True, 46), (False, 44)]:
        pooled, indices = F.max_pool2d(x, 2, ceil_mode=ceil_mode, return_indices=True)
        assert F.max_unpool2d(pooled, indices, 2).shape[-2:] == (guess, 60)


def test_a_wrong_width_moves_values_without_an_error_unless_they_leave_the_map():
    """Why ``Maxima`` holds the size: nothing else would notice."""
    x = torch.zeros(1, 1, 4, 5)
    x[..., 1, 0] = 1.0
    pooled, (indices, size) = pool(x)
    assert size == (4, 5)
    wider = unpool(pooled, Maxima(indices, (4, 6)))
    assert wider[0, 0].nonzero().tolist() == [[0, 5]]  # place 5 of the flat map
    x[..., 3, 4] = 1.0
    pooled, (indices, _) = pool(x)
    with pytest.raises(RuntimeError, match="max index: 19"):
        unpool(pooled, Maxima(indices, (3, 5)))


def test_gradients_return_from_the_places_of_the_maxima():
    x = torch.randn(1, 2, 5, 4)
    pooled, maxima = pool(x)
    values = torch.randn_like(pooled).requires_grad_()
    weight = torch.randn_like(x)
    (unpool(values, maxima) * weight).sum().backward()
    gathered = weight.flatten(2).gather(2, maxima.indices.flatten(2)).view_as(values)
    assert torch.equal(values.grad, gathered)


def test_the_layout_of_the_memory_changes_nothing():
    x = torch.randn(2, 3, 7, 9)
    last = x.to(memory_format=torch.channels_last)
    (pooled, maxima), (pooled_last, maxima_last) = pool(x), pool(last)
    assert torch.equal(pooled, pooled_last) and torch.equal(maxima.indices, maxima_last.indices)
    assert torch.equal(unpool(pooled, maxima), unpool(pooled_last, maxima_last))


@pytest.mark.parametrize("size", [(32, 48), (13, 21), (1, 1)])
def test_the_largest_value_survives_any_number_of_poolings_in_its_place(size):
    torch.manual_seed(0)
    image = torch.rand(2, 3, *size) + 1
    nothing = [nn.Identity() for _ in range(4)]
    x, maxima = encode(nothing, image)
    assert [places.size for places in maxima] == [
        tuple(-(-side // 2**level) for side in size) for level in range(4)
    ]
    back = decode(nothing, x, maxima)
    assert back.shape == image.shape and (back != 0).sum() == x.numel()
    assert torch.equal(back, image * (back != 0))
    assert torch.equal(back.flatten(2).argmax(2), image.flatten(2).argmax(2))


def test_stages_see_their_maps_in_the_order_of_the_way_down_and_up():
    seen = []

    class Witness(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(tuple(x.shape[-2:]))
            return x

    stages = [Witness() for _ in range(3)]
    decode(stages, *encode(stages, torch.rand(1, 1, 13, 6)))
    assert seen == [(13, 6), (7, 3), (4, 2), (4, 2), (7, 3), (13, 6)]


def test_shapes_can_be_asked_for_without_memory():
    with torch.device("meta"):
        pooled, maxima = pool(torch.empty(1, 64, 45, 60))
        assert unpool(pooled, maxima).shape == (1, 64, 45, 60)


def test_features_that_were_not_pooled_like_this_are_refused():
    _, maxima = pool(torch.rand(1, 4, 8, 8))
    for wrong in [(1, 2, 4, 4), (1, 4, 8, 8)]:
        with pytest.raises(ValueError, match=r"do not fit maxima \(1, 4, 4, 4\).*reverse order"):
            unpool(torch.rand(wrong), maxima)


def test_an_image_without_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\): add .* image\[None\]"):
        encode([nn.Identity()], torch.rand(3, 8, 8))
