"""ASPP: look at every place through several windows at once, the widest being the whole image.

Chen, Papandreou, Schroff, Adam. "Rethinking Atrous Convolution for Semantic Image Segmentation."
2017. https://arxiv.org/abs/1706.05587

              ┌─ 1 x 1 ───────────────────────────────┐
              ├─ 3 x 3, rate 6 ───────────────────────┤
    (C) x ────┼─ 3 x 3, rate 12 ──────────────────────┼─ concatenate ─ 1 x 1 ─ dropout ─→ (256)
              ├─ 3 x 3, rate 18 ──────────────────────┤  (5 · 256)
              └─ mean over the map ─ 1 x 1 ─ repeated ┘
                       BN and ReLU follow every convolution

An atrous convolution of rate r ("with holes"; PyTorch says dilation) moves the taps of its kernel r
pixels apart: nine weights see 2r + 1 rows. But where r exceeds the map, eight of the nine taps
see nothing but padding, and a 1 x 1 convolution is left. So the widest window is not a larger rate:
it is the mean over the map, called image pooling.

Two things differ from the official code (https://github.com/tensorflow/models):

- Its image pooling has the window of the crop size; ours covers the whole map.
- It concatenates the image pooling first; here it is last, as in torchvision, whose names the
  layers have.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from segcourse.blocks.conv import conv_bn_relu


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: (N, in_channels, H, W) -> (N, channels, H, W).

    Args:
        channels: of every branch and of the result.
        atrous_rates: dilations of the 3 x 3 convolutions, one a branch; see
            :func:`default_atrous_rates`.
        dropout: share of the result's features that training sets to zero.
        convolution: what the branches with a rate are, ``conv_bn_relu`` or ``separable_conv``:
            called with both numbers of channels and ``dilation=``.

    Raises:
        ValueError: if there are no channels or a rate is not positive; in training also for a
            batch of one image.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 256,
        *,
        atrous_rates: tuple[int, ...] = (6, 12, 18),
        dropout: float = 0.1,
        convolution: Callable[..., nn.Module] = conv_bn_relu,
    ):
        super().__init__()
        if min(in_channels, channels, *atrous_rates) < 1:
            raise ValueError(
                f"ASPP(in_channels={in_channels}, channels={channels}, "
                f"atrous_rates={atrous_rates}) cannot be built: all of them must be at least 1."
            )
        self.convs = nn.ModuleList([conv_bn_relu(in_channels, channels, kernel_size=1)])
        self.convs.extend(
            convolution(in_channels, channels, dilation=rate) for rate in atrous_rates
        )
        pooling = conv_bn_relu(in_channels, channels, kernel_size=1)
        self.convs.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), *pooling))
        self.project = nn.Sequential(
            *conv_bn_relu((len(atrous_rates) + 2) * channels, channels, kernel_size=1),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        self._check_batch(x)
        *local, pooling = self.convs
        image = pooling(x)  # (N, C, 1, 1)
        views = [conv(x) for conv in local]
        views.append(image.expand(-1, -1, *x.shape[-2:]))  # one value, upsampled: it repeats
        return self.project(torch.cat(views, dim=1))

    def _check_batch(self, x: Tensor) -> None:
        """Refuse a single image, if image pooling's batch normalisation is to learn from it."""
        if len(x) == 1 and self.convs[-1][2].training:
            raise ValueError(
                f"ASPP cannot train on a single image, of features {tuple(x.shape)}: image pooling "
                "leaves one value a channel, and batch normalisation would subtract it from "
                "itself. Train on batches of at least 2 images (a DataLoader's drop_last=True "
                "skips a last batch of 1), or call eval() first."
            )


def default_atrous_rates(output_stride: int) -> tuple[int, int, int]:
    """The paper's rates, which always reach equally far in the image.

    >>> default_atrous_rates(16), default_atrous_rates(8)
    ((6, 12, 18), (12, 24, 36))
    """
    return tuple(rate * 16 // output_stride for rate in (6, 12, 18))
