"""The fully connected CRF: against a double loop, the authors' library, and what must hold."""

import math

import pytest
import torch

from benchmarks.crf import (
    PAPERS,
    coarse_logits,
    crops,
    few_colors,
    flat_pictures,
    largest_difference,
    noise_pictures,
    shrunk,
)
from segcourse.data.toytown import Toytown
from segcourse.ops import crf as crf_module
from segcourse.ops.crf import MAX_PIXELS, brute_force_crf, dense_crf

LOGITS, IMAGE = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)


def random_picture(classes=3, height=9, width=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(classes, height, width, generator=generator)
    return logits, torch.rand(3, height, width, generator=generator)


def refine(logits, image, **settings):
    return dense_crf(logits[None], image[None], **settings)[0]


BOTH = pytest.mark.parametrize("crf", [brute_force_crf, refine])


def by_loops(
    logits, image, *, smooth_weight, smooth_std, bilateral_weight, xy_std, rgb_std, rounds
):
    """Mean field pixel by pixel, with nothing but Python's arithmetic."""
    classes, height, width = logits.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    z = {p: [float(logits[k][p]) for k in range(classes)] for p in pixels}

    def softmax(scores):
        total = sum(math.exp(score) for score in scores)
        return [math.exp(score) / total for score in scores]

    def smooth(p, q):
        return math.exp(-((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2) / (2 * smooth_std**2))

    def bilateral(p, q):
        position = (p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2
        color = sum(float(channel[p] - channel[q]) ** 2 for channel in image)
        return math.exp(-position / (2 * xy_std**2) - color / (2 * rgb_std**2))

    total = {
        kernel: {p: sum(kernel(p, q) for q in pixels) for p in pixels}
        for kernel in (smooth, bilateral)
    }

    def heard(p, k, probability):
        return sum(
            weight
            * kernel(p, q)
            / math.sqrt(total[kernel][p] * total[kernel][q])
            * probability[q][k]
            for kernel, weight in ((smooth, smooth_weight), (bilateral, bilateral_weight))
            for q in pixels
        )

    probability = {p: softmax(z[p]) for p in pixels}
    for _ in range(rounds):
        probability = {
            p: softmax([z[p][k] + heard(p, k, probability) for k in range(classes)]) for p in pixels
        }
    found = [[probability[p][k] for p in pixels] for k in range(classes)]
    return torch.tensor(found).reshape(logits.shape)


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_brute_force_is_what_two_loops_over_the_pixels_give(rounds):
    logits, image = random_picture(3, 3, 4)
    settings = {"smooth_weight": 1.5, "smooth_std": 1.2, "bilateral_weight": 2.5, "xy_std": 3.0,
                "rgb_std": 0.4}  # fmt: skip
    expected = by_loops(logits, image, **settings, rounds=rounds)
    found = brute_force_crf(logits, image, **settings, iterations=rounds)
    assert torch.allclose(found, expected, atol=1e-6)


def two_tones():
    """A dark and a light half, and scores that are wrong at 65 of 256 pixels."""
    y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    tone = torch.where(x < 8, 51 / 255, 204 / 255)
    score = torch.where(x < 8, -1.0, 1.0) + 1.5 * torch.sin(3 * x + 5 * y.float() ** 1.5)
    return torch.stack([torch.zeros(16, 16), score]), tone.expand(3, 16, 16), (x >= 8).long()


@BOTH
def test_two_tones_come_apart_at_the_edge(crf):
    logits, image, target = two_tones()
    assert (logits.argmax(dim=0) != target).sum() == 65
    assert torch.equal(crf(logits, image).argmax(dim=0), target)
    without_colors = crf(logits, image, bilateral_weight=0.0).argmax(dim=0)
    assert not torch.equal(without_colors, target)


@BOTH
def test_two_tones_agree_with_the_library_of_the_authors(crf):
    """Row 5 of what pydensecrf2 1.1 gave for the settings of DeepLab v1 after one round."""
    logits, image, _ = two_tones()
    library = [0.012, 0.080, 0.009, 0.101, 0.009, 0.151, 0.012, 0.249,
               0.786, 0.989, 0.881, 0.991, 0.927, 0.990, 0.949, 0.984]  # fmt: skip
    row = crf(logits, image, iterations=1)[1, 5]
    assert torch.allclose(row, torch.tensor(library), atol=0.009)


@pytest.mark.parametrize("rounds", [5, 10])
@pytest.mark.parametrize("scale", [dict, shrunk])
@pytest.mark.parametrize("paper", PAPERS)
def test_the_fast_one_agrees_with_brute_force(paper, scale, rounds):
    examples = [*crops(1, seed=3), *crops(1, seed=4), *noise_pictures(1)]
    settings = scale(PAPERS[paper])
    assert max(largest_difference(*example, settings, rounds) for example in examples) < 0.003


@pytest.mark.parametrize("scale", [dict, shrunk])
@pytest.mark.parametrize("paper", PAPERS)
def test_pictures_of_few_colors_agree_with_brute_force(paper, scale):
    settings = scale(PAPERS[paper])
    for logits, image in flat_pictures(1):
        assert largest_difference(logits, image, settings, 5) < 0.0005


@pytest.mark.parametrize("xy_std", [0.01, 1.0, 3.0, 1000.0])
@pytest.mark.parametrize("size", [(1, 60), (60, 1), (2, 30), (24, 31)])
def test_one_color_at_any_distance_and_size(size, xy_std):
    logits, image = random_picture(3, *size)
    for color in (image.round(), torch.full_like(image, 0.3), torch.ones_like(image)):
        found = refine(logits, color, xy_std=xy_std)
        assert torch.allclose(found, brute_force_crf(logits, color, xy_std=xy_std), atol=0.0005)


@pytest.mark.parametrize("picture", few_colors(torch.zeros(3, 1, 1)))
def test_large_areas_of_one_color_cost_few_points(monkeypatch, picture):
    image = few_colors(Toytown(1, seed=1)[0].image)[picture]
    counts = []
    original = crf_module.GaussianSum

    def counted(points):
        counts.append(len(points))
        return original(points)

    monkeypatch.setattr(crf_module, "GaussianSum", counted)
    refine(torch.zeros(2, 96, 128), image, iterations=0)
    assert counts[0] < 0.6 * 96 * 128


@pytest.mark.parametrize(
    "side, std", [(1, 49.0), (2, 0.001), (9, 1.0), (96, 3.0), (128, 49.0), (300, 20.0)]
)
def test_gaussians_around_pixels_are_sums_of_those_around_nodes(side, std):
    nodes, shares = crf_module._nodes(side, std, torch.device("cpu"))
    pixels = torch.arange(side) / std
    wanted, coarse = (torch.exp(-0.5 * (x[:, None] - x).square()) for x in (pixels, nodes))
    assert len(nodes) <= side and shares.shape == (side, len(nodes))
    assert torch.allclose(shares @ coarse @ shares.mT, wanted, atol=1e-5)


def test_a_coarse_map_of_a_scene_becomes_better():
    sample = Toytown(1, seed=1)[0]
    logits = coarse_logits(sample.semantic)
    before, after = (
        (scores.argmax(dim=0) == sample.semantic).float().mean()
        for scores in (logits, refine(logits, sample.image))
    )
    assert after > before + 0.02


@BOTH
class TestWhatMustHold:
    def test_probabilities_add_up_to_one(self, crf):
        q = crf(*random_picture())
        assert q.shape == (3, 9, 7) and (q >= 0).all()
        assert torch.allclose(q.sum(dim=0), torch.ones(9, 7), atol=1e-5)

    def test_without_weights_or_rounds_the_network_has_the_last_word(self, crf):
        logits, image = random_picture()
        alone = crf(logits, image, smooth_weight=0.0, bilateral_weight=0.0)
        assert torch.allclose(alone, logits.softmax(dim=0), atol=1e-6)
        assert torch.allclose(crf(logits, image, iterations=0), logits.softmax(dim=0), atol=1e-6)

    def test_permuting_the_classes_permutes_the_result(self, crf):
        logits, image = random_picture()
        order = torch.tensor([2, 0, 1])
        assert torch.allclose(crf(logits[order], image), crf(logits, image)[order], atol=1e-4)

    def test_turning_the_picture_turns_the_result(self, crf):
        logits, image = random_picture()
        turned = crf(logits.mT, image.mT)
        assert torch.allclose(turned, crf(logits, image).mT, atol=1e-3)

    def test_who_has_no_opinion_hears_none(self, crf):
        _, image = random_picture()
        assert torch.allclose(crf(torch.zeros(4, 9, 7), image), torch.tensor(0.25), atol=1e-5)

    def test_a_constant_on_the_logits_changes_nothing(self, crf):
        logits, image = random_picture()
        assert torch.allclose(crf(logits + 100, image), crf(logits, image), atol=1e-3)

    def test_logarithms_of_probabilities_are_logits(self, crf):
        logits, image = random_picture()
        q = crf(logits.softmax(dim=0).log(), image)
        assert torch.allclose(q, crf(logits, image), atol=1e-3)

    def test_an_impossible_class_stays_impossible(self, crf):
        logits, image = random_picture()
        logits[1, 4] = -math.inf  # the logarithm of 0
        q = crf(logits, image)
        assert not q.isnan().any() and (q[1, 4] == 0).all()

    def test_one_pixel_and_one_class(self, crf):
        logits, image = random_picture(3, 1, 1)
        assert crf(logits, image).shape == (3, 1, 1)
        logits, image = random_picture(1, 5, 4)
        assert torch.equal(crf(logits, image), torch.ones(1, 5, 4))

    def test_one_pixel_hears_itself(self, crf):
        logits, image = torch.tensor([2.0, 0.0])[:, None, None], torch.zeros(3, 1, 1)
        p = logits.softmax(dim=0)
        expected = (logits + 5 * p).softmax(dim=0)
        found = crf(logits, image, smooth_weight=2.0, bilateral_weight=3.0, iterations=1)
        assert torch.allclose(found, expected, atol=1e-5)

    def test_arguments_are_left_alone_and_no_gradient_flows(self, crf):
        logits, image = random_picture()
        before = logits.clone(), image.clone()
        assert not crf(logits.requires_grad_(), image).requires_grad
        assert torch.equal(logits, before[0]) and torch.equal(image, before[1])

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_autocast_changes_nothing(self, crf, dtype):
        logits, image = random_picture(3, 24, 24)
        wanted = crf(logits, image)
        with torch.autocast("cpu", dtype):
            found = crf(logits, image)
        assert found.dtype == torch.float32 and torch.equal(found, wanted)

    @pytest.mark.parametrize("size", [(1, 30), (30, 1)])
    def test_images_one_pixel_high_or_wide(self, crf, size):
        logits, image = random_picture(3, *size)
        settings = {"smooth_weight": 1.5, "smooth_std": 1.2, "bilateral_weight": 2.5,
                    "xy_std": 3.0, "rgb_std": 0.4}  # fmt: skip
        wanted = by_loops(logits, image, **settings, rounds=2)
        found = crf(logits, image, **settings, iterations=2)
        assert torch.allclose(found, wanted, atol=0.003)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_images_and_probabilities_of_half_precision_are_recognized(self, crf, dtype):
        logits, image = random_picture()
        white = torch.ones_like(image).to(dtype)
        assert torch.allclose(crf(logits, white), crf(logits, white.float()), atol=1e-6)
        with pytest.raises(ValueError, match=r"p\.log\(\)"):
            crf(logits.softmax(dim=0).to(dtype), image)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
    def test_the_result_has_the_type_of_the_logits(self, crf, dtype):
        logits, image = random_picture()
        q = crf(logits.to(dtype), image)
        assert q.dtype == dtype
        assert torch.allclose(q.float(), crf(logits, image), atol=0.01)


def test_images_of_a_batch_do_not_hear_each_other():
    pictures = [random_picture(seed=seed) for seed in range(3)]
    logits, images = (torch.stack(parts) for parts in zip(*pictures, strict=True))
    alone = torch.stack([refine(*picture) for picture in pictures])
    assert torch.allclose(dense_crf(logits, images), alone, atol=1e-6)


BAD = {
    "came as list": lambda: dense_crf([0.0], IMAGE),
    "came as torch.int64": lambda: dense_crf(LOGITS.long(), IMAGE),
    "bytes of an image by 255": lambda: dense_crf(LOGITS, IMAGE.byte()),
    r"\(8, 8\) and \(3, 8, 8\) came": lambda: brute_force_crf(LOGITS[0, 0], IMAGE[0]),
    r"\(2, 8, 8\) and .* missing axis": lambda: dense_crf(LOGITS[:, 0], IMAGE),
    r"\(2, 3, 8, 8\) and \(3, 8, 8\)": lambda: dense_crf(LOGITS, IMAGE[0]),
    r"\(2, 3, 4, 8\) came": lambda: dense_crf(LOGITS, IMAGE[:, :, :4]),
    r"\(1, 3, 8, 8\) came": lambda: dense_crf(LOGITS, IMAGE[:1]),
    "expand grey": lambda: dense_crf(LOGITS, IMAGE[:, :1]),
    r"\(0, 3, 8, 8\)": lambda: dense_crf(LOGITS[:0], IMAGE[:0]),
    "from 0 to 255: .* before": lambda: dense_crf(LOGITS, IMAGE + 255 * torch.eye(8)),
    "from nan to nan": lambda: dense_crf(LOGITS, IMAGE * math.nan),
    r"p\.log\(\)": lambda: dense_crf(LOGITS.softmax(1), IMAGE),
    "128 pixels have no probabilities": lambda: dense_crf(LOGITS * math.nan, IMAGE),
    "64 pixels have no": lambda: brute_force_crf(torch.full((3, 8, 8), -math.inf), IMAGE[0]),
    r"smooth_weight .*\(-1.0, 4.0\)": lambda: dense_crf(LOGITS, IMAGE, smooth_weight=-1.0),
    r"bilateral_weight .*nan": lambda: dense_crf(LOGITS, IMAGE, bilateral_weight=math.nan),
    "smooth_std.*above 0": lambda: dense_crf(LOGITS, IMAGE, smooth_std=0.0),
    "xy_std.*-3": lambda: brute_force_crf(LOGITS[0], IMAGE[0], xy_std=-3.0),
    "rgb_std.*inf": lambda: dense_crf(LOGITS, IMAGE, rgb_std=math.inf),
    "rgb_std=5.0 .*divide it by 255": lambda: dense_crf(LOGITS, IMAGE, rgb_std=5.0),
    "iterations=-1": lambda: dense_crf(LOGITS, IMAGE, iterations=-1),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_named(message):
    with pytest.raises((TypeError, ValueError), match=message):
        BAD[message]()


def test_brute_force_refuses_what_memory_cannot_hold():
    height, width = 96, 128
    with pytest.raises(ValueError, match=r"12288, which takes 1\.2 GB .* use dense_crf"):
        brute_force_crf(torch.zeros(8, height, width), torch.zeros(3, height, width))
    assert MAX_PIXELS >= 64 * 64
