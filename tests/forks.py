"""Command lines with a broken output, each in a process of its own that need not import anything.

``python forks.py < CASES``: each is ``[argv, how, number]``, and the standard stream of that number
is broken in that way. Prints, for each, ``[exit code, what was written to the other stream]``.
"""

import json
import os
import sys
import traceback
from types import SimpleNamespace
from typing import Any

import matplotlib.figure  # noqa: F401

import noprop_dist.compare.run_comparison
import noprop_dist.plan
import noprop_dist.see.visualize
import noprop_dist.training
import noprop_dist.tune.run_sweep
import noprop_dist.use.evaluate
import noprop_dist.use.export
import noprop_dist.use.predict
from noprop_dist import TrainConfig
from noprop_dist.cli import main
from noprop_dist.tune.sweep_results import SweepResult

noprop_dist.plan.TRY_S = 0.1  # how fast blocks are is not looked at
# These need Ray; what they print does not.
SWEPT = SweepResult("there", None, {}, None, [], ["lr"], False, 1.0, None, TrainConfig())
noprop_dist.tune.run_sweep.sweep = lambda *_: SWEPT
COMPARED: Any = SimpleNamespace(to_dict=dict)
noprop_dist.compare.run_comparison.compare = lambda *_: COMPARED


def break_stream(how: str, number: int) -> None:
    """Let a standard stream be as if the process had been started with it."""
    if how == "closed":
        os.close(number)
        name = ("stdin", "stdout", "stderr")[number]
        setattr(sys, name, None)
        setattr(sys, f"__{name}__", None)
    elif how == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), number)
    else:
        assert how == "unread"
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, number)


def exit_code(argv: list[str]) -> int:
    """Of the command, also where it leaves early, as --help does."""
    try:
        return main(argv)
    except SystemExit as left:
        return int(left.code or 0)


def outcome(argv: list[str], how: str, number: int) -> tuple[int, str]:
    """Run it in a child, which leaves as Python does, but for the second that its modules take."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 3 - number)
        os.close(writer)
        break_stream(how, number)
        try:
            code = exit_code(argv)
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
        except BaseException:
            traceback.print_exc()
            code = 1
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


if __name__ == "__main__":
    answers = [outcome(*case) for case in json.load(sys.stdin)]
    json.dump(answers, sys.stdout)
