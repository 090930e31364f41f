"""Values and gradients against torch, torchvision, SMP, MONAI, and golden numbers."""

import math

import pytest
import torch
import torch.nn.functional as F
from monai.losses import FocalLoss as MonaiFocal
from segmentation_models_pytorch.losses import FocalLoss as SmpFocal
from segmentation_models_pytorch.losses import SoftCrossEntropyLoss
from torchvision.ops import sigmoid_focal_loss

from segcourse.losses.pixelwise import (
    balanced_cross_entropy,
    bootstrapped_cross_entropy,
    border_weights,
    class_counts,
    cross_entropy,
    focal,
    inverse_frequency_weights,
    log_frequency_weights,
    median_frequency_weights,
    ohem,
    pixel_cross_entropy,
    pixel_weighted_cross_entropy,
    sigmoid_focal,
)
from segcourse.ops.labels import IGNORE

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
        lambda x, t: cross_entropy(x, t, weight=WEIGHT, divide_by="pixels"),
        "x t",
        1.93690019,
        None,
    ),
    "smoothed": (lambda x, t: cross_entropy(x, t, label_smoothing=0.1), "x t", 1.68789363, None),
    "binary": (cross_entropy, "z y", 0.93534631, 0.10298553),
    "positives x 3": (
        lambda z, y: cross_entropy(z, y, weight=[1, 3], divide_by="pixels"),
        "z y",
        1.74062348,
        None,
    ),
    "balanced": (balanced_cross_entropy, "z y", 0.45954383, None),
    "focal mean": (lambda z, y: sigmoid_focal(z, y, alpha=0.25), "z y", 0.28635286, 0.0660436),
    "focal sum": (lambda z, y: 32 * sigmoid_focal(z, y, alpha=0.25), "z y", 9.16329165, None),
    "focal by positives": (
        lambda z, y: sigmoid_focal(z, y, alpha=0.25, divide_by="positives"),
        "z y",
        0.65452083,
        None,
    ),
    "focal without alpha": (sigmoid_focal, "z y", 0.53298444, None),
    "focal, gamma 0": (
        lambda z, y: sigmoid_focal(z, y, alpha=0.25, gamma=0),
        "z y",
        0.50019044,
        None,
    ),
    "one against the rest": (sigmoid_focal, "x t", 0.50996741, 0.06293576),
    "focal on a softmax": (focal, "x t", 1.28596165, None),
    "ohem .7": (lambda x, t: ohem(x, t, min_kept=4), "x t", 1.95058527, None),
    "ohem .1": (lambda x, t: ohem(x, t, threshold=0.1, min_kept=10), "x t", 2.994681, None),
    "bootstrapped": (bootstrapped_cross_entropy, "x t", 3.102675, None),
}


@pytest.mark.parametrize("loss, arguments, value, norm", GOLDEN.values(), ids=GOLDEN)
def test_golden_values_and_gradient_norms(loss, arguments, value, norm, request):
    logits, truth = (request.getfixturevalue(name) for name in arguments.split())
    result = loss(logits, truth)
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
@pytest.mark.parametrize("truth", ["t", "ti"])
def test_cross_entropy_agrees_with_torch(x, truth, weight, smoothing, request):
    truth = request.getfixturevalue(truth)
    ours = cross_entropy(x, truth, weight=weight, label_smoothing=smoothing)
    theirs = F.cross_entropy(
        x, truth, weight=weight, ignore_index=IGNORE, label_smoothing=smoothing
    )
    assert_same(ours, theirs, x)


def test_smoothed_targets_of_three_classes():
    """Cross-entropy is a dot product with the target, so single logits read it off."""
    truth = torch.zeros(1, 1, 1, dtype=torch.long)
    logits = torch.zeros(1, 3, 1, 1, dtype=torch.float64, requires_grad=True)
    target = 1 / 3 - gradient(cross_entropy(logits, truth, label_smoothing=0.1), logits).flatten()
    assert target.tolist() == pytest.approx([0.93333333, 0.03333333, 0.03333333])


@pytest.mark.parametrize("positive", [1.0, 3.0])
def test_one_channel_agrees_with_binary_cross_entropy(z, y, positive):
    ours = cross_entropy(z, y, weight=[1, positive], divide_by="pixels")
    theirs = F.binary_cross_entropy_with_logits(
        z, y[:, None].double(), pos_weight=torch.tensor(positive)
    )
    assert_same(ours, theirs, z)


