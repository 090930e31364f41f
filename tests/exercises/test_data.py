"""The exercises on data accept every right answer; their findings are those of the checklist."""

import inspect as inspect_module
import re
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms.v2 import functional

from segcourse.data import transforms as T
from segcourse.data.checklist import inspect
from segcourse.data.toytown import CLASSES, PALETTE, Toytown
from segcourse.exercises import data as chapter
from segcourse.ops.labels import IGNORE


def renumber_by_loops(ids, classes):
    return [[classes.get(number, 255) for number in row] for row in ids.tolist()]


def renumber_by_where(ids, classes):
    labels = torch.full_like(ids, 255, dtype=torch.uint8)
    for number, label in classes.items():
        labels = torch.where(ids == number, label, labels)
    return labels


def renumber_by_numpy(ids, classes):
    return np.vectorize(lambda number: classes.get(int(number), 255), otypes=[np.int16])(ids)


def renumber_in_place(ids, classes):
    old = ids.clone()
    ids.fill_(255)
    for number, label in classes.items():
        ids.masked_fill_(old == number, label)
    return ids


def renumber_by_table(ids, classes):
    low = int(ids.min())
    table = torch.full((int(ids.max()) - low + 1,), 255.0)
    for number, label in classes.items():
        if 0 <= number - low < len(table):
            table[number - low] = label
    return table[ids - low]


def renumber_by_one_hot(ids, classes):
    keys = torch.tensor([*classes, 10**9])
    labels = torch.tensor([*classes.values(), 255])
    equal = ids[..., None] == keys
    equal[..., -1] |= ~equal.any(dim=-1)
    return (equal * labels).sum(dim=-1)


ROWS = [2, 2, 2, 3, 3, 4, 5, 5], [2, 2, 2, 3, 4, 5, 5, 5]


def rows_by_hand():
    values = [2 + 3 * min(max((i + 0.5) / 4 - 0.5, 0), 1) for i in range(8)]
    return [[int(value) for value in values], [round(value) for value in values]]


def rows_by_two_axes():
    image = torch.tensor([[2.0, 5.0]])[None, None]
    wide = F.interpolate(image, (1, 8), mode="bilinear", align_corners=False)[0, 0, 0].numpy()
    return np.stack([np.trunc(wide), np.round(wide)])


def crop_with_one_tensor(image, mask, size, draw):
    both = torch.cat([image, mask[None].to(image.dtype) - 255])
    height, width = mask.shape
    both = F.pad(both, (0, max(size - width, 0), 0, max(size - height, 0)))
    top = draw(both.shape[1] - size)
    left = draw(both.shape[2] - size)
    both = both[:, top : top + size, left : left + size]
    return both[:3], (both[3] + 255).long()


def crop_by_numpy(image, mask, size, draw):
    (height, width), image, mask = mask.shape, image.numpy(), mask.numpy()
    add = [(0, max(size - height, 0)), (0, max(size - width, 0))]
    image, mask = np.pad(image, [(0, 0), *add]), np.pad(mask, add, constant_values=255)
    y, x = draw(max(height - size, 0)), draw(max(width - size, 0))
    return [image[:, y : y + size, x : x + size], mask[y : y + size, x : x + size]]


def crop_into_void(image, mask, size, draw):
    top, left = (draw(max(side - size, 0)) for side in mask.shape)
    image = image[:, top : top + size, left : left + size]
    mask = mask[top : top + size, left : left + size]
    black = torch.zeros(3, size, size, dtype=torch.float64)
    void = torch.full((size, size), 255, dtype=torch.int32)
    black[:, : mask.shape[0], : mask.shape[1]] = image
    void[: mask.shape[0], : mask.shape[1]] = mask
    return black, void


def crop_by_narrow(image, mask, size, draw):
    bottom, right = max(size - mask.shape[0], 0), max(size - mask.shape[1], 0)
    image = torch.nn.ZeroPad2d((0, right, 0, bottom))(image)
    mask = torch.nn.ConstantPad2d((0, right, 0, bottom), 255)(mask)
    for axis in (-2, -1):
        start = draw(mask.shape[axis] - size)
        image, mask = image.narrow(axis, start, size), mask.narrow(axis, start, size)
    return image, mask


