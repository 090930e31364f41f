"""Exercises of the chapter on classical methods."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segcourse.classical.regions import region_growing
from segcourse.exercises.core import Exercise, Mistake, counted, list_in_question, right_but

Moments = tuple[int, float, float]  # number of pixels, mean, variance
Score = Callable[[Moments, list[Moments]], float]


@dataclass(repr=False)
class Guided(Exercise):
    """An exercise with a sentence for wrong answers that no catalogued mistake explains.

    Args:
        guide: the arguments, the wrong result and the expected one -> advice, or "" for none.
    """

    guide: Callable[[tuple, Any, Any], str] = lambda arguments, got, want: ""

    def recognise(self, got: list, want: list) -> tuple[str, int]:
        """As for every exercise; if no mistake is recognised, the guide is asked."""
        advice, shown = super().recognise(got, want)
        if not advice:
            inputs = self.inputs()
            for place in self.failing(got, want):
                if not isinstance(got[place], BaseException):
                    advice = self.guide(inputs[place], got[place], want[place])
                if advice:
                    return advice, place
        return advice, shown


# ── 4.1 ──────────────────────────────────────────────────────────────────────────────────────────


def two_thresholds(counts: Sequence[int]) -> tuple[int, int, float] | None:
    """Divide a histogram into three classes, as Otsu's method does.

    ``counts`` is a list of integers: ``counts[v]`` pixels have the grey value v, for v from 0 to
    ``len(counts) - 1``. Two thresholds a < b make three classes: v <= a, a < v <= b, and v > b.
    Every class must contain at least one pixel. The between-class variance is the sum, over the
    three classes, of the class's share of the pixels times the squared distance of the class's
    mean from the mean of all pixels. Find the pair (a, b) for which this sum is largest, and return
    a, b and the sum. If a value does not occur, several pairs divide the pixels in the same way:
    take the smallest a, and then the smallest b. (The tests contain no other ties.) If fewer than
    three values occur, return None.

    Then explain why multi-Otsu with three classes has the IoU 0.00 on the retina in the figure of
    the chapter: how much of the brightest class belongs to the optic disc?
    """
    best, most = None, 0.0
    for a, b in itertools.combinations(range(len(counts)), 2):
        classes = range(a + 1), range(a + 1, b + 1), range(b + 1, len(counts))
        sizes = [sum(counts[v] for v in values) for values in classes]
        if 0 in sizes:
            continue
        sums = [sum(v * counts[v] for v in values) for values in classes]
        mean = sum(sums) / sum(sizes)
        squares = [n * (s / n - mean) ** 2 for n, s in zip(sizes, sums, strict=True)]
        between = sum(squares) / sum(sizes)
        if between > most:
            best, most = (a, b, between), between
    return best


def _pairs(counts: Sequence[int]) -> list[tuple[int, int]]:
    """All pairs of thresholds that leave no class empty."""
    pairs = itertools.combinations(range(len(counts)), 2)
    return [(a, b) for a, b in pairs if all(map(sum, _split(counts, a, b)))]


def _split(counts: Sequence[int], a: int, b: int) -> list[list[int]]:
    """The histogram of each class; values outside of the class have the count 0."""
    return [
        [count if low < value <= high else 0 for value, count in enumerate(counts)]
        for low, high in ((-1, a), (a, b), (b, len(counts)))
    ]


def _moments(counts: Sequence[int]) -> Moments:
    """Number of pixels, mean and variance of a histogram."""
    size = sum(counts)
    mean = sum(value * count for value, count in enumerate(counts)) / size
    return size, mean, sum(n * (v - mean) ** 2 for v, n in enumerate(counts)) / size


def _between(counts: Sequence[int], a: int, b: int) -> float:
    """The between-class variance of a pair of thresholds."""
    size, mean, _ = _moments(counts)
    return sum(n * (m - mean) ** 2 for n, m, _ in map(_moments, _split(counts, a, b))) / size


def _first_best(counts: Sequence[int], score: Score) -> tuple[int, int, float] | None:
    """The first pair with the highest score, which gets the moments of all and of each class."""
    best, most = None, -math.inf
    for a, b in _pairs(counts):
        value = score(_moments(counts), [_moments(part) for part in _split(counts, a, b)])
        if value > most + 1e-9:
            best, most = (a, b, abs(value)), value
    return best


def thresholds_without_shares(counts: Sequence[int]) -> tuple[int, int, float] | None:
    return _first_best(counts, lambda every, parts: sum((m - every[1]) ** 2 for _, m, _ in parts))


def thresholds_with_distances(counts: Sequence[int]) -> tuple[int, int, float] | None:
    return _first_best(
        counts, lambda every, parts: sum(n * abs(m - every[1]) for n, m, _ in parts) / every[0]
    )


def thresholds_of_the_smallest(counts: Sequence[int]) -> tuple[int, int, float] | None:
    return _first_best(
        counts, lambda every, parts: -sum(n * (m - every[1]) ** 2 for n, m, _ in parts) / every[0]
    )


def thresholds_with_the_variance_within(counts: Sequence[int]) -> tuple[int, int, float] | None:
    return _first_best(
        counts, lambda every, parts: -sum(n * spread for n, _, spread in parts) / every[0]
    )


def thresholds_around_zero(counts: Sequence[int]) -> tuple[int, int, float] | None:
    return _first_best(counts, lambda every, parts: sum(n * m**2 for n, m, _ in parts) / every[0])


def thresholds_with_counts(counts: Sequence[int]) -> tuple[int, int, float] | None:
    return _first_best(
        counts, lambda every, parts: sum(n * (m - every[1]) ** 2 for n, m, _ in parts)
    )


def thresholds_around_the_mean_of_means(counts: Sequence[int]) -> tuple[int, int, float] | None:
    def score(every, parts):
        middle = sum(m for _, m, _ in parts) / 3
        return sum(n * (m - middle) ** 2 for n, m, _ in parts) / every[0]

    return _first_best(counts, score)


def thresholds_of_adjacent_classes(counts: Sequence[int]) -> tuple[int, int, float] | None:
    return _first_best(
        counts,
        lambda every, parts: (
            sum(n * k * (m - o) ** 2 for (n, m, _), (k, o, _) in itertools.pairwise(parts))
            / every[0] ** 2
        ),
    )


def thresholds_last_of_the_best(counts: Sequence[int]) -> tuple[int, int, float] | None:
    scores = {pair: round(_between(counts, *pair), 6) for pair in _pairs(counts)}
    pair = max(scores, key=lambda each: (scores[each], each), default=None)
    return pair and (*pair, scores[pair])


def thresholds_above(counts: Sequence[int]) -> tuple[int, int, float] | None:
    best = two_thresholds(counts)
    return best and (best[0] + 1, best[1] + 1, best[2])


def thresholds_without_the_variance(counts: Sequence[int]) -> tuple[int, int] | None:
    best = two_thresholds(counts)
    return best and best[:2]


def thresholds_one_after_the_other(counts: Sequence[int]) -> tuple[int, int, float] | None:
    """Otsu's threshold of all pixels, then Otsu's threshold of the pixels above it."""
    first = _one_threshold(counts)
    if first is None:
        return None
    upper = [count if value > first else 0 for value, count in enumerate(counts)]
    lower = [count if value <= first else 0 for value, count in enumerate(counts)]
    second = _one_threshold(upper)
    second = _one_threshold(lower) if second is None else second
    if second is None:
        return None
    a, b = sorted((first, second))
    return a, b, _between(counts, a, b)


def _one_threshold(counts: Sequence[int]) -> int | None:
    """Otsu's threshold of a histogram, None if it has a single value."""
    best, most = None, 0.0
    for cut in range(len(counts)):
        low, high = counts[: cut + 1], [0] * (cut + 1) + list(counts[cut + 1 :])
        if sum(low) and sum(high):
            (n, m, _), (k, o, _) = _moments(low), _moments(high)
            if n * k * (m - o) ** 2 > most + 1e-9:
                best, most = cut, n * k * (m - o) ** 2
    return best


