"""What holds for every loss: finite, differentiable, blind to void; and it refuses bad input."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from segcourse.losses.boundary import boundary_loss, hausdorff_dt_loss
from segcourse.losses.lovasz import lovasz_hinge_loss, lovasz_softmax_loss
from segcourse.losses.overlap import (
    dice_loss,
    focal_tversky_loss,
    generalized_dice_loss,
    jaccard_loss,
    log_cosh_dice_loss,
    log_dice_loss,
    tversky_loss,
)
from segcourse.losses.pixelwise import (
    balanced_cross_entropy,
    bootstrapped_cross_entropy,
    cross_entropy,
    focal_loss,
    ohem_cross_entropy,
    pixel_weighted_cross_entropy,
    sigmoid_focal_loss,
)
from segcourse.losses.weights import (
    border_weights,
    class_counts,
    inverse_frequency_weights,
    log_frequency_weights,
    median_frequency_weights,
)
from segcourse.ops.distance import signed_distance
from segcourse.ops.labels import IGNORE
from segcourse.training import fit


def with_ones(logits, target, **how):
    """Pixel weights, which are nan on the void of most tests."""
    weights = torch.ones(target.shape).where(target.long() != IGNORE, float("nan"))
    return pixel_weighted_cross_entropy(logits, target, weights, **how)


def with_weights(logits, target, **how):
    classes = max(logits.shape[1], 2)
    return cross_entropy(logits, target, weight=torch.arange(classes).float(), **how)


ANY_NUMBER_OF_CLASSES = {
    "cross_entropy": cross_entropy,
    "cross_entropy, weights from 0": with_weights,
    "cross_entropy, by pixels": partial(with_weights, normalizer="pixels"),
    "cross_entropy, smoothed": partial(cross_entropy, label_smoothing=0.1),
    "pixel_weighted_cross_entropy": with_ones,
    "focal_loss": focal_loss,
    "focal_loss, gamma 1/2": partial(focal_loss, gamma=0.5),
    "sigmoid_focal_loss": sigmoid_focal_loss,
    "sigmoid_focal_loss, gamma 1/2": partial(sigmoid_focal_loss, gamma=0.5, alpha=0.25),
    "sigmoid_focal_loss, by positives": partial(sigmoid_focal_loss, normalizer="positives"),
    "ohem_cross_entropy": partial(ohem_cross_entropy, min_kept=3),
    "bootstrapped": bootstrapped_cross_entropy,
    "dice_loss": dice_loss,
    "dice_loss, all classes": partial(dice_loss, classes="all"),
    "dice_loss, squared": partial(dice_loss, squared=True),
    "dice_loss, per image": partial(dice_loss, per_image=True),
    "log_dice_loss": log_dice_loss,
    "log_cosh_dice_loss": log_cosh_dice_loss,
    "generalized_dice_loss": generalized_dice_loss,
    "generalized_dice_loss, per image": partial(generalized_dice_loss, per_image=True),
    "jaccard_loss": jaccard_loss,
    "tversky_loss": tversky_loss,
    "focal_tversky_loss": focal_tversky_loss,
    "focal_tversky_loss, per image": partial(focal_tversky_loss, per_image=True),
    "lovasz_softmax_loss": lovasz_softmax_loss,
    "lovasz_softmax_loss, per image": partial(lovasz_softmax_loss, per_image=True),
    "lovasz_softmax_loss, all classes": partial(lovasz_softmax_loss, classes="all"),
    "boundary_loss": boundary_loss,
    "hausdorff_dt_loss": hausdorff_dt_loss,
}
ONE_CHANNEL = {
    "lovasz_hinge_loss": lovasz_hinge_loss,
    "lovasz_hinge_loss, per image": partial(lovasz_hinge_loss, per_image=True),
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
    target = torch.tensor(allowed)[chosen]
    return logits.to(draw(st.sampled_from([torch.float32, torch.float16]))), target


def check_contract(loss, logits, target):
    logits.requires_grad_()
    value = loss(logits, target)
    assert value.shape == () and value.dtype == torch.float32 and value.isfinite()
    (slope,) = torch.autograd.grad(value, logits)
    assert slope.isfinite().all()
    void = (target == IGNORE)[:, None].expand_as(logits)
    assert not slope[void].any(), "void has a gradient"
    changed = torch.where(void, -logits.detach() + 1, logits.detach())
    assert loss(changed, target).item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6)
    if (target == IGNORE).all():
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
    target = torch.tensor([[[0, 0, 1], [0, 1, 1]]])
    right = 20.0 * (2 * target[:, None] - 1)
    assert ALL[name](right, target) < ALL[name](-right, target)


def random_pair(name, height=6, width=7):
    """Logits of 2 images, and a target whose first row of pixels is void."""
    random = torch.Generator().manual_seed(0)
    channels = 1 if name in ONE_CHANNEL else 4
    logits = torch.randn(2, channels, height, width, generator=random)
    target = torch.randint(max(channels, 2), (2, height, width), generator=random)
    target[:, :1] = IGNORE
    return logits, target


def value_and_slope(loss, logits, target, **how):
    logits = logits.clone().requires_grad_()
    value = loss(logits, target, **how)
    value.backward()
    return value.detach(), logits.grad


@pytest.mark.parametrize("name", ALL)
def test_nan_stays_nan(name):
    logits, target = random_pair(name)
    assert ALL[name](torch.full_like(logits, float("nan")), target).isnan()
    logits[1, :, 3, 3] = float("nan")
    assert ALL[name](logits, target).isnan()


@pytest.mark.parametrize("name", ANY_NUMBER_OF_CLASSES)
def test_nan_stays_nan_in_a_network_of_one_channel(name):
    logits = torch.zeros(1, 1, 3, 3)
    logits[0, 0, 1, 1] = float("nan")
    for label in (0, 1):
        assert ALL[name](logits, torch.full((1, 3, 3), label)).isnan()


def test_training_stops_at_a_network_that_has_diverged():
    class Diverged(nn.Conv2d):
        def forward(self, image):
            return super().forward(image) * float("nan")

    model = Diverged(3, 2, 1)
    batch = (torch.rand(1, 3, 4, 4), torch.randint(2, (1, 4, 4)))
    with pytest.raises(FloatingPointError):
        fit(model, lambda net, b: dice_loss(net(b[0]), b[1]), [batch], steps=3, progress=False)


@pytest.mark.parametrize("said", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ALL)
def test_it_does_not_matter_what_is_said_on_void(name, said):
    logits, target = random_pair(name)
    odd = logits.clone()
    odd[:, :, :1] = said
    odd[1, -1:, 0, 0] = 0  # and one number among them
    value, slope = value_and_slope(ALL[name], logits, target)
    found, found_slope = value_and_slope(ALL[name], odd, target)
    assert found == value
    assert torch.equal(found_slope, slope)
    assert not found_slope[:, :, :1].any()


@pytest.mark.parametrize("name", ALL)
def test_void_everywhere_is_nothing_to_learn_from(name):
    logits, target = random_pair(name)
    for said in (logits, torch.full_like(logits, float("nan"))):
        value, slope = value_and_slope(ALL[name], said, torch.full_like(target, IGNORE))
        assert value == 0 and not slope.any()


@pytest.mark.parametrize("name", [name for name in ALL if "per image" in name])
def test_an_image_of_void_changes_no_mean_of_images(name):
    logits, target = random_pair(name)
    target[1] = IGNORE
    alone = ALL[name](logits[:1], target[:1])
    assert ALL[name](logits, target).item() == pytest.approx(alone.item())


MULTILABEL = [name for name in ALL if ALL[name] in (
    sigmoid_focal_loss, dice_loss, log_dice_loss, log_cosh_dice_loss, generalized_dice_loss,
    jaccard_loss, tversky_loss, focal_tversky_loss, lovasz_softmax_loss, lovasz_hinge_loss,
    boundary_loss, hausdorff_dt_loss)]  # fmt: skip


@pytest.mark.parametrize("said", [float("nan"), float("inf"), 5.0])
@pytest.mark.parametrize("name", MULTILABEL)
def test_void_of_one_class_says_nothing_about_the_others(name, said):
    loss = partial(ALL[name], multilabel=True)
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 7, generator=random)
    target = torch.randint(2, logits.shape, generator=random)
    target[0, 1, :2], target[1, 2] = IGNORE, IGNORE
    void = target == IGNORE
    value, slope = value_and_slope(loss, logits, target)
    found, found_slope = value_and_slope(loss, logits.masked_fill(void, said), target)
    assert found == value and torch.equal(found_slope, slope)
    assert value.isfinite() and not slope[void].any() and slope.any()
    logits[1, 1, 3, 3] = float("nan")
    assert loss(logits, target).isnan()
    value, slope = value_and_slope(loss, logits, torch.full_like(target, IGNORE))
    assert value == 0 and not slope.any()


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1)])
@pytest.mark.parametrize("name", ALL)
def test_images_of_one_row_or_column(name, size):
    logits, target = random_pair(name, *size)
    target[:] = 1
    value, slope = value_and_slope(ALL[name], logits, target)
    assert value.isfinite() and slope.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_labels_may_have_any_integer_type(name):
    logits, target = torch.randn(1, 1, 3, 3), torch.tensor([[[0, 1, 255], [1, 1, 0], [0, 0, 1]]])
    expected = ALL[name](logits, target)
    for dtype in (torch.uint8, torch.int16, torch.uint16, torch.int32):
        assert torch.equal(ALL[name](logits, target.to(dtype)), expected)
    full = target.where(target != IGNORE, 0)
    assert torch.equal(ALL[name](logits, full.to(torch.int8)), ALL[name](logits, full))


@pytest.mark.parametrize("void, dtype", [(-1, torch.int8), (-100, torch.int64), (7, torch.uint8)])
@pytest.mark.parametrize("name", ALL)
def test_void_may_have_another_label(name, void, dtype):
    logits, target = random_pair(name)
    renamed = target.where(target != IGNORE, void).to(dtype)
    assert torch.equal(ALL[name](logits, renamed, ignore_index=void), ALL[name](logits, target))
    if void != 7:
        return
    with pytest.raises(ValueError, match="labels"):
        ALL[name](logits, target, ignore_index=void)  # 255 is no class then


@pytest.mark.parametrize("name", ALL)
def test_a_class_may_be_void(name):
    logits, target = random_pair(name)
    wanted = ALL[name](logits, target.where(target != 1, IGNORE))
    found = ALL[name](logits, target.where(target != IGNORE, 1), ignore_index=1)
    assert found == wanted


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ALL)
def test_half_precision_is_summed_in_float32(name, kind):
    logits, target = random_pair(name)
    logits = logits.to(kind)
    value, slope = value_and_slope(ALL[name], logits, target)
    wanted, wanted_slope = value_and_slope(ALL[name], logits.float(), target)
    assert value == wanted and torch.equal(slope, wanted_slope.to(kind))


@pytest.mark.parametrize("name", ALL)
def test_autocast_changes_nothing(name):
    logits, target = random_pair(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = value_and_slope(ALL[name], logits, target)
    wanted = value_and_slope(ALL[name], logits, target)
    assert found[0] == wanted[0] and torch.equal(found[1], wanted[1])


@pytest.mark.parametrize("name", ALL)
def test_float64_stays_float64(name):
    logits, target = random_pair(name)
    value = ALL[name](logits.double(), target)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(ALL[name](logits, target).item(), rel=1e-5)


LOGITS = torch.zeros(2, 3, 4, 5)
TARGET = torch.zeros(2, 4, 5, dtype=torch.long)
ONE = torch.zeros(2, 1, 4, 5)
BAD_PAIRS = {
    "float target": (LOGITS, TARGET.float(), TypeError, "dtype is torch.float32"),
    "bool target": (LOGITS, TARGET.bool(), TypeError, "torch.bool"),
    "numpy target": (LOGITS, TARGET.numpy(), TypeError, "ndarray"),
    "integer logits": (LOGITS.long(), TARGET, TypeError, "torch.int64"),
    "no tensor": ([[0.0]], TARGET, TypeError, "list"),
    "label without channel": (LOGITS, TARGET + 3, ValueError, r"labels \[3\].*3 classes"),
    "negative label": (LOGITS, TARGET - 1, ValueError, r"labels \[-1\]"),
    "three labels for one channel": (ONE, TARGET + 2, ValueError, r"labels \[2\].*2 classes"),
    "another size": (LOGITS, TARGET[:, :3], ValueError, r"\(2, 4, 5\).*\(2, 3, 5\)"),
    "another number of images": (LOGITS, TARGET[:1], ValueError, r"\(1, 4, 5\)"),
    "target with a channel axis": (LOGITS, TARGET[:, None], ValueError, r"target\[:, 0\]"),
    "one-hot target": (LOGITS, LOGITS.long(), ValueError, r"argmax\(1\)"),
    "logits without batch": (LOGITS[0], TARGET, ValueError, r"logits\[None\]"),
    "no pixel": (LOGITS[..., :0], TARGET[..., :0], ValueError, "at least one pixel"),
}


@pytest.mark.parametrize(
    "loss", [cross_entropy, sigmoid_focal_loss, dice_loss, lovasz_softmax_loss, boundary_loss]
)
@pytest.mark.parametrize("logits, target, error, message", BAD_PAIRS.values(), ids=BAD_PAIRS)
def test_bad_pairs_are_refused(loss, logits, target, error, message):
    with pytest.raises(error, match=message):
        loss(logits, target)


COUNTS = torch.tensor([[3, 1]])
INSTANCE = torch.zeros(4, 4, dtype=torch.long)
BAD_OPTIONS = {
    "weights of another number": (lambda: cross_entropy(LOGITS, TARGET, weight=[1.0, 2.0]), "3"),
    "negative weight": (lambda: cross_entropy(LOGITS, TARGET, weight=[1, -1, 1]), "at least 0"),
    "normalizer": (lambda: cross_entropy(LOGITS, TARGET, normalizer="mean"), "'mean'"),
    "label_smoothing": (lambda: cross_entropy(LOGITS, TARGET, label_smoothing=1.5), "1.5"),
    "pixel weights": (
        lambda: pixel_weighted_cross_entropy(LOGITS, TARGET, torch.ones(4, 5)),
        r"\(4, 5\)",
    ),
    "balanced, three classes": (lambda: balanced_cross_entropy(LOGITS, TARGET), "3 channels"),
    "gamma": (lambda: focal_loss(LOGITS, TARGET, gamma=-1), "gamma=-1"),
    "alpha": (lambda: sigmoid_focal_loss(LOGITS, TARGET, alpha=2), "alpha=2"),
    "focal_loss normalizer": (
        lambda: sigmoid_focal_loss(LOGITS, TARGET, normalizer="boxes"),
        "'boxes'",
    ),
    "ohem_cross_entropy threshold": (
        lambda: ohem_cross_entropy(LOGITS, TARGET, threshold=7, min_kept=1),
        "threshold=7",
    ),
    "ohem_cross_entropy min_kept": (
        lambda: ohem_cross_entropy(LOGITS, TARGET, min_kept=0),
        "min_kept=0",
    ),
    "share": (lambda: bootstrapped_cross_entropy(LOGITS, TARGET, share=0), "share=0"),
    "smooth": (lambda: dice_loss(LOGITS, TARGET, smooth=-1), "smooth=-1"),
    "classes": (lambda: dice_loss(LOGITS, TARGET, classes="foreground"), "'foreground'"),
    "tversky_loss prices": (lambda: tversky_loss(LOGITS, TARGET, beta=-1), "beta=-1"),
    "focal Tversky gamma": (lambda: focal_tversky_loss(LOGITS, TARGET, gamma=0), "gamma=0"),
    "hinge, three channels": (lambda: lovasz_hinge_loss(LOGITS, TARGET), "lovasz_softmax_loss"),
    "distances": (
        lambda: boundary_loss(LOGITS, TARGET, distances=torch.zeros(2, 4, 5)),
        "signed_distance",
    ),
    "hausdorff alpha": (lambda: hausdorff_dt_loss(LOGITS, TARGET, alpha=0), "alpha=0"),
    "distances of one map": (lambda: signed_distance(TARGET[0], 2), r"target\[None\]"),
    "distances of no class": (lambda: signed_distance(TARGET, 0), "num_classes=0"),
    "counts of one map": (lambda: class_counts(TARGET[0], 3), r"target\[None\]"),
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
