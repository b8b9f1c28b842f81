"""``noprop visualize``, ``runs`` and ``show``: argv -> options -> call -> print.

Heavy imports come after parsing, as in ``noprop_dist.cli``.
"""

import sys
from collections.abc import Sequence

from noprop_dist.errors import UserError
from noprop_dist.options import parse_own
from noprop_dist.see.options import RunsOptions, ShowOptions, VisualizeOptions
from noprop_dist.text import json_line, printable


def parse_visualize(argv: Sequence[str], prog: str = "noprop visualize") -> VisualizeOptions:
    """The options of ``noprop visualize``; see ``parse_own``."""
    text = "Draw the pictures of a run, as far as it is there, or of a training history alone."
    return parse_own(argv, prog, text, VisualizeOptions)


def run_visualize(argv: Sequence[str], prog: str) -> int:
    """Draw, and print a path a line. Returns the exit code."""
    options = parse_visualize(argv, prog)
    from noprop_dist.see.visualize import visualize

    drawn = visualize(options)
    for note in (*drawn.notes, *drawn.missing):
        print(printable(note), file=sys.stderr)
    for path in drawn.paths:
        print(printable(path))
    if not drawn.pictures:
        raise UserError("no picture could be drawn.")
    return 0


def parse_runs(argv: Sequence[str], prog: str = "noprop runs") -> RunsOptions:
    """The options of ``noprop runs``; see ``parse_own``."""
    text = "List the runs, sweeps and comparisons of a folder, newest first."
    return parse_own(argv, prog, text, RunsOptions)


def parse_show(argv: Sequence[str], prog: str = "noprop show") -> ShowOptions:
    """The options of ``noprop show``; see ``parse_own``."""
    text = "Tell all about one run: numbers, blocks, options, what happened, what to do next."
    return parse_own(argv, prog, text, ShowOptions)


def run_runs(argv: Sequence[str], prog: str) -> int:
    """List what lies in a folder. Returns the exit code."""
    options = parse_runs(argv, prog)
    from noprop_dist.see.listing import list_runs
    from noprop_dist.see.terminal import render_runs

    entries = list_runs(options.folder)
    if options.json:
        for entry in entries:
            print(json_line(entry.to_dict()))
    else:
        print(render_runs(entries))
    return 0


def run_show(argv: Sequence[str], prog: str) -> int:
    """Tell all about one run. Returns the exit code."""
    options = parse_show(argv, prog)
    from noprop_dist.see.facts import read_run
    from noprop_dist.see.run_text import block_rows, changed_options, next_commands
    from noprop_dist.see.terminal import render_run

    facts = read_run(options.run)
    if options.json:
        more = {
            "blocks": {str(t): known for t, known in block_rows(facts)},
            "changed_options": changed_options(facts.config),
            "files": list(facts.files),
            "next": [command for command, _ in next_commands(facts)],
        }
        print(json_line(facts.to_dict() | more))
    else:
        print(render_run(facts))
    return 0
