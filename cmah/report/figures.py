"""The figures of a report: for a paper as SVG and PNG, and for the page as SVG that takes the page's colours.

A figure is drawn in the colours of a light page; on the page each of these becomes a CSS variable, so that the same
drawing is readable on a dark screen.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from cmah.files import atomic_path
from cmah.report.hit_tiles import COLOURS

# colours of code lengths, short to long: (on a light page, on a dark page)
RAMP = {
    "ramp0": ("#86c5b4", "#2f7f75"),
    "ramp1": ("#4aa3b5", "#3796a8"),
    "ramp2": ("#2f78b7", "#4fb0d6"),
    "ramp3": ("#2c4fa3", "#84c6f2"),
    "ramp4": ("#3a2c86", "#c3e1fb"),
}
# colours of things without an order: methods, directions
SERIES = {
    "series0": ("#3568c8", "#7ba7f8"),
    "series1": ("#d96d20", "#f39a5b"),
    "series2": ("#178a66", "#46c69c"),
    "series3": ("#8e4ac0", "#c28bea"),
    "series4": ("#c4395c", "#f2748f"),
    "series5": ("#857318", "#cfbc58"),
    "series6": ("#52606f", "#a9b4c2"),
}
PALETTE = COLOURS | RAMP | SERIES
INK, SOFT, LINE, CARD = (COLOURS[name][0] for name in ("text", "soft", "line", "card"))
DASHES = ("-", "--", ":", "-.")

Axes = Any  # matplotlib.axes.Axes; matplotlib is imported inside functions


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: its heading.
        draw: draws on the axes it is given.
        text: description for readers who cannot see it.
        width: in inches.
        height: in inches.

    Examples:
        >>> panel = Panel("mAP", lambda axis: axis.plot([16, 32], [0.4, 0.6]), "rises from 0.4 to 0.6")
        >>> inline(Figure("map", [panel]))[0]  # 4.4 inches are 316.8 points
        '<svg viewBox="0 0 316.8 237.6" role="img" aria-label="rises from 0.4 to 0.6" ...</svg>...'
    """

    title: str
    draw: Callable[[Axes], None]
    text: str
    width: float = 4.4
    height: float = 3.3


@dataclass(frozen=True)
class Figure:
    """Panels that belong together: one file for a paper, side by side on the page.

    Attributes:
        name: name of the files, without suffix.
        panels: left to right.

    Examples:
        >>> panel = Panel("mAP", lambda axis: axis.plot([16, 32], [0.4, 0.6]), "rises from 0.4 to 0.6")
        >>> len(inline(Figure("map", [panel, panel])))  # two elements on a page, one file for a paper
        2
    """

    name: str
    panels: Sequence[Panel]


def ramp(count: int) -> list[str]:
    """Colours for `count` things in order.

    Examples:
        >>> ramp(2)  # the ends of the ramp
        ['#86c5b4', '#3a2c86']
    """
    places = [2] if count == 1 else np.linspace(0, len(RAMP) - 1, count).round().astype(int)
    return [RAMP[f"ramp{place}"][0] for place in places]


