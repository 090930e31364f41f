"""The exercises on comparing networks accept every right answer and name the usual mistakes."""

import itertools
import math
import statistics

import numpy as np
import pytest
import scipy.stats
import torch

from segcourse.exercises import comparison as chapter


def interval_by_loops(a, b, videos, draws):
    names = sorted(set(videos.tolist()))
    found = []
    for draw in draws.tolist():
        scores = []
        for net in (a, b):
            classes = []
            for c in range(net.shape[1]):
                hits = union = 0
                for place in draw:
                    for frame, name in enumerate(videos):
                        if name == names[place]:
                            hits += net[frame, c, 0]
                            union += net[frame, c, 1]
                if union:
                    classes.append(hits / union)
            scores.append(statistics.mean(classes))
        found.append(scores[0] - scores[1])
    return [np.quantile(found, 0.025), np.quantile(found, 0.975)]


def interval_by_weights(a, b, videos, draws):
    """How often every frame is drawn, times its counts."""
    _, place = np.unique(videos, return_inverse=True)
    times = np.stack([np.bincount(draw, minlength=place.max() + 1) for draw in draws])[:, place]

    def scores(net):
        sums = np.einsum("rn,nkj->rkj", times, net)
        with np.errstate(invalid="ignore"):
            return np.nanmean(sums[..., 0] / sums[..., 1], axis=1)

    return tuple(np.quantile(scores(a) - scores(b), (0.025, 0.975)).tolist())


def interval_of_video_sums(a, b, videos, draws):
    names = np.unique(videos)
    sums = [np.stack([net[videos == name].sum(axis=0) for name in names]) for net in (a, b)]
    found = []
    for draw in draws:
        first, second = (net[draw].sum(axis=0) for net in sums)
        found.append(chapter.score_of(first) - chapter.score_of(second))
    found = sorted(found)
    positions = [share * (len(found) - 1) for share in (0.025, 0.975)]
    return [np.interp(position, range(len(found)), found) for position in positions]


def interval_with_torch(a, b, videos, draws):
    a, b = torch.from_numpy(a).double(), torch.from_numpy(b).double()
    _, place = torch.from_numpy(videos).unique(return_inverse=True)
    found = []
    for draw in torch.from_numpy(draws):
        frames = torch.cat([(place == each).nonzero()[:, 0] for each in draw])
        ious = [net[frames].sum(dim=0) for net in (a, b)]
        found.append(torch.stack([(x[:, 0] / x[:, 1]).nanmean() for x in ious]))
    difference = torch.stack(found)
    return torch.quantile(
        difference[:, 0] - difference[:, 1], torch.tensor([0.025, 0.975]).double()
    )


def interval_in_per_mille(a, b, videos, draws):
    values = 1000 * chapter.differences_of(a, b, videos, draws)
    return np.percentile(values, [2.5, 97.5]) / 1000


def front_with_numpy(rows, larger):
    signed = np.array(rows, float).reshape(len(rows), len(larger)) * np.where(larger, 1, -1)
    at_least = (signed[:, None] >= signed[None]).all(axis=2)
    better = (signed[:, None] > signed[None]).any(axis=2)
    return np.flatnonzero(~(at_least & better).any(axis=0))


def front_by_loops(rows, larger):
    front = []
    for i, row in enumerate(rows):
        for other in rows:
            worse = [y < x if up else y > x for x, y, up in zip(row, other, larger, strict=True)]
            if other != row and not any(worse):
                break
        else:
            front.append(i)
    return front


def front_by_comprehension(rows, larger):
    def dominates(a, b):
        gaps = [(x - y) * (1 if up else -1) for x, y, up in zip(a, b, larger, strict=True)]
        return min(gaps) >= 0 and max(gaps) > 0

    return [i for i, row in enumerate(rows) if not any(dominates(other, row) for other in rows)]


