"""Values and gradients against SMP, golden numbers, and cases done by hand."""

import pytest
import torch
from segmentation_models_pytorch.losses import LovaszLoss

from segcourse.losses.lovasz import (
    lovasz_hinge_loss,
    lovasz_softmax_loss,
    lovasz_sum,
    lovasz_weights,
)
from segcourse.ops.labels import IGNORE


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


def assert_same(ours, theirs, logits, tolerance=1e-8):
    assert ours.item() == pytest.approx(theirs.item(), abs=tolerance)
    assert torch.allclose(gradient(ours, logits), gradient(theirs, logits), atol=tolerance, rtol=0)


def test_lovasz_golden_values_in_float32(x, t, ti, z, y):
    """The goldens were taken in float32, which moves the seventh digit."""
    loss = lovasz_softmax_loss(x, t)
    assert loss.item() == pytest.approx(0.75697392, abs=1e-7)
    assert gradient(loss, x).norm().item() == pytest.approx(0.03104429, abs=1e-8)
    assert lovasz_softmax_loss(x, t, per_image=True).item() == pytest.approx(0.75685763, abs=1e-7)
    assert lovasz_softmax_loss(x, ti).item() == pytest.approx(0.76788235, abs=1e-7)
    assert lovasz_hinge_loss(z, y).item() == pytest.approx(1.78236341, abs=2e-7)
    assert lovasz_hinge_loss(z, y, per_image=True).item() == pytest.approx(1.78177798, abs=2e-7)


def zero_in_second(t):
    return torch.stack([t[0], 0 * t[1]])


ORACLES = {
    "smp lovasz": (lovasz_softmax_loss, LovaszLoss("multiclass"), "x t", 1e-6),
    "smp lovasz, per image": (
        lambda x, t: lovasz_softmax_loss(x, t, per_image=True),
        LovaszLoss("multiclass", per_image=True),
        "x t",
        1e-6,
    ),
    "smp lovasz, void": (
        lovasz_softmax_loss,
        LovaszLoss("multiclass", ignore_index=IGNORE),
        "x ti",
        1e-6,
    ),
    "smp lovasz, absent classes in the second image": (
        lambda x, t: lovasz_softmax_loss(x, zero_in_second(t), per_image=True),
        lambda x, t: LovaszLoss("multiclass", per_image=True)(x, zero_in_second(t)),
        "x t",
        1e-6,
    ),
    "smp hinge, per image": (
        lambda z, y: lovasz_hinge_loss(z, y, per_image=True),
        LovaszLoss("binary", per_image=True),
        "z y",
        1e-6,
    ),
    "smp hinge": (lovasz_hinge_loss, LovaszLoss("binary"), "z y", 1e-6),
}


@pytest.mark.parametrize("ours, oracle, arguments, tolerance", ORACLES.values(), ids=ORACLES)
def test_values_and_gradients_agree_with(ours, oracle, arguments, tolerance, request):
    logits, target = (request.getfixturevalue(name) for name in arguments.split())
    logits = logits.detach().float().requires_grad_()  # SMP's fails in float64
    target_for_them = target[:, None].to(logits.dtype) if arguments == "z y" else target
    assert_same(ours(logits, target), oracle(logits, target_for_them), logits, tolerance)


def test_weights_by_hand():
    target = torch.tensor([1.0, 0, 1, 0])
    assert lovasz_weights(target).tolist() == pytest.approx([1 / 2, 1 / 6, 1 / 3, 0])
    assert lovasz_sum(torch.tensor([0.9, 0.6, 0.3, 0.1]), target).item() == pytest.approx(0.65)


def test_hard_predictions_give_one_minus_iou():
    torch.manual_seed(0)
    target, guess = torch.randint(2, (2, 1, 6, 6))
    loss = lovasz_softmax_loss(200.0 * (guess[:, None] - 0.5), target)
    iou = (target & guess).sum() / (target | guess).sum()
    assert loss.item() == pytest.approx(1 - iou.item())


def test_an_image_of_void_is_left_out(x, t):
    t[1] = IGNORE
    assert_same(lovasz_softmax_loss(x, t, per_image=True), lovasz_softmax_loss(x[:1], t[:1]), x)


def test_works_in_half_precision_where_smp_fails(x, t):
    half = x.detach().half()
    assert lovasz_softmax_loss(half, t).item() == pytest.approx(0.757, abs=1e-3)
    with pytest.raises(RuntimeError):
        LovaszLoss("multiclass")(x, t)  # float64 against float32


def test_reductions_and_weights(x, t):
    each = lovasz_softmax_loss(x, t, reduction="none")
    images = lovasz_softmax_loss(x, t, reduction="none", per_image=True)
    assert each.shape == (3,) and images.shape == (2, 3)
    assert torch.equal(images[0], lovasz_softmax_loss(x[:1], t[:1], reduction="none"))
    assert lovasz_softmax_loss(x, t, reduction="sum").item() == pytest.approx(each.sum().item())
    weight = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    weighted = lovasz_softmax_loss(x, t, weight=weight)
    assert weighted.item() == pytest.approx((each @ weight).item() / 7)
    background_missing = lovasz_softmax_loss(x, t, include_background=False, reduction="none")
    assert torch.equal(background_missing, each[1:])
    with pytest.raises(ValueError, match="3 weights"):
        lovasz_softmax_loss(x, t, weight=weight[:2])


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("loss", [lovasz_softmax_loss, lovasz_hinge_loss])
def test_a_multilabel_target_is_one_binary_problem_per_channel(x, loss, per_image):
    masks = (torch.arange(96) * 5 // 3 % 3 > 0).long().reshape(2, 3, 4, 4)
    masks[0, 1, 2:] = IGNORE
    how = dict(per_image=per_image, reduction="none")
    found = loss(x, masks, multilabel=True, **how)
    single = [loss(x[:, k : k + 1], masks[:, k], **how) for k in range(3)]
    assert torch.equal(found, torch.cat(single, dim=-1))


def test_hinge_gives_one_value_per_image(z, y):
    assert lovasz_hinge_loss(z, y, reduction="none").shape == (1,)
    images = lovasz_hinge_loss(z, y, reduction="none", per_image=True)
    assert images.shape == (2, 1)
    assert images[1, 0].item() == pytest.approx(lovasz_hinge_loss(z[1:], y[1:]).item())
