"""Chairs, tables, sofas and beds: each function draws parts, proportions and colours from a `Style`."""

# ruff: noqa: PLR0912 - an object is a list of choices, and reads best in one piece

import numpy as np

from cmah.synthetic.solids import Colour, Model, curve
from cmah.synthetic.style import METALS, PALETTE, WOODS, Style


def _legs(
    model: Model, style: Style, half: tuple[float, float], top: float, radius: float, colour: Colour
) -> None:
    """Four legs of one of several kinds from the floor to height `top`."""
    kind = style.pick(["square", "round", "splayed", "tapered"])
    spread = style.number(1.1, 1.3) if kind == "splayed" else 1.0
    for x in (-half[0], half[0]):
        for z in (-half[1], half[1]):
            if kind == "square":
                model.box((x, top / 2, z), (2 * radius, top, 2 * radius), colour)
            else:
                foot = radius * (0.45 if kind == "tapered" else 0.9)
                model.rod((x * spread, 0, z * spread), (x, top, z), foot, colour, end_radius=radius)


def chair(style: Style) -> Model:
    """Four legs, a pedestal or runners; a backrest of slats, bars, a board or a curve; perhaps arms.

    Examples:
        >>> model = chair(Style(np.random.default_rng(28)))
        >>> len(model.solids)  # four legs, a seat and a board to lean on
        6
    """
    model = Model()
    wood, cloth = style.frame(), style.colour()
    width, depth = style.number(0.75, 1.15), style.number(0.75, 1.05)
    seat, back = style.number(0.7, 1.15), style.number(0.6, 1.35)
    thick = style.number(0.06, 0.2)
    base = style.pick(["legs", "legs", "legs", "pedestal", "runners"])
    half = (width / 2 - 0.07, depth / 2 - 0.07)
    if base == "legs":
        _legs(model, style, half, seat, style.number(0.03, 0.07), wood)
    elif base == "pedestal":
        model.rod((0, 0.1, 0), (0, seat, 0), 0.06, wood)
        for angle in np.linspace(0, 2 * np.pi, 5, endpoint=False):
            model.rod((0, 0.12, 0), (0.5 * np.cos(angle), 0.03, 0.5 * np.sin(angle)), 0.045, wood)
    else:
        for x in (-half[0], half[0]):
            z = half[1]
            path = [(x, seat, z), (x, 0.05, z), (x, 0.05, -z), (x, seat, -z)]
            model.sweep(curve(path, 30), 0.04, wood)
    if style.chance(0.25):
        model.lathe(
            [(0, seat), (width / 2, seat), (width / 2, seat + thick), (0, seat + thick)], cloth, sides=28
        )
    else:
        model.box((0, seat + thick / 2, 0), (width, thick, depth), cloth)
    lean = style.number(0, 0.22)
    z, low, high = -depth / 2 + 0.05, seat + thick, seat + thick + back
    kind = style.pick(["board", "slats", "bars", "curved", "none" if base != "legs" else "board"])
    if kind == "board":
        part = Model()
        part.box((0, back / 2, 0), (width, back, 0.09), cloth)
        model.solids += part.turned(-lean * 57, "x").moved((0, low, z)).solids
    elif kind in {"slats", "bars"}:
        for x in (-width / 2 + 0.05, width / 2 - 0.05):
            model.rod((x, low - 0.05, z), (x, high, z - lean * back), 0.045, wood)
        n = style.count(2, 5)
        for t in np.linspace(0.25, 0.95, n):
            y, back_z = low + t * back, z - lean * back * t
            if kind == "slats":
                model.box((0, y, back_z), (width - 0.1, 0.5 * back / n, 0.05), wood)
        if kind == "bars":
            model.box((0, high - 0.05, z - lean * back), (width, 0.12, 0.07), wood)
            for x in np.linspace(-width / 2, width / 2, n + 3)[1:-1]:
                model.rod((x, low, z), (x, high, z - lean * back), 0.025, wood)
    elif kind == "curved":
        angle = np.linspace(0, np.pi, 17)
        for y in np.linspace(low + 0.3 * back, high, style.count(2, 4)):
            ring = np.stack([np.cos(angle) * width / 2, np.full(17, y), -np.sin(angle) * depth / 2], 1)
            model.sweep(ring, 0.045, wood)
        for a in angle[::4]:
            x, side = np.cos(a) * width / 2, -np.sin(a) * depth / 2
            model.rod((x, low - 0.05, side), (x, high, side), 0.03, wood)
    if style.chance(0.35) and kind != "curved":
        for x in (-width / 2, width / 2):
            model.box((x, low + 0.32, 0), (0.1, 0.06, depth * 0.9), wood)
            model.rod((x, low - 0.05, depth / 2 - 0.1), (x, low + 0.32, depth / 2 - 0.1), 0.035, wood)
    return model


