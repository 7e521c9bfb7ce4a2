"""The numbers of a report: cards, tables, their rules."""

import math
from collections.abc import Sequence
from html import escape

from cmah.evaluation.findings import Result, costs_of_hashing, directions, longest
from cmah.evaluation.terminal import DEFINITIONS, base_name, heading, value_text
from cmah.report.curves import lengths
from cmah.report.sections import Section, Table

LOWER = ("anmrr", "median_rank", "hau", "chamfer")  # is better
BOUNDS = ("_best", "_worst", "_low", "_high")


def numbers(results: Sequence[Result], before: Sequence[Result]) -> Section:
    """The metrics by length and direction, with their rules."""
    several = len({result.name for result in results}) > 1
    cards = [_card(result, before) for result in longest(results)] if not several else []
    names = list(dict.fromkeys(name for result in results for name in result.report.values))
    groups: dict[str, list[str]] = {"ranking": [], "tiers": [], "shape": []}
    for name in names:
        if name != "map" and not name.endswith(BOUNDS):
            groups[_group(name)].append(name)
    tables = [_main_table(results, before, groups["ranking"])]
    if groups["tiers"]:
        tables.append(_table("Measures of 3D retrieval", results, groups["tiers"]))
    if groups["shape"]:
        tables.append(_table("The very shape", results, groups["shape"]))
    notes = [
        f"cost of hashing, {result.arrow}, {_what(result)}: {cost:+.3f} (float mAP − code mAP)"
        for result, cost in costs_of_hashing(results)
    ]
    notes += list(dict.fromkeys(line for result in results for line in result.report.rules.lines()))
    notes += dict.fromkeys(f"{result.arrow}: {result.report.rules.counts()}" for result in results)
    names = [base_name(name) for group in groups.values() for name in group]
    notes += dict.fromkeys(DEFINITIONS[name] for name in names if name in DEFINITIONS)
    text = [
        f"The best values of a direction{' and length' if several else ''} are bold. The numbers hold under the "
        "rules below the tables, and no others."
    ]
    figure = lengths(results)
    return Section("numbers", "Numbers", text, cards, tables, notes, [figure] if figure else [])


def _card(result: Result, before: Sequence[Result]) -> tuple[str, str, list[tuple[str, str]]]:
    """The mAP of a result, large, and what belongs to it."""
    report = result.report
    lines = [
        (
            "by the order of ties",
            f"{value_text('map', report['map_worst'])} – {value_text('map', report['map_best'])}",
        )
    ]
    if "map_low" in report:
        interval = f"{value_text('map', report['map_low'])} – {value_text('map', report['map_high'])}"
        lines.insert(0, ("95 % interval", interval))
    earlier = _earlier(before).get((result.direction, result.width))
    if earlier:
        lines.append(("before training", value_text("map", earlier.report["map"])))
    wanted = ("map_class", "p@10", "nn", "acc@1", "acc@10")
    lines += [(heading(name), value_text(name, report[name])) for name in wanted if name in report]
    return f"mAP {result.arrow}, {result.width}", value_text("map", report["map"]), lines


def _earlier(before: Sequence[Result]) -> dict[tuple[str, str], Result]:
    return {(result.direction, result.width): result for result in before}


def _main_table(results: Sequence[Result], before: Sequence[Result], columns: Sequence[str]) -> Table:
    earlier = _earlier(before)
    head = ["direction", "codes", "mAP", "from 0 to 1", "95 % interval", "worst – best order of ties"]
    if before:
        head.insert(3, "before")
    table = _table("Mean average precision and first ranks", results, ["map", *columns])
    rows = []
    for result, row in zip(_sorted(results), table.rows, strict=True):
        value = result.report.values
        low, high = (value.get(name, math.nan) for name in ("map_low", "map_high"))
        interval = "–" if math.isnan(low) else f"{low:.3f} – {high:.3f}"
        ties = f"{value_text('map', value['map_worst'])} – {value_text('map', value['map_best'])}"
        cells = [_spread(result), interval, ties]
        if before:
            match = earlier.get((result.direction, result.width))
            cells.insert(0, value_text("map", match.report["map"]) if match else "–")
        rows.append([*row[:3], *cells, *row[3:]])
    return Table(table.caption, [*head, *table.head[3:]], rows)


def _table(caption: str, results: Sequence[Result], columns: Sequence[str]) -> Table:
    rows = []
    several = len({result.name for result in results}) > 1
    for direction, group in directions(results):
        for result in group:
            # lengths of one method compete with each other, methods at one length
            rivals = [r for r in group if not several or r.report.rules.width == result.report.rules.width]
            cells = []
            for name in columns:
                value = result.report.values.get(name, math.nan)
                known = [v for r in rivals if not math.isnan(v := r.report.values.get(name, math.nan))]
                best = (min if name in LOWER else max)(known, default=math.nan)
                bold = len(known) > 1 and value_text(name, value) == value_text(name, best)
                cells.append(f"<b>{value_text(name, value)}</b>" if bold else value_text(name, value))
            rows.append([escape(direction), escape(_what(result)), *cells])
    return Table(caption, ["direction", "codes", *map(heading, columns)], rows)


def _what(result: Result) -> str:
    return ", ".join(part for part in (result.name, result.width) if part)


def _sorted(results: Sequence[Result]) -> list[Result]:
    return [result for _, group in directions(results) for result in group]


def _spread(result: Result) -> str:
    """The mAP on a line from 0 to 1: interval as a bar, bounds by the order of ties as a thin line."""
    value = {name: 100 * x for name, x in result.report.values.items() if name.startswith("map")}
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


def _group(name: str) -> str:
    if name.startswith(("acc@", "map_instance@")) or name in ("mrr", "median_rank", "hau", "chamfer"):
        return "shape"
    return "ranking" if name.startswith(("p@", "r@", "map", "ndcg@")) else "tiers"
