"""The options of ``noprop visualize``, ``runs`` and ``show``; imports no PyTorch or matplotlib."""

from dataclasses import dataclass
from typing import Literal

from noprop_dist.config import HOME, argument, flag, option
from noprop_dist.errors import UserError


@dataclass(frozen=True, kw_only=True)
class VisualizeOptions:
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
    data_dir: str | None = option(None, "input", "where named data sets are kept or downloaded to")
    output: str | None = option(
        None,
        "output",
        "folder of what is drawn; default: the run, pictures in plots/, or beside the history",
    )
    format: Literal["png", "svg", "pdf"] = option("png", "output", "of the pictures")

    def __post_init__(self) -> None:
        """Check every value."""
        for name, value in vars(self).items():
            if value == "":
                raise UserError(f"{flag(name)} must not be empty: give a value or leave it out.")
        if (self.run is None) == (self.history is None):
            raise UserError("give either a run folder or --history FILE.")
        for name in ("dataset", "data_dir"):
            if self.run is None and getattr(self, name) is not None:
                raise UserError(f"{flag(name)} is for a run, not for --history: leave it out.")


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
