"""The numbers of a report: cards of the mAP, tables of all measures, the rules under them."""

import math
from collections.abc import Sequence
from html import escape

from cmah.evaluation.evaluations import (
    Evaluation,
    by_direction,
    costs_of_hashing,
    gains_of_reranking,
    longest,
)
from cmah.evaluation.measure_table import BOUNDS, INTERVAL, definition, heading, measure_of, value_text
from cmah.report.curves import lengths_figure
from cmah.report.sections import Section, Table


def numbers_section(
    evaluations: Sequence[Evaluation], before: Sequence[Evaluation], measured: Sequence[str] = ()
) -> Section:
    """The metrics by length and direction, with their rules.

    Args:
        evaluations: what the tables show.
        before: evaluations of the same directions from before training.
        measured: lines that say what is measured and what is left out.

    Examples:
        >>> from cmah.evaluation.comparing import evaluate_files
        >>> done = evaluate_files("demo/codes/image.npz", "demo/codes/shape.npz").evaluations
        >>> section = numbers_section(done, before=())
        >>> section.cards[0]
        ('mAP image → shape, 64 bits', '0...', [('95 % interval', '0... – ...'), ...])
        >>> [row[:2] for row in section.tables[0].rows]
        [['image → shape', '16 bits'], ['image → shape', '32 bits'], ['image → shape', '64 bits']]
    """
    several = len({evaluation.name for evaluation in evaluations}) > 1
    cards = [_card(evaluation, before) for evaluation in longest(evaluations)] if not several else []
    names = list(dict.fromkeys(name for evaluation in evaluations for name in evaluation.report.values))
    groups: dict[str, list[str]] = {"ranking": [], "tiers": [], "shape": [], "mi3dor": []}
    for name in names:
        if name != "map" and not name.endswith((*BOUNDS, *INTERVAL)):
            groups[measure_of(name).group].append(name)
    tables = [_main_table(evaluations, before, groups["ranking"])]
    if groups["tiers"]:
        tables.append(_table("Measures of 3D retrieval", evaluations, groups["tiers"]))
    if groups["shape"]:
        tables.append(_table("The very shape", evaluations, groups["shape"]))
    if groups["mi3dor"]:
        tables.append(_table("As MI3DOR's script counts", evaluations, groups["mi3dor"]))
    notes = [
        f"cost of hashing, {evaluation.arrow}, {_label(evaluation)}: {cost:+.3f} (float mAP − code mAP)"
        for evaluation, cost in costs_of_hashing(evaluations)
    ]
    notes += [
        f"gain of re-ranking, {evaluation.arrow}, {_label(evaluation)}: {gain:+.3f} (re-ranked mAP − code mAP)"
        for evaluation, gain in gains_of_reranking(evaluations)
    ]
    notes += list(
        dict.fromkeys(line for evaluation in evaluations for line in evaluation.report.rules.lines())
    )
    notes += dict.fromkeys(
        f"{evaluation.arrow}: {evaluation.report.rules.counts()}" for evaluation in evaluations
    )
    notes += measured
    notes += dict.fromkeys(definition(name) for group in groups.values() for name in group)
    text = [
        f"The best values of a direction{' and length' if several else ''} are bold. The numbers hold under the "
        "rules below the tables, and no others."
    ]
    figure = lengths_figure(evaluations)
    return Section("numbers", "Numbers", text, cards, tables, notes, [figure] if figure else [])


def _card(evaluation: Evaluation, before: Sequence[Evaluation]) -> tuple[str, str, list[tuple[str, str]]]:
    """The mAP of an evaluation, large, and what belongs to it."""
    report = evaluation.report
    lines = [
        (
            "by the order of ties",
            f"{value_text('map', report['map_worst'])} – {value_text('map', report['map_best'])}",
        )
    ]
    if "map_low" in report:
        interval = f"{value_text('map', report['map_low'])} – {value_text('map', report['map_high'])}"
        lines.insert(0, ("95 % interval", interval))
    earlier = _earlier(before).get((evaluation.direction, evaluation.width))
    if earlier:
        lines.append(("before training", value_text("map", earlier.report["map"])))
    wanted = ("map_class", "p@10", "nn", "acc@1", "acc@10")
    lines += [(heading(name), value_text(name, report[name])) for name in wanted if name in report]
    return f"mAP {evaluation.arrow}, {evaluation.width}", value_text("map", report["map"]), lines


