"""Values and gradients against SMP and MONAI, golden numbers, and cases done by hand."""

import pytest
import torch
from monai.losses import DiceCELoss, GeneralizedDiceLoss
from monai.losses import DiceLoss as MonaiDice
from monai.losses import TverskyLoss as MonaiTversky
from segmentation_models_pytorch.losses import (
    DiceLoss,
    JaccardLoss,
    LovaszLoss,
    TverskyLoss,
)

from segcourse.losses.overlap import (
    dice,
    focal_tversky,
    generalised_dice,
    jaccard,
    log_cosh_dice,
    log_dice,
    lovasz_hinge,
    lovasz_softmax,
    lovasz_sum,
    lovasz_weights,
    region_sums,
    tversky,
    tversky_index,
)
from segcourse.losses.pixelwise import balanced_cross_entropy, cross_entropy
from segcourse.ops.labels import IGNORE

EXACT = dict(softmax=True, to_onehot_y=True, smooth_nr=0, smooth_dr=0)


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


def assert_same(ours, theirs, logits, tolerance=1e-8):
    assert ours.item() == pytest.approx(theirs.item(), abs=tolerance)
    assert torch.allclose(gradient(ours, logits), gradient(theirs, logits), atol=tolerance, rtol=0)


GOLDEN = {
    "dice": (dice, "x t", 0.687884, 0.03779438),
    "dice, textbook": (lambda x, t: dice(x, t, smooth=1), "x t", 0.65688821, None),
    "dice, smp smooth 1": (lambda x, t: dice(x, t, smooth=2), "x t", 0.6285728, None),
    "dice per image": (
        lambda x, t: dice(x, t, per_image=True, smooth=1e-5),
        "x t",
        0.68812931,
        None,
    ),
    "dice, void": (dice, "x ti", 0.70414734, None),
    "dice squared": (lambda x, t: dice(x, t, squared=True), "x t", 0.61372943, None),
    "dice binary": (dice, "z y", 0.53649139, 0.03507706),
    "log dice": (log_dice, "x t", 1.18360582, None),
    "log-cosh dice": (log_cosh_dice, "z y", 0.1374955, None),
    "jaccard": (jaccard, "x t", 0.81359923, 0.02624525),
    "tversky": (tversky, "x t", 0.68615517, 0.03751669),
    "focal tversky": (focal_tversky, "x t", 0.75318994, None),
    "bce + dice": (lambda z, y: cross_entropy(z, y) + dice(z, y), "z y", 1.4718377, None),
    "dice + ce": (
        lambda x, t: dice(x, t, per_image=True, smooth=1e-5) + cross_entropy(x, t),
        "x t",
        2.37248293,
        None,
    ),
    "combo": (
        lambda z, y: 0.25 * cross_entropy(z, y) - 0.5 * (1 - dice(z, y, smooth=0)),
        "z y",
        None,
        None,
    ),
}


@pytest.mark.parametrize("loss, arguments, value, norm", GOLDEN.values(), ids=GOLDEN)
def test_golden_values_and_gradient_norms(loss, arguments, value, norm, request):
    logits, truth = (request.getfixturevalue(name) for name in arguments.split())
    result = loss(logits, truth)
    if value is not None:
        assert result.item() == pytest.approx(value, abs=1e-8)
    if norm is not None:
        assert gradient(result, logits).norm().item() == pytest.approx(norm, abs=1e-8)


def test_lovasz_golden_values_in_float32(x, t, ti, z, y):
    """The goldens were taken in float32, which moves the seventh digit."""
    loss = lovasz_softmax(x, t)
    assert loss.item() == pytest.approx(0.75697392, abs=1e-7)
    assert gradient(loss, x).norm().item() == pytest.approx(0.03104429, abs=1e-8)
    assert lovasz_softmax(x, t, per_image=True).item() == pytest.approx(0.75685763, abs=1e-7)
    assert lovasz_softmax(x, ti).item() == pytest.approx(0.76788235, abs=1e-7)
    assert lovasz_hinge(z, y).item() == pytest.approx(1.78236341, abs=2e-7)
    assert lovasz_hinge(z, y, per_image=True).item() == pytest.approx(1.78177798, abs=2e-7)


