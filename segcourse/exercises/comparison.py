"""Exercises of the chapter that compares networks."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, combinations_with_replacement, product

import numpy as np

from segcourse.exercises.core import Exercise, Mistake, counted, list_in_question, right_but

# ── 13.1 ─────────────────────────────────────────────────────────────────────────────────────────


def video_interval(
    a: np.ndarray, b: np.ndarray, videos: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """An interval for the difference of two networks, from whole videos drawn anew.

    ``a`` and ``b`` are integer arrays (N, K, 2), one for each network: ``a[n, c, 0]`` is the
    intersection of class c in frame n, ``a[n, c, 1]`` its union. ``videos`` (N,) holds the number
    of the video of every frame; any integers are possible. ``draws`` (R, G) holds R draws of G
    videos each: the number p stands for the video at place p, counted from 0, of the sorted list of
    the different video numbers. A draw contains all frames of its videos, as often as each video
    was drawn.

    For each draw, sum the counts over its frames. The mean IoU of a network is the mean of
    intersection / union over the classes whose union is not 0. Return two numbers: the quantiles
    0.025 and 0.975 (``np.quantile``) of the R differences: mean IoU of ``a`` minus that of ``b``.
    """
    names = np.unique(videos)
    differences = []
    for draw in draws:
        frames = np.concatenate([np.flatnonzero(videos == names[place]) for place in draw])
        scores = []
        for counts in (a, b):
            intersection, union = counts[frames].sum(axis=0).T
            scores.append(np.mean(intersection[union > 0] / union[union > 0]))
        differences.append(scores[0] - scores[1])
    return np.quantile(differences, [0.025, 0.975])


def frames_of(videos: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """The frames of the drawn videos."""
    names = np.unique(videos)
    return np.concatenate([np.flatnonzero(videos == names[place]) for place in draw])


def score_of(counts: np.ndarray) -> float:
    """The mean IoU of summed counts (K, 2) over the classes that occur."""
    present = counts[counts[:, 1] > 0]
    return float(np.mean(present[:, 0] / present[:, 1]))


def differences_of(
    a: np.ndarray,
    b: np.ndarray,
    videos: np.ndarray,
    draws: np.ndarray,
    score: Callable[[np.ndarray], float] = lambda counts: score_of(counts.sum(axis=0)),
    frames: Callable[[np.ndarray, np.ndarray], np.ndarray] = frames_of,
) -> np.ndarray:
    """The differences of all draws; ``score`` is that of the counts (n, K, 2) of the frames."""
    chosen = [frames(videos, draw) for draw in draws]
    return np.array([score(a[each]) - score(b[each]) for each in chosen])


def limits(values: np.ndarray) -> np.ndarray:
    """The interval that the exercise asks for."""
    return np.quantile(values, [0.025, 0.975])


def interval_of_frames(a, b, videos, draws):
    return limits(differences_of(a, b, videos, draws, frames=lambda videos, draw: draw))


def interval_of_videos_once(a, b, videos, draws):
    def frames(videos, draw):
        return np.flatnonzero(np.isin(videos, np.unique(videos)[draw]))

    return limits(differences_of(a, b, videos, draws, frames=frames))


def interval_by_place(a, b, videos, draws):
    def frames(videos, draw):
        return np.concatenate([np.flatnonzero(videos == place) for place in draw])

    return limits(differences_of(a, b, videos, draws, frames=frames))


def interval_by_first_appearance(a, b, videos, draws):
    def frames(videos, draw):
        names = list(dict.fromkeys(videos.tolist()))
        return np.concatenate([np.flatnonzero(videos == names[place]) for place in draw])

    return limits(differences_of(a, b, videos, draws, frames=frames))


def interval_from_place_one(a, b, videos, draws):
    return video_interval(a, b, videos, draws - 1)  # place -1 is the last one


def interval_by_isin(a, b, videos, draws):
    with warnings.catch_warnings(action="ignore"):  # no video may have such a number
        found = differences_of(
            a, b, videos, draws, frames=lambda videos, draw: np.flatnonzero(np.isin(videos, draw))
        )
    return limits(found)


def interval_of_frame_means(a, b, videos, draws):
    def score(counts):
        return np.mean([score_of(each) for each in counts])

    return limits(differences_of(a, b, videos, draws, score))


def interval_of_video_means(a, b, videos, draws):
    sums = [np.stack([net[videos == name].sum(axis=0) for name in np.unique(videos)])
            for net in (a, b)]  # fmt: skip
    scores = [np.array([score_of(each) for each in net]) for net in sums]
    return limits((scores[0] - scores[1])[draws].mean(axis=1))


def interval_with_absent_classes(a, b, videos, draws):
    def score(counts):
        counts = counts.sum(axis=0)
        return np.mean(counts[:, 0] / np.maximum(counts[:, 1], 1))

    return limits(differences_of(a, b, videos, draws, score))


def interval_with_perfect_classes(a, b, videos, draws):
    def score(counts):
        hits, union = counts.sum(axis=0).T
        return np.mean(np.where(union > 0, hits / np.maximum(union, 1), 1.0))

    return limits(differences_of(a, b, videos, draws, score))


def interval_of_common_classes(a, b, videos, draws):
    def difference(frames):
        first, second = (net[frames].sum(axis=0) for net in (a, b))
        common = (first[:, 1] > 0) & (second[:, 1] > 0)
        return score_of(first[common]) - score_of(second[common])

    return limits(np.array([difference(frames_of(videos, draw)) for draw in draws]))


def nan_of_absent(counts: np.ndarray) -> float:
    counts = counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return float(np.mean(counts[:, 0] / counts[:, 1]))


def interval_with_nan(a, b, videos, draws):
    return limits(differences_of(a, b, videos, draws, nan_of_absent))


def interval_without_nan_draws(a, b, videos, draws):
    return np.nanquantile(differences_of(a, b, videos, draws, nan_of_absent), [0.025, 0.975])


def interval_over_pixels(a, b, videos, draws):
    def score(counts):
        intersection, union = counts.sum(axis=(0, 1))
        return intersection / union

    return limits(differences_of(a, b, videos, draws, score))


def interval_the_other_way(a, b, videos, draws):
    return video_interval(b, a, videos, draws)


def interval_without_sign(a, b, videos, draws):
    return limits(np.abs(differences_of(a, b, videos, draws)))


def interval_of_each(a, b, videos, draws):
    chosen = [frames_of(videos, draw) for draw in draws]
    (low, high), (low_b, high_b) = (
        limits(np.array([score_of(net[each].sum(axis=0)) for each in chosen])) for net in (a, b)
    )
    return np.array([low - high_b, high - low_b])


def interval_of_quantiles(a, b, videos, draws):
    chosen = [frames_of(videos, draw) for draw in draws]
    first, second = (
        limits(np.array([score_of(net[each].sum(axis=0)) for each in chosen])) for net in (a, b)
    )
    return first - second


def interval_of_ninety_percent(a, b, videos, draws):
    return np.quantile(differences_of(a, b, videos, draws), [0.05, 0.95])


def interval_of_small_percents(a, b, videos, draws):
    return np.percentile(differences_of(a, b, videos, draws), [0.025, 0.975])


def interval_one_sided(a, b, videos, draws):
    return np.quantile(differences_of(a, b, videos, draws), [0.0, 0.95])


def interval_of_extremes(a, b, videos, draws):
    values = differences_of(a, b, videos, draws)
    return np.array([values.min(), values.max()])


def interval_by_deviation(a, b, videos, draws):
    values = differences_of(a, b, videos, draws)
    return values.mean() + 1.96 * values.std(ddof=1) * np.array([-1, 1])


def interval_by_error(a, b, videos, draws):
    values = differences_of(a, b, videos, draws)
    return values.mean() + 1.96 * values.std(ddof=1) / len(values) ** 0.5 * np.array([-1, 1])


def interval_reversed(a, b, videos, draws):
    return video_interval(a, b, videos, draws)[::-1]


def all_differences(a, b, videos, draws):
    return differences_of(a, b, videos, draws)


def interval_of_percents(a, b, videos, draws):
    return 100 * video_interval(a, b, videos, draws)


def films(seed: int, sizes: Sequence[int], names: Sequence[int], classes: int, draws: int) -> tuple:
    """Counts of two networks over videos of so many frames; every video has its own difficulty."""
    rng = np.random.default_rng(seed)
    videos = np.repeat(names, sizes)
    order = rng.permutation(len(videos))  # frames of one video need not follow each other
    union = rng.integers(20, 200, (len(videos), classes))
    hard = np.repeat(rng.uniform(0.2, 0.9, (len(sizes), classes)), sizes, axis=0)
    nets = []
    for shift in (0.0, 0.05):
        share = np.clip(hard + shift * rng.uniform(-1, 2, hard.shape), 0, 1)
        larger = union + rng.integers(0, 30, union.shape)  # other false positives
        nets.append(np.stack([(share * union).astype(int), larger], axis=-1)[order])
    return *nets, videos[order], rng.integers(0, len(sizes), (draws, len(sizes)))


def film_cases() -> list[tuple]:
    """Videos of equal and unequal length, with odd numbers, and classes that are rare or absent."""
    plain = films(0, (4, 4, 4, 4), (0, 1, 2, 3), 3, 40)
    long_one = films(1, (2, 30, 3), (7, 3, 5), 2, 30)
    negative = films(2, (5, 1, 3, 8, 2), (12, -4, 100, 0, 9), 4, 25)
    a, b, videos, draws = films(3, (3, 6, 2, 4), (40, 10, 30, 20), 3, 35)
    rare = [net.copy() for net in (a, b)]
    for net in rare:  # the last class occurs in one video only, so that some draws lack it
        net[videos != 10, 2] = 0
    one_sided = [net.copy() for net in rare]
    first = np.flatnonzero(videos == 30)[0]
    one_sided[1][first, 2] = (0, 1)  # one false pixel of the second network alone
    single = films(4, (6,), (5,), 2, 3)
    return [plain, long_one, negative, (*rare, videos, draws), (*one_sided, videos, draws), single]


by_video = Exercise(
    "13.1 Draw whole videos",
    solution=video_interval,
    cases=film_cases,
    mistakes=(
        Mistake(
            interval_of_frames,
            "The numbers in `draws` are used as frames. They stand for videos: take all frames of "
            "each drawn video.",
        ),
        Mistake(
            interval_of_videos_once,
            "A video that was drawn twice counts once here. Its frames belong into the draw twice.",
        ),
        Mistake(
            interval_by_place,
            "The numbers in `draws` are compared with the video numbers. They are places in the "
            "sorted list of the different video numbers.",
        ),
        Mistake(
            interval_by_first_appearance,
            "The video numbers are listed in the order of their first frames. The question asks "
            "for their sorted list, as np.unique gives it.",
        ),
        Mistake(
            interval_from_place_one,
            "The places are counted from 1 here. Place 0 is the smallest video number.",
        ),
        Mistake(
            interval_by_isin,
            "np.isin(videos, draw) takes the numbers in `draws` as video numbers, and a video that "
            "was drawn twice only once. They are places in a list, and repetition counts.",
        ),
        Mistake(
            interval_of_frame_means,
            "The mean IoU of each frame is averaged. Sum the counts over all frames of the draw "
            "first, then divide.",
        ),
        Mistake(
            interval_of_video_means,
            "The mean IoU of each video is averaged. Sum the counts over all frames of the draw "
            "first, then divide.",
        ),
        Mistake(
            interval_with_absent_classes,
            "A class whose union is 0 counts as an IoU of 0. Leave it out of the mean.",
        ),
        Mistake(
            interval_with_nan,
            "A class whose union is 0 makes the mean nan. Leave it out of the mean.",
        ),
        Mistake(
            interval_without_nan_draws,
            "A draw without some class is left out. Keep the draw, and leave out the class.",
        ),
        Mistake(
            interval_with_perfect_classes,
            "A class whose union is 0 counts as an IoU of 1. Leave it out of the mean.",
        ),
        Mistake(
            interval_of_common_classes,
            "A class is left out for both networks although its union is 0 in only one of them. "
            "Choose the classes of each network by its own unions.",
        ),
        Mistake(
            interval_over_pixels,
            "The counts of all classes are added, so that large classes dominate. Take the IoU of "
            "each class, then the mean over the classes.",
        ),
        Mistake(
            interval_the_other_way,
            "The sign is reversed: subtract the mean IoU of `b` from that of `a`.",
        ),
        Mistake(
            interval_without_sign,
            "The absolute differences do not say which network is better. Keep the sign.",
        ),
        Mistake(
            interval_of_each,
            "This combines the interval of each network. Subtract the scores within each draw, "
            "then take the quantiles of the differences.",
        ),
        Mistake(
            interval_of_quantiles,
            "The quantiles of each network are subtracted. Subtract the scores within each draw, "
            "then take the quantiles of the differences.",
        ),
        Mistake(
            interval_of_ninety_percent,
            "The quantiles 0.05 and 0.95 leave out 5 % on either side. Take 0.025 and 0.975.",
        ),
        Mistake(
            interval_of_small_percents,
            "np.percentile counts in per cent: its 0.025 is the quantile 0.00025. Use np.quantile.",
        ),
        Mistake(
            interval_one_sided,
            "Leave out 2.5 % on either side: the quantiles 0.025 and 0.975.",
        ),
        Mistake(
            interval_of_extremes,
            "These are the smallest and the largest difference. Take the quantiles 0.025 and "
            "0.975.",
        ),
        Mistake(
            interval_by_deviation,
            "This is the mean and 1.96 standard deviations on either side. Take the quantiles of "
            "the differences instead.",
        ),
        Mistake(
            interval_by_error,
            "The deviation of the differences is divided by the root of the number of draws. "
            "More draws do not make the test set larger: take the quantiles.",
        ),
        Mistake(interval_reversed, "The two numbers are exchanged: the smaller one comes first."),
        Mistake(
            all_differences,
            "These are the differences of all draws. Return two of their quantiles.",
        ),
        Mistake(interval_of_percents, "The result is in per cent. Return differences of the IoU."),
    ),
    hints=(
        "names = np.unique(videos) is the sorted list. np.flatnonzero(videos == names[place]) are "
        "the frames of one drawn video.",
        "np.concatenate joins the frames of a draw, with repetition. counts[frames].sum(axis=0) "
        "then has shape (K, 2).",
        "For each draw, append the mean IoU of a minus that of b to a list. Return "
        "np.quantile(differences, [0.025, 0.975]).",
    ),
    describe=lambda a, b, videos, draws: (
        f"{counted(len(videos), 'frame')} of the videos {np.unique(videos).tolist()}, "
        f"{counted(a.shape[1], 'class').replace('classs', 'classes')} and "
        f"{counted(len(draws), 'draw')}"
    ),
)


# ── 13.2 ─────────────────────────────────────────────────────────────────────────────────────────


def pareto_front(rows: Sequence[Sequence[float]], larger: Sequence[bool]) -> list[int]:
    """The rows that no other row dominates, for any number of criteria.

    ``rows[i][j]`` is the value of network i for criterion j. ``larger[j]`` is True if larger values
    of criterion j are better, as for an IoU, and False if smaller ones are, as for a time. Row k
    dominates row i if it is at least as good in every criterion and better in at least one. So
    two equal rows do not dominate each other. Return the numbers of the rows that no row dominates,
    in ascending order. ``rows`` may be empty.
    """
    signed = [[v if up else -v for v, up in zip(row, larger, strict=True)] for row in rows]
    front = []
    for place, row in enumerate(signed):
        pairs = [list(zip(other, row, strict=True)) for other in signed]
        beaten = any(all(x >= y for x, y in pair) and any(x > y for x, y in pair) for pair in pairs)
        if not beaten:
            front.append(place)
    return front


def signed_rows(rows: Sequence[Sequence[float]], larger: Sequence[bool]) -> np.ndarray:
    """The values with a sign, so that larger ones are better: (n, m)."""
    return np.reshape(rows, (len(rows), len(larger))) * np.where(larger, 1, -1)


def undominated(signed: np.ndarray, dominates: Callable) -> list[int]:
    """The rows for which ``dominates(others, row)`` is False for all others."""
    return [i for i, row in enumerate(signed) if not dominates(np.delete(signed, i, 0), row).any()]


def front_of_strict_losers(rows, larger):
    return undominated(signed_rows(rows, larger), lambda s, row: (s > row).all(axis=1))


def front_without_twins(rows, larger):
    return undominated(signed_rows(rows, larger), lambda s, row: (s >= row).all(axis=1))


def front_of_first_twins(rows, larger):
    front = pareto_front(rows, larger)
    return [i for k, i in enumerate(front) if rows[i] not in [rows[j] for j in front[:k]]]


def front_where_all_is_larger(rows, larger):
    return pareto_front(rows, [True] * len(larger))


def front_where_all_is_smaller(rows, larger):
    return pareto_front(rows, [False] * len(larger))


def front_upside_down(rows, larger):
    return pareto_front(rows, [not up for up in larger])


def front_of_winners(rows, larger):
    if not len(rows):
        return []
    signed = signed_rows(rows, larger)
    return np.flatnonzero((signed == signed.max(axis=0)).any(axis=1)).tolist()


def front_if_better_once(rows, larger):
    return undominated(signed_rows(rows, larger), lambda s, row: (s > row).any(axis=1))


def front_of_the_dominated(rows, larger):
    front = pareto_front(rows, larger)
    return [place for place in range(len(rows)) if place not in front]


def front_of_rows(rows, larger):
    return [rows[place] for place in pareto_front(rows, larger)]


def front_of_two_criteria(rows, larger):
    return pareto_front([row[:2] for row in rows], larger[:2])


def front_by_sums(rows, larger):
    if not len(rows):
        return []
    total = signed_rows(rows, larger).sum(axis=1)
    return np.flatnonzero(total == total.max()).tolist()


def front_as_mask(rows, larger):
    front = pareto_front(rows, larger)
    return [place in front for place in range(len(rows))]


def front_of_where(rows, larger):
    return np.where(front_as_mask(rows, larger))


def front_as_set(rows, larger):
    return set(pareto_front(rows, larger))


def front_of_full_arrays(rows, larger):
    signed = np.array(rows) * np.where(larger, 1, -1)
    return pareto_front(signed, [True] * len(larger))


def front_by_first_criterion(rows, larger):
    signed = signed_rows(rows, larger)
    return sorted(pareto_front(rows, larger), key=lambda place: -signed[place][0])


def front_counted_from_one(rows, larger):
    return [place + 1 for place in pareto_front(rows, larger)]


pareto = Exercise(
    "13.2 A Pareto front of many criteria",
    solution=pareto_front,
    cases=[
        ([[0.8, 100], [0.7, 90], [0.75, 120], [0.8, 80]], [True, False]),
        ([[0.5, 10], [0.9, 90], [0.7, 50], [0.6, 60], [0.9, 95]], [True, False]),
        ([[0.5, 10], [0.5, 10], [0.4, 10]], [True, False]),
        ([[3, 1, 2], [2, 2, 2], [1, 3, 2], [2, 2, 3], [1, 1, 1]], [True, True, True]),
        ([[3, 1, 2], [2, 2, 2], [1, 3, 2], [2, 2, 3], [1, 1, 1]], [False, False, False]),
        ([[0.7, 0.2, 5], [0.7, 0.3, 5], [0.6, 0.3, 4], [0.6, 0.1, 6]], [True, True, False]),
        ([[0.7, 8, 0.1], [0.6, 9, 0.1], [0.7, 8, 0.2]], [True, False, False]),
        ([[0.843, 100], [0.841, 100], [0.842, 90]], [True, False]),
        ([[5], [7], [7], [1]], [True]),
        ([[5], [7], [1], [1]], [False]),
        ([[-1, 2], [-2, 3], [-3, 1], [0, 0]], [False, True]),
        ([[0.5, 0.5]], [True, False]),
        ([], [True, False]),
    ],
    mistakes=(
        Mistake(
            front_of_strict_losers,
            "A row is removed only if another one is better in every criterion. It is dominated "
            "too if the other is equal in some criteria and better in at least one.",
        ),
        Mistake(
            front_without_twins,
            "Two equal rows remove each other here. To dominate, a row must be better in at least "
            "one criterion.",
        ),
        Mistake(
            front_of_first_twins,
            "Only the first of several equal rows is kept. No row dominates the others, so all of "
            "them stay.",
        ),
        Mistake(
            front_where_all_is_larger,
            "Larger values count as better in all criteria. `larger` says where smaller ones are.",
        ),
        Mistake(
            front_where_all_is_smaller,
            "Smaller values count as better in all criteria. `larger` says where larger ones are.",
        ),
        Mistake(
            front_upside_down,
            "These rows dominate no other row. Either the two rows of the comparison are "
            "exchanged, or the directions: True means that larger values are better.",
        ),
        Mistake(
            front_of_winners,
            "These rows are the best in one criterion. A row that is the best in none can be a "
            "good compromise, and still on the front.",
        ),
        Mistake(
            front_if_better_once,
            "Only rows that are the best in every criterion are kept, and often there is none. To "
            "remove a row, one other row must be at least as good in all criteria.",
        ),
        Mistake(front_of_the_dominated, "These rows are dominated. Return the others."),
        Mistake(front_of_rows, "These are the rows. Return their numbers."),
        Mistake(
            front_of_two_criteria,
            "Only the first two criteria are compared. There may be any number of them.",
        ),
        Mistake(
            front_by_sums,
            "The criteria are added, but a second and an IoU have no common unit. Compare them one "
            "by one.",
        ),
        Mistake(front_as_mask, "This is a truth value for each row. Return numbers of rows."),
        Mistake(
            front_of_where,
            "np.where returns a tuple of arrays. Its entry [0] holds the numbers.",
        ),
        Mistake(front_as_set, "A set has no order. Return a list in ascending order."),
        Mistake(
            front_of_full_arrays,
            "`rows` is empty here, so that its array has no second axis. Return an empty list.",
        ),
        Mistake(
            front_by_first_criterion,
            "The rows are right, but their order is not: return their numbers in ascending order.",
        ),
        Mistake(front_counted_from_one, "Rows are numbered from 0."),
    ),
    hints=(
        "Give all criteria one direction first: change the sign of those in which smaller values "
        "are better.",
        "Compare every row with all others. Another row dominates it if all values are at least "
        "as large, and any is larger.",
        "With np.array(rows) and the signs: (others >= row).all(axis=1) & "
        "(others > row).any(axis=1). Keep the row if no entry is True. For empty rows, return [] "
        "at once.",
    ),
    describe=lambda rows, larger: f"the rows {rows} and larger={larger}",
)


# ── 13.3 ─────────────────────────────────────────────────────────────────────────────────────────


def expected_best(scores: Sequence[float], count: int) -> float:
    """Predict the score of the best of ``count`` trainings.

    ``scores`` are the scores of one network with different seeds, larger is better. Somebody trains
    the network ``count`` times and reports the best score only. Return the expected report: the
    mean, over all sets of ``count`` different entries of ``scores``, of the largest score in the
    set. ``count`` is from 1 to the number of scores. Scores may be equal.
    """
    best = [max(chosen) for chosen in combinations(scores, count)]
    return sum(best) / len(best)


def best_of_all(scores, count):
    return max(scores)


def best_of_the_first(scores, count):
    return max(scores[:count])


def mean_of_the_best(scores, count):
    return sum(sorted(scores)[-count:]) / count


def best_with_repetition(scores, count):
    if len(scores) ** count > 10**5:
        ordered, n = sorted(scores), len(scores)
        return sum(s * (((i + 1) / n) ** count - (i / n) ** count) for i, s in enumerate(ordered))
    best = [max(chosen) for chosen in product(scores, repeat=count)]
    return sum(best) / len(best)


def best_of_pairs_with_itself(scores, count):
    best = [max(chosen) for chosen in combinations_with_replacement(scores, count)]
    return sum(best) / len(best)


def best_of_different_sets(scores, count):
    best = [max(chosen) for chosen in set(combinations(scores, count))]
    return sum(best) / len(best)


def mean_of_different_reports(scores, count):
    return float(np.mean(list({max(chosen) for chosen in combinations(scores, count)})))


def list_of_reports(scores, count):
    return [max(chosen) for chosen in combinations(scores, count)]


def last_of_sets(scores, count):
    return float(np.mean([chosen[-1] for chosen in combinations(scores, count)]))


def best_of_one_more(scores, count):
    return expected_best(scores, min(count + 1, len(scores)))


def best_of_one_less(scores, count):
    return np.mean([max(chosen) for chosen in combinations(scores, count - 1)])


def best_of_neighbours(scores, count):
    best = [max(scores[start : start + count]) for start in range(len(scores) - count + 1)]
    return sum(best) / len(best)


def best_of_blocks(scores, count):
    best = [max(scores[start : start + count]) for start in range(0, len(scores), count)]
    return sum(best) / len(best)


def plain_mean(scores, count):
    return sum(scores) / len(scores)


def worst_of(scores, count):
    return -expected_best([-score for score in scores], count)


def best_of_different(scores, count):
    different = sorted(set(scores))
    return expected_best(different, min(count, len(different)))


def median_of_the_best(scores, count):
    return float(np.median([max(chosen) for chosen in combinations(scores, count)]))


def gain_of_the_best(scores, count):
    return expected_best(scores, count) - sum(scores) / len(scores)


def best_by_quantile(scores, count):
    return float(np.quantile(scores, count / (count + 1)))


best_report = Exercise(
    "13.3 Predict the best of several seeds",
    solution=expected_best,
    cases=[
        ([0.50, 0.60, 0.70], 2),
        ([0.70, 0.50, 0.60], 1),
        ([0.60, 0.70, 0.50], 3),
        ([0.42, 0.44, 0.47, 0.39, 0.45], 2),
        ([0.42, 0.44, 0.47, 0.39, 0.45], 3),
        ([0.5, 0.5, 0.8, 0.8, 0.2, 0.5], 4),
        ([0.61, 0.64, 0.58, 0.66, 0.63, 0.60, 0.65, 0.59], 4),
        ([0.3, 0.3], 2),
        ([0.9, 0.1], 1),
        ([3.0, -1.0, -2.0, -4.0], 2),
        ([0.7], 1),
    ],
    mistakes=(
        Mistake(
            best_of_all,
            "This is the best of all scores. With fewer trainings, the best one is not always "
            "among them: take the mean over all sets.",
        ),
        Mistake(
            best_of_the_first,
            "Only the first scores are used. Every set of `count` scores is equally likely.",
        ),
        Mistake(
            mean_of_the_best,
            "This is the mean of the highest scores. Each set of `count` scores reports its own "
            "largest one: take the mean of these reports.",
        ),
        Mistake(
            best_with_repetition,
            "Here one score may occur several times in a set. Take sets of different entries.",
        ),
        Mistake(
            best_of_pairs_with_itself,
            "combinations_with_replacement lets an entry occur several times in a set. Use "
            "itertools.combinations.",
        ),
        Mistake(
            best_of_different_sets,
            "Sets with equal scores are merged. They consist of different seeds, so each set "
            "counts.",
        ),
        Mistake(
            mean_of_different_reports,
            "Equal reports are merged here. Each set counts in the mean, also if another set has "
            "the same largest score.",
        ),
        Mistake(list_of_reports, "These are the reports of all sets. Return their mean."),
        Mistake(
            last_of_sets,
            "This is the last score of each set. It is the largest one only if `scores` is sorted.",
        ),
        Mistake(best_of_one_more, "The sets are too large: each has `count` entries."),
        Mistake(best_of_one_less, "The sets are too small: each has `count` entries."),
        Mistake(
            best_of_neighbours,
            "Only sets of neighbouring entries are used. Take all sets: "
            "itertools.combinations gives them.",
        ),
        Mistake(
            best_of_blocks,
            "The list is cut into blocks. Take all sets: itertools.combinations gives them.",
        ),
        Mistake(
            plain_mean,
            "This is the mean of the scores. Each report is the largest score of a set.",
        ),
        Mistake(worst_of, "This is the worst of each set. Larger scores are better."),
        Mistake(
            best_of_different,
            "Equal scores are merged. They belong to different seeds, so each of them counts.",
        ),
        Mistake(median_of_the_best, "This is the median over the sets. Return the mean."),
        Mistake(
            gain_of_the_best,
            "This is the gain over the mean. Return the expected report itself.",
        ),
        Mistake(
            best_by_quantile,
            "A quantile only approximates the expected maximum. Go through all sets.",
        ),
    ),
    hints=(
        "Three scores have three sets of two. Write down the largest score of each set.",
        "itertools.combinations(scores, count) goes through all sets.",
        "best = [max(chosen) for chosen in combinations(scores, count)], then take the mean.",
    ),
    describe=lambda scores, count: f"the scores {scores} and count {count}",
)


# ── 13.4 ─────────────────────────────────────────────────────────────────────────────────────────


def rank_correlation(ours: Sequence[float], published: Sequence[float]) -> float:
    """Spearman's correlation of two lists of scores of the same networks.

    This function runs, and its result is wrong:

        def rank_correlation(ours, published):
            return np.corrcoef(np.argsort(ours), np.argsort(published))[0, 1]

    Find the fault, and write the function correctly. The rank of a network is its place when all
    scores of a list are sorted; networks with equal scores all get the mean of their places.
    Return the correlation coefficient (``np.corrcoef``) of the two lists of ranks. Entry i of both
    lists belongs to network i. Each list holds at least two different scores.
    """
    ranks = []
    for scores in (np.array(ours), np.array(published)):
        below = (scores < scores[:, None]).sum(axis=1)
        equal = (scores == scores[:, None]).sum(axis=1)
        ranks.append(below + equal / 2)
    return np.corrcoef(ranks)[0, 1]


def mean_ranks(scores: Sequence[float]) -> np.ndarray:
    scores = np.array(scores)
    below = (scores < scores[:, None]).sum(axis=1)
    return below + (scores == scores[:, None]).sum(axis=1) / 2


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.corrcoef(a, b)[0, 1])


def correlation_of_orders(ours, published):
    return correlation(np.argsort(ours), np.argsort(published))


def correlation_of_ordinal_ranks(ours, published):
    ranks = [np.argsort(np.argsort(each, kind="stable")) for each in (ours, published)]
    return correlation(*ranks)


def correlation_of_dense_ranks(ours, published):
    return correlation(*(np.unique(each, return_inverse=True)[1] for each in (ours, published)))


def correlation_of_lowest_ranks(ours, published):
    ranks = [(np.array(each) < np.array(each)[:, None]).sum(axis=1) for each in (ours, published)]
    return correlation(*ranks)


def correlation_of_highest_ranks(ours, published):
    ranks = [(np.array(each) <= np.array(each)[:, None]).sum(axis=1) for each in (ours, published)]
    return correlation(*ranks)


def correlation_of_scores(ours, published):
    return correlation(np.array(ours), np.array(published))


def correlation_by_formula(ours, published):
    n = len(ours)
    squares = ((mean_ranks(ours) - mean_ranks(published)) ** 2).sum()
    return 1 - 6 * squares / (n * (n**2 - 1))


def correlation_by_pairs(ours, published):
    x, y = np.array(ours), np.array(published)
    agree = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in combinations(range(len(x)), 2)]
    return float(np.mean(agree))


def correlation_of_the_chapter(ours, published):
    x, y = np.array(ours), np.array(published)
    agree = [(x[i] - x[j]) * (y[i] - y[j]) > 0 for i, j in combinations(range(len(x)), 2)]
    return 2 * float(np.mean(agree)) - 1


def correlation_by_untied_pairs(ours, published):
    a, b = (np.sign(np.subtract.outer(each, each)).ravel() for each in (ours, published))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def both_ranks(ours, published):
    return 0.5 + mean_ranks(ours), 0.5 + mean_ranks(published)


def correlation_of_our_ranks(ours, published):
    return correlation(mean_ranks(ours), np.argsort(published))


def correlation_of_published_ranks(ours, published):
    return correlation(np.argsort(ours), mean_ranks(published))


def correlation_with_half_places(ours, published):
    def ranks(scores):
        ordered = sorted(scores)
        return [ordered.index(each) + 0.5 * (ordered.count(each) > 1) for each in scores]

    return correlation(ranks(ours), ranks(published))


def correlation_downwards(ours, published):
    return -rank_correlation(ours, published)


def correlation_without_sign(ours, published):
    return abs(rank_correlation(ours, published))


def correlation_squared(ours, published):
    return rank_correlation(ours, published) ** 2


def correlation_as_matrix(ours, published):
    return np.corrcoef([mean_ranks(ours), mean_ranks(published)])


def share_of_equal_ranks(ours, published):
    return float((mean_ranks(ours) == mean_ranks(published)).mean())


def correlation_of_sorted(ours, published):
    return correlation(np.sort(ours), np.sort(published))


repair_ranks = Exercise(
    "13.4 Find the fault: a rank correlation",
    solution=rank_correlation,
    cases=[
        ([0.30, 0.10, 0.20, 0.40], [0.40, 0.30, 0.10, 0.20]),
        ([0.3, 0.1, 0.2], [62.0, 67.0, 60.0]),
        ([0.1, 0.2, 0.3, 0.4], [10.0, 20.0, 30.0, 99.0]),
        ([0.1, 0.2, 0.3, 0.4], [99.0, 30.0, 20.0, 10.0]),
        ([0.5, 0.5, 0.2, 0.9, 0.7], [1.0, 2.0, 3.0, 4.0, 5.0]),
        ([0.9, 0.5, 0.5, 0.5, 0.1], [5.0, 1.0, 4.0, 4.0, 2.0]),
        ([0.73, 0.87, 0.78, 0.74, 0.86, 0.73], [62.7, 92.0, 60.1, 82.6, 71.6, 79.7]),
        ([2, 1, 1, 1], [1, 1, 1, 5]),
        ([0.2, 0.1], [0.1, 0.2]),
        ([-0.5, -0.1, -0.9, 0.3, 0.0], [0.5, 0.4, 0.3, 0.2, 0.1]),
    ],
    mistakes=(
        Mistake(
            correlation_of_orders,
            "np.argsort lists the networks in the order of their scores: which network is first, "
            "second, ... A rank answers the reverse question: at which place is network i?",
        ),
        Mistake(
            correlation_of_ordinal_ranks,
            "Equal scores get different ranks here, by their order in the list. Give each of them "
            "the mean of their places.",
        ),
        Mistake(
            correlation_of_dense_ranks,
            "Equal scores share a rank, but the next score follows directly. Equal scores take up "
            "several places, and each of them gets the mean of these.",
        ),
        Mistake(
            correlation_of_lowest_ranks,
            "Equal scores get the lowest of their places. Give each of them the mean.",
        ),
        Mistake(
            correlation_of_highest_ranks,
            "Equal scores get the highest of their places. Give each of them the mean.",
        ),
        Mistake(
            correlation_of_scores,
            "The scores themselves are correlated. Replace each score by its rank first.",
        ),
        Mistake(
            correlation_by_formula,
            "The formula with squared differences of ranks holds only if no scores are equal. "
            "Use the correlation coefficient of the ranks.",
        ),
        Mistake(
            correlation_by_pairs,
            "This compares pairs of networks, as Kendall's tau does. Spearman's correlation is the "
            "correlation coefficient of the ranks.",
        ),
        Mistake(
            correlation_of_the_chapter,
            "This is Kendall's tau, as the chapter computes it. The question asks for another "
            "coefficient: Spearman's, which is computed from the ranks.",
        ),
        Mistake(
            correlation_by_untied_pairs,
            "This is Kendall's tau with a correction for equal scores, as SciPy computes it. The "
            "question asks for Spearman's correlation.",
        ),
        Mistake(both_ranks, "These are the ranks. Return their correlation coefficient."),
        Mistake(
            correlation_of_our_ranks,
            "The ranks of `ours` are right. `published` still goes through np.argsort.",
        ),
        Mistake(
            correlation_of_published_ranks,
            "The ranks of `published` are right. `ours` still goes through np.argsort.",
        ),
        Mistake(
            correlation_with_half_places,
            "Half a place is added wherever scores are equal. This gives the mean of two places, "
            "but not of three.",
        ),
        Mistake(
            correlation_downwards,
            "The sign is reversed: one of the lists is ranked from the largest score downwards.",
        ),
        Mistake(
            correlation_without_sign,
            "The sign is lost. A negative value says that the two orders are opposite.",
        ),
        Mistake(correlation_squared, "This is the square of the correlation coefficient."),
        Mistake(
            correlation_as_matrix,
            "np.corrcoef returns a matrix with ones on its diagonal. Return the entry [0, 1].",
        ),
        Mistake(
            share_of_equal_ranks,
            "This is the share of networks with the same rank in both lists. Return the "
            "correlation coefficient of the ranks.",
        ),
        Mistake(
            correlation_of_sorted,
            "Sorting the scores destroys which score belongs to which network.",
        ),
    ),
    hints=(
        "Write down np.argsort([0.3, 0.1, 0.2]) and the three ranks. Which of the two lists has "
        "the place of network 0 at its start?",
        "The rank of a score is the number of smaller scores, plus half the number of equal ones "
        "(with itself). A constant that is added to all ranks does not change the correlation.",
        "below = (scores < scores[:, None]).sum(axis=1); equal = (scores == scores[:, None])"
        ".sum(axis=1); the rank is below + equal / 2.",
    ),
    describe=lambda ours, published: f"the scores {ours} and {published}",
)


# ── 13.5 ─────────────────────────────────────────────────────────────────────────────────────────

FLAWS = {
    "none": "the conclusion follows from the measurement",
    "many pairs": "many pairs were tested, and only the successful tests are reported",
    "one seed": "the spread over seeds is not known",
    "data": "the scores were measured on different images",
    "dependent": "images that resemble each other count as independent",
    "proxy": "a quantity that was not measured is concluded from another one",
    "training": "the trainings differ in more than the part to which the gain is credited",
    "test set": "settings were chosen with the images that also give the reported score",
}
CLAIMS = {
    "A": "DeconvNet has a mean IoU of 69.6 % on VOC 2012 test, FCN-8s has 62.7 % on VOC 2011 val. "
    "Claim: DeconvNet is better by 6.9 points.",
    "B": "Networks P and Q have the same encoder, the same data and eight seeds each. P starts "
    "from ImageNet weights, Q from random ones. P is better by 0.04, t = 6. Claim: the decoder of "
    "P is better.",
    "C": "P has 100 million MACs, Q has 200 million. Both have the same accuracy. Claim: a "
    "training step of P takes half as long as one of Q.",
    "D": "P and Q were trained once each, alike, and scored on the same 5000 independent "
    "photographs. A paired bootstrap over the photographs gives an interval from 0.002 to 0.006. "
    "Claim: P is the better architecture.",
    "E": "P and Q were trained with 20 learning rates each and eight seeds. For each network, the "
    "learning rate with the highest mean score on the test images was taken, and this score is "
    "reported. Claim: such scores are to be expected on new images of the same kind.",
    "F": "P and Q were trained alike, with eight seeds, and scored on 233 frames of two videos. A "
    "bootstrap that draws single frames gives an interval from 0.003 to 0.008. Claim: P is better "
    "on new videos.",
    "G": "All 105 pairs of 15 networks were tested at the 5 % level, with eight seeds. The report "
    "contains the five pairs for which the test was significant, and no others. Claim: these five "
    "pairs differ.",
    "H": "P and Q were trained alike, with eight seeds, and scored on the same 5000 independent "
    "photographs, which were used for nothing else. P is better with every seed, t = 5, and with "
    "every seed the paired interval over the photographs lies above 0. Claim: with this training "
    "and on such photographs, P has the higher mean IoU.",
}


def find_flaw(claim: str) -> str:
    """Name the flaw of a claim: takes the letter of a claim, returns the name of a flaw.

    ``ex.CLAIMS`` lists the claims A to H, and ``ex.FLAWS`` eight possible answers. Return a name
    (str), which stands before the colon. Each name is the answer exactly once; "none" is the answer
    for the claim that does follow.
    """
    answers = {
        "A": "data",
        "B": "training",
        "C": "proxy",
        "D": "one seed",
        "E": "test set",
        "F": "dependent",
        "G": "many pairs",
        "H": "none",
    }
    return answers[claim]


list_in_question(find_flaw, CLAIMS, FLAWS)

FACTS = {  # what a claim's measurement says, for whoever suspects another flaw
    "A": "In claim A, look at the two names behind the two percentages.",
    "B": "In claim B, seeds, data and encoder are equal. Look for another difference between the "
    "two networks besides their decoders.",
    "C": "In claim C, the accuracy is not in question. Which quantity was counted, and which "
    "one is claimed?",
    "D": "In claim D, the photographs are many, independent and the same for both. What would "
    "change if both networks were trained again?",
    "E": "In claim E, both networks have eight seeds and 20 learning rates. How many mean scores "
    "were computed for each network, and which of them is reported?",
    "F": "In claim F, seeds and training are in order. How much new information does a frame add "
    "to the frame before it?",
    "G": "In claim G, every single test is in order. How many significant results do you expect "
    "among 105 tests if no pair differs?",
    "H": "In claim H, the claim names its own limits: this training, such photographs.",
}
SUSPICIONS = {
    "data": "The text names no images that only one of the networks was scored on.",
    "training": "The text names no unequal training.",
    "one seed": "The text does not say that a network was trained only once.",
    "test set": "The text names no setting that was chosen with the test images.",
    "dependent": "The text names no images that resemble each other.",
    "many pairs": "The text names only two networks.",
    "proxy": "No other quantity was measured in place of the claimed one.",
    "none": "This claim says more than its measurement.",
}


def text_of_flaw(claim):
    return FLAWS[find_flaw(claim)]


def number_of_flaw(claim):
    return list(FLAWS).index(find_flaw(claim))


def list_of_flaws(claim):
    return [find_flaw(claim)]


take_apart = Exercise(
    "13.5 Take a comparison apart",
    solution=find_flaw,
    cases=[(claim,) for claim in CLAIMS],
    mistakes=(
        *(
            Mistake(right_but(find_flaw, {claim: flaw}), f"{SUSPICIONS[flaw]} {FACTS[claim]}")
            for claim in CLAIMS
            for flaw in FLAWS
            if flaw != find_flaw(claim)
        ),
        *(
            Mistake(
                right_but(find_flaw, {claim: None}),
                f'Claim {claim} gets None here. Return a text; the name "none" is a text, too.',
            )
            for claim in CLAIMS
        ),
        Mistake(
            text_of_flaw,
            "This is the description of a flaw. Return its name, which stands before the colon.",
        ),
        Mistake(number_of_flaw, "This is the place of a flaw in the list. Return its name."),
        Mistake(list_of_flaws, "Return the name itself (str), not a list."),
    ),
    hints=(
        "Read each claim with one question: what would have to be repeated, with what kept equal, "
        "so that the claim could fail?",
        "Three claims speak about new cases: new images, new videos, new trainings. Ask for each "
        "whether the measurement contains several independent cases of this kind.",
        "B credits one part with a gain that has two possible causes, and E reports the largest of "
        "20 scores.",
    ),
    describe=lambda claim: f'"{claim}"',
    shows_expected=False,
    options=tuple(FLAWS),
)


# ── 13.6 ─────────────────────────────────────────────────────────────────────────────────────────

Networks = Mapping[str, Mapping[str, object]]


def cheapest(networks: Networks, limit: float, factor: float) -> str | None:
    """Decide: the cheapest network that is good enough.

    ``networks`` is a dictionary: name -> {"scores": list, "cost": number}. ``scores[i]`` is the
    score of the training with seed i, larger is better; all lists have the same length, 2 or more.
    Only networks whose cost is at most ``limit`` can be used. Let the reference be the usable
    network with the highest mean score. A network is good enough if m <= factor * e: m is the mean
    of the paired differences (reference minus network) and e their standard error, the sample
    standard deviation (division by n - 1) divided by sqrt(n). Return the name of the cheapest
    usable network that is good enough, or None if no network can be used.
    No two costs and no two mean scores are equal.
    """
    usable = {name: row for name, row in networks.items() if row["cost"] <= limit}
    if not usable:
        return None
    reference = max(usable.values(), key=lambda row: sum(row["scores"]))
    for name, row in sorted(usable.items(), key=lambda item: item[1]["cost"]):
        gap = np.subtract(reference["scores"], row["scores"])
        if gap.mean() <= factor * gap.std(ddof=1) / np.sqrt(len(gap)):
            return name
    return None


def chosen_by(
    networks: Networks,
    limit: float,
    worse: Callable[[list[float], list[float]], bool],
    reference: Callable[[Networks, Networks], Mapping[str, object]] | None = None,
    order: Callable[[tuple], float] = lambda item: item[1]["cost"],
) -> str | None:
    """The first usable network, in an order, that is not ``worse(reference's scores, its own)``."""
    usable = {name: row for name, row in networks.items() if row["cost"] <= limit}
    if not usable:
        return None
    best = (reference or (lambda usable, _: highest(usable)))(usable, networks)
    for name, row in sorted(usable.items(), key=order):
        if not worse(best["scores"], row["scores"]):
            return name
    return None


def highest(networks: Networks) -> Mapping[str, object]:
    return max(networks.values(), key=lambda row: np.mean(row["scores"]))


def standard_error(gap: np.ndarray) -> float:
    return gap.std(ddof=1) / len(gap) ** 0.5


def paired_worse(factor: float, error: Callable[[np.ndarray], float] = standard_error) -> Callable:
    def worse(best: list[float], scores: list[float]) -> bool:
        gap = np.subtract(best, scores)
        return gap.mean() > factor * error(gap)

    return worse


def good_ones(networks: Networks, limit: float, factor: float) -> Networks:
    """The usable networks that are good enough."""
    usable = {name: row for name, row in networks.items() if row["cost"] <= limit}
    worse = paired_worse(factor)
    return {n: row for n, row in usable.items()
            if not worse(highest(usable)["scores"], row["scores"])}  # fmt: skip


def choose_the_best(networks, limit, factor):
    return chosen_by(networks, limit, lambda best, scores: np.mean(scores) < np.mean(best))


def choose_the_cheapest(networks, limit, factor):
    return chosen_by(networks, limit, lambda best, scores: False)


def choose_without_limit(networks, limit, factor):
    return cheapest(networks, math.inf, factor)


def choose_below_the_limit(networks, limit, factor):
    return cheapest({n: row for n, row in networks.items() if row["cost"] < limit}, limit, factor)


def choose_against_all(networks, limit, factor):
    return chosen_by(
        networks, limit, paired_worse(factor), reference=lambda _, networks: highest(networks)
    )


def choose_unpaired(networks, limit, factor):
    def worse(best, scores):
        error = np.sqrt((np.var(best, ddof=1) + np.var(scores, ddof=1)) / len(best))
        return np.mean(best) - np.mean(scores) > factor * error

    return chosen_by(networks, limit, worse)


def choose_by_the_deviation(networks, limit, factor):
    count = len(next(iter(networks.values()))["scores"]) if networks else 1
    return cheapest(networks, limit, factor * count**0.5)


def choose_with_n(networks, limit, factor):
    return chosen_by(networks, limit, paired_worse(factor, lambda gap: gap.std() / len(gap) ** 0.5))


def choose_divided_by_n(networks, limit, factor):
    return chosen_by(networks, limit, paired_worse(factor, lambda gap: gap.std(ddof=1) / len(gap)))


def choose_by_variance(networks, limit, factor):
    return chosen_by(
        networks, limit, paired_worse(factor, lambda gap: gap.var(ddof=1) / len(gap) ** 0.5)
    )


def choose_by_two_errors(networks, limit, factor):
    return cheapest(networks, limit, 2.0)


def choose_without_factor(networks, limit, factor):
    return cheapest(networks, limit, 1.0)


def choose_by_the_chapter_factor(networks, limit, factor):
    return cheapest(networks, limit, 4.30)


def choose_with_exchanged_arguments(networks, limit, factor):
    return cheapest(networks, factor, limit)


def choose_without_reference(networks, limit, factor):
    def worse(best, scores):
        gap = np.subtract(best, scores)
        return not gap.mean() < factor * standard_error(gap)

    return chosen_by(networks, limit, worse)


def choose_step_by_step(networks, limit, factor):
    usable = {name: row for name, row in networks.items() if row["cost"] <= limit}
    worse, chosen = paired_worse(factor), None
    for name in sorted(usable, key=lambda name: -np.mean(usable[name]["scores"])):
        row = usable[name]
        if chosen is None or (
            row["cost"] < usable[chosen]["cost"]
            and not worse(usable[chosen]["scores"], row["scores"])
        ):
            chosen = name
    return chosen


def choose_against_each(networks, limit, factor):
    usable = {name: row for name, row in networks.items() if row["cost"] <= limit}
    worse = paired_worse(factor)
    return chosen_by(
        networks,
        limit,
        lambda _, scores: any(worse(row["scores"], scores) for row in usable.values()),
    )


def choose_by_overlap(networks, limit, factor):
    return chosen_by(networks, limit, lambda best, scores: max(scores) < min(best))


def choose_the_best_seed(networks, limit, factor):
    return chosen_by(
        networks, limit, paired_worse(factor),
        reference=lambda usable, _: max(usable.values(), key=lambda row: max(row["scores"])),
    )  # fmt: skip


def choose_by_the_median(networks, limit, factor):
    return chosen_by(
        networks, limit, paired_worse(factor),
        reference=lambda usable, _: max(usable.values(), key=lambda row: np.median(row["scores"])),
    )  # fmt: skip


def choose_by_score_per_cost(networks, limit, factor):
    good = good_ones(networks, limit, factor)
    return max(good, key=lambda n: np.mean(good[n]["scores"]) / good[n]["cost"], default=None)


def choose_the_worst_good_one(networks, limit, factor):
    good = good_ones(networks, limit, factor)
    return min(good, key=lambda n: np.mean(good[n]["scores"]), default=None)


def choose_the_dearest(networks, limit, factor):
    return chosen_by(networks, limit, paired_worse(factor), order=lambda item: -item[1]["cost"])


def choose_the_first(networks, limit, factor):
    return chosen_by(networks, limit, paired_worse(factor), order=lambda item: 0)


def choose_by_price(networks, limit, factor):
    return chosen_by(
        networks,
        limit,
        lambda best, scores: False,
        order=lambda item: item[1]["cost"] / np.mean(item[1]["scores"]),
    )


def choose_something(networks, limit, factor):
    found = cheapest(networks, limit, factor)
    return found or min(networks, key=lambda name: networks[name]["cost"], default=None)


def choose_all(networks, limit, factor):
    return list(good_ones(networks, limit, factor))


def market(*rows: tuple[str, float, list[float]]) -> Networks:
    return {name: {"scores": scores, "cost": cost} for name, cost, scores in rows}


SHELF = market(
    ("large", 90, [0.86, 0.85, 0.87]),
    ("medium", 60, [0.85, 0.84, 0.862]),
    ("small", 30, [0.84, 0.842, 0.836]),
    ("tiny", 10, [0.61, 0.63, 0.62]),
)
SHUFFLED = {name: SHELF[name] for name in ("medium", "tiny", "large", "small")}
LADDER = market(
    ("Z", 1, [0.010, 0.012, 0.013, 0.011]),
    ("Y", 3, [0.50, 0.52, 0.49, 0.51]),
    ("X", 8, [0.90, 0.91, 0.92, 0.89]),
)
NOISY = market(
    ("P", 5, [0.50, 0.60, 0.70, 0.80]),
    ("Q", 9, [0.53, 0.62, 0.74, 0.82]),
    ("R", 7, [0.49, 0.64, 0.71, 0.83]),
    ("S", 20, [0.70, 0.55, 0.62, 0.81]),
)

choose_network = Exercise(
    "13.6 Decide: the cheapest network that is good enough",
    solution=cheapest,
    cases=[
        (SHELF, 100, 4.30),
        (SHELF, 100, 1.5),
        (SHELF, 100, 2.5),
        (SHELF, 100, 2.9),
        (SHUFFLED, 100, 4.30),
        (SHUFFLED, 100, 20.0),
        (SHELF, 60, 4.30),
        (SHELF, 60, 1.0),
        (SHELF, 59, 1.0),
        (SHELF, 30, 4.30),
        (SHELF, 29.5, 4.30),
        (SHELF, 5, 4.30),
        (NOISY, 100, 3.18),
        (NOISY, 100, 5.0),
        (NOISY, 100, 6.0),
        (LADDER, 10, 2.0),
        (NOISY, 9, 2.2),
        (NOISY, 8, 0.5),
        (market(("X", 3, [0.80, 0.84]), ("Y", 2, [0.75, 0.83])), 3, 2.0),
        (market(("X", 3, [0.4, 0.5]), ("Y", 2, [0.3, 0.4])), 3, 12.7),
        (market(("late", 4, [0.7, 0.72, 0.71, 0.75]), ("lucky", 3, [0.6, 0.9, 0.61, 0.62]),
                ("low", 2, [0.58, 0.6, 0.6, 0.63])), 5, 3.18),
        (market(("A", 10, [0.8, 0.82, 0.81]), ("B", 9.5, [0.5, 0.9, 0.7]),
                ("C", 12, [0.45, 0.9, 0.68])), 20, 4.3),
        (market(("A", 30, [0.8, 0.9, 0.85]), ("B", 20, [0.84, 0.84, 0.84]),
                ("C", 10, [0.83, 0.83, 0.831])), 50, 4.3),
        (market(("A", 10, [0.8, 0.8, 0.95]), ("B", 9, [0.81, 0.82, 0.815])), 20, 0.1),
        (market(("per cent", 9, [86, 84, 88]), ("cheap", 5, [84, 83, 82])), 20, 1.7),
        (market(("only", 1.5, [0.2, 0.3, 0.1])), 1.5, 2.0),
        ({}, 10, 4.30),
    ],
    mistakes=(
        Mistake(
            choose_the_best,
            "This is the usable network with the highest mean. A cheaper one may be good "
            "enough: apply the rule to it.",
        ),
        Mistake(
            choose_the_cheapest,
            "This is the cheapest usable network, however bad it is. Apply the rule to each "
            "network, with the difference reference minus network.",
        ),
        Mistake(
            choose_without_limit,
            "The limit is not used: a network that costs more cannot be chosen.",
        ),
        Mistake(
            choose_below_the_limit,
            "A network that costs exactly the limit can be used.",
        ),
        Mistake(
            choose_against_all,
            "The reference is the best of all networks here, also if it costs too much. Take the "
            "best usable one.",
        ),
        Mistake(
            choose_unpaired,
            "The spread of each network is used. The scores are paired by seed: take the "
            "differences first.",
        ),
        Mistake(
            choose_by_the_deviation,
            "The standard error is the standard deviation of the differences divided by sqrt(n).",
        ),
        Mistake(
            choose_divided_by_n,
            "The standard deviation is divided by n here. Divide it by sqrt(n).",
        ),
        Mistake(
            choose_by_variance,
            "The variance of the differences is used. Take the standard deviation, its square "
            "root.",
        ),
        Mistake(
            choose_with_n,
            "The sample standard deviation divides by n - 1 (ddof=1 in NumPy), not by n.",
        ),
        Mistake(choose_by_two_errors, "The factor is always 2 here. Use the argument `factor`."),
        Mistake(
            choose_by_the_chapter_factor,
            "The factor is always 4.30 here, as in the chapter. Use the argument `factor`.",
        ),
        Mistake(
            choose_without_factor,
            "The mean is compared with the standard error itself. Multiply the error by `factor`.",
        ),
        Mistake(
            choose_with_exchanged_arguments,
            "Two arguments are exchanged: first comes `limit`, then `factor`.",
        ),
        Mistake(
            choose_without_reference,
            "The reference is left out here. For the reference, m and e are 0, so that m < factor "
            "* e is False and m / e is nan. The rule calls it good enough.",
        ),
        Mistake(
            choose_step_by_step,
            "The reference changes here, from network to network. Compare each network with the "
            "usable one that has the highest mean.",
        ),
        Mistake(
            choose_against_each,
            "A network is refused if it is worse than any usable one. Compare it with the "
            "reference only.",
        ),
        Mistake(
            choose_by_overlap,
            "The ranges of the scores are compared. Compare the mean of the paired differences "
            "with their standard error.",
        ),
        Mistake(
            choose_the_best_seed,
            "The reference is the network with the best single score. Take the highest mean.",
        ),
        Mistake(
            choose_by_the_median,
            "The reference is the network with the highest median. Take the mean.",
        ),
        Mistake(
            choose_by_score_per_cost,
            "This is the good network with the highest score per cost. Take the one with the "
            "lowest cost.",
        ),
        Mistake(
            choose_the_worst_good_one,
            "This is the good network with the lowest mean. Take the one with the lowest cost.",
        ),
        Mistake(
            choose_the_dearest,
            "This is the most expensive one of the networks that are good enough.",
        ),
        Mistake(
            choose_the_first,
            "This is the first network that is good enough, in the order of the dictionary. Take "
            "the cheapest one.",
        ),
        Mistake(
            choose_by_price,
            "The cost is divided by the score. The rule does not trade one for the other.",
        ),
        Mistake(
            choose_something,
            "Where no network can be used, return None.",
        ),
        Mistake(choose_all, "These are all networks that are good enough. Return the cheapest."),
    ),
    hints=(
        "Work in three steps: which networks can be used, which of them is the reference, which "
        "are good enough?",
        "The reference is always good enough, because m and e are 0. So there is an "
        "answer as soon as one network can be used.",
        "gap = np.subtract(reference_scores, scores); it is good enough if gap.mean() <= factor * "
        "gap.std(ddof=1) / np.sqrt(len(gap)). Take the smallest cost.",
    ),
    describe=lambda networks, limit, factor: (
        "the networks "
        + (", ".join(f"{n} (cost {row['cost']}: {row['scores']})" for n, row in networks.items())
           or "{}")
        + f", limit {limit} and factor {factor:g}"
    ),
)  # fmt: skip
