"""Bottles, mugs and vases: each function draws parts, proportions and colours from a `Style`."""

import itertools

import numpy as np

from cmah.synthetic.solids import Model, curve
from cmah.synthetic.style import GREENS, PALETTE, WOODS, Style


def bottle(style: Style) -> Model:
    """Wine, beer, flask, medicine or square bottles with label and stopper.

    Examples:
        >>> model = bottle(Style(np.random.default_rng(1)))
        >>> len(model.solids)  # glass and cork
        2
    """
    model = Model()
    glass = style.colour(((0.13, 0.35, 0.18), (0.42, 0.22, 0.08), *PALETTE))
    height, radius = style.number(1.6, 2.6), style.number(0.3, 0.55)
    shoulder, neck = height * style.number(0.5, 0.72), radius * style.number(0.22, 0.5)
    kind = style.pick(["straight", "round", "waisted", "square", "cone"])
    if kind == "square":
        model.box((0, shoulder / 2, 0), (radius * 1.8, shoulder, radius * style.number(0.9, 1.8)), glass)
        profile = [
            (0, shoulder),
            (radius * 0.85, shoulder),
            (neck, shoulder + 0.15),
            (neck, height),
            (0, height),
        ]
    else:
        points = {
            "straight": [(radius, 0.04), (radius, shoulder), (neck * 1.3, shoulder + 0.2)],
            "round": [(radius * 0.7, 0.04), (radius * 1.3, shoulder * 0.5), (neck * 1.4, shoulder + 0.1)],
            "waisted": [
                (radius, 0.04),
                (radius * 0.7, shoulder * 0.5),
                (radius, shoulder * 0.9),
                (neck, shoulder + 0.3),
            ],
            "cone": [(radius * 1.25, 0.04), (radius * 0.9, shoulder * 0.5), (neck * 1.2, shoulder + 0.15)],
        }[kind]
        smooth = curve([*points, (neck, height * 0.9), (neck, height)], 28)
        smooth[:, 0] = np.maximum(smooth[:, 0], neck * 0.9)
        profile = [(0, 0), *((float(r), float(y)) for r, y in smooth), (0, height)]
    model.lathe(profile, glass)
    if style.chance(0.75) and kind in {"straight", "cone"}:
        low, high = shoulder * 0.25, shoulder * style.number(0.55, 0.85)
        size = radius * (1.03 if kind == "straight" else 1.22)
        upper = radius * (1.03 if kind == "straight" else 1.0)
        model.lathe([(size, low), (upper, high)], style.colour(((0.95, 0.93, 0.85), *PALETTE)))
    cap = style.pick(["cork", "screw", "ball", "dropper"])
    colour = style.colour(WOODS[:1]) if cap == "cork" else style.colour()
    if cap == "ball":
        model.ball((0, height + neck, 0), (neck * 1.3, neck * 1.3, neck * 1.3), colour)
    else:
        wide = {"cork": 0.8, "screw": 1.25, "dropper": 1.15}[cap]
        model.rod((0, height - 0.1, 0), (0, height + 0.12, 0), neck * wide, colour)
        if cap == "dropper":
            model.rod((0, height + 0.1, 0), (0, height + 0.5, 0), neck * 0.9, colour, end_radius=neck * 0.4)
    if style.chance(0.25):
        path = curve(
            [(neck, height * 0.85, 0), (radius * 1.3, height * 0.8, 0), (radius, shoulder * 0.8, 0)], 16
        )
        model.sweep(path, 0.05, glass)
    return model


