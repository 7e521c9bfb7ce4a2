"""The panels of a report: curves, bars, heat maps, scatter plots. Each function gives a `Panel` that draws itself."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmah.report.figures import CARD, INK, LINE, SERIES, SOFT, Axes, Panel

FEW = 12  # points of a category in a plane, beside which its name stands and not on them
BLUE, RED = (0.25, 0.52, 0.93), (0.90, 0.38, 0.28)  # in heat maps; readable on a light and a dark page


@dataclass(frozen=True)
class Line:
    """A curve; NaN makes a gap.

    Attributes:
        label: name in the legend.
        x: horizontal positions.
        y: values.
        colour: one of the colours of a light page.
        dash: as matplotlib writes it.
        shown: whether the legend names it.

    Examples:
        >>> Line("64 bits", x=[1, 10], y=[0.5, 0.25], colour="#2f78b7").dash
        '-'
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    dash: str = "-"
    shown: bool = True


@dataclass(frozen=True)
class Span:
    """A curve with its uncertainty.

    Attributes:
        line: the curve.
        intervals: low and high for each point; NaN = none.
        ties: the bounds by the order of ties.

    Examples:
        >>> span = Span(Line("CMAH", [16], [0.5], "blue"), intervals=[(0.4, 0.6)], ties=[(0.45, 0.55)])
        >>> length_panel("mAP", [span]).text
        'mAP by code length. CMAH: 16 bits 0.500.'
    """

    line: Line
    intervals: Sequence[tuple[float, float]]
    ties: Sequence[tuple[float, float]]


def line_panel(
    title: str,
    lines: Sequence[Line],
    axes: tuple[str, str],
    text: str,
    logarithmic: bool = False,
    share: bool = False,
) -> Panel:
    """Curves over one axis, y from 0; a curve of a single point is a dot.

    Args:
        title: title of the panel.
        lines: the curves.
        axes: labels of x and y.
        text: what the curves show, in words.
        logarithmic: whether x is logarithmic; else it has whole numbers.
        share: whether x is a share, from 0 to 1.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> axis = Figure().subplots()
        >>> line_panel("P", [Line("CMAH", [1, 10], [0.5, 0.25], "blue")], ("K", "P"), "It falls.").draw(axis)
        >>> axis.get_xlabel(), [round(float(end), 2) for end in axis.get_ylim()]
        ('K', [0.0, 0.56])
    """

    def draw(axis: Axes) -> None:
        for line in lines:
            axis.plot(
                line.x,
                line.y,
                color=line.colour,
                linestyle=line.dash,
                label=line.label if line.shown else None,
                marker="o" if len(line.x) == 1 else None,
                gid=f"title:{line.label}",
            )
        axis.set(xlabel=axes[0], ylabel=axes[1])
        if logarithmic:
            last = max((x for line in lines for x in line.x), default=1)
            axis.set_xscale("log")
            axis.set_xticks(ticks := _rank_ticks(last), map(str, ticks))
            axis.xaxis.set_minor_formatter(lambda *_: "")  # few ranks would be named as powers of ten
            if last < 10:
                axis.minorticks_off()
                axis.set_xlim(0.9, max(last, 2) * 1.1)
        elif share:
            axis.set_xlim(0, 1.02)
        else:
            _whole(axis.xaxis)
        _from_zero(axis, [y for line in lines for y in line.y])
        axis.grid(color=LINE, linewidth=0.6)
        if len(lines) > 1:
            axis.legend(frameon=False, loc="best", ncols=1 if len(lines) < 12 else 2)

    return Panel(title, draw, text)


def length_panel(title: str, spans: Sequence[Span]) -> Panel:
    """Draw mAP over the code length: intervals as whiskers, bounds by the order of ties as a band.

    Examples:
        >>> line = Line("CMAH", [16, 32], [0.5, 0.75], "blue")
        >>> length_panel("mAP", [Span(line, [(0.4, 0.6), (0.7, 0.8)], [(0.5, 0.5), (0.7, 0.8)])]).text
        'mAP by code length. CMAH: 16 bits 0.500, 32 bits 0.750.'
    """

    def draw(axis: Axes) -> None:
        lengths = sorted({x for span in spans for x in span.line.x})
        for span in spans:
            line = span.line
            axis.fill_between(line.x, *np.array(span.ties).T, color=line.colour, alpha=0.16, linewidth=0)
            ends = np.abs(np.array(span.intervals).T - np.array(line.y))
            style = {"color": line.colour, "linestyle": line.dash, "label": line.label}
            axis.errorbar(line.x, line.y, yerr=ends, marker="o", capsize=2.5, **style)
        axis.set_xscale("log", base=2)
        axis.minorticks_off()
        axis.set_xticks(lengths, [f"{length:g}" for length in lengths])
        axis.set(xlabel="bits of a code (bar: interval, band: order of ties)", ylabel="mAP")
        _from_zero(
            axis, [value for span in spans for pair in (*span.ties, *span.intervals) for value in pair]
        )
        axis.grid(color=LINE, linewidth=0.6)
        axis.legend(frameon=False, loc="best")

    values = "; ".join(
        f"{span.line.label}: "
        + ", ".join(f"{x:g} bits {y:.3f}" for x, y in zip(span.line.x, span.line.y, strict=True))
        for span in spans
    )
    return Panel(title, draw, f"mAP by code length. {values}.", height=2.8)