def crop_by_torchvision(image, mask, size, draw):
    bottom, right = max(size - mask.shape[0], 0), max(size - mask.shape[1], 0)
    image = functional.pad(image, [0, 0, right, bottom])
    mask = functional.pad(mask[None], [0, 0, right, bottom], fill=255)[0]
    top, left = draw(mask.shape[0] - size), draw(mask.shape[1] - size)
    return (
        functional.crop(image, top, left, size, size),
        functional.crop(mask[None], top, left, size, size)[0],
    )


def statistics_by_numpy(images):
    pixels = np.concatenate([image.numpy().reshape(3, -1) / 255.0 for image in images], axis=1)
    return pixels.mean(1), pixels.std(1)


def statistics_by_sums(images):
    count = sum(image[0].numel() for image in images)
    x = [image.double() / 255 for image in images]
    mean = sum(image.sum(dim=(1, 2)) for image in x) / count
    square = sum(image.square().sum(dim=(1, 2)) for image in x) / count
    return [mean.tolist(), (square - mean**2).clamp(min=0).sqrt().tolist()]


def statistics_by_two_passes(images):
    mean, std = [], []
    for channel in range(3):
        values = [v / 255 for image in images for v in image[channel].flatten().tolist()]
        middle = sum(values) / len(values)
        mean.append(middle)
        std.append((sum((v - middle) ** 2 for v in values) / len(values)) ** 0.5)
    return tuple(mean), tuple(std)


def statistics_by_einsum(images):
    x = torch.cat([image.flatten(1) for image in images], 1).double() / 255
    mean = torch.einsum("cp->c", x) / x.shape[1]
    away = x - mean[:, None]
    return torch.stack([mean, (torch.einsum("cp,cp->c", away, away) / x.shape[1]).sqrt()])


def statistics_by_weights(images):
    sizes = torch.tensor([image[0].numel() for image in images], dtype=torch.float64)
    share = (sizes / sizes.sum())[:, None]
    means = torch.stack([image.double().mean((1, 2)) / 255 for image in images])
    variances = torch.stack([(image.double() / 255).var((1, 2), correction=0) for image in images])
    mean = (share * means).sum(0)
    return mean.float(), (share * (variances + (means - mean) ** 2)).sum(0).sqrt().float()


def cause_by_ifs(letter):
    if letter in "AB":
        return 2 if letter == "A" else 3
    return np.int64({"C": 5, "D": 4, "E": 1}.get(letter, 6 + (letter == "G")))


def cause_by_order(letter):
    return torch.tensor([2, 3, 5, 4, 1, 6, 7])["ABCDEFG".index(letter)]


def cause_by_words(letter):
    words = {"mirrored": 2, "no better": 3, "must move": 5, "none of": 4, "between": 1}
    words |= {"thin line": 6, "negative": 7}
    return next(n for word, n in words.items() if word in chapter.FINDINGS[letter])


def cause_by_elimination(letter):
    order = [number for number in (2, 3, 5, 4, 1, 6, 7, 8) if number != 8]
    return order[ord(letter) - ord("A")]


def cause_as_float(letter):
    return float({"A": 2, "B": 3, "C": 5, "D": 4, "E": 1, "F": 6, "G": 7}[letter])


def shift_by_loops(edges, borders, reach):
    best, found = None, None
    for down in range(-reach[0], reach[0] + 1):
        for right in range(-reach[1], reach[1] + 1):
            fit = float((edges.roll((-down, -right), (0, 1)) * borders).sum())
            if best is None or fit > best:
                best, found = fit, [down, right]
    return torch.tensor(found)


def shift_by_fourier(edges, borders, reach):
    fits = torch.fft.ifft2(torch.fft.fft2(edges) * torch.fft.fft2(borders).conj()).real
    rows, columns = reach
    fits = fits.roll((rows, columns), (0, 1))[: 2 * rows + 1, : 2 * columns + 1]
    row, column = divmod(int(fits.argmax()), 2 * columns + 1)
    return row - rows, column - columns


