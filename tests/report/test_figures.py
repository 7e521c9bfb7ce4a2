"""Figures: what they draw, that several may stand in one page, and that they follow its colours."""

import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure as Sheet
from PIL import Image

from cmah.report import panels
from cmah.report.figures import PALETTE, RAMP, SERIES, Figure, inline, ramp, save, series

NAN = float("nan")
ODD = 'a<b> & "c" $x_1$'


def line_figure(name="lines"):
    lines = [
        panels.Line(ODD, [1, 10, 100], [0.5, 0.25, NAN], ramp(2)[0]),
        panels.Line("b", [1, 2], [0.1, 0.2], ramp(2)[1]),
    ]
    panel = panels.line_panel("t", lines, ("K", "P"), "text <of> it", logarithmic=True)
    return Figure(name, [panel, panel])


def all_kinds():
    span = panels.Span(
        panels.Line("m", [16, 32], [0.2, 0.3], series(0)[0]),
        [(0.1, 0.3), (NAN, NAN)],
        [(0.2, 0.4), (0.3, 0.3)],
    )
    square = np.array([[1, -0.5], [NAN, 0.25]])
    plane = (
        np.random.default_rng(0).standard_normal((9, 2)),
        np.array(["", "x", "y_z"] * 3),
        np.arange(9) % 2 == 0,
    )
    return Figure(
        "kinds",
        [
            panels.length_panel("lengths", [span]),
            panels.bar_panel(
                "bars", ["x", ODD], [("a", [0.5, NAN], series(0)[0]), ("b", [1, 0], series(1)[0])], "mAP", 1
            ),
            panels.heat_panel("heat", square, ("bit", "bit"), "of bits"),
            panels.heat_panel("named", square, ("bit", "bit"), "of names", [ODD, "b"]),
            panels.balance_panel("balance", np.array([0.5, 1, 0]), "of bits"),
            panels.plane_panel("plane", *plane, "of rows"),
        ],
    )


@pytest.fixture(scope="module")
def drawings():
    return [*inline(all_kinds()), *inline(line_figure()), *inline(line_figure("again"))]


def test_drawings_can_stand_in_one_page(drawings):
    page = ET.fromstring("<page>" + "".join(drawings) + "</page>")  # all of it is well-formed
    ids = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    text = "".join(drawings)
    wanted = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert wanted
    assert wanted <= set(ids)
    assert "http" not in text
    assert "<metadata" not in text
    assert len(page) == 10
    for drawing in page:
        assert drawing.tag == "svg"
        assert drawing.get("role") == "img"
        assert drawing.get("aria-label")


def test_drawings_take_the_colours_of_the_page(drawings):
    text = "".join(drawings)
    for name in ("text", "soft", "line", "series0", "series1"):
        assert f"var(--{name})" in text
    for light, _ in PALETTE.values():
        assert f": {light}" not in text
    assert "font:" not in text


def test_names_are_text_as_they_are(drawings):
    """Neither markup nor formulas; and pointing at a curve or bar tells its name."""
    page = ET.fromstring("<page>" + "".join(drawings) + "</page>")
    texts = [element.text for element in page.iter("text")]
    titles = [element.text for element in page.iter("title")]
    assert ODD in texts
    assert ODD in titles
    assert f"{ODD}, b: 0.000" in titles
    assert "y z (shape)" in titles


@pytest.mark.slow
def test_files_are_whole_and_repeat_themselves(tmp_path):
    first = [path.read_bytes() for path in save(all_kinds(), tmp_path / "a")]
    again = [path.read_bytes() for path in save(all_kinds(), tmp_path / "b")]
    assert first == again
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["kinds.png", "kinds.svg"]
    ET.fromstring(first[0].decode())
    assert b"<text" not in first[0]  # outlines, whatever fonts a reader has
    image = Image.open(tmp_path / "a" / "kinds.png")
    assert image.width == pytest.approx(200 * sum(panel.width for panel in all_kinds().panels), abs=2)


def drawn(panel):
    axis = Sheet().subplots()
    panel.draw(axis)
    return axis


def test_lines_are_drawn_as_given():
    axis = drawn(line_figure().panels[0])
    first, second = axis.get_lines()
    assert first.get_xdata().tolist() == [1, 10, 100]
    assert second.get_ydata().tolist() == [0.1, 0.2]
    assert axis.get_xscale() == "log"
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["1", "10", "100"]
    assert axis.get_ylim() == pytest.approx((0, 0.56))
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [ODD, "b"]


def test_rates_never_leave_the_axis():
    line = panels.Line("a", [0, 1], [0.2, 1.0], series(0)[0])
    assert drawn(panels.line_panel("t", [line], ("x", "y"), "")).get_ylim() == (0, 1.02)
    nothing = panels.Line("a", [0, 1], [NAN, NAN], series(0)[0])
    assert drawn(panels.line_panel("t", [nothing], ("x", "y"), "")).get_ylim() == (0, 1.02)


