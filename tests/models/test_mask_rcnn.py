"""Mask R-CNN: the published counts and shapes, torchvision's detections and losses, learning."""

from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models.detection import maskrcnn_resnet50_fpn

from segcourse.models import mask_rcnn, rpn
from segcourse.models.mask_rcnn import MaskRCNN
from segcourse.ops.boxes import box_iou
from segcourse.ops.roi import paste_rounded, roi_pool
from segcourse.porting import mask_rcnn_from_torchvision

SIZE = (96, 128)


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
    assert count(net) - count(net.mask_head) == 41_808_406  # Faster R-CNN
    assert count(net) - count(net.mask_head) - normalisation == 41_755_286
    assert count(net.backbone) + count(net.pyramid) == 26_852_416
    assert count(net.rpn) == 593_935
    assert count(net.box_head.layers) == 13_895_680
    assert count(net.box_head.score) + count(net.box_head.delta) == 466_375
    assert count(net.mask_head.layers) == 2_360_320
    assert count(net.mask_head.enlarge) + count(net.mask_head.score) == 285_787


def test_shapes_of_an_image_of_800_by_1088():
    with torch.device("meta"):
        net = MaskRCNN(90)
        levels = net.levels(torch.empty(1, 3, 800, 1088))
        assert sum(len(each) for each in net.rpn.anchors(levels, (800, 1088))) == 217_413
        assert net.mask_head(torch.empty(5, 256, 14, 14)).shape == (5, 91, 28, 28)


def torchvisions(**options: object) -> nn.Module:
    """The reference, with weights that give many different detections."""
    torch.manual_seed(0)
    net = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=96, max_size=128,
        image_mean=[0.0] * 3, image_std=[1.0] * 3, **options,
    )  # fmt: skip
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.startswith(("rpn.head", "roi_heads.box_predictor")) and value.ndim > 1:
            value.normal_(std=0.3 / value[0].numel() ** 0.5)
        elif name.startswith("backbone.fpn"):
            value.mul_(0.01)  # unnormalised depth has made the features large
    return net


@torch.no_grad()
def test_detections_are_torchvisions():
    theirs = torchvisions(box_score_thresh=0.05).eval()
    ours = MaskRCNN(3, paste=paste_rounded).eval()
    ours.load_state_dict(mask_rcnn_from_torchvision(theirs.state_dict()))
    images = torch.rand(2, 3, *SIZE)
    for got, want in zip(ours(images), theirs(list(images)), strict=True):
        assert len(got.boxes) == len(want["boxes"]) > 10
        assert torch.equal(got.labels, want["labels"])
        assert torch.allclose(got.boxes, want["boxes"], atol=1e-2)
        assert torch.allclose(got.scores, want["scores"], atol=1e-4)
        assert torch.allclose(got.masks, want["masks"][:, 0], atol=1e-3)


def test_losses_are_torchvisions_where_all_regions_are_looked_at(
    monkeypatch, two_objects, no_objects
):
    many = 10**6
    monkeypatch.setattr(rpn, "LOOKED_AT", many)
    theirs = torchvisions(
        rpn_batch_size_per_image=many, box_batch_size_per_image=many, box_positive_fraction=0.25,
        rpn_pre_nms_top_n_train=1000, rpn_post_nms_top_n_train=1000,
    ).train()  # fmt: skip
    ours = MaskRCNN(3, regions=many)
    ours.load_state_dict(mask_rcnn_from_torchvision(theirs.state_dict()))
    images, truth = torch.rand(2, 3, *SIZE), [two_objects, no_objects]
    targets = [{"boxes": t.boxes, "labels": t.labels, "masks": t.masks.byte()} for t in truth]
    wanted = theirs(list(images), targets)
    got = ours.loss(images, truth)
    names = {"objectness": "loss_objectness", "rpn_box": "loss_rpn_box_reg",
             "class": "loss_classifier", "box": "loss_box_reg", "mask": "loss_mask"}  # fmt: skip
    assert got.keys() == names.keys()
    for own, name in names.items():
        assert got[own].item() == pytest.approx(wanted[name].item(), rel=1e-3), own


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


def test_boxes_are_cut_from_the_level_that_suits_their_size(small):
    net = small(2)
    seen = []
    net.crop = lambda level, boxes, size, spatial_scale: (
        seen.append((spatial_scale, len(boxes))) or level.new_zeros(len(boxes), 16, *size)
    )
    levels = [torch.zeros(16, 96 // s, 128 // s) for s in (4, 8, 16, 32, 64)]
    sides = torch.tensor([4.0, 11, 13, 23, 25, 47, 48, 95, 96])
    net.cut(levels, torch.stack([0 * sides, 0 * sides, sides, sides], dim=1), 7)
    assert seen == [(1 / 4, 4), (1 / 8, 2), (1 / 16, 2), (1 / 32, 1)]


@pytest.mark.parametrize("crop", [mask_rcnn.roi_align, roi_pool])
def test_learns_two_objects(small, two_objects, crop):
    torch.manual_seed(0)
    truth, image = two_objects, torch.zeros(2, 3, *SIZE)
    for mask, label in zip(truth.masks, truth.labels, strict=True):
        image[:, label, mask] = 1.0
    net = small(2, crop=crop)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(120):
        loss = sum(net.loss(image, [truth, truth]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = net.eval()(image)[0]
    for index in range(2):
        overlap = box_iou(truth.boxes[index, None], found.boxes)[0]
        best = int(torch.where(found.labels == truth.labels[index], overlap, -1.0).argmax())
        drawn, mask = found.masks[best] > 0.5, truth.masks[index]
        assert found.scores[best] > 0.5
        assert (drawn & mask).sum() / (drawn | mask).sum() > 0.75


def test_detections_do_not_exceed_what_was_asked_for(small):
    net = small(2, score_threshold=0.0, most=3).eval()
    found = net(torch.rand(2, 3, *SIZE))
    assert [len(each.scores) for each in found] == [3, 3]
    assert found[0].masks.shape == (3, *SIZE)
    assert (found[0].scores.diff() <= 0).all() and (found[0].labels >= 1).all()


@pytest.mark.parametrize(
    "change, error, remedy",
    [
        (dict(labels=lambda o: o.labels - 1), ValueError, "from 0 to 1: 0 is the background"),
        (
            dict(labels=lambda o: torch.tensor([1, 3])),
            ValueError,
            "from 1 to 2, but these from 1 to 3",
        ),
        (dict(boxes=lambda o: o.boxes[:, [2, 3, 0, 1]]), ValueError, "corners are swapped"),
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
    with pytest.raises(ValueError, match=r"shape \(3, 96, 128\).*image\[None\]"):
        small(2)(torch.rand(3, *SIZE))
    with pytest.raises(ValueError, match="2 images came with the objects of 1"):
        small(2).loss(torch.rand(2, 3, *SIZE), [two_objects])
