"""The page of a run, and how it looks and works in a browser."""

import base64
import html
import json
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from made_runs import make_run
from noprop_dist import UserError
from noprop_dist.draw.answers import plot_confusion
from noprop_dist.draw.curves import plot_denoising
from noprop_dist.draw.style import drawn, new_figure
from noprop_dist.model.answering import BEST, Answering
from noprop_dist.run_files import REPORT
from noprop_dist.see import run_page
from noprop_dist.see.run_page import write_report
from noprop_dist.see.run_pictures import Picture

MIB = 2**20
HOSTILE = "</style></script><script>document.title = 'taken'</script>&\"'"
NAMES = [HOSTILE, "zero & one", "<b>two</b>"]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
)  # fmt: skip
CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))

# Of every element with text of its own, outside drawings: its contrast with what lies behind it.
FAINT = """
const value = (c) => c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
const light = (rgb) => 0.2126 * value(rgb[0]) + 0.7152 * value(rgb[1]) + 0.0722 * value(rgb[2]);
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const found = numbers(getComputedStyle(e).backgroundColor);
    if (found.length === 3 || found[3] > 0) return found;
  }
  return [255, 255, 255];
};
const found = [];
for (const element of document.querySelectorAll("body *:not(svg):not(svg *):not(script)")) {
  if (![...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
  const [a, b] = [light(numbers(getComputedStyle(element).color)), light(behind(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) found.push([element.textContent.trim().slice(0, 40), ratio]);
}
return found;
"""


def pictures() -> list[Picture]:
    """Two of different kinds."""
    confusion = partial(plot_confusion, [[30, 0, 1], [0, 31, 2], [4, 0, 29]], NAMES)
    denoising = partial(plot_denoising, [0.5, 0.75, 0.98], [0.99, 0.9, 0.95], 3)
    return [
        Picture("denoising", "Along the chain", "What z_t knows.", denoising),
        Picture("confusion", f"Confusion {HOSTILE}", f"Rows: {HOSTILE}", confusion),
    ]


def busy_picture(name: str) -> Picture:
    """A drawing of many points."""

    def make() -> Figure:
        figure = new_figure(6, 4)
        figure.subplots().scatter(*np.random.default_rng(0).normal(size=(2, 3000)), s=2)
        return figure

    return Picture(name, "Many points", "All of them.", make)


def page_of(folder: Path, *pictures: Picture) -> str:
    """The report of a run with these pictures."""
    return Path(write_report(str(folder), pictures)).read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of twelve epochs with its report."""
    folder = tmp_path_factory.mktemp("report") / "run"
    aside = {"2": f"its loss {HOSTILE}"}
    make_run(folder, epochs=12, dataset=HOSTILE, set_aside=aside)
    write_report(str(folder), pictures(), [f"a note {HOSTILE}"])
    return folder


def test_report_is_one_file_that_loads_nothing(folder: Path) -> None:
    page = (folder / REPORT).read_text()
    assert len(page) < MIB
    sources = re.findall(r"""\b(?:src|href)\s*=\s*["']([^"']*)|url\(([^)]*)\)""", page)
    assert {a[:5] if a.startswith("data:") else (a or b)[:1] for a, b in sources} == {"data:", "#"}
    assert "http://" not in page.replace("http-equiv", "")
    assert "@import" not in page
    assert "default-src 'none'" in html.unescape(page)


def test_report_of_an_unfinished_run_gives_what_is_there(tmp_path: Path) -> None:
    make_run(tmp_path, finished=False)
    page = page_of(tmp_path)
    assert "Best validation" in page
    assert "Test accuracy, z_T" not in page
    assert "noprop train" in page
    assert 'id="pictures"' not in page


def test_report_tells_what_answers(tmp_path: Path) -> None:
    make_run(tmp_path)
    file = tmp_path / "result.json"
    told = json.loads(file.read_text())
    told["answering"] = Answering(BEST).to_dict()
    told["test_accuracy"][BEST] = told["test_accuracy"]["mean_softmax"]
    file.write_text(json.dumps(told))
    page = page_of(tmp_path)
    order = ["Test accuracy, z_T", "Mean softmax", "What answers, best block"]
    places = [page.index(name) for name in order]
    assert places == sorted(places)
    told["answering"] = Answering("mean_softmax").to_dict()
    file.write_text(json.dumps(told))
    assert "Mean softmax, which answers" in page_of(tmp_path)


def test_report_of_a_damaged_run_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path)
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(UserError, match="is not what a run writes"):
        write_report(str(tmp_path), [])
    assert not (tmp_path / REPORT).exists()


