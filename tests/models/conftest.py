"""What several tests of networks need."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture
def overfit() -> Callable[..., None]:
    """A function that makes a loss of a network small: steps of Adam, without noise or schedule."""

    def run(net: nn.Module, loss: Callable[[], Tensor], steps: int = 40) -> None:
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        for _ in range(steps):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

    return run
