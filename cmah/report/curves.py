"""The curves of a report: precision among the first K, precision and recall by rank and by radius, mAP by length."""

import math
from collections.abc import Sequence

from cmah.codes import BinaryCodes
from cmah.evaluation.evaluations import Evaluation, by_direction, longest
from cmah.report.figures import Figure, Panel, ramp, series
from cmah.report.panels import Line, Span, length_panel, line_panel
from cmah.report.sections import Section, number_of


def curves_section(evaluations: Sequence[Evaluation]) -> Section | None:
    """Curves by rank and radius: a line for each length of one method, or for the longest codes of each of several.

    Examples:
        >>> from cmah.evaluation.comparing import evaluate_files
        >>> done = evaluate_files("demo/codes/image.npz", "demo/codes/shape.npz").evaluations
        >>> section = curves_section(done)
        >>> [figure.name for figure in section.figures], section.figures[0].panels[0].title
        (['precision', 'precision-recall', 'radius'], 'precision among the first K, image → shape')
    """
    measured = _measured(evaluations)
    shown = measured if len({evaluation.name for evaluation in measured}) == 1 else longest(measured)
    figures = [
        Figure(name, parts)
        for name, draw in (("precision", _precision), ("precision-recall", _by_rank), ("radius", _by_radius))
        if (parts := [panel for direction, group in by_direction(shown) if (panel := draw(direction, group))])
    ]
    text = [
        "How many of the first K items are relevant, and how precision falls as more of what is relevant is found. "
        "By radius: what all items within so many bits of the query contain; long codes spread over more radii."
    ]
    return Section("curves", "Curves", text, figures=figures) if figures else None


def lengths_figure(evaluations: Sequence[Evaluation]) -> Figure | None:
    """The mAP over the code length: a line for each direction, or for each of several methods; None for one length.

    Examples:
        >>> from cmah.evaluation.comparing import evaluate_files
        >>> done = evaluate_files("demo/codes/image.npz", "demo/codes/shape.npz").evaluations
        >>> lengths_figure(done).panels[0].text
        'mAP by code length. image → shape: 16 bits 0..., 32 bits 0..., 64 bits 0....'
        >>> print(lengths_figure(done[:1]))
        None
    """
    names = list(dict.fromkeys(evaluation.name for evaluation in evaluations))
    coded = [each for each in _measured(evaluations) if isinstance(each.query, BinaryCodes)]
    if len(names) > 1:
        groups = [
            (direction, [(name, [r for r in group if r.name == name]) for name in names])
            for direction, group in by_direction(coded)
        ]
    else:
        groups = [("mAP by code length", by_direction(coded))]
    parts = []
    for title, lines in groups:
        spans = [_span(label, group, number) for number, (label, group) in enumerate(lines) if len(group) > 1]
        if spans:
            parts.append(length_panel(title, spans))
    return Figure("lengths", parts) if parts else None


def _measured(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Those with a query that has a relevant item; without one there is nothing to draw."""
    return [evaluation for evaluation in evaluations if not math.isnan(evaluation.report["map"])]


def _span(label: str, evaluations: Sequence[Evaluation], number: int) -> Span:
    ordered = sorted(evaluations, key=lambda evaluation: evaluation.report.rules.width)
    values = [evaluation.report.values for evaluation in ordered]
    line = Line(label, [r.report.rules.width for r in ordered], [v["map"] for v in values], *series(number))
    intervals = [(v.get("map_low", math.nan), v.get("map_high", math.nan)) for v in values]
    return Span(line, intervals, [(v["map_worst"], v["map_best"]) for v in values])


def _precision(direction: str, evaluations: Sequence[Evaluation]) -> Panel | None:
    lines = _lines(evaluations, "rank", "k", "precision")
    return _panel(f"precision among the first K, {direction}", lines, ("K", "precision"), logarithmic=True)


def _by_rank(direction: str, evaluations: Sequence[Evaluation]) -> Panel | None:
    lines = _lines(evaluations, "rank", "recall", "precision")
    return _panel(f"precision by recall, {direction}", lines, ("recall", "precision"), share=True)


def _by_radius(direction: str, evaluations: Sequence[Evaluation]) -> Panel | None:
    lines = _lines(evaluations, "radius", "radius", "precision")
    dashed = [
        Line(f"{line.label}, recall", line.x, line.y, line.colour, "--", shown=False)
        for line in _lines(evaluations, "radius", "radius", "recall")
    ]
    axes = ("Hamming radius", "precision (—), recall (- -)")
    return _panel(f"precision and recall within a radius, {direction}", [*lines, *dashed], axes)


def _lines(evaluations: Sequence[Evaluation], source: str, x: str, y: str) -> list[Line]:
    shown = [evaluation for evaluation in evaluations if evaluation.report.curves.get(source)]
    several = len({evaluation.name for evaluation in shown}) > 1
    coded = [evaluation for evaluation in shown if isinstance(evaluation.query, BinaryCodes)]
    shades = dict(zip(map(id, coded), ramp(len(coded)), strict=True))
    lines = []
    for number, evaluation in enumerate(shown):
        colour, dash = series(number) if several else (shades.get(id(evaluation), series(6)[0]), "-")
        column = evaluation.report.curves[source]
        places, values = ([number_of(value) for value in column[name]] for name in (x, y))
        label = f"{evaluation.name}, {evaluation.width}" if several else evaluation.width
        lines.append(Line(label, places, values, colour, dash))
    return lines


def _panel(
    title: str,
    lines: Sequence[Line],
    axes: tuple[str, str],
    logarithmic: bool = False,
    share: bool = False,
) -> Panel | None:
    if not lines:
        return None
    ends = "; ".join(f"{line.label}: from {line.y[0]:.2f} to {line.y[-1]:.2f}" for line in lines)
    return line_panel(title, lines, axes, f"{title}. {ends}.", logarithmic, share)
