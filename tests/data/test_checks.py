"""Toytown is damaged in every way that the checklist knows: exactly the right finding appears."""

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segcourse.data import transforms as T
from segcourse.data.checklist import inspect
from segcourse.data.sample import Sample
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.ops.labels import IGNORE

COUNT = 24


@cache
def clean(void: int = 0, seed: int = 0) -> list[Sample]:
    dataset = Toytown(COUNT, seed=seed, void=void)
    return [dataset[index] for index in range(COUNT)]


def images(change):
    return lambda: [sample._replace(image=change(sample.image)) for sample in clean()]


def labels(change, void: int = 0):
    return lambda: [s._replace(semantic=change(s.semantic)) for s in clean(void)]


def some(change, *, every: int = 6):
    """Damage samples 0, 6, 12 and 18 only."""
    return lambda: [change(s) if i % every == 0 else s for i, s in enumerate(clean())]


def bilinear(size, then=torch.Tensor.long, void: int = 0):
    """Image and mask go through the same interpolation, as in several published tutorials."""

    def resized(sample):
        mask = sample.semantic[None, None].float()
        small = T.resize(size)(sample)
        return (small.image, then(F.interpolate(mask, size, mode="bilinear")[0, 0]))

    return lambda: [resized(sample) for sample in clean(void)]


def other_draws():
    """Random crops whose place is drawn once for the image and once more for the mask."""
    g = torch.Generator().manual_seed(0)
    crop = T.random_scale_crop((64, 96), (1.0, 1.0), generator=g)
    return [(crop(sample).image, crop(sample).semantic) for sample in clean()]


def other_flips():
    g = torch.Generator().manual_seed(0)
    flip = T.random_flip(generator=g)
    return [(flip(sample).image, flip(sample).semantic) for sample in clean()]


def swapped(a, b):
    names = list(CLASSES)
    i, j = names.index(a), names.index(b)
    names[i], names[j] = b, a
    return names


def shifted(mask):
    return mask.roll((3, -4), (0, 1))


def binary(value):
    return lambda: [(s.image, (s.semantic == 5).to(torch.uint8).long() * value) for s in clean()]


def pairs(samples):
    return [(sample.image, sample.semantic) for sample in samples]


def colored(sample):
    return (sample.image, torch.stack([sample.semantic] * 3, dim=-1).to(torch.uint8))


def with_nan(image):
    image = image.clone()
    image[0, 5, 5] = torch.nan
    return image


def crossing(sample):
    instance = sample.instance.clone()
    instance[40:60, 40:60] = 1
    return sample._replace(instance=instance)


def mismatched(offset):
    return [(clean()[i].image, clean()[(i + offset) % COUNT].semantic) for i in range(COUNT)]


def background_zero(mask):
    return torch.where(mask == IGNORE, 0, mask)


def in_first(image, mask):
    return (image, mask)


