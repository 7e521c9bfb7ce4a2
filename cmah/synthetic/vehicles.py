"""Airplanes, cars and ships: each function draws parts, proportions and colours from a `Style`."""

# ruff: noqa: PLR0912 - an object is a list of choices, and reads best in one piece

import numpy as np

from cmah.synthetic.solids import Model
from cmah.synthetic.style import GLASS, METALS, PALETTE, RUBBER, WOODS, Style


def airplane(style: Style) -> Model:
    """Airliner, biplane, jet or propeller plane: swept or straight wings, engines, tails of three kinds.

    Examples:
        >>> model = airplane(Style(np.random.default_rng(6)))
        >>> len(model.solids)  # body, two wings, fin, tailplane and cockpit
        6
    """
    model = Model()
    paint, trim = style.colour(((0.9, 0.9, 0.9), *PALETTE)), style.colour()
    length, radius = style.number(2.6, 3.6), style.number(0.16, 0.28)
    nose = style.number(0.15, 0.35)
    z = np.array([-length / 2, -length * 0.3, length * (0.5 - nose), length * 0.5 - 0.06, length / 2])
    path = np.stack([np.zeros(5), [radius * 0.6, 0, 0, 0, 0], z], axis=1)
    model.sweep(path, [0.03, radius, radius, radius * 0.5, 0.0], paint, sides=18)
    span, chord = style.number(1.1, 1.9), style.number(0.45, 0.7)
    swept, tip = style.pick([0.0, 0.1, 0.6, 0.9]), style.number(0.3, 0.8)
    wings = [-0.05] if style.chance(0.65) else [-0.14, 0.36]
    wings = [0.16] if len(wings) == 1 and style.chance(0.3) else wings
    for y in wings:
        for side in (-1, 1):
            corners = [
                (0, chord / 2),
                (side * span, chord / 2 * tip - swept),
                (side * span, -chord / 2 * tip - swept),
                (0, -chord / 2),
            ]
            wing_paint = trim if len(wings) > 1 else paint
            model.plate(np.array(corners), 0.05, wing_paint, axes="xzy", at=(0, y, 0.1))
    if len(wings) > 1:
        for side in (-1, 1):
            for t in (0.45, 0.85):
                foot = (side * span * t, wings[0], 0.1 - swept * t)
                model.rod(foot, (foot[0], wings[1], foot[2]), 0.02, trim)
    engines = style.pick(["propeller", "jets", "four", "none"])
    if engines == "propeller":
        for angle in np.linspace(0, 2 * np.pi, style.count(2, 4), endpoint=False):
            end = (0.4 * np.cos(angle), 0.4 * np.sin(angle), length / 2 + 0.03)
            model.rod((0, 0, length / 2 + 0.03), end, 0.035, RUBBER)
    elif engines in {"jets", "four"}:
        for t in (0.35,) if engines == "jets" else (0.3, 0.62):
            for side in (-1, 1):
                x, back = side * span * t, -swept * t
                model.rod((x, wings[0] - 0.14, back - 0.1), (x, wings[0] - 0.14, back + 0.45), 0.1, trim)
    tail = style.number(0.45, 0.8)
    fin = np.array(
        [(-length / 2, 0.1), (-length / 2 - 0.12, tail), (-length / 2 + 0.15, tail), (-length * 0.3, 0.1)]
    )
    model.plate(fin, 0.05, trim, axes="zyx")
    level = {"low": 0.12, "high": tail, "none": 0.12}[style.pick(["low", "low", "high", "none"])]
    half = span * style.number(0.3, 0.45)
    outline = np.array([(half, -0.2), (-half, -0.2), (-half * 0.9, 0.0), (0, 0.14), (half * 0.9, 0.0)])
    model.plate(outline, 0.04, paint, axes="xzy", at=(0, level, -length / 2 + 0.1))
    if style.chance(0.6):
        model.ball((0, radius * 0.8, length * (0.42 - nose)), (radius * 0.6, radius * 0.6, 0.3), GLASS)
    else:
        for t in np.linspace(-0.25, 0.3, 8):
            model.box((0, radius * 0.35, t * length), (2.02 * radius * 0.95, 0.07, 0.08), GLASS)
    return model


