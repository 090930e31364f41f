"""Values and gradients against SMP and MONAI, golden numbers, and cases done by hand."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss, GeneralizedDiceLoss
from monai.losses import DiceLoss as MonaiDice
from monai.losses import TverskyLoss as MonaiTversky
from segmentation_models_pytorch.losses import (
    DiceLoss,
    JaccardLoss,
    TverskyLoss,
)
from torchmetrics.functional.segmentation import dice_score, mean_iou

from segcourse.losses.overlap import (
    dice_loss,
    focal_tversky_loss,
    generalized_dice_loss,
    jaccard_loss,
    log_cosh_dice_loss,
    log_dice_loss,
    tversky_loss,
)
from segcourse.losses.pixelwise import balanced_cross_entropy, cross_entropy
from segcourse.ops.labels import IGNORE

WEIGHT = [0.5, 1.0, 2.0]
EXACT = dict(softmax=True, to_onehot_y=True, smooth_nr=0, smooth_dr=0)


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


def assert_same(ours, theirs, logits, tolerance=1e-8):
    assert ours.item() == pytest.approx(theirs.item(), abs=tolerance)
    assert torch.allclose(gradient(ours, logits), gradient(theirs, logits), atol=tolerance, rtol=0)


GOLDEN = {
    "dice_loss": (dice_loss, "x t", 0.687884, 0.03779438),
    "dice, textbook": (lambda x, t: dice_loss(x, t, smooth=1), "x t", 0.65688821, None),
    "dice, smp smooth 1": (lambda x, t: dice_loss(x, t, smooth=2), "x t", 0.6285728, None),
    "dice per image": (
        lambda x, t: dice_loss(x, t, per_image=True, smooth=1e-5),
        "x t",
        0.68812931,
        None,
    ),
    "dice, void": (dice_loss, "x ti", 0.70414734, None),
    "dice squared": (lambda x, t: dice_loss(x, t, squared=True), "x t", 0.61372943, None),
    "dice binary": (dice_loss, "z y", 0.53649139, 0.03507706),
    "log dice": (log_dice_loss, "x t", 1.18360582, None),
    "log-cosh dice": (log_cosh_dice_loss, "z y", 0.1374955, None),
    "jaccard_loss": (jaccard_loss, "x t", 0.81359923, 0.02624525),
    "tversky_loss": (tversky_loss, "x t", 0.68615517, 0.03751669),
    "focal tversky": (focal_tversky_loss, "x t", 0.75318994, None),
    "bce + dice": (lambda z, y: cross_entropy(z, y) + dice_loss(z, y), "z y", 1.4718377, None),
    "dice + ce": (
        lambda x, t: dice_loss(x, t, per_image=True, smooth=1e-5) + cross_entropy(x, t),
        "x t",
        2.37248293,
        None,
    ),
    "combo": (
        lambda z, y: 0.25 * cross_entropy(z, y) - 0.5 * (1 - dice_loss(z, y, smooth=0)),
        "z y",
        None,
        None,
    ),
}


@pytest.mark.parametrize("loss, arguments, value, norm", GOLDEN.values(), ids=GOLDEN)
def test_golden_values_and_gradient_norms(loss, arguments, value, norm, request):
    logits, target = (request.getfixturevalue(name) for name in arguments.split())
    result = loss(logits, target)
    if value is not None:
        assert result.item() == pytest.approx(value, abs=1e-8)
    if norm is not None:
        assert gradient(result, logits).norm().item() == pytest.approx(norm, abs=1e-8)


def test_losses_of_every_class(x, t):
    dice = 1 - dice_loss(x, t, reduction="none")
    jaccard = 1 - jaccard_loss(x, t, reduction="none")
    tversky = 1 - tversky_loss(x, t, reduction="none")
    assert dice.tolist() == pytest.approx([0.31729359, 0.23637733, 0.38267708])
    assert jaccard.tolist() == pytest.approx([0.18856147, 0.13402942, 0.23661142])
    assert tversky.tolist() == pytest.approx([0.32052677, 0.22605494, 0.39495279])


def test_combo_is_a_plain_sum(z, y):
    """Weighted cross-entropy with beta = 1/2 on both classes is half the cross-entropy."""
    half, score = 0.5 * cross_entropy(z, y), 1 - dice_loss(z, y)
    assert (half.item(), score.item()) == pytest.approx((0.46767316, 0.46350861), abs=1e-8)
    assert (0.5 * half - 0.5 * score).item() == pytest.approx(0.00208227, abs=1e-8)
    assert balanced_cross_entropy(z, y) < half


ORACLES = {
    "smp dice": (dice_loss, DiceLoss("multiclass"), "x t", 1e-8),
    "smp dice, smooth counts twice": (
        lambda x, t: dice_loss(x, t, smooth=2),
        DiceLoss("multiclass", smooth=1),
        "x t",
        1e-8,
    ),
    "smp dice, weighted": (
        lambda x, t: dice_loss(x, t, weight=WEIGHT),
        DiceLoss("multiclass", class_weights=WEIGHT),
        "x t",
        1e-8,
    ),
    "smp dice, void": (dice_loss, DiceLoss("multiclass", ignore_index=IGNORE), "x ti", 1e-8),
    "smp log dice": (log_dice_loss, DiceLoss("multiclass", log_loss=True), "x t", 1e-8),
    "smp dice, binary": (dice_loss, DiceLoss("binary"), "z y", 1e-8),
    "smp jaccard": (jaccard_loss, JaccardLoss("multiclass"), "x t", 1e-8),
    "smp jaccard, whose smooth is ours": (
        lambda x, t: jaccard_loss(x, t, smooth=3),
        JaccardLoss("multiclass", smooth=3),
        "x t",
        1e-8,
    ),
    "smp tversky": (tversky_loss, TverskyLoss("multiclass", alpha=0.3, beta=0.7), "x t", 1e-8),
    "monai dice": (dice_loss, MonaiDice(batch=True, **EXACT), "x t", 1e-8),
    "monai dice, per image": (
        lambda x, t: dice_loss(x, t, per_image=True),
        MonaiDice(batch=False, **EXACT),
        "x t",
        1e-8,
    ),
    "monai squared": (
        lambda x, t: dice_loss(x, t, squared=True),
        MonaiDice(batch=True, squared_pred=True, softmax=True, to_onehot_y=True),
        "x t",
        1e-6,
    ),
    "monai jaccard": (jaccard_loss, MonaiDice(jaccard=True, batch=True, **EXACT), "x t", 1e-8),
    "monai jaccard, whose smooth is twice ours": (
        lambda x, t: jaccard_loss(x, t, smooth=3),
        MonaiDice(jaccard=True, batch=True, **EXACT | dict(smooth_nr=6, smooth_dr=6)),
        "x t",
        1e-8,
    ),
    "monai tversky": (
        tversky_loss,
        MonaiTversky(alpha=0.3, beta=0.7, batch=True, **EXACT),
        "x t",
        1e-8,
    ),
    "monai dice, whose smooth is ours": (
        lambda x, t: dice_loss(x, t, smooth=3),
        MonaiDice(batch=True, **EXACT | dict(smooth_nr=3, smooth_dr=3)),
        "x t",
        1e-8,
    ),
    "monai tversky, whose smooth is ours": (
        lambda x, t: tversky_loss(x, t, smooth=3),
        MonaiTversky(alpha=0.3, beta=0.7, batch=True, **EXACT | dict(smooth_nr=3, smooth_dr=3)),
        "x t",
        1e-8,
    ),
    "monai dice, no background": (
        lambda x, t: dice_loss(x, t, include_background=False),
        MonaiDice(batch=True, include_background=False, **EXACT),
        "x t",
        1e-8,
    ),
    "monai jaccard, per image, no background": (
        lambda x, t: jaccard_loss(x, t, include_background=False, per_image=True),
        MonaiDice(jaccard=True, include_background=False, **EXACT),
        "x t",
        1e-8,
    ),
    "monai tversky, no background": (
        lambda x, t: tversky_loss(x, t, include_background=False),
        MonaiTversky(alpha=0.3, beta=0.7, batch=True, include_background=False, **EXACT),
        "x t",
        1e-8,
    ),
    "monai dice, sum": (
        lambda x, t: dice_loss(x, t, per_image=True, reduction="sum"),
        MonaiDice(reduction="sum", **EXACT),
        "x t",
        1e-8,
    ),
    "monai generalised, no background": (
        lambda x, t: generalized_dice_loss(x, t, per_image=True, include_background=False),
        GeneralizedDiceLoss(include_background=False, **EXACT),
        "x t",
        1e-7,
    ),
    "monai generalised, sum": (
        lambda x, t: generalized_dice_loss(x, t, per_image=True, reduction="sum"),
        GeneralizedDiceLoss(reduction="sum", **EXACT),
        "x t",
        1e-7,
    ),
    "monai generalised": (
        lambda x, t: generalized_dice_loss(x, t, per_image=True),
        GeneralizedDiceLoss(**EXACT),
        "x t",
        1e-7,
    ),
    "monai dice + ce": (
        lambda x, t: dice_loss(x, t, per_image=True, smooth=1e-5) + cross_entropy(x, t),
        DiceCELoss(softmax=True, to_onehot_y=True, lambda_dice=1, lambda_ce=1),
        "x t",
        1e-7,
    ),
}


@pytest.mark.parametrize("ours, oracle, arguments, tolerance", ORACLES.values(), ids=ORACLES)
def test_values_and_gradients_agree_with(ours, oracle, arguments, tolerance, request):
    logits, target = (request.getfixturevalue(name) for name in arguments.split())
    if "monai" in type(oracle).__module__:
        target_for_them = target[:, None]
    elif arguments == "z y":
        target_for_them = target[:, None].to(logits.dtype)
    else:
        target_for_them = target
    assert_same(ours(logits, target), oracle(logits, target_for_them), logits, tolerance)


@pytest.fixture
def masks():
    """Masks of three classes that overlap, of which one is void in part."""
    masks = (torch.arange(96) * 5 // 3 % 3 > 0).long().reshape(2, 3, 4, 4)
    masks[0, 1, 2:] = IGNORE
    return masks


MULTILABEL = {
    "smp dice": (dice_loss, DiceLoss("multilabel", ignore_index=IGNORE)),
    "smp log dice": (log_dice_loss, DiceLoss("multilabel", log_loss=True, ignore_index=IGNORE)),
    "smp jaccard": (jaccard_loss, JaccardLoss("multilabel", ignore_index=IGNORE)),
    "smp tversky": (
        tversky_loss,
        TverskyLoss("multilabel", alpha=0.3, beta=0.7, ignore_index=IGNORE),
    ),
    "smp weights": (
        partial(dice_loss, weight=WEIGHT),
        DiceLoss("multilabel", class_weights=WEIGHT, ignore_index=IGNORE),
    ),
    "monai dice": (
        partial(dice_loss, include_background=False),
        MonaiDice(sigmoid=True, include_background=False, batch=True, smooth_nr=0, smooth_dr=0),
    ),
    "monai generalised": (
        partial(generalized_dice_loss, per_image=True),
        GeneralizedDiceLoss(sigmoid=True, smooth_nr=0, smooth_dr=0),
    ),
}


@pytest.mark.parametrize("ours, oracle", MULTILABEL.values(), ids=MULTILABEL)
def test_multilabel_targets_agree_with(ours, oracle, x, masks):
    if "monai" in type(oracle).__module__:
        masks = masks.where(masks != IGNORE, 1)
    assert_same(ours(x, masks, multilabel=True), oracle(x, masks), x)


def test_labels_of_one_channel_are_a_multilabel_target_of_one(z, y):
    for loss in (dice_loss, jaccard_loss, focal_tversky_loss, generalized_dice_loss):
        assert_same(loss(z, y[:, None], multilabel=True), loss(z, y), z)


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("include_background", [True, False])
def test_losses_of_every_class_and_image_agree_with_monai(x, t, weight, include_background):
    """MONAI wants no weight of a background that it leaves out, and divides by the classes."""
    how = dict(weight=weight, include_background=include_background, per_image=True)
    theirs = MonaiDice(
        reduction="none",
        include_background=include_background,
        weight=weight if weight is None or include_background else weight[1:],
        **EXACT,
    )(x, t[:, None])
    ours = dice_loss(x, t, reduction="none", **how)
    assert ours.shape == (2, 3 if include_background else 2)
    assert torch.allclose(ours, theirs[:, :, 0, 0])
    assert dice_loss(x, t, reduction="sum", **how).item() == pytest.approx(ours.sum().item())
    total = torch.tensor(WEIGHT if weight else [1.0] * 3)[0 if include_background else 1 :].sum()
    mean = (ours.sum(dim=1) / total).mean().item()
    assert dice_loss(x, t, **how).item() == pytest.approx(mean)


REGION_LOSSES = [dice_loss, log_dice_loss, jaccard_loss, tversky_loss, focal_tversky_loss]


@pytest.mark.parametrize("loss", REGION_LOSSES)
def test_reductions_and_weights(loss, x, t):
    each, images = loss(x, t, reduction="none"), loss(x, t, reduction="none", per_image=True)
    assert each.shape == (3,) and images.shape == (2, 3)
    assert torch.allclose(images[:1], loss(x[:1], t[:1], reduction="none"))
    assert loss(x, t).item() == pytest.approx(each.mean().item())
    assert loss(x, t, reduction="sum").item() == pytest.approx(each.sum().item())
    weight = torch.tensor(WEIGHT)
    assert torch.allclose(loss(x, t, weight=weight, reduction="none"), weight * each)
    assert loss(x, t, weight=weight).item() == pytest.approx((weight * each).sum().item() / 3.5)
    assert loss(x, t, weight=[1, 0, 0]).item() == pytest.approx(each[0].item())
    assert torch.equal(loss(x, t, include_background=False, reduction="none"), each[1:])
    with pytest.raises(ValueError, match="3 weights"):
        loss(x, t, weight=[1, 2])
    with pytest.raises(ValueError, match="'max'"):
        loss(x, t, reduction="max")


def test_reductions_of_the_others(x, t):
    assert generalized_dice_loss(x, t, reduction="none").shape == (1,)
    assert generalized_dice_loss(x, t, reduction="none", per_image=True).shape == (2, 1)
    each = dice_loss(x, t, reduction="none")
    assert torch.equal(log_cosh_dice_loss(x, t, reduction="none"), each.cosh().log())


def test_an_absent_class_has_loss_0_and_is_counted_by_none(x, t):
    only = t.where(t != 2, 0)
    each = dice_loss(x, only, reduction="none")
    assert each[2] == 0 and dice_loss(x, only).item() == pytest.approx(each.sum().item() / 2)
    assert dice_loss(x, only, classes="all", reduction="none")[2] == 1


def test_an_image_of_void_is_left_out_with_all_classes_too(x, t):
    t[1] = IGNORE
    how = dict(per_image=True, classes="all", smooth=1.0)
    assert_same(dice_loss(x, t, **how), dice_loss(x[:1], t[:1], **how), x)


@pytest.mark.parametrize("include_background", [True, False])
def test_hard_predictions_give_the_scores_of_torchmetrics(x, t, include_background):
    torch.manual_seed(0)
    preds = torch.randint(3, (2, 4, 4))
    logits = 200.0 * F.one_hot(preds, 3).movedim(-1, 1)
    how = dict(num_classes=3, include_background=include_background, input_format="index")
    dice = dice_score(preds, t, average="none", **how)
    iou = mean_iou(preds, t, per_class=True, **how)
    how = dict(include_background=include_background, per_image=True, reduction="none")
    assert torch.allclose(1 - dice_loss(logits, t, **how), dice)
    assert torch.allclose(1 - jaccard_loss(logits, t, **how), iou)


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_absent_classes(smooth):
    """SMP keeps them in the mean as zeros, MONAI charges for them, we leave them out."""
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    target = torch.randint(3, (1, 5, 5))  # class 3 never occurs
    ours = dice_loss(logits, target, smooth=smooth)
    smp = DiceLoss("multiclass", smooth=smooth / 2)(logits, target)
    assert_same(ours * 3 / 4, smp, logits)
    monai = MonaiDice(
        softmax=True, to_onehot_y=True, batch=True, smooth_nr=smooth, smooth_dr=smooth
    )(logits, target[:, None])
    assert_same(dice_loss(logits, target, smooth=smooth, classes="all"), monai, logits)


def test_empty_truth_of_a_binary_problem(z, y):
    empty = torch.zeros_like(y)
    skipped = dice_loss(z, empty)
    assert skipped == 0 and not gradient(skipped, z).any()
    for smooth, value, norm in ((0, 1, 0), (1e-5, 0.99999938, 3.8e-8), (1, 0.94169771, 3.34e-3)):
        loss = dice_loss(z, empty, classes="all", smooth=smooth)
        assert loss.item() == pytest.approx(value, abs=1e-8)
        assert gradient(loss, z).norm().item() == pytest.approx(norm, rel=0.01, abs=1e-12)


def test_generalised_dice_gives_absent_classes_no_weight_where_monai_gives_the_largest():
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    target = torch.randint(3, (2, 5, 5))
    ours = generalized_dice_loss(logits, target, per_image=True)
    theirs = GeneralizedDiceLoss(**EXACT)(logits, target[:, None])
    assert abs(ours - theirs) > 1e-3
    p, t = logits.softmax(1)[:, :3].flatten(2), F.one_hot(target, 3).movedim(-1, 1).flatten(2)
    w = 1 / t.sum(2) ** 2
    score = 2 * (w * (p * t).sum(2)).sum(1) / (w * (p + t).sum(2)).sum(1)
    assert ours.item() == pytest.approx((1 - score).mean().item())


def test_special_cases_of_tversky(x, t):
    assert_same(tversky_loss(x, t, alpha=0.5, beta=0.5), dice_loss(x, t), x)
    assert_same(tversky_loss(x, t, alpha=1, beta=1), jaccard_loss(x, t), x)
    assert_same(focal_tversky_loss(x, t, gamma=1), tversky_loss(x, t), x)


def test_false_negatives_cost_more_than_false_positives():
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    target[0, 1:3, 1:3] = 1
    missed, invented = target.clone(), target.clone()
    missed[0, 1, 1], invented[0, 0, 0] = 0, 1
    losses = [tversky_loss(40.0 * (m[:, None] - 0.5), target).item() for m in (missed, invented)]
    assert losses == pytest.approx([1 - 3 / 3.7, 1 - 4 / 4.3])


def test_smp_raises_the_mean_of_the_classes_to_the_power_and_we_each_class(x, t):
    theirs = TverskyLoss("multiclass", alpha=0.3, beta=0.7, gamma=0.75)(x, t)
    assert theirs.item() == pytest.approx(0.75390522, abs=1e-8)
    assert_same(tversky_loss(x, t) ** 0.75, theirs, x)
    assert focal_tversky_loss(x, t).item() == pytest.approx(0.75318994, abs=1e-8)


def test_focal_tversky_has_a_finite_slope_at_a_perfect_prediction(y):
    logits = (200.0 * (y[:, None] - 0.5)).requires_grad_()
    loss = focal_tversky_loss(logits, y)
    assert loss < 1e-4
    assert gradient(loss, logits).isfinite().all()


def test_jaccard_is_a_function_of_dice_for_every_class(z, y):
    d = 1 - dice_loss(z, y)
    assert (1 - jaccard_loss(z, y)).item() == pytest.approx((d / (2 - d)).item())


def test_dice_gives_all_positives_one_gradient_and_all_negatives_another(z, y):
    p = z.sigmoid().detach().requires_grad_()
    smooth = 1.0
    logits = torch.logit(p)
    found = gradient(dice_loss(logits, y, smooth=smooth), p)[:, 0]
    overlap, size = (p[:, 0] * y).sum(), p.sum() + y.sum()
    expected = -(2 * y * (size + smooth) - (2 * overlap + smooth)) / (size + smooth) ** 2
    assert torch.allclose(found, expected)
    assert found[y == 1].std() < 1e-12 and found[y == 0].std() < 1e-12


def test_a_saturated_pixel_feels_cross_entropy_and_not_dice():
    target = torch.ones(1, 2, 2, dtype=torch.long)
    logits = torch.full((1, 1, 2, 2), -20.0, dtype=torch.float64, requires_grad=True)
    assert gradient(cross_entropy(logits, target), logits)[0, 0, 0, 0].item() == pytest.approx(
        -0.25
    )
    assert gradient(dice_loss(logits, target), logits)[0, 0, 0, 0].item() == pytest.approx(
        -1.03e-9, rel=0.01
    )


def test_a_soft_target_would_not_be_found_by_the_product():
    """p = t = 1/2: the product form of Dice is 1/2, the squared denominator 0."""
    p = t = torch.full((4,), 0.5)
    assert 1 - 2 * (p * t).sum() / (p + t).sum() == 0.5
    assert 1 - 2 * (p * t).sum() / (p**2 + t**2).sum() == 0


def test_sums_of_many_half_precision_pixels_do_not_overflow():
    logits = torch.zeros(1, 1, 512, 512, dtype=torch.float16)
    target = torch.ones(1, 512, 512, dtype=torch.long)
    assert target.numel() > torch.finfo(torch.float16).max
    assert dice_loss(logits, target).item() == pytest.approx(1 / 3, abs=1e-4)


def test_per_image_means_weigh_images_alike():
    """One image with a tiny mask that is missed, one with a large mask that is found."""
    target = torch.zeros(2, 8, 8, dtype=torch.long)
    target[0, 0, 0], target[1, :4] = 1, 1
    found = torch.zeros_like(target)
    found[1, :4] = 1
    logits = 100.0 * (found[:, None] - 0.5)
    assert dice_loss(logits, target, per_image=True).item() == pytest.approx(0.5)
    assert dice_loss(logits, target).item() == pytest.approx(1 / 65)
