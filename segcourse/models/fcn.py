"""FCN: a classifier whose last layers slide, and skips that bring back where things are.

Long, Shelhamer, Darrell. "Fully Convolutional Networks for Semantic Segmentation." CVPR 2015.
https://arxiv.org/abs/1411.4038; networks: https://github.com/shelhamer/fcn.berkeleyvision.org

    stride   2      4      8       16      32
    image ─ pool1 ─ pool2 ─ pool3 ─ pool4 ─ pool5 ─ fc6 ─ fc7 ─ score ─┬─ ×32 ─→ FCN-32s
                              │       └─ score ─────────────────── ×2 ─ + ─┬─ ×16 ─→ FCN-16s
                              └─ score ────────────────────────────── ×2 ─ + ── ×8 ──→ FCN-8s

The defaults build the released networks: the first convolution pads by 100 pixels, so that the
unpadded 7 x 7 of fc6 fits into any image, poolings round up, every ×f is a fixed bilinear
transposed convolution, and maps are laid over each other by crops that ``crop_offsets`` derives.

Two things differ:

- Convolutions start from He's initialisation instead of ImageNet weights; scores start at zero.
- ``padding=1`` and ``batch_norm=True`` build a small relative that trains from nothing: fc6 pads
  itself, and the same crops remove the rim of the upsampled maps.
"""

from torch import Tensor, nn

from segcourse.blocks.conv import zero_init_
from segcourse.blocks.upsample import bilinear_upsample
from segcourse.blocks.vgg import VGG

STRIDES = (32, 16, 8)


class FCN(nn.Module):
    """Score every class at every pixel: (N, 3, H, W) -> (N, num_classes, H, W) logits.

    Args:
        num_classes: channels of the logits, background included.
        stride: 32, 16 or 8: the factor of the last upsampling. 16 adds pool4's scores, 8 adds
            pool3's too.
        width: channels of the first stage; 64 in the paper.
        fc_channels: channels of fc6 and fc7; 4096 in the paper.
        kernel_size: side of fc6; odd, 7 in the paper.
        padding: of the first convolution: 100 with an unpadded fc6, as in the paper, or 1 with an
            fc6 that pads itself.
        batch_norm: normalise after every convolution but the scores; not in the paper.
        at_once: weaken pool4 by 0.01 and pool3 by 0.0001 before their scores, with which the
            authors train FCN-8s in one go instead of from FCN-16s.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        stride: int = 8,
        width: int = 64,
        fc_channels: int = 4096,
        kernel_size: int = 7,
        padding: int = 100,
        batch_norm: bool = False,
        at_once: bool = False,
    ):
        super().__init__()
        _check_arguments(num_classes, stride, fc_channels, kernel_size, padding)
        skips = STRIDES.index(stride)  # 0, 1 or 2 of pool4, pool3
        fc_padding = 0 if padding == 100 else kernel_size // 2
        self.features = VGG(width=width, batch_norm=batch_norm, padding=padding, ceil_mode=True)
        *_, pool3, pool4, pool5 = self.features.channels
        self.classifier = nn.Sequential(
            *_fully_connected(pool5, fc_channels, kernel_size, fc_padding, batch_norm),
            *_fully_connected(fc_channels, fc_channels, 1, 0, batch_norm),
        )
        self.score = _score_layer(fc_channels, num_classes)
        self.score_skips = nn.ModuleList(
            _score_layer(c, num_classes) for c in (pool4, pool3)[:skips]
        )
        self.upsample2x = nn.ModuleList(bilinear_upsample(num_classes, 2) for _ in range(skips))
        self.upsample = bilinear_upsample(num_classes, stride)
        self.offsets = crop_offsets(stride, padding, kernel_size)  # FCN-8s: (5, 9, 31)
        self.scales = (0.01, 0.0001) if at_once else (1.0, 1.0)

    def forward(self, image: Tensor) -> Tensor:
        *_, pool3, pool4, pool5 = self.features(image)
        x = self.score(self.classifier(pool5))
        steps = zip(self.upsample2x, self.score_skips, self.scales, self.offsets, strict=False)
        for skip, (upsample2x, score, scale, offset) in zip((pool4, pool3), steps, strict=False):
            x = fuse(upsample2x(x), score(scale * skip), offset)
        return crop(self.upsample(x), self.offsets[-1], image)

    def all_logits(self, image: Tensor) -> list[Tensor]:
        """The logits that the loss uses: -> list of one (N, K, H, W)."""
        return [self(image)]


def _fully_connected(
    in_channels: int, out_channels: int, kernel_size: int, padding: int, batch_norm: bool
) -> list[nn.Module]:
    """A layer of a classifier that slides: convolution, ReLU, and dropout of one half."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    nn.init.zeros_(convolution.bias)
    norm = [nn.BatchNorm2d(out_channels)] if batch_norm else []
    return [convolution, *norm, nn.ReLU(inplace=True), nn.Dropout(0.5)]


