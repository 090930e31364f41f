"""ResNet: blocks that learn what to add to their input, so that a hundred of them can be trained.

He, Zhang, Ren, Sun. "Deep Residual Learning for Image Recognition." CVPR 2016.
https://arxiv.org/abs/1512.03385

    stage          stem   1     2     3     4
    stride            2   4     8    16    32      output_stride=16: layer 4 stays at 16
    channels         64  256   512  1024  2048     output_stride=8: layers 3 and 4 stay at 8

A stage whose stride is taken away sees less of the image than its weights were made for. So its
3 x 3 kernels are dilated: their taps move apart by the stride that was taken. Two conventions
exist for the first block of such a stage, and equal weights give different features in them:

- ``dilate_first=False``: it keeps the dilation of the stage before (torchvision, timm, DETR-DC5);
- ``dilate_first=True``: it is dilated like the rest (PSPNet, DeepLab v2, segmentation_models).

``multi_grid=(1, 2, 4)`` multiplies the dilation of the last stage, one factor a block, so that its
blocks, the first included, look at different distances (DeepLab v3,
https://arxiv.org/abs/1706.05587).

Three things differ from the paper: a bottleneck strides in its 3 x 3 convolution instead of its
first 1 x 1, as everyone does by now; the classifier is left out; and ``deep_stem=True`` replaces
the 7 x 7 convolution by three of 3 x 3, as PSPNet does.
"""

from torch import Tensor, nn

from segcourse.blocks.conv import conv_bn, conv_bn_relu

BLOCKS = {  # layers: (residual blocks per stage, bottlenecks?)
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
DILATIONS = {32: (1, 1, 1, 1), 16: (1, 1, 1, 2), 8: (1, 1, 2, 4)}  # output stride: one per stage
EXPANSION = 4  # a bottleneck's output has four times the channels that its 3 x 3 works on


class Residual(nn.Module):
    """What the layers compute is added to their input: (N, in, H, W) -> (N, out, H/s, W/s).

    Where size or channels change, a 1 x 1 convolution adapts the input.

    Args:
        channels: of the 3 x 3 convolutions.
        bottleneck: 1 x 1, 3 x 3, 1 x 1 instead of two 3 x 3; then out = 4 * channels.
        dilations: of the first 3 x 3 convolution, and of the second if there is one.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        bottleneck: bool,
        stride: int = 1,
        dilations: tuple[int, int] = (1, 1),
    ):
        super().__init__()
        first, second = dilations
        self.out_channels = channels * EXPANSION if bottleneck else channels
        if bottleneck:
            self.layers = nn.Sequential(
                conv_bn_relu(in_channels, channels, kernel_size=1),
                conv_bn_relu(channels, channels, stride=stride, dilation=first),
                *conv_bn(channels, self.out_channels, kernel_size=1),
            )
        else:
            self.layers = nn.Sequential(
                conv_bn_relu(in_channels, channels, stride=stride, dilation=first),
                *conv_bn(channels, channels, dilation=second),
            )
        self.shortcut = nn.Sequential()  # passes its input on
        if stride > 1 or in_channels != self.out_channels:
            self.shortcut.extend(
                conv_bn(in_channels, self.out_channels, kernel_size=1, stride=stride)
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.layers(x) + self.shortcut(x))


class ResNet(nn.Module):
    """Features of the stem and of every stage: (N, C, H, W) -> list of 1 + stages, finest first.

    ResNet-50 on 224 x 224: (N, 64, 112, 112), (N, 256, 56, 56), (N, 512, 28, 28),
    (N, 1024, 14, 14), (N, 2048, 7, 7); ``channels`` lists the second axis, ``strides`` the pixels
    from one position to the next.

    Args:
        layers: 18, 34, 50, 101 or 152.
        in_channels: channels of the image.
        width: channels of the stem and of the first stage's 3 x 3 convolutions.
        output_stride: 32, 16 or 8: the stride of the last features.
        dilate_first: the convention for a dilated stage's first block, see above.
        deep_stem: three 3 x 3 convolutions instead of one 7 x 7; the last has twice the channels.
        stages: how many of the four are built; the rest would go to waste if nobody looked at them.
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
        dilate_first: bool = False,
        deep_stem: bool = False,
        stages: int = 4,
        multi_grid: tuple[int, ...] = (),
        ceil_mode: bool = False,
    ):
        super().__init__()
        check_arguments(layers, in_channels, width, output_stride, stages)
        blocks, bottleneck = BLOCKS[layers]
        check_multi_grid(multi_grid, blocks[3], stages)
        self.stem = stem(in_channels, width, deep_stem)
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1, ceil_mode=ceil_mode)
        self.stages = nn.ModuleList()
        self.channels = [width * 2 if deep_stem else width]
        self.strides = [2]
        before = 1
        for level, dilation in enumerate(DILATIONS[output_stride][:stages]):
            strided = level > 0 and dilation == before
            stage = nn.Sequential()
            grid = multi_grid if level == 3 else ()
            for number, factor in enumerate(grid or (1,) * blocks[level]):
                keeps = number == 0 and not dilate_first and not grid
                rate = factor * dilation
                block = Residual(
                    self.channels[-1] if number == 0 else stage[-1].out_channels,
                    width * 2**level,
                    bottleneck=bottleneck,
                    stride=2 if strided and number == 0 else 1,
                    dilations=(before if keeps else rate, rate),
                )
                stage.append(block)
            self.stages.append(stage)
            self.channels.append(stage[-1].out_channels)
            self.strides.append(self.strides[-1] * (2 if strided or level == 0 else 1))
            before = dilation

    def forward(self, image: Tensor) -> list[Tensor]:
        if image.ndim != 4:
            raise ValueError(
                f"a ResNet takes images (N, C, H, W), but this has shape {tuple(image.shape)}: add "
                "the axis of the batch with image[None]."
            )
        features = [self.stem(image)]
        x = self.pool(features[0])
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def stem(in_channels: int, width: int, deep: bool) -> nn.Sequential:
    """The first convolutions: (N, in_channels, H, W) -> (N, width or 2 * width, H/2, W/2)."""
    if not deep:
        return conv_bn_relu(in_channels, width, kernel_size=7, stride=2)
    return nn.Sequential(
        conv_bn_relu(in_channels, width, stride=2),
        conv_bn_relu(width, width),
        conv_bn_relu(width, 2 * width),
    )


def check_multi_grid(multi_grid: tuple[int, ...], blocks: int, stages: int) -> None:
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


def check_arguments(
    layers: int, in_channels: int, width: int, output_stride: int, stages: int
) -> None:
    """Refuse what would build no ResNet."""
    if layers not in BLOCKS:
        raise ValueError(f"ResNet-{layers} does not exist: choose one of {sorted(BLOCKS)}.")
    if output_stride not in DILATIONS:
        raise ValueError(
            f"output_stride={output_stride} cannot be built: choose one of {sorted(DILATIONS)}."
        )
    if stages not in (1, 2, 3, 4):
        raise ValueError(f"stages={stages} cannot be built: a ResNet has between 1 and 4 of them.")
    if min(in_channels, width) < 1:
        raise ValueError(
            f"ResNet(in_channels={in_channels}, width={width}) has nothing to compute with: both "
            "must be at least 1."
        )
