"""Pictures are the same whatever a user has set up for pictures of their own, and leave it so."""

import hashlib
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import get_args

import matplotlib
import pytest
from matplotlib.figure import Figure

from noprop_dist.draw.curves import plot_denoising
from noprop_dist.draw.style import Format, drawn, own_style
from runs import users_style

FORMS = get_args(Format)
NOT_TEXT = b"\xff\xfe no text at all"
ODD = b"foo.bar: 3\nlines.linewidth: thick\nbackend: nonsense\nno colon\n"
STYLE = b"""
text.usetex: true
figure.dpi: 37
savefig.dpi: 20
savefig.format: pdf
savefig.bbox: tight
savefig.transparent: true
font.family: monospace
axes.facecolor: red
axes.formatter.use_locale: true
svg.fonttype: path
path.simplify: false
"""
# In a process of its own: what matplotlib has read on being imported it never reads again.
SCRIPT = f"""
import hashlib, os
before = dict(os.environ), os.getcwd()
from noprop_dist.draw.style import drawn
from noprop_dist.draw.curves import plot_denoising
def figure():
    return plot_denoising([0.1, 0.5, 0.9], [0.8, 0.85, 0.9], 4)
for form in {FORMS}:
    print(hashlib.sha256(drawn(figure, form, name="x")).hexdigest())
assert (dict(os.environ), os.getcwd()) == before
"""


def figure() -> Figure:
    return plot_denoising([0.1, 0.5, 0.9], [0.8, 0.85, 0.9], 4)


def hashes() -> list[str]:
    made = (drawn(figure, form, name="x") for form in FORMS)
    return [hashlib.sha256(data).hexdigest() for data in made]


@pytest.mark.parametrize(
    ("variables", "files"),
    [
        ({"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, {}),
        ({"MPLBACKEND": "nonsense"}, {}),
        ({"MPLBACKEND": "qtagg"}, {}),
        ({"MATPLOTLIBRC": "."}, {"matplotlibrc": STYLE}),
        ({"MATPLOTLIBRC": "odd"}, {"odd": ODD}),
        ({"MATPLOTLIBRC": "not-text", "MPLBACKEND": "nonsense"}, {"not-text": NOT_TEXT}),
        ({}, {"matplotlibrc": NOT_TEXT}),  # found in the working directory
        ({"MPLCONFIGDIR": "set-up"},
         {"set-up/matplotlibrc": STYLE, "set-up/stylelib/my.mplstyle": NOT_TEXT}),
        ({"MPLCONFIGDIR": "a-file"}, {"a-file": b""}),
        ({"MPLCONFIGDIR": "here", "MPLBACKEND": "nonsense"}, {}),
        ({"HOME": "/proc/no-home"}, {}),
        ({"MATPLOTLIBRC": ".", "LC_ALL": "xx_YY.UTF-8"}, {"matplotlibrc": STYLE}),
    ],
    ids=[
        "a terminal in Jupyter", "no backend", "a window", "style", "odd", "no text", "here",
        "style library", "no folder", "a folder here", "no home", "no such language",
    ],
)  # fmt: skip
def test_pictures_are_the_same_and_silent_whatever_is_set_up(
    variables: dict[str, str], files: dict[str, bytes], tmp_path: Path, repo: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    package = repo / "noprop_dist"
    before = set(package.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, cwd=tmp_path,
        check=False, env=os.environ | {"PYTHONPATH": str(repo)} | variables,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.split() == hashes()
    made = set(package.rglob("*")) - before
    assert {path for path in made if "__pycache__" not in path.parts} == set()


def test_a_user_s_own_settings_are_as_they_were() -> None:
    clean = hashes()
    logger = logging.getLogger("matplotlib")
    with users_style():
        matplotlib.use("template")
        logger.setLevel(logging.DEBUG)
        before = (
            dict(matplotlib.rcParams), dict(os.environ), list(warnings.filters), logger.level,
        )  # fmt: skip
        assert hashes() == clean
        assert before == (
            dict(matplotlib.rcParams), dict(os.environ), list(warnings.filters), logger.level,
        )  # fmt: skip
        with pytest.raises(ZeroDivisionError), own_style():
            _ = 1 / 0
        assert before[0] == dict(matplotlib.rcParams)
        logger.setLevel(logging.NOTSET)
    matplotlib.use("agg")


def test_matplotlib_does_not_speak_in_our_style_and_does_outside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("matplotlib.font_manager")
    with warnings.catch_warnings():
        warnings.resetwarnings()  # as a user's process begins, where nobody asks for errors
        with own_style():
            logger.warning("a font is missing")
            warnings.warn("a layout has no room", stacklevel=1)
        assert caplog.records == []
        with pytest.warns(UserWarning, match="no room"):
            warnings.warn("no room", stacklevel=1)
    logger.warning("of the user's own")
    assert [record.message for record in caplog.records] == ["of the user's own"]


def test_where_matplotlib_is_of_no_use_the_reason_is_told(tmp_path: Path, repo: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('built for another NumPy')")
    script = (
        "from noprop_dist.draw.style import save_figure\n"
        "from noprop_dist.record.store import Store\n"
        "assert not save_figure(Store('run'), 'plots/a.png', lambda: None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path,
        check=False, env=os.environ | {"PYTHONPATH": f"{tmp_path}:{repo}"},
    )  # fmt: skip
    assert done.stderr == "not drawn: run/plots/a.png (built for another NumPy)\n"


def test_figures_are_made_and_drawn_in_one_place(repo: Path) -> None:
    """There they get a style and a backend of our own; pyplot is the user's."""
    others = {
        f"{path.relative_to(repo)}: {word}"
        for path in (repo / "noprop_dist").rglob("*.py")
        for word in ("savefig(", " Figure(", "pyplot", "rc_context(")
        if word in path.read_text() and path.name != "style.py"
    }
    assert others == set()
    assert " Figure(" in (repo / "noprop_dist/draw/style.py").read_text()
