"""The exercises on classical methods accept every right answer and name the usual mistakes."""

import heapq
import itertools
import math

import cv2
import networkx
import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import flood

from segcourse.classical import classify as classify_pixels
from segcourse.classical import (
    edge_strength,
    minimum_cut,
    multi_otsu,
    otsu,
    pixel_features,
    region_growing,
    train_forest,
    watershed,
)
from segcourse.exercises import classical as chapter
from segcourse.ops.labels import IGNORE
from segcourse.ops.masks import mask_box

# ── right answers, written differently ──────────────────────────────────────────────────────────


def thresholds_in_numpy(counts):
    share = np.array(counts) / max(sum(counts), 1)
    values = np.arange(len(counts))
    mean, best = (share * values).sum(), None
    for a in range(len(counts)):
        for b in range(a + 1, len(counts) - 1):
            parts = [values <= a, (values > a) & (values <= b), values > b]
            if all(share[part].sum() > 0 for part in parts):
                between = sum(
                    share[part].sum()
                    * ((share * values)[part].sum() / share[part].sum() - mean) ** 2
                    for part in parts
                )
                if best is None or between > best[2] + 1e-12:
                    best = (a, b, between)
    return best


def thresholds_by_cumulative_sums(counts):
    sizes = torch.tensor([0, *counts]).cumsum(0)
    sums = torch.tensor([0, *(v * n for v, n in enumerate(counts))]).cumsum(0)
    best = None
    for a, b in itertools.combinations(range(1, len(counts)), 2):
        total = 0.0
        for low, high in ((0, a), (a, b), (b, len(counts))):
            size = int(sizes[high] - sizes[low])
            if not size:
                break
            total += int(sums[high] - sums[low]) ** 2 / size
        else:
            mean = int(sums[-1]) / int(sizes[-1])
            between = total / int(sizes[-1]) - mean**2
            if best is None or between > best[2] + 1e-9:
                best = [a - 1, b - 1, between]
    return best


def thresholds_from_pixels(counts):
    pixels = np.repeat(np.arange(len(counts)), counts)
    values = np.unique(pixels)
    if len(values) < 3:
        return None

    def between(pair):
        parts = np.split(pixels, np.searchsorted(pixels, pair, side="right"))
        return sum(len(p) * (p.mean() - pixels.mean()) ** 2 for p in parts) / len(pixels)

    a, b = max(itertools.combinations(values[:-1], 2), key=between)
    return a, b, between((a, b))


def thresholds_by_the_variance_within(counts):
    pixels = [value for value, count in enumerate(counts) for _ in range(count)]
    values = sorted(set(pixels))
    if len(values) < 3:
        return None
    best = None
    for a, b in itertools.combinations(values[:-1], 2):
        parts = [p for p in pixels if p <= a], [p for p in pixels if a < p <= b]
        parts = (*parts, [p for p in pixels if p > b])
        within = sum(np.var(part) * len(part) for part in parts) / len(pixels)
        if best is None or within < best[0] - 1e-9:
            best = (within, a, b)
    return best[1], best[2], np.var(pixels) - best[0]


def thresholds_in_torch(counts):
    histogram = torch.tensor(counts, dtype=torch.float64)
    values = torch.arange(len(counts))
    found = []
    for a in range(len(counts)):
        for b in range(a + 1, len(counts)):
            classes = torch.bucketize(values, torch.tensor([a, b]))
            sizes = torch.zeros(3).double().index_add_(0, classes, histogram)
            if (sizes > 0).all():
                means = torch.zeros(3).double().index_add_(0, classes, histogram * values) / sizes
                overall = (sizes * means).sum() / sizes.sum()
                score = (sizes / sizes.sum() * (means - overall) ** 2).sum()
                found.append((-round(score.item(), 9), a, b))
    if not found:
        return None
    score, a, b = min(found)
    return torch.tensor(a), torch.tensor(b), torch.tensor(-score)


def components_by_scipy(mask):
    return ndimage.label(mask.numpy())[0]


def components_by_scikit_image(mask):
    return torch.from_numpy(label(mask.numpy(), connectivity=1))


