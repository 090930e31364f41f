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
    MulticlassJaccardIndex,
    MulticlassPrecision,
    MulticlassSpecificity,
)

from segcourse.metrics.semantic import (
    class_accuracy,
    confusion_matrix,
    dice,
    frequency_weighted_iou,
    iou,
    kappa,
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
TRUTH = torch.tensor(
    [[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 2, 2, 1, 1, 255], [0, 2, 2, 2, 255, 255]]
)
PREDICTED = torch.tensor(
    [[0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0], [0, 2, 2, 2, 1, 1], [2, 2, 2, 0, 0, 2]]
)
GOLDEN = confusion_matrix(PREDICTED, TRUTH, 4)


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
    assert mean_iou(GOLDEN, absent=0.0) == pytest.approx(0.4178571, abs=1e-6)
    assert mean_iou(GOLDEN, absent=1.0) == pytest.approx(0.6678571, abs=1e-6)
    assert iou(GOLDEN, absent=1.0)[3] == 1 and dice(GOLDEN, absent=0.0)[3] == 0


def test_golden_aggregation():
    truth = torch.tensor([[[0, 0, 1, 1]] * 2, [[0, 0, 0, 0], [0, 0, 0, 2]]])
    predicted = torch.tensor([[[0, 0, 1, 0]] * 2, [[0, 0, 0, 0], [0, 0, 1, 2]]])
    each = [confusion_matrix(p, t, 3) for p, t in zip(predicted, truth, strict=True)]
    assert near(iou(each[0]), [2 / 3, 0.5, NAN]) and near(iou(each[1]), [6 / 7, 0, 1])
    assert sum(map(mean_iou, each)) / 2 == pytest.approx(0.6011905, abs=1e-6)
    assert near(iou(each[0] + each[1]), [0.7692308, 0.4, 1], 1e-6)
    assert mean_iou(each[0] + each[1]) == pytest.approx(0.7230769, abs=1e-6)
    assert torch.equal(each[0] + each[1], confusion_matrix(predicted, truth, 3))


# --------------------------------------------------- other libraries, on random and nasty inputs


def nasty(kind, classes=5):
    generator = torch.Generator().manual_seed(KINDS.index(kind))
    truth = torch.randint(0, classes, (3, 13, 17), generator=generator)
    predicted = torch.randint(0, classes, (3, 13, 17), generator=generator)
    truth[torch.rand(truth.shape, generator=generator) < 0.1] = 255
    if kind == "absent from the truth":
        truth[truth == 2] = 1
    elif kind == "never predicted":
        predicted[predicted == 0] = 3
    elif kind == "absent from both":
        truth[truth == 4], predicted[predicted == 4] = 0, 1
    elif kind == "one class":
        truth, predicted = torch.ones_like(truth), torch.ones_like(truth)
    elif kind == "one class, all wrong":
        truth, predicted = torch.ones_like(truth), torch.zeros_like(truth)
    elif kind == "one pixel":
        truth, predicted = truth[:1, :1, :1] * 0 + 3, predicted[:1, :1, :1] * 0 + 3
    elif kind == "one pixel that counts":
        truth[:], predicted[:] = 255, 4
        truth[1, 2, 3] = 1
    elif kind == "perfect":
        predicted = truth.where(truth != 255, 0)
    return predicted, truth


KINDS = [
    "random", "absent from the truth", "never predicted", "absent from both", "one class",
    "one class, all wrong", "one pixel", "one pixel that counts", "perfect",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
class TestAgreesWith:
    def test_torchmetrics(self, kind):
        predicted, truth = nasty(kind)
        ours = confusion_matrix(predicted, truth, 5)
        setting = {"num_classes": 5, "ignore_index": 255}
        theirs = MulticlassConfusionMatrix(**setting)(predicted, truth)
        assert torch.equal(ours, theirs)

        def ask(metric, **more):
            return metric(**setting, **more)(predicted, truth)

        # they show 0 for a class without denominator, and leave a class absent from both out
        assert near(iou(ours, absent=0.0), ask(MulticlassJaccardIndex, average="none"), 1e-6)
        assert near(mean_iou(ours), ask(MulticlassJaccardIndex, average="macro"), 1e-6)
        assert near(micro_iou(ours), ask(MulticlassJaccardIndex, average="micro"), 1e-6)
        weighted = ask(MulticlassJaccardIndex, average="weighted")
        assert near(frequency_weighted_iou(ours), weighted, 1e-6)
        assert near(recall(ours, absent=0.0), ask(MulticlassAccuracy, average="none"), 1e-6)
        assert near(pixel_accuracy(ours), ask(MulticlassAccuracy, average="micro"), 1e-6)
        assert near(precision(ours, absent=0.0), ask(MulticlassPrecision, average="none"), 1e-6)
        theirs = ask(MulticlassSpecificity, average="none")
        assert near(specificity(ours, absent=0.0), theirs, 1e-6)
        chance = kappa(ours)
        if not math.isnan(chance):
            assert near(chance, ask(MulticlassCohenKappa), 1e-5)

    def test_scikit_learn(self, kind):
        predicted, truth = nasty(kind)
        counted = truth != 255
        p, t, labels = predicted[counted].numpy(), truth[counted].numpy(), list(range(5))
        ours = confusion_matrix(predicted, truth, 5)
        assert (ours.numpy() == sk.confusion_matrix(t, p, labels=labels)).all()
        setting = {"labels": labels, "average": None, "zero_division": 0}
        assert near(iou(ours, absent=0.0), sk.jaccard_score(t, p, **setting))
        assert near(dice(ours, absent=0.0), sk.f1_score(t, p, **setting))
        assert near(precision(ours, absent=0.0), sk.precision_score(t, p, **setting))
        assert near(recall(ours, absent=0.0), sk.recall_score(t, p, **setting))
        assert near(pixel_accuracy(ours), sk.accuracy_score(t, p))
        assert near(mean_iou(ours), sk.jaccard_score(t, p, average="macro", zero_division=0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # balanced accuracy leaves out classes that the truth lacks, as we do
            assert near(mean_accuracy(ours), sk.balanced_accuracy_score(t, p))
            assert near(kappa(ours), sk.cohen_kappa_score(t, p))


def test_nothing_but_void_is_nan_everywhere():
    matrix = confusion_matrix(torch.zeros(2, 3, dtype=torch.long), torch.full((2, 3), 255), 3)
    assert matrix.sum() == 0
    for score in (iou, dice, recall, precision, specificity):
        assert score(matrix).isnan().all()
    for score in (mean_iou, mean_dice, mean_accuracy, pixel_accuracy, micro_iou, kappa):
        assert math.isnan(score(matrix))
    assert math.isnan(frequency_weighted_iou(matrix))


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
    truth = draw(st.lists(st.sampled_from([*range(classes), 255]), min_size=size, max_size=size))
    predicted = draw(st.lists(st.integers(0, classes - 1), min_size=size, max_size=size))
    return torch.tensor(predicted).view(shape), torch.tensor(truth).view(shape), classes


@given(label_maps(), st.lists(st.integers(1, 5), max_size=4))
@settings(max_examples=80)
def test_any_split_into_batches_gives_the_same_matrix(maps, cuts):
    predicted, truth, classes = maps
    cuts = sorted({cut for cut in cuts if cut < len(truth)})
    parts = zip(torch.tensor_split(predicted, cuts), torch.tensor_split(truth, cuts), strict=True)
    total = sum(confusion_matrix(p, t, classes) for p, t in parts)
    assert torch.equal(total, confusion_matrix(predicted, truth, classes))


@given(label_maps())
@settings(max_examples=80)
def test_scores_keep_to_their_ranges_and_identities(maps):
    predicted, truth, classes = maps
    matrix = confusion_matrix(predicted, truth, classes)
    assert matrix.sum() == (truth != 255).sum()
    assert near(matrix.sum(dim=1), torch.bincount(truth[truth != 255], minlength=classes))
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
    truth = TRUTH if dtype != torch.int8 else TRUTH.where(TRUTH != 255, 0)
    want = confusion_matrix(PREDICTED, truth, 4)
    assert torch.equal(confusion_matrix(PREDICTED.to(dtype), truth.to(dtype), 4), want)
    assert torch.equal(confusion_matrix(PREDICTED.to(dtype).T, truth.to(dtype).T, 4), want)
    assert torch.equal(confusion_matrix(PREDICTED[None], truth.to(dtype)[None], 4), want)


def test_more_pixels_than_one_chunk_and_many_classes():
    generator = torch.Generator().manual_seed(0)
    for classes in (2, 150, 255):
        truth = torch.randint(0, classes, (3, 200, 301), generator=generator)
        predicted = torch.randint(0, classes, (3, 200, 301), generator=generator)
        pairs = truth * classes + predicted
        want = torch.bincount(pairs.flatten(), minlength=classes**2).view(classes, classes)
        assert torch.equal(confusion_matrix(predicted, truth, classes), want)


def test_the_arguments_are_left_as_they_were():
    predicted, truth = PREDICTED.clone(), TRUTH.clone()
    confusion_matrix(predicted, truth, 4)
    assert torch.equal(predicted, PREDICTED) and torch.equal(truth, TRUTH)


# --------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "predicted, truth, classes, error, words",
    [
        (PREDICTED, TRUTH, 2, ValueError, r"truth holds the labels \[2\].*0 to 1"),
        (PREDICTED, TRUTH.clamp(max=1), 2, ValueError, r"predicted holds the labels \[2\]"),
        (PREDICTED - 1, TRUTH, 4, ValueError, r"predicted holds the labels \[-1\]"),
        (PREDICTED, TRUTH.where(TRUTH != 255, -1), 4, ValueError, r"truth holds the labels \[-1\]"),
        (PREDICTED, TRUTH + 300, 4, ValueError, r"truth holds the labels \[300, 301"),
        (PREDICTED + 300, TRUTH, 4, ValueError, r"predicted holds the labels \[300, 301"),
        (TRUTH, TRUTH, 4, ValueError, "predicted holds the label 255.*belongs into the truth"),
        (PREDICTED.float(), TRUTH, 4, TypeError, "predicted must hold integer.*argmax"),
        (PREDICTED, TRUTH > 0, 4, TypeError, "truth must hold integer labels.*bool"),
        (PREDICTED.numpy(), TRUTH, 4, TypeError, "predicted must be a tensor.*ndarray.*as_tensor"),
        (PREDICTED, TRUTH[:2], 4, ValueError, r"\(4, 6\), but truth \(2, 6\).*resize the logits"),
        (PREDICTED[None, None], TRUTH[None, None], 4, ValueError, r"\(N, H, W\).*\(1, 1, 4, 6\)"),
        (PREDICTED[:0], TRUTH[:0], 4, ValueError, "at least one pixel"),
        (PREDICTED, TRUTH, 0, ValueError, "num_classes must be from 1 to 255, but is 0"),
        (PREDICTED, TRUTH, 256, ValueError, "label 255 is void"),
        (PREDICTED, TRUTH, 4.0, TypeError, "num_classes must be an int, but is 4.0"),
    ],
)
def test_refuses(predicted, truth, classes, error, words):
    with pytest.raises(error, match=words):
        confusion_matrix(predicted, truth, classes)


@pytest.mark.parametrize("place", [0, 32_767, 32_768, 99_999])
@pytest.mark.parametrize("value", [7, 254, 256, -1, 2**40])
def test_one_wrong_label_anywhere_is_found(place, value):
    truth, predicted = torch.zeros(2, 1, 100_000, dtype=torch.int64)
    truth[0, place] = value
    with pytest.raises(ValueError, match=rf"truth holds the labels \[{value}\]"):
        confusion_matrix(predicted, truth, 7)
    with pytest.raises(ValueError, match=rf"predicted holds the labels \[{value}\]"):
        confusion_matrix(truth, predicted, 7)


@pytest.mark.parametrize(
    "matrix, error, words",
    [
        ([[1, 2], [3, 4]], TypeError, "is a tensor, but this is list"),
        (torch.ones(2, 3), ValueError, r"\(K, K\), but this has \(2, 3\)"),
        (torch.ones(4, 2, 2), ValueError, "add those of all batches"),
        (torch.tensor([[1, -2], [0, 3]]), ValueError, "least entry of this one is -2"),
    ],
)
@pytest.mark.parametrize("score", [iou, pixel_accuracy, frequency_weighted_iou, kappa])
def test_scores_refuse_what_is_no_confusion_matrix(score, matrix, error, words):
    with pytest.raises(error, match=words):
        score(matrix)