def table(style: Style) -> Model:
    """A round, oval or square top on legs, a pillar, trestles or panels; perhaps a shelf or drawer.

    Examples:
        >>> model = table(Style(np.random.default_rng(0)))
        >>> [round(float(np.ptp(solid.vertices[:, 1])), 2) for solid in model.solids]  # top and legs
        [0.05, 1.15, 1.15, 1.15, 1.15]
    """
    model = Model()
    top_colour, leg_colour = style.colour(WOODS + PALETTE[:6]), style.frame()
    length, depth, height = style.number(1.3, 2.6), style.number(0.9, 1.4), style.number(0.5, 1.3)
    thick = style.number(0.05, 0.16)
    round_top = style.chance(0.4)
    if round_top:
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        outline = np.stack([np.cos(angle) * length / 2, np.sin(angle) * depth / 2], axis=1)
        model.plate(outline, thick, top_colour, axes="xzy", at=(0, height, 0))
    else:
        model.box((0, height, 0), (length, thick, depth), top_colour, style.pick(["wood", "", "checks"]))
    inset = 0.32 if round_top else 0.44
    kind = style.pick(["legs", "legs", "pillar", "trestle", "panels"])
    if kind == "legs":
        _legs(model, style, (length * inset, depth * inset), height, style.number(0.04, 0.08), leg_colour)
        if style.chance(0.35):
            model.box((0, height * 0.35, 0), (length * 2 * inset, 0.05, depth * 2 * inset), leg_colour)
    elif kind == "pillar":
        foot = depth * style.number(0.25, 0.4)
        waist = style.number(0.06, 0.14)
        profile = [(0, 0), (foot, 0), (foot, 0.06), (waist, 0.14), (waist * 1.7, height / 2), (waist, height)]
        model.lathe(profile, leg_colour)
    elif kind == "trestle":
        for x in (-length * 0.36, length * 0.36):
            for z in (-1, 1):
                model.rod((x, 0, z * depth * 0.42), (x, height, -z * depth * 0.2), 0.05, leg_colour)
        model.rod((-length * 0.36, height / 2, 0), (length * 0.36, height / 2, 0), 0.04, leg_colour)
    else:
        for x in (-length * 0.4, length * 0.4):
            model.box((x, height / 2, 0), (0.09, height, depth * 0.8), leg_colour)
        model.box((0, height * 0.6, -depth * 0.3), (length * 0.8, height * 0.4, 0.05), leg_colour)
    if not round_top and style.chance(0.4):
        model.box((0, height - 0.15, depth * 0.35), (length * 0.5, 0.2, 0.25), leg_colour)
        model.ball((0, height - 0.15, depth * 0.35 + 0.14), (0.04, 0.04, 0.04), style.colour(METALS))
    return model


