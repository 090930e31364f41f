"""Porting semantic networks: what others built and trained, as ours, with equal logits.

Two implementations of one network hold the same tensors under different names, and where ours have
the field's names, nothing is left to translate:

    theirs = torchvision.models.segmentation.fcn_resnet50(weights="DEFAULT")
    net = fcn_resnet_from_torchvision(theirs)

Equal tensors are not enough: strides, dilations, the alignment of corners and the order in which
maps are concatenated have no weights, and so no place in a ``state_dict``. A network that differs
in one of them takes the weights and computes something else without complaint. So the ports of
semantic networks take the *network*, read its settings, build ours with them, and then compare all
layers, one by one: kernels, strides, paddings, dilations, groups. What ours cannot be built like
is refused, and the message says which layer differs. Dropout, which evaluation does not use, is
not compared.

The networks of segmentation_models_pytorch (smp) are called as the papers', but wired differently.
Where our arguments cannot say how, the weights are rearranged until they mean the same. Its last
layer upsamples by a whole factor, ours to the size of the image: they agree on images whose sides
are multiples of the stride.
"""

from functools import partial

import torch
from torch import Tensor, nn

from segcourse.blocks.resnet import LAYERS, Bottleneck, ResNet
from segcourse.blocks.xception import separable_conv
from segcourse.models.deeplab_v3 import DeepLabV3
from segcourse.models.deeplab_v3_plus import DeepLabV3Plus
from segcourse.models.fcn_resnet import FCNResNet
from segcourse.models.pspnet import PSPNet
from segcourse.transfer import Table, Weights, below, part_of, take_weights

_RESNET_LAYERS = ("conv1", "bn1", "layer*.*.conv*", "layer*.*.bn*", "layer*.*.downsample.*")
RESNET: Table = {layer: layer for layer in _RESNET_LAYERS}  # the names are torchvision's
_POOL: Table = {"backbone.maxpool": "backbone.maxpool"}
_SMP_POOL: Table = {"encoder.maxpool": "backbone.maxpool"}
_SEPARABLE: Table = {"0.0": "0", "0.1": "1", "1": "2"}
EPSILON = 1e-5  # what batch normalisation adds to every variance


# ── semantic networks ───────────────────────────────────────────────────────────────────────────


def fcn_resnet_from_torchvision(theirs: nn.Module) -> FCNResNet:
    """torchvision's ``fcn_resnet50`` or ``fcn_resnet101`` as our network, ready to predict.

    Raises:
        ValueError: if it has a layer that ours has not, or one that computes something else.
        TypeError: if this is no network.
    """
    layers, output_stride = read_resnet(theirs, "backbone")
    _check_taps(theirs)
    net = FCNResNet(
        part_of(theirs, "classifier.4").out_channels,
        layers=layers,
        output_stride=output_stride,
        aux_loss=theirs.aux_classifier is not None,
    )
    return take_weights(net, theirs, also=_POOL)


def deeplab_v3_from_torchvision(theirs: nn.Module) -> DeepLabV3:
    """torchvision's ``deeplabv3_resnet50`` or ``..._resnet101`` as our network, ready to predict.

    Raises:
        ValueError: if it has a layer that ours has not, or one that computes something else.
        TypeError: if this is no network.
    """
    layers, output_stride = read_resnet(theirs, "backbone")
    _check_taps(theirs)
    net = DeepLabV3(
        part_of(theirs, "classifier.4").out_channels,
        backbone=partial(ResNet, layers),
        output_stride=output_stride,
        conv_after_aspp=True,
        aux_loss=theirs.aux_classifier is not None,
        **_read_aspp(theirs, "classifier.0"),
    )
    return take_weights(net, theirs, also=_POOL)


