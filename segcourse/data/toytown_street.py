"""The street of Toytown: its course, what is painted on it, and what stands where beside it."""

from collections.abc import Callable

from segcourse.data.toytown_canvas import ROAD, Color, RandomStream, Scene, mix
from segcourse.data.toytown_stuff import AUTUMN, CROWNS, draw_building, draw_tree
from segcourse.data.toytown_things import CAR, LAMP, PERSON, draw_car, draw_lamp, draw_person

_FLOWERS = ((240, 240, 230), (240, 210, 70), (220, 90, 90), (190, 120, 200))

# Every part of a scene has its own stream of random words, so that no knob disturbs another part.
LAYOUT, SKIES, SKYLINE, MARKINGS, FLOWERBEDS, TEXTURES, LIGHT, COUNTS = 0, 1, 2, 12, 13, 15, 16, 17
WORDS, MAX_THINGS = 40, 24  # words in a stream, streams for each kind of thing
HOUSES, TREES, CARS, PEOPLE, LAMPS, STREAMS = range(
    COUNTS + 6, COUNTS + 7 + 5 * MAX_THINGS, MAX_THINGS
)


class Street:
    """A road from the bottom of the picture to its vanishing point; it may bend."""

    def __init__(self, rng: RandomStream, horizon: int, height: int, width: int):
        self.horizon, self.reach = horizon, height - horizon
        self.vanishing = width // 2 + rng.between(-width // 5, width // 5)
        self.foot = width // 2 + rng.between(-width // 4, width // 4)
        self.half = height * rng.between(36, 62) // 100
        self.bend = rng.between(-width // 4, width // 4) * rng.between(0, 1)

    def x(self, depth: int, across: int) -> int:
        """The column ``across`` % of the half width from the middle, ``depth`` rows down."""
        part = depth * 1024 // self.reach
        middle = self.vanishing * (1024 - part) + self.foot * part
        middle += self.bend * part * (1024 - part) // 1024
        return (middle + self.half * across // 100 * part) // 1024

    def strip(self, left: int, right: int, far: int = 0, near: int | None = None) -> list:
        """The outline of what lies between two lines along the road, and between two depths."""
        near = self.reach if near is None else near
        steps = range(9) if near - far > 12 else (0, 8)
        depths = [far + (near - far) * step * step // 64 for step in steps]
        down = [(self.x(depth, left), self.horizon + depth) for depth in depths]
        return down + [(self.x(depth, right), self.horizon + depth) for depth in reversed(depths)]


def scatter_flowers(scene: Scene, rng: RandomStream, street: Street) -> None:
    """Dots of colour in the grass, in some scenes."""
    if not rng.chance(40):
        return
    color = rng.vary(_FLOWERS)
    for _ in range(30):
        depth = street.reach * rng.between(10, 100) // 100
        x, y = rng.between(0, scene.colors.width), street.horizon + depth
        half = depth // 60
        scene.paint.rectangle((x, y, x + half, y + half), fill=scene.haze(color, depth))


def paint_markings(scene: Scene, rng: RandomStream, street: Street, road: Color) -> None:
    """Pavements, lines at the sides, a broken one in the middle, perhaps a crossing."""
    reach, white = street.reach, mix(rng.vary(((236, 234, 226), (238, 200, 84))), road, 15)
    if rng.chance(65):
        stone = mix(road, rng.vary(((216, 208, 196), (190, 150, 128))), 35)
        edge, kerb = rng.between(118, 136), mix(road, (220, 216, 206), 50)
        for side in (-1, 1):
            scene.polygon(street.strip(side * 98, side * edge), stone, ROAD)
            scene.polygon(street.strip(side * 97, side * 103), kerb, ROAD)
    if rng.chance(75):
        scene.paint.polygon(street.strip(-92, -88), fill=white)
        scene.paint.polygon(street.strip(88, 92), fill=white)
    dash = rng.between(3, 5)
    for k in range(rng.between(0, dash), 120, 2 * dash):  # equally long on the ground
        near, far = reach * 16 // (16 + k), reach * 16 // (16 + k + dash)
        if near > reach // 8 and far < near:
            scene.paint.polygon(street.strip(-3, 3, far, near), fill=white)
    if rng.chance(15):
        near = reach * rng.between(45, 90) // 100
        for k in range(-80, 80, 20):
            scene.paint.polygon(street.strip(k, k + 11, near * 5 // 6, near), fill=white)


def place_houses(
    stream: Callable[[int], RandomStream], street: Street, count: tuple[int, int]
) -> list:
    """Houses along the road, by turns on the left and on the right: [(depth, draw, how)]."""
    stage = []
    for k in range(stream(COUNTS).between(*count)):
        rng, side = stream(HOUSES + k), 2 * (k % 2) - 1
        depth = street.reach * rng.between(9, 30) // 100
        wide = (depth + 6) * rng.between(90, 190) // 100 + 2
        inner = street.x(depth, side * rng.between(150, 260))
        left, right = (inner - wide, inner) if side < 0 else (inner, inner + wide)
        tall = (depth + 10) * rng.between(110, 300) // 100
        stage.append((depth, draw_building, (rng, left, right, depth, tall)))
    return stage


def place_trees(
    stream: Callable[[int], RandomStream], street: Street, count: tuple[int, int]
) -> list:
    """Trees on the lawn, in the colours of one season: [(depth, draw, how)]."""
    stage, crowns = [], stream(COUNTS + 1).vary((CROWNS, CROWNS, CROWNS, CROWNS, AUTUMN))
    for k in range(stream(COUNTS + 2).between(*count)):
        rng = stream(TREES + k)
        depth, side = street.reach * rng.between(12, 62) // 100, rng.choose((-1, 1))
        x, color = street.x(depth, side * rng.between(130, 420)), rng.tint(rng.vary(crowns))
        stage.append((depth, draw_tree, (rng, x, depth, color)))
    return stage


def place_cars(
    stream: Callable[[int], RandomStream], street: Street, count: tuple[int, int]
) -> list:
    """Cars in both lanes or across, some behind another: [(depth, class, draw, how ...)]."""
    things, depth, x = [], 0, 0
    for k in range(stream(COUNTS + 3).between(*count)):
        rng = stream(CARS + k)
        if k and rng.chance(30):  # it touches the one before
            depth = depth * rng.between(88, 97) // 100
            x += rng.choose((-1, 1)) * depth * rng.between(45, 95) // 100
        else:
            share = 16 + rng.between(0, 74) * rng.between(25, 100) // 100
            depth = street.reach * share // 100
            lane = rng.choose((-1, 1)) * rng.between(30, 62)
            x = street.x(depth, rng.between(-180, 180) if rng.chance(15) else lane)
        size = depth * rng.between(110, 132) // 100 + 5
        things.append((depth, CAR, draw_car, rng, x, depth, size))
    return things


def place_people(
    stream: Callable[[int], RandomStream], street: Street, count: tuple[int, int], scale: float
) -> list:
    """People on the road and beside it, some of them together: [(depth, class, draw, how ...)]."""
    things, depth, x = [], 0, 0
    for k in range(stream(COUNTS + 4).between(*count)):
        rng = stream(PEOPLE + k)
        if k and rng.chance(35):
            depth = depth * rng.between(96, 104) // 100
            x += rng.choose((-1, 1)) * depth * rng.between(20, 30) // 100
        else:
            depth = street.reach * rng.between(30, 88) // 100
            x = street.x(depth, rng.choose((-1, 1)) * rng.between(20, 190))
        size = max(4, round(depth * rng.between(56, 72) * scale) // 100)
        things.append((depth, PERSON, draw_person, rng, x, depth, size))
    return things


def place_lamps(
    stream: Callable[[int], RandomStream], street: Street, count: tuple[int, int], scale: float
) -> list:
    """Lamps on both sides of the road, their arms above it: [(depth, class, draw, how ...)]."""
    things = []
    for k in range(stream(COUNTS + 5).between(*count)):
        rng = stream(LAMPS + k)
        depth, side = street.reach * rng.between(32, 72) // 100, rng.choose((-1, 1))
        size = max(6, round(depth * rng.between(110, 140) * scale) // 100)
        x = street.x(depth, side * rng.between(106, 150))
        things.append((depth, LAMP, draw_lamp, rng, x, depth, size, -side))
    return things