def thresholds_by_a_product(counts: Sequence[int]) -> tuple[int, int, float] | None:
    """The formula of two classes, with a third share as one more factor."""

    def score(every, parts):
        (n, low, _), (k, *_), (size, high, _) = parts
        return n * k * size * (high - low) ** 2 / every[0] ** 3

    return _first_best(counts, score)


def thresholds_with_squared_shares(counts: Sequence[int]) -> tuple[int, int, float] | None:
    return _first_best(
        counts,
        lambda every, parts: sum((n / every[0]) ** 2 * (m - every[1]) ** 2 for n, m, _ in parts),
    )


def thresholds_in_falling_order(counts: Sequence[int]) -> tuple[int, int, float] | None:
    best = two_thresholds(counts)
    return best and (best[1], best[0], best[2])


def thresholds_into_thirds(counts: Sequence[int]) -> tuple[int, int, float] | None:
    best = _first_best(counts, lambda every, parts: -sum(n * n for n, *_ in parts))
    return best and (*best[:2], _between(counts, *best[:2]))


def thresholds_of_a_list_of_values(counts: Sequence[int]) -> tuple[int, int, float] | None:
    histogram = [0] * (max(counts, default=0) + 1)
    for value in counts:
        histogram[value] += 1
    return two_thresholds(histogram)


def thresholds_of_values_that_occur(counts: Sequence[int]) -> tuple[int, int, float] | None:
    return two_thresholds([count for count in counts if count])


otsu_three = Exercise(
    "4.1 Otsu's method with three classes",
    solution=two_thresholds,
    cases=[
        ([4, 0, 0, 0, 0, 4, 0, 0, 0, 4],),
        ([0, 0, 5, 0, 3, 0, 0, 0, 0, 2, 6, 0],),
        ([9, 5, 1, 0, 2, 7, 3, 1, 0, 0, 1, 1],),
        ([40, 21, 1, 0, 0, 1, 2, 1, 0, 0, 0, 0, 0, 1],),
        ([1, 2, 3],),
        ([2, 8, 1, 4],),
        ([0, 6, 0, 5],),
        ([7],),
        ([3, 0, 0, 1, 30, 42, 18, 0, 0, 3, 0, 0],),
        ([1, 0, 0, 12, 14, 1, 1, 0, 0, 3, 2, 1, 0, 0, 0, 0, 0, 9],),
        ([0, 0, 0, 0],),
        ([12, 30, 12, 1, 0, 0, 0, 2, 0, 0, 0, 0, 3],),
    ],
    mistakes=(
        Mistake(
            thresholds_without_shares,
            "The classes are not weighted. Multiply the squared distance of each class by the "
            "share of the pixels that belong to the class.",
        ),
        Mistake(
            thresholds_with_distances,
            "The distances of the means are not squared. A variance adds up squared distances.",
        ),
        Mistake(
            thresholds_of_the_smallest,
            "This is the smallest between-class variance. The means of good classes lie far apart, "
            "so the between-class variance must be largest.",
        ),
        Mistake(
            thresholds_with_the_variance_within,
            "The thresholds are right, but the number is the variance within the classes. Return "
            "the variance between them.",
        ),
        Mistake(
            thresholds_around_zero,
            "The distances are measured from 0. Measure the distance of each class mean from the "
            "mean of all pixels.",
        ),
        Mistake(
            thresholds_with_counts,
            "The squared distances are multiplied by numbers of pixels. Multiply them by shares: "
            "divide by the number of all pixels.",
        ),
        Mistake(
            thresholds_around_the_mean_of_means,
            "The distances are measured from the mean of the three class means. Measure them from "
            "the mean of all pixels, in which large classes count more.",
        ),
        Mistake(
            thresholds_without_the_variance,
            "The thresholds are right. Return a, b and the between-class variance.",
        ),
        Mistake(
            thresholds_of_adjacent_classes,
            "Only neighbouring classes are compared here. With three classes, add up the squared "
            "distance of each class mean from the mean of all pixels, weighted by its share.",
        ),
        Mistake(
            thresholds_last_of_the_best,
            "Of the pairs that divide the pixels in the same way, this is the last one. Return the "
            "smallest a, and then the smallest b.",
        ),
        Mistake(
            thresholds_above,
            "Both thresholds are one too large. A value that equals a threshold belongs to the "
            "lower class.",
        ),
        Mistake(
            thresholds_one_after_the_other,
            "Otsu's threshold was computed first, and then a second one for a part of the pixels. "
            "The best pair need not contain the best single threshold: try all pairs.",
        ),
        Mistake(
            thresholds_by_a_product,
            "The three shares are multiplied, as in the formula for two classes. With three "
            "classes, add up share times squared distance from the mean of all pixels.",
        ),
        Mistake(
            thresholds_with_squared_shares,
            "The shares are squared too. Only the distances of the means are squared.",
        ),
        Mistake(
            thresholds_in_falling_order,
            "The larger threshold stands first. Return a, then b, with a < b.",
        ),
        Mistake(
            thresholds_into_thirds,
            "This makes three classes of about the same size. Otsu's method compares the means of "
            "the classes.",
        ),
        Mistake(
            thresholds_of_a_list_of_values,
            "``counts`` was read as a list of grey values. It is a histogram: counts[v] pixels "
            "have the value v.",
        ),
        Mistake(
            thresholds_of_values_that_occur,
            "These are positions among the values that occur. A threshold is a grey value, and "
            "values without a pixel count too.",
        ),
    ),
    hints=(
        "Try all pairs a < b. For each pair, compute the number of pixels and the mean of each of "
        "the three classes.",
        "itertools.combinations(range(len(counts)), 2) goes through the pairs in the right order: "
        "replace the best pair only by a better one. Skip a pair with an empty class.",
        "Sum of a class: sum(v * counts[v] for v in values); its mean is this sum divided by its "
        "number of pixels. Add up size / total * (mean of the class - mean of all) ** 2.",
    ),
    describe=lambda counts: f"counts = {list(counts)}",
)


# ── 4.2 ──────────────────────────────────────────────────────────────────────────────────────────