def test_indices_of_every_class(x, t):
    overlap, predicted, true = region_sums(x, t, per_image=False)
    assert (2 * overlap / (predicted + true)).tolist() == pytest.approx(
        [0.31729359, 0.23637733, 0.38267708]
    )
    assert (overlap / (predicted + true - overlap)).tolist() == pytest.approx(
        [0.18856147, 0.13402942, 0.23661142]
    )
    index, _ = tversky_index(
        x, t, false_positives=0.3, false_negatives=0.7, per_image=False, smooth=0
    )
    assert index.tolist() == pytest.approx([0.32052677, 0.22605494, 0.39495279])


def test_combo_is_a_plain_sum(z, y):
    """Weighted cross-entropy with beta = 1/2 on both classes is half the cross-entropy."""
    half, score = 0.5 * cross_entropy(z, y), 1 - dice(z, y)
    assert (half.item(), score.item()) == pytest.approx((0.46767316, 0.46350861), abs=1e-8)
    assert (0.5 * half - 0.5 * score).item() == pytest.approx(0.00208227, abs=1e-8)
    assert balanced_cross_entropy(z, y) < half


ORACLES = {
    "smp dice": (dice, DiceLoss("multiclass"), "x t", 1e-8),
    "smp dice, smooth counts twice": (
        lambda x, t: dice(x, t, smooth=2),
        DiceLoss("multiclass", smooth=1),
        "x t",
        1e-8,
    ),
    "smp dice, void": (dice, DiceLoss("multiclass", ignore_index=IGNORE), "x ti", 1e-8),
    "smp log dice": (log_dice, DiceLoss("multiclass", log_loss=True), "x t", 1e-8),
    "smp dice, binary": (dice, DiceLoss("binary"), "z y", 1e-8),
    "smp jaccard": (jaccard, JaccardLoss("multiclass"), "x t", 1e-8),
    "smp tversky": (tversky, TverskyLoss("multiclass", alpha=0.3, beta=0.7), "x t", 1e-8),
    "smp lovasz": (lovasz_softmax, LovaszLoss("multiclass"), "x t", 1e-6),
    "smp lovasz, per image": (
        lambda x, t: lovasz_softmax(x, t, per_image=True),
        LovaszLoss("multiclass", per_image=True),
        "x t",
        1e-6,
    ),
    "smp lovasz, void": (
        lovasz_softmax,
        LovaszLoss("multiclass", ignore_index=IGNORE),
        "x ti",
        1e-6,
    ),
    "smp hinge": (lovasz_hinge, LovaszLoss("binary"), "z y", 1e-6),
    "monai dice": (dice, MonaiDice(batch=True, **EXACT), "x t", 1e-8),
    "monai dice, per image": (
        lambda x, t: dice(x, t, per_image=True),
        MonaiDice(batch=False, **EXACT),
        "x t",
        1e-8,
    ),
    "monai squared": (
        lambda x, t: dice(x, t, squared=True),
        MonaiDice(batch=True, squared_pred=True, softmax=True, to_onehot_y=True),
        "x t",
        1e-6,
    ),
    "monai jaccard": (jaccard, MonaiDice(jaccard=True, batch=True, **EXACT), "x t", 1e-8),
    "monai tversky": (
        tversky,
        MonaiTversky(alpha=0.3, beta=0.7, batch=True, **EXACT),
        "x t",
        1e-8,
    ),
    "monai generalised": (
        lambda x, t: generalised_dice(x, t, per_image=True),
        GeneralizedDiceLoss(**EXACT),
        "x t",
        1e-7,
    ),
    "monai dice + ce": (
        lambda x, t: dice(x, t, per_image=True, smooth=1e-5) + cross_entropy(x, t),
        DiceCELoss(softmax=True, to_onehot_y=True, lambda_dice=1, lambda_ce=1),
        "x t",
        1e-7,
    ),
}


