"""Region proposals: torchvision's proposals and losses with equal weights, and what is refused."""

import math
import re

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from segcourse.blocks.rpn import RPN
from segcourse.ops.boxes import box_iou

ANCHOR_SIZES, STRIDES, SIZE, MANY = (16, 32), (8, 16), (64, 96), 10**6
SIZES = [SIZE, (57, 90)]
BOXES = [torch.tensor([[4.0, 4, 30, 22], [40, 20, 70, 60]]), torch.zeros(0, 4)]


def pair(top_n: tuple[int, int], **options: object) -> tuple[RPN, RegionProposalNetwork]:
    """Ours and torchvision's, with equal weights."""
    torch.manual_seed(0)
    before, after = ({"training": n, "testing": n} for n in top_n)
    ours = RPN(8, STRIDES, anchor_sizes=ANCHOR_SIZES, pre_nms_top_n=top_n[0],
               post_nms_top_n=top_n[1], batch_size_per_image=MANY, **options)  # fmt: skip
    theirs = RegionProposalNetwork(
        AnchorGenerator(tuple((size,) for size in ANCHOR_SIZES), ((0.5, 1.0, 2.0),) * 2),
        RPNHead(8, 3), ours.fg_iou_threshold, ours.bg_iou_threshold, MANY, 0.5, before, after,
        ours.nms_threshold,
    )  # fmt: skip
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    weights = {re.sub(r"conv\.", "conv.0.0.", key): x for key, x in ours.state_dict().items()}
    theirs.load_state_dict(weights)
    return ours, theirs


def pyramid() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 8, SIZE[0] // s, SIZE[1] // s, generator=generator) for s in STRIDES]


def test_parameters_of_the_papers_size():
    assert sum(p.numel() for p in RPN(256, (4, 8, 16, 32, 64)).parameters()) == 593_935


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"nms_threshold": 0.3}])
@pytest.mark.parametrize("top_n", [(1000, 1000), (20, 7)])
def test_proposals_are_torchvisions(top_n, options):
    ours, theirs = pair(top_n, **options)
    levels = pyramid()
    images = ImageList(torch.zeros(2, 3, *SIZE), SIZES)
    wanted, _ = theirs.eval()(images, {str(i): level for i, level in enumerate(levels)})
    for got, want in zip(ours(levels, SIZES), wanted, strict=True):
        assert got.shape == want.shape and len(got) <= top_n[1]
        assert torch.allclose(got, want, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"fg_iou_threshold": 0.5, "bg_iou_threshold": 0.2}])
def test_losses_are_torchvisions_where_all_anchors_are_sampled(options):
    ours, theirs = pair((1000, 1000), **options)
    levels = pyramid()
    images = ImageList(torch.zeros(2, 3, *SIZE), SIZES)
    targets = [{"boxes": boxes} for boxes in BOXES]
    _, wanted = theirs.train()(images, {str(i): x for i, x in enumerate(levels)}, targets)
    losses, proposals = ours.loss(levels, SIZES, BOXES)
    assert losses["objectness"].item() == pytest.approx(wanted["loss_objectness"].item(), rel=1e-5)
    assert losses["rpn_box"].item() == pytest.approx(wanted["loss_rpn_box_reg"].item(), rel=1e-5)
    assert all(not boxes.requires_grad for boxes in proposals)


