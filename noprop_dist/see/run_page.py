"""``report.html``: a run on one page, which opens from disk and needs no network."""

import base64
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from noprop_dist.draw.colours import DARK_PAPER
from noprop_dist.draw.style import Missing
from noprop_dist.record.store import Store, inside
from noprop_dist.see import run_text
from noprop_dist.see.facts import RunFacts, read_run
from noprop_dist.see.inline import Sheet, to_png, to_svg
from noprop_dist.see.picture import Picture
from noprop_dist.see.run_tables import Grid, blocks_of, cards_of, epochs_of, options_of
from noprop_dist.text import printable

if TYPE_CHECKING:
    from jinja2 import Environment

FILE = "report.html"
KB = 1000
MAX_SVG = 400 * KB  # a drawing of more is a picture of dots
MAX_PICTURES = 4_400 * KB  # of all, so that the page stays below 5 MB
# Of names of files: control characters, and bytes that are no UTF-8
NOT_IN_HTML = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
DPIS = (144, 110, 80, 55)  # of pictures of dots, from the best


@dataclass(frozen=True)
class Drawing:
    """A picture as it stands in the page.

    Attributes:
        id: of its place.
        title: a few run_text.
        caption: a sentence or two.
        markup: HTML.
        width: in pixels, as drawn.
        picture: what it shows, to be drawn again.
    """

    id: str
    title: str
    caption: str
    markup: str
    width: float
    picture: Picture


def write_report(
    folder: str,
    pictures: Sequence[Picture],
    notes: Sequence[str] = (),
    output: str | None = None,
    missing: Missing | None = None,
) -> str:
    """Write ``report.html``; returns its path.

    Args:
        folder: of a run, finished or not, or its URI.
        pictures: what to show, in order; their figures are left as they were.
        notes: what a reader should know besides, a sentence each.
        output: the folder to write into; None: the run's own.
        missing: pictures that could not be drawn, which the page tells; takes those that fail here.

    Raises:
        UserError: there is no run, a file of it is damaged, or the folder cannot be written to.
    """
    page = render_report(read_run(folder), pictures, notes, missing)
    place = output or folder
    Store(place, "--output").write(FILE, page)
    return inside(place, FILE)


def render_report(
    facts: RunFacts,
    pictures: Sequence[Picture],
    notes: Sequence[str] = (),
    missing: Missing | None = None,
) -> bytes:
    """The page, as UTF-8.

    Args:
        facts: of the run.
        pictures: what to show, in order.
        notes: what a reader should know besides, a sentence each.
        missing: see ``write_report``.
    """
    from markupsafe import Markup

    sheet, missing = Sheet(), missing or Missing()
    drawings = _drawings(pictures, sheet, missing)
    red, green, blue = DARK_PAPER
    pages = _pages()
    style = pages.get_template("report.css").render(
        drawn_on_white=sheet.variables(dark=False),
        drawn_on_dark=sheet.variables(dark=True),
        dark_paper=f"#{red:02x}{green:02x}{blue:02x}",
        drawn="\n".join([sheet.rules(), *map(_size_rule, drawings)]),
    )
    script = pages.get_template("report.js").render()
    commands = run_text.next_commands(facts)
    tables = {"blocks": blocks_of(facts), "epochs": epochs_of(facts), "options": options_of(facts)}
    page = pages.get_template("report.html").render(
        facts=facts,
        state=run_text.state(facts),
        about=_about(facts),
        cards=cards_of(facts),
        said=[*notes, *missing.sentences, *run_text.happened(facts)],
        told=run_text.told(facts, ages=False),
        commands=commands,
        contents=_contents(drawings, tables, commands),
        drawings=drawings,
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        made_by=f"noprop-dist {version('noprop-dist')}",
        made_on=run_text.moment(time.time()),
        **tables,
    )
    return NOT_IN_HTML.sub(lambda found: printable(found[0]), page).encode()


@cache
def _pages() -> "Environment":
    """The parts of the page; what is put into HTML is escaped, into CSS it is our own."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=PackageLoader("noprop_dist.see", "page"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _policy(style: str, script: str) -> str:
    """Nothing is loaded, and nothing runs but the page's own script."""

    def own(text: str) -> str:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return f"'sha256-{digest}'"

    return (
        f"default-src 'none'; script-src {own(script)}; style-src {own(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _drawings(pictures: Sequence[Picture], sheet: Sheet, missing: Missing) -> list[Drawing]:
    """All pictures: drawings where they are small enough, and all of them small enough together."""
    found: list[Drawing] = []
    for number, picture in enumerate(pictures, start=1):
        draw = partial(_drawing, picture, number, sheet)
        drawing = missing.attempt(f"{picture.name} in {FILE}", draw)
        found += [drawing] if drawing else []
    for dpi in DPIS[1:]:
        for drawing in sorted(found, key=lambda d: -len(d.markup)):
            if sum(len(d.markup) for d in found) <= MAX_PICTURES:
                return found
            smaller = _as_dots(drawing, dpi)
            if len(smaller.markup) < len(drawing.markup):
                found[found.index(drawing)] = smaller
    return found


def _drawing(picture: Picture, number: int, sheet: Sheet) -> Drawing:
    from markupsafe import Markup

    name = re.sub(r"[^a-z0-9]+", "-", picture.name.lower()).strip("-")
    place = f"picture-{number}-{name}"
    width = 72 * picture.figure.get_figwidth()
    tried = deepcopy(sheet)  # the styles of a drawing that is too large are not kept
    markup = to_svg(picture.figure, f"p{number}", tried, f"{place}-title")
    drawing = Drawing(place, picture.title, picture.caption, Markup(markup), width, picture)
    if len(markup) <= MAX_SVG:
        sheet.take(tried)
        return drawing
    for dpi in DPIS:
        drawing = _as_dots(drawing, dpi)
        if len(drawing.markup) <= MAX_SVG:
            break
    return drawing


def _as_dots(drawing: Drawing, dpi: int) -> Drawing:
    from markupsafe import Markup

    figure = drawing.picture.figure
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    image = Markup('<img src="{}" alt="{}" width="{}" height="{}">').format(
        to_png(figure, dpi), drawing.title, width, height
    )
    return replace(drawing, markup=image)


def _size_rule(drawing: Drawing) -> str:
    """No larger than letters need, and no smaller: on a phone a wide picture is scrolled."""
    most, wanted, least = (round(share * drawing.width) for share in (1.25, 0.85, 0.65))
    return (
        f"#{drawing.id}{{flex-basis:{wanted}px}}"
        f"#{drawing.id} .plot>*{{max-width:{most}px;min-width:{least}px}}"
    )


def _contents(
    drawings: Sequence[Drawing], tables: Mapping[str, Grid], commands: Sequence[object]
) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """The table of contents: ids and titles, of the pictures too."""
    found: list[tuple[str, str, list[tuple[str, str]]]] = [("numbers", "Numbers", [])]
    if drawings:
        found.append(("pictures", "Pictures", [(d.id, d.title) for d in drawings]))
    found += [(name, name.capitalize(), []) for name, table in tables.items() if table.rows]
    found.append(("run", "The run", []))
    return [*found, ("next", "Next", [])] if commands else found


def _about(facts: RunFacts) -> str:
    config = facts.config
    begun = f", begun {run_text.moment(facts.started)}" if facts.started is not None else ""
    return (
        f"{config.dataset}, {config.num_blocks} blocks, {config.embedding_type} embeddings{begun}"
    )
