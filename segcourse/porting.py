"""Porting: weights that others trained, in our networks. It is renaming, and little else.

A ``state_dict`` is a dictionary from names to tensors. Two implementations of one network hold the
same tensors under different names:

    torchvision    backbone.layer1.0.conv2.weight             classifier.4.bias
    ours           backbone.stages.0.0.layers.1.0.weight      head.2.bias

So all it takes is a table of layers. Two lines load what torchvision trained:

    net = FCNResNet(21, auxiliary=True)
    net.load_state_dict(fcn_resnet_from_torchvision(weights.get_state_dict()))

A name without a row is refused, and so is a row without a name: a network of which a part was
forgotten predicts nonsense without complaint. ``load_state_dict`` compares the shapes.

Equal tensors are not enough: dilations, the alignment of corners and the order in which maps are
concatenated have no weights, and so no names. The arguments that build the same network stand
beside each function; the tests compare the logits.

The networks of segmentation_models_pytorch (smp) are called as the papers', but wired differently.
Where our arguments cannot say how, the weights are rearranged until they mean the same.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

Weights = dict[str, Tensor]
Table = dict[str, str]  # their layer -> ours; * is any number, and stays what it is

BOTTLENECK: Table = {
    "conv1": "layers.0.0",
    "bn1": "layers.0.1",
    "conv2": "layers.1.0",
    "bn2": "layers.1.1",
    "conv3": "layers.2",
    "bn3": "layers.3",
    "downsample.*": "shortcut.*",
}
BASIC: Table = {**BOTTLENECK, "conv2": "layers.1", "bn2": "layers.2"}
FCN_HEAD: Table = {"0": "0.0", "1": "0.1", "4": "2"}
SEPARABLE: Table = {"0.0": "0", "0.1": "1", "1": "2"}
ASPP_ENDS: Table = {  # all but the convolutions that have a rate
    "convs.0.0": "branches.0.0",
    "convs.0.1": "branches.0.1",
    "convs.4.1": "image_pooling.0",
    "convs.4.2": "image_pooling.1",
    "project.0": "project.0.0",
    "project.1": "project.0.1",
}
ASPP: Table = ASPP_ENDS | {"convs.*.0": "branches.*.0", "convs.*.1": "branches.*.1"}
SMP_ASPP: Table = ASPP_ENDS | {f"convs.*.{a}": f"branches.*.{b}" for a, b in SEPARABLE.items()}
SMP_PYRAMID: Table = {  # grids 1, 2, 3, 6 there, 6, 3, 2, 1 here
    "blocks.0.pool.1.0": "reduce.3.0",
    "blocks.1.pool.1.0": "reduce.2.0",
    "blocks.1.pool.1.1": "reduce.2.1",
    "blocks.2.pool.1.0": "reduce.1.0",
    "blocks.2.pool.1.1": "reduce.1.1",
    "blocks.3.pool.1.0": "reduce.0.0",
    "blocks.3.pool.1.1": "reduce.0.1",
}
MASK_RCNN: Table = {
    "backbone.fpn.inner_blocks.*.0": "fpn.inner_blocks.*",
    "backbone.fpn.layer_blocks.*.0": "fpn.layer_blocks.*",
    "rpn.head.conv.0.0": "rpn.head.conv",
    **{f"{prefix}{layer}": layer for prefix, layer in (  # as theirs
        ("", "rpn.head.cls_logits"),
        ("", "rpn.head.bbox_pred"),
        ("roi_heads.", "box_head.fc6"),
        ("roi_heads.", "box_head.fc7"),
        ("roi_heads.", "box_predictor.cls_score"),
        ("roi_heads.", "box_predictor.bbox_pred"),
        ("roi_heads.", "mask_head.*.0"),
        ("roi_heads.", "mask_predictor.conv5_mask"),
        ("roi_heads.", "mask_predictor.mask_fcn_logits"),
    )},
}  # fmt: skip
CONVOLUTION: Table = {"conv": "0", "norm": "1"}
DETR_MASKS: Table = {
    **{f"mask_head.conv1.{a}": f"mask_head.first.0.{b}" for a, b in CONVOLUTION.items()},
    **{f"mask_head.conv2.{a}": f"mask_head.first.1.{b}" for a, b in CONVOLUTION.items()},
    "mask_head.fpn_stages.*.fpn_adapter": "mask_head.adapt.*",
    **{f"mask_head.fpn_stages.*.refine.{a}": f"mask_head.refine.*.{b}"
       for a, b in CONVOLUTION.items()},
    "mask_head.output_conv": "mask_head.score",
    "bbox_attention.q_proj": "mask_head.query",
    "bbox_attention.k_proj": "mask_head.key",
}  # fmt: skip
ATTENTION: Table = {f"{short}_proj": long for short, long in zip(
    "qkvo", ("query", "key", "value", "output"), strict=True)}  # fmt: skip
EPSILON = 1e-5  # what batch normalisation adds to every variance


def fcn_resnet_from_torchvision(state_dict: Mapping[str, Tensor]) -> Weights:
    """Weights of ``fcn_resnet50`` or ``fcn_resnet101`` under the names of ``FCNResNet``.

    Build it with ``FCNResNet(classes, layers=50)``, and with ``auxiliary=True`` if the weights
    have an auxiliary head; all that torchvision has trained do.

    Raises:
        ValueError: if a layer is unknown or missing.
        TypeError: if this is no state_dict.
    """
    table = resnet_table(state_dict, "backbone") | below("classifier", FCN_HEAD, "head")
    return rename(state_dict, table, optional=below("aux_classifier", FCN_HEAD, "auxiliary"))


def deeplab_v3_from_torchvision(state_dict: Mapping[str, Tensor]) -> Weights:
    """Weights of ``deeplabv3_resnet50`` or ``..._resnet101`` under the names of ``DeepLabV3``.

    Build it with ``DeepLabV3(classes, backbone=ResNet, output_stride=8, refine=True)``, where
    ``partial(ResNet, 101)`` is the larger one, and with ``auxiliary=True`` if the weights have an
    auxiliary head.

    Raises:
        ValueError: if a layer is unknown or missing.
        TypeError: if this is no state_dict.
    """
    table = {
        **resnet_table(state_dict, "backbone"),
        **below("classifier.0", ASPP, "aspp"),
        **below("classifier", {"1": "0.0", "2": "0.1", "4": "1"}, "head"),
    }
    return rename(state_dict, table, optional=below("aux_classifier", FCN_HEAD, "auxiliary"))


def pspnet_from_smp(state_dict: Mapping[str, Tensor], *, stages: int = 2) -> Weights:
    """Weights of ``smp.PSPNet`` on a ResNet under the names of ``PSPNet``.

    Build it with ``PSPNet(classes, layers=50, stages=2, deep_stem=False, kernels=(1, 3))``: smp's
    pyramid sees the second stage, and its head is a 1 x 1 and a 3 x 3 convolution. Three things
    are no matter of names:

    - the encoder's later stages, which nothing looks at and which never learned, are left out;
    - the pyramid is concatenated in reverse, so the next kernel's input channels are reversed;
    - the mean of the whole map is not normalised but gets a bias. In evaluation that is the same
      as normalising by a mean of 0 and a variance of 1; in training our layer normalises indeed.

    Args:
        stages: below the pyramid; smp's ``encoder_depth - 1``.

    Raises:
        ValueError: if a layer is unknown or missing.
        TypeError: if this is no state_dict.
    """
    table = {
        **resnet_table(state_dict, "encoder"),
        **below("decoder.psp", SMP_PYRAMID, "pyramid"),
        **below("decoder.conv", {"0": "0.0", "1": "0.1"}, "head"),
        "segmentation_head.0": "head.2",
    }
    unused = tuple(f"backbone.stages.{number}." for number in range(stages, 4))
    renamed = rename(state_dict, table).items()
    weights = {name: value for name, value in renamed if not name.startswith(unused)}
    for name, value in neutral_normalisation(weights.pop("pyramid.reduce.3.0.bias")).items():
        weights[f"pyramid.reduce.3.1.{name}"] = value
    weights["head.0.0.weight"] = reverse_pyramid(weights["head.0.0.weight"])
    return weights


def deeplab_v3_plus_from_smp(state_dict: Mapping[str, Tensor]) -> Weights:
    """Weights of ``smp.DeepLabV3Plus`` on a ResNet under the names of ``DeepLabV3Plus``.

    Build it with

        DeepLabV3Plus(
            classes,
            backbone=partial(ResNet, 50, dilate_first=True),
            rates=(12, 24, 36),
            convolution=partial(separable_conv, between=False),
            early=True,
            align_corners=True,
        )

    which says all that smp does differently: every block of a stage without its stride is dilated,
    rates are those of output stride 8 at 16 too, separable convolutions are normalised once, one
    follows ASPP and one the concatenation instead of two, and corners are aligned.

    Raises:
        ValueError: if a layer is unknown or missing, such as those of an ASPP of ordinary
            convolutions (``decoder_aspp_separable=False``).
        TypeError: if this is no state_dict.
    """
    table = {
        **resnet_table(state_dict, "encoder"),
        **below("decoder.aspp.0", SMP_ASPP, "aspp"),
        **below("decoder.aspp", {"1.0": "0", "1.1": "1", "2": "2"}, "refine"),
        **below("decoder.block1", {"0": "0", "1": "1"}, "reduce"),
        **below("decoder.block2", SEPARABLE, "decoder.0"),
        "segmentation_head.0": "head",
    }
    return rename(state_dict, table)


def mask_rcnn_from_torchvision(state_dict: Mapping[str, Tensor]) -> Weights:
    """Weights of ``maskrcnn_resnet50_fpn`` under the names of ``MaskRCNN``.

    Build it with ``MaskRCNN(classes - 1, paste=paste_rounded)``: torchvision counts the background
    as class 0, and pastes masks into boxes of whole pixels. It normalises and resizes images
    itself; here that is left to the caller.

    Raises:
        ValueError: if a layer is unknown or missing.
        TypeError: if this is no state_dict.
    """
    return rename(state_dict, resnet_table(state_dict, "backbone.body") | MASK_RCNN)


def detr_from_transformers(state_dict: Mapping[str, Tensor]) -> Weights:
    """Weights of ``DetrForSegmentation`` or ``DetrForObjectDetection`` under the names of ``DETR``.

    Build it with ``DETR(classes)``, and with ``masks=True`` for the former. The one with masks
    holds the other as its part ``detr``.

    Raises:
        ValueError: if a layer is unknown or missing.
        TypeError: if this is no state_dict.
    """
    segments = any(name.startswith("mask_head") for name in state_dict)
    whole = "detr." if segments else ""
    model = f"{whole}model"
    encoder, decoder = f"{model}.encoder.layers.*", f"{model}.decoder.layers.*"
    ours, theirs = "transformer.encoder.*", "transformer.decoder.*"
    thinking = {"mlp.fc1": "think.0", "mlp.fc2": "think.3", "final_layer_norm": "think_norm"}
    table = {
        **resnet_table(state_dict, f"{model}.backbone.model"),
        f"{model}.input_projection": "project",
        f"{model}.query_position_embeddings": "names",
        f"{model}.decoder.layernorm": "transformer.norm",
        **below(encoder, thinking | {"self_attn_layer_norm": "attention_norm"}, ours),
        **below(f"{encoder}.self_attn", ATTENTION, f"{ours}.attention"),
        **below(decoder, thinking | {"self_attn_layer_norm": "among_norm"}, theirs),
        **below(f"{decoder}.self_attn", ATTENTION, f"{theirs}.among"),
        **below(f"{decoder}.encoder_attn", ATTENTION, f"{theirs}.look"),
        f"{decoder}.encoder_attn_layer_norm": f"{theirs}.look_norm",
        f"{whole}class_labels_classifier": "classify",
        **{f"{whole}bbox_predictor.layers.{n}": f"locate.{2 * n}" for n in range(3)},
    }
    return rename(state_dict, table | (DETR_MASKS if segments else {}))


def neutral_normalisation(bias: Tensor) -> Weights:
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


def resnet_table(state_dict: Mapping[str, Tensor], theirs: str) -> Table:
    """Rows of a ResNet with torchvision's names; only bottlenecks have a third convolution.

    Raises:
        TypeError: if this is no state_dict.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"porting takes a dictionary of weights, but this is {type(state_dict).__name__}: pass "
            "what its state_dict() returns."
        )
    block = BOTTLENECK if f"{theirs}.layer1.0.conv3.weight" in state_dict else BASIC
    table = below(theirs, {"conv1": "stem.0", "bn1": "stem.1"}, "backbone")
    for number in range(4):  # stages count from 1 there, from 0 here
        table |= below(f"{theirs}.layer{number + 1}.*", block, f"backbone.stages.{number}.*")
    return table


