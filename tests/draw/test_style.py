import io
import re
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from noprop_dist.draw.style import (
    Format,
    Missing,
    figure_bytes,
    line,
    new_figure,
    save_figure,
    style,
)
from noprop_dist.record.store import Store


def curve() -> Figure:
    figure = new_figure(4, 3)
    axes = figure.subplots()
    line(axes, [1.0, None, 3.0], "black", "a curve", 2.0)
    style(axes, "title", "epoch")
    return figure


def test_png_has_the_size_that_was_asked_for(tmp_path: Path) -> None:
    assert save_figure(Store(tmp_path), "plots/curve.png", curve)
    with Image.open(tmp_path / "plots/curve.png") as image:
        assert (image.format, image.size) == ("PNG", (600, 450))
        assert image.info["Software"] == "noprop-dist"  # so that it is never taken for data


def test_svg_keeps_words_and_is_the_same_each_time() -> None:
    first, again = figure_bytes(curve(), "svg", "curve"), figure_bytes(curve(), "svg", "curve")
    assert first == again
    assert b">a curve</text>" in first


def test_svgs_of_two_names_share_no_id() -> None:
    one, other = (figure_bytes(curve(), "svg", name).decode() for name in ("one", "other"))
    ids = [re.findall(r' id="([^"]+)"', svg) for svg in (one, other)]
    assert len(ids[0]) == len(set(ids[0])) > 5
    assert not set(ids[0]) & set(ids[1])
    for svg, own in zip((one, other), ids, strict=True):
        assert set(re.findall(r"(?:url\(|href=\")#([^\")]+)", svg)) <= set(own)


def test_pdf_is_the_same_each_time() -> None:
    first = figure_bytes(curve(), "pdf", "curve")
    assert first.startswith(b"%PDF")
    assert first == figure_bytes(curve(), "pdf", "curve")


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_letters_that_the_font_lacks_warn_of_nothing_and_others_do(form: Format) -> None:
    figure = curve()
    figure.axes[0].set_title("\u732b and \u72ac")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure_bytes(figure, form)
        assert caught == []
        figure.savefig = lambda *_, **__: warnings.warn("another", stacklevel=1)  # type: ignore[method-assign]
        figure_bytes(figure, "png")
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
    missing = Missing()

    def fail(reason: str) -> None:
        raise RuntimeError(reason)

    for name, reason in (("a", "no ink"), ("b", "no paper"), ("c", "no ink."), ("d", "")):
        assert missing.attempt(name, partial(fail, reason)) is None
    assert missing.attempt("e", lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        missing.attempt("f", lambda: 1 / 0, (ZeroDivisionError,))
    assert missing.sentences == [
        "not drawn: a and c (no ink)",
        "not drawn: b (no paper)",
        "not drawn: d (RuntimeError)",
    ]


def test_drawing_leaves_pyplot_alone_and_importing_is_light() -> None:
    code = (
        "import sys\n"
        "from noprop_dist.draw import style as plots\n"
        "from noprop_dist.draw import curves\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plots.figure_bytes(curves.plot_denoising([0.5], [0.5], 2))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_image_of_a_figure_is_more_than_paper() -> None:
    with Image.open(io.BytesIO(figure_bytes(curve()))) as image:
        colours = image.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert len(colours) > 20
