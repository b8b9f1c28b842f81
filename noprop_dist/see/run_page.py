"""``report.html``: a run on one page, which opens from disk and needs no network."""

import base64
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

from noprop_dist.draw.style import DARK_PAPER, DOTS_PER_INCH, NotDrawn, drawn
from noprop_dist.record.store import Store, inside
from noprop_dist.run_files import REPORT
from noprop_dist.see import run_text
from noprop_dist.see.facts import RunFacts, read_run
from noprop_dist.see.run_pictures import Picture
from noprop_dist.see.run_tables import (
    Table,
    blocks_of,
    classes_of,
    epochs_of,
    headlines_of,
    options_of,
)
from noprop_dist.see.templates import templates
from noprop_dist.text import how_many, printable

MAX_PICTURES = 4_400_000  # bytes of all, so that the page stays below 5 MB
# Of names of files: control characters, and bytes that are no UTF-8
NOT_IN_HTML = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Shown:
    """A picture as it stands in the page, on light paper and on dark.

    Attributes:
        picture: what it shows.
        light: a PNG.
        dark: a PNG of the same size.
        dpi: their dots per inch.
    """

    picture: Picture
    light: bytes
    dark: bytes
    dpi: float = DOTS_PER_INCH

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the page, 72 an inch."""
        sides = (int.from_bytes(self.light[i : i + 4], "big") for i in (16, 20))  # of the header
        width, height = (round(72 * side / self.dpi) for side in sides)
        return width, height

    def smaller(self) -> "Shown":
        """The same of fewer dots."""
        dpi = 0.7 * self.dpi
        light, dark = (drawn(self.picture.make, dpi=dpi, dark=dark) for dark in (False, True))
        return replace(self, light=light, dark=dark, dpi=dpi)


def write_report(
    folder: str,
    pictures: Sequence[Picture],
    notes: Sequence[str] = (),
    output: str | None = None,
    *,
    failed: NotDrawn | None = None,
    there: Mapping[str, bytes] | None = None,
) -> str:
    """Write ``report.html``; returns its path.

    Args:
        folder: of a run, finished or not, or its URI.
        pictures: what to show, in order.
        notes: what a reader should know besides, a sentence each.
        output: the folder to write into; None: the run's own.
        failed: pictures that could not be drawn, which the page tells; takes those that fail here.
        there: PNGs that are drawn already, by name of the picture.

    Raises:
        UserError: there is no run, a file of it is damaged, or the folder cannot be written to.
    """
    facts, failed = read_run(folder), failed or NotDrawn()
    page = render_report(facts, _shown(pictures, there or {}, failed), notes, failed)
    place = output or folder
    Store(place, "--output").write(REPORT, page)
    return inside(place, REPORT)


def _shown(
    pictures: Sequence[Picture], there: Mapping[str, bytes], failed: NotDrawn
) -> list[Shown]:
    """All pictures that can be drawn, the largest in fewer dots until there is room for all."""
    found = []
    for picture in pictures:
        try:
            light = there.get(picture.name) or drawn(picture.make)
            found.append(Shown(picture, light, drawn(picture.make, dark=True)))
        except Exception as error:
            failed.add(f"{picture.name} in {REPORT}", error)
    while sum(map(_bytes, found)) > MAX_PICTURES:
        largest = max(range(len(found)), key=lambda i: _bytes(found[i]))
        found[largest] = found[largest].smaller()
    return found


def _bytes(shown: Shown) -> int:
    """What it takes in the page, where four letters stand for three bytes."""
    return 4 * (len(shown.light) + len(shown.dark)) // 3


def render_report(
    facts: RunFacts, shown: Sequence[Shown], notes: Sequence[str], failed: NotDrawn
) -> bytes:
    """The page, as UTF-8.

    Args:
        facts: of the run.
        shown: pictures, in order.
        notes: what a reader should know besides, a sentence each.
        failed: pictures that could not be drawn.
    """
    from markupsafe import Markup

    pages = templates()
    style = pages.get_template("report.css").render(shown=shown, dark_paper=DARK_PAPER)
    script = pages.get_template("report.js").render()
    commands = run_text.next_commands(facts)
    tables = {
        "classes": classes_of(facts),
        "blocks": blocks_of(facts),
        "epochs": epochs_of(facts),
        "options": options_of(facts),
    }
    page = pages.get_template("report.html").render(
        facts=facts,
        state=run_text.state(facts),
        about=_about(facts),
        headlines=headlines_of(facts),
        said=[*notes, *failed.sentences, *run_text.happened(facts)],
        told=[*run_text.told(facts, ages=False), run_text.disk(facts)],
        commands=commands,
        contents=_contents(shown, tables, commands),
        shown=shown,
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        made_by=f"noprop-dist {version('noprop-dist')}",
        made_on=run_text.moment(time.time()),
        **tables,
    )
    return NOT_IN_HTML.sub(lambda found: printable(found[0]), page).encode()


def _policy(style: str, script: str) -> str:
    """Nothing is loaded, and nothing runs but the page's own script."""
    digests = (hashlib.sha256(text.encode()).digest() for text in (style, script))
    of_style, of_script = (f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)
    return (
        f"default-src 'none'; script-src {of_script}; style-src {of_style}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _contents(
    shown: Sequence[Shown], tables: Mapping[str, Table], commands: Sequence[object]
) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """The table of contents: ids and titles, of the pictures too."""
    found: list[tuple[str, str, list[tuple[str, str]]]] = [("numbers", "Numbers", [])]
    if shown:
        pictures = [(f"picture-{s.picture.name}", s.picture.title) for s in shown]
        found.append(("pictures", "Pictures", pictures))
    found += [(name, name.capitalize(), []) for name, table in tables.items() if table.rows]
    found.append(("run", "The run", []))
    return [*found, ("next", "Next", [])] if commands else found


def _about(facts: RunFacts) -> str:
    config = facts.config
    begun = f", begun {run_text.moment(facts.started)}" if facts.started is not None else ""
    return (
        f"{config.dataset}, {how_many(config.num_blocks, 'block')}, {config.embedding_type} "
        f"embeddings{begun}"
    )
