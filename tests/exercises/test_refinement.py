"""The exercises on refinement accept every right answer and name the usual mistakes."""

from collections import deque
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import maximum_filter1d
from scipy.optimize import linprog

from segcourse.exercises import refinement as chapter
from segcourse.models.refinenet import ChainedPooling

# ── answers that are right, but written differently ────────────────────────────────────────────


def chain_in_numpy(row, steps):
    x = np.maximum(row, 0).astype(float)
    rows = [x]
    for window, weight in steps:
        x = weight * maximum_filter1d(x, window, mode="nearest")
        rows.append(x)
    return np.sum(rows, axis=0)


def chain_in_torch(row, steps):
    x = F.relu(torch.tensor(row, dtype=torch.float64))[None, None]
    total = x.clone()
    for window, weight in steps:
        x = F.max_pool1d(x, window, stride=1, padding=window // 2) * weight
        total += x
    return total.flatten()


def chain_with_infinite_ends(row, steps):
    total = now = tuple(v if v > 0 else 0.0 for v in row)
    for window, weight in steps:
        ends = (float("-inf"),) * ((window - 1) // 2)
        wide = ends + tuple(now) + ends
        now = [max(wide[p : p + window]) * weight for p in range(len(row))]
        total = tuple(map(sum, zip(total, now, strict=True)))
    return total


def chain_by_recursion(row, steps):
    def rest(x, steps):
        if not steps:
            return x
        (window, weight), *others = steps
        near = [[v for q, v in enumerate(x) if 2 * abs(q - p) < window] for p in range(len(x))]
        below = rest([weight * max(values) for values in near], others)
        return [a + b for a, b in zip(x, below, strict=True)]

    return rest([max(0.0, v) for v in row], list(steps))


def chain_by_a_deque(row, steps):
    kept = deque([[abs(v) if v > 0 else 0 for v in row]])
    for window, weight in steps:
        h, last = window // 2, kept[-1]
        new = []
        for p in range(len(last)):
            best = last[p]
            for q in range(max(0, p - h), min(len(last), p + h + 1)):
                best = last[q] if last[q] > best else best
            new.append(best * weight)
        kept.append(new)
    return [sum(values) for values in zip(*kept, strict=True)]


def unit_by_clamp(x, conv1, conv2):
    return conv2(conv1(x.clamp(min=0)).clamp(min=0)).add(x)


def unit_on_a_copy(x, conv1, conv2):
    y = F.relu_(x.clone())
    y = conv2(F.relu(conv1(y), inplace=True))
    return (x + y).numpy()


def unit_by_where(x, conv1, conv2):
    def relu(values):
        return torch.where(values > 0, values, torch.zeros_like(values))

    return torch.stack([x, conv2(relu(conv1(relu(x))))]).sum(dim=0)


def unit_by_a_loop(x, conv1, conv2):
    y = x
    for layer in (conv1, conv2):
        y = layer(y * (y > 0))
    return torch.add(x, y)


def unit_that_keeps_x_first(x, conv1, conv2):
    kept = x.double().clone()
    y = torch.relu(conv1(torch.maximum(x, torch.tensor(0.0))))
    kept += conv2(y)
    return kept


def loss_by_interpolation(all_logits, target):
    total = 0.0
    for z in all_logits:
        labels = F.interpolate(target[:, None].float(), z.shape[-2:], mode="nearest-exact")
        labels = labels[:, 0].long()
        if (labels == 255).all():
            continue
        total += F.cross_entropy(z, labels, ignore_index=255).item()
    return total


def loss_position_by_position(all_logits, target):
    total = 0.0
    for z in all_logits:
        n, _, h, w = z.shape
        logs, terms = z.log_softmax(dim=1), []
        for b, r, c in product(range(n), range(h), range(w)):
            label = int(
                target[b, (2 * r + 1) * target.shape[1] // (2 * h)]
                [(2 * c + 1) * target.shape[2] // (2 * w)]
            )  # fmt: skip
            if label != 255:
                terms.append(-float(logs[b, label, r, c]))
        total += sum(terms) / max(len(terms), 1)
    return total


def loss_in_numpy(all_logits, target):
    losses = []
    for z in all_logits:
        h, w = z.shape[2:]
        rows = np.floor((np.arange(h) + 0.5) * target.shape[1] / h).astype(int)
        columns = np.floor((np.arange(w) + 0.5) * target.shape[2] / w).astype(int)
        labels = target.numpy()[:, rows[:, None], columns]
        z = z.double().numpy()
        logs = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        valid = labels != 255
        picked = np.take_along_axis(logs, np.where(valid, labels, 0)[:, None], axis=1)[:, 0]
        losses.append(-picked[valid].mean() if valid.any() else 0.0)
    return np.array(losses).sum()


def loss_by_mean_of_valid(all_logits, target):
    def one(z):
        rows, columns = (
            torch.floor((torch.arange(new) + 0.5) / new * old).to(torch.int64)
            for new, old in zip(z.shape[2:], target.shape[1:], strict=True)
        )
        labels = target.index_select(1, rows).index_select(2, columns)
        each = F.cross_entropy(z, labels, ignore_index=255, reduction="none")
        return each.sum() / (labels != 255).sum().clamp(min=1)

    return torch.stack([one(z) for z in all_logits]).sum()


def loss_by_nan_to_num(all_logits, target):
    parts = []
    for z in all_logits:
        h, w = z.shape[-2:]
        i = ((torch.arange(h).double() + 0.5) * (target.shape[-2] / h)).floor().long()
        j = ((torch.arange(w).double() + 0.5) * (target.shape[-1] / w)).floor().long()
        parts.append(F.cross_entropy(z, target[:, i[:, None], j], ignore_index=255).nan_to_num(0))
    return sum(parts)


def source_by_interpolation(position, fine, coarse, align_corners):
    ramp = torch.arange(coarse, dtype=torch.float64)[None, None]
    return F.interpolate(ramp, fine, mode="linear", align_corners=align_corners)[0, 0, position]


def source_by_linspace(position, fine, coarse, align_corners):
    if align_corners:
        return np.linspace(0, coarse - 1, fine)[position]
    step = coarse / fine
    return np.clip(position * step + (step - 1) / 2, 0, coarse - 1)


def source_in_fractions(position, fine, coarse, align_corners):
    if align_corners:
        return float(Fraction(position * (coarse - 1), max(fine - 1, 1)))
    place = Fraction((2 * position + 1) * coarse, 2 * fine) - Fraction(1, 2)
    return float(sorted([Fraction(0), Fraction(coarse - 1), place])[1])


def source_by_cases(position, fine, coarse, align_corners):
    if fine == 1 and align_corners:
        return 0
    if align_corners:
        return position / (fine - 1) * (coarse - 1)
    place = coarse * (2 * position + 1) / (2 * fine) - 0.5
    if place < 0:
        return 0
    return coarse - 1 if place > coarse - 1 else place


def source_in_torch(position, fine, coarse, align_corners):
    if align_corners:
        return torch.linspace(0, coarse - 1, fine, dtype=torch.float64)[position]
    centres = (torch.arange(fine, dtype=torch.float64) + 0.5) / fine * coarse - 0.5
    return centres.clamp(0, coarse - 1)[position]


def possible_by_the_diagonals(table, gate):
    at = {(f * g if gate else f, g): car for (f, g), car in table.items()}
    ends, others = (at[1, 1], at[-1, -1]), (at[1, -1], at[-1, 1])
    return not (ends[0] == ends[1] and others[0] == others[1] and ends[0] != others[0])


def possible_by_a_linear_programme(table, gate):
    rows, bounds = [], []
    for (f, g), car in table.items():
        sign = 1 if car else -1
        rows.append([-sign * (f * g if gate else f), -sign * g, -sign])
        bounds.append(-1)
    found = linprog([0, 0, 0], A_ub=rows, b_ub=bounds, bounds=[(None, None)] * 3)
    return bool(found.success)


def possible_by_random_numbers(table, gate):
    draws = np.random.default_rng(0).normal(size=(4000, 3))
    inputs = np.array([[f * g if gate else f, g, 1] for f, g in table])
    return bool(((draws @ inputs.T > 0) == np.array(list(table.values()))).all(axis=1).any())


def possible_by_a_perceptron(table, gate):
    w = np.zeros(3)
    for _ in range(100):
        wrong = 0
        for (f, g), car in table.items():
            x = np.array([f * g if gate else f, g, 1])
            if (w @ x > 0) != car:
                w, wrong = w + (x if car else -x), wrong + 1
        if not wrong:
            return np.bool_(True)
    return np.bool_(False)


def possible_by_the_tables(table, gate):
    cars = {key for key, car in table.items() if car}
    if gate:  # f alone is the parity of f * g and g
        return cars not in ({(1, 1), (1, -1)}, {(-1, 1), (-1, -1)})
    return cars not in ({(1, 1), (-1, -1)}, {(-1, 1), (1, -1)})


RIGHT = {
    "chain": (
        chain_in_numpy,
        chain_in_torch,
        chain_with_infinite_ends,
        chain_by_recursion,
        chain_by_a_deque,
    ),
    "unit": (
        unit_by_clamp,
        unit_on_a_copy,
        unit_by_where,
        unit_by_a_loop,
        unit_that_keeps_x_first,
    ),
    "supervision": (
        loss_by_interpolation,
        loss_position_by_position,
        loss_in_numpy,
        loss_by_mean_of_valid,
        loss_by_nan_to_num,
    ),
    "place": (
        source_by_interpolation,
        source_by_linspace,
        source_in_fractions,
        source_by_cases,
        source_in_torch,
    ),
    "expressible": (
        possible_by_the_diagonals,
        possible_by_a_linear_programme,
        possible_by_random_numbers,
        possible_by_a_perceptron,
        possible_by_the_tables,
    ),
}


@pytest.mark.parametrize(
    "name, answer",
    [(name, answer) for name, answers in RIGHT.items() for answer in answers],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_right_answers_written_differently_are_accepted(name, answer):
    assert getattr(chapter, name).verdict(answer) == ("✓", "")


# ── answers that are wrong in ways that the catalogue does not list ────────────────────────────


@pytest.mark.parametrize(
    "exercise, answer",
    [
        (chapter.chain, lambda row, steps: chapter.chained_pooling(row, steps[::-1])),
        (chapter.chain, lambda row, steps: chapter.chained_pooling(row, steps[:2])),
        (chapter.chain, lambda row, steps: chapter.chained_pooling([abs(v) for v in row], steps)),
        (chapter.unit, lambda x, conv1, conv2: 2 * x + conv2(F.relu(conv1(F.relu(x))))),
        (chapter.unit, lambda x, conv1, conv2: x.abs() + conv2(F.relu(conv1(F.relu(x))))),
        (chapter.supervision, lambda z, t: chapter.loss_of_all_stages(z[1:], t)),
        (chapter.supervision, lambda z, t: 6 * chapter.loss_on_average(z, t)),
        (chapter.place, lambda p, fine, coarse, align: p * coarse / fine),
        (chapter.place, lambda p, fine, coarse, align: chapter.source(p, fine, coarse // 2, align)),
        (chapter.expressible, lambda table, gate: sum(table.values()) != 2),
        (chapter.expressible, lambda table, gate: False),
    ],
)  # fmt: skip
def test_answers_that_are_nearly_right_are_rejected(exercise, answer):
    assert exercise.verdict(answer)[0] == "✗"


def test_a_float_where_a_whole_number_is_needed_is_explained():
    def half_as_a_float(row, steps):
        x = [max(value, 0) for value in row]
        for window, _ in steps:
            half = (window - 1) / 2
            x = [max(x[max(p - half, 0) : p + half + 1]) for p in range(len(x))]
        return x

    mark, message = chapter.chain.verdict(half_as_a_float)
    assert mark == "✗" and "whole number may be needed" in message


def test_answers_with_the_same_results_get_advice_that_is_true_of_both():
    def from_zero(row, steps):  # the search for the largest number begins at 0
        rows = [[max(value, 0) for value in row]]
        for window, weight in steps:
            rows.append([weight * max(v, 0) for v in chapter.pooled(rows[-1], window)])
        return chapter.added(rows)

    def by_a_sigmoid(table, gate):
        def score(a, b, c, f, g):
            return a * (f * (2.0 if g > 0 else 0.5) if gate else f) + b * g + c

        return chapter.found_by(score, weights=(-2, -1, 0, 1, 2))(table)

    def by_exchanged_keys(table, gate):
        return chapter.possible({(f, g): table[g, f] for f, g in table}, gate)

    assert "does the search" in chapter.chain.verdict(from_zero)[1]
    assert "by g itself" in chapter.expressible.verdict(by_a_sigmoid)[1]
    assert "keys of the table" in chapter.expressible.verdict(by_exchanged_keys)[1]


def test_the_message_of_the_last_exercise_gives_nothing_away():
    for mistake in chapter.expressible.mistakes:
        assert "expected" not in chapter.expressible.verdict(mistake.answer)[1]


# ── the solutions agree with the networks of the course ────────────────────────────────────────


@pytest.mark.parametrize("pools", [1, 2, 4])
def test_the_chain_is_that_of_refinenet(pools):
    torch.manual_seed(0)
    layer = ChainedPooling(1, pools)
    weights = torch.randn(pools)
    for step, weight in zip(layer.steps, weights, strict=True):
        step[0] = torch.nn.MaxPool2d((1, 5), stride=1, padding=(0, 2))
        step[1].weight.data = torch.zeros(1, 1, 3, 3)
        step[1].weight.data[0, 0, 1, 1] = weight
    row = torch.randn(11)
    with torch.no_grad():
        wanted = layer(row[None, None, None]).flatten().tolist()
    found = chapter.chained_pooling(row.tolist(), [(5, w) for w in weights.tolist()])
    assert found == pytest.approx(wanted, abs=1e-5)


def test_each_of_sum_and_gate_misses_two_tables():
    tables = [
        dict(zip(chapter.PAIRS, cars, strict=True)) for cars in product((False, True), repeat=4)
    ]
    for gate in (False, True):
        missed = [table for table in tables if not chapter.possible(table, gate)]
        wanted = [{key: (key[0] if gate else key[0] * key[1]) == sign for key in chapter.PAIRS}
                  for sign in (1, -1)]  # fmt: skip
        assert len(missed) == 2 and all(table in missed for table in wanted)