def front_one_after_the_other(rows, larger):
    """Keep a list of candidates, and remove those that a new row dominates."""
    key = [tuple(v if up else -v for v, up in zip(row, larger, strict=True)) for row in rows]
    kept = []
    for i, new in enumerate(key):

        def beats(a, b):
            return a != b and all(x >= y for x, y in zip(a, b, strict=True))

        if not any(beats(key[j], new) for j in kept):
            kept = [j for j in kept if not beats(new, key[j])] + [i]
    return tuple(kept)


def front_as_tensor(rows, larger):
    if not rows:
        return torch.empty(0, dtype=torch.int64)
    values = torch.tensor(rows, dtype=torch.float64)
    values = torch.where(torch.tensor(larger), values, -values)
    gaps = values[:, None] - values  # row i minus row j
    dominated = ((gaps <= 0).all(dim=2) & (gaps < 0).any(dim=2)).any(dim=1)
    return (~dominated).nonzero()[:, 0]


def best_by_formula(scores, count):
    ordered, n = sorted(scores), len(scores)
    weights = [math.comb(place, count - 1) for place in range(n)]
    return sum(w * s for w, s in zip(weights, ordered, strict=True)) / math.comb(n, count)


def best_by_permutations(scores, count):
    return np.mean([max(chosen) for chosen in itertools.permutations(scores, count)])


def best_by_recursion(scores, count):
    def best(rest, count, so_far):
        if count == 0:
            return so_far, 1
        total, number = 0.0, 0
        for place in range(len(rest) - count + 1):
            part = best(rest[place + 1 :], count - 1, max(so_far, rest[place]))
            total, number = total + part[0], number + part[1]
        return total, number

    total, number = best(list(scores), count, -math.inf)
    return total / number


def best_by_bits(scores, count):
    reports = [
        max(scores[i] for i in range(len(scores)) if bits >> i & 1)
        for bits in range(1, 2 ** len(scores))
        if bits.bit_count() == count
    ]
    return statistics.fmean(reports)


def best_with_torch(scores, count):
    return torch.combinations(torch.tensor(scores).double(), count).amax(dim=1).mean()


def correlation_of_scipy(ours, published):
    return scipy.stats.spearmanr(ours, published).statistic


def correlation_of_ranked(ours, published):
    a, b = scipy.stats.rankdata(ours), scipy.stats.rankdata(published)
    return scipy.stats.pearsonr(a, b)[0]


def correlation_by_hand(ours, published):
    def ranks(scores):
        ordered = sorted(scores)
        return [ordered.index(s) + (ordered.count(s) + 1) / 2 for s in scores]

    a, b = ranks(ours), ranks(published)
    mean = (len(a) + 1) / 2
    products = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    squares = [sum((x - mean) ** 2 for x in each) for each in (a, b)]
    return products / math.sqrt(squares[0] * squares[1])


def correlation_with_torch(ours, published):
    def ranks(scores):
        scores = torch.tensor(scores).double()
        return (scores[:, None] - scores).sign().sum(dim=1)

    return torch.corrcoef(torch.stack([ranks(ours), ranks(published)]))[0, 1]


def correlation_as_a_cosine(ours, published):
    """Each network's number of wins minus its number of defeats has the mean 0."""
    wins = [[sum((x > y) - (x < y) for y in each) for x in each] for each in (ours, published)]
    return (
        sum(x * y for x, y in zip(*wins, strict=True)) / math.hypot(*wins[0]) / math.hypot(*wins[1])
    )


def cheapest_by_min(networks, limit, factor):
    usable = [(row["cost"], name) for name, row in networks.items() if row["cost"] <= limit]
    if not usable:
        return None
    best = max((name for _, name in usable), key=lambda n: statistics.mean(networks[n]["scores"]))

    def good(name):
        gaps = [
            x - y for x, y in zip(networks[best]["scores"], networks[name]["scores"], strict=True)
        ]
        return statistics.mean(gaps) <= factor * statistics.stdev(gaps) / len(gaps) ** 0.5

    return min(each for each in usable if good(each[1]))[1]


