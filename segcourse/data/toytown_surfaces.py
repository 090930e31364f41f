"""The surfaces of Toytown: photographed textures, a sky with clouds, ground that fades into haze.

The photographs (brick, grass, gravel) ship inside scikit-image, so nothing is downloaded. What is
slow is made once per size and kept; a scene crops its own piece, so no two look the same.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image
from skimage import data

from segcourse.data.toytown_canvas import Color, RandomStream, mix


class Mood(NamedTuple):
    """The light of a scene: what the sky looks like, and what it does to the colours below."""

    zenith: Color
    low: Color  # near the horizon; distance turns every colour into this one
    light: Color  # what is left of red, green and blue, in per cent
    clouds: int  # how much of the sky they cover, in per cent
    lit: int  # how many houses have lights on, in per cent
    sun: int  # how often it is in the picture, in per cent


MOODS = (  # the likelier ones come twice
    Mood((58, 124, 208), (178, 214, 240), (104, 102, 96), clouds=35, lit=2, sun=50),  # clear
    Mood((84, 150, 220), (206, 226, 240), (106, 104, 100), clouds=60, lit=2, sun=20),  # fair
    Mood((58, 124, 208), (178, 214, 240), (104, 102, 96), clouds=35, lit=2, sun=50),
    Mood((84, 150, 220), (206, 226, 240), (106, 104, 100), clouds=60, lit=2, sun=20),
    Mood((92, 130, 188), (250, 212, 150), (114, 98, 76), clouds=40, lit=12, sun=90),  # golden
    Mood((92, 130, 188), (250, 212, 150), (114, 98, 76), clouds=40, lit=12, sun=90),
    Mood((140, 158, 178), (208, 214, 220), (90, 93, 98), clouds=75, lit=10, sun=0),  # overcast
    Mood((86, 88, 150), (246, 164, 136), (100, 84, 84), clouds=45, lit=40, sun=60),  # dusk
    Mood((40, 58, 112), (150, 138, 172), (70, 74, 94), clouds=35, lit=60, sun=0),  # blue hour
)


@lru_cache
def texture(name: str, contrast: int) -> np.ndarray:
    """A photographed surface as brightness around 128, at ``contrast`` %: (512, 512) uint8."""
    photograph = {"brick": data.brick, "grass": data.grass, "gravel": data.gravel}[name]()
    photograph = photograph.astype(np.int32)
    if name == "brick":
        photograph = photograph.T  # its courses run upwards in the photograph
    mean = int(photograph.sum()) // photograph.size
    relief = 128 + (photograph - mean) * 128 * contrast // (100 * mean)
    return np.clip(relief, 0, 255).astype(np.uint8)


@lru_cache(maxsize=64)
def upright(name: str, contrast: int, side: int, height: int, width: int) -> np.ndarray:
    """A texture on a wall, in tiles of ``side`` pixels, to crop from: (2 height, 2 width) uint8."""
    tile = Image.fromarray(texture(name, contrast)).resize((side, side), Image.Resampling.BOX)
    repeats = (2 * height // side + 1, 2 * width // side + 1)
    return np.tile(np.asarray(tile), repeats)[: 2 * height, : 2 * width]


@lru_cache(maxsize=64)
def lying(name: str, contrast: int, fine: int, variant: int, height: int, width: int) -> np.ndarray:
    """A texture on the ground, from the horizon down, to crop from: (height, 2 width) uint8.

    It converges in its middle column. Far rows read from coarser copies, lest they flicker.
    """
    levels = [texture(name, contrast)]
    while min(levels[-1].shape) > 1:
        levels.append(np.asarray(Image.fromarray(levels[-1]).reduce(2)))
    columns = np.arange(2 * width) - width
    rows = np.empty((height, 2 * width), dtype=np.uint8)
    for row in range(height):
        below = 2 * row + 1  # in half rows below the horizon
        step = 2 * 192 * 256 * fine // (100 * below)  # texels per column, in 1/256
        level = min(max(step // 256, 1).bit_length() - 1, len(levels) - 1)
        v = (variant * 61 + 192 * height * fine // (100 * below)) % 512 >> level
        u = (columns * step // 256 + variant * 97) % 512 >> level
        rows[row] = levels[level][v][u]
    return rows


@lru_cache
def clouds() -> Image.Image:
    """Noise whose finer details are the fainter ones: 512 x 256 grey values."""
    total = np.zeros((256, 512), dtype=np.int32)
    words = np.random.PCG64(20).random_raw(8192).astype("<u8").view(np.uint8)
    for octave, weight in enumerate((16, 11, 7, 4)):
        grid = Image.fromarray(words[: 64 << 2 * octave].reshape(8 << octave, 8 << octave))
        total += weight * np.asarray(grid.resize((512, 256), Image.Resampling.BICUBIC), np.int32)
    total = (total - total.min()) * 255 // (total.max() - total.min())
    return Image.fromarray(total.astype(np.uint8))


def paint_sky(rng: RandomStream, mood: Mood, height: int, width: int) -> np.ndarray:
    """A gradient, clouds, and now and then the sun: (height, width, 3) uint8, for even sides."""
    rows, columns = height // 2, width // 2
    fall = (np.arange(rows, dtype=np.float32) / rows)[:, None, None]
    top, low = np.float32(rng.tint(mood.zenith)), np.float32(rng.tint(mood.low, 60))
    sky = (top + (low - top) * (fall * fall)).repeat(columns, axis=1)
    if rng.chance(mood.sun):
        x, y = rng.between(0, columns), rng.between(rows // 3, rows)
        radius = max(2, rows // rng.between(9, 14))
        away = (np.arange(columns) - x) ** 2 + (np.arange(rows)[:, None] - y) ** 2
        glow = (12 * radius**2 / (12 * radius**2 + away)).astype(np.float32)
        glow = np.where(away <= radius**2, np.float32(1), np.float32(0.7) * glow * glow)
        sky += (np.float32((255, 244, 206)) - sky) * glow[..., None]
    threshold = 200 - 130 * (mood.clouds + rng.between(-30, 20)) // 100
    wide, tall = 176, min(256, max(8, 176 * rows // columns))
    x, y = rng.between(0, 512 - wide), rng.between(0, 256 - tall)
    bank = clouds().resize((columns, rows), Image.Resampling.BILINEAR, (x, y, x + wide, y + tall))
    cover = np.clip(np.asarray(bank, np.float32) - threshold, 0, 64) / 72
    white = np.float32(mix((250, 250, 250), mood.low, 35 if mood.lit < 30 else 70))
    sky += (white - sky) * cover[..., None]
    return np.clip(sky, 0, 255).astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)


def fade(color: Color, mood: Mood, height: int) -> np.ndarray:
    """Ground from the horizon down, its far rows in the haze: (height, 3) uint8."""
    depth, clear = np.arange(height, dtype=np.int32)[:, None], 8 + height // 12
    haze = (100 * clear // (depth + clear)) ** 2 // 150  # per cent
    blend = np.int32(color) * (100 - haze) + np.int32(mood.low) * haze
    return (blend // 100).astype(np.uint8)