def shift_by_numpy(edges, borders, reach):
    edges, borders = edges.numpy(), borders.numpy().astype(bool)
    shifts = [
        (d, r) for d in range(-reach[0], reach[0] + 1) for r in range(-reach[1], reach[1] + 1)
    ]
    fits = [edges[np.roll(np.roll(borders, d, 0), r, 1)].sum() for d, r in shifts]
    return np.array(shifts[int(np.argmax(fits))])


def shift_by_sorting(edges, borders, reach):
    tried = []
    for down in torch.arange(-reach[0], reach[0] + 1).tolist():
        moved = borders.roll(down, 0)
        for right in torch.arange(-reach[1], reach[1] + 1).tolist():
            fit = torch.einsum("hw,hw->", edges.double(), moved.roll(right, 1).double())
            tried.append((fit.item(), down, right))
    return sorted(tried)[-1][1:]


def shift_by_indices(edges, borders, reach):
    height, width = edges.shape
    rows, columns = borders.nonzero(as_tuple=True)
    down = torch.arange(-reach[0], reach[0] + 1)
    right = torch.arange(-reach[1], reach[1] + 1)
    y = (rows + down[:, None, None]) % height
    x = (columns + right[None, :, None]) % width
    fits = edges[y, x].sum(dim=-1)
    place = np.unravel_index(int(fits.argmax()), tuple(fits.shape))
    return down[place[0]].item(), right[place[1]].item()


RIGHT = [
    (chapter.renumbering, (
        renumber_by_loops, renumber_by_where, renumber_by_numpy, renumber_in_place,
        renumber_by_table, renumber_by_one_hot,
    )),
    (chapter.between, (
        ROWS, list(ROWS), torch.tensor(ROWS), np.array(ROWS, np.uint8), rows_by_hand,
        rows_by_two_axes,
    )),
    (chapter.two_faults, (
        crop_with_one_tensor, crop_by_numpy, crop_into_void, crop_by_narrow, crop_by_torchvision,
    )),
    (chapter.statistics, (
        statistics_by_numpy, statistics_by_sums, statistics_by_two_passes, statistics_by_einsum,
        statistics_by_weights,
    )),
    (chapter.diagnosis, (
        cause_by_ifs, cause_by_order, cause_by_words, cause_by_elimination, cause_as_float,
    )),
    (chapter.shift, (
        shift_by_loops, shift_by_fourier, shift_by_numpy, shift_by_sorting, shift_by_indices,
    )),
]  # fmt: skip


@pytest.mark.parametrize(
    "exercise, answer",
    [
        pytest.param(exercise, answer, id=f"{exercise.title[:3]} {number}")
        for exercise, answers in RIGHT
        for number, answer in enumerate(answers)
    ],
)
def test_right_answers_are_accepted_however_they_are_written(exercise, answer):
    assert exercise.verdict(answer) == ("✓", "")


@cache
def scenes(void=0):
    return [Toytown(24, void=void)[index] for index in range(24)]


def flipped_apart():
    torch.manual_seed(0)
    flip = T.random_flip()
    return [(flip(sample).image, flip(sample).semantic) for sample in scenes()]


def paired_wrongly():
    others = [*scenes()[1:], scenes()[0]]
    return [(a.image, b.semantic) for a, b in zip(scenes(), others, strict=True)]


def padded_apart():
    return [(F.pad(s.image, (0, 4)), F.pad(s.semantic, (4, 0), value=IGNORE)) for s in scenes()]


def in_grey():
    def grey(mask):
        file = Image.fromarray(mask.numpy().astype(np.uint8))
        file.putpalette([part for color in PALETTE for part in color])
        return torch.from_numpy(np.array(file.convert("L"))).long()

    return [(sample.image, grey(sample.semantic)) for sample in scenes()]


def interpolated():
    def halved(mask):
        mask = mask[None, None].float()
        return F.interpolate(mask, (48, 64), mode="bilinear", antialias=True)[0, 0].long()

    return [(T.resize((48, 64))(s).image, halved(s.semantic)) for s in scenes()]


def void_as_sky():
    return [(s.image, s.semantic.masked_fill(s.semantic == IGNORE, 0)) for s in scenes(void=1)]


