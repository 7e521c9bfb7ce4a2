"""Sheets of queries and hits: one self-contained HTML page, pictures inside, readable on a phone, light or dark."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from cmah.files import atomic_path, require_replaceable
from cmah.report.hit_tiles import DIALOG, MARK, STYLE, TileRow, rows_html

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="cmah"><title>{title}</title><style>{style}</style></head>
<body><h1>{title}</h1>{lines}
{body}{dialog}</body></html>
"""

_STYLE = """
body { max-width: 1500px; }
h1 { font-size: 1.35rem; margin: 0 0 .3rem; }
p { color: var(--soft); margin: .15rem 0; overflow-wrap: anywhere; }
"""


def refuse_to_replace(path: str | Path) -> None:
    """See that a sheet may be written to a path.

    Raises:
        CmahError: if there is a file that no command of cmah wrote as a page.

    Examples:
        >>> refuse_to_replace("new.html")  # nothing there, nothing lost
        >>> _ = Path("notes.html").write_text("<h1>mine</h1>")
        >>> refuse_to_replace("notes.html")
        Traceback (most recent call last):
        cmah.errors.CmahError: notes.html: exists and is not such a file as is written here; ...
    """
    require_replaceable(path, MARK)


def write_sheet(path: str | Path, title: str, rows: Sequence[TileRow], notes: Sequence[str] = ()) -> None:
    """Write the page, whole or not at all.

    Args:
        path: the .html file.
        title: heading of the page.
        rows: queries with their hits, in order.
        notes: lines of plain text under the heading.

    Examples:
        >>> import re
        >>> from cmah.report.hit_tiles import Tile
        >>> hits = [Tile("chair_000", relevant=True), Tile("lamp_003", relevant=False)]
        >>> write_sheet("hits.html", "Hits", [TileRow(Tile("view.png"), hits)], notes=["codes of 64 bits"])
        >>> re.findall("<p>(.*?)</p>", Path("hits.html").read_text(encoding="utf-8"))
        ['codes of 64 bits', '1 of 2 hits are of the query&#x27;s category (green).']
    """
    judged = [hit.relevant for row in rows for hit in row.hits if hit.relevant is not None]
    legend = f"{sum(judged)} of {len(judged)} hits are of the query's category (green)." if judged else ""
    lines = "".join(f"<p>{escape(note)}</p>" for note in (*notes, legend) if note)
    body = rows_html(rows) or "<p>No query.</p>"
    page = _PAGE.format(title=escape(title), style=STYLE + _STYLE, lines=lines, body=body, dialog=DIALOG)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