def label_components(mask: Tensor) -> Tensor:
    """Number the connected components of a mask in two passes: (H, W) -> (H, W).

    ``mask`` is a tensor of booleans. Pixels of the mask that share a side belong to one component;
    pixels that share only a corner do not. Return integers: 0 outside of the mask, and 1, 2, ...
    for the components, in the order of their first pixel (row by row, each from left to right).

    The classical algorithm reads the image twice. In the first pass, each pixel of the mask takes
    the number of its neighbour above or on its left. If there is none, it takes a new number. If
    both have different numbers, a table notes that these numbers mean the same component. The
    second pass replaces each number by that of its component. Any other way is accepted too.
    """
    height, width = mask.shape
    labels = torch.zeros((height, width), dtype=torch.int64)
    parent = {}  # the table: a number -> a smaller number of the same component, or itself

    def find(number):
        while parent[number] != number:
            number = parent[number]
        return number

    for y, x in itertools.product(range(height), range(width)):
        if mask[y, x]:
            above = labels[y - 1, x].item() if y > 0 else 0
            left = labels[y, x - 1].item() if x > 0 else 0
            roots = {find(number) for number in (above, left) if number} or {len(parent) + 1}
            labels[y, x] = min(roots)
            for root in roots:
                parent[root] = min(roots)
    names = {}
    for y, x in itertools.product(range(height), range(width)):
        if mask[y, x]:
            root = find(labels[y, x].item())
            labels[y, x] = names.setdefault(root, len(names) + 1)
    return labels


def _scan(mask: Tensor, join, order=None) -> Tensor:
    """The first pass with another way of joining two numbers, and a second one."""
    height, width = mask.shape
    labels = torch.zeros((height, width), dtype=torch.int64)
    parent = {}
    for y, x in order or itertools.product(range(height), range(width)):
        if mask[y, x]:
            above = labels[y - 1, x].item() if y > 0 else 0
            left = labels[y, x - 1].item() if x > 0 else 0
            labels[y, x] = above or left or len(parent) + 1
            parent.setdefault(labels[y, x].item(), labels[y, x].item())
            if above and left and above != left:
                join(parent, above, left)

    def find(number):
        for _ in range(len(parent)):
            number = parent[number]
        return number

    return _renumbered(labels, find)


def _renumbered(labels: Tensor, find) -> Tensor:
    """Numbers from 1 on in reading order: (H, W) -> (H, W)."""
    names, result = {}, torch.zeros_like(labels)
    for y, x in labels.nonzero().tolist():
        result[y, x] = names.setdefault(find(labels[y, x].item()), len(names) + 1)
    return result


def components_of_one_pass(mask: Tensor) -> Tensor:
    return _scan(mask, lambda parent, above, left: None)


def components_of_the_last_note(mask: Tensor) -> Tensor:
    def join(parent, above, left):
        parent[max(above, left)] = min(above, left)

    return _scan(mask, join)


def components_that_share_corners(mask: Tensor) -> Tensor:
    labels = torch.zeros(mask.shape, dtype=torch.int64)
    height, width = mask.shape
    for y, x in mask.nonzero().tolist():
        if labels[y, x]:
            continue
        label, stack = int(labels.max()) + 1, [(y, x)]
        while stack:
            row, column = stack.pop()
            inside = 0 <= row < height and 0 <= column < width
            if inside and mask[row, column] and not labels[row, column]:
                labels[row, column] = label
                steps = itertools.product((-1, 0, 1), repeat=2)
                stack += [(row + down, column + right) for down, right in steps]
    return labels


def components_from_zero(mask: Tensor) -> Tensor:
    return (label_components(mask) - 1).clamp(min=0)


def components_with_gaps(mask: Tensor) -> Tensor:
    labels, first = label_components(mask), {}
    provisional = _provisional(mask)
    for y, x in labels.nonzero().tolist():
        first.setdefault(labels[y, x].item(), provisional[y, x].item())
    for label, number in first.items():
        provisional[labels == label] = number
    return provisional


def _provisional(mask: Tensor) -> Tensor:
    """The numbers after the first pass."""
    height, width = mask.shape
    labels, last = torch.zeros((height, width), dtype=torch.int64), 0
    for y, x in mask.nonzero().tolist():
        above = labels[y - 1, x].item() if y > 0 else 0
        left = labels[y, x - 1].item() if x > 0 else 0
        numbers = [number for number in (above, left) if number]
        last += not numbers
        labels[y, x] = min(numbers, default=last)
    return labels


def components_after_the_first_pass(mask: Tensor) -> Tensor:
    return _provisional(mask)


def components_by_columns(mask: Tensor) -> Tensor:
    return label_components(mask.T).T


def components_of_the_background_too(mask: Tensor) -> Tensor:
    inside, outside = label_components(mask), label_components(~mask)
    both = torch.where(mask, 2 * inside, 2 * outside + 1)
    return _renumbered(both, lambda number: number)


def components_of_rows(mask: Tensor) -> Tensor:
    labels, last = torch.zeros(mask.shape, dtype=torch.int64), 0
    for y, x in mask.nonzero().tolist():
        last += not (x > 0 and mask[y, x - 1])
        labels[y, x] = last
    return labels


def components_around_the_border(mask: Tensor) -> Tensor:
    """Rows are joined end to end: the last pixel of a row and the first one of the next."""
    labels = label_components(mask)
    links = {number: number for number in range(1, int(labels.max()) + 1)}
    for end, start in zip(labels[:-1, -1].tolist(), labels[1:, 0].tolist(), strict=True):
        if end and start:
            low, high = sorted((links[end], links[start]))
            links = {number: low if name == high else name for number, name in links.items()}
    return _renumbered(labels, links.__getitem__)


def _masks() -> list[tuple[Tensor]]:
    """Masks to number, drawn in characters."""
    drawings = (
        ["#.#", "#.#", "###"],
        [".#.", "#.#", ".#."],
        ["###.", "...#", "##.#", "#..#"],
        ["#.#.#.#", "#.#.#.#", "#.###.#", "#.....#", "#######"],
        ["......#", "..#...#", "..#.#.#", "#.#.#.#", "#######"],
        ["#######", "#.....#", "#.###.#", "#.#.#.#", "#.#...#", "#.#####"],
        [".#..", "##.#", "..##", "#..."],
        ["...", "..."],
        ["##", "##"],
        ["#.##.#.#"],
        ["#", ".", "#", "#"],
        ["..#.#", "#.#.#", "###.#", "....#", "##..#"],
        ["...#", "#..."],
        ["....##", ".#.#.#", "##.#.#", ".....#", "#.####", "#....."],
        ["#...", "#..#", "..##", "#.#."],
        ["...#", "#.##", "###."],
        [".##.##.", "#####.#", "##...##", "#.#.###", "#..##.#", "####.##"],
        ["#.#####", ".##.##.", "#..##..", "####.#.", "#..#.##", "##..###"],
    )
    masks = [torch.tensor([[mark == "#" for mark in row] for row in rows]) for rows in drawings]
    noise = torch.rand(9, 14, generator=torch.Generator().manual_seed(3)) < 0.58
    return [(mask,) for mask in (*masks, noise)]


def _split_components(arguments: tuple, got: Any, want: Any) -> str:
    """Advice for labels that divide a true component, and join nothing."""
    if (
        not isinstance(got, np.ndarray)
        or got.shape != np.shape(want)
        or got.dtype.kind not in "iuf"
    ):
        return ""
    found, true = got, np.asarray(want)
    if ((found != 0) != (true != 0)).any():
        return ""
    pairs = {(float(a), float(b)) for a, b in zip(found.flat, true.flat, strict=True) if b}
    numbers = {a for a, _ in pairs}
    if not len(pairs) == len(numbers) > len({b for _, b in pairs}):
        return ""
    return (
        f"Your labels divide this mask into {counted(len(numbers), 'component')}, but it has "
        f"{len({b for _, b in pairs})}. If you use a table: a note may lead to another note, so "
        "follow the table to its end, for both numbers, and join these two ends. A note that "
        "replaces an older one loses it."
    )


