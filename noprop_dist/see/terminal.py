"""The list of runs, and one run, as text for a terminal or a pipe."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from noprop_dist.config import TrainConfig
from noprop_dist.config.fields import as_flag
from noprop_dist.run_files import CONTENTS
from noprop_dist.see import run_tables, run_text, several_text
from noprop_dist.see.facts import RunFacts
from noprop_dist.see.listing import Entry
from noprop_dist.see.own_code import code_rows
from noprop_dist.see.run_tables import blocks_of, classes_of
from noprop_dist.see.several import Several
from noprop_dist.text import duration, last_part, percent, printable
from noprop_dist.tune.trial_table import failures_of, table_of

WIDE = 160  # columns written where no terminal says how many there are
COLOURS = {"finished": "green", "running": "cyan", "stopped": "yellow", "damaged": "red"}

Column = tuple[str, Callable[[Entry], str]]


def _of_run(cell: Callable[[RunFacts], str]) -> Callable[[Entry], str]:
    return lambda entry: cell(entry.facts) if entry.facts else "-"


COLUMNS: tuple[Column, ...] = (
    ("data", lambda e: last_part(known.config.dataset) if (known := e.facts or e.several) else "-"),
    ("network", lambda e: _network(e)),
    ("options", lambda e: ", ".join(e.differs)),
    ("epochs", _of_run(lambda f: f"{f.epochs}/{f.config.epochs}")),
    ("z_T, %", _of_run(lambda f: _accuracy(f, "z_T"))),
    ("softmax, %", _of_run(lambda f: _accuracy(f, "mean_softmax"))),
    ("best val.", lambda e: percent(e.to_dict().get("best_val_accuracy"))),
    ("seed", _of_run(lambda f: str(f.config.seed))),
    ("trained", _of_run(lambda f: duration(f.train_seconds))),
    ("started", lambda e: run_text.age(e.started)),
)
WORDS = ("run", "state", "data", "network", "options")  # columns that may be broken
BETWEEN = 2  # a column's padding and the line beside it
OPTIONS_SHARE = 5  # of the terminal's width, their most before they go on below
# What a narrow terminal does without, first to last: sweeps have but a best validation accuracy.
LEFT_OUT = ("trained", "softmax, %", "started", "data", "best val.", "seed", "options", "network")


def _accuracy(facts: RunFacts, readout: str) -> str:
    return run_text.accuracy(facts.result.test_accuracy[readout] if facts.result else None)


def _network(entry: Entry) -> str:
    if entry.facts:
        config = entry.facts.config
        return f"T = {config.num_blocks}, {config.embedding_type}"
    return entry.several.about if entry.several else "-"


def render_runs(entries: Sequence[Entry]) -> str:
    """The list as a table as wide as fits, and below it what is wrong with damaged runs."""
    console = _console()
    cells = {"run": [Text(printable(e.name)) for e in entries], "state": [*map(_state, entries)]}
    cells |= {name: [Text(printable(cell(e))) for e in entries] for name, cell in COLUMNS}
    if not any(entry.differs for entry in entries):
        del cells["options"]
    options_width = console.width // OPTIONS_SHARE
    for name in _left_out(cells, options_width, console.width):
        del cells[name]
    table = _table()
    for name in cells:
        if name in WORDS:
            most = options_width if name == "options" else None
            table.add_column(name, overflow="fold", max_width=most)
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    damaged = [e for e in entries if e.state == "damaged"]
    notes = [Text(f"{printable(e.name)}: {printable(e.about)}") for e in damaged]
    return _text(console, [table, *notes])


def _left_out(cells: Mapping[str, Sequence[Text]], options_width: int, room: int) -> list[str]:
    """The columns for which there is no room where no word is broken."""
    widths = {
        name: max([len(name), *(text.cell_len for text in texts)]) for name, texts in cells.items()
    }
    widths["options"] = min(widths.get("options", 0), options_width)

    def fits(without: Sequence[str]) -> bool:
        kept = [widths[name] for name in cells if name not in without]
        return sum(kept) + BETWEEN * (len(kept) - 1) <= room

    # What is the same in every line first: the others tell the runs apart.
    found = {name: {text.plain for text in cells[name]} - {"-"} for name in cells}
    known = [name for name in LEFT_OUT if name in cells]
    order = sorted(known, key=lambda name: len(found[name]) > 1)
    left_out: list[str] = []
    for name in order:
        if fits(left_out):
            break
        left_out.append(name)
    for name in left_out[::-1]:  # a wide one that went late may have left room for others
        if fits(fewer := [other for other in left_out if other != name]):
            left_out = fewer
    return left_out


def _state(entry: Entry) -> Text:
    kind = f" {entry.several.kind}" if entry.several else ""
    state = Text(entry.state + kind, style=COLOURS[entry.state])
    if entry.facts and entry.facts.set_aside:
        state.append(f", {len(entry.facts.set_aside)} set aside", style="red")
    return state


def render_run(facts: RunFacts) -> str:
    """All about one run."""
    parts: list[Table | Text] = [Text(printable(facts.folder), style="bold"), Text()]
    rows = [*run_text.told(facts), *code_rows(facts), run_text.disk(facts)]
    parts.append(_pairs(rows))
    said = [Text(f"- {printable(sentence)}") for sentence in run_text.happened(facts)]
    parts += _section("what happened", said)
    for table in (classes_of(facts), blocks_of(facts)):
        if table.rows:
            parts += [Text(), _grid(table)]
    parts += _options(facts.config)
    known = [(name, what) for name, what in CONTENTS.items() if name in facts.files]
    parts += _section("files", [_pairs(known)])
    return _text(_console(), parts + _next(run_text.next_commands(facts)))


def render_several(found: Several) -> str:
    """All about one sweep; of a comparison, what stands above its own table."""
    parts: list[Table | Text] = [Text(printable(found.folder), style="bold"), Text()]
    parts.append(_pairs(several_text.told(found)))
    if found.space:
        parts += _section("settings searched", [_pairs(several_text.searched(found))])
    lines = [*table_of(found.shown, list(found.space)), *failures_of(found.rows)]
    parts += _section("best trials", [Text(line) for line in lines])
    return _text(_console(), parts + _options(found.config) + _next(several_text.commands(found)))


def _section(title: str, body: Sequence[Table | Text]) -> list[Table | Text]:
    return [Text(), Text(title, style="bold"), *body] if body else []


def _options(config: TrainConfig) -> list[Table | Text]:
    given = [as_flag(*option) for option in run_text.changed_options(config).items()]
    changed = [(name, " ".join(value)) for name, *value in given]
    title = "options that differ from their defaults"
    return _section(title, [_pairs(changed)]) if changed else []


def _next(commands: Sequence[tuple[str, str]]) -> list[Table | Text]:
    lines = []
    for command, what in commands:  # a line each, to be copied as it is
        lines += [Text(printable(command)), Text(f"    {what}", style="dim")]
    return _section("next", lines)


def _grid(rows: run_tables.Table) -> Table:
    table = _table()
    for head in rows.heads:
        justify: Literal["left", "right"] = "left" if head in ("class", "sha256") else "right"
        table.add_column(head, justify=justify, no_wrap=True)
    for row in rows.rows:
        table.add_row(*(Text(cell.text) for cell in row))
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, show_edge=False)


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
