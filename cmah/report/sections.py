"""The sections of a page, from evaluations to tables, texts and figures: categories, confusion, t-SNE, bits."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from cmah.codes import BinaryCodes
from cmah.evaluation.evaluations import Evaluation, by_direction, longest
from cmah.evaluation.relevance import Vectors
from cmah.report import panels
from cmah.report.figures import Figure, series
from cmah.report.hit_tiles import TileRow
from cmah.report.nearest_items import nearest
from cmah.report.statistics import bit_statistics, confusion, sample, tsne_plane

HITS = 10  # of each query: shown, and counted in the confusion
PLANE_ROWS = 1500  # most codes in the t-SNE
BARS = 60  # most categories with a bar of their own
FirstHits = tuple[
    Evaluation, np.ndarray, np.ndarray
]  # with positions and distances [q, HITS] of the first hits


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        caption: its title.
        head: headings of the columns; the first `labels` of them name the row.
        rows: a cell for each column, in HTML.
        labels: number of columns that are not numbers.

    Examples:
        >>> table = Table("Mix-ups", ("asked for", "found", "of hits"), [["chair", "sofa", "12%"]])
        >>> table.head[: table.labels]  # what names a row
        ('asked for', 'found')
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    labels: int = 2


@dataclass(frozen=True)
class Section:
    """A section of the page; empty parts are not shown.

    Attributes:
        name: anchor of the section.
        title: its heading.
        text: paragraphs under it: what one sees.
        cards: large numbers: (heading, number, names and values under it).
        tables: numbers.
        notes: short lines under the tables.
        figures: curves and the like.
        columns: how many panels a wide screen shows side by side.
        searches: (title, text, queries with their hits).
        details: (name, value) pairs.
        listing: heading and preformatted text that opens on demand.
        plain: whether hits are shown without pictures.

    Examples:
        >>> section = Section("made", "How it was made", details=[("seed", "0"), ("cmah", "0.1.0")])
        >>> dict(section.details)["seed"], section.tables, section.columns
        ('0', (), 3)
    """

    name: str
    title: str
    text: Sequence[str] = ()
    cards: Sequence[tuple[str, str, Sequence[tuple[str, str]]]] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    columns: int = 3
    searches: Sequence[tuple[str, str, Sequence[TileRow]]] = ()
    details: Sequence[tuple[str, str]] = ()
    listing: tuple[str, str] = ("", "")
    plain: bool = False


def category_section(evaluations: Sequence[Evaluation]) -> Section | None:
    """The mAP of each category, best first; None where categories are unknown.

    Examples:
        >>> from cmah.evaluation.comparing import evaluate_files
        >>> done = evaluate_files("demo/codes/image.npz", "demo/codes/shape.npz").evaluations
        >>> category_section(done).figures[0].panels[0].text
        'mAP by category, 64 bits, ... categories. Best: ...; worst: ....'
    """
    shown = [evaluation for evaluation in longest(evaluations) if evaluation.report.per_class.get("category")]
    if not shown:
        return None
    several = len({evaluation.name for evaluation in shown}) > 1
    parts, all_drawn = [], True
    for direction, group in by_direction(shown) if several else [(shown[0].width, shown)]:
        columns = [
            dict(zip(*(r.report.per_class[key] for key in ("category", "map")), strict=True)) for r in group
        ]
        score: dict[str, float] = {}
        for name in {name for column in columns for name in column}:
            values = [number_of(column.get(name)) for column in columns]
            if not all(map(math.isnan, values)):
                score[name] = float(np.nanmean(values))
        order = sorted(score, key=lambda name: (-score[name], name))
        if len(order) > BARS:
            all_drawn, order = False, order[: BARS // 2] + order[-BARS // 2 :]
        bars = [
            (
                evaluation.name if several else evaluation.arrow,
                [number_of(column.get(name)) for name in order],
                series(number)[0],
            )
            for number, (evaluation, column) in enumerate(zip(group, columns, strict=True))
        ]
        words = [name.replace("_", " ") for name in order]
        largest = max((value for _, values, _ in bars for value in values if value > 0), default=1.0)
        top = min(1.0, largest * 1.05)
        middle = len(words) if several or len(words) < 16 else (len(words) + 1) // 2
        for part in (slice(0, middle), slice(middle, None)):
            cut = [(label, values[part], colour) for label, values, colour in bars]
            if words[part]:
                parts.append(panels.bar_panel(f"mAP by category, {direction}", words[part], cut, "mAP", top))
    if not parts:
        return None
    text = ["Sorted by the mean of the bars. A category of few shapes may stand high or low by chance."]
    if not all_drawn:
        text.append(f"Only the {BARS // 2} best and the {BARS // 2} worst are drawn.")
    return Section("classes", "Categories", text, figures=[Figure("categories", parts)], columns=2)


def hits_of_longest(evaluations: Sequence[Evaluation]) -> list[FirstHits]:
    """The first hits of the longest codes of each direction; of those that rank all items only.

    Examples:
        >>> from cmah.evaluation.comparing import evaluate_files
        >>> done = evaluate_files("demo/codes/image.npz", "demo/codes/shape.npz").evaluations
        >>> len(done), [evaluation.width for evaluation, positions, distances in hits_of_longest(done)]
        (3, ['64 bits'])
    """
    return [
        (evaluation, *nearest(evaluation.query, evaluation.database, HITS, reranked=evaluation.reranked))
        for evaluation in longest(evaluations)
        if evaluation.report.rules.candidates == "all"
    ]


def confusion_section(hits: Sequence[FirstHits]) -> Section | None:
    """Which categories the first hits have; None where categories are unknown.

    Examples:
        >>> from cmah.evaluation.comparing import evaluate_files
        >>> done = evaluate_files("demo/codes/image.npz", "demo/codes/shape.npz").evaluations
        >>> table = confusion_section(hits_of_longest(done)).tables[0]
        >>> table.caption, table.head
        ('Most frequent mix-ups, image → shape', ('asked for', 'found', 'of hits'))
    """
    parts, tables = [], []
    for evaluation, positions, _ in hits:
        if evaluation.query.categories is None or evaluation.database.categories is None:
            continue
        shares = confusion(evaluation.query, evaluation.database, positions)
        mean = shares.mean_own()
        if math.isnan(mean):
            continue
        words = [name.replace("_", " ") for name in shares.names]
        what = f"Categories of the first {HITS} hits by category of the query; {mean:.0%} are of the query's."
        axes = ("category of the hit", "category of the query")
        kept, title = list(range(len(words))), f"{evaluation.arrow}, {evaluation.width}"
        if len(words) > BARS:
            counts = Counter(evaluation.query.categories.tolist())
            kept = sorted(sorted(kept, key=lambda i: -counts[shares.names[i]])[:BARS])
            title += f", the {BARS} largest of {len(words)} categories"
        parts.append(panels.heat_panel(title, shares.matrix(kept), axes, what, [words[i] for i in kept]))
        rows = [
            [*(escape(name.replace("_", " ")) for name in pair), f"{share:.0%}"]
            for *pair, share in shares.mix_ups()
        ]
        tables.append(
            Table(f"Most frequent mix-ups, {evaluation.arrow}", ("asked for", "found", "of hits"), rows)
        )
    if not parts:
        return None
    text = [
        f"Each row is a category of queries, each column a category of their first {HITS} hits: a perfect ranking "
        "would fill the diagonal only (as far as a category has items enough)."
    ]
    figures = [Figure("confusion", parts)]
    return Section("confusion", "Confusion", text, tables=tables, figures=figures, columns=2)


def plane_section(
    evaluations: Sequence[Evaluation], before: Sequence[Evaluation], seed: int
) -> Section | None:
    """The t-SNE of codes of both modalities, before training too where there are such; None for under four codes.

    Examples:
        >>> from cmah.evaluation import evaluate
        >>> bits, names = [[0, 0], [0, 1], [1, 0], [1, 1]], ["chair", "chair", "lamp", "lamp"]
        >>> codes = BinaryCodes.from_bits(bits, categories=names)
        >>> done = Evaluation("image -> image", codes, codes, evaluate(codes, codes))
        >>> plane_section([done], before=(), seed=0).figures[0].panels[0].text
        't-SNE of 4 rows (2 bits), coloured by category.'
    """
    pairs = [("before training", pair) for pair in longest(before)[:1]]
    pairs += [("after training" if pairs else "", longest(evaluations)[0])]
    drawn, counts = [], []
    for when, evaluation in pairs:
        parts = [evaluation.query]
        if evaluation.query != evaluation.database:
            parts.append(evaluation.database)
        chosen: list[Vectors] = [
            part[rows] for part, rows in zip(parts, sample(parts, PLANE_ROWS, seed), strict=True)
        ]
        if sum(map(len, chosen)) < 4:
            return None
        categories = np.concatenate([categories_of(part) for part in chosen])
        is_shape = np.concatenate([np.full(len(part), part.modality == "shape") for part in chosen])
        title = ", ".join(part for part in (when, evaluation.width) if part)
        what = f"t-SNE of {len(categories)} rows ({title}), coloured by category."
        drawn.append(panels.plane_panel(title, tsne_plane(chosen, seed), categories, is_shape, what))
        counts = [f"{len(part)} {part.modality or 'row'}s" for part in chosen]
    text = [
        f"{' and '.join(counts)} in one plane (t-SNE, seed {seed}), ● image, ▲ shape, a colour a category. Where both "
        "modalities of a category share a place, a search crosses between them. Distances between heaps mean little."
    ]
    return Section("plane", "Map of the codes", text, figures=[Figure("tsne", drawn)], columns=2)


def bits_section(evaluations: Sequence[Evaluation]) -> Section | None:
    """Balance and correlation of the bits of each modality; None without codes.

    Examples:
        >>> from cmah.evaluation import evaluate
        >>> bits, names = [[0, 0], [0, 1], [1, 0], [1, 1]], ["chair", "chair", "lamp", "lamp"]
        >>> codes = BinaryCodes.from_bits(bits, categories=names)
        >>> bits_section([Evaluation("image -> image", codes, codes, evaluate(codes, codes))]).notes[0]
        'query codes: bits are off balance by 0.000 on average; mean |correlation| of two bits 0.000
        (independent bits would show 0.399 at 4 rows); 0 constant bits; 4 different codes among 4.'
    """
    evaluation = longest(evaluations)[0]
    codes_of = {
        codes.modality or role: codes
        for role, codes in (("database", evaluation.database), ("query", evaluation.query))
    }
    balances, correlations, notes = [], [], []
    for name, codes in reversed(codes_of.items()):
        if not isinstance(codes, BinaryCodes) or not len(codes):
            continue
        bits = bit_statistics(codes)
        off = float(np.abs(bits.ones - 0.5).mean())
        chance = math.sqrt(2 / (math.pi * bits.rows))
        words = (
            f"{name} codes: bits are off balance by {off:.3f} on average; mean |correlation| of two bits "
            f"{bits.mean_correlation:.3f} (independent bits would show {chance:.3f} at {bits.rows} rows); "
            f"{bits.constant} constant bits; {bits.distinct} different codes among {bits.rows}."
        )
        notes.append(words)
        balances.append(panels.balance_panel(f"balance, {name} codes", bits.ones, words))
        correlations.append(
            panels.heat_panel(f"correlation, {name} codes", bits.correlation, ("bit", "bit"), words)
        )
    if not balances:
        return None
    text = [
        "A bit tells most if half of the codes have it set (no bar), and if no other bit says the same (faint squares "
        "off the diagonal). Blue: two bits are alike; red: opposite."
    ]
    figures = [Figure("balance", balances), Figure("correlation", correlations)]
    return Section("bits", "Bits", text, notes=notes, figures=figures, columns=4)


def categories_of(vectors: Vectors) -> np.ndarray:
    """The category of each row, text [n]; "" where unknown.

    Examples:
        >>> categories_of(BinaryCodes.from_bits([[0, 1], [1, 1]])).tolist()
        ['', '']
    """
    return np.full(len(vectors), "") if vectors.categories is None else vectors.categories


def number_of(value: float | None) -> float:
    """A value as a float; NaN for None.

    Examples:
        >>> number_of(None), number_of(1)
        (nan, 1.0)
    """
    return math.nan if value is None else float(value)