def normalized():
    return [T.normalize()(sample) for sample in scenes()]


FAULTS = {
    "A": (2, flipped_apart),
    "B": (3, paired_wrongly),
    "C": (5, padded_apart),
    "D": (4, in_grey),
    "E": (1, interpolated),
    "F": (6, void_as_sky),
    "G": (7, normalized),
}


@pytest.mark.parametrize("letter", FAULTS)
def test_every_fault_gives_the_finding_of_the_exercise(letter):
    cause, make = FAULTS[letter]
    (found,) = [each for each in inspect(make(), classes=CLASSES).findings if each.level != "ok"]
    texts = (f"{found.check}: {found.message}", chapter.FINDINGS[letter])
    assert len({re.sub(r"\d+", "#", text) for text in texts}) == 1, texts
    assert chapter.find_cause(letter) == cause


def test_one_cause_is_left_over():
    causes = [chapter.find_cause(letter) for letter in chapter.FINDINGS]
    assert len(set(causes)) == len(causes) == len(chapter.CAUSES) - 1


def test_the_faulty_function_of_the_notebook_is_the_catalogued_one():
    def random_crop(image, mask, size, draw):
        bottom = max(size - mask.shape[0], 0)
        right = max(size - mask.shape[1], 0)
        image = F.pad(image, (0, right, 0, bottom))
        mask = F.pad(mask, (0, right, 0, bottom))
        parts = []
        for part in (image, mask):
            top = draw(part.shape[-2] - size)
            left = draw(part.shape[-1] - size)
            parts.append(part[..., top : top + size, left : left + size])
        return parts[0], parts[1]

    assert "Both faults are still there" in chapter.two_faults.verdict(random_crop)[1]
    lines = [line.strip() for line in inspect_module.getsource(random_crop).splitlines()]
    assert "\n".join(lines) in "\n".join(
        line.strip() for line in repr(chapter.two_faults).splitlines()
    )


def crop_with_padding_of_class_zero(image, mask, size, draw):
    bottom, right = max(size - mask.shape[0], 0), max(size - mask.shape[1], 0)
    image = F.pad(image, (0, right, 0, bottom))
    mask = F.pad(mask, (0, right, 0, bottom))
    top, left = draw(mask.shape[0] - size), draw(mask.shape[1] - size)
    rows, columns = slice(top, top + size), slice(left, left + size)
    return image[:, rows, columns], mask[rows, columns]


def columns_before_rows(edges, borders, search_range):
    _, right = chapter.find_shift(edges, borders, (0, search_range[1]))
    down, _ = chapter.find_shift(edges, borders.roll(right, 1), (search_range[0], 0))
    return down, right


def chained(ids, classes):
    labels = ids.clone()
    for number, label in classes.items():
        labels[labels == number] = label
    labels[~torch.isin(ids, torch.tensor(list(classes), dtype=torch.int64))] = IGNORE
    return labels


def looked_up_by_tensors(ids, classes):
    return [[classes.get(number, IGNORE) for number in row] for row in ids]


TRUNCATED, ROUNDED = ROWS


@pytest.mark.parametrize(
    "exercise, answer, advice",
    [
        (chapter.renumbering, chained, "Replacements follow each other"),
        (chapter.renumbering, looked_up_by_tensors, "a tensor is no key"),
        (chapter.between, TRUNCATED, "rounded row is missing"),
        (chapter.between, (TRUNCATED, [2, 2, 2, 2, 5, 5, 5, 5]), "The truncated row is right"),
        (chapter.two_faults, crop_with_padding_of_class_zero, "cut at one place now"),
        (chapter.diagnosis, {"A": 2}.get, "no answer yet"),
        (chapter.shift, columns_before_rows, "One direction was searched first"),
    ],
)
def test_typical_half_answers_get_advice_that_is_true(exercise, answer, advice):
    assert advice in exercise.verdict(answer)[1]


def test_the_question_of_the_diagnosis_holds_all_findings_and_causes():
    shown = repr(chapter.diagnosis)
    assert all(text in shown for text in (*chapter.FINDINGS.values(), *chapter.CAUSES.values()))
