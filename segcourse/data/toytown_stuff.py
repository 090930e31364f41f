"""The stuff of Toytown that stands upright: buildings, the skyline, trees."""

from itertools import pairwise

from segcourse.data.toytown_canvas import (
    BARK,
    BRICK,
    GRASS,
    LEAVES,
    PLASTER,
    Color,
    RandomStream,
    Scene,
    mix,
    outline,
    shade,
)

_WALLS = (
    (176, 92, 70), (214, 190, 150), (150, 150, 152), (150, 78, 62), (226, 214, 190),
    (196, 140, 98), (118, 122, 130), (186, 182, 176), (104, 140, 150), (202, 158, 160),
    (222, 178, 96), (92, 100, 122), (170, 160, 150),
)  # fmt: skip
_ROOFS = ((140, 62, 48), (92, 66, 60), (74, 78, 88), (120, 88, 64), (66, 90, 84))
_PANES = ((58, 74, 98), (86, 110, 134), (40, 46, 58))
CROWNS = ((70, 122, 54), (54, 104, 58), (92, 134, 58), (104, 128, 70), (62, 98, 74), (128, 130, 56))
AUTUMN = ((196, 122, 48), (178, 82, 46), (206, 164, 62), (70, 122, 54))
LAWNS = (
    (96, 142, 62),
    (82, 128, 70),
    (124, 146, 66),
    (110, 134, 58),
    (96, 124, 84),
    (150, 146, 82),
)