WITH_NAMES = {"classes": CLASSES}
DAMAGES = {
    # name: (samples, arguments, level, check, words in the finding)
    "unreadable": (
        lambda: [None if i == 3 else s for i, s in enumerate(clean())],
        WITH_NAMES, "error", "loading", "NoneType, but must be a Sample or a pair",
    ),
    "channels last": (
        images(lambda image: image.permute(1, 2, 0)),
        WITH_NAMES, "error", "loading", "permute(2, 0, 1)",
    ),
    "colours for labels": (some(colored), WITH_NAMES, "error", "loading", "without convert"),
    "mask with a channel": (
        labels(lambda mask: mask[None]), WITH_NAMES, "error", "loading", "(1, 96, 128)",
    ),
    "mask of another size": (
        labels(lambda mask: mask[::2, ::2]), WITH_NAMES, "error", "sizes", "(48, 64)",
    ),
    "several sizes": (
        some(T.resize((48, 64))), WITH_NAMES, "warning", "sizes", "before making batches",
    ),
    "float labels": (
        labels(torch.Tensor.float), WITH_NAMES, "error", "dtypes", "torch.float32",
    ),
    "boolean labels": (
        lambda: [(s.image, s.semantic == 2) for s in clean()],
        {"num_classes": 2}, "error", "dtypes", "torch.bool",
    ),
    "8-bit labels": (
        labels(lambda mask: mask.to(torch.uint8)), WITH_NAMES, "warning", "dtypes", "int64",
    ),
    "8-bit images": (
        images(lambda image: (image * 255).to(torch.uint8)),
        WITH_NAMES, "error", "dtypes", "float() / 255",
    ),
    "images up to 255": (
        images(lambda image: image * 255), WITH_NAMES, "error", "values", "divide by 255",
    ),
    "images divided twice": (
        images(lambda image: image / 255), WITH_NAMES, "warning", "values", "once, not twice",
    ),
    "normalised images": (
        lambda: [T.normalize()(s) for s in clean()],
        WITH_NAMES, "warning", "values", "normalise after inspecting",
    ),
    "nan": (images(with_nan), WITH_NAMES, "error", "values", "nan"),
    "unknown id": (
        labels(lambda mask: torch.where(mask == 7, 12, mask)),
        {"num_classes": 8}, "error", "ids", "[12] are none of 8 classes",
    ),
    "negative id": (
        labels(lambda mask: torch.where(mask == 7, -1, mask)),
        {}, "error", "ids", "[-1]",
    ),
    "numbering from 1": (
        labels(lambda mask: mask + 1), WITH_NAMES, "error", "ids", "[8] are none of 8",
    ),
    "0 and 255": (binary(255), {"num_classes": 2}, "error", "ids", "divide two-class masks"),
    "0 and 255, unasked": (binary(255), {}, "error", "ids", "0 and 255 only"),
    "bilinear, truncated": (
        bilinear((48, 64)), WITH_NAMES, "error", "interpolation", "pass through a number between",
    ),
    "bilinear, rounded": (
        bilinear((77, 100), lambda mask: mask.round().long()),
        WITH_NAMES, "error", "interpolation", "nearest",
    ),
    "bilinear, enlarged": (
        bilinear((160, 200)), WITH_NAMES, "error", "interpolation", "nearest",
    ),
    "bilinear through void": (
        bilinear((48, 64), void=1), WITH_NAMES, "error", "interpolation", "inventing the ids",
    ),
    "bilinear, floats kept": (
        bilinear((48, 64), lambda mask: mask),
        WITH_NAMES, "error", "interpolation", "between whole numbers",
    ),
    "one name too few": (
        clean, {"classes": CLASSES[:-1], "num_classes": 8}, "error", "classes", "8 classes have",
    ),
    "a name twice": (
        clean, {"classes": (*CLASSES[:-1], "sky")}, "error", "classes", "one name of its own",
    ),
    "one class too many": (
        clean, {"classes": (*CLASSES, "horse")}, "warning", "classes", "horse never occur",
    ),
    "one class too many, no names": (clean, {"num_classes": 9}, "warning", "classes", "8 never"),
    "names swapped": (
        clean, {"classes": swapped("sky", "road")}, "warning", "names", "lower half",
    ),
    "mostly void": (
        labels(lambda mask: mask.masked_fill(torch.arange(128) < 80, IGNORE)),
        WITH_NAMES, "warning", "void", "of all pixels are void",
    ),
    "void as class 0": (
        labels(background_zero, void=1), WITH_NAMES, "warning", "void as class", "sky is a thin",
    ),
    "void as class 0, no objects": (
        lambda: pairs(labels(background_zero, void=1)()),
        WITH_NAMES, "warning", "void as class", "not a class",
    ),
    "void as its own class": (
        labels(lambda mask: torch.where(mask == IGNORE, 8, mask), void=2),
        {"classes": (*CLASSES, "edge")}, "warning", "void as class", "edge is a thin line",
    ),
    "masks of one label": (
        some(lambda s: s._replace(semantic=s.semantic * 0)),
        WITH_NAMES, "warning", "empty masks", "one label only, 0",
    ),
    "masks of void": (
        some(lambda s: s._replace(semantic=s.semantic * 0 + IGNORE)),
        WITH_NAMES, "error", "empty masks", "mean is nan",
    ),
    "objects of two classes": (some(crossing), WITH_NAMES, "error", "objects", "several classes"),
    "shifted masks": (
        lambda: pairs(labels(shifted)()), WITH_NAMES, "error", "alignment",
        "must move -3 down and 4 right",
    ),
    "mirrored masks": (
        lambda: pairs(labels(lambda mask: mask.flip(1))()),
        WITH_NAMES, "error", "alignment", "24 of 24 masks are mirrored (left to right)",
    ),
    "masks upside down": (
        lambda: pairs(labels(lambda mask: mask.flip(0))()),
        {"num_classes": 8}, "error", "alignment", "top to bottom",
    ),
    "some masks mirrored": (
        some(lambda s: (s.image, s.semantic.flip(1))),
        WITH_NAMES, "error", "alignment", "4 of 24 masks",
    ),
    "own draws for the crop": (other_draws, WITH_NAMES, "error", "alignment", "one random draw"),
    "own draws for the flip": (other_flips, WITH_NAMES, "error", "alignment", "mirrored"),
    "masks of the next picture": (
        lambda: mismatched(1), WITH_NAMES, "error", "alignment", "pair them by name",
    ),
    "masks of far pictures": (
        lambda: mismatched(12), WITH_NAMES, "error", "alignment", "pair them by name",
    ),
    "a picture twice": (
        lambda: [*clean(), T.gaussian_noise(0.02)(clean()[5])],
        WITH_NAMES, "warning", "duplicates", "e.g. 5 and 24",
    ),
    "frames in both splits": (
        lambda: [*clean()[:-2], T.color_jitter()(clean(seed=1)[3]),
                 T.gaussian_blur()(clean(seed=1)[8])],
        {**WITH_NAMES, "other_split": 1}, "error", "splits", "2 images are in the other split",
    ),
}  # fmt: skip


