"""The FCN head is torchvision's, layer for layer."""

import pytest
import torch
from torchvision.models.segmentation.fcn import FCNHead

from segcourse.blocks.fcn_head import fcn_head


@pytest.mark.parametrize("channels, parameters", [(2048, 9_448_981), (1024, 2_365_205)])
def test_the_parameters_are_torchvisions(channels, parameters):
    with torch.device("meta"):
        head = fcn_head(channels, 21)
    assert sum(p.numel() for p in head.parameters()) == parameters


def test_equal_weights_give_equal_scores():
    torch.manual_seed(0)
    theirs, ours = FCNHead(32, 5).eval(), fcn_head(32, 5).eval()
    weights = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(weights))
    x = torch.randn(2, 32, 6, 7)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("channels, classes", [(3, 2), (8, 0)])
def test_a_head_without_channels_or_classes_is_refused(channels, classes):
    with pytest.raises(ValueError, match="at least 4 channels"):
        fcn_head(channels, classes)