def components_by_flooding(mask):
    labels = [[0] * mask.shape[1] for _ in range(mask.shape[0])]
    count = 0
    for start in mask.nonzero().tolist():
        if labels[start[0]][start[1]]:
            continue
        count += 1
        stack = [tuple(start)]
        while stack:
            y, x = stack.pop()
            inside = 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]
            if inside and mask[y, x] and not labels[y][x]:
                labels[y][x] = count
                stack += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return labels


def components_by_spreading_the_smallest(mask):
    numbers = torch.arange(1, mask.numel() + 1).view(mask.shape)
    numbers = torch.where(mask, numbers, 0)
    for _ in range(mask.numel()):
        for axis in (0, 1):
            for step in (1, -1):
                moved = numbers.roll(step, axis)
                edge = 0 if step == 1 else -1
                moved.select(axis, edge).zero_()
                better = mask & (moved > 0) & (moved < numbers)
                numbers = torch.where(better, moved, numbers)
    values = numbers[mask].unique()
    return torch.where(mask, torch.searchsorted(values, numbers) + 1, 0).to(torch.uint8)


def components_in_two_passes(mask):
    pixels = mask.numpy()
    labels, same = np.zeros(pixels.shape, int), [0]
    for y in range(len(pixels)):
        for x in range(pixels.shape[1]):
            if not pixels[y, x]:
                continue
            near = [labels[y - 1, x]] * (y > 0) + [labels[y, x - 1]] * (x > 0)
            near = [number for number in near if number]
            if near:
                labels[y, x] = near[0]
                old, new = max(same[n] for n in near), min(same[n] for n in near)
                same = [new if number == old else number for number in same]
            else:
                same.append(len(same))
                labels[y, x] = same[-1]
    names = {0: 0}
    for row in labels:
        for x, number in enumerate(row):
            row[x] = names.setdefault(same[number], len(names))
    return labels


def tolerance_by_the_best_way(image, seed_point, outside):
    """Dijkstra's algorithm with the largest difference of a way as its length."""
    grey, start = image.tolist(), image[seed_point].item()
    best, queue = {}, [(0, tuple(seed_point))]
    while queue:
        length, (y, x) = heapq.heappop(queue)
        if (y, x) in best:
            continue
        best[y, x] = length
        for row, column in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
            if 0 <= row < len(grey) and 0 <= column < len(grey[0]):
                difference = abs(grey[row][column] - start)
                heapq.heappush(queue, (max(length, difference), (row, column)))
    return best[tuple(outside)] - 1 if best[tuple(outside)] else None


def tolerance_by_bisection(image, seed_point, outside):
    low, high = -1, 255
    while high - low > 1:
        middle = (low + high) // 2
        if region_growing(image, seed_point, tolerance=middle)[outside]:
            high = middle
        else:
            low = middle
    return None if low < 0 else low


def tolerance_by_components(image, seed_point, outside):
    differences = (image.int() - image[seed_point].int()).abs()
    for tolerance in range(255, -1, -1):
        parts = ndimage.label((differences <= tolerance).numpy())[0]
        if parts[outside] != parts[seed_point]:
            return tolerance
    return None


def tolerance_in_scikit_image(image, seed_point, outside):
    pixels, tolerance = image.numpy().astype(float), 0
    while not flood(pixels, seed_point, connectivity=1, tolerance=tolerance)[outside]:
        tolerance += 1
    return np.int64(tolerance - 1) if tolerance else None


def tolerance_among_the_differences(image, seed_point, outside):
    differences = (image.float() - float(image[seed_point])).abs()
    for value in differences.unique().tolist():
        if region_growing(differences, seed_point, tolerance=value)[outside]:
            return None if value == 0 else int(value) - 1
    raise AssertionError


def side_by_scipy(source, sink, links):
    if not len(source):
        return []
    edges = torch.tensor([link[:2] for link in links]).view(-1, 2).long()
    weights = torch.tensor([float(link[2]) for link in links])
    costs = torch.tensor([list(source), list(sink)]).double()
    return minimum_cut(costs, edges, weights).nonzero()[:, 0]


