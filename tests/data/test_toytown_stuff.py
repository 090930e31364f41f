"""Buildings, skyline and trees of Toytown."""

import numpy as np
import pytest

from segcourse.data.toytown_canvas import (
    BARK,
    BRICK,
    GRASS,
    LEAVES,
    PLASTER,
    SKY,
    RandomStream,
    Scene,
)
from segcourse.data.toytown_stuff import draw_building, draw_skyline, draw_tree
from segcourse.data.toytown_surfaces import MOODS

HORIZON = 60


def scene_and_rng(seed: int) -> tuple[Scene, RandomStream]:
    rng = RandomStream(memoryview(np.random.PCG64(seed).random_raw(2000)), 0, 1.0)
    plain = np.full((160, 240, 3), 255, dtype=np.uint8)
    return Scene(plain, HORIZON, 120, 1, MOODS[seed % len(MOODS)]), rng


def found(scene: Scene) -> np.ndarray:
    return np.asarray(scene.identities)


@pytest.mark.parametrize("seed", range(12))
def test_a_near_building_shows_its_front_and_a_side(seed):
    scene, rng = scene_and_rng(seed)
    draw_building(scene, rng, left=20, right=60, depth=30, tall=70)
    marked = found(scene)
    assert set(np.unique(marked)) <= {SKY, BRICK, PLASTER}
    front = marked[HORIZON + 30 - 70 : HORIZON + 31, 20:61]
    assert (front != SKY).all()
    assert (marked[:, 64:80] != SKY).sum() > 100  # towards the vanishing point ...
    assert (marked[:, :17] == SKY).all()  # ... and not away from it
    assert (marked[HORIZON + 31 :] == SKY).all()  # it stands on the ground


@pytest.mark.parametrize("seed", range(12))
def test_buildings_have_windows(seed):
    scene, rng = scene_and_rng(seed)
    draw_building(scene, rng, left=100, right=160, depth=5, tall=60)
    wall = np.asarray(scene.colors)[HORIZON + 5 - 58 : HORIZON + 4, 102:159]
    assert len(np.unique(wall.reshape(-1, 3), axis=0)) >= 2


@pytest.mark.parametrize("seed", range(24))
def test_trees_have_a_crown_above_their_foot(seed):
    scene, rng = scene_and_rng(seed)
    draw_tree(scene, rng, x=120, depth=50, color=(60, 120, 60))
    marked = found(scene)
    assert set(np.unique(marked)) <= {SKY, LEAVES, BARK}
    rows, columns = np.nonzero(marked)
    assert (marked == LEAVES).sum() > 100
    assert rows.max() <= HORIZON + 53 and abs(columns.mean() - 120) < 15


@pytest.mark.parametrize("seed", range(12))
def test_the_skyline_stands_on_the_horizon(seed):
    scene, rng = scene_and_rng(seed)
    draw_skyline(scene, rng, crowded=95)
    marked = found(scene)
    assert set(np.unique(marked)) <= {SKY, BRICK, PLASTER, GRASS, LEAVES}
    assert np.isin(marked[HORIZON], (BRICK, PLASTER)).mean() > 0.5
    assert (marked[:5] == SKY).all() and (marked[HORIZON + 20 :] == SKY).all()