def below(theirs: str, table: Table, ours: str) -> Table:
    """The same rows for layers inside another: put its name in front on both sides."""
    return {f"{theirs}.{layer}": f"{ours}.{own}" for layer, own in table.items()}


def rename(
    state_dict: Mapping[str, Tensor], table: Table, *, optional: Table | None = None
) -> Weights:
    """The same tensors under our names: the first row that fits the layer says how.

    Every name needs a row; rows of ``optional`` and rows with ``*`` may stay without a name.

    Raises:
        ValueError: if a layer is unknown or missing.
    """
    rows = {
        re.compile(re.escape(theirs).replace(r"\*", r"(\d+)")): ours
        for theirs, ours in (table | (optional or {})).items()
    }
    renamed, unknown, missing = {}, [], {layer for layer in table if "*" not in layer}
    for name, value in state_dict.items():
        layer, _, kind = name.rpartition(".")  # kind: weight, bias, running_mean, ...
        missing.discard(layer)
        fit = next((fit for row in rows if (fit := row.fullmatch(layer))), None)
        if fit is None:
            unknown.append(name)
            continue
        own = rows[fit.re]
        for number in fit.groups():
            own = own.replace("*", number, 1)
        renamed[f"{own}.{kind}"] = value
    if unknown or missing:
        raise ValueError(
            f"these are not the weights of that network: unknown are {listed(unknown)}, missing "
            f"are {listed(sorted(missing))}. Pass what its own state_dict() returns."
        )
    return renamed


def listed(names: list[str]) -> str:
    """The first three names, and how many follow."""
    more = [f"{len(names) - 3} more"] if len(names) > 3 else []
    return " and ".join([", ".join(names[:3]), *more]) if names else "none"
