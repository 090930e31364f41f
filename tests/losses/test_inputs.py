"""What losses are given, and how their values are reduced."""

import pytest
import torch

from segcourse.losses.inputs import (
    at_least_one,
    average_classes,
    binary_entries,
    check_pair,
    class_vector,
    classes_that_count,
    number_of_entries,
    probability_and_target,
    reduce_loss,
)
from segcourse.ops.labels import IGNORE

NAN = float("nan")


def test_a_pair_is_zero_on_void(x, ti):
    x = x.detach()
    x[0, :, 0] = NAN
    logits, target, counted = check_pair(x, ti)
    assert torch.equal(counted, ti != IGNORE)
    assert not logits.movedim(1, -1)[~counted].any() and not target[~counted].any()
    assert torch.equal(logits.movedim(1, -1)[counted], x.movedim(1, -1)[counted])
    assert torch.equal(target[counted], ti[counted])


def test_narrow_types_are_widened():
    target = torch.tensor([[[0, 1]]], dtype=torch.uint8)
    logits, target, _ = check_pair(torch.zeros(1, 2, 1, 2, dtype=torch.bfloat16), target)
    assert (logits.dtype, target.dtype) == (torch.float32, torch.int64)


def test_entries_of_labels_and_of_masks(x, ti):
    logits, there, counted = binary_entries(x, ti)
    wanted = logits, there, counted.expand_as(x)
    masks = torch.stack([(ti == label).long() for label in range(3)], dim=1)
    masks[(ti == IGNORE)[:, None].expand_as(masks)] = IGNORE
    for one, other in zip(binary_entries(x, masks, multilabel=True), wanted, strict=True):
        assert torch.equal(one, other)
    bools = masks == 1
    assert torch.equal(binary_entries(x, bools, multilabel=True)[1], bools)


def test_void_of_a_multilabel_target_is_void_of_one_class():
    logits = torch.full((1, 2, 1, 1), NAN)
    logits[0, 0] = 1.0
    target = torch.tensor([1, IGNORE]).reshape(1, 2, 1, 1)
    p, t, counted = probability_and_target(logits, target, multilabel=True)
    assert p.flatten().tolist() == pytest.approx([torch.tensor(1.0).sigmoid().item(), 0])
    assert t.flatten().tolist() == [1, 0] and counted.flatten().tolist() == [True, False]


@pytest.mark.parametrize(
    "target, error, message",
    [
        (torch.zeros(2, 4, 4).long(), ValueError, r"\(2, 3, 4, 4\).*one_hot"),
        (torch.full((2, 3, 4, 4), 2), ValueError, r"labels \[2\]"),
        (torch.zeros(2, 3, 4, 4), TypeError, "float32"),
        ([[1]], TypeError, "list"),
    ],
)
def test_bad_multilabel_targets_are_refused(x, target, error, message):
    with pytest.raises(error, match=message):
        check_pair(x, target, multilabel=True)


@pytest.mark.parametrize("channels, wanted", [(1, 1), (2, 1), (4, 3)])
def test_without_the_background(channels, wanted):
    logits, target = torch.zeros(1, channels, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long)
    p, t, counted = probability_and_target(logits, target, include_background=False)
    assert p.shape == t.shape == (1, wanted, 2, 2) and counted.shape == (1, 1, 2, 2)
    masks = torch.zeros_like(logits).bool()
    how = dict(multilabel=True, include_background=False)
    for part in probability_and_target(logits, masks, **how):
        assert part.shape == (1, wanted, 2, 2)


def test_probabilities_of_one_channel_and_of_many_labels_are_sigmoids():
    logits = torch.tensor([2.0, -1.0]).reshape(1, 2, 1, 1)
    masks = torch.ones(1, 2, 1, 1).bool()
    p, _, _ = probability_and_target(logits, masks, multilabel=True)
    assert torch.equal(p, logits.sigmoid())
    p, _, _ = probability_and_target(logits[:, :1], torch.ones(1, 1, 1).long())
    assert torch.equal(p, logits[:, :1].sigmoid())


def test_weights_are_one_per_class():
    assert class_vector([1, 2], 2, torch.zeros(1)).tolist() == [1, 2]
    for weight in ([1.0], [1.0, -1.0], [1.0, NAN], [[1.0, 2.0]]):
        with pytest.raises(ValueError, match="2 weights of at least 0"):
            class_vector(weight, 2, torch.zeros(1))


def test_nothing_is_divided_by_one_and_nan_stays():
    found = at_least_one(torch.tensor([0, 0.25, 3, NAN]))
    assert found[:3].tolist() == [1, 0.25, 3] and found[3].isnan()


def test_reductions():
    loss = torch.tensor([1.0, 2.0, 6.0])
    assert reduce_loss(loss, torch.tensor(2), "mean") == 4.5
    assert reduce_loss(loss, torch.tensor(2), "sum") == 9
    assert reduce_loss(loss, torch.tensor(2), "none") is loss
    with pytest.raises(ValueError, match="'max'"):
        reduce_loss(loss, torch.tensor(2), "max")


def test_average_of_classes_by_hand():
    """Two images, of which the second shows only the last of three classes."""
    loss = torch.tensor([[0.1, 0.5, 0.8], [0.4, 0.4, 0.2]])
    counts = torch.tensor([[True, True, True], [False, False, True]])
    weight = torch.tensor([1.0, 2.0, 1.0])
    assert average_classes(loss, counts, None, "mean").item() == pytest.approx((1.4 / 3 + 0.2) / 2)
    assert average_classes(loss, counts, weight, "mean").item() == pytest.approx(
        (1.9 / 4 + 0.2) / 2
    )
    assert average_classes(loss, counts, weight, "sum").item() == pytest.approx(2.1)
    assert average_classes(loss, counts, weight, "none").flatten().tolist() == pytest.approx(
        [0.1, 1.0, 0.8, 0, 0, 0.2]
    )
    background_missing = average_classes(loss[:, 1:], counts[:, 1:], weight, "mean").item()
    assert background_missing == pytest.approx((1.8 / 3 + 0.2) / 2)
    weight[2] = 0  # the second image has nothing left
    assert average_classes(loss, counts, weight, "mean").item() == pytest.approx(1.1 / 3)


def test_classes_that_count():
    """Two images of two classes, the second of which is void."""
    size = torch.tensor([[3.0, 0.0], [0.0, 0.0]])
    counted = torch.tensor([[[True, True, True]], [[False, False, False]]])  # (N, 1, pixels)
    present = classes_that_count(size, counted, "present", -1)
    assert present.tolist() == [[True, False], [False, False]]
    everything = classes_that_count(size, counted, "all", -1)
    assert everything.tolist() == [[True, True], [False, False]]
    with pytest.raises(ValueError, match="'some'"):
        classes_that_count(size, counted, "some", -1)


def test_number_of_entries():
    loss = torch.zeros(2, 3, 4, 4)
    assert number_of_entries(torch.ones(2, 1, 4, 4).bool(), loss) == 96
    assert number_of_entries(torch.ones(2, 3, 4, 4).bool(), loss) == 96
    assert number_of_entries(torch.zeros(2, 3, 4, 4).bool(), loss) == 0
