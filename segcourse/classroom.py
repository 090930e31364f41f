"""Every network of the course in its classroom's size, and the loss that trains it.

    model = NETWORKS["pspnet"](len(CLASSES))
    loss = course_loss(scenes, aux_weight=AUX_WEIGHTS.get("pspnet", 1.0))
    fit(model, loss, batches(scenes, batch_size=4), steps=760)

    model = DETECTORS["mask_rcnn"](len(THINGS))
    losses = model.loss(images, targets)

Images of Toytown have 96 x 128 pixels, 192 x 256 for detectors. The networks are small enough to
learn from them within minutes on a processor, and large enough to show what their ideas are worth.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.conv import conv_bn_relu
from segcourse.blocks.resnet import ResNet
from segcourse.blocks.rpn import RPN
from segcourse.data.sample import Sample
from segcourse.data.toytown import CLASSES
from segcourse.losses.overlap import dice_loss
from segcourse.losses.pixelwise import cross_entropy
from segcourse.losses.weights import class_counts, log_frequency_weights
from segcourse.models.deconvnet import DeconvNet
from segcourse.models.deeplab_v1 import DeepLabV1
from segcourse.models.deeplab_v2 import DeepLabV2
from segcourse.models.deeplab_v3 import DeepLabV3
from segcourse.models.deeplab_v3_plus import DeepLabV3Plus
from segcourse.models.detr import DETR
from segcourse.models.fcn import FCN
from segcourse.models.fcn_resnet import FCNResNet
from segcourse.models.gfrnet import GFRNet
from segcourse.models.mask_rcnn import MaskRCNN
from segcourse.models.mask_scoring import MaskScoringRCNN
from segcourse.models.panoptic_fpn import PanopticFPN
from segcourse.models.pspnet import PSPNet
from segcourse.models.refinenet import RefineNet
from segcourse.models.segnet import SegNet, SegNetBasic
from segcourse.models.unet import UNet

FCN_OPTIONS = dict(width=12, fc_channels=96, kernel_size=3, padding=1, batch_norm=True)
UNET_OPTIONS = dict(width=12, depth=3, padding=1, batch_norm=True, dropout=0.0)

# In the order of publication.
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "fcn_32s": partial(FCN, stride=32, **FCN_OPTIONS),
    "fcn_16s": partial(FCN, stride=16, **FCN_OPTIONS),
    "fcn_8s": partial(FCN, stride=8, **FCN_OPTIONS),
    "deconvnet": partial(
        DeconvNet, width=12, fc_channels=96, kernel_size=3, depths=(1, 1, 1, 1, 1)
    ),
    "unet": partial(UNet, **UNET_OPTIONS),
    "segnet": partial(SegNet, width=16, depths=(1, 1, 1, 1)),
    "segnet_basic": partial(SegNetBasic, width=16, depth=3),
    "fcn_resnet": partial(FCNResNet, layers=18, width=16, aux_loss=True),
    "pspnet": partial(PSPNet, layers=18, width=24, stages=3, align_corners=False, aux_loss=True),
    "deeplab_v1": partial(
        DeepLabV1,
        width=8,
        fc_channels=64,
        dilation=4,
        multi_scale=True,
        batch_norm=True,
        dropout=0.0,
    ),
    "deeplab_v2": partial(
        DeepLabV2, layers=18, width=32, stages=3, atrous_rates=(1, 2, 4, 6), scales=(1,)
    ),
    "refinenet": partial(
        RefineNet, layers=18, width=16, channels=16, batch_norm=True, dropout=0.0, image_scale=2.0
    ),
    "gfrnet": partial(GFRNet, width=12, depths=(2, 2, 2, 2, 2), dropout=0.0),
    "deeplab_v3": partial(
        DeepLabV3,
        backbone=partial(ResNet, 18, width=40, stages=3),
        output_stride=8,
        atrous_rates=(1, 2, 4),
        channels=48,
        dropout=0.0,
    ),
    "deeplab_v3_plus": partial(
        DeepLabV3Plus,
        backbone=partial(ResNet, 18, width=20, deep_stem=True, stages=3),
        output_stride=8,
        atrous_rates=(2, 4, 6),
        channels=32,
        low_level=0,
        low_level_channels=16,
        dropout=0.0,
        convolution=conv_bn_relu,
    ),
}
MASK_RCNN_OPTIONS = dict(
    backbone=partial(ResNet, 18, width=16),
    rpn=partial(
        RPN,
        anchor_sizes=(16, 32, 64, 96, 128),
        aspect_ratios=(0.5, 1.0, 2.0, 4.0),
        pre_nms_top_n=100,
        post_nms_top_n=60,
    ),
    channels=32,
    representation_size=64,
    canonical_scale=112,
    box_batch_size_per_image=64,
)
DETR_OPTIONS = dict(
    backbone=partial(ResNet, 18, width=16, stages=3),
    d_model=128,
    num_heads=4,
    dim_feedforward=256,
    num_encoder_layers=2,
    num_decoder_layers=2,
    num_queries=16,
    dropout=0.0,
)
# Their losses are ``model.loss(images, targets)``. A Panoptic FPN is built from things and stuff.
DETECTORS: dict[str, Callable[..., nn.Module]] = {
    "mask_rcnn": partial(MaskRCNN, **MASK_RCNN_OPTIONS),
    "mask_scoring_rcnn": partial(MaskScoringRCNN, **MASK_RCNN_OPTIONS),
    "panoptic_fpn": partial(
        PanopticFPN, branch_channels=64, min_stuff_area=200, **MASK_RCNN_OPTIONS
    ),
    "detr": partial(DETR, masks=True, **DETR_OPTIONS),
}
# What the losses of all logits but the last count, as in PSPNet's paper; 1 for other networks.
AUX_WEIGHTS: dict[str, float] = {"fcn_resnet": 0.4, "pspnet": 0.4}


def course_loss(
    samples: Sequence[Sample], num_classes: int = len(CLASSES), *, aux_weight: float = 1.0
) -> Callable[[nn.Module, tuple[Tensor, ...]], Tensor]:
    """Cross-entropy with log-frequency weights, plus Dice, of all logits: -> loss(model, batch).

    Args:
        samples: of the training; their labels say how frequent the classes are.
        num_classes: of the network.
        aux_weight: what the losses of all logits but the last count.
    """
    counts = class_counts(torch.stack([sample.semantic for sample in samples]), num_classes)
    weight = log_frequency_weights(counts)

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        image, target, *_ = batch
        return sum(
            share * (cross_entropy(logits, labels, weight=weight) + dice_loss(logits, labels))
            for share, logits, labels in supervised(model, image, target, aux_weight)
        )

    return loss


def supervised(
    model: nn.Module, image: Tensor, target: Tensor, aux_weight: float = 1.0
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Weight, logits (N, K, h, w) and labels (N, h, w) of all logits of a network, coarse to fine.

    The labels (N, H, W) are reduced to the size of coarse logits by taking the nearest pixel.
    """
    *coarse, last = model.all_logits(image)
    for logits in coarse:
        labels = F.interpolate(target[:, None].float(), logits.shape[-2:], mode="nearest-exact")
        yield aux_weight, logits, labels[:, 0].long()
    yield 1.0, last, target