two_passes = Guided(
    "4.2 Connected components in two passes",
    solution=label_components,
    cases=_masks,
    mistakes=(
        Mistake(
            components_of_one_pass,
            "Numbers that meet are not joined. In a U, both arms get a number of their own before "
            "they meet at the bottom: note that the two numbers mean the same component.",
        ),
        Mistake(
            components_after_the_first_pass,
            "These are the numbers after the first pass. The second pass must replace each number "
            "by that of its component.",
        ),
        Mistake(
            components_of_the_last_note,
            "A note in the table is overwritten by a later one. A number may have been joined "
            "before: follow the table to its end for both numbers, and join these two ends.",
        ),
        Mistake(
            components_that_share_corners,
            "Pixels that share only a corner are joined here. Only pixels that share a side belong "
            "to one component.",
        ),
        Mistake(
            components_from_zero,
            "The first component has the number 0, like the background. Begin with 1.",
        ),
        Mistake(
            components_with_gaps,
            "The components are right, but the numbers have gaps. Numbers that were joined are not "
            "used any more: renumber the components 1, 2, 3, ... at the end.",
        ),
        Mistake(
            components_by_columns,
            "The components are numbered column by column. Go through the rows, and through each "
            "row from left to right.",
        ),
        Mistake(
            components_of_the_background_too,
            "Pixels outside of the mask get numbers too. They must stay 0.",
        ),
        Mistake(
            components_of_rows,
            "Each run of pixels within a row becomes a component. Compare with the pixel above "
            "too.",
        ),
        Mistake(
            components_around_the_border,
            "The last pixel of a row is joined with the first pixel of the next row. They share no "
            "side: check the border before you look to the left.",
        ),
    ),
    hints=(
        "When does a pixel of the mask begin a new component, and when does it join two components "
        "that had different numbers so far?",
        "Keep a dictionary `parent` that maps each number to a number of the same component, or to "
        "itself. Follow it until a number maps to itself: that is the root. Join roots.",
        "After the first pass, replace each number by its root. Then give the roots the numbers 1, "
        "2, ... in the order in which you meet them: names.setdefault(root, len(names) + 1).",
    ),
    describe=lambda mask: "the mask\n" + draw(mask) + "\n",
    guide=_split_components,
)


def draw(mask: Tensor) -> str:
    """A mask in characters."""
    return "\n".join("    " + "".join(".#"[value] for value in row) for row in mask.tolist())


# ── 4.3 ──────────────────────────────────────────────────────────────────────────────────────────


def largest_tolerance(
    image: Tensor, seed_point: tuple[int, int], outside: tuple[int, int]
) -> int | None:
    """Find the largest tolerance at which region growing does not reach a given pixel.

    ``image`` is a tensor (H, W) of type uint8, with grey values from 0 to 255. ``seed_point`` and
    ``outside`` are two different pixels (row, column). The region grows from the seed to
    neighbours above, below, left and right, if their value differs by at most the tolerance from
    the value of the seed. Return the largest integer tolerance for which the region does not
    contain the pixel ``outside``. Return None if the region contains it even with tolerance 0.

    Then predict: does the region with this tolerance have an IoU of at least 0.9 with the coin?
    """
    for tolerance in range(256):
        if region_growing(image, seed_point, tolerance=tolerance)[outside]:
            return tolerance - 1 if tolerance else None


def tolerance_that_leaks(image, seed_point, outside):
    result = largest_tolerance(image, seed_point, outside)
    return 0 if result is None else result + 1


def tolerance_of_the_two_pixels(image, seed_point, outside):
    result = abs(int(image[outside]) - int(image[seed_point])) - 1
    return result if result >= 0 else None


def tolerance_that_wraps(image, seed_point, outside):
    distances = (image - image[seed_point]).int()
    return _grown_until(distances, seed_point, outside)


def tolerance_that_wraps_the_other_way(image, seed_point, outside):
    distances = (image[seed_point] - image).int()
    return _grown_until(distances, seed_point, outside)


def tolerance_without_absolute_values(image, seed_point, outside):
    distances = image.int() - image[seed_point].int()
    return _grown_until(distances.clamp(min=0), seed_point, outside)


def _grown_until(distances: Tensor, seed_point, outside, most: int = 255) -> int | None:
    for tolerance in range(most + 1):
        if region_growing((distances > tolerance).float(), seed_point, tolerance=0)[outside]:
            return tolerance - 1 if tolerance else None
    return most


def tolerance_with(rule="seed", connectivity=4):
    def answer(image, seed_point, outside):
        for tolerance in range(256):
            options = {"tolerance": tolerance, "rule": rule, "connectivity": connectivity}
            if region_growing(image, seed_point, **options)[outside]:
                return tolerance - 1 if tolerance else None
        return None

    answer.__name__ = f"tolerance_with_{rule}_{connectivity}"
    return answer


def tolerance_of_zero_for_none(image, seed_point, outside):
    return largest_tolerance(image, seed_point, outside) or 0


def tolerance_with_the_points_exchanged(image, seed_point, outside):
    return largest_tolerance(image, outside, seed_point)


def tolerance_of_minus_one_for_none(image, seed_point, outside):
    result = largest_tolerance(image, seed_point, outside)
    return -1 if result is None else result


def tolerance_that_does_not_fill_the_image(image, seed_point, outside):
    for tolerance in range(256):
        if region_growing(image, seed_point, tolerance=tolerance).all():
            return tolerance - 1 if tolerance else None


def tolerance_of_divided_values(image, seed_point, outside):
    for tolerance in range(256):
        if region_growing(image / 255, seed_point, tolerance=tolerance / 255)[outside]:
            return tolerance - 1 if tolerance else None
    return 255


def tolerance_down_and_along(image, seed_point, outside):
    """The largest step on another way: along the column, then along the row."""
    return tolerance_without_a_path(image.T, seed_point[::-1], outside[::-1])


def tolerance_without_a_path(image, seed_point, outside):
    """The largest step on the straight way: along the row, then along the column."""
    (y, x), (row, column) = seed_point, outside
    along = image[y, min(x, column) : max(x, column) + 1].int()
    down = image[min(y, row) : max(y, row) + 1, column].int()
    result = int((torch.cat([along, down]) - int(image[seed_point])).abs().max()) - 1
    return result if result >= 0 else None