def _earlier(before: Sequence[Evaluation]) -> dict[tuple[str, str], Evaluation]:
    return {(evaluation.direction, evaluation.width): evaluation for evaluation in before}


def _main_table(
    evaluations: Sequence[Evaluation], before: Sequence[Evaluation], columns: Sequence[str]
) -> Table:
    earlier = _earlier(before)
    head = ["direction", "codes", "mAP", "from 0 to 1", "95 % interval", "worst – best order of ties"]
    if before:
        head.insert(3, "before")
    table = _table("Mean average precision and first ranks", evaluations, ["map", *columns])
    rows = []
    for evaluation, row in zip(_sorted(evaluations), table.rows, strict=True):
        value = evaluation.report.values
        low, high = (value.get(name, math.nan) for name in ("map_low", "map_high"))
        interval = "–" if math.isnan(low) else f"{low:.3f} – {high:.3f}"
        ties = f"{value_text('map', value['map_worst'])} – {value_text('map', value['map_best'])}"
        cells = [_spread_drawing(evaluation), interval, ties]
        if before:
            match = earlier.get((evaluation.direction, evaluation.width))
            cells.insert(0, value_text("map", match.report["map"]) if match else "–")
        rows.append([*row[:3], *cells, *row[3:]])
    return Table(table.caption, [*head, *table.head[3:]], rows)


def _table(caption: str, evaluations: Sequence[Evaluation], columns: Sequence[str]) -> Table:
    rows = []
    several = len({evaluation.name for evaluation in evaluations}) > 1
    for direction, group in by_direction(evaluations):
        for evaluation in group:
            # the lengths of one method compete with each other; several methods compete at each length
            rivals = [
                r for r in group if not several or r.report.rules.width == evaluation.report.rules.width
            ]
            cells = []
            for name in columns:
                value = evaluation.report.values.get(name, math.nan)
                values = [v for r in rivals if not math.isnan(v := r.report.values.get(name, math.nan))]
                best = (min if measure_of(name).lower_is_better else max)(values, default=math.nan)
                bold = len(values) > 1 and value_text(name, value) == value_text(name, best)
                cells.append(f"<b>{value_text(name, value)}</b>" if bold else value_text(name, value))
            rows.append([escape(direction), escape(_label(evaluation)), *cells])
    return Table(caption, ["direction", "codes", *map(heading, columns)], rows)


def _label(evaluation: Evaluation) -> str:
    return ", ".join(part for part in (evaluation.name, evaluation.width) if part)


def _sorted(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    return [evaluation for _, group in by_direction(evaluations) for evaluation in group]


def _spread_drawing(evaluation: Evaluation) -> str:
    """The mAP on a line from 0 to 1: interval as a bar, bounds by the order of ties as a thin line."""
    value = {name: 100 * x for name, x in evaluation.report.values.items() if name.startswith("map")}
    if math.isnan(value["map"]):
        return "–"
    low, high = value.get("map_low", value["map"]), value.get("map_high", value["map"])
    if math.isnan(low):
        low = high = value["map"]
    worst, best = value["map_worst"], value["map_best"]
    return (
        '<svg class="spread" viewBox="0 0 100 12" aria-hidden="true"><path class="rail" d="M0 6H100M50 4V8"/>'
        f'<path class="ties" d="M{worst:.1f} 6H{best:.1f}"/>'
        f'<rect x="{low:.1f}" y="3" width="{max(high - low, 0.5):.1f}" height="6" rx="1"/>'
        f'<circle cx="{value["map"]:.1f}" cy="6" r="2.2"/></svg>'
    )