def cheapest_by_arrays(networks, limit, factor):
    names = [name for name in networks if networks[name]["cost"] <= limit]
    if not names:
        return
    scores = np.array([networks[name]["scores"] for name in names])
    cost = np.array([networks[name]["cost"] for name in names], dtype=float)
    gaps = scores[scores.mean(axis=1).argmax()] - scores
    error = scores.shape[1] ** -0.5 * np.sqrt(gaps.var(axis=1, ddof=1))
    cost[gaps.mean(axis=1) > factor * error] = np.inf
    return names[cost.argmin()]


def cheapest_upwards(networks, limit, factor):
    names = sorted(networks, key=lambda name: networks[name]["cost"])
    names = list(itertools.takewhile(lambda name: networks[name]["cost"] <= limit, names))
    best = max(names, key=lambda name: np.mean(networks[name]["scores"]), default=None)
    for name in names:
        gap = np.array(networks[best]["scores"]) - networks[name]["scores"]
        if name == best or not gap.mean() > factor * scipy.stats.sem(gap):
            return name


def cheapest_by_t(networks, limit, factor):
    usable = {name: row for name, row in networks.items() if not row["cost"] > limit}
    good = {}
    for name, row in usable.items():
        best = max(usable.values(), key=lambda r: torch.tensor(r["scores"]).double().mean().item())
        gap = torch.tensor(best["scores"]).double() - torch.tensor(row["scores"]).double()
        t = gap.mean() / (gap.std() / len(gap) ** 0.5)
        if row is best or not t > factor:
            good[name] = row["cost"]
    return np.str_(min(good, key=good.get)) if good else None


def cheapest_by_removal(networks, limit, factor):
    rest = dict(networks)
    for name in list(rest):
        if rest[name]["cost"] > limit:
            del rest[name]
    if not rest:
        return None
    top = max(rest, key=lambda name: sum(rest[name]["scores"]))
    while True:
        name = min(rest, key=lambda name: rest[name]["cost"])
        gap = [x - y for x, y in zip(networks[top]["scores"], rest[name]["scores"], strict=True)]
        mean = sum(gap) / len(gap)
        squares = sum((each - mean) ** 2 for each in gap)
        if mean <= factor * math.sqrt(squares / (len(gap) - 1) / len(gap)):
            return name
        del rest[name]


def flaw_by_table(claim):
    return dict(
        zip("ABCDEFGH", ["data", "training", "proxy", "one seed", "test set", "dependent",
                         "many pairs", "none"], strict=True)
    )[claim]  # fmt: skip


def flaw_by_match(claim):
    match claim:
        case "A":
            return "data"
        case "B":
            return "training"
        case "C":
            return "proxy"
        case "D":
            return "one seed"
        case "E":
            return "test set"
        case "F":
            return "dependent"
        case "G":
            return "many pairs"
        case _:
            return np.str_("none")


RIGHT = {
    "by_video": [interval_by_loops, interval_by_weights, interval_of_video_sums,
                 interval_with_torch, interval_in_per_mille],
    "pareto": [front_with_numpy, front_by_loops, front_by_comprehension,
               front_one_after_the_other, front_as_tensor],
    "best_report": [best_by_formula, best_by_permutations, best_by_recursion, best_by_bits,
                    best_with_torch],
    "repair_ranks": [correlation_of_scipy, correlation_of_ranked, correlation_by_hand,
                     correlation_with_torch, correlation_as_a_cosine],
    "take_apart": [flaw_by_table, flaw_by_match],
    "choose_network": [cheapest_by_min, cheapest_by_arrays, cheapest_upwards, cheapest_by_t,
                       cheapest_by_removal],
}  # fmt: skip


