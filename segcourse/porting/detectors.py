"""Porting detectors: torchvision's Mask R-CNN and transformers' DETR as ours, which find the same.

    theirs = torchvision.models.detection.maskrcnn_resnet50_fpn(weights="DEFAULT")
    net = mask_rcnn_from_torchvision(theirs)

A ``state_dict`` does not say how many heads an attention has, where anchors stand, or which boxes
are suppressed. Therefore the ports take the network, as those of semantic networks do
(:mod:`segcourse.porting.semantic`): they read its settings, build ours with them, compare all
layers, and refuse by name what ours cannot represent.

torchvision's Mask R-CNN normalises and resizes images itself; here that is left to the caller:

    images = theirs.transform([image])[0].tensors
"""

from functools import partial

from torch import nn

from segcourse.blocks.resnet import ResNet
from segcourse.blocks.rpn import RPN
from segcourse.models.detr import DETR
from segcourse.models.mask_rcnn import MaskRCNN
from segcourse.ops.roi import paste_rounded, roi_align
from segcourse.porting.semantic import RESNET, read_resnet
from segcourse.transfer import Table, below, part_of, take_weights

_MASK_RCNN: Table = {
    **below("backbone.body", RESNET, "backbone"),
    "backbone.fpn.inner_blocks.*.0": "fpn.inner_blocks.*",
    "backbone.fpn.layer_blocks.*.0": "fpn.layer_blocks.*",
    "rpn.head.conv.0.0": "rpn.head.conv",
    "rpn.head.cls_logits": "rpn.head.cls_logits",
    "rpn.head.bbox_pred": "rpn.head.bbox_pred",
    "roi_heads.box_head.fc*": "box_head.fc*",
    "roi_heads.box_predictor.cls_score": "box_predictor.cls_score",
    "roi_heads.box_predictor.bbox_pred": "box_predictor.bbox_pred",
    "roi_heads.mask_head.*.0": "mask_head.*.0",
    "roi_heads.mask_predictor.conv5_mask": "mask_predictor.conv5_mask",
    "roi_heads.mask_predictor.mask_fcn_logits": "mask_predictor.mask_fcn_logits",
}
_ATTENTION: Table = {f"{letter}_proj": f"{letter}_proj" for letter in "qkvo"}
_LAYER: Table = {
    **below("self_attn", _ATTENTION, "self_attn"),
    "self_attn_layer_norm": "norm1",
    "mlp.fc1": "ffn.0",
    "mlp.fc2": "ffn.3",
}
_READ_OF_TORCHVISION = (
    "AnchorGenerator", "GeneralizedRCNNTransform", "LastLevelMaxPool", "MultiScaleRoIAlign",
)  # fmt: skip
_READ_OF_TRANSFORMERS = ("DetrSinePositionEmbedding",)
_CONV_NORM: Table = {"conv": "0", "norm": "1"}
_MASK_HEAD: Table = {
    **below("mask_head.conv1", _CONV_NORM, "mask_head.conv1"),
    **below("mask_head.conv2", _CONV_NORM, "mask_head.conv2"),
    "mask_head.fpn_stages.*.fpn_adapter": "mask_head.fpn_stages.*.fpn_adapter",
    **below("mask_head.fpn_stages.*.refine", _CONV_NORM, "mask_head.fpn_stages.*.refine"),
    "mask_head.output_conv": "mask_head.output_conv",
    **below("bbox_attention", {"q_proj": "q_proj", "k_proj": "k_proj"}, "mask_head"),
}


