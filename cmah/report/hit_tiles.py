"""Pictures with captions in HTML: queries and their hits in rows, framed by relevance, enlarged by a click.

Colours are CSS variables with a light and a dark value, so that all pages look alike. Nothing is
loaded from elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

MARK = b'content="cmah"'  # bytes that each page of cmah has near its beginning
FRAMES = {True: ("good", "✓"), False: ("bad", "✗"), None: ("", "")}  # class and sign by relevance

# name of the variable: (on a light page, on a dark page)
COLOURS = {
    "back": ("#f6f7f9", "#14171c"),
    "card": ("#ffffff", "#1e232b"),
    "text": ("#1d2430", "#e6e9ef"),
    "soft": ("#5d6879", "#98a2b3"),
    "line": ("#d5dae2", "#39414d"),
    "good": ("#1a8f4a", "#3fbf77"),
    "bad": ("#cf3f3f", "#ef6b6b"),
    "query": ("#3b6fd4", "#7aa5f7"),
}


@dataclass(frozen=True)
class Tile:
    """A picture with the lines under it.

    Attributes:
        name: id of the item.
        picture: a `data:` address; "" = an empty frame.
        category: "" if unknown.
        note: one more short line, for example the distance.
        relevant: whether it is relevant to the query; frames it green or red. None if unknown: no frame colour.

    Examples:
        >>> hit = Tile("chairs/chair_000.obj", category="chair", note="2 bits", relevant=True)
        >>> rows_html([TileRow(Tile("view.png"), [hit])])
        '...<figure class="tile good" ...<b>chair</b><span>✓ 2 bits</span><i>chair_000.obj</i>...'
    """

    name: str
    picture: str = ""
    category: str = ""
    note: str = ""
    relevant: bool | None = None


@dataclass(frozen=True)
class TileRow:
    """A query and its hits, nearest first.

    Attributes:
        query: shown beside the hits.
        hits: in order.
        more: further pictures that the query is made of, shown below it.

    Examples:
        >>> hits = [Tile("chair_000", relevant=True), Tile("lamp_003", relevant=False)]
        >>> [hit.name for hit in TileRow(Tile("view.png"), hits).hits if hit.relevant]
        ['chair_000']
    """

    query: Tile
    hits: Sequence[Tile] = field(default_factory=tuple)
    more: Sequence[Tile] = field(default_factory=tuple)


def rows_html(rows: Sequence[TileRow]) -> str:
    """Queries and their hits as HTML, a row each; all text is escaped.

    Examples:
        >>> print(rows_html([TileRow(Tile("a < b"))]))
        <div class="search"><div class="query"><figure class="tile" title="a &lt; b"><div
        class="empty"></div><figcaption><i>a &lt; b</i></figcaption></figure></div><ol></ol></div>
    """
    return "".join(map(_row, rows))


def colour_rules(colours: Mapping[str, tuple[str, str]]) -> str:
    """CSS that declares variables: `--name` with the first colour, or with the second on a dark screen.

    Examples:
        >>> print(colour_rules({"back": ("#fff", "#000")}))
        :root { color-scheme: light dark; --back: #fff; }
        @media screen and (prefers-color-scheme: dark) { :root { --back: #000; } }
    """
    light, dark = (" ".join(f"--{name}: {pair[side]};" for name, pair in colours.items()) for side in (0, 1))
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
    )


def _row(row: TileRow) -> str:
    hits = "".join(f"<li>{_tile(hit)}</li>" for hit in row.hits)
    query = "".join(map(_tile, [row.query, *row.more]))
    return f'<div class="search"><div class="query">{query}</div><ol>{hits}</ol></div>\n'


def _tile(tile: Tile) -> str:
    frame, sign = FRAMES[tile.relevant]
    name, shown = escape(tile.name), escape(Path(tile.name).name)
    label = escape(" ".join(part for part in (tile.category, tile.note, tile.name) if part))
    picture = '<div class="empty"></div>'
    if tile.picture:
        image = f'<img src="{escape(tile.picture)}" alt="{label}">'
        picture = f'<button type="button" class="zoom" title="enlarge">{image}</button>'
    category = f"<b>{escape(tile.category.replace('_', ' '))}</b>" if tile.category else ""
    note = f"<span>{sign} {escape(tile.note)}</span>" if sign or tile.note else ""
    caption = f"<figcaption>{category}{note}<i>{shown}</i></figcaption>"
    return f'<figure class="{f"tile {frame}".strip()}" title="{name}">{picture}{caption}</figure>'


STYLE = (
    colour_rules(COLOURS)
    + """
body { font: 14px/1.45 system-ui, sans-serif; background: var(--back); color: var(--text); margin: 0 auto;
  padding: 1.2rem; }
.search { display: grid; grid-template-columns: 150px minmax(0, 1fr); gap: 1rem; margin: 1rem 0 0;
  padding: 1rem 0 0; border-top: 1px solid var(--line); break-inside: avoid; }
.search ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(108px, 1fr)); gap: .6rem; margin: 0;
  padding: 0; list-style: none; align-items: start; }
.tile { margin: 0; background: var(--card); border: 3px solid var(--line); border-radius: 8px; overflow: hidden; }
.tile.good { border-color: var(--good); } .tile.bad { border-color: var(--bad); }
.query .tile { border-color: var(--query); } .query .tile + .tile { margin-top: .6rem; }
.tile .zoom { all: unset; display: block; width: 100%; cursor: zoom-in; }
.tile .zoom:focus-visible { outline: 3px solid var(--query); outline-offset: -3px; }
.tile img, .tile .empty { display: block; width: 100%; aspect-ratio: 1; background: #fff; object-fit: contain;
  padding: 4px; box-sizing: border-box; }
.tile .empty { background: repeating-linear-gradient(45deg, transparent 0 8px, var(--line) 8px 9px); }
.tile figcaption { padding: .3rem .4rem .4rem; font-size: .82rem; }
.tile figcaption > * { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.tile figcaption i { color: var(--soft); font-style: normal; font-size: .72rem; }
.good span { color: var(--good); } .bad span { color: var(--bad); }
#enlarged { border: 0; padding: 0; background: none; width: min(90vw, 75vh, 34rem); }
#enlarged::backdrop { background: rgb(0 0 0 / .7); }
#enlarged .tile { color: var(--text); font-size: 1.2em; } #enlarged .zoom { cursor: zoom-out; }
#enlarged figcaption > * { white-space: normal; overflow-wrap: anywhere; }
@media (max-width: 640px) { body { padding: .7rem; }
  .search { grid-template-columns: minmax(0, 1fr); gap: .6rem; } .query { max-width: 33%; }
  .search ol { grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .4rem; } }
@media print { * { print-color-adjust: exact; } }
"""
)

# The keyboard needs no code: pictures are buttons, and a dialog closes with Escape.
SCRIPT = """
const enlarged = document.getElementById("enlarged");
document.addEventListener("click", event => {
  const picture = event.target.closest(".zoom");
  if (enlarged.open) enlarged.close();
  else if (picture) {
    enlarged.replaceChildren(picture.closest("figure").cloneNode(true));
    enlarged.showModal();
  }
});
"""
# goes to the end of a page's body
DIALOG = f'<dialog id="enlarged" aria-label="enlarged picture"></dialog><script>{SCRIPT}</script>'
