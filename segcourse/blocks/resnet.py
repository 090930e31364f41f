"""ResNet: blocks that learn what to add to their input, so that a hundred of them can be trained.

He, Zhang, Ren, Sun. "Deep Residual Learning for Image Recognition." CVPR 2016.
https://arxiv.org/abs/1512.03385

    stage         conv1  layer1  layer2  layer3  layer4
    stride            2       4       8      16      32   output_stride=16: layer4 stays at 16
    channels         64     256     512    1024    2048   output_stride=8: layer3 and 4 stay at 8

The layers have torchvision's names (``layer1.0.conv2``, ``layer1.0.downsample.0``), and those of
``deep_stem=True`` have timm's, so that weights from there need no translation.

A stage whose stride is taken away sees less of the image than its weights were made for. So its
3 x 3 kernels are dilated: their taps move apart by the stride that was taken. Two conventions
exist for the first block of such a stage, and equal weights give different features in them:

- ``contract_dilation=True``: it keeps the dilation of the stage before (torchvision, timm,
  DETR-DC5; the name is mmsegmentation's);
- ``contract_dilation=False``: it is dilated like the rest (PSPNet, DeepLab v2, and
  segmentation_models).

``multi_grid=(1, 2, 4)`` multiplies the dilation of the last stage, one factor a block, so that its
blocks, the first included, look at different distances (DeepLab v3,
https://arxiv.org/abs/1706.05587).

Three things differ from the paper: a bottleneck strides in its 3 x 3 convolution instead of its
first 1 x 1, as everyone does by now; the classifier is left out; and ``deep_stem=True`` replaces
the 7 x 7 convolution by three of 3 x 3, as PSPNet does.
"""

from torch import Tensor, nn

from segcourse.blocks.conv import conv_bn, conv_bn_relu


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions, added to their input: (N, in, H, W) -> (N, channels, H/s, W/s).

    Where size or channels change, a 1 x 1 convolution adapts the input.

    Args:
        first_dilation: of the first convolution; ``dilation`` unless given.
    """

    expansion = 1  # channels of the result, divided by those of a 3 x 3 convolution

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        first_dilation: int | None = None,
    ):
        super().__init__()
        first = first_dilation or dilation
        self.conv1, self.bn1 = conv_bn(in_channels, channels, stride=stride, dilation=first)
        self.conv2, self.bn2 = conv_bn(channels, channels, dilation=dilation)
        self.downsample = _downsample(in_channels, channels, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.downsample(x))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1, added to their input: (N, in, H, W) -> (N, 4 * channels, H/s, W/s).

    Where size or channels change, a 1 x 1 convolution adapts the input.

    Args:
        channels: of the 3 x 3 convolution.
        first_dilation: of the 3 x 3 convolution; ``dilation`` unless given.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        first_dilation: int | None = None,
    ):
        super().__init__()
        first, out_channels = first_dilation or dilation, channels * self.expansion
        self.conv1, self.bn1 = conv_bn(in_channels, channels, kernel_size=1)
        self.conv2, self.bn2 = conv_bn(channels, channels, stride=stride, dilation=first)
        self.conv3, self.bn3 = conv_bn(channels, out_channels, kernel_size=1)
        self.downsample = _downsample(in_channels, out_channels, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + self.downsample(x))


def _downsample(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """What adapts a block's input to its result; nothing if both have the same shape."""
    if stride == 1 and in_channels == out_channels:
        return nn.Sequential()
    return nn.Sequential(*conv_bn(in_channels, out_channels, kernel_size=1, stride=stride))