def car(style: Style) -> Model:
    """Saloon, hatchback, van, pickup, sports car or lorry, on four or six wheels.

    Examples:
        >>> cars = [car(Style(np.random.default_rng(seed))) for seed in (0, 1)]
        >>> [sum(solid.colour == RUBBER for solid in model.solids) for model in cars]  # wheels
        [4, 6]
    """
    model = Model()
    paint = style.colour()
    kind = style.pick(["saloon", "hatchback", "van", "pickup", "sports", "lorry"])
    length = style.number(2.2, 3.0) * (1.25 if kind == "lorry" else 1.0)
    width, wheel = style.number(0.95, 1.2), style.number(0.2, 0.3)
    low, waist = wheel * 0.7, wheel * 0.7 + style.number(0.28, 0.42)
    roof = waist + {"sports": 0.26, "van": 0.62, "lorry": 0.7}.get(kind, style.number(0.35, 0.48))
    front, back = length / 2, -length / 2
    bonnet = {"van": 0.12, "lorry": 0.0, "sports": 0.9}.get(kind, 0.6)
    tail = {"saloon": 0.45, "pickup": 1.2, "sports": 0.35, "lorry": 2.3}.get(kind, 0.03)
    outline = [
        (back, low),
        (front, low),
        (front + 0.04, (low + waist) / 2),
        (front - 0.06, waist),
        (back, waist),
    ]
    model.plate(np.array(outline), width, paint, axes="zyx")
    slope = style.number(0.12, 0.35)
    cabin = np.array(
        [
            (back + tail, waist),
            (front - bonnet, waist),
            (front - bonnet - slope, roof),
            (back + tail + (0.3 if kind == "sports" else slope * 0.6), roof),
        ]
    )
    model.plate(cabin, width * 0.86, GLASS, axes="zyx")
    top = cabin[2:].mean(axis=0)
    size = abs(cabin[2, 0] - cabin[3, 0]) + 0.08
    model.box((0, roof, top[0]), (width * 0.88, 0.06, size), paint)
    pillar = (cabin[0, 0] + cabin[1, 0]) / 2
    model.box((0, (waist + roof) / 2, pillar), (width * 0.88, roof - waist, 0.07), paint)
    if kind == "lorry":
        model.box((0, waist + 0.45, back + 1.1), (width * 1.05, 0.95, 2.1), style.colour())
    if kind == "pickup":
        for x in (-width / 2 + 0.04, width / 2 - 0.04):
            model.box((x, waist + 0.08, back + 0.6), (0.08, 0.2, 1.2), paint)
    places = [front - 0.5, back + 0.45] + ([back + 1.0] if kind == "lorry" else [])
    for z in places:
        for side in (-1, 1):
            x = side * width * 0.47
            model.rod((x - 0.08, wheel, z), (x + 0.08, wheel, z), wheel, RUBBER)
            model.rod((x - 0.1, wheel, z), (x + 0.1, wheel, z), wheel * 0.5, style.colour(METALS[:1]))
    for side in (-1, 1):
        model.ball((side * width * 0.36, waist - 0.12, front + 0.01), (0.09, 0.07, 0.05), (0.95, 0.93, 0.75))
        model.box((side * width * 0.38, waist - 0.1, back - 0.01), (0.16, 0.09, 0.03), (0.75, 0.1, 0.1))
    extra = style.pick(["none", "spoiler", "rack", "stripe", "light"])
    if extra == "spoiler":
        model.box((0, waist + 0.2, back + 0.1), (width, 0.04, 0.22), paint)
        for side in (-1, 1):
            model.box((side * width * 0.35, waist + 0.1, back + 0.1), (0.05, 0.2, 0.1), paint)
    elif extra == "rack":
        for x in (-width * 0.3, width * 0.3):
            model.box((x, roof + 0.08, top[0]), (0.04, 0.05, size), RUBBER)
    elif extra == "stripe":
        model.box((0, (low + waist) / 2, 0), (width * 1.01, 0.1, length * 0.96), style.colour())
    elif extra == "light":
        model.box((0, roof + 0.08, top[0]), (width * 0.5, 0.1, 0.16), style.colour(PALETTE[1:7]))
    return model


