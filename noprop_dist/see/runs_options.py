"""The options of ``noprop runs`` and ``noprop show``; nothing here imports PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass

from noprop_dist.config import argument, option
from noprop_dist.errors import UserError
from noprop_dist.options import parse_own

HOME = "checkpoints_run"  # where runs are that name no other place


@dataclass(frozen=True, kw_only=True)
class RunsOptions:
    """Which runs to list."""

    folder: str = argument("FOLDER", "folder of run folders, or its URI", HOME)
    json: bool = option(False, "output", "print one JSON object a line, newest first")

    def __post_init__(self) -> None:
        """Check every value."""
        if self.folder == "":
            raise UserError("FOLDER must not be empty: give a folder of runs, or leave it out.")


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Which run to tell about."""

    run: str = argument("RUN", "run folder or its URI")
    json: bool = option(False, "output", "print one JSON object")

    def __post_init__(self) -> None:
        """Check every value."""
        if self.run == "":
            raise UserError("RUN must not be empty: give a run folder.")


def parse_runs(argv: Sequence[str], prog: str = "noprop runs") -> RunsOptions:
    """The options of ``noprop runs``; see ``parse_own``."""
    text = "List the runs, sweeps and comparisons of a folder, newest first."
    return parse_own(argv, prog, text, RunsOptions)


def parse_show(argv: Sequence[str], prog: str = "noprop show") -> ShowOptions:
    """The options of ``noprop show``; see ``parse_own``."""
    text = "Tell all about one run: numbers, blocks, options, what happened, what to do next."
    return parse_own(argv, prog, text, ShowOptions)