@pytest.mark.parametrize("ours, oracle, arguments, tolerance", ORACLES.values(), ids=ORACLES)
def test_values_and_gradients_agree_with(ours, oracle, arguments, tolerance, request):
    logits, truth = (request.getfixturevalue(name) for name in arguments.split())
    theirs = oracle
    if "lovasz" in type(oracle).__name__.lower():  # SMP's fails in float64
        logits = logits.detach().float().requires_grad_()
    if "monai" in type(oracle).__module__:
        truth_for_them = truth[:, None]
    elif arguments == "z y":
        truth_for_them = truth[:, None].to(logits.dtype)
    else:
        truth_for_them = truth
    assert_same(ours(logits, truth), theirs(logits, truth_for_them), logits, tolerance)


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_absent_classes(smooth):
    """SMP keeps them in the mean as zeros, MONAI charges for them, we leave them out."""
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    truth = torch.randint(3, (1, 5, 5))  # class 3 never occurs
    ours = dice(logits, truth, smooth=smooth)
    smp = DiceLoss("multiclass", smooth=smooth / 2)(logits, truth)
    assert_same(ours * 3 / 4, smp, logits)
    monai = MonaiDice(
        softmax=True, to_onehot_y=True, batch=True, smooth_nr=smooth, smooth_dr=smooth
    )(logits, truth[:, None])
    assert_same(dice(logits, truth, smooth=smooth, classes="all"), monai, logits)


def test_empty_truth_of_a_binary_problem(z, y):
    empty = torch.zeros_like(y)
    skipped = dice(z, empty)
    assert skipped == 0 and not gradient(skipped, z).any()
    for smooth, value, norm in ((0, 1, 0), (1e-5, 0.99999938, 3.8e-8), (1, 0.94169771, 3.34e-3)):
        loss = dice(z, empty, classes="all", smooth=smooth)
        assert loss.item() == pytest.approx(value, abs=1e-8)
        assert gradient(loss, z).norm().item() == pytest.approx(norm, rel=0.01, abs=1e-12)


def test_generalised_dice_gives_absent_classes_no_weight_where_monai_gives_the_largest():
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    truth = torch.randint(3, (2, 5, 5))
    ours = generalised_dice(logits, truth, per_image=True)
    theirs = GeneralizedDiceLoss(**EXACT)(logits, truth[:, None])
    assert abs(ours - theirs) > 1e-3
    p = logits.softmax(1)
    overlap, predicted, true = region_sums(logits, truth, per_image=True)
    w = 1 / true[:, :3] ** 2
    score = 2 * (w * overlap[:, :3]).sum(1) / (w * (predicted + true)[:, :3]).sum(1)
    assert ours.item() == pytest.approx((1 - score).mean().item())
    assert p.shape == logits.shape


def test_special_cases_of_tversky(x, t):
    assert_same(tversky(x, t, false_positives=0.5, false_negatives=0.5), dice(x, t), x)
    assert_same(tversky(x, t, false_positives=1, false_negatives=1), jaccard(x, t), x)
    assert_same(focal_tversky(x, t, power=1), tversky(x, t), x)


def test_false_negatives_cost_more_than_false_positives():
    truth = torch.zeros(1, 4, 4, dtype=torch.long)
    truth[0, 1:3, 1:3] = 1
    missed, invented = truth.clone(), truth.clone()
    missed[0, 1, 1], invented[0, 0, 0] = 0, 1
    losses = [tversky(40.0 * (m[:, None] - 0.5), truth).item() for m in (missed, invented)]
    assert losses == pytest.approx([1 - 3 / 3.7, 1 - 4 / 4.3])


def test_smp_raises_the_mean_of_the_classes_to_the_power_and_we_each_class(x, t):
    theirs = TverskyLoss("multiclass", alpha=0.3, beta=0.7, gamma=0.75)(x, t)
    assert theirs.item() == pytest.approx(0.75390522, abs=1e-8)
    assert_same(tversky(x, t) ** 0.75, theirs, x)
    assert focal_tversky(x, t).item() == pytest.approx(0.75318994, abs=1e-8)


def test_focal_tversky_has_a_finite_slope_at_a_perfect_prediction(y):
    logits = (200.0 * (y[:, None] - 0.5)).requires_grad_()
    loss = focal_tversky(logits, y)
    assert loss < 1e-4
    assert gradient(loss, logits).isfinite().all()


