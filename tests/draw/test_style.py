import io
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image, ImageColor

from noprop_dist.ablate.answers import GIVEN
from noprop_dist.compare.compare_options import METHODS
from noprop_dist.draw.axes import block_colours, contrast, counted, line, shades
from noprop_dist.draw.style import (
    BLUE,
    COLOUR_OF,
    DARK,
    DARK_PAPER,
    GREY,
    GRID,
    GROUND,
    INK,
    LIGHT,
    MISTAKE,
    PAPER,
    Format,
    NotDrawn,
    drawn,
    new_figure,
    own_style,
    save_figure,
)
from noprop_dist.model.answering import LAST, READOUTS
from noprop_dist.record.store import Store
from noprop_dist.tune.sweep_folder import FAILED, FINISHED, STOPPED


def curve() -> Figure:
    figure = new_figure(4, 3)
    axes = figure.subplots()
    line(axes, [1.0, None, 3.0], "black", "a curve", 2.0)
    counted(axes, "title", "epoch")
    return figure


def test_png_has_the_size_that_was_asked_for(tmp_path: Path) -> None:
    assert save_figure(Store(tmp_path), "plots/curve.png", curve)
    with Image.open(tmp_path / "plots/curve.png") as image:
        assert (image.format, image.size) == ("PNG", (600, 450))
        assert image.info["Software"] == "noprop-dist"  # so that it is never taken for data


def test_svg_keeps_words_and_is_the_same_each_time() -> None:
    first, again = (drawn(curve, "svg", name="curve") for _ in range(2))
    assert first == again
    assert b">a curve</text>" in first


def test_svgs_of_two_names_share_no_id() -> None:
    one, other = (drawn(curve, "svg", name=name).decode() for name in ("one", "other"))
    ids = [re.findall(r' id="([^"]+)"', svg) for svg in (one, other)]
    assert len(ids[0]) == len(set(ids[0])) > 5
    assert not set(ids[0]) & set(ids[1])
    for svg, own in zip((one, other), ids, strict=True):
        assert set(re.findall(r"(?:url\(|href=\")#([^\")]+)", svg)) <= set(own)


def test_pdf_is_the_same_each_time() -> None:
    first = drawn(curve, "pdf")
    assert first.startswith(b"%PDF")
    assert first == drawn(curve, "pdf")


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_letters_that_the_font_lacks_warn_of_nothing_and_others_do(form: Format) -> None:
    def figure() -> Figure:
        made = curve()
        made.axes[0].set_title("\u732b and \u72ac")
        return made

    def warning() -> Figure:
        warnings.warn("another", stacklevel=1)
        return curve()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        drawn(figure, form)
        assert caught == []
        drawn(warning)
    assert [str(w.message) for w in caught] == ["another"]


def test_picture_that_cannot_be_drawn_or_written_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Figure:
        raise RuntimeError("no ink,\nno paper")

    assert not save_figure(Store(tmp_path), "plots/a.png", broken)
    assert capsys.readouterr().err == f"not drawn: {tmp_path}/plots/a.png (no ink, no paper)\n"
    (tmp_path / "plots").write_text("a file where the folder should be")
    assert not save_figure(Store(tmp_path), "plots/a.png", curve)
    said = capsys.readouterr().err
    assert said.startswith(f"not drawn: {tmp_path}/plots/a.png ({tmp_path} cannot be written to")
    assert said.count("\n") == 1


def test_pictures_that_fail_alike_share_a_sentence() -> None:
    failed = NotDrawn()
    assert failed.sentences == []
    for name, reason in (("a", "no ink"), ("b", "no paper"), ("c", "no ink."), ("d", "")):
        failed.add(name, RuntimeError(reason))
    assert failed.sentences == [
        "not drawn: a and c (no ink)",
        "not drawn: b (no paper)",
        "not drawn: d (RuntimeError)",
    ]


def test_drawing_leaves_pyplot_alone_and_importing_is_light() -> None:
    code = (
        "import sys\n"
        "from noprop_dist.draw import curves, style\n"
        "assert 'matplotlib' not in sys.modules\n"
        "style.drawn(lambda: curves.plot_denoising([0.5], [0.5], 2))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_image_of_a_figure_is_more_than_paper() -> None:
    with Image.open(io.BytesIO(drawn(curve))) as image:
        colours = image.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert len(colours) > 20


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("black", "white") == pytest.approx(21)
    assert contrast("#767676", "white") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_read_on_its_paper(dark: bool) -> None:
    with own_style(dark=dark):
        for ink in (INK, GREY, BLUE, MISTAKE):  # those in which words are written
            assert contrast(ink, PAPER) >= 4.5


@pytest.mark.parametrize("dark", [False, True])
def test_every_colour_is_seen_on_its_paper(dark: bool) -> None:
    least = 3 if dark else 2.2
    with own_style(dark=dark):
        assert to_hex(PAPER) == (DARK_PAPER.lower() if dark else "#ffffff")
        for colour in {f"C{i}" for i in range(len(DARK))} - {PAPER, GRID, GROUND}:
            assert contrast(colour, PAPER) >= least
        blocks = block_colours(12)
        marks = [blocks.to_rgba(t) for t in range(1, 13)]
        marks += [shades(name)(x) for name in ("Blues", "Greys") for x in (0.0, 0.5, 1.0)]
        for mark in marks:
            assert contrast(mark, PAPER) >= least - 0.1
        weak, strong = (contrast(shades("Blues", 1.25)(x), PAPER) for x in (0.0, 1.0))
        assert 1.2 < weak < strong
    assert len(LIGHT) == len(DARK)


@pytest.mark.parametrize(
    # No picture has two readouts of a single block.
    "names",
    [
        [n for n in READOUTS if n != LAST],
        list(METHODS),
        list(GIVEN),
        ["best", FINISHED, STOPPED, FAILED],
    ],
)
def test_everything_that_is_told_apart_has_a_colour_of_its_own(names: list[str]) -> None:
    assert len({COLOUR_OF[name] for name in names}) == len(names)


def test_dark_picture_is_the_light_one_in_other_colours() -> None:
    sides = []
    for dark in (False, True):
        with Image.open(io.BytesIO(drawn(curve, dark=dark))) as image:
            shown = image.convert("RGB")
        assert shown.getpixel((0, 0)) == ImageColor.getrgb(DARK_PAPER if dark else "white")
        sides.append(shown.size)
    assert sides[0] == sides[1]
