"""Panoptic quality: the printed fixture, the reference evaluator's numbers, torchmetrics, loops."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torchmetrics.detection import PanopticQuality

from segcourse.metrics.panoptic import mean_quality, panoptic_counts, quality
from segcourse.ops.panoptic import panoptic_ids

VOID = 255_000
CLASSES, THINGS = 9, (1, 2)


def fixture():
    """8 x 8 pixels, things 1 and 2, stuff 7 and 8; each mistake happens once."""
    truth, found = torch.full((8, 8), 7000), torch.full((8, 8), 7000)
    truth[:3], found[:2] = 8000, 8000
    truth[3:6, 1:4], found[3:6, 1:4] = 1001, 1005
    truth[3:6, 4:7], found[3:6, 4:6] = 1002, 1006
    truth[6:8, 0:3], found[6:8, 0:2] = 2001, 1007
    truth[6:8, 6:8], found[6:8, 5:8] = VOID, 2003
    return found, truth


def test_the_fixture_by_hand():
    found, truth = fixture()
    counts = panoptic_counts(found, truth, CLASSES)
    assert counts[1].tolist() == pytest.approx([1 + 2 / 3, 2, 1, 0])  # (1, 7) lies on a car
    assert counts[2].tolist() == [0, 0, 0, 1]  # missed; the predicted one is mostly on void
    assert counts[7].tolist() == [0, 0, 1, 1]  # IoU 0.4 counts on both sides
    assert counts[8].tolist() == pytest.approx([2 / 3, 1, 0, 0])
    assert not counts[[0, 3, 4, 5, 6]].any()
    means = mean_quality(counts, THINGS)
    wanted = {
        "All": (1 / 3, 0.375, 0.45),
        "Things": (1 / 3, 5 / 12, 0.4),
        "Stuff": (1 / 3, 1 / 3, 0.5),
    }
    for group, (pq, sq, rq) in wanted.items():
        assert means[group] == pytest.approx({"pq": pq, "sq": sq, "rq": rq, "n": means[group]["n"]})
    assert [means[group]["n"] for group in wanted] == [4, 2, 2]


def test_a_crowd_is_neither_missed_nor_wrong():
    found, truth = fixture()
    crowd = truth == 1002
    counts = panoptic_counts(found, truth, CLASSES, crowd=crowd)
    assert counts[1].tolist() == [1, 1, 1, 0]
    found[3:6, 4:6] = 7000
    found[3:5, 4] = 1006  # a smaller prediction on it
    assert panoptic_counts(found, truth, CLASSES, crowd=crowd)[1].tolist() == [1, 1, 1, 0]
    assert panoptic_counts(found, truth, CLASSES)[1].tolist() == [1, 1, 2, 1]


def test_the_truth_against_itself_is_perfect():
    _, truth = fixture()
    means = mean_quality(panoptic_counts(truth, truth, CLASSES), THINGS)
    assert all(group["pq"] == group["sq"] == group["rq"] == 1 for group in means.values())


def maps(seed: int, images: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Blocky predictions, truths with void, and crowds that cover whole segments."""
    generator = np.random.default_rng(seed)

    def draw(classes: int) -> torch.Tensor:
        blocks = generator.integers(0, classes, (images, 4, 4)).repeat(4, 1).repeat(4, 2)
        objects = generator.integers(0, 3, (images, 2, 2)).repeat(8, 1).repeat(8, 2)
        return torch.from_numpy(blocks * 1000 + np.where(blocks < 3, objects, 0))

    truth, found = draw(6), draw(5)
    found = torch.where(torch.from_numpy(generator.random(truth.shape) < 0.6), truth, found)
    truth[truth // 1000 == 5], found[found // 1000 == 5] = VOID, VOID
    crowd = torch.zeros_like(truth, dtype=torch.bool)
    for image in range(images):
        chosen = int(generator.choice(truth[image].unique().numpy()))
        crowd[image] = (truth[image] == chosen) & (truth[image] != VOID)
    return found, truth, crowd


def by_loops(found: torch.Tensor, truth: torch.Tensor, crowd: torch.Tensor) -> np.ndarray:
    """The definition, one image and one pair of segments at a time."""
    counts = np.zeros((5, 4))
    for f, t, c in zip(found, truth, crowd, strict=True):
        void, matched, hit = t == VOID, set(), set()
        true_ids = [int(i) for i in t.unique() if i != VOID]
        found_ids = [int(i) for i in f.unique() if i != VOID]
        for i in true_ids:
            for j in found_ids:
                a, b = t == i, (f == j) & ~void
                iou = float((a & b).sum() / (a | b).sum())
                if i // 1000 == j // 1000 and not c[a].any() and iou > 0.5:
                    counts[i // 1000] += (iou, 1, 0, 0)
                    matched.add(i), hit.add(j)
        for i in set(true_ids) - matched:
            counts[i // 1000, 3] += not c[t == i].any()
        for j in set(found_ids) - hit:
            own = f == j
            share = (own & (void | (c & (t // 1000 == j // 1000)))).sum() / own.sum()
            counts[j // 1000, 2] += share <= 0.5
    return counts


@given(st.integers(0, 10**6))
def test_a_batch_is_the_sum_of_its_images_counted_by_loops(seed):
    found, truth, crowd = maps(seed)
    got = panoptic_counts(found, truth, 5, crowd=crowd)
    assert got.numpy() == pytest.approx(by_loops(found, truth, crowd), abs=1e-6)
    one_by_one = [
        panoptic_counts(f, t, 5, crowd=c) for f, t, c in zip(found, truth, crowd, strict=True)
    ]
    assert torch.allclose(got, sum(one_by_one))


@pytest.mark.parametrize("seed", range(5))
def test_without_crowds_it_is_torchmetrics(seed):
    found, truth, _ = maps(seed)
    found[found == VOID] = 4000  # torchmetrics knows no void in a prediction
    theirs = PanopticQuality(
        things={0, 1, 2}, stuffs={3, 4}, return_sq_and_rq=True, return_per_class=True
    )
    pairs = [torch.stack([ids // 1000, ids % 1000], dim=-1) for ids in (found, truth)]
    wanted = theirs(*pairs)
    got = quality(panoptic_counts(found, truth, 5))
    assert torch.stack(got, dim=1).nan_to_num(0.0).numpy() == pytest.approx(
        wanted.numpy(), abs=1e-6
    )


def test_classes_that_do_not_occur_are_nan_and_left_out():
    truth = panoptic_ids(torch.zeros(4, 4, dtype=torch.int64), torch.zeros(4, 4, dtype=torch.int64))
    counts = panoptic_counts(truth, truth, 3)
    assert quality(counts).pq.isnan().tolist() == [False, True, True]
    means = mean_quality(counts, things=[2])
    assert means["All"]["pq"] == 1 and means["Things"]["n"] == 0
    assert means["Things"]["pq"] != means["Things"]["pq"]  # nan


ZEROS = torch.zeros(4, 4, dtype=torch.int64)


@pytest.mark.parametrize(
    "call, error, remedy",
    [
        (
            lambda: panoptic_counts(ZEROS, ZEROS[:2], 3),
            ValueError,
            "resize none but the prediction",
        ),
        (lambda: panoptic_counts(ZEROS + 7000, ZEROS, 3), ValueError, r"prediction holds.*\[7\]"),
        (lambda: panoptic_counts(ZEROS, ZEROS + 3000, 3), ValueError, r"truth holds.*\[3\]"),
        (lambda: panoptic_counts(ZEROS - 1, ZEROS, 3), ValueError, "prediction holds -1"),
        (lambda: panoptic_counts(ZEROS.float(), ZEROS, 3), TypeError, "integers"),
        (lambda: panoptic_counts(ZEROS, ZEROS, 3, crowd=ZEROS), TypeError, "must be boolean"),
        (lambda: panoptic_counts(ZEROS, ZEROS, 0), ValueError, "num_classes=0"),
        (lambda: quality(torch.zeros(4)), ValueError, r"shape \(K, 4\)"),
        (lambda: mean_quality(torch.zeros(3, 4), things=[5]), ValueError, r"things \[5\]"),
    ],
)
def test_bad_input_is_refused_with_the_remedy(call, error, remedy):
    with pytest.raises(error, match=remedy):
        call()
