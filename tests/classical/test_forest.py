"""A forest of pixels: its features one by one, and what it learns."""

import math

import numpy as np
import pytest
import torch
from skimage.feature import multiscale_basic_features

from segcourse.classical.forest import classify, pixel_features, train_forest
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.metrics.semantic import confusion_matrix, mean_iou
from segcourse.ops.labels import IGNORE


def wave(length: float, size: int = 64) -> torch.Tensor:
    """Stripes of a wavelength in pixels, around middle grey."""
    return (0.5 + 0.1 * torch.sin(torch.arange(size) * 2 * math.pi / length)).expand(size, size)


def test_there_is_one_map_for_each_feature():
    image = torch.rand(3, 10, 12)
    assert pixel_features(image).shape == (3 + 4 * 6, 10, 12)
    assert pixel_features(image, sigmas=(2.0,), position=True).shape == (3 + 6 + 2, 10, 12)
    assert pixel_features(image[0]).dtype == torch.float32


def test_an_even_image_has_no_slopes_and_no_curvatures():
    features = pixel_features(torch.full((3, 16, 16), 0.3), sigmas=(1.0, 3.0))
    colors = features[[0, 1, 2, 3, 4, 5, 9, 10, 11]]
    assert torch.allclose(colors, colors[:, :1, :1].expand_as(colors), atol=1e-4)
    assert features[[6, 7, 8, 12, 13, 14]].abs().max() < 0.05  # kernels end somewhere


def test_smoothing_and_slopes_are_those_of_scikit_image():
    """Its features of the lightness alone, at scale 2."""
    image = Toytown(1)[0].image
    ours = pixel_features(image, sigmas=(2.0,))
    theirs = multiscale_basic_features(
        ours[0].numpy().astype(float), sigma_min=2, sigma_max=2, num_sigma=1
    )
    smoothed, edges, *_ = np.moveaxis(theirs, -1, 0)
    inside = (slice(9, -9), slice(9, -9))
    assert np.allclose(ours[3][inside], smoothed[inside], atol=1e-3)
    ratio = np.corrcoef(ours[6][inside].flatten(), edges[inside].flatten())[0, 1]
    assert ratio > 0.998  # theirs are Sobel's filters


def test_ridges_and_blobs_differ_in_their_curvatures():
    y, x = torch.meshgrid(torch.arange(33) - 16, torch.arange(33) - 16, indexing="ij")
    blob = 0.5 - 0.4 * torch.exp(-(x**2 + y**2) / 18)  # dark: the lightness curves upwards
    ridge = 0.5 - 0.4 * torch.exp(-(x**2) / 18.0)
    large, small = pixel_features(blob, sigmas=(3.0,))[-2:, 16, 16]
    assert math.isclose(large, small, rel_tol=1e-3) and large > 1
    large, small = pixel_features(ridge, sigmas=(3.0,))[-2:, 16, 16]
    assert large > 1 and abs(small) < 0.01 * large


@pytest.mark.parametrize("index", [6, 7, 8])
def test_a_structure_twice_as_large_answers_alike_at_twice_the_scale(index):
    y, x = torch.meshgrid(torch.arange(129) - 64, torch.arange(129) - 64, indexing="ij")
    answers = [
        pixel_features(0.5 - 0.4 * torch.exp(-(x**2 + y**2) / (2 * size**2)), sigmas=(size,))
        for size in (4.0, 8.0)
    ]
    place = [64 + step for step in (4, 8)]
    small, large = (each[index, 64, at] for each, at in zip(answers, place, strict=True))
    assert math.isclose(small, large, rel_tol=0.01, abs_tol=0.05) and abs(small) > 0.5


def test_a_structure_answers_most_at_its_own_scale():
    answers = [
        max(range(4), key=lambda index: pixel_features(wave(length))[6 + 6 * index].max())
        for length in (4.5, 9, 18, 36)
    ]
    assert answers == sorted(answers) and answers[0] < answers[-1]


def learnt(labels: list[torch.Tensor], **options) -> float:
    """mIoU on scenes that the forest has not seen."""
    train, test = Toytown(len(labels)), Toytown(6, seed=2)
    features = [pixel_features(sample.image) for sample in train]
    forest = train_forest(features, labels, n_estimators=15, **options)
    matrix = sum(
        confusion_matrix(classify(forest, pixel_features(image)), semantic, len(CLASSES))
        for image, semantic, _ in test
    )
    return mean_iou(matrix)


def test_it_learns_toytown_from_few_pixels():
    labels = [sample.semantic for sample in Toytown(6)]
    assert learnt(labels, max_pixels=4000) > 0.35


def test_scribbles_will_do():
    image, semantic, _ = Toytown(1)[0]
    scribbles = torch.full_like(semantic, IGNORE)
    scribbles[::6, ::6] = semantic[::6, ::6]
    features = pixel_features(image, position=True)
    forest = train_forest([features], [scribbles], n_estimators=20)
    found = classify(forest, features)
    known = semantic != IGNORE
    assert (found == semantic)[known].float().mean() > 0.85
    assert set(found.unique().tolist()) <= set(scribbles[scribbles != IGNORE].unique().tolist())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_features_and_labels_of_any_type(dtype):
    image, semantic, _ = Toytown(1)[0]
    features = pixel_features(image[:, :20, :20]).to(dtype)
    semantic, options = semantic[:20, :20], {"n_estimators": 3, "max_pixels": 200}
    wanted = train_forest([features.float()], [semantic], **options)
    for kind in (torch.uint8, torch.uint16, torch.int16):
        forest = train_forest([features], [semantic.to(kind)], **options)
        assert torch.equal(classify(forest, features), classify(wanted, features.float()))


def test_a_seed_repeats_itself():
    image, semantic, _ = Toytown(1)[0]
    features = pixel_features(image)
    a, b = (
        classify(train_forest([features], [semantic], max_pixels=500, n_estimators=5), features)
        for _ in range(2)
    )
    assert torch.equal(a, b)


def test_every_class_has_the_same_chance_however_rare():
    labels = torch.zeros(10, 10, dtype=torch.int64)
    labels[0] = 1
    forest = train_forest([torch.zeros(2, 10, 10)], [labels], max_pixels=20, n_estimators=50)
    assert forest.classes_.tolist() == [0, 1]
    assert abs(forest.predict_proba(np.zeros((1, 2)))[0, 0] - 0.5) < 0.1  # nothing tells them apart


FEATURES, LABELS = torch.zeros(5, 4, 4), torch.zeros(4, 4, dtype=torch.int64)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: pixel_features(torch.zeros(4, 4), sigmas=(0.0,)), ValueError, "above 0"),
        (lambda: train_forest([], []), ValueError, "0 images"),
        (lambda: train_forest([FEATURES / 0], [LABELS]), ValueError, "a feature is nan"),
        (
            lambda: classify(train_forest([FEATURES], [LABELS]), FEATURES / 0),
            ValueError,
            "a feature is nan",
        ),
        (lambda: train_forest([FEATURES], [LABELS, LABELS]), ValueError, "2 label maps"),
        (lambda: train_forest([FEATURES], [LABELS[:2]]), ValueError, r"\(2, 4\)"),
        (lambda: train_forest([FEATURES], [LABELS.float()]), TypeError, "float32"),
        (lambda: train_forest([FEATURES], [LABELS + IGNORE]), ValueError, "mark some pixels"),
        (
            lambda: classify(train_forest([FEATURES], [LABELS], n_estimators=1), FEATURES[:3]),
            ValueError,
            "5 features",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
