"""``noprop visualize``: argv -> options -> call -> say what was drawn.

Heavy imports come after parsing, as in ``noprop_dist.cli``.
"""

import sys
from collections.abc import Sequence

from noprop_dist.options import parse_own
from noprop_dist.see.options import VisualizeOptions


def parse_visualize(argv: Sequence[str], prog: str = "noprop visualize") -> VisualizeOptions:
    """The options of ``noprop visualize``; see ``parse_own``."""
    text = "Draw the pictures of a run, as far as it is there, or of a training history alone."
    return parse_own(argv, prog, text, VisualizeOptions)


def run_visualize(argv: Sequence[str], prog: str) -> int:
    """Draw, and print a path a line. Returns the exit code."""
    options = parse_visualize(argv, prog)
    from noprop_dist.see.draw import visualize

    drawn = visualize(options)
    for note in drawn.notes:
        print(note, file=sys.stderr)
    for path in drawn.paths:
        print(path)
    return 0
