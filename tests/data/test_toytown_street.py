"""The street of Toytown, and who stands where beside it."""

from itertools import pairwise

import numpy as np
import pytest

from segcourse.data.toytown_canvas import ROAD, SKY, RandomStream, Scene
from segcourse.data.toytown_street import (
    MAX_THINGS,
    STREAMS,
    WORDS,
    Street,
    paint_markings,
    place_cars,
    place_houses,
    place_lamps,
    place_people,
    place_trees,
    scatter_flowers,
)
from segcourse.data.toytown_surfaces import MOODS
from segcourse.data.toytown_things import CAR, LAMP, PERSON


def streams(seed: int):
    words = memoryview(np.random.PCG64(seed).random_raw(STREAMS * WORDS))
    return lambda number: RandomStream(words, number * WORDS, 1.0)


def street(seed: int) -> Street:
    return Street(streams(seed)(0), 60, 192, 256)


@pytest.mark.parametrize("seed", range(20))
def test_a_road_narrows_to_its_vanishing_point(seed):
    road = street(seed)
    widths = [road.x(depth, 100) - road.x(depth, -100) for depth in range(0, road.reach + 1, 11)]
    assert widths[0] == 0 and all(a < b for a, b in pairwise(widths))
    assert road.x(0, 0) == road.vanishing and abs(road.x(road.reach, 0) - road.foot) <= 1
    assert all(60 <= y <= 192 for _, y in road.strip(-100, 100))


@pytest.mark.parametrize("seed", range(8))
def test_markings_lie_on_the_road_and_flowers_are_grass(seed):
    scene = Scene(np.full((192, 256, 3), 90, dtype=np.uint8), 60, 128, 1, MOODS[0])
    paint_markings(scene, streams(seed)(12), street(seed), (90, 90, 90))
    assert set(np.unique(np.asarray(scene.identities))) <= {SKY, ROAD}
    assert (np.asarray(scene.colors) != 90).any()
    before = np.asarray(scene.identities).copy()
    scatter_flowers(scene, streams(seed)(13), street(seed))
    assert np.array_equal(before, np.asarray(scene.identities))


@pytest.mark.parametrize(
    ("place", "kind", "more"),
    [(place_cars, CAR, ()), (place_people, PERSON, (1.0,)), (place_lamps, LAMP, (1.0,))],
    ids=["cars", "people", "lamps"],
)
class TestThings:
    @pytest.mark.parametrize("count", [(0, 0), (2, 5), (MAX_THINGS, MAX_THINGS)])
    def test_as_many_as_asked_for(self, place, kind, more, count):
        for seed in range(10):
            things = place(streams(seed), street(seed), count, *more)
            assert count[0] <= len(things) <= count[1]
            assert all(thing[1] == kind for thing in things)

    def test_near_things_are_larger(self, place, kind, more):
        things = [
            thing
            for seed in range(30)
            for thing in place(streams(seed), street(seed), (3, 3), *more)
        ]
        depth, size = np.array([(thing[0], thing[6]) for thing in things]).T
        assert depth.min() > 0 and size.max() > 2 * size.min()
        assert np.corrcoef(depth, size)[0, 1] > 0.9

    def test_one_more_leaves_the_others_where_they_are(self, place, kind, more):
        few, many = (place(streams(5), street(5), (n, n), *more) for n in (3, 4))
        assert [thing[4:] for thing in few] == [thing[4:] for thing in many[:3]]


@pytest.mark.parametrize("seed", range(20))
def test_houses_stand_beside_the_road_by_turns(seed):
    road = street(seed)
    for k, (depth, _, (_, left, right, _, tall)) in enumerate(
        place_houses(streams(seed), road, (4, 4))
    ):
        assert left < right and tall > depth
        assert right < road.x(depth, -100) if k % 2 == 0 else left > road.x(depth, 100)


@pytest.mark.parametrize("seed", range(20))
def test_trees_stand_beside_the_road(seed):
    road = street(seed)
    for depth, _, (_, x, _, _) in place_trees(streams(seed), road, (5, 5)):
        assert not road.x(depth, -110) < x < road.x(depth, 110)
