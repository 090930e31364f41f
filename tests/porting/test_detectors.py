"""Porting detectors: equal detections whatever the settings, or a refusal that names the reason.

That all outputs and losses are equal is tested in tests/models/test_mask_rcnn.py and test_detr.py.
"""

from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN as Theirs
from torchvision.models.detection import maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign
from transformers import DetrConfig, DetrForObjectDetection, DetrForSegmentation

from segcourse.porting import detr_from_transformers, mask_rcnn_from_torchvision

backbone = partial(resnet_fpn_backbone, weights=None, trainable_layers=5, norm_layer=nn.BatchNorm2d)
pool = partial(MultiScaleRoIAlign, featmap_names=["0", "1", "2", "3"], sampling_ratio=2)


def torchvisions(name: str = "resnet18", **options: object) -> Theirs:
    torch.manual_seed(0)
    net = Theirs(backbone(backbone_name=name), 4, image_mean=[0.0] * 3, image_std=[1.0] * 3,
                 box_score_thresh=options.pop("box_score_thresh", 0.05), **options)  # fmt: skip
    net.transform.resize = lambda image, target=None: (image, target)
    for key, value in net.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif key.startswith(("rpn.head", "roi_heads.box_predictor")) and value.ndim > 1:
            value.normal_(std=0.3 / value[0].numel() ** 0.5)
        elif key.startswith("backbone.fpn"):
            value.mul_(0.05)  # unnormalised depth has made the features large
    return net.eval()


SETTINGS = {
    "defaults": {},
    "anchors": dict(rpn_anchor_generator=AnchorGenerator(
        tuple((size,) for size in (8, 24, 64, 100, 200)), ((0.3, 1.0, 3.0),) * 5)),
    "proposals": dict(rpn_pre_nms_top_n_test=40, rpn_post_nms_top_n_test=25, rpn_nms_thresh=0.4),
    "detections": dict(box_nms_thresh=0.2, box_score_thresh=0.15, box_detections_per_img=7),
    "adaptive sampling": dict(box_roi_pool=pool(output_size=7, sampling_ratio=0),
                              mask_roi_pool=pool(output_size=14, sampling_ratio=0)),
}  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("name", SETTINGS)
def test_a_mask_rcnn_of_any_settings_finds_the_same(name):
    theirs = torchvisions(**SETTINGS[name])
    ours, image = mask_rcnn_from_torchvision(theirs), torch.rand(3, 128, 160)
    [got], [want] = ours([image]), theirs([image])
    assert len(got.boxes) == len(want["boxes"]) > 5
    assert torch.allclose(got.scores, want["scores"], atol=1e-4)
    far = torch.cdist(got.boxes, want["boxes"], p=torch.inf)  # nearly equal scores change places
    far += 1e3 * (got.labels[:, None] != want["labels"] - 1)
    assert far.amin(dim=0).max() < 0.01 and far.amin(dim=1).max() < 0.01


def test_a_frozen_backbone_of_the_paper_fits():
    theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4)
    ours = mask_rcnn_from_torchvision(theirs)
    assert ours.num_classes == 3 and not ours.training
    bias = theirs.roi_heads.mask_predictor.mask_fcn_logits.bias
    assert torch.equal(ours.mask_predictor.mask_fcn_logits.bias, bias)


@torch.no_grad()
def test_published_weights_have_an_epsilon_of_zero():
    frozen = backbone(backbone_name="resnet18", norm_layer=FrozenBatchNorm2d)
    theirs = Theirs(frozen, 4).eval()
    overwrite_eps(theirs, 0.0)  # as torchvision does for its COCO weights
    for name, value in theirs.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(1e-5, 1e-4)  # beside which 1e-5 matters
    ours, image = mask_rcnn_from_torchvision(theirs), torch.rand(1, 3, 64, 96)
    for got, want in zip(ours.levels(image), theirs.backbone(image).values(), strict=True):
        assert torch.allclose(got, want, rtol=1e-3, atol=1e-4 * want.abs().max())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None), "box_head.fc6"),
        (lambda: torchvisions(rpn_score_thresh=0.1), "rpn.score_thresh is 0.1"),
        (lambda: torchvisions(bbox_reg_weights=(1.0, 1.0, 1.0, 1.0)), "box_coder.weights"),
        (lambda: torchvisions(mask_roi_pool=pool(output_size=28)), "output_size"),
        (lambda: torchvisions(box_roi_pool=pool(output_size=7, canonical_scale=100)), "canonical"),
        (lambda: torchvisions(box_roi_pool=pool(output_size=7, sampling_ratio=3)), "sampling"),
        (lambda: torchvisions(rpn_anchor_generator=AnchorGenerator(
            ((8, 16),) * 5, ((1.0,),) * 5)), "one size for each level"),
        (lambda: nn.Sequential(), "no part"),
    ],
)  # fmt: skip
def test_a_mask_rcnn_that_computes_something_else_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        mask_rcnn_from_torchvision(build())


OPTIONS = dict(
    use_timm_backbone=True, use_pretrained_backbone=False, backbone="resnet18", num_labels=5,
    d_model=64, encoder_layers=1, decoder_layers=2, encoder_attention_heads=8,
    decoder_attention_heads=8, encoder_ffn_dim=96, decoder_ffn_dim=96, num_queries=7,
)  # fmt: skip


def transformers_detr(build=DetrForObjectDetection, **options: object) -> nn.Module:
    torch.manual_seed(0)
    net = build(DetrConfig(**{**OPTIONS, **options})).eval()
    for name, value in net.state_dict().items():
        if value.ndim > 1 and "backbone" not in name:
            value.normal_(std=0.3 / value[0].numel() ** 0.25)
    return net


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(encoder_attention_heads=2, decoder_attention_heads=2),
        dict(num_queries=3, num_labels=2, encoder_layers=2, decoder_layers=1),
        dict(encoder_ffn_dim=32, decoder_ffn_dim=32, d_model=48),
        dict(backbone="resnet34"),
    ],
)
@pytest.mark.parametrize("build", [DetrForObjectDetection, DetrForSegmentation])
def test_a_detr_of_any_settings_predicts_the_same(build, options):
    if build is DetrForSegmentation and {"d_model", "encoder_attention_heads"} & options.keys():
        options = {"num_queries": 5}  # their mask head wants channels and heads divisible by 8
    theirs = transformers_detr(build, **options)
    ours, image = detr_from_transformers(theirs), torch.rand(1, 3, 64, 96)
    want, got = theirs(image), ours(image)
    assert torch.allclose(got.logits, want.logits, atol=1e-5)
    assert torch.allclose(got.boxes, want.pred_boxes, atol=1e-5)
    assert (got.masks is None) == (build is DetrForObjectDetection)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(auxiliary_loss=True), "auxiliary_loss is True"),
        (dict(activation_function="gelu"), "activation_function is gelu"),
        (dict(position_embedding_type="learned"), "position_embedding_type is learned"),
        (dict(encoder_attention_heads=4), "attention_heads"),
        (dict(encoder_ffn_dim=64), "ffn_dim"),
        (dict(backbone="resnext50_32x4d"), "groups|width|shape"),
    ],
)
def test_a_detr_that_computes_something_else_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        detr_from_transformers(transformers_detr(**options))


@pytest.mark.parametrize("port", [mask_rcnn_from_torchvision, detr_from_transformers])
def test_a_bare_state_dict_is_refused(port):
    with pytest.raises(TypeError, match="takes the network itself"):
        port({"fc.weight": torch.zeros(1)})
