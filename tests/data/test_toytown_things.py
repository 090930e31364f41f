"""Cars, people and lamps of Toytown."""

import numpy as np
import pytest

from segcourse.data.toytown_canvas import SKY, RandomStream, Scene
from segcourse.data.toytown_surfaces import MOODS
from segcourse.data.toytown_things import draw_car, draw_lamp, draw_person

FOOT, ME = 140, 42


def drawn(draw, seed: int, size: int, *more: int) -> tuple[np.ndarray, np.ndarray]:
    """What belongs to one thing in the middle, and the colours there: (160, 240) bool, uint8."""
    rng = RandomStream(memoryview(np.random.PCG64(seed).random_raw(200)), 0, 1.0)
    plain = np.full((160, 240, 3), 255, dtype=np.uint8)
    scene = Scene(plain, 60, 120, 1, MOODS[seed % len(MOODS)])
    draw(scene, rng, 120, FOOT - 60, size, ME, *more)
    marked = np.asarray(scene.identities)
    assert set(np.unique(marked)) <= {SKY, ME}
    return marked == ME, np.asarray(scene.colors)


def extent(mask: np.ndarray) -> tuple[int, int]:
    rows, columns = np.nonzero(mask)
    return np.ptp(rows) + 1, np.ptp(columns) + 1


@pytest.mark.parametrize("seed", range(16))
def test_cars(seed):
    mask, colors = drawn(draw_car, seed, 100)
    tall, wide = extent(mask)
    assert 35 <= tall <= 66 and 55 <= wide <= 104
    assert np.nonzero(mask)[0].max() in range(FOOT - 3, FOOT + 4)
    assert len(np.unique(colors[mask], axis=0)) >= 5  # paint, sill, glass, tyres, lights


@pytest.mark.parametrize("seed", range(16))
def test_people(seed):
    mask, colors = drawn(draw_person, seed, 80)
    tall, wide = extent(mask)
    assert 76 <= tall <= 84 and 20 <= wide <= 44
    assert len(np.unique(colors[mask], axis=0)) >= 5  # shirt, sleeves, legs, skin, hair


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("road", [-1, 1])
def test_lamps_are_thin_and_lean_over_the_road(seed, road):
    mask, _ = drawn(draw_lamp, seed, 90, road)
    tall, wide = extent(mask)
    assert 90 <= tall <= 110 and wide <= 60
    pole = mask[FOOT - 50].sum()
    assert 2 <= pole <= 8 and pole % 2 == 0
    head = np.nonzero(mask[: FOOT - 88])[1]
    assert road * (head.mean() - 120) > -3


@pytest.mark.parametrize("draw", [draw_car, draw_person])
@pytest.mark.parametrize("size", [4, 5, 7, 11])
def test_far_things_are_small_and_still_there(draw, size):
    mask, _ = drawn(draw, 1, size)
    assert 0 < mask.sum() < 4 * size**2


def test_lamps_shine_after_sunset():
    def brightest(mood: int) -> np.ndarray:
        mask, colors = drawn(draw_lamp, mood, 90, 1)
        return colors[mask].astype(int).max(axis=0)

    dark = next(k for k, mood in enumerate(MOODS) if mood.lit >= 30)
    assert brightest(dark)[0] - brightest(dark)[2] > 50  # yellow
    assert brightest(0)[0] - brightest(0)[2] < 20  # white
