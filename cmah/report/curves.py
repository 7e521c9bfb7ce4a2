"""The curves of a report: precision among the first K, precision and recall by rank and by radius, mAP by length."""

import math
from collections.abc import Sequence

from cmah.codes import BinaryCodes
from cmah.evaluation.findings import Result, directions, longest
from cmah.report.figures import Figure, Panel, ramp, series
from cmah.report.panels import Line, Span, length_panel, line_panel
from cmah.report.sections import Section, number_of


def curves(results: Sequence[Result]) -> Section | None:
    """Of one method a line for each length, of several a line for each method at its longest codes."""
    shown = results if len({result.name for result in results}) == 1 else longest(results)
    figures = [
        Figure(name, parts)
        for name, draw in (("precision", _precision), ("precision-recall", _by_rank), ("radius", _by_radius))
        if (parts := [panel for direction, group in directions(shown) if (panel := draw(direction, group))])
    ]
    text = [
        "How many of the first K items are relevant, and how precision falls as more of what is relevant is found. "
        "By radius: what all items within so many bits of the query contain; long codes spread over more radii."
    ]
    return Section("curves", "Curves", text, figures=figures) if figures else None


def lengths(results: Sequence[Result]) -> Figure | None:
    """The mAP over the code length: a line for each direction, or where there are several methods for each of them."""
    names = list(dict.fromkeys(result.name for result in results))
    coded = [result for result in results if isinstance(result.query, BinaryCodes)]
    if len(names) > 1:
        groups = [
            (direction, [(name, [r for r in group if r.name == name]) for name in names])
            for direction, group in directions(coded)
        ]
    else:
        groups = [("mAP by code length", directions(coded))]
    parts = []
    for title, lines in groups:
        spans = [_span(label, own, number) for number, (label, own) in enumerate(lines) if len(own) > 1]
        if spans:
            parts.append(length_panel(title, spans))
    return Figure("lengths", parts) if parts else None


def _span(label: str, results: Sequence[Result], number: int) -> Span:
    ordered = sorted(results, key=lambda result: result.report.rules.width)
    values = [result.report.values for result in ordered]
    line = Line(label, [r.report.rules.width for r in ordered], [v["map"] for v in values], *series(number))
    intervals = [(v.get("map_low", math.nan), v.get("map_high", math.nan)) for v in values]
    return Span(line, intervals, [(v["map_worst"], v["map_best"]) for v in values])


def _precision(direction: str, results: Sequence[Result]) -> Panel | None:
    lines = _lines(results, "rank", "k", "precision")
    return _panel(f"precision among the first K, {direction}", lines, ("K", "precision"), logarithmic=True)


def _by_rank(direction: str, results: Sequence[Result]) -> Panel | None:
    lines = _lines(results, "rank", "recall", "precision")
    return _panel(f"precision by recall, {direction}", lines, ("recall", "precision"))


def _by_radius(direction: str, results: Sequence[Result]) -> Panel | None:
    lines = _lines(results, "radius", "radius", "precision")
    dashed = [
        Line(f"{line.label}, recall", line.x, line.y, line.colour, "--", shown=False)
        for line in _lines(results, "radius", "radius", "recall")
    ]
    axes = ("Hamming radius", "precision (—), recall (- -)")
    return _panel(f"precision and recall within a radius, {direction}", [*lines, *dashed], axes)


def _lines(results: Sequence[Result], source: str, x: str, y: str) -> list[Line]:
    own = [result for result in results if result.report.curves.get(source)]
    several = len({result.name for result in own}) > 1
    coded = [result for result in own if isinstance(result.query, BinaryCodes)]
    shades = dict(zip(map(id, coded), ramp(len(coded)), strict=True))
    lines = []
    for number, result in enumerate(own):
        colour, dash = series(number) if several else (shades.get(id(result), series(6)[0]), "-")
        column = result.report.curves[source]
        places, values = ([number_of(value) for value in column[name]] for name in (x, y))
        label = f"{result.name}, {result.width}" if several else result.width
        lines.append(Line(label, places, values, colour, dash))
    return lines


def _panel(
    title: str, lines: Sequence[Line], axes: tuple[str, str], logarithmic: bool = False
) -> Panel | None:
    if not lines:
        return None
    ends = "; ".join(f"{line.label}: from {line.y[0]:.2f} to {line.y[-1]:.2f}" for line in lines)
    return line_panel(title, lines, axes, f"{title}. {ends}.", logarithmic)