def _walls() -> list[tuple]:
    """Images with walls, gaps and ramps, with a seed and a pixel outside."""
    ring = torch.full((7, 9), 60)
    ring[1:6, 1:7] = 100
    ring[2:5, 2:6] = 64
    gap = ring.clone()
    gap[3, 6] = 75
    bright = 255 - gap
    corner = torch.full((6, 6), 200)
    corner[1, 1], corner[2, 2], corner[3, 3] = 40, 45, 50
    stairs = torch.arange(0, 120, 7).expand(3, -1)
    detour = torch.tensor(
        [[10, 200, 10, 12, 11], [10, 200, 10, 90, 10], [14, 17, 13, 90, 10], [9, 8, 10, 90, 12]]
    )
    down = torch.tensor([[90, 30, 90], [60, 90, 20], [150, 120, 35], [90, 90, 50]])
    noise = torch.randint(0, 256, (8, 11), generator=torch.Generator().manual_seed(5))
    extremes = torch.tensor([[0, 255, 0], [0, 255, 255], [0, 0, 128]])
    cases = (
        (torch.tensor([[100, 101, 100]]), (0, 0), (0, 2)),
        (torch.tensor([[5], [3], [250], [4]]), (0, 0), (3, 0)),
        (down, (0, 0), (3, 1)),
        (extremes, (0, 0), (0, 2)),
        (extremes, (0, 0), (2, 1)),
        (torch.full((3, 4), 17), (0, 0), (2, 3)),
        (detour, (0, 0), (0, 4)),
        (detour, (3, 4), (0, 0)),
        (ring, (3, 3), (0, 0)),
        (gap, (3, 3), (6, 8)),
        (bright, (3, 3), (6, 0)),
        (corner, (1, 1), (3, 3)),
        (stairs, (1, 0), (1, 16)),
        (stairs, (0, 17), (2, 3)),
        (noise, (4, 5), (0, 0)),
        (noise, (7, 2), (1, 9)),
    )
    return [(image.to(torch.uint8), seed, outside) for image, seed, outside in cases]


keep_outside = Exercise(
    "4.3 The largest tolerance that keeps a pixel outside",
    solution=largest_tolerance,
    cases=_walls,
    mistakes=(
        Mistake(
            tolerance_that_leaks,
            "All results are one too large: at this tolerance, the region does contain the pixel. "
            "A neighbour also joins if its difference equals the tolerance.",
        ),
        Mistake(
            tolerance_of_the_two_pixels,
            "Only the values of the two pixels are compared. The region must also pass all pixels "
            "on a way between them, and may be stopped there.",
        ),
        Mistake(
            tolerance_that_wraps,
            "uint8 values wrap around: 10 - 20 becomes 246. Convert the values to int before you "
            "subtract.",
        ),
        Mistake(
            tolerance_that_wraps_the_other_way,
            "uint8 values wrap around: 10 - 20 becomes 246. Convert both values to int before you "
            "subtract one from the other.",
        ),
        Mistake(
            tolerance_without_absolute_values,
            "Darker pixels always join here. The difference counts in both directions: take its "
            "absolute value.",
        ),
        Mistake(
            tolerance_with("neighbor"),
            "The values are compared with those of a neighbour in the region. Compare each value "
            "with the value of the seed.",
        ),
        Mistake(
            tolerance_with("mean"),
            "The values are compared with the mean of the region so far. Compare each value with "
            "the value of the seed.",
        ),
        Mistake(
            tolerance_with(connectivity=8),
            "The region grows over corners here. It may only grow to the neighbours above, below, "
            "left and right.",
        ),
        Mistake(
            tolerance_of_zero_for_none,
            "If the region contains the pixel even with tolerance 0, return None: 0 would mean "
            "that it does not.",
        ),
        Mistake(
            tolerance_of_minus_one_for_none,
            "If the region contains the pixel even with tolerance 0, return None: no tolerance "
            "from 0 on keeps the pixel outside, and -1 is no tolerance.",
        ),
        Mistake(
            tolerance_that_does_not_fill_the_image,
            "This asks when the region fills the whole image. Look only at the pixel "
            "``outside``: other pixels may join later.",
        ),
        Mistake(
            tolerance_of_divided_values,
            "Values divided by 255 are rounded, so a difference that equals the tolerance may "
            "count as larger. Compare whole numbers.",
        ),
        Mistake(
            tolerance_down_and_along,
            "Only the way along the column and then along the row is looked at. The region may "
            "take any other way, if its values are more similar to the seed.",
        ),
        Mistake(
            tolerance_with_the_points_exchanged,
            "The region starts at ``outside`` here. It must start at the seed, whose value decides "
            "which pixels are similar.",
        ),
        Mistake(
            tolerance_without_a_path,
            "Only the way along the row and then along the column is looked at. The region may "
            "take a longer way whose values are more similar to the seed.",
        ),
    ),
    hints=(
        "A larger tolerance gives a region that contains the smaller one. So you can raise the "
        "tolerance step by step until the region contains the pixel.",
        "`region_growing(image, seed_point, tolerance=k)` of this chapter returns the mask. Which "
        "values of k are possible at all?",
        "for tolerance in range(256): if the mask is True at ``outside``, the answer is tolerance "
        "- 1, or None if tolerance is 0.",
    ),
    describe=lambda image, seed_point, outside: (
        f"the image {image.tolist()}, the seed {tuple(seed_point)} and the pixel {tuple(outside)}"
        if image.numel() <= 24
        else f"an image of {image.shape[0]} x {image.shape[1]} pixels, the seed "
        f"{tuple(seed_point)} and the pixel {tuple(outside)}"
    ),
)


# ── 4.4 ──────────────────────────────────────────────────────────────────────────────────────────


def source_side(
    source: Sequence[float], sink: Sequence[float], links: Sequence[tuple[int, int, float]]
) -> list[int]:
    """Find the minimum cut of a small graph.

    The nodes are 0 to ``len(source) - 1``, at most ten. An edge of weight ``source[i]`` joins node
    i to the source, and an edge of weight ``sink[i]`` joins it to the sink. Each of the ``links``
    (i, j, weight) is an edge between two nodes; two nodes may have several edges. A cut puts each
    node on the side of the source or on the side of the sink. It removes every edge whose two ends
    lie on different sides, and its cost is the sum of the weights of these edges. Return a sorted
    list of the nodes on the source's side of the cheapest cut. If several cuts have the lowest
    cost, return the one with the fewest nodes on the source's side (there is only one).
    """

    def cost(side):
        ends = [sink[node] if node in side else source[node] for node in range(len(source))]
        return sum(ends) + sum(w for i, j, w in links if (i in side) != (j in side))

    nodes = range(len(source))
    sides = (set(c) for size in range(len(source) + 1) for c in itertools.combinations(nodes, size))
    return sorted(min(sides, key=cost))


def _cheapest(count: int, cost, choose=min, backwards: bool = False) -> list[int]:
    """The side of the least cost."""
    sizes = range(count, -1, -1) if backwards else range(count + 1)
    sides = (set(c) for size in sizes for c in itertools.combinations(range(count), size))
    return sorted(choose(sides, key=cost))


def cut_with_the_terminals_exchanged(source, sink, links):
    return source_side(sink, source, links)


def cut_of_nodes_alone(source, sink, links):
    return source_side(source, sink, [])


def cut_of_counted_links(source, sink, links):
    return source_side(source, sink, [(i, j, 1) for i, j, _ in links])


def cut_of_uncut_links(source, sink, links):
    return _cheapest(
        len(source),
        lambda side: (
            sum(sink[n] if n in side else source[n] for n in range(len(source)))
            + sum(w for i, j, w in links if (i in side) == (j in side))
        ),
    )


def cut_with_links_twice(source, sink, links):
    return source_side(source, sink, [*links, *links])


