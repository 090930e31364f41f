"""The things of Toytown: cars, people and lamps, each drawn with the number of its object."""

from segcourse.data.toytown_canvas import Color, Points, RandomStream, Scene, mix, outline, shade

CAR, PERSON, LAMP = 5, 6, 7  # their classes

_PAINTS = (  # cars are mostly blue, green, grey or white ...
    (40, 86, 168), (228, 230, 232), (196, 44, 44), (48, 50, 56), (160, 166, 176), (30, 112, 104),
    (104, 176, 204), (70, 62, 140), (26, 66, 128), (88, 142, 196), (128, 150, 170), (226, 122, 50),
)  # fmt: skip
_CLOTHES = (  # ... and clothes warm, but there are red cars and blue shirts
    (214, 48, 56), (244, 196, 56), (232, 120, 50), (226, 104, 160), (240, 236, 226), (196, 60, 120),
    (248, 160, 60), (46, 92, 180), (236, 90, 84), (170, 66, 150),
)  # fmt: skip
_TROUSERS = ((40, 44, 84), (46, 46, 52), (74, 60, 52), (58, 66, 112), (92, 50, 56))
_SKINS = ((244, 208, 180), (226, 178, 142), (186, 132, 96), (140, 94, 66), (94, 62, 46))
_HAIRS = ((44, 34, 30), (92, 62, 40), (160, 112, 60), (214, 184, 120), (150, 146, 144))
_POLES = ((48, 52, 56), (38, 58, 50), (66, 58, 50), (92, 96, 100))
_BODIES = (  # a car seen from the side, then its panes; per cent of its length, facing right
    (((-50, 8), (-50, 24), (-44, 27), (-32, 40), (6, 40), (22, 27), (44, 24), (50, 18), (50, 8)),
     ((-38, 27), (-30, 37), (-14, 37), (-14, 27)),
     ((-11, 27), (-11, 37), (4, 37), (16, 27))),  # saloon
    (((-50, 8), (-50, 30), (-44, 42), (8, 42), (24, 28), (46, 24), (50, 17), (50, 8)),
     ((-44, 29), (-40, 39), (-16, 39), (-16, 29)),
     ((-13, 29), (-13, 39), (6, 39), (18, 29))),  # estate
    (((-50, 8), (-50, 50), (-46, 54), (26, 54), (40, 34), (48, 30), (50, 22), (50, 8)),
     ((-44, 36), (-44, 49), (-14, 49), (-14, 36)),
     ((-10, 36), (-10, 49), (24, 49), (34, 36))),  # van
    (((-46, 8), (-50, 20), (-42, 32), (-24, 43), (2, 43), (20, 30), (38, 27), (48, 18), (48, 8)),
     ((-34, 30), (-22, 39), (-8, 39), (-8, 30)),
     ((-5, 30), (-5, 39), (2, 39), (13, 30))),  # beetle
)  # fmt: skip


def draw_car(scene: Scene, rng: RandomStream, x: int, depth: int, size: int, identity: int) -> None:
    """A car of length ``size``, seen from the side, from behind or from the front."""
    color = scene.haze(rng.tint(rng.vary(_PAINTS)), depth + 10)
    glass = scene.haze(mix((46, 58, 76), scene.mood.low, 30), depth)
    draw = rng.choose((_draw_car_side, _draw_car_side, _draw_car_end))
    draw(scene, rng, x, scene.horizon + depth, size, identity, color, glass)