def sofa(style: Style) -> Model:
    """One to three seats or a corner, with arms square, round or absent, cushions, and feet.

    Examples:
        >>> model = sofa(Style(np.random.default_rng(6)))
        >>> len(model.solids)  # seat, back, four feet, two cushions to sit on, one to lean on
        9
    """
    model = Model()
    cloth, cushion, wood = style.colour(), style.colour(), style.frame()
    seats = style.count(2, 4)
    seat_width, depth = style.number(0.75, 0.95), style.number(0.9, 1.2)
    width, feet = seats * seat_width, style.number(0.08, 0.3)
    seat, back, arm = feet + style.number(0.3, 0.5), style.number(0.5, 0.95), style.number(0.15, 0.35)
    plain = style.pick(["", "", "stripes", "checks"])
    model.box((0, (feet + seat) / 2, 0), (width, seat - feet, depth), cloth, plain)
    thick = style.number(0.18, 0.32)
    model.box((0, seat + back / 2, -depth / 2 + thick / 2), (width, back, thick), cloth, plain)
    for x in (-width / 2 + 0.12, width / 2 - 0.12):
        for z in (-depth / 2 + 0.12, depth / 2 - 0.12):
            model.rod((x, 0, z), (x, feet, z), 0.05, wood)
    arms = style.pick(["square", "round", "none", "flared"])
    rise = style.number(0.2, 0.45)
    for side in (-1, 1):
        x = side * (width / 2 + arm / 2)
        if arms in {"square", "flared"}:
            taper = 1.25 if arms == "flared" else 1.0
            model.box((x, (feet + seat + rise) / 2, 0), (arm, seat + rise - feet, depth), cloth, plain, taper)
        elif arms == "round":
            model.box((x, (feet + seat + rise) / 2, 0), (arm, seat + rise - feet, depth), cloth, plain)
            model.rod((x, seat + rise, -depth / 2), (x, seat + rise, depth / 2), arm * 0.7, cloth)
    for i in range(seats):
        x = (i - (seats - 1) / 2) * seat_width
        model.box((x, seat + 0.08, thick / 2), (seat_width * 0.95, 0.16, depth - thick), cushion)
        if style.chance(0.6):
            model.ball((x, seat + 0.35, -depth / 2 + thick + 0.1), (seat_width * 0.4, 0.24, 0.12), cushion)
    if style.chance(0.3):
        side = style.pick([-1, 1])
        long = style.number(0.6, 1.0)
        place = (side * (width - seat_width) / 2, (feet + seat) / 2, depth / 2 + long / 2)
        model.box(place, (seat_width, seat - feet + 0.14, long), cloth, plain)
    return model


def bed(style: Style) -> Model:
    """Single to double, with headboards of several kinds, pillows, blanket; perhaps posts or a bunk.

    Examples:
        >>> model = bed(Style(np.random.default_rng(2)))
        >>> len(model.solids)  # frame, mattress, blanket, pillow, four legs and a headboard
        9
    """
    model = Model()
    wood, blanket, linen = style.frame(), style.colour(), (0.92, 0.92, 0.90)
    width, length, low = style.number(0.9, 1.9), style.number(2.0, 2.3), style.number(0.2, 0.45)
    pattern = style.pick(["", "stripes", "checks"])
    levels = [low, low + 1.35] if style.chance(0.2) and width < 1.3 else [low]
    pillows = 2 if width > 1.35 else 1
    for level in levels:
        model.box((0, level, 0), (width, 0.14, length), wood)
        model.box((0, level + 0.2, 0), (width * 0.96, 0.26, length * 0.97), linen)
        cover = style.number(0.5, 0.75)
        middle = length * (1 - cover) / 2
        model.box((0, level + 0.22, middle), (width * 1.02, 0.27, length * cover), blanket, pattern)
        for i in range(pillows):
            x = (i - (pillows - 1) / 2) * width * 0.48
            model.ball((x, level + 0.38, -length * 0.38), (width * 0.42 / pillows, 0.1, 0.2), linen)
    tall = levels[-1] + style.number(0.5, 0.9)
    posts = style.chance(0.3) and len(levels) == 1
    for z in (-length / 2, length / 2):
        for x in (-width / 2, width / 2):
            high = 2.1 if posts else (tall if len(levels) > 1 or z < 0 else low + 0.2)
            model.box((x, high / 2, z), (0.09, high, 0.09), wood)
    if posts:
        for z in (-length / 2, length / 2):
            model.box((0, 2.1, z), (width, 0.07, 0.07), wood)
        for x in (-width / 2, width / 2):
            model.box((x, 2.1, 0), (0.07, 0.07, length), wood)
    kind = style.pick(["panel", "bars", "arch", "padded"])
    z, high = -length / 2, tall - low
    if kind == "panel":
        model.box((0, low + high / 2, z), (width, high, 0.07), wood, "wood")
    elif kind == "padded":
        n = style.count(2, 4)
        for i in range(n):
            x = (i - (n - 1) / 2) * width / n
            model.box((x, low + high / 2, z), (width / n * 0.95, high, 0.2), blanket, taper=0.95)
    elif kind == "arch":
        a = np.linspace(0, np.pi, 21)
        outline = np.stack([np.cos(a) * width / 2, np.sin(a) * high], axis=1)
        model.plate(outline, 0.08, wood, at=(0, low + 0.1, z))
    else:
        model.box((0, tall, z), (width, 0.09, 0.09), wood)
        for x in np.linspace(-width / 2, width / 2, style.count(5, 9)):
            model.rod((x, low, z), (x, tall, z), 0.025, wood)
    return model