def test_one_channel_is_two_with_a_zero(z, y):
    two = torch.cat([torch.zeros_like(z), z], dim=1)
    for loss in (cross_entropy, focal, balanced_cross_entropy, bootstrapped_cross_entropy):
        assert_same(loss(z, y), loss(two, y), z)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_sigmoid_focal_agrees_with_torchvision(z, y, gamma, alpha):
    ours = sigmoid_focal(z, y, alpha=alpha, gamma=gamma)
    theirs = sigmoid_focal_loss(
        z,
        y[:, None].double(),
        alpha=-1 if alpha is None else alpha,  # below 0 switches it off
        gamma=gamma,
        reduction="mean",
    )
    assert_same(ours, theirs, z)


def test_one_against_the_rest_agrees_with_smp(x, t):
    assert_same(sigmoid_focal(x, t), SmpFocal("multiclass")(x, t), x)


def test_softmax_focal_agrees_with_monai_which_also_divides_by_the_classes(x, t):
    theirs = MonaiFocal(use_softmax=True, to_onehot_y=True, gamma=2.0)(x, t[:, None])
    assert theirs.item() == pytest.approx(0.42865387, abs=1e-8)
    assert_same(focal(x, t), 3 * theirs, x, tolerance=1e-6)  # MONAI casts to float32


def test_focal_weights_and_gamma_zero(x, t, z, y):
    assert_same(focal(x, t, gamma=0), cross_entropy(x, t), x)
    weighted = focal(x, t, gamma=0, weight=WEIGHT)
    assert_same(weighted, cross_entropy(x, t, weight=WEIGHT, divide_by="pixels"), x)
    assert_same(focal(z, y, weight=[0.75, 0.25]), sigmoid_focal(z, y, alpha=0.25), z)


def test_focal_against_cross_entropy_by_hand():
    p = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    logits = torch.logit(p).reshape(3, 1, 1, 1)
    truth = torch.ones(3, 1, 1, dtype=torch.long)
    cross = [cross_entropy(one[None], truth[:1]).item() for one in logits]
    focused = [focal(one[None], truth[:1]).item() for one in logits]
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
    once, twice = (cross_entropy(x, t, weight=w * WEIGHT, divide_by="pixels") for w in (1, 2))
    assert 2 * once.item() == pytest.approx(twice.item())


def test_balanced_cross_entropy_gives_both_classes_the_same_total_weight():
    logits = torch.zeros(1, 1, 10, 10)
    truth = torch.zeros(1, 10, 10, dtype=torch.long)
    truth[0, 0, 0] = 1
    loss = balanced_cross_entropy(logits, truth)
    assert loss.item() == pytest.approx(2 * 0.99 * 0.01 * math.log(2))


def test_balanced_cross_entropy_per_image(z, y):
    each = [balanced_cross_entropy(z[n : n + 1], y[n : n + 1]) for n in range(2)]
    assert_same(balanced_cross_entropy(z, y, per_image=True), sum(each) / 2, z)


class TestHardPixels:
    def test_fewer_than_min_kept_means_exactly_the_hardest(self, x, t):
        """The off-by-one of the facts: 10 pixels, not 6 (no minimum) and not 9."""
        assert ohem(x, t, threshold=0.05, min_kept=10).item() == pytest.approx(3.04402277)
        assert ohem(x, t, threshold=0.05, min_kept=6).item() == pytest.approx(3.37220493)
        assert ohem(x, t, threshold=0.05, min_kept=9).item() == pytest.approx(3.10340583)
        top = pixel_cross_entropy(x, t).flatten().topk(10).values.mean()
        assert_same(ohem(x, t, threshold=0.05, min_kept=10), top, x)

    def test_counts_of_chosen_pixels(self, x, t):
        loss = pixel_cross_entropy(x, t).flatten()
        for threshold, kept, min_kept in ((0.7, 27, 4), (0.1, 11, 10)):
            chosen = gradient(ohem(x, t, threshold=threshold, min_kept=min_kept), x)
            assert (chosen.abs().sum(1) > 0).sum() == kept
            assert (loss > -math.log(threshold)).sum() == kept

    def test_averaging_over_all_pixels_would_give_another_number(self, x, t):
        assert ohem(x, t, min_kept=4).item() * 27 / 32 == pytest.approx(1.64580632)

    def test_more_than_there_are_means_all(self, x, ti):
        assert_same(ohem(x, ti, min_kept=10_000), cross_entropy(x, ti), x)

    def test_the_threshold_is_strict(self):
        logits, truth = torch.zeros(1, 2, 1, 2), torch.zeros(1, 1, 2, dtype=torch.long)
        logits[0, 0, 0, 1] = -1.0  # the first pixel has exactly p = 1/2, the second less
        hard = pixel_cross_entropy(logits, truth)[0, 0, 1]
        assert ohem(logits, truth, threshold=0.5, min_kept=1).item() == pytest.approx(hard.item())

    def test_void_is_never_chosen(self, x, ti):
        for loss in (
            ohem(x, ti, threshold=0.9, min_kept=20),
            bootstrapped_cross_entropy(x, ti, share=0.9),
        ):
            assert not gradient(loss, x).movedim(1, -1)[ti == IGNORE].any()

    def test_bootstrapping_takes_a_share_of_every_image(self, x, ti):
        chosen = gradient(bootstrapped_cross_entropy(x, ti, share=0.25), x).abs().sum(1) > 0
        assert chosen.sum(dim=(1, 2)).tolist() == [3, 4]  # of 12 and 15 counted pixels
        assert_same(bootstrapped_cross_entropy(x, ti, share=1.0), cross_entropy(x, ti), x)


