"""Every semantic network of the course in its classroom's size, and the loss that trains it."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.conv import conv_bn_relu
from segcourse.blocks.resnet import ResNet
from segcourse.data.sample import Cached
from segcourse.data.toytown import CLASSES
from segcourse.losses.overlap import dice_loss
from segcourse.losses.pixelwise import cross_entropy
from segcourse.losses.weights import class_counts, log_frequency_weights
from segcourse.models.deconvnet import DeconvNet
from segcourse.models.deeplab_v1 import DeepLabV1
from segcourse.models.deeplab_v2 import DeepLabV2
from segcourse.models.deeplab_v3 import DeepLabV3
from segcourse.models.deeplab_v3_plus import DeepLabV3Plus
from segcourse.models.fcn import FCN
from segcourse.models.fcn_resnet import FCNResNet
from segcourse.models.gfrnet import GFRNet
from segcourse.models.pspnet import PSPNet
from segcourse.models.refinenet import RefineNet
from segcourse.models.segnet import SegNet, SegNetBasic
from segcourse.models.unet import UNet

FCN_SIZE = dict(width=12, hidden=96, kernel_size=3, padding=1, batch_norm=True)
UNET_SIZE = dict(width=12, depth=3, padding=1, batch_norm=True, dropout=0.0)

# In the order of publication.
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "fcn_32s": partial(FCN, stride=32, **FCN_SIZE),
    "fcn_16s": partial(FCN, stride=16, **FCN_SIZE),
    "fcn_8s": partial(FCN, stride=8, **FCN_SIZE),
    "deconvnet": partial(DeconvNet, width=12, hidden=96, kernel_size=3, depths=(1, 1, 1, 1, 1)),
    "unet": partial(UNet, **UNET_SIZE),
    "segnet": partial(SegNet, width=16, depths=(1, 1, 1, 1)),
    "segnet_basic": partial(SegNetBasic, width=16, depth=3),
    "fcn_resnet": partial(FCNResNet, layers=18, width=16, auxiliary=True),
    "pspnet": partial(PSPNet, layers=18, width=24, stages=3, align_corners=False, auxiliary=True),
    "deeplab_v1": partial(
        DeepLabV1, width=8, hidden=64, rate=4, multi_scale=True, batch_norm=True, dropout=0.0
    ),
    "deeplab_v2": partial(
        DeepLabV2, layers=18, width=32, stages=3, rates=(1, 2, 4, 6), scales=(1,)
    ),
    "refinenet": partial(
        RefineNet, layers=18, width=16, channels=16, batch_norm=True, dropout=0.0, image_scale=2.0
    ),
    "gfrnet": partial(GFRNet, width=12, depths=(2, 2, 2, 2, 2), dropout=0.0),
    "deeplab_v3": partial(
        DeepLabV3,
        backbone=partial(ResNet, 18, width=40, stages=3),
        output_stride=8,
        rates=(1, 2, 4),
        channels=48,
        dropout=0.0,
    ),
    "deeplab_v3_plus": partial(
        DeepLabV3Plus,
        backbone=partial(ResNet, 18, width=20, deep_stem=True, stages=3),
        output_stride=8,
        rates=(2, 4, 6),
        channels=32,
        fine=0,
        fine_channels=16,
        dropout=0.0,
        convolution=conv_bn_relu,
    ),
}
# Weight of every stage but the last; 1 where nothing is said.
AUXILIARY: dict[str, float] = {"fcn_resnet": 0.4, "pspnet": 0.4}


def every_stage(
    model: nn.Module, image: Tensor, truth: Tensor, auxiliary: float
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """(weight, logits, truth of their size) of everything that a network wants supervised."""
    if isinstance(model, GFRNet):
        stages = model.guesses(image)  # as in the paper; the release enlarges them all
    elif hasattr(model, "all_logits"):
        stages = model.all_logits(image)
    else:
        stages = [model(image)]
    for number, logits in enumerate(stages, start=1):
        rows, columns = logits.shape[-2:]
        labels = F.interpolate(truth[:, None].float(), (rows, columns), mode="nearest-exact")
        yield 1.0 if number == len(stages) else auxiliary, logits, labels[:, 0].long()


def course_loss(
    scenes: Cached, num_classes: int = len(CLASSES), auxiliary: float = 1.0
) -> Callable[..., Tensor]:
    """Cross-entropy with log-frequency weights, plus Dice, of every supervised stage."""
    counts = class_counts(torch.stack([scene.semantic for scene in scenes]), num_classes)
    weight = log_frequency_weights(counts)

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        image, truth, *_ = batch
        return sum(
            share * (cross_entropy(logits, labels, weight=weight) + dice_loss(logits, labels))
            for share, logits, labels in every_stage(model, image, truth, auxiliary)
        )

    return loss
