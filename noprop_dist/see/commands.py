"""``noprop visualize``, ``runs``, ``show``, ``trace``, ``card``, ``push``: from argv to printing.

Heavy imports come after parsing, as in ``noprop_dist.cli``.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from noprop_dist.config.fields import Checked, argument, flag, option
from noprop_dist.config.run import HOME
from noprop_dist.errors import UserError
from noprop_dist.options import parse_own
from noprop_dist.text import json_line, printable
from noprop_dist.use.flags import BLOCK, DATA_DIR

if TYPE_CHECKING:
    from noprop_dist.see.several import Several


@dataclass(frozen=True, kw_only=True)
class VisualizeOptions(Checked):
    """What to draw, and where to.

    Raises:
        UserError: neither or both of a run and a history, or an empty value.
    """

    run: str | None = argument("RUN", "run folder or its URI, also of a live run", None)
    history: str | None = option(
        None, "input", "draw this training_history.json alone, which may be written by hand"
    )
    dataset: str | None = option(
        None, "input", "where the run's data set is now; default: where the run found it"
    )
    data_dir: str | None = option(None, "input", DATA_DIR)
    block: str | None = option(None, "input", BLOCK)
    output: str | None = option(
        None,
        "output",
        "folder of what is drawn; default: the run, pictures in plots/, or beside the history",
    )
    format: Literal["png", "svg", "pdf"] = option("png", "output", "of the pictures")

    def __post_init__(self) -> None:
        """Check every value."""
        super().__post_init__()
        if (self.run is None) == (self.history is None):
            raise UserError("give either a run folder or --history FILE.")
        for name in ("dataset", "data_dir", "block"):
            if self.run is None and getattr(self, name) is not None:
                raise UserError(f"{flag(name)} is for a run, not for --history: leave it out.")


@dataclass(frozen=True, kw_only=True)
class RunsOptions(Checked):
    """Which runs to list."""

    folder: str = argument("FOLDER", "folder of run folders, or its URI", HOME)
    json: bool = option(False, "output", "print one JSON object a line, newest first")


@dataclass(frozen=True, kw_only=True)
class ShowOptions(Checked):
    """What to tell about."""

    run: str = argument("RUN", "folder of a run, a sweep or a comparison, or its URI")
    json: bool = option(False, "output", "print one JSON object")


@dataclass(frozen=True, kw_only=True)
class TraceOptions(Checked):
    """Which run to trace, and where to."""

    run: str = argument("RUN", "run folder or its URI, also of a live run")
    output: str | None = option(None, "output", "the file; default: trace.json in the run folder")


@dataclass(frozen=True, kw_only=True)
class CardOptions(Checked):
    """Which run to write a card of, and where to."""

    run: str = argument("RUN", "run folder or its URI, of a finished run")
    output: str | None = option(None, "output", "the file; default: README.md in the run folder")


@dataclass(frozen=True, kw_only=True)
class PushOptions(Checked):
    """Which run to upload, and what to call it there."""

    run: str = argument("RUN", "run folder or its URI, of a finished run")
    repository: str = argument("OWNER/NAME", "on the Hugging Face hub; made where it is not there")
    private: bool = option(False, "output", "seen by its owner alone")


def run_visualize(argv: Sequence[str], prog: str, text: str) -> int:
    """Draw, and print a path a line. Returns the exit code."""
    options = parse_own(argv, prog, text, VisualizeOptions)
    from noprop_dist.see.visualize import draw_history, draw_run

    if options.history is not None:
        drawn = draw_history(options.history, options.output, options.format)
    else:
        assert options.run is not None
        drawn = draw_run(
            options.run,
            output=options.output,
            form=options.format,
            dataset=options.dataset,
            data_dir=options.data_dir,
            block=options.block,
        )
    for note in (*drawn.notes, *drawn.missing):
        print(printable(note), file=sys.stderr)
    for path in drawn.paths:
        print(printable(path))
    if not drawn.pictures:
        raise UserError("no picture could be drawn.")
    return 0


def run_runs(argv: Sequence[str], prog: str, text: str) -> int:
    """List what lies in a folder. Returns the exit code."""
    options = parse_own(argv, prog, text, RunsOptions)
    from noprop_dist.see.listing import list_runs
    from noprop_dist.see.terminal import render_runs

    entries = list_runs(options.folder)
    if options.json:
        for entry in entries:
            print(json_line(entry.to_dict()))
    else:
        print(render_runs(entries))
    return 0


def run_show(argv: Sequence[str], prog: str, text: str) -> int:
    """Tell all about one run, sweep or comparison. Returns the exit code."""
    options = parse_own(argv, prog, text, ShowOptions)
    from noprop_dist.see.facts import read_run
    from noprop_dist.see.several import read_several

    if several := read_several(options.run):
        _show_several(several, options.json)
        return 0
    from noprop_dist.see.own_code import own_code
    from noprop_dist.see.run_text import block_rows, changed_options, next_commands
    from noprop_dist.see.terminal import render_run

    facts = read_run(options.run)
    if options.json:
        more = {
            "samples": vars(facts.samples) if facts.samples else None,
            "cost": facts.cost,
            "disk_bytes": facts.disk_bytes,
            "own_block": vars(code) if (code := own_code(facts)) else None,
            "blocks": {str(t): known for t, known in block_rows(facts)},
            "changed_options": changed_options(facts.config),
            "files": list(facts.files),
            "next": [command for command, _ in next_commands(facts)],
        }
        print(json_line(facts.to_dict() | more))
    else:
        print(render_run(facts))
    return 0


def _show_several(found: "Several", as_json: bool) -> None:
    """A sweep or, with its table as it was written at the end, a comparison."""
    from noprop_dist.see.run_text import changed_options
    from noprop_dist.see.several_text import commands
    from noprop_dist.see.terminal import render_several

    comparison = None
    if found.kind == "comparison" and found.state == "finished":
        from noprop_dist.compare.run_comparison import read_comparison, show

        comparison = read_comparison(found.folder)
    if as_json:
        more = {
            "search": found.search,
            "settings": found.space,
            "trials": found.rows,
            "changed_options": changed_options(found.config),
            "comparison": comparison.to_dict() if comparison else None,
            "next": [command for command, _ in commands(found)],
        }
        print(json_line(found.to_dict() | more))
        return
    print(render_several(found))
    if comparison:
        print()
        show(comparison)


def run_trace(argv: Sequence[str], prog: str, text: str) -> int:
    """Write the units of a run as a chrome trace, and print where. Returns the exit code."""
    options = parse_own(argv, prog, text, TraceOptions)
    from noprop_dist.see.chrome_trace import write_trace

    print(printable(write_trace(options.run, options.output)))
    return 0


def run_card(argv: Sequence[str], prog: str, text: str) -> int:
    """Write the model card of a run, and print where. Returns the exit code."""
    options = parse_own(argv, prog, text, CardOptions)
    from noprop_dist.see.card import write_card

    print(printable(write_card(options.run, options.output)))
    return 0


def run_push(argv: Sequence[str], prog: str, text: str) -> int:
    """Upload the network of a run, and print where it is. Returns the exit code."""
    options = parse_own(argv, prog, text, PushOptions)
    from noprop_dist.see.push import push

    print(push(options.run, options.repository, private=options.private))
    return 0