def cut_of_links_one_way(source, sink, links):
    return _cheapest(
        len(source),
        lambda side: (
            sum(sink[n] if n in side else source[n] for n in range(len(source)))
            + sum(w for i, j, w in links if i in side and j not in side)
        ),
    )


def cut_of_the_highest_cost(source, sink, links):
    return _cheapest(
        len(source),
        lambda side: (
            sum(sink[n] if n in side else source[n] for n in range(len(source)))
            + sum(w for i, j, w in links if (i in side) != (j in side))
        ),
        choose=max,
    )


def _cost(source, sink, links):
    def cost(side):
        ends = [sink[node] if node in side else source[node] for node in range(len(source))]
        return sum(ends) + sum(w for i, j, w in links if (i in side) != (j in side))

    return cost


def cut_that_is_never_empty(source, sink, links):
    nodes = range(len(source))
    sides = (c for size in nodes for c in itertools.combinations(nodes, size + 1))
    return sorted(min(map(set, sides), key=_cost(source, sink, links), default=set()))


def cut_that_is_never_full(source, sink, links):
    nodes = range(len(source))
    sides = (c for size in nodes for c in itertools.combinations(nodes, size))
    return sorted(min(map(set, sides), key=_cost(source, sink, links), default=set()))


def cut_in_falling_order(source, sink, links):
    return source_side(source, sink, links)[::-1]


def cut_with_its_cost(source, sink, links):
    side = source_side(source, sink, links)
    return side, _cost(source, sink, links)(side)


def cut_on_the_side_of_the_sink(source, sink, links):
    return sorted(set(range(len(source))) - set(source_side(source, sink, links)))


def cut_with_the_most_nodes(source, sink, links):
    return cut_on_the_side_of_the_sink(sink, source, links)


def cut_of_single_changes(source, sink, links):
    """Start with each node alone; change single nodes while that lowers the cost."""

    def cost(side):
        ends = [sink[node] if node in side else source[node] for node in range(len(source))]
        return sum(ends) + sum(w for i, j, w in links if (i in side) != (j in side))

    side, before = {n for n in range(len(source)) if source[n] > sink[n]}, math.inf
    while cost(side) < before:
        before = cost(side)
        side = min([side, *(side ^ {node} for node in range(len(source)))], key=cost)
    return sorted(side)


def cut_without_the_sink(source, sink, links):
    return _cheapest(
        len(source),
        lambda side: (
            sum(source[n] for n in range(len(source)) if n not in side)
            + sum(w for i, j, w in links if (i in side) != (j in side))
        ),
    )


def cut_of_the_last_link(source, sink, links):
    return source_side(
        source, sink, [(*pair, w) for pair, w in {(i, j): w for i, j, w in links}.items()]
    )


GRAPHS = [
    ([2, 9], [5, 4], [(0, 1, 2)]),
    ([2, 9], [5, 4], [(0, 1, 4)]),
    ([6, 1, 6], [2, 4, 1], [(0, 1, 3), (1, 2, 3)]),
    ([5, 1, 4], [1, 4, 2], [(0, 1, 2), (1, 2, 2)]),
    ([6, 0, 5, 1], [1, 4, 0, 6], [(0, 1, 1), (1, 2, 2), (3, 2, 1)]),
    ([4, 4, 3, 0, 0], [1, 1, 5, 5, 6], [(0, 2, 2), (1, 2, 2), (2, 3, 1), (3, 4, 3)]),
    ([8, 7, 0, 8, 3, 0, 7, 6, 0], [0, 1, 8, 0, 5, 8, 1, 2, 8],
     [(0, 1, 2), (1, 2, 2), (3, 4, 2), (4, 5, 2), (6, 7, 2), (7, 8, 2),
      (0, 3, 2), (1, 4, 2), (2, 5, 2), (3, 6, 2), (4, 7, 2), (5, 8, 2)]),
    ([3, 0, 3, 5, 2], [4, 3, 0, 6, 0], [(1, 2, 3), (2, 1, 1), (4, 0, 2), (1, 2, 1.5)]),
    ([3, 2, 6, 6, 3], [4, 3, 1, 5, 2], [(1, 0, 1), (1, 4, 1.5), (1, 4, 2), (2, 4, 3)]),
    ([6, 3, 5, 1, 2], [2, 5, 2, 5, 1], [(1, 2, 3), (4, 3, 1), (1, 2, 2)]),
    ([5, 2, 6, 2, 5], [2, 5, 1, 2, 3], [(1, 0, 1), (3, 4, 3), (2, 4, 3), (4, 2, 3), (1, 0, 2)]),
    ([3], [3], []),
    ([3], [2], []),
    ([], [], []),
    ([0, 5, 1, 1], [4, 0, 2, 3], [(2, 1, 1), (2, 3, 3), (1, 2, 1), (3, 0, 1)]),
    ([5, 2, 2], [0, 4, 4], [(0, 1, 3), (0, 2, 3), (1, 2, 4)]),
    ([1, 1, 9, 0], [3, 3, 0, 1], [(0, 2, 1.5), (2, 1, 3), (0, 1, 0.5), (3, 0, 6)]),
]  # fmt: skip


tiny_cut = Exercise(
    "4.4 The minimum cut of a small graph",
    solution=source_side,
    cases=GRAPHS,
    mistakes=(
        Mistake(
            cut_with_the_terminals_exchanged,
            "The weights of source and sink are exchanged. A node on the source's side keeps its "
            "edge to the source, so its edge to the *sink* is removed.",
        ),
        Mistake(
            cut_of_nodes_alone,
            "The edges between nodes are not used. An edge adds its weight if its ends lie on "
            "different sides.",
        ),
        Mistake(
            cut_of_counted_links,
            "Each removed edge counts 1 here. Add its weight.",
        ),
        Mistake(
            cut_of_uncut_links,
            "You add the edges whose ends lie on the same side. These edges are not removed.",
        ),
        Mistake(
            cut_with_links_twice,
            "Each edge between nodes counts twice here. It is removed once, whichever end lies "
            "on the source's side.",
        ),
        Mistake(
            cut_of_links_one_way,
            "An edge (i, j, weight) is only counted if i lies on the source's side. It is also "
            "removed if j lies there and i does not.",
        ),
        Mistake(cut_of_the_highest_cost, "This is the most expensive cut, not the cheapest one."),
        Mistake(
            cut_on_the_side_of_the_sink,
            "These are the nodes on the side of the sink. Return the others.",
        ),
        Mistake(
            cut_that_is_never_empty,
            "The empty side is left out. All nodes may lie on the side of the sink: begin with "
            "size 0.",
        ),
        Mistake(
            cut_that_is_never_full,
            "The full side is left out. All nodes may lie on the side of the source: range(n) ends "
            "with n - 1.",
        ),
        Mistake(
            cut_in_falling_order,
            "The nodes are right, but their order is not: return a sorted list, smallest first.",
        ),
        Mistake(
            cut_with_its_cost,
            "The cost is returned too. Return only the list of nodes.",
        ),
        Mistake(
            cut_with_the_most_nodes,
            "Among cuts of the same cost this is the one with the most nodes on the source's "
            "side. Return the one with the fewest.",
        ),
        Mistake(
            cut_of_single_changes,
            "This improves a cut by changing single nodes, and ends in a local minimum. Sometimes "
            "several nodes must change sides together: try all sides.",
        ),
        Mistake(
            cut_without_the_sink,
            "The edges to the sink are missing: a node on the source's side loses its edge to the "
            "sink.",
        ),
        Mistake(
            cut_of_the_last_link,
            "If two nodes have several edges, all of them are removed: add up their weights.",
        ),
    ),
    hints=(
        "Ten nodes have only 1024 possible sides, so you can try them all. What is the cost of "
        "one side?",
        "A node on the source's side costs sink[i], another node costs source[i]. Each of the "
        "links costs its weight if exactly one of its ends is on the source's side.",
        "itertools.combinations(nodes, size) for size = 0, 1, 2, ... lists small sides first. "
        "min(sides, key=cost) returns the first of the cheapest.",
    ),
    describe=lambda source, sink, links: (
        f"source = {list(source)}, sink = {list(sink)}, {counted(len(links), 'link')} {list(links)}"
    ),
)


