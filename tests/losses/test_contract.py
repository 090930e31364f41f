"""What holds for every loss: finite, differentiable, blind to void; and it refuses bad input."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcourse.losses.boundary import boundary_loss, hausdorff_dt_loss, signed_distance
from segcourse.losses.overlap import (
    dice,
    focal_tversky,
    generalised_dice,
    jaccard,
    log_cosh_dice,
    log_dice,
    lovasz_hinge,
    lovasz_softmax,
    tversky,
)
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
    pixel_weighted_cross_entropy,
    sigmoid_focal,
)
from segcourse.ops.labels import IGNORE


def with_ones(logits, truth):
    return pixel_weighted_cross_entropy(logits, truth, torch.ones(truth.shape))


def with_weights(logits, truth, **how):
    classes = max(logits.shape[1], 2)
    return cross_entropy(logits, truth, weight=torch.arange(classes).float(), **how)


ANY_NUMBER_OF_CLASSES = {
    "cross_entropy": cross_entropy,
    "cross_entropy, weights from 0": with_weights,
    "cross_entropy, by pixels": partial(with_weights, divide_by="pixels"),
    "cross_entropy, smoothed": partial(cross_entropy, label_smoothing=0.1),
    "pixel_weighted_cross_entropy": with_ones,
    "focal": focal,
    "focal, gamma 1/2": partial(focal, gamma=0.5),
    "sigmoid_focal": sigmoid_focal,
    "sigmoid_focal, gamma 1/2": partial(sigmoid_focal, gamma=0.5, alpha=0.25),
    "sigmoid_focal, by positives": partial(sigmoid_focal, divide_by="positives"),
    "ohem": partial(ohem, min_kept=3),
    "bootstrapped": bootstrapped_cross_entropy,
    "dice": dice,
    "dice, all classes": partial(dice, classes="all"),
    "dice, squared": partial(dice, squared=True),
    "dice, per image": partial(dice, per_image=True),
    "log_dice": log_dice,
    "log_cosh_dice": log_cosh_dice,
    "generalised_dice": generalised_dice,
    "generalised_dice, per image": partial(generalised_dice, per_image=True),
    "jaccard": jaccard,
    "tversky": tversky,
    "focal_tversky": focal_tversky,
    "focal_tversky, per image": partial(focal_tversky, per_image=True),
    "lovasz_softmax": lovasz_softmax,
    "lovasz_softmax, per image": partial(lovasz_softmax, per_image=True),
    "lovasz_softmax, all classes": partial(lovasz_softmax, classes="all"),
    "boundary_loss": boundary_loss,
    "hausdorff_dt_loss": hausdorff_dt_loss,
}
ONE_CHANNEL = {
    "lovasz_hinge": lovasz_hinge,
    "lovasz_hinge, per image": partial(lovasz_hinge, per_image=True),
    "balanced_cross_entropy": balanced_cross_entropy,
    "balanced_cross_entropy, per image": partial(balanced_cross_entropy, per_image=True),
}
ALL = {**ANY_NUMBER_OF_CLASSES, **ONE_CHANNEL}


@st.composite
def problems(draw, channels):
    """Logits up to ±10 000 and truths with absent classes, void, and as little as one pixel."""
    count, height, width = (draw(st.integers(1, high)) for high in (2, 4, 4))
    classes = draw(channels)
    scale = draw(st.sampled_from([0.0, 1.0, 30.0, 1e4]))
    seed = draw(st.integers(0, 2**20))
    random = torch.Generator().manual_seed(seed)
    logits = scale * (2 * torch.rand(count, classes, height, width, generator=random) - 1)
    if draw(st.booleans()):
        logits = scale * logits.sign()
    allowed = draw(st.lists(st.sampled_from([*range(max(classes, 2)), IGNORE]), min_size=1))
    chosen = torch.randint(len(allowed), (count, height, width), generator=random)
    truth = torch.tensor(allowed)[chosen]
    return logits.to(draw(st.sampled_from([torch.float32, torch.float16]))), truth


def check_contract(loss, logits, truth):
    logits.requires_grad_()
    value = loss(logits, truth)
    assert value.shape == () and value.dtype == torch.float32 and value.isfinite()
    (slope,) = torch.autograd.grad(value, logits)
    assert slope.isfinite().all()
    void = (truth == IGNORE)[:, None].expand_as(logits)
    assert not slope[void].any(), "void has a gradient"
    changed = torch.where(void, -logits.detach() + 1, logits.detach())
    assert loss(changed, truth).item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6)
    if (truth == IGNORE).all():
        assert value == 0


@pytest.mark.parametrize("name", ANY_NUMBER_OF_CLASSES)
@settings(max_examples=60, derandomize=True)
@given(problem=problems(st.integers(1, 4)))
def test_finite_differentiable_and_blind_to_void(name, problem):
    check_contract(ANY_NUMBER_OF_CLASSES[name], *problem)


@pytest.mark.parametrize("name", ONE_CHANNEL)
@settings(max_examples=60, derandomize=True)
@given(problem=problems(st.just(1)))
def test_so_are_the_losses_of_one_channel(name, problem):
    check_contract(ONE_CHANNEL[name], *problem)


@pytest.mark.parametrize("name", ALL)
def test_a_perfect_prediction_beats_its_opposite(name):
    truth = torch.tensor([[[0, 0, 1], [0, 1, 1]]])
    right = 20.0 * (2 * truth[:, None] - 1)
    assert ALL[name](right, truth) < ALL[name](-right, truth)


@pytest.mark.parametrize("name", ALL)
def test_labels_may_have_any_integer_type(name):
    logits, truth = torch.randn(1, 1, 3, 3), torch.tensor([[[0, 1, 255], [1, 1, 0], [0, 0, 1]]])
    expected = ALL[name](logits, truth)
    for dtype in (torch.uint8, torch.int32):
        assert torch.equal(ALL[name](logits, truth.to(dtype)), expected)


LOGITS = torch.zeros(2, 3, 4, 5)
TRUTH = torch.zeros(2, 4, 5, dtype=torch.long)
ONE = torch.zeros(2, 1, 4, 5)
BAD_PAIRS = {
    "float truth": (LOGITS, TRUTH.float(), TypeError, "dtype is torch.float32"),
    "bool truth": (LOGITS, TRUTH.bool(), TypeError, "torch.bool"),
    "numpy truth": (LOGITS, TRUTH.numpy(), TypeError, "ndarray"),
    "integer logits": (LOGITS.long(), TRUTH, TypeError, "torch.int64"),
    "no tensor": ([[0.0]], TRUTH, TypeError, "list"),
    "label without channel": (LOGITS, TRUTH + 3, ValueError, r"labels \[3\].*3 classes"),
    "negative label": (LOGITS, TRUTH - 1, ValueError, r"labels \[-1\]"),
    "three labels for one channel": (ONE, TRUTH + 2, ValueError, r"labels \[2\].*2 classes"),
    "another size": (LOGITS, TRUTH[:, :3], ValueError, r"\(2, 4, 5\).*\(2, 3, 5\)"),
    "another number of images": (LOGITS, TRUTH[:1], ValueError, r"\(1, 4, 5\)"),
    "truth with a channel axis": (LOGITS, TRUTH[:, None], ValueError, r"truth\[:, 0\]"),
    "one-hot truth": (LOGITS, LOGITS.long(), ValueError, r"argmax\(1\)"),
    "logits without batch": (LOGITS[0], TRUTH, ValueError, r"logits\[None\]"),
    "no pixel": (LOGITS[..., :0], TRUTH[..., :0], ValueError, "at least one pixel"),
}


@pytest.mark.parametrize(
    "loss", [cross_entropy, sigmoid_focal, dice, lovasz_softmax, boundary_loss]
)
@pytest.mark.parametrize("logits, truth, error, message", BAD_PAIRS.values(), ids=BAD_PAIRS)
def test_bad_pairs_are_refused(loss, logits, truth, error, message):
    with pytest.raises(error, match=message):
        loss(logits, truth)


COUNTS = torch.tensor([[3, 1]])
INSTANCE = torch.zeros(4, 4, dtype=torch.long)
BAD_OPTIONS = {
    "weights of another number": (lambda: cross_entropy(LOGITS, TRUTH, weight=[1.0, 2.0]), "3"),
    "negative weight": (lambda: cross_entropy(LOGITS, TRUTH, weight=[1, -1, 1]), "at least 0"),
    "divide_by": (lambda: cross_entropy(LOGITS, TRUTH, divide_by="mean"), "'mean'"),
    "label_smoothing": (lambda: cross_entropy(LOGITS, TRUTH, label_smoothing=1.5), "1.5"),
    "pixel weights": (
        lambda: pixel_weighted_cross_entropy(LOGITS, TRUTH, torch.ones(4, 5)),
        r"\(4, 5\)",
    ),
    "balanced, three classes": (lambda: balanced_cross_entropy(LOGITS, TRUTH), "3 channels"),
    "gamma": (lambda: focal(LOGITS, TRUTH, gamma=-1), "gamma=-1"),
    "alpha": (lambda: sigmoid_focal(LOGITS, TRUTH, alpha=2), "alpha=2"),
    "focal divide_by": (lambda: sigmoid_focal(LOGITS, TRUTH, divide_by="boxes"), "'boxes'"),
    "ohem threshold": (lambda: ohem(LOGITS, TRUTH, threshold=7, min_kept=1), "threshold=7"),
    "ohem min_kept": (lambda: ohem(LOGITS, TRUTH, min_kept=0), "min_kept=0"),
    "share": (lambda: bootstrapped_cross_entropy(LOGITS, TRUTH, share=0), "share=0"),
    "smooth": (lambda: dice(LOGITS, TRUTH, smooth=-1), "smooth=-1"),
    "classes": (lambda: dice(LOGITS, TRUTH, classes="foreground"), "'foreground'"),
    "tversky prices": (lambda: tversky(LOGITS, TRUTH, false_negatives=-1), "false_negatives=-1"),
    "power": (lambda: focal_tversky(LOGITS, TRUTH, power=0), "power=0"),
    "hinge, three channels": (lambda: lovasz_hinge(LOGITS, TRUTH), "lovasz_softmax"),
    "distances": (
        lambda: boundary_loss(LOGITS, TRUTH, distances=torch.zeros(2, 4, 5)),
        "signed_distance",
    ),
    "hausdorff alpha": (lambda: hausdorff_dt_loss(LOGITS, TRUTH, alpha=0), "alpha=0"),
    "distances of one map": (lambda: signed_distance(TRUTH[0], 2), r"truth\[None\]"),
    "distances of no class": (lambda: signed_distance(TRUTH, 0), "num_classes=0"),
    "counts of one map": (lambda: class_counts(TRUTH[0], 3), r"truth\[None\]"),
    "counts without images": (lambda: median_frequency_weights(COUNTS[0]), "class_counts"),
    "counts of nothing": (lambda: inverse_frequency_weights(0 * COUNTS), "total 0"),
    "offset": (lambda: log_frequency_weights(COUNTS, offset=1.0), "offset=1.0"),
    "sigma": (lambda: border_weights(INSTANCE, sigma=0), "sigma=0"),
    "flat instance map": (lambda: border_weights(INSTANCE[0]), r"\(4,\)"),
}


@pytest.mark.parametrize("call, message", BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_bad_options_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("instance", [INSTANCE.float(), INSTANCE.bool(), INSTANCE.numpy()])
def test_border_weights_want_object_numbers(instance):
    with pytest.raises(TypeError, match="number of an object"):
        border_weights(instance)