def mug(style: Style) -> Model:
    """Straight, tapered, bellied or footed mugs with one handle, a band and perhaps a lid or saucer.

    Examples:
        >>> model = mug(Style(np.random.default_rng(6)))
        >>> len(model.solids)  # outside, inside and handle
        3
    """
    model = Model()
    glaze, inside = style.colour(), style.colour(((0.93, 0.92, 0.88), *PALETTE))
    radius, height, wall = style.number(0.4, 0.62), style.number(0.7, 1.4), 0.05
    kind = style.pick(["straight", "tapered", "belly", "footed", "angular"])
    share = {
        "straight": [1.0, 1.0, 1.0],
        "tapered": [0.65, 0.85, 1.05],
        "belly": [0.75, 1.2, 0.9],
        "footed": [0.45, 1.0, 1.05],
        "angular": [1.0, 1.0, 1.0],
    }[kind]
    heights = [0.0, height * (0.3 if kind == "footed" else 0.5), height]
    outer = curve([(radius * s, y) for s, y in zip(share, heights, strict=True)], 14)
    profile = [(0.0, 0.0), *((float(r), float(y)) for r, y in outer)]
    inner = [(max(r - wall, 0.0), max(y, 0.08)) for r, y in reversed(profile)]
    sides = style.pick([6, 8]) if kind == "angular" else 32
    model.lathe(profile + inner[:1], glaze, sides=sides)
    model.lathe(inner, inside, sides=sides)
    reach, size = style.number(0.25, 0.45), style.number(0.04, 0.08)
    low, high = height * style.number(0.12, 0.3), height * style.number(0.7, 0.9)
    low_r, high_r = (float(np.interp(y, outer[:, 1], outer[:, 0])) - 0.03 for y in (low, high))
    shape = style.pick(["loop", "ear", "corner"])
    if shape == "corner":
        out = radius + reach
        path = np.array([(high_r, high, 0), (out, high, 0), (out, low, 0), (low_r, low, 0)], float)
        for start, end in itertools.pairwise(path):
            model.rod(start, end, size, glaze)
    else:
        out = radius + reach
        middle = (out, high, 0) if shape == "ear" else (out, (low + high) / 2, 0)
        model.sweep(curve([(high_r, high, 0), middle, (low_r, low, 0)], 20), size, glaze)
    if style.chance(0.55) and kind in {"straight", "tapered"}:
        for n in range(style.count(1, 3)):
            y = height * (0.3 + 0.2 * n)
            r = float(np.interp(y, outer[:, 1], outer[:, 0])) + 0.012
            model.lathe([(r - 0.03, y - 0.04), (r, y - 0.04), (r, y + 0.04), (r - 0.03, y + 0.04)], inside)
    extra = style.pick(["none", "none", "lid", "saucer"])
    if extra == "lid":
        top = float(outer[-1, 0])
        model.lathe(
            [(0, height + 0.14), (top * 0.6, height + 0.1), (top * 1.04, height), (0, height)], inside
        )
        model.ball((0, height + 0.19, 0), (0.09, 0.09, 0.09), glaze)
    elif extra == "saucer":
        model.lathe(
            [(0, -0.06), (radius, -0.06), (radius * 1.9, 0.06), (radius * 1.85, 0.09), (0, 0.0)], glaze
        )
    return model


def vase(style: Style) -> Model:
    """A lathed vase of free profile, fluted or faceted, with bands, two handles or flowers.

    Examples:
        >>> (body,) = vase(Style(np.random.default_rng(11))).solids
        >>> np.ptp(body.vertices, axis=0).round(2).tolist()  # round: as wide as deep
        [1.4, 1.36, 1.4]
    """
    model = Model()
    glaze, second = style.colour(), style.colour()
    height, foot = style.number(1.2, 2.4), style.number(0.2, 0.45)
    belly, neck, lip = style.number(0.45, 0.85), style.number(0.14, 0.4), style.number(0.2, 0.55)
    middle = style.number(0.25, 0.65)
    points = [(foot, 0), (belly, height * middle), (neck, height * style.number(0.78, 0.9)), (lip, height)]
    outer = curve(points, 26)
    outer[:, 0] = np.maximum(outer[:, 0], 0.1)
    sides = style.pick([32, 32, 6, 8])
    profile = [(0.0, 0.0), *((float(r), float(y)) for r, y in outer)]
    inner = [(max(r - 0.05, 0.0), max(y, 0.06)) for r, y in reversed(profile)]
    model.lathe(profile + inner, glaze, sides=sides)
    for n in range(style.count(0, 3)):
        y = height * (0.2 + 0.22 * n)
        r = float(np.interp(y, outer[:, 1], outer[:, 0])) + 0.015
        model.lathe(
            [(r - 0.06, y - 0.05), (r, y - 0.05), (r, y + 0.05), (r - 0.06, y + 0.05)], second, sides=sides
        )
    if style.chance(0.35):
        high, low = height * 0.85, height * middle
        near, far = neck, float(np.interp(low, outer[:, 1], outer[:, 0]))
        for side in (-1, 1):
            bend = (side * (far + 0.3), high, 0)
            model.sweep(curve([(side * near, high, 0), bend, (side * far * 0.97, low, 0)], 18), 0.05, second)
    if style.chance(0.4):
        for n in range(style.count(3, 6)):
            angle, reach = 2.4 * n, style.number(0.2, 0.6)
            tip = (reach * np.cos(angle), height + style.number(0.5, 1.0), reach * np.sin(angle))
            stem = curve([(0, height * 0.6, 0), (tip[0] * 0.3, height * 1.15, tip[2] * 0.3), tip], 12)
            model.sweep(stem, 0.025, style.colour(GREENS), sides=6)
            model.ball(tip, (0.14, 0.1, 0.14), style.colour(PALETTE[:8]))
    return model