def mask_rcnn_from_torchvision(theirs: nn.Module) -> MaskRCNN:
    """torchvision's ``MaskRCNN`` on a ResNet and its pyramid as our network, ready to predict.

    torchvision counts the background as class 0; our classes are its classes less one.

    Raises:
        ValueError: if it has a layer or a rule that ours has not.
        TypeError: if this is no network.
    """
    layers, output_stride = read_resnet(theirs, "backbone.body")
    heads, rpn = part_of(theirs, "roi_heads"), part_of(theirs, "rpn")
    box_head = part_of(theirs, "roi_heads.box_head.fc6")
    anchors = rpn.anchor_generator
    _check_pooling(heads.box_roi_pool, 7), _check_pooling(heads.mask_roi_pool, 14)
    scale = heads.box_roi_pool.canonical_scale
    ratio = heads.box_roi_pool.sampling_ratio
    _check_equal("canonical_scale of masks", heads.mask_roi_pool.canonical_scale, scale)
    _check_equal("sampling_ratio of masks", heads.mask_roi_pool.sampling_ratio, ratio)
    if any(len(sizes) != 1 for sizes in anchors.sizes) or len(set(anchors.aspect_ratios)) != 1:
        raise ValueError(
            f"anchors of sizes {anchors.sizes} and ratios {anchors.aspect_ratios} were found, but "
            "ours have one size for each level, and the same ratios in all."
        )
    _check_equal("backbone's output stride", output_stride, 32)
    _check_equal("transform.size_divisible", theirs.transform.size_divisible, 32)
    _check_equal("rpn.score_thresh", rpn.score_thresh, 0.0)
    _check_equal("rpn.min_size", rpn.min_size, 1e-3)
    _check_equal("box_coder.weights", tuple(heads.box_coder.weights), (10.0, 10.0, 5.0, 5.0))
    net = MaskRCNN(
        heads.box_predictor.cls_score.out_features - 1,
        backbone=partial(ResNet, layers, output_stride=output_stride),
        rpn=partial(
            RPN,
            anchor_sizes=tuple(size for (size,) in anchors.sizes),
            aspect_ratios=tuple(anchors.aspect_ratios[0]),
            pre_nms_top_n=rpn._pre_nms_top_n["testing"],
            post_nms_top_n=rpn._post_nms_top_n["testing"],
            nms_threshold=rpn.nms_thresh,
            fg_iou_threshold=rpn.proposal_matcher.high_threshold,
            bg_iou_threshold=rpn.proposal_matcher.low_threshold,
            batch_size_per_image=rpn.fg_bg_sampler.batch_size_per_image,
            positive_fraction=rpn.fg_bg_sampler.positive_fraction,
        ),
        channels=part_of(theirs, "backbone").out_channels,
        representation_size=box_head.out_features,
        canonical_scale=scale,
        score_threshold=heads.score_thresh,
        nms_threshold=heads.nms_thresh,
        max_detections=heads.detections_per_img,
        fg_iou_threshold=heads.proposal_matcher.high_threshold,
        bg_iou_threshold=heads.proposal_matcher.low_threshold,
        box_batch_size_per_image=heads.fg_bg_sampler.batch_size_per_image,
        positive_fraction=heads.fg_bg_sampler.positive_fraction,
        crop=partial(roi_align, sampling_ratio=max(ratio, 0)),
        paste=paste_rounded,
    )
    eps = getattr(part_of(theirs, "backbone.body.bn1"), "eps", 1e-5)  # 0 in published weights
    for layer in net.backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = eps
    also = {"backbone.body.maxpool": "backbone.maxpool"}
    return take_weights(net, theirs, _MASK_RCNN, also=also, read=_READ_OF_TORCHVISION)


def detr_from_transformers(theirs: nn.Module) -> DETR:
    """``DetrForObjectDetection`` or ``DetrForSegmentation`` as our network, ready to predict.

    Raises:
        ValueError: if it has a layer or a setting that ours has not.
        TypeError: if this is no network.
    """
    segments = hasattr(theirs, "mask_head")
    whole = "detr." if segments else ""
    model = f"{whole}model"
    layers, output_stride = read_resnet(theirs, f"{model}.backbone.model")
    config = theirs.config
    # With auxiliary losses, transformers normalises the queries between decoder layers as well.
    _check_equal("auxiliary_loss", config.auxiliary_loss, False)
    _check_equal("activation_function", config.activation_function, "relu")
    _check_equal("position_embedding_type", config.position_embedding_type, "sine")
    for part in ("attention_heads", "ffn_dim"):
        of_both = (getattr(config, f"{side}_{part}") for side in ("encoder", "decoder"))
        _check_equal(f"encoder_{part} and decoder_{part}", *of_both)
    net = DETR(
        part_of(theirs, f"{whole}class_labels_classifier").out_features - 1,
        backbone=partial(ResNet, layers, output_stride=output_stride),
        d_model=config.d_model,
        num_heads=config.encoder_attention_heads,
        dim_feedforward=config.encoder_ffn_dim,
        num_encoder_layers=config.encoder_layers,
        num_decoder_layers=config.decoder_layers,
        num_queries=config.num_queries,
        dropout=config.dropout,
        masks=segments,
    )
    encoder, decoder = f"{model}.encoder.layers.*", f"{model}.decoder.layers.*"
    table = {
        **below(f"{model}.backbone.model", RESNET, "backbone"),
        f"{model}.input_projection": "input_proj",
        f"{model}.query_position_embeddings": "query_embed",
        f"{model}.decoder.layernorm": "transformer.norm",
        **below(encoder, _LAYER | {"final_layer_norm": "norm2"}, "transformer.encoder.*"),
        **below(decoder, _LAYER | {"final_layer_norm": "norm3"}, "transformer.decoder.*"),
        **below(f"{decoder}.encoder_attn", _ATTENTION, "transformer.decoder.*.cross_attn"),
        f"{decoder}.encoder_attn_layer_norm": "transformer.decoder.*.norm2",
        f"{whole}class_labels_classifier": "class_embed",
        **{f"{whole}bbox_predictor.layers.{n}": f"bbox_embed.{2 * n}" for n in range(3)},
        **(_MASK_HEAD if segments else {}),
    }
    also = {f"{model}.backbone.model.maxpool": "backbone.maxpool"}
    return take_weights(net, theirs, table, also=also, read=_READ_OF_TRANSFORMERS)


def _check_equal(name: str, found: object, wanted: object) -> None:
    """Refuse a setting that ours does not have.

    Raises:
        ValueError: if it is another.
    """
    if found != wanted:
        raise ValueError(
            f"their {name} is {found}, where ours is {wanted}: equal weights would give other "
            "detections, so this network cannot be ported."
        )


def _check_pooling(pool: nn.Module, side: int) -> None:
    """Refuse regions of interest that are pooled otherwise than ours."""
    _check_equal("output_size", tuple(pool.output_size), (side, side))
    _check_equal("canonical_level", pool.canonical_level, 4)
    _check_equal("featmap_names", list(pool.featmap_names), ["0", "1", "2", "3"])
