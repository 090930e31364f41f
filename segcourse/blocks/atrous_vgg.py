"""VGG-16 with holes: stride 8 instead of 32, and not a weight more. DeepLab v1 and v2 start here.

Chen, Papandreou, Kokkinos, Murphy, Yuille. "Semantic Image Segmentation with Deep Convolutional
Nets and Fully Connected CRFs." ICLR 2015, section 3.1. https://arxiv.org/abs/1412.7062

    stage            1     2      3       4       5
    convolutions     2     2      3       3       3
    channels        64   128    256     512     512
    stride after     2     4      8       8       8      poolings 4 and 5 do not stride any more
    dilation         1     1      1       1       2      so stage 5 leaves out every other position

With a stride of 2 before it, a kernel of three taps makes one output of three inputs. Without
that stride, but with a hole between its taps ("atrous": with holes), it sees the same three
inputs, and it makes the outputs in between as well:

    strided   ●       ●       ●       ●          dilated   ●   ○   ●   ○   ●   ○   ●
              └───────┼───────┘       │                    └───────┼───────┘   │   │
                      ●       ●───────┘                        └───────┼───────┘   │
                                                                   ●   ●   ●───────┘

All poolings are 3 x 3 and look symmetrically around their position. So position n of a map of
stride s lies exactly over pixel s * n of the image, and maps of different strides fit together.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.conv import initialise
from segcourse.blocks.upsample import resize
from segcourse.blocks.vgg import DEPTHS, vgg_stage

STRIDES = (2, 4, 8, 8, 8)


class AtrousVGG(nn.Module):
    """Features after each of five poolings: (N, 3, H, W) -> list, at the strides 2, 4, 8, 8, 8.

    An image of 321 x 321 gives (N, 64, 161, 161), (N, 128, 81, 81), (N, 256, 41, 41) and twice
    (N, 512, 41, 41). Odd sides are halved as 2n + 1 -> n + 1; even ones as 2n -> n + 1, as Caffe
    does it: then the last position lies one pixel beyond the border. ``channels`` lists the second
    axis, ``strides`` the pixels from one position to the next.

    Args:
        width: channels of the first stage; they double until eight times as many.
        batch_norm: normalise after every convolution; not in the paper.
    """

    def __init__(self, *, width: int = 64, batch_norm: bool = False):
        super().__init__()
        if width < 1:
            raise ValueError(
                f"AtrousVGG(width={width}) has no channels to compute with: give a width of at "
                "least 1."
            )
        self.channels = [width * factor for factor in (1, 2, 4, 8, 8)]
        self.strides = list(STRIDES)
        self.stages = nn.ModuleList()
        self.pools = nn.ModuleList()
        before, stride = 3, 1
        for channels, depth, after in zip(self.channels, DEPTHS, STRIDES, strict=True):
            dilation = 2 if len(self.stages) == 4 else 1  # stands in for the stride of pool4
            self.stages.append(
                vgg_stage(before, channels, depth, batch_norm=batch_norm, dilation=dilation)
            )
            self.pools.append(nn.MaxPool2d(3, stride=after // stride, padding=1, ceil_mode=True))
            before, stride = channels, after

    def forward(self, image: Tensor) -> list[Tensor]:
        if image.ndim != 4:
            raise ValueError(
                f"AtrousVGG takes images (N, 3, H, W), but this has shape {tuple(image.shape)}: "
                "add the axis of the batch with image[None]."
            )
        features = [image]
        for stage, pool in zip(self.stages, self.pools, strict=True):
            features.append(pool(stage(features[-1])))
        return features[1:]


def atrous_classifier(
    in_channels: int,
    hidden: int,
    num_classes: int,
    *,
    kernel_size: int = 3,
    rate: int = 12,
    batch_norm: bool = False,
    dropout: float = 0.5,
) -> nn.Sequential:
    """VGG's fully connected layers, sliding: (N, in_channels, H, W) -> (N, num_classes, H, W).

    The first of the three, fc6, looks ``rate * (kernel_size - 1)`` positions far in all.

    Raises:
        ValueError: if there is nothing to compute with, or fc6 has no middle.
    """
    if min(hidden, num_classes, kernel_size, rate) < 1:
        raise ValueError(
            f"a classifier with num_classes={num_classes}, hidden={hidden}, "
            f"kernel_size={kernel_size}, rate={rate} has nothing to compute with: all of them must "
            "be at least 1."
        )
    reach = rate * (kernel_size - 1)
    if reach % 2:
        raise ValueError(
            f"kernel_size={kernel_size} with rate={rate} has no middle: choose an odd kernel_size "
            "or an even rate."
        )
    layers: list[nn.Module] = []
    for channels, size, padding in ((in_channels, kernel_size, reach // 2), (hidden, 1, 0)):
        dilation = rate if padding else 1
        fc = nn.Conv2d(channels, hidden, size, padding=padding, dilation=dilation)
        normalise = [nn.BatchNorm2d(hidden)] if batch_norm else []
        layers += [initialise(fc), *normalise, nn.ReLU(inplace=True), nn.Dropout(dropout)]
    return nn.Sequential(*layers, undecided(nn.Conv2d(hidden, num_classes, kernel_size=1)))


def undecided(layer: nn.Conv2d) -> nn.Conv2d:
    """Let scores start near zero, with a standard deviation of 0.01 in their weights."""
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def enlarge(scores: Tensor, stride: int, image: Tensor) -> Tensor:
    """Put scores back over the image, bilinearly: (N, K, h, w) -> (N, K, H, W).

    Position n comes to lie on pixel ``stride * n``, whatever the sides of the image. Positions
    beyond its border help to interpolate and are cut off; pixels beyond the last position repeat
    it. For sides that are a multiple of the stride plus 1 there is neither.
    """
    height, width = (stride * (side - 1) + 1 for side in scores.shape[-2:])
    logits = resize(scores, (height, width), align_corners=True)
    beyond = (0, image.shape[-1] - width, 0, image.shape[-2] - height)  # negative: cut off
    return F.pad(logits, beyond, mode="replicate")


def over_pixels(scores: Tensor, stride: int, image: Tensor) -> Tensor:
    """The positions that lie over the image: (N, K, h, w) -> (N, K, ceil(H / s), ceil(W / s)).

    They fit the truth of every eighth pixel, ``truth[..., ::8, ::8]``, if the stride is 8.
    """
    rows, columns = (-(-side // stride) for side in image.shape[-2:])
    return scores[..., :rows, :columns]