def side_by_flow(source, sink, links):
    """Send flow along ways with room left until there is none; return what can be reached."""
    count = len(source)
    room = np.zeros((count + 2, count + 2))
    room[count, :count], room[:count, count + 1] = source, sink
    for i, j, weight in links:
        room[i, j] += weight
        room[j, i] += weight
    while True:
        before, queue = {count: None}, [count]
        for node in queue:
            for other in range(count + 2):
                if room[node, other] > 1e-9 and other not in before:
                    before[other] = node
                    queue.append(other)
        if count + 1 not in before:
            return sorted(set(before) - {count})
        way = [count + 1]
        while before[way[-1]] is not None:
            way.append(before[way[-1]])
        steps = list(zip(way[1:], way, strict=False))
        flow = min(room[step] for step in steps)
        for a, b in steps:
            room[a, b] -= flow
            room[b, a] += flow


def side_by_bits(source, sink, links):
    best = None
    for bits in range(2 ** len(source)):
        inside = [bits >> node & 1 for node in range(len(source))]
        price = sum(
            b if here else a for a, b, here in zip(source, sink, inside, strict=True)
        ) + sum(w for i, j, w in links if inside[i] ^ inside[j])
        key = (price, sum(inside))
        if best is None or key < best[0]:
            best = (key, [node for node, here in enumerate(inside) if here])
    return best[1]


def side_by_products(source, sink, links):
    every = np.array(list(itertools.product((0, 1), repeat=len(source))))
    prices = every @ np.array(sink, float) + (1 - every) @ np.array(source, float)
    for i, j, weight in links:
        prices += weight * (every[:, i] != every[:, j])
    first = np.lexsort((every.sum(axis=1), prices.round(9)))[0]
    return np.flatnonzero(every[first])


def side_by_recursion(source, sink, links):
    def search(node, side, price):
        if node == len(source):
            crossing = sum(w for i, j, w in links if (i in side) != (j in side))
            return price + crossing, len(side), side
        return min(
            search(node + 1, side, price + source[node]),
            search(node + 1, (*side, node), price + sink[node]),
        )

    return search(0, (), 0)[2]


def distance_in_numpy(pixel, center, spacing, compactness):
    difference = np.subtract(pixel, center).astype(float)
    difference[3:] *= compactness / spacing
    return np.linalg.norm(difference)


def distance_in_torch(pixel, center, spacing, compactness):
    difference = torch.tensor(pixel, dtype=torch.float64) - torch.tensor(center).double()
    color, place = difference[:3].norm(), difference[3:].norm()
    return (color**2 + (place / spacing) ** 2 * compactness**2).sqrt()


def distance_with_hypot(pixel, center, spacing, compactness):
    color = math.dist(pixel[:3], center[:3])
    return math.hypot(color, math.dist(pixel[3:], center[3:]) * compactness / spacing)


def distance_by_features(pixel, center, spacing, compactness):
    scale = [1, 1, 1, compactness / spacing, compactness / spacing]
    return math.dist(*([v * s for v, s in zip(p, scale, strict=True)] for p in (pixel, center)))


def distance_in_a_loop(pixel, center, spacing, compactness):
    total = 0
    for place in range(5):
        weight = compactness**2 / spacing**2 if place > 2 else 1
        total += weight * abs(pixel[place] - center[place]) ** 2
    return total**0.5


def methods_by_conditions(picture):
    if picture in ("noise", "stripes"):
        return "forest"
    return {"dots": "Otsu", "ramp": "watershed"}.get(picture, "region growing")


def methods_in_numpy(picture):
    return np.str_(chapter.choose_method(picture))


RIGHT = [
    (chapter.otsu_three, (
        thresholds_in_numpy, thresholds_by_cumulative_sums, thresholds_from_pixels,
        thresholds_by_the_variance_within, thresholds_in_torch,
    )),
    (chapter.two_passes, (
        components_by_scipy, components_by_scikit_image, components_by_flooding,
        components_by_spreading_the_smallest, components_in_two_passes,
    )),
    (chapter.keep_outside, (
        tolerance_by_the_best_way, tolerance_by_bisection, tolerance_by_components,
        tolerance_in_scikit_image, tolerance_among_the_differences,
    )),
    (chapter.tiny_cut, (
        side_by_scipy, side_by_flow, side_by_bits, side_by_products, side_by_recursion,
    )),
    (chapter.choose, (
        methods_by_conditions, methods_in_numpy,
        {name: chapter.choose_method(name) for name in chapter.PICTURES}.get,
        {name: chapter.choose_method(name) for name in chapter.PICTURES}.__getitem__,
    )),
    (chapter.fix_slic, (
        distance_in_numpy, distance_in_torch, distance_with_hypot, distance_by_features,
        distance_in_a_loop,
    )),
]  # fmt: skip


