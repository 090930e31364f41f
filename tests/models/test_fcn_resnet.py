"""FCN on dilated ResNets: torchvision's counts, shapes, and logits for equal weights."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.models import segmentation

from segcourse.models.fcn_resnet import FCNResNet

CLASSROOM = dict(layers=18, width=16, aux_loss=True)
TINY = dict(layers=18, width=4, aux_loss=True)


@pytest.mark.parametrize(
    "layers, auxiliary, count",
    [
        (50, False, 32_957_013),
        (101, False, 51_949_141),
        (50, True, 35_322_218),
        (101, True, 54_314_346),
    ],
)
def test_parameters_are_torchvisions(layers, auxiliary, count):
    with torch.device("meta"):
        net = FCNResNet(21, layers=layers, aux_loss=auxiliary)
    assert sum(p.numel() for p in net.parameters()) == count


def test_the_head_has_9_448_981_parameters():
    with torch.device("meta"):
        assert sum(p.numel() for p in FCNResNet(21).classifier.parameters()) == 9_448_981


def test_maps_of_an_image_of_520_pixels():
    with torch.device("meta"):
        net, image = FCNResNet(21, aux_loss=True), torch.empty(1, 3, 520, 520)
        *_, stage3, stage4 = net.backbone(image)
        assert stage4.shape == (1, 2048, 65, 65) and stage3.shape == (1, 1024, 65, 65)
        assert net.classifier(stage4).shape == net.aux_classifier(stage3).shape == (1, 21, 65, 65)
        assert [x.shape for x in net.all_logits(image)] == 2 * [(1, 21, 520, 520)]


@pytest.mark.parametrize("layers, size", [(50, (97, 130)), (101, (64, 80))])
def test_equal_weights_give_torchvisions_logits(layers, size):
    """In the order of computation; tests/porting/test_semantic.py does it by name."""
    torch.manual_seed(0)
    build = getattr(segmentation, f"fcn_resnet{layers}")
    theirs = build(weights=None, weights_backbone=None, num_classes=21, aux_loss=True).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.bias, std=0.1)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    with torch.device("meta"):
        ours = FCNResNet(21, layers=layers, aux_loss=True).eval()
    weights = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(weights), assign=True)
    image = torch.randn(1, 3, *size)
    with torch.no_grad():
        want, (auxiliary, logits) = theirs(image), ours.all_logits(image)
        assert torch.equal(ours(image), logits)
    assert want["out"].std() > 0.01
    assert (logits - want["out"]).abs().max() <= 1e-5
    assert (auxiliary - want["aux"]).abs().max() <= 1e-5


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_the_output_stride_is_that_of_the_features(output_stride):
    net = FCNResNet(3, output_stride=output_stride, **TINY).eval()
    image = torch.zeros(1, 3, 64, 96)
    assert net.backbone(image)[-1].shape[-2:] == (64 // output_stride, 96 // output_stride)
    assert net(image).shape == (1, 3, 64, 96)


@pytest.mark.parametrize("size", [(96, 128), (33, 70), (1, 5)])
def test_any_size(size):
    assert FCNResNet(5, **TINY).eval()(torch.zeros(2, 3, *size)).shape == (2, 5, *size)


def test_without_an_auxiliary_head_all_logits_are_the_networks_own():
    net, image = FCNResNet(4, layers=18, width=4).eval(), torch.randn(1, 3, 40, 48)
    (logits,) = net.all_logits(image)
    assert torch.equal(logits, net(image))


def test_a_gradient_reaches_every_parameter_of_both_heads():
    torch.manual_seed(0)
    net, target = FCNResNet(3, **TINY), torch.randint(3, (2, 48, 48))
    logits = net.all_logits(torch.randn(2, 3, 48, 48))
    sum(F.cross_entropy(x, target) for x in logits).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]


def test_the_auxiliary_loss_trains_all_stages_but_the_last():
    net = FCNResNet(3, **TINY)
    auxiliary, _ = net.all_logits(torch.randn(2, 3, 48, 48))
    auxiliary.square().mean().backward()
    *earlier, last = net.backbone.stages
    stages = [net.backbone.conv1, net.backbone.bn1, *earlier]
    assert all(p.grad.any() for stage in stages for p in stage.parameters())
    assert all(p.grad is None for p in [*last.parameters(), *net.classifier.parameters()])


def test_learns_to_copy_a_coarse_mask(overfit):
    torch.manual_seed(0)
    target = torch.randint(0, 2, (2, 4, 4)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    image = target[:, None].float().repeat(1, 3, 1, 1)
    net = FCNResNet(2, **{**CLASSROOM, "width": 8})
    overfit(net, lambda: sum(F.cross_entropy(logits, target) for logits in net.all_logits(image)))
    assert (net(image).argmax(dim=1) == target).float().mean() > 0.9


@pytest.mark.parametrize(
    "wrong, remedy",
    [
        (dict(num_classes=0), "1 class"),
        (dict(layers=49), "choose one of"),
        (dict(width=0), "at least 1"),
        (dict(output_stride=4), "choose one of"),
    ],
)
def test_networks_that_cannot_be_are_refused_with_the_remedy(wrong, remedy):
    with pytest.raises(ValueError, match=remedy):
        FCNResNet(**{"num_classes": 3, "layers": 18, "width": 4, **wrong})


def test_an_image_without_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 48, 48\).*image\[None\]"):
        FCNResNet(3, **TINY)(torch.zeros(3, 48, 48))