def test_heat_is_blue_for_alike_and_red_for_opposite():
    image = (
        drawn(panels.heat_panel("t", np.array([[1, -1], [NAN, 0]]), ("x", "y"), ""))
        .get_images()[0]
        .get_array()
    )
    assert image[0, 0, 3] == image[0, 1, 3] == 1
    assert image[1, :, 3].tolist() == [0, 0]
    assert image[0, 0, 2] > image[0, 0, 0]
    assert image[0, 1, 0] > image[0, 1, 2]


def test_bars_and_balance_have_their_lengths():
    bars = drawn(panels.bar_panel("t", ["x", "y"], [("a", [0.5, 0.25], series(0)[0])], "mAP", 0.6))
    assert [bar.get_width() for bar in bars.patches] == [0.5, 0.25]
    assert bars.get_ylim() == (1.5, -0.5)  # the first on top
    balance = drawn(panels.balance_panel("t", np.array([0.5, 1, 0]), ""))
    assert [(bar.get_y(), bar.get_height()) for bar in balance.patches] == [(0.5, 0), (0.5, 0.5), (0.5, -0.5)]


def test_plane_marks_both_modalities():
    points = np.arange(8.0).reshape(4, 2)
    axis = drawn(
        panels.plane_panel("t", points, np.array(["a"] * 4), np.array([True, False, True, False]), "")
    )
    images, shapes = axis.collections
    assert images.get_offsets().tolist() == points[1::2].tolist()
    assert shapes.get_offsets().tolist() == points[::2].tolist()
    assert len(images.get_paths()[0]) > len(shapes.get_paths()[0])  # circles and triangles
    assert [text.get_text() for text in axis.texts] == ["a"]


def test_colours():
    assert ramp(0) == []
    assert ramp(1) == [RAMP["ramp2"][0]]
    assert len(set(ramp(5))) == 5
    assert ramp(5)[0] == RAMP["ramp0"][0]
    pairs = [series(i) for i in range(3 * len(SERIES))]
    assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize(
    ("size", "value"), [(1, 1.0), (2, 0.0), (3, 0.001), (9, 1.0), (12, 0.5), (1000, 0.0)]
)
@mpl.rc_context({"font.size": 9, "legend.fontsize": 8, "axes.titlesize": 9.5})
def test_axes_of_tiny_and_large_figures(size, value):
    """Few ranks, bits, categories; all values equal, 0 or 1: every axis has an extent, and ticks that differ."""
    places, values, colour = list(range(1, size + 1)), [value] * size, series(0)[0]
    line = panels.Line("m", places, values, colour)
    span = panels.Span(line, [(value, value)] * size, [(value, value)] * size)
    few = min(size, 12)
    made = [
        panels.line_panel("ranks", [line], ("K", "P"), "", logarithmic=True),
        panels.line_panel("radius", [line, line], ("radius", "P"), ""),
        panels.line_panel("recall", [panels.Line("m", values, values, colour)], ("recall", "P"), "", share=True),
        panels.length_panel("lengths", [panels.Span(panels.Line("m", places[:few], values[:few], colour),
                                                    span.intervals[:few], span.ties[:few])]),
        panels.bar_panel("bars", ["x"] * few, [("a", values[:few], colour)] * 2, "mAP", 1.0),
        panels.heat_panel("bits", np.full((few, few), value), ("bit", "bit"), ""),
        panels.balance_panel("balance", np.full(size, value), ""),
    ]  # fmt: skip
    for panel in made:
        sheet = Sheet(figsize=(panel.width, panel.height), layout="constrained")
        axis = sheet.subplots()
        axis.set_title(panel.title)
        panel.draw(axis)
        sheet.canvas.draw()
        for one in (axis.xaxis, axis.yaxis):
            low, high = one.get_view_interval()
            shown = [label for label in one.get_ticklabels(which="both") if label.get_text()]
            texts = [label.get_text() for label in shown if panel.title != "bars" or one is axis.xaxis]
            places = [label.get_position()[one is axis.yaxis] for label in shown]
            assert low != high, panel.title
            assert one is axis.yaxis or low < high, panel.title
            assert any(min(low, high) <= place <= max(low, high) for place in places), panel.title
            assert len(texts) == len({*texts}), (panel.title, texts)
            assert not any("$" in text or "\\" in text for text in texts), (panel.title, texts)
            if one.get_label_text() in ("K", "bit", "radius"):
                assert not any("." in text for text in texts), (panel.title, texts)
        legend = axis.get_legend()
        if panel.title == "bars":
            assert legend.get_window_extent().y1 <= axis.title.get_window_extent().y0 + 1