@pytest.mark.parametrize(
    "exercise, answer",
    [
        pytest.param(exercise, answer, id=getattr(answer, "__name__", "table"))
        for exercise, answers in RIGHT
        for answer in answers
    ],
)
def test_right_answers_written_differently_are_accepted(exercise, answer):
    assert exercise.verdict(answer) == ("✓", "")


# ── advice is true ──────────────────────────────────────────────────────────────────────────────


def test_a_method_that_does_not_exist_is_pointed_out():
    mark, message = chapter.choose.verdict(lambda picture: "SLIC")
    assert mark == "✗" and "names that the question lists" in message


def test_the_choice_does_not_give_itself_away():
    for name in chapter.PICTURES:
        for method in chapter.METHODS:
            if method != chapter.choose_method(name):
                wrong = chapter.right_but(chapter.choose_method, {name: method})
                mark, message = chapter.choose.verdict(wrong)
                assert mark == "✗" and "expected" not in message


def components_by_overwriting(pixel, note, to_the_end):
    """Two passes with a plain table, in which a later note replaces an older one."""

    def answer(mask):
        labels, same, last = torch.zeros(mask.shape, dtype=torch.int64), {}, 0
        for y, x in mask.nonzero().tolist():
            above = labels[y - 1, x].item() if y else 0
            left = labels[y, x - 1].item() if x else 0
            if above and left:
                labels[y, x] = {"above": above, "left": left}.get(pixel, min(above, left))
                if above != left:
                    low, high = sorted((above, left))
                    pairs = {"left": (left, above), "above": (above, left), "max": (high, low)}
                    key, value = pairs.get(note, (low, high))
                    same[key] = value
            elif above or left:
                labels[y, x] = above or left
            else:
                labels[y, x] = last = last + 1
        names = {}
        for y, x in mask.nonzero().tolist():
            number = labels[y, x].item()
            for _ in range(last if to_the_end else 1):
                number = same.get(number, number)
            labels[y, x] = names.setdefault(number, len(names) + 1)
        return labels

    return answer


@pytest.mark.parametrize("pixel", ["above", "left", "min"])
@pytest.mark.parametrize("note", ["left", "above", "max", "min"])
@pytest.mark.parametrize("to_the_end", [True, False])
def test_a_table_that_forgets_notes_is_rejected_with_advice(pixel, note, to_the_end):
    mark, message = chapter.two_passes.verdict(components_by_overwriting(pixel, note, to_the_end))
    assert mark == "✗"
    assert "follow the table to its end" in message


def test_several_wrong_choices_get_advice_for_the_first():
    mark, message = chapter.choose.verdict(lambda picture: "forest")
    assert mark == "✗" and message.endswith("(This is about dots.)")


def test_a_distance_divided_by_the_compactness_is_not_said_to_ignore_it():
    def answer(pixel, center, spacing, compactness):
        color = math.dist(pixel[:3], center[:3])
        return math.hypot(color / compactness, math.dist(pixel[3:], center[3:]) / spacing)

    assert "is not used" not in chapter.fix_slic.verdict(answer)[1]


@pytest.mark.parametrize("most", [100, 200])
def test_a_search_that_stops_too_early_is_rejected(most):
    def answer(image, seed_point, outside):
        for tolerance in range(most):
            if region_growing(image, seed_point, tolerance=tolerance)[outside]:
                return tolerance - 1 if tolerance else None
        return most - 1

    assert chapter.keep_outside.verdict(answer)[0] == "✗"


# ── what the solutions compute is true ──────────────────────────────────────────────────────────