def _rank_ticks(last: float) -> list[int]:
    """Ranks that are named on a logarithmic axis which ends at `last`."""
    if last < 10:
        return list(range(1, int(last) + 1))
    return [10**power for power in range(19) if 10**power <= last]


def _whole(axis: Axes) -> None:
    """Let an axis name whole numbers only: there is no bit 2.5."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _from_zero(axis: Axes, values: Sequence[float]) -> None:
    """Set the y axis of rates: from 0 to 1, or to a little above the largest value."""
    largest = max((value for value in values if not math.isnan(value)), default=1)
    axis.set_ylim(0, min(1.02, max(0.1, largest * 1.12)))


def bar_panel(
    title: str,
    names: Sequence[str],
    groups: Sequence[tuple[str, Sequence[float], str]],
    unit: str,
    top: float,
) -> Panel:
    """Horizontal bars: for each name one bar of each group, top to bottom.

    Args:
        title: title of the panel.
        names: names of the rows.
        groups: label, a value in 0..1 for each name, colour.
        unit: label of the values.
        top: end of the axis.

    Examples:
        >>> bar_panel("mAP", ["chair", "lamp"], [("CMAH", [0.9, 0.4], "#2f78b7")], "mAP", top=1.0).text
        'mAP, 2 categories. Best: chair; worst: lamp.'
    """
    thickness = 0.8 / len(groups)

    def draw(axis: Axes) -> None:
        rows = np.arange(len(names))
        for number, (label, values, colour) in enumerate(groups):
            places = rows - 0.4 + thickness * (number + 0.5)
            bars = axis.barh(places, values, thickness * 0.92, color=colour, label=label)
            for bar, name, value in zip(bars, names, values, strict=True):
                bar.set_gid(f"title:{name}, {label}: {value:.3f}")
        axis.set_yticks(rows, names)
        axis.set(ylim=(len(names) - 0.5, -0.5), xlim=(0, top), xlabel=unit)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color=LINE, linewidth=0.6)
        if len(groups) > 1:
            columns = max(1, 55 // max(len(label) + 6 for label, _, _ in groups))  # what fits above the bars
            axis.legend(
                frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=min(len(groups), columns)
            )
            if axis.get_title():  # above the legend
                axis.set_title(axis.get_title(), pad=8 + 14 * -(-len(groups) // columns))

    ends = f" Best: {names[0]}; worst: {names[-1]}." if names else ""
    return Panel(title, draw, f"{title}, {len(names)} categories.{ends}", 5.2, 1.0 + 0.21 * len(names))


def heat_panel(
    title: str,
    values: np.ndarray,
    axes: tuple[str, str],
    text: str,
    names: Sequence[str] | None = None,
) -> Panel:
    """A matrix as squares: blue for positive values, red for negative ones, the stronger the nearer to ±1.

    Args:
        title: title of the panel.
        values: [n, n] in -1..1; NaN is left empty.
        axes: labels of columns and rows.
        text: what the matrix shows, in words.
        names: names of rows and columns; None = their numbers.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> axis = Figure().subplots()
        >>> heat_panel("correlation", np.array([[1.0, -1.0]]), ("bit", "bit"), "Two bits.").draw(axis)
        >>> axis.images[0].get_array()[0].tolist()  # red, green, blue, strength: first blue, then red
        [[0.25, 0.52, 0.93, 1.0], [0.9, 0.38, 0.28, 1.0]]
    """

    def draw(axis: Axes) -> None:
        shares = np.nan_to_num(values)
        image = np.empty((*shares.shape, 4))
        image[..., :3] = np.where(shares[..., None] < 0, RED, BLUE)
        image[..., 3] = np.minimum(np.abs(shares), 1) ** 0.6  # so that small values are visible at all
        axis.imshow(image, interpolation="none", aspect="equal")
        axis.set(xlabel=axes[0], ylabel=axes[1])
        if names is None:
            _whole(axis.xaxis)
            _whole(axis.yaxis)
        else:
            size = 8.5 if len(names) <= 25 else 6.5
            axis.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
            axis.set_yticks(range(len(names)), names, fontsize=size)
            axis.tick_params(length=0)
            axis.set_xticks(np.arange(len(names)) - 0.5, minor=True)
            axis.set_yticks(np.arange(len(names)) - 0.5, minor=True)
            axis.grid(which="minor", color=LINE, linewidth=0.25)
            axis.tick_params(which="minor", length=0)
        for spine in axis.spines.values():
            spine.set_visible(True)

    side = 3.3 if names is None else min(max(3.6, 1.3 + 0.112 * len(names)), 12.0)
    return Panel(title, draw, text, side, side)


def balance_panel(title: str, ones: np.ndarray, text: str) -> Panel:
    """How often each bit is set, as bars from one half.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> axis = Figure().subplots()
        >>> balance_panel("balance", np.array([0.5, 0.75]), "The second bit is set too often.").draw(axis)
        >>> [float(bar.get_height()) for bar in axis.patches]
        [0.0, 0.25]
    """

    def draw(axis: Axes) -> None:
        colour = SERIES["series0"][0]
        axis.bar(np.arange(len(ones)), ones - 0.5, 0.85, bottom=0.5, color=colour)
        axis.axhline(0.5, color=SOFT, linewidth=0.8)
        axis.set(xlabel="bit", ylabel="share of codes with it set", xlim=(-0.8, len(ones) - 0.2))
        axis.set_ylim(0, 1)
        _whole(axis.xaxis)
        axis.grid(axis="y", color=LINE, linewidth=0.6)

    return Panel(title, draw, text, 3.3, 3.3)


def plane_panel(
    title: str, points: np.ndarray, categories: np.ndarray, is_shape: np.ndarray, text: str
) -> Panel:
    """Points in a plane, a colour per category: circles are images, triangles are shapes.

    Args:
        title: title of the panel.
        points: float [n, 2].
        categories: text [n]; "" is drawn in grey.
        is_shape: bool [n].
        text: what the points show, in words.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> axis = Figure().subplots()
        >>> points, names = np.array([[0.0, 0.0], [9.0, 9.0]]), np.array(["chair", "table_lamp"])
        >>> plane_panel("t-SNE", points, names, np.array([True, False]), "Far apart.").draw(axis)
        >>> [label.get_text() for label in axis.texts]
        ['chair', 'table lamp']
    """
    names = sorted({*categories.tolist()} - {""})

    def draw(axis: Axes) -> None:
        for name, colour in [("", SOFT), *zip(names, _hues(len(names)), strict=True)]:
            for mask, marker, size, modality in ((~is_shape, "o", 11, "image"), (is_shape, "^", 30, "shape")):
                chosen = (categories == name) & mask
                if chosen.any():
                    edge = {"edgecolors": CARD, "linewidths": 0.4} if marker == "^" else {"linewidths": 0}
                    label = f"title:{_words(name)} ({modality})"
                    axis.scatter(
                        *points[chosen].T, s=size, marker=marker, color=colour, gid=label, zorder=2, **edge
                    )
        taken: list[np.ndarray] = []
        span = np.ptp(points, axis=0).max() or 1.0
        for name in sorted(names, key=lambda name: -int((categories == name).sum())):
            place = _densest(points[categories == name])
            # a name that would overlap another is left out; hovering over its points shows it
            if all(
                abs(place - other)[1] > span * 0.035 or abs(place - other)[0] > span * 0.15 for other in taken
            ):
                taken.append(place)
                above = 8 if (categories == name).sum() < FEW else 0  # a name would hide few points
                axis.annotate(
                    _words(name), place, (0, above), textcoords="offset points", fontsize=7, ha="center",
                    va="center", color=INK, zorder=3,
                    bbox={"boxstyle": "round,pad=0.12", "facecolor": CARD, "edgecolor": "none", "alpha": 0.72},
                )  # fmt: skip
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.set_aspect("equal", adjustable="datalim")

    return Panel(title, draw, text, 5.6, 5.2)


def _densest(points: np.ndarray) -> np.ndarray:
    """The point with the nearest neighbours: the middle of the largest cluster."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    few = np.sort(distances, axis=1)[:, : max(2, len(points) // 3)]
    middle: np.ndarray = points[few.mean(axis=1).argmin()]
    return middle


def _hues(count: int) -> list[tuple[float, float, float]]:
    """Colours around the hue circle, of three lightnesses in turn, readable on light and dark."""
    return [
        colorsys.hls_to_rgb(i / max(count, 1), (0.50, 0.62, 0.40)[i % 3], (0.65, 0.70, 0.60)[i % 3])
        for i in range(count)
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")