def odd(report):
    return [finding for finding in report.findings if finding.level != "ok"]


@pytest.mark.parametrize("name", DAMAGES)
def test_exactly_the_right_finding_appears(name):
    torch.manual_seed(0)
    make, arguments, level, check, words = DAMAGES[name]
    if "other_split" in arguments:
        arguments = {**arguments, "other_split": clean(seed=1)}
    report = inspect(make(), **arguments)
    found = odd(report)
    assert [(each.level, each.check) for each in found] == [(level, check)], str(report)
    assert words in f"{found[0].message} {found[0].remedy}"
    assert found[0].remedy.endswith(".")


@pytest.mark.parametrize("name", ["masks of one label", "some masks mirrored", "masks of void"])
def test_the_finding_says_where(name):
    make, arguments, *_ = DAMAGES[name]
    (found,) = odd(inspect(make(), **arguments))
    assert found.where == (0, 6, 12, 18)


@pytest.mark.parametrize("void", [0, 1, 2])
def test_clean_scenes_have_no_finding(void):
    report = inspect(clean(void), classes=CLASSES, other_split=clean(seed=1))
    assert not odd(report), str(report)


@pytest.mark.parametrize("size", [(48, 64), (24, 32), (192, 256), (60, 60)])
def test_clean_scenes_have_no_finding_at_other_sizes(size):
    samples = [T.resize(size)(sample) for sample in clean()]
    report = inspect(samples, classes=CLASSES)
    assert not odd(report), str(report)


def test_clean_augmented_scenes_have_no_error():
    torch.manual_seed(0)
    change = T.compose(T.random_flip(), T.random_scale_crop((96, 128), (0.7, 1.4)), T.elastic(3.0))
    report = inspect([change(sample) for sample in clean()], classes=CLASSES)
    assert not report.errors, str(report)


def test_pairs_of_numpy_arrays_are_inspected_too():
    items = [(np.asarray(s.image), np.asarray(s.semantic)) for s in clean()]
    assert not odd(inspect(items, classes=CLASSES))


def test_names_of_pet_masks_are_checked():
    """Three classes as in the Oxford pets: swapping border and background was published once."""
    mask = torch.full((60, 60), 1)
    rows, columns = torch.meshgrid(torch.arange(60), torch.arange(60), indexing="ij")
    away = ((rows - 30) ** 2 + (columns - 30) ** 2).sqrt()
    mask[away < 20] = 2
    mask[away < 18] = 0
    image = torch.stack([away / 60] * 3)
    items = [(image, mask)]
    right = inspect(items, classes=("pet", "background", "border"))
    assert "names" not in [each.check for each in odd(right)]
    wrong = inspect(items, classes=("pet", "border", "background"))
    (found,) = [each for each in odd(wrong) if each.check == "names"]
    assert "border (class 1)" in found.message and "background (class 2)" in found.message