def _score_layer(in_channels: int, num_classes: int) -> nn.Module:
    """One number per class and position, all zero at first: (N, C, H, W) -> (N, K, H, W)."""
    return zero_init_(nn.Conv2d(in_channels, num_classes, kernel_size=1))


def crop(x: Tensor, offset: int, like: Tensor) -> Tensor:
    """A window of ``x``, as large as ``like``, that starts at ``offset`` on both axes.

    Raises:
        ValueError: if it would reach beyond ``x``; slicing alone would silently return less.
    """
    height, width = like.shape[-2:]
    if offset < 0 or x.shape[-2] < offset + height or x.shape[-1] < offset + width:
        raise ValueError(
            f"a window of {height} x {width} at offset {offset} does not fit into a map of "
            f"{x.shape[-2]} x {x.shape[-1]}: the offset belongs to another padding, "
            "or the maps were rounded another way; see crop_offsets."
        )
    return x[..., offset : offset + height, offset : offset + width]


def fuse(x: Tensor, skip: Tensor, offset: int) -> Tensor:
    """Add two maps of scores where they show the same place: (N, K, h, w) each, sizes may differ.

    ``x`` starts ``offset`` positions inside ``skip``; with a negative offset it is the other way
    round. The sum is as large as the inner one.
    """
    if offset < 0:
        return crop(x, -offset, like=skip) + skip
    return x + crop(skip, offset, like=x)


def crop_offsets(stride: int, padding: int = 100, kernel_size: int = 7) -> tuple[int, ...]:
    """Where the crops start, coarse to fine, the one that gives the logits last.

    Position n of a map lies over the image's pixel step * n + start (its centre, 0 is the middle
    of the first pixel). Pooling moves the start to the middle between two positions, padding moves
    it outwards, an unpadded kernel inwards, and a transposed convolution of size 2f by f - 1/2
    positions of the finer map outwards. A crop's offset is the distance of two starts, in steps.

    >>> crop_offsets(32), crop_offsets(16), crop_offsets(8)
    ((19,), (5, 27), (5, 9, 31))
    """
    outside = padding - 1  # rows of conv1_1 that lie beyond the image
    inside = 0 if padding != 100 else kernel_size // 2  # rows of pool5 that fc6 removes
    start = 32 * inside + 15.5 - outside  # of the coarsest scores
    offsets = []
    for step in (16, 8)[: STRIDES.index(stride)]:
        start -= 1.5 * step  # upsampled by 2
        skip = (step - 1) / 2 - outside  # start of the pooled map of this stride
        offsets.append(int((start - skip) / step))
        start = max(start, skip)  # the sum starts where the inner map starts
    return (*offsets, int(stride - 0.5 - start))


def _check_arguments(
    num_classes: int, stride: int, fc_channels: int, kernel_size: int, padding: int
) -> None:
    """Refuse what would build no FCN, or one whose maps cannot be aligned."""
    if num_classes < 1 or fc_channels < 1:
        raise ValueError(
            f"FCN(num_classes={num_classes}, fc_channels={fc_channels}) has nothing to score with: "
            "both must be at least 1."
        )
    if stride not in STRIDES:
        raise ValueError(f"FCN(stride={stride}) does not exist: choose one of {STRIDES}.")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(
            f"FCN(kernel_size={kernel_size}) has no middle: fc6 needs an odd side, 7 in the paper."
        )
    if padding not in (1, 100):
        raise ValueError(
            f"FCN(padding={padding}) is neither of the two: 100 is the paper's, with an unpadded "
            "fc6; 1 lets fc6 pad itself."
        )
