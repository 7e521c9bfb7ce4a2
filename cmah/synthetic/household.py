"""Lamps, shelves, plants and guitars: each function draws parts and proportions from a `Style`."""

# ruff: noqa: PLR0912 - an object is a list of choices, and reads best in one piece

import itertools

import numpy as np

from cmah.synthetic.solids import Model, curve
from cmah.synthetic.style import GREENS, METALS, PALETTE, RUBBER, WOODS, Style


def lamp(style: Style) -> Model:
    """A floor, table or arm lamp with a shade like a cone, drum, ball, dome or stack of rings.

    Examples:
        >>> model = lamp(Style(np.random.default_rng(0)))
        >>> len(model.solids)  # foot, pole and shade
        3
    """
    model = Model()
    metal, shade = style.colour(METALS + WOODS), style.colour()
    height, foot = style.number(1.2, 3.0), style.number(0.3, 0.5)
    top = np.array([0.0, height, 0.0])
    base = style.pick(["disc", "tripod", "vase", "block"])
    if base == "disc":
        model.lathe([(0, 0), (foot, 0), (foot, 0.06), (0.05, 0.12), (0, 0.12)], metal)
    elif base == "tripod":
        for a in (0.3, 2.4, 4.5):
            end = (foot * 1.6 * np.cos(a), 0, foot * 1.6 * np.sin(a))
            model.rod(end, (0, height * 0.55, 0), 0.035, metal)
    elif base == "vase":
        belly = height * style.number(0.3, 0.45)
        profile = curve([(0, 0), (foot * 0.6, 0), (foot, belly * 0.5), (0.1, belly), (0.04, belly * 1.1)], 20)
        model.lathe([(abs(float(r)), float(y)) for r, y in profile], style.colour())
    else:
        model.box((0, 0.1, 0), (foot * 1.6, 0.2, foot * 1.6), metal)
    if style.chance(0.3):
        reach = style.number(0.4, 0.9)
        path = curve(
            [(0, 0.1, 0), (0, height * 0.8, 0), (reach * 0.5, height * 1.08, 0), (reach, height, 0)], 24
        )
        model.sweep(path, 0.035, metal)
        top = np.array([reach, height, 0.0])
    else:
        model.rod((0, 0.05, 0), (0, height, 0), style.number(0.025, 0.06), metal)
    r, h = style.number(0.35, 0.65), style.number(0.4, 0.8)
    kind = style.pick(["cone", "drum", "ball", "dome", "rings"])
    if kind == "ball":
        model.ball(top + np.array([0, r * 0.4, 0]), (r * 0.8, r * 0.8, r * 0.8), shade)
    elif kind == "rings":
        for i in range(style.count(3, 5)):
            ring = [(0.05, 0.0), (r * (1 - 0.16 * i), 0.0), (r * (1 - 0.16 * i), 0.08), (0.05, 0.08)]
            model.lathe(ring, shade, centre=top + np.array([0, 0.14 * i - 0.2, 0]))
    else:
        upper = {"cone": 0.35, "drum": 0.95, "dome": 0.0}[kind]
        if kind == "dome":
            angles = np.linspace(0, np.pi / 2, 9).tolist()
            outer = [(float(r * np.cos(t)), float(0.75 * h * np.sin(t))) for t in angles]
        else:
            outer = [(r, 0.0), (r * upper, h)]
        # inside and outside, so that the shade has a thickness
        inner = [(max(x - 0.02, 0.0), y) for x, y in reversed(outer)]
        model.lathe(outer + inner, shade, centre=top - np.array([0, h * 0.5, 0]))
    return model


