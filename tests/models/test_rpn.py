"""Region proposals: torchvision's proposals and losses with equal weights, and what is refused."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from segcourse.models import rpn
from segcourse.models.rpn import RPN
from segcourse.ops.boxes import box_iou

SIDES, SIZE, MANY = (16, 32), (64, 96), 10**6
BOXES = [torch.tensor([[4.0, 4, 30, 22], [40, 20, 70, 60]]), torch.zeros(0, 4)]


def pair(proposals: tuple[int, int]) -> tuple[RPN, RegionProposalNetwork]:
    """Ours and torchvision's, with equal weights."""
    torch.manual_seed(0)
    ours = RPN(8, SIDES, proposals=proposals)
    before, after = ({"training": n, "testing": n} for n in proposals)
    theirs = RegionProposalNetwork(
        AnchorGenerator(tuple((side,) for side in SIDES), ((0.5, 1.0, 2.0),) * 2),
        RPNHead(8, 3), 0.7, 0.3, MANY, 0.5, before, after, 0.7,
    )  # fmt: skip
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    weights = zip(theirs.state_dict(), ours.state_dict().values(), strict=True)
    theirs.load_state_dict(dict(weights))
    return ours, theirs


def pyramid() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 8, SIZE[0] // s, SIZE[1] // s, generator=generator) for s in (8, 16)]


def test_parameters_of_the_papers_size():
    assert sum(p.numel() for p in RPN(256, (32, 64, 128, 256, 512)).parameters()) == 593_935


@torch.no_grad()
@pytest.mark.parametrize("proposals", [(1000, 1000), (20, 7)])
def test_proposals_are_torchvisions(proposals):
    ours, theirs = pair(proposals)
    levels = pyramid()
    images = ImageList(torch.zeros(2, 3, *SIZE), [SIZE] * 2)
    wanted, _ = theirs.eval()(images, {str(i): level for i, level in enumerate(levels)})
    for got, want in zip(ours.propose(levels, SIZE), wanted, strict=True):
        assert got.shape == want.shape and len(got) <= proposals[1]
        assert torch.allclose(got, want, atol=1e-3)


def test_losses_are_torchvisions_where_all_anchors_are_looked_at(monkeypatch):
    monkeypatch.setattr(rpn, "LOOKED_AT", MANY)
    ours, theirs = pair((1000, 1000))
    levels = pyramid()
    images = ImageList(torch.zeros(2, 3, *SIZE), [SIZE] * 2)
    targets = [{"boxes": boxes} for boxes in BOXES]
    _, wanted = theirs.train()(images, {str(i): x for i, x in enumerate(levels)}, targets)
    losses, proposals = ours.loss(levels, SIZE, BOXES)
    assert losses["objectness"].item() == pytest.approx(wanted["loss_objectness"].item(), rel=1e-5)
    assert losses["rpn_box"].item() == pytest.approx(wanted["loss_rpn_box_reg"].item(), rel=1e-5)
    assert all(not boxes.requires_grad for boxes in proposals)


def test_learns_where_two_objects_are():
    torch.manual_seed(0)
    net, levels = RPN(8, SIDES), pyramid()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(120):
        losses, _ = net.loss(levels, SIZE, BOXES)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    best = net.propose(levels, SIZE)[0][:4]
    assert (box_iou(BOXES[0], best).amax(dim=1) > 0.7).all()


def test_ratios_say_how_many_anchors_a_cell_has_and_how_tall_they_are():
    net = RPN(8, (16,), ratios=(1.0, 9.0))
    level = torch.zeros(1, 8, 2, 3)
    scores, deltas = net([level])
    [anchors] = net.anchors([level], (16, 24))
    assert scores[0].shape == (1, 12) and deltas[0].shape == (1, 12, 4) and len(anchors) == 12
    assert anchors[:2].tolist() == [[-8, -8, 8, 8], [-3, -24, 3, 24]]


def test_no_proposals_are_refused():
    with pytest.raises(ValueError, match=r"proposals=\(0, 5\).* above 0"):
        RPN(8, SIDES, proposals=(0, 5))
