"""The list of runs, and one run, as text for a terminal or a pipe."""

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from noprop_dist.config.fields import flag
from noprop_dist.record.folder import CONTENTS
from noprop_dist.see import words
from noprop_dist.see.facts import RunFacts
from noprop_dist.see.listing import Entry
from noprop_dist.text import percent, printable

WIDE = 160  # columns written where no terminal says how many there are
COLOURS = {"finished": "green", "running": "cyan", "stopped": "yellow", "damaged": "red"}

Column = tuple[str, Callable[[Entry], str]]


def _of_run(cell: Callable[[RunFacts], str]) -> Callable[[Entry], str]:
    return lambda entry: cell(entry.facts) if entry.facts else "-"


COLUMNS: tuple[Column, ...] = (
    ("data", lambda e: _last(e.facts.config.dataset if e.facts else _about(e))),
    ("network", lambda e: _network(e)),
    ("epochs", _of_run(lambda f: f"{f.epochs}/{f.config.epochs}")),
    ("z_T, %", _of_run(lambda f: _accuracy(f, "z_T"))),
    ("softmax, %", _of_run(lambda f: _accuracy(f, "mean_softmax"))),
    ("best val.", _of_run(lambda f: percent(f.best[1] if f.best else None))),
    ("seed", _of_run(lambda f: str(f.config.seed))),
    ("trained", _of_run(lambda f: words.duration(f.train_seconds))),
    ("started", lambda e: words.age(e.started)),
)
TEXT = ("data", "network")  # columns of words, which may be broken; the others are numbers
# What a narrow terminal does without, first to last.
LEFT_OUT = ("seed", "trained", "best val.", "softmax, %", "started", "network", "data")


def _accuracy(facts: RunFacts, readout: str) -> str:
    return words.accuracy(facts.result.test_accuracy[readout] if facts.result else None)


def _about(entry: Entry) -> str:
    return str((entry.config or {}).get("dataset", "-"))


def _network(entry: Entry) -> str:
    if entry.facts:
        config = entry.facts.config
        return f"T = {config.num_blocks}, {config.embedding_type}"
    return f"{entry.kind}: {entry.about}" if entry.state != "damaged" else "-"


def render_runs(entries: Sequence[Entry]) -> str:
    """The list as a table as wide as fits, and below it what is wrong with damaged runs."""
    console = _console()
    table = _list(entries, ())
    for count in range(1, len(LEFT_OUT) + 1):
        if _width(console, table) <= console.width:
            break
        table = _list(entries, LEFT_OUT[:count])
    damaged = [e for e in entries if e.state == "damaged"]
    notes = [Text(f"{printable(e.name)}: {printable(e.about)}") for e in damaged]
    return _text(console, [table, *notes])


def _list(entries: Sequence[Entry], left_out: Sequence[str]) -> Table:
    columns = [column for column in COLUMNS if column[0] not in left_out]
    table = _table("run", "state")
    for name, _ in columns:
        if name in TEXT:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for entry in entries:
        cells = [Text(printable(cell(entry))) for _, cell in columns]
        table.add_row(Text(printable(entry.name)), _state(entry), *cells)
    return table


def _state(entry: Entry) -> Text:
    state = Text(entry.state, style=COLOURS[entry.state])
    if entry.facts and entry.facts.set_aside:
        state.append(f", {len(entry.facts.set_aside)} set aside", style="red")
    return state


def _width(console: Console, table: Table) -> int:
    """Columns that a table takes where no word is broken."""
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum


def render_run(facts: RunFacts) -> str:
    """All about one run."""
    console = _console()
    parts: list[Table | Text] = [Text(printable(facts.folder), style="bold"), Text()]
    parts.append(_pairs(words.told(facts)))
    if said := words.happened(facts):
        parts += [Text(), Text("what happened", style="bold")]
        parts += [Text(f"- {printable(sentence)}") for sentence in said]
    parts += [Text(), _blocks(facts)]
    if changed := words.changed_options(facts.config):
        parts += [Text(), Text("options that differ from their defaults", style="bold")]
        parts.append(_pairs([(flag(name), str(value)) for name, value in changed.items()]))
    known = [(name, what) for name, what in CONTENTS.items() if name in facts.files]
    parts += [Text(), Text("files", style="bold"), _pairs(known)]
    if commands := words.next_commands(facts):
        parts += [Text(), Text("next", style="bold")]
        for command, what in commands:  # a line each, to be copied as it is
            parts += [Text(printable(command)), Text(f"    {what}", style="dim")]
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
        table.add_row(name, Text(printable(value)))
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
