"""The list of runs, and one run, as text for a terminal or a pipe."""

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from noprop_dist.config import flag
from noprop_dist.record.progress import percent
from noprop_dist.see import words
from noprop_dist.see.facts import RunFacts
from noprop_dist.see.listing import Entry

WIDE = 160  # columns written where no terminal says how many there are
COLOURS = {"finished": "green", "running": "cyan", "stopped": "yellow", "damaged": "red"}
ROOM = 100  # columns of a terminal below which the less important cells are left out

Column = tuple[str, Callable[[RunFacts], str]]
RESULTS: tuple[Column, ...] = (
    ("epochs", lambda f: f"{f.epochs}/{f.config.epochs}"),
    ("z_T, %", lambda f: _accuracy(f, "z_T")),
)
MORE: tuple[Column, ...] = (
    ("softmax, %", lambda f: _accuracy(f, "mean_softmax")),
    ("best val.", lambda f: percent(f.best[1] if f.best else None)),
    ("seed", lambda f: str(f.config.seed)),
    ("trained", lambda f: words.duration(f.train_seconds)),
)


def _accuracy(facts: RunFacts, readout: str) -> str:
    return words.accuracy(facts.result.test_accuracy[readout] if facts.result else None)


def render_runs(entries: Sequence[Entry]) -> str:
    """The list as a table, and below it what is wrong with damaged runs."""
    console = _console()
    columns = RESULTS + (MORE if console.width >= ROOM else ())
    table = _table("run", "state", "data", "network")
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("started", justify="right", no_wrap=True)
    for entry in entries:
        table.add_row(*_cells(entry, columns), words.age(entry.started))
    damaged = [e for e in entries if e.state == "damaged"]
    notes = [Text(f"{_plain(e.name)}: {_plain(e.about)}") for e in damaged]
    return _text(console, [table, *notes])


def _cells(entry: Entry, columns: Sequence[Column]) -> list[Text]:
    state = Text(entry.state, style=COLOURS[entry.state])
    if facts := entry.facts:
        if facts.set_aside:
            state.append(f", {len(facts.set_aside)} set aside", style="red")
        config = facts.config
        network = f"T = {config.num_blocks}, {config.embedding_type}"
        shown = [_last(config.dataset), network, *(cell(facts) for _, cell in columns)]
    else:
        about = entry.config or {}
        data = _last(str(about.get("dataset", "-")))
        what = f"{entry.kind}: {entry.about}" if entry.state != "damaged" else "-"
        shown = [data, what, *("-" for _ in columns)]
    return [Text(_plain(entry.name)), state, *(Text(_plain(text)) for text in shown)]


def render_run(facts: RunFacts) -> str:
    """All about one run."""
    console = _console()
    parts: list[Table | Text] = [Text(_plain(facts.folder), style="bold"), Text()]
    parts.append(_pairs(words.told(facts)))
    if said := words.happened(facts):
        parts += [Text(), Text("what happened", style="bold")]
        parts += [Text(f"- {_plain(sentence)}") for sentence in said]
    parts += [Text(), _blocks(facts)]
    if changed := words.changed_options(facts.config):
        parts += [Text(), Text("options that differ from their defaults", style="bold")]
        parts.append(_pairs([(flag(name), str(value)) for name, value in changed.items()]))
    known = [(name, what) for name, what in words.FILES.items() if name in facts.files]
    parts += [Text(), Text("files", style="bold"), _pairs(known)]
    if commands := words.next_commands(facts):
        parts += [Text(), Text("next", style="bold")]
        for command, what in commands:  # a line each, to be copied as it is
            parts += [Text(_plain(command)), Text(f"    {what}", style="dim")]
    return _text(console, parts)


def _blocks(facts: RunFacts) -> Table:
    columns: list[tuple[str, str, Callable[[float], str]]] = [
        ("loss", "loss", lambda v: f"{v:.4f}"),
        ("accuracy", "training, %", lambda v: f"{100 * v:.2f}"),
        ("images_per_s", "images/s", lambda v: f"{v:,.0f}"),
        ("after_t", "after t, %", lambda v: f"{100 * v:.2f}"),
        ("own_softmax", "alone, %", lambda v: f"{100 * v:.2f}"),
    ]
    table = _table()
    for name in ("block", *(title for _, title, _ in columns)):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("sha256", no_wrap=True)
    for t, known in words.block_rows(facts):
        cells = []
        for name, _, show in columns:
            value = known[name]
            cells.append(show(value) if isinstance(value, (int, float)) else "-")
        sha = str(known["sha256"] or "-")[: words.SHA_CHARS]
        table.add_row(str(t), *cells, "set aside" if t in facts.set_aside else sha)
    return table


def _table(*left: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, show_edge=False)
    for name in left:
        table.add_column(name, overflow="fold")
    return table


def _pairs(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(_plain(value)))
    return table


def _console() -> Console:
    """Standard output; written to a file it may be wider than the 80 columns of no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


def _text(console: Console, parts: Sequence[Table | Text]) -> str:
    with console.capture() as captured:
        for part in parts:  # commands and sentences are not broken where they are long
            console.print(part, soft_wrap=isinstance(part, Text))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _last(dataset: str) -> str:
    """A data set's name, or the last part of its path."""
    return dataset.rstrip("/").rsplit("/", 1)[-1] or dataset


def _plain(text: str) -> str:
    """Text that a terminal shows as it is: what cannot be printed is written as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
