"""The U-Net exercises accept every right answer and name the usual mistakes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import nn

from segcourse.exercises import unet as chapter
from segcourse.exercises.core import Exercise, YourTurn
from segcourse.losses.pixelwise import border_weights
from segcourse.models.unet import UNet

EXERCISES = [value for value in vars(chapter).values() if isinstance(value, Exercise)]
MISTAKES = [
    pytest.param(exercise, mistake, id=f"{exercise.title[:3]} {mistake.answer.__name__}")
    for exercise in EXERCISES
    for mistake in exercise.mistakes
]


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGCOURSE_HOME", str(tmp_path))


def test_there_are_six_with_three_mistakes_each():
    assert [e.title[:3] for e in EXERCISES] == ["8.1", "8.2", "8.3", "8.4", "8.5", "8.6"]
    assert all(len(e.mistakes) >= 3 and len(e.hints) >= 2 for e in EXERCISES)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.title)
def test_the_solution_passes_and_the_stub_is_not_attempted(exercise):
    assert exercise.verdict(exercise.solution) == ("✓", "")

    def raises(*_):
        raise YourTurn

    for stub in (..., raises):
        assert exercise.verdict(stub) == ("○", ": not attempted yet")


@pytest.mark.parametrize("exercise, mistake", MISTAKES)
def test_every_catalogued_mistake_gets_its_own_advice(exercise, mistake):
    mark, message = exercise.verdict(mistake.answer)
    assert mark == "✗"
    assert message.endswith(mistake.advice)


def side_by_formula(side, depth):
    left = side - 12 * 2**depth + 8
    return np.int64(left) if left > 0 and left % 2**depth == 4 % 2**depth else None


def parameters_by_building(in_channels, num_classes, width, depth):
    with torch.device("meta"):
        net = UNet(num_classes, in_channels=in_channels, width=width, depth=depth)
    return sum(p.numel() for p in net.parameters())


def merge_by_padding(skip, x):
    rows, columns = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
    cut = F.pad(skip, (-columns // 2, -columns // 2, -rows // 2, -rows // 2))
    return torch.hstack([cut, x]).numpy()


def mirrored_by_walking(place, length):
    here, step = 0, 1
    for _ in range(abs(place)):  # to the left is to the right, in a mirror
        if length > 1:
            step = -1 if here == length - 1 else 1 if here == 0 else step
            here += step
    return here


def border_map_in_torch(instance, w0, sigma):
    return border_weights(torch.from_numpy(instance), w0=w0, sigma=sigma)


def border_map_by_partition(instance, w0, sigma):
    maps = [distance_transform_edt(instance != n) for n in range(1, instance.max() + 1)
            if (instance == n).any()]  # fmt: skip
    if len(maps) < 2:
        return (instance * 0.0).tolist()
    d = np.partition(np.stack(maps), 1, axis=0)[:2].sum(axis=0)
    return np.where(instance == 0, w0 * np.exp(-0.5 * (d / sigma) ** 2), 0).astype(np.float32)


def period_by_reasoning(net, image, side):
    return 2**net.depth


@pytest.mark.parametrize(
    "exercise, answer",
    [
        (chapter.side_of_logits, side_by_formula),
        (chapter.parameters, parameters_by_building),
        (chapter.fix_crop, merge_by_padding),
        (chapter.mirror, mirrored_by_walking),
        (chapter.border, border_map_in_torch),
        (chapter.border, border_map_by_partition),
        (chapter.shift, period_by_reasoning),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_right_answers_written_differently_are_accepted(exercise, answer):
    assert exercise.verdict(answer) == ("✓", "")


def test_the_side_is_the_networks():
    for depth in (1, 2, 3):
        with torch.device("meta"):
            net = UNet(2, width=1, depth=depth)
        for side in range(1, 140):
            try:
                real = net(torch.empty(1, 3, side, side, device="meta")).shape[-1]
            except ValueError:
                real = None
            assert chapter.logits_side(side, depth) == real


def test_the_count_is_the_papers():
    assert chapter.unet_parameters(1, 2, 64, 4) == 31_030_658


def test_the_mirror_is_torchs():
    row = torch.arange(6.0).view(1, 1, 1, 6)
    oracle = nn.ReflectionPad2d((5, 5, 0, 0))(row).flatten().tolist()
    assert [chapter.mirrored(place, 6) for place in range(-5, 11)] == oracle


def test_the_border_term_has_the_golden_values():
    instance, w0, sigma = chapter.cells()[0]
    weights = chapter.border_map(instance, w0, sigma)
    assert weights[8, 7] == pytest.approx(8.352702, abs=1e-5) and weights.max() == weights[8, 7]
    assert weights.sum() == pytest.approx(515.170384, abs=1e-3)
