"""Graph cut: hand cases, and all labellings tried one by one."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcourse.classical.graph_cut import contrast_weights, energy, minimum_cut
from segcourse.classical.pixels import neighbors

CHAIN = torch.tensor(
    [
        [0.51, 0.95, 0.14, 0.95, 0.31, 0.42, 0.83, 0.41],
        [0.55, 0.03, 0.75, 0.54, 0.33, 0.79, 0.3, 0.45],
    ],
    dtype=torch.float64,
)
LINKS = torch.tensor([[at, at + 1] for at in range(7)])
POTTS = torch.full((7,), 0.3, dtype=torch.float64)


def least(costs, edges, weights) -> float:
    """The least energy of all labellings."""
    every = torch.tensor(list(product((0, 1), repeat=costs.shape[1])))  # (2^P, P)
    own = torch.where(every == 1, costs[1], costs[0]).sum(dim=1)
    differ = every[:, edges[:, 0]] != every[:, edges[:, 1]]
    return float((own + (differ * weights).sum(dim=1)).min())


def test_a_chain_of_eight():
    labels = minimum_cut(CHAIN, LINKS, POTTS)
    assert labels.tolist() == [1, 1, 0, 1, 1, 1, 1, 1]
    assert math.isclose(energy(labels, CHAIN, LINKS, POTTS), 3.73)
    assert math.isclose(least(CHAIN, LINKS, POTTS), 3.73)


def test_the_energy_by_hand():
    labels = torch.tensor([1, 1, 0, 1, 1, 1, 1, 1])
    own = 0.55 + 0.03 + 0.14 + 0.54 + 0.33 + 0.79 + 0.3 + 0.45
    assert math.isclose(energy(labels, CHAIN, LINKS, POTTS), own + 2 * 0.3)


def test_two_pixels_pull_at_each_other():
    """Two nodes with source capacities 2, 9 and sink capacities 5, 4; a pair that pays 2."""
    costs = torch.tensor([[2.0, 9.0], [5.0, 4.0]])
    edges, weights = torch.tensor([[0, 1]]), torch.tensor([2.0])
    assert minimum_cut(costs, edges, weights).tolist() == [0, 1]
    assert energy(torch.tensor([0, 1]), costs, edges, weights) == 8  # the flow
    assert minimum_cut(costs, edges, weights * 5).tolist() == [1, 1]


def test_a_noisy_rectangle_becomes_whole():
    target = torch.zeros(64, 64, dtype=torch.int64)
    target[16:48, 20:44] = 1
    noise = 0.2 * np.random.default_rng(0).standard_normal((64, 64))
    values = (target + torch.from_numpy(noise)).flatten()
    costs = torch.stack([values**2, (values - 1) ** 2])
    edges, _ = neighbors(64, 64)
    weights = torch.full((len(edges),), 0.5, dtype=torch.float64)
    labels = minimum_cut(costs, edges, weights)
    assert torch.equal(labels.view(64, 64), target)
    assert math.isclose(energy(labels, costs, edges, weights), 219.08269579, abs_tol=1e-6)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([4, 8]))
def test_no_labelling_is_better(seed, connectivity):
    generator = torch.Generator().manual_seed(seed)
    costs = torch.randn(2, 9, generator=generator, dtype=torch.float64)
    edges, distances = neighbors(3, 3, connectivity=connectivity)
    weights = torch.rand(len(edges), generator=generator, dtype=torch.float64) / distances
    found = energy(minimum_cut(costs, edges, weights), costs, edges, weights)
    assert found <= least(costs, edges, weights) + (9 + len(edges)) / 1000  # costs are rounded
    exact = minimum_cut(costs, edges, weights, precision=1e8)
    assert energy(exact, costs, edges, weights) <= least(costs, edges, weights) + 1e-6


def test_without_pairs_every_pixel_takes_its_cheaper_label():
    labels = minimum_cut(CHAIN, LINKS[:0], POTTS[:0])
    assert torch.equal(labels, CHAIN.argmin(dim=0))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.float16, torch.bfloat16])
def test_costs_of_narrow_types_are_neither_wrapped_nor_rounded(dtype):
    costs, weights = torch.tensor([[3, 100, 10], [100, 3, 10]]), torch.tensor([100, 100])
    edges = torch.tensor([[0, 1], [1, 2]])
    wanted = minimum_cut(costs.double(), edges, weights.double() / 100)
    assert torch.equal(minimum_cut(costs.to(dtype), edges, weights.double() / 100), wanted)
    assert wanted[:2].tolist() == [0, 1]
    labels = torch.tensor([0, 1, 0]).repeat(400)
    many = costs.repeat(1, 400)
    chain = torch.tensor([[at, at + 1] for at in range(len(labels) - 1)])
    pays = torch.full((len(chain),), 100)
    wanted = energy(labels, many.double(), chain, pays.double())
    assert energy(labels, many.to(dtype), chain, pays.to(dtype)) == wanted
    ends = torch.ones(2)
    colors = torch.tensor([[100, 3, 10]])
    wanted = contrast_weights(colors.double(), edges, ends, gamma=1)
    assert torch.equal(contrast_weights(colors.to(dtype), edges, ends, gamma=1), wanted)


def test_contrast_makes_borders_cheap():
    colors = torch.tensor([[0.0, 0.0, 1.0]])
    edges, distances = torch.tensor([[0, 1], [1, 2]]), torch.tensor([1.0, 2.0])
    weights = contrast_weights(colors, edges, distances, gamma=50)
    assert torch.allclose(weights, torch.tensor([50.0, 25 * math.exp(-1)]).double())  # beta is 1
    even = contrast_weights(torch.zeros(3, 3), edges, distances, gamma=50)
    assert even.tolist() == [50, 25]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: minimum_cut(CHAIN[0], LINKS, POTTS), r"\(8,\)"),
        (lambda: minimum_cut(CHAIN, LINKS, POTTS[1:]), r"\(7, 2\)"),
        (lambda: minimum_cut(CHAIN, LINKS, -POTTS), "-0.3"),
        (lambda: minimum_cut(CHAIN * math.inf, LINKS, POTTS), "finite"),
        (lambda: minimum_cut(CHAIN * 1e7, LINKS, POTTS), "clip the costs"),
        (
            lambda: contrast_weights(torch.zeros(1, 8), LINKS, torch.ones(7), gamma=-1),
            "gamma=-1",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