def test_three_classes_agree_with_the_package():
    grey = torch.randint(0, 40, (30, 40), generator=torch.Generator().manual_seed(0)) ** 2 // 40
    a, b, _ = chapter.two_thresholds(grey.flatten().bincount().tolist())
    assert [a, b] == multi_otsu(grey)


def test_a_cut_pays_what_networkx_says():
    for source, sink, links in chapter.GRAPHS:
        side = set(chapter.source_side(source, sink, links))
        price = sum(
            b if n in side else a for n, (a, b) in enumerate(zip(source, sink, strict=True))
        )
        price += sum(w for i, j, w in links if (i in side) != (j in side))
        graph = networkx.DiGraph([("s", "t", {"capacity": 0})])
        for node, (a, b) in enumerate(zip(source, sink, strict=True)):
            graph.add_edge("s", node, capacity=a)
            graph.add_edge(node, "t", capacity=b)
        for i, j, weight in links:
            for a, b in ((i, j), (j, i)):
                before = graph.edges[a, b]["capacity"] if graph.has_edge(a, b) else 0
                graph.add_edge(a, b, capacity=before + weight)
        assert networkx.maximum_flow_value(graph, "s", "t") == pytest.approx(price)


def test_enlarging_an_image_keeps_the_distance():
    pixel, center = [50, 1, 2, 3, 4], [40, 5, 1, 9, 11]
    twice = [[*each[:3], 2 * each[3], 2 * each[4]] for each in (pixel, center)]
    assert chapter.slic_distance(*twice, 20, 8) == chapter.slic_distance(pixel, center, 10, 8)
    assert chapter.distance_with_the_fault(*twice, 20, 8) != chapter.distance_with_the_fault(
        pixel, center, 10, 8
    )


def scores(name):
    """The IoU of every method on a picture, as the chapter measures it."""
    image, target = chapter.picture(name)
    x0, y0, x1, y1 = mask_box(target)
    markers = torch.ones(image.shape, dtype=torch.int64)
    markers[max(y0 - 2, 1) : y1 + 2, max(x0 - 2, 1) : x1 + 2] = 0
    depth = ndimage.distance_transform_edt(target.numpy())
    click = tuple(int(k) for k in np.unravel_index(depth.argmax(), depth.shape))
    markers[click] = 2
    marks = torch.full_like(markers, IGNORE)
    generator = torch.Generator().manual_seed(0)
    for side in (False, True):
        places = (target == side).nonzero()
        chosen = places[torch.randperm(len(places), generator=generator)[:50]]
        marks[chosen[:, 0], chosen[:, 1]] = int(side)
    features = pixel_features(image)
    masks = {
        "Otsu": image > otsu(image),
        "region growing": region_growing(image, click, tolerance=0.15),
        "watershed": watershed(edge_strength(image), markers) == 2,
        "forest": classify_pixels(train_forest([features], [marks]), features) == 1,
    }
    return {
        method: ((mask & target).sum() / (mask | target).sum()).item()
        for method, mask in masks.items()
    }


@pytest.mark.parametrize("name", chapter.PICTURES)
def test_the_chosen_method_is_the_first_one_that_is_enough(name):
    found = scores(name)
    enough = [method for method in chapter.METHODS if found[method] >= 0.8]
    assert enough[0] == chapter.choose_method(name)
    assert all(value < 0.7 or value > 0.85 for value in found.values()), found


@pytest.mark.parametrize("name", chapter.PICTURES)
def test_advice_says_which_methods_work(name):
    found = scores(name)
    for method, reason in chapter.REASONS[name].items():
        if "works too" in reason:
            assert found[method] >= 0.8, (method, found[method])
        elif "is enough" not in reason:
            assert found[method] < 0.8, (method, found[method])


def test_opencv_agrees_on_the_components():
    for (mask,) in chapter.two_passes.inputs():
        _, parts = cv2.connectedComponents(mask.numpy().astype(np.uint8), connectivity=4)
        ours = chapter.label_components(mask).numpy()
        pairs = {(int(a), int(b)) for a, b in zip(ours.flat, parts.flat, strict=True)}
        assert len(pairs) == len(np.unique(ours)) == len(np.unique(parts))
