"""Panoptic quality: the printed fixture, the reference evaluator's numbers, torchmetrics, loops."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torchmetrics.detection import PanopticQuality

from segcourse.metrics.panoptic import mean_panoptic_quality, panoptic_counts, panoptic_quality
from segcourse.ops.panoptic import panoptic_ids

VOID = 255_000
CLASSES, THINGS = 9, (1, 2)


def fixture():
    """8 x 8 pixels, things 1 and 2, stuff 7 and 8; each mistake happens once."""
    target, preds = torch.full((8, 8), 7000), torch.full((8, 8), 7000)
    target[:3], preds[:2] = 8000, 8000
    target[3:6, 1:4], preds[3:6, 1:4] = 1001, 1005
    target[3:6, 4:7], preds[3:6, 4:6] = 1002, 1006
    target[6:8, 0:3], preds[6:8, 0:2] = 2001, 1007
    target[6:8, 6:8], preds[6:8, 5:8] = VOID, 2003
    return preds, target


def test_the_fixture_by_hand():
    preds, target = fixture()
    counts = panoptic_counts(preds, target, CLASSES)
    assert counts[1].tolist() == pytest.approx([1 + 2 / 3, 2, 1, 0])  # (1, 7) lies on a car
    assert counts[2].tolist() == [0, 0, 0, 1]  # missed; the predicted one is mostly on void
    assert counts[7].tolist() == [0, 0, 1, 1]  # IoU 0.4 counts on both sides
    assert counts[8].tolist() == pytest.approx([2 / 3, 1, 0, 0])
    assert not counts[[0, 3, 4, 5, 6]].any()
    means = mean_panoptic_quality(counts, THINGS)
    wanted = {
        "All": (1 / 3, 0.375, 0.45),
        "Things": (1 / 3, 5 / 12, 0.4),
        "Stuff": (1 / 3, 1 / 3, 0.5),
    }
    for group, (pq, sq, rq) in wanted.items():
        assert means[group] == pytest.approx({"pq": pq, "sq": sq, "rq": rq, "n": means[group]["n"]})
    assert [means[group]["n"] for group in wanted] == [4, 2, 2]


def test_a_crowd_is_neither_missed_nor_wrong():
    preds, target = fixture()
    crowd = target == 1002
    counts = panoptic_counts(preds, target, CLASSES, crowd=crowd)
    assert counts[1].tolist() == [1, 1, 1, 0]
    preds[3:6, 4:6] = 7000
    preds[3:5, 4] = 1006  # a smaller prediction on it
    assert panoptic_counts(preds, target, CLASSES, crowd=crowd)[1].tolist() == [1, 1, 1, 0]
    assert panoptic_counts(preds, target, CLASSES)[1].tolist() == [1, 1, 2, 1]


def test_the_truth_against_itself_is_perfect():
    _, target = fixture()
    means = mean_panoptic_quality(panoptic_counts(target, target, CLASSES), THINGS)
    assert all(group["pq"] == group["sq"] == group["rq"] == 1 for group in means.values())


def maps(seed: int, images: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Blocky predictions, truths with void, and crowds that cover whole segments."""
    generator = np.random.default_rng(seed)

    def draw(classes: int) -> torch.Tensor:
        blocks = generator.integers(0, classes, (images, 4, 4)).repeat(4, 1).repeat(4, 2)
        objects = generator.integers(0, 3, (images, 2, 2)).repeat(8, 1).repeat(8, 2)
        return torch.from_numpy(blocks * 1000 + np.where(blocks < 3, objects, 0))

    target, preds = draw(6), draw(5)
    preds = torch.where(torch.from_numpy(generator.random(target.shape) < 0.6), target, preds)
    target[target // 1000 == 5], preds[preds // 1000 == 5] = VOID, VOID
    crowd = torch.zeros_like(target, dtype=torch.bool)
    for image in range(images):
        chosen = int(generator.choice(target[image].unique().numpy()))
        crowd[image] = (target[image] == chosen) & (target[image] != VOID)
    return preds, target, crowd


def by_loops(preds: torch.Tensor, target: torch.Tensor, crowd: torch.Tensor) -> np.ndarray:
    """The definition, one image and one pair of segments at a time."""
    counts = np.zeros((5, 4))
    for f, t, c in zip(preds, target, crowd, strict=True):
        void, matched, hit = t == VOID, set(), set()
        target_ids = [int(i) for i in t.unique() if i != VOID]
        pred_ids = [int(i) for i in f.unique() if i != VOID]
        for i in target_ids:
            for j in pred_ids:
                a, b = t == i, (f == j) & ~void
                iou = float((a & b).sum() / (a | b).sum())
                if i // 1000 == j // 1000 and not c[a].any() and iou > 0.5:
                    counts[i // 1000] += (iou, 1, 0, 0)
                    matched.add(i), hit.add(j)
        for i in set(target_ids) - matched:
            counts[i // 1000, 3] += not c[t == i].any()
        for j in set(pred_ids) - hit:
            own = f == j
            share = (own & (void | (c & (t // 1000 == j // 1000)))).sum() / own.sum()
            counts[j // 1000, 2] += share <= 0.5
    return counts


@given(st.integers(0, 10**6))
def test_a_batch_is_the_sum_of_its_images_counted_by_loops(seed):
    preds, target, crowd = maps(seed)
    got = panoptic_counts(preds, target, 5, crowd=crowd)
    assert got.numpy() == pytest.approx(by_loops(preds, target, crowd), abs=1e-6)
    one_by_one = [
        panoptic_counts(f, t, 5, crowd=c) for f, t, c in zip(preds, target, crowd, strict=True)
    ]
    assert torch.allclose(got, sum(one_by_one))


@pytest.mark.parametrize("seed", range(5))
def test_without_crowds_it_is_torchmetrics(seed):
    preds, target, _ = maps(seed)
    preds[preds == VOID] = 4000  # torchmetrics knows no void in a prediction
    theirs = PanopticQuality(
        things={0, 1, 2}, stuffs={3, 4}, return_sq_and_rq=True, return_per_class=True
    )
    pairs = [torch.stack([ids // 1000, ids % 1000], dim=-1) for ids in (preds, target)]
    wanted = theirs(*pairs)
    got = panoptic_quality(panoptic_counts(preds, target, 5))
    assert torch.stack(got, dim=1).nan_to_num(0.0).numpy() == pytest.approx(
        wanted.numpy(), abs=1e-6
    )


def test_classes_that_do_not_occur_are_nan_and_left_out():
    target = panoptic_ids(
        torch.zeros(4, 4, dtype=torch.int64), torch.zeros(4, 4, dtype=torch.int64)
    )
    counts = panoptic_counts(target, target, 3)
    assert panoptic_quality(counts).pq.isnan().tolist() == [False, True, True]
    means = mean_panoptic_quality(counts, things=[2])
    assert means["All"]["pq"] == 1 and means["Things"]["n"] == 0
    assert means["Things"]["pq"] != means["Things"]["pq"]  # nan


@pytest.mark.parametrize("dtype", [torch.int16, torch.uint16, torch.int32, torch.int64])
def test_ids_of_any_type_that_holds_them(dtype):
    generator = torch.Generator().manual_seed(0)
    target, preds = torch.randint(0, 4, (2, 20, 24), generator=generator) * 1000
    wanted = panoptic_counts(preds, target, 4)
    assert torch.equal(panoptic_counts(preds.to(dtype), target.to(dtype), 4), wanted)
    assert torch.equal(panoptic_counts(preds.to(dtype), target, 4), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(panoptic_counts(preds.to(dtype), target.to(dtype), 4), wanted)


def test_ids_that_wrapped_around_are_refused():
    ids = torch.full((4, 4), 40_000)
    with pytest.raises(ValueError, match=r"preds from -25536 to .*a type that holds them"):
        panoptic_counts(ids.to(torch.int16), ids, 50)


def test_more_objects_than_the_usual_divisor_holds():
    """1600 objects of one class, of which a quarter is missed and one is invented."""
    objects = torch.arange(1, 1601).view(40, 40).repeat_interleave(2, 0).repeat_interleave(2, 1)
    semantic = torch.ones_like(objects)
    with pytest.raises(ValueError, match="choose a larger divisor"):
        panoptic_ids(semantic, objects)
    target = panoptic_ids(semantic, objects, divisor=10_000)
    preds = target.where(objects > 400, 0)
    preds[0, 0] = 19_999
    counts = panoptic_counts(preds, target, 2, divisor=10_000)
    assert counts.tolist() == [[0, 0, 1, 0], [1200, 1200, 1, 400]]
    with pytest.raises(ValueError, match="pass the divisor"):
        panoptic_counts(preds, target, 2)


@pytest.mark.parametrize("divisor", [4, 256, 1000, 1_000_000])
def test_the_divisor_changes_no_number(divisor):
    preds, target, crowd = maps(1)
    other = [ids // 1000 * divisor + ids % 1000 for ids in (preds, target)]
    wanted = panoptic_counts(preds, target, 5, crowd=crowd)
    assert torch.equal(panoptic_counts(*other, 5, crowd=crowd, divisor=divisor), wanted)


@pytest.mark.parametrize("void", [0, 5, 6, 254, 300])
def test_any_class_may_mean_void(void):
    """COCO writes void as 0; classes move up by one to make room."""
    preds, target, crowd = maps(2)
    up = 1000 * (void == 0)
    other = [torch.where(ids == VOID, void * 1000, ids + up) for ids in (preds, target)]
    found = panoptic_counts(*other, 5 + (void == 0), crowd=crowd, ignore_index=void)
    wanted = panoptic_counts(preds, target, 5, crowd=crowd)
    assert torch.equal(found[-5:], wanted) and not found[:-5].any()


@pytest.mark.filterwarnings("error")
def test_nothing_but_void_is_nan_everywhere():
    void = torch.full((2, 6, 6), VOID)
    for preds in (void, torch.zeros_like(void), maps(0)[0][:2, :6, :6]):
        counts = panoptic_counts(preds, void, 5)
        assert not counts.any()
        assert all(part.isnan().all() for part in panoptic_quality(counts))
        for group in mean_panoptic_quality(counts, {1}).values():
            assert group["n"] == 0
            assert all(np.isnan(group[name]) for name in ("pq", "sq", "rq"))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (0, 4, 4)])
def test_small_and_empty_maps(shape):
    target = torch.full(shape, 1001)
    counts = panoptic_counts(torch.full(shape, 1007), target, 2)
    assert counts[1].tolist() == ([1, 1, 0, 0] if target.numel() else [0, 0, 0, 0])


ZEROS = torch.zeros(4, 4, dtype=torch.int64)


@pytest.mark.parametrize(
    "call, error, remedy",
    [
        (
            lambda: panoptic_counts(ZEROS, ZEROS[:2], 3),
            ValueError,
            "resize none but the prediction",
        ),
        (lambda: panoptic_counts(ZEROS + 7000, ZEROS, 3), ValueError, r"preds holds.*\[7\]"),
        (lambda: panoptic_counts(ZEROS, ZEROS + 3000, 3), ValueError, r"target holds.*\[3\]"),
        (lambda: panoptic_counts(ZEROS - 1, ZEROS, 3), ValueError, "preds from -1 to -1"),
        (lambda: panoptic_counts(ZEROS.float(), ZEROS, 3), TypeError, "integer"),
        (lambda: panoptic_counts(ZEROS, ZEROS, 3, crowd=ZEROS), TypeError, "must be boolean"),
        (lambda: panoptic_counts(ZEROS, ZEROS, 0), ValueError, "num_classes=0"),
        (lambda: panoptic_counts(ZEROS[:0], ZEROS[:0], 3), ValueError, r"pixels, but \[\(0, 4\)"),
        (lambda: panoptic_counts(ZEROS, ZEROS, 3, divisor=0), ValueError, "divisor=0"),
        (lambda: panoptic_counts(ZEROS, ZEROS, 3, ignore_index=-1), ValueError, "ignore_index=-1"),
        (lambda: panoptic_counts(ZEROS, ZEROS, 3, divisor=2**30), ValueError, "smaller divisor"),
        (lambda: panoptic_quality(torch.zeros(4)), ValueError, r"shape \(K, 4\)"),
        (lambda: mean_panoptic_quality(torch.zeros(3, 4), things=[5]), ValueError, r"things \[5\]"),
    ],
)
def test_bad_input_is_refused_with_the_remedy(call, error, remedy):
    with pytest.raises(error, match=remedy):
        call()