def series(number: int) -> tuple[str, str]:
    """Colour and dash of thing `number` of several without an order.

    Examples:
        >>> series(0), series(7)  # after seven colours they come again, dashed
        (('#3568c8', '-'), ('#3568c8', '--'))
    """
    return SERIES[f"series{number % len(SERIES)}"][0], DASHES[number // len(SERIES) % len(DASHES)]


def inline(figure: Figure) -> list[str]:
    """The panels of a figure as SVG elements that may stand in one HTML page.

    Examples:
        >>> panel = Panel("P@10", lambda axis: axis.bar([0], [0.9], color=SERIES["series0"][0]), "one bar")
        >>> (svg,) = inline(Figure("bars", [panel]))
        >>> svg.count("fill: var(--series0)"), svg.count("#3568c8")  # the page chooses the colour
        (1, 0)
    """
    drawn = []
    for number, panel in enumerate(figure.panels):
        stream = io.StringIO()
        with _settings("none", f"{figure.name}{number}"):
            sheet, axes = _sheet([panel], titles=False)
            panel.draw(axes[0])
            sheet.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        drawn.append(_for_page(stream.getvalue(), f"{figure.name}{number}", panel))
    return drawn


def save(figure: Figure, folder: str | Path) -> list[Path]:
    """Write NAME.svg and NAME.png (200 dpi) with all panels, each whole or not at all; return their paths.

    Examples:
        >>> panel = Panel("mAP", lambda axis: axis.plot([16, 32], [0.4, 0.6]), "rises from 0.4 to 0.6")
        >>> [path.name for path in save(Figure("map", [panel]), "figures")]
        ['map.svg', 'map.png']
    """
    paths = []
    for name, content in drawn_files(figure).items():
        paths.append(Path(folder) / name)
        with atomic_path(paths[-1]) as temporary:
            temporary.write_bytes(content)
    return paths


def drawn_files(figure: Figure) -> dict[str, bytes]:
    """The files that `save` writes, by name.

    Examples:
        >>> panel = Panel("mAP", lambda axis: axis.plot([16, 32], [0.4, 0.6]), "rises from 0.4 to 0.6")
        >>> list(drawn_files(Figure("map", [panel])))
        ['map.svg', 'map.png']
    """
    files = {}
    with _settings("path", figure.name):
        sheet, axes = _sheet(figure.panels, titles=True)
        for axis, panel in zip(axes, figure.panels, strict=True):
            panel.draw(axis)
        for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            stream = io.BytesIO()
            sheet.savefig(stream, format=suffix, dpi=200, metadata=metadata)
            files[f"{figure.name}.{suffix}"] = stream.getvalue()
    return files


def _sheet(panels: Sequence[Panel], titles: bool) -> tuple[Any, list[Axes]]:
    import matplotlib.figure

    height = max(panel.height for panel in panels) + (0.25 if titles else 0)
    sheet = matplotlib.figure.Figure(
        figsize=(sum(panel.width for panel in panels), height), layout="constrained"
    )
    widths = [panel.width for panel in panels]
    axes = list(sheet.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0])
    if titles:
        for axis, panel in zip(axes, panels, strict=True):
            axis.set_title(panel.title)
    return sheet, axes


def _settings(text: str, salt: str) -> Any:
    """Matplotlib's settings while drawing; `text` is "none" (letters) or "path" (outlines)."""
    import matplotlib

    ink = ("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor")
    lines = ("axes.edgecolor", "xtick.color", "ytick.color")
    settings: dict[Any, Any] = {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
        "axes.titlesize": 9.5,
        "legend.fontsize": 8,
        "lines.linewidth": 1.6,
        "lines.markersize": 3.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.7,
        "axes.axisbelow": True,
        "text.parse_math": False,
        "svg.fonttype": text,
        "svg.hashsalt": salt,
    }
    settings |= dict.fromkeys(ink, INK) | dict.fromkeys(lines, SOFT)
    return matplotlib.rc_context(settings)


def _for_page(svg: str, name: str, panel: Panel) -> str:
    """A drawing as an element of a page: no header, unique ids, colours as variables, titles to hover over."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    width = round(panel.width * 96)
    head = f'<svg {box[0]} role="img" aria-label="{escape(panel.text)}" style="--width: {width}px">'
    svg = head + svg[svg.index(">") + 1 :]
    svg = re.sub(r"""<g id=(["'])title:(.*?)\1>""", r"<g><title>\2</title>", svg)
    svg = re.sub(r' id="([^"]*)"', rf' id="{name}-\1"', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'xlink:href="#', f'href="#{name}-', svg).replace("xlink:href=", "href=")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for variable, (light, _) in PALETTE.items():
        svg = svg.replace(f": {light}", f": var(--{variable})")
    return re.sub(r"\n\s*", "\n", svg)