def test_every_picture_is_there_for_light_and_for_dark(folder: Path) -> None:
    page = (folder / REPORT).read_text()
    figures = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    for figure, picture in zip(figures, pictures(), strict=True):
        dark, light = (base64.b64decode(data) for data in re.findall(r"base64,([^\"]+)", figure))
        assert (light, dark) == (drawn(picture.make), drawn(picture.make, dark=True))
        assert f"<h3>{picture.title}</h3>" in html.unescape(figure)
        assert f'alt="{picture.title}"' in html.unescape(figure)


def test_pictures_share_what_room_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path)
    busy = [busy_picture(name) for name in "abc"]
    sizes = []
    for room in (10**6, 300_000):
        monkeypatch.setattr(run_page, "MAX_PICTURES", room)
        figures = re.findall(r"<figure.*?</figure>", page_of(tmp_path, *busy), re.DOTALL)
        assert len(figures) == 3
        assert sum(map(len, figures)) < 1.02 * room
        sizes += [re.findall(r'width="(\d+)" height="(\d+)"', figure) for figure in figures]
    assert sizes == [[("432", "288")]] * 6  # fewer dots, of the same size


def test_long_runs_show_some_epochs_of_all(tmp_path: Path) -> None:
    make_run(tmp_path, epochs=2500)
    page = page_of(tmp_path)
    assert "One epoch of 3 is shown." in page
    rows = re.findall(r'<th scope=row data-v="(\d+)"', page)
    assert {"3", "2499", "2500"} <= set(rows)
    assert len(page) < MIB


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Chromium without a window."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs Chromium: install chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.set_page_load_timeout(60)
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, folder: Path) -> webdriver.Chrome:
    """The report, just opened from disk on a wide light screen."""
    show(browser, 1280, dark=False)
    browser.get((folder / REPORT).as_uri())
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    return browser


def show(browser: webdriver.Chrome, width: int, *, dark: bool) -> None:
    """A screen of so many pixels, and what its owner prefers."""
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wish = [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
        {"name": "prefers-reduced-motion", "value": "reduce"},  # clicks wait for no scrolling
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wish})


def column(page: webdriver.Chrome, table: str, number: int) -> list[str]:
    """The texts of a column, from above."""
    cells = f"#{table} tbody tr > :nth-child({number})"
    script = "return [...document.querySelectorAll(arguments[0])].map((c) => c.textContent)"
    found: list[str] = page.execute_script(script, cells)
    return found


def sorts(page: webdriver.Chrome, table: str) -> list[str | None]:
    """By column, what is said of its order."""
    heads = page.find_elements(By.CSS_SELECTOR, f"#{table} thead th")
    return [head.get_attribute("aria-sort") for head in heads]


def colour(page: webdriver.Chrome, selector: str, name: str = "color") -> str:
    """A computed colour of the first such element."""
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    found: str = page.execute_script(script, selector, name)
    return found


def wait_for_picture(page: webdriver.Chrome, *, dark: bool) -> None:
    """Until the first picture is the one for that paper."""
    script = "const i = document.images[0]; return i.currentSrc !== i.src && i.complete"
    WebDriverWait(page, 10).until(lambda page: page.execute_script(script) == dark)


def test_page_opens_without_a_complaint(page: webdriver.Chrome) -> None:
    assert page.get_log("browser") == []
    assert page.title == "run - NoProp run"
    requests = page.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert [name for name in requests if not name.startswith("data:")] == []
    assert page.execute_script("return document.compatMode") == "CSS1Compat"


def test_names_are_text_and_never_run(page: webdriver.Chrome) -> None:
    assert len(page.find_elements(By.TAG_NAME, "script")) == 1
    assert len(page.find_elements(By.TAG_NAME, "style")) == 1
    assert not page.find_elements(By.CSS_SELECTOR, "main b")
    for selector in (".about", "#pictures h3", "#pictures figcaption", ".notes"):
        shown = [e.text for e in page.find_elements(By.CSS_SELECTOR, selector)]
        assert any(HOSTILE in text for text in shown)
    page.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = true';"
        "document.body.append(s);"
    )
    assert page.execute_script("return window.ran") is None
    assert "Content Security Policy" in json.dumps(page.get_log("browser"))


