"""What several tests of networks need."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from segcourse.blocks.resnet import ResNet
from segcourse.blocks.rpn import RPN
from segcourse.ops.instances import Instances


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
        rpn=partial(RPN, anchor_sizes=(8, 16, 32, 64, 96), pre_nms_top_n=60, post_nms_top_n=40),
        channels=16,
        representation_size=32,
        canonical_scale=48,
        box_batch_size_per_image=48,
    )


@pytest.fixture
def two_objects() -> Instances:
    """A square, and a rectangle that lacks a corner, in an image of 96 x 128 pixels."""
    masks = torch.zeros(2, 96, 128, dtype=torch.bool)
    masks[0, 12:52, 10:40] = True
    masks[1, 30:70, 60:110] = True
    masks[1, 30:40, 60:70] = False
    boxes = torch.tensor([[10.0, 12, 40, 52], [60, 30, 110, 70]])
    return Instances(boxes, torch.tensor([0, 1]), masks)


@pytest.fixture
def no_objects() -> Instances:
    """An empty image of 96 x 128 pixels."""
    return Instances(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0, 96, 128).bool())