LAYERS = {  # layers: (kind of block, blocks per stage)
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
_DILATIONS = {32: (1, 1, 1, 1), 16: (1, 1, 1, 2), 8: (1, 1, 2, 4)}  # output stride: one per stage


class ResNet(nn.Module):
    """Features of the stem and of every stage: (N, C, H, W) -> list of 1 + stages, finest first.

    ResNet-50 on 224 x 224: (N, 64, 112, 112), (N, 256, 56, 56), (N, 512, 28, 28),
    (N, 1024, 14, 14), (N, 2048, 7, 7). ``channels`` lists the second axis, ``strides`` the strides.

    Args:
        layers: 18, 34, 50, 101 or 152.
        in_channels: channels of the image.
        width: channels of the stem and of the first stage's 3 x 3 convolutions.
        output_stride: 32, 16 or 8: the stride of the last features.
        contract_dilation: True: the first block of a dilated stage keeps the old dilation.
        deep_stem: three 3 x 3 convolutions instead of one 7 x 7; the last has twice the channels.
        stages: how many of the four are built; leave out those whose features are not used.
        multi_grid: factors of the fourth stage's dilation, one a block; none by default.
        ceil_mode: round even sides up when pooling, as Caffe does; torchvision rounds down.

    Raises:
        ValueError: for a number of layers, an output stride or stages that do not exist, and for
            what is no batch of images.
    """

    def __init__(
        self,
        layers: int = 50,
        *,
        in_channels: int = 3,
        width: int = 64,
        output_stride: int = 32,
        contract_dilation: bool = True,
        deep_stem: bool = False,
        stages: int = 4,
        multi_grid: tuple[int, ...] = (),
        ceil_mode: bool = False,
    ):
        super().__init__()
        _check_arguments(layers, in_channels, width, output_stride, stages)
        kind, blocks = LAYERS[layers]
        _check_multi_grid(multi_grid, blocks[3], stages)
        self.channels = [width * 2 if deep_stem else width]
        self.conv1, self.bn1 = (
            _deep_stem(in_channels, width)
            if deep_stem
            else conv_bn(in_channels, width, kernel_size=7, stride=2)
        )
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1, ceil_mode=ceil_mode)
        before = 1  # dilation of the stage before
        for level, dilation in enumerate(_DILATIONS[output_stride][:stages]):
            grid = multi_grid if level == 3 else ()
            stage = _stage(
                kind,
                self.channels[-1],
                width * 2**level,
                stride=2 if level > 0 and dilation == before else 1,
                dilations=[factor * dilation for factor in grid or (1,) * blocks[level]],
                first_dilation=before if contract_dilation and not grid else None,
            )
            self.add_module(f"layer{level + 1}", stage)
            self.channels.append(width * 2**level * kind.expansion)
            before = dilation
        self.strides = tuple(min(2**n, output_stride) for n in range(1, 2 + stages))

    @property
    def stages(self) -> list[nn.Module]:
        """``layer1``, ``layer2``, ..., as many as are built."""
        return [self.get_submodule(f"layer{number}") for number in range(1, len(self.channels))]

    def forward(self, image: Tensor) -> list[Tensor]:
        if image.ndim != 4:
            raise ValueError(
                f"a ResNet takes images (N, C, H, W), but this has shape {tuple(image.shape)}: add "
                "the axis of the batch with image[None]."
            )
        features = [self.relu(self.bn1(self.conv1(image)))]
        x = self.maxpool(features[0])
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _stage(
    kind: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    channels: int,
    *,
    stride: int,
    dilations: list[int],
    first_dilation: int | None,
) -> nn.Sequential:
    """A block for each dilation; the first one strides, and may have a ``first_dilation``."""
    first, *others = dilations
    stage = nn.Sequential(
        kind(in_channels, channels, stride=stride, dilation=first, first_dilation=first_dilation)
    )
    stage.extend(kind(channels * kind.expansion, channels, dilation=each) for each in others)
    return stage


def _deep_stem(in_channels: int, width: int) -> tuple[nn.Sequential, nn.Module]:
    """Three 3 x 3 convolutions, and the last one's batch normalisation, as timm divides them."""
    *layers, last, norm = (
        *conv_bn_relu(in_channels, width, stride=2),
        *conv_bn_relu(width, width),
        *conv_bn(width, 2 * width),
    )
    return nn.Sequential(*layers, last), norm


def _check_multi_grid(multi_grid: tuple[int, ...], blocks: int, stages: int) -> None:
    """Refuse factors that cannot be dealt out to the last stage's blocks."""
    if multi_grid and stages < 4:
        raise ValueError(
            f"multi_grid={multi_grid} dilates the fourth stage, but stages={stages} builds none: "
            "build all four, or leave multi_grid out."
        )
    if multi_grid and (len(multi_grid) != blocks or min(multi_grid) < 1):
        raise ValueError(
            f"multi_grid={multi_grid} does not fit: the last stage has {blocks} blocks, and each "
            "needs a factor of at least 1."
        )


def _check_arguments(
    layers: int, in_channels: int, width: int, output_stride: int, stages: int
) -> None:
    """Refuse what would build no ResNet."""
    if layers not in LAYERS:
        raise ValueError(f"ResNet-{layers} does not exist: choose one of {sorted(LAYERS)}.")
    if output_stride not in _DILATIONS:
        raise ValueError(
            f"output_stride={output_stride} cannot be built: choose one of {sorted(_DILATIONS)}."
        )
    if stages not in (1, 2, 3, 4):
        raise ValueError(f"stages={stages} cannot be built: a ResNet has between 1 and 4 of them.")
    if min(in_channels, width) < 1:
        raise ValueError(
            f"ResNet(in_channels={in_channels}, width={width}) has nothing to compute with: both "
            "must be at least 1."
        )
