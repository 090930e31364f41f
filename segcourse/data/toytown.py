"""Toytown: street scenes that are always there, with the class and the object of every pixel.

A scene is painted back to front on a canvas of twice its size, so that near things hide far ones:

    sky ─ hills ─ skyline ─ lawn ─ road ─ houses, trees, cars, people and lamps, far to near
     │
     ├─ image:  colour × photographed texture × light + noise, averaged over 2 x 2 pixels
     └─ labels: every second pixel of the canvas, never averaged

Perspective makes things large or small, texture and light make colours unreliable, lamps are thin
and people are rare. Scene ``i`` of seed ``s`` is the same on every machine: all its decisions are
integers, made from raw words of PCG64, which NumPy promises never to change.
"""

import operator
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import maximum_filter
from torch.utils.data import Dataset

from segcourse.data.sample import Sample
from segcourse.data.toytown_canvas import (
    BRICK,
    FIRST_THING,
    GRASS,
    LEAVES,
    PLASTER,
    ROAD,
    SKY,
    RandomStream,
    Scene,
)
from segcourse.data.toytown_street import (
    FLOWERBEDS,
    LAYOUT,
    LIGHT,
    MARKINGS,
    MAX_THINGS,
    SKIES,
    SKYLINE,
    STREAMS,
    TEXTURES,
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
from segcourse.data.toytown_stuff import LAWNS, draw_skyline
from segcourse.data.toytown_surfaces import MOODS, fade, lying, paint_sky, upright
from segcourse.data.toytown_things import CAR, LAMP, PERSON
from segcourse.ops.labels import IGNORE

CLASSES = ("sky", "building", "road", "grass", "tree", "car", "person", "lamp")
THINGS = (CAR, PERSON, LAMP)
PALETTE = (  # after Okabe and Ito: the colour-blind tell them from each other and from black void
    (86, 180, 233),
    (213, 94, 0),
    (200, 200, 200),
    (240, 228, 66),
    (0, 130, 90),
    (0, 80, 160),
    (200, 80, 150),
    (100, 0, 60),
)

_CLASS_OF_SURFACE = (0, 1, 1, 2, 3, 4, 4)  # sky, brick, plaster, road, grass, leaves, bark
_ROADS = (
    (112, 112, 116), (94, 94, 98), (132, 126, 120),
    (146, 138, 128), (122, 104, 96), (104, 110, 106),
)  # fmt: skip


class Toytown(Dataset):
    """``length`` street scenes with labels: index -> Sample of (3, H, W), (H, W), (H, W).

    By convention seed 0 is for training, 1 for validation, 2 for the test. A knob changes what it
    names and leaves the rest of every scene as it was, so that two datasets can be compared.

    Args:
        length: how many scenes.
        seed: which scenes; two seeds never share one.
        size: height and width in pixels, each from 16 to 2048.
        cars, people, lamps, trees, houses: fewest and most of them; some end up out of sight.
        person_scale, lamp_scale: factors on their size, which decide how rare these classes are.
        variety: 0 paints every surface in one colour under a clear sky, 1 is a town, 2 is a fair.
        texture: strength of the photographed surfaces; 0 leaves plain colours.
        light: darkest and brightest light.
        noise: standard deviation of the camera's noise, where the image lies in [0, 1].
        void: width in pixels of the border of IGNORE around things. It is taken from whatever is
            behind a thing, never from the thing itself; the pixels belong to no object.

    Raises:
        TypeError, ValueError: if an argument is not what is described above.
    """

    def __init__(
        self,
        length: int,
        *,
        seed: int = 0,
        size: tuple[int, int] = (96, 128),
        cars: tuple[int, int] = (1, 4),
        people: tuple[int, int] = (1, 3),
        lamps: tuple[int, int] = (1, 3),
        trees: tuple[int, int] = (2, 7),
        houses: tuple[int, int] = (1, 5),
        person_scale: float = 1.0,
        lamp_scale: float = 1.0,
        variety: float = 1.0,
        texture: float = 1.0,
        light: tuple[float, float] = (0.8, 1.1),
        noise: float = 0.015,
        void: int = 0,
    ):
        self.length = _integer("length", length, 0, 2**62)
        self.seed = _integer("seed", seed, 0, 2**62)
        self.size = _pair("size", size, _integer, 16, 2048, ordered=False)
        self.cars = _pair("cars", cars, _integer, 0, MAX_THINGS)
        self.people = _pair("people", people, _integer, 0, MAX_THINGS)
        self.lamps = _pair("lamps", lamps, _integer, 0, MAX_THINGS)
        self.trees = _pair("trees", trees, _integer, 0, MAX_THINGS)
        self.houses = _pair("houses", houses, _integer, 0, MAX_THINGS)
        self.person_scale = _real("person_scale", person_scale, 0.1, 5)
        self.lamp_scale = _real("lamp_scale", lamp_scale, 0.1, 5)
        self.variety = _real("variety", variety, 0, 2)
        self.texture = _real("texture", texture, 0, 2)
        self.light = _pair("light", light, _real, 0, 3)
        self.noise = _real("noise", noise, 0, 1)
        self.void = _integer("void", void, 0, 64)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        """One scene; negative indices count from the end, as in a list."""
        try:
            asked = operator.index(index)
        except TypeError:
            raise TypeError(
                f"a scene is chosen by one integer, but the index is {index!r}: "
                "use [town[i] for i in ...] for several scenes."
            ) from None
        index = asked + self.length if asked < 0 else asked
        if not 0 <= index < self.length:
            raise IndexError(f"there is no scene {asked}: this town has {self.length} of them.")
        bits = np.random.PCG64(np.random.SeedSequence([self.seed, index]))
        words = memoryview(bits.random_raw(STREAMS * WORDS))  # quicker to index than an array

        def stream(number: int) -> RandomStream:
            return RandomStream(words, number * WORDS, self.variety)

        scene, street = self._paint_stuff(stream)
        kinds = self._paint_things(stream, scene, street)
        identities = np.asarray(scene.identities)
        image = self._render(stream, scene, identities, bits)
        return self._label(image, identities[::2, ::2], kinds)

    def _paint_stuff(self, stream: Callable[[int], RandomStream]) -> tuple[Scene, Street]:
        """Sky, skyline, lawn and road."""
        height, width = 2 * self.size[0], 2 * self.size[1]
        rng = stream(LAYOUT)
        mood, horizon = rng.vary(MOODS), height * rng.between(38, 52) // 200 * 2
        street = Street(rng, horizon, height, width)
        road, lawn = rng.tint(rng.vary(_ROADS)), rng.tint(rng.vary(LAWNS))
        colors = np.empty((height, width, 3), dtype=np.uint8)
        colors[:horizon] = paint_sky(stream(SKIES), mood, horizon, width)
        colors[horizon:] = fade(lawn, mood, height - horizon)[:, None]
        scene = Scene(colors, horizon, street.vanishing, rng.choose((-1, 1)), mood)
        draw_skyline(scene, stream(SKYLINE), crowded=rng.choose((95, 85, 70, 45, 15)))
        below = horizon + 1  # the lawn hides the feet of the skyline
        scene.colors.paste(Image.fromarray(colors[below:]), (0, below))
        scene.mark.rectangle((0, below, width, height), fill=GRASS)
        scatter_flowers(scene, stream(FLOWERBEDS), street)
        mask = Image.new("L", (width, height - horizon))
        ImageDraw.Draw(mask).polygon([(x, y - horizon) for x, y in street.strip(-100, 100)], 255)
        asphalt = np.repeat(fade(road, mood, height - horizon)[:, None], width, axis=1)
        scene.colors.paste(Image.fromarray(asphalt), (0, horizon), mask)
        scene.mark.polygon(street.strip(-100, 100), fill=ROAD)
        paint_markings(scene, stream(MARKINGS), street, road)
        return scene, street

    def _paint_things(self, stream: Callable, scene: Scene, street: Street) -> list[int]:
        """All that stands on the ground, far to near: the classes of the things, in that order."""
        stage = place_houses(stream, street, self.houses) + place_trees(stream, street, self.trees)
        things = place_cars(stream, street, self.cars)
        things += place_people(stream, street, self.people, self.person_scale)
        things += place_lamps(stream, street, self.lamps, self.lamp_scale)
        things.sort(key=operator.itemgetter(0))
        for identity, (depth, _, draw, *where) in enumerate(things, FIRST_THING):
            stage.append((depth, draw, (*where[:4], identity, *where[4:])))
        for _, draw, how in sorted(stage, key=operator.itemgetter(0)):
            draw(scene, *how)
        return [kind for _, kind, *_ in things]

    def _render(
        self, stream: Callable[[int], RandomStream], scene: Scene, identities: np.ndarray, bits
    ) -> np.ndarray:
        """Texture, light and noise turn the canvas into a photograph: (3, H, W) float32."""
        relief = np.full(identities.shape, 128, dtype=np.uint8)
        for surface, piece in self._textures(stream(TEXTURES), scene).items():
            first = len(relief) - len(piece)
            np.copyto(relief[first:], piece, where=identities[first:] == surface)
        relief = np.asarray(Image.fromarray(relief).reduce(2), dtype=np.float32)
        rng, (dark, bright), width = stream(LIGHT), self.light, self.size[1]
        level = dark + (bright - dark) * rng.between(0, 1000) / 1000
        slope = scene.sun * rng.between(0, 20) / 100 / width  # brighter where the sun stands
        ramp = 1 + slope * (np.arange(width, dtype=np.float32) - width / 2)
        factor = (1 + self.texture / 128 * (relief - 128)) * (ramp * (level / 255))
        factor = factor.astype(np.float32)
        sky = identities[::2, ::2] == SKY
        image = np.asarray(scene.colors.reduce(2)).transpose(2, 0, 1).astype(np.float32, order="C")
        for plane, percent in zip(image, scene.mood.light, strict=True):
            plane *= np.where(sky, factor, factor * np.float32(percent / 100))
        if self.noise:
            grain = bits.random_raw(-(-image.size // 2)).astype("<u8").view(np.uint8)
            one, two, three, four = grain[: 4 * image.size].reshape(4, *image.shape)
            total = np.add(
                one, two, dtype=np.int16
            )  # of four bytes: nearly a bell, deviation 147.8
            total += three
            total += four
            image += (total - np.int16(510)) * np.float32(self.noise / 147.8)
        return np.clip(image, 0, 1, out=image)

    def _textures(self, rng: RandomStream, scene: Scene) -> dict[int, np.ndarray]:
        """A piece of photograph for every surface that has one: {surface: (rows, width) uint8}."""
        width, height = scene.colors.size

        def on_ground(name: str, contrast: int, *fineness: int) -> np.ndarray:
            variant, mirrored = rng.between(0, 7), rng.chance(50)
            piece = lying(
                name, contrast, rng.choose(fineness) * 192 // height, variant, height, width
            )
            start = width - scene.vanishing  # so that the pattern meets the road's vanishing point
            piece = piece[: height - scene.horizon, :: -1 if mirrored else 1]
            return piece[:, start : start + width]

        def on_wall(name: str, contrast: int, *sides: int) -> np.ndarray:
            side = max(8, rng.choose(sides) * height // 192)
            y, x = rng.between(0, height), rng.between(0, width)
            return upright(name, contrast, side, height, width)[y : y + height, x : x + width]

        cobbled = rng.chance(22)
        return {
            ROAD: on_ground("brick", 70, 130) if cobbled else on_ground("gravel", 45, 120, 200),
            GRASS: on_ground("grass", 60, 100, 160),
            BRICK: on_wall("brick", 55, 56, 72, 96),
            PLASTER: on_wall("gravel", 28, 64, 96, 128),
            LEAVES: on_wall("grass", 80, 128, 176, 256),
        }

    def _label(self, image: np.ndarray, identities: np.ndarray, kinds: list[int]) -> Sample:
        """Identities become classes and objects 1, 2, ... from far to near, of those in sight."""
        classes, numbers = np.zeros((2, 256), dtype=np.int64)
        classes[:FIRST_THING] = _CLASS_OF_SURFACE
        classes[FIRST_THING : FIRST_THING + len(kinds)] = kinds
        in_sight = np.flatnonzero(np.bincount(identities.ravel(), minlength=256)[FIRST_THING:])
        numbers[FIRST_THING + in_sight] = np.arange(1, len(in_sight) + 1)
        semantic, instance = classes[identities], numbers[identities]
        if self.void:
            border = maximum_filter(instance, size=2 * self.void + 1) > instance
            semantic[border], instance[border] = IGNORE, 0
        return Sample(*(torch.from_numpy(part) for part in (image, semantic, instance)))


def _integer(name: str, value: int, low: int, high: int) -> int:
    """An argument that must be an integer from ``low`` to ``high``."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, but is {value!r}: pass one from {low} up.")
    value = operator.index(value)
    if not low <= value <= high:
        raise ValueError(f"{name} must lie from {low} to {high}, but is {value}: choose one there.")
    return value


def _real(name: str, value: float, low: float, high: float) -> float:
    """An argument that must be a number from ``low`` to ``high``."""
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
        raise TypeError(
            f"{name} must be a number, but is {value!r}: pass one from {low} to {high}."
        )
    if not low <= float(value) <= high:
        raise ValueError(f"{name} must lie from {low} to {high}, but is {value}: choose one there.")
    return float(value)


def _pair(
    name: str, value: tuple, kind: Callable, low: int, high: int, ordered: bool = True
) -> tuple:
    """An argument that must be two numbers from ``low`` to ``high``, the smaller one first."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(
            f"{name} must be a pair, but is {value!r}: pass two numbers, such as (1, 4)."
        )
    first, second = (kind(f"{name}[{k}]", part, low, high) for k, part in enumerate(value))
    if ordered and first > second:
        raise ValueError(f"{name} must be (fewest, most), but is {value}: swap them.")
    return first, second
