"""What Toytown is drawn with: random streams, colours, and a canvas with labels.

Every outline has integer corners and is drawn twice: its colour on one picture, its identity on
another. Nothing here rounds a sine or a square root, so that scenes are equal on every machine.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[int, int, int]
Points = Sequence[tuple[int, int]]

# What the picture of identities holds: surfaces first, then one number for every thing.
SKY, BRICK, PLASTER, ROAD, GRASS, LEAVES, BARK, FIRST_THING = range(8)


class RandomStream:
    """Integers from the raw words of a bit generator, whose values NumPy promises never to change.

    ``variety`` says how far choices and colours go: 0 always takes the first, plain one.
    """

    def __init__(self, words: Sequence[int], start: int, variety: float):
        self.words, self.next, self.variety = words, start, variety

    def between(self, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``, both included."""
        word = self.words[self.next % len(self.words)]
        self.next += 1
        return low + (word * (high - low + 1) >> 64)

    def chance(self, percent: int) -> bool:
        return self.between(0, 99) < percent

    def choose(self, options: Sequence):
        return options[self.between(0, len(options) - 1)]

    def vary(self, options: Sequence):
        """One of the first options: of few where there is little variety."""
        return options[self.between(0, max(round(min(self.variety, 1) * len(options)), 1) - 1)]

    def tint(self, color: Color, percent: int = 100) -> Color:
        """A colour nearby: brighter or darker as a whole, and a little in every channel."""
        spread = round(14 * self.variety) * percent // 100
        shift = self.between(-spread, spread)
        red, green, blue = (
            min(255, max(0, part + shift + self.between(-spread, spread) // 2)) for part in color
        )
        return red, green, blue


def mix(color: Color, other: Color, percent: int) -> Color:
    """``percent`` of the way from one colour to another."""
    (r, g, b), (s, h, c), rest = color, other, 100 - percent
    return (
        (r * rest + s * percent) // 100,
        (g * rest + h * percent) // 100,
        (b * rest + c * percent) // 100,
    )


def shade(color: Color, percent: int) -> Color:
    """A colour at ``percent`` of its brightness."""
    red, green, blue = (min(255, part * percent // 100) for part in color)
    return red, green, blue


def outline(points: Points, x: int, foot: int, size: int, facing: int = 1) -> Points:
    """Points in per cent of ``size``, y upwards from the foot, as points of the canvas."""
    return [
        (x + facing * ((u * size + 50) // 100), foot - (v * size + 50) // 100) for u, v in points
    ]


class Scene:
    """Two pictures of one scene at twice its size, and what its things need to know of it."""

    def __init__(self, colors: np.ndarray, horizon: int, vanishing: int, sun: int, mood):
        self.colors = Image.fromarray(colors)
        self.identities = Image.new("L", self.colors.size, SKY)
        self.paint = ImageDraw.Draw(self.colors, "RGBA")  # a fourth number is an opacity
        self.mark = ImageDraw.Draw(self.identities)
        self.horizon, self.vanishing = horizon, vanishing  # a row, a column
        self.sun, self.mood = sun, mood  # the sun stands on the left (-1) or on the right (1)

    def polygon(self, points: Points, color: Color, identity: int) -> None:
        self.paint.polygon(points, fill=color)
        self.mark.polygon(points, fill=identity)

    def rectangle(self, x0: int, y0: int, x1: int, y1: int, color: Color, identity: int) -> None:
        if x0 <= x1 and y0 <= y1:
            self.paint.rectangle((x0, y0, x1, y1), fill=color)
            self.mark.rectangle((x0, y0, x1, y1), fill=identity)

    def disc(self, x: int, y: int, radius: int, color: Color, identity: int) -> None:
        box = (x - radius, y - radius, x + radius, y + radius)
        self.paint.ellipse(box, fill=color)
        self.mark.ellipse(box, fill=identity)

    def spot(self, x: int, y: int, radius: int, color: Color) -> None:
        """A disc of colour that belongs to what it lies on."""
        self.paint.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)

    def shadow(self, x: int, foot: int, wide: int, opacity: int) -> None:
        tall = wide // 6
        box = (x - wide, foot - tall, x + wide, foot + tall)
        self.paint.ellipse(box, fill=(0, 0, 0, opacity))

    def haze(self, color: Color, depth: int) -> Color:
        """Distance turns a colour into that of the sky; ``depth`` counts rows below the horizon."""
        clear = self.colors.height // 13
        return mix(color, self.mood.low, 42 * clear // (depth + clear))