def ship(style: Style) -> Model:
    """Sailing boat, steamer, tug or container ship on a pointed hull.

    Examples:
        >>> model = ship(Style(np.random.default_rng(7)))
        >>> len(model.solids)  # hull, mast and two sails
        4
    """
    model = Model()
    hull, deck = style.colour(), style.colour(WOODS)
    length, beam, depth = style.number(2.4, 3.6), style.number(0.6, 0.95), style.number(0.35, 0.6)
    t = np.linspace(-1, 1, 15)
    blunt = style.pick([0.5, 0.75, 1.0])
    half = beam / 2 * np.where(t > 0, 1 - np.abs(t) ** 2, 1 - (1 - blunt) * np.abs(t) ** 3)
    rows = []
    for share, level in ((0.0, 0.0), (0.55, 0.0), (0.9, depth * 0.5), (1.0, depth), (0.0, depth)):
        along = t * length / 2 * (0.85 + 0.15 * level / depth)
        rise = level + (0.25 * np.clip(t, 0, 1) ** 2 if level else 0)
        right = np.stack([half * share, np.zeros(15) + rise, along], axis=1)
        rows.append(np.vstack([right, (right * [-1, 1, 1])[::-1]]))
    ring = np.array(rows)
    count = ring.shape[1]
    i, j = np.meshgrid(np.arange(4), np.arange(count), indexing="ij")
    a, b = (i * count + j).ravel(), (i * count + (j + 1) % count).ravel()
    faces = np.concatenate([np.stack([a, b, a + count], 1), np.stack([b, b + count, a + count], 1)])
    model.add(ring.reshape(-1, 3), faces, hull)
    kind = style.pick(["sail", "sail", "steamer", "tug", "cargo"])
    if kind == "sail":
        for place in (0.05,) if style.chance(0.5) else (-0.5, 0.4):
            tall, z = style.number(1.6, 2.4), place * length / 2
            model.rod((0, depth, z), (0, depth + tall, z), 0.035, deck)
            foot = depth + 0.2
            aft = np.array([(z - 0.06, foot), (z - 0.06, depth + tall * 0.95), (z - length * 0.3, foot)])
            sail = style.colour(((0.95, 0.94, 0.88), *PALETTE))
            if style.chance(0.3):
                square = np.array(
                    [(-beam, foot), (beam, foot), (beam * 0.8, depth + tall), (-beam * 0.8, depth + tall)]
                )
                model.plate(square, 0.02, sail, axes="xyz", at=(0, 0, z + 0.06))
            else:
                model.plate(aft, 0.02, sail, axes="zyx")
        jib = np.array(
            [(length * 0.47, depth + 0.3), (z + 0.1, depth + tall * 0.8), (z + 0.12, depth + 0.25)]
        )
        model.plate(jib, 0.02, style.colour(((0.95, 0.94, 0.88), *PALETTE)), axes="zyx")
    else:
        house, z = style.number(0.3, 0.7), {"steamer": 0.0, "tug": 0.2, "cargo": -0.36}[kind] * length
        long = {"steamer": 0.5, "tug": 0.25, "cargo": 0.16}[kind] * length
        white = style.colour(((0.93, 0.93, 0.9), *PALETTE))
        for storey in range(style.count(1, 3)):
            shrink = 1 - 0.2 * storey
            y = depth + (storey + 0.5) * house * 0.6
            model.box((0, y, z), (beam * 0.65 * shrink, house * 0.6, long * shrink), white)
            model.box((0, y + 0.04, z), (beam * 0.66 * shrink, house * 0.15, long * shrink * 0.9), GLASS)
        for n in range(style.count(1, 3)):
            top = depth + house * 2.6
            funnel = z + (0.3 * n - 0.2) * (1 if kind == "steamer" else 0.4)
            model.rod((0, depth, funnel), (0, top, funnel - 0.1), 0.11, style.colour())
        if kind == "cargo":
            for stack in range(style.count(3, 5)):
                for x in (-beam * 0.2, beam * 0.2):
                    tall = 0.28 * style.count(1, 3)
                    spot = (x, depth + tall / 2, -0.2 * length + stack * 0.42)
                    model.box(spot, (beam * 0.36, tall, 0.38), style.colour())
    return model
