"""Mask R-CNN: the published counts and shapes, torchvision's detections and losses, learning."""

from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from segcourse.blocks.atrous_vgg import AtrousVGG
from segcourse.blocks.resnet import ResNet
from segcourse.blocks.vgg import VGG
from segcourse.blocks.xception import Xception
from segcourse.models import mask_rcnn
from segcourse.models.mask_rcnn import MaskRCNN
from segcourse.ops.boxes import box_iou
from segcourse.ops.instances import Instances
from segcourse.ops.roi import roi_pool
from segcourse.porting import mask_rcnn_from_torchvision

SIZE, MANY = (96, 128), 10**6


@pytest.fixture
def small(detector):
    return partial(MaskRCNN, **detector)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# ── the paper's network ─────────────────────────────────────────────────────────────────────────


def test_parameters():
    with torch.device("meta"):
        net = MaskRCNN(90)
    normalisation = 53_120  # frozen, and not counted, where weights are pretrained
    assert count(net) == 44_454_513 and count(net) - normalisation == 44_401_393
    masks = count(net.mask_head) + count(net.mask_predictor)
    assert count(net) - masks == 41_808_406  # Faster R-CNN
    assert count(net) - masks - normalisation == 41_755_286
    assert count(net.backbone) + count(net.fpn) == 26_852_416
    assert count(net.rpn) == 593_935
    assert count(net.box_head) == 13_895_680 and count(net.box_predictor) == 466_375
    assert count(net.mask_head) == 2_360_320 and count(net.mask_predictor) == 285_787


def test_shapes_of_an_image_of_800_by_1088():
    with torch.device("meta"):
        net = MaskRCNN(90)
        levels = net.levels(torch.empty(1, 3, 800, 1088))
        assert sum(len(each) for each in net.rpn.anchors(levels)) == 217_413
        features = net.mask_head(torch.empty(5, 256, 14, 14))
        assert net.mask_predictor(features).shape == (5, 91, 28, 28)


