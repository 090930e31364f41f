"""The golden fixtures: small, deterministic, in float64."""

import pytest
import torch


@pytest.fixture
def x():
    """Logits of 2 images, 3 classes."""
    return (2 * torch.sin(0.7 * torch.arange(96).double())).reshape(2, 3, 4, 4).requires_grad_()


@pytest.fixture
def t():
    """Truth with 11, 11 and 10 pixels."""
    return ((torch.arange(32) * 7) // 3 % 3).reshape(2, 4, 4)


@pytest.fixture
def ti(t):
    """The same with 5 void pixels."""
    void = t.clone()
    void[0, 0] = 255
    void[1, 3, 3] = 255
    return void


@pytest.fixture
def z():
    """Logits of one channel."""
    return (2 * torch.cos(0.9 * torch.arange(32).double())).reshape(2, 1, 4, 4).requires_grad_()


@pytest.fixture
def y():
    """Binary target with 14 positives of 32."""
    return ((torch.arange(32) % 5) < 2).long().reshape(2, 4, 4)