def pspnet_from_smp(theirs: nn.Module) -> PSPNet:
    """``smp.PSPNet`` on a ResNet as our network, ready to predict.

    smp's pyramid sees the stage that ``encoder_depth`` says, and its head is a 1 x 1 and a 3 x 3
    convolution. Three things are no matter of names:

    - the encoder's later stages, which nothing looks at and which never learned, are left out;
    - the pyramid is concatenated in reverse, so the next kernel's input channels are reversed;
    - the mean of the whole map is not normalised but gets a bias. In evaluation that is the same
      as normalising by a mean of 0 and a variance of 1; in training our layer normalises indeed.

    Raises:
        ValueError: if it has a layer that ours has not, or one that computes something else.
        TypeError: if this is no network.
    """
    stages = _read_depth(theirs)
    layers, output_stride = read_resnet(theirs, "encoder", stages)
    net = PSPNet(
        part_of(theirs, "segmentation_head.0").out_channels,
        layers=layers,
        stages=stages,
        output_stride=output_stride,
        deep_stem=False,
        kernels=(1, 3),
    )
    part_of(theirs, "decoder.psp")
    _check_upsampling(theirs, net.backbone.strides[-1])
    table = {
        **_encoder_table(stages),
        **{f"decoder.psp.blocks.{n}.pool.1.*": f"pyramid.reduce.{3 - n}.*" for n in range(4)},
        "decoder.conv.*": "classifier.0.*",
        "segmentation_head.0": "classifier.2",
    }
    return take_weights(net, theirs, table, also=_SMP_POOL, edit=_in_our_order)


def deeplab_v3_plus_from_smp(theirs: nn.Module) -> DeepLabV3Plus:
    """``smp.DeepLabV3Plus`` on a ResNet as our network, ready to predict.

    smp does four things differently, and our arguments say all of them: every block of a stage
    without its stride is dilated, separable convolutions are normalised once, one follows ASPP and
    one the concatenation instead of two, and corners are aligned.

    Raises:
        ValueError: if it has a layer that ours has not, such as an ASPP of ordinary convolutions
            (``decoder_aspp_separable=False``), or one that computes something else.
        TypeError: if this is no network.
    """
    stages = _read_depth(theirs)
    layers, output_stride = read_resnet(theirs, "encoder", stages)
    net = DeepLabV3Plus(
        part_of(theirs, "segmentation_head.0").out_channels,
        backbone=partial(ResNet, layers, stages=stages, contract_dilation=False),
        output_stride=output_stride,
        convolution=partial(separable_conv, depthwise_bn_relu=False),
        conv_after_aspp=True,
        align_corners=True,
        **_read_aspp(theirs, "decoder.aspp.0"),
    )
    _check_upsampling(theirs, net.backbone.strides[1])
    table = {
        **_encoder_table(stages),
        "decoder.aspp.0.convs.0.*": "aspp.convs.0.*",
        "decoder.aspp.0.convs.4.*": "aspp.convs.4.*",
        **below("decoder.aspp.0.convs.*", _SEPARABLE, "aspp.convs.*"),
        "decoder.aspp.0.project.*": "aspp.project.*",
        **below("decoder.aspp", {"1.0": "0", "1.1": "1", "2": "2"}, "after_aspp"),
        "decoder.block1.*": "reduce.*",
        **below("decoder.block2", _SEPARABLE, "decoder.0"),
        "segmentation_head.0": "classifier",
    }
    return take_weights(net, theirs, table, also=_SMP_POOL)


# ── reading settings ────────────────────────────────────────────────────────────────────────────


def read_resnet(theirs: nn.Module, name: str, stages: int = 4) -> tuple[int, int]:
    """Layers of a ResNet, and the output stride of its first ``stages``."""
    every = [part_of(theirs, f"{name}.layer{number}") for number in range(1, 5)]
    bottleneck = hasattr(every[0][0], "conv3")
    blocks = tuple(len(stage) for stage in every)
    known = {(own, kind is Bottleneck): layers for layers, (kind, own) in LAYERS.items()}
    if (blocks, bottleneck) not in known or stages < 1:
        raise ValueError(
            f"a ResNet of {blocks} blocks, of which {stages} stages are used, cannot be built: it "
            f"must be one of {sorted(LAYERS)} layers, and be used beyond its first convolution."
        )
    stride = 4
    for stage in every[:stages]:
        stride *= max(layer.stride[0] for layer in stage.modules() if isinstance(layer, nn.Conv2d))
    return known[blocks, bottleneck], max(stride, 8)