def shelf(style: Style) -> Model:
    """Boards between sides or on a ladder frame, with books, boxes or drawers on some.

    Examples:
        >>> model = shelf(Style(np.random.default_rng(2)))
        >>> heights = [float(np.ptp(solid.vertices[:, 1])) for solid in model.solids]
        >>> sum(height < 0.1 for height in heights)  # boards, beside two sides, a divider and a back
        4
    """
    model = Model()
    wood, width = style.colour(WOODS + PALETTE[8:]), style.number(0.8, 2.0)
    height, depth, boards = style.number(1.1, 2.4), style.number(0.3, 0.5), style.count(3, 6)
    kind = style.pick(["sides", "posts", "ladder", "divided"])
    levels = np.linspace(0.06, height, boards)
    for level in levels:
        shrink = 1 - 0.4 * level / height if kind == "ladder" else 1.0
        model.box((0, level, -depth * (1 - shrink) / 2), (width, 0.05, depth * shrink), wood)
    for x in (-width / 2, width / 2):
        if kind in {"sides", "divided"}:
            model.box((x, height / 2, 0), (0.05, height + 0.05, depth), wood)
        elif kind == "posts":
            for z in (-depth / 2, depth / 2):
                model.rod((x, 0, z), (x, height + 0.1, z), 0.03, style.colour(METALS[:1]))
        else:
            model.rod((x, 0, depth / 2), (x, height + 0.05, -depth * 0.1), 0.035, wood)
            model.rod((x, 0, -depth / 2), (x, height + 0.05, -depth / 2), 0.035, wood)
    if kind == "divided":
        for i in range(style.count(1, 3)):
            model.box(((i - 0.5) * width / 3, height / 2, 0), (0.04, height, depth * 0.98), wood)
    if style.chance(0.5):
        model.box((0, height / 2, -depth / 2), (width, height, 0.02), style.colour(WOODS + PALETTE))
    for level, above in itertools.pairwise(levels):
        load, room = style.pick(["books", "books", "boxes", "nothing", "drawer"]), above - level
        x = -width / 2 + 0.05
        if load == "drawer" and kind != "ladder":
            model.box((0, level + room / 2, 0.02), (width * 0.94, room * 0.8, depth), style.colour(WOODS))
            model.ball((0, level + room / 2, depth / 2 + 0.04), (0.1, 0.02, 0.03), style.colour(METALS))
        while load in {"books", "boxes"} and x < width / 2 - 0.3:
            size = style.number(0.04, 0.1) if load == "books" else style.number(0.2, 0.35)
            tall = room * style.number(0.5, 0.85) if load == "books" else room * 0.45
            place = (x + size / 2, level + 0.025 + tall / 2, -depth * 0.1)
            model.box(place, (size * 0.95, tall, depth * 0.6), style.colour())
            x += size * (1.0 if load == "books" else 1.3)
            if style.chance(0.08):
                x += 0.2
    return model


def plant(style: Style) -> Model:
    """A potted palm, bush, cactus, conifer or round tree.

    Examples:
        >>> model = plant(Style(np.random.default_rng(20)))
        >>> len(model.solids)  # pot, cactus and its arm
        3
    """
    model = Model()
    leaf, pot = style.colour(GREENS), style.colour(((0.72, 0.38, 0.24), *PALETTE))
    radius, high = style.number(0.28, 0.5), style.number(0.35, 0.7)
    if style.chance(0.3):
        model.box((0, high / 2, 0), (radius * 2, high, radius * 2), pot, taper=style.number(0.9, 1.2))
    else:
        rim = radius * style.number(1.1, 1.4)
        model.lathe(
            [
                (0, 0),
                (radius, 0),
                (rim, high),
                (rim + 0.06, high),
                (rim + 0.06, high + 0.08),
                (0, high + 0.05),
            ],
            pot,
        )
    kind = style.pick(["palm", "bush", "cactus", "conifer", "tree"])
    tall = style.number(0.7, 1.7)
    if kind == "palm":
        for n in range(style.count(7, 12)):
            a, reach = 2.399 * n, style.number(0.5, 1.0)
            tip = (reach * np.cos(a), high + tall * style.number(0.3, 0.9), reach * np.sin(a))
            path = curve([(0, high, 0), (tip[0] * 0.5, high + tall, tip[2] * 0.5), tip], 10)
            model.sweep(
                path, np.array([0.03, 0.06, 0.1, 0.12, 0.12, 0.11, 0.1, 0.07, 0.04, 0.0]), leaf, sides=5
            )
    elif kind == "bush":
        for n in range(style.count(6, 12)):
            a, reach, size = 2.399 * n, style.number(0.1, 0.5), style.number(0.15, 0.32)
            centre = (reach * np.cos(a), high + style.number(0.2, tall), reach * np.sin(a))
            model.rod((0, high, 0), centre, 0.025, WOODS[1])
            model.ball(centre, (size, size, size), style.colour((leaf,)))
    elif kind == "cactus":
        width = style.number(0.15, 0.3)
        model.sweep(
            np.array([(0, high, 0), (0, high + tall * 0.9, 0), (0, high + tall, 0)]),
            [width, width, 0.02],
            leaf,
        )
        for n in range(style.count(0, 3)):
            side, y = (-1) ** n, high + tall * style.number(0.3, 0.6)
            arm = [(0, y, 0), (side * 0.5, y, 0), (side * 0.55, y + style.number(0.3, 0.7), 0)]
            model.sweep(curve(arm, 16), width * 0.5, leaf)
        if style.chance(0.5):
            model.ball((0, high + tall, 0), (0.12, 0.1, 0.12), style.colour(PALETTE[:3]))
    elif kind == "conifer":
        model.rod((0, high, 0), (0, high + 0.4, 0), 0.07, WOODS[1])
        n = style.count(3, 5)
        for i in range(n):
            size = 0.7 * (1 - i / (n + 1))
            y = high + 0.25 + i * tall / n
            model.lathe([(0, y), (size, y), (0.02, y + tall / n * 1.6)], leaf, sides=14)
    else:
        model.rod((0, high, 0), (0, high + tall, 0), style.number(0.04, 0.09), style.colour(WOODS[1:3]))
        size = style.number(0.4, 0.7)
        for i in range(style.count(1, 3)):
            s = size * (1 - 0.25 * i)
            model.ball((0, high + tall + size * 0.9 * i, 0), (s, s * style.number(0.7, 1.2), s), leaf)
    return model