class TestClassWeights:
    def three_images(self):
        truth = torch.zeros(3, 4, 4, dtype=torch.long)
        truth[0, :, 2:] = 1
        truth[1, 1:] = 1
        truth[1, 0, 0] = 2
        return truth

    def test_counts(self):
        counts = class_counts(self.three_images(), 3)
        assert counts.tolist() == [[8, 8, 0], [3, 12, 1], [16, 0, 0]]
        assert counts.sum(0).tolist() == [27, 20, 1]

    def test_void_is_not_counted(self, ti):
        assert class_counts(ti, 3).sum(0).tolist() == [9, 9, 9]

    def test_median_frequency(self):
        weights = median_frequency_weights(class_counts(self.three_images(), 3))
        assert weights.tolist() == pytest.approx([1.0, 0.9, 9.0])

    def test_inverse_frequency(self):
        counts = torch.tensor([[176, 80]])
        assert inverse_frequency_weights(counts).tolist() == pytest.approx([0.625, 1.375])

    def test_log_frequency_is_bounded(self):
        weights = log_frequency_weights(torch.tensor([[100, 0]]))
        assert weights.tolist() == pytest.approx([1.42228, 50.49835], abs=1e-5)

    def test_a_class_that_never_occurs_weighs_nothing_and_moves_no_average(self):
        with_extra = torch.tensor([[176, 0, 80]])
        for scheme in (inverse_frequency_weights, median_frequency_weights):
            found = scheme(with_extra)
            assert found[1] == 0
            assert torch.equal(found[[0, 2]], scheme(with_extra[:, [0, 2]]))


class TestBorderWeights:
    def two_objects(self):
        instance = torch.zeros(16, 16, dtype=torch.long)
        instance[4:12, 2:7] = 1
        instance[4:12, 9:14] = 2
        return instance

    @pytest.mark.parametrize(
        "row, column, weight",
        [(8, 7, 8.352702), (12, 8, 7.660628), (0, 8, 2.28193), (8, 0, 0.889216), (4, 4, 0)],
    )
    def test_golden_pixels(self, row, column, weight):
        found = border_weights(self.two_objects())[row, column].item()
        assert found == pytest.approx(weight, abs=1e-6)

    def test_sum_maximum_and_batch(self):
        instance = self.two_objects()
        weights = border_weights(instance)
        assert weights.sum().item() == pytest.approx(515.170384, abs=1e-3)
        assert weights.max() == weights[8, 7]
        stacked = border_weights(torch.stack([instance, instance.flip(1)]))
        assert torch.equal(stacked, torch.stack([weights, weights.flip(1)]))

    def test_fewer_than_two_objects_have_no_gap(self):
        one = (self.two_objects() == 1).long()
        assert not border_weights(one).any()
        assert not border_weights(one * 0).any()

    def test_inside_objects_the_formula_alone_would_not_be_zero(self):
        assert 10 * math.exp(-(5**2) / 50) == pytest.approx(6.065307, abs=1e-6)

    def test_weighted_cross_entropy(self, z, y):
        ones = torch.ones(y.shape)
        assert_same(pixel_weighted_cross_entropy(z, y, ones), cross_entropy(z, y), z)
        by_class = torch.where(y == 1, 3.0, 1.0)
        expected = cross_entropy(z, y, weight=[1, 3], divide_by="pixels")
        assert_same(pixel_weighted_cross_entropy(z, y, by_class), expected, z)


def test_the_bias_that_makes_everything_background_at_first():
    """With the prior 0.01, every pixel starts at p = 0.01 and the loss of background is small."""
    bias = -math.log((1 - 0.01) / 0.01)
    assert bias == pytest.approx(-4.59511985, abs=1e-8)
    assert torch.sigmoid(torch.tensor(bias)).item() == pytest.approx(0.01)
