"""Figures inside a page: their colours on both papers, their names, and what is drawn on images."""

import re
import xml.etree.ElementTree as ET

import pytest
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from noprop_dist.draw import style as plots
from noprop_dist.draw.answers import plot_confusion
from noprop_dist.draw.colours import (
    BLACK,
    DARK_PAPER,
    MARK_CONTRAST,
    TEXT_CONTRAST,
    WHITE,
    Colour,
    contrast,
    on_dark,
    on_white,
)
from noprop_dist.see.inline import Sheet, to_svg

INK: Colour = (0x22, 0x22, 0x22)
VERMILION: Colour = (0xD5, 0x5E, 0x00)


def test_contrast_is_that_of_wcag() -> None:
    assert contrast(BLACK, WHITE) == pytest.approx(21)
    assert contrast((0x76, 0x76, 0x76), WHITE) == pytest.approx(4.54, abs=0.01)


def test_every_colour_is_seen_on_dark_paper() -> None:
    for share in range(11):
        red, green, blue, _ = colormaps["viridis"](0.9 * share / 10, bytes=True)
        colour = (int(red), int(green), int(blue))
        assert contrast(on_dark(colour, text=False), DARK_PAPER) >= MARK_CONTRAST
        assert contrast(on_dark(colour, text=True), DARK_PAPER) >= TEXT_CONTRAST
        assert contrast(on_white(colour, text=True), WHITE) >= TEXT_CONTRAST


def test_white_is_paper_and_ink_is_light_on_dark_paper() -> None:
    assert on_dark(WHITE, text=False) == DARK_PAPER
    assert contrast(on_dark(INK, text=True), DARK_PAPER) > 10
    assert on_white(INK, text=True) == INK
    assert on_dark(VERMILION, text=False) == VERMILION


def curve(colour: str = "#0072B2") -> Figure:
    """A line through a clipped frame."""
    figure = plots.new_figure(4, 3)
    axes = figure.subplots()
    axes.plot([1, 2, 3], color=colour, marker="o")
    plots.style(axes, "loss of <b> & z_t", "epoch")
    return figure


def rule_of(sheet: Sheet, element: ET.Element) -> str:
    """The declarations of the element's class."""
    found = re.search(rf"^\.{element.get('class')}{{(.*)}}$", sheet.rules(), re.MULTILINE)
    assert found is not None
    return found[1]


def test_drawings_of_one_page_share_no_name_and_refer_to_their_own() -> None:
    sheet = Sheet()
    drawn = [ET.fromstring(to_svg(curve(), name, sheet, "t")) for name in ("a", "b")]
    ids = [{e.get("id") for e in svg.iter()} - {None} for svg in drawn]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, own in zip(drawn, ids, strict=True):
        text = ET.tostring(svg, encoding="unicode")
        referred = {a or b for a, b in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text)}
        assert referred == own


def test_drawing_has_no_style_of_its_own_and_its_text_is_text() -> None:
    svg = to_svg(curve(), "a", Sheet(), "the-title")
    assert "style" not in svg
    assert "loss of &lt;b&gt; &amp; z_t" in svg
    root = ET.fromstring(svg)
    assert (root.get("role"), root.get("aria-labelledby")) == ("img", "the-title")
    assert [float(v) for v in root.get("viewBox", "").split()] == [0, 0, 288, 216]


def test_same_figure_is_drawn_the_same_and_left_as_it_was() -> None:
    figure, again = (plot_confusion([[3, 0], [1, 2]], ["a", "b"]) for _ in range(2))
    before = [artist.get_gid() for artist in figure.findobj()]
    first = to_svg(figure, "a", Sheet(), "t")
    assert [artist.get_gid() for artist in figure.findobj()] == before
    assert to_svg(again, "a", Sheet(), "t") == first


def test_colours_follow_the_paper_but_for_those_on_an_image() -> None:
    sheet = Sheet()
    svg = ET.fromstring(to_svg(plot_confusion([[30, 0], [7, 29]], ["a", "b"]), "a", sheet, "t"))
    rules = {e.text: rule_of(sheet, e) for e in svg.iter("text")}
    assert "fill:#ffffff" in rules["30"]  # white on dark blue
    assert "fill:#000000" in rules["7"]  # black on light blue
    assert "fill:var(--t222222)" in rules["answer"]
    assert "--t222222:#222222;" in sheet.variables(dark=False)
    assert "--t222222:#222222;" not in sheet.variables(dark=True)


def test_labels_on_bars_keep_their_colours_and_others_do_not() -> None:
    figure = plots.new_figure(4, 3)
    axes = figure.subplots()
    axes.bar([0, 1], [5, 1], color="#E69F00")
    axes.text(0, 2, "on a bar", ha="center", color=plots.INK)
    axes.text(1, 4, "above it", ha="center", color=plots.INK)
    sheet = Sheet()
    svg = ET.fromstring(to_svg(figure, "a", sheet, "t"))
    rules = {e.text: rule_of(sheet, e) for e in svg.iter("text")}
    assert "fill:#222222" in rules["on a bar"]
    assert "fill:var(--t222222)" in rules["above it"]


def test_colour_bar_looks_like_what_it_explains() -> None:
    figure = plots.new_figure(6, 3)
    left, right = figure.subplots(1, 2)
    figure.colorbar(left.pcolormesh([[1.0, 2.0], [3.0, 4.0]], cmap=colormaps["viridis"]), ax=left)
    dots = right.scatter([1, 2], [1, 2], c=[1.0, 2.0], cmap=colormaps["viridis"].resampled(4))
    figure.colorbar(dots, ax=right)
    sheet = Sheet()
    to_svg(figure, "a", sheet, "t")
    assert "fill:#440154" in sheet.rules()  # of the mesh
    assert "fill:var(--c440154)" in sheet.rules()  # of the dots, and of their bar


def test_colour_bar_of_lines_follows_the_paper_like_them() -> None:
    figure = plots.new_figure(4, 3)
    colours = colormaps["viridis"].resampled(3)
    figure.colorbar(ScalarMappable(cmap=colours), ax=figure.subplots())
    sheet = Sheet()
    to_svg(figure, "a", sheet, "t")
    assert "fill:var(--c440154)" in sheet.rules()


def test_ground_of_a_label_stays_the_paper() -> None:
    figure = plots.new_figure(4, 3)
    figure.subplots().text(0.5, 0.5, "label", bbox={"facecolor": "white", "edgecolor": "none"})
    sheet = Sheet()
    to_svg(figure, "a", sheet, "t")
    assert "--tffffff" not in sheet.variables(dark=False)