def draw_building(
    scene: Scene, rng: RandomStream, left: int, right: int, depth: int, tall: int
) -> None:
    """A block of flats, a tower or a house, its front towards us; near ones show a side as well."""
    foot, top, width = scene.horizon + depth, scene.horizon + depth - tall, right - left
    surface, plain = rng.vary((BRICK, PLASTER)), rng.tint(rng.vary(_WALLS))
    wall, dark = scene.haze(plain, depth + 8), scene.haze(shade(plain, 72), depth + 8)
    glass = scene.haze(rng.tint(rng.vary(_PANES)), depth + 8)
    lit = (255, 220, 130) if rng.chance(scene.mood.lit + 6) else None
    cell = max(6, min(width // rng.between(2, 4), tall // 3, 10 + depth // 3))
    edge = right if right < scene.vanishing else left
    if depth > 6 and not left <= scene.vanishing <= right:  # the side towards the vanishing point
        part = rng.between(25, 50)
        far, far_top, far_foot = (
            near + (end - near) * part // 100
            for near, end in ((edge, scene.vanishing), (top, scene.horizon), (foot, scene.horizon))
        )
        side = wall if (far - edge) * scene.sun < 0 else dark
        scene.polygon(((edge, top), (far, far_top), (far, far_foot), (edge, foot)), side, surface)
        corners = ((edge, top, foot), (far, far_top, far_foot))
        _draw_windows(scene, rng, corners, max(4, cell * 2 // 3), side, glass, lit)
    scene.rectangle(left, top, right, foot, wall, surface)
    _draw_windows(scene, rng, ((left, top, foot), (right, top, foot)), cell, wall, glass, lit)
    _draw_roof(scene, rng, (left, top, right, foot), dark, surface, depth)


def _draw_windows(
    scene: Scene,
    rng: RandomStream,
    corners: tuple[tuple[int, int, int], tuple[int, int, int]],
    cell: int,
    wall: Color,
    glass: Color,
    lit: Color | None,
) -> None:
    """A grid of windows about ``cell`` apart: stripes of glass, then the wall between them.

    ``corners`` are (column, top, foot) of the two upright edges of the wall.
    """
    (x0, top0, foot0), (x1, top1, foot1) = corners
    columns, floors = abs(x1 - x0) // cell, max(foot0 - top0, foot1 - top1) // (cell * 5 // 4)
    if columns < 1 or floors < 1:
        return

    def pane(u0: int, v0: int, u1: int, v1: int, color: Color) -> None:  # in 1/1024 of the wall
        points = []
        for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1)):
            top, foot = top0 + (top1 - top0) * u // 1024, foot0 + (foot1 - foot0) * u // 1024
            points.append((x0 + (x1 - x0) * u // 1024, top + (foot - top) * v // 1024))
        if top0 == top1 and foot0 == foot1:
            scene.paint.rectangle((*points[0], *points[2]), fill=color)  # quicker
        else:
            scene.paint.polygon(points, fill=color)

    gap = 340 // columns
    for floor in range(floors):
        v = 1024 * floor
        pane(gap, (v + 300) // floors, 1024 - gap, (v + 840) // floors, glass)
    for column in range(1, columns):
        pane(1024 * column // columns - gap, 0, 1024 * column // columns + gap, 1024, wall)
    for _ in range(1 + columns * floors // 4 if lit else 0):
        u, v = 1024 * rng.between(0, columns - 1), 1024 * rng.between(0, floors - 1)
        left, right = u // columns + gap, (u + 1024) // columns - gap
        pane(left, (v + 300) // floors, right, (v + 840) // floors, lit)


def _draw_roof(
    scene: Scene,
    rng: RandomStream,
    front: tuple[int, int, int, int],
    dark: Color,
    surface: int,
    depth: int,
) -> None:
    """A gable with a chimney and a door for a house, a ledge or a lift shaft for higher ones."""
    left, top, right, foot = front
    width, tall, style = right - left, foot - top, rng.between(0, 9)
    tile = scene.haze(rng.tint(rng.vary(_ROOFS)), depth + 8)
    if tall < width * 3 // 2 and style < 6:
        rise, over, inset = max(3, width // 4), max(1, width // 20), width // rng.choose((2, 4, 8))
        if rng.chance(50):
            x = left + width * rng.between(15, 75) // 100
            scene.rectangle(x, top - rise, x + max(2, width // 12), top - 1, dark, surface)
        ridge = top - rise
        gable = (
            (left - over, top),
            (left + inset, ridge),
            (right - inset, ridge),
            (right + over, top),
        )
        scene.polygon(gable, tile, PLASTER)
        door, x = max(2, width // 12), left + width * rng.between(20, 70) // 100
        scene.rectangle(x, max(top, foot - 2 * door), x + door, foot, tile, surface)
    elif style < 8:
        scene.rectangle(left - 1, top - 1, right + 1, top + max(1, tall // 40), dark, surface)
    elif tall > width:
        x = (left + right) // 2
        scene.rectangle(x - width // 5, top - width // 6, x + width // 5, top, dark, surface)


def draw_skyline(scene: Scene, rng: RandomStream, crowded: int) -> None:
    """Hills, a wood and a row of buildings along the horizon."""
    horizon, (width, height) = scene.horizon, scene.colors.size
    if rng.chance(25):
        green = mix(rng.tint(rng.vary(LAWNS)), scene.mood.low, rng.between(35, 60))
        ends = [
            (x * width // 6, horizon - height * rng.between(1, 13) // 100) for x in range(-1, 8)
        ]
        ridge = []
        for (x0, y0), (x1, y1) in pairwise(ends):  # corners are cut, as Chaikin did
            ridge += [
                ((3 * x0 + x1) // 4, (3 * y0 + y1) // 4),
                ((x0 + 3 * x1) // 4, (y0 + 3 * y1) // 4),
            ]
        scene.polygon([(-width, horizon), *ridge, (2 * width, horizon)], green, GRASS)
    if rng.chance(45):
        green = mix(rng.tint(rng.vary(CROWNS)), scene.mood.low, rng.between(20, 40))
        x, step = -8, max(3, height // 24)
        while x < width + step:
            size = step * rng.between(80, 180) // 100
            scene.disc(x, horizon - size // 4, size, shade(green, rng.between(88, 108)), LEAVES)
            x += size + step // 3
    tallest = height * rng.choose((14, 22, 32)) // 100
    x = -rng.between(0, height // 8)
    while x < width:
        wide, tall = height * rng.between(6, 20) // 100, tallest * rng.between(30, 100) // 100
        if rng.chance(crowded):
            draw_building(scene, rng, x, x + wide, rng.between(1, 5), max(6, tall))
        x += wide + (rng.between(0, height // 12) if rng.chance(40) else 1)


def draw_tree(scene: Scene, rng: RandomStream, x: int, depth: int, color: Color) -> None:
    """A round tree, a poplar, a conifer or a bush: bark, and leaves that are lighter to the sun."""
    foot, tall, sun = scene.horizon + depth, (depth + 6) * rng.between(100, 180) // 100, scene.sun
    leaf, bark = scene.haze(shade(color, 88), depth), scene.haze(rng.tint((92, 70, 54)), depth)
    dark, bright = shade(leaf, 76), shade(mix(leaf, (255, 250, 160), 12), 114)
    kind = rng.choose(("conifer", "poplar", "bush", "round", "round", "round", "round", "conifer"))
    scene.shadow(x, foot, tall // 3, 45)
    if kind == "conifer":
        half = tall // 40 + 1
        scene.rectangle(x - half, foot - tall // 5, x + half, foot, bark, BARK)
        for layer in range(4):
            low, wide = 12 + 20 * layer, 27 - 5 * layer
            skirt = ((-wide, low), (0, low + 38), (wide, low))
            scene.polygon(outline(skirt, x, foot, tall), dark, LEAVES)
            lighter = ((0, low), (0, low + 38), (wide, low))
            scene.paint.polygon(outline(lighter, x, foot, tall, sun), fill=leaf)
        return
    if kind == "bush":
        tall = tall * 2 // 5
        crown = [(rng.between(-45, 45), rng.between(20, 55), rng.between(22, 34)) for _ in range(6)]
    elif kind == "poplar":
        crown = [(rng.between(-6, 6), 30 + 11 * k, 19 - abs(k - 2) * 2) for k in range(6)]
    else:
        crown = [(rng.between(-24, 24), rng.between(52, 84), rng.between(16, 25)) for _ in range(8)]
        crown.append((0, 68, 26))
    if kind != "bush":
        trunk = ((-5, 0), (-3, 60), (3, 60), (5, 0))
        scene.polygon(outline(trunk, x, foot, tall), bark, BARK)
    blobs = [
        (x + u * tall // 100, foot - v * tall // 100, max(2, r * tall // 100)) for u, v, r in crown
    ]
    for u, v, r in blobs:
        scene.disc(u, v, r, dark, LEAVES)
    for u, v, r in blobs:
        scene.spot(u + sun * r // 5, v - r // 5, r * 3 // 4, leaf)
    for u, v, r in blobs[::2]:
        scene.spot(u + sun * r // 3, v - r // 3, r * 2 // 5, bright)
