"""What several tests of networks need."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from segcourse.blocks.resnet import ResNet
from segcourse.models.mask_rcnn import Objects


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


@pytest.fixture
def detector() -> dict[str, object]:
    """Arguments of a Mask R-CNN that is quick, for images of about 96 x 128 pixels."""
    return dict(
        backbone=partial(ResNet, 18, width=8),
        channels=16,
        hidden=32,
        anchor_sides=(8, 16, 32, 64, 96),
        canonical=48,
        proposals=(60, 40),
        regions=48,
    )


@pytest.fixture
def two_objects() -> Objects:
    """A square, and a rectangle that lacks a corner, in an image of 96 x 128 pixels."""
    masks = torch.zeros(2, 96, 128, dtype=torch.bool)
    masks[0, 12:52, 10:40] = True
    masks[1, 30:70, 60:110] = True
    masks[1, 30:40, 60:70] = False
    boxes = torch.tensor([[10.0, 12, 40, 52], [60, 30, 110, 70]])
    return Objects(boxes, torch.tensor([1, 2]), masks)


@pytest.fixture
def no_objects() -> Objects:
    """An empty image of 96 x 128 pixels."""
    return Objects(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0, 96, 128).bool())