# ── 4.5 ──────────────────────────────────────────────────────────────────────────────────────────

METHODS = ("Otsu", "region growing", "watershed", "forest")
PICTURES = {
    "dots": "Nine bright discs lie apart on a dark background. All of them are the object.",
    "twins": "Two bright discs of equal brightness lie apart. Only the left one is the object.",
    "ramp": "The brightness rises evenly from left to right, by more than the disc, which is the "
    "object, differs from its surroundings. There is hardly any noise.",
    "noise": "A disc is brighter than its surroundings, but strong noise makes the grey values of "
    "both overlap.",
    "spot": "A small bright spot, the object, lies on a large grey disc, and this on a black "
    "background.",
    "stripes": "A disc of dark and bright stripes lies on an even background. Its mean is that of "
    "the background.",
}
REASONS = {
    "dots": {
        "region growing": "One click reaches only one disc.",
        "watershed": "One click and one box find a single object, and there are nine.",
        "forest": "A forest works too, but it needs 100 marked pixels. Two groups of values can be "
        "separated with less help.",
    },
    "twins": {
        "Otsu": "Both discs have the same values, so a threshold takes both.",
        "watershed": "The watershed works too, but it also needs a box. One click is enough.",
        "forest": "Both discs have the same values around each pixel, so a forest can hardly "
        "separate them.",
    },
    "ramp": {
        "Otsu": "The bright side of the ramp is brighter than the disc, so no threshold separates "
        "the disc.",
        "region growing": "Beside the disc, the ramp reaches the values of the disc, so the region "
        "grows into the background.",
        "forest": "A forest works too, but it needs 100 marked pixels. The edge of the disc is "
        "intact, and another method uses it with less help.",
    },
    "noise": {
        "Otsu": "The values of the object and of the background overlap.",
        "region growing": "Only about a third of the pixels of the disc are similar to the seed, "
        "too few to form one connected region.",
        "watershed": "Noise makes edges everywhere, and some are as strong as the boundary.",
    },
    "spot": {
        "Otsu": "The spot is small. The two large groups of values are the black background and "
        "the grey disc, and Otsu's threshold separates these.",
        "watershed": "The watershed works too, but it also needs a box. One click is enough.",
        "forest": "The forest needs 100 marked pixels. Here, one click is enough.",
    },
    "stripes": {
        "Otsu": "The dark stripes are darker than the background and the bright ones are "
        "brighter, so no threshold separates the disc.",
        "region growing": "From a bright stripe, no dark stripe is similar.",
        "watershed": "The strongest edges lie between the stripes, inside the object.",
    },
}


def choose_method(picture: str) -> str:
    """Which method is enough for a picture? A key of ``ex.PICTURES`` -> one of ``ex.METHODS``.

    ``ex.PICTURES`` describes six drawn images of 72 x 96 pixels. For one of its keys, return the
    method that usually reaches an IoU of at least 0.8 with the *least help*. ``ex.METHODS`` lists
    the methods from the least help to the most. Otsu's threshold needs no help. Region growing
    (compared with the seed, tolerance 0.15) needs one click deep inside the object. The watershed
    of the edge strength needs such a click and a box. The random forest needs 50 marked pixels of
    the object and 50 of the background; the position of a pixel is not one of its features.
    """
    answers = {
        "dots": "Otsu",
        "twins": "region growing",
        "ramp": "watershed",
        "noise": "forest",
        "spot": "region growing",
        "stripes": "forest",
    }
    return answers[picture]


list_in_question(choose_method, PICTURES, {"Methods": ", ".join(METHODS)})


def picture(name: str) -> tuple[Tensor, Tensor]:
    """The image of a situation, and its object: (72, 96) in [0, 1], (72, 96) bool."""
    rows, columns = torch.arange(72.0)[:, None], torch.arange(96.0)
    generator = torch.Generator().manual_seed(1)

    def disc(row: float, column: float, radius: float) -> Tensor:
        return (rows - row) ** 2 + (columns - column) ** 2 < radius**2

    one = disc(36, 48, 20)
    target, noise = one, 0.03
    if name == "dots":
        places = itertools.product((12, 36, 60), (14, 48, 82))
        target = torch.stack([disc(row, column, 7) for row, column in places]).any(dim=0)
        image = 0.3 + 0.4 * target
    elif name == "twins":
        target = disc(36, 26, 17)
        image = 0.3 + 0.4 * (target | disc(36, 70, 17))
    elif name == "ramp":
        image, noise = 0.2 * one + 0.75 * columns / 95, 0.01
    elif name == "noise":
        image, noise = 0.35 + 0.3 * one, 0.3
    elif name == "spot":
        target = disc(30, 60, 7)
        image = 0.05 + 0.55 * disc(36, 48, 33) + 0.3 * target
    else:
        stripes = (rows + columns) // 4 % 2 - 0.5
        image = 0.5 + 0.5 * stripes * one
    image = image + noise * torch.randn(72, 96, generator=generator)
    return image.clamp(0, 1), target


def position_of_the_method(picture: str) -> int:
    return METHODS.index(choose_method(picture))


choose = Exercise(
    "4.5 Predict: which method is enough?",
    solution=choose_method,
    cases=[(name,) for name in PICTURES],
    mistakes=(
        Mistake(
            position_of_the_method,
            "You return the position in ex.METHODS. Return the name, such as 'Otsu'.",
        ),
        *(
            Mistake(right_but(choose_method, {name: method}), f"{advice} (This is about {name}.)")
            for name, reasons in REASONS.items()
            for method, advice in reasons.items()
        ),
    ),
    hints=(
        "Ask of each picture: are the grey values of object and background different? Are "
        "neighbouring values inside the object similar? Is the boundary the strongest edge?",
        "Begin with the method that needs the least help, and go on only if its assumption does "
        "not hold.",
        "Two methods are the answer to one picture each, the other two to two pictures each.",
    ),
    describe=lambda name: f'"{name}"',
    shows_expected=False,
    options=METHODS,
)


# ── 4.6 ──────────────────────────────────────────────────────────────────────────────────────────