def torchvisions(**options: object) -> nn.Module:
    """The reference on a ResNet-18, with weights that give many different detections."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, trainable_layers=5, norm_layer=nn.BatchNorm2d
    )
    net = TorchvisionMaskRCNN(
        backbone, 4, image_mean=[0.0] * 3, image_std=[1.0] * 3, rpn_pre_nms_top_n_test=100,
        rpn_post_nms_top_n_test=60, rpn_pre_nms_top_n_train=100, rpn_post_nms_top_n_train=60,
        box_detections_per_img=20, **options,
    )  # fmt: skip
    net.transform.resize = lambda image, target=None: (image, target)
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.startswith(("rpn.head", "roi_heads.box_predictor")) and value.ndim > 1:
            value.normal_(std=0.3 / value[0].numel() ** 0.5)
        elif name.startswith("backbone.fpn"):
            value.mul_(0.05)  # unnormalised depth has made the features large
    return net


@torch.no_grad()
@pytest.mark.parametrize(
    "sizes", [[(128, 192)] * 2, [(191, 255)], [(427, 640)], [(191, 255), (120, 250)]]
)
def test_detections_are_torchvisions(sizes):
    theirs = torchvisions(box_score_thresh=0.05).eval()
    ours = mask_rcnn_from_torchvision(theirs)
    images = [torch.rand(3, *size) for size in sizes]
    for got, want, size in zip(ours(images), theirs(images), sizes, strict=True):
        assert len(got.boxes) == len(want["boxes"]) > 10
        assert got.masks.shape[1:] == size
        assert torch.equal(got.labels, want["labels"] - 1)
        assert torch.allclose(got.boxes, want["boxes"], atol=1e-2)
        assert torch.allclose(got.scores, want["scores"], atol=1e-4)
        assert torch.allclose(got.masks, want["masks"][:, 0], atol=1e-3)


@pytest.mark.parametrize("sizes", [[(128, 192)] * 2, [SIZE, (121, 190)]])
def test_losses_are_torchvisions_where_all_regions_are_sampled(sizes, two_objects):
    theirs = torchvisions(rpn_batch_size_per_image=MANY, box_batch_size_per_image=MANY).train()
    ours = mask_rcnn_from_torchvision(theirs).train()
    targets = [cropped(two_objects, sizes[0]), empty(sizes[1])]
    images = [torch.rand(3, *size) for size in sizes]
    wanted = theirs(
        images,
        [{"boxes": t.boxes, "labels": t.labels + 1, "masks": t.masks.byte()} for t in targets],
    )
    got = ours.loss(images, targets)
    names = {"objectness": "loss_objectness", "rpn_box": "loss_rpn_box_reg",
             "class": "loss_classifier", "box": "loss_box_reg", "mask": "loss_mask"}  # fmt: skip
    assert got.keys() == names.keys()
    for own, name in names.items():
        assert got[own].item() == pytest.approx(wanted[name].item(), rel=1e-3), own


# ── sizes, strides and types ────────────────────────────────────────────────────────────────────


def empty(size: tuple[int, int]) -> Instances:
    """No objects, in an image of (height, width)."""
    return Instances(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0, *size).bool())


def cropped(target: Instances, size: tuple[int, int]) -> Instances:
    """The same objects in an image of another (height, width)."""
    height, width = target.masks.shape[1:]
    padding = (0, size[1] - width, 0, size[0] - height)
    return target._replace(masks=torch.nn.functional.pad(target.masks, padding))


BACKBONES = {
    "ResNet": partial(ResNet, 18, width=4),
    "ResNet of stride 16": partial(ResNet, 18, width=4, output_stride=16),
    "AtrousVGG": partial(AtrousVGG, width=4),
    "VGG": partial(VGG, width=4),
    "Xception": partial(Xception, 41, width=4),
}


@torch.no_grad()
@pytest.mark.parametrize("backbone", BACKBONES)
def test_boxes_and_anchors_lie_where_the_features_say(small, backbone):
    """Maps that hold the pixel that they lie over: a box reads its own coordinates."""
    net = small(2, backbone=BACKBONES[backbone])
    levels = net.levels(net.batch([torch.rand(3, 91, 127), torch.rand(3, 80, 100)]).images)
    maps = []
    for level, stride in zip(levels, net.fpn.strides, strict=True):
        row, column = (torch.arange(float(side)) * stride for side in level.shape[2:])
        maps.append(torch.stack(torch.meshgrid(column, row, indexing="ij")).transpose(1, 2))
    for pixels, anchors in zip(maps, net.rpn.anchors(levels), strict=True):
        centres = ((anchors[:, :2] + anchors[:, 2:]) / 2).unflatten(0, (-1, 3))
        assert (centres - pixels.flatten(1).T[:, None]).abs().max() < 1
    boxes = torch.tensor([[10.0, 12, 26, 30], [16, 8, 60, 60], [20, 20, 80, 70], [9, 7, 90, 88]])
    middles = net.pool_rois(maps, boxes, 7).mean(dim=(2, 3))
    assert torch.allclose(middles, (boxes[:, :2] + boxes[:, 2:]) / 2, atol=4)


def test_a_backbone_whose_maps_have_another_stride_is_refused(small):
    class Wrong(ResNet):
        def forward(self, image):
            return super().forward(image[..., ::2, ::2])

    with pytest.raises(ValueError, match=r"stride 4, but turns \(96, 128\) pixels into \(12, 16\)"):
        small(2, backbone=partial(Wrong, 18, width=4))(torch.rand(1, 3, *SIZE))
    with pytest.raises(ValueError, match="boxes would be misplaced"):
        small(2, backbone=partial(VGG, width=4, padding=50))(torch.rand(1, 3, *SIZE))


@torch.no_grad()
def test_every_image_of_a_batch_keeps_its_size_and_does_not_see_the_others(small):
    torch.manual_seed(0)
    net = small(2, score_threshold=0.0).eval()
    image, larger = torch.rand(3, 64, 96), torch.rand(2, 3, 71, 120)
    (one, large), (same, _) = (net([image, each]) for each in larger)
    assert one.masks.shape[1:] == (64, 96) and large.masks.shape[1:] == (71, 120)
    assert (one.boxes <= torch.tensor([96.0, 64, 96, 64])).all() and len(one.boxes)
    assert all(torch.allclose(*parts, atol=1e-4) for parts in zip(one, same, strict=True))


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (33, 65)])
def test_images_of_any_size_have_detections_and_losses(small, size):
    torch.manual_seed(0)
    net, images = small(2, score_threshold=0.0), [torch.rand(3, *size), torch.rand(3, 64, 64)]
    box = torch.tensor([[0.0, 0, size[1], size[0]]])
    target = Instances(box, torch.tensor([1]), torch.ones(1, *size).bool())
    losses = net.loss(images, [target, empty((64, 64))])
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    found, _ = net.eval()(images)
    assert found.masks.shape[1:] == size
    assert (found.boxes >= 0).all() and (found.boxes[:, 2:] <= box[0, 2:]).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_find_the_same(small, two_objects, dtype):
    torch.manual_seed(0)
    net, image = small(2, score_threshold=0.0, max_detections=1), torch.rand(2, 3, 91, 127)
    target = cropped(two_objects, (91, 127))
    target = target._replace(boxes=target.boxes.double(), labels=target.labels.to(torch.uint8))
    wanted = net.eval()(image)[0]
    net = net.to(dtype)
    found = net(image.to(dtype))[0]
    assert found.boxes.dtype == torch.promote_types(dtype, torch.float32)
    assert found.masks.shape == wanted.masks.shape == (1, 91, 127)
    assert torch.allclose(found.scores.float(), wanted.scores, atol=0.05)
    losses = net.loss(image.to(dtype), [target, target])
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())


def test_autocast_has_losses_and_detections(small, two_objects):
    torch.manual_seed(0)
    net, images = small(2, score_threshold=0.0), torch.rand(2, 3, *SIZE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = net.loss(images, [two_objects, two_objects])
        found = net.eval()(images)[0]
    sum(losses.values()).backward()
    assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in losses.values())
    assert found.boxes.dtype == torch.float32


@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_a_fraction_of_the_sampled_proposals_show_an_object(small, two_objects, fraction):
    options = {} if fraction == 0.25 else {"positive_fraction": fraction}
    net = small(2, box_batch_size_per_image=40, **options)
    good = two_objects.boxes.repeat(20, 1) + torch.rand(40, 1)
    boxes, matches = net.sample_proposals(torch.cat([good, good + 300]), two_objects)
    assert int((matches >= 0).sum()) == 40 * fraction and len(boxes) == 40


def test_proposals_between_the_thresholds_are_left_out(small, two_objects):
    half = torch.tensor([[10.0, 12, 40, 34]])  # IoU 0.55
    for low, high, wanted in ((0.5, 0.5, 0), (0.6, 0.6, -1), (0.5, 0.6, None)):
        net = small(2, fg_iou_threshold=high, bg_iou_threshold=low, positive_fraction=1.0)
        boxes, matches = net.sample_proposals(half, two_objects)
        own = matches[(boxes == half).all(dim=1)].tolist()
        assert own == ([] if wanted is None else [wanted])


@torch.no_grad()
def test_a_lower_threshold_suppresses_more(small):
    torch.manual_seed(0)
    few, many = (
        small(2, score_threshold=0.0, max_detections=1000, nms_threshold=t).eval()
        for t in (0.1, 0.9)
    )
    few.load_state_dict(many.state_dict())
    image = torch.rand(1, 3, *SIZE)
    assert len(few(image)[0].scores) < len(many(image)[0].scores)


# ── behaviour ───────────────────────────────────────────────────────────────────────────────────


def test_a_gradient_reaches_every_parameter(small, two_objects):
    torch.manual_seed(0)
    net = small(2)
    sum(net.loss(torch.rand(2, 3, *SIZE), [two_objects, two_objects]).values()).backward()
    unreached = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unreached


def test_an_image_without_objects_has_losses_and_a_finite_gradient(small, no_objects):
    net = small(2)
    losses = net.loss(torch.rand(2, 3, *SIZE), [no_objects, no_objects])
    sum(losses.values()).backward()
    assert losses["mask"] == losses["box"] == losses["rpn_box"] == 0 < losses["objectness"]
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_boxes_are_pooled_from_the_level_that_suits_their_size(small):
    net = small(2)
    seen = []
    net.crop = lambda level, boxes, size, spatial_scale: (
        seen.append((spatial_scale, len(boxes))) or level.new_zeros(len(boxes), 16, *size)
    )
    levels = [torch.zeros(16, 96 // s, 128 // s) for s in (4, 8, 16, 32, 64)]
    sides = torch.tensor([4.0, 11, 13, 23, 25, 47, 48, 95, 96])
    net.pool_rois(levels, torch.stack([0 * sides, 0 * sides, sides, sides], dim=1), 7)
    assert seen == [(1 / 4, 4), (1 / 8, 2), (1 / 16, 2), (1 / 32, 1)]


@pytest.mark.parametrize("crop", [mask_rcnn.roi_align, roi_pool])
def test_learns_two_objects(small, two_objects, crop):
    torch.manual_seed(0)
    target, image = two_objects, torch.zeros(2, 3, *SIZE)
    for mask, label in zip(target.masks, target.labels, strict=True):
        image[:, label + 1, mask] = 1.0
    net = small(2, crop=crop)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(120):
        loss = sum(net.loss(image, [target, target]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = net.eval()(image)[0]
    for index in range(2):
        overlap = box_iou(target.boxes[index, None], found.boxes)[0]
        best = int(torch.where(found.labels == target.labels[index], overlap, -1.0).argmax())
        pred, mask = found.masks[best] > 0.5, target.masks[index]
        assert found.scores[best] > 0.5
        assert (pred & mask).sum() / (pred | mask).sum() > 0.75


def test_detections_do_not_exceed_what_was_asked_for(small):
    net = small(2, score_threshold=0.0, max_detections=3).eval()
    found = net(torch.rand(2, 3, *SIZE))
    assert [len(each.scores) for each in found] == [3, 3]
    assert found[0].masks.shape == (3, *SIZE)
    assert (found[0].scores.diff() <= 0).all() and set(found[0].labels.tolist()) <= {0, 1}


@pytest.mark.parametrize(
    "change, error, remedy",
    [
        (dict(labels=lambda o: o.labels + 1), ValueError, "from 1 to 2: the background is no"),
        (dict(labels=lambda o: o.labels - 1), ValueError, "from 0 to 1, but these from -1 to 0"),
        (dict(boxes=lambda o: o.boxes[:, [2, 3, 0, 1]]), ValueError, "x1 >= x0"),
        (dict(boxes=lambda o: o.boxes + 300), ValueError, "lies outside its image of 96 x 128"),
        (dict(boxes=lambda o: o.boxes[:1]), ValueError, r"2 labels came with boxes \(1, 4\)"),
        (dict(masks=lambda o: o.masks[:, :9]), ValueError, "masks as large as the image"),
        (dict(masks=lambda o: o.masks.float()), TypeError, "float32: threshold them"),
    ],
)
def test_objects_that_do_not_fit_are_refused(small, two_objects, change, error, remedy):
    wrong = two_objects._replace(**{part: made(two_objects) for part, made in change.items()})
    with pytest.raises(error, match=remedy):
        small(2).loss(torch.rand(1, 3, *SIZE), [wrong])


def test_bad_calls_are_refused_with_the_remedy(small, two_objects):
    with pytest.raises(ValueError, match=r"num_classes=0.*at least 1 class"):
        MaskRCNN(0)
    with pytest.raises(ValueError, match=r"these have \(3, 96, 128\).*image\[None\]"):
        small(2)(torch.rand(3, *SIZE))
    with pytest.raises(ValueError, match="2 images came with the instances of 1"):
        small(2).loss(torch.rand(2, 3, *SIZE), [two_objects])
