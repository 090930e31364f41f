"""Random streams, colours and canvas of Toytown."""

import numpy as np
import pytest

from segcourse.data.toytown_canvas import RandomStream, Scene, mix, outline, shade
from segcourse.data.toytown_surfaces import MOODS


def stream(variety: float = 1.0, count: int = 600) -> RandomStream:
    return RandomStream(memoryview(np.random.PCG64(7).random_raw(count)), 0, variety)


def blank(horizon: int = 20) -> Scene:
    return Scene(np.full((48, 64, 3), 200, dtype=np.uint8), horizon, 32, 1, MOODS[0])


def test_random_integers_reach_both_ends_evenly():
    rng = stream()
    drawn = [rng.between(1, 6) for _ in range(600)]
    assert sorted(set(drawn)) == [1, 2, 3, 4, 5, 6]
    assert min(drawn.count(face) for face in range(1, 7)) > 70


def test_random_integers_are_the_words_of_pcg64_on_every_machine():
    rng = stream()
    assert [rng.between(0, 999) for _ in range(6)] == [625, 897, 775, 225, 300, 873]


def test_a_stream_starts_again_when_its_words_run_out():
    rng = stream(count=3)
    assert [rng.between(0, 99) for _ in range(3)] == [rng.between(0, 99) for _ in range(3)]


def test_without_variety_every_choice_is_the_first_and_plain():
    rng = stream(variety=0)
    assert {rng.vary("abc") for _ in range(50)} == {"a"}
    assert {rng.tint((9, 99, 199)) for _ in range(50)} == {(9, 99, 199)}
    assert len({rng.choose("abc") for _ in range(50)}) == 3  # what is no matter of colour


def test_tints_stay_colours():
    rng = stream(variety=2)
    tints = np.array([rng.tint((0, 128, 255)) for _ in range(100)])
    assert tints.min() == 0 and tints.max() == 255 and np.ptp(tints[:, 1]) > 20


def test_mix_and_shade():
    assert mix((0, 100, 200), (100, 200, 0), 0) == (0, 100, 200)
    assert mix((0, 100, 200), (100, 200, 0), 100) == (100, 200, 0)
    assert mix((0, 100, 200), (100, 200, 0), 50) == (50, 150, 100)
    assert shade((100, 200, 50), 150) == (150, 255, 75)


def test_outlines_are_measured_in_per_cent_upwards_from_the_foot():
    assert outline(((0, 0), (50, 100)), 10, 40, 20) == [(10, 40), (20, 20)]
    assert outline(((0, 0), (50, 100)), 10, 40, 20, facing=-1) == [(10, 40), (0, 20)]


@pytest.mark.parametrize(
    "draw",
    [
        lambda scene: scene.polygon([(5, 5), (30, 8), (20, 40)], (1, 2, 3), 9),
        lambda scene: scene.rectangle(5, 5, 20, 30, (1, 2, 3), 9),
        lambda scene: scene.disc(30, 20, 10, (1, 2, 3), 9),
    ],
    ids=["polygon", "rectangle", "disc"],
)
def test_what_is_painted_is_marked(draw):
    scene = blank()
    draw(scene)
    marked = np.asarray(scene.identities) == 9
    painted = (np.asarray(scene.colors) == (1, 2, 3)).all(axis=-1)
    assert marked.sum() > 100 and np.array_equal(marked, painted)


def test_spots_and_shadows_belong_to_what_they_lie_on():
    scene = blank()
    scene.spot(20, 20, 5, (255, 0, 0))
    scene.shadow(40, 40, 12, 100)
    assert not np.asarray(scene.identities).any()
    colors = np.asarray(scene.colors)
    assert tuple(colors[20, 20]) == (255, 0, 0) and 100 < colors[40, 40, 0] < 200


def test_haze_thickens_with_distance():
    scene = blank()
    near, far = (scene.haze((0, 0, 0), depth)[2] for depth in (28, 1))
    assert 0 <= near < far < MOODS[0].low[2]