def slic_distance(
    pixel: Sequence[float], center: Sequence[float], spacing: float, compactness: float
) -> float:
    """Find and repair the fault in this distance of SLIC:

        def slic_distance(pixel, center, spacing, compactness):
            color = sum((pixel[k] - center[k]) ** 2 for k in (0, 1, 2))
            place = sum((pixel[k] - center[k]) ** 2 for k in (3, 4))
            return math.sqrt(color + place * compactness / spacing)

    ``pixel`` and ``center`` are lists of five numbers: three for the colour, then row and column.
    The function must return D, the root of the squared distance in this chapter. It is right for
    some values of the arguments, but not in general. One test: if rows, columns and spacing become
    twice as large, D must stay the same, and in this function it does not.
    """
    color = sum((pixel[k] - center[k]) ** 2 for k in (0, 1, 2))
    place = sum((pixel[k] - center[k]) ** 2 for k in (3, 4))
    return math.sqrt(color + place * (compactness / spacing) ** 2)


def _parts(pixel, center) -> tuple[float, float]:
    """Squared distances of colour and place."""
    squares = [(a - b) ** 2 for a, b in zip(pixel, center, strict=True)]
    return sum(squares[:3]), sum(squares[3:])


def distance_with_the_fault(pixel, center, spacing, compactness):
    color, place = _parts(pixel, center)
    return math.sqrt(color + place * compactness / spacing)


def distance_with_spacing_squared(pixel, center, spacing, compactness):
    color, place = _parts(pixel, center)
    return math.sqrt(color + place * compactness / spacing**2)


def distance_with_compactness_squared(pixel, center, spacing, compactness):
    color, place = _parts(pixel, center)
    return math.sqrt(color + place * compactness**2 / spacing)


def distance_squared(pixel, center, spacing, compactness):
    return slic_distance(pixel, center, spacing, compactness) ** 2


def distance_with_both_exchanged(pixel, center, spacing, compactness):
    return slic_distance(pixel, center, compactness, spacing)


def distance_of_sums(pixel, center, spacing, compactness):
    color, place = _parts(pixel, center)
    return math.sqrt(color) + math.sqrt(place) * compactness / spacing


def distance_that_weights_the_color(pixel, center, spacing, compactness):
    color, place = _parts(pixel, center)
    return math.sqrt(color * compactness**2 + place / spacing**2)


def distance_divided_by_the_compactness(pixel, center, spacing, compactness):
    return slic_distance(pixel, center, spacing, compactness) / compactness


def distance_with_a_root_of_the_place(pixel, center, spacing, compactness):
    color, place = _parts(pixel, center)
    return color + math.sqrt(place) * compactness / spacing


def distance_without_spacing(pixel, center, spacing, compactness):
    color, place = _parts(pixel, center)
    return math.sqrt(color + place * compactness**2)


def distance_without_compactness(pixel, center, spacing, compactness):
    color, place = _parts(pixel, center)
    return math.sqrt(color + place / spacing**2)


def distance_in_city_blocks(pixel, center, spacing, compactness):
    steps = [abs(a - b) for a, b in zip(pixel, center, strict=True)]
    return math.hypot(sum(steps[:3]), sum(steps[3:]) * compactness / spacing)


def distance_without_columns(pixel, center, spacing, compactness):
    return slic_distance([*pixel[:4], 0], [*center[:4], 0], spacing, compactness)


def distance_of_brightness(pixel, center, spacing, compactness):
    pixel, center = ([each[0], 0, 0, *each[3:]] for each in (pixel, center))
    return slic_distance(pixel, center, spacing, compactness)


def distance_with_a_whole_ratio(pixel, center, spacing, compactness):
    color, place = _parts(pixel, center)
    return math.sqrt(color + place * (compactness // spacing) ** 2)


fix_slic = Exercise(
    "4.6 Find the fault in a superpixel distance",
    solution=slic_distance,
    cases=[
        ([52, -3, 6, 3, 4], [50, 0, 0, 0, 0], 20, 10),
        ([50, 0, 0, 3, 4], [50, 0, 0, 0, 0], 10, 10),
        ([50, 0, 0, 3, 4], [50, 0, 0, 0, 0], 20, 10),
        ([52, -3, 6, 8, 8], [50, 0, 0, 8, 8], 16, 10),
        ([52, -3, 6, 14, 5], [40, 1, 3, 8, 17], 12, 30),
        ([52.0, -3, 6, 14, 5], [40, 1, 3, 8, 17], 30, 12.5),
        ([0, 0, 0, 0, 7], [0, 0, 0, 0, 0], 4, 2),
        ([0, 0, 0, 5, 0], [0, 0, 0, 0, 0], 3, 1),
        ([10, 20, 30, 1, 2], [10, 20, 30, 1, 2], 8, 10),
        ([61.5, 12, -40, 20, 33], [58, 9, -33, 24, 30], 7.5, 40),
        ([30, 0, 0, 2, 9], [37, 0, 0, 6, 3], 1, 1),
    ],
    mistakes=(
        Mistake(
            distance_with_the_fault,
            "This is the given distance. It is right only if spacing and compactness are equal, or "
            "both places: which factor belongs to a *squared* distance of places?",
        ),
        Mistake(
            distance_with_spacing_squared,
            "The spacing is squared now, but the compactness is not.",
        ),
        Mistake(
            distance_with_compactness_squared,
            "The compactness is squared now, but the spacing is not.",
        ),
        Mistake(
            distance_squared,
            "This is the squared distance. The question asks for D: take the root.",
        ),
        Mistake(
            distance_with_both_exchanged,
            "Spacing and compactness are exchanged. A larger compactness makes places count more, "
            "and a larger spacing makes them count less.",
        ),
        Mistake(
            distance_of_sums,
            "The distances of colour and place are added up. Add their squares, then take one "
            "root.",
        ),
        Mistake(
            distance_that_weights_the_color,
            "The compactness multiplies the colour here. It belongs to the place.",
        ),
        Mistake(
            distance_divided_by_the_compactness,
            "Colour and place are both divided by the compactness. D leaves the colour as it is "
            "and multiplies the place by the compactness.",
        ),
        Mistake(
            distance_with_a_root_of_the_place,
            "The root is taken of the place only. Add both squared distances, then take one root.",
        ),
        Mistake(
            distance_without_spacing,
            "The distance of places is not divided by the spacing, so it grows with the image.",
        ),
        Mistake(
            distance_without_compactness,
            "The compactness is not used.",
        ),
        Mistake(
            distance_in_city_blocks,
            "Absolute differences are added up within colour and place. Both are Euclidean "
            "distances: add up squared differences, as the given code does.",
        ),
        Mistake(
            distance_without_columns,
            "The column is left out: the place is row *and* column, positions 3 and 4.",
        ),
        Mistake(
            distance_of_brightness,
            "Only the first number of the colour is used. The colour has three numbers.",
        ),
        Mistake(
            distance_with_a_whole_ratio,
            "// rounds down: the ratio becomes 0 if the compactness is below the spacing. Use /.",
        ),
    ),
    hints=(
        "Take two pixels of the same colour, five pixels apart, with a spacing of 20 and a "
        "compactness of 10. Compute D with the formula of the chapter, and with the code.",
        "Double rows, columns and spacing: by which factor does `place` grow, and by which factor "
        "does the code divide it?",
        "`place` is a squared distance, so its factor must be squared too: (m / S) ** 2.",
    ),
    describe=lambda pixel, center, spacing, compactness: (
        f"pixel = {list(pixel)}, center = {list(center)}, spacing = {spacing}, "
        f"compactness = {compactness}"
    ),
)
