"""The head of torchvision's FCN: 3 x 3, batch normalisation, ReLU, dropout, then one score a class.

    C ── 3 x 3 ──→ C/4 ── BN ── ReLU ── dropout ── 1 x 1 ──→ K

The networks on dilated ResNets use it twice: as the whole decoder (FCN-ResNet), and as the
auxiliary head on an earlier stage, whose loss helps training and which is dropped afterwards
(Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, section 3.3,
https://arxiv.org/abs/1612.01105). The layers are numbered as in torchvision's ``FCNHead``.
"""

from torch import nn

from segcourse.blocks.conv import conv_bn_relu, kaiming_normal_


def fcn_head(in_channels: int, num_classes: int, *, dropout: float = 0.1) -> nn.Sequential:
    """Scores from features, at their own stride: (N, in_channels, H, W) -> (N, num_classes, H, W).

    Raises:
        ValueError: if a quarter of the channels is none, or there is no class.
    """
    if in_channels < 4 or num_classes < 1:
        raise ValueError(
            f"fcn_head(in_channels={in_channels}, num_classes={num_classes}) has nothing to score "
            "with: it needs at least 4 channels, of which it keeps a quarter, and 1 class."
        )
    inter_channels = in_channels // 4
    return nn.Sequential(
        *conv_bn_relu(in_channels, inter_channels),
        nn.Dropout(dropout),
        kaiming_normal_(nn.Conv2d(inter_channels, num_classes, kernel_size=1)),
    )