@pytest.mark.parametrize("size", [(427, 640), (96, 130), (75, 101), (1, 1)])
def test_anchors_stand_over_the_pixels_that_their_features_see(size):
    """Position n of a map of stride s lies over pixel n * s, whatever the size of the image."""
    strides = (4, 8, 16, 32, 64)
    levels = [torch.zeros(1, 8, -(-size[0] // s), -(-size[1] // s)) for s in strides]
    for level, anchors, stride in zip(
        levels, RPN(8, strides).anchors(levels), strides, strict=True
    ):
        rows, columns = level.shape[-2:]
        centres = ((anchors[:, :2] + anchors[:, 2:]) / 2).unflatten(0, (rows, columns, 3))
        for row, column in ((0, 0), (rows - 1, columns - 1), (rows // 2, columns // 3)):
            wanted = torch.tensor([column * stride, row * stride])
            assert torch.equal(centres[row, column].long(), wanted.expand(3, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_anchors_are_exact_in_half_precision(dtype):
    levels = [torch.zeros(1, 8, 300, 300, dtype=dtype)]
    [anchors] = RPN(8, [8], anchor_sizes=[512]).to(dtype).anchors(levels)
    assert anchors.dtype == torch.promote_types(dtype, torch.float32)
    assert anchors[-2].tolist() == [299 * 8 - 256, 299 * 8 - 256, 299 * 8 + 256, 299 * 8 + 256]


@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_a_fraction_of_the_sampled_anchors_are_objects(fraction):
    """All logits are 2, so the mean loss says how many of eight anchors were objects."""
    net = RPN(8, STRIDES, anchor_sizes=ANCHOR_SIZES, fg_iou_threshold=0.3, bg_iou_threshold=0.1,
              batch_size_per_image=8, positive_fraction=fraction)  # fmt: skip
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(net.head.cls_logits.bias, 2.0)
    losses, _ = net.loss(pyramid(), SIZES, [BOXES[0], BOXES[0]])
    object_loss, background_loss = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    wanted = fraction * object_loss + (1 - fraction) * background_loss
    assert losses["objectness"].item() == pytest.approx(wanted, rel=1e-5)


def test_half_of_256_anchors_are_objects_unless_told_otherwise():
    net = RPN(8, STRIDES, anchor_sizes=ANCHOR_SIZES)
    assert (net.batch_size_per_image, net.positive_fraction) == (256, 0.5)
    assert (net.fg_iou_threshold, net.bg_iou_threshold, net.nms_threshold) == (0.7, 0.3, 0.7)


def test_an_object_outside_of_the_image_claims_no_anchor():
    net, _ = pair((1000, 1000))
    outside, none = torch.tensor([[300.0, 300, 340, 350]]), torch.zeros(0, 4)
    wanted, _ = net.loss(pyramid(), SIZES, [none, none])
    found, _ = net.loss(pyramid(), SIZES, [outside, outside])
    assert found["rpn_box"] == wanted["rpn_box"] == 0
    assert found["objectness"].item() == pytest.approx(wanted["objectness"].item(), rel=1e-5)


def test_learns_where_two_objects_are():
    torch.manual_seed(0)
    net, levels = RPN(8, STRIDES, anchor_sizes=ANCHOR_SIZES), pyramid()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(120):
        losses, _ = net.loss(levels, SIZES, BOXES)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    best = net(levels, SIZES)[0][:4]
    assert (box_iou(BOXES[0], best).amax(dim=1) > 0.7).all()


def test_ratios_say_how_many_anchors_a_position_has_and_how_tall_they_are():
    net = RPN(8, (8,), anchor_sizes=(16,), aspect_ratios=(1.0, 9.0))
    level = torch.zeros(1, 8, 2, 3)
    logits, deltas = net.head([level])
    [anchors] = net.anchors([level])
    assert logits[0].shape == (1, 12) and deltas[0].shape == (1, 12, 4) and len(anchors) == 12
    assert anchors[:2].tolist() == [[-8, -8, 8, 8], [-3, -24, 3, 24]]


def test_what_cannot_propose_is_refused():
    with pytest.raises(ValueError, match=r"pre_nms_top_n=0, post_nms_top_n=5\).* above 0"):
        RPN(8, STRIDES, anchor_sizes=ANCHOR_SIZES, pre_nms_top_n=0, post_nms_top_n=5)
    with pytest.raises(ValueError, match=r"anchor_sizes=\(16,\).*\(8, 16\): give each level one"):
        RPN(8, STRIDES, anchor_sizes=(16,))
