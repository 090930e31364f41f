"""Surfaces of Toytown: textures, sky, ground."""

import numpy as np
import pytest

from segcourse.data.toytown_canvas import RandomStream
from segcourse.data.toytown_surfaces import MOODS, clouds, fade, lying, paint_sky, texture, upright


def roll(start: int = 0) -> RandomStream:
    return RandomStream(memoryview(np.random.PCG64(3).random_raw(400)), start, 1.0)


@pytest.mark.parametrize("name", ["brick", "grass", "gravel"])
def test_textures_are_relief_around_128(name):
    plain, half, full = (texture(name, contrast) for contrast in (0, 50, 100))
    assert (plain == 128).all()
    assert full.shape == (512, 512) and full.dtype == np.uint8
    assert abs(int(full.mean()) - 128) <= 3
    assert full.std() == pytest.approx(2 * half.std(), rel=0.1) and half.std() > 8


def test_brick_courses_lie_level():
    """Along a course brightness changes less than across courses, where the joints are."""
    brick = texture("brick", 100).astype(float)
    rows, columns = brick.mean(axis=1).std(), brick.mean(axis=0).std()
    assert rows > columns


def test_textures_are_large_enough_to_crop_a_scene_from():
    assert upright("gravel", 50, 30, 40, 70).shape == (80, 140)
    assert lying("gravel", 50, 120, 0, 40, 70).shape == (40, 140)


def test_texture_on_the_ground_is_coarser_nearby():
    """Nearby, neighbours are alike: a stone covers several pixels. Far away each is another."""

    def roughness(rows: np.ndarray) -> float:
        rows = rows.astype(float)
        return float(np.abs(np.diff(rows, axis=1)).mean() / rows.std())

    ground = lying("gravel", 100, 60, 1, 192, 256)
    assert roughness(ground[-20:]) < 0.75 * roughness(ground[30:50])


def test_variants_differ():
    one, other = (lying("grass", 60, 100, variant, 48, 64) for variant in (0, 1))
    assert (one != other).mean() > 0.5


def test_clouds_are_the_same_everywhere():
    bank = np.asarray(clouds())
    assert bank.shape == (256, 512) and bank.min() == 0 and bank.max() == 255
    coarse = bank.reshape(4, 64, 8, 64).mean(axis=(1, 3))
    stored = np.array(
        [
            [121, 154, 143, 127, 165, 99, 108, 99],
            [123, 124, 126, 121, 103, 105, 130, 100],
            [95, 100, 119, 88, 91, 151, 138, 71],
            [87, 84, 127, 109, 152, 139, 97, 120],
        ]
    )
    assert np.abs(coarse - stored).max() < 1.5


@pytest.mark.parametrize("mood", range(len(MOODS)))
@pytest.mark.parametrize("size", [(12, 32), (84, 256), (200, 34), (30, 900)])
def test_skies_of_every_size(mood, size):
    sky = paint_sky(roll(mood), MOODS[mood], *size)
    assert sky.shape == (*size, 3) and sky.dtype == np.uint8
    assert np.array_equal(sky[::2], sky[1::2])  # drawn at half the size


def test_a_clear_sky_is_bluest_at_the_top():
    skies = np.stack([paint_sky(roll(40 * k), MOODS[0], 60, 80) for k in range(8)]).astype(float)
    blueness = (skies[..., 2] - skies[..., 0]).mean(axis=(0, 2))
    assert blueness[:10].mean() > 1.2 * blueness[-10:].mean()


def test_ground_fades_into_the_haze():
    mood = MOODS[0]
    rows = fade((100, 140, 60), mood, 100).astype(int)
    away = np.abs(rows - np.array(mood.low)).sum(axis=1)
    assert rows.shape == (100, 3) and (np.diff(away) >= 0).all() and away[-1] > 2 * away[0]