def _read_depth(theirs: nn.Module) -> int:
    """How many stages of smp's encoder are used; ``encoder_depth`` counts the stem too."""
    return len(getattr(part_of(theirs, "encoder"), "out_channels", ())) - 2


def _read_aspp(theirs: nn.Module, name: str) -> dict:
    """The arguments of an ASPP: atrous_rates, channels and dropout."""
    convs, project = part_of(theirs, f"{name}.convs"), part_of(theirs, f"{name}.project")
    first = [next(m for m in conv.modules() if isinstance(m, nn.Conv2d)) for conv in convs]
    return {
        "atrous_rates": tuple(conv.dilation[0] for conv in first[1:-1]),
        "channels": project[0].out_channels,
        "dropout": project[3].p,
    }


def _check_taps(theirs: nn.Module) -> None:
    """Refuse torchvision's networks whose heads look at other stages than the last two."""
    taps = getattr(part_of(theirs, "backbone"), "return_layers", None)
    if taps not in ({"layer4": "out"}, {"layer4": "out", "layer3": "aux"}):
        raise ValueError(
            f"the heads of this {type(theirs).__name__} look at {taps}, but ours at layer4, and "
            "the auxiliary one at layer3: it cannot be ported."
        )


def _check_upsampling(theirs: nn.Module, stride: int) -> None:
    """Refuse logits of smp's that are not as large as the image, corner on corner."""
    last = part_of(theirs, "segmentation_head.1")
    factor, aligned = getattr(last, "scale_factor", 1), getattr(last, "align_corners", False)
    if factor != stride or not aligned:
        raise ValueError(
            f"upsampling={factor} with align_corners={aligned} does not bring features of stride "
            f"{stride} back to the image: build their network with upsampling={stride}."
        )


# ── names and weights ───────────────────────────────────────────────────────────────────────────


def _encoder_table(stages: int) -> Table:
    """Rows of smp's ResNet. The stages that its decoder does not look at are left out."""
    later = [row.removeprefix("layer*") for row in RESNET if row.startswith("layer*")]
    idle = {f"layer{number}{row}": "" for number in range(stages + 1, 5) for row in later}
    return below("encoder", idle | RESNET, "backbone")


def _in_our_order(weights: Weights) -> Weights:
    """Weights of smp's PSPNet: a normalisation for its bias, and its pyramid reversed."""
    bias = weights.pop("pyramid.reduce.3.0.bias")
    neutral = {f"pyramid.reduce.3.1.{name}": x for name, x in neutral_normalization(bias).items()}
    kernel = reverse_pyramid(weights["classifier.0.0.weight"])
    return weights | neutral | {"classifier.0.0.weight": kernel}


def neutral_normalization(bias: Tensor) -> Weights:
    """A batch normalisation that, in evaluation, only adds a bias: (C) -> its tensors."""
    return {
        "weight": torch.ones_like(bias),
        "bias": bias,
        "running_mean": torch.zeros_like(bias),
        "running_var": torch.full_like(bias, 1 - EPSILON),
        "num_batches_tracked": torch.tensor(0),
    }


def reverse_pyramid(weight: Tensor) -> Tensor:
    """Kernels for [1, 2, 3, 6, x] -> kernels for [x, 6, 3, 2, 1]: (D, 2C, h, w) each.

    The four levels have C / 4 channels each, x has C.
    """
    channels = weight.shape[1] // 2
    pieces = weight.split([channels // 4] * 4 + [channels], dim=1)
    return torch.cat(pieces[::-1], dim=1)