def _draw_car_side(
    scene: Scene,
    rng: RandomStream,
    x: int,
    foot: int,
    size: int,
    identity: int,
    color: Color,
    glass: Color,
) -> None:
    """Body, windows, two wheels, lights."""
    facing, (body, *panes) = rng.choose((-1, 1)), rng.choose(_BODIES)
    scene.shadow(x, foot, size * 54 // 100, 70)
    scene.polygon(outline(body, x, foot, size, facing), color, identity)
    sill = outline(((-50, 8), (-50, 14), (50, 14), (50, 8)), x, foot, size, facing)
    scene.paint.polygon(sill, fill=shade(color, 72))
    for pane in panes:
        scene.paint.polygon(outline(pane, x, foot, size, facing), fill=glass)
    for u, v in outline(((-28, 9), (29, 9)), x, foot, size, facing):
        scene.disc(u, v, max(2, size // 10), (28, 28, 32), identity)
        scene.spot(u, v, max(1, size // 20), (170, 172, 176))
    front, back = outline(((46, 20), (-47, 20)), x, foot, size, facing)
    scene.spot(*front, max(1, size // 28), (255, 240, 180))
    scene.spot(*back, max(1, size // 28), (220, 40, 40))


def _draw_car_end(
    scene: Scene,
    rng: RandomStream,
    x: int,
    foot: int,
    size: int,
    identity: int,
    color: Color,
    glass: Color,
) -> None:
    """Wheels, body, a window, two lights, a number plate or a grille."""
    wide, roof = size * 6 // 10, rng.choose((76, 82, 100))
    tail, plate = rng.choose((((216, 36, 36), (236, 232, 210)), ((255, 246, 206), (50, 52, 58))))

    def quad(x0: int, y0: int, x1: int, y1: int, lean: int = 0) -> Points:
        return outline(((x0, y0), (x0 + lean, y1), (x1 - lean, y1), (x1, y0)), x, foot, wide)

    scene.shadow(x, foot, wide * 58 // 100, 70)
    scene.polygon(quad(-46, 0, -30, 18), (28, 28, 32), identity)
    scene.polygon(quad(30, 0, 46, 18), (28, 28, 32), identity)
    scene.polygon(quad(-50, 10, 50, 48), color, identity)
    scene.polygon(quad(-46, 48, 46, roof, lean=12), color, identity)
    scene.paint.polygon(quad(-50, 10, 50, 18), fill=shade(color, 66))
    scene.paint.polygon(quad(-38, 50, 38, roof - 6, lean=9), fill=glass)
    scene.paint.polygon(quad(-46, 30, -32, 40), fill=tail)
    scene.paint.polygon(quad(32, 30, 46, 40), fill=tail)
    scene.paint.polygon(quad(-14, 24, 14, 32), fill=plate)


def draw_person(
    scene: Scene, rng: RandomStream, x: int, depth: int, size: int, identity: int
) -> None:
    """A head with hair, a shirt or a coat with arms, and legs in a stride."""
    foot, facing, stride = scene.horizon + depth, rng.choose((-1, 1)), rng.choose((3, 7, 11))
    top, legs, skin, hair = (
        scene.haze(rng.tint(rng.choose(colors)), depth + 10)
        for colors in (_CLOTHES, _TROUSERS, _SKINS, _HAIRS)
    )
    hem, swing = rng.choose((44, 44, 30, 24)), rng.between(-5, 5)
    scene.shadow(x, foot, size // 5, 40)
    for points, color in (
        (((-10, 48), (-stride - 7, 0), (-stride + 4, 0), (2, 46)), shade(legs, 82)),
        (((-2, 48), (stride - 4, 0), (stride + 7, 0), (10, 48)), legs),
        (((-15, 80), (-20 - swing, 48), (-14 - swing, 48), (-10, 78)), shade(top, 80)),
        (((-13, 80), (-13, hem), (13, hem), (13, 80), (7, 84), (-7, 84)), top),
        (((10, 78), (14 + swing, 48), (20 + swing, 48), (15, 80)), shade(top, 86)),
        (((-4, 82), (-4, 88), (4, 88), (4, 82)), skin),
    ):
        scene.polygon(outline(points, x, foot, size, facing), color, identity)
    ((head_x, head_y),) = outline(((0, 91),), x, foot, size)
    radius = max(2, size * 10 // 100)
    scene.disc(head_x, head_y, radius, hair, identity)
    scene.spot(head_x + facing * radius // 4, head_y + radius // 3, radius * 3 // 4, skin)


def draw_lamp(
    scene: Scene, rng: RandomStream, x: int, depth: int, size: int, identity: int, road: int
) -> None:
    """A street lamp: a thin pole, an arm towards the road, and a head that shines after sunset."""
    foot, top = scene.horizon + depth, scene.horizon + depth - size
    pole = scene.haze(rng.tint(rng.vary(_POLES)), depth + 14)
    half, head, glows = max(1, size // 30), max(2, size // 20), scene.mood.lit >= 30
    shine = (255, 236, 170) if glows else (232, 232, 220)
    style = rng.choose(("arm", "arm", "two arms", "lantern"))
    x = (x - half) // 2 * 2 + half  # whole pixels: a pole one pixel wide is not two grey ones
    scene.rectangle(x - half, top, x + half - 1, foot, pole, identity)
    scene.rectangle(x - 2 * half, foot - size // 14, x + 2 * half - 1, foot, pole, identity)
    if style == "lantern":
        wide, high = 3 * head // 2, top - 3 * head
        box = ((x - head, top), (x - wide, high), (x + wide, high), (x + head, top))
        scene.polygon(box, shine, identity)
        hat = ((x - wide - 2, high), (x, high - head), (x + wide + 2, high))
        scene.polygon(hat, pole, identity)
        heads = [(x, top - 2 * head)]
    else:
        y, reach = top - size // 24, size // 5
        heads = [
            (x + side * reach, y) for side in ((road, -road) if style == "two arms" else (road,))
        ]
    for u, v in heads if style != "lantern" else ():
        arm = ((x, top + half), (u, v), (u, v - 2 * half + 1), (x, top - half))
        scene.polygon(arm, pole, identity)
        hood = (
            (u - 2 * head, v + head),
            (u - head, v - head),
            (u + head, v - head),
            (u + 2 * head, v + head),
        )
        scene.polygon(hood, pole, identity)
        scene.rectangle(
            u - 3 * head // 2, v + head // 2, u + 3 * head // 2, v + head, shine, identity
        )
    for u, v in heads if glows else ():
        scene.spot(u, v, 5 * head, (255, 226, 150, 34))
        scene.spot(u, v, 3 * head, (255, 226, 150, 40))
