"""Gaussians of colours: the formula by SciPy, and two steps that can only lower the costs."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from segcourse.classical.gaussians import (
    NOISE,
    GaussianMixture,
    component_costs,
    cost,
    fit,
    learn,
    moments,
    refit,
)


def colors(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_costs_are_those_of_the_formula():
    points, generator = colors(50), torch.Generator().manual_seed(1)
    root = torch.rand(2, 3, 3, generator=generator, dtype=torch.float64)
    spread = root @ root.mT + 0.05 * torch.eye(3)
    model = GaussianMixture(torch.tensor([0.3, 0.7]).double(), colors(2, seed=2), spread)
    found = component_costs(moments(points), model)
    for number, (share, mean, covariance) in enumerate(zip(*model, strict=True)):
        density = multivariate_normal(mean.numpy(), covariance.numpy()).logpdf(points.numpy())
        constant = -math.log(share) - 1.5 * math.log(2 * math.pi)
        constant += NOISE**2 * float(torch.linalg.inv(covariance).trace()) / 2
        assert np.allclose(found[:, number], constant - density)
    assert torch.equal(cost(moments(points), model), found.min(dim=1).values)


def test_a_fit_is_the_best_of_its_component():
    """Step 2: no other mean or covariance explains the pixels of a component better."""
    generator = torch.Generator().manual_seed(0)
    points_ = colors(40) * 0.1 + 0.4
    points = moments(points_)
    model = fit(points, torch.zeros(40, dtype=torch.int64), 1)
    assert torch.allclose(model.means[0], points_.mean(dim=0))
    spread = torch.cov(points_.T, correction=0) + NOISE**2 * torch.eye(3)
    assert torch.allclose(model.covariances[0], spread)
    best = component_costs(points, model).sum()
    for _ in range(20):
        shift = 0.003 * torch.randn(3, generator=generator, dtype=torch.float64)
        bend = 2e-5 * torch.randn(3, 3, generator=generator, dtype=torch.float64)
        other = model._replace(
            means=model.means + shift, covariances=model.covariances + bend + bend.T
        )
        assert component_costs(points, other).sum() > best


def test_learning_never_loses_what_it_had():
    generator = torch.Generator().manual_seed(1)
    points = moments(colors(300))
    model = fit(points, torch.randint(5, (300,), generator=generator), 5)
    results = (model, refit(points, model), learn(points, model, 5, 0))
    before, after, best = (float(cost(points, result).sum()) for result in results)
    assert before > after >= best


def test_two_clouds_are_told_apart():
    first, second = colors(200) * 0.1, colors(300, seed=1) * 0.1 + 0.6
    model = learn(moments(torch.cat([first, second])), None, 2, 0)
    order = model.means[:, 0].argsort()
    assert torch.allclose(model.weights[order], torch.tensor([0.4, 0.6]).double())
    assert torch.allclose(model.means[order[0]], first.mean(dim=0))
    assert torch.allclose(model.means[order[1]], second.mean(dim=0))


@pytest.mark.parametrize("channels", [1, 3])
def test_flat_colours_are_no_trouble(channels):
    points = moments(torch.full((4, channels), 0.5, dtype=torch.float64))
    model = learn(points, None, 5, 0)
    assert cost(points, model).isfinite().all() and model.weights.sum() == 1
    used = model.weights > 0
    assert torch.allclose(model.covariances[used], NOISE**2 * torch.eye(channels).double())


def test_squares_of_bytes_do_not_wrap_around():
    points = torch.tensor([[200, 3, 100], [20, 255, 16]])
    for dtype in (torch.uint8, torch.float16, torch.int16):
        assert torch.equal(moments(points.to(dtype)), moments(points.double()))


def test_an_empty_component_is_never_taken():
    points = moments(colors(20))
    model = fit(points, torch.zeros(20, dtype=torch.int64), 3)
    assert model.weights.tolist() == [1, 0, 0]
    assert component_costs(points, model).argmin(dim=1).eq(0).all()
