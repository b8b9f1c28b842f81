"""``noprop runs`` and ``noprop show``: argv -> options -> call -> print.

Other imports come after parsing, as in ``noprop_dist.cli``.
"""

import json
from collections.abc import Sequence

from noprop_dist.see.runs_options import parse_runs, parse_show


def run_runs(argv: Sequence[str], prog: str) -> int:
    """List what lies in a folder. Returns the exit code."""
    options = parse_runs(argv, prog)
    from noprop_dist.see.listing import list_runs
    from noprop_dist.see.tables import render_runs

    entries = list_runs(options.folder)
    if options.json:
        for entry in entries:
            print(json.dumps(entry.to_dict()))
    else:
        print(render_runs(entries))
    return 0


def run_show(argv: Sequence[str], prog: str) -> int:
    """Tell all about one run. Returns the exit code."""
    options = parse_show(argv, prog)
    from noprop_dist.see.facts import read_run
    from noprop_dist.see.tables import render_run
    from noprop_dist.see.words import block_rows, changed_options, next_commands

    facts = read_run(options.run)
    if options.json:
        more = {
            "blocks": {str(t): known for t, known in block_rows(facts)},
            "changed_options": changed_options(facts.config),
            "files": list(facts.files),
            "next": [command for command, _ in next_commands(facts)],
        }
        print(json.dumps(facts.to_dict() | more))
    else:
        print(render_run(facts))
    return 0
