"""The sheet: whole, escaped, self-contained."""

from cmah.report.hit_tiles import Tile, TileRow
from cmah.report.hits_page import write_sheet


def test_page(tmp_path):
    hits = [Tile("a<b>", "data:image/png;base64,AA", "sofa_bench", "3 bits", True), Tile("b", relevant=False)]
    write_sheet(
        tmp_path / "x.html",
        "Title & more",
        [TileRow(Tile("q"), hits), TileRow(Tile("r"))],
        ["a note", "<script>"],
    )
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    for part in ("Title &amp; more", "a&lt;b&gt;", "sofa bench", "✓ 3 bits", "&lt;script&gt;", "1 of 2 hits"):
        assert part in page
    assert page.count("<script>") == 1  # the page's own, which enlarges pictures
    assert "prefers-color-scheme: dark" in page
    assert "max-width: 640px" in page


def test_a_query_of_several_pictures(tmp_path):
    row = TileRow(Tile("a", "data:a"), [Tile("hit")], [Tile("b", "data:b"), Tile("c")])
    write_sheet(tmp_path / "x.html", "Title", [row])
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    query = page.partition('<div class="query">')[2].partition("</div><ol>")[0]
    assert [query.count(part) for part in ("<figure", "data:a", "data:b", "<i>c</i>")] == [3, 1, 1, 1]