def test_every_picture_has_its_place_in_the_contents(page: webdriver.Chrome) -> None:
    links = page.find_elements(By.CSS_SELECTOR, "nav a")
    targets = [str(link.get_attribute("href")).partition("#")[2] for link in links]
    assert [t for t in targets if t.startswith("picture-")] == [
        "picture-denoising",
        "picture-confusion",
    ]
    for target in targets:
        assert len(page.find_elements(By.ID, target)) == 1
    ids = page.execute_script("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    box = page.find_element(By.CSS_SELECTOR, "#picture-denoising img").rect
    assert box["width"] > 300
    assert box["height"] > 150


def test_tables_sort_by_click_and_by_key(page: webdriver.Chrome) -> None:
    assert column(page, "epoch-table", 1) == [str(n) for n in range(1, 13)]
    loss, own = page.find_elements(By.CSS_SELECTOR, "#epoch-table thead button")[1:3]
    loss.click()
    assert column(page, "epoch-table", 1) == [str(n) for n in range(12, 0, -1)]
    assert sorts(page, "epoch-table")[:3] == [None, "ascending", None]
    loss.send_keys(Keys.ENTER)
    assert column(page, "epoch-table", 1) == [str(n) for n in range(1, 13)]
    assert sorts(page, "epoch-table")[:3] == [None, "descending", None]
    own.send_keys(Keys.SPACE)
    assert sorts(page, "epoch-table")[:3] == [None, None, "ascending"]


def test_what_is_not_known_is_sorted_last_either_way(page: webdriver.Chrome) -> None:
    page.execute_script(
        "const cells = document.querySelectorAll('#block-table tbody tr > :nth-child(2)');"
        "cells[1].dataset.v = '';"
    )
    head = page.find_elements(By.CSS_SELECTOR, "#block-table thead button")[1]
    for first in ("3", "1"):  # the loss falls with t
        head.click()
        assert column(page, "block-table", 1)[::2] == [first, "2"]


def test_dark_screens_get_dark_colours_and_the_button_changes_them(
    page: webdriver.Chrome,
) -> None:
    def seen() -> list[str]:
        return [colour(page, "body", "backgroundColor"), colour(page, "body")]

    light = seen()
    wait_for_picture(page, dark=False)
    show(page, 1280, dark=True)
    assert all(a != b for a, b in zip(light, seen(), strict=True))
    wait_for_picture(page, dark=True)
    button = page.find_element(By.ID, "theme")
    assert button.text == "Light"
    button.click()
    assert (seen(), button.text) == (light, "Dark")
    wait_for_picture(page, dark=False)
    page.refresh()  # it is remembered
    assert seen() == light
    wait_for_picture(page, dark=False)


def test_paper_is_white_whatever_the_screen(page: webdriver.Chrome) -> None:
    page.find_element(By.ID, "theme").click()  # dark
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    try:
        wait_for_picture(page, dark=False)
        assert colour(page, "body", "backgroundColor") == "rgb(255, 255, 255)"
        assert colour(page, "nav", "display") == "none"
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_as_dark_on_light_as_wcag_asks(page: webdriver.Chrome, dark: bool) -> None:
    show(page, 1280, dark=dark)
    assert page.execute_script(FAINT) == []


@pytest.mark.parametrize("width", [320, 360, 1280])
def test_what_is_told_of_the_run_is_all_seen_at_any_width(
    page: webdriver.Chrome, width: int
) -> None:
    show(page, width, dark=False)
    rows: list[list[float]] = page.execute_script(
        "return [...document.querySelectorAll('.pairs tr')].map((row) => {"
        " const [name, value] = [...row.cells].map((c) => c.getBoundingClientRect());"
        " return [name.left, name.right, value.left, value.right, value.width]; })"
    )
    assert len(rows) > 8
    for left, middle, start, end, wide in rows:
        assert 0 <= left < middle <= start < end <= width
        assert wide >= 0.4 * min(width, 544)
    unreachable = page.execute_script(
        "return [...document.querySelectorAll('main *')].filter((e) => e.tabIndex < 0"
        " && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)"
        " && e.scrollWidth > e.clientWidth).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert unreachable == []


@pytest.mark.parametrize("width", [320, 390, 820, 1280])
def test_body_never_scrolls_sideways(page: webdriver.Chrome, width: int) -> None:
    show(page, width, dark=False)
    wide: dict[str, Any] = page.execute_script(
        "return {page: document.documentElement.scrollWidth, view: innerWidth,"
        " table: document.querySelector('#option-table').scrollWidth}"
    )
    assert wide["page"] <= width
    if width < 600:
        assert wide["table"] > width  # inside its own frame it does
