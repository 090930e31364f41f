"""Values and gradients against torch, torchvision, SMP, MONAI, and golden numbers."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from monai.losses import FocalLoss as MonaiFocal
from segmentation_models_pytorch.losses import FocalLoss as SmpFocal
from segmentation_models_pytorch.losses import SoftCrossEntropyLoss
from torchvision.ops import sigmoid_focal_loss as torchvision_focal

from segcourse.losses.pixelwise import (
    balanced_cross_entropy,
    bootstrapped_cross_entropy,
    cross_entropy,
    focal_loss,
    ohem_cross_entropy,
    pixel_weighted_cross_entropy,
    sigmoid_focal_loss,
)
from segcourse.ops.labels import IGNORE

pixel_loss = partial(cross_entropy, reduction="none")
WEIGHT = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


def assert_same(ours, theirs, logits, tolerance=1e-8):
    """Two losses with the same value and the same gradient."""
    assert ours.item() == pytest.approx(theirs.item(), abs=tolerance)
    assert torch.allclose(gradient(ours, logits), gradient(theirs, logits), atol=tolerance, rtol=0)


GOLDEN = {
    "cross_entropy": (cross_entropy, "x t", 1.68435362, 0.17524555),
    "void": (cross_entropy, "x ti", 1.73692763, None),
    "by weights": (lambda x, t: cross_entropy(x, t, weight=WEIGHT), "x t", 1.69810428, None),
    "by pixels": (
        lambda x, t: cross_entropy(x, t, weight=WEIGHT, normalizer="pixels"),
        "x t",
        1.93690019,
        None,
    ),
    "smoothed": (lambda x, t: cross_entropy(x, t, label_smoothing=0.1), "x t", 1.68789363, None),
    "binary": (cross_entropy, "z y", 0.93534631, 0.10298553),
    "positives x 3": (
        lambda z, y: cross_entropy(z, y, weight=[1, 3], normalizer="pixels"),
        "z y",
        1.74062348,
        None,
    ),
    "balanced": (balanced_cross_entropy, "z y", 0.45954383, None),
    "focal mean": (lambda z, y: sigmoid_focal_loss(z, y, alpha=0.25), "z y", 0.28635286, 0.0660436),
    "focal sum": (lambda z, y: 32 * sigmoid_focal_loss(z, y, alpha=0.25), "z y", 9.16329165, None),
    "focal by positives": (
        lambda z, y: sigmoid_focal_loss(z, y, alpha=0.25, normalizer="positives"),
        "z y",
        0.65452083,
        None,
    ),
    "focal without alpha": (sigmoid_focal_loss, "z y", 0.53298444, None),
    "focal, gamma 0": (
        lambda z, y: sigmoid_focal_loss(z, y, alpha=0.25, gamma=0),
        "z y",
        0.50019044,
        None,
    ),
    "one against the rest": (sigmoid_focal_loss, "x t", 0.50996741, 0.06293576),
    "focal on a softmax": (focal_loss, "x t", 1.28596165, None),
    "ohem .7": (lambda x, t: ohem_cross_entropy(x, t, min_kept=4), "x t", 1.95058527, None),
    "ohem .1": (
        lambda x, t: ohem_cross_entropy(x, t, threshold=0.1, min_kept=10),
        "x t",
        2.994681,
        None,
    ),
    "bootstrapped": (bootstrapped_cross_entropy, "x t", 3.102675, None),
}


@pytest.mark.parametrize("loss, arguments, value, norm", GOLDEN.values(), ids=GOLDEN)
def test_golden_values_and_gradient_norms(loss, arguments, value, norm, request):
    logits, target = (request.getfixturevalue(name) for name in arguments.split())
    result = loss(logits, target)
    assert result.item() == pytest.approx(value, abs=1e-8)
    if norm is not None:
        assert gradient(result, logits).norm().item() == pytest.approx(norm, abs=1e-8)


def test_the_gradient_of_cross_entropy_is_p_minus_t_by_the_number_of_pixels(x, t):
    found = gradient(cross_entropy(x, t), x)
    first = torch.tensor([-0.01162826, 0.02775075, 0.02673285], dtype=torch.float64)
    assert torch.allclose(found.flatten()[:3], first, atol=1e-8)
    expected = (x.softmax(1) - F.one_hot(t, 3).movedim(-1, 1)) / t.numel()
    assert torch.allclose(found, expected)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("target", ["t", "ti"])
def test_cross_entropy_agrees_with_torch(x, target, weight, smoothing, request):
    target = request.getfixturevalue(target)
    ours = cross_entropy(x, target, weight=weight, label_smoothing=smoothing)
    theirs = F.cross_entropy(
        x, target, weight=weight, ignore_index=IGNORE, label_smoothing=smoothing
    )
    assert_same(ours, theirs, x)


@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_other_reductions_agree_with_torch(x, ti, reduction, smoothing):
    how = dict(weight=WEIGHT, label_smoothing=smoothing, reduction=reduction)
    ours = cross_entropy(x, ti, **how)
    theirs = F.cross_entropy(x, ti, ignore_index=IGNORE, **how)
    assert torch.allclose(ours, theirs)


REDUCED = {
    "cross_entropy": (partial(cross_entropy, weight=WEIGHT, normalizer="pixels"), "x ti", 27),
    "pixel_weighted": (lambda x, t, **how: pixel_weighted_cross_entropy(
        x, t, torch.ones(t.shape), **how), "x ti", 27),
    "focal": (partial(focal_loss, weight=WEIGHT), "x ti", 27),
    "sigmoid_focal": (sigmoid_focal_loss, "x ti", 27 * 3),
    "by positives": (partial(sigmoid_focal_loss, normalizer="positives"), "x ti", 27),
    "balanced": (balanced_cross_entropy, "z y", 32),
}  # fmt: skip


@pytest.mark.parametrize("loss, arguments, amount", REDUCED.values(), ids=REDUCED)
def test_reductions(loss, arguments, amount, request):
    logits, target = (request.getfixturevalue(name) for name in arguments.split())
    each = loss(logits, target, reduction="none")
    assert each.shape in (target.shape, logits.shape)
    total = loss(logits, target, reduction="sum")
    assert total.item() == pytest.approx(each.sum().item())
    assert loss(logits, target).item() == pytest.approx(total.item() / amount)
    void = target == IGNORE
    assert not (each[void] if each.ndim == 3 else each.movedim(1, -1)[void]).any()
    with pytest.raises(ValueError, match="'max'"):
        loss(logits, target, reduction="max")


def test_smoothed_targets_of_three_classes():
    """Cross-entropy is a dot product with the target, so single logits read it off."""
    target = torch.zeros(1, 1, 1, dtype=torch.long)
    logits = torch.zeros(1, 3, 1, 1, dtype=torch.float64, requires_grad=True)
    found = gradient(cross_entropy(logits, target, label_smoothing=0.1), logits).flatten()
    assert (1 / 3 - found).tolist() == pytest.approx([0.93333333, 0.03333333, 0.03333333])


@pytest.mark.parametrize("positive", [1.0, 3.0])
def test_one_channel_agrees_with_binary_cross_entropy(z, y, positive):
    ours = cross_entropy(z, y, weight=[1, positive], normalizer="pixels")
    theirs = F.binary_cross_entropy_with_logits(
        z, y[:, None].double(), pos_weight=torch.tensor(positive)
    )
    assert_same(ours, theirs, z)


def test_one_channel_is_two_with_a_zero(z, y):
    two = torch.cat([torch.zeros_like(z), z], dim=1)
    for loss in (cross_entropy, focal_loss, balanced_cross_entropy, bootstrapped_cross_entropy):
        assert_same(loss(z, y), loss(two, y), z)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_sigmoid_focal_agrees_with_torchvision(z, y, gamma, alpha):
    ours = sigmoid_focal_loss(z, y, alpha=alpha, gamma=gamma)
    theirs = torchvision_focal(
        z,
        y[:, None].double(),
        alpha=-1 if alpha is None else alpha,  # below 0 switches it off
        gamma=gamma,
        reduction="mean",
    )
    assert_same(ours, theirs, z)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_multilabel_focal_agrees_with_torchvision(x, reduction):
    masks = (torch.arange(96) * 5 // 3 % 3 > 0).reshape(2, 3, 4, 4)
    ours = sigmoid_focal_loss(x, masks, alpha=0.25, multilabel=True, reduction=reduction)
    theirs = torchvision_focal(x, masks.double(), reduction=reduction)
    assert torch.allclose(ours, theirs, atol=1e-12)


def test_void_of_a_multilabel_target_is_counted_by_entry(x):
    masks = (torch.arange(96) * 5 // 3 % 3 > 0).long().reshape(2, 3, 4, 4)
    masks[0, 1, 2:] = IGNORE
    each = torchvision_focal(x, (masks == 1).double(), alpha=-1)
    expected = each[masks != IGNORE].mean()
    assert_same(sigmoid_focal_loss(x, masks, multilabel=True), expected, x)


def test_one_against_the_rest_agrees_with_smp(x, t):
    assert_same(sigmoid_focal_loss(x, t), SmpFocal("multiclass")(x, t), x)


def test_softmax_focal_agrees_with_monai_which_also_divides_by_the_classes(x, t):
    theirs = MonaiFocal(use_softmax=True, to_onehot_y=True, gamma=2.0)(x, t[:, None])
    assert theirs.item() == pytest.approx(0.42865387, abs=1e-8)
    assert_same(focal_loss(x, t), 3 * theirs, x, tolerance=1e-6)  # MONAI casts to float32


def test_focal_weights_and_gamma_zero(x, t, z, y):
    assert_same(focal_loss(x, t, gamma=0), cross_entropy(x, t), x)
    weighted = focal_loss(x, t, gamma=0, weight=WEIGHT)
    assert_same(weighted, cross_entropy(x, t, weight=WEIGHT, normalizer="pixels"), x)
    assert_same(focal_loss(z, y, weight=[0.75, 0.25]), sigmoid_focal_loss(z, y, alpha=0.25), z)


def test_focal_against_cross_entropy_by_hand():
    p = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    logits = torch.logit(p).reshape(3, 1, 1, 1)
    target = torch.ones(3, 1, 1, dtype=torch.long)
    cross = [cross_entropy(one[None], target[:1]).item() for one in logits]
    focused = [focal_loss(one[None], target[:1]).item() for one in logits]
    assert cross == pytest.approx([0.105361, 0.693147, 2.302585], abs=1e-6)
    assert focused == pytest.approx([0.001054, 0.173287, 1.865094], abs=1e-6)
    ratios = [a / b for a, b in zip(focused, cross, strict=True)]
    assert ratios == pytest.approx([0.01, 0.25, 0.81])


def test_smp_divides_by_void_pixels_too_and_we_do_not(x, ti):
    theirs = SoftCrossEntropyLoss(smooth_factor=0.0, ignore_index=IGNORE)(x, ti)
    assert theirs.item() == pytest.approx(1.46553269, abs=1e-8)
    assert (cross_entropy(x, ti) * 27 / 32).item() == pytest.approx(theirs.item())


def test_torch_gives_nan_for_a_batch_of_void_and_we_give_zero(x, t):
    void = torch.full_like(t, IGNORE)
    assert F.cross_entropy(x, void, ignore_index=IGNORE).isnan()
    result = cross_entropy(x, void)
    assert result == 0
    assert not gradient(result, x).any()


def test_doubling_all_weights(x, t):
    once, twice = (cross_entropy(x, t, weight=w * WEIGHT) for w in (1, 2))
    assert once.item() == pytest.approx(twice.item())
    once, twice = (cross_entropy(x, t, weight=w * WEIGHT, normalizer="pixels") for w in (1, 2))
    assert 2 * once.item() == pytest.approx(twice.item())


def test_balanced_cross_entropy_gives_both_classes_the_same_total_weight():
    logits = torch.zeros(1, 1, 10, 10)
    target = torch.zeros(1, 10, 10, dtype=torch.long)
    target[0, 0, 0] = 1
    loss = balanced_cross_entropy(logits, target)
    assert loss.item() == pytest.approx(2 * 0.99 * 0.01 * math.log(2))


def test_balanced_cross_entropy_is_exact_in_float64(z, y):
    y[0, 0] = IGNORE  # the share of positives is no short binary number now
    share = (y == 1).sum().double() / 28
    each = F.binary_cross_entropy_with_logits(z[:, 0], (y == 1).double(), reduction="none")
    expected = (torch.where(y == 1, 1 - share, share) * each * (y != IGNORE)).sum() / 28
    assert_same(balanced_cross_entropy(z, y), expected, z, tolerance=1e-12)


def test_balanced_cross_entropy_per_image(z, y):
    each = [balanced_cross_entropy(z[n : n + 1], y[n : n + 1]) for n in range(2)]
    assert_same(balanced_cross_entropy(z, y, per_image=True), sum(each) / 2, z)


class TestHardPixels:
    def test_fewer_than_min_kept_means_exactly_the_hardest(self, x, t):
        """The off-by-one of the facts: 10 pixels, not 6 (no minimum) and not 9."""
        assert ohem_cross_entropy(x, t, threshold=0.05, min_kept=10).item() == pytest.approx(
            3.04402277
        )
        assert ohem_cross_entropy(x, t, threshold=0.05, min_kept=6).item() == pytest.approx(
            3.37220493
        )
        assert ohem_cross_entropy(x, t, threshold=0.05, min_kept=9).item() == pytest.approx(
            3.10340583
        )
        top = pixel_loss(x, t).flatten().topk(10).values.mean()
        assert_same(ohem_cross_entropy(x, t, threshold=0.05, min_kept=10), top, x)

    def test_counts_of_chosen_pixels(self, x, t):
        loss = pixel_loss(x, t).flatten()
        for threshold, kept, min_kept in ((0.7, 27, 4), (0.1, 11, 10)):
            chosen = gradient(ohem_cross_entropy(x, t, threshold=threshold, min_kept=min_kept), x)
            assert (chosen.abs().sum(1) > 0).sum() == kept
            assert (loss > -math.log(threshold)).sum() == kept

    def test_averaging_over_all_pixels_would_give_another_number(self, x, t):
        assert ohem_cross_entropy(x, t, min_kept=4).item() * 27 / 32 == pytest.approx(1.64580632)

    def test_more_than_there_are_means_all(self, x, ti):
        assert_same(ohem_cross_entropy(x, ti, min_kept=10_000), cross_entropy(x, ti), x)

    def test_the_threshold_is_strict(self):
        logits, target = torch.zeros(1, 2, 1, 2), torch.zeros(1, 1, 2, dtype=torch.long)
        logits[0, 0, 0, 1] = -1.0  # the first pixel has exactly p = 1/2, the second less
        hard = pixel_loss(logits, target)[0, 0, 1]
        assert ohem_cross_entropy(
            logits, target, threshold=0.5, min_kept=1
        ).item() == pytest.approx(hard.item())

    def test_void_is_never_chosen(self, x, ti):
        for loss in (
            ohem_cross_entropy(x, ti, threshold=0.9, min_kept=20),
            bootstrapped_cross_entropy(x, ti, share=0.9),
        ):
            assert not gradient(loss, x).movedim(1, -1)[ti == IGNORE].any()

    def test_bootstrapping_takes_a_share_of_every_image(self, x, ti):
        chosen = gradient(bootstrapped_cross_entropy(x, ti, share=0.25), x).abs().sum(1) > 0
        assert chosen.sum(dim=(1, 2)).tolist() == [3, 4]  # of 12 and 15 counted pixels
        assert_same(bootstrapped_cross_entropy(x, ti, share=1.0), cross_entropy(x, ti), x)


def test_pixel_weights(z, y):
    ones = torch.ones(y.shape)
    assert_same(pixel_weighted_cross_entropy(z, y, ones), cross_entropy(z, y), z)
    by_class = torch.where(y == 1, 3.0, 1.0)
    expected = cross_entropy(z, y, weight=[1, 3], normalizer="pixels")
    assert_same(pixel_weighted_cross_entropy(z, y, by_class), expected, z)


def test_the_bias_that_makes_everything_background_at_first():
    """With the prior 0.01, every pixel starts at p = 0.01 and the loss of background is small."""
    bias = -math.log((1 - 0.01) / 0.01)
    assert bias == pytest.approx(-4.59511985, abs=1e-8)
    assert torch.sigmoid(torch.tensor(bias)).item() == pytest.approx(0.01)