@pytest.mark.parametrize(
    "name, answer",
    [(name, answer) for name, answers in RIGHT.items() for answer in answers],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_right_answers_that_are_written_differently_are_accepted(name, answer):
    assert getattr(chapter, name).verdict(answer) == ("✓", "")


def test_a_draw_without_repetition_is_told_apart_from_one_with_it():
    a, b, videos, draws = chapter.film_cases()[0]
    again = np.array([[0, 0, 1, 2], [3, 3, 3, 3]])
    assert not np.allclose(
        chapter.video_interval(a, b, videos, again),
        chapter.interval_of_videos_once(a, b, videos, again),
    )
    assert draws.shape[1] == len(np.unique(videos))


def test_some_draws_lack_a_class():
    lacking = 0
    for a, _, videos, draws in chapter.film_cases():
        for draw in draws:
            lacking += (a[chapter.frames_of(videos, draw)].sum(axis=0)[:, 1] == 0).any()
    assert lacking >= 5


def test_the_faulty_code_in_the_question_is_a_known_mistake():
    mark, message = chapter.repair_ranks.verdict(
        lambda ours, published: np.corrcoef(np.argsort(ours), np.argsort(published))[0, 1]
    )
    assert mark == "✗" and "reverse question" in message


def test_the_rank_correlation_of_the_chapter_is_recognised():
    def answer(ours, published):
        return scipy.stats.kendalltau(ours, published).statistic

    assert "Kendall's tau with" in chapter.repair_ranks.verdict(answer)[1]


def test_only_the_mistake_about_empty_rows_stops_there():
    stopped = set()
    for mistake in chapter.pareto.mistakes:
        try:
            mistake.answer([], [True, False])
        except ValueError:
            stopped.add(mistake.answer)
    assert stopped == {chapter.front_of_full_arrays}


def test_a_strict_comparison_by_loops_is_named():
    def answer(rows, larger):
        def beats(a, b):
            return all(x > y if up else x < y for x, y, up in zip(a, b, larger, strict=True))

        return [i for i, row in enumerate(rows) if not any(beats(other, row) for other in rows)]

    assert "better in every criterion" in chapter.pareto.verdict(answer)[1]


def test_a_reference_that_drops_out_is_named():
    def answer(networks, limit, factor):
        usable = {name: row for name, row in networks.items() if row["cost"] <= limit}
        best = max(usable.values(), key=lambda row: sum(row["scores"]), default=None)
        good = {}
        for name, row in usable.items():
            gap = np.subtract(best["scores"], row["scores"])
            with np.errstate(invalid="ignore"):
                if gap.mean() / (gap.std(ddof=1) / len(gap) ** 0.5) <= factor:
                    good[name] = row["cost"]
        return min(good, key=good.get, default=None)

    assert "m / e is nan" in chapter.choose_network.verdict(answer)[1]


def test_a_missing_sample_correction_is_named():
    def answer(networks, limit, factor):
        usable = {name: row for name, row in networks.items() if row["cost"] <= limit}
        best = max(usable.values(), key=lambda row: sum(row["scores"]), default=None)
        for name, row in sorted(usable.items(), key=lambda item: item[1]["cost"]):
            gap = np.subtract(best["scores"], row["scores"])
            if gap.mean() <= factor * gap.std() / len(gap) ** 0.5:
                return name

    assert "ddof=1" in chapter.choose_network.verdict(answer)[1]


def test_a_flaw_that_is_not_listed_is_refused():
    mark, message = chapter.take_apart.verdict(lambda claim: "luck")
    assert mark == "✗" and "one of the names" in message


def test_the_flaws_are_not_listed_in_the_order_of_the_claims():
    answers = [chapter.find_flaw(claim) for claim in chapter.CLAIMS]
    assert all(a != b for a, b in zip(answers, chapter.FLAWS, strict=True))


def test_each_flaw_is_the_answer_once():
    assert {chapter.find_flaw(claim) for claim in chapter.CLAIMS} == set(chapter.FLAWS)


def test_no_advice_about_a_claim_names_its_answer():
    for mistake in chapter.take_apart.mistakes:
        claim = next(c for c in chapter.CLAIMS if mistake.answer(c) != chapter.find_flaw(c))
        assert f"'{chapter.find_flaw(claim)}'" not in mistake.advice
