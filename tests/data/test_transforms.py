"""Transforms keep image and truth aligned, invent no label and repeat under a seed."""

import math
import pickle
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from segcourse.data import transforms as T
from segcourse.data.sample import Cached, Sample, batches, stack
from segcourse.ops.borders import reflect_pad
from segcourse.ops.labels import IGNORE

COLORS = torch.tensor(
    [[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]]
)


def blobs(height: int, width: int, seed: int = 0) -> Sample:
    """A sample whose image shows its labels, in the colours of COLORS."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, len(COLORS), 4, 4, generator=g)
    scores = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    labels = scores[0].argmax(dim=0)
    return Sample(COLORS[labels].permute(2, 0, 1), labels, labels * 70_001)


def read_off(image: torch.Tensor) -> torch.Tensor:
    """The label whose colour is nearest: (3, H, W) -> (H, W)."""
    return (image.permute(1, 2, 0)[..., None, :] - COLORS).norm(dim=-1).argmin(dim=-1)


GEOMETRIC = {
    "resize smaller": T.resize((31, 45)),
    "resize larger": T.resize((130, 171)),
    "resize odd": T.resize((70, 40)),
    "flip": T.flip,
    "random_flip": T.random_flip(0.5),
    "random_scale_crop": T.random_scale_crop((60, 80)),
    "rotate": T.rotate(17),
    "random_rotate": T.random_rotate(30),
    "affine": T.affine(degrees=-20, scale=1.2, shear=0.15, shift=(3.0, -5.0)),
    "elastic": T.elastic(5.0),
    "elastic, mirrored": T.elastic(5.0, mirrored=True),
    "pad_to_multiple": T.pad_to_multiple(32),
    "pad_to_multiple, mirrored": T.pad_to_multiple(32, mirrored=True),
    "compose": T.compose(T.random_flip(), T.elastic(3.0), T.resize((40, 56))),
}
PHOTOMETRIC = {
    "color_jitter": T.color_jitter(0.3, 0.3, 0.3, 0.1),
    "gaussian_noise": T.gaussian_noise(0.1),
    "gaussian_blur": T.gaussian_blur(1.5),
    "normalize": T.normalize(),
}
RANDOM = ("random_flip", "random_scale_crop", "random_rotate", "elastic", "compose")


@pytest.mark.parametrize("name", GEOMETRIC)
def test_image_and_labels_stay_aligned(name):
    """Away from the borders of the labels, the moved image still shows the moved labels."""
    torch.manual_seed(1)
    for seed in range(3):
        image, semantic, _ = GEOMETRIC[name](blobs(72, 96, seed))
        one_hot = F.one_hot(semantic.clamp(max=7), 8).permute(2, 0, 1).float()
        inside = (F.avg_pool2d(one_hot[None], 5, 1, 2, count_include_pad=False)[0] > 0.999).any(0)
        inside &= semantic != IGNORE
        assert inside.float().mean() > 0.2
        # pure noise on the image would show here, and so would a shift by two pixels
        agreement = (read_off(image) == semantic)[inside].float().mean()
        assert agreement > 0.995, f"{name}: {agreement:.4f}"


@pytest.mark.parametrize("name", GEOMETRIC)
def test_semantic_and_instance_stay_aligned(name):
    torch.manual_seed(2)
    _, semantic, instance = GEOMETRIC[name](blobs(72, 96))
    assert torch.equal(instance, torch.where(semantic == IGNORE, 0, semantic * 70_001))


@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_photometric_transforms_leave_the_truth_alone(name):
    sample = blobs(24, 32)
    changed = PHOTOMETRIC[name](sample)
    assert torch.equal(changed.semantic, sample.semantic)
    assert torch.equal(changed.instance, sample.instance)
    assert changed.image.shape == sample.image.shape
    assert not torch.equal(changed.image, sample.image)
    if name != "normalize":
        assert changed.image.min() >= 0 and changed.image.max() <= 1


@st.composite
def samples(draw):
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    ids = draw(st.lists(st.sampled_from([0, 3, 7, 18, IGNORE]), min_size=1, max_size=4))
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    semantic = torch.tensor(ids)[torch.randint(len(ids), (height, width), generator=g)]
    instance = torch.randint(2**24 - 3, 2**24, (height, width), generator=g)
    return Sample(torch.rand(3, height, width, generator=g), semantic, instance)


@settings(max_examples=60)
@given(samples(), st.sampled_from(sorted(GEOMETRIC)), st.integers(0, 1000))
def test_labels_are_never_invented_and_all_sizes_work(sample, name, seed):
    torch.manual_seed(seed)
    image, semantic, instance = GEOMETRIC[name](sample)
    assert set(semantic.unique().tolist()) <= set(sample.semantic.unique().tolist()) | {IGNORE}
    assert set(instance.unique().tolist()) <= set(sample.instance.unique().tolist()) | {0}
    assert semantic.dtype == instance.dtype == torch.int64 and image.dtype == torch.float32
    assert image.shape[1:] == semantic.shape == instance.shape
    assert image.isfinite().all() and image.min() >= -1e-6 and image.max() <= 1 + 1e-6
    seen = name == "compose" or "mirrored" in name
    if not seen and IGNORE not in sample.semantic:  # what nobody saw is black
        assert not image[:, semantic == IGNORE].any()


@given(samples())
@settings(max_examples=25)
def test_neutral_transforms_change_nothing(sample):
    height, width = sample.semantic.shape
    neutral = {
        "flip twice": T.compose(T.flip, T.flip),
        "no flip": T.random_flip(0.0),
        "compose of nothing": T.compose(),
        "own size": T.resize((height, width)),
        "crop of all": T.random_scale_crop((height, width), (1.0, 1.0)),
        "rotate by 0": T.rotate(0),
        "no displacement": T.elastic(0.0),
        "multiple of 1": T.pad_to_multiple(1),
    }
    for name, transform in neutral.items():
        for part, same in zip(sample, transform(sample), strict=True):
            assert torch.allclose(part.double(), same.double(), atol=1e-5), name


def test_a_half_turn_is_two_flips_and_a_quarter_turn_is_rot90():
    sample = blobs(9, 13)
    turned, upside_down = T.rotate(180)(sample), T.flip(sample)
    assert torch.equal(turned.semantic, upside_down.semantic.flip(0))
    assert torch.allclose(turned.image, upside_down.image.flip(1), atol=1e-4)
    square = blobs(11, 11)
    assert torch.equal(T.rotate(90)(square).semantic, square.semantic.rot90())


def test_affine_moves_as_its_arguments_say():
    sample = blobs(20, 30)
    down_right = T.affine(shift=(2, 3))(sample).semantic
    assert torch.equal(down_right[2:, 3:], sample.semantic[:-2, :-3])
    assert (down_right[:2] == IGNORE).all() and (down_right[:, :3] == IGNORE).all()
    dot = Sample(torch.zeros(3, 21, 21), torch.zeros(21, 21).long(), torch.zeros(21, 21).long())
    dot.semantic[14, 10] = 1  # 4 below the centre
    assert T.affine(scale=2)(dot).semantic[18, 10] == 1
    assert T.affine(shear=0.5)(dot).semantic[14, 12] == 1


def test_resize_agrees_with_nearest_exact_and_not_with_nearest():
    labels = blobs(17, 23).semantic
    sample = Sample(torch.zeros(3, 17, 23), labels, labels)
    for size in [(9, 11), (40, 50), (17, 7), (1, 1), (34, 46)]:
        resized = T.resize(size)(sample).semantic
        as_float = labels[None, None].double()
        exact = F.interpolate(as_float, size, mode="nearest-exact")[0, 0]
        assert torch.equal(resized.double(), exact)
    assert not torch.equal(
        T.resize((9, 11))(sample).semantic.double(),
        F.interpolate(labels[None, None].double(), (9, 11), mode="nearest")[0, 0],
    )


def test_a_crop_pads_with_void_where_there_is_nothing():
    image, semantic, instance = T.random_scale_crop((40, 50), (0.5, 0.5))(blobs(20, 20))
    assert semantic.shape == (40, 50) and (semantic != IGNORE).sum() == 100
    assert not image[:, semantic == IGNORE].any() and not instance[semantic == IGNORE].any()


def test_pad_to_multiple_shows_a_mirror_but_keeps_the_labels_void():
    sample = blobs(33, 50)
    black, glass = (T.pad_to_multiple(16, mirrored=m)(sample) for m in (False, True))
    assert torch.equal(glass.image[:, :33, 50:], sample.image.flip(-1)[..., 1:15])
    assert torch.equal(glass.image[:, 33:, :50], sample.image.flip(1)[:, 1:16])
    assert torch.equal(glass.semantic, black.semantic)
    assert torch.equal(glass.instance, black.instance)


def test_pad_to_multiple_keeps_the_sample_at_the_top_left():
    sample = blobs(33, 50)
    wide = T.pad_to_multiple(16)(sample)
    assert wide.semantic.shape == (48, 64)
    assert torch.equal(wide.image[:, :33, :50], sample.image)
    assert (wide.semantic[33:] == IGNORE).all() and (wide.semantic[:, 50:] == IGNORE).all()


@pytest.mark.parametrize("size", [(5, 7), (1, 4)])
def test_beyond_the_border_a_warp_is_black_or_a_mirror_image_and_always_void(size):
    height, width = size
    image = torch.rand(3, height, width)
    labels = torch.ones(height, width).long()
    there = T.pixel_grid(height + 20, width + 20) - 10  # ten pixels more on every side
    black, mirror = (
        T.warp(Sample(image, labels, labels), there, mirrored=m) for m in (False, True)
    )
    outside = black.semantic == IGNORE
    assert outside.sum() == (height + 20) * (width + 20) - height * width
    assert (black.image[:, outside] == 0).all()
    assert torch.allclose(mirror.image, reflect_pad(image, 10, *outside.shape), atol=1e-5)
    assert torch.equal(mirror.semantic, black.semantic)
    assert torch.equal(mirror.instance, black.instance)


def test_displacements_have_the_spread_that_was_asked_for():
    """The corners of the grid are not interpolated, so they show the Gaussian itself."""
    height, width, std = 65, 65, 2.0
    rows = torch.arange(height).float()[None, :, None] / 100
    ramp = rows.expand(3, height, width)  # the image is its own row number
    labels = torch.zeros(height, width).long()
    torch.manual_seed(0)
    moves = [
        100 * (T.elastic(std)(Sample(ramp, labels, labels)).image - ramp)[0, 32, 32]
        for _ in range(400)
    ]
    assert torch.stack(moves).std().item() == pytest.approx(std, rel=0.15)


@pytest.mark.parametrize("name", [*RANDOM, "color_jitter", "gaussian_noise"])
def test_the_seed_decides(name):
    transform = {**GEOMETRIC, **PHOTOMETRIC}[name]
    sample, drawn = blobs(40, 50), []
    for seed in (3, 3, 4, 5, 6):
        torch.manual_seed(seed)
        drawn.append(transform(sample).image)
    assert torch.equal(drawn[0], drawn[1])
    assert any(d.shape != drawn[0].shape or not torch.equal(d, drawn[0]) for d in drawn[2:])


@pytest.mark.parametrize(
    "make",
    [
        lambda g: T.random_flip(generator=g),
        lambda g: T.random_scale_crop((20, 20), generator=g),
        lambda g: T.random_rotate(20, generator=g),
        lambda g: T.elastic(4.0, generator=g),
        lambda g: T.color_jitter(generator=g),
        lambda g: T.gaussian_noise(generator=g),
    ],
)
def test_a_generator_of_its_own_is_used_alone(make):
    sample, before = blobs(30, 30), torch.get_rng_state()
    first = make(torch.Generator().manual_seed(7))(sample)
    again = make(torch.Generator().manual_seed(7))(sample)
    assert torch.equal(first.image, again.image) and torch.equal(first.semantic, again.semantic)
    assert torch.equal(before, torch.get_rng_state())


def test_half_of_the_samples_are_flipped():
    sample = blobs(8, 8)
    torch.manual_seed(0)
    transform = T.random_flip()
    flips = sum(not torch.equal(transform(sample).semantic, sample.semantic) for _ in range(400))
    assert 160 < flips < 240


def test_normalize_is_what_it_says():
    image = T.normalize((0.5, 0.5, 0.5), (0.25, 0.5, 1.0))(blobs(4, 4)).image
    assert torch.allclose(image[0].abs(), torch.tensor(2.0))
    assert torch.allclose(image[2].abs(), torch.tensor(0.5))


def test_gaussian_blur_keeps_the_mean_and_agrees_with_torchvision():
    from torchvision.transforms.v2.functional import gaussian_blur

    sample = Sample(torch.rand(3, 40, 40), *blobs(40, 40)[1:])
    blurred = T.gaussian_blur(1.5)(sample).image
    reference = gaussian_blur(sample.image, kernel_size=[11, 11], sigma=[1.5, 1.5])
    assert torch.allclose(blurred[:, 5:-5, 5:-5], reference[:, 5:-5, 5:-5], atol=1e-4)


def test_a_transformed_dataset_goes_into_batches():
    dataset = T.Transformed([blobs(20, 20, seed) for seed in range(4)], T.resize((8, 12)))
    assert len(dataset) == 4
    (batch,) = batches(dataset, batch_size=4, shuffle=False)
    assert batch.image.shape == (4, 3, 8, 12)
    with pytest.raises(IndexError):
        dataset[4]


# ── processes: pickling, workers, generators ────────────────────────────────────────────────────

EVERYTHING = {**GEOMETRIC, **PHOTOMETRIC}


@pytest.mark.parametrize("name", EVERYTHING)
def test_transforms_survive_pickling(name):
    copy, sample = pickle.loads(pickle.dumps(EVERYTHING[name])), blobs(20, 30)
    torch.manual_seed(4)
    wanted = EVERYTHING[name](sample)
    torch.manual_seed(4)
    assert all(torch.equal(a, b) for a, b in zip(wanted, copy(sample), strict=True))


def test_a_pickled_transform_shares_its_generator_as_before():
    g = torch.Generator().manual_seed(3)
    transform = T.compose(T.random_flip(generator=g), T.gaussian_noise(generator=g))
    copy = pickle.loads(pickle.dumps(transform))
    assert len(T.generators_of(copy)) == 1
    sample = blobs(8, 8)
    assert all(torch.equal(transform(sample).image, copy(sample).image) for _ in range(3))


def grains(seed: int = 0) -> Dataset:
    """Eight equal gray samples; the transform with a generator of its own makes them differ."""
    gray = Sample(torch.full((3, 4, 4), 0.5), torch.zeros(4, 4).long(), torch.zeros(4, 4).long())
    g = torch.Generator().manual_seed(seed)
    return T.Transformed([gray] * 8, T.compose(T.gaussian_noise(0.1, generator=g)))


def draws(loader) -> list[float]:
    """The sum of every image that two epochs yield."""
    return [round(float(batch.image.sum()), 4) for _ in range(2) for batch in loader]


@pytest.mark.parametrize(
    "options",
    [
        {"num_workers": 0},
        {"num_workers": 2, "multiprocessing_context": "fork"},
        {"num_workers": 2, "multiprocessing_context": "fork", "persistent_workers": True},
        {"num_workers": 2, "multiprocessing_context": "spawn", "persistent_workers": True},
    ],
)
def test_a_generator_of_its_own_draws_differently_in_every_worker_and_epoch(options):
    torch.manual_seed(0)
    found = draws(DataLoader(grains(), batch_size=1, collate_fn=stack, **options))
    assert len(found) == 16 and len(set(found)) == 16


def test_the_seeds_of_loader_and_generator_decide_what_workers_draw():
    first, again, other_order, other_grain = (
        draws(batches(grains(grain), batch_size=1, seed=seed, num_workers=2))
        for seed, grain in ((1, 0), (1, 0), (2, 0), (1, 1))
    )
    assert first == again
    assert not set(first) & set(other_order) and not set(first) & set(other_grain)


def test_generators_are_found_where_they_draw():
    one, two, three, four = (torch.Generator() for _ in range(4))

    def own(sample):
        return T.random_rotate(3, generator=four)(sample)

    inner = T.Transformed([GOOD] * 4, T.compose(T.flip, T.random_flip(generator=one)))
    shared = T.compose(T.elastic(1.0, generator=two), T.compose(T.color_jitter(generator=one)))
    outer = ConcatDataset([Subset(T.Transformed(inner, shared), [1, 2]), Cached(inner)])
    dataset = T.Transformed(outer, T.compose(T.random_scale_crop((8, 8), generator=three), own))
    assert {id(g) for g in T.generators_of(dataset)} == {id(g) for g in (one, two, three, four)}
    assert T.generators_of(shared) == [two, one]  # each once, in a fixed order
    assert T.generators_of(partial(T.flip)) == T.generators_of([GOOD]) == []


def test_draws_go_on_where_the_states_of_the_generators_were_stored():
    stopped, resumed = grains(), grains(seed=9)
    stopped[0]
    states = [g.get_state() for g in T.generators_of(stopped)]
    for g, state in zip(T.generators_of(resumed), states, strict=True):
        g.set_state(state)
    assert all(torch.equal(stopped[i].image, resumed[i].image) for i in range(4))


# ── types and sizes ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", EVERYTHING)
def test_floats_of_any_width_give_what_float32_gives(name, dtype):
    sample = blobs(20, 30)._replace(image=torch.rand(3, 20, 30).to(dtype))
    torch.manual_seed(4)
    found = EVERYTHING[name](sample)
    torch.manual_seed(4)
    wanted = EVERYTHING[name](sample._replace(image=sample.image.float()))
    assert found.image.dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32]
)
@pytest.mark.parametrize("name", EVERYTHING)
def test_labels_of_any_width_become_int64_and_void_stays_255(name, dtype):
    image, semantic, _ = blobs(20, 30)
    torch.manual_seed(4)
    found = EVERYTHING[name](Sample(image, semantic.to(dtype), semantic.to(dtype)))
    torch.manual_seed(4)
    wanted = EVERYTHING[name](Sample(image, semantic, semantic))
    assert found.semantic.dtype == found.instance.dtype == torch.int64
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("name", EVERYTHING)
def test_samples_one_pixel_high_or_wide(name, size):
    torch.manual_seed(0)
    labels = torch.ones(size).long()
    image, semantic, instance = EVERYTHING[name](Sample(torch.rand(3, *size), labels, labels))
    assert image.shape[1:] == semantic.shape == instance.shape and image.isfinite().all()


GOOD = blobs(8, 8)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: T.resize((0, 4)), ValueError, r"\(0, 4\).*height, width.*above 0"),
        (lambda: T.resize(64), ValueError, "64 is no .height, width"),
        (lambda: T.resize((9.5, 4)), ValueError, "whole numbers"),
        (lambda: T.random_flip(1.5), ValueError, "1.5.*between 0 and 1"),
        (lambda: T.random_scale_crop((-1, 4)), ValueError, "size"),
        (lambda: T.random_scale_crop((4, 4), (2.0, 0.5)), ValueError, "scales.*smallest, largest"),
        (lambda: T.random_scale_crop((4, 4), (0.0, 0.5)), ValueError, "above 0"),
        (lambda: T.pad_to_multiple(0), ValueError, "multiple=0.*stride"),
        (lambda: T.affine(scale=0), ValueError, "scale above 0"),
        (lambda: T.rotate(math.nan), ValueError, "finite"),
        (lambda: T.random_rotate(-3), ValueError, "max_degrees=-3 is negative"),
        (lambda: T.elastic(-1), ValueError, "std=-1.*at least 0"),
        (lambda: T.elastic(1, grid=1), ValueError, "grid at least 2"),
        (lambda: T.color_jitter(2.0), ValueError, r"lie in \[0, 1\]"),
        (lambda: T.color_jitter(hue=0.9), ValueError, r"hue in \[0, 0.5\]"),
        (lambda: T.gaussian_noise(-0.1), ValueError, "negative"),
        (lambda: T.gaussian_blur(0), ValueError, "above 0"),
        (lambda: T.normalize((0.5,), (0.5, 0.5)), ValueError, "one value per channel"),
        (lambda: T.normalize((0.5,), (0.5,))(GOOD), ValueError, "1 means.*3 channels"),
        (lambda: T.normalize((0.5,) * 3, (0.5, 0, 1)), ValueError, "deviations above 0"),
        (lambda: T.compose(T.flip, "resize"), TypeError, "number 1 is 'resize'"),
        (lambda: T.Transformed([GOOD], [T.flip]), TypeError, "list.*compose"),
        (lambda: T.flip((GOOD.image, GOOD.semantic)), TypeError, "takes a Sample, but got tuple"),
        (lambda: T.flip(GOOD._replace(image=GOOD.semantic)), TypeError, "divide by 255"),
        (lambda: T.flip(GOOD._replace(semantic=GOOD.image[0])), TypeError, "never interpolate"),
        (lambda: T.flip(GOOD._replace(semantic=GOOD.semantic > 0)), TypeError, "torch.bool"),
        (lambda: T.random_rotate(math.nan), ValueError, "max_degrees=nan .* not finite"),
        (lambda: T.flip(Sample(*(p[None] for p in GOOD))), ValueError, "become a batch"),
        (lambda: T.flip(GOOD._replace(semantic=GOOD.semantic[:4])), ValueError, "of one size"),
        (lambda: T.warp(GOOD, torch.zeros(8, 8)), ValueError, r"\(H, W, 2\).*pixel_grid"),
    ],
)
def test_bad_calls_are_refused_with_a_remedy(call, error, words):
    with pytest.raises(error, match=words):
        call()
