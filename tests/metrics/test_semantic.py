"""Semantic metrics: the numbers of the fact sheet, and two libraries that everyone trusts."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCohenKappa,
    MulticlassConfusionMatrix,
    MulticlassFBetaScore,
    MulticlassJaccardIndex,
    MulticlassPrecision,
    MulticlassSpecificity,
)

from segcourse.metrics.semantic import (
    class_accuracy,
    cohen_kappa,
    confusion_matrix,
    dice,
    f_beta,
    frequency_weighted_iou,
    iou,
    mean_accuracy,
    mean_dice,
    mean_iou,
    mean_precision,
    micro_iou,
    pixel_accuracy,
    precision,
    recall,
    specificity,
)

NAN = math.nan
TARGET = torch.tensor(
    [[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 2, 2, 1, 1, 255], [0, 2, 2, 2, 255, 255]]
)
PREDS = torch.tensor(
    [[0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0], [0, 2, 2, 2, 1, 1], [2, 2, 2, 0, 0, 2]]
)
GOLDEN = confusion_matrix(PREDS, TARGET, 4)


def near(got, want, tolerance=1e-7):
    want = torch.as_tensor(want, dtype=torch.float64)
    return torch.allclose(torch.as_tensor(got).double(), want, atol=tolerance, equal_nan=True)


# ------------------------------------------------------------- the fixture of the fact sheet


def test_golden_matrix():
    assert GOLDEN.dtype == torch.int64
    assert GOLDEN.tolist() == [[5, 1, 1, 0], [2, 6, 1, 0], [1, 0, 4, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    "score, want",
    [
        (recall, [0.7142857, 0.6666667, 0.8, NAN]),
        (class_accuracy, [0.7142857, 0.6666667, 0.8, NAN]),
        (precision, [0.625, 0.8571429, 0.6666667, NAN]),
        (iou, [0.5, 0.6, 0.5714286, NAN]),
        (dice, [0.6666667, 0.75, 0.7272727, NAN]),
        (specificity, [11 / 14, 11 / 12, 14 / 16, 1.0]),
        (pixel_accuracy, 15 / 21),
        (mean_accuracy, 0.7269841),
        (mean_iou, 0.5571429),
        (mean_dice, 0.7146465),
        (mean_precision, (0.625 + 6 / 7 + 2 / 3) / 3),
        (frequency_weighted_iou, 0.5598639),
        (micro_iou, 15 / 27),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_golden_scores(score, want):
    assert near(score(GOLDEN), want, 1e-6)


def test_an_absent_class_may_be_made_to_count_as_in_other_libraries():
    assert mean_iou(GOLDEN, zero_division=0.0) == pytest.approx(0.4178571, abs=1e-6)
    assert mean_iou(GOLDEN, zero_division=1.0) == pytest.approx(0.6678571, abs=1e-6)
    assert iou(GOLDEN, zero_division=1.0)[3] == 1 and dice(GOLDEN, zero_division=0.0)[3] == 0


def test_golden_aggregation():
    target = torch.tensor([[[0, 0, 1, 1]] * 2, [[0, 0, 0, 0], [0, 0, 0, 2]]])
    preds = torch.tensor([[[0, 0, 1, 0]] * 2, [[0, 0, 0, 0], [0, 0, 1, 2]]])
    each = [confusion_matrix(p, t, 3) for p, t in zip(preds, target, strict=True)]
    assert near(iou(each[0]), [2 / 3, 0.5, NAN]) and near(iou(each[1]), [6 / 7, 0, 1])
    assert sum(map(mean_iou, each)) / 2 == pytest.approx(0.6011905, abs=1e-6)
    assert near(iou(each[0] + each[1]), [0.7692308, 0.4, 1], 1e-6)
    assert mean_iou(each[0] + each[1]) == pytest.approx(0.7230769, abs=1e-6)
    assert torch.equal(each[0] + each[1], confusion_matrix(preds, target, 3))


# --------------------------------------------------- other libraries, on random and nasty inputs


def nasty(kind, classes=5):
    generator = torch.Generator().manual_seed(KINDS.index(kind))
    target = torch.randint(0, classes, (3, 13, 17), generator=generator)
    preds = torch.randint(0, classes, (3, 13, 17), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.1] = 255
    if kind == "absent from the target":
        target[target == 2] = 1
    elif kind == "never predicted":
        preds[preds == 0] = 3
    elif kind == "absent from both":
        target[target == 4], preds[preds == 4] = 0, 1
    elif kind == "one class":
        target, preds = torch.ones_like(target), torch.ones_like(target)
    elif kind == "one class, all wrong":
        target, preds = torch.ones_like(target), torch.zeros_like(target)
    elif kind == "one pixel":
        target, preds = target[:1, :1, :1] * 0 + 3, preds[:1, :1, :1] * 0 + 3
    elif kind == "one pixel that counts":
        target[:], preds[:] = 255, 4
        target[1, 2, 3] = 1
    elif kind == "perfect":
        preds = target.where(target != 255, 0)
    return preds, target


KINDS = [
    "random", "absent from the target", "never predicted", "absent from both", "one class",
    "one class, all wrong", "one pixel", "one pixel that counts", "perfect",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
class TestAgreesWith:
    def test_torchmetrics(self, kind):
        preds, target = nasty(kind)
        ours = confusion_matrix(preds, target, 5)
        setting = {"num_classes": 5, "ignore_index": 255}
        theirs = MulticlassConfusionMatrix(**setting)(preds, target)
        assert torch.equal(ours, theirs)

        def ask(metric, **more):
            return metric(**setting, **more)(preds, target)

        # they show 0 for a class without denominator, and leave a class absent from both out
        assert near(iou(ours, zero_division=0.0), ask(MulticlassJaccardIndex, average="none"), 1e-6)
        assert near(mean_iou(ours), ask(MulticlassJaccardIndex, average="macro"), 1e-6)
        assert near(micro_iou(ours), ask(MulticlassJaccardIndex, average="micro"), 1e-6)
        weighted = ask(MulticlassJaccardIndex, average="weighted")
        assert near(frequency_weighted_iou(ours), weighted, 1e-6)
        assert near(recall(ours, zero_division=0.0), ask(MulticlassAccuracy, average="none"), 1e-6)
        assert near(pixel_accuracy(ours), ask(MulticlassAccuracy, average="micro"), 1e-6)
        assert near(
            precision(ours, zero_division=0.0), ask(MulticlassPrecision, average="none"), 1e-6
        )
        theirs = ask(MulticlassSpecificity, average="none")
        assert near(specificity(ours, zero_division=0.0), theirs, 1e-6)
        chance = cohen_kappa(ours)
        if not math.isnan(chance):
            assert near(chance, ask(MulticlassCohenKappa), 1e-5)

    def test_scikit_learn(self, kind):
        preds, target = nasty(kind)
        counted = target != 255
        p, t, labels = preds[counted].numpy(), target[counted].numpy(), list(range(5))
        ours = confusion_matrix(preds, target, 5)
        assert (ours.numpy() == sk.confusion_matrix(t, p, labels=labels)).all()
        setting = {"labels": labels, "average": None, "zero_division": 0}
        assert near(iou(ours, zero_division=0.0), sk.jaccard_score(t, p, **setting))
        assert near(dice(ours, zero_division=0.0), sk.f1_score(t, p, **setting))
        assert near(precision(ours, zero_division=0.0), sk.precision_score(t, p, **setting))
        assert near(recall(ours, zero_division=0.0), sk.recall_score(t, p, **setting))
        assert near(pixel_accuracy(ours), sk.accuracy_score(t, p))
        assert near(mean_iou(ours), sk.jaccard_score(t, p, average="macro", zero_division=0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # balanced accuracy leaves out classes that the target lacks, as we do
            assert near(mean_accuracy(ours), sk.balanced_accuracy_score(t, p))
            assert near(cohen_kappa(ours), sk.cohen_kappa_score(t, p))


def test_nothing_but_void_is_nan_everywhere():
    matrix = confusion_matrix(torch.zeros(2, 3, dtype=torch.long), torch.full((2, 3), 255), 3)
    assert matrix.sum() == 0
    for score in (iou, dice, recall, precision, specificity, f_beta):
        assert score(matrix).isnan().all()
    for score in (mean_iou, mean_dice, mean_accuracy, pixel_accuracy, micro_iou, cohen_kappa):
        assert math.isnan(score(matrix))
    assert math.isnan(frequency_weighted_iou(matrix))


@pytest.mark.parametrize("beta", [0, 0.5, 1, 2, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_f_beta_is_that_of_scikit_learn_and_torchmetrics(kind, beta):
    preds, target = nasty(kind)
    counted = target != 255
    ours = confusion_matrix(preds, target, 5)
    for value in (0.0, 1.0, NAN):
        setting = {"labels": list(range(5)), "average": None, "zero_division": value, "beta": beta}
        wanted = sk.fbeta_score(target[counted].numpy(), preds[counted].numpy(), **setting)
        assert near(f_beta(ours, beta, zero_division=value), wanted)
    if beta > 0:  # theirs wants a positive one
        theirs = MulticlassFBetaScore(float(beta), 5, average="none", ignore_index=255)(
            preds, target
        )
        assert near(f_beta(ours, beta, zero_division=0.0), theirs, 1e-6)


def test_f_beta_lies_between_precision_and_recall():
    assert near(f_beta(GOLDEN, 0), precision(GOLDEN)) and near(f_beta(GOLDEN), dice(GOLDEN))
    assert near(f_beta(GOLDEN, 1e6), recall(GOLDEN), 1e-9)
    for beta in (-1, NAN, math.inf):
        with pytest.raises(ValueError, match=f"beta={beta} weighs nothing"):
            f_beta(GOLDEN, beta)


# ------------------------------------------------------------------------------------- void


@pytest.mark.parametrize("ignore_index", [-100, -1, 0, 2, 254, 255, 256, 1000])
@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_any_label_may_mean_void(ignore_index, dtype):
    preds, target = nasty("random")
    target = target.where(target != 255, ignore_index)
    setting = {"num_classes": 5, "ignore_index": ignore_index}
    ours = confusion_matrix(preds.to(dtype), target.to(dtype), **setting)
    assert torch.equal(ours, MulticlassConfusionMatrix(**setting)(preds, target))
    assert ours.sum() == (target != ignore_index).sum()
    with pytest.raises(ValueError, match=r"target holds the labels \[77\]"):
        confusion_matrix(preds, target.where(target != 1, 77), **setting)
    if ignore_index not in range(5):
        with pytest.raises(ValueError, match="preds holds the label"):
            confusion_matrix(preds.where(preds != 3, ignore_index), target, **setting)


def test_unsigned_labels_hold_no_negative_void():
    preds, target = torch.zeros(2, 2, 3, dtype=torch.uint8)
    assert confusion_matrix(preds, target, 3, ignore_index=-1).sum() == 6
    with pytest.raises(ValueError, match=r"target holds the labels \[255\]"):  # -1 wrapped around
        confusion_matrix(preds, target - 1, 3, ignore_index=-1)
    with pytest.raises(ValueError, match=r"target holds the labels \[-1\]"):
        confusion_matrix(preds, torch.full((2, 3), 255).to(torch.int8), 3)  # 255 wrapped around


def test_wrong_uint16_labels_are_named():
    for value in (7, 255, 60_000):
        with pytest.raises(ValueError, match=f"preds holds the label.*{value}"):
            confusion_matrix(
                torch.full((2, 2), value).to(torch.uint16), torch.zeros(2, 2).byte(), 3
            )


def test_scores_do_not_depend_on_the_type_of_the_counts_or_on_autocast():
    counts = torch.tensor([[60_000, 100], [3000, 40_000]])
    scores = (iou, dice, recall, precision, specificity, frequency_weighted_iou, cohen_kappa)
    wanted = [torch.as_tensor(score(counts)) for score in scores]
    with torch.autocast("cpu", torch.bfloat16):
        for one, score in zip(wanted, scores, strict=True):
            assert torch.equal(one, torch.as_tensor(score(counts)))
            assert torch.equal(one, torch.as_tensor(score(counts.to(torch.int32))))
    small = torch.tensor([[200, 100], [100, 200]])
    for dtype in (
        torch.uint8,
        torch.int16,
        torch.float16,
        torch.bfloat16,
    ):  # sums wrap, or overflow
        for score in scores:
            assert near(score(small.to(dtype)), score(small))
    large = torch.full((2, 2), 60_000.0, dtype=torch.float16)
    assert frequency_weighted_iou(large) == frequency_weighted_iou(large.long()) == 1 / 3


def test_a_class_that_is_only_predicted_is_wrong_not_absent():
    matrix = confusion_matrix(torch.tensor([[0, 1]]), torch.tensor([[0, 0]]), 3)
    assert near(iou(matrix), [0.5, 0, NAN]) and near(recall(matrix), [0.5, NAN, NAN])
    assert near(precision(matrix), [1, 0, NAN])


# ------------------------------------------------------------------------------- properties


@st.composite
def label_maps(draw):
    classes = draw(st.integers(1, 6))
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 5)))
    size = math.prod(shape)
    target = draw(st.lists(st.sampled_from([*range(classes), 255]), min_size=size, max_size=size))
    preds = draw(st.lists(st.integers(0, classes - 1), min_size=size, max_size=size))
    return torch.tensor(preds).view(shape), torch.tensor(target).view(shape), classes


@given(label_maps(), st.lists(st.integers(1, 5), max_size=4))
@settings(max_examples=80)
def test_any_split_into_batches_gives_the_same_matrix(maps, cuts):
    preds, target, classes = maps
    cuts = sorted({cut for cut in cuts if cut < len(target)})
    parts = zip(torch.tensor_split(preds, cuts), torch.tensor_split(target, cuts), strict=True)
    total = sum(confusion_matrix(p, t, classes) for p, t in parts)
    assert torch.equal(total, confusion_matrix(preds, target, classes))


@given(label_maps())
@settings(max_examples=80)
def test_scores_keep_to_their_ranges_and_identities(maps):
    preds, target, classes = maps
    matrix = confusion_matrix(preds, target, classes)
    assert matrix.sum() == (target != 255).sum()
    assert near(matrix.sum(dim=1), torch.bincount(target[target != 255], minlength=classes))
    for score in (iou, dice, recall, precision, specificity):
        values = score(matrix)
        assert values.dtype == torch.float64 and values.shape == (classes,)
        assert (values.isnan() | ((values >= 0) & (values <= 1))).all()
    overlap = iou(matrix)
    assert near(dice(matrix), 2 * overlap / (1 + overlap))
    assert near(iou(matrix.T), overlap) and near(recall(matrix.T), precision(matrix))


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64]
)
def test_any_integer_type_and_layout(dtype):
    target = TARGET if dtype != torch.int8 else TARGET.where(TARGET != 255, 0)
    want = confusion_matrix(PREDS, target, 4)
    assert torch.equal(confusion_matrix(PREDS.to(dtype), target.to(dtype), 4), want)
    assert torch.equal(confusion_matrix(PREDS.to(dtype).T, target.to(dtype).T, 4), want)
    assert torch.equal(confusion_matrix(PREDS[None], target.to(dtype)[None], 4), want)


def test_more_pixels_than_one_chunk_and_many_classes():
    generator = torch.Generator().manual_seed(0)
    for classes in (2, 150, 255):
        target = torch.randint(0, classes, (3, 200, 301), generator=generator)
        preds = torch.randint(0, classes, (3, 200, 301), generator=generator)
        pairs = target * classes + preds
        want = torch.bincount(pairs.flatten(), minlength=classes**2).view(classes, classes)
        assert torch.equal(confusion_matrix(preds, target, classes), want)


def test_the_arguments_are_left_as_they_were():
    preds, target = PREDS.clone(), TARGET.clone()
    confusion_matrix(preds, target, 4)
    assert torch.equal(preds, PREDS) and torch.equal(target, TARGET)


# --------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "preds, target, classes, error, words",
    [
        (PREDS, TARGET, 2, ValueError, r"target holds the labels \[2\].*0 to 1"),
        (PREDS, TARGET.clamp(max=1), 2, ValueError, r"preds holds the labels \[2\]"),
        (PREDS - 1, TARGET, 4, ValueError, r"preds holds the labels \[-1\]"),
        (PREDS, TARGET.where(TARGET != 255, -1), 4, ValueError, r"target holds the labels \[-1\]"),
        (PREDS, TARGET + 300, 4, ValueError, r"target holds the labels \[300, 301"),
        (PREDS + 300, TARGET, 4, ValueError, r"preds holds the labels \[300, 301"),
        (TARGET, TARGET, 4, ValueError, "preds holds the label 255.*belongs into the target"),
        (PREDS.float(), TARGET, 4, TypeError, "preds must hold integer.*argmax"),
        (PREDS, TARGET > 0, 4, TypeError, "target must hold integer labels.*bool"),
        (PREDS.numpy(), TARGET, 4, TypeError, "preds must be a tensor.*ndarray.*as_tensor"),
        (PREDS, TARGET[:2], 4, ValueError, r"\(4, 6\), but target \(2, 6\).*resize the logits"),
        (PREDS[None, None], TARGET[None, None], 4, ValueError, r"\(N, H, W\).*\(1, 1, 4, 6\)"),
        (PREDS[:0], TARGET[:0], 4, ValueError, "at least one pixel"),
        (PREDS, TARGET, 0, ValueError, "num_classes must be from 1 to 255, but is 0"),
        (PREDS, TARGET, 256, ValueError, "label 255 is void"),
        (PREDS, TARGET, 4.0, TypeError, "num_classes must be an int, but is 4.0"),
    ],
)
def test_refuses(preds, target, classes, error, words):
    with pytest.raises(error, match=words):
        confusion_matrix(preds, target, classes)


def test_a_list_of_pixels_counts_like_its_image():
    want = confusion_matrix(PREDS, TARGET, 4)
    assert torch.equal(confusion_matrix(PREDS.flatten(), TARGET.flatten(), 4), want)
    with pytest.raises(ValueError) as error:
        confusion_matrix(PREDS.flatten()[:0], TARGET.flatten()[:0], 4)
    assert "one-hot" not in str(error.value)


@pytest.mark.parametrize("place", [0, 32_767, 32_768, 99_999])
@pytest.mark.parametrize("value", [7, 254, 256, -1, 2**40])
def test_one_wrong_label_anywhere_is_found(place, value):
    target, preds = torch.zeros(2, 1, 100_000, dtype=torch.int64)
    target[0, place] = value
    with pytest.raises(ValueError, match=rf"target holds the labels \[{value}\]"):
        confusion_matrix(preds, target, 7)
    with pytest.raises(ValueError, match=rf"preds holds the labels \[{value}\]"):
        confusion_matrix(target, preds, 7)


@pytest.mark.parametrize(
    "matrix, error, words",
    [
        ([[1, 2], [3, 4]], TypeError, "is a tensor, but this is list"),
        (torch.ones(2, 3), ValueError, r"\(K, K\), but this has \(2, 3\)"),
        (torch.ones(4, 2, 2), ValueError, "add those of all batches"),
        (torch.tensor([[1, -2], [0, 3]]), ValueError, "least entry of this one is -2"),
    ],
)
@pytest.mark.parametrize("score", [iou, pixel_accuracy, frequency_weighted_iou, cohen_kappa])
def test_scores_refuse_what_is_no_confusion_matrix(score, matrix, error, words):
    with pytest.raises(error, match=words):
        score(matrix)