def guitar(style: Style) -> Model:
    """Acoustic, electric, flying V or round-bodied, with neck, head, hole or pickups, and strings.

    Examples:
        >>> model = guitar(Style(np.random.default_rng(0)))
        >>> strings = model.solids[-4:]
        >>> [round(float(np.ptp(string.vertices[:, 1])), 2) for string in strings]  # their lengths
        [2.57, 2.57, 2.57, 2.57]
    """
    model = Model()
    body, neck = style.colour((*WOODS, *PALETTE)), style.colour(WOODS[1:3])
    kind = style.pick(["acoustic", "electric", "vee", "round"])
    long = style.number(1.1, 1.5)
    lower, waist, upper = style.number(0.5, 0.65), style.number(0.3, 0.4), style.number(0.36, 0.5)
    thick = {"acoustic": style.number(0.22, 0.36), "round": 0.25}.get(kind, 0.14)
    if kind == "vee":
        side = [(0.14, long * 0.9), (lower * 1.1, -0.1), (lower * 0.7, -0.25)]
        outline = np.array([*side, (0, long * 0.3), *((-x, y) for x, y in reversed(side))])
        # in two halves, as the whole outline is not star-shaped about its mean
        half = np.array([(0, long * 0.9), *side, (0, long * 0.3)])
        model.plate(half, thick, body)
        model.plate(half * [-1, 1], thick, body)
    elif kind == "round":
        a = np.linspace(0, 2 * np.pi, 36, endpoint=False)
        outline = np.stack([np.cos(a) * lower, np.sin(a) * lower + long / 2], axis=1)
        model.plate(outline, thick, body)
        model.plate(outline * 0.86 + [0, long * 0.07], thick + 0.02, style.colour(((0.93, 0.9, 0.82),)))
    else:
        horn = style.number(0.0, 0.3) if kind == "electric" else 0.0
        points = [
            (0, 0),
            (lower * 0.8, 0.06),
            (lower, long * 0.27),
            (waist, long * 0.58),
            (upper, long * 0.82),
            (upper * 0.55, long + horn),
            (0.1, long * 0.96),
        ]
        right = curve(points, 30)
        outline = np.vstack([right, (right * [-1, 1 if horn < 0.15 else 0.97])[::-1]])
        model.plate(outline, thick, body)
    front = thick / 2 + 0.012
    if kind in {"acoustic", "round"}:
        a = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        if kind == "acoustic":
            hole = np.stack([np.cos(a) * 0.15, np.sin(a) * 0.15 + long * 0.62], axis=1)
            model.plate(
                hole * [1.25, 1.25] - [0, long * 0.155], 0.02, style.colour(METALS), at=(0, 0, front - 0.01)
            )
            model.plate(hole, 0.02, (0.06, 0.05, 0.05), at=(0, 0, front))
    else:
        guard = style.colour(((0.93, 0.92, 0.88), *PALETTE))
        model.box((0.06, long * 0.45, front), (0.42, long * 0.45, 0.02), guard)
        for n in range(style.count(1, 3)):
            model.box((0, long * (0.3 + 0.16 * n), front + 0.02), (0.3, 0.09, 0.05), RUBBER)
        for n in range(style.count(1, 4)):
            model.rod(
                (0.3, long * (0.1 + 0.09 * n), front),
                (0.3, long * (0.1 + 0.09 * n), front + 0.07),
                0.035,
                RUBBER,
            )
    model.box((0, long * 0.22, front + 0.02), (0.36, 0.07, 0.05), neck)
    top = long + style.number(1.2, 1.6)
    model.box((0, (long * 0.75 + top) / 2, front + 0.02), (0.15, top - long * 0.75, 0.08), neck)
    for y in np.linspace(long * 1.05, top, style.count(6, 10)):
        model.box((0, y, front + 0.065), (0.15, 0.014, 0.012), METALS[0])
    head = style.number(0.3, 0.45)
    taper = style.pick([0.7, 1.0, 1.35])
    model.box((0, top + head / 2, front), (0.24, head, 0.07), style.colour((*WOODS, body)), taper=taper)
    for n in range(3):
        y = top + head * (0.2 + 0.3 * n)
        model.rod((-0.2, y, front), (0.2, y, front), 0.028, METALS[0])
    for x in np.linspace(-0.05, 0.05, 4):
        model.rod((x, long * 0.22, front + 0.085), (x, top, front + 0.08), 0.006, METALS[0])
    return model.turned(style.number(-20, 20))