def test_jaccard_is_a_function_of_dice_for_every_class(z, y):
    d = 1 - dice(z, y)
    assert (1 - jaccard(z, y)).item() == pytest.approx((d / (2 - d)).item())


def test_dice_gives_all_positives_one_gradient_and_all_negatives_another(z, y):
    p = z.sigmoid().detach().requires_grad_()
    smooth = 1.0
    logits = torch.logit(p)
    found = gradient(dice(logits, y, smooth=smooth), p)[:, 0]
    overlap, size = (p[:, 0] * y).sum(), p.sum() + y.sum()
    expected = -(2 * y * (size + smooth) - (2 * overlap + smooth)) / (size + smooth) ** 2
    assert torch.allclose(found, expected)
    assert found[y == 1].std() < 1e-12 and found[y == 0].std() < 1e-12


def test_a_saturated_pixel_feels_cross_entropy_and_not_dice():
    truth = torch.ones(1, 2, 2, dtype=torch.long)
    logits = torch.full((1, 1, 2, 2), -20.0, dtype=torch.float64, requires_grad=True)
    assert gradient(cross_entropy(logits, truth), logits)[0, 0, 0, 0].item() == pytest.approx(-0.25)
    assert gradient(dice(logits, truth), logits)[0, 0, 0, 0].item() == pytest.approx(
        -1.03e-9, rel=0.01
    )


def test_a_soft_target_would_not_be_found_by_the_product():
    """p = t = 1/2: the product form of Dice is 1/2, the squared denominator 0."""
    p = t = torch.full((4,), 0.5)
    assert 1 - 2 * (p * t).sum() / (p + t).sum() == 0.5
    assert 1 - 2 * (p * t).sum() / (p**2 + t**2).sum() == 0


class TestLovasz:
    def test_weights_by_hand(self):
        truth = torch.tensor([1.0, 0, 1, 0])
        assert lovasz_weights(truth).tolist() == pytest.approx([1 / 2, 1 / 6, 1 / 3, 0])
        assert lovasz_sum(torch.tensor([0.9, 0.6, 0.3, 0.1]), truth).item() == pytest.approx(0.65)

    def test_hard_predictions_give_one_minus_iou(self):
        torch.manual_seed(0)
        truth, guess = torch.randint(2, (2, 1, 6, 6))
        loss = lovasz_softmax(200.0 * (guess[:, None] - 0.5), truth)
        iou = (truth & guess).sum() / (truth | guess).sum()
        assert loss.item() == pytest.approx(1 - iou.item())

    def test_an_image_of_void_is_left_out(self, x, t):
        t[1] = IGNORE
        assert_same(lovasz_softmax(x, t, per_image=True), lovasz_softmax(x[:1], t[:1]), x)

    def test_works_in_half_precision_where_smp_fails(self, x, t):
        half = x.detach().half()
        assert lovasz_softmax(half, t).item() == pytest.approx(0.757, abs=1e-3)
        with pytest.raises(RuntimeError):
            LovaszLoss("multiclass")(x, t)  # float64 against float32


def test_sums_of_many_half_precision_pixels_do_not_overflow():
    logits = torch.zeros(1, 1, 512, 512, dtype=torch.float16)
    truth = torch.ones(1, 512, 512, dtype=torch.long)
    assert truth.numel() > torch.finfo(torch.float16).max
    assert dice(logits, truth).item() == pytest.approx(1 / 3, abs=1e-4)


def test_per_image_means_weigh_images_alike():
    """One image with a tiny mask that is missed, one with a large mask that is found."""
    truth = torch.zeros(2, 8, 8, dtype=torch.long)
    truth[0, 0, 0], truth[1, :4] = 1, 1
    found = torch.zeros_like(truth)
    found[1, :4] = 1
    logits = 100.0 * (found[:, None] - 0.5)
    assert dice(logits, truth, per_image=True).item() == pytest.approx(0.5)
    assert dice(logits, truth).item() == pytest.approx(1 / 65)
